//! DUMP and RESTORE: a value as bytes that any server of the family reads.

use super::argument::{KEY, after, optional, since, word};
use super::expire::LATEST;
use super::{Argument, Arity::*, Command, Context, Flags, Group, KeySpec, parse};
use crate::clock::UnixMs;
use crate::engine::encoding_limits;
use crate::error::CommandError;
use crate::keyspace::entry::{EntryRef, ValueType};
use crate::keyspace::{Expiry, LastAccess};
use crate::resp::Args;
use crate::value::rdb::{self, Unsealed, Value, ValueRef};

/// The rows of this family.
pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "dump",
        arity: Exactly(2),
        keys: &[KeySpec::at(1, &["RO", "access"])],
        flags: Flags::READONLY,
        run: dump,
        complexity: "O(N) in the size of the value.",
        summary: "Returns the value of a key, serialised.",
        tips: &["nondeterministic_output"],
        arguments: &[KEY],
        ..ROW
    },
    RESTORE,
    Command {
        name: "restore-asking",
        flags: RESTORE.flags.and(Flags::ASKING),
        since: "3.0.0",
        is_internal: true,
        group: Group::Server,
        categories: &["@keyspace", "@dangerous"],
        ..RESTORE
    },
];

const RESTORE: Command = Command {
    name: "restore",
    arity: AtLeast(4),
    keys: &[KeySpec::at(1, &["OW", "update"])],
    flags: Flags::WRITE.and(Flags::DENYOOM),
    categories: &["@dangerous"],
    run: restore,
    complexity: "O(N) in the size of the value; O(N*log(N)) for a sorted set.",
    summary: "Makes a key of a serialised value.",
    arguments: &[
        KEY,
        Argument::new("ttl", "integer"),
        Argument::new("serialized-value", "string"),
        since("3.0.0", optional(word("replace", "REPLACE"))),
        since("5.0.0", optional(word("absttl", "ABSTTL"))),
        since(
            "5.0.0",
            optional(after("IDLETIME", Argument::new("seconds", "integer"))),
        ),
        since(
            "5.0.0",
            optional(after("FREQ", Argument::new("frequency", "integer"))),
        ),
    ],
    ..ROW
};

const ROW: Command = Command {
    since: "2.6.0",
    ..Command::BLANK
};

fn dump(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let Some(entry) = cx.keys.read(args.at(1)) else {
        cx.reply.nil();
        return Ok(());
    };
    let mut payload = vec![0];
    payload[0] = write_value(entry, &mut payload);
    rdb::seal(&mut payload);
    cx.reply.bulk(&payload);
    Ok(())
}

/// Appends the value of an entry and gives the number of its type.
pub(super) fn write_value(entry: EntryRef<'_>, out: &mut Vec<u8>) -> u8 {
    let scratch = &mut Vec::new();
    let value = match entry.value_type() {
        ValueType::String => Some(ValueRef::String(entry.plain(scratch))),
        ValueType::List => entry.list(scratch).map(ValueRef::List),
        ValueType::Set => entry.set(scratch).map(ValueRef::Set),
        ValueType::Zset => entry.zset(scratch).map(ValueRef::Zset),
        ValueType::Hash => entry.hash(scratch).map(ValueRef::Hash),
        ValueType::Stream => entry.stream().map(ValueRef::Stream),
    };
    rdb::write_value(out, value.expect("each is of its own type"))
}

/// A payload for Valkey, where the value is one that it reads in a form of its own only: a hash whose fields have deadlines.
pub(super) fn valkey_payload(entry: EntryRef<'_>) -> Option<Vec<u8>> {
    let scratch = &mut Vec::new();
    let hash = entry.hash(scratch)?;
    hash.first_deadline()?;
    let mut payload = Vec::new();
    rdb::write_valkey_hash(&mut payload, hash);
    rdb::seal_for_valkey(&mut payload);
    Some(payload)
}

/// The options of RESTORE.
#[derive(Default)]
struct Options {
    replace: bool,
    absolute: bool,
    last_access: LastAccess,
}

impl Options {
    fn parse(args: &Args<'_>) -> Result<Self, CommandError> {
        let mut options = Self::default();
        let mut words = args.from(4);
        while let Some(word) = words.next() {
            let access = &mut options.last_access;
            match word.to_ascii_uppercase().as_slice() {
                b"REPLACE" => options.replace = true,
                b"ABSTTL" => options.absolute = true,
                b"IDLETIME" if access.frequency.is_none() => {
                    let seconds = parse::integer(words.next().ok_or(CommandError::Syntax)?)?;
                    let seconds = u64::try_from(seconds).ok();
                    access.idle_secs = Some(seconds.ok_or(CommandError::text(
                        "ERR Invalid IDLETIME value, must be >= 0",
                    ))?);
                }
                b"FREQ" if access.idle_secs.is_none() => {
                    let frequency = parse::integer(words.next().ok_or(CommandError::Syntax)?)?;
                    let frequency = u8::try_from(frequency).ok();
                    access.frequency = Some(frequency.ok_or(CommandError::text(
                        "ERR Invalid FREQ value, must be >= 0 and <= 255",
                    ))?);
                }
                _ => return Err(CommandError::Syntax),
            }
        }
        Ok(options)
    }
}

fn restore(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let options = Options::parse(args)?;
    let (key, now) = (args.at(1), cx.now);
    if !options.replace && cx.keys.exists(key) {
        return Err(CommandError::text(
            "BUSYKEY Target key name already exists.",
        ));
    }
    let ttl = parse::integer(args.at(2))?;
    if ttl < 0 {
        return Err(CommandError::text("ERR Invalid TTL value, must be >= 0"));
    }
    let Unsealed {
        kind,
        dialect,
        value: mut body,
    } = rdb::unseal(args.at(3)).ok_or(CommandError::text(
        "ERR DUMP payload version or checksum are wrong",
    ))?;
    let value = rdb::read_value(&mut body, kind, dialect, &encoding_limits::all(cx.config))
        .map_err(|_| CommandError::text("ERR Bad data format"))?;
    let at = if options.absolute {
        ttl.min(LATEST)
    } else {
        // Beyond the end of time it has come already, as in Redis.
        ttl.wrapping_add(now.0)
    };
    let expires_at = (ttl != 0).then_some(UnixMs(at));
    cx.keys.remove(key);
    if expires_at.is_none_or(|at| at > now) {
        match value {
            Value::String(text) => cx.keys.set(key, &text, Expiry::Set(expires_at)),
            Value::Collection(value_type, content) => {
                cx.keys.add_value(key, value_type, content, expires_at);
            }
        }
        cx.keys.set_last_access(key, options.last_access);
    }
    cx.reply.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::script;

    script!(what_was_dumped_is_restored, |db| {
        db.run("CONFIG SET hash-max-listpack-entries 4 zset-max-listpack-entries 4 set-max-listpack-entries 4 list-max-listpack-size 4")
            .ok();
        db.run("SET s some-text-that-is-long-enough-to-be-compressed-aaaaaaaaaaaaaaaaaaaa")
            .ok();
        db.run("SET n 12345").ok();
        db.run("RPUSH l a b c 1 2 3").int(6);
        db.run("SADD i 1 2 3").int(3);
        db.run("SADD t a b c d e").int(5);
        db.run("ZADD z 1 a 2.5 b -inf c").int(3);
        db.run("ZADD y 1 a 2.5 b -inf c 4 d 5 e").int(5);
        db.run("HSET h a 1 b 2").int(2);
        db.run("HSET g a 1 b 2 c 3 d 4 e 5").int(5);
        for key in ["s", "n", "l", "i", "t", "z", "y", "h", "g"] {
            let digest = db
                .run(&format!("DEBUG DIGEST-VALUE {key}"))
                .bytes()
                .to_vec();
            let encoding = db.run(&format!("OBJECT ENCODING {key}")).bytes().to_vec();
            let dump = db.run(&format!("DUMP {key}"));
            let payload = dump.bulk_bytes();
            db.run_args(&[b"RESTORE", b"copy", b"0", &payload]).ok();
            assert_eq!(db.run("DEBUG DIGEST-VALUE copy").bytes(), digest, "{key}");
            assert_eq!(db.run("OBJECT ENCODING copy").bytes(), encoding, "{key}");
            db.run_args(&[b"RESTORE", b"copy", b"0", &payload])
                .error("BUSYKEY Target key name already exists.");
            db.run_args(&[b"RESTORE", b"copy", b"5000", &payload, b"REPLACE"])
                .ok();
            db.run("PTTL copy").int(5000);
            db.run_args(&[b"RESTORE", b"copy", b"1", &payload, b"REPLACE", b"ABSTTL"])
                .ok();
            db.run("EXISTS copy").int(0);
            db.run("DEL copy").int(0);
            let mut broken = payload.clone();
            broken[1] ^= 1;
            db.run_args(&[b"RESTORE", b"copy", b"0", &broken])
                .error("ERR DUMP payload version or checksum are wrong");
            db.run("EXISTS copy").int(0);
        }
        db.run("DUMP none").nil();
        let long = db.run("DUMP s").bulk_bytes();
        for (ttl, absolute, left) in [
            (&b"9223372036854775807"[..], &b"REPLACE"[..], -2),
            (b"9223372036854775807", b"ABSTTL", i64::MAX - 1),
        ] {
            db.run_args(&[b"RESTORE", b"end", ttl, &long, absolute])
                .ok();
            db.run("PEXPIRETIME end").int(left);
        }
    });

    script!(restore_refuses_what_it_cannot_do, |db| {
        db.run("RESTORE k -1 x")
            .error("ERR Invalid TTL value, must be >= 0");
        db.run("RESTORE k x x")
            .error("ERR value is not an integer or out of range");
        db.run("RESTORE k 0 x")
            .error("ERR DUMP payload version or checksum are wrong");
        db.run("RESTORE k 0 x NOPE").error("ERR syntax error");
        db.run("RESTORE k 0 x IDLETIME").error("ERR syntax error");
        db.run("RESTORE k 0 x IDLETIME -1")
            .error("ERR Invalid IDLETIME value, must be >= 0");
        db.run("RESTORE k 0 x FREQ 256")
            .error("ERR Invalid FREQ value, must be >= 0 and <= 255");
        db.run("RESTORE k 0 x IDLETIME 5 FREQ 5")
            .error("ERR syntax error");
    });

    script!(memory: restore_sets_the_last_access, |db| {
        db.run("SET s text").ok();
        let payload = db.run("DUMP s").bulk_bytes();
        db.run_args(&[b"RESTORE", b"k", b"0", &payload, b"IDLETIME", b"1000"])
            .ok();
        db.run("OBJECT IDLETIME k").int(1000);
        db.run("CONFIG SET maxmemory-policy allkeys-lfu").ok();
        db.run_args(&[b"RESTORE", b"f", b"0", &payload, b"FREQ", b"77"])
            .ok();
        db.run("OBJECT FREQ f").int(77);
    });
}
