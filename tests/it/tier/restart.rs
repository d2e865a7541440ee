//! A stop in order and a new start: everything is there.

use super::*;

const KEYS: usize = 12_000;

fn key(i: usize) -> String {
    format!("key:{i}")
}

/// Several sizes, among them those that lie apart on disk, and expiries for a third of the keys.
fn content(i: usize, version: u64) -> (Vec<u8>, Option<i64>) {
    let bytes = [10, 100, 511, 512, 1_024, 4_000][i % 6];
    let expires_at = i.is_multiple_of(3).then_some(99_999_999_999_000 + i as i64);
    (value(&key(i), version, bytes), expires_at)
}

fn set(i: usize, version: u64) -> Vec<Vec<u8>> {
    let (value, expires_at) = content(i, version);
    let mut command = vec![b"SET".to_vec(), key(i).into(), value];
    if let Some(at) = expires_at {
        command.extend([b"PXAT".to_vec(), at.to_string().into()]);
    }
    command
}

fn fill(client: &mut Client, keys: impl Iterator<Item = usize>, version: u64) {
    for reply in run_all(client, keys.map(|i| set(i, version))) {
        assert!(reply.is_simple("OK"), "{reply}");
    }
}

fn check(client: &mut Client, keys: &[(usize, u64)]) {
    let pairs: Vec<_> = keys
        .iter()
        .map(|&(i, v)| (key(i), content(i, v).0))
        .collect();
    assert_holds(client, &pairs);
    let asked = keys
        .iter()
        .map(|&(i, _)| vec!["PEXPIRETIME".to_owned(), key(i)]);
    for (reply, &(i, v)) in run_all(client, asked).iter().zip(keys) {
        assert_eq!(
            reply.int(),
            Some(content(i, v).1.unwrap_or(-1)),
            "{}",
            key(i)
        );
    }
    assert_eq!(db_size(client), keys.len());
    let seen = scan(client, 1_000);
    assert_eq!(seen.len(), keys.len());
    assert!(seen.values().all(|&times| times == 1));
    let expiring = keys
        .iter()
        .filter(|(i, v)| content(*i, *v).1.is_some())
        .count();
    let info = text(&client.run(&["INFO", "keyspace"]));
    let wanted = format!("keys={},expires={expiring},", keys.len());
    assert!(info.contains(&wanted), "{wanted} in {info}");
}

fn everything_is_there_after_a_stop(args: &[&str]) {
    if Strata::is_oracle() {
        return;
    }
    let disk = Disk::new();
    let mut kept: Vec<(usize, u64)> = (0..KEYS).map(|i| (i, 0)).collect();
    for round in 1..4 {
        let server = disk.start(args);
        let mut client = server.connect();
        if round == 1 {
            fill(&mut client, 0..KEYS, 0);
            client.run(&["SELECT", "5"]);
            fill(&mut client, 0..500, 7);
            client.run(&["SELECT", "9"]);
            fill(&mut client, 0..100, 9);
            client.run(&["SELECT", "0"]);
        }
        check(&mut client, &kept);
        let changed = |i: usize| i % 10 == round;
        fill(&mut client, (0..KEYS).filter(|&i| changed(i)), round as u64);
        let gone: Vec<_> = kept
            .iter()
            .map(|&(i, _)| i)
            .filter(|i| i % 7 == round)
            .collect();
        let dels = gone.iter().map(|&i| vec!["DEL".to_owned(), key(i)]);
        for reply in run_all(&mut client, dels) {
            assert_eq!(reply.int(), Some(1));
        }
        kept = (0..KEYS)
            .filter(|i| !gone.contains(i))
            .filter_map(|i| {
                let old = kept
                    .binary_search_by_key(&i, |(i, _)| *i)
                    .map(|at| kept[at].1);
                let version = if changed(i) {
                    Some(round as u64)
                } else {
                    old.ok()
                };
                version.map(|version| (i, version))
            })
            .collect();
        // One expires while nobody runs.
        client.run(&["SET", "brief", "x", "PX", "300"]);
        client.run(&["SET", "lasting", "x"]);
        client.run(&["DEL", "lasting"]);
        stop(server);
        std::thread::sleep(Duration::from_millis(320));
        let server = disk.start(args);
        let mut client = server.connect();
        assert_eq!(client.run(&["GET", "brief"]), Reply::Nil);
        assert_eq!(client.run(&["GET", "lasting"]), Reply::Nil);
        check(&mut client, &kept);
        for (db, keys, version) in [("5", 500, 7), ("9", 100, 9)] {
            client.run(&["SELECT", db]);
            check(
                &mut client,
                &(0..keys).map(|i| (i, version)).collect::<Vec<_>>(),
            );
        }
        stop(server);
    }
}

#[test]
fn everything_is_there_after_a_stop_with_everysec() {
    everything_is_there_after_a_stop(&[]);
}

#[test]
fn everything_is_there_after_a_stop_without_durability() {
    everything_is_there_after_a_stop(&["--tier-durability", "none"]);
}

#[test]
fn everything_is_there_after_a_stop_with_lz4_in_small_generations() {
    everything_is_there_after_a_stop(&[
        "--tier-compression",
        "lz4",
        "--tier-max-bytes",
        "96mb",
        "--maxmemory",
        "4mb",
    ]);
}

#[test]
fn what_was_in_memory_comes_back_into_it() {
    if Strata::is_oracle() {
        return;
    }
    let disk = Disk::new();
    let args = &["--maxmemory", "64mb"];
    for kill in [false, true] {
        let server = disk.start(args);
        fill(&mut server.connect(), 0..2_000, 1);
        stop(server);
        let server = disk.start(args);
        let mut client = server.connect();
        let warmed = poll(Duration::from_secs(20), || {
            let info = text(&client.run(&["INFO", "tier"]));
            info.contains("tier_promoted_keys:2000\r").then_some(())
        });
        assert!(warmed.is_some(), "{}", client.run(&["INFO", "tier"]));
        assert_eq!(db_size(&mut client), 2_000);
        check(&mut client, &(0..2_000).map(|i| (i, 1)).collect::<Vec<_>>());
        if kill {
            server.signal("KILL");
        } else {
            stop(server);
        }
    }
}

#[test]
fn a_key_too_long_for_the_disk_does_not_upset_the_counts() {
    if Strata::is_oracle() {
        return;
    }
    let disk = Disk::new();
    let server = disk.start(&[]);
    let mut client = server.connect();
    let long = "k".repeat(70_000);
    client.run(&["SET", &long, "x"]);
    client.run(&["SET", "short", "x"]);
    assert_eq!(db_size(&mut client), 2);
    cool(&server);
    let left = int(&mut client, &["EXISTS", &long, "short"]);
    assert_eq!(db_size(&mut client), left as usize);
    stop(server);
    let server = disk.start(&[]);
    let mut client = server.connect();
    assert_eq!(int(&mut client, &["EXISTS", &long, "short"]), 1);
    assert_eq!(db_size(&mut client), 1);
    stop(server);
}

/// What is counted is what is used: nothing of a cache that is empty.
#[test]
fn an_empty_server_uses_next_to_nothing_and_maxmemory_may_be_that() {
    if Strata::is_oracle() {
        return;
    }
    let server = Strata::start(&[]);
    let mut client = server.connect();
    let used = info(&mut client, "memory", "used_memory");
    assert!(used < 4_000_000, "{used}");
    let above = (used + 500_000).to_string();
    let set = client.run(&["CONFIG", "SET", "maxmemory", &above]);
    assert!(set.is_simple("OK"), "{set}");
    for i in 0..100 {
        let reply = client.run(&["SET", &format!("key:{i}"), "value"]);
        assert!(reply.is_simple("OK"), "{reply}");
    }
    stop(server);
}

/// The tier's descriptors are kept free of clients, however many come and however few there are.
#[test]
fn clients_leave_the_tier_its_descriptors() {
    // setpriv is of util-linux, as is nearly everywhere.
    let has_setpriv = std::process::Command::new("setpriv")
        .arg("--version")
        .output();
    if Strata::is_oracle() || has_setpriv.is_err() {
        return;
    }
    let server = Strata::start_limited(200, &["--tier-max-bytes", "8mb", "--maxmemory", "4mb"]);
    let mut client = server.connect();
    let maxclients = client.run(&["CONFIG", "GET", "maxclients"]);
    let maxclients = text(&maxclients.items().expect("a pair")[1]);
    let maxclients: usize = maxclients.parse().expect("a number");
    assert!((80..160).contains(&maxclients), "{maxclients}");
    assert!(server.stdout().contains("maxclients is lowered"));
    let clients: Vec<_> = (0..160)
        .map(|_| {
            let mut client = server.connect();
            let answers = client.try_run(&["PING"]);
            answers
                .is_ok_and(|pong| pong.is_simple("PONG"))
                .then_some(client)
        })
        .collect();
    let served = clients.iter().flatten().count();
    assert_eq!(served, maxclients - 1);
    for round in 0..12 {
        let some = (0..500).map(|i| {
            let key = format!("key:{}", round * 400 + i);
            let value = value(&key, round, 1_000);
            (key, value)
        });
        set_all(&mut client, some);
        let saved = client.run(&["SAVE"]);
        assert!(
            saved.is_simple("OK"),
            "{round}: {saved}\n{}",
            server.stdout()
        );
        for i in 0..100 {
            let reply = client.run(&["GET", &format!("key:{}", i * 7)]);
            assert!(!reply.is_error(), "{reply}");
        }
    }
    assert!(server.descriptors() <= 200);
    assert!(!server.stdout().contains("ERROR"), "{}", server.stdout());
    stop(server);
}

#[test]
fn what_is_on_disk_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    if Strata::is_oracle() {
        return;
    }
    let disk = Disk::new();
    let server = disk.start(&["--tier-durability", "always"]);
    let mut client = server.connect();
    set_all(
        &mut client,
        (0..50).map(|i| (format!("key:{i}"), value("key", i, 2_000))),
    );
    wait_until_written(&mut client);
    stop(server);
    let mode = |path: &Path| path.metadata().expect("it is there").permissions().mode() & 0o777;
    let mut files = Vec::new();
    files_below(&disk.tier(), &mut files);
    assert!(files.len() > 5, "{files:?}");
    for file in &files {
        assert_eq!(mode(file), 0o600, "{}", file.display());
        let dir = file.parent().expect("a directory");
        assert_eq!(mode(dir), 0o700, "{}", dir.display());
    }
}

#[test]
fn a_directory_that_cannot_be_used_is_named() {
    if Strata::is_oracle() {
        return;
    }
    let disk = Disk::new();
    fs::write(disk.tier(), "a file").expect("write a file");
    let dir = disk.tier();
    let dir = dir.to_str().expect("the path is text");
    let end = Strata::run_to_exit(crate::server::free_port(), &["--tier-dir", dir]);
    assert_eq!(end.status.code(), Some(1), "{}", end.stderr);
    assert!(end.stderr.contains(dir), "{}", end.stderr);
}
