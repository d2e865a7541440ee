//! Checks what must hold between the float parsers and formatters, and that no text panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strata::value::number::{self, LongDouble};

fuzz_target!(|data: &[u8]| {
    if let Some(bytes) = data.first_chunk::<8>() {
        written_doubles_read_back(f64::from_le_bytes(*bytes));
    }
    let parsed = number::parse_f64(data);
    if let Some(value) = parsed {
        assert!(!value.is_nan());
        written_doubles_read_back(value);
    }
    if let Some(text) = str::from_utf8(data)
        .ok()
        .filter(|text| !text.contains(['x', 'X']))
    {
        agrees_with_std(text, parsed);
    }
    long_doubles_hold_together(data);
    if parsed.is_some_and(f64::is_finite) && data.len() < 5_000 {
        assert!(
            LongDouble::parse(data).is_some(),
            "what fits in a double fits in a long double"
        );
    }
});

fn written_doubles_read_back(value: f64) {
    let text = number::format_f64(value);
    if value.is_nan() {
        assert_eq!(&*text, b"nan");
        return;
    }
    assert_eq!(
        number::parse_f64(&text).map(f64::to_bits),
        Some(value.to_bits()),
        "{text:?}"
    );
    if value.is_infinite() {
        return;
    }
    assert!(text.len() <= 25, "{text:?}");
    let human = LongDouble::from_f64(value).to_human();
    let read: f64 = human.parse().expect("a plain decimal");
    // Half of the last decimal is lost in writing, and half of the last bit in reading.
    assert!(
        (read - value).abs() <= 1e-17 + value.abs() * f64::EPSILON,
        "{human} is not {value}"
    );
}

fn agrees_with_std(text: &str, parsed: Option<f64>) {
    let expected = text.parse::<f64>().ok().filter(|value| !value.is_nan());
    match (parsed, expected) {
        (Some(parsed), Some(expected)) => assert_eq!(parsed.to_bits(), expected.to_bits()),
        (Some(parsed), None) => panic!("std does not read {text:?}, but it gave {parsed}"),
        // Out of range: std clamps, strtod reports it.
        (None, Some(expected)) => assert!(
            expected.is_infinite() || expected == 0.0,
            "{text:?} is {expected}"
        ),
        (None, None) => {}
    }
}

fn long_doubles_hold_together(data: &[u8]) {
    let middle = data
        .iter()
        .position(|&byte| byte == b' ')
        .unwrap_or(data.len());
    let (a, b) = (&data[..middle], data.get(middle + 1..).unwrap_or_default());
    let Some(a) = LongDouble::parse(a) else {
        return;
    };
    let human = a.to_human();
    let again = LongDouble::parse(human.as_bytes()).expect("the text of a number is a number");
    assert_eq!(again.to_human(), human);
    let Some(b) = LongDouble::parse(b) else {
        return;
    };
    assert_eq!(a.add(b).to_human(), b.add(a).to_human());
    assert_eq!(
        a.add(b).is_nan_or_inf(),
        a.add(b).to_human().ends_with(['f', 'n'])
    );
}
