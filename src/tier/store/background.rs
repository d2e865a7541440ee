//! The threads of a store that work in the background.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use parking_lot::Mutex;

use super::StoreError;

/// The work under way.
#[derive(Default)]
pub(super) struct Background {
    stop: AtomicBool,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Background {
    /// Asks all work to end and waits for it: it holds the database's files.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("a background thread of the disk tier panicked");
            }
        }
        self.stop.store(false, Ordering::Relaxed);
    }

    /// Starts a thread of this name.
    ///
    /// # Errors
    /// The system has no room for one.
    pub(super) fn start(
        &self,
        name: &str,
        work: impl FnOnce() + Send + 'static,
    ) -> Result<(), StoreError> {
        let mut threads = self.threads.lock();
        threads.retain(|thread| !thread.is_finished());
        let thread = std::thread::Builder::new().name(name.to_owned());
        threads.push(thread.spawn(work)?);
        Ok(())
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
