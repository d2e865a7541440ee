//! TIER.*: where keys are, memory or disk, and having them there.
//!
//! Only these commands know that there are two places. Their rows declare keys, but do not look at what
//! those hold, so that asking where a key is does not fetch it.

use super::argument::{self, KEY};
use super::{Arity::*, Command, Context, Flags, Group, KeySpec};
use crate::config::TierPolicy;
use crate::error::CommandError;
use crate::keyspace::Pinned;
use crate::keyspace::residency::{Ask, DiskCopy, Page, Presence};
use crate::resp::{Args, Reply};
use crate::server::Server;
use crate::server::figures::{Figure, compression_ratio};
use crate::server::suspended::{Stop, Suspend};

/// The rows of this family.
pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "tier.info",
        arity: AtLeast(2),
        keys: &[KeySpec::at(1, &["RO"])],
        blind: Some(|_| true),
        flags: Flags::READONLY,
        run_or_suspend: Some(info),
        since: "0.1.0",
        complexity: "O(1), with a read of the disk where the key may be there, unless MEMORY is given",
        summary: "Tells where a key is, and what it takes there.",
        tips: &["nondeterministic_output"],
        arguments: &[KEY, argument::optional(argument::word("memory", "MEMORY"))],
        ..Command::BLANK
    },
    Command {
        name: "tier.demote",
        arity: AtLeast(2),
        keys: &[KeySpec::range(1, -1, 1, &["RO"])],
        blind: Some(|_| true),
        flags: Flags::READONLY,
        run_or_suspend: Some(demote),
        since: "0.1.0",
        complexity: "O(N) in the number of keys, with a write of the disk where one has changed",
        summary: "Sends keys out of memory, and counts those that are on disk only now.",
        tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
        arguments: &[argument::multiple(KEY)],
        ..Command::BLANK
    },
    Command {
        name: "tier.promote",
        arity: AtLeast(2),
        keys: &[KeySpec::range(1, -1, 1, &["RO"])],
        flags: Flags::READONLY,
        run: promote,
        since: "0.1.0",
        complexity: "O(N) in the number of keys, with a read of the disk for each that is there only",
        summary: "Fetches keys into memory, and counts those that are there now.",
        tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
        arguments: &[argument::multiple(KEY)],
        ..Command::BLANK
    },
    Command {
        name: "tier.pin",
        arity: Exactly(2),
        keys: &[KeySpec::at(1, &["RW", "UPDATE"])],
        flags: Flags::WRITE.and(Flags::FAST),
        run: pin,
        since: "0.1.0",
        summary: "Keeps a key in memory as long as it exists.",
        arguments: &[KEY],
        ..Command::BLANK
    },
    Command {
        name: "tier.unpin",
        arity: Exactly(2),
        keys: &[KeySpec::at(1, &["RW", "UPDATE"])],
        flags: Flags::WRITE.and(Flags::FAST),
        run: unpin,
        since: "0.1.0",
        summary: "Lets a key that was pinned leave memory again.",
        arguments: &[KEY],
        ..Command::BLANK
    },
    Command {
        name: "tier.stats",
        arity: Exactly(1),
        flags: Flags::LOADING.and(Flags::STALE),
        run: stats,
        group: Group::Server,
        since: "0.1.0",
        complexity: "O(N) in the number of generations and of kinds of keys",
        summary: "Returns the figures of the disk tier, of its kinds of keys and of its generations.",
        tips: &["nondeterministic_output"],
        ..Command::BLANK
    },
];

/// What TIER.INFO tells of a key.
#[derive(Default)]
struct Told {
    location: &'static str,
    state: &'static str,
    value_type: &'static str,
    raw_bytes: usize,
    ttl_ms: Option<i64>,
    pinned: bool,
    policy: TierPolicy,
    compressed: bool,
    copy: Option<DiskCopy>,
}

fn info(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), Stop> {
    let key = args.at(1);
    match args.len() {
        2 => {}
        3 if args.at(2).eq_ignore_ascii_case(b"memory") => {
            info_of_memory(cx, key);
            return Ok(());
        }
        _ => return Err(CommandError::Syntax.into()),
    }
    let page = copy_below(cx, key)?;
    let policy = cx.keys.keyspace().policy_of(key);
    let mut told = look(cx, key, page.copy);
    told.policy = policy;
    // One that is on disk only will be, as soon as it is used.
    told.pinned |= told.location == "disk" && policy == TierPolicy::Pinned;
    tell(cx.reply, &told);
    Ok(())
}

/// What memory alone knows: whoever asks often does not want the disk read for it.
fn info_of_memory(cx: &mut Context<'_>, key: &[u8]) {
    let location = match cx.keys.presence(key) {
        Presence::Present => "memory",
        Presence::Absent => "none",
        Presence::Unknown => "unknown",
    };
    cx.reply.map(1);
    cx.reply.text("location");
    cx.reply.text(location);
}

/// What the tier below has of a key.
fn copy_below(cx: &mut Context<'_>, key: &[u8]) -> Result<Page, Stop> {
    // What is gone, or was never below, needs no search.
    if !cx.keys.may_be_below(key) || cx.keys.presence(key) == Presence::Absent {
        return Ok(Page::default());
    }
    let ask = Ask::Copy {
        db: cx.keys.db(),
        key: key.into(),
    };
    let page = cx.ask_below(ask.clone())?;
    // It was written and left memory between the search and now.
    let has_left = page.was_in_memory && page.copy.is_none();
    if has_left && cx.keys.presence(key) == Presence::Unknown {
        return Err(Suspend::Answer(ask).into());
    }
    Ok(page)
}

fn look(cx: &mut Context<'_>, key: &[u8], copy: Option<DiskCopy>) -> Told {
    let now = cx.now;
    let left = |at: crate::clock::UnixMs| at.0 - now.0;
    match (cx.keys.presence(key), copy) {
        (Presence::Present, copy) => {
            let written = cx.keys.written(key);
            let Some(entry) = cx.keys.peek(key) else {
                return Told::nothing();
            };
            Told {
                location: "memory",
                state: written.map_or("none", |written| written.name()),
                value_type: entry.value_type().name(),
                raw_bytes: entry
                    .large()
                    .map_or(entry.value_len(), |large| large.heap_bytes()),
                ttl_ms: entry.expires_at().map(left),
                pinned: entry.is_pinned(),
                compressed: entry.is_compressed(),
                copy,
                ..Told::default()
            }
        }
        (Presence::Unknown, Some(copy)) if copy.expires_at.is_none_or(|at| at > now) => Told {
            location: "disk",
            state: "none",
            value_type: copy.value_type().name(),
            raw_bytes: copy.raw_bytes,
            ttl_ms: copy.expires_at.map(left),
            pinned: copy.pinned,
            copy: Some(copy),
            ..Told::default()
        },
        _ => Told::nothing(),
    }
}

impl Told {
    /// There is no such key.
    fn nothing() -> Self {
        Self {
            location: "none",
            state: "none",
            value_type: "none",
            ..Self::default()
        }
    }
}

fn tell(reply: &mut Reply, told: &Told) {
    let copy = told.copy.as_ref();
    let bytes = |bytes: usize| i64::try_from(bytes).unwrap_or(i64::MAX);
    reply.map(13);
    for (name, text) in [("location", told.location), ("state", told.state)] {
        reply.text(name);
        reply.text(text);
    }
    reply.text("on-disk");
    reply.flag(copy.is_some());
    reply.text("type");
    reply.text(told.value_type);
    reply.text("raw-bytes");
    reply.int(bytes(told.raw_bytes));
    reply.text("stored-bytes");
    reply.int(bytes(copy.map_or(0, |copy| copy.stored_bytes)));
    reply.text("compression");
    reply.text(copy.map_or("none", |copy| copy.compression));
    reply.text("dictionary");
    reply.int(copy.map_or(0, |copy| i64::from(copy.dictionary)));
    reply.text("generation");
    reply.int(copy.map_or(-1, |copy| copy.generation.cast_signed()));
    reply.text("ttl-ms");
    reply.int(told.ttl_ms.unwrap_or(-1));
    reply.text("pinned");
    reply.flag(told.pinned);
    reply.text("policy");
    reply.text(told.policy.name());
    reply.text("compressed");
    reply.flag(told.compressed);
}

const NO_TIER: CommandError = CommandError::text("ERR there is no disk tier, tier-max-bytes is 0");

fn demote(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), Stop> {
    if !cx.keys.keyspace().has_below() {
        return Err(NO_TIER.into());
    }
    match cx.answer() {
        Some(page) if page.failed => return Err(CommandError::Unwritable.into()),
        // One that has changed again meanwhile stays: this ends.
        Some(_) => {}
        None => {
            let changed = args.from(1).filter(|key| cx.keys.write_below(key)).count();
            if changed > 0 {
                return Err(Suspend::Answer(Ask::Sync).into());
            }
        }
    }
    let left = args.from(1).filter(|key| cx.keys.demote(key)).count();
    cx.reply.count(left);
    Ok(())
}

/// The dispatch step has fetched them.
fn promote(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let held = args.from(1).filter(|key| cx.keys.exists(key)).count();
    cx.reply.count(held);
    Ok(())
}

/// Pinned keys take such a part of `maxmemory` at most: what moves needs room too.
const PINNED_SHARE: u64 = 2;

fn pin(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let bytes_max = match cx.config.maxmemory {
        0 => u64::MAX,
        bytes => bytes / PINNED_SHARE,
    };
    match cx.keys.pin(args.at(1), bytes_max) {
        Pinned::Done => cx.reply.flag(true),
        Pinned::NoKey => cx.reply.flag(false),
        Pinned::TooMuch => {
            return Err(CommandError::text(
                "ERR pinned keys may take half of maxmemory at most, see tier_pinned_bytes in INFO",
            ));
        }
    }
    Ok(())
}

fn unpin(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let was_pinned = cx.keys.unpin(args.at(1));
    cx.reply.flag(was_pinned);
    Ok(())
}

fn stats(cx: &mut Context<'_>, _: &Args<'_>) -> Result<(), CommandError> {
    let figures = cx.server.tier_figures(cx.config);
    let reply = &mut *cx.reply;
    reply.map(figures.len() + 2);
    for (name, figure) in figures {
        reply.text(name);
        match figure {
            Figure::Number(number) => reply.int(number),
            Figure::Ratio(ratio) => reply.double(ratio),
            Figure::Word(word) => reply.text(word),
        }
    }
    reply.text("classes");
    classes(reply, cx.server);
    reply.text("generations");
    generations(reply, cx.server);
    Ok(())
}

/// What was compressed, by kinds of keys.
fn classes(reply: &mut Reply, server: &Server) {
    let tier = server.engine.tier.as_ref();
    let classes = tier.map_or_else(Vec::new, |tier| tier.classes());
    reply.array(classes.len());
    for class in classes {
        reply.map(6);
        reply.text("class");
        reply.bulk(&class.name);
        numbers(
            reply,
            &[
                ("values", class.values),
                ("raw-bytes", class.raw_bytes),
                ("stored-bytes", class.stored_bytes),
            ],
        );
        reply.text("ratio");
        reply.double(compression_ratio(class.raw_bytes, class.stored_bytes));
        reply.text("dictionary");
        reply.int(class.dictionary.map_or(0, i64::from));
    }
}

fn generations(reply: &mut Reply, server: &Server) {
    let tier = server.engine.tier.as_ref();
    let generations = tier.map_or_else(Vec::new, |tier| tier.generations());
    reply.array(generations.len());
    for generation in generations {
        reply.map(4);
        numbers(
            reply,
            &[
                ("number", generation.number),
                ("bytes", generation.disk_bytes),
                ("records", generation.records),
                ("filter-bytes", generation.filter_bytes),
            ],
        );
    }
}

fn numbers(reply: &mut Reply, numbers: &[(&str, u64)]) {
    for &(name, number) in numbers {
        reply.text(name);
        reply.int(number.cast_signed());
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Answer, Db, script};

    /// The fields of TIER.INFO in RESP2, `name=value` each.
    fn told(answer: &Answer) -> Vec<String> {
        let text = String::from_utf8_lossy(answer.bytes()).into_owned();
        let lines = text.split("\r\n").skip(1).filter(|line| !line.is_empty());
        let words: Vec<&str> = lines
            .filter(|line| !line.starts_with('$'))
            .map(|line| line.trim_start_matches(':'))
            .collect();
        words.chunks(2).map(|pair| pair.join("=")).collect()
    }

    const NOTHING: &[&str] = &[
        "location=none",
        "state=none",
        "on-disk=0",
        "type=none",
        "raw-bytes=0",
        "stored-bytes=0",
        "compression=none",
        "dictionary=0",
        "generation=-1",
        "ttl-ms=-1",
        "pinned=0",
        "policy=disk",
        "compressed=0",
    ];

    script!(info_of_a_key_that_is_nowhere, |db| {
        assert_eq!(told(&db.run("TIER.INFO k")), NOTHING);
        db.run("SET k v").ok();
        db.run("DEL k").int(1);
        assert_eq!(told(&db.run("TIER.INFO k")), NOTHING);
        db.run("SET k v PX 10").ok();
        db.advance(10);
        assert_eq!(told(&db.run("TIER.INFO k")), NOTHING);
        db.run("COMMAND GETKEYS TIER.INFO k").bulks(&["k"]);
        db.run("TIER.INFO")
            .error("ERR wrong number of arguments for 'tier.info' command");
        db.resp3();
        assert!(db.run("TIER.INFO k").bytes().starts_with(b"%13\r\n"));
    });

    /// Where a key is by TIER.INFO's reply.
    fn location(info: &str) -> &str {
        let mut lines = info.split("\r\n").skip_while(|line| *line != "location");
        lines.nth(2).unwrap_or("")
    }

    #[test]
    fn demoted_keys_are_on_disk_only() {
        let mut db = Db::spilled();
        for durability in ["everysec", "none"] {
            let follow = durability != "none";
            db.engine().keyspace.follow_writes(follow);
            let reply = db.send(
                b"MSET a 1 b 2 c 3\r\nDEL c\r\nSET long x PX 1000\r\nTIER.DEMOTE a b b c x long\r\n\
                  TIER.INFO a\r\nGET b\r\nTIER.DEMOTE b\r\n",
            );
            let reply = String::from_utf8_lossy(&reply).into_owned();
            assert!(
                reply.starts_with("+OK\r\n:1\r\n+OK\r\n:3\r\n*26\r\n"),
                "{reply}"
            );
            assert_eq!(location(&reply), "disk");
            assert!(reply.ends_with("$1\r\n2\r\n:1\r\n"), "{reply}");
            db.run("TIER.DEMOTE a").int(0);
            db.run("GET a").bulk("1");
            db.run("DBSIZE").int(3);
        }
    }

    #[test]
    fn a_key_that_cannot_be_on_disk_is_not_demoted() {
        let mut db = Db::spilled();
        let key = "k".repeat(crate::keyspace::residency::KEY_BYTES_MAX + 1);
        let reply =
            db.send(format!("SET {key} v\r\nTIER.DEMOTE {key}\r\nGET {key}\r\n").as_bytes());
        assert_eq!(String::from_utf8_lossy(&reply), "+OK\r\n:0\r\n$1\r\nv\r\n");
    }

    script!(memory: without_a_tier_nothing_is_demoted, |db| {
        db.run("TIER.DEMOTE k")
            .error("ERR there is no disk tier, tier-max-bytes is 0");
    });

    script!(promoted_keys_are_in_memory, |db| {
        db.run("MSET a 1 b 2").ok();
        let reply = db.send(b"TIER.PROMOTE a b c\r\nTIER.INFO b\r\n");
        let reply = String::from_utf8_lossy(&reply).into_owned();
        assert!(reply.starts_with(":2\r\n"), "{reply}");
        assert_eq!(location(&reply), "memory");
        db.run("COMMAND GETKEYS TIER.PROMOTE a b")
            .bulks(&["a", "b"]);
    });

    /// `tier_pinned_keys` and `tier_pinned_bytes`.
    fn pinned(db: &mut Db) -> (usize, usize) {
        let (keys, bytes) = db.engine().keyspace.pinned();
        let info = db.run("INFO tier");
        let info = String::from_utf8_lossy(info.bytes()).into_owned();
        let lines = format!("tier_pinned_keys:{keys}\r\ntier_pinned_bytes:{bytes}\r\n");
        assert!(info.contains(&lines), "{info}");
        (keys, bytes)
    }

    script!(a_pinned_key_stays_in_memory, |db| {
        db.run("TIER.PIN k").int(0);
        db.run("TIER.UNPIN k").int(0);
        db.run("SET k v").ok();
        db.run("TIER.PIN k").int(1);
        db.run("TIER.PIN k").int(1);
        assert_eq!(pinned(&mut db), (1, 16));
        let info = db.run("TIER.INFO k");
        let fields = told(&info);
        assert_eq!((&*fields[0], &*fields[10]), ("location=memory", "pinned=1"));
        // Whatever is written over it.
        db.run(&format!("SET k {} PX 1000", "x".repeat(100))).ok();
        assert_eq!(pinned(&mut db), (1, 128));
        db.run("APPEND k y").int(101);
        db.run("PERSIST k").int(1);
        db.run("INCR k")
            .error("ERR value is not an integer or out of range");
        db.run(&format!("SET k {}", "x".repeat(70_000))).ok();
        // The entry, and the value that lies apart from it.
        assert_eq!(pinned(&mut db), (1, 80 + 81_920));
        assert_eq!(told(&db.run("TIER.INFO k"))[0], "location=memory");
        db.run("SET k 5").ok();
        db.run("TIER.UNPIN k").int(1);
        db.run("TIER.UNPIN k").int(0);
        assert_eq!(pinned(&mut db), (0, 0));
    });

    script!(a_pin_ends_with_its_key, |db| {
        for ending in [
            "DEL k",
            "UNLINK k",
            "RENAME k l",
            "MOVE k 1",
            "FLUSHALL",
            "PEXPIRE k 0",
        ] {
            db.run("MSET k v l w").ok();
            db.run("TIER.PIN k").int(1);
            db.run("COPY k copy REPLACE").int(1);
            assert_eq!(pinned(&mut db).0, 1);
            let _ = db.run(ending);
            assert_eq!(pinned(&mut db), (0, 0), "{ending}");
            db.run("FLUSHALL").ok();
        }
        // What stood at the new name goes with its pin.
        db.run("MSET k v l w").ok();
        db.run("TIER.PIN l").int(1);
        db.run("RENAME k l").ok();
        assert_eq!(pinned(&mut db), (0, 0));
        // An expired key hands nothing on.
        for write in ["SET l v", "GET l", "SETRANGE l 0 x"] {
            db.run("SET l v PX 10").ok();
            db.run("TIER.PIN l").int(1);
            db.advance(10);
            let _ = db.run(write);
            assert_eq!(pinned(&mut db), (0, 0), "{write}");
        }
        db.run("SET l v PX 10").ok();
        db.run("TIER.PIN l").int(1);
        db.advance(10);
        let keyspace = &db.engine().keyspace;
        for shard in 0..keyspace.shard_count() {
            keyspace.expire_shard(
                shard,
                crate::clock::UnixMs(i64::MAX),
                crate::keyspace::ThreadSlot(0),
            );
        }
        assert_eq!(pinned(&mut db), (0, 0));
    });

    script!(memory: pins_take_half_of_memory_at_most, |db| {
        db.run("CONFIG SET maxmemory 10mb").ok();
        let value = "x".repeat(3_000_000);
        for key in ["a", "b"] {
            db.run(&format!("SET {key} {value}")).ok();
        }
        db.run("TIER.PIN a").int(1);
        db.run("TIER.PIN b").error(
            "ERR pinned keys may take half of maxmemory at most, see tier_pinned_bytes in INFO",
        );
        db.run("TIER.PIN a").int(1);
        assert_eq!(pinned(&mut db).0, 1);
    });

    #[test]
    fn a_pinned_key_is_not_demoted() {
        let mut db = Db::spilled();
        let reply = db.send(b"MSET a 1 b 2\r\nTIER.PIN a\r\nTIER.DEMOTE a b\r\n");
        assert_eq!(String::from_utf8_lossy(&reply), "+OK\r\n:1\r\n:1\r\n");
    }

    script!(eviction_passes_over_what_is_pinned, |db| {
        for policy in [
            "allkeys-s3fifo",
            "allkeys-lru",
            "volatile-lrm",
            "volatile-ttl",
        ] {
            db.run("FLUSHALL").ok();
            db.run(&format!(
                "CONFIG SET maxmemory-policy {policy} max-entries 0"
            ))
            .ok();
            // More than the hand passes that are refused for being unwritten.
            let mut batch = String::new();
            for i in 0..9000 {
                batch += &format!("SET k{i} v PX 100000\r\nTIER.PIN k{i}\r\n");
            }
            for i in 0..100 {
                batch += &format!("SET u{i} v PX 100000\r\n");
            }
            batch += "CONFIG SET max-entries 9010\r\nSET new v PX 100000\r\n";
            let reply = db.send(batch.as_bytes());
            assert!(reply.ends_with(b"+OK\r\n+OK\r\n"), "{policy}");
            assert!(db.engine().keyspace.entries() <= 9011);
            assert_eq!(pinned(&mut db).0, 9000);
            db.run("CONFIG SET max-entries 0").ok();
        }
    });

    script!(where_all_is_pinned_there_is_no_room, |db| {
        for policy in [
            "allkeys-s3fifo",
            "allkeys-lru",
            "allkeys-lrm",
            "allkeys-lfu",
            "allkeys-random",
            "volatile-lru",
            "volatile-ttl",
            "volatile-random",
        ] {
            db.run("FLUSHALL").ok();
            db.run(&format!(
                "CONFIG SET maxmemory-policy {policy} max-entries 0"
            ))
            .ok();
            // All in one batch, so that nothing is written below when room is needed.
            let mut batch = String::new();
            for i in 0..20 {
                batch += &format!("SET k{i} v PX 100000\r\nTIER.PIN k{i}\r\n");
            }
            batch += "CONFIG SET max-entries 10\r\nSET new v\r\n";
            let reply = db.send(batch.as_bytes());
            let reply = String::from_utf8_lossy(&reply).into_owned();
            let end = "+OK\r\n-OOM command not allowed when used memory > 'maxmemory'.\r\n";
            assert!(reply.ends_with(end), "{policy}: {reply}");
            let mut batch = String::new();
            for i in 0..11 {
                batch += &format!("TIER.UNPIN k{i}\r\n");
            }
            batch += "SET new v PX 100000\r\n";
            let reply = db.send(batch.as_bytes());
            let reply = String::from_utf8_lossy(&reply).into_owned();
            assert!(reply.ends_with(":1\r\n+OK\r\n"), "{policy}: {reply}");
            for i in 11..20 {
                assert_eq!(
                    told(&db.run(&format!("TIER.INFO k{i}")))[0],
                    "location=memory"
                );
            }
        }
    });

    script!(memory: stats_without_a_tier, |db| {
        db.run("TIER.STATS").is(
            "*18\r\n$12\r\ntier_enabled\r\n:0\r\n$16\r\ntier_pinned_keys\r\n:0\r\n\
             $17\r\ntier_pinned_bytes\r\n:0\r\n$20\r\ntier_compressed_keys\r\n:0\r\n\
             $25\r\ntier_compressed_raw_bytes\r\n:0\r\n$21\r\ntier_compressed_bytes\r\n:0\r\n\
             $18\r\ntier_restored_keys\r\n:0\r\n$7\r\nclasses\r\n*0\r\n$11\r\ngenerations\r\n*0\r\n",
        );
    });

    #[test]
    fn stats_are_those_of_info_and_more() {
        let mut db = Db::spilled();
        for i in 0..100 {
            db.run(&format!("SET user:{i} {}", "abc".repeat(100))).ok();
        }
        db.run("GET user:1").bulk("abc".repeat(100));
        db.run("GET user:x").nil();
        let info = db.run("INFO tier");
        let info = String::from_utf8_lossy(info.bytes()).into_owned();
        for line in [
            "tier_loads:1",
            "tier_misses:0",
            "tier_promoted_keys:1",
            "tier_queue:0",
        ] {
            assert!(info.contains(&format!("{line}\r\n")), "{info}");
        }
        let lines = info.split("\r\n").filter(|line| line.starts_with("tier_"));
        db.resp3();
        let stats = db.run("TIER.STATS");
        let stats = String::from_utf8_lossy(stats.bytes()).into_owned();
        let mut figures = 0;
        for line in lines {
            let name = line.split(':').next().unwrap();
            assert!(
                stats.contains(&format!("\r\n{name}\r\n")),
                "{name}: {stats}"
            );
            figures += 1;
        }
        assert!(
            stats.starts_with(&format!("%{}\r\n", figures + 2)),
            "{stats}"
        );
        assert!(
            stats.contains(
                "$11\r\ngenerations\r\n*1\r\n%4\r\n$6\r\nnumber\r\n:0\r\n$5\r\nbytes\r\n:"
            ),
            "{stats}"
        );
        db.run("CONFIG RESETSTAT").ok();
        let info = db.run("INFO tier");
        assert!(String::from_utf8_lossy(info.bytes()).contains("tier_loads:0\r\n"));
    }

    #[test]
    fn classes_are_told_after_a_run() {
        let mut db = Db::spilled();
        let value = "abc".repeat(100);
        let reply = db.send(format!("SET user:1 {value}\r\nSAVE\r\nTIER.STATS\r\n").as_bytes());
        let reply = String::from_utf8_lossy(&reply).into_owned();
        assert!(reply.contains("classes\r\n*2\r\n*12\r\n$5\r\nclass\r\n$0\r\n\r\n"));
        let class = "*12\r\n$5\r\nclass\r\n$4\r\nuser\r\n$6\r\nvalues\r\n:1\r\n\
                     $9\r\nraw-bytes\r\n:300\r\n$12\r\nstored-bytes\r\n:17\r\n$5\r\nratio\r\n";
        assert!(reply.contains(class), "{reply}");
    }

    script!(memory: info_without_a_tier_is_of_memory, |db| {
        db.run("SET k hello PX 50").ok();
        db.advance(20);
        let told = told(&db.run("TIER.INFO k"));
        assert_eq!(told[..5], ["location=memory", "state=dirty", "on-disk=0", "type=string", "raw-bytes=5"]);
        assert_eq!(told[9], "ttl-ms=30");
    });

    #[test]
    fn info_does_not_fetch_the_key() {
        let mut db = Db::spilled();
        let value = "abc".repeat(1000);
        db.run(&format!("SET k {value} PX 1000")).ok();
        for _ in 0..2 {
            let told = told(&db.run("TIER.INFO k"));
            assert_eq!(
                told[..5],
                [
                    "location=disk",
                    "state=none",
                    "on-disk=1",
                    "type=string",
                    "raw-bytes=3000"
                ]
            );
            let stored: u64 = told[5]["stored-bytes=".len()..].parse().unwrap();
            assert!((1..1000).contains(&stored), "{told:?}");
            assert_eq!(
                told[6..10],
                [
                    "compression=zstd",
                    "dictionary=0",
                    "generation=0",
                    "ttl-ms=1000"
                ]
            );
        }
        db.run("SELECT 1").ok();
        assert_eq!(told(&db.run("TIER.INFO k")), NOTHING);
        db.run("SELECT 0").ok();
        assert!(
            String::from_utf8_lossy(db.run("INFO tier").bytes())
                .contains("tier_promoted_keys:0\r\n")
        );
        // In one batch nothing leaves memory.
        let reply = db.send(b"APPEND k def\r\nTIER.INFO k\r\n");
        let reply = String::from_utf8_lossy(&reply).into_owned();
        assert!(
            reply.contains("\r\nmemory\r\n$5\r\nstate\r\n$5\r\ndirty\r\n$7\r\non-disk\r\n:1\r\n"),
            "{reply}"
        );
        assert!(reply.contains("\r\nraw-bytes\r\n:3003\r\n"), "{reply}");
        let reply = db.send(b"GET k\r\nTIER.INFO k\r\n");
        let reply = String::from_utf8_lossy(&reply).into_owned();
        assert!(
            reply.contains("\r\nmemory\r\n$5\r\nstate\r\n$5\r\nclean\r\n"),
            "{reply}"
        );
    }
}
