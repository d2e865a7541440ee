//! What loads bring into memory, and what becomes of an entry whose copy below goes.

use super::{CLEAN, InMemory, LoadStamp, Loaded, Place, UNVERIFIED, has_copy};
use crate::clock::UnixMs;
use crate::keyspace::entry::Entry;
use crate::keyspace::eviction::AccessPolicy;
use crate::keyspace::{KeyHash, Keyspace, SHARDS, ThreadSlot};

impl Keyspace {
    /// Begins a load of a key that memory does not hold. `None`: it does by now.
    pub fn begin_load(
        &self,
        hash: KeyHash,
        name: u32,
        key: &[u8],
        thread: ThreadSlot,
    ) -> Option<LoadStamp> {
        let below = self.below.as_ref()?;
        let locked = self.lock_shard(hash.shard(), thread);
        let space = self.space_named(name)?;
        let held = locked.table.find(hash.tag(), space, key).is_some();
        (!held).then(|| LoadStamp(below.departures(hash.shard())))
    }

    /// Puts in what a load found. False where the key may have changed since the load began, so that
    /// it must be done again.
    pub fn finish_load(
        &self,
        (hash, name, key): (KeyHash, u32, &[u8]),
        stamp: LoadStamp,
        loaded: Loaded,
        access: &AccessPolicy,
        thread: ThreadSlot,
    ) -> bool {
        let Some(below) = &self.below else {
            return true;
        };
        let _inside = self.gate.enter(thread);
        let mut locked = self.lock_shard(hash.shard(), thread);
        let Some(space) = self.space_named(name) else {
            // The database was emptied meanwhile.
            return true;
        };
        if locked.table.find(hash.tag(), space, key).is_some() {
            // Whoever put it there knows better.
            return true;
        }
        if below.departures(hash.shard()) != stamp.0 {
            return false;
        }
        let counters = self.counters(thread);
        match loaded {
            Loaded::Nothing => {
                self.load(&mut locked, hash, Entry::tombstone(space, key), access);
                counters.load_misses.add(1);
                self.tell_of_cold_end(hash.shard(), space, key);
            }
            Loaded::Expired(expired_at) => {
                let at = self.load(&mut locked, hash, Entry::tombstone(space, key), access);
                counters.load_misses.add(1);
                // It must not be found there again.
                if below.tally(space).warmed(expired_at) {
                    self.count_key(counters, space, expired_at, -1);
                    counters.expired.add(1);
                }
                let mut entry = locked.table.get_mut(at);
                let bits = entry.view().policy_bits() & !CLEAN;
                entry.set_policy_bits(bits);
                below.queue(entry, Place::new(hash.shard(), hash.tag()), thread);
                self.tell_of_cold_end(hash.shard(), space, key);
            }
            Loaded::Value(mut entry) => {
                let expires_at = entry.view().expires_at();
                entry.view_mut().set_space(space);
                let at = self.load(&mut locked, hash, entry, access);
                counters.promoted.add(1);
                if !below.tally(space).warmed(expires_at) {
                    self.count_key(counters, space, expires_at, 1);
                }
                let entry = locked.table.get_mut(at);
                if entry.view().is_memory_only() {
                    let place = Place::new(hash.shard(), hash.tag());
                    below.changed_policy(entry, place, hash, thread);
                }
            }
        }
        true
    }

    /// Puts in what the tier below has not got of a key: its newest value, or that it is gone. For the start.
    pub fn recall(
        &self,
        (hash, name, key): (KeyHash, u32, &[u8]),
        value: Option<Entry>,
        access: &AccessPolicy,
        thread: ThreadSlot,
    ) {
        let mut locked = self.lock_shard(hash.shard(), thread);
        let (Some(below), Some(space)) = (&self.below, self.space_named(name)) else {
            return;
        };
        let mut entry = value.unwrap_or_else(|| Entry::tombstone(space, key));
        entry.view_mut().set_space(space);
        let expires_at = entry.view().expires_at();
        let is_key = !entry.view().is_tombstone();
        let at = self.load(&mut locked, hash, entry, access);
        if is_key {
            self.count_key(self.counters(thread), space, expires_at, 1);
        }
        let place = Place::of(hash);
        let is_unsure = below.may_hold(hash);
        let mut entry = locked.table.get_mut(at);
        let unverified = if is_unsure { UNVERIFIED } else { 0 };
        let bits = entry.view().policy_bits() & !CLEAN | unverified;
        entry.set_policy_bits(bits);
        below.queue(entry, place, thread);
        if is_unsure {
            below.changed[thread.0].lock().unverified.push(place);
        }
    }

    /// What memory has of a key that has a copy below.
    pub fn in_memory(&self, hash: KeyHash, name: u32, key: &[u8], thread: ThreadSlot) -> InMemory {
        let locked = self.lock_shard(hash.shard(), thread);
        // Of a database that was emptied there is nothing to keep.
        let Some(space) = self.space_named(name) else {
            return InMemory::Apart;
        };
        let found = locked.table.find(hash.tag(), space, key);
        found.map_or(InMemory::Nothing, |at| InMemory::of(locked.table.get(at)))
    }

    /// The newest copy below of a key is about to go. Where it is of the version that memory holds, that is written `again`, or
    /// is in memory alone from now on, until it changes or must leave.
    pub fn keep_copy(
        &self,
        (hash, name, key): (KeyHash, u32, &[u8]),
        again: bool,
        thread: ThreadSlot,
    ) -> InMemory {
        let mut locked = self.lock_shard(hash.shard(), thread);
        let (Some(below), Some(space)) = (&self.below, self.space_named(name)) else {
            return InMemory::Apart;
        };
        let Some(at) = locked.table.find(hash.tag(), space, key) else {
            return InMemory::Nothing;
        };
        let mut entry = locked.table.get_mut(at);
        let found = InMemory::of(entry.view());
        if found == InMemory::Copied {
            let bits = entry.view().policy_bits();
            entry.set_policy_bits(bits & !CLEAN);
            if again {
                below.queue(entry, Place::of(hash), thread);
            }
        }
        found
    }

    /// The newest copy below of a key that memory did not hold is out of sight for good. True where the key is gone with it:
    /// it was not written since.
    pub fn lose_copy(
        &self,
        (hash, name, key): (KeyHash, u32, &[u8]),
        expires_at: Option<UnixMs>,
        thread: ThreadSlot,
    ) -> bool {
        let Some(below) = &self.below else {
            return false;
        };
        // Who is alone with the keyspace asks for watched keys whether they are there.
        let _inside = self.gate.enter(thread);
        let mut locked = self.lock_shard(hash.shard(), thread);
        let Some(space) = self.space_named(name) else {
            return false;
        };
        below.tally(space).lost(expires_at);
        let Some(at) = locked.table.find(hash.tag(), space, key) else {
            self.tell_of_cold_end(hash.shard(), space, key);
            return true;
        };
        let mut entry = locked.table.get_mut(at);
        // It was the version that nobody has looked for yet.
        let bits = entry.view().policy_bits() & !UNVERIFIED;
        entry.set_policy_bits(bits);
        entry.view().is_tombstone()
    }

    /// Copies below have gone and nobody knows whose: what memory holds is written again.
    pub fn unverify_copies(&self, thread: ThreadSlot) {
        let Some(below) = &self.below else { return };
        for shard in 0..SHARDS {
            let mut locked = self.lock_shard(shard, thread);
            below.departed(shard);
            for bucket in 0..locked.table.bucket_count() {
                for at in locked.table.positions(bucket) {
                    let place = Place::new(shard, locked.table.tag(at));
                    let mut entry = locked.table.get_mut(at);
                    if has_copy(entry.view()) {
                        let bits = entry.view().policy_bits();
                        entry.set_policy_bits(bits & !CLEAN);
                        below.queue(entry, place, thread);
                    }
                }
            }
        }
        self.tell_of_unknown_ends();
    }
}
