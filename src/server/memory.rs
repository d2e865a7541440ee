//! How much memory is in use, and for what. The one account that INFO, MEMORY and eviction read.

use std::sync::atomic::Ordering;

use super::Server;
use super::clients::{Client, Clients};
use super::process;
use super::session::Session;
use super::stats::Stats;
use crate::value::shared::sent_only_bytes;

/// The allocator of the program: what tikv-jemalloc-sys has. A test compares it with Cargo.lock.
pub const ALLOCATOR: &str = "jemalloc-5.3.1";
/// A connection's own structures, besides its buffers.
const CLIENT_BYTES: usize = size_of::<Client>() + size_of::<Session>();

/// The use of memory at a moment, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct MemoryUse {
    /// Keys, values, clients and what the server began with.
    pub used: usize,
    /// The most that was in use when somebody looked.
    pub peak: usize,
    /// What a server without keys and clients has.
    pub startup: usize,
    /// Clients: their structures and buffers.
    pub clients: usize,
    /// Resident memory of the process, as the system tells.
    pub resident: usize,
}

impl MemoryUse {
    /// What is in use besides keys and values.
    pub fn overhead(&self) -> usize {
        self.startup + self.clients
    }

    /// Keys and values, and the tables and queues that hold them.
    pub fn dataset(&self) -> usize {
        self.used.saturating_sub(self.overhead())
    }

    /// The share of keys and values in what came since the start, in percent.
    pub fn dataset_percent(&self) -> f64 {
        percent(self.dataset(), self.used.saturating_sub(self.startup))
    }

    /// What is in use, as a share of the most that was, in percent.
    pub fn peak_percent(&self) -> f64 {
        percent(self.used, self.peak)
    }

    /// Resident memory for each byte in use.
    pub fn fragmentation(&self) -> f64 {
        self.resident as f64 / self.used.max(1) as f64
    }

    /// Resident memory beyond what is in use.
    pub fn fragmentation_bytes(&self) -> i64 {
        self.resident as i64 - self.used as i64
    }
}

fn percent(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 * 100.0 / whole as f64
    }
}

/// Bytes in use by clients: their structures and buffers.
pub(super) fn client_bytes(clients: &Clients, stats: &Stats) -> usize {
    let buffers = stats.sum(|stripe| &stripe.buffer_bytes);
    usize::try_from(buffers).unwrap_or(0) + sent_only_bytes() + clients.len() * CLIENT_BYTES
}

impl Server {
    /// Looks how much memory is in use.
    pub fn memory_use(&self) -> MemoryUse {
        let clients = client_bytes(&self.clients, &self.stats);
        let used = self.engine.used_bytes();
        MemoryUse {
            used,
            peak: self.note_peak(used),
            startup: self.startup_bytes,
            clients,
            resident: usize::try_from(process::resident_bytes()).unwrap_or(usize::MAX),
        }
    }

    /// Keeps the most that was in use, and gives it.
    fn note_peak(&self, used: usize) -> usize {
        let before = self
            .stats
            .peak_bytes
            .fetch_max(used as u64, Ordering::Relaxed);
        usize::try_from(before).unwrap_or(usize::MAX).max(used)
    }

    /// Looks whether more memory is in use than ever before. For maintenance.
    pub(super) fn watch_peak(&self) {
        self.note_peak(self.engine.used_bytes());
    }
}

/// The allocator's own report.
pub fn allocator_report() -> Vec<u8> {
    let mut report = Vec::new();
    match tikv_jemalloc_ctl::stats_print::stats_print(&mut report, Default::default()) {
        Ok(()) => report,
        Err(_) => b"Stats not supported for the current allocator".to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_allocator_is_the_one_that_is_linked() {
        let lock = include_str!("../../Cargo.lock");
        let package = lock
            .split("[[package]]")
            .find(|package| package.contains("name = \"tikv-jemalloc-sys\""));
        let version = ALLOCATOR.trim_start_matches("jemalloc-");
        assert!(package.unwrap().contains(&format!("+{version}")));
    }

    #[test]
    fn the_allocator_answers() {
        assert!(crate::allocator::purge());
        assert!(allocator_report().starts_with(b"___ Begin jemalloc statistics ___"));
    }
}
