//! DEBUG: what test suites need. It has no rows for its subcommands, as in Redis, where COMMAND does
//! not know them; they are listed here.

use std::sync::atomic::Ordering;

use super::digest::Digest;
use super::unknown_form;
use crate::clock::UnixMs;
use crate::command::{
    Arity, Arity::*, Command, Context, Flags, Group, RunOrSuspend, dump, help, object,
};
use crate::error::CommandError;
use crate::keyspace::entry::EntryRef;
use crate::keyspace::footprint::OtherKey;
use crate::keyspace::residency::{Ask, Fold};
use crate::resp::Args;
use crate::server::suspended::{Stop, Suspend};
use crate::value::large::LargeRef;
use crate::value::listpack::{Listpack, OneWay, Pack};
use crate::value::number;
use crate::value::value_type::ValueType;

/// The longest sleep: longer than any test's, and not for ever.
const SLEEP_S_MAX: f64 = 300.0;

/// The row of DEBUG.
pub(super) const DEBUG: Command = Command {
    name: "debug",
    arity: AtLeast(2),
    flags: Flags::ADMIN
        .and(Flags::NOSCRIPT)
        .and(Flags::LOADING)
        .and(Flags::STALE)
        .and(Flags::PROTECTED),
    run_or_suspend: Some(debug),
    group: Group::Server,
    since: "1.0.0",
    complexity: "Depends on subcommand.",
    summary: "Holds commands that test suites need.",
    ..Command::BLANK
};

/// A subcommand.
struct Subcommand {
    name: &'static str,
    arity: Arity,
    run: RunOrSuspend,
    help: &'static [&'static str],
}

const SUBCOMMANDS: &[Subcommand] = &[
    Subcommand {
        name: "digest",
        arity: Exactly(2),
        run: digest,
        help: &[
            "DIGEST",
            "    Output a hex signature representing the current DB content.",
        ],
    },
    Subcommand {
        name: "digest-value",
        arity: AtLeast(2),
        run: digest_value,
        help: &[
            "DIGEST-VALUE <key> [<key> ...]",
            "    Output a hex signature of the values of all the specified keys.",
        ],
    },
    Subcommand {
        name: "error",
        arity: Exactly(3),
        run: error,
        help: &[
            "ERROR <string>",
            "    Return a Redis protocol error with <string> as message. Useful for clients",
            "    unit tests to simulate Redis errors.",
        ],
    },
    Subcommand {
        name: "listpack",
        arity: Exactly(3),
        run: listpack,
        help: &[
            "LISTPACK <key>",
            "    Show low level info about the listpack encoding of <key>.",
        ],
    },
    Subcommand {
        name: "quicklist",
        arity: Exactly(3),
        run: quicklist,
        help: &[
            "QUICKLIST <key> [<0|1>]",
            "    Show low level info about the quicklist encoding of <key>.",
            "    The optional argument (0 by default) sets the level of detail",
        ],
    },
    Subcommand {
        name: "quicklist",
        arity: Exactly(4),
        run: quicklist,
        help: &[],
    },
    Subcommand {
        name: "object",
        arity: Exactly(3),
        run: object,
        help: &[
            "OBJECT <key>",
            "    Show low level info about `key` and associated value.",
        ],
    },
    Subcommand {
        name: "set-active-expire",
        arity: Exactly(3),
        run: set_active_expire,
        help: &[
            "SET-ACTIVE-EXPIRE <0|1>",
            "    Setting it to 0 disables expiring keys in background when they are not",
            "    accessed (otherwise the Redis behavior). Setting it to 1 reenables back the",
            "    default.",
        ],
    },
    Subcommand {
        name: "sleep",
        arity: Exactly(3),
        run: sleep,
        help: &[
            "SLEEP <seconds>",
            "    Stop the server for <seconds>. Decimals allowed.",
        ],
    },
    Subcommand {
        name: "help",
        arity: Exactly(2),
        run: help,
        help: &[],
    },
];

fn debug(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), Stop> {
    let name = args.at(1);
    let subcommand = SUBCOMMANDS.iter().find(|subcommand| {
        name.eq_ignore_ascii_case(subcommand.name.as_bytes())
            && subcommand.arity.accepts(args.len())
    });
    match subcommand {
        Some(subcommand) => (subcommand.run)(cx, args),
        None => Err(unknown_form("DEBUG", name).into()),
    }
}

fn help(cx: &mut Context<'_>, _: &Args<'_>) -> Result<(), Stop> {
    let lines: Vec<&str> = SUBCOMMANDS
        .iter()
        .flat_map(|subcommand| subcommand.help)
        .copied()
        .collect();
    help::help(cx.reply, "DEBUG", &lines);
    Ok(())
}

/// The server sleeps: no command of any client runs until the time has passed, and then this one
/// answers. It counts as having run all the while.
fn sleep(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), Stop> {
    let seconds = number::parse_f64(args.at(2)).unwrap_or(0.0).max(0.0);
    if seconds > SLEEP_S_MAX {
        const TOO_LONG: &str = "ERR the server sleeps for 300 seconds at the most";
        return Err(CommandError::text(TOO_LONG).into());
    }
    let ms = (seconds * 1000.0) as i64;
    let until = UnixMs(cx.now.0.saturating_add(ms));
    let sleeps = cx.session.suspended(cx.now);
    if sleeps.works || until <= cx.now {
        cx.reply.ok();
        return Ok(());
    }
    sleeps.works = true;
    cx.server.pause.sleep(until);
    Err(Suspend::Time(until).into())
}

fn digest(cx: &mut Context<'_>, _: &Args<'_>) -> Result<(), Stop> {
    let (databases, now) = (cx.config.databases, cx.now);
    let digest = if cx.keys.keyspace().has_below() {
        let fold = Fold(Digest::fold);
        let page = cx.ask_below(Ask::Everything {
            databases,
            fold,
            now,
        })?;
        Digest::of_page(&page)
    } else {
        Digest::of_all(cx.keys.keyspace(), databases, now, cx.keys.thread())
    };
    cx.reply.simple(&digest.hex());
    Ok(())
}

/// Has keys locked, of which the row declares none.
fn need<'k>(cx: &mut Context<'_>, keys: impl Iterator<Item = &'k [u8]>) -> Result<(), Stop> {
    let db = cx.keys.db();
    cx.need_keys(keys.map(|key| OtherKey {
        db,
        key: key.into(),
    }))
}

fn digest_value(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), Stop> {
    need(cx, args.from(2))?;
    cx.reply.array(args.len() - 2);
    for key in args.from(2) {
        let digest = cx.keys.peek(key).map(Digest::of_value);
        let digest = digest.unwrap_or_default();
        cx.reply.simple(&digest.hex());
    }
    Ok(())
}

fn object(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), Stop> {
    need(cx, args.from(2))?;
    let access = cx.keys.access_policy();
    let entry = cx.keys.peek(args.at(2)).ok_or(CommandError::NoSuchKey)?;
    let mut serialized = Vec::new();
    dump::write_value(entry, &mut serialized);
    // Values have no address that would mean anything to a client.
    let line = format!(
        "Value at:0x0 refcount:1 encoding:{} serializedlength:{} lru:{} lru_seconds_idle:{}{}",
        object::encoding_name(entry),
        serialized.len(),
        entry.access(),
        access.idle_secs(entry).unwrap_or(0),
        nodes(cx.config.list_max_listpack_size, entry)
    );
    cx.reply.simple(&line);
    Ok(())
}

/// What is told of the nodes of a large list.
fn nodes(fill: i64, entry: EntryRef<'_>) -> String {
    let Some(LargeRef::List(list)) = entry.large() else {
        return String::new();
    };
    let nodes = list.packs().len();
    let bytes: usize = list.packs().map(|pack| pack.bytes().len()).sum();
    format!(
        " ql_nodes:{nodes} ql_avg_node:{:.2} ql_listpack_max:{fill} ql_compressed:0 ql_uncompressed_size:{bytes}",
        list.len() as f64 / nodes as f64
    )
}

/// Shows one value in the log, where Redis has its standard output.
fn show(
    cx: &mut Context<'_>,
    key: &[u8],
    what: &'static str,
    shown: impl FnOnce(EntryRef<'_>) -> Option<String>,
) -> Result<(), Stop> {
    need(cx, std::iter::once(key))?;
    let entry = cx.keys.peek(key).ok_or(CommandError::NoSuchKey)?;
    let shown = shown(entry).ok_or_else(|| {
        CommandError::message(format!("ERR Not a {} encoded object.", what.to_lowercase()))
    })?;
    tracing::info!("{what} of {}: {shown}", key.escape_ascii());
    cx.reply
        .simple(&format!("{what} structure printed on stdout"));
    Ok(())
}

fn texts<const BACK: bool>(pack: Pack<'_, BACK>) -> String {
    let texts = pack.iter().map(|placed| placed.element.to_vec());
    let texts: Vec<String> = texts.map(|text| text.escape_ascii().to_string()).collect();
    format!(
        "{} bytes, {} elements: {}",
        pack.bytes().len(),
        texts.len(),
        texts.join(" ")
    )
}

fn listpack(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), Stop> {
    show(cx, args.at(2), "Listpack", |entry| {
        let mut scratch = Vec::new();
        let is_packed = object::encoding_name(entry).starts_with("listpack");
        is_packed.then(|| match entry.value_type() {
            ValueType::List => texts(Listpack::new(entry.plain(&mut scratch))),
            _ => texts(OneWay::new(entry.plain(&mut scratch))),
        })
    })
}

/// With 1 the elements are shown too.
fn quicklist(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), Stop> {
    let full = args.from(3).next().and_then(number::parse_i64);
    show(cx, args.at(2), "Quicklist", |entry| match entry.large() {
        Some(LargeRef::List(list)) => {
            let node = |pack: Listpack<'_>| match full {
                Some(1..) => texts(pack),
                _ => format!("{} bytes, {} elements", pack.bytes().len(), pack.len()),
            };
            Some(list.packs().map(node).collect::<Vec<_>>().join("; "))
        }
        _ => None,
    })
}

fn set_active_expire(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), Stop> {
    let on = number::parse_i64(args.at(2)).is_some_and(|number| number != 0);
    cx.server.active_expire.store(on, Ordering::Relaxed);
    cx.reply.ok();
    Ok(())
}

fn error(_: &mut Context<'_>, args: &Args<'_>) -> Result<(), Stop> {
    let text = String::from_utf8_lossy(args.at(2)).into_owned();
    Err(CommandError::message(text).into())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use crate::config::{CallableFrom, Config};
    use crate::testing::{Db, script};

    script!(the_digest_is_that_of_redis, |db| {
        db.run("DEBUG DIGEST")
            .simple("0000000000000000000000000000000000000000");
        db.run("SET bc hello").ok();
        db.run("SET a 1").ok();
        db.run("SET d v").ok();
        db.run("DEBUG DIGEST-VALUE a bc zz").is(
            "*3\r\n+b4fc66738120fba0b5aa500ab5c2bf89cea1c5da\r\n\
             +36b23a1456b2dce2c3ed252c456761301dba8060\r\n\
             +0000000000000000000000000000000000000000\r\n",
        );
        db.run("DEBUG DIGEST-VALUE").is("*0\r\n");
        db.run("DEBUG DIGEST")
            .simple("e3602dffe0c2647669657a6c9aa26ce78443512d");
    });

    script!(the_server_sleeps_and_then_answers, |db| {
        db.run("DEBUG SLEEP 0.1").is("");
        db.run("PING").is("");
        db.run("CLIENT ID").is("");
        db.advance(99);
        db.run("PING").is("");
        db.advance(1);
        db.run("DEBUG SLEEP 0.1").ok();
        db.run("PING").simple("PONG");
        db.run("DEBUG SLEEP 0").ok();
        db.run("DEBUG SLEEP x").ok();
    });

    #[test]
    fn nobody_makes_the_server_sleep_for_more_than_300_seconds() {
        let mut db = Db::new();
        for seconds in ["300.001", "301", "1e300", "inf", "99999999999999999999"] {
            db.run(&format!("DEBUG SLEEP {seconds}"))
                .error("ERR the server sleeps for 300 seconds at the most");
            db.run("PING").simple("PONG");
        }
        for seconds in ["-1", "nan", "-inf"] {
            db.run(&format!("DEBUG SLEEP {seconds}")).ok();
        }
        db.run("DEBUG SLEEP 300").is("");
        db.advance(299_999);
        db.run("PING").is("");
        db.advance(1);
        db.run("DEBUG SLEEP 300").ok();
        db.run("PING").simple("PONG");
    }

    script!(memory: debug_object_tells_encoding_and_length, |db| {
        db.run("DEBUG OBJECT k").error("ERR no such key");
        for (value, encoding, bytes) in [
            ("1", "int", 2),
            ("-129", "int", 3),
            ("32768", "int", 5),
            ("2147483648", "int", 11),
            ("hello", "embstr", 6),
        ] {
            db.run(&format!("SET k {value}")).ok();
            let answer = db.run("DEBUG OBJECT k");
            let text = String::from_utf8_lossy(answer.bytes()).into_owned();
            let expected = format!("encoding:{encoding} serializedlength:{bytes} lru:");
            assert!(text.contains(&expected), "{text}");
            assert!(text.ends_with("lru_seconds_idle:0\r\n"), "{text}");
        }
        db.advance(10_000);
        let answer = db.run("DEBUG OBJECT k");
        assert!(answer.bytes().ends_with(b"lru_seconds_idle:10\r\n"));
    });

    script!(memory: debug_object_tells_of_collections_what_redis_does, |db| {
        db.run("CONFIG SET list-max-listpack-size 4").ok();
        let long = "a".repeat(100);
        for (command, told) in [
            (format!("SET s {long}").as_str(), "encoding:raw serializedlength:13 "),
            ("RPUSH s a b c d e f g 1 2 3", "encoding:quicklist serializedlength:55 "),
            ("HSET s a 1 b two", "encoding:listpack serializedlength:21 "),
            ("SADD s 1 2 300", "encoding:intset serializedlength:15 "),
            ("ZADD s 1.5 a 2 b", "encoding:listpack serializedlength:21 "),
            ("XADD s 1-1 f v", "encoding:stream serializedlength:57 "),
        ] {
            let _ = db.run("DEL s");
            let _ = db.run(command);
            let answer = db.run("DEBUG OBJECT s");
            let text = String::from_utf8_lossy(answer.bytes()).into_owned();
            assert!(text.contains(told), "{command}: {text}");
            let nodes = " ql_nodes:3 ql_avg_node:3.33 ql_listpack_max:4 ql_compressed:0 ql_uncompressed_size:48\r\n";
            assert_eq!(text.ends_with(nodes), command.starts_with("RPUSH"), "{text}");
        }
    });

    script!(structures_are_shown_in_the_log, |db| {
        db.run("CONFIG SET list-max-listpack-size 4").ok();
        db.run("RPUSH l a b c d e f").int(6);
        db.run("HSET h a 1").int(1);
        db.run("DEBUG LISTPACK h")
            .simple("Listpack structure printed on stdout");
        db.run("DEBUG LISTPACK l")
            .error("ERR Not a listpack encoded object.");
        db.run("DEBUG QUICKLIST l")
            .simple("Quicklist structure printed on stdout");
        db.run("DEBUG QUICKLIST l 1")
            .simple("Quicklist structure printed on stdout");
        db.run("DEBUG QUICKLIST h")
            .error("ERR Not a quicklist encoded object.");
        db.run("DEBUG LISTPACK none").error("ERR no such key");
    });

    script!(active_expire_is_a_switch, |db| {
        db.run("DEBUG SET-ACTIVE-EXPIRE 0").ok();
        assert!(!db.server().active_expire.load(Ordering::Relaxed));
        db.run("DEBUG SET-ACTIVE-EXPIRE 1").ok();
        assert!(db.server().active_expire.load(Ordering::Relaxed));
    });

    script!(debug_refuses_what_it_has_not, |db| {
        for line in ["JMAP", "SLEEP", "RELOAD", "DIGEST x"] {
            let name = line.split(' ').next().unwrap();
            db.run(&format!("DEBUG {line}")).error(&format!(
                "ERR unknown subcommand or wrong number of arguments for '{name}'. Try DEBUG HELP."
            ));
        }
        db.run("DEBUG")
            .error("ERR wrong number of arguments for 'debug' command");
        db.run("DEBUG ERROR \"FOO a\\nb\"").error("FOO a b");
        assert!(
            db.run("DEBUG HELP")
                .bytes()
                .starts_with(b"*23\r\n+DEBUG <subcommand> ")
        );
    });

    #[test]
    fn debug_is_refused_where_it_is_not_enabled() {
        let config = Config {
            worker_threads: 1,
            enable_debug_command: CallableFrom::No,
            ..Config::default()
        };
        Db::with_config(config).run("DEBUG DIGEST").error(
            "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", \
             you can run it from a local connection, otherwise you need to set this option in the \
             configuration file, and then restart the server.",
        );
    }
}
