//! Commands that wait, and those who serve them: the same conversations of several clients with Redis and with Strata.
//!
//! A line is `A: GET k`, a request of client A and its reply; `A> BLPOP k 0`, a request that will wait; `A<`, the reply to
//! it; `A!`, its connection closes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::client::{Client, Reply};
use crate::server::{Redis, Server, Strata};

/// How long a server may take to have a client wait, or to notice that it is gone.
const PATIENCE: Duration = Duration::from_secs(5);

const CONVERSATIONS: &[&str] = &[
    // One who waits gets what comes, and the list is gone.
    "A> BLPOP k 0|B: RPUSH k a|A<|B: EXISTS k|A: PING",
    // Those who came first are served first, and each once.
    "A> BLPOP k 0|C> BRPOP k 0|D> BLPOP k 0|B: RPUSH k a b|A<|C<|B: EXISTS k|B: RPUSH k c d e|D<|B: LRANGE k 0 -1",
    // All that a command adds is there before the first who waits takes his.
    "A> BLPOP k 0|B: LPUSH k a b c|A<|B: LRANGE k 0 -1",
    // What is there is taken at once, from the first key that has any.
    "B: RPUSH k2 x|A: BLPOP k1 k2 0|B: EXISTS k2|A: BLPOP none 0.01|A: BRPOP none 0.01|A: BLMOVE none d LEFT LEFT 0.01",
    "A> BLPOP k1 k2 k3 0|B: RPUSH k2 x|A<|C> BLPOP k3 0|B: RPUSH k3 y|C<",
    // Another type does not serve, and refuses at once.
    "A> BLPOP k 0|B: SET k v|B: DEL k|B: SADD k m|B: DEL k|B: RPUSH k a|A<",
    "B: SET k v|A: BLPOP k 0|A: BLPOP none k 0|A: BZPOPMIN k 0|A: BLMOVE k d LEFT RIGHT 0",
    "A> BZPOPMIN k 0|C> BLPOP k 0|B: RPUSH k a|C<|B: ZADD k 1 m|A<",
    // Chains: what is moved serves the next.
    "A> BLMOVE a b LEFT RIGHT 0|C> BLMOVE b c LEFT RIGHT 0|D> BLPOP c 0|B: RPUSH a x|A<|C<|D<|B: EXISTS a b c",
    "A> BRPOPLPUSH a a 0|B: RPUSH a 1 2 3|A<|B: LRANGE a 0 -1",
    "A> BLMOVE a b LEFT LEFT 0|B: SET b v|B: RPUSH a x y|A<|B: LRANGE a 0 -1",
    // Streams: all who read get what comes, one of a group does.
    "A> XREAD BLOCK 0 STREAMS s $|C> XREAD BLOCK 0 COUNT 1 STREAMS t s 0 0|B: XADD s 5-1 a 1|A<|C<|A: XREAD BLOCK 5 STREAMS s $",
    "B: XGROUP CREATE s g $ MKSTREAM|A> XREADGROUP GROUP g ann BLOCK 0 STREAMS s >|C> XREADGROUP GROUP g bob BLOCK 0 STREAMS s >|B: XADD s 1-1 a 1|A<|B: XADD s 1-2 b 2|C<|B: XPENDING s g",
    "A: HELLO 3|A> XREAD BLOCK 0 STREAMS s 0|B: XADD s 1-1 a 1|A<|A: XREAD BLOCK -1 STREAMS s 0|A: XREAD BLOCK x STREAMS s 0",
    // Other ways to make a key.
    "A> BLPOP k 0|B: RPUSH o a b|B: RENAME o k|A<|C> BLPOP c 0|B: COPY k c|C<|B: LRANGE k 0 -1",
    "A> BLPOP k 0|B: SELECT 1|B: RPUSH k x|B: MOVE k 0|A<",
    "A: SELECT 3|A> BLPOP k 0|B: RPUSH k x|B: SWAPDB 0 3|A<|B: EXISTS k",
    "A> BZPOPMAX z 0|B: SADD s 1 2 3|B: ZUNIONSTORE z 1 s|A<|B: ZRANGE z 0 -1",
    // Several at a time.
    "A> BLMPOP 0 2 k1 k2 RIGHT COUNT 2|B: RPUSH k2 a b c|A<|B: LRANGE k2 0 -1",
    "A> BZMPOP 0 2 z1 z2 MAX COUNT 2|B: ZADD z2 1 a 2 b 3 c|A<|B: ZRANGE z2 0 -1|A: BZMPOP 0.01 1 none MIN",
    "A> BZPOPMIN z1 z2 0|B: ZADD z2 5 x 4 y|A<|A: BZPOPMAX z2 0|A: BZPOPMAX z2 0.01",
    "A: HELLO 3|A> BZPOPMIN z 0|B: ZADD z 1.5 x|A<|A: BLPOP none 0.01|A: BLMOVE none x LEFT LEFT 0.01",
    // What stands behind a command that waits, waits too.
    "A> BLPOP k 0|A> LLEN k|A> PING|B: RPUSH k a b|A<|A<|A<",
    // One who is gone takes nothing.
    "A> BLPOP k 0|C> BLPOP k 0|A!|B: RPUSH k a|C<|B: EXISTS k",
    "A> BLPOP k 0.05|A<|B: RPUSH k a|B: LRANGE k 0 -1",
    // Timeouts that are none.
    "A: BLPOP k -1|A: BLPOP k x|A: BLPOP k nan|A: BLMOVE a b LEFT UP 0",
    "A: BLMPOP -1 1 k LEFT|A: BLMPOP 0 0 k LEFT|A: BLMPOP 0 2 k LEFT|A: BLMPOP 0 1 k UP|A: BLMPOP 0 1 k LEFT COUNT 0|A: BZMPOP 0 1 k LEFT",
    "A: BLPOP k 0.0001|A: BZPOPMIN k 0.001|A: BLMPOP 0.01 1 k LEFT COUNT 3",
    // CLIENT REPLY SKIP is for the command that waits.
    "A> CLIENT REPLY SKIP|A> BLPOP k 0|A> PING|B: RPUSH k a|A<|B: EXISTS k",
];

/// What Redis 7.2 and later do, and 7.0 does not.
const NEWEST: &[&str] = &[
    "A: BLPOP k -1e400|A: BLPOP k x|A: BLPOP k 1e400|A: BLPOP k inf|A: BLPOP k nan|A: BLMOVE a b LEFT UP 0|A: BLPOP k 9223372036854775807",
    "A: WAIT 0 9223372036854775807|A: XREAD BLOCK 9223372036854775807 STREAMS s 0|A: BLPOP k 9223372036854775.807",
    "B: XGROUP CREATE s g $ MKSTREAM|A> XREADGROUP GROUP g ann BLOCK 0 STREAMS s >|B: XGROUP DESTROY s g|A<",
    "B: XGROUP CREATE s g $ MKSTREAM|A> XREADGROUP GROUP g ann BLOCK 0 STREAMS s >|C> XREAD BLOCK 0 STREAMS s $|B: DEL s|A<|B: XADD s 9-1 a 1|C<",
];

/// How many clients wait.
fn blocked(client: &mut Client) -> String {
    let info = client.run(&["INFO", "clients"]);
    let text = String::from_utf8_lossy(info.bytes().unwrap_or_default()).into_owned();
    let line = text
        .lines()
        .find(|line| line.starts_with("blocked_clients"));
    line.unwrap_or_default().to_owned()
}

fn wait_for_change(client: &mut Client, before: &str) {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline && blocked(client) == before {
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn converse(port: u16, conversation: &str) -> Vec<(String, Reply)> {
    let mut clients: BTreeMap<char, Client> = BTreeMap::new();
    let mut observer = Client::connect(port);
    observer.run(&["FLUSHALL"]);
    let mut replies = Vec::new();
    // What stands behind a waiting command changes nothing that could be waited for.
    let mut waiting: BTreeMap<char, usize> = BTreeMap::new();
    for line in conversation.split('|') {
        let name = line.chars().next().expect("a line names its client");
        let client = clients.entry(name).or_insert_with(|| Client::connect(port));
        let request: Vec<&str> = line[2..].split_whitespace().collect();
        match &line[1..2] {
            ":" => {
                client.set_timeout(PATIENCE);
                let reply = client.run(&request);
                // Versions and connection numbers are each server's own.
                if request[0] != "HELLO" {
                    replies.push((line.to_owned(), reply));
                }
            }
            ">" => {
                let before = blocked(&mut observer);
                client.send(&request);
                let queued = waiting.entry(name).or_default();
                if *queued == 0 && (request[0].starts_with('B') || request[0].starts_with('X')) {
                    wait_for_change(&mut observer, &before);
                }
                *queued += usize::from(request[0] != "CLIENT");
            }
            "<" => {
                client.set_timeout(PATIENCE);
                replies.push((line.to_owned(), client.read()));
                *waiting.entry(name).or_default() -= 1;
            }
            _ => {
                let before = blocked(&mut observer);
                clients.remove(&name);
                wait_for_change(&mut observer, &before);
            }
        }
    }
    replies
}

#[test]
fn conversations_of_several_equal_those_with_redis() {
    let newest = Redis::newest(&[]);
    let more = if newest.is_some() { NEWEST } else { &[] };
    let redis = newest.unwrap_or_else(|| Redis::start(&[]));
    let strata = Strata::start(&[]);
    for conversation in CONVERSATIONS.iter().chain(more) {
        let theirs = converse(redis.port(), conversation);
        let ours = converse(strata.port(), conversation);
        assert_eq!(theirs, ours, "{conversation}\nleft: redis, right: strata");
    }
}

#[test]
fn a_waiting_client_is_let_go() {
    let (redis, strata) = (Redis::start(&[]), Strata::start(&[]));
    let replies = [redis.port(), strata.port()].map(|port| {
        let (mut waiter, mut other) = (Client::connect(port), Client::connect(port));
        let id = waiter.run(&["CLIENT", "ID"]).int().expect("a number");
        let unblock = ["CLIENT", "UNBLOCK", &id.to_string(), "ERROR"].map(str::to_owned);
        let mut replies = vec![other.run(&unblock)];
        for reason in [&unblock[..3], &unblock[..]] {
            let before = blocked(&mut other);
            waiter.send(&["BLPOP", "k", "0"]);
            wait_for_change(&mut other, &before);
            replies.push(other.run(reason));
            replies.push(waiter.read());
        }
        // Killed while it waits, it takes nothing.
        let before = blocked(&mut other);
        waiter.send(&["BLPOP", "k", "0"]);
        wait_for_change(&mut other, &before);
        let before = blocked(&mut other);
        replies.push(other.run(&["CLIENT", "KILL", "ID", &id.to_string()]));
        wait_for_change(&mut other, &before);
        replies.push(other.run(&["RPUSH", "k", "a"]));
        replies.push(other.run(&["LLEN", "k"]));
        replies
    });
    assert_eq!(replies[0], replies[1], "left: redis, right: strata");
}

/// Many take what many put in: each element comes out once, whoever is served by whom.
#[test]
fn no_element_is_lost_or_given_twice() {
    const PRODUCERS: usize = 4;
    const EACH: usize = 2_000;
    let strata = Strata::start(&["--worker-threads", "3"]);
    let port = strata.port();
    let taken = std::thread::scope(|scope| {
        let takers: Vec<_> = (0..6)
            .map(|nth| {
                scope.spawn(move || {
                    let mut client = Client::connect(port);
                    let mut taken = Vec::new();
                    loop {
                        let reply = match nth % 3 {
                            0 => client.run(&["BLPOP", "other", "jobs", "2"]),
                            1 => client.run(&["BRPOP", "jobs", "2"]),
                            _ => client.run(&["BLMPOP", "2", "1", "jobs", "LEFT", "COUNT", "3"]),
                        };
                        let Some(items) = reply.items() else {
                            return taken;
                        };
                        let elements = match items[1].items() {
                            Some(elements) => elements.to_vec(),
                            None => vec![items[1].clone()],
                        };
                        taken.extend(elements.iter().map(|e| e.bytes().expect("text").to_vec()));
                    }
                })
            })
            .collect();
        for producer in 0..PRODUCERS {
            scope.spawn(move || {
                let mut client = Client::connect(port);
                for n in 0..EACH / 2 {
                    let (first, second) =
                        (format!("{producer}:{n}:a"), format!("{producer}:{n}:b"));
                    client.run(&["RPUSH", "jobs", &first, &second]);
                }
            });
        }
        let taken = takers
            .into_iter()
            .map(|taker| taker.join().expect("no panic"));
        taken.collect::<Vec<_>>().concat()
    });
    let mut different = taken.clone();
    different.sort();
    different.dedup();
    assert_eq!(
        (taken.len(), different.len()),
        (PRODUCERS * EACH, PRODUCERS * EACH)
    );
    assert_eq!(strata.connect().run(&["EXISTS", "jobs"]).int(), Some(0));
}

/// The lines of CLIENT LIST.
fn clients(observer: &mut Client) -> usize {
    let list = observer.run(&["CLIENT", "LIST"]);
    list.bytes()
        .unwrap_or_default()
        .split(|b| *b == b'\n')
        .count()
        - 1
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_client_that_closes_is_noticed_whatever_it_waits_for() {
    let strata = Strata::start(&["--enable-debug-command", "local"]);
    let mut observer = Client::connect(strata.port());
    let waits: [&[&str]; 5] = [
        &["WAIT", "1", "0"],
        &["BLPOP", "k", "0"],
        &["XREAD", "BLOCK", "0", "STREAMS", "s", "$"],
        &["WAIT", "1", "1000000000"],
        &["BZPOPMIN", "z", "0"],
    ];
    for request in waits {
        let before = blocked(&mut observer);
        let mut client = Client::connect(strata.port());
        client.send(request);
        wait_for_change(&mut observer, &before);
        assert_eq!(clients(&mut observer), 2, "{request:?}");
        drop(client);
        wait_until("the client is gone", || clients(&mut observer) == 1);
        assert_eq!(blocked(&mut observer), before);
    }
}

#[test]
fn a_client_that_closes_while_commands_are_held_back_has_them_not_run() {
    let strata = Strata::start(&[]);
    let mut observer = Client::connect(strata.port());
    for pause in [
        &["CLIENT", "PAUSE", "60000", "WRITE"][..],
        &["CLIENT", "PAUSE", "60000"],
    ] {
        observer.run(pause);
        let before = held_back(&strata);
        let mut client = Client::connect(strata.port());
        client.send_raw(b"SET k v\r\nSET l v\r\n");
        wait_until("it is held back", || held_back(&strata) != before);
        drop(client);
        wait_until("it is gone", || held_back(&strata) == before);
        observer.run(&["CLIENT", "UNPAUSE"]);
        wait_until("it is gone", || clients(&mut observer) == 1);
        assert_eq!(observer.run(&["EXISTS", "k", "l"]).int(), Some(0));
    }
}

/// What CLIENT LIST says of blocked clients, which runs in every pause.
fn held_back(strata: &Server) -> usize {
    let list = Client::connect(strata.port()).run(&["CLIENT", "LIST"]);
    let text = String::from_utf8_lossy(list.bytes().unwrap_or_default()).into_owned();
    text.matches(" flags=b ").count()
}

#[test]
fn wait_is_ended_by_unblock_as_in_redis() {
    let (redis, strata) = (Redis::start(&[]), Strata::start(&[]));
    let replies = [redis.port(), strata.port()].map(|port| {
        let (mut waiter, mut other) = (Client::connect(port), Client::connect(port));
        let id = waiter
            .run(&["CLIENT", "ID"])
            .int()
            .expect("a number")
            .to_string();
        let mut replies = Vec::new();
        for reason in ["TIMEOUT", "ERROR"] {
            let before = blocked(&mut other);
            waiter.send(&["WAIT", "1", "0"]);
            wait_for_change(&mut other, &before);
            replies.push(other.run(&["CLIENT", "UNBLOCK", &id, reason]));
            replies.push(waiter.read());
            replies.push(waiter.run(&["PING"]));
        }
        replies.push(waiter.run(&["WAIT", "1", "1"]));
        replies
    });
    assert_eq!(replies[0], replies[1], "left: redis, right: strata");
}
