//! COMMAND GETKEYS and GETKEYSANDFLAGS: the keys of a command that is given as arguments.

use super::super::key_specs::{KeySpec, Positions};
use super::super::table::{Row, table};
use super::super::{Context, Flags};
use super::info::simple_set;
use crate::error::CommandError;
use crate::resp::Args;

/// The command that is asked about: what follows the words COMMAND GETKEYS.
const REQUEST_AT: usize = 2;

/// COMMAND GETKEYS.
pub(super) fn getkeys(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let request = args.tail(REQUEST_AT);
    let keys = keys_of(&request)?;
    cx.reply.array(keys.len());
    for key in keys {
        cx.reply.bulk(request.at(key.position));
    }
    Ok(())
}

/// COMMAND GETKEYSANDFLAGS.
pub(super) fn getkeysandflags(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let request = args.tail(REQUEST_AT);
    let keys = keys_of(&request)?;
    cx.reply.array(keys.len());
    for key in keys {
        cx.reply.array(2);
        cx.reply.bulk(request.at(key.position));
        // That a spec does not find all keys is not of the key.
        let flags = key.flags.iter().filter(|flag| **flag != "incomplete");
        simple_set(cx.reply, &flags.copied().collect::<Vec<_>>());
    }
    Ok(())
}

/// A key in a request.
struct Key {
    position: usize,
    flags: &'static [&'static str],
}

fn keys_of(request: &Args<'_>) -> Result<Vec<Key>, CommandError> {
    let row = find(request).ok_or(CommandError::text("ERR Invalid command specified"))?;
    let command = row.command;
    if command
        .keys
        .iter()
        .all(|spec| spec.flags == KeySpec::NOT_KEY)
    {
        return Err(CommandError::text("ERR The command has no key arguments"));
    }
    if !command.arity.accepts(request.len()) {
        return Err(CommandError::text(
            "ERR Invalid number of arguments specified for command",
        ));
    }
    match locate(row, request) {
        Some(keys) if !keys.is_empty() => Ok(keys),
        _ if command.flags.has(Flags::NO_MANDATORY_KEYS) => Ok(Vec::new()),
        _ => Err(CommandError::text(
            "ERR Invalid arguments specified for command",
        )),
    }
}

/// The row of the request, if its command and, in a container, the subcommand that it names exist.
fn find(request: &Args<'_>) -> Option<&'static Row> {
    let row = table().find(request.get(0)?)?;
    if row.subcommands.is_empty() {
        return Some(row);
    }
    match request.get(1) {
        Some(word) => row.subcommand(word),
        None => Some(row),
    }
}

/// The keys by each of the row's specs. `None` where the request does not fit one.
fn locate(row: &Row, request: &Args<'_>) -> Option<Vec<Key>> {
    let mut keys = Vec::new();
    let knows_flags = row.command.keys.iter().all(|spec| spec.is_exact(request));
    for spec in row.command.keys {
        let mut found = Positions::new();
        if !spec.positions(request, &mut found) {
            return None;
        }
        let flags = row
            .command
            .key_flags
            .map_or(spec.flags, |flags| flags(request));
        let flags = if knows_flags { flags } else { &[] };
        keys.extend(found.into_iter().map(|position| Key { position, flags }));
    }
    // MIGRATE has an empty text in the place of its key where keys follow the word KEYS.
    if row.command.name == "migrate" && keys.len() > 1 {
        keys.remove(0);
    }
    Some(keys)
}

#[cfg(test)]
mod tests {
    use crate::testing::script;

    script!(getkeys_finds_the_keys, |db| {
        db.run("COMMAND GETKEYS get a").bulks(&["a"]);
        db.run("COMMAND GETKEYS SET a b EX 10").bulks(&["a"]);
        db.resp3();
        db.run("COMMAND GETKEYSANDFLAGS GET a")
            .is("*1\r\n*2\r\n$1\r\na\r\n~2\r\n+RO\r\n+access\r\n");
    });

    script!(getkeys_of_readers_goes_by_their_options, |db| {
        db.run("COMMAND GETKEYS XREADGROUP GROUP g c NOACK STREAMS a b")
            .bulks(&["a"]);
        db.run("COMMAND GETKEYS XREADGROUP GROUP g STREAMS count STREAMS block 0 STREAMS a b 1 2")
            .bulks(&["a", "b"]);
        db.run("COMMAND GETKEYS XREAD COUNT STREAMS STREAMS STREAMS b")
            .bulks(&["STREAMS"]);
        for request in [
            "XREADGROUP GROUP g c NOACK -9 count STREAMS a b",
            "XREADGROUP GROUP g c COUNT STREAMS a b",
            "XREADGROUP GROUP g c STREAMS a b c",
            "XREADGROUP x g c STREAMS a b",
            "XREADGROUP COUNT 1 STREAMS a b c d",
            "XREAD x STREAMS a b",
            "XREAD STREAMS STREAMS a b",
            "XREAD COUNT 5 STREAMS",
        ] {
            db.run(&format!("COMMAND GETKEYS {request}"))
                .error("ERR Invalid arguments specified for command");
        }
    });

    script!(getkeys_refuses_what_has_no_keys, |db| {
        for name in ["GETKEYS", "GETKEYSANDFLAGS"] {
            for (request, error) in [
                ("nosuch", "ERR Invalid command specified"),
                ("nosuch a", "ERR Invalid command specified"),
                ("client", "ERR The command has no key arguments"),
                (
                    "get",
                    "ERR Invalid number of arguments specified for command",
                ),
                ("client nosuch", "ERR Invalid command specified"),
                ("client list", "ERR The command has no key arguments"),
                ("client id x", "ERR The command has no key arguments"),
                ("ping a b c", "ERR The command has no key arguments"),
                (
                    "get a b",
                    "ERR Invalid number of arguments specified for command",
                ),
                (
                    "set a",
                    "ERR Invalid number of arguments specified for command",
                ),
            ] {
                db.run(&format!("COMMAND {name} {request}")).error(error);
            }
            let full_name = format!("command|{}", name.to_ascii_lowercase());
            db.run(&format!("COMMAND {name}")).error(&format!(
                "ERR wrong number of arguments for '{full_name}' command"
            ));
        }
    });
}
