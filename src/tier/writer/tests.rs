use super::moment::Gathering;
use super::*;
use crate::testing::Db;
use crate::tier::chunks::LONG_BYTES;
use crate::tier::progress::Progress;

fn cold_keys() -> Db {
    let mut db = Db::tiered(|_| {});
    for i in 0..10 {
        db.run(&format!("SET key{i} old")).ok();
    }
    db.write();
    db.demote_all();
    db
}

fn tier(engine: &Engine) -> &Tier {
    engine.tier.as_ref().expect("there is a tier")
}

#[test]
fn the_name_of_an_emptied_database_is_not_given_out_again_after_a_kill() {
    let mut db = Db::tiered(|_| {});
    db.run("SET a 1").ok();
    db.write();
    // What the databases are called is of the moment that the run has, however late the database was emptied.
    db.run("FLUSHDB").ok();
    db.run("SET b 2").ok();
    db.write();
    db.run("FLUSHDB").ok();
    let mut db = db.killed();
    db.run("GET b").bulk("2");
    // Another database is emptied, and gets the next name.
    db.run("SELECT 1").ok();
    db.run("SET c 3").ok();
    db.run("FLUSHDB").ok();
    db.run("EXISTS b").int(0);
    db.run("SET c 4").ok();
    db.run("DBSIZE").int(1);
    db.run("KEYS *").bulks(&["c"]);
    db.run("SELECT 0").ok();
    db.run("KEYS *").bulks(&["b"]);
}

/// Runs commands while a run is being written, behind the first copy of what it takes; what a kill leaves then.
fn after_a_run_beside(before: &[&str], meanwhile: &[&str]) -> Db {
    let mut db = Db::tiered(|_| {});
    for command in before {
        let _ = db.run(command);
    }
    let engine = std::sync::Arc::clone(db.engine_arc());
    let mut writer = Writer::new(&engine, tier(&engine));
    let mut taken = writer.take_changed();
    taken.bytes = usize::MAX;
    let mut disk = tier(&engine).disk.lock();
    let mut run = disk
        .as_mut()
        .expect("it is open")
        .begin_run()
        .expect("the disk is well");
    let mut draft = Draft::new(&tier(&engine).dir, run.generation());
    writer
        .write_places(
            &taken.sorted(),
            &Gathering::of(0, 0),
            &mut Sink::Run(&mut draft),
        )
        .expect("the disk is well");
    for command in meanwhile {
        let _ = db.run(command);
    }
    let mut taken = writer.take_changed();
    let spaces = writer
        .write_moment(&mut taken, &mut Sink::Run(&mut draft))
        .expect("the disk is well");
    let key = record::spaces_key(tier(&engine).store.hash_seed());
    draft
        .put(tier(&engine).store.hash_of(&key), &key, &spaces.encode())
        .expect("the disk is well");
    draft
        .write(
            &mut run,
            &tier(&engine).store,
            &spaces.names,
            &Progress::default(),
        )
        .expect("the disk is well");
    run.finish().expect("the disk is well");
    drop((writer, disk));
    drop(engine);
    db.killed()
}

/// The keys of a database, in order.
fn keys(db: &mut Db, index: usize) -> String {
    db.run(&format!("SELECT {index}")).ok();
    let told = db.run("KEYS *");
    let text = String::from_utf8_lossy(told.bytes()).into_owned();
    let mut keys: Vec<_> = text.lines().skip(2).step_by(2).collect();
    keys.sort_unstable();
    keys.join(" ")
}

#[test]
fn a_run_is_of_one_moment() {
    let before = ["SET a 1", "SET b 1", "SELECT 1", "SET c 1", "SELECT 0"];
    let mut db = after_a_run_beside(&before, &["SWAPDB 0 1"]);
    assert_eq!(
        (keys(&mut db, 0), keys(&mut db, 1)),
        ("c".into(), "a b".into())
    );
    let mut db = after_a_run_beside(&before, &["MOVE a 1", "RENAME b d"]);
    assert_eq!(
        (keys(&mut db, 0), keys(&mut db, 1)),
        ("d".into(), "a c".into())
    );
    let mut db = after_a_run_beside(&before, &["FLUSHDB", "SET e 1"]);
    assert_eq!(
        (keys(&mut db, 0), keys(&mut db, 1)),
        ("e".into(), "c".into())
    );
    let mut db = after_a_run_beside(&before, &["COPY a f DB 1", "DEL a", "MSET b 2 g 2"]);
    assert_eq!(
        (keys(&mut db, 0), keys(&mut db, 1)),
        ("b g".into(), "c f".into())
    );
    db.run("SELECT 0").ok();
    db.run("MGET b g").bulks(&["2", "2"]);
    let mut db = after_a_run_beside(&before, &["FLUSHALL"]);
    assert_eq!(
        (keys(&mut db, 0), keys(&mut db, 1)),
        (String::new(), String::new())
    );
}

#[test]
fn a_collection_that_changes_while_a_run_is_written_is_of_its_moment() {
    let mut fill = vec!["SADD s first".to_owned(), "RPUSH l first".to_owned()];
    for i in 0..3000 {
        fill.push(format!("SADD s member:{i:060}"));
        fill.push(format!("RPUSH l element:{i:060}"));
        fill.push(format!("XADD x {}-1 f value:{i:060}", i + 1));
    }
    let fill: Vec<_> = fill.iter().map(String::as_str).collect();
    let meanwhile = [
        "SREM s first",
        "RPUSH l last",
        "SADD s last",
        "XADD x 9999-1 f v",
        "LPOP l",
    ];
    let mut db = after_a_run_beside(&fill, &meanwhile);
    db.run("SCARD s").int(3001);
    db.run("SMISMEMBER s first last").ints(&[0, 1]);
    db.run("LLEN l").int(3001);
    db.run("LINDEX l -1").bulk("last");
    db.run("LINDEX l 0").bulk(format!("element:{:060}", 0));
    db.run("XLEN x").int(3001);
    db.run("DBSIZE").int(3);
    let mut db = after_a_run_beside(&fill, &["DEL s", "RENAME l m", "SET x v"]);
    db.run("DBSIZE").int(2);
    db.run("EXISTS s").int(0);
    db.run("LLEN m").int(3001);
    db.run("GET x").bulk("v");
}

#[test]
fn a_long_value_that_changes_while_a_run_is_written_is_of_its_moment() {
    let mut db = Db::tiered(|_| {});
    let long = "v".repeat(3 * LONG_BYTES);
    db.run_args(&[b"SET", b"k", long.as_bytes()]).ok();
    db.write();
    db.run("APPEND k w").int(3 * LONG_BYTES as i64 + 1);
    db.run("SET other v").ok();
    db.write();
    let mut db = db.killed();
    db.run("STRLEN k").int(3 * LONG_BYTES as i64 + 1);
    db.run("GETRANGE k -2 -1").bulk("vw");
}

#[test]
fn what_a_run_has_is_not_taken_back_by_an_older_log() {
    let mut db =
        Db::tiered(|config| config.tier_durability = crate::config::TierDurability::Always);
    db.run("SET k 1").ok();
    let engine = std::sync::Arc::clone(db.engine_arc());
    let mut writer = Writer::new(&engine, tier(&engine));
    writer.log_changes().expect("the disk is well");
    let path = tier(&engine).dir.join("log");
    let log = std::fs::read(&path).expect("there is a log");
    db.run("SET k 2").ok();
    writer.write_changes().expect("the disk is well");
    // The kill came between the end of the run and that of the log.
    std::fs::write(&path, &log).expect("the disk is well");
    drop(writer);
    drop(engine);
    let mut db = db.killed();
    db.run("GET k").bulk("2");
}

#[test]
fn under_always_a_flush_and_an_exchange_survive_in_the_log() {
    let mut db =
        Db::tiered(|config| config.tier_durability = crate::config::TierDurability::Always);
    db.run("MSET a 1 b 2").ok();
    db.write();
    let engine = std::sync::Arc::clone(db.engine_arc());
    let mut writer = Writer::new(&engine, tier(&engine));
    for command in ["FLUSHDB", "SET c 3", "SWAPDB 0 1"] {
        let _ = db.run(command);
        writer.log_changes().expect("the disk is well");
    }
    drop(writer);
    drop(engine);
    let mut db = db.killed();
    assert_eq!(
        (keys(&mut db, 0), keys(&mut db, 1)),
        (String::new(), "c".into())
    );
    db.run("DBSIZE").int(1);
}

/// What it gives, without a runtime that waits.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime").block_on(future)
}

#[test]
fn a_writer_that_panics_lets_nobody_wait() {
    use super::super::{Met, Need};
    use crate::threads::{FAILURES, Part};

    let mut db = Db::tiered(|_| {});
    let engine = Arc::clone(&db.server().engine);
    let threads = Tier::start(&engine).expect("threads");
    let threads = threads.expect("there is a tier");
    let tier = tier(&engine);
    db.run("SET key value").ok();
    assert!(matches!(
        block_on(tier.meet(Need::Durable)),
        Met::Written(true)
    ));
    let before = FAILURES.of(Part::TierWriter);
    let waiting = tier.meet(Need::Room);
    tier.pace.panics.store(true, Ordering::Relaxed);
    // The one who waits, or the next ones: nobody for ever.
    let _ = block_on(waiting);
    let failed = block_on(tier.meet(Need::Durable));
    assert!(matches!(failed, Met::Written(false)), "{failed:?}");
    assert!(!tier.sync());
    assert!(tier.is_failing());
    assert!(FAILURES.of(Part::TierWriter) > before);
    threads.stop(&engine);
}

/// Keys on disk, a disk that takes nothing more, and commands; then a failed run and a kill.
fn after_a_full_disk(before: &[&str], meanwhile: &[&str]) -> (Db, u64) {
    let mut db = Db::tiered(|_| {});
    for command in before {
        let _ = db.run(command);
    }
    db.write();
    let engine = std::sync::Arc::clone(db.engine_arc());
    let mut writer = Writer::new(&engine, tier(&engine));
    let disk = tier(&engine).disk.lock().take();
    for command in meanwhile {
        let _ = db.run(command);
    }
    assert!(writer.write_changes().is_err());
    assert!(!writer.recover(false));
    let unsaved = tier(&engine).unsaved();
    drop((writer, disk));
    drop(engine);
    (db.killed(), unsaved)
}

#[test]
fn no_older_version_comes_back_after_a_full_disk() {
    let long = format!("SET long {}", "v".repeat(5_000));
    let huge = format!("SET huge {}", "v".repeat(5 << 20));
    let before = [
        "MSET k old d old a old t old",
        "SADD s 1 2",
        &long,
        &huge,
        "SELECT 1",
        "SET x 1",
        "SELECT 0",
    ];
    let overwritten = format!("SETRANGE long 0 {}", "w".repeat(2_000));
    let meanwhile = [
        "SETRANGE huge 0 w",
        "SET k new",
        "DEL d",
        "RENAME a b",
        "PEXPIREAT t 1",
        "SREM s 1",
        &overwritten,
        "SWAPDB 0 1",
        "SET y 2",
    ];
    let (mut db, unsaved) = after_a_full_disk(&before, &meanwhile);
    assert_eq!(unsaved, 1);
    for _ in 0..2 {
        assert_eq!(keys(&mut db, 0), "x y");
        assert_eq!(keys(&mut db, 1), "b k long s");
        db.run("DBSIZE").int(4);
        db.run("STRLEN long").int(5_000);
        db.run("GETRANGE long 1999 2000").bulk("wv");
        db.run("MGET k b d a")
            .is("*4\r\n$3\r\nnew\r\n$3\r\nold\r\n$-1\r\n$-1\r\n");
        db.run("SMEMBERS s").bulks(&["2"]);
        db.run("EXISTS huge t").int(0);
        // The disk has room again.
        db.write();
        db = db.killed();
    }
}

#[test]
fn what_a_full_disk_has_of_a_long_value_is_not_lost_by_its_last_change() {
    let mut fill = vec![
        format!("SET moved {}", "v".repeat(5_000)),
        format!("SET changed {}", "v".repeat(5_000)),
        format!("SET long {}", "v".repeat(LONG_BYTES + 1)),
    ];
    for i in 0..3_000 {
        fill.push(format!("SADD s member:{i:060}"));
        fill.push(format!("SADD t member:{i:060}"));
        fill.push(format!("XADD x {}-1 f value:{i:060}", i + 1));
    }
    let fill: Vec<_> = fill.iter().map(String::as_str).collect();
    let meanwhile = [
        "RENAME moved there",
        "APPEND changed w",
        "APPEND long w",
        "SREM s member:0",
        "SADD s last",
        "RENAME t u",
        "XADD x 9999-1 f v",
    ];
    let (mut db, unsaved) = after_a_full_disk(&fill, &meanwhile);
    assert_eq!(unsaved, 0);
    for _ in 0..2 {
        assert_eq!(keys(&mut db, 0), "changed long s there u x");
        db.run("DBSIZE").int(6);
        db.run("STRLEN there").int(5_000);
        db.run("GETRANGE changed 4999 5000").bulk("vw");
        db.run("STRLEN long").int(LONG_BYTES as i64 + 2);
        db.run("SCARD s").int(3_001);
        db.run("SISMEMBER s last").int(1);
        db.run("SCARD u").int(3_000);
        db.run("XLEN x").int(3_001);
        db.write();
        db = db.killed();
    }
}

#[test]
fn a_flush_on_a_full_disk_survives() {
    let (mut db, unsaved) = after_a_full_disk(
        &["MSET a 1 b 2", "SELECT 1", "SET c 1"],
        &["FLUSHDB", "SET d 4", "SELECT 0", "DEL a"],
    );
    assert_eq!(unsaved, 0);
    assert_eq!(
        (keys(&mut db, 0), keys(&mut db, 1)),
        ("b".into(), "d".into())
    );
}

#[test]
fn what_a_failing_disk_does_not_take_is_refused() {
    let mut db = Db::tiered(|config| config.tier_write_ahead_limit_ms = 0);
    db.run("MSET k 1 l 2").ok();
    db.write();
    let engine = std::sync::Arc::clone(db.engine_arc());
    let fail = |engine: &Engine| {
        let _ = tier(engine).pace.begin(|| true);
        tier(engine).pace.end(false);
    };
    fail(&engine);
    let refusal = "IOERR the disk tier cannot be written, see the log of the server";
    for command in ["SET k 2", "DEL k", "RENAME k m", "RPUSH list 1"] {
        db.run(command).error(refusal);
    }
    db.run("GET k").bulk("1");
    tier(&engine).has_marks.store(true, Ordering::Relaxed);
    db.run("SET k 2").error(refusal);
    db.run("DEL k").int(1);
    db.run("PERSIST l").int(0);
    tier(&engine).unsaved.store(1, Ordering::Relaxed);
    db.run("PERSIST l").error(refusal);
    db.run("DEL l").int(1);
    db.run("FLUSHALL").ok();
    let told = db.run("INFO persistence");
    assert!(String::from_utf8_lossy(told.bytes()).contains("rdb_last_bgsave_status:err"));
    let _ = tier(&engine).pace.begin(|| true);
    tier(&engine).pace.end(true);
    db.run("SET k 3").ok();
    db.run("CONFIG SET tier-write-ahead-limit 3600000").ok();
    fail(&engine);
    db.run("SET k 4").ok();
}

fn disk_bytes_of(db: &Db) -> u64 {
    generation_bytes(tier(db.engine()))
}

fn fill(db: &mut Db) {
    for i in 0..3_000 {
        let noise: String = (0..8)
            .map(|j| {
                format!(
                    "{:08x}",
                    (i * 31 + j) * 0x9e37_79b1_u64 as u32 as u64 % 0xffff_ffff
                )
            })
            .collect();
        db.run(&format!("SET key:{i} {noise}{noise}{noise}{noise}"))
            .ok();
    }
    db.write();
    assert!(disk_bytes_of(db) > 200_000, "{}", disk_bytes_of(db));
}

#[test]
fn a_flush_on_a_full_disk_frees_it() {
    let mut db = Db::tiered(|_| {});
    fill(&mut db);
    let engine = std::sync::Arc::clone(db.engine_arc());
    let mut writer = Writer::new(&engine, tier(&engine));
    db.run("FLUSHALL").ok();
    db.run("SET new 1").ok();
    assert!(writer.recover(false));
    assert!(disk_bytes_of(&db) < 20_000);
    drop(writer);
    drop(engine);
    db.write();
    let mut db = db.killed();
    assert_eq!(keys(&mut db, 0), "new");
    db.run("DBSIZE").int(1);
}

#[test]
fn deleted_keys_give_their_disk_back() {
    for all in ["FLUSHALL", "FLUSHDB", "DEL"] {
        let mut db = Db::tiered(|_| {});
        fill(&mut db);
        match all {
            "DEL" => (0..3_000).for_each(|i| db.run(&format!("DEL key:{i}")).int(1)),
            _ => db.run(all).ok(),
        }
        db.run("SET new 1").ok();
        db.write();
        if all == "DEL" {
            db.run("DEL new").int(1);
            db.write();
        }
        assert!(
            disk_bytes_of(&db) < 120_000,
            "{all}: {}",
            disk_bytes_of(&db)
        );
        let mut db = db.killed();
        let left = if all == "DEL" { "" } else { "new" };
        assert_eq!(keys(&mut db, 0), left);
    }
}

#[test]
fn a_disk_of_which_little_is_wanted_is_cleared_up() {
    let mut db = Db::tiered(|_| {});
    for _ in 0..3 {
        fill(&mut db);
    }
    let before = disk_bytes_of(&db);
    for i in 0..2_700 {
        db.run(&format!("DEL key:{i}")).int(1);
    }
    db.write();
    db.demote_all();
    let engine = std::sync::Arc::clone(db.engine_arc());
    let mut writer = Writer::new(&engine, tier(&engine));
    for _ in 0..60 {
        writer.write_changes().expect("the disk is well");
        writer.keep_limit();
    }
    assert!(
        disk_bytes_of(&db) < before / 3,
        "{before} {}",
        disk_bytes_of(&db)
    );
    drop(writer);
    drop(engine);
    db.run("DBSIZE").int(300);
    let mut db = db.killed();
    db.run("DBSIZE").int(300);
    db.run("EXISTS key:2700 key:2999 key:0 key:2699").int(2);
}

#[test]
fn dbsize_answers_while_the_disk_cannot_be_read() {
    let mut db = cold_keys();
    let disk = tier(db.engine()).disk.lock().take();
    disk.expect("the tier is open")
        .close()
        .expect("the disk is well");
    db.run("SET key0 new").ok();
    // Nobody knows that this is one of the ten.
    db.run("DBSIZE").int(11);
}

#[test]
fn many_large_collections_are_not_copied_all_at_once() {
    const COLLECTIONS: usize = 12;
    let mut db = Db::tiered(|_| {});
    let engine = std::sync::Arc::clone(db.engine_arc());
    let element = "e".repeat(400);
    for i in 0..COLLECTIONS {
        for _ in 0..10 {
            let elements = format!(" {element}").repeat(100);
            let _ = db.run(&format!("RPUSH list{i}{elements}"));
        }
    }
    let one = 10 * 100 * element.len();
    let mut writer = Writer::new(&engine, tier(&engine));
    let mut draft = Draft::new(&tier(&engine).dir, 0);
    let mut places = writer.take_changed().sorted();
    assert_eq!(places.len(), COLLECTIONS);
    let late = writer.copy_late(&places, &mut Sink::Run(&mut draft));
    let late = late.expect("the disk is well").memory_bytes();
    assert!(late < 2 * one, "{late} bytes of {COLLECTIONS} times {one}");
    writer.copies = writer.copy_alone(&mut places);
    writer
        .write_copies(&mut Sink::Run(&mut draft))
        .expect("the disk is well");
    let kept = writer.copies.memory_bytes();
    assert!(
        kept < 4 * LONG_BYTES,
        "{kept} bytes of {COLLECTIONS} times {one}"
    );
}

/// The counts that are kept over a stop were of the databases as a client had left them after the last run.
#[test]
fn what_changes_behind_the_last_run_of_a_stop_is_counted_by_the_next_start() {
    let words: String = (0..9_000).map(|i| format!(" {i:010}")).collect();
    let late: [&[&str]; 5] = [
        &[],
        // Nothing of its members changes.
        &["EXPIRE large 100"],
        &["SWAPDB 0 1"],
        &["SET late 1", "SELECT 1", "SET late 1"],
        &["FLUSHALL"],
    ];
    for late in late {
        let mut db = cold_keys();
        db.run("DEL key0").int(1);
        db.run(&format!("SADD large{words}")).int(9_000);
        let engine = std::sync::Arc::clone(db.engine_arc());
        let mut writer = Writer::new(&engine, tier(&engine));
        writer.write_changes().expect("the disk is well");
        for command in late {
            let _ = db.run(command);
        }
        writer.close(true, true);
        drop(writer);
        drop(engine);
        let mut db = db.killed_and_uncounted();
        assert_eq!(tier(db.engine()).is_counted(), late.is_empty(), "{late:?}");
        db.count();
        db.run("DBSIZE").int(10);
    }
}

/// A key counted once with what it was when it was first written, however much was added before a run took it: nobody took turns, no
/// run was long enough to begin, and a kill took nine seconds.
#[test]
fn what_is_added_to_a_key_that_waits_to_be_written_counts() {
    let mut db = Db::tiered(|_| {});
    let long = "v".repeat(64_000);
    let words: Vec<String> = (0..4_000).map(|i| format!("member:{i:010}")).collect();
    let words = words.join(" ");
    let pairs = format!("{words} {words}");
    for (begin, grow) in [
        ("SET s x", format!("APPEND s {long}")),
        ("SET t x", "SETRANGE t 64000 x".to_owned()),
        ("SET u x", format!("SET u {long}")),
        ("RPUSH l x", format!("RPUSH l {words}")),
        ("SADD m x", format!("SADD m {words}")),
        ("HSET h x y", format!("HSET h {pairs}")),
        ("XADD e 1-1 x y", format!("XADD e 1-2 x {long}")),
    ] {
        let _ = db.run(begin);
        let before = db.engine().keyspace.unwritten_bytes();
        let _ = db.run(&grow);
        let grown = db.engine().keyspace.unwritten_bytes() - before;
        assert!(grown >= 60_000, "{begin}: {grown}");
        let changed = db.engine().keyspace.unwritten_bytes();
        let _ = db.run("GET s");
        assert_eq!(db.engine().keyspace.unwritten_bytes(), changed);
    }
}

/// One element pushed to a list of a million counted as the whole list, so that all other clients waited for up to a second.
#[test]
fn a_small_change_of_a_large_collection_counts_as_what_is_written_of_it() {
    let mut db = Db::tiered(|_| {});
    let words: Vec<String> = (0..20_000).map(|i| format!("member:{i:010}")).collect();
    let all = words.join(" ");
    let scored: String = words.iter().map(|word| format!("1 {word} ")).collect();
    let fields: String = words.iter().map(|word| format!("{word} 1 ")).collect();
    for (load, change, another, much) in [
        (
            "RPUSH l ",
            "LSET l 9 z",
            "LSET l 9000 z",
            "LINSERT l BEFORE member:0000000005",
        ),
        ("SADD s ", "SREM s member:0000000009", "SADD s y", "SADD s"),
        (
            "ZADD z ",
            "ZADD z 2 member:0000000009",
            "ZADD z 2 y",
            "ZADD z",
        ),
        ("HSET h ", "HSET h 1 w", "HSET h y w", "HSET h"),
    ] {
        let args = match &load[..1] {
            "Z" => &scored,
            "H" => &fields,
            _ => &all,
        };
        let _ = db.run(&format!("{load}{args}"));
        db.write();
        let unwritten = |db: &Db| db.engine().keyspace.unwritten_bytes();
        assert_eq!(unwritten(&db), 0, "{load}");
        let _ = db.run(change);
        let once = unwritten(&db);
        assert!((1..=20_000).contains(&once), "{change}: {once}");
        let _ = db.run(another);
        let twice = unwritten(&db);
        assert!((once + 1..=40_000).contains(&twice), "{another}: {twice}");
        // Nodes that get other numbers, or more than is followed: all of it is written.
        let _ = match much.starts_with("LINSERT") {
            true => db.run(&format!("{much} {}", "y".repeat(9000))),
            false => db.run(&format!("{much} {}", args.replace("member", "n"))),
        };
        assert!(unwritten(&db) > 200_000, "{much}: {}", unwritten(&db));
        db.write();
        assert_eq!(unwritten(&db), 0, "{much}");
    }
}

/// A list that several clients push to was written whole by each run: more than 4 MB of it had changed.
#[test]
fn the_many_nodes_of_a_list_or_stream_that_have_changed_are_written_and_no_others() {
    let mut db = Db::tiered(|_| {});
    let element = "e".repeat(1_000);
    for i in 0..3_000 {
        db.run(&format!("RPUSH l {i}:{element}")).int(i + 1);
        let _ = db.run(&format!("XADD s {}-1 f {i}:{element}", i + 1));
    }
    db.write();
    let ingested = |db: &Db| tier(db.engine()).store.stats().bytes_ingested;
    let written = |db: &mut Db, change: &dyn Fn(&mut Db)| {
        let before = ingested(db);
        change(db);
        db.write();
        ingested(db) - before
    };
    let all = written(&mut db, &|db| {
        let _ = db.run("COPY l m");
        let _ = db.run("COPY s t");
    });
    // A third of the nodes: many more than are copied at once.
    let third = written(&mut db, &|db| {
        for i in 0..1_000 {
            db.run(&format!("LSET l {i} {i}:changed{element}")).ok();
            let _ = db.run(&format!("XADD s {}-1 f {element}", 10_000 + i));
        }
    });
    assert!(third > all / 8 && third < all * 2 / 3, "{third} of {all}");
    let list = db.run("LRANGE l 0 -1").bytes().to_vec();
    let stream = db.run("XRANGE s - +").bytes().to_vec();
    let mut db = db.killed_and_uncounted();
    assert!(db.run("LRANGE l 0 -1").bytes() == list);
    assert!(db.run("XRANGE s - +").bytes() == stream);
}

/// A server whose memory held nearly as much as its disk could wrote all of it again and again, with nobody there.
#[test]
fn a_disk_that_is_too_small_for_memory_comes_to_rest() {
    for (limit, keys) in [(2 << 20, 6_000), (8 << 20, 6_000)] {
        let mut db = Db::tiered(|config| config.tier_max_bytes = limit);
        let engine = std::sync::Arc::clone(db.engine_arc());
        let mut writer = Writer::new(&engine, tier(&engine));
        let mut random = crate::random::Random(3);
        for i in 0..keys {
            let value: String = (0..64)
                .map(|_| format!("{:016x}", random.next_u64()))
                .collect();
            db.run(&format!("SET key:{i} {value}")).ok();
            if i % 300 == 299 {
                writer.write_changes().expect("the disk is well");
                writer.keep_limit();
            }
        }
        let rounds = |writer: &mut Writer<'_>, count: usize| {
            let before = tier(&engine).store.stats().bytes_ingested;
            for _ in 0..count {
                writer.write_changes().expect("the disk is well");
                writer.keep_limit();
            }
            tier(&engine).store.stats().bytes_ingested - before
        };
        let _ = rounds(&mut writer, 60);
        assert_eq!(rounds(&mut writer, 30), 0, "{limit}");
        assert!(disk_bytes_of(&db) < 2 * limit, "{}", disk_bytes_of(&db));
        // What changes is written, and what leaves memory.
        db.run("SET key:7 new").ok();
        assert!(rounds(&mut writer, 1) > 0);
        db.run("DBSIZE").int(keys);
        for i in 8..keys {
            assert!(db.run(&format!("GET key:{i}")).bulk_bytes().len() == 1024);
        }
        drop(writer);
    }
}
