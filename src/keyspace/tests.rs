//! What must hold over all of the keyspace: counts, expiry and names of keys.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{DATABASES, SPACES, ThreadSlot};
use crate::testing::{Db, script};

fn stat(db: &mut Db, section: &str, field: &str) -> String {
    let info = db.run(&format!("INFO {section}"));
    let info = String::from_utf8_lossy(info.bytes()).into_owned();
    let line = info.lines().find_map(|line| line.strip_prefix(field));
    line.unwrap_or_default().trim_start_matches(':').to_owned()
}

fn mean_ttl_ms(db: &mut Db, number: usize) -> i64 {
    let line = stat(db, "keyspace", &format!("db{number}"));
    let mean = line.split("avg_ttl=").nth(1);
    mean.map_or(0, |mean| mean.parse().expect("a number"))
}

// One of two keys is below, where expiries are known to the second.
script!(the_mean_ttl_is_of_all_keys_that_have_one, |db| {
    for i in 0..100 {
        db.run(&format!("SET key:{i} v")).ok();
    }
    assert_eq!(mean_ttl_ms(&mut db, 0), 0);
    db.run("SET a v PX 20000").ok();
    db.run("SET b v PX 40000").ok();
    let is_near = |mean: i64, ms: i64| (mean - ms).abs() <= 1_000;
    assert!(is_near(mean_ttl_ms(&mut db, 0), 30_000));
    db.run("PEXPIRE b 60000").int(1);
    assert!(is_near(mean_ttl_ms(&mut db, 0), 40_000));
    db.advance(5_000);
    assert!(is_near(mean_ttl_ms(&mut db, 0), 35_000));
    db.run("SET b w").ok();
    assert!(is_near(mean_ttl_ms(&mut db, 0), 15_000));
    db.run("MOVE a 1").int(1);
    assert_eq!(mean_ttl_ms(&mut db, 0), 0);
    assert!(is_near(mean_ttl_ms(&mut db, 1), 15_000));
    db.run("SET far v PXAT 9000000000000000").ok();
    db.run("SET near v PX 1000").ok();
    assert!(mean_ttl_ms(&mut db, 0) > 1 << 46);
    db.run("DEL far").int(1);
    assert!(is_near(mean_ttl_ms(&mut db, 0), 1_000));
    db.run("FLUSHALL").ok();
    assert_eq!(mean_ttl_ms(&mut db, 1), 0);
});

#[test]
fn a_write_over_an_expired_key_counts_that_it_expired() {
    for command in [
        "SET k v",
        "SET k v KEEPTTL",
        "SET k v NX",
        "SETEX k 10 v",
        "MSET k v other v",
        "MSETNX k v other v",
        "GETSET k v",
        "SETNX k v",
        "APPEND k v",
        "SETRANGE k 1 v",
        "SETBIT k 1 1",
        "INCR k",
        "INCRBYFLOAT k 1.5",
        "BITOP NOT k source",
        "PFADD k v",
        "DEL k",
        "UNLINK k",
        "GETDEL k",
        "PERSIST k",
        "PEXPIRE k 0",
        "RPUSH k v",
        "HSET k f v",
        "SADD k v",
        "ZADD k 1 v",
        "XADD k * f v",
        "SORT list STORE k",
        "SUNIONSTORE k set",
        "ZUNIONSTORE k 1 zset",
        "RENAME source k",
        "RENAMENX source k",
        "COPY source k",
        "COPY source k REPLACE",
        "RENAME k source",
        "MOVE k 1",
        "GET k",
        "EXISTS k",
    ] {
        let mut db = Db::new();
        db.run("SET source v").ok();
        db.run("RPUSH list 1").int(1);
        db.run("SADD set 1").int(1);
        db.run("ZADD zset 1 v").int(1);
        db.run("SET k old PX 10").ok();
        db.advance(10);
        let _ = db.run(command);
        assert_eq!(stat(&mut db, "stats", "expired_keys"), "1", "{command}");
    }
}

/// A key of each type that is large, and how its contents are told.
const LARGE: [(&str, &str); 5] = [
    ("list", "LRANGE"),
    ("set", "SMEMBERS"),
    ("zset", "ZRANGE"),
    ("hash", "HGETALL"),
    ("stream", "XRANGE"),
];

fn grow(db: &mut Db, key: &str, value_type: &str, range: std::ops::Range<usize>) {
    for i in range {
        let _ = match value_type {
            "list" => db.run(&format!("RPUSH {key} element:{i}")),
            "set" => db.run(&format!("SADD {key} element:{i}")),
            "zset" => db.run(&format!("ZADD {key} {i} element:{i}")),
            "hash" => db.run(&format!("HSET {key} element:{i} value:{i}")),
            _ => db.run(&format!("XADD {key} 1-{} f element:{i}", i + 1)),
        };
    }
}

fn contents(db: &mut Db, key: &str, told_by: &str) -> Vec<String> {
    let answer = match told_by {
        "LRANGE" | "ZRANGE" => db.run(&format!("{told_by} {key} 0 -1")),
        "XRANGE" => db.run(&format!("{told_by} {key} - +")),
        _ => db.run(&format!("{told_by} {key}")),
    };
    let text = String::from_utf8_lossy(answer.bytes()).into_owned();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn a_large_value_that_gets_another_name_is_whole_in_both_tiers() {
    for (value_type, told_by) in LARGE {
        let mut db = Db::tiered(|_| {});
        let mut model = Db::new();
        for db in [&mut db, &mut model] {
            grow(db, "a", value_type, 0..6_000);
        }
        // Followed by the writer from now on.
        db.write();
        for db in [&mut db, &mut model] {
            grow(db, "a", value_type, 6_000..6_010);
            db.run("RENAME a b").ok();
            grow(db, "b", value_type, 6_010..6_020);
        }
        db.write();
        for db in [&mut db, &mut model] {
            grow(db, "b", value_type, 6_020..6_030);
            db.run("MOVE b 1").int(1);
            db.run("SELECT 1").ok();
            grow(db, "b", value_type, 6_030..6_040);
            db.run("RENAME b a").ok();
            db.run("SET b other").ok();
            db.run("RENAME a b").ok();
        }
        db.write();
        db.demote_all();
        db.run("DBSIZE").int(1);
        assert_eq!(db.engine().keyspace.entries(), 0);
        let whole = contents(&mut model, "b", told_by);
        assert!(whole.len() > 6_000);
        assert_eq!(contents(&mut db, "b", told_by), whole, "{value_type}");
        db.run("SELECT 0").ok();
        db.run("EXISTS a b").int(0);
        db.run("DBSIZE").int(0);
        db.engine().keyspace.validate();
    }
}

#[test]
fn a_value_that_gets_another_name_is_not_copied() {
    for (value_type, _) in LARGE {
        let mut db = Db::new();
        grow(&mut db, "a", value_type, 0..6_000);
        let before = db.engine().keyspace.used_bytes();
        db.run("RENAME a b").ok();
        db.run("MOVE b 1").int(1);
        let after = db.engine().keyspace.used_bytes();
        assert!(after.abs_diff(before) < 1024, "{value_type}");
        db.engine().keyspace.validate();
    }
}

script!(strings_of_all_sizes_get_other_names, |db| {
    for size in [0, 1, 200, 255, 256, 65_535, 65_536, 70_000, 300_000] {
        let value = vec![b'x'; size];
        let names: [&[u8]; 4] = [b"a", b"longer name", &[b'n'; 300], b"b"];
        db.run_args(&[b"SET", names[0], &value]).ok();
        let _ = db.run("PEXPIRE a 100000");
        for pair in names.windows(2) {
            db.run_args(&[b"RENAME", pair[0], pair[1]]).ok();
            db.run_args(&[b"GET", pair[1]]).bulk(&value);
            db.run_args(&[b"PTTL", pair[1]]).int(100_000);
            db.run_args(&[b"EXISTS", pair[0]]).int(0);
        }
        db.run("MOVE b 1").int(1);
        db.run("SELECT 1").ok();
        db.run("GET b").bulk(&value);
        db.run("PTTL b").int(100_000);
        db.run("DEL b").int(1);
        db.run("SELECT 0").ok();
    }
    db.run("DBSIZE").int(0);
    db.engine().keyspace.validate();
});

#[test]
fn a_nearly_empty_database_is_not_looked_for_among_the_keys_of_others() {
    let mut db = Db::new();
    for i in 0..30_000 {
        db.run(&format!("SET key:{i} v")).ok();
    }
    db.run("SELECT 1").ok();
    for i in 0..3 {
        db.run(&format!("SET few:{i} v")).ok();
    }
    let spaces = |db: &Db| {
        let shards = db.engine().keyspace.shards.iter();
        shards.filter(|shard| shard.hint.may_have(1)).count()
    };
    assert_eq!(spaces(&db), 3);
    let mut drawn = [0; 3];
    for _ in 0..300 {
        let key = String::from_utf8(db.run("RANDOMKEY").bulk_bytes()).unwrap();
        let number: usize = key.strip_prefix("few:").unwrap().parse().unwrap();
        drawn[number] += 1;
    }
    assert!(drawn.iter().all(|&times| times > 20), "{drawn:?}");
    let scanned = db.run("SCAN 0 COUNT 100");
    assert!(scanned.bytes().starts_with(b"*2\r\n$1\r\n0\r\n*3\r\n"));
    db.run("DEL few:0 few:1").int(2);
    db.run("RANDOMKEY").bulk("few:2");
    db.run("DEL few:2").int(1);
    db.run("RANDOMKEY").nil();
    db.run("SET few:3 v").ok();
    db.run("RANDOMKEY").bulk("few:3");
    assert!(spaces(&db) <= 4);
    db.run("FLUSHDB").ok();
    assert_eq!(spaces(&db), 0);
}

#[test]
fn a_key_that_returns_as_a_ghost_starts_with_one_use() {
    const USES: u8 = 0b011;
    const SMALL: u8 = 0b100;
    let mut db = Db::new();
    db.run("CONFIG SET max-entries 2000").ok();
    for i in 0..6_000 {
        db.run(&format!("SET key:{i} v")).ok();
    }
    let mut returned = 0;
    for i in (0..6_000).rev() {
        let key = format!("key:{i}");
        if db.run(&format!("SET {key} v NX")).bytes() != b"+OK\r\n" {
            continue;
        }
        let keyspace = &db.engine().keyspace;
        let hash = keyspace.hash(key.as_bytes());
        let locked = keyspace.lock_shard(hash.shard(), super::ThreadSlot(0));
        let at = locked.table.find(hash.tag(), 0, key.as_bytes()).unwrap();
        let bits = locked.table.get(at).policy_bits() & (USES | SMALL);
        assert!(bits == SMALL || bits == 1, "{key}: {bits}");
        returned += usize::from(bits == 1);
    }
    assert!(returned > 100, "{returned}");
}

/// SWAPDB exchanged two spaces in two steps, and who looked in between took one for emptied: the writer let go of its changes.
#[test]
fn a_space_is_a_databases_while_it_is_exchanged() {
    let db = Db::tiered(|_| {});
    let keyspace = &db.engine().keyspace;
    let names = [keyspace.space_name(0), keyspace.space_name(1)];
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                keyspace.swap_dbs(0, 1, ThreadSlot(1), || {});
            }
        });
        let missed = (0..4_000_000).filter(|_| !(keyspace.is_live(0) && keyspace.is_live(1)));
        let missed = missed.count();
        let unnamed = (0..4_000_000).filter(|i| keyspace.space_named(names[i % 2]).is_none());
        let unnamed = unnamed.count();
        // The list of names had one of them twice, and the keys of the other were not counted after a kill.
        let twice = (0..100_000).filter(|_| {
            let (listed, _) = keyspace.space_names();
            listed[0] == listed[1]
        });
        let twice = twice.count();
        stop.store(true, Ordering::Relaxed);
        assert_eq!((missed, unnamed, twice), (0, 0, 0));
    });
}

/// FLUSHDB beside SWAPDB: both databases showed one space, or one showed what was being freed.
#[test]
fn databases_show_spaces_of_their_own_when_they_are_emptied_beside_exchanges() {
    let db = Db::new();
    let keyspace = &db.engine().keyspace;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                keyspace.swap_dbs(0, 1, ThreadSlot(1), || {});
            }
        });
        for i in 0..3_000 {
            let db = i % 2;
            keyspace.flush_dbs(db..db + 1, false, ThreadSlot(0), || {});
        }
        stop.store(true, Ordering::Relaxed);
    });
    let mut shown: Vec<u8> = (0..DATABASES).map(|db| keyspace.space_of(db)).collect();
    let live = (0..SPACES as u8).filter(|&space| keyspace.is_live(space));
    let live: Vec<u8> = live.collect();
    shown.sort_unstable();
    assert_eq!(shown, live);
    let emptied = keyspace.emptied.lock();
    assert_eq!(
        emptied.free.len() + emptied.sweeping.len(),
        SPACES - DATABASES
    );
}

/// SWAPDB beside the look whether anybody wants what is on disk: all of it went.
#[test]
fn keys_are_seen_while_their_database_is_exchanged() {
    let mut db = Db::tiered(|_| {});
    db.run("SET key value").ok();
    let keyspace = &db.engine().keyspace;
    let (_, next) = keyspace.space_names();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                keyspace.swap_dbs(0, 1, ThreadSlot(1), || {});
            }
        });
        let unseen = (0..300_000).filter(|_| !keyspace.may_have_keys_named_before(next, true));
        let unseen = unseen.count();
        stop.store(true, Ordering::Relaxed);
        assert_eq!(unseen, 0);
    });
}

/// SWAPDB and FLUSHDB came in the middle of a command, which then looked in another space than it had found its key in: RENAME
/// panicked, MOVE and COPY lost a key. And FLUSHDB left a key where it was that RENAME had in its hands.
#[test]
fn databases_are_exchanged_and_emptied_between_commands() {
    let mut db = Db::new();
    db.run("SET key value").ok();
    db.run("SELECT 5").ok();
    db.run("SET here value").ok();
    let keyspace = &db.engine().keyspace;
    let config = db.engine().config.load();
    let (worker, other) = (ThreadSlot(0), db.engine().maintenance_slot());
    let terms = super::Terms::of(&config, crate::clock::now(), worker, &"rename");
    let hashes = [keyspace.hash(b"here"), keyspace.hash(b"there")];
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut from, mut to) = (&b"here"[..], &b"there"[..]);
            while !stop.load(Ordering::Relaxed) {
                let _inside = keyspace.gate().enter(worker);
                let shown = keyspace.space_of(0);
                let footprint = super::footprint::Footprint::of(5, &hashes, b"here");
                let renamed = keyspace.lock(&footprint, &terms).rename(from, to, 5, false);
                assert_eq!(renamed, super::Renamed::Done);
                (from, to) = (to, from);
                assert_eq!(keyspace.space_of(0), shown);
            }
        });
        let (mut sizes, mut size) = (Vec::new(), 0);
        for i in 0..3_000 {
            let look = || size = keyspace.db_size(5);
            if i % 2 == 0 {
                keyspace.swap_dbs(0, 1, other, look);
            } else {
                keyspace.flush_dbs(0..2, false, other, look);
            }
            sizes.push(size);
        }
        stop.store(true, Ordering::Relaxed);
        assert_eq!(sizes, [1; 3_000]);
    });
}

/// One page of KEYS told of keys of two databases that were exchanged meanwhile, and of keys of before a FLUSHDB with those after it.
#[test]
fn a_page_of_keys_is_of_one_database_at_one_moment() {
    let mut db = Db::tiered(|_| {});
    for i in 0..500 {
        db.run(&format!("SET even:{i} v")).ok();
    }
    db.run("SELECT 1").ok();
    for i in 0..500 {
        db.run(&format!("SET odd:{i} v")).ok();
    }
    let engine = std::sync::Arc::clone(db.engine_arc());
    let (stop, slot) = (AtomicBool::new(false), engine.warming_slot());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                engine.keyspace.swap_dbs(0, 1, slot, || {});
                std::thread::yield_now();
            }
        });
        let page = |_| {
            let keys = db.run("KEYS *");
            let count = |word: &[u8]| {
                let words = keys.bytes().windows(word.len());
                words.filter(|found| *found == word).count()
            };
            (count(b"even:"), count(b"odd:"))
        };
        let mut pages: Vec<_> = (0..200).map(page).collect();
        stop.store(true, Ordering::Relaxed);
        pages.retain(|page| ![(500, 0), (0, 500)].contains(page));
        assert_eq!(pages, []);
    });
}

/// Each FLUSHALL takes as many spaces as there are, while others free theirs.
#[test]
fn all_databases_are_emptied_by_several_clients_at_once() {
    let db = Db::new();
    let (engine, config) = (db.engine(), db.engine().config.load());
    let keyspace = &engine.keyspace;
    let hashes = [keyspace.hash(b"key")];
    std::thread::scope(|scope| {
        for slot in [
            ThreadSlot(0),
            engine.maintenance_slot(),
            engine.warming_slot(),
        ] {
            let (config, hashes) = (&config, &hashes);
            scope.spawn(move || {
                let terms = super::Terms::of(config, crate::clock::now(), slot, &"set");
                for i in 0..60 {
                    for db in 0..DATABASES {
                        let _inside = keyspace.gate().enter(slot);
                        let footprint = super::footprint::Footprint::of(db, hashes, b"key");
                        let mut keys = keyspace.lock(&footprint, &terms);
                        keys.set(b"key", b"value", super::Expiry::Set(None));
                    }
                    let dbs = if i % 2 == 0 { 0..DATABASES } else { 3..4 };
                    keyspace.flush_dbs(dbs, true, slot, || {});
                }
            });
        }
    });
    keyspace.flush_dbs(0..DATABASES, true, ThreadSlot(0), || {});
    assert_eq!(keyspace.size(), 0);
    assert_eq!(keyspace.emptied.lock().free.len(), SPACES - DATABASES);
}
