//! Scripts: EVAL and its kin, and SCRIPT.
//!
//! What needs the Lua state is done by the thread of scripts: the row says what it wants ([`Evaluation`]).

use std::ops::Range;

use super::help::help;
use super::{Argument, Arity::*, Command, Context, Flags, Group, KeySpec};
use crate::error::CommandError;
use crate::resp::Args;
use crate::server::scripts::{Evaluation, Job, ScriptRun, Scripts};
use crate::server::suspended::{Stop, Suspend};
use crate::value::number;

const NEGATIVE: CommandError = CommandError::text("ERR Number of keys can't be negative");
const TOO_MANY: CommandError =
    CommandError::text("ERR Number of keys can't be greater than number of args");
const NO_SCRIPT: CommandError = CommandError::text("NOSCRIPT No matching script. Please use EVAL.");

/// What EVAL and its kin have.
const OWN: Flags = Flags::NOSCRIPT
    .and(Flags::STALE)
    .and(Flags::SKIP_MONITOR)
    .and(Flags::MAY_REPLICATE)
    .and(Flags::NO_MANDATORY_KEYS)
    .and(Flags::MOVABLE_KEYS);
const OWN_READONLY: Flags = OWN.without(Flags::MAY_REPLICATE).and(Flags::READONLY);
const COMPLEXITY: &str = "Depends on the script that is executed.";
const COUNT: Argument = Argument::new("numkeys", "integer");
const KEYS: Argument = Argument {
    key_spec: Some(0),
    flags: &["optional", "multiple"],
    ..Argument::new("key", "key")
};
const WORDS: Argument = Argument {
    flags: &["optional", "multiple"],
    ..Argument::new("arg", "string")
};
const WITH_TEXT: &[Argument] = &[Argument::new("script", "string"), COUNT, KEYS, WORDS];
const WITH_NAME: &[Argument] = &[Argument::new("sha1", "string"), COUNT, KEYS, WORDS];

/// What all four have.
const RUNS: Command = Command {
    arity: AtLeast(3),
    keys: &[KeySpec::counted(2, &["RW", "access", "update"])],
    flags: OWN,
    run_or_suspend: Some(hand_over),
    group: Group::Scripting,
    complexity: COMPLEXITY,
    ..Command::BLANK
};

/// The rows of this family.
pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "eval",
        evaluation: Some(eval),
        since: "2.6.0",
        summary: "Runs a Lua script.",
        arguments: WITH_TEXT,
        ..RUNS
    },
    Command {
        name: "evalsha",
        evaluation: Some(evalsha),
        since: "2.6.0",
        summary: "Runs a Lua script that the server knows, by the SHA1 of its text.",
        arguments: WITH_NAME,
        ..RUNS
    },
    Command {
        name: "eval_ro",
        keys: &[KeySpec::counted(2, &["RO", "access"])],
        flags: OWN_READONLY,
        evaluation: Some(eval_ro),
        since: "7.0.0",
        summary: "Runs a Lua script that changes no key.",
        arguments: WITH_TEXT,
        ..RUNS
    },
    Command {
        name: "evalsha_ro",
        keys: &[KeySpec::counted(2, &["RO", "access"])],
        flags: OWN_READONLY,
        evaluation: Some(evalsha_ro),
        since: "7.0.0",
        summary: "Runs a Lua script that the server knows and that changes no key.",
        arguments: WITH_NAME,
        ..RUNS
    },
    Command {
        name: "script",
        arity: AtLeast(2),
        group: Group::Scripting,
        since: "2.6.0",
        complexity: "Depends on subcommand.",
        summary: "A container for commands on the scripts that the server knows.",
        subcommands: SUBCOMMANDS,
        ..Command::BLANK
    },
];

const SUBCOMMANDS: &[Command] = &[
    Command {
        name: "load",
        arity: Exactly(3),
        flags: Flags::NOSCRIPT.and(Flags::STALE),
        run_or_suspend: Some(hand_over),
        evaluation: Some(load),
        group: Group::Scripting,
        since: "2.6.0",
        complexity: "O(N) with N being the length in bytes of the script.",
        summary: "Has the server know a script, and gives the SHA1 of its text.",
        tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
        arguments: &[Argument::new("script", "string")],
        ..Command::BLANK
    },
    Command {
        name: "exists",
        arity: AtLeast(3),
        flags: Flags::NOSCRIPT,
        run: exists,
        group: Group::Scripting,
        since: "2.6.0",
        complexity: "O(N) with N being the number of scripts.",
        summary: "Tells which of these scripts the server knows.",
        tips: &[
            "request_policy:all_shards",
            "response_policy:agg_logical_and",
        ],
        arguments: &[Argument {
            flags: &["multiple"],
            ..Argument::new("sha1", "string")
        }],
        ..Command::BLANK
    },
    Command {
        name: "flush",
        arity: AtLeast(2),
        flags: Flags::NOSCRIPT,
        run: flush,
        group: Group::Scripting,
        since: "2.6.0",
        complexity: "O(N) with N being the number of scripts.",
        summary: "Forgets all scripts.",
        tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
        arguments: &[Argument {
            flags: &["optional"],
            since: Some("6.2.0"),
            arguments: &[
                Argument::word("async", "ASYNC"),
                Argument::word("sync", "SYNC"),
            ],
            ..Argument::new("flush-type", "oneof")
        }],
        ..Command::BLANK
    },
    Command {
        name: "kill",
        arity: Exactly(2),
        flags: Flags::NOSCRIPT.and(Flags::ALLOW_BUSY),
        run: kill,
        group: Group::Scripting,
        since: "2.6.0",
        summary: "Ends the script that runs, if it has changed no key.",
        tips: &["request_policy:all_shards", "response_policy:one_succeeded"],
        ..Command::BLANK
    },
    Command {
        name: "debug",
        arity: Exactly(3),
        flags: Flags::NOSCRIPT,
        run: debug,
        group: Group::Scripting,
        since: "3.2.0",
        summary: "Switches the debugger for scripts, which Strata has not, off.",
        arguments: &[Argument {
            arguments: &[
                Argument::word("yes", "YES"),
                Argument::word("sync", "SYNC"),
                Argument::word("no", "NO"),
            ],
            ..Argument::new("mode", "oneof")
        }],
        ..Command::BLANK
    },
    Command {
        name: "show",
        arity: Exactly(3),
        flags: Flags::NOSCRIPT,
        run: show,
        group: Group::Scripting,
        since: "8.0.0",
        summary: "Gives the text of a script that the server knows. Valkey has it.",
        arguments: &[Argument::new("sha1", "string")],
        ..Command::BLANK
    },
    Command {
        name: "help",
        arity: Exactly(2),
        flags: Flags::LOADING.and(Flags::STALE),
        run: script_help,
        group: Group::Scripting,
        since: "5.0.0",
        summary: "Returns helpful text about the subcommands.",
        ..Command::BLANK
    },
];

/// The thread of scripts does it.
fn hand_over(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), Stop> {
    cx.server.scripts.check()?;
    let request = args.from(0).collect();
    let job = Job::new(cx.session, request, cx.reply.protocol());
    Err(Suspend::Script(job).into())
}

fn keys_of(args: &Args<'_>) -> Result<Range<usize>, CommandError> {
    let count = number::parse_i64(args.at(2)).ok_or(CommandError::NotInteger)?;
    let count = usize::try_from(count).map_err(|_| NEGATIVE)?;
    if count > args.len() - 3 {
        return Err(TOO_MANY);
    }
    Ok(3..3 + count)
}

fn by_text(
    args: &Args<'_>,
    scripts: &Scripts,
    is_read_only: bool,
) -> Result<Evaluation, CommandError> {
    let keys = keys_of(args)?;
    Ok(Evaluation::Run(ScriptRun {
        script: scripts.of(args.at(1))?,
        keys,
        is_read_only,
    }))
}

fn by_name(
    args: &Args<'_>,
    scripts: &Scripts,
    is_read_only: bool,
) -> Result<Evaluation, CommandError> {
    let keys = keys_of(args)?;
    Ok(Evaluation::Run(ScriptRun {
        script: scripts.find(args.at(1)).ok_or(NO_SCRIPT)?,
        keys,
        is_read_only,
    }))
}

fn eval(args: &Args<'_>, scripts: &Scripts) -> Result<Evaluation, CommandError> {
    by_text(args, scripts, false)
}

fn eval_ro(args: &Args<'_>, scripts: &Scripts) -> Result<Evaluation, CommandError> {
    by_text(args, scripts, true)
}

fn evalsha(args: &Args<'_>, scripts: &Scripts) -> Result<Evaluation, CommandError> {
    by_name(args, scripts, false)
}

fn evalsha_ro(args: &Args<'_>, scripts: &Scripts) -> Result<Evaluation, CommandError> {
    by_name(args, scripts, true)
}

fn load(args: &Args<'_>, scripts: &Scripts) -> Result<Evaluation, CommandError> {
    scripts.of(args.at(2)).map(Evaluation::Load)
}

fn exists(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let names = args.from(2);
    cx.reply.array(names.len());
    for name in names {
        cx.reply.flag(cx.server.scripts.has(name));
    }
    Ok(())
}

fn flush(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let is_mode = |mode: &[u8]| {
        let modes: [&[u8]; 2] = [b"sync", b"async"];
        modes.iter().any(|own| own.eq_ignore_ascii_case(mode))
    };
    if args.len() > 3 || args.get(2).is_some_and(|mode| !is_mode(mode)) {
        return Err(CommandError::text(
            "ERR SCRIPT FLUSH only support SYNC|ASYNC option",
        ));
    }
    cx.server.scripts.flush();
    cx.reply.ok();
    Ok(())
}

fn kill(cx: &mut Context<'_>, _: &Args<'_>) -> Result<(), CommandError> {
    cx.server.scripts.running.kill()?;
    cx.reply.ok();
    Ok(())
}

fn debug(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let is = |mode: &[u8]| args.at(2).eq_ignore_ascii_case(mode);
    match () {
        () if is(b"no") => cx.reply.ok(),
        () if is(b"yes") || is(b"sync") => {
            return Err(CommandError::text(
                "ERR there is no debugger for scripts here",
            ));
        }
        () => return Err(CommandError::text("ERR Use SCRIPT DEBUG YES/SYNC/NO")),
    }
    Ok(())
}

fn show(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let script = cx.server.scripts.find(args.at(2));
    let script = script.ok_or(CommandError::text("NOSCRIPT No matching script."))?;
    cx.reply.bulk(&script.text);
    Ok(())
}

fn script_help(cx: &mut Context<'_>, _: &Args<'_>) -> Result<(), CommandError> {
    help(
        cx.reply,
        "SCRIPT",
        &[
            "DEBUG (YES|SYNC|NO)",
            "    There is no debugger here: NO is accepted, the others are refused.",
            "EXISTS <sha1> [<sha1> ...]",
            "    Tell which of these scripts the server knows.",
            "FLUSH [ASYNC|SYNC]",
            "    Forget all scripts, and what they have left in the Lua state.",
            "KILL",
            "    End the script that runs, if it has changed no key.",
            "LOAD <script>",
            "    Have the server know a script, and give the SHA1 of its text.",
            "SHOW <sha1>",
            "    Give the text of a script that the server knows.",
        ],
    );
    Ok(())
}
