//! The latency monitor: for each kind of event the last moments when it took too long.
//!
//! Who can take long notes it here, if it took `latency-monitor-threshold` milliseconds or more.

use std::collections::{BTreeMap, VecDeque};

use parking_lot::Mutex;

use crate::clock::UnixMs;

/// Samples that are kept of each event, as in Redis.
const SAMPLES_MAX: usize = 160;

/// What took long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// A command.
    Command,
    /// A command that is flagged as fast.
    FastCommand,
    /// Making room for a command.
    EvictionCycle,
}

impl Event {
    /// Every event.
    pub const ALL: &'static [Self] = &[Self::Command, Self::FastCommand, Self::EvictionCycle];

    /// The name in LATENCY's replies.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::FastCommand => "fast-command",
            Self::EvictionCycle => "eviction-cycle",
        }
    }

    /// The event of a name.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        let is_named = |event: &&Self| event.name().as_bytes() == name;
        Self::ALL.iter().find(is_named).copied()
    }
}

/// A second in which an event took long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When, in seconds since the epoch.
    pub time_s: i64,
    /// The longest it took in that second.
    pub ms: u64,
}

/// The samples of an event; there is at least one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Series {
    /// The oldest comes first.
    pub samples: VecDeque<Sample>,
    /// The longest it ever took since the last reset.
    pub max_ms: u64,
}

/// The latency monitor.
#[derive(Debug, Default)]
pub struct LatencyMonitor(Mutex<BTreeMap<Event, Series>>);

impl LatencyMonitor {
    /// Notes that an event took so long, if that reaches the threshold; 0 is none.
    #[inline]
    pub fn note(&self, event: Event, ms: u64, threshold_ms: u64, now: UnixMs) {
        if threshold_ms > 0 && ms >= threshold_ms {
            self.add(event, ms, now.as_secs());
        }
    }

    #[cold]
    fn add(&self, event: Event, ms: u64, time_s: i64) {
        let mut events = self.0.lock();
        let series = events.entry(event).or_default();
        series.max_ms = series.max_ms.max(ms);
        match series.samples.back_mut() {
            Some(last) if last.time_s == time_s => last.ms = last.ms.max(ms),
            _ => series.samples.push_back(Sample { time_s, ms }),
        }
        if series.samples.len() > SAMPLES_MAX {
            series.samples.pop_front();
        }
    }

    /// The samples of an event, if there are any.
    pub fn series(&self, event: Event) -> Option<Series> {
        self.0.lock().get(&event).cloned()
    }

    /// Every event that has samples.
    pub fn all(&self) -> Vec<(Event, Series)> {
        let events = self.0.lock();
        events
            .iter()
            .map(|(event, series)| (*event, series.clone()))
            .collect()
    }

    /// Forgets an event. False where there was nothing to forget.
    pub fn reset(&self, event: Event) -> bool {
        self.0.lock().remove(&event).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_one_sample_and_the_oldest_gives_way() {
        let monitor = LatencyMonitor::default();
        monitor.note(Event::Command, 9, 10, UnixMs(0));
        monitor.note(Event::Command, 1000, 0, UnixMs(0));
        assert_eq!(monitor.series(Event::Command), None);

        monitor.note(Event::Command, 30, 10, UnixMs(1000));
        monitor.note(Event::Command, 10, 10, UnixMs(1999));
        let series = monitor.series(Event::Command).unwrap();
        assert_eq!(series.samples, [Sample { time_s: 1, ms: 30 }]);

        for second in 2..200 {
            monitor.note(Event::Command, 20, 10, UnixMs(second * 1000));
        }
        let series = monitor.series(Event::Command).unwrap();
        assert_eq!((series.samples.len(), series.max_ms), (SAMPLES_MAX, 30));
        assert!(monitor.reset(Event::Command) && !monitor.reset(Event::Command));
    }
}
