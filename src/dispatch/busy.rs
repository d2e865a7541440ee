//! While a script runs that does not end: who needs keys is told so, and who can do without is served.

use super::{Executor, Outcome, Request};
use crate::command::Flags;
use crate::command::table::Row;
use crate::error::CommandError;
use crate::resp::Reply;
use crate::server::session::Session;
use crate::server::suspended::Stop;

const BUSY: CommandError = CommandError::text(
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
);

impl Executor {
    /// Runs a request outside of the gate, if it touches no keys.
    #[cold]
    #[inline(never)]
    pub(super) fn run_outside(
        &mut self,
        request: &Request<'_>,
        session: &mut Session,
        reply: &mut Reply,
    ) -> Outcome {
        let needs_no_keys =
            |row: &Row| row.command.flags.has(Flags::ALLOW_BUSY) && !row.has_keys(&request.args);
        // What it has waited for may have come.
        let waits = session.suspended.as_ref();
        let is_done = waits.is_some_and(|waits| waits.is_done())
            || session.waiter().is_some_and(|waiter| waiter.has_result());
        if is_done || request.row.is_none_or(needs_no_keys) {
            return self.run_request(request, session, reply);
        }
        let refused = match self.identify(request, session) {
            Err(Stop::Refused(error)) => Stop::Refused(error),
            Ok(row) => self.reject(row, BUSY),
            // Not even that is known now.
            Err(_) => BUSY.into(),
        };
        match &mut session.transaction {
            Some(_) if request.row.is_some_and(|row| row.command.name == "exec") => {
                session.end_transaction();
            }
            Some(transaction) => transaction.is_broken = true,
            None => {}
        }
        if let Stop::Refused(error) = refused {
            self.refuse(&error, reply);
        }
        Outcome::NotRun
    }
}
