//! The serialised form of large collections: Redis's RDB encoding of values, without the byte that tells the type.
//!
//! ```text
//! length   00xxxxxx | 01xxxxxx +1 (big-endian) | 10000000 +4 (big-endian) | 10000001 +8 (big-endian)
//! text     length, bytes
//! hash     length, then a text for each field and for its value            (RDB type 4)
//! zset     length, then a text for each member and its score (8)       (RDB type 5)
//! set      length, then a text for each member                          (RDB type 2)
//! list     length, then for each node: 2, and a text: its listpack         (RDB type 18)
//! ```
//!
//! Invariant: nothing is allocated for a length that the bytes do not have.

use super::listpack::Listpack;

/// The kind of a node that is a listpack.
const PACKED: u64 = 2;

fn write_length(out: &mut Vec<u8>, len: usize) {
    match len {
        0..=0x3f => out.push(len as u8),
        0x40..=0x3fff => out.extend_from_slice(&(0x4000 | len as u16).to_be_bytes()),
        0x4000..=0xffff_ffff => {
            out.push(0x80);
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
        _ => {
            out.push(0x81);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
}

fn write_text(out: &mut Vec<u8>, text: &[u8]) {
    write_length(out, text.len());
    out.extend_from_slice(text);
}

/// Appends a hash.
pub(super) fn write_hash<'a>(
    out: &mut Vec<u8>,
    len: usize,
    fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
) {
    write_length(out, len);
    for (field, value) in fields {
        write_text(out, field);
        write_text(out, value);
    }
}

/// Shows the fields of a hash with their values. `None`: these bytes are none.
pub(super) fn read_hash(bytes: &[u8], mut show: impl FnMut(&[u8], &[u8])) -> Option<()> {
    let mut rest = bytes;
    for _ in 0..read_length(&mut rest)? {
        let field = read_text(&mut rest)?;
        let value = read_text(&mut rest)?;
        show(field, value);
    }
    rest.is_empty().then_some(())
}

/// Appends a set.
pub(super) fn write_set<'a>(
    out: &mut Vec<u8>,
    len: usize,
    members: impl Iterator<Item = &'a [u8]>,
) {
    write_length(out, len);
    members.for_each(|member| write_text(out, member));
}

/// Shows the members of a set. `None`: these bytes are none.
pub(super) fn read_set(bytes: &[u8], mut show: impl FnMut(&[u8])) -> Option<()> {
    let mut rest = bytes;
    for _ in 0..read_length(&mut rest)? {
        show(read_text(&mut rest)?);
    }
    rest.is_empty().then_some(())
}

/// Appends a sorted set.
pub(super) fn write_zset<'a>(
    out: &mut Vec<u8>,
    len: usize,
    members: impl Iterator<Item = (&'a [u8], f64)>,
) {
    write_length(out, len);
    for (member, score) in members {
        write_text(out, member);
        out.extend_from_slice(&score.to_le_bytes());
    }
}

/// Shows the members of a sorted set with their scores, none of which is NaN. `None`: these bytes are none.
pub(super) fn read_zset(bytes: &[u8], mut show: impl FnMut(&[u8], f64)) -> Option<()> {
    let mut rest = bytes;
    for _ in 0..read_length(&mut rest)? {
        let member = read_text(&mut rest)?;
        let score;
        (score, rest) = rest.split_first_chunk()?;
        let score = f64::from_le_bytes(*score);
        if score.is_nan() {
            return None;
        }
        show(member, score);
    }
    rest.is_empty().then_some(())
}

/// Appends a list.
pub(super) fn write_nodes<'a>(
    out: &mut Vec<u8>,
    nodes: impl ExactSizeIterator<Item = Listpack<'a>>,
) {
    write_length(out, nodes.len());
    for node in nodes {
        write_length(out, PACKED as usize);
        write_text(out, node.bytes());
    }
}

/// Shows the listpacks of a list. `None`: these bytes are none.
pub(super) fn read_nodes(bytes: &[u8], mut show: impl FnMut(&[u8])) -> Option<()> {
    let mut rest = bytes;
    for _ in 0..read_length(&mut rest)? {
        if read_length(&mut rest)? != PACKED {
            return None;
        }
        show(read_text(&mut rest)?);
    }
    rest.is_empty().then_some(())
}

fn read_length(bytes: &mut &[u8]) -> Option<u64> {
    let (first, rest) = bytes.split_first()?;
    let (len, rest) = match first {
        0..=0x3f => (u64::from(*first), rest),
        0x40..=0x7f => {
            let (second, rest) = rest.split_first()?;
            (u64::from(first & 0x3f) << 8 | u64::from(*second), rest)
        }
        0x80 => {
            let (len, rest) = rest.split_first_chunk()?;
            (u64::from(u32::from_be_bytes(*len)), rest)
        }
        0x81 => {
            let (len, rest) = rest.split_first_chunk()?;
            (u64::from_be_bytes(*len), rest)
        }
        _ => return None,
    };
    *bytes = rest;
    Some(len)
}

fn read_text<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(read_length(bytes)?).ok()?;
    let (text, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::listpack;

    #[test]
    fn a_hash_comes_back_and_its_parts_are_none() {
        let long = vec![7; 20_000];
        let fields: &[(&[u8], &[u8])] = &[
            (b"a", b""),
            (b"", &[1; 63]),
            (b"long", &long),
            (b"64", &[2; 64]),
        ];
        let mut bytes = Vec::new();
        write_hash(&mut bytes, fields.len(), fields.iter().copied());
        let mut found = Vec::new();
        let read = read_hash(&bytes, |field, value| {
            found.push((field.to_vec(), value.to_vec()))
        });
        assert_eq!(read, Some(()));
        let expected: Vec<_> = fields
            .iter()
            .map(|(f, v)| (f.to_vec(), v.to_vec()))
            .collect();
        assert_eq!(found, expected);
        for end in 0..bytes.len() {
            assert_eq!(read_hash(&bytes[..end], |_, _| {}), None);
        }
        bytes.push(0);
        assert_eq!(read_hash(&bytes, |_, _| {}), None);
    }

    #[test]
    fn a_list_comes_back_and_its_parts_are_none() {
        let mut pack = listpack::empty();
        listpack::push(&mut pack, b"element");
        let nodes = vec![Listpack::new(&pack); 100];
        let mut bytes = Vec::new();
        write_nodes(&mut bytes, nodes.into_iter());
        let mut found = 0;
        let read = read_nodes(&bytes, |node| found += usize::from(node == pack));
        assert_eq!((read, found), (Some(()), 100));
        for end in 0..bytes.len() {
            assert_eq!(read_nodes(&bytes[..end], |_| {}), None);
        }
    }
}
