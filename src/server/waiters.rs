//! Clients whose commands wait for keys, or for nothing but a time.
//!
//! A waiter is served by the thread that wrote to one of its keys, which hands over the finished reply. Whether it is still
//! there to be served is decided under its lock: no element is taken for one whose time was over.

use std::collections::HashSet;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use dashmap::DashMap;
use parking_lot::Mutex;

use super::Server;
use super::clients::Client;
use crate::clock::UnixMs;
use crate::command::Waits;
use crate::error::CommandError;
use crate::keyspace::queues::{Queues, Ready};
use crate::resp::{OwnedArgs, Protocol};

/// How a wait ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// With this reply.
    Served(Result<Vec<u8>, CommandError>),
    /// Nothing came in time.
    TimedOut,
    /// CLIENT UNBLOCK with ERROR.
    Unblocked,
    /// The command is to run again: it needs what only its own connection can wait for, or its keys are not what it waits for
    /// any more.
    Again,
}

/// How far a waiter is.
#[derive(Debug)]
enum State {
    /// It waits; this wakes its connection.
    Waits(Option<Waker>),
    Ended(End),
    /// Its client has been told how it ended.
    Concluded,
}

/// What a client waits for.
#[derive(Debug)]
pub struct Wanted {
    /// How it is served.
    pub waits: &'static Waits,
    /// Its request, as it runs again.
    pub request: OwnedArgs,
    /// The database of the keys.
    pub db: usize,
    /// The keys.
    pub keys: Vec<Box<[u8]>>,
    /// How long it waits; `None`: for ever.
    pub until: Option<UnixMs>,
    /// How it wants its reply.
    pub protocol: Protocol,
}

/// A client that waits.
#[derive(Debug)]
pub struct Waiter {
    /// Its place in the queues of the keys.
    pub ticket: u64,
    /// What it waits for.
    pub wanted: Wanted,
    /// The client.
    pub client: Arc<Client>,
    state: Mutex<State>,
}

impl Waiter {
    /// Serves it, unless its wait is over: `serve` says how it ended, or `None` if there was nothing for it. Gives whether its
    /// wait is over now.
    pub fn serve(&self, serve: impl FnOnce() -> Option<End>) -> bool {
        let mut state = self.state.lock();
        let State::Waits(waker) = &mut *state else {
            return true;
        };
        // It may be served, and its connection woken, by its own thread.
        let waker = waker.take();
        let Some(end) = serve() else {
            *state = State::Waits(waker);
            return false;
        };
        *state = State::Ended(end);
        drop(state);
        waker.into_iter().for_each(Waker::wake);
        true
    }

    /// Ends its wait. False if it was over.
    pub fn end(&self, how: End) -> bool {
        let mut waited = false;
        self.serve(|| {
            waited = true;
            Some(how)
        });
        waited
    }

    /// Whether its wait is over; otherwise its connection is woken when it is.
    pub fn poll_over(&self, cx: &Context<'_>) -> Poll<()> {
        match &mut *self.state.lock() {
            State::Waits(waker) => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
            State::Ended(_) | State::Concluded => Poll::Ready(()),
        }
    }

    /// Whether it has ended with something for its client.
    pub fn has_result(&self) -> bool {
        let state = &*self.state.lock();
        matches!(state, State::Ended(end) if !matches!(end, End::Again))
    }

    /// How it ended, once: nobody serves it from then on.
    pub fn conclude(&self) -> Option<End> {
        match std::mem::replace(&mut *self.state.lock(), State::Concluded) {
            State::Ended(end) => Some(end),
            State::Waits(_) | State::Concluded => None,
        }
    }

    fn key_slices(&self) -> impl Iterator<Item = &[u8]> {
        self.wanted.keys.iter().map(AsRef::as_ref)
    }
}

/// A client's place in the queues, which it leaves when this is dropped.
#[derive(Debug)]
pub struct Queued {
    waiter: Arc<Waiter>,
    server: Arc<Server>,
}

impl Queued {
    /// Has a client wait for keys, which the caller has locked. One that has waited before keeps its place, given by its
    /// ticket.
    pub fn join(server: &Arc<Server>, client: &Arc<Client>, wanted: Wanted, ticket: u64) -> Self {
        let waiter = Arc::new(Waiter {
            ticket,
            wanted,
            client: Arc::clone(client),
            state: Mutex::new(State::Waits(None)),
        });
        let by_ticket = &server.waiters.by_ticket;
        by_ticket.insert(waiter.ticket, Arc::clone(&waiter));
        let queues = server.engine.keyspace.queues();
        queues.join(waiter.wanted.db, waiter.key_slices(), waiter.ticket);
        Self {
            waiter,
            server: Arc::clone(server),
        }
    }

    /// The client that waits.
    pub fn waiter(&self) -> &Arc<Waiter> {
        &self.waiter
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        // So that nothing is taken for it any more.
        self.waiter.conclude();
        let waiter = &self.waiter;
        // One that waits again has the same ticket, and stays in its place.
        let is_same = |_: &u64, other: &Arc<Waiter>| Arc::ptr_eq(other, waiter);
        let by_ticket = &self.server.waiters.by_ticket;
        if by_ticket.remove_if(&waiter.ticket, is_same).is_some() {
            let queues = self.server.engine.keyspace.queues();
            queues.leave(waiter.wanted.db, waiter.key_slices(), waiter.ticket);
        }
    }
}

/// All who wait.
#[derive(Debug, Default)]
pub struct Waiters {
    by_ticket: DashMap<u64, Arc<Waiter>>,
}

impl Waiters {
    /// The one with a ticket.
    pub fn get(&self, ticket: u64) -> Option<Arc<Waiter>> {
        let waiter = self.by_ticket.get(&ticket)?;
        Some(Arc::clone(&waiter))
    }

    /// Has those look again who wait for keys that others than workers have written, or taken away.
    pub fn rouse(&self, queues: &Queues) {
        for Ready { db, key, is_gone } in queues.take_elsewhere() {
            let mut ticket = 0;
            while let Some(next) = queues.next(db, &key, ticket) {
                ticket = next;
                let waiter = self.get(ticket);
                let concerns = |w: &Arc<Waiter>| !is_gone || w.wanted.waits.needs_keys;
                if let Some(waiter) = waiter.filter(concerns) {
                    waiter.end(End::Again);
                }
            }
        }
    }

    /// Keys that somebody waits for who is to be told when they are gone.
    pub fn needed_keys(&self) -> usize {
        let needing = self.by_ticket.iter();
        let needing = needing.filter(|waiter| waiter.wanted.waits.needs_keys);
        let mut keys = HashSet::new();
        for waiter in needing {
            let wanted = &waiter.wanted;
            keys.extend(wanted.keys.iter().map(|key| (wanted.db, key.clone())));
        }
        keys.len()
    }

    /// How many wait for a time at the most.
    pub fn with_timeout(&self) -> usize {
        let has_timeout = |waiter: &Arc<Waiter>| waiter.wanted.until.is_some();
        let all = self.by_ticket.iter();
        all.filter(|waiter| has_timeout(waiter)).count()
    }

    /// The one of a client.
    pub fn of_client(&self, id: u64) -> Option<Arc<Waiter>> {
        let found = self.by_ticket.iter().find(|waiter| waiter.client.id == id);
        found.map(|waiter| Arc::clone(&waiter))
    }
}
