//! Sorted sets: members with scores, in the order of their scores and then of their names.
//!
//! A small one is a listpack of members and scores in turn, a large one a [`SortedSet`]. It knows nothing of keys, replies and
//! time.

use std::cmp::Ordering;
use std::ops::Range;

use smallvec::SmallVec;

use super::hash::PackedLimits;
use super::large::Large;
use super::listpack::{self, Element, OneWay};
use super::number;
use super::sorted_set::{Member, SortedSet, compare};

pub use super::sorted_set::{Bound, MEMBERS_MAX, Upsert};

/// A sorted set that is being changed.
#[derive(Debug)]
pub enum Zset {
    /// A listpack.
    Packed(Vec<u8>),
    /// Too many or too long members for that.
    Large(Box<SortedSet>),
}

/// A sorted set that is being read.
#[derive(Clone, Copy, Debug)]
pub enum ZsetRef<'a> {
    /// A listpack.
    Packed(OneWay<'a>),
    /// A large one.
    Large(&'a SortedSet),
}

/// The text of a score in a listpack, which has no negative zero.
fn score_text(score: f64) -> number::Text {
    match number::whole(score) {
        Some(integer) => number::format_i64(integer),
        None => number::format_f64(score),
    }
}

/// The score that an element of a listpack is.
fn score_of(element: Element<'_>) -> f64 {
    match element {
        Element::Integer(integer) => integer as f64,
        Element::Text(text) => number::parse_f64(text).unwrap_or_default(),
    }
}

/// A member of a listpack with where it begins and where the next one does.
struct Pair<'a> {
    places: Range<usize>,
    name: Element<'a>,
    score: f64,
}

/// The members of a listpack.
struct Pairs<'a>(listpack::Iter<'a, false>);

impl<'a> Iterator for Pairs<'a> {
    type Item = Pair<'a>;

    fn next(&mut self) -> Option<Pair<'a>> {
        let (name, score) = (self.0.next()?, self.0.next()?);
        Some(Pair {
            places: name.at..score.end,
            name: name.element,
            score: score_of(score.element),
        })
    }
}

fn pairs(pack: OneWay<'_>) -> Pairs<'_> {
    Pairs(pack.iter())
}

/// Members of a listpack, the last one first: a listpack of one way is walked to know where they are. A few take no memory.
fn backwards<'a>(pairs: impl Iterator<Item = Pair<'a>>) -> impl Iterator<Item = Pair<'a>> {
    pairs.collect::<SmallVec<[_; 16]>>().into_iter().rev()
}

impl Zset {
    /// It, to be read.
    pub fn view(&self) -> ZsetRef<'_> {
        match self {
            Self::Packed(bytes) => ZsetRef::Packed(OneWay::new(bytes)),
            Self::Large(members) => ZsetRef::Large(members),
        }
    }

    /// One of different members.
    pub fn of_members(members: &[(Vec<u8>, f64)], limits: PackedLimits) -> Self {
        let mut zset = Self::Packed(OneWay::empty());
        let is_long = |(name, _): &(Vec<u8>, f64)| name.len() > limits.bytes;
        if members.len() > limits.entries || members.iter().any(is_long) {
            // At once: a listpack has no negative zero.
            zset.make_large();
        }
        for (name, score) in members {
            zset.set(name, *score, limits);
        }
        zset
    }

    /// Gives a member a score, which is not NaN. The caller keeps it below [`MEMBERS_MAX`] members.
    pub fn set(&mut self, name: &[u8], score: f64, limits: PackedLimits) -> Upsert {
        let bytes = match self {
            Self::Large(members) => return members.set(name, score),
            Self::Packed(bytes) => bytes,
        };
        let pack = OneWay::new(bytes);
        let Some(found) = pack.find(name, 2) else {
            if pack.len() / 2 >= limits.entries || name.len() > limits.bytes {
                self.make_large();
                return self.set(name, score, limits);
            }
            insert(bytes, name, score);
            return Upsert::Added;
        };
        let Some(old) = pack.at(found.end) else {
            return Upsert::Kept;
        };
        if score_of(old.element) == score {
            return Upsert::Kept;
        }
        let places = found.at..old.end;
        OneWay::remove(bytes, places, 2);
        insert(bytes, name, score);
        Upsert::Moved
    }

    /// Makes a large one of it.
    pub fn make_large(&mut self) {
        let mut members = Box::<SortedSet>::default();
        for (name, score) in self.view().iter() {
            members.set(&name.to_vec(), score);
        }
        *self = Self::Large(members);
    }

    /// Makes a listpack of a large one that is as small as one may be.
    pub fn pack_if_small(&mut self, limits: PackedLimits) {
        let Self::Large(members) = self else { return };
        let mut digits = listpack::Digits::new();
        let is_short = |(name, _): (Element<'_>, f64)| name.text(&mut digits).len() <= limits.bytes;
        if members.len() > limits.entries || !self.view().iter().all(is_short) {
            return;
        }
        let mut bytes = OneWay::empty();
        for (name, score) in self.view().iter() {
            OneWay::push(&mut bytes, name.text(&mut digits));
            OneWay::push(&mut bytes, &score_text(score));
        }
        *self = Self::Packed(bytes);
    }

    /// Takes a member out; whether it was there.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        match self {
            Self::Large(members) => members.remove(name),
            Self::Packed(bytes) => {
                let pack = OneWay::new(bytes);
                let Some(found) = pack.find(name, 2) else {
                    return false;
                };
                let end = pack.at(found.end).map_or(found.end, |score| score.end);
                let places = found.at..end;
                OneWay::remove(bytes, places, 2);
                true
            }
        }
    }

    /// Shows the first or the last member and takes it out; false if there is none.
    pub fn pop_with(&mut self, last: bool, show: impl FnOnce(Element<'_>, f64)) -> bool {
        match self {
            Self::Large(members) => match members.pop(last) {
                Some(member) => show(Element::Text(member.name()), member.score()),
                None => return false,
            },
            Self::Packed(bytes) => {
                let mut all = pairs(OneWay::new(bytes));
                let pair = if last { all.last() } else { all.next() };
                let Some(pair) = pair else { return false };
                show(pair.name, pair.score);
                OneWay::remove(bytes, pair.places, 2);
            }
        }
        true
    }

    /// Takes out the members with these ranks. All of a large one are freed in the background.
    pub fn remove_range(&mut self, ranks: Range<usize>) {
        match self {
            Self::Large(members) if ranks.len() == members.len() => {
                Large::Zset(std::mem::take(members)).free();
            }
            Self::Large(members) => members.remove_range(ranks),
            Self::Packed(bytes) => {
                let mut chosen = pairs(OneWay::new(bytes)).skip(ranks.start);
                let mut chosen = chosen.by_ref().take(ranks.len());
                let Some(first) = chosen.next() else { return };
                let (mut count, mut end) = (1, first.places.end);
                for pair in chosen {
                    (count, end) = (count + 1, pair.places.end);
                }
                let places = first.places.start..end;
                OneWay::remove(bytes, places, 2 * count);
            }
        }
    }
}

/// Puts a member that is not there into a listpack, at its place in the order.
fn insert(bytes: &mut Vec<u8>, name: &[u8], score: f64) {
    let mut digits = listpack::Digits::new();
    let behind = pairs(OneWay::new(bytes)).find(|pair| {
        let other = (pair.score, pair.name.text(&mut digits));
        compare(other, (score, name)) == Ordering::Greater
    });
    let at = behind.map(|pair| pair.places.start);
    let score = score_text(score);
    match at {
        None => {
            OneWay::push(bytes, name);
            OneWay::push(bytes, &score);
        }
        Some(at) => {
            OneWay::replace(bytes, at..at, 0, &score);
            OneWay::replace(bytes, at..at, 0, name);
        }
    }
}

fn shown(member: &Member) -> (Element<'_>, f64) {
    (Element::Text(member.name()), member.score())
}

impl<'a> ZsetRef<'a> {
    /// How many members it has.
    pub fn len(self) -> usize {
        match self {
            Self::Packed(pack) => pack.len() / 2,
            Self::Large(members) => members.len(),
        }
    }

    /// Whether it has none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The score of a member.
    pub fn score(self, name: &[u8]) -> Option<f64> {
        match self {
            Self::Large(members) => members.score(name),
            Self::Packed(pack) => {
                let found = pack.find(name, 2)?;
                Some(score_of(pack.at(found.end)?.element))
            }
        }
    }

    /// How many members stand before this one.
    pub fn rank(self, name: &[u8]) -> Option<usize> {
        match self {
            Self::Large(members) => members.rank(name),
            Self::Packed(pack) => {
                let sought = Element::of(name);
                pairs(pack).position(|pair| pair.name == sought)
            }
        }
    }

    /// All members in order.
    pub fn iter(self) -> impl Iterator<Item = (Element<'a>, f64)> {
        self.range(0..self.len(), false)
    }

    /// The members with these ranks, in order or the last one first.
    pub fn range(
        self,
        ranks: Range<usize>,
        reverse: bool,
    ) -> impl Iterator<Item = (Element<'a>, f64)> {
        let (pack, large) = match self {
            Self::Packed(pack) => {
                let chosen = pairs(pack).skip(ranks.start).take(ranks.len());
                (Some(chosen), None)
            }
            Self::Large(members) => (None, Some(members.range(ranks))),
        };
        let ((up, down), (large_up, large_down)) = if reverse {
            ((None, pack), (None, large))
        } else {
            ((pack, None), (large, None))
        };
        let up = up.into_iter().flatten();
        let packed = up.chain(down.into_iter().flat_map(backwards));
        let packed = packed.map(|pair| (pair.name, pair.score));
        let large_down = large_down.into_iter().flat_map(Iterator::rev);
        let large = large_up.into_iter().flatten().chain(large_down);
        packed.chain(large.map(shown))
    }

    /// The ranks of the members with scores from one bound to another.
    pub fn score_ranks(self, from: Bound<f64>, to: Bound<f64>) -> Range<usize> {
        match self {
            Self::Large(members) => members.score_ranks(from, to),
            Self::Packed(pack) => {
                let start = pairs(pack).take_while(|pair| from.is_above(&pair.score));
                let end = pairs(pack).take_while(|pair| to.reaches(&pair.score));
                let (start, end) = (start.count(), end.count());
                start..end.max(start)
            }
        }
    }

    /// The same for names. It means something only where all scores are equal; where they are not, a packed set is walked over
    /// as Redis does, from the end for `reverse`.
    pub fn lex_ranks(self, from: Bound<&[u8]>, to: Bound<&[u8]>, reverse: bool) -> Range<usize> {
        let pack = match self {
            Self::Large(members) => return members.lex_ranks(from, to),
            Self::Packed(pack) => pack,
        };
        let mut digits = listpack::Digits::new();
        let mut inside = |name: Element<'_>| {
            let name = name.text(&mut digits);
            (!from.is_above(&name), to.reaches(&name))
        };
        let (Some(first), Some(last)) = (pairs(pack).next(), pairs(pack).last()) else {
            return 0..0;
        };
        if !inside(last.name).0 || !inside(first.name).1 {
            return 0..0;
        }
        let len = self.len();
        if reverse {
            let behind = backwards(pairs(pack)).take_while(|pair| !inside(pair.name).1);
            let end = len - behind.count();
            let mut digits = listpack::Digits::new();
            let before = backwards(pairs(pack).take(end));
            let chosen = before.take_while(|pair| !from.is_above(&pair.name.text(&mut digits)));
            return end - chosen.count()..end;
        }
        let before = pairs(pack).take_while(|pair| !inside(pair.name).0);
        let start = before.count();
        let chosen = pairs(pack).skip(start);
        let chosen = chosen.take_while(|pair| inside(pair.name).1);
        start..start + chosen.count()
    }

    /// A member by chance, each as likely as the others.
    pub fn random(self, random: u64) -> Option<(Element<'a>, f64)> {
        match self {
            Self::Large(members) => members.random(random).map(shown),
            Self::Packed(_) => {
                let index = random.checked_rem(self.len() as u64)? as usize;
                self.range(index..index + 1, false).next()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use crate::testing::rounds;

    const LIMITS: PackedLimits = PackedLimits {
        entries: 12,
        bytes: 8,
    };

    fn members(zset: &Zset, reverse: bool) -> Vec<(Vec<u8>, f64)> {
        let view = zset.view();
        let all = view.range(0..view.len(), reverse);
        all.map(|(name, score)| (name.to_vec(), score)).collect()
    }

    #[test]
    fn agrees_with_a_sorted_list_in_both_forms() {
        let mut random = Random(88_172_645_463_325_252);
        let mut next = move |below: u64| random.below(below);
        let mut large = 0;
        for names in [5, 10, 30].repeat(rounds(30)) {
            let mut zset = Zset::Packed(OneWay::empty());
            let mut model: Vec<(Vec<u8>, f64)> = Vec::new();
            for _ in 0..60 {
                let name = next(names).to_string().into_bytes();
                let at = model.iter().position(|(other, _)| *other == name);
                let old = at.map(|at| model.remove(at).1);
                if next(4) > 0 {
                    let score = next(9) as f64 / 2.0 - 1.0;
                    let change = match old {
                        None => Upsert::Added,
                        Some(old) if old == score => Upsert::Kept,
                        Some(_) => Upsert::Moved,
                    };
                    assert_eq!(zset.set(&name, score, LIMITS), change);
                    model.push((name, score));
                } else {
                    assert_eq!(zset.remove(&name), old.is_some());
                }
                model.sort_by(|a, b| compare((a.1, &a.0), (b.1, &b.0)));
                if next(10) == 0 && !model.is_empty() {
                    let last = next(2) == 1;
                    let expected = if last { model.len() - 1 } else { 0 };
                    let mut popped = None;
                    zset.pop_with(last, |name, score| popped = Some((name.to_vec(), score)));
                    assert_eq!(popped, Some(model.remove(expected)));
                }
                if next(20) == 0 && !model.is_empty() {
                    let start = next(model.len() as u64) as usize;
                    let end = (start + next(3) as usize).min(model.len());
                    zset.remove_range(start..end);
                    model.drain(start..end);
                }
            }
            assert_eq!(members(&zset, false), model);
            let view = zset.view();
            for (rank, (name, score)) in model.iter().enumerate() {
                assert_eq!(view.rank(name), Some(rank));
                assert_eq!(view.score(name), Some(*score));
            }
            model.reverse();
            assert_eq!(members(&zset, true), model);
            large += usize::from(matches!(zset, Zset::Large(_)));
        }
        assert!((10..80).contains(&large) || cfg!(miri), "{large}");
    }

    #[test]
    fn scores_of_every_kind_come_back() {
        let scores = [
            f64::NEG_INFINITY,
            -1e300,
            -4.611_686_018_427_388e18,
            -1.5,
            0.0,
            5e-324,
            0.1,
            3.0,
            1e17,
            4.611_686_018_427_389e18,
            1e19,
            f64::MAX,
            f64::INFINITY,
        ];
        let limits = PackedLimits {
            entries: 100,
            bytes: 100,
        };
        let mut zset = Zset::Packed(OneWay::empty());
        for (n, score) in scores.iter().enumerate().rev() {
            zset.set(format!("m{n}").as_bytes(), *score, limits);
        }
        let found: Vec<f64> = zset.view().iter().map(|(_, score)| score).collect();
        assert_eq!(found, scores);
        zset.make_large();
        let found: Vec<f64> = zset.view().iter().map(|(_, score)| score).collect();
        assert_eq!(found, scores);
    }

    #[test]
    fn ranges_of_scores_and_names_are_the_same_in_both_forms() {
        let limits = PackedLimits {
            entries: 100,
            bytes: 100,
        };
        let mut packed = Zset::Packed(OneWay::empty());
        for n in 0..40 {
            packed.set(format!("{n:02}").as_bytes(), f64::from(n / 4), limits);
        }
        let mut large = Zset::Packed(OneWay::empty());
        for (name, score) in packed.view().iter() {
            large.set(&name.to_vec(), score, limits);
        }
        large.make_large();
        let bounds = |n: f64| [Bound::Including(n), Bound::Excluding(n)];
        for from in (-1..11).flat_map(|n| bounds(f64::from(n))) {
            for to in (-1..11).flat_map(|n| bounds(f64::from(n))) {
                let expected = packed.view().score_ranks(from, to);
                assert_eq!(large.view().score_ranks(from, to).len(), expected.len());
                for reverse in [false, true] {
                    let ranks = expected.clone();
                    let found = large.view().range(ranks.clone(), reverse);
                    let found = found.map(|(name, score)| (name.to_vec(), score));
                    let expected = packed.view().range(ranks, reverse);
                    assert!(found.eq(expected.map(|(name, score)| (name.to_vec(), score))));
                }
            }
        }
        let mut names = Zset::Packed(OneWay::empty());
        for name in [&b"a"[..], b"b", b"c", b"d"] {
            names.set(name, 0.0, limits);
        }
        for large in [false, true] {
            if large {
                names.make_large();
            }
            for reverse in [false, true] {
                let ranks = |from, to| names.view().lex_ranks(from, to, reverse);
                assert_eq!(ranks(Bound::Including(b"b"), Bound::Including(b"c")), 1..3);
                assert_eq!(ranks(Bound::Excluding(b"b"), Bound::Highest), 2..4);
                assert_eq!(ranks(Bound::Lowest, Bound::Excluding(b"a")).len(), 0);
                assert_eq!(ranks(Bound::Lowest, Bound::Highest), 0..4);
            }
        }
    }
}
