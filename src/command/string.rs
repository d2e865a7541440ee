//! Strings.

use super::{Arity::*, Command, Context, Flags, Group, KeySpec};
use crate::error::CommandError;
use crate::keyspace::Expiry;
use crate::resp::Args;

/// The rows of this family.
pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "get",
        arity: Exactly(2),
        keys: &[KeySpec::at(1, &["RO", "access"])],
        flags: Flags::READONLY.and(Flags::FAST),
        run: get,
        group: Group::String,
        summary: "Returns the string at a key.",
        ..Command::BLANK
    },
    Command {
        name: "set",
        arity: AtLeast(3),
        keys: &[KeySpec::at(
            1,
            &["RW", "access", "update", "variable_flags"],
        )],
        flags: Flags::WRITE.and(Flags::DENYOOM),
        run: set,
        group: Group::String,
        summary: "Sets the string at a key, whatever was there.",
        ..Command::BLANK
    },
];

fn get(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    match cx.keys.string(args.at(1))? {
        Some(value) => cx.reply.bulk(value),
        None => cx.reply.nil(),
    }
    Ok(())
}

fn set(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    cx.keys.set(args.at(1), args.at(2), Expiry::Set(None));
    cx.reply.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::script;

    script!(set_then_get, |db| {
        db.run("GET k").nil();
        db.run("SET k v").ok();
        db.run("GET k").bulk("v");
    });
}
