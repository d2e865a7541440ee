//! Where a serialised value is read from, and its smallest parts: bytes, lengths, texts.

use super::super::number;

/// The longest text, in bytes, as in Redis.
const TEXT_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// LZF makes at most so many bytes of one: a copy of 264 bytes takes three.
const LZF_RATIO_MAX: u64 = 264;

const INT8: u8 = 0xc0;
const INT16: u8 = 0xc1;
const INT32: u8 = 0xc2;
const LZF: u8 = 0xc3;

/// Why a serialised value cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It ends too early.
    Truncated,
    /// It could not be read from where it is.
    Unreadable,
    /// It is none: what is wrong.
    Broken(&'static str),
    /// What it is, which is not supported.
    Unsupported(&'static str),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Truncated => f.write_str("it ends too early"),
            Self::Unreadable => f.write_str("it cannot be read"),
            Self::Broken(what) => write!(f, "{what}"),
            Self::Unsupported(what) => write!(f, "{what} are not supported"),
        }
    }
}

impl std::error::Error for Fault {}

/// Bytes that come one after another.
pub trait Input {
    /// The next bytes, which are consumed. Nothing is allocated for bytes that are not there.
    fn bytes(&mut self, count: usize) -> Result<&[u8], Fault>;
}

impl Input for &[u8] {
    fn bytes(&mut self, count: usize) -> Result<&[u8], Fault> {
        let (first, rest) = self.split_at_checked(count).ok_or(Fault::Truncated)?;
        *self = rest;
        Ok(first)
    }
}

/// The next bytes as an array.
pub(in crate::value) fn array<const N: usize>(input: &mut impl Input) -> Result<[u8; N], Fault> {
    let bytes = input.bytes(N)?;
    bytes.first_chunk().copied().ok_or(Fault::Truncated)
}

/// A length, or how a text is encoded that has none.
enum Length {
    Plain(u64),
    Encoded(u8),
}

fn length_or_encoding(input: &mut impl Input) -> Result<Length, Fault> {
    let [first] = array(input)?;
    Ok(Length::Plain(match first {
        0..=0x3f => u64::from(first),
        0x40..=0x7f => {
            let [second] = array(input)?;
            u64::from(first & 0x3f) << 8 | u64::from(second)
        }
        0x80 => u64::from(u32::from_be_bytes(array(input)?)),
        0x81 => u64::from_be_bytes(array(input)?),
        INT8..=LZF => return Ok(Length::Encoded(first)),
        _ => return Err(Fault::Broken("a length is none")),
    }))
}

/// A length.
pub(in crate::value) fn length(input: &mut impl Input) -> Result<u64, Fault> {
    match length_or_encoding(input)? {
        Length::Plain(len) => Ok(len),
        Length::Encoded(_) => Err(Fault::Broken("a text stands where a length belongs")),
    }
}

/// Shows a text.
pub(in crate::value) fn text<R>(
    input: &mut impl Input,
    show: impl FnOnce(&[u8]) -> R,
) -> Result<R, Fault> {
    let integer = match length_or_encoding(input)? {
        Length::Plain(len) if len <= TEXT_BYTES_MAX => {
            return Ok(show(input.bytes(len as usize)?));
        }
        Length::Plain(_) => return Err(Fault::Broken("a text is too long")),
        Length::Encoded(INT8) => i64::from(i8::from_le_bytes(array(input)?)),
        Length::Encoded(INT16) => i64::from(i16::from_le_bytes(array(input)?)),
        Length::Encoded(INT32) => i64::from(i32::from_le_bytes(array(input)?)),
        Length::Encoded(_) => {
            let (compressed, plain) = (length(input)?, length(input)?);
            if compressed > TEXT_BYTES_MAX || plain > TEXT_BYTES_MAX {
                return Err(Fault::Broken("a text is too long"));
            }
            if plain > compressed * LZF_RATIO_MAX {
                return Err(Fault::Broken("a compressed text cannot be that long"));
            }
            let bytes = input.bytes(compressed as usize)?;
            let text = lzf::decompress(bytes, plain as usize).ok();
            let text = text.filter(|text| text.len() as u64 == plain);
            let text = text.ok_or(Fault::Broken("a compressed text is broken"))?;
            return Ok(show(&text));
        }
    };
    Ok(show(&number::format_i64(integer)))
}

/// A text, owned.
pub(in crate::value) fn owned_text(input: &mut impl Input) -> Result<Vec<u8>, Fault> {
    text(input, <[u8]>::to_vec)
}

/// A score that is written as a text of its own kind.
pub(in crate::value) fn text_double(input: &mut impl Input) -> Result<f64, Fault> {
    let [len] = array(input)?;
    let score = match len {
        255 => f64::NEG_INFINITY,
        254 => f64::INFINITY,
        253 => f64::NAN,
        len => {
            let text = std::str::from_utf8(input.bytes(usize::from(len))?).ok();
            let number = text.and_then(|text| text.trim_ascii().parse().ok());
            number.ok_or(Fault::Broken("a score is no number"))?
        }
    };
    number_or_fault(score)
}

/// A score as a double.
pub(in crate::value) fn binary_double(input: &mut impl Input) -> Result<f64, Fault> {
    number_or_fault(f64::from_le_bytes(array(input)?))
}

/// A moment, in milliseconds since the epoch.
pub(in crate::value) fn milliseconds(input: &mut impl Input) -> Result<i64, Fault> {
    array(input).map(i64::from_le_bytes)
}

pub(in crate::value) fn number_or_fault(score: f64) -> Result<f64, Fault> {
    if score.is_nan() {
        return Err(Fault::Broken("a score is not a number"));
    }
    Ok(score)
}
