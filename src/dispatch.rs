//! A batch of requests on its way: rows and keys, checks, locks, residency, run, account.
//!
//! Each worker thread has one [`Executor`], which its connections use in turn. A batch is planned
//! as a whole, so that the memory of all its keys is on the way before the first command runs; then
//! its commands run in order, each to its end. A command that needs something first stops the batch, with what it
//! needs in its session ([`crate::server::suspended`]): the connection waits for that, and comes again.
//!
//! Invariant: between the lock and the end of a command nothing waits; FLUSHDB, FLUSHALL and SWAPDB, which lock nothing, wait for
//! all others.
//! Invariant: commands run inside the gate of the keyspace, so that who closes it, as those three do, sees none half done.
//! Invariant: in the normal case (no error, no growth of a table) nothing is allocated here.

mod account;
mod busy;
mod call;
mod checks;
mod plan;
mod room;
pub mod script;
mod transaction;
mod waiting;

use std::ops::Range;
use std::sync::Arc;

use self::plan::Planned;
use crate::clock::{Clock, Ticker, UnixMs};
use crate::command::Flags;
use crate::command::table::Row;
use crate::config::{Config, Reader};
use crate::engine::Engine;
use crate::error::CommandError;
use crate::keyspace::eviction::{EvictionPool, Room};
use crate::keyspace::gate::{Inside, Passage};
use crate::keyspace::queues::Queues;
use crate::keyspace::{KeyHash, Terms, ThreadSlot};
use crate::random::Random;
use crate::resp::request::Unfinished;
use crate::resp::{Args, Batch, ProtocolError, Reply, RequestLimits};
use crate::script::Vm;
use crate::server::Server;
use crate::server::session::{ReplyMode, Session, Then};
use crate::server::suspended::Stop;

/// Requests that are planned together: enough to keep the memory busy, few enough that what was
/// fetched ahead is still in the cache when its turn comes.
const BATCH_REQUESTS: usize = 128;
/// Replies are sent when so many bytes have gathered, even if more requests wait.
pub const REPLY_BYTES_MAX: usize = 256 * 1024;
/// The time of the batch is read again when a command took longer than this.
const STALE_NANOS: u64 = 500_000;

/// How far the requests of a connection came.
#[derive(Debug, PartialEq, Eq)]
pub struct Ran {
    /// Bytes that are done with, counted from the start of the buffer.
    pub consumed: usize,
    /// What comes next.
    pub next: Next,
    /// Whether keys were changed, by this connection's requests, since the last call; not those that are for memory only.
    pub changed: bool,
}

/// What a connection has to do after its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Call again: there may be more requests in the buffer.
    More,
    /// Read; it takes so many bytes from `consumed` on until the next request can be complete.
    Read(usize),
    /// Wait for what the session's suspended command needs, then call again.
    Wait,
    /// Send what was answered, and close.
    Close,
}

/// Runs the requests of one thread's connections.
#[derive(Debug)]
pub struct Executor {
    server: Arc<Server>,
    engine: Arc<Engine>,
    thread: ThreadSlot,
    config: Reader,
    clock: Clock,
    ticker: Ticker,
    pool: EvictionPool,
    /// Bytes counted by this thread up to which no limit can be passed; see `has_room`.
    room_until: i64,
    room_generation: u64,
    /// Whether there is a tier below, which has much to do with each write.
    has_below: bool,
    /// Bytes counted by this thread when it last looked for room.
    used_before: i64,
    /// Bytes that this thread had changed when it last asked for a turn to write.
    changed_before: u64,
    /// Bytes of the batch.
    batch_bytes: u64,
    /// What this thread had changed when the batch got its turn to write, which is all of its commands' turn.
    changed_at_turn: Option<u64>,
    /// Whether this thread has asked for a turn since nobody took turns. What it changed before that is free.
    charges_turns: bool,
    random: Random,
    /// On what terms commands work with keys.
    terms: Terms,
    /// The options that the terms are of.
    terms_generation: u64,
    /// Whether a reply tells of a change that another thread made for its client.
    told_of_change: bool,
    /// Not there while it is in use, like the passage.
    batch: Option<Box<Batch>>,
    plan: Vec<Planned>,
    /// The keys of the batch: their hashes, and their places among the arguments of their requests.
    hashes: Vec<KeyHash>,
    positions: Vec<usize>,
    passage: Option<Passage>,
    /// The Lua state, on the thread that runs scripts.
    vm: Option<Box<Vm>>,
    /// Which one it is: another one is wanted after SCRIPT FLUSH.
    vm_generation: u64,
    /// Whether it does a job of scripts.
    runs_scripts: bool,
}

impl Executor {
    /// An executor for a thread.
    pub fn new(server: Arc<Server>, thread: ThreadSlot, clock: Clock) -> Self {
        Queues::serve_here();
        let mut config = Reader::new(Arc::clone(&server.engine.config));
        let seed = crate::clock::now_us() as u64 ^ (thread.0 as u64) << 56;
        Self {
            thread,
            random: Random(seed),
            terms: Terms::of(config.current(), clock.now(), thread, &""),
            terms_generation: config.generation(),
            config,
            clock,
            ticker: Ticker::default(),
            pool: EvictionPool::default(),
            room_until: i64::MIN,
            room_generation: 0,
            has_below: server.engine.tier.is_some(),
            used_before: 0,
            changed_before: 0,
            batch_bytes: 0,
            changed_at_turn: None,
            charges_turns: false,
            told_of_change: false,
            batch: None,
            plan: Vec::new(),
            hashes: Vec::new(),
            positions: Vec::new(),
            passage: None,
            vm: None,
            vm_generation: 0,
            runs_scripts: false,
            engine: Arc::clone(&server.engine),
            server,
        }
    }

    /// What all threads share.
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// The thread's slot.
    pub fn thread(&self) -> ThreadSlot {
        self.thread
    }

    /// The options in force.
    pub fn config(&mut self) -> &Config {
        self.config.current()
    }

    /// The time.
    pub fn now(&self) -> UnixMs {
        self.clock.now()
    }

    /// Takes the time from elsewhere, for tests.
    pub fn set_clock(&mut self, clock: Clock) {
        self.clock = clock;
    }

    /// Parses and runs a batch of requests from `buffer[from..]`.
    pub fn run(
        &mut self,
        session: &mut Session,
        buffer: &[u8],
        from: usize,
        partial: &mut Unfinished,
        reply: &mut Reply,
    ) -> Ran {
        let config = self.config.current();
        let limits = RequestLimits {
            bulk_bytes: config.proto_max_bulk_len,
            authenticated: session.may_run(config),
        };
        let (before, restored) = (self.changes(), self.restored());
        // Where a command panicked it is another client's.
        self.changed_at_turn = None;
        self.charges_turns = self.charges_turns && self.takes_turns();
        let mut batch = self.batch.take().unwrap_or_default();
        let passage = self.passage.take();
        let passage = passage.unwrap_or_else(|| self.engine.keyspace.gate().passage(self.thread));
        let inside = passage.enter_in_time();
        let (consumed, next) = match batch.parse(buffer, from, BATCH_REQUESTS, limits, partial) {
            Err(fault) => self.refuse_framing(&fault, session, from, reply),
            Ok(progress) if !batch.is_empty() => {
                self.batch_bytes = (progress.end - from + batch.apart_bytes()) as u64;
                self.plan(&batch, buffer);
                self.run_batch(&batch, session, buffer, from, reply, inside.as_ref())
            }
            Ok(progress) => (progress.end, Next::Read(progress.needed)),
        };
        if self.server.pubsub.has_names() {
            self.server.pubsub.wake_threads(self.thread);
        }
        self.settle_turn(session);
        batch.release();
        self.batch = Some(batch);
        if self.restored() != restored {
            self.make_up_for_restored();
        }
        drop(inside);
        self.passage = Some(passage);
        Ran {
            consumed,
            next,
            changed: std::mem::take(&mut self.told_of_change) || self.changes() != before,
        }
    }

    /// Changes that this thread has made and the tier below is to learn of.
    #[inline]
    fn changes(&self) -> i64 {
        if !self.has_below {
            return 0;
        }
        let counters = self.engine.keyspace.counters(self.thread);
        counters.changes.read() - counters.memory_only_changes.read()
    }

    /// Compressed values that this thread has restored.
    fn restored(&self) -> i64 {
        self.engine.keyspace.counters(self.thread).restored.read()
    }

    /// Values that were compressed take more memory now, and reads do not ask for room.
    #[cold]
    #[inline(never)]
    fn make_up_for_restored(&mut self) {
        let now = self.clock.now();
        let has_room = self.has_room(now) == Room::Enough;
        let engine = &self.engine;
        let limits = engine.limits(self.config.current(), now);
        let limits = (!has_room).then_some(&limits);
        engine.keyspace.compress_restored(limits, self.thread);
    }

    fn refuse_framing(
        &self,
        fault: &ProtocolError,
        session: &Session,
        from: usize,
        reply: &mut Reply,
    ) -> (usize, Next) {
        let error = CommandError::bytes(&[&fault.wire()]);
        self.server
            .stats
            .count_error(self.thread, &fault.to_string());
        if session.reply_mode == ReplyMode::On {
            reply.error(&error);
        }
        (from, Next::Close)
    }

    /// Apart from parsing and planning, so that both have the registers for themselves.
    #[inline(never)]
    fn run_batch(
        &mut self,
        batch: &Batch,
        session: &mut Session,
        buffer: &[u8],
        from: usize,
        reply: &mut Reply,
        inside: Option<&Inside<'_>>,
    ) -> (usize, Next) {
        let mut done = from;
        let mut now = self.clock.now();
        let mut tick = self.ticker.read();
        let (mut last, mut ran) = (None, 0);
        session.read_messages(reply);
        for index in 0..batch.len() {
            if index > 0 && inside.is_some_and(Inside::must_give_way) {
                // What is left runs when the gate is open again.
                break;
            }
            let request = Request {
                row: self.plan[index].row,
                args: batch.args(buffer, index),
                keys: self.plan[index].keys.clone(),
                now,
            };
            last = request.row;
            let outcome = match inside {
                Some(_) => self.run_request(&request, session, reply),
                None => self.run_outside(&request, session, reply),
            };
            if self.engine.keyspace.queues().any() {
                self.serve_waiters(now);
            }
            if outcome == Outcome::Waits {
                self.load_lacking(batch, buffer, index, session, now);
                self.publish(session, last, index, now);
                return (done, Next::Wait);
            }
            let end = self.ticker.read();
            let mut nanos = self.ticker.nanos_between(tick, end);
            if let Some(waited) = &session.suspended {
                nanos = nanos.saturating_add(waited.worked_nanos(now));
            }
            if outcome == Outcome::Ran {
                self.account(&request, session, nanos);
            }
            session.end_request();
            if session.subscriptions.is_some() {
                // What it has published itself comes right behind the reply.
                session.read_messages(reply);
            }
            if nanos > STALE_NANOS {
                now = self.clock.now();
            }
            tick = end;
            done = batch.end(index);
            ran = index + 1;
            if session.then != Then::GoOn {
                return (done, Next::Close);
            }
            if reply.sent_len() >= REPLY_BYTES_MAX {
                break;
            }
        }
        self.publish(session, last, ran, now);
        (done, Next::More)
    }

    /// Runs a request and writes its reply.
    #[inline(always)]
    fn run_request(
        &mut self,
        request: &Request<'_>,
        session: &mut Session,
        reply: &mut Reply,
    ) -> Outcome {
        let start = reply.len();
        let (ran, result) = match session.suspended.is_some() {
            true => self.go_on(request, session, reply),
            false => self.check_and_call(request, session, reply),
        };
        let has_run = result.is_ok();
        match result {
            Ok(()) => {}
            Err(Stop::Suspended(needed)) => {
                reply.truncate(start);
                session.suspend(*needed, request.now);
                return Outcome::Waits;
            }
            Err(Stop::Refused(error)) => {
                reply.truncate(start);
                self.refuse(&error, reply);
            }
            Err(Stop::Closed) => reply.truncate(0),
        }
        let is_push = || {
            has_run
                && request
                    .row
                    .is_some_and(|row| row.command.flags.has(Flags::PUSHES))
        };
        match session.reply_mode {
            ReplyMode::On => {}
            ReplyMode::Off if is_push() => {}
            ReplyMode::Off => reply.truncate(start),
            ReplyMode::Skip if is_push() => session.reply_mode = ReplyMode::On,
            ReplyMode::Skip => {
                reply.truncate(start);
                session.reply_mode = ReplyMode::On;
            }
            ReplyMode::SkipNext => {
                reply.truncate(start);
                session.reply_mode = ReplyMode::Skip;
            }
        }
        ran
    }

    #[cold]
    fn refuse(&self, error: &CommandError, reply: &mut Reply) {
        reply.error(error);
        let stats = &self.server.stats;
        stats.count_error(self.thread, &error.to_string());
    }

    /// Looks whether a request may run, and calls its command's function.
    #[inline(always)]
    fn check_and_call(
        &mut self,
        request: &Request<'_>,
        session: &mut Session,
        reply: &mut Reply,
    ) -> (Outcome, Result<(), Stop>) {
        if session.transaction.is_some() {
            return self.in_transaction(request, session, reply);
        }
        let row = match self.check(request, session) {
            Ok(row) => row,
            Err(stop) => return (Outcome::NotRun, Err(stop)),
        };
        let called = self.call(row, request, session, reply);
        self.count_failed(row, &called);
        (Outcome::Ran, called)
    }

    #[inline]
    fn count_failed(&self, row: &Row, called: &Result<(), Stop>) {
        if let Err(Stop::Refused(_)) = called {
            let stripe = self.server.stats.stripe(self.thread);
            stripe.per_command[row.id].failed.add(1);
        }
    }
}

/// A request whose turn it is.
struct Request<'a> {
    /// `None`: there is no such command.
    row: Option<&'static Row>,
    args: Args<'a>,
    /// Its keys, among those of the batch.
    keys: Range<usize>,
    now: UnixMs,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It ran.
    Ran,
    /// It was refused before it ran, or queued.
    NotRun,
    /// It waits, and nothing has happened.
    Waits,
}
