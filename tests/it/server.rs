//! Starts servers for the tests: Strata, and the real redis-server as the oracle.
//!
//! Each server listens on a free loopback port, runs in a directory of its own, and is killed, it
//! alone, when its handle is dropped. What it prints goes to files in that directory.
//!
//! `STRATA_TEST_BIN=/path/to/redis-server` makes [`Strata::start`] start that program in place of
//! the built one. It serves to check the tests themselves: against the oracle all must pass.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::Client;

/// How long a server may take to answer its first PING, on a loaded machine.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// How long [`Server::terminate`] waits before it gives up.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// The pause between two looks at a condition.
const POLL_PAUSE: Duration = Duration::from_millis(2);

/// Variables of the environment, beside our own.
pub(crate) type Env<'a> = &'a [(&'a str, &'a OsStr)];

/// Starts the server under test.
pub(crate) struct Strata;

impl Strata {
    /// A running Strata that has answered PING.
    pub(crate) fn start(args: &[&str]) -> Server {
        Server::start(&Self::program(), &Self::own_args(), args)
    }

    /// The same, and something is done to it as soon as it runs.
    pub(crate) fn start_with(args: &[&str], then: impl Fn(&Server)) -> Server {
        Server::start_in(&Self::program(), &Self::own_args(), &[], args, then)
    }

    /// The same as `start`, with further variables of the environment.
    pub(crate) fn start_in(env: Env<'_>, args: &[&str]) -> Server {
        Server::start_in(&Self::program(), &Self::own_args(), env, args, |_| {})
    }

    /// A Strata that may end by itself, and need not answer yet: its starts may fail, or be killed at once.
    pub(crate) fn spawn(env: Env<'_>, args: &[&str]) -> Server {
        Server::spawn_in(&Self::program(), &Self::own_args(), free_port(), env, args)
    }

    /// One that may have so many descriptors, and not raise that.
    pub(crate) fn start_limited(descriptors: u32, args: &[&str]) -> Server {
        let dir = fresh_dir();
        let script = dir.join("strata");
        let program = Self::program();
        let text = format!(
            "#!/bin/sh\nulimit -n {descriptors}\nexec setpriv --inh-caps=-sys_resource --bounding-set=-sys_resource {} \"$@\"\n",
            program.display()
        );
        fs::write(&script, text).expect("write a script");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(&script, mode).expect("make it a program");
        let server = Server::start(&script, &Self::own_args(), args);
        let _ = fs::remove_dir_all(dir);
        server
    }

    /// Runs Strata on `port` to its end, without waiting for PING: for starts that must fail.
    pub(crate) fn run_to_exit(port: u16, args: &[&str]) -> Finished {
        let mut server = Server::spawn(&Self::program(), &Self::own_args(), port, args);
        let status = server.wait(STOP_TIMEOUT);
        let (stdout, stderr) = (server.stdout(), server.stderr());
        Finished {
            status: status.unwrap_or_else(|| panic!("still running\n{stdout}\n{stderr}")),
            stdout,
            stderr,
        }
    }

    /// Whether `STRATA_TEST_BIN` names redis-server: its log and its exit text are not ours.
    pub(crate) fn is_oracle() -> bool {
        Self::program().ends_with("redis-server")
    }

    fn program() -> PathBuf {
        env::var_os("STRATA_TEST_BIN").map_or_else(
            || PathBuf::from(env!("CARGO_BIN_EXE_strata")),
            PathBuf::from,
        )
    }

    fn own_args() -> Vec<&'static str> {
        if Self::is_oracle() {
            Redis::ARGS.to_vec()
        } else {
            // What tests need and is off, for good reasons.
            vec![
                "--enable-debug-command",
                "local",
                "--warm-dir",
                env!("CARGO_TARGET_TMPDIR"),
            ]
        }
    }
}

/// Starts redis-server, the oracle: 8.10, or the installed one where scripts/references could not fetch that.
pub(crate) struct Redis;

impl Redis {
    /// Nothing is saved; DEBUG is open to us.
    const ARGS: &[&str] = &[
        "--save",
        "",
        "--appendonly",
        "no",
        "--enable-debug-command",
        "yes",
    ];

    /// A running redis-server that has answered PING.
    pub(crate) fn start(args: &[&str]) -> Server {
        Self::newest(args).unwrap_or_else(|| Self::installed(args))
    }

    /// The same of Redis 8.10 alone.
    pub(crate) fn newest(args: &[&str]) -> Option<Server> {
        let program = reference("redis-8.10/redis-server")?;
        Some(Server::start(&program, Self::ARGS, args))
    }

    /// The same of the server that is installed, 7.0.15 in Debian 12.
    pub(crate) fn installed(args: &[&str]) -> Server {
        Server::start(Path::new("redis-server"), Self::ARGS, args)
    }
}

/// Starts valkey-server: 9.1, or the installed one where scripts/references could not fetch that.
pub(crate) struct Valkey;

impl Valkey {
    /// A running valkey-server that has answered PING.
    pub(crate) fn start(args: &[&str]) -> Server {
        Self::newest(args)
            .unwrap_or_else(|| Server::start(Path::new("valkey-server"), Redis::ARGS, args))
    }

    /// The same of Valkey 9.1 alone.
    pub(crate) fn newest(args: &[&str]) -> Option<Server> {
        let program = reference("valkey-9.1/valkey-server")?;
        Some(Server::start(&program, Redis::ARGS, args))
    }
}

/// A server that scripts/references has fetched.
fn reference(name: &str) -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent()?;
    let program = target.join("references").join(name);
    if !program.exists() {
        println!("{} is not there: run scripts/references", program.display());
        return None;
    }
    Some(program)
}

#[test]
fn newest_references_are_what_the_scripts_fetch() {
    let servers = [
        ("redis_version:8.10.2", Redis::newest(&[])),
        ("valkey_version:9.1.2", Valkey::newest(&[])),
    ];
    for (version, server) in servers {
        let Some(server) = server else { continue };
        let info = server.connect().run(&["INFO", "server"]).to_string();
        assert!(info.contains(version), "{info}");
    }
}

/// What a program left that ended by itself.
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A server process of ours.
pub(crate) struct Server {
    child: Child,
    port: u16,
    dir: PathBuf,
}

impl Server {
    fn start(program: &Path, own_args: &[&str], args: &[&str]) -> Self {
        Self::start_in(program, own_args, &[], args, |_| {})
    }

    fn start_in(
        program: &Path,
        own_args: &[&str],
        env: Env<'_>,
        args: &[&str],
        then: impl Fn(&Self),
    ) -> Self {
        for _ in 0..5 {
            let mut server = Self::spawn_in(program, own_args, free_port(), env, args);
            then(&server);
            if server.answers_ping() {
                return server;
            }
            let text = format!("{}{}", server.stdout(), server.stderr());
            // Somebody else took the port between our look and the server's bind.
            let port_was_taken = text.to_lowercase().contains("in use");
            assert!(
                port_was_taken,
                "{} {args:?} does not answer PING:\n{text}",
                program.display()
            );
        }
        panic!("no free port for {} in five attempts", program.display());
    }

    fn spawn(program: &Path, own_args: &[&str], port: u16, args: &[&str]) -> Self {
        Self::spawn_in(program, own_args, port, &[], args)
    }

    fn spawn_in(program: &Path, own_args: &[&str], port: u16, env: Env<'_>, args: &[&str]) -> Self {
        let dir = fresh_dir();
        let output = |name| File::create(dir.join(name)).expect("create a file for the output");
        let mut command = Command::new(program);
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1"]);
        // These are for the tests; the server takes what begins so for options of its own.
        for name in ["COUNT", "SEED", "ONLY", "LOSS_MS"] {
            command.env_remove(format!("STRATA_TIER_{name}"));
        }
        command
            .envs(env.iter().copied())
            .args(own_args)
            .args(args)
            .current_dir(&dir)
            .stdin(Stdio::null());
        command.stdout(output("stdout")).stderr(output("stderr"));
        let child = command.spawn().unwrap_or_else(|error| {
            panic!(
                "cannot start {}: {error}; run scripts/test",
                program.display()
            )
        });
        Self { child, port, dir }
    }

    /// Waits for the first PONG; false if the server has ended, or takes too long.
    pub(crate) fn answers_ping(&mut self) -> bool {
        let deadline = Instant::now() + START_TIMEOUT;
        while Instant::now() < deadline {
            if self.exit_status().is_some() {
                return false;
            }
            if let Ok(mut client) = Client::try_connect(self.port)
                && client
                    .try_run(&["PING"])
                    .is_ok_and(|reply| reply.is_simple("PONG"))
            {
                // A server that lost the race for its port must not be taken for the winner.
                return self.exit_status().is_none();
            }
            thread::sleep(POLL_PAUSE);
        }
        false
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The directory that it runs in.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A new connection.
    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.port)
    }

    /// Resident memory in bytes, from /proc.
    pub(crate) fn rss_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let status = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kb = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kb.unwrap_or_else(|| panic!("no VmRSS in {path}: the server is gone\n{}", self.stderr()))
            * 1024
    }

    /// What the server has printed to its standard output so far.
    pub(crate) fn stdout(&self) -> String {
        self.output("stdout")
    }

    /// What the server has printed to its standard error so far.
    pub(crate) fn stderr(&self) -> String {
        self.output("stderr")
    }

    fn output(&self, name: &str) -> String {
        let bytes = fs::read(self.dir.join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The exit status, once the process has ended.
    pub(crate) fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("look at the server process")
    }

    /// How many descriptors it has.
    pub(crate) fn descriptors(&self) -> usize {
        let dir = format!("/proc/{}/fd", self.pid());
        fs::read_dir(dir).expect("list descriptors").count()
    }

    /// Sends a signal, by its name without `SIG`, to this process only.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args(["-s", name, &self.pid().to_string()])
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "kill -s {name} {}",
            self.pid()
        );
    }

    /// Waits for the process to end by itself.
    pub(crate) fn wait(&mut self, timeout: Duration) -> Option<ExitStatus> {
        poll(timeout, || self.exit_status())
    }

    /// SIGTERM, then the exit status.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait(STOP_TIMEOUT).unwrap_or_else(|| {
            panic!(
                "still running {STOP_TIMEOUT:?} after SIGTERM\n{}{}",
                self.stdout(),
                self.stderr()
            )
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only when the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!(
                "the server's files: {}\n{}{}",
                self.dir.display(),
                self.stdout(),
                self.stderr()
            );
        } else {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// Looks again and again until `condition` gives something or the time is over.
pub(crate) fn poll<T>(timeout: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + timeout;
    loop {
        let found = condition();
        if found.is_some() || Instant::now() >= deadline {
            return found;
        }
        thread::sleep(POLL_PAUSE);
    }
}

/// A port of the loopback nobody listens on. It lies below the range from which the kernel gives
/// ports to outgoing connections, so that the thousands that the tests open cannot take it.
pub(crate) fn free_port() -> u16 {
    const FIRST: u32 = 12_000;
    const COUNT: u32 = 20_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(7_919) % COUNT;
    for _ in 0..COUNT {
        let offset = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = u16::try_from(FIRST + offset).expect("below 32,000");
        let unused = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if unused && TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            return port;
        }
    }
    panic!("no free loopback port");
}

/// A directory that outlives a server, removed at its end.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        Self(fresh_dir())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.to_str().expect("the build's directory is text")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left is in the build's directory.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn fresh_dir() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("server-{}-{number}", std::process::id()));
    // A directory of that name is the leftover of an old run with the same process number.
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    dir
}
