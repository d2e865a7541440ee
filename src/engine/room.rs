//! The account of memory that eviction goes by, and making room.

use std::sync::atomic::Ordering;

use super::Engine;
use crate::clock::UnixMs;
use crate::config::{Config, MemoryCompression, TierAdmission, TierDurability};
use crate::keyspace::ThreadSlot;
use crate::keyspace::eviction::{EvictionPool, Limits, Room, Unwritten};
use crate::keyspace::lfu::LfuSettings;

/// Resident memory that a process with a tier may have beyond its keys, besides an eighth of `maxmemory`:
/// the program, the threads' stacks, the store's own structures. What exceeds it is noticed a second later and given back when
/// keys have gone: with that the whole stays below a quarter more than `maxmemory` and 32 MB.
const RESIDENT_ALLOWANCE: u64 = 26 * 1024 * 1024;

/// The share of the disk from which on `tier-admission auto` chooses, in percent. Once the oldest goes for the first time
/// it never falls below.
const CHOOSE_PERCENT: u64 = 80;

/// At most so many keys are evicted at once: some milliseconds' work.
const VICTIMS_AT_ONCE: usize = 10_000;

impl Engine {
    /// Bytes in use that are not the keyspace's: clients, the counters of statistics, the tier. Together
    /// with the keyspace's they are `used_memory`, which `maxmemory` limits.
    pub fn other_bytes(&self) -> usize {
        let tier = self.tier.as_ref().map_or(0, |tier| tier.memory_bytes());
        (self.outside)() + size_of::<Self>() + tier + self.keyspace.victim_bytes()
    }

    /// Bytes in use.
    pub fn used_bytes(&self) -> usize {
        self.keyspace.used_bytes() + self.other_bytes()
    }

    /// What eviction counts besides keys and values. What the tier takes and soon will, and the excess, are at most half of what they
    /// may have: little memory is not all the tier's, and when none is left the allocator may still hold pages. No write is refused
    /// for those.
    pub fn other_bytes_to_evict(&self, maxmemory: u64) -> usize {
        let tier = self.tier.as_ref();
        let (taken, reserved) = tier.map_or((0, 0), |t| (t.memory_bytes(), t.reserved_bytes()));
        let others = self.other_bytes().saturating_sub(taken);
        let left = usize::try_from(maxmemory).unwrap_or(usize::MAX);
        let excess = self.excess_bytes.load(Ordering::Relaxed);
        others + (taken + excess + reserved).min(left.saturating_sub(others) / 2)
    }

    /// The limits of memory, by these options.
    pub fn limits(&self, config: &Config, now: UnixMs) -> Limits {
        let overdrawn = self.overdraft.is_taken();
        Limits {
            maxmemory_bytes: self.overdraft.extend(self.easing.bytes(config.maxmemory)),
            max_entries: match overdrawn {
                true => 0,
                false => self.easing.entries(config.max_entries),
            },
            victims_max: VICTIMS_AT_ONCE,
            policy: config.maxmemory_policy,
            samples: config.maxmemory_samples as usize,
            other_bytes: self.other_bytes_to_evict(config.maxmemory) as u64,
            lfu: LfuSettings::of(config),
            now,
            unwritten: Unwritten::Judged {
                policy: config.maxmemory_policy,
                now,
            },
            compresses: config.memory_compression == MemoryCompression::Lz4,
        }
    }

    /// Evicts until the limits of memory are kept, as far as it can.
    pub fn make_room(&self, now: UnixMs, thread: ThreadSlot, pool: &mut EvictionPool) -> Room {
        let limits = self.limits(&self.config.load(), now);
        let _inside = self.keyspace.gate().enter(thread);
        self.keyspace.make_room(&limits, thread, pool)
    }

    /// Keeps resident memory near `maxmemory` while keys come and go through a tier, which leaves holes
    /// in the allocator's pages that no account shows: what exceeds the allowance counts as used.
    pub fn steer_memory(&self, maxmemory: u64, resident: u64) {
        if self.tier.is_none() || maxmemory == 0 {
            return;
        }
        let allowed = self.used_bytes() as u64 + maxmemory / 8 + RESIDENT_ALLOWANCE;
        let excess = usize::try_from(resident.saturating_sub(allowed)).unwrap_or(usize::MAX);
        self.excess_bytes.store(excess, Ordering::Relaxed);
    }

    /// Decides whether victims must be worth a write to the disk: never where every change is written anyway.
    pub fn steer_admission(&self, config: &Config) {
        let Some(tier) = &self.tier else { return };
        if config.tier_durability != TierDurability::None {
            return;
        }
        let store = tier.stats().store;
        let choose = match config.tier_admission {
            TierAdmission::All => false,
            TierAdmission::Ghost => true,
            TierAdmission::Auto => store.disk_bytes >= config.tier_max_bytes / 100 * CHOOSE_PERCENT,
        };
        self.keyspace.choose_victims(choose, store.records);
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Db;

    /// With `maxmemory 3mb` the tier took all but 40 KB of it, and writes were refused though keys could go.
    #[test]
    fn half_of_little_memory_is_for_keys_whatever_the_tier_takes() {
        const LITTLE: u64 = 3 << 20;
        let db = Db::tiered(|config| config.maxmemory = LITTLE);
        let engine = db.engine();
        let tier = engine.tier.as_ref().unwrap();
        let outside = engine.other_bytes() - tier.memory_bytes();
        for taken in [2 << 20, 3 << 20, 30 << 20] {
            tier.set_memory_bytes(taken);
            let counted = engine.other_bytes_to_evict(LITTLE);
            assert_eq!(counted, outside + (LITTLE as usize - outside) / 2);
        }
    }

    #[test]
    fn resident_memory_counts_as_used_before_it_is_a_quarter_and_32_mb_beyond_maxmemory() {
        const MB: u64 = 1024 * 1024;
        let db = Db::tiered(|config| config.maxmemory = 48 * MB);
        let engine = db.engine();
        let counted = |resident| {
            engine.steer_memory(48 * MB, resident);
            engine.other_bytes_to_evict(48 * MB) - engine.other_bytes()
        };
        let used = engine.used_bytes() as u64;
        assert_eq!(counted(used + 30 * MB), 0);
        // As if memory were full.
        let bound = 48 * MB * 5 / 4 + 32 * MB - (48 * MB - used);
        assert!(counted(bound) as u64 >= 10 * MB);
    }
}
