//! The gate: how one thread comes to be alone with all keys.
//!
//! Who needs the whole keyspace at one moment (the writer, which keeps the state of one moment; SWAPDB and FLUSHALL)
//! cannot lock thousands of shards. So each thread that touches keys passes the gate: it is **inside** while it does so, for a
//! batch of requests or a slice of work, and nobody waits for the disk or a client there. Each thread has a **stripe** of its
//! own, a cache line that nobody else writes, so that to pass costs a store and a look. Who closes the gate closes all stripes,
//! and waits until nobody is inside any more.
//!
//! A thread may be inside for long, with one slow command. The others are not kept waiting for it: where somebody does not leave
//! within a moment the stripes of the others are opened again, and only that one's stays closed. It stops there when it has left,
//! and then all the others are closed once more.
//!
//! Invariant: nobody waits for the gate while it holds a shard, nor closes it from inside.
//! Invariant: the gate is closed for as long as an [`Alone`] lives, and for half a millisecond at a time while one is made.

use std::hint;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::ThreadSlot;

/// All stripes stay closed for so long for those who are inside.
const PATIENCE: Duration = Duration::from_micros(500);
/// And those of the slow ones for so long; then all begins again, in case that one of them waits for what another has.
const SLOW_PATIENCE: Duration = Duration::from_millis(50);
/// Looks without a pause, and looks that let others run.
const SPINS: u32 = 64;
const YIELDS: u32 = 256;
/// Between later looks.
const PAUSE: Duration = Duration::from_micros(50);

/// The gate of a keyspace.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Stripes>);

#[derive(Debug)]
struct Stripes {
    each: Box<[Stripe]>,
    /// Held by the one that closes, or has closed.
    closing: Mutex<()>,
    /// The thread that has closed it and is inside alone; one more than its slot, or 0.
    isolated: AtomicUsize,
    /// Held while stripes are opened.
    opening: Mutex<()>,
    opened: Condvar,
    /// Who has closed it takes so long that others may do without what is inside.
    is_held_up: AtomicBool,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Stripe {
    /// How often its thread has come in without leaving. Only that thread writes it.
    depth: AtomicU32,
    closed: AtomicBool,
}

/// What a thread that passes often keeps of its own.
#[derive(Debug)]
pub struct Passage {
    gate: Gate,
    thread: ThreadSlot,
}

/// While a thread is inside.
#[derive(Debug)]
pub struct Inside<'a> {
    stripes: &'a Stripes,
    stripe: &'a Stripe,
}

/// While a thread that was inside is outside again: it may wait there for others, and close the gate.
#[derive(Debug)]
pub struct Outside<'a> {
    gate: &'a Gate,
    thread: ThreadSlot,
    was_inside: bool,
}

/// While a thread is inside, and nobody else is.
#[derive(Debug)]
pub struct Isolated<'a> {
    gate: &'a Gate,
    thread: ThreadSlot,
    depth: u32,
    _alone: Alone<'a>,
}

/// While nobody is inside.
#[derive(Debug)]
pub struct Alone<'a> {
    stripes: &'a Stripes,
    _closing: MutexGuard<'a, ()>,
}

impl Gate {
    pub(super) fn new(threads: usize) -> Self {
        Self(Arc::new(Stripes {
            each: (0..threads).map(|_| Stripe::default()).collect(),
            closing: Mutex::new(()),
            isolated: AtomicUsize::new(0),
            opening: Mutex::new(()),
            opened: Condvar::new(),
            is_held_up: AtomicBool::new(false),
        }))
    }

    /// Says whether who has closed it takes so long that those who can do without are to go on outside.
    pub fn set_held_up(&self, is_held_up: bool) {
        let opening = self.0.opening.lock();
        self.0.is_held_up.store(is_held_up, Ordering::SeqCst);
        drop(opening);
        self.0.opened.notify_all();
    }

    /// The passage of a thread.
    pub fn passage(&self, thread: ThreadSlot) -> Passage {
        Passage {
            gate: self.clone(),
            thread,
        }
    }

    /// Goes in, when the gate is open. A thread that is inside may go in again.
    #[inline]
    pub fn enter(&self, thread: ThreadSlot) -> Inside<'_> {
        let inside = Inside {
            stripes: &self.0,
            stripe: &self.0.each[thread.0],
        };
        let depth = inside.stripe.depth.load(Ordering::Relaxed);
        if depth > 0 {
            inside.stripe.depth.store(depth + 1, Ordering::Relaxed);
        } else {
            inside.come_in(false);
        }
        inside
    }

    /// Goes out, where the thread is inside, and in again when what is given is dropped. The thread must hold nothing that is
    /// good only for as long as it is inside, such as a locked shard.
    ///
    /// # Panics
    /// It has come in more than once.
    pub fn step_out(&self, thread: ThreadSlot) -> Outside<'_> {
        let depth = &self.0.each[thread.0].depth;
        let was = depth.load(Ordering::Relaxed);
        assert!(was <= 1, "the thread would stay inside");
        depth.store(0, Ordering::Release);
        Outside {
            gate: self,
            thread,
            was_inside: was == 1,
        }
    }

    /// Goes out, where the thread is inside, waits until nobody is, and is alone inside until what is given is dropped. Nobody
    /// may close the gate meanwhile, the thread neither, as what it would be closed for can be done at once.
    ///
    /// # Panics
    /// It has come in more than once.
    pub fn isolate(&self, thread: ThreadSlot) -> Isolated<'_> {
        let depth = &self.0.each[thread.0].depth;
        let was = depth.load(Ordering::Relaxed);
        assert!(was <= 1, "the thread would stay inside");
        depth.store(0, Ordering::Release);
        let alone = self.close();
        depth.store(1, Ordering::SeqCst);
        self.0.isolated.store(thread.0 + 1, Ordering::Relaxed);
        Isolated {
            gate: self,
            thread,
            depth: was,
            _alone: alone,
        }
    }

    /// Whether a thread, which is the one that asks, is alone inside.
    #[inline]
    pub fn is_isolated(&self, thread: ThreadSlot) -> bool {
        self.0.isolated.load(Ordering::Relaxed) == thread.0 + 1
    }

    /// Closes the gate and waits until nobody is inside. Not from inside.
    pub fn close(&self) -> Alone<'_> {
        let stripes = &*self.0;
        let closing = stripes.closing.lock();
        while !stripes.try_close() {}
        Alone {
            stripes,
            _closing: closing,
        }
    }
}

impl Passage {
    /// Goes in.
    #[inline]
    pub fn enter(&self) -> Inside<'_> {
        self.gate.enter(self.thread)
    }

    /// The same for a thread that is not inside and has something to do outside too: `None` while the gate is closed for long.
    #[inline]
    pub fn enter_in_time(&self) -> Option<Inside<'_>> {
        let inside = Inside {
            stripes: &self.gate.0,
            stripe: &self.gate.0.each[self.thread.0],
        };
        if inside.come_in(true) {
            return Some(inside);
        }
        mem::forget(inside);
        None
    }
}

impl Inside<'_> {
    /// Says that it is inside before it looks whether it may be: whoever closes does it the other way round, so that one of both
    /// sees the other. False as [`Self::wait`] has it.
    #[inline]
    fn come_in(&self, may_go_on: bool) -> bool {
        self.stripe.depth.store(1, Ordering::SeqCst);
        !self.stripe.closed.load(Ordering::SeqCst) || self.wait(may_go_on)
    }

    /// Waits outside until it may be inside. False where it has something to do outside meanwhile (`may_go_on`), and the gate is
    /// closed for long: it is outside then.
    #[cold]
    #[inline(never)]
    fn wait(&self, may_go_on: bool) -> bool {
        loop {
            self.stripe.depth.store(0, Ordering::SeqCst);
            let mut opening = self.stripes.opening.lock();
            while self.stripe.closed.load(Ordering::SeqCst) {
                if may_go_on && self.stripes.is_held_up.load(Ordering::SeqCst) {
                    return false;
                }
                self.stripes.opened.wait(&mut opening);
            }
            drop(opening);
            self.stripe.depth.store(1, Ordering::SeqCst);
            if !self.stripe.closed.load(Ordering::SeqCst) {
                return true;
            }
        }
    }

    /// Whether somebody wants to be alone, and it should come out between two pieces of work. Not where it is inside more than once.
    #[inline]
    pub fn must_give_way(&self) -> bool {
        self.stripe.closed.load(Ordering::Relaxed) && self.stripe.depth.load(Ordering::Relaxed) == 1
    }
}

impl Drop for Inside<'_> {
    #[inline]
    fn drop(&mut self) {
        let depth = self.stripe.depth.load(Ordering::Relaxed);
        self.stripe.depth.store(depth - 1, Ordering::Release);
    }
}

impl Drop for Outside<'_> {
    fn drop(&mut self) {
        if self.was_inside {
            mem::forget(self.gate.enter(self.thread));
        }
    }
}

impl Drop for Isolated<'_> {
    fn drop(&mut self) {
        let stripes = &self.gate.0;
        stripes.isolated.store(0, Ordering::Relaxed);
        // Where it was inside before it stays there: the gate opens only now.
        let depth = &stripes.each[self.thread.0].depth;
        depth.store(self.depth, Ordering::SeqCst);
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.stripes.open(|_| true);
    }
}

impl Stripes {
    fn try_close(&self) -> bool {
        for stripe in &self.each {
            stripe.closed.store(true, Ordering::SeqCst);
        }
        if self.wait_for_all(PATIENCE) {
            return true;
        }
        self.open(|stripe| !stripe.is_busy());
        if !self.wait_for_closed(SLOW_PATIENCE) {
            self.open(|_| true);
            thread::sleep(PAUSE);
        }
        false
    }

    fn wait_for_all(&self, patience: Duration) -> bool {
        wait_until(patience, || !self.each.iter().any(Stripe::is_busy))
    }

    fn wait_for_closed(&self, patience: Duration) -> bool {
        let is_slow = |stripe: &Stripe| stripe.closed.load(Ordering::SeqCst) && stripe.is_busy();
        wait_until(patience, || !self.each.iter().any(is_slow))
    }

    fn open(&self, which: impl Fn(&Stripe) -> bool) {
        let opening = self.opening.lock();
        for stripe in self.each.iter().filter(|stripe| which(stripe)) {
            stripe.closed.store(false, Ordering::SeqCst);
        }
        drop(opening);
        self.opened.notify_all();
    }
}

impl Stripe {
    fn is_busy(&self) -> bool {
        self.depth.load(Ordering::SeqCst) > 0
    }
}

/// Looks again and again. False where it takes longer.
fn wait_until(patience: Duration, done: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    let mut looks = 0;
    while !done() {
        looks += 1;
        match () {
            () if looks < SPINS => hint::spin_loop(),
            () if start.elapsed() >= patience => return false,
            () if looks < YIELDS => thread::yield_now(),
            () => thread::sleep(PAUSE.min(patience / 4)),
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    const THREADS: usize = 3;

    #[test]
    fn who_is_alone_sees_nothing_half_done() {
        let gate = Gate::new(THREADS + 1);
        let (a, b) = (AtomicU64::new(0), AtomicU64::new(0));
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for index in 0..THREADS {
                let (gate, a, b, stop) = (&gate, &a, &b, &stop);
                scope.spawn(move || {
                    let passage = gate.passage(ThreadSlot(index));
                    while !stop.load(Ordering::Relaxed) {
                        let inside = passage.enter();
                        for _ in 0..10 {
                            a.fetch_add(1, Ordering::Relaxed);
                            thread::yield_now();
                            b.fetch_add(1, Ordering::Relaxed);
                            if inside.must_give_way() {
                                break;
                            }
                        }
                    }
                });
            }
            for _ in 0..300 {
                let alone = gate.close();
                let seen = a.load(Ordering::Relaxed);
                assert_eq!(seen, b.load(Ordering::Relaxed));
                thread::yield_now();
                assert_eq!(seen, a.load(Ordering::Relaxed));
                drop(alone);
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert!(a.load(Ordering::Relaxed) > 0);
    }

    #[test]
    fn a_thread_that_is_inside_goes_in_again() {
        let gate = Gate::new(2);
        let first = gate.enter(ThreadSlot(1));
        let closed = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                drop(gate.close());
                closed.store(true, Ordering::SeqCst);
            });
            while !gate.0.each[1].closed.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            let second = gate.enter(ThreadSlot(1));
            assert!(!second.must_give_way());
            drop(second);
            assert!(!closed.load(Ordering::SeqCst));
            drop(first);
        });
        assert!(closed.load(Ordering::SeqCst));
        drop(gate.enter(ThreadSlot(1)));
    }

    #[test]
    fn who_is_inside_steps_out_and_comes_in_again() {
        let gate = Gate::new(1);
        let inside = gate.enter(ThreadSlot(0));
        let outside = gate.step_out(ThreadSlot(0));
        drop(gate.close());
        drop(gate.enter(ThreadSlot(0)));
        assert!(!gate.0.each[0].is_busy());
        drop(outside);
        assert!(gate.0.each[0].is_busy());
        drop(inside);
        drop(gate.step_out(ThreadSlot(0)));
        assert!(!gate.0.each[0].is_busy());
    }

    #[test]
    fn who_is_isolated_is_inside_alone_and_stays_inside() {
        let gate = Gate::new(2);
        let passed = AtomicBool::new(false);
        let inside = gate.enter(ThreadSlot(0));
        thread::scope(|scope| {
            let isolated = gate.isolate(ThreadSlot(0));
            assert!(gate.is_isolated(ThreadSlot(0)) && !gate.is_isolated(ThreadSlot(1)));
            scope.spawn(|| {
                drop(gate.enter(ThreadSlot(1)));
                passed.store(true, Ordering::SeqCst);
            });
            thread::sleep(Duration::from_millis(5));
            drop(gate.enter(ThreadSlot(0)));
            assert!(!passed.load(Ordering::SeqCst));
            drop(isolated);
        });
        assert!(passed.load(Ordering::SeqCst) && !gate.is_isolated(ThreadSlot(0)));
        assert!(gate.0.each[0].is_busy());
        drop(inside);
        drop(gate.close());
    }

    /// Others work on while one is slow, and it is stopped when it has left.
    #[test]
    fn only_the_slow_one_is_waited_for() {
        let gate = Gate::new(2);
        let closed = AtomicBool::new(false);
        let slow = gate.enter(ThreadSlot(0));
        thread::scope(|scope| {
            scope.spawn(|| {
                drop(gate.close());
                closed.store(true, Ordering::SeqCst);
            });
            let mut passed = 0;
            while passed < 100 {
                drop(gate.enter(ThreadSlot(1)));
                passed += 1;
            }
            assert!(!closed.load(Ordering::SeqCst));
            while !slow.must_give_way() {
                thread::yield_now();
            }
            drop(slow);
        });
        assert!(closed.load(Ordering::SeqCst));
    }
}
