//! While a script runs that does not end: who needs keys is told so, and who can do without is served.

use super::plan::find_row;
use super::{Executor, Request};
use crate::command::Flags;
use crate::error::CommandError;
use crate::resp::{Batch, Reply};
use crate::server::session::{Session, Then};
use crate::server::suspended::Stop;

const BUSY: CommandError = CommandError::text(
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
);

impl Executor {
    /// Runs a batch outside of the gate: nothing that touches keys.
    #[cold]
    #[inline(never)]
    pub(super) fn run_outside(
        &mut self,
        batch: &Batch,
        session: &mut Session,
        buffer: &[u8],
        reply: &mut Reply,
    ) {
        for index in 0..batch.len() {
            let args = batch.args(buffer, index);
            let request = Request {
                row: find_row(&args),
                args,
                keys: 0..0,
                now: self.clock.now(),
            };
            self.run_or_refuse(&request, session, reply);
            session.end_request();
            if session.then != Then::GoOn {
                return;
            }
        }
    }

    fn run_or_refuse(&mut self, request: &Request<'_>, session: &mut Session, reply: &mut Reply) {
        let may_run = request.row.is_none_or(|row| {
            row.command.flags.has(Flags::ALLOW_BUSY) && !row.has_keys(&request.args)
        });
        let waits = session.suspended.as_ref();
        let is_done = waits.is_some_and(|waits| waits.is_done())
            || session.waiter().is_some_and(|waiter| waiter.has_result());
        if may_run || is_done {
            self.run_request(request, session, reply);
            return;
        }
        let start = reply.len();
        let refused = match self.identify(request, session) {
            Err(Stop::Refused(error)) => error,
            Ok(row) => match self.reject(row, BUSY) {
                Stop::Refused(error) => error,
                _ => BUSY,
            },
            // Not even that is known now.
            Err(_) => BUSY,
        };
        match &mut session.transaction {
            Some(_) if request.row.is_some_and(|row| row.command.name == "exec") => {
                session.end_transaction();
            }
            Some(transaction) => transaction.is_broken = true,
            None => {}
        }
        reply.truncate(start);
        self.refuse(&refused, reply);
    }
}
