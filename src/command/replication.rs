//! What a server without replicas and modules answers to those who ask for them.

use super::argument::{block, oneof, word};
use super::blocking::{self, Waits};
use super::{Argument, Arity::*, Command, Context, Flags, Group, help, parse};
use crate::error::CommandError;
use crate::resp::{Args, Reply};
use crate::server::suspended::Stop;
use crate::value::number;

/// The rows of this family.
pub(super) const COMMANDS: &[Command] = &[
    REPLICAOF,
    Command {
        name: "slaveof",
        since: "1.0.0",
        deprecated: Some(("5.0.0", "`REPLICAOF`")),
        ..REPLICAOF
    },
    Command {
        name: "waitaof",
        arity: Exactly(4),
        flags: Flags::BLOCKING,
        run_or_suspend: Some(waitaof),
        group: Group::Generic,
        categories: &["@connection"],
        since: "7.2.0",
        summary: "Waits until logs of this server and of replicas have the writes of this connection, or for so long.",
        tips: &["request_policy:all_shards", "response_policy:agg_min"],
        arguments: &[
            Argument::new("numlocal", "integer"),
            Argument::new("numreplicas", "integer"),
            Argument::new("timeout", "integer"),
        ],
        ..Command::BLANK
    },
    Command {
        name: "module",
        arity: AtLeast(2),
        group: Group::Server,
        since: "4.0.0",
        complexity: "Depends on subcommand.",
        summary: "Holds the commands about modules, of which there are none.",
        subcommands: &[
            Command {
                name: "help",
                arity: Exactly(2),
                flags: Flags::LOADING.and(Flags::STALE),
                run: module_help,
                group: Group::Server,
                since: "5.0.0",
                summary: "Lists the subcommands.",
                ..Command::BLANK
            },
            Command {
                name: "list",
                arity: Exactly(2),
                flags: Flags::ADMIN.and(Flags::NOSCRIPT),
                run: module_list,
                group: Group::Server,
                since: "4.0.0",
                complexity: "O(N) where N is the number of loaded modules.",
                summary: "Returns the modules that are loaded: none.",
                tips: &["nondeterministic_output_order"],
                ..Command::BLANK
            },
        ],
        ..Command::BLANK
    },
];

const REPLICAOF: Command = Command {
    name: "replicaof",
    arity: Exactly(3),
    flags: Flags::ADMIN
        .and(Flags::NOSCRIPT)
        .and(Flags::STALE)
        .and(Flags::NO_ASYNC_LOADING),
    run: replicaof,
    group: Group::Server,
    since: "5.0.0",
    summary: "Ends replication, which there is none of: REPLICAOF NO ONE.",
    arguments: &[oneof(
        "args",
        &[
            block(
                "host-port",
                &[
                    Argument::new("host", "string"),
                    Argument::new("port", "integer"),
                ],
            ),
            block("no-one", &[word("no", "NO"), word("one", "ONE")]),
        ],
    )],
    ..Command::BLANK
};

fn replicaof(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let is = |at: usize, word: &[u8]| args.at(at).eq_ignore_ascii_case(word);
    if is(1, b"NO") && is(2, b"ONE") {
        cx.reply.ok();
        return Ok(());
    }
    let port = number::parse_i64(args.at(2)).filter(|port| (0..=65_535).contains(port));
    Err(CommandError::text(match port {
        None => "ERR Invalid master port",
        Some(_) => "ERR this server replicates no other one",
    }))
}

/// WAITAOF: nobody serves.
const NOBODY: Waits = Waits {
    timed_out: none_has_it,
    at_once: none_has_it,
    ..Waits::TIME
};

fn none_has_it(reply: &mut Reply) {
    reply.array(2);
    reply.int(0);
    reply.int(0);
}

/// Nothing is ever in a log: whoever waits for a replica's waits until the timeout (0 is for ever).
fn waitaof(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), Stop> {
    let local = parse::integer_in(args.at(1), 0, 1)?;
    let replicas = parse::count(args.at(2))?;
    let timeout_ms = number::parse_i64(args.at(3)).ok_or(CommandError::text(
        "ERR timeout is not an integer or out of range",
    ))?;
    let until = blocking::until_after(timeout_ms, cx.now)?;
    if local > 0 {
        return Err(Stop::from(CommandError::text(
            "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.",
        )));
    }
    if replicas == 0 {
        (NOBODY.timed_out)(cx.reply);
        return Ok(());
    }
    let request = args.from(0).collect();
    let none = std::iter::empty();
    Err(blocking::wait(cx, request, none, until, &NOBODY))
}

fn module_help(cx: &mut Context<'_>, _: &Args<'_>) -> Result<(), CommandError> {
    help::help(
        cx.reply,
        "MODULE",
        &["LIST", "    Returns the modules that are loaded: none."],
    );
    Ok(())
}

fn module_list(cx: &mut Context<'_>, _: &Args<'_>) -> Result<(), CommandError> {
    cx.reply.array(0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::script;

    script!(a_server_without_replicas_and_modules_says_so, |db| {
        for command in ["REPLICAOF", "SLAVEOF"] {
            db.run(&format!("{command} NO ONE")).ok();
            db.run(&format!("{command} no one")).ok();
            db.run(&format!("{command} host port"))
                .error("ERR Invalid master port");
            db.run(&format!("{command} host 6379"))
                .error("ERR this server replicates no other one");
        }
        db.run("MODULE LIST").is("*0\r\n");
        assert!(db.run("MODULE HELP").bytes().starts_with(b"*5\r\n+MODULE "));
        db.run("MODULE LOAD x")
            .error("ERR unknown subcommand 'LOAD'. Try MODULE HELP.");
        for command in ["READONLY", "READWRITE", "ASKING"] {
            db.run(command)
                .error("ERR This instance has cluster support disabled");
        }
    });

    script!(memory: waitaof_answers_as_a_server_without_a_log, |db| {
        db.run("WAITAOF 0 0 0").is("*2\r\n:0\r\n:0\r\n");
        db.run("WAITAOF 1 0 0")
            .error("ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.");
        db.run("WAITAOF 2 0 0")
            .error("ERR value is out of range, value must between 0 and 1");
        db.run("WAITAOF 0 x 0")
            .error("ERR value is out of range, must be positive");
        db.run("WAITAOF 0 0 -1").error("ERR timeout is negative");
        db.run("WAITAOF 0 0 x")
            .error("ERR timeout is not an integer or out of range");
    });
}
