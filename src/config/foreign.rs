//! Directives of Redis that Strata does not have, so that an existing redis.conf or command line starts.
//!
//! A directive with the value that Redis itself starts with asks for nothing and is passed over in silence. Any other value
//! gives one warning at the start, or stops it where going on would be unsafe: whoever asks for TLS, users or renamed
//! commands must not get an open server instead.
//!
//! Invariant: no value is printed, since some are secrets.

use super::options::OPTIONS;

/// A directive of Redis without a row.
pub(super) struct Foreign {
    pub(super) name: &'static str,
    /// The values that ask for nothing: Redis's default, and what says the same.
    silent: &'static [&'static str],
    verdict: Verdict,
}

/// What happens when something else is asked for, and why.
#[derive(Clone, Copy)]
enum Verdict {
    Warn(&'static str),
    Refuse(&'static str),
}

/// What a foreign directive does to the start.
pub(super) enum Outcome {
    Silent,
    Warning(String),
    Refused(String),
}

impl Foreign {
    pub(super) fn judge(&self, words: &[&str]) -> Outcome {
        let value = words.join(" ");
        let silent = value.is_empty()
            || self
                .silent
                .iter()
                .any(|silent| silent.eq_ignore_ascii_case(&value));
        match self.verdict {
            _ if silent && !self.silent.is_empty() => Outcome::Silent,
            Verdict::Warn(why) => Outcome::Warning(format!("{} has no effect: {why}", self.name)),
            Verdict::Refuse(why) => Outcome::Refused(why.to_owned()),
        }
    }
}

/// The foreign directive of this name, in any case.
pub(super) fn foreign(name: &str) -> Option<&'static Foreign> {
    FOREIGN
        .iter()
        .find(|foreign| foreign.name.eq_ignore_ascii_case(name))
}

/// Every name that is a directive of a file and a flag.
pub(super) fn known_names() -> impl Iterator<Item = &'static str> {
    let foreign = FOREIGN.iter().map(|foreign| foreign.name);
    OPTIONS.iter().flat_map(super::Opt::names).chain(foreign)
}

const fn warn(name: &'static str, silent: &'static [&'static str], why: &'static str) -> Foreign {
    Foreign {
        name,
        silent,
        verdict: Verdict::Warn(why),
    }
}

/// With no silent value at all, whatever stands there is refused.
const fn refuse(name: &'static str, silent: &'static [&'static str], why: &'static str) -> Foreign {
    Foreign {
        name,
        silent,
        verdict: Verdict::Refuse(why),
    }
}

const SNAPSHOTS: &str = "Strata writes no RDB snapshots";
const AOF: &str = "Strata has no append only file";
const REPLICATION: &str = "Strata does not replicate";
const CLUSTER: &str = "Strata serves as a single node";
const SCRIPTS: &str = "scripts are not supported in this version";
const THREADS: &str = "worker-threads sets the threads of Strata";
const BACKGROUND: &str = "Strata frees memory in the background by itself";
const CYCLE: &str = "Strata paces its own maintenance";
const DEFRAG: &str = "Strata does not defragment";
const ENCODINGS: &str = "the encoding limits cannot be changed in this version";
const SYSTEM: &str = "Strata leaves this to the service manager";
const TITLE: &str = "Strata does not change its process title";
const SYSLOG: &str = "Strata logs to standard output or logfile";
const CRASH: &str = "Strata writes no crash report of this kind";
const TRACKING: &str = "client tracking is not supported in this version";
const NOTIFY: &str = "keyspace events are not supported in this version";
const EVICTION: &str = "Strata paces its own eviction";
const TLS: &str = "TLS is not supported in this version";
const ACL: &str = "users and ACL files are not supported in this version";

/// Redis's defaults are those of `CONFIG GET *` of a running 7.0.15, and the values of its redis.conf.
static FOREIGN: &[Foreign] = &[
    // Snapshots.
    warn("save", &["", "3600 1 300 100 60 10000"], SNAPSHOTS),
    warn("dbfilename", &["dump.rdb"], SNAPSHOTS),
    warn(
        "dir",
        &["", ".", "./"],
        "Strata stays in the directory it was started in",
    ),
    warn("rdbcompression", &["yes"], SNAPSHOTS),
    warn("rdbchecksum", &["yes"], SNAPSHOTS),
    warn("rdb-del-sync-files", &["no"], SNAPSHOTS),
    warn("rdb-save-incremental-fsync", &["yes"], SNAPSHOTS),
    warn("sanitize-dump-payload", &["no"], SNAPSHOTS),
    warn("stop-writes-on-bgsave-error", &["yes"], SNAPSHOTS),
    // The append only file.
    warn("appendonly", &["no"], AOF),
    warn("appendfilename", &["appendonly.aof"], AOF),
    warn("appenddirname", &["appendonlydir"], AOF),
    warn("appendfsync", &["everysec"], AOF),
    warn("no-appendfsync-on-rewrite", &["no"], AOF),
    warn("auto-aof-rewrite-percentage", &["100"], AOF),
    warn("auto-aof-rewrite-min-size", &["64mb", "67108864"], AOF),
    warn("aof-load-truncated", &["yes"], AOF),
    warn("aof-use-rdb-preamble", &["yes"], AOF),
    warn("aof-timestamp-enabled", &["no"], AOF),
    warn("aof-rewrite-incremental-fsync", &["yes"], AOF),
    warn("aof-disable-auto-gc", &["no"], AOF),
    // Replication.
    warn("replicaof", &["", "no one"], REPLICATION),
    warn("slaveof", &["", "no one"], REPLICATION),
    warn("masterauth", &[""], REPLICATION),
    warn("masteruser", &[""], REPLICATION),
    warn("replica-serve-stale-data", &["yes"], REPLICATION),
    warn("slave-serve-stale-data", &["yes"], REPLICATION),
    warn("replica-read-only", &["yes"], REPLICATION),
    warn("slave-read-only", &["yes"], REPLICATION),
    warn("replica-priority", &["100"], REPLICATION),
    warn("slave-priority", &["100"], REPLICATION),
    warn("replica-announced", &["yes"], REPLICATION),
    warn("replica-announce-ip", &[""], REPLICATION),
    warn("slave-announce-ip", &[""], REPLICATION),
    warn("replica-announce-port", &["0"], REPLICATION),
    warn("slave-announce-port", &["0"], REPLICATION),
    warn("replica-ignore-maxmemory", &["yes"], REPLICATION),
    warn("slave-ignore-maxmemory", &["yes"], REPLICATION),
    warn("replica-ignore-disk-write-errors", &["no"], REPLICATION),
    warn("replica-lazy-flush", &["no", "yes"], REPLICATION),
    warn("slave-lazy-flush", &["no", "yes"], REPLICATION),
    warn("propagation-error-behavior", &["ignore"], REPLICATION),
    warn("min-replicas-to-write", &["0"], REPLICATION),
    warn("min-slaves-to-write", &["0"], REPLICATION),
    warn("min-replicas-max-lag", &["10"], REPLICATION),
    warn("min-slaves-max-lag", &["10"], REPLICATION),
    warn("repl-backlog-size", &["1mb", "1048576"], REPLICATION),
    warn("repl-backlog-ttl", &["3600"], REPLICATION),
    warn("repl-disable-tcp-nodelay", &["no"], REPLICATION),
    warn("repl-diskless-load", &["disabled"], REPLICATION),
    warn("repl-diskless-sync", &["yes"], REPLICATION),
    warn("repl-diskless-sync-delay", &["5"], REPLICATION),
    warn("repl-diskless-sync-max-replicas", &["0"], REPLICATION),
    warn("repl-ping-replica-period", &["10"], REPLICATION),
    warn("repl-ping-slave-period", &["10"], REPLICATION),
    warn("repl-timeout", &["60"], REPLICATION),
    // Cluster.
    warn("cluster-enabled", &["no"], CLUSTER),
    warn("cluster-config-file", &["nodes.conf"], CLUSTER),
    warn("cluster-node-timeout", &["15000"], CLUSTER),
    warn("cluster-port", &["0"], CLUSTER),
    warn("cluster-migration-barrier", &["1"], CLUSTER),
    warn("cluster-allow-replica-migration", &["yes"], CLUSTER),
    warn("cluster-allow-reads-when-down", &["no"], CLUSTER),
    warn("cluster-allow-pubsubshard-when-down", &["yes"], CLUSTER),
    warn("cluster-require-full-coverage", &["yes"], CLUSTER),
    warn("cluster-replica-validity-factor", &["10"], CLUSTER),
    warn("cluster-slave-validity-factor", &["10"], CLUSTER),
    warn("cluster-replica-no-failover", &["no"], CLUSTER),
    warn("cluster-slave-no-failover", &["no"], CLUSTER),
    warn("cluster-link-sendbuf-limit", &["0"], CLUSTER),
    warn("cluster-announce-ip", &[""], CLUSTER),
    warn("cluster-announce-hostname", &[""], CLUSTER),
    warn("cluster-announce-port", &["0"], CLUSTER),
    warn("cluster-announce-tls-port", &["0"], CLUSTER),
    warn("cluster-announce-bus-port", &["0"], CLUSTER),
    warn("cluster-preferred-endpoint-type", &["ip"], CLUSTER),
    // Scripts.
    warn("lua-time-limit", &["5000"], SCRIPTS),
    warn("busy-reply-threshold", &["5000"], SCRIPTS),
    // Threads and the machine.
    warn("io-threads", &["1"], THREADS),
    warn("io-threads-do-reads", &["no"], THREADS),
    warn("server_cpulist", &[""], THREADS),
    warn("bio_cpulist", &[""], THREADS),
    warn("aof_rewrite_cpulist", &[""], THREADS),
    warn("bgsave_cpulist", &[""], THREADS),
    warn("daemonize", &["no"], SYSTEM),
    warn("supervised", &["no", "auto"], SYSTEM),
    warn("pidfile", &[""], SYSTEM),
    warn("oom-score-adj", &["no"], SYSTEM),
    warn("oom-score-adj-values", &["0 200 800"], SYSTEM),
    warn("disable-thp", &["yes"], SYSTEM),
    warn("shutdown-on-sigint", &["default"], SYSTEM),
    warn("shutdown-on-sigterm", &["default"], SYSTEM),
    warn("socket-mark-id", &["0"], SYSTEM),
    warn(
        "bind-source-addr",
        &[""],
        "Strata opens no connections of its own",
    ),
    warn("set-proc-title", &["yes"], TITLE),
    warn(
        "proc-title-template",
        &["{title} {listen-addr} {server-mode}"],
        TITLE,
    ),
    // Maintenance.
    warn("lazyfree-lazy-eviction", &["no", "yes"], BACKGROUND),
    warn("lazyfree-lazy-expire", &["no", "yes"], BACKGROUND),
    warn("lazyfree-lazy-server-del", &["no", "yes"], BACKGROUND),
    warn("lazyfree-lazy-user-del", &["no", "yes"], BACKGROUND),
    warn("lazyfree-lazy-user-flush", &["no", "yes"], BACKGROUND),
    warn("jemalloc-bg-thread", &["yes"], BACKGROUND),
    warn("hz", &["10"], CYCLE),
    warn("dynamic-hz", &["yes"], CYCLE),
    warn("activerehashing", &["yes"], CYCLE),
    warn("maxmemory-eviction-tenacity", &["10"], EVICTION),
    warn("activedefrag", &["no"], DEFRAG),
    warn("active-defrag-cycle-min", &["1"], DEFRAG),
    warn("active-defrag-cycle-max", &["25"], DEFRAG),
    warn(
        "active-defrag-ignore-bytes",
        &["100mb", "104857600"],
        DEFRAG,
    ),
    warn("active-defrag-max-scan-fields", &["1000"], DEFRAG),
    warn("active-defrag-threshold-lower", &["10"], DEFRAG),
    warn("active-defrag-threshold-upper", &["100"], DEFRAG),
    // Encodings.
    warn("list-compress-depth", &["0"], ENCODINGS),
    // Logs, events, tracking.
    warn("syslog-enabled", &["no"], SYSLOG),
    warn("syslog-facility", &["local0"], SYSLOG),
    warn("syslog-ident", &["redis"], SYSLOG),
    warn("always-show-logo", &["no"], "Strata has no logo"),
    warn("crash-log-enabled", &["yes"], CRASH),
    warn("crash-memcheck-enabled", &["yes"], CRASH),
    warn("ignore-warnings", &[""], "Strata ignores no warnings"),
    warn("notify-keyspace-events", &[""], NOTIFY),
    warn("tracking-table-max-keys", &["1000000"], TRACKING),
    warn(
        "acllog-max-len",
        &["128"],
        "there is no ACL LOG in this version",
    ),
    // Where ignoring would leave a door open.
    refuse("acl-pubsub-default", &["resetchannels"], ACL),
    refuse("aclfile", &[""], ACL),
    refuse("user", &[], ACL),
    refuse("rename-command", &[], "commands cannot be renamed"),
    refuse("loadmodule", &[], "Strata has no modules"),
    warn("enable-module-command", &["no"], "Strata has no modules"),
    warn(
        "enable-protected-configs",
        &["no"],
        "Strata has no protected options",
    ),
    refuse("tls-port", &["0"], TLS),
    refuse("tls-cluster", &["no"], TLS),
    refuse("tls-replication", &["no"], TLS),
    refuse("tls-auth-clients", &["yes"], TLS),
    refuse("tls-cert-file", &[""], TLS),
    refuse("tls-key-file", &[""], TLS),
    refuse("tls-key-file-pass", &[""], TLS),
    refuse("tls-client-cert-file", &[""], TLS),
    refuse("tls-client-key-file", &[""], TLS),
    refuse("tls-client-key-file-pass", &[""], TLS),
    refuse("tls-dh-params-file", &[""], TLS),
    refuse("tls-ca-cert-file", &[""], TLS),
    refuse("tls-ca-cert-dir", &[""], TLS),
    refuse("tls-protocols", &[""], TLS),
    refuse("tls-ciphers", &[""], TLS),
    refuse("tls-ciphersuites", &[""], TLS),
    refuse("tls-prefer-server-ciphers", &["no"], TLS),
    refuse("tls-session-caching", &["yes"], TLS),
    refuse("tls-session-cache-size", &["20480"], TLS),
    refuse("tls-session-cache-timeout", &["300"], TLS),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::option;

    #[test]
    fn no_directive_is_both_ours_and_foreign() {
        for (at, directive) in FOREIGN.iter().enumerate() {
            assert!(
                option(directive.name).is_none(),
                "{} has a row",
                directive.name
            );
            assert!(
                FOREIGN[..at]
                    .iter()
                    .all(|earlier| earlier.name != directive.name),
                "{} twice",
                directive.name
            );
        }
    }

    #[test]
    fn only_what_differs_from_redis_is_spoken_of() {
        let judge = |name: &str, words: &[&str]| foreign(name).unwrap().judge(words);
        assert!(matches!(judge("appendonly", &["NO"]), Outcome::Silent));
        assert!(matches!(judge("APPENDONLY", &["yes"]), Outcome::Warning(_)));
        assert!(matches!(judge("save", &[""]), Outcome::Silent));
        assert!(matches!(
            judge("save", &["3600", "1", "300", "100", "60", "10000"]),
            Outcome::Silent
        ));
        assert!(matches!(judge("save", &["900", "1"]), Outcome::Warning(_)));
        assert!(matches!(judge("tls-port", &["0"]), Outcome::Silent));
        assert!(matches!(judge("tls-port", &["6380"]), Outcome::Refused(_)));
        assert!(matches!(
            judge("user", &["default", "off"]),
            Outcome::Refused(_)
        ));
        assert!(matches!(judge("rename-command", &[]), Outcome::Refused(_)));
    }
}
