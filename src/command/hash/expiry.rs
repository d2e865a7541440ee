//! Hashes whose fields go at a time of their own: the commands that Redis has since 7.4 and 8.0.

use std::ops::Range;

use super::super::argument::{KEY, after, block, multiple, oneof, optional, word};
use super::super::expire::{CONDITION, Condition, Unit};
use super::super::{Argument, Arity::*, Command, Context, Flags, KeySpec, parse};
use super::{FIELD, PAIRS, READ_FAST, ROW as HASH_ROW, UPDATE, WRITE_FAST};
use crate::clock::UnixMs;
use crate::engine::encoding_limits;
use crate::error::CommandError;
use crate::keyspace::entry::ValueType;
use crate::resp::Args;
use crate::value::fields::Deadline;
use crate::value::hash::Hash;
use crate::value::listpack::Element;
use crate::value::number;

/// The latest moment that a client may ask for: Redis keeps two bits of its deadlines for later.
const LATEST_MS: i64 = Deadline::MAX_MS >> 2;

const NUMFIELDS: Argument = Argument::new("numfields", "integer");
const FIELDS: Argument = after("FIELDS", block("fields", &[NUMFIELDS, multiple(FIELD)]));
const FIELDS_AND_VALUES: Argument = after("FIELDS", block("fields", &[NUMFIELDS, PAIRS]));

const SECONDS: Argument = Argument::new("seconds", "integer");
const MILLISECONDS: Argument = Argument::new("milliseconds", "integer");
const AT_SECONDS: Argument = Argument::new("unix-time-seconds", "unix-time");
const AT_MILLISECONDS: Argument = Argument::new("unix-time-milliseconds", "unix-time");
const EX: Argument = after("EX", SECONDS);
const PX: Argument = after("PX", MILLISECONDS);
const EXAT: Argument = after("EXAT", AT_SECONDS);
const PXAT: Argument = after("PXAT", AT_MILLISECONDS);

const NO_FIELD: i64 = -2;
const NO_DEADLINE: i64 = -1;
const NOT_MET: i64 = 0;
const DONE: i64 = 1;
const DELETED: i64 = 2;

/// The rows of this family.
pub(in super::super) const COMMANDS: &[Command] = &[
    Command {
        name: "hexpire",
        run: hexpire,
        arguments: &[KEY, SECONDS, CONDITION, FIELDS],
        summary: "Has fields of a hash expire after seconds.",
        ..EXPIRE
    },
    Command {
        name: "hpexpire",
        run: hpexpire,
        arguments: &[KEY, MILLISECONDS, CONDITION, FIELDS],
        summary: "Has fields of a hash expire after milliseconds.",
        ..EXPIRE
    },
    Command {
        name: "hexpireat",
        run: hexpireat,
        arguments: &[KEY, AT_SECONDS, CONDITION, FIELDS],
        summary: "Has fields of a hash expire at a time in seconds.",
        ..EXPIRE
    },
    Command {
        name: "hpexpireat",
        run: hpexpireat,
        arguments: &[KEY, AT_MILLISECONDS, CONDITION, FIELDS],
        summary: "Has fields of a hash expire at a time in milliseconds.",
        ..EXPIRE
    },
    Command {
        name: "httl",
        run: httl,
        summary: "Tells how many seconds fields of a hash have left.",
        tips: &["nondeterministic_output"],
        ..TTL
    },
    Command {
        name: "hpttl",
        run: hpttl,
        summary: "Tells how many milliseconds fields of a hash have left.",
        tips: &["nondeterministic_output"],
        ..TTL
    },
    Command {
        name: "hexpiretime",
        run: hexpiretime,
        summary: "Tells when fields of a hash expire, in seconds.",
        ..TTL
    },
    Command {
        name: "hpexpiretime",
        run: hpexpiretime,
        summary: "Tells when fields of a hash expire, in milliseconds.",
        ..TTL
    },
    Command {
        name: "hpersist",
        arity: AtLeast(5),
        keys: UPDATE,
        flags: WRITE_FAST,
        run: hpersist,
        summary: "Has fields of a hash never expire.",
        arguments: &[KEY, FIELDS],
        ..ROW
    },
    Command {
        name: "hgetdel",
        arity: AtLeast(5),
        keys: &[KeySpec::at(1, &["RW", "access", "delete"])],
        flags: WRITE_FAST,
        run: hgetdel,
        since: "8.0.0",
        summary: "Returns the values of fields of a hash and takes the fields out.",
        arguments: &[KEY, FIELDS],
        ..ROW
    },
    Command {
        name: "hgetex",
        arity: AtLeast(5),
        keys: &[KeySpec::at(1, &["RW", "access", "update"])],
        flags: WRITE_FAST,
        run: hgetex,
        since: "8.0.0",
        summary: "Returns the values of fields of a hash and has the fields expire, or not.",
        arguments: &[
            KEY,
            optional(oneof(
                "expiration",
                &[EX, PX, EXAT, PXAT, word("persist", "PERSIST")],
            )),
            FIELDS,
        ],
        ..ROW
    },
    Command {
        name: "hsetex",
        arity: AtLeast(6),
        keys: UPDATE,
        flags: WRITE_FAST.and(Flags::DENYOOM),
        run: hsetex,
        since: "8.0.0",
        summary: "Sets fields of a hash and has them expire.",
        arguments: &[
            KEY,
            optional(oneof(
                "condition",
                &[word("fnx", "FNX"), word("fxx", "FXX")],
            )),
            optional(oneof(
                "expiration",
                &[EX, PX, EXAT, PXAT, word("keepttl", "KEEPTTL")],
            )),
            FIELDS_AND_VALUES,
        ],
        ..ROW
    },
];

const ROW: Command = Command {
    since: "7.4.0",
    complexity: "O(1) for each field.",
    ..HASH_ROW
};

const EXPIRE: Command = Command {
    arity: AtLeast(6),
    keys: UPDATE,
    flags: WRITE_FAST,
    ..ROW
};

const TTL: Command = Command {
    arity: AtLeast(5),
    keys: &[KeySpec::at(1, &["RO", "access"])],
    flags: READ_FAST,
    arguments: &[KEY, FIELDS],
    ..ROW
};

/// The fields that are named from FIELDS on, where nothing else may stand.
fn only_fields(args: &Args<'_>) -> Result<Range<usize>, CommandError> {
    let at = 2;
    if !args.at(at).eq_ignore_ascii_case(b"FIELDS") {
        return Err(CommandError::text(
            "ERR Mandatory argument FIELDS is missing or not at the right position",
        ));
    }
    let number = args.from(at + 1).next().and_then(number::parse_i64);
    let number = number.filter(|number| *number > 0);
    let number = number.ok_or(CommandError::text(
        "ERR Number of fields must be a positive integer",
    ))?;
    if usize::try_from(number) != Ok(args.len() - at - 2) {
        return Err(CommandError::text(
            "ERR The `numfields` parameter must match the number of arguments",
        ));
    }
    Ok(at + 2..args.len())
}

/// Where the fields are whose FIELDS is at a place, where options may stand before and behind them. Each takes so many arguments;
/// `refusal` is for a number that is none.
fn fields_among_options(
    args: &Args<'_>,
    at: usize,
    width: usize,
    refusal: &'static str,
) -> Result<Range<usize>, CommandError> {
    let number = number::parse_i64(args.at(at + 1));
    let number = number.filter(|number| (1..=i64::from(i32::MAX)).contains(number));
    let number = number.ok_or(CommandError::text(refusal))?;
    let (from, len) = (at + 2, number as usize * width);
    if args.len() - from < len {
        return Err(CommandError::text("ERR wrong number of arguments"));
    }
    Ok(from..from + len)
}

const FIELDS_TWICE: CommandError =
    CommandError::text("ERR FIELDS keyword specified multiple times");
const NO_FIELDS: CommandError = CommandError::text("ERR missing FIELDS argument");

fn unknown_argument(word: &[u8]) -> CommandError {
    CommandError::with_word("ERR unknown argument: ", word, "")
}

/// A time as a client says it, in milliseconds since the epoch.
fn moment(
    text: &[u8],
    unit: Unit,
    base_ms: i64,
    command: &'static str,
) -> Result<i64, CommandError> {
    let time = parse::integer(text)?;
    if time < 0 {
        return Err(CommandError::text("ERR invalid expire time, must be >= 0"));
    }
    time.checked_mul(unit.in_ms())
        .and_then(|ms| ms.checked_add(base_ms))
        .filter(|ms| *ms <= LATEST_MS)
        .ok_or(CommandError::InvalidExpire(command))
}

/// Gives a field that exists a deadline. One that has come takes the field out.
fn set_moment(hash: &mut Hash, field: &[u8], at_ms: i64, now: UnixMs) -> i64 {
    match Deadline::of_ms(at_ms).filter(|_| at_ms > now.0) {
        Some(deadline) => {
            hash.set_deadline(field, Some(deadline));
            DONE
        }
        None => {
            hash.remove(field);
            DELETED
        }
    }
}

/// Which type the key has is looked at before anything else.
fn must_be_hash(cx: &mut Context<'_>, key: &[u8]) -> Result<(), CommandError> {
    match cx.keys.value_type(key) {
        None | Some(ValueType::Hash) => Ok(()),
        Some(_) => Err(CommandError::WrongType),
    }
}

/// Has each of these fields changed, and gives what came of it; `none` is for each where there is no hash.
/// `change` gives its result and whether it changed anything.
fn change_each<R: Clone>(
    cx: &mut Context<'_>,
    args: &Args<'_>,
    fields: Range<usize>,
    none: R,
    mut change: impl FnMut(&mut Hash, &[u8]) -> (R, bool),
) -> Result<Vec<R>, CommandError> {
    let results = cx.keys.change(args.at(1), ValueType::Hash, false, |hash| {
        let mut changes = 0;
        let each = fields.clone().map(|at| {
            let field = args.at(at);
            let (result, changed) = change(hash, field);
            changes += usize::from(changed);
            result
        });
        let results: Vec<R> = each.collect();
        Ok((results, changes))
    })?;
    Ok(results.unwrap_or_else(|| vec![none; fields.len()]))
}

fn reply_with_numbers(cx: &mut Context<'_>, numbers: &[i64]) {
    cx.reply.array(numbers.len());
    numbers.iter().for_each(|number| cx.reply.int(*number));
}

fn reply_with_values(cx: &mut Context<'_>, values: &[Option<Vec<u8>>]) {
    cx.reply.array(values.len());
    for value in values {
        match value {
            Some(value) => cx.reply.bulk(value),
            None => cx.reply.nil(),
        }
    }
}

fn hexpire(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let base = cx.now.0;
    set_deadlines(cx, args, "hexpire", Unit::Seconds, base)
}

fn hpexpire(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let base = cx.now.0;
    set_deadlines(cx, args, "hpexpire", Unit::Milliseconds, base)
}

fn hexpireat(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    set_deadlines(cx, args, "hexpireat", Unit::Seconds, 0)
}

fn hpexpireat(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    set_deadlines(cx, args, "hpexpireat", Unit::Milliseconds, 0)
}

fn set_deadlines(
    cx: &mut Context<'_>,
    args: &Args<'_>,
    command: &'static str,
    unit: Unit,
    base_ms: i64,
) -> Result<(), CommandError> {
    must_be_hash(cx, args.at(1))?;
    let at_ms = moment(args.at(2), unit, base_ms, command)?;
    let (condition, fields) = condition_and_fields(args)?;
    let now = cx.now;
    let results = change_each(cx, args, fields, NO_FIELD, |hash, field| {
        let Some(old) = hash.deadline(field) else {
            return (NO_FIELD, false);
        };
        if !condition.holds(old.map(|old| UnixMs(old.ms())), at_ms) {
            return (NOT_MET, false);
        }
        (set_moment(hash, field, at_ms, now), true)
    })?;
    reply_with_numbers(cx, &results);
    Ok(())
}

/// What stands behind the time of HEXPIRE, in any order.
fn condition_and_fields(args: &Args<'_>) -> Result<(Condition, Range<usize>), CommandError> {
    let (mut condition, mut are_several, mut fields) = (None, false, None);
    let mut at = 3;
    while at < args.len() {
        let word = args.at(at);
        if let Some(named) = Condition::of_word(word) {
            are_several |= condition.is_some_and(|before| before != named);
            condition = Some(named);
            at += 1;
        } else if !word.eq_ignore_ascii_case(b"FIELDS") {
            return Err(unknown_argument(word));
        } else if fields.is_some() {
            return Err(FIELDS_TWICE);
        } else if args.len() - at < 3 {
            return Err(CommandError::text(
                "ERR FIELDS requires at least numfields and one field argument",
            ));
        } else {
            let refusal = "ERR Parameter `numFields` should be greater than 0";
            let named = fields_among_options(args, at, 1, refusal)?;
            at = named.end;
            fields = Some(named);
        }
    }
    let fields = fields.ok_or(NO_FIELDS)?;
    match are_several {
        true => Err(CommandError::text("ERR Multiple condition flags specified")),
        false => Ok((condition.unwrap_or_default(), fields)),
    }
}

fn httl(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    reply_deadlines(cx, args, |now, at| rounded_up(at - now))
}

fn hpttl(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    reply_deadlines(cx, args, |now, at| at - now)
}

fn hexpiretime(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    reply_deadlines(cx, args, |_, at| rounded_up(at))
}

fn hpexpiretime(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    reply_deadlines(cx, args, |_, at| at)
}

/// Whole seconds: of a field what is begun counts, where TTL rounds to the nearest.
fn rounded_up(ms: i64) -> i64 {
    ms.saturating_add(999) / 1000
}

fn reply_deadlines(
    cx: &mut Context<'_>,
    args: &Args<'_>,
    shown: impl Fn(i64, i64) -> i64,
) -> Result<(), CommandError> {
    must_be_hash(cx, args.at(1))?;
    let fields = only_fields(args)?;
    let now = cx.now.0;
    let hash = cx.keys.hash(args.at(1))?;
    cx.reply.array(fields.len());
    for field in fields.map(|at| args.at(at)) {
        cx.reply
            .int(match hash.and_then(|hash| hash.deadline(field)) {
                None => NO_FIELD,
                Some(None) => NO_DEADLINE,
                Some(Some(at)) => shown(now, at.ms()),
            });
    }
    Ok(())
}

fn hpersist(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    must_be_hash(cx, args.at(1))?;
    let fields = only_fields(args)?;
    let results = change_each(cx, args, fields, NO_FIELD, |hash, field| {
        match hash.deadline(field) {
            None => (NO_FIELD, false),
            Some(None) => (NO_DEADLINE, false),
            Some(Some(_)) => (DONE, hash.set_deadline(field, None)),
        }
    })?;
    reply_with_numbers(cx, &results);
    Ok(())
}

fn value_of(hash: &Hash, field: &[u8]) -> Option<Vec<u8>> {
    hash.view().get(field).map(Element::to_vec)
}

fn hgetdel(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    must_be_hash(cx, args.at(1))?;
    let fields = only_fields(args)?;
    let values = change_each(cx, args, fields, None, |hash, field| {
        let value = value_of(hash, field);
        (value, hash.remove(field))
    })?;
    reply_with_values(cx, &values);
    Ok(())
}

/// What HGETEX and HSETEX do with the deadlines of the fields.
#[derive(Clone, Copy)]
enum Then {
    /// Nothing is said of them.
    Nothing,
    /// They go.
    Persist,
    /// They stay as they are.
    Keep,
    /// This is the new one.
    At(i64),
}

impl Then {
    /// What an option at a place asks for besides, and how many arguments it takes.
    fn with_option(
        self,
        cx: &Context<'_>,
        args: &Args<'_>,
        at: usize,
        form: Form,
    ) -> Result<(Self, usize), CommandError> {
        let word = args.at(at);
        let (asked, timed) = match (word.to_ascii_uppercase().as_slice(), form) {
            (b"PERSIST", Form::GetEx) => (Self::Persist, None),
            (b"KEEPTTL", Form::SetEx) => (Self::Keep, None),
            (b"EX", _) => (Self::At(cx.now.0), Some(Unit::Seconds)),
            (b"PX", _) => (Self::At(cx.now.0), Some(Unit::Milliseconds)),
            (b"EXAT", _) => (Self::At(0), Some(Unit::Seconds)),
            (b"PXAT", _) => (Self::At(0), Some(Unit::Milliseconds)),
            _ => return Err(unknown_argument(word)),
        };
        if !matches!(self, Self::Nothing) {
            return Err(form.said_twice());
        }
        let (Self::At(base_ms), Some(unit)) = (asked, timed) else {
            return Ok((asked, 1));
        };
        let time = args.from(at + 1).next();
        let time = time.ok_or(CommandError::text("ERR missing expire time"))?;
        let at_ms = moment(time, unit, base_ms, form.command())?;
        Ok((Self::At(at_ms), 2))
    }
}

fn hgetex(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    must_be_hash(cx, args.at(1))?;
    let FieldOptions { then, fields, .. } = FieldOptions::of(cx, args, Form::GetEx)?;
    let now = cx.now;
    let values = change_each(cx, args, fields, None, |hash, field| {
        let value = value_of(hash, field);
        let changed = match then {
            _ if value.is_none() => false,
            Then::Nothing | Then::Keep => false,
            Then::Persist => {
                let has_deadline = hash.deadline(field).flatten().is_some();
                has_deadline && hash.set_deadline(field, None)
            }
            Then::At(at_ms) => {
                set_moment(hash, field, at_ms, now);
                true
            }
        };
        (value, changed)
    })?;
    reply_with_values(cx, &values);
    Ok(())
}

/// The commands whose fields stand among options.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    GetEx,
    SetEx,
}

impl Form {
    fn command(self) -> &'static str {
        match self {
            Self::GetEx => "hgetex",
            Self::SetEx => "hsetex",
        }
    }

    /// How many arguments each field takes.
    fn width(self) -> usize {
        match self {
            Self::GetEx => 1,
            Self::SetEx => 2,
        }
    }

    fn said_twice(self) -> CommandError {
        CommandError::text(match self {
            Self::GetEx => {
                "ERR Only one of EX, PX, EXAT, PXAT or PERSIST arguments can be specified"
            }
            Self::SetEx => {
                "ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified"
            }
        })
    }
}

/// What stands behind the key of HGETEX and HSETEX, in any order.
struct FieldOptions {
    /// FXX: all of the fields must exist; FNX: none of them may.
    must_exist: Option<bool>,
    then: Then,
    /// Where the fields are, or fields and values.
    fields: Range<usize>,
}

impl FieldOptions {
    fn of(cx: &Context<'_>, args: &Args<'_>, form: Form) -> Result<Self, CommandError> {
        let (mut must_exist, mut then, mut fields) = (None, Then::Nothing, None);
        let mut at = 2;
        while at < args.len() {
            let word = args.at(at);
            let name = word.to_ascii_uppercase();
            at += match (name.as_slice(), form) {
                (b"FIELDS", _) if fields.is_some() => return Err(FIELDS_TWICE),
                (b"FIELDS", _) if at + 1 == args.len() => {
                    return Err(CommandError::WrongArity(form.command().into()));
                }
                (b"FIELDS", _) => {
                    let refusal = "ERR invalid number of fields";
                    let named = fields_among_options(args, at, form.width(), refusal)?;
                    2 + fields.insert(named).len()
                }
                (b"FXX" | b"FNX", Form::SetEx) if must_exist.is_some() => {
                    return Err(CommandError::text(
                        "ERR Only one of FXX or FNX arguments can be specified",
                    ));
                }
                (b"FXX" | b"FNX", Form::SetEx) => {
                    must_exist = Some(name == b"FXX");
                    1
                }
                _ => {
                    let (asked, len) = then.with_option(cx, args, at, form)?;
                    then = asked;
                    len
                }
            };
        }
        let fields = fields.ok_or(NO_FIELDS)?;
        Ok(Self {
            must_exist,
            then,
            fields,
        })
    }
}

fn hsetex(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let FieldOptions {
        must_exist,
        then,
        fields,
    } = FieldOptions::of(cx, args, Form::SetEx)?;
    let texts = || fields.clone().map(|at| args.at(at));
    let (limits, now) = (encoding_limits::hash(cx.config), cx.now);
    let make = must_exist != Some(true);
    let set = cx
        .keys
        .change(args.at(1), ValueType::Hash, make, |hash: &mut Hash| {
            let mut fields = texts().step_by(2);
            let exists = |field: &[u8]| hash.view().get(field).is_some();
            if must_exist.is_some_and(|must| !fields.all(|field| exists(field) == must)) {
                return Ok((false, 0));
            }
            texts().for_each(|text| hash.grow_for(&[text], limits));
            let mut pairs = texts();
            while let (Some(field), Some(value)) = (pairs.next(), pairs.next()) {
                match then {
                    Then::Keep => hash.update(field, value, limits),
                    _ => hash.set(field, value, limits),
                };
                if let Then::At(at_ms) = then {
                    set_moment(hash, field, at_ms, now);
                }
            }
            Ok((true, texts().len() / 2))
        })?;
    cx.reply.flag(set.unwrap_or(false));
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::{Db, script};

    /// As in Redis 8.10, where 8.0 had FIELDS at the end.
    #[test]
    fn options_stand_before_the_fields_or_behind_them() {
        let mut db = Db::new();
        for (request, expected) in [
            ("HEXPIRE h 10 FIELDS 1 a NX", "*1\r\n:1\r\n"),
            ("HEXPIRE h 10 NX NX FIELDS 1 a", "*1\r\n:0\r\n"),
            ("HSETEX h FIELDS 1 a 2 EX 100", ":1\r\n"),
            ("HSETEX h FIELDS 1 a 2 FNX", ":0\r\n"),
            ("HGETEX h FIELDS 1 a PX 5000", "*1\r\n$1\r\n2\r\n"),
            ("HTTL h FIELDS 1 a", "*1\r\n:5\r\n"),
            ("HGETEX h FIELDS 1 a PERSIST", "*1\r\n$1\r\n2\r\n"),
            ("HTTL h FIELDS 1 a", "*1\r\n:-1\r\n"),
            (
                "HEXPIRE h 1 FIELDS 1 a GT LT",
                "-ERR Multiple condition flags specified\r\n",
            ),
            (
                "HEXPIRE h 1 FIELDS 1 a foo",
                "-ERR unknown argument: foo\r\n",
            ),
            (
                "HEXPIRE h 1 FIELDS 2 a",
                "-ERR wrong number of arguments\r\n",
            ),
            (
                "HEXPIRE h 1 FIELDS 1 a FIELDS 1 b",
                "-ERR FIELDS keyword specified multiple times\r\n",
            ),
            ("HEXPIRE h 1 NX XX NX", "-ERR missing FIELDS argument\r\n"),
            (
                "HEXPIRE h 1 NX FIELDS 1",
                "-ERR FIELDS requires at least numfields and one field argument\r\n",
            ),
            (
                "HGETEX h EX 10 PX x FIELDS 1 a",
                "-ERR Only one of EX, PX, EXAT, PXAT or PERSIST arguments can be specified\r\n",
            ),
            ("HGETEX h FIELDS 1 a EX", "-ERR missing expire time\r\n"),
            ("HGETEX h FIELDS x a", "-ERR invalid number of fields\r\n"),
            (
                "HGETEX h EX 10 FIELDS",
                "-ERR wrong number of arguments for 'hgetex' command\r\n",
            ),
            (
                "HSETEX h FIELDS 2 a b c",
                "-ERR wrong number of arguments\r\n",
            ),
            ("HSETEX h FIELDS 1 a b c", "-ERR unknown argument: c\r\n"),
        ] {
            let _ = db.run("HSETNX h a 1");
            let reply = db.run(request);
            assert_eq!(reply.bytes(), expected.as_bytes(), "{request}");
        }
    }

    script!(fields_expire_each_at_its_time, |db| {
        db.run("HSET h a 1 b 2 c 3").int(3);
        db.run("HPEXPIRE h 10 FIELDS 2 a none").ints(&[1, -2]);
        db.run("HEXPIRE h 1 FIELDS 1 b").ints(&[1]);
        db.run("OBJECT ENCODING h").bulk("listpackex");
        db.run("HPTTL h FIELDS 4 a b c d").ints(&[10, 1000, -1, -2]);
        db.run("HTTL h FIELDS 2 a b").ints(&[1, 1]);
        db.advance(9);
        db.run("HGET h a").bulk("1");
        db.advance(1);
        db.run("HGET h a").nil();
        db.run("HLEN h").int(2);
        db.run("HGETALL h").bulks(&["b", "2", "c", "3"]);
        db.run("HPERSIST h FIELDS 3 a b c").ints(&[-2, 1, -1]);
        db.run("OBJECT ENCODING h").bulk("listpack");
        db.advance(5000);
        db.run("HLEN h").int(2);
        db.run("HPEXPIRE h 1 FIELDS 2 b c").ints(&[1, 1]);
        db.advance(1);
        db.run("HVALS h").is("*0\r\n");
        db.run("EXISTS h").int(0);
        db.run("HTTL h FIELDS 2 b c").ints(&[-2, -2]);
    });

    script!(large_hashes_lose_fields_too, |db| {
        db.run("CONFIG SET hash-max-listpack-entries 4").ok();
        db.run("HSET h a 1 b 2 c 3").int(3);
        db.run("HPEXPIRE h 10 FIELDS 2 a b").ints(&[1, 1]);
        db.run("HSET h d 4 e 5 f 6").int(3);
        db.run("OBJECT ENCODING h").bulk("hashtable");
        db.run("HPTTL h FIELDS 3 a b f").ints(&[10, 10, -1]);
        db.run("HPEXPIRE h 20 GT FIELDS 3 a f x").ints(&[1, 0, -2]);
        db.run("HPEXPIRE h 5 FIELDS 1 f").ints(&[1]);
        db.run("HPERSIST h FIELDS 1 b").ints(&[1]);
        db.advance(5);
        db.run("HEXISTS h f").int(0);
        db.advance(15);
        db.run("HLEN h").int(4);
        db.run("HPEXPIRE h 0 FIELDS 4 b c d e").ints(&[2, 2, 2, 2]);
        db.run("EXISTS h").int(0);
    });

    script!(conditions_look_at_the_deadline_before, |db| {
        db.run("HSET h a 1 b 2 c 3").int(3);
        db.run("HPEXPIRE h 1000 NX FIELDS 1 a").ints(&[1]);
        db.run("HPEXPIRE h 1000 NX FIELDS 2 a b").ints(&[0, 1]);
        db.run("HPEXPIRE h 2000 XX FIELDS 2 a c").ints(&[1, 0]);
        db.run("HPEXPIRE h 1500 GT FIELDS 3 a b c").ints(&[0, 1, 0]);
        db.run("HPEXPIRE h 1500 LT FIELDS 3 a b c").ints(&[1, 0, 1]);
        db.run("HPEXPIREAT h 1 NX FIELDS 4 a b c d")
            .ints(&[0, 0, 0, -2]);
        db.run("HEXPIREAT h 1 FIELDS 2 a d").ints(&[2, -2]);
        db.run("HEXISTS h a").int(0);
        db.run("HPEXPIREAT h 1700000001500 FIELDS 1 b").ints(&[1]);
        db.run("HPEXPIRETIME h FIELDS 1 b")
            .ints(&[1_700_000_001_500]);
        db.run("HEXPIRETIME h FIELDS 1 b").ints(&[1_700_000_002]);
    });

    script!(
        writing_a_field_ends_its_deadline_and_adding_to_it_does_not,
        |db| {
            db.run("HSET h a 1 b 2 c 3").int(3);
            db.run("HPEXPIRE h 10 FIELDS 3 a b c").ints(&[1, 1, 1]);
            db.run("HSET h a 5").int(0);
            db.run("HINCRBY h b 1").int(3);
            db.run("HINCRBYFLOAT h c 1.5").bulk("4.5");
            db.run("HPTTL h FIELDS 3 a b c").ints(&[-1, 10, 10]);
            db.run("HDEL h b").int(1);
            db.run("HSET h b 1").int(1);
            db.run("HPTTL h FIELDS 1 b").ints(&[-1]);
        }
    );

    script!(copies_and_payloads_keep_the_deadlines, |db| {
        for encoding in ["listpackex", "hashtable"] {
            if encoding == "hashtable" {
                db.run("CONFIG SET hash-max-listpack-entries 1").ok();
            }
            let _ = db.run("DEL h i j");
            db.run("HSET h a 1 b 2 c 3").int(3);
            db.run("HPEXPIREAT h 1700000005000 FIELDS 1 b").ints(&[1]);
            db.run("HPEXPIREAT h 1700000009000 FIELDS 1 c").ints(&[1]);
            db.run("OBJECT ENCODING h").bulk(encoding);
            db.run("COPY h i").int(1);
            db.run("RENAME h j").ok();
            let payload = db.run("DUMP j").bulk_bytes();
            db.run_args(&[b"RESTORE", b"h", b"0", &payload]).ok();
            for key in ["h", "i", "j"] {
                db.run(&format!("HPEXPIRETIME {key} FIELDS 3 a b c"))
                    .ints(&[-1, 1_700_000_005_000, 1_700_000_009_000]);
                db.run(&format!("OBJECT ENCODING {key}")).bulk(encoding);
            }
        }
    });

    script!(
        values_are_read_and_their_fields_go_or_get_a_deadline,
        |db| {
            db.run("HSET h a 1 b 2 c 3").int(3);
            db.run("HGETDEL h FIELDS 2 a x")
                .is("*2\r\n$1\r\n1\r\n$-1\r\n");
            db.run("HLEN h").int(2);
            db.run("HGETEX h PX 10 FIELDS 2 b x")
                .is("*2\r\n$1\r\n2\r\n$-1\r\n");
            db.run("HPTTL h FIELDS 2 b c").ints(&[10, -1]);
            db.run("HGETEX h FIELDS 1 b").bulks(&["2"]);
            db.run("HGETEX h PERSIST FIELDS 2 b c").bulks(&["2", "3"]);
            db.run("HPTTL h FIELDS 1 b").ints(&[-1]);
            db.run("HGETEX h EXAT 1 FIELDS 1 b").bulks(&["2"]);
            db.run("HKEYS h").bulks(&["c"]);
            db.run("HGETEX none EX 1 FIELDS 1 b").is("*1\r\n$-1\r\n");
            db.run("HGETDEL none FIELDS 1 b").is("*1\r\n$-1\r\n");
            db.run("HGETDEL h FIELDS 1 c").bulks(&["3"]);
            db.run("EXISTS h").int(0);
        }
    );

    script!(fields_are_set_with_a_deadline_all_or_none, |db| {
        db.run("HSETEX h FXX FIELDS 1 a 1").int(0);
        db.run("EXISTS h").int(0);
        db.run("HSETEX h FNX PX 100 FIELDS 2 a 1 b 2").int(1);
        db.run("HPTTL h FIELDS 2 a b").ints(&[100, 100]);
        db.run("HSETEX h FNX FIELDS 2 b 3 c 3").int(0);
        db.run("HSETEX h FXX FIELDS 2 b 3 c 3").int(0);
        db.run("HSETEX h FXX KEEPTTL FIELDS 2 a 5 b 6").int(1);
        db.run("HGETALL h").bulks(&["a", "5", "b", "6"]);
        db.run("HPTTL h FIELDS 2 a b").ints(&[100, 100]);
        db.run("HSETEX h FIELDS 1 a 7").int(1);
        db.run("HPTTL h FIELDS 2 a b").ints(&[-1, 100]);
        db.run("HSETEX h EX 2 FIELDS 1 a 8").int(1);
        db.run("HPTTL h FIELDS 1 a").ints(&[2000]);
        db.run("HSETEX h PXAT 1 FIELDS 2 a 1 b 2").int(1);
        db.run("EXISTS h").int(0);
    });

    // One that came back from disk was still there for EXISTS and TYPE, and gone for HGET and TTL.
    script!(
        a_hash_whose_fields_have_all_expired_is_gone_for_every_command,
        |db| {
            for gone in ["EXISTS h", "TTL h", "DEL h", "RENAMENX h g", "EXPIRE h 10"] {
                db.run("HSET h a 1 b 2").int(2);
                db.run("HPEXPIRE h 10 FIELDS 2 a b").ints(&[1, 1]);
                db.advance(10);
                let reply = db.run(gone);
                let expected = match gone {
                    "TTL h" => ":-2\r\n",
                    "RENAMENX h g" => "-ERR no such key\r\n",
                    _ => ":0\r\n",
                };
                assert_eq!(reply.bytes(), expected.as_bytes(), "{gone}");
            }
            db.run("HSETEX h PX 10 FIELDS 1 a 1").int(1);
            db.advance(10);
            db.run("TYPE h").simple("none");
        }
    );

    script!(what_redis_refuses_is_refused, |db| {
        db.run("SET s v").ok();
        db.run("HSET h a 1").int(1);
        let wrong = "WRONGTYPE Operation against a key holding the wrong kind of value";
        db.run("HEXPIRE s x FIELDS 1 a").error(wrong);
        db.run("HTTL s x 1 a").error(wrong);
        db.run("HSETEX s FIELDS 1 a 1").error(wrong);
        let no_fields = "ERR Mandatory argument FIELDS is missing or not at the right position";
        db.run("HTTL h a 1 a").error(no_fields);
        db.run("HEXPIRE h 1 a 1 a").error("ERR unknown argument: a");
        db.run("HEXPIRE h 1 YY FIELDS 1 a")
            .error("ERR unknown argument: YY");
        db.run("HGETEX h EX 1 a 1 a")
            .error("ERR unknown argument: a");
        let mismatch = "ERR The `numfields` parameter must match the number of arguments";
        db.run("HPERSIST h FIELDS 1 a b").error(mismatch);
        db.run("HEXPIRE h 1 FIELDS 0 a")
            .error("ERR Parameter `numFields` should be greater than 0");
        db.run("HGETDEL h FIELDS x a")
            .error("ERR Number of fields must be a positive integer");
        db.run("HEXPIRE h -1 FIELDS 1 a")
            .error("ERR invalid expire time, must be >= 0");
        db.run("HEXPIRE h x FIELDS 1 a")
            .error("ERR value is not an integer or out of range");
        db.run("HPEXPIREAT h 70368744177664 FIELDS 1 a")
            .error("ERR invalid expire time in 'hpexpireat' command");
        db.run("HPEXPIREAT h 70368744177663 FIELDS 1 a").ints(&[1]);
        db.run("HSETEX h FNX FXX FIELDS 1 a 1")
            .error("ERR Only one of FXX or FNX arguments can be specified");
        db.run("HSETEX h EX 1 KEEPTTL FIELDS 1 a 1")
            .error("ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified");
        db.run("HSETEX h YY FIELDS 1 a 1")
            .error("ERR unknown argument: YY");
        db.run("HSETEX h EX 1 FIELDS 2 a 1")
            .error("ERR wrong number of arguments");
        db.run("HSETEX h FIELDS 0 a 1")
            .error("ERR invalid number of fields");
    });

    #[test]
    fn fields_that_nobody_reads_go_too() {
        let mut db = Db::new();
        db.run("CONFIG SET hash-max-listpack-entries 8").ok();
        for (key, fields) in [("packed", 4), ("large", 2000)] {
            for field in 0..fields {
                db.run(&format!("HSETEX {key} PX 10 FIELDS 1 {field} v"))
                    .int(1);
                db.run(&format!("HSETEX mixed:{key} PX 20 FIELDS 1 {field} v"))
                    .int(1);
            }
            db.run(&format!("HSET mixed:{key} stays v")).int(1);
        }
        db.expire();
        db.run("DBSIZE").int(4);
        db.advance(10);
        db.expire();
        db.run("DBSIZE").int(2);
        db.run("HLEN mixed:large").int(2001);
        db.advance(10);
        db.expire();
        let stats = db.run("INFO stats").bulk_bytes();
        let stats = String::from_utf8(stats).expect("text");
        assert!(stats.contains("expired_subkeys:4008\r\n"), "{stats}");
        db.run("DBSIZE").int(2);
        db.run("HGETALL mixed:packed").bulks(&["stays", "v"]);
        db.run("HGETALL mixed:large").bulks(&["stays", "v"]);
    }

    #[test]
    fn fields_of_an_emptied_database_hold_up_nothing() {
        let mut db = Db::new();
        for key in 0..5000 {
            db.run(&format!("HSETEX {key} PX 10 FIELDS 1 f v")).int(1);
        }
        db.run("FLUSHALL ASYNC").ok();
        db.run("HSETEX h PX 10 FIELDS 1 f v").int(1);
        db.advance(10);
        db.expire();
        db.run("DBSIZE").int(0);
    }
}
