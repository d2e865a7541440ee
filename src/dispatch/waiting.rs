//! Clients that wait for keys: served by whoever writes to one, in the order in which they came, before its next command.

use smallvec::SmallVec;

use super::Executor;
use crate::clock::UnixMs;
use crate::command::Context;
use crate::error::CommandError;
use crate::keyspace::KeyHash;
use crate::keyspace::queues::{Queues, Ready};
use crate::resp::Reply;
use crate::server::session::Session;
use crate::server::waiters::{End, Waiter};

impl Executor {
    /// Serves those who wait for the keys that the last command wrote to. What it gives them may be a write itself.
    #[cold]
    #[inline(never)]
    pub(super) fn serve_waiters(&mut self, now: UnixMs) {
        while let Some(ready) = Queues::take_ready() {
            self.serve_queue(&ready, now);
        }
    }

    fn serve_queue(&mut self, ready: &Ready, now: UnixMs) {
        let (db, key) = (ready.db, &*ready.key);
        let mut ticket = 0;
        while let Some(next) = self.engine.keyspace.queues().next(db, key, ticket) {
            ticket = next;
            let Some(waiter) = self.server.waiters.get(ticket) else {
                continue;
            };
            if waiter.serve(|| self.fulfil(&waiter, key, now)) {
                let queues = self.engine.keyspace.queues();
                self.server.waiters.remove(queues, &waiter);
            } else if !ready.is_gone && !self.exists(db, key, now) {
                return;
            }
        }
    }

    fn exists(&mut self, db: usize, key: &[u8], now: UnixMs) -> bool {
        let hashes = [self.engine.keyspace.hash(key)];
        let terms = self.terms(&"exists", now, false).0;
        self.engine.keyspace.lock(&hashes, db, terms).exists(key)
    }

    /// Tries what a client waits for on a key. `None`: it waits on.
    fn fulfil(&mut self, waiter: &Waiter, key: &[u8], now: UnixMs) -> Option<End> {
        if self.is_tier_failing() && self.engine.is_durable_always() {
            return Some(End::Again);
        }
        let (terms, random) = self.terms(waiter.wish.event(), now, false);
        let server = &self.server;
        let needed = [Some(key), waiter.wish.destination()];
        let needed = needed.into_iter().flatten();
        let hashes: SmallVec<[KeyHash; 2]> = needed
            .clone()
            .map(|key| server.engine.keyspace.hash(key))
            .collect();
        let mut keys = server.engine.keyspace.lock(&hashes, waiter.db, terms);
        if !needed.clone().all(|key| keys.is_resident(key)) {
            return Some(End::Again);
        }
        let mut reply = Reply::new(waiter.protocol);
        if keys.value_type(key) != Some(waiter.wish.value_type()) {
            reply.error(&waiter.wish.forlorn()?);
            return Some(End::Served(std::mem::take(reply.buffer_mut())));
        }
        let mut session = Session::new(waiter.client.clone(), true);
        session.db = waiter.db;
        let mut context = Context {
            keys,
            reply: &mut reply,
            now,
            session: &mut session,
            config: self.config.current(),
            server,
            random,
        };
        let served = waiter.wish.serve(&mut context, key);
        drop(context);
        match served {
            Ok(false) => return None,
            Ok(true) => {}
            Err(error) => reply.error(&error),
        }
        Some(End::Served(std::mem::take(reply.buffer_mut())))
    }

    /// Replies for a client whose wait is over. `None`: its command is to run again.
    pub(super) fn conclude(
        &mut self,
        waiter: &Waiter,
        reply: &mut Reply,
    ) -> Option<Result<(), CommandError>> {
        self.server
            .waiters
            .remove(self.engine.keyspace.queues(), waiter);
        match waiter.conclude()? {
            End::Served(bytes) => {
                self.told_of_change = true;
                reply.buffer_mut().extend_from_slice(&bytes);
            }
            End::TimedOut => reply.nil_array(),
            End::Unblocked => {
                return Some(Err(CommandError::text(
                    "UNBLOCKED client unblocked via CLIENT UNBLOCK",
                )));
            }
            End::Again => return None,
        }
        Some(Ok(()))
    }
}
