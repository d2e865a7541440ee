//! The options of the server: one row each, read from flags, environment and file into one typed snapshot.
//!
//! The life of a value: `load` collects assignments (flag over environment over file over default), the `Kind` of the row
//! checks each one and puts it into its field of [`Config`]; `live` publishes the snapshot to the threads; CONFIG GET and
//! CONFIG SET ([`get`], [`set`]) go through the same rows; `rewrite` carries the snapshot back into the file.
//!
//! - `options`: the rows. A new option is one row there and one field here.
//! - `kinds`, `types`: what values may be, and what they are once read.
//! - `inert`: Redis's options that have no effect here. `guide`: the environment names of the guide.
//! - `file`, `load`, `rewrite`, `template`: redis.conf syntax in and out. `live`: the snapshot shared by threads.
//! - `machine`: memory and cores of the machine or container.
//!
//! Knows nothing of the server it configures. A change that needs an action (a new port wants a new listener) is the
//! caller's: make the new [`Config`] with [`set`], act, then publish it.
//!
//! Invariant: a `Config` is only made by the rows, so each of its fields has passed the check of its row.
//! Invariant: a secret is shown by CONFIG GET and written by CONFIG REWRITE, and appears nowhere else.

use std::fmt;
use std::path::{Path, PathBuf};

mod file;
mod guide;
mod inert;
mod kinds;
mod live;
pub mod load;
mod machine;
mod nearest;
mod options;
mod rewrite;
#[cfg(test)]
pub(crate) mod scratch;
mod template;
mod types;

pub use inert::Settings;
pub use kinds::parse_bytes;
pub use live::{Live, Reader};
pub use options::{OPTIONS, Opt, Section, all, option};
pub use rewrite::rewrite;
pub use template::{reference, template};
pub use types::{
    Bind, CallableFrom, EvictionPolicy, LogFormat, LogLevel, MemoryCompression, OutputLimit,
    OutputLimits, Rename, Secret, Share, TierAdmission, TierCompression, TierDurability,
    TierOverload, TierPolicy, TierRule, TierRules,
};

/// Declares the struct and its blank form, so that the fields are listed once. A blank is never seen outside: the rows fill it.
macro_rules! config {
    ($(#[$doc:meta])* pub struct Config { $($(#[$fdoc:meta])* pub $field:ident: $type:ty,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct Config { $($(#[$fdoc])* pub $field: $type,)+ }

        impl Config {
            fn blank() -> Self {
                Self { $($field: <$type>::default(),)+ }
            }

            #[cfg(test)]
            const FIELD_COUNT: usize = [$(stringify!($field)),+].len();
        }
    };
}

config! {
    /// A snapshot of all options. Fields bear the directive's name; units come last.
    pub struct Config {
        /// Addresses to listen on; empty means no TCP.
        pub bind: Vec<Bind>,
        /// TCP port; 0 means no TCP.
        pub port: u16,
        /// Unix socket to listen on.
        pub unixsocket: Option<PathBuf>,
        /// Mode of the unix socket; 0 leaves it to the umask.
        pub unixsocketperm: u32,
        /// Connections that may wait to be accepted.
        pub tcp_backlog: u32,
        /// TCP keepalive; 0 means none.
        pub tcp_keepalive_s: u32,
        /// Idle clients are closed after this; 0 means never.
        pub timeout_s: u32,
        /// Most clients at once.
        pub maxclients: u32,
        /// Most memory in client buffers; see [`Config::client_memory_limit`].
        pub maxmemory_clients: Share,
        /// Longest argument, in bytes.
        pub proto_max_bulk_len: u64,
        /// Most unprocessed input of a client, in bytes.
        pub client_query_buffer_limit: u64,
        /// Output limits per class of clients.
        pub client_output_buffer_limit: OutputLimits,
        /// Refuse foreign clients while there is no password.
        pub protected_mode: bool,
        /// Password of the default user.
        pub requirepass: Secret,
        /// Commands with other names.
        pub rename_command: Vec<Rename>,
        /// From where DEBUG may be called.
        pub enable_debug_command: CallableFrom,
        /// Most memory for keys and values, in bytes; 0 means no limit.
        pub maxmemory: u64,
        /// What goes when `maxmemory` or `max_entries` is reached.
        pub maxmemory_policy: EvictionPolicy,
        /// Where the disk tier lives.
        pub tier_dir: Option<PathBuf>,
        /// A file whose keys are loaded after the start.
        pub warm: Option<PathBuf>,
        /// Where CACHE.WARM finds files; see [`Config::warm_dir`].
        pub warm_dir: Option<PathBuf>,
        /// How long a record stays in the disk tier at the most; 0 is no limit.
        pub tier_ttl_s: u32,
        /// What the disk tier may take; 0 means there is none.
        pub tier_max_bytes: u64,
        /// What of it survives.
        pub tier_durability: TierDurability,
        /// Which victims it gets.
        pub tier_admission: TierAdmission,
        /// What happens when it takes less than is written.
        pub tier_overload: TierOverload,
        /// For how long writes go on while it takes none.
        pub tier_write_ahead_limit_ms: u32,
        /// Which keys it gets, and which stay in memory.
        pub tier_policy: TierRules,
        /// How its values are compressed.
        pub tier_compression: TierCompression,
        /// Keys compared per eviction.
        pub maxmemory_samples: u32,
        /// Most keys; 0 means no limit.
        pub max_entries: u64,
        /// Time without access after which an entry leaves memory; 0 means never.
        pub memory_ttl_s: u32,
        /// How values that have cooled down are compressed when memory is short.
        pub memory_compression: MemoryCompression,
        /// Growth of the LFU counter.
        pub lfu_log_factor: u32,
        /// Decay of the LFU counter, in minutes a step; 0 means none.
        pub lfu_decay_time_min: u32,
        /// TTL of a key created without one; 0 means none.
        pub default_ttl_s: u32,
        /// Effort of active expiry, 1 to 10.
        pub active_expire_effort: u32,
        /// Largest sparse HyperLogLog, in bytes.
        pub hll_sparse_max_bytes: u64,
        /// How large a listpack of a list may be: elements, or -1 to -5 for 4 to 64 KiB.
        pub list_max_listpack_size: i64,
        /// Members up to which a set of integers stays packed.
        pub set_max_intset_entries: usize,
        /// Members up to which another set stays packed.
        pub set_max_listpack_entries: usize,
        /// Bytes of a member up to which a set stays packed.
        pub set_max_listpack_value: usize,
        /// Members up to which a sorted set stays packed.
        pub zset_max_listpack_entries: usize,
        /// Bytes of a member up to which a sorted set stays packed.
        pub zset_max_listpack_value: usize,
        /// Fields up to which a hash stays packed.
        pub hash_max_listpack_entries: usize,
        /// Bytes of a field or value up to which a hash stays packed.
        pub hash_max_listpack_value: usize,
        /// Bytes of a node of a stream.
        pub stream_node_max_bytes: usize,
        /// Entries of a node of a stream.
        pub stream_node_max_entries: usize,
        /// Where relative paths start from; see [`Config::in_dir`].
        pub dir: PathBuf,
        /// Holds the number of the process.
        pub pidfile: Option<PathBuf>,
        /// Number of databases, 1 to 16.
        pub databases: usize,
        /// Threads that serve clients; 0 means one per core. See [`Config::worker_thread_count`].
        pub worker_threads: usize,
        /// How long a stop waits for running requests.
        pub shutdown_timeout_s: u32,
        /// Least severe message that is logged.
        pub loglevel: LogLevel,
        /// Log file; none means standard output.
        pub logfile: Option<PathBuf>,
        /// Form of a log line.
        pub log_format: LogFormat,
        /// Slow log threshold; 0 logs every command, -1 none.
        pub slowlog_log_slower_than_us: i64,
        /// Length of the slow log.
        pub slowlog_max_len: u64,
        /// Arguments of a command that the slow log keeps.
        pub slowlog_entry_max_argc: usize,
        /// Bytes of an argument that it keeps.
        pub slowlog_entry_max_string_len: usize,
        /// Threshold of LATENCY events; 0 means none.
        pub latency_monitor_threshold_ms: u64,
        /// From how many milliseconds on others are told of a script that does not end; 0: never.
        pub busy_reply_threshold_ms: u64,
        /// Keep run time histograms per command.
        pub latency_tracking: bool,
        /// Percentiles in INFO latencystats.
        pub latency_tracking_info_percentiles: Vec<f64>,
        /// What was set of the options of Redis that have no effect.
        pub inert: Settings,
    }
}

impl Default for Config {
    /// The defaults of the rows. `maxmemory` depends on the machine.
    fn default() -> Self {
        let mut config = Self::blank();
        for option in OPTIONS {
            let read = option.read_default(&mut config);
            debug_assert_eq!(
                read,
                Ok(()),
                "the default of {} passes its own check",
                option.name
            );
        }
        config
    }
}

impl Config {
    /// The number of worker threads once 0 is resolved to the cores that the machine or container lets us use.
    #[must_use]
    pub fn worker_thread_count(&self) -> usize {
        if self.worker_threads == 0 {
            machine::cores()
        } else {
            self.worker_threads
        }
    }

    /// Where a path of an option is: relative ones are in `dir`.
    #[must_use]
    pub fn in_dir(&self, path: &Path) -> PathBuf {
        self.dir.join(path)
    }

    /// The directory of the disk tier.
    #[must_use]
    pub fn tier_dir(&self) -> PathBuf {
        self.in_dir(self.tier_dir.as_deref().unwrap_or(Path::new("data")))
    }

    /// The directory that CACHE.WARM takes files from.
    #[must_use]
    pub fn warm_dir(&self) -> PathBuf {
        self.in_dir(self.warm_dir.as_deref().unwrap_or(Path::new("")))
    }

    /// The limit on client buffers in bytes, once a share of `maxmemory` is resolved; 0 means no limit.
    #[must_use]
    pub fn client_memory_limit(&self) -> u64 {
        self.maxmemory_clients.of(self.maxmemory)
    }
}

impl Opt {
    /// The value as CONFIG GET shows it. A secret is shown too.
    #[must_use]
    pub fn text(&self, config: &Config) -> String {
        self.kind.text(config)
    }

    fn read_default(&self, config: &mut Config) -> Result<(), kinds::Refusal> {
        if let kinds::Kind::Inert(_) = self.kind {
            return self.kind.read_text(config, self.default);
        }
        let words =
            file::split_words(self.default.as_bytes()).map_err(|error| error.to_string())?;
        self.kind.read(
            config,
            &words.iter().map(String::as_str).collect::<Vec<_>>(),
        )
    }
}

/// CONFIG GET: the names that match any of the patterns, each once, with their values. `glob(pattern, name)` is called
/// with both in lower case.
pub fn get(
    config: &Config,
    patterns: &[&[u8]],
    glob: impl Fn(&[u8], &[u8]) -> bool,
) -> Vec<(&'static str, String)> {
    let patterns: Vec<Vec<u8>> = patterns
        .iter()
        .map(|pattern| pattern.to_ascii_lowercase())
        .collect();
    let asked = |name: &str| {
        patterns
            .iter()
            .any(|pattern| glob(pattern, name.as_bytes()))
    };
    let mut found = Vec::new();
    for option in all().filter(|option| !option.is_directive) {
        found.extend(
            option
                .names()
                .filter(|name| asked(name))
                .map(|name| (name, option.text(config))),
        );
    }
    found
}

/// Why CONFIG SET failed. `Display` is the wire text, that of Redis 7.0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetError {
    /// There is no such option.
    Unknown {
        /// The name as the client wrote it.
        name: String,
    },
    /// The option does not take this value, or none at run time.
    Refused {
        /// The option.
        name: String,
        /// Why.
        reason: String,
    },
}

impl SetError {
    /// For a caller that could not act on a new value (a port in use): the same text as for a wrong one.
    #[must_use]
    pub fn refused(name: &str, reason: impl Into<String>) -> Self {
        Self::Refused {
            name: name.to_owned(),
            reason: reason.into(),
        }
    }
}

impl fmt::Display for SetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { name } => write!(
                f,
                "ERR Unknown option or number of arguments for CONFIG SET - '{name}'"
            ),
            Self::Refused { name, reason } => {
                write!(
                    f,
                    "ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}"
                )
            }
        }
    }
}

impl std::error::Error for SetError {}

/// CONFIG SET: all pairs or none. Names are checked before values, in the order of Redis.
pub fn set(config: &Config, pairs: &[(&[u8], &[u8])]) -> Result<Config, SetError> {
    let targets = targets(pairs)?;
    let mut changed = config.clone();
    let refused = |option: &Opt, written: &[u8], reason: kinds::Refusal| {
        // The alias that was used, as Redis has it.
        let mut names = option.names();
        let name = names.find(|name| name.as_bytes().eq_ignore_ascii_case(written));
        SetError::refused(name.unwrap_or(option.name), reason)
    };
    for (option, (name, value)) in targets.iter().zip(pairs) {
        let value = std::str::from_utf8(value)
            .map_err(|_| refused(option, name, "argument must be UTF-8 text".into()))?;
        let read = option.kind.read_whole(&mut changed, value);
        read.map_err(|reason| refused(option, name, reason))?;
    }
    for (option, (name, _)) in targets.iter().zip(pairs) {
        if let kinds::Kind::Inert(inert) = &option.kind
            && let Some(why) = inert.broken_promise(&changed)
        {
            return Err(refused(option, name, why.into()));
        }
    }
    if let Some((names, reason)) = conflicts(&changed).next() {
        let mut of_it = targets.iter().map(|option| option.name);
        let name = of_it.find(|name| names.contains(name));
        return Err(SetError::refused(name.unwrap_or(names[0]), reason));
    }
    Ok(changed)
}

/// What no single row can see: the options that do not go together, and why.
fn conflicts(config: &Config) -> impl Iterator<Item = Conflict> {
    [idle_unknown(config), nowhere(config)]
        .into_iter()
        .flatten()
}

type Conflict = (&'static [&'static str], String);

/// Whether the server would listen nowhere.
fn nowhere(config: &Config) -> Option<Conflict> {
    let tcp = config.port != 0 && !config.bind.is_empty();
    (!tcp && config.unixsocket.is_none()).then(|| {
        let reason = format!(
            "port {}: with no TCP port or no address the server can be reached by unixsocket only, and none is set",
            config.port
        );
        (&["port", "bind"][..], reason)
    })
}

fn idle_unknown(config: &Config) -> Option<Conflict> {
    let policy = config.maxmemory_policy;
    let idle_unknown = config.memory_ttl_s != 0 && (policy.is_lfu() || policy.is_lrm());
    idle_unknown.then(|| {
        let reason = format!(
            "memory-ttl {} does not go with maxmemory-policy {policy}, which knows no time of the last access",
            config.memory_ttl_s
        );
        (&["memory-ttl", "maxmemory-policy"][..], reason)
    })
}

fn targets(pairs: &[(&[u8], &[u8])]) -> Result<Vec<&'static Opt>, SetError> {
    let names: Vec<String> = pairs
        .iter()
        .map(|(name, _)| String::from_utf8_lossy(name).into_owned())
        .collect();
    // An unknown name anywhere outweighs every other fault.
    let unknown = |name: &str| SetError::Unknown {
        name: one_line(name),
    };
    let known = |name: &String| {
        let option = option(name).filter(|option| !option.is_directive);
        option.ok_or_else(|| unknown(name))
    };
    let targets = names.iter().map(known).collect::<Result<Vec<_>, _>>()?;
    for (at, (name, option)) in names.iter().zip(&targets).enumerate() {
        if option.is_protected {
            return Err(SetError::refused(name, "can't set protected config"));
        }
        if !option.at_run_time {
            return Err(SetError::refused(name, "can't set immutable config"));
        }
        let mut earlier = targets.iter().take(at);
        if earlier.any(|earlier| earlier.name == option.name) {
            return Err(SetError::refused(name, "duplicate parameter"));
        }
    }
    Ok(targets)
}

/// An error reply is one line, whatever bytes the client sent.
fn one_line(text: &str) -> String {
    text.replace(['\r', '\n'], " ")
}

#[cfg(test)]
mod tests;
