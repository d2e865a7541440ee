//! CACHE.WARM and `--warm`: real files of a real redis-server, whole and broken.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::client::{Client, Reply};
use crate::server::{Redis, Server, Strata, Valkey, poll};

const PATIENCE: Duration = Duration::from_secs(30);

/// Keys of every type, in every encoding that the limits below allow.
const DATA: &[&str] = &[
    "SET text hello",
    "SET number 12345",
    "SET large 12345678901",
    "SET expires soon PX 100000000",
    "SET expired now PX 1",
    "RPUSH list a 1 -5000 b c d e",
    "RPUSH short a",
    "SADD integers 1 300 -70000",
    "SADD set a b c",
    "ZADD zset 1 a 2.5 b -inf c",
    "ZADD skiplist 1 a 2.5 b -inf c 1000.125 d 7 e",
    "HSET hash f 1 g two",
    "HSET table a 1 b 2 c 3 d 4 e 5",
    "PFADD hll a b c",
    "GEOADD geo 13.361389 38.115556 Palermo",
    "XADD stream 1-1 a 1",
    "XADD stream 2-1 a 2 b 3",
    "XADD stream 3-1 c 4",
    "XDEL stream 2-1",
    "XGROUP CREATE stream group 0",
    "XREADGROUP GROUP group ann COUNT 1 STREAMS stream >",
    "SELECT 3",
    "SET other-db yes",
    "SELECT 0",
];

const OPTIONS: &[&str] = &[
    "--hash-max-listpack-entries",
    "3",
    "--zset-max-listpack-entries",
    "3",
    "--list-max-listpack-size",
    "3",
];

fn run(client: &mut Client, line: &str) -> Reply {
    client.run(&line.split(' ').collect::<Vec<_>>())
}

/// A redis-server with the data, and the file that it saved.
fn redis_with_file() -> (Server, PathBuf) {
    with_file(Redis::start(OPTIONS))
}

fn with_file(redis: Server) -> (Server, PathBuf) {
    let mut client = redis.connect();
    for line in DATA {
        let reply = run(&mut client, line);
        assert!(!reply.is_error(), "{line}: {reply}");
    }
    for n in 0..3_000 {
        run(&mut client, &format!("SET many:{n} value-of-{n}"));
        run(&mut client, &format!("HSET small:{n} field {n}"));
    }
    run(&mut client, &format!("SET long {}", "ab".repeat(100_000)));
    run(&mut client, "SAVE");
    let path = redis.dir().join("dump.rdb");
    (redis, path)
}

fn field(client: &mut Client, name: &str) -> String {
    let info = run(client, "INFO persistence");
    let text = String::from_utf8_lossy(info.bytes().unwrap_or_default()).into_owned();
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in INFO"))
        .to_owned()
}

fn warm(client: &mut Client, path: &Path) -> Reply {
    client.run(&["CACHE.WARM", "FILE", &path.to_string_lossy()])
}

fn wait_until_warm(client: &mut Client) {
    let is_over = || (field(client, "warm_in_progress") == "0").then_some(());
    poll(PATIENCE, is_over).expect("the warming ends");
}

/// All keys of a database with what tells their values apart.
fn contents(client: &mut Client, db: &str) -> Vec<(Vec<u8>, Reply, Reply, bool)> {
    run(client, &format!("SELECT {db}"));
    let keys = run(client, "KEYS *");
    let mut keys: Vec<_> = keys.items().unwrap_or_default().to_vec();
    keys.sort_by(|a, b| a.bytes().cmp(&b.bytes()));
    let of_key = |key: &Reply| {
        let key = key.bytes().unwrap_or_default().to_vec();
        let digest = client.run(&[&b"DEBUG"[..], b"DIGEST-VALUE", &key]);
        let kind = client.run(&[&b"TYPE"[..], &key]);
        let expires = client.run(&[&b"PEXPIRETIME"[..], &key]).int();
        (key, digest, kind, expires != Some(-1))
    };
    keys.iter().map(of_key).collect()
}

#[test]
fn a_file_of_redis_is_loaded_whole_and_leaves_what_is_there() {
    is_loaded_whole(redis_with_file());
}

#[test]
fn a_file_of_valkey_is_loaded_whole_and_leaves_what_is_there() {
    is_loaded_whole(with_file(Valkey::start(OPTIONS)));
}

#[test]
fn a_file_of_the_installed_redis_is_loaded_whole() {
    is_loaded_whole(with_file(Redis::installed(OPTIONS)));
}

/// What the newest servers have beyond those data: what can be kept is there, the rest is counted.
#[test]
fn what_cannot_be_kept_of_a_new_file_is_left_out_and_counted() {
    let Some(redis) = Redis::newest(OPTIONS) else {
        return;
    };
    let mut theirs = redis.connect();
    for line in [
        "HIMPORT PREPARE people name age",
        "HIMPORT SET person:1 people Ann 33",
        "HIMPORT SET person:2 people Bob 34",
        "HSET deadlines a 1 b 2",
        "HPEXPIREAT deadlines 9999999999999 FIELDS 1 a",
        "ARSET array 0 x y 12",
        "VADD vectors VALUES 3 1 0.5 2 element",
        "SET after-them yes",
    ] {
        let reply = run(&mut theirs, line);
        assert!(!reply.is_error(), "{line}: {reply}");
    }
    let (redis, path) = with_file(redis);
    let strata = Strata::start(OPTIONS);
    let mut client = strata.connect();
    warm(&mut client, &path);
    wait_until_warm(&mut client);
    assert_eq!(field(&mut client, "warm_status"), "ok");
    assert_eq!(field(&mut client, "warm_keys_skipped"), "2");
    let mut theirs = contents(&mut redis.connect(), "0");
    theirs.retain(|(key, ..)| key != b"array" && key != b"vectors");
    assert_eq!(contents(&mut client, "0"), theirs);
    let deadline = run(&mut client, "HPEXPIRETIME deadlines FIELDS 2 a b");
    assert_eq!(deadline.to_string(), "[:9999999999999, :-1]");
}

#[test]
fn hashes_with_deadlines_of_valkey_are_loaded() {
    let Some(valkey) = Valkey::newest(OPTIONS) else {
        return;
    };
    let mut theirs = valkey.connect();
    run(&mut theirs, "HSET deadlines a 1 b 2");
    run(&mut theirs, "HPEXPIREAT deadlines 9999999999999 FIELDS 1 a");
    let dumped = run(&mut theirs, "DUMP deadlines");
    let (_valkey, path) = with_file(valkey);
    let strata = Strata::start(OPTIONS);
    let mut client = strata.connect();
    let payload = dumped.bytes().expect("a payload");
    let restored = client.run(&[&b"RESTORE"[..], b"copy", b"0", payload]);
    assert!(restored.is_simple("OK"), "{restored}");
    warm(&mut client, &path);
    wait_until_warm(&mut client);
    assert_eq!(field(&mut client, "warm_status"), "ok");
    for key in ["deadlines", "copy"] {
        let deadline = run(&mut client, &format!("HPEXPIRETIME {key} FIELDS 2 a b"));
        assert_eq!(deadline.to_string(), "[:9999999999999, :-1]", "{key}");
    }
}

const MANY: usize = 20_000;

/// A file with so many keys in database 0 and as many in database 2.
fn file_of_many(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let mut bytes = b"REDIS0004".to_vec();
    for db in [0, 2] {
        bytes.extend([0xfe, db]);
        for n in 0..MANY {
            bytes.extend([0, 10]);
            bytes.extend(format!("key:{n:06}").as_bytes());
            bytes.extend(b"\x05value");
        }
    }
    bytes.push(0xff);
    fs::write(&path, bytes).expect("write a file");
    path
}

/// A server that has begun to load that file, which has loaded some of it already.
fn while_it_warms(name: &str, change: &str) -> (Server, Client) {
    let path = file_of_many(name);
    let strata = Strata::start(&[]);
    let mut client = strata.connect();
    warm(&mut client, &path);
    let has_begun = || (field(&mut client, "rdb_last_load_keys_loaded") != "0").then_some(());
    poll(PATIENCE, has_begun).expect("keys are loaded");
    assert!(!run(&mut client, change).is_error());
    wait_until_warm(&mut client);
    let _ = fs::remove_file(path);
    (strata, client)
}

fn sizes(client: &mut Client) -> Vec<Option<i64>> {
    let size = |db: &&str| {
        run(client, &format!("SELECT {db}"));
        run(client, "DBSIZE").int()
    };
    ["0", "1", "2"].iter().map(size).collect()
}

#[test]
fn flushall_stops_a_warming() {
    let (_strata, mut client) = while_it_warms("flushall.rdb", "FLUSHALL");
    assert_eq!(sizes(&mut client), [Some(0), Some(0), Some(0)]);
    let status = field(&mut client, "warm_status");
    assert_eq!(status, "all databases were flushed meanwhile");
}

#[test]
fn flushdb_stops_a_warming_of_its_database() {
    let (_strata, mut client) = while_it_warms("flushdb.rdb", "FLUSHDB");
    assert_eq!(sizes(&mut client), [Some(0), Some(0), Some(MANY as i64)]);
    assert_eq!(field(&mut client, "warm_status"), "ok");
}

#[test]
fn a_warming_follows_exchanged_databases() {
    let (_strata, mut client) = while_it_warms("swapdb.rdb", "SWAPDB 0 1");
    let many = Some(MANY as i64);
    assert_eq!(sizes(&mut client), [Some(0), many, many]);
}

#[test]
fn the_progress_of_a_warming_is_exact_and_its_status_right() {
    let path = file_of_many("progress.rdb");
    let bytes = fs::metadata(&path).expect("the file").len().to_string();
    let strata = Strata::start(&[]);
    let mut client = strata.connect();
    assert_eq!(field(&mut client, "warm_status"), "none");
    warm(&mut client, &path);
    // All of one moment.
    let info = run(&mut client, "INFO persistence").to_string();
    if info.contains("warm_in_progress:1") {
        assert!(info.contains("warm_status:running"), "{info}");
    }
    assert_eq!(field(&mut client, "warm_bytes_total"), bytes);
    wait_until_warm(&mut client);
    assert_eq!(field(&mut client, "warm_bytes_read"), bytes);
    assert_eq!(field(&mut client, "warm_status"), "ok");
    let _ = fs::remove_file(path);
}

fn is_loaded_whole((redis, path): (Server, PathBuf)) {
    let strata = Strata::start(OPTIONS);
    let mut client = strata.connect();
    run(&mut client, "SET many:7 own");
    let started = warm(&mut client, &path);
    assert!(started.is_simple("Background warming started"), "{started}");
    wait_until_warm(&mut client);
    assert_eq!(field(&mut client, "warm_status"), "ok");
    assert_eq!(field(&mut client, "warm_keys_kept"), "1");
    assert_eq!(run(&mut client, "GET many:7").bytes(), Some(&b"own"[..]));
    run(&mut client, "SET many:7 value-of-7");
    for db in ["0", "3"] {
        let theirs = contents(&mut redis.connect(), db);
        assert_eq!(contents(&mut client, db), theirs, "database {db}");
    }
    let info = |client: &mut Client| {
        let pending = run(client, "XPENDING stream group").to_string();
        (run(client, "XINFO GROUPS stream").to_string(), pending)
    };
    let mut theirs = redis.connect();
    run(&mut client, "SELECT 0");
    assert_eq!(info(&mut client), info(&mut theirs));
}

#[test]
fn of_a_broken_file_nothing_is_loaded() {
    let (_redis, path) = redis_with_file();
    let whole = fs::read(&path).expect("read the file");
    let strata = Strata::start(OPTIONS);
    let mut client = strata.connect();
    let broken = path.with_file_name("broken.rdb");
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 0x10;
    let mut ends = whole.clone();
    *ends.last_mut().expect("it has bytes") ^= 1;
    let cases = [
        whole[..whole.len() - 1].to_vec(),
        whole[..whole.len() / 2].to_vec(),
        whole[..40].to_vec(),
        flipped,
        ends,
    ];
    for bytes in cases {
        fs::write(&broken, &bytes).expect("write a broken file");
        let started = warm(&mut client, &broken);
        assert!(started.is_simple("Background warming started"), "{started}");
        wait_until_warm(&mut client);
        let status = field(&mut client, "warm_status");
        assert!(status.starts_with("at or behind byte "), "{status}");
        assert_eq!(run(&mut client, "DBSIZE").int(), Some(0), "{status}");
    }
    for (bytes, error) in [
        (&b"no file of this kind"[..], "it is no RDB file"),
        (b"REDIS", "it is no RDB file"),
        (
            b"REDIS0099........",
            "RDB files of its version are not supported",
        ),
    ] {
        fs::write(&broken, bytes).expect("write a broken file");
        let refused = warm(&mut client, &broken).to_string();
        assert!(refused.contains("ERR cannot warm from it"), "{refused}");
        // Why is for the operator.
        assert!(strata.stdout().contains(error), "{}", strata.stdout());
    }
    let refused = warm(&mut client, &path.with_file_name("none")).to_string();
    assert!(refused.contains("ERR cannot warm from it"), "{refused}");
    assert!(run(&mut client, "CACHE.WARM URL x").is_error());
}

#[test]
fn a_server_starts_warm_and_under_a_small_limit_of_memory() {
    let (redis, path) = redis_with_file();
    let path = path.to_string_lossy().into_owned();
    let options = ["--warm", &path, "--maxmemory", "3mb"];
    let strata = Strata::start(&[OPTIONS, &options].concat());
    let mut client = strata.connect();
    wait_until_warm(&mut client);
    assert_eq!(field(&mut client, "warm_status"), "ok");
    assert_eq!(
        contents(&mut client, "0"),
        contents(&mut redis.connect(), "0")
    );
    // Memory alone cannot hold it; what does not fit makes room for what comes.
    let small = [
        OPTIONS,
        &[
            "--maxmemory",
            "2mb",
            "--tier-max-bytes",
            "0",
            "--warm",
            &path,
        ],
    ];
    let strata = Strata::start(&small.concat());
    let mut client = strata.connect();
    wait_until_warm(&mut client);
    assert_eq!(field(&mut client, "warm_status"), "ok");
}
