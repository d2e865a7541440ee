//! Who sends what, and when it was sent and acknowledged.
//!
//! Writers hold the gate for reading while a batch is under way. A command that concerns all of them, an **event**,
//! is sent by the conductor with the gate held for writing: so each batch lies between two events, and how many
//! events came before a command is known.

use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, RwLock};
use std::thread;

use super::commands::{Chooser, Command, MARKS, SHARED};
use super::state::Name;
use super::*;

/// A command that was sent, in the order of its connection.
pub(super) struct Sent {
    pub(super) command: Command,
    /// The events before it.
    pub(super) epoch: usize,
    pub(super) at: Instant,
    pub(super) acknowledged: Option<Instant>,
    /// It was answered with an error that says that nothing was done.
    pub(super) refused: bool,
}

impl Sent {
    /// How far it says that its writer has come, if this is what it does.
    pub(super) fn marks(&self, mark: &Name) -> Option<&[u8]> {
        let is_it = !self.refused && self.command.db == mark.0 && self.command.args[1] == mark.1;
        is_it.then(|| self.command.args[2].as_slice())
    }
}

pub(super) struct Writer {
    pub(super) chooser: Chooser,
    pub(super) log: Vec<Sent>,
    /// The commands chosen since the test began.
    chosen: u64,
    pub(super) pause: Duration,
}

/// All that was done to a server between its start and its end.
pub(super) struct History {
    pub(super) writers: Vec<Writer>,
    /// Each is followed by a mark that says its number, counted since the test began.
    pub(super) events: Vec<Sent>,
    pub(super) events_before: usize,
    random: Random,
    pub(super) events_every: Duration,
}

/// The key that says how far a writer has come.
pub(super) fn mark(writer: u8) -> String {
    format!("w{writer}:at")
}

impl History {
    pub(super) fn new(random: &mut Random, writers: u8, mix: commands::Mix) -> Self {
        let writer = |writer| Writer {
            chooser: Chooser {
                writer,
                random: random.split(),
                mix,
            },
            log: Vec::new(),
            chosen: 0,
            pause: Duration::from_millis(2),
        };
        Self {
            writers: (0..writers).map(writer).collect(),
            events: Vec::new(),
            events_before: 0,
            random: random.split(),
            events_every: Duration::from_millis(400),
        }
    }

    /// What comes is done to another server.
    pub(super) fn begin(&mut self) {
        self.events_before += self.events.len();
        self.events.clear();
        self.writers
            .iter_mut()
            .for_each(|writer| writer.log.clear());
    }

    /// What the mark says after so many events.
    pub(super) fn number(&self, events: usize) -> usize {
        self.events_before + events
    }

    /// Everything is removed, by an event of its own. Then `look` looks, before there is a mark.
    pub(super) fn flush_all(&mut self, client: &mut Client, look: impl FnOnce(&mut Client)) {
        let at = Instant::now();
        let reply = client.run(&["FLUSHALL"]);
        assert!(reply.is_simple("OK"), "FLUSHALL: {reply}");
        self.events.push(Sent {
            command: Command::wide(0, &["FLUSHALL"]),
            epoch: 0,
            at,
            acknowledged: Some(Instant::now()),
            refused: false,
        });
        look(client);
        let number = self.number(1).to_string();
        client.run(&["SELECT", &MARKS.to_string()]);
        client.run(&["SET", "epoch", &number]);
    }

    /// Has all work until the server is gone, or `time` is over and `end` has said how.
    pub(super) fn work<T>(&mut self, port: u16, time: Duration, end: impl FnOnce() -> T) -> T {
        let stop = AtomicBool::new(false);
        let gate = RwLock::new(self.events.len());
        let writers = std::mem::take(&mut self.writers);
        let writers: Vec<_> = writers.into_iter().map(Mutex::new).collect();
        let ended = thread::scope(|scope| {
            for writer in &writers {
                let (stop, gate) = (&stop, &gate);
                scope.spawn(move || {
                    let mut writer = writer.lock().expect("nobody panicked");
                    writer.work(port, stop, gate);
                });
            }
            let (stop, gate) = (&stop, &gate);
            let conductor = &mut *self;
            scope.spawn(move || conductor.conduct(port, stop, gate));
            thread::sleep(time);
            let ended = end();
            stop.store(true, Ordering::Relaxed);
            ended
        });
        let writers = writers.into_iter();
        self.writers = writers
            .map(|writer| writer.into_inner().expect("nobody panicked"))
            .collect();
        ended
    }

    fn conduct(&mut self, port: u16, stop: &AtomicBool, gate: &RwLock<usize>) {
        let Ok(mut client) = Client::try_connect(port) else {
            return;
        };
        let mut next = Instant::now() + self.wait();
        while !stop.load(Ordering::Relaxed) {
            if Instant::now() < next {
                thread::sleep(Duration::from_millis(1));
                continue;
            }
            let [one, other] = SHARED.map(|db| db.to_string());
            let command = match self.random.below(8) {
                0 => Command::wide(0, &["FLUSHALL"]),
                1..=2 => Command::wide(SHARED[self.random.index(2)], &["FLUSHDB"]),
                _ => Command::wide(0, &["SWAPDB", &one, &other]),
            };
            let mut epoch = gate.write().expect("nobody panicked");
            let goes_on = self.event(&mut client, command);
            *epoch = self.events.len();
            drop(epoch);
            if !goes_on {
                return;
            }
            next = Instant::now() + self.wait();
        }
    }

    fn wait(&mut self) -> Duration {
        let ms = self.events_every.as_millis() as u64;
        Duration::from_millis(ms / 2 + self.random.below(ms + 1))
    }

    /// Sends an event and its mark. False if the server is gone.
    fn event(&mut self, client: &mut Client, command: Command) -> bool {
        let epoch = self.events.len();
        let number = self.number(epoch + 1).to_string();
        let mark = Command::new(MARKS, &["SET", "epoch", &number], &[]);
        let mut requests = Vec::new();
        encode_into(&mut requests, &["SELECT", &command.db.to_string()]);
        encode_into(&mut requests, &command.args);
        encode_into(&mut requests, &["SELECT", &MARKS.to_string()]);
        encode_into(&mut requests, &mark.args);
        let at = Instant::now();
        let (replies, end) = client.pipeline(&requests, 4);
        let acknowledged = replies.len() >= 2;
        let refused = replies.get(1).is_some_and(is_refused);
        assert!(
            !replies.get(3).is_some_and(is_refused),
            "no memory for a mark"
        );
        self.events.push(Sent {
            command,
            epoch,
            at,
            acknowledged: acknowledged.then(Instant::now),
            refused,
        });
        end.is_ok()
    }
}

/// Whether a reply says that the command was not done, though it could be.
fn is_refused(reply: &Reply) -> bool {
    let Reply::Error(error) = reply else {
        return false;
    };
    assert!(!error.starts_with(b"IOERR"), "{reply}");
    error.starts_with(b"OOM")
}

impl Writer {
    fn work(&mut self, port: u16, stop: &AtomicBool, gate: &RwLock<usize>) {
        let Ok(mut client) = Client::try_connect(port) else {
            return;
        };
        let mut db = 0;
        while !stop.load(Ordering::Relaxed) {
            let epoch = gate.read().expect("nobody panicked");
            let goes_on = self.batch(&mut client, &mut db, *epoch);
            drop(epoch);
            if !goes_on {
                return;
            }
            // A writer that waits for the gate must not be starved by those that read.
            thread::sleep(self.pause);
        }
    }

    /// Sends some commands and the mark behind them. False if the server is gone.
    fn batch(&mut self, client: &mut Client, db: &mut u8, epoch: usize) -> bool {
        let mut commands = Vec::new();
        for _ in 0..1 + self.chooser.random.below(8) {
            self.chosen += 1;
            commands.extend(self.chooser.choose(self.chosen));
        }
        let (mark, number) = (mark(self.chooser.writer), self.chosen.to_string());
        let words = ["SET", &mark, &number];
        commands.push(Command::new(MARKS, &words, &[(MARKS, &mark)]));
        let (mut requests, mut is_select) = (Vec::new(), Vec::new());
        for command in &commands {
            if command.db != *db {
                *db = command.db;
                encode_into(&mut requests, &["SELECT", &db.to_string()]);
                is_select.push(true);
            }
            encode_into(&mut requests, &command.args);
            is_select.push(false);
        }
        let at = Instant::now();
        let (replies, end) = client.pipeline(&requests, is_select.len());
        // Some of a batch may be commands that change nothing, which need not have waited for the disk.
        let acknowledged = end.is_ok().then(Instant::now);
        let mut replies = replies
            .iter()
            .zip(is_select)
            .filter_map(|(reply, is_select)| (!is_select).then_some(reply));
        for command in commands {
            let reply = replies.next();
            let sent = Sent {
                command,
                epoch,
                at,
                acknowledged,
                refused: reply.is_some_and(is_refused),
            };
            self.log.push(sent);
        }
        end.is_ok()
    }
}
