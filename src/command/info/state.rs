//! Sections about what is: the server, its clients, its memory, its keys.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::{Lines, Look};
use crate::clock;
use crate::config;
use crate::server::memory::ALLOCATOR;
use crate::server::{REDIS_VERSION, process};
use crate::threads::{FAILURES, Part};
use crate::value::large;

/// How often the maintenance thread runs in a second.
const HZ: u32 = 10;
const SECONDS_PER_DAY: u64 = 86_400;
/// Bits of the LRU clock.
const LRU_MASK: i64 = (1 << 24) - 1;

pub(super) fn server(look: &Look<'_>, lines: &mut Lines) {
    let server = look.server;
    let uptime_s = server.started.elapsed().as_secs();
    let config_file = server.config_file.as_deref();
    lines.field("redis_version", REDIS_VERSION);
    lines.field("strata_version", env!("CARGO_PKG_VERSION"));
    lines.field("redis_git_sha1", "00000000");
    lines.field("redis_git_dirty", 0);
    lines.field("redis_build_id", process::build_id());
    lines.field("redis_mode", "standalone");
    lines.field("os", process::operating_system());
    lines.field("arch_bits", usize::BITS);
    lines.field("monotonic_clock", "POSIX clock_gettime");
    lines.field("multiplexing_api", "epoll");
    lines.field("atomicvar_api", "rust-core");
    // As of a Redis that another compiler has built.
    lines.field("gcc_version", "0.0.0");
    lines.field("process_id", std::process::id());
    lines.field("process_supervised", process::supervisor());
    lines.field("run_id", &server.run_id);
    lines.field("tcp_port", look.config.port);
    lines.field("server_time_usec", clock::now_us());
    lines.field("uptime_in_seconds", uptime_s);
    lines.field("uptime_in_days", uptime_s / SECONDS_PER_DAY);
    lines.field("hz", HZ);
    // What was set has no effect.
    let configured = config::option("hz").map(|hz| hz.text(look.config));
    lines.field("configured_hz", configured.unwrap_or_default());
    lines.field("lru_clock", look.now.as_secs() & LRU_MASK);
    lines.field("executable", process::executable());
    lines.field(
        "config_file",
        config_file.map_or_else(String::new, |path| path.display().to_string()),
    );
    lines.field("io_threads_active", 0);
    lines.field("worker_threads", server.engine.workers);
    for part in Part::ALL {
        let failed = FAILURES.of(part);
        if failed > 0 {
            lines.field(format!("failed_threads_{}", part.name()), failed);
        }
    }
}

pub(super) fn clients(look: &Look<'_>, lines: &mut Lines) {
    let clients = look.server.clients.all();
    let max = |bytes: Option<usize>| bytes.unwrap_or(0);
    let blocked = clients.iter().filter(|client| client.blocked.load(Relaxed));
    lines.field("connected_clients", clients.len());
    lines.field("cluster_connections", 0);
    lines.field("maxclients", look.config.maxclients);
    lines.field(
        "client_recent_max_input_buffer",
        max(clients.iter().map(|c| c.query_capacity.load(Relaxed)).max()),
    );
    lines.field(
        "client_recent_max_output_buffer",
        max(clients.iter().map(|c| c.output_bytes.load(Relaxed)).max()),
    );
    lines.field("blocked_clients", blocked.count());
    let watching = clients
        .iter()
        .filter(|client| client.watched_keys.load(Relaxed) > 0);
    let subscribers = clients.iter().filter(|client| client.is_subscriber());
    lines.fields(&[
        ("tracking_clients", 0),
        ("pubsub_clients", subscribers.count()),
        ("watching_clients", watching.count()),
        (
            "clients_in_timeout_table",
            look.server.waiters.with_timeout(),
        ),
        (
            "total_watched_keys",
            look.server.engine.keyspace.watched().keys(),
        ),
    ]);
    let queues = look.server.engine.keyspace.queues();
    lines.field("total_blocking_keys", queues.keys());
    lines.field(
        "total_blocking_keys_on_nokey",
        look.server.waiters.needed_keys(),
    );
}

pub(super) fn memory(look: &Look<'_>, lines: &mut Lines) {
    let memory = look.server.memory_use();
    let (used, resident) = (memory.used as u64, memory.resident as u64);
    lines.bytes("used_memory", used);
    lines.bytes("used_memory_rss", resident);
    lines.bytes("used_memory_peak", memory.peak as u64);
    lines.field(
        "used_memory_peak_perc",
        format_args!("{:.2}%", memory.peak_percent()),
    );
    lines.field("used_memory_overhead", memory.overhead());
    lines.field("used_memory_startup", memory.startup);
    lines.field("used_memory_dataset", memory.dataset());
    lines.field(
        "used_memory_dataset_perc",
        format_args!("{:.2}%", memory.dataset_percent()),
    );
    // As Redis has it where the allocator keeps no statistics, which ours does not for speed.
    lines.field("allocator_allocated", used);
    lines.field("allocator_active", resident);
    lines.field("allocator_resident", resident);
    lines.bytes("total_system_memory", process::system_memory_bytes());
    let scripts = &look.server.scripts;
    let (count, script_bytes) = scripts.size();
    let vm_bytes = scripts.bytes.vm.load(Relaxed);
    lines.field("used_memory_vm_eval", vm_bytes);
    lines.bytes("used_memory_lua", vm_bytes as u64);
    lines.field("used_memory_scripts_eval", script_bytes);
    lines.field("used_memory_vm_functions", 0);
    lines.bytes("used_memory_vm_total", vm_bytes as u64);
    lines.field("used_memory_functions", 0);
    lines.bytes("used_memory_scripts", script_bytes as u64);
    lines.field("number_of_cached_scripts", count);
    lines.field("number_of_functions", 0);
    lines.field("number_of_libraries", 0);
    lines.bytes("maxmemory", look.config.maxmemory);
    lines.field("maxmemory_policy", look.config.maxmemory_policy);
    lines.field("max_entries", look.config.max_entries);
    let ratio = format!("{:.2}", memory.fragmentation());
    lines.field("allocator_frag_ratio", "1.00");
    lines.field("allocator_frag_bytes", 0);
    lines.field("allocator_rss_ratio", "1.00");
    lines.field("allocator_rss_bytes", 0);
    lines.field("rss_overhead_ratio", "1.00");
    lines.field("rss_overhead_bytes", 0);
    lines.field("mem_fragmentation_ratio", &ratio);
    lines.field("mem_fragmentation_bytes", memory.fragmentation_bytes());
    lines.fields(&[
        // A shard's table that grows is built anew at once, under its lock: nobody sees two.
        ("mem_overhead_db_hashtable_rehashing", 0),
        ("mem_not_counted_for_evict", 0),
        ("mem_replication_backlog", 0),
        ("mem_total_replication_buffers", 0),
        ("mem_clients_slaves", 0),
        ("mem_clients_normal", memory.clients),
        ("mem_cluster_links", 0),
        ("mem_aof_buffer", 0),
    ]);
    lines.field("mem_allocator", ALLOCATOR);
    lines.field("active_defrag_running", 0);
    let (pending, freed) = large::lazy_frees();
    lines.field(
        "lazyfree_pending_objects",
        look.server.engine.keyspace.pending_frees() + pending,
    );
    lines.field("lazyfreed_objects", freed);
}

/// What the tier below does and takes.
pub(super) fn tier(look: &Look<'_>, lines: &mut Lines) {
    lines.fields(&look.server.tier_figures(look.config));
}

/// To a client a save is a run of the disk tier that somebody has asked for. There are no forks and no log of Redis's kind.
pub(super) fn persistence(look: &Look<'_>, lines: &mut Lines) {
    let server = look.server;
    let counters = server.engine.keyspace.all_counters();
    let changes: i64 = counters
        .iter()
        .map(|c| c.changes.read() + c.further_changes.read())
        .sum();
    let saves = server.saves();
    let seconds = |time: Option<Duration>| time.map_or(-1, |time| time.as_secs() as i64);
    lines.fields(&[
        ("loading", 0),
        ("async_loading", 0),
        ("current_cow_peak", 0),
        ("current_cow_size", 0),
        ("current_cow_size_age", 0),
    ]);
    lines.field("current_fork_perc", "0.00");
    lines.fields(&[
        ("current_save_keys_processed", 0),
        ("current_save_keys_total", 0),
        ("rdb_changes_since_last_save", changes),
        (
            "rdb_bgsave_in_progress",
            i64::from(saves.under_way.is_some()),
        ),
        ("rdb_last_save_time", server.last_save().as_secs()),
    ]);
    let tier = server.engine.tier.as_ref();
    let status = match tier.is_some_and(|tier| tier.is_failing()) {
        true => "err",
        false => "ok",
    };
    lines.field("rdb_last_bgsave_status", status);
    lines.fields(&[
        ("rdb_last_bgsave_time_sec", seconds(saves.last)),
        ("rdb_current_bgsave_time_sec", seconds(saves.under_way)),
        ("rdb_saves", saves.count as i64),
        ("rdb_last_cow_size", 0),
    ]);
    warming(look, lines);
    lines.fields(&[
        ("aof_enabled", 0),
        ("aof_rewrite_in_progress", 0),
        ("aof_rewrite_scheduled", 0),
        ("aof_last_rewrite_time_sec", -1),
        ("aof_current_rewrite_time_sec", -1),
    ]);
    lines.field("aof_last_bgrewrite_status", status);
    lines.fields(&[
        ("aof_rewrites", 0),
        ("aof_rewrites_consecutive_failures", 0),
    ]);
    lines.field("aof_last_write_status", status);
    lines.fields(&[
        ("aof_last_cow_size", 0),
        ("module_fork_in_progress", 0),
        ("module_fork_last_cow_size", 0),
    ]);
}

/// The last RDB file that was loaded: by CACHE.WARM, or at the start.
fn warming(look: &Look<'_>, lines: &mut Lines) {
    let warming = &look.server.warming;
    let count = |counter: &AtomicU64| counter.load(Relaxed) as i64;
    lines.field("warm_status", warming.status());
    lines.fields(&[
        ("rdb_last_load_keys_expired", count(&warming.expired)),
        ("rdb_last_load_keys_loaded", count(&warming.loaded)),
        ("warm_in_progress", i64::from(warming.is_under_way())),
        ("warm_keys_kept", count(&warming.kept)),
        ("warm_keys_skipped", count(&warming.skipped)),
        ("warm_bytes_read", count(&warming.bytes_read)),
        ("warm_bytes_total", count(&warming.bytes_total)),
    ]);
}

pub(super) fn replication(look: &Look<'_>, lines: &mut Lines) {
    lines.field("role", "master");
    lines.field("connected_slaves", 0);
    lines.field("master_failover_state", "no-failover");
    lines.field("master_replid", &look.server.run_id);
    lines.field("master_replid2", "0".repeat(40));
    lines.fields(&[
        ("master_repl_offset", 0),
        ("second_repl_offset", -1),
        ("repl_backlog_active", 0),
        ("repl_backlog_size", 0),
        ("repl_backlog_first_byte_offset", 0),
        ("repl_backlog_histlen", 0),
    ]);
}

pub(super) fn keyspace(look: &Look<'_>, lines: &mut Lines) {
    let keyspace = &look.server.engine.keyspace;
    for db in 0..look.config.databases {
        if keyspace.db_size(db) == 0 {
            continue;
        }
        let stats = keyspace.space_stats(db, look.now);
        lines.field(
            format_args!("db{db}"),
            format_args!(
                "keys={},expires={},avg_ttl={}",
                stats.keys, stats.expiring, stats.mean_ttl_ms
            ),
        );
    }
}
