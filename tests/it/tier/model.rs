//! Random commands against a naive model, with so little memory that keys go to disk and come back all the time.
//!
//! Each connection has keys of its own and a map that says what they hold. Between rounds all is quiet, and
//! DBSIZE and SCAN must agree with the maps at once, also where keys have just been set that are only on disk.

use std::thread;

use super::*;

const CONNECTIONS: usize = 4;
const KEYS: usize = 3_000;
const STEPS: usize = 3_000;
/// The clock of a command may lag behind ours so much, or be ahead.
const BLUR_MS: i64 = 30;

#[derive(Clone, Debug)]
struct Held {
    value: Vec<u8>,
    expires_at: Option<i64>,
}

struct Player {
    name: usize,
    random: Random,
    version: u64,
    held: HashMap<usize, Held>,
    /// Keys that expired; on disk they count until somebody looks.
    expired: Vec<usize>,
}

impl Player {
    fn key(&self, index: usize) -> String {
        format!("player{}:{index}", self.name)
    }

    /// Waits for the end of a key that has less time left than this, and forgets it.
    fn settle(&mut self, index: usize, less_ms: i64) {
        let Some(at) = self.held.get(&index).and_then(|held| held.expires_at) else {
            return;
        };
        let left = at - now_ms();
        if left < less_ms {
            if left + BLUR_MS > 0 {
                thread::sleep(Duration::from_millis((left + BLUR_MS).cast_unsigned()));
            }
            self.held.remove(&index);
            self.expired.push(index);
        }
    }

    fn step(&mut self, client: &mut Client) {
        let keys = if self.random.below(3) == 0 { 100 } else { KEYS };
        let index = self.random.index(keys);
        self.settle(index, 1_000);
        let key = self.key(index);
        let far = 99_999_999_999_000 + index as i64;
        let near = now_ms() + 1_100 + self.random.below(100).cast_signed();
        let (at, expires_at) = match self.random.below(8) {
            0 => (near.to_string(), Some(near)),
            1 | 2 => (far.to_string(), Some(far)),
            _ => (String::new(), None),
        };
        let held = self.held.get(&index).cloned();
        let exists = i64::from(held.is_some());
        self.version += 1;
        let bytes = [20, 200, 700, 1_400, 3_000][self.random.index(5)];
        let value = value(&key, self.version, bytes);
        let choice = self.random.below(16);
        match choice {
            0..=4 => {
                let mut set = vec![b"SET".to_vec(), key.clone().into(), value.clone()];
                if expires_at.is_some() {
                    set.extend([b"PXAT".to_vec(), at.into()]);
                }
                let reply = client.run(&set);
                assert!(reply.is_simple("OK"), "SET {key}: {reply}");
                self.held.insert(index, Held { value, expires_at });
            }
            5 | 6 => {
                assert_eq!(int(client, &["DEL", &key]), exists, "DEL {key}");
                self.held.remove(&index);
            }
            7 => {
                let (at, expires_at) =
                    expires_at.map_or((far.to_string(), Some(far)), |_| (at, expires_at));
                assert_eq!(
                    int(client, &["PEXPIREAT", &key, &at]),
                    exists,
                    "PEXPIREAT {key}"
                );
                if let Some(held) = self.held.get_mut(&index) {
                    held.expires_at = expires_at;
                }
            }
            8 => {
                // Numbers have keys of their own.
                let key = format!("number{}:{}", self.name, index % 300);
                let index = KEYS + index % 300;
                let before = self.held.get(&index).map_or(0, |held| {
                    String::from_utf8_lossy(&held.value)
                        .parse::<i64>()
                        .expect("a number")
                });
                assert_eq!(
                    int(client, &["INCRBY", &key, "7"]),
                    before + 7,
                    "INCRBY {key}"
                );
                let value = (before + 7).to_string().into_bytes();
                self.held.insert(
                    index,
                    Held {
                        value,
                        expires_at: None,
                    },
                );
            }
            9 => {
                let held = self.held.entry(index).or_insert(Held {
                    value: Vec::new(),
                    expires_at: None,
                });
                held.value.extend_from_slice(b"more");
                let length = held.value.len() as i64;
                assert_eq!(
                    int(client, &["APPEND", &key, "more"]),
                    length,
                    "APPEND {key}"
                );
            }
            10 => {
                let wanted = held
                    .as_ref()
                    .map_or(-2, |held| held.expires_at.unwrap_or(-1));
                assert_eq!(
                    int(client, &["PEXPIRETIME", &key]),
                    wanted,
                    "PEXPIRETIME {key}"
                );
            }
            11 => {
                assert_eq!(int(client, &["EXISTS", &key]), exists, "EXISTS {key}");
            }
            _ => {
                let reply = client.run(&["GET", &key]);
                let right = match &held {
                    None => reply == Reply::Nil,
                    Some(held) => reply.is_bulk(&held.value),
                };
                assert!(right, "GET {key}: {reply} for {held:?}");
            }
        }
    }

    /// A walk while others work: keys that stay are all seen.
    fn walk(&self, client: &mut Client) {
        let stays = |held: &Held| held.expires_at.is_none_or(|at| at > now_ms() + 20_000);
        let seen = scan(client, 200);
        for (&index, held) in &self.held {
            if index < KEYS && stays(held) {
                assert!(
                    seen.contains_key(&self.key(index)),
                    "SCAN misses {}",
                    self.key(index)
                );
            }
        }
        let prefix = format!("player{}:", self.name);
        for found in seen.keys().filter_map(|key| key.strip_prefix(&prefix)) {
            let index: usize = found.parse().expect("a number");
            assert!(
                self.held.contains_key(&index),
                "SCAN tells of {prefix}{index}, which is not"
            );
        }
    }

    /// Sets keys that are only on disk, or were deleted there, without a look at them.
    fn set_blindly(&mut self, client: &mut Client) {
        let some: Vec<_> = (0..200).map(|_| self.random.index(KEYS)).collect();
        let demote = ["TIER.DEMOTE".to_owned()];
        let demote = demote.into_iter().chain(some.iter().map(|&i| self.key(i)));
        int(client, &demote.collect::<Vec<_>>());
        let mut pairs = Vec::new();
        for index in some {
            self.version += 1;
            let value = value(&self.key(index), self.version, 100);
            pairs.push((self.key(index), value.clone()));
            let expires_at = None;
            self.held.insert(index, Held { value, expires_at });
        }
        set_all(client, pairs);
    }

    fn play(&mut self, port: u16) {
        let mut client = Client::connect(port);
        for step in 0..STEPS {
            self.step(&mut client);
            if step == STEPS / 2 {
                self.walk(&mut client);
            }
        }
        let brief = |held: &Held| held.expires_at.is_some_and(|at| at < now_ms() + 5_000);
        let brief: Vec<_> = self
            .held
            .iter()
            .filter(|(_, held)| brief(held))
            .map(|(&index, _)| index)
            .collect();
        for index in brief {
            self.settle(index, 10_000);
        }
        for index in std::mem::take(&mut self.expired) {
            let key = self.key(index);
            let reply = client.run(&["GET", &key]);
            assert_eq!(
                reply == Reply::Nil,
                !self.held.contains_key(&index),
                "{key}: {reply}"
            );
        }
    }
}

fn random_commands_agree_with_a_model(test: &str, args: &[&str]) {
    if Strata::is_oracle() {
        return;
    }
    let mut random = Random::new(test);
    let disk = Disk::new();
    let mut server = disk.start(args);
    let mut players: Vec<_> = (0..CONNECTIONS)
        .map(|name| Player {
            name,
            random: random.split(),
            version: 0,
            held: HashMap::new(),
            expired: Vec::new(),
        })
        .collect();
    for round in 0..count(2) {
        let port = server.port();
        thread::scope(|scope| {
            for player in &mut players {
                scope.spawn(move || player.play(port));
            }
        });
        let mut client = server.connect();
        let held = |players: &[Player]| players.iter().map(|player| player.held.len()).sum();
        assert_eq!(db_size(&mut client), held(&players), "round {round}");
        for turn in 0..10 {
            for player in &mut players {
                player.set_blindly(&mut client);
            }
            let what = format!("after blind SETs, round {round}, turn {turn}");
            assert_eq!(db_size(&mut client), held(&players), "{what}");
        }
        let held = held(&players);
        let seen = scan(&mut client, 500);
        assert_eq!(seen.len(), held, "SCAN after round {round}");
        assert!(seen.values().all(|&times| times == 1));
        if round % 2 == 1 {
            stop(server);
            server = disk.start(args);
            let mut client = server.connect();
            assert_eq!(db_size(&mut client), held, "after a restart");
        }
    }
    stop(server);
}

#[test]
#[ignore = "takes long and is random: run by hand, see docs/testing.md"]
fn random_commands_agree_with_a_model_in_everysec() {
    random_commands_agree_with_a_model("everysec", &["--maxmemory", "4mb"]);
}

#[test]
#[ignore = "takes long and is random: run by hand, see docs/testing.md"]
fn random_commands_agree_with_a_model_without_durability() {
    let args = &["--maxmemory", "4mb", "--tier-durability", "none"];
    random_commands_agree_with_a_model("none", args);
}

#[test]
#[ignore = "takes long and is random: run by hand, see docs/testing.md"]
fn random_commands_agree_with_a_model_while_values_are_compressed() {
    let args = &["--maxmemory", "6mb", "--memory-compression", "lz4"];
    random_commands_agree_with_a_model("compressed", args);
}
