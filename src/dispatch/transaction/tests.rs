//! Expected replies are those of Redis 8.10.2.

use crate::config::Config;
use crate::testing::{Db, script};

const BROKEN: &str = "EXECABORT Transaction discarded because of previous errors.";

/// Queues commands and gives what EXEC answers.
fn exec(db: &mut Db, lines: &[&str]) -> String {
    db.run("MULTI").ok();
    for line in lines {
        db.run(line).simple("QUEUED");
    }
    text(db, "EXEC")
}

fn text(db: &mut Db, line: &str) -> String {
    String::from_utf8_lossy(db.run(line).bytes()).into_owned()
}

script!(a_transaction_answers_what_its_commands_do, |db| {
    let lines = [
        "SET a b",
        "INCR a",
        "LPUSH a x",
        "BLPOP nokey 0",
        "XREAD BLOCK 0 STREAMS s $",
        "BLMOVE nokey other LEFT LEFT 0",
        "BRPOPLPUSH nokey other 0",
        "WAIT 0 0",
        "SELECT 1",
        "SET in1 v",
        "SELECT 0",
        "GET in1",
        "GET a",
    ];
    let wrong_type = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
    assert_eq!(
        exec(&mut db, &lines),
        format!(
            "*13\r\n+OK\r\n-ERR value is not an integer or out of range\r\n{wrong_type}*-1\r\n*-1\r\n$-1\r\n$-1\r\n:0\r\n\
             +OK\r\n+OK\r\n+OK\r\n$-1\r\n$1\r\nb\r\n"
        )
    );
    db.run("SELECT 1").ok();
    db.run("GET in1").bulk("v");
    assert_eq!(exec(&mut db, &[]), "*0\r\n");
    db.run("EXEC").error("ERR EXEC without MULTI");
    db.run("DISCARD").error("ERR DISCARD without MULTI");
});

script!(
    a_transaction_leaves_its_client_in_the_database_of_its_last_select,
    |db| {
        db.run("SET k 0").ok();
        let lines = [
            "GET k",
            "SELECT 3",
            "SET k 3",
            "SELECT 99",
            "GET k",
            "SELECT 2",
            "GET k",
        ];
        assert_eq!(
            exec(&mut db, &lines),
            "*7\r\n$1\r\n0\r\n+OK\r\n+OK\r\n-ERR DB index is out of range\r\n$1\r\n3\r\n+OK\r\n$-1\r\n"
        );
        db.run("SET k 2").ok();
        db.run("SELECT 3").ok();
        db.run("GET k").bulk("3");
        // The same key of several databases.
        let lines = ["INCR k", "SELECT 2", "INCR k", "SELECT 0", "INCR k"];
        assert_eq!(
            exec(&mut db, &lines),
            "*5\r\n:4\r\n+OK\r\n:3\r\n+OK\r\n:1\r\n"
        );
    }
);

script!(what_is_wrong_breaks_a_transaction, |db| {
    for line in [
        "SET k",
        "NOSUCH",
        "CONFIG NOSUCH",
        "CONFIG",
        "SHUTDOWN",
        "SAVE",
    ] {
        db.run("MULTI").ok();
        db.run("SET k v").simple("QUEUED");
        assert!(text(&mut db, line).starts_with("-ERR "), "{line}");
        db.run("SET k w").simple("QUEUED");
        db.run("EXEC").error(BROKEN);
        db.run("EXEC").error("ERR EXEC without MULTI");
        db.run("EXISTS k").int(0);
    }
    db.run("MULTI").ok();
    db.run("SHUTDOWN")
        .error("ERR Command not allowed inside a transaction");
    db.run("DISCARD").ok();
    const ARITY: &str =
        "EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command";
    db.run("EXEC x").error(ARITY);
    db.run("MULTI").ok();
    db.run("EXEC x").error(ARITY);
    db.run("EXEC").error("ERR EXEC without MULTI");
});

script!(what_runs_inside_multi_at_once, |db| {
    // Which is cold where keys spill.
    db.run("SET a v").ok();
    db.run("MULTI").ok();
    db.run("MULTI").error("ERR MULTI calls can not be nested");
    db.run("WATCH a")
        .error("ERR WATCH inside MULTI is not allowed");
    db.run("UNWATCH").simple("QUEUED");
    db.run("EXEC").is("*1\r\n+OK\r\n");
    db.run("MULTI").ok();
    db.run("SET k v").simple("QUEUED");
    db.run("DISCARD").ok();
    db.run("MULTI").ok();
    db.run("SET k v").simple("QUEUED");
    db.run("RESET").simple("RESET");
    db.run("EXEC").error("ERR EXEC without MULTI");
    db.run("EXISTS k").int(0);
    db.run("MULTI").ok();
    db.run("QUIT").ok();
    assert!(db.closed());
});

/// Whether a change by somebody else between WATCH and EXEC keeps the transaction from running.
fn conflicts(db: &mut Db, before: &[&str], change: &[&str]) -> bool {
    db.switch(1);
    db.run("RESET").simple("RESET");
    db.run("FLUSHALL").ok();
    for line in before {
        db.run(line).bytes();
    }
    db.run("WATCH k").ok();
    db.switch(0);
    for line in change {
        match line.strip_prefix("sleep ") {
            Some(ms) => db.advance(ms.parse().expect("a number")),
            None => {
                db.run(line).bytes();
            }
        }
    }
    db.run("SELECT 0").ok();
    db.switch(1);
    match &*exec(db, &["SET done yes"]) {
        "*-1\r\n" => {
            db.run("EXISTS done").int(0);
            true
        }
        "*1\r\n+OK\r\n" => false,
        other => panic!("{other}"),
    }
}

script!(a_transaction_runs_if_no_watched_key_has_changed, |db| {
    let set = &["SET k 1"][..];
    let hash = &["HSET k f v g v", "HPEXPIRE k 30 FIELDS 1 f"][..];
    let cases: &[(&[&str], &[&str], bool)] = &[
        (set, &["SET k 1"], true),
        (
            set,
            &["GET k", "TOUCH k", "OBJECT ENCODING k", "TTL k"],
            false,
        ),
        (set, &["EXPIRE k 100"], true),
        (set, &["PERSIST k"], false),
        (set, &["DEL k"], true),
        (set, &["RENAME k other"], true),
        (set, &["MOVE k 3"], true),
        (set, &["FLUSHDB"], true),
        (set, &["FLUSHALL"], true),
        (set, &["SWAPDB 0 1"], true),
        (set, &["SWAPDB 1 2"], false),
        (set, &["SELECT 1", "SET k 1", "FLUSHDB"], false),
        (set, &["SET other 1", "COPY k copy"], false),
        (set, &["SET other 1", "RENAME other k"], true),
        (&[], &["SET k 2", "DEL k"], true),
        (&[], &["DEL k", "GET k", "INCRBYFLOAT other 1"], false),
        (&[], &["SET other 1", "FLUSHDB"], false),
        (&[], &["SELECT 1", "SET k 1", "SWAPDB 0 1"], true),
        (&["SADD k 1"], &["SADD k 1", "SREM k 2"], false),
        (&["HSET k f v"], &["HSET k f v"], true),
        (
            &["SET k abc"],
            &["SETBIT k 7 1", "BITFIELD k SET u8 0 97"],
            false,
        ),
        (set, &["SETBIT k 7 1"], false),
        (set, &["SETBIT k 7 0"], true),
        (&["SET k 1 PX 60"], &["sleep 200"], true),
        (&["SET k 1 PX 60"], &["sleep 20"], false),
        (&["SET k 1 PX 60"], &["PEXPIRE k 1000", "sleep 200"], true),
        (hash, &["sleep 300"], false),
        (hash, &["sleep 300", "HGETALL k"], false),
        (
            &["HSET k f v", "HPEXPIRE k 30 FIELDS 1 f"],
            &["sleep 300", "HGETALL k"],
            true,
        ),
    ];
    for (before, change, expected) in cases {
        let found = conflicts(&mut db, before, change);
        assert_eq!(found, *expected, "{before:?}, then {change:?}");
    }
});

script!(
    a_key_that_was_expired_when_it_was_watched_has_not_changed,
    |db| {
        db.run("SET k v PX 10").ok();
        db.advance(20);
        db.run("WATCH k").ok();
        db.switch(1);
        db.run("GET k").nil();
        db.switch(0);
        assert_eq!(exec(&mut db, &["PING"]), "*1\r\n+PONG\r\n");
    }
);

script!(what_ends_a_watch, |db| {
    let change = |db: &mut Db| {
        db.switch(1);
        db.run("APPEND k x").bytes();
        db.switch(0);
    };
    for end in ["UNWATCH", "RESET", "DISCARD", "EXEC", "broken"] {
        db.run("WATCH k other").ok();
        change(&mut db);
        match end {
            "DISCARD" => {
                db.run("MULTI").ok();
                db.run("DISCARD").ok();
            }
            "EXEC" => assert_eq!(exec(&mut db, &["PING"]), "*-1\r\n"),
            "broken" => {
                db.run("MULTI").ok();
                db.run("NOSUCH").bytes();
                db.run("EXEC").error(BROKEN);
            }
            line => {
                db.run(line).bytes();
            }
        }
        assert_eq!(db.engine().keyspace.watched().keys(), 0, "{end}");
        assert_eq!(exec(&mut db, &["PING"]), "*1\r\n+PONG\r\n", "{end}");
    }
    // The client's own change.
    db.run("WATCH k").ok();
    db.run("SET k v").ok();
    assert_eq!(exec(&mut db, &["PING"]), "*-1\r\n");
    db.resp3();
    db.run("WATCH k").ok();
    change(&mut db);
    db.run("WATCH more").ok();
    assert_eq!(exec(&mut db, &["PING"]), "_\r\n");
});

script!(commands_over_all_keys_are_part_of_the_moment, |db| {
    let lines = [
        "SET a 1",
        "DBSIZE",
        "KEYS *",
        "FLUSHALL",
        "DBSIZE",
        "SET b 1",
        "SWAPDB 0 1",
        "EXISTS b",
        "SELECT 1",
        "EXISTS b",
        "RANDOMKEY",
        "SCAN 0",
    ];
    assert_eq!(
        exec(&mut db, &lines),
        "*12\r\n+OK\r\n:1\r\n*1\r\n$1\r\na\r\n+OK\r\n:0\r\n+OK\r\n+OK\r\n:0\r\n+OK\r\n:1\r\n$1\r\nb\r\n\
         *2\r\n$1\r\n0\r\n*1\r\n$1\r\nb\r\n"
    );
    db.engine().keyspace.validate();
});

script!(
    a_transaction_may_flush_more_often_than_there_are_spaces,
    |db| {
        db.run("SET kept-elsewhere v").ok();
        let lines: Vec<String> = (0..40)
            .flat_map(|i| {
                [
                    format!("SET k{i} v"),
                    "DBSIZE".into(),
                    "FLUSHALL".into(),
                    "DBSIZE".into(),
                ]
            })
            .collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let expected: String = (0..40)
            .map(|i| format!("+OK\r\n:{}\r\n+OK\r\n:0\r\n", if i == 0 { 2 } else { 1 }))
            .collect();
        assert_eq!(exec(&mut db, &lines), format!("*160\r\n{expected}"));
        db.run("DBSIZE").int(0);
        db.run("SET k v").ok();
        db.run("KEYS *").bulks(&["k"]);
        db.engine().keyspace.validate();
    }
);

script!(commands_that_find_their_keys_late_get_them, |db| {
    db.run("RPUSH l 2 1").int(2);
    db.run("MSET w1 20 w2 10 v1 one v2 two").ok();
    db.run("SELECT 3").ok();
    db.run("SET there x").ok();
    db.run("SELECT 0").ok();
    let lines = [
        "RPUSH l 3",
        "MSET w3 15 v3 three",
        "SORT l BY w* GET v*",
        "COPY l there DB 3",
        "COPY l there DB 3 REPLACE",
        "SELECT 3",
        "LRANGE there 0 -1",
        "DEL there",
    ];
    assert_eq!(
        exec(&mut db, &lines),
        "*8\r\n:3\r\n+OK\r\n*3\r\n$3\r\ntwo\r\n$5\r\nthree\r\n$3\r\none\r\n:0\r\n:1\r\n+OK\r\n\
         *3\r\n$1\r\n2\r\n$1\r\n1\r\n$1\r\n3\r\n:1\r\n"
    );
    db.run("EXISTS there").int(0);
});

script!(who_waits_is_served_when_the_transaction_is_done, |db| {
    db.switch(1);
    db.run("BLPOP l 0").is("");
    db.switch(0);
    assert_eq!(
        exec(&mut db, &["RPUSH l 1", "LPOP l"]),
        "*2\r\n:1\r\n$1\r\n1\r\n"
    );
    assert_eq!(
        exec(&mut db, &["RPUSH l 1 2", "LLEN l"]),
        "*2\r\n:2\r\n:2\r\n"
    );
    db.switch(1);
    db.run("BLPOP l 0").bulks(&["l", "1"]);
    db.switch(0);
    db.run("LLEN l").int(1);
});

script!(
    the_commands_of_a_transaction_are_counted_when_they_run,
    |db| {
        db.run("CONFIG RESETSTAT").ok();
        db.run("MULTI").ok();
        db.run("SET n 1").simple("QUEUED");
        db.run("GET n x")
            .error("ERR wrong number of arguments for 'get' command");
        db.run("DISCARD").ok();
        assert_eq!(
            exec(&mut db, &["SET n a", "INCR n"]),
            "*2\r\n+OK\r\n-ERR value is not an integer or out of range\r\n"
        );
        let stats = text(&mut db, "INFO commandstats");
        let of = |name: &str| {
            let line = stats
                .lines()
                .find(|line| line.starts_with(&format!("cmdstat_{name}:")));
            let fields = line.unwrap_or_default().split([':', ',']);
            let counts = fields.filter(|f| f.contains("calls=") && !f.contains("usec"));
            counts.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(of("set"), "calls=1 rejected_calls=0 failed_calls=0");
        assert_eq!(of("get"), "calls=0 rejected_calls=1 failed_calls=0");
        assert_eq!(of("incr"), "calls=1 rejected_calls=0 failed_calls=1");
        assert_eq!(of("exec"), "calls=1 rejected_calls=0 failed_calls=0");
        assert_eq!(of("multi"), "calls=2 rejected_calls=0 failed_calls=0");
        assert_eq!(of("discard"), "calls=1 rejected_calls=0 failed_calls=0");
        let errors = text(&mut db, "INFO errorstats");
        assert!(errors.contains("errorstat_ERR:count=2\r\n"), "{errors}");
    }
);

script!(others_see_what_a_client_has_queued_and_watches, |db| {
    db.switch(1);
    db.run("WATCH a b a").ok();
    db.run("MULTI").ok();
    db.run("SET k v").simple("QUEUED");
    db.run("SET k w").simple("QUEUED");
    db.switch(0);
    let clients = text(&mut db, "CLIENT LIST");
    let line = clients
        .lines()
        .find(|line| line.contains("id=2 "))
        .expect("it is there");
    assert!(
        line.contains(" flags=x ") && line.contains(" multi=2 watch=2 "),
        "{line}"
    );
    assert!(!line.contains(" multi-mem=0 "), "{line}");
    let info = text(&mut db, "INFO clients");
    assert!(info.contains("watching_clients:1\r\n") && info.contains("total_watched_keys:2\r\n"));
    db.switch(1);
    db.run("EXEC").is("*2\r\n+OK\r\n+OK\r\n");
    db.switch(0);
    let clients = text(&mut db, "CLIENT LIST");
    assert!(
        !clients.contains(" flags=x ") && !clients.contains(" watch=2 "),
        "{clients}"
    );
});

#[test]
fn a_transaction_without_room_is_given_up() {
    let mut db = Db::with_config(Config {
        worker_threads: 1,
        maxmemory: 0,
        maxmemory_policy: crate::config::EvictionPolicy::NoEviction,
        ..Config::default()
    });
    db.run("SET k v").ok();
    db.run("MULTI").ok();
    db.run("SET k w").simple("QUEUED");
    db.switch(1);
    db.run("CONFIG SET maxmemory 1").ok();
    db.switch(0);
    const OOM: &str = "OOM command not allowed when used memory > 'maxmemory'.";
    db.run("EXEC").error(&format!(
        "EXECABORT Transaction discarded because of: {OOM}"
    ));
    db.run("EXEC").error("ERR EXEC without MULTI");
    // What needs no room is queued and runs.
    assert_eq!(exec(&mut db, &["GET k"]), "*1\r\n$1\r\nv\r\n");
    db.run("MULTI").ok();
    db.run("SET k w").error(OOM);
    db.run("EXEC").error(BROKEN);
}

script!(a_pause_of_writes_holds_back_what_is_queued, |db| {
    db.run("MULTI").ok();
    db.run("SET k v").simple("QUEUED");
    db.switch(1);
    db.run("CLIENT PAUSE 100 WRITE").ok();
    db.switch(0);
    db.run("GET k").simple("QUEUED");
    db.run("SET k w").is("");
    db.advance(100);
    db.run("SET k w").simple("QUEUED");
    db.run("EXEC").is("*3\r\n+OK\r\n$1\r\nv\r\n+OK\r\n");
});

#[test]
fn a_transaction_that_cannot_read_its_keys_does_nothing() {
    for alone in [false, true] {
        cannot_read_its_keys(alone);
    }
}

/// With `alone` it is of all keys too.
fn cannot_read_its_keys(alone: bool) {
    let mut db = Db::tiered(|_| {});
    db.run("SET cold v").ok();
    db.write();
    db.demote_all();
    db.run("SET n 1").ok();
    db.unreadable = true;
    db.run("MULTI").ok();
    db.run("INCR n").simple("QUEUED");
    db.run("APPEND cold w").simple("QUEUED");
    if alone {
        db.run("FLUSHDB").simple("QUEUED");
    }
    let told = text(&mut db, "EXEC");
    assert!(
        told.starts_with("-EXECABORT Transaction discarded because of: IOERR "),
        "{told}"
    );
    db.unreadable = false;
    db.run("GET n").bulk("1");
    assert_eq!(
        exec(&mut db, &["INCR n", "APPEND cold w"]),
        "*2\r\n:2\r\n:2\r\n"
    );
}
