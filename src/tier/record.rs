//! The form of keys and values on disk.
//!
//! ```text
//! key     place (4 bytes, big endian: the order of SCAN) | 1 (a bit) | name of the space | key
//! chunk   place (4) | 0 (a bit) | name | key | version (8, big endian) | number (4, big endian)
//! name    0 to 126 (7 bits), or 127 (7 bits) and the name (4, big endian)
//!
//! record  head: form of the value (5 bits) | width of the expiry (2 bits: 0, 6 or 8 bytes) | 1
//!         expiry (milliseconds since the epoch, little endian) | body
//! body    value, as `compress` has it
//!         or 255 | pieces, one or more
//! piece   compression (1) | bytes of each chunk but the last (4) | version (8)
//!         | bytes of the piece (8) | bytes of the chunks' records (8)                  little endian
//! ```
//!
//! Where the head has both bits of the width the key is pinned, and a second byte has the width: 1 (5 bits) | width (2) | 1.
//!
//! The first piece is a value, and each other one what has changed since (`value::changes`). The record of a chunk is a part of
//! a piece, as `compress` has it. A chunk sorts before all keys of its place: a run has the chunks first, and the record only
//! when all of them are written. The version is another one for each piece, so that no chunk is taken for one of another
//! version. `chunks` cuts pieces and puts them together.
//!
//! What the databases are called lies in a chunk of no key, of the name 4294967295, which no space has: each run has it, so
//! that it is of the same moment as the keys of the run.
//!
//! A marker, which says that the key was deleted, is the store's own and no record.
//!
//! Invariant: a chunk has the hash of its key, by which both are in the filters.

use super::compress::Form;
use crate::clock::UnixMs;
use crate::keyspace::residency::{Place, Stored};
use crate::keyspace::{KeyHash, hash_with};

/// Bytes before the name.
const PLACE: usize = 4;
/// In the name's first byte: this is a key and no chunk.
const IS_KEY: u8 = 1 << 7;
/// In its place for a longer name, which follows.
const LONG_NAME: u8 = 127;
/// A name that is never given out.
const NO_NAME: u32 = u32::MAX;
/// Version and number, at the end of the key of a chunk.
const CHUNK_TAIL: usize = 12;

const FORM_BITS: u32 = 5;
const NARROW: u8 = 1 << FORM_BITS;
const WIDE: u8 = 2 << FORM_BITS;
const WIDTH: u8 = 3 << FORM_BITS;
/// In every head, so that none is zero.
const HEAD: u8 = 0x80;
/// The second byte of the head of a pinned key, but for the width.
const PINNED: u8 = HEAD | 1;
const NARROW_MAX: i64 = (1 << 48) - 1;
/// The first byte of a body whose value is in chunks; no form of `compress`.
const CHUNKED: u8 = 0xff;
const PIECE_BYTES: usize = 29;

/// Writes the key on disk.
pub fn encode_key(place: Place, name: u32, key: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&place.0.to_be_bytes());
    match u8::try_from(name) {
        Ok(name) if name < LONG_NAME => out.push(name | IS_KEY),
        _ => {
            out.push(LONG_NAME | IS_KEY);
            out.extend_from_slice(&name.to_be_bytes());
        }
    }
    out.extend_from_slice(key);
}

/// Writes the key of a chunk that belongs to a key on disk.
pub fn encode_chunk_key(on_disk: &[u8], version: u64, number: u32, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(on_disk);
    if let Some(mark) = out.get_mut(start + PLACE) {
        *mark &= !IS_KEY;
    }
    out.extend_from_slice(&version.to_be_bytes());
    out.extend_from_slice(&number.to_be_bytes());
}

/// Whether a key on disk is that of a chunk.
pub fn is_chunk(on_disk: &[u8]) -> bool {
    on_disk.get(PLACE).is_some_and(|mark| mark & IS_KEY == 0)
}

/// The hash of the key in a key on disk, by which memory knows it too. A chunk has that of its key.
pub fn hash_of_key(seed: u64, on_disk: &[u8]) -> u64 {
    let tail = if is_chunk(on_disk) { CHUNK_TAIL } else { 0 };
    let end = on_disk.len().saturating_sub(tail);
    let (_, key) = split_name(&on_disk[..end]).unwrap_or_default();
    hash_with(seed, key)
}

/// Takes a key on disk apart: the name of its space, and the key. `None` where it is none, but a chunk.
pub fn decode_key(bytes: &[u8]) -> Option<(u32, &[u8])> {
    split_name(bytes).filter(|_| !is_chunk(bytes))
}

/// The name of the space that a key on disk or a chunk belongs to; `None` for what belongs to none.
pub fn name_of(on_disk: &[u8]) -> Option<u32> {
    let (name, _) = split_name(on_disk)?;
    (name != NO_NAME).then_some(name)
}

/// Where a run says what the databases are called: a chunk of no key.
pub fn spaces_key(seed: u64) -> Vec<u8> {
    let (mut key, mut chunk) = (Vec::new(), Vec::new());
    let place = Place::of(KeyHash::of_value(hash_with(seed, b"")));
    encode_key(place, NO_NAME, b"", &mut key);
    encode_chunk_key(&key, 0, 0, &mut chunk);
    chunk
}

/// The name, and what is behind it.
fn split_name(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (first, rest) = bytes.get(PLACE..)?.split_first()?;
    match first & !IS_KEY {
        LONG_NAME => {
            let (name, rest) = rest.split_first_chunk()?;
            Some((u32::from_be_bytes(*name), rest))
        }
        name => Some((name.into(), rest)),
    }
}

/// What a record says beside the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The type and flags of the value.
    pub form: u8,
    /// When the key expires.
    pub expires_at: Option<UnixMs>,
    /// Whether a client pinned the key.
    pub pinned: bool,
}

impl Head {
    /// With the value.
    pub fn stored(self, bytes: &[u8]) -> Stored<'_> {
        Stored {
            form: self.form,
            bytes,
            expires_at: self.expires_at,
            pinned: self.pinned,
        }
    }
}

impl From<Stored<'_>> for Head {
    fn from(stored: Stored<'_>) -> Self {
        Self {
            form: stored.form,
            expires_at: stored.expires_at,
            pinned: stored.pinned,
        }
    }
}

/// Writes what stands before the value.
pub fn encode_head(head: Head, out: &mut Vec<u8>) {
    let first = head.form | HEAD;
    let at = head.expires_at.map_or(0, |at| at.0);
    let (width, bytes) = match head.expires_at {
        None => (0, 0),
        Some(UnixMs(0..=NARROW_MAX)) => (NARROW, 6),
        Some(_) => (WIDE, 8),
    };
    if head.pinned {
        out.extend_from_slice(&[first | WIDTH, PINNED | width]);
    } else {
        out.push(first | width);
    }
    out.extend_from_slice(&at.to_le_bytes()[..bytes]);
}

/// What a record has behind its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// The value, as `compress` has it.
    Value(&'a [u8]),
    /// Where the pieces of the value are.
    Chunks(Pieces<'a>),
}

/// The pieces that a record tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pieces<'a>(&'a [[u8; PIECE_BYTES]]);

impl Pieces<'_> {
    /// They, in order; there is one.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = Chunks> {
        self.0.iter().filter_map(decode_chunks)
    }

    /// The bytes of their chunks' records.
    pub fn stored_bytes(self) -> u64 {
        self.iter().map(|piece| piece.stored_bytes).sum()
    }
}

/// What a record says of a piece of a value, which lies in chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunks {
    /// How they are compressed, where that made them smaller.
    pub form: Form,
    /// The bytes of the piece in each but the last.
    pub chunk_bytes: u32,
    /// What their keys have, and no others of this key.
    pub version: u64,
    /// The bytes of the piece.
    pub raw_bytes: u64,
    /// The bytes of their records.
    pub stored_bytes: u64,
}

/// Writes what stands in place of a value that lies in chunks.
pub fn encode_pieces(pieces: &[Chunks], out: &mut Vec<u8>) {
    out.push(CHUNKED);
    for chunks in pieces {
        out.push(chunks.form.code());
        out.extend_from_slice(&chunks.chunk_bytes.to_le_bytes());
        for number in [chunks.version, chunks.raw_bytes, chunks.stored_bytes] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }
}

fn decode_pieces(bytes: &[u8]) -> Option<Pieces<'_>> {
    let (pieces, rest) = bytes.as_chunks();
    let are_whole = rest.is_empty() && pieces.iter().all(|piece| decode_chunks(piece).is_some());
    (are_whole && !pieces.is_empty()).then_some(Pieces(pieces))
}

fn decode_chunks(piece: &[u8; PIECE_BYTES]) -> Option<Chunks> {
    let (&form, rest) = piece.split_first()?;
    let (chunk_bytes, rest) = rest.split_first_chunk()?;
    let [version, raw_bytes, stored_bytes] = rest.as_chunks().0.first_chunk()?;
    Some(Chunks {
        form: Form::without_dictionary(form)?,
        chunk_bytes: u32::from_le_bytes(*chunk_bytes),
        version: u64::from_le_bytes(*version),
        raw_bytes: u64::from_le_bytes(*raw_bytes),
        stored_bytes: u64::from_le_bytes(*stored_bytes),
    })
}

/// Takes a record apart: what it says, and the value as it is stored. `None` where it is damaged.
pub fn decode(record: &[u8]) -> Option<(Head, Body<'_>)> {
    let (&first, mut rest) = record.split_first()?;
    let pinned = first & WIDTH == WIDTH;
    let mut width = first & WIDTH;
    if pinned {
        let second = *rest.split_off_first()?;
        width = second & WIDTH;
        if second & !WIDTH != PINNED {
            return None;
        }
    }
    let bytes = match width {
        0 => 0,
        NARROW => 6,
        WIDE => 8,
        _ => return None,
    };
    let (expiry, body) = rest.split_at_checked(bytes)?;
    let mut at = [0; 8];
    at[..bytes].copy_from_slice(expiry);
    let is_head = first & HEAD != 0;
    let head = Head {
        form: first & (NARROW - 1),
        expires_at: (bytes > 0).then(|| UnixMs(i64::from_le_bytes(at))),
        pinned,
    };
    let body = match body.split_first() {
        Some((&CHUNKED, chunks)) => Body::Chunks(decode_pieces(chunks)?),
        _ => Body::Value(body),
    };
    is_head.then_some((head, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back() {
        for at in [
            None,
            Some(0),
            Some(NARROW_MAX),
            Some(NARROW_MAX + 1),
            Some(-1),
        ] {
            for pinned in [false, true] {
                let head = Head {
                    form: 0x1f,
                    expires_at: at.map(UnixMs),
                    pinned,
                };
                let mut record = Vec::new();
                encode_head(head, &mut record);
                record.extend_from_slice(b"value");
                assert_eq!(decode(&record), Some((head, Body::Value(b"value"))));
                assert!(decode(&record[..usize::from(pinned)]).is_none());
                assert!(at.is_none() || decode(&record[..3]).is_none());
            }
        }
    }

    #[test]
    fn what_is_no_head_is_refused() {
        for record in [
            &[HEAD | WIDTH, PINNED | WIDTH, 0, 0, 0, 0, 0, 0, 0, 0][..],
            &[HEAD | WIDTH, HEAD],
            &[HEAD | WIDTH, PINNED | 2],
            &[0],
        ] {
            assert_eq!(decode(record), None, "{record:?}");
        }
    }

    #[test]
    fn keys_come_back_in_the_order_of_their_places_and_names() {
        let on_disk = |place, name, key: &[u8]| {
            let mut out = Vec::new();
            encode_key(Place(place), name, key, &mut out);
            assert_eq!(decode_key(&out), Some((name, key)));
            out
        };
        let all = [
            on_disk(1, u32::MAX, b"z"),
            on_disk(256, 0, b""),
            on_disk(256, 0, b"\xff\xff"),
            on_disk(256, 126, b"a"),
            on_disk(256, 127, b""),
            on_disk(256, 128, b""),
            on_disk(256, u32::MAX, b""),
        ];
        assert!(all.is_sorted());
        assert_eq!(decode_key(&all[1][..4]), None);
        assert_eq!(decode_key(&all[4][..8]), None);
    }

    #[test]
    fn a_record_of_a_value_in_chunks_comes_back_whole_or_not() {
        let chunks = Chunks {
            form: Form::Lz4,
            chunk_bytes: 7,
            version: u64::MAX - 1,
            raw_bytes: 1 << 40,
            stored_bytes: 5,
        };
        let head = Head {
            form: 0,
            expires_at: None,
            pinned: false,
        };
        let later = Chunks {
            version: 3,
            ..chunks
        };
        let mut record = Vec::new();
        encode_head(head, &mut record);
        encode_pieces(&[chunks, later], &mut record);
        let pieces = |record: &[u8]| match decode(record) {
            Some((found, Body::Chunks(pieces))) if found == head => Some(pieces.iter().collect()),
            _ => None::<Vec<_>>,
        };
        assert_eq!(pieces(&record), Some(vec![chunks, later]));
        for end in 2..record.len() {
            let whole = (end == record.len() - PIECE_BYTES).then(|| vec![chunks]);
            assert_eq!(pieces(&record[..end]), whole);
        }
    }

    #[test]
    fn chunks_lie_before_the_keys_of_their_place_and_have_the_hash_of_their_key() {
        let (mut key, mut other) = (Vec::new(), Vec::new());
        encode_key(Place(7), 3, b"key", &mut key);
        encode_key(Place(7), 0, b"", &mut other);
        let chunk = |version, number| {
            let mut chunk = Vec::new();
            encode_chunk_key(&key, version, number, &mut chunk);
            chunk
        };
        let chunks = [chunk(1, 0), chunk(1, 1), chunk(1, 256), chunk(2, 0)];
        assert!(chunks.is_sorted());
        let mut before = Vec::new();
        encode_key(Place(6), u32::MAX, b"zzz", &mut before);
        for chunk in &chunks {
            assert!(before < *chunk && *chunk < other && *chunk < key);
            assert_eq!(decode_key(chunk), None);
            assert_eq!(hash_of_key(9, chunk), hash_of_key(9, &key));
        }
        assert_eq!(hash_of_key(9, &[1; 6]), hash_of_key(9, b""));
    }
}
