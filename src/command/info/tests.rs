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

script!(the_build_has_an_id_and_the_server_names_its_parts, |db| {
    let fields = fields(&mut db, "server");
    let id = &fields["redis_build_id"];
    let is_hexadecimal = |c: char| c.is_ascii_hexdigit();
    assert!(id.len() == 16 && id.chars().all(is_hexadecimal) && id.contains(|c| c != '0'));
    for (name, value) in [
        ("monotonic_clock", "POSIX clock_gettime"),
        ("atomicvar_api", "rust-core"),
        ("gcc_version", "0.0.0"),
        ("multiplexing_api", "epoll"),
        ("process_supervised", "no"),
    ] {
        assert_eq!(fields[name], value, "{name}");
    }
});

script!(memory: memory_for_scripts_is_told_by_all_its_names, |db| {
    let fields = fields(&mut db, "memory");
    for name in [
        "used_memory_vm_eval",
        "used_memory_vm_functions",
        "used_memory_vm_total",
        "used_memory_scripts_eval",
        "used_memory_scripts",
        "used_memory_functions",
        "mem_overhead_db_hashtable_rehashing",
    ] {
        assert_eq!(number(&fields, name), 0, "{name}");
    }
});

script!(memory: the_allocator_has_no_less_than_nothing_to_spare, |db| {
    db.run("SET k v").ok();
    let fields = fields(&mut db, "memory");
    for name in ["allocator_frag_bytes", "allocator_rss_bytes", "rss_overhead_bytes"] {
        assert!(number(&fields, name) >= 0, "{name}");
    }
    for name in ["allocator_allocated", "allocator_active", "allocator_resident"] {
        assert!(number(&fields, name) > 0, "{name}");
    }
    for name in ["allocator_frag_ratio", "allocator_rss_ratio", "rss_overhead_ratio"] {
        assert!(fields[name].parse::<f64>().unwrap() >= 1.0, "{name}");
    }
});

#[test]
fn the_share_of_expired_keys_that_linger_is_told() {
    let mut db = Db::new();
    assert_eq!(fields(&mut db, "stats")["expired_stale_perc"], "0.00");
    db.server().stats.note_stale(1, 3);
    assert_eq!(fields(&mut db, "stats")["expired_stale_perc"], "25.00");
    db.run("CONFIG RESETSTAT").ok();
}

#[test]
fn rests_of_the_expiry_and_its_time_are_counted() {
    let mut db = Db::new();
    let stats = &db.server().stats;
    stats
        .expire_rests
        .fetch_add(3, std::sync::atomic::Ordering::Relaxed);
    stats
        .expire_nanos
        .fetch_add(7_900_000, std::sync::atomic::Ordering::Relaxed);
    let told = fields(&mut db, "stats");
    assert_eq!(number(&told, "expired_time_cap_reached_count"), 3);
    assert_eq!(number(&told, "expire_cycle_cpu_milliseconds"), 7);
    db.run("CONFIG RESETSTAT").ok();
    let told = fields(&mut db, "stats");
    assert_eq!(number(&told, "expired_time_cap_reached_count"), 0);
    assert_eq!(number(&told, "expire_cycle_cpu_milliseconds"), 0);
}

script!(memory: the_event_loop_is_told_of, |db| {
    db.run("SET k v").ok();
    let fields = fields(&mut db, "stats");
    for name in [
        "eventloop_cycles",
        "eventloop_duration_sum",
        "eventloop_duration_cmd_sum",
        "instantaneous_eventloop_cycles_per_sec",
        "client_query_buffer_limit_disconnections",
        "client_output_buffer_limit_disconnections",
    ] {
        assert!(number(&fields, name) >= 0, "{name}");
    }
});

#[test]
fn logins_that_are_refused_are_counted() {
    let mut db = Db::new();
    let denied = |db: &mut Db, what: &str| {
        let fields = fields(db, "stats");
        number(&fields, &format!("acl_access_denied_{what}"))
    };
    db.run("CONFIG SET requirepass secret").ok();
    db.run("AUTH wrong")
        .error("WRONGPASS invalid username-password pair or user is disabled.");
    assert_eq!(denied(&mut db, "auth"), 1);
    for what in ["cmd", "key", "channel"] {
        assert_eq!(denied(&mut db, what), 0);
    }
}

#[test]
fn the_busiest_worker_is_what_the_main_thread_is_elsewhere() {
    let mut db = Db::new();
    let fields = fields(&mut db, "cpu");
    for kind in ["sys", "user"] {
        for of in ["", "_children", "_main_thread"] {
            let name = format!("used_cpu_{kind}{of}");
            let seconds: f64 = fields[&name].parse().unwrap();
            assert!(seconds >= 0.0, "{name}");
            // To the microsecond, not in steps of the kernel's clock.
            assert_eq!(fields[&name].rsplit('.').next().map(str::len), Some(6));
        }
    }
}

#[test]
fn memory_stats_tells_of_each_database_and_resetstat_of_no_frees() {
    let mut db = Db::new();
    db.run("SET k v").ok();
    db.run("SELECT 3").ok();
    db.run("SET k v").ok();
    let stats = String::from_utf8_lossy(db.run("MEMORY STATS").bytes()).into_owned();
    assert!(stats.contains("db.0") && stats.contains("db.3") && !stats.contains("db.1"));
    db.run("CONFIG RESETSTAT").ok();
    assert_eq!(number(&fields(&mut db, "memory"), "lazyfreed_objects"), 0);
}

#[test]
fn who_waits_for_a_time_at_the_most_is_counted() {
    let mut db = Db::new();
    let count = |db: &mut Db| {
        db.switch(0);
        number(&fields(db, "clients"), "clients_in_timeout_table")
    };
    for (client, line) in [(1, "BLPOP a 0"), (2, "BLPOP a 5"), (3, "WAIT 1 5000")] {
        db.switch(client);
        db.run(line).is("");
    }
    assert_eq!(count(&mut db), 2);
    db.run("RPUSH a x y").int(2);
    for (client, line) in [(1, "BLPOP a 0"), (2, "BLPOP a 5")] {
        db.switch(client);
        assert!(!db.run(line).bytes().is_empty());
    }
    assert_eq!(count(&mut db), 1);
}

#[test]
fn the_rhythm_that_was_set_is_told_beside_the_real_one() {
    let mut db = Db::new();
    db.run("CONFIG SET hz 50").ok();
    let fields = fields(&mut db, "server");
    assert_eq!(number(&fields, "configured_hz"), 50);
    assert_eq!(number(&fields, "hz"), 10);
}
