//! Compares the glob matcher with a naive recursive one, which gives up after a number of steps.
//!
//! Input: one byte of flags, the length of the pattern, the pattern, the text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strata::value::glob;

fuzz_target!(|data: &[u8]| {
    let [flags, len, rest @ ..] = data else {
        return;
    };
    let (pattern, text) = rest.split_at(rest.len().min(usize::from(*len)));
    let nocase = flags & 1 == 1;
    let found = glob::matches(pattern, text, nocase);
    let mut steps = 20_000;
    if let Some(expected) = top(pattern, text, nocase, &mut steps) {
        assert_eq!(
            found,
            expected,
            "{} {}",
            pattern.escape_ascii(),
            text.escape_ascii()
        );
    }
});

/// An empty text matches the empty pattern only.
fn top(pattern: &[u8], text: &[u8], nocase: bool, steps: &mut u32) -> Option<bool> {
    if text.is_empty() {
        Some(pattern.is_empty())
    } else {
        naive(pattern, text, nocase, steps)
    }
}

/// Tries every split at every star. None when the steps are used up.
fn naive(pattern: &[u8], text: &[u8], nocase: bool, steps: &mut u32) -> Option<bool> {
    *steps = steps.checked_sub(1)?;
    let Some((&head, tail)) = pattern.split_first() else {
        return Some(text.is_empty());
    };
    if head == b'*' {
        for skipped in 0..=text.len() {
            if naive(tail, &text[skipped..], nocase, steps)? {
                return Some(true);
            }
        }
        return Some(false);
    }
    let Some((&byte, rest)) = text.split_first() else {
        return Some(false);
    };
    let fold = |byte: u8| {
        if nocase {
            byte.to_ascii_lowercase()
        } else {
            byte
        }
    };
    let (accepted, tail) = match (head, tail) {
        (b'?', tail) => (true, tail),
        (b'[', tail) => class(tail, byte, nocase),
        (b'\\', [escaped, tail @ ..]) => (fold(*escaped) == fold(byte), tail),
        (literal, tail) => (fold(literal) == fold(byte), tail),
    };
    if accepted {
        naive(tail, rest, nocase, steps)
    } else {
        Some(false)
    }
}

/// Gathers the whole class in a table of bytes first.
fn class(body: &[u8], byte: u8, nocase: bool) -> (bool, &[u8]) {
    let (negated, mut body) = match body {
        [b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut table = [false; 256];
    let fold = |byte: u8| {
        if nocase {
            byte.to_ascii_lowercase()
        } else {
            byte
        }
    };
    loop {
        body = match body {
            [] => break,
            [b']', rest @ ..] => {
                body = rest;
                break;
            }
            [b'\\', escaped, rest @ ..] => {
                table[usize::from(*escaped)] = true;
                rest
            }
            [a, b'-', b, rest @ ..] => {
                let (low, high) = ((*a as i8).min(*b as i8), (*a as i8).max(*b as i8));
                let (low, high) = (fold(low as u8) as i8, fold(high as u8) as i8);
                for entry in 0..=255u8 {
                    table[usize::from(entry)] |= (low..=high).contains(&(fold(entry) as i8));
                }
                rest
            }
            [literal, rest @ ..] => {
                for entry in 0..=255u8 {
                    table[usize::from(entry)] |= fold(entry) == fold(*literal);
                }
                rest
            }
        };
    }
    (table[usize::from(byte)] != negated, body)
}
