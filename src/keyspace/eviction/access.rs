//! How accesses are recorded in an entry, and what a record tells.

use super::{Admitted, FREQUENCY, SMALL};
use crate::clock::UnixMs;
use crate::config::EvictionPolicy;
use crate::keyspace::entry::{EntryMut, EntryRef};
use crate::keyspace::lfu::{self, LfuSettings};
use crate::random::Random;

/// How a key was accessed before it came here, as far as that is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct LastAccess {
    /// Seconds since the last access.
    pub idle_secs: Option<u64>,
    /// The logarithmic access counter.
    pub frequency: Option<u8>,
}

/// How accesses are recorded, fixed for a batch of commands.
#[derive(Clone, Copy, Debug)]
pub struct AccessPolicy {
    pub(super) policy: EvictionPolicy,
    lfu: LfuSettings,
    now: UnixMs,
    /// CLIENT NO-TOUCH: reads leave no trace.
    frozen: bool,
}

/// Bits that an LRU record has for its seconds.
pub(super) const LRU_MASK: u32 = (1 << 24) - 1;

impl AccessPolicy {
    /// The policy for commands at `now`.
    pub fn new(policy: EvictionPolicy, lfu: LfuSettings, now: UnixMs) -> Self {
        Self {
            policy,
            lfu,
            now,
            frozen: false,
        }
    }

    /// Whether reads leave no trace from now on.
    #[inline]
    pub fn freeze(&mut self, frozen: bool) {
        self.frozen = frozen;
    }

    fn lru_clock(&self) -> u32 {
        self.now.as_secs() as u32 & LRU_MASK
    }

    /// Records a change, where these are recorded instead of accesses.
    #[inline]
    pub(in crate::keyspace) fn record_change(&self, mut entry: EntryMut<'_>) {
        if self.policy.is_lrm() {
            entry.set_access(self.lru_clock());
        }
    }

    /// Records an access.
    #[inline]
    pub(in crate::keyspace) fn record(&self, mut entry: EntryMut<'_>, random: &mut Random) {
        if self.frozen {
            return;
        }
        if self.policy.is_lfu() {
            let record = entry.view().access();
            entry.set_access(lfu::accessed(
                record,
                self.now.as_minutes(),
                self.lfu,
                random.next_u64(),
            ));
            return;
        }
        if !self.policy.is_lrm() {
            entry.set_access(self.lru_clock());
        }
        let bits = entry.view().policy_bits();
        if bits & FREQUENCY < FREQUENCY {
            entry.set_policy_bits(bits + 1);
        }
    }

    /// Starts the record of a new key.
    /// `state` is how it stands to its copy below.
    pub(in crate::keyspace) fn first(
        &self,
        mut entry: EntryMut<'_>,
        admitted: Admitted,
        state: u8,
    ) {
        entry.set_access(if self.policy.is_lfu() {
            lfu::first(self.now.as_minutes())
        } else {
            self.lru_clock()
        });
        let bits = match admitted {
            Admitted::Small => SMALL,
            // It starts with one use.
            Admitted::Returned => 1,
            Admitted::Main => 0,
        };
        entry.set_policy_bits(state | bits);
    }

    /// Sets the record of a key as if it had been accessed like this; what the policy does not record is left out.
    pub(in crate::keyspace) fn set_last(&self, mut entry: EntryMut<'_>, last: LastAccess) {
        match (self.policy.is_lfu(), last.frequency, last.idle_secs) {
            (true, Some(frequency), _) => {
                entry.set_access(lfu::with_counter(self.now.as_minutes(), frequency));
            }
            (false, _, Some(idle)) => {
                let idle = idle.min(u64::from(LRU_MASK)) as u32;
                entry.set_access(self.lru_clock().wrapping_sub(idle) & LRU_MASK);
            }
            _ => {}
        }
    }

    /// Seconds since the last access, or the last change where that is recorded. `None` under an LFU policy, which does not know.
    pub fn idle_secs(&self, entry: EntryRef<'_>) -> Option<u32> {
        (!self.policy.is_lfu()).then(|| self.lru_clock().wrapping_sub(entry.access()) & LRU_MASK)
    }

    /// Whether the last access was so long ago. One that seems to lie in the future was a moment ago, at a time that is
    /// newer than ours.
    pub(in crate::keyspace) fn is_idle(&self, entry: EntryRef<'_>, secs: u32) -> bool {
        const FUTURE: u32 = LRU_MASK.div_ceil(2);
        let idle = self.idle_secs(entry);
        idle.is_some_and(|idle| idle >= secs && idle < FUTURE)
    }

    /// Whether an entry is in use no more: its last access was so long ago, or it has no more of them than a new key.
    pub(in crate::keyspace) fn has_cooled(&self, entry: EntryRef<'_>, secs: u32) -> bool {
        match self.frequency(entry) {
            Some(frequency) => frequency <= lfu::INITIAL,
            None => self.is_idle(entry, secs),
        }
    }

    /// The logarithmic access counter. `None` under any other than an LFU policy.
    pub fn frequency(&self, entry: EntryRef<'_>) -> Option<u8> {
        self.policy
            .is_lfu()
            .then(|| lfu::counter(entry.access(), self.now.as_minutes(), self.lfu))
    }
}
