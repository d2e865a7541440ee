//! The whole state of a server: every key of every database with its value and times, as text that can be compared.

use super::*;

pub(super) type Name = (u8, Vec<u8>);
pub(super) type States = HashMap<Name, State>;

/// What a key holds. Times that have come count when two are compared, not when they are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    expires_at: Option<i64>,
    body: Vec<u8>,
    /// Of a hash: each field with its value, and its time.
    fields: Vec<(Vec<u8>, Option<i64>)>,
}

impl State {
    /// The value of a string.
    pub(super) fn string(&self) -> Option<&[u8]> {
        self.body.strip_prefix(b"string: ")
    }

    fn at(&self, now: i64) -> Option<Self> {
        let there = |at: &Option<i64>| at.is_none_or(|at| at > now);
        let mut state = self.clone();
        let had = !state.fields.is_empty();
        state.fields.retain(|(_, at)| there(at));
        (there(&state.expires_at) && !(had && state.fields.is_empty())).then_some(state)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Shown(&self.body))?;
        for (field, at) in self.fields.iter().take(12) {
            write!(f, " {} until {at:?}", Shown(field))?;
        }
        write!(f, ", until {:?}", self.expires_at)
    }
}

/// Whether both are the same at a time not before both were read.
pub(super) fn same(one: Option<&State>, other: Option<&State>, now: i64) -> bool {
    one.and_then(|state| state.at(now)) == other.and_then(|state| state.at(now))
}

fn select(client: &mut Client, db: u8) {
    assert!(client.run(&["SELECT", &db.to_string()]).is_simple("OK"));
}

/// Every key of every database, by SCAN.
pub(super) fn names(client: &mut Client) -> Vec<Name> {
    let mut names = Vec::new();
    for db in 0..16 {
        select(client, db);
        let seen = scan(client, 1_000).into_keys();
        names.extend(seen.map(|key| (db, key.into_bytes())));
    }
    names
}

/// Reads these keys; those that are not there are left out.
pub(super) fn read(client: &mut Client, mut names: Vec<Name>) -> States {
    names.sort();
    let mut states = States::new();
    for of_one in names.chunk_by(|a, b| a.0 == b.0) {
        let db = of_one[0].0;
        select(client, db);
        let keys: Vec<_> = of_one.iter().map(|(_, key)| key.as_slice()).collect();
        for (key, state) in keys.iter().zip(read_keys(client, &keys)) {
            if let Some(state) = state {
                states.insert((db, key.to_vec()), state);
            }
        }
    }
    states
}

fn read_keys(client: &mut Client, keys: &[&[u8]]) -> Vec<Option<State>> {
    let types = run_all(client, keys.iter().map(|key| vec![b"TYPE".as_slice(), key]));
    let times = run_all(
        client,
        keys.iter().map(|key| vec![b"PEXPIRETIME".as_slice(), key]),
    );
    let kinds: Vec<_> = types.iter().map(text).collect();
    let reads = keys.iter().zip(&kinds).map(|(key, kind)| {
        let words: Vec<&[u8]> = match kind.as_str() {
            "string" => vec![b"GET", key],
            "list" => vec![b"LRANGE", key, b"0", b"-1"],
            "set" => vec![b"SMEMBERS", key],
            "hash" => vec![b"HGETALL", key],
            "zset" => vec![b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"],
            "stream" => vec![b"XINFO", b"STREAM", key, b"FULL", b"COUNT", b"0"],
            "none" => vec![b"PING"],
            other => panic!("a key of type {other}"),
        };
        words
    });
    let values = run_all(client, reads);
    let mut states = Vec::new();
    for ((kind, expiry), value) in kinds.iter().zip(times).zip(values) {
        states.push(state(kind, &expiry, &value));
    }
    read_field_times(client, keys, &mut states);
    states
}

/// None where the key went between two looks.
fn state(kind: &str, expiry: &Reply, value: &Reply) -> Option<State> {
    let is_gone = |error: &[u8]| error.starts_with(b"ERR no such key");
    let mut state = State {
        expires_at: expiry.int().filter(|&at| at >= 0),
        ..State::default()
    };
    match (kind, value) {
        ("none", _) | (_, Reply::Nil) => return None,
        (_, Reply::Array(items)) if items.is_empty() => return None,
        (_, Reply::Error(error)) if is_gone(error) => return None,
        (_, error) if error.is_error() => panic!("{kind}: {error}"),
        ("hash", Reply::Array(items)) => {
            let pair = |pair: &[Reply]| format!("{}={}", whole(&pair[0]), whole(&pair[1]));
            let pairs = items
                .chunks(2)
                .map(|items| (pair(items).into_bytes(), None));
            state.fields = pairs.collect();
            state.fields.sort();
        }
        ("set", Reply::Array(items)) => {
            let mut members: Vec<_> = items.iter().map(whole).collect();
            members.sort();
            state.body = members.join(" ").into_bytes();
        }
        ("stream", value) => state.body = without_times(value).into_bytes(),
        (_, value) => state.body = whole(value).into_bytes(),
    }
    state.body.splice(0..0, format!("{kind}: ").into_bytes());
    Some(state)
}

fn read_field_times(client: &mut Client, keys: &[&[u8]], states: &mut [Option<State>]) {
    for (key, state) in keys.iter().zip(states) {
        let Some(state) = state.as_mut().filter(|state| !state.fields.is_empty()) else {
            continue;
        };
        let count = state.fields.len().to_string();
        let mut command: Vec<&[u8]> = vec![b"HPEXPIRETIME", key, b"FIELDS", count.as_bytes()];
        let name = |field: &Vec<u8>| field.iter().position(|&byte| byte == b'=');
        let names = state
            .fields
            .iter()
            .map(|(field, _)| &field[..name(field).expect("a field=value")]);
        command.extend(names);
        let reply = client.run(&command);
        let times = reply.items().map(<[Reply]>::to_vec).unwrap_or_default();
        for ((_, at), time) in state.fields.iter_mut().zip(&times) {
            // A field that went meanwhile has ended: its time has come.
            *at = match time.int() {
                Some(-1) => None,
                Some(-2) => Some(0),
                other => other,
            };
        }
    }
}

/// All of a reply; `Display` leaves out the middle of long strings.
fn whole(reply: &Reply) -> String {
    match (reply.bytes(), reply.items()) {
        (Some(bytes), _) => String::from_utf8_lossy(bytes).into_owned(),
        (_, Some(items)) => {
            let items: Vec<_> = items.iter().map(whole).collect();
            format!("[{}]", items.join(" "))
        }
        _ => reply.to_string(),
    }
}

/// `XINFO STREAM FULL` without when entries were delivered and consumers seen, and without its radix tree.
fn without_times(reply: &Reply) -> String {
    const SKIPPED: [&str; 4] = [
        "seen-time",
        "active-time",
        "radix-tree-keys",
        "radix-tree-nodes",
    ];
    let Some(items) = reply.items() else {
        return whole(reply);
    };
    let mut shown = Vec::new();
    let mut items = items.iter();
    while let Some(item) = items.next() {
        let name = item.bytes().map(String::from_utf8_lossy);
        match name.as_deref() {
            Some(name) if SKIPPED.contains(&name) => {
                items.next();
            }
            Some(name @ ("pel" | "pending")) => {
                let pending = items.next().map(pending).unwrap_or_default();
                shown.push(format!("{name} {pending}"));
            }
            _ => shown.push(without_times(item)),
        }
    }
    format!("[{}]", shown.join(" "))
}

/// `[id, consumer, time, count]` of a group and `[id, time, count]` of a consumer, without the times.
fn pending(reply: &Reply) -> String {
    let entry = |entry: &Reply| match entry.items() {
        Some([id, consumer, _, count]) => {
            format!("{} {} {}", whole(id), whole(consumer), whole(count))
        }
        Some([id, _, count]) => format!("{} {}", whole(id), whole(count)),
        _ => whole(entry),
    };
    match reply.items() {
        Some(items) => items.iter().map(entry).collect::<Vec<_>>().join(", "),
        None => whole(reply),
    }
}

/// DBSIZE, SCAN and EXISTS agree in every database, once the server has counted its keys.
pub(super) fn assert_counts_agree(client: &mut Client) {
    for db in 0..16 {
        select(client, db);
        let mut seen = (0, 0, 0);
        let agreed = poll(Duration::from_secs(20), || {
            let keys: Vec<_> = scan(client, 1_000).into_keys().collect();
            let exists = run_all(client, keys.iter().map(|key| vec!["EXISTS", key]));
            let exists = exists.iter().filter_map(Reply::int).sum::<i64>() as usize;
            seen = (db_size(client), keys.len(), exists);
            (seen.0 == seen.1 && seen.1 == seen.2).then_some(())
        });
        assert!(
            agreed.is_some(),
            "database {db}: DBSIZE, SCAN and EXISTS: {seen:?}"
        );
    }
}

/// Nothing is left, whichever way one looks.
pub(super) fn assert_empty(client: &mut Client, known: &[Name]) {
    for db in 0..16 {
        select(client, db);
        let here: Vec<_> = known.iter().filter(|(at, _)| *at == db).collect();
        let exists = run_all(
            client,
            here.iter().map(|(_, key)| vec![b"EXISTS".as_slice(), key]),
        );
        let back = exists.iter().position(|reply| *reply != Reply::Int(0));
        let back = back.map(|at| Shown(&here[at].1).to_string());
        assert_eq!(back, None, "database {db}: a key that was flushed");
        assert_eq!(scan(client, 1_000).len(), 0, "SCAN of database {db}");
        assert_eq!(
            client.run(&["RANDOMKEY"]),
            Reply::Nil,
            "RANDOMKEY of database {db}"
        );
        assert_eq!(db_size(client), 0, "DBSIZE of database {db}");
    }
    select(client, 0);
}
