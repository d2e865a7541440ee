//! A command that cannot finish yet, and what it waits for.
//!
//! Whoever finds that a command needs something says so with one value, [`Suspend`]: the command's function by returning it,
//! the request path where keys are not in memory, memory is short, or commands are held back. The session keeps it here, for
//! one request at a time and under the number of that request, and the connection waits for it. When it is there the command
//! runs again from its beginning and finds here what came.
//!
//! Invariant: all that a command leaves behind while it waits is in its [`Suspended`], which is dropped when its request ends,
//! however it ends: no answer reaches another request, and no place in a queue outlives its client.

use std::sync::Arc;
use std::time::Duration;

use super::delivery::Delivery;
use super::scripts::Job;
use super::waiters::{Queued, Waiter};
use crate::clock::UnixMs;
use crate::engine::overdraft::Rounds;
use crate::error::CommandError;
use crate::keyspace::KeyHash;
use crate::keyspace::footprint::OtherKey;
use crate::keyspace::residency::{Ask, Page};
use crate::tier::Wanted;

/// What a command needs before it can go on.
#[derive(Debug)]
pub enum Suspend {
    /// Keys that it does not name, to be locked together with its own.
    Keys(Vec<OtherKey>),
    /// An answer of the tier below.
    Answer(Ask),
    /// That keys are sent to another server.
    Delivery(Box<Delivery>),
    /// That one of the keys in whose queues it stands has something for it.
    Queued(Queued),
    /// The same, for the connection: the place itself stays with the command.
    Woken(Arc<Waiter>),
    /// That a time comes.
    Time(UnixMs),
    /// Keys in memory, loaded at a time by which they have expired or not.
    Loads(Vec<Wanted>, UnixMs),
    /// The end of a pause, which is at this time at the latest.
    Pause(UnixMs),
    /// That something more is written below, so that there may be room in memory: for so long, or for as long as it takes.
    Room(Option<Duration>),
    /// Its turn to write, which comes after so long.
    Turn(Duration),
    /// That the thread of scripts does it.
    Script(Box<Job>),
}

/// What came of it.
#[derive(Debug, Default)]
pub enum Came {
    /// Nothing to hand over: the command looks for itself.
    #[default]
    Nothing,
    /// The answer of the tier below.
    Page(Page),
    /// Keys were loaded, but for those with these hashes, which could not be read.
    Unreadable(Vec<KeyHash>),
    /// What became of the keys that were sent away.
    Delivered(Box<Delivery>),
    /// What the thread of scripts has done.
    Done(Box<Job>),
    /// What replies tell of has not become durable in time.
    Lost,
}

/// Why a command's function ended before its command is done.
#[derive(Debug)]
pub enum Stop {
    /// The command is refused.
    Refused(CommandError),
    /// It needs something, and runs again then.
    Suspended(Box<Suspend>),
    /// Nothing is said to its client, whose connection closes.
    Closed,
}

impl From<CommandError> for Stop {
    fn from(error: CommandError) -> Self {
        Self::Refused(error)
    }
}

impl From<Suspend> for Stop {
    fn from(needed: Suspend) -> Self {
        Self::Suspended(Box::new(needed))
    }
}

/// A command that waits, with all that it has until its request ends.
#[derive(Debug)]
pub struct Suspended {
    /// The number of its request among those of its connection.
    request: u64,
    /// When it first waited.
    pub since: UnixMs,
    /// What it waits for, until the connection has taken it up.
    needed: Option<Suspend>,
    /// What came.
    came: Came,
    /// Keys that it needs besides those which it names.
    pub others: Vec<OtherKey>,
    /// Its place in the queues of keys.
    pub queued: Option<Queued>,
    /// How often it has waited for keys to be loaded.
    pub rounds: Rounds,
    /// Since when it waits for room in memory.
    pub short_since: Option<UnixMs>,
    /// Whether it has got its turn to write.
    pub has_turn: bool,
    /// Whether the time that it waits counts as its own, as if it had worked all the while.
    pub works: bool,
}

impl Suspended {
    pub(super) fn new(request: u64, since: UnixMs) -> Self {
        Self {
            request,
            since,
            needed: None,
            came: Came::Nothing,
            others: Vec::new(),
            queued: None,
            rounds: Rounds::default(),
            short_since: None,
            has_turn: false,
            works: false,
        }
    }

    /// The number of its request.
    pub fn request(&self) -> u64 {
        self.request
    }

    pub(super) fn need(&mut self, needed: Suspend) {
        self.came = Came::Nothing;
        match needed {
            Suspend::Queued(queued) => {
                self.needed = Some(Suspend::Woken(Arc::clone(queued.waiter())));
                self.queued = Some(queued);
            }
            other => self.needed = Some(other),
        }
    }

    pub(super) fn take_needed(&mut self) -> Option<Suspend> {
        self.needed.take()
    }

    pub(super) fn has_come(&mut self, came: Came) {
        self.came = came;
    }

    /// Whether it waits for keys to be loaded.
    pub fn waits_for_loads(&self) -> bool {
        matches!(self.needed, Some(Suspend::Loads(..)))
    }

    /// How long it has worked while it waited, if it did.
    pub fn worked_nanos(&self, now: UnixMs) -> u64 {
        let waited_ms = (now.0 - self.since.0).max(0).cast_unsigned();
        match self.works {
            true => waited_ms.saturating_mul(1_000_000),
            false => 0,
        }
    }

    /// Whether the answer of the tier below is what came.
    pub fn has_page(&self) -> bool {
        matches!(self.came, Came::Page(_))
    }

    /// The answer of the tier below, once, if that is what came.
    pub fn take_page(&mut self) -> Option<Page> {
        match std::mem::take(&mut self.came) {
            Came::Page(page) => Some(page),
            other => {
                self.came = other;
                None
            }
        }
    }

    /// What became of the keys that were sent away, once, if that is what came.
    pub fn take_delivered(&mut self) -> Option<Box<Delivery>> {
        match std::mem::take(&mut self.came) {
            Came::Delivered(delivery) => Some(delivery),
            other => {
                self.came = other;
                None
            }
        }
    }

    /// Whether that is what came.
    pub fn is_done(&self) -> bool {
        matches!(self.came, Came::Done(_))
    }

    /// What the thread of scripts has done, once, if that is what came.
    pub fn take_done(&mut self) -> Option<Box<Job>> {
        match std::mem::take(&mut self.came) {
            Came::Done(job) => Some(job),
            other => {
                self.came = other;
                None
            }
        }
    }

    /// Whether one of these keys was to be loaded and could not be read.
    pub fn could_not_read(&self, hashes: &[KeyHash]) -> bool {
        let Came::Unreadable(failed) = &self.came else {
            return false;
        };
        hashes.iter().any(|hash| failed.contains(hash))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::testing::Db;

    /// The fields of a structure that have to do with waiting.
    fn waiting_fields(file: &str, head: &str) -> Vec<String> {
        const WAITING: [&str; 13] = [
            "Suspend", "Waiting", "Queued", "Waiter", "Page", "Delivery", "Came", "Need", "Wanted",
            "Rounds", "Future", "JoinSet", "Sleep",
        ];
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let text = fs::read_to_string(path).expect("a source");
        let body = text.split(head).nth(1).expect("the structure is there");
        let body = body.split("\n}").next().unwrap_or_default();
        let fields = body.lines().map(str::trim).filter_map(|line| {
            let (name, kind) = line.strip_suffix(',')?.split_once(": ")?;
            let waits = WAITING.iter().any(|word| kind.contains(word));
            waits.then(|| name.trim_start_matches("pub ").to_owned())
        });
        fields.collect()
    }

    #[test]
    fn a_session_and_a_connection_wait_for_one_thing() {
        let session = waiting_fields("src/server/session.rs", "pub struct Session {");
        assert_eq!(session, ["suspended"]);
        let connection =
            waiting_fields("src/net/connection.rs", "pub(super) struct Connection<S> {");
        assert_eq!(connection, ["waiting"]);
    }

    #[test]
    fn an_answer_reaches_no_other_request() {
        let db = Db::new();
        let mut session = crate::server::session::Session::new(db.connect("a:1"), true);
        let now = UnixMs(1);
        session.suspend(Suspend::Answer(Ask::Count), now);
        let (request, _) = session.take_needed().expect("it waits");
        session.end_request();
        session.resume(request, Came::Page(Page::default()));
        assert!(session.suspended.is_none());
        session.suspend(Suspend::Answer(Ask::Count), now);
        session.resume(request, Came::Page(Page::default()));
        assert!(session.suspended(now).take_page().is_none());
        session.resume(request + 1, Came::Page(Page::default()));
        assert!(session.suspended(now).take_page().is_some());
    }

    /// A server with 50 keys in database 0 and cold ones in database 1, where the key's namesakes are.
    fn with_cold_copies() -> Db {
        let mut db = Db::tiered(|_| {});
        db.run("SELECT 1").ok();
        for i in 0..50 {
            db.run(&format!("SET k:{i} old")).ok();
        }
        db.run("SELECT 0").ok();
        for i in 0..50 {
            db.run(&format!("SET k:{i} new")).ok();
        }
        db.write();
        db.demote_all();
        db
    }

    #[test]
    fn what_a_copy_to_another_database_waited_for_dies_with_it() {
        for line in [
            "COPY k:1 k:1 DB 1 REPLACE",
            "SORT k:1 GET k:*",
            "GETSET k:1 v",
        ] {
            let mut db = with_cold_copies();
            db.meanwhile = Some(|server| {
                let full: &[(&[u8], &[u8])] =
                    &[(b"maxmemory-policy", b"noeviction"), (b"maxmemory", b"1")];
                server
                    .engine
                    .config
                    .set(full, |_, _| Ok(()))
                    .expect("options");
            });
            db.run(line)
                .error("OOM command not allowed when used memory > 'maxmemory'.");
            db.run("CONFIG SET maxmemory 0").ok();
            db.run("DBSIZE").int(50);
            let key = db.run("RANDOMKEY").bulk_bytes();
            assert!(key.starts_with(b"k:"));
            db.run("GET k:2").bulk("new");
            db.run("COPY k:2 k:2 DB 1").int(0);
            db.run("COPY k:2 k:2 DB 1 REPLACE").int(1);
        }
    }

    #[test]
    fn a_key_that_could_not_be_read_is_looked_for_anew_by_the_next_request() {
        let mut db = with_cold_copies();
        db.unreadable = true;
        for line in [
            "GET k:1",
            "COPY k:1 k:1 DB 1",
            "SORT none BY nosort GET k:*",
            "MOVE k:3 1",
        ] {
            db.run(line).bytes().to_vec();
        }
        db.run("GET k:1")
            .error("IOERR the disk tier could not be read, see the log of the server");
        db.unreadable = false;
        db.run("GET k:1").bulk("new");
        db.run("COPY k:1 k:1 DB 1 REPLACE").int(1);
        db.run("MOVE k:3 1").int(0);
    }
}
