//! Which keys a walk over a database lists, and the list: keys one behind the other in pieces, so that a long one is neither
//! moved nor doubled as it grows, and costs little more than the keys.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::keyspace::entry::ValueType;
use crate::value::glob;

/// A piece of a list has so many bytes, unless one key alone has more.
const PIECE_BYTES: usize = 64 * 1024;

/// Which keys are listed. `B` has the bytes: a slice, or a box.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyFilter<B> {
    /// What they match.
    pub pattern: Option<B>,
    /// The type of their values, as a client wrote it.
    pub type_name: Option<B>,
}

impl<B: AsRef<[u8]>> KeyFilter<B> {
    /// Whether a key fits, as far as the key alone tells.
    pub fn fits_key(&self, key: &[u8]) -> bool {
        // The star alone is what most calls of KEYS ask for.
        let matches = |pattern: &[u8]| pattern == b"*" || glob::matches(pattern, key, false);
        self.pattern
            .as_ref()
            .is_none_or(|pattern| matches(pattern.as_ref()))
    }

    /// Whether a type of value fits.
    pub fn fits_type(&self, value_type: ValueType) -> bool {
        let is_it = |name: &[u8]| name.eq_ignore_ascii_case(value_type.name().as_bytes());
        self.type_name
            .as_ref()
            .is_none_or(|name| is_it(name.as_ref()))
    }

    /// The same with bytes of its own.
    pub fn to_owned(&self) -> KeyFilter<Box<[u8]>> {
        let own = |bytes: &B| bytes.as_ref().into();
        KeyFilter {
            pattern: self.pattern.as_ref().map(own),
            type_name: self.type_name.as_ref().map(own),
        }
    }
}

/// A list of keys.
#[derive(Debug, Default)]
pub struct KeyList {
    /// Of each key its length (4 bytes) and itself.
    pieces: Vec<Vec<u8>>,
    len: usize,
    bytes: usize,
    counted: Option<Counted>,
}

/// Bytes that are in use until it goes.
#[derive(Debug)]
struct Counted {
    total: Arc<AtomicUsize>,
    bytes: usize,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl KeyList {
    /// One whose bytes are counted as long as it lives.
    pub fn counted(total: &Arc<AtomicUsize>) -> Self {
        let total = Arc::clone(total);
        Self {
            counted: Some(Counted { total, bytes: 0 }),
            ..Self::default()
        }
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes of the keys and their lengths.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends a key.
    pub fn push(&mut self, key: &[u8]) {
        let len = (key.len() as u32).to_le_bytes();
        let more = len.len() + key.len();
        let fits = |piece: &Vec<u8>| piece.capacity() - piece.len() >= more;
        if !self.pieces.last().is_some_and(fits) {
            self.begin_piece(more);
        }
        if let Some(piece) = self.pieces.last_mut() {
            piece.extend_from_slice(&len);
            piece.extend_from_slice(key);
        }
        self.len += 1;
        self.bytes += more;
    }

    /// The first is as large as what it is for: most lists are short.
    fn begin_piece(&mut self, more: usize) {
        let bytes = match self.pieces.len() {
            0 => more.max(512),
            _ => more.max(PIECE_BYTES),
        };
        self.pieces.push(Vec::with_capacity(bytes));
        if let Some(counted) = &mut self.counted {
            counted.bytes += bytes;
            counted.total.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// The keys.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces.iter().flat_map(|piece| keys_of(piece))
    }

    /// Shows each key; what was shown is freed on the way.
    pub fn drain(mut self, mut show: impl FnMut(&[u8])) {
        for piece in std::mem::take(&mut self.pieces) {
            keys_of(&piece).for_each(&mut show);
        }
    }
}

fn keys_of(mut piece: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (len, rest) = piece.split_first_chunk::<4>()?;
        let (key, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        piece = rest;
        Some(key)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_gives_its_keys_in_order_and_counts_its_bytes_while_it_lives() {
        let total = Arc::new(AtomicUsize::new(0));
        let mut list = KeyList::counted(&total);
        assert_eq!(total.load(Ordering::Relaxed), 0);
        let keys: Vec<Vec<u8>> = (0..20_000usize).map(|i| vec![i as u8; i % 90]).collect();
        keys.iter().for_each(|key| list.push(key));
        let long = vec![7; 3 * PIECE_BYTES];
        list.push(&long);
        assert_eq!(list.len(), keys.len() + 1);
        let all = keys.iter().chain([&long]).map(Vec::as_slice);
        assert!(list.iter().eq(all));
        let counted = total.load(Ordering::Relaxed);
        assert!(counted >= list.bytes() && counted < list.bytes() * 5 / 4);
        let mut shown = 0;
        list.drain(|_| shown += 1);
        assert_eq!((shown, total.load(Ordering::Relaxed)), (keys.len() + 1, 0));
    }
}
