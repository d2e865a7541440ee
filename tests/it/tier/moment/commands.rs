//! What the writers of a kill test do: random commands whose effect does not depend on when they run.
//!
//! A writer's keys carry its name, and only it changes them, so the commands of two writers commute. Databases 0 and
//! 1 are everybody's, three more are each writer's own: it alone swaps, flushes and fills them. A command is run
//! again later, on a server that never ends, to learn what it leaves. So ids of streams are chosen here, nothing is
//! drawn, and a time that comes during the test is given only together with the whole value that it ends.

use super::*;

/// Everybody has keys here; they are swapped and flushed only while all writers wait.
pub(super) const SHARED: [u8; 2] = [0, 1];
/// What says how far each writer has come.
pub(super) const MARKS: u8 = 15;
const OWN_EACH: u8 = 3;
/// The longest field expiry is 70,368,744,177,663.
const FAR_FIELD_MS: u64 = 70_368_744_177_000;
const FAR_MS: u64 = 99_999_999_000_000;

/// A request, and the keys that it may change; none for what changes a whole database.
#[derive(Clone)]
pub(super) struct Command {
    pub(super) db: u8,
    pub(super) args: Vec<Vec<u8>>,
    pub(super) touched: Option<Vec<(u8, Vec<u8>)>>,
}

impl Command {
    pub(super) fn new(db: u8, words: &[&str], touched: &[(u8, &str)]) -> Self {
        let keys = touched
            .iter()
            .map(|(db, key)| (*db, key.as_bytes().to_vec()));
        Self {
            db,
            args: words.iter().map(|word| word.as_bytes().to_vec()).collect(),
            touched: Some(keys.collect()),
        }
    }

    /// One that changes whole databases.
    pub(super) fn wide(db: u8, words: &[&str]) -> Self {
        Self {
            touched: None,
            ..Self::new(db, words, &[])
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}]", self.db)?;
        for arg in &self.args {
            let text = String::from_utf8_lossy(arg);
            write!(f, " {}", text.chars().take(60).collect::<String>())?;
        }
        Ok(())
    }
}

/// What is done how often.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mix {
    /// Only commands whose effect is the same on a key that was evicted.
    pub(super) blind: bool,
    /// Of a thousand commands, those that swap or flush a database of one's own.
    pub(super) wide_per_mille: u64,
    /// Names of cold strings, in each database.
    pub(super) cold: u64,
    pub(super) value_bytes_max: u64,
}

/// Chooses the commands of one writer.
pub(super) struct Chooser {
    pub(super) writer: u8,
    pub(super) random: Random,
    pub(super) mix: Mix,
}

impl Chooser {
    fn own(&mut self) -> u8 {
        2 + self.writer * OWN_EACH + self.random.below(u64::from(OWN_EACH)) as u8
    }

    fn db(&mut self) -> u8 {
        if self.random.below(5) < 2 {
            SHARED[self.random.index(2)]
        } else {
            self.own()
        }
    }

    /// A key of a kind. A few of each, so that commands meet.
    fn key(&mut self, kind: &str) -> String {
        format!("w{}:{kind}:{}", self.writer, self.random.below(10))
    }

    fn value(&mut self, key: &str, index: u64) -> String {
        let bytes = 40 + self.random.below(self.mix.value_bytes_max) as usize;
        String::from_utf8(value(key, index, bytes)).expect("text")
    }

    /// A time that comes while the test runs, or soon after a kill.
    fn soon(&mut self) -> String {
        (now_ms() + 100 + self.random.below(5_000).cast_signed()).to_string()
    }

    /// The next command, or two; `index` is in no other command of this writer.
    pub(super) fn choose(&mut self, index: u64) -> Vec<Command> {
        if self.random.below(1_000) < self.mix.wide_per_mille {
            return vec![self.wide()];
        }
        if self.mix.blind {
            return vec![self.blind(index)];
        }
        match self.random.below(20) {
            0..=6 => vec![self.blind(index)],
            7..=8 => vec![self.string(index)],
            9 => vec![self.list(index)],
            10..=11 => vec![self.hash(index)],
            12 => vec![self.set(index)],
            13 => vec![self.sorted_set(index)],
            14 => vec![self.stream(index)],
            15..=17 => vec![self.whole_key(index)],
            18 => self.dying(index),
            _ => vec![self.large(index)],
        }
    }

    fn wide(&mut self) -> Command {
        let (one, other) = (self.own(), self.own());
        match self.random.below(3) {
            0 => Command::wide(one, &["FLUSHDB"]),
            _ => Command::wide(one, &["SWAPDB", &one.to_string(), &other.to_string()]),
        }
    }

    /// Strings as a whole.
    fn blind(&mut self, index: u64) -> Command {
        let db = self.db();
        let name = self.random.below(self.mix.cold);
        let key = format!("w{}:cold:{name}", self.writer);
        let value = self.value(&key, index);
        match self.random.below(12) {
            0 => {
                let keys: Vec<_> = (0..=self.random.below(6))
                    .map(|i| format!("w{}:cold:{}", self.writer, (name + i) % self.mix.cold))
                    .collect();
                let values: Vec<_> = keys.iter().map(|key| self.value(key, index)).collect();
                let mut words = vec!["MSET"];
                for (key, value) in keys.iter().zip(&values) {
                    words.extend([key.as_str(), value.as_str()]);
                }
                let touched: Vec<_> = keys.iter().map(|key| (db, key.as_str())).collect();
                Command::new(db, &words, &touched)
            }
            1 => Command::new(db, &["DEL", &key], &[(db, &key)]),
            2 => {
                // Always the whole value with its time, under a name for this.
                let key = self.key("soon");
                let soon = self.soon();
                Command::new(db, &["SET", &key, &value, "PXAT", &soon], &[(db, &key)])
            }
            3 => {
                let far = (FAR_MS + index % 1_000).to_string();
                Command::new(db, &["SET", &key, &value, "PXAT", &far], &[(db, &key)])
            }
            _ => Command::new(db, &["SET", &key, &value], &[(db, &key)]),
        }
    }

    fn string(&mut self, index: u64) -> Command {
        let db = self.db();
        let (key, number) = (self.key("string"), self.key("number"));
        let text = format!("{index},");
        let on = [(db, key.as_str()), (db, number.as_str())];
        let words: &[&str] = match self.random.below(8) {
            0 => &["SET", &key, &text],
            1 => &["INCR", &number],
            2 => &["INCRBYFLOAT", &number, "0.5"],
            3 => &["SETRANGE", &key, "20", &text],
            4 => &["SETBIT", &key, "90", "1"],
            5 => &["GETDEL", &key],
            6 => &["PFADD", &format!("w{}:pf:1", self.writer), &text],
            _ => &["APPEND", &key, &text],
        };
        let pf = format!("w{}:pf:1", self.writer);
        Command::new(db, words, &[on[0], on[1], (db, &pf)])
    }

    fn list(&mut self, index: u64) -> Command {
        let db = self.db();
        let (key, other) = (self.key("list"), self.key("list"));
        let value = self.value(&key, index);
        let words: &[&str] = match self.random.below(9) {
            0 => &["LPUSH", &key, &value],
            1 => &["LPOP", &key, "2"],
            2 => &["LSET", &key, "0", &value],
            3 => &["LTRIM", &key, "0", "9"],
            4 => &["LMOVE", &key, &other, "LEFT", "RIGHT"],
            5 => &["LREM", &key, "1", &value],
            _ => &["RPUSH", &key, &value, "short"],
        };
        Command::new(db, words, &[(db, &key), (db, &other)])
    }

    fn hash(&mut self, index: u64) -> Command {
        let db = self.db();
        let (key, fading) = (self.key("hash"), self.key("fading"));
        let field = format!("f{}", self.random.below(12));
        let value = self.value(&key, index);
        let far = (FAR_FIELD_MS + index % 600).to_string();
        let soon = self.soon();
        let words: &[&str] = match self.random.below(12) {
            0 => &["HDEL", &key, &field],
            1 => &["HINCRBY", &key, "n", "1"],
            2..=3 => &["HPEXPIREAT", &key, &far, "FIELDS", "1", &field],
            4 => &["HPERSIST", &key, "FIELDS", "1", &field],
            // Always value and time together, in hashes for this.
            5..=6 => &[
                "HSETEX", &fading, "PXAT", &soon, "FIELDS", "1", &field, &value,
            ],
            7 => &["HSET", &fading, &field, &value],
            8 => &["HDEL", &fading, &field],
            _ => &["HSET", &key, &field, &value, "n", "1"],
        };
        Command::new(db, words, &[(db, &key), (db, &fading)])
    }

    fn set(&mut self, index: u64) -> Command {
        let db = self.db();
        let (key, other) = (self.key("set"), self.key("set"));
        let (one, two) = ((index % 50).to_string(), format!("m{}", index % 30));
        let words: &[&str] = match self.random.below(6) {
            0 => &["SREM", &key, &one],
            1 => &["SMOVE", &key, &other, &two],
            2 => &["SUNIONSTORE", &key, &key, &other],
            3 => &["SINTERSTORE", &key, &key, &other],
            _ => &["SADD", &key, &one, &two],
        };
        Command::new(db, words, &[(db, &key), (db, &other)])
    }

    fn sorted_set(&mut self, index: u64) -> Command {
        let db = self.db();
        let (key, other) = (self.key("zset"), self.key("zset"));
        let (score, member) = (index.to_string(), format!("m{}", index % 40));
        let words: &[&str] = match self.random.below(6) {
            0 => &["ZREM", &key, &member],
            1 => &["ZINCRBY", &key, "1.5", &member],
            2 => &["ZPOPMIN", &key],
            3 => &["ZUNIONSTORE", &key, "2", &key, &other],
            _ => &["ZADD", &key, &score, &member],
        };
        Command::new(db, words, &[(db, &key), (db, &other)])
    }

    fn stream(&mut self, index: u64) -> Command {
        let db = self.db();
        let key = self.key("stream");
        let id = format!("{index}-1");
        let older = format!("{}-1", index.saturating_sub(self.random.below(400)));
        let words: &[&str] = match self.random.below(12) {
            0 => &["XDEL", &key, &older],
            1 => &["XTRIM", &key, "MAXLEN", "20"],
            2 => &["XGROUP", "CREATE", &key, "group", "0", "MKSTREAM"],
            3 => &["XGROUP", "DESTROY", &key, "group"],
            4 => &["XACK", &key, "group", &older],
            5 => &["XGROUP", "SETID", &key, "group", &older],
            6..=7 => &[
                "XREADGROUP",
                "GROUP",
                "group",
                "one",
                "COUNT",
                "2",
                "STREAMS",
                &key,
                ">",
            ],
            8 => &["XGROUP", "CREATECONSUMER", &key, "group", "two"],
            _ => &["XADD", &key, &id, "field", &older],
        };
        Command::new(db, words, &[(db, &key)])
    }

    /// Keys of any type that move, are copied, go, and get or lose a time.
    fn whole_key(&mut self, index: u64) -> Command {
        let kinds = ["string", "list", "hash", "set", "zset", "stream", "cold"];
        let kind = kinds[self.random.index(kinds.len())];
        let (db, target) = (self.db(), self.db());
        let (key, other) = (self.key(kind), self.key(kind));
        let to = target.to_string();
        let far = (FAR_MS + index % 1_000).to_string();
        let words: &[&str] = match self.random.below(9) {
            0 => &["DEL", &key, &other],
            1 => &["RENAME", &key, &other],
            2 => &["RENAMENX", &key, &other],
            3 => &["COPY", &key, &other, "REPLACE"],
            4 => &["COPY", &key, &other, "DB", &to, "REPLACE"],
            5 => &["COPY", &key, &other, "DB", &to],
            6 => &["MOVE", &key, &to],
            7 => &["PERSIST", &key],
            _ => &["PEXPIREAT", &key, &far],
        };
        let here = [(db, key.as_str()), (db, other.as_str())];
        let there = [(target, key.as_str()), (target, other.as_str())];
        Command::new(db, words, &[here, there].concat())
    }

    /// A key of a name that is never used again, and the time of its end.
    fn dying(&mut self, index: u64) -> Vec<Command> {
        let db = self.db();
        let key = format!("w{}:dying:{index}", self.writer);
        let soon = self.soon();
        let on = [(db, key.as_str())];
        let made: &[&str] = match self.random.below(3) {
            0 => &["RPUSH", &key, "a", "b"],
            1 => &["HSET", &key, "a", "b"],
            _ => &["SET", &key, "a"],
        };
        vec![
            Command::new(db, made, &on),
            Command::new(db, &["PEXPIREAT", &key, &soon], &on),
        ]
    }

    /// Collections and strings of more than 64 KB, of which a part changes.
    fn large(&mut self, index: u64) -> Command {
        let db = self.own();
        let key = |kind: &str| format!("w{}:large:{kind}", self.writer);
        let (hash, list, zset, set, text, stream) = (
            key("hash"),
            key("list"),
            key("zset"),
            key("set"),
            key("text"),
            key("stream"),
        );
        let value = "v".repeat(150) + &index.to_string();
        let member = format!("{}-{}", "m".repeat(90), index % 900);
        let (at, score, id) = (
            (index * 97 % 150_000).to_string(),
            (index % 77).to_string(),
            format!("{index}-1"),
        );
        let far = (FAR_FIELD_MS + index % 600).to_string();
        let words: &[&str] = match self.random.below(10) {
            0 => &["RPUSH", &list, &value],
            1 => &["LSET", &list, "-1", &value],
            2 => &["LPOP", &list],
            3 => &["ZADD", &zset, &score, &member],
            4 => &["SADD", &set, &member],
            5 => &["SREM", &set, &member],
            6 => &["SETRANGE", &text, &at, &value],
            7 => &["XADD", &stream, &id, "field", &value],
            8 => &["HPEXPIREAT", &hash, &far, "FIELDS", "1", &member],
            _ => &["HSET", &hash, &member, &value],
        };
        let all = [&hash, &list, &zset, &set, &text, &stream];
        let touched: Vec<_> = all.iter().map(|key| (db, key.as_str())).collect();
        Command::new(db, words, &touched)
    }
}
