//! Commands on keys that are on disk only.

use super::*;

const KEYS: usize = 30_000;

fn key(i: usize) -> String {
    format!("key:{i:06}")
}

fn pair(i: usize) -> (String, Vec<u8>) {
    (key(i), value(&key(i), 0, 1_024))
}

#[test]
fn keys_that_memory_has_no_room_for_are_all_there() {
    if Strata::is_oracle() {
        return;
    }
    let disk = Disk::new();
    let server = disk.start(&[]);
    let mut client = server.connect();
    set_all(&mut client, (0..KEYS).map(pair));
    assert_eq!(db_size(&mut client), KEYS);
    let pairs: Vec<_> = (0..KEYS).map(|i| pair(i * 7_919 % KEYS)).collect();
    assert_holds(&mut client, &pairs);
    assert_eq!(db_size(&mut client), KEYS);
    for count in [1_000, 100] {
        let seen = scan(&mut client, count);
        assert_eq!(seen.len(), KEYS, "keys of SCAN");
        assert!(
            (0..KEYS).all(|i| seen.get(&key(i)) == Some(&1)),
            "a key twice"
        );
    }
    let found = client.run(&["KEYS", "key:0012*"]);
    let mut found: Vec<_> = found.items().expect("an array").iter().map(text).collect();
    found.sort();
    assert_eq!(found, (1_200..1_300).map(key).collect::<Vec<_>>());
    assert_eq!(
        client.run(&["KEYS", "*"]).items().map(<[_]>::len),
        Some(KEYS)
    );
    for _ in 0..20 {
        let random = text(&client.run(&["RANDOMKEY"]));
        assert!(random.starts_with("key:"), "{random}");
    }
    assert_eq!(db_size(&mut client), KEYS);
    stop(server);
}

#[test]
fn more_keys_at_once_than_memory_holds() {
    if Strata::is_oracle() {
        return;
    }
    let disk = Disk::new();
    let server = disk.start(&["--maxmemory", "4mb"]);
    let mut client = server.connect();
    const MANY: usize = 6_000;
    set_all(&mut client, (0..MANY).map(pair));
    cool(&server);
    let keys: Vec<_> = (0..MANY).map(key).collect();
    let words = || keys.iter().map(String::as_str);
    client.set_timeout(Duration::from_secs(120));
    let exists: Vec<_> = ["EXISTS"].into_iter().chain(words()).collect();
    assert_eq!(int(&mut client, &exists), MANY as i64);
    let mget: Vec<_> = ["MGET"].into_iter().chain(words()).collect();
    let found = client.run(&mget);
    let found = found.items().unwrap_or_else(|| panic!("MGET: {found}"));
    for (i, found) in found.iter().enumerate() {
        assert!(found.is_bulk(&pair(i).1), "{}: {found}", key(i));
    }
    cool(&server);
    let del: Vec<_> = ["DEL"].into_iter().chain(words()).collect();
    assert_eq!(int(&mut client, &del), MANY as i64);
    assert_eq!(db_size(&mut client), 0);
    assert!(scan(&mut client, 1_000).is_empty());
    stop(server);
}

#[test]
fn what_is_on_disk_for_too_long_goes() {
    if Strata::is_oracle() {
        return;
    }
    let disk = Disk::new();
    let server = disk.start(&["--maxmemory", "4mb", "--tier-ttl", "3"]);
    let mut client = server.connect();
    const MANY: usize = 6_000;
    set_all(&mut client, (0..MANY).map(pair));
    // Memory holds some, which are written again; the others go, part by part, and are counted no more.
    let mut last = MANY;
    let gone = poll(Duration::from_secs(40), || {
        std::thread::sleep(Duration::from_secs(2));
        let before = std::mem::replace(&mut last, db_size(&mut client));
        (last < MANY / 2 && last == before).then_some(())
    });
    assert!(gone.is_some(), "DBSIZE {last}");
    // A key may still go while one looks.
    let counted = poll(Duration::from_secs(20), || {
        let kept = scan(&mut client, 1_000);
        assert!(!kept.is_empty());
        let mut there = 0;
        for name in kept.keys() {
            let found = client.run(&["GET", name]);
            let i: usize = name.trim_start_matches("key:").parse().expect("a number");
            assert!(
                found.is_bulk(&pair(i).1) || found == Reply::Nil,
                "{name}: {found}"
            );
            there += usize::from(found != Reply::Nil);
        }
        (there == kept.len() && there == db_size(&mut client)).then_some(())
    });
    assert!(counted.is_some(), "DBSIZE is not what is there");
    stop(server);
}

/// The limit of the disk is about what keys take, not about how often they change.
#[test]
fn keys_that_never_change_stay_while_others_change_all_the_time() {
    if Strata::is_oracle() {
        return;
    }
    const MANY: usize = 4_000;
    let disk = Disk::new();
    let server = disk.start(&[
        "--maxmemory",
        "4mb",
        "--tier-max-bytes",
        "16mb",
        "--tier-compression",
        "none",
    ]);
    let mut client = server.connect();
    let cold = |i: usize| (key(i), value(&key(i), 0, 500));
    let hot = |i: usize, version| (key(MANY + i), value(&key(MANY + i), version, 1_000));
    set_all(&mut client, (0..MANY).map(cold));
    for version in 0..10 {
        set_all(&mut client, (0..MANY).map(|i| hot(i, version)));
    }
    let gone = info(&mut client, "tier", "tier_dropped_bytes");
    assert!(gone > 16 << 20, "{gone} bytes went");
    assert_eq!(db_size(&mut client), 2 * MANY);
    let all: Vec<_> = (0..MANY).flat_map(|i| [cold(i), hot(i, 9)]).collect();
    assert_holds(&mut client, &all);
    stop(server);
}

/// One client that runs commands on cold keys and counts what DBSIZE should say.
struct Cold {
    client: Client,
    keys: usize,
}

impl Cold {
    #[track_caller]
    fn run(&mut self, command: &str, reply: &str, more: isize) {
        let words: Vec<_> = command.split(' ').collect();
        let found = self.client.run(&words);
        assert_eq!(found.to_string(), reply, "{command}");
        self.keys = self.keys.checked_add_signed(more).expect("not negative");
        // SET does not look whether the key is on disk; the writer does, within a second.
        let mut size = db_size(&mut self.client);
        if command.starts_with("SET ") {
            let is_right = |size: &usize| *size == self.keys;
            let client = &mut self.client;
            size = poll(Duration::from_secs(10), || {
                Some(db_size(client)).filter(is_right)
            })
            .unwrap_or(size);
        }
        assert_eq!(size, self.keys, "DBSIZE after {command}");
    }
}

#[test]
fn commands_on_keys_on_disk() {
    if Strata::is_oracle() {
        return;
    }
    let disk = Disk::new();
    let server = disk.start(&[]);
    let mut client = server.connect();
    set_all(
        &mut client,
        (0..100).map(|i| (format!("n{i}"), i.to_string().into())),
    );
    client.run(&[
        "MSET", "gone", "x", "brief", "x", "dated", "x", "text", "abc",
    ]);
    client.run(&["SETBIT", "bits", "7", "1"]);
    client.run(&["PFADD", "hll", "a", "b", "c"]);
    client.run(&["EXPIREAT", "dated", "99999999999"]);
    client.run(&["DEL", "gone"]);
    client.run(&["PEXPIRE", "brief", "100"]);
    cool(&server);
    let mut cold = Cold { client, keys: 105 };
    cold.run("GET brief", "nil", -1);
    cold.run("GET gone", "nil", 0);
    cold.run("EXISTS n0 n1 gone brief n0", ":3", 0);
    cold.run("GET n2", "\"2\"", 0);
    cold.run("TTL n3", ":-1", 0);
    cold.run("TTL gone", ":-2", 0);
    cold.run("EXPIRETIME dated", ":99999999999", 0);
    cold.run("TYPE n4", "+\"string\"", 0);
    cold.run("TYPE hll", "+\"string\"", 0);
    cold.run("PFCOUNT hll", ":3", 0);
    cold.run("DEL n5 n6 gone n5", ":2", -2);
    cold.run("UNLINK n7", ":1", -1);
    cold.run("RENAME n8 new8", "+\"OK\"", 0);
    cold.run("RENAME n9 n10", "+\"OK\"", -1);
    cold.run("GET n10", "\"9\"", 0);
    cold.run("RENAMENX n11 n12", ":0", 0);
    cold.run("RENAMENX n11 new11", ":1", 0);
    cold.run("RENAME gone n12", "-\"ERR no such key\"", 0);
    cold.run("COPY n13 new13", ":1", 1);
    cold.run("COPY n13 n14", ":0", 0);
    cold.run("COPY n13 n14 REPLACE", ":1", 0);
    cold.run("COPY n15 n15 DB 1", ":1", 0);
    cold.run("COPY n15 n15 DB 1", ":0", 0);
    cold.run("MOVE n16 1", ":1", -1);
    cold.run("MOVE n15 1", ":0", 0);
    cold.run("INCR n17", ":18", 0);
    cold.run("INCRBY n18 -20", ":-2", 0);
    cold.run("APPEND n19 x", ":3", 0);
    cold.run("APPEND text def", ":6", 0);
    cold.run("GET text", "\"abcdef\"", 0);
    cold.run("STRLEN n20", ":2", 0);
    cold.run("GETRANGE n21 1 1", "\"1\"", 0);
    cold.run("SETRANGE n22 2 z", ":3", 0);
    cold.run("GETDEL n23", "\"23\"", -1);
    cold.run("GETDEL n23", "nil", 0);
    cold.run("GETSET n24 new", "\"24\"", 0);
    cold.run("SETNX n25 new", ":0", 0);
    cold.run("SETNX gone new", ":1", 1);
    cold.run("SET n26 new NX", "nil", 0);
    cold.run("SET n27 new XX GET", "\"27\"", 0);
    cold.run("SET n28 new", "+\"OK\"", 0);
    cold.run("GETEX n29 PXAT 99999999999999", "\"29\"", 0);
    cold.run("PEXPIRETIME n29", ":99999999999999", 0);
    cold.run("PERSIST n29", ":1", 0);
    cold.run("MSETNX a 1 n30 2", ":0", 0);
    cold.run("MSETNX a 1 b 2", ":1", 2);
    cold.run("MGET n31 missing n32", "[\"31\", nil, \"32\"]", 0);
    cold.run("SETBIT bits 0 1", ":0", 0);
    cold.run("BITCOUNT bits", ":2", 0);
    cold.run("BITOP OR both n33 n34", ":2", 1);
    cold.run("EXPIRE n35 -1", ":1", -1);
    cold.run("GET n35", "nil", 0);
    cold.run("EXPIREAT n36 99999999998", ":1", 0);
    cold.run("EXPIRETIME n36", ":99999999998", 0);
    cold.run("TOUCH n37 n38 missing", ":2", 0);
    cold.run("LCS n39 n40", "\"\"", 0);
    cool(&server);
    cold.run("GET n28", "\"new\"", 0);
    cold.run("INCR n17", ":19", 0);
    cold.run("EXPIRETIME n36", ":99999999998", 0);
    cold.run("EXISTS n5 n6 n7 n8 n9 n11 n16 n23 n35 brief", ":0", 0);
    cold.run("GET new8", "\"8\"", 0);
    cold.run("GET new13", "\"13\"", 0);
    cold.run("TTL n29", ":-1", 0);
    let seen = scan(&mut cold.client, 10);
    assert_eq!(seen.len(), cold.keys);
    assert!(seen.values().all(|&times| times == 1));
    cold.run("MGET n41 n42", "[\"41\", \"42\"]", 0);
    cold.client.run(&["SELECT", "1"]);
    cold.keys = 2;
    cold.run("MGET n15 n16", "[\"15\", \"16\"]", 0);
    stop(server);
}

#[test]
fn databases_on_disk_are_emptied_and_exchanged() {
    if Strata::is_oracle() {
        return;
    }
    let disk = Disk::new();
    let server = disk.start(&[]);
    let mut client = server.connect();
    let fill = |client: &mut Client, db: &str, keys: usize| {
        client.run(&["SELECT", db]);
        let pairs = (0..keys).map(|i| (key(i), value(db, i as u64, 600)));
        set_all(client, pairs);
    };
    let check = |client: &mut Client, db: &str, from: &str, keys: usize| {
        client.run(&["SELECT", db]);
        assert_eq!(db_size(client), keys, "DBSIZE of {db}");
        assert_eq!(scan(client, 500).len(), keys, "SCAN of {db}");
        let pairs: Vec<_> = (0..keys)
            .map(|i| (key(i), value(from, i as u64, 600)))
            .collect();
        assert_holds(client, &pairs);
        let beyond = (keys..3_000).step_by(10).map(key).collect::<Vec<_>>();
        assert!(get_all(client, &beyond).iter().all(Option::is_none));
    };
    fill(&mut client, "0", 3_000);
    fill(&mut client, "1", 2_000);
    fill(&mut client, "2", 1_000);
    cool(&server);
    assert!(client.run(&["SWAPDB", "0", "1"]).is_simple("OK"));
    check(&mut client, "0", "1", 2_000);
    check(&mut client, "1", "0", 3_000);
    client.run(&["SELECT", "0"]);
    assert!(client.run(&["FLUSHDB"]).is_simple("OK"));
    check(&mut client, "0", "1", 0);
    check(&mut client, "2", "2", 1_000);
    fill(&mut client, "0", 500);
    cool(&server);
    check(&mut client, "0", "0", 500);
    check(&mut client, "1", "0", 3_000);
    assert!(client.run(&["SWAPDB", "0", "2"]).is_simple("OK"));
    stop(server);
    let server = disk.start(&[]);
    let mut client = server.connect();
    check(&mut client, "2", "0", 500);
    check(&mut client, "0", "2", 1_000);
    check(&mut client, "1", "0", 3_000);
    assert!(client.run(&["FLUSHALL"]).is_simple("OK"));
    for db in ["0", "1", "2", "15"] {
        check(&mut client, db, db, 0);
    }
    stop(server);
    let server = disk.start(&[]);
    let mut client = server.connect();
    for db in ["0", "1", "2", "15"] {
        check(&mut client, db, db, 0);
    }
    stop(server);
}

/// Far more keys than are loaded one by one: there, deleted, and never there.
#[test]
fn one_command_may_want_very_many_keys_on_disk() {
    const KEYS: usize = 3_000;
    let disk = Disk::new();
    let server = disk.start(&[]);
    let mut client = server.connect();
    let key = |i: usize| format!("key:{i}");
    set_all(&mut client, (0..KEYS).map(|i| (key(i), vec![b'v'; 20])));
    wait_until_written(&mut client);
    stop(server);
    let server = disk.start(&[]);
    let mut client = server.connect();
    let of = |command: &str| {
        let keys = (0..2 * KEYS).map(key);
        std::iter::once(command.to_owned())
            .chain(keys)
            .collect::<Vec<_>>()
    };
    let found = get_all(&mut client, &of("MGET")[1..]);
    let is_there = |i: usize| found[i].as_deref() == Some(&[b'v'; 20]);
    assert!((0..2 * KEYS).all(|i| is_there(i) == (i < KEYS)));
    stop(server);
    let server = disk.start(&[]);
    let mut client = server.connect();
    let Reply::Array(values) = client.run(&of("MGET")) else {
        panic!("MGET gives an array");
    };
    let there = values.iter().filter(|value| value.is_bulk(&[b'v'; 20]));
    assert_eq!(there.count(), KEYS);
    assert_eq!(int(&mut client, &of("DEL")), KEYS as i64);
    wait_until_written(&mut client);
    // What was deleted is on disk still, and is looked for there.
    for command in ["DEL", "EXISTS", "UNLINK", "TOUCH"] {
        assert_eq!(int(&mut client, &of(command)), 0, "{command}");
    }
    assert_db_size_becomes(&mut client, 0);
}

/// Most of what is on disk, in all the states in which it can lie there, and some keys twice.
#[test]
fn one_command_may_want_most_of_the_keys_on_disk() {
    const KEYS: usize = 4_000;
    let disk = Disk::new();
    let server = disk.start(&[]);
    let mut client = server.connect();
    let key = |i: usize| format!("key:{i}");
    // What a key has in the end: 0 a short value, 1 one that was overwritten, 2 a long value, 3 a large list, 4 deleted,
    // 5 expired.
    let state = |i: usize| match i {
        _ if i % 50 == 2 => 2,
        _ if i % 400 == 3 => 3,
        _ => [0, 1, 4, 5][i % 4],
    };
    let value = |i: usize| match state(i) {
        1 => format!("new:{i}").into_bytes(),
        2 => value(&key(i), 0, 60_000),
        _ => format!("old:{i}").into_bytes(),
    };
    set_all(
        &mut client,
        (0..KEYS).map(|i| (key(i), format!("old:{i}").into_bytes())),
    );
    wait_until_written(&mut client);
    let of_state = |wanted| (0..KEYS).filter(move |&i| state(i) == wanted);
    set_all(
        &mut client,
        of_state(1).chain(of_state(2)).map(|i| (key(i), value(i))),
    );
    for i in of_state(3) {
        assert_eq!(int(&mut client, &["DEL", &key(i)]), 1);
        let name = key(i);
        let mut push = vec![&b"RPUSH"[..], name.as_bytes()];
        let element = [b'e'; 100];
        push.extend(std::iter::repeat_n(&element[..], 5_000));
        assert_eq!(client.run(&push).int(), Some(5_000));
    }
    for i in of_state(4) {
        assert_eq!(int(&mut client, &["DEL", &key(i)]), 1);
    }
    for i in of_state(5) {
        assert_eq!(int(&mut client, &["PEXPIRE", &key(i), "1"]), 1);
    }
    wait_until_written(&mut client);
    let names: Vec<_> = (0..KEYS).chain(0..100).map(key).collect();
    let there = (0..KEYS).chain(0..100).filter(|&i| state(i) < 4).count();
    let of = |command: &str| {
        let words = std::iter::once(command.to_owned());
        words.chain(names.iter().cloned()).collect::<Vec<_>>()
    };
    stop(server);
    let server = disk.start(&[]);
    let mut client = server.connect();
    let found = client.run(&of("MGET"));
    let found = found.items().expect("an array");
    for (i, found) in (0..KEYS).chain(0..100).zip(found) {
        match state(i) {
            0..=2 => assert!(found.is_bulk(&value(i)), "{i}: {found}"),
            _ => assert!(matches!(found, Reply::Nil), "{i}: {found}"),
        }
    }
    for i in of_state(3) {
        assert_eq!(int(&mut client, &["LLEN", &key(i)]), 5_000);
    }
    stop(server);
    for command in ["EXISTS", "TOUCH", "UNLINK", "DEL"] {
        let server = disk.start(&[]);
        let mut client = server.connect();
        let distinct = (0..KEYS).filter(|&i| state(i) < 4).count();
        let expected = match command {
            "EXISTS" | "TOUCH" => there,
            "UNLINK" => distinct,
            _ => 0,
        };
        assert_eq!(int(&mut client, &of(command)), expected as i64, "{command}");
        wait_until_written(&mut client);
        stop(server);
    }
}
