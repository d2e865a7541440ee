//! What was done, counted where it happens and once; each thread has a stripe of its own.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::keyspace::ThreadSlot;
use crate::keyspace::counters::Counter;

/// Kinds of errors that are told apart; further ones are counted together.
const ERROR_KINDS_MAX: usize = 128;
/// Buckets of a run time histogram: up to 2^i microseconds each, the last without a bound.
pub const HISTOGRAM_BUCKETS: usize = 32;

/// All counters of the server that are not the keyspace's.
#[derive(Debug)]
pub struct Stats {
    stripes: Box<[Stripe]>,
    /// Connections accepted. Counted by the accepting thread, which is none of the workers.
    pub connections: AtomicU64,
    /// Connections refused because of `maxclients` or protected mode.
    pub rejected_connections: AtomicU64,
    /// Clients closed because a limit of their buffers was passed.
    pub output_limit_disconnections: AtomicU64,
    /// Clients closed because a request was longer than client-query-buffer-limit.
    pub input_limit_disconnections: AtomicU64,
    /// Logins that were refused.
    pub denied_logins: AtomicU64,
    /// See [`Self::stale_percent`].
    stale_millionths: AtomicU64,
    /// How often maintenance had to rest before it had looked for expired keys everywhere, since its slice of time was over.
    pub expire_rests: AtomicU64,
    /// How long it has worked on that.
    pub expire_nanos: AtomicU64,
    /// Clients closed to keep `maxmemory-clients`.
    pub evicted_clients: AtomicU64,
    errors: Mutex<BTreeMap<String, u64>>,
    /// The most bytes that were in use when somebody looked.
    pub peak_bytes: AtomicU64,
}

/// One thread's counters.
#[derive(Debug)]
#[repr(align(128))]
pub struct Stripe {
    /// Commands that ran.
    pub commands: Counter,
    /// Bytes read from clients.
    pub input_bytes: Counter,
    /// Bytes sent to clients.
    pub output_bytes: Counter,
    /// Times that something was read from a client.
    pub reads: Counter,
    /// Times that something was sent to a client.
    pub writes: Counter,
    /// Error replies.
    pub error_replies: Counter,
    /// Bytes in buffers of clients.
    pub buffer_bytes: Counter,
    /// Bytes kept for clients in these: requests that arrived in part, replies that were not sent yet.
    pub held_bytes: Counter,
    /// Bytes that histograms take.
    histogram_bytes: Counter,
    /// For each command and subcommand, by its number.
    pub per_command: Box<[CommandStats]>,
}

/// What one thread did of one command.
#[derive(Debug, Default)]
pub struct CommandStats {
    /// Runs.
    pub calls: Counter,
    /// Time of all runs.
    pub nanos: Counter,
    /// Refused before it ran: arity, AUTH, memory.
    pub rejected: Counter,
    /// Ran and answered with an error.
    pub failed: Counter,
    /// Runs by their time, from the first one on; see [`HISTOGRAM_BUCKETS`]. Most commands never run, and all of them
    /// together would take as much as a thousand keys for each thread.
    histogram: OnceLock<Box<[Counter; HISTOGRAM_BUCKETS]>>,
}

impl CommandStats {
    fn reset(&self) {
        for counter in [&self.calls, &self.nanos, &self.rejected, &self.failed]
            .into_iter()
            .chain(self.histogram.get().into_iter().flat_map(|all| all.iter()))
        {
            counter.reset();
        }
    }
}

/// The longest run time that falls into a bucket, in microseconds. The last has no bound; it is given
/// the one that it would have.
pub const fn bucket_micros(bucket: usize) -> u64 {
    1 << bucket
}

/// The run time that `percent` of the runs do not exceed, in microseconds, as if the runs of a bucket
/// lay evenly in it. `None` where nothing ran.
pub fn percentile_micros(histogram: &[i64; HISTOGRAM_BUCKETS], percent: f64) -> Option<f64> {
    let total: i64 = histogram.iter().sum();
    let wanted = (total as f64 * percent / 100.0).ceil().max(1.0);
    let mut below = 0;
    for (bucket, &count) in histogram.iter().enumerate() {
        if count > 0 && (below + count) as f64 >= wanted {
            let upper = bucket_micros(bucket) as f64;
            let lower = if bucket == 0 { 0.0 } else { upper / 2.0 };
            let share = (wanted - below as f64) / count as f64;
            return Some(lower + (upper - lower) * share);
        }
        below += count;
    }
    None
}

/// The bucket of a run time: the least i with `nanos` not above 2^i microseconds.
#[inline]
fn bucket_of(nanos: u64) -> usize {
    // Nearly all.
    if nanos <= 1000 {
        return 0;
    }
    let micros = nanos.div_ceil(1000);
    let bits = u64::BITS - micros.saturating_sub(1).leading_zeros();
    (bits as usize).min(HISTOGRAM_BUCKETS - 1)
}

impl Stripe {
    /// Counts a run of a command.
    #[inline]
    pub fn ran(&self, id: usize, nanos: u64, track: bool) {
        let command = &self.per_command[id];
        command.calls.add(1);
        command.nanos.add(nanos as i64);
        if track {
            let histogram = match command.histogram.get() {
                Some(histogram) => histogram,
                None => self.begin_histogram(command),
            };
            histogram[bucket_of(nanos)].add(1);
        }
    }

    #[cold]
    #[inline(never)]
    fn begin_histogram<'a>(&self, of: &'a CommandStats) -> &'a [Counter; HISTOGRAM_BUCKETS] {
        self.histogram_bytes
            .add(size_of::<[Counter; HISTOGRAM_BUCKETS]>() as i64);
        of.histogram.get_or_init(Box::default)
    }

    fn new(commands: usize) -> Self {
        Self {
            histogram_bytes: Counter::default(),
            commands: Counter::default(),
            input_bytes: Counter::default(),
            output_bytes: Counter::default(),
            reads: Counter::default(),
            writes: Counter::default(),
            error_replies: Counter::default(),
            buffer_bytes: Counter::default(),
            held_bytes: Counter::default(),
            per_command: (0..commands).map(|_| CommandStats::default()).collect(),
        }
    }
}

impl Stats {
    /// Counters for so many threads, of each of so many commands.
    pub fn new(threads: usize, commands: usize) -> Self {
        Self {
            stripes: (0..threads).map(|_| Stripe::new(commands)).collect(),
            connections: AtomicU64::new(0),
            rejected_connections: AtomicU64::new(0),
            output_limit_disconnections: AtomicU64::new(0),
            input_limit_disconnections: AtomicU64::new(0),
            denied_logins: AtomicU64::new(0),
            stale_millionths: AtomicU64::new(0),
            expire_rests: AtomicU64::new(0),
            expire_nanos: AtomicU64::new(0),
            evicted_clients: AtomicU64::new(0),
            errors: Mutex::default(),
            peak_bytes: AtomicU64::new(0),
        }
    }

    /// The counters of a thread.
    #[inline]
    pub fn stripe(&self, thread: ThreadSlot) -> &Stripe {
        &self.stripes[thread.0]
    }

    /// The counters of all threads, to be summed.
    pub fn stripes(&self) -> &[Stripe] {
        &self.stripes
    }

    /// The sum of a counter over all threads.
    pub fn sum(&self, counter: impl Fn(&Stripe) -> &Counter) -> i64 {
        self.stripes
            .iter()
            .map(|stripe| counter(stripe).read())
            .sum()
    }

    /// The sum of a command's counter over all threads.
    pub fn sum_command(&self, id: usize, counter: impl Fn(&CommandStats) -> &Counter) -> i64 {
        self.sum(|stripe| counter(&stripe.per_command[id]))
    }

    /// How many runs of a command fell into each bucket, over all threads.
    pub fn histogram(&self, id: usize) -> [i64; HISTOGRAM_BUCKETS] {
        let all = self.stripes.iter();
        let all = all.filter_map(|stripe| stripe.per_command[id].histogram.get());
        let mut sums = [0; HISTOGRAM_BUCKETS];
        for (bucket, counter) in all.flat_map(|histogram| histogram.iter().enumerate()) {
            sums[bucket] += counter.read();
        }
        sums
    }

    /// Counts an error reply under its code, the first word of its text.
    pub fn count_error(&self, thread: ThreadSlot, text: &str) {
        self.stripe(thread).error_replies.add(1);
        let code = text.split(' ').next().unwrap_or_default();
        let mut errors = self.errors.lock();
        if let Some(count) = errors.get_mut(code) {
            *count += 1;
        } else if errors.len() < ERROR_KINDS_MAX {
            errors.insert(code.to_owned(), 1);
        }
    }

    /// How often each error code was replied.
    pub fn errors(&self) -> BTreeMap<String, u64> {
        self.errors.lock().clone()
    }

    /// Bytes that the counters themselves take.
    pub fn fixed_bytes(&self) -> usize {
        let commands: usize = self.stripes.iter().map(|s| s.per_command.len()).sum();
        let histograms = self.sum(|stripe| &stripe.histogram_bytes);
        size_of_val(&*self.stripes)
            + commands * size_of::<CommandStats>()
            + usize::try_from(histograms).unwrap_or(0)
    }

    /// The share of keys with a deadline that had expired and were still there when maintenance last looked, in percent.
    pub fn stale_percent(&self) -> f64 {
        self.stale_millionths.load(Ordering::Relaxed) as f64 / 10_000.0
    }

    /// Maintenance has found so many expired keys; so many with a deadline are left.
    pub fn note_stale(&self, found: usize, left: usize) {
        let share = found as u64 * 1_000_000 / (found + left).max(1) as u64;
        self.stale_millionths.store(share, Ordering::Relaxed);
    }

    /// CONFIG RESETSTAT. What tells of the present (buffers in use) stays.
    pub fn reset(&self) {
        for stripe in &self.stripes {
            for counter in [
                &stripe.commands,
                &stripe.input_bytes,
                &stripe.output_bytes,
                &stripe.reads,
                &stripe.writes,
                &stripe.error_replies,
            ] {
                counter.reset();
            }
            stripe.per_command.iter().for_each(CommandStats::reset);
        }
        for number in [
            &self.connections,
            &self.rejected_connections,
            &self.output_limit_disconnections,
            &self.input_limit_disconnections,
            &self.denied_logins,
            &self.expire_rests,
            &self.expire_nanos,
            &self.evicted_clients,
            &self.peak_bytes,
        ] {
            number.store(0, Ordering::Relaxed);
        }
        self.errors.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_lie_within_their_bucket() {
        let mut histogram = [0; HISTOGRAM_BUCKETS];
        assert_eq!(percentile_micros(&histogram, 50.0), None);
        histogram[0] = 50;
        histogram[3] = 50;
        for (percent, micros) in [(0.0, 0.02), (50.0, 1.0), (75.0, 6.0), (100.0, 8.0)] {
            assert_eq!(percentile_micros(&histogram, percent), Some(micros));
        }
    }

    #[test]
    fn a_run_time_falls_into_the_bucket_that_bounds_it() {
        for (nanos, bucket) in [
            (0, 0),
            (1, 0),
            (1000, 0),
            (1001, 1),
            (2000, 1),
            (2001, 2),
            (4_001, 3),
            (u64::MAX, 31),
        ] {
            assert_eq!(bucket_of(nanos), bucket, "{nanos}");
        }
    }
}
