//! What all collections have in common for the keyspace, which keeps them: two forms, packed and large.

use super::hash::{Hash, PackedHash};
use super::intset::Intset;
use super::large::Large;
use super::list::List;
use super::listpack::{self, Listpack, OneWay};
use super::set::Set;
use super::stream::Stream;
use super::zset::Zset;

/// A collection as an entry keeps it.
#[derive(Debug)]
pub enum Content {
    /// A row of bytes, as a string's.
    Packed(Vec<u8>),
    /// A structure that lies apart.
    Large(Large),
}

/// The bytes of a small hash, set or sorted set whose listpack has the lengths behind its elements, as memory had them once
/// and old copies on disk have them still, as they are in memory now. `None` if they are none.
pub fn of_both_ways(bytes: &[u8]) -> Option<Vec<u8>> {
    if Intset::new(bytes).is_some() {
        return Some(bytes.to_vec());
    }
    // What follows the listpack are the deadlines of a hash.
    let (pack, rest) = bytes.split_at(listpack::total_bytes(bytes));
    let one_way = || Listpack::new(pack).with_one_way();
    listpack::is_whole(pack).then(|| [&one_way()[..], rest].concat())
}

/// A collection that is being changed.
pub trait Collection: Sized {
    /// A new one, with this buffer for its bytes.
    fn empty(buffer: Vec<u8>) -> Self;
    /// The one that an entry keeps; `None` if that is of another type.
    fn of(content: Content) -> Option<Self>;
    /// What an entry is to keep.
    fn into_content(self) -> Content;
    /// Whether it has no element, so that its key goes.
    fn is_empty(&self) -> bool;
}

impl Collection for Hash {
    fn empty(mut buffer: Vec<u8>) -> Self {
        OneWay::clear(&mut buffer);
        Self::Packed(PackedHash::of_bytes(buffer))
    }

    fn of(content: Content) -> Option<Self> {
        match content {
            Content::Packed(bytes) => Some(Self::Packed(PackedHash::of_bytes(bytes))),
            Content::Large(Large::Hash(fields)) => Some(Self::Table(fields)),
            Content::Large(_) => None,
        }
    }

    fn into_content(self) -> Content {
        match self {
            Self::Packed(packed) => Content::Packed(packed.into_bytes()),
            Self::Table(fields) => Content::Large(Large::Hash(fields)),
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Packed(packed) => packed.is_empty(),
            Self::Table(fields) => fields.is_empty(),
        }
    }
}

impl Collection for List {
    fn empty(mut buffer: Vec<u8>) -> Self {
        Listpack::clear(&mut buffer);
        Self::Packed(buffer)
    }

    fn of(content: Content) -> Option<Self> {
        match content {
            Content::Packed(bytes) => Some(Self::Packed(bytes)),
            Content::Large(Large::List(nodes)) => Some(Self::Nodes(nodes)),
            Content::Large(_) => None,
        }
    }

    fn into_content(self) -> Content {
        match self {
            Self::Packed(bytes) => Content::Packed(bytes),
            Self::Nodes(nodes) => Content::Large(Large::List(nodes)),
        }
    }

    fn is_empty(&self) -> bool {
        self.view().is_empty()
    }
}

impl Collection for Set {
    fn empty(buffer: Vec<u8>) -> Self {
        Self::empty(buffer)
    }

    fn of(content: Content) -> Option<Self> {
        match content {
            Content::Packed(bytes) => Some(Self::Packed(bytes)),
            Content::Large(Large::Set(members)) => Some(Self::Table(members)),
            Content::Large(_) => None,
        }
    }

    fn into_content(self) -> Content {
        match self {
            Self::Packed(bytes) => Content::Packed(bytes),
            Self::Table(members) => Content::Large(Large::Set(members)),
        }
    }

    fn is_empty(&self) -> bool {
        self.view().is_empty()
    }
}

impl Collection for Zset {
    fn empty(mut buffer: Vec<u8>) -> Self {
        OneWay::clear(&mut buffer);
        Self::Packed(buffer)
    }

    fn of(content: Content) -> Option<Self> {
        match content {
            Content::Packed(bytes) => Some(Self::Packed(bytes)),
            Content::Large(Large::Zset(members)) => Some(Self::Large(members)),
            Content::Large(_) => None,
        }
    }

    fn into_content(self) -> Content {
        match self {
            Self::Packed(bytes) => Content::Packed(bytes),
            Self::Large(members) => Content::Large(Large::Zset(members)),
        }
    }

    fn is_empty(&self) -> bool {
        self.view().is_empty()
    }
}

/// A stream is never packed, and stays when its last entry goes.
impl Collection for Box<Stream> {
    fn empty(_: Vec<u8>) -> Self {
        Self::default()
    }

    fn of(content: Content) -> Option<Self> {
        match content {
            Content::Large(Large::Stream(stream)) => Some(stream),
            _ => None,
        }
    }

    fn into_content(self) -> Content {
        Content::Large(Large::Stream(self))
    }

    fn is_empty(&self) -> bool {
        false
    }
}
