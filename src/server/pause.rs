//! CLIENT PAUSE and DEBUG SLEEP: commands are held back until a time, or until CLIENT UNPAUSE.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};

use crate::clock::UnixMs;

/// Which commands are held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PauseMode {
    /// Those that write.
    Writes = 1,
    /// All.
    All = 2,
}

/// Whether commands are held back, and until when.
#[derive(Debug, Default)]
pub struct Pause {
    until_ms: AtomicI64,
    asleep_until_ms: AtomicI64,
    mode: AtomicU8,
    /// Wakes connections that wait.
    ended: Arc<tokio::sync::Notify>,
}

impl Pause {
    /// Holds commands back. A pause in force is never shortened or weakened.
    pub fn start(&self, until: UnixMs, mode: PauseMode, now: UnixMs) {
        let in_force = self.until_ms.load(Ordering::Acquire) > now.0;
        let before = if in_force {
            self.mode.load(Ordering::Acquire)
        } else {
            0
        };
        self.mode.store(before.max(mode as u8), Ordering::Release);
        if in_force {
            self.until_ms.fetch_max(until.0, Ordering::AcqRel);
        } else {
            self.until_ms.store(until.0, Ordering::Release);
        }
    }

    /// Ends the pause.
    pub fn end(&self) {
        self.until_ms.store(0, Ordering::Release);
        self.ended.notify_waiters();
    }

    /// Holds every command back until a time, whatever it is, as if the server slept. CLIENT UNPAUSE
    /// does not end it.
    pub fn sleep(&self, until: UnixMs) {
        self.asleep_until_ms.fetch_max(until.0, Ordering::AcqRel);
    }

    /// Until when the server sleeps, if it does.
    #[inline]
    pub fn asleep(&self, now: UnixMs) -> Option<UnixMs> {
        let until = self.asleep_until_ms.load(Ordering::Relaxed);
        (until > now.0).then_some(UnixMs(until))
    }

    /// Until when a command has to wait, if it has to.
    #[inline]
    pub fn holds(&self, writes: bool, now: UnixMs) -> Option<UnixMs> {
        let until = self.until_ms.load(Ordering::Relaxed);
        if until <= now.0 {
            return None;
        }
        let all = self.mode.load(Ordering::Acquire) == PauseMode::All as u8;
        (all || writes).then_some(UnixMs(until))
    }

    /// Completes when the pause is ended before its time: at once, if it is already.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        let ended = Arc::clone(&self.ended).notified_owned();
        let is_over = self.until_ms.load(Ordering::Acquire) == 0;
        async move {
            if !is_over {
                ended.await;
            }
        }
    }
}
