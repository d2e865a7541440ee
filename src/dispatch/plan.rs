//! Which rows and keys the requests of a batch have, and which of the keys memory cannot answer for.

use std::ops::Range;

use super::Executor;
use crate::clock::UnixMs;
use crate::command::Flags;
use crate::command::key_specs::Positions;
use crate::command::table::{Row, table};
use crate::engine::Engine;
use crate::equality::equal;
use crate::keyspace::footprint::FETCHED_WITH_BATCH;
use crate::resp::{Args, Batch};
use crate::server::session::Session;
use crate::server::suspended::Suspend;
use crate::tier::Wanted;

/// A request whose row and keys are known.
#[derive(Debug)]
pub(super) struct Planned {
    /// `None`: there is no such command.
    pub(super) row: Option<&'static Row>,
    /// Its keys, among those of the batch.
    pub(super) keys: Range<usize>,
}

impl Executor {
    /// Finds the rows and the keys of a batch, and has the keys' memory fetched: first the buckets
    /// of all, then, when those have arrived, the entries of all.
    pub(super) fn plan(&mut self, batch: &Batch, buffer: &[u8]) {
        self.plan.clear();
        self.hashes.clear();
        self.positions.clear();
        // Most pipelines repeat one command: its row is looked up once.
        let mut last: (&[u8], Option<&'static Row>) = (b"", None);
        for index in 0..batch.len() {
            let args = batch.args(buffer, index);
            let (begin, name) = (self.hashes.len(), args.at(0));
            let row = if equal(name, last.0) {
                last.1
            } else {
                let row = find_row(&args);
                if row.is_some_and(|row| row.is_plain) {
                    last = (name, row);
                }
                row
            };
            if let Some(row) = row.filter(|row| row.has_keys(&args)) {
                self.plan_keys(row, &args);
            }
            let keys = begin..self.hashes.len();
            self.plan.push(Planned { row, keys });
        }
        if self.hashes.len() > 1 {
            let keyspace = &self.engine.keyspace;
            // Most pipelines on one key are of nothing else.
            let first = &self.hashes[..self.hashes.len().min(FETCHED_WITH_BATCH)];
            let different = || first.chunk_by(PartialEq::eq).map(|same| same[0]);
            different().for_each(|hash| keyspace.prefetch_bucket(hash));
            different().for_each(|hash| keyspace.prefetch_entry(hash));
        }
    }

    #[inline]
    fn plan_keys(&mut self, row: &Row, args: &Args<'_>) {
        let keyspace = &self.engine.keyspace;
        if let Some(position) = row.single_key {
            self.hashes.push(keyspace.hash(args.at(position)));
            self.positions.push(position);
            return;
        }
        let positions = key_positions(row, args);
        let keys = positions.iter().map(|&position| args.at(position));
        self.hashes.extend(keys.map(|key| keyspace.hash(key)));
        self.positions.extend(positions);
    }

    /// Says which keys a request needs that is to wait for its keys.
    #[cold]
    pub(super) fn load_lacking(
        &self,
        batch: &Batch,
        buffer: &[u8],
        index: usize,
        session: &mut Session,
        now: UnixMs,
    ) {
        let waits = session.suspended(now);
        if !waits.waits_for_loads() {
            return;
        }
        waits.rounds.begin(&self.engine.overdraft);
        if session.transaction.is_some() {
            // EXEC has said itself which keys it lacks.
            return;
        }
        let wanted = self.lacking(batch, buffer, index, session);
        session.suspend(Suspend::Loads(wanted, now), now);
    }

    /// The keys of a request, and of those behind it, that memory cannot answer for.
    fn lacking(&self, batch: &Batch, buffer: &[u8], from: usize, session: &Session) -> Vec<Wanted> {
        let keyspace = &self.engine.keyspace;
        let name = keyspace.space_name(session.db);
        let mut wanted = Vec::new();
        let waits = session.suspended.as_ref();
        let end = match waits.is_some_and(|waits| waits.rounds.own_keys_only()) {
            true => from + 1,
            false => batch.len(),
        };
        for index in from..end {
            let args = batch.args(buffer, index);
            let needs_keys = |row: &&Row| needs_keys(&self.engine, row, &args);
            if self.plan[index].row.filter(needs_keys).is_none() {
                continue;
            }
            let keys = self.plan[index].keys.clone();
            let positions = &self.positions[keys.clone()];
            let hashes = &self.hashes[keys];
            for (at, (&hash, &position)) in hashes.iter().zip(positions).enumerate() {
                keyspace.prefetch_behind(hashes, at);
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
        for other in waits.into_iter().flat_map(|waits| &waits.others) {
            let hash = keyspace.hash(&other.key);
            if !keyspace.is_resident(hash, other.db, &other.key, self.thread) {
                wanted.push(Wanted {
                    hash,
                    name: keyspace.space_name(other.db),
                    key: other.key.clone(),
                });
            }
        }
        wanted
    }
}

/// The places of a request's keys. Where its options do not fit its row the command is going to refuse it; until then
/// every argument counts as a key, so that it cannot reach one that is not locked.
#[inline]
pub(super) fn key_positions(row: &Row, args: &Args<'_>) -> Positions {
    row.key_positions(args)
        .unwrap_or_else(|| (1..args.len()).collect())
}

/// Whether a request must have its keys in memory. One that only writes over them must too while what it writes over may
/// be pinned.
#[inline]
pub(super) fn needs_keys(engine: &Engine, row: &Row, args: &Args<'_>) -> bool {
    row.looks_at_keys(args) || may_lose_pins(engine, row) && row.has_keys(args)
}

fn may_lose_pins(engine: &Engine, row: &Row) -> bool {
    let tier = engine.tier.as_ref();
    row.command.flags.has(Flags::WRITE) && tier.is_some_and(|tier| tier.has_cold_pins())
}

/// The row of a request: its command's, or its subcommand's.
#[inline]
pub(super) fn find_row(args: &Args<'_>) -> Option<&'static Row> {
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

#[cfg(test)]
mod tests {
    use crate::testing::script;

    script!(a_command_without_keys_has_none_of_the_next_one, |db| {
        db.run("MSET a 1 b 2").ok();
        let pipeline = b"PING\r\nBITOP OR c a b\r\nDBSIZE\r\nMGET a b\r\nPING\r\n";
        let replies = b"+PONG\r\n:1\r\n:3\r\n*2\r\n$1\r\n1\r\n$1\r\n2\r\n+PONG\r\n";
        assert_eq!(db.send(pipeline), replies);
    });
}
