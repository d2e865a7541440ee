//! A batch of requests on its way: rows and keys, checks, locks, residency, run, account.
//!
//! Each worker thread has one [`Executor`], which its connections use in turn. A batch is planned
//! as a whole, so that the memory of all its keys is on the way before the first command runs; then
//! its commands run in order, each to its end. A command whose keys memory cannot answer for stops the
//! batch: the connection waits until the tier below has fetched them, and comes again.
//!
//! Invariant: between the lock and the end of a command nothing waits.
//! Invariant: commands run inside the gate of the keyspace, so that who closes it sees none half done.
//! Invariant: in the normal case (no error, no growth of a table) nothing is allocated here.

mod waiting;

use std::ops::Range;
use std::sync::Arc;

use crate::clock::{Clock, Ticker, UnixMs};
use crate::command::key_specs::Positions;
use crate::command::table::{Row, table};
use crate::command::{Context, Flags};
use crate::config::{CallableFrom, Config, Reader, TierDurability, TierOverload};
use crate::engine::Engine;
use crate::equality::equal;
use crate::error::{CommandError, c_text};
use crate::keyspace::eviction::{AccessPolicy, EvictionPool, Limits, Room, Unwritten};
use crate::keyspace::gate::{Inside, Passage};
use crate::keyspace::lfu::LfuSettings;
use crate::keyspace::queues::Queues;
use crate::keyspace::{EventName, KeyHash, Terms, ThreadSlot};
use crate::resp::request::Partial;
use crate::resp::{Args, Batch, ProtocolError, Reply, RequestLimits};
use crate::server::Server;
use crate::server::delivery::Delivery;
use crate::server::latency::Event;
use crate::server::session::{Asked, ReplyMode, Session, Then};
use crate::server::slowlog::{self, SlowCommand};
use crate::tier::{Need, Wanted};

/// Requests that are planned together: enough to keep the memory busy, few enough that what was
/// fetched ahead is still in the cache when its turn comes.
const BATCH_REQUESTS: usize = 128;
/// Replies are sent when so many bytes have gathered, even if more requests wait.
pub const REPLY_BYTES_MAX: usize = 256 * 1024;
/// The time of the batch is read again when a command took longer than this.
const STALE_NANOS: u64 = 500_000;
/// A command that waits for longer is looked at again so often, so that no deadline lies too far in
/// the future for a timer.
const WAIT_ROUND_MS: i64 = 3_600_000;
/// A command that asks for more keys each time that it runs is refused after so many times.
const LOCK_ROUNDS: usize = 16;
/// Bytes of an unknown command and of its arguments that the error repeats.
const UNKNOWN_BYTES_MAX: usize = 128;

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
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Call again: there may be more requests in the buffer.
    More,
    /// Read; it takes so many bytes from `consumed` on until the next request can be complete.
    Read(usize),
    /// Wait: commands are held back until this time, or until the pause ends.
    Pause(UnixMs),
    /// Wait for keys until this time, or for ever, then call again. Others see to it that the wait ends.
    Blocked(Option<UnixMs>),
    /// Wait for the tier below, then call again.
    Below(Need),
    /// Have keys sent to another server, then call again.
    Deliver(Box<Delivery>),
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
    random: u64,
    /// Whether a reply tells of a change that another thread made for its client.
    told_of_change: bool,
    batch: Batch,
    plan: Vec<Planned>,
    hashes: Vec<KeyHash>,
    /// Not there while it is in use.
    passage: Option<Passage>,
}

/// A request whose row and keys are known.
#[derive(Debug)]
struct Planned {
    /// `None`: there is no such command.
    row: Option<&'static Row>,
    /// Its keys, among the hashes of the batch.
    hashes: Range<usize>,
}

impl Executor {
    /// An executor for a thread.
    pub fn new(server: Arc<Server>, thread: ThreadSlot, clock: Clock) -> Self {
        Queues::serve_here();
        let config = Reader::new(Arc::clone(&server.engine.config));
        Self {
            thread,
            config,
            clock,
            ticker: Ticker::default(),
            pool: EvictionPool::default(),
            room_until: i64::MIN,
            room_generation: 0,
            random: crate::clock::now_us() as u64 ^ (thread.0 as u64) << 56 | 1,
            told_of_change: false,
            batch: Batch::default(),
            plan: Vec::new(),
            hashes: Vec::new(),
            passage: None,
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
        partial: &mut Option<Box<Partial>>,
        reply: &mut Reply,
    ) -> Ran {
        let config = self.config.current();
        let limits = RequestLimits {
            bulk_bytes: config.proto_max_bulk_len,
            authenticated: session.may_run(config),
        };
        let (before, restored) = (self.changes(), self.restored());
        let mut batch = std::mem::take(&mut self.batch);
        let passage = self.passage.take();
        let passage = passage.unwrap_or_else(|| self.engine.keyspace.gate().passage(self.thread));
        let inside = passage.enter();
        let (consumed, next) = match batch.parse(buffer, from, BATCH_REQUESTS, limits, partial) {
            Err(fault) => self.refuse_framing(&fault, from, reply),
            Ok(_) if !batch.is_empty() => {
                self.plan(&batch, buffer);
                self.run_batch(&batch, session, buffer, from, reply, &inside)
            }
            Ok(progress) => (progress.end, Next::Read(progress.needed)),
        };
        self.batch = batch;
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
    fn changes(&self) -> i64 {
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
        self.has_room(self.clock.now());
    }

    fn refuse_framing(
        &self,
        fault: &ProtocolError,
        from: usize,
        reply: &mut Reply,
    ) -> (usize, Next) {
        let error = CommandError::bytes(&[&fault.wire()]);
        self.server
            .stats
            .count_error(self.thread, &fault.to_string());
        reply.error(&error);
        (from, Next::Close)
    }

    /// Finds the rows and the keys of a batch, and has the keys' memory fetched: first the buckets
    /// of all, then, when those have arrived, the entries of all.
    fn plan(&mut self, batch: &Batch, buffer: &[u8]) {
        self.plan.clear();
        self.hashes.clear();
        // Most pipelines repeat one command: its row is looked up once.
        let mut last: (&[u8], Option<&'static Row>) = (b"", None);
        for index in 0..batch.len() {
            let args = batch.args(buffer, index);
            let first = self.hashes.len();
            let row = if equal(args.at(0), last.0) {
                last.1
            } else {
                find_row(&args)
            };
            if row.is_some_and(|row| row.is_plain) {
                last = (args.at(0), row);
            }
            if let Some(row) = row
                .filter(|row| !row.command.keys.is_empty() && row.command.arity.accepts(args.len()))
            {
                let hash = |position| self.engine.keyspace.hash(args.at(position));
                match row.single_key {
                    Some(position) => self.hashes.push(hash(position)),
                    None => self
                        .hashes
                        .extend(key_positions(row, &args).into_iter().map(hash)),
                }
            }
            self.plan.push(Planned {
                row,
                hashes: first..self.hashes.len(),
            });
        }
        if self.hashes.len() > 1 {
            let keyspace = &self.engine.keyspace;
            // Most pipelines on one key are of nothing else.
            let different = || self.hashes.chunk_by(PartialEq::eq).map(|same| same[0]);
            different().for_each(|hash| keyspace.prefetch_bucket(hash));
            different().for_each(|hash| keyspace.prefetch_entry(hash));
        }
    }

    fn run_batch(
        &mut self,
        batch: &Batch,
        session: &mut Session,
        buffer: &[u8],
        from: usize,
        reply: &mut Reply,
        inside: &Inside<'_>,
    ) -> (usize, Next) {
        let mut done = from;
        let mut now = self.clock.now();
        let mut tick = self.ticker.read();
        for index in 0..batch.len() {
            inside.give_way();
            let args = batch.args(buffer, index);
            let row = self.plan[index].row;
            if let Some(until) = self.held_back(row, now) {
                return (done, Next::Pause(until));
            }
            if let Some(need) = self.lacks_room(row, session, now) {
                return (done, Next::Below(need));
            }
            let outcome = self.run_request(index, &args, session, reply, now);
            if self.engine.keyspace.queues().any() {
                self.serve_waiters(now);
            }
            if outcome == Outcome::Lacking {
                session.rounds.begin(&self.engine.overdraft);
                let wanted = self.lacking(batch, buffer, index, session);
                return (done, Next::Below(Need::Keys(wanted, now)));
            }
            session.rounds.end();
            if let Some(waiter) = &session.waiter {
                return (done, Next::Blocked(waiter.until));
            }
            if let Some(asked) = session.asked.take() {
                let next = match asked {
                    Asked::Below(ask) => Next::Below(Need::Answer(ask)),
                    Asked::Delivery(delivery) => Next::Deliver(delivery),
                };
                return (done, next);
            }
            let end = self.ticker.read();
            let mut nanos = self.ticker.nanos_between(tick, end);
            if let Some(wait) = session.wait {
                if wait.until > now {
                    return (
                        done,
                        Next::Pause(UnixMs(wait.until.0.min(now.0 + WAIT_ROUND_MS))),
                    );
                }
                session.wait = None;
                if wait.counted {
                    let waited_ms = (now.0 - wait.since.0).max(0).cast_unsigned();
                    nanos = nanos.saturating_add(waited_ms.saturating_mul(1_000_000));
                }
            }
            if outcome == Outcome::Ran {
                self.account(row, &args, session, nanos, now);
            }
            if nanos > STALE_NANOS {
                now = self.clock.now();
            }
            tick = end;
            done = batch.end(index);
            if session.then == Then::Close {
                return (done, Next::Close);
            }
            if reply.len() >= REPLY_BYTES_MAX {
                break;
            }
        }
        self.publish(session, now);
        (done, Next::More)
    }

    fn held_back(&self, row: Option<&Row>, now: UnixMs) -> Option<UnixMs> {
        let pause = &self.server.pause;
        if let Some(until) = pause.asleep(now) {
            return Some(until);
        }
        let flags = row.map_or(Flags::NONE, |row| row.command.flags);
        let is_exempt =
            |row: &Row| row.command.name == "client" || row.full_name.starts_with("client|");
        pause
            .holds(flags.has(Flags::WRITE), now)
            .filter(|_| !row.is_some_and(is_exempt))
    }

    fn is_tier_failing(&self) -> bool {
        let tier = self.engine.tier.as_ref();
        tier.is_some_and(|tier| tier.is_failing())
    }

    /// What a command that needs memory must wait for where the tier below has not taken some yet.
    fn lacks_room(
        &mut self,
        row: Option<&Row>,
        session: &mut Session,
        now: UnixMs,
    ) -> Option<Need> {
        let lacks = self.engine.keyspace.has_below()
            && !self.is_tier_failing()
            && row.is_some_and(|row| row.command.flags.has(Flags::DENYOOM))
            && self.has_room(now) == Room::Soon;
        if !lacks {
            session.short_since = None;
            return None;
        }
        if !may_shed(self.config.current()) {
            return Some(Need::Written);
        }
        let since = *session.short_since.get_or_insert(now);
        let settled = self.engine.keyspace.settled();
        if let Some(patience) = self.engine.overload.patience(now.0 - since.0, settled) {
            return Some(Need::Room(patience));
        }
        if self.make_room(now, Unwritten::Goes) == Room::Soon {
            // Nothing but marks of deleted keys is left.
            return Some(Need::Written);
        }
        session.short_since = None;
        None
    }

    /// The keys of a request, and of those behind it, that memory cannot answer for.
    fn lacking(&self, batch: &Batch, buffer: &[u8], from: usize, session: &Session) -> Vec<Wanted> {
        let keyspace = &self.engine.keyspace;
        let name = keyspace.space_name(session.db);
        let mut wanted = Vec::new();
        let end = match session.rounds.own_keys_only() {
            true => from + 1,
            false => batch.len(),
        };
        for index in from..end {
            let args = batch.args(buffer, index);
            let needs_keys = |row: &&Row| needs_keys(&self.server, row, &args);
            let Some(row) = self.plan[index].row.filter(needs_keys) else {
                continue;
            };
            let hashes = &self.hashes[self.plan[index].hashes.clone()];
            for (position, &hash) in key_positions(row, &args).into_iter().zip(hashes) {
                let key = args.at(position);
                if !keyspace.is_resident(hash, session.db, key, self.thread) {
                    wanted.push(Wanted {
                        hash,
                        name,
                        key: key.into(),
                    });
                }
            }
        }
        for key in &session.further_keys {
            let hash = keyspace.hash(key);
            if !keyspace.is_resident(hash, session.db, key, self.thread) {
                let key = key.clone();
                wanted.push(Wanted { hash, name, key });
            }
        }
        wanted
    }

    /// Runs a request and writes its reply.
    fn run_request(
        &mut self,
        index: usize,
        args: &Args<'_>,
        session: &mut Session,
        reply: &mut Reply,
        now: UnixMs,
    ) -> Outcome {
        if self.plan[index].row.is_none() && is_http(args.at(0)) {
            tracing::warn!(
                "Possible attack: {} speaks HTTP, closing",
                session.client.address
            );
            reply.truncate(0);
            session.then = Then::Close;
            return Outcome::Refused;
        }
        let start = reply.len();
        let row = self.plan[index].row;
        let waiter = session.waiter.take();
        let (ran, result) = match waiter.and_then(|waiter| self.conclude(&waiter, reply)) {
            Some(concluded) => (Outcome::Ran, concluded.map(|()| true)),
            None => {
                let checked = self.check(row, args, session, now);
                let ran = if checked.is_ok() {
                    Outcome::Ran
                } else {
                    Outcome::Refused
                };
                let result = checked.and_then(|row| {
                    self.call(row, index, args, session, reply, now)
                        .inspect_err(|_| {
                            self.server.stats.stripe(self.thread).per_command[row.id]
                                .failed
                                .add(1);
                        })
                });
                (ran, result)
            }
        };
        match result {
            Ok(true) => {}
            Ok(false) => return Outcome::Lacking,
            Err(error) => {
                reply.truncate(start);
                reply.error(&error);
                self.server
                    .stats
                    .count_error(self.thread, &error.to_string());
                // Of keys that were sent before it was refused to go on.
                session.delivered = None;
            }
        }
        if !session.further_keys.is_empty() {
            session.further_keys.clear();
        }
        if session.waiter.is_some() || session.wait.is_some_and(|wait| wait.until > now) {
            reply.truncate(start);
            return ran;
        }
        match session.reply_mode {
            ReplyMode::On => {}
            ReplyMode::Off => reply.truncate(start),
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

    /// Whether a request may run at all.
    fn check(
        &mut self,
        row: Option<&'static Row>,
        args: &Args<'_>,
        session: &Session,
        now: UnixMs,
    ) -> Result<&'static Row, CommandError> {
        let row = row.ok_or_else(|| unknown_command(args))?;
        let refused = self.refusal(row, args, session, now);
        match refused {
            None => Ok(row),
            Some(error) => {
                self.server.stats.stripe(self.thread).per_command[row.id]
                    .rejected
                    .add(1);
                Err(error)
            }
        }
    }

    fn refusal(
        &mut self,
        row: &Row,
        args: &Args<'_>,
        session: &Session,
        now: UnixMs,
    ) -> Option<CommandError> {
        if !row.command.arity.accepts(args.len()) {
            return Some(CommandError::WrongArity(row.full_name.clone().into()));
        }
        // A container alone, such as COMMAND, runs if its arity allows it.
        if !row.subcommands.is_empty() && args.len() > 1 {
            return Some(unknown_subcommand(row, args));
        }
        if row.command.flags.has(Flags::PROTECTED)
            && !may_call(self.config.current().enable_debug_command, session)
        {
            return Some(CommandError::text(PROTECTED));
        }
        if !row.command.flags.has(Flags::NO_AUTH) && !session.may_run(self.config.current()) {
            return Some(CommandError::text("NOAUTH Authentication required."));
        }
        if row.command.flags.has(Flags::DENYOOM) {
            match self.has_room(now) {
                Room::None => return Some(CommandError::OutOfMemory),
                Room::Soon if self.is_tier_failing() => return Some(CommandError::Unwritable),
                _ => {}
            }
        }
        if row.command.flags.has(Flags::WRITE)
            && self.is_tier_failing()
            && self.engine.is_durable_always()
        {
            return Some(CommandError::Unwritable);
        }
        None
    }

    /// On what terms the next command works with keys, and its random number.
    #[inline]
    fn terms(&mut self, event: EventName, now: UnixMs, no_touch: bool) -> (Terms, u64) {
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

    /// Calls a command's function, again and again while it asks for more keys. False where memory cannot answer for them.
    #[inline]
    fn call(
        &mut self,
        row: &'static Row,
        index: usize,
        args: &Args<'_>,
        session: &mut Session,
        reply: &mut Reply,
        now: UnixMs,
    ) -> Result<bool, CommandError> {
        for _ in 0..LOCK_ROUNDS {
            let called = self.call_once(row, index, args, session, reply, now);
            if !std::mem::take(&mut session.runs_again) {
                return called;
            }
        }
        Err(CommandError::text(
            "ERR the elements changed each time that they were looked at, try again",
        ))
    }

    /// Locks the keys and calls the command's function. False where memory cannot answer for them.
    #[inline]
    fn call_once(
        &mut self,
        row: &'static Row,
        index: usize,
        args: &Args<'_>,
        session: &mut Session,
        reply: &mut Reply,
        now: UnixMs,
    ) -> Result<bool, CommandError> {
        let (terms, random) = self.terms(&row.command.name, now, session.no_touch);
        let config = self.config.current();
        let server = &self.server;
        let declared = &self.hashes[self.plan[index].hashes.clone()];
        let all: Vec<KeyHash>;
        let hashes = if session.further_keys.is_empty() {
            declared
        } else {
            let further = session.further_keys.iter();
            let further = further.map(|key| server.engine.keyspace.hash(key));
            all = declared.iter().copied().chain(further).collect();
            &all
        };
        let mut context = Context {
            // Here and not before, as it would be copied.
            keys: server.engine.keyspace.lock(hashes, session.db, terms),
            reply,
            now,
            session,
            config,
            server,
            random,
        };
        if server.engine.keyspace.has_below() && needs_keys(server, row, args) {
            let (keys, session) = (&context.keys, &mut *context.session);
            let lacks = |key: &[u8]| !keys.is_resident(key);
            let mut positions = key_positions(row, args).into_iter();
            if positions.any(|position| lacks(args.at(position)))
                || session.further_keys.iter().any(|key| lacks(key))
            {
                let failed = |hash: &KeyHash| session.unreadable.contains(hash);
                if hashes.iter().any(failed) {
                    session.unreadable.clear();
                    return Err(CommandError::Unreadable);
                }
                if session.rounds.are_too_many() {
                    return Err(CommandError::OutOfMemory);
                }
                return Ok(false);
            }
        }
        (row.command.run)(&mut context, args).map(|()| true)
    }

    /// Whether there is memory for a command that may need some; makes room where the policy allows
    /// it. While this thread has added less than its share of what was left, the answer is known.
    #[inline]
    fn has_room(&mut self, now: UnixMs) -> Room {
        let added = self.engine.keyspace.counters(self.thread).used_bytes.read();
        if added < self.room_until && self.room_generation == self.engine.config.generation() {
            return Room::Enough;
        }
        let policy = self.config.current().maxmemory_policy;
        self.make_room(now, Unwritten::Judged { policy, now })
    }

    fn make_room(&mut self, now: UnixMs, unwritten: Unwritten) -> Room {
        let began = self.ticker.read();
        let (server, engine) = (&self.server, &self.engine);
        self.room_generation = engine.config.generation();
        let limits = Limits {
            unwritten,
            ..engine.limits(self.config.current(), now)
        };
        let has_room = engine
            .keyspace
            .make_room(&limits, self.thread, &mut self.pool);
        let added = engine.keyspace.counters(self.thread).used_bytes.read();
        self.room_until = match server.engine.overdraft.is_taken() {
            // What is allowed now is not for long.
            true => i64::MIN,
            false => added.saturating_add(server.engine.keyspace.headroom(&limits)),
        };
        let nanos = self.ticker.nanos_between(began, self.ticker.read());
        let threshold_ms = self.config.current().latency_monitor_threshold_ms;
        let latency = &self.server.latency;
        latency.note(Event::EvictionCycle, nanos / 1_000_000, threshold_ms, now);
        has_room
    }

    /// Counts a request that is done.
    #[inline]
    fn account(
        &mut self,
        row: Option<&Row>,
        args: &Args<'_>,
        session: &Session,
        nanos: u64,
        now: UnixMs,
    ) {
        let stripe = self.server.stats.stripe(self.thread);
        stripe.commands.add(1);
        let Some(row) = row else { return };
        let config = self.config.current();
        stripe.ran(row.id, nanos, config.latency_tracking);
        let threshold_ms = config.latency_monitor_threshold_ms;
        let slower_than_us = u64::try_from(config.slowlog_log_slower_than_us).unwrap_or(u64::MAX);
        if threshold_ms > 0 {
            let event = if row.command.flags.has(Flags::FAST) {
                Event::FastCommand
            } else {
                Event::Command
            };
            let latency = &self.server.latency;
            latency.note(event, nanos / 1_000_000, threshold_ms, now);
        }
        if nanos >= slower_than_us.saturating_mul(1000)
            && !row.command.flags.has(Flags::SKIP_SLOWLOG)
        {
            self.log_slow(row, args, session, nanos / 1000, now);
        }
    }

    #[cold]
    fn log_slow(
        &mut self,
        row: &Row,
        args: &Args<'_>,
        session: &Session,
        micros: u64,
        now: UnixMs,
    ) {
        let config = self.config.current();
        let max_len = usize::try_from(config.slowlog_max_len).unwrap_or(usize::MAX);
        let command = SlowCommand {
            id: 0,
            time_s: now.as_secs(),
            micros,
            args: slowlog::shortened(
                |at| row.shown(args, at),
                args.len(),
                config.slowlog_entry_max_argc,
                config.slowlog_entry_max_string_len,
            ),
            client_address: session.client.address.clone(),
            client_name: session.client.name.lock().clone(),
        };
        self.server.slowlog.push(command, max_len);
    }

    /// Shows others what the batch changed of its client.
    fn publish(&self, session: &Session, now: UnixMs) {
        use std::sync::atomic::Ordering::Relaxed;
        let client = &session.client;
        client.last_seen_ms.store(now.0, Relaxed);
        client.db.store(session.db as u8, Relaxed);
        if let Some(row) = self.plan.last().and_then(|planned| planned.row) {
            client.last_command.store(row.id as u16, Relaxed);
        }
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It ran.
    Ran,
    /// It was refused before it ran.
    Refused,
    /// It waits for its keys, and nothing has happened.
    Lacking,
}

/// The error for DEBUG where it is not enabled.
const PROTECTED: &str = "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can \
     run it from a local connection, otherwise you need to set this option in the configuration file, and then restart \
     the server.";

/// Whether a client may call a guarded command.
fn may_call(from: CallableFrom, session: &Session) -> bool {
    match from {
        CallableFrom::No => false,
        CallableFrom::Yes => true,
        CallableFrom::Local => session.client.is_local(),
    }
}

/// Whether keys may be evicted that the disk has not taken yet: under `tier-durability always` they are a promise.
fn may_shed(config: &Config) -> bool {
    config.tier_overload == TierOverload::Shed && config.tier_durability != TierDurability::Always
}

/// The places of a request's keys. Where its options do not fit its row the command is going to refuse it; until then
/// every argument counts as a key, so that it cannot reach one that is not locked.
#[inline]
fn key_positions(row: &Row, args: &Args<'_>) -> Positions {
    row.key_positions(args)
        .unwrap_or_else(|| (1..args.len()).collect())
}

/// Whether a request must have its keys in memory. One that only writes over them must too while what it writes over may
/// be pinned.
#[inline]
fn needs_keys(server: &Server, row: &Row, args: &Args<'_>) -> bool {
    row.looks_at_keys(args) || may_lose_pins(server, row) && row.has_keys(args)
}

fn may_lose_pins(server: &Server, row: &Row) -> bool {
    let tier = server.engine.tier.as_ref();
    row.command.flags.has(Flags::WRITE) && tier.is_some_and(|tier| tier.has_cold_pins())
}

/// The row of a request: its command's, or its subcommand's.
#[inline]
fn find_row(args: &Args<'_>) -> Option<&'static Row> {
    let row = table().find(args.at(0))?;
    if row.subcommands.is_empty() {
        return Some(row);
    }
    Some(
        args.get(1)
            .and_then(|name| row.subcommand(name))
            .unwrap_or(row),
    )
}

/// Whether a line is of HTTP. A browser that was lured into sending a request here must not get past its headers to
/// commands in its body.
fn is_http(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
}

fn unknown_command(args: &Args<'_>) -> CommandError {
    let mut shown = Vec::new();
    for arg in args.from(1) {
        if shown.len() >= UNKNOWN_BYTES_MAX {
            break;
        }
        let arg = &c_text(arg);
        let arg = &arg[..arg.len().min(UNKNOWN_BYTES_MAX - shown.len())];
        shown.extend_from_slice(&[b"'", arg, b"' "].concat());
    }
    let name = c_text(args.at(0));
    let name = &name[..name.len().min(UNKNOWN_BYTES_MAX)];
    CommandError::bytes(&[
        b"ERR unknown command '",
        name,
        b"', with args beginning with: ",
        &shown,
    ])
}

fn unknown_subcommand(row: &Row, args: &Args<'_>) -> CommandError {
    let name = c_text(args.get(1).unwrap_or_default());
    let name = &name[..name.len().min(UNKNOWN_BYTES_MAX)];
    let container = row.full_name.to_ascii_uppercase();
    CommandError::bytes(&[
        b"ERR unknown subcommand '",
        name,
        b"'. Try ",
        container.as_bytes(),
        b" HELP.",
    ])
}
