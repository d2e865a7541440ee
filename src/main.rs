//! The `strata` binary: options, server, signals; nothing else.

use std::fmt::Display;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use strata::command::table;
use strata::config::load::{Invocation, Loaded, from_process, without_secrets};
use strata::server::Server;
use strata::server::signals::Signals;
use strata::{healthcheck, logging, net, pidfile, umask};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    hide_secrets();
    let faults = |config: &strata::config::Config| table::faults_of(&config.rename_command);
    let (arguments, variables) = healthcheck::invocation();
    match from_process(arguments, variables, faults) {
        Ok(Invocation::Serve(loaded)) => serve(*loaded),
        Ok(Invocation::Check(loaded)) => {
            loaded.warnings.iter().for_each(|line| println!("{line}"));
            println!("The configuration is right");
            ExitCode::SUCCESS
        }
        Ok(Invocation::Ask(loaded)) => match healthcheck::ask(&loaded.config) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => refuse(&error),
        },
        Ok(Invocation::Print(text)) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(problems) => {
            let lines = problems.0.iter();
            lines.for_each(|problem| eprintln!("strata: {problem}"));
            ExitCode::FAILURE
        }
    }
}

/// Others see the command line of a process. Where it holds a secret the program begins anew, with the secret in its environment.
fn hide_secrets() {
    let Some((args, secrets)) = without_secrets(std::env::args_os()) else {
        return;
    };
    let error = match std::env::current_exe() {
        Ok(program) => Command::new(program)
            .arg0(args.first().cloned().unwrap_or_default())
            .args(args.iter().skip(1))
            .envs(secrets)
            .exec(),
        Err(error) => error,
    };
    eprintln!(
        "strata: the password on the command line can be read by others ({error}): give it by the environment or a file"
    );
}

fn serve(loaded: Loaded) -> ExitCode {
    let signals = match Signals::start() {
        Ok(signals) => signals,
        Err(error) => return refuse(&format!("cannot listen for signals: {error}")),
    };
    let log = match logging::start(&loaded.config) {
        Ok(log) => log,
        Err(error) => return refuse(&format!("cannot write logfile: {error}")),
    };
    table::rename(&loaded.config.rename_command);
    // What is written from here on, which is data, is nobody else's.
    umask::narrow();
    let server = match Server::open(loaded.config, loaded.file, table::table().ids()) {
        Ok(server) => Arc::new(server),
        Err(error) => return refuse(&error),
    };
    server.log.get_or_init(|| log);
    signals.serve(&server);
    loaded
        .warnings
        .iter()
        .for_each(|warning| tracing::warn!("{warning}"));
    let pidfile = pidfile::write(&server.engine.config.load());
    let served = net::serve(&server);
    drop(pidfile);
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(&error),
    }
}

/// The start is refused with one line that says what to change.
fn refuse(error: &dyn Display) -> ExitCode {
    eprintln!("strata: {error}");
    ExitCode::FAILURE
}
