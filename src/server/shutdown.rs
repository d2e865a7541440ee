//! The server's stop: asked for once by a signal or SHUTDOWN, heard by every connection.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Whether the server stops.
#[derive(Debug, Default)]
pub struct Shutdown {
    asked_at: OnceLock<Instant>,
    wake: tokio::sync::Notify,
}

impl Shutdown {
    /// Asks all connections to finish what they have begun, and the server to exit.
    pub fn ask(&self) {
        self.asked_at.get_or_init(Instant::now);
        self.wake.notify_waiters();
    }

    /// Whether the server was asked to stop.
    #[inline]
    pub fn is_asked(&self) -> bool {
        self.asked_at.get().is_some()
    }

    /// For how long the server has been stopping.
    pub fn asked_for(&self) -> Option<Duration> {
        self.asked_at.get().map(Instant::elapsed)
    }

    /// Completes when the server was asked to stop.
    pub async fn asked(&self) {
        let mut notified = std::pin::pin!(self.wake.notified());
        notified.as_mut().enable();
        if !self.is_asked() {
            notified.await;
        }
    }
}
