//! Who waits for keys, in the order in which they came.
//!
//! Whoever finds nothing at some keys joins their queues while the keys are locked. Whoever writes to a key announces it,
//! locked as well, and serves the queue when its command is done: so no push is missed, and none of several who wait is
//! passed over. A queue knows its members by their tickets alone.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::DATABASES;

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

/// The tickets of those who wait for a key. The lowest came first.
type Queue = BTreeSet<u64>;

/// The queues of all keys.
#[derive(Debug, Default)]
pub struct Queues {
    by_key: [Mutex<HashMap<Box<[u8]>, Queue>>; DATABASES],
    /// Keys written, or gone, on threads that serve nobody.
    elsewhere: Mutex<Vec<Ready>>,
    /// Keys that have a queue, in all databases.
    keys: AtomicUsize,
    last_ticket: AtomicU64,
}

impl Queues {
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
        let mut queues = self.by_key[db].lock();
        for key in keys {
            if let Some(queue) = queues.get_mut(key) {
                queue.insert(ticket);
                continue;
            }
            queues.insert(key.into(), Queue::from([ticket]));
            self.keys.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Leaves the queues of some keys. Nothing happens where the ticket is in none.
    pub fn leave<'k>(&self, db: usize, keys: impl Iterator<Item = &'k [u8]>, ticket: u64) {
        let mut queues = self.by_key[db].lock();
        for key in keys {
            let Some(queue) = queues.get_mut(key) else {
                continue;
            };
            queue.remove(&ticket);
            if queue.is_empty() {
                queues.remove(key);
                self.keys.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// Who is next in the queue of a key, behind a ticket.
    pub fn next(&self, db: usize, key: &[u8], behind: u64) -> Option<u64> {
        let queues = self.by_key[db].lock();
        queues.get(key)?.range(behind + 1..).next().copied()
    }

    /// Says that this thread's command has written to a key, which is locked.
    pub fn announce(&self, db: usize, key: &[u8], is_gone: bool) {
        if self.by_key[db].lock().contains_key(key) {
            let ready = Ready {
                db,
                key: key.into(),
                is_gone,
            };
            self.note(ready);
        }
    }

    /// Says that any key of a database may have changed.
    pub fn announce_all(&self, db: usize) {
        let queues = self.by_key[db].lock();
        for key in queues.keys() {
            self.note(Ready {
                db,
                key: key.clone(),
                is_gone: true,
            });
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
        let queues = Queues::default();
        queues.join(2, [&b"z"[..]].into_iter(), 7);
        queues.announce(2, b"z", true);
        assert_eq!(queues.take_elsewhere().len(), 1);
        queues.leave(2, [&b"z"[..]].into_iter(), 7);
        Queues::serve_here();
        let (first, second) = (queues.draw_ticket(), queues.draw_ticket());
        let (a, b) = (&b"a"[..], &b"b"[..]);
        queues.join(0, [a, b, a].into_iter(), second);
        queues.join(0, [a].into_iter(), first);
        assert!(queues.any());
        assert_eq!(queues.next(0, a, 0), Some(first));
        assert_eq!(queues.next(0, a, first), Some(second));
        assert_eq!(queues.next(0, a, second), None);
        assert_eq!(queues.next(0, b, 0), Some(second));
        assert_eq!(queues.next(1, a, 0), None);
        queues.announce(0, b"c", false);
        queues.announce(1, a, false);
        assert_eq!(Queues::take_ready(), None);
        queues.announce(0, a, true);
        let ready = Queues::take_ready().map(|ready| (ready.key, ready.is_gone));
        assert_eq!(ready, Some((a.into(), true)));
        queues.leave(0, [a, b].into_iter(), second);
        queues.leave(0, [a, b].into_iter(), second);
        assert_eq!(queues.next(0, b, 0), None);
        queues.leave(0, [a].into_iter(), first);
        assert!(!queues.any());
    }
}
