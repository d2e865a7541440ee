//! Requests that are kept to run later, as those behind MULTI are.

use std::ops::Range;

use super::request::{APART, Args, Span};
use crate::value::shared::SharedBytes;

/// Copies of requests, one behind the other in one buffer. Arguments that were received apart are shared, not copied.
#[derive(Debug, Default)]
pub struct Queue {
    bytes: Vec<u8>,
    spans: Vec<Span>,
    apart: Vec<SharedBytes>,
    apart_bytes: usize,
    requests: Vec<Range<usize>>,
}

impl Queue {
    /// Adds a request.
    pub fn push(&mut self, args: &Args<'_>) {
        for at in 0..args.len() {
            let Some(shared) = args.shared(at) else {
                self.push_word(args.at(at));
                continue;
            };
            self.apart.push(shared.clone());
            self.apart_bytes += shared.len();
            self.spans.push(Span {
                start: APART | (self.apart.len() - 1),
                len: shared.len(),
            });
        }
        self.end_request();
    }

    /// Adds a word to the request that is being made.
    pub fn push_word(&mut self, word: &[u8]) {
        let (start, len) = (self.bytes.len(), word.len());
        self.bytes.extend_from_slice(word);
        self.spans.push(Span { start, len });
    }

    /// The request that was being made has all its words.
    pub fn end_request(&mut self) {
        let first = self.requests.last().map_or(0, |request| request.end);
        self.requests.push(first..self.spans.len());
    }

    /// Forgets all requests.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.spans.clear();
        self.apart.clear();
        self.apart_bytes = 0;
        self.requests.clear();
    }

    /// The number of requests.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// The arguments of a request.
    pub fn args(&self, index: usize) -> Args<'_> {
        Args {
            bytes: &self.bytes,
            spans: &self.spans[self.requests[index].clone()],
            apart: &self.apart,
        }
    }

    /// What the requests take in memory.
    pub fn memory_bytes(&self) -> usize {
        let spans = self.spans.capacity() * size_of::<Span>();
        let requests = self.requests.capacity() * size_of::<Range<usize>>();
        self.bytes.capacity() + spans + requests + self.apart_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::request::Unfinished;
    use crate::resp::{Batch, RequestLimits};

    #[test]
    fn requests_are_kept_as_they_came() {
        let buffer = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*3\r\n$3\r\nSET\r\n$0\r\n\r\n$3\r\na\r\n\r\nPING \"a b\"\r\n";
        let limits = RequestLimits {
            bulk_bytes: 1000,
            authenticated: true,
        };
        let mut batch = Batch::default();
        let mut unfinished = Unfinished::default();
        batch
            .parse(buffer, 0, 10, limits, &mut unfinished)
            .expect("well-formed");
        let mut queue = Queue::default();
        (0..batch.len()).for_each(|index| queue.push(&batch.args(buffer, index)));
        let all = |args: Args<'_>| -> Vec<Vec<u8>> { args.from(0).map(<[u8]>::to_vec).collect() };
        assert_eq!(queue.len(), 3);
        for index in 0..3 {
            assert_eq!(all(queue.args(index)), all(batch.args(buffer, index)));
        }
        assert_eq!(all(queue.args(1)), [&b"SET"[..], b"", b"a\r\n"]);
        assert!(queue.memory_bytes() >= 3 + 1 + 3 + 3 + 4 + 3);
    }
}
