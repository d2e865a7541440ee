//! Sets: different texts in no order, and what several of them have in common.

use std::collections::HashSet;

use super::argument::{KEY, after, key, multiple, optional, since};
use super::random_elements;
use super::{Argument, Arity::*, Command, Context, Flags, Group, KeySpec, parse, scan};
use crate::engine::encoding_limits;
use crate::error::CommandError;
use crate::keyspace::Amount;
use crate::keyspace::entry::ValueType;
use crate::random::Random;
use crate::resp::Args;
use crate::value::listpack::{Digits, Element};
use crate::value::number;
use crate::value::set::{Set, SetRef};

const MEMBER: Argument = Argument::new("member", "string");
const KEYS: Argument = multiple(KEY);

const READ: &[KeySpec] = &[KeySpec::at(1, &["RO", "access"])];
/// Of commands that tell nothing of the contents.
const LOOK: &[KeySpec] = &[KeySpec::at(1, &["RO"])];
const TAKE: &[KeySpec] = &[KeySpec::at(1, &["RW", "access", "delete"])];
const READ_FAST: Flags = Flags::READONLY.and(Flags::FAST);
const WRITE_FAST: Flags = Flags::WRITE.and(Flags::FAST);
const ADD: Flags = Flags::WRITE.and(Flags::DENYOOM);

/// The rows of this family.
pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "sadd",
        arity: AtLeast(3),
        keys: &[KeySpec::at(1, &["RW", "insert"])],
        flags: ADD.and(Flags::FAST),
        run: sadd,
        complexity: "O(1) for each member.",
        summary: "Adds members to a set; tells how many of them are new.",
        arguments: &[KEY, multiple(MEMBER)],
        ..ROW
    },
    Command {
        name: "srem",
        arity: AtLeast(3),
        keys: &[KeySpec::at(1, &["RW", "delete"])],
        flags: WRITE_FAST,
        run: srem,
        complexity: "O(1) for each member.",
        summary: "Takes members out of a set; the last one takes the key with it.",
        arguments: &[KEY, multiple(MEMBER)],
        ..ROW
    },
    Command {
        name: "smembers",
        arity: Exactly(2),
        keys: READ,
        flags: Flags::READONLY,
        run: smembers,
        complexity: "O(N) in the number of members.",
        summary: "Returns the members of a set.",
        tips: &["nondeterministic_output_order"],
        arguments: &[KEY],
        ..ROW
    },
    Command {
        name: "sismember",
        arity: Exactly(3),
        keys: LOOK,
        flags: READ_FAST,
        run: sismember,
        summary: "Tells whether a set has a member.",
        arguments: &[KEY, MEMBER],
        ..ROW
    },
    Command {
        name: "smismember",
        arity: AtLeast(3),
        keys: READ,
        flags: READ_FAST,
        run: smismember,
        since: "6.2.0",
        complexity: "O(1) for each member.",
        summary: "Tells which of several members a set has.",
        arguments: &[KEY, multiple(MEMBER)],
        ..ROW
    },
    Command {
        name: "scard",
        arity: Exactly(2),
        keys: LOOK,
        flags: READ_FAST,
        run: scard,
        summary: "Tells how many members a set has.",
        arguments: &[KEY],
        ..ROW
    },
    Command {
        name: "spop",
        arity: AtLeast(2),
        keys: TAKE,
        flags: WRITE_FAST,
        run: spop,
        complexity: "O(1) for each member taken.",
        summary: "Takes members out of a set by chance, and returns them.",
        tips: &["nondeterministic_output"],
        arguments: &[
            KEY,
            optional(since("3.2.0", Argument::new("count", "integer"))),
        ],
        ..ROW
    },
    Command {
        name: "srandmember",
        arity: AtLeast(2),
        keys: READ,
        flags: Flags::READONLY,
        run: srandmember,
        complexity: "O(1) for each member that is returned.",
        summary: "Returns members of a set by chance.",
        tips: &["nondeterministic_output"],
        arguments: &[
            KEY,
            optional(since("2.6.0", Argument::new("count", "integer"))),
        ],
        ..ROW
    },
    Command {
        name: "smove",
        arity: Exactly(4),
        keys: &[
            KeySpec::at(1, &["RW", "access", "delete"]),
            KeySpec::at(2, &["RW", "insert"]),
        ],
        flags: WRITE_FAST,
        run: smove,
        summary: "Moves a member from one set to another.",
        arguments: &[key("source", 0), key("destination", 1), MEMBER],
        ..ROW
    },
    Command {
        name: "sinter",
        run: |cx, args| reply_with(cx, args, intersection),
        complexity: COMMON,
        summary: "Returns the members that all of several sets have.",
        ..COMBINE
    },
    Command {
        name: "sunion",
        run: |cx, args| reply_with(cx, args, union),
        summary: "Returns the members that any of several sets has.",
        ..COMBINE
    },
    Command {
        name: "sdiff",
        run: |cx, args| reply_with(cx, args, difference),
        summary: "Returns the members of the first of several sets that no other one has.",
        ..COMBINE
    },
    Command {
        name: "sinterstore",
        keys: &[
            KeySpec::at(1, &["OW", "update"]),
            KeySpec::range(2, -1, 1, &["RO", "access"]),
        ],
        run: |cx, args| store(cx, args, intersection),
        complexity: COMMON,
        summary: "Keeps the members that all of several sets have.",
        ..STORE
    },
    Command {
        name: "sunionstore",
        run: |cx, args| store(cx, args, union),
        summary: "Keeps the members that any of several sets has.",
        ..STORE
    },
    Command {
        name: "sdiffstore",
        run: |cx, args| store(cx, args, difference),
        summary: "Keeps the members of the first of several sets that no other one has.",
        ..STORE
    },
    Command {
        name: "sintercard",
        arity: AtLeast(3),
        keys: &[KeySpec::counted(1, &["RO", "access"])],
        flags: Flags::READONLY.and(Flags::MOVABLE_KEYS),
        run: sintercard,
        since: "7.0.0",
        complexity: COMMON,
        summary: "Tells how many members all of several sets have.",
        arguments: &[
            Argument::new("numkeys", "integer"),
            KEYS,
            optional(after("LIMIT", Argument::new("limit", "integer"))),
        ],
        ..ROW
    },
    Command {
        name: "sscan",
        arity: AtLeast(3),
        keys: READ,
        flags: Flags::READONLY,
        run: sscan,
        since: "2.8.0",
        complexity: "O(1) for each member that is looked at.",
        summary: "Walks over the members of a set, some in each call.",
        tips: &["nondeterministic_output"],
        arguments: &[
            KEY,
            Argument::new("cursor", "integer"),
            optional(after("MATCH", Argument::new("pattern", "pattern"))),
            optional(after("COUNT", Argument::new("count", "integer"))),
        ],
        ..ROW
    },
];

const COMMON: &str = "O(N*M): members of the smallest set, and sets.";

const ROW: Command = Command {
    group: Group::Set,
    ..Command::BLANK
};

/// What commands over several sets have in common.
const COMBINE: Command = Command {
    arity: AtLeast(2),
    keys: &[KeySpec::range(1, -1, 1, &["RO", "access"])],
    flags: Flags::READONLY,
    complexity: "O(N) in the members of all sets.",
    tips: &["nondeterministic_output_order"],
    arguments: &[KEYS],
    ..ROW
};

/// The same for those that keep the result.
const STORE: Command = Command {
    arity: AtLeast(3),
    keys: &[
        KeySpec::at(1, &["OW", "update"]),
        KeySpec::range(2, -1, 1, &["RO", "access"]),
    ],
    flags: ADD,
    complexity: "O(N) in the members of all sets.",
    arguments: &[key("destination", 0), multiple(key("key", 1))],
    ..ROW
};

/// Changes the set at a key, where there is one. `change` gives its result and how much it changed.
fn change<R, A: Amount>(
    cx: &mut Context<'_>,
    key: &[u8],
    make: bool,
    change: impl FnOnce(&mut Set) -> (R, A),
) -> Result<Option<R>, CommandError> {
    let change = |set: &mut Set| Ok(change(set));
    cx.keys.change(key, ValueType::Set, make, change)
}

fn sadd(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let limits = encoding_limits::set(cx.config);
    let added = change(cx, args.at(1), true, |set| {
        let added = args
            .from(2)
            .filter(|member| set.add(member, limits))
            .count();
        (added, added)
    })?;
    cx.reply.count(added.unwrap_or(0));
    Ok(())
}

fn srem(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let removed = change(cx, args.at(1), false, |set| {
        let removed = args.from(2).filter(|member| set.remove(member)).count();
        (removed, removed)
    })?;
    cx.reply.count(removed.unwrap_or(0));
    Ok(())
}

fn smembers(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let set = cx.keys.set_members(args.at(1))?;
    cx.reply.set(set.map_or(0, SetRef::len));
    let mut digits = Digits::new();
    for member in set.iter().flat_map(|set| set.iter()) {
        cx.reply.bulk(member.text(&mut digits));
    }
    Ok(())
}

fn sismember(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let set = cx.keys.set_members(args.at(1))?;
    cx.reply.flag(set.is_some_and(|set| set.has(args.at(2))));
    Ok(())
}

fn smismember(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let set = cx.keys.set_members(args.at(1))?;
    cx.reply.array(args.len() - 2);
    for member in args.from(2) {
        cx.reply.flag(set.is_some_and(|set| set.has(member)));
    }
    Ok(())
}

fn scard(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let set = cx.keys.set_members(args.at(1))?;
    cx.reply.count(set.map_or(0, SetRef::len));
    Ok(())
}

fn spop(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    if args.len() > 3 {
        return Err(CommandError::Syntax);
    }
    let mut random = Random(cx.random);
    let pop = |set: &mut Set, random: &mut Random| {
        let drawn = set.view().random(|| random.next_u64())?.to_vec();
        set.remove(&drawn);
        Some(drawn)
    };
    let Some(count) = args.get(2) else {
        let popped = change(cx, args.at(1), false, |set| (pop(set, &mut random), true))?;
        cx.reply.bulk_or_nil(popped.flatten().as_deref());
        return Ok(());
    };
    let count = parse::count(count)?;
    let popped = change(cx, args.at(1), false, |set| {
        let again = std::iter::from_fn(|| pop(set, &mut random));
        let popped: Vec<_> = again.take(count).collect();
        let count = popped.len();
        (popped, count)
    })?;
    let popped = popped.unwrap_or_default();
    cx.reply.set(popped.len());
    popped.iter().for_each(|member| cx.reply.bulk(member));
    Ok(())
}

fn srandmember(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let mut random = Random(cx.random);
    if args.len() > 3 {
        return Err(CommandError::Syntax);
    }
    let Some(count) = args.get(2) else {
        let set = cx.keys.set_members(args.at(1))?;
        match set.and_then(|set| set.random(|| random.next_u64())) {
            Some(member) => cx.reply.bulk(member.text(&mut Digits::new())),
            None => cx.reply.nil(),
        }
        return Ok(());
    };
    let count = parse::integer_in(count, -i64::MAX, i64::MAX)?;
    let Some(set) = cx.keys.set_members(args.at(1))? else {
        cx.reply.array(0);
        return Ok(());
    };
    let draw = |random: &mut Random| set.random(|| random.next_u64());
    let name = |member: &Element<'_>| member.to_vec();
    let chosen = random_elements::chosen((count, set.len()), set.iter(), &mut random, draw, name)?;
    cx.reply.array(chosen.len());
    for member in chosen {
        cx.reply.bulk(member.text(&mut Digits::new()));
    }
    Ok(())
}

fn smove(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let (source, destination, member) = (args.at(1), args.at(2), args.at(3));
    let limits = encoding_limits::set(cx.config);
    let Some(set) = cx.keys.set_members(source)? else {
        cx.reply.flag(false);
        return Ok(());
    };
    let has = set.has(member);
    // It is refused where the destination is no set, moved or not.
    cx.keys.set_members(destination)?;
    if has && source != destination {
        change(cx, source, false, |set| ((), set.remove(member)))?;
        change(cx, destination, true, |set| ((), set.add(member, limits)))?;
    }
    cx.reply.flag(has);
    Ok(())
}

/// The members that come of several sets; `None` is a key that is not there. At most so many.
type Combine = fn(&[Option<SetRef<'_>>], usize) -> Vec<Vec<u8>>;

fn intersection(sets: &[Option<SetRef<'_>>], most: usize) -> Vec<Vec<u8>> {
    let all: Option<Vec<SetRef<'_>>> = sets.iter().copied().collect();
    let Some(mut all) = all else {
        return Vec::new();
    };
    all.sort_by_key(|set| set.len());
    let Some((smallest, others)) = all.split_first() else {
        return Vec::new();
    };
    let mut digits = Digits::new();
    let members = smallest.iter().filter(|member| {
        let text = member.text(&mut digits);
        others.iter().all(|other| other.has(text))
    });
    members.take(most).map(Element::to_vec).collect()
}

fn union(sets: &[Option<SetRef<'_>>], _: usize) -> Vec<Vec<u8>> {
    let mut seen = HashSet::new();
    let members = sets.iter().flatten().flat_map(|set| set.iter());
    let members = members.map(Element::to_vec);
    members
        .filter(|member| seen.insert(member.clone()))
        .collect()
}

fn difference(sets: &[Option<SetRef<'_>>], _: usize) -> Vec<Vec<u8>> {
    let Some((Some(first), others)) = sets.split_first() else {
        return Vec::new();
    };
    let mut digits = Digits::new();
    let members = first.iter().filter(|member| {
        let text = member.text(&mut digits);
        !others.iter().flatten().any(|other| other.has(text))
    });
    members.map(Element::to_vec).collect()
}

/// Combines the sets at some keys.
fn combine<'k>(
    cx: &mut Context<'_>,
    keys: impl Iterator<Item = &'k [u8]> + Clone,
    combine: Combine,
    most: usize,
) -> Result<Vec<Vec<u8>>, CommandError> {
    for key in keys.clone() {
        cx.keys.set_members(key)?;
    }
    let sets: Vec<_> = keys.map(|key| cx.keys.view_set(key)).collect();
    Ok(combine(&sets, most))
}

fn reply_with(cx: &mut Context<'_>, args: &Args<'_>, how: Combine) -> Result<(), CommandError> {
    let members = combine(cx, (1..args.len()).map(|i| args.at(i)), how, usize::MAX)?;
    cx.reply.set(members.len());
    members.iter().for_each(|member| cx.reply.bulk(member));
    Ok(())
}

fn store(cx: &mut Context<'_>, args: &Args<'_>, how: Combine) -> Result<(), CommandError> {
    let limits = encoding_limits::set(cx.config);
    let members = combine(cx, (2..args.len()).map(|i| args.at(i)), how, usize::MAX)?;
    let mut set = Set::empty(Vec::new());
    members.iter().for_each(|member| {
        set.add(member, limits);
    });
    cx.keys.replace(args.at(1), ValueType::Set, set);
    cx.reply.count(members.len());
    Ok(())
}

fn sintercard(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let count = number::parse_i64(args.at(1)).filter(|count| *count > 0);
    let count = count.ok_or(CommandError::text("ERR numkeys should be greater than 0"))?;
    let end = usize::try_from(count)
        .ok()
        .and_then(|count| count.checked_add(2));
    let end = end
        .filter(|end| *end <= args.len())
        .ok_or(CommandError::text(
            "ERR Number of keys can't be greater than number of args",
        ))?;
    let mut most = usize::MAX;
    let mut words = args.from(end);
    while let Some(word) = words.next() {
        let value = words.next().filter(|_| word.eq_ignore_ascii_case(b"LIMIT"));
        most = parse::limit(value.ok_or(CommandError::Syntax)?)?;
    }
    let members = combine(cx, (2..end).map(|i| args.at(i)), intersection, most)?;
    cx.reply.count(members.len());
    Ok(())
}

fn sscan(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let cursor = number::parse_u64(args.at(2)).ok_or(CommandError::InvalidCursor)?;
    let Some(set) = cx.keys.set_members(args.at(1))? else {
        scan::reply_with_nothing(cx.reply);
        return Ok(());
    };
    let options = parse::ScanOptions::of(args, scan::COUNT, None)?;
    let mut shown = Vec::new();
    let next = match set {
        SetRef::Table(members) => members.scan(cursor, options.count, |member| {
            shown.push([member.to_vec()]);
        }),
        packed => {
            shown.extend(packed.iter().map(|member| [member.to_vec()]));
            0
        }
    };
    scan::reply_with_page(cx.reply, next, shown, options.pattern);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::script;

    const WRONG: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";

    script!(members_are_added_found_and_taken_out, |db| {
        db.run("SADD s 3 1 2 1").int(3);
        db.run("SMEMBERS s").bulks(&["1", "2", "3"]);
        db.run("OBJECT ENCODING s").bulk("intset");
        db.run("SADD s a 1").int(1);
        db.run("OBJECT ENCODING s").bulk("listpack");
        db.run("SCARD s").int(4);
        db.run("SISMEMBER s a").int(1);
        db.run("SISMEMBER s 4").int(0);
        db.run("SMISMEMBER s 1 x a").is("*3\r\n:1\r\n:0\r\n:1\r\n");
        db.run("SREM s 1 2 x").int(2);
        db.run("SMEMBERS s").bulks(&["3", "a"]);
        db.run("TYPE s").is("+set\r\n");
        db.run("SREM s 3 a").int(2);
        db.run("EXISTS s").int(0);
        db.run("SMEMBERS s").is("*0\r\n");
        db.run("DBSIZE").int(0);
        db.run("SADD s 7").int(1);
        db.resp3();
        db.run("SMEMBERS s").is("~1\r\n$1\r\n7\r\n");
    });

    script!(a_set_that_grows_becomes_a_table, |db| {
        db.run("CONFIG SET set-max-intset-entries 4 set-max-listpack-entries 4")
            .ok();
        db.run("SADD i 1 2 3 4").int(4);
        db.run("OBJECT ENCODING i").bulk("intset");
        db.run("SADD i 5").int(1);
        db.run("OBJECT ENCODING i").bulk("hashtable");
        db.run("SADD p a b c d").int(4);
        db.run("OBJECT ENCODING p").bulk("listpack");
        db.run("SADD p a e").int(1);
        db.run("OBJECT ENCODING p").bulk("hashtable");
        db.run("SISMEMBER p e").int(1);
        db.run("COPY p copy").int(1);
        db.run("SREM p a b c d e").int(5);
        db.run("SCARD copy").int(5);
        let long = "x".repeat(65);
        db.run(&format!("SADD long {long}")).int(1);
        db.run("OBJECT ENCODING long").bulk("hashtable");
        db.run("DBSIZE").int(3);
    });

    script!(members_are_taken_by_chance, |db| {
        db.run("SADD s a b c").int(3);
        db.run("SPOP s 0").is("*0\r\n");
        db.run("SRANDMEMBER s 5").bulks(&["a", "b", "c"]);
        db.run("SPOP none").nil();
        db.run("SPOP none 2").is("*0\r\n");
        db.run("SRANDMEMBER none").nil();
        db.run("SRANDMEMBER none 2").is("*0\r\n");
        db.run("SPOP s -1")
            .error("ERR value is out of range, must be positive");
        db.run("SPOP s 1 2").error("ERR syntax error");
        let popped = db.run("SPOP s");
        assert!(
            [b"$1\r\na\r\n", b"$1\r\nb\r\n", b"$1\r\nc\r\n"]
                .contains(&popped.bytes().try_into().unwrap())
        );
        db.run("SCARD s").int(2);
        let popped = db.run("SPOP s 9");
        assert!(popped.bytes().starts_with(b"*2\r\n"));
        db.run("EXISTS s").int(0);
    });

    script!(sets_are_combined, |db| {
        db.run("SADD a 1 2 3 x").int(4);
        db.run("SADD b 2 3 4").int(3);
        db.run("SADD c 3").int(1);
        db.run("SINTER a b").bulks(&["2", "3"]);
        db.run("SINTER a b c").bulks(&["3"]);
        db.run("SINTER a none").is("*0\r\n");
        db.run("SDIFF a b").bulks(&["1", "x"]);
        db.run("SDIFF none a").is("*0\r\n");
        db.run("SUNION c b none").bulks(&["3", "2", "4"]);
        db.run("SINTERCARD 2 a b").int(2);
        db.run("SINTERCARD 2 a b LIMIT 1").int(1);
        db.run("SINTERCARD 0 a")
            .error("ERR numkeys should be greater than 0");
        db.run("SINTERCARD 3 a b")
            .error("ERR Number of keys can't be greater than number of args");
        db.run("SINTERCARD 1 a LIMIT -1")
            .error("ERR LIMIT can't be negative");
        db.run("SET to text").ok();
        db.run("SUNIONSTORE to a b").int(5);
        db.run("SCARD to").int(5);
        db.run("PEXPIRE to 10000").int(1);
        db.run("SDIFFSTORE to a b").int(2);
        db.run("PTTL to").int(-1);
        db.run("SINTERSTORE to a none").int(0);
        db.run("EXISTS to").int(0);
        db.run("SINTERSTORE a a b").int(2);
        db.run("SMEMBERS a").bulks(&["2", "3"]);
    });

    script!(members_are_moved, |db| {
        db.run("SADD a x y").int(2);
        db.run("SMOVE a b x").int(1);
        db.run("SMOVE a b none").int(0);
        db.run("SMOVE none b x").int(0);
        db.run("SMEMBERS b").bulks(&["x"]);
        db.run("SMOVE b b x").int(1);
        db.run("SMOVE a b y").int(1);
        db.run("EXISTS a").int(0);
        db.run("SET s text").ok();
        db.run("SMOVE b s x").error(WRONG);
        db.run("SMOVE s b x").error(WRONG);
        db.run("SINTER none s").error(WRONG);
        db.run("SADD s x").error(WRONG);
        db.run("GET b").error(WRONG);
        db.run("LPUSH b x").error(WRONG);
        db.run("SCARD b").int(2);
    });

    script!(a_set_of_many_members_is_walked_over_whole, |db| {
        for i in 0..1_000 {
            db.run(&format!("SADD s member:{i}")).int(1);
        }
        let (mut cursor, mut seen) = ("0".to_owned(), std::collections::BTreeSet::new());
        loop {
            let reply = db.run(&format!("SSCAN s {cursor} COUNT 50"));
            let text = String::from_utf8_lossy(reply.bytes()).into_owned();
            let mut lines = text.split("\r\n");
            cursor = lines.nth(2).unwrap_or("0").to_owned();
            seen.extend(
                lines
                    .filter(|line| line.starts_with("member:"))
                    .map(str::to_owned),
            );
            if cursor == "0" {
                break;
            }
        }
        assert_eq!(seen.len(), 1_000);
    });
}
