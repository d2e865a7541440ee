//! What all connections share: the keyspace, the options in force, the clients, statistics and logs.

pub mod banner;
pub mod clients;
pub mod delivery;
pub mod figures;
pub mod latency;
pub mod listening;
pub mod maintenance;
pub mod memory;
pub mod pause;
pub mod process;
pub mod pubsub;
pub mod sampling;
pub mod scripts;
pub mod session;
pub mod shutdown;
pub mod signals;
pub mod slowlog;
pub mod stats;
pub mod suspended;
pub mod transaction;
pub mod waiters;
pub mod warming;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use self::clients::Clients;
use self::latency::LatencyMonitor;
use self::listening::Listening;
use self::pause::Pause;
use self::pubsub::PubSub;
use self::sampling::{Rates, Sampling, Totals};
use self::scripts::{ScriptBytes, Scripts};
use self::shutdown::Shutdown;
use self::slowlog::SlowLog;
use self::stats::Stats;
use self::waiters::Waiters;
use self::warming::Warming;
use crate::clock::{self, UnixMs};
use crate::config::Config;
use crate::engine::Engine;
use crate::logging::LogControl;
use crate::tier::Saves;
use crate::tier::store::StoreError;

/// The version of Redis that clients are told, by which they choose what to ask for.
pub const REDIS_VERSION: &str = "7.4.11";

/// The server's state, shared by all threads.
#[derive(Debug)]
pub struct Server {
    /// Keys, tiers, the options in force.
    pub engine: Arc<Engine>,
    /// The file that the options came from, for CONFIG REWRITE.
    pub config_file: Option<PathBuf>,
    /// All connections.
    pub clients: Arc<Clients>,
    /// What was done, counted for each thread.
    pub stats: Arc<Stats>,
    /// The slowest commands.
    pub slowlog: SlowLog,
    /// When what took too long.
    pub latency: LatencyMonitor,
    /// What is loaded from a file.
    pub warming: Warming,
    /// Clients that wait for keys.
    pub waiters: Waiters,
    /// Who listens to which channel.
    pub pubsub: PubSub,
    /// Scripts, and the one that runs.
    pub scripts: Scripts,
    /// Whether commands are held back.
    pub pause: Pause,
    /// Whether the server stops.
    pub shutdown: Arc<Shutdown>,
    /// What it listens on.
    pub listening: Listening,
    /// Whether maintenance drops expired keys that nobody reads: DEBUG SET-ACTIVE-EXPIRE.
    pub active_expire: AtomicBool,
    /// When somebody last asked for a save and it was done at once, or was waited for, and how often.
    asked_to_save_at_ms: AtomicI64,
    saves: AtomicU64,
    /// When the server started.
    pub started_at: UnixMs,
    /// The same moment on the monotonic clock.
    pub started: Instant,
    /// 40 hexadecimal digits that name this run.
    pub run_id: String,
    /// Changes the level of the log; not there in tests.
    pub log: OnceLock<LogControl>,
    /// Bytes that were in use before the first key and client.
    pub startup_bytes: usize,
    sampling: Mutex<Sampling>,
}

impl Server {
    /// A server with no connection, and the keys that its tier has. `commands` is how many rows [`crate::command::table`] has:
    /// each is counted.
    ///
    /// # Errors
    /// The tier cannot be opened.
    pub fn open(
        config: Config,
        config_file: Option<PathBuf>,
        commands: usize,
    ) -> Result<Self, StoreError> {
        let clients = Arc::new(Clients::default());
        let stats = Arc::new(Stats::new(Engine::own_threads(&config), commands));
        let script_bytes = Arc::new(ScriptBytes::default());
        let outside = {
            let (clients, stats) = (Arc::clone(&clients), Arc::clone(&stats));
            let scripts = Arc::clone(&script_bytes);
            move || {
                let clients = memory::client_bytes(&clients, &stats);
                clients + scripts.total() + stats.fixed_bytes() + size_of::<Self>()
            }
        };
        let engine = Arc::new(Engine::open(config, Box::new(outside))?);
        let engine_workers = engine.workers;
        let gate = engine.keyspace.gate().clone();
        let shutdown = Arc::new(Shutdown::default());
        let scripts = Scripts::new(
            script_bytes,
            Arc::clone(&engine.config),
            gate,
            Arc::clone(&shutdown),
        );
        let mut server = Self {
            config_file,
            engine,
            clients,
            stats,
            slowlog: SlowLog::default(),
            latency: LatencyMonitor::default(),
            warming: Warming::default(),
            waiters: Waiters::default(),
            pubsub: PubSub::new(engine_workers),
            scripts,
            pause: Pause::default(),
            shutdown,
            listening: Listening::default(),
            active_expire: AtomicBool::new(true),
            asked_to_save_at_ms: AtomicI64::new(0),
            saves: AtomicU64::new(0),
            started_at: clock::now(),
            started: Instant::now(),
            run_id: run_id(),
            log: OnceLock::new(),
            startup_bytes: 0,
            sampling: Mutex::default(),
        };
        server.startup_bytes = server.engine.used_bytes();
        Ok(server)
    }

    /// When changes were last written into the tier; before the first time, when the server started.
    pub fn last_save(&self) -> UnixMs {
        let written = self
            .engine
            .tier
            .as_ref()
            .and_then(|tier| tier.stats().last_write);
        let asked = self.asked_to_save_at_ms.load(Ordering::Relaxed);
        let asked = (asked != 0).then_some(UnixMs(asked));
        written.or(asked).unwrap_or(self.started_at)
    }

    /// Somebody has asked for a save, and it is done: where there is nothing to save to, or by SAVE, which waits.
    pub fn note_save(&self, now: UnixMs) {
        self.asked_to_save_at_ms.store(now.0, Ordering::Relaxed);
        self.saves.fetch_add(1, Ordering::Relaxed);
    }

    /// The saves that somebody has asked for.
    pub fn saves(&self) -> Saves {
        let at_once = self.saves.load(Ordering::Relaxed);
        let mut saves = match &self.engine.tier {
            Some(tier) => tier.saves(),
            None => Saves {
                last: (at_once > 0).then_some(Duration::ZERO),
                ..Saves::default()
            },
        };
        saves.count += at_once;
        saves
    }

    /// Takes the samples that INFO's rates and peaks are made of. The maintenance thread calls this
    /// every 100 ms.
    pub fn sample(&self, now: UnixMs) {
        let totals = Totals {
            commands: self.stats.sum(|stripe| &stripe.commands),
            input_bytes: self.stats.sum(|stripe| &stripe.input_bytes),
            output_bytes: self.stats.sum(|stripe| &stripe.output_bytes),
            reads: self.stats.sum(|stripe| &stripe.reads),
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
        self.engine.keyspace.reset_stats();
        crate::value::large::reset_lazy_frees();
        self.sampling.lock().reset();
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
