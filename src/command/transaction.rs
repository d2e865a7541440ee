//! Transactions: MULTI and what ends it, and WATCH.
//!
//! What a client sends behind MULTI is queued by the request path, which runs it at EXEC. The functions here are for what runs at
//! once.

use super::{Argument, Arity::*, Command, Context, Flags, Group, KeySpec};
use crate::error::CommandError;
use crate::resp::Args;
use crate::server::transaction::{Transaction, Watch};

/// What all of them have.
const OWN: Flags = Flags::NOSCRIPT
    .and(Flags::LOADING)
    .and(Flags::STALE)
    .and(Flags::FAST)
    .and(Flags::ALLOW_BUSY);

/// The rows of this family.
pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "multi",
        arity: Exactly(1),
        flags: OWN.and(Flags::IN_MULTI),
        run: multi,
        group: Group::Transactions,
        since: "1.2.0",
        summary: "Queues the commands that follow, up to EXEC.",
        ..Command::BLANK
    },
    Command {
        name: "exec",
        arity: Exactly(1),
        flags: Flags::NOSCRIPT
            .and(Flags::LOADING)
            .and(Flags::STALE)
            .and(Flags::SKIP_SLOWLOG)
            .and(Flags::IN_MULTI),
        run: exec,
        group: Group::Transactions,
        since: "1.2.0",
        complexity: "Depends on the commands in the transaction.",
        summary: "Runs the queued commands, all of them at one moment.",
        ..Command::BLANK
    },
    Command {
        name: "discard",
        arity: Exactly(1),
        flags: OWN.and(Flags::IN_MULTI),
        run: discard,
        group: Group::Transactions,
        since: "2.0.0",
        complexity: "O(N), when N is the number of queued commands.",
        summary: "Forgets the queued commands.",
        ..Command::BLANK
    },
    Command {
        name: "watch",
        arity: AtLeast(2),
        keys: &[KeySpec::range(1, -1, 1, &["RO"])],
        flags: OWN.and(Flags::IN_MULTI),
        run: watch,
        group: Group::Transactions,
        since: "2.2.0",
        complexity: "O(1) for every key.",
        summary: "Has the next EXEC run only if these keys have not changed until then.",
        arguments: &[Argument {
            key_spec: Some(0),
            flags: &["multiple"],
            ..Argument::new("key", "key")
        }],
        ..Command::BLANK
    },
    Command {
        name: "unwatch",
        arity: Exactly(1),
        flags: OWN,
        run: unwatch,
        group: Group::Transactions,
        since: "2.2.0",
        summary: "Forgets all watched keys of the connection.",
        ..Command::BLANK
    },
];

fn multi(cx: &mut Context<'_>, _: &Args<'_>) -> Result<(), CommandError> {
    if cx.session.transaction.is_some() {
        return Err(CommandError::text("ERR MULTI calls can not be nested"));
    }
    let client = cx.session.client.clone();
    cx.session.transaction = Some(Box::new(Transaction::new(client)));
    cx.reply.ok();
    Ok(())
}

/// The request path runs a transaction; here there is none.
fn exec(_: &mut Context<'_>, _: &Args<'_>) -> Result<(), CommandError> {
    Err(CommandError::text("ERR EXEC without MULTI"))
}

fn discard(cx: &mut Context<'_>, _: &Args<'_>) -> Result<(), CommandError> {
    if cx.session.transaction.is_none() {
        return Err(CommandError::text("ERR DISCARD without MULTI"));
    }
    cx.session.end_transaction();
    cx.reply.ok();
    Ok(())
}

fn watch(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let new = || Box::new(Watch::new(cx.server, &cx.session.client));
    let mut watch = cx.session.watch.take().unwrap_or_else(new);
    let db = cx.keys.db();
    for key in args.from(1) {
        let expires_at = cx.keys.peek(key).map(|entry| entry.expires_at());
        watch.add(db, key, expires_at);
    }
    cx.session.watch = Some(watch);
    cx.reply.ok();
    Ok(())
}

fn unwatch(cx: &mut Context<'_>, _: &Args<'_>) -> Result<(), CommandError> {
    cx.session.watch = None;
    cx.reply.ok();
    Ok(())
}
