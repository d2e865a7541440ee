//! Parts of strings: appended, overwritten, cut out, measured.

use std::ops::Range;

use super::super::{Argument, Arity::*, Command, Context, Flags, Group, KeySpec};
use super::{KEY, VALUE};
use crate::config::Config;
use crate::error::CommandError;
use crate::keyspace::{Expiry, VALUE_BYTES_MAX};
use crate::resp::Args;
use crate::value::number;

/// The rows of this family that work on parts of strings.
pub(in crate::command) const COMMANDS: &[Command] = &[
    Command {
        name: "append",
        arity: Exactly(3),
        keys: &[KeySpec::at(1, &["RW", "insert"])],
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        run: append,
        group: Group::String,
        since: "2.0.0",
        complexity: "O(N) where N is the length of what is appended; now and then the whole is moved.",
        summary: "Adds bytes to the end of the string at a key; a missing key counts as empty.",
        arguments: &[KEY, VALUE],
        ..Command::BLANK
    },
    Command {
        name: "strlen",
        arity: Exactly(2),
        keys: &[KeySpec::at(1, &["RO"])],
        flags: Flags::READONLY.and(Flags::FAST),
        run: strlen,
        group: Group::String,
        since: "2.2.0",
        summary: "Returns the length in bytes of the string at a key.",
        arguments: &[KEY],
        ..Command::BLANK
    },
    Command {
        name: "getrange",
        arity: Exactly(4),
        keys: &[KeySpec::at(1, &["RO", "access"])],
        flags: Flags::READONLY,
        run: getrange,
        group: Group::String,
        since: "2.4.0",
        complexity: "O(N) where N is the length of the part.",
        summary: "Returns a part of the string at a key. Negative places count from the end.",
        arguments: RANGE,
        ..Command::BLANK
    },
    Command {
        name: "substr",
        deprecated: Some(("2.0.0", "`GETRANGE`")),
        arity: Exactly(4),
        keys: &[KeySpec::at(1, &["RO", "access"])],
        flags: Flags::READONLY,
        run: getrange,
        group: Group::String,
        complexity: "O(N) where N is the length of the part.",
        summary: "Returns a part of the string at a key: the old name of GETRANGE.",
        arguments: RANGE,
        ..Command::BLANK
    },
    Command {
        name: "setrange",
        arity: Exactly(4),
        keys: &[KeySpec::at(1, &["RW", "update"])],
        flags: Flags::WRITE.and(Flags::DENYOOM),
        run: setrange,
        group: Group::String,
        since: "2.2.0",
        complexity: "O(N) where N is the length of the new part, and of the zero bytes before it.",
        summary: "Overwrites a part of the string at a key, filling up with zero bytes.",
        arguments: &[KEY, Argument::new("offset", "integer"), VALUE],
        ..Command::BLANK
    },
];

const RANGE: &[Argument] = &[
    KEY,
    Argument::new("start", "integer"),
    Argument::new("end", "integer"),
];

fn append(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let (key, added) = (args.at(1), args.at(2));
    let old_len = cx.keys.peek_string(key)?.map(<[u8]>::len);
    let len = match old_len {
        // As in Redis a new string is like one that was set, of any length and not `raw`.
        None => {
            cx.keys.set(key, added, Expiry::Set(None));
            added.len()
        }
        Some(old_len) => {
            let len = length_within_limit(cx.config, old_len, added.len())?;
            cx.keys.string_resized(key, len)?[old_len..].copy_from_slice(added);
            len
        }
    };
    cx.reply.count(len);
    Ok(())
}

fn strlen(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let len = cx.keys.string(args.at(1))?.map_or(0, <[u8]>::len);
    cx.reply.count(len);
    Ok(())
}

fn getrange(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let (start, end) = (integer(args.at(2))?, integer(args.at(3))?);
    let value = cx.keys.string(args.at(1))?.unwrap_or_default();
    cx.reply.bulk(&value[clamp(value.len(), start, end)]);
    Ok(())
}

/// The part from `start` to `end`, which belongs to it; negative places count from the end. A place
/// before the string means its first byte, so that `0 -100` is that byte; but two negative places
/// in the wrong order mean nothing.
fn clamp(len: usize, start: i64, end: i64) -> Range<usize> {
    if start < 0 && end < 0 && start > end {
        return 0..0;
    }
    // A string in memory is shorter than 2^63 bytes.
    let len = len as i64;
    let place = |at: i64| if at < 0 { (len + at).max(0) } else { at };
    let (start, end) = (place(start), place(end).min(len - 1));
    if start > end {
        return 0..0;
    }
    start as usize..end as usize + 1
}

fn setrange(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let (key, part) = (args.at(1), args.at(3));
    let offset = usize::try_from(integer(args.at(2))?)
        .map_err(|_| CommandError::text("ERR offset is out of range"))?;
    let old_len = cx.keys.peek_string(key)?.map_or(0, <[u8]>::len);
    // An empty part changes nothing, however far away, and makes no key.
    if part.is_empty() {
        cx.keys.touch_key(key);
        cx.reply.count(old_len);
        return Ok(());
    }
    let end = length_within_limit(cx.config, offset, part.len())?;
    let len = old_len.max(end);
    cx.keys.string_resized(key, len)?[offset..end].copy_from_slice(part);
    cx.reply.count(len);
    Ok(())
}

/// The sum of two lengths, if a string may be that long.
fn length_within_limit(config: &Config, a: usize, b: usize) -> Result<usize, CommandError> {
    let limit = config.proto_max_bulk_len.min(VALUE_BYTES_MAX);
    a.checked_add(b)
        .filter(|&len| len as u64 <= limit)
        .ok_or(CommandError::TooLong)
}

fn integer(text: &[u8]) -> Result<i64, CommandError> {
    number::parse_i64(text).ok_or(CommandError::NotInteger)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_clamped_as_in_redis() {
        for (len, start, end, part) in [
            (5, 0, 4, 0..5),
            (5, 0, -1, 0..5),
            (5, 4, 4, 4..5),
            (5, 5, 5, 0..0),
            (5, -5, -5, 0..1),
            (5, -6, -6, 0..1),
            (5, 0, -100, 0..1),
            (5, 1, -100, 0..0),
            (5, -1, -2, 0..0),
            (5, 3, 1, 0..0),
            (5, i64::MIN, i64::MAX, 0..5),
            (5, i64::MAX, i64::MIN, 0..0),
            (0, 0, 0, 0..0),
            (0, 0, -1, 0..0),
            (0, i64::MIN, i64::MAX, 0..0),
        ] {
            assert_eq!(clamp(len, start, end), part, "{start} {end} of {len}");
        }
    }

    #[test]
    fn an_entry_limits_strings_too() {
        let config = Config {
            proto_max_bulk_len: u64::MAX,
            ..Config::default()
        };
        let limit = VALUE_BYTES_MAX as usize;
        assert_eq!(length_within_limit(&config, limit, 0), Ok(limit));
        assert!(length_within_limit(&config, limit, 1).is_err());
        assert!(length_within_limit(&config, usize::MAX, 1).is_err());
    }
}
