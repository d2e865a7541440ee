//! What the log of the last process has, while the disk takes no run that has it: it serves until then.
//!
//! A start makes what the log has the first run. On a full disk that fails, and the server starts all the same: keys are looked for
//! in the log before all generations, walks over all keys are refused, and no run is written before that of the log.
//!
//! Invariant: what a key has in the log is newer than what any generation has of it.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;

use super::Tier;
use super::log::LogIndex;
use super::restore::restore;
use super::store::{Slice, Store, StoreError, Writer};

/// The log of the last process, if it is in no run yet.
#[derive(Debug, Default)]
pub(super) struct Pending {
    any: AtomicBool,
    logged: RwLock<Option<Arc<Logged>>>,
}

#[derive(Debug)]
struct Logged {
    changes: LogIndex,
    hashes: HashSet<u64>,
}

impl Pending {
    /// Keeps what could not be made a run.
    pub(super) fn hold(&self, changes: LogIndex, store: &Store) {
        let hashes = changes.keys().map(|key| store.hash_of(key)).collect();
        *self.logged.write() = Some(Arc::new(Logged { changes, hashes }));
        self.any.store(true, Ordering::Release);
    }

    /// Whether there is something.
    #[inline]
    pub(super) fn is_any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// Whether it has something of a key.
    pub(super) fn may_hold(&self, hash: u64) -> bool {
        let logged = self.logged.read();
        logged
            .as_ref()
            .is_some_and(|logged| logged.hashes.contains(&hash))
    }

    /// What it has of a key, if anything: an empty record says that the key is gone.
    pub(super) fn record(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if !self.is_any() {
            return Ok(None);
        }
        let logged = self.logged.read().clone();
        logged.map_or(Ok(None), |logged| Ok(logged.changes.record(key)?))
    }

    /// The same of a part of a value, for which there may be another place.
    pub(super) fn neighbour(
        &self,
        key: &[u8],
        otherwise: impl FnOnce(&[u8]) -> Result<Option<Slice>, StoreError>,
    ) -> Result<Option<Slice>, StoreError> {
        match self.record(key)? {
            Some(record) if record.is_empty() => Ok(None),
            Some(record) => Ok(Some(Slice::from(record))),
            None => otherwise(key),
        }
    }
}

impl Tier {
    /// Makes what the log of the last process has a run, if it is in none. Before any other run.
    ///
    /// # Errors
    /// The disk refuses: it is tried again.
    pub(super) fn restore_pending(&self, disk: &mut Writer) -> Result<(), StoreError> {
        let logged = self.pending.logged.read().clone();
        let Some(logged) = logged else { return Ok(()) };
        restore(disk, &logged.changes)?;
        // What was found in the log must be in memory before newer runs are.
        let _none_under_way = self.loads.pause();
        // No run has come in between, so the keys are counted as after a crash.
        *self.uncounted.lock() = super::writer::scan_to_count(self.store.scan(0));
        self.pending.any.store(false, Ordering::Release);
        *self.pending.logged.write() = None;
        tracing::warn!("The disk takes what the log has: the disk tier goes on");
        Ok(())
    }
}
