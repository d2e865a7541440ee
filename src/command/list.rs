//! Lists: texts in an order, added and taken at both ends.

use super::argument::{KEY, after, key, multiple, oneof, optional, since, word};
use super::blocking::{self, Waits};
use super::{Argument, Arity::*, Command, Context, Flags, Group, KeySpec, parse};
use crate::engine::encoding_limits;
use crate::error::CommandError;
use crate::keyspace::Amount;
use crate::keyspace::entry::ValueType;
use crate::resp::{Args, Reply};
use crate::server::suspended::Stop;
use crate::value::list::{End, List, ListRef};
use crate::value::listpack::{Digits, Element};

const ELEMENT: Argument = Argument::new("element", "string");
const COUNT: Argument = optional(since("6.2.0", Argument::new("count", "integer")));
const ENDS: &[Argument] = &[word("left", "LEFT"), word("right", "RIGHT")];

const READ: &[KeySpec] = &[KeySpec::at(1, &["RO", "access"])];
const INSERT: &[KeySpec] = &[KeySpec::at(1, &["RW", "insert"])];
const TAKE: &[KeySpec] = &[KeySpec::at(1, &["RW", "access", "delete"])];
const DELETE: &[KeySpec] = &[KeySpec::at(1, &["RW", "delete"])];
const MOVE: &[KeySpec] = &[
    KeySpec::at(1, &["RW", "access", "delete"]),
    KeySpec::at(2, &["RW", "insert"]),
];
const WRITE_FAST: Flags = Flags::WRITE.and(Flags::FAST);
const ADD: Flags = Flags::WRITE.and(Flags::DENYOOM);

/// The rows of this family.
pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "lpush",
        run: |cx, args| push(cx, args, End::Head, true),
        summary: "Adds elements at the head of a list; the last one comes first.",
        ..PUSH
    },
    Command {
        name: "rpush",
        run: |cx, args| push(cx, args, End::Tail, true),
        summary: "Adds elements at the tail of a list.",
        ..PUSH
    },
    Command {
        name: "lpushx",
        run: |cx, args| push(cx, args, End::Head, false),
        since: "2.2.0",
        summary: "Adds elements at the head of a list that exists.",
        ..PUSH
    },
    Command {
        name: "rpushx",
        run: |cx, args| push(cx, args, End::Tail, false),
        since: "2.2.0",
        summary: "Adds elements at the tail of a list that exists.",
        ..PUSH
    },
    Command {
        name: "lpop",
        run: |cx, args| pop(cx, args, End::Head, "lpop"),
        summary: "Takes elements from the head of a list; the last one takes the key with it.",
        ..POP
    },
    Command {
        name: "rpop",
        run: |cx, args| pop(cx, args, End::Tail, "rpop"),
        summary: "Takes elements from the tail of a list; the last one takes the key with it.",
        ..POP
    },
    Command {
        name: "llen",
        arity: Exactly(2),
        keys: &[KeySpec::at(1, &["RO"])],
        flags: Flags::READONLY.and(Flags::FAST),
        run: llen,
        summary: "Tells how many elements a list has.",
        arguments: &[KEY],
        ..ROW
    },
    Command {
        name: "lindex",
        arity: Exactly(3),
        keys: READ,
        flags: Flags::READONLY,
        run: lindex,
        complexity: "O(N) in the number of elements up to the one asked for, from the nearer end.",
        summary: "Returns an element of a list.",
        arguments: &[KEY, Argument::new("index", "integer")],
        ..ROW
    },
    Command {
        name: "lset",
        arity: Exactly(4),
        keys: &[KeySpec::at(1, &["RW", "update"])],
        flags: ADD,
        run: lset,
        complexity: "O(N) in the number of elements up to the one that is set, from the nearer end.",
        summary: "Replaces an element of a list.",
        arguments: &[KEY, Argument::new("index", "integer"), ELEMENT],
        ..ROW
    },
    Command {
        name: "lrange",
        arity: Exactly(4),
        keys: READ,
        flags: Flags::READONLY,
        run: lrange,
        complexity: "O(S+N): elements up to the first one, from the nearer end, and those returned.",
        summary: "Returns elements of a list.",
        arguments: RANGE,
        ..ROW
    },
    Command {
        name: "ltrim",
        arity: Exactly(4),
        keys: DELETE,
        flags: Flags::WRITE,
        run: ltrim,
        complexity: "O(N) in the number of elements taken out.",
        summary: "Takes all elements out of a list but those in a range.",
        arguments: RANGE,
        ..ROW
    },
    Command {
        name: "lrem",
        arity: Exactly(4),
        keys: DELETE,
        flags: Flags::WRITE,
        run: lrem,
        complexity: "O(N) in the length of the list.",
        summary: "Takes elements out of a list that are equal to one.",
        arguments: &[KEY, Argument::new("count", "integer"), ELEMENT],
        ..ROW
    },
    Command {
        name: "linsert",
        arity: Exactly(5),
        keys: INSERT,
        flags: ADD,
        run: linsert,
        since: "2.2.0",
        complexity: "O(N) in the number of elements before the one that is looked for.",
        summary: "Inserts an element before or after another one.",
        arguments: &[
            KEY,
            oneof("where", &[word("before", "BEFORE"), word("after", "AFTER")]),
            Argument::new("pivot", "string"),
            ELEMENT,
        ],
        ..ROW
    },
    Command {
        name: "lpos",
        arity: AtLeast(3),
        keys: READ,
        flags: Flags::READONLY,
        run: lpos,
        since: "6.0.6",
        complexity: "O(N) in the number of elements that are looked at.",
        summary: "Tells where a list has an element.",
        arguments: &[
            KEY,
            ELEMENT,
            optional(after("RANK", Argument::new("rank", "integer"))),
            optional(after("COUNT", Argument::new("num-matches", "integer"))),
            optional(after("MAXLEN", Argument::new("len", "integer"))),
        ],
        ..ROW
    },
    Command {
        name: "lmove",
        arity: Exactly(5),
        keys: MOVE,
        flags: ADD,
        run: lmove,
        since: "6.2.0",
        summary: "Moves an element from an end of a list to an end of another one, or of the same.",
        arguments: &[
            key("source", 0),
            key("destination", 1),
            oneof("wherefrom", ENDS),
            oneof("whereto", ENDS),
        ],
        ..ROW
    },
    Command {
        name: "rpoplpush",
        deprecated: Some(("6.2.0", "`LMOVE` with the `RIGHT` and `LEFT` arguments")),
        arity: Exactly(3),
        keys: MOVE,
        flags: ADD,
        run: |cx, args| move_or_nil(cx, args, End::Tail, End::Head),
        since: "1.2.0",
        summary: "Moves an element from the tail of a list to the head of another one. LMOVE does the same.",
        arguments: &[key("source", 0), key("destination", 1)],
        ..ROW
    },
    Command {
        name: "lmpop",
        arity: AtLeast(4),
        keys: &[KeySpec::counted(1, &["RW", "access", "delete"])],
        flags: Flags::WRITE.and(Flags::MOVABLE_KEYS),
        run: lmpop,
        since: "7.0.0",
        complexity: "O(N+M): keys, and elements taken.",
        summary: "Takes elements from the first of several lists that has any.",
        arguments: &[
            Argument::new("numkeys", "integer"),
            multiple(KEY),
            oneof("where", ENDS),
            optional(after("COUNT", Argument::new("count", "integer"))),
        ],
        ..ROW
    },
    Command {
        name: "blpop",
        run_or_suspend: Some(|cx, args| pop_or_wait(cx, args, &FIRST)),
        summary: "Takes an element from the head of the first of several lists that has any; waits for one.",
        ..WAIT_AND_POP
    },
    Command {
        name: "brpop",
        run_or_suspend: Some(|cx, args| pop_or_wait(cx, args, &LAST)),
        summary: "Takes an element from the tail of the first of several lists that has any; waits for one.",
        ..WAIT_AND_POP
    },
    Command {
        name: "blmove",
        arity: Exactly(6),
        keys: MOVE,
        flags: ADD.and(WAITS),
        run_or_suspend: Some(blmove),
        since: "6.2.0",
        summary: "Moves an element from an end of a list to an end of another one; waits for it.",
        arguments: &[
            key("source", 0),
            key("destination", 1),
            oneof("wherefrom", ENDS),
            oneof("whereto", ENDS),
            TIMEOUT,
        ],
        ..ROW
    },
    Command {
        name: "brpoplpush",
        deprecated: Some(("6.2.0", "`BLMOVE` with the `RIGHT` and `LEFT` arguments")),
        arity: Exactly(4),
        keys: MOVE,
        flags: ADD.and(WAITS),
        run_or_suspend: Some(|cx, args| move_or_wait(cx, args, &LAST_TO_FIRST)),
        since: "2.2.0",
        summary: "Moves an element from the tail of a list to the head of another one; waits for it. BLMOVE does the same.",
        arguments: &[key("source", 0), key("destination", 1), TIMEOUT],
        ..ROW
    },
    Command {
        name: "blmpop",
        arity: AtLeast(5),
        keys: &[KeySpec::counted(2, &["RW", "access", "delete"])],
        flags: Flags::WRITE.and(Flags::MOVABLE_KEYS).and(Flags::BLOCKING),
        run_or_suspend: Some(blmpop),
        since: "7.0.0",
        complexity: "O(N+M): keys, and elements taken.",
        summary: "Takes elements from the first of several lists that has any; waits for them.",
        arguments: &[
            TIMEOUT,
            Argument::new("numkeys", "integer"),
            multiple(KEY),
            oneof("where", ENDS),
            optional(after("COUNT", Argument::new("count", "integer"))),
        ],
        ..ROW
    },
];

const TIMEOUT: Argument = Argument::new("timeout", "double");
const WAITS: Flags = Flags::BLOCKING;

/// What BLPOP and BRPOP have in common.
const WAIT_AND_POP: Command = Command {
    arity: AtLeast(3),
    keys: &[KeySpec::range(1, -2, 1, &["RW", "access", "delete"])],
    flags: Flags::WRITE.and(WAITS),
    since: "2.0.0",
    complexity: "O(N) in the number of keys.",
    arguments: &[multiple(KEY), TIMEOUT],
    ..ROW
};

const RANGE: &[Argument] = &[
    KEY,
    Argument::new("start", "integer"),
    Argument::new("stop", "integer"),
];

const ROW: Command = Command {
    group: Group::List,
    ..Command::BLANK
};

const PUSH: Command = Command {
    arity: AtLeast(3),
    keys: INSERT,
    flags: ADD.and(Flags::FAST),
    complexity: "O(1) for each element.",
    arguments: &[KEY, multiple(ELEMENT)],
    ..ROW
};

const POP: Command = Command {
    arity: AtLeast(2),
    keys: TAKE,
    flags: WRITE_FAST,
    complexity: "O(N) in the number of elements taken.",
    arguments: &[KEY, COUNT],
    ..ROW
};

/// Changes a list, where there is one or it is to be made. `change` gives its result and how much it changed.
fn change<R, A: Amount>(
    cx: &mut Context<'_>,
    key: &[u8],
    make: bool,
    change: impl FnOnce(&mut List) -> Result<(R, A), CommandError>,
) -> Result<Option<R>, CommandError> {
    let limits = encoding_limits::list(cx.config);
    cx.keys
        .change(key, ValueType::List, make, |list: &mut List| {
            let changed = change(list)?;
            if changed.1.amount() > 0 {
                list.shrink(limits);
            }
            Ok(changed)
        })
}

fn push(cx: &mut Context<'_>, args: &Args<'_>, end: End, make: bool) -> Result<(), CommandError> {
    let limits = encoding_limits::list(cx.config);
    let len = cx
        .keys
        .change(args.at(1), ValueType::List, make, |list: &mut List| {
            args.from(2).for_each(|text| list.push(end, text, limits));
            Ok((list.view().len(), args.len() - 2))
        })?;
    cx.reply.count(len.unwrap_or(0));
    Ok(())
}

fn pop(
    cx: &mut Context<'_>,
    args: &Args<'_>,
    end: End,
    command: &'static str,
) -> Result<(), CommandError> {
    if args.len() > 3 {
        return Err(CommandError::WrongArity(command.into()));
    }
    let key = args.at(1);
    let Some(count) = args.get(2) else {
        if !take(cx, key, end, 1, |_, _| ())? {
            cx.reply.nil();
        }
        return Ok(());
    };
    if !take(cx, key, end, parse::count(count)?, Reply::array)? {
        cx.reply.nil_array();
    }
    Ok(())
}

/// Takes elements from an end and replies with them; `head` writes what stands before them, of which it is told how many
/// they are. False where there is no list.
fn take(
    cx: &mut Context<'_>,
    key: &[u8],
    end: End,
    count: usize,
    head: impl FnOnce(&mut Reply, usize),
) -> Result<bool, CommandError> {
    let limits = encoding_limits::list(cx.config);
    let Context { keys, reply, .. } = cx;
    let taken = keys.change(key, ValueType::List, false, |list: &mut List| {
        let count = count.min(list.view().len());
        head(reply, count);
        for _ in 0..count {
            list.pop_with(end, |element| reply.bulk(element.text(&mut Digits::new())));
        }
        if count > 0 {
            list.shrink(limits);
        }
        Ok(((), count))
    })?;
    Ok(taken.is_some())
}

fn llen(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let list = cx.keys.list(args.at(1))?;
    cx.reply.count(list.map_or(0, ListRef::len));
    Ok(())
}

fn lindex(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    // A key that is not there makes a faulty index of no matter, as in Redis.
    let Some(list) = cx.keys.list(args.at(1))? else {
        cx.reply.nil();
        return Ok(());
    };
    match list.get(parse::integer(args.at(2))?) {
        Some(element) => cx.reply.bulk(element.text(&mut Digits::new())),
        None => cx.reply.nil(),
    }
    Ok(())
}

fn lset(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let limits = encoding_limits::list(cx.config);
    let set = change(cx, args.at(1), false, |list| {
        let index = parse::integer(args.at(2))?;
        match list.set(index, args.at(3), limits) {
            true => Ok(((), true)),
            false => Err(CommandError::OutOfRange),
        }
    })?;
    set.ok_or(CommandError::NoSuchKey)?;
    cx.reply.ok();
    Ok(())
}

fn lrange(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let (start, stop) = (parse::integer(args.at(2))?, parse::integer(args.at(3))?);
    let Some(list) = cx.keys.list(args.at(1))? else {
        cx.reply.array(0);
        return Ok(());
    };
    let wanted = parse::index_range(start, stop, list.len());
    cx.reply.array(wanted.len());
    let mut digits = Digits::new();
    for element in list.iter_from(wanted.start).take(wanted.len()) {
        cx.reply.bulk(element.text(&mut digits));
    }
    Ok(())
}

fn ltrim(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let (start, stop) = (parse::integer(args.at(2))?, parse::integer(args.at(3))?);
    change(cx, args.at(1), false, |list| {
        let len = list.view().len();
        let kept = parse::index_range(start, stop, len);
        list.remove(kept.end, len - kept.end);
        list.remove(0, kept.start);
        Ok(((), len - kept.len()))
    })?;
    cx.reply.ok();
    Ok(())
}

fn lrem(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let count = parse::integer(args.at(2))?;
    let end = if count < 0 { End::Tail } else { End::Head };
    let most = match usize::try_from(count.unsigned_abs()) {
        Ok(0) | Err(_) => usize::MAX,
        Ok(most) => most,
    };
    let removed = change(cx, args.at(1), false, |list| {
        let removed = list.remove_equal(args.at(3), most, end);
        Ok((removed, removed))
    })?;
    cx.reply.count(removed.unwrap_or(0));
    Ok(())
}

fn linsert(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let behind = match args.at(2).to_ascii_uppercase().as_slice() {
        b"BEFORE" => 0,
        b"AFTER" => 1,
        _ => return Err(CommandError::Syntax),
    };
    let limits = encoding_limits::list(cx.config);
    let len = change(cx, args.at(1), false, |list| {
        let pivot = Element::of(args.at(3));
        let Some(at) = list
            .view()
            .iter_from(0)
            .position(|element| element == pivot)
        else {
            return Ok((-1, false));
        };
        list.insert(at + behind, args.at(4), limits);
        Ok((list.view().len() as i64, true))
    })?;
    cx.reply.int(len.unwrap_or(0));
    Ok(())
}

/// The options of LPOS.
struct Search {
    /// Which match is the first to be told; from the end if it is negative.
    rank: i64,
    /// How many are; `None`: one, without an array.
    count: Option<usize>,
    /// How many elements are looked at.
    most: usize,
}

impl Search {
    fn parse(args: &Args<'_>) -> Result<Self, CommandError> {
        let mut search = Self {
            rank: 1,
            count: None,
            most: usize::MAX,
        };
        let mut words = args.from(3);
        while let Some(word) = words.next() {
            let value = words.next().ok_or(CommandError::Syntax)?;
            let not_negative = |error| {
                let number = parse::integer_in(value, 0, i64::MAX);
                number.map_err(|_| CommandError::text(error))
            };
            let or_all = |number| {
                if number == 0 {
                    usize::MAX
                } else {
                    number as usize
                }
            };
            match word.to_ascii_uppercase().as_slice() {
                b"RANK" => search.rank = parse::integer_in(value, -i64::MAX, i64::MAX)?,
                b"COUNT" => {
                    search.count = Some(or_all(not_negative("ERR COUNT can't be negative")?));
                }
                b"MAXLEN" => search.most = or_all(not_negative("ERR MAXLEN can't be negative")?),
                _ => return Err(CommandError::Syntax),
            }
            if search.rank == 0 {
                return Err(CommandError::text(
                    "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use \
                     negative to start from the end of the list",
                ));
            }
        }
        Ok(search)
    }

    fn run(&self, list: ListRef<'_>, text: &[u8]) -> Vec<usize> {
        let sought = Element::of(text);
        let skip = usize::try_from(self.rank.unsigned_abs() - 1).unwrap_or(usize::MAX);
        let matches = |elements: &mut dyn Iterator<Item = Element<'_>>| {
            let looked_at = elements.take(self.most).enumerate();
            let equal = looked_at.filter(|(_, element)| *element == sought);
            let places = equal.skip(skip).map(|(place, _)| place);
            places.take(self.count.unwrap_or(1)).collect::<Vec<_>>()
        };
        if self.rank > 0 {
            return matches(&mut list.iter_from(0));
        }
        let places = matches(&mut list.iter_back(0));
        places
            .into_iter()
            .map(|place| list.len() - 1 - place)
            .collect()
    }
}

fn lpos(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let search = Search::parse(args)?;
    let list = cx.keys.list(args.at(1))?;
    let places = list.map_or_else(Vec::new, |list| search.run(list, args.at(2)));
    if search.count.is_some() {
        cx.reply.array(places.len());
        places.iter().for_each(|place| cx.reply.count(*place));
    } else {
        match places.first() {
            Some(place) => cx.reply.count(*place),
            None => cx.reply.nil(),
        }
    }
    Ok(())
}

fn end_of(word: &[u8]) -> Result<End, CommandError> {
    match word.to_ascii_uppercase().as_slice() {
        b"LEFT" => Ok(End::Head),
        b"RIGHT" => Ok(End::Tail),
        _ => Err(CommandError::Syntax),
    }
}

fn lmove(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let (from, to) = (end_of(args.at(3))?, end_of(args.at(4))?);
    move_or_nil(cx, args, from, to)
}

fn move_or_nil(
    cx: &mut Context<'_>,
    args: &Args<'_>,
    from: End,
    to: End,
) -> Result<(), CommandError> {
    if !move_element(cx, (args.at(1), from), (args.at(2), to))? {
        cx.reply.nil();
    }
    Ok(())
}

/// Moves an element and replies with it. False where there is none.
fn move_element(
    cx: &mut Context<'_>,
    (source, from): (&[u8], End),
    (destination, to): (&[u8], End),
) -> Result<bool, CommandError> {
    let limits = encoding_limits::list(cx.config);
    let index = match from {
        End::Head => 0,
        End::Tail => -1,
    };
    let element = cx.keys.list(source)?.and_then(|list| list.get(index));
    let Some(element) = element.map(Element::to_vec) else {
        return Ok(false);
    };
    if source == destination {
        change(cx, source, false, |list| {
            list.pop(from);
            list.push(to, &element, limits);
            Ok(((), true))
        })?;
    } else {
        // Refused where it is no list, before anything is changed.
        change(cx, destination, true, |list| {
            list.push(to, &element, limits);
            Ok(((), true))
        })?;
        change(cx, source, false, |list| Ok((list.pop(from), true)))?;
        cx.keys.count_further(-1);
    }
    cx.reply.bulk(&element);
    Ok(true)
}

/// BLMOVE.
const MOVED: Waits = Waits {
    at_once: Reply::nil,
    event: &"lmove",
    also: &[2],
    serve: |cx, args, key| {
        let (from, to) = (end_of(args.at(3))?, end_of(args.at(4))?);
        move_element(cx, (key, from), (args.at(2), to))
    },
    ..Waits::LIST
};
/// BRPOPLPUSH.
const LAST_TO_FIRST: Waits = Waits {
    at_once: Reply::nil,
    event: &"lmove",
    also: &[2],
    serve: |cx, args, key| move_element(cx, (key, End::Tail), (args.at(2), End::Head)),
    ..Waits::LIST
};
/// BLPOP.
const FIRST: Waits = Waits {
    event: &"lpop",
    serve: |cx, _, key| reply_with_element(cx, key, End::Head),
    ..Waits::LIST
};
/// BRPOP.
const LAST: Waits = Waits {
    event: &"rpop",
    serve: |cx, _, key| reply_with_element(cx, key, End::Tail),
    ..Waits::LIST
};
/// BLMPOP.
const SEVERAL: Waits = Waits {
    serve: |cx, args, key| {
        let at = parse::numkeys(args, 2)?;
        let count = parse::count_option(args, at + 1)?;
        reply_with_elements(cx, key, end_of(args.at(at))?, count)
    },
    ..Waits::LIST
};

fn blmove(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), Stop> {
    end_of(args.at(3))?;
    end_of(args.at(4))?;
    move_or_wait(cx, args, &MOVED)
}

fn move_or_wait(cx: &mut Context<'_>, args: &Args<'_>, waits: &'static Waits) -> Result<(), Stop> {
    let until = blocking::until(args.at(args.len() - 1), cx.now)?;
    blocking::serve_or_wait(cx, args, std::iter::once(args.at(1)), until, waits)
}

fn pop_or_wait(cx: &mut Context<'_>, args: &Args<'_>, waits: &'static Waits) -> Result<(), Stop> {
    let last = args.len() - 1;
    let until = blocking::until(args.at(last), cx.now)?;
    let keys = (1..last).map(|at| args.at(at));
    blocking::serve_or_wait(cx, args, keys, until, waits)
}

/// Takes an element and replies with it and its key. False where there is none.
fn reply_with_element(cx: &mut Context<'_>, key: &[u8], end: End) -> Result<bool, CommandError> {
    take(cx, key, end, 1, |reply, _| {
        reply.array(2);
        reply.bulk(key);
    })
}

/// Takes elements and replies with them and their key. False where there are none.
fn reply_with_elements(
    cx: &mut Context<'_>,
    key: &[u8],
    end: End,
    count: usize,
) -> Result<bool, CommandError> {
    take(cx, key, end, count, |reply, count| {
        reply.array(2);
        reply.bulk(key);
        reply.array(count);
    })
}

fn blmpop(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), Stop> {
    let at = parse::numkeys(args, 2)?;
    end_of(args.at(at))?;
    parse::count_option(args, at + 1)?;
    let until = blocking::until(args.at(1), cx.now)?;
    let keys = (3..at).map(|at| args.at(at));
    blocking::serve_or_wait(cx, args, keys, until, &SEVERAL)
}

fn lmpop(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let at = parse::numkeys(args, 1)?;
    let end = end_of(args.at(at))?;
    let count = parse::count_option(args, at + 1)?;
    for index in 2..at {
        if reply_with_elements(cx, args.at(index), end, count)? {
            return Ok(());
        }
    }
    cx.reply.nil_array();
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::script;

    const WRONG: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";

    script!(elements_are_added_and_taken_at_both_ends, |db| {
        db.run("RPUSH l b c").int(2);
        db.run("LPUSH l a 1").int(4);
        db.run("LRANGE l 0 -1").bulks(&["1", "a", "b", "c"]);
        db.run("LLEN l").int(4);
        db.run("LPOP l").bulk("1");
        db.run("RPOP l 2").bulks(&["c", "b"]);
        db.run("LPOP l 0").is("*0\r\n");
        db.run("TYPE l").is("+list\r\n");
        db.run("RPOP l").bulk("a");
        db.run("EXISTS l").int(0);
        db.run("LPOP l").nil();
        db.run("LPOP l 2").is("*-1\r\n");
        db.run("LPUSHX l a").int(0);
        db.run("LRANGE l 0 -1").is("*0\r\n");
        db.run("LPOP l x")
            .error("ERR value is out of range, must be positive");
        db.run("LPOP l 1 2")
            .error("ERR wrong number of arguments for 'lpop' command");
        db.run("DBSIZE").int(0);
    });

    script!(
        a_list_that_grows_has_several_nodes_and_shrinks_again,
        |db| {
            db.run("CONFIG SET list-max-listpack-size 4").ok();
            db.run("RPUSH l 0 1 2 3").int(4);
            db.run("OBJECT ENCODING l").bulk("listpack");
            db.run("RPUSH l 4 5 6 7 8 9").int(10);
            db.run("OBJECT ENCODING l").bulk("quicklist");
            db.run("LRANGE l 2 8")
                .bulks(&["2", "3", "4", "5", "6", "7", "8"]);
            db.run("LINDEX l 7").bulk("7");
            db.run("LINDEX l -10").bulk("0");
            db.run("LINDEX l 10").nil();
            db.run("LSET l 5 five").ok();
            db.run("LINSERT l AFTER five x").int(11);
            db.run("LINSERT l BEFORE none x").int(-1);
            db.run("LREM l 0 x").int(1);
            db.run("COPY l copy").int(1);
            db.run("LTRIM l 5 5").ok();
            db.run("LRANGE l 0 -1").bulks(&["five"]);
            db.run("OBJECT ENCODING l").bulk("listpack");
            db.run("LLEN copy").int(10);
            db.run("LTRIM copy 5 1").ok();
            db.run("EXISTS copy").int(0);
        }
    );

    script!(a_list_of_many_elements_is_there_whole, |db| {
        for i in 0..3_000 {
            db.run(&format!("RPUSH l element:{i}")).int(i + 1);
        }
        db.run("LINDEX l 1500").bulk("element:1500");
        db.run("LRANGE l 2998 5000")
            .bulks(&["element:2998", "element:2999"]);
        db.run("LPOS l element:2000").int(2000);
        db.run("LTRIM l 1000 1001").ok();
        db.run("LRANGE l 0 -1")
            .bulks(&["element:1000", "element:1001"]);
    });

    script!(elements_are_moved, |db| {
        db.run("RPUSH a 1 2 3").int(3);
        db.run("LMOVE a b LEFT RIGHT").bulk("1");
        db.run("RPOPLPUSH a b").bulk("3");
        db.run("LRANGE b 0 -1").bulks(&["3", "1"]);
        db.run("LMOVE b b LEFT RIGHT").bulk("3");
        db.run("LRANGE b 0 -1").bulks(&["1", "3"]);
        db.run("LMOVE a a RIGHT LEFT").bulk("2");
        db.run("LMOVE a b RIGHT LEFT").bulk("2");
        db.run("EXISTS a").int(0);
        db.run("LMOVE a b LEFT LEFT").nil();
        db.run("SET s text").ok();
        db.run("LMOVE b s LEFT LEFT").error(WRONG);
        db.run("LRANGE b 0 -1").bulks(&["2", "1", "3"]);
        db.run("LMPOP 2 a b RIGHT COUNT 2")
            .is("*2\r\n$1\r\nb\r\n*2\r\n$1\r\n3\r\n$1\r\n1\r\n");
        db.run("LMPOP 1 a LEFT").is("*-1\r\n");
        db.run("LMPOP 2 a s LEFT").error(WRONG);
        db.run("LMPOP 0 a LEFT")
            .error("ERR numkeys should be greater than 0");
        db.run("LMPOP 1 a LEFT COUNT 0")
            .error("ERR count should be greater than 0");
    });

    script!(an_element_set_in_a_full_packed_list_makes_it_large, |db| {
        db.run("CONFIG SET list-max-listpack-size 3").ok();
        db.run("RPUSH l a b c").int(3);
        db.run("OBJECT ENCODING l").bulk("listpack");
        db.run("LSET l 9 x").error("ERR index out of range");
        db.run("OBJECT ENCODING l").bulk("listpack");
        db.run("LSET l 0 x").ok();
        db.run("OBJECT ENCODING l").bulk("quicklist");
        db.run("LRANGE l 0 -1").bulks(&["x", "b", "c"]);
        db.run("RPUSH m a b").int(2);
        db.run("LSET m -1 x").ok();
        db.run("OBJECT ENCODING m").bulk("listpack");
        db.run("CONFIG SET list-max-listpack-size -2147483648").ok();
        db.run("RPUSH n a b c").int(3);
        db.run("LSET n 0 x").ok();
        db.run("OBJECT ENCODING n").bulk("listpack");
    });

    script!(the_smallest_rank_has_no_opposite, |db| {
        db.run("RPUSH l a c").int(2);
        db.run("LPOS l c RANK -9223372036854775808").error(
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        );
        db.run("LPOS l c RANK -9223372036854775807").nil();
        db.run("LPOS l c RANK 9223372036854775808")
            .error("ERR value is not an integer or out of range");
        let zero = db.run("LPOS l c RANK 0");
        assert!(zero.bytes().starts_with(b"-ERR RANK can't be zero: "));
    });

    script!(elements_are_looked_for, |db| {
        db.run("RPUSH l a b c 1 2 3 c c").int(8);
        db.run("LPOS l c").int(2);
        db.run("LPOS l c RANK -1").int(7);
        db.run("LPOS l c RANK 2").int(6);
        db.run("LPOS l c COUNT 2").is("*2\r\n:2\r\n:6\r\n");
        db.run("LPOS l c COUNT 0").is("*3\r\n:2\r\n:6\r\n:7\r\n");
        db.run("LPOS l c RANK -1 COUNT 2").is("*2\r\n:7\r\n:6\r\n");
        db.run("LPOS l c MAXLEN 2").nil();
        db.run("LPOS l x COUNT 1").is("*0\r\n");
        db.run("LPOS none c COUNT 1").is("*0\r\n");
        db.run("LPOS l c COUNT -1")
            .error("ERR COUNT can't be negative");
        db.run("LREM l -2 c").int(2);
        db.run("LRANGE l 0 -1")
            .bulks(&["a", "b", "c", "1", "2", "3"]);
        db.run("LSET l 9 x").error("ERR index out of range");
        db.run("LSET none 0 x").error("ERR no such key");
        db.run("LINDEX none x").nil();
        db.run("GET l").error(WRONG);
        db.run("HGET l a").error(WRONG);
        db.run("SET l text").ok();
        db.run("LPUSH l a").error(WRONG);
    });
}
