//! What the allocator, jemalloc, really takes for a request.

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
