//! Transactions: what a client sends behind MULTI is queued, and EXEC runs it as one unit.
//!
//! The keys of all commands are locked together, those that are watched with them, and all are in memory before the first one
//! runs. The time is one, nobody sees half of it, and since the thread does not leave the gate in between, no run or log of the
//! tier below has half of it either.
//!
//! Some commands do not know their keys before they run, or are of all keys. A unit with one of them is alone with the keyspace:
//! the gate is closed, its commands lock one after the other what they need, and what is on disk is read there and then.

use std::sync::Arc;

use smallvec::SmallVec;

use super::plan::needs_keys;
use super::{Executor, Outcome, Request};
use crate::clock::UnixMs;
use crate::command::table::Row;
use crate::command::{Context, Flags};
use crate::engine::Engine;
use crate::error::CommandError;
use crate::keyspace::footprint::{Footprint, OtherKey};
use crate::keyspace::residency::Ask;
use crate::keyspace::{KeyHash, Keys};
use crate::resp::{Args, Reply};
use crate::server::scripts::Job;
use crate::server::session::Session;
use crate::server::suspended::{Came, Stop, Suspend};
use crate::server::transaction::{Queued, Transaction};
use crate::tier::Wanted;
use crate::tier::loads::LoadsBegun;

const NOT_IN_MULTI: CommandError =
    CommandError::text("ERR Command not allowed inside a transaction");
const WATCH_IN_MULTI: CommandError = CommandError::text("ERR WATCH inside MULTI is not allowed");
const BROKEN: CommandError =
    CommandError::text("EXECABORT Transaction discarded because of previous errors.");
const NOT_AT_ONCE: CommandError =
    CommandError::text("ERR the command waits for what does not come inside a transaction");
/// A command that asks for more each time that it runs is refused after so many times.
const ROUNDS_MAX: usize = 64;
/// From so much on what a client has queued counts when there is to be room for more.
const QUEUED_BYTES: usize = 64 * 1024;
/// Where a run of the tier below is in the way, the unit is tried again after so long.
const PAUSE_MS: i64 = 2;

/// What a command of a unit took, and whether it failed.
struct Account {
    nanos: u64,
    has_failed: bool,
}

type Accounts = SmallVec<[Account; 8]>;

impl Transaction {
    /// Its commands with their arguments and the places of their keys among all keys.
    fn all(&self) -> impl Iterator<Item = Unit<'_>> {
        let mut begin = 0;
        self.commands.iter().enumerate().map(move |(at, queued)| {
            let keys = begin..queued.keys_end;
            begin = queued.keys_end;
            Unit {
                row: queued.row,
                args: self.queue.args(at),
                hashes: &self.hashes[keys.clone()],
                positions: &self.positions[keys],
            }
        })
    }

    /// Whether it must be alone with the keyspace.
    fn is_keyspace_wide(&self) -> bool {
        let is = |queued: &Queued| {
            let command = queued.row.command;
            let may_need_more = command.run_or_suspend.is_some();
            let only_waits = command.flags.has(Flags::BLOCKING);
            command.flags.has(Flags::KEYSPACE_WIDE) || may_need_more && !only_waits
        };
        self.commands.iter().any(is)
    }

    fn has_scripts(&self) -> bool {
        let is_script = |queued: &Queued| queued.row.command.evaluation.is_some();
        self.commands.iter().any(is_script)
    }
}

/// A command of a unit.
pub(super) struct Unit<'a> {
    pub(super) row: &'static Row,
    pub(super) args: Args<'a>,
    pub(super) hashes: &'a [KeyHash],
    pub(super) positions: &'a [usize],
}

impl<'a> Unit<'a> {
    fn keys(&self) -> impl Iterator<Item = (KeyHash, &'a [u8])> {
        let args = self.args;
        let keys = self.positions.iter().map(move |&at| args.at(at));
        self.hashes.iter().copied().zip(keys)
    }
}

impl Executor {
    /// A request of a client that has sent MULTI.
    #[cold]
    #[inline(never)]
    pub(super) fn in_transaction(
        &mut self,
        request: &Request<'_>,
        session: &mut Session,
        reply: &mut Reply,
    ) -> (Outcome, Result<(), Stop>) {
        match self.check_in_transaction(request, session) {
            Ok(row) if row.command.name == "exec" => {
                let executed = self.execute(request.now, session, reply);
                self.count_failed(row, &executed);
                (Outcome::Ran, executed)
            }
            Ok(row) if row.command.flags.has(Flags::IN_MULTI) => {
                // What runs at once has no keys that would have to be loaded.
                let called = match row.command.name {
                    "watch" => Err(WATCH_IN_MULTI.into()),
                    _ => self.call(row, request, session, reply),
                };
                self.count_failed(row, &called);
                (Outcome::Ran, called)
            }
            Ok(row) => {
                let hashes = &self.hashes[request.keys.clone()];
                let positions = &self.positions[request.keys.clone()];
                let transaction = session.transaction.as_mut();
                // What will not run need not be kept.
                if let Some(transaction) = transaction.filter(|t| !t.is_broken) {
                    transaction.push(row, &request.args, hashes, positions);
                }
                reply.simple("QUEUED");
                (Outcome::NotRun, Ok(()))
            }
            Err(Stop::Refused(error)) => {
                let is_exec = request.row.is_some_and(|row| row.command.name == "exec");
                match &mut session.transaction {
                    _ if is_exec => session.end_transaction(),
                    Some(transaction) => transaction.is_broken = true,
                    None => {}
                }
                (Outcome::NotRun, Err(error.into()))
            }
            Err(stop) => (Outcome::NotRun, Err(stop)),
        }
    }

    /// Whether it may be queued, or run now.
    fn check_in_transaction(
        &mut self,
        request: &Request<'_>,
        session: &mut Session,
    ) -> Result<&'static Row, Stop> {
        let row = self.identify(request, session)?;
        let flags = row.command.flags;
        if flags.has(Flags::NO_MULTI) {
            return Err(self.reject(row, NOT_IN_MULTI));
        }
        // What is only queued takes no turn to write.
        let (flags, rows) = match session.transaction.as_deref() {
            Some(queued) if row.command.name == "exec" => {
                let rows = queued.commands.iter().map(|queued| queued.row);
                (flags.and(queued.flags), rows.collect())
            }
            _ => {
                if let Some(until) = self.held_back(row, flags, request.now) {
                    return Err(Suspend::Pause(until).into());
                }
                // A script is not refused where there is no memory.
                (flags.without(Flags::WRITE), SmallVec::from_elem(row, 1))
            }
        };
        if session.queued_bytes() >= QUEUED_BYTES {
            // What is queued takes memory that this thread's keys do not tell of.
            self.forget_room();
        }
        self.admit(row, flags, session, request.now)?;
        if self.has_below && self.is_tier_failing() {
            let rows: SmallVec<[&Row; 8]> = rows;
            let mut writes = rows
                .iter()
                .filter(|row| row.command.flags.has(Flags::WRITE));
            if writes.any(|row| self.is_unrecorded(row)) {
                return Err(self.reject(row, CommandError::Unwritable));
            }
        }
        Ok(row)
    }

    /// EXEC.
    pub(super) fn execute(
        &mut self,
        now: UnixMs,
        session: &mut Session,
        reply: &mut Reply,
    ) -> Result<(), Stop> {
        let Some(transaction) = session.transaction.take() else {
            return Ok(());
        };
        if transaction.is_broken {
            session.end_transaction();
            return Err(BROKEN.into());
        }
        if transaction.has_scripts() && !self.runs_scripts {
            self.server.scripts.check()?;
            return Err(self.hand_over(transaction, now, session, reply));
        }
        session.is_in_unit = true;
        let executed = match transaction.is_keyspace_wide() {
            false => self.execute_locked(&transaction, now, session, reply),
            true => self.execute_alone(&transaction, now, session, reply),
        };
        session.is_in_unit = false;
        match executed {
            Ok(None) => reply.nil_array(),
            Ok(Some(accounts)) => self.account_for(&transaction, accounts, session, now),
            Err(stop @ Stop::Suspended(_)) => {
                session.transaction = Some(transaction);
                return Err(stop);
            }
            Err(Stop::Refused(error)) => {
                session.end_transaction();
                return Err(aborted(&error).into());
            }
            Err(Stop::Closed) => return Err(Stop::Closed),
        }
        session.end_transaction();
        Ok(())
    }

    /// Has the thread of scripts execute a transaction, when its keys are in memory.
    fn hand_over(
        &mut self,
        transaction: Box<Transaction>,
        now: UnixMs,
        session: &mut Session,
        reply: &Reply,
    ) -> Stop {
        let dbs = self.databases(&transaction, session.db);
        let wanted = self.lacking_before(&transaction, &dbs);
        session.transaction = Some(transaction);
        if !wanted.is_empty() {
            return load(&wanted, session, now);
        }
        let request = std::iter::once(&b"exec"[..]).collect();
        let job = Job::new(session, request, reply.protocol());
        Suspend::Script(job).into()
    }

    /// Runs a unit whose keys are known. `None`: a watched key has changed, and nothing has run.
    fn execute_locked(
        &mut self,
        transaction: &Transaction,
        now: UnixMs,
        session: &mut Session,
        reply: &mut Reply,
    ) -> Result<Option<Accounts>, Stop> {
        if session.watch.as_ref().is_some_and(|w| w.is_broken(now)) {
            return Ok(None);
        }
        let engine = Arc::clone(&self.engine);
        let hashes = &transaction.hashes;
        hashes
            .iter()
            .for_each(|&h| engine.keyspace.prefetch_bucket(h));
        hashes
            .iter()
            .for_each(|&h| engine.keyspace.prefetch_entry(h));
        let dbs = self.databases(transaction, session.db);
        let watched = session.watch.as_ref().map_or(&[][..], |watch| watch.keys());
        let mut others = watched.to_vec();
        for (unit, &db) in transaction.all().zip(&dbs) {
            if db != session.db {
                others.extend(unit.keys().map(|(_, key)| OtherKey {
                    db,
                    key: key.into(),
                }));
            }
        }
        let first = transaction.all().find_map(|unit| unit.keys().next());
        let footprint = Footprint {
            db: session.db,
            named: hashes,
            first: first.map_or(&[], |(_, key)| key),
            others: &others,
        };
        let Some(Queued { row, .. }) = transaction.commands.first() else {
            reply.array(0);
            return Ok(Some(Accounts::new()));
        };
        self.renew_terms(row, now, session.no_touch);
        let keys = engine.keyspace.lock(&footprint, &self.terms);
        if self.has_below {
            let wanted = lacking(&engine, transaction, &dbs, &keys);
            if !wanted.is_empty() {
                drop(keys);
                return Err(load(&wanted, session, now));
            }
        }
        // Now nobody changes them.
        if session.watch.as_ref().is_some_and(|w| w.is_broken(now)) {
            return Ok(None);
        }
        reply.array(transaction.commands.len());
        let mut accounts = Accounts::new();
        let mut context = Context {
            keys,
            reply,
            now,
            session,
            config: self.config.kept(),
            server: &self.server,
            random: 0,
        };
        for Unit { row, args, .. } in transaction.all() {
            let (start, began) = (context.reply.len(), self.ticker.read());
            context.random = self.random.next_u64();
            let (db, random) = (context.session.db, context.random);
            context.keys.begin(&row.command.name, random, db);
            let ran = run(row, &mut context, &args);
            let has_failed = self.settle(ran, context.reply, start);
            let nanos = self.ticker.nanos_between(began, self.ticker.read());
            accounts.push(Account { nanos, has_failed });
        }
        Ok(Some(accounts))
    }

    /// Runs a unit with nobody else among the keys.
    fn execute_alone(
        &mut self,
        transaction: &Transaction,
        now: UnixMs,
        session: &mut Session,
        reply: &mut Reply,
    ) -> Result<Option<Accounts>, Stop> {
        let engine = Arc::clone(&self.engine);
        // Nobody is to wait while keys come from the disk, but for the few that leave memory again in between.
        if !self.runs_scripts {
            let dbs = self.databases(transaction, session.db);
            let wanted = self.lacking_before(transaction, &dbs);
            if !wanted.is_empty() {
                return Err(load(&wanted, session, now));
            }
        }
        // What DBSIZE must know is looked for before everybody stops, but for the little that comes in between.
        let counts = |queued: &Queued| queued.row.command.name == "dbsize";
        let is_first = session
            .suspended
            .as_ref()
            .is_none_or(|waits| !waits.has_page());
        let is_first = is_first && !self.runs_scripts;
        if is_first && engine.keyspace.has_unsure() && transaction.commands.iter().any(counts) {
            return Err(Suspend::Answer(Ask::Count).into());
        }
        let begun = begin_loads(&engine, now)?;
        let isolated = engine.keyspace.gate().isolate(self.thread);
        if session.watch.as_ref().is_some_and(|w| w.is_broken(now)) {
            return Ok(None);
        }
        reply.array(transaction.commands.len());
        let mut accounts = Accounts::new();
        for unit in transaction.all() {
            let (start, began) = (reply.len(), self.ticker.read());
            session.suspended = None;
            let ran = match unit.row.command.evaluation {
                Some(_) => self.evaluate(unit.row, &unit.args, now, session, reply),
                None => self.run_alone(&engine, &unit, now, session, reply, start),
            };
            let has_failed = self.settle(ran, reply, start);
            let nanos = self.ticker.nanos_between(began, self.ticker.read());
            accounts.push(Account { nanos, has_failed });
        }
        session.suspended = None;
        drop(isolated);
        drop(begun);
        Ok(Some(accounts))
    }

    /// The keys of a unit that memory cannot answer for, before any is locked.
    fn lacking_before(&self, transaction: &Transaction, dbs: &[usize]) -> Vec<Wanted> {
        if !self.has_below {
            return Vec::new();
        }
        let keyspace = &self.engine.keyspace;
        let mut wanted = Vec::new();
        for (unit, &db) in transaction.all().zip(dbs) {
            if !needs_keys(&self.engine, unit.row, &unit.args) {
                continue;
            }
            for (hash, key) in unit.keys() {
                if !keyspace.is_resident(hash, db, key, self.thread) {
                    wanted.push(Wanted {
                        hash,
                        name: keyspace.space_name(db),
                        key: key.into(),
                    });
                }
            }
        }
        wanted
    }

    /// Runs a command of such a unit. What it needs it gets at once.
    pub(super) fn run_alone(
        &mut self,
        engine: &Engine,
        unit: &Unit<'_>,
        now: UnixMs,
        session: &mut Session,
        reply: &mut Reply,
        start: usize,
    ) -> Result<(), Stop> {
        for _ in 0..ROUNDS_MAX {
            reply.truncate(start);
            self.renew_terms(unit.row, now, session.no_touch);
            let others = session
                .suspended
                .as_ref()
                .map_or(&[][..], |waits| &waits.others);
            let footprint = Footprint {
                db: session.db,
                named: unit.hashes,
                first: unit.keys().next().map_or(&[], |(_, key)| key),
                others,
            };
            let keys = engine.keyspace.lock(&footprint, &self.terms);
            let wanted = lacking_of(engine, unit, session.db, others, &keys);
            if !wanted.is_empty() {
                drop(keys);
                self.load_alone(engine, &wanted, now)?;
                continue;
            }
            let mut context = Context {
                keys,
                reply: &mut *reply,
                now,
                session: &mut *session,
                config: self.config.current(),
                server: &self.server,
                random: self.terms.random,
            };
            let ran = run(unit.row, &mut context, &unit.args);
            drop(context);
            let needed = match ran {
                Err(Stop::Suspended(needed)) => *needed,
                ran => return ran,
            };
            match (needed, &engine.tier) {
                (Suspend::Keys(keys), _) => session.suspended(now).others = keys,
                (Suspend::Answer(ask), Some(tier)) => {
                    let page = tier.answer(engine, ask, self.thread, &|| true);
                    let request = session.suspended(now).request();
                    session.resume(request, Came::Page(page));
                }
                // The server sleeps when the unit is done.
                (Suspend::Time(_), _) => {}
                (needed, _) => return Err(needed.into()),
            }
        }
        Err(CommandError::OutOfMemory.into())
    }

    fn load_alone(
        &self,
        engine: &Engine,
        wanted: &[Wanted],
        now: UnixMs,
    ) -> Result<(), CommandError> {
        let tier = engine.tier.as_ref();
        for (tier, wanted) in tier
            .into_iter()
            .flat_map(|tier| wanted.iter().map(move |w| (tier, w)))
        {
            let loaded = tier.load_now(engine, wanted, now, self.thread);
            loaded.map_err(|_| CommandError::Unreadable)?;
        }
        Ok(())
    }

    /// In which database each command works: SELECT may stand between them.
    fn databases(&mut self, transaction: &Transaction, db: usize) -> SmallVec<[usize; 8]> {
        let databases = self.config.current().databases;
        let mut db = db;
        let dbs = transaction.all().map(|unit| {
            let at = db;
            if unit.row.command.name == "select" {
                let index = crate::value::number::parse_i64(unit.args.at(1));
                let index = index.and_then(|index| usize::try_from(index).ok());
                db = index.filter(|&index| index < databases).unwrap_or(db);
            }
            at
        });
        dbs.collect()
    }

    /// Ends a command of a unit: one that would wait has waited for as long as it wanted. Gives whether it has failed.
    pub(super) fn settle(&self, ran: Result<(), Stop>, reply: &mut Reply, start: usize) -> bool {
        let error = match ran {
            Ok(()) | Err(Stop::Closed) => return false,
            Err(Stop::Refused(error)) => error,
            Err(Stop::Suspended(needed)) => match *needed {
                Suspend::Queued(queued) => {
                    reply.truncate(start);
                    (queued.waiter().wanted.waits.at_once)(reply);
                    return false;
                }
                _ => NOT_AT_ONCE,
            },
        };
        reply.truncate(start);
        self.refuse(&error, reply);
        true
    }

    fn account_for(
        &mut self,
        transaction: &Transaction,
        accounts: Accounts,
        session: &Session,
        now: UnixMs,
    ) {
        for (Unit { row, args, .. }, account) in transaction.all().zip(accounts) {
            if account.has_failed {
                let stripe = self.server.stats.stripe(self.thread);
                stripe.per_command[row.id].failed.add(1);
            }
            let request = Request {
                row: Some(row),
                args,
                keys: 0..0,
                now,
            };
            self.account(&request, session, account.nanos);
        }
    }
}

/// Whoever loads keys there and then keeps runs of the tier below from taking them meanwhile.
pub(super) fn begin_loads(engine: &Engine, now: UnixMs) -> Result<Option<LoadsBegun<'_>>, Suspend> {
    let Some(tier) = &engine.tier else {
        return Ok(None);
    };
    let begun = tier.begin_loads();
    begun
        .map(Some)
        .ok_or(Suspend::Time(UnixMs(now.0 + PAUSE_MS)))
}

fn run(row: &Row, context: &mut Context<'_>, args: &Args<'_>) -> Result<(), Stop> {
    match row.command.run_or_suspend {
        None => (row.command.run)(context, args)?,
        Some(run) => run(context, args)?,
    }
    context.keys.check()?;
    Ok(())
}

/// The keys of a unit that memory cannot answer for.
fn lacking(
    engine: &Engine,
    transaction: &Transaction,
    dbs: &[usize],
    keys: &Keys<'_>,
) -> Vec<Wanted> {
    let all = transaction.all().zip(dbs);
    all.flat_map(|(unit, &db)| lacking_of(engine, &unit, db, &[], keys))
        .collect()
}

/// The same of one command, and of the keys that it asked for.
fn lacking_of(
    engine: &Engine,
    unit: &Unit<'_>,
    db: usize,
    others: &[OtherKey],
    keys: &Keys<'_>,
) -> Vec<Wanted> {
    let named = needs_keys(engine, unit.row, &unit.args).then(|| unit.keys());
    let named = named.into_iter().flatten().map(|(_, key)| (db, key));
    let others = others.iter().map(|other| (other.db, &*other.key));
    let lacks = |(db, key): &(usize, &[u8])| !keys.is_resident_in(*db, key);
    let lacking = named.chain(others).filter(lacks);
    lacking
        .map(|(db, key)| Wanted {
            hash: engine.keyspace.hash(key),
            name: engine.keyspace.space_name(db),
            key: key.into(),
        })
        .collect()
}

/// Has keys loaded, unless they could not be, or there is no room for all of them.
fn load(wanted: &[Wanted], session: &mut Session, now: UnixMs) -> Stop {
    let hashes: Vec<KeyHash> = wanted.iter().map(|wanted| wanted.hash).collect();
    let waits = session.suspended.as_ref();
    if waits.is_some_and(|waits| waits.could_not_read(&hashes)) {
        return CommandError::Unreadable.into();
    }
    if waits.is_some_and(|waits| waits.rounds.are_too_many()) {
        return CommandError::OutOfMemory.into();
    }
    Suspend::Loads(wanted.to_vec(), now).into()
}

/// The error of an EXEC that was refused, with what comes behind it.
pub(super) fn aborted(error: &CommandError) -> CommandError {
    let text = error.to_string();
    let text = text.strip_prefix("ERR ").unwrap_or(&text);
    CommandError::bytes(&[
        b"EXECABORT Transaction discarded because of: ",
        text.as_bytes(),
    ])
}

#[cfg(test)]
mod tests;
