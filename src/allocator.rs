//! What the allocator, jemalloc, really takes for a request, and how it gives back what is free.

use tikv_jemalloc_ctl::{Access, AsName, arenas};

/// The size that jemalloc takes for a request of `bytes`: four classes for each doubling, in steps
/// of 16 up to 128.
///
/// Counting by this formula, which a test holds against the allocator, costs no call into it.
#[inline]
pub fn size_class(bytes: usize) -> usize {
    if bytes <= 8 {
        return 8;
    }
    if bytes <= 128 {
        return bytes.next_multiple_of(16);
    }
    let doubling = usize::BITS - 1 - (bytes - 1).leading_zeros();
    bytes.next_multiple_of(1 << (doubling - 2))
}

/// Asks the allocator to give its free pages back to the system. False where it could not.
pub fn purge() -> bool {
    arenas::narenas::read().is_ok_and(|count| (0..count).all(purge_arena))
}

/// The same for the pages that the calling thread has freed: for who has had much memory for a short time. The allocator
/// keeps them for half a second, and where the thread is idle then for longer.
pub fn purge_of_thread() {
    let name: &[u8] = b"thread.arena\0";
    if let Ok(arena) = Access::<u32>::read(name.name()) {
        purge_arena(arena);
    }
}

/// jemalloc's own call for it has no safe form; setting the decay time of an arena to zero gives
/// back all of its free pages, and then it gets its decay time again.
fn purge_arena(arena: u32) -> bool {
    let name = format!("arena.{arena}.dirty_decay_ms\0");
    let name = name.as_bytes().name();
    // An arena that no thread has used yet does not exist, and has nothing to give.
    let Ok(decay_ms) = Access::<isize>::read(name) else {
        return true;
    };
    let given = Access::<isize>::write(name, 0);
    given.and(Access::<isize>::write(name, decay_ms)).is_ok()
}
