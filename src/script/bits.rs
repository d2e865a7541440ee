//! The library `bit`: operations on the 32 low bits of numbers. Results have a sign.

use mlua::{Lua, MultiValue, Table, Value};

use super::arguments::{Arguments, Failure, add, one};

/// The functions of `bit` by their names. See [`super::arguments::add`] for what they return.
pub(super) fn functions(lua: &Lua) -> mlua::Result<Table> {
    let library = lua.create_table()?;
    add(lua, &library, "tohex", tohex)?;
    for (name, operation) in UNARY {
        add(lua, &library, name, move |arguments| {
            number(operation(bits(arguments, 1)?))
        })?;
    }
    for (name, operation) in FOLDED {
        add(lua, &library, name, move |arguments| {
            fold(arguments, operation)
        })?;
    }
    for (name, operation) in SHIFTS {
        add(lua, &library, name, move |arguments| {
            let (value, by) = (bits(arguments, 1)?, bits(arguments, 2)?);
            number(operation(value, by & 31))
        })?;
    }
    Ok(library)
}

type Unary = fn(u32) -> u32;
type Binary = fn(u32, u32) -> u32;

const UNARY: [(&str, Unary); 3] = [
    ("tobit", |value| value),
    ("bnot", |value| !value),
    ("bswap", u32::swap_bytes),
];

const FOLDED: [(&str, Binary); 3] = [
    ("band", |a, b| a & b),
    ("bor", |a, b| a | b),
    ("bxor", |a, b| a ^ b),
];

const SHIFTS: [(&str, Binary); 5] = [
    ("lshift", u32::wrapping_shl),
    ("rshift", u32::wrapping_shr),
    ("arshift", |value, by| {
        (value as i32).wrapping_shr(by) as u32
    }),
    ("rol", u32::rotate_left),
    ("ror", u32::rotate_right),
];

/// The low bits of an argument. Adding 1.5 * 2^52 rounds a number to whole ones, to even, and leaves its low bits those of the
/// double; what is much larger, and what is no finite number, gives what then stands there.
fn bits(arguments: &Arguments<'_>, at: usize) -> Result<u32, Failure> {
    const ROUNDING: f64 = 6_755_399_441_055_744.0;
    Ok((arguments.number(at)? + ROUNDING).to_bits() as u32)
}

fn number(bits: u32) -> Result<MultiValue, Failure> {
    one(Value::Integer(i64::from(bits as i32)))
}

/// Behind the first, arguments are looked at from the last: which of two wrong ones is told of hangs on it.
fn fold(arguments: &Arguments<'_>, operation: Binary) -> Result<MultiValue, Failure> {
    let mut value = bits(arguments, 1)?;
    for at in (2..=arguments.len()).rev() {
        value = operation(value, bits(arguments, at)?);
    }
    number(value)
}

/// As many of the low hexadecimal digits as asked for, 8 at most; in capitals if their number is negative.
fn tohex(arguments: &Arguments<'_>) -> Result<MultiValue, Failure> {
    let value = bits(arguments, 1)?;
    let digits = match arguments.len() {
        0 | 1 => 8,
        _ => bits(arguments, 2)? as i32,
    };
    let text = match digits < 0 {
        true => format!("{value:08X}"),
        false => format!("{value:08x}"),
    };
    let count = digits.unsigned_abs().min(8) as usize;
    let text = arguments.lua.create_string(&text[8 - count..])?;
    one(Value::String(text))
}

#[cfg(test)]
mod tests {
    use crate::script::snippet::check;

    #[test]
    fn operations_are_those_of_redis() {
        check(&[
            (
                "bit.tobit(),1",
                "ERR user_script:1: bad argument #1 to 'tobit' (number expected, got no value)",
            ),
            (
                "bit.tobit('0x10'),bit.tobit(' 5 '),bit.tobit('1e3')",
                "16 5 1000",
            ),
            (
                "bit.tobit('x')",
                "ERR user_script:1: bad argument #1 to 'tobit' (number expected, got string)",
            ),
            (
                "bit.tobit(nil)",
                "ERR user_script:1: bad argument #1 to 'tobit' (number expected, got nil)",
            ),
            (
                "bit.tobit({})",
                "ERR user_script:1: bad argument #1 to 'tobit' (number expected, got table)",
            ),
            (
                "bit.tobit(true)",
                "ERR user_script:1: bad argument #1 to 'tobit' (number expected, got boolean)",
            ),
            ("bit.tobit(1,2,3)", "1"),
            (
                "bit.tobit(0/0),bit.tobit(1/0),bit.tobit(-1/0),bit.tobit(2^51),bit.tobit(2^52),bit.tobit(2^53+2),bit.tobit(2^60),bit.tobit(-2^52),bit.tobit(1e300),bit.tobit(-1.5),bit.tobit(-0.5),bit.tobit(0.5),bit.tobit(2^52+1),bit.tobit(2^51+1),bit.tobit(2^63+12345)",
                "0 0 0 0 0 1 0 0 -2013235812 -2 0 0 0 0 6",
            ),
            (
                "bit.bnot(),1",
                "ERR user_script:1: bad argument #1 to 'bnot' (number expected, got no value)",
            ),
            ("bit.bnot(5),bit.bnot(-1),bit.bnot('7')", "-6 0 -8"),
            (
                "bit.bswap(0x12345678),bit.bswap('x')",
                "ERR user_script:1: bad argument #1 to 'bswap' (number expected, got string)",
            ),
            ("bit.bswap(0x12345678)", "2018915346"),
            ("bit.band(1),bit.bor(1),bit.bxor(1)", "1 1 1"),
            (
                "bit.band(7,'x')",
                "ERR user_script:1: bad argument #2 to 'band' (number expected, got string)",
            ),
            (
                "bit.band('y','x')",
                "ERR user_script:1: bad argument #1 to 'band' (number expected, got string)",
            ),
            (
                "bit.band(7,'x',{})",
                "ERR user_script:1: bad argument #3 to 'band' (number expected, got table)",
            ),
            (
                "bit.band(7,nil)",
                "ERR user_script:1: bad argument #2 to 'band' (number expected, got nil)",
            ),
            (
                "bit.band({},3)",
                "ERR user_script:1: bad argument #1 to 'band' (number expected, got table)",
            ),
            ("bit.band(0xffffffff,2^40+3,7.5)", "0"),
            ("bit.bxor(1,2,3,4,5),bit.bor(1,2,3,4,'0x100')", "1 263"),
            (
                "bit.lshift()",
                "ERR user_script:1: bad argument #1 to 'lshift' (number expected, got no value)",
            ),
            (
                "bit.lshift(1)",
                "ERR user_script:1: bad argument #2 to 'lshift' (number expected, got no value)",
            ),
            (
                "bit.lshift('x','y')",
                "ERR user_script:1: bad argument #1 to 'lshift' (number expected, got string)",
            ),
            (
                "bit.lshift(1,'y')",
                "ERR user_script:1: bad argument #2 to 'lshift' (number expected, got string)",
            ),
            (
                "bit.lshift(1,32),bit.lshift(1,33),bit.lshift(1,-1),bit.rshift(-1,0),bit.rshift(-1,31),bit.arshift(-1,31),bit.arshift(-2^31,33),bit.rol(0x12345678,8),bit.ror(0x12345678,8),bit.rol(1,0),bit.ror(1,32),bit.rol(-1,5)",
                "1 2 -2147483648 -1 1 -1 -1073741824 878082066 2014458966 1 1 -1",
            ),
            (
                "bit.tohex()",
                "ERR user_script:1: bad argument #1 to 'tohex' (number expected, got no value)",
            ),
            (
                "bit.tohex('x')",
                "ERR user_script:1: bad argument #1 to 'tohex' (number expected, got string)",
            ),
            (
                "bit.tohex(1,'x')",
                "ERR user_script:1: bad argument #2 to 'tohex' (number expected, got string)",
            ),
            (
                "bit.tohex(1,nil)",
                "ERR user_script:1: bad argument #2 to 'tohex' (number expected, got nil)",
            ),
            (
                "bit.tohex(1,{})",
                "ERR user_script:1: bad argument #2 to 'tohex' (number expected, got table)",
            ),
            (
                "bit.tohex(0xdeadbeef),bit.tohex(0xdeadbeef,3),bit.tohex(0xdeadbeef,-3),bit.tohex(0xdeadbeef,100),bit.tohex(0xdeadbeef,-100),bit.tohex(0xdeadbeef,0),bit.tohex(1,'4'),bit.tohex(1,2.5)",
                r#""deadbeef" "eef" "EEF" "deadbeef" "DEADBEEF" "" "0001" "01""#,
            ),
        ]);
    }
}
