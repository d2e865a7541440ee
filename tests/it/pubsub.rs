//! Publish/subscribe over several connections at once: the same random steps to another server and to Strata.
//!
//! One step is one request, or a pipeline, of one connection. Behind each step both servers are asked for a PING over a connection of
//! its own, by which all messages of the step are there: each connection must have got the same ones, in the same order, with the
//! replies in between. In which order one message comes by several patterns no server promises.
//!
//! | variable | means | default |
//! |---|---|---|
//! | `STRATA_PUBSUB_SEED` | the seed, as printed by a run | always the same |
//! | `STRATA_PUBSUB_COUNT` | steps per run | 4,000 |

use std::collections::VecDeque;
use std::env;
use std::time::Duration;

use crate::client::{Client, Reply};
use crate::differences::Other;
use crate::generator::Random;
use crate::server::{Server, Strata, poll};

const CONNECTIONS: usize = 6;
const COUNT: u64 = 4_000;
const SEED: u64 = 20_261_201;
const WITHIN: Duration = Duration::from_secs(5);
const SHOWN: usize = 40;

#[test]
fn subscribers_get_what_redis_sends() {
    run(Other::REDIS);
}

#[test]
fn subscribers_get_what_valkey_sends() {
    run(Other::Valkey9);
}

/// The limit was looked at only where more was to be sent.
#[test]
fn a_subscriber_above_its_soft_limit_is_closed_though_nothing_more_comes() {
    let strata = Strata::start(&[]);
    let mut client = strata.connect();
    let limit = [
        "CONFIG",
        "SET",
        "client-output-buffer-limit",
        "pubsub 256mb 1mb 1",
    ];
    assert!(client.run(&limit).is_simple("OK"));
    let mut silent = strata.connect();
    silent.run(&["SUBSCRIBE", "s"]);
    let message = "x".repeat(1 << 20);
    for _ in 0..20 {
        client.run(&["PUBLISH", "s", &message]);
    }
    let closed = poll(2 * WITHIN, || {
        let subscribers = client.run(&["PUBSUB", "NUMSUB", "s"]).to_string();
        subscribers.contains(":0").then_some(())
    });
    assert!(closed.is_some());
}

struct Pair {
    theirs: Client,
    ours: Client,
    queues: bool,
    /// Whether it has sent CLIENT REPLY OFF. Of a transaction then Redis sends the replies to SUBSCRIBE alone.
    is_quiet: bool,
}

fn connect(theirs: &Server, ours: &Server) -> Pair {
    Pair {
        theirs: theirs.connect(),
        ours: ours.connect(),
        queues: false,
        is_quiet: false,
    }
}

fn run(other: Other) {
    let number = |name| {
        env::var(name)
            .ok()
            .map(|text| text.parse().expect("a number"))
    };
    let seed = number("STRATA_PUBSUB_SEED").unwrap_or(SEED);
    let count = number("STRATA_PUBSUB_COUNT").unwrap_or(COUNT);
    println!("STRATA_PUBSUB_SEED={seed} STRATA_PUBSUB_COUNT={count}");
    let Some((_, theirs)) = other.start(&[]) else {
        return;
    };
    let ours = Strata::start(&[]);
    let mut random = Random::new(seed);
    let mut pairs: Vec<Pair> = (0..CONNECTIONS).map(|_| connect(&theirs, &ours)).collect();
    let mut inspector = connect(&theirs, &ours);
    let mut history = VecDeque::new();
    let mut messages = 0;
    for _ in 0..count {
        let at = random.below(CONNECTIONS as u64) as usize;
        let pair = &mut pairs[at];
        for _ in 0..random.pick(&[1, 1, 1, 3]) {
            let line = request(&mut random, &mut messages);
            // Each server introduces itself.
            if pair.queues && matches!(line[0].as_str(), "MULTI" | "HELLO" | "RESET" | "CLIENT") {
                continue;
            }
            if pair.is_quiet && line[0] == "MULTI" {
                continue;
            }
            match &*line.join(" ") {
                "CLIENT REPLY OFF" => pair.is_quiet = true,
                "CLIENT REPLY ON" | "RESET" => pair.is_quiet = false,
                _ => {}
            }
            pair.queues = match line[0].as_str() {
                "MULTI" => true,
                "EXEC" | "DISCARD" => false,
                _ => pair.queues,
            };
            if history.len() == SHOWN {
                history.pop_front();
            }
            history.push_back(format!("{at}: {}", line.join(" ")));
            pair.theirs.send(&line);
            pair.ours.send(&line);
        }
        for _ in 0..2 {
            assert!(inspector.theirs.run(&["PING"]).is_simple("PONG"));
            assert!(inspector.ours.run(&["PING"]).is_simple("PONG"));
        }
        for (at, pair) in pairs.iter_mut().enumerate() {
            let expected = all(&mut pair.theirs);
            let mut found = Vec::new();
            poll(WITHIN, || {
                found.append(&mut all(&mut pair.ours));
                (found.len() >= expected.len()).then_some(())
            });
            let (expected, found) = (in_order(expected), in_order(found));
            assert!(
                expected == found,
                "connection {at}: theirs {expected:?}, ours {found:?}; STRATA_PUBSUB_SEED={seed}\n{}",
                history.make_contiguous().join("\n")
            );
        }
    }
}

/// All that has come.
fn all(client: &mut Client) -> Vec<Reply> {
    std::iter::from_fn(|| client.read_if_there()).collect()
}

/// With the same message by several patterns in one order.
fn in_order(replies: Vec<Reply>) -> Vec<String> {
    let mut texts: Vec<String> = replies
        .into_iter()
        // Each server introduces itself.
        .map(|reply| match reply {
            Reply::Map(_) => "map".to_owned(),
            Reply::Array(items) if items.len() == 14 => "map".to_owned(),
            reply => reply.to_string(),
        })
        .collect();
    let is_by_pattern = |a: &String, b: &String| {
        a.contains("pmessage") && b.contains("pmessage") && message(a) == message(b)
    };
    texts.chunk_by_mut(is_by_pattern).for_each(<[String]>::sort);
    texts
}

/// The last word of a push.
fn message(push: &str) -> Option<&str> {
    push.rsplit(' ').next()
}

fn request(random: &mut Random, messages: &mut u64) -> Vec<String> {
    let line = random.pick(&[
        "SUBSCRIBE C",
        "SUBSCRIBE C C",
        "UNSUBSCRIBE C",
        "UNSUBSCRIBE C C",
        "PSUBSCRIBE P",
        "PSUBSCRIBE P P",
        "PUNSUBSCRIBE P",
        "SSUBSCRIBE C",
        "SUNSUBSCRIBE C",
        "PUBLISH C M",
        "PUBLISH C M",
        "PUBLISH C M",
        "PUBLISH C M",
        "PUBLISH C M",
        "PUBLISH C M",
        "SPUBLISH C M",
        "SPUBLISH C M",
        "MULTI",
        "EXEC",
        "EXEC",
        "DISCARD",
        "PING",
        "PING hello",
        "HELLO 3",
        "HELLO 3",
        "HELLO 2",
        "RESET",
        "GET k",
        "SET k M",
        "CLIENT REPLY OFF",
        "CLIENT REPLY ON",
        "CLIENT REPLY ON",
        "CLIENT REPLY SKIP",
        "PUBSUB NUMSUB C C",
        "PUBSUB NUMPAT",
        "PUBSUB SHARDNUMSUB C",
        "SUBSCRIBE",
        "NOSUCH x",
    ]);
    let word = |word: &str| match word {
        "C" => random.pick(&["a", "b", "ab", "abc"]).to_owned(),
        "P" => random
            .pick(&["*", "a*", "?", "a[bc]*", "ab", "b"])
            .to_owned(),
        "M" => {
            *messages += 1;
            format!("m{messages}")
        }
        word => word.to_owned(),
    };
    line.split(' ').map(word).collect()
}
