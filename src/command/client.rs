//! CLIENT: what a connection may ask of itself and of others.

mod kill;
mod list;

use std::sync::atomic::Ordering::Relaxed;

use super::connection::DEFAULT_USER;
use super::help::help;
use super::{Argument, Arity::*, Command, Context, Flags, Group, container};
use crate::clock::UnixMs;
use crate::error::CommandError;
use crate::resp::Args;
use crate::server::clients::Client;
use crate::server::pause::PauseMode;
use crate::server::session::ReplyMode;
use crate::server::waiters::End;
use crate::value::number;

/// What a connection may ask about itself.
const OWN: Flags = Flags::NOSCRIPT.and(Flags::LOADING).and(Flags::STALE);
/// What touches others.
const OTHERS: Flags = OWN.and(Flags::ADMIN);

const ON_OFF: &[Argument] = &[Argument {
    arguments: &[Argument::word("on", "ON"), Argument::word("off", "OFF")],
    ..Argument::new("enabled", "oneof")
}];

/// A row of this family to complete.
const BLANK: Command = Command {
    flags: OWN,
    group: Group::Connection,
    ..Command::BLANK
};

/// The rows of this family.
pub(super) const COMMANDS: &[Command] = &[Command {
    name: "client",
    arity: AtLeast(2),
    flags: Flags::NONE,
    run: container,
    subcommands: SUBCOMMANDS,
    since: "2.4.0",
    complexity: "Depends on subcommand.",
    summary: "Looks at connections and changes how they are served.",
    ..BLANK
}];

const SUBCOMMANDS: &[Command] = &[
    Command {
        name: "getname",
        arity: Exactly(2),
        run: getname,
        since: "2.6.9",
        summary: "Returns the name of the connection.",
        ..BLANK
    },
    Command {
        name: "getredir",
        arity: Exactly(2),
        run: getredir,
        since: "6.0.0",
        summary: "Returns the client that is told of changed keys in place of this one.",
        ..BLANK
    },
    Command {
        name: "help",
        arity: Exactly(2),
        flags: Flags::LOADING.and(Flags::STALE),
        run: client_help,
        since: "5.0.0",
        summary: "Tells what the subcommands do.",
        ..BLANK
    },
    Command {
        name: "id",
        arity: Exactly(2),
        run: id,
        since: "5.0.0",
        summary: "Returns the number of the connection.",
        ..BLANK
    },
    Command {
        name: "info",
        arity: Exactly(2),
        run: list::info,
        since: "6.2.0",
        summary: "Describes the connection.",
        tips: &["nondeterministic_output"],
        ..BLANK
    },
    Command {
        name: "kill",
        arity: AtLeast(3),
        flags: OTHERS,
        run: kill::kill,
        since: "2.4.0",
        complexity: "O(N) where N is the number of client connections",
        summary: "Closes the connections that all filters fit.",
        arguments: kill::ARGUMENTS,
        ..BLANK
    },
    Command {
        name: "list",
        arity: AtLeast(2),
        flags: OTHERS,
        run: list::list,
        since: "2.4.0",
        complexity: "O(N) where N is the number of client connections",
        summary: "Describes all connections, or some of them.",
        tips: &["nondeterministic_output"],
        arguments: list::ARGUMENTS,
        ..BLANK
    },
    Command {
        name: "no-evict",
        arity: Exactly(3),
        flags: OTHERS,
        run: no_evict,
        since: "7.0.0",
        summary: "Chooses whether the connection may be closed to save memory.",
        arguments: ON_OFF,
        ..BLANK
    },
    Command {
        name: "no-touch",
        arity: Exactly(3),
        run: no_touch,
        since: "7.2.0",
        summary: "Chooses whether the connection's commands count as uses of their keys.",
        arguments: ON_OFF,
        ..BLANK
    },
    Command {
        name: "pause",
        arity: AtLeast(3),
        flags: OTHERS,
        run: pause,
        since: "2.9.50",
        summary: "Holds back the commands of all connections for some time.",
        arguments: &[
            Argument::new("timeout", "integer"),
            Argument {
                since: Some("6.2.0"),
                arguments: &[
                    Argument::word("write", "WRITE"),
                    Argument::word("all", "ALL"),
                ],
                ..Argument::optional("mode", "oneof")
            },
        ],
        ..BLANK
    },
    Command {
        name: "reply",
        arity: Exactly(3),
        run: reply,
        since: "3.2.0",
        summary: "Chooses which replies the connection gets.",
        arguments: &[Argument {
            arguments: &[
                Argument::word("on", "ON"),
                Argument::word("off", "OFF"),
                Argument::word("skip", "SKIP"),
            ],
            ..Argument::new("on_off_skip", "oneof")
        }],
        ..BLANK
    },
    Command {
        name: "setinfo",
        arity: Exactly(4),
        run: setinfo,
        since: "7.2.0",
        summary: "Notes the library that the connection is used by.",
        tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
        arguments: &[Argument {
            arguments: &[
                Argument {
                    token: Some("LIB-NAME"),
                    ..Argument::new("libname", "string")
                },
                Argument {
                    token: Some("LIB-VER"),
                    ..Argument::new("libver", "string")
                },
            ],
            ..Argument::new("attr", "oneof")
        }],
        ..BLANK
    },
    Command {
        name: "setname",
        arity: Exactly(3),
        run: setname,
        since: "2.6.9",
        summary: "Names the connection.",
        tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
        arguments: &[Argument::new("connection-name", "string")],
        ..BLANK
    },
    Command {
        name: "trackinginfo",
        arity: Exactly(2),
        run: trackinginfo,
        since: "6.2.0",
        summary: "Tells whether the connection hears of changed keys.",
        ..BLANK
    },
    Command {
        name: "unblock",
        arity: AtLeast(3),
        flags: OTHERS,
        run: unblock,
        since: "5.0.0",
        complexity: "O(log N) where N is the number of client connections",
        summary: "Ends the wait of another connection's blocking command.",
        arguments: &[
            Argument::new("client-id", "integer"),
            Argument {
                arguments: &[
                    Argument::word("timeout", "TIMEOUT"),
                    Argument::word("error", "ERROR"),
                ],
                ..Argument::optional("timeout_error", "oneof")
            },
        ],
        ..BLANK
    },
    Command {
        name: "unpause",
        arity: Exactly(2),
        flags: OTHERS,
        run: unpause,
        since: "6.2.0",
        complexity: "O(N) where N is the number of paused clients",
        summary: "Ends a pause before its time.",
        ..BLANK
    },
];

const HELP: &[&str] = &[
    "GETREDIR",
    "    Return the client ID we are redirecting to when tracking is enabled.",
    "GETNAME",
    "    Return the name of the current connection.",
    "ID",
    "    Return the ID of the current connection.",
    "INFO",
    "    Return information about the current client connection.",
    "KILL <ip:port>",
    "    Kill connection made from <ip:port>.",
    "KILL <option> <value> [<option> <value> [...]]",
    "    Kill connections. Options are:",
    "    * ADDR (<ip:port>|<unixsocket>:0)",
    "      Kill connections made from the specified address",
    "    * LADDR (<ip:port>|<unixsocket>:0)",
    "      Kill connections made to specified local address",
    "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
    "      Kill connections by type.",
    "    * USER <username>",
    "      Kill connections authenticated by <username>.",
    "    * SKIPME (YES|NO)",
    "      Skip killing current connection (default: yes).",
    "    * ID <client-id>",
    "      Kill connections by client id.",
    "    * MAXAGE <maxage>",
    "      Kill connections older than the specified age.",
    "LIST [options ...]",
    "    Return information about client connections. Options:",
    "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
    "      Return clients of specified type.",
    "    * ID <client-id> [<client-id> ...]",
    "      Return clients of specified ids.",
    "UNPAUSE",
    "    Stop the current client pause, resuming traffic.",
    "PAUSE <timeout> [WRITE|ALL]",
    "    Suspend all, or just write, clients for <timeout> milliseconds.",
    "REPLY (ON|OFF|SKIP)",
    "    Control the replies sent to the current connection.",
    "SETNAME <name>",
    "    Assign the name <name> to the current connection.",
    "SETINFO <option> <value>",
    "    Set client meta attr. Options are:",
    "    * LIB-NAME: the client lib name.",
    "    * LIB-VER: the client lib version.",
    "UNBLOCK <clientid> [TIMEOUT|ERROR]",
    "    Unblock the specified blocked client.",
    "TRACKINGINFO",
    "    Report tracking status for the current connection.",
    "NO-EVICT (ON|OFF)",
    "    Protect current client connection from eviction.",
    "NO-TOUCH (ON|OFF)",
    "    Will not touch LRU/LFU stats when this mode is on.",
];

fn client_help(cx: &mut Context<'_>, _: &Args<'_>) -> Result<(), CommandError> {
    help(cx.reply, "CLIENT", HELP);
    Ok(())
}

fn id(cx: &mut Context<'_>, _: &Args<'_>) -> Result<(), CommandError> {
    cx.reply.int(cx.session.client.id.cast_signed());
    Ok(())
}

fn getname(cx: &mut Context<'_>, _: &Args<'_>) -> Result<(), CommandError> {
    let name = cx.session.client.name.lock();
    cx.reply
        .bulk_or_nil(Some(&name[..]).filter(|name| !name.is_empty()));
    Ok(())
}

fn setname(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    check_name(args.at(2))?;
    *cx.session.client.name.lock() = args.at(2).to_vec();
    cx.reply.ok();
    Ok(())
}

/// Whether a client may be named so.
pub(super) fn check_name(name: &[u8]) -> Result<(), CommandError> {
    check_printable(name, "Client names")
}

/// Spaces and the like would break the lines of CLIENT LIST.
fn check_printable(text: &[u8], what: &str) -> Result<(), CommandError> {
    if text.iter().all(u8::is_ascii_graphic) {
        return Ok(());
    }
    Err(CommandError::message(format!(
        "ERR {what} cannot contain spaces, newlines or special characters."
    )))
}

fn setinfo(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let (option, value) = (args.at(2), args.at(3));
    let mut library = cx.session.client.library.lock();
    let (name, version) = &mut *library;
    let place = if option.eq_ignore_ascii_case(b"LIB-NAME") {
        name
    } else if option.eq_ignore_ascii_case(b"LIB-VER") {
        version
    } else {
        return Err(CommandError::with_word(
            "ERR Unrecognized option '",
            option,
            "'",
        ));
    };
    check_printable(value, &String::from_utf8_lossy(option))?;
    *place = value.to_vec();
    cx.reply.ok();
    Ok(())
}

/// The error of a subcommand whose number of arguments fits its arity and nothing else.
fn wrong_form(args: &Args<'_>) -> CommandError {
    CommandError::with_word(
        "ERR unknown subcommand or wrong number of arguments for '",
        args.at(1),
        "'. Try CLIENT HELP.",
    )
}

fn pause(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let held = match args.get(3) {
        _ if args.len() > 4 => return Err(wrong_form(args)),
        None => PauseMode::All,
        Some(mode) if mode.eq_ignore_ascii_case(b"ALL") => PauseMode::All,
        Some(mode) if mode.eq_ignore_ascii_case(b"WRITE") => PauseMode::Writes,
        Some(_) => {
            return Err(CommandError::text(
                "ERR CLIENT PAUSE mode must be WRITE or ALL",
            ));
        }
    };
    let timeout_ms = number::parse_i64(args.at(2)).ok_or(CommandError::text(
        "ERR timeout is not an integer or out of range",
    ))?;
    if timeout_ms < 0 {
        return Err(CommandError::text("ERR timeout is negative"));
    }
    let until = cx.now.0.checked_add(timeout_ms);
    let until = until.ok_or(CommandError::text("ERR timeout is out of range"))?;
    cx.server.pause.start(UnixMs(until), held, cx.now);
    cx.reply.ok();
    Ok(())
}

fn unpause(cx: &mut Context<'_>, _: &Args<'_>) -> Result<(), CommandError> {
    cx.server.pause.end();
    cx.reply.ok();
    Ok(())
}

/// What ON answers is sent; the dispatcher takes back the replies of the others.
fn reply(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let mode = args.at(2);
    let off = cx.session.reply_mode == ReplyMode::Off;
    if mode.eq_ignore_ascii_case(b"ON") {
        cx.session.reply_mode = ReplyMode::On;
        cx.reply.ok();
    } else if mode.eq_ignore_ascii_case(b"OFF") {
        cx.session.reply_mode = ReplyMode::Off;
    } else if !mode.eq_ignore_ascii_case(b"SKIP") {
        return Err(CommandError::Syntax);
    } else if !off {
        cx.session.reply_mode = ReplyMode::SkipNext;
    }
    Ok(())
}

fn no_evict(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let on = parse_on_off(args.at(2))?;
    cx.session.client.no_evict.store(on, Relaxed);
    cx.reply.ok();
    Ok(())
}

fn no_touch(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let on = parse_on_off(args.at(2))?;
    cx.session.no_touch = on;
    cx.session.client.no_touch.store(on, Relaxed);
    cx.reply.ok();
    Ok(())
}

fn parse_on_off(word: &[u8]) -> Result<bool, CommandError> {
    if word.eq_ignore_ascii_case(b"ON") {
        Ok(true)
    } else if word.eq_ignore_ascii_case(b"OFF") {
        Ok(false)
    } else {
        Err(CommandError::Syntax)
    }
}

/// No command blocks, so nobody can be found waiting.
fn unblock(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let is_reason = |reason: &[u8]| {
        reason.eq_ignore_ascii_case(b"TIMEOUT") || reason.eq_ignore_ascii_case(b"ERROR")
    };
    match args.get(3) {
        _ if args.len() > 4 => return Err(wrong_form(args)),
        Some(reason) if !is_reason(reason) => {
            return Err(CommandError::text(
                "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR",
            ));
        }
        _ => {}
    }
    let id = number::parse_i64(args.at(2)).ok_or(CommandError::NotInteger)?;
    let waiter = u64::try_from(id)
        .ok()
        .and_then(|id| cx.server.waiters.of_client(id));
    let how = match args.get(3) {
        Some(reason) if reason.eq_ignore_ascii_case(b"ERROR") => End::Unblocked,
        _ => End::TimedOut,
    };
    cx.reply.flag(waiter.is_some_and(|waiter| waiter.end(how)));
    Ok(())
}

fn getredir(cx: &mut Context<'_>, _: &Args<'_>) -> Result<(), CommandError> {
    cx.reply.int(-1);
    Ok(())
}

fn trackinginfo(cx: &mut Context<'_>, _: &Args<'_>) -> Result<(), CommandError> {
    cx.reply.map(3);
    cx.reply.text("flags");
    cx.reply.set(1);
    cx.reply.text("off");
    cx.reply.text("redirect");
    cx.reply.int(-1);
    cx.reply.text("prefixes");
    cx.reply.array(0);
    Ok(())
}

/// Kinds of clients. There are no masters and replicas; filters know the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Normal,
    Master,
    Replica,
    PubSub,
}

impl Kind {
    fn of(client: &Client) -> Self {
        match client.is_subscriber() {
            true => Self::PubSub,
            false => Self::Normal,
        }
    }

    fn parse(word: &[u8]) -> Result<Self, CommandError> {
        [
            ("normal", Self::Normal),
            ("slave", Self::Replica),
            ("replica", Self::Replica),
            ("pubsub", Self::PubSub),
            ("master", Self::Master),
        ]
        .into_iter()
        .find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes()))
        .map(|(_, kind)| kind)
        .ok_or_else(|| CommandError::with_word("ERR Unknown client type '", word, "'"))
    }
}

fn check_user(name: &[u8]) -> Result<(), CommandError> {
    if name == DEFAULT_USER {
        return Ok(());
    }
    Err(CommandError::with_word("ERR No such user '", name, "'"))
}

#[cfg(test)]
mod tests {
    use crate::testing::script;

    const NAME: &str = "ERR Client names cannot contain spaces, newlines or special characters.";

    script!(names_are_printable_words, |db| {
        db.run("CLIENT GETNAME").nil();
        db.run("CLIENT SETNAME abc").ok();
        db.run("CLIENT GETNAME").bulk("abc");
        for name in ["\"a b\"", "\"a\\n\"", "é", "\"\\x7f\""] {
            db.run(&format!("CLIENT SETNAME {name}")).error(NAME);
        }
        db.run("CLIENT GETNAME").bulk("abc");
        db.run("CLIENT SETNAME \"\"").ok();
        db.run("CLIENT GETNAME").nil();
        db.run("CLIENT SETNAME")
            .error("ERR wrong number of arguments for 'client|setname' command");
        db.resp3();
        db.run("CLIENT GETNAME").is("_\r\n");
    });

    script!(setinfo_notes_the_library, |db| {
        db.run("CLIENT SETINFO lib-name redis-py").ok();
        db.run("CLIENT SETINFO LIB-VER 1.2").ok();
        let info = db.run("CLIENT INFO");
        let info = String::from_utf8_lossy(info.bytes()).into_owned();
        assert!(
            info.contains(" lib-name=redis-py lib-ver=1.2 tot-net-in="),
            "{info}"
        );
        db.run("CLIENT SETINFO lib-name \"a b\"")
            .error("ERR lib-name cannot contain spaces, newlines or special characters.");
        db.run("CLIENT SETINFO foo a")
            .error("ERR Unrecognized option 'foo'");
        db.run("CLIENT SETINFO lib-name")
            .error("ERR wrong number of arguments for 'client|setinfo' command");
    });

    script!(id_redirection_and_tracking_of_a_plain_client, |db| {
        db.run("CLIENT ID").int(1);
        db.run("CLIENT GETREDIR").int(-1);
        db.run("CLIENT TRACKINGINFO").is(
            "*6\r\n$5\r\nflags\r\n*1\r\n$3\r\noff\r\n$8\r\nredirect\r\n:-1\r\n$8\r\nprefixes\r\n*0\r\n",
        );
        db.resp3();
        db.run("CLIENT TRACKINGINFO").is(
            "%3\r\n$5\r\nflags\r\n~1\r\n$3\r\noff\r\n$8\r\nredirect\r\n:-1\r\n$8\r\nprefixes\r\n*0\r\n",
        );
    });

    script!(unknown_subcommands_and_wrong_forms, |db| {
        db.run("CLIENT")
            .error("ERR wrong number of arguments for 'client' command");
        for name in ["FOO", "TRACKING", "CACHING"] {
            db.run(&format!("CLIENT {name} ON")).error(&format!(
                "ERR unknown subcommand '{name}'. Try CLIENT HELP."
            ));
        }
        for line in ["id", "info", "getname", "help", "unpause", "getredir"] {
            db.run(&format!("CLIENT {line} x")).error(&format!(
                "ERR wrong number of arguments for 'client|{line}' command"
            ));
        }
        for (line, name) in [("Pause 1 ALL x", "Pause"), ("UNBLOCK 1 ERROR x", "UNBLOCK")] {
            db.run(&format!("CLIENT {line}")).error(&format!(
                "ERR unknown subcommand or wrong number of arguments for '{name}'. Try CLIENT HELP."
            ));
        }
    });

    script!(pause_holds_back_writes_or_all, |db| {
        db.run("CLIENT PAUSE abc")
            .error("ERR timeout is not an integer or out of range");
        db.run("CLIENT PAUSE -1").error("ERR timeout is negative");
        db.run("CLIENT PAUSE 9223372036854775807")
            .error("ERR timeout is out of range");
        db.run("CLIENT PAUSE 1 FOO")
            .error("ERR CLIENT PAUSE mode must be WRITE or ALL");
        db.run("CLIENT PAUSE 0").ok();
        db.run("SET k v").ok();
        db.run("CLIENT PAUSE 100 WRITE").ok();
        db.run("GET k").bulk("v");
        db.run("SET k w").is("");
        db.run("CLIENT PAUSE 50 ALL").ok();
        db.run("GET k").is("");
        db.advance(99);
        db.run("GET k").is("");
        db.advance(1);
        db.run("GET k").bulk("v");
        db.run("CLIENT PAUSE 100").ok();
        db.run("PING").is("");
        db.run("CLIENT UNPAUSE").ok();
        db.run("PING").simple("PONG");
    });

    script!(reply_chooses_which_replies_are_sent, |db| {
        db.run("CLIENT REPLY FOO").error("ERR syntax error");
        db.run("CLIENT REPLY ON").ok();
        db.run("CLIENT REPLY OFF").is("");
        for line in ["PING", "NOSUCH", "CLIENT REPLY OFF", "CLIENT REPLY SKIP"] {
            db.run(line).is("");
        }
        db.run("PING").is("");
        db.run("CLIENT REPLY FOO").is("");
        db.run("CLIENT REPLY ON").ok();
        db.run("PING").simple("PONG");
    });

    script!(reply_skip_leaves_out_one_reply, |db| {
        for skipped in ["PING", "NOSUCH", "CLIENT REPLY FOO", "RESET"] {
            db.run("CLIENT REPLY SKIP").is("");
            db.run(skipped).is("");
            db.run("PING").simple("PONG");
        }
        db.run("CLIENT REPLY SKIP").is("");
        db.run("CLIENT REPLY SKIP").is("");
        db.run("PING").is("");
        db.run("PING").simple("PONG");
        db.run("CLIENT REPLY SKIP").is("");
        db.run("CLIENT REPLY ON").ok();
        db.run("PING").simple("PONG");
    });

    script!(no_evict_and_no_touch_take_on_and_off, |db| {
        for (name, flag) in [("NO-EVICT", "e"), ("NO-TOUCH", "T")] {
            db.run(&format!("CLIENT {name} foo"))
                .error("ERR syntax error");
            db.run(&format!("CLIENT {name} on")).ok();
            let info = db.run("CLIENT INFO");
            let info = String::from_utf8_lossy(info.bytes()).into_owned();
            assert!(info.contains(&format!(" flags={flag} ")), "{info}");
            db.run(&format!("CLIENT {name} OFF")).ok();
            let info = db.run("CLIENT INFO");
            assert!(String::from_utf8_lossy(info.bytes()).contains(" flags=N "));
        }
    });

    script!(unblock_finds_nobody, |db| {
        db.run("CLIENT UNBLOCK 1").int(0);
        db.run("CLIENT UNBLOCK -3 TIMEOUT").int(0);
        db.run("CLIENT UNBLOCK 1 error").int(0);
        db.run("CLIENT UNBLOCK abc")
            .error("ERR value is not an integer or out of range");
        db.run("CLIENT UNBLOCK abc foo")
            .error("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
    });

    script!(help_names_every_subcommand, |db| {
        let help = db.run("CLIENT HELP");
        let help = String::from_utf8_lossy(help.bytes()).into_owned();
        assert!(help.starts_with(&format!(
            "*{}\r\n+CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:\r\n",
            super::super::HELP.len() + 3
        )));
        for row in super::super::SUBCOMMANDS {
            let name = row.name.to_ascii_uppercase();
            assert!(help.contains(&format!("\r\n+{name}")), "{name}");
        }
    });
}
