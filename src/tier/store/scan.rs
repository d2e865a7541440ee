//! Walks over the disk in key order, which is hash order: one generation, or all of them merged.
//!
//! It reads keys and sizes, and the records that lie beside their keys. A record that lies apart is read when it is asked
//! for. fjall's iterator gives either the size or the key with its value, but only the size tells a marker and whether a
//! value would have to be fetched. So each generation is walked by two iterators over one snapshot, in step: the first
//! gives the size, the second the rest. Both read the same blocks, the second from the cache.
//!
//! Invariant: a walk holds its generations' files, so none may be alive while a store is reopened.

use std::sync::Arc;

use fjall::{Iter, Readable, Slice, Snapshot};

use super::generation::{APART_BYTES, Generation};
use super::{List, StoreError};

/// A key of one generation, and what that holds for it.
pub struct Entry {
    /// The key as it was written.
    pub key: Slice,
    /// The bytes of the record; 0 for a marker.
    pub size: u32,
    beside: Option<Slice>,
    generation: Arc<Generation>,
    snapshot: Arc<Snapshot>,
}

impl Entry {
    /// Whether it says that the key is gone.
    pub fn is_marker(&self) -> bool {
        self.size == 0
    }

    /// The top of the key's hash, which the key begins with.
    pub(super) fn prefix(&self) -> u64 {
        let prefix = self.key.first_chunk().copied().unwrap_or_default();
        u32::from_be_bytes(prefix).into()
    }

    /// The number of the generation that holds it.
    pub fn generation(&self) -> u64 {
        self.generation.number
    }

    /// The record as it was when the walk began. None for a marker.
    ///
    /// # Errors
    /// The record lies apart and could not be read.
    pub fn record(&self) -> Result<Option<Slice>, StoreError> {
        if self.is_marker() {
            return Ok(None);
        }
        match &self.beside {
            Some(record) => Ok(Some(record.clone())),
            None => self.neighbour(&self.key),
        }
    }

    /// The record of a key of the same generation, as it was when the walk began.
    ///
    /// # Errors
    /// It could not be read.
    pub fn neighbour(&self, key: &[u8]) -> Result<Option<Slice>, StoreError> {
        let Some(keyspace) = &self.generation.keyspace else {
            return Ok(None);
        };
        let record = self.snapshot.get(keyspace, key);
        record.map_err(|source| self.generation.read_error(source))
    }
}

/// The keys of one generation in order, markers among them; a key that was written several times comes once.
pub(super) struct Walk {
    generation: Arc<Generation>,
    snapshot: Arc<Snapshot>,
    sizes: Iter,
    entries: Iter,
}

impl Walk {
    /// From a hash prefix on. None if the generation is quarantined, or the prefix beyond the last.
    pub(super) fn new(
        generation: Arc<Generation>,
        snapshot: &Arc<Snapshot>,
        from: u64,
    ) -> Option<Self> {
        let keyspace = generation.keyspace.as_ref()?;
        let from = u32::try_from(from).ok()?.to_be_bytes();
        Some(Self {
            sizes: snapshot.range(keyspace, from..),
            entries: snapshot.range(keyspace, from..),
            snapshot: Arc::clone(snapshot),
            generation,
        })
    }

    fn entry(&self, size: u32, guard: Option<fjall::Guard>) -> fjall::Result<Entry> {
        let guard = guard.ok_or(fjall::Error::Unrecoverable)?;
        let (key, beside) = guard.into_inner_if(|_| size < APART_BYTES)?;
        // The two have come apart: bytes of another key would be told for this one.
        if beside
            .as_ref()
            .is_some_and(|record| record.len() != size as usize)
        {
            return Err(fjall::Error::Unrecoverable);
        }
        Ok(Entry {
            key,
            size,
            beside,
            generation: Arc::clone(&self.generation),
            snapshot: Arc::clone(&self.snapshot),
        })
    }
}

impl Iterator for Walk {
    type Item = Result<Entry, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let size = self.sizes.next()?.size();
        let guard = self.entries.next();
        let entry = size.and_then(|size| self.entry(size, guard));
        Some(entry.map_err(|source| self.generation.read_error(source)))
    }
}

/// The newest version of every key in order, over all generations; keys that are gone are left out. It ends after an error.
pub struct Scan {
    list: Arc<List>,
    /// Newest first, as the list.
    heads: Vec<Head>,
    hash_seed: u64,
    hash_key: fn(u64, &[u8]) -> u64,
    failed: bool,
}

struct Head {
    walk: Walk,
    next: Option<Entry>,
}

impl Scan {
    pub(super) fn new(
        list: Arc<List>,
        snapshot: &Arc<Snapshot>,
        from_prefix: u32,
        hash_seed: u64,
        hash_key: fn(u64, &[u8]) -> u64,
    ) -> Result<Self, StoreError> {
        let mut heads = Vec::new();
        for generation in &list.generations {
            // Without what is out of sight. What goes from now on is told all the same.
            let from = generation.gone.before().max(from_prefix.into());
            if let Some(walk) = Walk::new(Arc::clone(generation), snapshot, from) {
                let mut head = Head { walk, next: None };
                head.step()?;
                heads.push(head);
            }
        }
        Ok(Self {
            list,
            heads,
            hash_seed,
            hash_key,
            failed: false,
        })
    }

    /// The newest entry of the smallest key; every head moves past that key.
    fn step(&mut self) -> Result<Option<Entry>, StoreError> {
        let nexts = self.heads.iter().enumerate();
        let keyed = nexts.filter_map(|(i, head)| Some((i, &head.next.as_ref()?.key)));
        // Of equals the first is told, which is the newest.
        let Some((newest, _)) = keyed.min_by_key(|(_, key)| *key) else {
            return Ok(None);
        };
        let Some(entry) = self.heads[newest].step()? else {
            return Ok(None);
        };
        for head in &mut self.heads[newest + 1..] {
            if head.next.as_ref().is_some_and(|next| next.key == entry.key) {
                head.step()?;
            }
        }
        Ok(Some(entry))
    }

    /// Whether a quarantined generation may have held a newer version.
    fn is_stale(&self, entry: &Entry) -> bool {
        let generations = self.list.generations.iter();
        let mut lost = generations
            .take_while(|generation| generation.number > entry.generation())
            .filter(|generation| !generation.is_readable())
            .peekable();
        if lost.peek().is_none() {
            return false;
        }
        let hash = (self.hash_key)(self.hash_seed, &entry.key);
        lost.any(|generation| generation.filter.may_hold(hash))
    }
}

impl Head {
    /// Tells the entry it stands at and goes to the next.
    fn step(&mut self) -> Result<Option<Entry>, StoreError> {
        let next = self.walk.next().transpose()?;
        Ok(std::mem::replace(&mut self.next, next))
    }
}

impl Iterator for Scan {
    type Item = Result<Entry, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.failed {
            match self.step() {
                Ok(Some(entry)) if entry.is_marker() || self.is_stale(&entry) => {}
                Ok(entry) => return entry.map(Ok),
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}
