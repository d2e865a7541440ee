//! Scripts of the string commands; what they reply was compared with redis-server 7.0.15.

use crate::config::Config;
use crate::keyspace::footprint::Footprint;
use crate::keyspace::{Terms, ThreadSlot};
use crate::testing::{Db, START, script};

const NOT_INTEGER: &str = "ERR value is not an integer or out of range";
const NOT_FLOAT: &str = "ERR value is not a valid float";
const SYNTAX: &str = "ERR syntax error";
const TOO_LONG: &str = "ERR string exceeds maximum allowed size (proto-max-bulk-len)";

fn expire_error(command: &str) -> String {
    format!("ERR invalid expire time in '{command}' command")
}

/// A server that takes strings of up to `bytes`.
fn limited_to(bytes: u64) -> Db {
    Db::with_config(Config {
        worker_threads: 1,
        maxmemory: 0,
        proto_max_bulk_len: bytes,
        ..Config::default()
    })
}

/// Whether OBJECT ENCODING would call a string `raw` whatever its length.
fn is_raw(db: &Db, key: &[u8]) -> bool {
    let terms = Terms::of(&Config::default(), START, ThreadSlot(0), &"set");
    let keyspace = &db.engine().keyspace;
    let hashes = [keyspace.hash(key)];
    let mut keys = keyspace.lock(&Footprint::of(0, &hashes, key), &terms);
    keys.peek(key).unwrap().is_raw()
}

mod whole {
    use super::*;

    script!(set_then_get, |db| {
        db.run("GET k").nil();
        db.run("SET k v").ok();
        db.run("GET k").bulk("v");
        db.run("SET k \"\"").ok();
        db.run("GET k").bulk("");
        db.run("SET \"\" empty-key").ok();
        db.run("GET \"\"").bulk("empty-key");
        db.run_args(&[b"SET", b"k", b"\0\r\n\xff"]).ok();
        db.run("GET k").bulk(b"\0\r\n\xff");
    });

    script!(nil_is_underscore_in_resp3, |db| {
        db.resp3();
        db.run("GET k").is("_\r\n");
        db.run("SET k v XX").is("_\r\n");
        db.run("MGET k").is("*1\r\n_\r\n");
    });

    script!(arity_is_checked, |db| {
        for line in [
            "get",
            "get a b",
            "set a",
            "setex a 1",
            "psetex a 1",
            "setnx a",
            "getset a",
            "getdel",
            "getex",
            "mget",
            "mset a",
            "msetnx a",
            "append a",
            "strlen",
            "incr",
            "incr a 1",
            "decr",
            "incrby a",
            "decrby a",
            "incrbyfloat a",
            "getrange a 1",
            "substr a 1",
            "setrange a 1",
            "lcs a",
        ] {
            let name = line.split(' ').next().unwrap_or_default();
            db.run(line).error(&format!(
                "ERR wrong number of arguments for '{name}' command"
            ));
        }
    });

    script!(set_nx_and_xx, |db| {
        db.run("SET k a XX").nil();
        db.run("GET k").nil();
        db.run("SET k a nx").ok();
        db.run("SET k b NX").nil();
        db.run("GET k").bulk("a");
        db.run("SET k c xX").ok();
        db.run("GET k").bulk("c");
        db.run("SET k d XX XX").ok();
        db.run("SET k e NX XX").error(SYNTAX);
        db.run("SET k e XX NX").error(SYNTAX);
        db.run("GET k").bulk("d");
    });

    script!(set_get_replies_the_old_value, |db| {
        db.run("SET k a GET").nil();
        db.run("SET k b GET").bulk("a");
        db.run("SET k c NX GET").bulk("b");
        db.run("GET k").bulk("b");
        db.run("SET k c GET XX GET").bulk("b");
        db.run("SET other x GET XX").nil();
        db.run("GET other").nil();
        db.run("SET other x NX GET").nil();
        db.run("GET other").bulk("x");
    });

    script!(set_ifeq_compares, |db| {
        db.run("SET k b IFEQ a").nil();
        db.run("GET k").nil();
        db.run("SET k b IFEQ \"\"").nil();
        db.run("SET k a").ok();
        db.run("SET k b IFEQ A").nil();
        db.run("SET k b ifeq a").ok();
        db.run("GET k").bulk("b");
        db.run("SET k c IFEQ a GET").bulk("b");
        db.run("GET k").bulk("b");
        db.run("SET k c GET IFEQ b").bulk("b");
        db.run("GET k").bulk("c");
        db.run("SET other c GET IFEQ b").nil();
        db.run("GET other").nil();
        db.run("SET k d IFEQ c PX 10").ok();
        db.advance(10);
        db.run("SET k e IFEQ d").nil();
    });

    script!(set_ifeq_stands_alone, |db| {
        db.run("SET k a").ok();
        for options in [
            "IFEQ",
            "IFEQ a NX",
            "NX IFEQ a",
            "IFEQ a XX",
            "XX IFEQ a",
            "IFEQ a IFEQ a",
            "IFEQ a b",
        ] {
            db.run(&format!("SET k v {options}")).error(SYNTAX);
        }
        db.run("GETEX k IFEQ a").error(SYNTAX);
        db.run("GET k").bulk("a");
    });

    script!(set_with_each_form_of_expiry, |db| {
        let mut end_ms = START.0;
        for option in [
            "EX 2",
            "px 2000",
            "exat SECOND",
            "PXAT MILLISECOND",
            "EX 100 EX 2",
            "EX 2 GET",
        ] {
            end_ms += 2000;
            let option = option
                .replace("MILLISECOND", &end_ms.to_string())
                .replace("SECOND", &(end_ms / 1000).to_string());
            let _ = db.run(&format!("SET k v {option}"));
            db.advance(1999);
            db.run("GET k").bulk("v");
            db.advance(1);
            db.run("GET k").nil();
        }
    });

    script!(set_forgets_the_expiry_and_keepttl_keeps_it, |db| {
        db.run("SET k a PX 10").ok();
        db.run("SET k b").ok();
        db.advance(10);
        db.run("GET k").bulk("b");
        db.run("SET k a PX 10").ok();
        db.run("SET k b KEEPTTL").ok();
        db.run("SET k c KEEPTTL XX GET keepttl").bulk("b");
        db.advance(9);
        db.run("GET k").bulk("c");
        db.advance(1);
        db.run("GET k").nil();
        db.run("SET k d KEEPTTL").ok();
        db.advance(1_000_000);
        db.run("GET k").bulk("d");
    });

    script!(set_into_the_past_leaves_no_key, |db| {
        for option in [
            "EXAT 1".to_owned(),
            "PXAT 1".to_owned(),
            format!("PXAT {}", START.0),
        ] {
            db.run("SET k old").ok();
            db.run(&format!("SET k v {option}")).ok();
            db.run("GET k").nil();
            db.run("SETNX k new").int(1);
            db.run("GETDEL k").bulk("new");
        }
        db.run(&format!("SET k v PXAT {}", START.0 + 1)).ok();
        db.run("GET k").bulk("v");
    });

    script!(the_count_of_keys_that_expire_is_right, |db| {
        let expiring = |db: &Db| db.engine().keyspace.space_stats(0, START).expiring;
        for (line, count) in [
            ("SET k v PXAT 9223372036854775807", 1),
            ("GETEX k EX 10", 1),
            ("INCR n", 1),
            ("SETEX n 10 5", 2),
            ("INCR n", 2),
            ("APPEND n 0", 2),
            ("GETEX n PERSIST", 1),
            ("GETEX k EXAT 1", 0),
            ("SET k v PXAT 9223372036854775807", 1),
            ("GETDEL k", 0),
            ("MSET k v n 1", 0),
        ] {
            let _ = db.run(line);
            assert_eq!(expiring(&db), count, "{line}");
        }
    });

    script!(set_refuses_options_that_contradict, |db| {
        for options in [
            "EX",
            "NX EX",
            "EX 1 PX 1",
            "PX 1 EX 1",
            "EX 1 EXAT 9999999999",
            "EXAT 9999999999 PXAT 9999999999999",
            "EX 1 KEEPTTL",
            "KEEPTTL PX 1",
            "PERSIST",
            "KEEPTTL PERSIST",
            "FOO",
            "\"\"",
            "GET2",
            // A faulty number is no matter where the syntax is wrong.
            "EX a FOO",
        ] {
            db.run(&format!("SET k v {options}")).error(SYNTAX);
        }
        db.run("SET k v EX NX").error(NOT_INTEGER);
        db.run("GET k").nil();
    });

    script!(set_checks_the_expiry, |db| {
        db.run("SET k old").ok();
        for unit in ["EX", "PX", "EXAT", "PXAT"] {
            for bad in ["a", "", "1.5", "+1", " 1", "01", "9223372036854775808"] {
                db.run_args(&[b"SET", b"k", b"v", unit.as_bytes(), bad.as_bytes()])
                    .error(NOT_INTEGER);
            }
            for bad in ["0", "-1", "-9223372036854775808"] {
                db.run(&format!("SET k v {unit} {bad}"))
                    .error(&expire_error("set"));
            }
        }
        // The last second, and the last millisecond, that 64 bits of milliseconds hold.
        db.run("SET k v EXAT 9223372036854775").ok();
        db.run("SET k v PXAT 9223372036854775807").ok();
        db.run("SET k v EXAT 9223372036854776")
            .error(&expire_error("set"));
        let last_ms = i64::MAX - START.0;
        db.run(&format!("SET k v PX {last_ms}")).ok();
        db.run(&format!("SET k v PX {}", last_ms + 1))
            .error(&expire_error("set"));
        db.run(&format!("SET k v EX {}", last_ms / 1000)).ok();
        db.run(&format!("SET k v EX {}", last_ms / 1000 + 1))
            .error(&expire_error("set"));
        db.run("GET k").bulk("v");
    });

    script!(a_faulty_expiry_comes_before_the_condition, |db| {
        db.run("SET k old").ok();
        db.run("SET k v NX EX 0").error(&expire_error("set"));
        db.run("SET k v GET EX 0").error(&expire_error("set"));
        db.run("SET k v IFEQ other PX a").error(NOT_INTEGER);
        db.run("GET k").bulk("old");
    });

    script!(setex_and_psetex, |db| {
        db.run("SETEX k 1 a").ok();
        db.advance(999);
        db.run("GET k").bulk("a");
        db.advance(1);
        db.run("GET k").nil();
        db.run("PSETEX k 1 a").ok();
        db.run("GET k").bulk("a");
        db.advance(1);
        db.run("GET k").nil();
        for (command, name) in [("SETEX", "setex"), ("PSETEX", "psetex")] {
            db.run(&format!("{command} k 0 v"))
                .error(&expire_error(name));
            db.run(&format!("{command} k -1 v"))
                .error(&expire_error(name));
            db.run(&format!("{command} k 9223372036854775807 v"))
                .error(&expire_error(name));
            db.run(&format!("{command} k x v")).error(NOT_INTEGER);
        }
        db.run("GET k").nil();
    });

    script!(setnx_sets_once, |db| {
        db.run("SETNX k a").int(1);
        db.run("SETNX k b").int(0);
        db.run("GET k").bulk("a");
        db.run("PSETEX k 5 a").ok();
        db.advance(5);
        db.run("SETNX k c").int(1);
        db.advance(5);
        db.run("GET k").bulk("c");
    });

    script!(getset_replaces_and_forgets_the_expiry, |db| {
        db.run("GETSET k a").nil();
        db.run("GETSET k b").bulk("a");
        db.run("PSETEX k 5 c").ok();
        db.run("GETSET k d").bulk("c");
        db.advance(5);
        db.run("GET k").bulk("d");
    });

    script!(getdel_removes_the_key, |db| {
        db.run("GETDEL k").nil();
        db.run("SET k v").ok();
        db.run("GETDEL k").bulk("v");
        db.run("GETDEL k").nil();
        db.run("GET k").nil();
    });

    script!(getex_sets_and_removes_the_expiry, |db| {
        db.run("GETEX k").nil();
        db.run("SET k v").ok();
        db.run("GETEX k PX 10").bulk("v");
        db.run("GETEX k").bulk("v");
        db.run("GETEX k PERSIST persist").bulk("v");
        db.advance(10);
        db.run("GETEX k EX 1").bulk("v");
        db.advance(999);
        db.run("GET k").bulk("v");
        db.run(&format!("GETEX k PXAT {}", START.0 + 1010))
            .bulk("v");
        db.advance(1);
        db.run("GETEX k").nil();
    });

    script!(getex_into_the_past_deletes_the_key, |db| {
        for option in ["EXAT 1".to_owned(), format!("PXAT {}", START.0)] {
            db.run("SET k v").ok();
            db.run(&format!("GETEX k {option}")).bulk("v");
            db.run("GET k").nil();
        }
    });

    script!(getex_checks_its_options, |db| {
        // Where there is no key, the number is not looked at.
        db.run("GETEX k EX 0").nil();
        db.run("GETEX k EX a").nil();
        db.run("GETEX k FOO").error(SYNTAX);
        db.run("SET k v").ok();
        for options in [
            "FOO",
            "EX",
            "KEEPTTL",
            "NX",
            "GET",
            "EX 1 PX 1",
            "EX 1 PERSIST",
            "PERSIST EXAT 1",
        ] {
            db.run(&format!("GETEX k {options}")).error(SYNTAX);
        }
        for unit in ["EX", "PX", "EXAT", "PXAT"] {
            db.run(&format!("GETEX k {unit} 0"))
                .error(&expire_error("getex"));
            db.run(&format!("GETEX k {unit} a")).error(NOT_INTEGER);
        }
        db.run("GETEX k EXAT 9223372036854776")
            .error(&expire_error("getex"));
        db.run("GET k").bulk("v");
    });
}

mod many {
    use super::*;

    script!(mset_then_mget, |db| {
        db.run("MSET a 1 b 2 a 3").ok();
        db.run("MGET a b c a")
            .is("*4\r\n$1\r\n3\r\n$1\r\n2\r\n$-1\r\n$1\r\n3\r\n");
        db.run("MGET c").is("*1\r\n$-1\r\n");
    });

    script!(mset_wants_pairs, |db| {
        for (command, name) in [("MSET", "mset"), ("MSETNX", "msetnx")] {
            for rest in ["a 1 b", "a 1 b 2 c"] {
                db.run(&format!("{command} {rest}")).error(&format!(
                    "ERR wrong number of arguments for '{name}' command"
                ));
            }
        }
        db.run("MGET a b").is("*2\r\n$-1\r\n$-1\r\n");
    });

    script!(mset_forgets_expiries, |db| {
        db.run("PSETEX a 5 x").ok();
        db.run("MSET a 1 b 2").ok();
        db.advance(5);
        db.run("MGET a b").bulks(&["1", "2"]);
    });

    script!(msetnx_sets_all_or_none, |db| {
        db.run("MSETNX a 1 b 2").int(1);
        db.run("MSETNX c 3 b 4").int(0);
        db.run("MGET a b c")
            .is("*3\r\n$1\r\n1\r\n$1\r\n2\r\n$-1\r\n");
        db.run("MSETNX d 1 d 2").int(1);
        db.run("GET d").bulk("2");
        db.run("PSETEX e 5 x").ok();
        db.advance(5);
        db.run("MSETNX e 1 f 2").int(1);
    });
}

mod part {
    use super::*;

    script!(append_grows_the_string, |db| {
        db.run("APPEND k \"\"").int(0);
        db.run("GET k").bulk("");
        db.run("APPEND k abc").int(3);
        db.run("APPEND k def").int(6);
        db.run("APPEND k \"\"").int(6);
        db.run("GET k").bulk("abcdef");
        db.run("STRLEN k").int(6);
    });

    script!(long_strings_are_changed_as_short_ones_are, |db| {
        for len in [16_383usize, 16_384, 20_000, 300_000] {
            let mut value = vec![b'a'; len];
            db.run_args(&[b"SET", b"k", &value]).ok();
            db.run("COPY k copy REPLACE").int(1);
            db.run("APPEND k xyz").int(len as i64 + 3);
            value.extend_from_slice(b"xyz");
            db.run_args(&[b"SETRANGE", b"k", b"1", b"bc"])
                .int(len as i64 + 3);
            value[1..3].copy_from_slice(b"bc");
            db.run("SETBIT k 7 0").int(1);
            value[0] &= !1;
            db.run("GET k").bulk(&value);
            db.run("STRLEN k").int(len as i64 + 3);
            db.run("GETRANGE k -5 -1").bulk("aaxyz");
            db.run("GETRANGE k 0 3").bulk("`bca");
            db.run("GET copy").bulk(vec![b'a'; len]);
            db.run("EXPIRE k 100").int(1);
            db.run("PERSIST k").int(1);
            db.run("RENAME k other").ok();
            db.run("GET other").bulk(&value);
            db.run("BITOP NOT not other").int(len as i64 + 3);
            let not: Vec<u8> = value.iter().map(|byte| !byte).collect();
            db.run("GET not").bulk(&not);
            db.run("BITCOUNT not 1 1 BYTE")
                .int(i64::from(not[1].count_ones()));
            db.run("SET other short GET").bulk(&value);
            db.run_args(&[b"GETSET", b"other", &value]).bulk("short");
            db.run("SETRANGE other 3 !").int(len as i64 + 3);
            value[3] = b'!';
            db.run("GETEX other EX 50").bulk(&value);
            db.run("INCR other")
                .error("ERR value is not an integer or out of range");
            db.run_args(&[b"MSET", b"m", &not, b"n", b"1"]).ok();
            let head = format!("*2\r\n${}\r\n", not.len());
            db.run("MGET m n")
                .is([head.as_bytes(), &not, b"\r\n$1\r\n1\r\n"].concat());
            db.run("GETDEL other").bulk(&value);
            db.run("DEL k copy not m n other").int(4);
        }
    });

    script!(memory: a_long_string_that_is_sent_is_not_copied, |db| {
        let value = vec![b'v'; 1 << 20];
        db.run_args(&[b"SET", b"k", &value]).ok();
        let memory = db.engine().keyspace.used_bytes();
        // What the last reply had is let go.
        for _ in 0..3 {
            db.run("GET k").bulk(&value);
        }
        db.run_args(&[b"SET", b"k", &value]).ok();
        assert_eq!(db.engine().keyspace.used_bytes(), memory);
        db.run("DEL k").int(1);
        assert!(db.engine().keyspace.used_bytes() + value.len() <= memory);
    });

    script!(append_keeps_the_expiry, |db| {
        db.run("PSETEX k 5 a").ok();
        db.run("APPEND k b").int(2);
        db.advance(4);
        db.run("GET k").bulk("ab");
        db.advance(1);
        db.run("APPEND k c").int(1);
        db.advance(5);
        db.run("GET k").bulk("c");
    });

    script!(memory: only_writing_into_a_string_makes_it_raw, |db| {
        for (command, raw) in [
            ("APPEND k 1", false),
            ("SETRANGE k 0 \"\"", false),
            ("APPEND k \"\"", true),
            ("SET k 1", false),
            ("SETRANGE k 0 2", true),
            ("APPEND k 3", true),
            ("INCR k", false),
            ("SETRANGE new 0 2", true),
        ] {
            let _ = db.run(command);
            let key = command.split(' ').nth(1).unwrap().as_bytes();
            assert_eq!(is_raw(&db, key), raw, "{command}");
        }
    });

    script!(what_changes_no_bit_of_a_string_makes_it_raw_too, |db| {
        for write in [
            "SETBIT k 7 1",
            "BITFIELD k SET u8 0 51",
            "BITFIELD k OVERFLOW FAIL INCRBY u8 0 250",
        ] {
            for value in ["330815", "3text"] {
                db.run(&format!("SET k {value}")).ok();
                db.run(write).bytes();
                db.run("OBJECT ENCODING k").bulk("raw");
                db.run("GET k").bulk(value);
            }
        }
    });

    script!(strlen_counts_bytes, |db| {
        db.run("STRLEN k").int(0);
        db.run_args(&[b"SET", b"k", "Grüße".as_bytes()]).ok();
        db.run("STRLEN k").int(7);
        db.run("SET k 12345").ok();
        db.run("STRLEN k").int(5);
    });

    script!(getrange_cuts, |db| {
        db.run("GETRANGE k 0 -1").bulk("");
        db.run("SET k Hello").ok();
        for (range, part) in [
            ("0 -1", "Hello"),
            ("0 4", "Hello"),
            ("0 5", "Hello"),
            ("1 3", "ell"),
            ("-3 -1", "llo"),
            ("-3 -4", ""),
            ("4 4", "o"),
            ("5 5", ""),
            ("3 1", ""),
            ("-100 -5", "H"),
            ("-100 -6", "H"),
            ("0 -100", "H"),
            ("-9223372036854775808 9223372036854775807", "Hello"),
        ] {
            db.run(&format!("GETRANGE k {range}")).bulk(part);
            db.run(&format!("SUBSTR k {range}")).bulk(part);
        }
        db.run("GETRANGE k a 1").error(NOT_INTEGER);
        db.run("GETRANGE missing 0 1.5").error(NOT_INTEGER);
        db.run("SET k \"\"").ok();
        db.run("GETRANGE k 0 0").bulk("");
    });

    script!(setrange_overwrites, |db| {
        db.run("SET k \"Hello World\"").ok();
        db.run("SETRANGE k 6 Redis").int(11);
        db.run("GET k").bulk("Hello Redis");
        db.run("SETRANGE k 0 J").int(11);
        db.run("SETRANGE k 11 !").int(12);
        db.run("GET k").bulk("Jello Redis!");
        db.run("SETRANGE k 14 .").int(15);
        db.run("GET k").bulk("Jello Redis!\0\0.");
        db.run("SETRANGE new 2 x").int(3);
        db.run("GET new").bulk("\0\0x");
    });

    script!(setrange_of_nothing_makes_no_key, |db| {
        db.run("SETRANGE k 0 \"\"").int(0);
        db.run("SETRANGE k 9223372036854775807 \"\"").int(0);
        db.run("GET k").nil();
        db.run("SET k abc").ok();
        db.run("SETRANGE k 9223372036854775807 \"\"").int(3);
        db.run("GET k").bulk("abc");
    });

    script!(setrange_checks_the_offset, |db| {
        db.run("SETRANGE k -1 x")
            .error("ERR offset is out of range");
        db.run("SETRANGE k -1 \"\"")
            .error("ERR offset is out of range");
        db.run("SETRANGE k a x").error(NOT_INTEGER);
        db.run("SETRANGE k 9223372036854775808 x")
            .error(NOT_INTEGER);
        db.run("SETRANGE k 9223372036854775807 x").error(TOO_LONG);
        db.run("SETRANGE k 536870912 x").error(TOO_LONG);
        db.run("GET k").nil();
    });

    script!(setrange_keeps_the_expiry, |db| {
        db.run("PSETEX k 5 a").ok();
        db.run("SETRANGE k 100000 b").int(100_001);
        db.advance(5);
        db.run("STRLEN k").int(0);
    });

    #[test]
    fn strings_end_at_the_limit() {
        let mut db = limited_to(10);
        db.run("SETRANGE k 10 x").error(TOO_LONG);
        db.run("SETRANGE k 9 x").int(10);
        db.run("APPEND k \"\"").int(10);
        db.run("APPEND k x").error(TOO_LONG);
        db.run("STRLEN k").int(10);
        db.run("SET k 123456789").ok();
        db.run("APPEND k xy").error(TOO_LONG);
        db.run("GET k").bulk("123456789");
        db.run("APPEND k x").int(10);
        db.run("SETRANGE k 0 0123456789").int(10);
    }
}

mod counter {
    use super::*;

    const OVERFLOW: &str = "ERR increment or decrement would overflow";

    script!(counters_start_at_zero, |db| {
        db.run("INCR a").int(1);
        db.run("DECR b").int(-1);
        db.run("INCRBY c 5").int(5);
        db.run("DECRBY d 5").int(-5);
        db.run("INCRBY e 0").int(0);
        db.run("GET e").bulk("0");
        db.run("INCR a").int(2);
        db.run("DECRBY a -8").int(10);
        db.run("GET a").bulk("10");
    });

    script!(counters_stop_at_the_ends_of_64_bits, |db| {
        db.run("SET k 9223372036854775806").ok();
        db.run("INCR k").int(i64::MAX);
        db.run("INCR k").error(OVERFLOW);
        db.run("INCRBY k 1").error(OVERFLOW);
        db.run("DECRBY k -1").error(OVERFLOW);
        db.run("GET k").bulk("9223372036854775807");
        db.run("SET k -9223372036854775807").ok();
        db.run("DECR k").int(i64::MIN);
        db.run("DECR k").error(OVERFLOW);
        db.run("INCRBY k -1").error(OVERFLOW);
        db.run("GET k").bulk("-9223372036854775808");
        db.run("DECRBY k -9223372036854775808")
            .error("ERR decrement would overflow");
        db.run("INCRBY new -9223372036854775808").int(i64::MIN);
        db.run("INCRBY k 9223372036854775807").int(-1);
    });

    script!(counters_want_integers, |db| {
        for value in [
            "",
            "a",
            "1.5",
            "+1",
            "01",
            "-0",
            " 1",
            "1 ",
            "9223372036854775808",
        ] {
            db.run_args(&[b"SET", b"k", value.as_bytes()]).ok();
            db.run("INCR k").error(NOT_INTEGER);
            db.run("DECR k").error(NOT_INTEGER);
            db.run_args(&[b"INCRBY", b"new", value.as_bytes()])
                .error(NOT_INTEGER);
            db.run_args(&[b"DECRBY", b"new", value.as_bytes()])
                .error(NOT_INTEGER);
            db.run("GET k").bulk(value);
        }
        db.run("GET new").nil();
    });

    script!(counters_keep_the_expiry, |db| {
        for command in [
            "INCR k",
            "DECR k",
            "INCRBY k 10",
            "DECRBY k 10",
            "INCRBYFLOAT k 0.5",
        ] {
            db.run("PSETEX k 5 1").ok();
            let _ = db.run(command);
            db.advance(4);
            assert_ne!(db.run("GET k").bytes(), b"$-1\r\n", "{command}");
            db.advance(1);
            db.run("GET k").nil();
        }
        db.run("PSETEX k 5 7").ok();
        db.advance(5);
        db.run("INCR k").int(1);
        db.advance(5);
        db.run("GET k").bulk("1");
    });

    script!(incrbyfloat_adds_with_64_bits_of_precision, |db| {
        db.run("INCRBYFLOAT k 0.1").bulk("0.1");
        db.run("INCRBYFLOAT k 0.2").bulk("0.3");
        db.run("GET k").bulk("0.3");
        db.run("SET k 3.0e3").ok();
        db.run("INCRBYFLOAT k 200").bulk("3200");
        db.run("INCR k").int(3201);
        db.run("INCRBYFLOAT k -3201").bulk("0");
        db.run("INCRBYFLOAT k -0").bulk("0");
        db.resp3();
        db.run("INCRBYFLOAT k 1.5").bulk("1.5");
    });

    script!(incrbyfloat_refuses_what_is_no_number, |db| {
        for bad in ["", "a", "nan", " 1", "1 ", "1,5"] {
            db.run_args(&[b"INCRBYFLOAT", b"k", bad.as_bytes()])
                .error(NOT_FLOAT);
            db.run_args(&[b"SET", b"k2", bad.as_bytes()]).ok();
            db.run("INCRBYFLOAT k2 1").error(NOT_FLOAT);
        }
        for infinite in ["inf", "-inf", "+Infinity"] {
            db.run(&format!("INCRBYFLOAT k {infinite}"))
                .error("ERR increment would produce NaN or Infinity");
        }
        db.run("SET k2 inf").ok();
        db.run("INCRBYFLOAT k2 -inf")
            .error("ERR increment would produce NaN or Infinity");
        db.run("GET k").nil();
    });
}

mod lcs {
    use super::*;

    script!(lcs_replies_text_length_or_matches, |db| {
        db.run("MSET a ohmytext b mynewtext").ok();
        db.run("LCS a b").bulk("mytext");
        db.run("LCS a b LEN").int(6);
        db.run("LCS a b IDX").is("*4\r\n$7\r\nmatches\r\n*2\r\n\
             *2\r\n*2\r\n:4\r\n:7\r\n*2\r\n:5\r\n:8\r\n\
             *2\r\n*2\r\n:2\r\n:3\r\n*2\r\n:0\r\n:1\r\n\
             $3\r\nlen\r\n:6\r\n");
        db.run("LCS a b idx MINMATCHLEN 4 WITHMATCHLEN")
            .is("*4\r\n$7\r\nmatches\r\n*1\r\n\
             *3\r\n*2\r\n:4\r\n:7\r\n*2\r\n:5\r\n:8\r\n:4\r\n\
             $3\r\nlen\r\n:6\r\n");
        let none = "*4\r\n$7\r\nmatches\r\n*0\r\n$3\r\nlen\r\n:6\r\n";
        db.run("LCS a b IDX MINMATCHLEN 5").is(none);
        db.run("LCS a b IDX MINMATCHLEN 9223372036854775807")
            .is(none);
        db.resp3();
        db.run("LCS a b IDX MINMATCHLEN 5")
            .is("%2\r\n$7\r\nmatches\r\n*0\r\n$3\r\nlen\r\n:6\r\n");
    });

    script!(lcs_of_missing_keys_is_empty, |db| {
        db.run("LCS a b").bulk("");
        db.run("LCS a a LEN").int(0);
        db.run("SET a x").ok();
        db.run("LCS a b").bulk("");
        db.run("LCS a a").bulk("x");
        db.run("LCS b a IDX")
            .is("*4\r\n$7\r\nmatches\r\n*0\r\n$3\r\nlen\r\n:0\r\n");
    });

    script!(lcs_checks_its_options, |db| {
        db.run("LCS a b FOO").error(SYNTAX);
        db.run("LCS a b MINMATCHLEN").error(SYNTAX);
        db.run("LCS a b MINMATCHLEN x").error(NOT_INTEGER);
        db.run("LCS a b LEN IDX")
            .error("ERR If you want both the length and indexes, please just use IDX.");
        db.run("LCS a b MINMATCHLEN -5 WITHMATCHLEN").bulk("");
    });

    #[test]
    fn lcs_is_limited_in_memory() {
        let mut db = limited_to(400);
        db.run("MSET a xxxxxxxxx b xxxxxxxxx c xxxxxxxxxx").ok();
        db.run("LCS a b LEN").int(9);
        for options in ["", "LEN", "IDX"] {
            db.run(&format!("LCS a c {options}")).error(
                "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
            );
        }
    }
}

mod metadata {
    use crate::command::table::table;
    use crate::command::{Flags, Group};

    #[test]
    fn every_string_command_is_whole() {
        let names = "get set setex psetex setnx getset getdel getex mget mset msetnx append strlen \
                     incr decr incrby decrby incrbyfloat getrange substr setrange lcs";
        for name in names.split_whitespace() {
            let command = table().find(name.as_bytes()).unwrap().command;
            assert_eq!(command.group, Group::String, "{name}");
            assert!(!command.summary.is_empty() && !command.arguments.is_empty());
            let (reads, writes) = (Flags::READONLY, Flags::WRITE);
            assert_ne!(
                command.flags.has(reads),
                command.flags.has(writes),
                "{name}"
            );
        }
    }
}
