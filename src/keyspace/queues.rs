//! Who waits for keys, in the order in which they came.
//!
//! Whoever finds nothing at some keys joins their queues while the keys are locked. Whoever writes to a key announces it,
//! locked as well, and serves the queue when its command is done: so no push is missed, and none of several who wait is
//! passed over. A queue knows its members by their tickets alone.
//!
//! The queues lie in stripes, each behind a lock of its own, and each shard of the keyspace counts its own: who writes to a key
//! reads one number where nobody waits at all, and a second one where somebody does. Only where somebody waits for a key of the
//! same shard it looks for more.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::observed::Observed;
use super::{DATABASES, KeyHash, SHARDS, hash_with};
use crate::clock::UnixMs;

thread_local! {
    /// Keys which somebody waits for, written by this thread's command.
    static READY: RefCell<VecDeque<Ready>> = const { RefCell::new(VecDeque::new()) };
    /// Whether this thread serves those who wait for such keys.
    static SERVES: Cell<bool> = const { Cell::new(false) };
}

/// A key that somebody waits for.
#[derive(Debug, PartialEq, Eq)]
pub struct Ready {
    /// Its database.
    pub db: usize,
    /// The key.
    pub key: Box<[u8]>,
    /// It was deleted, and not written.
    pub is_gone: bool,
}

/// Who waits for a key.
#[derive(Debug, Default)]
struct Queue {
    /// The lowest came first.
    tickets: BTreeSet<u64>,
    /// The key is below alone, where nobody meets it when its time comes, which is this one.
    cold_until: Option<UnixMs>,
}

/// A power of two.
const STRIPES: usize = 64;

/// The queues of some keys, for each database.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Stripe(Mutex<ByKey>);

type ByKey = [HashMap<Box<[u8]>, Queue>; DATABASES];

/// The queues of all keys.
#[derive(Debug)]
pub struct Queues {
    stripes: Box<[Stripe]>,
    /// Keys that have a queue, for each shard.
    in_shards: Box<[AtomicU32]>,
    observed: Arc<Observed>,
    /// The keyspace's, by which a key is in a shard.
    seed: u64,
    /// Keys written, or gone, on threads that serve nobody.
    elsewhere: Mutex<Vec<Ready>>,
    /// Keys that have a queue, in all databases.
    keys: AtomicUsize,
    /// When the first of them expires that is below alone, or before.
    next_cold_end: AtomicI64,
    last_ticket: AtomicU64,
}

impl Queues {
    /// Those of a keyspace with this order of keys.
    pub(super) fn new(seed: u64, observed: Arc<Observed>) -> Self {
        Self {
            stripes: (0..STRIPES).map(|_| Stripe::default()).collect(),
            in_shards: (0..SHARDS).map(|_| AtomicU32::new(0)).collect(),
            observed,
            seed,
            elsewhere: Mutex::default(),
            keys: AtomicUsize::new(0),
            next_cold_end: AtomicI64::new(i64::MAX),
            last_ticket: AtomicU64::new(0),
        }
    }

    fn shard(&self, key: &[u8]) -> usize {
        KeyHash(hash_with(self.seed, key)).shard()
    }

    fn stripe(&self, shard: usize) -> &Mutex<ByKey> {
        &self.stripes[shard % STRIPES].0
    }

    /// Whether anybody waits for a key of a shard, which the caller has locked: whoever joins has it locked as well.
    #[inline]
    pub(super) fn any_in(&self, shard: usize) -> bool {
        self.any() && self.in_shards[shard].load(Ordering::Relaxed) > 0
    }

    /// Keys that somebody waits for.
    pub fn keys(&self) -> usize {
        self.keys.load(Ordering::Relaxed)
    }

    /// Whether anybody waits for any key.
    #[inline]
    pub fn any(&self) -> bool {
        self.keys.load(Ordering::Relaxed) > 0
    }

    /// A ticket, higher than all before.
    pub fn draw_ticket(&self) -> u64 {
        self.last_ticket.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Joins the queues of some keys, which the caller has locked.
    pub fn join<'k>(&self, db: usize, keys: impl Iterator<Item = &'k [u8]>, ticket: u64) {
        for key in keys {
            let shard = self.shard(key);
            let queues = &mut self.stripe(shard).lock()[db];
            if let Some(queue) = queues.get_mut(key) {
                queue.tickets.insert(ticket);
                continue;
            }
            queues.entry(key.into()).or_default().tickets.insert(ticket);
            self.in_shards[shard].fetch_add(1, Ordering::Relaxed);
            self.observed.add(shard);
            self.keys.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Leaves the queues of some keys. Nothing happens where the ticket is in none.
    pub fn leave<'k>(&self, db: usize, keys: impl Iterator<Item = &'k [u8]>, ticket: u64) {
        for key in keys {
            let shard = self.shard(key);
            let queues = &mut self.stripe(shard).lock()[db];
            let Some(queue) = queues.get_mut(key) else {
                continue;
            };
            queue.tickets.remove(&ticket);
            if queue.tickets.is_empty() {
                queues.remove(key);
                self.in_shards[shard].fetch_sub(1, Ordering::Relaxed);
                self.observed.remove(shard);
                self.keys.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// Who is next in the queue of a key, behind a ticket.
    pub fn next(&self, db: usize, key: &[u8], behind: u64) -> Option<u64> {
        let queues = &self.stripe(self.shard(key)).lock()[db];
        let tickets = &queues.get(key)?.tickets;
        tickets.range(behind + 1..).next().copied()
    }

    /// Says that this thread's command has written to a key of a shard, which is locked.
    pub(super) fn announce(&self, db: usize, (shard, key): (usize, &[u8]), is_gone: bool) {
        if self.stripe(shard).lock()[db].contains_key(key) {
            let ready = Ready {
                db,
                key: key.into(),
                is_gone,
            };
            self.note(ready);
        }
    }

    /// Says that a key of a shard, which is locked, is below alone from now on, and when it expires there.
    pub(super) fn note_cold(
        &self,
        db: usize,
        (shard, key): (usize, &[u8]),
        expires_at: Option<UnixMs>,
    ) {
        if let Some(queue) = self.stripe(shard).lock()[db].get_mut(key) {
            queue.cold_until = expires_at;
            if let Some(at) = expires_at {
                self.next_cold_end.fetch_min(at.0, Ordering::Relaxed);
            }
        }
    }

    /// Says of keys which were below alone when they were last heard of that they may be gone, as their time has come.
    pub fn announce_cold_ends(&self, now: UnixMs) {
        if self.next_cold_end.load(Ordering::Relaxed) > now.0 {
            return;
        }
        self.next_cold_end.store(i64::MAX, Ordering::Relaxed);
        for stripe in &self.stripes {
            for (db, queues) in stripe.0.lock().iter_mut().enumerate() {
                for (key, queue) in queues {
                    let Some(at) = queue.cold_until else { continue };
                    if at > now {
                        self.next_cold_end.fetch_min(at.0, Ordering::Relaxed);
                        continue;
                    }
                    queue.cold_until = None;
                    self.note(Ready {
                        db,
                        key: key.clone(),
                        is_gone: true,
                    });
                }
            }
        }
    }

    /// Says that all keys of a database are gone, or that any of them may have changed.
    pub fn announce_all(&self, db: usize, are_gone: bool) {
        for stripe in &self.stripes {
            for key in stripe.0.lock()[db].keys() {
                self.note(Ready {
                    db,
                    key: key.clone(),
                    is_gone: are_gone,
                });
            }
        }
    }

    fn note(&self, ready: Ready) {
        if SERVES.get() {
            READY.with_borrow_mut(|all| all.push_back(ready));
        } else {
            self.elsewhere.lock().push(ready);
        }
    }

    /// This thread serves those who wait for the keys that it writes to, by [`Self::take_ready`].
    pub fn serve_here() {
        SERVES.set(true);
    }

    /// The keys that were written, or went, on threads that serve nobody: by expiry, eviction, warming.
    pub fn take_elsewhere(&self) -> Vec<Ready> {
        std::mem::take(&mut *self.elsewhere.lock())
    }

    /// The next key that this thread's command has written to and that somebody waits for.
    pub fn take_ready() -> Option<Ready> {
        READY.with_borrow_mut(VecDeque::pop_front)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_who_came_is_the_first_in_each_queue() {
        let queues = Queues::new(7, Arc::default());
        let announce = |db, key: &[u8], is_gone| {
            let shard = queues.shard(key);
            if queues.any_in(shard) {
                queues.announce(db, (shard, key), is_gone);
            }
        };
        queues.join(2, [&b"z"[..]].into_iter(), 7);
        announce(2, b"z", true);
        assert_eq!(queues.take_elsewhere().len(), 1);
        queues.leave(2, [&b"z"[..]].into_iter(), 7);
        Queues::serve_here();
        let (first, second) = (queues.draw_ticket(), queues.draw_ticket());
        let (a, b) = (&b"a"[..], &b"b"[..]);
        queues.join(0, [a, b, a].into_iter(), second);
        queues.join(0, [a].into_iter(), first);
        assert!(queues.any());
        let in_shards = (0..SHARDS).filter(|&shard| queues.any_in(shard));
        assert!((1..=2).contains(&in_shards.count()));
        assert_eq!(queues.next(0, a, 0), Some(first));
        assert_eq!(queues.next(0, a, first), Some(second));
        assert_eq!(queues.next(0, a, second), None);
        assert_eq!(queues.next(0, b, 0), Some(second));
        assert_eq!(queues.next(1, a, 0), None);
        announce(0, b"c", false);
        announce(1, a, false);
        assert_eq!(Queues::take_ready(), None);
        announce(0, a, true);
        let ready = Queues::take_ready().map(|ready| (ready.key, ready.is_gone));
        assert_eq!(ready, Some((a.into(), true)));
        queues.leave(0, [a, b].into_iter(), second);
        queues.leave(0, [a, b].into_iter(), second);
        assert_eq!(queues.next(0, b, 0), None);
        queues.leave(0, [a].into_iter(), first);
        assert!(!queues.any() && !(0..SHARDS).any(|shard| queues.any_in(shard)));
    }
}
