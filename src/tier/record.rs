//! The form of keys and values on disk.
//!
//! ```text
//! key     place (4 bytes, big endian: the order of SCAN) | 1 (a bit) | name of the space (31 bits) | key
//! chunk   place (4) | 0 (a bit) | name (31 bits) | key | version (8, big endian) | number (4, big endian)
//!
//! record  head: form of the value (5 bits) | width of the expiry (2 bits: 0, 6 or 8 bytes) | 1
//!         expiry (milliseconds since the epoch, little endian) | body
//! body    value, as `compress` has it
//!         or 255 | compression (1) | bytes of each chunk but the last (4) | version (8)
//!                | bytes of the value (8) | bytes of the chunks' records (8)          little endian
//! ```
//!
//! The record of a chunk is a part of a value, as `compress` has it. A chunk sorts before all keys of its place: a run has
//! the chunks of a value first, and its record only when all of them are written. The version is another one for each
//! record, so that no chunk is taken for one of another version. `chunks` cuts values and puts them together.
//!
//! A marker, which says that the key was deleted, is the store's own and no record.
//!
//! Invariant: a chunk has the hash of its key, by which both are in the filters.

use super::compress::Form;
use crate::clock::UnixMs;
use crate::keyspace::below::Place;
use crate::keyspace::hash_with;

/// Bytes before the key itself.
const KEY_HEAD: usize = 8;
/// In the name's four bytes: this is a key and no chunk.
const IS_KEY: u32 = 1 << 31;
/// Version and number, at the end of the key of a chunk.
const CHUNK_TAIL: usize = 12;

const FORM_BITS: u32 = 5;
const NARROW: u8 = 1 << FORM_BITS;
const WIDE: u8 = 2 << FORM_BITS;
const WIDTH: u8 = 3 << FORM_BITS;
/// In every head, so that none is zero.
const HEAD: u8 = 0x80;
const NARROW_MAX: i64 = (1 << 48) - 1;
/// The first byte of a body whose value is in chunks; no form of `compress`.
const CHUNKED: u8 = 0xff;

/// Writes the key on disk.
pub fn encode_key(place: Place, name: u32, key: &[u8], out: &mut Vec<u8>) {
    debug_assert!(name < IS_KEY, "databases are not emptied so often");
    out.extend_from_slice(&place.0.to_be_bytes());
    out.extend_from_slice(&(name | IS_KEY).to_be_bytes());
    out.extend_from_slice(key);
}

/// Writes the key of a chunk that belongs to a key on disk.
pub fn encode_chunk_key(on_disk: &[u8], version: u64, number: u32, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(on_disk);
    if let Some(mark) = out.get_mut(start + 4) {
        *mark &= !(1 << 7);
    }
    out.extend_from_slice(&version.to_be_bytes());
    out.extend_from_slice(&number.to_be_bytes());
}

fn is_chunk(on_disk: &[u8]) -> bool {
    on_disk.get(4).is_some_and(|mark| mark & 1 << 7 == 0)
}

/// The hash of the key in a key on disk, by which memory knows it too. A chunk has that of its key.
pub fn hash_of_key(seed: u64, on_disk: &[u8]) -> u64 {
    let tail = if is_chunk(on_disk) { CHUNK_TAIL } else { 0 };
    let end = on_disk.len().saturating_sub(tail);
    hash_with(seed, on_disk.get(KEY_HEAD..end).unwrap_or_default())
}

/// Takes a key on disk apart: the name of its space, and the key. `None` where it is none, but a chunk.
pub fn decode_key(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (head, key) = bytes.split_at_checked(KEY_HEAD)?;
    let name = u32::from_be_bytes(*head.last_chunk::<4>()?);
    (name & IS_KEY != 0).then_some((name & !IS_KEY, key))
}

/// What a record says beside the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The type and flags of the value.
    pub form: u8,
    /// When the key expires.
    pub expires_at: Option<UnixMs>,
}

/// Writes what stands before the value.
pub fn encode_head(head: Head, out: &mut Vec<u8>) {
    let form = head.form | HEAD;
    match head.expires_at {
        None => out.push(form),
        Some(UnixMs(at @ 0..=NARROW_MAX)) => {
            out.push(form | NARROW);
            out.extend_from_slice(&at.to_le_bytes()[..6]);
        }
        Some(UnixMs(at)) => {
            out.push(form | WIDE);
            out.extend_from_slice(&at.to_le_bytes());
        }
    }
}

/// What a record has behind its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// The value, as `compress` has it.
    Value(&'a [u8]),
    /// Where the value is.
    Chunks(Chunks),
}

/// What a record says of a value that lies in chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunks {
    /// How they are compressed, where that made them smaller.
    pub form: Form,
    /// The bytes of the value in each but the last.
    pub chunk_bytes: u32,
    /// What their keys have, and no others of this key.
    pub version: u64,
    /// The bytes of the value.
    pub raw_bytes: u64,
    /// The bytes of their records.
    pub stored_bytes: u64,
}

/// Writes what stands in place of a value that lies in chunks.
pub fn encode_chunks(chunks: &Chunks, out: &mut Vec<u8>) {
    out.extend_from_slice(&[CHUNKED, chunks.form.code()]);
    out.extend_from_slice(&chunks.chunk_bytes.to_le_bytes());
    for number in [chunks.version, chunks.raw_bytes, chunks.stored_bytes] {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

fn decode_chunks(body: &[u8]) -> Option<Chunks> {
    let (&form, rest) = body.split_first()?;
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
    let (&head, rest) = record.split_first()?;
    let width = match head & WIDTH {
        0 => 0,
        NARROW => 6,
        WIDE => 8,
        _ => return None,
    };
    let (expiry, body) = rest.split_at_checked(width)?;
    let mut at = [0; 8];
    at[..width].copy_from_slice(expiry);
    let is_head = head & HEAD != 0;
    let head = Head {
        form: head & (NARROW - 1),
        expires_at: (width > 0).then(|| UnixMs(i64::from_le_bytes(at))),
    };
    let body = match body.split_first() {
        Some((&CHUNKED, chunks)) => Body::Chunks(decode_chunks(chunks)?),
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
            let head = Head {
                form: 0x1f,
                expires_at: at.map(UnixMs),
            };
            let mut record = Vec::new();
            encode_head(head, &mut record);
            record.extend_from_slice(b"value");
            assert_eq!(decode(&record), Some((head, Body::Value(b"value"))));
            assert!(decode(&record[..0]).is_none());
            assert!(at.is_none() || decode(&record[..3]).is_none());
        }
    }

    #[test]
    fn keys_come_back_in_the_order_of_their_places() {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        encode_key(Place(1), u32::MAX >> 1, b"z", &mut a);
        encode_key(Place(256), 0, b"", &mut b);
        assert!(a < b);
        assert_eq!(decode_key(&a), Some((u32::MAX >> 1, &b"z"[..])));
        assert_eq!(decode_key(&b[..7]), None);
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
        };
        let mut record = Vec::new();
        encode_head(head, &mut record);
        encode_chunks(&chunks, &mut record);
        assert_eq!(decode(&record), Some((head, Body::Chunks(chunks))));
        for end in 2..record.len() {
            assert_eq!(decode(&record[..end]), None);
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
        encode_key(Place(6), u32::MAX >> 1, b"zzz", &mut before);
        for chunk in &chunks {
            assert!(before < *chunk && *chunk < other && *chunk < key);
            assert_eq!(decode_key(chunk), None);
            assert_eq!(hash_of_key(9, chunk), hash_of_key(9, &key));
        }
        assert_eq!(hash_of_key(9, &[1; 6]), hash_of_key(9, b""));
    }
}
