//! What a command that writes must wait for: its turn, where the tier below does not follow; and room in memory, if it may need
//! some, made where the policy allows it, waited for where the tier must take something first.

use super::Executor;
use crate::clock::UnixMs;
use crate::command::Flags;
use crate::command::table::Row;
use crate::config::{Config, TierDurability, TierOverload};
use crate::keyspace::eviction::{Limits, Room, Unwritten};
use crate::server::latency::Event;
use crate::server::session::Session;
use crate::server::suspended::Suspend;

/// So many keys are evicted for one command, besides those for what its thread has added, and fewer where commands take turns. Each
/// evicts more than it brings, but so few that no batch takes long: what a run of the tier takes while it is gathered, or what a
/// client is sent, comes at once. Maintenance evicts the rest.
const VICTIMS_PER_COMMAND: usize = 64;
const VICTIMS_PER_TURN: usize = 16;
/// A batch takes another turn where it has changed so much more than it asked for.
const TURN_BYTES: u64 = 1 << 20;
/// No key takes less.
const VICTIM_BYTES_MIN: i64 = 48;

impl Executor {
    pub(super) fn is_tier_failing(&self) -> bool {
        let tier = self.engine.tier.as_ref();
        tier.is_some_and(|tier| tier.is_failing())
    }

    /// Whether a write is refused because the disk does not take it. Emptying a database is what helps a full one. What only
    /// deletes goes on for longest; what leaves other values does while there is room to remember them.
    #[cold]
    pub(super) fn is_unrecorded(&mut self, row: &Row) -> bool {
        let Some(tier) = &self.engine.tier else {
            return false;
        };
        let name = row.command.name;
        let helps = matches!(name, "flushall" | "flushdb");
        let deletes = matches!(name, "del" | "unlink" | "getdel");
        let is_large = row.command.flags.has(Flags::DENYOOM) || tier.unsaved() > 0;
        !helps && tier.refuses(self.config.current(), is_large && !deletes)
    }

    /// Whether there is memory for a command that may need some, or what it must wait for where the tier below has not taken
    /// some yet.
    pub(super) fn find_room(
        &mut self,
        session: &mut Session,
        now: UnixMs,
    ) -> Result<Room, Suspend> {
        if !self.engine.keyspace.has_below() || self.is_tier_failing() {
            return Ok(self.has_room(now));
        }
        let room = self.has_room(now);
        if room != Room::Soon {
            return Ok(room);
        }
        if !may_shed(self.config.current()) {
            return Err(Suspend::Room(None));
        }
        let since = *session.suspended(now).short_since.get_or_insert(now);
        let settled = self.engine.keyspace.settled();
        if let Some(patience) = self.engine.overload.patience(now.0 - since.0, settled) {
            return Err(Suspend::Room(Some(patience)));
        }
        match self.make_room(now, Unwritten::Goes) {
            // Nothing but marks of deleted keys is left.
            Room::Soon => Err(Suspend::Room(None)),
            room => Ok(room),
        }
    }

    /// Whether the disk takes less than clients write, so that each must wait for its turn.
    #[inline]
    pub(super) fn takes_turns(&self) -> bool {
        let engine = &self.engine;
        engine.pacing.is_on(engine.keyspace.unsafe_bytes())
    }

    /// That a batch waits for its turn: with its first command that writes, for all of them, and once more where they turn out to
    /// change much more than their own bytes. While the disk takes nothing at all nobody waits for it.
    #[cold]
    pub(super) fn turn(&mut self, session: &mut Session, now: UnixMs) -> Option<Suspend> {
        if self.is_tier_failing() {
            return None;
        }
        let keyspace = &self.engine.keyspace;
        let changed = keyspace.changed_bytes(self.thread);
        let waits = session.suspended.as_ref();
        if waits.is_some_and(|waits| waits.has_turn) {
            self.changed_at_turn = Some(changed);
            return None;
        }
        let before = std::mem::replace(&mut self.changed_before, changed);
        let charges_turns = std::mem::replace(&mut self.charges_turns, true);
        let since = if charges_turns { changed - before } else { 0 };
        let line = self.engine.pacing.charge(since, keyspace.unsafe_bytes())?;
        let asked = match self.changed_at_turn {
            None => self.batch_bytes,
            Some(before) if changed - before <= self.batch_bytes + TURN_BYTES => return None,
            Some(_) => {
                self.settle_turn(session);
                0
            }
        };
        let wait = self.engine.pacing.turn(&mut session.share, asked, line);
        match wait {
            Some(_) => session.suspended(now).has_turn = true,
            None => self.changed_at_turn = Some(changed),
        }
        wait.map(Suspend::Turn)
    }

    /// What the batch has changed since it had its turn is known now.
    #[inline]
    pub(super) fn settle_turn(&mut self, session: &mut Session) {
        if let Some(before) = self.changed_at_turn.take() {
            let changed = self.engine.keyspace.changed_bytes(self.thread);
            session.share.settle(changed - before);
        }
    }

    /// Whether this thread has added less than its share of what was left.
    #[inline]
    pub(super) fn knows_room(&self) -> bool {
        let added = self.engine.keyspace.counters(self.thread).used_bytes.read();
        added < self.room_until && self.room_generation == self.engine.config.generation()
    }

    /// The next command that may need memory looks again whether there is some.
    pub(super) fn forget_room(&mut self) {
        self.room_until = i64::MIN;
    }

    /// Whether there is memory for a command that may need some; makes room where the policy allows
    /// it. While this thread has added less than its share of what was left, the answer is known.
    #[inline]
    pub(super) fn has_room(&mut self, now: UnixMs) -> Room {
        if self.knows_room() {
            return Room::Enough;
        }
        let policy = self.config.current().maxmemory_policy;
        self.make_room(now, Unwritten::Judged { policy, now })
    }

    fn make_room(&mut self, now: UnixMs, unwritten: Unwritten) -> Room {
        let began = self.ticker.read();
        let (server, engine) = (&self.server, &self.engine);
        self.room_generation = engine.config.generation();
        let takes_turns = self.takes_turns();
        let mut limits = Limits {
            unwritten,
            ..engine.limits(self.config.current(), now)
        };
        let used = || engine.keyspace.counters(self.thread).used_bytes.read();
        let besides = match takes_turns {
            true => VICTIMS_PER_TURN,
            false => VICTIMS_PER_COMMAND,
        };
        let grown = (used() - self.used_before).max(0) / VICTIM_BYTES_MIN;
        let for_grown = usize::try_from(grown).unwrap_or(usize::MAX);
        limits.victims_max = limits.victims_max.min(for_grown.saturating_add(besides));
        let has_room = engine
            .keyspace
            .make_room(&limits, self.thread, &mut self.pool);
        let added = used();
        self.used_before = added;
        self.room_until = match takes_turns || server.engine.overdraft.is_taken() {
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
}

/// Whether keys may be evicted that the disk has not taken yet: under `tier-durability always` they are a promise.
fn may_shed(config: &Config) -> bool {
    config.tier_overload == TierOverload::Shed && config.tier_durability != TierDurability::Always
}
