//! Where a key is: in memory, below, in both; and keeping it there.

use super::{Found, Keys};
use crate::keyspace::KeyHash;
use crate::keyspace::Locked;
use crate::keyspace::eviction::{Eviction, Unwritten};
use crate::keyspace::residency::{self, Place, Presence, Written};

/// What became of a wish to pin a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pinned {
    /// It is pinned.
    Done,
    /// There is no such key.
    NoKey,
    /// Pinned keys would take too much.
    TooMuch,
}

impl Keys<'_> {
    /// Whether the tier below may have a copy of a key, of whatever version.
    pub fn may_be_below(&self, key: &[u8]) -> bool {
        let below = self.keyspace.below.as_ref();
        below.is_some_and(|below| below.may_hold(self.keyspace.hash(key)))
    }

    /// What memory knows of a key, wherever else it is. Neither an access nor counted.
    pub fn presence(&mut self, key: &[u8]) -> Presence {
        // One whose time has come goes first.
        if self.find(key).is_some() {
            return Presence::Present;
        }
        let Some((lock, tag, _)) = self.locate(key) else {
            return Presence::Absent;
        };
        let marked = self.locked[lock].table.find(tag, self.space, key);
        if marked.is_some() || !self.may_be_below(key) {
            Presence::Absent
        } else {
            Presence::Unknown
        }
    }

    /// How a key in memory stands to its copy below; `None` where it is to have none.
    pub fn written(&mut self, key: &[u8]) -> Option<Written> {
        let entry = self.peek(key);
        entry.filter(|e| !e.is_memory_only()).map(Written::of)
    }

    /// Has a key in memory written below where its copy there is not the same and it may go there.
    /// False where nothing is to be waited for.
    pub fn write_below(&mut self, key: &[u8]) -> bool {
        let Some(found) = self.find(key) else {
            return false;
        };
        let Locked { shard, table, .. } = &mut self.locked[found.lock];
        let written = Written::of(table.get(found.at));
        let Some(below) = &self.keyspace.below else {
            return false;
        };
        let entry = table.get(found.at);
        let stays =
            key.len() > residency::KEY_BYTES_MAX || entry.is_pinned() || entry.is_memory_only();
        if written == Written::Clean || stays {
            return false;
        }
        let place = Place::new(*shard, table.tag(found.at));
        below.queue_victim(table.get_mut(found.at), place, self.terms.thread);
        true
    }

    /// Keeps a key in memory as long as it exists. Pinned keys take `bytes_max` together at most.
    pub fn pin(&mut self, key: &[u8], bytes_max: u64) -> Pinned {
        let Some(found) = self.find_value(key) else {
            return Pinned::NoKey;
        };
        let entry = self.table(found).get(found.at);
        let (_, bytes) = self.keyspace.pinned();
        if !entry.is_pinned() && (bytes + entry.allocated_bytes()) as u64 > bytes_max {
            return Pinned::TooMuch;
        }
        if !self.set_pin(found, true) {
            // The copy below says it too.
            self.wrote(found);
        }
        Pinned::Done
    }

    /// Ends that. False where the key was not pinned.
    pub fn unpin(&mut self, key: &[u8]) -> bool {
        let Some(found) = self.find(key) else {
            return false;
        };
        let was_pinned = self.set_pin(found, false);
        if was_pinned {
            self.wrote(found);
        }
        was_pinned
    }

    /// Gives whether a client had pinned the entry before.
    fn set_pin(&mut self, found: Found, pinned: bool) -> bool {
        let locked = &mut self.locked[found.lock];
        self.keyspace.set_pin(locked, found.at, pinned)
    }

    /// Takes a key out of memory whose copy below is the same. False where there is none such, or it is
    /// pinned or for memory only.
    pub fn demote(&mut self, key: &[u8]) -> bool {
        if !self.keyspace.has_below() || key.len() > residency::KEY_BYTES_MAX {
            return false;
        }
        let found = self.find(key);
        found.is_some_and(|Found { lock, at }| {
            let entry = self.locked[lock].table.get(at);
            !entry.is_memory_only()
                && Written::of(entry) == Written::Clean
                && self
                    .keyspace
                    .evict_at(&mut self.locked[lock], at, Unwritten::Stays)
                    == Eviction::Gone
        })
    }

    /// Whether memory can answer for a key: it holds it, or the key is nowhere.
    #[inline]
    pub fn is_resident(&self, key: &[u8]) -> bool {
        self.is_resident_in(self.db, key)
    }

    /// The same for a key with this hash.
    #[inline]
    pub fn is_resident_as(&self, hash: KeyHash, key: &[u8]) -> bool {
        self.is_there(self.db, hash, key)
    }

    /// The same for a key of another database.
    #[inline]
    pub fn is_resident_in(&self, db: usize, key: &[u8]) -> bool {
        let hash = match self.only {
            Some((only, hash)) if std::ptr::eq(only, key) => hash,
            _ => self.keyspace.hash(key),
        };
        self.is_there(db, hash, key)
    }

    #[inline]
    fn is_there(&self, db: usize, hash: KeyHash, key: &[u8]) -> bool {
        let Some(below) = &self.keyspace.below else {
            return true;
        };
        // One whose shard is not locked is none of the command's.
        let Some(lock) = self.locked.lock_of(hash.shard()) else {
            return true;
        };
        let (table, space) = (&self.locked[lock].table, self.keyspace.space_of(db));
        let held = table.find(hash.tag(), space, key).is_some();
        held || !below.may_hold(hash)
    }
}
