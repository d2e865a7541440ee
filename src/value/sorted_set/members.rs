//! The members of a sorted set with their scores, numbered without gaps.

use crate::allocator::size_class;
use crate::value::frozen::Freezer;

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

/// The members of a set. All pieces but the last one are full.
#[derive(Clone, Debug, Default)]
pub(super) struct Members {
    pieces: Vec<Vec<Member>>,
    name_bytes: usize,
    freezer: Freezer<Member>,
}

impl Members {
    pub(super) fn len(&self) -> usize {
        match self.pieces.as_slice() {
            [] => 0,
            [full @ .., last] => full.len() * PIECE + last.len(),
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let bytes = |piece: &Vec<Member>| size_class(piece.capacity() * size_of::<Member>());
        // All but the last were grown alike.
        let pieces = self.pieces.first().map_or(0, bytes) * self.pieces.len().saturating_sub(1)
            + self.pieces.last().map_or(0, bytes);
        pieces + self.pieces.capacity() * size_of::<Vec<Member>>() + self.name_bytes
    }

    pub(super) fn get(&self, number: u32) -> &Member {
        let number = number as usize;
        &self.pieces[number / PIECE][number % PIECE]
    }

    pub(super) fn get_mut(&mut self, number: u32) -> &mut Member {
        let number = number as usize;
        self.keep(number / PIECE);
        &mut self.pieces[number / PIECE][number % PIECE]
    }

    /// The highest number. There must be one.
    pub(super) fn last(&self) -> u32 {
        (self.len() - 1) as u32
    }

    /// Adds a member and gives its number.
    pub(super) fn push(&mut self, name: &[u8], score: f64) -> u32 {
        let number = self.len();
        assert!(number < MEMBERS_MAX, "the caller permits no more");
        self.name_bytes += size_class(name.len());
        let member = Member {
            score,
            name: name.into(),
        };
        self.keep(number / PIECE);
        match self.pieces.last_mut() {
            Some(piece) if piece.len() < PIECE => piece.push(member),
            _ => self.pieces.push(vec![member]),
        }
        number as u32
    }

    /// Takes a member out; the last one takes its number.
    pub(super) fn swap_remove(&mut self, number: u32) -> Member {
        self.keep(self.pieces.len().saturating_sub(1));
        let last = self.pieces.last_mut().expect("there is a member to take");
        let mut member = last.pop().expect("no piece is empty");
        if last.is_empty() {
            self.pieces.pop();
        } else if last.len() < last.capacity() / 4 {
            last.shrink_to(last.capacity() / 2);
        }
        if (number as usize) < self.len() {
            member = std::mem::replace(self.get_mut(number), member);
        }
        if self.pieces.len() < self.pieces.capacity() / 4 {
            self.pieces.shrink_to(self.pieces.capacity() / 2);
        }
        self.name_bytes -= size_class(member.name.len());
        member
    }

    /// A piece is about to change.
    #[inline]
    fn keep(&mut self, piece: usize) {
        let members = self.pieces.get(piece);
        self.freezer.keep(piece, || members.into_iter().flatten());
    }

    /// Begins a copy of all members as they are now.
    pub(super) fn freeze(&mut self) {
        self.freezer.freeze(0..self.pieces.len());
    }

    /// Shows the members of some pieces more of that copy, and whether there are others; `None` if there is no copy.
    pub(super) fn show_frozen(&mut self, pieces: usize, show: impl FnMut(&Member)) -> Option<bool> {
        let (freezer, all) = (&mut self.freezer, &self.pieces);
        freezer.step(pieces, |piece| all.get(piece).into_iter().flatten(), show)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Member> {
        self.pieces.iter().flatten()
    }
}
