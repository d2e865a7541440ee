//! Loads: keys that commands wait for, fetched into memory.
//!
//! A key is loaded once however many connections want it; they all wait for the same read. The
//! reader puts what it found into the keyspace and only then wakes them; their commands look again,
//! under their locks. So nothing is lost if the key was written or left again meanwhile: the command
//! waits once more.
//!
//! Very many keys of one command are no single loads: they are sorted into the order of the disk and read in parts, which
//! come after all that others wait for. Nobody is told of each. A part is looked for with one pass over the disk; what that leaves
//! out, and what was changed meanwhile, is loaded key by key.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use parking_lot::{Condvar, Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::oneshot;

use super::record;
use super::record::Body;
use super::store::{Answer, Located};
use super::{Tier, TierError};
use crate::clock::UnixMs;
use crate::engine::Engine;
use crate::keyspace::eviction::{AccessPolicy, EvictionPool};
use crate::keyspace::lfu::LfuSettings;
use crate::keyspace::residency::{Ask, Loaded, Page, Place};
use crate::keyspace::{KeyHash, ThreadSlot};
use crate::logging::Repeated;
use crate::threads;

/// A key that memory cannot answer for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// The key's hash.
    pub hash: KeyHash,
    /// The name below of the space that it is looked up in.
    pub name: u32,
    /// The key.
    pub key: Box<[u8]>,
}

/// Work for the readers.
enum Job {
    Load(Wanted, UnixMs),
    /// Keys of a command that wants very many, in the order of the disk. Those that could not be read are told.
    Part(Vec<Wanted>, UnixMs, oneshot::Sender<Vec<KeyHash>>),
    /// A question about one key.
    Ask(Ask, oneshot::Sender<Page>),
}

/// Whom to tell whether the key is in memory now.
type Waiters = Vec<oneshot::Sender<bool>>;

/// A command that wants so many keys is served in parts.
const MANY_KEYS: usize = 512;
/// Keys of a part: about a millisecond's work.
const PART_KEYS: usize = 256;
/// So many bytes of entries come into memory before room is made for them.
const PASS_BYTES_MAX: usize = 1 << 20;

/// The loads under way.
#[derive(Default)]
pub(super) struct Loads {
    waiters: DashMap<Wanted, Waiters>,
    /// Held by each load from before its read to when the keyspace has the key.
    under_way: RwLock<()>,
    queue: Mutex<Queue>,
    arrived: Condvar,
    failed: Failed,
}

/// Keys that could not be read a moment ago. A batch of requests looks for all its keys again after each that it has answered
/// with an error; the disk is asked once. A run may have other versions of them, which are asked for at once.
#[derive(Default)]
struct Failed {
    any: AtomicBool,
    /// How many runs were written, of which no load knew that begins now.
    runs: AtomicU64,
    /// By the names of their spaces: a key may be unreadable in one database and well in another.
    at: Mutex<HashMap<(u32, KeyHash), Instant>>,
}

/// So long a key is not asked for again.
const FAILED_FOR: Duration = Duration::from_millis(200);
/// So many are remembered at the most.
const FAILED_MAX: usize = 65_536;

static NOT_READ: Repeated = Repeated::new("The disk tier could not read a key");

impl Failed {
    fn runs(&self) -> u64 {
        self.runs.load(Ordering::Acquire)
    }

    /// A load has failed that began after so many runs.
    fn note(&self, wanted: &Wanted, runs: u64) {
        let mut at = self.at.lock();
        if self.runs() != runs {
            return;
        }
        if at.len() >= FAILED_MAX {
            at.retain(|_, at| at.elapsed() < FAILED_FOR);
        }
        if at.len() < FAILED_MAX {
            at.insert((wanted.name, wanted.hash), Instant::now());
        }
        self.any.store(true, Ordering::Relaxed);
    }

    /// A run was written.
    fn forget(&self) {
        let mut at = self.at.lock();
        self.runs.fetch_add(1, Ordering::Release);
        at.clear();
        self.any.store(false, Ordering::Relaxed);
    }

    fn has(&self, wanted: &Wanted) -> bool {
        if !self.any.load(Ordering::Relaxed) {
            return false;
        }
        let key = (wanted.name, wanted.hash);
        let mut at = self.at.lock();
        let has = at.get(&key).is_some_and(|at| at.elapsed() < FAILED_FOR);
        if !has && at.remove(&key).is_some() {
            self.any.store(!at.is_empty(), Ordering::Relaxed);
        }
        has
    }
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// Parts of what wants very many keys: they wait for all others.
    parts: VecDeque<Job>,
    stopped: bool,
}

impl std::fmt::Debug for Loads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loads")
            .field("waited_for", &self.waiters.len())
            .finish_non_exhaustive()
    }
}

impl Loads {
    fn push(&self, job: Job) {
        let mut queue = self.queue.lock();
        match job {
            Job::Part(..) => queue.parts.push_back(job),
            _ => queue.jobs.push_back(job),
        }
        drop(queue);
        self.arrived.notify_one();
    }

    /// The next job; `None` when the readers are to end.
    fn next(&self) -> Option<Job> {
        let mut queue = self.queue.lock();
        loop {
            let first = queue.jobs.pop_front();
            if let Some(job) = first.or_else(|| queue.parts.pop_front()) {
                return Some(job);
            }
            if queue.stopped {
                return None;
            }
            self.arrived.wait(&mut queue);
        }
    }

    /// How many jobs wait for a reader.
    pub(super) fn waiting(&self) -> usize {
        let queue = self.queue.lock();
        queue.jobs.len() + queue.parts.len()
    }

    /// For as long as something is looked for on disk and told to the keyspace. A thread that `has_begun` with more than one
    /// look does not wait for who wants to pause: that one waits for it.
    pub(super) fn begin(&self, has_begun: bool) -> RwLockReadGuard<'_, ()> {
        match has_begun {
            true => self.under_way.read_recursive(),
            false => self.under_way.read(),
        }
    }

    /// Waits for the loads under way to end, and keeps others from beginning.
    pub(super) fn pause(&self) -> RwLockWriteGuard<'_, ()> {
        self.under_way.write()
    }

    /// A run was written: what could not be read before may be there now.
    pub(super) fn run_written(&self) {
        self.failed.forget();
    }

    pub(super) fn stop(&self) {
        self.queue.lock().stopped = true;
        self.arrived.notify_all();
    }
}

/// While loads may begin.
#[derive(Debug)]
pub struct LoadsBegun<'a> {
    _under_way: RwLockReadGuard<'a, ()>,
}

impl Tier {
    /// For who is going to be alone among all keys and to load some of them there and then: nobody waits for the gate meanwhile
    /// who keeps loads from beginning. `None` where somebody does that now, for as long as a run takes.
    pub fn begin_loads(&self) -> Option<LoadsBegun<'_>> {
        let begun = self.loads.under_way.try_read();
        begun.map(|_under_way| LoadsBegun { _under_way })
    }

    /// Fetches keys into memory. Gives those that could not be read. `now` tells what has expired.
    pub fn load(
        &self,
        wanted: Vec<Wanted>,
        now: UnixMs,
    ) -> impl Future<Output = Vec<KeyHash>> + Send + use<> {
        let (single, parts) = match wanted.len() {
            0..MANY_KEYS => (wanted, Vec::new()),
            _ => (Vec::new(), self.begin_parts(wanted, now)),
        };
        let waiting: Vec<_> = single
            .into_iter()
            .map(|wanted| {
                let hash = wanted.hash;
                (hash, self.begin(wanted, now))
            })
            .collect();
        async move {
            let mut failed = Vec::new();
            for (hash, done) in waiting {
                // A sender that went without a word is a reader that ended.
                if !matches!(done.await, Ok(true)) {
                    failed.push(hash);
                }
            }
            for (hashes, done) in parts {
                failed.extend(done.await.unwrap_or(hashes));
            }
            failed
        }
    }

    /// Begins to fetch very many keys. Gives for each part its keys, and who tells which of them could not be read.
    fn begin_parts(
        &self,
        mut wanted: Vec<Wanted>,
        now: UnixMs,
    ) -> Vec<(Vec<KeyHash>, oneshot::Receiver<Vec<KeyHash>>)> {
        wanted.sort_unstable_by_key(|wanted| Place::of(wanted.hash));
        let mut parts = Vec::new();
        let mut wanted = wanted.into_iter();
        loop {
            let part: Vec<Wanted> = wanted.by_ref().take(PART_KEYS).collect();
            if part.is_empty() {
                return parts;
            }
            let (sender, receiver) = oneshot::channel();
            parts.push((part.iter().map(|wanted| wanted.hash).collect(), receiver));
            self.loads.push(Job::Part(part, now, sender));
        }
    }

    fn begin(&self, wanted: Wanted, now: UnixMs) -> oneshot::Receiver<bool> {
        let (sender, receiver) = oneshot::channel();
        if self.loads.failed.has(&wanted) {
            // The sender goes without a word.
            return receiver;
        }
        match self.loads.waiters.entry(wanted.clone()) {
            dashmap::Entry::Occupied(mut waiters) => waiters.get_mut().push(sender),
            dashmap::Entry::Vacant(none) => {
                none.insert(vec![sender]);
                self.loads.push(Job::Load(wanted, now));
            }
        }
        receiver
    }

    /// Has a reader answer a question about one key.
    pub(super) fn ask_reader(&self, ask: Ask) -> oneshot::Receiver<Page> {
        let (done, answered) = oneshot::channel();
        self.loads.push(Job::Ask(ask, done));
        answered
    }

    /// Fetches one key, here and now.
    pub(crate) fn load_now(
        &self,
        engine: &Engine,
        wanted: &Wanted,
        now: UnixMs,
        thread: ThreadSlot,
    ) -> Result<(), TierError> {
        let Wanted { hash, name, key } = wanted;
        let keyspace = &engine.keyspace;
        let config = engine.config.load();
        let policy = config.maxmemory_policy;
        let access = AccessPolicy::new(policy, LfuSettings::of(&config), now);
        let mut on_disk = Vec::with_capacity(key.len() + 8);
        record::encode_key(Place::of(*hash), *name, key, &mut on_disk);
        let mut part = Vec::new();
        let _under_way = self.loads.begin(keyspace.gate().is_isolated(thread));
        while let Some(stamp) = keyspace.begin_load(*hash, *name, key, thread) {
            keyspace.counters(thread).loads.add(1);
            let loaded = match self.pending.record(&on_disk)? {
                Some(record) => self.loaded_from_log((*hash, &on_disk), &record, now, &mut part)?,
                None => match self.store.find(hash.value(), &on_disk)? {
                    None => Loaded::Nothing,
                    Some(located) => {
                        located.count_look_up();
                        self.loaded(&on_disk, &located, now, &mut part)?
                    }
                },
            };
            if keyspace.finish_load((*hash, *name, key), stamp, loaded, &access, thread) {
                break;
            }
        }
        Ok(())
    }

    /// Fetches keys, here and now, as far as that can be done with one pass over the disk. Gives which are left.
    fn load_in_one_pass(
        &self,
        engine: &Engine,
        wanted: &[Wanted],
        now: UnixMs,
        thread: ThreadSlot,
    ) -> Vec<usize> {
        let keyspace = &engine.keyspace;
        let all = || (0..wanted.len()).collect();
        let _under_way = self.loads.begin(keyspace.gate().is_isolated(thread));
        if self.pending.is_any() {
            return all();
        }
        let mut begun = Vec::with_capacity(wanted.len());
        for (at, Wanted { hash, name, key }) in wanted.iter().enumerate() {
            if let Some(stamp) = keyspace.begin_load(*hash, *name, key, thread) {
                let mut on_disk = Vec::with_capacity(key.len() + 8);
                record::encode_key(Place::of(*hash), *name, key, &mut on_disk);
                begun.push(((hash.value(), on_disk), (at, stamp)));
            }
        }
        begun.sort_unstable_by(|((_, a), _), ((_, b), _)| a.cmp(b));
        // A command may name a key twice.
        begun.dedup_by(|((_, a), _), ((_, b), _)| a == b);
        let (keys, begun): (Vec<_>, Vec<_>) = begun.into_iter().unzip();
        // Which of them cannot be read is told by each look-up.
        let Ok(answers) = self.store.find_many(&keys) else {
            return all();
        };
        let config = engine.config.load();
        let (policy, lfu) = (config.maxmemory_policy, LfuSettings::of(&config));
        let (mut left, mut part, mut bytes) = (Vec::new(), Vec::new(), 0);
        for (((_, on_disk), (at, stamp)), answer) in keys.iter().zip(begun).zip(answers) {
            let Wanted { hash, name, key } = &wanted[at];
            let loaded = match answer {
                _ if bytes >= PASS_BYTES_MAX => None,
                Answer::LeftOut => None,
                Answer::Nothing => Some(Loaded::Nothing),
                Answer::Record(located) => self.loaded_of_one(on_disk, &located, now, &mut part),
            };
            let Some(loaded) = loaded else {
                left.push(at);
                continue;
            };
            if let Loaded::Value(entry) = &loaded {
                bytes += entry.view().allocated_bytes();
            }
            keyspace.counters(thread).loads.add(1);
            let access = AccessPolicy::new(policy, lfu, now);
            if !keyspace.finish_load((*hash, *name, key), stamp, loaded, &access, thread) {
                left.push(at);
            }
        }
        left
    }

    /// What a record says, if it is all of its value and in order.
    fn loaded_of_one(
        &self,
        on_disk: &[u8],
        located: &Located,
        now: UnixMs,
        part: &mut Vec<u8>,
    ) -> Option<Loaded> {
        match record::decode(&located.record)? {
            (_, Body::Value(_)) => self.loaded(on_disk, located, now, part).ok(),
            _ => None,
        }
    }

    /// What the log of the last process has of a key. Pieces of a collection may lie below.
    fn loaded_from_log(
        &self,
        (hash, on_disk): (KeyHash, &[u8]),
        record: &[u8],
        now: UnixMs,
        part: &mut Vec<u8>,
    ) -> Result<Loaded, TierError> {
        if record.is_empty() {
            return Ok(Loaded::Nothing);
        }
        let (head, body) = record::decode(record).ok_or(TierError::Record)?;
        if head.expires_at.is_some_and(|at| at <= now) {
            return Ok(Loaded::Expired(head.expires_at));
        }
        let below = self.store.find(hash.value(), on_disk)?;
        let neighbour = |key: &[u8]| {
            let below = |key: &[u8]| {
                below
                    .as_ref()
                    .map_or(Ok(None), |found| found.neighbour(key))
            };
            self.pending.neighbour(key, below)
        };
        let entry = self.entry(on_disk, (head, body), neighbour, part)?;
        Ok(Loaded::Value(entry))
    }

    fn loaded(
        &self,
        on_disk: &[u8],
        located: &Located,
        now: UnixMs,
        part: &mut Vec<u8>,
    ) -> Result<Loaded, TierError> {
        let (head, body) = record::decode(&located.record).ok_or(TierError::Record)?;
        if head.expires_at.is_some_and(|at| at <= now) {
            return Ok(Loaded::Expired(head.expires_at));
        }
        let neighbour = |key: &[u8]| located.neighbour(key);
        let entry = self.entry(on_disk, (head, body), neighbour, part)?;
        Ok(Loaded::Value(entry))
    }
}

/// A reader's life.
pub(super) fn read(engine: &Engine, thread: ThreadSlot) {
    let Some(tier) = &engine.tier else { return };
    let mut pool = EvictionPool::default();
    while let Some(job) = tier.loads.next() {
        match job {
            Job::Ask(ask, done) => {
                let answer = || tier.answer(engine, ask, thread, &|| true);
                // Who asked is told nothing after a panic, and takes that for a failure; one that has gone does not wait.
                if let Some(page) = threads::caught("a walk over the disk tier", answer) {
                    let _ = done.send(page);
                }
            }
            Job::Part(wanted, now, done) => {
                let failed = load_part(tier, engine, &wanted, now, thread, &mut pool);
                // A connection that has gone does not wait any more.
                let _ = done.send(failed);
            }
            Job::Load(wanted, now) => {
                let runs = tier.loads.failed.runs();
                let load = || tier.load_now(engine, &wanted, now, thread);
                let loaded = threads::caught("a load from the disk tier", load);
                if let Some(Err(error)) = &loaded {
                    NOT_READ.error(error);
                }
                let is_loaded = matches!(loaded, Some(Ok(())));
                if !is_loaded {
                    tier.loads.failed.note(&wanted, runs);
                }
                let waiters = tier.loads.waiters.remove(&wanted);
                for waiter in waiters.into_iter().flat_map(|(_, waiters)| waiters) {
                    // A connection that has gone does not wait any more.
                    let _ = waiter.send(is_loaded);
                }
                // What came into memory may push out something else; not before it was looked at.
                engine.make_room(now, thread, &mut pool);
            }
        }
    }
}

/// Loads keys of a command that wants very many. Gives those that could not be read.
fn load_part(
    tier: &Tier,
    engine: &Engine,
    wanted: &[Wanted],
    now: UnixMs,
    thread: ThreadSlot,
    pool: &mut EvictionPool,
) -> Vec<KeyHash> {
    let pass = || tier.load_in_one_pass(engine, wanted, now, thread);
    let left = threads::caught("a load from the disk tier", pass);
    let left = left.unwrap_or_else(|| (0..wanted.len()).collect());
    for _ in left.len()..wanted.len() {
        engine.make_room(now, thread, pool);
    }
    let (mut failed, mut error) = (Vec::new(), None);
    for wanted in left.into_iter().map(|at| &wanted[at]) {
        let load = || tier.load_now(engine, wanted, now, thread);
        let loaded = threads::caught("a load from the disk tier", load);
        if !matches!(loaded, Some(Ok(()))) {
            failed.push(wanted.hash);
            error = loaded.and_then(Result::err).or(error);
        }
        engine.make_room(now, thread, pool);
    }
    if let Some(error) = error {
        let count = failed.len();
        tracing::error!("The disk tier could not read {count} keys: {error}");
    }
    failed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Db;

    #[test]
    fn a_key_that_could_not_be_read_is_not_asked_for_at_once_again() {
        let mut db = Db::tiered(|_| {});
        db.run("SET key value").ok();
        let engine = db.engine();
        let tier = engine.tier.as_ref().expect("there is a tier");
        let hash = engine.keyspace.hash(b"key");
        let wanted = || {
            vec![Wanted {
                hash,
                name: engine.keyspace.space_name(0),
                key: b"key".as_slice().into(),
            }]
        };
        let runs = tier.loads.failed.runs();
        tier.loads.failed.note(&wanted()[0], runs);
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let failed = runtime
            .expect("a runtime")
            .block_on(tier.load(wanted(), UnixMs(0)));
        assert_eq!((failed, tier.loads.waiting()), (vec![hash], 0));
        std::thread::sleep(FAILED_FOR);
        // Nobody reads here.
        let _asked = tier.load(wanted(), UnixMs(0));
        assert_eq!(tier.loads.waiting(), 1);
        assert!(!tier.loads.failed.any.load(Ordering::Relaxed));
    }

    #[test]
    fn a_key_that_was_written_since_it_could_not_be_read_is_asked_for_at_once() {
        let mut db = Db::tiered(|_| {});
        let engine = std::sync::Arc::clone(db.engine_arc());
        let failed = &engine.tier.as_ref().expect("there is a tier").loads.failed;
        let wanted = |db| Wanted {
            hash: engine.keyspace.hash(b"key"),
            name: engine.keyspace.space_name(db),
            key: b"key".as_slice().into(),
        };
        let runs = failed.runs();
        failed.note(&wanted(0), runs);
        // Its namesake in another database is another key.
        assert!(failed.has(&wanted(0)) && !failed.has(&wanted(1)));
        db.run("SET key value").ok();
        db.write();
        assert!(!failed.has(&wanted(0)));
        // A load of the version before may end only now.
        failed.note(&wanted(0), runs);
        assert!(!failed.has(&wanted(0)));
    }
}
