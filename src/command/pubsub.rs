//! Publish/subscribe: messages to whoever listens.
//!
//! Subscribers get pushes, which are arrays in RESP2: also what SUBSCRIBE and its like answer is one for each name.

use super::help::help;
use super::{Argument, Arity::*, Command, Context, Flags, Group, KeySpec};
use crate::error::{CommandError, c_text};
use crate::resp::{Args, Payload};
use crate::server::pubsub::subscriptions::Subscriptions;
use crate::server::pubsub::{Kind, Name};

/// What all commands have that a subscriber may send.
const LISTENS: Flags = Flags::PUBSUB
    .and(Flags::NOSCRIPT)
    .and(Flags::LOADING)
    .and(Flags::STALE)
    .and(Flags::WHILE_SUBSCRIBED)
    .and(Flags::PUSHES);
const PUBLISHES: Flags = Flags::PUBSUB
    .and(Flags::LOADING)
    .and(Flags::STALE)
    .and(Flags::FAST)
    .and(Flags::MAY_REPLICATE)
    .and(Flags::SENTINEL);
const LOOKS: Flags = Flags::PUBSUB.and(Flags::LOADING).and(Flags::STALE);

const CHANNEL: Argument = Argument::new("channel", "string");
const CHANNELS: Argument = Argument {
    flags: &["multiple"],
    ..CHANNEL
};
const ANY_CHANNELS: Argument = Argument {
    flags: &["optional", "multiple"],
    ..CHANNEL
};
const PATTERNS: Argument = Argument {
    flags: &["multiple"],
    ..Argument::new("pattern", "pattern")
};
const ANY_PATTERNS: Argument = Argument {
    flags: &["optional", "multiple"],
    ..Argument::new("pattern", "pattern")
};
const SHARD_CHANNEL: Argument = Argument::new("shardchannel", "string");
const SHARD_CHANNELS: Argument = Argument {
    flags: &["multiple"],
    ..SHARD_CHANNEL
};
const ANY_SHARD_CHANNELS: Argument = Argument {
    flags: &["optional", "multiple"],
    ..SHARD_CHANNEL
};

/// The rows of this family.
pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "subscribe",
        arity: AtLeast(2),
        flags: LISTENS.and(Flags::SENTINEL),
        run: |cx, args| subscribe(cx, args, Kind::Channel),
        group: Group::PubSub,
        since: "2.0.0",
        complexity: "O(N) where N is the number of channels.",
        summary: "Listens to messages that are published to channels.",
        arguments: &[CHANNELS],
        ..Command::BLANK
    },
    Command {
        name: "unsubscribe",
        arity: AtLeast(1),
        flags: LISTENS.and(Flags::SENTINEL),
        run: |cx, args| unsubscribe(cx, args, Kind::Channel),
        group: Group::PubSub,
        since: "2.0.0",
        complexity: "O(N) where N is the number of channels.",
        summary: "Listens no more to channels, or to any.",
        arguments: &[ANY_CHANNELS],
        ..Command::BLANK
    },
    Command {
        name: "psubscribe",
        arity: AtLeast(2),
        flags: LISTENS.and(Flags::SENTINEL),
        run: |cx, args| subscribe(cx, args, Kind::Pattern),
        group: Group::PubSub,
        since: "2.0.0",
        complexity: "O(N) where N is the number of patterns.",
        summary: "Listens to messages of all channels whose names match a pattern.",
        arguments: &[PATTERNS],
        ..Command::BLANK
    },
    Command {
        name: "punsubscribe",
        arity: AtLeast(1),
        flags: LISTENS.and(Flags::SENTINEL),
        run: |cx, args| unsubscribe(cx, args, Kind::Pattern),
        group: Group::PubSub,
        since: "2.0.0",
        complexity: "O(N) where N is the number of patterns.",
        summary: "Listens no more to patterns, or to any.",
        arguments: &[ANY_PATTERNS],
        ..Command::BLANK
    },
    Command {
        name: "ssubscribe",
        arity: AtLeast(2),
        keys: &[KeySpec::range(1, -1, 1, KeySpec::NOT_KEY)],
        flags: LISTENS,
        run: |cx, args| subscribe(cx, args, Kind::Shard),
        group: Group::PubSub,
        since: "7.0.0",
        complexity: "O(N) where N is the number of shard channels.",
        summary: "Listens to messages that are published to shard channels.",
        arguments: &[SHARD_CHANNELS],
        ..Command::BLANK
    },
    Command {
        name: "sunsubscribe",
        arity: AtLeast(1),
        keys: &[KeySpec::range(1, -1, 1, KeySpec::NOT_KEY)],
        flags: LISTENS,
        run: |cx, args| unsubscribe(cx, args, Kind::Shard),
        group: Group::PubSub,
        since: "7.0.0",
        complexity: "O(N) where N is the number of shard channels.",
        summary: "Listens no more to shard channels, or to any.",
        arguments: &[ANY_SHARD_CHANNELS],
        ..Command::BLANK
    },
    Command {
        name: "publish",
        arity: Exactly(3),
        flags: PUBLISHES,
        run: |cx, args| publish(cx, args, Kind::Channel),
        group: Group::PubSub,
        since: "2.0.0",
        complexity: "O(N+M) where N is the number of subscribers of the channel, and M that of the patterns which begin as its name does.",
        summary: "Sends a message to whoever listens to a channel, and tells how many do.",
        arguments: &[CHANNEL, Argument::new("message", "string")],
        ..Command::BLANK
    },
    Command {
        name: "spublish",
        arity: Exactly(3),
        keys: &[KeySpec::at(1, KeySpec::NOT_KEY)],
        flags: PUBLISHES.without(Flags::SENTINEL),
        run: |cx, args| publish(cx, args, Kind::Shard),
        group: Group::PubSub,
        since: "7.0.0",
        complexity: "O(N) where N is the number of subscribers of the shard channel.",
        summary: "Sends a message to whoever listens to a shard channel, and tells how many do.",
        arguments: &[SHARD_CHANNEL, Argument::new("message", "string")],
        ..Command::BLANK
    },
    Command {
        name: "pubsub",
        arity: AtLeast(2),
        group: Group::PubSub,
        since: "2.8.0",
        complexity: "Depends on subcommand.",
        summary: "Tells who listens to what.",
        subcommands: &[
            Command {
                name: "channels",
                arity: AtLeast(2),
                flags: LOOKS,
                run: |cx, args| channels(cx, args, Kind::Channel),
                group: Group::PubSub,
                since: "2.8.0",
                complexity: "O(N) where N is the number of channels that somebody listens to.",
                summary: "Returns the channels that somebody listens to.",
                arguments: &[Argument::optional("pattern", "pattern")],
                ..Command::BLANK
            },
            Command {
                name: "numsub",
                arity: AtLeast(2),
                flags: LOOKS,
                run: |cx, args| numsub(cx, args, Kind::Channel),
                group: Group::PubSub,
                since: "2.8.0",
                complexity: "O(N) where N is the number of channels that are asked for.",
                summary: "Returns how many listen to channels, not counting patterns.",
                arguments: &[ANY_CHANNELS],
                ..Command::BLANK
            },
            Command {
                name: "numpat",
                arity: Exactly(2),
                flags: LOOKS,
                run: numpat,
                group: Group::PubSub,
                since: "2.8.0",
                summary: "Returns how many different patterns somebody listens to.",
                ..Command::BLANK
            },
            Command {
                name: "shardchannels",
                arity: AtLeast(2),
                flags: LOOKS,
                run: |cx, args| channels(cx, args, Kind::Shard),
                group: Group::PubSub,
                since: "7.0.0",
                complexity: "O(N) where N is the number of shard channels that somebody listens to.",
                summary: "Returns the shard channels that somebody listens to.",
                arguments: &[Argument::optional("pattern", "pattern")],
                ..Command::BLANK
            },
            Command {
                name: "shardnumsub",
                arity: AtLeast(2),
                flags: LOOKS,
                run: |cx, args| numsub(cx, args, Kind::Shard),
                group: Group::PubSub,
                since: "7.0.0",
                complexity: "O(N) where N is the number of shard channels that are asked for.",
                summary: "Returns how many listen to shard channels.",
                arguments: &[ANY_SHARD_CHANNELS],
                ..Command::BLANK
            },
            Command {
                name: "help",
                arity: Exactly(2),
                flags: Flags::LOADING.and(Flags::STALE),
                run: tell_help,
                group: Group::PubSub,
                since: "6.2.0",
                summary: "Lists the subcommands.",
                ..Command::BLANK
            },
        ],
        ..Command::BLANK
    },
];

/// The words of the replies to SUBSCRIBE and UNSUBSCRIBE and their like.
fn words(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Channel => ("subscribe", "unsubscribe"),
        Kind::Pattern => ("psubscribe", "punsubscribe"),
        Kind::Shard => ("ssubscribe", "sunsubscribe"),
    }
}

/// How many names of a kind the client listens to. Channels and patterns are counted together.
fn count(cx: &Context<'_>, kind: Kind) -> usize {
    let kinds = match kind {
        Kind::Channel | Kind::Pattern => &[Kind::Channel, Kind::Pattern][..],
        Kind::Shard => &[Kind::Shard],
    };
    let subscriptions = cx.session.subscriptions.iter();
    let counts = subscriptions.flat_map(|all| kinds.iter().map(|kind| all.count(*kind)));
    counts.sum()
}

fn acknowledge(cx: &mut Context<'_>, kind: Kind, word: &str, name: Option<&[u8]>) {
    let count = count(cx, kind);
    cx.reply.push(3);
    cx.reply.text(word);
    match name {
        Some(name) => cx.reply.bulk(name),
        None => cx.reply.nil(),
    }
    cx.reply.count(count);
}

fn subscribe(cx: &mut Context<'_>, args: &Args<'_>, kind: Kind) -> Result<(), CommandError> {
    if kind == Kind::Shard && cx.session.is_in_unit {
        return Err(CommandError::text(
            "ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client",
        ));
    }
    for name in args.from(1) {
        let (server, client, thread) = (cx.server, &cx.session.client, cx.keys.thread());
        let subscriptions = cx
            .session
            .subscriptions
            .get_or_insert_with(|| Box::new(Subscriptions::new(server, client, thread)));
        subscriptions.add(kind, name);
        acknowledge(cx, kind, words(kind).0, Some(name));
    }
    Ok(())
}

fn unsubscribe(cx: &mut Context<'_>, args: &Args<'_>, kind: Kind) -> Result<(), CommandError> {
    let all: Vec<Name> = match &cx.session.subscriptions {
        Some(subscriptions) if args.len() == 1 => subscriptions.names(kind),
        _ => Vec::new(),
    };
    let word = words(kind).1;
    if args.len() == 1 && all.is_empty() {
        acknowledge(cx, kind, word, None);
        return Ok(());
    }
    let all = all.iter().map(|name| &**name);
    for name in args.from(1).chain(all) {
        if let Some(subscriptions) = &mut cx.session.subscriptions {
            subscriptions.remove(kind, name);
        }
        acknowledge(cx, kind, word, Some(name));
    }
    Ok(())
}

fn publish(cx: &mut Context<'_>, args: &Args<'_>, kind: Kind) -> Result<(), CommandError> {
    let message = Payload::new(args.at(2), args.shared(2));
    let receivers = cx
        .server
        .pubsub
        .publish(cx.keys.thread(), kind, args.at(1), &message);
    if let Some(subscriptions) = &cx.session.subscriptions {
        // The next command of a transaction may end one.
        subscriptions.hand_out();
    }
    cx.reply.count(receivers);
    Ok(())
}

fn channels(cx: &mut Context<'_>, args: &Args<'_>, kind: Kind) -> Result<(), CommandError> {
    if args.len() > 3 {
        return Err(CommandError::with_word(
            "ERR unknown subcommand or wrong number of arguments for '",
            c_text(args.at(1)),
            "'. Try PUBSUB HELP.",
        ));
    }
    let found = cx.server.pubsub.channels(kind, args.get(2));
    cx.reply.array(found.len());
    found.iter().for_each(|name| cx.reply.bulk(name));
    Ok(())
}

fn numsub(cx: &mut Context<'_>, args: &Args<'_>, kind: Kind) -> Result<(), CommandError> {
    let counts = cx.server.pubsub.subscribers(kind, args.from(2));
    cx.reply.array(2 * counts.len());
    for (name, count) in counts {
        cx.reply.bulk(name);
        cx.reply.count(count);
    }
    Ok(())
}

fn numpat(cx: &mut Context<'_>, _: &Args<'_>) -> Result<(), CommandError> {
    cx.reply.count(cx.server.pubsub.count(Kind::Pattern));
    Ok(())
}

const HELP: &[&str] = &[
    "CHANNELS [<pattern>]",
    "    Return the currently active channels matching a <pattern> (default: '*').",
    "NUMPAT",
    "    Return number of subscriptions to patterns.",
    "NUMSUB [<channel> ...]",
    "    Return the number of subscribers for the specified channels, excluding",
    "    pattern subscriptions(default: no channels).",
    "SHARDCHANNELS [<pattern>]",
    "    Return the currently active shard level channels matching a <pattern> (default: '*').",
    "SHARDNUMSUB [<shardchannel> ...]",
    "    Return the number of subscribers for the specified shard level channel(s)",
];

fn tell_help(cx: &mut Context<'_>, _: &Args<'_>) -> Result<(), CommandError> {
    help(cx.reply, "PUBSUB", HELP);
    Ok(())
}

#[cfg(test)]
mod tests;
