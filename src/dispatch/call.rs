//! Calling a command's function with its keys locked and in memory.

use super::Executor;
use super::plan::{key_positions, needs_keys};
use crate::clock::UnixMs;
use crate::command::Context;
use crate::command::table::Row;
use crate::error::CommandError;
use crate::keyspace::eviction::AccessPolicy;
use crate::keyspace::footprint::Footprint;
use crate::keyspace::lfu::LfuSettings;
use crate::keyspace::{EventName, KeyHash, Keyspace, Terms};
use crate::resp::{Args, Reply};
use crate::server::session::Session;
use crate::server::suspended::{Stop, Suspend, Suspended};

/// A command that asks for more keys each time that it runs is refused after so many times.
const LOCK_ROUNDS: usize = 16;
const RESTLESS: CommandError =
    CommandError::text("ERR the elements changed each time that they were looked at, try again");

/// What became of a call.
pub(super) enum Called {
    /// The command is done.
    Done,
    /// Memory cannot answer for its keys, and nothing has happened.
    Lacks,
}

impl Executor {
    /// On what terms the next command works with keys, and its random number.
    #[inline]
    pub(super) fn terms(&mut self, event: EventName, now: UnixMs, no_touch: bool) -> (Terms, u64) {
        self.random = self
            .random
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        let random = self.random ^ self.random >> 32;
        let config = self.config.current();
        let access = AccessPolicy::new(
            config.maxmemory_policy,
            LfuSettings::of(config),
            now,
            random,
        );
        let terms = Terms {
            now,
            access: access.frozen(no_touch),
            default_ttl_ms: i64::from(config.default_ttl_s) * 1000,
            thread: self.thread,
            event,
        };
        (terms, random)
    }

    /// Calls a command's function, again and again while it asks for more keys.
    #[inline]
    pub(super) fn call(
        &mut self,
        row: &'static Row,
        index: usize,
        args: &Args<'_>,
        session: &mut Session,
        reply: &mut Reply,
        now: UnixMs,
    ) -> Result<Called, Stop> {
        let mut rounds = 0;
        loop {
            let called = self.call_once(row, index, args, session, reply, now);
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
            session.suspended(now).others = keys;
        }
    }

    /// Locks the keys and calls the command's function.
    #[inline]
    fn call_once(
        &mut self,
        row: &'static Row,
        index: usize,
        args: &Args<'_>,
        session: &mut Session,
        reply: &mut Reply,
        now: UnixMs,
    ) -> Result<Called, Stop> {
        let (terms, random) = self.terms(&row.command.name, now, session.no_touch);
        let config = self.config.current();
        let (server, engine) = (&self.server, &self.engine);
        let plan = &self.plan[index];
        let waits = session.suspended.as_ref();
        let footprint = Footprint {
            db: session.db,
            named: &self.hashes[plan.hashes.clone()],
            first: args.at(plan.first),
            others: waits.map_or(&[][..], |waits| &waits.others),
        };
        let mut context = Context {
            // Here and not before, as it would be copied.
            keys: engine.keyspace.lock(&footprint, terms),
            reply,
            now,
            session,
            config,
            server,
            random,
        };
        let waits = context.session.suspended.as_ref();
        let others = waits.map_or(&[][..], |waits| &waits.others);
        if engine.keyspace.has_below() && (needs_keys(engine, row, args) || !others.is_empty()) {
            let keys = &context.keys;
            let mut positions = key_positions(row, args).into_iter();
            let needs_declared = needs_keys(engine, row, args);
            if needs_declared && positions.any(|position| !keys.is_resident(args.at(position)))
                || others
                    .iter()
                    .any(|other| !keys.is_resident_in(other.db, &other.key))
            {
                if waits.is_some_and(|waits| {
                    could_not_read(&engine.keyspace, waits, &self.hashes[plan.hashes.clone()])
                }) {
                    return Err(CommandError::Unreadable.into());
                }
                if waits.is_some_and(|waits| waits.rounds.are_too_many()) {
                    return Err(CommandError::OutOfMemory.into());
                }
                return Ok(Called::Lacks);
            }
        }
        match row.command.run_or_suspend {
            None => (row.command.run)(&mut context, args)?,
            Some(run) => run(&mut context, args)?,
        }
        context.keys.check()?;
        Ok(Called::Done)
    }
}

/// Whether one of the keys of a command was to be loaded and could not be read.
#[cold]
fn could_not_read(keyspace: &Keyspace, waits: &Suspended, named: &[KeyHash]) -> bool {
    let others = waits.others.iter().map(|other| keyspace.hash(&other.key));
    let all: Vec<KeyHash> = named.iter().copied().chain(others).collect();
    waits.could_not_read(&all)
}
