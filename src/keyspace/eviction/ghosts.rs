//! The ghosts of S3-FIFO: keys that went from the small queue, remembered for a while.

/// Hashes of keys that went from the small queue, for as many as the main part has keys.
///
/// A table of four-way sets of 32-bit slots: a fingerprint (20 bits) and the time it came (12
/// bits, in 1024ths of the capacity). Nothing is ever taken out: a ghost that is too old does not
/// count, and the oldest of a full set gives way.
#[derive(Debug, Default)]
pub(super) struct Ghosts {
    slots: Vec<u32>,
    capacity: usize,
    added: u64,
}

const GHOST_WAYS: usize = 4;
const GHOST_STAMP_BITS: u32 = 12;
const GHOST_STAMP_MASK: u32 = (1 << GHOST_STAMP_BITS) - 1;
const GHOST_AGES: u64 = 1024;

impl Ghosts {
    pub(super) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<u32>()
    }

    fn fingerprint(hash: u64) -> u32 {
        // Bits that neither the shard nor the tag uses; zero would read as an empty slot.
        ((hash >> 24) as u32 & 0xf_ffff).max(1)
    }

    fn stamp(&self) -> u32 {
        let unit = (self.capacity as u64 / GHOST_AGES).max(1);
        (self.added / unit) as u32 & GHOST_STAMP_MASK
    }

    fn set_of(&self, fingerprint: u32) -> usize {
        let sets = self.slots.len() / GHOST_WAYS;
        ((fingerprint as usize * sets) >> 20) * GHOST_WAYS
    }

    fn age(&self, slot: u32) -> u32 {
        self.stamp().wrapping_sub(slot) & GHOST_STAMP_MASK
    }

    pub(super) fn contains(&self, hash: u64) -> bool {
        if self.slots.is_empty() {
            return false;
        }
        let fingerprint = Self::fingerprint(hash);
        let set = self.set_of(fingerprint);
        let unit = (self.capacity as u64 / GHOST_AGES).max(1);
        let oldest = (self.capacity as u64 / unit) as u32;
        self.slots[set..set + GHOST_WAYS]
            .iter()
            .any(|&slot| slot >> GHOST_STAMP_BITS == fingerprint && self.age(slot) <= oldest)
    }

    pub(super) fn add(&mut self, hash: u64, capacity: usize) {
        self.resize(capacity.max(64));
        self.added += 1;
        let fingerprint = Self::fingerprint(hash);
        self.put(fingerprint << GHOST_STAMP_BITS | self.stamp());
    }

    fn put(&mut self, slot: u32) {
        let set = self.set_of(slot >> GHOST_STAMP_BITS);
        let place = (set..set + GHOST_WAYS)
            .max_by_key(|&i| match self.slots[i] {
                0 => u32::MAX,
                old if old >> GHOST_STAMP_BITS == slot >> GHOST_STAMP_BITS => u32::MAX - 1,
                old => self.age(old),
            })
            .expect("a set has ways");
        self.slots[place] = slot;
    }

    /// Follows the number of keys, in steps of a quarter so that this is rare.
    fn resize(&mut self, capacity: usize) {
        if capacity <= self.capacity && capacity * 2 >= self.capacity {
            return;
        }
        let age_unit_before = (self.capacity as u64 / GHOST_AGES).max(1);
        self.capacity = capacity + capacity / 4;
        let sets = (self.capacity * 4 / 3).div_ceil(GHOST_WAYS);
        let old = std::mem::replace(&mut self.slots, vec![0; sets * GHOST_WAYS]);
        // Stamps are counted in a unit that has changed: all that is known starts young again.
        if age_unit_before != (self.capacity as u64 / GHOST_AGES).max(1) {
            self.added = 0;
        }
        let stamp = self.stamp();
        for slot in old.into_iter().filter(|&slot| slot != 0) {
            self.put(slot & !GHOST_STAMP_MASK | stamp);
        }
    }
}
