//! The account of requests that are done: statistics, the slow log, and what others may see of the client.

use super::{Executor, Request};
use crate::clock::UnixMs;
use crate::command::Flags;
use crate::command::table::Row;
use crate::server::latency::Event;
use crate::server::session::Session;
use crate::server::slowlog::{self, SlowCommand};

impl Executor {
    /// Counts a request that is done.
    #[inline(always)]
    pub(super) fn account(&mut self, request: &Request<'_>, session: &Session, nanos: u64) {
        let stripe = self.server.stats.stripe(self.thread);
        stripe.commands.add(1);
        let Some(row) = request.row else { return };
        let config = self.config.current();
        stripe.ran(row.id, nanos, config.latency_tracking);
        let threshold_ms = config.latency_monitor_threshold_ms;
        let slower_than_us = u64::try_from(config.slowlog_log_slower_than_us).unwrap_or(u64::MAX);
        if threshold_ms > 0 {
            let event = if row.command.flags.has(Flags::FAST) {
                Event::FastCommand
            } else {
                Event::Command
            };
            let latency = &self.server.latency;
            latency.note(event, nanos / 1_000_000, threshold_ms, request.now);
        }
        if nanos >= slower_than_us.saturating_mul(1000)
            && !row.command.flags.has(Flags::SKIP_SLOWLOG)
        {
            self.log_slow(row, request, session, nanos / 1000);
        }
    }

    /// Counts a command that a script has called.
    pub(super) fn account_for_call(&mut self, row: &Row, has_failed: bool, nanos: u64) {
        let stripe = self.server.stats.stripe(self.thread);
        stripe.commands.add(1);
        if has_failed {
            stripe.per_command[row.id].failed.add(1);
        }
        stripe.ran(row.id, nanos, self.config.current().latency_tracking);
    }

    #[cold]
    fn log_slow(
        &mut self,
        row: &Row,
        Request { args, now, .. }: &Request<'_>,
        session: &Session,
        micros: u64,
    ) {
        let config = self.config.current();
        let max_len = usize::try_from(config.slowlog_max_len).unwrap_or(usize::MAX);
        let command = SlowCommand {
            id: 0,
            time_s: now.as_secs(),
            micros,
            args: slowlog::shortened(
                |at| row.shown(args, at),
                args.len(),
                config.slowlog_entry_max_argc,
                config.slowlog_entry_max_string_len,
            ),
            client_address: session.client.address.clone(),
            client_name: session.client.name.lock().clone(),
        };
        self.server.slowlog.push(command, max_len);
    }

    /// Shows others what a batch changed of its client, whose last command had this row.
    pub(super) fn publish(
        &self,
        session: &Session,
        row: Option<&Row>,
        commands: usize,
        now: UnixMs,
    ) {
        use std::sync::atomic::Ordering::Relaxed;
        let client = &session.client;
        client.last_seen_ms.store(now.0, Relaxed);
        client.db.store(session.db as u8, Relaxed);
        // Only this task writes it, so that no atomic addition is needed.
        let commands = client.total_commands.load(Relaxed) + commands as u64;
        client.total_commands.store(commands, Relaxed);
        if let Some(row) = row {
            client.last_command.store(row.id as u16, Relaxed);
        }
    }
}
