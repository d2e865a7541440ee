//! Which keys leave memory, and when.

use super::*;

fn assert_becomes(client: &mut Client, section: &str, field: &str, wanted: i64) {
    let mut last = 0;
    let reached = poll(Duration::from_secs(20), || {
        last = info(client, section, field);
        (last == wanted).then_some(())
    });
    assert!(reached.is_some(), "{field} is {last} and not {wanted}");
}

/// Of so many keys none is missing but those that were evicted, of which there may be more at any moment.
fn assert_there_or_evicted(client: &mut Client, wanted: usize) {
    let mut last = 0;
    let reached = poll(Duration::from_secs(20), || {
        last = db_size(client) + info(client, "tier", "tier_evicted_keys") as usize;
        (last == wanted).then_some(())
    });
    assert!(reached.is_some(), "{last} keys and not {wanted}");
}

#[test]
fn idle_keys_leave_memory_for_the_disk() {
    if Strata::is_oracle() {
        return;
    }
    for durability in ["everysec", "none"] {
        let disk = Disk::new();
        let server = disk.start(&["--memory-ttl", "1", "--tier-durability", durability]);
        let mut client = server.connect();
        let pairs: Vec<_> = (0..500)
            .map(|i| (format!("k:{i}"), value("k", i, 200)))
            .collect();
        set_all(&mut client, pairs.iter().cloned());
        assert_becomes(&mut client, "tier", "tier_demoted_keys", 500);
        assert_eq!(db_size(&mut client), 500);
        assert_eq!(info(&mut client, "tier", "tier_evicted_keys"), 0);
        assert!(
            client
                .run(&["CONFIG", "SET", "memory-ttl", "0"])
                .is_simple("OK")
        );
        assert_holds(&mut client, &pairs);
        assert_eq!(info(&mut client, "tier", "tier_promoted_keys"), 500);
        stop(server);
    }
}

#[test]
fn idle_keys_are_evicted_where_there_is_no_disk() {
    if Strata::is_oracle() {
        return;
    }
    let server = Strata::start(&["--memory-ttl", "1", "--tier-max-bytes", "0"]);
    let mut client = server.connect();
    set_all(
        &mut client,
        (0..500).map(|i| (format!("k:{i}"), b"v".to_vec())),
    );
    assert_becomes(&mut client, "stats", "evicted_keys", 500);
    assert_eq!(db_size(&mut client), 0);
    stop(server);
}

/// More is written than the disk takes, at least at times. Whether anything is shed depends on the machine.
#[test]
fn under_overload_each_key_is_whole_or_gone() {
    if Strata::is_oracle() {
        return;
    }
    const KEYS: usize = 40_000;
    let disk = Disk::new();
    let server = disk.start(&["--tier-overload", "shed", "--maxmemory", "16mb"]);
    let pair = |i: usize| (format!("k:{i}"), value("k", i as u64, 1_000));
    std::thread::scope(|scope| {
        for part in 0..4 {
            let mut client = server.connect();
            let own = (0..KEYS).filter(move |i| i % 4 == part).map(pair);
            scope.spawn(move || set_all(&mut client, own));
        }
    });
    let mut client = server.connect();
    let shed = info(&mut client, "tier", "tier_shed_keys");
    assert_eq!(info(&mut client, "tier", "tier_evicted_keys"), shed);
    assert_eq!(db_size(&mut client) as i64, KEYS as i64 - shed);
    let keys: Vec<_> = (0..KEYS).map(|i| pair(i).0).collect();
    let found = get_all(&mut client, &keys);
    for (i, found) in found.iter().enumerate() {
        assert!(found.as_ref().is_none_or(|found| *found == pair(i).1));
    }
    assert_eq!(found.iter().flatten().count() as i64, KEYS as i64 - shed);
    stop(server);
    let server = disk.start(&[]);
    let mut client = server.connect();
    assert_eq!(db_size(&mut client) as i64, KEYS as i64 - shed);
    assert_eq!(get_all(&mut client, &keys), found);
    stop(server);
}

#[test]
fn keys_that_are_used_once_are_not_written_without_durability() {
    if Strata::is_oracle() {
        return;
    }
    const KEYS: usize = 30_000;
    for admission in ["all", "ghost"] {
        let disk = Disk::new();
        let server = disk.start(&["--tier-durability", "none", "--tier-admission", admission]);
        let mut client = server.connect();
        let chosen = poll(Duration::from_secs(20), || {
            let info = text(&client.run(&["INFO", "tier"]));
            info.contains(&format!("tier_admission:{admission}\r\n"))
                .then_some(())
        });
        assert!(chosen.is_some(), "not {admission}");
        let pairs: Vec<_> = (0..KEYS)
            .map(|i| (format!("k:{i}"), value("k", i as u64, 1_000)))
            .collect();
        set_all(&mut client, pairs.iter().cloned());
        assert_there_or_evicted(&mut client, KEYS);
        let evicted = info(&mut client, "tier", "tier_evicted_keys") as usize;
        let written = info(&mut client, "tier", "tier_records") as usize;
        if admission == "all" {
            assert_eq!(evicted, 0);
            assert_holds(&mut client, &pairs);
        } else {
            assert!(evicted > KEYS / 3, "{evicted} evicted");
            assert!(written < KEYS / 2, "{written} written");
            let keys: Vec<_> = pairs.iter().map(|(key, _)| key.clone()).collect();
            let found = get_all(&mut client, &keys);
            let right = |(found, (_, wanted)): (&Option<Vec<u8>>, &(String, Vec<u8>))| {
                found.as_ref().is_none_or(|found| found == wanted)
            };
            assert!(found.iter().zip(&pairs).all(right), "a wrong value");
            assert_there_or_evicted(&mut client, KEYS);
        }
        stop(server);
    }
}

const DURABILITIES: [&str; 3] = ["none", "everysec", "always"];

/// A field of TIER.INFO of each of these keys.
fn told_all(client: &mut Client, keys: &[String], field: &str) -> Vec<String> {
    let asked = keys.iter().map(|key| vec!["TIER.INFO", key]);
    let told = |reply: &Reply| {
        let mut pairs = reply.items().expect("a map").chunks(2);
        let pair = pairs.find(|pair| text(&pair[0]) == field);
        let told = &pair.expect("a field")[1];
        told.int().map_or_else(|| text(told), |int| int.to_string())
    };
    run_all(client, asked).iter().map(told).collect()
}

fn told(client: &mut Client, key: &str, field: &str) -> String {
    told_all(client, &[key.to_owned()], field).remove(0)
}

fn set_rules(client: &mut Client, rules: &str) {
    let reply = client.run(&["CONFIG", "SET", "tier-policy", rules]);
    assert!(reply.is_simple("OK"), "{reply}");
}

fn rules(client: &mut Client) -> String {
    let reply = client.run(&["CONFIG", "GET", "tier-policy"]);
    text(&reply.items().expect("a map")[1])
}

fn pairs(prefix: &str, count: usize, bytes: usize, version: u64) -> Vec<(String, Vec<u8>)> {
    let pair = |i| {
        let key = format!("{prefix}{i}");
        let value = value(&key, version, bytes);
        (key, value)
    };
    (0..count).map(pair).collect()
}

fn keys(pairs: &[(String, Vec<u8>)]) -> Vec<String> {
    pairs.iter().map(|(key, _)| key.clone()).collect()
}

/// How many of these keys there are.
fn count_of(client: &mut Client, pairs: &[(String, Vec<u8>)]) -> usize {
    get_all(client, &keys(pairs)).iter().flatten().count()
}

/// Ends the server, by a signal that it hears of or by one that it does not.
fn end_by(server: Server, kill: bool) {
    match kill {
        true => drop(server),
        false => stop(server),
    }
}

/// What changed so far is as safe as the durability promises.
fn settle(client: &mut Client, durability: &str) {
    if durability == "everysec" {
        assert!(client.run(&["SAVE"]).is_simple("OK"));
    }
}

#[test]
fn keys_for_memory_only_are_gone_after_a_restart() {
    if Strata::is_oracle() {
        return;
    }
    for durability in DURABILITIES {
        for kill in [false, true] {
            let disk = Disk::new();
            let args = ["--tier-durability", durability];
            let rule = ["--tier-policy", "m:", "memory-only", "m:not:", "disk"];
            let server = disk.start(&[args.as_slice(), &rule].concat());
            let mut client = server.connect();
            let (gone, kept) = (pairs("m:", 300, 100, 1), pairs("m:not:", 300, 100, 1));
            set_all(&mut client, gone.iter().chain(&kept).cloned());
            assert_holds(&mut client, &gone);
            assert_eq!(told(&mut client, "m:1", "policy"), "memory-only");
            assert_eq!(told(&mut client, "m:1", "state"), "none");
            assert_eq!(told(&mut client, "m:not:1", "policy"), "disk");
            settle(&mut client, durability);
            end_by(server, kill);
            let server = disk.start(&args);
            let mut client = server.connect();
            assert_eq!(count_of(&mut client, &gone), 0);
            if kill && durability == "none" {
                assert_eq!(count_of(&mut client, &kept), 0);
            } else {
                assert_holds(&mut client, &kept);
                assert_db_size_becomes(&mut client, kept.len());
            }
            stop(server);
        }
    }
}

#[test]
fn keys_for_memory_only_are_evicted_when_memory_is_full() {
    if Strata::is_oracle() {
        return;
    }
    const KEYS: usize = 30_000;
    for durability in DURABILITIES {
        let disk = Disk::new();
        let rule = ["--tier-policy", "", "memory-only", "keep:", "disk"];
        let server = disk.start(&[&rule[..], &["--tier-durability", durability]].concat());
        let mut client = server.connect();
        let kept = pairs("keep:", 2_000, 1_000, 1);
        set_all(&mut client, kept.iter().cloned());
        let others = pairs("k:", KEYS, 1_000, 1);
        set_all(&mut client, others.iter().cloned());
        let evicted = info(&mut client, "stats", "evicted_keys") as usize;
        assert!(evicted > KEYS / 2, "{evicted} evicted");
        // Memory may still be above its limit, and keys go while one asks.
        let of_tier = info(&mut client, "tier", "tier_evicted_keys") as usize;
        let after = info(&mut client, "stats", "evicted_keys") as usize;
        assert!(
            (evicted..=after).contains(&of_tier),
            "{of_tier} of the tier"
        );
        assert_there_or_evicted(&mut client, KEYS + kept.len());
        let records = info(&mut client, "tier", "tier_records") as usize;
        // And each run tells what the databases are called.
        let runs = info(&mut client, "tier", "tier_runs") as usize;
        assert!(records <= kept.len() + runs, "{records} records");
        assert_holds(&mut client, &kept);
        let found = get_all(&mut client, &keys(&others));
        let right = |(found, (_, wanted)): (&Option<Vec<u8>>, &(String, Vec<u8>))| {
            found.as_ref().is_none_or(|found| found == wanted)
        };
        assert!(found.iter().zip(&others).all(right), "a wrong value");
        stop(server);
    }
}

/// The rule comes when the keys are on disk. The server ends as it does for the durability's promise to count.
#[test]
fn what_a_key_for_memory_only_had_on_disk_does_not_come_back() {
    if Strata::is_oracle() {
        return;
    }
    for (durability, kill) in [
        ("none", false),
        ("everysec", false),
        ("everysec", true),
        ("always", false),
        ("always", true),
    ] {
        for is_cold in [false, true] {
            let disk = Disk::new();
            let args = ["--tier-durability", durability, "--maxmemory", "64mb"];
            let server = disk.start(&args);
            let mut client = server.connect();
            let old: Vec<_> = ["set:", "del:", "read:", "left:"]
                .map(|prefix| pairs(prefix, 200, 600, 1))
                .concat();
            set_all(&mut client, old.iter().cloned());
            if is_cold {
                let demote = [vec!["TIER.DEMOTE".to_owned()], keys(&old)].concat();
                assert_eq!(int(&mut client, &demote), old.len() as i64);
            } else {
                assert!(client.run(&["SAVE"]).is_simple("OK"));
            }
            set_rules(&mut client, "\"\" memory-only left: disk");
            if !is_cold {
                let followed = poll(Duration::from_secs(20), || {
                    let states = told_all(&mut client, &keys(&old[..600]), "state");
                    states.iter().all(|state| state == "none").then_some(())
                });
                assert!(followed.is_some(), "old keys do not follow the rule");
            }
            let new = pairs("set:", 200, 600, 2);
            set_all(&mut client, new.iter().cloned());
            for reply in run_all(
                &mut client,
                (0..200).map(|i| vec!["DEL".into(), format!("del:{i}")]),
            ) {
                assert_eq!(reply.int(), Some(1));
            }
            let read = &old[400..600];
            assert_holds(&mut client, read);
            assert_holds(&mut client, &new);
            assert_db_size_becomes(&mut client, 600);
            settle(&mut client, durability);
            end_by(server, kill);
            // Without the rule: nothing is hidden by it.
            let server = disk.start(&args);
            let mut client = server.connect();
            assert_eq!(count_of(&mut client, &old[..400]), 0);
            assert_holds(&mut client, &old[600..]);
            if !kill {
                assert_eq!(count_of(&mut client, read), 0);
                assert_db_size_becomes(&mut client, 200);
            }
            stop(server);
        }
    }
}

#[test]
fn rules_are_set_told_and_written_into_the_file() {
    if Strata::is_oracle() {
        return;
    }
    let disk = Disk::new();
    let file = disk.0.join("strata.conf");
    fs::write(
        &file,
        "tier-policy a: pinned\n# more\ntier-policy \"\" memory-only\n",
    )
    .unwrap();
    let path = file.to_str().expect("the path is text");
    let server = disk.start(&[
        path,
        "--tier-policy",
        "b c",
        "disk",
        "--tier-policy",
        "a:",
        "disk",
    ]);
    let mut client = server.connect();
    assert_eq!(rules(&mut client), "\"\" memory-only a: disk \"b c\" disk");
    for (wrong, why) in [
        (
            "a: nowhere",
            "argument(s) must be one of the following: memory-only, disk, pinned",
        ),
        ("a: pinned b:", "each prefix must have a policy behind it"),
        ("\"a: pinned", "Unbalanced quotes in configuration line"),
    ] {
        let reply = client.run(&["CONFIG", "SET", "tier-policy", wrong]);
        let error = "ERR CONFIG SET failed (possibly related to argument 'tier-policy') - ";
        assert_eq!(reply, Reply::Error(format!("{error}{why}").into_bytes()));
    }
    let many: String = (0..65).map(|i| format!("p{i}: pinned ")).collect();
    let reply = client.run(&["CONFIG", "SET", "tier-policy", &many]);
    assert!(
        reply
            .to_string()
            .contains("there may be 64 prefixes at most"),
        "{reply}"
    );
    assert_eq!(rules(&mut client), "\"\" memory-only a: disk \"b c\" disk");
    // What is told can be set, and replaces what was there.
    set_rules(&mut client, "x: pinned");
    assert_eq!(rules(&mut client), "x: pinned");
    set_rules(&mut client, "\"b c\" disk b: memory-only b:c: PINNED");
    let told_rules = rules(&mut client);
    assert_eq!(told_rules, "b: memory-only \"b c\" disk b:c: pinned");
    set_rules(&mut client, &told_rules);
    assert!(client.run(&["CONFIG", "REWRITE"]).is_simple("OK"));
    for (key, policy) in [
        ("b", "disk"),
        ("b:", "memory-only"),
        ("b:c:d", "pinned"),
        ("b cd", "disk"),
        ("a:", "disk"),
    ] {
        assert_eq!(told(&mut client, key, "policy"), policy, "{key}");
    }
    stop(server);
    let written = fs::read_to_string(&file).unwrap();
    assert!(
        written.starts_with(&format!("tier-policy {told_rules}\n# more\n\n")),
        "{written}"
    );
    let server = disk.start(&[path]);
    let mut client = server.connect();
    assert_eq!(rules(&mut client), told_rules);
    set_rules(&mut client, "");
    assert_eq!(rules(&mut client), "");
    stop(server);
}

#[test]
fn a_server_with_wrong_rules_does_not_start() {
    if Strata::is_oracle() {
        return;
    }
    for (args, why) in [
        (
            &["--tier-policy", "a:", "cold"][..],
            "one of the following: memory-only, disk, pinned",
        ),
        (
            &["--tier-policy", "a:"],
            "each prefix must have a policy behind it",
        ),
        (&["--tier-policy"], "tier-policy"),
    ] {
        let args = [&["--tier-max-bytes", "0"], args].concat();
        let finished = Strata::run_to_exit(crate::server::free_port(), &args);
        assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
        assert!(finished.stderr.contains(why), "{}", finished.stderr);
    }
}

/// Waits for so many pinned keys.
fn assert_pinned(client: &mut Client, wanted: usize) {
    assert_becomes(client, "tier", "tier_pinned_keys", wanted as i64);
}

#[test]
fn keys_that_a_rule_pins_stay_in_memory_and_come_back_into_it() {
    if Strata::is_oracle() {
        return;
    }
    for (durability, kill) in [("none", false), ("everysec", true), ("always", true)] {
        let disk = Disk::new();
        let args = ["--tier-policy", "p:", "pinned", "p:x:", "disk"];
        let args = [&args[..], &["--tier-durability", durability]].concat();
        let server = disk.start(&args);
        let mut client = server.connect();
        let (pinned, others) = (pairs("p:", 1_000, 1_000, 1), pairs("p:x:", 1_000, 1_000, 1));
        set_all(&mut client, pinned.iter().chain(&others).cloned());
        settle(&mut client, durability);
        cool(&server);
        assert_pinned(&mut client, 1_000);
        let location = |client: &mut Client, pairs| told_all(client, &keys(pairs), "location");
        let in_memory = location(&mut client, &pinned);
        assert!(in_memory.iter().all(|location| location == "memory"));
        let of_others = location(&mut client, &others);
        let cold = of_others
            .iter()
            .filter(|&location| location == "disk")
            .count();
        assert!(cold > 300, "{cold} of the others are cold");
        assert_eq!(info(&mut client, "tier", "tier_evicted_keys"), 0);
        end_by(server, kill);
        let server = disk.start(&args);
        let mut client = server.connect();
        assert_pinned(&mut client, 1_000);
        assert_eq!(told(&mut client, "p:7", "location"), "memory");
        cool(&server);
        assert_holds(&mut client, &pinned);
        assert_holds(&mut client, &others);
        set_rules(&mut client, "");
        assert_pinned(&mut client, 0);
        stop(server);
    }
}

#[test]
fn pins_survive_a_restart_and_a_kill() {
    if Strata::is_oracle() {
        return;
    }
    for (durability, kill) in [
        ("none", false),
        ("everysec", false),
        ("everysec", true),
        ("always", false),
        ("always", true),
    ] {
        let disk = Disk::new();
        let args = ["--tier-durability", durability];
        let mut server = disk.start(&args);
        let mut client = server.connect();
        let pinned = pairs("k:", 500, 600, 1);
        set_all(&mut client, pinned.iter().cloned());
        settle(&mut client, durability);
        let pins = |from: usize, to: usize, command: &str| {
            (from..to)
                .map(|i| vec![command.to_owned(), format!("k:{i}")])
                .collect::<Vec<_>>()
        };
        for reply in run_all(&mut client, pins(0, 500, "TIER.PIN")) {
            assert_eq!(reply.int(), Some(1));
        }
        run_all(&mut client, pins(0, 50, "TIER.UNPIN"));
        run_all(&mut client, pins(50, 100, "DEL"));
        for i in 100..150 {
            client.run(&["RENAME", &format!("k:{i}"), &format!("renamed:{i}")]);
        }
        let written = pairs("k:", 100, 700, 2);
        set_all(&mut client, written[50..].iter().cloned());
        assert_pinned(&mut client, 350);
        for round in 0..2 {
            settle(&mut client, durability);
            end_by(server, kill && round == 0);
            server = disk.start(&args);
            client = server.connect();
            assert_pinned(&mut client, 350);
            assert_eq!(told(&mut client, "k:200", "location"), "memory");
            assert_eq!(told(&mut client, "k:200", "pinned"), "1");
            for unpinned in ["k:1", "k:51", "renamed:100"] {
                assert_eq!(told(&mut client, unpinned, "pinned"), "0", "{unpinned}");
                assert_eq!(int(&mut client, &["EXISTS", unpinned]), 1);
            }
            assert_holds(&mut client, &pinned[150..]);
            assert_holds(&mut client, &written[50..]);
        }
        stop(server);
    }
}

#[test]
fn pinned_keys_that_do_not_fit_stay_on_disk_and_stay_pinned() {
    if Strata::is_oracle() {
        return;
    }
    const KEYS: usize = 10_000;
    let disk = Disk::new();
    let large = ["--maxmemory", "64mb"];
    let server = disk.start(&large);
    let mut client = server.connect();
    let mut pinned = pairs("k:", KEYS, 1_000, 1);
    set_all(&mut client, pinned.iter().cloned());
    for reply in run_all(
        &mut client,
        keys(&pinned).iter().map(|key| vec!["TIER.PIN", key]),
    ) {
        assert_eq!(reply.int(), Some(1));
    }
    assert_pinned(&mut client, KEYS);
    stop(server);
    for kill in [false, true] {
        let server = disk.start(&[]);
        let mut client = server.connect();
        let mut loaded = 0;
        poll(Duration::from_secs(20), || {
            let before =
                std::mem::replace(&mut loaded, info(&mut client, "tier", "tier_pinned_keys"));
            std::thread::sleep(Duration::from_millis(100));
            (loaded > 1_000 && before == loaded).then_some(())
        });
        assert!(
            (1_000..KEYS as i64 - 2_000).contains(&loaded),
            "{loaded} pinned keys in memory"
        );
        // There is room for others.
        let others = pairs("other:", 2_000, 500, u64::from(kill));
        set_all(&mut client, others.iter().cloned());
        assert_holds(&mut client, &others);
        // One that is on disk only is pinned, and still is when somebody writes over it.
        let all = keys(&pinned);
        let locations = told_all(&mut client, &all, "location");
        let mut cold = all
            .iter()
            .zip(locations)
            .filter(|(_, location)| location == "disk");
        for (key, _) in cold.by_ref().take(20) {
            assert_eq!(told(&mut client, key, "pinned"), "1", "{key}");
            let new = value(key, 2 + u64::from(kill), 900);
            assert!(client.run(&[b"SET", key.as_bytes(), &new]).is_simple("OK"));
            assert_eq!(told(&mut client, key, "pinned"), "1", "{key}");
            let pair = pinned.iter_mut().find(|(other, _)| other == key);
            pair.expect("it is one of them").1 = new;
        }
        assert!(client.run(&["SAVE"]).is_simple("OK"));
        end_by(server, kill);
    }
    let server = disk.start(&large);
    let mut client = server.connect();
    assert_pinned(&mut client, KEYS);
    assert_holds(&mut client, &pinned);
    stop(server);
}

#[test]
fn pins_survive_the_loss_of_their_list() {
    if Strata::is_oracle() {
        return;
    }
    let disk = Disk::new();
    let mut server = disk.start(&[]);
    let mut client = server.connect();
    let mut pinned = pairs("k:", 100, 100, 1);
    set_all(&mut client, pinned.iter().cloned());
    for (key, _) in &pinned {
        assert_eq!(int(&mut client, &["TIER.PIN", key]), 1);
    }
    for round in 0..2 {
        stop(server);
        let list = disk.tier().join("pinned");
        let mut bytes = fs::read(&list).expect("there is a list");
        bytes[20] ^= 1;
        fs::write(&list, bytes).unwrap();
        // A key cannot come in with others before somebody writes over it.
        fs::remove_file(disk.tier().join("hot")).unwrap();
        server = disk.start(&[]);
        client = server.connect();
        let new = value("k:7", 2 + round, 100);
        assert!(client.run(&[b"SET", b"k:7", &new[..]]).is_simple("OK"));
        assert_eq!(told(&mut client, "k:7", "pinned"), "1");
        assert_eq!(told(&mut client, "k:8", "location"), "disk");
        assert_eq!(told(&mut client, "k:8", "pinned"), "1");
        pinned[7].1 = new;
        let log = end(server);
        assert!(log.contains("list of pinned keys is damaged"), "{log}");
        server = disk.start(&[]);
        client = server.connect();
        assert_pinned(&mut client, 100);
        assert_holds(&mut client, &pinned);
    }
    stop(server);
}

/// Writes are refused as under noeviction; keys on disk can be read all the same.
#[test]
fn where_all_is_pinned_writes_are_refused_and_the_rest_goes_on() {
    if Strata::is_oracle() {
        return;
    }
    let disk = Disk::new();
    let server = disk.start(&[]);
    let mut client = server.connect();
    let others = pairs("other:", 200, 1_000, 1);
    set_all(&mut client, others.iter().cloned());
    let demote = [vec!["TIER.DEMOTE".to_owned()], keys(&others)].concat();
    assert_eq!(int(&mut client, &demote), 200);
    set_rules(&mut client, "p: pinned");
    let mut written = 0;
    let refused = loop {
        let key = format!("p:{written}");
        let reply = client.run(&[b"SET", key.as_bytes(), &value(&key, 1, 10_000)]);
        if !reply.is_simple("OK") {
            break reply;
        }
        written += 1;
    };
    let wanted = "OOM command not allowed when used memory > 'maxmemory'.";
    assert_eq!(refused, Reply::Error(wanted.into()));
    assert!((300..820).contains(&written), "{written}");
    assert_holds(&mut client, &others[..20]);
    assert_eq!(int(&mut client, &["EXISTS", "p:0", "p:1"]), 2);
    for i in 0..100 {
        assert_eq!(int(&mut client, &["DEL", &format!("p:{i}")]), 1);
    }
    assert!(client.run(&["SET", "p:new", "v"]).is_simple("OK"));
    assert_holds(&mut client, &others);
    stop(server);
}

/// Rules come and go while keys are written, and the server is killed. A key may be gone, but an older version than the last
/// that was acknowledged is never seen again.
#[test]
fn under_always_no_rule_brings_an_older_version_back() {
    if Strata::is_oracle() {
        return;
    }
    const KEYS: usize = 60;
    let mut random = Random::new("under_always_no_rule_brings_an_older_version_back");
    let disk = Disk::new();
    let args = ["--tier-durability", "always"];
    // For each of two clients the next version, and of each key the last that was acknowledged.
    let mut clients = [(1, vec![0; KEYS]), (1, vec![0; KEYS])];
    for _ in 0..count(3) {
        let server = disk.start(&args);
        let port = server.port();
        std::thread::scope(|scope| {
            for (name, (next, acknowledged)) in clients.iter_mut().enumerate() {
                let mut random = random.split();
                scope.spawn(move || {
                    let mut client = Client::connect(port);
                    loop {
                        let at = random.index(KEYS);
                        let (key, version) = (format!("k:{name}:{at}"), next.to_string());
                        *next += 1;
                        match client.try_run(&["SET", &key, &version]) {
                            Ok(reply) => assert!(reply.is_simple("OK"), "{reply}"),
                            Err(_) => return,
                        }
                        acknowledged[at] = *next - 1;
                        // What is found is the last version, or nothing.
                        let found = client.try_run(&["GET", &format!("k:{name}:{at}")]);
                        let right =
                            |reply: Reply| reply == Reply::Nil || reply.is_bulk(version.as_bytes());
                        assert!(found.is_err() || found.is_ok_and(right));
                    }
                });
            }
            let mut client = server.connect();
            let end = Instant::now() + Duration::from_millis(1_500);
            while Instant::now() < end {
                let rules = [
                    "k: memory-only",
                    "k: pinned",
                    "k:0: memory-only k:1:1 pinned",
                    "k: disk k:1:2 memory-only",
                ];
                set_rules(&mut client, rules[random.index(rules.len())]);
                let demote = (0..KEYS).map(|i| format!("k:{}:{i}", i % 2));
                client.run(&[vec!["TIER.DEMOTE".to_owned()], demote.collect()].concat());
                std::thread::sleep(Duration::from_millis(random.below(150)));
            }
            drop(server);
        });
        let server = disk.start(&args);
        let mut client = server.connect();
        for (name, (next, acknowledged)) in clients.iter().enumerate() {
            for (at, &acknowledged) in acknowledged.iter().enumerate() {
                let reply = client.run(&["GET", &format!("k:{name}:{at}")]);
                if reply != Reply::Nil {
                    let found: u64 = text(&reply).parse().expect("a version");
                    let possible = acknowledged..*next;
                    assert!(possible.contains(&found), "{found} is not in {possible:?}");
                }
            }
        }
        stop(server);
    }
}
