//! Options of Redis and Valkey that have no effect here, so that an existing file, command line or client finds them.
//!
//! Each is a row like any other: it is checked as Redis checks it, CONFIG GET shows what was set, CONFIG REWRITE writes it.
//! What asks for something else than Redis's default gives one warning at the start. Where going on would break a promise
//! (replicas, users, TLS) it is refused with the reason, at the start or by CONFIG SET. `docs/options.md` lists them all.
//!
//! Names, defaults and ranges are those which `CONFIG GET *` and `CONFIG SET` of Redis 8.10, 8.2, 7.0 and of Valkey 9.1 tell.
//!
//! Invariant: no value is printed, since some are secrets.

use std::collections::BTreeMap;
use std::fmt;

use super::kinds::{self, Kind, Refusal};
use super::options::{Opt, Section};
use super::{Config, TierDurability};
use Check::{Bool, Bytes, Integer, List, Save, Secret, Text, Words};

/// What was set of the options without effect, by name; the others have their defaults.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Settings(BTreeMap<&'static str, String>);

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// An option without effect.
pub(crate) struct Inert {
    name: &'static str,
    default: &'static str,
    check: Check,
    /// Values that ask for nothing, beside the default.
    quiet: &'static [&'static str],
    /// Whether, and why, other values break a promise.
    verdict: Verdict,
    why: &'static str,
}

/// What a value may be.
#[derive(Clone, Copy)]
pub(crate) enum Check {
    Bool,
    Integer(i64, i64),
    Bytes,
    Words(&'static [&'static str]),
    Text,
    /// Several words.
    List,
    /// Never printed.
    Secret,
    /// Pairs of seconds and changes. Several lines of a file add up.
    Save,
}

/// What happens to a value that asks for something.
#[derive(Clone, Copy)]
enum Verdict {
    /// It is taken.
    Take,
    /// It is refused.
    Refuse,
    /// It is taken where this holds, since then it is true of Strata too. Else a file gets a warning, and CONFIG SET is refused.
    OnlyIf(fn(&Config) -> bool),
}

/// What a value of an option without effect does to the start.
pub(super) enum Outcome {
    Silent,
    Warning(String),
    Refused(String),
}

impl Inert {
    pub(super) fn is_list(&self) -> bool {
        matches!(self.check, List | Save)
    }

    pub(super) fn adds_up(&self) -> bool {
        matches!(self.check, Save)
    }

    pub(super) fn is_secret(&self) -> bool {
        matches!(self.check, Secret)
    }

    /// The value as CONFIG GET shows it.
    pub(super) fn text(&self, config: &Config) -> String {
        let set = config.inert.0.get(self.name);
        set.map_or(self.default, String::as_str).to_owned()
    }

    pub(super) fn reset(&self, config: &mut Config) {
        config.inert.0.remove(self.name);
    }

    pub(super) fn read(&self, config: &mut Config, words: &[&str]) -> Result<(), Refusal> {
        let value = match (self.check, words) {
            (Save, _) => self.read_save(config, words)?,
            (List, _) => words.join(" "),
            (_, [word]) => self.read_word(word)?,
            _ => return Err("wrong number of arguments".into()),
        };
        match value == self.default {
            true => config.inert.0.remove(self.name),
            false => config.inert.0.insert(self.name, value),
        };
        Ok(())
    }

    fn read_word(&self, word: &str) -> Result<String, Refusal> {
        Ok(match self.check {
            Bool => if kinds::read_bool(word)? { "yes" } else { "no" }.to_owned(),
            Integer(min, max) => kinds::read_integer(word, min, max)?.to_string(),
            Bytes => kinds::read_bytes(word, 0)?.to_string(),
            Words(allowed) => {
                let known = allowed
                    .iter()
                    .find(|known| known.eq_ignore_ascii_case(word));
                let names = || {
                    format!(
                        "argument(s) must be one of the following: {}",
                        allowed.join(", ")
                    )
                };
                known.ok_or_else(names)?.to_string()
            }
            Text | Secret | List | Save => word.to_owned(),
        })
    }

    fn read_save(&self, config: &Config, words: &[&str]) -> Result<String, Refusal> {
        const WRONG: &str = "Invalid save parameters";
        if matches!(words, [] | [""]) {
            return Ok(String::new());
        }
        let (pairs, rest) = words.as_chunks::<2>();
        let number = |word: &str, min| kinds::read_integer(word, min, INT_MAX).is_ok();
        if !rest.is_empty() || !pairs.iter().all(|[s, n]| number(s, 1) && number(n, 0)) {
            return Err(WRONG.into());
        }
        let before = self.text(config);
        Ok([before.as_str(), &words.join(" ")]
            .join(" ")
            .trim_start()
            .to_owned())
    }

    pub(super) fn allowed(&self) -> String {
        match self.check {
            Bool => "yes or no".to_owned(),
            Integer(min, i64::MAX) => format!("a number from {min}"),
            Integer(min, max) => format!("a number from {min} to {max}"),
            Bytes => "a size such as 100mb".to_owned(),
            Words(words) => words.join(", "),
            Text | Secret => "any text".to_owned(),
            List => "any words".to_owned(),
            Save => "pairs of seconds and changes, or nothing".to_owned(),
        }
    }

    fn asks_for_nothing(&self, config: &Config) -> bool {
        let value = self.text(config);
        value == self.default
            || self
                .quiet
                .iter()
                .any(|quiet| quiet.eq_ignore_ascii_case(&value))
    }

    /// What the value does to a start.
    pub(super) fn judge(&self, config: &Config) -> Outcome {
        if self.asks_for_nothing(config) {
            return Outcome::Silent;
        }
        match self.verdict {
            Verdict::Refuse => Outcome::Refused(self.why.to_owned()),
            Verdict::OnlyIf(holds) if holds(config) => Outcome::Silent,
            _ => Outcome::Warning(format!("{} has no effect: {}", self.name, self.why)),
        }
    }

    /// Why CONFIG SET must refuse the value, if it must.
    pub(super) fn broken_promise(&self, config: &Config) -> Option<&'static str> {
        let kept = match self.verdict {
            Verdict::Take => true,
            Verdict::Refuse => false,
            Verdict::OnlyIf(holds) => holds(config),
        };
        (!kept && !self.asks_for_nothing(config)).then_some(self.why)
    }
}

/// Whether what changes survives the process, within a second or so: what snapshots and the append only file are for.
fn changes_are_kept(config: &Config) -> bool {
    config.tier_max_bytes > 0 && config.tier_durability != TierDurability::None
}

fn every_change_is_kept(config: &Config) -> bool {
    let is_asked_for = config
        .inert
        .0
        .get("appendonly")
        .is_some_and(|value| value == "yes");
    let is_kept = config.tier_max_bytes > 0 && config.tier_durability == TierDurability::Always;
    !is_asked_for || is_kept
}

fn never(_: &Config) -> bool {
    false
}

const fn inert(name: &'static str, default: &'static str, check: Check, why: &'static str) -> Opt {
    Opt {
        name,
        aliases: &[],
        env_aliases: &[],
        default,
        kind: Kind::Inert(Inert {
            name,
            default,
            check,
            quiet: &[],
            verdict: Verdict::Take,
            why,
        }),
        at_run_time: true,
        is_protected: false,
        is_directive: false,
        section: Section::Inert,
        summary: why,
    }
}

impl Opt {
    /// What becomes of a value other than the default, for the reference.
    pub(super) fn rule(&self) -> String {
        let Kind::Inert(inert) = &self.kind else {
            return String::new();
        };
        match inert.verdict {
            Verdict::Take => format!("no effect: {}", inert.why),
            Verdict::Refuse => format!("refused: {}", inert.why),
            Verdict::OnlyIf(_) => format!(
                "where that is not so, a warning at the start, and `CONFIG SET` is refused: {}",
                inert.why
            ),
        }
    }

    const fn named(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    const fn fixed(mut self) -> Self {
        self.at_run_time = false;
        self
    }

    const fn protected(mut self) -> Self {
        self.is_protected = true;
        self
    }

    /// It stands in files only, and CONFIG does not know it.
    const fn directive(mut self) -> Self {
        self.is_directive = true;
        self
    }

    const fn quiet(mut self, values: &'static [&'static str]) -> Self {
        if let Kind::Inert(inert) = &mut self.kind {
            inert.quiet = values;
        }
        self
    }

    const fn refused(mut self) -> Self {
        if let Kind::Inert(inert) = &mut self.kind {
            inert.verdict = Verdict::Refuse;
        }
        self
    }

    const fn only_if(mut self, holds: fn(&Config) -> bool) -> Self {
        if let Kind::Inert(inert) = &mut self.kind {
            inert.verdict = Verdict::OnlyIf(holds);
        }
        self
    }
}

/// Whether a name is an option of one of the modules that Redis 8 brings.
pub(super) fn is_of_a_module(name: &str) -> bool {
    const PREFIXES: [&str; 5] = ["search-", "ts-", "bf-", "cf-", "cms-"];
    let name = name.to_ascii_lowercase();
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Why modules and their options have no effect.
pub(super) const MODULES: &str = "Strata has no modules";

const INT_MAX: i64 = i32::MAX as i64;
const NUMBER: Check = Integer(0, INT_MAX);
const COUNT: Check = Integer(0, i64::MAX);
const PORT: Check = Integer(0, 65535);

const CLUSTER: &str = "Strata serves as a single node";
const TLS: &str = "TLS is not supported in this version";
const REPLICATION: &str = "Strata does not replicate";
const AOF: &str =
    "Strata has no append only file: the disk tier keeps changes, as tier-durability says";
const SNAPSHOTS: &str =
    "Strata writes no RDB snapshots: the disk tier keeps changes, as tier-durability says";
const PAYLOADS: &str = "payloads of RESTORE are always checked as a whole";
const DEFRAG: &str = "Strata does not defragment";
const BACKGROUND: &str = "Strata frees memory in the background by itself";
const CYCLE: &str = "Strata paces its own maintenance";
const THREADS: &str = "worker-threads sets the threads of Strata";
const SYSTEM: &str = "Strata leaves this to the service manager";
const SYSLOG: &str = "Strata logs to standard output or logfile";
const TITLE: &str = "Strata keeps the title that it was started with";
const LOG: &str = "the log of Strata has its own form, and no data of users";
const SCRIPTS: &str = "scripts have what Redis's have by default";
const ACL: &str = "users and ACL files are not supported in this version";
const ENCODINGS: &str = "Strata has no such form of values";
const COMMANDLOG: &str = "Strata logs slow commands only";
const NETWORK: &str =
    "Strata listens on TCP and a unix socket, and opens connections for MIGRATE alone";
const NOTIFY: &str = "keyspace events are not supported in this version";
const TRACKING: &str = "client tracking is not supported in this version";
const OTHER: &str = "Strata has nothing that it is about";
const OLD: &str = "it has no effect in current versions of Redis either";
const TESTS: &str = "it serves the tests of Redis alone";

/// Every option without effect.
pub(super) static INERT: &[Opt] = &[
    inert("cluster-allow-pubsubshard-when-down", "yes", Bool, CLUSTER),
    inert("cluster-allow-reads-when-down", "no", Bool, CLUSTER),
    inert("cluster-allow-replica-migration", "yes", Bool, CLUSTER),
    inert("cluster-announce-bus-port", "0", PORT, CLUSTER),
    inert("cluster-announce-client-ipv4", "", Text, CLUSTER),
    inert("cluster-announce-client-ipv6", "", Text, CLUSTER),
    inert("cluster-announce-client-port", "0", PORT, CLUSTER),
    inert("cluster-announce-client-tls-port", "0", PORT, CLUSTER),
    inert("cluster-announce-hostname", "", Text, CLUSTER),
    inert("cluster-announce-human-nodename", "", Text, CLUSTER),
    inert("cluster-announce-ip", "", Text, CLUSTER),
    inert("cluster-announce-port", "0", PORT, CLUSTER),
    inert("cluster-announce-tls-port", "0", PORT, CLUSTER),
    inert("cluster-blacklist-ttl", "60", COUNT, CLUSTER),
    inert("cluster-bus-port-protected-mode", "no", Bool, CLUSTER),
    inert(
        "cluster-compatibility-sample-ratio",
        "0",
        Integer(0, 100),
        CLUSTER,
    ),
    inert("cluster-config-file", "nodes.conf", Text, CLUSTER).fixed(),
    inert(
        "cluster-config-save-behavior",
        "sync",
        Words(&["sync", "best-effort"]),
        CLUSTER,
    ),
    inert("cluster-databases", "1", NUMBER, CLUSTER).fixed(),
    inert("cluster-enabled", "no", Bool, CLUSTER)
        .fixed()
        .refused(),
    inert("cluster-link-sendbuf-limit", "0", Bytes, CLUSTER),
    inert(
        "cluster-manual-failover-timeout",
        "5000",
        Integer(1, INT_MAX),
        CLUSTER,
    ),
    inert("cluster-migration-barrier", "1", NUMBER, CLUSTER),
    inert("cluster-node-timeout", "15000", COUNT, CLUSTER),
    inert("cluster-port", "0", NUMBER, CLUSTER).fixed(),
    inert(
        "cluster-preferred-endpoint-type",
        "ip",
        Words(&["ip", "hostname", "unknown-endpoint"]),
        CLUSTER,
    ),
    inert("cluster-replica-no-failover", "no", Bool, CLUSTER).named(&["cluster-slave-no-failover"]),
    inert("cluster-replica-validity-factor", "10", NUMBER, CLUSTER)
        .named(&["cluster-slave-validity-factor"]),
    inert("cluster-require-full-coverage", "yes", Bool, CLUSTER),
    inert(
        "cluster-slot-migration-handoff-max-lag-bytes",
        "1048576",
        Bytes,
        CLUSTER,
    ),
    inert("cluster-slot-migration-log-max-len", "1000", COUNT, CLUSTER),
    inert(
        "cluster-slot-migration-write-pause-timeout",
        "10000",
        COUNT,
        CLUSTER,
    ),
    inert(
        "cluster-slot-stats-enabled",
        "no",
        Words(&["no", "yes", "cpu", "net", "mem"]),
        CLUSTER,
    ),
    inert(
        "slot-migration-max-failover-repl-bytes",
        "0",
        Bytes,
        CLUSTER,
    ),
    inert(
        "tls-auth-clients",
        "yes",
        Words(&["no", "yes", "optional"]),
        TLS,
    ),
    inert(
        "tls-auth-clients-user",
        "off",
        Words(&["CN", "off", "URI"]),
        TLS,
    ),
    inert("tls-auto-reload-interval", "0", NUMBER, TLS),
    inert("tls-ca-cert-dir", "", Text, TLS),
    inert("tls-ca-cert-file", "", Text, TLS),
    inert("tls-cert-file", "", Text, TLS),
    inert("tls-ciphers", "", Text, TLS),
    inert("tls-ciphersuites", "", Text, TLS),
    inert("tls-client-cert-file", "", Text, TLS),
    inert("tls-client-key-file", "", Text, TLS),
    inert("tls-client-key-file-pass", "", Secret, TLS),
    inert("tls-cluster", "no", Bool, TLS),
    inert("tls-dh-params-file", "", Text, TLS),
    inert("tls-expected-peer-name", "", Text, TLS),
    inert("tls-key-file", "", Text, TLS),
    inert("tls-key-file-pass", "", Secret, TLS),
    inert("tls-port", "0", NUMBER, TLS).refused(),
    inert("tls-prefer-server-ciphers", "no", Bool, TLS),
    inert("tls-protocols", "", Text, TLS),
    inert("tls-replication", "no", Bool, TLS),
    inert("tls-session-cache-size", "20480", NUMBER, TLS),
    inert("tls-session-cache-timeout", "300", NUMBER, TLS),
    inert("tls-session-caching", "yes", Bool, TLS),
    inert("dual-channel-replication-enabled", "no", Bool, REPLICATION),
    inert("import-mode", "no", Bool, REPLICATION).refused(),
    inert("masterauth", "", Secret, REPLICATION).named(&["primaryauth"]),
    inert("masteruser", "", Text, REPLICATION).named(&["primaryuser"]),
    inert("min-replicas-max-lag", "10", NUMBER, REPLICATION).named(&["min-slaves-max-lag"]),
    inert("min-replicas-to-write", "0", NUMBER, REPLICATION)
        .named(&["min-slaves-to-write"])
        .refused(),
    inert(
        "propagation-error-behavior",
        "ignore",
        Words(&["ignore", "panic", "panic-on-replicas"]),
        REPLICATION,
    ),
    inert("rdb-del-sync-files", "no", Bool, REPLICATION),
    inert("repl-backlog-size", "1048576", Bytes, REPLICATION).quiet(&["10485760"]),
    inert("repl-backlog-ttl", "3600", COUNT, REPLICATION),
    inert("repl-disable-tcp-nodelay", "no", Bool, REPLICATION),
    inert(
        "repl-diskless-load",
        "disabled",
        Words(&[
            "disabled",
            "on-empty-db",
            "swapdb",
            "flushdb",
            "flush-before-load",
        ]),
        REPLICATION,
    ),
    inert("repl-diskless-sync", "yes", Bool, REPLICATION),
    inert("repl-diskless-sync-delay", "5", NUMBER, REPLICATION),
    inert("repl-diskless-sync-max-replicas", "0", NUMBER, REPLICATION),
    inert("repl-mptcp", "no", Bool, REPLICATION).fixed(),
    inert(
        "repl-ping-replica-period",
        "10",
        Integer(1, INT_MAX),
        REPLICATION,
    )
    .named(&["repl-ping-slave-period"]),
    inert("repl-timeout", "60", Integer(1, INT_MAX), REPLICATION),
    inert("replica-announce-ip", "", Text, REPLICATION).named(&["slave-announce-ip"]),
    inert("replica-announce-port", "0", PORT, REPLICATION).named(&["slave-announce-port"]),
    inert("replica-announced", "yes", Bool, REPLICATION),
    inert("replica-full-sync-buffer-limit", "0", Bytes, REPLICATION),
    inert("replica-ignore-disk-write-errors", "no", Bool, REPLICATION),
    inert("replica-ignore-maxmemory", "yes", Bool, REPLICATION).named(&["slave-ignore-maxmemory"]),
    inert("replica-lazy-flush", "no", Bool, REPLICATION)
        .named(&["slave-lazy-flush"])
        .quiet(&["yes"]),
    inert("replica-priority", "100", NUMBER, REPLICATION).named(&["slave-priority"]),
    inert("replica-read-only", "yes", Bool, REPLICATION).named(&["slave-read-only"]),
    inert("replica-serve-stale-data", "yes", Bool, REPLICATION).named(&["slave-serve-stale-data"]),
    inert("replicaof", "", List, REPLICATION)
        .named(&["slaveof"])
        .fixed()
        .quiet(&["no one"])
        .refused(),
    inert("aof-load-corrupt-tail-max-size", "0", COUNT, AOF),
    inert("aof-load-truncated", "yes", Bool, AOF),
    inert("aof-rewrite-incremental-fsync", "yes", Bool, AOF),
    inert("aof-timestamp-enabled", "no", Bool, AOF),
    inert("aof-use-rdb-preamble", "yes", Bool, AOF),
    inert("appenddirname", "appendonlydir", Text, AOF).fixed(),
    inert("appendfilename", "appendonly.aof", Text, AOF).fixed(),
    inert(
        "appendfsync",
        "everysec",
        Words(&["everysec", "always", "no"]),
        AOF,
    )
    .quiet(&["no"])
    .only_if(every_change_is_kept),
    inert("appendonly", "no", Bool, AOF).only_if(changes_are_kept),
    inert("auto-aof-rewrite-min-size", "67108864", Bytes, AOF),
    inert("auto-aof-rewrite-percentage", "100", NUMBER, AOF),
    inert("no-appendfsync-on-rewrite", "no", Bool, AOF),
    inert("backup-sealed-ttl", "0", COUNT, SNAPSHOTS),
    inert("backupdirname", "backupdir", Text, SNAPSHOTS).fixed(),
    inert("dbfilename", "dump.rdb", Text, SNAPSHOTS).protected(),
    inert("preload-file", "", Text, SNAPSHOTS).fixed().refused(),
    inert("rdb-save-incremental-fsync", "yes", Bool, SNAPSHOTS),
    inert(
        "rdb-version-check",
        "strict",
        Words(&["strict", "relaxed"]),
        SNAPSHOTS,
    ),
    inert("rdbchecksum", "yes", Bool, SNAPSHOTS).fixed(),
    inert("rdbcompression", "yes", Bool, SNAPSHOTS),
    inert("save", "", Save, SNAPSHOTS).only_if(changes_are_kept),
    inert("stop-writes-on-bgsave-error", "yes", Bool, SNAPSHOTS),
    inert(
        "sanitize-dump-payload",
        "no",
        Words(&["no", "yes", "clients"]),
        PAYLOADS,
    ),
    inert("active-defrag-cycle-max", "25", Integer(1, 99), DEFRAG),
    inert("active-defrag-cycle-min", "1", Integer(1, 99), DEFRAG),
    inert("active-defrag-cycle-us", "500", Integer(0, 100000), DEFRAG),
    inert("active-defrag-ignore-bytes", "104857600", Bytes, DEFRAG),
    inert(
        "active-defrag-max-scan-fields",
        "1000",
        Integer(1, i64::MAX),
        DEFRAG,
    ),
    inert(
        "active-defrag-threshold-lower",
        "10",
        Integer(0, 1000),
        DEFRAG,
    ),
    inert(
        "active-defrag-threshold-upper",
        "100",
        Integer(0, 1000),
        DEFRAG,
    ),
    inert("activedefrag", "no", Bool, DEFRAG),
    inert("jemalloc-bg-thread", "yes", Bool, BACKGROUND),
    inert("lazyfree-lazy-eviction", "no", Bool, BACKGROUND).quiet(&["yes"]),
    inert("lazyfree-lazy-expire", "no", Bool, BACKGROUND).quiet(&["yes"]),
    inert("lazyfree-lazy-server-del", "no", Bool, BACKGROUND).quiet(&["yes"]),
    inert("lazyfree-lazy-user-del", "no", Bool, BACKGROUND).quiet(&["yes"]),
    inert("lazyfree-lazy-user-flush", "no", Bool, BACKGROUND).quiet(&["yes"]),
    inert("activerehashing", "yes", Bool, CYCLE),
    inert("dynamic-hz", "yes", Bool, CYCLE),
    inert("hz", "10", NUMBER, CYCLE),
    inert(
        "max-new-connections-per-cycle",
        "10",
        Integer(1, 1000),
        CYCLE,
    ),
    inert(
        "max-new-tls-connections-per-cycle",
        "1",
        Integer(1, 1000),
        CYCLE,
    ),
    inert("maxmemory-eviction-tenacity", "10", Integer(0, 100), CYCLE),
    inert("aof-rewrite-cpulist", "", Text, THREADS)
        .named(&["aof_rewrite_cpulist"])
        .fixed(),
    inert("bgsave-cpulist", "", Text, THREADS)
        .named(&["bgsave_cpulist"])
        .fixed(),
    inert("bio-cpulist", "", Text, THREADS)
        .named(&["bio_cpulist"])
        .fixed(),
    inert("io-threads", "1", Integer(1, 256), THREADS),
    inert("lookahead", "16", Integer(1, INT_MAX), THREADS),
    inert("prefetch-batch-max-size", "16", Integer(0, 128), THREADS),
    inert("server-cpulist", "", Text, THREADS)
        .named(&["server_cpulist"])
        .fixed(),
    inert("daemonize", "no", Bool, SYSTEM).fixed(),
    inert("disable-thp", "yes", Bool, SYSTEM).fixed(),
    inert(
        "oom-score-adj",
        "no",
        Words(&["no", "yes", "relative", "absolute"]),
        SYSTEM,
    ),
    inert("oom-score-adj-values", "0 200 800", List, SYSTEM),
    inert(
        "shutdown-on-sigint",
        "default",
        Words(&[
            "default", "save", "nosave", "now", "force", "safe", "failover",
        ]),
        SYSTEM,
    ),
    inert(
        "shutdown-on-sigterm",
        "default",
        Words(&[
            "default", "save", "nosave", "now", "force", "safe", "failover",
        ]),
        SYSTEM,
    ),
    inert("socket-mark-id", "0", NUMBER, SYSTEM).fixed(),
    inert(
        "supervised",
        "no",
        Words(&["no", "auto", "systemd", "upstart"]),
        SYSTEM,
    )
    .fixed()
    .quiet(&["auto", "systemd"]),
    inert("unixsocketgroup", "", Text, SYSTEM).fixed(),
    inert("syslog-enabled", "no", Bool, SYSLOG).fixed(),
    inert("syslog-facility", "local0", Text, SYSLOG).fixed(),
    inert("syslog-ident", "redis", Text, SYSLOG)
        .fixed()
        .quiet(&["valkey"]),
    inert(
        "proc-title-template",
        "{title} {listen-addr} {server-mode}",
        Text,
        TITLE,
    ),
    inert("set-proc-title", "yes", Bool, TITLE).fixed(),
    inert("always-show-logo", "no", Bool, LOG).fixed(),
    inert("crash-log-enabled", "yes", Bool, LOG),
    inert("crash-memcheck-enabled", "yes", Bool, LOG),
    inert("hide-user-data-from-log", "no", Bool, LOG).quiet(&["yes"]),
    inert("ignore-warnings", "", Text, LOG),
    inert(
        "log-timestamp-format",
        "legacy",
        Words(&["legacy", "iso8601", "milliseconds"]),
        LOG,
    ),
    inert(
        "acl-pubsub-default",
        "resetchannels",
        Words(&["allchannels", "resetchannels"]),
        ACL,
    ),
    inert("aclfile", "", Text, ACL).fixed().refused(),
    inert("acllog-max-len", "128", COUNT, ACL),
    inert("array-slice-size", "4096", Integer(256, 65536), ENCODINGS),
    inert("array-sparse-kmax", "10", Integer(0, 256), ENCODINGS),
    inert("array-sparse-kmin", "5", Integer(0, 256), ENCODINGS),
    inert("hash-max-template-entries", "0", COUNT, ENCODINGS),
    inert("hash-min-template-entries", "0", COUNT, ENCODINGS),
    inert("hash-rdb-load-max-template-entries", "0", COUNT, ENCODINGS),
    inert("hash-rdb-load-min-template-entries", "0", COUNT, ENCODINGS),
    inert(
        "hash-rdb-load-template-disassembly-threshold",
        "0",
        COUNT,
        ENCODINGS,
    ),
    inert("hash-seed", "", Text, ENCODINGS).fixed(),
    inert("key-memory-histograms", "no", Bool, ENCODINGS),
    inert("list-compress-depth", "0", NUMBER, ENCODINGS),
    inert("stream-idmp-duration", "100", Integer(1, 86400), ENCODINGS),
    inert("stream-idmp-maxsize", "100", Integer(1, 10000), ENCODINGS),
    inert(
        "vset-force-single-threaded-execution",
        "no",
        Bool,
        ENCODINGS,
    ),
    inert("commandlog-large-reply-max-len", "128", COUNT, COMMANDLOG),
    inert("commandlog-large-request-max-len", "128", COUNT, COMMANDLOG),
    inert(
        "commandlog-reply-larger-than",
        "1048576",
        Integer(-1, i64::MAX),
        COMMANDLOG,
    ),
    inert(
        "commandlog-request-larger-than",
        "1048576",
        Integer(-1, i64::MAX),
        COMMANDLOG,
    ),
    inert("bind-source-addr", "", Text, NETWORK),
    inert("mptcp", "no", Bool, NETWORK).fixed(),
    inert("rdma-bind", "", List, NETWORK),
    inert(
        "rdma-completion-vector",
        "-1",
        Integer(-1, INT_MAX),
        NETWORK,
    )
    .fixed(),
    inert("rdma-port", "0", PORT, NETWORK),
    inert("rdma-rx-size", "1048576", NUMBER, NETWORK).fixed(),
    inert("notify-keyspace-events", "", Text, NOTIFY).only_if(never),
    inert("tracking-table-max-keys", "1000000", COUNT, TRACKING),
    inert("enable-module-command", "no", Bool, MODULES)
        .fixed()
        .quiet(&["local"]),
    inert("availability-zone", "", Text, OTHER),
    inert("enable-protected-configs", "no", Bool, OTHER).fixed(),
    inert("extended-redis-compatibility", "no", Bool, OTHER),
    inert("locale-collate", "", Text, OTHER),
    // Directives that stand in files only.
    inert("user", "", List, ACL).fixed().directive().refused(),
    inert("loadmodule", "", List, MODULES).fixed().directive(),
    // What Redis and Valkey take, and CONFIG GET of a pattern does not show.
    inert("io-threads-do-reads", "no", Bool, OLD),
    inert("gopher-enabled", "no", Bool, OLD).directive(),
    inert("lua-replicate-commands", "yes", Bool, OLD).directive(),
    inert("list-max-ziplist-entries", "512", NUMBER, OLD).directive(),
    inert("list-max-ziplist-value", "64", NUMBER, OLD).directive(),
    inert("hash-max-zipmap-entries", "512", NUMBER, OLD).directive(),
    inert("hash-max-zipmap-value", "64", NUMBER, OLD).directive(),
    inert("events-per-io-thread", "2", NUMBER, THREADS).directive(),
    inert("io-threads-always-active", "no", Bool, THREADS).directive(),
    inert("min-io-threads-avoid-copy-reply", "7", NUMBER, THREADS).directive(),
    inert("min-string-size-avoid-copy-reply", "16384", NUMBER, THREADS).directive(),
    inert(
        "min-string-size-avoid-copy-reply-threaded",
        "65536",
        NUMBER,
        THREADS,
    )
    .directive(),
    inert("lua-enable-deprecated-api", "no", Bool, SCRIPTS).directive(),
    inert("lua-enable-insecure-api", "no", Bool, SCRIPTS).directive(),
    inert("aof-disable-auto-gc", "no", Bool, AOF),
    inert("cluster-ping-interval", "1000", NUMBER, CLUSTER).directive(),
    inert(
        "cluster-slot-migration-max-archived-tasks",
        "32",
        NUMBER,
        CLUSTER,
    )
    .directive(),
    inert(
        "cluster-slot-migration-sync-buffer-drain-timeout",
        "60000",
        NUMBER,
        CLUSTER,
    )
    .directive(),
    inert("dict-resizing", "yes", Bool, TESTS).directive(),
    inert("rdb-key-save-delay", "0", Integer(-INT_MAX, INT_MAX), TESTS).directive(),
    inert("key-load-delay", "0", Integer(-INT_MAX, INT_MAX), TESTS).directive(),
    inert("watchdog-period", "0", NUMBER, TESTS).directive(),
    inert("use-exit-on-panic", "no", Bool, TESTS).directive(),
];
