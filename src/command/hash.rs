//! Hashes: fields with values at one key.

pub(super) mod expiry;

use super::argument::{self, KEY, after, block, multiple, optional, since, word};
use super::random_elements;
use super::{Argument, Arity::*, Command, Context, Flags, Group, KeySpec, parse, scan};
use crate::engine::encoding_limits;
use crate::error::CommandError;
use crate::keyspace::Amount;
use crate::keyspace::entry::ValueType;
use crate::random::Random;
use crate::resp::{Args, Protocol};
use crate::value::hash::{Hash, HashRef, Set};
use crate::value::listpack::{Digits, Element};
use crate::value::number::{self, LongDouble};

const FIELD: Argument = Argument::new("field", "string");
const VALUE: Argument = Argument::new("value", "string");
const PAIRS: Argument = multiple(block("field_value", &[FIELD, VALUE]));

const READ: &[KeySpec] = &[KeySpec::at(1, &["RO", "access"])];
/// Of commands that tell nothing of the contents.
const LOOK: &[KeySpec] = &[KeySpec::at(1, &["RO"])];
const UPDATE: &[KeySpec] = &[KeySpec::at(1, &["RW", "update"])];
const COUNTED: &[KeySpec] = &[KeySpec::at(1, &["RW", "access", "update"])];
const READ_FAST: Flags = Flags::READONLY.and(Flags::FAST);
const WRITE_FAST: Flags = Flags::WRITE.and(Flags::FAST);
const ADD: Flags = WRITE_FAST.and(Flags::DENYOOM);

/// The rows of this family.
pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "hset",
        arity: AtLeast(4),
        keys: UPDATE,
        flags: ADD,
        run: hset,
        complexity: "O(1) for each field.",
        summary: "Sets fields of a hash; tells how many of them are new.",
        arguments: &[KEY, PAIRS],
        ..ROW
    },
    Command {
        name: "hmset",
        deprecated: Some(("4.0.0", "`HSET` with multiple field-value pairs")),
        arity: AtLeast(4),
        keys: UPDATE,
        flags: ADD,
        run: hmset,
        complexity: "O(1) for each field.",
        summary: "Sets fields of a hash. HSET does the same.",
        arguments: &[KEY, PAIRS],
        ..ROW
    },
    Command {
        name: "hsetnx",
        arity: Exactly(4),
        keys: &[KeySpec::at(1, &["RW", "insert"])],
        flags: ADD,
        run: hsetnx,
        summary: "Sets a field of a hash, unless it exists.",
        arguments: &[KEY, FIELD, VALUE],
        ..ROW
    },
    Command {
        name: "hget",
        arity: Exactly(3),
        keys: READ,
        flags: READ_FAST,
        run: hget,
        summary: "Returns the value of a field of a hash.",
        arguments: &[KEY, FIELD],
        ..ROW
    },
    Command {
        name: "hmget",
        arity: AtLeast(3),
        keys: READ,
        flags: READ_FAST,
        run: hmget,
        complexity: "O(1) for each field.",
        summary: "Returns the values of fields of a hash.",
        arguments: &[KEY, multiple(FIELD)],
        ..ROW
    },
    Command {
        name: "hdel",
        arity: AtLeast(3),
        keys: &[KeySpec::at(1, &["RW", "delete"])],
        flags: WRITE_FAST,
        run: hdel,
        complexity: "O(1) for each field.",
        summary: "Takes fields out of a hash; the last one takes the key with it.",
        arguments: &[KEY, multiple(FIELD)],
        ..ROW
    },
    Command {
        name: "hlen",
        arity: Exactly(2),
        keys: LOOK,
        flags: READ_FAST,
        run: hlen,
        summary: "Tells how many fields a hash has.",
        arguments: &[KEY],
        ..ROW
    },
    Command {
        name: "hstrlen",
        arity: Exactly(3),
        keys: LOOK,
        flags: READ_FAST,
        run: hstrlen,
        since: "3.2.0",
        summary: "Tells the length of the value of a field.",
        arguments: &[KEY, FIELD],
        ..ROW
    },
    Command {
        name: "hexists",
        arity: Exactly(3),
        keys: LOOK,
        flags: READ_FAST,
        run: hexists,
        summary: "Tells whether a hash has a field.",
        arguments: &[KEY, FIELD],
        ..ROW
    },
    Command {
        name: "hkeys",
        run: hkeys,
        summary: "Returns the fields of a hash.",
        ..WHOLE
    },
    Command {
        name: "hvals",
        run: hvals,
        summary: "Returns the values of a hash.",
        ..WHOLE
    },
    Command {
        name: "hgetall",
        run: hgetall,
        summary: "Returns the fields of a hash with their values.",
        ..WHOLE
    },
    Command {
        name: "hincrby",
        arity: Exactly(4),
        keys: COUNTED,
        flags: ADD,
        run: hincrby,
        summary: "Adds a number to the integer in a field; a missing field counts as 0.",
        arguments: &[KEY, FIELD, Argument::new("increment", "integer")],
        ..ROW
    },
    Command {
        name: "hincrbyfloat",
        arity: Exactly(4),
        keys: COUNTED,
        flags: ADD,
        run: hincrbyfloat,
        since: "2.6.0",
        summary: "Adds a number to the decimal number in a field; a missing field counts as 0.",
        arguments: &[KEY, FIELD, Argument::new("increment", "double")],
        ..ROW
    },
    Command {
        name: "hrandfield",
        arity: AtLeast(2),
        keys: READ,
        flags: Flags::READONLY,
        run: hrandfield,
        since: "6.2.0",
        complexity: "O(1) for each field that is returned.",
        summary: "Returns fields of a hash by chance.",
        tips: &["nondeterministic_output"],
        arguments: &[
            KEY,
            optional(block(
                "options",
                &[
                    Argument::new("count", "integer"),
                    optional(word("withvalues", "WITHVALUES")),
                ],
            )),
        ],
        ..ROW
    },
    Command {
        name: "hscan",
        arity: AtLeast(3),
        keys: READ,
        flags: Flags::READONLY,
        run: hscan,
        since: "2.8.0",
        complexity: "O(1) for each field that is looked at.",
        summary: "Walks over the fields of a hash, some in each call.",
        tips: &["nondeterministic_output"],
        arguments: &[
            KEY,
            Argument::new("cursor", "integer"),
            optional(after("MATCH", Argument::new("pattern", "pattern"))),
            optional(after("COUNT", Argument::new("count", "integer"))),
            optional(since("7.4.0", word("novalues", "NOVALUES"))),
        ],
        ..ROW
    },
];

const ROW: Command = Command {
    group: Group::Hash,
    since: "2.0.0",
    ..Command::BLANK
};

/// What HKEYS, HVALS and HGETALL have in common.
const WHOLE: Command = Command {
    arity: Exactly(2),
    keys: READ,
    flags: Flags::READONLY,
    complexity: "O(N) in the number of fields.",
    tips: &["nondeterministic_output_order"],
    arguments: &[argument::KEY],
    ..ROW
};

/// Changes the hash at a key, which is made if it does not exist.
fn change<R, A: Amount>(
    cx: &mut Context<'_>,
    key: &[u8],
    change: impl FnOnce(&mut Hash) -> Result<(R, A), CommandError>,
) -> Result<R, CommandError> {
    let changed = cx.keys.change(key, ValueType::Hash, true, change)?;
    Ok(changed.expect("it is made where there is none"))
}

fn hset(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let added = set_all(cx, args, "hset")?;
    cx.reply.count(added);
    Ok(())
}

fn hmset(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    set_all(cx, args, "hmset")?;
    cx.reply.ok();
    Ok(())
}

fn set_all(
    cx: &mut Context<'_>,
    args: &Args<'_>,
    command: &'static str,
) -> Result<usize, CommandError> {
    if !args.len().is_multiple_of(2) {
        return Err(CommandError::WrongArity(command.into()));
    }
    let limits = encoding_limits::hash(cx.config);
    change(cx, args.at(1), |hash| {
        // All of them decide on the form before the first is set, as in Redis.
        args.from(2).for_each(|text| hash.grow_for(&[text], limits));
        let mut pairs = args.from(2);
        let mut added = 0;
        while let (Some(field), Some(value)) = (pairs.next(), pairs.next()) {
            added += usize::from(hash.set(field, value, limits) == Set::Added);
        }
        Ok((added, args.len() / 2 - 1))
    })
}

fn hsetnx(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let limits = encoding_limits::hash(cx.config);
    let added = change(cx, args.at(1), |hash| {
        let is_new = hash.view().get(args.at(2)).is_none();
        if is_new {
            hash.set(args.at(2), args.at(3), limits);
        }
        Ok((is_new, is_new))
    })?;
    cx.reply.flag(added);
    Ok(())
}

fn hget(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let hash = cx.keys.hash(args.at(1))?;
    match hash.and_then(|hash| hash.get(args.at(2))) {
        Some(value) => cx.reply.bulk(value.text(&mut Digits::new())),
        None => cx.reply.nil(),
    }
    Ok(())
}

fn hmget(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let hash = cx.keys.hash(args.at(1))?;
    cx.reply.array(args.len() - 2);
    for field in args.from(2) {
        match hash.and_then(|hash| hash.get(field)) {
            Some(value) => cx.reply.bulk(value.text(&mut Digits::new())),
            None => cx.reply.nil(),
        }
    }
    Ok(())
}

fn hdel(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let key = args.at(1);
    let removed = cx
        .keys
        .change(key, ValueType::Hash, false, |hash: &mut Hash| {
            let removed = args.from(2).filter(|field| hash.remove(field)).count();
            Ok((removed, removed))
        })?;
    cx.reply.count(removed.unwrap_or(0));
    Ok(())
}

fn hlen(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let hash = cx.keys.hash(args.at(1))?;
    cx.reply.count(hash.map_or(0, HashRef::len));
    Ok(())
}

fn hstrlen(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let hash = cx.keys.hash(args.at(1))?;
    let value = hash.and_then(|hash| hash.get(args.at(2)));
    cx.reply.count(value.map_or(0, Element::len));
    Ok(())
}

fn hexists(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let hash = cx.keys.hash(args.at(1))?;
    let value = hash.and_then(|hash| hash.get(args.at(2)));
    cx.reply.flag(value.is_some());
    Ok(())
}

fn hkeys(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let hash = cx.keys.hash(args.at(1))?;
    cx.reply.array(hash.map_or(0, HashRef::len));
    for (field, _) in hash.iter().flat_map(|hash| hash.iter()) {
        cx.reply.bulk(field.text(&mut Digits::new()));
    }
    Ok(())
}

fn hvals(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let hash = cx.keys.hash(args.at(1))?;
    cx.reply.array(hash.map_or(0, HashRef::len));
    for (_, value) in hash.iter().flat_map(|hash| hash.iter()) {
        cx.reply.bulk(value.text(&mut Digits::new()));
    }
    Ok(())
}

fn hgetall(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let hash = cx.keys.hash(args.at(1))?;
    cx.reply.map(hash.map_or(0, HashRef::len));
    for (field, value) in hash.iter().flat_map(|hash| hash.iter()) {
        cx.reply.bulk(field.text(&mut Digits::new()));
        cx.reply.bulk(value.text(&mut Digits::new()));
    }
    Ok(())
}

fn hincrby(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let (field, increment) = (args.at(2), parse::integer(args.at(3))?);
    let limits = encoding_limits::hash(cx.config);
    let sum = change(cx, args.at(1), |hash| {
        let old = match hash.view().get(field) {
            None => 0,
            Some(Element::Integer(old)) => old,
            Some(Element::Text(text)) => number::parse_i64(text)
                .ok_or(CommandError::text("ERR hash value is not an integer"))?,
        };
        let sum = old.checked_add(increment).ok_or(CommandError::text(
            "ERR increment or decrement would overflow",
        ))?;
        hash.update(field, &number::format_i64(sum), limits);
        Ok((sum, true))
    })?;
    cx.reply.int(sum);
    Ok(())
}

fn hincrbyfloat(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let field = args.at(2);
    let increment = LongDouble::parse(args.at(3)).ok_or(CommandError::NotFloat)?;
    if increment.is_nan_or_inf() {
        return Err(CommandError::text("ERR value is NaN or Infinity"));
    }
    let limits = encoding_limits::hash(cx.config);
    let text = change(cx, args.at(1), |hash| {
        let mut digits = Digits::new();
        let old = hash.view().get(field);
        let old = old.map_or(&b"0"[..], |old| old.text(&mut digits));
        let old =
            LongDouble::parse(old).ok_or(CommandError::text("ERR hash value is not a float"))?;
        let sum = old.add(increment);
        if sum.is_nan_or_inf() {
            return Err(CommandError::text(
                "ERR increment would produce NaN or Infinity",
            ));
        }
        let text = sum.to_human();
        hash.update(field, text.as_bytes(), limits);
        Ok((text, true))
    })?;
    cx.reply.text(&text);
    Ok(())
}

fn hrandfield(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let mut random = Random(cx.random);
    if args.len() == 2 {
        let hash = cx.keys.hash(args.at(1))?;
        match hash.and_then(|hash| hash.random(|| random.next_u64())) {
            Some((field, _)) => cx.reply.bulk(field.text(&mut Digits::new())),
            None => cx.reply.nil(),
        }
        return Ok(());
    }
    let (count, with_values) = random_elements::count_with(args, b"WITHVALUES")?;
    let Some(hash) = cx.keys.hash(args.at(1))? else {
        cx.reply.array(0);
        return Ok(());
    };
    let draw = |random: &mut Random| hash.random(|| random.next_u64());
    let name = |(field, _): &(Element<'_>, Element<'_>)| field.to_vec();
    let chosen =
        random_elements::chosen((count, hash.len()), hash.iter(), &mut random, draw, name)?;
    let in_pairs = with_values && cx.reply.protocol() == Protocol::Resp3;
    let flat = chosen.len() * if with_values && !in_pairs { 2 } else { 1 };
    cx.reply.array(flat);
    for (field, value) in chosen {
        if in_pairs {
            cx.reply.array(2);
        }
        cx.reply.bulk(field.text(&mut Digits::new()));
        if with_values {
            cx.reply.bulk(value.text(&mut Digits::new()));
        }
    }
    Ok(())
}

fn hscan(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let cursor = number::parse_u64(args.at(2)).ok_or(CommandError::InvalidCursor)?;
    let Some(hash) = cx.keys.hash(args.at(1))? else {
        scan::reply_with_nothing(cx.reply);
        return Ok(());
    };
    let options = parse::ScanOptions::of(args, scan::COUNT, Some(b"NOVALUES"))?;
    let mut shown = Vec::new();
    let next = match hash {
        HashRef::Packed(..) => {
            let pairs = hash
                .iter()
                .map(|(field, value)| [field.to_vec(), value.to_vec()]);
            shown.extend(pairs);
            0
        }
        HashRef::Table(fields) => fields.scan(cursor, options.count, |field, value| {
            shown.push([field.to_vec(), value.to_vec()]);
        }),
    };
    scan::reply_with_pairs(cx.reply, next, shown, &options);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::script;

    script!(fields_are_set_read_and_deleted, |db| {
        db.run("HSET h a 1 b two a 3").int(2);
        db.run("HGET h a").bulk("3");
        db.run("HGET h c").nil();
        db.run("HGET none a").nil();
        db.run("HMGET h b c a")
            .is("*3\r\n$3\r\ntwo\r\n$-1\r\n$1\r\n3\r\n");
        db.run("HMGET none a b").is("*2\r\n$-1\r\n$-1\r\n");
        db.run("HLEN h").int(2);
        db.run("HSTRLEN h b").int(3);
        db.run("HSTRLEN h a").int(1);
        db.run("HEXISTS h a").int(1);
        db.run("HEXISTS h c").int(0);
        db.run("HSETNX h a 9").int(0);
        db.run("HSETNX h c 9").int(1);
        db.run("HDEL h a c x").int(2);
        db.run("HGETALL h").bulks(&["b", "two"]);
        db.run("TYPE h").is("+hash\r\n");
        db.run("HDEL h b").int(1);
        db.run("EXISTS h").int(0);
        db.run("DBSIZE").int(0);
    });

    script!(a_walk_may_leave_the_values_out, |db| {
        db.run("HSET h a 1 b 2 ab 3").int(3);
        db.run("SADD s a").int(1);
        db.run("HSCAN h 0 NOVALUES MATCH a*")
            .is("*2\r\n$1\r\n0\r\n*2\r\n$1\r\na\r\n$2\r\nab\r\n");
        db.run("HSCAN h 0 MATCH b")
            .is("*2\r\n$1\r\n0\r\n*2\r\n$1\r\nb\r\n$1\r\n2\r\n");
        db.run("SSCAN s 0 NOVALUES")
            .error("ERR NOVALUES option can only be used in HSCAN");
    });

    script!(a_packed_hash_keeps_the_order_of_its_fields, |db| {
        db.run("HMSET h z 1 a 2 m 3").ok();
        db.run("HSET h a 9").int(0);
        db.run("HKEYS h").bulks(&["z", "a", "m"]);
        db.run("HVALS h").bulks(&["1", "9", "3"]);
        db.run("HSCAN h 0").is(
            "*2\r\n$1\r\n0\r\n*6\r\n$1\r\nz\r\n$1\r\n1\r\n$1\r\na\r\n$1\r\n9\r\n$1\r\nm\r\n$1\r\n3\r\n",
        );
        db.run("HSCAN h 0 MATCH [ab]")
            .is("*2\r\n$1\r\n0\r\n*2\r\n$1\r\na\r\n$1\r\n9\r\n");
        db.resp3();
        db.run("HGETALL h")
            .is("%3\r\n$1\r\nz\r\n$1\r\n1\r\n$1\r\na\r\n$1\r\n9\r\n$1\r\nm\r\n$1\r\n3\r\n");
        db.run("HGETALL none").is("%0\r\n");
    });

    script!(a_hash_that_grows_becomes_a_table, |db| {
        db.run("CONFIG SET hash-max-listpack-entries 4").ok();
        for i in 0..4 {
            db.run(&format!("HSET h f{i} {i}")).int(1);
        }
        db.run("OBJECT ENCODING h").bulk("listpack");
        db.run("HSET h f4 4").int(1);
        db.run("OBJECT ENCODING h").bulk("hashtable");
        db.run("HDEL h f0 f1 f2").int(3);
        db.run("OBJECT ENCODING h").bulk("hashtable");
        db.run("HMGET h f3 f4").bulks(&["3", "4"]);
        db.run("COPY h copy").int(1);
        db.run("HSET h f3 other").int(0);
        db.run("HGET copy f3").bulk("3");
        db.run("RENAME copy h").ok();
        db.run("HGET h f3").bulk("3");
        db.run("PEXPIRE h 100000").int(1);
        db.run("HINCRBY h f3 4").int(7);
        db.run("PTTL h").int(100_000);
        db.run("SET h string").ok();
        db.run("GET h").bulk("string");
        db.run("DEL h").int(1);
        let long = "x".repeat(65);
        db.run(&format!("HSET long f {long}")).int(1);
        db.run("OBJECT ENCODING long").bulk("hashtable");
        db.run("HGET long f").bulk(&long);
        db.run("DBSIZE").int(1);
    });

    script!(a_hash_of_many_fields_is_walked_over_whole, |db| {
        for i in 0..2_000 {
            db.run(&format!("HSET h field:{i} {i}")).int(1);
        }
        db.run("HLEN h").int(2_000);
        let (mut cursor, mut seen, mut calls) =
            ("0".to_owned(), std::collections::BTreeSet::new(), 0);
        loop {
            let reply = db.run(&format!("HSCAN h {cursor} COUNT 100"));
            let text = String::from_utf8_lossy(reply.bytes()).into_owned();
            let mut lines = text.split("\r\n");
            cursor = lines.nth(2).unwrap_or("0").to_owned();
            seen.extend(
                lines
                    .filter(|line| line.starts_with("field:"))
                    .map(str::to_owned),
            );
            calls += 1;
            if cursor == "0" {
                break;
            }
        }
        assert_eq!(seen.len(), 2_000);
        assert!((5..100).contains(&calls), "{calls} calls");
    });

    script!(numbers_in_fields_are_added_to, |db| {
        db.run("HINCRBY h n 5").int(5);
        db.run("HINCRBY h n -7").int(-2);
        db.run("HINCRBYFLOAT h n 0.5").bulk("-1.5");
        db.run("HINCRBY h n 1")
            .error("ERR hash value is not an integer");
        db.run("HSET h s text").int(1);
        db.run("HINCRBYFLOAT h s 1")
            .error("ERR hash value is not a float");
        db.run("HINCRBYFLOAT h n inf")
            .error("ERR value is NaN or Infinity");
        db.run("HSET h max 9223372036854775807").int(1);
        db.run("HINCRBY h max 1")
            .error("ERR increment or decrement would overflow");
        db.run("HINCRBY new n x")
            .error("ERR value is not an integer or out of range");
        db.run("EXISTS new").int(0);
    });

    script!(fields_by_chance_are_of_the_hash, |db| {
        db.run("HRANDFIELD none").nil();
        db.run("HRANDFIELD none 3").is("*0\r\n");
        db.run("HSET h a 1").int(1);
        db.run("HRANDFIELD h").bulk("a");
        db.run("HRANDFIELD h 5").bulks(&["a"]);
        db.run("HRANDFIELD h -3 WITHVALUES")
            .bulks(&["a", "1", "a", "1", "a", "1"]);
        db.run("HRANDFIELD h 0").is("*0\r\n");
        db.run("HRANDFIELD h 1 x").error("ERR syntax error");
        db.run("HRANDFIELD h -9223372036854775808").error(
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        );
        db.resp3();
        db.run("HRANDFIELD h 1 WITHVALUES")
            .is("*1\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n");
    });

    script!(different_fields_are_drawn, |db| {
        for i in 0..100 {
            db.run(&format!("HSET h {i} {i}")).int(1);
        }
        for count in [1, 10, 33, 34, 99, 100, 1000] {
            let reply = db.run(&format!("HRANDFIELD h {count}"));
            let text = String::from_utf8_lossy(reply.bytes()).into_owned();
            let drawn: Vec<_> = text.split("\r\n").skip(2).step_by(2).collect();
            let different: std::collections::BTreeSet<_> = drawn.iter().collect();
            assert_eq!(drawn.len(), count.min(100));
            assert_eq!(different.len(), drawn.len());
        }
    });

    script!(another_type_is_refused, |db| {
        const WRONG: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
        db.run("SET s text").ok();
        db.run("HSET h a 1").int(1);
        for command in [
            "HSET s a 1",
            "HGET s a",
            "HDEL s a",
            "HGETALL s",
            "HLEN s",
            "HINCRBY s a 1",
            "HSCAN s 0",
            "HRANDFIELD s",
            "GET h",
            "APPEND h x",
            "INCR h",
            "GETRANGE h 0 1",
            "SETBIT h 0 1",
            "PFADD h a",
        ] {
            db.run(command).error(WRONG);
        }
        db.run("HSET h a")
            .error("ERR wrong number of arguments for 'hset' command");
        db.run("HSET h a 1 b")
            .error("ERR wrong number of arguments for 'hset' command");
        db.run("HSCAN h x").error("ERR invalid cursor");
        db.run("HSCAN h 0 COUNT 0").error("ERR syntax error");
        db.run("HSCAN none 0 nonsense")
            .is("*2\r\n$1\r\n0\r\n*0\r\n");
    });
}
