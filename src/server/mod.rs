//! What all connections share: the keyspace, the options in force, the clients, statistics and logs.

pub mod clients;
pub mod delivery;
pub mod figures;
pub mod latency;
pub mod maintenance;
pub mod memory;
pub mod overdraft;
pub mod overload;
pub mod pause;
pub mod process;
pub mod sampling;
pub mod session;
pub mod shutdown;
pub mod slowlog;
pub mod stats;
pub mod waiters;
pub mod warming;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use parking_lot::Mutex;

use self::clients::Clients;
use self::latency::LatencyMonitor;
use self::overdraft::Overdraft;
use self::overload::Overload;
use self::pause::Pause;
use self::sampling::{Rates, Sampling, Totals};
use self::shutdown::Shutdown;
use self::slowlog::SlowLog;
use self::stats::Stats;
use self::waiters::Waiters;
use self::warming::Warming;
use crate::clock::{self, UnixMs};
use crate::config::{Config, Live, TierDurability};
use crate::dispatch::memory_limits;
use crate::keyspace::eviction::{EvictionPool, Room};
use crate::keyspace::{Keyspace, ThreadSlot};
use crate::logging::LogControl;
use crate::tier::Tier;
use crate::tier::store::StoreError;

/// The version of Redis that clients are told, by which they choose what to ask for.
pub const REDIS_VERSION: &str = "7.2.4";

/// Threads that touch keys besides the workers and those of the tier: maintenance and warming.
const OWN_THREADS: usize = 2;

/// The server's state, shared by all threads.
#[derive(Debug)]
pub struct Server {
    /// The options in force.
    pub config: Arc<Live>,
    /// The file that the options came from, for CONFIG REWRITE.
    pub config_file: Option<PathBuf>,
    /// All keys.
    pub keyspace: Keyspace,
    /// All connections.
    pub clients: Clients,
    /// What was done, counted for each thread.
    pub stats: Stats,
    /// The slowest commands.
    pub slowlog: SlowLog,
    /// When what took too long.
    pub latency: LatencyMonitor,
    /// What is loaded from a file.
    pub warming: Warming,
    /// Clients that wait for keys.
    pub waiters: Waiters,
    /// Whether commands are held back.
    pub pause: Pause,
    /// Whether the server stops.
    pub shutdown: Shutdown,
    /// Whether maintenance drops expired keys that nobody reads: DEBUG SET-ACTIVE-EXPIRE.
    pub active_expire: AtomicBool,
    /// When the server started.
    pub started_at: UnixMs,
    /// The same moment on the monotonic clock.
    pub started: Instant,
    /// 40 hexadecimal digits that name this run.
    pub run_id: String,
    /// The number of worker threads.
    pub workers: usize,
    /// Changes the level of the log; not there in tests.
    pub log: OnceLock<LogControl>,
    /// Bytes that were in use before the first key and client.
    pub startup_bytes: usize,
    /// What lies below memory, if anything.
    pub tier: Option<Tier>,
    /// Resident memory beyond what a tier may cost; see [`Server::steer_memory`].
    excess_bytes: AtomicUsize,
    /// Whether a command may exceed the limits of memory.
    pub overdraft: Overdraft,
    /// Whether the disk takes less than clients write.
    pub overload: Overload,
    sampling: Mutex<Sampling>,
}

impl Server {
    /// A server with no connection, and the keys that its tier has. Thread slots 0 to `workers - 1` are the workers',
    /// then come [`Server::maintenance_slot`] and [`Server::warming_slot`].
    pub fn open(config: Config, config_file: Option<PathBuf>) -> Result<Self, StoreError> {
        let workers = config.worker_thread_count();
        let (keyspace, tier) = Tier::open(&config, workers + OWN_THREADS)?;
        keyspace.set_policies(&config.tier_policy);
        let mut server = Self {
            config: Arc::new(Live::new(config)),
            config_file,
            keyspace,
            tier,
            clients: Clients::default(),
            stats: Stats::new(workers + OWN_THREADS),
            slowlog: SlowLog::default(),
            latency: LatencyMonitor::default(),
            warming: Warming::default(),
            waiters: Waiters::default(),
            pause: Pause::default(),
            shutdown: Shutdown::default(),
            active_expire: AtomicBool::new(true),
            started_at: clock::now(),
            started: Instant::now(),
            run_id: run_id(),
            workers,
            log: OnceLock::new(),
            startup_bytes: 0,
            excess_bytes: AtomicUsize::new(0),
            overdraft: Overdraft::default(),
            overload: Overload::default(),
            sampling: Mutex::default(),
        };
        server.startup_bytes = server.keyspace.used_bytes() + server.other_bytes();
        Ok(server)
    }

    /// When changes were last written into the tier; before the first time, when the server started.
    pub fn last_save(&self) -> UnixMs {
        let written = self.tier.as_ref().and_then(|tier| tier.stats().last_write);
        written.unwrap_or(self.started_at)
    }

    /// Whether a reply must wait until what it tells of is durable.
    pub fn is_durable_always(&self) -> bool {
        self.tier.is_some() && self.config.load().tier_durability == TierDurability::Always
    }

    /// Evicts until the limits of memory are kept, as far as it can.
    pub fn make_room(&self, now: UnixMs, thread: ThreadSlot, pool: &mut EvictionPool) -> Room {
        let limits = memory_limits(self, &self.config.load(), now);
        self.keyspace.make_room(&limits, thread, pool)
    }

    /// Takes the samples that INFO's rates and peaks are made of. The maintenance thread calls this
    /// every 100 ms.
    pub fn sample(&self, now: UnixMs) {
        let totals = Totals {
            commands: self.stats.sum(|stripe| &stripe.commands),
            input_bytes: self.stats.sum(|stripe| &stripe.input_bytes),
            output_bytes: self.stats.sum(|stripe| &stripe.output_bytes),
        };
        self.sampling.lock().take(now, totals);
        self.watch_peak();
    }

    /// The rates of the moment, from the last samples.
    pub fn rates(&self) -> Rates {
        self.sampling.lock().rates()
    }

    /// CONFIG RESETSTAT: all that was counted starts again from zero.
    pub fn reset_stats(&self) {
        self.stats.reset();
        self.keyspace.reset_stats();
        self.sampling.lock().reset();
    }

    /// The slot of the maintenance thread.
    pub fn maintenance_slot(&self) -> ThreadSlot {
        ThreadSlot(self.workers)
    }

    /// The slot of the thread that warms the cache.
    pub fn warming_slot(&self) -> ThreadSlot {
        ThreadSlot(self.workers + 1)
    }

    /// The slot of a thread of the tier.
    pub fn tier_slot(&self, index: usize) -> ThreadSlot {
        ThreadSlot(self.workers + OWN_THREADS + index)
    }
}

/// 160 random bits in hexadecimal.
fn run_id() -> String {
    use std::hash::BuildHasher;
    // The standard library's hasher takes its keys from the system's random source.
    let word = || std::hash::RandomState::new().hash_one(clock::now_us());
    let digits: String = (0..3).map(|_| format!("{:016x}", word())).collect();
    digits[..40].to_owned()
}
