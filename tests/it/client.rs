//! A small blocking client, and the replies of RESP2 and RESP3 as one enum.
//!
//! It is written without the server's own code, so that one misunderstanding of the protocol
//! cannot hide in both. `replies_agree_with_redis_protocol` checks it against another decoder.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

/// How long to wait for bytes before the server counts as hanging.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Requests above this size are written by a thread of their own: a server may stop reading while
/// its replies are not read.
const WRITE_INLINE_MAX_BYTES: usize = 32 * 1024;

/// One reply, as sent: what RESP distinguishes is distinguished here.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reply {
    Simple(Vec<u8>),
    Error(Vec<u8>),
    Int(i64),
    Bulk(Vec<u8>),
    /// The null bulk string of RESP2, `$-1`.
    Nil,
    /// The null array of RESP2, `*-1`.
    NilArray,
    /// The null of RESP3, `_`.
    Null,
    Bool(bool),
    /// As text, so that two spellings of one number differ.
    Double(String),
    BigNumber(String),
    Verbatim(Vec<u8>),
    BlobError(Vec<u8>),
    Array(Vec<Reply>),
    Map(Vec<(Reply, Reply)>),
    Set(Vec<Reply>),
    Push(Vec<Reply>),
    /// Attributes, and the reply they come before.
    Attribute(Vec<(Reply, Reply)>, Box<Reply>),
}

impl Reply {
    pub(crate) fn is_simple(&self, text: &str) -> bool {
        matches!(self, Self::Simple(bytes) if bytes == text.as_bytes())
    }

    pub(crate) fn is_bulk(&self, bytes: &[u8]) -> bool {
        matches!(self, Self::Bulk(bulk) if bulk == bytes)
    }

    pub(crate) fn is_error(&self) -> bool {
        matches!(self, Self::Error(_) | Self::BlobError(_))
    }

    /// The elements of an array or set.
    pub(crate) fn items(&self) -> Option<&[Reply]> {
        match self {
            Self::Array(items) | Self::Set(items) | Self::Push(items) => Some(items),
            _ => None,
        }
    }

    /// The elements of an array of strings, as text.
    pub(crate) fn strings(&self) -> Vec<String> {
        let items = self
            .items()
            .unwrap_or_else(|| panic!("an array, not {self}"));
        let text =
            |item: &Reply| String::from_utf8_lossy(item.bytes().unwrap_or_default()).into_owned();
        items.iter().map(text).collect()
    }

    /// The bytes of a bulk, simple or verbatim string.
    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bulk(bytes) | Self::Simple(bytes) | Self::Verbatim(bytes) => Some(bytes),
            _ => None,
        }
    }

    pub(crate) fn int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            _ => None,
        }
    }
}

/// Bytes for people: printable ASCII, the rest escaped, the middle of long ones left out.
pub(crate) struct Shown<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MAX: usize = 400;
        if self.0.len() <= MAX {
            return write!(f, "\"{}\"", self.0.escape_ascii());
        }
        let (head, tail) = (&self.0[..MAX / 2], &self.0[self.0.len() - 40..]);
        write!(
            f,
            "\"{}\"..{} bytes..\"{}\"",
            head.escape_ascii(),
            self.0.len(),
            tail.escape_ascii()
        )
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Simple(bytes) => write!(f, "+{}", Shown(bytes)),
            Self::Error(bytes) => write!(f, "-{}", Shown(bytes)),
            Self::Int(number) => write!(f, ":{number}"),
            Self::Bulk(bytes) => write!(f, "{}", Shown(bytes)),
            Self::Nil => write!(f, "nil"),
            Self::NilArray => write!(f, "nil-array"),
            Self::Null => write!(f, "null"),
            Self::Bool(value) => write!(f, "#{value}"),
            Self::Double(text) => write!(f, ",{text}"),
            Self::BigNumber(text) => write!(f, "({text}"),
            Self::Verbatim(bytes) => write!(f, "={}", Shown(bytes)),
            Self::BlobError(bytes) => write!(f, "!{}", Shown(bytes)),
            Self::Array(items) => write_items(f, "[", items, "]"),
            Self::Set(items) => write_items(f, "~[", items, "]"),
            Self::Push(items) => write_items(f, ">[", items, "]"),
            Self::Map(pairs) => write_pairs(f, "%{", pairs),
            Self::Attribute(pairs, reply) => {
                write_pairs(f, "|{", pairs)?;
                write!(f, " {reply}")
            }
        }
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn write_items(
    f: &mut fmt::Formatter<'_>,
    open: &str,
    items: &[Reply],
    close: &str,
) -> fmt::Result {
    f.write_str(open)?;
    for (index, item) in items.iter().enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        write!(f, "{separator}{item}")?;
    }
    f.write_str(close)
}

fn write_pairs(f: &mut fmt::Formatter<'_>, open: &str, pairs: &[(Reply, Reply)]) -> fmt::Result {
    f.write_str(open)?;
    for (index, (key, value)) in pairs.iter().enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        write!(f, "{separator}{key}: {value}")?;
    }
    f.write_str("}")
}

/// One request as a RESP array of bulk strings.
pub(crate) fn encode<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_into(&mut bytes, args);
    bytes
}

/// Appends one request to `bytes`.
pub(crate) fn encode_into<A: AsRef<[u8]>>(bytes: &mut Vec<u8>, args: &[A]) {
    bytes.extend_from_slice(format!("*{}\r\n", args.len()).as_bytes());
    for arg in args {
        let arg = arg.as_ref();
        bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        bytes.extend_from_slice(arg);
        bytes.extend_from_slice(b"\r\n");
    }
}

/// A connection with a read buffer. The functions without `try_` panic on a broken connection.
pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// How much of `buffer` is consumed.
    consumed: usize,
}

impl Client {
    pub(crate) fn connect(port: u16) -> Self {
        Self::try_connect(port).unwrap_or_else(|error| panic!("connect to port {port}: {error}"))
    }

    pub(crate) fn try_connect(port: u16) -> io::Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let stream = TcpStream::connect_timeout(&address, READ_TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(READ_TIMEOUT))?;
        stream.set_write_timeout(Some(READ_TIMEOUT))?;
        Ok(Self {
            stream,
            buffer: Vec::new(),
            consumed: 0,
        })
    }

    /// The timeout of each read and write that follows.
    pub(crate) fn set_timeout(&self, timeout: Duration) {
        self.stream
            .set_read_timeout(Some(timeout))
            .expect("set the read timeout");
        self.stream
            .set_write_timeout(Some(timeout))
            .expect("set the write timeout");
    }

    pub(crate) fn try_send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        self.try_send_raw(bytes).expect("send to the server");
    }

    pub(crate) fn send<A: AsRef<[u8]>>(&mut self, args: &[A]) {
        self.send_raw(&encode(args));
    }

    /// One command and its reply.
    pub(crate) fn run<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Reply {
        self.try_run(args).unwrap_or_else(|error| {
            let first = args.first().map_or(&b""[..], AsRef::as_ref);
            panic!("{} .. ({} arguments): {error}", Shown(first), args.len())
        })
    }

    pub(crate) fn try_run<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<Reply> {
        self.try_send_raw(&encode(args))?;
        self.try_read()
    }

    /// Sends requests and reads `count` replies at the same time, so that neither side can block
    /// the other for ever. Replies that came before an error are kept.
    pub(crate) fn pipeline(
        &mut self,
        requests: &[u8],
        count: usize,
    ) -> (Vec<Reply>, io::Result<()>) {
        if requests.len() <= WRITE_INLINE_MAX_BYTES {
            let sent = self.try_send_raw(requests);
            let (replies, read) = self.read_up_to(count);
            return (replies, read.and(sent));
        }
        let mut writer = self.stream.try_clone().expect("clone the socket");
        thread::scope(|scope| {
            let sent = scope.spawn(move || writer.write_all(requests));
            let (replies, read) = self.read_up_to(count);
            if read.is_err() {
                // Frees the writer, which may wait for a server that hangs.
                let _ = self.stream.shutdown(Shutdown::Both);
            }
            let sent = sent.join().expect("the writer does not panic");
            (replies, read.and(sent))
        })
    }

    fn read_up_to(&mut self, count: usize) -> (Vec<Reply>, io::Result<()>) {
        let mut replies = Vec::with_capacity(count);
        while replies.len() < count {
            match self.try_read() {
                Ok(reply) => replies.push(reply),
                Err(error) => return (replies, Err(error)),
            }
        }
        (replies, Ok(()))
    }

    pub(crate) fn read(&mut self) -> Reply {
        self.try_read().expect("read a reply")
    }

    /// Waits until a part of the next reply is there.
    pub(crate) fn wait_for_more(&mut self) {
        if self.consumed == self.buffer.len() {
            self.fill().expect("read a reply");
        }
    }

    /// The next reply, if a part of it is there.
    pub(crate) fn read_if_there(&mut self) -> Option<Reply> {
        if self.consumed == self.buffer.len() {
            self.stream
                .set_nonblocking(true)
                .expect("change the socket");
            let filled = self.fill();
            self.stream
                .set_nonblocking(false)
                .expect("change the socket");
            match filled {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) => panic!("read a reply: {error}"),
            }
        }
        Some(self.read())
    }

    /// Reads one whole reply. A closed connection is `UnexpectedEof`, a reply that is not RESP
    /// `InvalidData`, a timeout `WouldBlock`.
    pub(crate) fn try_read(&mut self) -> io::Result<Reply> {
        let line = self.line()?;
        let Some((&kind, rest)) = line.split_first() else {
            return Err(invalid(&line));
        };
        Ok(match kind {
            b'+' => Reply::Simple(rest.to_vec()),
            b'-' => Reply::Error(rest.to_vec()),
            b':' => Reply::Int(number(&line)?),
            b'$' if rest == b"-1" => Reply::Nil,
            b'$' => Reply::Bulk(self.blob(&line)?),
            b'=' => Reply::Verbatim(self.blob(&line)?),
            b'!' => Reply::BlobError(self.blob(&line)?),
            b'*' if rest == b"-1" => Reply::NilArray,
            b'*' => Reply::Array(self.replies(length(&line)?)?),
            b'~' => Reply::Set(self.replies(length(&line)?)?),
            b'>' => Reply::Push(self.replies(length(&line)?)?),
            b'%' => Reply::Map(self.pairs(length(&line)?)?),
            b'|' => Reply::Attribute(self.pairs(length(&line)?)?, Box::new(self.try_read()?)),
            b'_' if rest.is_empty() => Reply::Null,
            b'#' if rest == b"t" => Reply::Bool(true),
            b'#' if rest == b"f" => Reply::Bool(false),
            b',' => Reply::Double(text(rest)?),
            b'(' => Reply::BigNumber(text(rest)?),
            _ => return Err(invalid(&line)),
        })
    }

    fn replies(&mut self, count: usize) -> io::Result<Vec<Reply>> {
        (0..count).map(|_| self.try_read()).collect()
    }

    fn pairs(&mut self, count: usize) -> io::Result<Vec<(Reply, Reply)>> {
        (0..count)
            .map(|_| Ok((self.try_read()?, self.try_read()?)))
            .collect()
    }

    fn blob(&mut self, header: &[u8]) -> io::Result<Vec<u8>> {
        let length = length(header)?;
        while self.buffer.len() - self.consumed < length + 2 {
            self.fill()?;
        }
        let end = self.consumed + length;
        let blob = self.buffer[self.consumed..end].to_vec();
        if &self.buffer[end..end + 2] != b"\r\n" {
            return Err(invalid(&self.buffer[end..end + 2]));
        }
        self.consumed = end + 2;
        Ok(blob)
    }

    fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut searched = 0;
        loop {
            let rest = &self.buffer[self.consumed + searched..];
            if let Some(position) = rest.windows(2).position(|pair| pair == b"\r\n") {
                let end = self.consumed + searched + position;
                let line = self.buffer[self.consumed..end].to_vec();
                self.consumed = end + 2;
                return Ok(line);
            }
            searched = (self.buffer.len() - self.consumed).saturating_sub(1);
            self.fill()?;
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        if self.consumed > 0 {
            self.buffer.drain(..self.consumed);
            self.consumed = 0;
        }
        let length = self.buffer.len();
        // Small for thousands of idle connections, large for a large value.
        self.buffer
            .resize(length + length.clamp(16 * 1024, 1024 * 1024), 0);
        let read = self.stream.read(&mut self.buffer[length..]);
        self.buffer.truncate(length + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Ends our sending half; the server sees the end of the stream.
    pub(crate) fn finish_sending(&self) {
        // It fails when the server has closed already, which the next read tells.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Everything the server sends until it closes the connection. A reset counts as closing.
    pub(crate) fn read_to_close(&mut self) -> io::Result<Vec<u8>> {
        loop {
            match self.fill() {
                Ok(()) => {}
                Err(error) if is_closed(&error) => {
                    let rest = self.buffer[self.consumed..].to_vec();
                    self.consumed = self.buffer.len();
                    return Ok(rest);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Whether the error says that the other side has closed the connection.
pub(crate) fn is_closed(error: &io::Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(
        error.kind(),
        BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
    )
}

fn number(line: &[u8]) -> io::Result<i64> {
    let digits = std::str::from_utf8(&line[1..])
        .ok()
        .and_then(|digits| digits.parse().ok());
    digits.ok_or_else(|| invalid(line))
}

fn length(line: &[u8]) -> io::Result<usize> {
    usize::try_from(number(line)?).map_err(|_| invalid(line))
}

fn text(bytes: &[u8]) -> io::Result<String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| invalid(bytes))
}

fn invalid(line: &[u8]) -> io::Error {
    io::Error::new(
        ErrorKind::InvalidData,
        format!("not a RESP reply: {}", Shown(line)),
    )
}

#[cfg(test)]
mod tests {
    use redis_protocol::resp2::decode::decode as decode_resp2;
    use redis_protocol::resp2::types::OwnedFrame as Resp2;
    use redis_protocol::resp3::decode::complete::decode as decode_resp3;
    use redis_protocol::resp3::types::OwnedFrame as Resp3;

    use super::*;
    use crate::server::Strata;

    /// Our reading of a reply against that of `redis-protocol`, over both versions.
    #[test]
    fn replies_agree_with_redis_protocol() {
        let strata = Strata::start(&[]);
        let commands: &[&[&str]] = &[
            &["SET", "a", "1"],
            &["GET", "a"],
            &["GET", "missing"],
            &["MGET", "a", "missing"],
            &["INCR", "a"],
            &["INCR", "a", "b"],
            &["SCAN", "0"],
            &["CONFIG", "GET", "slowlog-max-len"],
            &["SET", "a", "2", "GET"],
            &["LCS", "a", "a", "IDX"],
            &["COMMAND", "GETKEYSANDFLAGS", "GET", "a"],
            &["INFO", "server"],
        ];
        for protocol in ["2", "3"] {
            for command in commands {
                let mut client = strata.connect();
                client.run(&["HELLO", protocol]);
                // QUIT closes, and so ends the bytes that both read.
                client.send_raw(&[encode(command), encode(&["QUIT"])].concat());
                let bytes = client
                    .read_to_close()
                    .expect("the server closes after QUIT");
                let bytes = bytes.strip_suffix(b"+OK\r\n").expect("QUIT answers OK");
                client.buffer = bytes.to_vec();
                client.consumed = 0;
                let ours = client.read();
                assert_eq!(
                    client.consumed,
                    bytes.len(),
                    "{command:?} over RESP{protocol}"
                );
                let theirs = if protocol == "2" {
                    let (frame, used) = decode_resp2(bytes).expect("RESP2").expect("a whole frame");
                    assert_eq!(used, bytes.len(), "{command:?}");
                    from_resp2(frame)
                } else {
                    let (frame, used) = decode_resp3(bytes).expect("RESP3").expect("a whole frame");
                    assert_eq!(used, bytes.len(), "{command:?}");
                    from_resp3(frame)
                };
                assert_eq!(
                    in_order(ours),
                    in_order(theirs),
                    "{command:?} over RESP{protocol}"
                );
            }
        }
    }

    fn from_resp2(frame: Resp2) -> Reply {
        match frame {
            Resp2::SimpleString(bytes) => Reply::Simple(bytes),
            Resp2::Error(text) => Reply::Error(text.into_bytes()),
            Resp2::Integer(number) => Reply::Int(number),
            Resp2::BulkString(bytes) => Reply::Bulk(bytes),
            Resp2::Array(items) => Reply::Array(items.into_iter().map(from_resp2).collect()),
            Resp2::Null => Reply::Nil,
        }
    }

    fn from_resp3(frame: Resp3) -> Reply {
        match frame {
            Resp3::BlobString { data, .. } => Reply::Bulk(data),
            Resp3::SimpleString { data, .. } => Reply::Simple(data),
            Resp3::SimpleError { data, .. } => Reply::Error(data.into_bytes()),
            Resp3::Number { data, .. } => Reply::Int(data),
            Resp3::VerbatimString { data, .. } => Reply::Verbatim([b"txt:", &data[..]].concat()),
            Resp3::Null => Reply::Null,
            Resp3::Array { data, .. } => Reply::Array(data.into_iter().map(from_resp3).collect()),
            Resp3::Set { data, .. } => Reply::Set(data.into_iter().map(from_resp3).collect()),
            Resp3::Map { data, .. } => {
                let pairs = data.into_iter();
                Reply::Map(
                    pairs
                        .map(|(key, value)| (from_resp3(key), from_resp3(value)))
                        .collect(),
                )
            }
            other => panic!("not among the replies of this test: {other:?}"),
        }
    }

    /// `redis-protocol` keeps maps and sets in hash tables.
    fn in_order(reply: Reply) -> Reply {
        match reply {
            Reply::Array(items) => Reply::Array(items.into_iter().map(in_order).collect()),
            Reply::Set(mut items) => {
                items.sort();
                Reply::Set(items.into_iter().map(in_order).collect())
            }
            Reply::Map(pairs) => {
                let mut pairs: Vec<_> = pairs
                    .into_iter()
                    .map(|(key, value)| (key, in_order(value)))
                    .collect();
                pairs.sort();
                Reply::Map(pairs)
            }
            other => other,
        }
    }
}
