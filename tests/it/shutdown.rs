//! Starting that fails and stopping: what an operator or a container runtime sees.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::client::{Client, encode, is_closed};
use crate::server::{Finished, Server, Strata, free_port, poll};

const STOPS_WITHIN: Duration = Duration::from_secs(10);

#[test]
fn sigterm_ends_the_server_with_exit_code_0() {
    let mut strata = Strata::start(&[]);
    let mut idle = strata.connect();
    idle.run(&["PING"]);
    let mut half = strata.connect();
    half.send_raw(b"*2\r\n$3\r\nGET\r\n$3\r\nk");
    let status = strata.terminate();
    assert_eq!(status.code(), Some(0), "{status}\n{}", strata.stderr());
    assert!(idle.read_to_close().is_ok_and(|rest| rest.is_empty()));
    assert!(half.read_to_close().is_ok_and(|rest| rest.is_empty()));
}

#[test]
fn sigterm_sends_the_replies_of_what_was_done() {
    const COUNT: usize = 2_000;
    let mut strata = Strata::start(&[]);
    let mut client = strata.connect();
    client.send_raw(&encode(&["INCR", "counter"]).repeat(COUNT));
    // The first reply is there, so the server has read the beginning, and maybe not the rest.
    assert_eq!(client.read().int(), Some(1));
    strata.signal("TERM");
    let mut last = 1;
    let end = loop {
        match client.try_read() {
            Ok(reply) => {
                assert_eq!(reply.int(), Some(last + 1), "{reply}");
                last += 1;
            }
            Err(error) => break error,
        }
    };
    // Whole replies, then the close; not half a reply or none.
    assert!(is_closed(&end), "{end}");
    assert_exits_with_0(&mut strata);
    assert!(
        crate::client::Client::try_connect(strata.port()).is_err(),
        "still listening"
    );
}

#[test]
fn second_signal_ends_the_server_at_once() {
    let mut strata = Strata::start(&[]);
    let mut client = strata.connect();
    client.run(&[&b"SET"[..], b"large", &vec![b'x'; 4 << 20]]);
    // Replies that nobody reads give the first signal something to drain.
    client.send_raw(&encode(&["GET", "large"]).repeat(16));
    strata.connect().run(&["PING"]);
    strata.signal("TERM");
    told(&strata, "a client is still connected");
    strata.signal("TERM");
    let status = strata.wait(Duration::from_secs(2));
    assert!(
        status.is_some(),
        "still running 2 s after the second SIGTERM"
    );
}

#[test]
fn client_that_never_reads_does_not_hold_up_the_end() {
    let mut strata = Strata::start(&[]);
    let mut client = strata.connect();
    client.run(&[&b"SET"[..], b"large", &vec![b'x'; 4 << 20]]);
    client.send_raw(&encode(&["GET", "large"]).repeat(16));
    strata.connect().run(&["PING"]);
    strata.terminate();
}

#[test]
fn sigint_ends_the_server_as_sigterm_does() {
    let mut strata = Strata::start(&[]);
    strata.signal("INT");
    assert_exits_with_0(&mut strata);
}

#[test]
fn shutdown_command_ends_the_server_without_a_reply() {
    for command in [
        &["SHUTDOWN"][..],
        &["shutdown", "NOSAVE"],
        &["SHUTDOWN", "nosave", "NOW", "FORCE"],
    ] {
        let mut strata = Strata::start(&[]);
        let mut client = strata.connect();
        client.send(command);
        let rest = client.read_to_close().expect("the server closes");
        assert!(rest.is_empty(), "{command:?}: {}", rest.escape_ascii());
        assert_exits_with_0(&mut strata);
    }
}

/// The client was closed first, and who started a server then found the port and the directory taken.
#[test]
fn who_asks_for_the_end_is_closed_when_the_process_has_ended() {
    let scratch = crate::server::Scratch::new();
    let mut servers = Vec::new();
    for round in 0..4 {
        let strata = Strata::start(&["--tier-dir", scratch.as_str()]);
        let mut client = strata.connect();
        assert_eq!(client.run(&["DBSIZE"]).int(), Some(200 * round));
        for i in 0..200 {
            client.run(&["SET", &format!("{round}:{i}"), &"v".repeat(10_000)]);
        }
        client.send(&["SHUTDOWN"]);
        assert!(client.read_to_close().is_ok_and(|rest| rest.is_empty()));
        // Ended by itself, and not because it was forgotten here.
        servers.push(strata);
    }
}

#[test]
fn shutdown_with_wrong_arguments_is_an_error() {
    let strata = Strata::start(&[]);
    let mut client = strata.connect();
    let reply = client.run(&["SHUTDOWN", "MAYBE"]);
    assert_eq!(reply.to_string(), "-\"ERR syntax error\"");
    let reply = client.run(&["SHUTDOWN", "SAVE", "NOSAVE"]);
    assert_eq!(reply.to_string(), "-\"ERR syntax error\"");
    let reply = client.run(&["SHUTDOWN", "ABORT"]);
    assert_eq!(reply.to_string(), "-\"ERR No shutdown in progress.\"");
    assert!(client.run(&["PING"]).is_simple("PONG"));
}

/// Sets so many keys.
fn fill(server: &Server, count: usize) {
    let mut client = server.connect();
    let sets: Vec<u8> = (0..count)
        .flat_map(|i| encode(&["SET", &format!("k{i}"), "v"]))
        .collect();
    client.send_raw(&sets);
    (0..count).for_each(|_| assert!(client.read().is_simple("OK")));
}

#[test]
fn sighup_does_not_end_the_server_and_loses_nothing() {
    let tier = crate::server::Scratch::new();
    let args = ["--tier-dir", tier.as_str()];
    let mut strata = Strata::start(&args);
    fill(&strata, 20_000);
    strata.signal("HUP");
    told(&strata, "SIGHUP received");
    assert_eq!(strata.connect().run(&["DBSIZE"]).int(), Some(20_000));
    strata.signal("TERM");
    assert_exits_with_0(&mut strata);
    let strata = Strata::start(&args);
    assert_eq!(strata.connect().run(&["DBSIZE"]).int(), Some(20_000));
}

#[test]
fn sighup_during_the_start_does_not_end_the_server() {
    let strata = Strata::start_with(&[], |server| {
        // As soon as the process listens for signals at all.
        let path = format!("/proc/{}/status", server.pid());
        let caught = poll(STOPS_WITHIN, || {
            let status = fs::read_to_string(&path).ok()?;
            let mask = status.lines().find_map(|l| l.strip_prefix("SigCgt:"))?;
            let mask = u64::from_str_radix(mask.trim(), 16).ok()?;
            (mask & 1 == 1).then_some(())
        });
        assert!(caught.is_some(), "SIGHUP is caught");
        server.signal("HUP");
    });
    assert!(strata.connect().run(&["PING"]).is_simple("PONG"));
}

#[test]
fn every_deadly_signal_stops_in_order() {
    let tier = crate::server::Scratch::new();
    let args = ["--tier-dir", tier.as_str(), "--tier-durability", "none"];
    let signals = [
        "QUIT", "USR1", "USR2", "ALRM", "VTALRM", "PROF", "XCPU", "IO", "PWR", "STKFLT", "34", "64",
    ];
    for (round, signal) in signals.iter().enumerate() {
        let mut strata = Strata::start(&args);
        let mut client = strata.connect();
        let kept = i64::try_from(round).ok();
        assert_eq!(client.run(&["DBSIZE"]).int(), kept, "before SIG{signal}");
        client.run(&["SET", signal, "v"]);
        strata.signal(signal);
        assert_exits_with_0(&mut strata);
    }
}

#[test]
fn a_file_larger_than_the_limit_does_not_end_the_server() {
    let mut strata = Strata::start(&[]);
    strata.signal("XFSZ");
    assert!(strata.connect().run(&["PING"]).is_simple("PONG"));
    assert_eq!(strata.terminate().code(), Some(0));
}

#[test]
fn sighup_opens_the_log_anew() {
    let scratch = crate::server::Scratch::new();
    let log = scratch.path().join("strata.log");
    let moved = scratch.path().join("strata.log.1");
    let strata = Strata::start(&["--logfile", log.to_str().unwrap()]);
    fs::rename(&log, &moved).expect("the log is there");
    strata.signal("HUP");
    let anew = poll(STOPS_WITHIN, || {
        fs::read_to_string(&log)
            .ok()
            .filter(|text| text.ends_with('\n'))
    });
    assert!(anew.is_some_and(|text| text.contains("SIGHUP received")));
    let old = fs::read_to_string(&moved).expect("it was moved");
    assert!(
        old.contains("Ready to accept") && !old.contains("SIGHUP"),
        "{old}"
    );
    // Where it cannot be, the old one is kept.
    fs::remove_file(&log)
        .and_then(|()| fs::create_dir(&log))
        .expect("a directory in its place");
    strata.signal("HUP");
    assert!(strata.connect().run(&["PING"]).is_simple("PONG"));
}

#[test]
fn a_log_that_cannot_be_written_does_not_end_the_server() {
    let mut strata = Strata::start(&["--logfile", "/dev/full"]);
    strata.signal("HUP");
    assert!(strata.connect().run(&["PING"]).is_simple("PONG"));
    assert_eq!(strata.terminate().code(), Some(0));
}

/// A server whose stop has much to write.
fn with_much_to_write(args: &[&str]) -> Server {
    let mut all = vec![
        "--tier-durability",
        "none",
        "--tier-compression",
        "none",
        "--maxmemory",
        "1gb",
    ];
    all.extend(args);
    let strata = Strata::start(&all);
    let mut client = strata.connect();
    let value = vec![b'x'; 1 << 20];
    let sets: Vec<u8> = (0..80)
        .flat_map(|i: u32| encode(&[&b"SET"[..], i.to_string().as_bytes(), &value]))
        .collect();
    client.send_raw(&sets);
    (0..80).for_each(|_| assert!(client.read().is_simple("OK")));
    strata
}

/// A client with more replies than a socket takes.
fn never_reads(strata: &Server) -> Client {
    let mut client = strata.connect();
    client.send_raw(&encode(&["GET", "1"]).repeat(32));
    strata.connect().run(&["PING"]);
    client
}

/// `timeout` signals the process and then its group, within microseconds: the second one ended the server before anything was written.
/// Here it is of another kind, since two of one may be one already when they arrive.
#[test]
fn a_signal_that_comes_twice_at_once_is_one() {
    let mut strata = with_much_to_write(&[]);
    let pid = i32::try_from(strata.pid()).ok().and_then(Pid::from_raw);
    for signal in [Signal::TERM, Signal::INT] {
        kill_process(pid.expect("a process"), signal).expect("it runs");
    }
    assert_exits_with_0(&mut strata);
}

#[test]
fn second_signal_ends_the_server_at_once_while_the_tier_is_written() {
    let mut strata = with_much_to_write(&["--shutdown-timeout", "1000"]);
    let _slow = never_reads(&strata);
    strata.signal("TERM");
    told(&strata, "a client is still connected");
    strata.signal("TERM");
    let status = strata.wait(Duration::from_secs(5));
    let status = status.expect("still running 5 s after the second SIGTERM");
    assert_eq!(status.code(), Some(1), "{}", strata.stdout());
    let log = strata.stdout();
    assert!(
        log.contains("SIGTERM received while stopping: exiting at once. All keys are lost"),
        "{log}"
    );
}

#[test]
fn the_timeout_bounds_the_whole_stop_and_progress_is_told() {
    let mut strata = with_much_to_write(&["--shutdown-timeout", "4"]);
    // It takes up half of the time: two seconds, of which the first ends with a word on it.
    let _slow = never_reads(&strata);
    strata.signal("TERM");
    let status = strata.wait(STOPS_WITHIN).expect("the timeout is 4 s");
    let log = strata.stdout();
    assert!(
        log.contains("Stopping: a client is still connected"),
        "{log}"
    );
    // A fast disk takes it all within the two seconds that are left.
    let in_time = status.code() == Some(0) && log.contains("Bye");
    let over = log.contains("shutdown-timeout of 4 s is over: exiting at once. All keys are lost");
    assert!(
        in_time || (over && status.code() == Some(1)),
        "{status} {log}"
    );
}

/// Waits for words in the log.
fn told(server: &Server, words: &str) {
    let told = poll(STOPS_WITHIN, || {
        server.stdout().contains(words).then_some(())
    });
    assert!(told.is_some(), "no '{words}' in {}", server.stdout());
}

#[test]
fn port_in_use_is_told_in_one_line() {
    let port = free_port();
    let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("the port is free");
    let finished = Strata::run_to_exit(port, &[]);
    assert_refused(&finished, &[&port.to_string()]);
    drop(holder);
}

#[test]
fn bad_option_value_is_told_in_one_line() {
    let finished = Strata::run_to_exit(free_port(), &["--maxmemory", "banana"]);
    assert_refused(&finished, &["maxmemory", "banana"]);
}

#[test]
fn unknown_option_is_told_in_one_line() {
    let finished = Strata::run_to_exit(free_port(), &["--no-such-option", "1"]);
    assert_refused(&finished, &["no-such-option"]);
}

fn assert_exits_with_0(strata: &mut Server) {
    let status = strata.wait(STOPS_WITHIN);
    let code = status.and_then(|status| status.code());
    assert_eq!(code, Some(0), "{status:?}\n{}", strata.stderr());
}

/// Exit code 1 and one line on stderr that holds the words.
fn assert_refused(finished: &Finished, words: &[&str]) {
    let Finished {
        status,
        stdout,
        stderr,
    } = finished;
    assert_eq!(status.code(), Some(1), "{status}\n{stdout}{stderr}");
    if Strata::is_oracle() {
        // redis-server logs to stdout, and explains a bad option in several lines.
        return;
    }
    assert_eq!(stderr.lines().count(), 1, "one line on stderr:\n{stderr}");
    for word in words {
        assert!(stderr.contains(word), "no {word} in: {stderr}");
    }
}

#[test]
fn the_log_begins_with_what_runs_and_within_which_limits() {
    if Strata::is_oracle() {
        return;
    }
    let strata = Strata::start(&["--tier-max-bytes", "0", "--maxmemory", "64mb"]);
    let log = strata.stdout();
    let lines: Vec<&str> = log.lines().take(5).collect();
    let pid = format!("pid {}", strata.pid());
    let begins = [
        ["Strata ", pid.as_str()],
        ["Memory: ", "64 MB"],
        ["Disk tier: none", ""],
        ["Threads: ", "clients"],
        ["Ready to accept connections on 127.0.0.1:", ""],
    ];
    assert_eq!(lines.len(), begins.len(), "{log}");
    for (line, [beginning, part]) in lines.iter().zip(begins) {
        assert!(line.contains(beginning) && line.contains(part), "{log}");
    }
}
