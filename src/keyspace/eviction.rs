//! Which key goes when memory is full.
//!
//! The default policy is S3-FIFO (Yang et al., SOSP 2023): a new key enters a small queue; if it
//! is not used again before it reaches the end, it goes, else it moves to the main part, where a
//! key goes when it was not used for a whole round. Keys that went from the small queue are
//! remembered for a while as ghosts: one that returns belongs to the main part at once. So a scan
//! passes through the small queue and pushes nothing out.
//!
//! Some things differ from the paper, to save memory; simulated over the traces in docs/measuring.md
//! they cost no hits (mean change of misses against LRU -5.1 %, the paper's own -5.05 %):
//!
//! * The main part is no queue but the table itself, which a hand goes round as in CLOCK. Whether a
//!   key stands in the small queue, and how often it was used (0 to 3), are three bits of its entry.
//! * While memory is not nearly full there is nothing to choose, and new keys go to the main part.
//!   So only the small queue, 15 % of the keys, has records, of 8 bytes each.
//! * The keyspace is divided into a few groups of shards, each with its own queue, ghosts and hand,
//!   which are used in turn: of the next group and another one the larger gives the victim, since
//!   strict turns let the sizes of groups drift apart.
//! * A returning ghost starts with one use. Without that the first round of the hand, which meets it
//!   at a random time, often takes it too early.
//!
//! A record of the small queue is a shard and a tag, not a pointer: a deleted key simply is not
//! found when its turn comes.
//!
//! With `memory-compression` values that have cooled down are compressed before a key goes: see `compression.rs`.
//!
//! The policies with Redis's names are Redis's: the best of a few sampled keys goes.

mod access;
mod ghosts;
mod sampled;

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use self::ghosts::Ghosts;
use super::compression;
use super::door::Cause;
use super::entry::EntryRef;
use super::lfu::LfuSettings;
use super::residency::{self, Place};
use super::table::{Position, Tag};
use super::{GROUPS, KeyHash, Keyspace, Locked, SHARD_BITS, SHARDS, ThreadSlot, group_of_shard};
use crate::clock::UnixMs;
use crate::config::EvictionPolicy;

pub use self::access::{AccessPolicy, LastAccess};
pub use self::sampled::EvictionPool;

/// The small queue's share of the keys, in percent. 15 and 20 are equally good, 10 and 5 worse.
const SMALL_PERCENT: usize = 15;
/// Memory counts as nearly full from this share of the limit on, in percent.
const PRESSED_PERCENT: u64 = 90;
/// The hand moves over so many buckets in one lock of a shard.
const HAND_BUCKETS: usize = 64;
/// Keys that the tier below must have first, after which the hand stops and waits for it.
const REFUSED_MAX: usize = 512;
/// Where victims must be worth a write, one that expires sooner is not.
const TTL_WRITTEN_MS_MIN: i64 = 5000;
/// Where unwritten keys go it passes so many that must stay all the same: marks of deleted keys. About a millisecond.
const MARKS_MAX: usize = 8192;
const FREQUENCY: u8 = 0b011;
const SMALL: u8 = 0b100;
/// The hand met the entry while it was in the small queue. Met so again, a whole round later, its
/// record was lost with an older key of the same tag, and it belongs to the main part.
const MET: u8 = 0b1000;

/// The limits that eviction keeps.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes in all; 0 is no limit.
    pub maxmemory_bytes: u64,
    /// Keys in all; 0 is no limit.
    pub max_entries: u64,
    /// So many keys are evicted at once at most.
    pub victims_max: usize,
    /// How a victim is chosen.
    pub policy: EvictionPolicy,
    /// Keys looked at for each victim of the sampled policies.
    pub samples: usize,
    /// Bytes in use that are not keys: buffers of clients, what the tier has, what resident memory exceeds.
    pub other_bytes: u64,
    /// How LFU counters decay.
    pub lfu: LfuSettings,
    /// The time by which keys are judged.
    pub now: UnixMs,
    /// What becomes of a victim that the tier below has not got yet.
    pub unwritten: Unwritten,
    /// Whether what has cooled down is compressed before anything goes.
    pub compresses: bool,
}

impl Limits {
    fn are_exceeded_by(&self, bytes: u64) -> bool {
        self.maxmemory_bytes != 0 && bytes > self.maxmemory_bytes
    }
}

/// What becomes of a victim that the tier below has not got yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwritten {
    /// It stays until it is written.
    Stays,
    /// The same if it is worth that, where only victims are written; else it is evicted.
    Judged {
        /// How victims are chosen, which tells what counts as used.
        policy: EvictionPolicy,
        /// The time, by which it expires soon or not.
        now: UnixMs,
    },
    /// It is evicted.
    Goes,
}

/// Whether the limits of memory are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// They are.
    Enough,
    /// They will be when the tier below has written what it is given.
    Soon,
    /// They cannot be: the policy does not allow it, or nothing is left.
    None,
}

/// What became of an entry that should leave memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Eviction {
    /// It has left.
    Gone,
    /// The tier below must have it first.
    Unwritten,
    /// It never leaves.
    Pinned,
}

/// How much a key is wanted in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heat {
    /// It never leaves.
    Pinned,
    /// It was used lately.
    Used,
    /// It was not.
    Unused,
}

/// Where a new key starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admitted {
    Small,
    Main,
    /// In the main part, as a ghost that came back.
    Returned,
}

/// The queue, the ghosts and the hand of one group of shards.
#[derive(Debug)]
pub(super) struct EvictionGroup {
    small: VecDeque<Record>,
    ghosts: Ghosts,
    hand: Hand,
}

/// A key in the small queue.
#[derive(Clone, Copy, Debug)]
struct Record {
    shard: u32,
    tag: Tag,
}

/// A search for victims.
#[derive(Debug)]
pub(super) struct Hunt<'a> {
    pub(super) limits: &'a Limits,
    pub(super) thread: ThreadSlot,
    /// Entries met that go when the tier below has them.
    refused: usize,
    /// Bytes of values that were compressed, also in vain.
    pub(super) compressed_bytes: usize,
    /// What is left of the looks for values to compress.
    pub(super) looks_left: usize,
}

/// What a hand has passed over.
#[derive(Debug, Default)]
struct Passed {
    /// Entries that may go, now or when the tier below has them.
    unpinned: usize,
    /// Entries that the tier below must have first.
    refused: usize,
}

#[derive(Clone, Copy, Debug)]
struct Hand {
    shard: usize,
    bucket: usize,
    slot: u32,
}

impl EvictionGroup {
    pub(super) fn new(index: usize) -> Self {
        let shard = index * (SHARDS / GROUPS);
        Self {
            small: VecDeque::new(),
            ghosts: Ghosts::default(),
            hand: Hand {
                shard,
                bucket: 0,
                slot: 0,
            },
        }
    }

    fn bytes(&self) -> usize {
        self.small.capacity() * size_of::<Record>() + self.ghosts.bytes()
    }
}

impl Keyspace {
    /// Whether the limits are kept, exactly and at this moment.
    fn within(&self, limits: &Limits) -> bool {
        let used = self.used_with_others(limits);
        let entries = self.entries() as u64;
        let share = |part: u64, whole: u64| {
            whole != 0 && part.saturating_mul(100) > whole.saturating_mul(PRESSED_PERCENT)
        };
        let pressed = share(used, limits.maxmemory_bytes) || share(entries, limits.max_entries);
        if self.pressed.load(Ordering::Relaxed) != pressed {
            self.pressed.store(pressed, Ordering::Relaxed);
        }
        !limits.are_exceeded_by(used) && (limits.max_entries == 0 || entries <= limits.max_entries)
    }

    /// The bytes and keys in use, as these limits count them.
    pub fn used_of(&self, limits: &Limits) -> (u64, u64) {
        (self.used_with_others(limits), self.entries() as u64)
    }

    fn used_with_others(&self, limits: &Limits) -> u64 {
        self.used_bytes() as u64 + limits.other_bytes
    }

    /// Whether it is bytes of which there are too many.
    pub(super) fn exceeds_bytes(&self, limits: &Limits) -> bool {
        limits.are_exceeded_by(self.used_with_others(limits))
    }

    /// Compresses and evicts until the limits are kept.
    pub fn make_room(&self, limits: &Limits, thread: ThreadSlot, pool: &mut EvictionPool) -> Room {
        let mut hunt = Hunt {
            limits,
            thread,
            refused: 0,
            compressed_bytes: 0,
            looks_left: 0,
        };
        let mut looked = false;
        for _ in 0..limits.victims_max {
            if self.within(limits) {
                return Room::Enough;
            }
            if self.compress_cold(&mut hunt, pool, compression::BEFORE_EVICTION) {
                continue;
            }
            if self.is_all_pinned() {
                return Room::None;
            }
            // Looking for the few that may go would take long. Asked once, since each thread's list is locked for it.
            if !looked
                && limits.unwritten != Unwritten::Goes
                && self.unwritten_bytes() > self.used_bytes() / 2
            {
                return Room::Soon;
            }
            looked = true;
            let evicted = match limits.policy {
                EvictionPolicy::NoEviction => false,
                EvictionPolicy::AllkeysS3fifo => self.evict_s3fifo(&mut hunt),
                _ => self.evict_sampled(&mut hunt, pool),
            };
            if !evicted && hunt.refused > 0 {
                return Room::Soon;
            }
            if !evicted && !self.compress_before_refusal(&mut hunt, pool) {
                return Room::None;
            }
        }
        Room::Enough
    }

    /// Whether a search for a victim would be in vain, and long.
    fn is_all_pinned(&self) -> bool {
        let (pinned, _) = self.pinned();
        let entries = || -> usize {
            let groups = self.group_entries.iter();
            groups.map(|count| count.load(Ordering::Relaxed)).sum()
        };
        pinned > 0 && pinned >= entries()
    }

    /// How many bytes this thread may add before it must look again.
    pub fn headroom(&self, limits: &Limits) -> i64 {
        if limits.max_entries != 0 {
            return 0;
        }
        if limits.maxmemory_bytes == 0 {
            return i64::MAX / 2;
        }
        let used = self.used_with_others(limits);
        // Half of what is left, shared among the threads: together they cannot pass the limit.
        let left = limits.maxmemory_bytes.saturating_sub(used) / 2 / self.counters.len() as u64;
        i64::try_from(left).unwrap_or(i64::MAX / 2)
    }

    pub(super) fn queue_bytes(&self) -> usize {
        self.queue_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn note_queue_bytes(&self, before: usize, after: usize) {
        if before != after {
            self.queue_bytes
                .fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
        }
    }

    /// Decides where a new key starts.
    pub(super) fn admit(&self, hash: KeyHash, access: &AccessPolicy) -> Admitted {
        if access.policy != EvictionPolicy::AllkeysS3fifo || !self.pressed.load(Ordering::Relaxed) {
            return Admitted::Main;
        }
        let mut group = self.groups[group_of_shard(hash.shard())].lock();
        if group.ghosts.contains(hash.0) {
            return Admitted::Returned;
        }
        let before = group.bytes();
        group.small.push_back(Record {
            shard: hash.shard() as u32,
            tag: hash.tag(),
        });
        // Records of deleted keys pile up only while nothing is evicted.
        let entries = self.group_entries[group_of_shard(hash.shard())].load(Ordering::Relaxed);
        let limit = entries / 2 + 1024;
        while group.small.len() > limit {
            group.small.pop_front();
        }
        self.note_queue_bytes(before, group.bytes());
        Admitted::Small
    }

    /// Evicts one key from the larger of the group whose turn it is and another, or from the next
    /// that has any.
    fn evict_s3fifo(&self, hunt: &mut Hunt<'_>) -> bool {
        let turn = self.next_group.fetch_add(1, Ordering::Relaxed);
        // An odd step that varies pairs each group with every other one in time.
        let other = turn.wrapping_mul(7).wrapping_add(turn / GROUPS);
        let entries = |group: usize| self.group_entries[group % GROUPS].load(Ordering::Relaxed);
        let first = if entries(other) > entries(turn) {
            other
        } else {
            turn
        };
        (0..GROUPS).any(|i| self.evict_from_group(first.wrapping_add(i) % GROUPS, hunt))
    }

    fn evict_from_group(&self, index: usize, hunt: &mut Hunt<'_>) -> bool {
        let entries = self.group_entries[index].load(Ordering::Relaxed);
        loop {
            let record = {
                let mut group = self.groups[index].lock();
                if group.small.len() * 100 <= entries * SMALL_PERCENT {
                    None
                } else {
                    group.small.pop_front()
                }
            };
            let Some(record) = record else { break };
            if self.evict_small(index, record, hunt) {
                return true;
            }
        }
        if self.evict_main(index, hunt) {
            return true;
        }
        // Nothing in the main part: whatever is in the small queue goes.
        loop {
            let Some(record) = self.groups[index].lock().small.pop_front() else {
                return false;
            };
            if self.evict_small(index, record, hunt) {
                return true;
            }
        }
    }

    /// Looks at the oldest key of the small queue: used meanwhile, it moves to the main part, else
    /// it goes.
    fn evict_small(&self, index: usize, record: Record, hunt: &mut Hunt<'_>) -> bool {
        let mut locked = self.lock_shard(record.shard as usize, hunt.thread);
        let table = &mut locked.table;
        let Some(at) = table.find_by(record.tag, |entry| entry.policy_bits() & SMALL != 0) else {
            return false;
        };
        let bits = table.get(at).policy_bits();
        let used = bits & FREQUENCY != 0 && self.is_live(table.get(at).space());
        let hash = self.hash(table.get(at).key());
        let mut goes = || match self.evict_at(&mut locked, at, hunt.limits.unwritten) {
            Eviction::Gone => true,
            Eviction::Unwritten => {
                hunt.refused += 1;
                false
            }
            Eviction::Pinned => false,
        };
        if used || !goes() {
            // As it is now: it may have been queued to be written.
            let main = locked.table.get(at).policy_bits() & residency::STATE;
            locked.table.get_mut(at).set_policy_bits(main);
            return false;
        }
        drop(locked);
        let main = self.group_entries[index].load(Ordering::Relaxed);
        let mut group = self.groups[index].lock();
        let before = group.bytes();
        group.ghosts.add(hash.0, main);
        self.note_queue_bytes(before, group.bytes());
        true
    }

    /// Moves the hand until a key of the main part was not used since the last round.
    fn evict_main(&self, index: usize, hunt: &mut Hunt<'_>) -> bool {
        let first = index * (SHARDS / GROUPS);
        let mut hand = self.groups[index].lock().hand;
        let start = hand;
        let mut passed = Passed::default();
        let unwritten = hunt.limits.unwritten;
        let refused_max = match unwritten {
            Unwritten::Stays | Unwritten::Judged { .. } => REFUSED_MAX,
            Unwritten::Goes => MARKS_MAX,
        };
        // A key is passed at most so often: three uses, twice met in the small queue.
        let rounds = (FREQUENCY as usize + 3) * (SHARDS / GROUPS);
        let mut shards = 0;
        let mut evicted = false;
        // A round that met only what is pinned was enough.
        let in_vain = |shards: usize, passed: &Passed| {
            shards > rounds || shards > SHARDS / GROUPS && passed.unpinned == 0
        };
        while !in_vain(shards, &passed) && !evicted && passed.refused < refused_max {
            let mut locked = self.lock_shard(hand.shard, hunt.thread);
            let end = locked.table.bucket_count().min(hand.bucket + HAND_BUCKETS);
            while hand.bucket < end && !evicted {
                evicted = self.hand_over_bucket(&mut locked, &mut hand, &mut passed, unwritten);
            }
            if hand.bucket >= locked.table.bucket_count() {
                hand.bucket = 0;
                hand.slot = 0;
                hand.shard = first + (hand.shard - first + 1) % (SHARDS / GROUPS);
                shards += 1;
            }
        }
        // What the tier below must have first can go when the hand comes again, and soon.
        let stays = !evicted && passed.refused > 0 && unwritten != Unwritten::Goes;
        hunt.refused += passed.refused;
        self.groups[index].lock().hand = if stays { start } else { hand };
        evicted
    }

    /// Evicts the first key of a bucket, from the hand on, that was not used, and takes a use from those before it. The
    /// hand stops behind the victim: a key that it has passed is not charged again in the same round.
    fn hand_over_bucket(
        &self,
        locked: &mut Locked<'_>,
        hand: &mut Hand,
        passed: &mut Passed,
        unwritten: Unwritten,
    ) -> bool {
        let buckets = locked.table.bucket_count();
        for at in locked.table.positions(hand.bucket) {
            if at.slot() < hand.slot {
                continue;
            }
            let table = &mut locked.table;
            let bits = table.get(at).policy_bits();
            let live = self.is_live(table.get(at).space());
            if live && table.get(at).is_pinned() {
                continue;
            }
            passed.unpinned += 1;
            if bits & SMALL != 0 && live {
                let next = if bits & MET != 0 {
                    bits & (FREQUENCY | residency::STATE)
                } else {
                    bits | MET
                };
                table.get_mut(at).set_policy_bits(next);
            } else if bits & FREQUENCY != 0 && live {
                table.get_mut(at).set_policy_bits(bits - 1);
            } else if self.evict_at(locked, at, unwritten) == Eviction::Gone {
                hand.slot = at.slot() + 1;
                // A table that has shrunk keeps its order: the hand stays at the same share of it.
                let left = locked.table.bucket_count();
                hand.bucket = (hand.bucket * left).checked_div(buckets).unwrap_or(0);
                return true;
            } else {
                passed.refused += 1;
            }
        }
        hand.bucket += 1;
        hand.slot = 0;
        false
    }

    /// Takes an entry out of memory if it may leave.
    pub(super) fn evict_at(
        &self,
        locked: &mut Locked<'_>,
        at: Position,
        unwritten: Unwritten,
    ) -> Eviction {
        let table = &mut locked.table;
        let entry = table.get(at);
        if entry.is_pinned() && self.is_live(entry.space()) {
            return Eviction::Pinned;
        }
        let is_live = self.is_live(entry.space());
        let is_key = is_live && !entry.is_tombstone();
        if is_key && entry.is_memory_only() {
            self.take_out(locked, at, Cause::Evicted);
            return Eviction::Gone;
        }
        let is_kept = self.has_below() && entry.key().len() <= residency::KEY_BYTES_MAX;
        if let Some(below) = &self.below
            && entry.policy_bits() & residency::CLEAN == 0
            && is_live
        {
            // The mark of a deleted key must be written all the same: without it an older version would come back.
            if unwritten == Unwritten::Goes && is_key {
                locked.counters.shed.add(1);
                self.take_out(locked, at, Cause::Evicted);
                return Eviction::Gone;
            }
            if let Unwritten::Judged { policy, now } = unwritten
                && is_key
                && !self.is_admitted(entry, policy, now)
            {
                self.take_out(locked, at, Cause::Evicted);
                return Eviction::Gone;
            }
            let place = Place::new(locked.shard, table.tag(at));
            below.queue_victim(table.get_mut(at), place, locked.thread);
            return Eviction::Unwritten;
        }
        match self.below.as_ref().filter(|_| is_kept) {
            _ if !is_live => drop(self.leave(locked, at, Cause::Flushed)),
            _ if !is_key => self.forget(locked, at),
            None => drop(self.leave(locked, at, Cause::Evicted)),
            Some(below) => {
                let is_counted = below.tally(entry.space()).cooled(entry.expires_at());
                let cause = if is_counted {
                    Cause::Demoted
                } else {
                    Cause::Expired
                };
                drop(self.leave(locked, at, cause));
            }
        }
        locked.table.shrink_if_sparse();
        Eviction::Gone
    }

    /// Shows the keys that are pinned or in the main part, and below too, with their place and the name of their contents
    /// there.
    pub fn main_keys(&self, thread: ThreadSlot, mut show: impl FnMut(Place, u32, &[u8], Heat)) {
        let Some(below) = &self.below else { return };
        for shard in 0..SHARDS {
            let locked = self.lock_shard(shard, thread);
            for at in locked.table.all_positions() {
                let entry = locked.table.get(at);
                let bits = entry.policy_bits();
                let heat = match () {
                    () if entry.is_tombstone() || entry.is_memory_only() => continue,
                    () if entry.is_pinned() => Heat::Pinned,
                    () if bits & SMALL != 0 => continue,
                    () if bits & FREQUENCY != 0 => Heat::Used,
                    () => Heat::Unused,
                };
                let is_below = entry.key().len() <= residency::KEY_BYTES_MAX;
                if is_below && self.is_live(entry.space()) {
                    let place = Place::new(shard, locked.table.tag(at));
                    let name = below.name(entry.space());
                    show(place, name, entry.key(), heat);
                }
            }
        }
    }

    /// Whether a victim that is not written yet is worth it: the hand has used up its count of uses, but only what was
    /// used, or came back, gets from the small queue into the main part. Until memory is full the first time all keys go
    /// there; those are given the benefit of the doubt.
    fn is_admitted(&self, entry: EntryRef<'_>, policy: EvictionPolicy, now: UnixMs) -> bool {
        let Some(below) = &self.below else {
            return true;
        };
        let bits = entry.policy_bits();
        if !below.admission.chooses() || bits & (residency::QUEUED | residency::WRITING) != 0 {
            return true;
        }
        let is_short = |at: UnixMs| at.0 - now.0 < TTL_WRITTEN_MS_MIN;
        if entry.expires_at().is_some_and(is_short) {
            return false;
        }
        // The lfu policies count elsewhere, and have the memory of victims alone.
        let used = match policy {
            EvictionPolicy::AllkeysS3fifo => bits & SMALL == 0,
            _ => bits & FREQUENCY != 0,
        };
        let hash = self.hash(entry.key());
        // What has an older version below was worth it once.
        used || below.may_hold(hash) || below.admission.was_victim(hash)
    }

    /// Takes all that may go out of memory.
    #[cfg(test)]
    pub(crate) fn demote_all(&self, limits: &Limits, thread: ThreadSlot) {
        for shard in 0..SHARDS {
            let mut locked = self.lock_shard(shard, thread);
            let mut bucket = locked.table.bucket_count();
            while bucket > 0 {
                bucket -= 1;
                let buckets = locked.table.bucket_count();
                for at in locked.table.positions(bucket) {
                    self.evict_at(&mut locked, at, limits.unwritten);
                    if locked.table.bucket_count() != buckets {
                        // The table shrank, and its entries are elsewhere.
                        bucket = locked.table.bucket_count();
                        break;
                    }
                }
            }
        }
    }
}

const _: () = assert!(SHARD_BITS < 32, "a record holds a shard in 32 bits");
