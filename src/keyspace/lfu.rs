//! The LFU record of an entry: minutes of the last decay (16 bits) and a logarithmic counter (8).
//!
//! The counter goes up with a probability that falls as it rises, and down by one for each
//! `decay_time_min` without an access, which is what Redis's `allkeys-lfu` means.

use crate::config::Config;

/// A new key starts here, so that it is not the first to go.
pub(super) const INITIAL: u8 = 5;

/// The two settings, `lfu-log-factor` and `lfu-decay-time`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LfuSettings {
    /// How much harder each step up is.
    pub log_factor: u32,
    /// Minutes for one step down; 0 never goes down.
    pub decay_time_min: u32,
}

impl LfuSettings {
    /// By the options in force.
    pub fn of(config: &Config) -> Self {
        Self {
            log_factor: config.lfu_log_factor,
            decay_time_min: config.lfu_decay_time_min,
        }
    }
}

fn pack(minutes: u16, counter: u8) -> u32 {
    u32::from(minutes) << 8 | u32::from(counter)
}

/// The record of a new key.
pub fn first(now_minutes: u64) -> u32 {
    pack(now_minutes as u16, INITIAL)
}

/// The record of a key with a counter.
pub fn with_counter(now_minutes: u64, counter: u8) -> u32 {
    pack(now_minutes as u16, counter)
}

/// The counter of a record now, after its decay.
pub fn counter(record: u32, now_minutes: u64, settings: LfuSettings) -> u8 {
    let elapsed = (now_minutes as u16).wrapping_sub((record >> 8) as u16);
    let steps = u32::from(elapsed)
        .checked_div(settings.decay_time_min)
        .unwrap_or(0);
    (record as u8).saturating_sub(u8::try_from(steps).unwrap_or(u8::MAX))
}

/// The record after an access; `random` is any 64-bit random number.
pub fn accessed(record: u32, now_minutes: u64, settings: LfuSettings, random: u64) -> u32 {
    let counter = counter(record, now_minutes, settings);
    let above = u64::from(counter.saturating_sub(INITIAL));
    let odds = above * u64::from(settings.log_factor) + 1;
    let up = counter < u8::MAX && random.is_multiple_of(odds);
    pack(now_minutes as u16, counter + u8::from(up))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: LfuSettings = LfuSettings {
        log_factor: 10,
        decay_time_min: 1,
    };

    #[test]
    fn a_counter_rises_slowly_and_decays_by_the_minute() {
        let mut record = first(100);
        for i in 0..1000u64 {
            record = accessed(
                record,
                100,
                SETTINGS,
                i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20,
            );
        }
        let top = counter(record, 100, SETTINGS);
        assert!((10..40).contains(&top), "{top}");
        assert_eq!(counter(record, 103, SETTINGS), top - 3);
        assert_eq!(counter(record, 600, SETTINGS), 0);
        assert_eq!(
            counter(
                record,
                600,
                LfuSettings {
                    decay_time_min: 0,
                    ..SETTINGS
                }
            ),
            top
        );
    }

    #[test]
    fn the_counter_stops_at_its_limit() {
        assert_eq!(accessed(pack(1, 255), 1, SETTINGS, 0), pack(1, 255));
    }
}
