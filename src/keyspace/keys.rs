//! What a command sees of the keyspace: the keys that its row declared, locked, at one moment.
//!
//! It finds keys, drops those whose time has come before anybody sees them, and records accesses. A
//! change of a key goes through the keyspace's one door, [`super::door`].
//!
//! Invariant: a command reaches only the keys of its footprint. Asking for another one is a mistake in its row: it finds
//! nothing there and changes nothing, and its client gets an error ([`Keys::check`]).

mod encoding;
mod tiers;
mod unit;

use std::cell::Cell;

use super::compression;
use super::counters::Counters;
use super::door::{Cause, EventName};
use super::entry::{Entry, EntryParts, EntryRef, ValueType};
use super::eviction::{AccessPolicy, LastAccess};
use super::table::{Position, Table, Tag};
use super::{KeyHash, Keyspace, LockedShards, Terms, ThreadSlot};
use crate::clock::UnixMs;
use crate::error::CommandError;
use crate::random::Random;
use crate::value::collection::{Collection, Content};
use crate::value::hash::HashRef;
use crate::value::large::LargeRef;
use crate::value::list::ListRef;
use crate::value::listpack::{Listpack, OneWay};
use crate::value::set::SetRef;
use crate::value::shared::SharedBytes;
use crate::value::stream::Stream;
use crate::value::zset::ZsetRef;

pub use self::tiers::Pinned;

/// The longest value that an entry holds, in bytes: its length has 32 bits.
pub const VALUE_BYTES_MAX: u64 = u32::MAX as u64;

/// What becomes of a key's expiry when its value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// As it was.
    Keep,
    /// The key expires never, or at a time.
    Set(Option<UnixMs>),
}

/// How much a change has changed, as the number of changes since the last save counts it: whether anything, or how many
/// elements.
pub trait Amount: Copy {
    /// It as a number.
    fn amount(self) -> usize;
}

impl Amount for bool {
    fn amount(self) -> usize {
        usize::from(self)
    }
}

impl Amount for usize {
    fn amount(self) -> usize {
        self
    }
}

/// What RENAME and COPY found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renamed {
    /// Done.
    Done,
    /// The source does not exist.
    NoSource,
    /// The destination exists and was to be left alone.
    Occupied,
}

/// A string as a reply has it.
#[derive(Debug)]
pub enum StringToSend<'a> {
    /// To be copied.
    Short(&'a [u8]),
    /// Not to be copied.
    Shared(SharedBytes),
}

/// A larger buffer is given back.
const SCRATCH_BYTES_MAX: usize = 64 * 1024;

thread_local! {
    /// Where the packed collections are changed that this thread works on.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The event of a key that a command deletes.
pub(super) const DEL: EventName = &"del";

/// Locked keys.
pub struct Keys<'a> {
    keyspace: &'a Keyspace,
    locked: LockedShards<'a>,
    /// The key and its hash, where the command has just one.
    only: Option<(&'a [u8], KeyHash)>,
    /// Whether it asked for another one.
    has_strayed: Cell<bool>,
    counters: &'a Counters,
    terms: &'a Terms,
    event: EventName,
    random: Random,
    db: usize,
    space: u8,
}

impl std::fmt::Debug for Keys<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys")
            .field("db", &self.db)
            .field("shards", &self.locked.len())
            .finish_non_exhaustive()
    }
}

const STRAYED: CommandError =
    CommandError::text("ERR the command uses a key that is not declared as its own");

/// A found key: which lock, and where in its table.
#[derive(Clone, Copy)]
struct Found {
    lock: usize,
    at: Position,
}

impl<'a> Keys<'a> {
    #[inline]
    pub(super) fn new(
        keyspace: &'a Keyspace,
        locked: LockedShards<'a>,
        only: Option<(&'a [u8], KeyHash)>,
        db: usize,
        terms: &'a Terms,
    ) -> Self {
        Self {
            keyspace,
            locked,
            only,
            has_strayed: Cell::new(false),
            counters: keyspace.counters(terms.thread),
            terms,
            event: terms.event,
            random: Random(terms.random),
            db,
            space: keyspace.space_of(db),
        }
    }

    /// The keyspace, for commands over all keys (KEYS, SCAN, DBSIZE, FLUSHALL).
    pub fn keyspace(&self) -> &'a Keyspace {
        self.keyspace
    }

    /// The thread that this runs on.
    pub fn thread(&self) -> ThreadSlot {
        self.terms.thread
    }

    /// The database that keys are looked up in.
    pub fn db(&self) -> usize {
        self.db
    }

    /// Whether there are keys of a database in the footprint: those of another one are asked for besides.
    fn may_use(&self, db: usize) -> bool {
        let has_several = matches!(self.locked, LockedShards::Several(..));
        let may = db == self.db || has_several;
        self.has_strayed.set(self.has_strayed.get() || !may);
        may
    }

    /// Looks keys up in another database from now on. A key has the same shard in each.
    pub fn use_db(&mut self, db: usize) {
        self.db = db;
        self.space = self.keyspace.space_of(db);
    }

    /// Fails where the command asked for a key outside its footprint.
    #[inline]
    pub fn check(&self) -> Result<(), CommandError> {
        match self.has_strayed.get() {
            true => Err(STRAYED),
            false => Ok(()),
        }
    }

    /// Where a key stands. `None`: it is outside the footprint.
    #[inline]
    fn locate(&self, key: &[u8]) -> Option<(usize, Tag, KeyHash)> {
        match self.only {
            // Mostly it is the very same piece of the request.
            Some((only, hash)) if std::ptr::eq(only, key) || only == key => {
                Some((0, hash.tag(), hash))
            }
            _ => self.locate_among(key),
        }
    }

    fn locate_among(&self, key: &[u8]) -> Option<(usize, Tag, KeyHash)> {
        let hash = self.keyspace.hash(key);
        let lock = self.locked.lock_of(hash.shard());
        let is_used = match &self.locked {
            LockedShards::None | LockedShards::One(_) => false,
            LockedShards::Several(_, uses) => {
                let is_used = uses.has(hash, self.db);
                if let Some(ahead) = uses.ahead() {
                    self.keyspace.prefetch_bucket(ahead);
                }
                is_used
            }
        };
        match lock {
            Some(lock) if is_used => Some((lock, hash.tag(), hash)),
            _ => {
                self.has_strayed.set(true);
                None
            }
        }
    }

    fn table(&self, found: Found) -> &Table {
        &self.locked[found.lock].table
    }

    /// Finds a living key; one whose time has come is dropped here and now.
    #[inline]
    fn find(&mut self, key: &[u8]) -> Option<Found> {
        self.look_up(key, false)
    }

    /// The same for its value. One that is compressed is restored, and stays so until it has cooled down again: the one
    /// place where that happens, so that no command sees anything of it.
    #[inline]
    fn find_value(&mut self, key: &[u8]) -> Option<Found> {
        self.look_up(key, true)
    }

    /// Each of the two above has a copy, so that neither pays for the other.
    #[inline(always)]
    fn look_up(&mut self, key: &[u8], for_value: bool) -> Option<Found> {
        let (lock, tag, _) = self.locate(key)?;
        let table = &self.locked[lock].table;
        let at = table.find(tag, self.space, key)?;
        let entry = table.get(at);
        if entry.is_tombstone() {
            return None;
        }
        if entry.expires_at().is_some_and(|at| at <= self.terms.now) {
            self.take(Found { lock, at }, Cause::Expired);
            return None;
        }
        if for_value && entry.is_compressed() {
            compression::restore_at(&mut self.locked[lock], at);
        } else if entry.fields_due_at().is_some_and(|at| at <= self.terms.now) {
            return self.without_due_fields(Found { lock, at });
        }
        Some(Found { lock, at })
    }

    /// Takes out the fields of a hash whose time has come, before anybody sees them.
    #[cold]
    #[inline(never)]
    fn without_due_fields(&mut self, found: Found) -> Option<Found> {
        let locked = &mut self.locked[found.lock];
        let len = locked.table.len();
        let (now, all) = (self.terms.now, usize::MAX);
        self.keyspace.drop_due_fields(locked, found.at, now, all);
        let is_gone = locked.table.len() < len || locked.table.get(found.at).is_tombstone();
        (!is_gone).then_some(found)
    }

    #[inline]
    fn touch(&mut self, found: Found) {
        let entry = self.locked[found.lock].table.get_mut(found.at);
        self.terms.access.record(entry, &mut self.random);
    }

    #[inline]
    fn note_change(&mut self, found: Found) {
        let entry = self.locked[found.lock].table.get_mut(found.at);
        self.terms.access.record_change(entry);
    }

    /// Finds a key without counting it as an access: for TTL, OBJECT, EXISTS and the like. Its value may be compressed, and
    /// stays so.
    pub fn peek(&mut self, key: &[u8]) -> Option<EntryRef<'_>> {
        let found = self.find(key)?;
        Some(self.table(found).get(found.at))
    }

    /// Finds a key for reading, as an access of it, counted as a hit or a miss.
    #[inline]
    pub fn read(&mut self, key: &[u8]) -> Option<EntryRef<'_>> {
        let Some(found) = self.find_value(key) else {
            self.counters.misses.add(1);
            return None;
        };
        self.counters.memory_hits.add(1);
        self.touch(found);
        Some(self.table(found).get(found.at))
    }

    /// Finds a key without touching it, counted as a hit or a miss: for EXISTS and TYPE. Its value may be compressed, and
    /// stays so.
    pub fn probe(&mut self, key: &[u8]) -> Option<EntryRef<'_>> {
        let Some(found) = self.find(key) else {
            self.counters.misses.add(1);
            return None;
        };
        self.counters.memory_hits.add(1);
        Some(self.table(found).get(found.at))
    }

    /// The string at a living key as it is, neither an access nor counted: for commands that look at
    /// several values at once, after they have read each.
    pub fn view_string(&self, key: &[u8]) -> Option<&[u8]> {
        self.view_value(key).map(EntryRef::value)
    }

    fn view_value(&self, key: &[u8]) -> Option<EntryRef<'_>> {
        let (lock, tag, _) = self.locate(key)?;
        let table = &self.locked[lock].table;
        let entry = table.get(table.find(tag, self.space, key)?);
        let lives =
            !entry.is_tombstone() && entry.expires_at().is_none_or(|at| at > self.terms.now);
        lives.then_some(entry)
    }

    /// How accesses are recorded, which tells what the access record of an entry means.
    pub fn access_policy(&self) -> AccessPolicy {
        self.terms.access
    }

    /// The string at a key, for reading.
    #[inline]
    pub fn string(&mut self, key: &[u8]) -> Result<Option<&[u8]>, CommandError> {
        match self.read(key) {
            None => Ok(None),
            Some(entry) => as_string(entry).map(Some),
        }
    }

    /// The same for a reply, which need not copy a long one.
    #[inline]
    pub fn string_to_send(&mut self, key: &[u8]) -> Result<Option<StringToSend<'_>>, CommandError> {
        let Some(entry) = self.read(key) else {
            return Ok(None);
        };
        let value = as_string(entry)?;
        Ok(Some(match entry.shared() {
            Some(value) => StringToSend::Shared(value),
            None => StringToSend::Short(value),
        }))
    }

    /// The string at a key which is about to be written: an access, but neither hit nor miss.
    pub fn string_for_write(&mut self, key: &[u8]) -> Result<Option<&[u8]>, CommandError> {
        let Some(found) = self.find_value(key) else {
            return Ok(None);
        };
        self.touch(found);
        as_string(self.table(found).get(found.at)).map(Some)
    }

    /// The string at a key, neither an access nor counted: for a command that goes on to write it,
    /// which is the access.
    pub fn peek_string(&mut self, key: &[u8]) -> Result<Option<&[u8]>, CommandError> {
        let found = self.find_value(key);
        found
            .map(|found| as_string(self.table(found).get(found.at)))
            .transpose()
    }

    /// Writes what `update` makes of the string at a key (`None`: there is none), with one lookup
    /// where it exists. The expiry stays. Where `update` refuses, nothing changes.
    #[inline]
    pub fn update_string<T: AsRef<[u8]>>(
        &mut self,
        key: &[u8],
        update: impl FnOnce(Option<&[u8]>) -> Result<T, CommandError>,
    ) -> Result<(), CommandError> {
        let Some(found) = self.find_value(key) else {
            let value = update(None)?;
            self.set(key, value.as_ref(), Expiry::Set(None));
            return Ok(());
        };
        self.touch(found);
        let entry = self.table(found).get(found.at);
        let expires_at = entry.expires_at();
        let value = update(Some(as_string(entry)?))?;
        let parts = EntryParts {
            space: self.space,
            key,
            value: value.as_ref(),
            value_type: ValueType::String,
            expires_at,
            raw: false,
        };
        let locked = &mut self.locked[found.lock];
        self.keyspace
            .overwrite(locked, found.at, (&parts, expires_at), None, self.event);
        self.note_change(found);
        Ok(())
    }

    /// The hash at a key, for reading.
    pub fn hash(&mut self, key: &[u8]) -> Result<Option<HashRef<'_>>, CommandError> {
        self.read(key).map(as_hash).transpose()
    }

    /// The list at a key, for reading.
    pub fn list(&mut self, key: &[u8]) -> Result<Option<ListRef<'_>>, CommandError> {
        self.read(key).map(as_list).transpose()
    }

    /// The set at a key, for reading.
    pub fn set_members(&mut self, key: &[u8]) -> Result<Option<SetRef<'_>>, CommandError> {
        self.read(key).map(as_set).transpose()
    }

    /// The set at a living key as it is, neither an access nor counted: for commands that look at several sets at once, after
    /// they have read each.
    pub fn view_set(&self, key: &[u8]) -> Option<SetRef<'_>> {
        as_set(self.view_value(key)?).ok()
    }

    /// The sorted set at a key, for reading.
    pub fn zset(&mut self, key: &[u8]) -> Result<Option<ZsetRef<'_>>, CommandError> {
        self.read(key).map(as_zset).transpose()
    }

    /// The sorted set at a living key as it is, like [`Keys::view_set`].
    pub fn view_zset(&self, key: &[u8]) -> Option<ZsetRef<'_>> {
        as_zset(self.view_value(key)?).ok()
    }

    /// The stream at a key, for reading.
    pub fn stream(&mut self, key: &[u8]) -> Result<Option<&Stream>, CommandError> {
        let stream = |entry: EntryRef<'_>| entry.value_type() == ValueType::Stream;
        match self.read(key) {
            None => Ok(None),
            Some(entry) if stream(entry) => Ok(entry.stream()),
            Some(_) => Err(CommandError::WrongType),
        }
    }

    /// Reads a set or a sorted set, to be viewed later.
    pub fn set_or_zset(&mut self, key: &[u8]) -> Result<(), CommandError> {
        match self.read(key).map(EntryRef::value_type) {
            None | Some(ValueType::Set | ValueType::Zset) => Ok(()),
            Some(_) => Err(CommandError::WrongType),
        }
    }

    /// Puts a collection in the place of whatever was at a key. An empty one leaves no key.
    pub fn replace<C: Collection>(&mut self, key: &[u8], value_type: ValueType, with: C) {
        let was_there = self.remove(key);
        if !with.is_empty() {
            self.count_further(-i64::from(was_there));
            self.add_collection(key, value_type, with.into_content());
        }
    }

    /// Makes a key of a collection. The key must not exist.
    pub fn add_value(
        &mut self,
        key: &[u8],
        value_type: ValueType,
        content: Content,
        expires_at: Option<UnixMs>,
    ) {
        self.add_collection(key, value_type, content);
        if expires_at.is_some() {
            self.set_expiry(key, expires_at);
        }
    }

    /// Has a key look as if it had been accessed before.
    pub fn set_last_access(&mut self, key: &[u8], last: LastAccess) {
        if let Some(found) = self.find(key) {
            let table = &mut self.locked[found.lock].table;
            self.terms.access.set_last(table.get_mut(found.at), last);
        }
    }

    /// Has a collection changed. `change` gives its result and how much it changed; where it refuses it has not. A
    /// missing key is as good as an empty collection if it is to be made; else nothing is done, and `None` is given. A
    /// collection that is empty in the end goes with its key.
    pub fn change<C: Collection, R, A: Amount>(
        &mut self,
        key: &[u8],
        value_type: ValueType,
        make: bool,
        change: impl FnOnce(&mut C) -> Result<(R, A), CommandError>,
    ) -> Result<Option<R>, CommandError> {
        let Some(found) = self.find_value(key) else {
            if !make {
                return Ok(None);
            }
            let mut collection = C::empty(SCRATCH.take());
            let (result, changed) = change(&mut collection)?;
            let is_kept = changed.amount() > 0 && !collection.is_empty();
            let content = collection.into_content();
            if is_kept {
                self.count_further(changed.amount() as i64 - 1);
                self.add_collection(key, value_type, content);
            } else if let Content::Packed(bytes) = content {
                keep_buffer(bytes);
            }
            return Ok(Some(result));
        };
        let entry = self.table(found).get(found.at);
        if entry.value_type() != value_type {
            return Err(CommandError::WrongType);
        }
        let was_large = entry.is_large();
        self.touch(found);
        let locked = &mut self.locked[found.lock];
        let content = self.keyspace.lend(locked, found.at, || SCRATCH.take());
        let mut collection = C::of(content).ok_or(CommandError::WrongType)?;
        let changed = change(&mut collection);
        let amount = changed.as_ref().map_or(0, |(_, changed)| changed.amount());
        let is_changed = amount > 0;
        let goes = is_changed && collection.is_empty();
        let content = collection.into_content();
        if was_large || (is_changed && !goes) {
            let locked = &mut self.locked[found.lock];
            let buffer = self.keyspace.put_back(locked, found.at, content, was_large);
            buffer.into_iter().for_each(keep_buffer);
        } else if let Content::Packed(bytes) = content {
            keep_buffer(bytes);
        }
        if is_changed {
            self.count_further(amount as i64 - 1);
        }
        if goes {
            self.take(found, Cause::Client(DEL));
        } else if is_changed {
            self.wrote(found);
        }
        changed.map(|(result, _)| Some(result))
    }

    fn add_collection(&mut self, key: &[u8], value_type: ValueType, content: Content) {
        let Some((lock, tag, hash)) = self.locate(key) else {
            return;
        };
        let (space, expires_at) = (self.space, self.default_expiry());
        match content {
            Content::Packed(bytes) => {
                let parts = EntryParts {
                    space,
                    key,
                    value: &bytes,
                    value_type,
                    expires_at,
                    raw: false,
                };
                self.add(lock, tag, hash, Entry::new(&parts));
                keep_buffer(bytes);
            }
            Content::Large(large) => {
                self.add(lock, tag, hash, Entry::large(space, key, large, expires_at));
            }
        }
    }

    /// Whether a key exists; neither an access nor counted.
    pub fn exists(&mut self, key: &[u8]) -> bool {
        self.find(key).is_some()
    }

    /// Writes a string, whatever was there.
    #[inline]
    pub fn set(&mut self, key: &[u8], value: &[u8], expiry: Expiry) {
        self.write(key, value, None, expiry, false);
    }

    /// The same of a long one that is not copied.
    pub fn set_shared(&mut self, key: &[u8], value: &SharedBytes, expiry: Expiry) {
        self.write(key, value, Some(value), expiry, false);
    }

    /// Writes a string that OBJECT ENCODING shall call `raw`: the result of APPEND and the like.
    pub fn set_raw(&mut self, key: &[u8], value: &[u8], expiry: Expiry) {
        self.write(key, value, None, expiry, true);
    }

    fn write(
        &mut self,
        key: &[u8],
        value: &[u8],
        shared: Option<&SharedBytes>,
        expiry: Expiry,
        raw: bool,
    ) {
        let Some((lock, tag, hash)) = self.locate(key) else {
            return;
        };
        let space = self.space;
        let table = &self.locked[lock].table;
        let old = table.find(tag, space, key);
        let (marked, live): (Option<Position>, Option<Position>) = match old {
            Some(at) if table.get(at).is_tombstone() => (old, None),
            _ => (None, old),
        };
        let live_entry = live.map(|at| table.get(at));
        let old_expiry = live_entry.and_then(EntryRef::expires_at);
        let expires_at = match expiry {
            // An expired key that was not seen yet does not hand its expiry on.
            Expiry::Keep if live.is_some() => old_expiry.filter(|at| *at > self.terms.now),
            Expiry::Set(Some(expires_at)) => Some(expires_at),
            Expiry::Keep | Expiry::Set(None) => self.default_expiry(),
        };
        let parts = EntryParts {
            space,
            key,
            value,
            value_type: ValueType::String,
            expires_at,
            raw,
        };
        if let Some(at) = live {
            let locked = &mut self.locked[lock];
            if old_expiry.is_some_and(|at| at <= self.terms.now) {
                self.keyspace.end_expired(locked, at);
            }
            let written = (&parts, old_expiry);
            self.keyspace
                .overwrite(locked, at, written, shared, self.event);
            let access = &self.terms.access;
            access.record(locked.table.get_mut(at), &mut self.random);
            access.record_change(locked.table.get_mut(at));
        } else {
            let entry = match shared {
                Some(value) => Entry::shared(&parts, value.clone()),
                None => Entry::new(&parts),
            };
            self.put(lock, hash, marked, entry);
        }
    }

    /// The expiry that `default-ttl` gives to a key which is written without one.
    fn default_expiry(&self) -> Option<UnixMs> {
        (self.terms.default_ttl_ms > 0)
            .then(|| UnixMs(self.terms.now.0 + self.terms.default_ttl_ms))
    }

    /// Puts in an entry whose key does not exist, in the place of its tombstone if it has one.
    fn add(&mut self, lock: usize, tag: Tag, hash: KeyHash, entry: Entry) -> Found {
        let marked = if self.keyspace.has_below() {
            let (space, key) = (entry.view().space(), entry.view().key());
            self.locked[lock].table.find(tag, space, key)
        } else {
            None
        };
        self.put(lock, hash, marked, entry)
    }

    fn put(&mut self, lock: usize, hash: KeyHash, marked: Option<Position>, entry: Entry) -> Found {
        let locked = &mut self.locked[lock];
        let place = (hash, marked);
        let at = self
            .keyspace
            .add(locked, place, entry, &self.terms.access, self.event);
        Found { lock, at }
    }

    /// Takes a key away, and counts that.
    fn take(&mut self, found: Found, cause: Cause) {
        let locked = &mut self.locked[found.lock];
        self.keyspace.take_out(locked, found.at, cause);
    }

    /// The changes of this command count so many more, or fewer, than it wrote keys.
    #[inline]
    pub fn count_further(&self, changes: i64) {
        if changes != 0 {
            self.counters.further_changes.add(changes);
        }
    }

    /// Says that a key was changed.
    #[inline]
    fn wrote(&mut self, found: Found) {
        let (locked, cause) = (&mut self.locked[found.lock], Cause::Client(self.event));
        self.keyspace.wrote(locked, found.at, None, cause);
        self.note_change(found);
    }

    /// The type of the value at a living key; neither an access nor counted.
    pub fn value_type(&mut self, key: &[u8]) -> Option<ValueType> {
        self.peek(key).map(EntryRef::value_type)
    }

    /// The string at a key, resized to `len` (zero-filled) and lent for writing. An absent key is
    /// made. The expiry stays.
    pub fn string_resized(&mut self, key: &[u8], len: usize) -> Result<&mut [u8], CommandError> {
        let found = match self.find_value(key) {
            Some(found) => {
                as_string(self.table(found).get(found.at))?;
                self.touch(found);
                self.wrote(found);
                found
            }
            None => {
                let (lock, tag, hash) = self.locate(key).ok_or(STRAYED)?;
                let expires_at = self.default_expiry();
                let parts = EntryParts {
                    space: self.space,
                    key,
                    value: b"",
                    value_type: ValueType::String,
                    expires_at,
                    raw: true,
                };
                self.add(lock, tag, hash, Entry::new(&parts))
            }
        };
        let locked = &mut self.locked[found.lock];
        self.keyspace.resize(locked, found.at, len);
        let mut entry = locked.table.get_mut(found.at);
        entry.set_raw();
        Ok(entry.into_value())
    }

    /// Deletes a key. False where there was none.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        let Some(found) = self.find(key) else {
            return false;
        };
        self.take(found, Cause::Client(DEL));
        true
    }

    /// When a key expires; `None` where there is no such key.
    pub fn expiry(&mut self, key: &[u8]) -> Option<Option<UnixMs>> {
        self.peek(key).map(EntryRef::expires_at)
    }

    /// Sets or removes the expiry of a key. A time that has come deletes it. False where there is
    /// no such key.
    pub fn set_expiry(&mut self, key: &[u8], expires_at: Option<UnixMs>) -> bool {
        let Some(found) = self.find(key) else {
            return false;
        };
        if expires_at.is_some_and(|at| at <= self.terms.now) {
            self.take(found, Cause::Client(DEL));
            return true;
        }
        let locked = &mut self.locked[found.lock];
        self.keyspace
            .set_expiry(locked, found.at, expires_at, self.event);
        self.note_change(found);
        true
    }

    /// Counts an access, as TOUCH does. False where there is no such key.
    pub fn touch_key(&mut self, key: &[u8]) -> bool {
        let Some(found) = self.find(key) else {
            return false;
        };
        self.touch(found);
        true
    }

    /// Moves a key to another name or database. What stood there goes, if `replace`.
    pub fn rename(&mut self, from: &[u8], to: &[u8], to_db: usize, replace: bool) -> Renamed {
        if self.find(from).is_none() || !self.may_use(to_db) {
            return Renamed::NoSource;
        }
        let home = self.db;
        self.use_db(to_db);
        let Some(place) = self.locate(to) else {
            self.use_db(home);
            return Renamed::NoSource;
        };
        let existing = self.find(to);
        if let (Some(found), true) = (existing, replace) {
            self.take(found, Cause::Client(DEL));
            self.count_further(-1);
        }
        self.use_db(home);
        if existing.is_some() && !replace {
            return Renamed::Occupied;
        }
        // After what may have moved it in its table.
        let Found { lock, at } = self.find(from).expect("it was there just now");
        let (left, came) = if home == to_db {
            (&"rename_from", &"rename_to")
        } else {
            (&"move_from", &"move_to")
        };
        let locked = &mut self.locked[lock];
        let entry = self.keyspace.take_away(locked, at, Cause::Client(left));
        locked.table.shrink_if_sparse();
        let entry = entry.renamed(self.keyspace.space_of(to_db), to);
        self.count_further(-1);
        let event = std::mem::replace(&mut self.event, came);
        let (lock, tag, hash) = place;
        self.add(lock, tag, hash, entry);
        self.event = event;
        Renamed::Done
    }

    /// Copies a key to another name or database. What stood there goes, if `replace`. The two
    /// must differ.
    pub fn copy(&mut self, from: &[u8], to: &[u8], to_db: usize, replace: bool) -> Renamed {
        let source = self.find(from).filter(|_| self.may_use(to_db));
        let Some(source) = source else {
            return Renamed::NoSource;
        };
        let home = self.db;
        let to_space = self.keyspace.space_of(to_db);
        let entry = self.table(source).get(source.at).to_entry(to_space, to);
        self.use_db(to_db);
        let existing = self.find(to);
        let result = match existing {
            Some(_) if !replace => Renamed::Occupied,
            existing => {
                let place = self.locate(to);
                if let (Some(_), Some(found)) = (place, existing) {
                    self.take(found, Cause::Client(DEL));
                    self.count_further(-1);
                }
                if let Some((lock, tag, hash)) = place {
                    self.add(lock, tag, hash, entry);
                }
                Renamed::Done
            }
        };
        self.use_db(home);
        result
    }
}

/// Keeps the buffer of a packed collection for the next one.
fn keep_buffer(bytes: Vec<u8>) {
    if bytes.capacity() <= SCRATCH_BYTES_MAX {
        SCRATCH.set(bytes);
    }
}

fn as_string(entry: EntryRef<'_>) -> Result<&[u8], CommandError> {
    match entry.value_type() {
        ValueType::String => Ok(entry.value()),
        _ => Err(CommandError::WrongType),
    }
}

fn as_hash(entry: EntryRef<'_>) -> Result<HashRef<'_>, CommandError> {
    match entry.large() {
        _ if entry.value_type() != ValueType::Hash => Err(CommandError::WrongType),
        Some(LargeRef::Hash(fields)) => Ok(HashRef::Table(fields)),
        Some(_) => Err(CommandError::WrongType),
        None => Ok(HashRef::packed(entry.value())),
    }
}

fn as_list(entry: EntryRef<'_>) -> Result<ListRef<'_>, CommandError> {
    match entry.large() {
        _ if entry.value_type() != ValueType::List => Err(CommandError::WrongType),
        Some(LargeRef::List(nodes)) => Ok(ListRef::Nodes(nodes)),
        Some(_) => Err(CommandError::WrongType),
        None => Ok(ListRef::Packed(Listpack::new(entry.value()))),
    }
}

fn as_set(entry: EntryRef<'_>) -> Result<SetRef<'_>, CommandError> {
    match entry.large() {
        _ if entry.value_type() != ValueType::Set => Err(CommandError::WrongType),
        Some(LargeRef::Set(members)) => Ok(SetRef::Table(members)),
        Some(_) => Err(CommandError::WrongType),
        None => Ok(SetRef::packed(entry.value())),
    }
}

fn as_zset(entry: EntryRef<'_>) -> Result<ZsetRef<'_>, CommandError> {
    match entry.large() {
        _ if entry.value_type() != ValueType::Zset => Err(CommandError::WrongType),
        Some(LargeRef::Zset(members)) => Ok(ZsetRef::Large(members)),
        Some(_) => Err(CommandError::WrongType),
        None => Ok(ZsetRef::Packed(OneWay::new(entry.value()))),
    }
}
