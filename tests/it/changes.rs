//! `rdb_changes_since_last_save`: how much every command counts, beside redis-server 7.0.15.

use crate::client::{Client, Reply};
use crate::server::{Redis, Strata};

/// What there is before each command.
const SETUP: &[&str] = &[
    "SET s abc",
    "SET n 10",
    "SET bits abc",
    "RPUSH l a b c d e",
    "RPUSH l2 x y",
    "SADD set a b c",
    "SADD set2 b c d",
    "HSET h f1 1 f2 2 f3 x",
    "ZADD z 1 a 2 b 3 c",
    "ZADD z2 2 b 3 c 4 d",
    "XADD st 1-1 f v",
    "XADD st 1-2 f v",
    "XADD st 1-3 f v",
    "XGROUP CREATE st g 0",
    "GEOADD geo 13.361389 38.115556 p1 15.087269 37.502669 p2",
    "PFADD p1 a b c",
    "PFADD p2 c d",
    "SET vol v EX 1000",
    "RPUSH nums 3 1 2",
];

const COMMANDS: &[&str] = &[
    "SET s new",
    "SET s new NX",
    "SET s new XX",
    "SET newkey v NX",
    "SET newkey v XX",
    "SET s new GET",
    "SET s new EX 100",
    "SET s new KEEPTTL",
    "SETNX s v",
    "SETNX nk v",
    "SETEX s 100 v",
    "PSETEX s 100000 v",
    "GETSET s v",
    "GETSET nk v",
    "GETDEL s",
    "GETDEL nk",
    "GETEX s",
    "GETEX s EX 100",
    "GETEX s PERSIST",
    "GETEX vol PERSIST",
    "MSET s 1 nk 2 nk2 3",
    "MSETNX nk 1 nk2 2",
    "MSETNX s 1 nk2 2",
    "APPEND s x",
    r#"APPEND s """#,
    "APPEND nk x",
    r#"APPEND nk """#,
    "SETRANGE s 1 x",
    r#"SETRANGE s 1 """#,
    r#"SETRANGE nk 0 """#,
    "SETBIT bits 0 0",
    "SETBIT bits 0 1",
    "SETBIT nk 7 0",
    "SETBIT bits 100 0",
    "SETBIT nk 7 1",
    "BITFIELD bits SET u8 0 97",
    "BITFIELD bits SET u8 0 98",
    "BITFIELD bits SET u8 0 98 SET u8 8 1",
    "BITFIELD bits GET u8 0",
    "BITFIELD nk SET u8 0 0",
    "BITFIELD nk INCRBY u8 0 0",
    "BITFIELD bits INCRBY u8 0 0",
    "BITFIELD bits INCRBY u8 0 1",
    "BITFIELD bits OVERFLOW FAIL INCRBY u8 0 255",
    "BITFIELD bits OVERFLOW FAIL INCRBY u8 0 255 SET u8 8 9",
    "BITOP AND dst bits s",
    "BITOP NOT nk2 nokey",
    "BITOP AND s nokey nokey2",
    "INCR n",
    "INCR nk",
    "INCRBY n 0",
    "DECRBY n 5",
    "INCRBYFLOAT n 0",
    "INCRBYFLOAT n 1.5",
    "DEL s",
    "DEL s n nokey l",
    "UNLINK s n nokey l",
    "DEL nokey",
    "RENAME s t",
    "RENAME s n",
    "RENAME s s",
    "RENAMENX s t",
    "RENAMENX s n",
    "RENAMENX s s",
    "COPY s t",
    "COPY s n",
    "COPY s n REPLACE",
    "COPY s s DB 1",
    "MOVE s 1",
    "EXPIRE s 100",
    "EXPIRE s 0",
    "EXPIRE s -1",
    "EXPIRE nokey 10",
    "EXPIRE vol 10 NX",
    "EXPIRE vol 10 LT",
    "EXPIRE vol 10 GT",
    "PEXPIREAT s 9999999999999",
    "EXPIREAT s 1",
    "PERSIST vol",
    "PERSIST s",
    "TOUCH s",
    "LPUSH l x",
    "LPUSH l x y z",
    "LPUSH nk x y",
    "LPUSHX l x y",
    "LPUSHX nk x",
    "RPUSH l x y",
    "RPUSHX l x y",
    "LINSERT l BEFORE a x",
    "LINSERT l BEFORE nope x",
    "LPOP l",
    "LPOP l 2",
    "LPOP l 0",
    "LPOP l 10",
    "LPOP nokey",
    "RPOP l 3",
    "RPOP l",
    "LMPOP 1 l LEFT COUNT 2",
    "LMPOP 1 l LEFT COUNT 10",
    "LMPOP 1 nokey LEFT",
    "BLMPOP 1 1 l LEFT COUNT 2",
    "LMOVE l l2 LEFT RIGHT",
    "LMOVE l l LEFT RIGHT",
    "LMOVE l nk LEFT RIGHT",
    "LMOVE nokey l LEFT RIGHT",
    "RPOPLPUSH l l2",
    "RPOPLPUSH l l",
    "BLMOVE l l2 LEFT LEFT 1",
    "LSET l 0 x",
    "LSET l 0 a",
    "LREM l 0 a",
    "LREM l 0 nope",
    r#"LREM l 0 "e""#,
    "LTRIM l 1 2",
    "LTRIM l 0 -1",
    "LTRIM l 10 20",
    "SADD set x",
    "SADD set a",
    "SADD set x y a",
    "SADD nk x y",
    "SREM set a",
    "SREM set a b nope",
    "SREM set a b c",
    "SREM set nope",
    "SMOVE set set2 a",
    "SMOVE set set2 b",
    "SMOVE set set a",
    "SMOVE set nk a",
    "SMOVE set set2 nope",
    "SPOP set",
    "SPOP set 2",
    "SPOP set 10",
    "SPOP set 0",
    "SPOP nokey",
    "SINTERSTORE dst set set2",
    "SINTERSTORE dst set nokey",
    "SINTERSTORE s set nokey",
    "SUNIONSTORE dst set set2",
    "SUNIONSTORE s set set2",
    "SDIFFSTORE dst set set2",
    "SDIFFSTORE set2 set set",
    "SDIFFSTORE dst set set",
    "HSET h f1 1",
    "HSET h f1 2",
    "HSET h f1 1 f9 2",
    "HSET nk a 1 b 2",
    "HMSET h f1 2 f2 3",
    "HSETNX h f1 2",
    "HSETNX h fn 2",
    "HDEL h f1",
    "HDEL h f1 f2 nope",
    "HDEL h f1 f2 f3",
    "HDEL h nope",
    "HINCRBY h f1 0",
    "HINCRBY h f1 1",
    "HINCRBYFLOAT h f1 1.5",
    "ZADD z 1 a",
    "ZADD z 9 a",
    "ZADD z 9 a 1 new",
    "ZADD z NX 5 a",
    "ZADD z XX 5 a",
    "ZADD z XX 5 nope",
    "ZADD z GT 0 a",
    "ZADD z CH 7 a",
    "ZADD z INCR 1 a",
    "ZADD z INCR 0 a",
    "ZINCRBY z 0 a",
    "ZINCRBY z 1 a",
    "ZREM z a",
    "ZREM z a b nope",
    "ZREM z nope",
    "ZREM z a b c",
    "ZPOPMIN z",
    "ZPOPMIN z 2",
    "ZPOPMIN z 10",
    "ZPOPMAX z 0",
    "ZPOPMIN nokey",
    "ZMPOP 1 z MIN COUNT 2",
    "BZPOPMIN z 1",
    "BZMPOP 1 1 z MIN COUNT 2",
    "ZREMRANGEBYSCORE z 1 2",
    "ZREMRANGEBYRANK z 0 0",
    "ZREMRANGEBYLEX z - +",
    "ZREMRANGEBYSCORE z 10 20",
    "ZUNIONSTORE dst 2 z z2",
    "ZINTERSTORE dst 2 z z2",
    "ZINTERSTORE s 2 z nokey",
    "ZINTERSTORE dst 2 z nokey",
    "ZDIFFSTORE dst 2 z z2",
    "ZRANGESTORE dst z 0 -1",
    "ZRANGESTORE dst z 10 20",
    "ZRANGESTORE s z 10 20",
    "GEOADD geo 13 38 p3",
    "GEOADD geo 13.361389 38.115556 p1",
    "GEOSEARCHSTORE dst geo FROMMEMBER p1 BYRADIUS 500 km",
    "GEOSEARCHSTORE dst geo FROMLONLAT 0 0 BYRADIUS 1 m",
    "GEORADIUS geo 15 37 200 km STORE dst",
    "PFADD p1 a",
    "PFADD p1 z",
    "PFADD nk",
    "PFADD nk a",
    "PFADD p1",
    "PFCOUNT p1",
    "PFCOUNT p1 p2",
    "PFMERGE p1 p2",
    "PFMERGE p1 p1",
    "PFMERGE nk",
    "SORT nums STORE dst",
    "SORT nokey STORE dst",
    "SORT nokey STORE s",
    "XADD st * f v",
    "XADD st MAXLEN 2 * f v",
    "XADD st NOMKSTREAM * f v",
    "XADD nk NOMKSTREAM * f v",
    "XDEL st 1-1",
    "XDEL st 1-1 1-2 9-9",
    "XDEL st 9-9",
    "XTRIM st MAXLEN 1",
    "XTRIM st MAXLEN 10",
    "XTRIM st MINID 1-2",
    "XSETID st 9-9",
    "XGROUP CREATE st g2 $",
    "XGROUP CREATE nk g2 $ MKSTREAM",
    "XGROUP SETID st g 0",
    "XGROUP CREATECONSUMER st g c",
    "XGROUP DELCONSUMER st g c",
    "XGROUP DESTROY st g",
    "XGROUP DESTROY st nope",
    "XREADGROUP GROUP g c COUNT 2 STREAMS st >",
    "XREADGROUP GROUP g c COUNT 2 NOACK STREAMS st >",
    "XACK st g 1-1 1-2",
    "XCLAIM st g c2 0 1-1 1-2",
    "XAUTOCLAIM st g c2 0 0",
    "XAUTOCLAIM st g c 999999 0",
    "PFADD nk a b c",
    "XACK st g 1-1",
    "XCLAIM st g c 0 1-1",
    "XAUTOCLAIM st g c 0 0",
];

/// What 7.0 has not, or counts otherwise.
const NEWER: &[&str] = &[
    "XREADGROUP GROUP g c COUNT 2 STREAMS st 0",
    "HEXPIRE h 100 FIELDS 2 f1 f2",
    "HEXPIRE h 0 FIELDS 2 f1 f2",
    "HEXPIRE h 100 FIELDS 1 nope",
    "HPEXPIRE h 0 FIELDS 3 f1 f2 f3",
    "HPERSIST h FIELDS 2 f1 f2",
    "HGETDEL h FIELDS 2 f1 f2",
    "HGETDEL h FIELDS 1 nope",
    "HGETEX h EX 100 FIELDS 2 f1 f2",
    "HGETEX h PERSIST FIELDS 1 f1",
    "HSETEX h EX 100 FIELDS 2 f1 a f9 b",
    "HSETEX h FNX FIELDS 1 f1 a",
];

fn words(line: &str) -> Vec<&str> {
    line.split(' ').map(|word| word.trim_matches('"')).collect()
}

fn changes(client: &mut Client) -> i64 {
    let Reply::Bulk(info) = client.run(&["INFO", "persistence"]) else {
        panic!("INFO tells a text");
    };
    let info = String::from_utf8_lossy(&info).into_owned();
    let field = "rdb_changes_since_last_save:";
    let line = info.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|number| number.parse().ok())
        .expect("a number")
}

/// What a command counts, after the same commands before it.
fn counted(client: &mut Client, line: &str) -> i64 {
    client.run(&["FLUSHALL"]);
    for line in SETUP {
        client.run(&words(line));
    }
    if line.starts_with("XACK") || line.contains("CLAIM") || line.contains("DELCONSUMER") {
        client.run(&words("XREADGROUP GROUP g c COUNT 2 STREAMS st >"));
    }
    let before = changes(client);
    client.run(&words(line));
    changes(client) - before
}

#[test]
fn every_command_counts_as_many_changes_as_in_redis() {
    let (redis, strata) = (Redis::start(&[]), Strata::start(&[]));
    compare(&mut redis.connect(), &mut strata.connect(), COMMANDS);
}

#[test]
fn newer_commands_count_as_in_the_newest_redis() {
    if let Some(redis) = Redis::newest(&[]) {
        let strata = Strata::start(&[]);
        compare(&mut redis.connect(), &mut strata.connect(), COMMANDS);
        compare(&mut redis.connect(), &mut strata.connect(), NEWER);
    }
}

fn compare(theirs: &mut Client, ours: &mut Client, commands: &[&str]) {
    let mut differing = Vec::new();
    for line in commands {
        let (expected, found) = (counted(theirs, line), counted(ours, line));
        if expected != found {
            differing.push(format!("{line}: {found}, in Redis {expected}"));
        }
    }
    assert!(differing.is_empty(), "{differing:#?}");
}
