//! Long values, which lie on disk in parts.

use std::sync::atomic::AtomicU64;
use std::thread;

use super::*;

const MIB: usize = 1024 * 1024;
const ARGS: &[&str] = &["--maxmemory", "1gb", "--tier-max-bytes", "4gb"];

/// Bytes that do not compress, other ones for each seed.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut noise: Vec<u8> = (0..bytes.div_ceil(8))
        .flat_map(|_| random.next().to_le_bytes())
        .collect();
    noise.truncate(bytes);
    noise
}

/// Bytes that compress well.
fn text_of(seed: u64, bytes: usize) -> Vec<u8> {
    let line = format!("the line of {seed}, which is like all others of it; ");
    line.bytes().cycle().take(bytes).collect()
}

/// Values around the length from which they are cut, and much longer ones.
fn values() -> Vec<(String, Vec<u8>)> {
    let mut values = vec![
        ("short".to_owned(), noise(1, MIB - 1)),
        ("limit".to_owned(), noise(2, MIB)),
        ("longer".to_owned(), noise(3, MIB + 1)),
        ("noise".to_owned(), noise(4, 5 * MIB)),
        ("text".to_owned(), text_of(5, 5 * MIB)),
        ("empty".to_owned(), Vec::new()),
    ];
    values.extend((0..20).map(|i| (format!("small:{i}"), text_of(i, 300))));
    values
}

fn connect(server: &Server) -> Client {
    let client = server.connect();
    client.set_timeout(Duration::from_secs(60));
    client
}

/// The keys, however they are counted and told.
fn assert_keys(client: &mut Client, expected: &[(String, Vec<u8>)]) {
    assert_db_size_becomes(client, expected.len());
    for count in [1, 1_000] {
        let seen = scan(client, count);
        let is_right = expected.iter().all(|(key, _)| seen.get(key) == Some(&1));
        assert!(seen.len() == expected.len() && is_right, "{seen:?}");
    }
    let keys = client.run(&["KEYS", "*"]);
    assert_eq!(keys.items().map(<[_]>::len), Some(expected.len()));
    let random = text(&client.run(&["RANDOMKEY"]));
    assert!(expected.iter().any(|(key, _)| *key == random), "{random}");
}

fn demote(client: &mut Client, expected: &[(String, Vec<u8>)]) {
    for (key, _) in expected {
        int(client, &["TIER.DEMOTE", key]);
    }
}

/// A field of TIER.INFO.
fn told(client: &mut Client, key: &str, field: &str) -> String {
    let reply = client.run(&["TIER.INFO", key]);
    let fields = reply.items().unwrap_or_else(|| panic!("{reply}"));
    let at = fields
        .iter()
        .position(|name| name.is_bulk(field.as_bytes()));
    fields[at.expect("a field") + 1]
        .to_string()
        .trim_start_matches(':')
        .trim_matches('"')
        .to_owned()
}

#[test]
fn long_values_leave_memory_and_come_back() {
    if Strata::is_oracle() {
        return;
    }
    for compression in ["zstd", "lz4", "none"] {
        let disk = Disk::new();
        let server = disk.start(&[ARGS, &["--tier-compression", compression]].concat());
        let mut client = connect(&server);
        let values = values();
        set_all(&mut client, values.iter().cloned());
        demote(&mut client, &values);
        assert_keys(&mut client, &values);
        for (key, stored, form) in [
            ("noise", 5 * MIB..5 * MIB + 100, "none"),
            ("longer", MIB + 1..MIB + 100, "none"),
            ("text", 1..MIB, compression),
        ] {
            let raw = if key == "longer" { MIB + 1 } else { 5 * MIB };
            assert_eq!(told(&mut client, key, "location"), "disk");
            assert_eq!(told(&mut client, key, "raw-bytes"), raw.to_string());
            assert_eq!(told(&mut client, key, "compression"), form);
            let bytes: usize = told(&mut client, key, "stored-bytes")
                .parse()
                .expect("bytes");
            let is_right = stored.contains(&bytes) || compression == "none";
            assert!(is_right, "{key} in {compression}: {bytes}");
        }
        assert_holds(&mut client, &values);
        assert_keys(&mut client, &values);
        // It is another value when it has been cut, grown, moved or dated.
        demote(&mut client, &values);
        client.run(&["APPEND", "limit", "x"]);
        client.run(&["PEXPIREAT", "longer", "99999999999000"]);
        client.run(&["RENAME", "noise", "renamed"]);
        client.run(&["SET", "text", "not long any more"]);
        demote(&mut client, &values);
        int(&mut client, &["TIER.DEMOTE", "renamed"]);
        assert_eq!(int(&mut client, &["STRLEN", "limit"]), MIB as i64 + 1);
        let dated = int(&mut client, &["PEXPIRETIME", "longer"]);
        assert_eq!(dated, 99_999_999_999_000);
        assert!(client.run(&["GET", "longer"]).is_bulk(&noise(3, MIB + 1)));
        assert!(client.run(&["GET", "renamed"]).is_bulk(&noise(4, 5 * MIB)));
        assert_eq!(client.run(&["GET", "noise"]), Reply::Nil);
        assert!(client.run(&["GET", "text"]).is_bulk(b"not long any more"));
        assert_eq!(int(&mut client, &["DEL", "limit"]), 1);
        assert_eq!(client.run(&["GET", "limit"]), Reply::Nil);
        assert_eq!(db_size(&mut client), values.len() - 1);
        stop(server);
    }
}

#[test]
fn long_values_survive_a_stop_and_a_kill() {
    if Strata::is_oracle() {
        return;
    }
    let disk = Disk::new();
    let mut expected = values();
    expected.push(("huge".to_owned(), noise(6, 100 * MIB)));
    let server = disk.start(ARGS);
    let mut client = connect(&server);
    set_all(&mut client, expected.iter().cloned());
    stop(server);
    let server = disk.start(ARGS);
    let mut client = connect(&server);
    assert_keys(&mut client, &expected);
    assert_holds(&mut client, &expected);
    let newer = [
        ("longer".to_owned(), text_of(7, 3 * MIB)),
        ("text".to_owned(), noise(8, 2 * MIB)),
        ("new".to_owned(), noise(9, 7 * MIB)),
    ];
    set_all(&mut client, newer.iter().cloned());
    wait_until_written(&mut client);
    server.signal("KILL");
    drop(server);
    expected.retain(|(key, _)| newer.iter().all(|(newer, _)| newer != key));
    expected.extend(newer);
    let server = disk.start(ARGS);
    let mut client = connect(&server);
    assert_holds(&mut client, &expected);
    assert_keys(&mut client, &expected);
    stop(server);
}

#[test]
fn long_values_are_safe_at_once_under_always() {
    if Strata::is_oracle() {
        return;
    }
    let disk = Disk::new();
    let args = [ARGS, &["--tier-durability", "always"]].concat();
    let mut expected = values();
    expected.push(("huge".to_owned(), noise(6, 100 * MIB)));
    for round in 0..3 {
        let server = disk.start(&args);
        let mut client = connect(&server);
        if round > 0 {
            assert_holds(&mut client, &expected);
            assert_keys(&mut client, &expected);
        }
        expected[3].1 = noise(10 + round, 3 * MIB);
        expected[4].1 = text_of(20 + round, 9 * MIB);
        let changed = if round == 0 { 0..expected.len() } else { 3..5 };
        set_all(&mut client, expected[changed].iter().cloned());
        server.signal("KILL");
    }
}

/// The length of a value that changes all the time.
const CHANGING: usize = 12 * MIB;

fn replaced(version: u64) -> Vec<u8> {
    format!("{version:08}").repeat(CHANGING / 8).into_bytes()
}

/// The commands that make one version of a key the next: one replaces the value, or one changes its head in place and
/// another its tail.
fn change(key: &str, version: u64) -> Vec<Vec<Vec<u8>>> {
    if key == "replaced" {
        return vec![vec![b"SET".to_vec(), key.into(), replaced(version)]];
    }
    let set_range = |at: usize| {
        let digits = format!("{version:08}").into_bytes();
        vec![
            b"SETRANGE".to_vec(),
            key.into(),
            at.to_string().into(),
            digits,
        ]
    };
    vec![set_range(0), set_range(CHANGING - 8)]
}

/// Changes a key until the server is gone, and tells each version that was acknowledged.
fn keep_changing(port: u16, key: &str, acknowledged: &AtomicU64) {
    let mut client = Client::connect(port);
    client.set_timeout(Duration::from_secs(60));
    for version in 2.. {
        for command in change(key, version) {
            if !client
                .try_run(&command)
                .is_ok_and(|reply| !reply.is_error())
            {
                return;
            }
        }
        acknowledged.store(version, Ordering::SeqCst);
    }
}

/// A copy made of parts of several versions would show.
fn assert_whole(client: &mut Client, key: &str, oldest: u64) {
    let reply = client.run(&["GET", key]);
    let value = reply.bytes().unwrap_or_else(|| panic!("{key}: {reply}"));
    assert_eq!(value.len(), CHANGING);
    let version_at = |at: usize| {
        let digits = std::str::from_utf8(&value[at..at + 8]).expect("digits");
        digits.parse::<u64>().expect("a version")
    };
    let (head, tail) = (version_at(0), version_at(CHANGING - 8));
    assert!(tail >= oldest, "{key}: {tail} and not {oldest}");
    if key == "replaced" {
        assert!(*value == replaced(head)[..], "torn: {head} to {tail}");
    } else {
        assert!(head == tail || head == tail + 1, "torn: {head}, {tail}");
        let middle = 8..CHANGING - 8;
        assert!(value[middle.clone()] == replaced(1)[middle]);
    }
}

/// Values change all the time while they are written, until a kill. They are whole afterwards, and as new as was promised:
/// by SAVE, or by each reply.
fn each_version_is_whole(durability: &str) {
    if Strata::is_oracle() {
        return;
    }
    let keys = ["replaced", "changed"];
    let disk = Disk::new();
    let args = [ARGS, &["--tier-durability", durability]].concat();
    for _ in 0..2 {
        let server = disk.start(&args);
        let mut client = connect(&server);
        let acknowledged = keys.map(|_| AtomicU64::new(1));
        set_all(&mut client, keys.map(|key| (key.to_owned(), replaced(1))));
        let all = || acknowledged.each_ref().map(|a| a.load(Ordering::SeqCst));
        let promised = thread::scope(|scope| {
            for (key, acknowledged) in keys.iter().zip(&acknowledged) {
                let port = server.port();
                scope.spawn(move || keep_changing(port, key, acknowledged));
            }
            let mut saved = [0; 2];
            for _ in 0..3 {
                thread::sleep(Duration::from_millis(300));
                saved = all();
                let reply = client.run(&["SAVE"]);
                assert!(reply.is_simple("OK"), "{reply}");
            }
            let promised = if durability == "always" { all() } else { saved };
            server.signal("KILL");
            promised
        });
        drop(server);
        let server = disk.start(&args);
        let mut client = connect(&server);
        for (key, oldest) in keys.into_iter().zip(promised) {
            assert_whole(&mut client, key, oldest);
        }
        assert_keys(&mut client, &keys.map(|key| (key.to_owned(), Vec::new())));
        stop(server);
    }
}

#[test]
fn a_value_that_changes_while_it_is_written_is_whole_on_disk() {
    each_version_is_whole("everysec");
}

#[test]
fn a_value_that_changes_while_it_is_written_is_whole_on_disk_under_always() {
    each_version_is_whole("always");
}

#[test]
fn a_generation_goes_with_all_parts_of_its_values() {
    if Strata::is_oracle() {
        return;
    }
    const KEYS: usize = 60;
    let disk = Disk::new();
    let args = &["--maxmemory", "48mb", "--tier-max-bytes", "96mb"];
    let key = |i: usize| format!("k:{i}");
    let pair = |i: usize| (key(i), noise(i as u64, 2 * MIB + 64 * 1024 * (i % 11)));
    let small = (0..KEYS).map(|i| format!("small:{i}")).collect::<Vec<_>>();
    let server = disk.start(args);
    let mut client = connect(&server);
    for i in 0..KEYS {
        set_all(
            &mut client,
            [pair(i), (format!("small:{i}"), text_of(3, 100))],
        );
        if i % 5 == 4 {
            thread::sleep(Duration::from_millis(300));
        }
    }
    for server in [Some(server), None] {
        let server = server.unwrap_or_else(|| disk.start(args));
        let mut client = connect(&server);
        wait_until_written(&mut client);
        for name in scan(&mut client, 10).keys() {
            let Some(i) = name.strip_prefix("k:") else {
                continue;
            };
            let found = client.run(&["GET", name]);
            // It may go while one looks.
            let expected = pair(i.parse().expect("a number")).1;
            let is_whole = found.is_bulk(&expected) || found == Reply::Nil;
            assert!(is_whole, "{name} is torn");
        }
        // Until the store is below its limit, keys go while one counts.
        let mut last = (0, 0, 0);
        let left = poll(Duration::from_secs(20), || {
            let seen = scan(&mut client, 10).len();
            let left = (0..KEYS)
                .filter(|&i| client.run(&["GET", &key(i)]) != Reply::Nil)
                .count();
            let small = get_all(&mut client, &small).iter().flatten().count();
            last = (db_size(&mut client), seen, left + small);
            (last.0 == seen && last.0 == left + small).then_some(left)
        });
        let left = left.unwrap_or_else(|| panic!("DBSIZE, SCAN and GET tell {last:?}"));
        assert!((10..KEYS).contains(&left), "{left} are left");
        stop(server);
    }
}

#[test]
fn damage_in_a_part_is_an_error_of_that_key_alone() {
    if Strata::is_oracle() {
        return;
    }
    let disk = Disk::new();
    let values = [
        ("damaged".to_owned(), noise(1, 5 * MIB)),
        ("whole".to_owned(), noise(2, 5 * MIB)),
        ("small".to_owned(), text_of(3, 100)),
    ];
    // Nothing is in use, so that nothing is fetched at the start.
    let args = &["--maxmemory", "64mb", "--tier-compression", "none"];
    let server = disk.start(args);
    let mut client = connect(&server);
    set_all(&mut client, values.iter().cloned());
    demote(&mut client, &values);
    stop(server);
    let mut files = Vec::new();
    files_below(&disk.tier(), &mut files);
    let part = &values[0].1[3 * MIB..3 * MIB + 64];
    let is_damaged = files.iter().any(|path| {
        let mut bytes = fs::read(path).expect("read a file of the tier");
        let Some(at) = memchr::memmem::find(&bytes, part) else {
            return false;
        };
        bytes[at + 9] ^= 4;
        fs::write(path, &bytes).expect("damage a file of the tier");
        true
    });
    assert!(is_damaged, "the value is on disk");
    let server = disk.start(args);
    let mut client = connect(&server);
    for _ in 0..2 {
        let reply = client.run(&["GET", "damaged"]);
        let Reply::Error(error) = &reply else {
            panic!("{reply:.60}");
        };
        assert!(error.starts_with(b"IOERR"), "{reply}");
        assert_holds(&mut client, &values[1..]);
        assert_eq!(db_size(&mut client), 3);
        assert_eq!(scan(&mut client, 100).len(), 3);
        assert_eq!(told(&mut client, "damaged", "location"), "disk");
    }
    set_all(&mut client, [("damaged".to_owned(), noise(4, 3 * MIB))]);
    demote(&mut client, &values);
    assert!(client.run(&["GET", "damaged"]).is_bulk(&noise(4, 3 * MIB)));
    stop(server);
}
