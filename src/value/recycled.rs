//! Memory of long strings that nobody has any more, kept for the next ones of its size.
//!
//! A client that writes long strings again and again frees one for each that it sends. The allocator joins what is freed,
//! and gives pieces of some megabytes back to the system at once: the next value is then made of pages that the system has to
//! find and clear one by one, which costs more than to receive the value. So what is freed is kept here first.
//!
//! What is kept is bounded ([`set_limit`]); beyond that the oldest goes. Once nobody has brought or taken anything for
//! some seconds all of it goes ([`give_back_idle`]).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::allocator::size_class;

/// Shorter ones are left to the allocator, which gives them back less eagerly and is hardly asked in the time that they take.
pub const RECYCLED_BYTES_MIN: usize = 128 * 1024;
/// The most that is kept, in bytes.
pub const KEPT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The same as a share of `maxmemory`.
const KEPT_SHARE: usize = 32;
/// So many looks without any use in between, and all is given back.
const IDLE_LOOKS: u32 = 4;

static KEPT: Kept = Kept::new();

struct Kept {
    pool: Mutex<Pool>,
    /// The most that `pool` may hold, in bytes.
    limit: AtomicUsize,
}

/// Invariant: `bytes` is the sum of the capacities, and each of these is at least [`RECYCLED_BYTES_MIN`].
#[derive(Debug, Default)]
struct Pool {
    /// The oldest first.
    buffers: VecDeque<Vec<u8>>,
    bytes: usize,
    idle_looks: u32,
}

/// An empty vector with room for exactly `len` bytes.
pub fn vec_of(len: usize) -> Vec<u8> {
    take(len).unwrap_or_else(|| Vec::with_capacity(len))
}

/// The same, if one is kept.
pub fn take(len: usize) -> Option<Vec<u8>> {
    (len >= RECYCLED_BYTES_MIN).then(|| KEPT.take(len))?
}

/// Keeps the memory of a vector that nobody needs any more, if it is a long one.
#[inline]
pub fn keep(bytes: &mut Vec<u8>) {
    if bytes.capacity() >= RECYCLED_BYTES_MIN {
        KEPT.keep(std::mem::take(bytes));
    }
}

/// Keeps no more than a share of `maxmemory` from now on; 0 is no limit there.
pub fn set_limit(maxmemory: u64) {
    let share = usize::try_from(maxmemory).unwrap_or(usize::MAX) / KEPT_SHARE;
    let limit = if maxmemory == 0 {
        KEPT_BYTES_MAX
    } else {
        share
    };
    KEPT.set_limit(limit.min(KEPT_BYTES_MAX));
}

/// To be called each second or so: frees all of it once it is idle. Whether anything was freed.
pub fn give_back_idle() -> bool {
    KEPT.give_back_idle()
}

impl Kept {
    const fn new() -> Self {
        Self {
            pool: Mutex::new(Pool {
                buffers: VecDeque::new(),
                bytes: 0,
                idle_looks: 0,
            }),
            limit: AtomicUsize::new(KEPT_BYTES_MAX),
        }
    }

    fn take(&self, len: usize) -> Option<Vec<u8>> {
        let mut bytes = self.pool.lock().take(size_class(len))?;
        bytes.clear();
        // Of the same class: the allocator leaves it where it is.
        bytes.reserve_exact(len);
        Some(bytes)
    }

    fn keep(&self, bytes: Vec<u8>) {
        let limit = self.limit.load(Ordering::Relaxed);
        if bytes.capacity() <= limit {
            // What goes is freed when the lock is.
            let _oldest = self.pool.lock().keep(bytes, limit);
        }
    }

    fn set_limit(&self, limit: usize) {
        if self.limit.swap(limit, Ordering::Relaxed) > limit {
            let _oldest = self.pool.lock().shrink_to(limit);
        }
    }

    fn give_back_idle(&self) -> bool {
        let mut pool = self.pool.lock();
        pool.idle_looks = pool.idle_looks.saturating_add(1);
        if pool.idle_looks <= IDLE_LOOKS || pool.bytes == 0 {
            return false;
        }
        let all = pool.shrink_to(0);
        drop(pool);
        drop(all);
        true
    }
}

impl Pool {
    /// The newest of a size class, which is the likeliest to be in a cache of the processor.
    fn take(&mut self, class: usize) -> Option<Vec<u8>> {
        self.idle_looks = 0;
        let fits = |buffer: &Vec<u8>| size_class(buffer.capacity()) == class;
        let index = self.buffers.iter().rposition(fits)?;
        let buffer = self.buffers.remove(index)?;
        self.bytes -= buffer.capacity();
        Some(buffer)
    }

    /// Adds one; gives what has to go for it.
    fn keep(&mut self, buffer: Vec<u8>, limit: usize) -> Vec<Vec<u8>> {
        self.idle_looks = 0;
        self.bytes += buffer.capacity();
        self.buffers.push_back(buffer);
        self.shrink_to(limit)
    }

    fn shrink_to(&mut self, limit: usize) -> Vec<Vec<u8>> {
        let mut gone = Vec::new();
        while self.bytes > limit {
            let Some(oldest) = self.buffers.pop_front() else {
                break;
            };
            self.bytes -= oldest.capacity();
            gone.push(oldest);
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: usize = RECYCLED_BYTES_MIN;

    fn addresses(kept: &Kept) -> Vec<*const u8> {
        let pool = kept.pool.lock();
        assert_eq!(
            pool.bytes,
            pool.buffers.iter().map(Vec::capacity).sum::<usize>()
        );
        pool.buffers.iter().map(|buffer| buffer.as_ptr()).collect()
    }

    #[test]
    fn the_next_value_of_a_size_takes_the_memory_of_the_last() {
        let kept = Kept::new();
        let (first, second) = (vec![1; MIN + 1000], vec![2; 4 * MIN]);
        let (at_first, at_second) = (first.as_ptr(), second.as_ptr());
        kept.keep(first);
        kept.keep(second);
        assert!(kept.take(2 * MIN).is_none(), "of no such class");
        let taken = kept.take(MIN + 1000).expect("it is there");
        assert_eq!(
            (taken.as_ptr(), taken.len(), taken.capacity()),
            (at_first, 0, MIN + 1000)
        );
        assert_eq!(addresses(&kept), [at_second]);
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_oldest_goes() {
        let kept = Kept::new();
        kept.set_limit(3 * MIN);
        let buffers: Vec<_> = (0..5).map(|_| Vec::with_capacity(MIN)).collect();
        let at: Vec<_> = buffers.iter().map(|buffer| buffer.as_ptr()).collect();
        buffers.into_iter().for_each(|buffer| kept.keep(buffer));
        assert_eq!(addresses(&kept), at[2..]);
        kept.keep(Vec::with_capacity(3 * MIN + 1));
        assert_eq!(
            addresses(&kept),
            at[2..],
            "one beyond the limit is not kept"
        );
        kept.set_limit(MIN);
        assert_eq!(addresses(&kept), at[4..]);
        kept.set_limit(0);
        assert_eq!(addresses(&kept), [] as [*const u8; 0]);
    }

    #[test]
    fn what_nobody_uses_is_given_back() {
        let kept = Kept::new();
        kept.keep(Vec::with_capacity(MIN));
        let looks = |count| (0..count).any(|_| kept.give_back_idle());
        assert!(!looks(IDLE_LOOKS));
        assert!(kept.take(MIN * 8).is_none());
        assert!(!looks(IDLE_LOOKS), "somebody has asked");
        assert!(looks(1));
        assert!(!looks(2 * IDLE_LOOKS), "nothing is left");
        assert_eq!(addresses(&kept), [] as [*const u8; 0]);
    }
}
