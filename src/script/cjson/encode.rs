//! JSON from values.
//!
//! Tables in tables do not make functions call themselves, so that nesting takes no stack of the thread: tables that have begun
//! stand in a list. An object is walked at once while its values are no tables. From the first that is one, its keys and values are
//! put aside in a table of Lua's, to go on from there later. Walking it step by step would cost each step a search for the key.

use mlua::{Lua, Table, Value};

use super::super::arguments::{Failure, STACK_SLOTS, TEXT_MAX, to_i64, type_name};
use super::{ARRAY_MARK, InvalidNumbers, NESTING_MAX, Settings};
use crate::value::number;

pub(super) fn encode(lua: &Lua, value: &Value, settings: &Settings) -> Result<Vec<u8>, Failure> {
    let mut writer = Writer {
        lua,
        settings,
        out: Vec::new(),
        slots: 1,
        open: Vec::new(),
    };
    writer.value(value)?;
    while let Some(open) = writer.open.last_mut() {
        match open.step() {
            Step::Value(value) => writer.value(&value?)?,
            Step::Pair(key, value) => {
                writer.key(&key?)?;
                writer.value(&value?)?;
            }
            Step::End => writer.close(),
        }
        if writer.out.len() > TEXT_MAX {
            return Err(Failure::new("Cannot serialise, the text would be too long"));
        }
    }
    Ok(writer.out)
}

struct Writer<'a> {
    lua: &'a Lua,
    settings: &'a Settings,
    out: Vec<u8>,
    /// What Redis would have on Lua's stack.
    slots: usize,
    open: Vec<Open>,
}

/// A table of which not all is written.
struct Open {
    kind: Kind,
    /// The elements, or the keys and values in turn.
    values: Table,
    next: i64,
    /// How many `values` has.
    count: i64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Array,
    Object,
}

enum Step {
    Value(mlua::Result<Value>),
    Pair(mlua::Result<Value>, mlua::Result<Value>),
    End,
}

impl Open {
    fn step(&mut self) -> Step {
        let at = self.next;
        if at > self.count {
            return Step::End;
        }
        match self.kind {
            Kind::Array => {
                self.next += 1;
                Step::Value(self.values.raw_get(at))
            }
            Kind::Object => {
                self.next += 2;
                Step::Pair(self.values.raw_get(at), self.values.raw_get(at + 1))
            }
        }
    }
}

impl Kind {
    /// What such a table holds on the stack for what is in it: the element, or the key and the value.
    fn slots(self) -> usize {
        match self {
            Kind::Array => 1,
            Kind::Object => 2,
        }
    }
}

impl Writer<'_> {
    /// Writes a value, of a table only the beginning.
    fn value(&mut self, value: &Value) -> Result<(), Failure> {
        self.comma();
        match value {
            Value::Table(table) => self.table(table),
            value => self.plain(value),
        }
    }

    /// Writes the comma that is missing between what has been written and what comes.
    fn comma(&mut self) {
        if !matches!(self.out.last(), None | Some(b'[' | b'{' | b':')) {
            self.out.push(b',');
        }
    }

    fn plain(&mut self, value: &Value) -> Result<(), Failure> {
        match value {
            Value::String(string) => self.string(&string.as_bytes()),
            Value::Integer(number) => return self.number(*number as f64, "number"),
            Value::Number(number) => return self.number(*number, "number"),
            Value::Boolean(true) => self.out.extend_from_slice(b"true"),
            Value::Boolean(false) => self.out.extend_from_slice(b"false"),
            Value::Nil => self.out.extend_from_slice(b"null"),
            value if *value == Value::NULL => self.out.extend_from_slice(b"null"),
            value => return Err(refuse(type_name(value), "type not supported")),
        }
        Ok(())
    }

    fn key(&mut self, key: &Value) -> Result<(), Failure> {
        self.comma();
        match key {
            Value::String(string) => self.string(&string.as_bytes()),
            Value::Integer(_) | Value::Number(_) => {
                self.out.push(b'"');
                self.plain(key)?;
                self.out.push(b'"');
            }
            key => {
                let why = "table key must be a number or string";
                return Err(refuse(type_name(key), why));
            }
        }
        self.out.push(b':');
        Ok(())
    }

    fn number(&mut self, number: f64, type_name: &str) -> Result<(), Failure> {
        if !number.is_finite() {
            match self.settings.encode_invalid_numbers {
                InvalidNumbers::Refused => {
                    return Err(refuse(type_name, "must not be NaN or Inf"));
                }
                InvalidNumbers::Written => {}
                InvalidNumbers::Null => {
                    self.out.extend_from_slice(b"null");
                    return Ok(());
                }
            }
        }
        let precision = self.settings.encode_number_precision.unsigned_abs();
        let integer = to_i64(number);
        // Zero may have a sign.
        let is_short = integer.unsigned_abs() < 10_u64.pow(precision);
        if is_short && integer != 0 && integer as f64 == number {
            self.out.extend_from_slice(&number::format_i64(integer));
        } else {
            let text = number::format_g(number, precision as usize);
            self.out.extend_from_slice(&text);
        }
        Ok(())
    }

    fn string(&mut self, bytes: &[u8]) {
        self.out.push(b'"');
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|byte| IS_ESCAPED[usize::from(*byte)]) {
            self.out.extend_from_slice(&rest[..at]);
            self.escape(rest[at]);
            rest = &rest[at + 1..];
        }
        self.out.extend_from_slice(rest);
        self.out.push(b'"');
    }

    fn escape(&mut self, byte: u8) {
        let short = match byte {
            b'"' | b'\\' | b'/' => byte,
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x08 => b'b',
            0x0c => b'f',
            _ => {
                let text = format!("\\u{byte:04x}");
                self.out.extend_from_slice(text.as_bytes());
                return;
            }
        };
        self.out.extend_from_slice(&[b'\\', short]);
    }

    fn table(&mut self, table: &Table) -> Result<(), Failure> {
        self.check_depth()?;
        match self.array_length(table)? {
            Some(count) => self.begin_array(table, count),
            None => self.begin_object(table),
        }
    }

    fn check_depth(&self) -> Result<(), Failure> {
        let depth = self.open.len() + 1;
        let is_allowed = depth <= self.settings.encode_max_depth as usize;
        if is_allowed && depth <= NESTING_MAX && self.slots + 3 <= STACK_SLOTS {
            return Ok(());
        }
        Err(Failure::new(format!(
            "Cannot serialise, excessive nesting ({depth})"
        )))
    }

    /// The length of a table that is to be an array: one that is marked, or that has whole numbers from 1 on as its keys. An
    /// empty one that is not marked is an object.
    fn array_length(&self, table: &Table) -> Result<Option<i64>, Failure> {
        if is_marked(table)? {
            return Ok(Some(table.raw_len() as i64));
        }
        let Some(keys) = Keys::of(table)? else {
            return Ok(None);
        };
        let (ratio, safe) = (
            self.settings.encode_sparse_ratio,
            self.settings.encode_sparse_safe,
        );
        let is_sparse = ratio > 0 && keys.highest > keys.count.wrapping_mul(ratio);
        if is_sparse && keys.highest > safe {
            return match self.settings.encode_sparse_convert {
                true => Ok(None),
                false => Err(refuse("table", "excessively sparse array")),
            };
        }
        Ok((keys.highest > 0).then_some(i64::from(keys.highest)))
    }

    fn begin_array(&mut self, table: &Table, count: i64) -> Result<(), Failure> {
        self.out.push(b'[');
        self.begin(Kind::Array, table.clone(), count);
        Ok(())
    }

    fn begin_object(&mut self, table: &Table) -> Result<(), Failure> {
        self.out.push(b'{');
        let (mut rest, mut failure) = (None, None);
        let walked = table.for_each(|key: Value, value: Value| {
            let done = self.member(key, value, &mut rest);
            done.map_err(|error| {
                failure = Some(error);
                mlua::Error::StackError
            })
        });
        if let Some(failure) = failure {
            return Err(failure);
        }
        walked?;
        match rest {
            Some((rest, count)) => self.begin(Kind::Object, rest, count),
            None => self.out.push(b'}'),
        }
        Ok(())
    }

    /// Writes a member of an object, or puts it into `rest` if that has been begun or the value is a table.
    fn member(
        &mut self,
        key: Value,
        value: Value,
        rest: &mut Option<(Table, i64)>,
    ) -> Result<(), Failure> {
        if rest.is_none() && !value.is_table() {
            self.key(&key)?;
            return self.plain(&value);
        }
        let (table, count) = match rest {
            Some(rest) => rest,
            None => rest.insert((self.lua.create_table()?, 0)),
        };
        table.raw_set(*count + 1, key)?;
        table.raw_set(*count + 2, value)?;
        *count += 2;
        Ok(())
    }

    fn begin(&mut self, kind: Kind, values: Table, count: i64) {
        self.slots += kind.slots();
        self.open.push(Open {
            kind,
            values,
            next: 1,
            count,
        });
    }

    fn close(&mut self) {
        let Some(open) = self.open.pop() else { return };
        self.slots -= open.kind.slots();
        self.out.push(match open.kind {
            Kind::Array => b']',
            Kind::Object => b'}',
        });
    }
}

/// The bytes of a string that JSON must not have, those that it need not escape but Redis does, and what stands for itself in
/// no terminal.
const IS_ESCAPED: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = true;
        byte += 1;
    }
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table[b'/' as usize] = true;
    table[0x7f] = true;
    table
};

fn refuse(type_name: &str, why: &str) -> Failure {
    Failure::new(format!("Cannot serialise {type_name}: {why}"))
}

fn is_marked(table: &Table) -> Result<bool, Failure> {
    if !table.has_metatable() {
        return Ok(false);
    }
    match table.metatable() {
        Some(metatable) => Ok(metatable.get(ARRAY_MARK)?),
        None => Ok(false),
    }
}

/// What is known of the keys of a table in which all are whole numbers from 1 on. Both numbers are C's `int`, with what comes of
/// it for keys that do not fit in.
struct Keys {
    count: i32,
    highest: i32,
}

impl Keys {
    fn of(table: &Table) -> Result<Option<Self>, Failure> {
        let (mut keys, mut is_array) = (
            Keys {
                count: 0,
                highest: 0,
            },
            true,
        );
        let walked = table.for_each(|key: Value, _: bool| {
            is_array = keys.note(&key);
            // Any error ends the walk. This one takes no memory.
            is_array.then_some(()).ok_or(mlua::Error::StackError)
        });
        if !is_array {
            return Ok(None);
        }
        walked?;
        Ok(Some(keys))
    }

    fn note(&mut self, key: &Value) -> bool {
        let key = match key {
            Value::Integer(key) => *key as f64,
            Value::Number(key) => *key,
            _ => return false,
        };
        if key < 1.0 || key.floor() != key {
            return false;
        }
        if key > f64::from(self.highest) {
            self.highest = i32::try_from(to_i64(key)).unwrap_or(i32::MIN);
        }
        self.count = self.count.wrapping_add(1);
        true
    }
}

#[cfg(test)]
mod tests {
    use crate::script::snippet::check;

    #[test]
    fn encodes_and_refuses_as_redis_does() {
        check(&[
            (
                r#"cjson.encode('\0\1\31\32\127\128\255')"#,
                r#"""\u0000\u0001\u001f \u007f\128\255"""#,
            ),
            (
                r#"cjson.encode('\b\f\n\r\t"\\/')"#,
                r#"""\b\f\n\r\t\"\\\/"""#,
            ),
            (
                "cjson.encode(true),cjson.encode(false)",
                r#""true" "false""#,
            ),
            (
                "cjson.encode(99999999999999.5),cjson.encode(999999999999995),cjson.encode(0.000099999999999999999),cjson.encode(2^53),cjson.encode(2^63),cjson.encode(-2^63)",
                r#""1e+14" "1e+15" "0.0001" "9.007199254741e+15" "9.2233720368548e+18" "-9.2233720368548e+18""#,
            ),
            ("cjson.encode({1,nil,3})", r#""[1,null,3]""#),
            ("cjson.encode({nil,nil,3})", r#""[null,null,3]""#),
            ("cjson.encode({[0]=1})", r#""{"0":1}""#),
            ("cjson.encode({[0]=1,2})", r#""{"1":2,"0":1}""#),
            ("cjson.encode({[-1]=1})", r#""{"-1":1}""#),
            ("cjson.encode({1,2,a=3})", r#""{"1":1,"2":2,"a":3}""#),
            ("cjson.encode({['1']=1})", r#""{"1":1}""#),
            ("cjson.encode({[1.5]=1,[2.5]=2})", r#""{"1.5":1,"2.5":2}""#),
            (
                "cjson.encode({[10]=1})",
                r#""[null,null,null,null,null,null,null,null,null,1]""#,
            ),
            (
                "cjson.encode({[11]=1})",
                "ERR user_script:1: Cannot serialise table: excessively sparse array",
            ),
            (
                "cjson.encode({[1]=1,[2]=1,[3]=1,[4]=1,[5]=1,[10]=1})",
                r#""[1,1,1,1,1,null,null,null,null,1]""#,
            ),
            (
                "cjson.encode({[1]=1,[2]=1,[3]=1,[4]=1,[5]=1,[12]=1})",
                r#""[1,1,1,1,1,null,null,null,null,null,null,1]""#,
            ),
            (
                "cjson.encode({[1]=1,[2]=1,[3]=1,[4]=1,[5]=1,[13]=1})",
                "ERR user_script:1: Cannot serialise table: excessively sparse array",
            ),
            ("cjson.encode({[2^31]=1})", r#""{"2147483648":1}""#),
            (
                "cjson.encode({[2^31-1]=1})",
                "ERR user_script:1: Cannot serialise table: excessively sparse array",
            ),
            ("cjson.encode({[2^40]=1})", r#""{"1099511627776":1}""#),
            ("cjson.encode({[2^31]=1,[1]=2})", r#""[2]""#),
            (
                "cjson.encode({[1]=2,[2^32+1]=1})",
                r#""{"1":2,"4294967297":1}""#,
            ),
            ("cjson.encode({[1e300]=1})", r#""{"1e+300":1}""#),
            (
                "cjson.encode({[1/0]=1})",
                "ERR user_script:1: Cannot serialise number: must not be NaN or Inf",
            ),
            (
                "cjson.encode({[-1/0]=1})",
                "ERR user_script:1: Cannot serialise number: must not be NaN or Inf",
            ),
            (
                "cjson.encode({a=0/0})",
                "ERR user_script:1: Cannot serialise number: must not be NaN or Inf",
            ),
            (
                "cjson.encode({[1]=1,[2]=0/0})",
                "ERR user_script:1: Cannot serialise number: must not be NaN or Inf",
            ),
            (
                "cjson.encode({a=function() end})",
                "ERR user_script:1: Cannot serialise function: type not supported",
            ),
            (
                "cjson.encode({function() end})",
                "ERR user_script:1: Cannot serialise function: type not supported",
            ),
            (
                "cjson.encode(coroutine.create(function() end))",
                "ERR user_script:1: Cannot serialise thread: type not supported",
            ),
            (
                "cjson.encode({[{}]=1})",
                "ERR user_script:1: Cannot serialise table: table key must be a number or string",
            ),
            (
                "cjson.encode({[function() end]=1})",
                "ERR user_script:1: Cannot serialise function: table key must be a number or string",
            ),
            (
                "cjson.encode({[cjson.null]=1})",
                "ERR user_script:1: Cannot serialise userdata: table key must be a number or string",
            ),
            ("cjson.encode({cjson.null})", r#""[null]""#),
            ("cjson.encode({a=cjson.null})", r#""{"a":null}""#),
            ("cjson.encode({a={b={c={}}}})", r#""{"a":{"b":{"c":{}}}}""#),
            ("cjson.encode({{},{{}},{a={}}})", r#""[{},[{}],{"a":{}}]""#),
            (
                "cjson.encode({a=1,b=2,c=3,d=4,e=5,f=6,g=7,h=8,i=9,j=10})",
                r#""{"a":1,"c":3,"b":2,"e":5,"d":4,"g":7,"f":6,"i":9,"h":8,"j":10}""#,
            ),
            ("cjson.encode(setmetatable({},{__index={1,2}}))", r#""{}""#),
            (
                "cjson.encode(setmetatable({1},{__len=function() return 5 end}))",
                r#""[1]""#,
            ),
            ("cjson.encode({[1e15]='a',x=1})", r#""{"1e+15":"a","x":1}""#),
            (
                "cjson.encode({[0.1]='a',[1e20]=2})",
                r#""{"0.1":"a","1e+20":2}""#,
            ),
            ("cjson.encode({[0/1]='a'})", r#""{"0":"a"}""#),
            (
                "local t={} for i=1,999 do t={a=t} end ;; #cjson.encode(t)",
                "5996",
            ),
            (
                "local t={} t[1]=t ;; cjson.encode(t)",
                "ERR user_script:1: Cannot serialise, excessive nesting (1001)",
            ),
            (
                "local t={} t.a=t ;; cjson.encode(t)",
                "ERR user_script:1: Cannot serialise, excessive nesting (1001)",
            ),
        ]);
    }
}
