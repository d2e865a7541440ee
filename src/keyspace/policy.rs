//! Where keys may be: what `tier-policy` says, as each entry carries it.
//!
//! The rules are asked when an entry comes into memory and when they change, and the entry keeps the answer in the bits of its
//! standing. So nobody who writes an entry, chooses a victim or takes an entry below compares keys; and where there are no rules
//! a new entry costs one look at a flag.
//!
//! An entry that is for **memory only** leaves memory as a deleted key does. What an older version has left below must go,
//! and a marker takes its place: the writer is shown such an entry as if it were a tombstone. [`below`] has the states.
//!
//! When the rules change new entries follow them at once, and a walk over memory brings the old ones into line. A key that
//! is below alone stays as it is until it is loaded.
//!
//! Invariant: the rules are read with the lock of the entry's shard held. So an entry that came in under older rules is seen
//! by the walk, which begins later.
//!
//! [`below`]: super::residency

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;

use super::compression;
use super::entry::Entry;
use super::residency::Place;
use super::table::Position;
use super::{Keyspace, Locked, SHARDS, ThreadSlot};
use crate::config::{TierPolicy, TierRules};

/// The rules in force.
#[derive(Debug, Default)]
pub(super) struct Policies {
    /// Whether there are any.
    are_set: AtomicBool,
    rules: ArcSwap<TierRules>,
    /// Whether old entries are still to be brought into line.
    have_changed: AtomicBool,
}

impl Keyspace {
    /// Has these rules hold from now on, for new entries; see [`Self::apply_policies`].
    pub fn set_policies(&self, rules: &TierRules) {
        let policies = &self.policies;
        if **policies.rules.load() == *rules {
            return;
        }
        policies.rules.store(Arc::new(rules.clone()));
        policies.are_set.store(!rules.is_empty(), Ordering::Release);
        policies.have_changed.store(true, Ordering::Release);
    }

    /// Where a key may be.
    pub fn policy_of(&self, key: &[u8]) -> TierPolicy {
        self.policies.rules.load().policy_of(key)
    }

    /// Whether entries may not be as the rules say.
    pub fn has_new_policies(&self) -> bool {
        self.policies.have_changed.load(Ordering::Acquire)
    }

    /// Brings all entries into line with the rules. `pause` is called after each shard.
    pub fn apply_policies(&self, thread: ThreadSlot, mut pause: impl FnMut()) {
        // First: a change meanwhile takes another walk.
        self.policies.have_changed.store(false, Ordering::Release);
        for shard in 0..SHARDS {
            self.apply_to_shard(shard, thread);
            pause();
        }
    }

    fn apply_to_shard(&self, shard: usize, thread: ThreadSlot) {
        let _inside = self.gate.enter(thread);
        let mut locked = self.lock_shard(shard, thread);
        let rules = self.policies.rules.load();
        for bucket in 0..locked.table.bucket_count() {
            for at in locked.table.positions(bucket) {
                let entry = locked.table.get(at);
                if entry.is_tombstone() {
                    continue;
                }
                let policy = rules.policy_of(entry.key());
                if entry.policy() != policy {
                    self.change_policy(&mut locked, at, policy);
                }
            }
        }
    }

    fn change_policy(&self, locked: &mut Locked<'_>, at: Position, policy: TierPolicy) {
        if locked.table.get(at).is_compressed() {
            compression::restore_at(locked, at);
        }
        let table = &mut locked.table;
        let before = table.get(at);
        let (was_pinned, was_memory_only) = (before.is_pinned(), before.is_memory_only());
        table.set_policy(at, policy);
        let after = table.get(at);
        let pinned = i64::from(after.is_pinned()) - i64::from(was_pinned);
        locked.counters.pinned_keys.add(pinned);
        if let Some(below) = &self.below
            && after.is_memory_only() != was_memory_only
        {
            let hash = self.hash(after.key());
            below.changed_policy(table.get_mut(at), Place::of(hash), hash, locked.thread);
        }
    }

    /// A new entry follows the rules. With the lock of its shard held.
    #[inline]
    pub(super) fn follow_policy(&self, mut entry: Entry) -> Entry {
        if !self.policies.are_set.load(Ordering::Relaxed) {
            return entry;
        }
        let policy = self.policy_of(entry.view().key());
        if entry.view().is_compressed() && policy != TierPolicy::Disk {
            entry = entry.restored();
        }
        entry.view_mut().set_policy(policy);
        entry
    }
}

#[cfg(test)]
mod tests {
    use crate::config::TierDurability;
    use crate::keyspace::counters::{Counter, Counters};
    use crate::random::Random;
    use crate::testing::{Answer, Db, script};

    const DURABILITIES: [TierDurability; 3] = [
        TierDurability::None,
        TierDurability::Everysec,
        TierDurability::Always,
    ];

    fn tiered(durability: TierDurability) -> Db {
        Db::tiered(|config| config.tier_durability = durability)
    }

    /// New rules, which all entries follow.
    fn rule(db: &mut Db, rules: &str) {
        db.run_args(&[b"CONFIG", b"SET", b"tier-policy", rules.as_bytes()])
            .ok();
        db.apply_policies();
        assert!(!db.engine().keyspace.has_new_policies());
    }

    /// Has what is not written yet written, and all that may leave memory do so.
    fn cool(db: &Db) {
        db.write();
        db.demote_all();
        db.write();
        db.demote_all();
    }

    fn sum(db: &Db, counter: fn(&Counters) -> &Counter) -> i64 {
        let counters = db.engine().keyspace.all_counters().iter();
        counters.map(|of_thread| counter(of_thread).read()).sum()
    }

    fn records(db: &Db) -> u64 {
        let tier = db.engine().tier.as_ref().expect("there is one");
        tier.stats().store.records
    }

    fn is_nil(answer: &Answer) -> bool {
        answer.bytes() == b"$-1\r\n"
    }

    #[test]
    fn keys_for_memory_only_are_evicted_and_never_written() {
        for durability in DURABILITIES {
            let mut db = tiered(durability);
            rule(&mut db, "m: memory-only");
            db.run("MSET m:1 a m:2 b d:1 c").ok();
            db.run("SET m:1 a2").ok();
            db.run("PEXPIRE m:2 100000").int(1);
            db.run("RENAME m:2 m:3").ok();
            db.write();
            db.run("MGET m:1 m:3").bulks(&["a2", "b"]);
            db.run("TIER.DEMOTE m:1").int(0);
            cool(&db);
            // That of the key for both tiers, and that of the names of the databases.
            assert_eq!((sum(&db, |c| &c.evicted), records(&db)), (2, 2));
            assert_eq!(db.engine().keyspace.entries(), 0);
            db.run("DBSIZE").int(1);
            assert!(is_nil(&db.run("GET m:1")));
            db.run("GET d:1").bulk("c");
        }
    }

    #[test]
    fn no_older_version_comes_back_for_a_key_that_is_for_memory_only() {
        for durability in DURABILITIES {
            for change in [
                "SET k new",
                "APPEND k new",
                "DEL k",
                "GETDEL k",
                "PEXPIRE k 50",
                "GET k",
                "TIER.PROMOTE k",
            ] {
                // On disk only when the rule comes; in memory too; not written yet.
                for (is_cold, is_written) in [(true, true), (false, true), (false, false)] {
                    let mut db = tiered(durability);
                    db.run("SET k old").ok();
                    if is_written {
                        cool(&db);
                    }
                    if !is_cold {
                        db.run("GET k").bulk("old");
                    }
                    rule(&mut db, "\"\" memory-only");
                    db.run("GET k").bulk("old");
                    let _ = db.run(change);
                    db.advance(60);
                    db.demote_all();
                    assert!(is_nil(&db.run("GET k")), "{change}");
                    cool(&db);
                    db.run("DBSIZE").int(0);
                    assert!(is_nil(&db.run("GET k")), "{change}");
                    rule(&mut db, "");
                    assert!(is_nil(&db.run("GET k")), "{change}");
                }
            }
        }
    }

    #[test]
    fn an_older_version_is_not_counted_beside_the_one_in_memory() {
        let mut db = tiered(TierDurability::Everysec);
        db.run("SET k old").ok();
        cool(&db);
        rule(&mut db, "k memory-only");
        db.run("SET k new").ok();
        db.write();
        db.run("DBSIZE").int(1);
        db.run("GET k").bulk("new");
        let before = records(&db);
        db.run("SET k newer").ok();
        db.write();
        assert_eq!(records(&db), before, "the marker is written once");
        db.run("DEL k").int(1);
        assert_eq!(db.engine().keyspace.entries(), 0);
        db.write();
        assert_eq!(records(&db), before);
    }

    #[test]
    fn replies_need_not_wait_for_keys_that_are_for_memory_only() {
        let mut db = tiered(TierDurability::Always);
        db.run("SET m:old v").ok();
        cool(&db);
        rule(&mut db, "m: memory-only");
        let mut waits = |line: &str| {
            let changes = |db: &Db| sum(db, |c| &c.changes) - sum(db, |c| &c.memory_only_changes);
            let before = changes(&db);
            let _ = db.run(line);
            changes(&db) != before
        };
        for line in ["SET m:1 v", "APPEND m:1 v", "PEXPIRE m:1 900", "DEL m:1"] {
            assert!(!waits(line), "{line}");
        }
        assert!(waits("SET d:1 v"));
        assert!(waits("SET m:old new"), "the old version must go");
        assert!(waits("SET m:old newer"), "it has not gone yet");
        db.write();
        let mut waits = |line: &str| {
            let before = sum(&db, |c| &c.memory_only_changes);
            let _ = db.run(line);
            sum(&db, |c| &c.memory_only_changes) == before
        };
        assert!(!waits("SET m:old newest"));
        assert!(!waits("DEL m:old"));
    }

    #[test]
    fn keys_that_are_for_both_tiers_again_are_written() {
        for durability in DURABILITIES {
            let mut db = tiered(durability);
            db.run("SET m:old 1").ok();
            cool(&db);
            rule(&mut db, "m: memory-only");
            db.run("MSET m:old 2 m:new 3").ok();
            db.write();
            rule(&mut db, "m: disk");
            cool(&db);
            db.run("DBSIZE").int(2);
            db.run("MGET m:old m:new").bulks(&["2", "3"]);
            assert_eq!(sum(&db, |c| &c.evicted), 0);
        }
    }

    script!(a_rule_pins_what_it_is_about, |db| {
        db.run("SET p:old v").ok();
        rule(&mut db, "p: pinned p:not: disk");
        db.run("MSET p:1 v p:not:1 v q:1 v").ok();
        db.run("GET p:old").bulk("v");
        db.apply_policies();
        assert_eq!(db.engine().keyspace.pinned().0, 2);
        db.demote_all();
        db.run("SET p:not:1 v").ok();
        db.run("SET q:1 v").ok();
        db.run("TIER.UNPIN p:1").int(0);
        db.run("TIER.PIN p:1").int(1);
        db.run("TIER.PIN p:not:1").int(1);
        assert_eq!(db.engine().keyspace.pinned().0, 3);
        db.run("COPY p:1 q:2").int(1);
        db.run("RENAME p:old q:3").ok();
        db.run("RENAME q:1 p:2").ok();
        assert_eq!(db.engine().keyspace.pinned().0, 3);
        // The pins of clients stay.
        rule(&mut db, "");
        assert_eq!(db.engine().keyspace.pinned().0, 2);
        db.run("DEL p:1 p:not:1").int(2);
        assert_eq!(db.engine().keyspace.pinned(), (0, 0));
    });

    #[test]
    fn a_compressed_key_may_get_a_policy_with_its_name() {
        let mut db = Db::compressed();
        rule(&mut db, "p: pinned m: memory-only");
        let value = "ab".repeat(500);
        for to in ["p:1", "m:1", "d:1"] {
            db.run(&format!("SET k {value}")).ok();
            db.run(&format!("RENAME k {to}")).ok();
            db.run(&format!("GET {to}")).bulk(&value);
        }
    }

    script!(info_tells_the_policy, |db| {
        rule(&mut db, "p: pinned m: memory-only");
        db.run("MSET p:1 v m:1 v").ok();
        for (key, end) in [
            ("p:1", ":1\r\n$6\r\npolicy\r\n$6\r\npinned\r\n"),
            ("m:1", ":0\r\n$6\r\npolicy\r\n$11\r\nmemory-only\r\n"),
            ("d:1", ":0\r\n$6\r\npolicy\r\n$4\r\ndisk\r\n"),
        ] {
            let info = db.run(&format!("TIER.INFO {key}"));
            let info = String::from_utf8_lossy(info.bytes()).into_owned();
            assert!(info.contains(end), "{info}");
        }
    });

    /// Random commands and rules over a few keys. A key has its newest value, or is gone where it was for memory only since.
    #[test]
    fn whatever_the_rules_were_no_key_is_stale() {
        const KEYS: usize = 6;
        for seed in 1..=15u64 {
            let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let mut below = |n: u64| random.below(n);
            let mut db = tiered(DURABILITIES[(seed % 3) as usize]);
            // The newest value of each key, and whether it may be gone.
            let mut model = vec![(None::<String>, false); KEYS];
            // What the rule says, and what entries may still follow.
            let (mut memory_only, mut was_memory_only) = (false, false);
            for step in 0..400 {
                let at = below(KEYS as u64) as usize;
                let value = format!("v{step}");
                match below(12) {
                    0..=3 => {
                        db.run(&format!("SET k{at} {value}")).ok();
                        model[at] = (Some(value), was_memory_only);
                    }
                    4 => {
                        let _ = db.run(&format!("DEL k{at}"));
                        model[at] = (None, false);
                    }
                    5 => db.demote_all(),
                    6 => db.write(),
                    7 => {
                        let policy = ["disk", "memory-only", "pinned"][below(3) as usize];
                        db.run(&format!("CONFIG SET tier-policy \"k {policy}\""))
                            .ok();
                        memory_only = policy == "memory-only";
                        was_memory_only |= memory_only;
                        if memory_only {
                            model.iter_mut().for_each(|(_, may_go)| *may_go = true);
                        }
                    }
                    8 => {
                        db.apply_policies();
                        was_memory_only = memory_only;
                    }
                    _ => {
                        let answer = db.run(&format!("GET k{at}"));
                        match &model[at] {
                            (Some(_), true) if is_nil(&answer) => model[at] = (None, false),
                            (Some(value), _) => answer.bulk(value),
                            (None, _) => answer.nil(),
                        }
                    }
                }
            }
            db.write();
            db.write();
            let there = (0..KEYS).filter(|at| !is_nil(&db.run(&format!("GET k{at}"))));
            let there = there.count();
            db.run("DBSIZE").int(there as i64);
        }
    }
}
