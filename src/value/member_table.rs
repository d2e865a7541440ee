//! The members of a large set: a table whose growth never stalls.
//!
//! Short members lie in the table itself. A look-up then meets one place less that is not in the cache, and the allocator
//! is asked for nothing.

use super::changes::Changes;
use super::fields::hash_of_member;
use super::segments::{SEGMENTS_AT_ONCE, Segments};
use crate::allocator::size_class;

/// The longest member that lies in the table: with its length and its kind it takes what a long one does, three words.
const SHORT_MAX: usize = 22;

/// A member.
#[derive(Clone, Debug)]
enum Member {
    /// The text, and its length.
    Short(u8, [u8; SHORT_MAX]),
    /// The text, apart.
    Long(Box<[u8]>),
}

const _: () = assert!(size_of::<Member>() == 3 * size_of::<usize>());

impl Member {
    fn new(text: &[u8]) -> Self {
        if text.len() > SHORT_MAX {
            return Self::Long(text.into());
        }
        let mut short = [0; SHORT_MAX];
        short[..text.len()].copy_from_slice(text);
        Self::Short(text.len() as u8, short)
    }

    #[inline]
    fn text(&self) -> &[u8] {
        match self {
            Self::Short(len, text) => &text[..usize::from(*len)],
            Self::Long(text) => text,
        }
    }

    fn hash(&self) -> u64 {
        hash_of_member(self.text())
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Self::Short(..) => 0,
            Self::Long(text) => size_class(text.len()),
        }
    }
}

/// The members of a large set.
#[derive(Clone, Debug, Default)]
pub struct MemberTable {
    members: Segments<Member>,
    /// What long members take.
    long_bytes: usize,
    changes: Changes<Box<[u8]>>,
}

impl MemberTable {
    /// How many members it has.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the allocator takes for all of it.
    pub fn heap_bytes(&self) -> usize {
        size_class(size_of::<Self>())
            + self.members.heap_bytes()
            + self.long_bytes
            + self.changes.heap_bytes()
    }

    /// Whether this is a member.
    pub fn has(&self, text: &[u8]) -> bool {
        let is_it = |member: &Member| member.text() == text;
        self.members.find(hash_of_member(text), is_it).is_some()
    }

    /// Adds a member; whether it is new.
    pub fn add(&mut self, text: &[u8]) -> bool {
        let hash = hash_of_member(text);
        if self
            .members
            .find(hash, |member| member.text() == text)
            .is_some()
        {
            return false;
        }
        self.changes.note_name(text);
        let member = Member::new(text);
        self.long_bytes += member.heap_bytes();
        self.members.insert(hash, member, Member::hash);
        true
    }

    /// Takes a member out; whether it was there.
    pub fn remove(&mut self, text: &[u8]) -> bool {
        let is_it = |member: &Member| member.text() == text;
        let removed = self
            .members
            .remove(hash_of_member(text), is_it, Member::hash);
        if let Some(removed) = &removed {
            self.changes.note_name(text);
            self.long_bytes -= removed.heap_bytes();
        }
        removed.is_some()
    }

    /// All members, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.members.iter().map(Member::text)
    }

    /// A member by chance, each as likely as the others. `random` gives another number each time.
    pub fn random(&self, random: impl FnMut() -> u64) -> Option<&[u8]> {
        self.members.random(random).map(Member::text)
    }

    /// Shows about `count` members from a cursor on, 0 at first, and gives the next cursor, 0 at the end. Members that stay
    /// are shown at least once, whatever comes and goes between.
    pub fn scan(&self, cursor: u64, count: usize, mut show: impl FnMut(&[u8])) -> u64 {
        let show = |member: &Member| show(member.text());
        self.members.scan(cursor, count, Member::hash, show)
    }

    pub(super) fn follow(&mut self, version: u64) {
        self.changes.follow(version);
    }

    /// Ends that, and a copy that is being taken out.
    pub(super) fn detach(&mut self) {
        self.changes.give_up();
        self.members.detach();
    }

    pub(super) fn changes(&self) -> &Changes<Box<[u8]>> {
        &self.changes
    }

    /// Begins a copy of all members as they are now.
    pub fn freeze(&mut self) {
        self.members.freeze();
    }

    /// Shows the members of a few segments more of that copy, and whether there are others; `None` if there is no copy.
    pub fn show_frozen(&mut self, mut show: impl FnMut(&[u8])) -> Option<bool> {
        let show = |member: &Member| show(member.text());
        self.members.show_frozen(SEGMENTS_AT_ONCE, show)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::random::Random;
    use crate::testing::rounds;

    #[test]
    fn short_and_long_members_agree_with_a_set() {
        let mut random = Random(0x5eed_5eed);
        let (mut table, mut model) = (MemberTable::default(), BTreeSet::new());
        for _ in 0..rounds(20_000) {
            let text = vec![random.below(6) as u8; random.below(60) as usize];
            if random.below(3) > 0 {
                assert_eq!(table.add(&text), model.insert(text));
            } else {
                assert_eq!(table.remove(&text), model.remove(&text));
            }
            let probe = vec![random.below(6) as u8; random.below(60) as usize];
            assert_eq!(
                (table.len(), table.has(&probe)),
                (model.len(), model.contains(&probe))
            );
        }
        let long = model.iter().filter(|text| text.len() > SHORT_MAX);
        let long: usize = long.map(|text| size_class(text.len())).sum();
        assert_eq!(table.long_bytes, long);
        let all: BTreeSet<Vec<u8>> = table.iter().map(<[u8]>::to_vec).collect();
        assert_eq!(all, model);
        let mut scanned = BTreeSet::new();
        let mut cursor = 0;
        loop {
            cursor = table.scan(cursor, 10, |text| {
                scanned.insert(text.to_vec());
            });
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(scanned, model);
    }
}
