//! The threads of a store that work in the background.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use parking_lot::Mutex;

use super::StoreError;
use crate::threads::{self, Part};

/// The work under way.
#[derive(Default)]
pub(super) struct Background {
    stop: Arc<AtomicBool>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Background {
    /// Asks all work to end and waits for it: it holds the database's files.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.lock().drain(..) {
            // A panic has told of itself.
            let _ = thread.join();
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
        let mut running = self.threads.lock();
        running.retain(|thread| !thread.is_finished());
        running.push(threads::spawn(name, Part::TierBackground, work)?);
        Ok(())
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// What says whether work is to end, for those who cannot ask here.
    pub(super) fn stop_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }
}
