//! What `redis` has besides `call` and `pcall`, and Redis's random numbers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mlua::{Lua, MultiValue, Table, Value};

use super::arguments::{self, Failure, to_i64};
use super::errors::{blame, raise_reply, reply_table, thrown};
use crate::command::table::table;
use crate::resp::Protocol;
use crate::server::REDIS_VERSION;

/// What a script may change for the rest of its run.
#[derive(Debug)]
pub(super) struct State {
    is_resp3: AtomicBool,
    random: AtomicU64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            is_resp3: AtomicBool::new(false),
            random: AtomicU64::new(0x1234_abcd_330e),
        }
    }
}

impl State {
    /// A script begins.
    pub(super) fn begin(&self) {
        self.is_resp3.store(false, Ordering::Relaxed);
    }

    /// The protocol in which it is answered.
    pub(super) fn protocol(&self) -> Protocol {
        match self.is_resp3.load(Ordering::Relaxed) {
            true => Protocol::Resp3,
            false => Protocol::Resp2,
        }
    }

    fn seed(&self, seed: i32) {
        let state = u64::from(seed.cast_unsigned()) << 16 | 0x330e;
        self.random.store(state, Ordering::Relaxed);
    }

    /// The next number of POSIX's `lrand48`, which is what Redis gives to scripts.
    fn next(&self) -> f64 {
        const MULTIPLIER: u64 = 0x5_deec_e66d;
        const MASK: u64 = (1 << 48) - 1;
        const MAX: u64 = i32::MAX as u64;
        let state = self.random.load(Ordering::Relaxed);
        let state = state.wrapping_mul(MULTIPLIER).wrapping_add(0xb) & MASK;
        self.random.store(state, Ordering::Relaxed);
        ((state >> 17) % MAX) as f64 / MAX as f64
    }
}

/// Puts all of it into a table, for the prelude.
pub(super) fn fill(lua: &Lua, host: &Table, state: &Arc<State>) -> mlua::Result<()> {
    host.set("redis", redis(lua, state)?)?;
    add_random(lua, host, state)?;
    host.set("blame", lua.create_function(blame)?)?;
    host.set("thrown", lua.create_function(thrown)?)
}

fn add_random(lua: &Lua, host: &Table, state: &Arc<State>) -> mlua::Result<()> {
    let own = Arc::clone(state);
    arguments::add(lua, host, "random", move |args| {
        let next = own.next();
        let (low, high) = match args.len() {
            0 => return arguments::one(Value::Number(next)),
            1 => (1.0, args.number(1)?.trunc()),
            2 => (args.number(1)?.trunc(), args.number(2)?.trunc()),
            _ => return Err(Failure::new("wrong number of arguments")),
        };
        if low > high {
            return Err(args.bad(args.len(), "interval is empty"));
        }
        arguments::one(Value::Number((next * (high - low + 1.0)).floor() + low))
    })?;
    let own = Arc::clone(state);
    arguments::add(lua, host, "randomseed", move |args| {
        own.seed(args.number(1)? as i64 as i32);
        Ok(MultiValue::new())
    })
}

type Answer = mlua::Result<Value>;

fn refuse(text: &str) -> Answer {
    Err(raise_reply(text.into()))
}

fn redis(lua: &Lua, state: &Arc<State>) -> mlua::Result<Table> {
    let redis = lua.create_table()?;
    for (name, number) in [
        ("LOG_DEBUG", 0),
        ("LOG_VERBOSE", 1),
        ("LOG_NOTICE", 2),
        ("LOG_WARNING", 3),
        ("REPL_NONE", 0),
        ("REPL_AOF", 1),
        ("REPL_SLAVE", 2),
        ("REPL_REPLICA", 2),
        ("REPL_ALL", 3),
    ] {
        redis.set(name, number)?;
    }
    redis.set("REDIS_VERSION", REDIS_VERSION)?;
    redis.set("REDIS_VERSION_NUM", version_number(REDIS_VERSION))?;
    redis.set("sha1hex", lua.create_function(sha1hex)?)?;
    redis.set("error_reply", lua.create_function(error_reply)?)?;
    redis.set("status_reply", lua.create_function(status_reply)?)?;
    redis.set("log", lua.create_function(log)?)?;
    redis.set("set_repl", lua.create_function(set_repl)?)?;
    redis.set("acl_check_cmd", lua.create_function(acl_check_cmd)?)?;
    // All that a script does is one change, and there is no debugger.
    redis.set(
        "replicate_commands",
        lua.create_function(|_, _: MultiValue| Ok(true))?,
    )?;
    redis.set(
        "breakpoint",
        lua.create_function(|_, _: MultiValue| Ok(false))?,
    )?;
    redis.set(
        "debug",
        lua.create_function(|_, _: MultiValue| Ok(Value::Nil))?,
    )?;
    let own = Arc::clone(state);
    let setresp = move |lua: &Lua, args: MultiValue| {
        let Some(version) = only(&args) else {
            return refuse("ERR redis.setresp() requires one argument.");
        };
        match whole(lua, version) {
            version @ 2..=3 => own.is_resp3.store(version == 3, Ordering::Relaxed),
            _ => return refuse("ERR RESP version must be 2 or 3."),
        }
        Ok(Value::Nil)
    };
    redis.set("setresp", lua.create_function(setresp)?)?;
    Ok(redis)
}

/// 0x00MMmmpp.
fn version_number(version: &str) -> u32 {
    let parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    parts.fold(0, |number, part: u32| number << 8 | part)
}

fn only(args: &MultiValue) -> Option<&Value> {
    (args.len() == 1).then(|| args.front()).flatten()
}

/// A number as C makes an integer of it; what is none is 0.
fn whole(lua: &Lua, value: &Value) -> i64 {
    let number = lua.coerce_number(value.clone()).ok().flatten();
    number.map_or(0, to_i64)
}

/// A string or a number as text.
fn text_of(lua: &Lua, value: &Value) -> Option<Vec<u8>> {
    let is_text = value.is_string() || value.is_number() || value.is_integer();
    let text = is_text.then(|| lua.coerce_string(value.clone()).ok().flatten());
    text.flatten().map(|text| text.as_bytes().to_vec())
}

fn sha1hex(lua: &Lua, args: MultiValue) -> Answer {
    let Some(value) = only(&args) else {
        return refuse("ERR wrong number of arguments");
    };
    let text = text_of(lua, value).unwrap_or_default();
    lua.create_string(super::digest(&text)).map(Value::String)
}

/// One of these two with a string is a table of one field; what is wrong is an error that is returned.
fn reply_of(lua: &Lua, args: &MultiValue, field: &str, change: fn(Vec<u8>) -> Vec<u8>) -> Answer {
    let text = only(args).filter(|value| value.is_string());
    let Some(text) = text.and_then(|value| text_of(lua, value)) else {
        let error = reply_table(lua, b"ERR wrong number or type of arguments")?;
        return Ok(Value::Table(error));
    };
    let table = lua.create_table()?;
    table.raw_set(field, lua.create_string(change(text))?)?;
    Ok(Value::Table(table))
}

fn error_reply(lua: &Lua, args: MultiValue) -> Answer {
    reply_of(lua, &args, "err", |text| match text.as_slice() {
        [b'-', rest @ ..] if rest.contains(&b' ') => rest.to_vec(),
        [b'-', rest @ ..] => [b"ERR ", rest].concat(),
        all if all.contains(&b' ') => text,
        all => [b"ERR ", all].concat(),
    })
}

fn status_reply(lua: &Lua, args: MultiValue) -> Answer {
    reply_of(lua, &args, "ok", |text| text)
}

fn log(lua: &Lua, args: MultiValue) -> Answer {
    if args.len() < 2 {
        return refuse("ERR redis.log() requires two arguments or more.");
    }
    let level = match args.front() {
        Some(level) if level.is_number() || level.is_integer() => whole(lua, level),
        _ => return refuse("ERR First argument must be a number (log level)."),
    };
    let words: Vec<Vec<u8>> = args
        .iter()
        .skip(1)
        .filter_map(|word| text_of(lua, word))
        .collect();
    let words = words.join(&b' ');
    let text = String::from_utf8_lossy(&words);
    match level {
        0 => tracing::debug!("A script: {text}"),
        1 | 2 => tracing::info!("A script: {text}"),
        3 => tracing::warn!("A script: {text}"),
        _ => return refuse("ERR Invalid log level."),
    }
    Ok(Value::Nil)
}

fn set_repl(lua: &Lua, args: MultiValue) -> Answer {
    let Some(flags) = only(&args) else {
        return refuse("ERR redis.set_repl() requires one argument.");
    };
    match whole(lua, flags) {
        0..=3 => Ok(Value::Nil),
        _ => refuse(
            "ERR Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.",
        ),
    }
}

/// There is one user, who may do all.
fn acl_check_cmd(lua: &Lua, args: MultiValue) -> Answer {
    let Some(name) = args.front() else {
        return refuse("ERR Please specify at least one argument for this redis lib call");
    };
    let is_known = text_of(lua, name).is_some_and(|name| table().find(&name).is_some());
    match is_known {
        true => Ok(Value::Boolean(true)),
        false => refuse("ERR Invalid command passed to redis.acl_check_cmd()"),
    }
}
