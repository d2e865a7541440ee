//! Disks that are full, fail, vanish, and come back, in all durabilities, under load.
//!
//! Each writer has keys of its own, so it knows what each may hold: what the last command that was answered with OK has
//! left, or one behind it that was refused. While the disk fails every command must be answered soon, with that, or
//! with IOERR; when it is well again all must work by itself; and after a new start no key has an older value, none that
//! was deleted is back, and an end that says that nothing was lost has lost nothing.

use std::sync::atomic::AtomicBool;
use std::thread;

use super::failing::FailingDisk;
use super::*;

const WRITERS: usize = 3;
const KEYS: usize = 300;
/// Nobody waits longer for an answer while the disk fails.
const ANSWER: Duration = Duration::from_secs(15);
const HEALED: Duration = Duration::from_secs(40);
/// Under `everysec` that much may be lost by a kill, before the disk began to fail; and the machine may be busy.
const LOSS: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Full,
    CannotWrite,
    CannotSync,
    CannotRead,
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    HealedThenStopped,
    StoppedWhileFailing,
    KilledWhileFailing,
}

const FAULTS: [Fault; 5] = [
    Fault::Full,
    Fault::CannotWrite,
    Fault::CannotSync,
    Fault::CannotRead,
    Fault::Gone,
];
const ENDS: [End; 3] = [
    End::HealedThenStopped,
    End::StoppedWhileFailing,
    End::KilledWhileFailing,
];

impl Fault {
    fn begin(self, failing: &FailingDisk) {
        match self {
            Self::Full => failing.fail("full ENOSPC"),
            Self::CannotWrite => failing.fail("write,pwrite,truncate,allocate EIO"),
            Self::CannotSync => failing.fail("fsync,fdatasync EIO"),
            Self::CannotRead => failing.fail("open,read,pread EIO"),
            Self::Gone => {
                let tier = failing.disk.tier();
                fs::rename(&tier, away(&tier)).expect("take the directory away");
            }
        }
    }

    fn end(self, failing: &FailingDisk) {
        if self != Self::Gone {
            return failing.heal();
        }
        let tier = failing.disk.tier();
        assert!(!tier.exists(), "another directory has taken its place");
        fs::rename(away(&tier), &tier).expect("bring the directory back");
    }
}

fn away(tier: &Path) -> PathBuf {
    tier.with_extension("away")
}

/// A state that a key was given: a version, or none.
#[derive(Clone, Debug)]
struct Given {
    version: Option<u64>,
    at: Instant,
    /// It was answered with OK; otherwise it was refused, or not answered.
    is_done: bool,
}

#[derive(Clone)]
struct Key(Vec<Given>);

impl Key {
    /// What it may hold, if nothing that was done by this time is lost.
    fn possible(&self, by: Instant) -> &[Given] {
        let done = |given: &Given| given.is_done && given.at <= by;
        let first = self.0.iter().rposition(done).unwrap_or(0);
        &self.0[first..]
    }

    fn may_hold(&self, version: Option<u64>, by: Instant) -> bool {
        self.possible(by)
            .iter()
            .any(|given| given.version == version)
    }
}

struct Writer {
    number: usize,
    random: Random,
    version: u64,
    keys: Vec<Key>,
    /// Which key a version was made for: it may have been renamed since.
    made_for: HashMap<u64, usize>,
    refused: u64,
    unreadable: u64,
    last_refusal: String,
}

impl Writer {
    fn new(number: usize, random: Random) -> Self {
        let none = Given {
            version: None,
            at: Instant::now(),
            is_done: true,
        };
        Self {
            number,
            random,
            version: 0,
            keys: vec![Key(vec![none]); KEYS],
            made_for: HashMap::new(),
            refused: 0,
            unreadable: 0,
            last_refusal: String::new(),
        }
    }

    fn name(&self, index: usize) -> String {
        format!("w{}:{index}", self.number)
    }

    fn value(&self, index: usize, version: u64) -> Vec<u8> {
        let name = format!("{version}:{}", self.name(index));
        value(&name, version, 200 + (version % 3_000) as usize)
    }

    fn version_of(&self, index: usize, reply: &Reply) -> Option<u64> {
        let bytes = reply.bytes()?;
        let text = String::from_utf8_lossy(bytes).into_owned();
        let version = text
            .strip_prefix("{\"key\":\"")
            .and_then(|rest| rest.split(':').next()?.parse().ok());
        let version = version.unwrap_or_else(|| panic!("{}: {reply}", self.name(index)));
        let made_for = self.made_for.get(&version).copied().unwrap_or(index);
        assert!(
            bytes == self.value(made_for, version),
            "{}: {reply} is no value of this key",
            self.name(index)
        );
        Some(version)
    }

    fn work(&mut self, port: u16, stop: &AtomicBool) {
        let Ok(mut client) = Client::try_connect(port) else {
            return;
        };
        while !stop.load(Ordering::Relaxed) {
            if !self.step(&mut client) {
                return;
            }
        }
    }

    /// One command. False if the server is gone.
    fn step(&mut self, client: &mut Client) -> bool {
        let index = self.random.index(KEYS);
        let name = self.name(index);
        match self.random.below(8) {
            0 | 1 => return self.look(client, index),
            2 => return self.rename(client, index),
            _ => {}
        }
        self.version += 1;
        self.made_for.insert(self.version, index);
        let deletes = self.random.below(6) == 0;
        let version = (!deletes).then_some(self.version);
        let value = self.value(index, self.version);
        let words: Vec<&[u8]> = match version {
            None => vec![b"DEL", name.as_bytes()],
            Some(_) => vec![b"SET", name.as_bytes(), &value],
        };
        let done = self.try_change(client, &words);
        self.give(index, version, done == Some(true));
        done.is_some()
    }

    /// Gives a key, if it is certain what is there, another name.
    fn rename(&mut self, client: &mut Client, from: usize) -> bool {
        let to = self.random.index(KEYS);
        let last = self.keys[from].0.last().cloned();
        let Some(Given {
            version: Some(version),
            is_done: true,
            ..
        }) = last.filter(|_| from != to)
        else {
            return true;
        };
        let [old, new] = [from, to].map(|index| self.name(index));
        let done = self.try_change(client, &[b"RENAME", old.as_bytes(), new.as_bytes()]);
        self.give(from, None, done == Some(true));
        self.give(to, Some(version), done == Some(true));
        done.is_some()
    }

    /// Runs a command that changes something. Whether it was done; None if the server is gone.
    fn try_change(&mut self, client: &mut Client, words: &[&[u8]]) -> Option<bool> {
        let name = Shown(words[1]).to_string();
        let sent = Instant::now();
        let reply = client.try_run(words);
        assert!(
            sent.elapsed() < ANSWER,
            "{name}: after {:?}",
            sent.elapsed()
        );
        let reply = reply.ok()?;
        let refused = reply.is_error();
        assert!(!refused || is_refusal(&reply), "{name}: {reply}");
        if refused {
            self.refused += 1;
            self.last_refusal = reply.to_string();
        }
        Some(!refused)
    }

    fn give(&mut self, index: usize, version: Option<u64>, is_done: bool) {
        let key = &mut self.keys[index].0;
        key.push(Given {
            version,
            at: Instant::now(),
            is_done,
        });
    }

    fn look(&mut self, client: &mut Client, index: usize) -> bool {
        let name = self.name(index);
        let sent = Instant::now();
        let Ok(reply) = client.try_run(&["GET", &name]) else {
            assert!(sent.elapsed() < ANSWER, "GET {name}: no answer");
            return false;
        };
        assert!(sent.elapsed() < ANSWER, "GET {name}: {:?}", sent.elapsed());
        if reply.is_error() {
            assert!(is_refusal(&reply), "GET {name}: {reply}");
            self.unreadable += 1;
            self.last_refusal = reply.to_string();
            return true;
        }
        let version = self.version_of(index, &reply);
        let key = &self.keys[index];
        assert!(
            key.may_hold(version, sent),
            "GET {name}: version {version:?} and not of {:?}",
            key.possible(sent)
        );
        true
    }

    /// All keys after a new start. Gives how many are missing that should be there.
    fn check(&self, client: &mut Client, by: Instant, may_be_missing: bool, about: &str) -> usize {
        let mut missing = 0;
        for index in 0..KEYS {
            let reply = client.run(&["GET", &self.name(index)]);
            assert!(!reply.is_error(), "{}: {reply}", self.name(index));
            let version = self.version_of(index, &reply);
            let key = &self.keys[index];
            if version.is_none() && may_be_missing && !key.may_hold(None, by) {
                missing += 1;
                continue;
            }
            assert!(
                key.may_hold(version, by),
                "{about}: {} after a new start: version {version:?} and not of {:?}",
                self.name(index),
                key.possible(by)
            );
        }
        missing
    }
}

fn is_refusal(reply: &Reply) -> bool {
    matches!(reply, Reply::Error(text) if text.starts_with(b"IOERR") || text.starts_with(b"OOM"))
}

/// Has all write for some time, with something done in the middle.
fn work(server: &Server, writers: &mut [Writer], time: Duration, middle: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for writer in writers.iter_mut() {
            let (stop, port) = (&stop, server.port());
            scope.spawn(move || writer.work(port, stop));
        }
        thread::sleep(time / 2);
        middle();
        thread::sleep(time / 2);
        stop.store(true, Ordering::Relaxed);
    });
}

/// One disk, one fault, one end, and the new start.
fn run(random: &mut Random, durability: &str, fault: Fault, end: End) {
    let about = format!("{durability}, {fault:?}, {end:?}");
    let failing = FailingDisk::new();
    let args = ["--tier-durability", durability, "--maxmemory", "3mb"];
    let mut server = failing.start(&args);
    let mut writers: Vec<_> = (0..WRITERS)
        .map(|number| Writer::new(number, random.split()))
        .collect();
    let mut failed = Instant::now();
    work(&server, &mut writers, Duration::from_millis(3_000), || {
        failed = Instant::now();
        fault.begin(&failing);
    });
    let refused: u64 = writers.iter().map(|writer| writer.refused).sum();
    let unreadable: u64 = writers.iter().map(|writer| writer.unreadable).sum();
    if end == End::HealedThenStopped {
        fault.end(&failing);
        heals(&server, &mut writers, &about);
        work(&server, &mut writers, Duration::from_millis(1_000), || {});
    }
    let status = if end == End::KilledWhileFailing {
        server.signal("KILL");
        server.wait(Duration::from_secs(5)).expect("it is killed")
    } else {
        server.terminate()
    };
    assert_calm(&server);
    let log = server.stdout();
    drop(server);
    if end != End::HealedThenStopped {
        fault.end(&failing);
    }
    let killed = end == End::KilledWhileFailing;
    assert!(killed || status.code().is_some(), "{about}: {status}");
    assert!(
        end != End::HealedThenStopped || status.success(),
        "{about}: {status}\n{log}"
    );
    let server = failing.start(&args);
    let about = format!("{about}: {status}");
    let mut client = server.connect();
    let said_so = !killed && !status.success();
    // Only a full disk has kept room for marks; on one that takes nothing, what has changed cannot be marked.
    let may_be_old = durability != "always" && (killed || (said_so && fault != Fault::Full));
    let by = if may_be_old {
        failed.checked_sub(LOSS).expect("a time")
    } else {
        Instant::now()
    };
    // Where there is durability a full disk has room for all that changes here.
    let is_kept = fault == Fault::Full && durability != "none";
    let may_be_missing = (said_so && !is_kept) || (killed && durability == "none");
    let missing: usize = writers
        .iter()
        .map(|writer| writer.check(&mut client, by, may_be_missing, &about))
        .sum();
    eprintln!("{about}: {refused} refused, {unreadable} unreadable, {status}, {missing} missing");
    stop(server);
}

/// The server works again by itself.
fn heals(server: &Server, writers: &mut [Writer], about: &str) {
    let mut client = server.connect();
    let healed = poll(HEALED, || {
        let is_well = writers.iter_mut().all(|writer| {
            let before = (writer.refused, writer.unreadable);
            let steps = (0..20).all(|_| writer.step(&mut client));
            steps && before == (writer.refused, writer.unreadable)
        });
        let status = text(&client.run(&["INFO", "tier"]));
        (is_well && status.contains("tier_status:ok")).then_some(())
    });
    assert!(
        healed.is_some(),
        "{about}: not well again: {:?}, {}\n{}",
        writers.iter().map(|w| &w.last_refusal).collect::<Vec<_>>(),
        text(&client.run(&["INFO", "tier"])).replace("\r\n", " "),
        server.stdout()
    );
}

fn run_all_of(name: &str, durability: &str) {
    if Strata::is_oracle() {
        return;
    }
    let mut random = Random::new(name);
    let only = env::var("STRATA_TIER_ONLY").unwrap_or_default();
    for _ in 0..count(1) {
        for fault in FAULTS {
            for end in ENDS {
                if format!("{fault:?} {end:?}").contains(&only) {
                    run(&mut random, durability, fault, end);
                }
            }
        }
    }
}

#[test]
#[ignore = "takes a minute: run by hand, see docs/testing.md"]
fn failing_disks_under_everysec() {
    run_all_of("failing_disks_under_everysec", "everysec");
}

#[test]
#[ignore = "takes a minute: run by hand, see docs/testing.md"]
fn failing_disks_under_always() {
    run_all_of("failing_disks_under_always", "always");
}

#[test]
#[ignore = "takes a minute: run by hand, see docs/testing.md"]
fn failing_disks_under_none() {
    run_all_of("failing_disks_under_none", "none");
}
