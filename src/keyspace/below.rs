//! What the keyspace must know of the tier below it: which of its entries have a copy there, which
//! must still be written, and how many keys are there alone.
//!
//! It knows no disk and no format. A lower tier is told nothing at the moment of a change; the place
//! of the changed entry goes into a list of the thread, once, and the tier's writer takes the lists,
//! copies what stands at the places ([`Keyspace::pick`]), writes it, and reports that it is safe
//! ([`Keyspace::settle`]).
//!
//! A deleted key leaves an **absent mark** in the table where the lower tier may hold it: an entry
//! without value, which every command sees as no key. It goes when the deletion is written below. A
//! load that finds nothing leaves one too, so that the next request for the key need not ask again.
//!
//! How an entry stands to its copy below is four bits of its access record:
//!
//! ```text
//! QUEUED    its place stands in a list
//! WRITING   it was copied by the writer and is not safe yet; with QUEUED, it has changed since
//! CLEAN     the copy below is this very version
//! UNSURE    a key was written without a look whether it was below
//! ```
//!
//! Invariant: an entry leaves memory for space only when it is CLEAN. So a key that memory does not
//! hold has its newest version below, or is nowhere.
//! Invariant: a change takes CLEAN away and queues what is WRITING, under the shard's lock. WRITING stays,
//! since an older version is on its way: a key that is deleted now must leave a mark.
//! Invariant: a key that stands in memory, an absent mark too, is not counted as below, unless it is
//! UNSURE.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::counters::SPACES;
use super::entry::{Entry, EntryMut, EntryParts, EntryRef};
use super::eviction::AccessPolicy;
use super::table::{Position, Tag};
use super::{KeyHash, Keyspace, SHARDS, ThreadSlot};
use crate::clock::UnixMs;

pub(super) const QUEUED: u8 = 0x10;
pub(super) const WRITING: u8 = 0x20;
pub(super) const CLEAN: u8 = 0x40;
pub(super) const UNSURE: u8 = 0x80;
/// All of the above.
pub(super) const STATE: u8 = 0xf0;

/// The longest key that goes below. Longer ones live in memory only: where it has no room for them, and
/// when the server ends, they are gone.
pub const KEY_BYTES_MAX: usize = 65_000;

/// The lower tier's answer to the one question that requests ask it.
pub trait Filter: Debug + Send + Sync {
    /// Whether a key with this hash may be below. It reads memory only, and errs to the safe side.
    fn may_hold(&self, hash: KeyHash) -> bool;
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
pub(super) struct Below {
    filter: Arc<dyn Filter>,
    /// Whether every change is to be written soon; otherwise what memory has no room for.
    follows_writes: AtomicBool,
    /// Places of changed entries, for each thread.
    changed: Box<[Mutex<Changed>]>,
    /// For each shard, how many entries left it. A load that began before is not to be trusted.
    departures: Box<[AtomicU32]>,
    /// Keys of each space that are below and not in memory.
    cold: Box<[Cold]>,
    /// The name of each space below: one that is never used again.
    names: Box<[AtomicU32]>,
    next_name: AtomicU32,
    /// Bytes that the writer has taken and not made safe yet.
    writing_bytes: AtomicUsize,
}

/// Keys that are below alone.
#[derive(Debug, Default)]
struct Cold {
    keys: AtomicI64,
    /// Those that have an expiry.
    expiring: AtomicI64,
}

#[derive(Debug, Default)]
struct Changed {
    places: Vec<Place>,
    bytes: usize,
}

impl Below {
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
            cold: (0..SPACES).map(|_| Cold::default()).collect(),
            names: (0..SPACES).map(name).collect(),
            next_name: AtomicU32::new(next_name),
            writing_bytes: AtomicUsize::new(0),
        }
    }

    #[inline]
    pub(super) fn may_hold(&self, hash: KeyHash) -> bool {
        self.filter.may_hold(hash)
    }

    /// An entry was written. `fresh`: memory did not hold its key.
    #[inline]
    pub(super) fn wrote(
        &self,
        mut entry: EntryMut<'_>,
        place: Place,
        hash: Option<KeyHash>,
        thread: ThreadSlot,
    ) {
        let mut bits = entry.view().policy_bits() & !CLEAN;
        // What is being written is older by now.
        let mut queue = self.follows_writes.load(Ordering::Relaxed) || bits & WRITING != 0;
        if hash.is_some_and(|fresh| self.may_hold(fresh)) {
            bits |= UNSURE;
            queue = true;
        }
        if queue && bits & QUEUED == 0 {
            bits |= QUEUED;
            self.list(place, entry.view().allocated_bytes(), thread);
        }
        entry.set_policy_bits(bits);
    }

    /// Has an entry written below, whether it changed or not.
    pub(super) fn queue(&self, mut entry: EntryMut<'_>, place: Place, thread: ThreadSlot) {
        let bits = entry.view().policy_bits();
        if bits & QUEUED == 0 {
            entry.set_policy_bits(bits | QUEUED);
            self.list(place, entry.view().allocated_bytes(), thread);
        }
    }

    /// An entry that memory has no room for. One that changes are written of anyway only waits.
    pub(super) fn queue_victim(&self, entry: EntryMut<'_>, place: Place, thread: ThreadSlot) {
        if entry.view().policy_bits() & WRITING == 0 {
            self.queue(entry, place, thread);
        }
    }

    fn list(&self, place: Place, bytes: usize, thread: ThreadSlot) {
        let mut changed = self.changed[thread.0].lock();
        changed.places.push(place);
        changed.bytes += bytes;
    }

    pub(super) fn departed(&self, shard: usize) {
        self.departures[shard].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn departures(&self, shard: usize) -> u32 {
        self.departures[shard].load(Ordering::Relaxed)
    }

    pub(super) fn count_cold(&self, space: u8, expires: bool, n: i64) {
        let cold = &self.cold[usize::from(space)];
        cold.keys.fetch_add(n, Ordering::Relaxed);
        if expires {
            cold.expiring.fetch_add(n, Ordering::Relaxed);
        }
    }

    pub(super) fn cold(&self, space: u8) -> usize {
        let keys = self.cold[usize::from(space)].keys.load(Ordering::Relaxed);
        usize::try_from(keys).unwrap_or(0)
    }

    pub(super) fn cold_expiring(&self, space: u8) -> usize {
        let keys = &self.cold[usize::from(space)].expiring;
        usize::try_from(keys.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// A space begins anew: nothing that is below belongs to it.
    pub(super) fn begin_space(&self, space: u8) {
        let name = self.next_name.fetch_add(1, Ordering::Relaxed);
        self.names[usize::from(space)].store(name, Ordering::Release);
        let cold = &self.cold[usize::from(space)];
        cold.keys.store(0, Ordering::Relaxed);
        cold.expiring.store(0, Ordering::Relaxed);
    }

    pub(super) fn name(&self, space: u8) -> u32 {
        self.names[usize::from(space)].load(Ordering::Acquire)
    }

    /// Whether a key that goes must leave an absent mark. One whose time came must too, though a copy
    /// below says the same: what is below and not marked counts as a key.
    pub(super) fn must_mark(&self, entry: EntryRef<'_>, hash: KeyHash) -> bool {
        entry.policy_bits() & (CLEAN | WRITING | UNSURE) != 0 || self.may_hold(hash)
    }
}

/// An entry as the writer takes it.
#[derive(Clone, Copy, Debug)]
pub struct Picked<'a> {
    /// Its place in the order of keys below.
    pub place: Place,
    /// Its key's hash.
    pub hash: KeyHash,
    /// The name below of the space that it belongs to.
    pub name: u32,
    /// The key.
    pub key: &'a [u8],
    /// The value and its form; `None` for an absent mark.
    pub value: Option<Stored<'a>>,
    /// Whether an older version may be counted as below.
    pub unsure: bool,
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
}

/// What a load found.
#[derive(Clone, Copy, Debug)]
pub enum Loaded<'a> {
    /// Nothing, or that the key was deleted.
    Nothing,
    /// A version whose time has come.
    Expired,
    /// The newest version.
    Value(Stored<'a>),
}

/// A question over all keys of a database, whose answer takes reads of the lower tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// That all changes so far be safe.
    Sync,
    /// A key, to be fetched into memory: for a command whose row does not declare it.
    Key {
        /// The database.
        db: usize,
        /// The key.
        key: Box<[u8]>,
        /// The time, by which it has expired.
        now: UnixMs,
    },
    /// All keys of so many databases with their values.
    Everything {
        /// The number of databases.
        databases: usize,
        /// The time, by which keys have expired.
        now: UnixMs,
    },
    /// Keys from a cursor on, about so many, without their values.
    Keys {
        /// The database.
        db: usize,
        /// Where to begin: a place.
        cursor: u64,
        /// How many.
        count: usize,
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

/// The answer to [`Ask`].
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Where the next page begins; 0 after the last.
    pub next: u64,
    /// The keys.
    pub keys: Vec<Listed>,
    /// Whether some could not be read.
    pub failed: bool,
}

/// A key of a page.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The database.
    pub db: usize,
    /// The key.
    pub key: Box<[u8]>,
    /// The type and flags of its value: [`EntryRef::form`].
    pub form: u8,
    /// The value, where it was asked for.
    pub value: Box<[u8]>,
    /// When the key expires.
    pub expires_at: Option<UnixMs>,
}

impl Listed {
    /// A key with what is stored at it.
    pub fn new(db: usize, key: &[u8], stored: Stored<'_>, with_value: bool) -> Self {
        Self {
            db,
            key: key.into(),
            form: stored.form,
            value: if with_value {
                stored.bytes.into()
            } else {
                Box::default()
            },
            expires_at: stored.expires_at,
        }
    }

    /// The key as an entry, which commands know how to look at.
    pub fn to_entry(&self) -> Entry {
        let stored = Stored {
            form: self.form,
            bytes: &self.value,
            expires_at: self.expires_at,
        };
        Entry::stored(0, &self.key, stored)
    }
}

/// What memory knows of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It holds it.
    Held,
    /// It was deleted, or is known not to be.
    Absent,
    /// Nothing.
    Unknown,
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
        let next = |below: &Below| below.next_name.load(Ordering::Relaxed);
        let names = (0..super::DATABASES)
            .map(|db| self.space_name(db))
            .collect();
        (names, self.below.as_ref().map_or(0, next))
    }

    /// Counts keys of a database that are below alone.
    pub fn count_below(&self, db: usize, expires: bool, keys: i64) {
        if let Some(below) = &self.below {
            below.count_cold(self.space_of(db), expires, keys);
        }
    }

    /// Bytes of entries that have changed and are not safe below, about.
    pub fn unwritten_bytes(&self) -> usize {
        let writing = |below: &Below| below.writing_bytes.load(Ordering::Relaxed);
        self.queued_bytes() + self.below.as_ref().map_or(0, writing)
    }

    /// The same by the name of the database's contents.
    pub fn count_below_named(&self, name: u32, expires: bool, keys: i64) {
        if let (Some(below), Some(space)) = (&self.below, self.space_named(name)) {
            below.count_cold(space, expires, keys);
        }
    }

    /// Takes the lists of changed entries: their places in ascending order, each once.
    pub fn take_changed(&self) -> Vec<Place> {
        let mut places = Vec::new();
        let Some(below) = &self.below else {
            return places;
        };
        let mut bytes = 0;
        for changed in &below.changed {
            let taken = std::mem::take(&mut *changed.lock());
            places.extend(taken.places);
            bytes += taken.bytes;
        }
        below.writing_bytes.store(bytes, Ordering::Relaxed);
        places.sort_unstable();
        places.dedup();
        places
    }

    /// Shows the writer the entries at some places of one shard, and takes them for being written.
    pub fn pick(&self, places: &[Place], thread: ThreadSlot, mut show: impl FnMut(Picked<'_>)) {
        let (Some(below), Some(first)) = (&self.below, places.first()) else {
            return;
        };
        let mut locked = self.lock_shard(first.shard(), thread);
        for &place in places {
            debug_assert_eq!(place.shard(), first.shard());
            for at in locked.table.positions_of(place.tag()) {
                let entry = locked.table.get(at);
                let bits = entry.policy_bits();
                if bits & QUEUED == 0 {
                    continue;
                }
                if self.is_live(entry.space()) {
                    show(Picked {
                        place,
                        hash: self.hash(entry.key()),
                        name: below.name(entry.space()),
                        key: entry.key(),
                        value: (!entry.is_absent()).then(|| stored(entry)),
                        unsure: bits & UNSURE != 0,
                    });
                }
                let taken = bits & !(QUEUED | UNSURE) | WRITING;
                locked.table.get_mut(at).set_policy_bits(taken);
            }
        }
    }

    /// Before the last run: lists whatever is not safe below, which without [`Self::follow_writes`] is in
    /// no list as long as memory has room, and takes out what cannot go below.
    pub fn prepare_end(&self, thread: ThreadSlot) {
        let Some(below) = &self.below else { return };
        for shard in 0..SHARDS {
            let mut locked = self.lock_shard(shard, thread);
            for bucket in 0..locked.table.bucket_count() {
                for at in locked.table.positions(bucket) {
                    let entry = locked.table.get(at);
                    if !self.is_live(entry.space()) {
                        continue;
                    }
                    if entry.key().len() > KEY_BYTES_MAX {
                        let entry = locked.table.remove(at);
                        self.count_removed(locked.counters, shard, entry.view());
                    } else if entry.policy_bits() & CLEAN == 0 {
                        let place = Place::new(shard, locked.table.tag(at));
                        below.queue(locked.table.get_mut(at), place, thread);
                    }
                }
            }
        }
    }

    /// The entries at these places are safe below, as far as they have not changed since.
    pub fn settle(&self, places: &[Place], thread: ThreadSlot) {
        self.each_with(WRITING, places, thread, |locked, at| {
            let bits = locked.table.get(at).policy_bits() & !WRITING;
            if locked.table.get(at).is_absent() && bits & QUEUED == 0 {
                self.forget_at(locked, at);
            } else {
                let clean = if bits & QUEUED == 0 { CLEAN } else { 0 };
                locked.table.get_mut(at).set_policy_bits(bits | clean);
            }
        });
    }

    /// The entries at these places could not be written, or not even picked; they wait again.
    pub fn unsettle(&self, places: &[Place], thread: ThreadSlot) {
        self.each_with(WRITING | QUEUED, places, thread, |locked, at| {
            let place = Place::new(locked.shard, locked.table.tag(at));
            let mut entry = locked.table.get_mut(at);
            let bits = entry.view().policy_bits() & !(WRITING | QUEUED);
            entry.set_policy_bits(bits);
            if let Some(below) = &self.below {
                below.queue(entry, place, thread);
            }
        });
    }

    fn each_with(
        &self,
        state: u8,
        places: &[Place],
        thread: ThreadSlot,
        mut then: impl FnMut(&mut super::Locked<'_>, Position),
    ) {
        if let Some(below) = &self.below {
            below.writing_bytes.store(0, Ordering::Relaxed);
        }
        for group in places.chunk_by(|a, b| a.shard() == b.shard()) {
            let mut locked = self.lock_shard(group[0].shard(), thread);
            for place in group {
                for at in locked.table.positions_of(place.tag()) {
                    if locked.table.get(at).policy_bits() & state != 0 {
                        then(&mut locked, at);
                    }
                }
            }
            locked.table.shrink_if_sparse();
        }
    }

    /// Takes out an entry that is not counted as a key: an absent mark.
    pub(super) fn forget_at(&self, locked: &mut super::Locked<'_>, at: Position) {
        drop(locked.table.remove(at));
        self.group_entries[super::group_of_shard(locked.shard)].fetch_sub(1, Ordering::Relaxed);
        if let Some(below) = &self.below {
            below.departed(locked.shard);
        }
    }

    /// Begins a load of a key that memory does not hold. `None`: it does by now.
    pub fn begin_load(
        &self,
        hash: KeyHash,
        name: u32,
        key: &[u8],
        thread: ThreadSlot,
    ) -> Option<LoadStamp> {
        let below = self.below.as_ref()?;
        let locked = self.lock_shard(hash.shard(), thread);
        let space = self.space_named(name)?;
        let held = locked.table.find(hash.tag(), space, key).is_some();
        (!held).then(|| LoadStamp(below.departures(hash.shard())))
    }

    /// Puts in what a load found. False where the key may have changed since the load began, so that
    /// it must be done again.
    pub fn finish_load(
        &self,
        (hash, name, key): (KeyHash, u32, &[u8]),
        stamp: LoadStamp,
        loaded: Loaded<'_>,
        access: &AccessPolicy,
        thread: ThreadSlot,
    ) -> bool {
        let Some(below) = &self.below else {
            return true;
        };
        let mut locked = self.lock_shard(hash.shard(), thread);
        let Some(space) = self.space_named(name) else {
            // The database was emptied meanwhile.
            return true;
        };
        if locked.table.find(hash.tag(), space, key).is_some() {
            // Whoever put it there knows better.
            return true;
        }
        if below.departures(hash.shard()) != stamp.0 {
            return false;
        }
        let entry = match loaded {
            Loaded::Value(stored) => Entry::stored(space, key, stored),
            Loaded::Nothing | Loaded::Expired => Entry::absent(space, key),
        };
        let counters = self.counters(thread);
        let expires_at = entry.view().expires_at();
        let at = locked.table.insert(hash.tag(), entry);
        self.group_entries[super::group_of_shard(locked.shard)].fetch_add(1, Ordering::Relaxed);
        let admitted = self.admit(hash, access);
        access.first(locked.table.get_mut(at), admitted, CLEAN);
        let mut entry = locked.table.get_mut(at);
        match loaded {
            Loaded::Nothing => {}
            Loaded::Expired => {
                // It was counted as below, and must not be found there again.
                below.count_cold(space, true, -1);
                let bits = entry.view().policy_bits() & !CLEAN;
                entry.set_policy_bits(bits);
                below.queue(entry, Place::new(hash.shard(), hash.tag()), thread);
            }
            Loaded::Value(_) => {
                counters.promoted.add(1);
                below.count_cold(space, expires_at.is_some(), -1);
                self.count_key(counters, space, expires_at, 1);
            }
        }
        true
    }

    /// The copy below of a key is about to go, and was its newest version. Where memory holds the key it
    /// is written again; where not, it is gone. True where it is gone.
    pub fn lose_copy(&self, hash: KeyHash, name: u32, key: &[u8], thread: ThreadSlot) -> bool {
        let Some(below) = &self.below else {
            return false;
        };
        let mut locked = self.lock_shard(hash.shard(), thread);
        let Some(space) = self.space_named(name) else {
            return false;
        };
        let Some(at) = locked.table.find(hash.tag(), space, key) else {
            return true;
        };
        let mut entry = locked.table.get_mut(at);
        let bits = entry.view().policy_bits();
        if bits & CLEAN != 0 && !entry.view().is_absent() {
            entry.set_policy_bits(bits & !CLEAN);
            below.queue(entry, Place::of(hash), thread);
        }
        false
    }

    /// What memory knows of a key.
    pub fn presence(&self, hash: KeyHash, db: usize, key: &[u8], thread: ThreadSlot) -> Presence {
        let locked = self.lock_shard(hash.shard(), thread);
        let found = locked.table.find(hash.tag(), self.space_of(db), key);
        match found.map(|at| locked.table.get(at).is_absent()) {
            Some(true) => Presence::Absent,
            Some(false) => Presence::Held,
            None => Presence::Unknown,
        }
    }

    fn space_named(&self, name: u32) -> Option<u8> {
        let below = self.below.as_ref()?;
        let mut spaces = self
            .spaces
            .iter()
            .map(|space| space.load(Ordering::Acquire));
        spaces.find(|&space| below.name(space) == name)
    }

    /// Adds `n` keys to the counts of a space.
    pub(super) fn count_key(
        &self,
        counters: &super::Counters,
        space: u8,
        expires_at: Option<UnixMs>,
        n: i64,
    ) {
        counters.entries.add(n);
        counters.keys[usize::from(space)].add(n);
        if expires_at.is_some() {
            counters.expiring[usize::from(space)].add(n);
        }
    }
}

/// What is to be kept of an entry.
pub fn stored(entry: EntryRef<'_>) -> Stored<'_> {
    Stored {
        form: entry.form(),
        bytes: entry.value(),
        expires_at: entry.expires_at(),
    }
}

impl Entry {
    /// An entry made from what was kept below.
    fn stored(space: u8, key: &[u8], stored: Stored<'_>) -> Self {
        let mut entry = Self::new(&EntryParts {
            space,
            key,
            value: stored.bytes,
            expires_at: stored.expires_at,
            raw: false,
        });
        entry.view_mut().set_form(stored.form);
        entry
    }
}
