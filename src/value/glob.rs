//! The glob patterns of KEYS, SCAN MATCH, PSUBSCRIBE and CONFIG GET.
//!
//! | pattern | matches |
//! |---|---|
//! | `*` | any run of bytes, the empty one too |
//! | `?` | one byte |
//! | `[a-z0_]`, `[^a-z]` | one byte inside, or outside, the class |
//! | `\x` | the byte `x` |
//!
//! The odd corners are those of Redis, and clients can see them:
//!
//! - An empty text matches the empty pattern only. `*` does not match it; KEYS and SCAN skip the matcher for `*`.
//! - A class that is never closed runs to the end of the pattern. `[` alone matches nothing, `[^` any one byte.
//! - `]` always closes a class, even as its first byte: `[]a]` is an empty class followed by `a]`.
//! - Bounds of a range may come in either order, and bytes compare as signed: `[a-\xff]` covers 0xff and 0 to `a`.
//! - `\x` inside a class is compared exactly even when letter case is ignored.
//! - A backslash at the end of the pattern, or of an open class, stands for itself.
//!
//! # Cost
//!
//! The recursive matcher tries every split of the text at every star, which is exponential in the number of stars. It
//! is enough to go back to the last star only: when the part between two stars has matched at its leftmost place, any
//! later place leaves less text for the rest, and the rest begins with a star, so it can do nothing with the later place
//! that it could not do with the earlier. The work is at most `pattern.len() * text.len()` steps, without recursion.

/// Tells whether all of `text` matches `pattern`. With `nocase`, ASCII letters match in either case.
///
/// Any bytes are a pattern; there is no syntax error.
pub fn matches(pattern: &[u8], text: &[u8], nocase: bool) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let (mut at, mut pos) = (0, 0);
    // The pattern behind the last star, and the text position from where it was last tried.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if pattern.get(at) == Some(&b'*') {
            at += 1;
            if at == pattern.len() {
                return true;
            }
            retry = Some((at, pos));
            continue;
        }
        if let Some(&byte) = text.get(pos) {
            if let Some(next) = match_one(pattern, at, byte, nocase) {
                at = next;
                pos += 1;
                continue;
            }
        } else {
            // With no text left a later start of the last part only makes things worse.
            return at == pattern.len();
        }
        let Some((part, start)) = retry else {
            return false;
        };
        let Some(start) = next_start(pattern, part, text, start + 1, nocase) else {
            return false;
        };
        retry = Some((part, start));
        (at, pos) = (part, start);
    }
}

/// Matches the single element at `at`, which is not a star, with `byte`: the index behind the element on success.
fn match_one(pattern: &[u8], at: usize, byte: u8, nocase: bool) -> Option<usize> {
    let (accepted, next) = match *pattern.get(at)? {
        b'?' => (true, at + 1),
        b'[' => match_class(pattern, at + 1, byte, nocase),
        b'\\' if at + 1 < pattern.len() => (same(pattern[at + 1], byte, nocase), at + 2),
        literal => (same(literal, byte, nocase), at + 1),
    };
    accepted.then_some(next)
}

/// Reads the class that begins behind its `[` at `at`: whether it accepts `byte`, and the index behind its `]`.
fn match_class(pattern: &[u8], mut at: usize, byte: u8, nocase: bool) -> (bool, usize) {
    let negated = pattern.get(at) == Some(&b'^');
    at += usize::from(negated);
    let mut found = false;
    let end = loop {
        match pattern.get(at..).unwrap_or_default() {
            [] => break at,
            [b'\\', escaped, ..] => {
                found |= *escaped == byte;
                at += 2;
            }
            [b']', ..] => break at + 1,
            [low, b'-', high, ..] => {
                found |= in_range(*low, *high, byte, nocase);
                at += 3;
            }
            [literal, ..] => {
                found |= same(*literal, byte, nocase);
                at += 1;
            }
        }
    };
    (found != negated, end)
}

/// Compares as signed bytes, as Redis does where `char` is signed. The bounds are put in order before their case is folded.
fn in_range(low: u8, high: u8, byte: u8, nocase: bool) -> bool {
    let (low, high) = if low as i8 > high as i8 {
        (high, low)
    } else {
        (low, high)
    };
    let fold = |b: u8| {
        if nocase {
            b.to_ascii_lowercase() as i8
        } else {
            b as i8
        }
    };
    (fold(low)..=fold(high)).contains(&fold(byte))
}

fn same(a: u8, b: u8, nocase: bool) -> bool {
    a == b || nocase && a.eq_ignore_ascii_case(&b)
}

/// The first position from `start` on where the pattern part at `part` could begin.
fn next_start(
    pattern: &[u8],
    part: usize,
    text: &[u8],
    start: usize,
    nocase: bool,
) -> Option<usize> {
    let rest = text.get(start..)?;
    match pattern.get(part)? {
        b'?' | b'[' | b'\\' | b'*' => Some(start),
        _ if nocase => Some(start),
        literal => memchr::memchr(*literal, rest).map(|skipped| start + skipped),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn yes(pattern: &str, text: &str) {
        assert!(
            matches(pattern.as_bytes(), text.as_bytes(), false),
            "{pattern:?} should match {text:?}"
        );
    }

    #[track_caller]
    fn no(pattern: &str, text: &str) {
        assert!(
            !matches(pattern.as_bytes(), text.as_bytes(), false),
            "{pattern:?} should not match {text:?}"
        );
    }

    #[test]
    fn literals_stars_and_marks() {
        yes("", "");
        yes("abc", "abc");
        no("abc", "abd");
        no("abc", "ab");
        no("ab", "abc");
        yes("h?llo", "hello");
        no("h?llo", "hllo");
        yes("h*llo", "heeeello");
        yes("h*llo", "hllo");
        yes("*", "a");
        yes("***", "a");
        yes("a*", "a");
        yes("a**", "a");
        yes("*a", "a");
        yes("*b*c*", "abxcx");
        no("*b*c", "abxcx");
        yes("*?*?", "ab");
        no("*?*?", "a");
        yes("*aab", "aaaaab");
        yes("user:*:name", "user:1:2:name");
    }

    #[test]
    fn an_empty_text_matches_the_empty_pattern_only() {
        no("*", "");
        no("**", "");
        no("?", "");
        no("[^", "");
        no("", "a");
    }

    #[test]
    fn classes() {
        yes("h[ae]llo", "hello");
        no("h[ae]llo", "hillo");
        yes("h[^e]llo", "hallo");
        no("h[^e]llo", "hello");
        yes("[a-c]", "b");
        yes("[c-a]", "b");
        no("[a-c]", "d");
        yes("[a-cx-z]", "y");
        yes("[\\]]", "]");
        yes("[\\-]", "-");
        no("[]a]", "a");
        yes("[^]", "q");
        yes("[a^]", "^");
        // A `]` may be the upper bound of a range; the class then stays open to the end.
        yes("[a-]", "]");
        yes("[a-]", "_");
    }

    #[test]
    fn an_open_class_runs_to_the_end() {
        yes("[abc", "b");
        no("[abc", "d");
        no("[", "a");
        no("[", "[");
        yes("[^", "a");
        yes("[a-", "-");
        yes("[a-", "a");
        yes("[a\\", "\\");
        yes("x*[ab", "xyzb");
    }

    #[test]
    fn backslashes() {
        yes("\\*", "*");
        no("\\*", "a");
        yes("a\\", "a\\");
        yes("\\a", "a");
        yes("\\\\", "\\");
        yes("*\\*", "ab*");
    }

    #[test]
    fn letter_case() {
        assert!(matches(b"HeLLo*", b"hEllO world", true));
        assert!(!matches(b"HeLLo", b"hello", false));
        assert!(matches(b"[A-C]", b"b", true));
        assert!(matches(b"[X]", b"x", true));
        assert!(
            !matches(b"[\\X]", b"x", true),
            "an escaped byte in a class is exact"
        );
        assert!(matches(b"\\X", b"x", true));
        assert!(matches(b"*B", b"aaab", true));
    }

    #[test]
    fn ranges_compare_signed_bytes() {
        assert!(matches(b"[a-\xff]", b"\xff", false));
        assert!(matches(b"[a-\xff]", b"\x00", false));
        assert!(!matches(b"[a-\xff]", b"z", false));
        assert!(!matches(b"[a-\xff]", b"\xfe", false));
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        let pattern = b"a*".repeat(2_000);
        let mut text = vec![b'a'; 20_000];
        assert!(matches(&pattern, &text, false));
        let pattern = [b"*a".repeat(500), b"*b".to_vec()].concat();
        assert!(!matches(&pattern, &text, false));
        text.push(b'b');
        assert!(matches(&pattern, &text, false));
    }
}
