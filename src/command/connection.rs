//! Commands about the connection itself.

use super::{Arity::*, Command, Context, Flags, Group};
use crate::error::CommandError;
use crate::resp::Args;

/// The rows of this family.
pub(super) const COMMANDS: &[Command] = &[Command {
    name: "ping",
    arity: AtLeast(1),
    flags: Flags::FAST,
    run: ping,
    group: Group::Connection,
    categories: &["@connection"],
    summary: "Answers PONG, or the given message.",
    ..Command::BLANK
}];

fn ping(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    match args.get(1) {
        None => cx.reply.simple("PONG"),
        Some(message) if args.len() == 2 => cx.reply.bulk(message),
        Some(_) => return Err(CommandError::WrongArity("ping".into())),
    }
    Ok(())
}
