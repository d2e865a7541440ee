//! The filter of a generation: which keys it may hold, asked on request threads without a lock.
//!
//! It owns the bits and their growth. It knows nothing of keys, files or trees: it is given 64-bit hashes of good quality.
//!
//! A **blocked Bloom filter** (Putze, Sanders, Singler: Cache-, Hash- and Space-Efficient Bloom Filters, 2007): the
//! hash chooses a block of one cache line, and one bit in each of its eight words is set. A question costs one cache
//! miss for each segment. At 12.8 bits for each key about 0.3 % of absent keys are answered "maybe".
//!
//! How many keys will come is not known at first, so a filter is a list of segments: when one is full, another is added,
//! as large as is then thought to be needed. A sealed filter that was made too large is **folded**: the block of a key is
//! `mixed * blocks / 2^64`, so that with a `k`-th of the blocks the new block of a key is its old one divided by `k`, and
//! OR-ing `k` neighbours gives the smaller filter without the keys.
//!
//! The hash is mixed first, because runs come in the order of their hashes: a segment that fills up in the middle of a run
//! has got the low hashes only, which unmixed would crowd in its first blocks.
//!
//! Invariant: no false negative. A hash is in the filter before the key that it stands for can be read, and bits are
//! never cleared.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::keyspace::table::prefetch;

const WORDS: usize = 8;
/// 512 bits for 40 keys: 12.8 bits for each.
const KEYS_PER_BLOCK: usize = 40;
/// Every segment starts with a multiple of it, since it has many divisors to fold by.
const BLOCKS_STEP: usize = 720;
/// Each is at least half as large as all before it, so that so many are enough for any number of keys.
const SEGMENTS_MAX: usize = 12;

/// One cache line of bits.
#[derive(Debug)]
#[repr(align(64))]
struct Block([AtomicU64; WORDS]);

#[derive(Debug)]
struct Segment {
    blocks: Box<[Block]>,
    keys: AtomicU64,
}

/// The hashes of the keys of one generation.
#[derive(Debug)]
pub(super) struct Filter {
    segments: [OnceLock<Segment>; SEGMENTS_MAX],
    /// Whether it has all keys of the generation. Until then it answers "maybe" to everything.
    complete: AtomicBool,
    /// Held by who adds a hash: the writer and, after an unclean start, the walk that rebuilds the filter.
    adding: Mutex<()>,
}

/// What a filter is in a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SegmentWords {
    pub(super) keys: u64,
    pub(super) words: Vec<u64>,
}

impl Filter {
    /// An empty filter for about so many keys.
    pub(super) fn new(keys: usize, complete: bool) -> Self {
        let filter = Self {
            segments: Default::default(),
            complete: AtomicBool::new(complete),
            adding: Mutex::new(()),
        };
        let _ = filter.segments[0].set(Segment::new(keys));
        filter
    }

    /// Whether the key of this hash can be in the generation.
    #[inline]
    pub(super) fn may_hold(&self, hash: u64) -> bool {
        if !self.complete.load(Ordering::Acquire) {
            return true;
        }
        self.has(hash)
    }

    #[inline]
    fn has(&self, hash: u64) -> bool {
        let probe = Probe::of(hash);
        self.segments().any(|segment| segment.has(probe))
    }

    /// Asks the processor for what an answer about this hash is read from.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        let probe = Probe::of(hash);
        for segment in self.segments() {
            prefetch(std::ptr::from_ref(segment.block(probe)).cast());
        }
    }

    fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().map_while(OnceLock::get)
    }

    /// Adds a hash. When a new segment is needed, `expected_keys` says how many keys the filter will have in the end.
    pub(super) fn add(&self, hash: u64, expected_keys: impl FnOnce() -> usize) {
        let _one_at_a_time = self.adding.lock();
        if self.has(hash) {
            return;
        }
        let last = self.segments().count().saturating_sub(1);
        let Some(segment) = self.segments[last].get() else {
            unreachable!("a filter has a first segment");
        };
        if !segment.is_full() || last + 1 == SEGMENTS_MAX {
            return segment.add(hash);
        }
        let here = self.keys() as usize;
        let next = Segment::new(expected_keys().saturating_sub(here).max(here / 2));
        next.add(hash);
        let _ = self.segments[last + 1].set(next);
    }

    /// The keys that were added, each once but for the few that looked as if they were there.
    pub(super) fn keys(&self) -> u64 {
        self.segments()
            .map(|s| s.keys.load(Ordering::Relaxed))
            .sum()
    }

    pub(super) fn bytes(&self) -> u64 {
        let blocks: usize = self.segments().map(|s| s.blocks.len()).sum();
        (blocks * size_of::<Block>()) as u64
    }

    /// What it takes when it is folded, about.
    pub(super) fn folded_bytes(&self) -> u64 {
        self.keys() * size_of::<Block>() as u64 / KEYS_PER_BLOCK as u64
    }

    pub(super) fn segment_count(&self) -> usize {
        self.segments().count()
    }

    pub(super) fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Acquire)
    }

    /// Says that all keys have been added.
    pub(super) fn set_complete(&self) {
        self.complete.store(true, Ordering::Release);
    }

    /// The same hashes in as little memory as folding gives. Nothing may be added meanwhile.
    pub(super) fn folded(&self) -> Self {
        let segments = self.segments().map(Segment::folded);
        Self::of(segments.collect(), self.is_complete())
    }

    fn of(segments: Vec<Segment>, complete: bool) -> Self {
        let cells = std::array::from_fn(|_| OnceLock::new());
        for (cell, segment) in cells.iter().zip(segments) {
            let _ = cell.set(segment);
        }
        Self {
            segments: cells,
            complete: AtomicBool::new(complete),
            adding: Mutex::new(()),
        }
    }

    /// The bits, to be written to a file.
    pub(super) fn words(&self) -> Vec<SegmentWords> {
        self.segments().map(Segment::words).collect()
    }

    /// The filter that [`Self::words`] told; None if it cannot be one.
    pub(super) fn from_words(segments: Vec<SegmentWords>, complete: bool) -> Option<Self> {
        let fits = (1..=SEGMENTS_MAX).contains(&segments.len());
        let segments: Option<Vec<_>> = segments.into_iter().map(Segment::from_words).collect();
        fits.then(|| Some(Self::of(segments?, complete)))?
    }
}

impl Segment {
    fn new(keys: usize) -> Self {
        let blocks = keys.div_ceil(KEYS_PER_BLOCK).max(1);
        let blocks = blocks.next_multiple_of(BLOCKS_STEP);
        Self {
            blocks: (0..blocks).map(|_| Block(Default::default())).collect(),
            keys: AtomicU64::new(0),
        }
    }

    #[inline]
    fn block(&self, probe: Probe) -> &Block {
        let scaled = u128::from(probe.block) * self.blocks.len() as u128;
        &self.blocks[(scaled >> 64) as usize]
    }

    #[inline]
    fn has(&self, probe: Probe) -> bool {
        let block = self.block(probe);
        // Without a branch for each word: they are on one cache line, and a guess gone wrong costs more than all loads.
        let missing = probe.words(block).fold(0, |missing, (word, bit)| {
            missing | (!word.load(Ordering::Relaxed) & bit)
        });
        missing == 0
    }

    fn add(&self, hash: u64) {
        let probe = Probe::of(hash);
        for (word, bit) in probe.words(self.block(probe)) {
            // Whoever learns that the run is finished does so through a lock, and then sees this too.
            word.fetch_or(bit, Ordering::Relaxed);
        }
        self.keys.fetch_add(1, Ordering::Relaxed);
    }

    fn is_full(&self) -> bool {
        self.keys.load(Ordering::Relaxed) >= (self.blocks.len() * KEYS_PER_BLOCK) as u64
    }

    fn folded(&self) -> Self {
        let keys = self.keys.load(Ordering::Relaxed);
        let blocks = self.blocks.len();
        let fits =
            |by: usize| blocks.is_multiple_of(by) && (blocks / by * KEYS_PER_BLOCK) as u64 >= keys;
        let by = (1..=BLOCKS_STEP).rev().find(|by| fits(*by)).unwrap_or(1);
        Self {
            blocks: self.blocks.chunks(by).map(Block::union).collect(),
            keys: AtomicU64::new(keys),
        }
    }

    fn words(&self) -> SegmentWords {
        let words = self.blocks.iter().flat_map(|block| &block.0);
        SegmentWords {
            keys: self.keys.load(Ordering::Relaxed),
            words: words.map(|word| word.load(Ordering::Relaxed)).collect(),
        }
    }

    fn from_words(segment: SegmentWords) -> Option<Self> {
        let (blocks, rest) = segment.words.as_chunks::<WORDS>();
        if blocks.is_empty() || !rest.is_empty() {
            return None;
        }
        let block = |words: &[u64; WORDS]| Block(words.map(AtomicU64::new));
        Some(Self {
            blocks: blocks.iter().map(block).collect(),
            keys: AtomicU64::new(segment.keys),
        })
    }
}

impl Block {
    fn union(blocks: &[Self]) -> Self {
        let word = |i: usize| {
            blocks
                .iter()
                .fold(0, |union, block| union | block.0[i].load(Ordering::Relaxed))
        };
        Self(std::array::from_fn(|i| AtomicU64::new(word(i))))
    }
}

/// Where a hash is: its block, and six bits for each word.
#[derive(Clone, Copy)]
struct Probe {
    block: u64,
    bits: u64,
}

impl Probe {
    #[inline]
    fn of(hash: u64) -> Self {
        // Odd numbers without a pattern: 2^64 over the golden ratio, and a multiplier of MurmurHash3.
        let block = hash.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let bits = (block ^ block >> 32).wrapping_mul(0xFF51_AFD7_ED55_8CCD) >> 16;
        Self { block, bits }
    }

    #[inline]
    fn words(self, block: &Block) -> impl Iterator<Item = (&AtomicU64, u64)> {
        let bit = move |i: usize| 1 << (self.bits >> (6 * i) & 63);
        block
            .0
            .iter()
            .enumerate()
            .map(move |(i, word)| (word, bit(i)))
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use super::*;

    fn hash(i: u64) -> u64 {
        foldhash::quality::FixedState::with_seed(7).hash_one(i)
    }

    fn filled(room: usize, keys: u64, expected: usize) -> Filter {
        let filter = Filter::new(room, true);
        for i in 0..keys {
            filter.add(hash(i), || expected);
        }
        filter
    }

    /// In ten thousands.
    fn false_positives(filter: &Filter) -> usize {
        let absent = 1_000_000..1_100_000;
        absent.filter(|i| filter.may_hold(hash(*i))).count() / 10
    }

    #[test]
    fn a_full_filter_has_few_false_positives_and_no_false_negative() {
        let filter = filled(100_000, 100_000, 0);
        assert!((0..100_000).all(|i| filter.may_hold(hash(i))));
        assert_eq!(filter.segment_count(), 1);
        let rate = false_positives(&filter);
        assert!(rate <= 40, "{rate} of 10,000");
        assert!(filter.bytes() <= 100_000 * 2);
    }

    #[test]
    fn a_filter_grows_to_what_is_expected_and_then_further() {
        let filter = filled(10_000, 50_000, 50_000);
        assert_eq!(filter.segment_count(), 2);
        for i in 50_000..100_000 {
            filter.add(hash(i), || 0);
        }
        assert!((0..100_000).all(|i| filter.may_hold(hash(i))));
        assert!(filter.segment_count() <= 4);
        let rate = false_positives(&filter);
        assert!(rate <= 300, "{rate} of 10,000");
    }

    #[test]
    fn hashes_in_order_do_not_crowd() {
        let mut hashes: Vec<u64> = (0..100_000).map(hash).collect();
        hashes.sort_unstable();
        let filter = Filter::new(20_000, true);
        hashes.iter().for_each(|hash| filter.add(*hash, || 100_000));
        assert_eq!(filter.segment_count(), 2);
        let rate = false_positives(&filter);
        assert!(rate <= 150, "{rate} of 10,000");
    }

    #[test]
    fn a_folded_filter_has_the_same_keys_in_less_memory() {
        let filter = filled(1_000_000, 20_000, 0);
        let folded = filter.folded();
        assert!((0..20_000).all(|i| folded.may_hold(hash(i))));
        assert!(folded.bytes() <= 20_000 * 2, "{}", folded.bytes());
        let rate = false_positives(&folded);
        assert!(rate <= 100, "{rate} of 10,000");
    }

    #[test]
    fn an_incomplete_filter_says_maybe_to_everything() {
        let filter = Filter::new(100, false);
        assert!(filter.may_hold(hash(1)));
        filter.add(hash(2), || 0);
        filter.set_complete();
        assert!(!filter.may_hold(hash(1)));
        assert!(filter.may_hold(hash(2)));
    }

    #[test]
    fn a_filter_comes_back_from_its_words() {
        let filter = filled(1_000, 9_000, 5_000);
        let back = Filter::from_words(filter.words(), true).unwrap();
        assert_eq!(back.words(), filter.words());
        assert!(Filter::from_words(Vec::new(), true).is_none());
        let odd = SegmentWords {
            keys: 1,
            words: vec![0; 9],
        };
        assert!(Filter::from_words(vec![odd], true).is_none());
    }
}
