//! SLOWLOG: the last commands that took longer than `slowlog-log-slower-than`.

use super::unknown_form;
use crate::command::{Argument, Arity::*, Command, Context, Flags, Group, help};
use crate::error::CommandError;
use crate::resp::Args;
use crate::value::number;

/// Entries that are shown when no count is given.
const DEFAULT_COUNT: usize = 10;

/// The row of SLOWLOG.
pub(super) const SLOWLOG: Command = Command {
    name: "slowlog",
    arity: AtLeast(2),
    group: Group::Server,
    since: "2.2.12",
    complexity: "Depends on subcommand.",
    summary: "Holds the commands about the slow log.",
    subcommands: &[
        Command {
            name: "get",
            arity: AtLeast(2),
            flags: Flags::ADMIN.and(Flags::LOADING).and(Flags::STALE),
            run: get,
            group: Group::Server,
            since: "2.2.12",
            complexity: "O(N) where N is the number of entries returned",
            summary: "Returns the newest entries of the slow log.",
            tips: &["request_policy:all_nodes", "nondeterministic_output"],
            arguments: &[Argument {
                flags: &["optional"],
                ..Argument::new("count", "integer")
            }],
            ..Command::BLANK
        },
        Command {
            name: "help",
            arity: Exactly(2),
            flags: Flags::LOADING.and(Flags::STALE),
            run: help,
            group: Group::Server,
            since: "6.2.0",
            summary: "Lists the subcommands of SLOWLOG.",
            ..Command::BLANK
        },
        Command {
            name: "len",
            arity: Exactly(2),
            flags: Flags::ADMIN.and(Flags::LOADING).and(Flags::STALE),
            run: len,
            group: Group::Server,
            since: "2.2.12",
            summary: "Returns how many entries the slow log has.",
            tips: &[
                "request_policy:all_nodes",
                "response_policy:agg_sum",
                "nondeterministic_output",
            ],
            ..Command::BLANK
        },
        Command {
            name: "reset",
            arity: Exactly(2),
            flags: Flags::ADMIN.and(Flags::LOADING).and(Flags::STALE),
            run: reset,
            group: Group::Server,
            since: "2.2.12",
            complexity: "O(N) where N is the number of entries in the slowlog",
            summary: "Removes all entries of the slow log.",
            tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
            ..Command::BLANK
        },
    ],
    ..Command::BLANK
};

const HELP: &[&str] = &[
    "GET [<count>]",
    "    Return top <count> entries from the slowlog (default: 10, -1 mean all).",
    "    Entries are made of:",
    "    id, timestamp, time in microseconds, arguments array, client IP and port,",
    "    client name",
    "LEN",
    "    Return the length of the slowlog.",
    "RESET",
    "    Reset the slowlog.",
];

fn get(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    if args.len() > 3 {
        return Err(unknown_form("SLOWLOG", args.at(1)));
    }
    let count = match args.get(2) {
        None => DEFAULT_COUNT,
        Some(count) => parse_count(count)?,
    };
    let newest = cx.server.slowlog.newest(count);
    cx.reply.array(newest.len());
    for command in newest {
        cx.reply.array(6);
        cx.reply.int(i64::try_from(command.id).unwrap_or(i64::MAX));
        cx.reply.int(command.time_s);
        cx.reply
            .int(i64::try_from(command.micros).unwrap_or(i64::MAX));
        cx.reply.array(command.args.len());
        for arg in &command.args {
            cx.reply.bulk(arg);
        }
        cx.reply.text(&command.client_address);
        cx.reply.bulk(&command.client_name);
    }
    Ok(())
}

/// A count, of which -1 is all.
fn parse_count(text: &[u8]) -> Result<usize, CommandError> {
    let count = number::parse_i64(text).filter(|&count| count >= -1);
    let count = count.ok_or(CommandError::text(
        "ERR count should be greater than or equal to -1",
    ))?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

fn len(cx: &mut Context<'_>, _: &Args<'_>) -> Result<(), CommandError> {
    cx.reply.count(cx.server.slowlog.len());
    Ok(())
}

fn reset(cx: &mut Context<'_>, _: &Args<'_>) -> Result<(), CommandError> {
    cx.server.slowlog.reset();
    cx.reply.ok();
    Ok(())
}

fn help(cx: &mut Context<'_>, _: &Args<'_>) -> Result<(), CommandError> {
    help::help(cx.reply, "SLOWLOG", HELP);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::script;

    script!(slow_commands_are_shown_newest_first, |db| {
        db.run("CONFIG SET slowlog-log-slower-than 100000").ok();
        db.run("DEBUG SLEEP 0.2").is("");
        db.advance(200);
        db.run("DEBUG SLEEP 0.2").ok();
        db.run("PING").simple("PONG");
        db.run("SLOWLOG LEN").int(1);
        let answer = db.run("SLOWLOG GET");
        let text = String::from_utf8_lossy(answer.bytes()).into_owned();
        assert!(
            text.starts_with("*1\r\n*6\r\n:0\r\n:1700000000\r\n:20"),
            "{text}"
        );
        assert!(text.ends_with("*3\r\n$5\r\nDEBUG\r\n$5\r\nSLEEP\r\n$3\r\n0.2\r\n$15\r\n127.0.0.1:50000\r\n$0\r\n\r\n"), "{text}");
        db.run("SLOWLOG GET 0").is("*0\r\n");
        db.run("SLOWLOG RESET").ok();
        db.run("SLOWLOG GET -1").is("*0\r\n");
    });

    script!(no_secret_is_in_the_slow_log, |db| {
        db.run("CONFIG SET slowlog-log-slower-than 0").ok();
        for line in [
            "AUTH hunter2",
            "AUTH bob hunter2",
            "HELLO 2 AUTH default hunter2 SETNAME x",
            "hello 2 setname x auth default hunter2",
            "CONFIG SET hz 11 requirepass hunter2",
            "CONFIG SET REQUIREPASS hunter2 timeout 0",
            "CONFIG SET masterauth hunter2",
            "CONFIG SET primaryauth hunter2 tls-key-file-pass hunter2",
            "CONFIG SET tls-client-key-file-pass hunter2",
            "MIGRATE 127.0.0.1 1 nokey 0 1 AUTH hunter2",
            "MIGRATE 127.0.0.1 1 nokey 0 1 COPY auth2 bob hunter2",
            "MIGRATE 127.0.0.1 1 \"\" 0 1 AUTH hunter2 KEYS nokey",
        ] {
            let _ = db.run(line);
            // Whoever has set a password has to tell it.
            let _ = db.run("AUTH hunter2");
        }
        let answer = db.run("SLOWLOG GET -1");
        let text = String::from_utf8_lossy(answer.bytes()).into_owned();
        assert!(!text.contains("hunter2"), "{text}");
        assert!(text.contains("$2\r\nhz\r\n$2\r\n11\r\n$11\r\nrequirepass\r\n$10\r\n(redacted)"));
        assert!(text.contains(
            "AUTH\r\n$10\r\n(redacted)\r\n$10\r\n(redacted)\r\n$7\r\nSETNAME\r\n$1\r\nx"
        ));
        db.run("CONFIG SET requirepass \"\"").ok();
    });

    script!(entries_are_as_long_as_the_options_say, |db| {
        db.run("CONFIG SET slowlog-entry-max-argc 3 slowlog-entry-max-string-len 4")
            .ok();
        db.run("CONFIG SET slowlog-log-slower-than 0").ok();
        db.run("DEL abcde b c d").int(0);
        db.run("CONFIG SET slowlog-log-slower-than -1").ok();
        let text = String::from_utf8_lossy(db.run("SLOWLOG GET -1").bytes()).into_owned();
        let words =
            "$3\r\nDEL\r\n$22\r\nabcd... (1 more bytes)\r\n$22\r\n... (3 more arguments)\r\n";
        assert!(text.contains(words), "{text}");
    });

    script!(slowlog_refuses_other_counts, |db| {
        for count in ["-2", "x", "99999999999999999999"] {
            db.run(&format!("SLOWLOG GET {count}"))
                .error("ERR count should be greater than or equal to -1");
        }
        db.run("SLOWLOG GET 1 2").error(
            "ERR unknown subcommand or wrong number of arguments for 'GET'. Try SLOWLOG HELP.",
        );
        let help = db.run("SLOWLOG HELP");
        assert!(help.bytes().starts_with(b"*12\r\n+SLOWLOG <subcommand> "));
    });
}
