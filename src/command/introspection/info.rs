//! COMMAND and COMMAND INFO: the ten fields of a command.

use super::super::table::{Row, table};
use super::super::{Begin, Context, Find, Flags, KeySpec, acl_categories};
use crate::error::CommandError;
use crate::resp::{Args, Reply};

/// The names of the flags, in the order in which Redis tells them. Those that it keeps to itself
/// (`may_replicate`, `protected`, `touches_arbitrary_keys`, `sentinel`) are not among them.
const FLAG_NAMES: &[(Flags, &str)] = &[
    (Flags::WRITE, "write"),
    (Flags::READONLY, "readonly"),
    (Flags::DENYOOM, "denyoom"),
    (Flags::ADMIN, "admin"),
    (Flags::PUBSUB, "pubsub"),
    (Flags::NOSCRIPT, "noscript"),
    (Flags::BLOCKING, "blocking"),
    (Flags::LOADING, "loading"),
    (Flags::STALE, "stale"),
    (Flags::SKIP_MONITOR, "skip_monitor"),
    (Flags::SKIP_SLOWLOG, "skip_slowlog"),
    (Flags::ASKING, "asking"),
    (Flags::FAST, "fast"),
    (Flags::NO_AUTH, "no_auth"),
    (Flags::NO_MANDATORY_KEYS, "no_mandatory_keys"),
    (Flags::NO_ASYNC_LOADING, "no_async_loading"),
    (Flags::NO_MULTI, "no_multi"),
    (Flags::MOVABLE_KEYS, "movablekeys"),
    (Flags::ALLOW_BUSY, "allow_busy"),
];

/// COMMAND INFO.
pub(super) fn info(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    if args.len() == 2 {
        all(cx.reply);
        return Ok(());
    }
    cx.reply.array(args.len() - 2);
    for name in args.from(2) {
        match table().find_full(name) {
            Some(row) => describe(cx.reply, row),
            None => cx.reply.nil(),
        }
    }
    Ok(())
}

/// All commands.
pub(super) fn all(reply: &mut Reply) {
    let rows = table().rows();
    reply.array(rows.len());
    rows.iter().for_each(|row| describe(reply, row));
}

fn describe(reply: &mut Reply, row: &Row) {
    let command = row.command;
    let range = KeyRange::of(command.keys);
    reply.array(10);
    reply.text(&row.full_name);
    reply.int(command.arity.as_number());
    describe_flags(reply, command.flags, range.movable);
    reply.count(range.first);
    reply.int(range.last as i64);
    reply.count(range.step);
    let categories: Vec<_> = acl_categories::of(command).collect();
    simple_set(reply, &categories);
    reply.set(command.tips.len());
    command.tips.iter().for_each(|tip| reply.text(tip));
    reply.set(command.keys.len());
    command
        .keys
        .iter()
        .for_each(|spec| describe_keys(reply, spec));
    // Redis has a set only where there are none.
    match row.subcommands.len() {
        0 => reply.set(0),
        count => reply.array(count),
    }
    row.subcommands.iter().for_each(|row| describe(reply, row));
}

fn describe_flags(reply: &mut Reply, flags: Flags, movable: bool) {
    let flags = if movable {
        flags.and(Flags::MOVABLE_KEYS)
    } else {
        flags
    };
    let names: Vec<_> = FLAG_NAMES
        .iter()
        .filter_map(|&(flag, name)| flags.has(flag).then_some(name))
        .collect();
    simple_set(reply, &names);
}

pub(super) fn simple_set(reply: &mut Reply, words: &[&str]) {
    reply.set(words.len());
    words.iter().for_each(|word| reply.simple(word));
}

fn describe_keys(reply: &mut Reply, spec: &KeySpec) {
    reply.map(3);
    reply.text("flags");
    simple_set(reply, spec.flags);
    reply.text("begin_search");
    match spec.begin {
        Begin::Index(index) => step(reply, "index", &[("index", Value::number(index))]),
        Begin::Unknown(_) => {
            step(reply, "unknown", &[]);
            reply.text("find_keys");
            step(reply, "unknown", &[]);
            return;
        }
        Begin::Keyword(word, from) | Begin::Option(word, from, _) => {
            let fields = [
                ("keyword", Value::Word(word)),
                ("startfrom", Value::Number(from as i64)),
            ];
            step(reply, "keyword", &fields);
        }
    }
    reply.text("find_keys");
    match spec.find {
        Find::Range {
            last,
            step: by,
            limit,
        } => {
            let fields = [
                ("lastkey", Value::Number(last as i64)),
                ("keystep", Value::number(by)),
                ("limit", Value::number(limit)),
            ];
            step(reply, "range", &fields);
        }
        Find::KeyNum {
            number,
            first,
            step: by,
        } => {
            let fields = [
                ("keynumidx", Value::number(number)),
                ("firstkey", Value::number(first)),
                ("keystep", Value::number(by)),
            ];
            step(reply, "keynum", &fields);
        }
    }
}

/// A value in a key spec.
enum Value {
    Number(i64),
    Word(&'static str),
}

impl Value {
    fn number(number: usize) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

/// One of the two steps of a key spec.
fn step(reply: &mut Reply, kind: &str, fields: &[(&str, Value)]) {
    reply.map(2);
    reply.text("type");
    reply.text(kind);
    reply.text("spec");
    reply.map(fields.len());
    for (name, value) in fields {
        reply.text(name);
        match value {
            Value::Number(number) => reply.int(*number),
            Value::Word(word) => reply.text(word),
        }
    }
}

/// Where the keys are, in the words of clients that know no key specs.
#[derive(Debug, Default, PartialEq, Eq)]
struct KeyRange {
    /// The first one. 0: there is none at a fixed place.
    first: usize,
    /// The last one, from the end if negative.
    last: isize,
    step: usize,
    /// Whether there are keys that a range cannot tell of.
    movable: bool,
}

impl KeyRange {
    /// One range is taken as it is. Of several those are joined that follow each other closely, as
    /// Redis does it; all others make the keys movable.
    fn of(specs: &[KeySpec]) -> Self {
        let ranges = specs.iter().map(|spec| match (spec.begin, spec.find) {
            (Begin::Index(index), Find::Range { last, step, .. }) => {
                let last = if last < 0 {
                    last
                } else {
                    last + index as isize
                };
                Some((index, last, step))
            }
            _ => None,
        });
        let mut joined = Self::default();
        for range in ranges {
            match range {
                Some((first, last, step)) if specs.len() == 1 => {
                    return Self {
                        first,
                        last,
                        step,
                        movable: false,
                    };
                }
                Some((first, last, 1))
                    if joined.first == 0 || joined.last + 1 == first as isize =>
                {
                    joined.first = if joined.first == 0 {
                        first
                    } else {
                        joined.first
                    };
                    joined.last = last;
                    joined.step = 1;
                }
                _ => joined.movable = true,
            }
        }
        joined
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::script;

    fn range(first: usize, last: isize, step: usize, movable: bool) -> KeyRange {
        KeyRange {
            first,
            last,
            step,
            movable,
        }
    }

    /// What redis-server answers for commands with such specs.
    #[test]
    fn ranges_are_those_of_redis() {
        let one = |index| KeySpec::at(index, &[]);
        let keyword = KeySpec {
            begin: Begin::Keyword("KEYS", -2),
            ..KeySpec::range(1, -1, 1, &[])
        };
        for (command, specs, expected) in [
            ("ping", vec![], range(0, 0, 0, false)),
            ("get", vec![one(1)], range(1, 1, 1, false)),
            (
                "mset",
                vec![KeySpec::range(1, -1, 2, &[])],
                range(1, -1, 2, false),
            ),
            (
                "lcs",
                vec![KeySpec::range(1, 1, 1, &[])],
                range(1, 2, 1, false),
            ),
            ("rename", vec![one(1), one(2)], range(1, 2, 1, false)),
            (
                "bitop",
                vec![one(2), KeySpec::range(3, -1, 1, &[])],
                range(2, -1, 1, false),
            ),
            (
                "pfmerge",
                vec![one(1), KeySpec::range(2, -1, 1, &[])],
                range(1, -1, 1, false),
            ),
            ("eval", vec![KeySpec::counted(2, &[])], range(0, 0, 0, true)),
            (
                "zunionstore",
                vec![one(1), KeySpec::counted(2, &[])],
                range(1, 1, 1, true),
            ),
            ("migrate", vec![one(3), keyword], range(3, 3, 1, true)),
        ] {
            assert_eq!(KeyRange::of(&specs), expected, "{command}");
        }
    }

    script!(info_of_get_has_ten_fields, |db| {
        db.run("COMMAND INFO GET nosuch").is(
            "*2\r\n*10\r\n$3\r\nget\r\n:2\r\n*2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n*3\r\n+@read\r\n\
             +@string\r\n+@fast\r\n*0\r\n*1\r\n*6\r\n$5\r\nflags\r\n*2\r\n+RO\r\n+access\r\n$12\r\n\
             begin_search\r\n*4\r\n$4\r\ntype\r\n$5\r\nindex\r\n$4\r\nspec\r\n*2\r\n$5\r\nindex\r\n:1\r\n$9\r\n\
             find_keys\r\n*4\r\n$4\r\ntype\r\n$5\r\nrange\r\n$4\r\nspec\r\n*6\r\n$7\r\nlastkey\r\n:0\r\n$7\r\n\
             keystep\r\n:1\r\n$5\r\nlimit\r\n:0\r\n*0\r\n$-1\r\n",
        );
        db.resp3();
        db.run("COMMAND INFO get").is(
            "*1\r\n*10\r\n$3\r\nget\r\n:2\r\n~2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n~3\r\n+@read\r\n\
             +@string\r\n+@fast\r\n~0\r\n~1\r\n%3\r\n$5\r\nflags\r\n~2\r\n+RO\r\n+access\r\n$12\r\n\
             begin_search\r\n%2\r\n$4\r\ntype\r\n$5\r\nindex\r\n$4\r\nspec\r\n%1\r\n$5\r\nindex\r\n:1\r\n$9\r\n\
             find_keys\r\n%2\r\n$4\r\ntype\r\n$5\r\nrange\r\n$4\r\nspec\r\n%3\r\n$7\r\nlastkey\r\n:0\r\n$7\r\n\
             keystep\r\n:1\r\n$5\r\nlimit\r\n:0\r\n~0\r\n",
        );
    });

    script!(info_of_subcommands, |db| {
        db.run("COMMAND INFO Client|List client|nosuch get|x").is(
            "*3\r\n*10\r\n$11\r\nclient|list\r\n:-2\r\n*4\r\n+admin\r\n+noscript\r\n+loading\r\n+stale\r\n:0\r\n\
             :0\r\n:0\r\n*4\r\n+@admin\r\n+@slow\r\n+@dangerous\r\n+@connection\r\n*1\r\n$23\r\n\
             nondeterministic_output\r\n*0\r\n*0\r\n$-1\r\n$-1\r\n",
        );
        let client = db.run("COMMAND INFO client");
        let client = String::from_utf8_lossy(client.bytes()).into_owned();
        let count = table().find(b"client").unwrap().subcommands.len();
        assert!(client.starts_with(&format!(
            "*1\r\n*10\r\n$6\r\nclient\r\n:-2\r\n*0\r\n:0\r\n:0\r\n:0\r\n*1\r\n+@slow\r\n*0\r\n*0\r\n*{count}\r\n*10\r\n"
        )));
    });

    #[test]
    fn counted_and_keyword_specs_have_their_own_fields() {
        let mut reply = Reply::new(crate::resp::Protocol::Resp3);
        describe_keys(&mut reply, &KeySpec::counted(2, &["RW"]));
        assert_eq!(
            String::from_utf8_lossy(reply.bytes()),
            "%3\r\n$5\r\nflags\r\n~1\r\n+RW\r\n$12\r\nbegin_search\r\n%2\r\n$4\r\ntype\r\n$5\r\nindex\r\n$4\r\nspec\r\n\
             %1\r\n$5\r\nindex\r\n:2\r\n$9\r\nfind_keys\r\n%2\r\n$4\r\ntype\r\n$6\r\nkeynum\r\n$4\r\nspec\r\n%3\r\n\
             $9\r\nkeynumidx\r\n:0\r\n$8\r\nfirstkey\r\n:1\r\n$7\r\nkeystep\r\n:1\r\n"
        );
        let mut reply = Reply::default();
        let keyword = KeySpec {
            begin: Begin::Keyword("KEYS", -2),
            ..KeySpec::range(1, -1, 1, &[])
        };
        describe_keys(&mut reply, &keyword);
        assert!(String::from_utf8_lossy(reply.bytes()).contains(
            "$7\r\nkeyword\r\n$4\r\nspec\r\n*4\r\n$7\r\nkeyword\r\n$4\r\nKEYS\r\n$9\r\nstartfrom\r\n:-2\r\n"
        ));
    }
}
