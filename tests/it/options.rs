//! Options beside those of the real servers, and what else a command line can ask for.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Output};
use std::time::Duration;

use crate::client::Client;
use crate::server::{Redis, Scratch, Server, Strata, Valkey, free_port, poll};

/// Runs the program to its end: for words that do not start a server.
fn run(args: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_strata"))
        .args(args)
        .output();
    output.expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The names and values of CONFIG GET *.
fn options(client: &mut Client) -> BTreeMap<String, String> {
    let words = client.run(&["CONFIG", "GET", "*"]).strings();
    let (pairs, rest) = words.as_chunks::<2>();
    assert!(rest.is_empty());
    let pair = |[name, value]: &[String; 2]| (name.clone(), value.clone());
    pairs.iter().map(pair).collect()
}

/// The newest servers, where they can be had.
fn references() -> Vec<Server> {
    [Redis::newest(&[]), Valkey::newest(&[])]
        .into_iter()
        .flatten()
        .collect()
}

#[test]
fn config_knows_every_name_of_redis_and_valkey() {
    let strata = Strata::start(&["--tier-max-bytes", "0"]);
    let own = options(&mut strata.connect());
    let mut installed = vec![Redis::start(&[])];
    installed.extend(references());
    for server in installed {
        let theirs = options(&mut server.connect());
        let lacking: Vec<_> = theirs
            .keys()
            .filter(|name| !own.contains_key(*name))
            .collect();
        assert!(lacking.is_empty(), "{lacking:?}");
    }
}

#[test]
fn config_set_takes_and_refuses_what_redis_does() {
    // What Strata has another range or other words for, what it cannot change, and what would break a promise.
    const OTHER: &[&str] = &[
        // Their tests are in `listening`.
        "bind",
        "port",
        "tls-port",
        "unixsocket",
        "dir",
        "logfile",
        "oom-score-adj-values",
        "notify-keyspace-events",
        "locale-collate",
        "enable-debug-command",
        "maxmemory",
        "io-threads",
        "min-replicas-to-write",
        "min-slaves-to-write",
        "appendonly",
        "save",
        "bind-source-addr",
        "list-max-listpack-size",
        "list-max-ziplist-size",
        // Redis checks what only its own way of doing things has.
        "key-memory-histograms",
        "activedefrag",
        "cluster-announce-ip",
        "cluster-announce-hostname",
        "cluster-announce-human-nodename",
        "cluster-slot-stats-enabled",
        "array-sparse-kmax",
        "tls-replication",
        "tls-cluster",
    ];
    let Some(redis) = Redis::newest(&["--enable-protected-configs", "no"]) else {
        return;
    };
    let strata = Strata::start(&["--tier-max-bytes", "0"]);
    let (mut theirs, mut ours) = (redis.connect(), strata.connect());
    for (name, value) in options(&mut theirs) {
        if OTHER.contains(&name.as_str()) {
            continue;
        }
        for probe in [
            "no such value",
            "-9223372036854775808",
            "9223372036854775807",
            "1.5",
            "-1",
            "1",
            "yes",
            &value,
        ] {
            let command = ["CONFIG", "SET", &name, probe];
            let (their, our) = (
                theirs.run(&command).to_string(),
                ours.run(&command).to_string(),
            );
            // The words of a choice may be more.
            let same = their == our
                || their.contains("one of the following") && our.contains("one of the following");
            assert!(same, "{name} {probe}: {their} and {our}");
            theirs.run(&["CONFIG", "SET", &name, &value]);
        }
        ours.run(&["CONFIG", "SET", &name, &value]);
    }
}

#[test]
fn a_file_with_all_options_of_redis_or_valkey_is_a_configuration() {
    let scratch = Scratch::new();
    for server in references() {
        let lines = options(&mut server.connect())
            .into_iter()
            .map(|(name, value)| {
                let is_list = [
                    "bind",
                    "oom-score-adj-values",
                    "client-output-buffer-limit",
                    "latency-tracking-info-percentiles",
                ];
                match is_list.contains(&name.as_str()) {
                    true => format!("{name} {value}\n"),
                    false => format!("{name} \"{value}\"\n"),
                }
            });
        let file = scratch.path().join("all.conf");
        fs::write(&file, lines.collect::<String>()).expect("the file is written");
        let output = run(&["check-config", file.to_str().expect("text")]);
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
}

#[test]
fn check_config_tells_all_problems_and_starts_nothing() {
    let scratch = Scratch::new();
    let file = scratch.path().join("my.conf");
    fs::write(&file, "prt 1\nmaxmemory x\nrename-command NOPE y\n").expect("the file is written");
    let output = run(&["check-config", file.to_str().expect("text")]);
    let problems = text(&output.stderr);
    assert_eq!(
        (output.status.code(), problems.lines().count()),
        (Some(1), 3),
        "{problems}"
    );
    fs::write(&file, "hz 50\n").expect("the file is written");
    let output = run(&["check-config", file.to_str().expect("text")]);
    assert_eq!(
        text(&output.stdout),
        "hz has no effect: Strata paces its own maintenance\nThe configuration is right\n"
    );
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn healthcheck_asks_the_server_with_the_same_options() {
    let strata = Strata::start(&["--tier-max-bytes", "0"]);
    let set = ["CONFIG", "SET", "requirepass", "hunter2"];
    assert!(strata.connect().run(&set).is_simple("OK"));
    let port = strata.port().to_string();
    let args = [
        "healthcheck",
        "--port",
        &port,
        "--requirepass",
        "hunter2",
        "--bind",
        "*",
    ];
    assert!(run(&args).status.success());
    let output = run(&["healthcheck", "--port", &port, "--requirepass", "wrong"]);
    assert!(!output.status.success());
    assert!(
        text(&output.stderr).contains("AUTH: -WRONGPASS"),
        "{}",
        text(&output.stderr)
    );
    let nobody = run(&["healthcheck", "--port", &free_port().to_string()]);
    assert_eq!(
        (nobody.status.code(), text(&nobody.stderr).lines().count()),
        (Some(1), 1)
    );
}

/// In an image the entrypoint changes the environment of the server, and not that of the check.
#[test]
fn healthcheck_alone_has_the_arguments_and_the_environment_of_the_server() {
    let dir = Scratch::new();
    // One of a name of its own, as other tests have servers too.
    let program = dir.path().join("strata");
    let built = env!("CARGO_BIN_EXE_strata");
    if fs::hard_link(built, &program).is_err() {
        fs::copy(built, &program).expect("there is room");
    }
    let is_well = || {
        let mut check = Command::new(&program);
        let port = free_port().to_string();
        check.arg("healthcheck").env("STRATA_PORT", port);
        check.output().expect("it starts").status.success()
    };
    assert!(!is_well());
    let mut server = Command::new(&program)
        .args(["--tier-max-bytes", "0", "--logfile", "/dev/null"])
        .env("STRATA_PORT", free_port().to_string())
        .spawn()
        .expect("it starts");
    let was_well = poll(Duration::from_secs(20), || is_well().then_some(()));
    server.kill().expect("it runs");
    server.wait().expect("it ends");
    assert!(was_well.is_some());
}

#[test]
fn renamed_commands_have_their_new_names_alone() {
    let long = "acb87a2fec1312046f8c26494c94c1f59460a34d";
    let strata = Strata::start(&[
        "--rename-command",
        "FLUSHALL",
        "",
        "--rename-command",
        "CONFIG",
        long,
        "--rename-command",
        "blpop",
        "pull",
        "--tier-max-bytes",
        "0",
    ]);
    let mut client = strata.connect();
    assert!(
        client
            .run(&["FLUSHALL"])
            .to_string()
            .contains("unknown command")
    );
    assert!(
        client
            .run(&["CONFIG", "GET", "hz"])
            .to_string()
            .contains("unknown command")
    );
    assert_eq!(client.run(&[long, "GET", "hz"]).strings(), ["hz", "10"]);
    // One that waits is found by its name again.
    client.send(&["PULL", "list", "0"]);
    let mut other = strata.connect();
    other.run(&["RPUSH", "list", "v"]);
    assert_eq!(client.read().strings(), ["list", "v"]);
    assert_eq!(
        other.run(&["COMMAND", "INFO", "flushall"]).to_string(),
        other.run(&["COMMAND", "INFO", "nope"]).to_string()
    );
}

#[test]
fn relative_files_are_in_dir() {
    let scratch = Scratch::new();
    let mut strata = Strata::start(&[
        "--dir",
        scratch.as_str(),
        "--logfile",
        "strata.log",
        "--pidfile",
        "strata.pid",
    ]);
    let there = |name: &str| scratch.path().join(name).exists();
    assert!(there("strata.log") && there("data") && !strata.dir().join("data").exists());
    let pid = fs::read_to_string(scratch.path().join("strata.pid")).expect("the file is there");
    assert_eq!(pid.trim(), strata.pid().to_string());
    let answer = strata.connect().run(&["CONFIG", "GET", "dir"]).strings();
    assert_eq!(answer, ["dir", scratch.as_str()]);
    assert_eq!(strata.terminate().code(), Some(0));
    let gone = poll(Duration::from_secs(5), || {
        (!there("strata.pid")).then_some(())
    });
    assert!(gone.is_some(), "the pidfile goes with the process");
}

#[test]
fn a_password_on_the_command_line_is_not_seen_by_others() {
    let strata = Strata::start(&["--masterauth", "hunter2", "--tier-max-bytes", "0"]);
    let line = fs::read(format!("/proc/{}/cmdline", strata.pid())).expect("the process is there");
    assert!(
        !text(&line).contains("hunter2") && text(&line).contains("tier-max-bytes"),
        "{}",
        text(&line)
    );
    let shown = strata.connect().run(&["CONFIG", "GET", "masterauth"]);
    assert_eq!(shown.strings(), ["masterauth", "hunter2"]);
}

#[test]
fn what_is_for_others_has_the_mode_that_the_umask_gives() {
    let scratch = Scratch::new();
    let args = [
        "--dir",
        scratch.as_str(),
        "--logfile",
        "log",
        "--pidfile",
        "pid",
        "--unixsocket",
        "socket",
    ];
    let strata = Strata::start(&args);
    fs::rename(scratch.path().join("log"), scratch.path().join("log.1")).expect("the log is there");
    strata.signal("HUP");
    let log = scratch.path().join("log");
    assert!(poll(Duration::from_secs(20), || log.exists().then_some(())).is_some());
    // As the shell that started the tests has it.
    fs::write(scratch.path().join("own"), "").expect("written");
    let mode = |name: &str| {
        fs::metadata(scratch.path().join(name))
            .expect("it is there")
            .permissions()
            .mode()
            & 0o777
    };
    let own = mode("own");
    let widened = poll(Duration::from_secs(20), || {
        (mode("log") == own).then_some(())
    });
    assert!(widened.is_some(), "{:o}", mode("log"));
    assert_eq!((mode("log.1"), mode("pid")), (own, own));
    assert_eq!(mode("socket") & 0o666, own);
    assert_eq!(mode("data"), 0o700);
}

#[test]
fn debug_is_off_unless_it_is_asked_for() {
    let strata = Strata::start(&["--enable-debug-command", "no", "--tier-max-bytes", "0"]);
    let refused = strata.connect().run(&["DEBUG", "SLEEP", "0"]).to_string();
    assert!(refused.contains("DEBUG command not allowed"), "{refused}");
    let mut client = strata.connect();
    assert_eq!(
        client
            .run(&["CONFIG", "GET", "enable-debug-command"])
            .strings()[1],
        "no"
    );
}

#[test]
fn systemd_is_told_of_the_start_and_the_stop() {
    let scratch = Scratch::new();
    let path = scratch.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a timeout");
    let port = free_port().to_string();
    let mut server = Command::new(env!("CARGO_BIN_EXE_strata"))
        .args(["--port", &port, "--tier-max-bytes", "0", "--logfile", "log"])
        .env("NOTIFY_SOCKET", &path)
        .current_dir(scratch.path())
        .spawn()
        .expect("the program starts");
    let told = |words: &str| {
        let mut state = [0; 256];
        let length = socket.recv(&mut state).expect("it tells");
        assert_eq!(text(&state[..length]).trim(), words);
    };
    told("READY=1");
    // It listens when it says so.
    let mut client = Client::try_connect(port.parse().expect("a number")).expect("it listens");
    client.send(&["SHUTDOWN"]);
    told("STOPPING=1");
    assert!(server.wait().expect("it ends").success());
    let log = fs::read_to_string(scratch.path().join("log")).expect("a log");
    let lines: Vec<&str> = log.lines().take(5).collect();
    for (line, words) in lines.iter().zip([
        "Strata ",
        "Memory: at most ",
        "Disk tier: none",
        "Threads: ",
        "Ready to accept connections on ",
    ]) {
        assert!(line.contains(words), "{log}");
    }
}

#[test]
fn the_image_takes_a_file_or_flags_as_that_of_redis_does() {
    let scratch = Scratch::new();
    let program = scratch.path().join("strata");
    fs::write(
        &program,
        "#!/bin/sh\necho \"bind=${STRATA_BIND-unset}\" \"$@\"\n",
    )
    .expect("written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("made a program");
    for (file, line) in [
        ("plain.conf", "maxmemory 1gb\n"),
        ("bind.conf", "  BIND 10.0.0.1\n"),
    ] {
        fs::write(scratch.path().join(file), line).expect("written");
    }
    let run = |args: &[&str]| {
        let output = Command::new("sh")
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/conf/image-entrypoint"
            ))
            .args(args)
            .env("PATH", format!("{}:/usr/bin:/bin", scratch.as_str()))
            .env("STRATA_BIND", "*")
            .current_dir(scratch.path())
            .output();
        text(&output.expect("a shell").stdout).trim().to_owned()
    };
    assert_eq!(run(&["strata"]), "bind=*");
    assert_eq!(run(&["--maxmemory", "1gb"]), "bind=* --maxmemory 1gb");
    assert_eq!(
        run(&["plain.conf", "--port", "1"]),
        "bind=* plain.conf --port 1"
    );
    assert_eq!(run(&["bind.conf"]), "bind=unset bind.conf");
    assert_eq!(run(&["strata", "./bind.conf"]), "bind=unset ./bind.conf");
    assert_eq!(run(&["redis-server", "--save", ""]), "bind=* --save");
    assert_eq!(run(&["echo", "something", "else"]), "something else");
}
