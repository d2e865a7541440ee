//! OBJECT: how values are kept.

use super::argument::KEY;
use super::{Arity::*, Command, Context, Flags, KeySpec};
use crate::error::CommandError;
use crate::keyspace::entry::{EntryRef, ValueType};
use crate::resp::Args;
use crate::value::number;
use crate::value::set::SetRef;

/// The longest string that Redis keeps together with its header.
const EMBEDDED_BYTES_MAX: usize = 44;

/// The rows of this family.
pub(super) const COMMANDS: &[Command] = &[Command {
    name: "object",
    arity: AtLeast(2),
    subcommands: &[
        Command {
            name: "encoding",
            arity: Exactly(3),
            keys: &[KeySpec::at(2, &["RO"])],
            flags: Flags::READONLY,
            run: encoding,
            since: "2.2.3",
            summary: "Tells the encoding of the value at a key.",
            tips: &["nondeterministic_output"],
            arguments: &[KEY],
            ..Command::BLANK
        },
        Command {
            name: "freq",
            arity: Exactly(3),
            keys: &[KeySpec::at(2, &["RO"])],
            flags: Flags::READONLY,
            run: freq,
            since: "4.0.0",
            summary: "Tells how often a key was used lately, on a logarithmic scale.",
            tips: &["nondeterministic_output"],
            arguments: &[KEY],
            ..Command::BLANK
        },
        Command {
            name: "idletime",
            arity: Exactly(3),
            keys: &[KeySpec::at(2, &["RO"])],
            flags: Flags::READONLY,
            run: idletime,
            since: "2.2.3",
            summary: "Tells the seconds since a key was last used.",
            tips: &["nondeterministic_output"],
            arguments: &[KEY],
            ..Command::BLANK
        },
        Command {
            name: "refcount",
            arity: Exactly(3),
            keys: &[KeySpec::at(2, &["RO"])],
            flags: Flags::READONLY,
            run: refcount,
            since: "2.2.3",
            summary: "Tells the number of references to the value at a key.",
            tips: &["nondeterministic_output"],
            arguments: &[KEY],
            ..Command::BLANK
        },
        Command {
            name: "help",
            arity: Exactly(2),
            flags: Flags::LOADING.and(Flags::STALE),
            run: help,
            since: "6.2.0",
            summary: "Lists the subcommands.",
            ..Command::BLANK
        },
    ],
    since: "2.2.3",
    complexity: "Depends on the subcommand.",
    summary: "Looks at how a value is kept.",
    ..Command::BLANK
}];

fn encoding(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    match cx.keys.probe(args.at(2)).map(encoding_name) {
        Some(name) => cx.reply.text(name),
        None => cx.reply.nil(),
    }
    Ok(())
}

/// What Redis would say of such a value: here all strings are kept alike.
pub(super) fn encoding_name(entry: EntryRef<'_>) -> &'static str {
    match entry.value_type() {
        ValueType::String => {
            let mut scratch = Vec::new();
            let value = entry.plain(&mut scratch);
            if entry.is_raw() {
                "raw"
            } else if !entry.is_text() && number::parse_i64(value).is_some() {
                "int"
            } else if value.len() <= EMBEDDED_BYTES_MAX {
                "embstr"
            } else {
                "raw"
            }
        }
        ValueType::List if entry.is_large() => "quicklist",
        ValueType::List => "listpack",
        ValueType::Set => match entry.set(&mut Vec::new()) {
            Some(SetRef::Integers(_)) => "intset",
            Some(SetRef::Table(_)) => "hashtable",
            _ => "listpack",
        },
        ValueType::Zset if entry.is_large() => "skiplist",
        ValueType::Zset => "listpack",
        ValueType::Stream => "stream",
        ValueType::Hash if entry.is_large() => "hashtable",
        ValueType::Hash if entry.fields_due_at().is_some() => "listpackex",
        ValueType::Hash => "listpack",
    }
}

fn freq(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let policy = cx.keys.access_policy();
    let Some(entry) = cx.keys.probe(args.at(2)) else {
        cx.reply.nil();
        return Ok(());
    };
    let frequency = policy.frequency(entry).ok_or(CommandError::text(
        "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note \
         that when switching between policies at runtime LRU and LFU data will take some time to \
         adjust.",
    ))?;
    cx.reply.int(i64::from(frequency));
    Ok(())
}

fn idletime(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let policy = cx.keys.access_policy();
    let Some(entry) = cx.keys.probe(args.at(2)) else {
        cx.reply.nil();
        return Ok(());
    };
    let idle_secs = policy.idle_secs(entry).ok_or(CommandError::text(
        "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when \
         switching between policies at runtime LRU and LFU data will take some time to adjust.",
    ))?;
    cx.reply.int(i64::from(idle_secs));
    Ok(())
}

/// No value is shared between keys, so each has one reference.
fn refcount(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    match cx.keys.probe(args.at(2)) {
        Some(_) => cx.reply.int(1),
        None => cx.reply.nil(),
    }
    Ok(())
}

const HELP: &[&str] = &[
    "OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "ENCODING <key>",
    "    Tell the encoding that Redis would use for the value.",
    "FREQ <key>",
    "    Tell how often the key was used lately, on a logarithmic scale. Needs an LFU",
    "    maxmemory-policy.",
    "IDLETIME <key>",
    "    Tell the seconds since the key was last used. Needs a maxmemory-policy other than LFU.",
    "REFCOUNT <key>",
    "    Tell the number of references to the value, which is 1.",
    "HELP",
    "    Print this help.",
];

fn help(cx: &mut Context<'_>, _: &Args<'_>) -> Result<(), CommandError> {
    cx.reply.array(HELP.len());
    HELP.iter().for_each(|line| cx.reply.simple(line));
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::config::EvictionPolicy;
    use crate::testing::{Db, script};

    script!(encodings_are_those_of_redis, |db| {
        let long = "a".repeat(44);
        let longer = "a".repeat(45);
        for (value, encoding) in [
            ("9223372036854775807", "int"),
            ("-9223372036854775808", "int"),
            ("9223372036854775808", "embstr"),
            ("007", "embstr"),
            (long.as_str(), "embstr"),
            (longer.as_str(), "raw"),
        ] {
            db.run(&format!("SET k {value}")).ok();
            db.run("OBJECT ENCODING k").bulk(encoding);
        }
        db.run("SET k 5").ok();
        db.run("SETBIT k 15 1").int(0);
        db.run("OBJECT ENCODING k").bulk("raw");
        db.run("COPY k c").int(1);
        db.run("OBJECT encoding c").bulk("raw");
        db.run("OBJECT ENCODING nokey").nil();
        db.run("OBJECT REFCOUNT k").int(1);
        db.run("OBJECT REFCOUNT nokey").nil();
    });

    script!(memory: idletime_counts_from_the_last_use, |db| {
        db.run("SET k v").ok();
        db.advance(2500);
        db.run("OBJECT IDLETIME k").int(2);
        db.run("TTL k").int(-1);
        db.run("TYPE k").simple("string");
        db.run("EXISTS k").int(1);
        db.run("OBJECT IDLETIME k").int(2);
        db.run("TOUCH k").int(1);
        db.run("OBJECT IDLETIME k").int(0);
        db.run("OBJECT IDLETIME nokey").nil();
        db.run("OBJECT FREQ nokey").nil();
        db.run("OBJECT FREQ k").error(
            "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please \
             note that when switching between policies at runtime LRU and LFU data will take some \
             time to adjust.",
        );
    });

    #[test]
    fn freq_needs_an_lfu_policy() {
        let config = Config {
            maxmemory_policy: EvictionPolicy::AllkeysLfu,
            ..Config::default()
        };
        let mut db = Db::with_config(config);
        db.run("SET k v").ok();
        db.run("OBJECT FREQ k").int(5);
        db.run("OBJECT IDLETIME k").error(
            "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when \
             switching between policies at runtime LRU and LFU data will take some time to adjust.",
        );
    }

    /// As Redis 8.10 does, where commands that find nothing to change count for nothing either.
    #[test]
    fn under_an_lrm_policy_the_idle_time_is_that_since_the_last_change() {
        let mut db = Db::with_config(Config {
            maxmemory_policy: EvictionPolicy::AllkeysLrm,
            ..Config::default()
        });
        let idle = |db: &mut Db, key: &str, command: &str| {
            let _ = db.run("DEL s h l t");
            db.run("SET s abc").ok();
            db.run("HSET h f v").int(1);
            db.run("RPUSH l a b").int(2);
            db.run("SADD t a").int(1);
            db.advance(5000);
            let _ = db.run(command);
            let reply = db.run(&format!("OBJECT IDLETIME {key}"));
            reply.bytes().to_vec()
        };
        for (key, reads) in [
            ("s", "GET s"),
            ("s", "GETEX s"),
            ("s", "TOUCH s"),
            ("s", "SET s x NX"),
            ("s", "COPY s s2"),
            ("s", "EXPIRE s 100 XX"),
            ("h", "HGETALL h"),
            ("h", "HSETNX h f w"),
            ("h", "HDEL h g"),
            ("l", "LREM l 0 c"),
            ("t", "SADD t a"),
        ] {
            assert_eq!(idle(&mut db, key, reads), b":5\r\n", "{reads}");
        }
        for (key, writes) in [
            ("s", "SET s x"),
            ("s", "APPEND s x"),
            ("s", "SETRANGE s 0 x"),
            ("s", "GETEX s EX 100"),
            ("s", "EXPIRE s 100"),
            ("h", "HSET h f w"),
            ("l", "LPOP l"),
            ("t", "SADD t b"),
        ] {
            assert_eq!(idle(&mut db, key, writes), b":0\r\n", "{writes}");
        }
    }

    #[test]
    fn lrm_policies_evict_what_was_changed_longest_ago_however_often_it_is_read() {
        for policy in [EvictionPolicy::AllkeysLrm, EvictionPolicy::VolatileLrm] {
            let mut db = Db::with_config(Config {
                maxmemory_policy: policy,
                maxmemory_samples: 64,
                max_entries: 30,
                ..Config::default()
            });
            for i in 0..30 {
                db.run(&format!("SET k:{i} v EX 1000")).ok();
                db.advance(1000);
            }
            for i in 10..20 {
                db.run(&format!("APPEND k:{i} w")).int(2);
            }
            for i in 0..10 {
                db.run(&format!("GET k:{i}")).bulk("v");
                db.run(&format!("SET n:{i} v EX 1000")).ok();
            }
            let gone = |db: &mut Db, of: std::ops::Range<i32>| {
                of.filter(|i| db.run(&format!("EXISTS k:{i}")).bytes() == b":0\r\n")
                    .count()
            };
            assert!(gone(&mut db, 0..10) >= 8);
            assert!(gone(&mut db, 10..20) <= 1);
        }
    }

    script!(object_names_its_subcommands, |db| {
        let help = db.run("OBJECT HELP");
        assert!(help.bytes().starts_with(b"*12\r\n+OBJECT <subcommand>"));
        db.run("OBJECT foo")
            .error("ERR unknown subcommand 'foo'. Try OBJECT HELP.");
        db.run("OBJECT FREQ")
            .error("ERR wrong number of arguments for 'object|freq' command");
    });
}
