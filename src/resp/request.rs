//! Requests: RESP arrays of bulk strings, and inline commands as typed into a terminal.
//!
//! The parser works on all bytes that have arrived and notes where each argument lies; nothing is
//! copied, except arguments of inline commands, whose quotes must be undone. A request that has not
//! arrived in full is parsed again from its start when more comes, unless it has many arguments:
//! then what was found is kept in `Partial`, so that a request costs time linear in its length.
//!
//! A long argument need not stand in the buffer: once the parser has found where it begins ([`Coming`]) whoever reads may
//! receive it apart, as what then becomes a value without being copied ([`Unfinished::received`]). In the buffer it is left out.
//!
//! Invariant: every span lies inside the buffer that its request was parsed from, or is one of what was received apart.
//! Invariant: what a client announces (counts, lengths) reserves no memory before it has sent it.

use std::fmt;
use std::ops::Range;

use crate::value::shared::SharedBytes;

/// An inline request, and a count or length with its line end, has at most this many bytes.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// Most arguments that a request may announce.
const ARGS_MAX: i64 = i32::MAX as i64;
/// Most arguments before AUTH, and most bytes in each.
const UNAUTHENTICATED_ARGS_MAX: i64 = 10;
const UNAUTHENTICATED_BULK_MAX: i64 = 16 * 1024;
/// From this many arguments on an unfinished request is not parsed from its start again.
const PARTIAL_ARGS_MIN: usize = 64;
/// An argument of at least so many bytes that has not arrived in full may be received apart.
pub const APART_BYTES_MIN: usize = 32 * 1024;
/// In place of where it starts: it was received apart, and the rest is its number.
pub(super) const APART: usize = 1 << (usize::BITS - 1);

/// A fault in the framing, after which nothing that the client sends can be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtocolError(Vec<u8>);

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.wire()))
    }
}

impl std::error::Error for ProtocolError {}

impl ProtocolError {
    /// The bytes on the wire after the leading `-`.
    pub fn wire(&self) -> Vec<u8> {
        [b"ERR Protocol error: ", self.0.as_slice()].concat()
    }
}

fn fault<T>(text: &str) -> Result<T, ProtocolError> {
    Err(ProtocolError(text.into()))
}

/// What a request may not exceed.
#[derive(Clone, Copy, Debug)]
pub struct RequestLimits {
    /// `proto-max-bulk-len`, in bytes.
    pub bulk_bytes: u64,
    /// Before AUTH a client gets little room.
    pub authenticated: bool,
}

/// Where an argument lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub(super) start: usize,
    pub(super) len: usize,
}

/// Requests that were parsed together and will run one after the other.
#[derive(Debug, Default)]
pub struct Batch {
    spans: Vec<Span>,
    requests: Vec<Parsed>,
    /// Arguments of inline requests, without their quotes.
    inline: Vec<u8>,
    /// Arguments that were received apart.
    apart: Vec<SharedBytes>,
}

#[derive(Debug)]
struct Parsed {
    spans: Range<usize>,
    inline: bool,
    end: usize,
}

/// The arguments of one request; the first is the command's name.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) spans: &'a [Span],
    pub(super) apart: &'a [SharedBytes],
}

impl<'a> Args<'a> {
    /// How many there are, the name included.
    #[inline]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is none, which a parsed request never is.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The argument at a place that the command's arity guarantees.
    #[inline]
    pub fn at(&self, index: usize) -> &'a [u8] {
        self.bytes_of(self.spans[index])
    }

    #[inline]
    fn bytes_of(&self, span: Span) -> &'a [u8] {
        let Span { start, len } = span;
        match self.bytes.get(start..start.wrapping_add(len)) {
            Some(bytes) => bytes,
            None => self.apart(start),
        }
    }

    #[cold]
    fn apart(&self, start: usize) -> &'a [u8] {
        &self.apart[start ^ APART]
    }

    /// The argument at a place, if it was received apart: it need not be copied to be kept.
    pub fn shared(&self, index: usize) -> Option<&'a SharedBytes> {
        let start = self.spans.get(index)?.start;
        (start & APART != 0).then(|| &self.apart[start ^ APART])
    }

    /// The argument at a place, if there is one.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        (index < self.len()).then(|| self.at(index))
    }

    /// The arguments from a place on.
    pub fn from(&self, index: usize) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        let (args, spans) = (*self, self.spans.get(index..).unwrap_or_default());
        spans.iter().map(move |span| args.bytes_of(*span))
    }

    /// The arguments from a place on, as a request of their own: for COMMAND GETKEYS.
    #[must_use]
    pub fn tail(&self, index: usize) -> Self {
        Self {
            bytes: self.bytes,
            spans: self.spans.get(index..).unwrap_or_default(),
            apart: self.apart,
        }
    }
}

/// The arguments of a request that outlives the buffer which it came in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnedArgs {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

impl OwnedArgs {
    /// The arguments.
    pub fn args(&self) -> Args<'_> {
        Args {
            bytes: &self.bytes,
            spans: &self.spans,
            apart: &[],
        }
    }
}

impl<'w> FromIterator<&'w [u8]> for OwnedArgs {
    fn from_iter<I: IntoIterator<Item = &'w [u8]>>(words: I) -> Self {
        let mut owned = Self::default();
        for word in words {
            let (start, len) = (owned.bytes.len(), word.len());
            owned.bytes.extend_from_slice(word);
            owned.spans.push(Span { start, len });
        }
        owned
    }
}

/// An unfinished request with many arguments: how far it was parsed. Offsets count from its start.
///
/// Invariant: it is of the request that the next parse finds first.
#[derive(Debug, Default)]
struct Partial {
    spans: Vec<Span>,
    missing: usize,
    at: usize,
}

/// What is known of a request that has not arrived in full.
#[derive(Debug, Default)]
pub struct Unfinished {
    partial: Option<Box<Partial>>,
    /// Arguments of the request that the buffer begins with which were received apart, in order. Whoever reads forgets them
    /// when it has run.
    pub received: Vec<Received>,
    /// The last parse came to a long argument of which a part is missing.
    pub coming: Option<Coming>,
}

/// An argument that was received apart.
#[derive(Debug)]
pub struct Received {
    /// Where in the request it would begin, without those that were received apart before it.
    pub at: usize,
    /// The argument.
    pub bytes: SharedBytes,
}

/// A long argument that is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coming {
    /// Where in the request it begins, without those that were received apart before it.
    pub at: usize,
    /// Its length.
    pub len: usize,
}

/// How far [`Batch::parse`] came.
#[derive(Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the buffer that the requests in the batch take, from where parsing began.
    pub end: usize,
    /// If the rest is a part of a request: how many bytes the buffer must hold from `end` on
    /// before parsing makes sense again. Zero where the batch is full.
    pub needed: usize,
}

impl Batch {
    /// The number of requests.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether there is no request.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// The arguments of a request; `buffer` is what the batch was parsed from.
    #[inline]
    pub fn args<'a>(&'a self, buffer: &'a [u8], index: usize) -> Args<'a> {
        let request = &self.requests[index];
        let bytes = if request.inline { &self.inline } else { buffer };
        Args {
            bytes,
            spans: &self.spans[request.spans.clone()],
            apart: &self.apart,
        }
    }

    /// Bytes of arguments that were received apart.
    #[inline]
    pub fn apart_bytes(&self) -> usize {
        self.apart.iter().map(|bytes| bytes.len()).sum()
    }

    /// Lets go of arguments that were received apart: they may be values now.
    #[inline]
    pub fn release(&mut self) {
        self.apart.clear();
    }

    /// Where a request ends in the buffer.
    pub fn end(&self, index: usize) -> usize {
        self.requests[index].end
    }

    /// Replaces the batch by at most `most` requests from `buffer[from..]`. A fault is returned
    /// only when no request stands before it, so that those are answered first.
    pub fn parse(
        &mut self,
        buffer: &[u8],
        from: usize,
        most: usize,
        limits: RequestLimits,
        unfinished: &mut Unfinished,
    ) -> Result<Progress, ProtocolError> {
        self.spans.clear();
        self.requests.clear();
        self.inline.clear();
        self.apart.clear();
        unfinished.coming = None;
        let mut at = from;
        while self.requests.len() < most {
            let first = self.spans.len();
            let parsed = match buffer.get(at) {
                None => return Ok(Progress { end: at, needed: 1 }),
                Some(b'*') => self.parse_array(buffer, at, limits, unfinished),
                Some(_) => self.parse_inline(buffer, at),
            };
            match parsed {
                Ok(Step::Done { end, inline }) => {
                    // An empty request is passed over without a reply.
                    if self.spans.len() > first {
                        self.requests.push(Parsed {
                            spans: first..self.spans.len(),
                            inline,
                            end,
                        });
                    }
                    at = end;
                }
                Ok(Step::Unfinished { needed }) => {
                    self.spans.truncate(first);
                    if !self.requests.is_empty() {
                        // The next parse starts before it: at a request that was not run yet, or
                        // at an empty one behind the last.
                        unfinished.partial = None;
                        unfinished.coming = None;
                    }
                    return Ok(Progress { end: at, needed });
                }
                Err(_) if !self.requests.is_empty() => {
                    self.spans.truncate(first);
                    unfinished.partial = None;
                    return Ok(Progress { end: at, needed: 0 });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Progress { end: at, needed: 0 })
    }

    fn parse_array(
        &mut self,
        buffer: &[u8],
        start: usize,
        limits: RequestLimits,
        unfinished: &mut Unfinished,
    ) -> Result<Step, ProtocolError> {
        let first = self.spans.len();
        let (mut missing, mut at) = match unfinished.partial.take() {
            Some(part) => {
                let moved = part.spans.iter().map(|span| span.moved(start as isize));
                self.spans.extend(moved);
                (part.missing, part.at + start)
            }
            None => match buffer[start..] {
                // Hardly any request has more.
                [b'*', count @ b'0'..=b'9', b'\r', _, ..] => (usize::from(count - b'0'), start + 4),
                _ => match parse_header(buffer, start + 1, Header::Args, limits)? {
                    None => {
                        return Ok(Step::Unfinished {
                            needed: buffer.len() - start + 1,
                        });
                    }
                    Some((count, at)) => (usize::try_from(count).unwrap_or(0), at),
                },
            },
        };
        if start == 0 && !unfinished.received.is_empty() {
            let received = unfinished.received.iter();
            self.apart
                .extend(received.map(|received| received.bytes.clone()));
        }
        while missing > 0 {
            if let Some((span, end)) = short_bulk(buffer, at, limits) {
                self.spans.push(span);
                (at, missing) = (end, missing - 1);
                continue;
            }
            let bulk = match parse_bulk(buffer, at, limits)? {
                Bulk::Done { span, end } if span.len < APART_BYTES_MIN => Bulk::Done { span, end },
                bulk => bulk.placed(buffer, start, &unfinished.received),
            };
            let needed = match bulk {
                Bulk::Done { span, end } => {
                    self.spans.push(span);
                    (at, missing) = (end, missing - 1);
                    continue;
                }
                Bulk::Unfinished { end } => end - start,
                Bulk::Long { span } => {
                    unfinished.coming = Some(Coming {
                        at: span.start - start,
                        len: span.len,
                    });
                    span.start + span.len + 2 - start
                }
            };
            if self.spans.len() - first >= PARTIAL_ARGS_MIN {
                let spans = self.spans[first..].iter();
                let spans = spans.map(|span| span.moved(-(start as isize))).collect();
                unfinished.partial = Some(Box::new(Partial {
                    spans,
                    missing,
                    at: at - start,
                }));
            }
            return Ok(Step::Unfinished { needed });
        }
        Ok(Step::Done {
            end: at,
            inline: false,
        })
    }

    fn parse_inline(&mut self, buffer: &[u8], start: usize) -> Result<Step, ProtocolError> {
        let rest = &buffer[start..];
        // A zero byte hides the line's end, as it does for Redis, which looks for it as C does.
        let end = memchr::memchr2(b'\n', 0, rest);
        let Some(newline) = end.filter(|&end| rest[end] == b'\n') else {
            if rest.len() > LINE_BYTES_MAX {
                return fault("too big inline request");
            }
            return Ok(Step::Unfinished {
                needed: rest.len() + 1,
            });
        };
        let line = rest[..newline]
            .strip_suffix(b"\r")
            .unwrap_or(&rest[..newline]);
        if self.split_inline(line).is_none() {
            return fault("unbalanced quotes in request");
        }
        Ok(Step::Done {
            end: start + newline + 1,
            inline: true,
        })
    }

    /// Splits a line into arguments: bare words, "double quotes" with escapes, 'single quotes'.
    fn split_inline(&mut self, line: &[u8]) -> Option<()> {
        let mut rest = line;
        loop {
            let word = rest
                .iter()
                .position(|&c| !is_space(c))
                .unwrap_or(rest.len());
            rest = &rest[word..];
            if rest.is_empty() {
                return Some(());
            }
            let start = self.inline.len();
            rest = read_word(rest, &mut self.inline)?;
            self.spans.push(Span {
                start,
                len: self.inline.len() - start,
            });
        }
    }
}

enum Step {
    Done { end: usize, inline: bool },
    Unfinished { needed: usize },
}

enum Bulk {
    Done {
        span: Span,
        end: usize,
    },
    Unfinished {
        end: usize,
    },
    /// A long argument that does not stand in the buffer in full.
    Long {
        span: Span,
    },
}

impl Span {
    /// The same from another start of the buffer.
    fn moved(self, by: isize) -> Self {
        let start = match self.start & APART {
            0 => self.start.wrapping_add_signed(by),
            _ => self.start,
        };
        Self { start, ..self }
    }
}

impl Bulk {
    /// The same, where what was received apart is known: an argument that is there has its end in the buffer elsewhere.
    #[cold]
    #[inline(never)]
    fn placed(self, buffer: &[u8], start: usize, received: &[Received]) -> Self {
        let span = match self {
            Self::Done { span, .. } | Self::Long { span } => span,
            Self::Unfinished { .. } => return self,
        };
        // They are of the first request; another one of the same shape may stand behind it.
        let received = if start == 0 { received } else { &[] };
        let is_it = |received: &Received| {
            received.at == span.start - start && received.bytes.len() == span.len
        };
        let apart = received.iter().position(is_it).map(|number| Span {
            start: APART | number,
            len: span.len,
        });
        let in_buffer = if apart.is_some() { 0 } else { span.len };
        let end = span.start + in_buffer + 2;
        match apart {
            _ if end <= buffer.len() => Self::Done {
                span: apart.unwrap_or(span),
                end,
            },
            Some(_) => Self::Unfinished { end },
            None => Self::Long { span },
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Header {
    Args,
    Bulk,
}

/// Reads a count or length up to its line end. `None` where the line is not complete.
#[inline]
fn parse_header(
    buffer: &[u8],
    at: usize,
    header: Header,
    limits: RequestLimits,
) -> Result<Option<(i64, usize)>, ProtocolError> {
    let rest = &buffer[at..];
    let (number, len) = match *rest {
        [a @ b'0'..=b'9', b'\r', _, ..] => (Some(i64::from(a - b'0')), 1),
        _ => match memchr::memchr2(b'\r', 0, rest) {
            Some(end) if end + 1 < rest.len() && rest[end] == b'\r' => {
                (crate::value::number::parse_i64(&rest[..end]), end)
            }
            _ if rest.len() + 1 > LINE_BYTES_MAX => {
                return fault(match header {
                    Header::Args => "too big mbulk count string",
                    Header::Bulk => "too big bulk count string",
                });
            }
            _ => return Ok(None),
        },
    };
    let number = check_header(number, header, limits)?;
    Ok(Some((number, at + len + 2)))
}

#[inline]
fn check_header(
    number: Option<i64>,
    header: Header,
    limits: RequestLimits,
) -> Result<i64, ProtocolError> {
    match (header, number) {
        (Header::Args, Some(n))
            if n > UNAUTHENTICATED_ARGS_MAX && n <= ARGS_MAX && !limits.authenticated =>
        {
            fault("unauthenticated multibulk length")
        }
        (Header::Args, Some(n)) if n <= ARGS_MAX => Ok(n),
        (Header::Args, _) => fault("invalid multibulk length"),
        (Header::Bulk, Some(n)) if n >= 0 && n.cast_unsigned() <= limits.bulk_bytes => {
            if n > UNAUTHENTICATED_BULK_MAX && !limits.authenticated {
                return fault("unauthenticated bulk length");
            }
            Ok(n)
        }
        (Header::Bulk, _) => fault("invalid bulk length"),
    }
}

/// An argument whose length has one or two digits and that has arrived in full: the common case by far.
#[inline]
fn short_bulk(buffer: &[u8], at: usize, limits: RequestLimits) -> Option<(Span, usize)> {
    let digit = |byte: u8| usize::from(byte - b'0');
    let (len, start) = match *buffer.get(at..)? {
        [b'$', a @ b'0'..=b'9', b'\r', _, ..] => (digit(a), at + 4),
        [b'$', a @ b'1'..=b'9', b @ b'0'..=b'9', b'\r', _, ..] => {
            (digit(a) * 10 + digit(b), at + 5)
        }
        _ => return None,
    };
    let end = start + len + 2;
    let fits = end <= buffer.len() && len as u64 <= limits.bulk_bytes;
    fits.then_some((Span { start, len }, end))
}

fn parse_bulk(buffer: &[u8], at: usize, limits: RequestLimits) -> Result<Bulk, ProtocolError> {
    let (len, start) = match buffer.get(at..) {
        None | Some([]) => return Ok(Bulk::Unfinished { end: at + 1 }),
        Some([b'$', ..]) => match parse_header(buffer, at + 1, Header::Bulk, limits)? {
            Some(header) => header,
            None => {
                return Ok(Bulk::Unfinished {
                    end: buffer.len() + 1,
                });
            }
        },
        // As Redis does, the fault is told when the line is there.
        Some(rest @ &[other, ..]) => match memchr::memchr2(b'\r', 0, rest) {
            Some(end) if rest[end] == b'\r' && end + 1 < rest.len() => {
                return Err(expected_dollar(other));
            }
            _ if rest.len() > LINE_BYTES_MAX => return fault("too big bulk count string"),
            _ => {
                return Ok(Bulk::Unfinished {
                    end: buffer.len() + 1,
                });
            }
        },
    };
    if len.cast_unsigned() > limits.bulk_bytes {
        return fault("invalid bulk length");
    }
    let len = usize::try_from(len).unwrap_or(0);
    // The two bytes after the argument are passed over unread, as Redis does.
    let end = start + len + 2;
    if end > buffer.len() {
        return Ok(if len >= APART_BYTES_MIN {
            let span = Span { start, len };
            Bulk::Long { span }
        } else {
            Bulk::Unfinished { end }
        });
    }
    Ok(Bulk::Done {
        span: Span { start, len },
        end,
    })
}

#[cold]
fn expected_dollar(found: u8) -> ProtocolError {
    // A zero byte ends the text, as it does in C.
    let end: &[u8] = if found == 0 { b"" } else { &[found, b'\''] };
    ProtocolError([b"expected '$', got '", end].concat())
}

/// Reads one word into `out` and gives what follows it. `None` where a quote is not closed, or
/// closed in the middle of a word.
fn read_word<'a>(mut rest: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        rest = match *rest {
            [] => return Some(rest),
            [b' ' | b'\n' | b'\r' | b'\t' | 0, ..] => return Some(&rest[1..]),
            [b'"', ref inner @ ..] => return read_double_quoted(inner, out),
            [b'\'', ref inner @ ..] => return read_single_quoted(inner, out),
            [c, ref after @ ..] => {
                out.push(c);
                after
            }
        };
    }
}

fn read_double_quoted<'a>(mut rest: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, after) = match *rest {
            [] => return None,
            [b'"', ref after @ ..] => return closed(after),
            [b'\\', b'x', a, b, ref after @ ..]
                if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() =>
            {
                let digit = |c: u8| char::from(c).to_digit(16).unwrap_or(0) as u8;
                (digit(a) << 4 | digit(b), after)
            }
            [b'\\', c, ref after @ ..] => (unescape(c), after),
            [c, ref after @ ..] => (c, after),
        };
        out.push(byte);
        rest = after;
    }
}

fn read_single_quoted<'a>(mut rest: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, after) = match *rest {
            [] => return None,
            [b'\\', b'\'', ref after @ ..] => (b'\'', after),
            [b'\'', ref after @ ..] => return closed(after),
            [c, ref after @ ..] => (c, after),
        };
        out.push(byte);
        rest = after;
    }
}

fn closed(after: &[u8]) -> Option<&[u8]> {
    after.first().is_none_or(|&c| is_space(c)).then_some(after)
}

/// White space as C's `isspace` has it. Fewer of these end a bare word, as in Redis.
fn is_space(c: u8) -> bool {
    c.is_ascii_whitespace() || c == 0x0b
}

fn unescape(c: u8) -> u8 {
    match c {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: RequestLimits = RequestLimits {
        bulk_bytes: 1 << 20,
        authenticated: true,
    };

    type Words = Vec<Vec<u8>>;

    fn parse_all(bytes: &[u8]) -> Result<(Vec<Words>, Progress), ProtocolError> {
        let mut batch = Batch::default();
        let progress = batch.parse(bytes, 0, 1000, LIMITS, &mut Unfinished::default())?;
        let requests = (0..batch.len())
            .map(|i| batch.args(bytes, i).from(0).map(<[u8]>::to_vec).collect())
            .collect();
        Ok((requests, progress))
    }

    fn words(line: &[u8]) -> Words {
        parse_all(line).unwrap().0.concat()
    }

    #[test]
    fn a_pipeline_is_one_batch() {
        let (requests, progress) =
            parse_all(b"*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGET\r\n$0\r\n\r\nPING a\r\n*0\r\n\r\n")
                .unwrap();
        assert_eq!(requests.len(), 3);
        assert_eq!(requests[1], vec![b"GET".to_vec(), b"".to_vec()]);
        assert_eq!(requests[2], vec![b"PING".to_vec(), b"a".to_vec()]);
        assert_eq!(progress.needed, 1);
    }

    #[test]
    fn every_cut_of_a_request_waits_for_the_rest() {
        let whole = b"*3\r\n$3\r\nSET\r\n$10\r\n0123456789\r\n$1\r\nv\r\n";
        for cut in 0..whole.len() {
            let (requests, progress) = parse_all(&whole[..cut]).unwrap();
            assert!(requests.is_empty());
            assert_eq!(progress.end, 0);
            assert!(
                progress.needed > cut && progress.needed <= whole.len(),
                "{cut}: {progress:?}"
            );
        }
    }

    #[test]
    fn a_long_request_is_taken_up_where_it_was_left() {
        let mut whole = b"*200\r\n".to_vec();
        for i in 0..200 {
            whole.extend_from_slice(format!("$3\r\n{i:03}\r\n").as_bytes());
        }
        let mut partial = Unfinished::default();
        let mut batch = Batch::default();
        for cut in 0..whole.len() {
            batch
                .parse(&whole[..cut], 0, 10, LIMITS, &mut partial)
                .unwrap();
            assert!(batch.is_empty());
        }
        assert!(partial.partial.is_some());
        batch.parse(&whole, 0, 10, LIMITS, &mut partial).unwrap();
        let args = batch.args(&whole, 0);
        assert_eq!(
            (args.len(), args.at(0), args.at(199)),
            (200, &b"000"[..], &b"199"[..])
        );
        assert!(partial.partial.is_none());
    }

    #[test]
    fn a_long_request_behind_others_is_not_taken_for_what_stands_before_it() {
        let mut whole = b"PING\r\n*0\r\n*100\r\n".to_vec();
        whole.extend_from_slice(&b"$1\r\na\r\n".repeat(100));
        let cut = whole.len() - 10;
        let mut batch = Batch::default();
        // Of the first batch nothing is run, or its one request.
        for from in [0, 6] {
            let mut partial = Unfinished::default();
            batch
                .parse(&whole[..cut], 0, 10, LIMITS, &mut partial)
                .unwrap();
            assert_eq!((batch.len(), batch.end(0)), (1, 6));
            batch.parse(&whole, from, 10, LIMITS, &mut partial).unwrap();
            let last = batch.args(&whole, batch.len() - 1);
            assert_eq!((last.len(), last.at(99)), (100, &b"a"[..]), "{from}");
        }
    }

    #[test]
    fn a_long_argument_is_received_apart_and_left_out_of_the_buffer() {
        let value = vec![b'v'; APART_BYTES_MIN];
        let head = format!("*4\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n", value.len());
        let whole = [head.as_bytes(), &value, b"\r\n$2\r\nNX\r\nPING\r\n"].concat();
        let mut batch = Batch::default();
        for cut in [
            head.len(),
            head.len() + 1,
            head.len() + value.len(),
            head.len() + value.len() + 1,
        ] {
            let mut unfinished = Unfinished::default();
            let progress = batch
                .parse(&whole[..cut], 0, 10, LIMITS, &mut unfinished)
                .unwrap();
            let coming = Coming {
                at: head.len(),
                len: value.len(),
            };
            assert_eq!(unfinished.coming, Some(coming));
            assert_eq!(progress.needed, head.len() + value.len() + 2);
            unfinished.received.push(Received {
                at: coming.at,
                bytes: value[..].into(),
            });
            let rest = [head.as_bytes(), &whole[head.len() + value.len()..]].concat();
            for cut in head.len()..rest.len() {
                let progress = batch
                    .parse(&rest[..cut], 0, 10, LIMITS, &mut unfinished)
                    .unwrap();
                assert_eq!(unfinished.coming, None);
                assert!(batch.len() <= 1 && progress.needed > 0, "{cut}");
            }
            // A request that waits is parsed once more.
            for _ in 0..2 {
                batch.parse(&rest, 0, 10, LIMITS, &mut unfinished).unwrap();
                assert_eq!(batch.len(), 2);
                let args = batch.args(&rest, 0);
                assert_eq!(
                    (args.len(), args.at(1), args.at(3)),
                    (4, &b"k"[..], &b"NX"[..])
                );
                assert_eq!(args.at(2), value);
                assert!(args.from(2).next() == Some(&value) && args.tail(2).at(0) == value);
                assert_eq!(
                    args.shared(2).map(|shared| shared.as_ptr()),
                    Some(unfinished.received[0].bytes.as_ptr())
                );
                assert!(args.shared(1).is_none() && args.shared(9).is_none());
                assert_eq!(batch.args(&rest, 1).at(0), b"PING");
                // One of the same shape behind it has its own.
                let twice = [&rest[..rest.len() - 6], &whole[..whole.len() - 6]].concat();
                batch.parse(&twice, 0, 10, LIMITS, &mut unfinished).unwrap();
                let second = batch.args(&twice, 1);
                assert!(batch.len() == 2 && second.at(2) == value && second.shared(2).is_none());
                batch
                    .parse(&twice, batch.end(0), 10, LIMITS, &mut unfinished)
                    .unwrap();
                assert!(batch.args(&twice, 0).shared(2).is_none());
            }
        }
    }

    #[test]
    fn several_long_arguments_are_received_apart_among_many_short_ones() {
        let mut rest = b"*204\r\n".to_vec();
        let mut unfinished = Unfinished::default();
        let mut batch = Batch::default();
        for i in 0..200 {
            rest.extend_from_slice(format!("$3\r\n{i:03}\r\n").as_bytes());
            if i % 50 == 49 {
                let len = APART_BYTES_MIN + i;
                rest.extend_from_slice(format!("${len}\r\n").as_bytes());
                batch.parse(&rest, 0, 10, LIMITS, &mut unfinished).unwrap();
                let at = rest.len();
                assert_eq!(unfinished.coming, Some(Coming { at, len }));
                let bytes = vec![i as u8; len].into();
                unfinished.received.push(Received { at, bytes });
                rest.extend_from_slice(b"\r\n");
            }
        }
        batch.parse(&rest, 0, 10, LIMITS, &mut unfinished).unwrap();
        let args = batch.args(&rest, 0);
        assert_eq!(
            (args.len(), args.at(0), args.at(203)),
            (204, &b"000"[..], &[199; APART_BYTES_MIN + 199][..])
        );
        assert_eq!(
            (args.at(50), args.at(51)),
            (&[49; APART_BYTES_MIN + 49][..], &b"050"[..])
        );
    }

    #[test]
    fn only_the_first_request_of_a_buffer_has_arguments_apart() {
        let head = format!("*2\r\n$3\r\nGET\r\n${APART_BYTES_MIN}\r\n");
        let mut batch = Batch::default();
        let mut unfinished = Unfinished::default();
        let bytes = [b"PING\r\n", head.as_bytes()].concat();
        let progress = batch.parse(&bytes, 0, 10, LIMITS, &mut unfinished).unwrap();
        assert_eq!((batch.len(), progress.end, unfinished.coming), (1, 6, None));
        // An empty one in front is passed over.
        let bytes = [b"*0\r\n", head.as_bytes()].concat();
        let progress = batch.parse(&bytes, 0, 10, LIMITS, &mut unfinished).unwrap();
        assert_eq!(
            (progress.end, unfinished.coming.map(|coming| coming.at)),
            (4, Some(head.len()))
        );
    }

    #[test]
    fn faults_have_the_texts_of_redis() {
        for (bytes, text) in [
            (&b"*a\r\n"[..], "invalid multibulk length"),
            (b"*3000000000\r\n", "invalid multibulk length"),
            (b"*1\r\n:4\r\n", "expected '$', got ':'"),
            (b"*1\r\n$-1\r\n", "invalid bulk length"),
            (b"*1\r\n$2000000\r\n", "invalid bulk length"),
            (b"GET \"a\r\n", "unbalanced quotes in request"),
            (b"GET \"a\"b\r\n", "unbalanced quotes in request"),
        ] {
            let error = parse_all(bytes).unwrap_err();
            assert_eq!(error.to_string(), format!("ERR Protocol error: {text}"));
        }
        assert!(parse_all(&vec![b'a'; LINE_BYTES_MAX + 1]).is_err());
        let mut long = b"*".to_vec();
        long.resize(LINE_BYTES_MAX + 2, b'1');
        assert_eq!(
            parse_all(&long).unwrap_err().0,
            b"too big mbulk count string"
        );
    }

    #[test]
    fn requests_before_a_fault_are_answered_first() {
        let bytes = b"PING\r\n*a\r\n";
        let (requests, progress) = parse_all(bytes).unwrap();
        assert_eq!(
            (requests.len(), progress),
            (1, Progress { end: 6, needed: 0 })
        );
    }

    #[test]
    fn inline_quotes_are_undone() {
        assert_eq!(
            words(b"set  'a b' \"\\x41\\n\\\"\" c\r\n"),
            [&b"set"[..], b"a b", b"A\n\"", b"c"]
        );
        assert_eq!(words(b"'it\\'s'\n"), [b"it's"]);
        assert!(words(b"   \r\n").is_empty());
    }

    #[test]
    fn before_auth_a_client_gets_little_room() {
        let limits = RequestLimits {
            authenticated: false,
            ..LIMITS
        };
        let mut batch = Batch::default();
        for bytes in [&b"*11\r\n"[..], b"*1\r\n$16385\r\n"] {
            let error = batch
                .parse(bytes, 0, 1, limits, &mut Unfinished::default())
                .unwrap_err();
            assert!(error.to_string().contains("unauthenticated"), "{error}");
        }
    }
}
