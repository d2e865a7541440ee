//! Work that no request waits for, in slices that hold a shard's lock for microseconds: dropping
//! keys that nobody reads when their time comes, freeing what FLUSHDB emptied, and moving out of memory
//! what was not accessed for long.

use smallvec::SmallVec;

use super::door::Cause;
use super::entry::Entry;
use super::eviction::{AccessPolicy, Eviction, Limits};
use super::table::Position;
use super::{Keyspace, Locked, SHARDS, ThreadSlot};
use crate::clock::UnixMs;
use crate::value::collection::Collection;
use crate::value::hash::Hash;

/// Entries taken out in one lock of a shard. They are freed after it is released.
const SLICE: usize = 128;
/// Fields taken out of hashes in one lock of a shard.
const FIELDS: usize = 512;
/// Buckets looked at in one lock of a shard: about a hundred entries, most of which are not in the cache.
const IDLE_BUCKETS: usize = 16;

impl Keyspace {
    /// Drops the keys of one shard whose time has come, and the fields of its hashes. Returns how many keys.
    pub fn expire_shard(&self, shard: usize, now: UnixMs, thread: ThreadSlot) -> usize {
        let mut count = 0;
        let mut taken: Vec<Entry> = Vec::new();
        let _inside = self.gate.enter(thread);
        loop {
            let mut locked = self.lock_shard(shard, thread);
            if locked.table.expiry_floor().is_none_or(|floor| floor > now) {
                return count;
            }
            let mut due: SmallVec<[Position; 8]> = SmallVec::new();
            let expired = |at| due.push(at);
            let mut all = self.take_expired(&mut locked, (now, SLICE), &mut taken, expired);
            let mut fields_left = FIELDS;
            for at in due {
                if self.is_live(locked.table.get(at).space()) {
                    fields_left -= self.drop_due_fields(&mut locked, at, now, fields_left);
                } else {
                    // Its database was emptied: it is to go in any case.
                    taken.push(self.leave(&mut locked, at, Cause::Flushed));
                }
                all &= fields_left > 0;
            }
            for entry in &taken {
                self.mark_expired(&mut locked, entry.view());
            }
            locked.table.shrink_if_sparse();
            drop(locked);
            count += taken.len();
            taken.clear();
            if all {
                return count;
            }
        }
    }

    /// Takes fields out of a hash whose time has come, so many at the most if it is large, and the hash with the last of
    /// them. Other positions stay good. Gives how many went, at the most `limit`.
    pub(super) fn drop_due_fields(
        &self,
        locked: &mut Locked<'_>,
        at: Position,
        now: UnixMs,
        limit: usize,
    ) -> usize {
        let was_large = locked.table.get(at).is_large();
        let content = self.lend(locked, at, Vec::new);
        let mut hash = Hash::of(content).expect("only a hash has fields");
        let count = hash.remove_due(now.0, limit);
        let is_empty = hash.is_empty();
        self.put_back(locked, at, hash.into_content(), was_large);
        locked.counters.expired_fields.add(count as i64);
        if is_empty {
            self.take_away(locked, at, Cause::Emptied);
        } else {
            self.wrote(locked, at, None, Cause::FieldsExpired);
        }
        count.min(limit)
    }

    /// Moves the entries of one shard out of memory that were not accessed for so many seconds. What the tier below has not
    /// got yet is queued, and leaves when it is looked at again. Returns how many entries left.
    pub fn demote_idle(
        &self,
        shard: usize,
        idle_secs: u32,
        limits: &Limits,
        thread: ThreadSlot,
    ) -> usize {
        let mut left = 0;
        let mut bucket = 0;
        let _inside = self.gate.enter(thread);
        loop {
            let mut locked = self.lock_shard(shard, thread);
            let end = locked.table.bucket_count().min(bucket + IDLE_BUCKETS);
            while bucket < end {
                let buckets = locked.table.bucket_count();
                left += self.demote_idle_bucket(&mut locked, bucket, idle_secs, limits);
                if locked.table.bucket_count() != buckets {
                    // The table shrank, and keeps its order: the same entries are at the same share of it.
                    bucket = bucket * locked.table.bucket_count() / buckets;
                    break;
                }
                bucket += 1;
            }
            if bucket >= locked.table.bucket_count() {
                return left;
            }
        }
    }

    /// Ends early where the table shrinks.
    fn demote_idle_bucket(
        &self,
        locked: &mut Locked<'_>,
        bucket: usize,
        idle_secs: u32,
        limits: &Limits,
    ) -> usize {
        let access = AccessPolicy::new(limits.policy, limits.lfu, limits.now);
        let buckets = locked.table.bucket_count();
        let mut left = 0;
        for at in locked.table.positions(bucket) {
            let is_idle = access.is_idle(locked.table.get(at), idle_secs);
            if is_idle && self.evict_at(locked, at, limits.unwritten) == Eviction::Gone {
                left += 1;
                if locked.table.bucket_count() != buckets {
                    break;
                }
            }
        }
        left
    }

    /// The number of shards, for callers that go over them slice by slice.
    pub const fn shard_count(&self) -> usize {
        SHARDS
    }

    /// Whether emptied spaces wait to be freed.
    pub fn has_emptied(&self) -> bool {
        !self.emptied.lock().sweeping.is_empty()
    }

    /// Keys in emptied spaces that are still to be freed.
    pub fn pending_frees(&self) -> usize {
        let sweeping = self.emptied.lock().sweeping.clone();
        let pending = |space: u8| {
            let below = self.below.as_ref().map(|below| below.tally(space));
            let below = below.map_or(0, |tally| tally.keys() - tally.cold());
            let keys = self.sum_space(space, |c, s| c.keys[s].read()) + below;
            usize::try_from(keys).unwrap_or(0)
        };
        sweeping.into_iter().map(pending).sum()
    }

    /// Frees the keys of emptied spaces. `pause` is called after each shard.
    pub fn sweep_emptied(&self, thread: ThreadSlot, pause: impl FnMut()) {
        let _one_at_a_time = self.sweep.lock();
        let spaces = self.emptied.lock().sweeping.clone();
        self.sweep(&spaces, thread, pause);
    }

    /// Frees the keys of spaces that nobody else sweeps.
    pub(super) fn sweep(&self, spaces: &[u8], thread: ThreadSlot, mut pause: impl FnMut()) {
        if spaces.is_empty() {
            return;
        }
        for shard in 0..SHARDS {
            self.sweep_shard(shard, spaces, thread);
            pause();
        }
        let mut emptied = self.emptied.lock();
        emptied.sweeping.retain(|space| !spaces.contains(space));
        emptied.free.extend(spaces);
        drop(emptied);
        self.freed.notify_all();
    }

    pub(super) fn sweep_shard(&self, shard: usize, spaces: &[u8], thread: ThreadSlot) {
        let mut bucket = 0;
        let mut taken: Vec<Entry> = Vec::new();
        let _inside = self.gate.enter(thread);
        let hint = &self.shards[shard].hint;
        if !spaces.iter().any(|space| hint.may_have(*space)) {
            return;
        }
        loop {
            let mut locked = self.lock_shard(shard, thread);
            while bucket < locked.table.bucket_count() && taken.len() < SLICE {
                for at in locked.table.positions(bucket) {
                    if spaces.contains(&locked.table.get(at).space()) {
                        taken.push(self.leave(&mut locked, at, Cause::Flushed));
                    }
                }
                bucket += 1;
            }
            let done = bucket >= locked.table.bucket_count();
            if done {
                locked.table.shrink_if_sparse();
                spaces.iter().for_each(|of| locked.hint.forget_space(*of));
            }
            drop(locked);
            taken.clear();
            if done {
                return;
            }
        }
    }
}
