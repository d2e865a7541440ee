//! Gives every command arguments that fit it, nearly fit it or do not.
//!
//! None may panic, each must be answered by one whole reply, and in the end the keyspace's accounts must agree
//! with what a walk finds, and come to nothing when all is flushed.
//!
//! Input: one byte of settings, then for each request the number of its row and its arguments.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use strata::clock::{Clock, UnixMs};
use strata::command::Argument;
use strata::command::table::{Row, table};
use strata::config::{Config, EvictionPolicy, MemoryCompression};
use strata::dispatch::{Executor, Next};
use strata::keyspace::counters::Counters;
use strata::keyspace::{Keyspace, ThreadSlot};
use strata::lz4::Compressor;
use strata::resp::request::Unfinished;
use strata::resp::{Protocol, Reply};
use strata::server::Server;
use strata::server::clients::Origin;
use strata::server::session::{ReplyMode, Session};
use strata::server::suspended::{Came, Suspend};

const START: UnixMs = UnixMs(1_700_000_000_000);
const THREAD: ThreadSlot = ThreadSlot(0);
const DATABASES: usize = 16;
/// Long enough for every form of a string but the widest entries, and short enough for LCS.
const BULK_BYTES_MAX: u64 = 2_000;
/// A client that waits longer than this is let go.
const PAUSE_MAX_MS: i64 = 1_000_000;

/// Arguments that are good somewhere, or nearly.
const WORDS: &[&str] = &[
    "0",
    "1",
    "-1",
    "2",
    "3",
    "10",
    "15",
    "16",
    "100",
    "1000",
    "1999",
    "2001",
    "16000",
    "-100",
    "+5",
    "05",
    "1.5",
    "-0.5",
    "1e5",
    "1e400",
    "inf",
    "-inf",
    "nan",
    "0x10",
    " 1",
    "",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "18446744073709551615",
    "4294967295",
    "4294967296",
    "2147483648",
    "1700000001",
    "1700000000500",
    "281474976710656",
    "*",
    "k*",
    "[",
    "u8",
    "i64",
    "u63",
    "u64",
    "i5",
    "#1",
    "#100",
    "yes",
    "no",
    "on",
    "off",
    "default",
    "string",
    "maxmemory",
    "maxmemory-policy",
    "maxmemory-samples",
    "lfu-decay-time",
    "lfu-log-factor",
    "default-ttl",
    "max-entries",
    "hll-sparse-max-bytes",
    "slowlog-log-slower-than",
    "slowlog-max-len",
    "latency-monitor-threshold",
    "timeout",
    "requirepass",
    "maxmemory-clients",
    "allkeys-lru",
    "allkeys-lfu",
    "allkeys-random",
    "volatile-ttl",
    "allkeys-s3fifo",
    "noeviction",
    "127.0.0.1:50000",
    "normal",
    "pubsub",
    "all",
    "everything",
    "memory",
    "keyspace",
];

/// A row's words before its arguments, and the tokens that may stand among them.
struct Form {
    words: Vec<&'static str>,
    tokens: Vec<&'static str>,
}

static FORMS: LazyLock<Vec<Form>> = LazyLock::new(|| {
    let form = |row: &'static Row| {
        let mut tokens = Vec::new();
        collect_tokens(row.command.arguments, &mut tokens);
        Form {
            words: row.full_name.split('|').collect(),
            tokens,
        }
    };
    // It takes no arguments, and seconds.
    let rows = table()
        .all_rows()
        .filter(|row| row.full_name != "pfselftest");
    rows.map(form).collect()
});

fn collect_tokens(arguments: &'static [Argument], tokens: &mut Vec<&'static str>) {
    for argument in arguments {
        tokens.extend(argument.token);
        collect_tokens(argument.arguments, tokens);
    }
}

fuzz_target!(|data: &[u8]| {
    let [settings, program @ ..] = data else {
        return;
    };
    let mut run = Run::new(*settings);
    let mut program = Program(program);
    while let Some(row) = program.next() {
        let is_open = match row {
            255 => run.advance(program.byte()),
            _ => run.request(&mut program, row),
        };
        if !is_open {
            break;
        }
    }
    // It costs as much as some hundred requests.
    if settings & 0x60 == 0 {
        settle(run.executor.server(), run.now);
    }
});

struct Run {
    executor: Executor,
    session: Session,
    reply: Reply,
    now: UnixMs,
}

impl Run {
    fn new(settings: u8) -> Self {
        let config = Config {
            worker_threads: 1,
            proto_max_bulk_len: BULK_BYTES_MAX,
            maxmemory: 0,
            tier_max_bytes: 0,
            ..Config::default()
        };
        let server = Server::open(config, None, table().ids()).expect("it opens nothing");
        let room = [0, 1_000, 20_000][usize::from(settings >> 1 & 3) % 3];
        let policy = match settings >> 3 & 3 {
            0 => EvictionPolicy::AllkeysS3fifo,
            1 => EvictionPolicy::AllkeysLfu,
            2 => EvictionPolicy::VolatileTtl,
            _ => EvictionPolicy::NoEviction,
        };
        let (compression, compressor_bytes) = match settings >> 7 {
            0 => (MemoryCompression::None, 0),
            _ => (MemoryCompression::Lz4, Compressor::default().memory_bytes()),
        };
        let limit = if room == 0 {
            0
        } else {
            (server.startup_bytes + compressor_bytes) as u64 + room
        };
        let set = server.engine.config.update(|config| {
            Ok::<_, ()>(Config {
                maxmemory: limit,
                maxmemory_policy: policy,
                memory_compression: compression,
                ..config.clone()
            })
        });
        assert!(set.is_ok());
        let origin = Origin {
            address: "127.0.0.1:50000".into(),
            local_address: "127.0.0.1:6379".into(),
            fd: 7,
            unix: false,
        };
        let session = Session::new(server.clients.add(origin, START), true);
        let protocol = [Protocol::Resp2, Protocol::Resp3][usize::from(settings & 1)];
        Self {
            executor: Executor::new(Arc::new(server), THREAD, Clock::Manual(START)),
            session,
            reply: Reply::new(protocol),
            now: START,
        }
    }

    fn advance(&mut self, byte: u8) -> bool {
        self.now.0 += i64::from(byte) * i64::from(byte) * 10;
        self.executor.set_clock(Clock::Manual(self.now));
        true
    }

    /// Runs a request. False where the connection ends.
    fn request(&mut self, program: &mut Program<'_>, row: u8) -> bool {
        let form = &FORMS[usize::from(row) % FORMS.len()];
        let mut args: Vec<Vec<u8>> = form.words.iter().map(|&word| word.into()).collect();
        for _ in 0..program.byte() % 12 {
            args.push(program.argument(form));
        }
        let wire = encoded(&args);
        let mode = self.session.reply_mode;
        let mut from = 0;
        let is_open = loop {
            let ran = self
                .executor
                .run(&mut self.session, &wire, from, &mut Unfinished::default(), &mut self.reply);
            from = ran.consumed;
            match ran.next {
                Next::More => {}
                Next::Read(_) => break from == wire.len(),
                Next::Close => break false,
                Next::Wait if self.meet() => {}
                Next::Wait => return false,
            }
        };
        let shown = || {
            args.iter()
                .map(|arg| arg.escape_ascii().to_string())
                .collect::<Vec<_>>()
                .join(" ")
        };
        let frames = self.count_frames(&shown);
        if is_open && (mode, self.session.reply_mode) == (ReplyMode::On, ReplyMode::On) {
            assert_eq!(frames, 1, "replies to {}", shown());
        }
        assert!(frames <= 1, "replies to {}", shown());
        is_open
    }

    /// Gives the command that waits what it waits for. False where it would wait for ever, or for long.
    fn meet(&mut self) -> bool {
        let (request, needed) = self.session.take_needed().expect("it waits for something");
        match needed {
            Suspend::Delivery(mut delivery) => {
                let all = delivery.parcels.iter_mut();
                all.for_each(|parcel| parcel.is_done = true);
                self.session.resume(request, Came::Delivered(delivery));
            }
            Suspend::Time(until) | Suspend::Pause(until) => {
                assert!(until > self.now, "it waits for the future");
                if until.0 > self.now.0 + PAUSE_MAX_MS || self.now.0 > START.0 + (1 << 40) {
                    return false;
                }
                self.now = until;
                self.executor.set_clock(Clock::Manual(self.now));
                self.session.resume(request, Came::Nothing);
            }
            Suspend::Queued(_) | Suspend::Woken(_) => return false,
            other => unreachable!("nothing is below, and it waits for {other:?}"),
        }
        true
    }

    fn count_frames(&mut self, shown: &impl Fn() -> String) -> usize {
        let bytes = std::mem::take(self.reply.buffer_mut());
        let (mut at, mut count) = (0, 0);
        while at < bytes.len() {
            let rest = &bytes[at..];
            let len = frame_len(rest, self.reply.protocol());
            at += len.unwrap_or_else(|| panic!("{} to {}", rest.escape_ascii(), shown()));
            count += 1;
        }
        count
    }
}

/// The bytes of a whole reply. Errors repeat a client's bytes, and COMMAND has sets of maps: decoders written for
/// clients take neither.
fn frame_len(bytes: &[u8], protocol: Protocol) -> Option<usize> {
    let line = bytes.iter().position(|&c| c == b'\r')?;
    let (kind, text) = bytes[..line].split_first()?;
    let mut at = line + 2;
    if bytes.get(line + 1) != Some(&b'\n') || text.contains(&b'\n') {
        return None;
    }
    let number = || str::from_utf8(text).ok()?.parse::<usize>().ok();
    let parts = match (kind, protocol) {
        (b'+' | b'-' | b':', _) => 0,
        (b'$' | b'*', Protocol::Resp2) if text == b"-1" => 0,
        (b'$', _) | (b'=', Protocol::Resp3) => {
            at += number()? + 2;
            return bytes.get(..at)?.ends_with(b"\r\n").then_some(at);
        }
        (b'*', _) | (b'~' | b'>', Protocol::Resp3) => number()?,
        (b'%', Protocol::Resp3) => number()? * 2,
        (b',' | b'#' | b'_' | b'(', Protocol::Resp3) => 0,
        _ => return None,
    };
    for _ in 0..parts {
        at += frame_len(bytes.get(at..)?, protocol)?;
    }
    Some(at)
}

fn encoded(args: &[Vec<u8>]) -> Vec<u8> {
    let mut wire = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        wire.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        wire.extend_from_slice(arg);
        wire.extend_from_slice(b"\r\n");
    }
    wire
}

/// Compares the accounts with the keys, drops all, and looks that nothing is left.
fn settle(server: &Server, now: UnixMs) {
    let keyspace = &server.engine.keyspace;
    for shard in 0..keyspace.shard_count() {
        keyspace.expire_shard(shard, now, THREAD);
    }
    let mut all = 0;
    for db in 0..DATABASES {
        let size = keyspace.db_size(db);
        let stats = keyspace.space_stats(db, now);
        let (mut keys, mut expiring) = (0, 0);
        if size > 0 || db == 0 {
            let end = keyspace.scan(db, 0, usize::MAX, now, THREAD, |entry| {
                keys += 1;
                expiring += usize::from(entry.expires_at().is_some());
            });
            assert_eq!(end, 0);
        }
        assert_eq!(
            (size, stats.keys, stats.expiring),
            (keys, keys, expiring),
            "db {db}"
        );
        all += keys;
    }
    keyspace.sweep_emptied(THREAD, || {});
    assert_eq!(keyspace.entries(), all);
    keyspace.validate();
    keyspace.flush_dbs(0..DATABASES, true, THREAD, || {});
    keyspace.sweep_emptied(THREAD, || {});
    assert_eq!(keyspace.entries(), 0);
    assert_eq!(sum(keyspace, |counters| counters.used_bytes.read()), 0);
    assert_eq!(
        sum(keyspace, |counters| counters
            .keys
            .iter()
            .map(|n| n.read())
            .sum()),
        0
    );
    assert_eq!(
        sum(keyspace, |counters| counters
            .expiring
            .iter()
            .map(|n| n.read())
            .sum()),
        0
    );
}

fn sum(keyspace: &Keyspace, count: impl Fn(&Counters) -> i64) -> i64 {
    keyspace.all_counters().iter().map(count).sum()
}

struct Program<'a>(&'a [u8]);

impl Program<'_> {
    fn next(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    fn byte(&mut self) -> u8 {
        self.next().unwrap_or(0)
    }

    fn argument(&mut self, form: &Form) -> Vec<u8> {
        match self.byte() {
            byte @ 0..64 => format!("k{}", byte % 8).into(),
            byte @ 64..128 if !form.tokens.is_empty() => {
                form.tokens[usize::from(byte) % form.tokens.len()].into()
            }
            byte @ 64..220 => WORDS[usize::from(byte - 64) % WORDS.len()].into(),
            byte @ 220..240 => {
                let len = usize::from(byte - 220).min(self.0.len());
                let (bytes, rest) = self.0.split_at(len);
                self.0 = rest;
                bytes.to_vec()
            }
            byte => vec![self.byte(); usize::from(byte - 239) * 130],
        }
    }
}
