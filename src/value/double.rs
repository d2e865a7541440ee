//! The text of a double, as Redis 7.2 and later write it: few digits that read back as the same number.
//!
//! The digits come from Grisu2, which is what Redis has: "Printing Floating-Point Numbers Quickly and Accurately with
//! Integers" by Florian Loitsch, 2010. Any number between the middles to the two neighbours of a double reads back as it. All
//! three are multiplied by a power of ten, from a table, such that the product has few bits before the point; then digits of
//! the upper end are written until what is left is smaller than the distance of the ends, and the last digit goes down
//! towards the double. Products are rounded, so that in one of a thousand cases there is a digit more than need be. The
//! standard library has the shortest digits, but then the text of such a number would be another one than Redis's.

use super::number::Text;

/// A number `fraction * 2^exponent`.
#[derive(Clone, Copy)]
struct Float {
    fraction: u64,
    exponent: i32,
}

const FRACTION_BITS: i32 = 52;
const HIDDEN_BIT: u64 = 1 << FRACTION_BITS;
const EXPONENT_BIAS: i32 = 1023 + FRACTION_BITS;

/// The product of the upper end and a power of ten has an exponent in this range: 4 to 32 bits are before the point.
const EXPONENT_MIN: i32 = -60;
const EXPONENT_MAX: i32 = -32;

/// The powers of ten with the exponents -348, -340 .. 340, rounded to 64 bits: the fractions of their [`Float`]s.
#[rustfmt::skip]
const POWERS: [u64; 87] = [
    0xfa8fd5a0081c0288, 0xbaaee17fa23ebf76, 0x8b16fb203055ac76, 0xcf42894a5dce35ea, 0x9a6bb0aa55653b2d,
    0xe61acf033d1a45df, 0xab70fe17c79ac6ca, 0xff77b1fcbebcdc4f, 0xbe5691ef416bd60c, 0x8dd01fad907ffc3c,
    0xd3515c2831559a83, 0x9d71ac8fada6c9b5, 0xea9c227723ee8bcb, 0xaecc49914078536d, 0x823c12795db6ce57,
    0xc21094364dfb5637, 0x9096ea6f3848984f, 0xd77485cb25823ac7, 0xa086cfcd97bf97f4, 0xef340a98172aace5,
    0xb23867fb2a35b28e, 0x84c8d4dfd2c63f3b, 0xc5dd44271ad3cdba, 0x936b9fcebb25c996, 0xdbac6c247d62a584,
    0xa3ab66580d5fdaf6, 0xf3e2f893dec3f126, 0xb5b5ada8aaff80b8, 0x87625f056c7c4a8b, 0xc9bcff6034c13053,
    0x964e858c91ba2655, 0xdff9772470297ebd, 0xa6dfbd9fb8e5b88f, 0xf8a95fcf88747d94, 0xb94470938fa89bcf,
    0x8a08f0f8bf0f156b, 0xcdb02555653131b6, 0x993fe2c6d07b7fac, 0xe45c10c42a2b3b06, 0xaa242499697392d3,
    0xfd87b5f28300ca0e, 0xbce5086492111aeb, 0x8cbccc096f5088cc, 0xd1b71758e219652c, 0x9c40000000000000,
    0xe8d4a51000000000, 0xad78ebc5ac620000, 0x813f3978f8940984, 0xc097ce7bc90715b3, 0x8f7e32ce7bea5c70,
    0xd5d238a4abe98068, 0x9f4f2726179a2245, 0xed63a231d4c4fb27, 0xb0de65388cc8ada8, 0x83c7088e1aab65db,
    0xc45d1df942711d9a, 0x924d692ca61be758, 0xda01ee641a708dea, 0xa26da3999aef774a, 0xf209787bb47d6b85,
    0xb454e4a179dd1877, 0x865b86925b9bc5c2, 0xc83553c5c8965d3d, 0x952ab45cfa97a0b3, 0xde469fbd99a05fe3,
    0xa59bc234db398c25, 0xf6c69a72a3989f5c, 0xb7dcbf5354e9bece, 0x88fcf317f22241e2, 0xcc20ce9bd35c78a5,
    0x98165af37b2153df, 0xe2a0b5dc971f303a, 0xa8d9d1535ce3b396, 0xfb9b7cd9a4a7443c, 0xbb764c4ca7a44410,
    0x8bab8eefb6409c1a, 0xd01fef10a657842c, 0x9b10a4e5e9913129, 0xe7109bfba19c0c9d, 0xac2820d9623bf429,
    0x80444b5e7aa7cf85, 0xbf21e44003acdd2d, 0x8e679c2f5e44ff8f, 0xd433179d9c8cb841, 0x9e19db92b4e31ba9,
    0xeb96bf6ebadf77d9, 0xaf87023b9bf0ee6b,
];
const POWER_FIRST: i32 = -348;
const POWER_STEP: i32 = 8;

/// More digits than any double needs.
const DIGITS_MAX: usize = 18;

/// Decimal digits, and the power of ten that the last one counts.
struct Decimal {
    digits: [u8; DIGITS_MAX],
    len: usize,
    exponent: i32,
}

impl Float {
    /// Of a finite double above zero.
    fn of(value: f64) -> Self {
        let bits = value.to_bits();
        let fraction = bits & (HIDDEN_BIT - 1);
        match (bits >> FRACTION_BITS) as i32 {
            0 => Self {
                fraction,
                exponent: 1 - EXPONENT_BIAS,
            },
            exponent => Self {
                fraction: fraction | HIDDEN_BIT,
                exponent: exponent - EXPONENT_BIAS,
            },
        }
    }

    /// The same number with the highest bit set.
    fn normalised(self) -> Self {
        let shift = self.fraction.leading_zeros();
        Self {
            fraction: self.fraction << shift,
            exponent: self.exponent - shift as i32,
        }
    }

    /// The middles to the next smaller and to the next larger double, with one exponent.
    fn ends(self) -> (Self, Self) {
        let upper = Self {
            fraction: (self.fraction << 1) + 1,
            exponent: self.exponent - 1,
        };
        let upper = upper.normalised();
        // Below a power of two the doubles are twice as close.
        let shift = if self.fraction == HIDDEN_BIT { 2 } else { 1 };
        let lower = (self.fraction << shift) - 1;
        let lower = Self {
            fraction: lower << (self.exponent - shift - upper.exponent),
            exponent: upper.exponent,
        };
        (lower, upper)
    }

    fn times(self, other: Self) -> Self {
        let product = u128::from(self.fraction) * u128::from(other.fraction);
        Self {
            fraction: ((product + (1 << 63)) >> 64) as u64,
            exponent: self.exponent + other.exponent + 64,
        }
    }

    /// The power of ten that brings a number with this exponent into the range, and its exponent.
    fn power_for(exponent: i32) -> (Self, i32) {
        // log10(2) * 2^20.
        const LOG: i64 = 315_653;
        let wanted = -((i64::from(exponent + POWERS.len() as i32) * LOG) >> 20) as i32;
        let mut at = ((wanted - POWER_FIRST) / POWER_STEP) as usize;
        loop {
            let ten = POWER_FIRST + POWER_STEP * at as i32;
            // log2(10) * 2^19: the exponent of a power of ten with 64 bits.
            let power = Self {
                fraction: POWERS[at],
                exponent: ((ten * 1_741_647) >> 19) - 63,
            };
            match exponent + power.exponent + 64 {
                ..EXPONENT_MIN => at += 1,
                EXPONENT_MIN..=EXPONENT_MAX => return (power, ten),
                _ => at -= 1,
            }
        }
    }
}

impl Decimal {
    /// Of a finite double above zero.
    fn of(value: f64) -> Self {
        let float = Float::of(value);
        let (lower, upper) = float.ends();
        let (power, ten) = Float::power_for(upper.exponent);
        let middle = float.normalised().times(power).fraction;
        let (lower, upper) = (lower.times(power), upper.times(power));
        // Products may be off by one.
        let (lower, top) = (lower.fraction + 1, upper.fraction - 1);
        let mut decimal = Self {
            digits: [0; DIGITS_MAX],
            len: 0,
            exponent: -ten,
        };
        decimal.generate(top, top - lower, top - middle, -upper.exponent);
        decimal
    }

    /// Writes digits of `top`, which has `point` bits behind the point, until what is left of it is less than `room`.
    fn generate(&mut self, top: u64, mut room: u64, mut distance: u64, point: i32) {
        const TENS_BEFORE: i32 = 10;
        let one = 1_u64 << point;
        let (mut whole, mut part) = (top >> point, top & (one - 1));
        for tens in (0..TENS_BEFORE).rev() {
            let unit = 10_u64.pow(tens as u32);
            self.push(whole / unit);
            whole %= unit;
            let rest = (whole << point) + part;
            if rest <= room {
                self.exponent += tens;
                return self.approach(room, rest, unit << point, distance);
            }
        }
        loop {
            part *= 10;
            room *= 10;
            distance = distance.wrapping_mul(10);
            self.exponent -= 1;
            self.push(part >> point);
            part &= one - 1;
            if part < room {
                return self.approach(room, part, one, distance);
            }
        }
    }

    fn push(&mut self, digit: u64) {
        if digit != 0 || self.len > 0 {
            self.digits[self.len] = b'0' + digit as u8;
            self.len += 1;
        }
    }

    /// Takes from the last digit, which counts `unit`, while that brings the number nearer to the double.
    fn approach(&mut self, room: u64, mut rest: u64, unit: u64, distance: u64) {
        while rest < distance
            && room - rest >= unit
            && (rest + unit < distance || distance - rest > rest + unit - distance)
        {
            self.digits[self.len - 1] -= 1;
            rest += unit;
        }
    }
}

/// The text of a finite double that is not zero, without a look at whether it is a whole number.
pub(super) fn format(value: f64) -> Text {
    let decimal = Decimal::of(value.abs());
    let (digits, exponent) = (&decimal.digits[..decimal.len], decimal.exponent);
    let mut text = Text::new();
    if value.is_sign_negative() {
        text.push(b"-");
    }
    // Of the first digit.
    let first = exponent + digits.len() as i32 - 1;
    if exponent >= 0 && first < digits.len() as i32 + 7 {
        text.push(digits);
        (0..exponent).for_each(|_| text.push(b"0"));
    } else if exponent < 0 && (exponent > -7 || first.abs() < 4) {
        lay_out_with_point(&mut text, digits, exponent);
    } else {
        text.push(&digits[..1]);
        if digits.len() > 1 {
            text.push(b".");
            text.push(&digits[1..]);
        }
        text.push(if first < 0 { b"e-" } else { b"e+" });
        text.push(&super::number::format_i64(i64::from(first.abs())));
    }
    text
}

fn lay_out_with_point(text: &mut Text, digits: &[u8], exponent: i32) {
    let before = digits.len() as i32 + exponent;
    match usize::try_from(before) {
        Ok(before) if before > 0 => {
            text.push(&digits[..before]);
            text.push(b".");
            text.push(&digits[before..]);
        }
        _ => {
            text.push(b"0.");
            (before..0).for_each(|_| text.push(b"0"));
            text.push(digits);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: f64) -> String {
        String::from_utf8_lossy(&format(value)).into_owned()
    }

    #[test]
    fn doubles_are_written_with_few_digits() {
        for (value, expected) in [
            (0.1, "0.1"),
            (1.5, "1.5"),
            (1e17, "1e+17"),
            (12_345.0, "12345"),
            (12_345_678_901_234_567_890.0, "12345678901234567000"),
            (1e-4, "0.0001"),
            (1e-5, "0.00001"),
            (1e-7, "1e-7"),
            (1.234_567_8e-4, "1.2345678e-4"),
            (123_456_789.123_456_79, "1.2345678912345679e+8"),
            (-804.703_158, "-804.703158"),
            (-1.2345e-7, "-1.2345e-7"),
            (1.5e300, "1.5e+300"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
            (5e-324, "5e-324"),
            // The longest, as in Redis 8.10.
            (-1.961_431_446_331_601_7e23, "-196143144633160170000000"),
            (std::f64::consts::PI, "3.141592653589793"),
        ] {
            assert_eq!(text(value), expected);
        }
    }

    /// Seen in Redis 8.10 and Valkey 9.1.
    #[test]
    fn a_digit_more_than_need_be_is_as_in_redis() {
        for (value, expected) in [
            (863_002.115_404_532, "8.630021154045321e+5"),
            (-3.131_670_971_615_857_7e78, "-3.1316709716158578e+78"),
            (1.296_786_644_303_703e287, "1.2967866443037029e+287"),
        ] {
            assert_eq!(text(value), expected);
        }
    }

    #[test]
    fn texts_read_back_as_the_same_number() {
        let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..if cfg!(miri) { 100 } else { 100_000 } {
            bits = bits
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let value = f64::from_bits(bits);
            if value.is_finite() && value != 0.0 {
                assert_eq!(text(value).parse(), Ok(value));
            }
        }
    }
}
