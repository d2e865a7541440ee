//! Writes at the pace at which the tier below takes them.
//!
//! Where clients change more than the writer makes safe, memory fills with what may not leave it, and then everybody would wait
//! until a whole run has ended. So before it comes to that commands that write take turns: each moves a clock on by the time
//! that the writer needs for what it changes, and waits until the clock's time has come. That is a **virtual clock**, as cell rate
//! algorithms of networks have it: the waits are exact, one for each batch of requests, and in the order of arrival, but that who
//! changes little next to the others is let in before ([`Share`]).
//!
//! Under `tier-durability everysec` there is a second reason: what is not safe must be so within a second. What changes while a run
//! is gathered is of the same run, so where clients change as much as the writer takes it would not end. So what may be unsafe is
//! the less of two: a part of memory, and what the writer takes in some time.
//!
//! What is charged follows the writer: what it makes safe in a second, and more or less of it so that about a certain part of
//! that room is not safe at the end of a run. It stays the same for a run, so that the line is about as long all the time. While little
//! is not safe nobody waits, so a short burst is not held up at all; and where there is ever more, whatever was measured,
//! writes come to nearly nothing before the room is full of it.
//!
//! Rejected: to hold each batch for a time that follows what is not safe at the moment. The right one depends on the number of
//! clients, the depth of their pipelines and the size of values, and where it was too short everybody stood still again.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use self::share::Writers;
use super::Engine;
use crate::config::TierDurability;

pub use self::share::Share;

mod share;

/// Nobody is held up while no more than this part of the room is not safe, in hundredths, and was not at the end of the last run.
const OPEN_PERCENT: u64 = 17;
/// So much of it is to be at the end of a run. The writer has a run's end to do besides, and what changes while it writes is of the
/// same run: where clients change nearly as much as it can write runs become very long.
const WANTED_PERCENT: u64 = 27;
/// From here on writes become slower at once.
const FULL_PERCENT: u64 = 36;
/// With so much of memory unsafe they are slowest: at a half what may leave memory is hard to find.
const SLOWEST_PERCENT: u64 = 52;
const SLOWEST: f64 = 0.05;
/// Where time is short and memory is not they become slower by less. A disk that hesitates for a moment is to be waited for by
/// nobody.
const LATEST_PERCENT: u64 = 100;
const LATEST: f64 = 0.3;
/// The pace of clients in thousandths of the writer's: the least and the most, and how much it changes from run to run.
const PACE: (u64, u64) = (300, 1200);
const FIRST_PACE: u64 = 600;
const PACE_STEP: (f64, f64) = (0.7, 1.1);
const NEAR: (f64, f64) = (0.7, 1.4);
/// A run begins when this part of the room has changed, or so many bytes.
const RUN_PERCENT: u64 = 12;
const RUN_BYTES: u64 = 32 << 20;
/// The first one begins sooner: the sooner it is known how much the writer takes, and a kill before its end takes all.
const FIRST_RUN_BYTES: u64 = 2 << 20;
/// In less memory nobody takes turns: its runs are short, and what they take while they are written is much of it.
const ROOM_MIN: u64 = 40 << 20;
/// Under `everysec` the room is what the writer takes in so many seconds. What is to be unsafe at the end of a run, 27 hundredths of
/// that, takes half a second then, and a run as long: after a kill a second is missing at most.
const ROOM_S: f64 = 2.0;
/// But no more than this: a writer of half a gigabyte a second may be one of a tenth in the next.
const ROOM_BYTES_MAX: u64 = 256 << 20;
/// Bytes a second, until the first run shows what they are.
const FIRST_RATE: u64 = 96 << 20;
/// Were this less clients would wait in vain.
const RATE_MIN: u64 = 1 << 20;
/// Of a run under way it is known how fast it is after so long. Gathering is about this part of its time.
const GATHERED_MIN: Duration = Duration::from_millis(100);
const GATHERING: f64 = 0.75;
/// Runs differ by less than to this part of the rate.
const SLOW: f64 = 0.7;
/// A smaller run tells nothing: what it takes is mostly the end.
const MEASURED_BYTES_MIN: u64 = 1 << 20;
/// When all runs since have been that small nobody is behind.
const QUIET_MS: u64 = 1000;
/// The writer hurries until no run has ended with much for so long. Between two large runs there may be a small one, which ends with
/// little: were the next large one written at leisure it would take twice as long, and so on.
const HURRY_MS: u64 = 1000;
/// Shorter waits than the timers know are none.
const WAIT_MIN: Duration = Duration::from_millis(2);
/// And no command waits for longer, nor does the clock run ahead by more, whatever was charged.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// The clock, and what it goes by.
#[derive(Debug)]
pub struct Pacing {
    started: Instant,
    /// Nanoseconds since then: when the next turn is.
    next: AtomicU64,
    /// Bytes that the writer makes safe in a second.
    rate: AtomicU64,
    /// Whether a run has told that.
    is_measured: AtomicBool,
    /// What keys and values may take; `u64::MAX`: there is no limit.
    memory: AtomicU64,
    /// Whether all must be safe in time.
    is_timed: AtomicBool,
    /// The less of the memory and of what is safe in time.
    room: AtomicU64,
    /// Nobody takes turns while no more is unsafe.
    open_bytes: AtomicU64,
    /// The pace of clients in thousandths of the writer's.
    pace: AtomicU64,
    /// Whether much was not safe at the end of the last run.
    is_behind: AtomicBool,
    /// Milliseconds from `started` to the end of the last run that told something.
    measured: AtomicU64,
    /// And to when the writer need not hurry any more.
    hurries_until: AtomicU64,
    /// The clients that take turns.
    writers: Writers,
}

/// How long it is for who comes now.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    now: u64,
    /// Bytes a second that all together may change.
    rate: f64,
    wait: Duration,
}

impl Default for Pacing {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            next: AtomicU64::new(0),
            rate: AtomicU64::new(FIRST_RATE),
            is_measured: AtomicBool::new(false),
            memory: AtomicU64::new(u64::MAX),
            is_timed: AtomicBool::new(false),
            room: AtomicU64::new(u64::MAX),
            open_bytes: AtomicU64::new(u64::MAX),
            pace: AtomicU64::new(FIRST_PACE),
            is_behind: AtomicBool::new(false),
            measured: AtomicU64::new(0),
            hurries_until: AtomicU64::new(0),
            writers: Writers::default(),
        }
    }
}

impl Pacing {
    /// Whether commands take turns while so many bytes are not safe.
    #[inline]
    pub fn is_on(&self, unsafe_bytes: u64) -> bool {
        unsafe_bytes > self.open_bytes.load(Ordering::Relaxed)
    }

    /// Follows what keys and values may take, and whether all must be safe in time.
    fn steer(&self, memory: Option<u64>, is_timed: bool) {
        self.memory
            .store(memory.unwrap_or(u64::MAX), Ordering::Relaxed);
        self.is_timed.store(is_timed, Ordering::Relaxed);
        self.measure_room();
    }

    fn measure_room(&self) {
        let rate = self.rate.load(Ordering::Relaxed) as f64;
        let in_time = match self.is_timed.load(Ordering::Relaxed) {
            true => ((rate * ROOM_S) as u64).min(ROOM_BYTES_MAX),
            false => u64::MAX,
        };
        let memory = self.memory.load(Ordering::Relaxed);
        self.room.store(memory.min(in_time), Ordering::Relaxed);
        self.set_behind(self.is_behind.load(Ordering::Relaxed));
    }

    fn set_behind(&self, is_behind: bool) {
        self.is_behind.store(is_behind, Ordering::Relaxed);
        let open_bytes = match self.room.load(Ordering::Relaxed) {
            u64::MAX => u64::MAX,
            _ if is_behind => 0,
            room => room / 100 * OPEN_PERCENT,
        };
        self.open_bytes.store(open_bytes, Ordering::Relaxed);
    }

    /// Whether the writer needs seconds for so much.
    pub fn takes_long(&self, bytes: u64) -> bool {
        bytes > self.rate.load(Ordering::Relaxed)
    }

    /// Whether clients wait for the writer, or did a moment ago.
    pub fn writer_hurries(&self) -> bool {
        self.hurries_at(self.started.elapsed())
    }

    fn hurries_at(&self, now: Duration) -> bool {
        (now.as_millis() as u64) < self.hurries_until.load(Ordering::Relaxed)
    }

    /// Gives a client its turn for requests of so many bytes: how long they must wait for that, if at all.
    pub fn turn(&self, share: &mut Share, asked: u64, line: Line) -> Option<Duration> {
        let writers = self.writers.count(line.now, share);
        let own_rate = writers.map(|writers| line.rate / f64::from(writers));
        let wait = share.wait(line.now, asked, own_rate, line.wait);
        (wait >= WAIT_MIN).then_some(wait)
    }

    /// Moves the common clock on by what the writer needs for so many bytes that were changed. Nothing while nobody takes turns.
    pub fn charge(&self, changed: u64, unsafe_bytes: u64) -> Option<Line> {
        if !self.is_on(unsafe_bytes) {
            return None;
        }
        let rate = self.rate_at(unsafe_bytes);
        let cost = changed as f64 * 1e9 / rate;
        let now = self.started.elapsed().as_nanos() as u64;
        let latest = now + WAIT_MAX.as_nanos() as u64;
        let mut turn = now;
        // It never fails: there is always another time.
        let _ = self
            .next
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| {
                turn = next.max(now);
                Some(turn.saturating_add(cost as u64).min(latest))
            });
        let wait = Duration::from_nanos(turn - now).min(WAIT_MAX);
        Some(Line { now, rate, wait })
    }

    /// Bytes a second that clients may change while so many are not safe.
    fn rate_at(&self, unsafe_bytes: u64) -> f64 {
        let left = |room: &AtomicU64, end: u64| {
            let room = room.load(Ordering::Relaxed) as f64;
            let percent = 100.0 * unsafe_bytes as f64 / room.max(1.0);
            (end as f64 - percent) / (end - FULL_PERCENT) as f64
        };
        let in_memory = left(&self.memory, SLOWEST_PERCENT).max(SLOWEST);
        let in_time = left(&self.room, LATEST_PERCENT).max(LATEST);
        let pace = self.pace.load(Ordering::Relaxed) as f64 / 1000.0;
        pace * in_memory.min(in_time).min(1.0) * self.rate.load(Ordering::Relaxed) as f64
    }

    /// The writer has gathered so many bytes in this time, of a run that goes on. Where that is slower than was known clients must not
    /// go on as before until it ends: what they change is of the same run. But a few long values may make it seem slower than it is:
    /// it counts as a quarter as fast as before at least. Of the first run nothing was known.
    pub fn gathers(&self, bytes: u64, time: Duration, rate_before: u64) {
        if time < GATHERED_MIN {
            return;
        }
        let rate = (bytes as f64 / time.as_secs_f64() * GATHERING) as u64;
        let is_first = !self.is_measured.load(Ordering::Relaxed);
        let least = if is_first {
            FIRST_RATE / 16
        } else {
            rate_before / 4
        };
        let rate = rate.max(least).max(RATE_MIN);
        if is_first || (rate as f64) < self.rate() as f64 * SLOW {
            self.rate.store(rate, Ordering::Relaxed);
            self.measure_room();
        }
    }

    /// Bytes that the writer makes safe in a second.
    pub fn rate(&self) -> u64 {
        self.rate.load(Ordering::Relaxed)
    }

    /// The writer has made so many bytes safe in this time, at the end of which so many were not safe.
    pub fn wrote(&self, bytes: u64, time: Duration, unsafe_bytes: u64) {
        self.wrote_at(self.started.elapsed(), bytes, time, unsafe_bytes);
    }

    fn wrote_at(&self, now: Duration, bytes: u64, time: Duration, unsafe_bytes: u64) {
        let room = self.room.load(Ordering::Relaxed);
        let percent = unsafe_bytes.saturating_mul(100) / room.max(1);
        let now = now.as_millis() as u64;
        if bytes < MEASURED_BYTES_MIN.min(room / 100) {
            // Not where somebody asked for one more behind a large one.
            if now > self.measured.load(Ordering::Relaxed) + QUIET_MS {
                self.set_behind(false);
            }
            return;
        }
        self.measured.store(now, Ordering::Relaxed);
        let is_behind = percent > OPEN_PERCENT;
        self.set_behind(is_behind);
        if is_behind {
            self.hurries_until.store(now + HURRY_MS, Ordering::Relaxed);
        }
        // Runs differ by a third either way without a reason. Were all of that followed clients would wait now for less and now for more.
        let step = WANTED_PERCENT as f64 / percent.max(1) as f64;
        let step = match (NEAR.0..=NEAR.1).contains(&step) {
            true => step.powf(0.2),
            false => step,
        };
        let pace = self.pace.load(Ordering::Relaxed) as f64 * step.clamp(PACE_STEP.0, PACE_STEP.1);
        self.pace
            .store((pace as u64).clamp(PACE.0, PACE.1), Ordering::Relaxed);
        let rate = (bytes as f64 / time.as_secs_f64().max(1e-3)) as u64;
        let rate = match self.is_measured.swap(true, Ordering::Relaxed) {
            true => (3 * self.rate() + rate) / 4,
            false => rate,
        };
        self.rate.store(rate.max(RATE_MIN), Ordering::Relaxed);
        tracing::debug!(
            percent,
            room,
            pace = self.pace.load(Ordering::Relaxed),
            rate = self.rate.load(Ordering::Relaxed),
            "writes take turns at this pace"
        );
    }

    /// How much may change before a run begins.
    pub fn run_bytes(&self) -> u64 {
        let room = self.room.load(Ordering::Relaxed);
        let most = match self.is_measured.load(Ordering::Relaxed) {
            true => RUN_BYTES,
            false => FIRST_RUN_BYTES,
        };
        (room / 100 * RUN_PERCENT).min(most)
    }
}

impl Engine {
    /// Follows the options, and what keys and values may take.
    pub fn steer_pacing(&self) {
        let config = self.config.load();
        let limit = config.maxmemory;
        let memory = limit.saturating_sub(self.other_bytes_to_evict(limit) as u64);
        let is_timed = config.tier_durability == TierDurability::Everysec;
        self.pacing
            .steer((memory >= ROOM_MIN).then_some(memory), is_timed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Db;

    const MB: u64 = 1 << 20;

    fn pacing(room: u64) -> Pacing {
        let pacing = Pacing::default();
        pacing.steer((room > 0).then_some(room), false);
        pacing
    }

    #[test]
    fn writes_take_turns_only_where_much_is_not_safe() {
        let pacing = pacing(100 * MB);
        for _ in 0..1000 {
            assert!(pacing.charge(MB, 13 * MB).is_none());
        }
        let charge = 100 * 1024;
        let lines = (0..100).filter_map(|_| pacing.charge(charge, 20 * MB));
        let lines: Vec<_> = lines.map(|line| line.wait).collect();
        // They are spread over the time that the writer needs for what was charged, more or less.
        assert!(lines.len() == 100, "{lines:?}");
        let charged = 100.0 * charge as f64 / pacing.rate_at(20 * MB);
        let last = lines.last().map_or(0.0, Duration::as_secs_f64);
        assert!(
            (0.5 * charged..1.1 * charged).contains(&last),
            "{last} {charged}"
        );
    }

    /// One that set ten bytes beside fifty that set much waited for as long as they.
    #[test]
    fn who_changes_little_does_not_wait_behind_those_who_change_much() {
        let pacing = pacing(100 * MB);
        let mut many: Vec<_> = (0..50).map(|_| Share::default()).collect();
        let turn = |share: &mut Share, bytes| {
            let line = pacing.charge(bytes, 20 * MB).expect("they take turns");
            pacing.turn(share, bytes, line).unwrap_or_default()
        };
        let mut few = Share::default();
        turn(&mut few, 100);
        for _ in 0..2 {
            many.iter_mut().for_each(|share| {
                turn(share, 160 * 1024);
            });
        }
        let is_long = |wait| assert!(wait > Duration::from_millis(100), "{wait:?}");
        is_long(turn(&mut many[0], 160 * 1024));
        assert_eq!(turn(&mut few, 100), Duration::ZERO);
        // Not who has changed much with a short request, nor who connects anew for each.
        few.settle(1 << 20);
        is_long(turn(&mut few, 100));
        is_long(turn(&mut Share::default(), 100));
    }

    #[test]
    fn the_more_is_not_safe_the_slower_writes_are() {
        let pacing = pacing(100 * MB);
        let rates = (15..60).map(|mb| pacing.rate_at(mb * MB) as u64);
        let rates: Vec<_> = rates.collect();
        assert!(rates.is_sorted_by(|a, b| a >= b));
        assert_eq!(rates[0], FIRST_RATE * FIRST_PACE / 1000);
        assert!(rates.last().is_some_and(|&rate| rate < FIRST_RATE / 4));
    }

    #[test]
    fn a_run_that_ended_with_much_slows_writes_for_the_next_one() {
        let pacing = pacing(100 * MB);
        let second = Duration::from_secs(1);
        pacing.wrote(FIRST_RATE, second, WANTED_PERCENT * MB);
        let before = pacing.rate_at(MB);
        // Also while little is not safe: all commands are to wait for as long.
        assert!(pacing.is_on(MB));
        pacing.wrote(FIRST_RATE, second, 30 * MB);
        assert!(pacing.rate_at(MB) < before && pacing.is_on(MB));
        for _ in 0..10 {
            pacing.wrote(FIRST_RATE, second, MB);
        }
        assert!(pacing.rate_at(MB) > before && !pacing.is_on(MB));
    }

    /// The small run of what had changed at the end of a large one told that nobody is behind, and the next large one took its time.
    #[test]
    fn the_writer_hurries_over_a_small_run_between_two_large_ones() {
        let pacing = pacing(100 * MB);
        let ms = Duration::from_millis;
        pacing.wrote_at(ms(1000), 25 * MB, ms(400), 22 * MB);
        pacing.wrote_at(ms(1050), 3 * MB, ms(40), 5 * MB);
        assert!(!pacing.is_on(MB) && pacing.hurries_at(ms(1060)));
        assert!(!pacing.hurries_at(ms(2000)));
        pacing.wrote_at(ms(2700), 25 * MB, ms(400), 22 * MB);
        assert!(pacing.is_on(MB) && pacing.hurries_at(ms(2710)));
    }

    /// Fault B17: with memory full of what was not safe everybody waited for one or two seconds.
    #[test]
    fn writes_take_turns_before_memory_is_full_of_what_is_not_safe() {
        let mut db = Db::tiered(|config| config.maxmemory = 64 * MB);
        db.engine().steer_pacing();
        // Of a disk that takes next to nothing, so that it is slower than this test anywhere.
        db.engine().pacing.rate.store(10_000, Ordering::Relaxed);
        let value = "v".repeat(1000);
        let set = |db: &mut Db, from: usize, to: usize| {
            let before = db.now();
            for i in from..to {
                db.run(&format!("SET k:{i} {value}")).ok();
            }
            db.now().0 - before.0
        };
        // A burst waits for nothing, and what follows it for some milliseconds each.
        assert_eq!(set(&mut db, 0, 500), 0);
        assert!(set(&mut db, 500, 12_000) > 0);
        let unsafe_bytes = db.engine().keyspace.unsafe_bytes();
        assert!(db.engine().pacing.is_on(unsafe_bytes));
        // What only reads does not wait.
        let before = db.now();
        db.run("GET k:1").bulk(&value);
        assert_eq!(db.now(), before);
        // What deletes does: the tier must learn of it too.
        for i in 0..500 {
            db.run(&format!("DEL k:{i}")).int(1);
        }
        assert!(db.now() > before);
        // When all is safe it is as before.
        db.write();
        db.engine().pacing.set_behind(false);
        assert_eq!(set(&mut db, 0, 300), 0);
    }

    #[test]
    fn what_a_client_has_sent_at_once_waits_once() {
        let mut db = Db::tiered(|config| config.maxmemory = 64 * MB);
        db.engine().steer_pacing();
        db.engine().pacing.rate.store(RATE_MIN, Ordering::Relaxed);
        db.engine().pacing.set_behind(true);
        let mut key = 0;
        let mut waited = |db: &mut Db, count: usize| {
            let before = db.now();
            let sets = (key..key + count).map(|k| format!("SET {k} {}\r\n", "v".repeat(100_000)));
            let sets: String = sets.collect();
            key += count;
            assert_eq!(db.send(sets.as_bytes()).len(), 5 * count);
            db.now().0 - before.0
        };
        // Nothing is unsafe yet, then nobody has asked for a turn yet, and then the clock is charged for what was changed before.
        for _ in 0..3 {
            assert_eq!(waited(&mut db, 1), 0);
        }
        let once = waited(&mut db, 16);
        let most = WAIT_MAX.as_millis() as i64;
        assert!((50..=most).contains(&once), "{once}");
        // All of it was charged.
        waited(&mut db, 1);
        let line = db.engine().pacing.charge(0, MB);
        assert!(line.is_some_and(|line| line.wait > WAIT_MAX * 9 / 10));
    }

    /// Turns came in the order in which they were asked for, whoever asked.
    #[test]
    fn each_client_pays_for_what_its_own_commands_have_changed() {
        let mut db = Db::tiered(|config| config.maxmemory = 64 * MB);
        db.engine().steer_pacing();
        db.engine().pacing.rate.store(RATE_MIN, Ordering::Relaxed);
        let long = "v".repeat(200_000);
        let waited = |db: &mut Db, line: &str| {
            let before = db.now();
            let _ = db.run(line);
            db.now().0 - before.0
        };
        waited(&mut db, &format!("SET long {long}"));
        db.engine().pacing.set_behind(true);
        // Both are known from now on.
        for client in [1, 2] {
            db.switch(client);
            waited(&mut db, "SET few v");
        }
        let mut line = || {
            db.switch(1);
            (0..4).for_each(|i| {
                waited(&mut db, &format!("SET many:{i} {long}"));
            });
            db.switch(2);
            waited(&mut db, "SET few v")
        };
        assert_eq!(line(), 0);
        // A request of twenty bytes that changes much is paid for by the next one.
        waited(&mut db, "COPY long copy");
        assert!(waited(&mut db, "SET few v") > 100);
    }

    /// The first command that took its turn was charged for all that its thread had changed since turns were taken last: at a
    /// disk's ten megabytes a second all others waited for fifty milliseconds.
    #[test]
    fn what_was_written_while_nobody_took_turns_is_free() {
        let mut db = Db::tiered(|config| config.maxmemory = 64 * MB);
        db.engine().steer_pacing();
        db.engine().pacing.rate.store(RATE_MIN, Ordering::Relaxed);
        let value = "v".repeat(50_000);
        for behind in [false, true] {
            db.engine().pacing.set_behind(behind);
            let before = db.now();
            for i in 0..3 {
                db.run(&format!("SET k:{behind}:{i} {value}")).ok();
            }
            let waited = db.now().0 - before.0;
            // Each is charged for the one before.
            let most = if behind { 2 * 50 * 1000 / 600 + 20 } else { 0 };
            assert!(waited <= most, "{waited}");
        }
    }

    #[test]
    fn without_a_limit_of_memory_nobody_is_held_up() {
        let pacing = pacing(0);
        assert!(pacing.charge(MB, u64::MAX - 1).is_none());
        // The first one shows how much the writer takes.
        assert_eq!(pacing.run_bytes(), FIRST_RUN_BYTES);
        pacing.wrote(10 * MB, Duration::from_secs(1), MB);
        assert_eq!(pacing.run_bytes(), RUN_BYTES);
    }

    /// With memory for all of it a run took from three to eight seconds where clients wrote new keys at full speed, and a kill took
    /// as much.
    #[test]
    fn under_everysec_writes_take_turns_whatever_memory_there_is() {
        let pacing = pacing(1 << 40);
        assert!(!pacing.is_on(100 * MB));
        for memory in [None, Some(1 << 40)] {
            pacing.steer(memory, true);
            let in_a_second = pacing.rate.load(Ordering::Relaxed);
            assert!(!pacing.is_on(in_a_second / 4) && pacing.is_on(in_a_second / 2));
            assert!(pacing.run_bytes() < in_a_second / 2);
        }
        pacing.wrote(10 * MB, Duration::from_secs(1), MB);
        // Less, when that is little.
        pacing.steer(Some(20 * MB), true);
        assert!(pacing.is_on(5 * MB));
    }

    /// The first run was as slow as the machine was busy, and clients went on at the pace of a quick one for seven seconds.
    #[test]
    fn a_run_that_turns_out_slow_slows_writes_before_it_ends() {
        let pacing = pacing(1 << 40);
        pacing.steer(None, true);
        let ms = Duration::from_millis;
        // The first one tells what nobody knew.
        pacing.gathers(FIRST_RATE, ms(300), FIRST_RATE);
        assert!(pacing.rate() > 2 * FIRST_RATE);
        pacing.gathers(FIRST_RATE / 30, ms(300), FIRST_RATE);
        assert!(pacing.rate() < FIRST_RATE / 10);
        for _ in 0..20 {
            pacing.wrote(FIRST_RATE, ms(1000), 40 * MB);
            pacing.steer(None, true);
        }
        let (rate, before) = (pacing.rate(), pacing.rate_at(8 * MB));
        pacing.gathers(FIRST_RATE, ms(300), rate);
        pacing.gathers(1, ms(10), rate);
        assert_eq!(pacing.rate_at(8 * MB), before);
        pacing.gathers(FIRST_RATE / 10, ms(300), rate);
        assert!(pacing.rate_at(8 * MB) < before / 2.0);
        // However long the values are that it has begun with.
        pacing.gathers(1, ms(900), rate);
        assert_eq!(pacing.rate(), rate / 4);
    }

    /// As its run is awaited by nobody, a disk that has stopped for some time must not have all clients wait.
    #[test]
    fn short_time_slows_writes_by_less_than_little_memory() {
        let rate = |memory, is_timed| {
            let pacing = Pacing::default();
            pacing.steer(memory, is_timed);
            pacing.rate_at(100 * MB) / pacing.rate_at(MB)
        };
        assert_eq!(rate(None, false), 1.0);
        assert!(rate(Some(100 * MB), false) <= SLOWEST);
        assert!((LATEST..1.0).contains(&rate(None, true)));
        assert!(rate(Some(100 * MB), true) <= SLOWEST);
    }

    #[test]
    fn no_command_waits_for_long_whatever_was_charged() {
        let pacing = pacing(MB);
        for _ in 0..100_000 {
            let line = pacing.charge(u64::MAX, u64::MAX).expect("it is on");
            let wait = pacing.turn(&mut Share::default(), u64::MAX, line);
            assert!(line.wait <= WAIT_MAX && wait.is_none_or(|wait| wait <= WAIT_MAX));
        }
        // Nor for the sum of it, when the disk follows again.
        let ahead = pacing.next.load(Ordering::Relaxed);
        assert!(u128::from(ahead) <= (pacing.started.elapsed() + WAIT_MAX).as_nanos());
    }

    #[test]
    fn the_pace_follows_what_the_writer_does() {
        let pacing = pacing(100 * MB);
        for _ in 0..20 {
            pacing.wrote(10 * MB, Duration::from_secs(1), MB);
        }
        let rate = pacing.rate.load(Ordering::Relaxed);
        assert!((9 * MB..=11 * MB).contains(&rate), "{rate}");
        pacing.wrote(1, Duration::from_secs(100), MB);
        assert_eq!(pacing.rate.load(Ordering::Relaxed), rate);
    }
}
