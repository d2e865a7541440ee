//! What the writer takes of the keyspace, and reports as safe.

use std::ops::{ControlFlow, Range};
use std::sync::atomic::Ordering;

use super::{
    CLEAN, KEY_BYTES_MAX, Picked, PickedLarge, Place, QUEUED, Residency, TakenPart, UNVERIFIED,
    Versions, WRITING, stored,
};
use crate::keyspace::door::Cause;
use crate::keyspace::table::Position;
use crate::keyspace::{KeyHash, Keyspace, Locked, SHARDS, ThreadSlot};
use crate::value::large::FrozenBytes;

/// A smaller collection is copied at once, and all of it.
const LARGE_FROM_BYTES: usize = 64 * 1024;

/// How much of a large collection is taken at once.
enum Much<'a> {
    /// What has changed, where that is known; otherwise nothing, and it is to be copied in steps.
    Changes(&'a mut Versions),
    /// Nothing, it is to be copied in steps.
    Nothing(&'a mut Versions),
    /// All of it.
    All,
}

/// Takes what has changed of a value, or begins a copy in steps, if it is a large collection.
fn take_large<'a>(
    locked: &mut Locked<'_>,
    at: Position,
    much: Much<'_>,
    below: &Residency,
    changes: &'a mut Vec<u8>,
) -> Option<PickedLarge<'a>> {
    let large = locked.table.get(at).large()?;
    if large.heap_bytes() < LARGE_FROM_BYTES || locked.table.get(at).is_memory_only() {
        return None;
    }
    let (since, in_steps, versions) = match much {
        Much::Changes(versions) => (large.changes(changes), true, versions),
        Much::Nothing(versions) => (None, false, versions),
        Much::All => return None,
    };
    let mut large = locked.table.take_large(at);
    let version = versions.another();
    let taken = match since {
        Some(since) => TakenPart::Changes {
            since,
            bytes: changes,
        },
        None => match in_steps.then(|| large.freeze_changes()).flatten() {
            Some((since, length)) => TakenPart::ChangesInSteps { since, length },
            None => {
                if large.view().is_followed() {
                    // Only what has changed was told of.
                    below.add_writing_bytes(large.view().heap_bytes());
                }
                TakenPart::All(large.freeze())
            }
        },
    };
    if versions.follow {
        large.follow(version);
    }
    locked.table.put_large(at, large);
    Some(PickedLarge { version, taken })
}

impl Keyspace {
    /// Takes the lists of changed entries: their places in ascending order, each once.
    pub fn take_changed(&self) -> Vec<Place> {
        let mut places = Vec::new();
        let Some(below) = &self.below else {
            return places;
        };
        let mut bytes = 0;
        for changed in &below.changed {
            let mut changed = changed.lock();
            places.append(&mut changed.places);
            bytes += std::mem::take(&mut changed.bytes);
            changed.unverified_taken = changed.unverified.len();
        }
        below.writing_bytes.fetch_add(bytes, Ordering::Relaxed);
        places.sort_unstable();
        places.dedup();
        places
    }

    /// Shows the writer the entries at some places of one shard, and takes them for being written. Gives how many of the
    /// places it is done with: it ends with the one where `show` has enough.
    pub fn pick(
        &self,
        places: &[Place],
        thread: ThreadSlot,
        versions: &mut Versions,
        mut show: impl FnMut(Picked<'_>) -> ControlFlow<()>,
    ) -> usize {
        let Some(first) = places.first() else {
            return 0;
        };
        let mut locked = self.lock_shard(first.shard(), thread);
        for (index, place) in places.iter().enumerate() {
            debug_assert_eq!(place.shard(), first.shard());
            let mut flow = ControlFlow::Continue(());
            for at in locked.table.positions_of(place.tag()) {
                let is_asked = locked.table.get(at).policy_bits() & (QUEUED | WRITING) != 0;
                if !is_asked {
                    continue;
                }
                let much = match versions.whole {
                    true => Much::Nothing(versions),
                    false => Much::Changes(versions),
                };
                if self.pick_at(&mut locked, at, much, &mut show).is_break() {
                    flow = ControlFlow::Break(());
                }
            }
            if flow.is_break() {
                return index + 1;
            }
        }
        places.len()
    }

    /// Shows the writer an entry that it has picked once more: as it is now, and all of it. With `versions` a large collection is
    /// to be copied in steps. Nothing is shown where the key's database was emptied.
    pub fn pick_again(
        &self,
        (hash, name, key): (KeyHash, u32, &[u8]),
        thread: ThreadSlot,
        versions: Option<&mut Versions>,
        mut show: impl FnMut(Picked<'_>) -> ControlFlow<()>,
    ) {
        let much = versions.map_or(Much::All, Much::Nothing);
        let mut locked = self.lock_shard(hash.shard(), thread);
        let space = self.space_named(name);
        if let Some(at) = space.and_then(|space| locked.table.find(hash.tag(), space, key)) {
            let _ = self.pick_at(&mut locked, at, much, &mut show);
        }
    }

    fn pick_at(
        &self,
        locked: &mut Locked<'_>,
        at: Position,
        much: Much<'_>,
        show: &mut impl FnMut(Picked<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let Some(below) = &self.below else {
            return ControlFlow::Continue(());
        };
        let mut changes = Vec::new();
        let large = take_large(locked, at, much, below, &mut changes);
        let entry = locked.table.get(at);
        let bits = entry.policy_bits();
        let mut scratch = Vec::new();
        let flow = if self.is_live(entry.space()) {
            show(Picked {
                place: Place::new(locked.shard, locked.table.tag(at)),
                hash: self.hash(entry.key()),
                name: below.name(entry.space()),
                key: entry.key(),
                value: (!entry.is_tombstone() && !entry.is_memory_only())
                    .then(|| stored(entry, large.is_some(), &mut scratch)),
                large,
                unverified: bits & UNVERIFIED != 0,
            })
        } else {
            ControlFlow::Continue(())
        };
        let taken = bits & !QUEUED | WRITING;
        locked.table.get_mut(at).set_policy_bits(taken);
        flow
    }

    /// Appends some elements more of a collection that was picked to be copied in steps, and tells whether there are others.
    /// `None` where the entry is not any more what was picked.
    pub fn copy_frozen(
        &self,
        (hash, name, key): (KeyHash, u32, &[u8]),
        thread: ThreadSlot,
        out: &mut FrozenBytes,
    ) -> Option<bool> {
        let mut locked = self.lock_shard(hash.shard(), thread);
        let space = self.space_named(name)?;
        let at = locked.table.find(hash.tag(), space, key)?;
        if !locked.table.get(at).is_large() {
            return None;
        }
        let mut large = locked.table.take_large(at);
        let more = large.encode_frozen(out);
        locked.table.put_large(at, large);
        more
    }

    /// Appends a part of a value that was picked. False where the entry is not any more what was picked.
    pub fn copy_part(
        &self,
        (hash, name, key): (KeyHash, u32, &[u8]),
        part: Range<usize>,
        thread: ThreadSlot,
        out: &mut Vec<u8>,
    ) -> bool {
        let locked = self.lock_shard(hash.shard(), thread);
        let space = self.space_named(name);
        let found = space.and_then(|space| locked.table.find(hash.tag(), space, key));
        let entry = found.map(|at| locked.table.get(at));
        let picked = entry.filter(|entry| entry.policy_bits() & (WRITING | QUEUED) == WRITING);
        let mut scratch = Vec::new();
        match picked.and_then(|entry| entry.plain(&mut scratch).get(part)) {
            Some(bytes) => {
                out.extend_from_slice(bytes);
                true
            }
            None => false,
        }
    }

    /// Before the last run: lists whatever is not safe below, which without [`Self::follow_writes`] is in
    /// no list as long as memory has room, and takes out what cannot go below.
    pub fn prepare_end(&self, thread: ThreadSlot) {
        let Some(below) = &self.below else { return };
        for shard in 0..SHARDS {
            let mut locked = self.lock_shard(shard, thread);
            for bucket in 0..locked.table.bucket_count() {
                for at in locked.table.positions(bucket) {
                    let entry = locked.table.get(at);
                    if !self.is_live(entry.space()) {
                        continue;
                    }
                    if entry.key().len() > KEY_BYTES_MAX {
                        self.leave(&mut locked, at, Cause::Evicted);
                    } else if entry.is_memory_only() {
                        self.take_away(&mut locked, at, Cause::Evicted);
                    } else if entry.policy_bits() & CLEAN == 0 {
                        let place = Place::new(shard, locked.table.tag(at));
                        below.queue(locked.table.get_mut(at), place, thread);
                    }
                }
            }
        }
    }

    /// The entries at these places are safe below, as far as they have not changed since.
    pub fn settle(&self, places: &[Place], thread: ThreadSlot) {
        if let (Some(below), false) = (&self.below, places.is_empty()) {
            below.settled.fetch_add(1, Ordering::Relaxed);
        }
        for changed in self.below.iter().flat_map(|below| &below.changed) {
            let mut changed = changed.lock();
            let looked_for = std::mem::take(&mut changed.unverified_taken);
            changed.unverified.drain(..looked_for);
        }
        self.each_with(WRITING, places, thread, |locked, at| {
            let bits = locked.table.get(at).policy_bits() & !WRITING;
            if locked.table.get(at).is_tombstone() && bits & QUEUED == 0 {
                self.forget(locked, at);
            } else {
                let clean = if bits & QUEUED == 0 { CLEAN } else { 0 };
                locked.table.get_mut(at).set_policy_bits(bits | clean);
            }
        });
    }

    /// The entries at these places could not be written, or not even picked; they wait again.
    pub fn unsettle(&self, places: &[Place], thread: ThreadSlot) {
        self.each_with(WRITING | QUEUED, places, thread, |locked, at| {
            let place = Place::new(locked.shard, locked.table.tag(at));
            let mut entry = locked.table.get_mut(at);
            let bits = entry.view().policy_bits() & !(WRITING | QUEUED);
            entry.set_policy_bits(bits);
            if let Some(below) = &self.below {
                below.queue_whole(entry, place, thread);
            }
        });
    }

    fn each_with(
        &self,
        state: u8,
        places: &[Place],
        thread: ThreadSlot,
        mut then: impl FnMut(&mut Locked<'_>, Position),
    ) {
        if let Some(below) = &self.below {
            below.writing_bytes.store(0, Ordering::Relaxed);
            below
                .unsafe_bytes
                .store(self.queued_bytes(), Ordering::Relaxed);
        }
        for group in places.chunk_by(|a, b| a.shard() == b.shard()) {
            let mut locked = self.lock_shard(group[0].shard(), thread);
            for place in group {
                for at in locked.table.positions_of(place.tag()) {
                    if locked.table.get(at).policy_bits() & state != 0 {
                        then(&mut locked, at);
                    }
                }
            }
            locked.table.shrink_if_sparse();
        }
    }
}
