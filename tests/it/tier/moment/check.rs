//! Whether what a server holds is the state of one moment.
//!
//! The commands are run again on a server in memory, which never ends: all before the last event that the found state
//! has, then of each writer as many as its mark says, then one by one those behind the mark, until this writer's keys
//! are as they were found. So for each writer it is known which of its commands were the last, and between the
//! sending of that and the acknowledgement of the next the moment must lie: in the same place for all.

use super::commands::{Command, MARKS};
use super::history::{History, Sent, mark};
use super::state::{Name, State, States, names, read, same};
use super::*;

/// Where the commands are run again.
pub(super) struct Replay {
    server: Server,
    client: Client,
    db: u8,
    /// All keys as they were at the moment that was found last.
    base: Vec<(Name, Vec<u8>, String)>,
}

/// What must hold of the moment.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    /// Nothing that was acknowledged before may be missing.
    pub(super) not_before: Instant,
    /// Keys may be missing, as they are when generations go.
    pub(super) keys_may_go: bool,
}

/// The moment: all that it has was sent at `from`, all that it has not was acknowledged after `until`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    from: Option<Instant>,
    pub(super) until: Option<Instant>,
}

impl Moment {
    fn meet(&mut self, last: Option<&Sent>, next: Option<&Sent>) {
        self.from = self.from.max(last.map(|sent| sent.at));
        let next = next.and_then(|sent| sent.acknowledged);
        self.until = match (self.until, next) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }

    fn check(&self, wanted: &Wanted, who: &str) -> Result<(), String> {
        let Some(until) = self.until else {
            return Ok(());
        };
        if let Some(late) = self
            .from
            .and_then(|from| from.checked_duration_since(until))
            && late > Duration::ZERO
        {
            return Err(format!(
                "{who}: not one moment: has what was sent {late:?} after the reply to what it has not"
            ));
        }
        let early = wanted.not_before.saturating_duration_since(until);
        if early > Duration::ZERO {
            return Err(format!("{who}: what is missing is {early:?} too old"));
        }
        Ok(())
    }
}

impl Replay {
    pub(super) fn new() -> Self {
        let server = Strata::start(&["--tier-max-bytes", "0"]);
        let client = server.connect();
        Self {
            server,
            client,
            db: 0,
            base: Vec::new(),
        }
    }

    /// Finds the moment at which the server had this state, and is in that state afterwards.
    pub(super) fn find(
        &mut self,
        found: &States,
        history: &History,
        wanted: &Wanted,
    ) -> Result<Moment, String> {
        let mut errors = String::new();
        let base = self.string(&epoch_mark());
        let possible = possible_events(base, found, history, wanted);
        for (attempt, events) in possible.into_iter().enumerate() {
            if attempt > 0 {
                self.reset();
            }
            match self.try_events(found, history, wanted, events) {
                Ok(moment) => {
                    self.keep(found, wanted);
                    return Ok(moment);
                }
                Err(error) => errors += &format!("\nWith {events} events: {error}"),
            }
        }
        if errors.is_empty() {
            let mark = string_at(found, &epoch_mark()).map(String::from_utf8_lossy);
            errors = format!("the mark of events {mark:?} is none of them");
        }
        Err(errors)
    }

    fn try_events(
        &mut self,
        found: &States,
        history: &History,
        wanted: &Wanted,
        events: usize,
    ) -> Result<Moment, String> {
        let before = |sent: &&Sent| sent.epoch < events;
        for epoch in 0..events {
            for writer in &history.writers {
                let of_it = writer.log.iter().filter(|sent| sent.epoch == epoch);
                self.run(of_it);
            }
            self.run([&history.events[epoch]]);
            let number = history.number(epoch + 1).to_string();
            self.run_now(&Command::new(MARKS, &["SET", "epoch", &number], &[]));
        }
        let mut moment = Moment {
            from: None,
            until: None,
        };
        let last = events.checked_sub(1).map(|last| &history.events[last]);
        moment.meet(last, history.events.get(events));
        for writer in &history.writers {
            let name = writer.chooser.writer;
            let done = writer.log.iter().filter(before).count();
            let here = writer.log[done..]
                .iter()
                .filter(|sent| sent.epoch == events)
                .count();
            let log = &writer.log[done..done + here];
            let taken = self.find_writer(found, name, log, wanted)?;
            let end = done + taken;
            let last = end.checked_sub(1).map(|last| &writer.log[last]);
            let unseen = unseen(found, &log[taken..], &mark(name), wanted);
            moment.meet(last, writer.log.get(end + unseen));
            let about = format!(
                "writer {name} at {end} of {}, with {events} of {} events",
                writer.log.len(),
                history.events.len()
            );
            moment.check(wanted, &about)?;
        }
        Ok(moment)
    }

    /// Runs as many of these commands as the found state has of them.
    fn find_writer(
        &mut self,
        found: &States,
        writer: u8,
        log: &[Sent],
        wanted: &Wanted,
    ) -> Result<usize, String> {
        let mark = (MARKS, mark(writer).into_bytes());
        let wanted_mark = string_at(found, &mark);
        let own = format!("w{writer}:");
        let mut now = self.string(&mark);
        let mut taken = 0;
        while now.as_deref() != wanted_mark {
            let Some(next) = log.get(taken) else {
                let wanted = wanted_mark.map(String::from_utf8_lossy);
                return Err(format!(
                    "writer {writer}: the mark {wanted:?} is in no place since the last event"
                ));
            };
            if let Some(at) = next.marks(&mark) {
                now = Some(at.to_vec());
            }
            taken += 1;
        }
        self.run(&log[..taken]);
        let mut wrong = self.wrong(found, None, own.as_bytes(), wanted);
        let first = (taken, wrong.clone());
        while !wrong.is_empty() {
            let Some(next) = log.get(taken) else { break };
            if next.marks(&mark).is_some() {
                break;
            }
            self.run([next]);
            taken += 1;
            match &next.command.touched {
                None => wrong = self.wrong(found, None, own.as_bytes(), wanted),
                Some(touched) => {
                    wrong.retain(|name| !touched.contains(name));
                    wrong.extend(self.wrong(found, Some(touched), own.as_bytes(), wanted));
                }
            }
        }
        if wrong.is_empty() {
            return Ok(taken);
        }
        Err(self.explain(found, writer, log, first.0, &first.1))
    }

    fn string(&mut self, name: &Name) -> Option<Vec<u8>> {
        let states = read(&mut self.client, vec![name.clone()]);
        self.db = name.0;
        string_at(&states, name).map(<[u8]>::to_vec)
    }

    /// Which of these keys, or of all of a writer, are not as they were found.
    fn wrong(
        &mut self,
        found: &States,
        only: Option<&[Name]>,
        prefix: &[u8],
        wanted: &Wanted,
    ) -> Vec<Name> {
        let is_its = |name: &Name| name.1.starts_with(prefix);
        let mut all = match only {
            Some(only) => only.to_vec(),
            None => {
                let mut all = names(&mut self.client);
                all.extend(found.keys().cloned());
                all
            }
        };
        all.retain(is_its);
        all.sort();
        all.dedup();
        let states = read(&mut self.client, all.clone());
        self.db = u8::MAX;
        let now = now_ms();
        all.retain(|name| {
            let here = found.get(name);
            let may_be_missing = wanted.keys_may_go && here.is_none();
            !may_be_missing && !same(here, states.get(name), now)
        });
        all
    }

    fn run<'a>(&mut self, sent: impl IntoIterator<Item = &'a Sent>) {
        let (mut requests, mut count) = (Vec::new(), 0);
        for sent in sent.into_iter().filter(|sent| !sent.refused) {
            self.encode(&sent.command, &mut requests, &mut count);
        }
        self.send(&requests, count);
    }

    fn run_now(&mut self, command: &Command) {
        let (mut requests, mut count) = (Vec::new(), 0);
        self.encode(command, &mut requests, &mut count);
        self.send(&requests, count);
    }

    fn encode(&mut self, command: &Command, requests: &mut Vec<u8>, count: &mut usize) {
        if command.db != self.db {
            self.db = command.db;
            encode_into(requests, &["SELECT", &self.db.to_string()]);
            *count += 1;
        }
        encode_into(requests, &command.args);
        *count += 1;
    }

    fn send(&mut self, requests: &[u8], count: usize) {
        let (_, end) = self.client.pipeline(requests, count);
        end.unwrap_or_else(|error| panic!("run again: {error}\n{}", self.server.stdout()));
    }

    /// Remembers this state, as what comes begins with it.
    fn keep(&mut self, found: &States, wanted: &Wanted) {
        self.base.clear();
        let epoch = string_at(found, &epoch_mark());
        let epoch = epoch.map(String::from_utf8_lossy);
        self.run_now(&match epoch {
            Some(epoch) => Command::new(MARKS, &["SET", "epoch", &epoch], &[]),
            None => Command::new(MARKS, &["DEL", "epoch"], &[]),
        });
        for name in names(&mut self.client) {
            self.select(name.0);
            // What went for space must not come back.
            if wanted.keys_may_go && !found.contains_key(&name) {
                self.client.run(&[b"DEL".as_slice(), &name.1]);
                continue;
            }
            let dump = self.client.run(&[b"DUMP".as_slice(), &name.1]);
            let time = self.client.run(&[b"PEXPIRETIME".as_slice(), &name.1]);
            // Its time may come before the first, and between the two.
            if let (Reply::Bulk(dump), Reply::Int(time @ -1..)) = (dump, time) {
                self.base.push((name, dump, time.max(0).to_string()));
            }
        }
    }

    /// Nothing was there at the moment.
    pub(super) fn clear(&mut self) {
        self.base.clear();
        self.reset();
    }

    fn reset(&mut self) {
        assert!(self.client.run(&["FLUSHALL"]).is_simple("OK"));
        for (name, dump, time) in std::mem::take(&mut self.base) {
            self.select(name.0);
            let time_bytes = time.as_bytes();
            let words = [b"RESTORE", name.1.as_slice(), time_bytes, &dump, b"ABSTTL"];
            let reply = self.client.run(&words);
            assert!(reply.is_simple("OK"), "RESTORE: {reply}");
            self.base.push((name, dump, time));
        }
    }

    fn select(&mut self, db: u8) {
        if db != self.db {
            self.db = db;
            self.client.run(&["SELECT", &db.to_string()]);
        }
    }

    /// Tells of some keys as which command of their writer has left them.
    fn explain(
        &mut self,
        found: &States,
        writer: u8,
        log: &[Sent],
        taken: usize,
        wrong: &[Name],
    ) -> String {
        let now = Instant::now();
        let mut text = format!(
            "writer {writer}: {} keys are not as after {taken} of its {} commands since the last event",
            wrong.len(),
            log.len()
        );
        let states = read(&mut self.client, wrong.to_vec());
        for name in wrong.iter().take(6) {
            let show = |state: Option<&State>| state.map_or("nothing".to_owned(), State::to_string);
            text += &format!(
                "\n  database {} {}: found {}\n    and not, after {taken} or more, {}",
                name.0,
                Shown(&name.1),
                show(found.get(name)),
                show(states.get(name))
            );
            let touching = log.iter().enumerate().rev().filter(|(_, sent)| {
                let touched = sent.command.touched.as_ref();
                touched.is_none_or(|touched| touched.contains(name))
            });
            for (at, sent) in touching.take(5) {
                let acknowledged = sent.acknowledged.map(|at| now.duration_since(at));
                text += &format!(
                    "\n    command {at}, acknowledged {acknowledged:?} ago: {}",
                    sent.command
                );
            }
        }
        text
    }
}

/// How many of these commands the found state may have or not: where keys go, those of which all keys are gone.
fn unseen(found: &States, log: &[Sent], mark: &str, wanted: &Wanted) -> usize {
    let mark = (MARKS, mark.as_bytes().to_vec());
    let is_unseen = |sent: &&Sent| {
        let touched = sent.command.touched.as_deref().unwrap_or_default();
        let is_gone = |name: &Name| !found.contains_key(name);
        sent.marks(&mark).is_none() && !touched.is_empty() && touched.iter().all(is_gone)
    };
    match wanted.keys_may_go {
        true => log.iter().take_while(is_unseen).count(),
        false => 0,
    }
}

fn epoch_mark() -> Name {
    (MARKS, b"epoch".to_vec())
}

fn string_at<'a>(states: &'a States, name: &Name) -> Option<&'a [u8]> {
    states.get(name).and_then(State::string)
}

/// How many events the found state may have, the most first. The mark says it, but an event may be there without its
/// mark; and after a flush of all nothing says which one it was.
fn possible_events(
    base: Option<Vec<u8>>,
    found: &States,
    history: &History,
    wanted: &Wanted,
) -> Vec<usize> {
    let marked = string_at(found, &epoch_mark()).map(<[u8]>::to_vec);
    let mark_after = |events: usize| match events {
        0 => base.clone(),
        _ => Some(history.number(events).to_string().into_bytes()),
    };
    let flushes = |events: usize| history.events[events - 1].command.args[0] == b"FLUSHALL";
    let fits = |&events: &usize| {
        let without_its_own = match events {
            0 => None,
            _ if flushes(events) => Some(None),
            _ => Some(mark_after(events - 1)),
        };
        // Where there are no events for long the mark goes with the generation that has it.
        let went = wanted.keys_may_go && marked.is_none();
        went || mark_after(events) == marked || without_its_own == Some(marked.clone())
    };
    let mut possible: Vec<_> = (0..=history.events.len()).filter(fits).collect();
    possible.reverse();
    possible
}
