//! The sending of keys to another server, for MIGRATE: RESTORE with their payloads, after AUTH and SELECT.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWrite, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::TcpStream;

use crate::clock::{self, UnixMs};
use crate::error::CommandError;
use crate::resp::{Protocol, Reply};

/// A longer line is no reply to what is sent here.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// The reply to HELLO has some 20, and some more for each module.
const HELLO_LINES_MAX: usize = 1000;

const NOT_CONNECTED: CommandError =
    CommandError::text("IOERR error or timeout connecting to the client");
const NOT_WRITTEN: CommandError =
    CommandError::text("IOERR error or timeout writing to target instance");
const NOT_READ: CommandError =
    CommandError::text("IOERR error or timeout reading to target instance");
const SAME_PLACE: CommandError =
    CommandError::text("ERR source and destination objects are the same");

/// The server that keys are sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The database there.
    pub db: i64,
    /// The password, with the name of the user before it, or neither.
    pub auth: Vec<Vec<u8>>,
    /// How long each step may take.
    pub timeout: Duration,
    /// The port of this server if the database is the one that the keys come from: it is no target then.
    pub not_own_port: Option<u16>,
}

/// What is to be done with a key there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Errand {
    /// It is made of a payload.
    Restore {
        /// What DUMP gives.
        payload: Vec<u8>,
        /// What a Valkey is given in its place, where it does not read that.
        for_valkey: Option<Vec<u8>>,
        /// When it expires.
        expires_at: Option<UnixMs>,
    },
    /// It is deleted: it was sent, and was deleted here before it was known to be there.
    Delete,
}

/// A key on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// The key.
    pub key: Box<[u8]>,
    /// What is to be done with it.
    pub errand: Errand,
    /// Whether the target has said that this is done.
    pub is_done: bool,
}

/// Keys on their way, and what became of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Where to.
    pub target: Target,
    /// The keys.
    pub parcels: Vec<Parcel>,
    /// Whether a key that is there already is replaced.
    pub replaces: bool,
    /// How often parcels were sent before these.
    pub rounds: usize,
    /// What went wrong, or the first refusal of the target.
    pub failure: Option<CommandError>,
}

impl Delivery {
    /// Sends the parcels and gives them back with what became of each.
    pub async fn deliver(mut self: Box<Self>) -> Box<Self> {
        if let Err(failure) = self.exchange().await {
            self.failure = Some(failure);
        }
        self
    }

    async fn exchange(&mut self) -> Result<(), CommandError> {
        let Target { host, port, .. } = &self.target;
        let connected = TcpStream::connect((host.as_str(), *port));
        let connected = tokio::time::timeout(self.target.timeout, connected).await;
        let mut stream = match connected {
            Ok(Ok(stream)) => stream,
            // Redis learns that only when it writes, and says so.
            Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => {
                return Err(NOT_WRITTEN);
            }
            _ => return Err(NOT_CONNECTED),
        };
        let ends = (stream.local_addr(), stream.peer_addr());
        let (Ok(here), Ok(there)) = ends else {
            return Err(NOT_CONNECTED);
        };
        if self.target.is_own(here, there) {
            return Err(SAME_PLACE);
        }
        // A failure means that small parcels wait for each other.
        let _ = stream.set_nodelay(true);
        let (reader, writer) = stream.split();
        self.talk(BufReader::new(reader), BufWriter::new(writer))
            .await
    }

    async fn talk(
        &mut self,
        mut replies: impl AsyncBufRead + Unpin,
        mut requests: impl AsyncWrite + Unpin,
    ) -> Result<(), CommandError> {
        let timeout = self.target.timeout;
        // Whether it takes these is known before any key is sent: keys would come into another database.
        for request in self.target.greeting() {
            write(&mut requests, &request, timeout).await?;
            flush(&mut requests, timeout).await?;
            if let Some(refusal) = read(&mut replies, timeout).await? {
                return Err(refusal);
            }
        }
        let is_valkey = self.parcels.iter().any(Parcel::depends_on_target)
            && is_valkey(&mut replies, &mut requests, timeout).await?;
        for parcel in &self.parcels {
            let request = parcel.request(self.replaces, is_valkey);
            write(&mut requests, &request, timeout).await?;
        }
        flush(&mut requests, timeout).await?;
        for parcel in &mut self.parcels {
            match read(&mut replies, timeout).await? {
                None => parcel.is_done = true,
                Some(refusal) => self.failure = self.failure.take().or(Some(refusal)),
            }
        }
        Ok(())
    }
}

impl Target {
    fn is_own(&self, here: SocketAddr, there: SocketAddr) -> bool {
        here.ip() == there.ip() && self.not_own_port == Some(there.port())
    }

    fn greeting(&self) -> Vec<Vec<u8>> {
        let mut auth: Vec<&[u8]> = vec![b"AUTH"];
        auth.extend(self.auth.iter().map(Vec::as_slice));
        let auth = (auth.len() > 1).then(|| request(&auth));
        let select = request(&[b"SELECT", self.db.to_string().as_bytes()]);
        auth.into_iter().chain([select]).collect()
    }
}

impl Parcel {
    /// Whether it is another one for Valkey than for Redis.
    fn depends_on_target(&self) -> bool {
        matches!(&self.errand, Errand::Restore { for_valkey, .. } if for_valkey.is_some())
    }

    fn request(&self, replaces: bool, is_valkey: bool) -> Vec<u8> {
        match &self.errand {
            Errand::Delete => request(&[b"DEL", &self.key]),
            Errand::Restore {
                payload,
                for_valkey,
                expires_at,
            } => {
                let payload = match for_valkey {
                    Some(for_valkey) if is_valkey => for_valkey,
                    _ => payload,
                };
                // 0 is never.
                let ttl_ms = expires_at.map_or(0, |at| (at.0 - clock::now().0).max(1));
                let ttl = ttl_ms.to_string();
                let mut words: Vec<&[u8]> = vec![b"RESTORE", &self.key, ttl.as_bytes(), payload];
                words.extend(replaces.then_some(&b"REPLACE"[..]));
                request(&words)
            }
        }
    }
}

/// A request is the array that a reply could be as well.
fn request(words: &[&[u8]]) -> Vec<u8> {
    let mut array = Reply::new(Protocol::Resp2);
    array.array(words.len());
    words.iter().for_each(|word| array.bulk(word));
    std::mem::take(array.buffer_mut())
}

async fn within<T>(timeout: Duration, step: impl Future<Output = std::io::Result<T>>) -> Option<T> {
    tokio::time::timeout(timeout, step).await.ok()?.ok()
}

async fn write(
    out: &mut (impl AsyncWrite + Unpin),
    bytes: &[u8],
    timeout: Duration,
) -> Result<(), CommandError> {
    let written = within(timeout, out.write_all(bytes)).await;
    written.ok_or(NOT_WRITTEN)
}

async fn flush(out: &mut (impl AsyncWrite + Unpin), timeout: Duration) -> Result<(), CommandError> {
    within(timeout, out.flush()).await.ok_or(NOT_WRITTEN)
}

/// Asks the target by HELLO whether it is a Valkey: that is the value of one of the names in the reply. One that refuses to tell
/// is none.
async fn is_valkey(
    replies: &mut (impl AsyncBufRead + Unpin),
    requests: &mut (impl AsyncWrite + Unpin),
    timeout: Duration,
) -> Result<bool, CommandError> {
    write(requests, &request(&[b"HELLO"]), timeout).await?;
    flush(requests, timeout).await?;
    let (mut left, mut is_valkey) = (1, false);
    for _ in 0..HELLO_LINES_MAX {
        if left == 0 {
            return Ok(is_valkey);
        }
        left -= 1;
        let line = read_line(replies, timeout).await?;
        let len = || std::str::from_utf8(&line[1..]).ok()?.parse().ok();
        match line.first() {
            Some(b'*') => left += len().unwrap_or(0usize).min(HELLO_LINES_MAX),
            // Its text is a line of its own.
            Some(b'$') => is_valkey |= read_line(replies, timeout).await? == b"valkey",
            Some(b'+' | b'-' | b':') => {}
            _ => return Err(NOT_READ),
        }
    }
    Err(NOT_READ)
}

/// Reads a line, and gives it without its end.
async fn read_line(
    replies: &mut (impl AsyncBufRead + Unpin),
    timeout: Duration,
) -> Result<Vec<u8>, CommandError> {
    let mut line = Vec::new();
    let mut limited = tokio::io::AsyncReadExt::take(replies, LINE_BYTES_MAX as u64);
    within(timeout, limited.read_until(b'\n', &mut line)).await;
    if !line.ends_with(b"\r\n") {
        return Err(NOT_READ);
    }
    line.truncate(line.len() - 2);
    Ok(line)
}

/// Reads a reply of one line: what it refuses, if it is an error.
async fn read(
    replies: &mut (impl AsyncBufRead + Unpin),
    timeout: Duration,
) -> Result<Option<CommandError>, CommandError> {
    let line = read_line(replies, timeout).await?;
    match line.split_first() {
        Some((b'-', refusal)) => Ok(Some(CommandError::bytes(&[
            b"ERR Target instance replied with error: ",
            refusal,
        ]))),
        Some((b'+' | b':', _)) => Ok(None),
        _ => Err(NOT_READ),
    }
}
