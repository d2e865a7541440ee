//! A connection's own state, which only its task touches.

use std::collections::HashSet;
use std::sync::Arc;

use super::clients::Client;
use super::delivery::Delivery;
use super::waiters::Waiter;
use crate::clock::UnixMs;
use crate::config::Config;
use crate::engine::overdraft::Rounds;
use crate::keyspace::KeyHash;
use crate::keyspace::below::{Ask, Page};
use crate::tier::Met;

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

/// A command that answers later, and meanwhile keeps the commands behind it waiting: WAIT, DEBUG SLEEP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// When it came.
    pub since: UnixMs,
    /// When it answers.
    pub until: UnixMs,
    /// Whether the time counts as the command's own, as if it had worked all the while.
    pub counted: bool,
}

/// What a command asks others for.
#[derive(Debug)]
pub enum Asked {
    /// An answer of the tier below.
    Below(Ask),
    /// That keys be sent to another server.
    Delivery(Box<Delivery>),
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
    /// Its command that answers later. While it is set and its time has not come, the command is
    /// not done: it stays in the buffer and runs again.
    pub wait: Option<Wait>,
    /// Its command that waits for keys. While it is set the command is not done: it stays in the buffer.
    pub waiter: Option<Arc<Waiter>>,
    /// Keys that its command needs besides those that it names: known only when it has run once.
    pub further_keys: HashSet<Box<[u8]>>,
    /// Whether it is to run again with those.
    pub runs_again: bool,
    /// What its command waits for: it runs again then.
    pub asked: Option<Asked>,
    /// The answer.
    pub answer: Option<Page>,
    /// What became of the keys that it had sent away.
    pub delivered: Option<Box<Delivery>>,
    /// Keys that the tier below could not read, for the command that waits for them.
    pub unreadable: Vec<KeyHash>,
    /// How often it has waited.
    pub rounds: Rounds,
    /// Since when its command waits for room in memory.
    pub short_since: Option<UnixMs>,
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
            wait: None,
            waiter: None,
            further_keys: HashSet::new(),
            runs_again: false,
            asked: None,
            answer: None,
            delivered: None,
            unreadable: Vec::new(),
            rounds: Rounds::default(),
            short_since: None,
        }
    }

    /// Whether it may run commands: it is authenticated, or the password was taken away since.
    #[inline]
    pub fn may_run(&self, config: &Config) -> bool {
        self.authenticated || config.requirepass.is_empty()
    }

    /// Takes what was waited for. Its command looks again.
    pub fn meet(&mut self, met: Met) {
        match met {
            Met::Keys(unreadable) => self.unreadable = unreadable,
            // The command looks for itself.
            Met::Written(_) => {}
            Met::Answer(page) => self.answer = Some(page),
        }
    }

    /// For a command that answers later: whether its time has come. The first call starts the wait.
    pub fn has_waited(&mut self, now: UnixMs, ms: i64, counted: bool) -> bool {
        let wait = self.wait.get_or_insert(Wait {
            since: now,
            until: UnixMs(now.0.saturating_add(ms)),
            counted,
        });
        wait.until <= now
    }
}
