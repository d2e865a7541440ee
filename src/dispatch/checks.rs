//! Whether a request may run, in Redis's order: what is wrong with it costs nothing, and nothing does before authentication.

use std::sync::atomic::Ordering;

use super::transaction::aborted;
use super::{Executor, Request};
use crate::clock::UnixMs;
use crate::command::Flags;
use crate::command::table::Row;
use crate::config::CallableFrom;
use crate::error::{CommandError, c_text};
use crate::keyspace::eviction::Room;
use crate::resp::Args;
use crate::server::session::{Session, Then};
use crate::server::suspended::{Stop, Suspend};

/// Bytes of an unknown command and of its arguments that the error repeats.
const UNKNOWN_BYTES_MAX: usize = 128;

impl Executor {
    /// Whether a request may run at all, and now.
    #[inline(always)]
    pub(super) fn check(
        &mut self,
        request: &Request<'_>,
        session: &mut Session,
    ) -> Result<&'static Row, Stop> {
        let row = self.identify(request, session)?;
        let flags = row.command.flags;
        self.admit(row, row.asks, session, request.now)?;
        if self.has_below
            && flags.has(Flags::WRITE)
            && self.is_tier_failing()
            && self.is_unrecorded(row)
        {
            return Err(self.reject(row, CommandError::Unwritable));
        }
        Ok(row)
    }

    /// Whether a request may run at all.
    #[inline(always)]
    pub(super) fn identify(
        &mut self,
        request: &Request<'_>,
        session: &mut Session,
    ) -> Result<&'static Row, Stop> {
        let Request { args, now, .. } = request;
        if let Some(until) = self.server.pause.asleep(*now) {
            return Err(Suspend::Time(until).into());
        }
        let Some(row) = request.row else {
            return Err(unknown(args, session));
        };
        if let Some(error) = self.refusal(row, args, session) {
            return Err(self.reject(row, error));
        }
        Ok(row)
    }

    /// Whether what has these flags may run now.
    #[inline(always)]
    pub(super) fn admit(
        &mut self,
        row: &Row,
        flags: Flags,
        session: &mut Session,
        now: UnixMs,
    ) -> Result<(), Stop> {
        if let Some(until) = self.held_back(row, flags, now) {
            return Err(Suspend::Pause(until).into());
        }
        let goes_below = self.has_below && flags.has(Flags::WRITE);
        if goes_below
            && self.takes_turns()
            && let Some(turn) = self.turn(session, now)
        {
            return Err(turn.into());
        }
        if flags.has(Flags::DENYOOM) && !self.knows_room() {
            self.make_do(row, session, now)?;
        }
        Ok(())
    }

    /// There may be no memory for a command that may need some.
    #[cold]
    fn make_do(&mut self, row: &Row, session: &mut Session, now: UnixMs) -> Result<(), Stop> {
        match self.find_room(session, now)? {
            // A script is told when it calls what needs memory.
            Room::None if !needs_memory(row, session) => Ok(()),
            Room::None => Err(self.reject(row, CommandError::OutOfMemory)),
            Room::Soon if self.is_tier_failing() => Err(self.reject(row, CommandError::Unwritable)),
            _ => Ok(()),
        }
    }

    /// What is wrong with a request, or with who asks.
    #[inline(always)]
    fn refusal(&mut self, row: &Row, args: &Args<'_>, session: &Session) -> Option<CommandError> {
        if !row.command.arity.accepts(args.len()) {
            return Some(CommandError::WrongArity(row.full_name.clone().into()));
        }
        // A container alone, such as COMMAND, runs if its arity allows it.
        if !row.subcommands.is_empty() && args.len() > 1 {
            return Some(unknown_subcommand(row, args));
        }
        if row.command.flags.has(Flags::PROTECTED)
            && !may_call(self.config.current().enable_debug_command, session)
        {
            return Some(CommandError::text(PROTECTED));
        }
        if !row.command.flags.has(Flags::NO_AUTH) && !session.may_run(self.config.current()) {
            return Some(CommandError::text("NOAUTH Authentication required."));
        }
        match session.subscriptions.is_some() {
            true => confinement(row, session),
            false => None,
        }
    }

    #[cold]
    pub(super) fn reject(&self, row: &Row, error: CommandError) -> Stop {
        let stripe = self.server.stats.stripe(self.thread);
        stripe.per_command[row.id].rejected.add(1);
        match row.command.name {
            "exec" => aborted(&error).into(),
            _ => error.into(),
        }
    }

    /// Until when CLIENT PAUSE holds a command back.
    #[inline]
    pub(super) fn held_back(&self, row: &Row, flags: Flags, now: UnixMs) -> Option<UnixMs> {
        let writes = flags.has(Flags::WRITE) || flags.has(Flags::MAY_REPLICATE);
        let until = self.server.pause.holds(writes, now)?;
        let is_exempt = row.command.name == "client" || row.full_name.starts_with("client|");
        (!is_exempt).then_some(until)
    }
}

/// The error for DEBUG where it is not enabled.
const PROTECTED: &str = "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can \
     run it from a local connection, otherwise you need to set this option in the configuration file, and then restart \
     the server.";

/// What a client that listens to channels may not send in RESP2.
#[cold]
fn confinement(row: &Row, session: &Session) -> Option<CommandError> {
    let protocol = session.client.protocol.load(Ordering::Relaxed);
    let may_send = protocol != 2 || row.command.flags.has(Flags::WHILE_SUBSCRIBED);
    let refused = || {
        CommandError::with_word(
            "ERR Can't execute '",
            row.full_name.as_bytes(),
            "': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
        )
    };
    (!may_send).then(refused)
}

/// Whether a command, or one of those that EXEC runs, is refused where there is no memory.
fn needs_memory(row: &Row, session: &Session) -> bool {
    let queued = session
        .transaction
        .as_ref()
        .filter(|_| row.command.name == "exec");
    let rows = queued.into_iter().flat_map(|queued| &queued.commands);
    let mut rows = rows.map(|queued| queued.row).chain([row]);
    rows.any(|row| row.command.flags.has(Flags::DENYOOM))
}

/// Whether a client may call a guarded command.
fn may_call(from: CallableFrom, session: &Session) -> bool {
    match from {
        CallableFrom::No => false,
        CallableFrom::Yes => true,
        CallableFrom::Local => session.client.is_local(),
    }
}

/// There is no such command. Where it is a line of HTTP the connection closes: a browser that was lured into sending a request
/// here must not get past its headers to commands in its body.
#[cold]
fn unknown(args: &Args<'_>, session: &mut Session) -> Stop {
    let is = |name: &[u8]| args.at(0).eq_ignore_ascii_case(name);
    if !is(b"post") && !is(b"host:") {
        return unknown_command(args).into();
    }
    tracing::warn!(
        "Possible attack: {} speaks HTTP, closing",
        session.client.address
    );
    session.then = Then::Close;
    Stop::Closed
}

fn unknown_command(args: &Args<'_>) -> CommandError {
    let mut shown = Vec::new();
    for arg in args.from(1) {
        if shown.len() >= UNKNOWN_BYTES_MAX {
            break;
        }
        let arg = &c_text(arg);
        let arg = &arg[..arg.len().min(UNKNOWN_BYTES_MAX - shown.len())];
        shown.extend_from_slice(&[b"'", arg, b"' "].concat());
    }
    let name = c_text(args.at(0));
    let name = &name[..name.len().min(UNKNOWN_BYTES_MAX)];
    CommandError::bytes(&[
        b"ERR unknown command '",
        name,
        b"', with args beginning with: ",
        &shown,
    ])
}

fn unknown_subcommand(row: &Row, args: &Args<'_>) -> CommandError {
    let name = c_text(args.get(1).unwrap_or_default());
    let name = &name[..name.len().min(UNKNOWN_BYTES_MAX)];
    let container = row.full_name.to_ascii_uppercase();
    CommandError::bytes(&[
        b"ERR unknown subcommand '",
        name,
        b"'. Try ",
        container.as_bytes(),
        b" HELP.",
    ])
}

#[cfg(test)]
mod tests {
    use crate::testing::{Db, script};

    const ARITY: &str = "ERR wrong number of arguments for 'set' command";

    script!(a_protocol_error_is_silent_where_replies_are_off, |db| {
        for off in ["CLIENT REPLY OFF", "CLIENT REPLY SKIP"] {
            db.run(off).is("");
            assert_eq!(db.send(b"*x\r\n"), b"");
            db.run("CLIENT REPLY ON").ok();
        }
        assert!(db.send(b"*x\r\n").starts_with(b"-ERR Protocol error"));
    });

    script!(
        a_pause_holds_back_what_may_change_keys_and_nothing_that_is_wrong,
        |db| {
            db.run("PFADD h a").int(1);
            db.run("CLIENT PAUSE 100 WRITE").ok();
            db.run("SET k").error(ARITY);
            assert!(
                db.run("NOSUCH")
                    .bytes()
                    .starts_with(b"-ERR unknown command")
            );
            db.run("PFCOUNT h").is("");
            db.run("SET k v").is("");
            db.run("CLIENT PAUSE 100 ALL").ok();
            db.run("SET k").error(ARITY);
            db.run("CONFIG NOSUCH")
                .error("ERR unknown subcommand 'NOSUCH'. Try CONFIG HELP.");
            db.run("GET k").is("");
            db.advance(100);
            db.run("PFCOUNT h").int(1);
            db.run("EXISTS k").int(0);
        }
    );

    #[test]
    fn what_is_wrong_neither_waits_for_room_nor_makes_any() {
        let mut db = Db::new();
        for i in 0..1000 {
            db.run(&format!("SET k:{i} {i:0100}")).ok();
        }
        let options: &[(&[u8], &[u8])] = &[
            (b"maxmemory-policy", b"allkeys-lru"),
            (b"maxmemory", b"1"),
            (b"requirepass", b"secret"),
        ];
        db.engine()
            .config
            .set(options, |_, _| Ok(()))
            .expect("options");
        db.unauthenticate();
        db.run("SET new v").error("NOAUTH Authentication required.");
        db.run("SET new").error(ARITY);
        assert_eq!(db.engine().keyspace.entries(), 1000);
        db.run("AUTH secret").ok();
        db.run("SET new").error(ARITY);
        assert_eq!(db.engine().keyspace.entries(), 1000);
    }
}
