//! Strings as rows of integers of any width.

use super::argument::{self, KEY};
use super::bitmap::{make_raw, offset};
use super::{Argument, Arity::*, Command, Context, Flags, Group, KeySpec, parse};
use crate::error::CommandError;
use crate::resp::{Args, Reply};
use crate::value::bits::{self, FieldType, Overflow};

/// The rows of this family.
pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "bitfield",
        arity: AtLeast(2),
        keys: &[KeySpec::at(
            1,
            &["RW", "access", "update", "variable_flags"],
        )],
        flags: Flags::WRITE.and(Flags::DENYOOM),
        key_flags: Some(bitfield_key_flags),
        run: bitfield,
        group: Group::Bitmap,
        since: "3.2.0",
        complexity: "O(1) for each operation.",
        summary: "Reads and writes integers of any width inside a string.",
        arguments: &[
            KEY,
            argument::flagged(
                &["optional", "multiple"],
                argument::oneof(
                    "operation",
                    &[
                        argument::after("GET", argument::block("encoding_offset", FIELD)),
                        WRITE,
                    ],
                ),
            ),
        ],
        ..Command::BLANK
    },
    Command {
        name: "bitfield_ro",
        arity: AtLeast(2),
        keys: &[KeySpec::at(1, &["RO", "access"])],
        flags: Flags::READONLY.and(Flags::FAST),
        run: bitfield_ro,
        group: Group::Bitmap,
        since: "6.0.0",
        complexity: "O(1) for each operation.",
        summary: "Reads integers of any width inside a string.",
        arguments: &[
            KEY,
            argument::flagged(
                &["optional", "multiple", "multiple_token"],
                argument::after("GET", argument::block("encoding_offset", FIELD)),
            ),
        ],
        ..Command::BLANK
    },
];

/// What GET takes.
const FIELD: &[Argument] = &[
    Argument::new("encoding", "string"),
    Argument::new("offset", "integer"),
];

/// The operations that write, with what they do on overflow.
const WRITE: Argument = argument::block(
    "write",
    &[
        argument::optional(argument::after(
            "OVERFLOW",
            argument::oneof(
                "wrap_sat_fail",
                &[
                    argument::word("wrap", "WRAP"),
                    argument::word("sat", "SAT"),
                    argument::word("fail", "FAIL"),
                ],
            ),
        )),
        argument::oneof(
            "write_operation",
            &[
                argument::after(
                    "SET",
                    argument::block(
                        "encoding_offset_value",
                        &[
                            Argument::new("encoding", "string"),
                            Argument::new("offset", "integer"),
                            Argument::new("value", "integer"),
                        ],
                    ),
                ),
                argument::after(
                    "INCRBY",
                    argument::block(
                        "encoding_offset_increment",
                        &[
                            Argument::new("encoding", "string"),
                            Argument::new("offset", "integer"),
                            Argument::new("increment", "integer"),
                        ],
                    ),
                ),
            ],
        ),
    ],
);

/// An operation on a field.
struct FieldOperation {
    field: FieldType,
    offset: u64,
    action: Action,
}

#[derive(Clone, Copy)]
enum Action {
    Get,
    Set(i64, Overflow),
    Increment(i64, Overflow),
}

fn bitfield(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let operations = parse_operations(cx, args)?;
    match last_written_bit(&operations) {
        None => read_fields(cx, args.at(1), &operations),
        Some(bit) => write_fields(cx, args.at(1), &operations, bits::bytes_for(bit)),
    }
}

fn bitfield_ro(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let operations = parse_operations(cx, args)?;
    if last_written_bit(&operations).is_some() {
        return Err(CommandError::text(
            "ERR BITFIELD_RO only supports the GET subcommand",
        ));
    }
    read_fields(cx, args.at(1), &operations)
}

fn last_written_bit(operations: &[FieldOperation]) -> Option<u64> {
    operations
        .iter()
        .filter(|operation| !matches!(operation.action, Action::Get))
        .map(|operation| operation.field.last_bit(operation.offset))
        .max()
}

fn read_fields(
    cx: &mut Context<'_>,
    key: &[u8],
    operations: &[FieldOperation],
) -> Result<(), CommandError> {
    let value = cx.keys.string(key)?.unwrap_or_default();
    cx.reply.array(operations.len());
    for operation in operations {
        cx.reply.int(operation.field.get(value, operation.offset));
    }
    Ok(())
}

/// The string grows to the last written field even where an operation fails on overflow.
fn write_fields(
    cx: &mut Context<'_>,
    key: &[u8],
    operations: &[FieldOperation],
    needed: usize,
) -> Result<(), CommandError> {
    let old = cx.keys.string_for_write(key)?;
    let len = old.map_or(0, <[u8]>::len);
    let grows = needed > len;
    let stays = old.is_some_and(|old| !grows && operations.iter().all(|o| !o.changes(old)));
    if stays {
        make_raw(cx, key);
        let old = cx.keys.peek_string(key)?.unwrap_or_default();
        cx.reply.array(operations.len());
        for operation in operations {
            operation.reply(operation.outcome(old), cx.reply);
        }
        return Ok(());
    }
    let mut changes = 0;
    let value = cx.keys.string_resized(key, len.max(needed))?;
    cx.reply.array(operations.len());
    for operation in operations {
        let outcome = operation.outcome(value);
        if let (false, Some((old, new))) = (matches!(operation.action, Action::Get), outcome) {
            changes += i64::from(grows || old != new);
            operation.field.set(value, operation.offset, new);
        }
        operation.reply(outcome, cx.reply);
    }
    cx.keys.count_further(changes - 1);
    Ok(())
}

impl FieldOperation {
    /// What the field has and what it gets; none where the operation fails on overflow.
    fn outcome(&self, value: &[u8]) -> Option<(i64, i64)> {
        let old = self.field.get(value, self.offset);
        let new = match self.action {
            Action::Get => old,
            Action::Set(new, overflow) => self.field.fit(new, overflow)?,
            Action::Increment(by, overflow) => self.field.add(old, by, overflow)?,
        };
        Some((old, new))
    }

    /// Whether the field gets what it does not have.
    fn changes(&self, value: &[u8]) -> bool {
        self.outcome(value).is_some_and(|(old, new)| old != new)
    }

    fn reply(&self, outcome: Option<(i64, i64)>, reply: &mut Reply) {
        match (outcome, self.action) {
            (Some((_, new)), Action::Increment(..)) => reply.int(new),
            (Some((old, _)), _) => reply.int(old),
            (None, _) => reply.nil(),
        }
    }
}

fn parse_operations(
    cx: &Context<'_>,
    args: &Args<'_>,
) -> Result<Vec<FieldOperation>, CommandError> {
    let (mut operations, mut overflow) = (Vec::new(), Overflow::Wrap);
    let mut at = 2;
    while let Some(word) = args.get(at) {
        let following = args.len() - at - 1;
        match word.to_ascii_uppercase().as_slice() {
            b"OVERFLOW" if following >= 1 => {
                overflow = parse_overflow(args.at(at + 1))?;
                at += 2;
            }
            b"GET" if following >= 2 => {
                operations.push(parse_operation(cx, args, at, |_| Ok(Action::Get))?);
                at += 3;
            }
            b"SET" if following >= 3 => {
                let set = |value: &[u8]| Ok(Action::Set(parse::integer(value)?, overflow));
                operations.push(parse_operation(cx, args, at, set)?);
                at += 4;
            }
            b"INCRBY" if following >= 3 => {
                let increment = |by: &[u8]| Ok(Action::Increment(parse::integer(by)?, overflow));
                operations.push(parse_operation(cx, args, at, increment)?);
                at += 4;
            }
            _ => return Err(CommandError::Syntax),
        }
    }
    Ok(operations)
}

/// Reads type and offset after the word at `at`; `action` reads what stands behind them.
fn parse_operation(
    cx: &Context<'_>,
    args: &Args<'_>,
    at: usize,
    action: impl FnOnce(&[u8]) -> Result<Action, CommandError>,
) -> Result<FieldOperation, CommandError> {
    let field = FieldType::parse(args.at(at + 1)).ok_or(CommandError::text(
        "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but \
         i64 is.",
    ))?;
    Ok(FieldOperation {
        field,
        offset: offset(cx, args.at(at + 2), Some(field.width()))?,
        action: action(args.get(at + 3).unwrap_or_default())?,
    })
}

fn parse_overflow(word: &[u8]) -> Result<Overflow, CommandError> {
    match word.to_ascii_uppercase().as_slice() {
        b"WRAP" => Ok(Overflow::Wrap),
        b"SAT" => Ok(Overflow::Saturate),
        b"FAIL" => Ok(Overflow::Fail),
        _ => Err(CommandError::text("ERR Invalid OVERFLOW type specified")),
    }
}

/// BITFIELD writes only where it is asked to.
fn bitfield_key_flags(args: &Args<'_>) -> &'static [&'static str] {
    let mut words = args.from(2);
    while let Some(word) = words.next() {
        let operands = match word.to_ascii_uppercase().as_slice() {
            b"GET" => 2,
            b"OVERFLOW" => 1,
            // SET and INCRBY write; what the command is going to refuse counts as if it would.
            _ => return &["RW", "access", "update"],
        };
        if words.len() < operands {
            return &["RW", "access", "update"];
        }
        words.nth(operands - 1);
    }
    &["RO", "access"]
}

#[cfg(test)]
mod tests {
    use crate::testing::script;

    script!(bitfield_writes_and_reads, |db| {
        db.run("BITFIELD k SET i5 100 -3 GET i5 100 GET u4 0 INCRBY i5 100 1")
            .is("*4\r\n:0\r\n:-3\r\n:0\r\n:-2\r\n");
        db.run("BITCOUNT k").int(4);
        db.run("BITFIELD k SET u8 #1 200").is("*1\r\n:0\r\n");
        db.run("BITFIELD_RO k get u8 8 overflow sat")
            .is("*1\r\n:200\r\n");
        db.run("BITFIELD k").is("*0\r\n");
        db.run("BITFIELD nokey GET u8 0").is("*1\r\n:0\r\n");
        db.run("EXISTS nokey").int(0);
    });

    script!(overflow_holds_for_what_follows, |db| {
        db.run("BITFIELD k INCRBY u2 0 5 OVERFLOW SAT INCRBY u2 2 5 OVERFLOW FAIL INCRBY u2 4 5")
            .is("*3\r\n:1\r\n:3\r\n$-1\r\n");
        db.run("BITFIELD k OVERFLOW fail SET u4 8 16 SET u4 8 15")
            .is("*2\r\n$-1\r\n:0\r\n");
        db.run("BITFIELD grown OVERFLOW FAIL INCRBY u2 0 5")
            .is("*1\r\n$-1\r\n");
        db.run("GET grown").bulk([0]);
        db.run("BITFIELD k SET u63 0 -1 GET i64 0")
            .is("*2\r\n:4069002263329243136\r\n:-2\r\n");
    });

    script!(bitfield_refuses_what_redis_refuses, |db| {
        let field = "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not \
                     supported but i64 is.";
        for word in ["u64", "i65", "u0", "x8", "8"] {
            db.run(&format!("BITFIELD k GET {word} 0")).error(field);
        }
        for place in ["x", "-1", "#x", "#-1", "4294967296", "#536870912"] {
            db.run(&format!("BITFIELD k GET u8 {place}"))
                .error("ERR bit offset is not an integer or out of range");
        }
        db.run("BITFIELD k SET u8 0 1 SET u8 0 x")
            .error("ERR value is not an integer or out of range");
        db.run("BITFIELD k SET u8 0 1 INCRBY u8 0")
            .error("ERR syntax error");
        db.run("BITFIELD k OVERFLOW").error("ERR syntax error");
        db.run("BITFIELD k OVERFLOW foo")
            .error("ERR Invalid OVERFLOW type specified");
        db.run("BITFIELD_RO k SET u8 0 1")
            .error("ERR BITFIELD_RO only supports the GET subcommand");
        db.run("EXISTS k").int(0);
    });
}
