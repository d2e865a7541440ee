//! Commands over all keys of a database, or over whole databases.
//!
//! Their rows declare no keys, so no shard is locked while they go from one to the next.

use std::ops::Range;

use super::{Argument, Arity::*, Command, Context, Flags, Group, argument, parse};
use crate::error::CommandError;
use crate::keyspace::residency::{Ask, KeyFilter, Page};
use crate::resp::{Args, Reply};
use crate::server::suspended::{Stop, Suspend};
use crate::value::number;

/// Keys that SCAN shows at once, unless told otherwise.
const SCAN_COUNT: usize = 10;
/// What a reply has for each key at the most, beside the key and the four bytes that a page has with it.
const BULK_BYTES: usize = 8;
/// The answer to KEYS where its own would take too much memory.
const TOO_LONG: &str = "ERR the keys that match take more memory than a reply may: use SCAN";

/// The rows of this family.
pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "randomkey",
        arity: Exactly(1),
        flags: Flags::READONLY,
        run_or_suspend: Some(randomkey),
        summary: "Returns one key at random.",
        tips: &[
            "request_policy:all_shards",
            "response_policy:special",
            "nondeterministic_output",
        ],
        ..Command::BLANK
    },
    Command {
        name: "keys",
        arity: Exactly(2),
        flags: Flags::READONLY,
        run_or_suspend: Some(keys),
        categories: &["@dangerous"],
        complexity: "O(N) in the number of keys in all databases.",
        summary: "Returns all keys that match a pattern.",
        tips: &["request_policy:all_shards", "nondeterministic_output_order"],
        arguments: &[Argument::new("pattern", "pattern")],
        ..Command::BLANK
    },
    Command {
        name: "scan",
        arity: AtLeast(2),
        flags: Flags::READONLY,
        run_or_suspend: Some(scan),
        since: "2.8.0",
        complexity: "O(1) for a call that asks for few keys, O(N) for a whole walk over N keys.",
        summary: "Walks over the keys a few at a time.",
        tips: &[
            "nondeterministic_output",
            "request_policy:special",
            "response_policy:special",
        ],
        arguments: &[
            Argument::new("cursor", "integer"),
            argument::optional(argument::after(
                "MATCH",
                Argument::new("pattern", "pattern"),
            )),
            argument::optional(argument::after("COUNT", Argument::new("count", "integer"))),
            argument::optional(argument::since(
                "6.0.0",
                argument::after("TYPE", Argument::new("type", "string")),
            )),
        ],
        ..Command::BLANK
    },
    Command {
        name: "dbsize",
        arity: Exactly(1),
        flags: Flags::READONLY.and(Flags::FAST),
        run_or_suspend: Some(dbsize),
        group: Group::Server,
        categories: &["@keyspace"],
        summary: "Tells the number of keys in the database.",
        tips: &["request_policy:all_shards", "response_policy:agg_sum"],
        ..Command::BLANK
    },
    Command {
        name: "swapdb",
        arity: Exactly(3),
        flags: Flags::WRITE.and(Flags::FAST).and(Flags::KEYSPACE_WIDE),
        run: swapdb,
        group: Group::Server,
        categories: &["@keyspace", "@dangerous"],
        since: "4.0.0",
        summary: "Exchanges the contents of two databases.",
        arguments: &[
            Argument::new("index1", "integer"),
            Argument::new("index2", "integer"),
        ],
        ..Command::BLANK
    },
    Command {
        name: "flushdb",
        arity: AtLeast(1),
        flags: Flags::WRITE.and(Flags::KEYSPACE_WIDE),
        run: flushdb,
        group: Group::Server,
        categories: &["@keyspace", "@dangerous"],
        complexity: "O(N) in the number of keys in the database; many keys are freed in the background.",
        summary: "Removes all keys of the database.",
        tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
        arguments: &[MODE],
        ..Command::BLANK
    },
    Command {
        name: "flushall",
        arity: AtLeast(1),
        flags: Flags::WRITE.and(Flags::KEYSPACE_WIDE),
        run: flushall,
        group: Group::Server,
        categories: &["@keyspace", "@dangerous"],
        complexity: "O(N) in the number of keys; many keys are freed in the background.",
        summary: "Removes all keys of all databases.",
        tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
        arguments: &[MODE],
        ..Command::BLANK
    },
];

/// How FLUSHDB and FLUSHALL free the memory.
const MODE: Argument = argument::optional(argument::oneof(
    "async",
    &[
        argument::since("4.0.0", argument::word("async", "ASYNC")),
        argument::since("6.2.0", argument::word("sync", "SYNC")),
    ],
));

fn randomkey(cx: &mut Context<'_>, _: &Args<'_>) -> Result<(), Stop> {
    if cx.keys.keyspace().has_below() {
        let ask = Ask::AnyKey {
            db: cx.keys.db(),
            random: cx.random,
            now: cx.now,
        };
        let page = cx.ask_below(ask)?;
        cx.reply.bulk_or_nil(page.names.iter().next());
        return Ok(());
    }
    let key = cx
        .keys
        .keyspace()
        .random_key(cx.keys.db(), cx.now, cx.random);
    cx.reply.bulk_or_nil(key.as_deref());
    Ok(())
}

fn keys(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), Stop> {
    let filter = Filter {
        pattern: Some(args.at(1)),
        type_name: None,
    };
    if cx.keys.keyspace().has_below() {
        let page = page_below(cx, filter, 0, usize::MAX)?;
        show_page(cx.reply, page);
        return Ok(());
    }
    let array = cx.reply.array_deferred();
    let (_, count) = show(cx, filter, 0, usize::MAX);
    cx.reply.finish_array(array, count);
    Ok(())
}

fn scan(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), Stop> {
    let cursor = number::parse_u64(args.at(1)).ok_or(CommandError::InvalidCursor)?;
    let (filter, count) = scan_options(args)?;
    if cx.keys.keyspace().has_below() {
        let page = page_below(cx, filter, cursor, count)?;
        cx.reply.array(2);
        cx.reply.bulk(&number::format_u64(page.next));
        show_page(cx.reply, page);
        return Ok(());
    }
    let home = std::mem::take(cx.reply.buffer_mut());
    let (next, shown) = show(cx, filter, cursor, count);
    let shown_keys = std::mem::replace(cx.reply.buffer_mut(), home);
    cx.reply.array(2);
    cx.reply.bulk(&number::format_u64(next));
    cx.reply.array(shown);
    cx.reply.buffer_mut().extend_from_slice(&shown_keys);
    Ok(())
}

/// Which keys KEYS and SCAN show.
type Filter<'a> = KeyFilter<&'a [u8]>;

/// The options of SCAN: the filter, and COUNT.
fn scan_options<'a>(args: &Args<'a>) -> Result<(Filter<'a>, usize), CommandError> {
    let (mut filter, mut count) = (Filter::default(), SCAN_COUNT);
    let mut words = args.from(2);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(CommandError::Syntax);
        match word.to_ascii_uppercase().as_slice() {
            b"COUNT" => count = parse::positive(value()?)?,
            b"MATCH" => filter.pattern = Some(value()?),
            b"TYPE" => filter.type_name = Some(value()?),
            word => return Err(parse::misplaced(word)),
        }
    }
    Ok((filter, count))
}

/// Writes the keys of memory that fit, among about `look_at`. Gives the next cursor and their number.
fn show(cx: &mut Context<'_>, filter: Filter<'_>, cursor: u64, look_at: usize) -> (u64, usize) {
    let (keyspace, db) = (cx.keys.keyspace(), cx.keys.db());
    let reply: &mut Reply = cx.reply;
    let mut shown = 0;
    let next = keyspace.scan(db, cursor, look_at, cx.now, cx.keys.thread(), |entry| {
        if filter.fits_type(entry.value_type()) && filter.fits_key(entry.key()) {
            reply.bulk(entry.key());
            shown += 1;
        }
    });
    (next, shown)
}

/// The same keys of memory and the tier below.
fn page_below(
    cx: &mut Context<'_>,
    filter: Filter<'_>,
    cursor: u64,
    look_at: usize,
) -> Result<Page, Stop> {
    let ask = Ask::Keys {
        db: cx.keys.db(),
        cursor,
        count: look_at,
        filter: filter.to_owned(),
        now: cx.now,
    };
    let page = cx.ask_below(ask)?;
    if page.too_long {
        return Err(CommandError::text(TOO_LONG).into());
    }
    Ok(page)
}

/// Writes the keys of a page as an array. The room is made at once: a long reply is not copied as it grows.
fn show_page(reply: &mut Reply, page: Page) {
    let shown = page.names.len();
    let bytes = page.names.bytes() + shown * BULK_BYTES;
    reply.buffer_mut().reserve(bytes + BULK_BYTES);
    reply.array(shown);
    page.names.drain(|key| reply.bulk(key));
}

fn dbsize(cx: &mut Context<'_>, _: &Args<'_>) -> Result<(), Stop> {
    let keyspace = cx.keys.keyspace();
    // Where the tier below could not look for all, the count is the best that is known.
    if cx.answer().is_none() && keyspace.has_unsure() {
        return Err(Suspend::Answer(Ask::Count).into());
    }
    cx.reply.count(keyspace.db_size(cx.keys.db()));
    Ok(())
}

fn swapdb(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let index = |at: usize, text| {
        number::parse_i64(args.at(at))
            .filter(|&index| i32::try_from(index).is_ok())
            .ok_or(CommandError::text(text))
    };
    let first = index(1, "ERR invalid first DB index")?;
    let second = index(2, "ERR invalid second DB index")?;
    let first = parse::database_in_range(cx, first)?;
    let second = parse::database_in_range(cx, second)?;
    let keyspace = cx.keys.keyspace();
    keyspace.swap_dbs(first, second, cx.keys.thread(), || {
        cx.server.warming.swap(first, second);
    });
    cx.reply.ok();
    Ok(())
}

fn flushdb(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    check_mode(args)?;
    flush(cx, cx.keys.db()..cx.keys.db() + 1);
    cx.reply.ok();
    Ok(())
}

fn flushall(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    check_mode(args)?;
    flush(cx, 0..cx.config.databases);
    cx.reply.ok();
    Ok(())
}

/// Both modes remove the keys at once and free many of them in the background.
fn check_mode(args: &Args<'_>) -> Result<(), CommandError> {
    let known =
        |word: &[u8]| word.eq_ignore_ascii_case(b"ASYNC") || word.eq_ignore_ascii_case(b"SYNC");
    let fits = args.len() <= 2 && args.get(1).is_none_or(known);
    if fits {
        Ok(())
    } else {
        Err(CommandError::Syntax)
    }
}

fn flush(cx: &Context<'_>, dbs: Range<usize>) {
    // After a crash a database may have keys on disk that are not counted yet.
    let tier = cx.server.engine.tier.as_ref();
    let is_counted = tier.is_none_or(|tier| tier.is_counted());
    let (keyspace, thread) = (cx.keys.keyspace(), cx.keys.thread());
    keyspace.flush_dbs(dbs.clone(), is_counted, thread, || {
        cx.server.warming.flush(dbs);
    });
}

#[cfg(test)]
mod tests {
    use crate::keyspace::ThreadSlot;
    use crate::testing::{Db, script};

    #[test]
    fn dbsize_counts_a_key_once_that_was_set_over_a_cold_one() {
        let mut db = Db::tiered(|_| {});
        for i in 0..20 {
            db.run(&format!("SET key{i} old PX {}", 100_000 + i)).ok();
        }
        db.write();
        db.demote_all();
        for i in 10..30 {
            db.run(&format!("SET key{i} new")).ok();
        }
        db.run("DBSIZE").int(30);
        db.run("DEL key15 key25").int(2);
        db.run("DBSIZE").int(28);
        db.run("FLUSHDB").ok();
        db.run("DBSIZE").int(0);
        db.run("SET key1 newest").ok();
        db.run("DBSIZE").int(1);
        db.write();
        db.run("DBSIZE").int(1);
    }

    /// Nothing was counted, so that nothing had changed, and the reply came before the disk had it, also under `always`.
    #[test]
    fn a_flush_of_keys_that_are_not_counted_yet_is_a_change() {
        let mut db = Db::tiered(|_| {});
        db.run("SET key v").ok();
        db.write();
        let mut db = db.killed_and_uncounted();
        let changes = |db: &Db| {
            let counters = db.engine().keyspace.counters(ThreadSlot(0));
            counters.changes.read()
        };
        let before = changes(&db);
        db.run("FLUSHDB").ok();
        assert!(changes(&db) > before);
    }

    #[test]
    fn keys_are_shown_while_they_are_counted_after_a_crash() {
        let mut db = Db::tiered(|_| {});
        for i in 0..200 {
            db.run(&format!("SET key{i} v")).ok();
            db.run(&format!("SET timed{i} v PX {}", 5_000 + i)).ok();
        }
        db.run("SELECT 3").ok();
        db.run("SET other v").ok();
        db.write();
        let mut db = db.killed_and_uncounted();
        let all = sorted(&mut db, "KEYS *");
        assert_eq!(all.len(), 400);
        assert_eq!(sorted(&mut db, "SCAN 0 COUNT 1000000")[1..], all);
        for _ in 0..20 {
            let key = sorted(&mut db, "RANDOMKEY").remove(0);
            assert!(all.contains(&key), "{key}");
            db.run(&format!("EXISTS {key}")).int(1);
        }
        db.run("SELECT 3").ok();
        db.run("RANDOMKEY").bulk("other");
        db.run("SELECT 4").ok();
        db.run("RANDOMKEY").nil();
        db.run("SELECT 0").ok();
        // What comes and goes meanwhile is counted once.
        db.run("DEL key0 timed0 none").int(2);
        db.run("SET key1 new").ok();
        db.run("SET timed1 new").ok();
        db.run("SET fresh v").ok();
        db.run("GET key2").bulk("v");
        db.run("MOVE key3 4").int(1);
        db.run("RENAME key4 renamed").ok();
        db.run("PERSIST timed2").int(1);
        db.run("EXPIRE key5 4").int(1);
        db.demote_all();
        db.advance(5_050);
        db.expire();
        db.count();
        db.advance(2_000);
        db.expire();
        let shown = sorted(&mut db, "KEYS *");
        db.run("DBSIZE").int(shown.len() as i64);
        // 200 keys but three, and fresh, renamed, and two that are timed no more.
        assert_eq!(shown.len(), 200 - 4 + 2 + 2, "{shown:?}");
        db.write();
        db.run("DBSIZE").int(shown.len() as i64);
        db.run("FLUSHALL").ok();
        db.run("DBSIZE").int(0);
        db.run("RANDOMKEY").nil();
    }

    #[test]
    fn dbsize_and_the_writer_take_an_older_version_out_of_the_count_once() {
        let mut db = Db::tiered(|_| {});
        for turn in 0..4 {
            for i in 0..20 {
                db.run(&format!("SET key{i} {turn}")).ok();
            }
            if turn % 2 == 0 {
                db.run("DBSIZE").int(20);
            }
            db.write();
            db.run("DBSIZE").int(20);
            db.demote_all();
        }
        db.advance(1_000);
        db.run("DBSIZE").int(20);
    }

    /// The words of a reply, sorted: the bulk strings and numbers without their headers.
    fn sorted(db: &mut Db, line: &str) -> Vec<String> {
        let bytes = db.run(line).bytes().to_vec();
        let mut words: Vec<String> = String::from_utf8(bytes)
            .expect("the keys are text")
            .lines()
            .filter(|line| !line.starts_with(['*', '$']))
            .map(str::to_owned)
            .collect();
        words.sort();
        words
    }

    fn cold_keys(count: usize) -> Db {
        let mut db = Db::tiered(|_| {});
        for i in 0..count {
            db.run(&format!("SET key:{i:04} {i}")).ok();
        }
        db.write();
        db.demote_all();
        db
    }

    #[test]
    fn keys_of_cold_keys_keep_nothing_of_those_that_do_not_match() {
        let mut db = cold_keys(1_000);
        db.run("SET key:0005 hot").ok();
        db.run("HSET key:2000 f v").int(1);
        db.run("DEL key:0006").int(1);
        let before = db.engine().tier.as_ref().map(|tier| tier.memory_bytes());
        db.run("KEYS nomatch*").bulks(&[]);
        assert_eq!(
            sorted(&mut db, "KEYS key:000?"),
            [0, 1, 2, 3, 4, 5, 7, 8, 9].map(|i| format!("key:000{i}"))
        );
        assert_eq!(sorted(&mut db, "KEYS *").len(), 1_000);
        // Pages are counted while they live, and no longer.
        let after = db.engine().tier.as_ref().map(|tier| tier.memory_bytes());
        assert_eq!(before, after);
    }

    #[test]
    fn keys_that_take_more_memory_than_a_reply_may_are_refused() {
        let mut db = cold_keys(1_000);
        db.run("CONFIG SET maxmemory 1000").ok();
        db.run("KEYS *").error(super::TOO_LONG);
        assert_eq!(sorted(&mut db, "KEYS key:000*").len(), 10);
        db.run("CONFIG SET maxmemory 0").ok();
        assert_eq!(sorted(&mut db, "KEYS *").len(), 1_000);
    }

    #[test]
    fn scan_of_cold_keys_goes_on_where_the_keys_of_another_database_lie_between() {
        let mut db = cold_keys(1_000);
        db.run("SELECT 1").ok();
        for i in 0..20 {
            db.run(&format!("SET own:{i:02} 1")).ok();
        }
        db.write();
        db.demote_all();
        let (mut cursor, mut found, mut pages) = ("0".to_owned(), Vec::new(), 0);
        loop {
            let reply = db.run(&format!("SCAN {cursor} COUNT 20"));
            let text = String::from_utf8_lossy(reply.bytes()).into_owned();
            let mut words = text.lines().filter(|l| !l.starts_with(['*', '$']));
            cursor = words.next().expect("a reply has a cursor").to_owned();
            found.extend(words.map(str::to_owned));
            pages += 1;
            if cursor == "0" {
                break;
            }
        }
        found.sort();
        let expected: Vec<_> = (0..20).map(|i| format!("own:{i:02}")).collect();
        assert_eq!(found, expected);
        assert!(pages > 2, "no page goes over everything: {pages}");
    }

    script!(keys_shows_what_matches_and_lives, |db| {
        db.run("KEYS *").bulks(&[]);
        for key in ["one", "two", "three", "gone"] {
            db.run(&format!("SET {key} 1")).ok();
        }
        db.run("PEXPIRE gone 1").int(1);
        db.advance(1);
        assert_eq!(sorted(&mut db, "KEYS *"), ["one", "three", "two"]);
        assert_eq!(sorted(&mut db, "KEYS t[a-z]*"), ["three", "two"]);
        db.run("KEYS ?ne").bulks(&["one"]);
        db.run("KEYS ONE").bulks(&[]);
        db.run("MOVE one 1").int(1);
        assert_eq!(sorted(&mut db, "KEYS *"), ["three", "two"]);
    });

    script!(scan_walks_over_all_keys, |db| {
        for i in 0..300 {
            db.run(&format!("SET key:{i} 1")).ok();
        }
        let (mut cursor, mut found) = ("0".to_owned(), std::collections::BTreeSet::new());
        loop {
            let reply = db.run(&format!("SCAN {cursor} COUNT 7 MATCH key:*"));
            let text = String::from_utf8_lossy(reply.bytes()).into_owned();
            let mut lines = text.lines().skip(2).step_by(2);
            cursor = lines.next().expect("a reply has a cursor").to_owned();
            found.extend(
                text.lines()
                    .filter(|l| l.starts_with("key:"))
                    .map(str::to_owned),
            );
            if cursor == "0" {
                break;
            }
        }
        assert_eq!(found.len(), 300);
    });

    script!(memory: scan_drops_what_has_expired, |db| {
        db.run("SET k v PX 1").ok();
        db.advance(1);
        db.run("KEYS *").bulks(&[]);
        db.run("SCAN 0 COUNT 100").is("*2\r\n$1\r\n0\r\n*0\r\n");
        db.run("DBSIZE").int(0);
    });

    script!(scan_filters_by_pattern_and_type, |db| {
        db.run("SET a 1").ok();
        db.run("SET b 1").ok();
        db.run("SCAN 0 COUNT 100 MATCH b")
            .is("*2\r\n$1\r\n0\r\n*1\r\n$1\r\nb\r\n");
        db.run("SCAN 0 COUNT 100 TYPE hash")
            .is("*2\r\n$1\r\n0\r\n*0\r\n");
        assert_eq!(
            sorted(&mut db, "SCAN 0 COUNT 100 TYPE STRING"),
            ["0", "a", "b"]
        );
        db.run("SCAN 18446744073709551615")
            .is("*2\r\n$1\r\n0\r\n*0\r\n");
    });

    script!(scan_refuses_what_redis_refuses, |db| {
        db.run("SCAN x foo bar").error("ERR invalid cursor");
        db.run("SCAN 18446744073709551616")
            .error("ERR invalid cursor");
        db.run("SCAN 0 COUNT 0").error("ERR syntax error");
        db.run("SCAN 0 COUNT").error("ERR syntax error");
        db.run("SCAN 0 foo bar").error("ERR syntax error");
        db.run("SCAN 0 COUNT x")
            .error("ERR value is not an integer or out of range");
    });

    script!(randomkey_finds_the_only_living_key, |db| {
        db.run("RANDOMKEY").nil();
        db.run("SET gone 1").ok();
        db.run("PEXPIRE gone 1").int(1);
        db.run("SET k 1").ok();
        db.advance(1);
        db.run("RANDOMKEY").bulk("k");
        db.run("DEL k").int(1);
        db.run("RANDOMKEY").nil();
    });

    script!(swapdb_exchanges_contents, |db| {
        db.run("SET a 1").ok();
        db.run("SWAPDB 0 3").ok();
        db.run("DBSIZE").int(0);
        db.run("SWAPDB 3 0").ok();
        db.run("SWAPDB 0 0").ok();
        db.run("GET a").bulk("1");
        db.run("SWAPDB x y").error("ERR invalid first DB index");
        db.run("SWAPDB 0 2147483648")
            .error("ERR invalid second DB index");
        db.run("SWAPDB 0 16").error("ERR DB index is out of range");
        db.run("SWAPDB -1 0").error("ERR DB index is out of range");
    });

    script!(flushdb_empties_one_database_and_flushall_each, |db| {
        db.run("SET a 1").ok();
        db.run("SET b 1").ok();
        db.run("MOVE a 1").int(1);
        db.run("FLUSHDB sync").ok();
        db.run("DBSIZE").int(0);
        db.run("SWAPDB 0 1").ok();
        db.run("DBSIZE").int(1);
        db.run("SWAPDB 0 1").ok();
        db.run("FLUSHALL ASYNC").ok();
        db.run("SWAPDB 0 1").ok();
        db.run("DBSIZE").int(0);
        db.run("FLUSHALL").ok();
        db.run("SET a 1").ok();
        db.run("FLUSHDB foo").error("ERR syntax error");
        db.run("FLUSHALL SYNC ASYNC").error("ERR syntax error");
        db.run("DBSIZE").int(1);
    });

    #[test]
    fn a_number_of_a_database_is_below_the_number_of_databases() {
        let config = crate::config::Config {
            databases: 2,
            ..crate::config::Config::default()
        };
        let mut db = Db::with_config(config);
        db.run("SWAPDB 0 1").ok();
        db.run("SWAPDB 0 2").error("ERR DB index is out of range");
        db.run("SET a 1").ok();
        db.run("MOVE a 2").error("ERR DB index is out of range");
        db.run("COPY a b DB 2")
            .error("ERR DB index is out of range");
    }
}
