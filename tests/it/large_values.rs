//! Long values: received into what they become, sent without being copied, and never memory for what is only announced.

use std::time::Duration;

use crate::client::{Client, Reply, encode, encode_into, is_closed};
use crate::generator::Random;
use crate::server::{Server, Strata};

const MB: u64 = 1024 * 1024;

fn value(len: usize, seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    (0..len).map(|_| random.next() as u8).collect()
}

/// Sends bytes in parts of all lengths.
fn send_in_parts(client: &mut Client, bytes: &[u8], random: &mut Random) {
    let mut at = 0;
    while at < bytes.len() {
        let most = [3, 50, 5_000, 70_000, 1 << 20][random.below(5) as usize];
        let end = bytes.len().min(at + 1 + random.below(most) as usize);
        client.send_raw(&bytes[at..end]);
        at = end;
    }
}

/// What the server has of requests that have not run.
fn received_bytes(client: &mut Client) -> u64 {
    let list = client.run(&["CLIENT", "LIST"]);
    let text = String::from_utf8_lossy(list.bytes().expect("it answers")).into_owned();
    let words = text.split_whitespace();
    let bytes = words.filter_map(|word| word.strip_prefix("qbuf="));
    bytes.filter_map(|bytes| bytes.parse::<u64>().ok()).sum()
}

#[test]
fn long_values_that_arrive_in_parts_are_whole() {
    for args in [&[][..], &["--tier-max-bytes", "1gb"]] {
        let strata = Strata::start(args);
        let mut client = strata.connect();
        let mut random = Random::new(7);
        for len in [16_384usize, 32_767, 32_768, 65_530, 262_144, 3_000_000] {
            let values: Vec<_> = (0..6)
                .map(|i| value(len + i % 2, len as u64 + i as u64))
                .collect();
            let mut bytes = Vec::new();
            for (i, value) in values.iter().enumerate() {
                let key = format!("k{i}");
                encode_into(&mut bytes, &[b"SET", key.as_bytes(), value]);
                encode_into(&mut bytes, &[b"PING"]);
            }
            encode_into(
                &mut bytes,
                &[
                    &b"MSET"[..],
                    b"m0",
                    &values[0],
                    b"m1",
                    b"short",
                    b"m2",
                    &values[1],
                ],
            );
            encode_into(&mut bytes, &[&b"GETSET"[..], b"m1", &values[2]]);
            send_in_parts(&mut client, &bytes, &mut random);
            for _ in &values {
                assert!(client.read().is_simple("OK"));
                assert!(client.read().is_simple("PONG"));
            }
            assert!(client.read().is_simple("OK"));
            assert!(client.read().is_bulk(b"short"));
            for (i, value) in values.iter().enumerate() {
                let reply = client.run(&["GET", &format!("k{i}")]);
                assert!(reply.is_bulk(value), "{len} {i}");
            }
            for (key, i) in [("m0", 0), ("m1", 2), ("m2", 1)] {
                assert!(client.run(&["GETDEL", key]).is_bulk(&values[i]), "{key}");
            }
        }
    }
}

#[test]
fn a_long_value_may_come_without_the_end_of_its_line() {
    let strata = Strata::start(&["--tier-max-bytes", "0"]);
    let mut client = strata.connect();
    let mut witness = strata.connect();
    for (number, len) in [40_000usize, 60_000, 300_000].into_iter().enumerate() {
        let (value, key) = (value(len, 3), format!("k{number}"));
        let bytes = encode(&[&b"SET"[..], key.as_bytes(), &value]);
        for behind in [2, 1, 0] {
            client.send_raw(&bytes[..bytes.len() - behind]);
            // Whatever the sockets hold, the server has it.
            let sent = (bytes.len() - behind) as u64;
            let there = crate::server::poll(Duration::from_secs(20), || {
                (behind == 0 || received_bytes(&mut witness) >= sent).then_some(())
            });
            assert!(there.is_some(), "{len} {behind}");
            client.send_raw(&bytes[bytes.len() - behind..]);
            assert!(client.read().is_simple("OK"));
            assert!(client.run(&["GET", &key]).is_bulk(&value));
        }
    }
}

#[test]
fn who_waits_for_much_of_a_long_value_is_not_deaf_to_the_little_behind_it() {
    let strata = Strata::start(&["--tier-max-bytes", "0"]);
    let mut client = strata.connect();
    let mut witness = strata.connect();
    let long = value(400_000, 5);
    let keys: Vec<_> = (0..9_000).map(|i| format!("short:{i}")).collect();
    let mut request = vec![&b"MSET"[..], b"long", &long];
    request.extend(keys.iter().flat_map(|key| [key.as_bytes(), b"v"]));
    let bytes = encode(&request);
    let mut arrived = |at: usize| {
        crate::server::poll(Duration::from_secs(20), || {
            (received_bytes(&mut witness) >= at as u64).then_some(())
        })
    };
    // The server has each part before the next is sent: it waits in every state for little and for much.
    let mut sent = 0;
    for end in [50, 100_000, 200_000, 390_000, 400_050, 480_000, 520_000] {
        client.send_raw(&bytes[sent..end]);
        sent = end;
        // Of what it waits for the system may have a part, but never more than the server has.
        let there = if end < 400_000 { end / 2 } else { end };
        assert!(arrived(there).is_some(), "{end}");
    }
    client.send_raw(&bytes[sent..]);
    assert!(client.read().is_simple("OK"));
    assert!(client.run(&["PING"]).is_simple("PONG"));
    assert!(client.run(&["GET", "long"]).is_bulk(&long));
    assert!(client.run(&["GET", "short:8999"]).is_bulk(b"v"));
}

#[test]
fn the_memory_of_long_values_is_given_back_when_nobody_writes_any() {
    let strata = Strata::start(&["--tier-max-bytes", "0"]);
    let mut client = strata.connect();
    let before = strata.rss_bytes();
    let long = value(4 << 20, 9);
    for i in 0..20 {
        let key = format!("k{}", i % 5);
        assert!(client.run(&[b"SET", key.as_bytes(), &long]).is_simple("OK"));
    }
    assert!(client.run(&["FLUSHALL"]).is_simple("OK"));
    let mut grown = 0;
    let gone = crate::server::poll(Duration::from_secs(60), || {
        grown = strata.rss_bytes().saturating_sub(before);
        (grown < 8 * MB).then_some(())
    });
    assert!(gone.is_some(), "{grown}");
}

#[test]
fn a_long_value_that_is_overwritten_while_it_is_sent_arrives_as_it_was() {
    let strata = Strata::start(&["--tier-max-bytes", "0"]);
    let (mut slow, mut other) = (strata.connect(), strata.connect());
    let (first, second) = (value(8 << 20, 1), value(8 << 20, 2));
    assert!(other.run(&[&b"SET"[..], b"k", &first]).is_simple("OK"));
    slow.send(&["GET", "k"]);
    slow.send(&["GET", "k"]);
    // What the sockets do not take waits in the server.
    assert!(
        other
            .run(&["SETRANGE", "k", "0", "changed"])
            .int()
            .is_some()
    );
    assert!(other.run(&["APPEND", "k", "more"]).int().is_some());
    assert!(other.run(&[&b"SET"[..], b"k", &second]).is_simple("OK"));
    let read: [Reply; 2] = [slow.read(), slow.read()];
    for reply in &read {
        let bytes = reply.bytes().expect("there is a value");
        // The second request may have come after the changes.
        let head = [&b"changed"[..], &first[7..100]].concat();
        assert!(bytes == first || bytes == second || bytes.starts_with(&head));
    }
    assert!(other.run(&["GET", "k"]).is_bulk(&second));
}

fn used_memory(client: &mut Client) -> u64 {
    let info = client.run(&["INFO", "memory"]);
    let text = String::from_utf8_lossy(info.bytes().expect("INFO answers")).into_owned();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:"));
    line.expect("it is there").parse().expect("a number")
}

/// Clients that announce half a gigabyte each and send so much of it.
fn announce(strata: &Server, clients: usize, sent: usize) -> Vec<Client> {
    let connections = (0..clients).map(|_| {
        let mut client = strata.connect();
        client.send_raw(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870000\r\n");
        client.send_raw(&vec![b'v'; sent]);
        client
    });
    connections.collect()
}

#[test]
fn what_is_announced_takes_no_memory_before_it_arrives() {
    let strata = Strata::start(&["--tier-max-bytes", "0"]);
    let mut witness = strata.connect();
    let before = (strata.rss_bytes(), used_memory(&mut witness));
    let clients = announce(&strata, 100, 20_000);
    assert!(witness.run(&["PING"]).is_simple("PONG"));
    let arrived = crate::server::poll(Duration::from_secs(20), || {
        (received_bytes(&mut witness) >= 100 * 20_000).then_some(())
    });
    assert!(arrived.is_some(), "what has arrived is told");
    // Eight times that, and the structures of a hundred connections.
    let used = used_memory(&mut witness) - before.1;
    assert!(used < 100 * 20_000 * 8 + 4 * MB, "{used}");
    let grown = strata.rss_bytes().saturating_sub(before.0);
    assert!(grown < 32 * MB, "{grown}");
    drop(clients);
}

#[test]
fn a_long_value_beyond_the_limit_of_the_query_buffer_closes_the_connection() {
    let strata = Strata::start(&["--tier-max-bytes", "0"]);
    let mut witness = strata.connect();
    let limit = ["CONFIG", "SET", "client-query-buffer-limit", "1mb"];
    assert!(witness.run(&limit).is_simple("OK"));
    let mut client = strata.connect();
    let sent = client.try_send_raw(&encode(&[&b"SET"[..], b"k", &vec![0; 4 << 20]]));
    let closed = sent.and_then(|()| client.try_read().map(drop));
    assert!(closed.as_ref().is_err_and(is_closed), "{closed:?}");
    assert!(witness.run(&["EXISTS", "k"]).int() == Some(0));
}
