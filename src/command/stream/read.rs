//! XREAD and XREADGROUP: what is new, waited for if need be, and what a consumer has not acknowledged.

use super::super::argument::{after, block, multiple, optional, word};
use super::super::blocking::{self, Waits};
use super::super::{Argument, Arity::*, Command, Context, Flags, KeySpec, parse};
use super::{ROW, no_group, reply_with_entries, reply_with_entry, reply_with_id, strict_id};
use crate::clock::UnixMs;
use crate::error::CommandError;
use crate::keyspace::entry::ValueType;
use crate::resp::{Args, Protocol, Reply};
use crate::server::suspended::Stop;
use crate::value::number;
use crate::value::stream::{Id, Stream};

const COUNT: Argument = optional(after("COUNT", Argument::new("count", "integer")));
const BLOCK: Argument = optional(after("BLOCK", Argument::new("milliseconds", "integer")));
const STREAMS: Argument = after(
    "STREAMS",
    block(
        "streams",
        &[
            multiple(super::super::argument::KEY),
            multiple(Argument::new("id", "string")),
        ],
    ),
);

/// The rows of this part.
pub(in crate::command) const COMMANDS: &[Command] = &[
    Command {
        name: "xread",
        arity: AtLeast(4),
        keys: &[KeySpec::half_behind(
            "STREAMS",
            1,
            first_key,
            &["RO", "access", "incomplete"],
        )],
        flags: Flags::READONLY
            .and(Flags::BLOCKING)
            .and(Flags::MOVABLE_KEYS),
        run_or_suspend: Some(xread),
        complexity: "O(N) in the number of entries that are returned.",
        summary: "Returns the entries of streams behind given ids; waits for them.",
        arguments: &[COUNT, BLOCK, STREAMS],
        ..ROW
    },
    Command {
        name: "xreadgroup",
        arity: AtLeast(7),
        keys: &[KeySpec::half_behind(
            "STREAMS",
            4,
            first_key,
            &["RO", "access", "incomplete"],
        )],
        flags: Flags::WRITE.and(Flags::BLOCKING).and(Flags::MOVABLE_KEYS),
        run_or_suspend: Some(xreadgroup),
        complexity: "O(N) in the number of entries that are returned.",
        summary: "Gives a consumer of a group new entries, or those that it has not acknowledged; waits for them.",
        arguments: &[
            after(
                "GROUP",
                block(
                    "group_consumer",
                    &[
                        Argument::new("group", "string"),
                        Argument::new("consumer", "string"),
                    ],
                ),
            ),
            COUNT,
            BLOCK,
            optional(word("noack", "NOACK")),
            STREAMS,
        ],
        ..ROW
    },
];

/// The first of the keys, as Redis 8.10 finds it: by reading the options, whose values may be the word STREAMS. `None` where
/// they do not fit.
fn first_key(args: &Args<'_>) -> Option<usize> {
    let mut at = 1;
    loop {
        let arg = args.get(at)?;
        let is = |word: &str| arg.eq_ignore_ascii_case(word.as_bytes());
        at += match () {
            () if is("STREAMS") => break,
            () if is("COUNT") || is("BLOCK") || is("CLAIM") => 2,
            () if is("GROUP") => 3,
            () if is("NOACK") => 1,
            () => return None,
        };
    }
    let more = args.len() - at - 1;
    (more > 0 && more.is_multiple_of(2)).then_some(at + 1)
}

/// Who reads, and how.
struct Reader<'a> {
    group: &'a [u8],
    consumer: &'a [u8],
    no_ack: bool,
}

/// A request, read.
struct Request<'a> {
    /// How many entries of each stream; `usize::MAX`: all.
    count: usize,
    /// `None`: it does not wait. `Some(None)`: it waits for ever.
    until: Option<Option<UnixMs>>,
    reader: Option<Reader<'a>>,
    /// The argument that is the first key, and how many there are.
    keys: std::ops::Range<usize>,
}

impl<'a> Request<'a> {
    fn parse(args: &Args<'a>, is_group: bool, now: UnixMs) -> Result<Self, CommandError> {
        let only_group = |option: &str| {
            CommandError::message(format!(
                "ERR The {option} option is only supported by XREADGROUP. You called XREAD instead."
            ))
        };
        let (mut count, mut until, mut names, mut no_ack) = (usize::MAX, None, None, false);
        let mut at = 1;
        let keys = loop {
            let Some(word) = args.get(at) else {
                return Err(CommandError::Syntax);
            };
            let more = args.len() - at - 1;
            match word.to_ascii_uppercase().as_slice() {
                b"BLOCK" if more > 0 => {
                    until = Some(wait_until(args.at(at + 1), now)?);
                    at += 1;
                }
                b"COUNT" if more > 0 => {
                    let number = usize::try_from(parse::integer(args.at(at + 1))?);
                    count = number.ok().filter(|n| *n > 0).unwrap_or(usize::MAX);
                    at += 1;
                }
                b"STREAMS" if more > 0 => {
                    if !more.is_multiple_of(2) {
                        return Err(unbalanced(is_group));
                    }
                    break at + 1..at + 1 + more / 2;
                }
                b"GROUP" if more >= 2 => {
                    if !is_group {
                        return Err(only_group("GROUP"));
                    }
                    names = Some((args.at(at + 1), args.at(at + 2)));
                    at += 2;
                }
                b"NOACK" if is_group => no_ack = true,
                b"NOACK" => return Err(only_group("NOACK")),
                _ => return Err(CommandError::Syntax),
            }
            at += 1;
        };
        if is_group && names.is_none() {
            return Err(CommandError::text(
                "ERR Missing GROUP option for XREADGROUP",
            ));
        }
        let reader = names.map(|(group, consumer)| Reader {
            group,
            consumer,
            no_ack,
        });
        Ok(Self {
            count,
            until,
            reader,
            keys,
        })
    }
}

fn unbalanced(is_group: bool) -> CommandError {
    CommandError::text(if is_group {
        "ERR Unbalanced 'xreadgroup' list of streams: for each stream key an ID or '>' must be specified."
    } else {
        "ERR Unbalanced 'xread' list of streams: for each stream key an ID, '+', or '$' must be specified."
    })
}

/// A timeout in milliseconds as a time; `None`: never.
fn wait_until(text: &[u8], now: UnixMs) -> Result<Option<UnixMs>, CommandError> {
    let ms = number::parse_i64(text).ok_or(CommandError::text(
        "ERR timeout is not an integer or out of range",
    ))?;
    blocking::until_after(ms, now)
}

/// Replies with one stream of several; of the first the caller has left room for the head of all.
fn begin_stream(reply: &mut Reply, key: &[u8]) {
    if reply.protocol() == Protocol::Resp2 {
        reply.array(2);
    }
    reply.bulk(key);
}

/// The head of a reply of so many streams.
fn begin_streams(reply: &mut Reply, streams: usize) {
    match reply.protocol() {
        Protocol::Resp2 => reply.array(streams),
        Protocol::Resp3 => reply.map(streams),
    }
}

/// Replies with what a body of streams makes, and its head; false where there is no stream in it.
fn finish(reply: &mut Reply, at: usize, streams: usize) -> bool {
    if streams == 0 {
        reply.truncate(at);
        return false;
    }
    let body = reply.buffer_mut().split_off(at);
    begin_streams(reply, streams);
    reply.buffer_mut().extend_from_slice(&body);
    true
}

fn xread(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), Stop> {
    let request = Request::parse(args, false, cx.now)?;
    let keys = request.keys.clone();
    let mut after = Vec::with_capacity(keys.len());
    for key in keys.clone() {
        let stream = cx.keys.stream(args.at(key))?;
        after.push(match args.at(key + keys.len()) {
            b"$" => stream.map_or(Id::ZERO, |stream| stream.state.last),
            // The last entry that is there, or the next one.
            b"+" => stream.map_or(Id::ZERO, |stream| match stream.len() {
                0 => stream.state.last,
                _ => stream.last_there().previous().unwrap_or(Id::ZERO),
            }),
            b">" => {
                return Err(Stop::from(CommandError::text(
                    "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.",
                )));
            }
            text => strict_id(text)?,
        });
    }
    let (at, mut streams) = (cx.reply.len(), 0);
    for (key, after) in keys.clone().zip(&after) {
        streams += usize::from(read_new(cx, args.at(key), *after, request.count)?);
    }
    if finish(cx.reply, at, streams) {
        return Ok(());
    }
    let Some(until) = request.until else {
        cx.reply.nil_array();
        return Ok(());
    };
    // When it runs again, the last entry of now is meant still.
    let ids: Vec<_> = after.into_iter().map(Id::to_text).collect();
    let words = args.from(0).take(keys.end);
    let request = words.chain(ids.iter().map(String::as_bytes)).collect();
    let keys = keys.map(|key| args.at(key));
    Err(blocking::wait(cx, request, keys, until, &NEW))
}

/// XREAD.
const NEW: Waits = Waits {
    event: &"xread",
    serve: |cx, args, key| {
        let Request { count, keys, .. } = Request::parse(args, false, cx.now)?;
        let Some(at) = keys.clone().find(|&at| args.at(at) == key) else {
            return Ok(false);
        };
        let after = strict_id(args.at(at + keys.len()))?;
        reply_with_new(cx, key, after, count)
    },
    ..Waits::STREAM
};

/// Replies with the entries of a stream behind an id, as one of several. False where there are none.
fn read_new(
    cx: &mut Context<'_>,
    key: &[u8],
    after: Id,
    count: usize,
) -> Result<bool, CommandError> {
    let stream = cx.keys.stream(key)?;
    let stream = stream.filter(|stream| stream.last_there() > after);
    let (Some(stream), Some(from)) = (stream, after.next()) else {
        return Ok(false);
    };
    begin_stream(cx.reply, key);
    reply_with_entries(cx.reply, stream.range(from, Id::MAX).take(count));
    Ok(true)
}

/// Replies with what is new of a stream to a client that has waited for it. False where there is nothing.
fn reply_with_new(
    cx: &mut Context<'_>,
    key: &[u8],
    after: Id,
    count: usize,
) -> Result<bool, CommandError> {
    let at = cx.reply.len();
    let read = read_new(cx, key, after, count)?;
    Ok(finish(cx.reply, at, usize::from(read)))
}

/// What a consumer asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// What no consumer was given.
    New,
    /// What it was given behind an id and has not acknowledged.
    Own(Id),
}

fn xreadgroup(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), Stop> {
    let request = Request::parse(args, true, cx.now)?;
    let Some(reader) = &request.reader else {
        return Err(CommandError::Syntax.into());
    };
    let keys = request.keys.clone();
    let mut asked = Vec::with_capacity(keys.len());
    for key in keys.clone() {
        let stream = cx.keys.stream(args.at(key))?;
        if stream.is_none_or(|stream| !stream.groups.contains_key(reader.group)) {
            return Err(no_such_group(args.at(key), reader).into());
        }
        asked.push(match args.at(key + keys.len()) {
            b"$" => {
                return Err(Stop::from(CommandError::text(
                    "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID would just return an empty result set.",
                )));
            }
            b"+" => {
                return Err(Stop::from(CommandError::text(
                    "ERR The + ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by specifying a proper ID, or use the > ID to get new messages. The + ID would just return an empty result set.",
                )));
            }
            b">" => Asked::New,
            text => Asked::Own(strict_id(text)?),
        });
    }
    let (at, mut streams) = (cx.reply.len(), 0);
    for (key, asked) in keys.clone().zip(asked) {
        let given = give(cx, args.at(key), reader, asked, request.count)?;
        streams += usize::from(given);
    }
    if finish(cx.reply, at, streams) {
        return Ok(());
    }
    let Some(until) = request.until else {
        cx.reply.nil_array();
        return Ok(());
    };
    let keys = keys.map(|key| args.at(key));
    let request = args.from(0).collect();
    Err(blocking::wait(cx, request, keys, until, &SHARE))
}

/// XREADGROUP.
const SHARE: Waits = Waits {
    event: &"xreadgroup",
    serve: |cx, args, key| {
        let request = Request::parse(args, true, cx.now)?;
        let reader = request.reader.as_ref().ok_or(CommandError::Syntax)?;
        reply_with_shared(cx, key, reader, request.count)
    },
    needs_keys: true,
    ..Waits::STREAM
};

fn no_such_group(key: &[u8], reader: &Reader<'_>) -> CommandError {
    no_group(key, reader.group, b" in XREADGROUP with GROUP option")
}

/// Gives a consumer what it asks for of a stream, and replies with it. False where there is nothing new.
fn give(
    cx: &mut Context<'_>,
    key: &[u8],
    reader: &Reader<'_>,
    asked: Asked,
    count: usize,
) -> Result<bool, CommandError> {
    let (now, reply) = (cx.now.0, &mut *cx.reply);
    let given = cx
        .keys
        .change(key, ValueType::Stream, false, |stream: &mut Box<Stream>| {
            let newest = stream.last_there();
            let group = stream.groups.get_mut(reader.group);
            let group = group.ok_or_else(|| no_such_group(key, reader))?;
            if asked == Asked::New && newest <= group.last {
                // Who waits is known as a consumer already.
                let (_, is_new) = group.see(reader.consumer, now);
                return Ok((false, usize::from(is_new)));
            }
            // The group is taken out, so that it can be changed while the entries are read.
            let mut group = stream.groups.remove(reader.group).unwrap_or_default();
            let (consumer, is_new) = group.see(reader.consumer, now);
            let mut given = 0;
            begin_stream(reply, key);
            match asked {
                Asked::New => {
                    let from = group.last.next().unwrap_or(Id::MAX);
                    let head = reply.array_deferred();
                    for entry in stream.range(from, Id::MAX).take(count) {
                        group.entries_read = stream.entries_read_with(&group, entry.id);
                        group.last = entry.id;
                        reply_with_entry(reply, entry);
                        if !reader.no_ack {
                            group.give(entry.id, &consumer, now, 1);
                        }
                        given += 1;
                    }
                    reply.finish_array(head, given);
                }
                Asked::Own(after) => {
                    let from = after.next();
                    let own = group.consumers.get(&consumer).into_iter();
                    let own = own.flat_map(|consumer| consumer.pending());
                    let wanted = own.filter(|id| from.is_some_and(|from| **id >= from));
                    let own: Vec<Id> = wanted.take(count).copied().collect();
                    reply.array(own.len());
                    for id in own {
                        given += usize::from(reply_with_own(reply, stream, id));
                        if let Some(pending) = group.pending().get(&id)
                            && stream.get(id).is_some()
                        {
                            let deliveries = pending.deliveries + 1;
                            group.give(id, &consumer, now, deliveries);
                        }
                    }
                }
            }
            if given > 0
                && let Some(consumer) = group.consumers.get_mut(&consumer)
            {
                consumer.active_at = now;
            }
            stream.groups.insert(reader.group.into(), group);
            Ok((true, usize::from(is_new) + usize::from(given > 0)))
        })?;
    Ok(given.unwrap_or(false))
}

/// Replies with an entry that a consumer was given. False where it is there no more.
fn reply_with_own(reply: &mut Reply, stream: &Stream, id: Id) -> bool {
    let entry = stream.get(id);
    match entry {
        Some(entry) => reply_with_entry(reply, entry),
        None => {
            reply.array(2);
            reply_with_id(reply, id);
            reply.nil_array();
        }
    }
    entry.is_some()
}

/// Gives a consumer that has waited what is new. False where there is nothing.
fn reply_with_shared(
    cx: &mut Context<'_>,
    key: &[u8],
    reader: &Reader<'_>,
    count: usize,
) -> Result<bool, CommandError> {
    let at = cx.reply.len();
    let given = give(cx, key, reader, Asked::New, count)?;
    Ok(finish(cx.reply, at, usize::from(given)))
}
