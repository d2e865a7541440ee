//! Scripts, beside the newest Redis: what they return, how they fail, what a stuck one does to others.
//!
//! Scripts between other connections' commands, in transactions and over a disk are in `interleaved.rs`.

use std::time::Duration;

use crate::client::Client;
use crate::differences::Other;
use crate::server::{Scratch, Strata, poll};

const WITHIN: Duration = Duration::from_secs(10);
const BUSY: &str =
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";

/// Run one after the other, each with the key `k` and the argument `v`. Some were wrong once, the others are edges.
const SCRIPTS: &[&str] = &[
    // Numbers and replies.
    "return {3.99, -3.99, 1/3, 2^40, true, false, nil, 5}",
    "return {1, 2, nil, 4}",
    "return {ok='fine'}",
    "return {err='My Err'}",
    "return {1, {2, {err='x y'}}, {ok='y'}}",
    "return redis.error_reply('My Err')",
    "return redis.error_reply('Single')",
    "return redis.error_reply(1)",
    "return redis.status_reply()",
    "return {KEYS[1], ARGV[1], #KEYS, #ARGV}",
    "redis.call('set', 'a', 0.1) return redis.call('get', 'a')",
    "redis.call('set', 'a', 2^63) return redis.call('get', 'a')",
    "redis.call('set', 'a', 1e100) return redis.call('get', 'a')",
    "redis.call('set', 'a', -0) return redis.call('get', 'a')",
    "return {redis.call('get', 'none') == false, redis.call('lpop', 'none') == false}",
    "return redis.call('blpop', 'none', '0')",
    "redis.call('select', '5') redis.call('set', 'there', 'x') return redis.call('get', 'there')",
    "return redis.call('get', 'there')",
    "local t = {} for i = 1, 7900 do t[i] = i end redis.call('rpush', 'long', unpack(t)) return redis.call('llen', 'long')",
    // RESP3 inside.
    "redis.call('hset', 'h', 'a', '1') redis.setresp(3) return redis.call('hgetall', 'h').map.a",
    "redis.call('hset', 'h', 'a', '1') redis.setresp(3) return redis.call('hgetall', 'h')",
    "redis.call('zadd', 'z', '1.5', 'a') redis.setresp(3) return tostring(redis.call('zscore', 'z', 'a').double)",
    "redis.setresp(3) return {true, false}",
    "return {{double=3.5}, {map={a=1}}, {set={a=true}}, {big_number='123'}, {verbatim_string={string='x', format='txt'}}}",
    // Errors, and where they were.
    "return redis.call('nope')",
    "return redis.call('get')",
    "return redis.call()",
    "return redis.call('get', {})",
    "return redis.pcall('nope')",
    "redis.call('lpush', 'l', 1) return redis.call('get', 'l')",
    "\n\nreturn (redis.call('get', 'l'))",
    "return foo",
    "foo = 1",
    "KEYS = 1",
    "redis.x = 1",
    "error('x')",
    "error({err='MY x'})",
    "\nlocal a = nil\nreturn a.b",
    "return {",
    "local ok, e = pcall(redis.call, 'nope') return e",
    "local ok, e = pcall(function() return foo end) return e",
    "local ok, e = pcall(function() return cjson.decode('x') end) return e",
    "local ok, e = pcall(cjson.decode, 'x') return e",
    "local ok, e = xpcall(function() redis.call('nope') end, function(e) return type(e) end) return e",
    "local co = coroutine.create(function() redis.call('nope') end) local ok, e = coroutine.resume(co) return e.err",
    "return cjson.decode('x')",
    "return redis.call('eval', 'return 1', '0')",
    "return redis.call('multi')",
    "return redis.call('subscribe', 'x')",
    "rawset(_G, 'x', 1)",
    "setmetatable(_G, {})",
    "getmetatable('').__index = nil",
    "return math.random(0)",
    "return print",
    "return loadstring('return 5')()",
    // What is compiled later sees no more than the script.
    "loadstring('foo = 1')()",
    "return loadstring('return print')()",
    "return loadstring('string.rep = nil')()",
    "return load(function() return nil end)()",
    "return {tostring(loadstring('return _G')() == _G), ('x'):rep(3)}",
    // What is there.
    "math.randomseed(7) return {math.random(100), math.random(5, 9), tostring(math.random())}",
    "return {redis.sha1hex(''), redis.LOG_WARNING, redis.REPL_ALL, redis.set_repl(redis.REPL_ALL) == nil, redis.replicate_commands()}",
    "return redis.sha1hex()",
    "return redis.log('x')",
    "return redis.setresp(4)",
    "return redis.acl_check_cmd('nope')",
    "return cjson.encode({1, 0.1, 1e20, 'a/b', {a={}}})",
    "return cmsgpack.unpack(cmsgpack.pack({1, 'x', {y=2}}))[2]",
    "return {struct.unpack('>I2hs', struct.pack('>I2hs', 1, 2, 'hey'))}",
    "return {bit.band(7, 3), bit.tohex(255), bit.lshift(1, 31)}",
    // The first line.
    "#!lua flags=no-writes\nreturn redis.call('set', 'a', 1)",
    "#!lua flags=no-writes,allow-oom\nreturn redis.call('get', 'a')",
    "#!lua\nreturn foo",
    "#!lua flags=nope\nreturn 1",
    "#!py\nreturn 1",
    "#!lua x=1\nreturn 1",
    "#!lua",
];

const REQUESTS: &[&str] = &[
    "EVAL",
    "EVAL 1",
    "EVAL 1 x",
    "EVAL 1 -1",
    "EVAL 1 1",
    "EVALSHA abc 0",
    "EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0",
    "EVAL return(1) 0",
    "EVALSHA 930269F31393D0BE681588B6AB08DCCEE7D6BB67 0",
    "SCRIPT LOAD return(2)",
    "SCRIPT LOAD ret{",
    "SCRIPT EXISTS x 572625a1039fb30b308c236ab7091a2bd7724d22",
    "SCRIPT EXISTS",
    "SCRIPT KILL",
    "SCRIPT DEBUG NO",
    "SCRIPT DEBUG x",
    "SCRIPT FLUSH x",
    "SCRIPT FLUSH ASYNC",
    "SCRIPT",
    "SCRIPT nope",
    "EVAL_RO return(redis.call('set','a',1)) 0",
    "EVAL_RO return(redis.call('get','a')) 0",
    "MULTI",
    "EVAL return(redis.call('incr',KEYS[1])) 1 n",
    "INCR n",
    "EVAL return(redis.call('lpush','n','1')) 0",
    "EVALSHA 0000000000000000000000000000000000000000 0",
    "SCRIPT LOAD return(3)",
    "EXEC",
    "GET n",
    "WATCH n",
    "EVAL return(redis.call('incr',KEYS[1])) 1 n",
    "MULTI",
    "GET n",
    "EXEC",
];

fn compare(protocol: &str, options: &[&str]) {
    let Some((other, theirs)) = Other::REDIS.start(&[]) else {
        return;
    };
    if other == Other::Redis7 {
        // Its errors and numbers are older.
        return;
    }
    let dir = Scratch::new();
    let mut args = options.to_vec();
    if !options.is_empty() {
        args.extend(["--tier-dir", dir.as_str()]);
    }
    let ours = Strata::start(&args);
    let (mut theirs, mut ours) = (theirs.connect(), ours.connect());
    for client in [&mut theirs, &mut ours] {
        client.run(&["HELLO", protocol]);
    }
    for script in SCRIPTS {
        let request = ["EVAL", script, "1", "k", "v"];
        let [expected, found] = [&mut theirs, &mut ours].map(|client| client.run(&request));
        assert_eq!(found.to_string(), expected.to_string(), "{script}");
    }
    for line in REQUESTS {
        let words: Vec<&str> = line.split(' ').collect();
        let [expected, found] = [&mut theirs, &mut ours].map(|client| client.run(&words));
        assert_eq!(found.to_string(), expected.to_string(), "{line}");
    }
}

#[test]
fn scripts_answer_as_those_of_redis() {
    compare("2", &[]);
}

#[test]
fn scripts_answer_as_those_of_redis_over_resp3() {
    compare("3", &["--tier-max-bytes", "256mb", "--maxmemory", "3mb"]);
}

fn is_busy(client: &mut Client) -> bool {
    client.run(&["GET", "k"]).to_string().contains("BUSY")
}

#[test]
fn a_stuck_script_is_told_of_and_killed() {
    let strata = Strata::start(&["--busy-reply-threshold", "100"]);
    let (mut stuck, mut other) = (strata.connect(), strata.connect());
    let loops = [
        "while true do end",
        // What is caught goes on.
        "while true do pcall(function() while true do end end) end",
        "coroutine.wrap(function() while true do end end)()",
    ];
    for script in loops {
        stuck.send(&["EVAL", script, "0"]);
        poll(WITHIN, || is_busy(&mut other).then_some(())).expect("others are told");
        assert!(other.run(&["PING"]).to_string().contains(BUSY));
        assert!(other.run(&["MULTI"]).is_simple("OK"));
        assert!(other.run(&["GET", "k"]).to_string().contains(BUSY));
        let aborted = "EXECABORT Transaction discarded because of: BUSY";
        assert!(other.run(&["EXEC"]).to_string().contains(aborted));
        assert!(other.run(&["SCRIPT", "KILL"]).is_simple("OK"));
        let ended = stuck.read().to_string();
        assert!(
            ended.contains("ERR Script killed by user with SCRIPT KILL..."),
            "{ended}"
        );
        assert!(other.run(&["PING"]).is_simple("PONG"));
    }
}

#[test]
fn a_script_that_has_written_is_not_killed_and_a_stop_ends_it() {
    let mut strata = Strata::start(&["--busy-reply-threshold", "100"]);
    let (mut stuck, mut other) = (strata.connect(), strata.connect());
    stuck.send(&["EVAL", "redis.call('set', 'k', 'v') while true do end", "0"]);
    poll(WITHIN, || is_busy(&mut other).then_some(())).expect("others are told");
    let refused = other.run(&["SCRIPT", "KILL"]).to_string();
    assert!(refused.contains("UNKILLABLE"), "{refused}");
    other.send(&["SHUTDOWN", "NOSAVE"]);
    assert!(strata.wait(WITHIN).is_some_and(|status| status.success()));
}
