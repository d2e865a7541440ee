//! What bad, slow, greedy and many clients may do to the server: nothing.
//!
//! | variable | means | default |
//! |---|---|---|
//! | `STRATA_ROBUST_COUNT` | malformed requests | 3,000 |
//! | `STRATA_ROBUST_SEED` | their seed, as printed | the time |
//! | `STRATA_ROBUST_IDLE` | idle connections | 2,000 |
//! | `STRATA_ROBUST_PIPELINE` | commands in one pipeline | 100,000 |
//! | `STRATA_BIG` | values of 512 MB, the largest | 32 MB |

use std::env;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::client::{Client, Reply, Shown, encode, encode_into, is_closed};
use crate::generator::Random;
use crate::server::{Redis, Server, Strata, poll};

const MB: u64 = 1024 * 1024;

/// How long another client may wait for its reply while the server is under strain.
const SERVED_WITHIN: Duration = Duration::from_secs(5);

#[test]
fn malformed_requests_are_answered_as_redis_answers_them() {
    let count = number_from_env("STRATA_ROBUST_COUNT", 3_000);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    let seed = number_from_env("STRATA_ROBUST_SEED", u64::from(now.subsec_nanos()));
    println!("STRATA_ROBUST_SEED={seed} STRATA_ROBUST_COUNT={count}");

    // Redis 8.10 sends a reply without its end before it closes for an inline request of 64 KiB.
    let (redis, strata) = (Redis::installed(&[]), Strata::start(&[]));
    let mut witness = strata.connect();
    let rss_before = strata.rss_bytes();
    let mut random = Random::new(seed);
    let fixed = fixed_malformed();
    for number in 0..count {
        let bytes = match usize::try_from(number)
            .ok()
            .and_then(|number| fixed.get(number))
        {
            Some(bytes) => bytes.clone(),
            None => malformed(&mut random),
        };
        let (theirs, ours) = (answer_to(&redis, &bytes), answer_to(&strata, &bytes));
        // A changed letter may name a command that only redis-server has.
        let is_unknown =
            |answer: &[u8]| memchr::memmem::find(answer, b"-ERR unknown command").is_some();
        if is_unknown(&ours) && !is_unknown(&theirs) {
            continue;
        }
        assert!(
            theirs == ours,
            "request {number} of seed {seed}: {}\n redis:  {}\n strata: {}",
            Shown(&bytes),
            Shown(&theirs),
            Shown(&ours)
        );
        if number % 50 == 0 {
            assert_served(&mut witness);
        }
    }
    assert_served(&mut witness);
    let growth = strata.rss_bytes().saturating_sub(rss_before);
    assert!(growth < 64 * MB, "resident memory grew by {growth} bytes");
}

/// All a server answers to `bytes`, the last on their connection, until it closes.
fn answer_to(server: &Server, bytes: &[u8]) -> Vec<u8> {
    let mut client = server.connect();
    // A server that has seen enough closes before all is sent.
    let sent = client.try_send_raw(bytes);
    assert!(
        sent.as_ref().err().is_none_or(is_closed),
        "{sent:?} on {}",
        Shown(bytes)
    );
    client.finish_sending();
    client
        .read_to_close()
        .unwrap_or_else(|error| panic!("{error} after {}", Shown(bytes)))
}

fn assert_served(client: &mut Client) {
    let started = Instant::now();
    let reply = client.run(&["PING"]);
    assert!(reply.is_simple("PONG"), "PING: {reply}");
    assert!(
        started.elapsed() < SERVED_WITHIN,
        "PING took {:?}",
        started.elapsed()
    );
}

/// The edges of the protocol, before the random ones.
fn fixed_malformed() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = [
        "\r\n",
        "\n",
        "   \r\n",
        "*\r\n",
        "*0\r\n",
        "*-1\r\n",
        "*-2\r\n",
        "*-99999999999\r\n",
        "*abc\r\n",
        "*1\r\n\r\n",
        "*1\r\n:1\r\n",
        "*1\r\nPING\r\n",
        "*1\r\n$-1\r\n",
        "*1\r\n$\r\n",
        "*1\r\n$abc\r\n",
        "*1\r\n$ 4\r\nPING\r\n",
        "*1\r\n$+4\r\nPING\r\n",
        "*1\r\n$04\r\nPING\r\n",
        "*01\r\n$4\r\nPING\r\n",
        "*+1\r\n$4\r\nPING\r\n",
        "*1 \r\n$4\r\nPING\r\n",
        "*1\r\n$4 \r\nPING\r\n",
        "* 1\r\n$4\r\nPING\r\n",
        "*1048577\r\n",
        "*1048576\r\n",
        "*2147483647\r\n",
        "*2147483648\r\n",
        "*9223372036854775807\r\n",
        "*9223372036854775808\r\n",
        "*1\r\n$536870912\r\n",
        "*1\r\n$536870913\r\n",
        "*1\r\n$2147483648\r\n",
        "*1\r\n$9223372036854775807\r\n",
        "*1\r\n$9223372036854775808\r\n",
        "*1\r\n$-2\r\n",
        "*1\r\n$4\nPING\r\n",
        "*1\n$4\r\nPING\r\n",
        "*1\r\n$4\r\nPINGxx",
        "*1\r\n$4\r\nPINGPING\r\n",
        "*1\r\n$3\r\nPING\r\n",
        "*1\r\n$5\r\nPING\r\n",
        "*1\r\n$0\r\n\r\n",
        "*2\r\n$4\r\nPING\r\n$0\r\n\r\n",
        "*1\r\n$4\r\nPING\r\n*",
        "PING\n",
        "PING\r\n",
        "PING",
        "ping  a\r\n",
        "ping \"a b\"\r\n",
        "ping \"a\\x41\\n\\r\\t\\a\\b\\\\\\\"\"\r\n",
        "ping 'a\\'b\\n'\r\n",
        "ping \"a\r\n",
        "ping 'a\r\n",
        "ping \"a\"b\r\n",
        "ping 'a'b\r\n",
        "ping a\"b\"\r\n",
        "ping a\"b c\"\r\n",
        "ping \"\"\r\n",
        "ping ''\r\n",
        "\"ping\"\r\n",
        "'ping' \"\\xzz\\x4\"\r\n",
        "ping \"a\\\r\n",
        "ping\ta\r\n",
        "ping\x0ba\r\n",
        " ping\r\n",
        "\tping \r\n",
        "+PING\r\n",
        "$4\r\nPING\r\n",
        ":1\r\n",
        "-ERR\r\n",
        "%1\r\n$1\r\na\r\n$1\r\nb\r\n",
        "~1\r\n$4\r\nPING\r\n",
        "_\r\n",
        "PING\r\r\n",
        "PING\0x\r\n",
        "\0\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST / HTTP/1.1\r\n\r\n",
        "PING\r\nHost: x\r\nPING\r\n",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    // Around the 64 KB that Redis grants to a line.
    for length in [65_535, 65_536, 65_537, 70_000] {
        all.push(vec![b'a'; length]);
        all.push([b"PING ", &vec![b'a'; length][..], b"\r\n"].concat());
        all.push([b"*", &vec![b'1'; length][..]].concat());
        all.push([b"*1\r\n$", &vec![b'1'; length][..]].concat());
    }
    // More arguments than fit one read, and more than Redis makes room for at once.
    all.push(encode(&vec!["EXISTS"; 3_000]));
    all.push([&encode(&vec!["EXISTS"; 3_000])[..], b"*1\r\n$x\r\n"].concat());
    all
}

/// A valid request, or a few, spoiled; or an inline one; or mere bytes.
fn malformed(random: &mut Random) -> Vec<u8> {
    match random.below(10) {
        0 => {
            let length = 1 + random.index(200);
            random.bytes(length)
        }
        1..3 => inline_garbage(random),
        _ => {
            let mut bytes = Vec::new();
            for _ in 0..1 + random.below(3) {
                let request = random.pick(REQUESTS);
                encode_into(&mut bytes, &request.split(' ').collect::<Vec<_>>());
            }
            for _ in 0..1 + random.below(3) {
                spoil(&mut bytes, random);
            }
            bytes
        }
    }
}

/// Commands whose replies depend on nothing but these commands.
#[rustfmt::skip]
const REQUESTS: &[&str] = &[
    "PING", "PING howdy", "ECHO howdy", "SET a 1", "GET a", "MGET a b c", "INCR n",
    "APPEND a xyz",
    "SET long 0123456789012345678901234567890123456789012345678901234567890123456789", "GET long",
    "DEL a n", "STRLEN a", "EXISTS a b", "GETRANGE long 3 -5", "SETBIT bits 77 1",
    "BITCOUNT bits", "TYPE a", "SETRANGE a 5 x", "OBJECT ENCODING a",
];

fn spoil(bytes: &mut Vec<u8>, random: &mut Random) {
    const LENGTHS: &[&str] = &[
        "-1",
        "-2",
        "0",
        "1",
        "2",
        "5",
        "99",
        "1000000",
        "1048577",
        "2147483648",
        "536870913",
        "",
        "x",
        "99999999999999999999",
        "1x",
        " 1",
        "-0",
        "00",
    ];
    if bytes.is_empty() {
        return;
    }
    let place = random.index(bytes.len());
    match random.below(8) {
        0 => bytes.truncate(place),
        1 => bytes[place] = random.next().to_le_bytes()[0],
        2 => {
            bytes.remove(place);
        }
        3 => bytes.insert(place, random.next().to_le_bytes()[0]),
        4 => bytes[place] = random.pick(b"*$\r\n-:+0123456789 \"'\\"),
        5 => bytes.splice(place.., *b"\r\n").for_each(drop),
        // Another number after a `*` or `$`.
        _ => {
            let marks: Vec<_> = (0..bytes.len())
                .filter(|&at| b"*$".contains(&bytes[at]))
                .collect();
            if marks.is_empty() {
                return;
            }
            let from = random.pick(&marks) + 1;
            let digits = bytes[from..]
                .iter()
                .take_while(|byte| byte.is_ascii_digit())
                .count();
            bytes
                .splice(from..from + digits, random.pick(LENGTHS).bytes())
                .for_each(drop);
        }
    }
}

fn inline_garbage(random: &mut Random) -> Vec<u8> {
    const PARTS: &[&[u8]] = &[
        b"PING", b"SET", b"GET", b" ", b" ", b"\"", b"'", b"\\", b"\\x4", b"\\x41", b"a", b"\0",
        b"\xff", b"\t", b"\r", b"\r\n", b"\n", b"ECHO ", b"\\\"", b"\\'", b"\"x\"", b"'y'",
    ];
    let mut bytes = Vec::new();
    for _ in 0..random.below(14) {
        bytes.extend_from_slice(random.pick(PARTS));
    }
    bytes.extend_from_slice(random.pick(&[&b"\r\n"[..], b"\r\n", b"\n", b""]));
    bytes
}

/// What is queued behind MULTI did not count where it was asked whether there is room for more.
#[test]
fn a_transaction_takes_no_more_memory_than_there_is() {
    let value = "x".repeat(MB as usize);
    for options in [
        &["--maxmemory-policy", "noeviction", "--tier-max-bytes", "0"][..],
        &["--tier-max-bytes", "0"],
        &[],
    ] {
        let strata = Strata::start(&[&["--maxmemory", "16mb"], options].concat());
        let mut client = strata.connect();
        assert!(client.run(&["MULTI"]).is_simple("OK"));
        let mut queued = 0;
        while client
            .run(&["SET", &format!("key:{queued}"), &value])
            .is_simple("QUEUED")
        {
            queued += 1;
            assert!(queued < 40, "{options:?}");
        }
        assert!(queued > 5, "{options:?}: {queued}");
        let told = client.run(&["EXEC"]).to_string();
        assert!(told.contains("EXECABORT"), "{options:?}: {told}");
        let mut other = strata.connect();
        assert!(other.run(&["SET", "k", "v"]).is_simple("OK"));
    }
}

#[test]
fn idle_connections_cost_little_and_give_it_back() {
    let count = number_from_env("STRATA_ROBUST_IDLE", 2_000);
    raise_file_limit(count + 500);
    let strata = Strata::start(&[]);
    let mut witness = strata.connect();
    witness.run(&["SET", "key", "value"]);
    let rss_before = strata.rss_bytes();

    let mut idle: Vec<Client> = Vec::new();
    for _ in 0..count {
        let mut client = strata.connect();
        assert_served(&mut client);
        idle.push(client);
    }
    let rss_open = strata.rss_bytes();
    for _ in 0..100 {
        assert!(witness.run(&["GET", "key"]).is_bulk(b"value"));
    }
    assert_served(&mut strata.connect());
    // Each of them is still a client, the oldest as well as the newest.
    for index in [0, idle.len() / 2, idle.len() - 1] {
        assert!(idle[index].run(&["GET", "key"]).is_bulk(b"value"));
    }
    drop(idle);

    let growth = rss_open.saturating_sub(rss_before);
    println!(
        "{count} idle connections: {} bytes each",
        growth / count.max(1)
    );
    // An allocator keeps freed pages for some seconds, and a few for ever.
    let allowed = rss_before + (growth / 2).max(16 * MB);
    let returned = poll(Duration::from_secs(30), || {
        (strata.rss_bytes() <= allowed).then_some(())
    });
    assert!(
        returned.is_some(),
        "resident memory: {rss_before} before, {rss_open} open, {} after",
        strata.rss_bytes()
    );
    assert_served(&mut witness);
}

#[test]
fn client_that_never_reads_cannot_fill_the_memory() {
    const VALUE_BYTES: usize = 1024 * 1024;
    const REQUESTS: usize = 1_000;
    let strata = Strata::start(&[]);
    let mut witness = strata.connect();
    let limit = [
        "CONFIG",
        "SET",
        "client-output-buffer-limit",
        "normal 64mb 64mb 10",
    ];
    let reply = witness.run(&limit);
    assert!(reply.is_simple("OK"), "{limit:?}: {reply}");
    assert!(
        witness
            .run(&[&b"SET"[..], b"large", &vec![b'x'; VALUE_BYTES]])
            .is_simple("OK")
    );
    let rss_before = strata.rss_bytes();

    let mut deaf = strata.connect();
    deaf.set_timeout(Duration::from_secs(3));
    let requests = encode(&["GET", "large"]).repeat(REQUESTS);
    let finished = AtomicBool::new(false);
    let peak = thread::scope(|scope| {
        let sender = scope.spawn(|| {
            // Not all may be taken: the server closes, or stops reading until we read.
            let sent = deaf.try_send_raw(&requests);
            finished.store(true, Ordering::Release);
            sent
        });
        // The server has had its chance when the rest is sent or refused, and it has answered
        // others for another second.
        let mut peak = 0;
        let mut rest: Option<Instant> = None;
        while rest.is_none_or(|end| Instant::now() < end) {
            peak = peak.max(strata.rss_bytes());
            assert_served(&mut witness);
            assert!(witness.run(&["STRLEN", "large"]).int().is_some());
            if rest.is_none() && finished.load(Ordering::Acquire) {
                rest = Some(Instant::now() + Duration::from_secs(1));
            }
        }
        let sent = sender.join().expect("the sender does not panic");
        println!("the client that never reads: sending ended with {sent:?}");
        peak
    });
    let growth = peak.saturating_sub(rss_before);
    println!("resident memory grew by {growth} bytes");
    assert!(
        growth < 256 * MB,
        "1 GB of replies to one client took {growth} bytes"
    );
    drop(deaf);
    assert_served(&mut witness);
    let returned = poll(Duration::from_secs(30), || {
        (strata.rss_bytes() < rss_before + 96 * MB).then_some(())
    });
    assert!(
        returned.is_some(),
        "{rss_before} before, {} after",
        strata.rss_bytes()
    );
}

#[test]
fn largest_value_goes_in_and_comes_out() {
    let length = if env::var_os("STRATA_BIG").is_some() {
        512 * MB
    } else {
        32 * MB
    };
    let length = usize::try_from(length).expect("fits");
    let strata = Strata::start(&["--maxmemory", "4gb"]);
    let mut client = strata.connect();
    let mut value: Vec<u8> = (0..=255).cycle().take(length).collect();
    value[length - 1] = b'!';
    let (mut replies, result) = client.pipeline(&encode(&[&b"SET"[..], b"big", &value]), 1);
    assert!(
        result.is_ok() && replies.pop().is_some_and(|reply| reply.is_simple("OK")),
        "{result:?}"
    );
    assert_eq!(
        client.run(&["STRLEN", "big"]).int(),
        i64::try_from(length).ok()
    );
    // Compared without printing 512 MB when they differ.
    assert!(
        client.run(&["GET", "big"]).is_bulk(&value),
        "the value has changed"
    );
    assert!(client.run(&["GETRANGE", "big", "-1", "-1"]).is_bulk(b"!"));
    assert_eq!(client.run(&["DEL", "big"]), Reply::Int(1));
    assert_served(&mut strata.connect());
}

#[test]
fn long_pipeline_is_answered_in_order() {
    let count = number_from_env("STRATA_ROBUST_PIPELINE", 100_000);
    let strata = Strata::start(&[]);
    let mut bytes = Vec::new();
    for number in 0..count {
        match number % 3 {
            0 => encode_into(&mut bytes, &["SET", "key", &number.to_string()]),
            1 => encode_into(&mut bytes, &["GET", "key"]),
            _ => encode_into(&mut bytes, &["ECHO", &number.to_string()]),
        }
    }
    let mut client = strata.connect();
    let (replies, result) = client.pipeline(&bytes, usize::try_from(count).expect("fits"));
    assert!(result.is_ok(), "{result:?} after {} replies", replies.len());
    for (number, reply) in (0_u64..).zip(&replies) {
        let right = match number % 3 {
            0 => reply.is_simple("OK"),
            1 => reply.is_bulk((number - 1).to_string().as_bytes()),
            _ => reply.is_bulk(number.to_string().as_bytes()),
        };
        assert!(right, "reply {number}: {reply}");
    }
    assert_served(&mut client);
}

#[test]
fn half_a_request_is_dropped_when_its_connection_closes() {
    let strata = Strata::start(&[]);
    let request = encode(&["SET", "half", "value"]);
    for length in 0..request.len() {
        let mut client = strata.connect();
        client.send_raw(&request[..length]);
        client.finish_sending();
        let answer = client.read_to_close().expect("the server closes");
        assert!(answer.is_empty(), "{length} bytes: {}", Shown(&answer));
    }
    assert_eq!(strata.connect().run(&["EXISTS", "half"]), Reply::Int(0));
}

#[test]
fn request_may_come_byte_by_byte() {
    let strata = Strata::start(&[]);
    let mut client = strata.connect();
    let request = encode(&["SET", "slow", "va\r\nlue"]);
    let (head, tail) = request.split_at(request.len() / 2);
    client.send_raw(head);
    assert_served(&mut strata.connect());
    for byte in tail {
        client.send_raw(&[*byte]);
    }
    assert!(client.read().is_simple("OK"));
    for byte in b"GET slow\r\nPING\n" {
        client.send_raw(&[*byte]);
    }
    assert!(client.read().is_bulk(b"va\r\nlue"));
    assert!(client.read().is_simple("PONG"));
}

fn number_from_env(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| {
        text.replace('_', "")
            .parse()
            .unwrap_or_else(|_| panic!("{name}={text} is not a number"))
    })
}

/// Lets this process, and the servers it starts from now on, open that many files. `prlimit` does
/// it from outside, because the system call needs unsafe code.
fn raise_file_limit(files: u64) {
    let own = std::process::id().to_string();
    let limit = format!("--nofile={}:", files.max(4_096) + 1_000);
    let show = [
        "--pid",
        &own,
        "--nofile",
        "--noheadings",
        "--raw",
        "--output=SOFT",
    ];
    let soft = Command::new("prlimit")
        .args(show)
        .output()
        .expect("run prlimit, of util-linux");
    let soft = String::from_utf8_lossy(&soft.stdout)
        .trim()
        .parse()
        .unwrap_or(0_u64);
    if soft < files + 1_000 {
        let status = Command::new("prlimit")
            .args(["--pid", &own, &limit])
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "prlimit {limit} failed: raise `ulimit -n`"
        );
    }
}

#[test]
fn a_reply_beyond_the_output_limit_closes_its_client() {
    for server in [Redis::start(&[]), Strata::start(&[])] {
        let mut client = server.connect();
        client.run(&[
            "CONFIG",
            "SET",
            "client-output-buffer-limit",
            "normal 100000 0 0",
        ]);
        // Between those Redis 7.0 does not count the first 16 KB of a reply, and Redis 8.10, which does not copy long values, does.
        for (bytes, is_closed) in [(90_000, false), (151_000, true)] {
            let value = "x".repeat(bytes);
            client.run(&["SET", "k", &value]);
            let mut other = server.connect();
            assert_eq!(other.try_run(&["GET", "k"]).is_err(), is_closed, "{bytes}");
        }
        assert_eq!(client.run(&["STRLEN", "k"]).int(), Some(151_000));
    }
}

#[test]
fn the_client_for_whom_most_is_kept_goes_at_once() {
    let strata = Strata::start(&["--maxmemory-clients", "1mb"]);
    let mut witness = strata.connect();
    let mut large = strata.connect();
    // A request of which the end never comes.
    large.send_raw(b"*2\r\n$4\r\nECHO\r\n$4000000\r\n");
    let part = vec![b'x'; 64 * 1024];
    let closed = (0..60).any(|_| large.try_send_raw(&part).is_err());
    // What was sent in vain resets the connection.
    let end = large.read_to_close();
    assert!(
        closed || end.as_ref().err().is_none_or(is_closed),
        "{end:?}"
    );
    let stats = witness.run(&["INFO", "stats"]);
    let stats = String::from_utf8_lossy(stats.bytes().unwrap_or_default()).into_owned();
    assert!(stats.contains("evicted_clients:1\r\n"), "{stats}");
    assert_served(&mut witness);
}

/// Where sending failed its bytes stayed in a buffer of the thread, and the next client of the thread got them.
#[test]
fn replies_that_a_closed_client_did_not_take_reach_nobody_else() {
    let limit = "--client-output-buffer-limit=normal 200kb 0 0";
    let strata = Strata::start(&[limit]);
    let port = strata.port();
    let connect = || {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
        let patience = Some(Duration::from_secs(20));
        stream.set_read_timeout(patience).expect("a timeout");
        stream
    };
    let mut client = strata.connect();
    client.run(&["SET", "long", &"l".repeat(100_000)]);
    client.run(&["SET", "short", &"s".repeat(1000)]);
    let requests = ["ECHO secret\r\n", "GET short\r\n", "GET long\r\n"];
    for round in 0..600 {
        let closed = connect();
        let request = requests[round % requests.len()];
        let sent = (&closed).write_all(request.repeat(1 + round % 30).as_bytes());
        sent.expect("a new connection takes it");
        // With a reset, so that sending to it fails.
        let socket = socket2::SockRef::from(&closed);
        socket.set_linger(Some(Duration::ZERO)).expect("a socket");
        drop(closed);
        // One for each thread.
        for mut other in [connect(), connect()] {
            other.write_all(b"PING\r\n").expect("it is open");
            let mut reply = [0; 7];
            other.read_exact(&mut reply).expect("a reply");
            assert_eq!(&reply, b"+PONG\r\n", "round {round}");
        }
    }
}
