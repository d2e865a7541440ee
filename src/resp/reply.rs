//! Replies: written straight into the buffer that goes out, in RESP2 or RESP3.
//!
//! One method for each shape that a command may answer with; where the two protocols differ the
//! method knows, so that a command never asks.

use super::Push;
use crate::error::CommandError;
use crate::value::number;
use crate::value::shared::SharedBytes;

/// The protocol version that a client speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// RESP2, with which every connection starts.
    #[default]
    Resp2,
    /// RESP3, asked for with HELLO 3.
    Resp3,
}

/// The head of a bulk string and the end of its line have at most so many bytes.
const BULK_FRAME_BYTES_MAX: usize = 24;

/// A buffer of replies on their way to a client.
#[derive(Debug, Default)]
pub struct Reply {
    buffer: Vec<u8>,
    /// Long strings that are not copied, and before which bytes of the buffer they go out, in order.
    shared: Vec<(usize, SharedBytes)>,
    shared_bytes: usize,
    protocol: Protocol,
}

/// A place where the length of an aggregate goes when it is known.
#[derive(Debug)]
#[must_use]
pub struct Deferred {
    at: usize,
}

impl Reply {
    /// An empty buffer.
    pub fn new(protocol: Protocol) -> Self {
        Self {
            buffer: Vec::new(),
            shared: Vec::new(),
            shared_bytes: 0,
            protocol,
        }
    }

    /// Begins anew, for another client: nothing stays of what the last one was to get.
    #[inline]
    pub fn begin(&mut self, protocol: Protocol) {
        self.protocol = protocol;
        self.buffer.clear();
        if self.has_shared() {
            self.shared.clear();
            self.shared_bytes = 0;
        }
    }

    /// Speaks another protocol from now on.
    pub fn set_protocol(&mut self, protocol: Protocol) {
        self.protocol = protocol;
    }

    /// The protocol that is spoken.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The bytes so far.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// The buffer itself, for the connection that sends it.
    pub fn buffer_mut(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// The number of bytes so far, without long strings that are not copied: a place to go back to.
    #[inline]
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// The number of bytes that go out.
    #[inline]
    pub fn sent_len(&self) -> usize {
        self.buffer.len() + self.shared_bytes
    }

    /// Whether there are long strings among them that are not copied.
    #[inline]
    pub fn has_shared(&self) -> bool {
        !self.shared.is_empty()
    }

    /// Takes these out, with where in the buffer they belong. What is left is the buffer.
    pub fn take_shared(&mut self) -> Vec<(usize, SharedBytes)> {
        self.shared_bytes = 0;
        std::mem::take(&mut self.shared)
    }

    /// All bytes that go out, in one buffer.
    pub fn take_joined(&mut self) -> Vec<u8> {
        let buffer = std::mem::take(&mut self.buffer);
        if !self.has_shared() {
            return buffer;
        }
        let mut joined = Vec::with_capacity(buffer.len() + self.shared_bytes);
        let mut from = 0;
        for (at, bytes) in self.take_shared() {
            joined.extend_from_slice(&buffer[from..at]);
            joined.extend_from_slice(&bytes);
            from = at;
        }
        joined.extend_from_slice(&buffer[from..]);
        joined
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Takes back all that was written after `len`: a reply that the client does not want.
    pub fn truncate(&mut self, len: usize) {
        self.buffer.truncate(len);
        // The head of each stands in the buffer before it.
        while let Some((_, bytes)) = self.shared.pop_if(|(at, _)| *at > len) {
            self.shared_bytes -= bytes.len();
        }
    }

    /// A kind of reply with its number. One of one or two digits, as most are, is written without a detour.
    #[inline]
    fn header(&mut self, kind: u8, number: i64) {
        let digit = |number: i64| b'0' + (number % 10) as u8;
        match number {
            0..10 => self
                .buffer
                .extend_from_slice(&[kind, digit(number), b'\r', b'\n']),
            10..100 => {
                let head = [kind, digit(number / 10), digit(number), b'\r', b'\n'];
                self.buffer.extend_from_slice(&head);
            }
            _ => self.long_header(kind, number),
        }
    }

    #[inline(never)]
    fn long_header(&mut self, kind: u8, number: i64) {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(number).as_bytes();
        self.buffer.reserve(digits.len() + 3);
        self.buffer.push(kind);
        self.buffer.extend_from_slice(digits);
        self.buffer.extend_from_slice(b"\r\n");
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        self.buffer.push(kind);
        self.buffer.extend_from_slice(text);
        self.buffer.extend_from_slice(b"\r\n");
    }

    /// `+OK`
    #[inline]
    pub fn ok(&mut self) {
        self.buffer.extend_from_slice(b"+OK\r\n");
    }

    /// A simple string, which must have no line break.
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    /// A simple string of any bytes. Line breaks in it become spaces.
    pub fn status(&mut self, text: &[u8]) {
        self.line(b'+', &in_one_line(text));
    }

    /// An error. Line breaks in it become spaces.
    pub fn error(&mut self, error: &CommandError) {
        self.line(b'-', &in_one_line(&error.wire()));
    }

    /// An integer.
    #[inline]
    pub fn int(&mut self, number: i64) {
        self.header(b':', number);
    }

    /// A count.
    #[inline]
    pub fn count(&mut self, count: usize) {
        self.int(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// A yes or no that is an integer in both protocols, as most old commands have it.
    #[inline]
    pub fn flag(&mut self, yes: bool) {
        self.buffer
            .extend_from_slice(if yes { b":1\r\n" } else { b":0\r\n" });
    }

    /// A bulk string.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.buffer.reserve(bytes.len() + BULK_FRAME_BYTES_MAX);
        self.header(b'$', bytes.len() as i64);
        self.buffer.extend_from_slice(bytes);
        self.buffer.extend_from_slice(b"\r\n");
    }

    /// A long string, which is not copied.
    pub fn shared_bulk(&mut self, bytes: SharedBytes) {
        self.header(b'$', bytes.len() as i64);
        self.shared_bytes += bytes.len();
        self.shared.push((self.buffer.len(), bytes));
        self.buffer.extend_from_slice(b"\r\n");
    }

    /// A bulk string of text.
    pub fn text(&mut self, text: &str) {
        self.bulk(text.as_bytes());
    }

    /// A bulk string, or nil.
    pub fn bulk_or_nil(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.nil(),
        }
    }

    /// No value.
    #[inline]
    pub fn nil(&mut self) {
        self.buffer.extend_from_slice(match self.protocol {
            Protocol::Resp2 => b"$-1\r\n",
            Protocol::Resp3 => b"_\r\n",
        });
    }

    /// No array.
    pub fn nil_array(&mut self) {
        self.buffer.extend_from_slice(match self.protocol {
            Protocol::Resp2 => b"*-1\r\n",
            Protocol::Resp3 => b"_\r\n",
        });
    }

    /// The head of an array of `len` replies that follow.
    #[inline]
    pub fn array(&mut self, len: usize) {
        self.header(b'*', len as i64);
    }

    /// The head of a map of `pairs` pairs; RESP2 has an array of both.
    pub fn map(&mut self, pairs: usize) {
        match self.protocol {
            Protocol::Resp2 => self.array(pairs * 2),
            Protocol::Resp3 => self.header(b'%', pairs as i64),
        }
    }

    /// The head of a set; RESP2 has an array.
    pub fn set(&mut self, len: usize) {
        match self.protocol {
            Protocol::Resp2 => self.array(len),
            Protocol::Resp3 => self.header(b'~', len as i64),
        }
    }

    /// The head of a push message; RESP2 has an array.
    pub fn push(&mut self, len: usize) {
        match self.protocol {
            Protocol::Resp2 => self.array(len),
            Protocol::Resp3 => self.header(b'>', len as i64),
        }
    }

    /// A push that others get too.
    pub fn pushed(&mut self, push: &Push) {
        let (bytes, long) = push.parts();
        self.buffer.push(match self.protocol {
            Protocol::Resp2 => b'*',
            Protocol::Resp3 => b'>',
        });
        self.buffer.extend_from_slice(bytes);
        if let Some(long) = long {
            self.shared_bytes += long.len();
            self.shared.push((self.buffer.len(), long.clone()));
            self.buffer.extend_from_slice(b"\r\n");
        }
    }

    /// Leaves room for the head of an array whose length is not known yet.
    pub fn array_deferred(&mut self) -> Deferred {
        Deferred {
            at: self.buffer.len(),
        }
    }

    /// Fills the room with the head.
    pub fn finish_array(&mut self, deferred: Deferred, len: usize) {
        let body = self.buffer.split_off(deferred.at);
        self.array(len);
        self.buffer.extend_from_slice(&body);
    }

    /// A floating-point number; RESP2 has a bulk string.
    pub fn double(&mut self, number: f64) {
        let text = number::format_f64(number);
        match self.protocol {
            Protocol::Resp2 => self.bulk(&text),
            Protocol::Resp3 => self.line(b',', &text),
        }
    }

    /// A number of any length, as its digits; RESP2 has a bulk string.
    pub fn big_number(&mut self, digits: &[u8]) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(digits),
            Protocol::Resp3 => self.line(b'(', &in_one_line(digits)),
        }
    }

    /// A boolean; RESP2 has an integer.
    pub fn boolean(&mut self, yes: bool) {
        match self.protocol {
            Protocol::Resp2 => self.flag(yes),
            Protocol::Resp3 => {
                self.buffer
                    .extend_from_slice(if yes { b"#t\r\n" } else { b"#f\r\n" })
            }
        }
    }

    /// Text to be shown as it is; RESP2 has a bulk string. `format` has three letters.
    pub fn verbatim(&mut self, format: &str, text: &[u8]) {
        if self.protocol == Protocol::Resp2 {
            return self.bulk(text);
        }
        self.header(b'=', text.len() as i64 + 4);
        self.buffer.extend_from_slice(format.as_bytes());
        self.buffer.push(b':');
        self.buffer.extend_from_slice(text);
        self.buffer.extend_from_slice(b"\r\n");
    }
}

fn in_one_line(text: &[u8]) -> Vec<u8> {
    let mut line = text.to_vec();
    line.iter_mut()
        .filter(|c| matches!(c, b'\r' | b'\n'))
        .for_each(|c| *c = b' ');
    line
}
