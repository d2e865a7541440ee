//! One row per option. The rows are the only list there is: flags, environment names, CONFIG, help and the commented
//! `conf/strata.conf` are made from them.
//!
//! No row without something that reads its field: an option that is accepted and ignored would be a lie. What Redis has
//! and Strata does not is in `inert.rs`.

use super::inert::INERT;
use super::kinds::{Kind, Number, Slot, Word};
use super::types::{
    CallableFrom, EvictionPolicy, LogFormat, LogLevel, MemoryCompression, TierAdmission,
    TierCompression, TierDurability, TierOverload,
};
use Section::{Clients, Expiry, Memory, Network, Observation, Process, Security, Tier, Values};

/// An option of the server.
pub struct Opt {
    /// The directive, the CONFIG name, and with dashes before it the flag.
    pub name: &'static str,
    /// Other names of the directive, that mean the same in a file, as a flag and in CONFIG.
    pub aliases: &'static [&'static str],
    /// Environment names other than [`Opt::env_name`].
    pub env_aliases: &'static [&'static str],
    /// The default, as it would stand in a file.
    pub default: &'static str,
    /// What the value may be, and which field holds it.
    pub(crate) kind: Kind,
    /// Whether CONFIG SET may change it.
    pub at_run_time: bool,
    /// Whether CONFIG SET may not because of what it could do to the machine.
    pub is_protected: bool,
    /// Whether it stands in files and flags only, and CONFIG does not know it.
    pub is_directive: bool,
    /// The section it belongs to.
    pub section: Section,
    /// What it does, in full sentences; the first one can stand alone.
    pub summary: &'static str,
}

/// The sections of the options, in the order of the template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Where and how the server listens.
    Network,
    /// What clients may do and hold.
    Clients,
    /// Who may come in.
    Security,
    /// How much is kept, and what goes first.
    Memory,
    /// What is kept on disk.
    Tier,
    /// When keys go.
    Expiry,
    /// The form of values.
    Values,
    /// Threads, start and stop.
    Process,
    /// Logs, slow log and latency.
    Observation,
    /// Those of Redis that have no effect; the template leaves them out.
    Inert,
}

impl Section {
    /// Every section, in the order of the template.
    pub const ALL: &'static [Self] = &[
        Self::Network,
        Self::Clients,
        Self::Security,
        Self::Memory,
        Self::Tier,
        Self::Expiry,
        Self::Values,
        Self::Process,
        Self::Observation,
    ];

    /// The heading of the section.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Network => "Network",
            Self::Clients => "Clients",
            Self::Security => "Security",
            Self::Memory => "Memory",
            Self::Tier => "Disk tier",
            Self::Expiry => "Expiry",
            Self::Values => "Values",
            Self::Process => "Process",
            Self::Observation => "Logs and latency",
            Self::Inert => "Without effect",
        }
    }
}

impl Opt {
    /// The name in the environment: `STRATA_MAXMEMORY_POLICY`.
    #[must_use]
    pub fn env_name(&self) -> String {
        env_name(self.name)
    }

    /// What a value may be, in words.
    #[must_use]
    pub fn allowed(&self) -> String {
        self.kind.allowed()
    }

    /// The first sentence of the summary, for a list of options.
    #[must_use]
    pub fn first_sentence(&self) -> &'static str {
        self.summary
            .split_inclusive(". ")
            .next()
            .unwrap_or_default()
            .trim_end()
    }

    /// Whether the value must not be shown in logs and errors.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        self.kind.is_secret()
    }

    /// Whether `name`, in any case, is this option.
    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        self.names().any(|own| own.eq_ignore_ascii_case(name))
    }

    /// The name and its aliases.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }
}

pub(super) fn env_name(name: &str) -> String {
    format!("STRATA_{}", name.replace('-', "_").to_ascii_uppercase())
}

/// Every row: those that have an effect, then the others.
pub fn all() -> impl Iterator<Item = &'static Opt> {
    OPTIONS.iter().chain(INERT)
}

/// The row of a directive, in any case.
#[must_use]
pub fn option(name: &str) -> Option<&'static Opt> {
    all().find(|option| option.is_named(name))
}

macro_rules! slot {
    ($field:ident) => {
        Slot {
            get: |config| &config.$field,
            of: |config| &mut config.$field,
        }
    };
}

macro_rules! number {
    ($field:ident) => {
        Number {
            get: |config| config.$field.try_into().unwrap_or(i64::MAX),
            set: |config, value| config.$field = value.try_into().unwrap_or(config.$field),
        }
    };
}

macro_rules! word {
    ($field:ident: $words:ty) => {
        Kind::Word(Word {
            names: <$words>::NAMES,
            get: |config| config.$field.name(),
            set: |config, name| match <$words>::from_name(name) {
                Some(value) => {
                    config.$field = value;
                    true
                }
                None => false,
            },
        })
    };
}

/// The largest C `int`: the upper end of many of Redis's ranges.
const INT_MAX: i64 = i32::MAX as i64;

/// What Redis demands of buffers that must hold at least one request.
const MEBIBYTE: i64 = 1 << 20;

/// 90 days. The time of an access has 24 bits of seconds, and one up to half of that counts as past.
const MEMORY_TTL_S_MAX: i64 = 90 * 24 * 3600;

const fn integer(min: i64, max: i64, field: Number) -> Kind {
    Kind::Integer { min, max, field }
}

const fn bytes(min: i64, field: Number) -> Kind {
    Kind::Bytes { min, field }
}

const fn live(
    section: Section,
    name: &'static str,
    default: &'static str,
    kind: Kind,
    summary: &'static str,
) -> Opt {
    Opt {
        name,
        aliases: &[],
        env_aliases: &[],
        default,
        kind,
        at_run_time: true,
        is_protected: false,
        is_directive: false,
        section,
        summary,
    }
}

const fn fixed(
    section: Section,
    name: &'static str,
    default: &'static str,
    kind: Kind,
    summary: &'static str,
) -> Opt {
    Opt {
        name,
        aliases: &[],
        env_aliases: &[],
        default,
        kind,
        at_run_time: false,
        is_protected: false,
        is_directive: false,
        section,
        summary,
    }
}

/// Every option, section by section.
pub static OPTIONS: &[Opt] = &[
    live(
        Network,
        "bind",
        "127.0.0.1 -::1",
        Kind::Addresses(slot!(bind)),
        "The addresses to listen on. '*' is every IPv4 address, '::*' every IPv6 address; an address with '-' before it \
         may be missing on this machine. Empty: no TCP at all.",
    ),
    live(
        Network,
        "port",
        "6379",
        integer(0, 65535, number!(port)),
        "The TCP port. 0: no TCP at all; then unixsocket must be set.",
    ),
    fixed(
        Network,
        "unixsocket",
        "\"\"",
        Kind::Path(slot!(unixsocket)),
        "The path of a unix socket to listen on as well. Empty: none.",
    ),
    fixed(
        Network,
        "unixsocketperm",
        "0",
        Kind::Mode(number!(unixsocketperm)),
        "The file mode of the unix socket. 0: as the umask of the process has it.",
    ),
    fixed(
        Network,
        "tcp-backlog",
        "511",
        integer(0, INT_MAX, number!(tcp_backlog)),
        "How many connections may wait to be accepted. The system caps it (on Linux at net.core.somaxconn).",
    ),
    live(
        Network,
        "tcp-keepalive",
        "300",
        integer(0, INT_MAX, number!(tcp_keepalive_s)),
        "Seconds of silence after which the system asks whether a client is still there. 0: never.",
    ),
    live(
        Clients,
        "timeout",
        "0",
        integer(0, INT_MAX, number!(timeout_s)),
        "Seconds after which an idle client is closed. 0: never. Subscribers and blocked clients are not idle.",
    ),
    live(
        Clients,
        "maxclients",
        "10000",
        integer(1, u32::MAX as i64, number!(maxclients)),
        "The most clients connected at once. More are refused with an error.",
    ),
    live(
        Clients,
        "maxmemory-clients",
        "0",
        Kind::Share(slot!(maxmemory_clients)),
        "The most memory that the buffers of all clients together may take; above it the largest clients are closed. \
         A share such as 5% is of maxmemory. 0: no limit.",
    ),
    live(
        Clients,
        "proto-max-bulk-len",
        "512mb",
        bytes(MEBIBYTE, number!(proto_max_bulk_len)),
        "The longest argument of a request, and the longest string value.",
    ),
    live(
        Clients,
        "client-query-buffer-limit",
        "1gb",
        bytes(MEBIBYTE, number!(client_query_buffer_limit)),
        "The most unprocessed input of one client; above it the client is closed.",
    ),
    live(
        Clients,
        "client-output-buffer-limit",
        "normal 0 0 0 replica 256mb 64mb 60 pubsub 32mb 8mb 60",
        Kind::OutputLimits(slot!(client_output_buffer_limit)),
        "When a client that does not read its replies is closed: class, hard limit, soft limit, seconds. At once above the \
         hard limit, or after so many seconds above the soft limit. The classes are normal, replica and pubsub; one that is \
         not named keeps its limits. 0: no limit.",
    ),
    live(
        Security,
        "protected-mode",
        "yes",
        Kind::Bool(slot!(protected_mode)),
        "While no password is set, refuse clients that come neither from loopback nor through the unix socket.",
    ),
    live(
        Security,
        "requirepass",
        "\"\"",
        Kind::Secret(slot!(requirepass)),
        "The password of the default user. Empty: none is asked for.",
    ),
    Opt {
        is_directive: true,
        ..fixed(
            Security,
            "rename-command",
            "\"\"",
            Kind::Renames(slot!(rename_command)),
            "Gives a command another name: the command, then the name. An empty name (\"\") takes the command away. Lines add up.",
        )
    },
    fixed(
        Security,
        "enable-debug-command",
        "no",
        word!(enable_debug_command: CallableFrom),
        "From where DEBUG may be called: no (nowhere), yes (everywhere), local (loopback and the unix socket).",
    ),
    live(
        Memory,
        "maxmemory",
        "40%",
        Kind::MachineShare(number!(maxmemory)),
        "The most memory that keys, values, buffers of clients and what the disk tier has in memory may take; then maxmemory-policy decides. A share such as 40% is of what the \
         machine has, or the container if that is less. 0: no limit.",
    ),
    live(
        Memory,
        "maxmemory-policy",
        "allkeys-s3fifo",
        word!(maxmemory_policy: EvictionPolicy),
        "Which keys are evicted when maxmemory or max-entries is reached. The volatile policies take only keys with a TTL; \
         noeviction takes none and refuses writes. allkeys-s3fifo withstands scans. lrm goes by the last change, so that reads count for nothing.",
    ),
    live(
        Memory,
        "maxmemory-samples",
        "5",
        integer(1, 64, number!(maxmemory_samples)),
        "How many keys the lru, lrm, lfu and ttl policies compare to find one to evict. More is closer to exact, and slower.",
    ),
    live(
        Memory,
        "max-entries",
        "0",
        integer(0, i64::MAX, number!(max_entries)),
        "The most keys in memory, of all databases together; then maxmemory-policy decides. With a disk tier the others stay on \
         disk. 0: no limit.",
    ),
    live(
        Memory,
        "memory-ttl",
        "0",
        integer(0, MEMORY_TTL_S_MAX, number!(memory_ttl_s)),
        "Seconds without an access after which a key leaves memory: for the disk tier, where there is one; else it is \
         evicted, whatever maxmemory-policy says. Needs a policy other than the lfu and lrm ones, which know no time of the \
         last access. 0: no limit.",
    ),
    live(
        Memory,
        "memory-compression",
        "none",
        word!(memory_compression: MemoryCompression),
        "How values that were not accessed lately are compressed in memory when maxmemory is reached, before any key is \
         evicted: lz4 (values of 256 bytes to 256 KiB, where that saves an eighth), none. What is compressed is restored when \
         it is read.",
    ),
    fixed(
        Values,
        "warm",
        "\"\"",
        Kind::Path(slot!(warm)),
        "An RDB file of Redis or Valkey whose keys are loaded in the background after the start, as by CACHE.WARM FILE.",
    ),
    fixed(
        Values,
        "warm-dir",
        "\"\"",
        Kind::Path(slot!(warm_dir)),
        "The directory that CACHE.WARM takes files from, at any depth. Empty: dir.",
    ),
    fixed(
        Tier,
        "tier-dir",
        "./data",
        Kind::Path(slot!(tier_dir)),
        "The directory of the disk tier, from dir on.",
    ),
    fixed(
        Tier,
        "tier-max-bytes",
        "10gb",
        Kind::Bytes {
            min: 0,
            field: number!(tier_max_bytes),
        },
        "The most that the disk tier may take; when it is full the oldest goes. 0: there is no disk tier.",
    ),
    fixed(
        Tier,
        "tier-ttl",
        "0",
        integer(0, INT_MAX, number!(tier_ttl_s)),
        "The longest that what was written stays in the disk tier, in seconds: the key goes then, unless memory holds it, which writes it again. 0: as long as there is room.",
    ),
    live(
        Tier,
        "tier-compression",
        "zstd",
        word!(tier_compression: TierCompression),
        "How values on disk are compressed from now on: zstd (with dictionaries that are learnt from the values), lz4, none.",
    ),
    fixed(
        Tier,
        "tier-durability",
        "everysec",
        word!(tier_durability: TierDurability),
        "What survives the end of the process: everysec (all but the last second), always (all that was acknowledged), none (nothing after a crash).",
    ),
    live(
        Tier,
        "tier-admission",
        "auto",
        word!(tier_admission: TierAdmission),
        "Which keys that memory has no room for are written to disk under tier-durability none, where no others are: all, \
         ghost (those that were used in memory, or had to leave it before; others are evicted, and so are keys that expire \
         within 5 seconds), auto (all until the disk is full to 80 %, then ghost). Otherwise every change is written.",
    ),
    live(
        Tier,
        "tier-policy",
        "\"\"",
        Kind::TierRules(slot!(tier_policy)),
        "Where the keys that begin with a prefix may be: disk (in both tiers), memory-only (never on disk: evicted when \
         memory needs room, and gone after a restart), pinned (on disk too, and always in memory). The longest prefix of a \
         key counts; an empty one (\"\") is for all other keys. Lines add up, CONFIG SET replaces them all. Empty: every key \
         may be in both.",
    ),
    live(
        Tier,
        "tier-overload",
        "block",
        word!(tier_overload: TierOverload),
        "What happens when memory is full of keys that the disk has not taken yet: block (commands that need memory wait \
         for the disk), shed (they wait for at most 100 ms, then such keys are evicted). Under tier-durability always \
         nothing is shed.",
    ),
    live(
        Tier,
        "tier-write-ahead-limit",
        "1000",
        integer(0, 3_600_000, number!(tier_write_ahead_limit_ms)),
        "For how many milliseconds writes go on while the disk takes none of them. Then they are refused with an IOERR, and \
         so are replies that wait for the disk under tier-durability always. What deletes goes on under everysec, as long \
         as the reserve on the disk has room to remember it.",
    ),
    live(
        Memory,
        "lfu-log-factor",
        "10",
        integer(0, INT_MAX, number!(lfu_log_factor)),
        "How slowly the access counter of the lfu policies grows: with 10 it is full after about a million accesses.",
    ),
    live(
        Memory,
        "lfu-decay-time",
        "1",
        integer(0, INT_MAX, number!(lfu_decay_time_min)),
        "Minutes after which the access counter of the lfu policies falls by one. 0: it never falls.",
    ),
    Opt {
        env_aliases: &["CACHE_TTL"],
        ..live(
            Expiry,
            "default-ttl",
            "0",
            integer(0, INT_MAX, number!(default_ttl_s)),
            "The TTL in seconds of a key that is created without one. 0: such a key stays until it is deleted or evicted.",
        )
    },
    live(
        Expiry,
        "active-expire-effort",
        "1",
        integer(1, 10, number!(active_expire_effort)),
        "How much time goes into finding expired keys that nobody reads, from 1 to 10.",
    ),
    live(
        Values,
        "hll-sparse-max-bytes",
        "3000",
        bytes(0, number!(hll_sparse_max_bytes)),
        "The size up to which a HyperLogLog stays in its sparse, smaller and slower form.",
    ),
    Opt {
        aliases: &["list-max-ziplist-size"],
        ..live(
            Values,
            "list-max-listpack-size",
            "-2",
            integer(-INT_MAX - 1, INT_MAX, number!(list_max_listpack_size)),
            "How large a row of elements of a list may be: a number of elements, or -1 to -5 for 4, 8, 16, 32 and 64 KiB. A list \
             of one row is smaller than one of several.",
        )
    },
    live(
        Values,
        "set-max-intset-entries",
        "512",
        integer(0, i64::MAX, number!(set_max_intset_entries)),
        "The number of members up to which a set of integers is kept as one row of them.",
    ),
    live(
        Values,
        "set-max-listpack-entries",
        "128",
        integer(0, i64::MAX, number!(set_max_listpack_entries)),
        "The number of members up to which another set is kept as one row of bytes, which is smaller, and slower for many members.",
    ),
    live(
        Values,
        "set-max-listpack-value",
        "64",
        integer(0, i64::MAX, number!(set_max_listpack_value)),
        "The longest member, in bytes, that a set may have to be kept as one row of bytes.",
    ),
    Opt {
        aliases: &["zset-max-ziplist-entries"],
        ..live(
            Values,
            "zset-max-listpack-entries",
            "128",
            integer(0, i64::MAX, number!(zset_max_listpack_entries)),
            "The number of members up to which a sorted set is kept as one row of bytes, which is smaller, and slower for many \
             members.",
        )
    },
    Opt {
        aliases: &["zset-max-ziplist-value"],
        ..live(
            Values,
            "zset-max-listpack-value",
            "64",
            bytes(0, number!(zset_max_listpack_value)),
            "The longest member, in bytes, that a sorted set may have to be kept as one row of bytes.",
        )
    },
    Opt {
        aliases: &["hash-max-ziplist-entries"],
        ..live(
            Values,
            "hash-max-listpack-entries",
            "512",
            integer(0, i64::MAX, number!(hash_max_listpack_entries)),
            "The number of fields up to which a hash is kept as one row of bytes, which is smaller, and slower for many fields.",
        )
    },
    Opt {
        aliases: &["hash-max-ziplist-value"],
        ..live(
            Values,
            "hash-max-listpack-value",
            "64",
            bytes(0, number!(hash_max_listpack_value)),
            "The longest field or value, in bytes, that a hash may have to be kept as one row of bytes.",
        )
    },
    live(
        Values,
        "stream-node-max-bytes",
        "4kb",
        bytes(0, number!(stream_node_max_bytes)),
        "The size up to which a node of a stream takes more entries; 0: any.",
    ),
    live(
        Values,
        "stream-node-max-entries",
        "100",
        integer(0, i64::MAX, number!(stream_node_max_entries)),
        "The number of entries that a node of a stream takes; 0: any.",
    ),
    Opt {
        is_protected: true,
        ..fixed(
            Process,
            "dir",
            ".",
            Kind::Directory(slot!(dir)),
            "The directory that relative paths of tier-dir, logfile, pidfile, unixsocket, warm and warm-dir start from.",
        )
    },
    fixed(
        Process,
        "pidfile",
        "\"\"",
        Kind::Path(slot!(pidfile)),
        "A file that holds the number of the process while it runs. Empty: none.",
    ),
    fixed(
        Process,
        "databases",
        "16",
        integer(1, 16, number!(databases)),
        "How many databases SELECT may choose from.",
    ),
    fixed(
        Process,
        "worker-threads",
        "0",
        integer(0, 1024, number!(worker_threads)),
        "How many threads serve clients. 0: one per core that the machine or container lets us use.",
    ),
    live(
        Process,
        "shutdown-timeout",
        "10",
        integer(0, INT_MAX, number!(shutdown_timeout_s)),
        "Seconds that a stop may take: running requests get at most half of them, writing to the disk tier the rest. When they \
         are over the server exits with an error and says what is lost. 0: requests are not waited for, and writing may take \
         as long as it takes.",
    ),
    live(
        Observation,
        "loglevel",
        "notice",
        word!(loglevel: LogLevel),
        "The least severe message that is logged: debug, verbose, notice, warning, or nothing at all.",
    ),
    fixed(
        Observation,
        "logfile",
        "\"\"",
        Kind::Path(slot!(logfile)),
        "The file to log to, from dir on. SIGHUP opens it anew. Empty: standard output.",
    ),
    fixed(
        Observation,
        "log-format",
        "text",
        word!(log_format: LogFormat),
        "How log lines are written: text (legacy is another word for it), or one JSON object a line.",
    ),
    Opt {
        aliases: &["commandlog-execution-slower-than"],
        ..live(
            Observation,
            "slowlog-log-slower-than",
            "10000",
            integer(-1, i64::MAX, number!(slowlog_log_slower_than_us)),
            "Commands that run longer than this many microseconds go to the slow log. 0: every command. -1: none.",
        )
    },
    Opt {
        aliases: &["commandlog-slow-execution-max-len"],
        ..live(
            Observation,
            "slowlog-max-len",
            "128",
            integer(0, i64::MAX, number!(slowlog_max_len)),
            "How many commands the slow log keeps.",
        )
    },
    live(
        Observation,
        "slowlog-entry-max-argc",
        "32",
        integer(2, INT_MAX, number!(slowlog_entry_max_argc)),
        "How many arguments of a command the slow log keeps; the last of them tells how many more there were.",
    ),
    live(
        Observation,
        "slowlog-entry-max-string-len",
        "128",
        integer(1, i64::MAX, number!(slowlog_entry_max_string_len)),
        "How many bytes of an argument the slow log keeps.",
    ),
    live(
        Observation,
        "latency-monitor-threshold",
        "0",
        integer(0, i64::MAX, number!(latency_monitor_threshold_ms)),
        "Events that take at least this many milliseconds are kept for LATENCY. 0: none.",
    ),
    Opt {
        aliases: &["lua-time-limit"],
        ..live(
            Process,
            "busy-reply-threshold",
            "5000",
            integer(0, i64::MAX, number!(busy_reply_threshold_ms)),
            "A script that runs for so many milliseconds is stuck: commands that need keys are answered with BUSY from then on, until it \
             ends or SCRIPT KILL ends it. 0: never.",
        )
    },
    live(
        Observation,
        "latency-tracking",
        "yes",
        Kind::Bool(slot!(latency_tracking)),
        "Keep a histogram of the run time of each command, for INFO latencystats and LATENCY HISTOGRAM.",
    ),
    live(
        Observation,
        "latency-tracking-info-percentiles",
        "50 99 99.9",
        Kind::Percentiles(slot!(latency_tracking_info_percentiles)),
        "The percentiles that INFO latencystats shows.",
    ),
];
