//! Members from here to there: by rank, by score, by name.

use std::ops::Range;

use super::super::argument::{KEY, after, block, key, oneof, optional, since, word};
use super::super::{Argument, Arity::*, Command, Context, Flags, KeySpec, parse};
use super::{DELETE, Form, READ, READ_FAST, ROW, change};
use crate::engine::encoding_limits;
use crate::error::{CommandError, c_text};
use crate::keyspace::entry::ValueType;
use crate::resp::Args;
use crate::value::listpack::{Digits, OneWay};
use crate::value::number;
use crate::value::zset::{Bound, Zset, ZsetRef};

const SCORES: &[Argument] = &[
    KEY,
    Argument::new("min", "double"),
    Argument::new("max", "double"),
];
const NAMES: &[Argument] = &[
    KEY,
    Argument::new("min", "string"),
    Argument::new("max", "string"),
];
const SORT_BY: Argument = oneof(
    "sortby",
    &[word("byscore", "BYSCORE"), word("bylex", "BYLEX")],
);
const LIMIT: Argument = after(
    "LIMIT",
    block(
        "offset_count",
        &[
            Argument::new("offset", "integer"),
            Argument::new("count", "integer"),
        ],
    ),
);
const WITH_SCORES: Argument = optional(word("withscores", "WITHSCORES"));
const MIN_SCORE: Argument = Argument::new("min", "double");
const MAX_SCORE: Argument = Argument::new("max", "double");
const MIN_NAME: Argument = Argument::new("min", "string");
const MAX_NAME: Argument = Argument::new("max", "string");
const START: Argument = Argument::new("start", "integer");
const STOP: Argument = Argument::new("stop", "integer");

/// The rows of this part.
pub(in crate::command) const COMMANDS: &[Command] = &[
    Command {
        name: "zrange",
        run: zrange,
        summary: "Returns the members of a sorted set in a range of ranks, scores or names.",
        arguments: &[
            KEY,
            Argument::new("start", "string"),
            Argument::new("stop", "string"),
            since("6.2.0", optional(SORT_BY)),
            since("6.2.0", optional(word("rev", "REV"))),
            since("6.2.0", optional(LIMIT)),
            WITH_SCORES,
        ],
        ..RANGE
    },
    Command {
        name: "zrangestore",
        arity: AtLeast(5),
        keys: &[
            KeySpec::at(1, &["OW", "update"]),
            KeySpec::at(2, &["RO", "access"]),
        ],
        flags: Flags::WRITE.and(Flags::DENYOOM),
        run: zrangestore,
        since: "6.2.0",
        summary: "Stores the members of a sorted set in a range as another one.",
        arguments: &[
            key("dst", 0),
            key("src", 1),
            MIN_NAME,
            MAX_NAME,
            optional(SORT_BY),
            optional(word("rev", "REV")),
            optional(LIMIT),
        ],
        ..RANGE
    },
    Command {
        name: "zrangebyscore",
        deprecated: Some(("6.2.0", "`ZRANGE` with the `BYSCORE` argument")),
        run: zrangebyscore,
        since: "1.0.5",
        summary: "Returns the members in a range of scores. ZRANGE BYSCORE does the same.",
        arguments: &[
            KEY,
            MIN_SCORE,
            MAX_SCORE,
            since("2.0.0", WITH_SCORES),
            optional(LIMIT),
        ],
        ..RANGE
    },
    Command {
        name: "zrevrangebyscore",
        deprecated: Some(("6.2.0", "`ZRANGE` with the `REV` and `BYSCORE` arguments")),
        run: zrevrangebyscore,
        since: "2.2.0",
        summary: "Returns the members in a range of scores, the highest first. ZRANGE BYSCORE REV does the same.",
        arguments: &[KEY, MAX_SCORE, MIN_SCORE, WITH_SCORES, optional(LIMIT)],
        ..RANGE
    },
    Command {
        name: "zrangebylex",
        deprecated: Some(("6.2.0", "`ZRANGE` with the `BYLEX` argument")),
        run: zrangebylex,
        since: "2.8.9",
        summary: "Returns the members in a range of names. ZRANGE BYLEX does the same.",
        arguments: &[KEY, MIN_NAME, MAX_NAME, optional(LIMIT)],
        ..RANGE
    },
    Command {
        name: "zrevrangebylex",
        deprecated: Some(("6.2.0", "`ZRANGE` with the `REV` and `BYLEX` arguments")),
        run: zrevrangebylex,
        since: "2.8.9",
        summary: "Returns the members in a range of names, the last first. ZRANGE BYLEX REV does the same.",
        arguments: &[KEY, MAX_NAME, MIN_NAME, optional(LIMIT)],
        ..RANGE
    },
    Command {
        name: "zrevrange",
        deprecated: Some(("6.2.0", "`ZRANGE` with the `REV` argument")),
        run: zrevrange,
        summary: "Returns the members in a range of ranks, counted from the end. ZRANGE REV does the same.",
        arguments: &[KEY, START, STOP, WITH_SCORES],
        ..RANGE
    },
    Command {
        name: "zcount",
        run: zcount,
        since: "2.0.0",
        summary: "Counts the members in a range of scores.",
        arguments: SCORES,
        ..COUNT
    },
    Command {
        name: "zlexcount",
        run: zlexcount,
        since: "2.8.9",
        summary: "Counts the members in a range of names.",
        arguments: NAMES,
        ..COUNT
    },
    Command {
        name: "zremrangebyrank",
        run: zremrangebyrank,
        since: "2.0.0",
        summary: "Takes the members in a range of ranks out.",
        arguments: &[KEY, START, STOP],
        ..REMOVE
    },
    Command {
        name: "zremrangebyscore",
        run: zremrangebyscore,
        summary: "Takes the members in a range of scores out.",
        arguments: SCORES,
        ..REMOVE
    },
    Command {
        name: "zremrangebylex",
        run: zremrangebylex,
        since: "2.8.9",
        summary: "Takes the members in a range of names out.",
        arguments: NAMES,
        ..REMOVE
    },
];

/// What the commands that return members have in common.
const RANGE: Command = Command {
    arity: AtLeast(4),
    keys: READ,
    flags: Flags::READONLY,
    complexity: "O(log(N)+M) with M members in the range.",
    ..ROW
};

/// What ZCOUNT and ZLEXCOUNT have in common.
const COUNT: Command = Command {
    arity: Exactly(4),
    keys: READ,
    flags: READ_FAST,
    complexity: "O(log(N))",
    ..ROW
};

/// What the commands that take members out have in common.
const REMOVE: Command = Command {
    arity: Exactly(4),
    keys: DELETE,
    flags: Flags::WRITE,
    complexity: "O(log(N)) for each member in the range.",
    ..ROW
};

/// What a range is a range of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Name,
}

/// A range as a client gave it.
enum Wanted<'a> {
    /// Ranks, from the end if negative.
    Ranks(i64, i64),
    Scores(Bound<f64>, Bound<f64>),
    Names(Bound<&'a [u8]>, Bound<&'a [u8]>),
}

impl<'a> Wanted<'a> {
    fn parse(by: By, from: &'a [u8], to: &'a [u8]) -> Result<Self, CommandError> {
        Ok(match by {
            By::Rank => Self::Ranks(parse::integer(from)?, parse::integer(to)?),
            By::Score => {
                let bounds = score_bound(from).zip(score_bound(to));
                let bounds = bounds.ok_or(CommandError::text("ERR min or max is not a float"));
                let (from, to) = bounds?;
                Self::Scores(from, to)
            }
            By::Name => {
                let bounds = name_bound(from).zip(name_bound(to));
                let (from, to) = bounds.ok_or(CommandError::text(
                    "ERR min or max not valid string range item",
                ))?;
                Self::Names(from, to)
            }
        })
    }

    /// The ranks in a sorted set; those wanted are counted from its end for `reverse`.
    fn ranks(&self, zset: ZsetRef<'_>, reverse: bool) -> Range<usize> {
        match *self {
            Self::Ranks(from, to) => {
                let ranks = parse::index_range(from, to, zset.len());
                if reverse {
                    zset.len() - ranks.end..zset.len() - ranks.start
                } else {
                    ranks
                }
            }
            Self::Scores(from, to) => zset.score_ranks(from, to),
            Self::Names(from, to) => zset.lex_ranks(from, to, reverse),
        }
    }
}

/// A score, with `(` before it if it is not to belong to the range. As in C, a text that is too large for a double is
/// infinite, and nothing at all is 0.
fn score_bound(text: &[u8]) -> Option<Bound<f64>> {
    let text = c_text(text);
    let (text, bound): (_, fn(f64) -> _) = match text.strip_prefix(b"(") {
        Some(rest) => (rest, Bound::Excluding),
        None => (text, Bound::Including),
    };
    if text.is_empty() {
        return Some(bound(0.0));
    }
    let text = text.trim_ascii_start();
    let score = number::parse_f64(text).or_else(|| std::str::from_utf8(text).ok()?.parse().ok());
    score.filter(|score| !score.is_nan()).map(bound)
}

/// `-`, `+`, or a name behind `[` or `(`.
fn name_bound(text: &[u8]) -> Option<Bound<&[u8]>> {
    match text {
        [b'-' | b'+', 0, ..] => name_bound(c_text(text)),
        b"-" => Some(Bound::Lowest),
        b"+" => Some(Bound::Highest),
        [b'[', name @ ..] => Some(Bound::Including(name)),
        [b'(', name @ ..] => Some(Bound::Excluding(name)),
        _ => None,
    }
}

/// A request for a range, read.
struct Request<'a> {
    wanted: Wanted<'a>,
    reverse: bool,
    offset: i64,
    /// Negative: no limit.
    count: i64,
    with_scores: bool,
}

/// What a command leaves to its options.
#[derive(Clone, Copy)]
struct Fixed {
    by: Option<By>,
    reverse: Option<bool>,
    stores: bool,
}

impl<'a> Request<'a> {
    /// The range at two arguments, and the options behind them.
    fn parse(args: &Args<'a>, at: usize, fixed: Fixed) -> Result<Self, CommandError> {
        let (mut by, mut reverse) = (fixed.by, fixed.reverse);
        let (mut with_scores, mut offset, mut count) = (false, 0, -1);
        let mut words = args.from(at + 2);
        while let Some(word) = words.next() {
            match word.to_ascii_uppercase().as_slice() {
                b"WITHSCORES" if !fixed.stores => with_scores = true,
                b"LIMIT" => {
                    let pair = words.next().zip(words.next());
                    let (first, second) = pair.ok_or(CommandError::Syntax)?;
                    (offset, count) = (parse::integer(first)?, parse::integer(second)?);
                }
                b"REV" if reverse.is_none() => reverse = Some(true),
                b"BYLEX" if by.is_none() => by = Some(By::Name),
                b"BYSCORE" if by.is_none() => by = Some(By::Score),
                _ => return Err(CommandError::Syntax),
            }
        }
        let (by, reverse) = (by.unwrap_or(By::Rank), reverse.unwrap_or(false));
        if count != -1 && by == By::Rank {
            return Err(CommandError::text(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ));
        }
        if with_scores && by == By::Name {
            return Err(CommandError::text(
                "ERR syntax error, WITHSCORES not supported in combination with BYLEX",
            ));
        }
        let (mut from, mut to) = (args.at(at), args.at(at + 1));
        if reverse && by != By::Rank {
            (from, to) = (to, from);
        }
        Ok(Self {
            wanted: Wanted::parse(by, from, to)?,
            reverse,
            offset,
            count,
            with_scores,
        })
    }

    /// The ranks in a sorted set, with the limit.
    fn ranks(&self, zset: ZsetRef<'_>) -> Range<usize> {
        let ranks = self.wanted.ranks(zset, self.reverse);
        let (offset, count) = match self.wanted {
            Wanted::Ranks(..) => return ranks,
            // A negative offset leaves nothing, as in Redis.
            _ => (usize::try_from(self.offset), usize::try_from(self.count)),
        };
        let offset = offset.unwrap_or(usize::MAX).min(ranks.len());
        let count = count.unwrap_or(usize::MAX).min(ranks.len() - offset);
        if self.reverse {
            let end = ranks.end - offset;
            end - count..end
        } else {
            let start = ranks.start + offset;
            start..start + count
        }
    }
}

fn reply_with(cx: &mut Context<'_>, args: &Args<'_>, fixed: Fixed) -> Result<(), CommandError> {
    let request = Request::parse(args, 2, fixed)?;
    let Some(zset) = cx.keys.zset(args.at(1))? else {
        cx.reply.array(0);
        return Ok(());
    };
    let ranks = request.ranks(zset);
    let form = Form::of(request.with_scores, cx.reply);
    form.begin(cx.reply, ranks.len());
    for (name, score) in zset.range(ranks, request.reverse) {
        form.member(cx.reply, name, score);
    }
    Ok(())
}

const fn fixed(by: By, reverse: bool) -> Fixed {
    Fixed {
        by: Some(by),
        reverse: Some(reverse),
        stores: false,
    }
}

fn zrange(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let free = Fixed {
        by: None,
        reverse: None,
        stores: false,
    };
    reply_with(cx, args, free)
}

fn zrevrange(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    reply_with(cx, args, fixed(By::Rank, true))
}

fn zrangebyscore(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    reply_with(cx, args, fixed(By::Score, false))
}

fn zrevrangebyscore(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    reply_with(cx, args, fixed(By::Score, true))
}

fn zrangebylex(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    reply_with(cx, args, fixed(By::Name, false))
}

fn zrevrangebylex(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    reply_with(cx, args, fixed(By::Name, true))
}

fn zrangestore(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let free = Fixed {
        by: None,
        reverse: None,
        stores: true,
    };
    let request = Request::parse(args, 3, free)?;
    let limits = encoding_limits::zset(cx.config);
    let mut stored = Zset::Packed(OneWay::empty());
    if let Some(zset) = cx.keys.zset(args.at(2))? {
        let mut digits = Digits::new();
        for (name, score) in zset.range(request.ranks(zset), request.reverse) {
            stored.set(name.text(&mut digits), score, limits);
        }
    }
    let len = stored.view().len();
    cx.keys.replace(args.at(1), ValueType::Zset, stored);
    cx.reply.count(len);
    Ok(())
}

fn count(cx: &mut Context<'_>, args: &Args<'_>, by: By) -> Result<(), CommandError> {
    let wanted = Wanted::parse(by, args.at(2), args.at(3))?;
    let zset = cx.keys.zset(args.at(1))?;
    cx.reply
        .count(zset.map_or(0, |zset| wanted.ranks(zset, false).len()));
    Ok(())
}

fn zcount(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    count(cx, args, By::Score)
}

fn zlexcount(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    count(cx, args, By::Name)
}

fn remove(cx: &mut Context<'_>, args: &Args<'_>, by: By) -> Result<(), CommandError> {
    let wanted = Wanted::parse(by, args.at(2), args.at(3))?;
    let removed = change(cx, args.at(1), false, |zset| {
        let ranks = wanted.ranks(zset.view(), false);
        let removed = ranks.len();
        zset.remove_range(ranks);
        Ok((removed, removed))
    })?;
    cx.reply.count(removed.unwrap_or(0));
    Ok(())
}

fn zremrangebyrank(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    remove(cx, args, By::Rank)
}

fn zremrangebyscore(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    remove(cx, args, By::Score)
}

fn zremrangebylex(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    remove(cx, args, By::Name)
}
