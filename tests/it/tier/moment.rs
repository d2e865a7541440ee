//! kill -9, and what a new start holds: the state of one moment.
//!
//! Several writers change keys of all types in several databases, and swap and flush these. After a kill, often after
//! a second one while the server starts, all keys of all databases must be as they were at one moment: under
//! `everysec` at most a second before the kill, under `always` after everything that was acknowledged, after a stop
//! in order the end. Under `none` a kill leaves nothing. `moment/check.rs` says how that is found out.
//!
//! `STRATA_TIER_LOSS_MS` is another loss than a second, for machines that are busy.

use std::fmt;
use std::thread;

use super::*;

mod check;
mod commands;
mod history;
mod state;

use check::{Moment, Replay, Wanted};
use commands::Mix;
use history::History;
use state::{Name, assert_counts_agree, assert_empty, names, read};

/// Where nobody says otherwise no test asserts on speed.
const LOSS_IN_PASSING: Duration = Duration::from_secs(20);
const SECOND: Duration = Duration::from_secs(1);

const MIXED: Mix = Mix {
    blind: false,
    wide_per_mille: 6,
    cold: 150,
    value_bytes_max: 1_200,
};
/// More than the tier takes.
const MUCH: Mix = Mix {
    blind: true,
    wide_per_mille: 1,
    cold: 1_500,
    value_bytes_max: 3_000,
};

/// One run of kills over one directory.
struct Harness {
    name: &'static str,
    durability: &'static str,
    disk: Disk,
    random: Random,
    history: History,
    replay: Replay,
    known: Vec<Name>,
    loss: Duration,
    keys_may_go: bool,
    args: &'static [&'static [&'static str]],
    worst: Duration,
}

const USUAL: &[&[&str]] = &[
    &[],
    &["--tier-max-bytes", "512mb", "--maxmemory", "3mb"],
    &["--tier-compression", "none", "--worker-threads", "1"],
    &["--maxmemory", "64mb", "--worker-threads", "4"],
];
const TINY: &[&[&str]] = &[
    &["--tier-max-bytes", "4mb", "--maxmemory", "2mb"],
    &[
        "--tier-max-bytes",
        "6mb",
        "--maxmemory",
        "3mb",
        "--worker-threads",
        "1",
    ],
];

impl Harness {
    fn new(name: &'static str, durability: &'static str, mix: Mix) -> Self {
        let mut random = Random::new(name);
        let history = History::new(&mut random, 4, mix);
        Self {
            name,
            durability,
            disk: Disk::new(),
            random,
            history,
            replay: Replay::new(),
            known: Vec::new(),
            loss: loss().unwrap_or(LOSS_IN_PASSING),
            keys_may_go: mix.blind,
            args: if mix.blind { TINY } else { USUAL },
            worst: Duration::ZERO,
        }
    }

    fn run(&mut self, rounds: u32) {
        for round in 0..rounds {
            self.round(round);
        }
        eprintln!(
            "{}: {rounds} ends, at most the last {:?} were lost",
            self.name, self.worst
        );
    }

    fn round(&mut self, round: u32) {
        let mut args = vec!["--tier-durability", self.durability, "--loglevel", "debug"];
        args.extend(self.args[round as usize % self.args.len()]);
        self.history.begin();
        let pause = [0, 1, 3, 10][self.random.index(4)];
        for writer in &mut self.history.writers {
            writer.pause = Duration::from_millis(pause);
        }
        self.history.events_every = Duration::from_millis([60, 400, 1_500][self.random.index(3)]);
        let mut server = self.disk.start(&args);
        let flushed = self.random.below(4) == 0;
        if flushed {
            let mut client = server.connect();
            self.history
                .flush_all(&mut client, |client| assert_empty(client, &self.known));
        }
        let time = match self.random.below(4) {
            0 => Duration::from_millis(self.random.below(100)),
            _ => Duration::from_millis(100 + self.random.below(2_400)),
        };
        let kill = self.random.below(8) > 0;
        let ended = self.end(&mut server, time, kill);
        let log = server.stdout();
        drop(server);
        let mut again = Vec::new();
        while self.random.below(2) == 0 && again.len() < 3 {
            again.push(self.kill_a_start(&args));
        }
        let sent: usize = self.history.writers.iter().map(|w| w.log.len()).sum();
        let about = format!(
            "{} round {round}: {} after {time:?}{}, {sent} commands and {} events, killed again after {again:?}",
            self.name,
            if kill { "killed" } else { "stopped" },
            if flushed { " with a flush" } else { "" },
            self.history.events.len(),
        );
        let mut server = self.disk.start(&args);
        self.look(&mut server, ended, kill, !again.is_empty(), &about, &log);
        if self.random.below(2) == 0 {
            stop(server);
        } else {
            server.signal("KILL");
        }
    }

    /// Work, and its end. Gives when it was: of a kill, that before it.
    fn end(&mut self, server: &mut Server, time: Duration, kill: bool) -> Instant {
        let port = server.port();
        if kill {
            return self.history.work(port, time, || {
                let killed = Instant::now();
                server.signal("KILL");
                assert!(server.wait(Duration::from_secs(5)).is_some());
                assert_calm(server);
                killed
            });
        }
        // The stop comes behind the last reply.
        self.history.work(port, time, || ());
        let status = server.terminate();
        assert_eq!(status.code(), Some(0), "{status}\n{}", server.stderr());
        assert_calm(server);
        Instant::now()
    }

    fn kill_a_start(&mut self, args: &[&str]) -> Duration {
        let time = Duration::from_millis(self.random.below(100));
        let server = self.disk.with_args(args, |args| Strata::spawn(&[], args));
        thread::sleep(time);
        server.signal("KILL");
        time
    }

    /// Looks at all that is there after an end, and perhaps after the kill of a start. `log` is that of the ended server.
    fn look(
        &mut self,
        server: &mut Server,
        ended: Instant,
        killed: bool,
        again: bool,
        about: &str,
        log: &str,
    ) {
        let mut client = server.connect();
        // What a stop left is taken for lost if the next start was killed when it had opened it.
        let is_lost = |client: &mut Client| killed || (again && names(client).is_empty());
        if self.durability == "none" && is_lost(&mut client) {
            assert_empty(&mut client, &self.known);
            self.replay.clear();
            self.known.clear();
            eprintln!("{about}: nothing is left");
            return;
        }
        let there = names(&mut client);
        let found = read(&mut client, there);
        let now = Instant::now();
        let not_before = match self.durability {
            "everysec" if killed => ended.checked_sub(self.loss).expect("a time"),
            _ => now,
        };
        let wanted = Wanted {
            not_before,
            keys_may_go: self.keys_may_go,
        };
        let moment = self.replay.find(&found, &self.history, &wanted);
        let moment = moment.unwrap_or_else(|error| panic!("{about}: {error}\n{log}"));
        let lost = lost(&moment, ended);
        eprintln!("{about}: {} keys, lost the last {lost:?}", found.len());
        self.worst = self.worst.max(lost);
        self.known = found.into_keys().collect();
        assert_counts_agree(&mut client);
    }
}

fn lost(moment: &Moment, ended: Instant) -> Duration {
    let until = moment.until.unwrap_or(ended);
    ended.saturating_duration_since(until)
}

pub(super) fn loss() -> Option<Duration> {
    let text = env::var("STRATA_TIER_LOSS_MS").ok()?;
    Some(Duration::from_millis(text.parse().expect("a number")))
}

/// Kills enough to see that all is well with the tests, and most faults of the kinds that they are for.
const FEW: u32 = 4;

#[test]
fn a_few_kills_leave_the_state_of_one_moment() {
    if Strata::is_oracle() {
        return;
    }
    let name = "a_few_kills_leave_the_state_of_one_moment";
    Harness::new(name, "everysec", MIXED).run(FEW);
}

#[test]
fn a_few_kills_under_always_leave_all_that_was_acknowledged() {
    if Strata::is_oracle() {
        return;
    }
    let name = "a_few_kills_under_always_leave_all_that_was_acknowledged";
    Harness::new(name, "always", MIXED).run(FEW);
}

#[test]
#[ignore = "takes long and is random: run by hand, see docs/testing.md"]
fn a_kill_leaves_the_state_of_one_moment() {
    if Strata::is_oracle() {
        return;
    }
    let mut harness = Harness::new("a_kill_leaves_the_state_of_one_moment", "everysec", MIXED);
    harness.loss = loss().unwrap_or(SECOND);
    harness.run(count(20));
}

#[test]
#[ignore = "takes long and is random: run by hand, see docs/testing.md"]
fn a_kill_under_always_leaves_all_that_was_acknowledged() {
    if Strata::is_oracle() {
        return;
    }
    let name = "a_kill_under_always_leaves_all_that_was_acknowledged";
    Harness::new(name, "always", MIXED).run(count(20));
}

#[test]
#[ignore = "takes long and is random: run by hand, see docs/testing.md"]
fn a_kill_under_none_leaves_nothing() {
    if Strata::is_oracle() {
        return;
    }
    Harness::new("a_kill_under_none_leaves_nothing", "none", MIXED).run(count(10));
}

#[test]
#[ignore = "takes long and is random: run by hand, see docs/testing.md"]
fn a_kill_while_generations_go_leaves_one_moment() {
    if Strata::is_oracle() {
        return;
    }
    let name = "a_kill_while_generations_go_leaves_one_moment";
    let mut harness = Harness::new(name, "everysec", MUCH);
    harness.loss = loss().unwrap_or(SECOND);
    harness.run(count(10));
}
