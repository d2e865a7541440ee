//! How many want to hear of changes of keys, for each shard.
//!
//! All who do count here: those who wait for keys, and those who watch them. So a change reads one number where there is nobody
//! at all, and a second one where there is somebody.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use super::SHARDS;

/// Keys that are observed, each once for each way in which it is.
#[derive(Debug)]
pub(super) struct Observed {
    keys: AtomicUsize,
    in_shards: Box<[AtomicU32]>,
}

impl Default for Observed {
    fn default() -> Self {
        Self {
            keys: AtomicUsize::new(0),
            in_shards: (0..SHARDS).map(|_| AtomicU32::new(0)).collect(),
        }
    }
}

impl Observed {
    /// Whether a key of a shard is observed, which the caller has locked: who begins to observe one has it locked as well.
    #[inline]
    pub(super) fn any_in(&self, shard: usize) -> bool {
        self.keys.load(Ordering::Relaxed) > 0 && self.in_shards[shard].load(Ordering::Relaxed) > 0
    }

    /// A key of a shard is observed from now on, in one more way.
    pub(super) fn add(&self, shard: usize) {
        self.in_shards[shard].fetch_add(1, Ordering::Relaxed);
        self.keys.fetch_add(1, Ordering::Relaxed);
    }

    /// In one way less.
    pub(super) fn remove(&self, shard: usize) {
        self.in_shards[shard].fetch_sub(1, Ordering::Relaxed);
        self.keys.fetch_sub(1, Ordering::Relaxed);
    }
}
