//! The members of a sorted set with their scores, each under a number.
//!
//! The number of one that goes is free for one that comes. Only where seven of eight are free do members move to lower ones, so
//! that memory shrinks with the set: a queue, which is as long tomorrow as today, never moves any.

use std::ops::Range;

use crate::allocator::size_class;
use crate::value::frozen::{self, Freezer};

/// The most members of a set: their numbers have 32 bits.
pub const MEMBERS_MAX: usize = u32::MAX as usize;

/// Members are kept in pieces of so many, so that none of their moves is long.
const PIECE: usize = 512;

/// A member.
#[derive(Clone, Debug)]
pub struct Member {
    score: f64,
    name: Box<[u8]>,
}

impl Member {
    /// Its score.
    pub fn score(&self) -> f64 {
        self.score
    }

    /// Its name.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    pub(super) fn set_score(&mut self, score: f64) {
        self.score = score;
    }
}

/// So many numbers for each member are too many.
const SPARSE: usize = 8;

/// No place in a piece.
const NONE: u16 = u16::MAX;

/// What stands under a number.
#[derive(Clone, Debug)]
enum Slot {
    Taken(Member),
    /// Nothing; the next free place of the piece.
    Free(u16),
}

impl Slot {
    fn member(&self) -> Option<&Member> {
        match self {
            Self::Taken(member) => Some(member),
            Self::Free(_) => None,
        }
    }
}

/// The members of some numbers that follow each other.
#[derive(Clone, Debug)]
struct Piece {
    slots: Vec<Slot>,
    /// The first free place.
    free: u16,
    /// Whether nothing comes into it any more: it is about to end.
    is_closed: bool,
}

impl Piece {
    fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: NONE,
            is_closed: false,
        }
    }

    fn members(&self) -> impl Iterator<Item = &Member> {
        self.slots.iter().filter_map(Slot::member)
    }
}

/// The members of a set. All pieces but the last one are full, of members and of free numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Members {
    pieces: Vec<Piece>,
    len: usize,
    /// Pieces that have, or had, free numbers; those that have some are among them.
    open: Vec<u32>,
    name_bytes: usize,
    freezer: Freezer<usize, Vec<Member>>,
}

impl Members {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// How many numbers there are, free ones too.
    pub(super) fn numbers(&self) -> usize {
        match self.pieces.as_slice() {
            [] => 0,
            [full @ .., last] => full.len() * PIECE + last.slots.len(),
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let bytes = |piece: &Piece| size_class(piece.slots.capacity() * size_of::<Slot>());
        // All but the last were grown alike.
        let pieces = self.pieces.first().map_or(0, bytes) * self.pieces.len().saturating_sub(1)
            + self.pieces.last().map_or(0, bytes);
        let own = self.pieces.capacity() * size_of::<Piece>() + self.open.capacity() * 4;
        pieces + own + self.name_bytes
    }

    /// The member with a number; `None` where the number is free.
    pub(super) fn find(&self, number: u32) -> Option<&Member> {
        let number = number as usize;
        self.pieces[number / PIECE].slots[number % PIECE].member()
    }

    /// The member with a number that is not free.
    pub(super) fn get(&self, number: u32) -> &Member {
        self.find(number).expect("a member has this number")
    }

    /// The same, to be changed.
    pub(super) fn get_mut(&mut self, number: u32) -> &mut Member {
        let number = number as usize;
        self.keep(number / PIECE);
        match &mut self.pieces[number / PIECE].slots[number % PIECE] {
            Slot::Taken(member) => member,
            Slot::Free(_) => unreachable!("a member has this number"),
        }
    }

    /// Adds a member and gives its number.
    pub(super) fn push(&mut self, name: &[u8], score: f64) -> u32 {
        assert!(self.len < MEMBERS_MAX, "the caller permits no more");
        self.name_bytes += size_class(name.len());
        self.put(Member {
            score,
            name: name.into(),
        })
    }

    fn put(&mut self, member: Member) -> u32 {
        self.len += 1;
        while let Some(&at) = self.open.last() {
            let at = at as usize;
            let piece = self.pieces.get(at).filter(|piece| !piece.is_closed);
            let Some(free) = piece.map(|piece| piece.free).filter(|free| *free != NONE) else {
                self.open.pop();
                continue;
            };
            self.keep(at);
            let piece = &mut self.pieces[at];
            let slot = &mut piece.slots[usize::from(free)];
            if let Slot::Free(next) = *slot {
                piece.free = next;
            }
            *slot = Slot::Taken(member);
            return (at * PIECE) as u32 + u32::from(free);
        }
        let number = self.numbers();
        self.keep(number / PIECE);
        if number.is_multiple_of(PIECE) {
            self.pieces.push(Piece::new());
        }
        self.pieces[number / PIECE].slots.push(Slot::Taken(member));
        number as u32
    }

    /// Takes a member out, whose number is free then.
    pub(super) fn remove(&mut self, number: u32) -> Member {
        let member = self.take(number);
        self.name_bytes -= size_class(member.name.len());
        if self.len == 0 {
            (self.pieces, self.open) = Default::default();
        }
        member
    }

    fn take(&mut self, number: u32) -> Member {
        let (at, place) = (number as usize / PIECE, number as usize % PIECE);
        self.keep(at);
        self.len -= 1;
        let piece = &mut self.pieces[at];
        let taken = std::mem::replace(&mut piece.slots[place], Slot::Free(piece.free));
        if !piece.is_closed {
            if piece.free == NONE {
                self.open.push(at as u32);
            }
            piece.free = place as u16;
        }
        match taken {
            Slot::Taken(member) => member,
            Slot::Free(_) => unreachable!("a member has this number"),
        }
    }

    /// Where there are too many numbers, those of the last piece, into which nothing comes any more: each of its members is to
    /// be moved, and then the piece is to end.
    pub(super) fn close_superfluous(&mut self) -> Option<Range<u32>> {
        let numbers = self.numbers();
        let last = self.pieces.len().checked_sub(1)?;
        if last == 0 || numbers <= SPARSE * self.len + PIECE {
            return None;
        }
        self.pieces[last].is_closed = true;
        Some((last * PIECE) as u32..numbers as u32)
    }

    /// Gives a member of a closed piece another number.
    pub(super) fn move_down(&mut self, number: u32) -> u32 {
        let member = self.take(number);
        self.put(member)
    }

    /// Ends the last piece, whose members were moved.
    pub(super) fn end_piece(&mut self) {
        self.pieces.pop();
        if self.pieces.len() < self.pieces.capacity() / 4 {
            self.pieces.shrink_to(self.pieces.capacity() / 2);
        }
    }

    /// A piece is about to change.
    #[inline]
    fn keep(&mut self, piece: usize) {
        let members = self.pieces.get(piece).into_iter().flat_map(Piece::members);
        self.freezer.keep(piece, || members.cloned().collect());
    }

    /// Gives up a copy that is being taken out.
    pub(super) fn detach(&mut self) {
        self.freezer = Freezer::default();
    }

    /// Begins a copy of all members as they are now.
    pub(super) fn freeze(&mut self) {
        self.freezer
            .freeze(frozen::numbers(0, self.pieces.len()), ());
    }

    /// Shows the members of some pieces more of that copy, and whether there are others; `None` if there is no copy.
    pub(super) fn show_frozen(
        &mut self,
        pieces: usize,
        mut show: impl FnMut(&Member),
    ) -> Option<bool> {
        let (freezer, all) = (&mut self.freezer, &self.pieces);
        let first = |rest| frozen::first_number(rest, all.len());
        let show = |piece: usize, kept: Option<Vec<Member>>| match kept {
            Some(kept) => kept.iter().for_each(&mut show),
            None => all[piece].members().for_each(&mut show),
        };
        freezer.step(pieces, first, show).map(|end| end.is_none())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Member> {
        self.pieces.iter().flat_map(Piece::members)
    }
}

const _: () = assert!(size_of::<Slot>() == size_of::<Member>());
