//! Large collections: those that are not one row of bytes any more.
//!
//! A collection begins **packed**, as a row of bytes that an entry holds like a string's. When it grows beyond the limits
//! of the options it becomes one of these, which lie apart from the entry and are changed in place, and it stays so.
//!
//! It owns what all of them have in common: their form on disk and how they are freed. What they are is in a file for each
//! type. It knows nothing of keys.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};

use super::hash::FieldTable;
use super::list::NodeList;
use super::rdb;
use super::sorted_set::SortedSet;
use super::value_type::ValueType;

/// Collections that take more are freed on a thread of their own: a million elements take a tenth of a second.
const FREE_HERE_BYTES: usize = 64 * 1024;

/// A large collection, owned.
#[derive(Clone, Debug)]
pub enum Large {
    /// The nodes of a list.
    List(Box<NodeList>),
    /// The members of a set: fields with empty values.
    Set(Box<FieldTable>),
    /// The members of a sorted set.
    Zset(Box<SortedSet>),
    /// The fields of a hash.
    Hash(Box<FieldTable>),
}

/// A large collection, lent for reading.
#[derive(Clone, Copy, Debug)]
pub enum LargeRef<'a> {
    /// The nodes of a list.
    List(&'a NodeList),
    /// The members of a set: fields with empty values.
    Set(&'a FieldTable),
    /// The members of a sorted set.
    Zset(&'a SortedSet),
    /// The fields of a hash.
    Hash(&'a FieldTable),
}

impl Large {
    /// It, to be read.
    pub fn view(&self) -> LargeRef<'_> {
        match self {
            Self::List(nodes) => LargeRef::List(nodes),
            Self::Set(members) => LargeRef::Set(members),
            Self::Zset(members) => LargeRef::Zset(members),
            Self::Hash(fields) => LargeRef::Hash(fields),
        }
    }

    /// The collection of a type that [`LargeRef::encode`] gave; `None` if these bytes are none.
    pub fn decode(value_type: ValueType, bytes: &[u8]) -> Option<Self> {
        match value_type {
            ValueType::List => {
                let mut nodes = Box::<NodeList>::default();
                rdb::read_nodes(bytes, |pack| nodes.append_node(pack.to_vec()))?;
                Some(Self::List(nodes))
            }
            ValueType::Set => {
                let mut members = Box::<FieldTable>::default();
                rdb::read_set(bytes, |member| {
                    members.set(member, b"");
                })?;
                Some(Self::Set(members))
            }
            ValueType::Zset => {
                let mut members = Box::<SortedSet>::default();
                rdb::read_zset(bytes, |member, score| {
                    members.set(member, score);
                })?;
                Some(Self::Zset(members))
            }
            ValueType::Hash => {
                let mut fields = Box::<FieldTable>::default();
                rdb::read_hash(bytes, |field, value| {
                    fields.set(field, value);
                })?;
                Some(Self::Hash(fields))
            }
            ValueType::String => None,
        }
    }

    /// Frees it, in the background if that takes long.
    pub fn free(self) {
        if self.view().heap_bytes() <= FREE_HERE_BYTES {
            return;
        }
        PENDING.fetch_add(1, Ordering::Relaxed);
        let freeing = FREEING.get_or_init(start);
        if let Some(mpsc::SendError(large)) = freeing.send(self).err() {
            // There is no thread: here, then.
            drop(large);
            PENDING.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl LargeRef<'_> {
    /// What the allocator takes for all of it.
    pub fn heap_bytes(self) -> usize {
        match self {
            Self::List(nodes) => nodes.heap_bytes(),
            Self::Set(fields) | Self::Hash(fields) => fields.heap_bytes(),
            Self::Zset(members) => members.heap_bytes(),
        }
    }

    /// Appends its serialised form.
    pub fn encode(self, out: &mut Vec<u8>) {
        match self {
            Self::List(nodes) => rdb::write_nodes(out, nodes.packs()),
            Self::Set(members) => {
                let names = members.iter().map(|(member, _)| member);
                rdb::write_set(out, members.len(), names);
            }
            Self::Zset(members) => {
                // From the last to the first, as in Redis.
                let all = members.range(0..members.len()).rev();
                let all = all.map(|member| (member.name(), member.score()));
                rdb::write_zset(out, members.len(), all);
            }
            Self::Hash(fields) => rdb::write_hash(out, fields.len(), fields.iter()),
        }
    }

    /// A copy of it.
    pub fn to_large(self) -> Large {
        match self {
            Self::List(nodes) => Large::List(Box::new(nodes.clone())),
            Self::Set(members) => Large::Set(Box::new(members.clone())),
            Self::Zset(members) => Large::Zset(Box::new(members.clone())),
            Self::Hash(fields) => Large::Hash(Box::new(fields.clone())),
        }
    }
}

static FREEING: OnceLock<Sender<Large>> = OnceLock::new();
/// Collections that wait to be freed.
static PENDING: AtomicUsize = AtomicUsize::new(0);
static FREED: AtomicUsize = AtomicUsize::new(0);

/// How many collections wait to be freed, and how many have been since the start.
pub fn lazy_frees() -> (usize, usize) {
    (
        PENDING.load(Ordering::Relaxed),
        FREED.load(Ordering::Relaxed),
    )
}

fn start() -> Sender<Large> {
    let (sender, receiver) = mpsc::channel();
    let freeing = move || {
        for large in receiver {
            drop(large);
            PENDING.fetch_sub(1, Ordering::Relaxed);
            FREED.fetch_add(1, Ordering::Relaxed);
        }
    };
    let thread = std::thread::Builder::new().name("lazy-free".to_owned());
    if let Err(error) = thread.spawn(freeing) {
        // The receiver is gone, so that senders free what they have themselves.
        tracing::warn!("Large values are freed where they go: {error}");
    }
    sender
}
