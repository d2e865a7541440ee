//! LCS: what two strings have in common. The algorithm is in [`crate::value::lcs`].

use super::super::{Argument, Arity::*, Command, Context, Flags, Group, KeySpec};
use super::option;
use crate::error::CommandError;
use crate::keyspace::Keys;
use crate::resp::{Args, Reply};
use crate::value::lcs::{self, Lcs, LcsError};
use crate::value::number;

/// The row of LCS.
pub(in crate::command) const COMMANDS: &[Command] = &[Command {
    name: "lcs",
    arity: AtLeast(3),
    keys: &[KeySpec::range(1, 1, 1, &["RO", "access"])],
    flags: Flags::READONLY,
    run: lcs,
    group: Group::String,
    since: "7.0.0",
    complexity: "O(N*M) where N and M are the lengths of the strings.",
    summary: "Returns the longest common subsequence of two strings.",
    arguments: &[
        Argument {
            key_spec: Some(0),
            ..Argument::new("key1", "key")
        },
        Argument {
            key_spec: Some(0),
            ..Argument::new("key2", "key")
        },
        Argument {
            flags: &["optional"],
            ..option("len", "pure-token", "LEN")
        },
        Argument {
            flags: &["optional"],
            ..option("idx", "pure-token", "IDX")
        },
        Argument {
            flags: &["optional"],
            ..option("len", "integer", "MINMATCHLEN")
        },
        Argument {
            flags: &["optional"],
            ..option("withmatchlen", "pure-token", "WITHMATCHLEN")
        },
    ],
    ..Command::BLANK
}];

#[derive(Clone, Copy, Debug, Default)]
struct Options {
    len: bool,
    idx: bool,
    with_match_len: bool,
    min_match_len: usize,
}

impl Options {
    fn parse(args: &Args<'_>) -> Result<Self, CommandError> {
        let mut options = Self::default();
        let mut words = args.from(3);
        while let Some(word) = words.next() {
            if word.eq_ignore_ascii_case(b"IDX") {
                options.idx = true;
            } else if word.eq_ignore_ascii_case(b"LEN") {
                options.len = true;
            } else if word.eq_ignore_ascii_case(b"WITHMATCHLEN") {
                options.with_match_len = true;
            } else if word.eq_ignore_ascii_case(b"MINMATCHLEN") {
                let text = words.next().ok_or(CommandError::Syntax)?;
                let min = number::parse_i64(text).ok_or(CommandError::NotInteger)?;
                options.min_match_len = usize::try_from(min.max(0)).unwrap_or(usize::MAX);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        if options.idx && options.len {
            return Err(CommandError::text(
                "ERR If you want both the length and indexes, please just use IDX.",
            ));
        }
        Ok(options)
    }
}

fn lcs(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    // A wrong type is told before a wrong option, as in Redis. Next to the table that is filled
    // below a copy of the strings is small.
    let (a, b) = (
        text(&mut cx.keys, args.at(1))?,
        text(&mut cx.keys, args.at(2))?,
    );
    let options = Options::parse(args)?;
    let limit = cx.config.proto_max_bulk_len;
    if options.len {
        cx.reply.count(lcs::length(&a, &b, limit).map_err(refused)?);
        return Ok(());
    }
    let found = lcs::find(&a, &b, options.min_match_len, limit).map_err(refused)?;
    if options.idx {
        reply_matches(cx.reply, &found, options.with_match_len);
    } else {
        cx.reply.bulk(&found.text);
    }
    Ok(())
}

fn text(keys: &mut Keys<'_>, key: &[u8]) -> Result<Vec<u8>, CommandError> {
    match keys.string(key) {
        Ok(value) => Ok(value.unwrap_or_default().to_vec()),
        Err(_) => Err(CommandError::text(
            "ERR The specified keys must contain string values",
        )),
    }
}

fn refused(error: LcsError) -> CommandError {
    CommandError::message(error.to_string())
}

fn reply_matches(reply: &mut Reply, found: &Lcs, with_match_len: bool) {
    reply.map(2);
    reply.text("matches");
    reply.array(found.matches.len());
    for stretch in &found.matches {
        reply.array(2 + usize::from(with_match_len));
        for (first, last) in [stretch.a, stretch.b] {
            reply.array(2);
            reply.count(first);
            reply.count(last);
        }
        if with_match_len {
            reply.count(stretch.len());
        }
    }
    reply.text("len");
    reply.count(found.text.len());
}
