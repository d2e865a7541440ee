//! The keyspace: thousands of shards, each with one lock, one table and one account of its memory.
//!
//! It owns keys, values, their expiry and their eviction. It knows nothing of commands, replies,
//! connections or tiers. A key's hash says its shard (top bits) and its place in the shard's table
//! (low bits); the database is not part of the hash, so a key has the same shard in all of them.
//!
//! A **space** is the contents of a database. SWAPDB exchanges two spaces, FLUSHDB gives the
//! database a new one; what is in the old is out of sight at once and is freed in the background.
//!
//! Invariant: several shards are locked in ascending order, and by [`Keyspace::lock`] only.
//! Invariant: an eviction group's lock, and that of the compression hand, is taken with at most a shard's lock held, never the other
//! way round.
//! Invariant: which space a database has is read with the shard's lock held, so that a key cannot
//! be added to a space whose shard was already swept.

mod admission;
pub mod cold;
mod compression;
pub mod counters;
mod databases;
mod door;
pub mod entry;
pub mod eviction;
pub mod footprint;
pub mod gate;
mod keys;
pub mod lfu;
mod maintenance;
mod observed;
mod policy;
pub mod queues;
pub mod residency;
pub mod table;
#[cfg(test)]
mod tests;
pub mod watched;

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering};

use parking_lot::{Condvar, Mutex, MutexGuard};

use self::compression::CompressionHand;
use self::counters::{Counters, SPACES};
use self::eviction::{AccessPolicy, EvictionGroup};
use self::footprint::{FETCHED_AHEAD, FETCHED_WITH_BATCH, Footprint, Uses};
use self::gate::Gate;
use self::lfu::LfuSettings;
use self::observed::Observed;
use self::policy::Policies;
use self::queues::Queues;
use self::residency::{Filter, Residency};
use self::table::{Table, TableHint, Tag};
use self::watched::Watched;
use crate::clock::UnixMs;
use crate::config::Config;

pub use self::databases::{Shown, SpaceStats};
pub use self::door::EventName;
pub use self::eviction::LastAccess;
pub use self::keys::{Amount, Expiry, Keys, Pinned, Renamed, StringToSend, VALUE_BYTES_MAX};

/// So many that growing one table, or one slice of maintenance, holds its lock for microseconds.
const SHARD_BITS: u32 = 12;
const SHARDS: usize = 1 << SHARD_BITS;
/// Eviction keeps its queues for groups of shards: few, so that each sees enough keys to choose
/// well in a cache of a few thousand; more than one, so that threads seldom meet there.
const GROUP_BITS: u32 = 4;
const GROUPS: usize = 1 << GROUP_BITS;
/// The number of databases that SELECT can reach at most.
pub const DATABASES: usize = 16;

/// One shard: a table behind a lock, on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Shard {
    hint: TableHint,
    table: Mutex<Table>,
}

const _: () = assert!(
    size_of::<Shard>() == 64,
    "a request touches one line of a shard"
);

/// All keys of all databases.
#[derive(Debug)]
pub struct Keyspace {
    shards: Box<[Shard]>,
    gate: Gate,
    groups: Box<[Mutex<EvictionGroup>]>,
    hasher: foldhash::quality::FixedState,
    /// What is known of the tier below, if there is one.
    below: Option<Residency>,
    /// Where keys may be.
    policies: Policies,
    counters: Box<[Counters]>,
    /// Which space each database shows.
    spaces: [AtomicU8; DATABASES],
    /// One bit for each space that a database shows. SWAPDB changes none of it, so that no look finds one missing meanwhile.
    live: AtomicU32,
    emptied: Mutex<Emptied>,
    /// How many wait for keys or watch them.
    observed: Arc<Observed>,
    /// Who waits for keys.
    queues: Queues,
    /// Who watches keys.
    watched: Watched,
    /// Whether memory is nearly full, so that new keys must prove themselves.
    pressed: AtomicBool,
    next_group: AtomicUsize,
    compression: Mutex<CompressionHand>,
    group_entries: [AtomicUsize; GROUPS],
    /// What the queues and ghosts of the groups take, and the compressors of the threads.
    queue_bytes: AtomicUsize,
    /// Held while databases are emptied, up to the moment when they are, which one thread does at a time.
    emptying: Mutex<()>,
    /// Held while the spaces that were left for the background are swept, which one thread does at a time.
    sweep: Mutex<()>,
    /// Some spaces are free that were not.
    freed: Condvar,
}

/// Spaces that are not a database's.
#[derive(Debug)]
struct Emptied {
    free: Vec<u8>,
    /// They still hold keys, and are left for the background. Those with few keys are swept by who has emptied them.
    sweeping: Vec<u8>,
}

/// A key's hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash(u64);

impl KeyHash {
    /// A hash as it was given by [`Self::value`].
    pub fn of_value(value: u64) -> Self {
        Self(value)
    }

    /// The hash itself.
    #[inline]
    pub fn value(self) -> u64 {
        self.0
    }

    #[inline]
    fn shard(self) -> usize {
        (self.0 >> (64 - SHARD_BITS)) as usize
    }

    #[inline]
    fn tag(self) -> Tag {
        Tag::of_hash(self.0)
    }
}

fn group_of_shard(shard: usize) -> usize {
    shard >> (SHARD_BITS - GROUP_BITS)
}

/// The hash of a key in a keyspace that was made with `seed`.
pub fn hash_with(seed: u64, key: &[u8]) -> u64 {
    let mut hasher = foldhash::quality::FixedState::with_seed(seed).build_hasher();
    hasher.write(key);
    hasher.finish()
}

/// Which thread is asking: it names the stripe of counters that the thread owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadSlot(pub usize);

/// What holds for all keys of a command; most of it for those of many commands.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// The time, by which keys expire.
    pub now: UnixMs,
    /// How accesses are recorded.
    pub access: AccessPolicy,
    /// The time to live of a key that is written without one; 0 is for ever.
    pub default_ttl_ms: i64,
    /// The thread that the command runs on.
    pub thread: ThreadSlot,
    /// The name of its changes: the command's, unless it says otherwise.
    pub event: EventName,
    /// A random number.
    pub random: u64,
}

impl Terms {
    /// By the options in force.
    pub fn of(config: &Config, now: UnixMs, thread: ThreadSlot, event: EventName) -> Self {
        Self {
            now,
            access: AccessPolicy::new(config.maxmemory_policy, LfuSettings::of(config), now),
            default_ttl_ms: i64::from(config.default_ttl_s) * 1000,
            thread,
            event,
            random: 0,
        }
    }
}

/// A locked shard, which settles its account when it is released.
struct Locked<'a> {
    shard: usize,
    used_before: usize,
    /// What was used when a change was listed for the tier below last.
    used_when_listed: usize,
    pinned_before: usize,
    thread: ThreadSlot,
    hint: &'a TableHint,
    counters: &'a Counters,
    table: MutexGuard<'a, Table>,
}

impl Locked<'_> {
    /// Bytes by which its table has grown since this was asked last, or since it was locked.
    fn growth(&mut self) -> usize {
        let used = self.table.used_bytes();
        let before = std::mem::replace(&mut self.used_when_listed, used);
        used.saturating_sub(before)
    }
}

impl Drop for Locked<'_> {
    #[inline]
    fn drop(&mut self) {
        let used = self.table.used_bytes();
        if used != self.used_before {
            self.counters
                .used_bytes
                .add(used as i64 - self.used_before as i64);
            self.hint.note(&self.table);
        }
        let pinned = self.table.pinned_bytes();
        if pinned != self.pinned_before {
            self.counters
                .pinned_bytes
                .add(pinned as i64 - self.pinned_before as i64);
        }
    }
}

/// Locked shards in ascending order: mostly one.
enum LockedShards<'a> {
    None,
    One(Locked<'a>),
    /// Those of several keys, which are these.
    Several(Vec<Locked<'a>>, Box<Uses<'a>>),
}

impl LockedShards<'_> {
    /// Which of the locks is that of a shard.
    #[inline]
    fn lock_of(&self, shard: usize) -> Option<usize> {
        match &**self {
            [one] if one.shard == shard => Some(0),
            // All are locked.
            many if many.get(shard).is_some_and(|locked| locked.shard == shard) => Some(shard),
            many => many
                .binary_search_by_key(&shard, |locked| locked.shard)
                .ok(),
        }
    }
}

impl<'a> std::ops::Deref for LockedShards<'a> {
    type Target = [Locked<'a>];

    #[inline]
    fn deref(&self) -> &[Locked<'a>] {
        match self {
            Self::None => &[],
            Self::One(locked) => std::slice::from_ref(locked),
            Self::Several(locked, _) => locked,
        }
    }
}

impl std::ops::DerefMut for LockedShards<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Self::Target {
        match self {
            Self::None => &mut [],
            Self::One(locked) => std::slice::from_mut(locked),
            Self::Several(locked, _) => locked,
        }
    }
}

impl Keyspace {
    /// An empty keyspace for `threads` threads, each with its own [`ThreadSlot`], with nothing below.
    pub fn new(threads: usize) -> Self {
        Self::build(
            threads,
            std::hash::RandomState::new().hash_one(threads),
            None,
        )
    }

    /// An empty keyspace over a lower tier, whose order of keys is made with `seed`. The contents of
    /// the databases have these names there, and `next_name` is free.
    pub fn over(
        threads: usize,
        seed: u64,
        filter: Arc<dyn Filter>,
        names: &[u32],
        next_name: u32,
    ) -> Self {
        let below = Residency::new(filter, threads, names, next_name);
        Self::build(threads, seed, Some(below))
    }

    fn build(threads: usize, seed: u64, below: Option<Residency>) -> Self {
        let observed = Arc::new(Observed::default());
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            gate: Gate::new(threads),
            groups: (0..GROUPS)
                .map(EvictionGroup::new)
                .map(Mutex::new)
                .collect(),
            hasher: foldhash::quality::FixedState::with_seed(seed),
            below,
            policies: Policies::default(),
            counters: (0..threads).map(|_| Counters::default()).collect(),
            spaces: std::array::from_fn(|db| AtomicU8::new(db as u8)),
            live: AtomicU32::new((1 << DATABASES) - 1),
            emptied: Mutex::new(Emptied {
                free: (DATABASES as u8..SPACES as u8).rev().collect(),
                sweeping: Vec::new(),
            }),
            pressed: AtomicBool::new(false),
            next_group: AtomicUsize::new(0),
            compression: Mutex::default(),
            group_entries: std::array::from_fn(|_| AtomicUsize::new(0)),
            queues: Queues::new(seed, Arc::clone(&observed)),
            watched: Watched::new(seed, Arc::clone(&observed)),
            observed,
            queue_bytes: AtomicUsize::new(0),
            emptying: Mutex::new(()),
            sweep: Mutex::new(()),
            freed: Condvar::new(),
        }
    }

    /// What every thread passes that touches keys, and who needs all of them closes.
    #[inline]
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Hashes a key. The seed is random, and secret, so that nobody can choose keys that collide.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> KeyHash {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(key);
        KeyHash(hasher.finish())
    }

    /// First step of fetching a key ahead of need: its table bucket.
    #[inline]
    pub fn prefetch_bucket(&self, hash: KeyHash) {
        self.shards[hash.shard()].hint.prefetch(hash.tag());
    }

    /// Second step: its entry, if nobody is working on the shard.
    #[inline]
    pub fn prefetch_entry(&self, hash: KeyHash) {
        if let Some(table) = self.shards[hash.shard()].table.try_lock() {
            table.prefetch_entry(hash.tag());
        }
    }

    /// For who asks for more keys than are fetched with their batch, one after the other, whether they are resident: has the
    /// memory fetched that will be read some keys behind this one.
    #[inline]
    pub fn prefetch_behind(&self, hashes: &[KeyHash], at: usize) {
        if hashes.len() > FETCHED_WITH_BATCH
            && let Some(&hash) = hashes.get(at + FETCHED_AHEAD)
        {
            self.prefetch_bucket(hash);
            if let Some(below) = &self.below {
                below.prefetch(hash);
            }
        }
    }

    /// Whether memory can answer for a key: it holds it, or the key is nowhere.
    pub fn is_resident(&self, hash: KeyHash, db: usize, key: &[u8], thread: ThreadSlot) -> bool {
        self.below.as_ref().is_none_or(|below| {
            let locked = self.lock_shard(hash.shard(), thread);
            let held = locked.table.find(hash.tag(), self.space_of(db), key);
            held.is_some() || !below.may_hold(hash)
        })
    }

    /// Who waits for keys.
    pub fn queues(&self) -> &Queues {
        &self.queues
    }

    /// Who watches keys.
    pub fn watched(&self) -> &Watched {
        &self.watched
    }

    /// Locks the shards of the keys of a request, in ascending order and each once: the one place that locks
    /// more than one. Inlined, as what it gives would be copied to its place.
    #[inline(always)]
    pub fn lock<'a>(&'a self, footprint: &Footprint<'a, '_>, terms: &'a Terms) -> Keys<'a> {
        let only = footprint.only();
        let locked = match only {
            Some((_, hash)) => LockedShards::One(self.lock_shard(hash.shard(), terms.thread)),
            None if footprint.is_empty() => LockedShards::None,
            None => self.lock_shards(footprint, terms.thread),
        };
        Keys::new(self, locked, only, footprint.db, terms)
    }

    fn lock_shards<'a>(
        &'a self,
        footprint: &Footprint<'a, '_>,
        thread: ThreadSlot,
    ) -> LockedShards<'a> {
        let uses = footprint.uses(self);
        let shards = uses.shards().into_iter();
        let locked = shards.map(|shard| self.lock_shard(shard, thread));
        LockedShards::Several(locked.collect(), Box::new(uses))
    }

    #[inline]
    fn lock_shard(&self, index: usize, thread: ThreadSlot) -> Locked<'_> {
        let shard = &self.shards[index];
        let table = shard.table.lock();
        let used = table.used_bytes();
        Locked {
            shard: index,
            thread,
            used_before: used,
            used_when_listed: used,
            pinned_before: table.pinned_bytes(),
            hint: &shard.hint,
            counters: self.counters(thread),
            table,
        }
    }

    /// The counters that a thread adds to.
    #[inline]
    pub fn counters(&self, thread: ThreadSlot) -> &Counters {
        &self.counters[thread.0]
    }

    /// The counters of all threads, to be summed.
    pub fn all_counters(&self) -> &[Counters] {
        &self.counters
    }

    /// CONFIG RESETSTAT.
    pub fn reset_stats(&self) {
        self.counters.iter().for_each(Counters::reset_stats);
    }

    /// Bytes that the allocator has given for all keys, exact at this moment.
    pub fn used_bytes(&self) -> usize {
        let sum: i64 = self.counters.iter().map(|c| c.used_bytes.read()).sum();
        usize::try_from(sum).unwrap_or(0) + size_of::<Shard>() * SHARDS + self.queue_bytes()
    }

    /// Keys that never leave memory for space, and their bytes, a part of [`Self::used_bytes`].
    pub fn pinned(&self) -> (usize, usize) {
        (
            self.sum(|c| c.pinned_keys.read()),
            self.sum(|c| c.pinned_bytes.read()),
        )
    }

    /// A number of all threads that is of the present, so never below zero for long.
    fn sum(&self, counter: fn(&Counters) -> i64) -> usize {
        let sum: i64 = self.counters.iter().map(counter).sum();
        usize::try_from(sum).unwrap_or(0)
    }

    /// The number of keys in memory, in all databases and in emptied ones that are still being freed.
    pub fn entries(&self) -> usize {
        self.sum(|c| c.entries.read())
    }

    /// Recounts all that is in memory, and panics where the accounts do not agree. For tests and fuzzing, while nothing
    /// else runs.
    pub fn validate(&self) {
        let walked = Counters::default();
        for shard in &self.shards {
            let table = shard.table.lock();
            table.validate();
            walked.used_bytes.add(table.used_bytes() as i64);
            walked.pinned_bytes.add(table.pinned_bytes() as i64);
            for entry in table.all_positions().map(|at| table.get(at)) {
                walked.entries.add(i64::from(!entry.is_tombstone()));
                walked.pinned_keys.add(i64::from(entry.is_pinned()));
                walked.count_compressed(entry, 1);
                if let Some(at) = entry.expires_at() {
                    walked.count_deadline(entry.space(), at, 1);
                }
            }
        }
        let accounts: [fn(&Counters) -> i64; 7] = [
            |c| c.used_bytes.read(),
            |c| c.entries.read(),
            |c| c.pinned_keys.read(),
            |c| c.pinned_bytes.read(),
            |c| c.compressed_keys.read(),
            |c| c.compressed_raw_bytes.read(),
            |c| c.compressed_bytes.read(),
        ];
        for account in accounts {
            let counted: i64 = self.counters.iter().map(account).sum();
            assert_eq!(counted, account(&walked), "an account is what a walk finds");
        }
        for space in 0..SPACES {
            let account = |c: &Counters| c.deadlines_ms[space].read();
            let sum = |sum: i64, c| sum.wrapping_add(account(c));
            let counted = self.counters.iter().fold(0, sum);
            assert_eq!(
                counted,
                account(&walked),
                "the sum of the expiries of a space"
            );
        }
    }

    #[inline]
    fn space_of(&self, db: usize) -> u8 {
        self.spaces[db].load(Ordering::Acquire)
    }

    fn is_live(&self, space: u8) -> bool {
        self.live.load(Ordering::Acquire) & (1 << space) != 0
    }

    /// What all threads have counted for a space.
    fn sum_space(&self, space: u8, counter: impl Fn(&Counters, usize) -> i64) -> i64 {
        debug_assert!(usize::from(space) < SPACES);
        let add = |sum: i64, c| sum.wrapping_add(counter(c, usize::from(space)));
        self.counters.iter().fold(0, add)
    }
}
