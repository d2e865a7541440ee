//! The one door of a change: what comes into a table, is written over there, or leaves it, passes here.
//!
//! Commands, loads, expiry, eviction, flushes and the tier's writer say what shall happen, and why: the [`Cause`]. Here counts
//! are settled, the tier below is told, and whoever waits for a key or watches it hears of it; so will those who track or listen
//! ([`Keyspace::tell_of_write`]). A key that only changes tiers is the same key: of demotions and loads nobody is told. A key below alone
//! may end there: who lets it go says so here, and whoever waits for one with an expiry is told when the time has come.
//!
//! It does not choose: which entry goes, and whether it may, others have decided. What is not the value itself they change
//! where they are: access records, how an entry stands to its copy below, whether its value is compressed.
//!
//! Invariant: nobody else puts an entry into a table, changes its value, or takes it out. A test reads the sources.

use std::sync::atomic::{AtomicU8, Ordering};

use super::counters::Counters;
use super::entry::{Entry, EntryParts, EntryRef, ValueType};
use super::eviction::AccessPolicy;
use super::residency::{CLEAN, Place, STATE, UNVERIFIED, WRITING};
use super::table::Position;
use super::{DATABASES, KeyHash, Keyspace, Locked, group_of_shard};
use crate::clock::UnixMs;
use crate::value::collection::Content;
use crate::value::shared::SharedBytes;

/// A later expiry counts as this one in the mean of a database: about the year 10889.
const DEADLINE_MS_MAX: i64 = (1 << 48) - 1;

/// The name of a client's change, in Redis's words.
pub type EventName = &'static &'static str;

/// Why an entry comes, changes or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// A client's command.
    Client(EventName),
    /// The time of the key came.
    Expired,
    /// The time of some of its fields came.
    FieldsExpired,
    /// That of the last one did.
    Emptied,
    /// It is dropped from every tier for space.
    Evicted,
    /// It leaves memory, and is below.
    Demoted,
    /// Its database was emptied.
    Flushed,
    /// Its value is the same, in another encoding.
    Recoded,
}

impl Cause {
    /// What listeners are told; `None` for what is no change of a key, or was told of its database.
    fn event(self) -> Option<&'static str> {
        match self {
            Self::Client(event) => Some(*event),
            Self::Expired => Some("expired"),
            Self::FieldsExpired => Some("hexpired"),
            Self::Emptied => Some("del"),
            Self::Evicted => Some("evicted"),
            Self::Demoted | Self::Flushed | Self::Recoded => None,
        }
    }
}

/// What comes in.
impl Keyspace {
    /// A client makes a key, in the place of its tombstone if it has one.
    #[inline]
    pub(super) fn add(
        &self,
        locked: &mut Locked<'_>,
        (hash, marked): (KeyHash, Option<Position>),
        entry: Entry,
        access: &AccessPolicy,
        event: EventName,
    ) -> Position {
        let (space, expires_at) = (entry.view().space(), entry.view().expires_at());
        let state = marked.map_or(0, |at| locked.table.get(at).policy_bits() & STATE);
        let at = self.enter(locked, (hash, marked), entry, access, state);
        self.count_key(locked.counters, space, expires_at, 1);
        let fresh = marked.is_none().then_some(hash);
        self.wrote(locked, at, fresh, Cause::Client(event));
        at
    }

    /// A load found a key below, or that it is nowhere: the entry, or a tombstone, is as what is there.
    pub(super) fn load(
        &self,
        locked: &mut Locked<'_>,
        hash: KeyHash,
        entry: Entry,
        access: &AccessPolicy,
    ) -> Position {
        self.enter(locked, (hash, None), entry, access, CLEAN)
    }

    #[inline]
    fn enter(
        &self,
        locked: &mut Locked<'_>,
        (hash, marked): (KeyHash, Option<Position>),
        entry: Entry,
        access: &AccessPolicy,
        state: u8,
    ) -> Position {
        let entry = if entry.view().is_tombstone() {
            entry
        } else {
            self.follow_policy(entry)
        };
        locked.counters.count_present(entry.view(), 1);
        let admitted = self.admit(hash, access);
        let at = match marked {
            Some(at) => {
                locked.table.replace(at, entry);
                at
            }
            None => self.insert(locked, hash, entry),
        };
        access.first(locked.table.get_mut(at), admitted, state);
        at
    }

    fn insert(&self, locked: &mut Locked<'_>, hash: KeyHash, entry: Entry) -> Position {
        self.group_entries[group_of_shard(locked.shard)].fetch_add(1, Ordering::Relaxed);
        locked.hint.note_space(entry.view().space());
        locked.table.insert(hash.tag(), entry)
    }
}

/// What changes where it stands.
impl Keyspace {
    /// A client writes a string over whatever was there, which expired at a time that the caller has seen. `shared` is the value
    /// if it is not to be copied.
    #[inline]
    pub(super) fn overwrite(
        &self,
        locked: &mut Locked<'_>,
        at: Position,
        (parts, expired_at): (&EntryParts<'_>, Option<UnixMs>),
        shared: Option<&SharedBytes>,
        event: EventName,
    ) {
        let before = locked.table.get(at);
        debug_assert_eq!(before.expires_at(), expired_at);
        locked.counters.count_compressed(before, -1);
        if self.queues.any_in(locked.shard) {
            self.announce_end(locked.shard, before);
        }
        match shared {
            Some(value) => locked.table.overwrite_shared(at, parts, value.clone()),
            None => locked.table.overwrite(at, parts),
        }
        locked
            .counters
            .count_expiry(parts.space, expired_at, parts.expires_at);
        self.wrote(locked, at, None, Cause::Client(event));
    }

    /// The same for a key whose time has come: it ends here, with its pin, and another one begins.
    #[cold]
    #[inline(never)]
    pub(super) fn end_expired(&self, locked: &mut Locked<'_>, at: Position) {
        self.set_pin(locked, at, false);
        locked.counters.expired.add(1);
        if self.is_observed(locked.shard) {
            self.tell_of_end(locked.shard, locked.table.get(at), Cause::Expired);
        }
    }

    /// Resizes a string, filled with zeroes. The caller writes into it, and says so by [`Self::wrote`].
    pub(super) fn resize(&self, locked: &mut Locked<'_>, at: Position, len: usize) {
        if locked.table.get(at).value().len() != len {
            locked.table.resize_value(at, len);
            if let Some(below) = &self.below {
                let grown = locked.growth();
                below.grew(locked.table.get(at), grown, locked.thread);
            }
        }
    }

    /// Lends a collection out of its entry, or a copy of its bytes in `scratch`.
    pub(super) fn lend(
        &self,
        locked: &mut Locked<'_>,
        at: Position,
        scratch: impl FnOnce() -> Vec<u8>,
    ) -> Content {
        let table = &mut locked.table;
        if table.get(at).is_large() {
            return Content::Large(table.take_large(at));
        }
        let mut bytes = scratch();
        bytes.clear();
        bytes.extend_from_slice(table.get(at).value());
        Content::Packed(bytes)
    }

    /// Puts back what was lent; `was_large` tells what it was. Whether it has changed the caller says by [`Self::wrote`].
    /// Gives the buffer of one that is packed.
    pub(super) fn put_back(
        &self,
        locked: &mut Locked<'_>,
        at: Position,
        content: Content,
        was_large: bool,
    ) -> Option<Vec<u8>> {
        let table = &mut locked.table;
        match content {
            Content::Large(large) if was_large => table.put_large(at, large),
            Content::Large(large) => table.enlarge(at, large),
            Content::Packed(bytes) => {
                table.rewrite_value(at, &bytes);
                return Some(bytes);
            }
        }
        None
    }

    /// A client sets or removes the expiry of a key.
    pub(super) fn set_expiry(
        &self,
        locked: &mut Locked<'_>,
        at: Position,
        expires_at: Option<UnixMs>,
        event: EventName,
    ) {
        let before = locked.table.get(at);
        let (space, expired_at) = (before.space(), before.expires_at());
        locked.table.set_expiry(at, expires_at);
        locked.counters.count_expiry(space, expired_at, expires_at);
        self.wrote(locked, at, None, Cause::Client(event));
    }

    /// Pins an entry for a client or ends that, and gives whether one had pinned it before.
    pub(super) fn set_pin(&self, locked: &mut Locked<'_>, at: Position, pinned: bool) -> bool {
        let before = locked.table.get(at);
        let (was_pinned, had_pin) = (before.is_pinned(), before.has_pin());
        locked.table.set_pin(at, pinned);
        let is_pinned = locked.table.get(at).is_pinned();
        let keys = i64::from(is_pinned) - i64::from(was_pinned);
        locked.counters.pinned_keys.add(keys);
        had_pin
    }

    /// A key was written. `fresh` is the hash of one that memory did not hold.
    #[inline]
    pub(super) fn wrote(
        &self,
        locked: &mut Locked<'_>,
        at: Position,
        fresh: Option<KeyHash>,
        cause: Cause,
    ) {
        let goes_below = self.below.as_ref().is_none_or(|below| {
            let place = Place::new(locked.shard, locked.table.tag(at));
            let grown = locked.growth();
            below.wrote(locked.table.get_mut(at), place, fresh, grown, locked.thread)
        });
        if let Cause::Client(_) = cause {
            locked.counters.count_change(goes_below);
        }
        if cause != Cause::Recoded && self.is_observed(locked.shard) {
            self.tell_of_write(locked.shard, locked.table.get(at), cause);
        }
    }
}

/// What goes.
impl Keyspace {
    /// A key is gone. It leaves a tombstone where an older version may be below.
    pub(super) fn take_out(&self, locked: &mut Locked<'_>, at: Position, cause: Cause) {
        let len = locked.table.len();
        drop(self.take_away(locked, at, cause));
        if locked.table.len() < len {
            locked.table.shrink_if_sparse();
        }
    }

    /// The same; other positions stay good, and its entry is given.
    pub(super) fn take_away(&self, locked: &mut Locked<'_>, at: Position, cause: Cause) -> Entry {
        let entry = locked.table.get(at);
        if self.is_observed(locked.shard) {
            self.tell_of_end(locked.shard, entry, cause);
        }
        let mut goes_below = !entry.is_memory_only();
        let marks = self.below.as_ref();
        let marks = marks.filter(|below| below.must_mark(entry, self.hash(entry.key())));
        let gone = if let Some(below) = marks {
            goes_below = true;
            let state = entry.policy_bits() & STATE;
            let mark = Entry::tombstone(entry.space(), entry.key());
            let place = Place::new(locked.shard, locked.table.tag(at));
            let gone = locked.table.exchange(at, mark);
            let mut mark = locked.table.get_mut(at);
            mark.set_policy_bits(state & !CLEAN);
            below.queue(mark, place, locked.thread);
            locked.counters.count_present(gone.view(), -1);
            gone
        } else {
            let gone = locked.table.remove(at);
            self.count_left(locked, gone.view());
            gone
        };
        self.count_gone(locked, gone.view());
        match cause {
            Cause::Client(_) => locked.counters.count_change(goes_below),
            Cause::Expired => locked.counters.expired.add(1),
            Cause::Evicted => locked.counters.evicted.add(1),
            _ => {}
        }
        gone
    }

    /// An entry leaves memory without a trace: what is below is the same, or need not be known.
    pub(super) fn leave(&self, locked: &mut Locked<'_>, at: Position, cause: Cause) -> Entry {
        if self.is_observed(locked.shard) {
            self.tell_of_end(locked.shard, locked.table.get(at), cause);
        }
        if cause == Cause::Demoted && self.queues.any_in(locked.shard) {
            self.note_cold(locked.shard, locked.table.get(at));
        }
        let entry = locked.table.remove(at);
        self.count_left(locked, entry.view());
        let counters = locked.counters;
        match cause {
            Cause::Demoted => counters.demoted.add(1),
            Cause::Expired => counters.expired.add(1),
            Cause::Evicted => counters.evicted.add(1),
            _ => {}
        }
        if cause != Cause::Demoted {
            self.count_gone(locked, entry.view());
        }
        entry
    }

    /// A tombstone goes: what it said is below too.
    pub(super) fn forget(&self, locked: &mut Locked<'_>, at: Position) {
        let mark = locked.table.remove(at);
        self.count_left(locked, mark.view());
    }

    /// Takes keys out whose time has come, about `limit` of them, to be freed when the lock is released, and says whether all
    /// was looked at. Hashes that have fields to lose are told.
    pub(super) fn take_expired(
        &self,
        locked: &mut Locked<'_>,
        (now, limit): (UnixMs, usize),
        taken: &mut Vec<Entry>,
        due: impl FnMut(Position),
    ) -> bool {
        let first = taken.len();
        let take = |entry| taken.push(entry);
        let all = locked.table.take_expired(now, limit, take, due);
        for entry in &taken[first..] {
            let entry = entry.view();
            self.count_left(locked, entry);
            self.count_gone(locked, entry);
            if !self.is_live(entry.space()) {
                continue;
            }
            locked.counters.expired.add(1);
            if self.is_observed(locked.shard) {
                self.tell_of_end(locked.shard, entry, Cause::Expired);
            }
        }
        all
    }

    /// Leaves a tombstone for such a key where the tier below may hold an older version.
    pub(super) fn mark_expired(&self, locked: &mut Locked<'_>, entry: EntryRef<'_>) {
        let hash = self.hash(entry.key());
        let Some(below) = &self.below else { return };
        if !self.is_live(entry.space()) || !below.must_mark(entry, hash) {
            return;
        }
        let state = entry.policy_bits() & (UNVERIFIED | WRITING);
        let mark = Entry::tombstone(entry.space(), entry.key());
        let at = self.insert(locked, hash, mark);
        let mut mark = locked.table.get_mut(at);
        mark.set_policy_bits(state);
        below.queue(mark, Place::of(hash), locked.thread);
    }

    /// Settles the counts for an entry that was taken out of its table, whose key may still be below.
    fn count_left(&self, locked: &Locked<'_>, entry: EntryRef<'_>) {
        self.group_entries[group_of_shard(locked.shard)].fetch_sub(1, Ordering::Relaxed);
        locked.counters.count_present(entry, -1);
        if let Some(below) = &self.below {
            below.departed(locked.shard);
        }
    }

    /// The same for its key, which is gone.
    fn count_gone(&self, locked: &Locked<'_>, entry: EntryRef<'_>) {
        if !entry.is_tombstone() {
            self.count_key(locked.counters, entry.space(), entry.expires_at(), -1);
        }
    }
}

/// Who hears of it.
impl Keyspace {
    /// Whether somebody may want to hear of a change in a shard.
    #[inline]
    fn is_observed(&self, shard: usize) -> bool {
        #[cfg(test)]
        if tests::is_listening() {
            return true;
        }
        self.observed.any_in(shard)
    }

    /// A key was written: `entry` is what it is now.
    #[cold]
    #[inline(never)]
    fn tell_of_write(&self, shard: usize, entry: EntryRef<'_>, cause: Cause) {
        #[cfg(test)]
        tests::hear(entry, cause);
        debug_assert!(cause.event().is_some(), "it is the same key");
        if let Some(db) = self.db_of(entry.space()) {
            let key = (shard, entry.key());
            // A field whose time has come is no change for who watches the hash, as Redis 8.10 has it.
            if cause != Cause::FieldsExpired {
                self.watched.touch(db, key, true);
            }
            if self.queues.any_in(shard) {
                // A string serves nobody. It may stand where a stream was that memory did not hold.
                let is_string = entry.value_type() == ValueType::String;
                self.queues.announce(db, key, is_string);
            }
        }
    }

    /// A key goes: `entry` is what it was.
    #[cold]
    #[inline(never)]
    fn tell_of_end(&self, shard: usize, entry: EntryRef<'_>, cause: Cause) {
        if entry.is_tombstone() || cause.event().is_none() {
            return;
        }
        #[cfg(test)]
        tests::hear(entry, cause);
        if let Some(db) = self.db_of(entry.space()) {
            self.watched.touch(db, (shard, entry.key()), false);
        }
        if self.queues.any_in(shard) {
            self.announce_end(shard, entry);
        }
    }

    /// Tells those who share a stream that it is none any more.
    #[cold]
    #[inline(never)]
    fn announce_end(&self, shard: usize, entry: EntryRef<'_>) {
        if let (Some(db), ValueType::Stream) = (self.db_of(entry.space()), entry.value_type()) {
            self.queues.announce(db, (shard, entry.key()), true);
        }
    }

    /// A key goes below, where nobody meets it when its time comes: those who share a stream are told then.
    #[cold]
    #[inline(never)]
    fn note_cold(&self, shard: usize, entry: EntryRef<'_>) {
        if let (Some(db), ValueType::Stream) = (self.db_of(entry.space()), entry.value_type()) {
            self.queues
                .note_cold(db, (shard, entry.key()), entry.expires_at());
        }
    }

    /// A key of a locked shard that was below alone is gone, or was never there.
    pub(super) fn tell_of_cold_end(&self, shard: usize, space: u8, key: &[u8]) {
        if self.observed.any_in(shard)
            && let Some(db) = self.db_of(space)
        {
            self.watched.touch(db, (shard, key), false);
            self.queues.announce(db, (shard, key), true);
        }
    }

    /// Keys that were below alone are gone, and nobody knows which.
    pub(super) fn tell_of_unknown_ends(&self) {
        for db in 0..DATABASES {
            self.watched.touch_all(db, |_| false);
            if self.queues.any() {
                self.queues.announce_all(db, true);
            }
        }
    }

    /// The database that shows a space.
    fn db_of(&self, space: u8) -> Option<usize> {
        let shows = |of: &AtomicU8| of.load(Ordering::Acquire) == space;
        self.spaces.iter().position(shows)
    }
}

impl Counters {
    /// An entry came into a table, or leaves it.
    #[inline]
    fn count_present(&self, entry: EntryRef<'_>, n: i64) {
        if entry.is_tombstone() {
            return;
        }
        self.entries.add(n);
        if entry.is_pinned() {
            self.pinned_keys.add(n);
        }
        self.count_compressed(entry, n);
        if let Some(at) = entry.expires_at() {
            self.count_deadline(entry.space(), at, n);
        }
    }

    /// The expiry of a key in memory has changed.
    #[inline]
    fn count_expiry(&self, space: u8, before: Option<UnixMs>, after: Option<UnixMs>) {
        if before.is_none() && after.is_none() {
            return;
        }
        let change = i64::from(after.is_some()) - i64::from(before.is_some());
        if change != 0 {
            self.expiring[usize::from(space)].add(change);
        }
        if let Some(at) = before {
            self.count_deadline(space, at, -1);
        }
        if let Some(at) = after {
            self.count_deadline(space, at, 1);
        }
    }

    #[inline]
    pub(super) fn count_deadline(&self, space: u8, at: UnixMs, n: i64) {
        let ms = at.0.clamp(0, DEADLINE_MS_MAX);
        self.deadlines_ms[usize::from(space)].add(ms.wrapping_mul(n));
    }

    #[inline]
    fn count_change(&self, goes_below: bool) {
        self.changes.add(1);
        if !goes_below {
            self.memory_only_changes.add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::path::Path;

    use super::*;
    use crate::testing::Db;

    thread_local! {
        static HEARD: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
    }

    pub(super) fn is_listening() -> bool {
        HEARD.with_borrow(Option::is_some)
    }

    pub(super) fn hear(entry: EntryRef<'_>, cause: Cause) {
        HEARD.with_borrow_mut(|heard| {
            let key = String::from_utf8_lossy(entry.key());
            let event = cause.event().unwrap_or("nothing");
            heard
                .iter_mut()
                .for_each(|all| all.push(format!("{event} {key}")));
        });
    }

    /// What is told while something runs.
    fn heard(run: impl FnOnce()) -> Vec<String> {
        HEARD.set(Some(Vec::new()));
        run();
        HEARD.take().unwrap_or_default()
    }

    #[test]
    fn a_table_changes_nowhere_else() {
        const CHANGES: [&str; 10] = [
            "insert",
            "replace",
            "exchange",
            "remove",
            "overwrite",
            "rewrite_value",
            "enlarge",
            "resize_value",
            "set_expiry",
            "take_expired",
        ];
        let mut found = Vec::new();
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src/keyspace")];
        while let Some(folder) = folders.pop() {
            for file in std::fs::read_dir(folder).unwrap() {
                let path = file.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let is_own = ["keyspace/door.rs", "keyspace/table.rs"]
                    .iter()
                    .any(|own| path.ends_with(own));
                if is_own || path.extension().is_none_or(|of| of != "rs") {
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap();
                // A chain of calls may be written over several lines.
                let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
                for change in CHANGES {
                    if text.contains(&format!("table.{change}(")) {
                        found.push(format!("{}: {change}", path.display()));
                    }
                }
            }
        }
        assert!(
            found.is_empty(),
            "changes of tables beside the door: {found:?}"
        );
    }

    #[test]
    fn a_change_is_told_by_its_name() {
        let mut db = Db::new();
        let told = heard(|| {
            db.run("SET a 1").ok();
            db.run("INCR a").int(2);
            db.run("PEXPIRE a 10").int(1);
            db.run("RPUSH l 1").int(1);
            db.run("LPOP l").bulk("1");
            db.run("GET a").bulk("2");
            db.advance(10);
            db.run("EXISTS a").int(0);
            db.run("SET a 1 PX 5").ok();
            db.advance(5);
            db.run("SET a 2").ok();
            db.run("RENAME a b").ok();
            db.run("MOVE b 1").int(1);
            db.run("DEL b").int(0);
        });
        assert_eq!(
            told,
            [
                "set a",
                "incr a",
                "pexpire a",
                "rpush l",
                "del l",
                "expired a",
                "set a",
                "expired a",
                "set a",
                "rename_from a",
                "rename_to b",
                "move_from b",
                "move_to b",
            ]
        );
    }

    #[test]
    fn expiry_and_eviction_are_told_but_no_move_between_the_tiers() {
        let mut db = Db::tiered(|_| {});
        let told = heard(|| {
            db.run("SET a 1").ok();
            db.run("SET b 1 PX 10").ok();
            db.write();
            db.demote_all();
            db.run("GET a").bulk("1");
            db.advance(10);
            db.expire();
        });
        assert_eq!(told, ["set a", "set b"]);
        let mut db = Db::new();
        let told = heard(|| {
            db.run("SET a 1 PX 10").ok();
            db.run("SET b 1").ok();
            db.advance(10);
            db.expire();
            db.demote_all();
            db.run("FLUSHALL").ok();
        });
        assert_eq!(told, ["set a", "set b", "expired a", "evicted b"]);
    }
}
