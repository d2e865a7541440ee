//! Replies that a client was too slow to take.
//!
//! They are kept in pieces, so that a long queue is neither moved nor doubled when it grows, and memory is given back
//! piece by piece as it is sent. Long strings are pieces that others have too, and are not copied: they go out with what stands
//! around them in one call.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

use crate::value::shared::{Sent, SharedBytes};

/// A piece grows up to this before the next one is begun. Longer replies are pieces of their own.
const PIECE_BYTES: usize = 256 * 1024;
/// So many pieces go out in one call at most.
const PIECES_AT_ONCE: usize = 64;

/// A queue of bytes.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pieces: VecDeque<Piece>,
    /// Bytes of the first piece that are sent.
    sent: usize,
    len: usize,
    capacity: usize,
}

#[derive(Debug)]
enum Piece {
    Own(Vec<u8>),
    Shared(Sent),
}

impl Piece {
    /// What it takes for itself. Long strings are counted where all of them are.
    fn capacity(&self) -> usize {
        match self {
            Self::Own(bytes) => bytes.capacity(),
            Self::Shared(_) => 0,
        }
    }
}

impl Deref for Piece {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

impl Outbox {
    /// Bytes to be sent.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What the pieces take, without the long strings.
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many pieces there are.
    pub(super) fn pieces(&self) -> usize {
        self.pieces.len()
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.len += bytes.len();
        match self.pieces.back_mut() {
            Some(Piece::Own(last)) if last.len() + bytes.len() <= PIECE_BYTES => {
                self.capacity -= last.capacity();
                last.extend_from_slice(bytes);
                self.capacity += last.capacity();
            }
            _ => {
                self.capacity += bytes.len();
                self.pieces.push_back(Piece::Own(bytes.to_vec()));
            }
        }
    }

    /// The same of a string that is not copied.
    pub(super) fn push_shared(&mut self, bytes: SharedBytes) {
        if !bytes.is_empty() {
            self.len += bytes.len();
            self.pieces.push_back(Piece::Shared(bytes.into()));
        }
    }

    /// Sends what the stream takes. The number of bytes, or an error where the stream is closed.
    pub(super) fn poll_send<S: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
    ) -> Result<usize, ()> {
        let before = self.len;
        while !self.is_empty() {
            match self.poll_write(cx, stream) {
                Poll::Ready(Ok(n)) if n > 0 => self.advance(n),
                Poll::Ready(_) => return Err(()),
                Poll::Pending => break,
            }
        }
        Ok(before - self.len)
    }

    fn poll_write<S: AsyncWrite + Unpin>(
        &self,
        cx: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<std::io::Result<usize>> {
        let stream = Pin::new(stream);
        let mut pieces = self.pieces.iter();
        let first = pieces.next().map_or(&[][..], |first| &first[self.sent..]);
        if self.pieces.len() == 1 {
            return stream.poll_write(cx, first);
        }
        let mut slices = [IoSlice::new(&[]); PIECES_AT_ONCE];
        slices[0] = IoSlice::new(first);
        let mut count = 1;
        for (slice, piece) in slices[1..].iter_mut().zip(pieces) {
            *slice = IoSlice::new(piece);
            count += 1;
        }
        stream.poll_write_vectored(cx, &slices[..count])
    }

    /// So many bytes are sent.
    fn advance(&mut self, mut sent: usize) {
        self.len -= sent;
        while let Some(first) = self.pieces.front() {
            let rest = first.len() - self.sent;
            if sent < rest {
                self.sent += sent;
                return;
            }
            sent -= rest;
            self.sent = 0;
            self.capacity -= first.capacity();
            self.pieces.pop_front();
        }
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

    /// Has a stream take all of it, a part at a time.
    fn drain(outbox: &mut Outbox) -> Vec<u8> {
        let mut stream = Narrow {
            taken: Vec::new(),
            room: 0,
        };
        let mut cx = Context::from_waker(std::task::Waker::noop());
        while !outbox.is_empty() {
            stream.room = 100_000;
            assert!(outbox.poll_send(&mut cx, &mut stream).is_ok());
        }
        stream.taken
    }

    #[test]
    fn a_long_string_leaves_in_its_place_and_is_not_copied() {
        let mut outbox = Outbox::default();
        let long = SharedBytes::from(vec![7; 3 * PIECE_BYTES]);
        outbox.push(b"head");
        outbox.push_shared(long.clone());
        outbox.push_shared(SharedBytes::default());
        outbox.push(b"tail");
        assert_eq!(outbox.len(), long.len() + 8);
        assert!(
            outbox.capacity() < PIECE_BYTES,
            "what is shared is counted elsewhere"
        );
        let is_it = |piece: &Piece| piece.as_ptr() == long.as_ptr();
        assert!(outbox.pieces.iter().any(is_it));
        let expected = [b"head", &*long, b"tail"].concat();
        let taken = drain(&mut outbox);
        assert!(taken == expected);
        assert_eq!((outbox.capacity(), long.is_shared()), (0, false));
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
        let taken = drain(&mut outbox);
        assert_eq!(taken, expected);
        assert_eq!(outbox.capacity(), 0);
    }
}
