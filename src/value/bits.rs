//! Strings as rows of bits: SETBIT, GETBIT, BITCOUNT, BITPOS, BITOP and BITFIELD.
//!
//! Bit 0 is the highest bit of the first byte:
//!
//! ```text
//! byte      0                 1
//! bit       0 1 2 3 4 5 6 7   8 9 10 ...
//! weight  128 ........... 1 128 ....
//! ```
//!
//! Reading past the end of a string gives zeros; writing there needs a longer string, which [`bytes_for`] measures.
//! Making it longer, and the limits on offsets and on the size of a string, are the caller's.

use super::number::parse_i64;

/// The bit at `offset`; false past the end.
pub fn get(bytes: &[u8], offset: u64) -> bool {
    byte_at(bytes, offset / 8) & mask(offset) != 0
}

/// Sets the bit at `offset` and returns the bit as it was. Past the end nothing happens: see [`bytes_for`].
pub fn set(bytes: &mut [u8], offset: u64, bit: bool) -> bool {
    let Some(byte) = usize::try_from(offset / 8)
        .ok()
        .and_then(|at| bytes.get_mut(at))
    else {
        return false;
    };
    let old = *byte & mask(offset) != 0;
    if bit {
        *byte |= mask(offset);
    } else {
        *byte &= !mask(offset);
    }
    old
}

/// The bytes that a string must have so that there is a bit at `offset`.
pub fn bytes_for(offset: u64) -> usize {
    usize::try_from(offset / 8 + 1).unwrap_or(usize::MAX)
}

fn byte_at(bytes: &[u8], at: u64) -> u8 {
    usize::try_from(at)
        .ok()
        .and_then(|at| bytes.get(at))
        .copied()
        .unwrap_or(0)
}

const fn mask(offset: u64) -> u8 {
    0x80 >> (offset % 8)
}

/// What the start and end of BITCOUNT and BITPOS count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// `BYTE`, the default.
    Byte,
    /// `BIT`.
    Bit,
}

/// A range of bits that lies within a string and is not empty; both ends belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BitRange {
    first: u64,
    last: u64,
}

impl BitRange {
    /// All bits of a string of `len` bytes; none when it is empty.
    pub fn whole(len: usize) -> Option<Self> {
        Self::for_position(0, -1, Unit::Byte, len)
    }

    /// The range of BITCOUNT. Negative indexes count from the end.
    ///
    /// Two negative indexes in the wrong order are empty even when both are before the start of the string, where
    /// clamping would turn them into the first byte.
    pub fn for_count(start: i64, end: i64, unit: Unit, len: usize) -> Option<Self> {
        if start < 0 && end < 0 && start > end {
            return None;
        }
        Self::for_position(start, end, unit, len)
    }

    /// The range of BITPOS. Negative indexes count from the end; what is outside the string is clamped into it.
    pub fn for_position(start: i64, end: i64, unit: Unit, len: usize) -> Option<Self> {
        let bits_per_unit = match unit {
            Unit::Byte => 8,
            Unit::Bit => 1,
        };
        let total = i64::try_from(len).ok()?.checked_mul(8)? / bits_per_unit;
        let from_start = |index: i64| {
            if index < 0 {
                index.saturating_add(total).max(0)
            } else {
                index
            }
        };
        let start = from_start(start);
        let end = from_start(end).min(total - 1);
        if start > end {
            return None;
        }
        Some(BitRange {
            first: (start * bits_per_unit) as u64,
            last: ((end + 1) * bits_per_unit - 1) as u64,
        })
    }
}

/// Counts the set bits of `range`.
pub fn count(bytes: &[u8], range: BitRange) -> u64 {
    let (first_byte, last_byte) = (range.first / 8, range.last / 8);
    let span = usize::try_from(first_byte)
        .ok()
        .zip(usize::try_from(last_byte).ok());
    let whole = span
        .and_then(|(first, last)| bytes.get(first..=last))
        .unwrap_or_default();
    // Count whole bytes, and take off the bits of the outer two that are outside.
    let before = byte_at(bytes, first_byte) & !head_mask(range.first);
    let after = byte_at(bytes, last_byte) & !tail_mask(range.last);
    count_ones(whole).saturating_sub(u64::from(before.count_ones() + after.count_ones()))
}

/// The bits from `first` to the end of its byte.
const fn head_mask(first: u64) -> u8 {
    0xff >> (first % 8)
}

/// The bits from the start of its byte to `last`.
const fn tail_mask(last: u64) -> u8 {
    0xff << (7 - last % 8)
}

fn count_ones(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let in_words: u64 = words
        .iter()
        .map(|word| u64::from(u64::from_ne_bytes(*word).count_ones()))
        .sum();
    in_words
        + rest
            .iter()
            .map(|byte| u64::from(byte.count_ones()))
            .sum::<u64>()
}

/// The first bit of `range` that equals `bit`.
///
/// When the client gave no end, the string counts as followed by zeros without end: pass `end_given: false`, with a
/// range that ends at the end of the string, and a search for a zero finds the bit behind it.
pub fn position(bytes: &[u8], bit: bool, range: BitRange, end_given: bool) -> Option<u64> {
    // Look for a one in the string, or in its complement.
    let flip = if bit { 0x00 } else { 0xff };
    let mut at = range.first / 8;
    let last_byte = range.last / 8;
    let mut current = (byte_at(bytes, at) ^ flip) & head_mask(range.first);
    if current == 0 && at < last_byte {
        at = skip_bytes(bytes, at + 1, last_byte, flip);
        current = byte_at(bytes, at) ^ flip;
    }
    let found = at * 8 + u64::from(current.leading_zeros());
    if current != 0 && found <= range.last {
        return Some(found);
    }
    (!bit && !end_given).then_some(range.last + 1)
}

/// The first index from `at` on whose byte is not `skipped`, or `last`.
fn skip_bytes(bytes: &[u8], at: u64, last: u64, skipped: u8) -> u64 {
    let from = usize::try_from(at).unwrap_or(usize::MAX);
    let (words, _) = bytes.get(from..).unwrap_or_default().as_chunks::<8>();
    let skipped_words = words
        .iter()
        .take_while(|word| **word == [skipped; 8])
        .count() as u64;
    let start = at + skipped_words * 8;
    (start..last)
        .find(|&index| byte_at(bytes, index) != skipped)
        .unwrap_or(last)
}

/// An operation of BITOP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Bits set in every input.
    And,
    /// Bits set in some input.
    Or,
    /// Bits set in an odd number of inputs.
    Xor,
    /// Bits not set in the first input; the caller sees to it that there is only one.
    Not,
}

/// Combines `inputs` bit by bit. Shorter ones count as filled up with zeros to the length of the longest, which is the
/// length of the result.
pub fn combine(operation: Operation, inputs: &[&[u8]]) -> Vec<u8> {
    let Some((first, others)) = inputs.split_first() else {
        return Vec::new();
    };
    let mut out = first.to_vec();
    if operation == Operation::Not {
        out.iter_mut().for_each(|byte| *byte = !*byte);
        return out;
    }
    out.resize(inputs.iter().map(|input| input.len()).max().unwrap_or(0), 0);
    for input in others {
        // Plain loops over bytes: the compiler makes vector instructions of them.
        let pairs = out.iter_mut().zip(*input);
        match operation {
            Operation::And => {
                pairs.for_each(|(a, b)| *a &= b);
                out[input.len()..].fill(0);
            }
            Operation::Or => pairs.for_each(|(a, b)| *a |= b),
            Operation::Xor | Operation::Not => pairs.for_each(|(a, b)| *a ^= b),
        }
    }
    out
}

/// The type of a BITFIELD field: `i1` to `i64`, `u1` to `u63`. So every value is an `i64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldType {
    signed: bool,
    width: u32,
}

/// What BITFIELD does with a value its field cannot hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// Keeps the low bits.
    Wrap,
    /// Takes the nearest value the field can hold.
    Saturate,
    /// Leaves the field as it is and replies nil.
    Fail,
}

impl FieldType {
    /// Reads `i8` or `u16`; none for another letter or a width out of range.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (signed, width) = match text {
            [b'i', width @ ..] => (true, width),
            [b'u', width @ ..] => (false, width),
            _ => return None,
        };
        let width = u32::try_from(parse_i64(width)?).ok()?;
        Self::new(signed, width)
    }

    /// A field of `width` bits: 1 to 64 when signed, 1 to 63 when not.
    pub fn new(signed: bool, width: u32) -> Option<Self> {
        let widest = if signed { 64 } else { 63 };
        (1..=widest)
            .contains(&width)
            .then_some(FieldType { signed, width })
    }

    /// The bits of one field; `#n` offsets are multiples of it.
    pub fn width(self) -> u32 {
        self.width
    }

    /// The last bit of a field at `offset`, which says how long the string must be: see [`bytes_for`].
    pub fn last_bit(self, offset: u64) -> u64 {
        offset.saturating_add(u64::from(self.width) - 1)
    }

    /// The field at bit `offset`.
    pub fn get(self, bytes: &[u8], offset: u64) -> i64 {
        let (window, shift) = self.window(bytes, offset);
        self.value_of_low_bits((window >> shift) as u64)
    }

    /// Stores the low bits of `value` at bit `offset`. What is past the end is left out.
    pub fn set(self, bytes: &mut [u8], offset: u64, value: i64) {
        let (window, shift) = self.window(bytes, offset);
        let mask = u128::from(self.mask()) << shift;
        let window = window & !mask | u128::from(value as u64) << shift & mask;
        let start = usize::try_from(offset / 8).unwrap_or(usize::MAX);
        let target = bytes.get_mut(start..).unwrap_or_default();
        target
            .iter_mut()
            .zip(window.to_be_bytes())
            .for_each(|(byte, new)| *byte = new);
    }

    /// What SET stores for `value`; none when it does not fit and the overflow fails.
    ///
    /// For signed fields narrower than 64 bits, Redis takes values next to the smallest integer for too large, since
    /// their distance to the field's maximum wraps around. Saturation then gives the maximum.
    pub fn fit(self, value: i64, overflow: Overflow) -> Option<i64> {
        let (min, max) = self.limits();
        let too_large = if self.signed {
            value > max || self.width < 64 && max.wrapping_sub(value) < 0
        } else {
            value as u64 > max as u64
        };
        if too_large {
            self.overflowed(value, max, overflow)
        } else if value < min {
            self.overflowed(value, min, overflow)
        } else {
            Some(value)
        }
    }

    /// What INCRBY stores for `value`, which came from the field, plus `increment`; none when it does not fit and the
    /// overflow fails.
    pub fn add(self, value: i64, increment: i64, overflow: Overflow) -> Option<i64> {
        let (min, max) = self.limits();
        let sum = i128::from(value) + i128::from(increment);
        let wrapped = value.wrapping_add(increment);
        if sum > i128::from(max) {
            self.overflowed(wrapped, max, overflow)
        } else if sum < i128::from(min) {
            self.overflowed(wrapped, min, overflow)
        } else {
            Some(wrapped)
        }
    }

    fn overflowed(self, value: i64, limit: i64, overflow: Overflow) -> Option<i64> {
        match overflow {
            Overflow::Wrap => Some(self.value_of_low_bits(value as u64)),
            Overflow::Saturate => Some(limit),
            Overflow::Fail => None,
        }
    }

    fn limits(self) -> (i64, i64) {
        if self.signed {
            let max = (self.mask() >> 1) as i64;
            (!max, max)
        } else {
            (0, self.mask() as i64)
        }
    }

    fn mask(self) -> u64 {
        u64::MAX >> (64 - self.width)
    }

    fn value_of_low_bits(self, bits: u64) -> i64 {
        let unused = 64 - self.width;
        if self.signed {
            ((bits << unused) as i64) >> unused
        } else {
            (bits & self.mask()) as i64
        }
    }

    /// The 16 bytes from the one with bit `offset` on, and how far the field is above their lowest bit.
    fn window(self, bytes: &[u8], offset: u64) -> (u128, u32) {
        let start = usize::try_from(offset / 8).unwrap_or(usize::MAX);
        let mut window = [0; 16];
        window
            .iter_mut()
            .zip(bytes.get(start..).unwrap_or_default())
            .for_each(|(to, from)| *to = *from);
        (
            u128::from_be_bytes(window),
            128 - (offset % 8) as u32 - self.width,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::rounds;

    #[test]
    fn single_bits() {
        let mut bytes = vec![0];
        assert!(!set(&mut bytes, 7, true));
        assert!(!set(&mut bytes, 8, true));
        assert_eq!(bytes, [1]);
        assert_eq!((bytes_for(7), bytes_for(8), bytes_for(17)), (1, 2, 3));
        bytes.resize(3, 0);
        assert!(!set(&mut bytes, 17, true));
        assert_eq!(bytes, [1, 0, 0x40]);
        assert!(get(&bytes, 17) && !get(&bytes, 16) && !get(&bytes, 1 << 40));
        assert!(set(&mut bytes, 17, false));
        assert_eq!(bytes, [1, 0, 0]);
    }

    fn counted(bytes: &[u8], start: i64, end: i64, unit: Unit) -> u64 {
        BitRange::for_count(start, end, unit, bytes.len()).map_or(0, |range| count(bytes, range))
    }

    fn found(bytes: &[u8], bit: bool, start: i64, end: Option<i64>, unit: Unit) -> Option<u64> {
        let range = BitRange::for_position(start, end.unwrap_or(-1), unit, bytes.len())?;
        position(bytes, bit, range, end.is_some())
    }

    #[test]
    fn counts_of_the_documentation() {
        let text = b"foobar";
        assert_eq!(counted(text, 0, -1, Unit::Byte), 26);
        assert_eq!(counted(text, 0, 0, Unit::Byte), 4);
        assert_eq!(counted(text, 1, 1, Unit::Byte), 6);
        assert_eq!(counted(text, 5, 30, Unit::Bit), 17);
        assert_eq!(counted(b"", 0, -1, Unit::Byte), 0);
        assert_eq!(counted(b"\xff\xff\xff", -5, -10, Unit::Byte), 0);
        assert_eq!(counted(b"\xff", i64::MIN, i64::MAX, Unit::Bit), 8);
        assert_eq!(counted(b"\xff", i64::MAX, i64::MAX, Unit::Byte), 0);
    }

    #[test]
    fn positions_at_the_ends() {
        let ones = b"\xff\xff\xff";
        assert_eq!(
            found(ones, true, -5, Some(-10), Unit::Byte),
            Some(0),
            "both are clamped to the first byte"
        );
        assert_eq!(found(ones, false, 0, None, Unit::Byte), Some(24));
        assert_eq!(found(ones, false, 0, Some(-1), Unit::Byte), None);
        assert_eq!(found(ones, false, 5, None, Unit::Byte), None);
        assert_eq!(found(b"", false, 0, None, Unit::Byte), None);
        assert_eq!(found(b"\x00\x00", true, 0, None, Unit::Byte), None);
        assert_eq!(found(b"\xff\xf0\x00", false, 0, None, Unit::Byte), Some(12));
        assert_eq!(
            found(b"\x00\xff\xf0", true, 7, Some(15), Unit::Bit),
            Some(8)
        );
        assert_eq!(found(b"\x00\xff\xf0", true, 2, Some(6), Unit::Bit), None);
    }

    #[test]
    fn ranges_agree_with_a_walk_over_the_bits() {
        let mut seed = 1u64;
        let mut next = || {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            seed >> 33
        };
        for _ in 0..rounds(3_000) {
            let fill = [0x00, 0xff][(next() % 2) as usize];
            let mut bytes = vec![fill; (next() % 40) as usize];
            for _ in 0..next() % 3 {
                let offset = next() % (bytes.len() as u64 * 8 + 1);
                bytes.resize(bytes.len().max(bytes_for(offset)), 0);
                set(&mut bytes, offset, fill == 0);
            }
            let bits = bytes.len() as i64 * 8;
            let (start, end) = (next() as i64 % (bits + 2), next() as i64 % (bits + 2));
            let walk = || (start..=end.min(bits - 1)).map(|at| at as u64);
            let ones = walk().filter(|&at| get(&bytes, at)).count() as u64;
            assert_eq!(
                counted(&bytes, start, end, Unit::Bit),
                ones,
                "{bytes:?} {start} {end}"
            );
            for bit in [false, true] {
                let first = walk().find(|&at| get(&bytes, at) == bit);
                assert_eq!(
                    found(&bytes, bit, start, Some(end), Unit::Bit),
                    first,
                    "{bytes:?} {bit} {start} {end}"
                );
            }
        }
    }

    #[test]
    fn combining_strings_of_different_lengths() {
        let inputs: &[&[u8]] = &[b"\xff\x0f", b"\x0f", b"\xf1\xff\x01"];
        assert_eq!(combine(Operation::And, inputs), b"\x01\x00\x00");
        assert_eq!(combine(Operation::Or, inputs), b"\xff\xff\x01");
        assert_eq!(combine(Operation::Xor, inputs), b"\x01\xf0\x01");
        assert_eq!(combine(Operation::Not, &inputs[..1]), b"\x00\xf0");
        assert_eq!(combine(Operation::And, &[]), b"");
    }

    #[test]
    fn field_types() {
        let width = |text: &str| FieldType::parse(text.as_bytes()).map(FieldType::width);
        assert_eq!(width("i64"), Some(64));
        assert_eq!(width("u63"), Some(63));
        for text in ["u64", "i65", "i0", "i", "x8", "i08", "i-1", ""] {
            assert_eq!(width(text), None, "{text}");
        }
    }

    #[test]
    fn fields_are_read_and_written_at_any_offset() {
        let i5 = FieldType::new(true, 5).unwrap();
        let u4 = FieldType::new(false, 4).unwrap();
        let mut bytes = vec![0; bytes_for(i5.last_bit(100))];
        i5.set(&mut bytes, 100, -3);
        assert_eq!(bytes.len(), 14);
        assert_eq!(i5.get(&bytes, 100), -3);
        assert_eq!(u4.get(&bytes, 101), 0b1101);
        assert_eq!(u4.get(&bytes, 1 << 50), 0);
        for width in 1..=64 {
            let field = FieldType::new(true, width).unwrap();
            for offset in 0..20 {
                let mut bytes = vec![0xff; 12];
                let min = field.limits().0;
                field.set(&mut bytes, offset, min);
                assert_eq!(field.get(&bytes, offset), min);
                let zeros = 96 - counted(&bytes, 0, -1, Unit::Byte);
                assert_eq!(zeros, u64::from(width) - 1, "only the field changed");
            }
        }
    }

    #[test]
    fn overflow_of_fields() {
        let i8 = FieldType::new(true, 8).unwrap();
        let u8 = FieldType::new(false, 8).unwrap();
        let i64 = FieldType::new(true, 64).unwrap();
        use Overflow::{Fail, Saturate, Wrap};
        assert_eq!(i8.fit(-129, Saturate), Some(-128));
        assert_eq!(i8.fit(-129, Wrap), Some(127));
        assert_eq!(i8.fit(128, Fail), None);
        assert_eq!(u8.fit(-1, Saturate), Some(255));
        assert_eq!(u8.fit(-1, Wrap), Some(255));
        assert_eq!(u8.add(5, i64::MIN, Saturate), Some(0));
        assert_eq!(u8.add(250, 10, Wrap), Some(4));
        assert_eq!(i8.add(-100, i64::MIN, Wrap), Some(-100));
        assert_eq!(i8.add(100, 28, Saturate), Some(127));
        assert_eq!(i64.add(-5, -i64::MAX, Saturate), Some(i64::MIN));
        assert_eq!(i64.add(i64::MAX, 1, Wrap), Some(i64::MIN));
        assert_eq!(i64.add(i64::MAX, 1, Fail), None);
        assert_eq!(i64.fit(i64::MIN, Fail), Some(i64::MIN));
    }

    #[test]
    fn saturating_set_of_the_smallest_integers_gives_the_largest_value_as_in_redis() {
        let i8 = FieldType::new(true, 8).unwrap();
        assert_eq!(i8.fit(i64::MIN, Overflow::Saturate), Some(127));
        assert_eq!(
            i8.fit(-9_223_372_036_854_775_681, Overflow::Saturate),
            Some(127)
        );
        assert_eq!(
            i8.fit(-9_223_372_036_854_775_680, Overflow::Saturate),
            Some(-128)
        );
    }
}
