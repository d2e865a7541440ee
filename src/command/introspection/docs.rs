//! COMMAND DOCS: what a command is for, and its arguments.

use super::super::table::{Row, table};
use super::super::{Argument, Context};
use super::history;
use super::info::simple_set;
use crate::error::CommandError;
use crate::resp::{Args, Reply};

/// COMMAND DOCS. Names that are not known are left out.
pub(super) fn docs(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let rows: Vec<&Row> = match args.len() {
        2 => table().rows().iter().collect(),
        _ => args
            .from(2)
            .filter_map(|name| table().find_full(name))
            .collect(),
    };
    describe_all(cx.reply, &rows);
    Ok(())
}

fn describe_all(reply: &mut Reply, rows: &[&Row]) {
    reply.map(rows.len());
    for row in rows {
        reply.text(&row.full_name);
        describe(reply, row);
    }
}

fn describe(reply: &mut Reply, row: &Row) {
    let command = row.command;
    let (has_arguments, is_container) =
        (!command.arguments.is_empty(), !row.subcommands.is_empty());
    let (is_deprecated, history) = (command.deprecated.is_some(), history::of(&row.full_name));
    let doc_flags = [
        (is_deprecated, "deprecated"),
        (command.is_internal, "syscmd"),
    ];
    let doc_flags = doc_flags.iter().filter(|(has_it, _)| *has_it);
    let doc_flags: Vec<_> = doc_flags.map(|(_, flag)| *flag).collect();
    let optional = [
        !doc_flags.is_empty(),
        is_deprecated,
        is_deprecated,
        !history.is_empty(),
        has_arguments,
        is_container,
    ];
    reply.map(4 + optional.into_iter().filter(|is_there| *is_there).count());
    for (name, value) in [
        ("summary", command.summary),
        ("since", command.since),
        ("group", command.group.name()),
        ("complexity", command.complexity),
    ] {
        reply.text(name);
        reply.text(value);
    }
    if !doc_flags.is_empty() {
        reply.text("doc_flags");
        simple_set(reply, &doc_flags);
    }
    if let Some((since, by)) = command.deprecated {
        reply.text("deprecated_since");
        reply.text(since);
        reply.text("replaced_by");
        reply.text(by);
    }
    if !history.is_empty() {
        reply.text("history");
        reply.set(history.len());
        for (version, change) in history {
            reply.array(2);
            reply.text(version);
            reply.text(change);
        }
    }
    if has_arguments {
        describe_arguments(reply, command.arguments);
    }
    if is_container {
        reply.text("subcommands");
        describe_all(reply, &row.subcommands.iter().collect::<Vec<_>>());
    }
}

fn describe_arguments(reply: &mut Reply, arguments: &[Argument]) {
    reply.text("arguments");
    reply.array(arguments.len());
    arguments
        .iter()
        .for_each(|argument| describe_argument(reply, argument));
}

fn describe_argument(reply: &mut Reply, argument: &Argument) {
    let texts = [
        ("token", argument.token),
        ("since", argument.since),
        ("deprecated_since", argument.deprecated_since),
    ];
    let optional_fields = [
        argument.key_spec.is_some(),
        !argument.flags.is_empty(),
        !argument.arguments.is_empty(),
    ];
    let extra = texts.iter().filter(|(_, text)| text.is_some()).count()
        + optional_fields.iter().filter(|&&is_there| is_there).count();
    let is_group = matches!(argument.kind, "oneof" | "block");
    reply.map(2 + usize::from(!is_group) + extra);
    reply.text("name");
    reply.text(argument.name);
    reply.text("type");
    reply.text(argument.kind);
    if !is_group {
        reply.text("display_text");
        reply.text(argument.name);
    }
    if let Some(index) = argument.key_spec {
        reply.text("key_spec_index");
        reply.count(index);
    }
    for (name, text) in texts {
        if let Some(text) = text {
            reply.text(name);
            reply.text(text);
        }
    }
    if !argument.flags.is_empty() {
        reply.text("flags");
        simple_set(reply, argument.flags);
    }
    if !argument.arguments.is_empty() {
        describe_arguments(reply, argument.arguments);
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::script;

    script!(docs_of_named_commands, |db| {
        db.run("COMMAND DOCS nosuch client|nosuch").is("*0\r\n");
        db.run("COMMAND DOCS Quit nosuch").is(
            "*2\r\n$4\r\nquit\r\n*8\r\n$7\r\nsummary\r\n$48\r\nCloses the connection once all replies are sent.\r\n\
             $5\r\nsince\r\n$5\r\n1.0.0\r\n$5\r\ngroup\r\n$10\r\nconnection\r\n$10\r\ncomplexity\r\n$4\r\nO(1)\r\n",
        );
        db.resp3();
        db.run("COMMAND DOCS auth").is(
            "%1\r\n$4\r\nauth\r\n%6\r\n$7\r\nsummary\r\n$60\r\n\
             Proves with a password that the connection may run commands.\r\n$5\r\nsince\r\n$5\r\n1.0.0\r\n$5\r\n\
             group\r\n$10\r\nconnection\r\n$10\r\ncomplexity\r\n$42\r\n\
             O(N) where N is the length of the password\r\n\
             $7\r\nhistory\r\n~1\r\n*2\r\n$5\r\n6.0.0\r\n$32\r\nA user name before the password.\r\n$9\r\narguments\r\n*2\r\n%5\r\n$4\r\nname\r\n$8\r\n\
             username\r\n$4\r\ntype\r\n$6\r\nstring\r\n$12\r\ndisplay_text\r\n$8\r\nusername\r\n$5\r\nsince\r\n$5\r\n6.0.0\r\n$5\r\nflags\r\n~1\r\n\
             +optional\r\n%3\r\n$4\r\nname\r\n$8\r\npassword\r\n$4\r\ntype\r\n$6\r\nstring\r\n\
             $12\r\ndisplay_text\r\n$8\r\npassword\r\n",
        );
    });

    script!(docs_of_a_container_have_its_subcommands, |db| {
        let docs = db.run("COMMAND DOCS command");
        let docs = String::from_utf8_lossy(docs.bytes()).into_owned();
        assert!(
            docs.starts_with("*2\r\n$7\r\ncommand\r\n*10\r\n$7\r\nsummary\r\n"),
            "{docs}"
        );
        assert!(
            docs.contains("$11\r\nsubcommands\r\n*14\r\n$13\r\ncommand|count\r\n*8\r\n"),
            "{docs}"
        );
    });

    script!(arguments_within_arguments, |db| {
        let docs = db.run("COMMAND DOCS client|kill");
        let docs = String::from_utf8_lossy(docs.bytes()).into_owned();
        for part in [
            "$16\r\ndeprecated_since\r\n$6\r\n2.8.12\r\n",
            "*10\r\n$4\r\nname\r\n$6\r\nmaster\r\n$4\r\ntype\r\n$10\r\npure-token\r\n$12\r\ndisplay_text\r\n$6\r\nmaster\r\n$5\r\ntoken\r\n$6\r\nMASTER\r\n\
             $5\r\nsince\r\n$5\r\n3.2.0\r\n",
        ] {
            assert!(docs.contains(part), "{docs}");
        }
    });
}
