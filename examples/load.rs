//! The load generators of `scripts/stall`, `scripts/stall-writes`, `scripts/hit-ratio` and `scripts/tier`, for which Python
//! is too slow. They do not use the strata library, so that they measure any server that speaks the Redis protocol.
//!
//!     load insert --port P --keys N [--first I] [--connections 4] [--pipeline 64] [--size 64] [--expires-at UNIX_MS]
//!                 [--prefix key:]       SETs the keys prefix + 12 digits
//!     load read   --port P --keys N [--connections 2] [--pipeline 16] [--size 64] [--prefix key:]
//!                                       GETs random ones of those keys until standard input ends
//!     load ping   --port P --out FILE [--interval-us 1000]
//!                                       PINGs on a fixed schedule until standard input ends
//!     load replay --port P --trace FILE [--size 200] [--pid SERVER] [--sample-every 2000]
//!                                       look-aside cache: GET, and SET on a miss; FILE holds u64, little-endian
//!
//!     load verify --port P --keys N [--first I] [--expect value|absent|either]
//!     load zipf   --port P --keys N --requests R --out FILE [--theta 0.99] [--rate R]
//!     load rate   --port P --rate R --requests N --out FILE [--overwrites 50]
//!                                       see examples/load/tier.rs; values (`--kind`) are in examples/load/values.rs
//!     load full   --port P --keys N [--seconds 15] [--connections 50] [--pipeline 1]
//!                                       SETs at full speed; see examples/load/writes.rs
//!
//! Each prints one line of JSON. A reply that is not the expected one ends the program with status 1.
//!
//! Invariant: `replay` has one request in flight, so the server sees exactly the order of the trace. Pipelining would
//! send the GET of a later key before the SET of a missed one, and an eviction policy sees another history.

use std::error::Error;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::net::TcpStream;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

#[path = "load/tier.rs"]
mod tier;
#[path = "load/values.rs"]
mod values;
#[path = "load/writes.rs"]
mod writes;

use values::Values;

/// Any failure ends the program, so its text is all that matters.
type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// A server that says nothing for this long is taken for hung.
const REPLY_TIMEOUT: Duration = Duration::from_secs(600);

/// The longest reply line or value that is read; a longer one is a wrong reply.
const REPLY_BYTES_MAX: usize = 1 << 20;

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let name = words.next().unwrap_or_default();
    let options = Options(words.collect());
    let line = match name.as_str() {
        "insert" => insert(&options)?,
        "read" => read(&options)?,
        "ping" => ping(&options)?,
        "replay" => replay(&options)?,
        "verify" => tier::verify(&options)?,
        "zipf" => tier::zipf(&options)?,
        "rate" => tier::rate(&options)?,
        "full" => writes::full(&options)?,
        _ => {
            return Err(
                "usage: load insert|read|ping|replay|verify|zipf|rate|full --port P ...; see examples/load.rs".into(),
            );
        }
    };
    println!("{line}");
    Ok(())
}

/// `--name value` pairs, looked up by name.
struct Options(Vec<String>);

impl Options {
    fn value<T: FromStr>(&self, name: &str, default: Option<T>) -> Result<T> {
        let Some(at) = self.0.iter().position(|word| word == name) else {
            return default.ok_or_else(|| format!("{name} is missing").into());
        };
        let text = self
            .0
            .get(at + 1)
            .ok_or_else(|| format!("{name} has no value"))?;
        text.parse()
            .map_err(|_| format!("{name} {text}: not a valid value").into())
    }
}

// --- insert and read --------------------------------------------------------------------------------------------

fn insert(options: &Options) -> Result<String> {
    let port: u16 = options.value("--port", None)?;
    let first: u64 = options.value("--first", Some(0))?;
    let connections: u64 = options.value("--connections", Some(4))?;
    let pipeline: u64 = options.value("--pipeline", Some(64))?;
    let values = Values::of(options)?;
    let ids = tier::unique(tier::read_ids(options)?);
    let expires_at: u64 = options.value("--expires-at", Some(0))?;
    let prefix: String = options.value("--prefix", Some("key:".to_owned()))?;
    // A list of keys is numbered from 0 on.
    let keys: u64 = match ids.len() {
        0 => options.value("--keys", None)?,
        listed => listed as u64,
    };
    let next = AtomicU64::new(first);
    let end = first + keys;

    let start = Instant::now();
    on_connections(connections, port, |connection, _| {
        let (mut value, mut key, deadline) = (Vec::new(), Vec::new(), expires_at.to_string());
        loop {
            let from = next.fetch_add(pipeline, Ordering::Relaxed);
            let to = end.min(from + pipeline);
            for index in from..to {
                let listed = usize::try_from(index).ok().and_then(|at| ids.get(at));
                let id = listed.map_or(index, |&id| u64::from(id));
                key_name(&mut key, &prefix, id);
                values.make(&mut value, id);
                match expires_at {
                    0 => connection.request(&[b"SET", &key, &value]),
                    _ => connection.request(&[b"SET", &key, &value, b"PXAT", deadline.as_bytes()]),
                }
            }
            if from >= to {
                return Ok(());
            }
            connection.send()?;
            for _ in from..to {
                connection.expect_ok()?;
            }
        }
    })?;
    let seconds = start.elapsed().as_secs_f64();
    Ok(format!(
        "{{\"keys\": {keys}, \"seconds\": {seconds:.6}, \"per_s\": {:.0}}}",
        keys as f64 / seconds
    ))
}

fn read(options: &Options) -> Result<String> {
    let port: u16 = options.value("--port", None)?;
    let keys: u64 = options.value("--keys", None)?;
    let connections: u64 = options.value("--connections", Some(2))?;
    let pipeline: usize = options.value("--pipeline", Some(16))?;
    let values = Values::of(options)?;
    let prefix: String = options.value("--prefix", Some("key:".to_owned()))?;
    let (stop, total) = (stop_at_end_of_input(), AtomicU64::new(0));

    let start = Instant::now();
    on_connections(connections, port, |connection, number| {
        let (mut random, mut key) = (Random(number + 1), Vec::new());
        let (mut expected, mut ids) = (Vec::new(), Vec::new());
        while !stop.load(Ordering::Relaxed) {
            ids.clear();
            for _ in 0..pipeline {
                let id = random.next() % keys;
                key_name(&mut key, &prefix, id);
                connection.request(&[b"GET", &key]);
                ids.push(id);
            }
            connection.send()?;
            for &id in &ids {
                values.make(&mut expected, id);
                match connection.bulk()? {
                    Some(found) if found == expected => {}
                    Some(_) => return Err(format!("GET of key {id}: a wrong value").into()),
                    None => return Err(format!("GET of key {id}: no value").into()),
                }
            }
            total.fetch_add(pipeline as u64, Ordering::Relaxed);
        }
        Ok(())
    })?;
    let (total, seconds) = (total.into_inner(), start.elapsed().as_secs_f64());
    Ok(format!(
        "{{\"requests\": {total}, \"seconds\": {seconds:.6}, \"per_s\": {:.0}}}",
        total as f64 / seconds
    ))
}

/// Runs `work` on that many connections at once, a thread each, and gives the first failure.
fn on_connections(
    count: u64,
    port: u16,
    work: impl Fn(&mut Connection, u64) -> Result<()> + Sync,
) -> Result<()> {
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|number| scope.spawn(move || work(&mut Connection::open(port)?, number)))
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| "a thread panicked")?)
    })
}

/// The flag becomes true when whoever started this program closes its standard input.
fn stop_at_end_of_input() -> &'static AtomicBool {
    static STOP: AtomicBool = AtomicBool::new(false);
    thread::spawn(|| {
        let _ended_or_failed = io::copy(&mut io::stdin(), &mut io::sink());
        STOP.store(true, Ordering::Relaxed);
    });
    &STOP
}

fn key_name(key: &mut Vec<u8>, prefix: &str, id: u64) {
    key.clear();
    // Writing to a vector cannot fail.
    let _ = write!(key, "{prefix}{id:012}");
}

/// Incompressible bytes that follow from the key, so that a reply can be checked without being remembered.
fn fill_value(value: &mut [u8], id: u64) {
    let mut random = Random(id.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5DEE_CE66);
    for chunk in value.chunks_mut(8) {
        chunk.copy_from_slice(&random.next().to_le_bytes()[..chunk.len()]);
    }
}

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }
}

// --- ping ---------------------------------------------------------------------------------------------------------

/// An open loop: PINGs leave on schedule whether or not earlier ones were answered, so that a stall is seen by every
/// PING that falls into it (a closed loop would send one into a stall of a second, and call it one slow reply in a
/// thousand). A latency is from the moment a PING was handed to the kernel to the moment its reply was read.
/// How late this program itself was in sending is kept apart: it tells how noisy the machine is.
///
/// FILE gets two u32, little-endian, for each PING: its latency and its lateness in microseconds.
fn ping(options: &Options) -> Result<String> {
    let port: u16 = options.value("--port", None)?;
    let out: String = options.value("--out", None)?;
    let interval = Duration::from_micros(options.value("--interval-us", Some(1000))?);
    let Connection {
        reader, mut writer, ..
    } = Connection::open(port)?;
    let stop = stop_at_end_of_input();
    let (sent, arriving) = mpsc::channel::<(Instant, Duration)>();
    let receiver = thread::spawn(move || receive_pongs(reader, &arriving));

    let (start, mut due, mut skipped) = (Instant::now(), Duration::ZERO, 0_u64);
    while !stop.load(Ordering::Relaxed) {
        thread::sleep((start + due).saturating_duration_since(Instant::now()));
        let lateness = start.elapsed().saturating_sub(due);
        sent.send((Instant::now(), lateness))
            .map_err(|_| "the receiver has ended")?;
        writer.write_all(b"PING\r\n")?;
        due += interval;
        while due < start.elapsed() {
            // Sending what is overdue in a burst would measure the burst.
            due += interval;
            skipped += 1;
        }
    }
    drop(sent);
    let samples = receiver.join().map_err(|_| "the receiver panicked")??;
    write_samples(&out, &samples)?;
    let seconds = start.elapsed().as_secs_f64();
    Ok(format!(
        "{{\"pings\": {}, \"skipped\": {skipped}, \"seconds\": {seconds:.6}}}",
        samples.len()
    ))
}

/// Two u32, little-endian, for each: latency and lateness.
fn write_samples(path: &str, samples: &[(u32, u32)]) -> Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for (latency, lateness) in samples {
        file.write_all(&latency.to_le_bytes())?;
        file.write_all(&lateness.to_le_bytes())?;
    }
    Ok(file.flush()?)
}

fn receive_pongs(
    mut reader: BufReader<TcpStream>,
    arriving: &mpsc::Receiver<(Instant, Duration)>,
) -> Result<Vec<(u32, u32)>> {
    let micros = |duration: Duration| u32::try_from(duration.as_micros()).unwrap_or(u32::MAX);
    let mut samples = Vec::new();
    let mut reply = [0; 7];
    while let Ok((sent_at, lateness)) = arriving.recv() {
        reader.read_exact(&mut reply)?;
        let latency = sent_at.elapsed();
        if &reply != b"+PONG\r\n" {
            return Err(
                format!("PING was answered by {:?}", String::from_utf8_lossy(&reply)).into(),
            );
        }
        samples.push((micros(latency), micros(lateness)));
    }
    Ok(samples)
}

// --- replay -------------------------------------------------------------------------------------------------------

fn replay(options: &Options) -> Result<String> {
    let mut connection = Connection::open(options.value("--port", None)?)?;
    let trace: String = options.value("--trace", None)?;
    let size: usize = options.value("--size", Some(200))?;
    let sample_every: u64 = options.value("--sample-every", Some(2000))?;
    let pid: u32 = options.value("--pid", Some(0))?;
    let mut trace = BufReader::new(File::open(trace)?);
    let (mut value, mut key, mut word) = (vec![0; size], Vec::new(), [0; 8]);
    let (mut requests, mut hits, mut refused) = (0_u64, 0_u64, 0_u64);
    let mut peak = Memory::default();

    let start = Instant::now();
    loop {
        match trace.read_exact(&mut word) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            result => result?,
        }
        let id = u64::from_le_bytes(word);
        key.clear();
        write!(key, "obj:{id}")?;
        fill_value(&mut value, id);
        connection.request(&[b"GET", &key]);
        connection.send()?;
        match connection.bulk()? {
            Some(found) if found == value => hits += 1,
            Some(found) => {
                return Err(format!("GET obj:{id}: a wrong value of {} bytes", found.len()).into());
            }
            None => {
                connection.request(&[b"SET", &key, &value]);
                connection.send()?;
                refused += u64::from(!connection.ok_or_oom()?);
            }
        }
        requests += 1;
        if requests.is_multiple_of(sample_every) {
            peak = peak.max(Memory::now(&mut connection, pid)?);
        }
    }
    peak = peak.max(Memory::now(&mut connection, pid)?);
    Ok(format!(
        "{{\"requests\": {requests}, \"hits\": {hits}, \"refused\": {refused}, \"seconds\": {:.3}, \
         \"used_memory_max\": {}, \"rss_max\": {}}}",
        start.elapsed().as_secs_f64(),
        peak.used_bytes,
        peak.rss_bytes
    ))
}

/// What the server says it uses, and what the kernel says. Asked on the connection of the replay, between two requests:
/// a second client would count as used memory in redis-server.
#[derive(Clone, Copy, Default)]
struct Memory {
    used_bytes: u64,
    rss_bytes: u64,
}

impl Memory {
    fn now(connection: &mut Connection, pid: u32) -> Result<Memory> {
        connection.request(&[b"INFO", b"memory"]);
        connection.send()?;
        let info = String::from_utf8_lossy(connection.bulk()?.ok_or("INFO memory: no value")?)
            .into_owned();
        let used_bytes =
            number_after(&info, "used_memory:").ok_or("INFO memory: no used_memory")?;
        let rss_bytes = match pid {
            0 => 0,
            _ => {
                let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
                number_after(&status, "VmRSS:").ok_or("the server is gone")? * 1024
            }
        };
        Ok(Memory {
            used_bytes,
            rss_bytes,
        })
    }

    fn max(self, other: Memory) -> Memory {
        Memory {
            used_bytes: self.used_bytes.max(other.used_bytes),
            rss_bytes: self.rss_bytes.max(other.rss_bytes),
        }
    }
}

fn number_after(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

// --- the protocol -------------------------------------------------------------------------------------------------

/// One connection. Requests are collected by `request` and leave together at `send`.
struct Connection {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
    out: Vec<u8>,
    line: Vec<u8>,
    value: Vec<u8>,
}

impl Connection {
    fn open(port: u16) -> Result<Connection> {
        let writer = TcpStream::connect(("127.0.0.1", port))?;
        writer.set_nodelay(true)?;
        writer.set_read_timeout(Some(REPLY_TIMEOUT))?;
        let reader = BufReader::with_capacity(1 << 16, writer.try_clone()?);
        Ok(Connection {
            reader,
            writer,
            out: Vec::new(),
            line: Vec::new(),
            value: Vec::new(),
        })
    }

    fn request(&mut self, args: &[&[u8]]) {
        encode(&mut self.out, args);
    }

    fn send(&mut self) -> Result<()> {
        self.writer.write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }

    fn expect_ok(&mut self) -> Result<()> {
        self.read_line()?;
        if self.line == b"+OK" {
            Ok(())
        } else {
            Err(self.unexpected("+OK"))
        }
    }

    /// False where the server is full and its policy evicts nothing.
    fn ok_or_oom(&mut self) -> Result<bool> {
        self.read_line()?;
        match self.line.as_slice() {
            b"+OK" => Ok(true),
            line if line.starts_with(b"-OOM") => Ok(false),
            _ => Err(self.unexpected("+OK or -OOM")),
        }
    }

    /// The value of a bulk reply, none for nil.
    fn bulk(&mut self) -> Result<Option<&[u8]>> {
        self.read_line()?;
        if self.line == b"$-1" {
            return Ok(None);
        }
        let length = std::str::from_utf8(&self.line)
            .ok()
            .and_then(|line| line.strip_prefix('$')?.parse().ok());
        let Some(length) = length.filter(|&length: &usize| length <= REPLY_BYTES_MAX) else {
            return Err(self.unexpected("a bulk string"));
        };
        self.value.resize(length + 2, 0);
        self.reader.read_exact(&mut self.value)?;
        self.value
            .strip_suffix(b"\r\n")
            .map(Some)
            .ok_or_else(|| "a bulk string without its end".into())
    }

    /// An array or a map of strings and numbers.
    fn flat(&mut self) -> Result<Vec<Vec<u8>>> {
        self.read_line()?;
        let parts = std::str::from_utf8(&self.line).ok().and_then(|line| {
            match line.split_at_checked(1)? {
                ("*", count) => count.parse::<usize>().ok(),
                ("%", count) => count.parse::<usize>().ok().map(|pairs| 2 * pairs),
                _ => None,
            }
        });
        let Some(parts) = parts.filter(|&parts| parts < 1000) else {
            return Err(self.unexpected("an array"));
        };
        (0..parts).map(|_| self.scalar()).collect()
    }

    /// A string or a number, as text; nil is empty.
    fn scalar(&mut self) -> Result<Vec<u8>> {
        use std::io::BufRead as _;
        match self.reader.fill_buf()?.first() {
            Some(b'$') => Ok(self.bulk()?.unwrap_or_default().to_vec()),
            _ => {
                self.read_line()?;
                Ok(self.line.get(1..).unwrap_or_default().to_vec())
            }
        }
    }

    fn read_line(&mut self) -> Result<()> {
        use std::io::BufRead as _;
        self.line.clear();
        (&mut self.reader)
            .take(REPLY_BYTES_MAX as u64)
            .read_until(b'\n', &mut self.line)?;
        if !self.line.ends_with(b"\r\n") {
            return Err("the server closed the connection".into());
        }
        self.line.truncate(self.line.len() - 2);
        Ok(())
    }

    fn unexpected(&self, expected: &str) -> Box<dyn Error + Send + Sync> {
        format!(
            "expected {expected}, the server replied {:?}",
            String::from_utf8_lossy(&self.line)
        )
        .into()
    }
}

fn encode(out: &mut Vec<u8>, args: &[&[u8]]) {
    // Writing to a vector cannot fail.
    let _ = write!(out, "*{}\r\n", args.len());
    for arg in args {
        let _ = write!(out, "${}\r\n", arg.len());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}
