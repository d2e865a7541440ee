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
//! * `opening` opens all that, with what `spaces` tells of the databases.
//! * `warm` brings the keys that are pinned or were in use into memory again after a start.
//!
//! What memory and tier know of each other is in [`crate::keyspace::residency`].

mod chunks;
pub mod compress;
mod draft;
pub mod loads;
mod log;
mod marks;
mod opening;
mod pace;
mod pending;
mod progress;
mod reclaim;
pub mod record;
mod restore;
mod snapshot;
mod spaces;
pub mod store;
mod walk;
mod walks;
mod warm;
mod writer;

use std::fmt;
use std::io;
use std::path::PathBuf;
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
use self::pace::{Medium, Pace};
use self::pending::Pending;
use self::progress::Progress;
use self::store::{GenerationStats, Store, StoreError};
use self::walks::{Lane, WALKERS, Walks};
use crate::clock::UnixMs;
use crate::config::{Config, TierDurability};
use crate::engine::Engine;
use crate::keyspace::eviction::AccessPolicy;
use crate::keyspace::lfu::LfuSettings;
use crate::keyspace::residency::{Ask, Filter, Page};
use crate::keyspace::{KeyHash, Keyspace, ThreadSlot};
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
    progress: Progress,
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
    /// What the writer took for its last runs and will soon take again, without what it takes now; and what a training takes.
    reserved_bytes: AtomicUsize,
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
        // What is restored is in the store before it is not pending any more.
        (self.1.is_any() && self.1.may_hold(hash)) || self.0.may_hold(hash)
    }

    #[inline]
    fn prefetch(&self, hash: KeyHash) {
        self.0.prefetch(hash.value());
    }
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

/// What a batch of requests waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// Keys in memory, loaded at a time by which they have expired or not.
    Keys(Vec<Wanted>, UnixMs),
    /// That all changes so far are durable.
    Durable,
    /// That something more is written below, so that there may be room in memory.
    Room,
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
    fn written(&self, medium: Medium) -> impl Future<Output = bool> + Send + use<> {
        let (done, written) = oneshot::channel();
        self.pace.tell(medium, done);
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

    /// Bytes of changes that are still to be written, about.
    pub fn bytes_left(&self, keyspace: &Keyspace) -> usize {
        self.progress.left(keyspace.writing_bytes()) + keyspace.queued_bytes()
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

    /// As if it took so many bytes.
    #[cfg(test)]
    pub(crate) fn set_memory_bytes(&self, bytes: usize) {
        self.memory_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Memory that it will soon take besides: keys have gone for it once, and are not to go at once each time.
    pub fn reserved_bytes(&self) -> usize {
        self.reserved_bytes.load(Ordering::Relaxed)
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
            Need::Durable => {
                let written = self.written(Medium::Log);
                Box::pin(async move { Met::Written(written.await) })
            }
            Need::Room => {
                let (done, written) = oneshot::channel();
                self.pace.tell_of_run(done);
                let written = async move { written.await.is_ok() };
                Box::pin(async move { Met::Written(written.await) })
            }
            Need::Answer(Ask::Sync) => {
                let written = self.written(Medium::Run);
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
            Need::Durable | Need::Room => {
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
    /// Loads that wait for a reader, and walks that wait for one of their threads.
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
