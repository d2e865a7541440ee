//! Rates of the moment, as INFO shows them: commands and bytes each second, averaged over the last
//! 16 samples.
//!
//! The maintenance thread reads the totals ten times a second and feeds them in. Pure: it neither
//! reads a clock nor a counter.

use crate::clock::UnixMs;

/// Samples that the average is taken of: 1.6 seconds, as in Redis.
const SAMPLES: usize = 16;

/// The totals at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Commands that ran.
    pub commands: i64,
    /// Bytes read from clients.
    pub input_bytes: i64,
    /// Bytes sent to clients.
    pub output_bytes: i64,
    /// Reads from connections.
    pub reads: i64,
}

/// The rates of the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Commands each second.
    pub commands: i64,
    /// Bytes each second, read from clients.
    pub input_bytes: i64,
    /// Bytes each second, sent to clients.
    pub output_bytes: i64,
    /// Reads from connections each second.
    pub reads: i64,
}

/// The last samples.
#[derive(Debug, Default)]
pub struct Sampling {
    last: Option<(UnixMs, Totals)>,
    samples: [Rates; SAMPLES],
    next: usize,
}

impl Sampling {
    /// Takes a sample: what was done since the one before.
    pub fn take(&mut self, now: UnixMs, totals: Totals) {
        let Some((then, before)) = self.last.replace((now, totals)) else {
            return;
        };
        let elapsed_ms = now.0.saturating_sub(then.0);
        if elapsed_ms <= 0 {
            return;
        }
        // A total that was reset in between is less than before.
        let rate =
            |now: i64, then: i64| now.saturating_sub(then).max(0).saturating_mul(1000) / elapsed_ms;
        self.samples[self.next] = Rates {
            commands: rate(totals.commands, before.commands),
            input_bytes: rate(totals.input_bytes, before.input_bytes),
            output_bytes: rate(totals.output_bytes, before.output_bytes),
            reads: rate(totals.reads, before.reads),
        };
        self.next = (self.next + 1) % SAMPLES;
    }

    /// The average of the last samples.
    pub fn rates(&self) -> Rates {
        let mean =
            |rate: fn(&Rates) -> i64| self.samples.iter().map(rate).sum::<i64>() / SAMPLES as i64;
        Rates {
            commands: mean(|sample| sample.commands),
            input_bytes: mean(|sample| sample.input_bytes),
            output_bytes: mean(|sample| sample.output_bytes),
            reads: mean(|sample| sample.reads),
        }
    }

    /// Forgets all samples.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(commands: i64) -> Totals {
        Totals {
            commands,
            input_bytes: commands * 10,
            output_bytes: commands * 20,
            reads: commands,
        }
    }

    #[test]
    fn a_steady_load_is_its_rate_after_sixteen_samples() {
        let mut sampling = Sampling::default();
        for i in 0..=16 {
            sampling.take(UnixMs(i * 100), totals(i * 50));
        }
        let rates = sampling.rates();
        assert_eq!(
            (rates.commands, rates.input_bytes, rates.output_bytes),
            (500, 5000, 10_000)
        );
        for i in 17..=32 {
            sampling.take(UnixMs(i * 100), totals(16 * 50));
        }
        assert_eq!(sampling.rates(), Rates::default());
    }

    #[test]
    fn a_reset_total_and_a_standing_clock_are_no_rate() {
        let mut sampling = Sampling::default();
        sampling.take(UnixMs(0), totals(1000));
        sampling.take(UnixMs(0), totals(2000));
        sampling.take(UnixMs(100), totals(0));
        assert_eq!(sampling.rates(), Rates::default());
    }
}
