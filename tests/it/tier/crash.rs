//! kill -9 in the middle of the work, and a new start.
//!
//! Several connections write versioned values, delete and set expiries, each on keys of its own, and remember
//! when every change was sent and acknowledged. After the kill a key must stand as one of its changes has left
//! it, none older than the last that was acknowledged more than [`LOSS`] before the kill.

use std::sync::atomic::AtomicBool;
use std::thread;

use super::*;

const CONNECTIONS: usize = 4;
const KEYS: usize = 1_500;
const BATCH: usize = 16;
/// A run begins 0.6 seconds after the last one began, and takes its time.
const LOSS: Duration = Duration::from_secs(1);
/// Further changes of a key than these are older than any loss.
const HISTORY_MAX: usize = 4_000;

/// How a key stands after a change: its version and its expiry, or nothing.
type State = Option<(u64, Option<i64>)>;

#[derive(Clone)]
struct Change {
    state: State,
    acknowledged: Option<Instant>,
}

/// The changes of one key, oldest first.
#[derive(Clone)]
struct History(Vec<Change>);

impl History {
    fn new(state: State, at: Instant) -> Self {
        Self(vec![Change {
            state,
            acknowledged: Some(at),
        }])
    }

    fn now(&self) -> State {
        self.0.last().expect("never empty").state
    }

    /// The oldest change that may be the last after a kill at this time.
    fn first_possible(&self, killed: Instant, loss: Duration) -> usize {
        let old = |c: &Change| c.acknowledged.is_some_and(|at| at + loss <= killed);
        self.0.iter().rposition(old).unwrap_or(0)
    }
}

struct Worker {
    name: usize,
    random: Random,
    version: u64,
    keys: Vec<History>,
    bytes_max: u64,
}

impl Worker {
    fn key(&self, index: usize) -> String {
        format!("worker:{}:key:{index}", self.name)
    }

    fn value(&self, index: usize, version: u64) -> Vec<u8> {
        let bytes = 60 + (version.wrapping_mul(7_919) % self.bytes_max) as usize;
        value(&self.key(index), version, bytes)
    }

    /// Chooses a change of a key: the command, and how the key stands after it.
    fn choose(&mut self, index: usize, state: State) -> (Vec<Vec<u8>>, State) {
        let key = self.key(index).into_bytes();
        self.version += 1;
        let version = self.version;
        let soon = now_ms() + 200 + self.random.below(4_000).cast_signed();
        let text = |at: i64| at.to_string().into_bytes();
        match (self.random.below(10), state) {
            (0, _) => (vec![b"DEL".to_vec(), key], None),
            (1, Some((version, _))) => (
                vec![b"PEXPIREAT".to_vec(), key, text(soon)],
                Some((version, Some(soon))),
            ),
            (2, Some((version, _))) => {
                let far = 99_999_999_999_000 + version.cast_signed();
                (
                    vec![b"PEXPIREAT".to_vec(), key, text(far)],
                    Some((version, Some(far))),
                )
            }
            (3, _) => (
                vec![
                    b"SET".to_vec(),
                    key,
                    self.value(index, version),
                    b"PXAT".to_vec(),
                    text(soon),
                ],
                Some((version, Some(soon))),
            ),
            _ => (
                vec![b"SET".to_vec(), key, self.value(index, version)],
                Some((version, None)),
            ),
        }
    }

    /// Works until the server is gone. A few hot keys are changed much more often than the rest.
    fn work(&mut self, port: u16, stop: &AtomicBool) {
        let mut client = Client::connect(port);
        while !stop.load(Ordering::Relaxed) {
            let mut requests = Vec::new();
            let mut sent = Vec::new();
            for _ in 0..BATCH {
                let keys = if self.random.below(4) == 0 { 20 } else { KEYS };
                let index = self.random.index(keys);
                // A time that is close may pass before the command does.
                let state = self.keys[index]
                    .now()
                    .filter(|(_, at)| at.is_none_or(|at| at > now_ms() + 5_000));
                let (command, after) = self.choose(index, state);
                encode_into(&mut requests, &command);
                let change = Change {
                    state: after,
                    acknowledged: None,
                };
                let history = &mut self.keys[index].0;
                history.push(change);
                if history.len() > HISTORY_MAX {
                    history.drain(..HISTORY_MAX / 2);
                }
                sent.push(index);
            }
            let (replies, end) = client.pipeline(&requests, BATCH);
            let now = Instant::now();
            let mut open: HashMap<usize, usize> = HashMap::new();
            for &index in sent.iter() {
                *open.entry(index).or_default() += 1;
            }
            for (reply, index) in replies.iter().zip(&sent) {
                assert!(!reply.is_error(), "{}: {reply}", self.key(*index));
                let open = open.get_mut(index).expect("was sent");
                let history = &mut self.keys[*index].0;
                let at = history.len() - *open;
                *open -= 1;
                history[at].acknowledged = Some(now);
            }
            if end.is_err() {
                return;
            }
        }
    }

    /// Looks at every key after a kill; what is found is the beginning of a new history. Gives the greatest
    /// age at the kill of a change that was lost.
    fn check(&mut self, client: &mut Client, killed: Instant, loss: Duration) -> Duration {
        let keys: Vec<_> = (0..KEYS).map(|index| self.key(index)).collect();
        let before = now_ms();
        let expiries = run_all(client, keys.iter().map(|key| vec!["PEXPIRETIME", key]));
        let values = get_all(client, &keys);
        let after = now_ms();
        let mut worst = Duration::ZERO;
        for (index, (found, expiry)) in values.into_iter().zip(expiries).enumerate() {
            let expires_at = expiry.int().filter(|&at| at >= 0);
            let history = &self.keys[index].0;
            let fits = |change: &Change| match change.state {
                None => found.is_none(),
                Some((version, at)) => {
                    let gone = at.is_some_and(|at| at <= after);
                    let there = at.is_none_or(|at| at > before);
                    match &found {
                        None => gone,
                        Some(found) => {
                            there && at == expires_at && *found == self.value(index, version)
                        }
                    }
                }
            };
            let first = self.keys[index].first_possible(killed, loss);
            let newest = history.iter().rposition(fits);
            let fitting = newest.filter(|&at| at >= first);
            if fitting.is_none() {
                let about: Vec<_> = history
                    .iter()
                    .enumerate()
                    .rev()
                    .take(40)
                    .map(|(at, change)| {
                        let age = change
                            .acknowledged
                            .map(|at| killed.saturating_duration_since(at));
                        format!(
                            "{at}: {:?}, acknowledged {age:?} before the kill",
                            change.state
                        )
                    })
                    .collect();
                panic!(
                    "{}: found {:?} until {expires_at:?}, which fits change {newest:?} and none from {first} on; now {after}\n{}",
                    self.key(index),
                    found.map(|found| Shown(&found).to_string()),
                    about.join("\n")
                );
            }
            let lost = history[newest.unwrap_or(0) + 1..]
                .iter()
                .find_map(|change| change.acknowledged);
            worst =
                worst.max(lost.map_or(Duration::ZERO, |at| killed.saturating_duration_since(at)));
            let state = found.and(history[newest.unwrap_or(0)].state);
            self.keys[index] = History::new(state, killed);
        }
        worst
    }
}

fn workers(random: &mut Random) -> Vec<Worker> {
    let worker = |name| Worker {
        name,
        random: random.split(),
        version: 0,
        keys: vec![History::new(None, Instant::now()); KEYS],
        bytes_max: 3_000,
    };
    (0..CONNECTIONS).map(worker).collect()
}

/// Has all work for some time; then the server ends, one way or the other. Gives the moment of that.
fn work_until(mut server: Server, workers: &mut [Worker], time: Duration, kill: bool) -> Instant {
    let stop = AtomicBool::new(false);
    let port = server.port();
    thread::scope(|scope| {
        for worker in workers.iter_mut() {
            let stop = &stop;
            scope.spawn(move || worker.work(port, stop));
        }
        thread::sleep(time);
        if kill {
            let killed = Instant::now();
            server.signal("KILL");
            assert!(server.wait(Duration::from_secs(5)).is_some());
            assert_calm(&server);
            return killed;
        }
        stop.store(true, Ordering::Relaxed);
        Instant::now()
    })
}

/// The number of keys that are there, counted by looking at each; those that expire are waited for.
fn assert_counted(client: &mut Client, workers: &[Worker]) {
    let soon = |worker: &Worker| {
        let states = worker.keys.iter().filter_map(|history| history.now()?.1);
        states.filter(|&at| at < now_ms() + 10_000).max()
    };
    if let Some(last) = workers.iter().filter_map(soon).max() {
        let left = u64::try_from(last - now_ms() + 10).unwrap_or(0);
        thread::sleep(Duration::from_millis(left));
    }
    let mut there = 0;
    for worker in workers {
        let keys: Vec<_> = (0..KEYS).map(|index| worker.key(index)).collect();
        there += get_all(client, &keys).iter().flatten().count();
    }
    assert_db_size_becomes(client, there);
    let seen = scan(client, 300);
    assert_eq!(seen.len(), there, "SCAN after a kill");
}

#[test]
#[ignore = "takes long and is random: run by hand, see docs/testing.md"]
fn what_was_acknowledged_survives_a_kill() {
    acknowledged_survives("what_was_acknowledged_survives_a_kill", "everysec", LOSS);
}

#[test]
fn under_always_nothing_that_was_acknowledged_is_lost() {
    let name = "under_always_nothing_that_was_acknowledged_is_lost";
    acknowledged_survives(name, "always", Duration::ZERO);
}

fn acknowledged_survives(name: &str, durability: &str, loss: Duration) {
    if Strata::is_oracle() {
        return;
    }
    let mut random = Random::new(name);
    let disk = Disk::new();
    let mut workers = workers(&mut random);
    let rounds = count(2);
    let mut worst = Duration::ZERO;
    for round in 0..rounds {
        let mut args = vec!["--tier-durability", durability];
        args.extend(match round % 3 {
            0 => &[][..],
            1 => &["--tier-max-bytes", "512mb", "--maxmemory", "4mb"],
            _ => &["--tier-compression", "none"],
        });
        let args = &args;
        let server = disk.start(args);
        let time = Duration::from_millis(1_500 + random.below(2_500));
        let killed = work_until(server, &mut workers, time, true);
        // Some starts are killed while the keys are counted and the filters made.
        for _ in 0..random.below(3) {
            let server = disk.start(args);
            thread::sleep(Duration::from_millis(random.below(60)));
            server.signal("KILL");
        }
        let server = disk.start(args);
        let mut client = server.connect();
        let mut lost = Duration::ZERO;
        for worker in &mut workers {
            lost = lost.max(worker.check(&mut client, killed, loss));
        }
        eprintln!("round {round}: killed after {time:?}, lost the last {lost:?}");
        worst = worst.max(lost);
        assert_counted(&mut client, &workers);
        if round % 2 == 0 {
            stop(server);
        } else {
            server.signal("KILL");
        }
    }
    eprintln!("{rounds} kills, at most the last {worst:?} were lost");
}

/// What changed while a run was gathered was of the same run, so that none ended for seconds, and a kill took as much.
#[test]
#[ignore = "takes long and goes by time: run by hand, see docs/testing.md"]
fn a_kill_beneath_new_keys_at_full_speed_takes_a_second_at_most() {
    if Strata::is_oracle() {
        return;
    }
    let mut random = Random::new("a_kill_beneath_new_keys_at_full_speed_takes_a_second_at_most");
    let mut losses = Vec::new();
    for round in 0..count(3) {
        let disk = Disk::new();
        let memory = ["256mb", "1gb", "0"][random.index(3)];
        let bytes = [10, 100, 1_000][random.index(3)];
        let args = ["--maxmemory", memory, "--tier-max-bytes", "8gb"];
        let mut server = disk.start(&args);
        let time = Duration::from_millis(500 + random.below(6_000));
        let acknowledged = flood(&server, bytes, time);
        let killed = Instant::now();
        server.signal("KILL");
        assert!(server.wait(Duration::from_secs(5)).is_some());
        let server = disk.start(&args);
        let mut client = server.connect();
        let is_there = |key: usize| client.run(&["EXISTS", &key.to_string()]).int() == Some(1);
        let there = partition_point(acknowledged.len() * FLOOD_BATCH, is_there);
        let lost = acknowledged.get(there / FLOOD_BATCH);
        let lost = lost.map_or(Duration::ZERO, |at| killed - *at);
        let keys = acknowledged.len() * FLOOD_BATCH;
        eprintln!(
            "round {round}: {keys} keys of {bytes} bytes in {time:?}, maxmemory {memory}: lost {lost:?}"
        );
        losses.push(lost);
    }
    losses.sort();
    let (median, most) = (losses[losses.len() / 2], losses[losses.len() - 1]);
    eprintln!(
        "{} kills, lost {median:?} in the median, at most {most:?}",
        losses.len()
    );
    assert!(most <= super::moment::loss().unwrap_or(LOSS), "{losses:?}");
}

const FLOOD_BATCH: usize = 500;

/// One client sets new keys as fast as it can: when each batch was acknowledged.
fn flood(server: &Server, bytes: usize, time: Duration) -> Vec<Instant> {
    let mut client = server.connect();
    let value = "v".repeat(bytes);
    let (until, mut acknowledged) = (Instant::now() + time, Vec::new());
    while Instant::now() < until {
        let first = acknowledged.len() * FLOOD_BATCH;
        let mut requests = Vec::new();
        for key in first..first + FLOOD_BATCH {
            encode_into(&mut requests, &["SET", &key.to_string(), &value]);
        }
        client.send_raw(&requests);
        (0..FLOOD_BATCH).for_each(|_| assert!(client.read().is_simple("OK")));
        acknowledged.push(Instant::now());
    }
    acknowledged
}

/// How many come before the first for which it does not hold.
fn partition_point(len: usize, mut holds: impl FnMut(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = low + (high - low) / 2;
        match holds(middle) {
            true => low = middle + 1,
            false => high = middle,
        }
    }
    low
}

#[test]
#[ignore = "takes long and is random: run by hand, see docs/testing.md"]
fn without_durability_a_kill_leaves_nothing_and_a_stop_everything() {
    if Strata::is_oracle() {
        return;
    }
    let mut random = Random::new("without_durability_a_kill_leaves_nothing_and_a_stop_everything");
    let args = &["--tier-durability", "none"];
    let disk = Disk::new();
    let mut workers = workers(&mut random);
    for round in 0..count(2) {
        let server = disk.start(args);
        let pid = server.pid().to_string();
        let kill = round % 2 == 1;
        if !kill {
            // Its end is SIGTERM, after the last reply.
            let port = server.port();
            let done = AtomicBool::new(false);
            thread::scope(|scope| {
                for worker in &mut workers {
                    let done = &done;
                    scope.spawn(move || worker.work(port, done));
                }
                thread::sleep(Duration::from_millis(1_500));
                done.store(true, Ordering::Relaxed);
            });
            let ended = Instant::now();
            stop(server);
            let server = disk.start(args);
            let mut client = server.connect();
            for worker in &mut workers {
                worker.check(&mut client, ended, Duration::ZERO);
            }
            assert_counted(&mut client, &workers);
            stop(server);
            continue;
        }
        let killed = work_until(server, &mut workers, Duration::from_millis(1_500), true);
        let server = disk.start(args);
        let mut client = server.connect();
        assert_eq!(db_size(&mut client), 0, "after the kill of {pid}");
        for worker in &mut workers {
            let keys: Vec<_> = (0..KEYS).map(|index| worker.key(index)).collect();
            assert!(get_all(&mut client, &keys).iter().all(Option::is_none));
            worker.keys = vec![History::new(None, killed); KEYS];
        }
        assert_eq!(db_size(&mut client), 0);
        assert!(scan(&mut client, 100).is_empty());
        stop(server);
    }
}

#[test]
#[ignore = "takes long and is random: run by hand, see docs/testing.md"]
fn a_stop_right_after_a_start_after_a_kill_keeps_the_counts() {
    if Strata::is_oracle() {
        return;
    }
    const MANY: usize = 20_000;
    let disk = Disk::new();
    let server = disk.start(&[]);
    let mut client = server.connect();
    let key = |i: usize| format!("key:{i}");
    set_all(
        &mut client,
        (0..MANY).map(|i| (key(i), value(&key(i), 0, 300))),
    );
    assert!(client.run(&["SAVE"]).is_simple("OK"));
    server.signal("KILL");
    drop(server);
    stop(disk.start(&[]));
    let server = disk.start(&[]);
    let mut client = server.connect();
    assert_db_size_becomes(&mut client, MANY);
    assert_eq!(scan(&mut client, 1_000).len(), MANY);
    stop(server);
}

#[test]
#[ignore = "takes long and is random: run by hand, see docs/testing.md"]
fn a_flush_survives_a_kill() {
    if Strata::is_oracle() {
        return;
    }
    let disk = Disk::new();
    let server = disk.start(&[]);
    let mut client = server.connect();
    let key = |i: usize| format!("key:{i}");
    for round in 0..2u64 {
        set_all(
            &mut client,
            (0..2_000).map(|i| (key(i), value(&key(i), round, 300))),
        );
        thread::sleep(2 * LOSS);
        client.run(&["FLUSHALL"]);
    }
    set_all(
        &mut client,
        (0..100).map(|i| (key(i), value(&key(i), 9, 300))),
    );
    thread::sleep(LOSS);
    server.signal("KILL");
    drop(server);
    let server = disk.start(&[]);
    let mut client = server.connect();
    let pairs: Vec<_> = (0..100).map(|i| (key(i), value(&key(i), 9, 300))).collect();
    assert_holds(&mut client, &pairs);
    assert_db_size_becomes(&mut client, 100);
    client.run(&["FLUSHALL"]);
    assert_eq!(client.run(&["GET", "key:0"]), Reply::Nil);
    assert_eq!(scan(&mut client, 100).len(), 0);
    stop(server);
}

/// A database whose keys are not counted yet is not an empty one.
#[test]
fn a_flush_while_keys_are_counted_after_a_kill_leaves_nothing() {
    if Strata::is_oracle() {
        return;
    }
    let disk = Disk::new();
    let server = disk.start(&[]);
    let mut client = server.connect();
    set_all(
        &mut client,
        (0..20_000).map(|i| (format!("key:{i}"), value("key", i, 100))),
    );
    for db in 1..16 {
        client.run(&["SELECT", &db.to_string()]);
        client.run(&["SET", "few", "1"]);
    }
    assert!(client.run(&["SAVE"]).is_simple("OK"));
    server.signal("KILL");
    drop(server);
    let server = disk.start(&[]);
    let mut client = server.connect();
    assert!(client.run(&["FLUSHALL"]).is_simple("OK"));
    for db in 1..16 {
        client.run(&["SELECT", &db.to_string()]);
        assert_eq!(client.run(&["GET", "few"]), Reply::Nil, "database {db}");
        assert_eq!(scan(&mut client, 100).len(), 0, "database {db}");
    }
    stop(server);
}
