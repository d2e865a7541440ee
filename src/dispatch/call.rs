//! Calling a command's function with its keys locked and in memory.

use super::plan::needs_keys;
use super::{Executor, Request};
use crate::clock::UnixMs;
use crate::command::Context;
use crate::command::table::Row;
use crate::error::CommandError;
use crate::keyspace::footprint::Footprint;
use crate::keyspace::{EventName, KeyHash, Keys, Keyspace, Terms};
use crate::resp::Reply;
use crate::server::session::Session;
use crate::server::suspended::{Stop, Suspend, Suspended};

/// A command that asks for more keys each time that it runs is refused after so many times.
const LOCK_ROUNDS: usize = 16;
const RESTLESS: CommandError =
    CommandError::text("ERR the elements changed each time that they were looked at, try again");

impl Executor {
    /// On what terms a command that has no request works with keys.
    pub(super) fn terms(&mut self, event: EventName, now: UnixMs) -> Terms {
        let terms = Terms::of(self.config.current(), now, self.thread, event);
        Terms {
            random: self.random.next_u64(),
            ..terms
        }
    }

    /// Renews the terms for the next request. Most of them hold for a whole batch. As [`Self::account`] it is in line though transactions
    /// use it too: by calls each request takes 2 % more instructions.
    #[inline(always)]
    pub(super) fn renew_terms(&mut self, row: &'static Row, now: UnixMs, no_touch: bool) {
        if self.terms.now != now || self.terms_generation != self.config.generation() {
            self.terms = Terms::of(self.config.current(), now, self.thread, &row.command.name);
            self.terms_generation = self.config.generation();
        }
        self.terms.event = &row.command.name;
        self.terms.random = self.random.next_u64();
        self.terms.access.freeze(no_touch);
    }

    /// Calls a command's function, again and again while it asks for more keys.
    #[inline(always)]
    pub(super) fn call(
        &mut self,
        row: &'static Row,
        request: &Request<'_>,
        session: &mut Session,
        reply: &mut Reply,
    ) -> Result<(), Stop> {
        let mut rounds = 0;
        loop {
            let called = self.call_once(row, request, session, reply);
            let Err(Stop::Suspended(needed)) = called else {
                return called;
            };
            let Suspend::Keys(keys) = *needed else {
                return Err(Stop::Suspended(needed));
            };
            rounds += 1;
            if rounds == LOCK_ROUNDS {
                return Err(RESTLESS.into());
            }
            session.suspended(request.now).others = keys;
        }
    }

    /// Locks the keys and calls the command's function.
    #[inline(always)]
    fn call_once(
        &mut self,
        row: &'static Row,
        request: &Request<'_>,
        session: &mut Session,
        reply: &mut Reply,
    ) -> Result<(), Stop> {
        self.renew_terms(row, request.now, session.no_touch);
        let engine = &self.engine;
        let footprint = self.footprint(request, session);
        let mut context = Context {
            // Here and not before, as it would be copied.
            keys: engine.keyspace.lock(&footprint, &self.terms),
            reply,
            now: request.now,
            session,
            config: self.config.kept(),
            server: &self.server,
            random: self.terms.random,
        };
        if engine.keyspace.has_below() {
            self.look_at_residency(row, request, &context.keys, context.session)?;
        }
        match row.command.run_or_suspend {
            None => (row.command.run)(&mut context, &request.args)?,
            Some(run) => run(&mut context, &request.args)?,
        }
        context.keys.check()?;
        Ok(())
    }

    /// The keys of a request, and those that its command asked for besides.
    #[inline(always)]
    fn footprint<'a, 'b>(
        &'a self,
        request: &Request<'a>,
        session: &'b Session,
    ) -> Footprint<'a, 'b> {
        let named = &self.hashes[request.keys.clone()];
        let first = self.positions[request.keys.clone()].first();
        let waits = session.suspended.as_ref();
        Footprint {
            db: session.db,
            named,
            first: first.map_or(&[], |&first| request.args.at(first)),
            others: waits.map_or(&[], |waits| &waits.others),
        }
    }

    /// Whether memory can answer for the keys of a request that needs what they hold. If not nothing has happened.
    fn look_at_residency(
        &self,
        row: &Row,
        request: &Request<'_>,
        keys: &Keys<'_>,
        session: &Session,
    ) -> Result<(), Stop> {
        let hashes = &self.hashes[request.keys.clone()];
        let mut named = self.positions[request.keys.clone()].iter().enumerate();
        let is_resident = |(at, &position): (usize, &usize)| {
            self.engine.keyspace.prefetch_behind(hashes, at);
            keys.is_resident_as(hashes[at], request.args.at(position))
        };
        let waits = session.suspended.as_ref();
        let mut others = waits.into_iter().flat_map(|waits| &waits.others);
        let lacks = needs_keys(&self.engine, row, &request.args) && !named.all(is_resident)
            || !others.all(|other| keys.is_resident_in(other.db, &other.key));
        match waits {
            _ if !lacks => Ok(()),
            Some(waits) => self.load_again(request, waits),
            None => Err(Suspend::Loads(Vec::new(), request.now).into()),
        }
    }

    /// Keys were to be loaded for a request, and are not there.
    #[cold]
    fn load_again(&self, request: &Request<'_>, waits: &Suspended) -> Result<(), Stop> {
        let named = &self.hashes[request.keys.clone()];
        if could_not_read(&self.engine.keyspace, waits, named) {
            return Err(CommandError::Unreadable.into());
        }
        if waits.rounds.are_too_many() {
            return Err(CommandError::OutOfMemory.into());
        }
        Err(Suspend::Loads(Vec::new(), request.now).into())
    }
}

/// Whether one of the keys of a command was to be loaded and could not be read.
fn could_not_read(keyspace: &Keyspace, waits: &Suspended, named: &[KeyHash]) -> bool {
    let others = waits.others.iter().map(|other| keyspace.hash(&other.key));
    let all: Vec<KeyHash> = named.iter().copied().chain(others).collect();
    waits.could_not_read(&all)
}
