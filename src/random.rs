//! Numbers by chance: which element a client gets, which key is looked at, what a model test does next.
//!
//! One generator for all of them: a linear congruence modulo 2^64 whose upper half is folded onto its lower one, since the low
//! bits of such a sequence alone repeat soon. It has one period of 2^64, so any seed will do, 0 too, and the same seed gives the
//! same numbers. Who can see some numbers can tell the next ones: nothing secret may come from here.
//!
//! The constants are those of the generator PCG (M. E. O'Neill, 2014).

/// A sequence of numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Random(pub u64);

impl Random {
    /// The next number of 64 bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        self.0 ^ self.0 >> 32
    }

    /// The next number below `n`, which is not 0.
    #[inline]
    pub fn below(&mut self, n: u64) -> u64 {
        self.next_u64() % n
    }

    /// True once in `n` times, which is not 0.
    #[inline]
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_remainder_comes_about_as_often_from_any_seed() {
        for (seed, n) in [(0, 2), (1, 3), (u64::MAX, 8), (42, 1000), (7, 1 << 12)] {
            let mut random = Random(seed);
            let mut counts = vec![0u64; n];
            let rounds = 200 * n as u64;
            (0..rounds).for_each(|_| counts[random.below(n as u64) as usize] += 1);
            let (least, most) = (counts.iter().min(), counts.iter().max());
            assert!(
                least > Some(&100) && most < Some(&300),
                "{seed} {n} {least:?} {most:?}"
            );
        }
    }
}
