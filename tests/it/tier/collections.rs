//! Large collections, of which the disk gets what has changed.

use super::*;

const KEYS: [&str; 5] = ["list", "set", "zset", "hash", "stream"];
const ELEMENTS: u64 = 3000;

/// A command that changes a little of one of the collections.
fn small_change(random: &mut Random, id: &mut u64) -> Vec<String> {
    let element = format!("element:{:08}", random.below(2 * ELEMENTS));
    let score = random.below(1000).to_string();
    let command = match random.below(20) {
        0 | 1 => format!("RPUSH list {element} {score}"),
        2 => format!("LPUSH list {element}"),
        3 => "LPOP list".to_owned(),
        4 => "RPOP list 2".to_owned(),
        5 => format!("LSET list {score} {element}"),
        6 => format!("LINSERT list BEFORE element:00000700 {element}"),
        7 | 8 => format!("SADD set {element}"),
        9 => format!("SREM set {element}"),
        10 | 11 => format!("ZADD zset {score} {element}"),
        12 => format!("ZREM zset {element}"),
        13 => format!("HSET hash {element} {score}"),
        14 => format!("HDEL hash {element}"),
        15 => format!("HEXPIREAT hash 9999999999 FIELDS 1 {element}"),
        16 => {
            *id += 1;
            format!("XADD stream {id}-1 {element} {score}")
        }
        17 => format!("XDEL stream {score}-1"),
        18 => "XREADGROUP GROUP group consumer COUNT 2 STREAMS stream >".to_owned(),
        _ => format!(
            "PEXPIREAT {} 9999999999{score:0>3}",
            KEYS[random.below(5) as usize]
        ),
    };
    command.split(' ').map(str::to_owned).collect()
}

fn fill(client: &mut Client) -> u64 {
    for i in 0..ELEMENTS {
        let (element, number) = (format!("element:{i:08}"), i.to_string());
        let id = format!("{}-1", i + 1);
        client.run(&["RPUSH", "list", &element]);
        client.run(&["SADD", "set", &element]);
        client.run(&["ZADD", "zset", &number, &element]);
        client.run(&["HSET", "hash", &element, &number]);
        client.run(&["XADD", "stream", &id, &element, &number]);
    }
    client.run(&["XGROUP", "CREATE", "stream", "group", "0"]);
    ELEMENTS
}

fn digests(client: &mut Client) -> Vec<String> {
    let reply = client.run(&[&["DEBUG", "DIGEST-VALUE"][..], &KEYS].concat());
    let digests = reply.items().unwrap_or_else(|| panic!("{reply}"));
    digests.iter().map(ToString::to_string).collect()
}

/// Over kills, while the generations that the collections lie in come and go.
fn collections_survive_kills(durability: &str) {
    if Strata::is_oracle() {
        return;
    }
    let disk = Disk::new();
    let args = [
        "--maxmemory",
        "64mb",
        "--tier-max-bytes",
        "48mb",
        "--tier-durability",
        durability,
    ];
    let mut random = Random(0x00c0_11ec_7104);
    let mut expected = Vec::new();
    let mut id = 0;
    let mut filler = 0_u64;
    for round in 0..count(8) {
        let server = disk.start(&args);
        let mut client = server.connect();
        client.set_timeout(Duration::from_secs(60));
        match round {
            0 => id = fill(&mut client),
            _ => assert_eq!(digests(&mut client), expected, "after kill {round}"),
        }
        for part in 0..4 {
            for _ in 0..random.below(40) {
                let command = small_change(&mut random, &mut id);
                let command: Vec<&str> = command.iter().map(String::as_str).collect();
                let reply = client.run(&command);
                assert!(!reply.to_string().contains("ERR"), "{command:?}: {reply}");
            }
            if part % 2 == 1 {
                expected = digests(&mut client);
                for key in KEYS {
                    client.run(&["TIER.DEMOTE", key]);
                }
                assert_eq!(digests(&mut client), expected, "after they left memory");
            }
            // Generations fill up, some in the middle of a round and some between two.
            let pairs = (0..random.below(3000)).map(|_| {
                filler += 1;
                let noise = (0..64).flat_map(|_| random.next().to_le_bytes());
                (format!("filler:{filler}"), noise.collect())
            });
            set_all(&mut client, pairs.collect::<Vec<_>>());
        }
        expected = digests(&mut client);
        if durability != "always" {
            wait_until_written(&mut client);
        }
        server.signal("KILL");
    }
}

#[test]
fn changes_of_large_collections_survive_kills() {
    collections_survive_kills("everysec");
}

#[test]
fn changes_of_large_collections_are_safe_at_once_under_always() {
    collections_survive_kills("always");
}
