//! What concerns all keys of a database: its size, a walk over it, emptying and exchanging it.
//!
//! A walk locks one shard at a time; meanwhile other keys come and go. Which space a database shows changes only while nobody
//! else is inside the gate, so that it stays for as long as a command runs.

use std::ops::Range;
use std::sync::atomic::Ordering;

use smallvec::SmallVec;

use super::cold::{ColdDeadlines, Tally};
use super::entry::EntryRef;
use super::residency::{Presence, Residency};
use super::table::{Position, Tag};
use super::{DATABASES, Keyspace, SHARDS, Shard, ThreadSlot};
use crate::clock::UnixMs;
use crate::random::Random;

/// A random key is looked for so many times before the search walks from shard to shard.
const RANDOM_TRIES: usize = 100;
/// So often a random place of a table is looked at before all of them are.
const DRAWS: usize = 32;
/// Keys freed at once by FLUSHDB itself; more are left to the background.
const FREE_AT_ONCE: usize = 50_000;
const TAG_BITS: u32 = Tag::END.trailing_zeros();

/// What INFO keyspace tells of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpaceStats {
    /// All keys.
    pub keys: usize,
    /// Keys that have an expiry.
    pub expiring: usize,
    /// The mean time that keys with an expiry have left: of those below alone, to the second.
    pub mean_ttl_ms: i64,
}

/// What a database shows at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    space: u8,
    /// Its name below.
    pub name: u32,
}

impl Keyspace {
    /// What a database shows now.
    pub fn shown(&self, db: usize, thread: ThreadSlot) -> Shown {
        let _inside = self.gate.enter(thread);
        self.shown_now(db)
    }

    /// What each database shows now, all at one moment.
    pub fn all_shown(&self, thread: ThreadSlot) -> [Shown; DATABASES] {
        let _inside = self.gate.enter(thread);
        std::array::from_fn(|db| self.shown_now(db))
    }

    fn shown_now(&self, db: usize) -> Shown {
        Shown {
            space: self.space_of(db),
            name: self.space_name(db),
        }
    }

    /// Whether any database shows it still: it was not emptied.
    pub fn is_shown(&self, shown: Shown, thread: ThreadSlot) -> bool {
        let _inside = self.gate.enter(thread);
        let name = |below: &Residency| below.name(shown.space);
        self.is_live(shown.space) && self.below.as_ref().map_or(0, name) == shown.name
    }

    /// The number of keys in a database, in memory and below.
    pub fn db_size(&self, db: usize) -> usize {
        let space = self.space_of(db);
        let below = self.below.as_ref();
        let counted = self.sum_space(space, |c, space| c.keys[space].read());
        let keys = counted + below.map_or(0, |below| below.tally(space).keys());
        usize::try_from(keys).unwrap_or(0)
    }

    /// Whether a database is sure to have no key. Counts may be wrong by a little where the disk was damaged; not so that they are
    /// nothing in each tier.
    pub fn is_empty(&self, db: usize) -> bool {
        let space = self.space_of(db);
        let counted = self.sum_space(space, |c, space| c.keys[space].read());
        let tally = self.below.as_ref().map(|below| below.tally(space));
        let (keys, cold) = tally.map_or((0, 0), |tally| (tally.keys(), tally.cold()));
        counted + keys == 0 && cold == 0
    }

    /// The number of keys with an expiry in a database, in memory and below.
    fn expiring(&self, db: usize) -> i64 {
        let space = self.space_of(db);
        let counted = self.sum_space(space, |c, space| c.expiring[space].read());
        let below = self.below.as_ref();
        counted + below.map_or(0, |below| below.tally(space).expiring())
    }

    /// Whether memory may hold keys with an expiry, or some of emptied databases: asked before all shards are searched for one.
    pub(super) fn may_have_volatile(&self) -> bool {
        let cold = |db| {
            let below = self.below.as_ref();
            below.map_or(0, |below| below.tally(self.space_of(db)).cold_expiring())
        };
        (0..DATABASES).any(|db| self.expiring(db) != cold(db)) || self.has_emptied()
    }

    /// Counts for INFO, in constant time.
    pub fn space_stats(&self, db: usize, now: UnixMs) -> SpaceStats {
        let space = self.space_of(db);
        let tally = self.below.as_ref().map(|below| below.tally(space));
        let expiring = self.expiring(db);
        let cold = tally.map_or_else(ColdDeadlines::default, Tally::deadlines);
        // Both wrap, and their difference does not.
        let warm_ms = self.sum_space(space, |c, space| c.deadlines_ms[space].read());
        let warm_ms = warm_ms.wrapping_sub((expiring - cold.keys).wrapping_mul(now.0));
        let left_ms = i128::from(warm_ms) + cold.left_ms(now);
        let mean_ms = left_ms.checked_div(expiring.into()).unwrap_or(0);
        SpaceStats {
            keys: self.db_size(db),
            expiring: usize::try_from(expiring).unwrap_or(0),
            mean_ttl_ms: i64::try_from(mean_ms).unwrap_or(i64::MAX).max(0),
        }
    }

    /// Empties some databases, all at one moment, which is `at_once`'s too. Their keys are out of sight then; many are freed in the
    /// background. Empty ones stay as they are, if what is below `is_counted`. For a thread that has no shard locked.
    pub fn flush_dbs(
        &self,
        dbs: Range<usize>,
        is_counted: bool,
        thread: ThreadSlot,
        at_once: impl FnOnce(),
    ) {
        if self.gate.is_isolated(thread) {
            at_once();
            return self.flush_alone(dbs, is_counted, thread);
        }
        let _outside = self.gate.step_out(thread);
        // Who empties many would wait for ever beside those who empty one at a time.
        let turn = self.emptying.lock();
        let (alone, full) = loop {
            let alone = self.gate.close();
            let full = dbs.clone().filter(|db| !(is_counted && self.is_empty(*db)));
            let full: SmallVec<[usize; DATABASES]> = full.collect();
            if full.len() <= self.emptied.lock().free.len() {
                break (alone, full);
            }
            drop(alone);
            self.wait_for_free(full.len(), thread);
        };
        at_once();
        let own = full.into_iter().filter_map(|db| self.flush_db(db, thread));
        let own: SmallVec<[u8; DATABASES]> = own.collect();
        drop((alone, turn));
        self.sweep(&own, thread, || {});
    }

    /// The same for who is alone inside, and cannot wait for a free space: where there is none the keys are freed here and now.
    fn flush_alone(&self, dbs: Range<usize>, is_counted: bool, thread: ThreadSlot) {
        let full = dbs.filter(|db| !(is_counted && self.is_empty(*db)));
        for db in full {
            if self.emptied.lock().free.is_empty() {
                self.flush_in_place(db, thread);
            } else if let Some(own) = self.flush_db(db, thread) {
                self.sweep(&[own], thread, || {});
            }
        }
    }

    /// Empties a database that keeps its space. Nobody else is inside.
    fn flush_in_place(&self, db: usize, thread: ThreadSlot) {
        let (space, keys) = (self.space_of(db), self.db_size(db));
        (0..SHARDS).for_each(|shard| self.sweep_shard(shard, &[space], thread));
        if let Some(below) = &self.below {
            let keys = self.sum_space(space, |c, space| c.keys[space].read());
            let expiring = self.sum_space(space, |c, space| c.expiring[space].read());
            below.begin_space(space, keys, expiring);
        }
        self.tell_of_flush(db, keys, thread);
    }

    fn tell_of_flush(&self, db: usize, keys: usize, thread: ThreadSlot) {
        // Where the keys below are not counted yet there may be more.
        self.counters(thread).changes.add(keys.max(1) as i64);
        self.watched.touch_all(db, |_| false);
        if self.queues.any() {
            self.queues.announce_all(db, true);
        }
    }

    /// Waits until so many spaces are free, or some can be swept.
    fn wait_for_free(&self, spaces: usize, thread: ThreadSlot) {
        self.sweep_emptied(thread, || {});
        let mut emptied = self.emptied.lock();
        while emptied.free.len() < spaces && emptied.sweeping.is_empty() {
            self.freed.wait(&mut emptied);
        }
    }

    /// Gives a database a free space, with nobody inside. Gives the old one, if the caller is to sweep it.
    fn flush_db(&self, db: usize, thread: ThreadSlot) -> Option<u8> {
        let keys = self.db_size(db);
        let mut emptied = self.emptied.lock();
        let space = emptied.free.pop().expect("there are enough");
        if let Some(below) = &self.below {
            let keys = self.sum_space(space, |c, space| c.keys[space].read());
            let expiring = self.sum_space(space, |c, space| c.expiring[space].read());
            below.begin_space(space, keys, expiring);
        }
        self.live.fetch_or(1 << space, Ordering::AcqRel);
        let old = self.spaces[db].swap(space, Ordering::AcqRel);
        self.live.fetch_and(!(1 << old), Ordering::AcqRel);
        self.tell_of_flush(db, keys, thread);
        if keys <= FREE_AT_ONCE {
            return Some(old);
        }
        emptied.sweeping.push(old);
        None
    }

    /// Exchanges the contents of two databases, at one moment, which is `at_once`'s too. For a thread that has no shard locked.
    pub fn swap_dbs(&self, a: usize, b: usize, thread: ThreadSlot, at_once: impl FnOnce()) {
        let is_isolated = self.gate.is_isolated(thread);
        let _outside = (!is_isolated).then(|| self.gate.step_out(thread));
        let _alone = (!is_isolated).then(|| self.gate.close());
        // For those who look from outside.
        let _none_looks = self.emptied.lock();
        at_once();
        for (db, other) in [(a, b), (b, a)] {
            self.watched
                .touch_all(db, |key| self.may_exist(other, key, thread));
        }
        let space = self.space_of(a);
        self.spaces[a].store(self.space_of(b), Ordering::Release);
        self.spaces[b].store(space, Ordering::Release);
        self.counters(thread).changes.add(1);
        if self.queues.any() {
            for db in [a, b] {
                // Those who are to be told that a key is gone come first: who is served stops at one that is not there.
                self.queues.announce_all(db, true);
                self.queues.announce_all(db, false);
            }
        }
    }

    /// Whether a database may have a key: what memory does not know may be below.
    fn may_exist(&self, db: usize, key: &[u8], thread: ThreadSlot) -> bool {
        let hash = self.hash(key);
        let may_hold = || {
            self.below
                .as_ref()
                .is_some_and(|below| below.may_hold(hash))
        };
        match self.presence(hash, db, key, thread) {
            Presence::Present => true,
            Presence::Absent => false,
            Presence::Unknown => may_hold(),
        }
    }

    /// The number of keys in all databases.
    pub fn size(&self) -> usize {
        let _none_moves = self.emptied.lock();
        (0..DATABASES).map(|db| self.db_size(db)).sum()
    }

    /// Shows living keys of a database from a cursor on, about `count` of them, and gives the next
    /// cursor: 0 at the end. A walk from 0 to 0 shows every key that stays. Where it meets a key whose
    /// time has come, those of the shard are dropped, as Redis drops what SCAN meets.
    pub fn scan(
        &self,
        db: usize,
        cursor: u64,
        count: usize,
        now: UnixMs,
        thread: ThreadSlot,
        mut show: impl FnMut(EntryRef<'_>),
    ) -> u64 {
        let shown = self.shown(db, thread);
        self.scan_entries(shown, cursor, count, now, thread, |entry, lives| {
            if lives {
                show(entry);
            }
            lives
        })
    }

    /// The same, and shows too what stands for no key: tombstones, and keys whose time has come. `show` is told whether an entry is
    /// a living key, and says whether it counts.
    pub fn scan_entries(
        &self,
        Shown { space, .. }: Shown,
        cursor: u64,
        count: usize,
        now: UnixMs,
        thread: ThreadSlot,
        mut show: impl FnMut(EntryRef<'_>, bool) -> bool,
    ) -> u64 {
        let mut shard = usize::try_from(cursor >> TAG_BITS).unwrap_or(SHARDS);
        let mut tag = (cursor & u64::from(Tag::END - 1)) as u32;
        let mut shown = 0;
        while shard < SHARDS {
            if !self.shards[shard].hint.may_have(space) {
                (shard, tag) = (shard + 1, 0);
                continue;
            }
            let table = self.shards[shard].table.lock();
            let mut met_expired = false;
            while tag < Tag::END && shown < count {
                tag = table.scan(tag, |entry| {
                    if entry.space() == space {
                        let lives = lives(entry, now);
                        met_expired |= !lives && !entry.is_tombstone();
                        shown += usize::from(show(entry, lives));
                    }
                });
            }
            drop(table);
            if met_expired {
                self.expire_shard(shard, now, thread);
            }
            if tag < Tag::END {
                return (shard as u64) << TAG_BITS | u64::from(tag);
            }
            shard += 1;
            tag = 0;
            if shown >= count && shard < SHARDS {
                return (shard as u64) << TAG_BITS;
            }
        }
        0
    }

    /// A random living key of a database.
    pub fn random_key(&self, db: usize, now: UnixMs, random: u64) -> Option<Vec<u8>> {
        let mut random = Random(random);
        if self.db_size(db) == 0 {
            return None;
        }
        for _ in 0..RANDOM_TRIES {
            let shard = random.next_u64() as usize % SHARDS;
            if let Some(key) = self.random_key_of_shard(db, shard, now, &mut random) {
                return Some(key);
            }
        }
        // Few keys: of the shards that may have any, one after the other in random order.
        let space = self.space_of(db);
        let may_have = |shard: &usize| self.shards[*shard].hint.may_have(space);
        let mut left: Vec<usize> = (0..SHARDS).filter(may_have).collect();
        while !left.is_empty() {
            let shard = left.swap_remove(random.below(left.len() as u64) as usize);
            if let Some(key) = self.random_key_of_shard(db, shard, now, &mut random) {
                return Some(key);
            }
        }
        None
    }

    fn random_key_of_shard(
        &self,
        db: usize,
        shard: usize,
        now: UnixMs,
        random: &mut Random,
    ) -> Option<Vec<u8>> {
        let Shard { hint, table } = &self.shards[shard];
        if !hint.may_have(self.space_of(db)) {
            return None;
        }
        let table = table.lock();
        let space = self.space_of(db);
        let fits = |at: &Position| {
            let entry = table.get(*at);
            entry.space() == space && lives(entry, now)
        };
        let drawn = (0..DRAWS).find_map(|_| table.random_position(random.next_u64()).filter(fits));
        // Where most are of other databases all are looked at, and each of those that fit is as likely as the others.
        let at = drawn.or_else(|| {
            let all = table.all_positions().filter(fits).enumerate();
            all.fold(None, |chosen, (before, at)| {
                let is_next = random.next_u64().is_multiple_of(before as u64 + 1);
                if is_next { Some(at) } else { chosen }
            })
        });
        let is_left = |at: Position| table.get(at).space() == space;
        if at.is_none() && !table.all_positions().any(is_left) {
            hint.forget_space(space);
        }
        at.map(|at| table.get(at).key().to_vec())
    }
}

fn lives(entry: EntryRef<'_>, now: UnixMs) -> bool {
    !entry.is_tombstone() && entry.expires_at().is_none_or(|at| at > now)
}
