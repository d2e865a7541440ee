//! A hash table whose growth never stalls: many small tables, each for a range of hashes.
//!
//! The top bits of a hash choose a **segment** through a directory, as in extendible hashing (Fagin, Nievergelt, Pippenger,
//! Strong, 1979). A segment that is full is cut in two by the next bit; two neighbours that have become nearly empty are put
//! together. Either moves a few hundred elements, however many there are in all. When the directory is too short for a cut it
//! doubles: four bytes for each of its places.
//!
//! It is given 64-bit hashes of good quality and knows nothing of what it holds.

use hashbrown::HashTable;

use super::frozen::{self, Freezer};
use crate::allocator::size_class;

/// The hash as a segment's own table takes it, which compares the top seven bits before it looks at an element: those of the
/// hash itself chose the segment, and would be the same for all in it. The directory knows at most 28 bits, from the top on.
#[inline]
fn within(hash: u64) -> u64 {
    hash.rotate_left(40)
}

/// So many segments of a copy ([`Segments::show_frozen`]) hold up others for as long as a hundred microseconds.
pub const SEGMENTS_AT_ONCE: usize = 4;

/// A fuller segment is cut in two: it would need 512 buckets.
const SEGMENT_MAX: usize = 224;
/// Two neighbours with fewer elements are put together.
const MERGE_BELOW: usize = 64;
/// So many equal bits no two hashes of good quality have; beyond it a segment grows as an ordinary table does.
const DEPTH_MAX: u32 = 28;

/// The elements of a range of hashes: those whose top `depth` bits are `prefix`.
#[derive(Clone, Debug)]
struct Segment<T> {
    table: HashTable<T>,
    prefix: u64,
    depth: u32,
}

impl<T> Segment<T> {
    fn new(prefix: u64, depth: u32) -> Self {
        Self {
            table: HashTable::new(),
            prefix,
            depth,
        }
    }

    /// The first hash of its range.
    fn first(&self) -> u64 {
        self.prefix.checked_shl(64 - self.depth).unwrap_or(0)
    }

    /// The last one.
    fn last(&self) -> u64 {
        self.first() | u64::MAX.checked_shr(self.depth).unwrap_or(0)
    }
}

/// What the allocator takes for a table.
fn bytes_of<T>(table: &HashTable<T>) -> usize {
    match table.allocation_size() {
        0 => 0,
        bytes => size_class(bytes),
    }
}

/// A table of elements, with growth in small steps.
#[derive(Clone, Debug)]
pub struct Segments<T> {
    /// `2^depth` places: each the number of the segment for hashes with these top bits.
    directory: Vec<u32>,
    depth: u32,
    segments: Vec<Segment<T>>,
    len: usize,
    table_bytes: usize,
    freezer: Freezer<usize, Vec<T>>,
}

impl<T> Default for Segments<T> {
    fn default() -> Self {
        Self {
            directory: vec![0],
            depth: 0,
            segments: vec![Segment::new(0, 0)],
            len: 0,
            table_bytes: 0,
            freezer: Freezer::default(),
        }
    }
}

impl<T: Clone> Segments<T> {
    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What the allocator takes for the table, without what the elements own.
    pub fn heap_bytes(&self) -> usize {
        self.table_bytes
            + self.directory.capacity() * size_of::<u32>()
            + self.segments.capacity() * size_of::<Segment<T>>()
    }

    fn place(&self, hash: u64) -> usize {
        hash.checked_shr(64 - self.depth).unwrap_or(0) as usize
    }

    fn segment(&self, hash: u64) -> usize {
        self.directory[self.place(hash)] as usize
    }

    /// Finds an element.
    pub fn find(&self, hash: u64, eq: impl FnMut(&T) -> bool) -> Option<&T> {
        let table = &self.segments[self.segment(hash)].table;
        table.find(within(hash), eq)
    }

    /// Finds an element, to be changed. Its hash must stay.
    pub fn find_mut(&mut self, hash: u64, eq: impl FnMut(&T) -> bool) -> Option<&mut T> {
        let segment = self.segment(hash);
        self.keep(segment);
        let table = &mut self.segments[segment].table;
        table.find_mut(within(hash), eq)
    }

    /// Adds an element, which must not be there. `hash_of` gives the hash of any element.
    pub fn insert(&mut self, hash: u64, element: T, hash_of: impl Fn(&T) -> u64 + Copy) {
        let mut at = self.segment(hash);
        while self.segments[at].table.len() >= SEGMENT_MAX && self.segments[at].depth < DEPTH_MAX {
            self.cut(at, hash_of);
            at = self.segment(hash);
        }
        self.change(at, |table| {
            table.insert_unique(within(hash), element, |element| within(hash_of(element)));
        });
        self.len += 1;
    }

    /// Takes an element out.
    pub fn remove(
        &mut self,
        hash: u64,
        eq: impl FnMut(&T) -> bool,
        hash_of: impl Fn(&T) -> u64 + Copy,
    ) -> Option<T> {
        let at = self.segment(hash);
        self.keep(at);
        let table = &mut self.segments[at].table;
        let found = table.find_entry(within(hash), eq).ok()?;
        let (element, _) = found.remove();
        self.len -= 1;
        self.merge_if_sparse(at, hash_of);
        Some(element)
    }

    /// Has a segment's table changed and keeps the books.
    fn change<R>(&mut self, at: usize, change: impl FnOnce(&mut HashTable<T>) -> R) -> R {
        self.keep(at);
        let table = &mut self.segments[at].table;
        let before = bytes_of(table);
        let result = change(table);
        self.table_bytes += bytes_of(table);
        self.table_bytes -= before;
        result
    }

    fn cut(&mut self, at: usize, hash_of: impl Fn(&T) -> u64 + Copy) {
        let hash_within = |element: &T| within(hash_of(element));
        let (prefix, depth) = (self.segments[at].prefix, self.segments[at].depth);
        if depth == self.depth {
            self.directory = self.directory.iter().flat_map(|&n| [n, n]).collect();
            self.depth += 1;
        }
        let mut upper = Segment::new(prefix << 1 | 1, depth + 1);
        let bit = 1 << (63 - depth);
        let moved = self.change(at, |table| {
            let moved: Vec<T> = table
                .extract_if(|element| hash_of(element) & bit != 0)
                .collect();
            table.shrink_to_fit(hash_within);
            moved
        });
        upper.table.reserve(moved.len(), hash_within);
        for element in moved {
            let hash = hash_within(&element);
            upper.table.insert_unique(hash, element, hash_within);
        }
        self.segments[at].prefix = prefix << 1;
        self.segments[at].depth = depth + 1;
        self.table_bytes += bytes_of(&upper.table);
        let number = self.segments.len();
        self.segments.push(upper);
        self.point_to(number);
    }

    /// Has the directory say where a segment is.
    fn point_to(&mut self, number: usize) {
        let segment = &self.segments[number];
        let (first, last) = (self.place(segment.first()), self.place(segment.last()));
        self.directory[first..=last].fill(number as u32);
    }

    /// Puts a segment and its neighbour together while both have few elements.
    fn merge_if_sparse(&mut self, mut at: usize, hash_of: impl Fn(&T) -> u64 + Copy) {
        if self.freezer.is_frozen() {
            // It is done when the next element goes.
            return;
        }
        let hash_within = |element: &T| within(hash_of(element));
        while self.segments[at].depth > 0 {
            let (prefix, depth) = (self.segments[at].prefix, self.segments[at].depth);
            let first = (prefix ^ 1).checked_shl(64 - depth).unwrap_or(0);
            let other = self.segment(first);
            let both = self.segments[at].table.len() + self.segments[other].table.len();
            if self.segments[other].depth != depth || both >= MERGE_BELOW {
                return;
            }
            let (kept, gone) = (at.min(other), at.max(other));
            let moved = self.change(gone, std::mem::take);
            self.change(kept, |table| {
                table.reserve(moved.len(), hash_within);
                for element in moved {
                    table.insert_unique(hash_within(&element), element, hash_within);
                }
                table.shrink_to_fit(hash_within);
            });
            self.segments[kept].prefix = prefix >> 1;
            self.segments[kept].depth = depth - 1;
            self.point_to(kept);
            self.segments.swap_remove(gone);
            if gone < self.segments.len() {
                self.point_to(gone);
            }
            at = kept;
        }
        if self.depth == 0 {
            return;
        }
        // All are in one.
        self.directory = vec![0];
        self.depth = 0;
        self.segments.shrink_to_fit();
    }

    /// Gives up a copy that is being taken out.
    pub(super) fn detach(&mut self) {
        self.freezer = Freezer::default();
    }

    /// Begins a copy of all elements as they are now.
    pub fn freeze(&mut self) {
        self.freezer
            .freeze(frozen::numbers(0, self.segments.len()), ());
    }

    /// Shows the elements of some segments more of that copy, and whether there are others; `None` if there is no copy.
    pub fn show_frozen(&mut self, segments: usize, mut show: impl FnMut(&T)) -> Option<bool> {
        let (freezer, all) = (&mut self.freezer, &self.segments);
        let first = |rest| frozen::first_number(rest, all.len());
        let show = |segment: usize, kept: Option<Vec<T>>| match kept {
            Some(kept) => kept.iter().for_each(&mut show),
            None => all[segment].table.iter().for_each(&mut show),
        };
        freezer.step(segments, first, show).map(|end| end.is_none())
    }

    /// A segment is about to change.
    #[inline]
    fn keep(&mut self, at: usize) {
        let table = &self.segments[at].table;
        self.freezer.keep(at, || table.iter().cloned().collect());
    }

    /// All elements, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.segments.iter().flat_map(|segment| &segment.table)
    }

    /// An element by chance, each as likely as any other. `random` gives another number each time.
    pub fn random(&self, mut random: impl FnMut() -> u64) -> Option<&T> {
        if self.is_empty() {
            return None;
        }
        // A segment with few elements is chosen less often.
        let most = match self.segments.as_slice() {
            [only] => only.table.len(),
            _ => SEGMENT_MAX,
        };
        loop {
            let chosen = random();
            let segment = &self.segments[(chosen >> 32) as usize % self.segments.len()];
            let index = (chosen & 0xffff_ffff) as usize % most;
            if index < segment.table.len() {
                return segment.table.iter().nth(index);
            }
            if segment.table.len() > most {
                return segment
                    .table
                    .iter()
                    .nth(chosen as usize % segment.table.len());
            }
        }
    }

    /// Shows about `count` elements in the order of their hashes, and gives the cursor to go on with: 0 at the end, and at
    /// first. An element that stays is shown, whatever is added or taken out in between.
    ///
    /// A cursor is the first hash that was not shown yet, so it holds for any form of the table.
    pub fn scan(
        &self,
        cursor: u64,
        count: usize,
        hash_of: impl Fn(&T) -> u64,
        mut show: impl FnMut(&T),
    ) -> u64 {
        let (mut from, mut left) = (cursor, count.max(1));
        loop {
            let segment = &self.segments[self.segment(from)];
            let mut rest: Vec<(u64, &T)> = segment
                .table
                .iter()
                .map(|element| (hash_of(element), element))
                .filter(|(hash, _)| *hash >= from)
                .collect();
            if rest.len() > left {
                rest.sort_unstable_by_key(|(hash, _)| *hash);
                // Elements of one hash come together.
                let end = rest[left].0;
                rest.iter()
                    .filter(|(hash, _)| *hash < end)
                    .for_each(|(_, element)| show(element));
                if end > from {
                    return end;
                }
                rest.iter()
                    .filter(|(hash, _)| *hash == end)
                    .for_each(|(_, element)| show(element));
                return end.wrapping_add(1);
            }
            left -= rest.len();
            rest.iter().for_each(|(_, element)| show(element));
            from = segment.last().wrapping_add(1);
            if from == 0 || left == 0 {
                return from;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::random::Random;

    fn hash(n: &u64) -> u64 {
        let mixed = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9)
    }

    fn add(segments: &mut Segments<u64>, n: u64) {
        segments.insert(hash(&n), n, hash);
    }

    fn take(segments: &mut Segments<u64>, n: u64) -> Option<u64> {
        segments.remove(hash(&n), |m| *m == n, hash)
    }

    fn check(segments: &Segments<u64>) {
        let sum: usize = segments.segments.iter().map(|s| s.table.len()).sum();
        assert_eq!(sum, segments.len());
        let bytes: usize = segments.segments.iter().map(|s| bytes_of(&s.table)).sum();
        assert_eq!(bytes, segments.table_bytes);
        for (place, number) in segments.directory.iter().enumerate() {
            let segment = &segments.segments[*number as usize];
            let first = (place as u64).checked_shl(64 - segments.depth).unwrap_or(0);
            assert!((segment.first()..=segment.last()).contains(&first));
        }
        for segment in &segments.segments {
            let range = segment.first()..=segment.last();
            assert!(segment.table.iter().all(|n| range.contains(&hash(n))));
        }
    }

    #[test]
    fn agrees_with_a_set_while_it_grows_and_shrinks() {
        let mut random = Random(42);
        let (mut segments, mut model) = (Segments::default(), BTreeSet::new());
        for (rounds, adds) in [(20_000, 80), (30_000, 20), (20_000, 60), (60_000, 5)] {
            for _ in 0..rounds {
                let n = random.below(30_000);
                if random.below(100) < adds {
                    if model.insert(n) {
                        add(&mut segments, n);
                    }
                } else {
                    assert_eq!(take(&mut segments, n).is_some(), model.remove(&n));
                }
                let n = random.below(30_000);
                assert_eq!(
                    segments.find(hash(&n), |m| *m == n).is_some(),
                    model.contains(&n)
                );
            }
            check(&segments);
            assert_eq!(segments.iter().copied().collect::<BTreeSet<_>>(), model);
        }
        for n in model {
            take(&mut segments, n).unwrap();
        }
        check(&segments);
        assert!(
            segments.is_empty() && segments.heap_bytes() < 2000,
            "{}",
            segments.heap_bytes()
        );
    }

    #[test]
    #[cfg_attr(miri, ignore = "it takes hours there")]
    fn a_scan_shows_all_that_stays_whatever_comes_and_goes() {
        let mut random = Random(7);
        for count in [1, 10, 100, 5000] {
            let mut segments = Segments::default();
            (0..5_000).for_each(|n| add(&mut segments, n));
            let (mut seen, mut cursor, mut calls) = (BTreeSet::new(), 0, 0);
            let (mut next, mut most) = (5_000, 0);
            loop {
                let mut shown = 0;
                cursor = segments.scan(cursor, count, hash, |n| {
                    seen.insert(*n);
                    shown += 1;
                });
                most = most.max(shown);
                calls += 1;
                if cursor == 0 {
                    break;
                }
                // The first thousand stays.
                for _ in 0..(count / 2).min(20) {
                    add(&mut segments, next);
                    next += 1;
                    take(&mut segments, 1_000 + random.below(4_000 + next - 5_000));
                }
            }
            assert!((0..1_000).all(|n| seen.contains(&n)), "count {count}");
            assert!(most <= count, "{most} of {count}");
            assert!(calls <= 3 * 10_000 / count + 2, "{calls} calls");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "it takes hours there")]
    fn every_element_is_drawn_about_as_often() {
        let mut random = Random(99);
        for len in [1_u64, 10, 300, 3_000] {
            let mut segments = Segments::default();
            (0..len).for_each(|n| add(&mut segments, n));
            let mut drawn = BTreeMap::new();
            for _ in 0..len * 60 {
                let n = segments.random(|| random.below(u64::MAX)).unwrap();
                *drawn.entry(*n).or_insert(0) += 1;
            }
            assert_eq!(drawn.len() as u64, len);
            assert!(
                drawn.values().all(|times| (15..150).contains(times)),
                "of {len}"
            );
        }
        assert!(Segments::<u64>::default().random(|| 1).is_none());
    }

    #[test]
    #[cfg_attr(miri, ignore = "it takes hours there")]
    fn no_step_of_growth_is_large() {
        let mut segments = Segments::default();
        for n in 0..200_000 {
            let tables = segments.segments.len();
            add(&mut segments, n);
            assert!(segments.segments.len() <= tables + 1);
        }
        assert!(
            segments
                .segments
                .iter()
                .all(|s| s.table.len() <= SEGMENT_MAX)
        );
        let each = segments.heap_bytes() as f64 / 200_000.0;
        assert!(each < 8.0 * 2.4, "{each} bytes for each element of 8");
    }

    /// A copy is what was there when it was begun, whatever changes while it is taken out.
    #[test]
    #[cfg_attr(miri, ignore = "it takes hours there")]
    fn a_copy_in_steps_is_of_one_moment() {
        let mut random = Random(0x5eed_5eed);
        for round in 0..30 {
            let mut all: Segments<u64> = Segments::default();
            let mut model = BTreeSet::new();
            for _ in 0..random.below(6000) {
                let n = random.below(8000);
                if model.insert(n) {
                    all.insert(hash(&n), n, hash);
                }
            }
            all.freeze();
            let (expected, mut copied) = (model.clone(), Vec::new());
            loop {
                let more = all.show_frozen(3, |n| copied.push(*n));
                if more != Some(true) {
                    assert_eq!(more, Some(false), "round {round}");
                    break;
                }
                for _ in 0..random.below(400) {
                    let n = random.below(8000);
                    if random.below(3) > 0 {
                        assert_eq!(all.remove(hash(&n), |m| *m == n, hash), model.take(&n));
                    } else if model.insert(n) {
                        all.insert(hash(&n), n, hash);
                    }
                }
            }
            copied.sort_unstable();
            assert!(copied.iter().eq(&expected), "round {round}");
            assert!(all.show_frozen(3, |_| {}).is_none());
            let now: BTreeSet<u64> = all.iter().copied().collect();
            assert_eq!((now, all.len()), (model.clone(), model.len()));
        }
    }
}
