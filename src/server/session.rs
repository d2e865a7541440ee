//! A connection's own state, which only its task touches.

use std::sync::Arc;

use super::clients::Client;
use super::pubsub::subscriptions::Subscriptions;
use super::suspended::{Came, Suspend, Suspended};
use super::transaction::{Transaction, Watch};
use super::waiters::Waiter;
use crate::clock::UnixMs;
use crate::config::Config;
use crate::engine::pacing::Share;
use crate::resp::{Protocol, Reply};

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
    /// It serves no more, and closes when the process ends: who has asked for that learns of it so.
    End,
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
    /// The commands behind MULTI.
    pub transaction: Option<Box<Transaction>>,
    /// The keys that it watches.
    pub watch: Option<Box<Watch>>,
    /// What it listens to.
    pub subscriptions: Option<Box<Subscriptions>>,
    /// Its commands run as one unit: none of them waits for others.
    pub is_in_unit: bool,
    /// How many of its requests are done, which is the number of the next one.
    pub requests: u64,
    /// Its part of what the tier below takes.
    pub share: Share,
    /// Its command that waits, with all that belongs to it. Such a command is not done: it stays in the buffer.
    pub suspended: Option<Box<Suspended>>,
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
            transaction: None,
            watch: None,
            subscriptions: None,
            is_in_unit: false,
            requests: 0,
            share: Share::default(),
            suspended: None,
        }
    }

    /// Whether it may run commands: it is authenticated, or the password was taken away since.
    #[inline]
    pub fn may_run(&self, config: &Config) -> bool {
        self.authenticated || config.requirepass.is_empty()
    }

    /// The present command's own place for what it has while it waits.
    pub fn suspended(&mut self, now: UnixMs) -> &mut Suspended {
        let request = self.requests;
        self.suspended
            .get_or_insert_with(|| Box::new(Suspended::new(request, now)))
    }

    /// The present command waits.
    pub fn suspend(&mut self, needed: Suspend, now: UnixMs) {
        self.suspended(now).need(needed);
    }

    /// What its command waits for, to be waited for, and the number of its request.
    pub fn take_needed(&mut self) -> Option<(u64, Suspend)> {
        let suspended = self.suspended.as_mut()?;
        Some((suspended.request(), suspended.take_needed()?))
    }

    /// What a request waited for is there. It is dropped where another one is the next.
    pub fn resume(&mut self, request: u64, came: Came) {
        let suspended = self.suspended.as_mut();
        if let Some(waits) = suspended.filter(|waits| waits.request() == request) {
            waits.has_come(came);
        }
    }

    /// What its command waits for in the queues of keys.
    #[inline]
    pub fn waiter(&self) -> Option<Arc<Waiter>> {
        let queued = self.suspended.as_ref()?.queued.as_ref()?;
        Some(Arc::clone(queued.waiter()))
    }

    /// Whether it may send only what has to do with its subscriptions: in RESP2 replies could not be told from messages.
    pub fn is_confined(&self, protocol: Protocol) -> bool {
        let subscriptions = self.subscriptions.as_deref();
        protocol == Protocol::Resp2 && subscriptions.is_some_and(|all| !all.is_empty())
    }

    /// Writes what has been published for it behind the replies. Whether that is anything.
    pub fn read_messages(&mut self, reply: &mut Reply) -> bool {
        let Some(subscriptions) = &self.subscriptions else {
            return false;
        };
        subscriptions.hand_out();
        let has_read = subscriptions.read(reply);
        self.subscriptions.take_if(|all| all.is_empty());
        has_read
    }

    /// What the commands behind MULTI, watched keys and subscriptions take in memory.
    pub fn queued_bytes(&self) -> usize {
        let transaction = self.transaction.as_ref();
        let watch = self.watch.as_ref();
        transaction.map_or(0, |transaction| transaction.memory_bytes())
            + watch.map_or(0, |watch| watch.memory_bytes())
            + self
                .subscriptions
                .as_ref()
                .map_or(0, |all| all.memory_bytes())
    }

    /// Whether there is any of these.
    #[inline]
    pub fn has_queued(&self) -> bool {
        self.transaction.is_some() || self.watch.is_some() || self.subscriptions.is_some()
    }

    /// Nothing is queued and nothing watched any more.
    pub fn end_transaction(&mut self) {
        self.transaction = None;
        self.watch = None;
    }

    /// Lends itself to a job that another thread does. What waits stays here, and nobody is to run its commands until it is back.
    #[must_use]
    pub fn lend(&mut self) -> Self {
        let stand_in = Self::new(Arc::clone(&self.client), self.authenticated);
        let mut lent = std::mem::replace(self, stand_in);
        self.exchange_waiting(&mut lent);
        self.requests = lent.requests;
        lent
    }

    /// What was lent is back.
    pub fn take_back(&mut self, mut lent: Self) {
        self.exchange_waiting(&mut lent);
        *self = lent;
    }

    fn exchange_waiting(&mut self, other: &mut Self) {
        std::mem::swap(&mut self.suspended, &mut other.suspended);
        std::mem::swap(&mut self.share, &mut other.share);
    }

    /// A request is done, and with it all that it had while it waited.
    #[inline]
    pub fn end_request(&mut self) {
        self.requests += 1;
        if self.suspended.is_some() {
            self.suspended = None;
        }
    }
}
