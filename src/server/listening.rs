//! What the server listens on, while it runs: the network opens and closes it, and a command asks for that.

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::Server;
use crate::config::{Config, SetError};

/// The network, as far as CONFIG SET has to do with it.
pub trait Listens: Send + Sync {
    /// Opens what is to be listened on and is not yet, and then closes what is to be no more.
    ///
    /// # Errors
    /// Something cannot be opened: then all is as before. The reason is told.
    fn follow(&self, server: &Arc<Server>, config: &Config) -> Result<(), String>;
}

/// The network, once it listens.
#[derive(Default)]
pub struct Listening(OnceLock<Box<dyn Listens>>);

impl fmt::Debug for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listening").finish_non_exhaustive()
    }
}

impl Listening {
    /// The network listens from now on.
    pub fn begin(&self, network: Box<dyn Listens>) {
        // There is one.
        let _ = self.0.set(network);
    }

    /// Follows a change of `port` or `bind`, in the words of Redis where that fails.
    ///
    /// # Errors
    /// The option that cannot be followed. Then all is as before.
    pub fn change(
        &self,
        server: &Arc<Server>,
        before: &Config,
        changed: &Config,
    ) -> Result<(), SetError> {
        let is_new_port = before.port != changed.port;
        if !is_new_port && before.bind == changed.bind {
            return Ok(());
        }
        let Some(network) = self.0.get() else {
            return Ok(());
        };
        network.follow(server, changed).map_err(|reason| {
            tracing::warn!("CONFIG SET: {reason}");
            match is_new_port {
                true => {
                    SetError::refused("port", "Unable to listen on this port. Check server logs.")
                }
                false => SetError::refused("bind", "Failed to bind to specified addresses."),
            }
        })
    }
}
