//! Configuration files that people have: Redis's, Valkey's, Debian's, charts'. They must start the server.

use std::ffi::OsString;

use super::super::Config;
use super::super::load::{Invocation, from_process};
use super::super::scratch::Scratch;

/// Lines of files that are on many machines: their directives, with values that are usual.
const STOCK: &[(&str, &str)] = &[
    // The examples that Redis 7.2 and 8 and Valkey 8 and 9 come with.
    (
        "redis.conf",
        "bind 127.0.0.1 -::1\nprotected-mode yes\nport 6379\ntcp-backlog 511\ntimeout 0\ntcp-keepalive 300\ndaemonize no\n\
         pidfile /var/run/redis_6379.pid\nloglevel notice\nlogfile \"\"\ndatabases 16\nalways-show-logo no\n\
         set-proc-title yes\nproc-title-template \"{title} {listen-addr} {server-mode}\"\nlocale-collate \"\"\n\
         stop-writes-on-bgsave-error yes\nrdbcompression yes\nrdbchecksum yes\ndbfilename dump.rdb\nrdb-del-sync-files no\n\
         dir ./\nreplica-serve-stale-data yes\nreplica-read-only yes\nrepl-diskless-sync yes\nrepl-diskless-sync-delay 5\n\
         repl-diskless-sync-max-replicas 0\nrepl-diskless-load disabled\nrepl-disable-tcp-nodelay no\nreplica-priority 100\n\
         dual-channel-replication-enabled no\nacllog-max-len 128\nlazyfree-lazy-eviction yes\nlazyfree-lazy-expire no\n\
         lazyfree-lazy-server-del yes\nreplica-lazy-flush yes\nlazyfree-lazy-user-del no\nlazyfree-lazy-user-flush yes\n\
         oom-score-adj no\noom-score-adj-values 0 200 800\ndisable-thp yes\nappendonly no\nappendfilename \"appendonly.aof\"\n\
         appenddirname \"appendonlydir\"\nappendfsync everysec\nno-appendfsync-on-rewrite no\nauto-aof-rewrite-percentage 100\n\
         auto-aof-rewrite-min-size 64mb\naof-load-truncated yes\naof-use-rdb-preamble yes\naof-timestamp-enabled no\n\
         slowlog-log-slower-than 10000\nslowlog-max-len 128\ncommandlog-execution-slower-than 10000\n\
         commandlog-slow-execution-max-len 128\ncommandlog-request-larger-than 1048576\ncommandlog-large-request-max-len 128\n\
         commandlog-reply-larger-than 1048576\ncommandlog-large-reply-max-len 128\nlatency-monitor-threshold 0\n\
         notify-keyspace-events \"\"\nhash-max-listpack-entries 512\nhash-max-listpack-value 64\nlist-max-listpack-size -2\n\
         list-compress-depth 0\nset-max-intset-entries 512\nset-max-listpack-entries 128\nset-max-listpack-value 64\n\
         zset-max-listpack-entries 128\nzset-max-listpack-value 64\nhll-sparse-max-bytes 3000\nstream-node-max-bytes 4096\n\
         stream-node-max-entries 100\nactiverehashing yes\nclient-output-buffer-limit normal 0 0 0\n\
         client-output-buffer-limit replica 256mb 64mb 60\nclient-output-buffer-limit pubsub 32mb 8mb 60\nhz 10\ndynamic-hz yes\n\
         aof-rewrite-incremental-fsync yes\nrdb-save-incremental-fsync yes\njemalloc-bg-thread yes\n",
    ),
    // The same with the modules of Redis 8.
    (
        "redis-full.conf",
        "loadmodule ./modules/redisbloom/redisbloom.so\nloadmodule ./modules/redisearch/redisearch.so\nsearch-timeout 500\nts-num-threads 3\nbf-error-rate 0.01\n",
    ),
    // Debian's.
    (
        "debian.conf",
        "bind 127.0.0.1 -::1\nprotected-mode yes\nport 6379\ndaemonize yes\nsupervised auto\npidfile /run/redis/redis-server.pid\n\
         logfile /var/log/redis/redis-server.log\nsave 900 1\nsave 300 10\nsave 60 10000\ndir /var/lib/redis\n\
         slave-serve-stale-data yes\nslave-read-only yes\nslave-priority 100\nhash-max-ziplist-entries 512\n\
         hash-max-ziplist-value 64\nlist-max-ziplist-size -2\nzset-max-ziplist-entries 128\nzset-max-ziplist-value 64\n\
         lua-time-limit 5000\nclient-output-buffer-limit slave 256mb 64mb 60\nio-threads 4\nio-threads-do-reads no\n",
    ),
    // A chart's, and one that hides commands behind names that nobody guesses.
    (
        "chart.conf",
        "appendonly yes\nsave \"\"\ndir /data\nslave-read-only yes\nrename-command FLUSHDB \"\"\nrename-command FLUSHALL \"\"\n\
         rename-command REPLCONF 5e3516b2b0e3cee5c2087c88d8fe136709115077\n\
         rename-command CONFIG acb87a2fec1312046f8c26494c94c1f59460a34d\nmaxmemory 256mb\nmaxmemory-policy allkeys-lru\n\
         replica-announce-ip 10.0.0.1\nreplica-announce-port 6379\nmasterauth secret\nrequirepass secret\ntls-port 0\n\
         loadmodule /opt/x.so\nunixsocket /tmp/redis.sock\nunixsocketperm 777\n",
    ),
];

#[test]
fn files_that_people_have_start_the_server() {
    let scratch = Scratch::new();
    for (name, text) in STOCK {
        let file = scratch.write(name, text);
        let args = ["strata", file.to_str().unwrap()].map(OsString::from);
        let faults = |config: &Config| crate::command::table::faults_of(&config.rename_command);
        let loaded = from_process(args, [], faults);
        let Ok(Invocation::Serve(loaded)) = loaded else {
            panic!("{name}: {}", loaded.unwrap_err());
        };
        let secret = loaded.warnings.iter().find(|line| line.contains("secret"));
        assert_eq!(secret, None);
        let stock = *name == "redis.conf";
        assert!(
            !stock || loaded.warnings.is_empty(),
            "{:?}",
            loaded.warnings
        );
    }
}
