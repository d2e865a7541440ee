//! A field of a large hash: its name and its value in one allocation.
//!
//! ```text
//! head (1 to 5 bytes, seven bits in each, the lowest first): twice the length of the name, and 1 more if it has a deadline
//! deadline (6, little-endian), if it has one | name | value
//! ```

use std::hash::{BuildHasher, Hasher};
use std::sync::LazyLock;

use crate::allocator::size_class;

/// So that nobody can choose names that collide.
static HASHER: LazyLock<foldhash::quality::FixedState> = LazyLock::new(|| {
    foldhash::quality::FixedState::with_seed(std::hash::RandomState::new().hash_one(0_u8))
});

/// The hash of a member of a collection, the same for as long as the process lives.
#[inline]
pub fn hash_of_member(name: &[u8]) -> u64 {
    let mut hasher = HASHER.build_hasher();
    hasher.write(name);
    hasher.finish()
}

/// When a field goes, in milliseconds since the epoch: 1 to [`Deadline::MAX_MS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(u64);

impl Deadline {
    /// The latest: the year 10889, as in Redis.
    pub const MAX_MS: i64 = (1 << 48) - 2;
    /// What it takes.
    pub const BYTES: usize = 6;

    /// This moment; `None` if it is before the epoch or too late.
    pub fn of_ms(ms: i64) -> Option<Self> {
        (1..=Self::MAX_MS).contains(&ms).then_some(Self(ms as u64))
    }

    /// The milliseconds.
    pub fn ms(self) -> i64 {
        self.0.cast_signed()
    }

    /// These bytes of a deadline, or of none.
    pub(super) fn from_bytes(bytes: [u8; Self::BYTES]) -> Option<Self> {
        let mut wide = [0; 8];
        wide[..Self::BYTES].copy_from_slice(&bytes);
        Self::of_ms(i64::from_le_bytes(wide))
    }

    /// The bytes of a deadline, or of none.
    pub(super) fn to_bytes(deadline: Option<Self>) -> [u8; Self::BYTES] {
        let [a, b, c, d, e, f, ..] = deadline.map_or(0, |deadline| deadline.0).to_le_bytes();
        [a, b, c, d, e, f]
    }
}

/// A field.
#[derive(Clone, Debug)]
pub struct Field(Box<[u8]>);

impl Field {
    /// A field with a value.
    pub fn new(name: &[u8], value: &[u8], deadline: Option<Deadline>) -> Self {
        let mut head = [0; 5];
        let head = encode_head(name.len() << 1 | usize::from(deadline.is_some()), &mut head);
        let bytes = Deadline::to_bytes(deadline);
        let bytes = if deadline.is_some() { &bytes[..] } else { &[] };
        Self([head, bytes, name, value].concat().into_boxed_slice())
    }

    /// The hash of a field with this name.
    pub fn hash_of(name: &[u8]) -> u64 {
        hash_of_member(name)
    }

    /// Its hash.
    pub fn hash(&self) -> u64 {
        Self::hash_of(self.name())
    }

    /// Its name.
    pub fn name(&self) -> &[u8] {
        self.pair().0
    }

    /// Its value.
    pub fn value(&self) -> &[u8] {
        self.pair().1
    }

    /// When it goes.
    pub fn deadline(&self) -> Option<Deadline> {
        let (has_deadline, _, rest) = self.head();
        Deadline::from_bytes(*rest.first_chunk().filter(|_| has_deadline)?)
    }

    /// Whether it has a deadline, the length of its name, and the bytes behind the head.
    #[inline]
    fn head(&self) -> (bool, usize, &[u8]) {
        let (mut packed, mut head) = (0, 0);
        for byte in &self.0 {
            packed |= usize::from(byte & 0x7f) << (7 * head);
            head += 1;
            if byte & 0x80 == 0 {
                break;
            }
        }
        (packed & 1 != 0, packed >> 1, &self.0[head..])
    }

    /// Its name and its value.
    #[inline]
    pub fn pair(&self) -> (&[u8], &[u8]) {
        let (has_deadline, name_len, rest) = self.head();
        let rest = if has_deadline {
            &rest[Deadline::BYTES..]
        } else {
            rest
        };
        rest.split_at(name_len)
    }

    /// Writes another value, in place where it is as long as the old one.
    pub fn set_value(&mut self, value: &[u8]) {
        let at = self.0.len() - self.value().len();
        if self.0.len() - at == value.len() {
            self.0[at..].copy_from_slice(value);
        } else {
            self.0 = [&self.0[..at], value].concat().into_boxed_slice();
        }
    }

    /// Gives it another deadline, or none.
    pub fn set_deadline(&mut self, deadline: Option<Deadline>) {
        if self.deadline() != deadline {
            let (name, value) = self.pair();
            *self = Self::new(name, value, deadline);
        }
    }

    /// What the allocator takes for it.
    pub fn heap_bytes(&self) -> usize {
        size_class(self.0.len())
    }
}

fn encode_head(mut len: usize, out: &mut [u8; 5]) -> &[u8] {
    let mut bytes = 0;
    loop {
        out[bytes] = (len & 0x7f) as u8;
        len >>= 7;
        if len == 0 {
            return &out[..=bytes];
        }
        out[bytes] |= 0x80;
        bytes += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_of_any_length_come_back() {
        for name in [0, 1, 127, 128, 20_000] {
            for value in [0, 1, 300] {
                let (name, value) = (vec![1; name], vec![2; value]);
                let mut field = Field::new(&name, &value, None);
                assert_eq!(field.pair(), (&name[..], &value[..]));
                let deadlines = [None, Deadline::of_ms(1), Deadline::of_ms(Deadline::MAX_MS)];
                for (next, deadline) in [b"".as_slice(), b"a", &[3; 300]].into_iter().zip(deadlines)
                {
                    field.set_value(next);
                    field.set_deadline(deadline);
                    assert_eq!(
                        (field.pair(), field.deadline()),
                        ((&name[..], next), deadline)
                    );
                }
                field.set_deadline(None);
                assert_eq!((field.name(), field.deadline()), (&name[..], None));
            }
        }
    }
}
