//! The memory that runs take while they are gathered.
//!
//! It comes and goes with each run. Were it counted only while it is taken, keys would have to go for all of it at each run, at
//! once and while clients wait, and others would take their room until the next one. So what the last runs took is kept for
//! the next for a while, and fades where none comes.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Writer;

/// So long all of it is kept: runs need not follow each other closely.
const HOLDS: Duration = Duration::from_secs(3);
/// In this time after that it is given back.
const FADES: Duration = Duration::from_secs(8);
/// At each look so much more is kept for a training that is due: room is made for it bit by bit.
const TRAINING_STEP: usize = 256 * 1024;

/// The most that runs have taken lately.
pub(super) struct RunMemory {
    most: usize,
    at: Instant,
    /// Kept for a training.
    training: usize,
}

impl RunMemory {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            most: 0,
            at: now,
            training: 0,
        }
    }

    /// A training takes so many bytes, or is to. Gives what is kept for it.
    fn trains(&mut self, bytes: usize) -> usize {
        self.training = bytes.min(self.training + TRAINING_STEP);
        self.training
    }

    /// They take so many bytes now. Gives what is kept for the next besides.
    fn takes(&mut self, bytes: usize, now: Instant) -> usize {
        let fading = now.duration_since(self.at).saturating_sub(HOLDS);
        let left = FADES.saturating_sub(fading);
        let faded = (self.most as f64 * left.as_secs_f64() / FADES.as_secs_f64()) as usize;
        if bytes >= faded {
            (self.most, self.at) = (bytes, now);
        }
        faded.saturating_sub(bytes)
    }
}

impl Writer<'_> {
    /// Counts what waits to be written, with what it is written by, and what is kept for what comes.
    pub(super) fn measure_memory(&mut self, waiting: usize) {
        let kept = self.memory.takes(waiting, Instant::now());
        let reserved = kept + self.memory.trains(self.compressor.training_bytes());
        let tier = self.tier;
        tier.measure_memory(waiting + self.compressor.memory_bytes());
        tier.reserved_bytes.store(reserved, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fault B17: at the end of each run keys went for what it took, all at once, and came back until the next.
    #[test]
    fn what_runs_take_is_kept_for_the_next_one_and_fades() {
        let start = Instant::now();
        let at = |s: f64| start + Duration::from_secs_f64(s);
        let mut memory = RunMemory::new(start);
        assert_eq!(memory.takes(0, at(1.0)), 0);
        assert_eq!(memory.takes(600, at(1.0)), 0);
        assert_eq!(memory.takes(1000, at(1.0)), 0);
        // The run has ended, and the next one begins.
        assert_eq!(memory.takes(0, at(1.0)), 1000);
        assert_eq!(memory.takes(100, at(4.0)), 900);
        assert_eq!(memory.takes(100, at(6.0)), 650);
        assert_eq!(memory.takes(900, at(6.0)), 0);
        assert_eq!(memory.takes(0, at(13.0)), 450);
        // No other has come.
        assert_eq!(memory.takes(0, at(17.0)), 0);
        assert_eq!(memory.trains(usize::MAX), TRAINING_STEP);
        assert_eq!(memory.trains(2 * TRAINING_STEP - 1), 2 * TRAINING_STEP - 1);
        assert_eq!(memory.trains(0), 0);
    }
}
