//! Sections about what was done: counts, rates, times.

use std::sync::atomic::Ordering::Relaxed;

use super::{Lines, Look};
use crate::command::table::table;
use crate::keyspace::counters::{Counter, Counters};
use crate::server::process::{self, CpuTimes};
use crate::server::pubsub::Kind;
use crate::server::stats::{Stats, percentile_micros};

const KIBIBYTE: f64 = 1024.0;

pub(super) fn stats(look: &Look<'_>, lines: &mut Lines) {
    let server = look.server;
    let stats = &server.stats;
    let rates = server.rates();
    let counters = server.engine.keyspace.all_counters();
    let names = |kind: Kind| server.pubsub.count(kind) as i64;
    let keys = |counter: fn(&Counters) -> &Counter| -> i64 {
        counters.iter().map(|c| counter(c).read()).sum()
    };
    lines.field(
        "total_connections_received",
        stats.connections.load(Relaxed),
    );
    lines.fields(&[
        ("total_commands_processed", stats.sum(|s| &s.commands)),
        ("instantaneous_ops_per_sec", rates.commands),
        ("total_net_input_bytes", stats.sum(|s| &s.input_bytes)),
        ("total_net_output_bytes", stats.sum(|s| &s.output_bytes)),
        ("total_net_repl_input_bytes", 0),
        ("total_net_repl_output_bytes", 0),
    ]);
    let kbps = |bytes: i64| format!("{:.2}", bytes as f64 / KIBIBYTE);
    lines.field("instantaneous_input_kbps", kbps(rates.input_bytes));
    lines.field("instantaneous_output_kbps", kbps(rates.output_bytes));
    lines.field("instantaneous_input_repl_kbps", "0.00");
    lines.field("instantaneous_output_repl_kbps", "0.00");
    lines.field(
        "rejected_connections",
        stats.rejected_connections.load(Relaxed),
    );
    lines.fields(&[
        ("sync_full", 0),
        ("sync_partial_ok", 0),
        ("sync_partial_err", 0),
        ("expired_keys", keys(|c| &c.expired)),
        ("expired_subkeys", keys(|c| &c.expired_fields)),
    ]);
    lines.field(
        "expired_stale_perc",
        format_args!("{:.2}", stats.stale_percent()),
    );
    lines.fields(&[
        (
            "expired_time_cap_reached_count",
            stats.expire_rests.load(Relaxed) as i64,
        ),
        (
            "expire_cycle_cpu_milliseconds",
            (stats.expire_nanos.load(Relaxed) / 1_000_000) as i64,
        ),
        ("evicted_keys", keys(|c| &c.evicted)),
        ("keyspace_hits", keys(|c| &c.memory_hits)),
        ("keyspace_misses", keys(|c| &c.misses)),
        ("pubsub_channels", names(Kind::Channel)),
        ("pubsub_patterns", names(Kind::Pattern)),
        ("pubsubshard_channels", names(Kind::Shard)),
        ("latest_fork_usec", 0),
        ("total_forks", 0),
        ("migrate_cached_sockets", 0),
        ("slave_expires_tracked_keys", 0),
        ("active_defrag_hits", 0),
        ("active_defrag_misses", 0),
        ("active_defrag_key_hits", 0),
        ("active_defrag_key_misses", 0),
        ("total_active_defrag_time", 0),
        ("current_active_defrag_time", 0),
        ("tracking_total_keys", 0),
        ("tracking_total_items", 0),
        ("tracking_total_prefixes", 0),
        ("unexpected_error_replies", 0),
        ("total_error_replies", stats.sum(|s| &s.error_replies)),
        ("dump_payload_sanitizations", 0),
        ("total_reads_processed", stats.sum(|s| &s.reads)),
        ("total_writes_processed", stats.sum(|s| &s.writes)),
        ("io_threaded_reads_processed", 0),
        ("io_threaded_writes_processed", 0),
    ]);
    event_loop(look, lines);
    let scripts = &look.server.scripts;
    lines.field("evicted_scripts", scripts.evicted.load(Relaxed));
    refused_clients(stats, lines);
}

/// Clients that were closed or refused.
fn refused_clients(stats: &Stats, lines: &mut Lines) {
    lines.field("evicted_clients", stats.evicted_clients.load(Relaxed));
    lines.field(
        "client_query_buffer_limit_disconnections",
        stats.input_limit_disconnections.load(Relaxed),
    );
    lines.field(
        "client_output_buffer_limit_disconnections",
        stats.output_limit_disconnections.load(Relaxed),
    );
    lines.field("acl_access_denied_auth", stats.denied_logins.load(Relaxed));
    lines.fields(&[
        ("acl_access_denied_cmd", 0),
        ("acl_access_denied_key", 0),
        ("acl_access_denied_channel", 0),
    ]);
}

/// A cycle is what a worker does after it has read from a connection.
fn event_loop(look: &Look<'_>, lines: &mut Lines) {
    let stats = &look.server.stats;
    let nanos: i64 = table()
        .all_rows()
        .map(|row| stats.sum_command(row.id, |c| &c.nanos))
        .sum();
    let cycles = stats.sum(|s| &s.reads);
    let rates = look.server.rates();
    lines.fields(&[
        ("eventloop_cycles", cycles),
        ("eventloop_duration_sum", process::worker_micros()),
        ("eventloop_duration_cmd_sum", nanos / 1000),
        ("instantaneous_eventloop_cycles_per_sec", rates.reads),
    ]);
}

pub(super) fn cpu(_: &Look<'_>, lines: &mut Lines) {
    let times = process::cpu_times();
    let mut pair = |suffix: &str, times: CpuTimes| {
        for (kind, seconds) in [("sys", times.system_s), ("user", times.user_s)] {
            lines.field(
                format_args!("used_cpu_{kind}{suffix}"),
                format_args!("{seconds:.6}"),
            );
        }
    };
    pair("", times.own);
    pair("_children", times.children);
    // What the main thread is to Redis: the one that may be saturated.
    pair("_main_thread", times.busiest_worker);
}

pub(super) fn command_stats(look: &Look<'_>, lines: &mut Lines) {
    let stats = &look.server.stats;
    for row in table().all_rows() {
        let calls = stats.sum_command(row.id, |c| &c.calls);
        let rejected = stats.sum_command(row.id, |c| &c.rejected);
        let failed = stats.sum_command(row.id, |c| &c.failed);
        if calls == 0 && rejected == 0 && failed == 0 {
            continue;
        }
        let micros = stats.sum_command(row.id, |c| &c.nanos) / 1000;
        let per_call = micros as f64 / calls.max(1) as f64;
        lines.field(
            format_args!("cmdstat_{}", row.full_name),
            format_args!(
                "calls={calls},usec={micros},usec_per_call={per_call:.2},\
                 rejected_calls={rejected},failed_calls={failed}"
            ),
        );
    }
}

pub(super) fn error_stats(look: &Look<'_>, lines: &mut Lines) {
    for (code, count) in look.server.stats.errors() {
        lines.field(
            format_args!("errorstat_{code}"),
            format_args!("count={count}"),
        );
    }
}

pub(super) fn latency_stats(look: &Look<'_>, lines: &mut Lines) {
    if !look.config.latency_tracking {
        return;
    }
    for row in table().all_rows() {
        if let Some(percentiles) = percentiles(&look.server.stats, row.id, look) {
            lines.field(
                format_args!("latency_percentiles_usec_{}", row.full_name),
                percentiles,
            );
        }
    }
}

/// `p50=1.003,p99=2.007`; nothing for a command that never ran.
fn percentiles(stats: &Stats, id: usize, look: &Look<'_>) -> Option<String> {
    let histogram = stats.histogram(id);
    let parts: Option<Vec<String>> = look
        .config
        .latency_tracking_info_percentiles
        .iter()
        .map(|&percent| {
            percentile_micros(&histogram, percent).map(|micros| format!("p{percent}={micros:.3}"))
        })
        .collect();
    // Without percentiles too a command is listed only if it ran.
    parts
        .filter(|_| histogram.iter().any(|&count| count > 0))
        .map(|parts| parts.join(","))
}
