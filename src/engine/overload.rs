//! Whether the disk takes less than clients write: `tier-overload shed`.
//!
//! A command that memory has no room for waits for the writer. Where that takes too long the writer is behind, and stays so
//! until it has something safe again: until then no other command need wait as long to learn the same.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A command waits for the writer for so long before unwritten keys are evicted for it: a tenth of what most clients
/// allow a command, and more than a run of the writer takes on a healthy disk.
const PATIENCE: Duration = Duration::from_millis(100);

/// What is known of the writer.
#[derive(Debug, Default)]
pub struct Overload {
    /// The number of times that the writer had made something safe when it was found to be behind, and one more.
    behind: AtomicU64,
}

impl Overload {
    /// How long a command that has waited for so many milliseconds must still wait; `None`: unwritten keys go for it.
    /// `settled` counts how often the writer has made something safe.
    pub fn patience(&self, waited_ms: i64, settled: u64) -> Option<Duration> {
        if self.behind.load(Ordering::Relaxed) == settled + 1 {
            return None;
        }
        // A clock that was set back must not make it wait for longer.
        let waited = u64::try_from(waited_ms).map_or(PATIENCE, Duration::from_millis);
        let left = PATIENCE.checked_sub(waited).filter(|left| !left.is_zero());
        if left.is_none() {
            self.behind.store(settled + 1, Ordering::Relaxed);
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{TierDurability, TierOverload};
    use crate::keyspace::counters::{Counter, Counters};
    use crate::testing::{Answer, Db};

    const KEYS: usize = 12_000;

    /// A server whose memory holds fewer keys than that, and whose disk takes nothing.
    fn stalled(durability: TierDurability) -> Db {
        let mut db = Db::tiered(|config| {
            config.maxmemory = 8 << 20;
            config.tier_durability = durability;
            config.tier_overload = TierOverload::Shed;
        });
        db.is_stalled = true;
        db
    }

    fn sum(db: &Db, counter: fn(&Counters) -> &Counter) -> i64 {
        let counters = db.engine().keyspace.all_counters().iter();
        counters.map(|of_thread| counter(of_thread).read()).sum()
    }

    fn value(i: usize) -> String {
        format!("{i:01000}")
    }

    fn fill(db: &mut Db) {
        for i in 0..KEYS {
            db.run(&format!("SET k:{i} {}", value(i))).ok();
        }
    }

    fn is_nil(answer: &Answer) -> bool {
        answer.bytes() == b"$-1\r\n"
    }

    /// Each key has its value, or is gone. Gives how many are there.
    fn count(db: &mut Db) -> usize {
        let mut there = 0;
        for i in 0..KEYS {
            let answer = db.run(&format!("GET k:{i}"));
            if !is_nil(&answer) {
                answer.bulk(value(i));
                there += 1;
            }
        }
        there
    }

    #[test]
    fn unwritten_keys_go_when_the_disk_stalls() {
        for durability in [TierDurability::Everysec, TierDurability::None] {
            let mut db = stalled(durability);
            fill(&mut db);
            let shed = sum(&db, |c| &c.shed);
            assert!(shed > KEYS as i64 / 4, "{shed}");
            assert_eq!(sum(&db, |c| &c.evicted), shed);
            let there = KEYS - usize::try_from(shed).expect("a count");
            db.run("DBSIZE").int(there as i64);
            let used = db.engine().keyspace.used_bytes() + db.engine().other_bytes();
            assert!(used <= (8 << 20) + 4096, "{used}");
            assert_eq!(count(&mut db), there);
            // The disk is there again.
            db.is_stalled = false;
            db.write();
            fill(&mut db);
            assert_eq!(sum(&db, |c| &c.shed), shed);
            assert_eq!(count(&mut db), KEYS);
            // Keys that were set without a look below are counted twice until they are written.
            db.write();
            db.run("DBSIZE").int(KEYS as i64);
        }
    }

    #[test]
    fn no_older_version_comes_back_for_a_key_that_was_shed() {
        let mut db = stalled(TierDurability::Everysec);
        for i in 0..200 {
            db.run(&format!("SET old:{i} old")).ok();
        }
        db.write();
        for i in 0..200 {
            // One half of them nobody has looked for below.
            if i % 2 == 0 {
                db.run(&format!("APPEND old:{i} er")).int(5);
            } else {
                db.demote_all();
                db.run(&format!("SET old:{i} newer")).ok();
            }
        }
        fill(&mut db);
        let mut gone = 0;
        for i in 0..200 {
            let answer = db.run(&format!("GET old:{i}"));
            if is_nil(&answer) {
                gone += 1;
            } else {
                answer.bulk(if i % 2 == 0 { "older" } else { "newer" });
            }
        }
        assert!(gone > 0);
        db.is_stalled = false;
        db.write();
        db.demote_all();
        let still = (0..200).filter(|i| is_nil(&db.run(&format!("GET old:{i}"))));
        assert_eq!(still.count(), gone);
        let there = KEYS as i64 + 200 - sum(&db, |c| &c.shed);
        db.run("DBSIZE").int(there);
        assert_eq!(count(&mut db) as i64, there - 200 + gone as i64);
    }

    #[test]
    fn what_was_promised_is_not_shed() {
        let mut db = stalled(TierDurability::Always);
        fill(&mut db);
        assert_eq!(sum(&db, |c| &c.shed), 0);
        assert_eq!(count(&mut db), KEYS);
    }

    #[test]
    fn one_command_waits_and_the_others_learn_of_it() {
        let overload = Overload::default();
        let ms = Duration::from_millis;
        assert_eq!(overload.patience(0, 0), Some(ms(100)));
        assert_eq!(overload.patience(99, 0), Some(ms(1)));
        assert_eq!(overload.patience(0, 0), Some(ms(100)));
        assert_eq!(overload.patience(100, 0), None);
        assert_eq!(overload.patience(0, 0), None);
        assert_eq!(overload.patience(0, 1), Some(ms(100)));
        assert_eq!(overload.patience(-5, 1), None);
    }
}
