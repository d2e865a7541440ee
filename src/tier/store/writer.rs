//! The writing side: sorted runs into the newest generation, and new generations.
//!
//! There is one [`Writer`], owned by one thread. Invariant: a run changes nothing that a reader sees until it is finished,
//! but for bits in a filter, which cost a look.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::files::{Files, FilterKind, sync_dir};
use super::filter::Filter;
use super::generation::Generation;
use super::opening::Opened;
use super::tree::{APART_DIR, Ingestion, TABLES_DIR, Tree, Trees};
use super::{List, Recovery, Store, StoreError, log_failure, regular};

/// Room in the filter of the first generation; it grows when the size of records is known.
const FIRST_KEYS: usize = 1 << 16;
const KEY_BYTES: std::ops::RangeInclusive<usize> = 4..=65_535;
/// Reads and scans hold the trees' files; a reopen waits so long for them to end.
const REOPEN_TIMEOUT: Duration = Duration::from_secs(5);
const REOPEN_POLL: Duration = Duration::from_millis(1);

/// Writes to a store.
pub struct Writer {
    pub(super) store: Arc<Store>,
    /// Where the present run goes, or the last one went.
    pub(super) target: Option<Arc<Generation>>,
}

/// What a finished run wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunDone {
    /// Records and markers.
    pub records: u64,
    /// Bytes of keys and records.
    pub bytes: u64,
}

impl Writer {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self {
            store,
            target: None,
        }
    }

    /// The reading side.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Begins a run into the newest generation, or into a new one if that is full. A run that is dropped without being
    /// finished leaves nothing that can be read; its files are removed.
    ///
    /// # Errors
    /// The store is closed or poisoned, or the disk refuses.
    pub fn begin_run(&mut self) -> Result<Run<'_>, StoreError> {
        let target = self.choose_target();
        self.begin_run_in(target)
    }

    /// The same, always into a new generation.
    ///
    /// # Errors
    /// As [`Self::begin_run`].
    pub fn begin_fresh_run(&mut self) -> Result<Run<'_>, StoreError> {
        let newest = self.store.list.load().generations.first().cloned();
        let target = match self.store.is_poisoned() {
            true => Err(StoreError::Poisoned),
            false => self.begin_generation(newest.as_deref()),
        };
        self.begin_run_in(target)
    }

    fn begin_run_in(
        &mut self,
        target: Result<Arc<Generation>, StoreError>,
    ) -> Result<Run<'_>, StoreError> {
        let target = self.store.note_poison(target)?;
        // Before the first key: from then on the file lacks some.
        self.store
            .files
            .remove_filter(target.number, FilterKind::Live)?;
        let target: &Arc<Generation> = self.target.insert(target);
        Run::begin(&self.store, target)
    }

    fn choose_target(&self) -> Result<Arc<Generation>, StoreError> {
        if self.store.is_poisoned() {
            return Err(StoreError::Poisoned);
        }
        let list = self.store.open_list()?;
        let newest = list.generations.first();
        let options = &self.store.options;
        let span = options.max_age / options.generations.max(1) as u32;
        let full = |g: &Generation| {
            let is_old = !span.is_zero() && self.store.age(g.number) >= span;
            is_old || g.disk_bytes() >= options.generation_bytes()
        };
        match newest {
            Some(newest) if newest.is_readable() && !full(newest) => Ok(Arc::clone(newest)),
            newest => self.begin_generation(newest.map(Arc::as_ref)),
        }
    }

    pub(super) fn begin_generation(
        &self,
        last: Option<&Generation>,
    ) -> Result<Arc<Generation>, StoreError> {
        let next = self.store.meta.lock().next_generation;
        let number = last.map_or(next, |last| last.number + 1);
        let keys = last.map_or(FIRST_KEYS, |last| with_slack(last.filter.keys() as usize));
        let tree = self.make_tree(number)?;
        // Before its first run, and not before it is there.
        let oldest = self
            .store
            .list
            .load()
            .generations
            .last()
            .map_or(number, |g| g.number);
        self.store.begin(number, oldest)?;
        let newest = Arc::new(Generation {
            number,
            filter: Arc::new(Filter::new(keys, true)),
            tree: Some(tree),
            gone: Arc::default(),
            usage: Arc::default(),
        });
        let changing = self.store.trees.lock();
        let mut generations = self.store.list.load().generations.clone();
        generations.insert(0, Arc::clone(&newest));
        self.store.set_list(generations);
        drop(changing);
        if let Some(last) = last {
            self.seal(last);
        }
        Ok(newest)
    }

    fn make_tree(&self, number: u64) -> Result<Tree, StoreError> {
        let trees = self.store.trees.lock().clone();
        let trees = trees.ok_or(StoreError::Closed)?;
        let path = self.store.files.generation(number);
        // Of a try that failed half-way.
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        // Alone: where the tier's directory has gone another one must not take its place.
        let made = regular::create_one_dir(&path)
            .map_err(StoreError::File)
            .and_then(|()| Ok(trees.make(&path)?))
            .and_then(|tree| {
                regular::create_dirs(&path.join(APART_DIR))?;
                sync_dir(&path)?;
                sync_dir(&self.store.files.generations())?;
                Ok(tree)
            });
        if made.is_err() {
            // Where that fails too the next try does it.
            let _ = fs::remove_dir_all(&path);
        }
        made
    }

    /// Gives a generation that takes no more runs its last filter. One that is incomplete is sealed by its rebuild.
    fn seal(&self, sealed: &Generation) {
        if !sealed.is_readable() || !sealed.filter.is_complete() {
            return;
        }
        if sealed.filter.segment_count() > 2 {
            return self.store.rebuild_anew(Arc::new(sealed.clone()));
        }
        let filter = Arc::new(sealed.filter.folded());
        log_failure("keep a filter", || {
            self.store.keep_filter_if_sealed(sealed.number, filter)
        });
    }

    /// Opens the trees anew: what cures a poisoned store. Reads wait meanwhile; iterators must be gone. After an error it can
    /// be tried again.
    ///
    /// # Errors
    /// [`StoreError::Gone`] if the directory is not there: what is read is an error then, and no new store is begun.
    /// [`StoreError::Busy`] if somebody still reads after some seconds; the disk refuses.
    pub fn reopen(&mut self) -> Result<Recovery, StoreError> {
        if !self.store.is_in_place() {
            return Err(StoreError::Gone);
        }
        let (before, trees) = self.shut();
        self.wait_for_readers(trees)?;
        let store = &self.store;
        let meta = store.meta.lock().clone();
        let (opened, recovery) = Opened::open_or_put_aside(&store.files, Some(&meta))?;
        let known = match recovery {
            Recovery::PutAside(_) | Recovery::New => &[],
            Recovery::Clean | Recovery::Unclean => before.as_slice(),
        };
        *store.lock_id.lock() = Files::id_of(&opened.lock)?;
        *store.lock.lock() = Some(opened.lock);
        *store.meta.lock() = opened.meta;
        store.install(store.new_trees(), known)?;
        store.poisoned.store(false, Ordering::Relaxed);
        Ok(recovery)
    }

    /// Gives the cache another size: the trees are opened a second time beside themselves, and those who read go on in the
    /// first ones until they are done. False where somebody reads what a merge has replaced.
    ///
    /// # Errors
    /// A tree cannot be opened; nothing has changed.
    pub fn set_cache(&mut self, bytes: u64) -> Result<bool, StoreError> {
        let store = Arc::clone(&self.store);
        // No merge may begin in the first ones, and no run.
        self.target = None;
        store.background.stop();
        store.remove_merged_files();
        let list = store.open_list()?;
        let trees = store.trees.lock().clone().ok_or(StoreError::Closed)?;
        let mut readable = list.generations.iter().filter_map(|g| g.tree.as_ref());
        let mut done = !readable.any(Tree::has_old_versions);
        if done {
            let trees = trees.with_cache(bytes, store.options.open_files);
            let mut generations = Vec::new();
            for generation in &list.generations {
                let mut generation = Generation::clone(generation);
                if let Some(tree) = &generation.tree {
                    generation.tree = Some(trees.open(tree.path())?);
                }
                generations.push(Arc::new(generation));
            }
            let mut changing = store.trees.lock();
            // One that was quarantined meanwhile must not come back.
            done = Arc::ptr_eq(&list, &store.open_list()?);
            if done {
                store.set_list(generations);
                *changing = Some(trees);
                store.cache_bytes.store(bytes, Ordering::Relaxed);
            }
        }
        let list = store.open_list()?;
        for generation in &list.generations {
            if generation.is_readable() && !generation.filter.is_complete() {
                store.rebuild_in_place(Arc::clone(generation));
            }
        }
        Ok(done)
    }

    /// Whoever reads holds a tree.
    fn wait_for_readers(&self, trees: Option<Trees>) -> Result<(), StoreError> {
        let start = Instant::now();
        while trees.as_ref().is_some_and(|trees| trees.users() > 1) {
            if start.elapsed() >= REOPEN_TIMEOUT {
                *self.store.trees.lock() = trees;
                return Err(StoreError::Busy);
            }
            std::thread::sleep(REOPEN_POLL);
        }
        Ok(())
    }

    /// Removes all that the store has, and begins anew. It needs no room on the disk. After an error it can be tried again.
    ///
    /// # Errors
    /// As [`Self::reopen`].
    pub fn empty(&mut self) -> Result<(), StoreError> {
        if !self.store.is_in_place() {
            return Err(StoreError::Gone);
        }
        let (_, trees) = self.shut();
        // Where one of the next steps fails it is opened when there is room.
        self.store.poisoned.store(true, Ordering::Relaxed);
        self.wait_for_readers(trees)?;
        self.store.files.remove_all()?;
        self.reopen().map(drop)
    }

    /// Removes all that the store has, so that the next open begins a new one.
    ///
    /// # Errors
    /// The files cannot be removed.
    pub fn discard(mut self) -> Result<(), StoreError> {
        self.shut();
        Ok(self.store.files.remove_all()?)
    }

    /// Closes the store in order: the next start finds its filters, and that nothing was lost.
    ///
    /// # Errors
    /// The disk refuses; the next start is unclean.
    pub fn close(mut self) -> Result<(), StoreError> {
        let store = Arc::clone(&self.store);
        store.background.stop();
        let kept = store.files.filters_of(FilterKind::Live)?;
        let list = store.list.load_full();
        let wanted =
            |g: &Generation| g.is_readable() && g.filter.is_complete() && !kept.contains(&g.number);
        for generation in list.generations.iter().filter(|g| wanted(g)) {
            let (records, filter) = (generation.records(), &generation.filter);
            store.write_filter(generation.number, FilterKind::Live, records, filter)?;
        }
        drop(list);
        self.shut();
        Ok(store.files.set_closed()?)
    }

    /// Lets go of the trees and tells the filters that were in use.
    fn shut(&mut self) -> (Vec<Arc<Generation>>, Option<Trees>) {
        self.target = None;
        self.store.background.stop();
        let mut changing = self.store.trees.lock();
        let trees = changing.take();
        let list = self.store.exchange_list(List::CLOSED);
        drop(changing);
        let filters = list.generations.iter().filter(|g| g.is_readable());
        let filters = filters.map(|generation| Generation {
            tree: None,
            ..(**generation).clone()
        });
        let filters = filters.map(Arc::new).collect();
        drop(list);
        *self.store.lock.lock() = None;
        (filters, trees)
    }
}

impl Store {
    pub(super) fn note_poison<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if result.as_ref().is_err_and(StoreError::is_poison) {
            self.poisoned.store(true, Ordering::Relaxed);
        }
        result
    }
}

/// A little more, so that a generation as large as the last does not need a second segment for its last keys, which would
/// double the share of absent keys that look as if they were there.
fn with_slack(keys: usize) -> usize {
    keys + keys / 16
}

/// A run under way.
pub struct Run<'a> {
    store: &'a Arc<Store>,
    target: &'a Arc<Generation>,
    ingestion: Ingestion<'a>,
    last_key: Vec<u8>,
    last_hash: Option<u64>,
    /// Records behind another one of the same hash: of a key whose value lies in parts.
    parts: u64,
    done: RunDone,
    /// What was in the generation before.
    before: RunDone,
    /// The files that were there before; None once what was written is there to stay.
    files: Option<BTreeSet<PathBuf>>,
}

impl<'a> Run<'a> {
    fn begin(store: &'a Arc<Store>, target: &'a Arc<Generation>) -> Result<Self, StoreError> {
        let Some(tree) = &target.tree else {
            return Err(StoreError::Quarantined(target.number));
        };
        let files = files_of(tree.path());
        let ingestion = tree.ingest().map_err(StoreError::Tree);
        Ok(Self {
            store,
            target,
            ingestion: store.note_poison(ingestion)?,
            last_key: Vec::new(),
            last_hash: None,
            parts: 0,
            done: RunDone::default(),
            before: RunDone {
                records: target.records(),
                bytes: target.disk_bytes(),
            },
            files: Some(files),
        })
    }

    /// The number of the generation that it goes to.
    pub fn generation(&self) -> u64 {
        self.target.number
    }

    /// What was written so far.
    pub fn written(&self) -> RunDone {
        self.done
    }

    /// Writes the record of a key. Keys must ascend.
    ///
    /// # Errors
    /// The key does not ascend, key or record have an impossible size, or the disk refuses. After the last the run is lost.
    pub fn write(&mut self, hash: u64, key: &[u8], record: &[u8]) -> Result<(), StoreError> {
        if record.is_empty() || u32::try_from(record.len()).is_err() {
            return Err(StoreError::Size);
        }
        self.put(hash, key, record)
    }

    /// Writes that a key is gone. Keys must ascend.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn mark(&mut self, hash: u64, key: &[u8]) -> Result<(), StoreError> {
        self.put(hash, key, &[])
    }

    fn put(&mut self, hash: u64, key: &[u8], record: &[u8]) -> Result<(), StoreError> {
        if !KEY_BYTES.contains(&key.len()) {
            return Err(StoreError::Size);
        }
        if key <= self.last_key.as_slice() {
            return Err(StoreError::Order);
        }
        debug_assert_eq!(hash, self.store.hash_of(key), "the hash of the key");
        let written = self.ingestion.write(key, record);
        self.store.note_poison(written.map_err(StoreError::Tree))?;
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        self.parts += u64::from(self.last_hash.replace(hash) == Some(hash));
        self.done.records += 1;
        self.done.bytes += (key.len() + record.len()) as u64;
        self.target.filter.add(hash, || self.expected_keys());
        Ok(())
    }

    /// How many keys the generation will have when it is full, by the size of those so far.
    fn expected_keys(&self) -> usize {
        let records = u128::from(self.before.records + self.done.records);
        let bytes = u128::from(self.before.bytes + self.done.bytes).max(1);
        let full = u128::from(self.store.options.generation_bytes());
        with_slack((records * full / bytes) as usize)
    }

    /// Makes the run durable and lets readers see it.
    ///
    /// # Errors
    /// The disk refuses, or the generation was quarantined meanwhile: then nothing of the run can be read.
    pub fn finish(mut self) -> Result<RunDone, StoreError> {
        let finished = self.ingestion.finish();
        self.store.note_poison(finished.map_err(StoreError::Tree))?;
        self.files = None;
        if let Some(tree) = &self.target.tree {
            // The library syncs its files and the directory of the tables, but not that of the records that lie apart.
            sync_dir(&tree.path().join(APART_DIR))?;
        }
        let list = self.store.open_list()?;
        let mut generations = list.generations.iter();
        if !generations.any(|g| g.number == self.target.number && g.is_readable()) {
            return Err(StoreError::Quarantined(self.target.number));
        }
        let counters = &self.store.counters;
        counters.runs.fetch_add(1, Ordering::Relaxed);
        counters
            .bytes_ingested
            .fetch_add(self.done.bytes, Ordering::Relaxed);
        self.store.remove_merged_files();
        self.target.usage.count_parts(self.parts);
        self.target.measure();
        self.store.measure_others();
        if self.store.is_full() {
            log_failure("remove what was moved aside", || self.store.remove_aside());
        }
        self.store.merge_runs_if_many(self.target);
        Ok(self.done)
    }
}

impl Drop for Run<'_> {
    /// What was written of a run that was not finished is removed at once: where the disk is full it would be in the way.
    fn drop(&mut self) {
        let (Some(before), Some(tree)) = (self.files.take(), &self.target.tree) else {
            return;
        };
        self.ingestion.abandon();
        self.store.remove_files_since(tree, &before);
        self.target.measure();
    }
}

impl Store {
    /// Removes the files that came into a tree since these were there, unless a merge may have made them.
    fn remove_files_since(&self, tree: &Tree, before: &BTreeSet<PathBuf>) {
        let is_merging = self.is_merging();
        let tables = tree.path().join(TABLES_DIR);
        let Ok(in_use) = tree.tables_in_use() else {
            return;
        };
        for path in files_of(tree.path()) {
            let is_table = path.parent() == Some(&tables);
            let counts = || path.file_name().is_some_and(|name| in_use.contains(name));
            if before.contains(&path) || is_table && (is_merging || counts()) {
                continue;
            }
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!("The disk tier could not remove {}: {error}", path.display());
            }
        }
    }
}

/// The tables of a tree, and the files of records that lie apart.
fn files_of(tree: &Path) -> BTreeSet<PathBuf> {
    let dirs = [TABLES_DIR, APART_DIR].map(|dir| fs::read_dir(tree.join(dir)));
    let entries = dirs.into_iter().flatten().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}
