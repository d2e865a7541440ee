//! Limits of memory that were lowered far below what is in use.
//!
//! To make all that room takes seconds, and no request is to wait for it: from then on the limit in force comes down with
//! what is in use. Requests make room for what they add, and maintenance for the rest, slice by slice.
//!
//! Invariant: a limit in force is never above what was in use when it was lowered.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Engine;
use crate::clock::UnixMs;
use crate::config::{Config, EvictionPolicy};
use crate::keyspace::ThreadSlot;
use crate::keyspace::eviction::{EvictionPool, Limits, Room};

/// Keys that maintenance evicts at once: a fraction of a millisecond.
const SLICE_KEYS: usize = 256;

/// The limits in force while they come down; 0 where none does.
#[derive(Debug, Default)]
pub struct Easing {
    bytes: AtomicU64,
    entries: AtomicU64,
}

impl Easing {
    /// `maxmemory` as it is in force, where 0 is no limit.
    pub fn bytes(&self, maxmemory: u64) -> u64 {
        in_force(&self.bytes, maxmemory)
    }

    /// The same of `max-entries`.
    pub fn entries(&self, max_entries: u64) -> u64 {
        in_force(&self.entries, max_entries)
    }

    /// Whether a limit comes down.
    pub fn is_on(&self) -> bool {
        let is_on = |limit: &AtomicU64| limit.load(Ordering::Relaxed) != 0;
        is_on(&self.bytes) || is_on(&self.entries)
    }

    fn end(&self) {
        self.bytes.store(0, Ordering::Relaxed);
        self.entries.store(0, Ordering::Relaxed);
    }
}

fn in_force(eased: &AtomicU64, limit: u64) -> u64 {
    match limit {
        0 => 0,
        limit => limit.max(eased.load(Ordering::Relaxed)),
    }
}

/// What is left to do where limits were lowered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eased {
    /// Nothing.
    Done,
    /// Another slice.
    Again,
    /// What the tier below must take first.
    Later,
}

impl Engine {
    /// The limits of memory as the options say, whatever is in force.
    fn final_limits(&self, config: &Config, now: UnixMs) -> Limits {
        Limits {
            maxmemory_bytes: config.maxmemory,
            max_entries: config.max_entries,
            ..self.limits(config, now)
        }
    }

    /// After a change of options: has limits come down that are far below what is in use. What one command may evict goes
    /// at once, so that lower limits mean what they say where that is enough, and where nothing can go.
    pub fn follow_limits(
        &self,
        before: &Config,
        now: UnixMs,
        thread: ThreadSlot,
        pool: &mut EvictionPool,
    ) {
        let config = self.config.load();
        let is_lower = |before: u64, after: u64| after != 0 && (before == 0 || after < before);
        if !is_lower(before.maxmemory, config.maxmemory)
            && !is_lower(before.max_entries, config.max_entries)
        {
            return;
        }
        let limits = self.final_limits(&config, now);
        let room = self.keyspace.make_room(&limits, thread, pool);
        if room != Room::None && config.maxmemory_policy != EvictionPolicy::NoEviction {
            self.lower_to_use(&limits);
        }
    }

    /// Makes some of the room that lowered limits need.
    pub fn ease(&self, now: UnixMs, thread: ThreadSlot, pool: &mut EvictionPool) -> Eased {
        if !self.easing.is_on() {
            return Eased::Done;
        }
        let limits = Limits {
            victims_max: SLICE_KEYS,
            ..self.final_limits(&self.config.load(), now)
        };
        let inside = self.keyspace.gate().enter(thread);
        let room = self.keyspace.make_room(&limits, thread, pool);
        drop(inside);
        match room {
            Room::None => self.easing.end(),
            Room::Soon | Room::Enough => self.lower_to_use(&limits),
        }
        match room {
            Room::Soon => Eased::Later,
            _ if self.easing.is_on() => Eased::Again,
            _ => Eased::Done,
        }
    }

    /// Has the limits in force be what is in use, as far as that is above them. They do not rise again with what a run of the tier
    /// takes.
    fn lower_to_use(&self, limits: &Limits) {
        let lower = |in_force: &AtomicU64, used: u64, limit: u64| {
            let lowered = match in_force.load(Ordering::Relaxed) {
                _ if limit == 0 || used <= limit => 0,
                0 => used,
                before => used.min(before),
            };
            in_force.store(lowered, Ordering::Relaxed);
        };
        let (bytes, entries) = self.keyspace.used_of(limits);
        lower(&self.easing.bytes, bytes, limits.maxmemory_bytes);
        lower(&self.easing.entries, entries, limits.max_entries);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Db;

    fn filled(db: &mut Db, keys: usize) {
        db.run("CONFIG SET maxmemory 1gb").ok();
        for i in 0..keys {
            db.run(&format!("SET key:{i} value")).ok();
        }
    }

    #[test]
    fn a_limit_that_was_lowered_comes_down_with_what_is_in_use() {
        for durability in ["memory", "everysec"] {
            let mut db = match durability {
                "memory" => Db::new(),
                _ => Db::tiered(|_| {}),
            };
            filled(&mut db, 60_000);
            let used = db.engine().used_bytes();
            let limit = used - db.engine().keyspace.used_bytes() / 2;
            db.run(&format!("CONFIG SET maxmemory {limit}")).ok();
            assert!(db.engine().easing.is_on(), "{durability}");
            // Nobody waits, and nobody is refused. Over a tier the first changes make lists of what has changed, for which the next
            // ones make room bit by bit.
            for i in 0..300 {
                db.run(&format!("SET new:{i} value")).ok();
                let makes_lists = durability != "memory" && i < 100;
                let lists = if makes_lists { 192 * 1024 } else { 0 };
                assert!(db.engine().used_bytes() <= used + lists + 4096);
            }
            let (now, thread) = (crate::clock::now(), ThreadSlot(0));
            let mut pool = EvictionPool::default();
            let mut before = u64::MAX;
            for _ in 0..2_000 {
                let in_force = db.engine().easing.bytes(limit as u64);
                assert!(in_force <= before);
                before = in_force;
                match db.engine().ease(now, thread, &mut pool) {
                    Eased::Done => break,
                    Eased::Again => {}
                    Eased::Later => db.write(),
                }
            }
            assert!(!db.engine().easing.is_on(), "{durability}");
            assert!(db.engine().used_bytes() <= limit);
            db.run("SET last value").ok();
        }
    }

    #[test]
    fn a_limit_that_cannot_be_kept_refuses_at_once() {
        let mut db = Db::new();
        filled(&mut db, 20_000);
        db.run("CONFIG SET maxmemory-policy noeviction maxmemory 1mb")
            .ok();
        assert!(!db.engine().easing.is_on());
        let refused = db.run("SET new value");
        assert!(refused.bytes().starts_with(b"-OOM"));
        let mut db = Db::new();
        filled(&mut db, 20_000);
        db.run("CONFIG SET maxmemory-policy volatile-lru maxmemory 1mb")
            .ok();
        assert!(db.run("SET new value").bytes().starts_with(b"-OOM"));
        let mut db = Db::new();
        filled(&mut db, 100);
        db.run("CONFIG SET maxmemory 1").ok();
        assert!(!db.engine().easing.is_on());
        assert!(db.run("SET new value").bytes().starts_with(b"-OOM"));
    }

    #[test]
    fn fewer_entries_come_about_in_slices_too() {
        let mut db = Db::new();
        filled(&mut db, 30_000);
        db.run("CONFIG SET max-entries 1000").ok();
        assert!(db.engine().easing.is_on());
        db.run("SET new value").ok();
        let mut pool = EvictionPool::default();
        let now = crate::clock::now();
        while db.engine().ease(now, ThreadSlot(0), &mut pool) == Eased::Again {}
        db.run("DBSIZE").int(1_000);
    }
}
