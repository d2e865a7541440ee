//! The writing side: sorted runs into the newest generation, new generations, and the end of the oldest.
//!
//! There is one [`Writer`], owned by one thread. Invariant: a run changes nothing that a reader sees until it is finished,
//! but for bits in a filter, which cost a look.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use fjall::{Database, PersistMode};

use super::files::{FilterKind, sync_dir};
use super::filter::Filter;
use super::generation::{self, Generation};
use super::opening::Opened;
use super::{List, Recovery, Store, StoreError, Walk, log_failure};

/// Room in the filter of the first generation; it grows when the size of records is known.
const FIRST_KEYS: usize = 1 << 16;
const KEY_BYTES: std::ops::RangeInclusive<usize> = 4..=65_535;
/// Reads and scans hold the database's files; a reopen waits so long for them to end.
const REOPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// Writes to a store.
pub struct Writer {
    store: Arc<Store>,
    /// Where the present run goes, or the last one went.
    target: Option<Arc<Generation>>,
    /// Out of the list, and to be dropped.
    retired: Option<Arc<Generation>>,
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
            retired: None,
        }
    }

    /// The reading side.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Begins a run into the newest generation, or into a new one if that is full. A run that is dropped without being
    /// finished leaves nothing that can be read; its files go when the store is next opened.
    ///
    /// # Errors
    /// The store is closed or poisoned, or the disk refuses.
    pub fn begin_run(&mut self) -> Result<Run<'_>, StoreError> {
        let target = self.store.note_poison(self.choose_target())?;
        // Before the first key: from then on the file lacks some.
        self.store
            .files
            .remove_filter(target.number, FilterKind::Live)?;
        let target: &Arc<Generation> = self.target.insert(target);
        Run::begin(&self.store, target)
    }

    fn choose_target(&self) -> Result<Arc<Generation>, StoreError> {
        let database = self.database()?;
        database
            .persist(PersistMode::Buffer)
            .map_err(StoreError::Database)?;
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
            newest => self.begin_generation(&database, newest.map(Arc::as_ref)),
        }
    }

    fn database(&self) -> Result<Database, StoreError> {
        let database = self.store.database.lock();
        database.clone().ok_or(StoreError::Closed)
    }

    fn begin_generation(
        &self,
        database: &Database,
        last: Option<&Generation>,
    ) -> Result<Arc<Generation>, StoreError> {
        let next = self.store.meta.lock().next_generation;
        let number = last.map_or(next, |last| last.number + 1);
        let keys = last.map_or(FIRST_KEYS, |last| with_slack(last.filter.keys() as usize));
        let keyspace = database
            .keyspace(&generation::name(number), generation::keyspace_options)
            .map_err(StoreError::Database)?;
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
            keyspace: Some(keyspace),
        });
        let changing = self.store.database.lock();
        let mut generations = self.store.list.load().generations.clone();
        generations.insert(0, Arc::clone(&newest));
        self.store.set_list(generations);
        drop(changing);
        if let Some(last) = last {
            self.seal(last);
        }
        Ok(newest)
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

    /// Takes the oldest generation out of sight and gives its keys, markers among them, of which those that
    /// [`Store::has_version`] does not know now go with it. Nothing is freed until [`Self::drop_retired`]; after a crash
    /// before that it is back. None if the store has no generation.
    ///
    /// # Errors
    /// The store is closed.
    pub fn retire_oldest(&mut self) -> Result<Option<Walk>, StoreError> {
        let list = self.store.open_list()?;
        if let [only] = list.generations.as_slice() {
            // What is written while this one goes is not to bear its name.
            self.begin_generation(&self.database()?, Some(only))?;
        }
        self.hide_oldest()
    }

    fn hide_oldest(&mut self) -> Result<Option<Walk>, StoreError> {
        let snapshot = self.store.snapshot()?;
        let list = self.store.open_list()?;
        let Some(oldest) = list.generations.last() else {
            return Ok(None);
        };
        self.target = None;
        self.hide(oldest.number);
        Ok(Walk::new(Arc::clone(oldest), &snapshot, &[]))
    }

    /// Whether a generation is out of sight and still to be dropped.
    pub fn is_retiring(&self) -> bool {
        self.retired.is_some()
    }

    fn hide(&mut self, number: u64) {
        let store = &self.store;
        let _changing = store.database.lock();
        let mut generations = store.list.load().generations.clone();
        let last = generations.pop_if(|oldest| oldest.number == number);
        let retiring = last.as_ref().map(|oldest| Arc::clone(&oldest.filter));
        store.set_list_beside(generations, retiring);
        self.retired = last;
    }

    /// Drops the retired generation and tells the disk bytes that come free, once no reader is in it.
    ///
    /// # Errors
    /// The store is closed, or the disk refuses; it can be tried again.
    pub fn drop_retired(&mut self) -> Result<u64, StoreError> {
        let store = &self.store;
        let changing = store.database.lock();
        let database = changing.as_ref().ok_or(StoreError::Closed)?;
        let Some(oldest) = &self.retired else {
            return Ok(0);
        };
        let generations = store.list.load().generations.clone();
        store.end(oldest.number)?;
        let bytes = oldest.disk_bytes();
        if let Some(keyspace) = oldest.keyspace.clone() {
            let deleted = database.delete_keyspace(keyspace);
            store.note_poison(deleted.map_err(StoreError::Database))?;
        }
        store.files.remove_filter(oldest.number, FilterKind::Live)?;
        store.set_list_beside(generations, None);
        self.retired = None;
        let dropped = &store.counters.bytes_dropped;
        dropped.fetch_add(bytes, Ordering::Relaxed);
        Ok(bytes)
    }

    /// Drops the oldest generation, whatever is in it, and tells the disk bytes that come free.
    ///
    /// # Errors
    /// As [`Self::drop_retired`].
    pub fn drop_oldest(&mut self) -> Result<u64, StoreError> {
        drop(self.hide_oldest()?);
        self.drop_retired()
    }

    /// Opens the database anew: what cures a poisoned store when there is room on the disk again, and removes what
    /// unfinished runs have left. Reads fail meanwhile; iterators must be gone. After an error it can be tried again.
    ///
    /// # Errors
    /// [`StoreError::Busy`] if somebody still reads after some seconds; the disk refuses.
    pub fn reopen(&mut self) -> Result<Recovery, StoreError> {
        let retired = self.retired.as_ref().map(|oldest| oldest.number);
        let before = self.shut();
        let store = &self.store;
        let start = Instant::now();
        let meta = store.meta.lock().clone();
        loop {
            match Opened::open_or_put_aside(&store.files, &store.options, Some(&meta)) {
                Err(StoreError::Busy) if start.elapsed() < REOPEN_TIMEOUT => {}
                Err(error) => return Err(error),
                Ok((opened, recovery)) => {
                    let known = match recovery {
                        Recovery::PutAside(_) | Recovery::New => &[],
                        Recovery::Clean | Recovery::Unclean => before.as_slice(),
                    };
                    *store.lock.lock() = Some(opened.lock);
                    *store.meta.lock() = opened.meta;
                    store.install(opened.database, known)?;
                    store.poisoned.store(false, Ordering::Relaxed);
                    if let Some(number) = retired {
                        self.hide(number);
                    }
                    return Ok(recovery);
                }
            }
        }
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
        store.rebuilds.stop();
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

    /// Lets go of the database and tells the filters that were in use.
    fn shut(&mut self) -> Vec<Arc<Generation>> {
        self.target = None;
        self.retired = None;
        self.store.rebuilds.stop();
        let database = self.store.database.lock().take();
        let list = self.store.list.swap(Arc::new(List::CLOSED));
        let filters = list.generations.iter().filter(|g| g.is_readable());
        let filters = filters.map(|generation| Generation {
            keyspace: None,
            ..(**generation).clone()
        });
        let filters = filters.map(Arc::new).collect();
        drop(list);
        drop(database);
        *self.store.lock.lock() = None;
        filters
    }
}

impl Store {
    fn note_poison<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
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

enum Step<'k> {
    Write(&'k [u8], &'k [u8]),
    Finish,
}

/// A run under way.
pub struct Run<'a> {
    store: &'a Store,
    target: &'a Generation,
    /// fjall's ingestion, whose type it does not tell.
    sink: Box<dyn FnMut(Step<'_>) -> fjall::Result<()> + 'a>,
    last_key: Vec<u8>,
    done: RunDone,
    /// What was in the generation before.
    before: RunDone,
}

impl<'a> Run<'a> {
    fn begin(store: &'a Store, target: &'a Generation) -> Result<Self, StoreError> {
        let Some(keyspace) = &target.keyspace else {
            return Err(StoreError::Quarantined(target.number));
        };
        let ingestion = keyspace.start_ingestion().map_err(StoreError::Database);
        let mut ingestion = Some(store.note_poison(ingestion)?);
        let sink = move |step: Step<'_>| match (step, ingestion.as_mut()) {
            (Step::Write(key, record), Some(ingestion)) => ingestion.write(key, record),
            (Step::Finish, Some(_)) => ingestion.take().map_or(Ok(()), |all| all.finish()),
            (_, None) => Ok(()),
        };
        Ok(Self {
            store,
            target,
            sink: Box::new(sink),
            last_key: Vec::new(),
            done: RunDone::default(),
            before: RunDone {
                records: target.records(),
                bytes: target.disk_bytes(),
            },
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
        let written = (self.sink)(Step::Write(key, record)).map_err(StoreError::Database);
        self.store.note_poison(written)?;
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
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
        let finished = (self.sink)(Step::Finish).map_err(StoreError::Database);
        self.store.note_poison(finished)?;
        if let Some(keyspace) = &self.target.keyspace {
            // fjall syncs its files and the directory of the tables, but not that of the records that lie apart.
            sync_dir(&keyspace.path().join("blobs"))?;
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
        Ok(self.done)
    }
}
