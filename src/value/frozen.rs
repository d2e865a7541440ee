//! A copy of a collection as it is at one moment, taken out in steps while the collection goes on changing.
//!
//! The collection has its elements in parts of a few hundred, each with a name that ascends: a number, or the first id of a
//! node. A part that is about to change, or to go, and is not copied yet is kept as it was; what has not changed is copied from
//! where it stands. So a copy of a million elements holds up nobody for longer than a few parts take.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, RangeInclusive};

/// The copy of a collection whose parts have names `K` and are kept as `P`, with `A` beside the parts.
#[derive(Debug)]
struct Frozen<K, P, A> {
    /// Where the next part to be copied lies.
    next: Bound<K>,
    /// The last part that there was.
    last: K,
    /// The parts that are still to be copied, where it is not all of them.
    only: Option<BTreeSet<K>>,
    /// Parts that have changed or gone since, as they were.
    kept: BTreeMap<K, P>,
    /// What is told of the collection beside its parts.
    beside: A,
}

/// Where a collection has its copy; a clone of the collection has none.
#[derive(Debug)]
pub(super) struct Freezer<K, P, A = ()>(Option<Box<Frozen<K, P, A>>>);

/// The names of the parts that are still to be copied: where they begin, and the last one.
pub(super) type Rest<K> = (Bound<K>, K);

impl<K, P, A> Default for Freezer<K, P, A> {
    fn default() -> Self {
        Self(None)
    }
}

impl<K, P, A> Clone for Freezer<K, P, A> {
    fn clone(&self) -> Self {
        Self(None)
    }
}

impl<K: Ord + Copy, P, A> Frozen<K, P, A> {
    fn rest(&self) -> Rest<K> {
        (self.next, self.last)
    }

    fn is_to_come(&self, part: K) -> bool {
        if let Some(only) = &self.only {
            return only.contains(&part);
        }
        let is_behind = match self.next {
            Bound::Included(next) => part >= next,
            Bound::Excluded(done) => part > done,
            Bound::Unbounded => true,
        };
        is_behind && part <= self.last
    }
}

impl<K: Ord + Copy, P, A> Freezer<K, P, A> {
    /// Begins a copy of the parts with these names, in place of one that was given up.
    pub(super) fn freeze(&mut self, parts: RangeInclusive<K>, beside: A) {
        self.0 = Some(Box::new(Frozen {
            next: Bound::Included(*parts.start()),
            last: *parts.end(),
            only: None,
            kept: BTreeMap::new(),
            beside,
        }));
    }

    /// The same of some parts, which stand in the collection.
    pub(super) fn freeze_only(&mut self, parts: BTreeSet<K>, beside: A) {
        let (Some(&first), Some(&last)) = (parts.first(), parts.last()) else {
            return;
        };
        self.freeze(first..=last, beside);
        if let Some(frozen) = &mut self.0 {
            frozen.only = Some(parts);
        }
    }

    /// Whether there is a copy to be taken out. While there is, parts keep their names.
    #[inline]
    pub(super) fn is_frozen(&self) -> bool {
        self.0.is_some()
    }

    /// A part is about to change, or to go.
    #[inline]
    pub(super) fn keep(&mut self, part: K, copy: impl FnOnce() -> P) {
        if let Some(frozen) = &mut self.0
            && frozen.is_to_come(part)
        {
            frozen.kept.entry(part).or_insert_with(copy);
        }
    }

    /// Shows up to so many parts more, and gives what is beside them when there are no others; `None` if there is no copy. `first` finds the first
    /// part among the rest that stands in the collection. A part is shown as it was kept, or, where it is as it was, without:
    /// it is to be copied from where it stands.
    pub(super) fn step(
        &mut self,
        parts: usize,
        first: impl Fn(Rest<K>) -> Option<K>,
        mut show: impl FnMut(K, Option<P>),
    ) -> Option<Option<A>> {
        let frozen = self.0.as_mut()?;
        for _ in 0..parts {
            let stands = match &mut frozen.only {
                Some(only) => only.pop_first(),
                None => first(frozen.rest()),
            };
            let kept = frozen.kept.first_key_value().map(|(part, _)| *part);
            let Some(part) = stands.into_iter().chain(kept).min() else {
                return self.0.take().map(|frozen| Some(frozen.beside));
            };
            frozen.next = Bound::Excluded(part);
            show(part, frozen.kept.remove(&part));
        }
        Some(None)
    }
}

/// The numbers of so many parts, from the first one's on.
pub(super) fn numbers(first: usize, parts: usize) -> RangeInclusive<usize> {
    match parts {
        0 => RangeInclusive::new(1, 0),
        _ => first..=first + parts - 1,
    }
}

/// The first of the rest where parts have the numbers below `end`.
pub(super) fn first_number((next, last): Rest<usize>, end: usize) -> Option<usize> {
    let first = match next {
        Bound::Included(next) => next,
        Bound::Excluded(done) => done.checked_add(1)?,
        Bound::Unbounded => 0,
    };
    (first <= last && first < end).then_some(first)
}
