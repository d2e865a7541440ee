//! What all connections share: the keyspace, the options in force, the clients, statistics and logs.

pub mod clients;
pub mod maintenance;
pub mod pause;
pub mod session;
pub mod shutdown;
pub mod slowlog;
pub mod stats;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use self::clients::Clients;
use self::pause::Pause;
use self::shutdown::Shutdown;
use self::slowlog::SlowLog;
use self::stats::Stats;
use crate::clock::{self, UnixMs};
use crate::config::{Config, Live};
use crate::keyspace::Keyspace;
use crate::logging::LogControl;

/// The version of Redis that clients are told, by which they choose what to ask for.
pub const REDIS_VERSION: &str = "7.2.4";

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
    /// Whether commands are held back.
    pub pause: Pause,
    /// Whether the server stops.
    pub shutdown: Shutdown,
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
}

impl Server {
    /// A server with no connection and no key. Thread slots 0 to `workers - 1` are the workers',
    /// [`Server::maintenance_slot`] is the maintenance thread's.
    pub fn new(config: Config, config_file: Option<PathBuf>) -> Self {
        let workers = config.worker_thread_count();
        Self {
            config: Arc::new(Live::new(config)),
            config_file,
            keyspace: Keyspace::new(workers + 1),
            clients: Clients::default(),
            stats: Stats::new(workers + 1),
            slowlog: SlowLog::default(),
            pause: Pause::default(),
            shutdown: Shutdown::default(),
            started_at: clock::now(),
            started: Instant::now(),
            run_id: run_id(),
            workers,
            log: OnceLock::new(),
        }
    }

    /// The slot of the maintenance thread.
    pub fn maintenance_slot(&self) -> crate::keyspace::ThreadSlot {
        crate::keyspace::ThreadSlot(self.workers)
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
