//! The load of `scripts/tier`: every key read back, skewed GETs whose tier is known, GETs of absent keys, and SETs at a
//! fixed rate.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::values::Values;
use super::{Connection, Options, Random, Result, encode, key_name, number_after, on_connections};

/// SETs at a fixed rate leave in groups this far apart.
const TICK: Duration = Duration::from_millis(1);

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
#[derive(Clone, Copy, PartialEq)]
enum Tier {
    Unknown = 0,
    Memory = 1,
    Disk = 2,
}

struct Sample {
    id: u32,
    tier: Tier,
    latency_ns: u32,
}

/// GETs of Zipf-distributed keys or of the list `--ids`, one in flight on each connection: a closed loop, or with `--rate`
/// so many a second over all connections, which then wait for their turn. A GET that is late is not sent earlier.
///
/// `--locate tier-info` asks `TIER.INFO key MEMORY` before each GET on the same connection, untimed; it does not read the
/// disk. `info` compares the loads that INFO counts before and after, which is exact on one connection only. FILE gets three u32, little-endian, for each
/// GET: the key's number, the tier (0 unknown, 1 memory, 2 disk), nanoseconds.
pub(crate) fn zipf(options: &Options) -> Result<String> {
    let port: u16 = options.value("--port", None)?;
    let out: String = options.value("--out", None)?;
    let connections: u64 = options.value("--connections", Some(50))?;
    let locate: String = options.value("--locate", Some("none".to_owned()))?;
    let seed: u64 = options.value("--seed", Some(1))?;
    let rate: f64 = options.value("--rate", Some(0.0))?;
    let values = Values::of(options)?;
    let ids = read_ids(options)?;
    let (zipf, requests) = if ids.is_empty() {
        let zipf = Zipf::new(
            options.value("--keys", None)?,
            options.value("--theta", Some(0.99))?,
        );
        (Some(zipf), options.value("--requests", None)?)
    } else {
        (None, ids.len() as u64)
    };
    let (next, all) = (AtomicU64::new(0), Mutex::new(Vec::new()));

    let start = Instant::now();
    on_connections(connections, port, |connection, number| {
        let mut random = Random(seed << 32 | number);
        let (mut key, mut expected, mut samples) = (Vec::new(), Vec::new(), Vec::new());
        let mut loads = if locate == "info" {
            connection.loads()?
        } else {
            0
        };
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= requests {
                break;
            }
            if rate > 0.0 {
                let due = Duration::from_secs_f64(index as f64 / rate);
                thread::sleep(due.saturating_sub(start.elapsed()));
            }
            let id = match &zipf {
                Some(zipf) => zipf.key(&mut random),
                None => u64::from(ids[usize::try_from(index)?]),
            };
            key_name(&mut key, "key:", id);
            let mut tier = match locate.as_str() {
                "tier-info" => connection.location(&key)?,
                _ => Tier::Unknown,
            };
            values.make(&mut expected, id);
            connection.request(&[b"GET", &key]);
            let sent = Instant::now();
            connection.send()?;
            let is_right = connection.bulk()?.map(|value| value == expected);
            let latency = sent.elapsed();
            if is_right != Some(true) {
                return Err(format!("GET key:{id:012}: no value or a wrong one").into());
            }
            if locate == "info" {
                let loads_now = connection.loads()?;
                tier = if loads_now == loads {
                    Tier::Memory
                } else {
                    Tier::Disk
                };
                loads = loads_now;
            }
            samples.push(Sample {
                id: u32::try_from(id)?,
                tier,
                latency_ns: u32::try_from(latency.as_nanos()).unwrap_or(u32::MAX),
            });
        }
        all.lock()
            .map_err(|_| "a thread panicked")?
            .append(&mut samples);
        Ok(())
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let mut file = BufWriter::new(File::create(out)?);
    for sample in all.into_inner().map_err(|_| "a thread panicked")? {
        for word in [sample.id, sample.tier as u32, sample.latency_ns] {
            file.write_all(&word.to_le_bytes())?;
        }
    }
    file.flush()?;
    Ok(format!(
        "{{\"requests\": {requests}, \"seconds\": {seconds:.6}}}"
    ))
}

impl Connection {
    /// What TIER.INFO says of a key that exists: a map, or an array of names and values.
    fn location(&mut self, key: &[u8]) -> Result<Tier> {
        self.request(&[b"TIER.INFO", key, b"MEMORY"]);
        self.send()?;
        let fields = self.flat()?;
        let at = fields.iter().position(|field| field == b"location");
        match at.and_then(|at| fields.get(at + 1)).map(Vec::as_slice) {
            Some(b"memory") => Ok(Tier::Memory),
            Some(b"unknown") => Ok(Tier::Disk),
            None => Ok(Tier::Unknown),
            Some(other) => Err(format!(
                "TIER.INFO: location {:?} of a key that exists",
                String::from_utf8_lossy(other)
            )
            .into()),
        }
    }

    fn loads(&mut self) -> Result<u64> {
        self.request(&[b"INFO", b"tier"]);
        self.send()?;
        let info = String::from_utf8_lossy(self.bulk()?.ok_or("INFO: no value")?).into_owned();
        Ok(number_after(&info, "tier_loads:").unwrap_or(0))
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
