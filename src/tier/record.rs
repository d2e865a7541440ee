//! The form of keys and values on disk.
//!
//! ```text
//! key     place (4 bytes, big endian: the order of SCAN) | name of the space (4) | key
//! record  head: form of the value (5 bits) | width of the expiry (2 bits: 0, 6 or 8 bytes) | 1
//!         expiry (milliseconds since the epoch, little endian) | value, as `compress` has it
//! ```
//!
//! Where the head has both bits of the width the key is pinned, and a second byte has the width: 1 (5 bits) | width (2) | 1.
//!
//! A marker, which says that the key was deleted, is the store's own and no record.

use crate::clock::UnixMs;
use crate::keyspace::below::{Place, Stored};
use crate::keyspace::hash_with;

/// Bytes before the key itself.
const KEY_HEAD: usize = 8;

const FORM_BITS: u32 = 5;
const NARROW: u8 = 1 << FORM_BITS;
const WIDE: u8 = 2 << FORM_BITS;
const WIDTH: u8 = 3 << FORM_BITS;
/// In every head, so that none is zero.
const HEAD: u8 = 0x80;
/// The second byte of the head of a pinned key, but for the width.
const PINNED: u8 = HEAD | 1;
const NARROW_MAX: i64 = (1 << 48) - 1;

/// Writes the key on disk.
pub fn encode_key(place: Place, name: u32, key: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&place.0.to_be_bytes());
    out.extend_from_slice(&name.to_be_bytes());
    out.extend_from_slice(key);
}

/// The hash of the key in a key on disk, by which memory knows it too.
pub fn hash_of_key(seed: u64, on_disk: &[u8]) -> u64 {
    hash_with(seed, on_disk.get(KEY_HEAD..).unwrap_or_default())
}

/// Takes a key on disk apart: the name of its space, and the key. `None` where it is none.
pub fn decode_key(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (head, key) = bytes.split_at_checked(KEY_HEAD)?;
    let name = u32::from_be_bytes(*head.last_chunk::<4>()?);
    Some((name, key))
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

/// Takes a record apart: what it says, and the value as it is stored. `None` where it is damaged.
pub fn decode(record: &[u8]) -> Option<(Head, &[u8])> {
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
    let (expiry, value) = rest.split_at_checked(bytes)?;
    let mut at = [0; 8];
    at[..bytes].copy_from_slice(expiry);
    let is_head = first & HEAD != 0;
    let head = Head {
        form: first & (NARROW - 1),
        expires_at: (bytes > 0).then(|| UnixMs(i64::from_le_bytes(at))),
        pinned,
    };
    is_head.then_some((head, value))
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
                assert_eq!(decode(&record), Some((head, &b"value"[..])));
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
    fn keys_come_back_in_the_order_of_their_places() {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        encode_key(Place(1), u32::MAX, b"z", &mut a);
        encode_key(Place(256), 0, b"", &mut b);
        assert!(a < b);
        assert_eq!(decode_key(&a), Some((u32::MAX, &b"z"[..])));
        assert_eq!(decode_key(&b[..7]), None);
    }
}
