//! Values from JSON.
//!
//! Text is taken apart into tokens. An error says which was expected, which was found, and at which character. As in C, a zero byte
//! ends the text. Tables that have begun stand in a list, so that nesting takes no stack of the thread.

use mlua::{Lua, Table, Value};

use super::super::arguments::{Failure, STACK_SLOTS};
use super::{NESTING_MAX, Settings};
use crate::value::number;

/// Reads a text that is one value. Arrays get `array_metatable`, if there is one.
pub(super) fn decode(
    lua: &Lua,
    text: &[u8],
    settings: &Settings,
    array_metatable: Option<&Table>,
) -> Result<Value, Failure> {
    if let [0, _, ..] | [_, 0, ..] = text {
        return Err(Failure::new(
            "JSON parser does not support UTF-16 or UTF-32",
        ));
    }
    let mut reader = Reader {
        lua,
        settings,
        array_metatable,
        tokens: Tokens {
            text,
            at: 0,
            allows_invalid_numbers: settings.decode_invalid_numbers,
            unescaped: Vec::new(),
        },
        slots: 1,
        open: Vec::new(),
    };
    let first = reader.tokens.next();
    let value = reader.value(&first)?;
    while let Some(open) = reader.open.last() {
        match open.kind {
            Kind::Array => reader.element()?,
            Kind::Object => reader.member()?,
        }
    }
    match reader.tokens.next() {
        Token {
            kind: Found::End, ..
        } => Ok(value),
        other => Err(other.instead_of("the end")),
    }
}

struct Reader<'a> {
    lua: &'a Lua,
    settings: &'a Settings,
    array_metatable: Option<&'a Table>,
    tokens: Tokens<'a>,
    /// What Redis would have on Lua's stack.
    slots: usize,
    open: Vec<Open>,
}

/// An array or object that has begun. It is in the one around it already.
struct Open {
    kind: Kind,
    table: Table,
    /// The values that it has.
    count: i64,
}

#[derive(Clone, Copy)]
enum Kind {
    Array,
    Object,
}

impl Kind {
    /// What it holds on the stack for what is in it: the table, and of an object the key.
    fn slots(self) -> usize {
        match self {
            Kind::Array => 1,
            Kind::Object => 2,
        }
    }
}

impl Reader<'_> {
    /// The value that begins with `token`. An array or object is empty yet, and the innermost open one.
    fn value(&mut self, token: &Token) -> Result<Value, Failure> {
        Ok(match token.kind {
            Found::String => Value::String(self.lua.create_string(self.tokens.string(token))?),
            Found::Number(number) => Value::Number(number),
            Found::Boolean(flag) => Value::Boolean(flag),
            Found::Null => Value::NULL,
            Found::ArrayBegin => self.begin(Kind::Array)?,
            Found::ObjectBegin => self.begin(Kind::Object)?,
            _ => return Err(token.instead_of("value")),
        })
    }

    fn begin(&mut self, kind: Kind) -> Result<Value, Failure> {
        let depth = self.open.len() + 1;
        let is_allowed = depth <= self.settings.decode_max_depth as usize;
        let slots = kind.slots();
        if !is_allowed || depth > NESTING_MAX || self.slots + slots + 1 > STACK_SLOTS {
            let at = self.tokens.at;
            return Err(Failure::new(format!(
                "Found too many nested data structures ({depth}) at character {at}"
            )));
        }
        let table = self.lua.create_table()?;
        if let (Kind::Array, Some(metatable)) = (kind, self.array_metatable) {
            table.set_metatable(Some(metatable.clone()))?;
        }
        self.slots += slots;
        self.open.push(Open {
            kind,
            table: table.clone(),
            count: 0,
        });
        Ok(Value::Table(table))
    }

    fn end(&mut self) {
        if let Some(open) = self.open.pop() {
            self.slots -= open.kind.slots();
        }
    }

    /// Reads an element of the innermost array, or its end.
    fn element(&mut self) -> Result<(), Failure> {
        let Some(token) = self.next_item(&Found::ArrayEnd, "comma or array end")? else {
            return Ok(());
        };
        let Some(open) = self.open.last_mut() else {
            return Ok(());
        };
        open.count += 1;
        let (array, at) = (open.table.clone(), open.count);
        let value = self.value(&token)?;
        array.raw_set(at, value)?;
        Ok(())
    }

    /// Reads a member of the innermost object, or its end.
    fn member(&mut self) -> Result<(), Failure> {
        let Some(token) = self.next_item(&Found::ObjectEnd, "comma or object end")? else {
            return Ok(());
        };
        if token.kind != Found::String {
            return Err(token.instead_of("object key string"));
        }
        let key = self.lua.create_string(self.tokens.string(&token))?;
        let colon = self.tokens.next();
        if colon.kind != Found::Colon {
            return Err(colon.instead_of("colon"));
        }
        let token = self.tokens.next();
        let Some(open) = self.open.last_mut() else {
            return Ok(());
        };
        open.count += 1;
        let object = open.table.clone();
        let value = self.value(&token)?;
        object.raw_set(key, value)?;
        Ok(())
    }

    /// The token that the next item of the innermost array or object begins with. At the `end` of it there is none.
    fn next_item(&mut self, end: &Found, expected: &str) -> Result<Option<Token>, Failure> {
        let token = self.tokens.next();
        if token.kind == *end {
            self.end();
            return Ok(None);
        }
        let is_first = self.open.last().is_none_or(|open| open.count == 0);
        if is_first {
            return Ok(Some(token));
        }
        match token.kind {
            Found::Comma => Ok(Some(self.tokens.next())),
            _ => Err(token.instead_of(expected)),
        }
    }
}

/// A token, and the index of its first byte, or of what is wrong in it.
struct Token {
    kind: Found,
    index: usize,
}

#[derive(Clone, PartialEq)]
enum Found {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    /// Its bytes are with [`Tokens::string`] until the next token.
    String,
    Number(f64),
    Boolean(bool),
    Null,
    Colon,
    Comma,
    End,
    Invalid(&'static str),
}

impl Found {
    fn name(&self) -> &'static str {
        match self {
            Found::ObjectBegin => "T_OBJ_BEGIN",
            Found::ObjectEnd => "T_OBJ_END",
            Found::ArrayBegin => "T_ARR_BEGIN",
            Found::ArrayEnd => "T_ARR_END",
            Found::String => "T_STRING",
            Found::Number(_) => "T_NUMBER",
            Found::Boolean(_) => "T_BOOLEAN",
            Found::Null => "T_NULL",
            Found::Colon => "T_COLON",
            Found::Comma => "T_COMMA",
            Found::End => "T_END",
            Found::Invalid(why) => why,
        }
    }
}

impl Token {
    fn instead_of(&self, expected: &str) -> Failure {
        Failure::new(format!(
            "Expected {expected} but found {} at character {}",
            self.kind.name(),
            self.index + 1
        ))
    }
}

/// A text that is taken apart into tokens.
struct Tokens<'a> {
    text: &'a [u8],
    at: usize,
    allows_invalid_numbers: bool,
    /// The last string, if it has escapes.
    unescaped: Vec<u8>,
}

impl Tokens<'_> {
    /// A byte from here on. Behind the end stands a zero.
    fn byte(&self, ahead: usize) -> u8 {
        self.text.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn rest(&self) -> &[u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn next(&mut self) -> Token {
        while matches!(self.byte(0), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
        let index = self.at;
        let kind = match self.byte(0) {
            0 => Found::End,
            b'{' => self.skip(1, Found::ObjectBegin),
            b'}' => self.skip(1, Found::ObjectEnd),
            b'[' => self.skip(1, Found::ArrayBegin),
            b']' => self.skip(1, Found::ArrayEnd),
            b':' => self.skip(1, Found::Colon),
            b',' => self.skip(1, Found::Comma),
            b'"' => return self.read_string(),
            b'-' | b'0'..=b'9' if !self.allows_invalid_numbers && self.is_invalid_number() => {
                Found::Invalid("invalid number")
            }
            b'-' | b'0'..=b'9' => self.read_number(),
            _ if self.rest().starts_with(b"true") => self.skip(4, Found::Boolean(true)),
            _ if self.rest().starts_with(b"false") => self.skip(5, Found::Boolean(false)),
            _ if self.rest().starts_with(b"null") => self.skip(4, Found::Null),
            b'+' | b'i' | b'I' | b'n' | b'N'
                if self.allows_invalid_numbers && self.is_invalid_number() =>
            {
                self.read_number()
            }
            _ => Found::Invalid("invalid token"),
        };
        Token { kind, index }
    }

    fn skip(&mut self, length: usize, kind: Found) -> Found {
        self.at += length;
        kind
    }

    /// Tells whether here is a number that C reads and JSON does not have: with a plus or zeros in front, hexadecimal, infinite,
    /// or none.
    fn is_invalid_number(&self) -> bool {
        let rest = self.rest();
        let rest = match rest {
            [b'+', ..] => return true,
            [b'-', rest @ ..] => rest,
            rest => rest,
        };
        match rest {
            [b'0', second, ..] => matches!(second, b'x' | b'X' | b'0'..=b'9'),
            [a, b, c, ..] => {
                let word = [a, b, c].map(u8::to_ascii_lowercase);
                word == *b"inf" || word == *b"nan"
            }
            _ => false,
        }
    }

    fn read_number(&mut self) -> Found {
        match number::parse_f64_prefix(self.rest()) {
            Some((number, length)) => self.skip(length, Found::Number(number)),
            None => Found::Invalid("invalid number"),
        }
    }

    /// The bytes of the string token that was read last.
    fn string(&self, token: &Token) -> &[u8] {
        match self.unescaped.is_empty() {
            true => &self.text[token.index + 1..self.at - 1],
            false => &self.unescaped,
        }
    }

    fn read_string(&mut self) -> Token {
        let index = self.at;
        self.at += 1;
        self.unescaped.clear();
        let mut plain = self.at;
        let kind = loop {
            match self.byte(0) {
                b'"' => break Found::String,
                0 => break Found::Invalid("unexpected end of string"),
                b'\\' => {
                    self.unescaped.extend_from_slice(&self.text[plain..self.at]);
                    if let Err(why) = self.read_escape() {
                        break Found::Invalid(why);
                    }
                    plain = self.at;
                }
                _ => self.at += 1,
            }
        };
        if kind != Found::String {
            return Token {
                kind,
                index: self.at,
            };
        }
        if !self.unescaped.is_empty() {
            self.unescaped.extend_from_slice(&self.text[plain..self.at]);
        }
        self.at += 1;
        Token { kind, index }
    }

    fn read_escape(&mut self) -> Result<(), &'static str> {
        let byte = match self.byte(1) {
            byte @ (b'"' | b'\\' | b'/') => byte,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => return self.read_unicode().ok_or("invalid unicode escape code"),
            _ => return Err("invalid escape code"),
        };
        self.unescaped.push(byte);
        self.at += 2;
        Ok(())
    }

    /// Reads the escape of a character, which is two of them where it takes more than 16 bits.
    fn read_unicode(&mut self) -> Option<()> {
        let first = self.hexadecimal_at(2)?;
        let (code, length) = match first {
            0xd800..=0xdbff => {
                let is_escape = self.byte(6) == b'\\' && self.byte(7) == b'u';
                let second = is_escape.then(|| self.hexadecimal_at(8)).flatten()?;
                let low = second.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
                (0x10000 + ((first - 0xd800) << 10) + low, 12)
            }
            _ => (first, 6),
        };
        let character = char::from_u32(code)?;
        let mut buffer = [0; 4];
        let text = character.encode_utf8(&mut buffer);
        self.unescaped.extend_from_slice(text.as_bytes());
        self.at += length;
        Some(())
    }

    fn hexadecimal_at(&self, ahead: usize) -> Option<u32> {
        (ahead..ahead + 4).try_fold(0, |value, at| {
            let digit = char::from(self.byte(at)).to_digit(16)?;
            Some(value << 4 | digit)
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::script::snippet::check;

    #[test]
    fn decodes_and_refuses_as_redis_does() {
        check(&[
            (
                "cjson.decode({})",
                "ERR user_script:1: bad argument #1 to 'decode' (string expected, got table)",
            ),
            ("cjson.decode(12)", "12"),
            ("cjson.decode(1.5)", "1.5"),
            (
                "cjson.decode(true)",
                "ERR user_script:1: bad argument #1 to 'decode' (string expected, got boolean)",
            ),
            (
                "cjson.decode(cjson.null)",
                "ERR user_script:1: bad argument #1 to 'decode' (string expected, got userdata)",
            ),
            (
                r#"cjson.decode('1\0002')"#,
                "ERR user_script:1: JSON parser does not support UTF-16 or UTF-32",
            ),
            (
                r#"cjson.decode('[1\0,2]')"#,
                "ERR user_script:1: Expected comma or array end but found T_END at character 3",
            ),
            (
                r#"cjson.decode('"a\0b"')"#,
                "ERR user_script:1: Expected value but found unexpected end of string at character 3",
            ),
            (
                r#"cjson.decode('\0a')"#,
                "ERR user_script:1: JSON parser does not support UTF-16 or UTF-32",
            ),
            (
                r#"cjson.decode('a\0')"#,
                "ERR user_script:1: JSON parser does not support UTF-16 or UTF-32",
            ),
            (
                r#"cjson.decode('\0')"#,
                "ERR user_script:1: Expected value but found T_END at character 1",
            ),
            (r#"cjson.decode(' \t\n\r1 ')"#, "1"),
            (
                r#"cjson.decode('\v1')"#,
                "ERR user_script:1: Expected value but found invalid token at character 1",
            ),
            (
                r#"cjson.decode('1\v')"#,
                "ERR user_script:1: Expected the end but found invalid token at character 2",
            ),
            (
                "cjson.decode('1,')",
                "ERR user_script:1: Expected the end but found T_COMMA at character 2",
            ),
            (
                "cjson.decode('1}')",
                "ERR user_script:1: Expected the end but found T_OBJ_END at character 2",
            ),
            (
                "cjson.decode('1]')",
                "ERR user_script:1: Expected the end but found T_ARR_END at character 2",
            ),
            (
                "cjson.decode('1:')",
                "ERR user_script:1: Expected the end but found T_COLON at character 2",
            ),
            (
                r#"cjson.decode('1"')"#,
                "ERR user_script:1: Expected the end but found unexpected end of string at character 3",
            ),
            (
                r#"cjson.decode('1"a"')"#,
                "ERR user_script:1: Expected the end but found T_STRING at character 2",
            ),
            (
                "cjson.decode('1 true')",
                "ERR user_script:1: Expected the end but found T_BOOLEAN at character 3",
            ),
            (
                "cjson.decode('1 null')",
                "ERR user_script:1: Expected the end but found T_NULL at character 3",
            ),
            (
                "cjson.decode('1 {')",
                "ERR user_script:1: Expected the end but found T_OBJ_BEGIN at character 3",
            ),
            (
                "cjson.decode('1 [')",
                "ERR user_script:1: Expected the end but found T_ARR_BEGIN at character 3",
            ),
            (
                "cjson.decode(':')",
                "ERR user_script:1: Expected value but found T_COLON at character 1",
            ),
            (
                "cjson.decode(',')",
                "ERR user_script:1: Expected value but found T_COMMA at character 1",
            ),
            (
                "cjson.decode('}')",
                "ERR user_script:1: Expected value but found T_OBJ_END at character 1",
            ),
            (
                "cjson.decode(']')",
                "ERR user_script:1: Expected value but found T_ARR_END at character 1",
            ),
            (
                "cjson.decode('{')",
                "ERR user_script:1: Expected object key string but found T_END at character 2",
            ),
            (
                "cjson.decode('{,')",
                "ERR user_script:1: Expected object key string but found T_COMMA at character 2",
            ),
            (
                r#"cjson.decode('{"a"')"#,
                "ERR user_script:1: Expected colon but found T_END at character 5",
            ),
            (
                r#"cjson.decode('{"a":')"#,
                "ERR user_script:1: Expected value but found T_END at character 6",
            ),
            (
                r#"cjson.decode('{"a":1')"#,
                "ERR user_script:1: Expected comma or object end but found T_END at character 7",
            ),
            (
                r#"cjson.decode('{"a":1,')"#,
                "ERR user_script:1: Expected object key string but found T_END at character 8",
            ),
            (
                r#"cjson.decode('{"a":1,}')"#,
                "ERR user_script:1: Expected object key string but found T_OBJ_END at character 8",
            ),
            (
                r#"cjson.decode('{"a":1]')"#,
                "ERR user_script:1: Expected comma or object end but found T_ARR_END at character 7",
            ),
            (
                r#"cjson.decode('{"a":1 "b":2}')"#,
                "ERR user_script:1: Expected comma or object end but found T_STRING at character 8",
            ),
            (
                "cjson.decode('{true:1}')",
                "ERR user_script:1: Expected object key string but found T_BOOLEAN at character 2",
            ),
            (
                "cjson.decode('{null:1}')",
                "ERR user_script:1: Expected object key string but found T_NULL at character 2",
            ),
            (
                "cjson.decode('{[]:1}')",
                "ERR user_script:1: Expected object key string but found T_ARR_BEGIN at character 2",
            ),
            (
                "cjson.decode('{{}:1}')",
                "ERR user_script:1: Expected object key string but found T_OBJ_BEGIN at character 2",
            ),
            (
                "cjson.decode('{nul:1}')",
                "ERR user_script:1: Expected object key string but found invalid token at character 2",
            ),
            (
                "cjson.decode('[1}')",
                "ERR user_script:1: Expected comma or array end but found T_OBJ_END at character 3",
            ),
            (
                "cjson.decode('[1:2]')",
                "ERR user_script:1: Expected comma or array end but found T_COLON at character 3",
            ),
            (
                "cjson.decode('[1 2]')",
                "ERR user_script:1: Expected comma or array end but found T_NUMBER at character 4",
            ),
            (
                "cjson.decode('[,1]')",
                "ERR user_script:1: Expected value but found T_COMMA at character 2",
            ),
            (
                "cjson.decode('[')",
                "ERR user_script:1: Expected value but found T_END at character 2",
            ),
            (
                r#"cjson.decode('["a"')"#,
                "ERR user_script:1: Expected comma or array end but found T_END at character 5",
            ),
            (
                r#"cjson.decode('["a')"#,
                "ERR user_script:1: Expected value but found unexpected end of string at character 4",
            ),
            (
                r#"cjson.decode('{"a')"#,
                "ERR user_script:1: Expected object key string but found unexpected end of string at character 4",
            ),
            (
                r#"cjson.decode('["\\')"#,
                "ERR user_script:1: Expected value but found invalid escape code at character 3",
            ),
            (
                r#"cjson.decode('"\\u12"')"#,
                "ERR user_script:1: Expected value but found invalid unicode escape code at character 2",
            ),
            (
                r#"cjson.decode('"\\u"')"#,
                "ERR user_script:1: Expected value but found invalid unicode escape code at character 2",
            ),
            (
                r#"cjson.decode('"\\u12G4"')"#,
                "ERR user_script:1: Expected value but found invalid unicode escape code at character 2",
            ),
            (
                r#"cjson.decode('"\\u00E9\\u00aF"')"#,
                r#""\195\169\194\175""#,
            ),
            (
                r#"cjson.decode('"\\ud800"')"#,
                "ERR user_script:1: Expected value but found invalid unicode escape code at character 2",
            ),
            (
                r#"cjson.decode('"\\ud800\\u0041"')"#,
                "ERR user_script:1: Expected value but found invalid unicode escape code at character 2",
            ),
            (
                r#"cjson.decode('"\\ud800\\n"')"#,
                "ERR user_script:1: Expected value but found invalid unicode escape code at character 2",
            ),
            (
                r#"cjson.decode('"\\udc00"')"#,
                "ERR user_script:1: Expected value but found invalid unicode escape code at character 2",
            ),
            (
                r#"cjson.decode('"\\udc00\\ud800"')"#,
                "ERR user_script:1: Expected value but found invalid unicode escape code at character 2",
            ),
            (
                r#"cjson.decode('"\\ud800\\udc00"')"#,
                r#""\240\144\128\128""#,
            ),
            (
                r#"cjson.decode('"\\udbff\\udfff"')"#,
                r#""\244\143\191\191""#,
            ),
            (
                r#"cjson.decode('"\\ud800\\ud800"')"#,
                "ERR user_script:1: Expected value but found invalid unicode escape code at character 2",
            ),
            (
                r#"cjson.decode('"\\ud800\\udc0"')"#,
                "ERR user_script:1: Expected value but found invalid unicode escape code at character 2",
            ),
            (r#"cjson.decode('"\\u0000x"')"#, r#""\000x""#),
            (
                r#"cjson.decode('"\\u007f\\u0080\\u07ff\\u0800\\uffff"')"#,
                r#""\127\194\128\223\191\224\160\128\239\191\191""#,
            ),
            (
                r#"cjson.decode('"\\b\\f\\n\\r\\t\\/\\"\\\\"')"#,
                r#""\008\012\010\013\009/"\""#,
            ),
            (
                r#"cjson.decode('"\\B"')"#,
                "ERR user_script:1: Expected value but found invalid escape code at character 2",
            ),
            (
                r#"cjson.decode('"\\a"')"#,
                "ERR user_script:1: Expected value but found invalid escape code at character 2",
            ),
            (
                r#"cjson.decode("\"\\'\"")"#,
                "ERR user_script:1: Expected value but found invalid escape code at character 2",
            ),
            (
                r#"cjson.decode('"abc\\')"#,
                "ERR user_script:1: Expected value but found invalid escape code at character 5",
            ),
            (r#"cjson.decode('"\255\254\128"')"#, r#""\255\254\128""#),
            ("cjson.decode('+1')", "1"),
            (
                "cjson.decode('.5')",
                "ERR user_script:1: Expected value but found invalid token at character 1",
            ),
            ("cjson.decode('5.')", "5"),
            ("cjson.decode('-.5')", "-0.5"),
            ("cjson.decode('5.e3')", "5000"),
            (
                "cjson.decode('1e')",
                "ERR user_script:1: Expected the end but found invalid token at character 2",
            ),
            (
                "cjson.decode('1e+')",
                "ERR user_script:1: Expected the end but found invalid token at character 2",
            ),
            ("cjson.decode('1e5')", "100000"),
            ("cjson.decode('1E-5')", "1.0000000000000001e-05"),
            (
                "cjson.decode('1.2.3')",
                "ERR user_script:1: Expected the end but found invalid token at character 4",
            ),
            ("cjson.decode('00')", "0"),
            ("cjson.decode('-0')", "-0"),
            (
                "cjson.decode('0x')",
                "ERR user_script:1: Expected the end but found invalid token at character 2",
            ),
            (
                "cjson.decode('0xg')",
                "ERR user_script:1: Expected the end but found invalid token at character 2",
            ),
            ("cjson.decode('0x1p4')", "16"),
            ("cjson.decode('0x1.8p1')", "3"),
            ("cjson.decode('-0X1F')", "-31"),
            ("cjson.decode('0x.8')", "0.5"),
            (
                "cjson.decode('0x1p')",
                "ERR user_script:1: Expected the end but found invalid token at character 4",
            ),
            ("cjson.decode('0x1p-1075')", "0"),
            ("cjson.decode('0x1.fffffffffffffffp0')", "2"),
            ("cjson.decode('inf')", "inf"),
            ("cjson.decode('Infinity')", "inf"),
            ("cjson.decode('INFINITY')", "inf"),
            (
                "cjson.decode('infi')",
                "ERR user_script:1: Expected the end but found invalid token at character 4",
            ),
            ("cjson.decode('-Infinity')", "-inf"),
            ("tostring(cjson.decode('NaN'))", r#""nan""#),
            ("tostring(cjson.decode('-NaN'))", r#""-nan""#),
            ("tostring(cjson.decode('-nan'))", r#""-nan""#),
            ("tostring(cjson.decode('nan(12)'))", r#""nan""#),
            (
                "tostring(cjson.decode('nan(12'))",
                "ERR user_script:1: Expected the end but found invalid token at character 4",
            ),
            ("tostring(cjson.decode('nan(1_a)'))", r#""nan""#),
            (
                "tostring(cjson.decode('nan(1-a)'))",
                "ERR user_script:1: Expected the end but found invalid token at character 4",
            ),
            (
                "tostring(cjson.decode('nano'))",
                "ERR user_script:1: Expected the end but found invalid token at character 4",
            ),
            (
                "cjson.decode('--1')",
                "ERR user_script:1: Expected value but found invalid number at character 1",
            ),
            (
                "cjson.decode('-a')",
                "ERR user_script:1: Expected value but found invalid number at character 1",
            ),
            (
                "cjson.decode('- 1')",
                "ERR user_script:1: Expected value but found invalid number at character 1",
            ),
            (
                "cjson.decode('-+1')",
                "ERR user_script:1: Expected value but found invalid number at character 1",
            ),
            (
                "cjson.decode('-i')",
                "ERR user_script:1: Expected value but found invalid number at character 1",
            ),
            ("cjson.decode('+inf')", "inf"),
            ("cjson.decode('1e400')", "inf"),
            ("cjson.decode('-1e400')", "-inf"),
            ("cjson.decode('1e-400')", "0"),
            ("cjson.decode('4.9e-324')", "4.9406564584124654e-324"),
            ("cjson.decode('1'..string.rep('0',400))", "inf"),
            ("cjson.decode('1e99999999999999999999')", "inf"),
            ("cjson.decode('1e-99999999999999999999')", "0"),
            ("cjson.decode('0e99999999999999999999')", "0"),
            (
                "cjson.decode('trues')",
                "ERR user_script:1: Expected the end but found invalid token at character 5",
            ),
            (
                "cjson.decode('truefalse')",
                "ERR user_script:1: Expected the end but found T_BOOLEAN at character 5",
            ),
            (
                "cjson.decode('[true1]')",
                "ERR user_script:1: Expected comma or array end but found T_NUMBER at character 6",
            ),
            (
                "cjson.decode('True')",
                "ERR user_script:1: Expected value but found invalid token at character 1",
            ),
            (
                "cjson.decode('nulll')",
                "ERR user_script:1: Expected the end but found invalid token at character 5",
            ),
            (
                "cjson.decode('n')",
                "ERR user_script:1: Expected value but found invalid token at character 1",
            ),
            (
                "cjson.decode('N')",
                "ERR user_script:1: Expected value but found invalid token at character 1",
            ),
            (
                "cjson.decode('I')",
                "ERR user_script:1: Expected value but found invalid token at character 1",
            ),
            (
                "cjson.decode('i')",
                "ERR user_script:1: Expected value but found invalid token at character 1",
            ),
            (
                "cjson.decode('f')",
                "ERR user_script:1: Expected value but found invalid token at character 1",
            ),
            (
                "cjson.decode('t')",
                "ERR user_script:1: Expected value but found invalid token at character 1",
            ),
            ("cjson.decode('false ')", "false"),
            (
                "cjson.decode('# ')",
                "ERR user_script:1: Expected value but found invalid token at character 1",
            ),
            (
                "cjson.decode('[1,2')",
                "ERR user_script:1: Expected comma or array end but found T_END at character 5",
            ),
            ("cjson.decode('{}')", "{}"),
            ("cjson.decode('[]')", "{}"),
            ("cjson.decode('[[]]')", "{1={}}"),
            ("cjson.decode('[{}]')", "{1={}}"),
            (r#"cjson.decode('{"a":{}}')"#, r#"{"a"={}}"#),
            (r#"cjson.decode('{"a":1,"a":2}')"#, r#"{"a"=2}"#),
            (r#"cjson.decode('{"a":null}')"#, r#"{"a"=userdata: (nil)}"#),
            (
                "cjson.decode('[null,null,3]')",
                "{1=userdata: (nil),2=userdata: (nil),3=3}",
            ),
            (r#"cjson.decode('{"1":1}')"#, r#"{"1"=1}"#),
            (r#"cjson.decode('{"":1}')"#, r#"{""=1}"#),
            (r#"cjson.decode('{"a\\u0000b":1}')"#, r#"{"a\000b"=1}"#),
            (
                r#"cjson.decode('"\\u00e9')"#,
                "ERR user_script:1: Expected value but found unexpected end of string at character 8",
            ),
            (r#"cjson.decode('"\239\187\191"')"#, r#""\239\187\191""#),
            (
                r#"cjson.decode('\239\187\191[]')"#,
                "ERR user_script:1: Expected value but found invalid token at character 1",
            ),
            (
                r#"cjson.decode('a\0b')"#,
                "ERR user_script:1: JSON parser does not support UTF-16 or UTF-32",
            ),
            (
                r#"cjson.decode('1\0')"#,
                "ERR user_script:1: JSON parser does not support UTF-16 or UTF-32",
            ),
            (
                r#"cjson.decode('\0001')"#,
                "ERR user_script:1: JSON parser does not support UTF-16 or UTF-32",
            ),
            (
                r#"cjson.decode('{"a":1,"b":[1,2,{"c":true}],"d":null,"e":"x"}')"#,
                r#"{"a"=1,"d"=userdata: (nil),"e"="x","b"={1=1,2=2,3={"c"=true}}}"#,
            ),
            ("cjson.decode(' [ 1 , 2 ] ')", "{1=1,2=2}"),
            (r#"cjson.decode(' { "a" : 1 } ')"#, r#"{"a"=1}"#),
            (
                r#"cjson.decode(string.rep('{"a":[',501)) ~= nil"#,
                "ERR user_script:1: Found too many nested data structures (1001) at character 3001",
            ),
        ]);
    }
}
