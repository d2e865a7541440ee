//! Which keys leave memory, and when.

use super::*;

/// A field of INFO.
pub(super) fn info(client: &mut Client, section: &str, field: &str) -> i64 {
    let info = text(&client.run(&["INFO", section]));
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let number = line.and_then(|number| number.parse().ok());
    number.unwrap_or_else(|| panic!("no number {field}: {info}"))
}

fn assert_becomes(client: &mut Client, section: &str, field: &str, wanted: i64) {
    let mut last = 0;
    let reached = poll(Duration::from_secs(20), || {
        last = info(client, section, field);
        (last == wanted).then_some(())
    });
    assert!(reached.is_some(), "{field} is {last} and not {wanted}");
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
        let evicted = info(&mut client, "tier", "tier_evicted_keys") as usize;
        assert_eq!(db_size(&mut client), KEYS - evicted);
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
            let evicted = info(&mut client, "tier", "tier_evicted_keys") as usize;
            assert_eq!(db_size(&mut client), KEYS - evicted);
        }
        stop(server);
    }
}
