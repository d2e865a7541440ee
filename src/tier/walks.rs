//! The threads that walk over all keys, and what they are asked for: KEYS, SCAN, RANDOMKEY, what DBSIZE must know, the digest.
//!
//! They are apart from those that read for single keys, which a walk would keep for seconds, and less urgent to the system.
//! Two lanes: one thread is for **short** walks alone; the other goes over long ones, one after the other, so that there is
//! one long page at a time, and serves short ones in between.
//!
//! Invariant: at most [`WALKERS`] walks go on at once, whatever clients ask for. The rest waits and has no page.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::Tier;
use crate::engine::Engine;
use crate::keyspace::ThreadSlot;
use crate::keyspace::residency::{Ask, Page};
use crate::threads;

/// How many walks go on at once.
pub(super) const WALKERS: usize = 2;
/// SCAN with a larger COUNT is a long walk.
const SHORT_COUNT_MAX: usize = 10_000;
/// How much less urgent the threads are than those that answer single keys.
const NICENESS: i32 = 10;

/// What the threads work on.
#[derive(Debug, Default)]
pub(super) struct Walks {
    queue: Mutex<Queue>,
    arrived: Condvar,
    /// What pages take that nobody has taken over yet.
    bytes: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct Queue {
    short: VecDeque<Asked>,
    long: VecDeque<Asked>,
    /// Whether somebody looks for keys that may be counted twice. Who asks for that meanwhile waits for its end.
    is_counting: bool,
    is_stopped: bool,
}

#[derive(Debug)]
struct Asked {
    ask: Ask,
    done: oneshot::Sender<Page>,
}

/// What a thread is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    Short,
    Long,
}

impl Lane {
    pub(super) const ALL: [Self; WALKERS] = [Self::Short, Self::Long];

    fn of(ask: &Ask) -> Self {
        match ask {
            Ask::Keys { count, .. } if *count > SHORT_COUNT_MAX => Self::Long,
            Ask::Everything { .. } => Self::Long,
            _ => Self::Short,
        }
    }
}

impl Queue {
    fn pop_short(&mut self) -> Option<Asked> {
        let is_counting = self.is_counting;
        let may_run = |asked: &Asked| !is_counting || asked.ask != Ask::Count;
        let at = self.short.iter().position(may_run)?;
        let asked = self.short.remove(at)?;
        self.is_counting |= asked.ask == Ask::Count;
        Some(asked)
    }

    fn pop(&mut self, lane: Lane) -> Option<Asked> {
        self.pop_short().or_else(|| match lane {
            Lane::Short => None,
            Lane::Long => self.long.pop_front(),
        })
    }
}

impl Walks {
    /// The bytes of pages.
    pub(super) fn bytes(&self) -> &Arc<AtomicUsize> {
        &self.bytes
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        let queue = self.queue.lock();
        queue.short.len() + queue.long.len()
    }

    pub(super) fn stop(&self) {
        self.queue.lock().is_stopped = true;
        self.arrived.notify_all();
    }

    /// Asks for an answer.
    pub(super) fn ask(&self, ask: Ask) -> oneshot::Receiver<Page> {
        let (done, answered) = oneshot::channel();
        let mut queue = self.queue.lock();
        let lane = match Lane::of(&ask) {
            Lane::Short => &mut queue.short,
            Lane::Long => &mut queue.long,
        };
        lane.push_back(Asked { ask, done });
        self.arrived.notify_all();
        answered
    }

    fn next(&self, lane: Lane) -> Option<Asked> {
        let mut queue = self.queue.lock();
        loop {
            if queue.is_stopped {
                return None;
            }
            if let Some(asked) = queue.pop(lane) {
                return Some(asked);
            }
            self.arrived.wait(&mut queue);
        }
    }

    fn has_counted(&self) {
        self.queue.lock().is_counting = false;
        self.arrived.notify_all();
    }
}

/// A walker's life.
pub(super) fn run(engine: &Engine, thread: ThreadSlot, lane: Lane) {
    let Some(tier) = &engine.tier else { return };
    // Where the system refuses it they are as urgent as others.
    let _ = rustix::process::nice(NICENESS);
    while let Some(asked) = tier.walks.next(lane) {
        walk(tier, engine, thread, asked, lane);
    }
}

fn walk(tier: &Tier, engine: &Engine, thread: ThreadSlot, asked: Asked, lane: Lane) {
    let Asked { ask, done } = asked;
    let is_count = ask == Ask::Count;
    let between = || {
        if lane == Lane::Long {
            serve_short(tier, engine, thread);
        }
        !done.is_closed() && !tier.is_stopping.load(Ordering::Relaxed)
    };
    // One who has gone asks for nothing.
    if !done.is_closed() {
        // After a panic the one who asked is told nothing, and takes that for a failure.
        let answer = || tier.answer(engine, ask, thread, &between);
        if let Some(page) = threads::caught("a walk over the disk tier", answer) {
            let _ = done.send(page);
        }
    }
    if is_count {
        tier.walks.has_counted();
    }
}

/// Serves the short walks that wait, in the middle of a long one.
fn serve_short(tier: &Tier, engine: &Engine, thread: ThreadSlot) {
    loop {
        let short = tier.walks.queue.lock().pop_short();
        let Some(short) = short else { return };
        walk(tier, engine, thread, short, Lane::Short);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UnixMs;
    use crate::keyspace::residency::KeyFilter;
    use crate::testing::Db;
    use crate::tier::Need;

    fn keys(count: usize) -> Ask {
        Ask::Keys {
            db: 0,
            cursor: 0,
            count,
            filter: KeyFilter::default(),
            now: UnixMs(0),
        }
    }

    #[test]
    fn walks_do_not_stand_in_the_queue_of_those_who_read_single_keys() {
        let db = Db::tiered(|_| {});
        let tier = db.engine().tier.as_ref().expect("there is a tier");
        let random = Ask::AnyKey {
            db: 0,
            random: 1,
            now: UnixMs(0),
        };
        let asked = [keys(usize::MAX), keys(10), random, Ask::Count];
        let _waiting = asked.map(|ask| tier.meet(Need::Answer(ask)));
        assert_eq!((tier.loads.waiting(), tier.walks.waiting()), (0, 4));
        let key = Ask::Key {
            db: 0,
            key: b"k"[..].into(),
            now: UnixMs(0),
        };
        let _waiting = tier.meet(Need::Answer(key));
        assert_eq!((tier.loads.waiting(), tier.walks.waiting()), (1, 4));
    }

    #[test]
    fn one_long_walk_goes_on_at_a_time_and_short_ones_in_between() {
        let walks = Walks::default();
        let long: Vec<_> = (0..4).map(|_| walks.ask(keys(usize::MAX))).collect();
        let mut queue = walks.queue.lock();
        assert!(queue.pop(Lane::Short).is_none());
        assert!(queue.pop(Lane::Long).is_some());
        drop(queue);
        let short = walks.ask(keys(10));
        let mut queue = walks.queue.lock();
        // Before the other long ones, on whichever thread.
        let asked = queue.pop(Lane::Long).expect("it waits");
        assert_eq!(asked.ask, keys(10));
        assert_eq!((queue.long.len(), queue.short.len()), (3, 0));
        drop((long, short));
    }

    #[test]
    fn keys_that_may_be_counted_twice_are_looked_for_once_at_a_time() {
        let walks = Walks::default();
        let _all = [
            walks.ask(Ask::Count),
            walks.ask(Ask::Count),
            walks.ask(keys(1)),
        ];
        let pop = |lane| walks.queue.lock().pop(lane).map(|asked| asked.ask);
        assert_eq!(pop(Lane::Short), Some(Ask::Count));
        assert_eq!(pop(Lane::Long), Some(keys(1)));
        assert_eq!(pop(Lane::Long), None);
        walks.has_counted();
        assert_eq!(pop(Lane::Long), Some(Ask::Count));
    }

    #[test]
    fn a_walk_whose_client_has_gone_ends() {
        let mut db = Db::tiered(|_| {});
        for i in 0..1_000 {
            db.run(&format!("SET key{i} 1")).ok();
        }
        let engine = db.engine();
        let tier = engine.tier.as_ref().expect("there is a tier");
        let (done, answered) = oneshot::channel::<Page>();
        let asked = std::cell::Cell::new(0);
        let mut answered = Some(answered);
        let answered = std::cell::RefCell::new(&mut answered);
        let between = || {
            asked.set(asked.get() + 1);
            // It goes after the first part.
            answered.borrow_mut().take();
            !done.is_closed()
        };
        let page = tier.answer(engine, keys(usize::MAX), engine.tier_slot(1), &between);
        assert!(page.failed && page.names.is_empty());
        assert_eq!(asked.get(), 1);
        assert_eq!(tier.walks.bytes().load(Ordering::Relaxed), 0);
    }
}
