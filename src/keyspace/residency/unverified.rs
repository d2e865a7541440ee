//! Keys that were written without a look whether they are below, where they may be counted too.

use super::{LoadStamp, Place, Shadowed, UNVERIFIED, Unsure};
use crate::keyspace::{KeyHash, Keyspace, Locked, ThreadSlot};

impl Keyspace {
    /// Whether a key may be counted twice, since nobody has looked yet whether it was below when it was written.
    pub fn has_unsure(&self) -> bool {
        let mut lists = self.below.iter().flat_map(|below| &below.changed);
        lists.any(|changed| !changed.lock().unverified.is_empty())
    }

    /// Where such keys stand, or stood.
    pub fn unverified_places(&self) -> Vec<Place> {
        let lists = self.below.iter().flat_map(|below| &below.changed);
        let places = lists.flat_map(|changed| changed.lock().unverified.clone());
        places.collect()
    }

    /// Those at a place.
    pub fn unverified_at(&self, place: Place, thread: ThreadSlot) -> Vec<Unsure> {
        let Some(below) = &self.below else {
            return Vec::new();
        };
        let locked = self.lock_shard(place.shard(), thread);
        let entries = locked.table.positions_of(place.tag()).into_iter();
        let entries = entries.map(|at| locked.table.get(at));
        let unverified = entries
            .filter(|entry| entry.policy_bits() & UNVERIFIED != 0 && self.is_live(entry.space()));
        let unverified = unverified.map(|entry| Unsure {
            hash: self.hash(entry.key()),
            name: below.name(entry.space()),
            key: entry.key().into(),
            stamp: LoadStamp(below.departures(locked.shard)),
        });
        unverified.collect()
    }

    /// A reader has looked for an older version of a key below: it is counted no more. False where the key may have left
    /// memory since, so that it must be done again.
    pub fn looked_for(
        &self,
        unverified: &Unsure,
        older: Option<Shadowed>,
        thread: ThreadSlot,
    ) -> bool {
        let mut locked = self.lock_shard(unverified.hash.shard(), thread);
        let below = self.below.as_ref();
        let is_still =
            below.is_some_and(|below| below.departures(locked.shard) == unverified.stamp.0);
        if is_still {
            self.set_sure(
                &mut locked,
                (unverified.hash, unverified.name, &unverified.key),
                older,
            );
        }
        is_still
    }

    /// The same for the writer, besides which nothing changes what is below.
    pub fn writer_looked_for(
        &self,
        key: (KeyHash, u32, &[u8]),
        older: Option<Shadowed>,
        thread: ThreadSlot,
    ) {
        let mut locked = self.lock_shard(key.0.shard(), thread);
        self.set_sure(&mut locked, key, older);
    }

    fn set_sure(
        &self,
        locked: &mut Locked<'_>,
        (hash, name, key): (KeyHash, u32, &[u8]),
        older: Option<Shadowed>,
    ) {
        let (Some(below), Some(space)) = (&self.below, self.space_named(name)) else {
            return;
        };
        let Some(at) = locked.table.find(hash.tag(), space, key) else {
            return;
        };
        let mut entry = locked.table.get_mut(at);
        let bits = entry.view().policy_bits();
        if bits & UNVERIFIED != 0 {
            entry.set_policy_bits(bits & !UNVERIFIED);
            if let Some(Shadowed { expires_at }) = older {
                below.tally(space).lost(expires_at);
            }
        }
    }
}
