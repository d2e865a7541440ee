//! Values as Redis 7.0 writes them: its RDB version 10, which all later ones read. Hashes whose fields have deadlines, which
//! it does not know, are written as Redis 7.4 writes them.

use super::super::fields::Deadline;
use super::super::hash::HashRef;
use super::super::intset::Intset;
use super::super::list::ListRef;
use super::super::listpack::{Digits, Listpack};
use super::super::set::SetRef;
use super::super::stream::Stream;
use super::super::zset::ZsetRef;
use super::kinds::*;
use super::stream::write_stream;

/// Longer texts are compressed if that makes them shorter.
const COMPRESSED_FROM_BYTES: usize = 21;
/// What compression must gain at the least.
const GAIN_BYTES: usize = 4;
/// A longer text is no integer of 32 bits.
const INTEGER_BYTES_MAX: usize = 11;

/// A value, to be written.
#[derive(Clone, Copy, Debug)]
pub enum ValueRef<'a> {
    /// A string.
    String(&'a [u8]),
    /// A list.
    List(ListRef<'a>),
    /// A set.
    Set(SetRef<'a>),
    /// A sorted set.
    Zset(ZsetRef<'a>),
    /// A hash.
    Hash(HashRef<'a>),
    /// A stream.
    Stream(&'a Stream),
}

/// Writes the parts of values.
pub(in crate::value) struct ValueWriter<'a> {
    out: &'a mut Vec<u8>,
    /// Whether texts take their shortest form: as integers, or compressed.
    is_short: bool,
}

impl<'a> ValueWriter<'a> {
    /// One that writes texts as they are, for whoever compresses the whole.
    pub(in crate::value) fn plain(out: &'a mut Vec<u8>) -> Self {
        Self {
            out,
            is_short: false,
        }
    }

    pub(in crate::value) fn length(&mut self, len: usize) {
        match len {
            0..=0x3f => self.out.push(len as u8),
            0x40..=0x3fff => self
                .out
                .extend_from_slice(&(0x4000 | len as u16).to_be_bytes()),
            0x4000..=0xffff_ffff => {
                self.out.push(0x80);
                self.out.extend_from_slice(&(len as u32).to_be_bytes());
            }
            _ => {
                self.out.push(0x81);
                self.out.extend_from_slice(&(len as u64).to_be_bytes());
            }
        }
    }

    pub(in crate::value) fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    pub(in crate::value) fn text(&mut self, text: &[u8]) {
        if self.is_short && (self.integer(text) || self.compressed(text)) {
            return;
        }
        self.length(text.len());
        self.out.extend_from_slice(text);
    }

    /// Writes a text as an integer, if it is a small one.
    fn integer(&mut self, text: &[u8]) -> bool {
        if text.len() > INTEGER_BYTES_MAX {
            return false;
        }
        let integer = super::super::number::parse_i64(text);
        let Some(integer) = integer.and_then(|integer| i32::try_from(integer).ok()) else {
            return false;
        };
        let bytes = integer.to_le_bytes();
        let (kind, width) = match integer {
            -0x80..=0x7f => (0xc0, 1),
            -0x8000..=0x7fff => (0xc1, 2),
            _ => (0xc2, 4),
        };
        self.out.push(kind);
        self.out.extend_from_slice(&bytes[..width]);
        true
    }

    /// Writes a text compressed, if that gains something.
    fn compressed(&mut self, text: &[u8]) -> bool {
        if text.len() < COMPRESSED_FROM_BYTES {
            return false;
        }
        let Some(compressed) = lzf::compress(text).ok() else {
            return false;
        };
        if compressed.len() + GAIN_BYTES > text.len() {
            return false;
        }
        self.out.push(0xc3);
        self.length(compressed.len());
        self.length(text.len());
        self.out.extend_from_slice(&compressed);
        true
    }

    pub(in crate::value) fn texts<'t>(
        &mut self,
        len: usize,
        texts: impl Iterator<Item = &'t [u8]>,
    ) {
        self.length(len);
        texts.for_each(|text| self.text(text));
    }

    pub(in crate::value) fn pairs<'t>(
        &mut self,
        len: usize,
        pairs: impl Iterator<Item = (&'t [u8], &'t [u8])>,
    ) {
        self.length(len);
        for (name, value) in pairs {
            self.text(name);
            self.text(value);
        }
    }

    pub(in crate::value) fn scores<'t>(
        &mut self,
        len: usize,
        members: impl Iterator<Item = (&'t [u8], f64)>,
    ) {
        self.length(len);
        for (member, score) in members {
            self.text(member);
            self.out.extend_from_slice(&score.to_le_bytes());
        }
    }

    pub(in crate::value) fn nodes<'t>(
        &mut self,
        nodes: impl ExactSizeIterator<Item = Listpack<'t>>,
    ) {
        self.length(nodes.len());
        nodes.for_each(|node| self.node(node));
    }

    pub(in crate::value) fn node(&mut self, node: Listpack<'_>) {
        self.length(NODE_PACKED as usize);
        self.text(node.bytes());
    }
}

/// Appends a value and gives the number of its type.
pub fn write_value(out: &mut Vec<u8>, value: ValueRef<'_>) -> u8 {
    let mut writer = ValueWriter {
        out,
        is_short: true,
    };
    let mut digits = Digits::new();
    match value {
        ValueRef::String(text) => {
            writer.text(text);
            STRING
        }
        ValueRef::List(list) => {
            match list {
                ListRef::Packed(pack) => writer.nodes(std::iter::once(pack)),
                ListRef::Nodes(nodes) => writer.nodes(nodes.packs()),
            }
            LIST_QUICKLIST_2
        }
        ValueRef::Set(SetRef::Integers(integers)) => {
            writer.text(Intset::bytes(integers));
            SET_INTSET
        }
        ValueRef::Set(set) => {
            // Redis 7.0 knows no packed sets of texts.
            writer.length(set.len());
            set.iter()
                .for_each(|member| writer.text(member.text(&mut digits)));
            SET
        }
        ValueRef::Zset(ZsetRef::Packed(pack)) => {
            writer.text(&pack.with_both_ways());
            ZSET_LISTPACK
        }
        ValueRef::Zset(ZsetRef::Large(members)) => {
            let all = members.range(0..members.len()).rev();
            let all = all.map(|member| (member.name(), member.score()));
            writer.scores(members.len(), all);
            ZSET_2
        }
        ValueRef::Stream(stream) => {
            write_stream(&mut writer, stream, STREAM_LISTPACKS_2);
            STREAM_LISTPACKS_2
        }
        ValueRef::Hash(hash) => match (hash, hash.first_deadline()) {
            (HashRef::Packed(pack, _), None) => {
                writer.text(&pack.with_both_ways());
                HASH_LISTPACK
            }
            (HashRef::Table(fields), None) => {
                writer.pairs(fields.len(), fields.iter());
                HASH
            }
            (HashRef::Packed(..), Some(first)) => {
                writer.raw(&first.ms().to_le_bytes());
                writer.text(&pack_with_deadlines(hash));
                HASH_LISTPACK_EX
            }
            (HashRef::Table(fields), Some(first)) => {
                writer.raw(&first.ms().to_le_bytes());
                writer.length(fields.len());
                for (field, value, deadline) in fields.iter_with_deadlines() {
                    let after = deadline.map_or(0, |at| at.ms() - first.ms() + 1);
                    writer.length(after as usize);
                    writer.text(field);
                    writer.text(value);
                }
                HASH_METADATA
            }
        },
    }
}

/// Appends a hash whose fields have deadlines as Valkey 9 writes it, which knows none of the forms that Redis has for it, with
/// its type in front.
pub fn write_valkey_hash(out: &mut Vec<u8>, hash: HashRef<'_>) {
    out.push(VALKEY_HASH_2);
    let mut writer = ValueWriter {
        out,
        is_short: true,
    };
    let (mut names, mut values) = (Digits::new(), Digits::new());
    writer.length(hash.len());
    for (field, value, deadline) in hash.iter_with_deadlines() {
        writer.text(field.text(&mut names));
        writer.text(value.text(&mut values));
        let ms = deadline.map_or(-1, Deadline::ms);
        writer.raw(&ms.to_le_bytes());
    }
}

/// Fields, values and deadlines in turn: what goes first is in front, what never goes at the end with 0.
fn pack_with_deadlines(hash: HashRef<'_>) -> Vec<u8> {
    let mut all: Vec<_> = hash.iter_with_deadlines().collect();
    all.sort_by_key(|(_, _, deadline)| deadline.map_or(i64::MAX, Deadline::ms));
    let (mut bytes, mut digits) = (Listpack::empty(), Digits::new());
    for (field, value, deadline) in all {
        Listpack::push(&mut bytes, field.text(&mut digits));
        Listpack::push(&mut bytes, value.text(&mut digits));
        let ms = deadline.map_or(0, Deadline::ms);
        Listpack::push(&mut bytes, digits.format(ms).as_bytes());
    }
    bytes
}
