//! A field of a large hash: its name and its value in one allocation.
//!
//! ```text
//! length of the name (1 to 5 bytes, seven bits in each, the lowest first) | name | value
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

/// A field.
#[derive(Clone, Debug)]
pub struct Field(Box<[u8]>);

impl Field {
    /// A field with a value.
    pub fn new(name: &[u8], value: &[u8]) -> Self {
        let mut length = [0; 5];
        let head = encode_length(name.len(), &mut length);
        Self([head, name, value].concat().into_boxed_slice())
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

    /// Its name and its value.
    #[inline]
    pub fn pair(&self) -> (&[u8], &[u8]) {
        let (mut len, mut head) = (0, 0);
        for byte in &self.0 {
            len |= usize::from(byte & 0x7f) << (7 * head);
            head += 1;
            if byte & 0x80 == 0 {
                break;
            }
        }
        self.0[head..].split_at(len)
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

    /// What the allocator takes for it.
    pub fn heap_bytes(&self) -> usize {
        size_class(self.0.len())
    }
}

fn encode_length(mut len: usize, out: &mut [u8; 5]) -> &[u8] {
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
                let mut field = Field::new(&name, &value);
                assert_eq!(field.pair(), (&name[..], &value[..]));
                for next in [b"".as_slice(), b"a", &[3; 300]] {
                    field.set_value(next);
                    assert_eq!(field.pair(), (&name[..], next));
                }
            }
        }
    }
}
