//! Strings that are numbers.
//!
//! The old text is read, and the new one written, in a buffer on the stack; only INCRBYFLOAT,
//! whose results may have thousands of digits, uses the heap.

use super::super::{Argument, Arity::*, Command, Context, Flags, Group, KeySpec};
use super::KEY;
use crate::error::CommandError;
use crate::resp::Args;
use crate::value::number::{self, LongDouble};

/// What every counter does to its key.
const COUNTED: &[KeySpec] = &[KeySpec::at(1, &["RW", "access", "update"])];
const FLAGS: Flags = Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST);

/// The rows of this family that count.
pub(in crate::command) const COMMANDS: &[Command] = &[
    Command {
        name: "incr",
        arity: Exactly(2),
        keys: COUNTED,
        flags: FLAGS,
        run: incr,
        group: Group::String,
        summary: "Adds one to the integer at a key; a missing key counts as 0.",
        arguments: &[KEY],
        ..Command::BLANK
    },
    Command {
        name: "decr",
        arity: Exactly(2),
        keys: COUNTED,
        flags: FLAGS,
        run: decr,
        group: Group::String,
        summary: "Takes one from the integer at a key; a missing key counts as 0.",
        arguments: &[KEY],
        ..Command::BLANK
    },
    Command {
        name: "incrby",
        arity: Exactly(3),
        keys: COUNTED,
        flags: FLAGS,
        run: incrby,
        group: Group::String,
        summary: "Adds a number to the integer at a key; a missing key counts as 0.",
        arguments: &[KEY, Argument::new("increment", "integer")],
        ..Command::BLANK
    },
    Command {
        name: "decrby",
        arity: Exactly(3),
        keys: COUNTED,
        flags: FLAGS,
        run: decrby,
        group: Group::String,
        summary: "Takes a number from the integer at a key; a missing key counts as 0.",
        arguments: &[KEY, Argument::new("decrement", "integer")],
        ..Command::BLANK
    },
    Command {
        name: "incrbyfloat",
        arity: Exactly(3),
        keys: COUNTED,
        flags: FLAGS,
        run: incrbyfloat,
        group: Group::String,
        since: "2.6.0",
        summary: "Adds a number to the decimal number at a key; a missing key counts as 0.",
        arguments: &[KEY, Argument::new("increment", "double")],
        ..Command::BLANK
    },
];

fn incr(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    add(cx, args.at(1), 1)
}

fn decr(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    add(cx, args.at(1), -1)
}

fn incrby(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    add(cx, args.at(1), integer(args.at(2))?)
}

fn decrby(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let decrement = integer(args.at(2))?;
    let increment = decrement
        .checked_neg()
        .ok_or(CommandError::text("ERR decrement would overflow"))?;
    add(cx, args.at(1), increment)
}

#[inline]
fn add(cx: &mut Context<'_>, key: &[u8], increment: i64) -> Result<(), CommandError> {
    let mut sum = 0;
    cx.keys.update_string(key, |old| {
        sum = old
            .map_or(Ok(0), integer)?
            .checked_add(increment)
            .ok_or(CommandError::text(
                "ERR increment or decrement would overflow",
            ))?;
        Ok(number::format_i64(sum))
    })?;
    cx.reply.int(sum);
    Ok(())
}

fn integer(text: &[u8]) -> Result<i64, CommandError> {
    number::parse_i64(text).ok_or(CommandError::NotInteger)
}

fn incrbyfloat(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let reply = &mut *cx.reply;
    cx.keys.update_string(args.at(1), |old| {
        let sum = float(old.unwrap_or(b"0"))?.add(float(args.at(2))?);
        if sum.is_nan_or_inf() {
            return Err(CommandError::text(
                "ERR increment would produce NaN or Infinity",
            ));
        }
        let text = sum.to_human();
        reply.text(&text);
        Ok(text)
    })
}

fn float(text: &[u8]) -> Result<LongDouble, CommandError> {
    LongDouble::parse(text).ok_or(CommandError::NotFloat)
}
