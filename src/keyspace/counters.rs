//! Counters that cost a request nothing: each thread adds to its own, a reader sums them up.
//!
//! Invariant: a stripe is written by one thread only. That is why adding is a plain load and
//! store; the atomics only make it legal for others to read meanwhile.

use std::sync::atomic::{AtomicI64, Ordering};

/// A number that one thread adds to and any thread reads.
#[derive(Debug, Default)]
pub struct Counter(AtomicI64);

impl Counter {
    /// Adds to the number. For the owning thread only.
    #[inline]
    pub fn add(&self, n: i64) {
        self.0.store(
            self.0.load(Ordering::Relaxed).wrapping_add(n),
            Ordering::Relaxed,
        );
    }

    /// Reads the number.
    #[inline]
    pub fn read(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Starts again from zero. A number added at the same moment may be lost, as with any reset.
    pub fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// The number of spaces: the 16 databases, and emptied ones that are still being freed. An entry has five
/// bits for it.
pub const SPACES: usize = 32;

/// What one thread did to the keyspace.
#[derive(Debug)]
#[repr(align(128))]
pub struct Counters {
    /// Bytes that the allocator gave for entries and tables.
    pub used_bytes: Counter,
    /// Entries in all spaces, emptied ones too.
    pub entries: Counter,
    /// Look-ups by commands that read, which found a key.
    pub memory_hits: Counter,
    /// Look-ups by commands that read, which found no key.
    pub misses: Counter,
    /// Keys whose time came.
    pub expired: Counter,
    /// Fields of hashes whose time came.
    pub expired_fields: Counter,
    /// Keys dropped for space.
    pub evicted: Counter,
    /// What they count beyond one for each write of a key, less or more: elements, or a move as one.
    pub further_changes: Counter,
    /// Those of them that the tier below was too slow for.
    pub shed: Counter,
    /// Keys that left memory for the tier below.
    pub demoted: Counter,
    /// Keys that came back from there.
    pub promoted: Counter,
    /// Searches for a key below.
    pub loads: Counter,
    /// Those that found no key.
    pub load_misses: Counter,
    /// Keys that never leave memory for space.
    pub pinned_keys: Counter,
    /// Bytes of those, a part of `used_bytes`.
    pub pinned_bytes: Counter,
    /// Keys whose values are compressed.
    pub compressed_keys: Counter,
    /// Bytes of those values.
    pub compressed_raw_bytes: Counter,
    /// What they take compressed.
    pub compressed_bytes: Counter,
    /// Compressed values that a command wanted.
    pub restored: Counter,
    /// Changes made by commands.
    pub changes: Counter,
    /// Those of them that the tier below need not learn of.
    pub memory_only_changes: Counter,
    /// Keys of each space.
    pub keys: [Counter; SPACES],
    /// Keys of each space that have an expiry.
    pub expiring: [Counter; SPACES],
    /// The sum of the expiries of those of them that are in memory, in milliseconds. It may wrap; what it is beyond as many
    /// times the present does not, unless that is 2^63 milliseconds: of ten million keys, 29 years each.
    pub deadlines_ms: [Counter; SPACES],
}

impl Counters {
    /// CONFIG RESETSTAT. What tells of the present (keys, bytes) stays, and so do the changes, by
    /// which others tell whether something is new.
    pub fn reset_stats(&self) {
        for counter in [
            &self.memory_hits,
            &self.misses,
            &self.expired,
            &self.expired_fields,
            &self.evicted,
            &self.shed,
            &self.demoted,
            &self.promoted,
            &self.loads,
            &self.load_misses,
            &self.restored,
        ] {
            counter.reset();
        }
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            used_bytes: Counter::default(),
            entries: Counter::default(),
            memory_hits: Counter::default(),
            misses: Counter::default(),
            expired: Counter::default(),
            expired_fields: Counter::default(),
            evicted: Counter::default(),
            shed: Counter::default(),
            demoted: Counter::default(),
            promoted: Counter::default(),
            loads: Counter::default(),
            load_misses: Counter::default(),
            pinned_keys: Counter::default(),
            pinned_bytes: Counter::default(),
            compressed_keys: Counter::default(),
            compressed_raw_bytes: Counter::default(),
            compressed_bytes: Counter::default(),
            restored: Counter::default(),
            changes: Counter::default(),
            further_changes: Counter::default(),
            memory_only_changes: Counter::default(),
            keys: std::array::from_fn(|_| Counter::default()),
            expiring: std::array::from_fn(|_| Counter::default()),
            deadlines_ms: std::array::from_fn(|_| Counter::default()),
        }
    }
}
