//! The only reader of the system clock.
//!
//! Commands never call this: they are given `now`, fixed for the whole command, so that time in a
//! test moves only when the test says so.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMs(pub i64);

impl UnixMs {
    /// Whole seconds since the epoch.
    pub const fn as_secs(self) -> i64 {
        self.0 / 1000
    }

    /// Whole minutes since the epoch, the unit in which LFU counters decay.
    pub const fn as_minutes(self) -> u64 {
        (self.0 / 60_000).cast_unsigned()
    }
}

/// Reads the wall clock.
pub fn now() -> UnixMs {
    UnixMs(i64::try_from(now_us() / 1000).unwrap_or(i64::MAX))
}

/// Reads the wall clock in microseconds, for TIME and log records.
pub fn now_us() -> u128 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_micros())
}

/// Where a thread takes the time from.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// The system's clock.
    System,
    /// A time that a test moves.
    Manual(UnixMs),
}

impl Clock {
    /// The time.
    pub fn now(self) -> UnixMs {
        match self {
            Self::System => now(),
            Self::Manual(at) => at,
        }
    }
}

/// A cheap monotonic clock (the processor's cycle counter where it can be trusted), read once per
/// command to time it.
#[derive(Clone, Debug)]
pub struct Ticker(quanta::Clock);

/// A reading of [`Ticker`]; only the difference of two means anything.
#[derive(Clone, Copy, Debug)]
pub struct Tick(u64);

impl Default for Ticker {
    fn default() -> Self {
        Self(quanta::Clock::new())
    }
}

impl Ticker {
    /// Reads the counter.
    #[inline]
    pub fn read(&self) -> Tick {
        Tick(self.0.raw())
    }

    /// Nanoseconds from `start` to `end`.
    #[inline]
    pub fn nanos_between(&self, start: Tick, end: Tick) -> u64 {
        self.0.delta_as_nanos(start.0, end.0)
    }
}
