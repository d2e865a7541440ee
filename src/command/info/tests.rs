//! INFO as a client reads it.

use std::collections::HashMap;

use super::human;
use crate::testing::{Db, script};

/// The fields of INFO with these arguments.
fn fields(db: &mut Db, arguments: &str) -> HashMap<String, String> {
    let answer = db.run(&format!("INFO {arguments}"));
    let text = String::from_utf8(answer.bytes().to_vec()).unwrap();
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn number(fields: &HashMap<String, String>, name: &str) -> i64 {
    let value = fields
        .get(name)
        .unwrap_or_else(|| panic!("{name} is there"));
    value.parse().unwrap()
}

fn headings(db: &mut Db, arguments: &str) -> Vec<String> {
    let answer = db.run(&format!("INFO {arguments}"));
    let text = String::from_utf8(answer.bytes().to_vec()).unwrap();
    let headings = text.lines().filter_map(|line| line.strip_prefix("# "));
    headings.map(str::to_owned).collect()
}

script!(sections_are_chosen_as_redis_chooses_them, |db| {
    let default = [
        "Server",
        "Clients",
        "Memory",
        "Persistence",
        "Stats",
        "Tier",
        "Replication",
        "CPU",
        "Modules",
        "Errorstats",
        "Cluster",
        "Keyspace",
    ];
    assert_eq!(headings(&mut db, ""), default);
    assert_eq!(headings(&mut db, "default"), default);
    assert_eq!(headings(&mut db, "ALL").len(), 14);
    assert_eq!(headings(&mut db, "everything").len(), 14);
    assert_eq!(
        headings(&mut db, "keyspace CPU nope cpu"),
        ["CPU", "Keyspace"]
    );
    assert_eq!(headings(&mut db, "default commandstats").len(), 13);
    db.run("INFO nope").bulk("");
    db.run("INFO modules cluster")
        .bulk("# Modules\r\n\r\n# Cluster\r\ncluster_enabled:0\r\n");
    db.resp3();
    db.run("INFO modules").is("=15\r\ntxt:# Modules\r\n\r\n");
});

script!(what_clients_and_exporters_read_is_there, |db| {
    let fields = fields(&mut db, "everything");
    for (name, value) in [
        ("redis_version", "7.4.11"),
        ("redis_mode", "standalone"),
        ("loading", "0"),
        ("role", "master"),
        ("connected_clients", "1"),
        ("blocked_clients", "0"),
        ("watching_clients", "0"),
        ("total_watched_keys", "0"),
        ("maxmemory", "0"),
        ("maxmemory_human", "0B"),
        ("maxmemory_policy", "allkeys-s3fifo"),
        ("lazyfree_pending_objects", "0"),
        ("rdb_bgsave_in_progress", "0"),
        ("aof_rewrite_in_progress", "0"),
        ("total_error_replies", "0"),
        ("cluster_enabled", "0"),
        ("tcp_port", "6379"),
    ] {
        assert_eq!(fields.get(name).map(String::as_str), Some(value), "{name}");
    }
    for name in [
        "os",
        "process_id",
        "run_id",
        "arch_bits",
        "uptime_in_seconds",
        "mem_allocator",
        "used_cpu_sys",
        "used_cpu_user",
        "used_memory_rss",
        "total_system_memory",
        "mem_fragmentation_ratio",
        "instantaneous_ops_per_sec",
        "master_replid",
        "hz",
        "lru_clock",
    ] {
        assert!(
            fields.get(name).is_some_and(|value| !value.is_empty()),
            "{name}"
        );
    }
});

script!(memory: used_memory_is_exact_and_at_once, |db| {
    let before = fields(&mut db, "memory");
    let value = "x".repeat(100_000);
    db.run(&format!("SET k {value}")).ok();
    let after = fields(&mut db, "memory");
    let grown = number(&after, "used_memory") - number(&before, "used_memory");
    assert!((100_000..125_000).contains(&grown), "{grown}");
    let dataset = number(&after, "used_memory_dataset") - number(&before, "used_memory_dataset");
    assert_eq!(dataset, grown);
    assert!(number(&after, "used_memory_peak") >= number(&after, "used_memory"));
});

script!(commands_are_counted_by_name_and_end, |db| {
    db.run("SET k v").ok();
    db.run("GET k").bulk("v");
    db.run("GET none").nil();
    db.run("GET")
        .error("ERR wrong number of arguments for 'get' command");
    db.run("CONFIG SET a b c").error("ERR syntax error");
    let fields = fields(&mut db, "everything");
    let stat = |name: &str| fields.get(name).cloned().unwrap_or_default();
    let get = stat("cmdstat_get");
    assert!(get.starts_with("calls=2,usec="), "{get}");
    assert!(get.ends_with(",rejected_calls=1,failed_calls=0"), "{get}");
    let set = stat("cmdstat_config|set");
    assert!(
        set.starts_with("calls=1,") && set.ends_with(",rejected_calls=0,failed_calls=1"),
        "{set}"
    );
    assert_eq!(stat("errorstat_ERR"), "count=2");
    assert_eq!(stat("total_error_replies"), "2");
    assert_eq!(stat("total_commands_processed"), "4");
    assert_eq!(
        (stat("keyspace_hits"), stat("keyspace_misses")),
        ("1".into(), "1".into())
    );
    assert_eq!(stat("db0"), "keys=1,expires=0,avg_ttl=0");
    let latency = stat("latency_percentiles_usec_get");
    assert!(
        latency.starts_with("p50=") && latency.contains(",p99.9="),
        "{latency}"
    );
    assert!(!fields.contains_key("cmdstat_cluster|info"));
});

script!(rates_come_from_samples, |db| {
    for i in 0..=16 {
        for _ in 0..10 {
            db.run("PING").simple("PONG");
        }
        db.server().sample(crate::clock::UnixMs(i * 100));
    }
    assert_eq!(
        number(&fields(&mut db, "stats"), "instantaneous_ops_per_sec"),
        100
    );
    db.run("CONFIG RESETSTAT").ok();
    let stats = fields(&mut db, "stats");
    assert_eq!(number(&stats, "instantaneous_ops_per_sec"), 0);
    assert_eq!(number(&stats, "total_commands_processed"), 1);
});

#[test]
fn bytes_are_shown_as_redis_shows_them() {
    for (bytes, text) in [
        (0, "0B"),
        (1023, "1023B"),
        (1024, "1.00K"),
        (1_575_736, "1.50M"),
        (25_276_518_400, "23.54G"),
        (1 << 40, "1.00T"),
    ] {
        assert_eq!(human(bytes), text);
    }
}
