//! The packed forms of older servers: ziplists and zipmaps.
//!
//! ```text
//! ziplist  bytes of all (4) | place of the last (4) | elements (2; 65535: not known) | elements | 255
//! element  bytes of the one before (1, or 254 and 4) | kind and length | bytes
//!
//! 00xxxxxx                   text of up to 63 bytes
//! 01xxxxxx +1                of up to 16,383 (big-endian)
//! 10000000 +4                longer (big-endian)
//! 11000000 +2, 11010000 +4, 11100000 +8, 11110000 +3, 11111110 +1   integers (little-endian)
//! 1111xxxx                   0 to 12, as 1 to 13
//!
//! zipmap   pairs (1) | length, field, length, unused bytes (1), value, unused bytes .. | 255
//! length   1 byte, or 254 and 4
//! ```

use super::super::listpack::Element;
use super::input::{Fault, Input, array};

const END: u8 = 0xff;
const LONG: u8 = 0xfe;
const COUNT_UNKNOWN: u16 = u16::MAX;
const HEAD: usize = 10;

const BROKEN_ZIPLIST: Fault = Fault::Broken("a ziplist is broken");
const BROKEN_ZIPMAP: Fault = Fault::Broken("a zipmap is broken");

/// Shows the elements of a ziplist.
pub(super) fn ziplist(
    bytes: &[u8],
    mut show: impl FnMut(Element<'_>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut rest = bytes;
    let total = u32::from_le_bytes(array(&mut rest)?) as usize;
    let tail = u32::from_le_bytes(array(&mut rest)?) as usize;
    let count = u16::from_le_bytes(array(&mut rest)?);
    if total != bytes.len() {
        return Err(BROKEN_ZIPLIST);
    }
    let (mut shown, mut at, mut before) = (0_usize, HEAD, 0);
    let mut last = HEAD;
    while rest.first() != Some(&END) {
        last = at;
        let len_before = match array(&mut rest)? {
            [LONG] => u32::from_le_bytes(array(&mut rest)?) as usize,
            [len] => usize::from(len),
        };
        if len_before != before {
            return Err(BROKEN_ZIPLIST);
        }
        show(ziplist_element(&mut rest)?)?;
        let end = bytes.len() - rest.len();
        (before, at, shown) = (end - at, end, shown + 1);
    }
    let counted = count == COUNT_UNKNOWN || usize::from(count) == shown;
    if rest.len() != 1 || tail != last || !counted {
        return Err(BROKEN_ZIPLIST);
    }
    Ok(())
}

fn ziplist_element<'a>(rest: &mut &'a [u8]) -> Result<Element<'a>, Fault> {
    let [kind] = array(rest)?;
    let len = match kind {
        0..=0x3f => usize::from(kind),
        0x40..=0x7f => {
            let [low] = array(rest)?;
            usize::from(kind & 0x3f) << 8 | usize::from(low)
        }
        0x80 => u32::from_be_bytes(array(rest)?) as usize,
        0xc0 => return Ok(Element::Integer(i16::from_le_bytes(array(rest)?).into())),
        0xd0 => return Ok(Element::Integer(i32::from_le_bytes(array(rest)?).into())),
        0xe0 => return Ok(Element::Integer(i64::from_le_bytes(array(rest)?))),
        0xf0 => {
            let [low, middle, high] = array(rest)?;
            let integer = i32::from_le_bytes([0, low, middle, high]) >> 8;
            return Ok(Element::Integer(integer.into()));
        }
        0xfe => return Ok(Element::Integer(i8::from_le_bytes(array(rest)?).into())),
        0xf1..=0xfd => return Ok(Element::Integer(i64::from(kind & 0x0f) - 1)),
        _ => return Err(BROKEN_ZIPLIST),
    };
    let (text, behind) = rest.split_at_checked(len).ok_or(BROKEN_ZIPLIST)?;
    *rest = behind;
    Ok(Element::Text(text))
}

/// Shows the fields of a zipmap with their values.
pub(super) fn zipmap(
    bytes: &[u8],
    mut show: impl FnMut(&[u8], &[u8]) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut rest = bytes;
    let [count] = array(&mut rest)?;
    let mut shown = 0_usize;
    while rest.first() != Some(&END) {
        let len = zipmap_length(&mut rest)?;
        let (field, behind) = rest.split_at_checked(len).ok_or(BROKEN_ZIPMAP)?;
        rest = behind;
        let len = zipmap_length(&mut rest)?;
        let [unused] = array(&mut rest)?;
        let (value, behind) = rest.split_at_checked(len).ok_or(BROKEN_ZIPMAP)?;
        rest = behind;
        rest.bytes(usize::from(unused))?;
        show(field, value)?;
        shown += 1;
    }
    let counted = count >= LONG || usize::from(count) == shown;
    if rest.len() != 1 || !counted {
        return Err(BROKEN_ZIPMAP);
    }
    Ok(())
}

fn zipmap_length(rest: &mut &[u8]) -> Result<usize, Fault> {
    match array(rest)? {
        [LONG] => Ok(u32::from_le_bytes(array(rest)?) as usize),
        [END] => Err(BROKEN_ZIPMAP),
        [len] => Ok(usize::from(len)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements(bytes: &[u8]) -> Result<Vec<Vec<u8>>, Fault> {
        let mut found = Vec::new();
        ziplist(bytes, |element| {
            found.push(element.to_vec());
            Ok(())
        })?;
        Ok(found)
    }

    /// `a`, -1, 5, 300, 70000 and a text of 100 bytes, as the format says.
    fn sample() -> Vec<u8> {
        let mut entries: Vec<Vec<u8>> = vec![
            vec![1, b'a'],
            vec![0xfe, 0xff],
            vec![0xf6],
            vec![0xc0, 0x2c, 1],
            vec![0xf0, 0x70, 0x11, 1],
        ];
        entries.push([&[0x40, 100][..], &[b'x'; 100]].concat());
        let (mut body, mut before, mut last) = (Vec::new(), 0, 0);
        for entry in &entries {
            last = HEAD + body.len();
            body.push(before as u8);
            body.extend_from_slice(entry);
            before = entry.len() + 1;
        }
        let total = (HEAD + body.len() + 1) as u32;
        let mut bytes = total.to_le_bytes().to_vec();
        bytes.extend_from_slice(&(last as u32).to_le_bytes());
        bytes.extend_from_slice(&(entries.len() as u16).to_le_bytes());
        bytes.extend_from_slice(&body);
        bytes.push(END);
        bytes
    }

    #[test]
    fn a_ziplist_shows_its_elements_and_its_parts_are_none() {
        let bytes = sample();
        let found = elements(&bytes).unwrap();
        let expected = ["a", "-1", "5", "300", "70000", &"x".repeat(100)];
        assert!(
            found
                .iter()
                .map(Vec::as_slice)
                .eq(expected.map(str::as_bytes))
        );
        for end in 0..bytes.len() {
            assert!(elements(&bytes[..end]).is_err());
        }
        for at in 0..bytes.len() {
            for flip in [1, 0x80, 0xff] {
                let mut broken = bytes.clone();
                broken[at] ^= flip;
                let _ = elements(&broken);
            }
        }
    }

    #[test]
    fn a_zipmap_shows_its_fields_and_its_parts_are_none() {
        let bytes = b"\x02\x03foo\x03\x00bar\x05hello\x05\x02world..\xff";
        let read = |bytes: &[u8]| {
            let mut found = Vec::new();
            zipmap(bytes, |field, value| {
                found.push((field.to_vec(), value.to_vec()));
                Ok(())
            })
            .map(|()| found)
        };
        let expected = vec![
            (b"foo".to_vec(), b"bar".to_vec()),
            (b"hello".to_vec(), b"world".to_vec()),
        ];
        assert_eq!(read(bytes), Ok(expected));
        for end in 0..bytes.len() {
            assert!(read(&bytes[..end]).is_err());
        }
    }
}
