//! Streams: entries with ids, and groups of consumers that share them.

pub(super) mod entries;
pub(super) mod groups;
pub(super) mod info;
pub(super) mod read;

use super::{Command, Context, Group, KeySpec};
use crate::config::Config;
use crate::error::{CommandError, c_text};
use crate::keyspace::Amount;
use crate::keyspace::entry::ValueType;
use crate::resp::Reply;
use crate::value::listpack::Digits;
use crate::value::number;
use crate::value::stream::{Entry, Id, NodeLimits, Stream};

const READ: &[KeySpec] = &[KeySpec::at(1, &["RO", "access"])];
const UPDATE: &[KeySpec] = &[KeySpec::at(1, &["RW", "update"])];
const DELETE: &[KeySpec] = &[KeySpec::at(1, &["RW", "delete"])];

const ROW: Command = Command {
    group: Group::Stream,
    since: "5.0.0",
    ..Command::BLANK
};

/// A longer text is no id.
const ID_BYTES_MAX: usize = 127;

const INVALID_ID: CommandError =
    CommandError::text("ERR Invalid stream ID specified as stream command argument");

/// How large nodes become.
fn limits(config: &Config) -> NodeLimits {
    NodeLimits {
        bytes: config.stream_node_max_bytes,
        entries: config.stream_node_max_entries,
    }
}

/// Changes the stream at a key; `None` where there is none and none is to be made.
fn change<R, A: Amount>(
    cx: &mut Context<'_>,
    key: &[u8],
    make: bool,
    change: impl FnOnce(&mut Stream) -> Result<(R, A), CommandError>,
) -> Result<Option<R>, CommandError> {
    let change = |stream: &mut Box<Stream>| change(stream);
    cx.keys.change(key, ValueType::Stream, make, change)
}

/// An id whose number may be left to the stream: `5-*`.
#[derive(Clone, Copy)]
struct PartialId {
    id: Id,
    has_seq: bool,
}

/// An id: `5-3`, or `5`, which has the given number.
fn partial_id(text: &[u8], missing_seq: u64) -> Result<PartialId, CommandError> {
    if text.len() > ID_BYTES_MAX {
        return Err(INVALID_ID);
    }
    let text = c_text(text);
    let parse = |text| number::parse_u64(text).ok_or(INVALID_ID);
    let (ms, seq, has_seq) = match text.iter().position(|byte| *byte == b'-') {
        None => (parse(text)?, missing_seq, true),
        Some(dash) if &text[dash + 1..] == b"*" => (parse(&text[..dash])?, 0, false),
        Some(dash) => (parse(&text[..dash])?, parse(&text[dash + 1..])?, true),
    };
    let id = Id { ms, seq };
    Ok(PartialId { id, has_seq })
}

/// An id as it stands.
fn strict_id(text: &[u8]) -> Result<Id, CommandError> {
    match partial_id(text, 0)? {
        PartialId { id, has_seq: true } => Ok(id),
        _ => Err(INVALID_ID),
    }
}

/// An id, `-` or `+`.
fn id(text: &[u8], missing_seq: u64) -> Result<Id, CommandError> {
    match c_text(text) {
        b"-" if text.len() <= ID_BYTES_MAX => Ok(Id::ZERO),
        b"+" if text.len() <= ID_BYTES_MAX => Ok(Id::MAX),
        _ => match partial_id(text, missing_seq)? {
            PartialId { id, has_seq: true } => Ok(id),
            _ => Err(INVALID_ID),
        },
    }
}

/// Where an interval begins; behind `(` the first id that belongs to it is the next one.
fn start(text: &[u8]) -> Result<Id, CommandError> {
    match text.strip_prefix(b"(") {
        Some(rest) if !rest.is_empty() => strict_id(rest)?
            .next()
            .ok_or(CommandError::text("ERR invalid start ID for the interval")),
        _ => id(text, 0),
    }
}

/// Where it ends.
fn end(text: &[u8]) -> Result<Id, CommandError> {
    match text.strip_prefix(b"(") {
        Some(rest) if !rest.is_empty() => {
            let PartialId { id, has_seq } = partial_id(rest, u64::MAX)?;
            let previous = id.previous().filter(|_| has_seq);
            let fault = CommandError::text("ERR invalid end ID for the interval");
            previous.ok_or(if has_seq { fault } else { INVALID_ID })
        }
        _ => id(text, u64::MAX),
    }
}

fn reply_with_id(reply: &mut Reply, id: Id) {
    reply.text(&id.to_text());
}

fn reply_with_entry(reply: &mut Reply, entry: Entry<'_>) {
    let mut digits = Digits::new();
    reply.array(2);
    reply_with_id(reply, entry.id);
    reply.array(2 * entry.fields.len());
    for (field, value) in entry.fields.iter() {
        reply.bulk(field.text(&mut digits));
        reply.bulk(value.text(&mut digits));
    }
}

/// Replies with entries, of which there is no number yet.
fn reply_with_entries<'a>(reply: &mut Reply, entries: impl Iterator<Item = Entry<'a>>) {
    let (head, mut len) = (reply.array_deferred(), 0);
    for entry in entries {
        reply_with_entry(reply, entry);
        len += 1;
    }
    reply.finish_array(head, len);
}

/// There is no such key, or it has no such group.
fn no_group(key: &[u8], group: &[u8], behind: &[u8]) -> CommandError {
    CommandError::bytes(&[
        b"NOGROUP No such key '",
        c_text(key),
        b"' or consumer group '",
        c_text(group),
        b"'",
        behind,
    ])
}

/// The key's stream has no such group.
fn no_consumer_group(key: &[u8], group: &[u8]) -> CommandError {
    CommandError::bytes(&[
        b"NOGROUP No such consumer group '",
        c_text(group),
        b"' for key name '",
        c_text(key),
        b"'",
    ])
}

#[cfg(test)]
mod tests;
