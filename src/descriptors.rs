//! Descriptors of files and sockets: how many the process may have, and who gets them.
//!
//! The disk tier has a bounded share, which is kept free of clients: its open files, those of one merge, and of those who read.
//! Where the system allows few, the tier keeps fewer files open, and `maxclients` is lowered.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that are needed besides those of clients and the tier: the log, listeners, runtimes.
const OTHER: u64 = 32;
/// Files of the tier that stay open: where descriptors are scarce a part of them, but some.
const TIER_FILES: u64 = 96;
const TIER_FILES_MIN: u64 = 8;
const TIER_FILES_PART: u64 = 16;
/// Files that a merge has open at once, and those who read and write: as many where descriptors are scarce.
const TIER_WORK: u64 = 96;
const TIER_WORK_MIN: u64 = 48;

/// Who gets how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Files of the tier that stay open.
    pub tier_files: usize,
    /// What clients may have.
    pub clients: u64,
    /// How many the process may have at all.
    pub allowed: u64,
}

/// Raises the limit of the process to what so many clients need, as far as that is allowed, and divides what there is.
pub fn divide(clients: u32, has_tier: bool) -> Shares {
    let tier = if has_tier { TIER_FILES + TIER_WORK } else { 0 };
    let wanted = u64::from(clients) + OTHER + tier;
    shares(raise(wanted), has_tier)
}

fn shares(allowed: u64, has_tier: bool) -> Shares {
    let tier_files = (allowed / TIER_FILES_PART).clamp(TIER_FILES_MIN, TIER_FILES);
    let tier_work = (allowed / TIER_FILES_PART).clamp(TIER_WORK_MIN, TIER_WORK);
    let tier = if has_tier { tier_files + tier_work } else { 0 };
    Shares {
        tier_files: usize::try_from(tier_files).unwrap_or(usize::MAX),
        clients: allowed.saturating_sub(OTHER + tier).max(1),
        allowed,
    }
}

/// Gives how many are allowed then.
fn raise(wanted: u64) -> u64 {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return limit.current.unwrap_or(u64::MAX);
    }
    let maximum = limit.maximum.map_or(wanted, |maximum| maximum.max(wanted));
    // Raising the hard limit too needs a privilege; without it the hard limit is the most there is.
    let tries = [
        (Some(wanted), Some(maximum)),
        (limit.maximum, limit.maximum),
    ];
    let _ = tries
        .into_iter()
        .any(|(current, maximum)| setrlimit(Resource::Nofile, Rlimit { current, maximum }).is_ok());
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tier_has_its_share_before_clients() {
        let plenty = shares(100_000, true);
        assert_eq!(
            (plenty.tier_files, plenty.clients),
            (96, 100_000 - 32 - 192)
        );
        let few = shares(200, true);
        assert_eq!((few.tier_files, few.clients), (12, 200 - 32 - 12 - 48));
        assert_eq!(shares(200, false).clients, 168);
        assert_eq!(shares(20, true).clients, 1);
    }
}
