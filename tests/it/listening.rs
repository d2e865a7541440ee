//! Where the server listens, changed while it runs: CONFIG SET port and bind.

use std::net::TcpListener;
use std::time::Duration;

use crate::client::Client;
use crate::server::{Redis, Server, Strata, free_port, poll};

/// Longer than any machine takes.
const PATIENCE: Duration = Duration::from_secs(60);

const NOT_THIS_PORT: &str = "Unable to listen on this port. Check server logs.";
const NOT_THESE_ADDRESSES: &str = "Failed to bind to specified addresses.";

const OK: &str = "+\"OK\"";

fn answers(port: u16) -> bool {
    let ping = |mut client: Client| client.try_run(&["PING"]);
    Client::try_connect(port)
        .and_then(ping)
        .is_ok_and(|reply| reply.is_simple("PONG"))
}

/// The same on an address of the loopback network.
fn takes(address: &str, port: u16) -> bool {
    std::net::TcpStream::connect((address, port)).is_ok()
}

#[test]
fn config_set_port_moves_the_server_and_a_port_in_use_changes_nothing() {
    let strata = Strata::start(&["--tier-max-bytes", "0"]);
    let mut client = strata.connect();
    let old = strata.port();
    let holder = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let taken = holder.local_addr().expect("it has one").port().to_string();

    let refused = client.run(&["CONFIG", "SET", "timeout", "77", "port", &taken]);
    let refused = refused.to_string();
    assert!(refused.contains(NOT_THIS_PORT), "{refused}");
    let timeout = client.run(&["CONFIG", "GET", "timeout"]).strings();
    assert_eq!(timeout, ["timeout", "0"]);
    let port = client.run(&["CONFIG", "GET", "port"]).strings();
    assert_eq!(port, ["port", &old.to_string()]);
    assert!(answers(old));

    let new = free_port();
    let moved = client.run(&["CONFIG", "SET", "port", &new.to_string()]);
    assert!(moved.is_simple("OK"), "{moved}");
    assert!(answers(new));
    poll(PATIENCE, || (!takes("127.0.0.1", old)).then_some(())).expect("the old port is closed");
    let info = client.run(&["INFO", "server"]);
    let info = String::from_utf8_lossy(info.bytes().unwrap_or_default()).into_owned();
    assert!(info.contains(&format!("tcp_port:{new}\r\n")), "{info}");
    // Who was connected stays so, and the old port is free for others, and for the server again.
    assert!(client.run(&["PING"]).is_simple("PONG"));
    let moved = client.run(&["CONFIG", "SET", "port", &old.to_string()]);
    assert!(moved.is_simple("OK"), "{moved}");
    assert!(answers(old));
}

#[test]
fn config_set_bind_opens_and_closes_addresses() {
    let strata = Strata::start(&["--tier-max-bytes", "0"]);
    let mut client = strata.connect();
    let port = strata.port();
    let set =
        |client: &mut Client, bind: &str| client.run(&["CONFIG", "SET", "bind", bind]).to_string();
    assert!(!takes("127.0.0.2", port));
    assert_eq!(set(&mut client, "127.0.0.1 127.0.0.2"), OK);
    assert!(takes("127.0.0.2", port) && answers(port));
    // All addresses overlap with those that are open.
    assert_eq!(set(&mut client, "*"), OK);
    poll(PATIENCE, || {
        (takes("127.0.0.3", port) && takes("127.0.0.2", port) && answers(port)).then_some(())
    })
    .expect("it listens everywhere");
    // Nobody else shares its port.
    assert!(TcpListener::bind(("127.0.0.1", port)).is_err());
    assert_eq!(set(&mut client, "127.0.0.2 127.0.0.1"), OK);
    poll(PATIENCE, || (!takes("127.0.0.3", port)).then_some(()))
        .expect("the other addresses are closed");
    assert!(takes("127.0.0.2", port) && answers(port));
    for bind in ["192.0.2.1", "127.0.0.1 127.0.0.1", "127.0.0.1 192.0.2.1"] {
        let refused = set(&mut client, bind);
        assert!(refused.contains(NOT_THESE_ADDRESSES), "{bind}: {refused}");
    }
    assert!(takes("127.0.0.2", port) && answers(port));
    // One that may be missing.
    assert_eq!(set(&mut client, "127.0.0.1 -192.0.2.1"), OK);
    poll(PATIENCE, || (!takes("127.0.0.2", port)).then_some(()))
        .expect("the other address is closed");
    assert!(answers(port));
}

#[test]
fn config_set_port_and_bind_answer_as_in_redis() {
    let strata = Strata::start(&["--tier-max-bytes", "0"]);
    let redis = Redis::start(&[]);
    let holder = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let taken = holder.local_addr().expect("it has one").port().to_string();
    let told = |server: &Server| {
        let mut client = server.connect();
        let own = server.port().to_string();
        [
            &["port", taken.as_str()][..],
            &["port", "x"],
            &["port", "65536"],
            &["port", "-1"],
            &["port", &own],
            &["bind", "192.0.2.1"],
            &["bind", "127.0.0.1 127.0.0.1"],
            &["bind", "127.0.0.1"],
            &["bind", "*"],
            &["bind", "127.0.0.1 -::1"],
            &["timeout", "9", "bind", "192.0.2.1"],
        ]
        .map(|pairs| {
            let set = [&["CONFIG", "SET"][..], pairs].concat();
            let get = client.run(&set).to_string();
            (pairs.join(" ").replace(&own, "own"), get)
        })
    };
    assert_eq!(told(&strata), told(&redis));
}
