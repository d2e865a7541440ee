//! What several sorted sets have together. A set is as good as a sorted set whose scores are all 1.

use std::collections::HashMap;

use super::super::argument::{KEY, after, flagged, key, multiple, oneof, optional, word};
use super::super::{Argument, Arity::*, Command, Context, Flags, KeySpec, parse};
use super::{Form, ROW};
use crate::engine::encoding_limits;
use crate::error::CommandError;
use crate::keyspace::entry::ValueType;
use crate::resp::Args;
use crate::value::listpack::{Digits, Element};
use crate::value::number;
use crate::value::set::SetRef;
use crate::value::sorted_set::compare;
use crate::value::zset::{Zset, ZsetRef};

const NUMKEYS: Argument = Argument::new("numkeys", "integer");
const KEYS: Argument = multiple(KEY);
const DESTINATION: Argument = key("destination", 0);
const SOURCES: Argument = multiple(key("key", 1));
const WEIGHTS: Argument = after(
    "WEIGHTS",
    flagged(
        &["optional", "multiple"],
        Argument::new("weight", "integer"),
    ),
);
const AGGREGATE: Argument = optional(after(
    "AGGREGATE",
    oneof(
        "aggregate",
        &[word("sum", "SUM"), word("min", "MIN"), word("max", "MAX")],
    ),
));
const WITH_SCORES: Argument = optional(word("withscores", "WITHSCORES"));

/// The rows of this part.
pub(in crate::command) const COMMANDS: &[Command] = &[
    Command {
        name: "zunion",
        run: zunion,
        complexity: ALL,
        summary: "Returns the members that any of several sorted sets has.",
        arguments: &[NUMKEYS, KEYS, WEIGHTS, AGGREGATE, WITH_SCORES],
        ..RETURN
    },
    Command {
        name: "zinter",
        run: zinter,
        complexity: COMMON,
        summary: "Returns the members that all of several sorted sets have.",
        arguments: &[NUMKEYS, KEYS, WEIGHTS, AGGREGATE, WITH_SCORES],
        ..RETURN
    },
    Command {
        name: "zdiff",
        run: zdiff,
        complexity: ALL,
        summary: "Returns the members of a sorted set that no other one has.",
        arguments: &[NUMKEYS, KEYS, WITH_SCORES],
        ..RETURN
    },
    Command {
        name: "zintercard",
        run: zintercard,
        since: "7.0.0",
        complexity: COMMON,
        summary: "Tells how many members all of several sorted sets have.",
        arguments: &[
            NUMKEYS,
            KEYS,
            optional(after("LIMIT", Argument::new("limit", "integer"))),
        ],
        ..RETURN
    },
    Command {
        name: "zunionstore",
        run: zunionstore,
        complexity: ALL,
        summary: "Stores the members that any of several sorted sets has.",
        arguments: &[DESTINATION, NUMKEYS, SOURCES, WEIGHTS, AGGREGATE],
        ..STORE
    },
    Command {
        name: "zinterstore",
        run: zinterstore,
        complexity: COMMON,
        summary: "Stores the members that all of several sorted sets have.",
        arguments: &[DESTINATION, NUMKEYS, SOURCES, WEIGHTS, AGGREGATE],
        ..STORE
    },
    Command {
        name: "zdiffstore",
        run: zdiffstore,
        since: "6.2.0",
        complexity: ALL,
        summary: "Stores the members of a sorted set that no other one has.",
        arguments: &[DESTINATION, NUMKEYS, SOURCES],
        ..STORE
    },
];

const ALL: &str = "O(N)+O(M*log(M)) with N members in all and M in the result.";
const COMMON: &str =
    "O(N*K)+O(M*log(M)) with N members of the smallest, K keys and M members in the result.";

/// What the commands that reply have in common.
const RETURN: Command = Command {
    arity: AtLeast(3),
    keys: &[KeySpec::counted(1, &["RO", "access"])],
    flags: Flags::READONLY.and(Flags::MOVABLE_KEYS),
    since: "6.2.0",
    ..ROW
};

/// What those that store have in common.
const STORE: Command = Command {
    arity: AtLeast(4),
    keys: &[
        KeySpec::at(1, &["OW", "update"]),
        KeySpec::counted(2, &["RO", "access"]),
    ],
    flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::MOVABLE_KEYS),
    since: "2.0.0",
    ..ROW
};

/// How sorted sets are combined.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Combine {
    Union,
    Intersection,
    Difference,
}

/// What becomes of the scores of a member that several have.
#[derive(Clone, Copy)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn of(self, score: f64, other: f64) -> f64 {
        match self {
            // Infinities of both signs together are 0.
            Self::Sum => not_nan(score + other),
            Self::Min if other < score => other,
            Self::Max if other > score => other,
            Self::Min | Self::Max => score,
        }
    }
}

fn not_nan(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// One of the sets to be combined.
#[derive(Clone, Copy)]
enum Source<'a> {
    None,
    Set(SetRef<'a>),
    Zset(ZsetRef<'a>),
}

impl<'a> Source<'a> {
    /// The one at a key that was read before.
    fn at(cx: &'a Context<'_>, key: &[u8]) -> Self {
        match (cx.keys.view_zset(key), cx.keys.view_set(key)) {
            (Some(zset), _) => Self::Zset(zset),
            (None, Some(set)) => Self::Set(set),
            (None, None) => Self::None,
        }
    }

    fn len(self) -> usize {
        match self {
            Self::None => 0,
            Self::Set(set) => set.len(),
            Self::Zset(zset) => zset.len(),
        }
    }

    fn score(self, name: &[u8]) -> Option<f64> {
        match self {
            Self::None => None,
            Self::Set(set) => set.has(name).then_some(1.0),
            Self::Zset(zset) => zset.score(name),
        }
    }

    fn iter(self) -> impl Iterator<Item = (Element<'a>, f64)> {
        let (set, zset) = match self {
            Self::None => (None, None),
            Self::Set(set) => (Some(set), None),
            Self::Zset(zset) => (None, Some(zset)),
        };
        let members = set.into_iter().flat_map(SetRef::iter);
        let members = members.map(|name| (name, 1.0));
        members.chain(zset.into_iter().flat_map(ZsetRef::iter))
    }
}

/// A request, read.
struct Request {
    /// Where its keys stand.
    keys: std::ops::Range<usize>,
    weights: Vec<f64>,
    aggregate: Aggregate,
    with_scores: bool,
    /// The most members that ZINTERCARD counts.
    most: usize,
}

/// Which options a command has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Returns,
    Stores,
    Counts,
}

impl Request {
    /// The number of keys at an argument, the keys and the options behind them. The keys are read as the command's accesses.
    fn parse(
        cx: &mut Context<'_>,
        args: &Args<'_>,
        at: usize,
        (command, how, kind): (&str, Combine, Kind),
    ) -> Result<Self, CommandError> {
        let count = parse::integer(args.at(at))?;
        let count = usize::try_from(count).ok().filter(|count| *count > 0);
        let count = count.ok_or_else(|| {
            CommandError::message(format!(
                "ERR at least 1 input key is needed for '{command}' command"
            ))
        })?;
        let first = at + 1;
        if count > args.len() - first {
            return Err(CommandError::Syntax);
        }
        let mut request = Self {
            keys: first..first + count,
            weights: vec![1.0; count],
            aggregate: Aggregate::Sum,
            with_scores: false,
            most: usize::MAX,
        };
        for key in request.keys.clone() {
            cx.keys.set_or_zset(args.at(key))?;
        }
        let mut at = request.keys.end;
        while let Some(word) = args.get(at) {
            let left = args.len() - at;
            let weighs = how != Combine::Difference && kind != Kind::Counts;
            match word.to_ascii_uppercase().as_slice() {
                b"WEIGHTS" if weighs && left > count => {
                    for (weight, text) in request.weights.iter_mut().zip(args.from(at + 1)) {
                        let parsed = number::parse_f64(text);
                        *weight =
                            parsed.ok_or(CommandError::text("ERR weight value is not a float"))?;
                    }
                    at += count + 1;
                }
                b"AGGREGATE" if weighs && left > 1 => {
                    request.aggregate = match args.at(at + 1).to_ascii_uppercase().as_slice() {
                        b"SUM" => Aggregate::Sum,
                        b"MIN" => Aggregate::Min,
                        b"MAX" => Aggregate::Max,
                        _ => return Err(CommandError::Syntax),
                    };
                    at += 2;
                }
                b"WITHSCORES" if kind == Kind::Returns => {
                    request.with_scores = true;
                    at += 1;
                }
                b"LIMIT" if kind == Kind::Counts && left > 1 => {
                    request.most = parse::limit(args.at(at + 1))?;
                    at += 2;
                }
                _ => return Err(CommandError::Syntax),
            }
        }
        Ok(request)
    }

    /// The members of the result with their scores, in no order.
    fn combine(&self, cx: &Context<'_>, args: &Args<'_>, how: Combine) -> Vec<(Vec<u8>, f64)> {
        let sources = self.keys.clone().map(|key| Source::at(cx, args.at(key)));
        let mut sources: Vec<_> = sources.zip(self.weights.iter().copied()).collect();
        if how != Combine::Difference {
            sources.sort_by_key(|(source, _)| source.len());
        }
        match how {
            Combine::Union => self.union(&sources),
            Combine::Intersection => self.intersection(&sources),
            Combine::Difference => difference(&sources),
        }
    }

    fn union(&self, sources: &[(Source<'_>, f64)]) -> Vec<(Vec<u8>, f64)> {
        let mut scores: HashMap<Vec<u8>, f64> = HashMap::new();
        for (source, weight) in sources {
            for (name, score) in source.iter() {
                let score = not_nan(weight * score);
                let together = scores.entry(name.to_vec());
                together
                    .and_modify(|old| *old = self.aggregate.of(*old, score))
                    .or_insert(score);
            }
        }
        scores.into_iter().collect()
    }

    fn intersection(&self, sources: &[(Source<'_>, f64)]) -> Vec<(Vec<u8>, f64)> {
        let Some(((smallest, weight), others)) = sources.split_first() else {
            return Vec::new();
        };
        let mut digits = Digits::new();
        let members = smallest.iter().filter_map(|(name, score)| {
            let text = name.text(&mut digits);
            let mut together = not_nan(weight * score);
            for (other, weight) in others {
                together = self.aggregate.of(together, weight * other.score(text)?);
            }
            Some((text.to_vec(), together))
        });
        members.take(self.most).collect()
    }
}

fn difference(sources: &[(Source<'_>, f64)]) -> Vec<(Vec<u8>, f64)> {
    let Some(((first, _), others)) = sources.split_first() else {
        return Vec::new();
    };
    let mut digits = Digits::new();
    let members = first.iter().filter_map(|(name, score)| {
        let text = name.text(&mut digits);
        let is_elsewhere = others.iter().any(|(other, _)| other.score(text).is_some());
        (!is_elsewhere).then(|| (text.to_vec(), score))
    });
    members.collect()
}

fn reply_with(
    cx: &mut Context<'_>,
    args: &Args<'_>,
    command: &str,
    how: Combine,
) -> Result<(), CommandError> {
    let request = Request::parse(cx, args, 1, (command, how, Kind::Returns))?;
    let mut members = request.combine(cx, args, how);
    members.sort_by(|a, b| compare((a.1, &a.0), (b.1, &b.0)));
    let form = Form::of(request.with_scores, cx.reply);
    form.begin(cx.reply, members.len());
    for (name, score) in &members {
        form.member(cx.reply, Element::Text(name), *score);
    }
    Ok(())
}

fn store(
    cx: &mut Context<'_>,
    args: &Args<'_>,
    command: &str,
    how: Combine,
) -> Result<(), CommandError> {
    let request = Request::parse(cx, args, 2, (command, how, Kind::Stores))?;
    let limits = encoding_limits::zset(cx.config);
    let members = request.combine(cx, args, how);
    let zset = Zset::of_members(&members, limits);
    cx.keys.replace(args.at(1), ValueType::Zset, zset);
    cx.reply.count(members.len());
    Ok(())
}

fn zunion(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    reply_with(cx, args, "zunion", Combine::Union)
}

fn zinter(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    reply_with(cx, args, "zinter", Combine::Intersection)
}

fn zdiff(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    reply_with(cx, args, "zdiff", Combine::Difference)
}

fn zunionstore(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    store(cx, args, "zunionstore", Combine::Union)
}

fn zinterstore(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    store(cx, args, "zinterstore", Combine::Intersection)
}

fn zdiffstore(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    store(cx, args, "zdiffstore", Combine::Difference)
}

fn zintercard(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let how = Combine::Intersection;
    let request = Request::parse(cx, args, 1, ("zintercard", how, Kind::Counts))?;
    let members = request.combine(cx, args, how);
    cx.reply.count(members.len());
    Ok(())
}
