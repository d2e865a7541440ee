//! redis-rs against the server: its blocking connection, and the asynchronous one that many tasks share.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use redis::{
    Client, Commands, Connection, ConnectionLike, CopyOptions, ErrorKind, Expiry, InfoDict,
    IntegerReplyOrNoOp, RedisError, RedisResult, ScanOptions, ServerErrorKind, SetExpiry,
    SetOptions, Value, ValueType, VerbatimFormat, cmd, pipe,
};

use crate::server::{Server, Strata, poll};

#[test]
fn over_resp2() -> RedisResult<()> {
    blocking("resp2")
}

#[test]
fn over_resp3() -> RedisResult<()> {
    blocking("resp3")
}

#[test]
fn many_tasks_share_a_connection_over_resp2() -> RedisResult<()> {
    shared("resp2")
}

#[test]
fn many_tasks_share_a_connection_over_resp3() -> RedisResult<()> {
    shared("resp3")
}

#[test]
fn passwords_and_databases() -> RedisResult<()> {
    let strata = Strata::start(&[]);
    let mut first = client(&strata, "redis://HOST/").get_connection()?;
    let set = ["SET", "requirepass", "secret"];
    let _: () = cmd("CONFIG").arg(&set).query(&mut first)?;
    let refused = |url: &str| client(&strata, url).get_connection().err();
    let error = refused("redis://:wrong@HOST/").expect("a wrong password is refused");
    assert_eq!(error.kind(), ErrorKind::AuthenticationFailed, "{error}");
    assert!(refused("redis://:wrong@HOST/?protocol=resp3").is_some());
    let mut none = client(&strata, "redis://HOST/").get_connection()?;
    let error = none
        .get::<_, Value>("k")
        .expect_err("no password was given");
    assert_eq!(error.code(), Some("NOAUTH"), "{error}");
    for url in [
        "redis://:secret@HOST/3",
        "redis://default:secret@HOST/3?protocol=resp3",
    ] {
        let mut third = client(&strata, url).get_connection()?;
        let _: () = third.set("k", "in the third")?;
        let _: () = cmd("SELECT").arg(0).query(&mut third)?;
        assert_eq!(third.get("k"), Ok(Value::Nil));
    }
    assert!(refused("redis://:secret@HOST/99").is_some());
    Ok(())
}

fn client(strata: &Server, url: &str) -> Client {
    let host = format!("127.0.0.1:{}", strata.port());
    Client::open(url.replace("HOST", &host)).expect("an address")
}

fn blocking(protocol: &str) -> RedisResult<()> {
    let strata = Strata::start(&[]);
    let url = format!("redis://HOST/?protocol={protocol}");
    let mut con = client(&strata, &url).get_connection()?;
    strings(&mut con)?;
    expiry(&mut con)?;
    pipeline(&mut con)?;
    scan(&mut con)?;
    bits_and_counts(&mut con)?;
    server(&mut con)?;
    types_of_replies(&mut con, protocol == "resp3")?;
    errors(&mut con);
    binary(&mut con)?;
    switch_of_protocol(&mut con)?;
    assert!(con.is_open());
    Ok(())
}

fn strings(con: &mut Connection) -> RedisResult<()> {
    let _: () = con.set("name", "värde")?;
    assert_eq!(con.get("name"), Ok("värde".to_owned()));
    let absent = SetOptions::default().conditional_set(redis::ExistenceCheck::NX);
    assert_eq!(con.set_options("name", "other", absent), Ok(Value::Nil));
    let old = SetOptions::default().get(true);
    assert_eq!(
        con.set_options("name", "other", old),
        Ok("värde".to_owned())
    );
    assert_eq!(con.get("missing"), Ok(None::<String>));
    let _: () = con.mset(&[("a", 1), ("b", 2), ("c", 3)])?;
    let values: Vec<Option<i64>> = con.mget(&["a", "b", "missing", "c"])?;
    assert_eq!(values, [Some(1), Some(2), None, Some(3)]);
    assert_eq!(con.incr("a", 41), Ok(42));
    assert_eq!(con.incr("b", 0.5), Ok(2.5));
    assert_eq!(con.decr("a", 2), Ok(40));
    assert_eq!(con.append("c", "tail"), Ok(5));
    assert_eq!(con.getrange("c", 1, -1), Ok("tail".to_owned()));
    assert_eq!(con.strlen("c"), Ok(5));
    assert_eq!(con.get_del("c"), Ok("3tail".to_owned()));
    assert_eq!(con.exists(&["a", "b", "c"]), Ok(2));
    assert_eq!(con.del(&["a", "b"]), Ok(2));
    assert_eq!(con.key_type("name"), Ok(ValueType::String));
    assert_eq!(con.copy("name", "copied", CopyOptions::default()), Ok(true));
    let _: () = con.rename("copied", "renamed")?;
    assert_eq!(con.object_encoding("renamed"), Ok("embstr".to_owned()));
    Ok(())
}

fn expiry(con: &mut Connection) -> RedisResult<()> {
    let brief = SetOptions::default().with_expiration(SetExpiry::EX(100));
    let _: () = con.set_options("brief", "x", brief)?;
    let left: i64 = con.ttl("brief")?;
    assert!((98..=100).contains(&left), "{left}");
    assert_eq!(con.persist("brief"), Ok(true));
    assert_eq!(
        con.ttl("brief"),
        Ok(IntegerReplyOrNoOp::ExistsButNotRelevant)
    );
    assert_eq!(con.ttl("missing"), Ok(IntegerReplyOrNoOp::NotExists));
    assert_eq!(con.expire("brief", 50), Ok(true));
    assert_eq!(con.expire("missing", 50), Ok(false));
    assert_eq!(con.expire_at("brief", 4_000_000_000), Ok(true));
    assert_eq!(con.expire_time("brief"), Ok(4_000_000_000i64));
    assert_eq!(con.get_ex("brief", Expiry::PX(20)), Ok("x".to_owned()));
    let gone = poll(Duration::from_secs(5), || {
        con.exists("brief")
            .is_ok_and(|found: bool| !found)
            .then_some(())
    });
    assert!(gone.is_some(), "the key has not expired");
    Ok(())
}

fn pipeline(con: &mut Connection) -> RedisResult<()> {
    let mut requests = pipe();
    for number in 0..1000 {
        let key = format!("pipe:{number}");
        requests.set(&key, number).ignore().get(&key);
    }
    let numbers: Vec<u32> = requests.query(con)?;
    assert!(numbers.into_iter().eq(0..1000));
    let mut requests = pipe();
    requests.get("name").incr("name", 1).get("name");
    let error = requests.query::<Value>(con).expect_err("name is no number");
    assert_eq!(
        error.kind(),
        ErrorKind::Server(ServerErrorKind::ResponseError)
    );
    let replies: Vec<RedisResult<String>> = requests.ignore_errors().query(con)?;
    let is_error: Vec<bool> = replies.iter().map(Result::is_err).collect();
    assert_eq!(is_error, [false, true, false], "{replies:?}");
    Ok(())
}

fn scan(con: &mut Connection) -> RedisResult<()> {
    let expected: HashSet<String> = (0..1000).map(|number| format!("pipe:{number}")).collect();
    let options = ScanOptions::default().with_pattern("pipe:*").with_count(50);
    let found: HashSet<String> = con.scan_options(options)?.collect::<RedisResult<_>>()?;
    assert_eq!(found, expected);
    let found: HashSet<String> = con.scan_match("pipe:*")?.collect::<RedisResult<_>>()?;
    assert_eq!(found, expected);
    assert_eq!(con.keys("pipe:*"), Ok(expected));
    let (cursor, keys): (u64, Vec<String>) = cmd("SCAN").arg(0).arg("COUNT").arg(10).query(con)?;
    assert!(cursor > 0 && keys.len() >= 10, "{cursor} {keys:?}");
    let count: usize = cmd("DBSIZE").query(con)?;
    assert!(count >= 1000);
    Ok(())
}

fn bits_and_counts(con: &mut Connection) -> RedisResult<()> {
    assert_eq!(con.setbit("bits", 7, true), Ok(false));
    assert_eq!(con.getbit("bits", 7), Ok(true));
    assert_eq!(con.bitcount("bits"), Ok(1));
    let fields: Vec<i64> = cmd("BITFIELD")
        .arg(&["bits", "GET", "u8", "0", "INCRBY", "u8", "0", "255"])
        .query(con)?;
    assert_eq!(fields, [1, 0]);
    let members: Vec<u32> = (0..1000).collect();
    assert_eq!(con.pfadd("unique", members), Ok(true));
    let count: usize = con.pfcount("unique")?;
    assert!((970..=1030).contains(&count), "{count}");
    Ok(())
}

fn server(con: &mut Connection) -> RedisResult<()> {
    let info: InfoDict = cmd("INFO").query(con)?;
    assert_eq!(info.get("redis_mode"), Some("standalone".to_owned()));
    assert!(
        info.get::<u64>("used_memory")
            .is_some_and(|bytes| bytes > 0)
    );
    assert!(info.get::<u64>("connected_clients").is_some_and(|n| n >= 1));
    assert!(info.contains_key(&"db0"));
    let _: () = con.client_setname("rs-test")?;
    assert_eq!(con.client_getname(), Ok("rs-test".to_owned()));
    let id: u64 = con.client_id()?;
    let list: String = cmd("CLIENT").arg("LIST").query(con)?;
    let own = format!("id={id} ");
    assert!(
        list.lines()
            .any(|line| line.starts_with(&own) && line.contains(" name=rs-test "))
    );
    let name = "slowlog-max-len";
    let get = |con: &mut Connection| -> RedisResult<HashMap<String, String>> {
        cmd("CONFIG").arg("GET").arg(name).query(con)
    };
    let before = get(con)?;
    let _: () = cmd("CONFIG").arg(&["SET", name, "99"]).query(con)?;
    assert_eq!(get(con)?[name], "99");
    let _: () = cmd("CONFIG")
        .arg(&["SET", name, &before[name]])
        .query(con)?;
    let (seconds, micros): (u64, u64) = cmd("TIME").query(con)?;
    assert!(seconds > 1_600_000_000 && micros < 1_000_000);
    let commands: usize = cmd("COMMAND").arg("COUNT").query(con)?;
    assert!(commands > 50);
    let keys: Vec<String> = cmd("COMMAND").arg(&["GETKEYS", "GET", "k"]).query(con)?;
    assert_eq!(keys, ["k"]);
    Ok(())
}

/// What each protocol says in the same place.
fn types_of_replies(con: &mut Connection, resp3: bool) -> RedisResult<()> {
    let bulk = |text: &str| Value::BulkString(text.into());
    let mut expect = |request: &str, expected: Value| {
        let mut words = request.split(' ');
        let reply = cmd(words.next().expect("a name"))
            .arg(words.collect::<Vec<_>>())
            .query(con);
        assert_eq!(reply, Ok(expected), "{request}");
    };
    expect("ECHO hi", bulk("hi"));
    expect("PING hi", bulk("hi"));
    expect("SET typed 5", Value::Okay);
    expect("TYPE typed", Value::SimpleString("string".into()));
    expect("STRLEN typed", Value::Int(1));
    expect("INCRBYFLOAT typed 0.5", bulk("5.5"));
    expect("GET missing", Value::Nil);
    expect(
        "MGET typed missing",
        Value::Array(vec![bulk("5.5"), Value::Nil]),
    );
    expect("OBJECT FREQ missing", Value::Nil);
    expect("KEYS missing", Value::Array(Vec::new()));
    let entry = (bulk("maxmemory-policy"), bulk("allkeys-lru"));
    expect("CONFIG SET maxmemory-policy allkeys-lru", Value::Okay);
    expect(
        "CONFIG GET maxmemory-policy",
        if resp3 {
            Value::Map(vec![entry])
        } else {
            Value::Array(vec![entry.0, entry.1])
        },
    );
    let info: Value = cmd("INFO").arg("cpu").query(con)?;
    let is_text = match &info {
        Value::VerbatimString { format, text } => {
            resp3 && *format == VerbatimFormat::Text && text.starts_with("# CPU")
        }
        Value::BulkString(text) => !resp3 && text.starts_with(b"# CPU"),
        _ => false,
    };
    assert!(is_text, "{info:?}");
    let hello: Value = cmd("HELLO").query(con)?;
    assert_eq!(matches!(hello, Value::Map(_)), resp3, "{hello:?}");
    assert_eq!(matches!(hello, Value::Array(_)), !resp3, "{hello:?}");
    let command: Vec<Value> = cmd("COMMAND").arg(&["INFO", "get"]).query(con)?;
    let [Value::Array(get)] = &command[..] else {
        panic!("{command:?}");
    };
    assert_eq!(matches!(get[2], Value::Set(_)), resp3, "{get:?}");
    Ok(())
}

fn errors(con: &mut Connection) {
    let mut error = |words: &[&str]| -> RedisError {
        let reply = cmd(words[0]).arg(&words[1..]).query::<Value>(con);
        reply.expect_err("an error")
    };
    for words in [
        &["NOSUCHCOMMAND", "x"][..],
        &["GET"],
        &["SET", "a", "b", "EX", "0"],
        &["INCR", "name"],
    ] {
        let error = error(words);
        assert_eq!(
            error.kind(),
            ErrorKind::Server(ServerErrorKind::ResponseError)
        );
    }
    let wrong_count = error(&["GET"]);
    assert_eq!(
        wrong_count.detail(),
        Some("wrong number of arguments for 'get' command")
    );
    assert_eq!(error(&["HELLO", "4"]).code(), Some("NOPROTO"));
    let custom = error(&["DEBUG", "ERROR", "CODE of ours"]);
    assert_eq!(
        (custom.code(), custom.detail()),
        (Some("CODE"), Some("of ours"))
    );
}

fn binary(con: &mut Connection) -> RedisResult<()> {
    let key = b"\x00\r\n\xff";
    let value: Vec<u8> = (0..=255).cycle().take(256 * 5000).collect();
    let _: () = con.set(key, &value)?;
    assert_eq!(con.get(key), Ok(value));
    Ok(())
}

/// HELLO changes the protocol of a connection in use, there and back.
fn switch_of_protocol(con: &mut Connection) -> RedisResult<()> {
    for version in [3, 2, 3] {
        let hello: HashMap<String, Value> = cmd("HELLO").arg(version).query(con)?;
        assert_eq!(hello["proto"], Value::Int(version));
        assert_eq!(hello["server"], Value::BulkString(b"redis".into()));
        assert_eq!(con.get("missing"), Ok(Value::Nil));
    }
    Ok(())
}

fn shared(protocol: &str) -> RedisResult<()> {
    const TASKS: usize = 50;
    const ROUNDS: usize = 40;
    let strata = Strata::start(&[]);
    let client = client(&strata, &format!("redis://HOST/?protocol={protocol}"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime?.block_on(async {
        let con = client.get_multiplexed_async_connection().await?;
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| tokio::spawn(one_of_many(con.clone(), task, ROUNDS)))
            .collect();
        for task in tasks {
            task.await.expect("a task that does not panic")?;
        }
        let mut con = con;
        let total: usize = cmd("GET").arg("total").query_async(&mut con).await?;
        assert_eq!(total, TASKS * ROUNDS);
        Ok(())
    })
}

/// Each reply must come to the task that asked, long ones between short ones.
async fn one_of_many(
    mut con: redis::aio::MultiplexedConnection,
    task: usize,
    rounds: usize,
) -> RedisResult<()> {
    for round in 0..rounds {
        let key = format!("task:{task}");
        let value = format!("{task}:{round} ").repeat(1 + task * round);
        let (read, missing, _): (String, Value, i64) = pipe()
            .cmd("SET")
            .arg(&key)
            .arg(&value)
            .ignore()
            .cmd("GET")
            .arg(&key)
            .cmd("GET")
            .arg("missing")
            .cmd("INCR")
            .arg("total")
            .query_async(&mut con)
            .await?;
        assert_eq!((read, missing), (value, Value::Nil));
        let refused: RedisResult<Value> = cmd("INCR").arg(&key).query_async(&mut con).await;
        assert!(refused.is_err());
        let echo: String = cmd("ECHO").arg(&key).query_async(&mut con).await?;
        assert_eq!(echo, key);
    }
    Ok(())
}
