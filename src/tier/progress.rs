//! How far the run under way is, for those who wait for the end of the last one.

use std::sync::atomic::{AtomicU64, Ordering};

/// Gathering takes about so much of a run's time, and writing the rest.
const GATHERING: u64 = 750;
const ALL: u64 = 1000;

/// In thousandths of what the run has to do.
#[derive(Debug, Default)]
pub(super) struct Progress(AtomicU64);

impl Progress {
    /// No run is under way.
    pub(super) fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// So many of the changes are gathered.
    pub(super) fn gathered(&self, done: usize, all: usize) {
        let thousandths = done as u64 * GATHERING / all.max(1) as u64;
        self.0.fetch_max(thousandths, Ordering::Relaxed);
    }

    /// So many of the records are written.
    pub(super) fn written(&self, done: usize, all: usize) {
        let thousandths = done as u64 * (ALL - GATHERING) / all.max(1) as u64;
        self.0.store(GATHERING + thousandths, Ordering::Relaxed);
    }

    /// What is left of so many bytes.
    pub(super) fn left(&self, bytes: usize) -> usize {
        let left = ALL - self.0.load(Ordering::Relaxed).min(ALL);
        bytes / ALL as usize * left as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_becomes_less_until_the_run_ends() {
        let progress = Progress::default();
        let mut before = progress.left(1 << 30);
        for step in 1..=10 {
            progress.gathered(step, 10);
            let left = progress.left(1 << 30);
            assert!(left < before);
            before = left;
        }
        // What changed meanwhile is gathered too, and that is no step back.
        progress.gathered(1, 3);
        assert_eq!(progress.left(1 << 30), before);
        for step in 1..=10 {
            progress.written(step, 10);
            assert!(progress.left(1 << 30) < before);
            before = progress.left(1 << 30);
        }
        assert_eq!(before, 0);
        progress.reset();
        assert_eq!(progress.left(1000), 1000);
    }
}
