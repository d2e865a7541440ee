//! Members one by one: set, looked up, taken out, walked over.

use super::super::argument::{self, KEY, after, block, multiple, oneof, optional, since, word};
use super::super::blocking::{self, Waits};
use super::super::random_elements;
use super::super::{Argument, Arity::*, Command, Context, Flags, KeySpec, parse, scan};
use super::{ADD, DELETE, Form, MEMBER, READ, READ_FAST, ROW, WRITE_FAST, change};
use crate::engine::encoding_limits;
use crate::error::CommandError;
use crate::keyspace::entry::ValueType;
use crate::random::Random;
use crate::resp::{Args, Reply};
use crate::server::suspended::Stop;
use crate::value::listpack::{Digits, Element};
use crate::value::number;
use crate::value::zset::{MEMBERS_MAX, Upsert, Zset, ZsetRef};

const TAKE: &[&str] = &["RW", "access", "delete"];
const WHERE: Argument = oneof("where", &[word("min", "MIN"), word("max", "MAX")]);

/// The rows of this part.
pub(in crate::command) const COMMANDS: &[Command] = &[
    Command {
        name: "zadd",
        arity: AtLeast(4),
        keys: &[KeySpec::at(1, &["RW", "update"])],
        flags: ADD,
        run: zadd,
        complexity: "O(log(N)) for each member.",
        summary: "Gives members of a sorted set their scores; tells how many of them are new.",
        arguments: &[
            KEY,
            since(
                "3.0.2",
                optional(oneof("condition", &[word("nx", "NX"), word("xx", "XX")])),
            ),
            since(
                "6.2.0",
                optional(oneof("comparison", &[word("gt", "GT"), word("lt", "LT")])),
            ),
            since("3.0.2", optional(word("change", "CH"))),
            since("3.0.2", optional(word("increment", "INCR"))),
            multiple(block(
                "score_member",
                &[Argument::new("score", "double"), MEMBER],
            )),
        ],
        ..ROW
    },
    Command {
        name: "zincrby",
        arity: Exactly(4),
        keys: &[KeySpec::at(1, &["RW", "access", "update"])],
        flags: ADD,
        run: zincrby,
        complexity: "O(log(N))",
        summary: "Adds a number to the score of a member; a missing one counts as 0.",
        arguments: &[KEY, Argument::new("increment", "integer"), MEMBER],
        ..ROW
    },
    Command {
        name: "zrem",
        arity: AtLeast(3),
        keys: DELETE,
        flags: WRITE_FAST,
        run: zrem,
        complexity: "O(log(N)) for each member.",
        summary: "Takes members out of a sorted set; the last one takes the key with it.",
        arguments: &[KEY, multiple(MEMBER)],
        ..ROW
    },
    Command {
        name: "zcard",
        arity: Exactly(2),
        keys: &[KeySpec::at(1, &["RO"])],
        flags: READ_FAST,
        run: zcard,
        summary: "Tells how many members a sorted set has.",
        arguments: &[KEY],
        ..ROW
    },
    Command {
        name: "zscore",
        arity: Exactly(3),
        keys: READ,
        flags: READ_FAST,
        run: zscore,
        summary: "Returns the score of a member.",
        arguments: &[KEY, MEMBER],
        ..ROW
    },
    Command {
        name: "zmscore",
        arity: AtLeast(3),
        keys: READ,
        flags: READ_FAST,
        run: zmscore,
        since: "6.2.0",
        complexity: "O(1) for each member.",
        summary: "Returns the scores of several members.",
        arguments: &[KEY, multiple(MEMBER)],
        ..ROW
    },
    Command {
        name: "zrank",
        run: zrank,
        summary: "Tells how many members have lower scores than this one.",
        ..RANK
    },
    Command {
        name: "zrevrank",
        run: zrevrank,
        summary: "Tells how many members have higher scores than this one.",
        ..RANK
    },
    Command {
        name: "zpopmin",
        run: zpopmin,
        summary: "Takes the members with the lowest scores out and returns them.",
        ..POP
    },
    Command {
        name: "zpopmax",
        run: zpopmax,
        summary: "Takes the members with the highest scores out and returns them.",
        ..POP
    },
    Command {
        name: "zmpop",
        arity: AtLeast(4),
        keys: &[KeySpec::counted(1, TAKE)],
        flags: Flags::WRITE.and(Flags::MOVABLE_KEYS),
        run: zmpop,
        since: "7.0.0",
        complexity: "O(K) + O(log(N)) for each member, with K keys.",
        summary: "Takes members out of the first of several sorted sets that has any.",
        arguments: &[
            Argument::new("numkeys", "integer"),
            multiple(KEY),
            WHERE,
            optional(after("COUNT", Argument::new("count", "integer"))),
        ],
        ..ROW
    },
    Command {
        name: "bzpopmin",
        run_or_suspend: Some(|cx, args| pop_or_wait(cx, args, &FIRST)),
        summary: "Takes the member with the lowest score out of the first of several sorted sets that has any; waits for one.",
        ..WAIT_AND_POP
    },
    Command {
        name: "bzpopmax",
        run_or_suspend: Some(|cx, args| pop_or_wait(cx, args, &LAST)),
        summary: "Takes the member with the highest score out of the first of several sorted sets that has any; waits for one.",
        ..WAIT_AND_POP
    },
    Command {
        name: "bzmpop",
        arity: AtLeast(5),
        keys: &[KeySpec::counted(2, TAKE)],
        flags: Flags::WRITE.and(Flags::MOVABLE_KEYS).and(Flags::BLOCKING),
        run_or_suspend: Some(bzmpop),
        since: "7.0.0",
        complexity: "O(K) + O(log(N)) for each member, with K keys.",
        summary: "Takes members out of the first of several sorted sets that has any; waits for them.",
        arguments: &[
            TIMEOUT,
            Argument::new("numkeys", "integer"),
            multiple(KEY),
            WHERE,
            optional(after("COUNT", Argument::new("count", "integer"))),
        ],
        ..ROW
    },
    Command {
        name: "zrandmember",
        arity: AtLeast(2),
        keys: READ,
        flags: Flags::READONLY,
        run: zrandmember,
        since: "6.2.0",
        complexity: "O(1) for each member that is returned.",
        summary: "Returns members of a sorted set by chance.",
        tips: &["nondeterministic_output"],
        arguments: &[
            KEY,
            optional(block(
                "options",
                &[
                    Argument::new("count", "integer"),
                    optional(word("withscores", "WITHSCORES")),
                ],
            )),
        ],
        ..ROW
    },
    Command {
        name: "zscan",
        arity: AtLeast(3),
        keys: READ,
        flags: Flags::READONLY,
        run: zscan,
        since: "2.8.0",
        complexity: "O(1) for each member that is looked at.",
        summary: "Walks over the members of a sorted set, some in each call.",
        tips: &["nondeterministic_output"],
        arguments: &[
            KEY,
            Argument::new("cursor", "integer"),
            optional(after("MATCH", Argument::new("pattern", "pattern"))),
            optional(after("COUNT", Argument::new("count", "integer"))),
            optional(since("9.0.0", word("noscores", "NOSCORES"))),
        ],
        ..ROW
    },
];

/// What ZRANK and ZREVRANK have in common.
const RANK: Command = Command {
    arity: AtLeast(3),
    keys: READ,
    flags: READ_FAST,
    since: "2.0.0",
    complexity: "O(log(N))",
    arguments: &[
        argument::KEY,
        MEMBER,
        argument::optional(argument::since(
            "7.2.0",
            argument::word("withscore", "WITHSCORE"),
        )),
    ],
    ..ROW
};

/// What ZPOPMIN and ZPOPMAX have in common.
const POP: Command = Command {
    arity: AtLeast(2),
    keys: &[KeySpec::at(1, TAKE)],
    flags: WRITE_FAST,
    since: "5.0.0",
    complexity: "O(log(N)) for each member.",
    arguments: &[KEY, Argument::optional("count", "integer")],
    ..ROW
};

const TIMEOUT: Argument = Argument::new("timeout", "double");

/// What BZPOPMIN and BZPOPMAX have in common.
const WAIT_AND_POP: Command = Command {
    arity: AtLeast(3),
    keys: &[KeySpec::range(1, -2, 1, TAKE)],
    flags: WRITE_FAST.and(Flags::BLOCKING),
    since: "5.0.0",
    complexity: "O(log(N))",
    arguments: &[multiple(KEY), TIMEOUT],
    ..ROW
};

/// The words before the scores of ZADD.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::command) struct Options {
    only_new: bool,
    only_old: bool,
    only_greater: bool,
    only_less: bool,
    count_changed: bool,
    increment: bool,
}

/// What became of one member.
enum Outcome {
    /// It was left alone, as the options say.
    Refused,
    /// It has this score now.
    Set(Upsert, f64),
}

impl Options {
    /// Takes a word in; false if it is none of the options.
    fn take(&mut self, word: &[u8]) -> bool {
        let option = match word.to_ascii_uppercase().as_slice() {
            b"NX" => &mut self.only_new,
            b"XX" => &mut self.only_old,
            b"GT" => &mut self.only_greater,
            b"LT" => &mut self.only_less,
            b"CH" => &mut self.count_changed,
            b"INCR" => &mut self.increment,
            _ => return false,
        };
        *option = true;
        true
    }

    /// The same for GEOADD, which has fewer.
    pub(in crate::command) fn take_of_geoadd(&mut self, word: &[u8]) -> bool {
        let is_known = [&b"NX"[..], b"XX", b"CH"]
            .iter()
            .any(|known| word.eq_ignore_ascii_case(known));
        is_known && self.take(word)
    }

    /// Whether no member can be both.
    pub(in crate::command) fn contradict(self) -> bool {
        self.only_new && self.only_old
    }

    /// Whether the old score does not matter.
    fn is_plain(self) -> bool {
        let count_changed = self.count_changed;
        self == Self {
            count_changed,
            ..Self::default()
        }
    }

    fn check(self, pairs: usize) -> Result<(), CommandError> {
        if self.contradict() {
            return Err(CommandError::text(
                "ERR XX and NX options at the same time are not compatible",
            ));
        }
        if [self.only_new, self.only_greater, self.only_less]
            .into_iter()
            .filter(|chosen| *chosen)
            .count()
            > 1
        {
            return Err(CommandError::text(
                "ERR GT, LT, and/or NX options at the same time are not compatible",
            ));
        }
        if self.increment && pairs > 1 {
            return Err(CommandError::text(
                "ERR INCR option supports a single increment-element pair",
            ));
        }
        Ok(())
    }

    /// The score that a member is to have; `None` if it is to be left alone.
    fn score(self, old: Option<f64>, given: f64) -> Result<Option<f64>, CommandError> {
        let Some(old) = old else {
            return Ok((!self.only_old).then_some(given));
        };
        if self.only_new {
            return Ok(None);
        }
        let score = if self.increment { old + given } else { given };
        if score.is_nan() {
            return Err(CommandError::text(
                "ERR resulting score is not a number (NaN)",
            ));
        }
        let refused = self.only_greater && score <= old || self.only_less && score >= old;
        Ok((!refused).then_some(score))
    }
}

fn zadd(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let (mut options, mut from) = (Options::default(), 2);
    while args.get(from).is_some_and(|word| options.take(word)) {
        from += 1;
    }
    let rest = args.len() - from;
    if rest == 0 || !rest.is_multiple_of(2) {
        return Err(CommandError::Syntax);
    }
    options.check(rest / 2)?;
    let scores = (from..args.len()).step_by(2);
    let scores = scores.map(|at| number::parse_f64(args.at(at)).ok_or(CommandError::NotFloat));
    let scores: smallvec::SmallVec<[f64; 4]> = scores.collect::<Result<_, _>>()?;
    let pairs = scores.iter().enumerate();
    let pairs = pairs.map(|(nth, score)| (*score, args.at(from + 2 * nth + 1)));
    set_all(cx, args.at(1), options, pairs)
}

fn zincrby(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let options = Options {
        increment: true,
        ..Options::default()
    };
    let increment = number::parse_f64(args.at(2)).ok_or(CommandError::NotFloat)?;
    let pair = std::iter::once((increment, args.at(3)));
    set_all(cx, args.at(1), options, pair)
}

pub(in crate::command) fn set_all<'p>(
    cx: &mut Context<'_>,
    key: &[u8],
    options: Options,
    pairs: impl Iterator<Item = (f64, &'p [u8])>,
) -> Result<(), CommandError> {
    let limits = encoding_limits::zset(cx.config);
    let (mut added, mut moved, mut last) = (0, 0, None);
    let done = change(cx, key, !options.only_old, |zset| {
        for (given, name) in pairs {
            if let Outcome::Set(change, score) = set(zset, options, (name, given), limits)? {
                added += usize::from(change == Upsert::Added);
                moved += usize::from(change == Upsert::Moved);
                last = Some(score);
            }
        }
        Ok(((), added + moved))
    });
    done?;
    match (options.increment, last) {
        (false, _) if options.count_changed => cx.reply.count(added + moved),
        (false, _) => cx.reply.count(added),
        (true, Some(score)) => cx.reply.double(score),
        (true, None) => cx.reply.nil(),
    }
    Ok(())
}

fn set(
    zset: &mut Zset,
    options: Options,
    (name, given): (&[u8], f64),
    limits: crate::value::hash::PackedLimits,
) -> Result<Outcome, CommandError> {
    // A plain ZADD need not know what was before.
    let score = if options.is_plain() {
        Some(given)
    } else {
        options.score(zset.view().score(name), given)?
    };
    let Some(score) = score else {
        return Ok(Outcome::Refused);
    };
    if zset.view().len() >= MEMBERS_MAX {
        return Err(CommandError::text(
            "ERR the sorted set has too many members",
        ));
    }
    Ok(Outcome::Set(zset.set(name, score, limits), score))
}

fn zrem(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let removed = change(cx, args.at(1), false, |zset| {
        let removed = args.from(2).filter(|member| zset.remove(member)).count();
        Ok((removed, removed))
    })?;
    cx.reply.count(removed.unwrap_or(0));
    Ok(())
}

fn zcard(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let zset = cx.keys.zset(args.at(1))?;
    cx.reply.count(zset.map_or(0, ZsetRef::len));
    Ok(())
}

fn zscore(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let zset = cx.keys.zset(args.at(1))?;
    match zset.and_then(|zset| zset.score(args.at(2))) {
        Some(score) => cx.reply.double(score),
        None => cx.reply.nil(),
    }
    Ok(())
}

fn zmscore(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let zset = cx.keys.zset(args.at(1))?;
    cx.reply.array(args.len() - 2);
    for member in args.from(2) {
        match zset.and_then(|zset| zset.score(member)) {
            Some(score) => cx.reply.double(score),
            None => cx.reply.nil(),
        }
    }
    Ok(())
}

fn zrank(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    reply_with_rank(cx, args, "zrank", false)
}

fn zrevrank(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    reply_with_rank(cx, args, "zrevrank", true)
}

fn reply_with_rank(
    cx: &mut Context<'_>,
    args: &Args<'_>,
    command: &'static str,
    reverse: bool,
) -> Result<(), CommandError> {
    let with_score = match args.len() {
        3 => false,
        4 if args.at(3).eq_ignore_ascii_case(b"WITHSCORE") => true,
        4 => return Err(CommandError::Syntax),
        _ => return Err(CommandError::WrongArity(command.into())),
    };
    let zset = cx.keys.zset(args.at(1))?;
    let found = zset.and_then(|zset| {
        let (rank, score) = (zset.rank(args.at(2))?, zset.score(args.at(2))?);
        Some((if reverse { zset.len() - 1 - rank } else { rank }, score))
    });
    match (found, with_score) {
        (Some((rank, score)), true) => {
            cx.reply.array(2);
            cx.reply.count(rank);
            cx.reply.double(score);
        }
        (Some((rank, _)), false) => cx.reply.count(rank),
        (None, true) => cx.reply.nil_array(),
        (None, false) => cx.reply.nil(),
    }
    Ok(())
}

fn zpopmin(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    pop(cx, args, false)
}

fn zpopmax(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    pop(cx, args, true)
}

fn pop(cx: &mut Context<'_>, args: &Args<'_>, last: bool) -> Result<(), CommandError> {
    if args.len() > 3 {
        return Err(CommandError::Syntax);
    }
    let count = args.get(2).map(parse::count).transpose()?;
    // Without a count the only pair is the reply.
    let form = match count {
        Some(_) => Form::of(true, cx.reply),
        None => Form::Flat,
    };
    let count = count.unwrap_or(1);
    let begin = |reply: &mut Reply, count| form.begin(reply, count);
    if !take(cx, args.at(1), last, count, form, begin)? {
        form.begin(cx.reply, 0);
    }
    Ok(())
}

/// Takes the first or the last members out and replies with them; `head` writes what stands before them, of which it is told
/// how many they are. False where there is no such key.
fn take(
    cx: &mut Context<'_>,
    key: &[u8],
    last: bool,
    count: usize,
    form: Form,
    head: impl FnOnce(&mut Reply, usize),
) -> Result<bool, CommandError> {
    let Context { keys, reply, .. } = cx;
    let taken = keys.change(key, ValueType::Zset, false, |zset: &mut Zset| {
        let count = count.min(zset.view().len());
        head(reply, count);
        for _ in 0..count {
            zset.pop_with(last, |name, score| form.member(reply, name, score));
        }
        Ok(((), count))
    })?;
    Ok(taken.is_some())
}

fn zmpop(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let at = parse::numkeys(args, 1)?;
    let last = is_max(args.at(at))?;
    let count = parse::count_option(args, at + 1)?;
    for index in 2..at {
        if reply_with_members(cx, args.at(index), last, count)? {
            return Ok(());
        }
    }
    cx.reply.nil_array();
    Ok(())
}

/// Takes members out and replies with them and their key. False where there are none.
fn reply_with_members(
    cx: &mut Context<'_>,
    key: &[u8],
    last: bool,
    count: usize,
) -> Result<bool, CommandError> {
    take(cx, key, last, count, Form::Pairs, |reply, count| {
        reply.array(2);
        reply.bulk(key);
        Form::Pairs.begin(reply, count);
    })
}

/// Takes a member out and replies with its key, it and its score. False where there is none.
fn reply_with_member(cx: &mut Context<'_>, key: &[u8], last: bool) -> Result<bool, CommandError> {
    take(cx, key, last, 1, Form::Flat, |reply, _| {
        reply.array(3);
        reply.bulk(key);
    })
}

/// BZPOPMIN.
const FIRST: Waits = Waits {
    event: &"zpopmin",
    serve: |cx, _, key| reply_with_member(cx, key, false),
    ..Waits::ZSET
};
/// BZPOPMAX.
const LAST: Waits = Waits {
    event: &"zpopmax",
    serve: |cx, _, key| reply_with_member(cx, key, true),
    ..Waits::ZSET
};
/// BZMPOP.
const SEVERAL: Waits = Waits {
    serve: |cx, args, key| {
        let at = parse::numkeys(args, 2)?;
        let count = parse::count_option(args, at + 1)?;
        reply_with_members(cx, key, is_max(args.at(at))?, count)
    },
    ..Waits::ZSET
};

fn pop_or_wait(cx: &mut Context<'_>, args: &Args<'_>, waits: &'static Waits) -> Result<(), Stop> {
    let end = args.len() - 1;
    let until = blocking::until(args.at(end), cx.now)?;
    let keys = (1..end).map(|at| args.at(at));
    blocking::serve_or_wait(cx, args, keys, until, waits)
}

fn bzmpop(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), Stop> {
    let at = parse::numkeys(args, 2)?;
    is_max(args.at(at))?;
    parse::count_option(args, at + 1)?;
    let until = blocking::until(args.at(1), cx.now)?;
    let keys = (3..at).map(|at| args.at(at));
    blocking::serve_or_wait(cx, args, keys, until, &SEVERAL)
}

/// MAX, and not MIN.
fn is_max(word: &[u8]) -> Result<bool, CommandError> {
    match word.to_ascii_uppercase().as_slice() {
        b"MIN" => Ok(false),
        b"MAX" => Ok(true),
        _ => Err(CommandError::Syntax),
    }
}

fn zrandmember(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let mut random = Random(cx.random);
    if args.len() == 2 {
        let zset = cx.keys.zset(args.at(1))?;
        match zset.and_then(|zset| zset.random(random.next_u64())) {
            Some((name, _)) => cx.reply.bulk(name.text(&mut Digits::new())),
            None => cx.reply.nil(),
        }
        return Ok(());
    }
    let (count, with_scores) = random_elements::count_with(args, b"WITHSCORES")?;
    let Some(zset) = cx.keys.zset(args.at(1))? else {
        cx.reply.array(0);
        return Ok(());
    };
    let draw = |random: &mut Random| zset.random(random.next_u64());
    let name = |(name, _): &(Element<'_>, f64)| name.to_vec();
    let chosen =
        random_elements::chosen((count, zset.len()), zset.iter(), &mut random, draw, name)?;
    let form = Form::of(with_scores, cx.reply);
    form.begin(cx.reply, chosen.len());
    for (name, score) in chosen {
        form.member(cx.reply, name, score);
    }
    Ok(())
}

fn zscan(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let cursor = number::parse_u64(args.at(2)).ok_or(CommandError::InvalidCursor)?;
    let Some(zset) = cx.keys.zset(args.at(1))? else {
        scan::reply_with_nothing(cx.reply);
        return Ok(());
    };
    let options = parse::ScanOptions::of(args, scan::COUNT, Some(b"NOSCORES"))?;
    let mut shown = Vec::new();
    let next = match zset {
        // Scores as they are written there.
        ZsetRef::Packed(pack) => {
            let mut texts = pack.iter().map(|placed| placed.element.to_vec());
            let pairs = std::iter::from_fn(|| Some([texts.next()?, texts.next()?]));
            shown.extend(pairs);
            0
        }
        ZsetRef::Large(members) => members.scan(cursor, options.count, |member| {
            let score = number::format_17_digits(member.score());
            shown.push([member.name().to_vec(), score]);
        }),
    };
    scan::reply_with_pairs(cx.reply, next, shown, &options);
    Ok(())
}
