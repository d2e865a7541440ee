//! A long argument on its way: it is received into what becomes the value, and is copied nowhere.
//!
//! The first part of it came with the head of its request and is copied. Room is made as more arrives: [`ROOM_FACTOR`] times
//! that, or as much as the client has sent before, so that nobody has memory for what is only announced. Of such room the
//! system gives only what is written.

use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::BufMut;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::resp::request::{Coming, Received};
use crate::value::recycled;

/// Room is made for so many times what has arrived.
const ROOM_FACTOR: usize = 8;
const ROOM_MIN: usize = 16 * 1024;

/// A long argument on its way.
#[derive(Debug)]
pub(super) struct Arriving {
    coming: Coming,
    bytes: Vec<u8>,
}

impl Arriving {
    /// One of which so much has arrived. `sent_before` is the longest that the client has sent.
    pub(super) fn new(coming: Coming, arrived: &[u8], sent_before: usize) -> Self {
        let mut arriving = Self {
            coming,
            bytes: Vec::new(),
        };
        arriving.make_room(arrived.len(), sent_before);
        arriving.bytes.extend_from_slice(arrived);
        arriving
    }

    fn make_room(&mut self, arrived: usize, sent_before: usize) {
        let room = arrived.saturating_mul(ROOM_FACTOR).max(ROOM_MIN);
        let room = room.max(sent_before).min(self.coming.len);
        match recycled::take(room) {
            Some(mut kept) => {
                kept.extend_from_slice(&self.bytes);
                recycled::keep(&mut std::mem::replace(&mut self.bytes, kept));
            }
            None => self.bytes.reserve_exact(room - self.bytes.len()),
        }
    }

    /// The bytes that have arrived.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// The bytes of all of it.
    pub(super) fn whole_len(&self) -> usize {
        self.coming.len
    }

    pub(super) fn is_whole(&self) -> bool {
        self.bytes.len() == self.coming.len
    }

    /// Receives more; the number of bytes, 0 where the stream is closed.
    pub(super) fn poll_receive<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
        sent_before: usize,
    ) -> Poll<std::io::Result<usize>> {
        if self.bytes.len() == self.bytes.capacity() {
            self.make_room(self.bytes.len(), sent_before);
        }
        let room = self.bytes.capacity().min(self.coming.len) - self.bytes.len();
        let mut room = (&mut self.bytes).limit(room);
        pin!(Pin::new(stream).read_buf(&mut room)).poll(cx)
    }

    /// What the request is parsed with.
    pub(super) fn received(self) -> Received {
        Received {
            at: self.coming.at,
            bytes: self.bytes.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(mut arriving: Arriving, value: &[u8], sent_before: usize) -> (Received, usize) {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut moved = 0;
        while !arriving.is_whole() {
            let (at, before) = (arriving.bytes.as_ptr(), arriving.len());
            // The socket has some of it at a time.
            let mut stream = &value[before..value.len().min(before + 100_000)];
            let read = arriving.poll_receive(&mut cx, &mut stream, sent_before);
            assert!(matches!(read, Poll::Ready(Ok(n)) if n > 0 && arriving.len() == before + n));
            if arriving.bytes.as_ptr() != at {
                moved += before;
            }
            let bound = (ROOM_FACTOR * before).max(ROOM_MIN).max(sent_before);
            assert!(arriving.capacity() <= bound.min(value.len()));
        }
        (arriving.received(), moved)
    }

    #[test]
    fn a_long_argument_is_received_where_it_stays_and_what_is_announced_has_no_memory() {
        let value: Vec<u8> = (0..4u32 << 20).map(|i| (i % 251) as u8).collect();
        let coming = Coming {
            at: 30,
            len: value.len(),
        };
        let (received, moved) = receive(Arriving::new(coming, &value[..65_536], 0), &value, 0);
        assert!(*received.bytes == *value && received.at == 30);
        assert!(moved <= value.len() / ROOM_FACTOR + 65_536, "{moved}");
        // Who has sent as much before has room at once.
        let sent = value.len();
        let (received, moved) = receive(Arriving::new(coming, &value[..10], sent), &value, sent);
        assert!(*received.bytes == *value);
        assert_eq!(moved, 0);
    }

    #[test]
    fn a_closed_stream_gives_no_bytes() {
        let coming = Coming { at: 0, len: 40_000 };
        let mut arriving = Arriving::new(coming, b"some", 0);
        assert!(arriving.capacity() <= ROOM_MIN);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let read = arriving.poll_receive(&mut cx, &mut &b""[..], 0);
        assert!(matches!(read, Poll::Ready(Ok(0))));
    }
}
