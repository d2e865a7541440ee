//! Streams: their nodes, what is told of them as a whole, and their groups.
//!
//! ```text
//! stream    nodes (n) | n times: a text: the id (16, big-endian), a text: the listpack | length | last ms | last seq
//!           | first ms | first seq | highest deleted ms | seq | entries added     (these from type 19 on)
//!           | groups (n), the groups | idempotent producers (from type 26 on)
//! group     a text: its name | last ms | last seq | entries read (from type 19 on) | pending (n)
//!           | n times: the id (16), delivered at (8), deliveries | consumers (n), the consumers
//!           | given back (n) | n times: the id (16)                               (these from type 27 on)
//! consumer  a text: its name | seen at (8) | active at (8; from type 21 on) | pending (n) | n times: the id (16)
//! producers how long and how many are kept (n, n) | producers (n) | for each: a text: its name, ids (n), for each a text and
//!           the id of its entry (n, n) | how many there were (n) | how many were duplicates (n)
//! ```
//!
//! Entries that consumers have given back are pending, but nobody's. Here each is somebody's: those are of a consumer
//! without a name, and can be claimed from it. What producers have sent is passed over.

use super::super::stream::{ConsumerGroup, Id, State, Stream};
use super::input::{Fault, Input, array, length, owned_text, text};
use super::kinds::{
    STREAM_LISTPACKS, STREAM_LISTPACKS_2, STREAM_LISTPACKS_3, STREAM_LISTPACKS_4,
    STREAM_LISTPACKS_5,
};
use super::write::ValueWriter;

/// How a group's number of entries is written that is not known.
const UNKNOWN: u64 = u64::MAX;

/// Reads a stream of a kind.
pub(in crate::value) fn read_stream(input: &mut impl Input, kind: u8) -> Result<Stream, Fault> {
    let mut stream = Stream::default();
    for _ in 0..length(input)? {
        let id = text(input, |bytes| {
            bytes.first_chunk().filter(|_| bytes.len() == 16).copied()
        })?;
        let id = id.ok_or(Fault::Broken("the id of a node is of another length"))?;
        if !stream.append_node(Id::of_bytes(id), owned_text(input)?) {
            return Err(Fault::Broken("a node of a stream is broken"));
        }
    }
    // Servers have written wrong lengths, and read them again.
    stream.state.len = read_rest(input, &mut stream, kind)?;
    stream.state.last = stream.state.last.max(stream.last_there());
    Ok(stream)
}

/// What follows the nodes, which the stream has, and which must be as it says.
pub(in crate::value) fn read_beside_nodes(
    input: &mut impl Input,
    stream: &mut Stream,
    kind: u8,
) -> Result<(), Fault> {
    let there = read_rest(input, stream, kind)?;
    if stream.state.len != there || stream.last_there() > stream.state.last {
        return Err(Fault::Broken("a stream has other entries than it says"));
    }
    Ok(())
}

/// Gives how many entries there really are.
fn read_rest(input: &mut impl Input, stream: &mut Stream, kind: u8) -> Result<u64, Fault> {
    let there = stream.range(Id::ZERO, Id::MAX).count() as u64;
    let first_there = stream.range(Id::ZERO, Id::MAX).next().map(|entry| entry.id);
    let mut state = State {
        len: length(input)?,
        last: id(input)?,
        first: first_there.unwrap_or_default(),
        ..State::default()
    };
    state.added = state.len;
    if kind != STREAM_LISTPACKS {
        // The first id is seen.
        id(input)?;
        state.max_deleted = id(input)?;
        state.added = length(input)?;
    }
    stream.state = state;
    stream.groups.clear();
    for _ in 0..length(input)? {
        let name = owned_text(input)?;
        let group = read_group(input, kind, stream)?;
        if stream.groups.insert(name.into(), group).is_some() {
            return Err(Fault::Broken("a group is there twice"));
        }
    }
    if kind >= STREAM_LISTPACKS_4 {
        skip_producers(input)?;
    }
    Ok(there)
}

fn skip_producers(input: &mut impl Input) -> Result<(), Fault> {
    length(input)?;
    length(input)?;
    for _ in 0..length(input)? {
        text(input, |_| ())?;
        for _ in 0..length(input)? {
            text(input, |_| ())?;
            id(input)?;
        }
    }
    length(input)?;
    length(input)?;
    Ok(())
}

fn id(input: &mut impl Input) -> Result<Id, Fault> {
    Ok(Id {
        ms: length(input)?,
        seq: length(input)?,
    })
}

fn read_group(input: &mut impl Input, kind: u8, stream: &Stream) -> Result<ConsumerGroup, Fault> {
    let last = id(input)?;
    let entries_read = match kind {
        STREAM_LISTPACKS => stream.count_up_to(last),
        _ => Some(length(input)?).filter(|read| *read != UNKNOWN),
    };
    let mut group = ConsumerGroup::new(last, entries_read);
    let mut pending = std::collections::BTreeMap::new();
    for _ in 0..length(input)? {
        let id = Id::of_bytes(array(input)?);
        let delivered_at = i64::from_le_bytes(array(input)?);
        if pending.insert(id, (delivered_at, length(input)?)).is_some() {
            return Err(Fault::Broken("an entry is pending twice"));
        }
    }
    for _ in 0..length(input)? {
        let name = owned_text(input)?;
        let seen_at = i64::from_le_bytes(array(input)?);
        let (consumer, is_new) = group.see(&name, seen_at);
        if !is_new {
            return Err(Fault::Broken("a consumer is there twice"));
        }
        let active_at = match kind {
            STREAM_LISTPACKS_3.. => i64::from_le_bytes(array(input)?),
            _ => seen_at,
        };
        if let Some(consumer) = group.consumers.get_mut(&consumer) {
            consumer.active_at = active_at;
        }
        for _ in 0..length(input)? {
            let id = Id::of_bytes(array(input)?);
            let (delivered_at, deliveries) = pending
                .remove(&id)
                .ok_or(Fault::Broken("a consumer has an entry that is not pending"))?;
            group.give(id, &consumer, delivered_at, deliveries);
        }
    }
    if kind >= STREAM_LISTPACKS_5 {
        for _ in 0..length(input)? {
            let id = Id::of_bytes(array(input)?);
            let (delivered_at, deliveries) = pending
                .remove(&id)
                .ok_or(Fault::Broken("an entry was given back that is not pending"))?;
            let (nobody, _) = group.see(b"", delivered_at);
            group.give(id, &nobody, delivered_at, deliveries);
        }
    }
    if !pending.is_empty() {
        return Err(Fault::Broken("an entry is pending that no consumer has"));
    }
    Ok(group)
}

/// Appends a stream of a kind, 19 or 21.
pub(in crate::value) fn write_stream(writer: &mut ValueWriter<'_>, stream: &Stream, kind: u8) {
    writer.length(stream.node_count());
    for (node_id, node) in stream.nodes() {
        writer.text(&node_id.to_bytes());
        writer.text(node);
    }
    write_beside_nodes(writer, stream, kind);
}

/// What follows the nodes.
pub(in crate::value) fn write_beside_nodes(
    writer: &mut ValueWriter<'_>,
    stream: &Stream,
    kind: u8,
) {
    let number = |writer: &mut ValueWriter<'_>, number: u64| writer.length(number as usize);
    let id = |writer: &mut ValueWriter<'_>, id: Id| {
        number(writer, id.ms);
        number(writer, id.seq);
    };
    let state = stream.state;
    number(writer, state.len);
    [state.last, state.first, state.max_deleted]
        .into_iter()
        .for_each(|told| id(writer, told));
    number(writer, state.added);
    writer.length(stream.groups.len());
    for (name, group) in &stream.groups {
        writer.text(name);
        id(writer, group.last);
        number(writer, group.entries_read.unwrap_or(UNKNOWN));
        writer.length(group.pending().len());
        for (id, pending) in group.pending() {
            writer.raw(&id.to_bytes());
            writer.raw(&pending.delivered_at.to_le_bytes());
            number(writer, pending.deliveries);
        }
        writer.length(group.consumers.len());
        for (name, consumer) in &group.consumers {
            writer.text(name);
            writer.raw(&consumer.seen_at.to_le_bytes());
            if kind != STREAM_LISTPACKS_2 {
                writer.raw(&consumer.active_at.to_le_bytes());
            }
            writer.length(consumer.pending().len());
            consumer
                .pending()
                .iter()
                .for_each(|id| writer.raw(&id.to_bytes()));
        }
    }
}
