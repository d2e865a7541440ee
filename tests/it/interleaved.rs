//! Several connections at once, the same random steps to another server and to Strata: transactions with watched keys, blocking
//! pops inside and outside of them, scripts, and whoever is served by whom.
//!
//! One step is one request of one connection, chosen by the seed. Behind each step both servers are asked for a PING over a
//! connection of its own, by which all that the step has set off is there: who waits and is served by then on one server must be
//! served on the other one, with the same reply. Who waits, waits for one key: with several Redis 7.2 and later run the command again
//! from its first key, Strata serves from the key that was written, as Redis 7.0 does. SWAPDB is left out: who waits for a key that may be on
//! disk then looks again a moment later.
//!
//! | variable | means | default |
//! |---|---|---|
//! | `STRATA_INTERLEAVED_SEED` | the seed, as printed by a run | always the same |
//! | `STRATA_INTERLEAVED_COUNT` | steps per run | 6,000 |

use std::collections::VecDeque;
use std::env;
use std::time::Duration;

use crate::client::{Client, Reply};
use crate::differences::Other;
use crate::generator::Random;
use crate::server::{Server, Strata, poll};

const CONNECTIONS: usize = 5;
const COUNT: u64 = 6_000;
const SEED: u64 = 20_261_130;
/// Who waits on the other server must be served on Strata within this time, and who is not there not on Strata either.
const SERVED_WITHIN: Duration = Duration::from_secs(5);
/// So many steps before the one that differs are shown.
const SHOWN: usize = 60;

const KEYS: [&str; 4] = ["a", "b", "c", "d"];

#[test]
fn connections_side_by_side_are_answered_as_by_redis() {
    run(Other::REDIS, &[]);
}

#[test]
fn connections_side_by_side_are_answered_as_by_valkey() {
    run(Other::Valkey9, &[]);
}

/// So little memory that keys go to the disk and come back all the time.
#[test]
fn connections_side_by_side_are_answered_as_by_redis_over_a_disk() {
    run(
        Other::REDIS,
        &["--tier-max-bytes", "256mb", "--maxmemory", "3mb"],
    );
}

/// Both servers' ends of one connection.
struct Pair {
    theirs: Client,
    ours: Client,
    /// Their numbers on the two servers.
    ids: [String; 2],
    /// Whether it has sent MULTI, and not what ends that.
    queues: bool,
    /// Whether the last request is not answered yet.
    waits: bool,
}

struct Run {
    other: Other,
    seed: u64,
    random: Random,
    pairs: Vec<Pair>,
    inspector: Pair,
    history: VecDeque<String>,
    spills: bool,
}

fn connect(theirs: &Server, ours: &Server) -> Pair {
    let (mut theirs, mut ours) = (theirs.connect(), ours.connect());
    let ids = [&mut theirs, &mut ours].map(|client| match client.run(&["CLIENT", "ID"]) {
        Reply::Int(id) => id.to_string(),
        other => panic!("CLIENT ID: {other}"),
    });
    Pair {
        theirs,
        ours,
        ids,
        queues: false,
        waits: false,
    }
}

fn run(other: Other, options: &[&str]) {
    let number = |name| {
        env::var(name)
            .ok()
            .map(|text| text.parse().expect("a number"))
    };
    let seed = number("STRATA_INTERLEAVED_SEED").unwrap_or(SEED);
    let count = number("STRATA_INTERLEAVED_COUNT").unwrap_or(COUNT);
    println!("STRATA_INTERLEAVED_SEED={seed} STRATA_INTERLEAVED_COUNT={count}");
    let Some((other, theirs)) = other.start(&[]) else {
        return;
    };
    let dir = crate::server::Scratch::new();
    let mut args = options.to_vec();
    if !options.is_empty() {
        args.extend(["--tier-dir", dir.as_str()]);
    }
    let ours = Strata::start(&args);
    let mut run = Run {
        other,
        seed,
        random: Random::new(seed),
        pairs: (0..CONNECTIONS).map(|_| connect(&theirs, &ours)).collect(),
        inspector: connect(&theirs, &ours),
        history: VecDeque::new(),
        spills: !options.is_empty(),
    };
    if run.spills {
        run.fill_memory();
    }
    for _ in 0..count {
        run.step();
    }
    run.compare_keys();
}

impl Run {
    /// Memory is full of others' keys in another database, so that those of the test are moved.
    fn fill_memory(&mut self) {
        let value = "x".repeat(500);
        let ours = &mut self.inspector.ours;
        ours.run(&["SELECT", "9"]);
        for i in 0..12_000 {
            ours.run(&["SET", &format!("fill:{i}"), &value]);
        }
        ours.run(&["SELECT", "0"]);
    }

    fn step(&mut self) {
        let (waiting, free): (Vec<usize>, Vec<usize>) =
            (0..self.pairs.len()).partition(|&at| self.pairs[at].waits);
        if waiting.len() > 2 && self.random.percent(20) {
            return self.unblock(&waiting);
        }
        // Somebody must be there to write.
        let at = match free[..] {
            [only] => only,
            _ => self.random.pick(&free),
        };
        let args = match free.len() {
            1 => self.write(),
            _ => self.request(),
        };
        // Valkey has its own words for these, and the transaction is broken then.
        if self.pairs[at].queues && matches!(&*args[0], "MULTI" | "WATCH") {
            return;
        }
        // It does not serve who waits for a key that SORT makes a list of a string; Redis 8.10 does, and Strata.
        if self.other == Other::Valkey9 && args[0] == "SORT" && args.len() > 3 {
            return;
        }
        let line = format!("{at}: {}", args.join(" "));
        if self.history.len() == SHOWN {
            self.history.pop_front();
        }
        self.history.push_back(line);
        let pair = &mut self.pairs[at];
        pair.queues = match &*args[0] {
            "MULTI" => true,
            "EXEC" | "DISCARD" | "RESET" => false,
            _ => pair.queues,
        };
        pair.theirs.send(&args);
        pair.ours.send(&args);
        pair.waits = true;
        let may_wait = args[0].starts_with('B') || args[0] == "XREAD";
        if !may_wait || pair.queues {
            // Redis 8.10 answers FLUSHDB when another thread has freed the keys.
            pair.theirs.wait_for_more();
        }
        if self.spills && self.random.percent(30) {
            let fill = format!("fill:{}", self.random.below(12_000));
            self.inspector.ours.run(&["SELECT", "9"]);
            self.inspector.ours.run(&["GET", &fill]);
            self.inspector.ours.run(&["SELECT", "0"]);
        }
        self.settle();
        if self.pairs[at].waits {
            self.wait_until_it_waits(at);
        }
    }

    /// A key may have to come from the disk first, and others may change it until then.
    fn wait_until_it_waits(&mut self, at: usize) {
        let id = self.pairs[at].ids[1].clone();
        let waits = poll(SERVED_WITHIN, || {
            let line = self.inspector.ours.run(&["CLIENT", "LIST", "ID", &id]);
            line.to_string().contains(" flags=b ").then_some(())
        });
        if waits.is_none() {
            self.differ(at, "waits", "does not wait");
        }
    }

    /// Ends the wait of one who waits.
    fn unblock(&mut self, waiting: &[usize]) {
        let at = self.random.pick(waiting);
        let how = self.random.pick(&["TIMEOUT", "ERROR"]);
        self.history.push_back(format!("{at}: is unblocked, {how}"));
        let ids = &self.pairs[at].ids;
        let unblock =
            |client: &mut Client, id: &str| client.run(&["CLIENT", "UNBLOCK", id, how]).to_string();
        let theirs = unblock(&mut self.inspector.theirs, &ids[0]);
        let ours = unblock(&mut self.inspector.ours, &ids[1]);
        if theirs != ours {
            self.differ(at, &theirs, &ours);
        }
        self.settle();
    }

    /// Compares all replies that have come.
    fn settle(&mut self) {
        // The first may be read before the step's request, which came at the same time.
        for _ in 0..2 {
            assert!(self.inspector.theirs.run(&["PING"]).is_simple("PONG"));
            assert!(self.inspector.ours.run(&["PING"]).is_simple("PONG"));
        }
        let mut served: Vec<(usize, Reply)> = Vec::new();
        for (at, pair) in self
            .pairs
            .iter_mut()
            .enumerate()
            .filter(|(_, pair)| pair.waits)
        {
            if let Some(reply) = pair.theirs.read_if_there() {
                served.push((at, reply));
            }
        }
        for (at, theirs) in served {
            let pair = &mut self.pairs[at];
            let ours = poll(SERVED_WITHIN, || pair.ours.read_if_there());
            pair.waits = false;
            let ours = ours.map_or_else(|| "nothing".to_owned(), |reply| reply.to_string());
            if ours != theirs.to_string() {
                self.differ(at, &theirs.to_string(), &ours);
            }
        }
        for at in 0..self.pairs.len() {
            if self.pairs[at].waits
                && let Some(reply) = self.pairs[at].ours.read_if_there()
            {
                self.differ(at, "nothing", &reply.to_string());
            }
        }
    }

    fn differ(&self, at: usize, theirs: &str, ours: &str) -> ! {
        let history: Vec<&str> = self.history.iter().map(String::as_str).collect();
        panic!(
            "connection {at}: theirs {theirs}, ours {ours}; STRATA_INTERLEAVED_SEED={}\n{}",
            self.seed,
            history.join("\n")
        );
    }

    fn key(&mut self) -> String {
        self.random.pick(&KEYS).to_owned()
    }

    fn line(&mut self, words: &str) -> Vec<String> {
        let words: Vec<&str> = words.split(' ').collect();
        let word = |word: &str| match word {
            "K" => self.key(),
            "N" => self.random.below(5).to_string(),
            word => word.to_owned(),
        };
        words.into_iter().map(word).collect()
    }

    fn write(&mut self) -> Vec<String> {
        let line = self.random.pick(&[
            "RPUSH K N",
            "RPUSH K N N N",
            "LPUSH K N",
            "SET K N",
            "DEL K",
            "DEL K K",
            "ZADD K N N",
            "SADD K N",
            "XADD K * f v",
            "RENAME K K",
            "EXPIRE K 1000",
            "PERSIST K",
            "APPEND K N",
            "INCR K",
            "FLUSHDB",
            "COPY K K REPLACE",
            "COPY K K DB 1",
            "MOVE K 1",
            "LMOVE K K LEFT RIGHT",
            "SORT K ALPHA STORE K",
        ]);
        // Its id would tell the time.
        match line {
            "XADD K * f v" => {
                let id = self.history.len() as u64 + self.random.below(1 << 40);
                let line = format!("XADD K {id}-1 f v");
                self.line(&line)
            }
            line => self.line(line),
        }
    }

    /// Scripts with keys that they tell of and with others. Valkey's errors have other words around them, so none is raised.
    fn script(&mut self) -> Vec<String> {
        let script = self.random.pick(&[
            "return redis.pcall('rpush', KEYS[1], ARGV[1])",
            "return redis.pcall('lpop', KEYS[1])",
            "return {redis.pcall('get', KEYS[1]), redis.pcall('type', 'a')}",
            "redis.pcall('set', KEYS[1], ARGV[1]) return redis.pcall('rpush', 'b', 1, 2)",
            "local v = redis.pcall('lpop', 'c') if type(v) == 'string' then redis.pcall('rpush', 'd', v) end return v",
            "for _, k in ipairs({'a', 'b', 'c', 'd'}) do redis.pcall('del', k) end return redis.pcall('dbsize')",
            "redis.pcall('rpush', 'a', 1) redis.pcall('rename', 'a', KEYS[1]) return redis.pcall('llen', KEYS[1])",
            "redis.pcall('expire', KEYS[1], 1000) return redis.pcall('blpop', KEYS[1], 0)",
            "return redis.pcall('exists', 'a', 'b', 'c', 'd')",
        ]);
        let (key, value) = (self.key(), self.random.below(5).to_string());
        ["EVAL", script, "1", &key, &value]
            .map(str::to_owned)
            .into()
    }

    fn request(&mut self) -> Vec<String> {
        if self.random.percent(40) {
            return self.write();
        }
        if self.random.percent(15) {
            return self.script();
        }
        let line = self.random.pick(&[
            "MULTI",
            "MULTI",
            "MULTI",
            "EXEC",
            "EXEC",
            "EXEC",
            "EXEC",
            "DISCARD",
            "WATCH K",
            "WATCH K K",
            "WATCH K",
            "UNWATCH",
            "RESET",
            "NOSUCH x",
            "SET K",
            "GET K",
            "MGET K K K",
            "TYPE K",
            "EXISTS K K",
            "LLEN K",
            "LRANGE K 0 -1",
            "DBSIZE",
            "SELECT 0",
            "SELECT 1",
            "SELECT 0",
            "BLPOP K 0",
            "BRPOP K 0",
            "BLMOVE K K LEFT RIGHT 0",
            "BLMPOP 0 1 K LEFT COUNT 2",
            "BZPOPMIN K 0",
            "XREAD BLOCK 0 STREAMS K $",
            "SORT K ALPHA",
            "ZRANGE K 0 -1",
        ]);
        self.line(line)
    }

    fn compare_keys(&mut self) {
        for db in ["0", "1"] {
            let Pair { theirs, ours, .. } = &mut self.inspector;
            theirs.run(&["SELECT", db]);
            ours.run(&["SELECT", db]);
            for key in KEYS {
                let ask = ["DEBUG", "DIGEST-VALUE", key];
                let (theirs, ours) = (theirs.run(&ask), ours.run(&ask));
                if theirs.to_string() != ours.to_string() {
                    self.differ(0, &theirs.to_string(), &ours.to_string());
                }
            }
        }
    }
}
