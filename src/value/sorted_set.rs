//! A large sorted set: members with scores, in the order of their scores and then of their names.
//!
//! Three structures, none of which ever grows by a large step: the members in no order, each with a number; a table of
//! numbers by name; and the numbers in order, in the pages of a tree that counts them, so that the rank of a member and
//! the member of a rank are found alike.
//!
//! Never are many more than seven of eight numbers free: so memory shrinks with the set, and a member by chance is that of a number
//! by chance, mostly of the first that is drawn.

mod members;
mod order;

use std::cmp::Ordering;
use std::ops::Range;

use crate::allocator::size_class;
use crate::random::Random;
use crate::value::changes::Changes;
use crate::value::fields::hash_of_member;
use crate::value::segments::Segments;

use members::Members;
pub use members::{MEMBERS_MAX, Member};
use order::{Cursor, Order};

/// So many pieces of a copy hold up others for as long as a hundred microseconds.
const PIECES_AT_ONCE: usize = 2;

/// What became of a member that was set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Upsert {
    /// It is new.
    Added,
    /// It had another score.
    Moved,
    /// It had this score.
    Kept,
}

/// One end of a range of scores or of names.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound<T> {
    /// Before all that there is.
    Lowest,
    /// This one and what is equal to it belong to the range.
    Including(T),
    /// What is equal to it does not.
    Excluding(T),
    /// Behind all that there is.
    Highest,
}

impl<T: PartialOrd> Bound<T> {
    /// Whether a value lies before a range that begins here.
    pub fn is_above(&self, value: &T) -> bool {
        match self {
            Self::Lowest => false,
            Self::Including(bound) => value < bound,
            Self::Excluding(bound) => value <= bound,
            Self::Highest => true,
        }
    }

    /// Whether a value lies before the end of a range that ends here, or in it.
    pub fn reaches(&self, value: &T) -> bool {
        match self {
            Self::Lowest => false,
            Self::Including(bound) => value <= bound,
            Self::Excluding(bound) => value < bound,
            Self::Highest => true,
        }
    }
}

/// The order of a sorted set. No score is NaN.
pub fn compare(a: (f64, &[u8]), b: (f64, &[u8])) -> Ordering {
    let scores = a.0.partial_cmp(&b.0);
    scores.unwrap_or(Ordering::Equal).then_with(|| a.1.cmp(b.1))
}

/// A sorted set.
#[derive(Clone, Debug, Default)]
pub struct SortedSet {
    members: Members,
    numbers: Segments<u32>,
    order: Order,
    changes: Changes<Box<[u8]>>,
}

impl SortedSet {
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
            + self.numbers.heap_bytes()
            + self.order.heap_bytes()
            + self.changes.heap_bytes()
    }

    fn number(&self, name: &[u8]) -> Option<u32> {
        let found = self.numbers.find(hash_of_member(name), |number| {
            self.members.get(*number).name() == name
        });
        found.copied()
    }

    /// Where a member stands or would stand.
    fn cursor(&self, score: f64, name: &[u8]) -> Cursor {
        let lies_before = |other: f64, number: u32| match other.partial_cmp(&score) {
            Some(Ordering::Less) => true,
            Some(Ordering::Greater) => false,
            _ => self.members.get(number).name() < name,
        };
        self.order.cursor(lies_before)
    }

    /// The score of a member.
    pub fn score(&self, name: &[u8]) -> Option<f64> {
        Some(self.members.get(self.number(name)?).score())
    }

    /// How many members stand before this one.
    pub fn rank(&self, name: &[u8]) -> Option<usize> {
        let score = self.score(name)?;
        Some(self.order.rank(self.cursor(score, name)))
    }

    /// Gives a member a score, which is not NaN. The member is made if it does not exist, which the caller permits for fewer
    /// than [`MEMBERS_MAX`] only.
    pub fn set(&mut self, name: &[u8], score: f64) -> Upsert {
        debug_assert!(!score.is_nan(), "the caller refuses it");
        let Some(number) = self.number(name) else {
            self.changes.note_name(name);
            let cursor = self.cursor(score, name);
            let number = self.members.push(name, score);
            self.order.insert(cursor, score, number);
            let members = &self.members;
            let hash_of = |number: &u32| hash_of_member(members.get(*number).name());
            self.numbers.insert(hash_of_member(name), number, hash_of);
            return Upsert::Added;
        };
        let old = self.members.get(number).score();
        if old == score {
            return Upsert::Kept;
        }
        self.changes.note_name(name);
        let from = self.cursor(old, name);
        self.members.get_mut(number).set_score(score);
        if self.stays_at(from, score, name) {
            self.order.set_score(from, score);
            return Upsert::Moved;
        }
        self.order.remove(from);
        let to = self.cursor(score, name);
        self.order.insert(to, score, number);
        Upsert::Moved
    }

    /// Whether the member at a place stays between its neighbours with another score.
    fn stays_at(&self, cursor: Cursor, score: f64, name: &[u8]) -> bool {
        let is_after = |other: (f64, u32)| {
            let other = (other.0, self.members.get(other.1).name());
            compare(other, (score, name)) == Ordering::Greater
        };
        let (before, after) = self.order.neighbours(cursor);
        !before.is_some_and(is_after) && after.is_none_or(is_after)
    }

    /// Takes a member out; whether it was there.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        let Some(number) = self.number(name) else {
            return false;
        };
        let score = self.members.get(number).score();
        self.order.remove(self.cursor(score, name));
        self.forget(number);
        true
    }

    /// Takes out the first or the last member.
    pub fn pop(&mut self, last: bool) -> Option<Member> {
        let cursor = self.order.end(last)?;
        let (_, number) = self.order.remove(cursor);
        Some(self.forget(number))
    }

    /// Takes out the members with these ranks.
    pub fn remove_range(&mut self, ranks: Range<usize>) {
        for _ in ranks.clone() {
            let Some(cursor) = self.order.cursor_of(ranks.start) else {
                return;
            };
            let (_, number) = self.order.remove(cursor);
            self.forget(number);
        }
    }

    /// Takes a member which is in the order no more out of the others.
    fn forget(&mut self, number: u32) -> Member {
        let members = &self.members;
        let hash_of = |number: &u32| hash_of_member(members.get(*number).name());
        self.changes.note_name(members.get(number).name());
        let hash = hash_of(&number);
        self.numbers.remove(hash, |other| *other == number, hash_of);
        let member = self.members.remove(number);
        if let Some(numbers) = self.members.close_superfluous() {
            numbers.for_each(|number| self.move_down(number));
            self.members.end_piece();
        }
        member
    }

    /// Gives the member with a number, if it is not free, a lower one.
    fn move_down(&mut self, number: u32) {
        let Some(member) = self.members.find(number) else {
            return;
        };
        let cursor = self.cursor(member.score(), member.name());
        let hash = hash_of_member(member.name());
        let lower = self.members.move_down(number);
        if let Some(moved) = self.numbers.find_mut(hash, |other| *other == number) {
            *moved = lower;
        }
        self.order.set_number(cursor, lower);
    }

    pub(in crate::value) fn follow(&mut self, version: u64) {
        self.changes.follow(version);
    }

    /// Ends that, and a copy that is being taken out.
    pub(in crate::value) fn detach(&mut self) {
        self.changes.give_up();
        self.members.detach();
    }

    pub(in crate::value) fn changes(&self) -> &Changes<Box<[u8]>> {
        &self.changes
    }

    /// Begins a copy of all members as they are now.
    pub fn freeze(&mut self) {
        self.members.freeze();
    }

    /// Shows the members of a few pieces more of that copy, in no order, and whether there are others; `None` if there is no
    /// copy.
    pub fn show_frozen(&mut self, show: impl FnMut(&Member)) -> Option<bool> {
        self.members.show_frozen(PIECES_AT_ONCE, show)
    }

    /// The members with these ranks, in order.
    pub fn range(&self, ranks: Range<usize>) -> impl DoubleEndedIterator<Item = &Member> {
        let numbers = self.order.range(ranks);
        numbers.map(|number| self.members.get(number))
    }

    /// The ranks of the members with scores from one bound to another.
    pub fn score_ranks(&self, from: Bound<f64>, to: Bound<f64>) -> Range<usize> {
        let start = self.order.cursor(|score, _| from.is_above(&score));
        let end = self.order.cursor(|score, _| to.reaches(&score));
        let (start, end) = (self.order.rank(start), self.order.rank(end));
        start..end.max(start)
    }

    /// The same for names, where all scores are equal.
    pub fn lex_ranks(&self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Range<usize> {
        let name = |number| self.members.get(number).name();
        let start = self.order.cursor(|_, number| from.is_above(&name(number)));
        let end = self.order.cursor(|_, number| to.reaches(&name(number)));
        let (start, end) = (self.order.rank(start), self.order.rank(end));
        start..end.max(start)
    }

    /// All members, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.members.iter()
    }

    /// A member by chance, each as likely as any other.
    pub fn random(&self, random: u64) -> Option<&Member> {
        if self.is_empty() {
            return None;
        }
        let numbers = self.members.numbers() as u64;
        let mut random = Random(random);
        // One of eight numbers at the least has a member.
        loop {
            let number = random.below(numbers);
            if let Some(member) = self.members.find(number as u32) {
                return Some(member);
            }
        }
    }

    /// Shows about `count` members and gives the cursor to go on with, as [`Segments::scan`].
    pub fn scan(&self, cursor: u64, count: usize, mut show: impl FnMut(&Member)) -> u64 {
        let hash_of = |number: &u32| hash_of_member(self.members.get(*number).name());
        let show = |number: &u32| show(self.members.get(*number));
        self.numbers.scan(cursor, count, hash_of, show)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// The model: scores by name, sorted anew where the order is asked for.
    type Model = BTreeMap<Vec<u8>, f64>;

    fn sorted(model: &Model) -> Vec<(f64, Vec<u8>)> {
        let mut all: Vec<_> = model.iter().map(|(n, s)| (*s, n.clone())).collect();
        all.sort_by(|a, b| compare((a.0, &a.1), (b.0, &b.1)));
        all
    }

    fn check(set: &SortedSet, model: &Model) {
        let expected = sorted(model);
        let shown = |member: &Member| (member.score(), member.name().to_vec());
        let found: Vec<_> = set.range(0..set.len()).map(shown).collect();
        assert_eq!(found, expected);
        let back: Vec<_> = set.range(0..set.len()).rev().map(shown).collect();
        assert!(back.iter().eq(expected.iter().rev()));
        for (rank, (score, name)) in expected.iter().enumerate() {
            assert_eq!(
                (set.rank(name), set.score(name)),
                (Some(rank), Some(*score))
            );
        }
        set.order.check();
    }

    #[test]
    fn agrees_with_a_sorted_list() {
        let mut random = Random(3);
        let (mut set, mut model) = (SortedSet::default(), Model::new());
        for (rounds, adds, names, scores) in [
            (3_000, 90, 2_000, 5),
            (9_000, 75, 40_000, 1_000_000),
            (6_000, 20, 40_000, 7),
            (6_000, 80, 9_000, 300),
            (30_000, 3, 40_000, 20),
        ] {
            for _ in 0..rounds {
                let name = random.below(names).to_string().into_bytes();
                if random.below(100) < adds {
                    let score = random.below(scores) as f64 - 2.0;
                    let change = match model.insert(name.clone(), score) {
                        None => Upsert::Added,
                        Some(old) if old == score => Upsert::Kept,
                        Some(_) => Upsert::Moved,
                    };
                    assert_eq!(set.set(&name, score), change);
                } else if random.below(10) == 0 {
                    let last = random.below(2) == 1;
                    let popped = set.pop(last).map(|member| member.name().to_vec());
                    let all = sorted(&model);
                    let expected = if last { all.last() } else { all.first() };
                    assert_eq!(popped.as_ref(), expected.map(|(_, name)| name));
                    popped.map(|name| model.remove(&name));
                } else {
                    assert_eq!(set.remove(&name), model.remove(&name).is_some());
                }
            }
            check(&set, &model);
            ranges_agree(&set, &model, &mut random);
        }
        set.remove_range(0..set.len());
        assert!(set.is_empty() && set.heap_bytes() < 3_000);
    }

    fn ranges_agree(set: &SortedSet, model: &Model, random: &mut Random) {
        let all = sorted(model);
        for _ in 0..100 {
            let bound = |n: u64| match n % 10 {
                0 => Bound::Lowest,
                1 => Bound::Highest,
                2..5 => Bound::Excluding((n / 10 % 12) as f64 - 3.0),
                _ => Bound::Including((n / 10 % 12) as f64 - 3.0),
            };
            let (from, to) = (bound(random.below(1_000)), bound(random.below(1_000)));
            let ranks = set.score_ranks(from, to);
            let inside = |score: &f64| !from.is_above(score) && to.reaches(score);
            let expected = all.iter().filter(|(score, _)| inside(score));
            let found = set.range(ranks).map(Member::name);
            assert!(found.eq(expected.map(|(_, name)| name.as_slice())));
        }
    }

    #[test]
    fn ranges_of_names_and_of_ranks_are_cut_out() {
        let mut set = SortedSet::default();
        for n in 0..1_000 {
            set.set(format!("{n:04}").as_bytes(), 0.0);
        }
        let ranks = set.lex_ranks(Bound::Excluding(b"0009"), Bound::Including(b"0500"));
        assert_eq!(ranks, 10..501);
        assert_eq!(set.lex_ranks(Bound::Lowest, Bound::Highest), 0..1_000);
        assert!(set.lex_ranks(Bound::Highest, Bound::Lowest).is_empty());
        set.remove_range(10..501);
        assert_eq!(set.len(), 509);
        assert_eq!(set.rank(b"0501"), Some(10));
        assert_eq!(set.rank(b"0500"), None);
        set.order.check();
    }

    #[test]
    #[cfg_attr(miri, ignore = "it takes hours there")]
    fn a_scan_shows_all_and_a_draw_each_as_often() {
        let mut set = SortedSet::default();
        for n in 0_u32..3_000 {
            set.set(n.to_string().as_bytes(), f64::from(n % 9));
        }
        let (mut seen, mut cursor) = (std::collections::BTreeSet::new(), 0);
        loop {
            cursor = set.scan(cursor, 40, |member| {
                seen.insert(member.name().to_vec());
            });
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(seen.len(), 3_000);
        let mut random = Random(5);
        let mut drawn = BTreeMap::new();
        for _ in 0..90_000 {
            let member = set.random(random.below(u64::MAX)).unwrap();
            *drawn.entry(member.name().to_vec()).or_insert(0) += 1;
        }
        assert!(drawn.len() == 3_000 && drawn.values().all(|times| (5..90).contains(times)));
        // Free numbers are not drawn.
        for n in 0_u32..2_000 {
            assert!(set.remove(n.to_string().as_bytes()));
        }
        drawn.clear();
        for _ in 0..30_000 {
            let member = set.random(random.below(u64::MAX)).unwrap();
            *drawn.entry(member.name().to_vec()).or_insert(0) += 1;
        }
        assert!(drawn.len() == 1_000 && drawn.values().all(|times| (5..90).contains(times)));
    }

    #[test]
    #[cfg_attr(miri, ignore = "it takes hours there")]
    fn numbers_are_used_again_and_go_with_the_members() {
        let mut set = SortedSet::default();
        let mut random = Random(11);
        let mut name = |n: u32| (n + (random.below(1000) as u32) * 1_000_000).to_string();
        for n in 0..10_000 {
            set.set(name(n).as_bytes(), f64::from(n));
        }
        for n in 10_000..60_000 {
            set.pop(n % 3 == 0);
            set.set(name(n).as_bytes(), f64::from(n % 20_000));
        }
        assert_eq!((set.len(), set.members.numbers()), (10_000, 10_000));
        for left in (0..10_000).rev() {
            set.pop(left % 3 == 0);
            assert!(set.members.numbers() <= 8 * left + 2 * 512, "{left}");
            if left % 499 == 0 {
                let all: Vec<_> = set.range(0..set.len()).collect();
                assert_eq!(all.len(), left);
                for (rank, member) in all.iter().enumerate() {
                    assert_eq!(set.rank(member.name()), Some(rank));
                }
            }
        }
        assert_eq!(set.members.numbers(), 0);
    }

    #[test]
    #[cfg_attr(miri, ignore = "it takes hours there")]
    fn a_member_costs_little_and_none_is_left_behind() {
        let mut set = SortedSet::default();
        for n in 0_u32..100_000 {
            set.set(
                n.to_string().as_bytes(),
                f64::from(n.wrapping_mul(0x9e37_79b9)),
            );
        }
        let each = set.heap_bytes() as f64 / 100_000.0;
        assert!(each < 75.0, "{each} bytes for each member");
        for n in 0_u32..100_000 {
            assert!(set.remove(n.to_string().as_bytes()));
        }
        assert!(set.heap_bytes() < 3_000, "{}", set.heap_bytes());
    }

    #[test]
    #[cfg_attr(miri, ignore = "it takes hours there")]
    fn a_copy_in_steps_is_of_one_moment() {
        let mut random = Random(0x5eed_5eed);
        for _ in 0..20 {
            let (mut set, mut model) = (SortedSet::default(), Model::new());
            for _ in 0..random.below(9000) {
                let name = random.below(6000).to_string().into_bytes();
                let score = random.below(50) as f64;
                set.set(&name, score);
                model.insert(name, score);
            }
            set.freeze();
            let (expected, mut copied) = (model.clone(), Model::new());
            loop {
                let more = set.show_frozen(|member| {
                    let twice = copied.insert(member.name().to_vec(), member.score());
                    assert!(twice.is_none());
                });
                if more != Some(true) {
                    assert_eq!(more, Some(false));
                    break;
                }
                for _ in 0..random.below(600) {
                    let name = random.below(6000).to_string().into_bytes();
                    if random.below(3) > 0 {
                        assert_eq!(set.remove(&name), model.remove(&name).is_some());
                    } else {
                        let score = random.below(50) as f64;
                        set.set(&name, score);
                        model.insert(name, score);
                    }
                }
            }
            assert_eq!(copied, expected);
            assert!(set.show_frozen(|_| {}).is_none());
            check(&set, &model);
        }
    }
}
