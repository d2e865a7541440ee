//! The disk tier from outside: the real server with far more keys than its memory holds.
//!
//! Every test has a directory for the tier, which outlives the servers of the test and is removed at its end.
//! By default each is quick. `STRATA_TIER_COUNT=30` makes the random ones longer: so many kills, so many
//! rounds of the model, and every file damaged in every way from 30 on. `STRATA_TIER_SEED` repeats a run.

use std::collections::HashMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::client::{Client, Reply, Shown, encode_into};
use crate::server::{Server, Strata, poll};

mod collections;
mod compression;
mod crash;
mod damage;
mod disk_faults;
mod failing;
mod keys;
mod long;
mod model;
mod moment;
mod policy;
mod restart;

/// Requests that are sent together.
const PIPELINE: usize = 256;

/// A directory for a tier.
struct Disk(PathBuf);

impl Disk {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("tier-{}-{number}", std::process::id()));
        // A leftover of an old run with the same process number.
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
        // The library that makes calls fail sees where a file really is, also where target is a symbolic link.
        Self(dir.canonicalize().expect("it was just made"))
    }

    /// Where the tier is; made by the server.
    fn tier(&self) -> PathBuf {
        self.0.join("tier")
    }

    /// A server over this tier. Later arguments win.
    fn start(&self, args: &[&str]) -> Server {
        self.with_args(args, Strata::start)
    }

    fn with_args<T>(&self, args: &[&str], start: impl FnOnce(&[&str]) -> T) -> T {
        let dir = self.tier();
        let dir = dir.to_str().expect("the path is text");
        let mut all = vec!["--tier-dir", dir, "--tier-max-bytes", "1gb"];
        if !args.contains(&"--maxmemory") {
            all.extend(["--maxmemory", "8mb"]);
        }
        all.extend(args);
        start(&all)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the tier's files: {}", self.0.display());
        } else {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// Waits for the run that every change is followed by.
fn wait_until_written(client: &mut Client) {
    let mut is_written = || {
        let info = text(&client.run(&["INFO", "tier"]));
        info.contains("tier_unwritten_bytes:0\r")
    };
    // Between two lists of the writer the bytes are in neither.
    let written = poll(Duration::from_secs(30), || {
        (is_written() && is_written()).then_some(())
    });
    assert!(written.is_some(), "nothing is written");
}

/// How often a random test does its work.
fn count(default: u32) -> u32 {
    let text = env::var("STRATA_TIER_COUNT").ok();
    text.map_or(default, |text| text.parse().expect("a number"))
}

/// xorshift64.
#[derive(Clone)]
struct Random(u64);

impl Random {
    /// From a seed that is printed, so that a failure can be repeated, as far as time allows.
    fn new(test: &str) -> Self {
        let given = env::var("STRATA_TIER_SEED").ok();
        let seed = given.map_or_else(
            || now_ms().cast_unsigned() << 20 ^ u64::from(std::process::id()),
            |text| text.parse().expect("a number"),
        );
        eprintln!("{test}: STRATA_TIER_SEED={seed}");
        Self(seed | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 16) % n
    }

    fn index(&mut self, n: usize) -> usize {
        self.below(n as u64) as usize
    }

    fn split(&mut self) -> Self {
        Self(self.next() | 1)
    }
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(now.expect("after 1970").as_millis()).expect("fits")
}

/// The value of a key in some version: no other key or version has it, and a part of it compresses.
fn value(key: &str, version: u64, bytes: usize) -> Vec<u8> {
    let mut value = format!("{{\"key\":\"{key}\",\"version\":{version},\"noise\":\"").into_bytes();
    let hash = |h: u64, b: &u8| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3);
    let mut random = Random(value.iter().fold(0xcbf2_9ce4_8422_2325, hash) | 1);
    while value.len() < bytes {
        value.extend_from_slice(format!("{:08x}", random.next() as u32).as_bytes());
        value.extend_from_slice(b"--------");
    }
    value.truncate(bytes.max(40 + key.len()));
    value
}

/// Runs many commands, some at a time, and gives all replies.
fn run_all<A: AsRef<[u8]>>(
    client: &mut Client,
    commands: impl IntoIterator<Item = Vec<A>>,
) -> Vec<Reply> {
    let mut replies = Vec::new();
    let mut commands = commands.into_iter();
    loop {
        let (mut requests, mut sent) = (Vec::new(), 0);
        for command in commands.by_ref().take(PIPELINE) {
            encode_into(&mut requests, &command);
            sent += 1;
        }
        if sent == 0 {
            return replies;
        }
        let (got, end) = client.pipeline(&requests, sent);
        replies.extend(got);
        end.unwrap_or_else(|error| panic!("after {} replies: {error}", replies.len()));
    }
}

fn set_all(client: &mut Client, pairs: impl IntoIterator<Item = (String, Vec<u8>)>) {
    let sets = pairs
        .into_iter()
        .map(|(k, v)| vec![b"SET".to_vec(), k.into(), v]);
    for reply in run_all(client, sets) {
        assert!(reply.is_simple("OK"), "{reply}");
    }
}

/// What stands at these keys; `None` for no key.
fn get_all(client: &mut Client, keys: &[String]) -> Vec<Option<Vec<u8>>> {
    let gets = keys.iter().map(|key| vec!["GET", key]);
    let replies = run_all(client, gets).into_iter().zip(keys);
    replies
        .map(|(reply, key)| match reply {
            Reply::Bulk(value) => Some(value),
            Reply::Nil => None,
            other => panic!("GET {key}: {other}"),
        })
        .collect()
}

fn assert_holds(client: &mut Client, expected: &[(String, Vec<u8>)]) {
    let keys: Vec<_> = expected.iter().map(|(key, _)| key.clone()).collect();
    for ((key, wanted), found) in expected.iter().zip(get_all(client, &keys)) {
        let found = found.unwrap_or_else(|| panic!("{key} is missing"));
        assert!(
            found == *wanted,
            "{key}: {} for {}",
            Shown(&found),
            Shown(wanted)
        );
    }
}

fn int<A: AsRef<[u8]>>(client: &mut Client, command: &[A]) -> i64 {
    let reply = client.run(command);
    reply.int().unwrap_or_else(|| panic!("no number: {reply}"))
}

fn db_size(client: &mut Client) -> usize {
    usize::try_from(int(client, &["DBSIZE"])).expect("not negative")
}

/// A field of INFO.
fn info(client: &mut Client, section: &str, field: &str) -> i64 {
    let info = text(&client.run(&["INFO", section]));
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let number = line.and_then(|number| number.parse().ok());
    number.unwrap_or_else(|| panic!("no number {field}: {info}"))
}

/// Waits for the size, which the server may still be counting after a crash.
fn assert_db_size_becomes(client: &mut Client, wanted: usize) {
    let reached = poll(Duration::from_secs(20), || {
        (db_size(client) == wanted).then_some(())
    });
    assert!(
        reached.is_some(),
        "DBSIZE {} and not {wanted}",
        db_size(client)
    );
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(db_size(client), wanted, "DBSIZE moves on");
}

/// Walks over all keys with SCAN: how often each was seen.
fn scan(client: &mut Client, count: usize) -> HashMap<String, u32> {
    let mut seen = HashMap::new();
    let (mut cursor, count) = (b"0".to_vec(), count.to_string());
    let start = Instant::now();
    loop {
        let reply = client.run(&[b"SCAN", cursor.as_slice(), b"COUNT", count.as_bytes()]);
        let Some([next, keys]) = reply.items() else {
            panic!("SCAN: {reply}");
        };
        for key in keys.items().expect("an array of keys") {
            *seen.entry(text(key)).or_default() += 1;
        }
        cursor = next.bytes().expect("a cursor").to_vec();
        if cursor == b"0" {
            return seen;
        }
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "SCAN does not end"
        );
    }
}

fn text(reply: &Reply) -> String {
    let bytes = reply.bytes().unwrap_or_else(|| panic!("no text: {reply}"));
    String::from_utf8_lossy(bytes).into_owned()
}

/// Fills memory with other keys, in the last database, until what was there is on disk.
fn cool(server: &Server) {
    let mut client = server.connect();
    client.run(&["SELECT", "15"]);
    set_all(
        &mut client,
        (0..10_000).map(|i| (format!("filler:{i}"), value("filler", i, 1_024))),
    );
}

fn files_below(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("list a directory of the tier") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files_below(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// A stop in order.
fn stop(server: Server) {
    end(server);
}

/// The same; gives the log.
fn end(mut server: Server) -> String {
    let status = server.terminate();
    assert_eq!(status.code(), Some(0), "{status}\n{}", server.stderr());
    assert_calm(&server);
    server.stdout() + &server.stderr()
}

fn assert_calm(server: &Server) {
    let log = format!("{}{}", server.stdout(), server.stderr());
    assert!(!log.contains("panicked"), "{log}");
}
