//! Keys that are below alone: how many there are, and when their time comes.
//!
//! The threads' stripes count the keys of a space wherever these are, so that a key which moves between the tiers changes
//! no number that DBSIZE reads. What no thread of requests does is counted here: keys that were below when the server
//! started, or that go there.
//!
//! A key below is not looked at when its time comes. It must leave the count all the same, so the cold keys with an expiry
//! are counted by the second of their expiry. A database may have as many such seconds as keys; beyond 65,536 two
//! neighbours become one, again and again. A bucket leaves the count when all of its time has passed: never too early, and
//! a second late while expiries lie within 18 hours.
//!
//! Invariant: a cold key whose expiry lies before `swept_s` is not counted; every other one is.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::Mutex;

use crate::clock::UnixMs;

/// About three megabytes for a database at the most.
const BUCKETS_MAX: usize = if cfg!(miri) { 64 } else { 65_536 };

/// The counts of one space.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// What is to be added to the threads' numbers.
    keys: AtomicI64,
    expiring: AtomicI64,
    /// Keys below alone: a part of the total.
    cold: AtomicI64,
    expiries: Mutex<Expiries>,
}

impl Tally {
    pub(super) fn keys(&self) -> i64 {
        self.keys.load(Ordering::Relaxed)
    }

    pub(super) fn expiring(&self) -> i64 {
        self.expiring.load(Ordering::Relaxed)
    }

    /// How many keys below alone expire.
    pub(super) fn cold_expiring(&self) -> i64 {
        self.expiries.lock().keys
    }

    pub(super) fn cold(&self) -> i64 {
        self.cold.load(Ordering::Relaxed)
    }

    /// A key is below alone now. False where its time has come: then it counts no more.
    pub(super) fn cooled(&self, expires_at: Option<UnixMs>) -> bool {
        self.moved(expires_at, 1)
    }

    /// A key is not below alone any more. False where its time had come: then it was not counted.
    pub(super) fn warmed(&self, expires_at: Option<UnixMs>) -> bool {
        self.moved(expires_at, -1)
    }

    fn moved(&self, expires_at: Option<UnixMs>, n: i64) -> bool {
        let counted = expires_at.is_none_or(|at| self.expiries.lock().add(at, n));
        if counted {
            self.cold.fetch_add(n, Ordering::Relaxed);
        }
        counted
    }

    /// A key was found below that nobody has counted.
    pub(super) fn found(&self, expires_at: Option<UnixMs>) {
        if self.cooled(expires_at) {
            self.add(expires_at.is_some(), 1);
        }
    }

    /// A key that was below alone is gone.
    pub(super) fn lost(&self, expires_at: Option<UnixMs>) {
        if self.warmed(expires_at) {
            self.add(expires_at.is_some(), -1);
        }
    }

    /// When the keys below alone expire that do.
    pub(super) fn deadlines(&self) -> ColdDeadlines {
        let expiries = self.expiries.lock();
        ColdDeadlines {
            keys: expiries.keys,
            sum_ms: expiries.sum_ms(),
        }
    }

    fn add(&self, expires: bool, n: i64) {
        self.keys.fetch_add(n, Ordering::Relaxed);
        if expires {
            self.expiring.fetch_add(n, Ordering::Relaxed);
        }
    }

    /// Takes the cold keys whose time has come out of the count, and tells how many.
    pub(super) fn sweep(&self, now: UnixMs) -> i64 {
        let gone = self.expiries.lock().sweep(now);
        self.cold.fetch_sub(gone, Ordering::Relaxed);
        self.keys.fetch_sub(gone, Ordering::Relaxed);
        self.expiring.fetch_sub(gone, Ordering::Relaxed);
        gone
    }

    /// The space begins anew, with so much left over in the threads' numbers.
    pub(super) fn begin(&self, keys: i64, expiring: i64) {
        *self.expiries.lock() = Expiries::default();
        self.keys.store(-keys, Ordering::Relaxed);
        self.expiring.store(-expiring, Ordering::Relaxed);
        self.cold.store(0, Ordering::Relaxed);
    }

    /// All keys that [`Self::expiries`] was told of at the last end are below.
    pub(super) fn restore(&self, counts: &ColdCounts) {
        let known = Expiries::restore(counts);
        let expiring = known.counts.values().sum::<i64>();
        *self.expiries.lock() = known;
        let keys = counts.lasting.cast_signed().saturating_add(expiring);
        self.keys.store(keys, Ordering::Relaxed);
        self.expiring.store(expiring, Ordering::Relaxed);
        self.cold.store(keys, Ordering::Relaxed);
    }

    /// What the next start must know, where all keys are below: those that are counted here, and `others`.
    pub(super) fn keep(&self, others: &[Option<UnixMs>]) -> ColdCounts {
        let mut expiries = self.expiries.lock().clone();
        let mut lasting = self.cold() - expiries.counts.values().sum::<i64>();
        for expires_at in others {
            match *expires_at {
                // One whose time has come is not counted from then on.
                Some(at) => _ = expiries.add(at, 1),
                None => lasting += 1,
            }
        }
        ColdCounts {
            lasting: lasting.max(0).cast_unsigned(),
            shift: expiries.shift,
            swept_s: expiries.swept_s,
            expiring: expiries.counts.into_iter().collect(),
        }
    }
}

/// When the cold keys of a space expire that do.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ColdDeadlines {
    /// How many there are.
    pub(super) keys: i64,
    sum_ms: i128,
}

impl ColdDeadlines {
    /// What time all of them have left together.
    pub(super) fn left_ms(&self, now: UnixMs) -> i128 {
        self.sum_ms - i128::from(self.keys) * i128::from(now.0)
    }
}

/// The keys of a database as they are kept over a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColdCounts {
    /// Keys without an expiry.
    pub lasting: u64,
    /// Buckets of expiries have two to this power of seconds.
    pub shift: u32,
    /// Keys that expire before this second are not counted.
    pub swept_s: i64,
    /// Buckets and the keys in each.
    pub expiring: Vec<(i64, i64)>,
}

/// How many keys expire when.
#[derive(Clone, Debug)]
struct Expiries {
    shift: u32,
    swept_s: i64,
    counts: BTreeMap<i64, i64>,
    /// The keys of all buckets, and the sum of their buckets.
    keys: i64,
    buckets: i128,
}

impl Default for Expiries {
    fn default() -> Self {
        Self {
            shift: 0,
            swept_s: i64::MIN,
            counts: BTreeMap::new(),
            keys: 0,
            buckets: 0,
        }
    }
}

impl Expiries {
    fn restore(counts: &ColdCounts) -> Self {
        let mut restored = Self {
            shift: counts.shift.min(62),
            swept_s: counts.swept_s,
            counts: counts.expiring.iter().copied().collect(),
            ..Self::default()
        };
        restored.recount();
        restored
    }

    fn recount(&mut self) {
        self.keys = 0;
        self.buckets = 0;
        for (&bucket, &n) in &self.counts {
            self.keys += n;
            self.buckets += i128::from(bucket) * i128::from(n);
        }
    }

    /// The sum of all expiries, as if they lay in the middle of their buckets.
    fn sum_ms(&self) -> i128 {
        let bucket_ms = 1000i128 << self.shift;
        self.buckets * bucket_ms + i128::from(self.keys) * bucket_ms / 2
    }

    /// False where the time has come already.
    fn add(&mut self, at: UnixMs, n: i64) -> bool {
        let second = at.0.div_euclid(1000);
        if second < self.swept_s {
            return false;
        }
        let bucket = second >> self.shift;
        let count = self.counts.entry(bucket).or_default();
        *count += n;
        if *count == 0 {
            self.counts.remove(&bucket);
        }
        self.keys += n;
        self.buckets += i128::from(bucket) * i128::from(n);
        while self.counts.len() > BUCKETS_MAX {
            self.coarsen();
        }
        true
    }

    fn coarsen(&mut self) {
        self.shift += 1;
        let mut counts = BTreeMap::new();
        for (bucket, n) in std::mem::take(&mut self.counts) {
            *counts.entry(bucket >> 1).or_default() += n;
        }
        counts.retain(|_, n| *n != 0);
        self.counts = counts;
        self.recount();
    }

    fn sweep(&mut self, now: UnixMs) -> i64 {
        let end = now.0.div_euclid(1000) >> self.shift;
        let rest = self.counts.split_off(&end);
        let gone = std::mem::replace(&mut self.counts, rest);
        self.swept_s = self.swept_s.max(end << self.shift);
        for (&bucket, &n) in &gone {
            self.keys -= n;
            self.buckets -= i128::from(bucket) * i128::from(n);
        }
        gone.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Option<UnixMs> {
        Some(UnixMs(ms))
    }

    #[test]
    fn a_cold_key_leaves_the_count_when_its_second_has_passed() {
        let tally = Tally::default();
        tally.found(None);
        tally.found(at(5_000));
        tally.found(at(5_999));
        assert_eq!(tally.sweep(UnixMs(5_999)), 0);
        assert_eq!((tally.keys(), tally.expiring(), tally.cold()), (3, 2, 3));
        assert_eq!(tally.sweep(UnixMs(6_000)), 2);
        assert_eq!((tally.keys(), tally.expiring(), tally.cold()), (1, 0, 1));
        // It was uncounted; whoever meets it later must not do that again.
        assert!(!tally.warmed(at(5_500)));
        tally.lost(at(5_000));
        assert!(!tally.cooled(at(5_000)));
        assert_eq!(tally.keys(), 1);
    }

    #[test]
    fn many_expiries_take_bounded_memory_and_all_pass() {
        let tally = Tally::default();
        let many = 3 * BUCKETS_MAX as i64;
        (0..many).for_each(|second| tally.found(at(second * 1_000)));
        assert!(tally.expiries.lock().counts.len() <= BUCKETS_MAX);
        let half = tally.sweep(UnixMs(many / 2 * 1_000));
        assert!((many / 2 - 4..=many / 2).contains(&half), "{half}");
        assert_eq!(tally.keys(), many - half);
        // In the bucket that was not swept.
        tally.lost(at((many / 2 + 4) * 1_000));
        assert_eq!(half + tally.sweep(UnixMs(many * 2_000)), many - 1);
        assert_eq!(tally.keys(), 0);
    }

    #[test]
    fn the_sum_of_cold_expiries_is_kept_to_the_bucket() {
        let left = |tally: &Tally, now| {
            let cold = tally.deadlines();
            (cold.keys, cold.left_ms(UnixMs(now)))
        };
        let tally = Tally::default();
        assert_eq!(left(&tally, 9), (0, 0));
        tally.found(at(5_100));
        tally.found(at(9_900));
        tally.found(None);
        assert_eq!(left(&tally, 1_000), (2, 5_500 + 9_500 - 2_000));
        tally.sweep(UnixMs(6_000));
        assert_eq!(left(&tally, 1_000), (1, 8_500));
        tally.lost(at(9_000));
        assert_eq!(left(&tally, 1_000), (0, 0));
        let many = 2 * BUCKETS_MAX as i64 + 2;
        (0..many).for_each(|second| tally.found(at(1_000_000 + second * 1_000)));
        let (keys, sum) = left(&tally, 0);
        let mean = sum / i128::from(keys);
        let exact = i128::from(1_000_000 + many * 500);
        assert!((mean - exact).abs() <= 4_000, "{mean} is not {exact}");
    }

    #[test]
    fn counts_come_back() {
        let tally = Tally::default();
        tally.found(None);
        tally.found(at(5_000));
        tally.sweep(UnixMs(3_000));
        let kept = tally.keep(&[None, at(2_000), at(5_001)]);
        assert_eq!(kept.lasting, 2);
        assert_eq!(kept.expiring, [(5, 2)]);
        let again = Tally::default();
        again.restore(&kept);
        assert_eq!((again.keys(), again.expiring(), again.cold()), (4, 2, 4));
        assert!(!again.warmed(at(2_000)));
    }
}
