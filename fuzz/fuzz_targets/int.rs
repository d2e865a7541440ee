//! Compares the integer parsers with those of the standard library, held to the canonical form.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strata::value::number;

fuzz_target!(|data: &[u8]| {
    let text = str::from_utf8(data).ok();
    let expected = text.and_then(|text| {
        text.parse::<i64>()
            .ok()
            .filter(|value| value.to_string() == text)
    });
    assert_eq!(number::parse_i64(data), expected);

    let parsed = number::parse_u64(data);
    if let Some(value) = text.and_then(|text| text.parse::<u64>().ok()) {
        assert_eq!(
            parsed,
            Some(value),
            "digits with or without a plus sign or leading zeros"
        );
    }
    if data
        .iter()
        .any(|byte| !matches!(byte, b'0'..=b'9' | b'+' | b'-' | b' ' | b'\t'..=b'\r'))
    {
        assert_eq!(parsed, None);
        assert_eq!(number::parse_u64(data), None);
    }

    if let Some(bytes) = data.first_chunk::<8>() {
        let value = i64::from_le_bytes(*bytes);
        assert_eq!(&*number::format_i64(value), value.to_string().as_bytes());
        assert_eq!(number::parse_i64(&number::format_i64(value)), Some(value));
        let value = u64::from_le_bytes(*bytes);
        assert_eq!(number::parse_u64(&number::format_u64(value)), Some(value));
    }
});
