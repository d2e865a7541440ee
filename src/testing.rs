//! Scripts of commands run in process, for the tests beside the commands.
//!
//! [`script!`] makes a test that runs in every residency mode, so that each command's test is a test of the tiers too.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};

use crate::clock::{Clock, UnixMs};
use crate::command::table::table;
use crate::config::{CallableFrom, Config};
use crate::dispatch::{Executor, Next};
use crate::engine::Engine;
use crate::keyspace::ThreadSlot;
use crate::keyspace::eviction::Limits;
use crate::net::waiting::came;
use crate::resp::request::Unfinished;
use crate::resp::{Protocol, Reply};
use crate::server::Server;
use crate::server::clients::{Client, Origin};
use crate::server::session::{Session, Then};
use crate::server::suspended::{Came, Suspend};
use crate::server::waiters::{End, Waiter};
use crate::tier::Need;

/// Where the clock stands when a script starts: 2023-11-14T22:13:20Z.
pub(crate) const START: UnixMs = UnixMs(1_700_000_000_000);

/// So many rounds of a test by chance; few under Miri, which is some hundred times slower.
pub(crate) const fn rounds(rounds: usize) -> usize {
    if cfg!(miri) {
        rounds.div_ceil(100)
    } else {
        rounds
    }
}

/// A server in process, with one client, whose time moves only when told so.
pub(crate) struct Db {
    executor: Executor,
    session: Session,
    /// The clients whose turn it is not, by their numbers.
    others: HashMap<usize, Session>,
    /// Whose turn it is.
    client: usize,
    /// What it sent last.
    sent: HashMap<usize, Vec<u8>>,
    reply: Reply,
    now: UnixMs,
    closed: bool,
    /// The directory of its disk tier.
    tier_dir: Option<PathBuf>,
    /// Whether every key is sent there after every command.
    spills: bool,
    /// Whether every value is compressed after every command.
    compresses: bool,
    /// The disk takes nothing while anybody who waits for room does so.
    pub(crate) is_stalled: bool,
    /// What is done before something that a command waits for is there, once.
    pub(crate) meanwhile: Option<fn(&Server)>,
    /// No key can be read from the disk.
    pub(crate) unreadable: bool,
}

impl Drop for Db {
    fn drop(&mut self) {
        if let Some(dir) = &self.tier_dir {
            // What is left behind is a temporary file.
            let _ = std::fs::remove_dir_all(dir);
        }
    }
}

/// The reply to a command, to be compared.
#[must_use]
pub(crate) struct Answer {
    command: String,
    bytes: Vec<u8>,
}

impl Db {
    /// An empty server with the default options, one worker, and no limit of memory.
    pub(crate) fn new() -> Self {
        Self::with_config(Config {
            worker_threads: 1,
            maxmemory: 0,
            slowlog_log_slower_than_us: -1,
            enable_debug_command: CallableFrom::Local,
            ..Config::default()
        })
    }

    /// The same over a disk tier, where every key goes after every command.
    pub(crate) fn spilled() -> Self {
        let mut db = Self::tiered(|_| {});
        db.spills = true;
        db
    }

    /// The same in memory alone, where every value is compressed after every command.
    pub(crate) fn compressed() -> Self {
        let mut db = Self::new();
        db.compresses = true;
        db
    }

    /// The same over a disk tier, which is written when the test says so, with options that `change` has set.
    pub(crate) fn tiered(change: impl FnOnce(&mut Config)) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("strata-spilled-{}-{number}", std::process::id());
        // In memory where there is such a place: thousands of syncs would take minutes.
        let shared_memory = PathBuf::from("/dev/shm");
        let base = if shared_memory.is_dir() {
            shared_memory
        } else {
            std::env::temp_dir()
        };
        let dir = base.join(name);
        let mut config = Config {
            worker_threads: 1,
            maxmemory: 0,
            slowlog_log_slower_than_us: -1,
            enable_debug_command: CallableFrom::Local,
            tier_dir: Some(dir.clone()),
            tier_max_bytes: 1 << 30,
            ..Config::default()
        };
        change(&mut config);
        let mut db = Self::open(config);
        db.tier_dir = Some(dir);
        db
    }

    /// An empty server with these options, and no disk.
    pub(crate) fn with_config(config: Config) -> Self {
        Self::open(Config {
            tier_max_bytes: 0,
            ..config
        })
    }

    fn open(config: Config) -> Self {
        let server = Server::open(config, None, table().ids())
            .expect("a temporary directory can be written");
        Self::of(server)
    }

    fn of(server: Server) -> Self {
        let server = Arc::new(server);
        let origin = Origin {
            address: "127.0.0.1:50000".into(),
            local_address: "127.0.0.1:6379".into(),
            fd: 7,
            unix: false,
        };
        let client = server.clients.add(origin, START);
        let authenticated = server.engine.config.load().requirepass.is_empty();
        let executor = Executor::new(server, ThreadSlot(0), Clock::Manual(START));
        let session = Session::new(client, authenticated);
        Self {
            executor,
            session,
            others: HashMap::new(),
            client: 0,
            sent: HashMap::new(),
            reply: Reply::new(Protocol::Resp2),
            now: START,
            closed: false,
            tier_dir: None,
            spills: false,
            compresses: false,
            is_stalled: false,
            meanwhile: None,
            unreadable: false,
        }
    }

    /// The server ends as by kill -9, and another one starts over the same disk tier: it finds what finished runs wrote.
    pub(crate) fn killed(self) -> Self {
        let db = self.killed_and_uncounted();
        db.count();
        db
    }

    /// The same, and the keys on disk are still to be counted.
    pub(crate) fn killed_and_uncounted(mut self) -> Self {
        let dir = self.tier_dir.take();
        let config = Config::clone(&self.engine().config.load());
        drop(self);
        // A filter may still be made for the server that ended.
        let start = std::time::Instant::now();
        let server = loop {
            match Server::open(config.clone(), None, table().ids()) {
                Ok(server) => break server,
                Err(error) if start.elapsed().as_secs() >= 20 => panic!("{error}"),
                Err(_) => std::thread::sleep(std::time::Duration::from_millis(5)),
            }
        };
        let mut db = Self::of(server);
        db.tier_dir = dir;
        db
    }

    /// Counts the keys on disk.
    pub(crate) fn count(&self) {
        let tier = self.engine().tier.as_ref();
        tier.expect("it had one").count_now(self.engine());
    }

    /// The time.
    pub(crate) fn now(&self) -> UnixMs {
        self.now
    }

    /// Writes what has changed into the disk tier, if there is one.
    pub(crate) fn write(&self) {
        let engine = self.engine();
        if let Some(tier) = &engine.tier {
            tier.write_now(engine);
        }
    }

    /// Sends every key to the disk tier, if there is one.
    fn spill(&self) {
        if self.spills {
            self.write();
            self.demote_all();
        }
    }

    /// Compresses every value in memory.
    pub(crate) fn compress(&self) {
        self.engine().keyspace.compress_all(ThreadSlot(0));
    }

    /// Takes all that the disk tier has out of memory.
    pub(crate) fn demote_all(&self) {
        let keyspace = &self.engine().keyspace;
        keyspace.demote_all(&self.limits(), ThreadSlot(0));
    }

    fn limits(&self) -> Limits {
        let engine = self.engine();
        engine.limits(&engine.config.load(), self.now)
    }

    /// Has what was not accessed for so many seconds leave memory. Gives how many entries did.
    pub(crate) fn demote_idle(&self, secs: u32) -> usize {
        let (keyspace, limits) = (&self.engine().keyspace, self.limits());
        let demote = |shard| keyspace.demote_idle(shard, secs, &limits, ThreadSlot(0));
        (0..keyspace.shard_count()).map(demote).sum()
    }

    /// Drops the keys and the fields whose time has come, as maintenance does.
    pub(crate) fn expire(&self) {
        let keyspace = &self.engine().keyspace;
        for shard in 0..keyspace.shard_count() {
            keyspace.expire_shard(shard, self.now, ThreadSlot(0));
        }
        keyspace.expire_cold(self.now, ThreadSlot(0));
        keyspace.validate();
    }

    /// Brings all entries into line with `tier-policy`.
    pub(crate) fn apply_policies(&self) {
        let keyspace = &self.engine().keyspace;
        keyspace.apply_policies(ThreadSlot(0), || {});
    }

    /// The same, to be kept while commands run.
    pub(crate) fn engine_arc(&self) -> &Arc<Engine> {
        &self.server().engine
    }

    /// What all clients share.
    pub(crate) fn server(&self) -> &Server {
        self.executor.server()
    }

    /// Keys, tiers and options.
    pub(crate) fn engine(&self) -> &Engine {
        &self.server().engine
    }

    /// Whether the last command would have closed the connection.
    pub(crate) fn closed(&self) -> bool {
        self.closed
    }

    /// Another client sends from now on. A command that waits is sent again to see whether it is answered.
    pub(crate) fn switch(&mut self, client: usize) {
        let session = self.others.remove(&client);
        let session = session
            .unwrap_or_else(|| Session::new(self.connect(&format!("127.0.0.1:{client}")), true));
        let before = std::mem::replace(&mut self.session, session);
        self.others.insert(self.client, before);
        self.client = client;
    }

    /// What has been published for the client.
    pub(crate) fn messages(&mut self) -> Vec<u8> {
        let mut reply = Reply::new(self.reply.protocol());
        self.session.read_messages(&mut reply);
        reply.take_joined()
    }

    /// A client whose turn it is not closes its connection.
    pub(crate) fn forget(&mut self, client: usize) {
        self.others.remove(&client).expect("it was there");
    }

    /// Who the client's command waits as.
    pub(crate) fn waiter(&self) -> Arc<Waiter> {
        let waits = self.session.suspended.as_ref();
        let queued = waits.and_then(|waits| waits.queued.as_ref());
        Arc::clone(queued.expect("the command waits").waiter())
    }

    /// The client has given no password from now on.
    pub(crate) fn unauthenticate(&mut self) {
        self.session.authenticated = false;
    }

    /// Connects another client, which sends nothing.
    pub(crate) fn connect(&self, address: &str) -> Arc<Client> {
        let origin = Origin {
            address: address.into(),
            local_address: "127.0.0.1:6379".into(),
            fd: 8,
            unix: false,
        };
        self.server().clients.add(origin, self.now)
    }

    /// Lets time pass.
    pub(crate) fn advance(&mut self, ms: i64) {
        self.now.0 += ms;
        self.executor.set_clock(Clock::Manual(self.now));
    }

    /// Speaks RESP3 from now on.
    pub(crate) fn resp3(&mut self) {
        self.reply.set_protocol(Protocol::Resp3);
    }

    /// Runs a line as it would be typed: words, "double quotes" with escapes.
    pub(crate) fn run(&mut self, line: &str) -> Answer {
        let bytes = self.send(format!("{line}\r\n").as_bytes());
        Answer {
            command: line.to_owned(),
            bytes,
        }
    }

    /// Runs a command with any bytes as arguments.
    pub(crate) fn run_args(&mut self, args: &[&[u8]]) -> Answer {
        let mut request = format!("*{}\r\n", args.len()).into_bytes();
        for arg in args {
            request.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
            request.extend_from_slice(arg);
            request.extend_from_slice(b"\r\n");
        }
        let command = args
            .iter()
            .map(|arg| String::from_utf8_lossy(arg))
            .collect::<Vec<_>>()
            .join(" ");
        Answer {
            command,
            bytes: self.send(&request),
        }
    }

    /// Meets what the command needs, if it is the tier that gives it.
    fn meet(&mut self) -> bool {
        let Some((request, needed)) = self.session.take_needed() else {
            return false;
        };
        if let Some(meanwhile) = self.meanwhile.take() {
            meanwhile(self.server());
        }
        let need = match needed {
            Suspend::Loads(wanted, _) if self.unreadable => {
                let hashes = wanted.into_iter().map(|wanted| wanted.hash);
                let unreadable = Came::Unreadable(hashes.collect());
                self.session.resume(request, unreadable);
                return true;
            }
            Suspend::Loads(wanted, now) => Need::Keys(wanted, now),
            Suspend::Answer(ask) => Need::Answer(ask),
            Suspend::Room(Some(patience)) if self.is_stalled => {
                self.advance(i64::try_from(patience.as_millis()).expect("not long"));
                return true;
            }
            Suspend::Turn(wait) => {
                self.advance(i64::try_from(wait.as_millis()).expect("not long"));
                self.session.resume(request, Came::Nothing);
                return true;
            }
            Suspend::Room(_) => Need::Room,
            Suspend::Script(mut job) => {
                self.executor.do_job(&mut job);
                self.session.resume(request, Came::Done(job));
                return true;
            }
            _ => return false,
        };
        let server = Arc::clone(self.executor.server());
        let tier = server.engine.tier.as_ref();
        let met = tier.map(|tier| tier.meet_now(&server.engine, need));
        let met = met.expect("it is the tier that is asked");
        self.session.resume(request, came(met));
        true
    }

    /// Whether the client's command waits on: it is sent again, and neither served nor is its time over.
    fn waits_on(&mut self, bytes: &[u8]) -> bool {
        let before = self.sent.insert(self.client, bytes.to_vec());
        let waits = self.session.suspended.as_ref();
        let Some(queued) = waits.and_then(|waits| waits.queued.as_ref()) else {
            return false;
        };
        let waiter = queued.waiter();
        let looks = Context::from_waker(Waker::noop());
        if waiter.wanted.until.is_some_and(|until| until <= self.now) {
            waiter.end(End::TimedOut);
        }
        if waiter.poll_over(&looks).is_ready() {
            return false;
        }
        let is_same = before.as_deref() == Some(bytes);
        if !is_same {
            // It has given up.
            self.session.end_request();
        }
        is_same
    }

    /// Sends raw bytes, which must be whole requests, and gives the replies.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Vec<u8> {
        if self.waits_on(bytes) {
            return Vec::new();
        }
        let mut from = 0;
        loop {
            let ran = self.executor.run(
                &mut self.session,
                bytes,
                from,
                &mut Unfinished::default(),
                &mut self.reply,
            );
            from = ran.consumed;
            match ran.next {
                Next::More => {}
                Next::Wait => {
                    if !self.meet() {
                        break;
                    }
                }
                _ => break,
            }
        }
        self.spill();
        if self.compresses {
            self.compress();
            self.engine().keyspace.validate();
        }
        self.closed = self.session.then != Then::GoOn;
        self.session.then = Then::GoOn;
        self.reply.take_joined()
    }
}

impl Answer {
    /// The reply as it would go out.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Compares the bytes on the wire.
    #[track_caller]
    pub(crate) fn is(self, expected: impl AsRef<[u8]>) {
        let show = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert_eq!(
            show(&self.bytes),
            show(expected.as_ref()),
            "reply to {}",
            self.command
        );
    }

    #[track_caller]
    pub(crate) fn ok(self) {
        self.is("+OK\r\n");
    }

    #[track_caller]
    pub(crate) fn nil(self) {
        self.is("$-1\r\n");
    }

    #[track_caller]
    pub(crate) fn int(self, number: i64) {
        self.is(format!(":{number}\r\n"));
    }

    /// An array of integers.
    #[track_caller]
    pub(crate) fn ints(self, numbers: &[i64]) {
        let items = numbers.iter().map(|number| format!(":{number}\r\n"));
        self.is(format!(
            "*{}\r\n{}",
            numbers.len(),
            items.collect::<String>()
        ));
    }

    #[track_caller]
    pub(crate) fn bulk(self, text: impl AsRef<[u8]>) {
        let text = text.as_ref();
        let mut expected = format!("${}\r\n", text.len()).into_bytes();
        expected.extend_from_slice(text);
        expected.extend_from_slice(b"\r\n");
        self.is(expected);
    }

    /// The bytes of a bulk string.
    #[track_caller]
    pub(crate) fn bulk_bytes(self) -> Vec<u8> {
        let end = self.bytes.windows(2).position(|two| two == b"\r\n");
        let start = end.expect("a line") + 2;
        assert_eq!(self.bytes.first(), Some(&b'$'), "reply to {}", self.command);
        self.bytes[start..self.bytes.len() - 2].to_vec()
    }

    #[track_caller]
    pub(crate) fn simple(self, text: &str) {
        self.is(format!("+{text}\r\n"));
    }

    /// The whole text of an error, its code included.
    #[track_caller]
    pub(crate) fn error(self, text: &str) {
        self.is(format!("-{text}\r\n"));
    }

    /// An array of bulk strings.
    #[track_caller]
    pub(crate) fn bulks(self, texts: &[&str]) {
        let items: String = texts
            .iter()
            .map(|text| format!("${}\r\n{text}\r\n", text.len()))
            .collect();
        self.is(format!("*{}\r\n{items}", texts.len()));
    }
}

/// Makes tests of a script, one for each residency mode: Memory, Compressed, where every value is compressed
/// after every command, and Spilled, where the disk tier has every key after every command. With `memory:` before the name it is Memory alone, for what differs:
/// the idle time and the memory of a key.
macro_rules! script {
    (memory: $name:ident, |$db:ident| $body:block) => {
        #[test]
        fn $name() {
            let mut $db = $crate::testing::Db::new();
            $body
        }
    };
    ($name:ident, |$db:ident| $body:block) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            #[allow(unused_mut, unused_variables)]
            fn script(mut $db: $crate::testing::Db) {
                $body
            }

            #[test]
            fn memory() {
                script($crate::testing::Db::new());
            }

            #[test]
            fn compressed() {
                script($crate::testing::Db::compressed());
            }

            #[test]
            fn spilled() {
                script($crate::testing::Db::spilled());
            }
        }
    };
}

pub(crate) use script;
