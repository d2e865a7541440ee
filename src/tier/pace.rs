//! When the writer works, and who waits for it.
//!
//! Work goes on in rounds, one at a time. Whoever waits for a change waits for the first round that begins after it.
//!
//! Invariant: who waits is told of a round only when it has ended well; an ended one that failed drops them.

#[cfg(test)]
use std::sync::atomic::AtomicBool;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::Tier;

/// How often the writer looks whether it is time for a run.
const LOOK: Duration = Duration::from_millis(20);

/// From the beginning of a run to the end of the next one: what that one tells of was then safe within a second.
const SAFE: Duration = Duration::from_millis(900);
/// Runs begin so long after each other where they are quick, and at least this where they are not.
const PERIOD: Duration = Duration::from_millis(600);
const PERIOD_MIN: Duration = Duration::from_millis(200);
/// How long the first run may take.
const FIRST_RUN: Duration = Duration::from_millis(400);

/// When the next run begins: the sooner the longer the last ones took.
#[derive(Debug)]
pub(super) struct Rhythm {
    last: Instant,
    /// The longest that a run took lately.
    longest: Duration,
}

impl Rhythm {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            last: now,
            longest: FIRST_RUN,
        }
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        let period = SAFE.saturating_sub(self.longest);
        now.duration_since(self.last) >= period.clamp(PERIOD_MIN, PERIOD)
    }

    /// A run has begun then and taken so long.
    pub(super) fn note(&mut self, began: Instant, took: Duration) {
        self.last = began;
        self.longest = took.max(self.longest * 3 / 4);
    }
}

/// When runs are written, and who waits for them.
#[derive(Debug)]
pub(super) struct Pace {
    state: Mutex<State>,
    changed: Condvar,
    /// Milliseconds from `started` to when the first of the last rounds failed, and one more; 0: the last one ended well.
    failing_since: AtomicU64,
    started: Instant,
    /// The writer panics at its next round.
    #[cfg(test)]
    pub(super) panics: AtomicBool,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            failing_since: AtomicU64::new(0),
            started: Instant::now(),
            #[cfg(test)]
            panics: AtomicBool::new(false),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    /// Rounds that began, and that ended well. A round makes all changes before it durable, in a run or in the log.
    begun: u64,
    done: u64,
    /// The one under way, if there is one.
    under_way: Option<Medium>,
    /// What somebody waits for.
    asked: Option<Medium>,
    /// Those who want to be told of the end of a round, and of which.
    waiting: Vec<(u64, oneshot::Sender<()>)>,
    stopped: bool,
    /// The writer has ended, and not because it was to stop.
    failed: bool,
    saving: Option<Saving>,
    saves: Saves,
}

/// A run that somebody has asked for and that has not ended: what BGSAVE is here.
#[derive(Debug)]
struct Saving {
    round: u64,
    since: Instant,
}

/// The runs that somebody has asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Saves {
    /// How many ended well.
    pub count: u64,
    /// How long the last of them took.
    pub last: Option<Duration>,
    /// For how long one has been under way.
    pub under_way: Option<Duration>,
}

/// How changes are made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Medium {
    /// In the log: soon, and memory must keep them.
    Log,
    /// In a run: they may leave memory.
    Run,
}

impl Pace {
    /// Writes all that is left, and no more after that.
    pub(super) fn stop(&self) {
        self.state.lock().stopped = true;
        self.changed.notify_all();
    }

    /// Asks for a run at once.
    pub(super) fn ask(&self) {
        let mut state = self.state.lock();
        if state.failed {
            return;
        }
        state.asked = Some(Medium::Run);
        let round = state.begun + 1;
        let since = Instant::now();
        state.saving.get_or_insert(Saving { round, since });
        self.changed.notify_all();
    }

    /// What became of the runs that were asked for.
    pub(super) fn saves(&self) -> Saves {
        let state = self.state.lock();
        Saves {
            under_way: state.saving.as_ref().map(|saving| saving.since.elapsed()),
            ..state.saves
        }
    }

    /// Has somebody told when all that had changed before the call is durable.
    pub(super) fn tell(&self, medium: Medium, done: oneshot::Sender<()>) {
        let mut state = self.state.lock();
        if state.failed {
            return;
        }
        let wanted = state.begun + 1;
        state.asked = state.asked.max(Some(medium));
        state.waiting.push((wanted, done));
        self.changed.notify_all();
    }

    /// Has somebody told when the next run ends: of it more may leave memory, whenever it began. It is asked for if there is none.
    pub(super) fn tell_of_run(&self, done: oneshot::Sender<()>) {
        let mut state = self.state.lock();
        if state.under_way == Some(Medium::Run) && !state.failed {
            let wanted = state.begun;
            state.waiting.push((wanted, done));
            return;
        }
        drop(state);
        self.tell(Medium::Run, done);
    }

    /// For how long rounds have failed; `None`: the last one ended well.
    #[inline]
    pub(super) fn failing_for(&self) -> Option<Duration> {
        let since = self.failing_since.load(Ordering::Relaxed).checked_sub(1)?;
        let elapsed = self.started.elapsed();
        Some(elapsed.saturating_sub(Duration::from_millis(since)))
    }

    /// Waits for the next round, but not for long: `due` says whether it is time for a run. True after the stop.
    pub(super) fn begin(&self, due: impl Fn() -> bool) -> Option<(Medium, bool)> {
        let mut state = self.state.lock();
        if state.asked.is_none() && !state.stopped && !due() {
            self.changed.wait_for(&mut state, LOOK);
        }
        let must_run = state.stopped || due();
        let medium = state.asked.max(must_run.then_some(Medium::Run))?;
        #[cfg(test)]
        assert!(!self.panics.load(Ordering::Relaxed), "as a test wants it");
        state.asked = None;
        state.begun += 1;
        state.under_way = Some(medium);
        Some((medium, state.stopped))
    }

    pub(super) fn end(&self, well: bool) {
        let mut state = self.state.lock();
        state.under_way = None;
        if !well {
            self.begin_failing();
            state.begun -= 1;
            // A dropped sender says that it failed.
            state.waiting.clear();
            state.saving = None;
            return;
        }
        self.failing_since.store(0, Ordering::Relaxed);
        state.done += 1;
        let done = state.done;
        if let Some(saved) = state.saving.take_if(|saving| saving.round <= done) {
            state.saves.count += 1;
            state.saves.last = Some(saved.since.elapsed());
        }
        for (_, waiter) in state.waiting.extract_if(.., |(wanted, _)| *wanted <= done) {
            // One that has gone does not wait any more.
            let _ = waiter.send(());
        }
        self.changed.notify_all();
    }

    /// There is no writer any more: who waits is told that it failed, now and from now on.
    pub(super) fn fail(&self) {
        let mut state = self.state.lock();
        state.failed = true;
        state.waiting.clear();
        state.saving = None;
        self.begin_failing();
        self.changed.notify_all();
    }

    /// Whether there is no writer any more, and not because it was to stop.
    pub(super) fn is_failed(&self) -> bool {
        self.state.lock().failed
    }

    /// Nothing can be written from now on, or since before.
    pub(super) fn begin_failing(&self) {
        let now = self.started.elapsed().as_millis() as u64;
        // Where it fails already it has failed for longer.
        let since = &self.failing_since;
        let _ = since.compare_exchange(0, now + 1, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Waits until all that had changed before the call is safe.
    pub(super) fn wait(&self) -> bool {
        let mut state = self.state.lock();
        // A run under way may have passed the change by.
        let wanted = state.begun + 1;
        state.asked = Some(Medium::Run);
        self.changed.notify_all();
        while state.done < wanted && !state.stopped && !state.failed {
            self.changed.wait(&mut state);
        }
        state.done >= wanted
    }
}

impl Tier {
    /// Waits until all that had changed before the call is safe below.
    pub fn sync(&self) -> bool {
        self.pace.wait()
    }

    /// Asks for what waits to be written to be written now.
    pub fn hurry(&self) {
        self.pace.ask();
    }

    /// What became of what was asked for in this way.
    pub fn saves(&self) -> Saves {
        self.pace.saves()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run of 0.4 s that began 0.6 s after the last one left more than a second unsafe.
    #[test]
    fn runs_that_take_long_begin_sooner() {
        let start = Instant::now();
        let due_after = |rhythm: &Rhythm| {
            let at = |ms: &u64| rhythm.is_due(rhythm.last + Duration::from_millis(*ms));
            (0..1000).find(at)
        };
        let mut rhythm = Rhythm::new(start);
        assert_eq!(due_after(&rhythm), Some(500));
        rhythm.note(start, Duration::from_millis(640));
        assert_eq!(due_after(&rhythm), Some(260));
        rhythm.note(start, Duration::from_secs(10));
        assert_eq!(due_after(&rhythm), Some(200));
        for _ in 0..20 {
            rhythm.note(start, Duration::from_millis(30));
        }
        assert_eq!(due_after(&rhythm), Some(600));
    }

    #[test]
    fn a_save_is_under_way_until_a_round_that_began_after_it_has_ended() {
        let pace = Pace::default();
        let is_under_way = || pace.saves().under_way.is_some();
        assert_eq!(pace.saves(), Saves::default());
        let _ = pace.begin(|| true);
        pace.ask();
        pace.end(true);
        // That one may have passed changes by.
        assert!(is_under_way() && pace.saves().count == 0);
        assert_eq!(pace.begin(|| false), Some((Medium::Run, false)));
        pace.ask();
        pace.end(true);
        assert!(!is_under_way() && pace.saves().count == 1 && pace.saves().last.is_some());
        let _ = pace.begin(|| false);
        pace.ask();
        pace.end(false);
        assert!(!is_under_way() && pace.saves().count == 1);
        pace.fail();
        pace.ask();
        assert!(!is_under_way());
    }

    #[test]
    fn who_waits_for_room_is_told_by_the_run_under_way() {
        let pace = Pace::default();
        let (done, mut told) = oneshot::channel();
        pace.tell_of_run(done);
        assert_eq!(pace.begin(|| false), Some((Medium::Run, false)));
        assert!(told.try_recv().is_err());
        // One that comes when the run has begun waits for this one too, and not for another.
        let (done, mut told_too) = oneshot::channel();
        pace.tell_of_run(done);
        pace.end(true);
        assert_eq!((told.try_recv(), told_too.try_recv()), (Ok(()), Ok(())));
        assert_eq!(pace.begin(|| false), None);
    }

    #[test]
    fn a_group_of_the_log_makes_no_room() {
        let pace = Pace::default();
        let (done, mut durable) = oneshot::channel();
        pace.tell(Medium::Log, done);
        assert_eq!(pace.begin(|| false), Some((Medium::Log, false)));
        let (done, mut told) = oneshot::channel();
        pace.tell_of_run(done);
        pace.end(true);
        assert_eq!(durable.try_recv(), Ok(()));
        assert!(told.try_recv().is_err());
        assert_eq!(pace.begin(|| false), Some((Medium::Run, false)));
        pace.end(true);
        assert_eq!(told.try_recv(), Ok(()));
    }

    #[test]
    fn a_run_that_fails_tells_those_who_wait_for_room() {
        let pace = Pace::default();
        let (done, told) = oneshot::channel();
        assert_eq!(pace.begin(|| true), Some((Medium::Run, false)));
        pace.tell_of_run(done);
        pace.end(false);
        assert!(told.blocking_recv().is_err());
        pace.fail();
        let (done, told) = oneshot::channel();
        pace.tell_of_run(done);
        assert!(told.blocking_recv().is_err());
    }
}
