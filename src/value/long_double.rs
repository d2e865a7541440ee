//! The 80-bit floating point number of x87 processors, which Redis uses for INCRBYFLOAT and HINCRBYFLOAT.
//!
//! Counters kept that way are visible to clients digit by digit: 0.1 + 0.2 is `0.3` with 64 bits of precision, and
//! `0.30000000000000004` with the 53 of a double. So the arithmetic has to be the same on every machine, and is done in
//! software by `rustc_apfloat`.
//!
//! The text has at most 17 decimals and never an exponent. It is exact: the number is `m * 2^e` with a whole 64-bit `m`.
//! For `e >= 0` that is a whole number, written by dividing a big integer. For `e < 0` the decimals are those of
//! `m * 10^17 / 2^-e`, whose dividend fits in 128 bits, so one shift and a rounding half to even give all digits.

use std::fmt::Write as _;

use rustc_apfloat::ieee::{Double, X87DoubleExtended};
use rustc_apfloat::{Float, FloatConvert, Round};

use super::number::{FloatText, has_digit_above_zero};

/// A number with 64 bits of precision and exponents to about 1e±4932.
#[derive(Clone, Copy, Debug)]
pub struct LongDouble(X87DoubleExtended);

/// Texts of this many bytes or more are no numbers to Redis, which copies them to a buffer of this size first.
const TEXT_LIMIT_BYTES: usize = 5 * 1024;

/// Decimals of the text.
const DECIMALS: usize = 17;

/// 10 to the power of [`DECIMALS`]: below 2^57, so that a 64-bit number times it stays below 2^121.
const SCALE: u128 = 100_000_000_000_000_000;

/// Bits 0 to 14 of the exponent field hold the exponent plus this, and the significand has 63 bits behind its first.
const EXPONENT_BIAS: i32 = 16383 + 63;

impl LongDouble {
    /// Reads what C's `strtold` takes whole, but no leading space, no empty text, no NaN, nothing too large or so
    /// small that it becomes zero, and no text of 5120 bytes or more.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() >= TEXT_LIMIT_BYTES {
            return None;
        }
        let (negative, value) = match FloatText::read(text)? {
            FloatText::Infinity(negative) => (negative, X87DoubleExtended::INFINITY),
            FloatText::Decimal { negative, text } => {
                (negative, in_range(text, has_digit_above_zero(text))?)
            }
            FloatText::Hexadecimal { negative, text } => {
                let text = str::from_utf8(&text).ok()?;
                (negative, in_range(text, text != "0x0p0")?)
            }
        };
        Some(LongDouble(if negative { -value } else { value }))
    }

    /// The same number: every double fits.
    pub fn from_f64(value: f64) -> Self {
        let mut loses_info = false;
        LongDouble(
            Double::from_bits(u128::from(value.to_bits()))
                .convert(&mut loses_info)
                .value,
        )
    }

    /// The nearest double; one that is too large is infinite.
    pub fn to_f64(self) -> f64 {
        let mut loses_info = false;
        let double: Double = self.0.convert(&mut loses_info).value;
        f64::from_bits(double.to_bits() as u64)
    }

    /// The sum, rounded to nearest, half to even.
    #[must_use]
    #[expect(
        clippy::should_implement_trait,
        reason = "rounding and overflow should be seen at the call"
    )]
    pub fn add(self, other: Self) -> Self {
        LongDouble(self.0.add_r(other.0, Round::NearestTiesToEven).value)
    }

    /// Tells whether this is no finite number; INCRBYFLOAT refuses such a sum.
    pub fn is_nan_or_inf(self) -> bool {
        !self.0.is_finite()
    }

    /// Writes the number without an exponent, with at most 17 decimals and no trailing zeros; zero has no sign.
    ///
    /// At most 4934 bytes. Not a number is `nan`, infinity `inf` or `-inf`.
    pub fn to_human(self) -> String {
        if self.0.is_nan() {
            return "nan".to_owned();
        }
        let mut out = String::new();
        if self.0.is_negative() {
            out.push('-');
        }
        if self.0.is_infinite() {
            out.push_str("inf");
            return out;
        }
        let bits = self.0.to_bits();
        let significand = bits as u64;
        // A subnormal number has the field 0 and the exponent of the field 1.
        let exponent = ((bits >> 64) & 0x7fff).max(1) as i32 - EXPONENT_BIAS;
        match usize::try_from(exponent) {
            Ok(exponent) => push_shifted(&mut out, significand, exponent),
            Err(_) => push_fraction(&mut out, significand, exponent.unsigned_abs()),
        }
        if out == "-0" {
            out.remove(0);
        }
        out
    }
}

/// Parses a text without a sign, refusing what Redis refuses: overflow, and underflow to zero.
fn in_range(text: &str, is_nonzero: bool) -> Option<X87DoubleExtended> {
    let value = X87DoubleExtended::from_str_r(text, Round::NearestTiesToEven)
        .ok()?
        .value;
    (value.is_finite() && value.is_zero() != is_nonzero).then_some(value)
}

/// Writes `significand / 2^shift`.
fn push_fraction(out: &mut String, significand: u64, shift: u32) {
    let scaled = shift_rounding(u128::from(significand) * SCALE, shift);
    // Writing to a string does not fail.
    let _ = write!(out, "{}", scaled / SCALE);
    let decimals = format!("{:0width$}", scaled % SCALE, width = DECIMALS);
    let decimals = decimals.trim_end_matches('0');
    if !decimals.is_empty() {
        out.push('.');
        out.push_str(decimals);
    }
}

/// Divides by `2^shift`, at least 1, and rounds half to even.
fn shift_rounding(value: u128, shift: u32) -> u128 {
    // The value is below 2^121, so a shift by 127 already leaves less than a half.
    let shift = shift.min(127);
    let quotient = value >> shift;
    let rest = value & ((1 << shift) - 1);
    let half = 1 << (shift - 1);
    if rest > half || rest == half && quotient & 1 == 1 {
        quotient + 1
    } else {
        quotient
    }
}

/// Writes `significand * 2^shift`.
fn push_shifted(out: &mut String, significand: u64, shift: usize) {
    let mut limbs = vec![0u32; shift / 32];
    let top = u128::from(significand) << (shift % 32);
    limbs.extend([top as u32, (top >> 32) as u32, (top >> 64) as u32]);

    // Nine decimals at a time, the last first.
    let mut groups = Vec::new();
    while let Some(&last) = limbs.last() {
        if last == 0 {
            limbs.pop();
            continue;
        }
        let mut rest = 0u64;
        for limb in limbs.iter_mut().rev() {
            let value = rest << 32 | u64::from(*limb);
            *limb = (value / GROUP) as u32;
            rest = value % GROUP;
        }
        groups.push(rest);
    }
    let _ = write!(out, "{}", groups.pop().unwrap_or(0));
    for group in groups.iter().rev() {
        let _ = write!(out, "{group:09}");
    }
}

/// The base of the groups of nine decimals.
const GROUP: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(a: &str, b: &str) -> Option<String> {
        let sum = LongDouble::parse(a.as_bytes())?.add(LongDouble::parse(b.as_bytes())?);
        (!sum.is_nan_or_inf()).then(|| sum.to_human())
    }

    /// The sums are what Redis 7.0.15 on x86-64 replies to SET a, INCRBYFLOAT b.
    const SUMS: &[(&str, &str, Option<&str>)] = &[
        ("0", "0", Some("0")),
        ("-0", "0", Some("0")),
        ("0.1", "0.2", Some("0.3")),
        ("3.0e3", "200", Some("3200")),
        ("10.5", "0.1", Some("10.6")),
        ("5.0e3", "-5000", Some("0")),
        ("1", "1e-17", Some("1.00000000000000001")),
        ("1", "1e-18", Some("1")),
        ("1", "4e-18", Some("1")),
        ("1", "5e-18", Some("1")),
        ("1", "6e-18", Some("1.00000000000000001")),
        ("0", "5e-18", Some("0")),
        ("0", "1.5e-17", Some("0.00000000000000002")),
        ("0", "2.5e-17", Some("0.00000000000000002")),
        ("9223372036854775807", "1", Some("9223372036854775808")),
        ("9223372036854775807", "0.5", Some("9223372036854775807.5")),
        ("18446744073709551615", "1", Some("18446744073709551616")),
        ("18446744073709551616", "1", Some("18446744073709551616")),
        (
            "-18446744073709551616",
            "0.1",
            Some("-18446744073709551616"),
        ),
        ("1e20", "1e-3", Some("100000000000000000000")),
        (
            "123456789.123456789",
            "987654321.987654321",
            Some("1111111111.11111110995989293"),
        ),
        (
            "3.14159265358979323846",
            "2.71828182845904523536",
            Some("5.85987448204883847"),
        ),
        ("1e30", "1", Some("1000000000000000000024696061952")),
        ("1e40", "-1e40", Some("0")),
        ("1e-4950", "0", Some("0")),
        ("0x1p-16445", "0", Some("0")),
        ("0x1p-16446", "0", None),
        ("0x1.8p3", "0xA.8", Some("22.5")),
        ("inf", "1", None),
        ("1e4932", "1e4932", None),
        (
            "1.18973149535723176502e4932",
            "-1.18973149535723176502e4932",
            Some("0"),
        ),
        ("1.18973149535723176509e4932", "0", None),
        ("nan", "1", None),
        ("0.000001", "0.0000001", Some("0.0000011")),
        ("-1.5", "+1.5", Some("0")),
        ("4.9406564584124654e-324", "1", Some("1")),
        (".5", "5.", Some("5.5")),
        (
            "99999999999999999",
            "0.99",
            Some("99999999999999999.9921875"),
        ),
        ("0.30000000000000004", "-0.1", Some("0.20000000000000004")),
        ("100", "-99.99999999999999999", Some("0.00000000000000001")),
        ("1e18", "0.1", Some("1000000000000000000.125")),
        ("1e19", "0.1", Some("10000000000000000000")),
        ("-0.00000000000000001", "0", Some("-0.00000000000000001")),
        (
            "1e50",
            "1e33",
            Some("100000000000000001007563105499616609876187426062336"),
        ),
        (
            "0x1.fffffffffffffffep63",
            "0x1p0",
            Some("18446744073709551616"),
        ),
        ("0x1.00000000000000018p0", "0", Some("1")),
        ("0x1.0000000000000003p0", "0", Some("1")),
        (
            "1e60",
            "0",
            Some("999999999999999999999373423426722168652130621984886772203520"),
        ),
    ];

    #[test]
    fn sums_are_those_of_redis() {
        for &(a, b, expected) in SUMS {
            assert_eq!(sum(a, b).as_deref(), expected, "{a} + {b}");
        }
    }

    #[test]
    fn the_largest_number_is_written_in_full() {
        let largest = LongDouble::parse(b"0x1.fffffffffffffffep16383")
            .unwrap()
            .to_human();
        assert_eq!(largest.len(), 4933);
        assert!(largest.starts_with("118973149535723176502"));
        assert_eq!(
            LongDouble::parse(largest.as_bytes()).unwrap().to_human(),
            largest
        );
    }

    #[test]
    fn long_texts_are_refused_as_in_redis() {
        let longest = format!("1.{}", "0".repeat(TEXT_LIMIT_BYTES - 3));
        assert_eq!(sum(&longest, "0").as_deref(), Some("1"));
        assert_eq!(sum(&(longest + "0"), "0"), None);
    }

    #[test]
    fn hexadecimal_exponents_and_dots_far_apart_cancel() {
        let text = format!("0x.{}1p{}", "0".repeat(5_000), 20_004);
        assert_eq!(sum(&text, "0").as_deref(), Some("1"));
        let text = format!("0x.{}1p{}", "0".repeat(5_000), 40_004);
        assert_eq!(sum(&text, "0"), None, "2^20000 is too large");
    }

    #[test]
    fn infinity_and_nan_are_told_apart_from_numbers() {
        let infinity = LongDouble::parse(b"-inf").unwrap();
        assert!(infinity.is_nan_or_inf());
        assert_eq!(infinity.to_human(), "-inf");
        let nan = infinity.add(LongDouble::from_f64(f64::INFINITY));
        assert!(nan.is_nan_or_inf());
        assert_eq!(nan.to_human(), "nan");
    }
}
