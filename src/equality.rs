//! Equality of short texts: names of commands, and keys.

/// Whether two texts are equal, without a call for those of up to 32 bytes, as nearly all keys are: the halves of both,
/// which overlap where the length is no power of two, are compared as numbers.
#[inline]
pub(crate) fn equal(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    match a.len() {
        0 => true,
        1..4 => a[0] == b[0] && a[a.len() / 2] == b[b.len() / 2] && a.last() == b.last(),
        4..8 => ends::<4>(a, b),
        8..16 => ends::<8>(a, b),
        16..=32 => ends::<16>(a, b),
        _ => a == b,
    }
}

#[inline]
fn ends<const N: usize>(a: &[u8], b: &[u8]) -> bool {
    a.first_chunk::<N>() == b.first_chunk() && a.last_chunk::<N>() == b.last_chunk()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_equality_of_slices_at_every_byte() {
        for len in 0..70 {
            let text: Vec<u8> = (0..len).map(|i| (i as u8).wrapping_mul(7)).collect();
            assert!(equal(&text, &text.clone()));
            for at in 0..text.len() {
                let mut other = text.clone();
                other[at] ^= 1;
                assert!(!equal(&text, &other), "{len} bytes, {at}");
                assert!(!equal(&text, &text[..at]));
            }
        }
    }
}
