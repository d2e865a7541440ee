//! Clients whose commands wait for keys.
//!
//! A waiter is served by the thread that wrote to one of its keys, which hands over the finished reply. Whether it is still
//! there to be served is decided under its lock: no element is taken for one whose time was over.

use std::sync::Arc;

use dashmap::DashMap;
use parking_lot::Mutex;

use super::clients::Client;
use crate::clock::UnixMs;
use crate::command::blocking::Wish;
use crate::keyspace::queues::{Queues, Ready};
use crate::resp::Protocol;

/// How a wait ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// With this reply.
    Served(Vec<u8>),
    /// Nothing came in time.
    TimedOut,
    /// CLIENT UNBLOCK with ERROR.
    Unblocked,
    /// The command is to run again: it needs what only its own connection can wait for.
    Again,
}

/// How far a waiter is.
#[derive(Debug)]
enum State {
    Waits,
    Ended(End),
    /// Its client has been told how it ended.
    Concluded,
}

/// A client that waits for keys.
#[derive(Debug)]
pub struct Waiter {
    /// Its place in the queues of the keys.
    pub ticket: u64,
    /// The database of the keys.
    pub db: usize,
    /// The keys.
    pub keys: Vec<Box<[u8]>>,
    /// What it wants of them.
    pub wish: Wish,
    /// How it wants its reply.
    pub protocol: Protocol,
    /// How long it waits; `None`: for ever.
    pub until: Option<UnixMs>,
    /// The client.
    pub client: Arc<Client>,
    state: Mutex<State>,
}

impl Waiter {
    /// Serves it, unless its wait is over: `serve` says how it ended, or `None` if there was nothing for it. Gives whether its
    /// wait is over now.
    pub fn serve(&self, serve: impl FnOnce() -> Option<End>) -> bool {
        let mut state = self.state.lock();
        if matches!(*state, State::Waits) {
            let Some(end) = serve() else {
                return false;
            };
            *state = State::Ended(end);
            self.client.wake();
        }
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

    /// Whether its wait is over.
    pub fn is_over(&self) -> bool {
        !matches!(*self.state.lock(), State::Waits)
    }

    /// How it ended, once: nobody serves it from then on.
    pub fn conclude(&self) -> Option<End> {
        match std::mem::replace(&mut *self.state.lock(), State::Concluded) {
            State::Ended(end) => Some(end),
            State::Waits | State::Concluded => None,
        }
    }

    fn key_slices(&self) -> impl Iterator<Item = &[u8]> {
        self.keys.iter().map(AsRef::as_ref)
    }
}

/// All who wait.
#[derive(Debug, Default)]
pub struct Waiters {
    by_ticket: DashMap<u64, Arc<Waiter>>,
}

impl Waiters {
    /// Has a client wait for keys, which the caller has locked.
    pub fn add(
        &self,
        queues: &Queues,
        client: &Arc<Client>,
        (db, keys): (usize, Vec<Box<[u8]>>),
        (wish, until): (Wish, Option<UnixMs>),
        protocol: Protocol,
    ) -> Arc<Waiter> {
        let waiter = Arc::new(Waiter {
            ticket: queues.draw_ticket(),
            db,
            keys,
            wish,
            protocol,
            until,
            client: Arc::clone(client),
            state: Mutex::new(State::Waits),
        });
        self.by_ticket.insert(waiter.ticket, Arc::clone(&waiter));
        queues.join(db, waiter.key_slices(), waiter.ticket);
        waiter
    }

    /// Forgets one that waits no longer.
    pub fn remove(&self, queues: &Queues, waiter: &Waiter) {
        queues.leave(waiter.db, waiter.key_slices(), waiter.ticket);
        self.by_ticket.remove(&waiter.ticket);
    }

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
                let concerns = |w: &Arc<Waiter>| !is_gone || w.wish.forlorn().is_some();
                if let Some(waiter) = waiter.filter(concerns) {
                    waiter.end(End::Again);
                }
            }
        }
    }

    /// The one of a client.
    pub fn of_client(&self, id: u64) -> Option<Arc<Waiter>> {
        let found = self.by_ticket.iter().find(|waiter| waiter.client.id == id);
        found.map(|waiter| Arc::clone(&waiter))
    }
}
