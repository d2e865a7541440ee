//! Bytes that several have: the value of a long string, a request that brings it, replies that are on their way with it.
//!
//! Nobody copies them: a request is read into what becomes the value, and a reply refers to it. Who changes them while others
//! have them too gets a copy of its own.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::recycled;
use crate::allocator::size_class;

/// From this size on a string is shared, not kept in its entry: smaller ones are copied faster than counted. It is also where
/// the allocator begins to give whole pages.
pub const SHARED_BYTES_MIN: usize = 16 * 1024;
/// What the allocator takes for the vector and all counters.
const HEAD_BYTES: usize = 48;

/// Bytes that several have.
///
/// Invariant: the allocator takes no more for them than for a vector of just their length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SharedBytes(Arc<Owned>);

/// The bytes themselves. The last one who has them leaves their memory to the next value of their size.
#[derive(Default)]
pub(crate) struct Owned {
    bytes: Vec<u8>,
    /// How many keys have them as their value, and, in the lower half, how many replies on their way refer to them.
    holders: AtomicU64,
}

/// One reply, and one key.
const REPLY: u64 = 1;
const KEY: u64 = 1 << 32;

/// Bytes that replies have on their way, and no key has: each once, however many replies that are. For a moment it may be too little:
/// who takes bytes off may be quicker than who adds them.
static SENT_ONLY: AtomicI64 = AtomicI64::new(0);

/// Bytes of long strings that are to be sent still and are no key's value any more, each once.
pub fn sent_only_bytes() -> usize {
    usize::try_from(SENT_ONLY.load(Ordering::Relaxed)).unwrap_or(0)
}

fn is_sent_only(holders: u64) -> bool {
    holders > 0 && holders < KEY
}

impl Owned {
    fn begin(&self, holder: u64) {
        let before = self.holders.fetch_add(holder, Ordering::Relaxed);
        self.count(before, before + holder);
    }

    fn end(&self, holder: u64) {
        let before = self.holders.fetch_sub(holder, Ordering::Relaxed);
        self.count(before, before - holder);
    }

    /// Whoever has them they do not change: their length is the same at the end.
    fn count(&self, before: u64, after: u64) {
        let len = self.bytes.len() as i64;
        match (is_sent_only(before), is_sent_only(after)) {
            (false, true) => _ = SENT_ONLY.fetch_add(len, Ordering::Relaxed),
            (true, false) => _ = SENT_ONLY.fetch_sub(len, Ordering::Relaxed),
            _ => {}
        }
    }

    fn new(bytes: Vec<u8>) -> Arc<Self> {
        Arc::new(Self {
            bytes,
            holders: AtomicU64::new(0),
        })
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes
    }
}

impl PartialEq for Owned {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Owned {}

impl Clone for Owned {
    fn clone(&self) -> Self {
        Self {
            bytes: copy_of(&self.bytes),
            holders: AtomicU64::new(0),
        }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        recycled::keep(&mut self.bytes);
    }
}

impl fmt::Debug for Owned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes.fmt(f)
    }
}

impl SharedBytes {
    /// What the allocator takes for so many.
    pub fn heap_bytes(len: usize) -> usize {
        HEAD_BYTES + size_class(len)
    }

    /// Whether others have them too.
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// The bytes, to be changed in place: a copy, if others have them too.
    pub fn to_mut(&mut self) -> &mut [u8] {
        &mut Arc::make_mut(&mut self.0).bytes
    }

    /// Changes the length; what is added reads as zero bytes.
    pub fn resize(&mut self, len: usize) {
        if let Some(Owned { bytes, .. }) = Arc::get_mut(&mut self.0) {
            bytes.reserve_exact(len.saturating_sub(bytes.len()));
            bytes.resize(len, 0);
            settle(bytes);
            return;
        }
        let mut bytes = recycled::vec_of(len);
        bytes.extend_from_slice(&self[..len.min(self.len())]);
        bytes.resize(len, 0);
        self.0 = Owned::new(bytes);
    }

    /// Puts other bytes in their place, where they lie if nobody else has them.
    pub fn overwrite(&mut self, with: &[u8]) {
        let fits = |bytes: &&mut Owned| size_class(bytes.bytes.len()) == size_class(with.len());
        match Arc::get_mut(&mut self.0).filter(fits) {
            Some(Owned { bytes, .. }) => {
                bytes.clear();
                bytes.extend_from_slice(with);
                settle(bytes);
            }
            None => *self = Self::from(with),
        }
    }

    /// What is counted, for a key that keeps its address.
    pub(crate) fn into_value(self) -> Arc<Owned> {
        self.0.begin(KEY);
        self.0
    }

    /// The other way round: the key has them no more.
    pub(crate) fn from_value(value: Arc<Owned>) -> Self {
        value.end(KEY);
        Self(value)
    }

    /// Those of a key that keeps them.
    pub(crate) fn of_value(value: &Arc<Owned>) -> Self {
        Self(Arc::clone(value))
    }
}

/// Bytes that a reply has until it is sent.
#[derive(Debug)]
pub struct Sent(SharedBytes);

impl From<SharedBytes> for Sent {
    fn from(bytes: SharedBytes) -> Self {
        bytes.0.begin(REPLY);
        Self(bytes)
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.0.0.end(REPLY);
    }
}

impl Deref for Sent {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

fn copy_of(bytes: &[u8]) -> Vec<u8> {
    let mut copy = recycled::vec_of(bytes.len());
    copy.extend_from_slice(bytes);
    copy
}

/// Gives back what the allocator takes beyond the length.
fn settle(bytes: &mut Vec<u8>) {
    if size_class(bytes.capacity()) > size_class(bytes.len()) {
        bytes.shrink_to_fit();
    }
}

impl From<Vec<u8>> for SharedBytes {
    fn from(mut bytes: Vec<u8>) -> Self {
        settle(&mut bytes);
        Self(Owned::new(bytes))
    }
}

impl From<&[u8]> for SharedBytes {
    fn from(bytes: &[u8]) -> Self {
        Self(Owned::new(copy_of(bytes)))
    }
}

impl Deref for SharedBytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.0.as_slice()
    }
}

impl AsRef<[u8]> for SharedBytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_changes_bytes_that_others_have_gets_a_copy() {
        let mut bytes = SharedBytes::from(&b"first"[..]);
        let other = bytes.clone();
        bytes.to_mut()[0] = b'F';
        assert_eq!((&*bytes, &*other), (&b"First"[..], &b"first"[..]));
        let at = bytes.as_ptr();
        bytes.to_mut()[1] = b'I';
        assert_eq!((&*bytes, bytes.as_ptr()), (&b"FIrst"[..], at));
        let other = bytes.clone();
        bytes.resize(7);
        assert_eq!((&*bytes, &*other), (&b"FIrst\0\0"[..], &b"FIrst"[..]));
        let other = bytes.clone();
        bytes.overwrite(b"another");
        assert_eq!((&*bytes, &*other), (&b"another"[..], &b"FIrst\0\0"[..]));
    }

    #[test]
    fn no_more_is_taken_than_for_the_length() {
        let capacity = |bytes: &SharedBytes| size_class(bytes.0.bytes.capacity());
        let mut long = Vec::with_capacity(1 << 20);
        long.resize(20_000, 1);
        let mut bytes = SharedBytes::from(long);
        assert_eq!(capacity(&bytes), size_class(20_000));
        for len in [20_001, 100_000, 70_000, 16_384, 3, 0, 40_000] {
            bytes.resize(len);
            assert_eq!(
                (bytes.len(), capacity(&bytes)),
                (len, size_class(len.max(1))),
                "{len}"
            );
        }
        let at = bytes.as_ptr();
        bytes.overwrite(&[7; 40_001]);
        assert_eq!((bytes.as_ptr(), bytes.len()), (at, 40_001));
        assert_eq!(capacity(&bytes), size_class(40_001));
    }

    /// A value of 4 MB that 250 clients had asked for and did not read was counted as a gigabyte, and one of 60 MB that one client was to
    /// get twice, once as the key's: all keys were evicted.
    #[test]
    fn what_replies_have_counts_once_and_only_while_no_key_has_it() {
        // Of a length that no other test has on its way.
        const LEN: usize = 7_654_321;
        let counted = || sent_only_bytes() / LEN;
        let long = SharedBytes::from(vec![7; LEN]);
        let key = long.clone().into_value();
        let other_key = long.clone().into_value();
        let mut replies: Vec<_> = (0..3).map(|_| Sent::from(long.clone())).collect();
        assert_eq!(counted(), 0);
        drop(SharedBytes::from_value(key));
        assert_eq!(counted(), 0);
        drop(SharedBytes::from_value(other_key));
        assert_eq!(counted(), 1);
        replies.truncate(1);
        assert_eq!(counted(), 1);
        // RENAME takes it out and puts it in again.
        let key = long.clone().into_value();
        assert_eq!(counted(), 0);
        drop(SharedBytes::from_value(key));
        assert_eq!(counted(), 1);
        drop(replies);
        assert_eq!(counted(), 0);
    }
}
