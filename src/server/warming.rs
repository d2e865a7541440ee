//! CACHE.WARM and `--warm`: keys of an RDB file come into the cache, in the background.
//!
//! The file is read twice: first to see that it is whole, since of a broken one nothing is loaded. A key that exists stays as it
//! is: clients wrote it after the file was saved.

use std::fs::File;
use std::io::{self, Seek};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Server;
use crate::clock::{self, UnixMs};
use crate::engine::encoding_limits;
use crate::error::CommandError;
use crate::keyspace::eviction::{EvictionPool, Room};
use crate::keyspace::footprint::Footprint;
use crate::keyspace::{Expiry, KeyHash, LastAccess, Terms};
use crate::threads::{self, Part};
use crate::tier::{Met, Need, Wanted};
use crate::value::rdb::{Fault, FileReader, Key, Skipped, Value};

/// How often the log tells how far it is.
const PROGRESS: Duration = Duration::from_secs(5);
/// How long it waits for room in memory before it looks again.
const ROOM_PAUSE: Duration = Duration::from_millis(5);

/// What INFO tells of it.
#[derive(Debug, Default)]
pub struct Warming {
    is_under_way: AtomicBool,
    /// Bytes of the file.
    pub bytes_total: AtomicU64,
    /// How many of those are done: it is read twice, so that each counts half each time.
    pub bytes_read: AtomicU64,
    /// Keys that were loaded.
    pub loaded: AtomicU64,
    /// Keys that existed.
    pub kept: AtomicU64,
    /// Keys whose time was over.
    pub expired: AtomicU64,
    /// Keys that cannot be kept, such as those of modules.
    pub skipped: AtomicU64,
    /// How the last one ended.
    status: Mutex<Option<Result<(), String>>>,
    destinations: Destinations,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Into which databases those of the file go: flushes and exchanges change that while it is loaded.
#[derive(Debug, Default)]
struct Destinations {
    /// For each database of the file the one it goes to; `None`: it was flushed meanwhile.
    of: Mutex<Vec<Option<usize>>>,
}

impl Destinations {
    /// The database that one of the file goes to now. It stays for as long as the caller is inside the gate.
    ///
    /// # Errors
    /// All were flushed.
    fn find(&self, db: usize) -> Result<Option<usize>, String> {
        let of = self.of.lock();
        if of.iter().all(Option::is_none) {
            return Err("all databases were flushed meanwhile".to_owned());
        }
        Ok(of.get(db).copied().flatten())
    }
}

impl Warming {
    /// Whether one is under way.
    pub fn is_under_way(&self) -> bool {
        self.is_under_way.load(Ordering::Acquire)
    }

    /// `running`, or how the last one ended: `none`, `ok`, or why it did not.
    pub fn status(&self) -> String {
        if self.is_under_way() {
            return "running".to_owned();
        }
        match &*self.status.lock() {
            None => "none".to_owned(),
            Some(Ok(())) => "ok".to_owned(),
            Some(Err(error)) => error.clone(),
        }
    }

    /// Some databases are flushed, with the gate closed: what is still to come for them is not loaded any more.
    pub fn flush(&self, dbs: Range<usize>) {
        for to in self.destinations.of.lock().iter_mut() {
            *to = to.filter(|db| !dbs.contains(db));
        }
    }

    /// Two databases are exchanged, with the gate closed: what is still to come goes with what has come.
    pub fn swap(&self, a: usize, b: usize) {
        for to in self.destinations.of.lock().iter_mut().flatten() {
            *to = match *to {
                db if db == a => b,
                db if db == b => a,
                db => db,
            };
        }
    }

    /// Waits until the thread has ended that loads a file, which it soon does when the server was asked to stop.
    pub fn join(&self) {
        if let Some(thread) = self.thread.lock().take() {
            // A panic has told of itself.
            let _ = thread.join();
        }
    }
}

/// Why a warming cannot begin.
#[derive(Debug)]
pub enum Refusal {
    /// Another one is under way.
    Busy,
    /// The file cannot be read, or is none: what is wrong.
    File(String),
}

/// Begins to load a file. What can be seen at its beginning is seen before this returns.
///
/// # Errors
/// Another one is under way, or the file cannot be read or is no RDB file.
pub fn start(server: &Arc<Server>, path: &Path) -> Result<(), Refusal> {
    let fault =
        |error: &dyn std::fmt::Display| Refusal::File(format!("{}: {error}", path.display()));
    // One of another kind might keep us waiting.
    if !path.metadata().map_err(|error| fault(&error))?.is_file() {
        return Err(fault(&"it is no regular file"));
    }
    let mut file = File::open(path).map_err(|error| fault(&error))?;
    let bytes = file.metadata().map_err(|error| fault(&error))?.len();
    let config = server.engine.config.load();
    let (limits, databases) = (encoding_limits::all(&config), config.databases);
    FileReader::new(&file, limits).map_err(|error| fault(&error))?;
    file.rewind().map_err(|error| fault(&error))?;
    let warming = &server.warming;
    if warming.is_under_way.swap(true, Ordering::AcqRel) {
        return Err(Refusal::Busy);
    }
    warming.bytes_total.store(bytes, Ordering::Relaxed);
    *warming.destinations.of.lock() = (0..databases).map(Some).collect();
    for counter in [
        &warming.bytes_read,
        &warming.loaded,
        &warming.kept,
        &warming.expired,
        &warming.skipped,
    ] {
        counter.store(0, Ordering::Relaxed);
    }
    let (server, path) = (Arc::clone(server), path.to_owned());
    let warmed = Arc::clone(&server);
    let failed = Arc::clone(&server);
    let started = threads::spawn_or(
        "warming",
        Part::Warming,
        move || run(&warmed, file, &path),
        move || {
            let warming = &failed.warming;
            *warming.status.lock() = Some(Err("the thread failed, see the log".to_owned()));
            warming.is_under_way.store(false, Ordering::Release);
        },
    );
    match started {
        Ok(thread) => {
            *server.warming.thread.lock() = Some(thread);
            Ok(())
        }
        Err(error) => {
            server.warming.is_under_way.store(false, Ordering::Release);
            Err(Refusal::File(error.to_string()))
        }
    }
}

fn run(server: &Arc<Server>, file: File, path: &Path) {
    tracing::info!("Warming from {}", path.display());
    let warming = &server.warming;
    let result = Loader::new(server).and_then(|mut loader| loader.load(file));
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    match &result {
        Ok(()) => tracing::info!(
            "Warmed from {}: {} keys loaded, {} existed, {} had expired",
            path.display(),
            count(&warming.loaded),
            count(&warming.kept),
            count(&warming.expired)
        ),
        Err(error) => tracing::error!("Cannot warm from {}: {error}", path.display()),
    }
    *warming.status.lock() = Some(result);
    warming.is_under_way.store(false, Ordering::Release);
}

struct Loader<'a> {
    server: &'a Arc<Server>,
    pool: EvictionPool,
    /// Waits for the tier.
    runtime: tokio::runtime::Runtime,
    told: Instant,
}

impl<'a> Loader<'a> {
    fn new(server: &'a Arc<Server>) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        Ok(Self {
            server,
            pool: EvictionPool::default(),
            runtime: runtime.map_err(|error| error.to_string())?,
            told: Instant::now(),
        })
    }

    fn load(&mut self, mut file: File) -> Result<(), String> {
        let skipped = self.read(&file, 0, |_, _| Ok(()))?;
        if skipped != Skipped::default() {
            tracing::warn!("Left out of the file: {skipped}");
        }
        let warming = &self.server.warming;
        warming.skipped.store(skipped.keys(), Ordering::Relaxed);
        file.rewind().map_err(|error| error.to_string())?;
        let total = warming.bytes_total.load(Ordering::Relaxed);
        self.read(&file, total, Self::load_key)?;
        warming.bytes_read.store(total, Ordering::Relaxed);
        Ok(())
    }

    /// Reads the file and does something with each key. Gives what was left out.
    fn read(
        &mut self,
        file: &File,
        before: u64,
        mut with: impl FnMut(&mut Self, Key) -> Result<(), String>,
    ) -> Result<Skipped, String> {
        let limits = encoding_limits::all(&self.server.engine.config.load());
        let mut reader = FileReader::new(file, limits).map_err(|error| error.to_string())?;
        loop {
            let at = reader.offset();
            let next = reader.next_key();
            let fault = |fault: Fault| format!("at or behind byte {at}: {fault}");
            let Some(key) = next.map_err(fault)? else {
                return Ok(reader.skipped());
            };
            if self.server.shutdown.is_asked() {
                return Err("the server stops".to_owned());
            }
            self.tell(before + reader.offset());
            with(self, key)?;
        }
    }

    /// `bytes` of the two times that the file is read.
    fn tell(&mut self, bytes: u64) {
        let (warming, bytes) = (&self.server.warming, bytes / 2);
        warming.bytes_read.store(bytes, Ordering::Relaxed);
        if self.told.elapsed() >= PROGRESS {
            self.told = Instant::now();
            let total = warming.bytes_total.load(Ordering::Relaxed).max(1);
            let loaded = warming.loaded.load(Ordering::Relaxed);
            tracing::info!("Warming: {} %, {loaded} keys loaded", bytes * 100 / total);
        }
    }

    /// Puts a key into the cache, if it does not exist.
    fn load_key(&mut self, key: Key) -> Result<(), String> {
        let (server, now) = (self.server, clock::now());
        let config = server.engine.config.load();
        let count = |counter: &AtomicU64| {
            counter.fetch_add(1, Ordering::Relaxed);
        };
        let expires_at = key.expires_at_ms.map(UnixMs);
        if expires_at.is_some_and(|at| at <= now) {
            count(&server.warming.expired);
            return Ok(());
        }
        let db = usize::try_from(key.db)
            .ok()
            .filter(|db| *db < config.databases);
        let db = db.ok_or_else(|| format!("database {} is above `databases`", key.db))?;
        self.wait_for_room()?;
        let hash = server.engine.keyspace.hash(&key.name);
        let thread = server.engine.warming_slot();
        let terms = Terms::of(&config, now, thread, &"restore");
        let (destinations, hashes) = (&server.warming.destinations, [hash]);
        let (_inside, mut keys) = loop {
            if let Some(to) = destinations.find(db)? {
                self.wait_for_key(hash, to, &key.name, now)?;
            }
            let inside = server.engine.keyspace.gate().enter(terms.thread);
            let Some(to) = destinations.find(db)? else {
                return Ok(());
            };
            let footprint = Footprint::of(to, &hashes, &key.name);
            let keys = server.engine.keyspace.lock(&footprint, &terms);
            // What was fetched may have left memory again, and the database may be another one.
            if keys.is_resident(&key.name) {
                break (inside, keys);
            }
        };
        if keys.exists(&key.name) {
            count(&server.warming.kept);
            return Ok(());
        }
        match key.value {
            Value::String(text) => keys.set(&key.name, &text, Expiry::Set(expires_at)),
            Value::Collection(value_type, content) => {
                keys.add_value(&key.name, value_type, content, expires_at);
            }
        }
        let last = LastAccess {
            idle_secs: key.idle_secs,
            frequency: key.frequency,
        };
        keys.set_last_access(&key.name, last);
        count(&server.warming.loaded);
        Ok(())
    }

    fn wait_for_room(&mut self) -> Result<(), String> {
        let (server, slot) = (self.server, self.server.engine.warming_slot());
        loop {
            match server.engine.make_room(clock::now(), slot, &mut self.pool) {
                Room::None => return Err("maxmemory is reached".to_owned()),
                Room::Soon if server.shutdown.is_asked() => {
                    return Err("the server stops".to_owned());
                }
                Room::Soon => std::thread::sleep(ROOM_PAUSE),
                _ => return Ok(()),
            }
        }
    }

    /// Waits until memory can tell whether a key exists.
    fn wait_for_key(
        &self,
        hash: KeyHash,
        db: usize,
        key: &[u8],
        now: UnixMs,
    ) -> Result<(), String> {
        let (server, slot) = (self.server, self.server.engine.warming_slot());
        let Some(tier) = &server.engine.tier else {
            return Ok(());
        };
        if server.engine.keyspace.is_resident(hash, db, key, slot) {
            return Ok(());
        }
        let wanted = Wanted {
            hash,
            name: server.engine.keyspace.space_name(db),
            key: key.into(),
        };
        let met = tier.meet(Need::Keys(vec![wanted], now));
        match self.runtime.block_on(met) {
            Met::Keys(unreadable) if !unreadable.is_empty() => {
                Err(CommandError::Unreadable.to_string())
            }
            _ => Ok(()),
        }
    }
}

/// Errors of opening files, for the start of the server.
impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Busy => f.write_str("another warming is under way"),
            Self::File(error) => f.write_str(error),
        }
    }
}

impl From<Refusal> for io::Error {
    fn from(refusal: Refusal) -> Self {
        Self::other(refusal.to_string())
    }
}
