//! Running scripts: the thread that does it, and their commands.
//!
//! A script is alone with the keyspace, as a transaction of all keys is: the gate is closed while it runs. So it may use keys of
//! which it has told nothing, and what is on disk is read there and then; those that it has told of were loaded before.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use super::plan::{find_row, key_positions};
use super::transaction::{Unit, begin_loads};
use super::{Executor, Request};
use crate::clock::{Clock, UnixMs};
use crate::command::Flags;
use crate::command::table::Row;
use crate::engine::Engine;
use crate::error::CommandError;
use crate::keyspace::KeyHash;
use crate::keyspace::eviction::Room;
use crate::resp::{Args, Queue, Reply};
use crate::script::{Function, Host, Vm};
use crate::server::Server;
use crate::server::scripts::{Evaluation, Job, ScriptRun};
use crate::server::session::Session;
use crate::server::suspended::Stop;
use crate::threads::{self, Part};

const UNKNOWN: CommandError = CommandError::text("ERR Unknown Redis command called from script");
const WRONG_ARGS: CommandError =
    CommandError::text("ERR Wrong number of args calling Redis command from script");
const NOT_ALLOWED: CommandError =
    CommandError::text("ERR This Redis command is not allowed from script");
const READ_ONLY: CommandError =
    CommandError::text("ERR Write commands are not allowed from read-only scripts.");
const SHORT: CommandError = CommandError::text(
    "OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'",
);
const NO_STATE: CommandError = CommandError::text("ERR there is no memory for a Lua state");
/// The thread looks so often whether it is to end.
const LOOK: Duration = Duration::from_millis(100);
/// Where a run of the tier below is in the way the job is tried again after so long.
const PAUSE: Duration = Duration::from_millis(2);

/// Starts the thread that runs scripts. It ends when the server has no connection any more.
///
/// # Errors
/// The system has no room for a thread.
pub fn start(server: &Arc<Server>) -> io::Result<JoinHandle<()>> {
    let (own, failed) = (Arc::clone(server), Arc::clone(server));
    let work = move || {
        let slot = own.engine.scripts_slot();
        let mut executor = Executor::new(Arc::clone(&own), slot, Clock::System);
        while !own.scripts.is_closed() {
            if let Some((mut job, done)) = own.scripts.next_job(LOOK) {
                executor.do_job(&mut job);
                // Nobody waits where the connection has gone.
                let _ = done.send(job);
            }
        }
    };
    threads::spawn_or("scripts", Part::Scripts, work, move || {
        failed.scripts.close()
    })
}

impl Executor {
    /// Does what a connection has asked for.
    pub fn do_job(&mut self, job: &mut Job) {
        self.runs_scripts = true;
        let before = self.changes();
        let Job {
            session,
            request,
            reply,
            ..
        } = job;
        let args = request.args();
        let refused = loop {
            let now = self.clock.now();
            let done = match find_row(&args) {
                Some(row) if row.command.evaluation.is_some() => {
                    self.evaluate_alone(row, &args, now, session, reply)
                }
                _ => self.execute(now, session, reply),
            };
            match done {
                Ok(()) => break None,
                Err(Stop::Refused(error)) => break Some(error),
                Err(Stop::Closed) => break None,
                // A run of the tier below is in the way.
                Err(Stop::Suspended(_)) => std::thread::sleep(PAUSE),
            }
        };
        job.refused = refused;
        job.has_changed = self.changes() != before;
        self.runs_scripts = false;
        let now = self.clock.now();
        if self.engine.keyspace.queues().any() {
            let passage = self.engine.keyspace.gate().passage(self.thread);
            let _inside = passage.enter();
            self.serve_waiters(now);
        }
        if self.server.pubsub.has_names() {
            self.server.pubsub.wake_threads(self.thread);
        }
    }

    /// A job is done: what the client has lent is back, and it is answered.
    pub(super) fn end_job(
        &mut self,
        mut job: Job,
        request: &Request<'_>,
        session: &mut Session,
        reply: &mut Reply,
    ) -> Result<(), Stop> {
        session.take_back(job.session);
        self.told_of_change |= job.has_changed;
        reply.set_protocol(job.reply.protocol());
        let Some(error) = job.refused else {
            reply
                .buffer_mut()
                .extend_from_slice(&job.reply.take_joined());
            return Ok(());
        };
        let ended = Err(error.into());
        if let Some(row) = request.row {
            self.count_failed(row, &ended);
        }
        ended
    }

    /// Does what a command of scripts asks for, alone with the keyspace.
    fn evaluate_alone(
        &mut self,
        row: &'static Row,
        args: &Args<'_>,
        now: UnixMs,
        session: &mut Session,
        reply: &mut Reply,
    ) -> Result<(), Stop> {
        let engine = Arc::clone(&self.engine);
        let begun = begin_loads(&engine, now)?;
        let isolated = engine.keyspace.gate().isolate(self.thread);
        let was_in_unit = std::mem::replace(&mut session.is_in_unit, true);
        let evaluated = self.evaluate(row, args, now, session, reply);
        session.is_in_unit = was_in_unit;
        drop(isolated);
        drop(begun);
        evaluated
    }

    /// The same where that is so already.
    pub(super) fn evaluate(
        &mut self,
        row: &'static Row,
        args: &Args<'_>,
        now: UnixMs,
        session: &mut Session,
        reply: &mut Reply,
    ) -> Result<(), Stop> {
        let server = Arc::clone(&self.server);
        let scripts = &server.scripts;
        let Some(evaluation) = row.command.evaluation else {
            return Ok(());
        };
        let evaluation = evaluation(args, scripts)?;
        let mut vm = self.take_vm()?;
        let evaluated = match evaluation {
            Evaluation::Load(script) => vm.compile(&script).map(|_| {
                scripts.keep(&script, true);
                reply.bulk(&script.digest);
            }),
            Evaluation::Run(run) => vm.compile(&run.script).and_then(|function| {
                scripts.keep(&run.script, false);
                self.run_script((&mut vm, &function), &run, args, now, session, reply)
            }),
        };
        scripts.bytes.vm.store(vm.used_bytes(), Ordering::Relaxed);
        self.vm = Some(vm);
        Ok(evaluated?)
    }

    /// The Lua state. After SCRIPT FLUSH it is a new one.
    fn take_vm(&mut self) -> Result<Box<Vm>, CommandError> {
        let scripts = &self.server.scripts;
        let generation = scripts.generation();
        let vm = self.vm.take();
        if let Some(vm) = vm.filter(|_| self.vm_generation == generation) {
            return Ok(vm);
        }
        self.vm_generation = generation;
        let running = Arc::clone(&scripts.running);
        let vm = Vm::new(running).map_err(|error| {
            tracing::error!("There is no Lua state: {error}");
            NO_STATE
        });
        vm.map(Box::new)
    }

    fn run_script(
        &mut self,
        (vm, function): (&mut Vm, &Function),
        run: &ScriptRun,
        args: &Args<'_>,
        now: UnixMs,
        session: &mut Session,
        reply: &mut Reply,
    ) -> Result<(), CommandError> {
        let flags = run.script.flags;
        let may_write = !run.is_read_only && !flags.no_writes;
        let is_short = may_write && !flags.allow_oom && self.has_room(now) == Room::None;
        if is_short && flags.are_given {
            return Err(SHORT);
        }
        let server = Arc::clone(&self.server);
        let engine = Arc::clone(&self.engine);
        let db = session.db;
        let running = &server.scripts.running;
        running.begin();
        let keys = args.from(run.keys.start).take(run.keys.len());
        let words = args.from(run.keys.end);
        let mut calls = Calls {
            executor: self,
            engine: &engine,
            server: &server,
            session,
            now,
            may_write,
            is_short,
            has_written: false,
        };
        let ran = vm.run(&run.script, function, (keys, words), &mut calls, reply);
        running.end();
        session.db = db;
        session.suspended = None;
        ran
    }
}

/// Runs the commands of a script.
struct Calls<'a> {
    executor: &'a mut Executor,
    engine: &'a Engine,
    server: &'a Server,
    session: &'a mut Session,
    now: UnixMs,
    may_write: bool,
    is_short: bool,
    has_written: bool,
}

impl Host for Calls<'_> {
    fn call(&mut self, args: &Queue, reply: &mut Reply) -> Result<(), CommandError> {
        let args = args.args(0);
        let row = self.check(&args)?;
        let positions = key_positions(row, &args);
        let keyspace = &self.engine.keyspace;
        let hash = |&at: &usize| keyspace.hash(args.at(at));
        let hashes: smallvec::SmallVec<[KeyHash; 4]> = positions.iter().map(hash).collect();
        let unit = Unit {
            row,
            args,
            hashes: &hashes,
            positions: &positions,
        };
        let executor = &mut *self.executor;
        let began = executor.ticker.read();
        self.session.suspended = None;
        let ran = executor.run_alone(self.engine, &unit, self.now, self.session, reply, 0);
        let has_failed = executor.settle(ran, reply, 0);
        let nanos = executor.ticker.nanos_between(began, executor.ticker.read());
        executor.account_for_call(row, has_failed, nanos);
        Ok(())
    }
}

impl Calls<'_> {
    /// Whether a command may run here.
    fn check(&mut self, args: &Args<'_>) -> Result<&'static Row, CommandError> {
        let row = find_row(args).ok_or(UNKNOWN)?;
        let flags = row.command.flags;
        if !row.subcommands.is_empty() && args.len() > 1 {
            return Err(UNKNOWN);
        }
        if !row.command.arity.accepts(args.len()) {
            return Err(WRONG_ARGS);
        }
        if flags.has(Flags::NOSCRIPT) {
            return Err(NOT_ALLOWED);
        }
        if flags.has(Flags::DENYOOM) && self.is_short && !self.has_written {
            return Err(CommandError::OutOfMemory);
        }
        if flags.has(Flags::WRITE) {
            if !self.may_write {
                return Err(READ_ONLY);
            }
            if self.executor.has_below
                && self.executor.is_tier_failing()
                && self.executor.is_unrecorded(row)
            {
                return Err(CommandError::Unwritable);
            }
            if !self.server.scripts.running.begin_to_write() {
                return Err(CommandError::text("ERR the script is to end"));
            }
            self.has_written = true;
        }
        Ok(row)
    }
}
