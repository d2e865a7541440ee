//! Strings as a whole: written, read, replaced, deleted, and given a time to live.
//!
//! The other string commands are in the files below: [`counter`] for numbers, [`many`] for several
//! keys at once, [`part`] for pieces of a string, [`lcs`] for what two strings have in common.

pub(super) mod counter;
pub(super) mod lcs;
pub(super) mod many;
mod options;
pub(super) mod part;

use self::options::{Condition, GetExOptions, Lifetime, SetOptions};
use super::{Argument, Arity::*, Command, Context, Flags, Group, KeySpec};
use crate::clock::UnixMs;
use crate::error::CommandError;
use crate::keyspace::{Expiry, StringToSend};
use crate::resp::{Args, Reply};

/// The rows of this family that work on whole strings.
pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "get",
        arity: Exactly(2),
        keys: &[KeySpec::at(1, &["RO", "access"])],
        flags: Flags::READONLY.and(Flags::FAST),
        run: get,
        group: Group::String,
        summary: "Returns the string at a key.",
        arguments: &[KEY],
        ..Command::BLANK
    },
    Command {
        name: "set",
        arity: AtLeast(3),
        keys: &[KeySpec::at(
            1,
            &["RW", "access", "update", "variable_flags"],
        )],
        flags: Flags::WRITE.and(Flags::DENYOOM),
        key_flags: Some(set_key_flags),
        blind: Some(set_is_blind),
        run: set,
        group: Group::String,
        summary: "Sets the string at a key, whatever was there, if the condition holds.",
        arguments: SET_ARGUMENTS,
        ..Command::BLANK
    },
    Command {
        name: "setex",
        arity: Exactly(4),
        keys: &[KeySpec::at(1, &["OW", "update"])],
        flags: Flags::WRITE.and(Flags::DENYOOM),
        blind: Some(|_| true),
        run: setex,
        group: Group::String,
        since: "2.0.0",
        summary: "Sets the string at a key, with a time to live in seconds.",
        arguments: &[KEY, Argument::new("seconds", "integer"), VALUE],
        ..Command::BLANK
    },
    Command {
        name: "psetex",
        arity: Exactly(4),
        keys: &[KeySpec::at(1, &["OW", "update"])],
        flags: Flags::WRITE.and(Flags::DENYOOM),
        blind: Some(|_| true),
        run: psetex,
        group: Group::String,
        since: "2.6.0",
        summary: "Sets the string at a key, with a time to live in milliseconds.",
        arguments: &[KEY, Argument::new("milliseconds", "integer"), VALUE],
        ..Command::BLANK
    },
    Command {
        name: "setnx",
        arity: Exactly(3),
        keys: &[KeySpec::at(1, &["OW", "insert"])],
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        run: setnx,
        group: Group::String,
        summary: "Sets the string at a key that does not exist.",
        arguments: &[KEY, VALUE],
        ..Command::BLANK
    },
    Command {
        name: "getset",
        deprecated: Some(("6.2.0", "`SET` with the `!GET` argument")),
        arity: Exactly(3),
        keys: &[KeySpec::at(1, &["RW", "access", "update"])],
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        run: getset,
        group: Group::String,
        summary: "Sets the string at a key and returns the one before. SET with GET does the same.",
        arguments: &[KEY, VALUE],
        ..Command::BLANK
    },
    Command {
        name: "getdel",
        arity: Exactly(2),
        keys: &[KeySpec::at(1, &["RW", "access", "delete"])],
        flags: Flags::WRITE.and(Flags::FAST),
        run: getdel,
        group: Group::String,
        since: "6.2.0",
        summary: "Returns the string at a key and deletes the key.",
        arguments: &[KEY],
        ..Command::BLANK
    },
    Command {
        name: "getex",
        arity: AtLeast(2),
        keys: &[KeySpec::at(1, &["RW", "access", "update"])],
        flags: Flags::WRITE.and(Flags::FAST),
        run: getex,
        group: Group::String,
        since: "6.2.0",
        summary: "Returns the string at a key and sets or removes the key's expiry.",
        arguments: &[
            KEY,
            Argument {
                flags: &["optional"],
                arguments: &[
                    option("seconds", "integer", "EX"),
                    option("milliseconds", "integer", "PX"),
                    option("unix-time-seconds", "unix-time", "EXAT"),
                    option("unix-time-milliseconds", "unix-time", "PXAT"),
                    option("persist", "pure-token", "PERSIST"),
                ],
                ..Argument::new("expiration", "oneof")
            },
        ],
        ..Command::BLANK
    },
];

const KEY: Argument = Argument {
    key_spec: Some(0),
    ..Argument::new("key", "key")
};

const VALUE: Argument = Argument::new("value", "string");

const SET_ARGUMENTS: &[Argument] = &[
    KEY,
    VALUE,
    Argument {
        since: Some("2.6.12"),
        flags: &["optional"],
        arguments: &[
            option("nx", "pure-token", "NX"),
            option("xx", "pure-token", "XX"),
            // Valkey has it since this version; Redis 7.0 not at all.
            option_since("comparison-value", "string", "IFEQ", "8.1.0"),
        ],
        ..Argument::new("condition", "oneof")
    },
    Argument {
        flags: &["optional"],
        ..option_since("get", "pure-token", "GET", "6.2.0")
    },
    Argument {
        flags: &["optional"],
        arguments: &[
            option_since("seconds", "integer", "EX", "2.6.12"),
            option_since("milliseconds", "integer", "PX", "2.6.12"),
            option_since("unix-time-seconds", "unix-time", "EXAT", "6.2.0"),
            option_since("unix-time-milliseconds", "unix-time", "PXAT", "6.2.0"),
            option_since("keepttl", "pure-token", "KEEPTTL", "6.0.0"),
        ],
        ..Argument::new("expiration", "oneof")
    },
];

/// An argument with a word before it, or which is that word.
const fn option(name: &'static str, kind: &'static str, token: &'static str) -> Argument {
    Argument {
        token: Some(token),
        ..Argument::new(name, kind)
    }
}

const fn option_since(
    name: &'static str,
    kind: &'static str,
    token: &'static str,
    since: &'static str,
) -> Argument {
    Argument {
        since: Some(since),
        ..option(name, kind, token)
    }
}

fn get(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let Some(entry) = cx.keys.read(args.at(1)) else {
        cx.reply.nil();
        return Ok(());
    };
    match entry.shared() {
        Some(value) => cx.reply.shared_bulk(value),
        None => cx
            .reply
            .bulk(entry.string().ok_or(CommandError::WrongType)?),
    }
    Ok(())
}

/// Writes a string into the reply, a long one without copying it.
fn show(reply: &mut Reply, value: StringToSend<'_>) {
    match value {
        StringToSend::Short(value) => reply.bulk(value),
        StringToSend::Shared(value) => reply.shared_bulk(value),
    }
}

/// Stores the argument at a place, a long one without copying it.
fn store(cx: &mut Context<'_>, key: &[u8], args: &Args<'_>, at: usize, expiry: Expiry) {
    match args.shared(at) {
        Some(value) => cx.keys.set_shared(key, value, expiry),
        None => cx.keys.set(key, args.at(at), expiry),
    }
}

fn set(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    if args.len() == 3 {
        // As most are: there are no options to look for.
        store(cx, args.at(1), args, 2, Expiry::Set(None));
        cx.reply.ok();
        return Ok(());
    }
    let options = SetOptions::parse(args)?;
    let expiry = match options.lifetime {
        Lifetime::KeepTtl => Expiry::Keep,
        given => Expiry::Set(given.deadline(cx.now, "set")?),
    };
    let key = args.at(1);
    if options.get {
        get(cx, args)?;
    }
    let holds = condition_holds(cx, key, options.condition)?;
    if holds {
        store(cx, key, args, 2, expiry);
    }
    match (options.get, holds) {
        // The old value is the reply.
        (true, _) => {}
        (false, true) => cx.reply.ok(),
        (false, false) => cx.reply.nil(),
    }
    Ok(())
}

/// Whether SET may write. A key that it leaves alone was accessed; writing is an access itself.
fn condition_holds(
    cx: &mut Context<'_>,
    key: &[u8],
    condition: Condition<'_>,
) -> Result<bool, CommandError> {
    let holds = match condition {
        Condition::Always => return Ok(true),
        Condition::Absent => !cx.keys.exists(key),
        Condition::Present => cx.keys.exists(key),
        Condition::Equals(expected) => cx.keys.peek_string(key)? == Some(expected),
    };
    if !holds {
        cx.keys.touch_key(key);
    }
    Ok(holds)
}

fn setex(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    set_for(cx, args, Lifetime::Ex(args.at(2)), "setex")
}

fn psetex(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    set_for(cx, args, Lifetime::Px(args.at(2)), "psetex")
}

fn set_for(
    cx: &mut Context<'_>,
    args: &Args<'_>,
    lifetime: Lifetime<'_>,
    command: &'static str,
) -> Result<(), CommandError> {
    let expires_at = lifetime.deadline(cx.now, command)?;
    store(cx, args.at(1), args, 3, Expiry::Set(expires_at));
    cx.reply.ok();
    Ok(())
}

fn setnx(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let absent = condition_holds(cx, args.at(1), Condition::Absent)?;
    if absent {
        store(cx, args.at(1), args, 2, Expiry::Set(None));
    }
    cx.reply.flag(absent);
    Ok(())
}

fn getset(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    get(cx, args)?;
    store(cx, args.at(1), args, 2, Expiry::Set(None));
    Ok(())
}

fn getdel(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    get(cx, args)?;
    cx.keys.remove(args.at(1));
    Ok(())
}

fn getex(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let options = GetExOptions::parse(args)?;
    let key = args.at(1);
    // A key that is not there makes a faulty time of no matter, as in Redis.
    let Some(value) = cx.keys.string_to_send(key)? else {
        cx.reply.nil();
        return Ok(());
    };
    let expires_at = options.lifetime.deadline(cx.now, "getex")?;
    show(cx.reply, value);
    if options.lifetime == Lifetime::Persist {
        persist(cx, key);
    } else if expires_at.is_some() {
        cx.keys.set_expiry(key, expires_at);
    }
    Ok(())
}

/// Removes an expiry; a key without one is not changed.
fn persist(cx: &mut Context<'_>, key: &[u8]) {
    let expiry: Option<UnixMs> = cx.keys.expiry(key).flatten();
    if expiry.is_some() {
        cx.keys.set_expiry(key, None);
    }
}

/// SET asks for the old value only where an option does.
fn set_is_blind(args: &Args<'_>) -> bool {
    let looks = |option: &[u8]| {
        [&b"NX"[..], b"XX", b"IFEQ", b"GET", b"KEEPTTL"]
            .iter()
            .any(|word| option.eq_ignore_ascii_case(word))
    };
    !args.from(3).any(looks)
}

/// SET reads the old value only where it is asked for it.
fn set_key_flags(args: &Args<'_>) -> &'static [&'static str] {
    match args
        .from(3)
        .any(|option| option.eq_ignore_ascii_case(b"GET"))
    {
        true => &["RW", "access", "update"],
        false => &["OW", "update"],
    }
}

#[cfg(test)]
mod tests;
