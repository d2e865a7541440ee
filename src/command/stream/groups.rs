//! Groups of consumers: made, acknowledged, looked at, and what is pending given to others.

use std::sync::Arc;

use super::super::argument::{KEY, after, block, multiple, oneof, optional, since, word};
use super::super::help;
use super::super::{Argument, Arity::*, Command, Context, Flags, Group, KeySpec, parse};
use super::{
    DELETE, READ, ROW, UPDATE, change, end, id, no_consumer_group, no_group, reply_with_entry,
    reply_with_id, start, strict_id,
};
use crate::error::CommandError;
use crate::keyspace::Amount;
use crate::resp::{Args, Reply};
use crate::value::number;
use crate::value::stream::{ConsumerGroup, Id, Pending, State, Stream};

/// How many entries XAUTOCLAIM gives if it is not told, and how many times as many it looks at.
const CLAIM_COUNT: i64 = 100;
const CLAIM_ATTEMPTS: usize = 10;
/// So that a list of ids fits into memory.
const CLAIM_COUNT_MAX: i64 = i64::MAX / 16;

const GROUP: Argument = Argument::new("group", "string");
const CONSUMER: Argument = Argument::new("consumer", "string");
const GROUP_NAME: Argument = Argument::new("groupname", "string");
const CONSUMER_NAME: Argument = Argument::new("consumername", "string");
const MIN_IDLE: Argument = Argument::new("min-idle-time", "string");
const IDS: Argument = multiple(Argument::new("id", "string"));
const NEW_ID: Argument = oneof("id", &[Argument::new("id", "string"), word("new_id", "$")]);
const ENTRIES_READ: Argument = optional(after(
    "ENTRIESREAD",
    Argument::new("entries_read", "integer"),
));
const WRITE_FAST: Flags = Flags::WRITE.and(Flags::FAST);

/// The rows of this part.
pub(in crate::command) const COMMANDS: &[Command] = &[
    Command {
        name: "xgroup",
        arity: AtLeast(2),
        subcommands: &[
            Command {
                name: "create",
                arity: AtLeast(5),
                keys: &[KeySpec::at(2, &["RW", "insert"])],
                flags: Flags::WRITE.and(Flags::DENYOOM),
                run: create,
                summary: "Makes a group of consumers.",
                arguments: &[
                    KEY,
                    GROUP_NAME,
                    NEW_ID,
                    optional(word("mkstream", "MKSTREAM")),
                    ENTRIES_READ,
                ],
                ..ROW
            },
            Command {
                name: "setid",
                arity: AtLeast(5),
                keys: &[KeySpec::at(2, &["RW", "update"])],
                flags: Flags::WRITE,
                run: setid,
                summary: "Sets from where on a group gives entries.",
                arguments: &[KEY, GROUP_NAME, NEW_ID, ENTRIES_READ],
                ..ROW
            },
            Command {
                name: "destroy",
                arity: Exactly(4),
                keys: &[KeySpec::at(2, &["RW", "delete"])],
                flags: Flags::WRITE,
                run: destroy,
                complexity: "O(N) in the number of pending entries.",
                summary: "Deletes a group.",
                arguments: &[KEY, GROUP_NAME],
                ..ROW
            },
            Command {
                name: "createconsumer",
                arity: Exactly(5),
                keys: &[KeySpec::at(2, &["RW", "insert"])],
                flags: Flags::WRITE.and(Flags::DENYOOM),
                run: createconsumer,
                since: "6.2.0",
                summary: "Makes a consumer of a group.",
                arguments: &[KEY, GROUP_NAME, CONSUMER_NAME],
                ..ROW
            },
            Command {
                name: "delconsumer",
                arity: Exactly(5),
                keys: &[KeySpec::at(2, &["RW", "delete"])],
                flags: Flags::WRITE,
                run: delconsumer,
                summary: "Deletes a consumer of a group; tells how many entries it had pending.",
                arguments: &[KEY, GROUP_NAME, CONSUMER_NAME],
                ..ROW
            },
            Command {
                name: "help",
                arity: Exactly(2),
                flags: Flags::LOADING.and(Flags::STALE),
                categories: &["@stream"],
                run: xgroup_help,
                summary: "Lists the subcommands.",
                ..ROW
            },
        ],
        complexity: "Depends on the subcommand.",
        summary: "Groups of consumers.",
        group: Group::Stream,
        since: "5.0.0",
        ..Command::BLANK
    },
    Command {
        name: "xack",
        arity: AtLeast(4),
        keys: UPDATE,
        flags: WRITE_FAST,
        run: xack,
        complexity: "O(log(N)) for each entry.",
        summary: "Acknowledges entries that a consumer was given; tells how many were pending.",
        arguments: &[KEY, GROUP, IDS],
        ..ROW
    },
    Command {
        name: "xpending",
        arity: AtLeast(3),
        keys: READ,
        flags: Flags::READONLY,
        run: xpending,
        complexity: "O(N) in the number of entries that are returned.",
        summary: "Tells what consumers were given and have not acknowledged.",
        tips: &["nondeterministic_output"],
        arguments: &[
            KEY,
            GROUP,
            optional(block(
                "filters",
                &[
                    since(
                        "6.2.0",
                        optional(after("IDLE", Argument::new("min-idle-time", "integer"))),
                    ),
                    Argument::new("start", "string"),
                    Argument::new("end", "string"),
                    Argument::new("count", "integer"),
                    optional(CONSUMER),
                ],
            )),
        ],
        ..ROW
    },
    Command {
        name: "xclaim",
        arity: AtLeast(6),
        keys: UPDATE,
        flags: WRITE_FAST,
        run: xclaim,
        complexity: "O(log(N)) for each entry.",
        summary: "Gives a consumer entries that others have pending.",
        tips: &["nondeterministic_output"],
        arguments: &[
            KEY,
            GROUP,
            CONSUMER,
            MIN_IDLE,
            IDS,
            optional(after("IDLE", Argument::new("ms", "integer"))),
            optional(after(
                "TIME",
                Argument::new("unix-time-milliseconds", "unix-time"),
            )),
            optional(after("RETRYCOUNT", Argument::new("count", "integer"))),
            optional(word("force", "FORCE")),
            optional(word("justid", "JUSTID")),
            optional(after("LASTID", Argument::new("id", "string"))),
        ],
        ..ROW
    },
    Command {
        name: "xautoclaim",
        arity: AtLeast(6),
        keys: DELETE,
        flags: WRITE_FAST,
        run: xautoclaim,
        since: "6.2.0",
        summary: "Gives a consumer entries that others have had pending for long.",
        tips: &["nondeterministic_output"],
        arguments: &[
            KEY,
            GROUP,
            CONSUMER,
            MIN_IDLE,
            Argument::new("start", "string"),
            optional(after("COUNT", Argument::new("count", "integer"))),
            optional(word("justid", "JUSTID")),
        ],
        ..ROW
    },
];

fn wrong_form(args: &Args<'_>) -> CommandError {
    CommandError::with_word(
        "ERR unknown subcommand or wrong number of arguments for '",
        args.at(1),
        "'. Try XGROUP HELP.",
    )
}

fn xgroup_help(cx: &mut Context<'_>, _: &Args<'_>) -> Result<(), CommandError> {
    help::help(
        cx.reply,
        "XGROUP",
        &[
            "CREATE <key> <groupname> <id|$> [option]",
            "    Makes a group of consumers. Options:",
            "    * MKSTREAM",
            "      Makes the stream too if it does not exist.",
            "    * ENTRIESREAD entries_read",
            "      How many entries the group has been given.",
            "CREATECONSUMER <key> <groupname> <consumer>",
            "    Makes a consumer of a group.",
            "DELCONSUMER <key> <groupname> <consumer>",
            "    Deletes a consumer of a group.",
            "DESTROY <key> <groupname>",
            "    Deletes a group.",
            "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
            "    Sets from where on a group gives entries.",
        ],
    );
    Ok(())
}

/// The options of XGROUP CREATE and SETID.
#[derive(Default)]
struct Options {
    makes_stream: bool,
    entries_read: Option<u64>,
}

impl Options {
    fn parse(args: &Args<'_>, creates: bool) -> Result<Self, CommandError> {
        let mut options = Self::default();
        let mut words = args.from(5);
        while let Some(word) = words.next() {
            match word.to_ascii_uppercase().as_slice() {
                b"MKSTREAM" if creates => options.makes_stream = true,
                b"ENTRIESREAD" => {
                    let number = parse::integer(words.next().ok_or_else(|| wrong_form(args))?)?;
                    options.entries_read = u64::try_from(number).ok();
                    if number < -1 {
                        return Err(CommandError::text(
                            "ERR value for ENTRIESREAD must be positive or -1",
                        ));
                    }
                }
                _ => return Err(wrong_form(args)),
            }
        }
        Ok(options)
    }

    /// No group can have read more entries than there ever were.
    fn entries_read_of(&self, state: State) -> Option<u64> {
        self.entries_read.map(|read| read.min(state.added))
    }
}

const NO_KEY: CommandError = CommandError::text(
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM option to create an empty stream automatically.",
);

/// Changes a group of the stream at a key.
fn change_group<R>(
    cx: &mut Context<'_>,
    args: &Args<'_>,
    with: impl FnOnce(&mut ConsumerGroup, State) -> Result<(R, bool), CommandError>,
) -> Result<R, CommandError> {
    let (key, name) = (args.at(2), args.at(3));
    let changed = change(cx, key, false, |stream| {
        let state = stream.state;
        let group = stream
            .groups
            .get_mut(name)
            .ok_or_else(|| no_consumer_group(key, name))?;
        with(group, state)
    })?;
    changed.ok_or(NO_KEY)
}

fn create(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let options = Options::parse(args, true)?;
    if args.len() > 8 {
        return Err(wrong_form(args));
    }
    let (name, id_text) = (args.at(3), args.at(4));
    let created = change(cx, args.at(2), options.makes_stream, |stream| {
        let last = match id_text {
            b"$" => stream.state.last,
            text => strict_id(text)?,
        };
        if stream.groups.contains_key(name) {
            return Err(CommandError::text(
                "BUSYGROUP Consumer Group name already exists",
            ));
        }
        let group = ConsumerGroup::new(last, options.entries_read_of(stream.state));
        stream.groups.insert(name.into(), group);
        Ok(((), true))
    })?;
    created.ok_or(NO_KEY)?;
    cx.reply.ok();
    Ok(())
}

fn setid(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let options = Options::parse(args, false)?;
    let is_long = !matches!(args.len(), 5 | 7);
    change_group(cx, args, |group, state| {
        if is_long {
            return Err(wrong_form(args));
        }
        group.last = match args.at(4) {
            b"$" => state.last,
            text => id(text, 0)?,
        };
        group.entries_read = options.entries_read_of(state);
        Ok(((), true))
    })?;
    cx.reply.ok();
    Ok(())
}

fn destroy(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let destroyed = change(cx, args.at(2), false, |stream| {
        let destroyed = stream.groups.remove(args.at(3)).is_some();
        Ok((destroyed, destroyed))
    })?;
    cx.reply.flag(destroyed.ok_or(NO_KEY)?);
    Ok(())
}

fn createconsumer(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let now = cx.now.0;
    let created = change_group(cx, args, |group, _| {
        if group.consumers.contains_key(args.at(4)) {
            return Ok((false, false));
        }
        group.see(args.at(4), now);
        Ok((true, true))
    })?;
    cx.reply.flag(created);
    Ok(())
}

fn delconsumer(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let pending = change_group(cx, args, |group, _| {
        let there = group.consumers.contains_key(args.at(4));
        Ok((group.remove_consumer(args.at(4)), there))
    })?;
    cx.reply.count(pending);
    Ok(())
}

fn xack(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let acknowledged = change(cx, args.at(1), false, |stream| {
        let Some(group) = stream.groups.get_mut(args.at(2)) else {
            return Ok((0, 0));
        };
        let ids = args.from(3).map(strict_id);
        let ids = ids.collect::<Result<Vec<_>, _>>()?;
        let acknowledged = ids.into_iter().filter(|id| group.take(*id)).count();
        Ok((acknowledged, acknowledged))
    })?;
    cx.reply.count(acknowledged.unwrap_or(0));
    Ok(())
}

/// What XPENDING shows in full.
struct Filter<'a> {
    min_idle: i64,
    from: Id,
    to: Id,
    count: usize,
    consumer: Option<&'a [u8]>,
}

impl<'a> Filter<'a> {
    /// `None`: a summary is wanted.
    fn parse(args: &Args<'a>) -> Result<Option<Self>, CommandError> {
        if args.len() == 3 {
            return Ok(None);
        }
        if !(6..=9).contains(&args.len()) {
            return Err(CommandError::Syntax);
        }
        let (mut min_idle, mut at) = (0, 3);
        if args.at(3).eq_ignore_ascii_case(b"IDLE") {
            min_idle = parse::integer(args.at(4))?;
            if args.len() < 8 {
                return Err(CommandError::Syntax);
            }
            at = 5;
        }
        let count = usize::try_from(parse::integer(args.at(at + 2))?).unwrap_or(0);
        Ok(Some(Self {
            min_idle,
            from: start(args.at(at))?,
            to: end(args.at(at + 1))?,
            count,
            consumer: args.get(at + 3),
        }))
    }
}

fn xpending(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let (key, name, now) = (args.at(1), args.at(2), cx.now.0);
    let filter = Filter::parse(args)?;
    let group = cx.keys.stream(key)?;
    let group = group.and_then(|stream| stream.groups.get(name));
    let group = group.ok_or_else(|| no_group(key, name, b""))?;
    let Some(filter) = filter else {
        summarise(cx.reply, group);
        return Ok(());
    };
    let consumer = match filter.consumer {
        None => None,
        Some(name) => match group.consumers.get(name) {
            Some(consumer) => Some(consumer),
            None => {
                cx.reply.array(0);
                return Ok(());
            }
        },
    };
    let all = consumer
        .is_none()
        .then(|| group.pending_range(filter.from, filter.to));
    let own = consumer.into_iter().flat_map(|consumer| {
        let range = crate::value::stream::span(filter.from, filter.to);
        consumer.pending().range(range)
    });
    let own = own.filter_map(|id| Some((*id, group.pending().get(id)?)));
    let shown = all.into_iter().flatten().chain(own);
    let shown = shown
        .filter(|(_, pending)| {
            filter.min_idle == 0 || now - pending.delivered_at >= filter.min_idle
        })
        .take(filter.count);
    let (head, mut len) = (cx.reply.array_deferred(), 0);
    for (id, pending) in shown {
        cx.reply.array(4);
        reply_with_id(cx.reply, id);
        cx.reply.bulk(&pending.consumer);
        cx.reply.int((now - pending.delivered_at).max(0));
        cx.reply.int(pending.deliveries as i64);
        len += 1;
    }
    cx.reply.finish_array(head, len);
    Ok(())
}

fn summarise(reply: &mut Reply, group: &ConsumerGroup) {
    let pending = group.pending();
    reply.array(4);
    reply.count(pending.len());
    let ends = pending.keys().next().zip(pending.keys().next_back());
    let Some((first, last)) = ends else {
        reply.nil();
        reply.nil();
        reply.nil_array();
        return;
    };
    reply_with_id(reply, *first);
    reply_with_id(reply, *last);
    let busy = group.consumers.iter();
    let busy: Vec<_> = busy
        .filter(|(_, consumer)| !consumer.pending().is_empty())
        .collect();
    reply.array(busy.len());
    for (name, consumer) in busy {
        reply.array(2);
        reply.bulk(name);
        reply.bulk(&number::format_u64(consumer.pending().len() as u64));
    }
}

/// The least time that an entry was pending for.
fn min_idle(text: &[u8], command: &str) -> Result<i64, CommandError> {
    let idle = number::parse_i64(text).ok_or_else(|| {
        CommandError::message(format!("ERR Invalid min-idle-time argument for {command}"))
    })?;
    Ok(idle.max(0))
}

/// The options of XCLAIM.
struct Claim {
    ids: Vec<Id>,
    min_idle: i64,
    /// When the entries are said to have been given.
    at: i64,
    deliveries: Option<u64>,
    force: bool,
    just_id: bool,
    last: Id,
}

impl Claim {
    fn parse(args: &Args<'_>, now: i64) -> Result<Self, CommandError> {
        let min_idle = min_idle(args.at(4), "XCLAIM")?;
        let ids: Vec<Id> = args
            .from(5)
            .map_while(|text| strict_id(text).ok())
            .collect();
        let (mut at, mut deliveries, mut last) = (None, None, Id::ZERO);
        let (mut force, mut just_id) = (false, false);
        let mut words = args.from(5 + ids.len());
        while let Some(word) = words.next() {
            let option = word.to_ascii_uppercase();
            let mut value = || words.next().ok_or_else(|| unrecognised(word));
            let invalid = |option: &str| {
                CommandError::message(format!("ERR Invalid {option} option argument for XCLAIM"))
            };
            match option.as_slice() {
                b"FORCE" => force = true,
                b"JUSTID" => just_id = true,
                b"IDLE" => {
                    let idle = number::parse_i64(value()?).ok_or_else(|| invalid("IDLE"))?;
                    at = Some(now.wrapping_sub(idle));
                }
                b"TIME" => {
                    at = Some(number::parse_i64(value()?).ok_or_else(|| invalid("TIME"))?);
                }
                b"RETRYCOUNT" => {
                    let count = number::parse_i64(value()?).ok_or_else(|| invalid("RETRYCOUNT"))?;
                    deliveries = u64::try_from(count).ok();
                }
                b"LASTID" => last = strict_id(value()?)?,
                _ => return Err(unrecognised(word)),
            }
        }
        Ok(Self {
            ids,
            min_idle,
            // A time that cannot be is now.
            at: at.filter(|at| (0..=now).contains(at)).unwrap_or(now),
            deliveries,
            force,
            just_id,
            last,
        })
    }
}

fn unrecognised(word: &[u8]) -> CommandError {
    CommandError::with_word("ERR Unrecognized XCLAIM option '", word, "'")
}

/// Who claims, and how.
struct Claimer {
    consumer: Arc<[u8]>,
    now: i64,
    at: i64,
    min_idle: i64,
    deliveries: Option<u64>,
    just_id: bool,
}

impl Claimer {
    /// Gives the claimer an entry that is pending, if it has been for long enough. `pending`: none for a new one.
    fn claim(&self, group: &mut ConsumerGroup, id: Id, pending: Option<&Pending>) -> bool {
        if let Some(pending) = pending
            && self.now - pending.delivered_at < self.min_idle
        {
            return false;
        }
        let more = u64::from(!self.just_id);
        let deliveries = pending.map_or(1, |pending| pending.deliveries) + more;
        let deliveries = self.deliveries.unwrap_or(deliveries);
        if let Some(claimer) = group.consumers.get_mut(&self.consumer) {
            claimer.active_at = self.now;
        }
        group.give(id, &self.consumer, self.at, deliveries);
        true
    }

    fn reply(&self, reply: &mut Reply, stream: &Stream, id: Id) {
        match stream.get(id).filter(|_| !self.just_id) {
            Some(entry) => reply_with_entry(reply, entry),
            None => reply_with_id(reply, id),
        }
    }
}

/// Changes the stream at a key and one of its groups, which is taken out meanwhile.
fn change_both<R, A: Amount>(
    cx: &mut Context<'_>,
    key: &[u8],
    name: &[u8],
    with: impl FnOnce(&mut Reply, &mut Stream, &mut ConsumerGroup) -> Result<(R, A), CommandError>,
) -> Result<R, CommandError> {
    let reply = &mut *cx.reply;
    let changed = cx.keys.change(
        key,
        crate::keyspace::entry::ValueType::Stream,
        false,
        |stream: &mut Box<Stream>| {
            let Some(mut group) = stream.groups.remove(name) else {
                return Err(no_group(key, name, b""));
            };
            let done = with(reply, stream, &mut group);
            stream.groups.insert(name.into(), group);
            done
        },
    )?;
    changed.ok_or_else(|| no_group(key, name, b""))
}

fn xclaim(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let now = cx.now.0;
    change_both(cx, args.at(1), args.at(2), |reply, stream, group| {
        let claim = Claim::parse(args, now)?;
        // Whether it gets anything or not.
        let (consumer, is_new) = group.see(args.at(3), now);
        let claimer = Claimer {
            consumer,
            now,
            at: claim.at,
            min_idle: claim.min_idle,
            deliveries: claim.deliveries,
            just_id: claim.just_id,
        };
        let moves_on = claim.last > group.last;
        group.last = group.last.max(claim.last);
        let (head, mut len, mut gone) = (reply.array_deferred(), 0, 0);
        for id in claim.ids {
            let pending = group.pending().get(&id).cloned();
            if stream.get(id).is_none() {
                gone += usize::from(group.take(id));
                continue;
            }
            if (pending.is_some() || claim.force) && claimer.claim(group, id, pending.as_ref()) {
                claimer.reply(reply, stream, id);
                len += 1;
            }
        }
        reply.finish_array(head, len);
        let changes = usize::from(is_new) + len + gone;
        Ok(((), changes.max(usize::from(moves_on))))
    })
}

fn xautoclaim(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let now = cx.now.0;
    let min_idle = min_idle(args.at(4), "XAUTOCLAIM")?;
    let from = start(args.at(5))?;
    let (mut count, mut just_id) = (CLAIM_COUNT, false);
    let mut words = args.from(6);
    while let Some(word) = words.next() {
        match word.to_ascii_uppercase().as_slice() {
            b"COUNT" => {
                let number = number::parse_i64(words.next().ok_or(CommandError::Syntax)?);
                let number = number.filter(|number| (1..=CLAIM_COUNT_MAX).contains(number));
                count = number.ok_or(CommandError::text("ERR COUNT must be > 0"))?;
            }
            b"JUSTID" => just_id = true,
            _ => return Err(CommandError::Syntax),
        }
    }
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    change_both(cx, args.at(1), args.at(2), |reply, stream, group| {
        let attempts = count.saturating_mul(CLAIM_ATTEMPTS);
        let (consumer, is_new) = group.see(args.at(3), now);
        let claimer = Claimer {
            consumer,
            now,
            at: now,
            min_idle,
            deliveries: None,
            just_id,
        };
        let (mut claimed, mut gone) = (Vec::new(), Vec::new());
        let (mut next, mut looked_at) = (Some(from), 0);
        let cursor = loop {
            let found = next.and_then(|from| group.pending_range(from, Id::MAX).next());
            let Some((id, pending)) = found.map(|(id, pending)| (id, pending.clone())) else {
                break Id::ZERO;
            };
            if looked_at == attempts || claimed.len() + gone.len() == count {
                break id;
            }
            looked_at += 1;
            next = id.next();
            if stream.get(id).is_none() {
                group.take(id);
                gone.push(id);
            } else if claimer.claim(group, id, Some(&pending)) {
                claimed.push(id);
            }
        };
        reply.array(3);
        reply_with_id(reply, cursor);
        reply.array(claimed.len());
        claimed
            .iter()
            .for_each(|id| claimer.reply(reply, stream, *id));
        reply.array(gone.len());
        gone.iter().for_each(|id| reply_with_id(reply, *id));
        Ok(((), usize::from(is_new) + claimed.len() + gone.len()))
    })
}
