//! CACHE.*: what a cache needs beyond Redis's commands.

use super::argument::word;
use super::{Argument, Arity::*, Command, Context, Flags, Group};
use crate::error::CommandError;
use crate::resp::Args;
use crate::server::warming::{self, Refusal};

/// The rows of this family.
pub(super) const COMMANDS: &[Command] = &[Command {
    name: "cache.warm",
    arity: Exactly(3),
    flags: Flags::ADMIN,
    run: warm,
    group: Group::Server,
    complexity: "O(1); the file is loaded in the background.",
    summary: "Loads the keys of an RDB file of the server's machine that do not exist, in the background.",
    arguments: &[word("file", "FILE"), Argument::new("path", "string")],
    ..Command::BLANK
}];

fn warm(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    if !args.at(1).eq_ignore_ascii_case(b"FILE") {
        return Err(CommandError::Syntax);
    }
    let path = String::from_utf8_lossy(args.at(2)).into_owned();
    match warming::start(cx.server, path.as_ref()) {
        Ok(()) => {
            cx.reply.simple("Background warming started");
            Ok(())
        }
        Err(Refusal::Busy) => Err(CommandError::text("ERR another warming is under way")),
        Err(Refusal::File(error)) => Err(CommandError::message(format!(
            "ERR cannot warm from {error}"
        ))),
    }
}
