//! Streams: entries of fields with values, in the order of their ids, and groups of consumers that share them.
//!
//! Entries lie in nodes, listpacks in the form that Redis gives them, each under the id of the entry that began it:
//!
//! ```text
//! node    entries | deleted ones | fields of the first (n) | n fields | 0 | entries
//! entry   flags | ms beyond the node's | seq beyond the node's | [fields (n) | n times: field, value] or values | elements before
//!
//! flags   1: deleted; 2: the fields are those of the first entry, and only the values follow
//! ```
//!
//! It knows nothing of keys, replies and the clock.

mod group;
mod node;
mod nodes;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Included, Unbounded};

use super::changes::Changes;
use super::frozen::Freezer;
use super::listpack::{Element, Listpack};
use super::number;
use crate::allocator::size_class;

pub use group::{Consumer, ConsumerGroup, Pending};
pub use node::{Entry, Fields};
use nodes::Nodes;

/// What a tree takes for an element beside it, about: its nodes are three quarters full.
const TREE_BYTES: usize = 12;
/// So many nodes of a copy hold up others for as long as a hundred microseconds.
const NODES_AT_ONCE: usize = if cfg!(test) { 3 } else { 32 };

/// The id of an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    /// Milliseconds since the epoch, as a rule.
    pub ms: u64,
    /// The number within the millisecond.
    pub seq: u64,
}

impl Id {
    /// Before all that an entry can have.
    pub const ZERO: Self = Self { ms: 0, seq: 0 };
    /// The last one.
    pub const MAX: Self = Self {
        ms: u64::MAX,
        seq: u64::MAX,
    };

    /// The next one, if this is not the last.
    pub fn next(self) -> Option<Self> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(Self { seq, ..self }),
            None => Some(Self {
                ms: self.ms.checked_add(1)?,
                seq: 0,
            }),
        }
    }

    /// The one before, if there is any.
    pub fn previous(self) -> Option<Self> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(Self { seq, ..self }),
            None => Some(Self {
                ms: self.ms.checked_sub(1)?,
                seq: u64::MAX,
            }),
        }
    }

    /// As it is written.
    pub fn to_text(self) -> String {
        format!("{}-{}", self.ms, self.seq)
    }

    /// The bytes that it has in a serialised form.
    pub fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.ms) << 64 | u128::from(self.seq)).to_be_bytes()
    }

    /// Of these bytes.
    pub fn of_bytes(bytes: [u8; 16]) -> Self {
        let both = u128::from_be_bytes(bytes);
        Self {
            ms: (both >> 64) as u64,
            seq: both as u64,
        }
    }
}

/// How large nodes become; 0 is no limit.
#[derive(Clone, Copy, Debug)]
pub struct NodeLimits {
    /// Bytes.
    pub bytes: usize,
    /// Entries, deleted ones too.
    pub entries: usize,
}

/// What of a stream is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// So many entries, the last ones.
    Length(u64),
    /// Those from an id on.
    From(Id),
}

/// How a stream is trimmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trim {
    /// What is kept.
    pub keep: Keep,
    /// Only whole nodes go.
    pub is_approximate: bool,
    /// No more entries are looked at; 0 is no limit.
    pub most: u64,
}

/// A stream.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    nodes: Nodes,
    node_bytes: usize,
    /// What is told of it as a whole.
    pub state: State,
    /// Its groups, by name.
    pub groups: BTreeMap<Box<[u8]>, ConsumerGroup>,
    /// Nodes by their ids; what is told of the stream beside them.
    freezer: Freezer<Id, Vec<u8>, Vec<u8>>,
    changes: Changes<Id>,
}

/// What is told of a stream as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Entries that are there.
    pub len: u64,
    /// The highest id that was given.
    pub last: Id,
    /// The lowest id that is there; 0-0 where there is none.
    pub first: Id,
    /// The highest id that was deleted.
    pub max_deleted: Id,
    /// Entries that were ever added.
    pub added: u64,
}

impl Stream {
    /// How many entries it has.
    pub fn len(&self) -> u64 {
        self.state.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many nodes it has.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// What they take.
    pub(super) fn node_bytes(&self) -> usize {
        self.node_bytes
    }

    /// The nodes with their ids.
    pub fn nodes(&self) -> impl Iterator<Item = (Id, &[u8])> {
        self.nodes.iter().map(|(id, node)| (id, node.as_slice()))
    }

    /// Begins a copy of all nodes as they are now, and gives how many they are. `rest` is what is told of the stream beside
    /// them.
    pub fn freeze(&mut self, rest: Vec<u8>) -> usize {
        let last = self.nodes.last_id();
        let nodes = last.map_or(Id::MAX..=Id::ZERO, |last| Id::ZERO..=last);
        self.freezer.freeze(nodes, rest);
        self.nodes.len()
    }

    /// The same of those that have changed, of which there must be some.
    pub(super) fn freeze_changed(&mut self, ids: BTreeSet<Id>, rest: Vec<u8>) {
        self.freezer.freeze_only(ids, rest);
    }

    /// Shows a few nodes more of that copy, and gives the rest after the last of them. `None` if there is no copy.
    pub fn show_frozen(&mut self, mut show: impl FnMut(Id, &[u8])) -> Option<Option<Vec<u8>>> {
        let nodes = &self.nodes;
        let first = |(next, last)| {
            let node = match next {
                Excluded(done) => nodes.behind(done, last).next(),
                _ => nodes.over(Id::ZERO, last).next(),
            };
            node.map(|(id, _)| id)
        };
        self.freezer.step(NODES_AT_ONCE, first, |id, kept| {
            let node = kept.as_ref().or_else(|| nodes.get(id));
            show(id, node.map_or(&[], Vec::as_slice));
        })
    }

    /// Adds a node that was serialised. False if it is none, or does not come behind the others.
    pub fn append_node(&mut self, id: Id, node: Vec<u8>) -> bool {
        let is_behind = self.nodes.last_id().is_none_or(|last| last < id);
        if !is_behind || !node::is_whole(&node, id) {
            return false;
        }
        self.node_bytes += size_class(node.capacity());
        self.nodes.insert(id, node);
        true
    }

    pub(super) fn node(&self, id: Id) -> Option<&[u8]> {
        self.nodes.get(id).map(Vec::as_slice)
    }

    /// Puts a node that was serialised in the place of the one with this id; takes that out if it is empty. False if it is
    /// none.
    pub(super) fn put_node(&mut self, id: Id, node: Vec<u8>) -> bool {
        if !node.is_empty() && !node::is_whole(&node, id) {
            return false;
        }
        let old = match node.is_empty() {
            true => self.nodes.remove(id),
            false => {
                self.node_bytes += size_class(node.capacity());
                self.nodes.insert(id, node)
            }
        };
        self.node_bytes -= old.map_or(0, |old| size_class(old.capacity()));
        true
    }

    pub(super) fn follow(&mut self, version: u64) {
        self.changes.follow(version);
    }

    /// Ends that, and a copy that is being taken out.
    pub(super) fn detach(&mut self) {
        self.changes.give_up();
        self.freezer = Freezer::default();
    }

    pub(super) fn changes(&self) -> &Changes<Id> {
        &self.changes
    }

    /// A node is about to change, or to go.
    fn keep(
        freezer: &mut Freezer<Id, Vec<u8>, Vec<u8>>,
        changes: &mut Changes<Id>,
        id: Id,
        node: &[u8],
    ) {
        freezer.keep(id, || node.to_vec());
        changes.note(id);
    }

    /// What the allocator takes for all of it, about.
    pub fn heap_bytes(&self) -> usize {
        let groups = self.groups.iter().map(|(name, group)| {
            size_class(name.len()) + size_of::<ConsumerGroup>() + TREE_BYTES + group.heap_bytes()
        });
        size_class(size_of::<Self>())
            + self.node_bytes
            + self.nodes.heap_bytes()
            + groups.sum::<usize>()
            + self.changes.heap_bytes()
    }

    /// Adds an entry, whose id is higher than all before: the caller has seen to that.
    pub fn add(&mut self, id: Id, fields: &[(&[u8], &[u8])], limits: NodeLimits) {
        debug_assert!(id > self.state.last);
        let bytes: usize = fields.iter().map(|(f, v)| f.len() + v.len()).sum();
        let has_room = |node: &Vec<u8>| {
            (limits.bytes == 0 || node.len() + bytes < limits.bytes)
                && (limits.entries == 0 || node::count_all(node) < limits.entries as u64)
        };
        match self.nodes.last() {
            Some((master, node)) if has_room(node) => {
                Self::keep(&mut self.freezer, &mut self.changes, master, node);
                self.node_bytes -= size_class(node.capacity());
                node::append(node, master, id, fields);
                self.node_bytes += size_class(node.capacity());
            }
            last => {
                if let Some((_, node)) = last {
                    self.node_bytes -= size_class(node.capacity());
                    node.shrink_to_fit();
                    self.node_bytes += size_class(node.capacity());
                }
                let node = node::begin(id, fields);
                self.node_bytes += size_class(node.capacity());
                self.changes.note(id);
                self.nodes.insert(id, node);
            }
        }
        let state = &mut self.state;
        state.len += 1;
        state.added += 1;
        state.last = id;
        if state.len == 1 {
            state.first = id;
        }
    }

    /// The entries from one id to another.
    pub fn range(&self, from: Id, to: Id) -> impl Iterator<Item = Entry<'_>> {
        let nodes = self.nodes.over(from, to);
        let entries = nodes.flat_map(|(master, node)| node::entries(node, master));
        entries
            .skip_while(move |entry| entry.id < from)
            .take_while(move |entry| entry.id <= to)
            .filter(|entry| !entry.is_deleted)
    }

    /// The same, the last one first.
    pub fn range_back(&self, from: Id, to: Id) -> impl Iterator<Item = Entry<'_>> {
        let nodes = self.nodes.over(from, to).rev();
        nodes.flat_map(move |(master, node)| {
            let inside = node::entries(node, master)
                .filter(move |entry| (from..=to).contains(&entry.id) && !entry.is_deleted);
            inside.collect::<Vec<_>>().into_iter().rev()
        })
    }

    /// The entry with an id.
    pub fn get(&self, id: Id) -> Option<Entry<'_>> {
        self.range(id, id).next()
    }

    /// The highest id that is there; 0-0 where there is none.
    pub fn last_there(&self) -> Id {
        let last = self.range_back(Id::ZERO, Id::MAX).next();
        last.map_or(Id::ZERO, |entry| entry.id)
    }

    fn settle_first(&mut self) {
        let first = self.range(Id::ZERO, Id::MAX).next();
        self.state.first = first.map_or(Id::ZERO, |entry| entry.id);
    }

    /// Deletes an entry; whether it was there.
    pub fn remove(&mut self, id: Id) -> bool {
        let Some((master, node)) = self.nodes.of_entry(id) else {
            return false;
        };
        let found = node::entries(node, master).find(|entry| entry.id == id);
        let Some(flags_at) = found.filter(|entry| !entry.is_deleted).map(|e| e.flags_at) else {
            return false;
        };
        Self::keep(&mut self.freezer, &mut self.changes, master, node);
        self.node_bytes -= size_class(node.capacity());
        if node::count(node) == 1 {
            self.nodes.remove(master);
        } else {
            node::delete(node, &[flags_at]);
            self.node_bytes += size_class(node.capacity());
        }
        self.state.len -= 1;
        self.state.max_deleted = self.state.max_deleted.max(id);
        if id == self.state.first {
            self.settle_first();
        }
        true
    }

    /// Trims it and gives how many entries went.
    pub fn trim(&mut self, trim: Trim) -> u64 {
        let mut gone = 0;
        while let Some((master, node)) = self.nodes.first() {
            let count = node::count(node);
            if matches!(trim.keep, Keep::Length(len) if self.state.len <= len)
                || trim.most > 0 && gone + count > trim.most
            {
                break;
            }
            let goes = match trim.keep {
                Keep::Length(len) => self.state.len - count >= len,
                Keep::From(id) => node::last_id(node, master) < id,
            };
            Self::keep(&mut self.freezer, &mut self.changes, master, node);
            self.node_bytes -= size_class(node.capacity());
            if goes {
                self.nodes.remove(master);
                self.state.len -= count;
                gone += count;
                continue;
            }
            if !trim.is_approximate {
                let too_many = match trim.keep {
                    Keep::Length(len) => self.state.len - len,
                    Keep::From(_) => u64::MAX,
                };
                let going = node::entries(node, master)
                    .take_while(|entry| !matches!(trim.keep, Keep::From(id) if entry.id >= id));
                let going = going.filter(|entry| !entry.is_deleted);
                let going: Vec<usize> = going
                    .take(usize::try_from(too_many).unwrap_or(usize::MAX))
                    .map(|entry| entry.flags_at)
                    .collect();
                node::delete(node, &going);
                self.state.len -= going.len() as u64;
                gone += going.len() as u64;
            }
            self.node_bytes += size_class(node.capacity());
            break;
        }
        if gone > 0 {
            self.settle_first();
        }
        gone
    }

    /// How many entries were added up to an id, where that can be told.
    pub fn count_up_to(&self, id: Id) -> Option<u64> {
        let state = &self.state;
        if state.added == 0 {
            return Some(0);
        }
        if state.len == 0 && id <= state.last {
            return Some(state.added);
        }
        if id == state.last {
            return Some(state.added);
        }
        if id > state.last {
            return None;
        }
        if state.max_deleted < state.first {
            let before = state.added - state.len;
            if id < state.first {
                return Some(before);
            }
            if id == state.first {
                return Some(before + 1);
            }
        }
        None
    }

    /// Whether an entry from an id on may have been deleted.
    pub fn has_gaps_from(&self, id: Id) -> bool {
        let State {
            first, max_deleted, ..
        } = self.state;
        // Below the first one nothing is missed.
        self.state.len > 0 && first <= max_deleted && id <= max_deleted
    }

    /// How many entries a group has read when it is given one more, where that can be told.
    pub fn entries_read_with(&self, group: &ConsumerGroup, id: Id) -> Option<u64> {
        match group.entries_read {
            Some(read) if group.last >= self.state.first && !self.has_gaps_from(group.last) => {
                Some(read + 1)
            }
            read if self.state.added == 0 => read,
            _ => self.count_up_to(id),
        }
    }

    /// How many entries a group has not been given, where that can be told.
    pub fn lag(&self, group: &ConsumerGroup) -> Option<i64> {
        let State {
            added,
            len,
            first,
            max_deleted,
            ..
        } = self.state;
        if added == 0 || len == 0 {
            return Some(0);
        }
        if group.last < first && max_deleted < first {
            return Some(len as i64);
        }
        let read = group
            .entries_read
            .filter(|_| !self.has_gaps_from(group.last))
            .or_else(|| self.count_up_to(group.last));
        read.map(|read| added.wrapping_sub(read) as i64)
    }
}

/// The pending entries from one id to another.
pub(crate) fn span(from: Id, to: Id) -> (std::ops::Bound<Id>, std::ops::Bound<Id>) {
    if from > to {
        // A range of a tree must not end before it begins.
        return (Excluded(Id::MAX), Unbounded);
    }
    (Included(from), Included(to))
}

/// The integer that an element is.
fn integer(element: Element<'_>) -> Option<i64> {
    match element {
        Element::Integer(integer) => Some(integer),
        Element::Text(_) => None,
    }
}

fn push_integer(node: &mut Vec<u8>, integer: i64) {
    Listpack::push(node, &number::format_i64(integer));
}

#[cfg(test)]
mod tests;
