//! Starting that fails and stopping: what an operator or a container runtime sees.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use crate::client::{encode, is_closed};
use crate::server::{Finished, Server, Strata, free_port};

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
    if strata.exit_status().is_none() {
        strata.signal("TERM");
    }
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
