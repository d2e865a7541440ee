//! The disk tier: what memory has no room for, and what shall survive the process.
//!
//! It owns the store on disk and the threads that work on it: a few that read ([`loads`]) and one that
//! writes (`writer`). No command and no request thread touches the disk. A request meets the tier in
//! two places only: a command whose keys memory cannot answer for waits for a load, and under
//! `tier-durability always` its reply waits for the writer.
//!
//! * [`record`] is the form of keys and values on disk.
//! * [`loads`] fetches keys into memory, each once however many wait for it.
//! * `log` has what is durable before a run has it.
//! * `writer` takes what changed, and makes it safe below, when `pace` says so; `snapshot` is what it has
//!   taken and not written yet, and `draft` what it is going to write.
//! * `marks` remembers what a full disk does not take.
//! * `reclaim` lets go of the oldest when the disk is full.
//! * `chunks` writes and reads long values in parts.
//! * `walk` goes over all keys of both tiers, on the threads of `walks`.
//! * `warm` brings the keys that are pinned or were in use into memory again after a start.
//!
//! What memory and tier know of each other is in [`crate::keyspace::residency`].

mod chunks;
pub mod compress;
mod draft;
pub mod loads;
mod log;
mod marks;
mod pace;
mod pending;
mod reclaim;
pub mod record;
mod restore;
mod snapshot;
pub mod store;
mod walk;
mod walks;
mod warm;
mod writer;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use self::compress::{ClassStats, DecodeError, Dictionaries};
use self::loads::Loads;
use self::log::Log;
use self::marks::Reserve;
use self::pace::{Pace, Round};
use self::pending::Pending;
use self::store::{GenerationStats, Recovery, Slice, Store, StoreError, StoreOptions};
use self::walks::{Lane, WALKERS, Walks};
use crate::clock::UnixMs;
use crate::config::{Config, TierDurability};
use crate::descriptors;
use crate::engine::Engine;
use crate::keyspace::cold::ColdCounts;
use crate::keyspace::eviction::AccessPolicy;
use crate::keyspace::lfu::LfuSettings;
use crate::keyspace::residency::{Ask, Filter, Page};
use crate::keyspace::{DATABASES, KeyHash, Keyspace, ThreadSlot};
use crate::threads::{self, Part};

pub use self::loads::Wanted;
pub use self::pace::Saves;

/// Threads that read. A cold read is one read of the disk, of which it does several at once well.
const READERS: usize = 4;
/// Threads of the tier that touch the keyspace: those, the writer, the one that warms up, the one that counts, and those that
/// walk.
const THREADS: usize = READERS + 3 + WALKERS;

/// Memory for blocks that were read from disk: a part of `maxmemory`, within bounds.
const CACHE_SHARE: u64 = 16;
const CACHE_BYTES_MIN: u64 = 1024 * 1024;
const CACHE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// No number of a name, and no head of a record.
const SPACES_MAGIC: [u8; 4] = *b"SPC2";
/// Parts that the disk's space is divided into; the oldest goes as a whole.
const GENERATIONS: usize = 12;

/// The tier of a server.
pub struct Tier {
    store: Arc<Store>,
    dir: PathBuf,
    /// The writing side, for the writer alone.
    disk: Mutex<Option<store::Writer>>,
    log: Mutex<Log>,
    /// Its bytes, for those who cannot wait until a long value is written to it.
    log_bytes: AtomicU64,
    /// In the log since the start.
    logged_bytes: AtomicU64,
    dictionaries: Arc<Dictionaries>,
    /// What was compressed, by kinds of keys.
    classes: Mutex<Vec<ClassStats>>,
    last_write: Mutex<Option<UnixMs>>,
    /// What the blocks that were read take, and all else.
    cache_bytes: AtomicUsize,
    reserve: Mutex<Reserve>,
    /// Keys whose newest version would be lost if the process ended now, while runs fail.
    unsaved: AtomicU64,
    /// Whether the reserve takes what the last run that failed would have written.
    has_marks: AtomicBool,
    memory_bytes: AtomicUsize,
    /// Keys that a start after a crash has still to count.
    uncounted: Mutex<Option<store::Scan>>,
    /// Whether the counts of keys are right: not while that goes on.
    is_counted: AtomicBool,
    /// Whether the last end has left a list of all pinned keys; otherwise they are looked for among all.
    is_listed: bool,
    /// Whether pinned keys may be on disk alone.
    cold_pins: AtomicBool,
    is_stopping: AtomicBool,
    /// The store was closed in order.
    is_closed: AtomicBool,
    loads: Loads,
    walks: Walks,
    pace: Pace,
    pending: Arc<Pending>,
}

/// The threads of the tier. Stopping them writes what is still to be written.
#[derive(Debug)]
pub struct Threads {
    readers: Vec<JoinHandle<()>>,
    walkers: Vec<JoinHandle<()>>,
    counter: Option<JoinHandle<()>>,
    warmer: JoinHandle<()>,
    writer: JoinHandle<()>,
}

/// How much memory the blocks that were read from disk may take.
fn cache_share(maxmemory: u64) -> u64 {
    match maxmemory {
        0 => CACHE_BYTES_MAX,
        memory => (memory / CACHE_SHARE).clamp(CACHE_BYTES_MIN, CACHE_BYTES_MAX),
    }
}

/// Asks the store's filters. The tier's own, so that the keyspace need not know the store.
struct StoreFilter(Arc<Store>, Arc<Pending>);

impl fmt::Debug for StoreFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreFilter")
    }
}

impl fmt::Debug for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tier")
            .field("loads", &self.loads)
            .finish_non_exhaustive()
    }
}

impl Filter for StoreFilter {
    #[inline]
    fn may_hold(&self, hash: KeyHash) -> bool {
        let hash = hash.value();
        self.0.may_hold(hash) || (self.1.is_any() && self.1.may_hold(hash))
    }
}

/// What the tier remembers of the keyspace over a restart: which contents the databases have, and how
/// many keys each has.
///
/// Each run and each group of the log tells it for its own moment ([`record::spaces_key`]). The store's blob tells it too, never
/// of a later moment than that of a run that has ended: for the case that the generation of that run goes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Spaces {
    /// The number of the last run of which it tells; each has a higher one.
    moment: u64,
    next_name: u32,
    names: Vec<u32>,
    /// Known only after a clean stop.
    keys: Option<Vec<ColdCounts>>,
}

impl Tier {
    /// Whether the keys on disk are counted: after a crash that takes its time, and until then there may be more.
    pub fn is_counted(&self) -> bool {
        self.is_counted.load(Ordering::Acquire)
    }

    /// Opens the tier that the options ask for, if any, and makes the keyspace over it for so many
    /// threads of the server.
    pub fn open(config: &Config, threads: usize) -> Result<(Keyspace, Option<Self>), StoreError> {
        if config.tier_max_bytes == 0 {
            return Ok((Keyspace::new(threads), None));
        }
        let dir = config.tier_dir();
        Self::open_in(&dir, config, threads).map_err(|source| StoreError::Open {
            dir: std::path::absolute(&dir).unwrap_or(dir),
            source: Box::new(source),
        })
    }

    fn open_in(
        dir: &Path,
        config: &Config,
        threads: usize,
    ) -> Result<(Keyspace, Option<Self>), StoreError> {
        let options = StoreOptions {
            dir: dir.to_owned(),
            max_bytes: config.tier_max_bytes,
            cache_bytes: cache_share(config.maxmemory),
            open_files: descriptors::divide(config.maxclients, true).tier_files,
            generations: GENERATIONS,
            max_age: Duration::from_secs(u64::from(config.tier_ttl_s)),
            hash_key: record::hash_of_key,
        };
        let (mut store, mut disk) = Store::open(options.clone())?;
        let (mut log, logged) = Log::open(dir).map_err(StoreError::File)?;
        let pending = Arc::new(Pending::default());
        let clean = *store.recovery() != Recovery::Unclean;
        if config.tier_durability == TierDurability::None && !clean {
            // What changed in memory since is older there.
            tracing::warn!(
                "The disk tier was not closed in order; without durability it starts empty"
            );
            drop(store);
            disk.discard()?;
            (store, disk) = Store::open(options)?;
        } else {
            // A run that came after what is in the log has all of it, and what is newer.
            if logged.after >= Spaces::newest(&store, &pending).moment
                && let Err(error) = restore::restore(&mut disk, &logged)
            {
                tracing::error!(
                    "The disk takes nothing, and what the log has cannot be written: it is served from there: {error}"
                );
                pending.hold(logged, &store);
            }
        }
        let mut spaces = Spaces::newest(&store, &pending);
        let disk_bytes = writer::disk_bytes(dir);
        let (reserve, marks) = Reserve::open(dir, config.tier_max_bytes, disk_bytes);
        let is_kept = config.tier_durability != TierDurability::None;
        let marks = marks.filter(|(after, _)| is_kept && *after >= spaces.moment);
        let marks = marks.map_or_else(Vec::new, |(_, marks)| marks);
        spaces.follow(&marks, store.hash_seed());
        if pending.is_any() {
            log.keep();
        } else if let Err(error) = log.clear(spaces.moment) {
            // Nobody reads what a run has.
            tracing::error!("The log of the disk tier could not be begun anew: {error}");
        }
        let filter = Arc::new(StoreFilter(Arc::clone(&store), Arc::clone(&pending)));
        let keyspace = Keyspace::over(
            threads + THREADS,
            store.hash_seed(),
            filter,
            &spaces.names,
            spaces.next_name,
        );
        keyspace.follow_writes(config.tier_durability != TierDurability::None);
        let stats = store.stats();
        let counted = spaces.keys.filter(|_| clean && stats.quarantined == 0);
        let counted = counted.filter(|_| !pending.is_any());
        let is_counted = (counted.is_some() || stats.generations == 0) && !pending.is_any();
        let uncounted = (!is_counted && !pending.is_any()).then(|| store.scan(0));
        for (db, counts) in counted.iter().flatten().enumerate() {
            keyspace.restore_counts(db, counts);
        }
        let (dictionaries, damaged) = Dictionaries::open(dir.join("dictionaries"))?;
        for file in damaged {
            tracing::error!(
                "A compression dictionary is damaged, and values that need it are lost: {}: {}",
                file.path.display(),
                file.error
            );
        }
        let has_pins = warm::has_pins(dir);
        let tier = Self {
            store,
            dir: dir.to_owned(),
            dictionaries: Arc::new(dictionaries),
            classes: Mutex::default(),
            last_write: Mutex::new(None),
            cache_bytes: AtomicUsize::new(0),
            reserve: Mutex::new(reserve),
            unsaved: AtomicU64::new(0),
            has_marks: AtomicBool::new(false),
            memory_bytes: AtomicUsize::new(0),
            is_counted: AtomicBool::new(is_counted),
            is_listed: is_counted,
            cold_pins: AtomicBool::new(has_pins),
            is_stopping: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            uncounted: Mutex::new(uncounted.and_then(writer::scan_to_count)),
            disk: Mutex::new(Some(disk)),
            log: Mutex::new(log),
            log_bytes: AtomicU64::new(0),
            logged_bytes: AtomicU64::new(0),
            loads: Loads::default(),
            walks: Walks::default(),
            pace: Pace::default(),
            pending,
        };
        if tier.pending.is_any() {
            tier.pace.begin_failing();
        }
        tier.measure_memory(0);
        tier.recall(&marks, &keyspace, config, ThreadSlot(threads));
        Ok((keyspace, Some(tier)))
    }

    /// Starts the threads.
    pub fn start(engine: &Arc<Engine>) -> io::Result<Option<Threads>> {
        if engine.tier.is_none() {
            return Ok(None);
        }
        let readers = (0..READERS)
            .map(|index| {
                let engine = Arc::clone(engine);
                let name = format!("tier-reader-{index}");
                threads::spawn(name, Part::TierReaders, move || {
                    loads::read(&engine, engine.tier_slot(index + 1));
                })
            })
            .collect::<io::Result<_>>()?;
        let walkers = Lane::ALL.into_iter().enumerate().map(|(index, lane)| {
            let engine = Arc::clone(engine);
            let slot = engine.tier_slot(READERS + 3 + index);
            let name = format!("tier-walker-{index}");
            threads::spawn(name, Part::TierReaders, move || {
                walks::run(&engine, slot, lane)
            })
        });
        let walkers = walkers.collect::<io::Result<_>>()?;
        let is_counted = |tier: &Self| tier.is_counted.load(Ordering::Acquire);
        let counter = match engine.tier.as_ref().is_none_or(is_counted) {
            true => None,
            false => {
                let engine = Arc::clone(engine);
                Some(threads::spawn(
                    "tier-counter",
                    Part::TierStart,
                    move || {
                        let scan = engine.tier.as_ref().and_then(Self::scan_to_count);
                        if let Some(scan) = scan {
                            writer::count_keys(&engine, scan, engine.tier_slot(READERS + 2));
                        }
                    },
                )?)
            }
        };
        let warmed = Arc::clone(engine);
        let warmer = threads::spawn("tier-warmer", Part::TierStart, move || {
            warm::load(&warmed, warmed.tier_slot(READERS + 1));
        })?;
        let failed = Arc::clone(engine);
        let engine = Arc::clone(engine);
        let writer = threads::spawn_or(
            "tier-writer",
            Part::TierWriter,
            move || writer::run(&engine),
            move || {
                // Nobody waits for ever, and nothing is acknowledged any more that would be lost.
                if let Some(tier) = &failed.tier {
                    tier.pace.fail();
                }
            },
        )?;
        Ok(Some(Threads {
            readers,
            walkers,
            counter,
            warmer,
            writer,
        }))
    }
}

/// How often it is looked whether keys can be counted.
const COUNT_POLL: Duration = Duration::from_millis(20);

impl Tier {
    /// What a start has to count; where the log is in no run yet, when it is.
    fn scan_to_count(&self) -> Option<store::Scan> {
        loop {
            let is_pending = self.pending.is_any();
            let scan = self.uncounted.lock().take();
            if scan.is_some() || !is_pending || self.is_stopping.load(Ordering::Relaxed) {
                return scan;
            }
            std::thread::sleep(COUNT_POLL);
        }
    }
}

/// What the end of a tier has lost because the disk did not take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Nothing.
    Nothing,
    /// The newest versions of so many keys.
    Newest(u64),
    /// All keys: without durability what is on disk counts only where the tier was closed in order.
    All,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing is lost"),
            Self::Newest(keys) => write!(f, "the newest versions of {keys} keys are lost"),
            Self::All => f.write_str(
                "all keys are lost, as those on disk are kept under tier-durability none only by a stop that comes to its end",
            ),
        }
    }
}

impl Threads {
    /// Has all that changed written, and ends the threads.
    pub fn stop(self, engine: &Engine) -> Lost {
        let Some(tier) = &engine.tier else {
            return Lost::Nothing;
        };
        // A thread that panicked has said so already.
        let end = |thread: JoinHandle<()>| {
            let _ = thread.join();
        };
        // First those who read: the writer closes the store.
        tier.is_stopping.store(true, Ordering::Relaxed);
        tier.loads.stop();
        tier.walks.stop();
        let readers = self.readers.into_iter().chain(self.walkers);
        let readers = readers.chain(self.counter);
        readers.chain([self.warmer]).for_each(end);
        tier.pace.stop();
        end(self.writer);
        tier.lost(engine)
    }
}

impl Default for Spaces {
    fn default() -> Self {
        Self {
            moment: 0,
            next_name: DATABASES as u32,
            names: (0..DATABASES as u32).collect(),
            keys: None,
        }
    }
}

impl Spaces {
    /// The newest that a store tells, or a log that is in no run yet.
    fn newest(store: &Store, pending: &Pending) -> Self {
        let key = record::spaces_key(store.hash_seed());
        let of_run = match pending.record(&key) {
            Ok(None) => store.get(store.hash_of(&key), &key),
            logged => logged.map(|record| record.map(Slice::from)),
        };
        let of_run = of_run.unwrap_or_else(|error| {
            tracing::error!("What the databases are called could not be read: {error}");
            None
        });
        let of_run = of_run.and_then(|record| Self::decode(&record));
        let kept = Self::decode(&store.blob()).unwrap_or_default();
        match of_run {
            // Of one moment is what the log told after a run, too.
            Some(of_run) if of_run.moment >= kept.moment && of_run.names != kept.names => of_run,
            Some(of_run) if of_run.moment > kept.moment => of_run,
            _ => kept,
        }
    }

    /// Takes over the names that marks tell of.
    fn follow(&mut self, marks: &[(Vec<u8>, Vec<u8>)], seed: u64) {
        let key = record::spaces_key(seed);
        let told = marks.iter().find(|(found, _)| *found == key);
        if let Some(told) = told.and_then(|(_, record)| Self::decode(record)) {
            (self.names, self.next_name, self.keys) = (told.names, told.next_name, None);
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = SPACES_MAGIC.to_vec();
        bytes.extend(self.moment.to_le_bytes());
        bytes.extend(self.next_name.to_le_bytes());
        bytes.extend(self.names.iter().flat_map(|name| name.to_le_bytes()));
        for counts in self.keys.iter().flatten() {
            bytes.extend(counts.lasting.to_le_bytes());
            bytes.extend(counts.swept_s.to_le_bytes());
            bytes.extend(counts.shift.to_le_bytes());
            bytes.extend((counts.expiring.len() as u32).to_le_bytes());
            for (bucket, keys) in &counts.expiring {
                bytes.extend([bucket, keys].map(|number| number.to_le_bytes()).concat());
            }
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (moment, bytes) = match bytes.strip_prefix(&SPACES_MAGIC) {
            Some(bytes) => bytes.split_first_chunk::<8>()?,
            // As it was before runs told it.
            None => (&[0; 8], bytes),
        };
        let (next, rest) = bytes.split_first_chunk::<4>()?;
        let (names, keys) = rest.split_at_checked(DATABASES * 4)?;
        let names = names.as_chunks::<4>().0;
        Some(Self {
            moment: u64::from_le_bytes(*moment),
            next_name: u32::from_le_bytes(*next),
            names: names.iter().map(|&name| u32::from_le_bytes(name)).collect(),
            keys: decode_counts(keys),
        })
    }
}

/// The counts of all databases, if they are there.
fn decode_counts(mut bytes: &[u8]) -> Option<Vec<ColdCounts>> {
    let mut all = Vec::with_capacity(DATABASES);
    for _ in 0..DATABASES {
        let (head, rest) = bytes.split_first_chunk::<24>()?;
        let (lasting, swept, shift) = (&head[..8], &head[8..16], &head[16..20]);
        let buckets = u32::from_le_bytes(*head.last_chunk()?) as usize;
        let (expiring, rest) = rest.split_at_checked(buckets.checked_mul(16)?)?;
        let number = |bytes: [u8; 8]| i64::from_le_bytes(bytes);
        let pairs = expiring.as_chunks::<8>().0.as_chunks::<2>().0.iter();
        all.push(ColdCounts {
            lasting: u64::from_le_bytes(lasting.try_into().ok()?),
            swept_s: i64::from_le_bytes(swept.try_into().ok()?),
            shift: u32::from_le_bytes(shift.try_into().ok()?),
            expiring: pairs
                .map(|pair| (number(pair[0]), number(pair[1])))
                .collect(),
        });
        bytes = rest;
    }
    Some(all)
}

/// What a batch of requests waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// Keys in memory, loaded at a time by which they have expired or not.
    Keys(Vec<Wanted>, UnixMs),
    /// That all changes so far are durable.
    Durable,
    /// That all changes so far are written below, so that there may be room in memory.
    Written,
    /// The same, or that so much time passes: whoever waits sees to that.
    Room(Duration),
    /// An answer.
    Answer(Ask),
}

/// What came of it.
#[derive(Debug)]
pub enum Met {
    /// The keys are in memory, but for those that could not be read.
    Keys(Vec<KeyHash>),
    /// Whether they are.
    Written(bool),
    /// The answer.
    Answer(Page),
}

impl Tier {
    /// Waits until all changes so far are safe. False where they could not be written.
    fn written(&self, round: Round) -> impl Future<Output = bool> + Send + use<> {
        let (done, written) = oneshot::channel();
        self.pace.tell(round, done);
        async move { written.await.is_ok() }
    }

    /// What INFO tells.
    pub fn stats(&self) -> TierStats {
        let store = self.store.stats();
        let classes = self.classes.lock();
        TierStats {
            store,
            raw_bytes: classes.iter().map(|class| class.raw_bytes).sum(),
            stored_bytes: classes.iter().map(|class| class.stored_bytes).sum(),
            dictionaries: self.dictionaries.ids().len(),
            queue: self.loads.waiting() + self.walks.waiting(),
            last_write: *self.last_write.lock(),
            log_bytes: self.log_bytes.load(Ordering::Relaxed),
            logged_bytes: self.logged_bytes.load(Ordering::Relaxed),
            is_failing: self.is_failing(),
            unsaved: self.unsaved(),
        }
    }

    /// What was compressed, by kinds of keys, as of the last run.
    pub fn classes(&self) -> Vec<ClassStats> {
        self.classes.lock().clone()
    }

    /// The generations, the newest first.
    pub fn generations(&self) -> Vec<GenerationStats> {
        self.store.generations()
    }

    /// Whether the last changes could not be written.
    #[inline]
    pub fn is_failing(&self) -> bool {
        self.pace.failing_for().is_some()
    }

    /// Whether they could not be for longer than writes may go on without.
    pub fn is_failing_too_long(&self, config: &Config) -> bool {
        let limit = Duration::from_millis(config.tier_write_ahead_limit_ms.into());
        self.pace.failing_for().is_some_and(|time| time >= limit)
    }

    /// Whether a write is refused because the disk does not take it. `large`: more must be remembered than a mark.
    pub fn refuses(&self, config: &Config, large: bool) -> bool {
        match config.tier_durability {
            TierDurability::None => false,
            TierDurability::Always => self.is_failing(),
            TierDurability::Everysec => {
                let is_marked = !large && self.has_marks.load(Ordering::Relaxed);
                !is_marked && self.is_failing_too_long(config)
            }
        }
    }

    /// What is lost, when the threads have ended.
    fn lost(&self, engine: &Engine) -> Lost {
        let is_closed = self.is_closed.load(Ordering::Acquire);
        let durability = engine.config.load().tier_durability;
        let unsaved = match self.pace.is_failed() {
            // Nobody has looked since the writer panicked.
            true => self
                .unsaved()
                .max(engine.keyspace.take_changed().len() as u64),
            false => self.unsaved(),
        };
        match unsaved {
            _ if durability == TierDurability::None && !is_closed => Lost::All,
            0 => Lost::Nothing,
            keys => Lost::Newest(keys),
        }
    }

    /// Keys whose newest version would be lost if the process ended now, because the disk does not take them.
    pub fn unsaved(&self) -> u64 {
        self.unsaved.load(Ordering::Relaxed)
    }

    /// Puts what a full disk did not take before the last end into memory, to be written.
    fn recall(
        &self,
        marks: &[(Vec<u8>, Vec<u8>)],
        keyspace: &Keyspace,
        config: &Config,
        thread: ThreadSlot,
    ) {
        let now = crate::clock::now();
        let access = AccessPolicy::new(config.maxmemory_policy, LfuSettings::of(config), now);
        let mut part = Vec::new();
        for (on_disk, record) in marks {
            let Some((name, key)) = record::decode_key(on_disk) else {
                continue;
            };
            let entry = record::decode(record).map(|parts| {
                let none = |_: &[u8]| Ok(None);
                self.entry(on_disk, parts, none, &mut part)
            });
            let entry = entry.transpose().unwrap_or_else(|error| {
                tracing::error!("What the reserve has of a key is lost: {error}");
                None
            });
            let hash = KeyHash::of_value(self.store.hash_of(on_disk));
            keyspace.recall((hash, name, key), entry, &access, thread);
        }
        if !marks.is_empty() {
            let keys = marks.len();
            tracing::warn!("{keys} changes that the disk was too full for come from its reserve");
        }
    }

    /// Memory that the tier takes, in bytes.
    pub fn memory_bytes(&self) -> usize {
        let pages = self.walks.bytes().load(Ordering::Relaxed);
        let cache = self.cache_bytes.load(Ordering::Relaxed);
        self.memory_bytes.load(Ordering::Relaxed) + cache + pages
    }

    /// Looks how much the blocks that were read take.
    fn measure_cache(&self) {
        let bytes = usize::try_from(self.store.cached_bytes()).unwrap_or(usize::MAX);
        self.cache_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Looks how much that is, with what the writer takes. Asked too often for each time: the writer does it.
    fn measure_memory(&self, writer: usize) {
        let filters = usize::try_from(self.store.stats().filter_bytes).unwrap_or(0);
        let bytes = filters + self.dictionaries.memory_bytes() + writer;
        self.memory_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Meets a need, in time.
    pub fn meet(&self, need: Need) -> Pin<Box<dyn Future<Output = Met> + Send>> {
        match need {
            Need::Keys(wanted, now) => {
                let loaded = self.load(wanted, now);
                Box::pin(async move { Met::Keys(loaded.await) })
            }
            Need::Durable | Need::Written | Need::Room(_) => {
                let round = match need {
                    Need::Durable => Round::Log,
                    _ => Round::Run,
                };
                let written = self.written(round);
                Box::pin(async move { Met::Written(written.await) })
            }
            Need::Answer(Ask::Sync) => {
                let written = self.written(Round::Run);
                Box::pin(async move {
                    let failed = !written.await;
                    Met::Answer(Page {
                        failed,
                        ..Page::default()
                    })
                })
            }
            Need::Answer(ask) => {
                let answered = match ask {
                    // A single key, which walks do not hold up.
                    Ask::Key { .. } | Ask::Copy { .. } => self.ask_reader(ask),
                    _ => self.walks.ask(ask),
                };
                Box::pin(async move {
                    let failed = Page {
                        failed: true,
                        ..Page::default()
                    };
                    Met::Answer(answered.await.unwrap_or(failed))
                })
            }
        }
    }
}

#[cfg(test)]
impl Tier {
    /// Meets a need on this thread.
    pub(crate) fn meet_now(&self, engine: &Engine, need: Need) -> Met {
        let thread = engine.tier_slot(1);
        match need {
            Need::Keys(wanted, now) => {
                let unreadable =
                    |wanted: &Wanted| self.load_now(engine, wanted, now, thread).is_err();
                let failed = wanted.into_iter().filter(unreadable);
                Met::Keys(failed.map(|wanted| wanted.hash).collect())
            }
            Need::Durable | Need::Written | Need::Room(_) => {
                self.write_now(engine);
                Met::Written(true)
            }
            Need::Answer(Ask::Sync) => {
                self.write_now(engine);
                Met::Answer(Page::default())
            }
            Need::Answer(ask) => Met::Answer(self.answer(engine, ask, thread, &|| true)),
        }
    }

    /// Counts the keys on disk, after a crash, on this thread.
    pub(crate) fn count_now(&self, engine: &Engine) {
        if let Some(scan) = self.uncounted.lock().take() {
            writer::count_keys(engine, scan, engine.tier_slot(2));
        }
    }

    /// Writes what has changed on this thread.
    pub(crate) fn write_now(&self, engine: &Engine) {
        let written = writer::Writer::new(engine, self).write_changes();
        written.expect("a temporary directory can be written");
    }
}

/// Figures of the tier.
#[derive(Clone, Copy, Debug)]
pub struct TierStats {
    /// The store's own.
    pub store: store::StoreStats,
    /// Values written since the start, in bytes.
    pub raw_bytes: u64,
    /// What they take on disk, in bytes.
    pub stored_bytes: u64,
    /// Dictionaries in use.
    pub dictionaries: usize,
    /// Loads and walks that wait for a reader.
    pub queue: usize,
    /// When a run last ended well.
    pub last_write: Option<UnixMs>,
    /// Bytes in the log, which the next run will have.
    pub log_bytes: u64,
    /// Bytes written into the log since the start.
    pub logged_bytes: u64,
    /// Whether the last run failed.
    pub is_failing: bool,
    /// Keys whose newest version would be lost if the process ended now, while runs fail.
    pub unsaved: u64,
}

/// Why something could not be had from the tier.
#[derive(Debug)]
pub enum TierError {
    /// The store failed.
    Store(StoreError),
    /// A record is not what was written.
    Record,
    /// A part of a value is missing, or is not what was written.
    Chunk,
    /// Nor is its value, or the dictionary that it needs.
    Value(DecodeError),
}

impl From<DecodeError> for TierError {
    fn from(error: DecodeError) -> Self {
        Self::Value(error)
    }
}

impl From<StoreError> for TierError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl fmt::Display for TierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Value(error) => error.fmt(f),
            Self::Record => f.write_str("a record is damaged"),
            Self::Chunk => f.write_str("a part of a value is missing or damaged"),
        }
    }
}

impl std::error::Error for TierError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_come_back() {
        let mut spaces = Spaces::default();
        assert_eq!(Spaces::decode(&spaces.encode()), Some(spaces.clone()));
        let counts = |lasting| ColdCounts {
            lasting,
            shift: 1,
            swept_s: -5,
            expiring: (0..lasting.cast_signed()).map(|i| (i, 2 * i)).collect(),
        };
        spaces.keys = Some((0..DATABASES as u64).map(counts).collect());
        assert_eq!(Spaces::decode(&spaces.encode()), Some(spaces.clone()));
        assert_eq!(Spaces::decode(b"short"), None);
        let cut = spaces.encode().len() - 1;
        let cut = Spaces::decode(&spaces.encode()[..cut]).expect("the names are whole");
        assert_eq!(cut.keys, None);
    }
}
