//! Replies that a client was too slow to take.
//!
//! They are kept in pieces, so that a long queue is neither moved nor doubled when it grows, and memory is given back
//! piece by piece as it is sent.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

/// A piece grows up to this before the next one is begun. Longer replies are pieces of their own.
const PIECE_BYTES: usize = 256 * 1024;

/// A queue of bytes.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pieces: VecDeque<Vec<u8>>,
    /// Bytes of the first piece that are sent.
    sent: usize,
    len: usize,
    capacity: usize,
}

impl Outbox {
    /// Bytes to be sent.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What the pieces take.
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.len += bytes.len();
        match self.pieces.back_mut() {
            Some(last) if last.len() + bytes.len() <= PIECE_BYTES => {
                self.capacity -= last.capacity();
                last.extend_from_slice(bytes);
                self.capacity += last.capacity();
            }
            _ => {
                self.capacity += bytes.len();
                self.pieces.push_back(bytes.to_vec());
            }
        }
    }

    /// Sends what the stream takes. The number of bytes, or an error where the stream is closed.
    pub(super) fn poll_send<S: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
    ) -> Result<usize, ()> {
        let before = self.len;
        while let Some(first) = self.pieces.front() {
            match Pin::new(&mut *stream).poll_write(cx, &first[self.sent..]) {
                Poll::Ready(Ok(n)) if n > 0 => {
                    self.sent += n;
                    self.len -= n;
                }
                Poll::Ready(_) => return Err(()),
                Poll::Pending => break,
            }
            if self.sent == first.len() {
                self.capacity -= first.capacity();
                self.pieces.pop_front();
                self.sent = 0;
            }
        }
        Ok(before - self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a few bytes at a time, then is full.
    struct Narrow {
        taken: Vec<u8>,
        room: usize,
    }

    impl AsyncWrite for Narrow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<std::io::Result<usize>> {
            let n = bytes.len().min(self.room).min(7);
            if n == 0 {
                return Poll::Pending;
            }
            self.room -= n;
            self.taken.extend_from_slice(&bytes[..n]);
            Poll::Ready(Ok(n))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn bytes_leave_in_order_and_memory_is_given_back() {
        let mut outbox = Outbox::default();
        let mut expected = Vec::new();
        for i in 0..5u8 {
            let reply = vec![i; PIECE_BYTES / 2 + usize::from(i)];
            outbox.push(&reply);
            expected.extend_from_slice(&reply);
        }
        assert_eq!(outbox.len(), expected.len());
        let mut stream = Narrow {
            taken: Vec::new(),
            room: 0,
        };
        let mut cx = Context::from_waker(std::task::Waker::noop());
        while !outbox.is_empty() {
            stream.room = 100_000;
            assert!(outbox.poll_send(&mut cx, &mut stream).is_ok());
        }
        assert_eq!(stream.taken, expected);
        assert_eq!(outbox.capacity(), 0);
    }
}
