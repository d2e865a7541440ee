//! The same random commands to another server and to Strata: equal replies, equal keyspace. The others are Redis 8.10 and
//! Valkey 9.1. What differs from one of them with good reason is in `differences.rs`. Where they cannot be had, the installed
//! redis-server is asked what has not changed since 7.0.
//!
//! | variable | means | default |
//! |---|---|---|
//! | `STRATA_DIFF_SEED` | the seed, as printed by a run; `time`: another one each time | always the same: what fails is of the change |
//! | `STRATA_DIFF_COUNT` | commands per run | 10,000 |
//! | `STRATA_DIFF_ONLY` | only these commands, `GET,SET` | all |
//! | `STRATA_DIFF_SKIP` | not these commands | none |
//! | `STRATA_DIFF_KEEP` | go on after a mismatch (both servers are flushed), show one per command | off |
//!
//! A segment of about [`SEGMENT_LENGTH`] commands is sent either one by one or in batches of 1 to
//! 200. After each one, every database is compared key by key, then a round of keys with a few
//! milliseconds to live is set, waited for and compared.

use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::env;
use std::fmt::Write as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::client::{Client, Reply, encode, encode_into, is_closed};
use crate::differences::{self, Other};
use crate::generator::{EXACT_FROM_MS, EXACT_TO_MS, Generator, PLAIN_COMMANDS, Random, Request};
use crate::server::{Redis, Server, Strata, poll};

const DEFAULT_COUNT: u64 = 10_000;
const SEGMENT_LENGTH: u64 = 1_000;
const DATABASES: usize = 16;
const MAX_BATCH: u64 = 200;

/// How many earlier commands on the same keys a mismatch shows, and how many are remembered.
const SHOWN_HISTORY: usize = 15;
const HISTORY: usize = 5_000;

/// Both servers start the same command at slightly different times, see `tolerance_ms`.
const TOLERANCE_MS: i64 = 50;

#[test]
fn replies_equal_those_of_redis_over_resp2() {
    Differential::run(Other::REDIS, 2);
}

#[test]
fn replies_equal_those_of_redis_over_resp3() {
    Differential::run(Other::REDIS, 3);
}

#[test]
fn replies_equal_those_of_valkey_over_resp2() {
    Differential::run(Other::Valkey9, 2);
}

#[test]
fn replies_equal_those_of_valkey_over_resp3() {
    Differential::run(Other::Valkey9, 3);
}

/// The oracle's and ours, always in this order.
struct Pair {
    redis: Client,
    strata: Client,
}

impl Pair {
    fn run<A: AsRef<[u8]>>(&mut self, args: &[A]) -> (Reply, Reply) {
        let request = encode(args);
        self.redis.send_raw(&request);
        self.strata.send_raw(&request);
        (self.redis.read(), self.strata.read())
    }

    fn exchange(&mut self, bytes: &[u8], count: usize) -> (Answers, Answers) {
        std::thread::scope(|scope| {
            let ours = scope.spawn(|| Answers::from(self.strata.pipeline(bytes, count)));
            let theirs = Answers::from(self.redis.pipeline(bytes, count));
            (theirs, ours.join().expect("the exchange does not panic"))
        })
    }
}

/// The replies to a batch, and what broke the connection before all had come.
struct Answers {
    replies: Vec<Reply>,
    failure: Option<String>,
}

impl From<(Vec<Reply>, std::io::Result<()>)> for Answers {
    fn from((replies, result): (Vec<Reply>, std::io::Result<()>)) -> Self {
        Self {
            replies,
            failure: result.err().map(|error| format!("no reply: {error}")),
        }
    }
}

struct Differential {
    other: Other,
    protocol: u8,
    seed: u64,
    sent: u64,
    generator: Generator,
    /// Of the generated commands.
    pair: Pair,
    /// Of the comparisons, so that they disturb neither the database selected nor the protocol.
    inspector: Pair,
    redis: Server,
    strata: Server,
    history: VecDeque<(u64, Request)>,
    keep_going: bool,
    failed_commands: BTreeSet<String>,
    mismatches: u64,
    errors: u64,
    nils: u64,
    slowest_exchange: Duration,
    /// After a mismatch until both servers are flushed: what differs meanwhile says nothing new.
    diverged: bool,
}

/// The seed of a run that is given none.
const SEED: u64 = 1_883_051_465_861_000;

impl Differential {
    fn run(other: Other, protocol: u8) {
        let seed = match env::var("STRATA_DIFF_SEED").as_deref() {
            Ok("time") => {
                let now = SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .expect("after 1970");
                u64::from(now.subsec_nanos()) ^ now.as_secs() << 20 ^ u64::from(protocol)
            }
            _ => number_from_env("STRATA_DIFF_SEED").unwrap_or(SEED ^ u64::from(protocol)),
        };
        let count = number_from_env("STRATA_DIFF_COUNT").unwrap_or(DEFAULT_COUNT);
        println!("RESP{protocol}: STRATA_DIFF_SEED={seed} STRATA_DIFF_COUNT={count}");

        // Small, so that collections change their form.
        let options = [
            "--hash-max-listpack-entries",
            "16",
            "--list-max-listpack-size",
            "12",
            "--set-max-intset-entries",
            "16",
            "--zset-max-listpack-entries",
            "16",
            "--stream-node-max-entries",
            "5",
        ];
        let Some((other, redis)) = other.start(&options) else {
            return;
        };
        // Redis 7.0 has no listpacks for sets.
        let in_sets = if other == Other::Redis7 { "0" } else { "16" };
        let packed_sets = ["--set-max-listpack-entries", in_sets];
        if other != Other::Redis7 {
            let set = [
                &["CONFIG", "SET"][..],
                &["set-max-listpack-entries", in_sets],
            ]
            .concat();
            redis.connect().run(&set);
        }
        let strata = Strata::start(&[&options[..], &packed_sets].concat());
        let pair = || Pair {
            redis: redis.connect(),
            strata: strata.connect(),
        };
        let mut differential = Self {
            other,
            protocol,
            seed,
            sent: 0,
            generator: Generator::new(seed, wanted_commands(other)),
            pair: pair(),
            inspector: pair(),
            redis,
            strata,
            history: VecDeque::new(),
            keep_going: env::var_os("STRATA_DIFF_KEEP").is_some(),
            failed_commands: BTreeSet::new(),
            mismatches: 0,
            errors: 0,
            nils: 0,
            slowest_exchange: Duration::ZERO,
            diverged: false,
        };
        differential.pair.run(&["HELLO", &protocol.to_string()]);
        while differential.sent < count {
            let left = count - differential.sent;
            differential.segment(left.min(SEGMENT_LENGTH));
            differential.expiry_round();
            differential.compare_keyspace();
        }
        let Self {
            sent,
            errors,
            nils,
            mismatches,
            ..
        } = differential;
        println!("RESP{protocol}: {sent} commands; of the replies {errors} errors, {nils} nils");
        assert_eq!(
            mismatches, 0,
            "mismatches in {:?}",
            differential.failed_commands
        );
    }

    fn segment(&mut self, length: u64) {
        let pipelined = self.generator.random.percent(50);
        let mut left = length;
        while left > 0 {
            let batch = if pipelined {
                1 + self.generator.random.below(MAX_BATCH)
            } else {
                1
            };
            let batch = batch.min(left);
            left -= batch;
            let mut requests = Vec::new();
            for _ in 0..batch {
                let request = self.generator.request();
                if differences::is_unasked(self.other, &request) {
                    continue;
                }
                let name = request.name();
                // The iteration is compared as a whole: a cursor means nothing to the other server.
                if cursor_place(&request).is_some() {
                    self.batch(std::mem::take(&mut requests));
                    self.scan(request);
                    continue;
                }
                if other_must_see_it_alone(&request) {
                    self.batch(std::mem::take(&mut requests));
                }
                requests.push(request);
                if name == "HELLO" || name == "RESET" {
                    requests.push(words(&["HELLO", &self.protocol.to_string()]));
                }
            }
            self.batch(requests);
        }
    }

    /// Sends all requests at once and compares the replies.
    fn batch(&mut self, requests: Vec<Request>) {
        if requests.is_empty() {
            return;
        }
        self.reconcile();
        let mut bytes = Vec::new();
        for request in &requests {
            encode_into(&mut bytes, &request.args);
        }
        let started = Instant::now();
        let (theirs, ours) = self.pair.exchange(&bytes, requests.len());
        self.slowest_exchange = self.slowest_exchange.max(started.elapsed());
        for (index, request) in requests.into_iter().enumerate() {
            self.sent += 1;
            self.remember(&request);
            match (theirs.replies.get(index), ours.replies.get(index)) {
                (Some(theirs), Some(ours)) => self.compare(&request, theirs.clone(), ours.clone()),
                (theirs, ours) => {
                    // Nothing can follow: one of the connections is gone.
                    self.keep_going = false;
                    let texts =
                        [(theirs, &self.redis), (ours, &self.strata)].map(|(reply, server)| {
                            let broken =
                                || format!("connection broken; stderr: {}", server.stderr());
                            reply.map_or_else(broken, Reply::to_string)
                        });
                    self.mismatch(&request, &texts[0], &texts[1]);
                }
            }
        }
        for (who, answers) in [("redis", &theirs), ("strata", &ours)] {
            if let Some(failure) = &answers.failure {
                panic!("{who}: {failure}; {}", self.rerun());
            }
        }
    }

    fn remember(&mut self, request: &Request) {
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back((self.sent, request.clone()));
    }

    fn compare(&mut self, request: &Request, theirs: Reply, ours: Reply) {
        if self.diverged {
            return;
        }
        self.errors += u64::from(theirs.is_error());
        self.nils += u64::from(matches!(theirs, Reply::Nil | Reply::Null));
        let (shown_theirs, shown_ours) = (theirs.to_string(), ours.to_string());
        if is_time(request) && times_are_close(request, &theirs, &ours, self.tolerance_ms()) {
            return;
        }
        let mut both = [theirs, ours].map(|reply| normalise(request, reply));
        differences::level(self.other, request, &mut both);
        if both[0] != both[1] {
            self.mismatch(request, &shown_theirs, &shown_ours);
        }
    }

    /// A deadline that counts from now differs by as much as the two servers' start of the command:
    /// no more than the slowest exchange took, on a machine as loaded as this one is.
    fn tolerance_ms(&self) -> i64 {
        const MAX_MS: u128 = 1_000;
        let lag = self.slowest_exchange.as_millis().min(MAX_MS);
        TOLERANCE_MS + i64::try_from(lag).expect("at most a second")
    }

    /// SCAN and its kin: the first replies, then, when it began at the start, all keys of the iteration.
    fn scan(&mut self, request: Request) {
        self.sent += 1;
        self.remember(&request);
        let (theirs, ours) = self.pair.run(&request.args);
        let both_started = theirs.items().is_some() && ours.items().is_some();
        if !both_started {
            return self.compare(&request, theirs, ours);
        }
        let cursor = cursor_place(&request).unwrap_or(1);
        if request.word(cursor) == "0" {
            let theirs = scan_to_end(&mut self.pair.redis, &request, theirs);
            let ours = scan_to_end(&mut self.pair.strata, &request, ours);
            self.compare(&request, theirs, ours);
        }
    }

    /// Keys with a few milliseconds to live, on both servers; all of them must go.
    fn expiry_round(&mut self) {
        let mut rounds = Vec::new();
        for number in 0..1 + self.generator.random.below(12) {
            let key = format!("expiring:{number}").into_bytes();
            let requests = short_lived(&key, &mut self.generator.random);
            for request in &requests {
                self.inspector.run(&request.args);
                self.remember(request);
            }
            rounds.push((key, requests));
        }
        for (key, requests) in &rounds {
            // Each server by its own clock, until both say that the key is gone.
            let both = [&mut self.inspector.redis, &mut self.inspector.strata];
            let gone = both.map(|client| wait_until_expired(client, key, requests));
            if gone != [true, true] {
                let texts = gone.map(|gone| {
                    if gone {
                        "gone"
                    } else {
                        "still there after 5 s"
                    }
                });
                self.mismatch(&request_of(&[b"PTTL", key]), texts[0], texts[1]);
            }
            self.inspect(&request_of(&[b"GET", key]));
            self.inspect(&request_of(&[b"EXISTS", key]));
            self.inspect(&request_of(&[b"PEXPIRETIME", key]));
        }
    }

    /// Sends one request to both over the inspector and compares; gives the oracle's reply.
    fn inspect(&mut self, request: &Request) -> Reply {
        let (theirs, ours) = self.inspector.run(&request.args);
        self.compare(request, theirs.clone(), ours);
        theirs
    }

    fn compare_keyspace(&mut self) {
        for db in 0..DATABASES {
            self.inspector.run(&["SELECT", &db.to_string()]);
            let scan = words(&["SCAN", "0", "COUNT", "100"]);
            let (theirs, ours) = self.inspector.run(&scan.args);
            let theirs = scan_to_end(&mut self.inspector.redis, &scan, theirs);
            let ours = scan_to_end(&mut self.inspector.strata, &scan, ours);
            // The scan has deleted what had expired, so DBSIZE counts the same now.
            self.compare(&words(&["SCAN-ALL", &db.to_string()]), theirs.clone(), ours);
            self.inspect(&words(&["DBSIZE"]));
            self.inspect(&words(&["KEYS", "*"]));
            let keys: Vec<_> = theirs
                .items()
                .unwrap_or_default()
                .iter()
                .filter_map(Reply::bytes)
                .collect();
            self.compare_random_key(&keys);
            self.compare_keys(&keys);
            self.exchange_dumps(&keys);
        }
        self.inspector.run(&["SELECT", "0"]);
    }

    fn compare_random_key(&mut self, keys: &[&[u8]]) {
        let request = words(&["RANDOMKEY"]);
        let (_, ours) = self.inspector.run(&request.args);
        let is_one = ours.bytes().is_some_and(|key| keys.contains(&key));
        if !is_one && !keys.is_empty() {
            self.mismatch(&request, "a key of the database", &ours.to_string());
        }
    }

    fn compare_keys(&mut self, keys: &[&[u8]]) {
        let questions: Vec<_> = keys
            .iter()
            .flat_map(|key| {
                let asked: [&[&[u8]]; 6] = [
                    &[b"HGETALL"],
                    &[b"DEBUG", b"DIGEST-VALUE"],
                    &[b"TYPE"],
                    &[b"GET"],
                    &[b"OBJECT", b"ENCODING"],
                    &[b"PEXPIRETIME"],
                ];
                asked.map(|words| request_of(&[words, &[*key]].concat()))
            })
            .collect();
        let mut bytes = Vec::new();
        for question in &questions {
            encode_into(&mut bytes, &question.args);
        }
        let (theirs, ours) = self.inspector.exchange(&bytes, questions.len());
        for answers in [&theirs, &ours] {
            assert!(
                answers.failure.is_none(),
                "{:?}; {}",
                answers.failure,
                self.rerun()
            );
        }
        for ((question, theirs), ours) in questions.iter().zip(theirs.replies).zip(ours.replies) {
            self.compare(question, theirs, ours);
        }
    }

    /// Has each server restore what the other one dumps.
    fn exchange_dumps(&mut self, keys: &[&[u8]]) {
        const COPY: &[u8] = b"dumped";
        for key in keys {
            let (theirs, ours) = self.inspector.run(&[b"DUMP", *key]);
            let (Some(theirs), Some(ours)) = (theirs.bytes(), ours.bytes()) else {
                // It has expired.
                continue;
            };
            let restore =
                |payload: &[u8]| [b"RESTORE", COPY, b"0", payload, b"REPLACE"].map(<[u8]>::to_vec);
            let of_ours = self.inspector.redis.run(&restore(ours));
            let of_theirs = self.inspector.strata.run(&restore(theirs));
            self.compare(&request_of(&[b"RESTORE", *key]), of_ours, of_theirs);
            let (of_ours, of_theirs) = self.inspector.run(&[&b"DEBUG"[..], b"DIGEST-VALUE", COPY]);
            self.compare(&request_of(&[b"DUMP", *key]), of_ours, of_theirs);
        }
        self.inspector.run(&[b"DEL", COPY]);
    }

    /// Reports a mismatch: the end of the run, unless `STRATA_DIFF_KEEP` is set.
    fn mismatch(&mut self, request: &Request, theirs: &str, ours: &str) {
        self.mismatches += 1;
        let mut report = format!(
            "RESP{} command {}: replies differ\n",
            self.protocol, self.sent
        );
        let _ = writeln!(report, "  {request}\n  redis:  {theirs}\n  strata: {ours}");
        let _ = writeln!(report, "  {}\n  before it on these keys:", self.rerun());
        for (number, earlier) in self.related(request) {
            let _ = writeln!(report, "    {number}: {earlier}");
        }
        assert!(self.keep_going, "{report}");
        if self.failed_commands.insert(request.name()) {
            println!("{report}");
        }
        self.diverged = true;
    }

    /// Makes both servers equal again, empty, after a mismatch.
    fn reconcile(&mut self) {
        if std::mem::take(&mut self.diverged) {
            let protocol = self.protocol.to_string();
            for args in [&["FLUSHALL"][..], &["SELECT", "0"], &["HELLO", &protocol]] {
                self.inspector.run(args);
                self.pair.run(args);
            }
        }
    }

    fn rerun(&self) -> String {
        format!(
            "rerun: STRATA_DIFF_SEED={} STRATA_DIFF_COUNT={}",
            self.seed,
            self.sent.max(1)
        )
    }

    /// The last commands that named one of the request's keys, or that change whole databases.
    fn related(&self, request: &Request) -> Vec<&(u64, Request)> {
        let asked: Vec<_> = request.args.iter().skip(1).collect();
        let is_related = |earlier: &Request| {
            let whole = ["SELECT", "SWAPDB", "FLUSHDB", "FLUSHALL", "RESET"];
            whole.contains(&earlier.name().as_str())
                || earlier
                    .pool_keys()
                    .any(|key| asked.iter().any(|arg| arg.as_slice() == key))
                || earlier
                    .args
                    .get(1)
                    .is_some_and(|key| key.starts_with(b"expiring:") && asked.contains(&key))
        };
        let mut related: Vec<_> = self
            .history
            .iter()
            .rev()
            .filter(|(_, earlier)| is_related(earlier))
            .take(SHOWN_HISTORY)
            .collect();
        related.reverse();
        related
    }
}

fn number_from_env(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(
        text.replace('_', "")
            .parse()
            .unwrap_or_else(|_| panic!("{name}={text} is not a number")),
    )
}

fn wanted_commands(other: Other) -> impl Fn(&str) -> bool {
    let list = |name| -> Option<Vec<String>> {
        let text = env::var(name).ok()?.to_ascii_uppercase();
        Some(text.split(',').map(|word| word.trim().to_owned()).collect())
    };
    let (only, skip) = (list("STRATA_DIFF_ONLY"), list("STRATA_DIFF_SKIP"));
    move |name| {
        let has = |list: &Option<Vec<String>>| {
            list.as_ref().map(|list| list.iter().any(|one| one == name))
        };
        let has_changed = other == Other::Redis7 && differences::CHANGED_SINCE_7_0.contains(&name);
        has(&only).unwrap_or(true) && !has(&skip).unwrap_or(false) && !has_changed
    }
}

fn words(words: &[&str]) -> Request {
    Request {
        args: words.iter().map(|word| word.as_bytes().to_vec()).collect(),
    }
}

fn request_of(args: &[&[u8]]) -> Request {
    Request {
        args: args.iter().map(|arg| arg.to_vec()).collect(),
    }
}

/// Redis 8 has no reply to a login that fails behind other commands of a pipeline.
fn other_must_see_it_alone(request: &Request) -> bool {
    ["AUTH", "HELLO"].contains(&request.name().as_str())
}

/// One of the ways to give a key 1 to 30 ms to live.
fn short_lived(key: &[u8], random: &mut Random) -> Vec<Request> {
    let timeout = (1 + random.below(30)).to_string();
    let timeout = timeout.as_bytes();
    let set = request_of(&[b"SET", key, b"value"]);
    match random.below(6) {
        0 => vec![request_of(&[b"SET", key, b"value", b"PX", timeout])],
        1 => vec![request_of(&[b"PSETEX", key, timeout, b"value"])],
        2 => vec![set, request_of(&[b"PEXPIRE", key, timeout])],
        3 => vec![set, request_of(&[b"GETEX", key, b"PX", timeout])],
        4 => vec![
            request_of(&[b"SET", key, b"value", b"PX", timeout]),
            request_of(&[b"SET", key, b"other", b"KEEPTTL"]),
        ],
        _ => vec![
            request_of(&[b"SET", b"expiring:from", b"value", b"PX", timeout]),
            request_of(&[b"RENAME", b"expiring:from", key]),
        ],
    }
}

/// Waits for a key with a few milliseconds to live. On a loaded machine it may have gone before
/// the second of two requests, which then made a key without a deadline: they are sent again.
fn wait_until_expired(client: &mut Client, key: &[u8], requests: &[Request]) -> bool {
    let mut attempts = 5;
    let gone = poll(Duration::from_secs(5), || {
        match client.run(&[b"PTTL", key]).int() {
            Some(-2) => Some(()),
            Some(-1) if attempts > 0 => {
                attempts -= 1;
                for request in requests {
                    client.run(&request.args);
                }
                None
            }
            _ => None,
        }
    });
    gone.is_some()
}

/// Where a request has the cursor of an iteration, if it has one.
fn cursor_place(request: &Request) -> Option<usize> {
    match request.name().as_str() {
        "SCAN" => Some(1),
        "HSCAN" | "SSCAN" | "ZSCAN" => Some(2),
        _ => None,
    }
}

/// Goes on with an iteration to its end; gives the keys, sorted, each once.
fn scan_to_end(client: &mut Client, request: &Request, first: Reply) -> Reply {
    const MAX_STEPS: usize = 100_000;
    let mut keys = BTreeSet::new();
    let mut reply = first;
    for _ in 0..MAX_STEPS {
        let Some([cursor, found]) = reply.items() else {
            return reply;
        };
        keys.extend(found.items().unwrap_or_default().iter().cloned());
        let cursor = cursor.bytes().unwrap_or_default().to_vec();
        if cursor == b"0" {
            return Reply::Array(keys.into_iter().collect());
        }
        let mut next = request.args.clone();
        next[cursor_place(request).unwrap_or(1)] = cursor;
        reply = client.run(&next);
    }
    Reply::Error(format!("SCAN has not ended after {MAX_STEPS} steps").into_bytes())
}

/// Whether the reply is a time, which runs on between the two servers.
fn is_time(request: &Request) -> bool {
    let name = request.name();
    ["TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME"].contains(&name.as_str())
        || name == "OBJECT" && request.word(1) == "IDLETIME"
}

/// `tolerance_ms` or a second apart at most; deadlines that were given as such must be equal.
fn times_are_close(request: &Request, theirs: &Reply, ours: &Reply, tolerance_ms: i64) -> bool {
    let (Some(theirs), Some(ours)) = (theirs.int(), ours.int()) else {
        return false;
    };
    if theirs < 0 || ours < 0 {
        return theirs == ours;
    }
    let in_ms = request.name().starts_with('P');
    let unit = if in_ms { 1 } else { 1000 };
    let exact = (EXACT_FROM_MS.cast_signed() / unit)..(EXACT_TO_MS.cast_signed() / unit);
    if request.name().ends_with("EXPIRETIME") && exact.contains(&theirs) {
        return theirs == ours;
    }
    let tolerance = if in_ms {
        tolerance_ms
    } else {
        1 + tolerance_ms / 1000
    };
    theirs.abs_diff(ours) <= tolerance.unsigned_abs()
}

/// The one place for values that differ with good reason. Each line says the reason.
fn normalise(request: &Request, reply: Reply) -> Reply {
    // Redis reads a cursor up to a zero byte; we refuse it. And no server's cursors mean anything to the other.
    if cursor_place(request).is_some_and(|place| request.word(place).contains('\0')) {
        return Reply::Array(Vec::new());
    }
    if reply.is_error() {
        return reply;
    }
    let (name, sub) = (request.name(), request.word(1));
    match (name.as_str(), sub.as_str()) {
        // The order of keys is that of each server's table.
        ("KEYS", _) => sorted(reply),
        // So is the order of the fields of a large hash; which of them come by chance is each server's own matter.
        ("HKEYS" | "HVALS" | "SMEMBERS" | "SINTER" | "SUNION" | "SDIFF", _) => sorted(reply),
        ("HGETALL", _) => sorted_pairs(reply),
        ("HRANDFIELD" | "SRANDMEMBER" | "ZRANDMEMBER", _) => length_only(reply),
        // Idle times and times of delivery run on; Redis's tree has nodes of its own.
        ("XPENDING", _) => without_idle_times(reply),
        ("XINFO", sub) if sub != "HELP" => masked(reply),
        // The order of the options is that of a hash table with a random seed.
        ("CONFIG", "GET") => sorted_pairs(reply),
        // The clock runs on.
        ("TIME", _) => Reply::Array(Vec::new()),
        ("LASTSAVE", _) => kind_only(reply),
        // Any key will do; that it is one is checked with the keyspace.
        ("RANDOMKEY", _) => kind_only(reply),
        // Connection numbers and versions are each server's own.
        ("HELLO", _) => without_values(reply, &["id", "version", "modules", "server"]),
        // What a line of help says is said in each server's own words; the syntax lines are equal.
        (_, "HELP") => without_help_texts(reply),
        // Connection numbers, addresses, buffer sizes.
        ("CLIENT", "ID" | "INFO") => kind_only(reply),
        // Which commands were slow, when and for how long is each server's own; so are the ports in it.
        ("SLOWLOG", "GET") => Reply::Array(Vec::new()),
        // Redis's keys share one object for each small integer, and with it the time of the last access.
        ("OBJECT", "IDLETIME") => kind_only(reply),
        // Bytes of each server's own structures; how many share an object; how many were slow.
        ("MEMORY", "USAGE") | ("OBJECT", "REFCOUNT") | ("SLOWLOG", "LEN") => kind_only(reply),
        // Flags, categories, hints and key flags are sets, sent in any order. Notes on key specs are prose.
        ("COMMAND", "INFO" | "GETKEYSANDFLAGS") => sorted_deeply(without_notes(reply)),
        _ => reply,
    }
}

/// The third of each four, the time since a delivery, as 0.
fn without_idle_times(reply: Reply) -> Reply {
    match reply {
        Reply::Array(items) => {
            let is_entry = matches!(items.as_slice(), [_, _, Reply::Int(_), Reply::Int(_)]);
            let mut items: Vec<_> = items.into_iter().map(without_idle_times).collect();
            if is_entry {
                items[2] = Reply::Int(0);
            }
            Reply::Array(items)
        }
        other => other,
    }
}

/// Numbers of XINFO that differ with good reason, as 0, and times of delivery.
fn masked(reply: Reply) -> Reply {
    const NAMES: &[&[u8]] = &[
        b"radix-tree-nodes",
        b"radix-tree-keys",
        b"idle",
        b"inactive",
        b"seen-time",
        b"active-time",
    ];
    let is_masked = |name: &Reply| name.bytes().is_some_and(|name| NAMES.contains(&name));
    let is_time = |reply: &Reply| matches!(reply, Reply::Int(ms) if *ms > 1 << 40);
    match reply {
        Reply::Array(items) => {
            let mut masks = false;
            let items = items.into_iter().map(|item| {
                let hidden = masks || is_time(&item);
                masks = is_masked(&item);
                if hidden { Reply::Int(0) } else { masked(item) }
            });
            Reply::Array(items.collect())
        }
        Reply::Map(pairs) => {
            let pairs = pairs.into_iter().map(|(name, value)| {
                let hidden = is_masked(&name);
                let value = if hidden { Reply::Int(0) } else { masked(value) };
                (name, value)
            });
            Reply::Map(pairs.collect())
        }
        other => other,
    }
}

fn length_only(reply: Reply) -> Reply {
    match reply.items() {
        Some(items) => Reply::Int(items.len() as i64),
        None => kind_only(reply),
    }
}

/// Takes the pairs named `notes` out of the maps of RESP3 and of the arrays that stand for them in RESP2.
fn without_notes(reply: Reply) -> Reply {
    let is_notes = |reply: &Reply| matches!(reply, Reply::Bulk(name) if name == b"notes");
    match reply {
        Reply::Array(items) => {
            let mut kept = Vec::new();
            let mut items = items.into_iter();
            while let Some(item) = items.next() {
                if is_notes(&item) {
                    items.next();
                } else {
                    kept.push(without_notes(item));
                }
            }
            Reply::Array(kept)
        }
        Reply::Set(items) => Reply::Set(items.into_iter().map(without_notes).collect()),
        Reply::Map(pairs) => Reply::Map(
            pairs
                .into_iter()
                .filter(|(name, _)| !is_notes(name))
                .map(|(name, value)| (name, without_notes(value)))
                .collect(),
        ),
        other => other,
    }
}

fn without_help_texts(reply: Reply) -> Reply {
    match reply {
        Reply::Array(mut lines) => {
            lines.retain(|line| !line.to_string().contains("    "));
            Reply::Array(lines)
        }
        other => other,
    }
}

fn kind_only(reply: Reply) -> Reply {
    match reply {
        Reply::Int(_) => Reply::Int(0),
        Reply::Array(_) => Reply::Array(Vec::new()),
        Reply::Bulk(_) => Reply::Bulk(Vec::new()),
        Reply::Verbatim(_) => Reply::Verbatim(Vec::new()),
        other => other,
    }
}

fn sorted(reply: Reply) -> Reply {
    match reply {
        Reply::Array(mut items) => {
            items.sort();
            Reply::Array(items)
        }
        Reply::Set(mut items) => {
            items.sort();
            Reply::Set(items)
        }
        other => other,
    }
}

/// A map, flat in RESP2.
fn sorted_pairs(reply: Reply) -> Reply {
    match reply {
        Reply::Map(mut pairs) => {
            pairs.sort();
            Reply::Map(pairs)
        }
        Reply::Array(items) if items.len() % 2 == 0 => {
            let mut pairs: Vec<_> = items.chunks(2).map(<[Reply]>::to_vec).collect();
            pairs.sort();
            Reply::Array(pairs.concat())
        }
        other => other,
    }
}

fn sorted_deeply(reply: Reply) -> Reply {
    let all_words = |items: &[Reply]| items.iter().all(|item| matches!(item, Reply::Simple(_)));
    match reply {
        Reply::Array(items) if all_words(&items) => sorted(Reply::Array(items)),
        Reply::Array(items) => Reply::Array(items.into_iter().map(sorted_deeply).collect()),
        Reply::Set(mut items) => {
            items.sort();
            Reply::Set(items.into_iter().map(sorted_deeply).collect())
        }
        Reply::Map(pairs) => Reply::Map(
            pairs
                .into_iter()
                .map(|(key, value)| (key, sorted_deeply(value)))
                .collect(),
        ),
        other => other,
    }
}

/// HELLO's map, flat in RESP2, with only the kind of the values of some names.
fn without_values(reply: Reply, names: &[&str]) -> Reply {
    let is_named = |key: &Reply| names.iter().any(|name| key.is_bulk(name.as_bytes()));
    match reply {
        Reply::Map(pairs) => Reply::Map(
            pairs
                .into_iter()
                .map(|(key, value)| {
                    if is_named(&key) {
                        (key, kind_only(value))
                    } else {
                        (key, value)
                    }
                })
                .collect(),
        ),
        Reply::Array(mut items) => {
            for index in 1..items.len() {
                if index % 2 == 1 && is_named(&items[index - 1]) {
                    items[index] = kind_only(items[index].clone());
                }
            }
            Reply::Array(items)
        }
        other => other,
    }
}

/// Fixed conversations that the random ones cannot hold: the connection ends, or replies stop.
/// Each line is one command; all are sent at once, and all replies up to the close are compared.
const CONVERSATIONS: &[&str] = &[
    "QUIT",
    "SET a 1|QUIT|SET a 2",
    "GET a|QUIT x",
    "CLIENT REPLY OFF|SET a 3|GET a|CLIENT REPLY ON|GET a|QUIT",
    "CLIENT REPLY SKIP|SET a 4|GET a|QUIT",
    "CLIENT REPLY SKIP|CLIENT REPLY SKIP|GET a|GET a|QUIT",
    "CLIENT REPLY OFF|CLIENT REPLY SKIP|GET a|CLIENT REPLY ON|PING|QUIT",
    "HELLO 3|GET nothing|HELLO 2|GET nothing|HELLO 4|GET nothing|QUIT",
    "HELLO 3|SELECT 3|SET a three|CLIENT SETNAME x|RESET|GET a|CLIENT GETNAME|QUIT",
    "AUTH nobody x|AUTH x|AUTH default x|PING|QUIT",
    // 32 MB strings: too long for LCS, on the limit of a string.
    "SETRANGE big 33554432 x|LCS big big|LCS big big LEN|STRLEN big|DEL big|QUIT",
    "SETRANGE big 536870912 x|SETBIT big 4294967296 1|APPEND big x|STRLEN big|DEL big|QUIT",
    "PFADD hll a b c|SETRANGE hll 0 XYLL|PFCOUNT hll|PFADD hll d|PFMERGE x hll|DEL hll x|QUIT",
    "PFADD hll a b c|SETRANGE hll 4 z|PFCOUNT hll|PFADD hll d|DEL hll|QUIT",
    "SET hll HYLL|PFCOUNT hll|PFADD hll a|PFMERGE hll hll|GET hll|DEL hll|QUIT",
    "CONFIG SET slowlog-max-len 77|CONFIG GET slowlog-max-len|CONFIG SET slowlog-max-len 128|QUIT",
    "CONFIG SET slowlog-max-len 5 no-such x|CONFIG GET slowlog-max-len|QUIT",
];

#[test]
fn conversations_equal_those_of_redis() {
    let (redis, strata) = (Redis::start(&[]), Strata::start(&[]));
    for conversation in CONVERSATIONS {
        let mut bytes = Vec::new();
        for line in conversation.split('|') {
            encode_into(&mut bytes, &line.split(' ').collect::<Vec<_>>());
        }
        let answers = [&redis, &strata].map(|server| {
            let mut client = server.connect();
            client.send_raw(&bytes);
            replies_until_close(&mut client)
        });
        assert_eq!(
            answers[0], answers[1],
            "{conversation}\nleft: redis, right: strata"
        );
    }
}

/// COMMAND DOCS of every command but what is prose: arguments, versions, what replaces a deprecated one.
#[test]
fn docs_equal_those_of_redis() {
    const CONTAINERS: &[&str] = &["xgroup", "xinfo", "object", "memory", "config"];
    let (redis, strata) = (Redis::start(&[]), Strata::start(&[]));
    let mut pair = Pair {
        redis: redis.connect(),
        strata: strata.connect(),
    };
    pair.run(&["HELLO", "3"]);
    let mut differing = Vec::new();
    if Redis::newest(&[]).is_none() {
        return;
    }
    // SET has a condition that came with Valkey 8.1, ZSCAN a word of Valkey 9.
    let is_newer = |name: &str| {
        matches!(name, "set" | "zscan") || differences::OTHER_ARGUMENTS.contains(&name)
    };
    let names = PLAIN_COMMANDS.iter().chain(CONTAINERS);
    for name in names.filter(|name| !is_newer(name)) {
        let (theirs, ours) = pair.run(&["COMMAND", "DOCS", name]);
        let (theirs, ours) = (without_prose(theirs), without_prose(ours));
        if theirs != ours {
            differing.push(format!("{name}\n  redis:  {theirs}\n  strata: {ours}"));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

/// Takes out what is said in each server's own words, and the order of sets and of subcommands.
fn without_prose(reply: Reply) -> Reply {
    const PROSE: &[&[u8]] = &[b"summary", b"complexity"];
    match reply {
        Reply::Map(pairs) => {
            let is_prose = |name: &Reply| name.bytes().is_some_and(|name| PROSE.contains(&name));
            let kept = pairs.into_iter().filter(|(name, _)| !is_prose(name));
            let mut kept: Vec<_> = kept
                .map(|(name, value)| match name.bytes() {
                    Some(b"history") => (name, versions(value)),
                    _ => (name, without_prose(value)),
                })
                .collect();
            kept.sort_by_key(|(name, _)| name.to_string());
            Reply::Map(kept)
        }
        Reply::Array(items) => Reply::Array(items.into_iter().map(without_prose).collect()),
        Reply::Set(items) => sorted_deeply(Reply::Set(items)),
        other => other,
    }
}

/// The versions of a history, without what they brought.
fn versions(history: Reply) -> Reply {
    let Reply::Set(entries) = history else {
        panic!("a history is no set: {history}");
    };
    let versions = entries.iter().map(|entry| match entry.items() {
        Some([version, Reply::Bulk(_)]) => version.clone(),
        _ => panic!("no version with what it brought: {entry}"),
    });
    Reply::Array(versions.collect())
}

/// SORT by numbers, apart from the random commands: Redis 7.0 refuses a weight if any command before, of whatever kind, met a
/// number that is too large.
#[test]
fn sorts_equal_those_of_redis() {
    const DATA: &[&str] = &[
        "RPUSH l 3 1 10 2 -5 1.5 0x10",
        "SADD s 5 3 4 99",
        "ZADD z 1 10 2 9 3 8 4 7 5 6",
        "MSET w_3 7 w_1 6 w_10 5 w_2 4 w_-5 3 w_5 -1 w_4 abc w_99 8",
        "HSET h_1 f one n 3",
        "HSET h_2 f two n 2",
        "HSET h_10 f ten n 1",
        "SET w_9 text",
        "RPUSH texts b a",
    ];
    const SORTS: &[&str] = &[
        "SORT l",
        "SORT l DESC",
        "SORT l LIMIT 1 3",
        "SORT l LIMIT -1 2",
        "SORT l LIMIT 3 -1",
        "SORT l LIMIT 9 2",
        "SORT l LIMIT 2 0",
        "SORT l BY w_*",
        "SORT l BY w_* DESC GET # GET w_*",
        "SORT l BY h_*->n GET h_*->f GET #",
        "SORT l BY h_*-> GET h_*->",
        "SORT l BY nosort DESC LIMIT 1 2",
        "SORT l GET none",
        "SORT s",
        "SORT s BY w_*",
        "SORT s BY nosort STORE to",
        "LRANGE to 0 -1",
        "SORT z",
        "SORT z DESC LIMIT 0 2 GET w_*",
        "SORT z BY nosort",
        "SORT z BY nosort DESC LIMIT 1 2",
        "SORT z BY w_*",
        "SORT texts",
        "SORT l BY texts*",
        "SORT l STORE l",
        "LRANGE l 0 -1",
        "SORT none BY w_* STORE l",
        "EXISTS l",
        "SORT w_1",
        "SORT h_1",
        "SORT_RO h_1 ALPHA STORE to",
        "SORT l BY",
        "SORT_RO z STORE to",
        "COMMAND GETKEYS SORT a BY store GET x STORE b STORE c",
        "COMMAND GETKEYSANDFLAGS SORT a STORE b",
        "COMMAND INFO SORT SORT_RO",
    ];
    let (redis, strata) = (Redis::start(&[]), Strata::start(&[]));
    let mut pair = Pair {
        redis: redis.connect(),
        strata: strata.connect(),
    };
    for line in DATA.iter().chain(SORTS) {
        let request = request_of(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
        let (theirs, ours) = pair.run(&request.args);
        let (theirs, ours) = (normalise(&request, theirs), normalise(&request, ours));
        assert_eq!(theirs, ours, "{line}\nleft: redis, right: strata");
    }
}

/// All replies up to the close, normalised, and how the connection ended.
fn replies_until_close(client: &mut Client) -> (Vec<Reply>, String) {
    // Which reply is HELLO's is not known here; no other reply has its names.
    let hello = words(&["HELLO"]);
    let mut replies = Vec::new();
    loop {
        match client.try_read() {
            Ok(reply) => replies.push(normalise(&hello, reply)),
            Err(error) if is_closed(&error) => return (replies, "closed".to_owned()),
            Err(error) => return (replies, error.to_string()),
        }
    }
}

/// Only on a large machine: the last bit of the largest string takes 512 MB on either side.
#[test]
fn last_bit_of_the_largest_string() {
    if env::var_os("STRATA_BIG").is_none() {
        println!("not run: needs STRATA_BIG=1 and 2 GB of memory");
        return;
    }
    let (redis, strata) = (Redis::start(&[]), Strata::start(&[]));
    let mut pair = Pair {
        redis: redis.connect(),
        strata: strata.connect(),
    };
    for line in [
        "SETBIT big 4294967295 1",
        "STRLEN big",
        "BITCOUNT big",
        "BITPOS big 1",
        "DEL big",
    ] {
        let started = Instant::now();
        let (theirs, ours) = pair.run(&line.split(' ').collect::<Vec<_>>());
        assert_eq!(theirs, ours, "{line} after {:?}", started.elapsed());
    }
}
