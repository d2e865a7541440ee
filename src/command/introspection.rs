//! COMMAND: what the rows say, as clients and proxies ask for it.

mod docs;
mod get_keys;
mod history;
mod info;

use super::help::help;
use super::table::{Row, table};
use super::{Argument, Arity::*, Command, Context, Flags, Group, acl_categories};
use crate::error::CommandError;
use crate::resp::Args;
use crate::value::glob;

const NAMES: &[Argument] = &[Argument {
    flags: &["optional", "multiple"],
    ..Argument::new("command-name", "string")
}];

/// A row of this family to complete.
const BLANK: Command = Command {
    flags: Flags::LOADING.and(Flags::STALE),
    group: Group::Server,
    categories: &["@connection"],
    since: "2.8.13",
    ..Command::BLANK
};

/// The rows of this family.
pub(super) const COMMANDS: &[Command] = &[Command {
    name: "command",
    arity: AtLeast(1),
    run: command,
    subcommands: SUBCOMMANDS,
    complexity: "O(N) where N is the total number of commands",
    summary: "Describes all commands.",
    tips: &["nondeterministic_output_order"],
    ..BLANK
}];

const SUBCOMMANDS: &[Command] = &[
    Command {
        name: "count",
        arity: Exactly(2),
        run: count,
        summary: "Counts the commands.",
        ..BLANK
    },
    Command {
        name: "docs",
        arity: AtLeast(2),
        run: docs::docs,
        since: "7.0.0",
        complexity: "O(N) where N is the number of commands to look up",
        summary: "Returns the documentation of commands.",
        tips: &["nondeterministic_output_order"],
        arguments: NAMES,
        ..BLANK
    },
    Command {
        name: "getkeys",
        arity: AtLeast(3),
        run: get_keys::getkeys,
        complexity: "O(N) where N is the number of arguments to the command",
        summary: "Finds the keys in a whole command.",
        ..BLANK
    },
    Command {
        name: "getkeysandflags",
        arity: AtLeast(3),
        run: get_keys::getkeysandflags,
        since: "7.0.0",
        complexity: "O(N) where N is the number of arguments to the command",
        summary: "Finds the keys in a whole command, and what happens to them.",
        ..BLANK
    },
    Command {
        name: "help",
        arity: Exactly(2),
        run: command_help,
        since: "5.0.0",
        summary: "Tells what the subcommands do.",
        ..BLANK
    },
    Command {
        name: "info",
        arity: AtLeast(2),
        run: info::info,
        complexity: "O(N) where N is the number of commands to look up",
        summary: "Describes the named commands, or all.",
        tips: &["nondeterministic_output_order"],
        arguments: NAMES,
        ..BLANK
    },
    Command {
        name: "list",
        arity: AtLeast(2),
        run: list,
        since: "7.0.0",
        complexity: "O(N) where N is the total number of commands",
        summary: "Returns the names of all commands, or of some.",
        tips: &["nondeterministic_output_order"],
        arguments: &[Argument {
            token: Some("FILTERBY"),
            arguments: &[
                Argument {
                    token: Some("MODULE"),
                    ..Argument::new("module-name", "string")
                },
                Argument {
                    token: Some("ACLCAT"),
                    ..Argument::new("category", "string")
                },
                Argument {
                    token: Some("PATTERN"),
                    ..Argument::new("pattern", "pattern")
                },
            ],
            ..Argument::optional("filterby", "oneof")
        }],
        ..BLANK
    },
];

const HELP: &[&str] = &[
    "(no subcommand)",
    "    Return details about all Redis commands.",
    "COUNT",
    "    Return the total number of commands in this Redis server.",
    "LIST",
    "    Return a list of all commands in this Redis server.",
    "INFO [<command-name> ...]",
    "    Return details about multiple Redis commands.",
    "    If no command names are given, documentation details for all",
    "    commands are returned.",
    "DOCS [<command-name> ...]",
    "    Return documentation details about multiple Redis commands.",
    "    If no command names are given, documentation details for all",
    "    commands are returned.",
    "GETKEYS <full-command>",
    "    Return the keys from a full Redis command.",
    "GETKEYSANDFLAGS <full-command>",
    "    Return the keys and the access flags from a full Redis command.",
];

fn command(cx: &mut Context<'_>, _: &Args<'_>) -> Result<(), CommandError> {
    info::all(cx.reply);
    Ok(())
}

fn command_help(cx: &mut Context<'_>, _: &Args<'_>) -> Result<(), CommandError> {
    help(cx.reply, "COMMAND", HELP);
    Ok(())
}

fn count(cx: &mut Context<'_>, _: &Args<'_>) -> Result<(), CommandError> {
    cx.reply.count(table().rows().len());
    Ok(())
}

fn list(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let filter = match args.len() {
        2 => Filter::All,
        5 if args.at(2).eq_ignore_ascii_case(b"FILTERBY") => {
            Filter::parse(args.at(3), args.at(4)).ok_or(CommandError::Syntax)?
        }
        _ => return Err(CommandError::Syntax),
    };
    let rows: Vec<&Row> = table().all_rows().filter(|row| filter.fits(row)).collect();
    cx.reply.array(rows.len());
    rows.iter().for_each(|row| cx.reply.text(&row.full_name));
    Ok(())
}

/// Which commands COMMAND LIST names.
#[derive(Debug)]
enum Filter<'a> {
    All,
    /// Those of a module, which there are none of.
    Module,
    /// Those of an ACL category, named without its `@`.
    Category(&'a [u8]),
    Pattern(&'a [u8]),
}

impl<'a> Filter<'a> {
    fn parse(kind: &[u8], value: &'a [u8]) -> Option<Self> {
        match kind.to_ascii_uppercase().as_slice() {
            b"MODULE" => Some(Self::Module),
            b"ACLCAT" => Some(Self::Category(value)),
            b"PATTERN" => Some(Self::Pattern(value)),
            _ => None,
        }
    }

    fn fits(&self, row: &Row) -> bool {
        match self {
            Self::All => true,
            Self::Module => false,
            Self::Category(name) => acl_categories::of(row.command)
                .any(|category| category.as_bytes()[1..].eq_ignore_ascii_case(name)),
            Self::Pattern(pattern) => glob::matches(pattern, row.full_name.as_bytes(), true),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Answer, script};

    fn text(answer: &Answer) -> String {
        String::from_utf8_lossy(answer.bytes()).into_owned()
    }

    script!(count_leaves_out_subcommands, |db| {
        let rows = super::super::table().rows().len();
        db.run("COMMAND COUNT").int(rows as i64);
        assert!(text(&db.run("COMMAND")).starts_with(&format!("*{rows}\r\n*10\r\n")));
        assert_eq!(text(&db.run("COMMAND INFO")), text(&db.run("COMMAND")));
        assert!(text(&db.run("COMMAND DOCS")).starts_with(&format!("*{}\r\n", rows * 2)));
        db.resp3();
        assert!(text(&db.run("COMMAND DOCS")).starts_with(&format!("%{rows}\r\n")));
        db.run("COMMAND COUNT x")
            .error("ERR wrong number of arguments for 'command|count' command");
        db.run("COMMAND FOO")
            .error("ERR unknown subcommand 'FOO'. Try COMMAND HELP.");
    });

    script!(list_names_all_or_some, |db| {
        let all = super::super::table().ids();
        assert!(text(&db.run("COMMAND LIST")).starts_with(&format!("*{all}\r\n")));
        db.run("COMMAND LIST FILTERBY PATTERN CLIENT|*ET*NAME")
            .bulks(&["client|getname", "client|setname"]);
        db.run("command list filterby pattern ech?")
            .bulks(&["echo"]);
        db.run("COMMAND LIST FILTERBY MODULE y").bulks(&[]);
        db.run("COMMAND LIST FILTERBY ACLCAT y").bulks(&[]);
        db.run("COMMAND LIST FILTERBY ACLCAT @connection")
            .bulks(&[]);
        let connection = text(&db.run("COMMAND LIST FILTERBY ACLCAT Connection"));
        for name in ["hello", "ping", "client|list", "command", "command|docs"] {
            assert!(connection.contains(&format!("\r\n{name}\r\n")), "{name}");
        }
        assert!(!connection.contains("\r\nclient\r\n"));
        assert!(!connection.contains("\r\nget\r\n"));
        for line in [
            "x",
            "FILTERBY",
            "FILTERBY x",
            "FILTERBY x y",
            "FILTERBY PATTERN x y",
        ] {
            db.run(&format!("COMMAND LIST {line}"))
                .error("ERR syntax error");
        }
    });

    script!(help_names_every_subcommand, |db| {
        let help = text(&db.run("COMMAND HELP"));
        assert!(help.starts_with(
            "*21\r\n+COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are:\r\n+(no subcommand)\r\n"
        ));
        assert!(help.ends_with("+HELP\r\n+    Prints this help.\r\n"));
        for row in super::super::SUBCOMMANDS {
            let name = row.name.to_ascii_uppercase();
            assert!(help.contains(&format!("\r\n+{name}")), "{name}");
        }
    });
}
