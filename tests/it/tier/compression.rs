//! Values that are compressed in memory, seen from outside: no command tells the difference.

use super::*;

const KEYS: u64 = 6_000;
/// What has cooled down was not accessed in this second.
const COOLING: Duration = Duration::from_millis(2_100);

fn key(i: u64) -> String {
    format!("k:{i}")
}

fn pairs(keys: std::ops::Range<u64>) -> impl Iterator<Item = (String, Vec<u8>)> {
    keys.map(|i| (key(i), value("k", i, 1_000)))
}

/// A server in which most of the keys are compressed, and one that has the same keys as they are.
fn compressed_and_plain() -> (Server, Server) {
    let [compressed, plain] = ["lz4", "none"].map(|compression| {
        let server = Strata::start(&[
            "--tier-max-bytes",
            "0",
            "--maxmemory-policy",
            "noeviction",
            "--memory-compression",
            compression,
        ]);
        let mut client = server.connect();
        set_all(&mut client, pairs(0..KEYS - 1_000));
        if compression == "lz4" {
            let limit = info(&mut client, "memory", "used_memory") + 100_000;
            client.run(&["CONFIG", "SET", "maxmemory", &limit.to_string()]);
        }
        std::thread::sleep(COOLING);
        set_all(&mut client, pairs(KEYS - 1_000..KEYS));
        client.run(&["CONFIG", "SET", "maxmemory", "0"]);
        server
    });
    let mut client = compressed.connect();
    let keys = info(&mut client, "tier", "tier_compressed_keys");
    assert!(keys > 2_000, "{keys} compressed keys");
    let raw = info(&mut client, "tier", "tier_compressed_raw_bytes");
    let stored = info(&mut client, "tier", "tier_compressed_bytes");
    assert!(
        raw == keys * 1_000 && stored < raw * 7 / 8,
        "{raw} {stored}"
    );
    (compressed, plain)
}

#[test]
fn commands_do_not_see_that_values_are_compressed() {
    if Strata::is_oracle() {
        return;
    }
    // `K` is a key that no other command uses, `L` another, and `N` is none.
    const COMMANDS: &[&str] = &[
        "GET K",
        "GETRANGE K 100 -100",
        "STRLEN K",
        "APPEND K more",
        "SETRANGE K 10 abc",
        "SETRANGE K 3000 abc",
        "GETSET K v",
        "GETDEL K",
        "GETEX K PX 1000000",
        "SET K v GET",
        "SET K v KEEPTTL",
        "SET K v NX",
        "SET K v XX GET",
        "SET K v IFEQ w",
        "SETNX K v",
        "SETEX K 100 v",
        "INCR K",
        "INCRBYFLOAT K 1",
        "SETBIT K 77 1",
        "GETBIT K 77",
        "BITCOUNT K",
        "BITCOUNT K 10 -10",
        "BITPOS K 0",
        "BITFIELD K GET u8 16 INCRBY u16 100 7",
        "BITFIELD_RO K GET u8 16",
        "BITOP XOR N K L",
        "BITOP AND K K L",
        "LCS K L LEN",
        "PFADD K a",
        "PFCOUNT K L",
        "MGET K L",
        "MSET K v L w",
        "MSETNX K v N w",
        "COPY K N",
        "COPY K L REPLACE",
        "RENAME K L",
        "RENAME K N",
        "RENAMENX K L",
        "MOVE K 1",
        "EXPIRE K 1000",
        "TTL K",
        "PERSIST K",
        "TYPE K",
        "EXISTS K L",
        "TOUCH K",
        "OBJECT ENCODING K",
        "OBJECT REFCOUNT K",
        "DEBUG DIGEST-VALUE K L",
        "DEL K",
        "UNLINK K L",
        "TIER.PIN K",
    ];
    let (compressed, plain) = compressed_and_plain();
    let (mut ours, mut theirs) = (compressed.connect(), plain.connect());
    for (number, command) in COMMANDS.iter().enumerate() {
        for turn in 0..10 {
            let first = (number * 20 + turn * 2) as u64;
            let names = [key(first), key(first + 1), format!("new:{first}")];
            let word = |word: &str| match word {
                "K" => names[0].clone(),
                "L" => names[1].clone(),
                "N" => names[2].clone(),
                word => word.to_owned(),
            };
            let args: Vec<String> = command.split(' ').map(word).collect();
            let mut same = |args: &[String]| {
                let (our, their) = (ours.run(args), theirs.run(args));
                assert_eq!(our, their, "{args:?}");
            };
            same(&args);
            same(&args);
            for name in &names {
                same(&["GET".to_owned(), name.clone()]);
                same(&["PERSIST".to_owned(), name.clone()]);
            }
        }
    }
    let digest = ["DEBUG", "DIGEST"];
    assert_eq!(ours.run(&digest), theirs.run(&digest));
    let left = info(&mut ours, "tier", "tier_compressed_keys");
    assert!(left > 0, "the digest leaves values as they are");
    stop(compressed);
    stop(plain);
}

#[test]
fn more_keys_stay_in_memory_when_values_are_compressed() {
    if Strata::is_oracle() {
        return;
    }
    for policy in ["allkeys-s3fifo", "allkeys-lru", "allkeys-lfu"] {
        let [plain, compressed] = ["none", "lz4"].map(|compression| {
            let server = Strata::start(&[
                "--tier-max-bytes",
                "0",
                "--maxmemory",
                "8mb",
                "--maxmemory-policy",
                policy,
            ]);
            let mut client = server.connect();
            client.run(&["CONFIG", "SET", "memory-compression", compression]);
            set_all(&mut client, pairs(0..6_000));
            std::thread::sleep(COOLING);
            set_all(&mut client, pairs(6_000..9_000));
            assert!(info(&mut client, "memory", "used_memory") <= 8_500_000);
            let kept = db_size(&mut client);
            let keys: Vec<String> = (0..9_000).map(key).collect();
            let found = get_all(&mut client, &keys);
            assert!(found.iter().flatten().count() > 3_000);
            for (found, (_, wanted)) in found.iter().zip(pairs(0..9_000)) {
                assert!(found.as_ref().is_none_or(|found| *found == wanted));
            }
            stop(server);
            kept
        });
        assert!(
            compressed > plain * 23 / 20,
            "{policy}: {compressed} keys, {plain} without compression"
        );
    }
}

#[test]
fn the_disk_has_the_values_of_compressed_keys() {
    if Strata::is_oracle() {
        return;
    }
    let disk = Disk::new();
    let server = disk.start(&["--memory-compression", "lz4", "--maxmemory", "64mb"]);
    let mut client = server.connect();
    set_all(&mut client, pairs(0..6_000));
    std::thread::sleep(COOLING);
    // What the tier takes for what is written next comes and goes, and so do keys for it: most are compressed before that.
    let limit = info(&mut client, "memory", "used_memory") - 1_000_000;
    client.run(&["CONFIG", "SET", "maxmemory", &limit.to_string()]);
    set_all(&mut client, pairs(6_000..6_500));
    let compressed = info(&mut client, "tier", "tier_compressed_keys");
    assert!(compressed > 1_000, "{compressed} compressed keys");
    set_all(&mut client, pairs(6_500..12_000));
    let all: Vec<_> = pairs(0..12_000).collect();
    assert_holds(&mut client, &all);
    assert_eq!(db_size(&mut client), 12_000);
    stop(server);
    let server = disk.start(&[]);
    let mut client = server.connect();
    assert_holds(&mut client, &all);
    stop(server);
}
