//! The figures of the disk tier, each with its name. The one account that INFO and TIER.STATS read.

use std::fmt;

use super::Server;
use crate::config::Config;
use crate::keyspace::counters::{Counter, Counters};

/// A figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Figure {
    /// A number.
    Number(i64),
    /// How often one thing goes into another.
    Ratio(f64),
    /// A word.
    Word(&'static str),
}

/// The name of a figure in INFO, and the figure.
pub type Named = (&'static str, Figure);

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Ratio(ratio) => write!(f, "{ratio:.2}"),
            Self::Word(word) => f.write_str(word),
        }
    }
}

/// Raw bytes for each stored one.
pub fn compression_ratio(raw_bytes: u64, stored_bytes: u64) -> f64 {
    raw_bytes as f64 / stored_bytes.max(1) as f64
}

fn number(name: &'static str, number: impl TryInto<i64>) -> Named {
    (name, Figure::Number(number.try_into().unwrap_or(i64::MAX)))
}

impl Server {
    /// What the tier does and takes. What it did is counted since the start or CONFIG RESETSTAT, but for
    /// what the store itself counts: runs, bytes, generations.
    pub fn tier_figures(&self, config: &Config) -> Vec<Named> {
        let keyspace = &self.engine.keyspace;
        let (pinned_keys, pinned_bytes) = keyspace.pinned();
        let sum = |counter: fn(&Counters) -> &Counter| -> i64 {
            let counters = keyspace.all_counters().iter();
            counters.map(|of_thread| counter(of_thread).read()).sum()
        };
        let (compressed_keys, raw_bytes, compressed_bytes) = keyspace.compressed();
        let of_memory = [
            number("tier_pinned_keys", pinned_keys),
            number("tier_pinned_bytes", pinned_bytes),
            number("tier_compressed_keys", compressed_keys),
            number("tier_compressed_raw_bytes", raw_bytes),
            number("tier_compressed_bytes", compressed_bytes),
            number("tier_restored_keys", sum(|c| &c.restored)),
        ];
        let Some(tier) = &self.engine.tier else {
            return [number("tier_enabled", 0)]
                .into_iter()
                .chain(of_memory)
                .collect();
        };
        let stats = tier.stats();
        let status = if stats.is_failing { "err" } else { "ok" };
        let admission = match keyspace.chooses_victims() {
            true => "ghost",
            false => "all",
        };
        let ratio = compression_ratio(stats.raw_bytes, stats.stored_bytes);
        let written = stats.store.bytes_ingested;
        let all_written = written + stats.store.bytes_merged + stats.logged_bytes;
        let amplification = all_written.max(1) as f64 / written.max(1) as f64;
        let mut figures = vec![
            number("tier_enabled", 1),
            (
                "tier_durability",
                Figure::Word(config.tier_durability.name()),
            ),
            ("tier_status", Figure::Word(status)),
            ("tier_admission", Figure::Word(admission)),
            number("tier_memory_hits", sum(|c| &c.memory_hits)),
            number("tier_promoted_keys", sum(|c| &c.promoted)),
            number("tier_misses", sum(|c| &c.load_misses)),
            number("tier_loads", sum(|c| &c.loads)),
            number("tier_queue", stats.queue),
            number("tier_demoted_keys", sum(|c| &c.demoted)),
            number("tier_evicted_keys", sum(|c| &c.evicted)),
            number("tier_shed_keys", sum(|c| &c.shed)),
            number("tier_unwritten_bytes", keyspace.unwritten_bytes()),
            number("tier_unsaved_keys", stats.unsaved),
            number("tier_generations", stats.store.generations),
            number("tier_dictionaries", stats.dictionaries),
            number("tier_memory_bytes", tier.memory_bytes()),
            number("tier_max_bytes", config.tier_max_bytes),
            number("tier_disk_bytes", stats.store.disk_bytes),
            number("tier_records", stats.store.records),
            number("tier_runs", stats.store.runs),
            number("tier_log_bytes", stats.log_bytes),
            number("tier_runs_side_by_side", stats.store.runs_side_by_side),
            number("tier_written_bytes", stats.store.bytes_ingested),
            number("tier_merged_bytes", stats.store.bytes_merged),
            number("tier_logged_bytes", stats.logged_bytes),
            ("tier_write_amplification", Figure::Ratio(amplification)),
            number("tier_dropped_bytes", stats.store.bytes_dropped),
            number("tier_quarantined_generations", stats.store.quarantined),
            number("tier_raw_bytes", stats.raw_bytes),
            number("tier_stored_bytes", stats.stored_bytes),
            ("tier_compression_ratio", Figure::Ratio(ratio)),
        ];
        figures.extend(of_memory);
        figures
    }
}
