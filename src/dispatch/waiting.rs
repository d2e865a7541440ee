//! Clients that wait for keys: served by whoever writes to one, in the order in which they came, before its next command.

use smallvec::SmallVec;

use super::{Executor, Outcome, Request};
use crate::clock::UnixMs;
use crate::command::Context;
use crate::error::CommandError;
use crate::keyspace::KeyHash;
use crate::keyspace::footprint::Footprint;
use crate::keyspace::queues::{Queues, Ready};
use crate::resp::Reply;
use crate::server::session::Session;
use crate::server::suspended::Stop;
use crate::server::waiters::{End, Waiter};

const UNBLOCKED: CommandError = CommandError::text("UNBLOCKED client unblocked via CLIENT UNBLOCK");

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
            // What is gone serves nobody.
            if ready.is_gone && !waiter.wanted.waits.needs_keys {
                continue;
            }
            let is_over = waiter.serve(|| self.fulfil(&waiter, key, now));
            if !is_over && !ready.is_gone && !self.exists(db, key, now) {
                return;
            }
        }
    }

    fn exists(&mut self, db: usize, key: &[u8], now: UnixMs) -> bool {
        let hashes = [self.engine.keyspace.hash(key)];
        let terms = self.terms(&"exists", now);
        let footprint = Footprint::of(db, &hashes, key);
        self.engine.keyspace.lock(&footprint, &terms).exists(key)
    }

    /// Tries what a client waits for on a key. `None`: it waits on.
    fn fulfil(&mut self, waiter: &Waiter, key: &[u8], now: UnixMs) -> Option<End> {
        if self.is_tier_failing() && self.engine.is_durable_always() {
            return Some(End::Again);
        }
        let wanted = &waiter.wanted;
        let (waits, args) = (wanted.waits, wanted.request.args());
        let terms = self.terms(waits.event, now);
        let keyspace = &self.engine.keyspace;
        let also = waits.also.iter().filter_map(|&at| args.get(at));
        let needed: SmallVec<[&[u8]; 2]> = std::iter::once(key).chain(also).collect();
        let hashes: SmallVec<[KeyHash; 2]> = needed.iter().map(|key| keyspace.hash(key)).collect();
        let mut keys = keyspace.lock(&Footprint::of(wanted.db, &hashes, key), &terms);
        // What a key is that serves nobody does not depend on the others, which may have to be loaded.
        let serves = !keys.is_resident(key) || keys.value_type(key) == waits.value_type;
        if !serves {
            return waits.needs_keys.then_some(End::Again);
        }
        if !needed.iter().all(|key| keys.is_resident(key)) {
            return Some(End::Again);
        }
        let mut reply = Reply::new(wanted.protocol);
        let mut session = Session::new(waiter.client.clone(), true);
        session.db = wanted.db;
        let mut context = Context {
            keys,
            reply: &mut reply,
            now,
            session: &mut session,
            config: self.config.current(),
            server: &self.server,
            random: terms.random,
        };
        let served = (waits.serve)(&mut context, &args, key);
        let served = served.and_then(|served| context.keys.check().map(|()| served));
        drop(context);
        match served {
            Ok(false) => None,
            Ok(true) => Some(End::Served(Ok(std::mem::take(reply.buffer_mut())))),
            Err(error) => Some(End::Served(Err(error))),
        }
    }

    /// A command that has waited goes on: it is told how its wait ended, or runs again.
    #[cold]
    #[inline(never)]
    pub(super) fn go_on(
        &mut self,
        request: &Request<'_>,
        session: &mut Session,
        reply: &mut Reply,
    ) -> (Outcome, Result<(), Stop>) {
        if let Some(waiter) = session.waiter() {
            return self.end_wait(&waiter, request, session, reply);
        }
        let waits = session.suspended.as_mut();
        match waits.and_then(|waits| waits.take_done()) {
            Some(job) => (Outcome::Ran, self.end_job(*job, request, session, reply)),
            None => self.check_and_call(request, session, reply),
        }
    }

    /// The same for one that stood in queues.
    fn end_wait(
        &mut self,
        waiter: &Waiter,
        request: &Request<'_>,
        session: &mut Session,
        reply: &mut Reply,
    ) -> (Outcome, Result<(), Stop>) {
        let ended = match waiter.conclude() {
            None | Some(End::Again) => {
                let again = Request {
                    args: waiter.wanted.request.args(),
                    keys: request.keys.clone(),
                    ..*request
                };
                return self.check_and_call(&again, session, reply);
            }
            Some(End::Served(served)) => served.map(|bytes| {
                self.told_of_change = true;
                reply.buffer_mut().extend_from_slice(&bytes);
            }),
            Some(End::TimedOut) => {
                (waiter.wanted.waits.timed_out)(reply);
                Ok(())
            }
            Some(End::Unblocked) => Err(UNBLOCKED),
        };
        if let (Err(_), Some(row)) = (&ended, request.row) {
            let stripe = self.server.stats.stripe(self.thread);
            stripe.per_command[row.id].failed.add(1);
        }
        (Outcome::Ran, ended.map_err(Stop::from))
    }
}
