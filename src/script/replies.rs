//! Between Lua and RESP: the arguments of a command, its reply as Lua sees it, and what a script returns.

use mlua::{Error, Lua, MultiValue, Table, Value};

use super::errors::{raise_reply, reply_table};
use crate::error::CommandError;
use crate::resp::{Protocol, Queue, Reply};
use crate::value::number;

const NO_ARGUMENT: CommandError =
    CommandError::text("ERR Please specify at least one argument for this redis lib call");
const BAD_ARGUMENT: CommandError =
    CommandError::text("ERR Lua redis lib command arguments must be strings or integers");
const TOO_DEEP: &str = "reached lua stack limit";
/// Replies and results lie in each other no deeper.
const DEPTH_MAX: usize = 1_000;
/// The letters before the colon of a verbatim string.
const VERBATIM_FORMAT: usize = 3;
/// Integers up to here are written as such: those behind are not all there.
const EXACT_MAX: f64 = (1u64 << 53) as f64;

/// What a command of a script has answered.
pub(super) enum Called {
    Value(Value),
    /// An error, without the sign that it is one.
    Error(Vec<u8>),
}

impl Called {
    /// Reads the one reply that was written.
    pub(super) fn read(lua: &Lua, reply: &mut Reply) -> mlua::Result<Self> {
        let joined;
        let mut bytes = match reply.has_shared() {
            true => {
                joined = reply.take_joined();
                &joined[..]
            }
            false => reply.bytes(),
        };
        match bytes {
            [b'-', error @ .., b'\r', b'\n'] => Ok(Self::Error(error.to_vec())),
            _ => read(lua, &mut bytes, 0).map(Self::Value),
        }
    }

    /// What `redis.call` gives.
    pub(super) fn or_raise(self) -> mlua::Result<Value> {
        match self {
            Self::Value(value) => Ok(value),
            Self::Error(text) => Err(raise_reply(text)),
        }
    }

    /// What `redis.pcall` gives.
    pub(super) fn into_value(self, lua: &Lua) -> mlua::Result<Value> {
        match self {
            Self::Value(value) => Ok(value),
            Self::Error(text) => reply_table(lua, &text).map(Value::Table),
        }
    }
}

/// Makes a request of what a script has given.
pub(super) fn request(args: &MultiValue, queue: &mut Queue) -> Result<(), CommandError> {
    if args.is_empty() {
        return Err(NO_ARGUMENT);
    }
    for arg in args {
        match arg {
            Value::String(text) => queue.push_word(&text.as_bytes()),
            Value::Integer(number) => queue.push_word(&number::format_i64(*number)),
            Value::Number(number) => queue.push_word(&format_number(*number)),
            _ => return Err(BAD_ARGUMENT),
        }
    }
    queue.end_request();
    Ok(())
}

fn format_number(number: f64) -> number::Text {
    match number.fract() == 0.0 && number.abs() <= EXACT_MAX {
        true => number::format_i64(number as i64),
        false => number::format_f64(number),
    }
}

fn read(lua: &Lua, bytes: &mut &[u8], depth: usize) -> mlua::Result<Value> {
    let broken = || Error::runtime("a reply that is none");
    if depth > DEPTH_MAX {
        return Err(Error::runtime(TOO_DEEP));
    }
    let end = memchr::memchr(b'\n', bytes).ok_or_else(broken)?;
    let line = bytes.get(1..end.saturating_sub(1)).ok_or_else(broken)?;
    let kind = bytes[0];
    *bytes = &bytes[end + 1..];
    let count = || number::parse_i64(line).ok_or_else(broken);
    let single = |name: &str, value: Value| -> mlua::Result<Value> {
        let table = lua.create_table_with_capacity(0, 1)?;
        table.raw_set(name, value)?;
        Ok(Value::Table(table))
    };
    let text = |bytes: &[u8]| lua.create_string(bytes).map(Value::String);
    Ok(match kind {
        b'+' => single("ok", text(line)?)?,
        b'-' => Value::Table(reply_table(lua, line)?),
        b':' => Value::Number(count()? as f64),
        b'_' => Value::Nil,
        b'#' => Value::Boolean(line == b"t"),
        b',' => single("double", Value::Number(parse_double(line)))?,
        b'(' => single("big_number", text(line)?)?,
        b'$' | b'=' => {
            let Ok(len) = usize::try_from(count()?) else {
                return Ok(Value::Boolean(false));
            };
            let body = bytes.get(..len).ok_or_else(broken)?;
            *bytes = bytes.get(len + 2..).ok_or_else(broken)?;
            match body.split_at_checked(VERBATIM_FORMAT) {
                Some((format, [b':', rest @ ..])) if kind == b'=' => {
                    let table = lua.create_table_with_capacity(0, 2)?;
                    table.raw_set("format", text(format)?)?;
                    table.raw_set("string", text(rest)?)?;
                    single("verbatim_string", Value::Table(table))?
                }
                _ => text(body)?,
            }
        }
        b'*' | b'>' => {
            let Ok(len) = usize::try_from(count()?) else {
                return Ok(Value::Boolean(false));
            };
            let table = lua.create_table_with_capacity(len, 0)?;
            for at in 1..=len {
                table.raw_set(at, read(lua, bytes, depth + 1)?)?;
            }
            Value::Table(table)
        }
        b'%' | b'~' => {
            let len = usize::try_from(count()?).map_err(|_| broken())?;
            let table = lua.create_table_with_capacity(0, len)?;
            for _ in 0..len {
                let key = read(lua, bytes, depth + 1)?;
                let value = match kind {
                    b'%' => read(lua, bytes, depth + 1)?,
                    _ => Value::Boolean(true),
                };
                if !key.is_nil() {
                    table.raw_set(key, value)?;
                }
            }
            single(
                if kind == b'%' { "map" } else { "set" },
                Value::Table(table),
            )?
        }
        _ => return Err(broken()),
    })
}

fn parse_double(text: &[u8]) -> f64 {
    let text = std::str::from_utf8(text).unwrap_or_default();
    text.parse().unwrap_or(f64::NAN)
}

/// Writes what a script has returned. `protocol` is what the script has set.
pub(super) fn write(value: &Value, reply: &mut Reply, protocol: Protocol) -> mlua::Result<()> {
    write_at(value, reply, protocol, 0)
}

fn write_at(
    value: &Value,
    reply: &mut Reply,
    protocol: Protocol,
    depth: usize,
) -> mlua::Result<()> {
    match value {
        Value::String(text) => reply.bulk(&text.as_bytes()),
        Value::Integer(number) => reply.int(*number),
        Value::Number(number) => reply.int(*number as i64),
        Value::Boolean(yes) if protocol == Protocol::Resp3 => reply.boolean(*yes),
        Value::Boolean(true) => reply.int(1),
        Value::Table(_) if depth >= DEPTH_MAX => reply.error(&CommandError::text(TOO_DEEP)),
        Value::Table(table) => return write_table(table, reply, protocol, depth),
        _ => reply.nil(),
    }
    Ok(())
}

fn write_table(
    table: &Table,
    reply: &mut Reply,
    protocol: Protocol,
    depth: usize,
) -> mlua::Result<()> {
    let field = |name: &str| table.raw_get::<Value>(name);
    if let Value::String(error) = field("err")? {
        let error = error.as_bytes();
        let error = error.strip_prefix(b"-").unwrap_or(&error);
        reply.error(&CommandError::bytes(&[error]));
        return Ok(());
    }
    if let Value::String(status) = field("ok")? {
        let status: Vec<u8> = status.as_bytes().to_vec();
        reply.status(&status);
        return Ok(());
    }
    if let Some(number) = double(&field("double")?) {
        reply.double(number);
        return Ok(());
    }
    if let Value::Table(map) = field("map")? {
        let pairs: Vec<(Value, Value)> = map.pairs().collect::<mlua::Result<_>>()?;
        reply.map(pairs.len());
        for (key, value) in pairs {
            write_at(&key, reply, protocol, depth + 1)?;
            write_at(&value, reply, protocol, depth + 1)?;
        }
        return Ok(());
    }
    if let Value::Table(set) = field("set")? {
        let members: Vec<(Value, Value)> = set.pairs().collect::<mlua::Result<_>>()?;
        reply.set(members.len());
        for (member, _) in members {
            write_at(&member, reply, protocol, depth + 1)?;
        }
        return Ok(());
    }
    if let Value::String(number) = field("big_number")? {
        reply.big_number(&number.as_bytes());
        return Ok(());
    }
    if let Value::Table(verbatim) = field("verbatim_string")? {
        let part = |name: &str| verbatim.raw_get::<Value>(name);
        if let (Value::String(text), Value::String(format)) = (part("string")?, part("format")?) {
            let format = String::from_utf8_lossy(&format.as_bytes()).into_owned();
            reply.verbatim(&format, &text.as_bytes());
            return Ok(());
        }
    }
    write_array(table, reply, protocol, depth)
}

fn double(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => Some(*number),
        Value::Integer(number) => Some(*number as f64),
        _ => None,
    }
}

fn write_array(
    table: &Table,
    reply: &mut Reply,
    protocol: Protocol,
    depth: usize,
) -> mlua::Result<()> {
    let deferred = reply.array_deferred();
    let mut len = 0;
    loop {
        let value = table.raw_get::<Value>(len + 1)?;
        if value.is_nil() {
            break;
        }
        write_at(&value, reply, protocol, depth + 1)?;
        len += 1;
    }
    reply.finish_array(deferred, len);
    Ok(())
}
