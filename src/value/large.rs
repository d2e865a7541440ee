//! Large collections: those that are not one row of bytes any more.
//!
//! A collection begins **packed**, as a row of bytes that an entry holds like a string's. When it grows beyond the limits
//! of the options it becomes one of these, which lie apart from the entry and are changed in place, and it stays so.
//!
//! It owns what all of them have in common: their form on disk and how they are freed. What they are is in a file for each
//! type. It knows nothing of keys.

use crate::threads::{self, Part};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};

use super::field_table::FieldTable;
use super::fields::Deadline;
use super::list::NodeList;
use super::member_table::MemberTable;
use super::rdb::input::{binary_double, length, milliseconds, owned_text, text};
use super::rdb::{self, Fault};
use super::sorted_set::SortedSet;
use super::stream::Stream;
use super::value_type::ValueType;

/// Collections that take more are freed on a thread of their own: a million elements take a tenth of a second.
const FREE_HERE_BYTES: usize = 64 * 1024;

/// A large collection, owned.
#[derive(Clone, Debug)]
pub enum Large {
    /// The nodes of a list.
    List(Box<NodeList>),
    /// The members of a set.
    Set(Box<MemberTable>),
    /// The members of a sorted set.
    Zset(Box<SortedSet>),
    /// The fields of a hash.
    Hash(Box<FieldTable>),
    /// A stream.
    Stream(Box<Stream>),
}

/// A large collection, lent for reading.
#[derive(Clone, Copy, Debug)]
pub enum LargeRef<'a> {
    /// The nodes of a list.
    List(&'a NodeList),
    /// The members of a set.
    Set(&'a MemberTable),
    /// The members of a sorted set.
    Zset(&'a SortedSet),
    /// The fields of a hash.
    Hash(&'a FieldTable),
    /// A stream.
    Stream(&'a Stream),
}

impl Large {
    /// It, to be read.
    pub fn view(&self) -> LargeRef<'_> {
        match self {
            Self::List(nodes) => LargeRef::List(nodes),
            Self::Set(members) => LargeRef::Set(members),
            Self::Zset(members) => LargeRef::Zset(members),
            Self::Hash(fields) => LargeRef::Hash(fields),
            Self::Stream(stream) => LargeRef::Stream(stream),
        }
    }

    /// The collection of a type that [`LargeRef::encode`] gave.
    ///
    /// # Errors
    /// These bytes are none.
    pub fn decode(value_type: ValueType, bytes: &[u8]) -> Result<Self, Fault> {
        let mut rest = bytes;
        let input = &mut rest;
        let large = match value_type {
            ValueType::List => {
                let mut nodes = Box::<NodeList>::default();
                for _ in 0..length(input)? {
                    if length(input)? != rdb::NODE_PACKED {
                        return Err(Fault::Broken("a node of a list is of no kind"));
                    }
                    nodes.append_node(owned_text(input)?);
                }
                Self::List(nodes)
            }
            ValueType::Set => {
                let mut members = Box::<MemberTable>::default();
                for _ in 0..length(input)? {
                    text(input, |member| members.add(member))?;
                }
                Self::Set(members)
            }
            ValueType::Zset => {
                let mut members = Box::<SortedSet>::default();
                for _ in 0..length(input)? {
                    let member = owned_text(input)?;
                    members.set(&member, binary_double(input)?);
                }
                Self::Zset(members)
            }
            ValueType::Hash => {
                let mut fields = Box::<FieldTable>::default();
                for _ in 0..length(input)? {
                    let field = owned_text(input)?;
                    text(input, |value| fields.set(&field, value, false))?;
                }
                // What has deadlines names them at the end.
                while !input.is_empty() {
                    let field = owned_text(input)?;
                    fields.set_deadline(&field, Deadline::of_ms(milliseconds(input)?));
                }
                Self::Hash(fields)
            }
            ValueType::Stream => {
                Self::Stream(Box::new(rdb::read_stream(input, rdb::STREAM_LISTPACKS_3)?))
            }
            ValueType::String => return Err(Fault::Broken("a string is never large")),
        };
        if !rest.is_empty() {
            return Err(Fault::Broken("there is more than a value"));
        }
        Ok(large)
    }

    /// Begins a copy of it as it is now.
    pub fn freeze(&mut self) -> FrozenLength {
        let bytes_max = self.view().heap_bytes();
        let elements = match self {
            Self::List(nodes) => nodes.freeze(),
            Self::Set(members) => {
                members.freeze();
                members.len()
            }
            Self::Hash(fields) => {
                fields.freeze();
                fields.len()
            }
            Self::Zset(members) => {
                members.freeze();
                members.len()
            }
            Self::Stream(stream) => {
                let mut rest = Vec::new();
                let mut writer = rdb::ValueWriter::plain(&mut rest);
                rdb::write_beside_nodes(&mut writer, stream, rdb::STREAM_LISTPACKS_3);
                stream.freeze(rest)
            }
        };
        FrozenLength {
            copied: Copied::All { elements },
            bytes_max,
        }
    }

    /// Begins a copy of what has changed since the version that it is followed since, and gives that. `None` where that is copied
    /// at once ([`LargeRef::changes`]), or all of it is to be copied.
    pub fn freeze_changes(&mut self) -> Option<(u64, FrozenLength)> {
        match self {
            Self::List(nodes) => nodes.freeze_changes(),
            Self::Stream(stream) => stream.freeze_changes(),
            _ => None,
        }
    }

    /// Appends a small part more of that copy, and tells whether there are others; `None` if there is no copy.
    pub fn encode_frozen(&mut self, out: &mut FrozenBytes) -> Option<bool> {
        let mut writer = rdb::ValueWriter::plain(&mut out.elements);
        match self {
            Self::List(nodes) => nodes.show_frozen(|number, pack| match out.copied {
                Copied::ChangesOfList { first, .. } => {
                    writer.length(number - first);
                    writer.text(pack.bytes());
                }
                _ => writer.node(pack),
            }),
            Self::Set(members) => members.show_frozen(|member| writer.text(member)),
            Self::Hash(fields) => fields.show_frozen(|field, value, deadline| {
                writer.text(field);
                writer.text(value);
                if let Some(deadline) = deadline {
                    encode_deadline(&mut out.rest, field, deadline);
                }
            }),
            Self::Zset(members) => members.show_frozen(|member| {
                writer.text(member.name());
                writer.raw(&member.score().to_le_bytes());
            }),
            Self::Stream(stream) => {
                let rest = stream.show_frozen(|id, node| {
                    match out.copied {
                        Copied::ChangesOfStream { .. } => writer.raw(&id.to_bytes()),
                        _ => writer.text(&id.to_bytes()),
                    }
                    writer.text(node);
                })?;
                let more = rest.is_none();
                out.rest = rest.unwrap_or_default();
                Some(more)
            }
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

/// What is known of a copy before it is made.
#[derive(Clone, Copy, Debug)]
pub struct FrozenLength {
    pub(super) copied: Copied,
    /// About how many bytes the form has, at the most.
    pub(super) bytes_max: usize,
}

/// What is copied, and what its form begins with.
#[derive(Clone, Copy, Debug)]
pub(super) enum Copied {
    /// All of a collection, of so many elements or nodes.
    All {
        elements: usize,
    },
    /// What has changed of a list, which has so many nodes from this number on.
    ChangesOfList {
        moved: i64,
        nodes: usize,
        changed: usize,
        first: usize,
    },
    ChangesOfStream {
        changed: usize,
    },
}

/// The serialised form of a collection that is copied in steps, or of its changes.
#[derive(Debug)]
pub struct FrozenBytes {
    copied: Copied,
    elements: Vec<u8>,
    /// What follows them.
    rest: Vec<u8>,
}

impl FrozenBytes {
    /// That of a collection whose [`Large::freeze`] or [`Large::freeze_changes`] gave this, to be appended to what a buffer holds.
    pub fn behind(mut buffer: Vec<u8>, frozen: FrozenLength) -> Self {
        // What grows by steps is moved, and a move of some megabytes holds up those who wait for the collection.
        buffer.reserve(frozen.bytes_max);
        let mut writer = rdb::ValueWriter::plain(&mut buffer);
        match frozen.copied {
            Copied::All { elements } => writer.length(elements),
            Copied::ChangesOfList {
                moved,
                nodes,
                changed,
                ..
            } => {
                writer.raw(&moved.to_le_bytes());
                writer.length(nodes);
                writer.length(changed);
            }
            Copied::ChangesOfStream { changed } => writer.length(changed),
        }
        Self {
            copied: frozen.copied,
            elements: buffer,
            rest: Vec::new(),
        }
    }

    /// The buffer with all of it.
    pub fn finish(mut self) -> Vec<u8> {
        self.elements.append(&mut self.rest);
        self.elements
    }
}

fn encode_deadline(out: &mut Vec<u8>, field: &[u8], deadline: Deadline) {
    let mut writer = rdb::ValueWriter::plain(out);
    writer.text(field);
    writer.raw(&deadline.ms().to_le_bytes());
}

impl LargeRef<'_> {
    /// What the allocator takes for all of it.
    pub fn heap_bytes(self) -> usize {
        match self {
            Self::List(nodes) => nodes.heap_bytes(),
            Self::Set(members) => members.heap_bytes(),
            Self::Hash(fields) => fields.heap_bytes(),
            Self::Zset(members) => members.heap_bytes(),
            Self::Stream(stream) => stream.heap_bytes(),
        }
    }

    /// Appends its serialised form.
    pub fn encode(self, out: &mut Vec<u8>) {
        let mut writer = rdb::ValueWriter::plain(out);
        match self {
            Self::List(nodes) => writer.nodes(nodes.packs()),
            Self::Set(members) => {
                writer.texts(members.len(), members.iter());
            }
            Self::Zset(members) => {
                let all = members.range(0..members.len());
                let all = all.map(|member| (member.name(), member.score()));
                writer.scores(members.len(), all);
            }
            Self::Stream(stream) => {
                rdb::write_stream(&mut writer, stream, rdb::STREAM_LISTPACKS_3);
            }
            Self::Hash(fields) => {
                writer.pairs(fields.len(), fields.iter());
                if fields.first_deadline().is_none() {
                    return;
                }
                for (field, _, deadline) in fields.iter_with_deadlines() {
                    if let Some(deadline) = deadline {
                        encode_deadline(out, field, deadline);
                    }
                }
            }
        }
    }

    /// A copy of it.
    pub fn to_large(self) -> Large {
        match self {
            Self::List(nodes) => Large::List(Box::new(nodes.clone())),
            Self::Set(members) => Large::Set(Box::new(members.clone())),
            Self::Zset(members) => Large::Zset(Box::new(members.clone())),
            Self::Hash(fields) => Large::Hash(Box::new(fields.clone())),
            Self::Stream(stream) => Large::Stream(Box::new(stream.clone())),
        }
    }
}

static FREEING: OnceLock<Sender<Large>> = OnceLock::new();
/// Collections that wait to be freed.
static PENDING: AtomicUsize = AtomicUsize::new(0);
static FREED: AtomicUsize = AtomicUsize::new(0);

/// How many collections wait to be freed, and how many have been since the start or [`reset_lazy_frees`].
pub fn lazy_frees() -> (usize, usize) {
    (
        PENDING.load(Ordering::Relaxed),
        FREED.load(Ordering::Relaxed),
    )
}

/// Counts those that were freed from zero again.
pub fn reset_lazy_frees() {
    FREED.store(0, Ordering::Relaxed);
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
    if let Err(error) = threads::spawn("lazy-free", Part::LazyFree, freeing) {
        // The receiver is gone, so that senders free what they have themselves.
        tracing::warn!("Large values are freed where they go: {error}");
    }
    sender
}
