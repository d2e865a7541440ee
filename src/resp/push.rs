//! Pushes: what a client is sent without having asked. The same bytes go to all who get one.

use crate::value::shared::{SHARED_BYTES_MIN, SharedBytes};

/// The last word of a push: a message that somebody has sent, which may be long.
#[derive(Clone, Debug)]
pub enum Payload<'a> {
    /// It is copied.
    Short(&'a [u8]),
    /// It is not.
    Long(SharedBytes),
}

impl<'a> Payload<'a> {
    /// Of the argument of a request; `shared` if that was received apart.
    pub fn new(bytes: &'a [u8], shared: Option<&SharedBytes>) -> Self {
        match shared {
            Some(shared) => Self::Long(shared.clone()),
            None if bytes.len() >= SHARED_BYTES_MIN => Self::Long(bytes.to_vec().into()),
            None => Self::Short(bytes),
        }
    }
}

/// A push in both protocols, which differ in the first byte alone.
#[derive(Debug)]
pub struct Push {
    /// All behind the first byte, without a long payload and what comes behind that.
    bytes: Box<[u8]>,
    long: Option<SharedBytes>,
}

impl Push {
    /// A push of these words and a payload.
    pub fn new(words: &[&[u8]], payload: &Payload<'_>) -> Self {
        let words_bytes: usize = words.iter().map(|word| word.len() + 16).sum();
        let mut bytes = Vec::with_capacity(words_bytes + 32);
        head(&mut bytes, None, words.len() + 1);
        for word in words {
            bulk(&mut bytes, word);
        }
        let long = match payload {
            Payload::Short(short) => {
                bulk(&mut bytes, short);
                None
            }
            Payload::Long(long) => {
                head(&mut bytes, Some(b'$'), long.len());
                Some(long.clone())
            }
        };
        Self {
            bytes: bytes.into(),
            long,
        }
    }

    /// How many bytes go out.
    pub fn sent_len(&self) -> usize {
        let long = self.long.as_ref().map_or(0, |long| long.len() + 2);
        1 + self.bytes.len() + long
    }

    /// What stands behind the first byte, and the long payload that comes after that.
    pub(super) fn parts(&self) -> (&[u8], Option<&SharedBytes>) {
        (&self.bytes, self.long.as_ref())
    }
}

fn head(bytes: &mut Vec<u8>, kind: Option<u8>, number: usize) {
    bytes.extend(kind);
    bytes.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    bytes.extend_from_slice(b"\r\n");
}

fn bulk(bytes: &mut Vec<u8>, word: &[u8]) {
    head(bytes, Some(b'$'), word.len());
    bytes.extend_from_slice(word);
    bytes.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::{Protocol, Reply};

    fn sent(push: &Push, protocol: Protocol) -> Vec<u8> {
        let mut reply = Reply::new(protocol);
        reply.pushed(push);
        assert_eq!(reply.sent_len(), push.sent_len());
        reply.take_joined()
    }

    #[test]
    fn a_push_is_an_array_in_resp2() {
        let push = Push::new(&[b"message", b"news"], &Payload::new(b"hello", None));
        let expected = b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nhello\r\n";
        assert_eq!(sent(&push, Protocol::Resp2), expected);
        let in_resp3 = sent(&push, Protocol::Resp3);
        assert_eq!((in_resp3[0], &in_resp3[1..]), (b'>', &expected[1..]));
    }

    #[test]
    fn a_long_payload_is_not_copied() {
        let long = vec![b'x'; SHARED_BYTES_MIN];
        let push = Push::new(&[b"message", b""], &Payload::new(&long, None));
        assert!(push.bytes.len() < 100);
        let head = format!("*3\r\n$7\r\nmessage\r\n$0\r\n\r\n${}\r\n", long.len());
        let expected = [head.as_bytes(), &long, b"\r\n"].concat();
        assert!(sent(&push, Protocol::Resp2) == expected);
    }
}
