//! Counting the keys on disk after a crash.

use std::sync::atomic::Ordering;

use crate::clock::UnixMs;
use crate::engine::Engine;
use crate::keyspace::ThreadSlot;
use crate::tier::record;
use crate::tier::store::{self, StoreError};
use crate::tier::warm::ColdPins;

pub(in crate::tier) fn expiry(record: &[u8]) -> Option<UnixMs> {
    record::decode(record).and_then(|(head, _)| head.expires_at)
}

/// The walk of [`count_keys`], if it can begin.
pub(in crate::tier) fn scan_to_count(scan: Result<store::Scan, StoreError>) -> Option<store::Scan> {
    scan.inspect_err(|error| tracing::error!("The keys on disk could not be counted: {error}"))
        .ok()
}

/// Counts the keys of each database on disk, after a crash, and fetches those that are pinned. Keys that come and go
/// meanwhile are counted where that happens.
pub(in crate::tier) fn count_keys(engine: &Engine, scan: store::Scan, thread: ThreadSlot) {
    let Some(tier) = &engine.tier else { return };
    let mut pins = ColdPins::new(engine, tier, thread);
    let (names, _) = engine.keyspace.space_names();
    for found in scan {
        if tier.is_stopping.load(Ordering::Relaxed) {
            return;
        }
        let counted = found.map(|found| {
            let name = record::decode_key(&found.key).map(|(name, _)| name);
            if let Some(name) = name.filter(|name| names.contains(name)) {
                // A record that cannot be read is a key all the same.
                let record = found.record().unwrap_or_default().unwrap_or_default();
                engine.keyspace.found_below(name, expiry(&record));
                pins.meet(&found.key, &record);
            }
        });
        if let Err(error) = counted {
            tracing::error!("The keys on disk could not be counted: {error}");
            return;
        }
    }
    pins.end();
    tier.is_counted.store(true, Ordering::Release);
}
