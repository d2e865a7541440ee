//! Strings as rows of bits.

use super::argument::{self, KEY};
use super::{Argument, Arity::*, Command, Context, Flags, Group, KeySpec, object, parse};
use crate::error::CommandError;
use crate::keyspace::Expiry;
use crate::resp::Args;
use crate::value::bits::{self, BitRange, Operation, Unit};
use crate::value::number;

/// The rows of this family.
pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "setbit",
        arity: Exactly(4),
        keys: &[KeySpec::at(1, &["RW", "access", "update"])],
        flags: Flags::WRITE.and(Flags::DENYOOM),
        run: setbit,
        group: Group::Bitmap,
        since: "2.2.0",
        summary: "Sets one bit of a string, which grows as needed, and returns the old one.",
        arguments: &[
            KEY,
            Argument::new("offset", "integer"),
            Argument::new("value", "integer"),
        ],
        ..Command::BLANK
    },
    Command {
        name: "getbit",
        arity: Exactly(3),
        keys: &[KeySpec::at(1, &["RO", "access"])],
        flags: Flags::READONLY.and(Flags::FAST),
        run: getbit,
        group: Group::Bitmap,
        since: "2.2.0",
        summary: "Returns one bit of a string.",
        arguments: &[KEY, Argument::new("offset", "integer")],
        ..Command::BLANK
    },
    Command {
        name: "bitcount",
        arity: AtLeast(2),
        keys: &[KeySpec::at(1, &["RO", "access"])],
        flags: Flags::READONLY,
        run: bitcount,
        group: Group::Bitmap,
        since: "2.6.0",
        complexity: "O(N) in the length of the range.",
        summary: "Counts the set bits of a string.",
        arguments: &[
            KEY,
            argument::optional(argument::block(
                "index",
                &[
                    Argument::new("start", "integer"),
                    Argument::new("end", "integer"),
                    UNIT,
                ],
            )),
        ],
        ..Command::BLANK
    },
    Command {
        name: "bitpos",
        arity: AtLeast(3),
        keys: &[KeySpec::at(1, &["RO", "access"])],
        flags: Flags::READONLY,
        run: bitpos,
        group: Group::Bitmap,
        since: "2.8.7",
        complexity: "O(N) in the length of the range.",
        summary: "Finds the first bit of a string that is set, or that is not.",
        arguments: &[
            KEY,
            Argument::new("bit", "integer"),
            argument::optional(argument::block(
                "index",
                &[
                    Argument::new("start", "integer"),
                    argument::optional(argument::block(
                        "end_index",
                        &[Argument::new("end", "integer"), UNIT],
                    )),
                ],
            )),
        ],
        ..Command::BLANK
    },
    Command {
        name: "bitop",
        arity: AtLeast(4),
        keys: &[
            KeySpec::at(2, &["OW", "update"]),
            KeySpec::range(3, -1, 1, &["RO", "access"]),
        ],
        flags: Flags::WRITE.and(Flags::DENYOOM),
        run: bitop,
        group: Group::Bitmap,
        since: "2.6.0",
        complexity: "O(N) in the length of the strings.",
        summary: "Combines strings bit by bit and stores the result.",
        arguments: &[
            Argument::new("operation", "string"),
            argument::key("destkey", 0),
            argument::multiple(argument::key("key", 1)),
        ],
        ..Command::BLANK
    },
];

/// What the start and end of a range count.
const UNIT: Argument = argument::optional(argument::since(
    "7.0.0",
    argument::oneof(
        "index_unit",
        &[argument::word("byte", "BYTE"), argument::word("bit", "BIT")],
    ),
));

/// Reads the place of a bit, which must lie in a string of `proto-max-bulk-len` bytes. With a
/// `field_width` it may be `#n`: the place of the nth field of that width.
pub(super) fn offset(
    cx: &Context<'_>,
    text: &[u8],
    field_width: Option<u32>,
) -> Result<u64, CommandError> {
    let (text, width) = match (text, field_width) {
        ([b'#', index @ ..], Some(width)) => (index, i64::from(width)),
        _ => (text, 1),
    };
    number::parse_i64(text)
        // It wraps as Redis's does; what comes out is checked all the same.
        .map(|offset| offset.wrapping_mul(width))
        .and_then(|offset| u64::try_from(offset).ok())
        .filter(|offset| offset / 8 < cx.config.proto_max_bulk_len)
        .ok_or(CommandError::text(
            "ERR bit offset is not an integer or out of range",
        ))
}

fn setbit(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let key = args.at(1);
    let offset = offset(cx, args.at(2), None)?;
    let bit = match args.at(3) {
        b"0" => false,
        b"1" => true,
        _ => {
            return Err(CommandError::text(
                "ERR bit is not an integer or out of range",
            ));
        }
    };
    let needed = bits::bytes_for(offset);
    let old = cx.keys.string_for_write(key)?;
    let stays = old.is_some_and(|old| old.len() >= needed && bits::get(old, offset) == bit);
    let len = old.map_or(0, <[u8]>::len).max(needed);
    if stays {
        make_raw(cx, key);
        cx.reply.flag(bit);
        return Ok(());
    }
    let was = bits::set(cx.keys.string_resized(key, len)?, offset, bit);
    cx.reply.flag(was);
    Ok(())
}

/// Makes a string raw, which it becomes by SETBIT and BITFIELD even where they change no bit of it.
pub(super) fn make_raw(cx: &mut Context<'_>, key: &[u8]) {
    let entry = cx.keys.peek(key);
    if entry.is_some_and(|entry| object::encoding_name(entry) != "raw") {
        cx.keys.make_raw(key);
    }
}

fn getbit(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let offset = offset(cx, args.at(2), None)?;
    let value = cx.keys.string(args.at(1))?.unwrap_or_default();
    cx.reply.flag(bits::get(value, offset));
    Ok(())
}

/// What is counted: first and last index, and their unit.
type Interval = (i64, i64, Unit);

/// The interval of BITCOUNT; without one, all.
fn count_interval(args: &Args<'_>) -> Result<Option<Interval>, CommandError> {
    match args.len() {
        2 => Ok(None),
        4 | 5 => {
            let (start, end) = (parse::integer(args.at(2))?, parse::integer(args.at(3))?);
            Ok(Some((start, end, unit(args.get(4))?)))
        }
        _ => Err(CommandError::Syntax),
    }
}

fn bitcount(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let interval = count_interval(args)?;
    let Some(value) = cx.keys.string(args.at(1))? else {
        cx.reply.int(0);
        return Ok(());
    };
    let range = match interval {
        None => BitRange::whole(value.len()),
        Some((start, end, _)) if start < 0 && end < 0 && start > end => None,
        Some((start, end, unit)) => BitRange::for_count(start, end, unit, value.len()),
    };
    let count = range.map_or(0, |range| bits::count(value, range));
    cx.reply.int(count.cast_signed());
    Ok(())
}

fn unit(word: Option<&[u8]>) -> Result<Unit, CommandError> {
    match word {
        None => Ok(Unit::Byte),
        Some(word) if word.eq_ignore_ascii_case(b"BYTE") => Ok(Unit::Byte),
        Some(word) if word.eq_ignore_ascii_case(b"BIT") => Ok(Unit::Bit),
        Some(_) => Err(CommandError::Syntax),
    }
}

/// An absent key is a row of zeros without end.
fn bitpos(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let bit = match parse::integer(args.at(2))? {
        0 => false,
        1 => true,
        _ => {
            return Err(CommandError::text("ERR The bit argument must be 1 or 0."));
        }
    };
    let interval = position_interval(args)?;
    let Some(value) = cx.keys.string(args.at(1))? else {
        cx.reply.int(if bit { -1 } else { 0 });
        return Ok(());
    };
    let range = match interval {
        None => BitRange::whole(value.len()),
        Some((start, end, unit)) => BitRange::for_position(start, end, unit, value.len()),
    };
    let position = range.and_then(|range| bits::position(value, bit, range, args.len() > 4));
    cx.reply.int(position.map_or(-1, u64::cast_signed));
    Ok(())
}

/// The interval of BITPOS, whose end may be left out; without one, all.
fn position_interval(args: &Args<'_>) -> Result<Option<Interval>, CommandError> {
    if args.len() > 6 {
        return Err(CommandError::Syntax);
    }
    let Some(start) = args.get(3) else {
        return Ok(None);
    };
    let start = parse::integer(start)?;
    let unit = unit(args.get(5))?;
    let end = args.get(4).map_or(Ok(-1), parse::integer)?;
    Ok(Some((start, end, unit)))
}

fn bitop(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let operation = match args.at(1).to_ascii_uppercase().as_slice() {
        b"AND" => Operation::And,
        b"OR" => Operation::Or,
        b"XOR" => Operation::Xor,
        b"NOT" => Operation::Not,
        _ => return Err(CommandError::Syntax),
    };
    if operation == Operation::Not && args.len() != 4 {
        return Err(CommandError::text(
            "ERR BITOP NOT must be called with a single source key.",
        ));
    }
    for source in args.from(3) {
        cx.keys.string(source)?;
    }
    let keys = &cx.keys;
    let inputs: Vec<&[u8]> = args
        .from(3)
        .map(|source| keys.view_string(source).unwrap_or_default())
        .collect();
    let result = bits::combine(operation, &inputs);
    if result.is_empty() {
        cx.keys.remove(args.at(2));
    } else {
        cx.keys.set_raw(args.at(2), &result, Expiry::Set(None));
    }
    cx.reply.count(result.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::testing::{Db, script};

    script!(setbit_makes_the_string_as_long_as_needed, |db| {
        db.run("SETBIT k 7 1").int(0);
        db.run("GET k").bulk([1]);
        db.run("SETBIT k 7 1").int(1);
        db.run("SETBIT k 23 0").int(0);
        db.run("GET k").bulk([1, 0, 0]);
        db.run("SETBIT k 7 0").int(1);
        db.run("GETBIT k 7").int(0);
        db.run("GETBIT k 4294967295").int(0);
        db.run("GETBIT nokey 100").int(0);
        db.run("EXISTS nokey").int(0);
    });

    script!(setbit_keeps_the_expiry, |db| {
        db.run("SET k a").ok();
        db.run("PEXPIRE k 5000").int(1);
        db.run("SETBIT k 100 1").int(0);
        db.run("PTTL k").int(5000);
    });

    script!(setbit_refuses_what_redis_refuses, |db| {
        let offset = "ERR bit offset is not an integer or out of range";
        for place in ["x", "-1", "4294967296", "#0"] {
            db.run(&format!("SETBIT k {place} 2")).error(offset);
            db.run(&format!("GETBIT k {place}")).error(offset);
        }
        for bit in ["x", "2", "-1", "01"] {
            db.run(&format!("SETBIT k 1 {bit}"))
                .error("ERR bit is not an integer or out of range");
        }
        db.run("EXISTS k").int(0);
    });

    #[test]
    fn the_last_bit_is_the_last_of_proto_max_bulk_len() {
        let config = Config {
            proto_max_bulk_len: 1 << 20,
            ..Config::default()
        };
        let mut db = Db::with_config(config);
        db.run("SETBIT k 8388607 1").int(0);
        db.run("SETBIT k 8388608 1")
            .error("ERR bit offset is not an integer or out of range");
        db.run("BITFIELD k GET u8 #1048575").is("*1\r\n:1\r\n");
        db.run("BITFIELD k GET u8 #1048576")
            .error("ERR bit offset is not an integer or out of range");
    }

    script!(bitcount_counts_in_bytes_or_bits, |db| {
        db.run("SET k foobar").ok();
        db.run("SET empty \"\"").ok();
        db.run("BITCOUNT k").int(26);
        db.run("BITCOUNT k 0 0").int(4);
        db.run("BITCOUNT k 1 1 byte").int(6);
        db.run("BITCOUNT k 5 30 BIT").int(17);
        db.run("BITCOUNT k -2 -1").int(7);
        db.run("BITCOUNT k 4 2").int(0);
        db.run("BITCOUNT empty 0 -1").int(0);
        db.run("BITCOUNT k 0").error("ERR syntax error");
        db.run("BITCOUNT k 0 1 foo").error("ERR syntax error");
        db.run("BITCOUNT k 0 1 BIT 3").error("ERR syntax error");
        db.run("BITCOUNT k 0 x")
            .error("ERR value is not an integer or out of range");
    });

    script!(arguments_are_checked_before_the_key, |db| {
        db.run("RPUSH l a").int(1);
        for key in ["nokey", "l"] {
            for line in ["BITCOUNT K x 1", "BITCOUNT K 1 x foo", "BITPOS K 1 x"] {
                db.run(&line.replace('K', key))
                    .error("ERR value is not an integer or out of range");
            }
            for line in [
                "BITCOUNT K 0",
                "BITCOUNT K x",
                "BITCOUNT K -1 -2 foo",
                "BITPOS K 1 0 1 foo",
            ] {
                db.run(&line.replace('K', key)).error("ERR syntax error");
            }
        }
    });

    script!(memory: a_bit_that_stays_is_no_change, |db| {
        let changes = |db: &mut Db| {
            let info = db.run("INFO persistence");
            let info = String::from_utf8_lossy(info.bytes()).into_owned();
            let line = info.lines().find_map(|line| line.strip_prefix("rdb_changes_since_last_save:"));
            line.and_then(|count| count.parse::<i64>().ok()).unwrap()
        };
        db.run("SETBIT k 7 1").int(0);
        db.run("BITFIELD f SET u8 0 1").is("*1\r\n:0\r\n");
        let before = changes(&mut db);
        db.run("SETBIT k 7 1").int(1);
        db.run("SETBIT k 3 0").int(0);
        db.run("BITFIELD f SET u8 0 1 INCRBY u8 0 0 GET u8 0")
            .is("*3\r\n:1\r\n:1\r\n:1\r\n");
        db.run("BITFIELD f OVERFLOW FAIL INCRBY u8 0 1000").is("*1\r\n$-1\r\n");
        assert_eq!(changes(&mut db), before);
        db.run("SETBIT k 8 0").int(0);
        db.run("BITFIELD f SET u8 8 0").is("*1\r\n:0\r\n");
        db.run("BITFIELD f SET u8 0 1 SET u8 0 2").is("*2\r\n:1\r\n:1\r\n");
        assert_eq!(changes(&mut db), before + 3);
        db.run("STRLEN k").int(2);
    });

    script!(bitpos_finds_the_first, |db| {
        db.run_args(&[b"SET", b"k", b"\xff\xf0\x00"]).ok();
        db.run("SET empty \"\"").ok();
        db.run("BITPOS k 0").int(12);
        db.run("BITPOS k 1").int(0);
        db.run("BITPOS k 1 2").int(-1);
        db.run("BITPOS k 0 0 0").int(-1);
        db.run("BITPOS k 0 13 14 BIT").int(13);
        db.run_args(&[b"SET", b"ones", b"\xff"]).ok();
        db.run("BITPOS ones 0").int(8);
        db.run("BITPOS ones 0 0 -1").int(-1);
        db.run("BITPOS empty 0").int(-1);
        db.run("BITPOS nokey 0").int(0);
        db.run("BITPOS nokey 1 5").int(-1);
        db.run("BITPOS k 2")
            .error("ERR The bit argument must be 1 or 0.");
        db.run("BITPOS k x")
            .error("ERR value is not an integer or out of range");
        db.run("BITPOS k 0 x y foo")
            .error("ERR value is not an integer or out of range");
        db.run("BITPOS k 0 1 y foo").error("ERR syntax error");
        db.run("BITPOS k 0 1 2 BIT 4").error("ERR syntax error");
    });

    script!(bitop_combines_strings, |db| {
        db.run("SET a abc").ok();
        db.run("SET b ab").ok();
        db.run("PEXPIRE a 5000").int(1);
        db.run("BITOP and d a b nokey").int(3);
        db.run("GET d").bulk([0, 0, 0]);
        db.run("BITOP OR d a b").int(3);
        db.run("GET d").bulk("abc");
        db.run("BITOP XOR a a b").int(3);
        db.run("GET a").bulk([0, 0, b'c']);
        db.run("PTTL a").int(-1);
        db.run("BITOP NOT d b").int(2);
        db.run("GET d").bulk([!b'a', !b'b']);
        db.run("BITOP NOT d nokey").int(0);
        db.run("EXISTS d").int(0);
        db.run("BITOP NOT d a b")
            .error("ERR BITOP NOT must be called with a single source key.");
        db.run("BITOP foo d a").error("ERR syntax error");
    });

    script!(an_expired_source_is_empty, |db| {
        db.run("SET a abc").ok();
        db.run("SET b b").ok();
        db.run("PEXPIRE a 10").int(1);
        db.advance(10);
        db.run("BITOP OR d a b a").int(1);
        db.run("GET d").bulk("b");
    });
}
