//! What a client has begun with MULTI or WATCH and not ended.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Server;
use super::clients::Client;
use crate::clock::UnixMs;
use crate::command::Flags;
use crate::command::table::Row;
use crate::keyspace::KeyHash;
use crate::keyspace::footprint::OtherKey;
use crate::keyspace::watched::Mark;
use crate::resp::{Args, Queue};

/// About what a watched key takes, beside its name: its places with the client and with those who watch it.
const WATCHED_KEY_BYTES: usize = 160;

/// The commands behind MULTI, which run together at EXEC.
#[derive(Debug)]
pub struct Transaction {
    client: Arc<Client>,
    /// The requests.
    pub queue: Queue,
    /// For each of them its row, and where its keys end among all keys.
    pub commands: Vec<Queued>,
    /// The hashes of all keys.
    pub hashes: Vec<KeyHash>,
    /// The places of the keys among the arguments of their requests.
    pub positions: Vec<usize>,
    /// What any of the commands does.
    pub flags: Flags,
    /// One was refused, so that none runs.
    pub is_broken: bool,
}

/// A command that waits for EXEC.
#[derive(Clone, Copy, Debug)]
pub struct Queued {
    /// Its row.
    pub row: &'static Row,
    /// How many keys there are up to its last one.
    pub keys_end: usize,
}

impl Transaction {
    /// An empty one.
    pub fn new(client: Arc<Client>) -> Self {
        client.queued_commands.store(0, Ordering::Relaxed);
        Self {
            client,
            queue: Queue::default(),
            commands: Vec::new(),
            hashes: Vec::new(),
            positions: Vec::new(),
            flags: Flags::NONE,
            is_broken: false,
        }
    }

    /// Adds a command with its keys.
    pub fn push(
        &mut self,
        row: &'static Row,
        args: &Args<'_>,
        hashes: &[KeyHash],
        positions: &[usize],
    ) {
        self.queue.push(args);
        self.hashes.extend_from_slice(hashes);
        self.positions.extend_from_slice(positions);
        self.flags = self.flags.and(row.asks);
        self.commands.push(Queued {
            row,
            keys_end: self.hashes.len(),
        });
        let client = &self.client;
        client
            .queued_commands
            .store(self.commands.len() as i64, Ordering::Relaxed);
        client
            .queued_bytes
            .store(self.memory_bytes(), Ordering::Relaxed);
    }

    /// What the commands take in memory.
    pub fn memory_bytes(&self) -> usize {
        let of_keys = self.hashes.capacity() + self.positions.capacity();
        self.queue.memory_bytes()
            + self.commands.capacity() * size_of::<Queued>()
            + of_keys * size_of::<usize>()
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        self.client.queued_commands.store(-1, Ordering::Relaxed);
        self.client.queued_bytes.store(0, Ordering::Relaxed);
    }
}

/// The keys that a client watches. They are unwatched when this is dropped.
#[derive(Debug)]
pub struct Watch {
    server: Arc<Server>,
    client: Arc<Client>,
    mark: Arc<Mark>,
    keys: Vec<OtherKey>,
    bytes: usize,
    /// When the first of them expires that existed. Nobody may meet it then: it may be on disk alone.
    first_end: Option<UnixMs>,
}

impl Watch {
    /// Of no key.
    pub fn new(server: &Arc<Server>, client: &Arc<Client>) -> Self {
        Self {
            server: Arc::clone(server),
            client: Arc::clone(client),
            mark: Arc::default(),
            keys: Vec::new(),
            bytes: 0,
            first_end: None,
        }
    }

    /// Watches one more key, which is locked: what it is now decides what is a change. `expires_at` is of a key that exists.
    pub fn add(&mut self, db: usize, key: &[u8], expires_at: Option<Option<UnixMs>>) {
        let watched = self.server.engine.keyspace.watched();
        if !watched.watch(db, key, &self.mark, expires_at.is_some()) {
            return;
        }
        self.bytes += WATCHED_KEY_BYTES + 2 * key.len();
        self.keys.push(OtherKey {
            db,
            key: key.into(),
        });
        let ends = [self.first_end, expires_at.flatten()];
        self.first_end = ends.into_iter().flatten().min();
        self.client
            .watched_keys
            .store(self.keys.len(), Ordering::Relaxed);
    }

    /// What they take in memory, about.
    pub fn memory_bytes(&self) -> usize {
        self.bytes
    }

    /// The keys.
    pub fn keys(&self) -> &[OtherKey] {
        &self.keys
    }

    /// Whether one of them has changed. Nothing is missed while all of them are locked.
    pub fn is_broken(&self, now: UnixMs) -> bool {
        self.mark.is_set() || self.first_end.is_some_and(|end| end <= now)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let watched = self.server.engine.keyspace.watched();
        for OtherKey { db, key } in &self.keys {
            watched.unwatch(*db, key, &self.mark);
        }
        self.client.watched_keys.store(0, Ordering::Relaxed);
    }
}
