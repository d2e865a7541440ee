//! The forms of a stored value, and the way back to the value.
//!
//! ```text
//! raw              [0] [value]
//! lz4              [1] [length of the value: varint] [lz4 block]
//! zstd             [2] [zstd frame without its magic number]
//! zstd, dictionary [3] [id: varint] [zstd frame without its magic number]
//! ```
//!
//! A zstd frame says the length of its value itself, in the two bytes that it would otherwise spend on the size of its
//! window. It has no checksum, for the store has its own; and no dictionary id, for ours is shorter.
//!
//! Varints are LEB128: seven bits a byte, low ones first.

use std::cell::RefCell;
use std::io::Cursor;
use std::{error, fmt};

use zstd::dict::DecoderDictionary;
use zstd::zstd_safe::{DCtx, DParameter, FrameFormat, SafeResult, get_error_name};

use crate::lz4;

const RAW: u8 = 0;
const LZ4: u8 = 1;
const ZSTD: u8 = 2;
const ZSTD_DICTIONARY: u8 = 3;

/// A zstd block has a header of three bytes and holds at most 128 KiB.
const ZSTD_BLOCK_HEADER: usize = 3;
const ZSTD_BLOCK_MAX: usize = 128 << 10;

/// How a value is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As it is.
    Raw,
    /// An lz4 block.
    Lz4,
    /// A zstd frame.
    Zstd,
    /// A zstd frame that needs the dictionary of this id.
    ZstdDictionary(u32),
}

impl Form {
    /// The first byte of a value in this form.
    pub const fn code(self) -> u8 {
        match self {
            Self::Raw => RAW,
            Self::Lz4 => LZ4,
            Self::Zstd => ZSTD,
            Self::ZstdDictionary(_) => ZSTD_DICTIONARY,
        }
    }

    /// The form with this first byte, if it needs no dictionary.
    pub const fn without_dictionary(code: u8) -> Option<Self> {
        match code {
            RAW => Some(Self::Raw),
            LZ4 => Some(Self::Lz4),
            ZSTD => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// What the header of a stored value says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// How the value is stored.
    pub form: Form,
    /// Length of the value in bytes.
    pub raw_len: usize,
}

/// Why bytes could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The bytes end within the header.
    Truncated,
    /// The first byte names no form that we know.
    UnknownForm(u8),
    /// The dictionary is not there: its file was damaged or deleted.
    UnknownDictionary(u32),
    /// The value would be longer than the caller allows.
    TooLong {
        /// What the header says, in bytes.
        raw_len: usize,
        /// What the caller allows, in bytes.
        limit: usize,
    },
    /// Memory for the value could not be had.
    OutOfMemory,
    /// The payload is damaged.
    Corrupt(&'static str),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("the stored value ends within its header"),
            Self::UnknownForm(form) => write!(f, "unknown form {form} of a stored value"),
            Self::UnknownDictionary(id) => write!(f, "compression dictionary {id} is missing"),
            Self::TooLong { raw_len, limit } => {
                write!(
                    f,
                    "a stored value announces {raw_len} bytes, more than {limit}"
                )
            }
            Self::OutOfMemory => f.write_str("no memory for a stored value"),
            Self::Corrupt(why) => write!(f, "a stored value is damaged: {why}"),
        }
    }
}

impl error::Error for DecodeError {}

impl Encoded {
    /// Reads the header of a stored value, and returns it with the payload behind it.
    ///
    /// # Errors
    ///
    /// If the bytes are not a header. A header that says more than its payload can hold is refused too.
    pub fn read(bytes: &[u8]) -> Result<(Self, &[u8]), DecodeError> {
        let (&form, rest) = bytes.split_first().ok_or(DecodeError::Truncated)?;
        let (form, raw_len, payload) = match form {
            RAW => (Form::Raw, rest.len(), rest),
            LZ4 => {
                let (raw_len, block) = read_varint(rest)?;
                let most = block.len().saturating_mul(lz4::MAX_GROWTH);
                (Form::Lz4, at_most(raw_len, most)?, block)
            }
            ZSTD => (Form::Zstd, frame_raw_len(rest)?, rest),
            ZSTD_DICTIONARY => {
                let (id, frame) = read_varint(rest)?;
                let id = u32::try_from(id).map_err(|_| DecodeError::Corrupt("dictionary id"))?;
                (Form::ZstdDictionary(id), frame_raw_len(frame)?, frame)
            }
            other => return Err(DecodeError::UnknownForm(other)),
        };
        Ok((Self { form, raw_len }, payload))
    }

    /// Appends the header to `out`; the payload comes behind it.
    pub(super) fn write(self, out: &mut Vec<u8>) {
        out.push(self.form.code());
        match self.form {
            Form::Raw | Form::Zstd => {}
            Form::Lz4 => write_varint(self.raw_len as u64, out),
            Form::ZstdDictionary(id) => write_varint(u64::from(id), out),
        }
    }
}

/// Appends the value in `payload` to `out`, which is as before if that fails. `dictionary` is what the form asks for.
pub(super) fn decode(
    header: Encoded,
    payload: &[u8],
    dictionary: Option<&DecoderDictionary<'static>>,
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    let Encoded { form, raw_len } = header;
    if raw_len > limit {
        return Err(DecodeError::TooLong { raw_len, limit });
    }
    out.try_reserve_exact(raw_len)
        .map_err(|_| DecodeError::OutOfMemory)?;
    let start = out.len();
    let decoded = match form {
        Form::Raw => {
            out.extend_from_slice(payload);
            return Ok(());
        }
        Form::Lz4 => {
            out.resize(start + raw_len, 0);
            lz4::decompress(payload, &mut out[start..]).ok_or(DecodeError::Corrupt("lz4"))
        }
        Form::Zstd | Form::ZstdDictionary(_) => decode_frame(payload, dictionary, out),
    };
    let outcome = match decoded {
        Ok(len) if len == raw_len => return Ok(()),
        Ok(_) => DecodeError::Corrupt("another length than announced"),
        Err(error) => error,
    };
    out.truncate(start);
    Err(outcome)
}

thread_local! {
    /// A context costs 100 KB and some time to make, so each thread that reads keeps one.
    static CONTEXT: RefCell<Option<DCtx<'static>>> = const { RefCell::new(None) };
}

/// Decodes into the spare capacity of `out`, and returns the length of the value.
fn decode_frame(
    frame: &[u8],
    dictionary: Option<&DecoderDictionary<'static>>,
    out: &mut Vec<u8>,
) -> Result<usize, DecodeError> {
    let start = out.len() as u64;
    let mut target = Cursor::new(out);
    target.set_position(start);
    with_context(|context| match dictionary {
        Some(dictionary) => {
            context.decompress_using_ddict(&mut target, frame, dictionary.as_ddict())
        }
        None => context.decompress(&mut target, frame),
    })?
    .map_err(|code| DecodeError::Corrupt(get_error_name(code)))
}

fn with_context(
    run: impl FnOnce(&mut DCtx<'static>) -> SafeResult,
) -> Result<SafeResult, DecodeError> {
    CONTEXT
        .try_with(|cell| {
            let mut slot = cell.borrow_mut();
            if slot.is_none() {
                let mut context = DCtx::try_create()?;
                context
                    .set_parameter(DParameter::Format(FrameFormat::Magicless))
                    .ok()?;
                *slot = Some(context);
            }
            slot.as_mut().map(run)
        })
        .ok()
        .flatten()
        .ok_or(DecodeError::OutOfMemory)
}

/// The length of the value in a frame without magic number, as the header of the frame says it (RFC 8878, 3.1.1.1).
fn frame_raw_len(frame: &[u8]) -> Result<usize, DecodeError> {
    const SINGLE_SEGMENT: u8 = 1 << 5;
    const HAS_DICTIONARY_ID: u8 = 0b11;
    let (&descriptor, rest) = frame.split_first().ok_or(DecodeError::Truncated)?;
    if descriptor & HAS_DICTIONARY_ID != 0 {
        return Err(DecodeError::Corrupt("a frame with a dictionary id"));
    }
    let has_window = descriptor & SINGLE_SEGMENT == 0;
    let size = rest
        .get(usize::from(has_window)..)
        .ok_or(DecodeError::Truncated)?;
    let (len, base) = match descriptor >> 6 {
        0 if has_window => return Err(DecodeError::Corrupt("a frame without length")),
        0 => (1, 0),
        1 => (2, 256),
        2 => (4, 0),
        _ => (8, 0),
    };
    let digits = size.get(..len).ok_or(DecodeError::Truncated)?;
    let mut raw_len = [0; 8];
    raw_len[..len].copy_from_slice(digits);
    let blocks = size.len() / ZSTD_BLOCK_HEADER;
    at_most(
        u64::from_le_bytes(raw_len).saturating_add(base),
        blocks.saturating_mul(ZSTD_BLOCK_MAX),
    )
}

/// The length as a `usize`, if a payload that grows to `most` bytes can hold it: a few damaged bytes must not ask for a
/// gigabyte.
fn at_most(raw_len: u64, most: usize) -> Result<usize, DecodeError> {
    usize::try_from(raw_len)
        .ok()
        .filter(|&len| len <= most)
        .ok_or(DecodeError::Corrupt("longer than its payload can be"))
}

fn write_varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn read_varint(bytes: &[u8]) -> Result<(u64, &[u8]), DecodeError> {
    let mut number = 0u64;
    for (index, &byte) in bytes.iter().enumerate().take(9) {
        number |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return Ok((number, &bytes[index + 1..]));
        }
    }
    Err(if bytes.len() < 9 {
        DecodeError::Truncated
    } else {
        DecodeError::Corrupt("varint")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_round_trip() {
        for number in [
            0,
            1,
            127,
            128,
            16_383,
            16_384,
            u64::from(u32::MAX),
            (1 << 63) - 1,
        ] {
            let mut bytes = Vec::new();
            write_varint(number, &mut bytes);
            assert_eq!(read_varint(&bytes), Ok((number, &[][..])));
            assert_eq!(
                read_varint(&bytes[..bytes.len() - 1]),
                Err(DecodeError::Truncated)
            );
        }
        assert_eq!(
            read_varint(&[0xff; 20]),
            Err(DecodeError::Corrupt("varint"))
        );
    }

    #[test]
    fn a_few_bytes_cannot_ask_for_much() {
        let mut lz4 = vec![LZ4];
        write_varint(1 << 40, &mut lz4);
        lz4.extend([0; 16]);
        assert!(matches!(Encoded::read(&lz4), Err(DecodeError::Corrupt(_))));
        let frame = [ZSTD, 0xe0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0];
        assert!(matches!(
            Encoded::read(&frame),
            Err(DecodeError::Corrupt(_))
        ));
    }
}
