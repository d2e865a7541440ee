//! A copy of a collection as it is at one moment, taken out in steps while the collection goes on changing.
//!
//! The collection has its elements in parts of a few hundred. A part that is about to change and is not copied yet is kept as
//! it was; what has not changed is copied from where it stands. So a copy of a million elements holds up nobody for longer
//! than a few parts take.

use std::collections::HashMap;
use std::ops::Range;

/// The copy of a collection with elements `T`.
#[derive(Debug)]
pub(super) struct Frozen<T> {
    /// The next part to be copied.
    next: usize,
    /// How many parts there were.
    end: usize,
    /// Parts that have changed since, as they were.
    kept: HashMap<usize, Vec<T>>,
}

/// Where a collection has its copy; a clone of the collection has none.
#[derive(Debug)]
pub(super) struct Freezer<T>(Option<Box<Frozen<T>>>);

impl<T> Default for Freezer<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Clone for Freezer<T> {
    fn clone(&self) -> Self {
        Self(None)
    }
}

impl<T: Clone> Freezer<T> {
    /// Begins a copy of the parts with these numbers, in place of one that was given up.
    pub(super) fn freeze(&mut self, parts: Range<usize>) {
        self.0 = Some(Box::new(Frozen {
            next: parts.start,
            end: parts.end,
            kept: HashMap::new(),
        }));
    }

    /// Whether there is a copy to be taken out. While there is, parts keep their numbers.
    #[inline]
    pub(super) fn is_frozen(&self) -> bool {
        self.0.is_some()
    }

    /// A part is about to change.
    #[inline]
    pub(super) fn keep<'a, I>(&mut self, part: usize, elements: impl FnOnce() -> I)
    where
        I: Iterator<Item = &'a T>,
        T: 'a,
    {
        if let Some(frozen) = &mut self.0
            && (frozen.next..frozen.end).contains(&part)
        {
            let kept = frozen.kept.entry(part);
            kept.or_insert_with(|| elements().cloned().collect());
        }
    }

    /// Shows the elements of some parts more, and whether there are others; `None` if there is no copy. `part` has those of a
    /// part that has not changed.
    pub(super) fn step<'a, I>(
        &mut self,
        parts: usize,
        part: impl Fn(usize) -> I,
        mut show: impl FnMut(&T),
    ) -> Option<bool>
    where
        I: Iterator<Item = &'a T>,
        T: 'a,
    {
        let frozen = self.0.as_mut()?;
        let end = frozen.end.min(frozen.next + parts);
        for number in frozen.next..end {
            match frozen.kept.remove(&number) {
                Some(kept) => kept.iter().for_each(&mut show),
                None => part(number).for_each(&mut show),
            }
        }
        frozen.next = end;
        let more = end < frozen.end;
        if !more {
            self.0 = None;
        }
        Some(more)
    }
}
