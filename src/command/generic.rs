//! Keys of any type: whether they are there, their names and their places.

use super::argument::{self, KEY};
use super::parse;
use super::{Argument, Arity::*, Command, Context, Flags, KeySpec};
use crate::error::CommandError;
use crate::keyspace::Renamed;
use crate::keyspace::footprint::OtherKey;
use crate::resp::Args;
use crate::server::suspended::Stop;

/// The rows of this family.
pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "del",
        arity: AtLeast(2),
        keys: &[KeySpec::range(1, -1, 1, &["RM", "delete"])],
        flags: Flags::WRITE,
        run: delete,
        complexity: "O(N) in the number of keys.",
        summary: "Deletes keys.",
        tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
        arguments: &[argument::multiple(KEY)],
        ..Command::BLANK
    },
    Command {
        name: "unlink",
        arity: AtLeast(2),
        keys: &[KeySpec::range(1, -1, 1, &["RM", "delete"])],
        flags: Flags::WRITE.and(Flags::FAST),
        run: delete,
        since: "4.0.0",
        complexity: "O(N) in the number of keys.",
        summary: "Deletes keys, and frees what they held without delay for others.",
        tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
        arguments: &[argument::multiple(KEY)],
        ..Command::BLANK
    },
    Command {
        name: "exists",
        arity: AtLeast(2),
        keys: &[KeySpec::range(1, -1, 1, &["RO"])],
        flags: Flags::READONLY.and(Flags::FAST),
        run: exists,
        complexity: "O(N) in the number of keys.",
        summary: "Counts the given keys that exist.",
        tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
        arguments: &[argument::multiple(KEY)],
        ..Command::BLANK
    },
    Command {
        name: "touch",
        arity: AtLeast(2),
        keys: &[KeySpec::range(1, -1, 1, &["RO"])],
        flags: Flags::READONLY.and(Flags::FAST),
        run: touch,
        since: "3.2.1",
        complexity: "O(N) in the number of keys.",
        summary: "Counts an access of each of the given keys, and the keys that exist.",
        tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
        arguments: &[argument::multiple(KEY)],
        ..Command::BLANK
    },
    Command {
        name: "type",
        arity: Exactly(2),
        keys: &[KeySpec::at(1, &["RO"])],
        flags: Flags::READONLY.and(Flags::FAST),
        run: type_of,
        summary: "Tells the type of the value at a key.",
        arguments: &[KEY],
        ..Command::BLANK
    },
    Command {
        name: "rename",
        arity: Exactly(3),
        keys: &[
            KeySpec::at(1, &["RW", "access", "delete"]),
            KeySpec::at(2, &["OW", "update"]),
        ],
        flags: Flags::WRITE,
        run: rename,
        complexity: "O(1), and O(N) in the size of what it frees.",
        summary: "Gives a key another name, whatever was there.",
        arguments: &[KEY, argument::key("newkey", 1)],
        ..Command::BLANK
    },
    Command {
        name: "renamenx",
        arity: Exactly(3),
        keys: &[
            KeySpec::at(1, &["RW", "access", "delete"]),
            KeySpec::at(2, &["OW", "insert"]),
        ],
        flags: Flags::WRITE.and(Flags::FAST),
        run: renamenx,
        complexity: "O(1), and O(N) in the size of what it frees.",
        summary: "Gives a key another name, unless that exists.",
        arguments: &[KEY, argument::key("newkey", 1)],
        ..Command::BLANK
    },
    Command {
        name: "copy",
        arity: AtLeast(3),
        keys: &[
            KeySpec::at(1, &["RO", "access"]),
            KeySpec::at(2, &["OW", "update"]),
        ],
        flags: Flags::WRITE.and(Flags::DENYOOM),
        run_or_suspend: Some(copy),
        since: "6.2.0",
        complexity: "O(N) in the size of the value.",
        summary: "Copies the value and the expiry of a key to another.",
        arguments: &[
            argument::key("source", 0),
            argument::key("destination", 1),
            argument::optional(argument::after(
                "DB",
                Argument::new("destination-db", "integer"),
            )),
            argument::optional(argument::word("replace", "REPLACE")),
        ],
        ..Command::BLANK
    },
    Command {
        name: "move",
        arity: Exactly(3),
        keys: &[KeySpec::at(1, &["RW", "access", "update"])],
        flags: Flags::WRITE.and(Flags::FAST),
        run_or_suspend: Some(move_key),
        complexity: "O(1).",
        summary: "Moves a key to another database.",
        arguments: &[KEY, Argument::new("db", "integer")],
        ..Command::BLANK
    },
];

const SAME_OBJECT: CommandError =
    CommandError::text("ERR source and destination objects are the same");

fn delete(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let count = args.from(1).filter(|key| cx.keys.remove(key)).count();
    cx.reply.count(count);
    Ok(())
}

fn exists(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let count = args
        .from(1)
        .filter(|key| cx.keys.probe(key).is_some())
        .count();
    cx.reply.count(count);
    Ok(())
}

fn touch(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let count = args
        .from(1)
        .filter(|key| cx.keys.read(key).is_some())
        .count();
    cx.reply.count(count);
    Ok(())
}

fn type_of(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let name = cx
        .keys
        .probe(args.at(1))
        .map_or("none", |entry| entry.value_type().name());
    cx.reply.simple(name);
    Ok(())
}

fn rename(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    rename_key(cx, args, true)?;
    cx.reply.ok();
    Ok(())
}

fn renamenx(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let renamed = rename_key(cx, args, false)?;
    cx.reply.flag(renamed == Renamed::Done);
    Ok(())
}

/// A key that gets the name which it has is occupied by itself.
fn rename_key(
    cx: &mut Context<'_>,
    args: &Args<'_>,
    replace: bool,
) -> Result<Renamed, CommandError> {
    let (from, to) = (args.at(1), args.at(2));
    if !cx.keys.touch_key(from) {
        return Err(CommandError::NoSuchKey);
    }
    if from == to {
        return Ok(Renamed::Occupied);
    }
    let db = cx.keys.db();
    Ok(cx.keys.rename(from, to, db, replace))
}

fn copy(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), Stop> {
    let (from, to) = (args.at(1), args.at(2));
    let options = CopyOptions::parse(cx, args)?;
    if options.db == cx.keys.db() && from == to {
        return Err(SAME_OBJECT.into());
    }
    need_in(cx, options.db, to)?;
    let copied = cx.keys.read(from).is_some()
        && cx.keys.copy(from, to, options.db, options.replace) == Renamed::Done;
    cx.reply.flag(copied);
    Ok(())
}

/// Has a key of another database in memory.
fn need_in(cx: &mut Context<'_>, db: usize, key: &[u8]) -> Result<(), Stop> {
    let other = (db != cx.keys.db()).then(|| OtherKey {
        db,
        key: key.into(),
    });
    cx.need_keys(other)
}

struct CopyOptions {
    db: usize,
    replace: bool,
}

impl CopyOptions {
    fn parse(cx: &Context<'_>, args: &Args<'_>) -> Result<Self, CommandError> {
        let mut options = Self {
            db: cx.keys.db(),
            replace: false,
        };
        let mut words = args.from(3);
        while let Some(word) = words.next() {
            if word.eq_ignore_ascii_case(b"REPLACE") {
                options.replace = true;
            } else if word.eq_ignore_ascii_case(b"DB") {
                let db = words.next().ok_or(CommandError::Syntax)?;
                options.db = parse::database(cx, db)?;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(options)
    }
}

fn move_key(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), Stop> {
    let key = args.at(1);
    let db = parse::database(cx, args.at(2))?;
    if db == cx.keys.db() {
        return Err(SAME_OBJECT.into());
    }
    need_in(cx, db, key)?;
    let moved = cx.keys.rename(key, key, db, false);
    cx.reply.flag(moved == Renamed::Done);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::script;

    script!(del_and_unlink_count_the_keys_that_were_there, |db| {
        db.run("SET a 1").ok();
        db.run("SET b 1").ok();
        db.run("DEL a a nokey").int(1);
        db.run("UNLINK a b").int(1);
        db.run("EXISTS a b").int(0);
        db.run("DEL")
            .error("ERR wrong number of arguments for 'del' command");
    });

    script!(exists_and_touch_count_a_key_as_often_as_it_is_named, |db| {
        db.run("SET a 1").ok();
        db.run("EXISTS a a nokey").int(2);
        db.run("TOUCH a a nokey").int(2);
    });

    script!(type_names_the_type, |db| {
        db.run("SET a 1").ok();
        db.run("TYPE a").simple("string");
        db.run("TYPE nokey").simple("none");
    });

    script!(rename_takes_value_and_expiry_along, |db| {
        db.run("SET a 1").ok();
        db.run("SET b 2").ok();
        db.run("PEXPIRE a 5000").int(1);
        db.run("RENAME a b").ok();
        db.run("EXISTS a").int(0);
        db.run("GET b").bulk("1");
        db.run("PTTL b").int(5000);
        db.run("SET c 3").ok();
        db.run("RENAME c b").ok();
        db.run("PTTL b").int(-1);
        db.run("RENAME b b").ok();
        db.run("GET b").bulk("3");
        db.run("RENAME nokey nokey").error("ERR no such key");
        db.run("RENAME nokey b").error("ERR no such key");
        db.run("DBSIZE").int(1);
    });

    script!(renamenx_leaves_what_is_there, |db| {
        db.run("SET a 1").ok();
        db.run("SET b 2").ok();
        db.run("RENAMENX a b").int(0);
        db.run("RENAMENX a a").int(0);
        db.run("RENAMENX a c").int(1);
        db.run("GET c").bulk("1");
        db.run("RENAMENX a c").error("ERR no such key");
    });

    script!(an_expired_destination_is_no_obstacle, |db| {
        db.run("SET a 1").ok();
        db.run("SET b 2").ok();
        db.run("PEXPIRE b 10").int(1);
        db.advance(10);
        db.run("RENAMENX a b").int(1);
        db.run("GET b").bulk("1");
        db.run("PTTL b").int(-1);
    });

    script!(copy_reaches_other_databases, |db| {
        db.run("SET a 1").ok();
        db.run("PEXPIRE a 5000").int(1);
        db.run("COPY a b").int(1);
        db.run("PTTL b").int(5000);
        db.run("SET a 2").ok();
        db.run("COPY a b").int(0);
        db.run("COPY a b replace").int(1);
        db.run("GET b").bulk("2");
        db.run("COPY a a DB 1").int(1);
        db.run("COPY a a DB 1").int(0);
        db.run("COPY a a DB 1 REPLACE").int(1);
        db.run("COPY nokey b REPLACE").int(0);
        db.run("GET b").bulk("2");
        db.run("DBSIZE").int(2);
        db.run("SWAPDB 0 1").ok();
        db.run("GET a").bulk("2");
        db.run("DBSIZE").int(1);
    });

    script!(copy_refuses_what_redis_refuses, |db| {
        let same = "ERR source and destination objects are the same";
        db.run("COPY a a").error(same);
        db.run("COPY a a DB 0").error(same);
        db.run("COPY a b DB").error("ERR syntax error");
        db.run("COPY a b foo").error("ERR syntax error");
        db.run("COPY a b DB 16")
            .error("ERR DB index is out of range");
        db.run("COPY a b DB -1")
            .error("ERR DB index is out of range");
        db.run("COPY a b DB x")
            .error("ERR value is not an integer or out of range");
        db.run("COPY a b DB 2147483648")
            .error("ERR value is out of range, value must between -2147483648 and 2147483647");
    });

    script!(move_takes_a_key_to_another_database, |db| {
        db.run("SET a 1").ok();
        db.run("PEXPIRE a 5000").int(1);
        db.run("MOVE a 1").int(1);
        db.run("MOVE a 1").int(0);
        db.run("SET a 2").ok();
        db.run("MOVE a 1").int(0);
        db.run("SWAPDB 0 1").ok();
        db.run("GET a").bulk("1");
        db.run("PTTL a").int(5000);
        db.run("MOVE a 0")
            .error("ERR source and destination objects are the same");
        db.run("MOVE a 16").error("ERR DB index is out of range");
        db.run("MOVE a x")
            .error("ERR value is not an integer or out of range");
    });
}
