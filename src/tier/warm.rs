//! A warm start: the keys that are pinned, or were in use before the last end, come into memory again, behind the backs of
//! clients.
//!
//! ```text
//! <tier-dir>/hot     magic (8) | for each key, the most used first: length (4), key on disk | hash of all before (8)
//! <tier-dir>/pinned  the same, of keys that are pinned; there while any may be
//! ```
//!
//! They are lists of keys and no more: what is not there any more, or changed since, is as it is on disk, and a key is pinned
//! if its record says so, or a rule. So they may be old, and are written now and then, for a start after a crash. That one
//! reads the heads of all records anyway, to count keys, and fetches the pinned ones that it meets.
//!
//! Pinned keys may push out others, but leave a part of memory free; what does not fit stays on disk until it is used.
//!
//! Invariant: while pinned keys may be on disk alone [`Tier::has_cold_pins`] says so, and nobody writes over a key without a
//! look at what was there: its pin would be lost.
//! Invariant: before a record says that its key is pinned, there is a list of pinned keys, if an empty one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::store::{StoreError, read_sealed, regular, sync_dir, write_sealed};
use super::{Tier, Wanted, record};
use crate::clock;
use crate::config::TierPolicy;
use crate::engine::Engine;
use crate::keyspace::eviction::{EvictionPool, Heat};
use crate::keyspace::{KeyHash, Keyspace, ThreadSlot};

const HOT_MAGIC: [u8; 8] = *b"STRHOT_1";
const PINNED_MAGIC: [u8; 8] = *b"STRPIN_1";
/// Of each list: about half a million keys.
const BYTES_MAX: usize = 16 * 1024 * 1024;
/// How often the lists are written.
pub(super) const PERIOD: Duration = Duration::from_secs(300);
/// Keys are loaded until so much of `maxmemory` is in use, in percent: clients find room for their own. Pinned ones, which
/// push out others, until so much is in use that cannot leave.
const FILL_PERCENT: u64 = 80;

/// What the list of pinned keys has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pins {
    /// No key is pinned, so that there is none.
    None,
    /// Pinned keys, but not all.
    Some,
    /// All pinned keys.
    All,
}

/// Whether there is a list of pinned keys.
pub(super) fn has_pins(dir: &Path) -> bool {
    pinned_path(dir).symlink_metadata().is_ok()
}

/// Begins a list of pinned keys, durably, where there is none.
pub(super) fn begin_pins(dir: &Path) -> io::Result<()> {
    write_sealed(&pinned_path(dir), PINNED_MAGIC.to_vec())
}

/// Writes which keys are pinned and which are in use.
pub(super) fn keep(
    tier: &Tier,
    keyspace: &Keyspace,
    thread: ThreadSlot,
) -> Result<Pins, StoreError> {
    let mut pinned = PINNED_MAGIC.to_vec();
    let mut used = HOT_MAGIC.to_vec();
    let mut others = Vec::new();
    let mut all_listed = !tier.has_cold_pins();
    keyspace.main_keys(thread, |place, name, key, heat| {
        let list = match heat {
            Heat::Pinned => &mut pinned,
            Heat::Used => &mut used,
            Heat::Unused => &mut others,
        };
        if list.len() < BYTES_MAX {
            let at = list.len();
            list.extend([0; 4]);
            record::encode_key(place, name, key, list);
            let length = (list.len() - at - 4) as u32;
            list[at..at + 4].copy_from_slice(&length.to_le_bytes());
        } else {
            all_listed &= heat != Heat::Pinned;
        }
    });
    if used.len() + others.len() <= BYTES_MAX {
        used.append(&mut others);
    }
    write_sealed(&tier.dir.join("hot"), used).map_err(StoreError::File)?;
    keep_pins(&tier.dir, pinned, all_listed).map_err(StoreError::File)
}

fn keep_pins(dir: &Path, list: Vec<u8>, all_listed: bool) -> io::Result<Pins> {
    let path = pinned_path(dir);
    if list.len() > PINNED_MAGIC.len() || !all_listed {
        write_sealed(&path, list)?;
        return Ok(if all_listed { Pins::All } else { Pins::Some });
    }
    regular::clear(&path)?;
    match fs::remove_file(&path) {
        Ok(()) => sync_dir(dir)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(Pins::None)
}

fn pinned_path(dir: &Path) -> PathBuf {
    dir.join("pinned")
}

/// The life of the thread that loads them.
pub(super) fn load(engine: &Engine, thread: ThreadSlot) {
    let Some(tier) = &engine.tier else { return };
    load_pinned(engine, tier, thread);
    let list = read_list(&tier.dir.join("hot"), HOT_MAGIC).unwrap_or_default();
    for key in keys(&list) {
        if !tier.may_warm(engine) {
            break;
        }
        tier.warm(engine, key, thread);
    }
    // This thread's own.
    let loaded = engine.keyspace.counters(thread).promoted.read();
    if loaded > 0 {
        tracing::info!("{loaded} keys that were in use before are in memory again");
    }
}

/// Whether so many bytes leave room for what clients do.
fn fits(engine: &Engine, bytes: usize) -> bool {
    let maxmemory = engine.config.load().maxmemory;
    maxmemory == 0 || (bytes as u64) < maxmemory / 100 * FILL_PERCENT
}

fn load_pinned(engine: &Engine, tier: &Tier, thread: ThreadSlot) {
    if !tier.has_cold_pins() {
        return;
    }
    let mut pins = ColdPins::new(engine, tier, thread);
    let Some(list) = read_list(&pinned_path(&tier.dir), PINNED_MAGIC) else {
        tracing::warn!(
            "The list of pinned keys is damaged: they come into memory when they are used"
        );
        return;
    };
    for key in keys(&list) {
        if tier.is_stopping.load(Ordering::Relaxed) {
            return;
        }
        pins.warm(key);
    }
    // After a crash there may be others, which the count of keys finds.
    if tier.is_listed {
        pins.end();
    }
}

/// `None` where there is no such list that is whole.
fn read_list(path: &Path, magic: [u8; 8]) -> Option<Vec<u8>> {
    let list = read_sealed(path, magic);
    let list = list.inspect_err(|error| {
        let path = path.display();
        tracing::warn!("The list of keys for a warm start could not be read: {path}: {error}");
    });
    list.ok().flatten()
}

/// A search for the pinned keys that are on disk alone, which fetches them.
pub(super) struct ColdPins<'a> {
    engine: &'a Engine,
    tier: &'a Tier,
    thread: ThreadSlot,
    pool: EvictionPool,
    /// Whether none has stayed there so far.
    all_warm: bool,
}

impl<'a> ColdPins<'a> {
    pub(super) fn new(engine: &'a Engine, tier: &'a Tier, thread: ThreadSlot) -> Self {
        Self {
            engine,
            tier,
            thread,
            pool: EvictionPool::default(),
            all_warm: true,
        }
    }

    /// A record was found: fetches its key if it is pinned.
    pub(super) fn meet(&mut self, on_disk: &[u8], record: &[u8]) {
        let has_pin = record::decode(record).is_some_and(|(head, _)| head.pinned);
        let policy = |(_, key)| self.engine.keyspace.policy_of(key);
        if has_pin || record::decode_key(on_disk).map(policy) == Some(TierPolicy::Pinned) {
            self.warm(on_disk);
        }
    }

    fn warm(&mut self, on_disk: &[u8]) {
        let (_, pinned) = self.engine.keyspace.pinned();
        if !fits(self.engine, pinned + self.engine.other_bytes()) {
            self.all_warm = false;
            return;
        }
        self.all_warm &= self.tier.warm(self.engine, on_disk, self.thread);
        let now = clock::now();
        self.engine.make_room(now, self.thread, &mut self.pool);
    }

    /// All were met.
    pub(super) fn end(self) {
        if self.all_warm {
            self.tier.cold_pins.store(false, Ordering::Release);
        }
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
    /// Whether pinned keys may be on disk alone, as they are when the server has just started.
    #[inline]
    pub fn has_cold_pins(&self) -> bool {
        self.cold_pins.load(Ordering::Relaxed)
    }

    fn may_warm(&self, engine: &Engine) -> bool {
        let used = engine.keyspace.used_bytes() + engine.other_bytes();
        fits(engine, used) && !self.is_stopping.load(Ordering::Relaxed)
    }

    /// Fetches a key if it is there. False where it could not be read.
    fn warm(&self, engine: &Engine, on_disk: &[u8], thread: ThreadSlot) -> bool {
        let Some((name, key)) = record::decode_key(on_disk) else {
            return true;
        };
        let wanted = Wanted {
            hash: KeyHash::of_value(self.store.hash_of(on_disk)),
            name,
            key: key.into(),
        };
        // A command that needs the key tells what is wrong with it.
        !self.store.may_hold(wanted.hash.value())
            || self.load_now(engine, &wanted, clock::now(), thread).is_ok()
    }
}
