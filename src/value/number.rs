//! Numbers as clients write and read them: which texts are numbers, and the text of each number, to the byte as in
//! Redis.
//!
//! | texts | read by | as Redis's |
//! |---|---|---|
//! | INCRBY, list indexes, integer encoding | [`parse_i64`] | `string2ll` |
//! | stream ids, SCAN cursors | [`parse_u64`] | `string2ull` |
//! | sorted set scores | [`parse_f64`] | `getDoubleFromObject` |
//! | INCRBYFLOAT | [`LongDouble::parse`] | `string2ld` |
//!
//! The texts written are built in a [`Text`] on the stack.

use std::fmt;
use std::ops::Deref;

use rustc_apfloat::{Float, Round, StatusAnd, ieee};

use super::double;
pub use super::long_double::LongDouble;

/// A short text built on the stack. The longest is a double such as `-196143144633160170000000`.
#[derive(Clone, Copy)]
pub struct Text {
    bytes: [u8; Text::CAPACITY],
    len: u8,
}

impl Text {
    /// The longest text in bytes; a double takes 25 and an integer 20.
    pub const CAPACITY: usize = 32;

    pub(super) const fn new() -> Self {
        Text {
            bytes: [0; Text::CAPACITY],
            len: 0,
        }
    }

    fn from_short(text: &str) -> Self {
        let mut out = Self::new();
        out.push(text.as_bytes());
        out
    }

    /// Appends `bytes`, cut off at the capacity.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let len = usize::from(self.len);
        let room = &mut self.bytes[len..];
        let taken = bytes.len().min(room.len());
        room[..taken].copy_from_slice(&bytes[..taken]);
        self.len += taken as u8;
    }
}

impl Deref for Text {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(self))
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}

/// Reads a signed integer written the one canonical way: no sign `+`, no leading zero, no space, no `-0`.
///
/// So the text of the result is the input again, and a value can be stored as the integer without loss.
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= MAX_I64_DIGITS => {}
        _ => return None,
    }
    let mut value = 0u64;
    for &digit in digits {
        // Nineteen digits fit in 64 unsigned bits.
        value = value * 10 + u64::from(decimal_digit(digit)?);
    }
    if negative {
        0i64.checked_sub_unsigned(value)
    } else {
        i64::try_from(value).ok()
    }
}

const MAX_I64_DIGITS: usize = 19;

fn decimal_digit(byte: u8) -> Option<u8> {
    byte.is_ascii_digit().then(|| byte - b'0')
}

/// Reads an unsigned integer as Redis reads the halves of a stream id.
///
/// Like Redis, what is no canonical integer is given to C's `strtoull`: leading spaces, a sign `+` and leading zeros are
/// accepted, and so is a `-` before leading zeros or before more than 63 bits, which wraps around. `-1` is refused.
///
/// Unlike Redis, which sees C strings, a NUL byte does not end the text.
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    match parse_i64(text) {
        Some(value) => u64::try_from(value).ok(),
        None => c_unsigned(text).filter(|_| !text.is_empty()),
    }
}

/// `strtoull` in base ten over the whole text: spaces, a sign, digits. A negative number wraps around.
fn c_unsigned(text: &[u8]) -> Option<u64> {
    let spaces = text.iter().take_while(|&&byte| is_c_space(byte)).count();
    let (negative, digits) = split_sign(&text[spaces..]);
    if digits.is_empty() {
        return None;
    }
    let value = digits.iter().try_fold(0u64, |value, &digit| {
        value
            .checked_mul(10)?
            .checked_add(u64::from(decimal_digit(digit)?))
    })?;
    Some(if negative {
        value.wrapping_neg()
    } else {
        value
    })
}

/// C's `atoi`: what there is of an integer at the beginning, cut to 32 bits; 0 if there is none.
pub fn parse_c_int(text: &[u8]) -> i32 {
    let spaces = text.iter().take_while(|&&byte| is_c_space(byte)).count();
    let (negative, digits) = split_sign(&text[spaces..]);
    let digits = digits.iter().map_while(|&byte| decimal_digit(byte));
    let value = digits.fold(0_i64, |value, digit| {
        let (value, digit) = (value.saturating_mul(10), i64::from(digit));
        value.saturating_add(if negative { -digit } else { digit })
    });
    value as i32
}

fn is_c_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn split_sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    }
}

/// A floating point text as C's `strtod` sees it, taken apart.
pub(super) enum FloatText<'a> {
    /// `inf` or `infinity` in any case; the flag is the sign.
    Infinity(bool),
    /// A decimal text without its sign that Rust and apfloat parsers understand.
    Decimal {
        /// Whether the text began with `-`.
        negative: bool,
        /// The text behind the sign.
        text: &'a str,
    },
    /// A hexadecimal text, rewritten in a bounded length that apfloat parses to the same value.
    Hexadecimal {
        /// Whether the text began with `-`.
        negative: bool,
        /// The rewritten text.
        text: Text,
    },
}

impl<'a> FloatText<'a> {
    /// Takes `text` apart when `strtod` would read it whole and Redis would accept the form: no space, no NaN.
    pub(super) fn read(text: &'a [u8]) -> Option<Self> {
        let (negative, rest) = split_sign(text);
        if rest.eq_ignore_ascii_case(b"inf") || rest.eq_ignore_ascii_case(b"infinity") {
            return Some(FloatText::Infinity(negative));
        }
        if let [b'0', b'x' | b'X', digits @ ..] = rest {
            return Some(FloatText::Hexadecimal {
                negative,
                text: shorten_hexadecimal(digits)?,
            });
        }
        let (mantissa, exponent) = split_at_exponent(rest, b'e');
        is_mantissa(mantissa, u8::is_ascii_digit).then_some(())?;
        exponent.is_none_or(is_exponent).then_some(())?;
        Some(FloatText::Decimal {
            negative,
            text: str::from_utf8(rest).ok()?,
        })
    }
}

/// Splits at the first `marker`, in either case: what is before it, and what is behind it if it is there.
fn split_at_exponent(text: &[u8], marker: u8) -> (&[u8], Option<&[u8]>) {
    match text
        .iter()
        .position(|byte| byte.eq_ignore_ascii_case(&marker))
    {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

fn is_mantissa(text: &[u8], is_digit: fn(&u8) -> bool) -> bool {
    let dots = text.iter().filter(|&&byte| byte == b'.').count();
    dots <= 1 && text.len() > dots && text.iter().all(|byte| *byte == b'.' || is_digit(byte))
}

fn is_exponent(text: &[u8]) -> bool {
    let (_, digits) = split_sign(text);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

/// Rewrites a hexadecimal float, given behind its `0x`, as `0xDDDD...p±E` with few digits.
///
/// The parser of apfloat counts digits in 16 bits and clamps the exponent before it adds the place of the dot, so long
/// texts would come out wrong or panic. Seventeen digits hold more than the 64 bits of a long double, and what follows
/// them only matters as zero or not zero, which one further digit says.
fn shorten_hexadecimal(text: &[u8]) -> Option<Text> {
    let (mantissa, exponent) = split_at_exponent(text, b'p');
    is_mantissa(mantissa, u8::is_ascii_hexdigit).then_some(())?;
    let mut power = match exponent {
        Some(exponent) => read_exponent(exponent)?,
        None => 0,
    };

    let mut out = Text::from_short("0x");
    let (mut kept, mut sticky, mut behind_dot) = (0, false, false);
    for &byte in mantissa {
        if byte == b'.' {
            behind_dot = true;
            continue;
        }
        power -= if behind_dot { 4 } else { 0 };
        if kept == 0 && byte == b'0' {
            continue;
        }
        if kept < HEXADECIMAL_DIGITS {
            kept += 1;
            out.push(&[byte]);
        } else {
            sticky |= byte != b'0';
            power += 4;
        }
    }
    if kept == 0 {
        return Some(Text::from_short("0x0p0"));
    }
    if sticky {
        out.push(b"1");
        power -= 4;
    }
    // Far beyond both ends of a long double, and still within the 16 bits of apfloat's exponent.
    let power = power.clamp(-30_000, 30_000);
    out.push(b"p");
    out.push(&format_i64(power));
    Some(out)
}

/// Significant digits kept of a hexadecimal text: the 16 of a long double, and one for the bits lost to a leading 1.
const HEXADECIMAL_DIGITS: usize = 17;

/// Reads a decimal exponent; values past 2^62 stay there, so that the place of the dot can still be added.
fn read_exponent(text: &[u8]) -> Option<i64> {
    is_exponent(text).then_some(())?;
    let (negative, digits) = split_sign(text);
    let limit = 1i64 << 62;
    let value = digits.iter().fold(0i64, |value, &digit| {
        value
            .saturating_mul(10)
            .saturating_add(i64::from(digit.wrapping_sub(b'0')))
            .min(limit)
    });
    Some(if negative { -value } else { value })
}

/// Reads a double as Redis reads scores and float arguments: everything C's `strtod` takes whole, but no leading
/// space, no empty text, no NaN, and nothing too large or so small that it becomes zero.
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    let (negative, magnitude) = match FloatText::read(text)? {
        FloatText::Infinity(negative) => (negative, f64::INFINITY),
        FloatText::Decimal { negative, text } => (negative, parse_decimal(text)?),
        FloatText::Hexadecimal { negative, text } => (negative, parse_hexadecimal(&text)?),
    };
    Some(if negative { -magnitude } else { magnitude })
}

fn parse_decimal(text: &str) -> Option<f64> {
    let value: f64 = text.parse().ok()?;
    let overflow = value.is_infinite();
    let underflow = value == 0.0 && has_digit_above_zero(text);
    (!overflow && !underflow).then_some(value)
}

/// Tells whether the mantissa of a decimal text is not zero.
pub(super) fn has_digit_above_zero(text: &str) -> bool {
    text.bytes()
        .take_while(|byte| !byte.eq_ignore_ascii_case(&b'e'))
        .any(|byte| matches!(byte, b'1'..=b'9'))
}

fn parse_hexadecimal(text: &Text) -> Option<f64> {
    let is_zero = &**text == b"0x0p0";
    let value = round_hexadecimal(text)?;
    (value.is_finite() && (value != 0.0 || is_zero)).then_some(value)
}

/// The double next to a hexadecimal text that was shortened.
fn round_hexadecimal(text: &Text) -> Option<f64> {
    let text = str::from_utf8(text).ok()?;
    let StatusAnd { value, .. } = ieee::Double::from_str_r(text, Round::NearestTiesToEven).ok()?;
    Some(f64::from_bits(value.to_bits() as u64))
}

/// Reads the number that `text` begins with, as C's `strtod` reads it, and its length. There is none before it has a digit.
/// What is too large is infinite, and what is too small zero.
pub fn parse_f64_prefix(text: &[u8]) -> Option<(f64, usize)> {
    let (negative, rest) = split_sign(text);
    let (magnitude, length) = parse_magnitude(rest)?;
    let value = if negative { -magnitude } else { magnitude };
    Some((value, text.len() - rest.len() + length))
}

fn parse_magnitude(text: &[u8]) -> Option<(f64, usize)> {
    let begins_with = |word: &[u8]| matches!(text.get(..word.len()), Some(head) if head.eq_ignore_ascii_case(word));
    if begins_with(b"inf") {
        let length = if begins_with(b"infinity") { 8 } else { 3 };
        return Some((f64::INFINITY, length));
    }
    if begins_with(b"nan") {
        return Some((f64::NAN, 3 + length_of_payload(&text[3..])));
    }
    if begins_with(b"0x") {
        let length = length_of_number(&text[2..], u8::is_ascii_hexdigit, b'p');
        // Without a digit behind it, the zero is all.
        return match shorten_hexadecimal(&text[2..2 + length]) {
            Some(short) => Some((round_hexadecimal(&short)?, 2 + length)),
            None => Some((0.0, 1)),
        };
    }
    let length = length_of_number(text, u8::is_ascii_digit, b'e');
    let number = str::from_utf8(&text[..length]).ok()?;
    Some((number.parse().ok()?, length))
}

/// The length of what may follow `nan`: letters, digits and underscores in brackets.
fn length_of_payload(text: &[u8]) -> usize {
    let Some((b'(', inside)) = text.split_first() else {
        return 0;
    };
    let is_inside = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let length = inside.iter().take_while(|byte| is_inside(byte)).count();
    match inside.get(length) {
        Some(b')') => length + 2,
        _ => 0,
    }
}

/// The length of digits with a dot among them, and of the exponent if it is whole. Zero without a digit.
fn length_of_number(text: &[u8], is_digit: fn(&u8) -> bool, marker: u8) -> usize {
    let digits_at = |at: usize| text[at..].iter().take_while(|byte| is_digit(byte)).count();
    let mut length = digits_at(0);
    if text.get(length) == Some(&b'.') {
        let behind = digits_at(length + 1);
        if length + behind > 0 {
            length += 1 + behind;
        }
    }
    match text.get(length) {
        Some(byte) if length > 0 && byte.eq_ignore_ascii_case(&marker) => {
            length + length_of_exponent(&text[length + 1..])
        }
        _ => length,
    }
}

/// The length of an exponent with its marker, or zero where there is no digit.
fn length_of_exponent(text: &[u8]) -> usize {
    let (_, digits) = split_sign(text);
    match digits
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count()
    {
        0 => 0,
        count => 1 + text.len() - digits.len() + count,
    }
}

/// Writes an integer in decimal.
pub fn format_i64(value: i64) -> Text {
    Text::from_short(itoa::Buffer::new().format(value))
}

/// Writes an unsigned integer in decimal.
pub fn format_u64(value: u64) -> Text {
    Text::from_short(itoa::Buffer::new().format(value))
}

/// A number with 17 significant digits, without zeros at the end: C's `%.17g`, as Redis has the scores of large sorted sets in
/// ZSCAN, and nowhere else.
#[must_use]
pub fn format_17_digits(number: f64) -> Vec<u8> {
    format_g(number, 17)
}

/// A number with so many significant digits, one at least, without zeros at the end: C's `%g` with a precision.
#[must_use]
pub fn format_g(number: f64, precision: usize) -> Vec<u8> {
    if number == 0.0 || !number.is_finite() {
        return format_f64(number).to_vec();
    }
    let text = format!("{:.*e}", precision.saturating_sub(1), number.abs());
    let Some((mantissa, exponent)) = text.split_once('e') else {
        unreachable!("an exponent was asked for");
    };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let mut digits = mantissa.replace('.', "");
    digits.truncate(digits.trim_end_matches('0').len());
    let sign = if number < 0.0 { "-" } else { "" };
    let text = match usize::try_from(exponent) {
        Ok(whole) if whole < precision => {
            let digits = format!("{digits:0<width$}", width = whole + 1);
            let (before, after) = digits.split_at(whole + 1);
            let dot = if after.is_empty() { "" } else { "." };
            format!("{sign}{before}{dot}{after}")
        }
        Err(_) if exponent >= -4 => {
            let zeros = exponent.unsigned_abs() as usize - 1;
            format!("{sign}0.{:0<zeros$}{digits}", "")
        }
        _ => {
            let (before, after) = digits.split_at(1);
            let dot = if after.is_empty() { "" } else { "." };
            format!("{sign}{before}{dot}{after}e{exponent:+03}")
        }
    };
    text.into_bytes()
}

/// Writes a double as Redis 7.2 and later reply it, in RESP2 and RESP3 alike: whole numbers of up to 62 bits as such, others
/// with as few digits as read back (`0.1`, `1e+20`, `1e-7`), and `inf`, `-inf`, `nan`.
pub fn format_f64(value: f64) -> Text {
    if value.is_nan() {
        return Text::from_short("nan");
    }
    if value.is_infinite() {
        return Text::from_short(if value > 0.0 { "inf" } else { "-inf" });
    }
    if value == 0.0 {
        return Text::from_short(if value.is_sign_negative() { "-0" } else { "0" });
    }
    match whole(value) {
        Some(integer) => format_i64(integer),
        None => double::format(value),
    }
}

/// The same without whole numbers being told apart, as in Redis's digests: `1e+18`.
pub fn format_f64_digits(value: f64) -> Text {
    if value.is_finite() && value != 0.0 {
        return double::format(value);
    }
    format_f64(value)
}

/// The integer that a double is, if it is one of 62 bits or fewer.
pub(super) fn whole(value: f64) -> Option<i64> {
    const MAX: f64 = (i64::MAX / 2) as f64;
    ((-MAX..=MAX).contains(&value) && value.trunc() == value).then_some(value as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: Text) -> String {
        String::from_utf8(text.to_vec()).unwrap()
    }

    #[test]
    fn integers_are_canonical() {
        for (input, value) in [
            ("0", Some(0)),
            ("1", Some(1)),
            ("-1", Some(-1)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("-9223372036854775809", None),
            ("9999999999999999999", None),
            ("18446744073709551617", None),
            ("99999999999999999999999", None),
            ("", None),
            ("-", None),
            ("-0", None),
            ("+1", None),
            ("01", None),
            ("-01", None),
            ("00", None),
            (" 1", None),
            ("1 ", None),
            ("1a", None),
            ("1\0", None),
            ("1.0", None),
        ] {
            assert_eq!(parse_i64(input.as_bytes()), value, "{input:?}");
        }
        assert_eq!(text(format_i64(i64::MIN)), "-9223372036854775808");
        assert_eq!(text(format_u64(u64::MAX)), "18446744073709551615");
    }

    #[test]
    fn the_beginning_of_an_integer_is_read_as_atoi_does() {
        for (text, number) in [
            ("12", 12),
            ("+1", 1),
            (" -7x", -7),
            ("x", 0),
            ("", 0),
            ("2147483648", i32::MIN),
            ("4294967297", 1),
            ("99999999999999999999", -1),
            ("-99999999999999999999", 0),
        ] {
            assert_eq!(parse_c_int(text.as_bytes()), number, "{text}");
        }
    }

    #[test]
    fn unsigned_integers_follow_strtoull() {
        for (input, value) in [
            ("0", Some(0)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("007", Some(7)),
            ("+7", Some(7)),
            (" 7", Some(7)),
            ("7 ", None),
            ("-1", None),
            ("-01", Some(u64::MAX)),
            ("-18446744073709551615", Some(1)),
            ("", None),
            ("-", None),
            ("x", None),
        ] {
            assert_eq!(parse_u64(input.as_bytes()), value, "{input:?}");
        }
    }

    #[test]
    fn doubles_are_read_as_strtod_does() {
        let subnormal = f64::from_bits(1);
        for (input, value) in [
            ("1.5", Some(1.5)),
            ("+1.5", Some(1.5)),
            (".5", Some(0.5)),
            ("5.", Some(5.0)),
            ("-5.e1", Some(-50.0)),
            ("1e3", Some(1000.0)),
            ("1E+3", Some(1000.0)),
            ("inf", Some(f64::INFINITY)),
            ("-INFINITY", Some(f64::NEG_INFINITY)),
            ("+Inf", Some(f64::INFINITY)),
            ("0x1p-2", Some(0.25)),
            ("0X.8", Some(0.5)),
            ("-0xff", Some(-255.0)),
            ("0x0p99999999999999999999", Some(0.0)),
            ("0x1.fffffffffffff8p0", Some(2.0)),
            ("0x1.00000000000008p0", Some(1.0)),
            (
                "0x1.000000000000080000000000000000001p0",
                Some(1.0000000000000002),
            ),
            ("5e-324", Some(subnormal)),
            ("0x1p-1074", Some(subnormal)),
            ("1e-400", None),
            ("1e400", None),
            ("0x1p-1076", None),
            ("0x1p1024", None),
            ("0e999999999999999999999", Some(0.0)),
            ("", None),
            (" 1", None),
            ("1 ", None),
            ("1e", None),
            ("1e+", None),
            (".", None),
            ("-", None),
            ("e5", None),
            ("0x", None),
            ("0x.", None),
            ("0x1p", None),
            ("+-1", None),
            ("nan", None),
            ("-nan", None),
            ("nan(1)", None),
            ("1_0", None),
            ("1,5", None),
            ("1\0", None),
        ] {
            assert_eq!(parse_f64(input.as_bytes()), value, "{input:?}");
        }
        let long = format!("0x{}1p-{}", "0".repeat(100_000), 4);
        assert_eq!(parse_f64(long.as_bytes()), Some(0.0625));
        let long = format!("0x.{}1p{}", "0".repeat(100_000), 400_004);
        assert_eq!(parse_f64(long.as_bytes()), Some(1.0));
        let long = format!("0x1{}p-{}", "0".repeat(100_000), 400_000);
        assert_eq!(parse_f64(long.as_bytes()), Some(1.0));
    }

    #[test]
    fn doubles_are_written_with_17_digits_as_in_c() {
        let written = [
            (0.1, "0.10000000000000001"),
            (3.3, "3.2999999999999998"),
            (-2.5, "-2.5"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (123456789012345678.0, "1.2345678901234568e+17"),
            (9007199254740993.0, "9007199254740992"),
            (2251799813685249.5, "2251799813685249.5"),
            (12345.678901234567, "12345.678901234567"),
            (99999999999999999.0, "1e+17"),
            (1e-4, "0.0001"),
            (1e-5, "1.0000000000000001e-05"),
            (1e300, "1.0000000000000001e+300"),
            (5e-324, "4.9406564584124654e-324"),
            (f64::NEG_INFINITY, "-inf"),
            (-0.0, "-0"),
        ];
        for (number, text) in written {
            let found = String::from_utf8(format_17_digits(number)).unwrap();
            assert_eq!(found, text, "{number:e}");
        }
    }

    #[test]
    fn doubles_are_written_as_whole_numbers_or_with_few_digits() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-3.0, "-3"),
            (0.1, "0.1"),
            (1e17, "100000000000000000"),
            (123_456_789_012_345_680.0, "123456789012345680"),
            (-212_516_568_180_053_984.0, "-212516568180053984"),
            (4_611_686_018_427_387_904.0, "4611686018427387904"),
            (9_223_372_036_854_775_807.0, "9223372036854776000"),
            (1e19, "1e+19"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ] {
            assert_eq!(text(format_f64(value)), expected);
        }
    }

    #[test]
    fn general_format_is_that_of_c() {
        for (number, precision, text) in [
            (1234.0, 3, "1.23e+03"),
            (999.6, 3, "1e+03"),
            (0.00012345, 3, "0.000123"),
            (0.000099999, 3, "0.0001"),
            (1e-5, 14, "1e-05"),
            (99999999999999.5, 14, "1e+14"),
            (99999999999999.0, 14, "99999999999999"),
            (-100.0, 14, "-100"),
            (-0.0, 14, "-0"),
            (2.5, 1, "2"),
            (1.0 / 3.0, 14, "0.33333333333333"),
            (f64::MAX, 14, "1.7976931348623e+308"),
        ] {
            let found = String::from_utf8(format_g(number, precision)).unwrap();
            assert_eq!(found, text);
        }
    }

    #[test]
    fn prefixes_are_read_as_c_reads_them() {
        for (text, expected) in [
            ("1,", Some((1.0, 1))),
            ("-.5x", Some((-0.5, 3))),
            ("5.e3", Some((5000.0, 4))),
            ("1e+", Some((1.0, 1))),
            ("0x", Some((0.0, 1))),
            ("0x1.8p1]", Some((3.0, 7))),
            ("0x1p", Some((1.0, 3))),
            ("0x1p-1075", Some((0.0, 9))),
            ("-infinite", Some((f64::NEG_INFINITY, 4))),
            ("Infinity", Some((f64::INFINITY, 8))),
            ("1e400", Some((f64::INFINITY, 5))),
            ("1e-400", Some((0.0, 6))),
            ("-", None),
            (".", None),
            ("e5", None),
            ("", None),
        ] {
            assert_eq!(parse_f64_prefix(text.as_bytes()), expected, "{text}");
        }
        for (text, length) in [("nan(1_a)", 8), ("nan(1-a)", 3), ("-NaN", 4), ("nan(", 3)] {
            let (number, read) = parse_f64_prefix(text.as_bytes()).unwrap();
            assert!(number.is_nan() && read == length, "{text}");
        }
    }
}
