//! A connection's own state, which only its task touches.

use std::sync::Arc;

use super::clients::Client;
use crate::config::Config;

/// Which replies a client wants: CLIENT REPLY.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplyMode {
    /// All.
    #[default]
    On,
    /// None, until it is switched on.
    Off,
    /// Not the one of the next command.
    SkipNext,
    /// Not the one of this command.
    Skip,
}

/// What the connection does after a command's reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Then {
    /// It goes on.
    #[default]
    GoOn,
    /// It closes when the replies are sent.
    Close,
}

/// A connection's own state.
#[derive(Debug)]
pub struct Session {
    /// What others may see of it.
    pub client: Arc<Client>,
    /// The selected database.
    pub db: usize,
    /// Whether it gave the password, or needed none when it came.
    pub authenticated: bool,
    /// Which replies it wants.
    pub reply_mode: ReplyMode,
    /// CLIENT NO-TOUCH.
    pub no_touch: bool,
    /// What follows this command.
    pub then: Then,
}

impl Session {
    /// The state of a new connection.
    pub fn new(client: Arc<Client>, authenticated: bool) -> Self {
        Self {
            client,
            db: 0,
            authenticated,
            reply_mode: ReplyMode::On,
            no_touch: false,
            then: Then::GoOn,
        }
    }

    /// Whether it may run commands: it is authenticated, or the password was taken away since.
    #[inline]
    pub fn may_run(&self, config: &Config) -> bool {
        self.authenticated || config.requirepass.is_empty()
    }
}
