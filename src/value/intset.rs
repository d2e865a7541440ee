//! Sets of integers as one row of bytes, in the form that Redis gives them in memory and in DUMP.
//!
//! ```text
//! width of an integer: 2, 4 or 8 (4) | integers (4) | integers in ascending order        all little-endian
//! ```
//!
//! All have the width that the largest one needs. No listpack is one: only the shortest of all with an element begins with one
//! of these widths, has eight bytes, and would be an empty intset, which none with an element is.

const HEAD: usize = 8;

/// A set of integers, to be read.
#[derive(Clone, Copy, Debug)]
pub struct Intset<'a>(&'a [u8]);

fn number(bytes: &[u8], at: usize) -> usize {
    let number = bytes.get(at..at + 4).and_then(<[u8]>::first_chunk);
    number.map_or(0, |number| u32::from_le_bytes(*number) as usize)
}

fn width_of(integer: i64) -> usize {
    if i16::try_from(integer).is_ok() {
        2
    } else if i32::try_from(integer).is_ok() {
        4
    } else {
        8
    }
}

impl<'a> Intset<'a> {
    /// A view of these bytes; `None` if they are something else.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        let width = number(bytes, 0);
        let fits = matches!(width, 2 | 4 | 8) && bytes.len() == HEAD + width * number(bytes, 4);
        fits.then_some(Self(bytes))
    }

    /// A view of these bytes, of which nothing is known; `None` if they are no intset.
    pub fn checked(bytes: &'a [u8]) -> Option<Self> {
        let integers = Self::new(bytes)?;
        let all = (0..integers.len()).map(|index| integers.get(index));
        all.is_sorted_by(|a, b| a < b).then_some(integers)
    }

    /// The bytes.
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }

    fn width(self) -> usize {
        number(self.0, 0)
    }

    /// How many integers there are.
    pub fn len(self) -> usize {
        number(self.0, 4)
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The integer with this index.
    pub fn get(self, index: usize) -> Option<i64> {
        let width = self.width();
        let at = HEAD + index * width;
        let mut wide = [0; 8];
        wide[..width].copy_from_slice(self.0.get(at..at + width)?);
        let unused = 64 - 8 * width as u32;
        Some(i64::from_le_bytes(wide) << unused >> unused)
    }

    /// The integers in ascending order.
    pub fn iter(self) -> impl Iterator<Item = i64> {
        (0..self.len()).filter_map(move |index| self.get(index))
    }

    /// Where an integer is, or where it would be.
    pub fn search(self, integer: i64) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            match self.get(middle).map(|found| found.cmp(&integer)) {
                Some(std::cmp::Ordering::Less) => low = middle + 1,
                Some(std::cmp::Ordering::Greater) => high = middle,
                Some(std::cmp::Ordering::Equal) => return Ok(middle),
                None => break,
            }
        }
        Err(low)
    }
}

/// Makes an empty set in a buffer, whatever was there.
pub fn clear(bytes: &mut Vec<u8>) {
    bytes.clear();
    bytes.extend_from_slice(&[2, 0, 0, 0, 0, 0, 0, 0]);
}

/// Adds an integer; false if it was there.
pub fn insert(bytes: &mut Vec<u8>, integer: i64) -> bool {
    let Some(set) = Intset::new(bytes) else {
        return false;
    };
    let (width, len) = (set.width().max(width_of(integer)), set.len());
    let Err(index) = set.search(integer) else {
        return false;
    };
    if width > set.width() {
        let wider: Vec<u8> = set
            .iter()
            .flat_map(|integer| integer.to_le_bytes().into_iter().take(width))
            .collect();
        bytes.truncate(HEAD);
        bytes.extend_from_slice(&wider);
        bytes[..4].copy_from_slice(&(width as u32).to_le_bytes());
    }
    let at = HEAD + index * width;
    bytes.splice(at..at, integer.to_le_bytes().into_iter().take(width));
    bytes[4..HEAD].copy_from_slice(&(len as u32 + 1).to_le_bytes());
    true
}

/// Takes an integer out; whether it was there.
pub fn remove(bytes: &mut Vec<u8>, integer: i64) -> bool {
    let Some(set) = Intset::new(bytes) else {
        return false;
    };
    let (width, len) = (set.width(), set.len());
    let Ok(index) = set.search(integer) else {
        return false;
    };
    let at = HEAD + index * width;
    bytes.drain(at..at + width);
    bytes[4..HEAD].copy_from_slice(&(len as u32 - 1).to_le_bytes());
    true
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::random::Random;
    use crate::testing::rounds;

    #[test]
    fn agrees_with_a_set_of_integers_of_any_width() {
        let mut random = Random(88_172_645_463_325_252);
        let mut next = move || random.next_u64();
        for shift in [57, 40, 20, 0] {
            let (mut bytes, mut model) = (Vec::new(), BTreeSet::new());
            clear(&mut bytes);
            for _ in 0..rounds(2_000) {
                let integer = (next() as i64) >> shift;
                if next() % 3 > 0 {
                    assert_eq!(insert(&mut bytes, integer), model.insert(integer));
                } else {
                    assert_eq!(remove(&mut bytes, integer), model.remove(&integer));
                }
            }
            let set = Intset::new(&bytes).unwrap();
            assert!(set.iter().eq(model.iter().copied()));
            assert!(model.iter().all(|integer| set.search(*integer).is_ok()));
        }
    }

    #[test]
    fn it_is_byte_for_byte_what_redis_makes() {
        let mut bytes = Vec::new();
        clear(&mut bytes);
        for integer in [3, -1, 70_000] {
            insert(&mut bytes, integer);
        }
        // SADD k 3 -1 70000 in redis-server 7.0.15, from its DUMP.
        let redis = b"\x04\0\0\0\x03\0\0\0\xff\xff\xff\xff\x03\0\0\0\x70\x11\x01\0";
        assert_eq!(bytes, redis);
        let mut pack = super::super::listpack::OneWay::empty();
        assert!(Intset::new(&pack).is_none());
        super::super::listpack::OneWay::push(&mut pack, b"5");
        assert!(pack.len() == 8 && Intset::new(&pack).is_none());
    }
}
