//! MIGRATE between real servers: Redis and Strata as the one that sends, and as the one that takes.

use std::time::Duration;

use crate::client::{Client, Reply};
use crate::server::{Redis, Server, Strata, Valkey, poll};

/// Lines for the sender, and after `@` for the target; `PORT` is that of the target.
const CONVERSATIONS: &[&str] = &[
    // First, for Redis keeps its connections for some seconds, and an old one needs no password.
    "SET k v|@CONFIG SET requirepass secret|MIGRATE 127.0.0.1 PORT k 0 2000|MIGRATE 127.0.0.1 PORT k 0 2000 AUTH wrong|GET k|\
     MIGRATE 127.0.0.1 PORT k 0 2000 AUTH secret|EXISTS k|@GET k|SET k w|\
     MIGRATE 127.0.0.1 PORT k 0 2000 REPLACE AUTH2 default secret|EXISTS k|@GET k|@CONFIG SET requirepass ''",
    "SET k v|MIGRATE 127.0.0.1 PORT k 0 2000|EXISTS k|@GET k|@TTL k",
    "SET k v PX 90000|MIGRATE 127.0.0.1 PORT k 3 2000|EXISTS k|@EXISTS k|@SELECT 3|@GET k|@TTL k",
    "MIGRATE 127.0.0.1 PORT none 0 2000|MIGRATE 127.0.0.1 PORT '' 0 2000 KEYS a b|@DBSIZE",
    // All types, several at a time, one of which is not there.
    "RPUSH l a b 3|SADD s x y|SADD i 1 2|ZADD z 1 a 2.5 b|HSET h f v|XADD x 1-1 f v|XGROUP CREATE x g 0|\
     MIGRATE 127.0.0.1 PORT '' 0 2000 KEYS l s i none z h x|DBSIZE|@LRANGE l 0 -1|@SISMEMBER s x|@SMEMBERS i|\
     @ZRANGE z 0 -1 WITHSCORES|@HGETALL h|@XRANGE x - +|@XINFO GROUPS x",
    // What is there is not written over unless that is asked for, and nothing is lost.
    "SET k v|@SET k old|MIGRATE 127.0.0.1 PORT k 0 2000|GET k|@GET k|MIGRATE 127.0.0.1 PORT k 0 2000 REPLACE|EXISTS k|@GET k",
    "SET a 1|SET b 2|@SET a old|MIGRATE 127.0.0.1 PORT '' 0 2000 KEYS a b|GET a|EXISTS b|@GET a|@GET b",
    "SET k v|MIGRATE 127.0.0.1 PORT k 0 2000 COPY|GET k|@GET k|MIGRATE 127.0.0.1 PORT k 0 2000 copy|\
     MIGRATE 127.0.0.1 PORT k 0 2000 COPY REPLACE|GET k",
    // Passwords. Where the target refuses one Redis has sent the key nevertheless, Strata has not: the target is not asked.
    "SET k v|MIGRATE 127.0.0.1 PORT k 0 2000 AUTH wrong|GET k",
    // Faults.
    "SET k v|MIGRATE 127.0.0.1 PORT k 99 2000|GET k|MIGRATE 127.0.0.1 1 k 0 200|MIGRATE 127.0.0.1 0 k 0 200|GET k",
    "SET k v|MIGRATE 127.0.0.1 PORT k x 2000|MIGRATE 127.0.0.1 PORT k 0 x|MIGRATE 127.0.0.1 PORT k 0 2000 WHAT|\
     MIGRATE 127.0.0.1 PORT k 0 2000 AUTH|MIGRATE 127.0.0.1 PORT k 0 2000 AUTH2 a|MIGRATE 127.0.0.1 PORT k 0 2000 KEYS k|\
     MIGRATE 127.0.0.1 PORT '' 0 2000 KEYS|MIGRATE 127.0.0.1 PORT k 0|GET k",
    "SET k v|@CLIENT PAUSE 600 WRITE|MIGRATE 127.0.0.1 PORT k 0 100|GET k",
    // A key that is named as the option is, and where keys are.
    "SET KEYS v|MIGRATE 127.0.0.1 PORT KEYS 0 2000|@GET KEYS|SET keys w|MIGRATE 127.0.0.1 PORT '' 0 2000 REPLACE KEYS keys|@GET keys",
    "COMMAND GETKEYS MIGRATE h 1 k 0 5|COMMAND GETKEYS MIGRATE h 1 k 0 5 COPY AUTH p|COMMAND GETKEYS MIGRATE h 1 '' 0 5 KEYS a b",
];

fn words(line: &str, port: u16) -> Vec<String> {
    let words = line.split_whitespace().map(|word| match word {
        "''" => String::new(),
        "PORT" => port.to_string(),
        word => word.to_owned(),
    });
    words.collect()
}

fn converse(sender: &Server, target: &Server, conversation: &str) -> Vec<(String, Reply)> {
    let (mut here, mut there) = (sender.connect(), target.connect());
    here.run(&["FLUSHALL"]);
    there.run(&["FLUSHALL"]);
    let lines = conversation.split('|');
    let replies = lines.map(|line| {
        let reply = match line.strip_prefix('@') {
            Some(line) => there.run(&words(line, target.port())),
            None => here.run(&words(line, target.port())),
        };
        (line.to_owned(), reply)
    });
    replies.collect()
}

#[test]
fn keys_go_to_redis_and_to_strata_as_they_do_from_redis() {
    let (redis, strata) = (Redis::start(&[]), Strata::start(&[]));
    for target in [Redis::start(&[]), Strata::start(&[])] {
        for conversation in CONVERSATIONS {
            let theirs = converse(&redis, &target, conversation);
            let ours = converse(&strata, &target, conversation);
            assert_eq!(theirs, ours, "{conversation}\nleft: redis, right: strata");
        }
    }
}

/// Redis and Valkey have each a form of its own for these, and do not read the other one's.
#[test]
fn hashes_with_deadlines_go_to_valkey_and_to_redis() {
    let targets = [
        Valkey::newest(&[]),
        Redis::newest(&[]),
        Some(Strata::start(&[])),
    ];
    for target in targets.into_iter().flatten() {
        let sender = Strata::start(&[]);
        let (mut here, mut there) = (sender.connect(), target.connect());
        // Packed, and large.
        here.run(&["HSET", "small", "a", "1", "b", "-2", "c", "three"]);
        here.run(&["HPEXPIRE", "small", "900000", "FIELDS", "1", "a"]);
        for i in 0..700 {
            let (field, value) = (format!("field{i}"), format!("value{i}"));
            here.run(&["HSET", "large", &field, &value]);
        }
        here.run(&[
            "HPEXPIREAT",
            "large",
            "4102444800000",
            "FIELDS",
            "2",
            "field1",
            "field2",
        ]);
        here.run(&["HSET", "plain", "f", "v"]);
        let port = target.port().to_string();
        let keys = ["KEYS", "small", "large", "plain"];
        let migrate = [
            &["MIGRATE", "127.0.0.1", &port, "", "0", "20000"][..],
            &keys,
        ]
        .concat();
        let reply = here.run(&migrate);
        assert!(reply.is_simple("OK"), "{reply}");
        assert_eq!(here.run(&["DBSIZE"]).int(), Some(0));
        assert_eq!(
            there.run(&["HMGET", "small", "a", "b", "c"]).strings(),
            ["1", "-2", "three"]
        );
        let ttls = there.run(&["HPTTL", "small", "FIELDS", "3", "a", "b", "c"]);
        let ttls: Vec<_> = ttls
            .items()
            .unwrap_or_default()
            .iter()
            .map(Reply::int)
            .collect();
        let left = ttls[0].expect("a number");
        assert!(
            (1..=900_000).contains(&left) && ttls[1..] == [Some(-1); 2],
            "{ttls:?}"
        );
        assert_eq!(there.run(&["HLEN", "large"]).int(), Some(700));
        assert_eq!(
            there.run(&["HGET", "large", "field699"]).to_string(),
            "\"value699\""
        );
        let times = [
            "HPEXPIRETIME",
            "large",
            "FIELDS",
            "3",
            "field0",
            "field1",
            "field2",
        ];
        let times = there.run(&times);
        let times: Vec<_> = times
            .items()
            .unwrap_or_default()
            .iter()
            .map(Reply::int)
            .collect();
        assert_eq!(
            times,
            [Some(-1), Some(4_102_444_800_000), Some(4_102_444_800_000)]
        );
        assert_eq!(there.run(&["HGET", "plain", "f"]).to_string(), "\"v\"");
    }
}

/// A RESTORE waits at the target.
const HELD_BACK: &str = "blocked_clients:1";

/// Waits until INFO says something of the clients.
fn wait_for_clients(of: &mut Client, line: &str) {
    let said = poll(Duration::from_secs(10), || {
        let info = of.run(&["INFO", "clients"]);
        let text = String::from_utf8_lossy(info.bytes().unwrap_or_default()).into_owned();
        text.lines().any(|other| other == line).then_some(())
    });
    assert!(said.is_some(), "not within 10 s: {line}");
}

/// What was seen of a migration, and the servers, which end when this goes.
struct Migrated {
    reply: Reply,
    here: Client,
    there: Client,
    _servers: [Server; 2],
}

/// The target holds the keys back until `meanwhile` was done at the sender.
fn migrate_slowly(meanwhile: &[&[&str]], setup: &[&[&str]]) -> Migrated {
    let (sender, target) = (Strata::start(&[]), Redis::start(&[]));
    let (mut here, mut other, mut there) = (sender.connect(), sender.connect(), target.connect());
    setup.iter().for_each(|request| drop(here.run(request)));
    there.run(&["CLIENT", "PAUSE", "20000", "WRITE"]);
    let port = target.port().to_string();
    here.send(&[
        "MIGRATE",
        "127.0.0.1",
        &port,
        "",
        "0",
        "15000",
        "KEYS",
        "a",
        "b",
    ]);
    wait_for_clients(&mut there, HELD_BACK);
    for request in meanwhile {
        let reply = other.run(request);
        assert!(!reply.is_error(), "{request:?}: {reply}");
    }
    there.run(&["CLIENT", "UNPAUSE"]);
    here.set_timeout(Duration::from_secs(20));
    let reply = here.read();
    Migrated {
        reply,
        here: other,
        there,
        _servers: [sender, target],
    }
}

#[test]
fn what_changes_on_the_way_is_not_lost_and_nobody_waits() {
    let setup: &[&[&str]] = &[&["SET", "a", "1"], &["RPUSH", "b", "x"]];
    let meanwhile: &[&[&str]] = &[
        &["APPEND", "a", "2"],
        &["RPUSH", "b", "y"],
        &["PEXPIRE", "a", "500000"],
        &["PING"],
    ];
    let mut migrated = migrate_slowly(meanwhile, setup);
    let (reply, here, there) = (&migrated.reply, &mut migrated.here, &mut migrated.there);
    assert!(reply.is_simple("OK"), "{reply}");
    assert_eq!(here.run(&["EXISTS", "a", "b"]), Reply::Int(0));
    assert!(there.run(&["GET", "a"]).is_bulk(b"12"));
    assert_eq!(there.run(&["LLEN", "b"]), Reply::Int(2));
    assert!(matches!(there.run(&["TTL", "a"]), Reply::Int(490..=500)));
}

#[test]
fn what_is_deleted_on_the_way_is_deleted_there_too() {
    let setup: &[&[&str]] = &[&["SET", "a", "1"], &["SET", "b", "2"]];
    let mut migrated = migrate_slowly(&[&["DEL", "a"]], setup);
    let (reply, here, there) = (&migrated.reply, &mut migrated.here, &mut migrated.there);
    assert!(reply.is_simple("OK"), "{reply}");
    assert_eq!(here.run(&["EXISTS", "a", "b"]), Reply::Int(0));
    assert_eq!(there.run(&["EXISTS", "a"]), Reply::Int(0));
    assert!(there.run(&["GET", "b"]).is_bulk(b"2"));
}

#[test]
fn keys_do_not_go_to_where_they_are_and_a_closed_client_stops_its_own() {
    let (strata, redis) = (Strata::start(&[]), Redis::start(&[]));
    let (mut here, mut there) = (strata.connect(), redis.connect());
    let own = strata.port().to_string();
    here.run(&["SET", "k", "v"]);
    let same = here.run(&["MIGRATE", "127.0.0.1", &own, "k", "0", "2000", "REPLACE"]);
    let expected = b"ERR source and destination objects are the same".to_vec();
    assert_eq!(same, Reply::Error(expected));
    assert!(here.run(&["GET", "k"]).is_bulk(b"v"));
    // Another database of its own is as good as another server.
    let moved = here.run(&["MIGRATE", "127.0.0.1", &own, "k", "1", "2000"]);
    assert!(moved.is_simple("OK"), "{moved}");
    here.run(&["SELECT", "1"]);
    assert!(here.run(&["GET", "k"]).is_bulk(b"v"));

    there.run(&["CLIENT", "PAUSE", "20000", "WRITE"]);
    let port = redis.port().to_string();
    here.send(&["MIGRATE", "127.0.0.1", &port, "k", "0", "60000"]);
    wait_for_clients(&mut there, HELD_BACK);
    drop(here);
    let mut observer = strata.connect();
    wait_for_clients(&mut observer, "connected_clients:1");
    observer.run(&["SELECT", "1"]);
    assert!(observer.run(&["GET", "k"]).is_bulk(b"v"));
}
