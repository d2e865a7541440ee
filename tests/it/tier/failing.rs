//! A disk that fails when a test says so: a preloaded library, `failing_io.c`, in the place of calls of the C library.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::sync::OnceLock;

use super::*;
use crate::server::Env;

/// What fails of one tier's disk, for the servers that are started with it.
pub(super) struct FailingDisk {
    pub(super) disk: Disk,
    switch: PathBuf,
}

impl FailingDisk {
    /// Nothing fails yet.
    pub(super) fn new() -> Self {
        let disk = Disk::new();
        let switch = disk.0.join("failing");
        Self { disk, switch }
    }

    /// A server over this tier. Later arguments win.
    pub(super) fn start(&self, args: &[&str]) -> Server {
        self.disk.with_args(args, |args| {
            self.with_env(|env| Strata::start_in(env, args))
        })
    }

    /// One that need not answer yet, since its disk may fail from the first call on.
    pub(super) fn spawn(&self, args: &[&str]) -> Server {
        self.disk
            .with_args(args, |args| self.with_env(|env| Strata::spawn(env, args)))
    }

    /// From now on these calls fail: `full ENOSPC`, `fsync,fdatasync EIO`, or with the part of a path that they must
    /// hold, `open,pread EIO keyspaces/2`. Without one, all below the tier's directory.
    pub(super) fn fail(&self, rule: &str) {
        // In one step: the server looks at it at any time.
        let whole = self.switch.with_extension("new");
        fs::write(&whole, rule).expect("write the rule");
        fs::rename(&whole, &self.switch).expect("put the rule into place");
    }

    /// The disk is well again, if it was not.
    pub(super) fn heal(&self) {
        match fs::remove_file(&self.switch) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
            _ => {}
        }
    }

    fn with_env<T>(&self, start: impl FnOnce(Env<'_>) -> T) -> T {
        let tier = self.disk.tier();
        start(&[
            ("LD_PRELOAD", library().as_os_str()),
            ("STRATA_FAIL_PATH", tier.as_os_str()),
            ("STRATA_FAIL_SWITCH", self.switch.as_os_str()),
        ])
    }
}

/// Compiles the library once.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/tier/failing_io.c");
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
        // Test processes run side by side.
        let own = dir.join(format!("failing_io-{}.so", std::process::id()));
        let library = dir.join("failing_io.so");
        let status = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([&own, &source])
            .arg("-ldl")
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "cc cannot compile {}",
            source.display()
        );
        fs::rename(&own, &library).expect("put the library into place");
        library
    })
}

/// The tool itself: writes fail while the switch is there, and only then.
#[test]
fn a_failing_disk_fails_and_heals() {
    if Strata::is_oracle() {
        return;
    }
    let failing = FailingDisk::new();
    let server = failing.start(&[]);
    let mut client = server.connect();
    let mut becomes = |status: &str| {
        let field = format!("tier_status:{status}\r");
        let reached = poll(Duration::from_secs(30), || {
            // It is refused once the disk has failed for a while.
            let reply = client.run(&["INCR", "key"]);
            assert!(
                reply.int().is_some() || reply.to_string().contains("IOERR"),
                "{reply}"
            );
            text(&client.run(&["INFO", "tier"]))
                .contains(&field)
                .then_some(())
        });
        assert!(reached.is_some(), "no {field}: {}", server.stdout());
    };
    becomes("ok");
    failing.fail("full ENOSPC");
    becomes("err");
    failing.heal();
    becomes("ok");
    assert!(server.stdout().contains("No space left on device"));
    stop(server);
    let mut server = failing.spawn(&[]);
    assert!(server.answers_ping(), "{}", server.stdout());
    stop(server);
}

/// Every request of a pipeline that fails looks for the keys of all later ones again. The disk is asked once for each, and the log
/// does not tell of each.
#[test]
fn a_disk_that_does_not_read_fills_no_log() {
    const KEYS: usize = 3_000;
    if Strata::is_oracle() {
        return;
    }
    let failing = FailingDisk::new();
    let server = failing.start(&["--maxmemory", "6mb"]);
    let mut client = server.connect();
    let key = |i: usize| format!("key:{i}");
    set_all(
        &mut client,
        (0..KEYS).map(|i| (key(i), value(&key(i), 1, 300))),
    );
    wait_until_written(&mut client);
    for some in (0..KEYS).map(key).collect::<Vec<_>>().chunks(PIPELINE) {
        let demote = std::iter::once("TIER.DEMOTE".to_owned());
        client.run(&demote.chain(some.iter().cloned()).collect::<Vec<_>>());
    }
    let loads = info(&mut client, "tier", "tier_loads");
    failing.fail("open,pread EIO generations");
    let start = Instant::now();
    let gets = (0..KEYS).map(|i| vec!["GET".to_owned(), key(i)]);
    let failed = run_all(&mut client, gets);
    let failed = failed.iter().filter(|reply| reply.is_error()).count();
    // Some blocks are in memory.
    assert!(failed > KEYS / 4, "{failed} of {KEYS} failed");
    let log = server.stdout();
    let lines = log.matches("could not read a key").count();
    let seconds = start.elapsed().as_secs() as usize;
    assert!(
        (1..=seconds + 2).contains(&lines),
        "{lines} lines in {seconds} s"
    );
    let asked = info(&mut client, "tier", "tier_loads") - loads;
    // What takes long is asked for again.
    let most = KEYS * (seconds + 2);
    assert!(
        usize::try_from(asked).is_ok_and(|asked| asked <= most),
        "{asked} loads"
    );
    failing.heal();
    let healed = poll(Duration::from_secs(30), || {
        let gets = (0..KEYS).map(|i| vec!["GET".to_owned(), key(i)]);
        let replies = run_all(&mut client, gets);
        replies
            .iter()
            .all(|reply| reply.bytes().is_some())
            .then_some(())
    });
    assert!(healed.is_some(), "{}", server.stdout());
    stop(server);
}

/// What was acknowledged under `always` is in the log when the disk is full, and the next start finds no room for a run of it.
#[test]
fn a_start_on_a_full_disk_serves_what_is_there() {
    if Strata::is_oracle() {
        return;
    }
    let args = ["--tier-durability", "always"];
    let key = |i: usize| format!("key:{i}");
    let data = |i: usize, version| value(&key(i), version, 100 + i);
    // Until a run fails the log takes what comes; a run that comes too early refuses some of it.
    let filled = (0..20).find_map(|_| {
        let failing = FailingDisk::new();
        let server = failing.start(&args);
        let mut client = server.connect();
        set_all(&mut client, (0..400).map(|i| (key(i), data(i, 1))));
        wait_until_written(&mut client);
        failing.fail("full ENOSPC generations");
        let text = |words: &[&str]| -> Vec<Vec<u8>> {
            words.iter().map(|word| word.as_bytes().to_vec()).collect()
        };
        let sets = (100..200).map(|i| vec![b"SET".to_vec(), key(i).into(), data(i, 2)]);
        let exchange = [text(&["SWAPDB", "0", "1"]), text(&["SELECT", "1"])];
        let deletions = (200..250).map(|i| text(&["DEL", &key(i)]));
        let fields = (0..3_000).flat_map(|i| [format!("field:{i}"), "a value".to_owned()]);
        let hash = text(&["HSET", "hash"]).into_iter();
        let hash = hash.chain(fields.map(String::into_bytes)).collect();
        let all = sets.chain(exchange).chain(deletions).chain([hash]);
        let replies = run_all(&mut client, all);
        server.signal("KILL");
        let is_logged = replies.iter().all(|reply| !reply.is_error());
        is_logged.then_some(failing)
    });
    let failing = filled.expect("20 tries");
    failing.fail("full ENOSPC");

    let right = |client: &mut Client| {
        for i in 0..400 {
            let expected = match i {
                100..200 => Some(data(i, 2)),
                200..250 => None,
                _ => Some(data(i, 1)),
            };
            let found = client.run(&["GET", &key(i)]);
            assert_eq!(found.bytes(), expected.as_deref(), "{}", key(i));
        }
        assert_eq!(int(client, &["HLEN", "hash"]), 3_000);
    };
    for round in 0..2 {
        let mut server = failing.spawn(&args);
        assert!(server.answers_ping(), "{}", server.stdout());
        let mut client = server.connect();
        client.run(&["SELECT", "1"]);
        right(&mut client);
        let refused = client.run(&["SET", &key(0), "newer"]);
        assert!(refused.is_error(), "{refused}");
        let refused = client.run(&["KEYS", "*"]);
        assert!(refused.is_error(), "{refused}");
        if round == 0 {
            server.signal("TERM");
            assert!(server.wait(Duration::from_secs(30)).is_some());
        } else {
            failing.heal();
            let written = poll(Duration::from_secs(30), || {
                client
                    .run(&["SET", "another", "value"])
                    .is_simple("OK")
                    .then_some(())
            });
            assert!(written.is_some(), "{}", server.stdout());
            right(&mut client);
            assert_db_size_becomes(&mut client, 350 + 2);
            assert_eq!(scan(&mut client, 100).len(), 350 + 2);
            stop(server);
        }
    }
    let server = failing.start(&args);
    let mut client = server.connect();
    client.run(&["SELECT", "1"]);
    right(&mut client);
    assert_eq!(db_size(&mut client), 350 + 2);
    stop(server);
}

/// What is waited for under `always` while the disk fails is refused, and not when the disk is back: it stays as it is until all
/// replies are there.
#[test]
fn who_waits_for_a_disk_that_fails_is_answered_while_it_fails() {
    const CLIENTS: usize = 3;
    const KEYS: usize = 50;
    const ANSWER: Duration = Duration::from_secs(60);
    if Strata::is_oracle() {
        return;
    }
    let args = ["--tier-durability", "always"];
    let key = |client: usize, i: usize| format!("key:{client}:{i}");
    let old = |client, i| value(&key(client, i), 1, 300);
    let new = |client, i| value(&key(client, i), 2, 300);
    for rule in [
        "fsync,fdatasync EIO",
        "write,pwrite,truncate,allocate EIO",
        "full ENOSPC",
    ] {
        let failing = FailingDisk::new();
        let server = failing.start(&args);
        let mut client = server.connect();
        let all = (0..CLIENTS).flat_map(|c| (0..KEYS).map(move |i| (c, i)));
        set_all(
            &mut client,
            all.clone().map(|(c, i)| (key(c, i), old(c, i))),
        );
        let mut waiting: Vec<_> = (0..CLIENTS).map(|_| server.connect()).collect();
        failing.fail(rule);
        for (c, client) in waiting.iter_mut().enumerate() {
            client.set_timeout(ANSWER);
            let sets = (0..KEYS).map(|i| vec![b"SET".to_vec(), key(c, i).into(), new(c, i)]);
            let mut requests = Vec::new();
            sets.for_each(|set| encode_into(&mut requests, &set));
            client.send_raw(&requests);
        }
        let mut done = HashSet::new();
        for (c, client) in waiting.iter_mut().enumerate() {
            for i in 0..KEYS {
                let reply = client.try_read();
                let reply = reply.unwrap_or_else(|error| panic!("{rule}: reply {i}: {error}"));
                // What fits into the last block of the log is written on a full disk, too.
                let may_be_done = rule.starts_with("full") && reply.is_simple("OK");
                let is_refused = reply.to_string().contains("IOERR");
                assert!(is_refused || may_be_done, "{rule}: reply {i}: {reply}");
                if may_be_done {
                    done.insert((c, i));
                }
            }
        }
        assert!(done.len() < CLIENTS * KEYS, "{rule}");
        // Nothing is half done.
        let is_whole = |client: &mut Client, when: &str| {
            for (c, i) in all.clone() {
                let found = client.run(&["GET", &key(c, i)]);
                let may_be_old = !done.contains(&(c, i)) && found.is_bulk(&old(c, i));
                let is_one = may_be_old || found.is_bulk(&new(c, i));
                assert!(is_one, "{rule}, {when}: {} is {found}", key(c, i));
            }
        };
        is_whole(&mut client, "while it fails");
        failing.heal();
        let goes_on = poll(ANSWER, || {
            let set = client.run(&["SET", "another", "value"]);
            set.is_simple("OK").then_some(())
        });
        assert!(goes_on.is_some(), "{rule}: {}", server.stdout());
        is_whole(&mut client, "when it is well");
        server.signal("KILL");
        drop(server);
        let server = failing.start(&args);
        let mut client = server.connect();
        is_whole(&mut client, "after a kill");
        assert!(client.run(&["GET", "another"]).is_bulk(b"value"), "{rule}");
        stop(server);
    }
}

/// A client that only ends what it sends waits for its reply. One that is gone, which a reset of its connection tells, does not.
#[test]
fn a_client_that_is_gone_is_noticed_while_it_waits_for_the_disk() {
    if Strata::is_oracle() {
        return;
    }
    let failing = FailingDisk::new();
    let server = failing.start(&[
        "--tier-durability",
        "always",
        "--tier-write-ahead-limit",
        "3600000",
    ]);
    let mut witness = server.connect();
    let mut waits = |words: &[&str], closes: &dyn Fn(&TcpStream)| {
        let mut client = TcpStream::connect(("127.0.0.1", server.port())).expect("it listens");
        client.write_all(b"PING\r\n").expect("it takes that");
        // What is there and was not read makes a reset of the close.
        let pong = client.peek(&mut [0; 7]);
        assert!(pong.is_ok_and(|bytes| bytes > 0));
        failing.fail("fsync,fdatasync EIO");
        client
            .write_all(format!("{}\r\n", words.join(" ")).as_bytes())
            .expect("it takes that");
        let there = |witness: &mut Client| {
            let list = text(&witness.run(&["CLIENT", "LIST"]));
            list.contains(" cmd=set ")
        };
        let waits = poll(Duration::from_secs(30), || {
            there(&mut witness).then_some(())
        });
        assert!(waits.is_some(), "it waits");
        closes(&client);
        let client = Some(client).filter(|_| words.contains(&"stays"));
        let gone = poll(
            Duration::from_secs(if client.is_some() { 1 } else { 60 }),
            || (!there(&mut witness)).then_some(()),
        );
        let is_there = gone.is_none();
        failing.heal();
        let ended = client.map(|mut client| {
            let mut replies = Vec::new();
            client.read_to_end(&mut replies).expect("it is answered");
            replies
        });
        // Until the disk has taken something what comes next is refused at once.
        let goes_on = poll(Duration::from_secs(60), || {
            let set = witness.run(&["SET", "another", "value"]);
            set.is_simple("OK").then_some(())
        });
        assert!(goes_on.is_some(), "{}", server.stdout());
        (is_there, ended)
    };
    assert_eq!(waits(&["SET", "k", "v"], &|_| {}), (false, None));
    let ends = |client: &TcpStream| {
        client.shutdown(Shutdown::Write).expect("it ends");
    };
    let answered = Some(b"+PONG\r\n+OK\r\n".to_vec());
    assert_eq!(waits(&["SET", "stays", "v"], &ends), (true, answered));
    assert!(witness.run(&["GET", "stays"]).is_bulk(b"v"));
}

/// A stop that cannot close the tier keeps what is written, but not without durability: then the next start finds nothing.
#[test]
fn a_stop_that_cannot_close_the_tier_says_what_is_lost() {
    if Strata::is_oracle() {
        return;
    }
    for (durability, status) in [("everysec", 0), ("always", 0), ("none", 1)] {
        let failing = FailingDisk::new();
        let args = ["--tier-durability", durability];
        let server = failing.start(&args);
        let keys: Vec<_> = (0..100)
            .map(|i| (format!("key:{i}"), value("v", i, 300)))
            .collect();
        set_all(&mut server.connect(), keys.clone());
        stop(server);
        // Nothing changes: there is nothing to be written.
        let mut server = failing.start(&args);
        assert_holds(&mut server.connect(), &keys);
        let tier = failing.disk.tier();
        let away = tier.with_extension("away");
        fs::rename(&tier, &away).expect("take the directory away");
        let ended = server.terminate();
        let log = server.stdout() + &server.stderr();
        assert_eq!(ended.code(), Some(status), "{durability}: {log}");
        assert_eq!(
            log.contains("all keys are lost"),
            status == 1,
            "{durability}: {log}"
        );
        assert!(!tier.exists(), "{durability}");
        fs::rename(&away, &tier).expect("bring the directory back");
        let server = failing.start(&args);
        let mut client = server.connect();
        match status {
            0 => assert_holds(&mut client, &keys),
            _ => assert_eq!(db_size(&mut client), 0),
        }
        stop(server);
    }
}
