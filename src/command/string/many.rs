//! Strings at several keys at once. All keys are locked together, so others see all of a write or
//! nothing of it.

use super::super::{Argument, Arity::*, Command, Context, Flags, Group, KeySpec};
use super::{KEY, VALUE, show, store};
use crate::error::CommandError;
use crate::keyspace::Expiry;
use crate::resp::Args;

/// The rows of this family that take several keys.
pub(in crate::command) const COMMANDS: &[Command] = &[
    Command {
        name: "mget",
        arity: AtLeast(2),
        keys: &[KeySpec::range(1, -1, 1, &["RO", "access"])],
        flags: Flags::READONLY.and(Flags::FAST),
        run: mget,
        group: Group::String,
        complexity: "O(N) where N is the number of keys.",
        summary: "Returns the strings at several keys, nil where there is none.",
        tips: &["request_policy:multi_shard"],
        arguments: &[Argument {
            flags: &["multiple"],
            ..KEY
        }],
        ..Command::BLANK
    },
    Command {
        name: "mset",
        arity: AtLeast(3),
        keys: &[KeySpec::range(1, -1, 2, &["OW", "update"])],
        flags: Flags::WRITE.and(Flags::DENYOOM),
        blind: Some(|_| true),
        run: mset,
        group: Group::String,
        since: "1.0.1",
        complexity: "O(N) where N is the number of keys.",
        summary: "Sets the strings at several keys, whatever was there.",
        tips: &[
            "request_policy:multi_shard",
            "response_policy:all_succeeded",
        ],
        arguments: PAIRS,
        ..Command::BLANK
    },
    Command {
        name: "msetnx",
        arity: AtLeast(3),
        keys: &[KeySpec::range(1, -1, 2, &["OW", "insert"])],
        flags: Flags::WRITE.and(Flags::DENYOOM),
        run: msetnx,
        group: Group::String,
        since: "1.0.1",
        complexity: "O(N) where N is the number of keys.",
        summary: "Sets the strings at several keys if none of the keys exists.",
        arguments: PAIRS,
        ..Command::BLANK
    },
];

const PAIRS: &[Argument] = &[Argument {
    flags: &["multiple"],
    arguments: &[KEY, VALUE],
    ..Argument::new("key_value", "block")
}];

fn mget(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let keys = args.from(1);
    cx.reply.array(keys.len());
    for key in keys {
        // A value of another type is no string: nil, not an error.
        match cx.keys.string_to_send(key) {
            Ok(Some(value)) => show(cx.reply, value),
            _ => cx.reply.nil(),
        }
    }
    Ok(())
}

fn mset(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    check_pairs(args, "mset")?;
    set_pairs(cx, args);
    cx.reply.ok();
    Ok(())
}

fn msetnx(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    check_pairs(args, "msetnx")?;
    let occupied = args.from(1).step_by(2).any(|key| cx.keys.touch_key(key));
    if !occupied {
        set_pairs(cx, args);
    }
    cx.reply.flag(!occupied);
    Ok(())
}

/// The arity of the row says only that there are at least three arguments.
fn check_pairs(args: &Args<'_>, command: &'static str) -> Result<(), CommandError> {
    if args.len().is_multiple_of(2) {
        return Err(CommandError::WrongArity(command.into()));
    }
    Ok(())
}

fn set_pairs(cx: &mut Context<'_>, args: &Args<'_>) {
    for at in (1..args.len()).step_by(2) {
        store(cx, args.at(at), args, at + 1, Expiry::Set(None));
    }
}
