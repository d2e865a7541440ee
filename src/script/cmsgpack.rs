//! The library `cmsgpack`: values as MessagePack.
//!
//! Of the format it knows what Lua has values for. Binary strings and extensions are refused when read. Tables whose keys are
//! 1 to n are arrays, others maps. Numbers without a fraction are written as integers. What is nested deeper than
//! [`NESTING_MAX`] tables is written as nil; reading goes as deep as Lua's stack would in Redis.

use mlua::{Lua, MultiValue, Table, Value};

use super::arguments::{Arguments, Failure, STACK_SLOTS, TEXT_MAX, VALUES_MAX, add, one, to_i64};

/// The functions and texts of `cmsgpack` by their names. See [`super::arguments::add`] for what the functions return.
pub(super) fn functions(lua: &Lua) -> mlua::Result<Table> {
    let library = lua.create_table()?;
    add(lua, &library, "pack", pack)?;
    add(lua, &library, "unpack", |arguments| {
        unpack(arguments, 0, 0, arguments.len())
    })?;
    add(lua, &library, "unpack_one", |arguments| {
        unpack(arguments, 1, arguments.integer_or(2, 0)?, 1)
    })?;
    add(lua, &library, "unpack_limit", |arguments| {
        let limit = arguments.integer(2)?;
        unpack(arguments, limit, arguments.integer_or(3, 0)?, 1)
    })?;
    for (name, text) in CONSTANTS {
        library.raw_set(name, text)?;
    }
    Ok(library)
}

/// What scripts can ask the library about itself. They find what is in Redis.
const CONSTANTS: [(&str, &str); 4] = [
    ("_NAME", "cmsgpack"),
    ("_VERSION", "lua-cmsgpack 0.4.0"),
    ("_COPYRIGHT", "Copyright (C) 2012, Salvatore Sanfilippo"),
    ("_DESCRIPTION", "MessagePack C implementation for Lua"),
];

/// The tables in tables that are written.
const NESTING_MAX: usize = 16;

fn pack(arguments: &Arguments<'_>) -> Result<MultiValue, Failure> {
    let count = arguments.len();
    if count == 0 {
        return Err(arguments.bad(0, "MessagePack pack needs input."));
    }
    if count * 2 > STACK_SLOTS {
        return Err(arguments.bad(0, "Too many arguments for MessagePack pack."));
    }
    let mut out = Vec::new();
    for at in 1..=count {
        put(arguments.value(at), 0, &mut out)?;
    }
    one(Value::String(arguments.lua.create_string(out)?))
}

fn put(value: &Value, nesting: usize, out: &mut Vec<u8>) -> Result<(), Failure> {
    if out.len() > TEXT_MAX {
        return Err(Failure::new("The packed values would be too long."));
    }
    match value {
        Value::Boolean(value) => out.push(if *value { 0xc3 } else { 0xc2 }),
        Value::Integer(number) => put_number(*number as f64, out),
        Value::Number(number) => put_number(*number, out),
        Value::String(string) => {
            let bytes = string.as_bytes();
            put_size(bytes.len(), &STRING, out)?;
            out.extend_from_slice(&bytes);
        }
        Value::Table(table) if nesting < NESTING_MAX => put_table(table, nesting + 1, out)?,
        _ => out.push(0xc0),
    }
    Ok(())
}

/// The first bytes of a kind of value with a size: one with the size in it, and those with 1, 2 and 4 bytes of it behind.
struct Heads {
    short: u8,
    short_max: usize,
    one: Option<u8>,
    two: u8,
    four: u8,
}

const STRING: Heads = Heads {
    short: 0xa0,
    short_max: 31,
    one: Some(0xd9),
    two: 0xda,
    four: 0xdb,
};
const ARRAY: Heads = Heads {
    short: 0x90,
    short_max: 15,
    one: None,
    two: 0xdc,
    four: 0xdd,
};
const MAP: Heads = Heads {
    short: 0x80,
    short_max: 15,
    one: None,
    two: 0xde,
    four: 0xdf,
};

fn put_size(size: usize, heads: &Heads, out: &mut Vec<u8>) -> Result<(), Failure> {
    let Ok(size_4) = u32::try_from(size) else {
        return Err(Failure::new("A value is too long to be packed."));
    };
    let [_, _, high, low] = size_4.to_be_bytes();
    match (size, heads.one) {
        _ if size <= heads.short_max => out.push(heads.short | low),
        (..=0xff, Some(head)) => out.extend_from_slice(&[head, low]),
        (..=0xffff, _) => out.extend_from_slice(&[heads.two, high, low]),
        _ => {
            out.push(heads.four);
            out.extend_from_slice(&size_4.to_be_bytes());
        }
    }
    Ok(())
}

fn put_number(number: f64, out: &mut Vec<u8>) {
    if to_i64(number) as f64 == number {
        return put_integer(to_i64(number), out);
    }
    let short = number as f32;
    if f64::from(short) == number {
        out.push(0xca);
        out.extend_from_slice(&short.to_be_bytes());
    } else {
        out.push(0xcb);
        out.extend_from_slice(&number.to_be_bytes());
    }
}

fn put_integer(number: i64, out: &mut Vec<u8>) {
    let (head, size) = match number {
        -32..=0x7f => return out.push(number as u8),
        0x80..=0xff => (0xcc, 1),
        0x100..=0xffff => (0xcd, 2),
        0x1_0000..=0xffff_ffff => (0xce, 4),
        0x1_0000_0000.. => (0xcf, 8),
        -0x80..=-33 => (0xd0, 1),
        -0x8000..=-0x81 => (0xd1, 2),
        -0x8000_0000..=-0x8001 => (0xd2, 4),
        ..=-0x8000_0001 => (0xd3, 8),
    };
    out.push(head);
    out.extend_from_slice(&number.to_be_bytes()[8 - size..]);
}

fn put_table(table: &Table, nesting: usize, out: &mut Vec<u8>) -> Result<(), Failure> {
    if is_array(table)? {
        let size = table.raw_len();
        put_size(size, &ARRAY, out)?;
        for at in 1..=size {
            put(&table.raw_get(at)?, nesting, out)?;
        }
        return Ok(());
    }
    let mut size = 0;
    table.for_each(|_: bool, _: bool| {
        size += 1;
        Ok(())
    })?;
    put_size(size, &MAP, out)?;
    for pair in table.pairs() {
        let (key, value) = pair?;
        put(&key, nesting, out)?;
        put(&value, nesting, out)?;
    }
    Ok(())
}

/// Tells whether the keys are whole numbers from 1 on, none of them missing.
fn is_array(table: &Table) -> Result<bool, Failure> {
    let (mut count, mut highest, mut is_array) = (0, 0, true);
    let walked = table.for_each(|key: Value, _: bool| match key {
        Value::Integer(key) if (1..=i64::from(i32::MAX)).contains(&key) => {
            highest = highest.max(key);
            count += 1;
            Ok(())
        }
        _ => {
            is_array = false;
            Err(mlua::Error::StackError)
        }
    });
    if is_array {
        walked?;
    }
    Ok(is_array && count == highest)
}

/// Reads up to `limit` values from `offset` on, and says where the next begins, -1 at the end. Both 0 stands for all and for
/// no such number. `held` is how many arguments Redis has on its stack meanwhile.
fn unpack(
    arguments: &Arguments<'_>,
    limit: i64,
    offset: i64,
    held: usize,
) -> Result<MultiValue, Failure> {
    let data = arguments.string(1)?;
    let data = data.as_bytes();
    // Redis writes 32 bits of both.
    if offset < 0 || limit < 0 {
        return Err(Failure::new(format!(
            "Invalid request to unpack with offset of {} and limit of {}.",
            offset as i32,
            data.len()
        )));
    }
    let Some(rest) = usize::try_from(offset).ok().and_then(|at| data.get(at..)) else {
        return Err(Failure::new(format!(
            "Start offset {} greater than input length {}.",
            offset as i32,
            data.len()
        )));
    };
    let is_all = limit == 0 && offset == 0;
    let mut reader = Reader {
        lua: arguments.lua,
        rest,
        slots: held,
        open: Vec::new(),
    };
    let mut values = MultiValue::new();
    while !reader.rest.is_empty() && (is_all || (values.len() as i64) < limit) {
        values.push_back(reader.value()?);
    }
    if !is_all {
        let next = match reader.rest.len() {
            0 => -1,
            left => (data.len() - left) as i64,
        };
        values.push_front(Value::Integer(next));
    }
    Ok(values)
}

/// MessagePack while it is read. Tables that are not yet whole stand in a list, so that nesting takes no stack of the thread.
struct Reader<'a> {
    lua: &'a Lua,
    rest: &'a [u8],
    /// What Redis would have on Lua's stack. That is no less than what is held here.
    slots: usize,
    open: Vec<Open>,
}

/// A table that is not yet whole.
struct Open {
    table: Table,
    /// The elements or pairs that are missing.
    left: usize,
    place: Place,
}

/// Where the next value of a table goes.
enum Place {
    Element(i64),
    Key,
    Value(Value),
}

/// What stands at the head of a value: the value itself, or how many others it has.
enum Head {
    Whole(Value),
    Array(usize),
    Map(usize),
}

/// The slots of an array are for the table and for the index of its next element.
const ARRAY_SLOTS: usize = 2;
/// That of a map is for the table. Its key has another.
const MAP_SLOTS: usize = 1;

impl Reader<'_> {
    fn value(&mut self) -> Result<Value, Failure> {
        loop {
            self.check_slots(
                1,
                "too many return values at once; use unpack_one or unpack_limit instead.",
            )?;
            let whole = match self.head()? {
                Head::Whole(value) => Some(value),
                Head::Array(size) => {
                    self.check_slots(ARRAY_SLOTS, "in function mp_decode_to_lua_array")?;
                    self.open(size, Place::Element(1), ARRAY_SLOTS)?
                }
                Head::Map(size) => self.open(size, Place::Key, MAP_SLOTS)?,
            };
            if let Some(value) = self.deliver(whole)? {
                self.slots += 1;
                return Ok(value);
            }
        }
    }

    fn check_slots(&self, more: usize, place: &str) -> Result<(), Failure> {
        match self.slots + more > VALUES_MAX {
            true => Err(Failure::new(format!("stack overflow ({place})"))),
            false => Ok(()),
        }
    }

    /// Begins a table. The size is only what the data says of itself, so nothing is reserved for it.
    fn open(&mut self, left: usize, place: Place, slots: usize) -> Result<Option<Value>, Failure> {
        let table = self.lua.create_table()?;
        self.slots += slots;
        self.open.push(Open { table, left, place });
        Ok(None)
    }

    /// Puts a value where it belongs, and the tables that are whole by it. Gives the value that is in none.
    fn deliver(&mut self, mut whole: Option<Value>) -> Result<Option<Value>, Failure> {
        loop {
            if let Some(value) = whole.take() {
                let Some(open) = self.open.last_mut() else {
                    return Ok(Some(value));
                };
                self.slots -= open.key_slots();
                open.put(value)?;
                self.slots += open.key_slots();
            }
            let Some(open) = self.open.pop_if(|open| open.left == 0) else {
                return Ok(None);
            };
            self.slots -= match open.place {
                Place::Element(_) => ARRAY_SLOTS,
                _ => MAP_SLOTS,
            };
            whole = Some(Value::Table(open.table));
        }
    }

    fn head(&mut self) -> Result<Head, Failure> {
        let [head] = self.bytes()?;
        Ok(Head::Whole(match head {
            0x00..=0x7f | 0xe0..=0xff => Value::Integer(i64::from(head as i8)),
            0x80..=0x8f => return Ok(Head::Map(usize::from(head & 0xf))),
            0x90..=0x9f => return Ok(Head::Array(usize::from(head & 0xf))),
            0xa0..=0xbf => self.string(usize::from(head & 0x1f))?,
            0xc0 => Value::Nil,
            0xc2 => Value::Boolean(false),
            0xc3 => Value::Boolean(true),
            0xca => Value::Number(f64::from(f32::from_be_bytes(self.bytes()?))),
            0xcb => Value::Number(f64::from_be_bytes(self.bytes()?)),
            0xcc => Value::Integer(i64::from(u8::from_be_bytes(self.bytes()?))),
            0xcd => Value::Integer(i64::from(u16::from_be_bytes(self.bytes()?))),
            0xce => Value::Integer(i64::from(u32::from_be_bytes(self.bytes()?))),
            0xd0 => Value::Integer(i64::from(i8::from_be_bytes(self.bytes()?))),
            0xd1 => Value::Integer(i64::from(i16::from_be_bytes(self.bytes()?))),
            0xd2 => Value::Integer(i64::from(i32::from_be_bytes(self.bytes()?))),
            // Redis takes the unsigned one for signed too.
            0xcf | 0xd3 => Value::Integer(i64::from_be_bytes(self.bytes()?)),
            0xd9 => {
                let [size] = self.bytes()?;
                self.string(usize::from(size))?
            }
            0xda => {
                let size = self.size_2()?;
                self.string(size)?
            }
            0xdb => {
                let size = self.size_4()?;
                self.string(size)?
            }
            0xdc => return Ok(Head::Array(self.size_2()?)),
            0xdd => return Ok(Head::Array(self.size_4()?)),
            0xde => return Ok(Head::Map(self.size_2()?)),
            0xdf => return Ok(Head::Map(self.size_4()?)),
            0xc1 | 0xc4..=0xc9 | 0xd4..=0xd8 => {
                return Err(Failure::new("Bad data format in input."));
            }
        }))
    }

    fn size_2(&mut self) -> Result<usize, Failure> {
        Ok(usize::from(u16::from_be_bytes(self.bytes()?)))
    }

    fn size_4(&mut self) -> Result<usize, Failure> {
        Ok(u32::from_be_bytes(self.bytes()?) as usize)
    }

    fn string(&mut self, size: usize) -> Result<Value, Failure> {
        let (bytes, rest) = self.rest.split_at_checked(size).ok_or_else(missing)?;
        self.rest = rest;
        Ok(Value::String(self.lua.create_string(bytes)?))
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Failure> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or_else(missing)?;
        self.rest = rest;
        Ok(*bytes)
    }
}

fn missing() -> Failure {
    Failure::new("Missing bytes in input.")
}

impl Open {
    fn put(&mut self, value: Value) -> Result<(), Failure> {
        self.place = match std::mem::replace(&mut self.place, Place::Key) {
            Place::Element(at) => {
                self.table.raw_set(at, value)?;
                self.left -= 1;
                Place::Element(at + 1)
            }
            Place::Key => Place::Value(value),
            Place::Value(key) => {
                check_key(&key)?;
                self.table.raw_set(key, value)?;
                self.left -= 1;
                Place::Key
            }
        };
        Ok(())
    }

    fn key_slots(&self) -> usize {
        usize::from(matches!(self.place, Place::Value(_)))
    }
}

fn check_key(key: &Value) -> Result<(), Failure> {
    match key {
        Value::Nil => Err(Failure::new("table index is nil")),
        Value::Number(number) if number.is_nan() => Err(Failure::new("table index is NaN")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use crate::script::snippet::{check, check_in_thread};

    #[test]
    fn packs_and_unpacks_as_redis_does() {
        check(&[
            (
                "cmsgpack.pack(0/0,-(0/0),1/0,-1/0)",
                r#""\203\255\248\000\000\000\000\000\000\203\127\248\000\000\000\000\000\000\202\127\128\000\000\202\255\128\000\000""#,
            ),
            (
                "cmsgpack.pack(2^31,2^32,2^53,2^62,2^63,2^64,-2^63,-2^64,1e19,0.25,-0.25,3.4028234663852886e38,3.5e38,1e-46,1e-45)",
                r#""\206\128\000\000\000\207\000\000\000\001\000\000\000\000\207\000 \000\000\000\000\000\000\207@\000\000\000\000\000\000\000\202_\000\000\000\202_\128\000\000\211\128\000\000\000\000\000\000\000\202\223\128\000\000\203C\225X\228`\145=\000\202>\128\000\000\202\190\128\000\000\202\127\127\255\255\203G\240t\248\196\211\205{\2036bD\206$,Ua\2036\150\214\001\1737j\185""#,
            ),
            (
                "local t={} for i=1,16 do t[i]=i end ;; cmsgpack.pack(t)",
                r#""\220\000\016\001\002\003\004\005\006\007\008\009\010\011\012\013\014\015\016""#,
            ),
            (
                "local t={} for i=1,16 do t['a'..i]=i end ;; cmsgpack.pack(t)",
                r#""\222\000\016\163a16\016\163a15\015\163a14\014\163a11\011\162a9\009\162a8\008\163a12\012\163a13\013\162a4\004\162a5\005\162a6\006\162a7\007\162a3\003\162a2\002\162a1\001\163a10\010""#,
            ),
            ("cmsgpack.pack({['1']='x'})", r#""\129\1611\161x""#),
            (
                "cmsgpack.pack({['1']='x','y'})",
                r#""\130\001\161y\1611\161x""#,
            ),
            (
                "cmsgpack.pack({['1']='x',[2]='y'})",
                r#""\130\1611\161x\002\161y""#,
            ),
            (
                "cmsgpack.pack({['2']='x',[1]='y'})",
                r#""\130\001\161y\1612\161x""#,
            ),
            ("cmsgpack.pack({['0x1']='x'})", r#""\129\1630x1\161x""#),
            ("cmsgpack.pack({['1.0']='x'})", r#""\129\1631.0\161x""#),
            (
                "cmsgpack.pack({[1.5]='x'})",
                r#""\129\202?\192\000\000\161x""#,
            ),
            (
                "cmsgpack.pack({[2^31]='x'})",
                r#""\129\206\128\000\000\000\161x""#,
            ),
            (
                "cmsgpack.pack({[2^32+1]='x'})",
                r#""\129\207\000\000\000\001\000\000\000\001\161x""#,
            ),
            (
                "cmsgpack.pack({[1/0]='x'})",
                r#""\129\202\127\128\000\000\161x""#,
            ),
            ("cmsgpack.pack({[-1]='x'})", r#""\129\255\161x""#),
            ("cmsgpack.pack({[2]='x'})", r#""\129\002\161x""#),
            (
                "cmsgpack.pack({1,2,nil,4})",
                r#""\131\001\001\002\002\004\004""#,
            ),
            ("cmsgpack.pack({1,2,nil})", r#""\146\001\002""#),
            ("cmsgpack.pack({nil,2})", r#""\129\002\002""#),
            ("cmsgpack.pack({[true]=1})", r#""\129\195\001""#),
            ("cmsgpack.pack({[cjson.null]=1})", r#""\129\192\001""#),
            ("cmsgpack.pack({[{}]=1})", r#""\129\144\001""#),
            (
                "cmsgpack.pack({[{1,{2}}]={[{}]={}}})",
                r#""\129\146\001\145\002\129\144\144""#,
            ),
            ("cmsgpack.pack(nil)", r#""\192""#),
            ("cmsgpack.pack(nil,nil)", r#""\192\192""#),
            (
                "cmsgpack.pack(setmetatable({},{__index={1,2},__len=function() return 5 end}))",
                r#""\144""#,
            ),
            (
                "local t={} t[1]=t ;; cmsgpack.pack(t)",
                r#""\145\145\145\145\145\145\145\145\145\145\145\145\145\145\145\145\192""#,
            ),
            (
                "local t={} t.a=t ;; cmsgpack.pack(t)",
                r#""\129\161a\129\161a\129\161a\129\161a\129\161a\129\161a\129\161a\129\161a\129\161a\129\161a\129\161a\129\161a\129\161a\129\161a\129\161a\129\161a\192""#,
            ),
            (
                "local t={} t[t]=1 ;; cmsgpack.pack(t)",
                r#""\129\129\129\129\129\129\129\129\129\129\129\129\129\129\129\129\192\001\001\001\001\001\001\001\001\001\001\001\001\001\001\001\001""#,
            ),
            (
                r#"cmsgpack.unpack('\204\255\205\1\2\206\255\255\255\255\207\255\255\255\255\255\255\255\255')"#,
                "255 258 4294967295 -1",
            ),
            (
                r#"cmsgpack.unpack('\208\128\209\128\0\210\128\0\0\0\211\128\0\0\0\0\0\0\0')"#,
                "-128 -32768 -2147483648 -9.2233720368547758e+18",
            ),
            (
                r#"cmsgpack.unpack('\207\0\32\0\0\0\0\0\1\207\128\0\0\0\0\0\4\1')"#,
                "9007199254740992 -9.2233720368547748e+18",
            ),
            (
                r#"cmsgpack.unpack('\202\63\192\0\0\203\63\240\0\0\0\0\0\0\202\127\192\0\0')"#,
                "1.5 1 nan",
            ),
            (r#"cmsgpack.unpack('\192\194\195')"#, "nil false true"),
            (r#"select('#',cmsgpack.unpack('\192\192'))"#, "2"),
            (r#"cmsgpack.unpack('\0\127\224\255')"#, "0 127 -32 -1"),
            (
                r#"cmsgpack.unpack('\160\161a\217\1a\218\0\1a\219\0\0\0\1a')"#,
                r#""" "a" "a" "a" "a""#,
            ),
            (
                r#"cmsgpack.unpack('\144\145\1\220\0\1\1\221\0\0\0\1\1')"#,
                "{} {1=1} {1=1} {1=1}",
            ),
            (
                r#"cmsgpack.unpack('\128\129\1\2\222\0\1\1\2\223\0\0\0\1\1\2')"#,
                "{} {1=2} {1=2} {1=2}",
            ),
            (r#"cmsgpack.unpack('\129\1\192')"#, "{}"),
            (r#"cmsgpack.unpack('\147\192\1\192')"#, "{2=1}"),
            (r#"cmsgpack.unpack('\129\145\1\2')"#, "{{1=1}=2}"),
            (r#"cmsgpack.unpack('\130\161a\1\161a\2')"#, r#"{"a"=2}"#),
            (
                r#"cmsgpack.unpack('\161')"#,
                "ERR user_script:1: Missing bytes in input.",
            ),
            (
                r#"cmsgpack.unpack('\217')"#,
                "ERR user_script:1: Missing bytes in input.",
            ),
            (
                r#"cmsgpack.unpack('\217\5abc')"#,
                "ERR user_script:1: Missing bytes in input.",
            ),
            (
                r#"cmsgpack.unpack('\218\0')"#,
                "ERR user_script:1: Missing bytes in input.",
            ),
            (
                r#"cmsgpack.unpack('\219\255\255\255\255')"#,
                "ERR user_script:1: Missing bytes in input.",
            ),
            (
                r#"cmsgpack.unpack('\219\127\255\255\255abc')"#,
                "ERR user_script:1: Missing bytes in input.",
            ),
            (
                r#"cmsgpack.unpack('\221\255\255\255\255')"#,
                "ERR user_script:1: Missing bytes in input.",
            ),
            (
                r#"cmsgpack.unpack('\221\255\255\255\255\1')"#,
                "ERR user_script:1: Missing bytes in input.",
            ),
            (
                r#"cmsgpack.unpack('\221\255\255\255')"#,
                "ERR user_script:1: Missing bytes in input.",
            ),
            (
                r#"cmsgpack.unpack('\223\255\255\255\255')"#,
                "ERR user_script:1: Missing bytes in input.",
            ),
            (
                r#"cmsgpack.unpack('\223\255\255\255\255\1\1')"#,
                "ERR user_script:1: Missing bytes in input.",
            ),
            (
                r#"cmsgpack.unpack('\223\0\0\0\2\1\1')"#,
                "ERR user_script:1: Missing bytes in input.",
            ),
            (
                r#"cmsgpack.unpack('\220\0\2\1\193')"#,
                "ERR user_script:1: Bad data format in input.",
            ),
            (
                r#"cmsgpack.unpack('\204')"#,
                "ERR user_script:1: Missing bytes in input.",
            ),
            (
                r#"cmsgpack.unpack('\205\1')"#,
                "ERR user_script:1: Missing bytes in input.",
            ),
            (
                r#"cmsgpack.unpack('\206\1\1\1')"#,
                "ERR user_script:1: Missing bytes in input.",
            ),
            (
                r#"cmsgpack.unpack('\207\1\1\1\1\1\1\1')"#,
                "ERR user_script:1: Missing bytes in input.",
            ),
            (
                r#"cmsgpack.unpack('\202\1\1\1')"#,
                "ERR user_script:1: Missing bytes in input.",
            ),
            (
                r#"cmsgpack.unpack('\203\1\1\1\1\1\1\1')"#,
                "ERR user_script:1: Missing bytes in input.",
            ),
            (
                r#"cmsgpack.unpack('\208')"#,
                "ERR user_script:1: Missing bytes in input.",
            ),
            (
                r#"cmsgpack.unpack('\196\0')"#,
                "ERR user_script:1: Bad data format in input.",
            ),
            (
                r#"cmsgpack.unpack('\197\0\0')"#,
                "ERR user_script:1: Bad data format in input.",
            ),
            (
                r#"cmsgpack.unpack('\198\0\0\0\0')"#,
                "ERR user_script:1: Bad data format in input.",
            ),
            (
                r#"cmsgpack.unpack('\199\0\1')"#,
                "ERR user_script:1: Bad data format in input.",
            ),
            (
                r#"cmsgpack.unpack('\200\0\0\1')"#,
                "ERR user_script:1: Bad data format in input.",
            ),
            (
                r#"cmsgpack.unpack('\201\0\0\0\0\1')"#,
                "ERR user_script:1: Bad data format in input.",
            ),
            (
                r#"cmsgpack.unpack('\212\1\1')"#,
                "ERR user_script:1: Bad data format in input.",
            ),
            (
                r#"cmsgpack.unpack('\213\1\1\1')"#,
                "ERR user_script:1: Bad data format in input.",
            ),
            (
                r#"cmsgpack.unpack('\216\1')"#,
                "ERR user_script:1: Bad data format in input.",
            ),
            (
                r#"cmsgpack.unpack('\193')"#,
                "ERR user_script:1: Bad data format in input.",
            ),
            (
                r#"cmsgpack.unpack('\1\193')"#,
                "ERR user_script:1: Bad data format in input.",
            ),
            (
                r#"cmsgpack.unpack('\1\161')"#,
                "ERR user_script:1: Missing bytes in input.",
            ),
            ("cmsgpack.unpack(1.5)", "49 46 53"),
            (
                "cmsgpack.unpack({})",
                "ERR user_script:1: bad argument #1 to 'unpack' (string expected, got table)",
            ),
            (
                "cmsgpack.unpack(nil)",
                "ERR user_script:1: bad argument #1 to 'unpack' (string expected, got nil)",
            ),
            (r#"cmsgpack.unpack('\1','x',{})"#, "1"),
            (r#"cmsgpack.unpack('\1\2\3',1,1)"#, "1 2 3"),
            ("cmsgpack.unpack_one('')", "-1"),
            (r#"cmsgpack.unpack_one('\1\2',0)"#, "1 1"),
            (r#"cmsgpack.unpack_one('\1\2','1')"#, "-1 2"),
            (
                r#"cmsgpack.unpack_one('\1\2','x')"#,
                "ERR user_script:1: bad argument #2 to 'unpack_one' (number expected, got string)",
            ),
            (
                r#"cmsgpack.unpack_one('\1\2',{})"#,
                "ERR user_script:1: bad argument #2 to 'unpack_one' (number expected, got table)",
            ),
            (r#"cmsgpack.unpack_one('\1\2',nil)"#, "1 1"),
            (r#"cmsgpack.unpack_one('\1\2',1.9)"#, "-1 2"),
            (r#"cmsgpack.unpack_one('\1\2',2)"#, "-1"),
            (
                r#"cmsgpack.unpack_one('\1\2',3)"#,
                "ERR user_script:1: Start offset 3 greater than input length 2.",
            ),
            (
                r#"cmsgpack.unpack_one('\1\2',-1)"#,
                "ERR user_script:1: Invalid request to unpack with offset of -1 and limit of 2.",
            ),
            (
                r#"cmsgpack.unpack_one('\1\2',2^32)"#,
                "ERR user_script:1: Start offset 0 greater than input length 2.",
            ),
            (
                r#"cmsgpack.unpack_one('\1\2',2^31)"#,
                "ERR user_script:1: Start offset -2147483648 greater than input length 2.",
            ),
            (
                r#"cmsgpack.unpack_one('\1\2',2^32+1)"#,
                "ERR user_script:1: Start offset 1 greater than input length 2.",
            ),
            (
                r#"cmsgpack.unpack_one('\1\2',1e300)"#,
                "ERR user_script:1: Invalid request to unpack with offset of 0 and limit of 2.",
            ),
            (
                r#"cmsgpack.unpack_one('\1\2',0/0)"#,
                "ERR user_script:1: Invalid request to unpack with offset of 0 and limit of 2.",
            ),
            (
                "cmsgpack.unpack_one()",
                "ERR user_script:1: bad argument #1 to 'unpack_one' (string expected, got no value)",
            ),
            (
                "cmsgpack.unpack_one({})",
                "ERR user_script:1: bad argument #1 to 'unpack_one' (string expected, got table)",
            ),
            (
                "cmsgpack.unpack_one({},'x')",
                "ERR user_script:1: bad argument #2 to 'unpack_one' (number expected, got string)",
            ),
            (
                r#"cmsgpack.unpack_one('\145')"#,
                "ERR user_script:1: Missing bytes in input.",
            ),
            (
                r#"cmsgpack.unpack_one('\193')"#,
                "ERR user_script:1: Bad data format in input.",
            ),
            (r#"cmsgpack.unpack_one('\1\2',1,2,3)"#, "-1 2"),
            (
                r#"cmsgpack.unpack_limit('\1\2')"#,
                "ERR user_script:1: bad argument #2 to 'unpack_limit' (number expected, got no value)",
            ),
            (
                "cmsgpack.unpack_limit()",
                "ERR user_script:1: bad argument #2 to 'unpack_limit' (number expected, got no value)",
            ),
            (
                r#"cmsgpack.unpack_limit('\1\2','x')"#,
                "ERR user_script:1: bad argument #2 to 'unpack_limit' (number expected, got string)",
            ),
            (r#"cmsgpack.unpack_limit('\1\2',0)"#, "1 2"),
            (r#"cmsgpack.unpack_limit('\1\2',0,0)"#, "1 2"),
            (r#"cmsgpack.unpack_limit('\1\2',0,1)"#, "1"),
            (r#"cmsgpack.unpack_limit('\1\2',0,2)"#, "-1"),
            (r#"cmsgpack.unpack_limit('\1\2',1)"#, "1 1"),
            (r#"cmsgpack.unpack_limit('\1\2',1,1)"#, "-1 2"),
            (r#"cmsgpack.unpack_limit('\1\2',5)"#, "-1 1 2"),
            (r#"cmsgpack.unpack_limit('\1\2',5,1)"#, "-1 2"),
            (
                r#"cmsgpack.unpack_limit('\1\2',-1)"#,
                "ERR user_script:1: Invalid request to unpack with offset of 0 and limit of 2.",
            ),
            (
                r#"cmsgpack.unpack_limit('\1\2',-1,1)"#,
                "ERR user_script:1: Invalid request to unpack with offset of 1 and limit of 2.",
            ),
            (
                r#"cmsgpack.unpack_limit('\1\2',1,-1)"#,
                "ERR user_script:1: Invalid request to unpack with offset of -1 and limit of 2.",
            ),
            (r#"cmsgpack.unpack_limit('\1\2',2^31,0)"#, "-1 1 2"),
            (r#"cmsgpack.unpack_limit('\1\2',2^32,0)"#, "-1 1 2"),
            (
                r#"cmsgpack.unpack_limit('\1\2',1,'x')"#,
                "ERR user_script:1: bad argument #3 to 'unpack_limit' (number expected, got string)",
            ),
            (
                "cmsgpack.unpack_limit({},'x','y')",
                "ERR user_script:1: bad argument #2 to 'unpack_limit' (number expected, got string)",
            ),
            ("cmsgpack.unpack_limit('',1)", "-1"),
            ("cmsgpack.unpack_limit('',0)", ""),
            (r#"cmsgpack.unpack_limit('\1\193',1)"#, "1 1"),
            (
                r#"cmsgpack.unpack_limit('\1\193',2)"#,
                "ERR user_script:1: Bad data format in input.",
            ),
            (
                "cmsgpack._VERSION,cmsgpack._NAME,cmsgpack._COPYRIGHT,cmsgpack._DESCRIPTION",
                r#""lua-cmsgpack 0.4.0" "cmsgpack" "Copyright (C) 2012, Salvatore Sanfilippo" "MessagePack C implementation for Lua""#,
            ),
        ]);
    }

    #[test]
    fn nesting_and_sizes_take_no_more_than_there_is() {
        check_in_thread(&[
            (
                r"cmsgpack.unpack(string.rep('\145', 6000))",
                "ERR user_script:1: stack overflow (in function mp_decode_to_lua_array)",
            ),
            (
                r"cmsgpack.unpack(string.rep('\129', 9000))",
                "ERR user_script:1: stack overflow (too many return values at once; use unpack_one or unpack_limit instead.)",
            ),
            (
                r"cmsgpack.unpack(string.rep('\129\161a', 9000))",
                "ERR user_script:1: stack overflow (too many return values at once; use unpack_one or unpack_limit instead.)",
            ),
            (
                r"cmsgpack.unpack(string.rep('\221\255\255\255\255', 3000))",
                "ERR user_script:1: Missing bytes in input.",
            ),
            (
                r"select('#', cmsgpack.unpack(string.rep('\161a', 7400)))",
                "7400",
            ),
            (
                r"cmsgpack.unpack(string.rep('\161a', 9000))",
                "ERR user_script:1: stack overflow (too many return values at once; use unpack_one or unpack_limit instead.)",
            ),
            (
                "local t = {} for i = 1, 40 do t[i] = t end ;; pcall(cmsgpack.pack, t)",
                r#"false "The packed values would be too long.""#,
            ),
        ]);
    }
}
