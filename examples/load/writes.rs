//! The load of `scripts/stall-writes`: SETs at full speed from many clients, and how long nobody was answered.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use super::values::Values;
use super::{Options, REPLY_TIMEOUT, Random, Result, encode, key_name};

/// Values are made before the run, so many: in it that would take more time than the server has for them.
const VALUES: u64 = 8192;
const OK: &[u8] = b"+OK\r\n";
/// Latencies are counted by microseconds up to here, and by milliseconds above.
const MICROS_MAX: usize = 1 << 17;
const MILLIS_MAX: usize = 1 << 17;
/// The longest gaps are told one by one.
const GAPS_TOLD: usize = 8;

/// SETs of random keys out of `--keys` for `--seconds`, `--pipeline` at once on each of `--connections`: a closed loop.
///
/// A latency is from the moment when the first byte of its pipeline was sent until the reply was read. A **gap** is the time in
/// which no client got a reply, though all wait for one: from one to the next over all connections. What this program itself
/// needs between two looks at its sockets is told as `busy`, the longest.
pub(crate) fn full(options: &Options) -> Result<String> {
    let port: u16 = options.value("--port", None)?;
    let keys: u64 = options.value("--keys", None)?;
    let seconds: f64 = options.value("--seconds", Some(15.0))?;
    let connections: usize = options.value("--connections", Some(50))?;
    let values = Values::of(options)?;
    let mut load = Load {
        keys,
        pipeline: options.value("--pipeline", Some(1))?,
        values: (0..VALUES).map(|id| values.made(id)).collect(),
        random: Random(options.value("--seed", Some(1))?),
        latencies: Latencies::default(),
    };
    let clients = (0..connections).map(|_| Client::open(port));
    let mut clients = clients.collect::<Result<Vec<_>>>()?;
    let start = Instant::now();
    let told = load.run(
        &mut clients,
        start,
        start + Duration::from_secs_f64(seconds),
    )?;
    Ok(load.report(&told, start.elapsed()))
}

struct Load {
    keys: u64,
    pipeline: usize,
    values: Vec<Vec<u8>>,
    random: Random,
    latencies: Latencies,
}

/// What was seen beside the latencies.
#[derive(Default)]
struct Seen {
    /// When they ended, and how long they were.
    gaps: Vec<(Duration, Duration)>,
    busy: Duration,
}

impl Load {
    fn run(&mut self, clients: &mut [Client], start: Instant, end: Instant) -> Result<Seen> {
        let mut seen = Seen::default();
        let mut last_reply = start;
        while Instant::now() < end {
            let ready = wait(clients)?;
            let began = Instant::now();
            let mut replies = 0;
            for at in ready {
                let client = &mut clients[at];
                let got = client.receive()?;
                replies += got;
                if let (Some(sent), true) = (client.sent, got > 0) {
                    self.latencies.add(sent.elapsed(), got as u64);
                }
                if client.awaited == 0 {
                    self.make(client);
                }
                client.send()?;
            }
            let now = Instant::now();
            if replies > 0 {
                seen.gap(now - start, began - last_reply);
                last_reply = now;
            }
            seen.busy = seen.busy.max(now - began);
        }
        Ok(seen)
    }

    fn make(&mut self, client: &mut Client) {
        client.out.clear();
        (client.written, client.sent) = (0, None);
        for _ in 0..self.pipeline {
            key_name(&mut client.key, "key:", self.random.next() % self.keys);
            let value = &self.values[(self.random.next() % VALUES) as usize];
            encode(&mut client.out, &[b"SET", &client.key, value]);
        }
        client.awaited = self.pipeline;
    }

    fn report(&self, seen: &Seen, elapsed: Duration) -> String {
        let millis = |time: Duration| time.as_secs_f64() * 1000.0;
        let of = |share: f64| millis(self.latencies.quantile(share));
        let gaps: Vec<_> = seen
            .gaps
            .iter()
            .map(|(at, gap)| format!("[{:.3}, {:.3}]", at.as_secs_f64(), millis(*gap)))
            .collect();
        let longest = seen.gaps.first().map_or(0.0, |(_, gap)| millis(*gap));
        format!(
            "{{\"requests\": {}, \"per_s\": {:.0}, \"p50_ms\": {:.3}, \"p99_ms\": {:.3}, \"p999_ms\": {:.3}, \"max_ms\": {:.3}, \
             \"gap_ms\": {longest:.3}, \"busy_ms\": {:.3}, \"gaps\": [{}]}}",
            self.latencies.count,
            self.latencies.count as f64 / elapsed.as_secs_f64(),
            of(0.5),
            of(0.99),
            of(0.999),
            of(1.0),
            millis(seen.busy),
            gaps.join(", ")
        )
    }
}

impl Seen {
    fn gap(&mut self, at: Duration, gap: Duration) {
        let place = self.gaps.partition_point(|(_, longer)| *longer >= gap);
        if place < GAPS_TOLD {
            self.gaps.insert(place, (at, gap));
            self.gaps.truncate(GAPS_TOLD);
        }
    }
}

/// How many replies took how long.
struct Latencies {
    micros: Vec<u64>,
    millis: Vec<u64>,
    count: u64,
}

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies {
            micros: vec![0; MICROS_MAX],
            millis: vec![0; MILLIS_MAX],
            count: 0,
        }
    }
}

impl Latencies {
    fn add(&mut self, latency: Duration, replies: u64) {
        let micros = latency.as_micros() as usize;
        let bucket = match micros < MICROS_MAX {
            true => &mut self.micros[micros],
            false => &mut self.millis[(micros / 1000).min(MILLIS_MAX - 1)],
        };
        *bucket += replies;
        self.count += replies;
    }

    fn quantile(&self, share: f64) -> Duration {
        let mut left = ((self.count as f64 * share).ceil() as u64).max(1);
        let micros = self.micros.iter().zip((0..).map(Duration::from_micros));
        let millis = self.millis.iter().zip((0..).map(Duration::from_millis));
        for (&count, latency) in micros.chain(millis) {
            if count >= left {
                return latency;
            }
            left -= count;
        }
        Duration::ZERO
    }
}

/// A connection and what is under way on it. It never blocks: one that waits holds up no other.
struct Client {
    socket: TcpStream,
    key: Vec<u8>,
    out: Vec<u8>,
    /// So much of `out` has left.
    written: usize,
    /// When the first of it did.
    sent: Option<Instant>,
    /// Replies that are to come.
    awaited: usize,
    /// Bytes of a reply that has not come whole.
    partial: usize,
}

impl Client {
    fn open(port: u16) -> Result<Client> {
        let socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        Ok(Client {
            socket,
            key: Vec::new(),
            out: Vec::new(),
            written: 0,
            sent: None,
            awaited: 0,
            partial: 0,
        })
    }

    fn send(&mut self) -> Result<()> {
        while self.written < self.out.len() {
            self.sent.get_or_insert_with(Instant::now);
            match self.socket.write(&self.out[self.written..]) {
                Ok(written) => self.written += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Takes what has come, and gives how many replies that is.
    fn receive(&mut self) -> Result<usize> {
        let mut buffer = [0; 4096];
        let len = match self.socket.read(&mut buffer) {
            Ok(0) => return Err("the server closed the connection".into()),
            Ok(len) => len,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        let expected = OK.iter().cycle().skip(self.partial);
        if !buffer[..len].iter().eq(expected.take(len)) {
            let text = String::from_utf8_lossy(&buffer[..len.min(200)]);
            return Err(format!("expected +OK, the server replied {text:?}").into());
        }
        let replies = (self.partial + len) / OK.len();
        self.partial = (self.partial + len) % OK.len();
        self.awaited = self
            .awaited
            .checked_sub(replies)
            .ok_or("more replies than requests")?;
        Ok(replies)
    }
}

/// Waits for clients that can go on.
fn wait(clients: &[Client]) -> Result<Vec<usize>> {
    let mut polled: Vec<_> = clients
        .iter()
        .map(|client| {
            let has_more = client.written < client.out.len() || client.awaited == 0;
            let wanted = match has_more {
                true => PollFlags::IN | PollFlags::OUT,
                false => PollFlags::IN,
            };
            PollFd::new(&client.socket, wanted)
        })
        .collect();
    if poll(&mut polled, Some(&REPLY_TIMEOUT.try_into()?))? == 0 {
        return Err("the server does not reply".into());
    }
    let is_ready = |&at: &usize| !polled[at].revents().is_empty();
    Ok((0..polled.len()).filter(is_ready).collect())
}
