//! What a script has passed to a function of a library, and how the function fails.
//!
//! The texts are those of Lua's auxiliary library, by which the libraries of Redis check their arguments.

use mlua::{Lua, LuaString, MultiValue, Table, Value};

use super::errors::raise;

/// The slots of Lua's stack that a function may use. Where Redis's libraries would need more they refuse, and so do ours.
pub(super) const STACK_SLOTS: usize = 8000;

/// The values that a function here holds at a time. Lua has [`STACK_SLOTS`] for all that Rust holds, and some are needed by who
/// calls the function.
pub(super) const VALUES_MAX: usize = 7500;

/// The longest text that a function makes. A table that has itself as two of its values would never end.
/// Tests do not wait for so much.
pub(super) const TEXT_MAX: usize = if cfg!(test) { 2 << 20 } else { 512 << 20 };

/// Why a function has no result.
#[derive(Debug)]
pub(super) enum Failure {
    /// The script has done something wrong: the message of the error that it gets.
    Script(Vec<u8>),
    /// Lua itself has failed, as when there is no memory.
    Lua(mlua::Error),
}

impl Failure {
    pub(super) fn new(message: impl Into<Vec<u8>>) -> Self {
        Failure::Script(message.into())
    }
}

impl From<mlua::Error> for Failure {
    fn from(error: mlua::Error) -> Self {
        match error {
            mlua::Error::StackError => Failure::new("stack overflow"),
            error => Failure::Lua(error),
        }
    }
}

/// The arguments of one call. They are counted from 1, as scripts do.
pub(super) struct Arguments<'a> {
    pub(super) lua: &'a Lua,
    values: MultiValue,
}

impl Arguments<'_> {
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// An argument, or nil where there is none.
    pub(super) fn value(&self, at: usize) -> &Value {
        const NIL: &Value = &Value::Nil;
        self.given(at).unwrap_or(NIL)
    }

    fn given(&self, at: usize) -> Option<&Value> {
        self.values.get(at.checked_sub(1)?)
    }

    pub(super) fn is_nil(&self, at: usize) -> bool {
        self.value(at).is_nil()
    }

    /// A string, or the text of a number.
    pub(super) fn string(&self, at: usize) -> Result<LuaString, Failure> {
        match self.value(at) {
            Value::String(string) => Ok(string.clone()),
            value @ (Value::Integer(_) | Value::Number(_)) => {
                let text = self.lua.coerce_string(value.clone())?;
                text.ok_or_else(|| self.wrong_type(at, "string"))
            }
            _ => Err(self.wrong_type(at, "string")),
        }
    }

    /// A number, or a string that is one.
    pub(super) fn number(&self, at: usize) -> Result<f64, Failure> {
        let number = self.lua.coerce_number(self.value(at).clone())?;
        number.ok_or_else(|| self.wrong_type(at, "number"))
    }

    /// A number without its fraction.
    pub(super) fn integer(&self, at: usize) -> Result<i64, Failure> {
        Ok(to_i64(self.number(at)?))
    }

    /// The same, or `otherwise` for nil and for what was not passed.
    pub(super) fn integer_or(&self, at: usize, otherwise: i64) -> Result<i64, Failure> {
        match self.value(at) {
            Value::Nil => Ok(otherwise),
            _ => self.integer(at),
        }
    }

    fn wrong_type(&self, at: usize, expected: &str) -> Failure {
        let found = self.given(at).map_or("no value", type_name);
        self.bad(at, format!("{expected} expected, got {found}"))
    }

    /// The error for an argument that is not as it should be. The function is called what the script has called it.
    pub(super) fn bad(&self, at: usize, why: impl AsRef<[u8]>) -> Failure {
        let called = self.lua.inspect_stack(0, |debug| {
            let names = debug.names();
            let is_method = names.name_what == Some("method");
            names.name.map(|name| (name.into_owned(), is_method))
        });
        let (name, is_method) = called.flatten().unwrap_or_else(|| ("?".to_owned(), false));
        let head = match at.checked_sub(usize::from(is_method)) {
            Some(0) if is_method => format!("calling '{name}' on bad self ("),
            at => format!("bad argument #{} to '{name}' (", at.unwrap_or(0)),
        };
        Failure::Script([head.as_bytes(), why.as_ref(), b")"].concat())
    }
}

/// What Lua calls the type of a value.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Nil => "nil",
        Value::Boolean(_) => "boolean",
        Value::Integer(_) | Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Table(_) => "table",
        Value::Function(_) => "function",
        Value::Thread(_) => "thread",
        _ => "userdata",
    }
}

/// A double as a 64 bit integer, as processors of x86-64 convert it: what has no place there becomes the lowest.
pub(super) fn to_i64(number: f64) -> i64 {
    const END: f64 = 9_223_372_036_854_775_808.0;
    match (-END..END).contains(&number) {
        true => number as i64,
        false => i64::MIN,
    }
}

/// The same without a sign: of what is too large the part above 2^63 is converted.
pub(super) fn to_u64(number: f64) -> u64 {
    const HALF: f64 = 9_223_372_036_854_775_808.0;
    match number >= HALF {
        true => (to_i64(number - HALF) as u64) ^ (1 << 63),
        false => to_i64(number) as u64,
    }
}

/// Puts a function into a library.
pub(super) fn add<F>(lua: &Lua, library: &Table, name: &str, function: F) -> mlua::Result<()>
where
    F: Fn(&Arguments<'_>) -> Result<MultiValue, Failure> + 'static,
{
    let function = lua.create_function(move |lua, values: MultiValue| {
        function(&Arguments { lua, values }).map_err(|failure| match failure {
            Failure::Script(message) => raise(lua, &message),
            Failure::Lua(error) => error,
        })
    })?;
    library.raw_set(name, function)
}

/// A single result.
pub(super) fn one(value: Value) -> Result<MultiValue, Failure> {
    Ok(MultiValue::from_iter([value]))
}

#[cfg(test)]
mod tests {
    use crate::script::snippet::check;

    #[test]
    fn functions_are_called_what_the_script_calls_them() {
        check(&[
            (
                "cjson.encode()",
                "ERR user_script:1: bad argument #1 to 'encode' (expected 1 argument)",
            ),
            (
                "local e=cjson.encode ;; e()",
                "ERR user_script:1: bad argument #1 to 'e' (expected 1 argument)",
            ),
            (
                "pcall(cjson.encode)",
                r#"false "bad argument #1 to '?' (expected 1 argument)""#,
            ),
            (
                "pcall(cjson.encode,1,2)",
                r#"false "bad argument #1 to '?' (expected 1 argument)""#,
            ),
            (
                "cjson:decode()",
                "ERR user_script:1: calling 'decode' on bad self (string expected, got table)",
            ),
            (
                "pcall(cmsgpack.pack)",
                r#"false "bad argument #0 to '?' (MessagePack pack needs input.)""#,
            ),
            (
                "cmsgpack:unpack()",
                "ERR user_script:1: calling 'unpack' on bad self (string expected, got table)",
            ),
            (
                "struct:pack()",
                "ERR user_script:1: calling 'pack' on bad self (string expected, got table)",
            ),
            (
                "bit:band()",
                "ERR user_script:1: calling 'band' on bad self (number expected, got table)",
            ),
            (
                "pcall(bit.band)",
                r#"false "bad argument #1 to '?' (number expected, got no value)""#,
            ),
        ]);
    }
}
