//! Which victims of eviction are worth a write below, where nothing but victims is written.
//!
//! Most keys of most caches are used once. Each of them that is written costs the disk a write, and pushes out something
//! older when the disk is full. So a victim must have shown that it is wanted: it was used while it was in memory, or it
//! was a victim before, not long ago. The first time it is evicted, and remembered here.
//!
//! The memory of victims is two bit arrays, a Bloom filter each. Victims enter the young one; when that is full it becomes
//! the old one, which is forgotten. A list of hashes that forgets exactly the oldest takes 4 bytes a key; these take half a
//! byte for each record below at most, and remember as many victims as a third to two thirds of those. Of keys that were
//! never victims they take one in ten for one, which costs a write.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::{KeyHash, Keyspace};

/// What both arrays may take for each record below: half a byte.
const BITS_PER_RECORD: usize = 4;
/// An array is full when it has so many bits for each key.
const BITS_PER_KEY: usize = 6;
/// Bits that are set for a key, all in one block.
const PROBES: usize = 3;
const BLOCK_BITS: usize = 512;
/// The smallest array: 4 KB, for 5,400 keys.
const BLOCKS_MIN: usize = 64;

/// Who may go below.
#[derive(Debug, Default)]
pub(super) struct Admission {
    /// Whether victims must have shown that they are wanted.
    chooses: AtomicBool,
    /// Records below, by which the ghost has its size.
    records: AtomicUsize,
    ghost: Mutex<Ghost>,
    /// What the ghost takes.
    bytes: AtomicUsize,
}

impl Admission {
    pub(super) fn chooses(&self) -> bool {
        self.chooses.load(Ordering::Relaxed)
    }

    /// Whether a key was a victim before, and not long ago. From now on it was.
    pub(super) fn was_victim(&self, hash: KeyHash) -> bool {
        let records = self.records.load(Ordering::Relaxed);
        let mut ghost = self.ghost.lock();
        let was_added = ghost.was_added(hash.value(), records);
        self.bytes.store(ghost.bytes(), Ordering::Relaxed);
        was_added
    }

    fn forget(&self) {
        *self.ghost.lock() = Ghost::default();
        self.bytes.store(0, Ordering::Relaxed);
    }
}

impl Keyspace {
    /// Whether victims must be worth a write from now on, and how many records are below.
    pub fn choose_victims(&self, choose: bool, records: u64) {
        let Some(below) = &self.below else { return };
        let admission = &below.admission;
        let records = usize::try_from(records).unwrap_or(usize::MAX);
        admission.records.store(records, Ordering::Relaxed);
        if admission.chooses.swap(choose, Ordering::Relaxed) && !choose {
            admission.forget();
        }
    }

    /// Whether victims must be worth a write.
    pub fn chooses_victims(&self) -> bool {
        let below = self.below.as_ref();
        below.is_some_and(|below| below.admission.chooses())
    }

    /// What the memory of victims takes.
    pub fn victim_bytes(&self) -> usize {
        let below = self.below.as_ref();
        below.map_or(0, |below| below.admission.bytes.load(Ordering::Relaxed))
    }
}

/// Keys that were victims.
#[derive(Debug, Default)]
struct Ghost {
    young: Bits,
    old: Bits,
}

impl Ghost {
    fn was_added(&mut self, hash: u64, records: usize) -> bool {
        if self.young.contains(hash) || self.old.contains(hash) {
            return true;
        }
        if self.young.is_full() {
            let blocks = records / BLOCK_BITS * (BITS_PER_RECORD / 2);
            let young = Bits::new(blocks.max(BLOCKS_MIN));
            self.old = std::mem::replace(&mut self.young, young);
        }
        self.young.add(hash);
        false
    }

    fn bytes(&self) -> usize {
        (self.young.blocks.len() + self.old.blocks.len()) * size_of::<Block>()
    }
}

/// One line of the cache.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Block([u64; BLOCK_BITS / 64]);

#[derive(Debug, Default)]
struct Bits {
    blocks: Vec<Block>,
    keys: usize,
}

impl Bits {
    fn new(blocks: usize) -> Self {
        Self {
            blocks: vec![Block::default(); blocks],
            keys: 0,
        }
    }

    fn is_full(&self) -> bool {
        self.keys * BITS_PER_KEY >= self.blocks.len() * BLOCK_BITS
    }

    /// The block of a key, and its bits as word and mask.
    fn place(&self, hash: u64) -> (usize, [(usize, u64); PROBES]) {
        // The top bits are the shard's and the low ones the tag's; all of them are here.
        let block = ((u128::from(hash) * self.blocks.len() as u128) >> 64) as usize;
        let mixed = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let bits = std::array::from_fn(|probe| {
            let bit = (mixed >> (64 - 9 * (probe + 1))) as usize % BLOCK_BITS;
            (bit / 64, 1 << (bit % 64))
        });
        (block, bits)
    }

    fn contains(&self, hash: u64) -> bool {
        let (block, bits) = self.place(hash);
        let block = self.blocks.get(block);
        block.is_some_and(|block| bits.iter().all(|(word, mask)| block.0[*word] & mask != 0))
    }

    fn add(&mut self, hash: u64) {
        let (block, bits) = self.place(hash);
        if let Some(block) = self.blocks.get_mut(block) {
            bits.iter().for_each(|(word, mask)| block.0[*word] |= mask);
            self.keys += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{EvictionPolicy, TierAdmission, TierDurability};
    use crate::keyspace::counters::{Counter, Counters};
    use crate::testing::Db;

    fn hash(i: u64) -> u64 {
        crate::keyspace::hash_with(7, &i.to_le_bytes())
    }

    #[test]
    fn the_ghost_is_small_and_remembers_the_last_victims() {
        const RECORDS: usize = 300_000;
        let mut ghost = Ghost::default();
        let mut wrong = 0;
        for i in 0..RECORDS as u64 {
            wrong += u64::from(ghost.was_added(hash(i), RECORDS));
        }
        assert!(wrong < RECORDS as u64 / 8, "{wrong} were no victims");
        assert!(ghost.bytes() * 2 <= RECORDS, "{} bytes", ghost.bytes());
        let known = |i: &u64| ghost.young.contains(hash(*i)) || ghost.old.contains(hash(*i));
        // One that was taken for known when it came is not added, and may be forgotten with what it was taken for.
        let last = (RECORDS * 2 / 3) as u64..RECORDS as u64;
        let missing = last.filter(|i| !known(i)).count();
        assert!(missing < RECORDS / 3 / 8, "{missing} are forgotten");
        let old = (0..RECORDS as u64 / 4).filter(known).count();
        assert!(old < RECORDS / 4 / 5, "{old} are not forgotten");
    }

    fn choosing(policy: EvictionPolicy) -> Db {
        let db = Db::tiered(|config| {
            config.maxmemory = 8 << 20;
            config.maxmemory_policy = policy;
            config.tier_durability = TierDurability::None;
            config.tier_admission = TierAdmission::Ghost;
        });
        db.engine().steer_admission(&db.engine().config.load());
        db
    }

    fn sum(db: &Db, counter: fn(&Counters) -> &Counter) -> i64 {
        let counters = db.engine().keyspace.all_counters().iter();
        counters.map(|of_thread| counter(of_thread).read()).sum()
    }

    #[test]
    fn a_victim_is_written_if_it_was_used_or_was_a_victim_before() {
        let mut db = choosing(EvictionPolicy::AllkeysLru);
        db.run("SET once v").ok();
        db.run("SET used v").ok();
        db.run("GET used").bulk("v");
        db.run("SET short v EX 4").ok();
        db.run("GET short").bulk("v");
        db.run("SET long v EX 5").ok();
        db.run("GET long").bulk("v");
        db.demote_all();
        assert_eq!(sum(&db, |c| &c.evicted), 2);
        db.run("EXISTS once short used long").int(2);
        db.run("SET once again").ok();
        db.demote_all();
        db.write();
        db.demote_all();
        assert_eq!((sum(&db, |c| &c.evicted), sum(&db, |c| &c.demoted)), (2, 3));
        db.run("MGET once used long").bulks(&["again", "v", "v"]);
        db.run("DBSIZE").int(3);
    }

    #[test]
    fn no_older_version_comes_back_for_a_key_that_was_not_written() {
        let mut db = choosing(EvictionPolicy::AllkeysLru);
        db.run("SET k old").ok();
        db.run("GET k").bulk("old");
        db.demote_all();
        db.write();
        db.demote_all();
        db.run("APPEND k er").int(5);
        db.run("PEXPIRE k 1000").int(1);
        db.demote_all();
        db.run("GET k").nil();
        db.write();
        db.demote_all();
        assert_eq!(db.engine().keyspace.entries(), 0);
        db.run("GET k").nil();
        db.run("DBSIZE").int(0);
    }

    #[test]
    fn a_flood_of_keys_that_are_used_once_is_not_written() {
        const KEYS: i64 = 20_000;
        let mut db = choosing(EvictionPolicy::AllkeysS3fifo);
        let set = |db: &mut Db, keys: std::ops::Range<i64>| {
            for i in keys {
                db.run(&format!("SET k:{i} {i:01000}")).ok();
            }
        };
        set(&mut db, 0..KEYS);
        let records = |db: &Db| {
            let tier = db.engine().tier.as_ref().expect("there is one");
            tier.stats().store.records as i64
        };
        // What filled memory at first had nothing to show that it could do without.
        assert!(records(&db) < KEYS / 2, "{} written", records(&db));
        db.run("DBSIZE").int(KEYS - sum(&db, |c| &c.evicted));
        let (before, evicted) = (records(&db), sum(&db, |c| &c.evicted));
        set(&mut db, KEYS - 8_000..KEYS);
        set(&mut db, KEYS - 8_000..KEYS);
        let (more, gone) = (records(&db) - before, sum(&db, |c| &c.evicted) - evicted);
        assert!(more > gone, "{more} written, {gone} evicted");
    }
}
