//! Listpacks: small collections as one row of bytes, in the form that Redis gives them in memory, in DUMP and in RDB files.
//!
//! ```text
//! listpack  bytes of all (4) | elements (2; 65535: not known) | elements | 255          integers are little-endian
//! element   kind and length, bytes | bytes before (1 to 5, so that one can walk backwards)
//!
//! 0xxxxxxx                   0 to 127
//! 10xxxxxx                   text of up to 63 bytes
//! 110xxxxx +1                integer of 13 bits
//! 1110xxxx +1                text of up to 4095 bytes
//! 11110000 +4                longer text
//! 11110001 +2 .. 11110100 +8 integers of 16, 24, 32 and 64 bits
//! ```
//!
//! The bytes behind an element are there for lists and streams, and wherever others read. A hash, a set and a sorted set are
//! walked in one direction, and of ten short elements a tenth would be these bytes: in memory they are [`OneWay`], which is the
//! same without them.
//!
//! A text that is a 64-bit integer is always kept as one. Places are offsets into the bytes; that of the end mark stands
//! behind the last element.
//!
//! Invariant: what is read was written here, or was checked by whoever took it in: a broken listpack may give wrong elements
//! or end early, but never reads beyond its bytes.

use super::number;

const HEAD: usize = 6;
const END: u8 = 0xff;
const COUNT_UNKNOWN: u16 = u16::MAX;
/// An integer has at most so many digits with its sign.
const INTEGER_BYTES_MAX: usize = 20;

/// An element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element<'a> {
    /// A text that is an integer.
    Integer(i64),
    /// Any other.
    Text(&'a [u8]),
}

/// Room for the digits of an element.
pub type Digits = itoa::Buffer;

impl<'a> Element<'a> {
    /// What a text is as an element.
    pub fn of(text: &'a [u8]) -> Self {
        let integer = (text.len() <= INTEGER_BYTES_MAX).then(|| number::parse_i64(text));
        integer.flatten().map_or(Self::Text(text), Self::Integer)
    }

    /// The text.
    pub fn text<'b>(self, digits: &'b mut Digits) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            Self::Integer(integer) => digits.format(integer).as_bytes(),
            Self::Text(text) => text,
        }
    }

    /// The length of the text.
    pub fn len(self) -> usize {
        match self {
            Self::Integer(integer) => Digits::new().format(integer).len(),
            Self::Text(text) => text.len(),
        }
    }

    /// Whether the text is empty.
    pub fn is_empty(self) -> bool {
        matches!(self, Self::Text(b""))
    }

    /// The text, owned.
    pub fn to_vec(self) -> Vec<u8> {
        self.text(&mut Digits::new()).to_vec()
    }

    /// Bytes before the text or with the number, and those of the text.
    fn encoded(self) -> (smallvec::SmallVec<[u8; 9]>, &'a [u8]) {
        match self {
            Self::Integer(integer) => (encode_integer(integer), b""),
            Self::Text(text) => (encode_length(text.len()), text),
        }
    }

    /// What it takes in a listpack of both ways.
    pub fn stored_bytes(self) -> usize {
        let (head, text) = self.encoded();
        Listpack::stored_bytes(head.len() + text.len())
    }
}

fn encode_integer(integer: i64) -> smallvec::SmallVec<[u8; 9]> {
    let bytes = integer.to_le_bytes();
    let with = |kind: u8, width: usize| {
        let mut out = smallvec::SmallVec::new();
        out.push(kind);
        out.extend_from_slice(&bytes[..width]);
        out
    };
    match integer {
        0..=127 => smallvec::smallvec![integer as u8],
        -4096..=4095 => {
            let bits = (integer & 0x1fff) as u16;
            smallvec::smallvec![0xc0 | (bits >> 8) as u8, bits as u8]
        }
        -0x8000..=0x7fff => with(0xf1, 2),
        -0x80_0000..=0x7f_ffff => with(0xf2, 3),
        -0x8000_0000..=0x7fff_ffff => with(0xf3, 4),
        _ => with(0xf4, 8),
    }
}

fn encode_length(len: usize) -> smallvec::SmallVec<[u8; 9]> {
    match len {
        0..=63 => smallvec::smallvec![0x80 | len as u8],
        64..=4095 => smallvec::smallvec![0xe0 | (len >> 8) as u8, len as u8],
        _ => {
            let mut out: smallvec::SmallVec<[u8; 9]> = smallvec::smallvec![0xf0];
            out.extend_from_slice(&(len as u32).to_le_bytes());
            out
        }
    }
}

/// How many bytes tell the length of an element that has so many.
fn back_bytes(len: usize) -> usize {
    match len {
        0..=127 => 1,
        128..=16_383 => 2,
        16_384..=2_097_151 => 3,
        2_097_152..=268_435_455 => 4,
        _ => 5,
    }
}

/// Seven bits in a byte, the highest first; all but the first have the top bit.
fn write_back_len(len: usize, out: &mut [u8]) {
    let bytes = out.len();
    for (i, byte) in (0..bytes).rev().zip(out) {
        let bits = (len >> (7 * i) & 0x7f) as u8;
        *byte = if i + 1 == bytes { bits } else { bits | 0x80 };
    }
}

/// A listpack, to be read; its functions change the bytes of one. With `BACK` it has the lengths behind its elements.
#[derive(Clone, Copy, Debug)]
pub struct Pack<'a, const BACK: bool>(&'a [u8]);

/// A listpack as Redis has it.
pub type Listpack<'a> = Pack<'a, true>;

/// A listpack without the lengths behind its elements.
pub type OneWay<'a> = Pack<'a, false>;

/// An element with its place: where it begins, and where the next one does.
#[derive(Clone, Copy, Debug)]
pub struct Placed<'a> {
    /// Where it begins.
    pub at: usize,
    /// Where the next one begins.
    pub end: usize,
    /// The element.
    pub element: Element<'a>,
}

impl<'a, const BACK: bool> Pack<'a, BACK> {
    /// A view of these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// How many elements there are.
    pub fn len(self) -> usize {
        match self.0.get(4..HEAD) {
            Some(&[low, high]) => match u16::from_le_bytes([low, high]) {
                COUNT_UNKNOWN => self.iter().count(),
                count => usize::from(count),
            },
            _ => 0,
        }
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0.get(HEAD).is_none_or(|byte| *byte == END)
    }

    /// The elements in their order.
    pub fn iter(self) -> Iter<'a, BACK> {
        Iter {
            pack: self,
            at: HEAD,
            back: self.0.len().saturating_sub(1),
        }
    }

    /// The element at a place; `None` at the end.
    pub fn at(self, at: usize) -> Option<Placed<'a>> {
        let bytes = self.0;
        let byte = |i: usize| bytes.get(at + i).copied();
        let first = byte(0)?;
        let text = |head: usize, len: usize| {
            let text = bytes.get(at + head..(at + head).checked_add(len)?)?;
            Some((head + len, Element::Text(text)))
        };
        let integer = |width: usize| {
            let mut wide = [0; 8];
            let from = bytes.get(at + 1..at + 1 + width)?;
            wide[..width].copy_from_slice(from);
            let unused = 64 - 8 * width as u32;
            let integer = i64::from_le_bytes(wide) << unused >> unused;
            Some((1 + width, Element::Integer(integer)))
        };
        let (len, element) = match first {
            0..=0x7f => (1, Element::Integer(i64::from(first))),
            0x80..=0xbf => text(1, usize::from(first & 0x3f))?,
            0xc0..=0xdf => {
                let bits = i64::from(first & 0x1f) << 8 | i64::from(byte(1)?);
                (2, Element::Integer(bits << 51 >> 51))
            }
            0xe0..=0xef => text(2, usize::from(first & 0x0f) << 8 | usize::from(byte(1)?))?,
            0xf0 => {
                let len = bytes.get(at + 1..at + 5)?.first_chunk()?;
                text(5, u32::from_le_bytes(*len) as usize)?
            }
            0xf1 => integer(2)?,
            0xf2 => integer(3)?,
            0xf3 => integer(4)?,
            0xf4 => integer(8)?,
            _ => return None,
        };
        let end = at + Self::stored_bytes(len);
        (end < bytes.len()).then_some(Placed { at, end, element })
    }

    /// Finds a text among the elements which are `step` apart, from the first on.
    pub fn find(self, text: &[u8], step: usize) -> Option<Placed<'a>> {
        let sought = Element::of(text);
        self.iter()
            .step_by(step)
            .find(|placed| placed.element == sought)
    }

    /// What an element of so many bytes takes.
    fn stored_bytes(len: usize) -> usize {
        if BACK { len + back_bytes(len) } else { len }
    }
}

impl<'a> Listpack<'a> {
    /// The element before a place.
    fn before(self, end: usize) -> Option<Placed<'a>> {
        let mut len = 0_usize;
        for i in 0..5 {
            let at = end.checked_sub(i + 1).filter(|at| *at >= HEAD)?;
            let byte = self.0[at];
            len |= usize::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                let start = end.checked_sub(len + i + 1)?;
                return self.at(start).filter(|placed| placed.end == end);
            }
        }
        None
    }

    /// The element with this index, from the end if it is negative.
    pub fn nth(self, index: i64) -> Option<Placed<'a>> {
        let skip = usize::try_from(index).or_else(|_| usize::try_from(-(index + 1)));
        let skip = skip.unwrap_or(usize::MAX);
        let len = self.len();
        if skip >= len {
            return None;
        }
        let (forward, skip) = match (index >= 0, skip < len.div_ceil(2)) {
            (forward, true) => (forward, skip),
            (forward, false) => (!forward, len - 1 - skip),
        };
        if forward {
            self.iter().nth(skip)
        } else {
            self.iter().nth_back(skip)
        }
    }
}

/// The elements of a listpack, from both ends if it has both ways.
#[derive(Clone, Debug)]
pub struct Iter<'a, const BACK: bool> {
    pack: Pack<'a, BACK>,
    at: usize,
    /// The place behind the last one.
    back: usize,
}

impl<'a, const BACK: bool> Iterator for Iter<'a, BACK> {
    type Item = Placed<'a>;

    #[inline]
    fn next(&mut self) -> Option<Placed<'a>> {
        if self.at >= self.back {
            return None;
        }
        let placed = self.pack.at(self.at)?;
        self.at = placed.end;
        Some(placed)
    }
}

impl DoubleEndedIterator for Iter<'_, true> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.at >= self.back {
            return None;
        }
        let placed = self.pack.before(self.back)?;
        self.back = placed.at;
        Some(placed)
    }
}

/// How many of the bytes, at the most, the listpack has that they begin with.
#[inline]
pub fn total_bytes(bytes: &[u8]) -> usize {
    let total = bytes
        .first_chunk()
        .map_or(0, |total| u32::from_le_bytes(*total));
    bytes.len().min(total as usize)
}

/// Whether these bytes, of which nothing is known, are a listpack to the last one.
pub fn is_whole(bytes: &[u8]) -> bool {
    let total = bytes.first_chunk().map(|total| u32::from_le_bytes(*total));
    if bytes.len() <= HEAD || total != Some(bytes.len() as u32) {
        return false;
    }
    let (pack, mut at, mut count) = (Listpack::new(bytes), HEAD, 0_usize);
    while bytes[at] != END {
        // That the element before the next one is this one says that its length behind it is right.
        let Some(placed) = pack.at(at) else {
            return false;
        };
        if pack.before(placed.end).is_none_or(|back| back.at != at) {
            return false;
        }
        (at, count) = (placed.end, count + 1);
    }
    let counted = u16::from_le_bytes([bytes[4], bytes[5]]);
    at + 1 == bytes.len() && (counted == COUNT_UNKNOWN || usize::from(counted) == count)
}

/// The place behind the last element.
pub fn end_of(bytes: &[u8]) -> usize {
    bytes.len().saturating_sub(1)
}

/// The place of the first element.
pub const START: usize = HEAD;

/// Changes of the bytes of a listpack.
impl<const BACK: bool> Pack<'_, BACK> {
    /// Makes an empty listpack in a buffer, whatever was there.
    pub fn clear(bytes: &mut Vec<u8>) {
        bytes.clear();
        bytes.extend_from_slice(&[HEAD as u8 + 1, 0, 0, 0, 0, 0, END]);
    }

    /// An empty listpack.
    pub fn empty() -> Vec<u8> {
        let mut bytes = Vec::new();
        Self::clear(&mut bytes);
        bytes
    }

    /// Adds an element at the end.
    pub fn push(bytes: &mut Vec<u8>, text: &[u8]) {
        Self::push_behind(bytes, 0, text);
    }

    /// The same for a listpack that begins behind a gap.
    pub fn push_behind(buffer: &mut Vec<u8>, gap: usize, text: &[u8]) {
        buffer.pop();
        Self::append(buffer, Element::of(text));
        buffer.push(END);
        Self::settle(&mut buffer[gap..], 1);
    }

    fn append(bytes: &mut Vec<u8>, element: Element<'_>) {
        let (head, text) = element.encoded();
        bytes.extend_from_slice(&head);
        bytes.extend_from_slice(text);
        let (len, end) = (head.len() + text.len(), bytes.len());
        if BACK {
            bytes.resize(end + back_bytes(len), 0);
            write_back_len(len, &mut bytes[end..]);
        }
    }

    /// Puts an element in the place of those in a range of places, of which there are `removed`; an empty range inserts.
    pub fn replace(
        bytes: &mut Vec<u8>,
        range: std::ops::Range<usize>,
        removed: usize,
        text: &[u8],
    ) {
        let (head, text) = Element::of(text).encoded();
        let end = range.start + Self::stored_bytes(head.len() + text.len());
        let (old, new) = (bytes.len(), bytes.len() - range.len() + end - range.start);
        bytes.resize(old.max(new), 0);
        bytes.copy_within(range.end..old, end);
        bytes.truncate(new);
        Self::write_element(&head, text, &mut bytes[range.start..end]);
        Self::settle(bytes, 1 - removed as i64);
    }

    /// Writes an element into its place, which is as long as it is.
    fn write_element(head: &[u8], text: &[u8], place: &mut [u8]) {
        let (to_head, rest) = place.split_at_mut(head.len());
        to_head.copy_from_slice(head);
        let (to_text, to_back) = rest.split_at_mut(text.len());
        to_text.copy_from_slice(text);
        if BACK {
            write_back_len(head.len() + text.len(), to_back);
        }
    }

    /// Takes out the elements in a range of places, of which there are `count`.
    pub fn remove(bytes: &mut Vec<u8>, range: std::ops::Range<usize>, count: usize) {
        bytes.drain(range);
        Self::settle(bytes, -(count as i64));
    }

    /// Takes out the last element of a listpack that begins behind a gap, where the element begins at this place.
    pub fn remove_last(buffer: &mut Vec<u8>, gap: usize, at: usize) {
        buffer.truncate(gap + at);
        buffer.push(END);
        Self::settle(&mut buffer[gap..], -1);
    }

    /// Adds an element before all others of a listpack that begins behind the room which it takes here.
    pub fn prepend(room: &mut [u8], element: Element<'_>) {
        let (head, text) = element.encoded();
        let taken = Self::stored_bytes(head.len() + text.len());
        room.copy_within(taken..taken + HEAD, 0);
        Self::write_element(&head, text, &mut room[HEAD..HEAD + taken]);
        Self::settle(room, 1);
    }

    /// Takes out the first element of a listpack, which takes so many bytes: the listpack begins behind these then.
    pub fn remove_first(bytes: &mut [u8], taken: usize) {
        bytes.copy_within(..HEAD, taken);
        Self::settle(&mut bytes[taken..], -1);
    }

    /// Writes the head after a change.
    fn settle(bytes: &mut [u8], more: i64) {
        let total = (bytes.len() as u32).to_le_bytes();
        let before = u16::from_le_bytes([bytes[4], bytes[5]]);
        bytes[..4].copy_from_slice(&total);
        let count = match before {
            COUNT_UNKNOWN => Pack::<BACK>::new(bytes).iter().count() as i64,
            before => i64::from(before) + more,
        };
        let count = u16::try_from(count).unwrap_or(COUNT_UNKNOWN);
        bytes[4..HEAD].copy_from_slice(&count.to_le_bytes());
    }
}

impl<const BACK: bool> Pack<'_, BACK> {
    /// The same elements in a listpack of this or the other kind.
    fn rewritten<const WITH_BACK: bool>(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() + self.len());
        Pack::<WITH_BACK>::clear(&mut bytes);
        bytes.pop();
        for placed in self.iter() {
            Pack::<WITH_BACK>::append(&mut bytes, placed.element);
        }
        bytes.push(END);
        bytes[4..HEAD].copy_from_slice(&self.0[4..HEAD]);
        Pack::<WITH_BACK>::settle(&mut bytes, 0);
        bytes
    }
}

impl OneWay<'_> {
    /// The same elements with the lengths behind them.
    pub fn with_both_ways(self) -> Vec<u8> {
        self.rewritten::<true>()
    }
}

impl Listpack<'_> {
    /// The same elements without the lengths behind them.
    pub fn with_one_way(self) -> Vec<u8> {
        self.rewritten::<false>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use crate::testing::rounds;

    fn texts(bytes: &[u8]) -> Vec<Vec<u8>> {
        let forward: Vec<_> = Listpack::new(bytes)
            .iter()
            .map(|p| p.element.to_vec())
            .collect();
        let mut back: Vec<_> = Listpack::new(bytes)
            .iter()
            .rev()
            .map(|p| p.element.to_vec())
            .collect();
        back.reverse();
        assert_eq!(forward, back);
        assert_eq!(forward.len(), Listpack::new(bytes).len());
        forward
    }

    #[test]
    fn every_kind_of_element_comes_back() {
        let mut bytes = Listpack::empty();
        let mut expected = Vec::new();
        let integers = [
            0,
            1,
            127,
            128,
            -1,
            4095,
            4096,
            -4096,
            -4097,
            32_767,
            32_768,
            -32_768,
            -32_769,
            8_388_607,
            8_388_608,
            -8_388_608,
            -8_388_609,
            i64::from(i32::MAX),
            i64::from(i32::MIN),
            i64::from(i32::MAX) + 1,
            i64::MAX,
            i64::MIN,
        ];
        for integer in integers {
            expected.push(integer.to_string().into_bytes());
        }
        for len in [
            0, 1, 63, 64, 126, 127, 128, 4095, 4096, 16_383, 16_384, 70_000,
        ] {
            expected.push(vec![b'x'; len]);
        }
        expected.push(b"007".to_vec());
        expected.push(b"9223372036854775808".to_vec());
        for text in &expected {
            Listpack::push(&mut bytes, text);
            assert_eq!(
                u32::from_le_bytes(*bytes.first_chunk().unwrap()) as usize,
                bytes.len()
            );
        }
        assert_eq!(texts(&bytes), expected);
        let len = expected.len() as i64;
        for index in -len..len {
            let found = Listpack::new(&bytes).nth(index).map(|p| p.element.to_vec());
            assert_eq!(found.as_ref(), expected.get(index.rem_euclid(len) as usize));
        }
        assert!(
            Listpack::new(&bytes).nth(len).is_none()
                && Listpack::new(&bytes).nth(-len - 1).is_none()
        );
    }

    #[test]
    fn it_is_byte_for_byte_what_redis_makes() {
        // RPUSH k 1 hello -5000 in redis-server 7.0.15, from its DUMP.
        let mut bytes = Listpack::empty();
        for text in [&b"1"[..], b"hello", b"-5000"] {
            Listpack::push(&mut bytes, text);
        }
        let redis = b"\x14\x00\x00\x00\x03\x00\x01\x01\x85hello\x06\xf1\x78\xec\x03\xff";
        assert_eq!(bytes, redis);
    }

    #[test]
    fn elements_are_put_in_replaced_and_taken_out_anywhere() {
        let (bytes, model) = changed_at_random::<true>();
        assert_eq!(texts(&bytes), model);
        let (bytes, model) = changed_at_random::<false>();
        let both = OneWay::new(&bytes).with_both_ways();
        assert_eq!(both.len() - bytes.len(), back_bytes_of(&model));
        assert!(is_whole(&both) && !is_whole(&bytes));
        assert_eq!(texts(&both), model);
        assert_eq!(Listpack::new(&both).with_one_way(), bytes);
    }

    fn back_bytes_of(texts: &[Vec<u8>]) -> usize {
        let elements = texts.iter().map(|text| Element::of(text).encoded());
        let lens = elements.map(|(head, text)| head.len() + text.len());
        lens.map(back_bytes).sum()
    }

    fn changed_at_random<const BACK: bool>() -> (Vec<u8>, Vec<Vec<u8>>) {
        let mut bytes = Pack::<BACK>::empty();
        let mut model: Vec<Vec<u8>> = Vec::new();
        let mut numbers = Random(88_172_645_463_325_252);
        for round in 0..rounds(3_000) as u64 {
            let random = numbers.next_u64();
            let text = match random >> 8 & 3 {
                0 => (random >> 16).to_string().into_bytes(),
                1 => vec![b'a'; (random >> 16 & 0x1ff) as usize],
                _ => (round % 200).to_string().into_bytes(),
            };
            let index = (random >> 40) as usize % (model.len() + 1);
            let place = Pack::<BACK>::new(&bytes).iter().nth(index);
            let place = place.map(|placed| placed.at..placed.end);
            match (random >> 4 & 3, place) {
                (0, Some(placed)) => {
                    Pack::<BACK>::replace(&mut bytes, placed, 1, &text);
                    model[index] = text;
                }
                (1, Some(placed)) if model.len() > 50 => {
                    Pack::<BACK>::remove(&mut bytes, placed, 1);
                    model.remove(index);
                }
                (_, placed) => {
                    let at = placed.map_or(end_of(&bytes), |placed| placed.start);
                    Pack::<BACK>::replace(&mut bytes, at..at, 0, &text);
                    model.insert(index, text);
                }
            }
            let sought = &model[(random >> 20) as usize % model.len()];
            assert!(Pack::<BACK>::new(&bytes).find(sought, 1).is_some());
        }
        (bytes, model)
    }

    #[test]
    fn a_broken_listpack_is_never_read_beyond_its_end() {
        let mut bytes = Listpack::empty();
        for text in [&b"1"[..], b"hello", b"-5000", &[7; 300]] {
            Listpack::push(&mut bytes, text);
        }
        for at in 0..bytes.len() {
            for value in [0, 0x3f, 0x80, 0xbf, 0xdf, 0xe1, 0xf0, 0xf4, 0xfe, 0xff] {
                let mut broken = bytes.clone();
                broken[at] = value;
                let _ = Listpack::new(&broken).iter().count()
                    + Listpack::new(&broken).iter().rev().count();
                let _ = OneWay::new(&broken).iter().count();
                let _ = Listpack::new(&broken[..at]).iter().count()
                    + Listpack::new(&broken[..at]).len();
            }
        }
    }
}
