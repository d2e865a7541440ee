//! The end of the oldest generation, part by part in the order of its keys.
//!
//! A part is walked over while it can still be read, so that the caller can write again what shall stay. Then it is taken
//! out of sight, which is durable before it shows: what is gone does not come back after a crash, and a key is there or gone
//! for everybody at once. When that was the last part the generation's files go.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::files::FilterKind;
use super::generation::PREFIXES;
use super::scan::{Entry, Walk};
use super::{StoreError, Writer, log_failure};

/// A part has about so many bytes: what is let go in one step, in some milliseconds.
const PART_BYTES: u64 = if cfg!(test) { 64 << 10 } else { 2 << 20 };

/// Parts end at multiples of this: of a prefix only the upper bits need be those of the key's hash, by which it is known whether
/// a key is out of sight.
const PART_STEP: u64 = 1 << 20;

/// A part of the oldest generation: its keys in order, markers among them. It ends after an error.
pub struct Part {
    walk: Option<Walk>,
    generation: u64,
    /// The first hash prefix after it.
    end: u64,
}

impl Part {
    /// The number of the generation.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Where it ends: what [`Writer::let_go`] is given.
    pub fn end(&self) -> PartEnd {
        PartEnd {
            generation: self.generation,
            prefix: self.end,
        }
    }
}

/// The end of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartEnd {
    generation: u64,
    /// The first hash prefix after it.
    prefix: u64,
}

impl PartEnd {
    /// The number of the generation.
    pub fn generation(self) -> u64 {
        self.generation
    }

    /// That of the whole generation.
    pub fn of_all(self) -> Self {
        Self {
            prefix: PREFIXES,
            ..self
        }
    }
}

impl Iterator for Part {
    type Item = Result<Entry, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let found = self.walk.as_mut()?.next();
        let goes_on = match &found {
            Some(Ok(entry)) => entry.prefix() < self.end,
            _ => false,
        };
        if !goes_on {
            self.walk = None;
        }
        found.filter(|found| goes_on || found.is_err())
    }
}

impl Writer {
    /// The next part of the oldest generation, or the one after another part that is still there. None if the generation has
    /// no more, or the store has no generation.
    ///
    /// # Errors
    /// The store is closed.
    pub fn next_part(&mut self, after: Option<PartEnd>) -> Result<Option<Part>, StoreError> {
        let mut list = self.store.open_list()?;
        if let [only] = list.generations.as_slice() {
            // What is written while this one goes is not to bear its name.
            self.begin_generation(Some(only))?;
            list = self.store.open_list()?;
        }
        let Some(oldest) = list.generations.last() else {
            return Ok(None);
        };
        let parts = (oldest.disk_bytes() / PART_BYTES).max(1);
        let from = match after {
            Some(after) if after.generation == oldest.number && after.prefix == PREFIXES => {
                return Ok(None);
            }
            Some(after) if after.generation == oldest.number => after.prefix,
            _ => oldest.gone.before(),
        };
        let snapshot = self.store.snapshot()?;
        Ok(Some(Part {
            walk: Walk::new(Arc::clone(oldest), &snapshot, from)?,
            generation: oldest.number,
            end: (from + PREFIXES.div_ceil(parts))
                .next_multiple_of(PART_STEP)
                .min(PREFIXES),
        }))
    }

    /// Takes the oldest generation out of sight up to this end, and drops it if that is all. Gives the disk bytes that come
    /// free, once no reader is in it.
    ///
    /// # Errors
    /// The store is closed, or the disk refuses: then nothing has changed.
    pub fn let_go(&mut self, end: PartEnd) -> Result<u64, StoreError> {
        let PartEnd { generation, prefix } = end;
        let list = self.store.open_list()?;
        let oldest = list.generations.last();
        // It may have been quarantined meanwhile.
        let Some(oldest) = oldest.filter(|oldest| oldest.number == generation) else {
            return Ok(0);
        };
        self.store
            .change_meta(|meta| meta.leaving = (generation, prefix))?;
        oldest.gone.advance(prefix);
        drop(list);
        if prefix < PREFIXES {
            return Ok(0);
        }
        self.drop_oldest()
    }

    fn drop_oldest(&mut self) -> Result<u64, StoreError> {
        self.target = None;
        let store = &self.store;
        let _changing = store.trees.lock();
        let mut generations = store.list.load().generations.clone();
        let Some(oldest) = generations.pop() else {
            return Ok(0);
        };
        store.end(oldest.number)?;
        store.set_list(generations);
        let bytes = oldest.disk_bytes();
        if let Some(tree) = &oldest.tree {
            tree.remove();
        }
        log_failure("remove a filter", || {
            Ok(store.files.remove_filter(oldest.number, FilterKind::Live)?)
        });
        let dropped = &store.counters.bytes_dropped;
        dropped.fetch_add(bytes, Ordering::Relaxed);
        Ok(bytes)
    }
}
