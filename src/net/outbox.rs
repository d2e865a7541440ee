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

use crate::value::shared::SharedBytes;

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
    /// What the pieces take that are nobody else's, and of the others what was added to all that is on its way, and taken off.
    /// A string that many clients are to get is counted by the first of them, and goes with the last.
    counted: i64,
}

#[derive(Debug)]
enum Piece {
    Own(Vec<u8>),
    Shared(SharedBytes),
}

impl Piece {
    fn capacity(&self) -> usize {
        match self {
            Self::Own(bytes) => bytes.capacity(),
            Self::Shared(bytes) => bytes.len(),
        }
    }

    /// It has been sent, or never will be. What that takes off the account.
    fn end(&self) -> usize {
        match self {
            Self::Own(bytes) => bytes.capacity(),
            Self::Shared(bytes) => bytes.end_sending(),
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

    /// What the pieces take, each as if it were nobody else's.
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// What this queue adds to the memory in use.
    pub(super) fn counted(&self) -> i64 {
        self.counted
    }

    /// The same of an empty queue, which is what others are to take off, or have: it is nobody's from now on.
    pub(super) fn hand_over(&mut self) -> i64 {
        match self.is_empty() {
            true => std::mem::take(&mut self.counted),
            false => 0,
        }
    }

    /// Sends nothing more.
    pub(super) fn clear(&mut self) {
        for piece in std::mem::take(&mut self.pieces) {
            self.counted -= piece.end() as i64;
        }
        (self.sent, self.len, self.capacity) = (0, 0, 0);
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.len += bytes.len();
        match self.pieces.back_mut() {
            Some(Piece::Own(last)) if last.len() + bytes.len() <= PIECE_BYTES => {
                let before = last.capacity();
                last.extend_from_slice(bytes);
                let more = last.capacity() - before;
                self.capacity += more;
                self.counted += more as i64;
            }
            _ => {
                self.capacity += bytes.len();
                self.counted += bytes.len() as i64;
                self.pieces.push_back(Piece::Own(bytes.to_vec()));
            }
        }
    }

    /// The same of a string that is not copied.
    pub(super) fn push_shared(&mut self, bytes: SharedBytes) {
        if !bytes.is_empty() {
            self.len += bytes.len();
            self.capacity += bytes.len();
            self.counted += bytes.begin_sending() as i64;
            self.pieces.push_back(Piece::Shared(bytes));
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
            self.counted -= first.end() as i64;
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
        assert!(outbox.capacity() >= outbox.len(), "what is queued counts");
        let is_it = |piece: &Piece| piece.as_ptr() == long.as_ptr();
        assert!(outbox.pieces.iter().any(is_it));
        let expected = [b"head", &*long, b"tail"].concat();
        let taken = drain(&mut outbox);
        assert!(taken == expected);
        assert_eq!((outbox.capacity(), long.is_shared()), (0, false));
    }

    /// A value of 4 MB that 250 clients had asked for and did not read was counted as a gigabyte, and all keys were evicted.
    #[test]
    fn a_string_for_many_counts_once_until_the_last_has_it() {
        let long = SharedBytes::from(vec![7; 3 * PIECE_BYTES]);
        let mut outboxes: Vec<_> = (0..4).map(|_| Outbox::default()).collect();
        for outbox in &mut outboxes {
            outbox.push_shared(long.clone());
            outbox.push_shared(long.clone());
            assert_eq!(outbox.capacity(), 2 * long.len());
        }
        let counted = |outboxes: &[Outbox]| outboxes.iter().map(Outbox::counted).sum::<i64>();
        assert_eq!(counted(&outboxes), long.len() as i64);
        drain(&mut outboxes[0]);
        outboxes[1].clear();
        drain(&mut outboxes[3]);
        assert_eq!(counted(&outboxes), long.len() as i64);
        drain(&mut outboxes[2]);
        assert_eq!(counted(&outboxes), 0);
        // The first has what the last has taken off, and neither for long.
        let len = long.len() as i64;
        assert_eq!(
            (outboxes[0].hand_over(), outboxes[2].hand_over()),
            (len, -len)
        );
        assert_eq!((outboxes[0].counted(), outboxes[2].counted()), (0, 0));
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
