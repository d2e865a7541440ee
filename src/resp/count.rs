//! Replies in some bytes, one by one: where none of them may be sent any more, each must be replaced.

/// The whole replies at the beginning of these bytes, of RESP2 or RESP3, each in its place with another one. A push is no reply, and
/// stays; in RESP2 it looks like one.
pub fn replace_replies(mut bytes: &[u8], with: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::new();
    while let Some(rest) = skip(bytes) {
        let reply = &bytes[..bytes.len() - rest.len()];
        let is_push = reply.first() == Some(&b'>');
        replaced.extend_from_slice(if is_push { reply } else { with });
        bytes = rest;
    }
    replaced
}

/// What is behind the first reply, or push. An attribute belongs to what it stands before.
fn skip(mut bytes: &[u8]) -> Option<&[u8]> {
    let mut left: u64 = 1;
    while left > 0 {
        let end = bytes.windows(2).position(|two| two == b"\r\n")?;
        let (head, rest) = (&bytes[..end], &bytes[end + 2..]);
        let (&kind, number) = head.split_first()?;
        let number = std::str::from_utf8(number).ok();
        let number = number.and_then(|number| number.parse::<i64>().ok());
        let items = u64::try_from(number.unwrap_or(0)).unwrap_or(0);
        bytes = rest;
        left -= 1;
        match kind {
            b'$' | b'=' | b'!' if number.is_some_and(|length| length >= 0) => {
                bytes = rest.get(usize::try_from(items).ok()? + 2..)?;
            }
            b'*' | b'~' | b'>' => left += items,
            b'%' => left += 2 * items,
            b'|' => left += 2 * items + 1,
            _ => {}
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(bytes: &[u8]) -> usize {
        replace_replies(bytes, b"x").len()
    }

    #[test]
    fn messages_between_replies_stay() {
        let push = b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n";
        let bytes = [&b"+OK\r\n"[..], push, b"*1\r\n:1\r\n"].concat();
        let expected = [&b"-no\r\n"[..], push, b"-no\r\n"].concat();
        assert_eq!(replace_replies(&bytes, b"-no\r\n"), expected);
    }

    #[test]
    fn replies_of_all_kinds_are_counted() {
        let each: [&[u8]; 14] = [
            b"+OK\r\n",
            b"-ERR no\r\n",
            b":17\r\n",
            b"$3\r\n\r\n$\r\n",
            b"$-1\r\n",
            b"*-1\r\n",
            b"*0\r\n",
            b"*2\r\n$1\r\na\r\n*1\r\n:1\r\n",
            b"%1\r\n+a\r\n*2\r\n_\r\n#t\r\n",
            b"~1\r\n,1.5\r\n",
            b"=5\r\ntxt:a\r\n",
            b"!3\r\nERR\r\n",
            b"(123456789012345678901234567890\r\n",
            b"|1\r\n+a\r\n:1\r\n+OK\r\n",
        ];
        for reply in each {
            assert_eq!(count(reply), 1, "{}", reply.escape_ascii());
            assert_eq!(count(&reply[..reply.len() - 1]), 0);
        }
        assert_eq!(count(&each.concat()), each.len());
        assert_eq!(count(b""), 0);
    }
}
