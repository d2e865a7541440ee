//! Errors that functions of the host raise in a script.
//!
//! The bindings raise an error of Rust's, which is no value that Lua could look at. So it says what Redis would have raised, a text
//! or a table, and whoever catches it in Lua is given that ([`thrown`]): `pcall`, `xpcall` and `coroutine.resume` of the prelude,
//! and whoever runs the script ([`blame`]).

use std::fmt;

use mlua::{Error, Lua, Table, Value};

use super::Ended;

/// Where the prelude's functions come from.
pub(super) const PRELUDE: &str = "=prelude";

/// What Redis would have raised.
#[derive(Debug)]
struct Raised {
    text: Vec<u8>,
    /// A table, as errors of commands are.
    is_reply: bool,
}

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.text))
    }
}

impl std::error::Error for Raised {}

/// The error of a library, at the place of the script that has called it.
pub(super) fn raise(lua: &Lua, message: &[u8]) -> Error {
    let place = lua.inspect_stack(1, |frame| {
        let line = frame.current_line()?;
        Some(format!("{}:{line}: ", frame.source().short_src?))
    });
    let place = place.flatten().unwrap_or_default();
    Error::external(Raised {
        text: [place.as_bytes(), message].concat(),
        is_reply: false,
    })
}

/// The error of a command, or of what `redis` has.
pub(super) fn raise_reply(text: Vec<u8>) -> Error {
    Error::external(Raised {
        text,
        is_reply: true,
    })
}

/// A reply that is an error.
pub(super) fn reply_table(lua: &Lua, text: &[u8]) -> mlua::Result<Table> {
    let table = lua.create_table_with_capacity(0, 4)?;
    table.raw_set("err", lua.create_string(text)?)?;
    table.raw_set("ignore_error_stats_update", true)?;
    Ok(table)
}

/// What Redis would have raised in the place of an error of the host. Other values stay as they are.
///
/// # Errors
/// The script is to end.
pub(super) fn thrown(lua: &Lua, error: Value) -> mlua::Result<Value> {
    let Value::Error(error) = error else {
        return Ok(error);
    };
    if reason(&error).is_some() {
        return Err(*error);
    }
    Ok(match error.downcast_ref::<Raised>() {
        Some(raised) if raised.is_reply => Value::Table(reply_table(lua, &raised.text)?),
        Some(raised) => Value::String(lua.create_string(&raised.text)?),
        None => Value::String(lua.create_string(first_line(&error))?),
    })
}

/// Makes a table of the error that has ended a script, and notes where the script was.
pub(super) fn blame(lua: &Lua, error: Value) -> mlua::Result<Value> {
    let ended = match &error {
        Value::Error(error) => reason(error),
        _ => None,
    };
    if let Some(ended) = ended {
        let table = reply_table(lua, ended.to_string().as_bytes())?;
        return note_place(lua, table);
    }
    let table = match thrown(lua, error)? {
        Value::Table(table) => table,
        other => {
            let text = lua.coerce_string(other.clone())?;
            let text = match (text, &other) {
                (Some(text), _) => text.as_bytes().to_vec(),
                (None, Value::Nil) => b"nil".to_vec(),
                (None, other) => other.type_name().as_bytes().to_vec(),
            };
            let table = lua.create_table()?;
            table.raw_set("err", lua.create_string([b"ERR ", &text[..]].concat())?)?;
            table
        }
    };
    note_place(lua, table)
}

fn note_place(lua: &Lua, table: Table) -> mlua::Result<Value> {
    if let Some((source, line)) = place(lua) {
        table.raw_set("source", source)?;
        table.raw_set("line", line)?;
    }
    Ok(Value::Table(table))
}

/// The innermost place that is the script's.
fn place(lua: &Lua) -> Option<(String, usize)> {
    for level in 1.. {
        let found = lua.inspect_stack(level, |frame| {
            let source = frame.source();
            let name = source.source.map(|name| name.into_owned());
            let is_own = matches!(source.what, "C" | "tail");
            let name = name.filter(|name| !is_own && name != PRELUDE);
            name.zip(frame.current_line())
        });
        if let Some(place) = found? {
            return Some(place);
        }
    }
    None
}

/// Why a script was ended, if that is what an error tells of.
pub(super) fn reason(error: &Error) -> Option<Ended> {
    error.downcast_ref::<Ended>().copied()
}

/// The text of an error that is none of the script's, without where in Rust it was.
pub(super) fn first_line(error: &Error) -> String {
    let text = match error {
        Error::CallbackError { cause, .. } => cause.to_string(),
        other => other.to_string(),
    };
    text.lines().next().unwrap_or_default().to_owned()
}
