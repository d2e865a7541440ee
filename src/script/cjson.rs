//! The library `cjson`: values as JSON.
//!
//! [`encode`] writes and [`decode`] reads. Here are the functions, and the settings by which a script changes what both do. The
//! settings last as long as Lua's state, so those of one script are there for the next. `cjson.new` gives the library again, with
//! settings of its own.

mod decode;
mod encode;

use std::sync::Arc;

use mlua::{Lua, MultiValue, Table, Value};
use parking_lot::Mutex;

use super::arguments::{Arguments, Failure, add, one};

/// Set in the metatable of a table that is an array also when it is empty.
const ARRAY_MARK: &str = "__is_cjson_array";

/// The tables in tables that are read or written, whatever a script sets. Redis has a limit too, as Lua's stack has an end.
const NESTING_MAX: usize = 5000;

/// What a script can set.
#[derive(Clone)]
struct Settings {
    encode_max_depth: i32,
    encode_number_precision: i32,
    encode_invalid_numbers: InvalidNumbers,
    /// Redis would give the memory of the text back or not. Here it is always given back.
    encode_keep_buffer: bool,
    /// Write an array with too few elements as an object, instead of refusing it.
    encode_sparse_convert: bool,
    encode_sparse_ratio: i32,
    encode_sparse_safe: i32,
    decode_max_depth: i32,
    decode_invalid_numbers: bool,
    decode_array_with_array_mt: bool,
}

/// What becomes of a number that JSON does not have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum InvalidNumbers {
    Refused,
    Written,
    Null,
}

const DEFAULT: Settings = Settings {
    encode_max_depth: 1000,
    encode_number_precision: 14,
    encode_invalid_numbers: InvalidNumbers::Refused,
    encode_keep_buffer: true,
    encode_sparse_convert: false,
    encode_sparse_ratio: 2,
    encode_sparse_safe: 10,
    decode_max_depth: 1000,
    decode_invalid_numbers: true,
    decode_array_with_array_mt: false,
};

const NUMBER_PRECISION_MAX: i32 = 14;

/// The functions and texts of `cjson` by their names, but for `null`.
/// `new` returns such a table again. `array_metatable` is the metatable of arrays that are read: no part of the library.
pub(super) fn functions(lua: &Lua) -> mlua::Result<Table> {
    let array_metatable = lua.create_table()?;
    array_metatable.raw_set(ARRAY_MARK, true)?;
    let library = library(lua, &array_metatable)?;
    library.raw_set("array_metatable", array_metatable)?;
    Ok(library)
}

fn library(lua: &Lua, array_metatable: &Table) -> mlua::Result<Table> {
    let library = lua.create_table()?;
    let settings = Arc::new(Mutex::new(DEFAULT));
    add_settings(lua, &library, &settings)?;

    let (for_encode, for_decode) = (Arc::clone(&settings), settings);
    add(lua, &library, "encode", move |arguments| {
        check_single(arguments)?;
        let settings = for_encode.lock().clone();
        let text = encode::encode(arguments.lua, arguments.value(1), &settings)?;
        one(Value::String(arguments.lua.create_string(text)?))
    })?;
    let metatable = array_metatable.clone();
    add(lua, &library, "decode", move |arguments| {
        check_single(arguments)?;
        let text = arguments.string(1)?;
        let settings = for_decode.lock().clone();
        let metatable = settings.decode_array_with_array_mt.then_some(&metatable);
        one(decode::decode(
            arguments.lua,
            &text.as_bytes(),
            &settings,
            metatable,
        )?)
    })?;
    let metatable = array_metatable.clone();
    add(lua, &library, "new", move |arguments| {
        one(Value::Table(self::library(arguments.lua, &metatable)?))
    })?;
    library.raw_set("_NAME", "cjson")?;
    library.raw_set("_VERSION", "2.1.0")?;
    Ok(library)
}

fn check_single(arguments: &Arguments<'_>) -> Result<(), Failure> {
    match arguments.len() {
        1 => Ok(()),
        _ => Err(arguments.bad(1, "expected 1 argument")),
    }
}

type Flag = fn(&mut Settings) -> &mut bool;
type Number = fn(&mut Settings) -> &mut i32;

const FLAGS: [(&str, Flag); 3] = [
    ("encode_keep_buffer", |settings| {
        &mut settings.encode_keep_buffer
    }),
    ("decode_invalid_numbers", |settings| {
        &mut settings.decode_invalid_numbers
    }),
    ("decode_array_with_array_mt", |settings| {
        &mut settings.decode_array_with_array_mt
    }),
];

const NUMBERS: [(&str, i32, Number); 3] = [
    ("encode_max_depth", i32::MAX, |settings| {
        &mut settings.encode_max_depth
    }),
    ("decode_max_depth", i32::MAX, |settings| {
        &mut settings.decode_max_depth
    }),
    (
        "encode_number_precision",
        NUMBER_PRECISION_MAX,
        |settings| &mut settings.encode_number_precision,
    ),
];

/// Each function sets what it is called after, unless that is nil or not passed, and returns what is set then.
fn add_settings(lua: &Lua, library: &Table, settings: &Arc<Mutex<Settings>>) -> mlua::Result<()> {
    for (name, flag) in FLAGS {
        let settings = Arc::clone(settings);
        add(lua, library, name, move |arguments| {
            check_count(arguments, 1)?;
            one(set_flag(arguments, flag(&mut settings.lock()))?)
        })?;
    }
    for (name, max, number) in NUMBERS {
        let settings = Arc::clone(settings);
        add(lua, library, name, move |arguments| {
            check_count(arguments, 1)?;
            let mut settings = settings.lock();
            one(set_number(arguments, 1, 1, max, number(&mut settings))?)
        })?;
    }
    let shared = Arc::clone(settings);
    add(lua, library, "encode_invalid_numbers", move |arguments| {
        check_count(arguments, 1)?;
        let mut settings = shared.lock();
        set_invalid_numbers(arguments, &mut settings.encode_invalid_numbers)
    })?;
    let shared = Arc::clone(settings);
    add(lua, library, "encode_sparse_array", move |arguments| {
        check_count(arguments, 3)?;
        set_sparse_array(arguments, &mut shared.lock())
    })
}

fn check_count(arguments: &Arguments<'_>, most: usize) -> Result<(), Failure> {
    match arguments.len() > most {
        true => Err(arguments.bad(most + 1, "found too many arguments")),
        false => Ok(()),
    }
}

fn set_number(
    arguments: &Arguments<'_>,
    at: usize,
    min: i32,
    max: i32,
    setting: &mut i32,
) -> Result<Value, Failure> {
    if !arguments.is_nil(at) {
        // The low 32 bits count, as in Redis.
        let number = arguments.integer(at)? as i32;
        if !(min..=max).contains(&number) {
            // The first argument is blamed, whichever it was.
            let why = format!("expected integer between {min} and {max}");
            return Err(arguments.bad(1, why));
        }
        *setting = number;
    }
    Ok(Value::Integer(i64::from(*setting)))
}

fn set_flag(arguments: &Arguments<'_>, setting: &mut bool) -> Result<Value, Failure> {
    match arguments.value(1) {
        Value::Nil => {}
        Value::Boolean(flag) => *setting = *flag,
        _ => *setting = choose(arguments, &["off", "on"])? == 1,
    }
    Ok(Value::Boolean(*setting))
}

/// Which of some words the first argument is.
fn choose(arguments: &Arguments<'_>, words: &[&str]) -> Result<usize, Failure> {
    let word = arguments.string(1)?;
    let word = word.as_bytes();
    let chosen = words.iter().position(|known| known.as_bytes() == &*word);
    chosen.ok_or_else(|| {
        // C shows a text up to its first zero.
        let shown = word.split(|byte| *byte == 0).next().unwrap_or_default();
        arguments.bad(1, [b"invalid option '", shown, b"'"].concat())
    })
}

fn set_invalid_numbers(
    arguments: &Arguments<'_>,
    setting: &mut InvalidNumbers,
) -> Result<MultiValue, Failure> {
    use InvalidNumbers::{Null, Refused, Written};
    *setting = match arguments.value(1) {
        Value::Nil => *setting,
        Value::Boolean(false) => Refused,
        Value::Boolean(true) => Written,
        _ => match choose(arguments, &["off", "on", "null"])? {
            0 => Refused,
            1 => Written,
            _ => Null,
        },
    };
    one(match *setting {
        Null => Value::String(arguments.lua.create_string("null")?),
        other => Value::Boolean(other == Written),
    })
}

/// Those before one that is wrong are set all the same.
fn set_sparse_array(
    arguments: &Arguments<'_>,
    settings: &mut Settings,
) -> Result<MultiValue, Failure> {
    let convert = set_flag(arguments, &mut settings.encode_sparse_convert)?;
    let ratio = &mut settings.encode_sparse_ratio;
    let ratio = set_number(arguments, 2, 0, i32::MAX, ratio)?;
    let safe = &mut settings.encode_sparse_safe;
    let safe = set_number(arguments, 3, 0, i32::MAX, safe)?;
    Ok(MultiValue::from_iter([convert, ratio, safe]))
}

#[cfg(test)]
mod tests {
    use crate::script::snippet::{check, check_in_thread};

    #[test]
    fn settings_are_those_of_redis() {
        check(&[
            ("cjson.encode({{{}}})", r#""[[{}]]""#),
            ("cjson.encode({{{{}}}})", r#""[[[{}]]]""#),
            ("cjson.encode({a={b={c={}}}})", r#""{"a":{"b":{"c":{}}}}""#),
            ("cjson.decode('[[[]]]')", "{1={1={}}}"),
            ("cjson.decode('[[[[]]]]')", "{1={1={1={}}}}"),
            (
                r#"cjson.decode('{"a":{"b":{"c":{"d":1}}}}')"#,
                r#"{"a"={"b"={"c"={"d"=1}}}}"#,
            ),
            ("cjson.decode('[[[{}]]]')", "{1={1={1={}}}}"),
            (
                "cjson.decode(' [ [ [ [')",
                "ERR user_script:1: Expected value but found T_END at character 9",
            ),
            ("cjson.decode('[[[]],[[]]]')", "{1={1={}},2={1={}}}"),
            (
                "cjson.encode_number_precision(0)",
                "ERR user_script:1: bad argument #1 to 'encode_number_precision' (expected integer between 1 and 14)",
            ),
            (
                "cjson.encode_number_precision(15)",
                "ERR user_script:1: bad argument #1 to 'encode_number_precision' (expected integer between 1 and 14)",
            ),
            ("cjson.encode_number_precision(3)", "3"),
            (
                "cjson.encode(1/3),cjson.encode(1234),cjson.encode(999.6),cjson.encode(0.00012345),cjson.encode({[1/3]=1})",
                r#""0.333" "1.23e+03" "1e+03" "0.000123" "{"0.333":1}""#,
            ),
            ("cjson.encode_number_precision(1)", "1"),
            (
                "cjson.encode(1/3),cjson.encode(1234),cjson.encode(9.6),cjson.encode(0.5),cjson.encode(2.5),cjson.encode(0)",
                r#""0.3" "1e+03" "1e+01" "0.5" "2" "0""#,
            ),
            ("cjson.encode_number_precision(14)", "14"),
            (
                "cjson.encode_number_precision('a')",
                "ERR user_script:1: bad argument #1 to 'encode_number_precision' (number expected, got string)",
            ),
            (
                "cjson.encode_number_precision(14,1)",
                "ERR user_script:1: bad argument #2 to 'encode_number_precision' (found too many arguments)",
            ),
            ("cjson.encode_keep_buffer()", "true"),
            ("cjson.encode_keep_buffer(false)", "false"),
            ("cjson.encode_keep_buffer(true)", "true"),
            ("cjson.encode_keep_buffer('on')", "true"),
            ("cjson.encode_keep_buffer('off')", "false"),
            (
                "cjson.encode_keep_buffer('null')",
                "ERR user_script:1: bad argument #1 to 'encode_keep_buffer' (invalid option 'null')",
            ),
            ("cjson.encode_keep_buffer(nil)", "false"),
            (
                "cjson.encode_keep_buffer({})",
                "ERR user_script:1: bad argument #1 to 'encode_keep_buffer' (string expected, got table)",
            ),
            (
                "cjson.encode_keep_buffer(true,1)",
                "ERR user_script:1: bad argument #2 to 'encode_keep_buffer' (found too many arguments)",
            ),
            ("cjson.encode_keep_buffer(true)", "true"),
            ("cjson.encode_invalid_numbers()", "false"),
            ("cjson.encode_invalid_numbers(true)", "true"),
            (
                "cjson.encode(0/0),cjson.encode(-(0/0)),cjson.encode(1/0),cjson.encode(-1/0),cjson.encode({a=1/0}),cjson.encode({[1/0]=0/0})",
                r#""nan" "nan" "inf" "-inf" "{"a":inf}" "{"inf":nan}""#,
            ),
            ("cjson.encode_invalid_numbers('on')", "true"),
            ("cjson.encode_invalid_numbers('off')", "false"),
            (
                "cjson.encode({[1/0]=0})",
                "ERR user_script:1: Cannot serialise number: must not be NaN or Inf",
            ),
            ("cjson.encode_invalid_numbers('null')", r#""null""#),
            ("cjson.encode({[1/0]=0,a=0/0})", r#""{"null":0,"a":null}""#),
            (
                "cjson.encode_invalid_numbers('On')",
                "ERR user_script:1: bad argument #1 to 'encode_invalid_numbers' (invalid option 'On')",
            ),
            (
                "cjson.encode_invalid_numbers(1)",
                "ERR user_script:1: bad argument #1 to 'encode_invalid_numbers' (invalid option '1')",
            ),
            (
                "cjson.encode_invalid_numbers({})",
                "ERR user_script:1: bad argument #1 to 'encode_invalid_numbers' (string expected, got table)",
            ),
            (
                "cjson.encode_invalid_numbers('')",
                "ERR user_script:1: bad argument #1 to 'encode_invalid_numbers' (invalid option '')",
            ),
            (
                "cjson.encode_invalid_numbers(false,1)",
                "ERR user_script:1: bad argument #2 to 'encode_invalid_numbers' (found too many arguments)",
            ),
            ("cjson.encode_invalid_numbers(false)", "false"),
            ("cjson.decode_invalid_numbers()", "true"),
            ("cjson.decode_invalid_numbers(false)", "false"),
            (
                "cjson.decode('nan')",
                "ERR user_script:1: Expected value but found invalid token at character 1",
            ),
            (
                "cjson.decode('inf')",
                "ERR user_script:1: Expected value but found invalid token at character 1",
            ),
            (
                "cjson.decode('-inf')",
                "ERR user_script:1: Expected value but found invalid number at character 1",
            ),
            (
                "cjson.decode('-nan')",
                "ERR user_script:1: Expected value but found invalid number at character 1",
            ),
            (
                "cjson.decode('0x10')",
                "ERR user_script:1: Expected value but found invalid number at character 1",
            ),
            (
                "cjson.decode('-0x10')",
                "ERR user_script:1: Expected value but found invalid number at character 1",
            ),
            (
                "cjson.decode('01')",
                "ERR user_script:1: Expected value but found invalid number at character 1",
            ),
            (
                "cjson.decode('-01')",
                "ERR user_script:1: Expected value but found invalid number at character 1",
            ),
            (
                "cjson.decode('00')",
                "ERR user_script:1: Expected value but found invalid number at character 1",
            ),
            ("cjson.decode('0')", "0"),
            ("cjson.decode('-0')", "-0"),
            ("cjson.decode('0.5')", "0.5"),
            ("cjson.decode('1.')", "1"),
            (
                "cjson.decode('.5')",
                "ERR user_script:1: Expected value but found invalid token at character 1",
            ),
            ("cjson.decode('-.5')", "-0.5"),
            (
                "cjson.decode('-')",
                "ERR user_script:1: Expected value but found invalid number at character 1",
            ),
            (
                "cjson.decode('+1')",
                "ERR user_script:1: Expected value but found invalid token at character 1",
            ),
            ("cjson.decode('1e5')", "100000"),
            (
                "cjson.decode('Infinity')",
                "ERR user_script:1: Expected value but found invalid token at character 1",
            ),
            (
                "cjson.decode('-infinity')",
                "ERR user_script:1: Expected value but found invalid number at character 1",
            ),
            (
                "cjson.decode('-a')",
                "ERR user_script:1: Expected value but found invalid number at character 1",
            ),
            (
                "cjson.decode('[inf]')",
                "ERR user_script:1: Expected value but found invalid token at character 2",
            ),
            (
                "cjson.decode('[-]')",
                "ERR user_script:1: Expected value but found invalid number at character 2",
            ),
            (
                "cjson.decode_invalid_numbers('null')",
                "ERR user_script:1: bad argument #1 to 'decode_invalid_numbers' (invalid option 'null')",
            ),
            ("cjson.decode_invalid_numbers('on')", "true"),
            ("cjson.decode_invalid_numbers('off')", "false"),
            ("cjson.decode_invalid_numbers(true)", "true"),
            (
                "cjson.decode_invalid_numbers(true,true)",
                "ERR user_script:1: bad argument #2 to 'decode_invalid_numbers' (found too many arguments)",
            ),
            ("cjson.encode_sparse_array()", "false 2 10"),
            ("cjson.encode_sparse_array(false,1,1)", "false 1 1"),
            (
                "cjson.encode({[2]=1})",
                "ERR user_script:1: Cannot serialise table: excessively sparse array",
            ),
            (
                "cjson.encode({[1]=1,[3]=1})",
                "ERR user_script:1: Cannot serialise table: excessively sparse array",
            ),
            ("cjson.encode({[1]=1,[2]=1})", r#""[1,1]""#),
            ("cjson.encode_sparse_array(true,1,0)", "true 1 0"),
            ("cjson.encode({[1]=1})", r#""[1]""#),
            (
                "cjson.encode_sparse_array(true,-1)",
                "ERR user_script:1: bad argument #1 to 'encode_sparse_array' (expected integer between 0 and 2147483647)",
            ),
            (
                "cjson.encode_sparse_array(true,1,-1)",
                "ERR user_script:1: bad argument #1 to 'encode_sparse_array' (expected integer between 0 and 2147483647)",
            ),
            (
                "cjson.encode_sparse_array('x')",
                "ERR user_script:1: bad argument #1 to 'encode_sparse_array' (invalid option 'x')",
            ),
            (
                "cjson.encode_sparse_array(1)",
                "ERR user_script:1: bad argument #1 to 'encode_sparse_array' (invalid option '1')",
            ),
            ("cjson.encode_sparse_array('off','3','7')", "false 3 7"),
            ("cjson.encode_sparse_array('on',nil,nil)", "true 3 7"),
            (
                "cjson.encode_sparse_array(false,2,'z')",
                "ERR user_script:1: bad argument #3 to 'encode_sparse_array' (number expected, got string)",
            ),
            (
                "cjson.encode_sparse_array(false,2,10,4)",
                "ERR user_script:1: bad argument #4 to 'encode_sparse_array' (found too many arguments)",
            ),
            ("cjson.encode({[1]=1,[2]=1,[3]=1})", r#""[1,1,1]""#),
            ("cjson.encode({[1]=1})", r#""[1]""#),
            ("cjson.encode_sparse_array(false,2,10)", "false 2 10"),
        ]);
    }

    #[test]
    fn arrays_can_be_marked() {
        check(&[
            (
                "local c=cjson.new() c.decode_array_with_array_mt(true) local t=c.decode('[1,2,3,4]') t[2]=nil ;; #t, cjson.encode(t)",
                r#"4 "[1,null,3,4]""#,
            ),
            (
                "cjson.encode(setmetatable({},{__is_cjson_array=true}))",
                r#""[]""#,
            ),
            (
                "cjson.encode(setmetatable({},{__is_cjson_array=false}))",
                r#""{}""#,
            ),
            (
                "cjson.encode(setmetatable({a=1},{__is_cjson_array=1}))",
                r#""[]""#,
            ),
            (
                "cjson.encode(setmetatable({1,2,nil,4},{__is_cjson_array=true}))",
                r#""[1,2,null,4]""#,
            ),
            (
                "cjson.encode(setmetatable({},setmetatable({},{__index={__is_cjson_array=true}})))",
                r#""[]""#,
            ),
            (
                "cjson.encode({a=setmetatable({},{__is_cjson_array=true})})",
                r#""{"a":[]}""#,
            ),
            ("cjson.decode_array_with_array_mt()", "false"),
            ("cjson.decode('[]')", "{}"),
            ("cjson.encode(cjson.decode('[]'))", r#""{}""#),
            ("cjson.decode_array_with_array_mt(true)", "true"),
            ("cjson.decode('[]')", "{}"),
            (
                "getmetatable(cjson.decode('[]'))",
                r#"{"__is_cjson_array"=true}"#,
            ),
            ("tostring(cjson.decode('[]')):sub(1,5)", r#""table""#),
            ("cjson.decode('[1,[],{}]')", "{1=1,2={},3={}}"),
            ("cjson.encode(cjson.decode('[1,[],{}]'))", r#""[1,[],{}]""#),
            ("cjson.encode(cjson.decode('[]'))", r#""[]""#),
            (r#"cjson.encode(cjson.decode('{"a":[]}'))"#, r#""{"a":[]}""#),
            (
                "local t=cjson.decode('[]') t.x=1 ;; cjson.encode(t)",
                r#""[]""#,
            ),
            (
                "local t=cjson.decode('[]') t[1]=1 t[3]=2 ;; cjson.encode(t)",
                r#""[1]""#,
            ),
            (
                "local t=cjson.decode('[]') t[1.5]=2 ;; cjson.encode(t)",
                r#""[]""#,
            ),
            (
                "local t=cjson.decode('[1]') t.x=1 ;; cjson.encode(t)",
                r#""[1]""#,
            ),
            (
                "local t=cjson.decode('[1]') t[50]=1 ;; cjson.encode(t)",
                r#""[1]""#,
            ),
            (
                "local t=cjson.decode('[1,2]') t[2]=nil ;; cjson.encode(t)",
                r#""[1]""#,
            ),
            (
                "local t=cjson.decode('[1,2,3]') t[2]=nil ;; cjson.encode(t)",
                r#""[1]""#,
            ),
            (
                "local t=cjson.decode('[1,2]') t[1]=nil t[2]=nil ;; cjson.encode(t)",
                r#""[]""#,
            ),
            (
                "local m=getmetatable(cjson.decode('[]')) local t=setmetatable({},m) ;; cjson.encode(t)",
                r#""[]""#,
            ),
            (
                "local m=getmetatable(cjson.decode('[]')) ;; type(m)",
                r#""table""#,
            ),
            ("cjson.encode(setmetatable({},{}))", r#""{}""#),
            ("cjson.decode_array_with_array_mt('on')", "true"),
            (
                "cjson.decode_array_with_array_mt('x')",
                "ERR user_script:1: bad argument #1 to 'decode_array_with_array_mt' (invalid option 'x')",
            ),
            (
                "cjson.decode_array_with_array_mt(1)",
                "ERR user_script:1: bad argument #1 to 'decode_array_with_array_mt' (invalid option '1')",
            ),
            ("cjson.decode_array_with_array_mt('off')", "false"),
            (
                "cjson.decode_array_with_array_mt(false,1)",
                "ERR user_script:1: bad argument #2 to 'decode_array_with_array_mt' (found too many arguments)",
            ),
            ("cjson.decode_array_with_array_mt(false)", "false"),
            ("getmetatable(cjson.decode('[]'))", "nil"),
            ("local m=setmetatable({},{}) ;; cjson.encode(m)", r#""{}""#),
        ]);
    }

    #[test]
    fn new_gives_a_library_with_its_own_settings() {
        check(&[
            (
                "local c=cjson.new() local r={} for k,v in pairs(c) do r[#r+1]=k..'='..type(v) end table.sort(r) ;; table.concat(r,' ')",
                r#""_NAME=string _VERSION=string decode=function decode_array_with_array_mt=function decode_invalid_numbers=function decode_max_depth=function encode=function encode_invalid_numbers=function encode_keep_buffer=function encode_max_depth=function encode_number_precision=function encode_sparse_array=function new=function null=userdata""#,
            ),
            (
                "local c=cjson.new() ;; c._NAME,c._VERSION,c.null==cjson.null,getmetatable(c)",
                r#""cjson" "2.1.0" true nil"#,
            ),
            (
                "local c=cjson.new() ;; c.decode('[')",
                "ERR user_script:1: Expected value but found T_END at character 2",
            ),
            (
                "local c=cjson.new() ;; c.encode()",
                "ERR user_script:1: bad argument #1 to 'encode' (expected 1 argument)",
            ),
            (
                "local c=cjson.new() ;; c.new().decode('[')",
                "ERR user_script:1: Expected value but found T_END at character 2",
            ),
            ("local c=cjson.new() c.x=1 ;; c.x", "1"),
            ("cjson._NAME,cjson._VERSION", r#""cjson" "2.1.0""#),
            (
                "local c=cjson.new() c.decode_array_with_array_mt(true) ;; getmetatable(c.decode('[]'))~=nil, c.encode(c.decode('[]')),cjson.encode(c.decode('[]'))",
                r#"true "[]" "[]""#,
            ),
        ]);
    }

    #[test]
    fn nesting_ends_whatever_is_set() {
        check_in_thread(&[
            (
                "cjson.encode_max_depth(2147483647), cjson.decode_max_depth(2147483647)",
                "2147483647 2147483647",
            ),
            (
                "local t = {} t[1] = t ;; cjson.encode(t)",
                "ERR user_script:1: Cannot serialise, excessive nesting (5001)",
            ),
            (
                "local t = {} t.x = t ;; cjson.encode(t)",
                "ERR user_script:1: Cannot serialise, excessive nesting (4000)",
            ),
            (
                "cjson.decode(string.rep('[', 9000))",
                "ERR user_script:1: Found too many nested data structures (5001) at character 5001",
            ),
            (
                r#"cjson.decode(string.rep('{"a":', 9000))"#,
                "ERR user_script:1: Found too many nested data structures (4000) at character 19996",
            ),
            (
                "local s = string.rep('[', 5000) .. string.rep(']', 5000) ;; #cjson.encode(cjson.decode(s))",
                "10000",
            ),
        ]);
    }

    #[test]
    fn text_ends_too() {
        check(&[
            (
                "cjson.encode_sparse_array(false, 0) ;; cjson.encode({[2147483647] = 1})",
                "ERR user_script:1: Cannot serialise, the text would be too long",
            ),
            (
                "local t = {} for i = 1, 100 do t = {t, t} end ;; pcall(cjson.encode, t)",
                r#"false "Cannot serialise, the text would be too long""#,
            ),
        ]);
    }
}
