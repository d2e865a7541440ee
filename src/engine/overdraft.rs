//! Room for a command whose keys do not fit into memory together with what else is there.
//!
//! The keys that a command waits for are loaded side by side, and where memory is small they push each other out: the
//! command would wait for ever. After a few rounds it may let memory exceed its limit until it has run. One command at a
//! time may, and by so much; one whose keys do not fit even then is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The least that memory may exceed its limit by, and the share of it.
const BYTES_MIN: u64 = 64 * 1024 * 1024;
const SHARE: u64 = 8;

/// From this round on only the command's own keys are loaded, not those of the requests behind it.
const OWN_KEYS_ROUND: u32 = 2;
/// From this one on memory may exceed its limit.
const OVERDRAFT_ROUND: u32 = 4;
/// After so many rounds with more room the command is refused.
const OVERDRAWN_ROUNDS: u32 = 16;

/// Whether somebody exceeds the limit.
#[derive(Debug, Default)]
pub struct Overdraft(Arc<AtomicBool>);

impl Overdraft {
    /// Whether a command may exceed the limit now.
    #[inline]
    pub fn is_taken(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// `maxmemory` as it is meant now; 0 is no limit.
    pub fn extend(&self, maxmemory: u64) -> u64 {
        if maxmemory == 0 || !self.is_taken() {
            return maxmemory;
        }
        maxmemory.saturating_add(BYTES_MIN.max(maxmemory / SHARE))
    }

    fn take(&self) -> Option<Taken> {
        let taken = !self.0.swap(true, Ordering::Relaxed);
        taken.then(|| Taken(Arc::clone(&self.0)))
    }
}

/// Held by the one that exceeds the limit.
#[derive(Debug)]
struct Taken(Arc<AtomicBool>);

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// How long a command has waited for its keys.
#[derive(Debug, Default)]
pub struct Rounds {
    count: u32,
    overdrawn: u32,
    taken: Option<Taken>,
}

impl Rounds {
    /// The command waits for its keys once more.
    pub fn begin(&mut self, overdraft: &Overdraft) {
        self.count = self.count.saturating_add(1);
        if self.count >= OVERDRAFT_ROUND && self.taken.is_none() {
            self.taken = overdraft.take();
        }
        self.overdrawn += u32::from(self.taken.is_some());
    }

    /// Whether the keys of other requests are to wait.
    pub fn own_keys_only(&self) -> bool {
        self.count >= OWN_KEYS_ROUND
    }

    /// Whether the command is to be refused.
    pub fn are_too_many(&self) -> bool {
        self.overdrawn > OVERDRAWN_ROUNDS
    }

    /// The command is done with.
    #[inline]
    pub fn end(&mut self) {
        if self.count != 0 {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_command_at_a_time_exceeds_the_limit() {
        let overdraft = Overdraft::default();
        let (mut first, mut second) = (Rounds::default(), Rounds::default());
        for _ in 0..OVERDRAFT_ROUND {
            assert_eq!(overdraft.extend(1000), 1000);
            first.begin(&overdraft);
        }
        assert_eq!(overdraft.extend(1000), 1000 + BYTES_MIN);
        assert_eq!(overdraft.extend(BYTES_MIN * 16), BYTES_MIN * 18);
        assert_eq!(overdraft.extend(0), 0);
        for _ in 0..100 {
            second.begin(&overdraft);
        }
        assert!(!second.are_too_many());
        first.end();
        assert!(!overdraft.is_taken());
        for _ in 0..=OVERDRAWN_ROUNDS {
            second.begin(&overdraft);
        }
        assert!(second.are_too_many());
        drop(second);
        assert!(!overdraft.is_taken());
    }
}
