//! Walks over the disk in key order, which is hash order: one generation, or all of them merged.
//!
//! It reads keys and sizes, and the records that lie beside their keys. A record that lies apart is read when it is asked
//! for. A tree's iterator gives either the size or the key with its value, but only the size tells a marker and whether a
//! value would have to be fetched. So each generation is walked by two iterators over one snapshot, in step: the first
//! gives the size, the second the rest. Both read the same blocks, the second from the cache.
//! Who lists keys needs no sizes, and of most keys no record: [`KeyScan`] has one iterator for each generation.
//!
//! Invariant: a walk holds its generations' files, so none may be alive while a store is reopened.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::sync::Arc;

use lsm_tree::Slice;

use super::generation::Generation;
use super::tree::{APART_BYTES, Range, Snapshot, TreeError};
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
        Keyed::is_marker(self)
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
        let Some(tree) = &self.generation.tree else {
            return Ok(None);
        };
        let record = tree.get_at(&self.snapshot, key);
        record.map_err(|source| self.generation.read_error(source))
    }
}

/// A key of one generation, with its record where that was wanted.
pub struct FoundKey {
    /// The key as it was written.
    pub key: Slice,
    /// The record; None where it was not wanted.
    pub record: Option<Slice>,
    generation: u64,
}

/// What merging needs of an entry.
pub trait Keyed {
    fn key(&self) -> &Slice;
    fn generation(&self) -> u64;
    fn is_marker(&self) -> bool;
}

impl Keyed for Entry {
    fn key(&self) -> &Slice {
        &self.key
    }

    fn generation(&self) -> u64 {
        self.generation.number
    }

    fn is_marker(&self) -> bool {
        self.size == 0
    }
}

impl Keyed for FoundKey {
    fn key(&self) -> &Slice {
        &self.key
    }

    fn generation(&self) -> u64 {
        self.generation
    }

    /// One that was not wanted tells nothing of itself, and is told whatever it is.
    fn is_marker(&self) -> bool {
        self.record.as_ref().is_some_and(|record| record.is_empty())
    }
}

/// The keys of one generation in order, markers among them; a key that was written several times comes once.
pub struct Walk {
    generation: Arc<Generation>,
    snapshot: Arc<Snapshot>,
    sizes: Range,
    entries: Range,
}

impl Walk {
    /// From a hash prefix on. None if the generation is quarantined, or the prefix beyond the last.
    pub(super) fn new(
        generation: Arc<Generation>,
        snapshot: &Arc<Snapshot>,
        from: u64,
    ) -> Result<Option<Self>, StoreError> {
        let (Some(tree), Ok(from)) = (&generation.tree, u32::try_from(from)) else {
            return Ok(None);
        };
        let range = || {
            let range = tree.range(snapshot, &from.to_be_bytes());
            range.map_err(|source| generation.read_error(source))
        };
        let (sizes, entries) = (range()?, range()?);
        Ok(Some(Self {
            sizes,
            entries,
            snapshot: Arc::clone(snapshot),
            generation,
        }))
    }

    fn entry(&mut self, size: u32) -> Result<Entry, TreeError> {
        let pair = self.entries.next_pair(|_| size < APART_BYTES);
        let (key, beside) = pair.ok_or(TreeError::unrecoverable())??;
        // The two have come apart: bytes of another key would be told for this one.
        if beside
            .as_ref()
            .is_some_and(|record| record.len() != size as usize)
        {
            return Err(TreeError::unrecoverable());
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
        let size = self.sizes.next_size()?;
        let entry = size.and_then(|size| self.entry(size));
        Some(entry.map_err(|source| self.generation.read_error(source)))
    }
}

/// The same without sizes: of each key that is `wanted` the record, of the others the key alone.
pub struct KeyWalk<'w> {
    generation: Arc<Generation>,
    entries: Range,
    wanted: &'w dyn Fn(&[u8]) -> bool,
}

impl<'w> KeyWalk<'w> {
    /// As [`Walk::new`].
    pub(super) fn new(
        generation: Arc<Generation>,
        snapshot: &Arc<Snapshot>,
        from: u64,
        wanted: &'w dyn Fn(&[u8]) -> bool,
    ) -> Result<Option<Self>, StoreError> {
        let (Some(tree), Ok(from)) = (&generation.tree, u32::try_from(from)) else {
            return Ok(None);
        };
        let range = tree.range(snapshot, &from.to_be_bytes());
        Ok(Some(Self {
            entries: range.map_err(|source| generation.read_error(source))?,
            generation,
            wanted,
        }))
    }
}

impl Iterator for KeyWalk<'_> {
    type Item = Result<FoundKey, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(match self.entries.next_pair(self.wanted)? {
            Ok((key, record)) => Ok(FoundKey {
                key,
                record,
                generation: self.generation.number,
            }),
            Err(source) => Err(self.generation.read_error(source)),
        })
    }
}

/// The newest version of every key in order, over all generations; keys that are gone are left out. It ends after an error.
pub type Scan = Merged<Walk, Entry>;
/// The same of keys without sizes; where nobody asked for the record a key that is gone is told too.
pub type KeyScan<'w> = Merged<KeyWalk<'w>, FoundKey>;

/// Walks over all generations, merged.
pub struct Merged<W, E> {
    list: Arc<List>,
    /// On top the smallest key, and of equals the newest.
    heads: BinaryHeap<Head<W, E>>,
    /// The key that was told last.
    last: Option<Slice>,
    hash_seed: u64,
    hash_key: fn(u64, &[u8]) -> u64,
    failed: bool,
}

/// A walk, and the entry that it stands at.
struct Head<W, E> {
    next: E,
    walk: W,
}

/// The generations at one moment, and how much of each is out of sight.
pub(super) struct View {
    pub(super) list: Arc<List>,
    pub(super) gone: Vec<u64>,
    pub(super) snapshot: Arc<Snapshot>,
}

impl<W, E> Merged<W, E>
where
    W: Iterator<Item = Result<E, StoreError>>,
    E: Keyed,
{
    pub(super) fn new(
        view: &View,
        from_prefix: u32,
        hash_seed: u64,
        hash_key: fn(u64, &[u8]) -> u64,
        walk: impl Fn(Arc<Generation>, &Arc<Snapshot>, u64) -> Result<Option<W>, StoreError>,
    ) -> Result<Self, StoreError> {
        let mut heads = BinaryHeap::with_capacity(view.list.generations.len());
        for (generation, gone) in view.list.generations.iter().zip(&view.gone) {
            // Without what is out of sight. What goes from now on is told all the same.
            let from = u64::from(from_prefix).max(*gone);
            let walk = walk(Arc::clone(generation), &view.snapshot, from)?;
            if let Some(mut walk) = walk
                && let Some(next) = walk.next().transpose()?
            {
                heads.push(Head { next, walk });
            }
        }
        Ok(Self {
            list: Arc::clone(&view.list),
            heads,
            last: None,
            hash_seed,
            hash_key,
            failed: false,
        })
    }

    /// The entry on top, whose walk goes on.
    fn step(&mut self) -> Result<Option<E>, StoreError> {
        let Some(mut top) = self.heads.peek_mut() else {
            return Ok(None);
        };
        Ok(Some(match top.walk.next().transpose()? {
            Some(next) => std::mem::replace(&mut top.next, next),
            None => PeekMut::pop(top).next,
        }))
    }

    /// Whether a quarantined generation may have held a newer version.
    fn is_stale(&self, entry: &E) -> bool {
        let generations = self.list.generations.iter();
        let mut lost = generations
            .take_while(|generation| generation.number > entry.generation())
            .filter(|generation| !generation.is_readable())
            .peekable();
        if lost.peek().is_none() {
            return false;
        }
        let hash = (self.hash_key)(self.hash_seed, entry.key());
        lost.any(|generation| generation.filter.may_hold(hash))
    }
}

impl<W, E> Iterator for Merged<W, E>
where
    W: Iterator<Item = Result<E, StoreError>>,
    E: Keyed,
{
    type Item = Result<E, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.failed {
            let entry = match self.step() {
                Ok(entry) => entry?,
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error));
                }
            };
            // Of equals the first counts, which is the newest.
            if self.last.as_ref() == Some(entry.key()) {
                continue;
            }
            self.last = Some(entry.key().clone());
            if !entry.is_marker() && !self.is_stale(&entry) {
                return Some(Ok(entry));
            }
        }
        None
    }
}

impl<W, E: Keyed> Ord for Head<W, E> {
    fn cmp(&self, other: &Self) -> Ordering {
        let keys = other.next.key().cmp(self.next.key());
        keys.then(self.next.generation().cmp(&other.next.generation()))
    }
}

impl<W, E: Keyed> PartialOrd for Head<W, E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<W, E: Keyed> PartialEq for Head<W, E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<W, E: Keyed> Eq for Head<W, E> {}
