//! The store: the generations of the disk tier.
//!
//! It owns a directory with a tree for each generation, in which keys and records are bytes. New data enters in sorted runs, always into
//! the newest generation; when that is full, another is begun; the oldest is dropped as a whole. A key is looked up from
//! the newest generation to the oldest and the first answer counts, so that an overwrite or a deletion, which is a
//! **marker**, needs no read of what was there. It knows nothing of commands, the keyspace, compression or what is in a
//! record.
//!
//! ```text
//! request threads --- may_hold ---> filters in memory, a cache line for each generation
//! I/O threads ------- get, scan --> trees
//! one writer -------- runs, parts that go -> trees, filters, files
//! ```
//!
//! A key's first four bytes are the top of its hash, big-endian, so that order on disk is hash order. A record has at least
//! one byte: an empty value in a tree is a marker.
//!
//! A generation that cannot be read is **quarantined**: its data is dropped, but its filter stays until all older
//! generations are gone, and a key that it may have held is not looked for in them. Else an old version that it overwrote,
//! or a key that it deleted, would come back. Where its filter cannot be read either all older generations go with it.
//!
//! Invariant: a read that fails is an error, never "no such key".
//! Invariant: what a finished run wrote is durable and in the filter.
//! Invariant: a file of a live generation's filter exists only while the generation takes no run, and has all its keys.

mod background;
mod error;
mod files;
mod filter;
mod generation;
mod many;
mod merge;
mod opening;
mod rebuild;
pub(in crate::tier) mod regular;
mod repair;
mod retire;
mod scan;
#[cfg(test)]
mod tests;
mod tree;
mod writer;

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use self::background::Background;
use self::files::{FileId, Files, FilterKind, Meta};
use self::filter::Filter;
use self::generation::{Found, Generation};
use self::merge::Merging;
use self::opening::Opened;
use self::tree::{Snapshot, Trees};

pub use self::error::StoreError;
pub(super) use self::files::{checksum, read_sealed, sync_dir, write_sealed};
pub use self::many::{Answer, Hashed};
pub(super) use self::opening::random;
pub use self::retire::{Part, PartEnd};
pub use self::scan::{Entry, KeyScan, Scan};
use self::scan::{KeyWalk, View, Walk};
pub use self::tree::TreeError;
pub use self::writer::{Run, RunDone, Writer};
pub use lsm_tree::Slice;

/// How many generations find room below the limit before the oldest begins to go: for what is written until it is gone,
/// and for runs that are there twice while they are merged.
const SLACK: f64 = 1.5;
const SLACK_OF_MERGES: f64 = 1.0;

/// Where and how large a store is.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Made if it does not exist.
    pub dir: PathBuf,
    /// What the generations may take on disk, with what is written while the oldest goes and while runs are merged.
    pub max_bytes: u64,
    /// Memory for blocks that were read, at first.
    pub cache_bytes: u64,
    /// How many files stay open.
    pub open_files: usize,
    /// How many generations share `max_bytes`, and `max_age`.
    pub generations: usize,
    /// How long a record stays at the most; zero is no limit.
    pub max_age: Duration,
    /// The hash of a key from the store's seed: what callers give with a key. With it filters are made again from keys.
    pub hash_key: fn(u64, &[u8]) -> u64,
}

impl StoreOptions {
    fn generation_bytes(&self) -> u64 {
        (self.max_bytes / self.generations.max(1) as u64).max(1)
    }
}

/// How a store was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// There was none.
    New,
    /// As an orderly close left it.
    Clean,
    /// After a crash. What finished runs wrote is there.
    Unclean,
    /// Damaged beyond use: moved to this place, and a new one begun.
    PutAside(PathBuf),
}

/// Numbers for INFO and metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Those that can be read.
    pub generations: usize,
    /// Bytes of all that is in the directory, in whole blocks of the disk.
    pub disk_bytes: u64,
    /// Memory of the filters.
    pub filter_bytes: u64,
    /// Generations whose filter is not made yet.
    pub filters_missing: usize,
    /// Keys and markers in all generations, stale versions included.
    pub records: u64,
    /// Those of them that are parts of a value behind the first, as far as they were written since the start.
    pub parts: u64,
    /// Runs side by side in the generation that has most of them.
    pub runs_side_by_side: usize,
    /// Runs finished since the start.
    pub runs: u64,
    /// Bytes of keys and records in those.
    pub bytes_ingested: u64,
    /// Bytes that merges of runs wrote again since the start.
    pub bytes_merged: u64,
    /// Disk bytes of the generations dropped since the start.
    pub bytes_dropped: u64,
    /// Generations quarantined since the start.
    pub quarantined: u64,
}

/// Numbers of one generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GenerationStats {
    /// Its number: higher ones are newer.
    pub number: u64,
    /// Its bytes on disk.
    pub disk_bytes: u64,
    /// Keys and markers in it, with those that newer ones have made stale.
    pub records: u64,
    /// Memory of its filter.
    pub filter_bytes: u64,
}

/// The reading side, shared by all threads.
pub struct Store {
    options: StoreOptions,
    files: Files,
    hash_seed: u64,
    recovery: Recovery,
    meta: Mutex<Meta>,
    list: ArcSwap<List>,
    /// The list is open and has no generation, which costs less to see than the list.
    is_bare: AtomicBool,
    /// Keeps other processes out.
    lock: Mutex<Option<File>>,
    /// By which the directory is known again.
    lock_id: Mutex<FileId>,
    /// None while they are being opened anew. Held while the list is changed, never during a read or a run.
    trees: Mutex<Option<Trees>>,
    /// What the cache of the trees may take.
    cache_bytes: AtomicU64,
    /// What is in the directory besides the generations, in bytes of the disk, as it was measured last.
    other_bytes: AtomicU64,
    background: Background,
    merging: Merging,
    poisoned: AtomicBool,
    counters: Counters,
}

#[derive(Default)]
struct Counters {
    runs: AtomicU64,
    bytes_ingested: AtomicU64,
    bytes_dropped: AtomicU64,
    bytes_merged: AtomicU64,
    quarantined: AtomicU64,
}

/// The newest record of a key in its generation, whose files it keeps from being removed.
pub struct Located {
    /// The record.
    pub record: Slice,
    generation: Arc<Generation>,
}

impl Located {
    /// The number of the generation.
    pub fn generation(&self) -> u64 {
        self.generation.number
    }

    /// Says that somebody waited for it: see [`Store::merge_what_is_read`].
    pub fn count_look_up(&self) {
        self.generation.usage.count_look_up();
    }

    /// The record of another key of the same generation, whatever newer ones have. Waits for the disk.
    ///
    /// # Errors
    /// [`StoreError::Read`] if it cannot be read.
    pub fn neighbour(&self, key: &[u8]) -> Result<Option<Slice>, StoreError> {
        match self.generation.find(key)? {
            Found::Record(record) => Ok(Some(record)),
            Found::Gone | Found::Nothing => Ok(None),
        }
    }
}

/// The generations at one moment.
struct List {
    open: bool,
    /// Newest first. The last can be read, if there is any.
    generations: Vec<Arc<Generation>>,
}

impl List {
    const CLOSED: Self = Self {
        open: false,
        generations: Vec::new(),
    };
}

impl Store {
    /// Opens or creates a store. A damaged one is put aside.
    ///
    /// # Errors
    /// The directory is in use by another process, or cannot be read or written.
    pub fn open(options: StoreOptions) -> Result<(Arc<Self>, Writer), StoreError> {
        let files = Files::new(&options.dir);
        let (opened, recovery) = Opened::open_or_put_aside(&files, None)?;
        let background = Background::default();
        let stop = background.stop_flag();
        let trees = Trees::new(options.cache_bytes, options.open_files, stop);
        let lock_id = Files::id_of(&opened.lock)?;
        let store = Arc::new(Self {
            hash_seed: opened.meta.hash_seed,
            meta: Mutex::new(opened.meta),
            list: ArcSwap::from_pointee(List::CLOSED),
            is_bare: AtomicBool::new(false),
            lock: Mutex::new(Some(opened.lock)),
            lock_id: Mutex::new(lock_id),
            trees: Mutex::new(None),
            cache_bytes: AtomicU64::new(options.cache_bytes),
            other_bytes: AtomicU64::new(0),
            background,
            merging: Merging::default(),
            poisoned: AtomicBool::new(false),
            counters: Counters::default(),
            options,
            files,
            recovery,
        });
        store.install(trees, &[])?;
        let writer = Writer::new(Arc::clone(&store));
        Ok((store, writer))
    }

    /// How the store was found when it was opened.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Random, and the same for as long as the store lives.
    pub fn hash_seed(&self) -> u64 {
        self.hash_seed
    }

    /// The hash of a key.
    pub fn hash_of(&self, key: &[u8]) -> u64 {
        (self.options.hash_key)(self.hash_seed, key)
    }

    /// Whether a key of this hash may be on disk. Reads memory only and takes no lock.
    #[inline]
    pub fn may_hold(&self, hash: u64) -> bool {
        if self.is_bare.load(Ordering::Acquire) {
            return false;
        }
        let list = self.list.load();
        let mut generations = list.generations.iter();
        match generations.find(|generation| generation.may_hold(hash)) {
            Some(generation) => generation.is_readable(),
            None => !list.open,
        }
    }

    /// Asks the processor for what [`Self::may_hold`] reads.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        if self.is_bare.load(Ordering::Acquire) {
            return;
        }
        for generation in &self.list.load().generations {
            generation.filter.prefetch(hash);
        }
    }

    /// The record of a key; None if the store has none. Waits for the disk.
    ///
    /// # Errors
    /// [`StoreError::Read`] if a generation that may hold the key cannot be read.
    pub fn get(&self, hash: u64, key: &[u8]) -> Result<Option<Slice>, StoreError> {
        Ok(self.find(hash, key)?.map(|located| located.record))
    }

    /// The same, with the generation that has the record.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn find(&self, hash: u64, key: &[u8]) -> Result<Option<Located>, StoreError> {
        let list = self.open_list()?;
        for generation in &list.generations {
            if generation.may_hold(hash) {
                match generation.find(key)? {
                    Found::Record(record) => {
                        let generation = Arc::clone(generation);
                        return Ok(Some(Located { record, generation }));
                    }
                    Found::Gone => return Ok(None),
                    Found::Nothing => {}
                }
            }
        }
        Ok(None)
    }

    /// Whether the store has a record of the key. Waits for the disk, but does not read the record.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn holds(&self, hash: u64, key: &[u8]) -> Result<bool, StoreError> {
        let list = self.open_list()?;
        for generation in &list.generations {
            if generation.may_hold(hash)
                && let Some(size) = generation.size_of(key)?
            {
                return Ok(size > 0);
            }
        }
        Ok(false)
    }

    /// Whether a newer generation than this one has a version of the key, or a marker. Waits for the disk.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn has_newer(&self, than: u64, hash: u64, key: &[u8]) -> Result<bool, StoreError> {
        let list = self.open_list()?;
        let newer = list.generations.iter().take_while(|g| g.number > than);
        for generation in newer {
            if generation.may_hold(hash) && generation.size_of(key)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// All keys from this hash prefix on, in order, each in its newest version. Must be gone before a reopen.
    ///
    /// # Errors
    /// The first blocks cannot be read.
    pub fn scan(&self, from_prefix: u32) -> Result<Scan, StoreError> {
        let hash_key = self.options.hash_key;
        Scan::new(
            &self.view()?,
            from_prefix,
            self.hash_seed,
            hash_key,
            Walk::new,
        )
    }

    /// The same for who lists keys: with the record of those that are `wanted`. Of the others a key may be told that is gone.
    ///
    /// # Errors
    /// As [`Self::scan`].
    pub fn scan_keys<'w>(
        &self,
        from_prefix: u32,
        wanted: &'w dyn Fn(&[u8]) -> bool,
    ) -> Result<KeyScan<'w>, StoreError> {
        let hash_key = self.options.hash_key;
        let view = self.view()?;
        KeyScan::new(
            &view,
            from_prefix,
            self.hash_seed,
            hash_key,
            |generation, snapshot, from| KeyWalk::new(generation, snapshot, from, wanted),
        )
    }

    /// What a walk goes over. A key that is written again before its generation goes is in it once at least: what is out of
    /// sight is asked for first, and what was written again before is in the snapshot and the list, which must not have
    /// changed meanwhile.
    fn view(&self) -> Result<View, StoreError> {
        loop {
            let list = self.open_list()?;
            let gone = list.generations.iter().map(|g| g.gone.before()).collect();
            let snapshot = self.snapshot()?;
            if Arc::ptr_eq(&list, &self.open_list()?) {
                return Ok(View {
                    list,
                    gone,
                    snapshot,
                });
            }
        }
    }

    /// The number of the newest generation.
    pub fn newest(&self) -> Option<u64> {
        self.list.load().generations.first().map(|g| g.number)
    }

    /// What the generations should take on disk at the most.
    pub fn max_bytes(&self) -> u64 {
        self.options.max_bytes
    }

    /// Whether the oldest generation must go, with all that is in it alone: the disk is full, or its records are too old.
    pub fn is_full(&self) -> bool {
        let list = self.list.load();
        let max_age = self.options.max_age;
        let is_old =
            |oldest: &Arc<Generation>| !max_age.is_zero() && self.age(oldest.number) >= max_age;
        list.generations.last().is_some_and(is_old) || self.leaves_less_than(SLACK)
    }

    /// Whether the oldest generation had better go, with nothing lost: a part of it has gone, and its files go with the last one;
    /// or a merge found no room.
    pub fn had_better_go(&self) -> bool {
        let list = self.list.load();
        let is_one = list.generations.len() < 2;
        let oldest = list.generations.last();
        oldest.is_some_and(|oldest| oldest.gone.before() > 0) || self.is_merge_in_want() && !is_one
    }

    /// Whether it should go at once: what is written is about to use the slack that is kept for merges.
    pub fn is_overfull(&self) -> bool {
        self.leaves_less_than(SLACK_OF_MERGES)
    }

    /// Whether so many generations would not find room below the limit.
    fn leaves_less_than(&self, generations: f64) -> bool {
        let slack = (self.options.generation_bytes() as f64 * generations) as u64;
        let most = self.options.max_bytes.saturating_sub(slack);
        self.used_bytes() > most && self.list.load().generations.len() > 1
    }

    fn used_bytes(&self) -> u64 {
        let list = self.list.load();
        let generations: u64 = list.generations.iter().map(|g| g.disk_bytes()).sum();
        generations + self.other_bytes.load(Ordering::Relaxed)
    }

    /// Looks what is in the directory besides the generations that can be read.
    fn measure_others(&self) {
        let list = self.list.load();
        let readable = list.generations.iter().filter(|g| g.is_readable());
        let readable: Vec<_> = readable.map(|g| self.files.generation(g.number)).collect();
        let bytes = self
            .files
            .other_bytes(|path| readable.iter().any(|own| own == path));
        self.other_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Makes room: what was moved aside because it could not be read has had its time.
    fn remove_aside(&self) -> Result<(), StoreError> {
        self.files.remove_aside()?;
        self.measure_others();
        Ok(())
    }

    /// How many bytes of blocks may be in memory.
    pub fn cache_bytes(&self) -> u64 {
        self.cache_bytes.load(Ordering::Relaxed)
    }

    fn new_trees(&self) -> Trees {
        let stop = self.background.stop_flag();
        Trees::new(self.cache_bytes(), self.options.open_files, stop)
    }

    /// Bytes of blocks that are in memory.
    pub fn cached_bytes(&self) -> u64 {
        self.trees.lock().as_ref().map_or(0, Trees::cached_bytes)
    }

    /// Takes a generation that cannot be read out of use, with its data; whether it was in use. Its keys are gone, and so
    /// are older versions of them.
    pub fn quarantine(&self, generation: u64) -> bool {
        let _changing = self.trees.lock();
        let list = self.list.load_full();
        let mut generations = list.generations.clone();
        let Some(damaged) = generations
            .iter_mut()
            .find(|g| g.number == generation && g.is_readable())
        else {
            return false;
        };
        tracing::error!(generation, "a generation of the disk tier is quarantined");
        let (filter, records) = (&damaged.filter, damaged.records());
        log_failure("keep the filter of a quarantined generation", || {
            self.write_filter(generation, FilterKind::Lost, records, filter)
        });
        let tree = damaged.tree.clone();
        *damaged = Arc::new(Generation {
            number: generation,
            filter: Arc::clone(&damaged.filter),
            tree: None,
            gone: Arc::clone(&damaged.gone),
            usage: Arc::default(),
        });
        self.set_list(generations);
        self.counters.quarantined.fetch_add(1, Ordering::Relaxed);
        if let Some(tree) = tree {
            tree.remove();
        }
        true
    }

    /// Whether the directory is where it was: it may have been removed, or be on a disk that is not there any more, or not
    /// yet again.
    pub fn is_in_place(&self) -> bool {
        self.files.has_lock(*self.lock_id.lock())
    }

    /// Whether writes fail until [`Writer::reopen`], as they do once the library has panicked.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Relaxed)
    }

    /// What [`Self::set_blob`] was given last; empty at first.
    pub fn blob(&self) -> Vec<u8> {
        self.meta.lock().blob.clone()
    }

    /// Keeps some bytes of the caller's with the store; durable on return.
    ///
    /// # Errors
    /// The file cannot be written; the old bytes remain.
    pub fn set_blob(&self, blob: Vec<u8>) -> Result<(), StoreError> {
        self.change_meta(|meta| meta.blob = blob)
    }

    /// How long ago a generation was begun. Where nobody knows it is as if it were now.
    fn age(&self, generation: u64) -> Duration {
        let meta = self.meta.lock();
        let begun = meta.begun.iter().find(|(number, _)| *number == generation);
        let now = crate::clock::now().as_secs().cast_unsigned();
        Duration::from_secs(begun.map_or(0, |(_, at)| now.saturating_sub(*at)))
    }

    /// A generation begins.
    fn begin(&self, generation: u64, oldest: u64) -> Result<(), StoreError> {
        self.change_meta(|meta| {
            meta.next_generation = generation + 1;
            meta.begun
                .retain(|(number, _)| (oldest..generation).contains(number));
            let now = crate::clock::now().as_secs().cast_unsigned();
            meta.begun.push((generation, now));
        })
    }

    /// The oldest generation ends. Its number never comes again: by that the next opening knows what a crash has left of it.
    fn end(&self, generation: u64) -> Result<(), StoreError> {
        self.change_meta(|meta| meta.oldest = generation + 1)
    }

    fn change_meta(&self, change: impl FnOnce(&mut Meta)) -> Result<(), StoreError> {
        let mut meta = self.meta.lock();
        let mut next = meta.clone();
        change(&mut next);
        self.files.write_meta(&next)?;
        *meta = next;
        Ok(())
    }

    /// The numbers of this moment.
    pub fn stats(&self) -> StoreStats {
        let list = self.list.load();
        let all = || list.generations.iter();
        let trees = || all().filter_map(|g| g.tree.as_ref());
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StoreStats {
            generations: trees().count(),
            disk_bytes: self.used_bytes(),
            filter_bytes: all().map(|g| g.filter.bytes()).sum(),
            filters_missing: all().filter(|g| !g.filter.is_complete()).count(),
            records: all().map(|g| g.records()).sum(),
            parts: all().map(|g| g.usage.parts()).sum(),
            runs_side_by_side: trees().map(merge::all_runs).max().unwrap_or(0),
            runs: count(&self.counters.runs),
            bytes_ingested: count(&self.counters.bytes_ingested),
            bytes_merged: count(&self.counters.bytes_merged),
            bytes_dropped: count(&self.counters.bytes_dropped),
            quarantined: count(&self.counters.quarantined),
        }
    }

    /// The generations of this moment, the newest first, without the quarantined ones.
    pub fn generations(&self) -> Vec<GenerationStats> {
        let list = self.list.load();
        let readable = list.generations.iter().filter(|g| g.is_readable());
        let stats = readable.map(|generation| GenerationStats {
            number: generation.number,
            disk_bytes: generation.disk_bytes(),
            records: generation.records(),
            filter_bytes: generation.filter.bytes(),
        });
        stats.collect()
    }

    fn open_list(&self) -> Result<Arc<List>, StoreError> {
        let list = self.list.load_full();
        if list.open {
            Ok(list)
        } else {
            Err(StoreError::Closed)
        }
    }

    fn snapshot(&self) -> Result<Arc<Snapshot>, StoreError> {
        let trees = self.trees.lock();
        Ok(trees.as_ref().ok_or(StoreError::Closed)?.snapshot())
    }

    /// Makes this the list, without the quarantined generations at its end: there is nothing left that they hide. Called
    /// with the lock of the trees held.
    fn set_list(&self, mut generations: Vec<Arc<Generation>>) {
        while let Some(lost) = generations.pop_if(|oldest| !oldest.is_readable()) {
            log_failure("remove a filter", || {
                self.end(lost.number)?;
                Ok(self.files.remove_filter(lost.number, FilterKind::Lost)?)
            });
        }
        let open = true;
        self.exchange_list(List { open, generations });
    }

    /// `is_bare` is true only while the list is so. Gives the list before.
    fn exchange_list(&self, list: List) -> Arc<List> {
        let is_bare = list.open && list.generations.is_empty();
        self.is_bare.store(false, Ordering::Release);
        let before = self.list.swap(Arc::new(list));
        self.is_bare.store(is_bare, Ordering::Release);
        before
    }

    fn write_filter(
        &self,
        generation: u64,
        kind: FilterKind,
        records: u64,
        filter: &Filter,
    ) -> Result<(), StoreError> {
        let seed = self.hash_seed;
        Ok(self
            .files
            .write_filter(generation, kind, seed, records, filter)?)
    }
}

/// For steps whose failure costs time or memory, not data.
fn log_failure(what: &str, step: impl FnOnce() -> Result<(), StoreError>) {
    if let Err(error) = step() {
        tracing::warn!(%error, "the disk tier could not {what}");
    }
}
