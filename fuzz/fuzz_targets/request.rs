//! Holds the request parser against another decoder of the protocol, and against itself.
//!
//! * What it makes of an array is what the array says, byte for byte, and redis-protocol reads the same in it.
//! * Where it stops, redis-protocol finds no request that it should have taken.
//! * Cut at any places, and run in any portions, the bytes give the same requests as in one piece; a parser
//!   that asked for more bytes than it needed, or for none, is found there.
//!
//! Input: three bytes of settings, then the bytes on the wire or, since long runs are hard to come by, a
//! program that writes them.
#![no_main]

use std::iter;

use libfuzzer_sys::fuzz_target;
use redis_protocol::resp2::decode::decode;
use redis_protocol::resp2::types::OwnedFrame;
use strata::resp::request::Unfinished;
use strata::resp::{Batch, RequestLimits};

/// Most of a program's bytes are not worth their time; some pass the limit of a line.
const WIRE_BYTES_MAX: [usize; 4] = [2_000, 4_000, 8_000, 70_000];
/// Beyond this, what an unfinished line is answered with depends on where it was cut, as in Redis.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// Quoting longer lines takes more time than it finds faults.
const QUOTED_LINE_MAX: usize = 200;
/// The decoder recurses for an array in an array. So many levels fit the stack.
const NESTED_MAX: usize = 1000;

type Request = Vec<Vec<u8>>;

fuzz_target!(|data: &[u8]| {
    let [settings, cuts, portions, rest @ ..] = data else {
        return;
    };
    let wire = if settings & 1 == 0 {
        rest.to_vec()
    } else {
        written(rest, WIRE_BYTES_MAX[usize::from(settings >> 6)])
    };
    let limits = RequestLimits {
        bulk_bytes: [1 << 20, 50, 1 << 29, u64::MAX][usize::from(settings >> 1 & 3)],
        authenticated: settings & 8 == 0,
    };
    let most = [1, 2, 5, 1000][usize::from(settings >> 4 & 3)];
    let whole = parse_whole(&wire, most, limits);
    whole.check(&wire, limits);
    let parts = parse_parts(&wire, most, limits, *cuts, *portions);
    agree(&whole, &parts, &wire);
});

/// Why parsing ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stop {
    Unfinished { needed: usize },
    Fault(Vec<u8>),
}

/// All requests of some bytes, and what stands behind them.
struct Parsed {
    requests: Vec<Request>,
    ends: Vec<usize>,
    end: usize,
    stop: Stop,
}

fn arguments(batch: &Batch, buffer: &[u8], index: usize) -> Request {
    let args = batch.args(buffer, index);
    assert!(!args.is_empty());
    args.from(0).map(<[u8]>::to_vec).collect()
}

fn parse_whole(wire: &[u8], most: usize, limits: RequestLimits) -> Parsed {
    let mut batch = Batch::default();
    let mut partial = Unfinished::default();
    let (mut requests, mut ends, mut end) = (Vec::new(), Vec::new(), 0);
    let stop = loop {
        match batch.parse(wire, end, most, limits, &mut partial) {
            Err(fault) => break Stop::Fault(fault.wire()),
            Ok(progress) => {
                requests.extend((0..batch.len()).map(|i| arguments(&batch, wire, i)));
                ends.extend((0..batch.len()).map(|i| batch.end(i)));
                assert!(batch.len() <= most);
                assert!(progress.end >= end && progress.end <= wire.len());
                end = progress.end;
                if progress.needed > 0 {
                    break Stop::Unfinished {
                        needed: progress.needed,
                    };
                }
                assert!(!batch.is_empty(), "a parser that stops says why");
            }
        }
    };
    Parsed {
        requests,
        ends,
        end,
        stop,
    }
}

impl Parsed {
    fn check(&self, wire: &[u8], limits: RequestLimits) {
        let mut at = 0;
        for (request, &end) in self.requests.iter().zip(&self.ends) {
            at = pass_over_empty(wire, at);
            assert!(at < end);
            if wire[at] == b'*' {
                check_array(&wire[at..end], request);
            } else {
                check_inline(&wire[at..end], request);
            }
            at = end;
        }
        at = pass_over_empty(wire, at);
        match self.stop {
            Stop::Unfinished { needed } => {
                assert_eq!(at, self.end, "it stops behind the last whole request");
                assert!(needed > wire.len() - at, "there is something to wait for");
            }
            Stop::Fault(_) => assert_eq!(at, pass_over_empty(wire, self.end)),
        }
        self.check_rest(&wire[at..], limits);
    }

    /// What stands where the parser stopped must not be a request.
    fn check_rest(&self, rest: &[u8], limits: RequestLimits) {
        if rest.first() != Some(&b'*') || rest.iter().filter(|&&c| c == b'*').count() > NESTED_MAX {
            return;
        }
        let (request, len) = match decode(rest) {
            Ok(Some((OwnedFrame::Array(frames), len))) => match bulk_strings(frames) {
                Some(request) => (request, len),
                None => {
                    // A zero byte hides the end of a line from us, as from Redis.
                    let is_fault = matches!(self.stop, Stop::Fault(_));
                    assert!(is_fault || rest[..len].contains(&0), "{:?}", self.stop);
                    return;
                }
            },
            _ => return,
        };
        let bulk_max = if limits.authenticated {
            limits.bulk_bytes
        } else {
            limits.bulk_bytes.min(16 * 1024)
        };
        let too_large = !limits.authenticated && request.len() > 10
            || request.iter().any(|arg| arg.len() as u64 > bulk_max);
        // Numbers with a plus sign or leading zeros are not ours to read.
        let is_plain = encoded(&request).len() == len;
        assert!(
            too_large || !is_plain,
            "{} is missed",
            rest[..len].escape_ascii()
        );
        assert!(matches!(self.stop, Stop::Fault(_)), "{:?}", self.stop);
    }
}

/// Where the next request starts: empty ones have no reply and are not in the batch.
fn pass_over_empty(wire: &[u8], mut at: usize) -> usize {
    loop {
        let rest = &wire[at..];
        let end = if let Some(number) = rest.strip_prefix(b"*") {
            let line = number.iter().position(|&c| c == b'\r');
            line.filter(|&line| line + 1 < number.len())
                .filter(|&line| {
                    let text = str::from_utf8(&number[..line]).unwrap_or("");
                    text.parse::<i64>()
                        .is_ok_and(|n| n <= 0 && n.to_string() == text)
                })
                .map(|line| line + 3)
        } else {
            let line = rest.iter().position(|&c| c == b'\n');
            line.filter(|&line| rest[..line].iter().all(|&c| is_space(c)))
                .map(|line| line + 1)
        };
        match end {
            Some(end) => at += end,
            None => return at,
        }
    }
}

fn is_space(c: u8) -> bool {
    matches!(c, b' ' | b'\t'..=b'\r')
}

/// Some bytes that were taken as an array of bulk strings are one.
fn check_array(frame: &[u8], request: &Request) {
    let plain = encoded(request);
    assert_eq!(frame.len(), plain.len(), "{}", frame.escape_ascii());
    // Of the two bytes after an argument none is looked at, of a line end the second is not.
    let mut settled = frame.to_vec();
    let mut lines_end_well = true;
    let mut at = 0;
    let args = request.iter().map(|arg| Some(arg.len()));
    for arg_len in iter::once(None).chain(args) {
        let line = plain[at..].iter().position(|&c| c == b'\n');
        at += line.expect("a line") + 1;
        lines_end_well &= frame[at - 1] == b'\n';
        settled[at - 1] = b'\n';
        if let Some(len) = arg_len {
            at += len + 2;
            settled[at - 2..at].copy_from_slice(b"\r\n");
        }
    }
    assert_eq!(settled, plain, "{}", frame.escape_ascii());
    if lines_end_well {
        let decoded = decode(frame).expect("an array");
        let (decoded, len) = decoded.expect("a whole array");
        assert_eq!(len, frame.len());
        let OwnedFrame::Array(frames) = decoded else {
            panic!("no array: {}", frame.escape_ascii());
        };
        assert_eq!(bulk_strings(frames).as_ref(), Some(request));
    }
}

fn bulk_strings(frames: Vec<OwnedFrame>) -> Option<Request> {
    frames
        .into_iter()
        .map(|frame| match frame {
            OwnedFrame::BulkString(bytes) => Some(bytes),
            _ => None,
        })
        .collect()
}

fn encoded(request: &Request) -> Vec<u8> {
    let mut wire = format!("*{}\r\n", request.len()).into_bytes();
    for arg in request {
        wire.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        wire.extend_from_slice(arg);
        wire.extend_from_slice(b"\r\n");
    }
    wire
}

/// redis-protocol knows no inline requests. Words without quotes are as easily split here, and the
/// arguments of the others come back when they are quoted.
fn check_inline(line: &[u8], request: &Request) {
    assert_eq!(line.iter().position(|&c| c == b'\n'), Some(line.len() - 1));
    assert!(!line.contains(&0));
    if !line.iter().any(|c| b"\"'\x0b\x0c".contains(c)) {
        let words: Request = line
            .split(|&c| is_space(c))
            .filter(|word| !word.is_empty())
            .map(<[u8]>::to_vec)
            .collect();
        assert_eq!(&words, request);
    }
    if line.len() > QUOTED_LINE_MAX {
        return;
    }
    let mut quoted = Vec::new();
    for arg in request {
        quoted.push(b'"');
        for byte in arg {
            quoted.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
        }
        quoted.extend_from_slice(b"\" ");
    }
    quoted.push(b'\n');
    let limits = RequestLimits {
        bulk_bytes: 0,
        authenticated: true,
    };
    assert_eq!(
        &parse_whole(&quoted, 1, limits).requests,
        &[request.clone()]
    );
}

/// A connection: bytes arrive in pieces, and of a batch sometimes only the first requests can be run.
fn parse_parts(wire: &[u8], most: usize, limits: RequestLimits, cuts: u8, portions: u8) -> Parsed {
    let mut random = Random(u64::from(cuts) << 8 | u64::from(portions) | 1 << 40);
    let longest = (wire.len() / 40).max(1 << (cuts % 6));
    let mut batch = Batch::default();
    let mut partial = Unfinished::default();
    let (mut requests, mut ends) = (Vec::new(), Vec::new());
    let (mut buffer, mut drained, mut arrived) = (Vec::new(), 0, 0);
    let mut from = 0;
    let mut needed = 0;
    loop {
        if random.below(3) == 0 {
            buffer.drain(..from);
            drained += from;
            from = 0;
        }
        let parsed = batch.parse(&buffer, from, most, limits, &mut partial);
        let enough = buffer.len() - from >= needed;
        let progress = match parsed {
            Ok(progress) => progress,
            Err(fault) => {
                assert!(
                    enough,
                    "a fault was told after fewer bytes than were asked for"
                );
                return Parsed {
                    requests,
                    ends,
                    end: drained + from,
                    stop: Stop::Fault(fault.wire()),
                };
            }
        };
        assert!(
            enough || batch.is_empty() && progress.end == from,
            "more bytes were asked for than were needed"
        );
        if !batch.is_empty() {
            let ran = if portions < 128 {
                batch.len()
            } else {
                random.below(batch.len() + 1)
            };
            for i in 0..ran {
                requests.push(arguments(&batch, &buffer, i));
                ends.push(drained + batch.end(i));
                from = batch.end(i);
            }
            needed = 0;
            continue;
        }
        from = progress.end;
        needed = progress.needed;
        assert!(needed > buffer.len() - from, "the parser waits for nothing");
        if arrived == wire.len() {
            return Parsed {
                requests,
                ends,
                end: drained + from,
                stop: Stop::Unfinished { needed },
            };
        }
        let piece = 1 + random.below(longest.min(wire.len() - arrived));
        buffer.extend_from_slice(&wire[arrived..arrived + piece]);
        arrived += piece;
    }
}

fn agree(whole: &Parsed, parts: &Parsed, wire: &[u8]) {
    if (&parts.stop, &parts.ends) != (&whole.stop, &whole.ends)
        && let Stop::Fault(text) = &parts.stop
    {
        let is_long_line = text.windows(8).any(|part| part == b" too big");
        assert!(
            is_long_line && wire.len() - parts.end > LINE_BYTES_MAX,
            "{:?} at {}, {:?} at {}",
            parts.stop,
            parts.end,
            whole.stop,
            whole.end
        );
        assert!(whole.requests.starts_with(&parts.requests));
        assert!(whole.ends.starts_with(&parts.ends));
        return;
    }
    assert_eq!(parts.stop, whole.stop);
    assert_eq!(parts.ends, whole.ends);
    assert_eq!(parts.requests, whole.requests);
    let behind = |parsed: &Parsed| pass_over_empty(wire, parsed.end);
    assert_eq!(behind(parts), behind(whole));
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 8) as usize % n
    }
}

/// Writes bytes for the wire as a program says.
fn written(program: &[u8], bytes_max: usize) -> Vec<u8> {
    let mut wire = Vec::new();
    let mut bytes = program.iter().copied();
    let mut last = 0;
    while let Some(op) = bytes.next() {
        let start = wire.len();
        let mut next = || bytes.next().unwrap_or(0);
        match op % 8 {
            0 => {
                let len = usize::from(next());
                wire.extend(bytes.by_ref().take(len));
            }
            1 => {
                let (args, len, fill) = (next(), next(), next());
                let request = (0..args).map(|i| vec![fill; usize::from(len ^ i) % 40]);
                wire.extend(encoded(&request.collect()));
            }
            2 => {
                let args = next() % 8;
                let request = (0..args).map(|_| {
                    let len = usize::from(bytes.next().unwrap_or(0) % 32);
                    bytes.by_ref().take(len).collect()
                });
                wire.extend(encoded(&request.collect()));
            }
            3 => {
                let (len, fill) = (length(next()), next());
                wire.resize(start + len, fill);
            }
            4 => {
                let sign = [b'*', b'$'][usize::from(next() % 2)];
                // Small numbers, and those near the powers of two.
                let number = (1i128 << (next() % 66)) + i128::from(next().cast_signed());
                wire.push(sign);
                wire.extend_from_slice(format!("{number}\r\n").as_bytes());
            }
            5 => {
                let (len, fill) = (length(next()), next());
                wire.extend_from_slice(format!("${len}\r\n").as_bytes());
                wire.resize(wire.len() + len, fill);
                wire.extend_from_slice(b"\r\n");
            }
            6 => {
                let piece = wire[last..].to_vec();
                for _ in 0..next() / 8 {
                    if wire.len() < bytes_max {
                        wire.extend_from_slice(&piece);
                    }
                }
            }
            _ => wire.truncate(start.saturating_sub(usize::from(next()))),
        }
        last = start.min(wire.len());
        if wire.len() > bytes_max {
            wire.truncate(bytes_max);
            break;
        }
    }
    wire
}

/// Mostly short, sometimes at a limit.
fn length(byte: u8) -> usize {
    match byte {
        0..200 => usize::from(byte),
        200..248 => usize::from(byte - 200) * 64,
        248..252 => 16 * 1024 - 2 + usize::from(byte - 248),
        _ => LINE_BYTES_MAX - 2 + usize::from(byte - 252),
    }
}
