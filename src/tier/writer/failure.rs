//! What the writer does where the disk takes nothing: it makes room if it may, remembers what it can, and has the store opened
//! anew when that helps.

use std::path::Path;
use std::sync::atomic::Ordering;

use super::Writer;
use super::sink::Sink;
use crate::config::TierDurability;
use crate::tier::marks::Marks;
use crate::tier::record;
use crate::tier::store::{self, Recovery, StoreError};

/// A store that the disk was too full for is opened anew when there is so much room.
const FREE_BYTES_MIN: u64 = 64 * 1024 * 1024;
/// Or this part of a small file system.
const FREE_PART: u64 = 8;

impl Writer<'_> {
    /// After a failure: does what helps, and remembers in the reserve what the disk does not take. True where it may be tried
    /// again at once.
    pub(super) fn recover(&mut self, stopped: bool) -> bool {
        if self.is_unwanted() && !self.is_emptied && self.empty() {
            self.is_emptied = true;
            return true;
        }
        self.revive();
        if self.engine.config.load().tier_durability == TierDurability::Everysec {
            self.write_marks();
        } else if !stopped || !self.is_logged() {
            let places = self.take_changed().sorted();
            let unsaved = &self.tier.unsaved;
            unsaved.store(places.len() as u64, Ordering::Relaxed);
            self.engine.keyspace.unsettle(&places, self.thread);
        }
        false
    }

    /// Whether the log of `always` has all that no run has, or takes it now.
    pub(super) fn is_logged(&mut self) -> bool {
        let is_always = self.engine.config.load().tier_durability == TierDurability::Always;
        let is_logged = is_always && self.log_changes().is_ok();
        if is_logged {
            self.tier.unsaved.store(0, Ordering::Relaxed);
        }
        is_logged
    }

    /// Whether nobody wants anything of what is on disk: all databases that were not emptied since the last run have no key.
    pub(super) fn is_unwanted(&self) -> bool {
        let is_counted = self.tier.is_counted.load(Ordering::Acquire);
        let keyspace = &self.engine.keyspace;
        let is_unwanted =
            || !keyspace.may_have_keys_named_before(self.spaces.next_name, is_counted);
        // The second look is the one that counts: a key that RENAME or MOVE has in its hands is in no count.
        is_unwanted() && {
            let _alone = keyspace.gate().close();
            is_unwanted()
        }
    }

    /// Removes all that is on disk, which needs no room there.
    pub(super) fn empty(&mut self) -> bool {
        let emptied = self
            .tier
            .disk
            .lock()
            .as_mut()
            .ok_or(StoreError::Closed)
            .and_then(store::Writer::empty);
        match emptied {
            Ok(()) => {
                tracing::warn!("All keys on the full disk were deleted: the disk tier begins anew");
                true
            }
            Err(error) => {
                tracing::error!("The disk tier could not be emptied: {error}");
                false
            }
        }
    }

    /// Remembers in the reserve what no run has, as far as there is room: at least which versions on disk are old.
    pub(super) fn write_marks(&mut self) {
        let mut taken = self.take_changed();
        let mut marks = Marks::new(self.tier.reserve.lock().half());
        let mut sink = Sink::Marks(&mut marks);
        let told = self.write_moment(&mut taken, &mut sink);
        let places = taken.sorted();
        let told = told.and_then(|mut spaces| {
            spaces.moment = self.spaces.moment;
            let key = record::spaces_key(self.tier.store.hash_seed());
            marks.put_first(&key, &spaces.encode());
            let mut reserve = self.tier.reserve.lock();
            reserve
                .write(spaces.moment, &marks)
                .map_err(StoreError::File)
        });
        let unsaved = match &told {
            Ok(()) => marks.unsaved(),
            Err(error) => {
                tracing::error!("The reserve of the disk tier does not take all changes: {error}");
                places.len() as u64
            }
        };
        self.tier.unsaved.store(unsaved, Ordering::Relaxed);
        self.tier.has_marks.store(told.is_ok(), Ordering::Relaxed);
        self.engine.keyspace.unsettle(&places, self.thread);
    }

    /// After the disk was full the store takes no more until it is opened anew, which helps only when
    /// there is room again.
    pub(super) fn revive(&self) {
        let tier = self.tier;
        let enough = FREE_BYTES_MIN.min(disk_bytes(&tier.dir) / FREE_PART);
        if !tier.store.is_poisoned() || free_bytes(&tier.dir) < enough {
            return;
        }
        let mut disk = tier.disk.lock();
        let quarantined = tier.store.stats().quarantined;
        match disk.as_mut().map(store::Writer::reopen) {
            Some(Ok(recovery)) => {
                tracing::warn!("There is room on the disk again, the disk tier goes on");
                let all_gone = matches!(recovery, Recovery::PutAside(_));
                if all_gone || tier.store.stats().quarantined > quarantined {
                    self.engine.keyspace.unverify_copies(self.thread);
                }
            }
            Some(Err(error)) => tracing::error!("The disk tier could not be opened anew: {error}"),
            None => {}
        }
    }
}

/// What the file system of a directory has left; nothing where it does not say.
fn free_bytes(dir: &Path) -> u64 {
    rustix::fs::statvfs(dir).map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// The size of that file system.
pub(in crate::tier) fn disk_bytes(dir: &Path) -> u64 {
    rustix::fs::statvfs(dir).map_or(0, |stat| stat.f_blocks.saturating_mul(stat.f_frsize))
}
