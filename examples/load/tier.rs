//! The load of `scripts/tier`: every key read back, skewed GETs whose tier is known, GETs of absent keys, and SETs at a
//! fixed rate.

use std::collections::{HashSet, VecDeque};
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use xxhash_rust::xxh3::xxh3_64;

use super::values::Values;
use super::{Connection, Options, REPLY_TIMEOUT, Random, Result, encode, key_name, on_connections};

/// SETs at a fixed rate leave in groups this far apart.
const TICK: Duration = Duration::from_millis(1);

/// How many requests `zipf` sends before it looks for replies again. More at once put the work of this program into
/// the latencies of what comes meanwhile; one leaves hardly any in flight, as it is answered before the next is sent.
const SENDS_MAX: usize = 4;

/// What `zipf` sends later than this through its own fault moves the schedule: made up for, it would measure the burst.
const LATE_MAX: Duration = Duration::from_millis(1);

/// Coprime to any smaller count of keys: spreads neighbouring ranks over all keys.
const SCATTER_PRIME: u64 = 2_654_435_761;

// --- verify and absent ------------------------------------------------------------------------------------------------

/// GETs the keys from `--first` on, each once. `--expect value`: all are there; `absent`: none is; `either`: what is
/// there is right.
pub(crate) fn verify(options: &Options) -> Result<String> {
    let (port, keys): (u16, u64) = (
        options.value("--port", None)?,
        options.value("--keys", None)?,
    );
    let first: u64 = options.value("--first", Some(0))?;
    let connections: u64 = options.value("--connections", Some(2))?;
    let pipeline: u64 = options.value("--pipeline", Some(64))?;
    let prefix: String = options.value("--prefix", Some("key:".to_owned()))?;
    let expect: String = options.value("--expect", Some("value".to_owned()))?;
    let values = Values::of(options)?;
    let (next, end, found) = (AtomicU64::new(first), first + keys, AtomicU64::new(0));

    let start = Instant::now();
    on_connections(connections, port, |connection, _| {
        let (mut key, mut expected) = (Vec::new(), Vec::new());
        loop {
            let from = next.fetch_add(pipeline, Ordering::Relaxed);
            let to = end.min(from + pipeline);
            if from >= to {
                return Ok(());
            }
            for id in from..to {
                key_name(&mut key, &prefix, id);
                connection.request(&[b"GET", &key]);
            }
            connection.send()?;
            for id in from..to {
                values.make(&mut expected, id);
                match connection.bulk()? {
                    Some(value) if value == expected && expect != "absent" => {
                        found.fetch_add(1, Ordering::Relaxed);
                    }
                    None if expect != "value" => {}
                    Some(_) => return Err(format!("GET {prefix}{id}: a wrong value").into()),
                    None => return Err(format!("GET {prefix}{id}: no value").into()),
                }
            }
        }
    })?;
    let seconds = start.elapsed().as_secs_f64();
    Ok(format!(
        "{{\"requests\": {keys}, \"found\": {}, \"seconds\": {seconds:.6}, \"per_s\": {:.0}}}",
        found.into_inner(),
        keys as f64 / seconds
    ))
}

// --- zipf -------------------------------------------------------------------------------------------------------------

/// Where a GET was answered from, as the samples say it.
#[derive(Clone, Copy)]
enum Tier {
    Memory = 1,
    Disk = 2,
}

struct Sample {
    id: u32,
    tier: Tier,
    latency: Duration,
    digest: u64,
}

/// GETs of Zipf-distributed keys or of the list `--ids`, one in flight on each connection: a closed loop, or with
/// `--rate` so many a second over all connections.
///
/// `TIER.INFO key MEMORY` is asked before each GET on the same connection, untimed; it does not read the disk. It is
/// asked as soon as the connection is free, also where the GET is due later: asked when that is due, it would meet the
/// stalls of the server in its place. A latency is from the send of the GET until its reply was read. A GET that was
/// due while no connection was ready also has the time that it waited for one, so that slow replies do not hide how
/// many they held up.
///
/// FILE gets three u32, little-endian, for each GET: the key's number, the tier (1 memory, 2 disk), nanoseconds.
pub(crate) fn zipf(options: &Options) -> Result<String> {
    let port: u16 = options.value("--port", None)?;
    let out: String = options.value("--out", None)?;
    let connections: usize = options.value("--connections", Some(50))?;
    let rate: f64 = options.value("--rate", Some(0.0))?;
    let values = Values::of(options)?;
    let ids = match read_ids(options)? {
        listed if !listed.is_empty() => listed,
        _ => drawn_ids(options)?,
    };
    let mut gets = Gets::new(&ids, connections, port)?;
    let start = Instant::now();
    gets.pace = (rate > 0.0).then(|| Pace {
        due: start,
        interval: Duration::from_secs_f64(1.0 / rate),
    });
    let samples = gets.run()?;
    let seconds = start.elapsed().as_secs_f64();
    compare(&samples, &values)?;
    write_located(&out, &samples)?;
    Ok(format!(
        "{{\"requests\": {}, \"seconds\": {seconds:.6}}}",
        samples.len()
    ))
}

/// Drawn before the run: in it this would delay requests.
fn drawn_ids(options: &Options) -> Result<Vec<u32>> {
    let zipf = Zipf::new(
        options.value("--keys", None)?,
        options.value("--theta", Some(0.99))?,
    );
    let requests: u64 = options.value("--requests", None)?;
    let mut random = Random(options.value("--seed", Some(1))?);
    (0..requests)
        .map(|_| Ok(u32::try_from(zipf.key(&mut random))?))
        .collect()
}

/// One thread drives all connections with poll(2): a thread for each would need more of two cores than the server, and
/// a reply would wait until its thread gets one.
///
/// Invariant: each client is in `free`, in `located`, or awaits a reply.
struct Gets<'a> {
    ids: &'a [u32],
    /// How many of `ids` were begun.
    begun: usize,
    /// None: a GET is due whenever its location is known.
    pace: Option<Pace>,
    clients: Vec<Client>,
    free: VecDeque<usize>,
    /// Those whose GET is to be sent; the one that waits longest is in front.
    located: VecDeque<(usize, Tier)>,
}

impl<'a> Gets<'a> {
    fn new(ids: &'a [u32], connections: usize, port: u16) -> Result<Gets<'a>> {
        Ok(Gets {
            ids,
            begun: 0,
            pace: None,
            clients: (0..connections)
                .map(|_| Client::open(port))
                .collect::<Result<_>>()?,
            free: (0..connections).collect(),
            located: VecDeque::new(),
        })
    }

    fn run(&mut self) -> Result<Vec<Sample>> {
        let mut samples = Vec::with_capacity(self.ids.len());
        while samples.len() < self.ids.len() {
            self.send_some()?;
            for at in self.readable()? {
                match self.clients[at].receive()? {
                    Received::Location(tier) => self.located.push_back((at, tier)),
                    Received::Value(sample) => {
                        samples.push(sample);
                        self.free.push_back(at);
                    }
                }
            }
        }
        Ok(samples)
    }

    /// GETs first, so that the location is still true.
    fn send_some(&mut self) -> Result<()> {
        for _ in 0..SENDS_MAX {
            if self.until_due() == Some(Duration::ZERO)
                && let Some((at, tier)) = self.located.pop_front()
            {
                let client = &mut self.clients[at];
                let waited = |pace: &mut Pace| pace.take(client.ready_since);
                client.waited = self.pace.as_mut().map_or(Duration::ZERO, waited);
                client.get(tier)?;
            } else if self.has_more()
                && let Some(at) = self.free.pop_front()
            {
                self.clients[at].locate(self.ids[self.begun])?;
                self.begun += 1;
            }
        }
        Ok(())
    }

    fn has_more(&self) -> bool {
        self.begun < self.ids.len()
    }

    /// How long the next GET has to wait though a connection is ready for it; none: none is.
    fn until_due(&self) -> Option<Duration> {
        if self.located.is_empty() {
            return None;
        }
        let left = |pace: &Pace| pace.due.saturating_duration_since(Instant::now());
        Some(self.pace.as_ref().map_or(Duration::ZERO, left))
    }

    /// The clients whose reply has come. Waits for one unless there is something to send.
    fn readable(&self) -> Result<Vec<usize>> {
        let timeout = match self.until_due() {
            _ if self.has_more() && !self.free.is_empty() => Duration::ZERO,
            left => left.unwrap_or(REPLY_TIMEOUT),
        };
        let mut polled: Vec<_> = self
            .clients
            .iter()
            .map(|client| PollFd::new(&client.connection.writer, PollFlags::IN))
            .collect();
        if poll(&mut polled, Some(&timeout.try_into()?))? == 0 && timeout == REPLY_TIMEOUT {
            return Err("the server does not reply".into());
        }
        let has_come = |&at: &usize| !polled[at].revents().is_empty();
        Ok((0..polled.len()).filter(has_come).collect())
    }
}

/// The schedule of an open loop.
struct Pace {
    /// When the next GET is due.
    due: Instant,
    interval: Duration,
}

impl Pace {
    /// How long the GET that is due had to wait for its connection, which is ready since then.
    fn take(&mut self, ready_since: Instant) -> Duration {
        let late = self.due.max(ready_since).elapsed();
        if late > LATE_MAX {
            self.due += late;
        }
        let waited = ready_since.saturating_duration_since(self.due);
        self.due += self.interval;
        waited
    }
}

/// A connection and the request in flight on it.
struct Client {
    connection: Connection,
    key: Vec<u8>,
    id: u32,
    /// When the location was known.
    ready_since: Instant,
    /// How long the GET was due before that.
    waited: Duration,
    state: State,
}

#[derive(Clone, Copy)]
enum State {
    /// Nothing is in flight.
    Idle,
    Locating,
    Getting {
        tier: Tier,
        sent: Instant,
    },
}

enum Received {
    Location(Tier),
    Value(Sample),
}

impl Client {
    fn open(port: u16) -> Result<Client> {
        Ok(Client {
            connection: Connection::open(port)?,
            key: Vec::new(),
            id: 0,
            ready_since: Instant::now(),
            waited: Duration::ZERO,
            state: State::Idle,
        })
    }

    fn locate(&mut self, id: u32) -> Result<()> {
        self.id = id;
        key_name(&mut self.key, "key:", u64::from(id));
        self.state = State::Locating;
        self.connection
            .request(&[b"TIER.INFO", &self.key, b"MEMORY"]);
        self.connection.send()
    }

    fn get(&mut self, tier: Tier) -> Result<()> {
        self.connection.request(&[b"GET", &self.key]);
        self.state = State::Getting {
            tier,
            sent: Instant::now(),
        };
        self.connection.send()
    }

    /// Reads the reply that has come.
    fn receive(&mut self) -> Result<Received> {
        let received = match self.state {
            State::Locating => {
                let tier = self.connection.location()?;
                self.ready_since = Instant::now();
                Received::Location(tier)
            }
            State::Getting { tier, sent } => Received::Value(self.value(tier, sent)?),
            State::Idle => {
                return Err(
                    "the server closed a connection, or sent what was not asked for".into(),
                );
            }
        };
        // What the reader has already taken would never make the socket readable.
        if !self.connection.reader.buffer().is_empty() {
            return Err("the server sent more than was asked for".into());
        }
        self.state = State::Idle;
        Ok(received)
    }

    fn value(&mut self, tier: Tier, sent: Instant) -> Result<Sample> {
        let value = self
            .connection
            .bulk()?
            .ok_or_else(|| format!("GET key:{:012}: no value", self.id))?;
        Ok(Sample {
            id: self.id,
            tier,
            latency: self.waited + sent.elapsed(),
            digest: xxh3_64(value),
        })
    }
}

/// Compares what was replied with the values of the keys. After the run: in it making values would delay requests.
fn compare(samples: &[Sample], values: &Values) -> Result<()> {
    let mut expected = Vec::new();
    for &Sample { id, digest, .. } in samples {
        values.make(&mut expected, u64::from(id));
        if xxh3_64(&expected) != digest {
            return Err(format!("GET key:{id:012}: a wrong value").into());
        }
    }
    Ok(())
}

fn write_located(path: &str, samples: &[Sample]) -> Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for sample in samples {
        let latency_ns = u32::try_from(sample.latency.as_nanos()).unwrap_or(u32::MAX);
        for word in [sample.id, sample.tier as u32, latency_ns] {
            file.write_all(&word.to_le_bytes())?;
        }
    }
    Ok(file.flush()?)
}

impl Connection {
    /// Where the key is by the reply to `TIER.INFO key MEMORY`: a map, or an array, of one name and its value.
    fn location(&mut self) -> Result<Tier> {
        let fields = self.flat()?;
        match fields.get(1).map(Vec::as_slice) {
            Some(b"memory") => Ok(Tier::Memory),
            Some(b"unknown") => Ok(Tier::Disk),
            other => Err(format!(
                "TIER.INFO: location {:?} of a key that exists",
                String::from_utf8_lossy(other.unwrap_or_default())
            )
            .into()),
        }
    }
}

/// The keys that `--ids FILE` lists: u32, little-endian.
pub(crate) fn read_ids(options: &Options) -> Result<Vec<u32>> {
    let path: String = options.value("--ids", Some(String::new()))?;
    if path.is_empty() {
        return Ok(Vec::new());
    }
    let words = std::fs::read(path)?;
    let word = |chunk: &[u8]| chunk.try_into().map(u32::from_le_bytes).unwrap_or(0);
    Ok(words.chunks_exact(4).map(word).collect())
}

/// The ids without repetitions.
pub(crate) fn unique(ids: Vec<u32>) -> Vec<u32> {
    ids.into_iter()
        .collect::<HashSet<_>>()
        .into_iter()
        .collect()
}

/// Gray and others: Quickly generating billion-record synthetic databases, 1994; the constants as in YCSB.
struct Zipf {
    keys: u64,
    theta: f64,
    zeta: f64,
    eta: f64,
}

impl Zipf {
    fn new(keys: u64, theta: f64) -> Zipf {
        let zeta = |count: u64| -> f64 { (1..=count).map(|rank| (rank as f64).powf(-theta)).sum() };
        let (all, two) = (zeta(keys), zeta(2));
        let eta = (1.0 - (2.0 / keys as f64).powf(1.0 - theta)) / (1.0 - two / all);
        Zipf {
            keys,
            theta,
            zeta: all,
            eta,
        }
    }

    fn key(&self, random: &mut Random) -> u64 {
        let even = (random.next() >> 11) as f64 / (1_u64 << 53) as f64;
        let mass = even * self.zeta;
        let rank = if mass < 1.0 {
            0
        } else if mass < 1.0 + 0.5_f64.powf(self.theta) {
            1
        } else {
            let base = self.eta * even - self.eta + 1.0;
            (self.keys as f64 * base.powf(1.0 / (1.0 - self.theta))) as u64
        };
        (rank.min(self.keys - 1) * SCATTER_PRIME + 12_345) % self.keys
    }
}

// --- rate -------------------------------------------------------------------------------------------------------------

/// An open loop of SETs: `--rate` a second leave on schedule, half of them new keys (`--overwrites` per cent are not),
/// and none is left out when the server is late. A latency is from the scheduled time to the reply. FILE gets two u32
/// for each SET as `ping` writes them: latency, and how late it left, in microseconds.
pub(crate) fn rate(options: &Options) -> Result<String> {
    let port: u16 = options.value("--port", None)?;
    let out: String = options.value("--out", None)?;
    let (rate, total): (u64, u64) = (
        options.value("--rate", None)?,
        options.value("--requests", None)?,
    );
    let connections: u64 = options.value("--connections", Some(4))?;
    let overwrites: u64 = options.value("--overwrites", Some(50))?;
    let values = Values::of(options)?;
    let (created, all) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let per_tick = (rate as f64 * TICK.as_secs_f64() / connections as f64).max(1.0) as u64;
    let tick = Duration::from_secs_f64((per_tick * connections) as f64 / rate as f64);

    let start = Instant::now();
    on_connections(connections, port, |connection, number| {
        let (created, values) = (&created, &values);
        let mut writer = connection.writer.try_clone()?;
        let (sent, arriving) = mpsc::channel::<(Duration, Duration, u64)>();
        let samples = thread::scope(|scope| -> Result<Vec<(u32, u32)>> {
            let sender = scope.spawn(move || -> Result<()> {
                let mut random = Random(number + 1);
                let (mut key, mut value, mut group) = (Vec::new(), Vec::new(), Vec::new());
                let (mut due, mut left) = (
                    tick.mul_f64(number as f64 / connections as f64),
                    total / connections,
                );
                while left > 0 {
                    thread::sleep(due.saturating_sub(start.elapsed()));
                    let lateness = start.elapsed().saturating_sub(due);
                    let count = left.min(per_tick);
                    group.clear();
                    for _ in 0..count {
                        let known = created.load(Ordering::Relaxed);
                        let id = if known > 0 && random.next() % 100 < overwrites {
                            random.next() % known
                        } else {
                            created.fetch_add(1, Ordering::Relaxed)
                        };
                        key_name(&mut key, "key:", id);
                        values.make(&mut value, id);
                        encode(&mut group, &[b"SET", &key, &value]);
                    }
                    sent.send((due, lateness, count))
                        .map_err(|_| "the receiver has ended")?;
                    writer.write_all(&group)?;
                    left -= count;
                    due += tick;
                }
                Ok(())
            });
            let micros = |time: Duration| u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
            let mut samples = Vec::new();
            while let Ok((due, lateness, count)) = arriving.recv() {
                for _ in 0..count {
                    connection.expect_ok()?;
                    samples.push((
                        micros(start.elapsed().saturating_sub(due)),
                        micros(lateness),
                    ));
                }
            }
            sender.join().map_err(|_| "the sender panicked")??;
            Ok(samples)
        })?;
        all.lock().map_err(|_| "a thread panicked")?.extend(samples);
        Ok(())
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let samples = all.into_inner().map_err(|_| "a thread panicked")?;
    super::write_samples(&out, &samples)?;
    Ok(format!(
        "{{\"requests\": {}, \"keys\": {}, \"seconds\": {seconds:.6}, \"per_s\": {:.0}}}",
        samples.len(),
        created.into_inner(),
        samples.len() as f64 / seconds
    ))
}
