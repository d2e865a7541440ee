//! How often an entry is used, in 24 bits: the frequency of the LFU eviction policies and of OBJECT FREQ.
//!
//! ```text
//! bit 23              8 7            0
//!     | decayed at, min | counter    |
//! ```
//!
//! The counter is logarithmic: the fuller it is, the less likely an access raises it, so that 8 bits tell a thousand
//! accesses from a million. It loses one for each span of unused time. The minutes are the low 16 bits of the clock's.
//! Time and randomness come in as arguments.

/// The counter of a new entry, above 0 so that it is not evicted before it had a chance to be used.
pub const INITIAL_COUNTER: u8 = 5;

/// The frequency of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lfu {
    /// The logarithmic counter as it was when last changed.
    pub counter: u8,
    /// The low 16 bits of the minute in which it was last changed.
    pub minutes: u16,
}

/// The two options of the LFU policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `lfu-log-factor`: how fast an increment becomes unlikely. With 0 every access counts.
    pub log_factor: u32,
    /// `lfu-decay-time`: the minutes for which the counter loses one. With 0 it never decays.
    pub decay_minutes: u32,
}

impl Lfu {
    /// The frequency of an entry made in the given minute.
    pub fn new(minutes: u16) -> Self {
        Lfu {
            counter: INITIAL_COUNTER,
            minutes,
        }
    }

    /// Reads the low 24 bits that [`Lfu::pack`] wrote.
    pub fn unpack(bits: u32) -> Self {
        Lfu {
            counter: bits as u8,
            minutes: (bits >> 8) as u16,
        }
    }

    /// The 24 bits, minutes above the counter.
    pub fn pack(self) -> u32 {
        u32::from(self.minutes) << 8 | u32::from(self.counter)
    }

    /// The counter less one for every full span of decay since it was changed. This is what OBJECT FREQ replies.
    pub fn decayed(self, now_minutes: u16, settings: Settings) -> u8 {
        // The minutes may have wrapped around once. Like Redis, count one less then.
        let elapsed = match now_minutes.checked_sub(self.minutes) {
            Some(elapsed) => elapsed,
            None => u16::MAX - self.minutes + now_minutes,
        };
        let lost = u32::from(elapsed)
            .checked_div(settings.decay_minutes)
            .unwrap_or(0);
        self.counter
            .saturating_sub(u8::try_from(lost).unwrap_or(u8::MAX))
    }

    /// The frequency after an access now: decayed, then perhaps incremented. `random` is uniform over all its values.
    #[must_use]
    pub fn touched(self, now_minutes: u16, random: u32, settings: Settings) -> Self {
        let counter = increment(
            self.decayed(now_minutes, settings),
            random,
            settings.log_factor,
        );
        Lfu {
            counter,
            minutes: now_minutes,
        }
    }
}

/// Raises `counter` by one with the probability `1 / ((counter - INITIAL_COUNTER) * log_factor + 1)`, and surely up to the
/// initial counter, but not past 255. `random` is uniform over all its values.
pub fn increment(counter: u8, random: u32, log_factor: u32) -> u8 {
    let base = u64::from(counter.saturating_sub(INITIAL_COUNTER));
    // random / 2^32 < 1 / odds, in whole numbers: at most 2^32 * 2^40, since base is below 2^8.
    let odds = u128::from(base * u64::from(log_factor) + 1);
    counter.saturating_add(u8::from(u128::from(random) * odds < 1 << 32))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: Settings = Settings {
        log_factor: 10,
        decay_minutes: 1,
    };

    #[test]
    fn packing_keeps_both_parts() {
        let lfu = Lfu {
            counter: 0xab,
            minutes: 0xcdef,
        };
        assert_eq!(lfu.pack(), 0xcd_efab);
        assert_eq!(Lfu::unpack(0xff00_0000 | lfu.pack()), lfu);
    }

    #[test]
    fn the_counter_decays_by_the_minute() {
        let lfu = Lfu {
            counter: 10,
            minutes: 100,
        };
        assert_eq!(lfu.decayed(100, DEFAULT), 10);
        assert_eq!(lfu.decayed(103, DEFAULT), 7);
        assert_eq!(lfu.decayed(110, DEFAULT), 0);
        assert_eq!(lfu.decayed(5000, DEFAULT), 0);
        assert_eq!(
            lfu.decayed(
                5000,
                Settings {
                    decay_minutes: 0,
                    ..DEFAULT
                }
            ),
            10
        );
        assert_eq!(
            lfu.decayed(
                119,
                Settings {
                    decay_minutes: 10,
                    ..DEFAULT
                }
            ),
            9
        );
        assert_eq!(
            Lfu {
                counter: 10,
                minutes: u16::MAX
            }
            .decayed(3, DEFAULT),
            7
        );
    }

    #[test]
    fn low_counters_always_rise_and_full_ones_stay() {
        assert_eq!(increment(0, u32::MAX, 10), 1);
        assert_eq!(increment(5, u32::MAX, 10), 6);
        assert_eq!(increment(6, u32::MAX, 10), 6);
        assert_eq!(increment(6, u32::MAX / 11, 10), 7);
        assert_eq!(increment(6, u32::MAX / 11 + 1, 10), 6);
        assert_eq!(increment(254, u32::MAX, 0), 255);
        assert_eq!(increment(255, 0, 0), 255);
        assert_eq!(increment(255, u32::MAX, u32::MAX), 255);
    }

    #[test]
    fn a_million_accesses_fill_the_counter_with_the_default_factor() {
        // The table in redis.conf: factor 10 gives about 10 after 100 accesses, 142 after 100k, 255 after 1M.
        let mut seed = 3u64;
        let mut lfu = Lfu::new(0);
        let mut at_100k = 0;
        for access in 0..1_500_000 {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            lfu = lfu.touched(0, (seed >> 32) as u32, DEFAULT);
            if access == 100_000 {
                at_100k = lfu.counter;
            }
        }
        assert!((130..155).contains(&at_100k), "{at_100k}");
        assert_eq!(lfu.counter, 255);
    }
}
