//! Watched keys: whose transaction does not run because one of its keys has changed.
//!
//! A client that watches keys has a [`Mark`], which is noted here for each of them while the key is locked. Whoever changes a key
//! sets the marks of those who watch it, locked as well; so who looks at its mark with its keys locked knows of every change
//! before. A key that has only changed tiers has not changed.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::observed::Observed;
use super::{DATABASES, KeyHash, hash_with};

/// A power of two.
const STRIPES: usize = 64;

/// Whether a key has changed that its client watches.
#[derive(Debug, Default)]
pub struct Mark(AtomicBool);

impl Mark {
    /// Whether one has.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    fn set(&self) {
        self.0.store(true, Ordering::Release);
    }
}

#[derive(Debug)]
struct Watcher {
    mark: Arc<Mark>,
    /// Whether the key was there when it began to watch. One that was not is still not there, or the mark is set.
    existed: bool,
}

/// The watchers of some keys, for each database.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Stripe(Mutex<[ByKey; DATABASES]>);

type ByKey = HashMap<Box<[u8]>, Vec<Watcher>>;

/// Who watches which keys.
#[derive(Debug)]
pub struct Watched {
    stripes: Box<[Stripe]>,
    observed: Arc<Observed>,
    /// The keyspace's, by which a key is in a shard.
    seed: u64,
    /// Keys that somebody watches, in all databases.
    keys: AtomicUsize,
}

impl Watched {
    pub(super) fn new(seed: u64, observed: Arc<Observed>) -> Self {
        Self {
            stripes: (0..STRIPES).map(|_| Stripe::default()).collect(),
            observed,
            seed,
            keys: AtomicUsize::new(0),
        }
    }

    fn shard(&self, key: &[u8]) -> usize {
        KeyHash(hash_with(self.seed, key)).shard()
    }

    fn stripe(&self, shard: usize) -> &Stripe {
        &self.stripes[shard % STRIPES]
    }

    /// Keys that somebody watches.
    pub fn keys(&self) -> usize {
        self.keys.load(Ordering::Relaxed)
    }

    /// A client watches a key from now on, which the caller has locked, and which exists or not. False where it does already.
    pub fn watch(&self, db: usize, key: &[u8], mark: &Arc<Mark>, existed: bool) -> bool {
        let shard = self.shard(key);
        let by_key = &mut self.stripe(shard).0.lock()[db];
        let watcher = Watcher {
            mark: Arc::clone(mark),
            existed,
        };
        if let Some(watchers) = by_key.get_mut(key) {
            let is_new = !watchers.iter().any(|w| Arc::ptr_eq(&w.mark, mark));
            watchers.extend(is_new.then_some(watcher));
            return is_new;
        }
        by_key.insert(key.into(), vec![watcher]);
        self.keys.fetch_add(1, Ordering::Relaxed);
        self.observed.add(shard);
        true
    }

    /// It watches the key no more.
    pub fn unwatch(&self, db: usize, key: &[u8], mark: &Arc<Mark>) {
        let shard = self.shard(key);
        let by_key = &mut self.stripe(shard).0.lock()[db];
        let Some(watchers) = by_key.get_mut(key) else {
            return;
        };
        watchers.retain(|watcher| !Arc::ptr_eq(&watcher.mark, mark));
        if watchers.is_empty() {
            by_key.remove(key);
            self.keys.fetch_sub(1, Ordering::Relaxed);
            self.observed.remove(shard);
        }
    }

    /// A key of a shard, which is locked, has changed, or gone if it was there.
    pub(super) fn touch(&self, db: usize, (shard, key): (usize, &[u8]), is_there_now: bool) {
        if self.keys() == 0 {
            return;
        }
        let by_key = &self.stripe(shard).0.lock()[db];
        let watchers = by_key.get(key).into_iter().flatten();
        let changed = watchers.filter(|watcher| watcher.existed || is_there_now);
        changed.for_each(|watcher| watcher.mark.set());
    }

    /// The contents of a database are others now, or gone. A key that was not there has changed if it `is_there_now`.
    pub(super) fn touch_all(&self, db: usize, is_there_now: impl Fn(&[u8]) -> bool) {
        if self.keys() == 0 {
            return;
        }
        for stripe in &self.stripes {
            for (key, watchers) in &stripe.0.lock()[db] {
                let is_there = is_there_now(key);
                let changed = watchers
                    .iter()
                    .filter(|watcher| watcher.existed || is_there);
                changed.for_each(|watcher| watcher.mark.set());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::script;

    #[test]
    fn who_watches_no_more_leaves_nothing() {
        let observed = Arc::new(Observed::default());
        let watched = Watched::new(7, Arc::clone(&observed));
        let marks: Vec<Arc<Mark>> = (0..3).map(|_| Arc::default()).collect();
        let shard = watched.shard(b"k");
        for mark in &marks {
            assert!(watched.watch(3, b"k", mark, true));
            assert!(!watched.watch(3, b"k", mark, false));
        }
        assert!(observed.any_in(shard));
        assert_eq!(watched.keys(), 1);
        watched.unwatch(3, b"k", &marks[0]);
        watched.touch(3, (shard, b"k"), true);
        watched.touch(2, (shard, b"k"), true);
        let set: Vec<bool> = marks.iter().map(|mark| mark.is_set()).collect();
        assert_eq!(set, [false, true, true]);
        watched.unwatch(3, b"k", &marks[1]);
        watched.unwatch(3, b"k", &marks[2]);
        assert!(!observed.any_in(shard));
        assert_eq!(watched.keys(), 0);
    }

    script!(a_session_that_ends_watches_nothing, |db| {
        db.switch(1);
        db.run("WATCH a b a").ok();
        assert_eq!(db.engine().keyspace.watched().keys(), 2);
        db.run("RESET").simple("RESET");
        assert_eq!(db.engine().keyspace.watched().keys(), 0);
        db.run("WATCH a").ok();
        db.switch(0);
        db.forget(1);
        assert_eq!(db.engine().keyspace.watched().keys(), 0);
    });
}
