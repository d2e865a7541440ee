//! What the keyspace must know of the tier below it: which of its entries have a copy there, which
//! must still be written, and how many keys are there alone.
//!
//! It knows no disk and no format. A lower tier is told nothing at the moment of a change; the place
//! of the changed entry goes into a list of the thread, once, and the tier's writer takes the lists,
//! copies what stands at the places ([`Keyspace::pick`]), writes it, and reports that it is safe
//! ([`Keyspace::settle`]).
//!
//! A deleted key leaves a **tombstone** in the table where the lower tier may hold it: an entry
//! without value, which every command sees as no key. It goes when the deletion is written below. A
//! load that finds nothing leaves one too, so that the next request for the key need not ask again.
//!
//! How an entry stands to its copy below is four bits of its access record:
//!
//! ```text
//! QUEUED    its place stands in a list
//! WRITING   it was copied by the writer and is not safe yet; with QUEUED, it has changed since
//! CLEAN     the copy below is this very version
//! UNVERIFIED    a key was written without a look whether it was below, where it may be counted too. The writer looks
//!           before it writes, and DBSIZE before it tells
//! ```
//!
//! Of an entry that is for memory only the tier below gets a marker, that of a tombstone, and this where it may hold a copy
//! of whatever version. QUEUED and WRITING are of that marker, and CLEAN says that no copy would be found; writes change nothing
//! of it. Such an entry leaves memory for good, as a deleted key does, and leaves a tombstone unless it is CLEAN.
//!
//! Invariant: an entry leaves memory for space only when it is CLEAN, or for good, as a deleted key does
//! (`take_out`). So a key that memory does not hold has its newest version below, or is nowhere.
//! Invariant: a change takes CLEAN away and queues what is WRITING, under the shard's lock. WRITING stays,
//! since an older version is on its way: a key that is deleted now must leave a mark.
//! Invariant: a key that stands in memory, a tombstone too, is not counted as below, unless it is
//! UNVERIFIED.

mod listing;
mod loading;
mod picked;
mod unverified;
mod writing;

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

pub use self::listing::{KeyFilter, KeyList};
pub use self::picked::{Picked, PickedLarge, TakenPart, Versions};
use super::admission::Admission;
use super::cold::{ColdCounts, Tally};
use super::counters::SPACES;
use super::entry::{Entry, EntryMut, EntryParts, EntryRef, ValueType, is_large_form, is_old_form};
use super::table::Tag;
use super::{KeyHash, Keyspace, SHARDS, ThreadSlot};
use crate::clock::UnixMs;
use crate::value::collection::of_both_ways;
use crate::value::large::Large;

pub(super) const QUEUED: u8 = 0x10;
pub(super) const WRITING: u8 = 0x20;
pub(super) const CLEAN: u8 = 0x40;
pub(super) const UNVERIFIED: u8 = 0x80;
/// All of the above.
pub(super) const STATE: u8 = 0xf0;

/// The longest key that goes below. Longer ones live in memory only: where it has no room for them, and
/// when the server ends, they are gone.
pub const KEY_BYTES_MAX: usize = 65_000;

/// A thread tells the others of so many changed bytes at once.
const TOLD_BYTES: usize = 32 * 1024;

/// What a record takes beside key and value, about: what waits to be written is never nothing.
const RECORD_BYTES: usize = 16;

/// The lower tier's answer to the one question that requests ask it.
pub trait Filter: Debug + Send + Sync {
    /// Whether a key with this hash may be below. It reads memory only, and errs to the safe side.
    fn may_hold(&self, hash: KeyHash) -> bool;

    /// Asks the processor for the memory that an answer needs.
    fn prefetch(&self, _hash: KeyHash) {}
}

/// Where an entry stands: its shard and tag, which is also the order of keys below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(pub u32);

impl Place {
    pub(super) fn new(shard: usize, tag: Tag) -> Self {
        Self((shard as u32) << Tag::END.trailing_zeros() | tag.value())
    }

    /// The shard: what is picked together.
    pub fn shard(self) -> usize {
        (self.0 >> Tag::END.trailing_zeros()) as usize
    }

    /// Where a key with this hash stands.
    pub fn of(hash: KeyHash) -> Self {
        Self::new(hash.shard(), hash.tag())
    }

    pub(super) fn tag(self) -> u32 {
        self.0 & (Tag::END - 1)
    }
}

/// What is known of the lower tier.
#[derive(Debug)]
pub(super) struct Residency {
    filter: Arc<dyn Filter>,
    /// Whether every change is to be written soon; otherwise what memory has no room for.
    follows_writes: AtomicBool,
    /// Places of changed entries, for each thread.
    changed: Box<[Mutex<ChangeList>]>,
    /// For each shard, how many entries left it. A load that began before is not to be trusted.
    departures: Box<[AtomicU32]>,
    /// What is counted of each space beside the threads' stripes.
    tallies: Box<[Tally]>,
    /// The name of each space below: one that is never used again.
    names: Box<[AtomicU32]>,
    next_name: AtomicU32,
    /// Bytes that the writer has taken and not made safe yet.
    writing_bytes: AtomicUsize,
    /// Bytes of entries that have changed and are not safe, about: one number, for requests to look at.
    unsafe_bytes: AtomicUsize,
    /// How often the writer has made something safe.
    settled: AtomicU64,
    /// Which victims are written.
    pub(super) admission: Admission,
}

#[derive(Debug, Default)]
struct ChangeList {
    places: Vec<Place>,
    bytes: usize,
    /// Bytes since the start.
    all_bytes: u64,
    /// What is not in `unsafe_bytes` yet.
    untold: usize,
    /// Where UNVERIFIED was set, in that order. It may be over.
    unverified: Vec<Place>,
    /// So many of these are looked for by the run that took the places.
    unverified_taken: usize,
}

impl ChangeList {
    /// So many more bytes are not safe. `told` learns of it now and then.
    fn add(&mut self, bytes: usize, told: &AtomicUsize) {
        self.bytes += bytes;
        self.all_bytes += bytes as u64;
        self.untold += bytes;
        if self.untold >= TOLD_BYTES {
            told.fetch_add(std::mem::take(&mut self.untold), Ordering::Relaxed);
        }
    }
}

impl Residency {
    pub(super) fn new(
        filter: Arc<dyn Filter>,
        threads: usize,
        names: &[u32],
        next_name: u32,
    ) -> Self {
        let name = |space| AtomicU32::new(names.get(space).copied().unwrap_or(0));
        Self {
            filter,
            follows_writes: AtomicBool::new(true),
            changed: (0..threads).map(|_| Mutex::default()).collect(),
            departures: (0..SHARDS).map(|_| AtomicU32::new(0)).collect(),
            tallies: (0..SPACES).map(|_| Tally::default()).collect(),
            names: (0..SPACES).map(name).collect(),
            next_name: AtomicU32::new(next_name),
            writing_bytes: AtomicUsize::new(0),
            unsafe_bytes: AtomicUsize::new(0),
            settled: AtomicU64::new(0),
            admission: Admission::default(),
        }
    }

    #[inline]
    pub(super) fn may_hold(&self, hash: KeyHash) -> bool {
        self.filter.may_hold(hash)
    }

    #[inline]
    pub(super) fn prefetch(&self, hash: KeyHash) {
        self.filter.prefetch(hash);
    }

    /// An entry was written, and has grown by so many bytes. `hash` is given where memory did not hold its key. Whether the change
    /// is to be written below.
    #[inline]
    pub(super) fn wrote(
        &self,
        mut entry: EntryMut<'_>,
        place: Place,
        hash: Option<KeyHash>,
        grown: usize,
        thread: ThreadSlot,
    ) -> bool {
        let is_memory_only = entry.view().is_memory_only();
        let mut bits = entry.view().policy_bits();
        let mut queue = false;
        if !is_memory_only {
            bits &= !CLEAN;
            // What is being written is older by now.
            queue = self.follows_writes.load(Ordering::Relaxed) || bits & WRITING != 0;
        }
        let unverified = hash.is_some_and(|fresh| self.may_hold(fresh));
        if unverified {
            bits |= UNVERIFIED;
            queue = true;
        }
        if queue && bits & QUEUED == 0 {
            bits |= QUEUED;
            self.list(place, bytes_to_write(entry.view(), grown), thread);
        } else if queue {
            self.changed_further(entry.view(), grown, thread);
        }
        if unverified {
            // Last: a run that finds it here has the place too.
            self.changed[thread.0].lock().unverified.push(place);
        }
        entry.set_policy_bits(bits);
        !is_memory_only || bits & (QUEUED | WRITING) != 0
    }

    /// An entry that waits to be written was written once more, and has grown by so many bytes.
    #[inline]
    fn changed_further(&self, entry: EntryRef<'_>, grown: usize, thread: ThreadSlot) {
        let large = entry.large();
        let told = large.and_then(|large| large.tell_changed_bytes(false));
        self.grew(entry, told.unwrap_or(0).max(grown), thread);
    }

    /// An entry has grown by so many bytes. If it waits to be written that is more to write.
    pub(super) fn grew(&self, entry: EntryRef<'_>, bytes: usize, thread: ThreadSlot) {
        if bytes > 0 && entry.policy_bits() & QUEUED != 0 {
            self.changed[thread.0].lock().add(bytes, &self.unsafe_bytes);
        }
    }

    /// An entry is for memory only from now on, or is not any more: what is below is not what should be there.
    pub(super) fn changed_policy(
        &self,
        mut entry: EntryMut<'_>,
        place: Place,
        hash: KeyHash,
        thread: ThreadSlot,
    ) {
        let bits = entry.view().policy_bits();
        let queue = match entry.view().is_memory_only() {
            true => bits & (CLEAN | WRITING | UNVERIFIED) != 0 || self.may_hold(hash),
            false => bits & WRITING != 0 || self.follows_writes.load(Ordering::Relaxed),
        };
        entry.set_policy_bits(bits & !CLEAN);
        if queue {
            self.queue(entry, place, thread);
        }
    }

    /// Has an entry written below, whether it changed or not.
    pub(super) fn queue(&self, entry: EntryMut<'_>, place: Place, thread: ThreadSlot) {
        self.queue_as(entry, place, thread, |entry| bytes_to_write(entry, 0));
    }

    /// The same of all of an entry, whatever the disk was to have of it: a run has failed.
    pub(super) fn queue_whole(&self, entry: EntryMut<'_>, place: Place, thread: ThreadSlot) {
        self.queue_as(entry, place, thread, |entry| entry.allocated_bytes());
    }

    fn queue_as(
        &self,
        mut entry: EntryMut<'_>,
        place: Place,
        thread: ThreadSlot,
        bytes: impl FnOnce(EntryRef<'_>) -> usize,
    ) {
        let bits = entry.view().policy_bits();
        if bits & QUEUED == 0 {
            entry.set_policy_bits(bits | QUEUED);
            self.list(place, bytes(entry.view()), thread);
        }
    }

    /// An entry that memory has no room for. One that changes are written of anyway only waits.
    pub(super) fn queue_victim(&self, entry: EntryMut<'_>, place: Place, thread: ThreadSlot) {
        if entry.view().policy_bits() & WRITING == 0 {
            self.queue(entry, place, thread);
        }
    }

    /// The writer has so many bytes more to write than it was told of.
    fn add_writing_bytes(&self, bytes: usize) {
        self.writing_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.unsafe_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn list(&self, place: Place, bytes: usize, thread: ThreadSlot) {
        let mut changed = self.changed[thread.0].lock();
        changed.places.push(place);
        changed.add(bytes, &self.unsafe_bytes);
    }

    pub(super) fn departed(&self, shard: usize) {
        self.departures[shard].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn departures(&self, shard: usize) -> u32 {
        self.departures[shard].load(Ordering::Relaxed)
    }

    pub(super) fn tally(&self, space: u8) -> &Tally {
        &self.tallies[usize::from(space)]
    }

    /// A space begins anew: nothing that is below belongs to it. The threads' stripes still have these numbers for it,
    /// which are of what was below before.
    pub(super) fn begin_space(&self, space: u8, keys: i64, expiring: i64) {
        let name = self.next_name.fetch_add(1, Ordering::Relaxed);
        self.names[usize::from(space)].store(name, Ordering::Release);
        self.tally(space).begin(keys, expiring);
    }

    pub(super) fn name(&self, space: u8) -> u32 {
        self.names[usize::from(space)].load(Ordering::Acquire)
    }

    /// Whether a key that goes must leave a tombstone. One whose time came must too, though a copy
    /// below says the same: what is below and not marked counts as a key.
    pub(super) fn must_mark(&self, entry: EntryRef<'_>, hash: KeyHash) -> bool {
        let bits = entry.policy_bits();
        if entry.is_memory_only() && bits & CLEAN != 0 {
            return false;
        }
        bits & (CLEAN | WRITING | UNVERIFIED) != 0 || self.may_hold(hash)
    }
}

/// How many bytes are to be written of an entry that begins to wait for that and has just grown by some: of a large collection what
/// has changed, and its key.
fn bytes_to_write(entry: EntryRef<'_>, grown: usize) -> usize {
    let large = entry.large();
    match large.and_then(|large| large.tell_changed_bytes(true)) {
        Some(changed) => changed.max(grown) + entry.key().len() + RECORD_BYTES,
        None => entry.allocated_bytes(),
    }
}

/// Whether an entry is a key whose newest version is below too.
fn has_copy(entry: EntryRef<'_>) -> bool {
    entry.policy_bits() & CLEAN != 0 && !entry.is_tombstone() && !entry.is_memory_only()
}

/// A value as it is kept below.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    /// The type and the flags of the value: [`EntryRef::form`].
    pub form: u8,
    /// The bytes.
    pub bytes: &'a [u8],
    /// When the key expires.
    pub expires_at: Option<UnixMs>,
    /// Whether a client pinned the key.
    pub pinned: bool,
}

impl Stored<'_> {
    /// Whether the bytes are the serialised form of a collection, which memory keeps in another one.
    pub fn is_serialised(&self) -> bool {
        is_large_form(self.form)
    }

    /// Whether the bytes are those of a packed collection as memory had it once: it takes others.
    pub fn is_old(&self) -> bool {
        is_old_form(self.form)
    }
}

/// What a load found.
#[derive(Debug)]
pub enum Loaded {
    /// Nothing, or that the key was deleted.
    Nothing,
    /// A version whose time has come, and when.
    Expired(Option<UnixMs>),
    /// The newest version, in no space yet: made before the shard is locked, for it may be large.
    Value(Entry),
}

/// An older version below of a key that memory holds.
#[derive(Clone, Copy, Debug)]
pub struct Shadowed {
    /// When it expires.
    pub expires_at: Option<UnixMs>,
}

/// A key that was written without a look whether it is below.
#[derive(Clone, Debug)]
pub struct Unsure {
    /// The key's hash.
    pub hash: KeyHash,
    /// The name below of its space.
    pub name: u32,
    /// The key.
    pub key: Box<[u8]>,
    stamp: LoadStamp,
}

/// A question whose answer takes reads of the lower tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// That all changes so far be safe.
    Sync,
    /// That no key be counted both in memory and below.
    Count,
    /// A key, to be fetched into memory: for a command whose row does not declare it.
    Key {
        /// The database.
        db: usize,
        /// The key.
        key: Box<[u8]>,
        /// The time, by which it has expired.
        now: UnixMs,
    },
    /// What the lower tier has of a key, which is not fetched.
    Copy {
        /// The database.
        db: usize,
        /// The key.
        key: Box<[u8]>,
    },
    /// All keys of so many databases with their values, which are shown one by one.
    Everything {
        /// The number of databases.
        databases: usize,
        /// Whom.
        fold: Fold,
        /// The time, by which keys have expired.
        now: UnixMs,
    },
    /// Keys from a cursor on, about so many, without their values.
    Keys {
        /// The database.
        db: usize,
        /// Where to begin: a place.
        cursor: u64,
        /// How many are looked at.
        count: usize,
        /// Which of them are listed.
        filter: KeyFilter<Box<[u8]>>,
        /// The time, by which keys have expired.
        now: UnixMs,
    },
    /// One key, any.
    AnyKey {
        /// The database.
        db: usize,
        /// A number that varies.
        random: u64,
        /// The time, by which keys have expired.
        now: UnixMs,
    },
}

/// What makes one sum of all keys.
#[derive(Clone, Copy)]
pub struct Fold(pub fn(&mut [u8; 20], Step<'_>));

/// What a [`Fold`] is shown.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// The keys of a database follow.
    Database(usize),
    /// A key with its value.
    Key(EntryRef<'a>),
}

impl Debug for Fold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fold")
    }
}

impl PartialEq for Fold {
    /// There is one.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Fold {}

/// The answer to [`Ask`].
#[derive(Debug, Default)]
pub struct Page {
    /// Where the next page begins; 0 after the last.
    pub next: u64,
    /// The keys without their values.
    pub names: KeyList,
    /// For [`Ask::Everything`]: what was made of them.
    pub sum: [u8; 20],
    /// For [`Ask::Copy`]: the newest copy.
    pub copy: Option<DiskCopy>,
    /// For [`Ask::Copy`]: whether memory held the key when the search below began.
    pub was_in_memory: bool,
    /// Whether the keys would take more than a page may.
    pub too_long: bool,
    /// Whether some could not be read.
    pub failed: bool,
}

/// What the lower tier has of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskCopy {
    /// The type and flags of the value: [`EntryRef::form`].
    pub form: u8,
    /// When the key expires.
    pub expires_at: Option<UnixMs>,
    /// The bytes of the value.
    pub raw_bytes: usize,
    /// What they take as they are stored.
    pub stored_bytes: usize,
    /// How they are compressed: `zstd`, `lz4` or `none`.
    pub compression: &'static str,
    /// The dictionary that they need; 0 for none.
    pub dictionary: u32,
    /// The generation that holds the copy.
    pub generation: u64,
    /// Whether a client pinned the key.
    pub pinned: bool,
}

impl DiskCopy {
    /// The type of the value.
    pub fn value_type(&self) -> ValueType {
        ValueType::of_form(self.form)
    }
}

/// How a key in memory stands to its copy below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// The copy is this very version.
    Clean,
    /// This version has not gone below.
    Dirty,
    /// This version is on its way.
    Writing,
}

impl Written {
    pub(super) fn of(entry: EntryRef<'_>) -> Self {
        let bits = entry.policy_bits();
        match () {
            () if bits & CLEAN != 0 => Self::Clean,
            () if bits & WRITING != 0 && bits & QUEUED == 0 => Self::Writing,
            () => Self::Dirty,
        }
    }

    /// The name that TIER.INFO tells.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Dirty => "dirty",
            Self::Writing => "writing",
        }
    }
}

/// What memory knows of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It holds it.
    Present,
    /// It was deleted, or is known not to be.
    Absent,
    /// Nothing.
    Unknown,
}

/// What memory has of a key whose copy below is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InMemory {
    /// Nothing: it goes with its copy.
    Nothing,
    /// A version that nobody has looked for below yet: the copy is counted too.
    Unverified,
    /// What the copy has nothing to do with.
    Apart,
    /// The version of its newest copy.
    Copied,
}

impl InMemory {
    fn of(entry: EntryRef<'_>) -> Self {
        match () {
            () if entry.policy_bits() & UNVERIFIED != 0 => Self::Unverified,
            () if has_copy(entry) => Self::Copied,
            () => Self::Apart,
        }
    }
}

/// When a load began, as far as its shard is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadStamp(u32);

impl Keyspace {
    /// Whether there is a lower tier.
    #[inline]
    pub fn has_below(&self) -> bool {
        self.below.is_some()
    }

    /// Whether every change is to be written below soon, or only what memory has no room for.
    pub fn follow_writes(&self, follow: bool) {
        if let Some(below) = &self.below {
            below.follows_writes.store(follow, Ordering::Relaxed);
        }
    }

    /// Bytes of entries that wait to be written below, about.
    pub fn queued_bytes(&self) -> usize {
        let lists = self.below.iter().flat_map(|below| &below.changed);
        lists.map(|changed| changed.lock().bytes).sum()
    }

    /// The name below of the contents of a database.
    pub fn space_name(&self, db: usize) -> u32 {
        let below = self.below.as_ref();
        below.map_or(0, |below| below.name(self.space_of(db)))
    }

    /// The names below of all databases' contents, and the next free one, to be kept over a restart.
    pub fn space_names(&self) -> (Vec<u32>, u32) {
        let _none_moves = self.emptied.lock();
        let next = |below: &Residency| below.next_name.load(Ordering::Relaxed);
        let names = (0..super::DATABASES)
            .map(|db| self.space_name(db))
            .collect();
        (names, self.below.as_ref().map_or(0, next))
    }

    /// Whether a database may have keys whose contents got their name before this one. No exchange comes in between.
    /// Where the keys below are not counted yet any database may have some.
    pub fn may_have_keys_named_before(&self, next_name: u32, are_counted: bool) -> bool {
        let _none_moves = self.emptied.lock();
        let mut named_before = (0..super::DATABASES).filter(|db| self.space_name(*db) < next_name);
        named_before.any(|db| !are_counted || !self.is_empty(db))
    }

    /// Takes over what [`Self::cold_counts`] told at the last end.
    pub fn restore_counts(&self, db: usize, counts: &ColdCounts) {
        if let Some(below) = &self.below {
            below.tally(self.space_of(db)).restore(counts);
        }
    }

    /// The counts of the databases' keys, all of which are below, as far as they are to be kept over a restart. For the end,
    /// when nothing changes any more.
    pub fn cold_counts(&self) -> Vec<ColdCounts> {
        let Some(below) = &self.below else {
            return Vec::new();
        };
        let mut in_memory = vec![Vec::new(); SPACES];
        for shard in &self.shards {
            let table = shard.table.lock();
            for entry in table.all_positions().map(|at| table.get(at)) {
                let goes_below = !entry.is_memory_only() && entry.key().len() <= KEY_BYTES_MAX;
                if goes_below && !entry.is_tombstone() {
                    in_memory[usize::from(entry.space())].push(entry.expires_at());
                }
            }
        }
        let spaces = (0..super::DATABASES).map(|db| self.space_of(db));
        let kept = |space: u8| below.tally(space).keep(&in_memory[usize::from(space)]);
        spaces.map(kept).collect()
    }

    /// Takes keys below whose time has come, and that nobody asks for, out of the counts. Gives how many.
    pub fn expire_cold(&self, now: UnixMs, thread: ThreadSlot) -> usize {
        let Some(below) = &self.below else { return 0 };
        let mut expired = 0;
        for db in 0..super::DATABASES {
            let _none_begins_anew = self.emptied.lock();
            expired += below.tally(self.space_of(db)).sweep(now);
        }
        self.queues.announce_cold_ends(now);
        self.counters(thread).expired.add(expired);
        usize::try_from(expired).unwrap_or(0)
    }

    /// Bytes of entries that have changed and are not safe below, about.
    pub fn unwritten_bytes(&self) -> usize {
        self.queued_bytes() + self.writing_bytes()
    }

    /// Bytes of entries that the writer has taken and not made safe yet, about.
    pub fn writing_bytes(&self) -> usize {
        let writing = |below: &Residency| below.writing_bytes.load(Ordering::Relaxed);
        self.below.as_ref().map_or(0, writing)
    }

    /// The same, for requests: one number, which is behind by a little.
    #[inline]
    pub fn unsafe_bytes(&self) -> u64 {
        let bytes = |below: &Residency| below.unsafe_bytes.load(Ordering::Relaxed) as u64;
        self.below.as_ref().map_or(0, bytes)
    }

    /// Bytes of the entries that a thread has changed since the start, each once for each time that it was written below, about.
    pub fn changed_bytes(&self, thread: ThreadSlot) -> u64 {
        let below = self.below.as_ref();
        below.map_or(0, |below| below.changed[thread.0].lock().all_bytes)
    }

    /// How often the writer has made something safe.
    pub fn settled(&self) -> u64 {
        let below = self.below.as_ref();
        below.map_or(0, |below| below.settled.load(Ordering::Relaxed))
    }

    /// A key of the contents with this name is below, and was not counted.
    pub fn found_below(&self, name: u32, expires_at: Option<UnixMs>) {
        // Emptied meanwhile, the space must not be another database's before the key is counted.
        let _none_begins_anew = self.emptied.lock();
        if let (Some(below), Some(space)) = (&self.below, self.space_named(name)) {
            below.tally(space).found(expires_at);
        }
    }

    /// What memory knows of a key.
    pub fn presence(&self, hash: KeyHash, db: usize, key: &[u8], thread: ThreadSlot) -> Presence {
        let locked = self.lock_shard(hash.shard(), thread);
        let found = locked.table.find(hash.tag(), self.space_of(db), key);
        match found.map(|at| locked.table.get(at).is_tombstone()) {
            Some(true) => Presence::Absent,
            Some(false) => Presence::Present,
            None => Presence::Unknown,
        }
    }

    /// The space of a database whose contents have this name below.
    pub(super) fn space_named(&self, name: u32) -> Option<u8> {
        let below = self.below.as_ref()?;
        let mut spaces = (0..super::SPACES as u8).filter(|&space| self.is_live(space));
        spaces.find(|&space| below.name(space) == name)
    }

    /// Adds `n` keys to the counts of a space, wherever they are.
    pub(super) fn count_key(
        &self,
        counters: &super::Counters,
        space: u8,
        expires_at: Option<UnixMs>,
        n: i64,
    ) {
        counters.keys[usize::from(space)].add(n);
        if expires_at.is_some() {
            counters.expiring[usize::from(space)].add(n);
        }
    }
}

/// What is to be kept of an entry, but for the bytes of its value if these are taken in another way; `scratch` is where they
/// go if they are compressed.
fn stored<'a>(entry: EntryRef<'a>, is_apart: bool, scratch: &'a mut Vec<u8>) -> Stored<'a> {
    Stored {
        form: entry.form(),
        bytes: if is_apart { &[] } else { entry.plain(scratch) },
        expires_at: entry.expires_at(),
        pinned: entry.has_pin(),
    }
}

/// What was kept of a value is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokenValue;

impl Entry {
    /// An entry made from what was kept below.
    ///
    /// # Errors
    /// [`BrokenValue`]: these bytes are no value of this form.
    pub fn stored(space: u8, key: &[u8], stored: Stored<'_>) -> Result<Self, BrokenValue> {
        let mut entry = if is_large_form(stored.form) {
            let value_type = ValueType::of_form(stored.form);
            let large = Large::decode(value_type, stored.bytes).map_err(|_| BrokenValue)?;
            Self::large(space, key, large, stored.expires_at)
        } else {
            let old = stored.is_old().then(|| of_both_ways(stored.bytes));
            let now = old.map(|now| now.ok_or(BrokenValue)).transpose()?;
            let mut entry = Self::new(&EntryParts {
                space,
                key,
                value: now.as_deref().unwrap_or(stored.bytes),
                value_type: ValueType::String,
                expires_at: stored.expires_at,
                raw: false,
            });
            entry.view_mut().set_form(stored.form);
            entry
        };
        entry.view_mut().set_pin(stored.pinned);
        Ok(entry)
    }

    /// With what has changed since that was kept.
    ///
    /// # Errors
    /// [`BrokenValue`]: it is no large collection, or these are no changes of it.
    pub fn with_changes(self, changes: &[u8]) -> Result<Self, BrokenValue> {
        self.with_large(|large| large.apply(changes).map_err(|_| BrokenValue))
    }

    /// With a collection that is followed since it was this version.
    ///
    /// # Errors
    /// [`BrokenValue`]: it is no large collection.
    pub fn followed(self, version: u64) -> Result<Self, BrokenValue> {
        self.with_large(|large| {
            large.follow(version);
            Ok(())
        })
    }

    fn with_large(
        mut self,
        change: impl FnOnce(&mut Large) -> Result<(), BrokenValue>,
    ) -> Result<Self, BrokenValue> {
        if !self.view().is_large() {
            return Err(BrokenValue);
        }
        let mut large = self.view_mut().take_large();
        let changed = change(&mut large);
        self.view_mut().put_large(large);
        changed.map(|()| self)
    }

    /// The same for a value of so many bytes that comes part by part; zeroes until then.
    pub fn unfilled(key: &[u8], value_len: usize, head: Stored<'_>) -> Self {
        let mut entry = Self::zeroed(key, value_len, head.form, head.expires_at);
        entry.view_mut().set_pin(head.pinned);
        entry
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::testing::Db;
    use crate::value::listpack::{Listpack, OneWay};

    fn stored(form: u8, bytes: &[u8]) -> Stored<'_> {
        Stored {
            form,
            bytes,
            expires_at: None,
            pinned: false,
        }
    }

    /// After a kill the keys on disk are counted while clients flush: a key was counted in the database that had got the emptied
    /// space meanwhile. DBSIZE was 1 where SCAN found nothing.
    #[test]
    fn a_key_that_is_counted_while_its_database_is_emptied_is_in_no_other() {
        let db = Db::tiered(|_| {});
        let keyspace = &db.engine().keyspace;
        // As it was told by who alone changes it.
        let name = AtomicU32::new(keyspace.space_name(0));
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        keyspace.found_below(name.load(Ordering::Relaxed), None);
                    }
                });
            }
            let mut others = 0;
            for _ in 0..500 {
                keyspace.flush_dbs(0..1, false, ThreadSlot(0), || {});
                name.store(keyspace.space_name(0), Ordering::Relaxed);
                keyspace.flush_dbs(1..2, false, ThreadSlot(0), || {});
                std::thread::yield_now();
                others += keyspace.db_size(1);
            }
            stop.store(true, Ordering::Relaxed);
            assert_eq!(others, 0);
        });
    }

    #[test]
    fn small_collections_of_old_copies_are_read_and_those_of_today_as_they_are() {
        let (mut both, mut one) = (Listpack::empty(), OneWay::empty());
        for text in [&b"field"[..], b"17", b"other", &[b'x'; 200]] {
            Listpack::push(&mut both, text);
            OneWay::push(&mut one, text);
        }
        let deadlines = [7; 16];
        let intset = b"\x02\0\0\0\x02\0\0\0\x01\0\x05\0";
        for (value_type, old, now) in [
            (ValueType::Zset, both.clone(), one.clone()),
            (ValueType::Set, both.clone(), one.clone()),
            (ValueType::Set, intset.to_vec(), intset.to_vec()),
            (ValueType::Hash, both.clone(), one.clone()),
            (
                ValueType::Hash,
                [&both[..], &deadlines].concat(),
                [&one[..], &deadlines].concat(),
            ),
            (ValueType::List, both.clone(), both.clone()),
            (ValueType::String, both.clone(), both.clone()),
        ] {
            let form = value_type as u8;
            let read = Entry::stored(0, b"key", stored(form, &old)).unwrap();
            assert_eq!(
                (read.view().value(), read.view().value_type()),
                (&now[..], value_type)
            );
            let again = Entry::stored(0, b"key", stored(read.view().form(), &now)).unwrap();
            assert_eq!(
                (again.view().value(), again.view().value_type()),
                (&now[..], value_type)
            );
            assert!(!again.view().is_raw());
        }
        for broken in [&both[..both.len() - 1], &one] {
            let read = Entry::stored(0, b"key", stored(ValueType::Hash as u8, broken));
            assert_eq!(read.err(), Some(BrokenValue));
        }
    }
}
