//! A generation: a tree, and its filter.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lsm_tree::Slice;

use super::StoreError;
use super::files::bytes_below;
use super::filter::Filter;
use super::tree::{TABLES_DIR, Tree, TreeError};

/// A generation in the list of the store. Clones are cheap and keep its files from being removed.
#[derive(Clone)]
pub(super) struct Generation {
    pub(super) number: u64,
    pub(super) filter: Arc<Filter>,
    /// None if it is quarantined: then its filter tells which keys of older generations are stale.
    pub(super) tree: Option<Tree>,
    pub(super) gone: Arc<Gone>,
    pub(super) usage: Arc<Usage>,
}

/// How much of a generation is out of sight already: keys whose hash prefix is lower.
#[derive(Debug, Default)]
pub(super) struct Gone(AtomicU64);

/// One more than the largest prefix.
pub(super) const PREFIXES: u64 = 1 << 32;

impl Gone {
    pub(super) fn new(before: u64) -> Self {
        Self(AtomicU64::new(before))
    }

    pub(super) fn before(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    pub(super) fn advance(&self, before: u64) {
        self.0.store(before, Ordering::Release);
    }
}

/// How much of the disk a generation takes, and how often it is read.
#[derive(Debug, Default)]
pub(super) struct Usage {
    disk_bytes: AtomicU64,
    /// Records behind another one of the same hash that were written since the start.
    parts: AtomicU64,
    /// Look-ups that somebody waited for, and that are not in `vain_asks` yet.
    look_ups: AtomicU64,
    /// How often a look-up asked a run that had nothing, about, since the runs became one.
    vain_asks: AtomicU64,
}

impl Usage {
    pub(super) fn count_parts(&self, parts: u64) {
        self.parts.fetch_add(parts, Ordering::Relaxed);
    }

    pub(super) fn parts(&self) -> u64 {
        self.parts.load(Ordering::Relaxed)
    }

    pub(super) fn count_look_up(&self) {
        self.look_ups.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts that each look-up since the last call has asked so many; gives all.
    pub(super) fn add_vain_asks(&self, each: u64) -> u64 {
        let more = self.look_ups.swap(0, Ordering::Relaxed) * each;
        self.vain_asks.fetch_add(more, Ordering::Relaxed) + more
    }

    pub(super) fn vain_asks(&self) -> u64 {
        self.vain_asks.load(Ordering::Relaxed)
    }

    pub(super) fn forget_vain_asks(&self) {
        self.vain_asks.store(0, Ordering::Relaxed);
    }
}

/// What a generation has for a key.
pub(super) enum Found {
    Nothing,
    /// The key is gone, whatever older generations hold.
    Gone,
    Record(Slice),
}

impl Generation {
    /// Whether the key of this hash can be here.
    #[inline]
    pub(super) fn may_hold(&self, hash: u64) -> bool {
        self.filter.may_hold(hash) && hash >> 32 >= self.gone.before()
    }

    /// The record of a key, if it is here.
    pub(super) fn find(&self, key: &[u8]) -> Result<Found, StoreError> {
        let Some(tree) = &self.tree else {
            return Ok(Found::Gone);
        };
        match tree.get(key) {
            Ok(None) => Ok(Found::Nothing),
            Ok(Some(record)) if record.is_empty() => Ok(Found::Gone),
            Ok(Some(record)) => Ok(Found::Record(record)),
            Err(source) => Err(self.read_error(source)),
        }
    }

    /// The bytes of a key's record, 0 for a marker, without reading a record that lies apart; None if it is not here.
    pub(super) fn size_of(&self, key: &[u8]) -> Result<Option<u32>, StoreError> {
        let Some(tree) = &self.tree else {
            return Ok(Some(0));
        };
        tree.size_of(key).map_err(|source| self.read_error(source))
    }

    pub(super) fn read_error(&self, source: TreeError) -> StoreError {
        StoreError::Read {
            generation: self.number,
            source,
        }
    }

    pub(super) fn is_readable(&self) -> bool {
        self.tree.is_some()
    }

    /// What its files take on the disk, with that of its filter, as it was measured last.
    pub(super) fn disk_bytes(&self) -> u64 {
        self.usage.disk_bytes.load(Ordering::Relaxed)
    }

    /// Looks at its files. Tables that a merge has replaced, or is writing, are left out: the slack below the limit is for
    /// them.
    pub(super) fn measure(&self) {
        let Some(tree) = &self.tree else {
            return;
        };
        let tables = tree.path().join(TABLES_DIR);
        // A tree that is in disorder is measured as it lies there.
        let in_use = tree.tables_in_use().ok();
        let is_replaced = |path: &Path| {
            let counts = |in_use: &HashSet<_>| path.file_name().is_some_and(|n| in_use.contains(n));
            path.parent() == Some(&tables) && in_use.as_ref().is_some_and(|in_use| !counts(in_use))
        };
        let bytes = bytes_below(tree.path(), &is_replaced) + self.filter.folded_bytes();
        self.usage.disk_bytes.store(bytes, Ordering::Relaxed);
    }

    /// With what newer runs have made stale.
    pub(super) fn records(&self) -> u64 {
        self.tree.as_ref().map_or(0, Tree::records)
    }
}
