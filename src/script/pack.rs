//! The library `struct`: values as the bytes of a C structure, by a format.
//!
//! | option | value |
//! |---|---|
//! | `b B`, `h H`, `l L`, `T` | integers of 1, 2, 8 and 8 bytes; capitals have no sign |
//! | `i` or `I` with a size | integers of so many bytes, up to 32, and 4 without one |
//! | `f`, `d` | floating point numbers of 4 and 8 bytes |
//! | `s` | a string, and a zero behind it |
//! | `c` with a size | so many bytes of a string; with 0 all of it, or as many as the value before says |
//! | `x` | a zero without a value |
//! | `<`, `>`, `!` with a size | little endian (as at first), big endian, and alignment to as much |
//!
//! A format ends at a zero byte, as in C.

use mlua::{Lua, LuaString, MultiValue, Table, Value};

use super::arguments::{Arguments, Failure, VALUES_MAX, add, one, to_i64, to_u64};

/// The functions of `struct` by their names. See [`super::arguments::add`] for what they return.
pub(super) fn functions(lua: &Lua) -> mlua::Result<Table> {
    let library = lua.create_table()?;
    add(lua, &library, "pack", pack)?;
    add(lua, &library, "unpack", unpack)?;
    add(lua, &library, "size", size)?;
    Ok(library)
}

const INTEGER_SIZE_MAX: usize = 32;
const INTEGER_SIZE: usize = 4;
/// The alignment that `!` alone asks for.
const ALIGNMENT: usize = 8;

/// A format while it is read, and what its options have set so far.
struct Format<'a> {
    text: &'a [u8],
    is_big_endian: bool,
    alignment: usize,
}

/// An option with the size of its value, which is 0 if there is none, or none that is fixed.
struct Item {
    option: u8,
    size: usize,
}

impl<'a> Format<'a> {
    fn new(text: &'a [u8]) -> Self {
        let end = memchr::memchr(0, text).unwrap_or(text.len());
        Format {
            text: &text[..end],
            is_big_endian: false,
            alignment: 1,
        }
    }

    fn next(&mut self) -> Result<Option<Item>, Failure> {
        let Some((&option, rest)) = self.text.split_first() else {
            return Ok(None);
        };
        self.text = rest;
        let size = match option {
            b'b' | b'B' | b'x' => 1,
            b'h' | b'H' => 2,
            b'f' => 4,
            b'l' | b'L' | b'T' | b'd' => 8,
            b'c' => self.count()?.unwrap_or(1),
            b'i' | b'I' => self.integer_size()?,
            _ => 0,
        };
        Ok(Some(Item { option, size }))
    }

    fn integer_size(&mut self) -> Result<usize, Failure> {
        let size = self.count()?.unwrap_or(INTEGER_SIZE);
        if size <= INTEGER_SIZE_MAX {
            return Ok(size);
        }
        Err(Failure::new(format!(
            "integral size {size} is larger than limit of {INTEGER_SIZE_MAX}"
        )))
    }

    /// The number behind an option, if there is one.
    fn count(&mut self) -> Result<Option<usize>, Failure> {
        let mut count = None;
        while let Some((digit @ b'0'..=b'9', rest)) = self.text.split_first() {
            let next = count.unwrap_or(0) * 10 + usize::from(digit - b'0');
            if next > i32::MAX as usize {
                return Err(Failure::new("integral size overflow"));
            }
            self.text = rest;
            count = Some(next);
        }
        Ok(count)
    }

    /// The bytes to leave out before a value that would begin at `position`.
    fn padding(&self, item: &Item, position: usize) -> usize {
        if item.size == 0 || item.option == b'c' {
            return 0;
        }
        // Sizes need not be powers of two, and then this is no alignment. But it is what Redis does.
        let alignment = item.size.min(self.alignment);
        let mask = alignment - 1;
        alignment.wrapping_sub(position & mask) & mask
    }

    /// Does what an option without a value says.
    fn control(&mut self, option: u8, arguments: &Arguments<'_>) -> Result<(), Failure> {
        match option {
            b' ' => {}
            b'<' => self.is_big_endian = false,
            b'>' => self.is_big_endian = true,
            b'!' => self.alignment = self.read_alignment()?,
            _ => {
                let why = [b"invalid format option '", &[option][..], b"'"].concat();
                return Err(arguments.bad(1, why));
            }
        }
        Ok(())
    }

    fn read_alignment(&mut self) -> Result<usize, Failure> {
        let alignment = self.count()?.unwrap_or(ALIGNMENT);
        match alignment.is_power_of_two() {
            true => Ok(alignment),
            false => Err(Failure::new(format!(
                "alignment {alignment} is not a power of 2"
            ))),
        }
    }

    /// Writes the low bytes of an integer. Of more than 8 those above are zeros, also with a negative one.
    fn put_integer(&self, number: f64, size: usize, out: &mut Vec<u8>) {
        let value = match number < 0.0 {
            true => to_i64(number) as u64,
            false => to_u64(number),
        };
        let start = out.len();
        out.extend_from_slice(&value.to_le_bytes()[..size.min(8)]);
        out.resize(start + size, 0);
        if self.is_big_endian {
            out[start..].reverse();
        }
    }

    fn get_integer(&self, bytes: &[u8], is_signed: bool) -> f64 {
        let shift_in = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        let value = match self.is_big_endian {
            true => bytes.iter().fold(0, shift_in),
            false => bytes.iter().rev().fold(0, shift_in),
        };
        if !is_signed {
            return value as f64;
        }
        // The bits from that of the sign on. With more than 8 bytes the place is counted anew, as processors shift.
        let signs = u64::MAX.wrapping_shl((bytes.len() as u32).wrapping_mul(8).wrapping_sub(1));
        match value & signs {
            0 => value as i64 as f64,
            _ => (value | signs) as i64 as f64,
        }
    }

    fn put_float(&self, number: f64, size: usize, out: &mut Vec<u8>) {
        let start = out.len();
        match size {
            4 => out.extend_from_slice(&(number as f32).to_le_bytes()),
            _ => out.extend_from_slice(&number.to_le_bytes()),
        }
        if self.is_big_endian {
            out[start..].reverse();
        }
    }

    fn get_float(&self, bytes: &[u8]) -> f64 {
        let (mut four, mut eight) = ([0; 4], [0; 8]);
        if bytes.len() == four.len() {
            four.copy_from_slice(bytes);
            return f64::from(match self.is_big_endian {
                true => f32::from_be_bytes(four),
                false => f32::from_le_bytes(four),
            });
        }
        eight.copy_from_slice(bytes);
        match self.is_big_endian {
            true => f64::from_be_bytes(eight),
            false => f64::from_le_bytes(eight),
        }
    }
}

fn pack(arguments: &Arguments<'_>) -> Result<MultiValue, Failure> {
    let text = arguments.string(1)?;
    let text = text.as_bytes();
    let mut format = Format::new(&text);
    let values = Passed { arguments };
    let mut out = Vec::new();
    let mut at = 2;
    while let Some(item) = format.next()? {
        let padding = format.padding(&item, out.len());
        out.resize(out.len() + padding, 0);
        match item.option {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                format.put_integer(values.number(at)?, item.size, &mut out);
            }
            b'f' | b'd' => format.put_float(values.number(at)?, item.size, &mut out),
            b'c' => values.put_bytes(at, item.size, &mut out)?,
            b's' => {
                out.extend_from_slice(&values.string(at)?.as_bytes());
                out.push(0);
            }
            b'x' => out.push(0),
            option => format.control(option, arguments)?,
        }
        at += usize::from(b"bBhHlLTiIfdcs".contains(&item.option));
    }
    one(Value::String(arguments.lua.create_string(out)?))
}

/// The values to pack. Redis puts a nil behind them, so that the first that is missing is nil and not nothing.
struct Passed<'a> {
    arguments: &'a Arguments<'a>,
}

impl Passed<'_> {
    fn check(&self, at: usize, expected: &str) -> Result<(), Failure> {
        match at > self.arguments.len() {
            true => Err(self
                .arguments
                .bad(at, format!("{expected} expected, got nil"))),
            false => Ok(()),
        }
    }

    fn number(&self, at: usize) -> Result<f64, Failure> {
        self.check(at, "number")?;
        self.arguments.number(at)
    }

    fn string(&self, at: usize) -> Result<LuaString, Failure> {
        self.check(at, "string")?;
        self.arguments.string(at)
    }

    fn put_bytes(&self, at: usize, size: usize, out: &mut Vec<u8>) -> Result<(), Failure> {
        let value = self.string(at)?;
        let bytes = value.as_bytes();
        let size = if size == 0 { bytes.len() } else { size };
        let Some(part) = bytes.get(..size) else {
            // The next one is blamed, as in Redis.
            return Err(self.arguments.bad(at + 1, "string too short"));
        };
        out.extend_from_slice(part);
        Ok(())
    }
}

fn unpack(arguments: &Arguments<'_>) -> Result<MultiValue, Failure> {
    let (text, data) = (arguments.string(1)?, arguments.string(2)?);
    let start = arguments.integer_or(3, 1)?;
    if start == 0 {
        return Err(arguments.bad(3, "offset must be 1 or greater"));
    }
    let text = text.as_bytes();
    let mut reader = Reader {
        arguments,
        format: Format::new(&text),
        data: &data.as_bytes(),
        // A negative one is far behind every end.
        position: start.wrapping_sub(1) as usize,
        results: MultiValue::new(),
    };
    while let Some(item) = reader.format.next()? {
        reader.read(&item)?;
    }
    let next = reader.position.wrapping_add(1) as i64;
    reader.results.push_back(Value::Number(next as f64));
    Ok(reader.results)
}

/// Data while it is taken apart.
struct Reader<'a> {
    arguments: &'a Arguments<'a>,
    format: Format<'a>,
    data: &'a [u8],
    position: usize,
    results: MultiValue,
}

impl<'a> Reader<'a> {
    fn read(&mut self, item: &Item) -> Result<(), Failure> {
        let padding = self.format.padding(item, self.position);
        self.position = self.position.wrapping_add(padding);
        let bytes = self.part(item.size)?;
        if self.arguments.len() + self.results.len() + 2 > VALUES_MAX {
            return Err(Failure::new("stack overflow (too many results)"));
        }
        let mut taken = item.size;
        match item.option {
            b'b' | b'h' | b'l' | b'i' => self.push_number(self.format.get_integer(bytes, true)),
            b'B' | b'H' | b'L' | b'T' | b'I' => {
                self.push_number(self.format.get_integer(bytes, false));
            }
            b'f' | b'd' => self.push_number(self.format.get_float(bytes)),
            b'x' => {}
            b'c' if item.size == 0 => {
                taken = self.size_before()?;
                self.push_bytes(self.part(taken)?)?;
            }
            b'c' => self.push_bytes(bytes)?,
            b's' => {
                let rest = &self.data[self.position..];
                let Some(end) = memchr::memchr(0, rest) else {
                    return Err(Failure::new("unfinished string in data"));
                };
                self.push_bytes(&rest[..end])?;
                taken = end + 1;
            }
            option => self.format.control(option, self.arguments)?,
        }
        self.position = self.position.wrapping_add(taken);
        Ok(())
    }

    /// The next `size` bytes. Options without a size ask for none, which must not lie behind the end either.
    fn part(&self, size: usize) -> Result<&'a [u8], Failure> {
        let end = self.position.checked_add(size);
        let part = end.and_then(|end| self.data.get(self.position..end));
        part.ok_or_else(|| self.arguments.bad(2, "data string too short"))
    }

    /// The size that the value before is, which is taken back.
    fn size_before(&mut self) -> Result<usize, Failure> {
        let size = match self.results.pop_back() {
            Some(value) => self.arguments.lua.coerce_number(value)?,
            None => None,
        };
        let size = size.ok_or_else(|| Failure::new("format 'c0' needs a previous size"))?;
        Ok(to_u64(size) as usize)
    }

    fn push_number(&mut self, number: f64) {
        self.results.push_back(Value::Number(number));
    }

    fn push_bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let string = self.arguments.lua.create_string(bytes)?;
        self.results.push_back(Value::String(string));
        Ok(())
    }
}

fn size(arguments: &Arguments<'_>) -> Result<MultiValue, Failure> {
    let text = arguments.string(1)?;
    let text = text.as_bytes();
    let mut format = Format::new(&text);
    let mut position = 0;
    while let Some(item) = format.next()? {
        position += format.padding(&item, position);
        match item.option {
            b's' => return Err(arguments.bad(1, "option 's' has no fixed size")),
            b'c' if item.size == 0 => {
                return Err(arguments.bad(1, "option 'c0' has no fixed size"));
            }
            // Letters and digits that mean nothing count nothing.
            option if option.is_ascii_alphanumeric() => {}
            option => format.control(option, arguments)?,
        }
        // Each option adds less than 2^31.
        position += item.size;
    }
    one(Value::Number(position as f64))
}

#[cfg(test)]
mod tests {
    use crate::script::snippet::check;

    #[test]
    fn packs_and_unpacks_as_redis_does() {
        check(&[
            (
                "struct.pack()",
                "ERR user_script:1: bad argument #1 to 'pack' (string expected, got no value)",
            ),
            ("struct.pack('')", r#""""#),
            (
                "struct.pack(1)",
                "ERR user_script:1: bad argument #1 to 'pack' (invalid format option '1')",
            ),
            (
                "struct.pack({})",
                "ERR user_script:1: bad argument #1 to 'pack' (string expected, got table)",
            ),
            (
                "struct.pack('b','x')",
                "ERR user_script:1: bad argument #2 to 'pack' (number expected, got string)",
            ),
            (
                "struct.pack('b',nil)",
                "ERR user_script:1: bad argument #2 to 'pack' (number expected, got nil)",
            ),
            (
                "struct.pack('b',{})",
                "ERR user_script:1: bad argument #2 to 'pack' (number expected, got table)",
            ),
            (
                "struct.pack('bb',1)",
                "ERR user_script:1: bad argument #3 to 'pack' (number expected, got nil)",
            ),
            ("struct.pack('b',1,2)", r#""\001""#),
            ("struct.pack('b','12')", r#""\012""#),
            (
                "struct.pack('b',300),struct.pack('b',-300),struct.pack('b',1.9),struct.pack('b',-1.9),struct.pack('B',255),struct.pack('h',-2),struct.pack('>h',-2),struct.pack('H',65535)",
                r#""," "\212" "\001" "\255" "\255" "\254\255" "\255\254" "\255\255""#,
            ),
            (
                "struct.pack('l',-1),struct.pack('L',2^63),struct.pack('L',2^64),struct.pack('L',2^63+2^11),struct.pack('L',1e300),struct.pack('l',-1e300),struct.pack('L',0/0),struct.pack('L',1/0),struct.pack('L',-1/0),struct.pack('l',-2^63),struct.pack('L',2^64-2048),struct.pack('L',2^65)",
                r#""\255\255\255\255\255\255\255\255" "\000\000\000\000\000\000\000\128" "\000\000\000\000\000\000\000\000" "\000\008\000\000\000\000\000\128" "\000\000\000\000\000\000\000\000" "\000\000\000\000\000\000\000\128" "\000\000\000\000\000\000\000\128" "\000\000\000\000\000\000\000\000" "\000\000\000\000\000\000\000\128" "\000\000\000\000\000\000\000\128" "\000\248\255\255\255\255\255\255" "\000\000\000\000\000\000\000\000""#,
            ),
            ("struct.pack('i0',5)", r#""""#),
            ("struct.pack('I0I0',5,6)", r#""""#),
            (
                "struct.pack('i33',5)",
                "ERR user_script:1: integral size 33 is larger than limit of 32",
            ),
            (
                "struct.pack('i99999999999',5)",
                "ERR user_script:1: integral size overflow",
            ),
            (
                "struct.pack('c99999999999','a')",
                "ERR user_script:1: integral size overflow",
            ),
            (
                "struct.pack('c','abc'),struct.pack('c1','abc'),struct.pack('c2','abc'),struct.pack('c0','abc'),struct.pack('c3','abc')",
                r#""a" "a" "ab" "abc" "abc""#,
            ),
            (
                "struct.pack('c4','abc')",
                "ERR user_script:1: bad argument #3 to 'pack' (string too short)",
            ),
            (
                "struct.pack('c',''),1",
                "ERR user_script:1: bad argument #3 to 'pack' (string too short)",
            ),
            ("struct.pack('c0','')", r#""""#),
            (
                r#"struct.pack('c',1234),struct.pack('s',1.5),struct.pack('s','a\0b')"#,
                r#""1" "1.5\000" "a\000b\000""#,
            ),
            (
                "struct.pack('c')",
                "ERR user_script:1: bad argument #2 to 'pack' (string expected, got nil)",
            ),
            (
                "struct.pack('s')",
                "ERR user_script:1: bad argument #2 to 'pack' (string expected, got nil)",
            ),
            (
                "struct.pack('s',{})",
                "ERR user_script:1: bad argument #2 to 'pack' (string expected, got table)",
            ),
            (
                "struct.pack('s',true)",
                "ERR user_script:1: bad argument #2 to 'pack' (string expected, got boolean)",
            ),
            (
                "struct.pack('s',nil)",
                "ERR user_script:1: bad argument #2 to 'pack' (string expected, got nil)",
            ),
            (
                "struct.pack('f',1.1),struct.pack('d',1.1),struct.pack('>f',1.1),struct.pack('>d',1.1),struct.pack('f',1e300),struct.pack('f',0/0),struct.pack('d',0/0),struct.pack('f','2')",
                r#""\205\204\140?" "\154\153\153\153\153\153\241?" "?\140\204\205" "?\241\153\153\153\153\153\154" "\000\000\128\127" "\000\000\192\255" "\000\000\000\000\000\000\248\255" "\000\000\000@""#,
            ),
            (
                "struct.pack('f','x')",
                "ERR user_script:1: bad argument #2 to 'pack' (number expected, got string)",
            ),
            (
                "struct.pack('d')",
                "ERR user_script:1: bad argument #2 to 'pack' (number expected, got nil)",
            ),
            (
                "struct.pack('x'),struct.pack('xxx'),struct.pack('x5')",
                "ERR user_script:1: bad argument #1 to 'pack' (invalid format option '5')",
            ),
            ("struct.pack('bxb',1,2)", r#""\001\000\002""#),
            (
                "struct.pack('!bi',1,2),struct.pack('!4bd',1,2),struct.pack('!bd',1,2),struct.pack('!2bi',1,2),struct.pack('!1bi',1,2),struct.pack('!16bd',1,2),struct.pack('!bi3b',1,2,3),struct.pack('!8bi5',1,2),struct.pack('!bc3i',1,'abc',5),struct.pack('!bsi',1,'a',2)",
                r#""\001\000\000\000\002\000\000\000" "\001\000\000\000\000\000\000\000\000\000\000@" "\001\000\000\000\000\000\000\000\000\000\000\000\000\000\000@" "\001\000\002\000\000\000" "\001\002\000\000\000" "\001\000\000\000\000\000\000\000\000\000\000\000\000\000\000@" "\001\000\000\002\000\000\003" "\001\000\000\000\000\002\000\000\000\000" "\001abc\005\000\000\000" "\001a\000\000\002\000\000\000""#,
            ),
            (
                "struct.pack('!0b',1)",
                "ERR user_script:1: alignment 0 is not a power of 2",
            ),
            (
                "struct.pack('!3b',1)",
                "ERR user_script:1: alignment 3 is not a power of 2",
            ),
            (
                "struct.pack('!6b',1)",
                "ERR user_script:1: alignment 6 is not a power of 2",
            ),
            (
                "struct.pack('!99999999999b',1)",
                "ERR user_script:1: integral size overflow",
            ),
            ("struct.pack('>',1)", r#""""#),
            (
                "struct.pack('=b',1)",
                "ERR user_script:1: bad argument #1 to 'pack' (invalid format option '=')",
            ),
            (
                "struct.pack('@b',1)",
                "ERR user_script:1: bad argument #1 to 'pack' (invalid format option '@')",
            ),
            (r#"struct.pack('b\0b',1)"#, r#""\001""#),
            (
                "struct.pack('b;',1)",
                "ERR user_script:1: bad argument #1 to 'pack' (invalid format option ';')",
            ),
            (
                "struct.pack('5b',1)",
                "ERR user_script:1: bad argument #1 to 'pack' (invalid format option '5')",
            ),
            (
                "struct.pack('%',1)",
                "ERR user_script:1: bad argument #1 to 'pack' (invalid format option '%')",
            ),
            (
                "struct.pack('b z',1)",
                "ERR user_script:1: bad argument #1 to 'pack' (invalid format option 'z')",
            ),
            (
                "struct.pack('<i>i<i',1,1,1)",
                r#""\001\000\000\000\000\000\000\001\001\000\000\000""#,
            ),
            (
                "struct.pack('bz')",
                "ERR user_script:1: bad argument #2 to 'pack' (number expected, got nil)",
            ),
            (
                "struct.pack('i33')",
                "ERR user_script:1: integral size 33 is larger than limit of 32",
            ),
            (
                "struct.pack('i3i33','x')",
                "ERR user_script:1: bad argument #2 to 'pack' (number expected, got string)",
            ),
            (
                "struct.unpack()",
                "ERR user_script:1: bad argument #1 to 'unpack' (string expected, got no value)",
            ),
            (
                "struct.unpack('b')",
                "ERR user_script:1: bad argument #2 to 'unpack' (string expected, got no value)",
            ),
            (
                "struct.unpack('b',{})",
                "ERR user_script:1: bad argument #2 to 'unpack' (string expected, got table)",
            ),
            ("struct.unpack('b',5)", "53 2"),
            ("struct.unpack('','abc')", "1"),
            ("struct.unpack('','abc',3)", "3"),
            ("struct.unpack('','abc',30)", "30"),
            (
                "struct.unpack('','abc',0)",
                "ERR user_script:1: bad argument #3 to 'unpack' (offset must be 1 or greater)",
            ),
            ("struct.unpack('','abc',-1)", "-1"),
            (
                "struct.unpack('b','abc',0)",
                "ERR user_script:1: bad argument #3 to 'unpack' (offset must be 1 or greater)",
            ),
            (
                "struct.unpack('b','abc',-1)",
                "ERR user_script:1: bad argument #2 to 'unpack' (data string too short)",
            ),
            (
                "struct.unpack('b','abc','x')",
                "ERR user_script:1: bad argument #3 to 'unpack' (number expected, got string)",
            ),
            (
                "struct.unpack('b','abc',{})",
                "ERR user_script:1: bad argument #3 to 'unpack' (number expected, got table)",
            ),
            ("struct.unpack('b','abc',nil)", "97 2"),
            ("struct.unpack('b','abc','2')", "98 3"),
            ("struct.unpack('b','abc',2.9)", "98 3"),
            (
                "struct.unpack('b','abc',2^31)",
                "ERR user_script:1: bad argument #2 to 'unpack' (data string too short)",
            ),
            (
                "struct.unpack('b','abc',2^63)",
                "ERR user_script:1: bad argument #2 to 'unpack' (data string too short)",
            ),
            (
                "struct.unpack('b','abc',-2^63)",
                "ERR user_script:1: bad argument #2 to 'unpack' (data string too short)",
            ),
            (
                "struct.unpack('b','abc',0/0)",
                "ERR user_script:1: bad argument #2 to 'unpack' (data string too short)",
            ),
            (
                "struct.unpack('bbbb','abc')",
                "ERR user_script:1: bad argument #2 to 'unpack' (data string too short)",
            ),
            (
                r#"struct.unpack('bBhHlLT',string.rep('\255',60))"#,
                "-1 255 -1 65535 -1 1.8446744073709552e+19 1.8446744073709552e+19 31",
            ),
            (
                r#"struct.unpack('>bBhHlLT','\128\128\128\1\128\1\128\1\1\1\1\1\1\2\128\1\1\1\1\1\1\2\128\1\1\1\1\1\1\2')"#,
                "-128 128 -32767 32769 -9.2230894580546273e+18 9.2236546156549243e+18 9.2236546156549243e+18 31",
            ),
            (
                r#"struct.unpack('i1i2i3i4i5i6i7i8',string.rep('\255',60))"#,
                "-1 -1 -1 -1 -1 -1 -1 -1 37",
            ),
            (
                r#"struct.unpack('i1i2i3i4i5i6i7i8',string.rep('\127',60))"#,
                "127 32639 8355711 2139062143 547599908735 140185576636287 35887507618889600 9.1872019504357376e+18 37",
            ),
            (
                r#"struct.unpack('I1I2I3I4I5I6I7I8',string.rep('\255',60))"#,
                "255 65535 16777215 4294967295 1099511627775 281474976710655 72057594037927936 1.8446744073709552e+19 37",
            ),
            (
                r#"struct.unpack('i9','\1\2\3\4\5\6\7\8\9'),struct.unpack('>i9','\1\2\3\4\5\6\7\8\9')"#,
                "-127 -119 10",
            ),
            (
                r#"struct.unpack('i9',string.rep('\255',9)),struct.unpack('i16',string.rep('\255',16)),struct.unpack('>i16','\128'..string.rep('\1',15)),struct.unpack('I16',string.rep('\255',16)),struct.unpack('i32',string.rep('\200',32)),struct.unpack('>i12',string.rep('\200',12))"#,
                "-1 -1 72340172838076672 1.8446744073709552e+19 -3.9787095060942172e+18 -926365496 13",
            ),
            (
                r#"struct.unpack('i9','\127\0\0\0\0\0\0\0\0'),struct.unpack('i9','\128\0\0\0\0\0\0\0\0'),struct.unpack('i10','\0\128\0\0\0\0\0\0\0\0'),struct.unpack('i16','\0\0\0\0\0\0\0\128\0\0\0\0\0\0\0\0')"#,
                "127 -128 -32768 -9.2233720368547758e+18 17",
            ),
            ("struct.unpack('i0','abc')", "0 1"),
            ("struct.unpack('I0','abc')", "0 1"),
            (
                "struct.unpack('I33','abc')",
                "ERR user_script:1: integral size 33 is larger than limit of 32",
            ),
            (
                r#"struct.unpack('f','\0\0\128\63'),struct.unpack('>f','\63\128\0\0'),struct.unpack('d','\0\0\0\0\0\0\240\63'),struct.unpack('f','\0\0\192\127')"#,
                "1 1 1 nan 5",
            ),
            (
                "struct.unpack('d','abc')",
                "ERR user_script:1: bad argument #2 to 'unpack' (data string too short)",
            ),
            (
                "struct.unpack('c','abc'),struct.unpack('c2','abc')",
                r#""a" "ab" 3"#,
            ),
            ("struct.unpack('c3','abc')", r#""abc" 4"#),
            (
                "struct.unpack('c4','abc')",
                "ERR user_script:1: bad argument #2 to 'unpack' (data string too short)",
            ),
            (r#"struct.unpack('bc0','\2abc')"#, r#""ab" 4"#),
            (
                r#"struct.unpack('bc0','\4abc')"#,
                "ERR user_script:1: bad argument #2 to 'unpack' (data string too short)",
            ),
            (
                r#"struct.unpack('bc0','\255abc')"#,
                "ERR user_script:1: bad argument #2 to 'unpack' (data string too short)",
            ),
            (
                r#"struct.unpack('bc0c0','\2abc')"#,
                "ERR user_script:1: format 'c0' needs a previous size",
            ),
            (r#"struct.unpack('bxc0','\2abc')"#, r#""bc" 5"#),
            (r#"struct.unpack('b c0','\2abc')"#, r#""ab" 4"#),
            ("struct.unpack('c1c0','2abc')", r#""ab" 4"#),
            (
                "struct.unpack('c1c0','xabc')",
                "ERR user_script:1: format 'c0' needs a previous size",
            ),
            (r#"struct.unpack('sc0','2\0abc')"#, r#""ab" 5"#),
            (r#"struct.unpack('sc0','1.9\0abc')"#, r#""a" 6"#),
            (
                r#"struct.unpack('sc0','-1\0abc')"#,
                "ERR user_script:1: bad argument #2 to 'unpack' (data string too short)",
            ),
            (
                r#"struct.unpack('sc0','nan\0abc')"#,
                "ERR user_script:1: bad argument #2 to 'unpack' (data string too short)",
            ),
            (r#"struct.unpack('sc0','1e30\0abc')"#, r#""" 6"#),
            (r#"struct.unpack('sc0','-0.5\0abc')"#, r#""" 6"#),
            (
                r#"struct.unpack('fc0','\0\0\192\127abc')"#,
                "ERR user_script:1: bad argument #2 to 'unpack' (data string too short)",
            ),
            (
                "struct.unpack('dc0',struct.pack('d',2.7)..'abc')",
                r#""ab" 11"#,
            ),
            (r#"struct.unpack('bbc0','\1\2abc')"#, r#"1 "ab" 5"#),
            (
                "struct.unpack('c0','abc')",
                "ERR user_script:1: format 'c0' needs a previous size",
            ),
            (r#"struct.unpack('s','abc\0')"#, r#""abc" 5"#),
            (r#"struct.unpack('ss','abc\0d\0')"#, r#""abc" "d" 7"#),
            (
                r#"struct.unpack('ss','abc\0d')"#,
                "ERR user_script:1: unfinished string in data",
            ),
            (r#"struct.unpack('s','\0')"#, r#""" 2"#),
            (
                "struct.unpack('s','')",
                "ERR user_script:1: unfinished string in data",
            ),
            (
                "struct.unpack('x','')",
                "ERR user_script:1: bad argument #2 to 'unpack' (data string too short)",
            ),
            ("struct.unpack('x','a')", "2"),
            (r#"struct.unpack('!bi','\1\0\0\0\2\0\0\0')"#, "1 2 9"),
            (r#"struct.unpack('!bi','\1\0\0\0\2\0\0\0',2)"#, "0 2 9"),
            (
                r#"struct.unpack('!bi','\1')"#,
                "ERR user_script:1: bad argument #2 to 'unpack' (data string too short)",
            ),
            (
                r#"struct.unpack('!i','\1\1',3)"#,
                "ERR user_script:1: bad argument #2 to 'unpack' (data string too short)",
            ),
            (
                "struct.unpack('z','abc')",
                "ERR user_script:1: bad argument #1 to 'unpack' (invalid format option 'z')",
            ),
            (
                "struct.unpack('bz','abc')",
                "ERR user_script:1: bad argument #1 to 'unpack' (invalid format option 'z')",
            ),
            (
                "struct.unpack('!3b','abc')",
                "ERR user_script:1: alignment 3 is not a power of 2",
            ),
            (r#"struct.unpack('b\0z','abc')"#, "97 2"),
            (
                "struct.unpack(' < > = b','abc')",
                "ERR user_script:1: bad argument #1 to 'unpack' (invalid format option '=')",
            ),
            (
                "struct.unpack('5','abc')",
                "ERR user_script:1: bad argument #1 to 'unpack' (invalid format option '5')",
            ),
            (
                "struct.size()",
                "ERR user_script:1: bad argument #1 to 'size' (string expected, got no value)",
            ),
            (
                "struct.size({})",
                "ERR user_script:1: bad argument #1 to 'size' (string expected, got table)",
            ),
            ("struct.size('')", "0"),
            ("struct.size(5)", "0"),
            (
                "struct.size('b'),struct.size('B'),struct.size('h'),struct.size('H'),struct.size('l'),struct.size('L'),struct.size('T'),struct.size('f'),struct.size('d'),struct.size('x'),struct.size('c'),struct.size('c7'),struct.size('i'),struct.size('I'),struct.size('i0'),struct.size('i7')",
                "1 1 2 2 8 8 8 4 8 1 1 7 4 4 0 7",
            ),
            ("struct.size('z')", "0"),
            ("struct.size('bz')", "1"),
            ("struct.size('b5')", "1"),
            (
                "struct.size(';')",
                "ERR user_script:1: bad argument #1 to 'size' (invalid format option ';')",
            ),
            (
                "struct.size('@')",
                "ERR user_script:1: bad argument #1 to 'size' (invalid format option '@')",
            ),
            (
                "struct.size('=b')",
                "ERR user_script:1: bad argument #1 to 'size' (invalid format option '=')",
            ),
            (r#"struct.size('b\0z')"#, "1"),
            (
                "struct.size('bs')",
                "ERR user_script:1: bad argument #1 to 'size' (option 's' has no fixed size)",
            ),
            (
                "struct.size('bc0')",
                "ERR user_script:1: bad argument #1 to 'size' (option 'c0' has no fixed size)",
            ),
            (
                "struct.size('!bd'),struct.size('!4bd'),struct.size('!bx'),struct.size('!bi3'),struct.size('!8bi32')",
                "16 12 2 6 40",
            ),
            (
                "struct.size('!3')",
                "ERR user_script:1: alignment 3 is not a power of 2",
            ),
            (
                "struct.size('i33')",
                "ERR user_script:1: integral size 33 is larger than limit of 32",
            ),
            ("struct.size('b','x',3)", "1"),
            (
                "struct.pack(string.rep('x',20)):byte(1,-1)",
                "0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0",
            ),
        ]);
    }
}
