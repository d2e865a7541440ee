//! A warm start: the keys that were in use before the last end come into memory again, behind the backs of clients.
//!
//! ```text
//! <tier-dir>/hot     magic (8) | for each key, the most used first: length (4), key on disk | hash of all before (8)
//! ```
//!
//! It is a list of keys and no more: what is not there any more, or changed since, is as it is on disk. So it may be old,
//! and is written now and then, for a start after a crash.

use std::path::Path;
use std::time::Duration;

use super::store::{StoreError, read_sealed, write_sealed};
use super::{Tier, Wanted, record};
use crate::clock;
use crate::keyspace::{KeyHash, Keyspace, ThreadSlot};
use crate::server::Server;

const MAGIC: [u8; 8] = *b"STRHOT_1";
/// About half a million keys.
const BYTES_MAX: usize = 16 * 1024 * 1024;
/// How often the list is written.
pub(super) const PERIOD: Duration = Duration::from_secs(300);
/// Keys are loaded until so much of `maxmemory` is in use, in percent: clients find room for their own.
const FILL_PERCENT: u64 = 80;

/// Writes which keys are in use.
pub(super) fn keep(dir: &Path, keyspace: &Keyspace, thread: ThreadSlot) -> Result<(), StoreError> {
    let mut used = MAGIC.to_vec();
    let mut others = Vec::new();
    keyspace.main_keys(thread, |place, name, key, is_used| {
        let list = if is_used { &mut used } else { &mut others };
        if list.len() < BYTES_MAX {
            let at = list.len();
            list.extend([0; 4]);
            record::encode_key(place, name, key, list);
            let length = (list.len() - at - 4) as u32;
            list[at..at + 4].copy_from_slice(&length.to_le_bytes());
        }
    });
    if used.len() + others.len() <= BYTES_MAX {
        used.append(&mut others);
    }
    write_sealed(&dir.join("hot"), used).map_err(StoreError::File)
}

/// The life of the thread that loads them.
pub(super) fn load(server: &Server, thread: ThreadSlot) {
    let Some(tier) = &server.tier else { return };
    let list = match read_sealed(&tier.dir.join("hot"), MAGIC) {
        Ok(list) => list.unwrap_or_default(),
        Err(error) => {
            tracing::warn!("The list of keys for a warm start could not be read: {error}");
            return;
        }
    };
    for key in keys(&list) {
        if !tier.may_warm(server) {
            break;
        }
        tier.warm(server, key, thread);
    }
    // This thread's own.
    let loaded = server.keyspace.counters(thread).promoted.read();
    if loaded > 0 {
        tracing::info!("{loaded} keys that were in use before are in memory again");
    }
}

/// The keys of a list, as far as it is whole.
fn keys(mut list: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = list.split_first_chunk::<4>()?;
        let (key, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        list = rest;
        Some(key)
    })
}

impl Tier {
    fn may_warm(&self, server: &Server) -> bool {
        let maxmemory = server.config.load().maxmemory;
        let used = (server.keyspace.used_bytes() + server.other_bytes()) as u64;
        let has_room = maxmemory == 0 || used < maxmemory / 100 * FILL_PERCENT;
        has_room && !self.is_stopping.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn warm(&self, server: &Server, on_disk: &[u8], thread: ThreadSlot) {
        let Some((name, key)) = record::decode_key(on_disk) else {
            return;
        };
        let wanted = Wanted {
            hash: KeyHash::of_value(self.store.hash_of(on_disk)),
            name,
            key: key.into(),
        };
        if self.store.may_hold(wanted.hash.value()) {
            // A command that needs the key tells what is wrong with it.
            let _ = self.load_now(server, &wanted, clock::now(), thread);
        }
    }
}
