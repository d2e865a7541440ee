//! The `strata` binary: options, server, signals; nothing else.

use std::process::ExitCode;
use std::sync::Arc;

use strata::command::table::table;
use strata::config::load::{Invocation, from_process};
use strata::server::Server;
use strata::server::signals::Signals;
use strata::{logging, net};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let loaded = match from_process(std::env::args_os(), std::env::vars_os()) {
        Ok(Invocation::Serve(loaded)) => *loaded,
        Ok(Invocation::Print(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(error) => return refuse(&error),
    };
    let signals = match Signals::start() {
        Ok(signals) => signals,
        Err(error) => return refuse(&format!("cannot listen for signals: {error}")),
    };
    let log = match logging::start(&loaded.config) {
        Ok(log) => log,
        Err(error) => return refuse(&format!("cannot write logfile: {error}")),
    };
    // What is written from here on, which is data, is nobody else's.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let server = match Server::open(loaded.config, loaded.file, table().ids()) {
        Ok(server) => Arc::new(server),
        Err(error) => return refuse(&error),
    };
    server.log.get_or_init(|| log);
    signals.serve(&server);
    loaded
        .warnings
        .iter()
        .for_each(|warning| tracing::warn!("{warning}"));
    match net::serve(&server) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(&error),
    }
}

/// The start is refused with one line that says what to change.
fn refuse(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("strata: {error}");
    ExitCode::FAILURE
}
