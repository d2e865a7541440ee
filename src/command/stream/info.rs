//! XINFO: what is told of a stream, its groups and their consumers.

use super::super::argument::{KEY, after, block, optional};
use super::super::help;
use super::super::{Argument, Arity::*, Command, Context, Flags, Group, KeySpec, parse};
use super::{ROW, no_consumer_group, reply_with_entries, reply_with_entry, reply_with_id};
use crate::error::CommandError;
use crate::resp::{Args, Reply};
use crate::value::stream::{ConsumerGroup, Id, Stream};

/// How many entries and pending ones FULL shows if it is not told.
const FULL_COUNT: usize = 10;

const READ: &[KeySpec] = &[KeySpec::at(2, &["RO", "access"])];

/// The rows of this part.
pub(in crate::command) const COMMANDS: &[Command] = &[Command {
    name: "xinfo",
    arity: AtLeast(2),
    subcommands: &[
        Command {
            name: "stream",
            arity: AtLeast(3),
            keys: READ,
            flags: Flags::READONLY,
            run: stream,
            summary: "Tells of a stream; with FULL also its entries and groups.",
            arguments: &[
                KEY,
                optional(after(
                    "FULL",
                    block(
                        "full",
                        &[optional(after("COUNT", Argument::new("count", "integer")))],
                    ),
                )),
            ],
            ..ROW
        },
        Command {
            name: "groups",
            arity: Exactly(3),
            keys: READ,
            flags: Flags::READONLY,
            run: groups,
            summary: "Tells of the groups of a stream.",
            arguments: &[KEY],
            ..ROW
        },
        Command {
            name: "consumers",
            arity: Exactly(4),
            keys: READ,
            flags: Flags::READONLY,
            run: consumers,
            summary: "Tells of the consumers of a group.",
            tips: &["nondeterministic_output"],
            arguments: &[KEY, Argument::new("groupname", "string")],
            ..ROW
        },
        Command {
            name: "help",
            arity: Exactly(2),
            flags: Flags::LOADING.and(Flags::STALE),
            categories: &["@stream"],
            run: xinfo_help,
            summary: "Lists the subcommands.",
            ..ROW
        },
    ],
    complexity: "Depends on the subcommand.",
    summary: "Tells of streams.",
    group: Group::Stream,
    since: "5.0.0",
    ..Command::BLANK
}];

fn xinfo_help(cx: &mut Context<'_>, _: &Args<'_>) -> Result<(), CommandError> {
    help::help(
        cx.reply,
        "XINFO",
        &[
            "CONSUMERS <key> <groupname>",
            "    Tells of the consumers of a group.",
            "GROUPS <key>",
            "    Tells of the groups of a stream.",
            "STREAM <key> [FULL [COUNT <count>]",
            "    Tells of a stream.",
        ],
    );
    Ok(())
}

fn wrong_form(args: &Args<'_>) -> CommandError {
    CommandError::with_word(
        "ERR unknown subcommand or wrong number of arguments for '",
        args.at(1),
        "'. Try XINFO HELP.",
    )
}

/// How many entries are to be shown; `None`: FULL is not asked for.
fn full_count(args: &Args<'_>) -> Result<Option<usize>, CommandError> {
    let is = |at: usize, word: &str| args.at(at).eq_ignore_ascii_case(word.as_bytes());
    match args.len() {
        3 => Ok(None),
        4 if is(3, "FULL") => Ok(Some(FULL_COUNT)),
        6 if is(3, "FULL") && is(4, "COUNT") => {
            let count = usize::try_from(parse::integer(args.at(5))?);
            Ok(Some(match count.unwrap_or(FULL_COUNT) {
                0 => usize::MAX,
                count => count,
            }))
        }
        _ => Err(wrong_form(args)),
    }
}

fn stream(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let stream = cx.keys.stream(args.at(2))?;
    let stream = stream.ok_or(CommandError::NoSuchKey)?;
    let (full, reply) = (full_count(args)?, &mut *cx.reply);
    reply.map(if full.is_some() { 9 } else { 10 });
    let state = stream.state;
    for (name, number) in [
        ("length", state.len as usize),
        ("radix-tree-keys", stream.node_count()),
        // A tree of another kind, which has one more node than keys at the least.
        ("radix-tree-nodes", stream.node_count() + 1),
    ] {
        reply.text(name);
        reply.count(number);
    }
    for (name, id) in [
        ("last-generated-id", state.last),
        ("max-deleted-entry-id", state.max_deleted),
    ] {
        reply.text(name);
        reply_with_id(reply, id);
    }
    reply.text("entries-added");
    reply.int(state.added as i64);
    reply.text("recorded-first-entry-id");
    reply_with_id(reply, state.first);
    if let Some(count) = full {
        reply.text("entries");
        reply_with_entries(reply, stream.range(Id::ZERO, Id::MAX).take(count));
        reply.text("groups");
        reply.array(stream.groups.len());
        for (name, group) in &stream.groups {
            full_group(reply, stream, (name, group), count);
        }
        return Ok(());
    }
    reply.text("groups");
    reply.count(stream.groups.len());
    let first = stream.range(Id::ZERO, Id::MAX).next();
    let last = stream.range_back(Id::ZERO, Id::MAX).next();
    for (name, entry) in [("first-entry", first), ("last-entry", last)] {
        reply.text(name);
        match entry {
            Some(entry) => reply_with_entry(reply, entry),
            None => reply.nil(),
        }
    }
    Ok(())
}

/// What is known of a number, or nothing.
fn int_or_nil(reply: &mut Reply, number: Option<i64>) {
    match number {
        Some(number) => reply.int(number),
        None => reply.nil(),
    }
}

fn full_group(
    reply: &mut Reply,
    stream: &Stream,
    (name, group): (&[u8], &ConsumerGroup),
    count: usize,
) {
    reply.map(7);
    reply.text("name");
    reply.bulk(name);
    reply.text("last-delivered-id");
    reply_with_id(reply, group.last);
    reply.text("entries-read");
    int_or_nil(reply, group.entries_read.map(|read| read as i64));
    reply.text("lag");
    int_or_nil(reply, stream.lag(group));
    reply.text("pel-count");
    reply.count(group.pending().len());
    reply.text("pending");
    reply.array(group.pending().len().min(count));
    for (id, pending) in group.pending().iter().take(count) {
        reply.array(4);
        reply_with_id(reply, *id);
        reply.bulk(&pending.consumer);
        reply.int(pending.delivered_at);
        reply.int(pending.deliveries as i64);
    }
    reply.text("consumers");
    reply.array(group.consumers.len());
    for (name, consumer) in &group.consumers {
        reply.map(5);
        reply.text("name");
        reply.bulk(name);
        reply.text("seen-time");
        reply.int(consumer.seen_at);
        reply.text("active-time");
        reply.int(consumer.active_at);
        reply.text("pel-count");
        reply.count(consumer.pending().len());
        reply.text("pending");
        reply.array(consumer.pending().len().min(count));
        for id in consumer.pending().iter().take(count) {
            let pending = group.pending().get(id);
            reply.array(3);
            reply_with_id(reply, *id);
            reply.int(pending.map_or(0, |pending| pending.delivered_at));
            reply.int(pending.map_or(0, |pending| pending.deliveries as i64));
        }
    }
}

fn groups(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let stream = cx.keys.stream(args.at(2))?;
    let stream = stream.ok_or(CommandError::NoSuchKey)?;
    let reply = &mut *cx.reply;
    reply.array(stream.groups.len());
    for (name, group) in &stream.groups {
        reply.map(6);
        reply.text("name");
        reply.bulk(name);
        reply.text("consumers");
        reply.count(group.consumers.len());
        reply.text("pending");
        reply.count(group.pending().len());
        reply.text("last-delivered-id");
        reply_with_id(reply, group.last);
        reply.text("entries-read");
        int_or_nil(reply, group.entries_read.map(|read| read as i64));
        reply.text("lag");
        int_or_nil(reply, stream.lag(group));
    }
    Ok(())
}

fn consumers(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let (key, name, now) = (args.at(2), args.at(3), cx.now.0);
    let stream = cx.keys.stream(key)?;
    let stream = stream.ok_or(CommandError::NoSuchKey)?;
    let group = stream
        .groups
        .get(name)
        .ok_or_else(|| no_consumer_group(key, name))?;
    let reply = &mut *cx.reply;
    reply.array(group.consumers.len());
    for (name, consumer) in &group.consumers {
        reply.map(4);
        reply.text("name");
        reply.bulk(name);
        reply.text("pending");
        reply.count(consumer.pending().len());
        reply.text("idle");
        reply.int((now - consumer.seen_at).max(0));
        // Since it was given something, or claimed it.
        reply.text("inactive");
        reply.int(match consumer.active_at {
            -1 => -1,
            at => (now - at).max(0),
        });
    }
    Ok(())
}
