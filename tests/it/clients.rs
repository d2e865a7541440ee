//! Real client libraries against the server: redis-py, ioredis and redis-rs, over RESP2 and RESP3.
//!
//! Of the first two the scripts in `clients/` do the work and fail with a trace. `scripts/test`
//! installs the libraries under `target/`; a test whose library is missing fails and says so.

mod redis_rs;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::server::Strata;

#[test]
fn redis_py_over_resp2() {
    redis_py("2");
}

#[test]
fn redis_py_over_resp3() {
    redis_py("3");
}

#[test]
fn ioredis_over_resp2() {
    ioredis("2");
}

#[test]
fn ioredis_over_resp3() {
    ioredis("3");
}

fn redis_py(protocol: &str) {
    let python = in_repository("target/python-clients/bin/python3");
    assert!(
        python.exists(),
        "{} is missing: run scripts/test",
        python.display()
    );
    run(Command::new(python).arg(script("redis_py.py")), protocol);
}

fn ioredis(protocol: &str) {
    let modules = in_repository("target/node-clients/node_modules");
    assert!(
        modules.join("ioredis").exists(),
        "{} lacks ioredis: run scripts/test",
        modules.display()
    );
    run(
        Command::new("node")
            .arg(script("ioredis.mjs"))
            .env("NODE_CLIENTS", modules),
        protocol,
    );
}

/// Runs a script with the port and the protocol; its last line must be `ok`.
fn run(command: &mut Command, protocol: &str) {
    let strata = Strata::start(&[]);
    let output = command
        .args([&strata.port().to_string(), protocol])
        .output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}: run scripts/test"));
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    let is_ok = output.status.success() && stdout.trim_end().ends_with("ok");
    assert!(is_ok, "{command:?}: {}\n{stdout}\n{stderr}", output.status);
}

fn script(name: &str) -> PathBuf {
    in_repository("tests/it/clients").join(name)
}

fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
