//! The footprint of a request: the keys that it uses, made once, from its row or from what its command needs besides.
//!
//! Fetching ahead, residency and locking go by it, and whoever holds its keys ([`super::Keys`]) reaches no other one.

use std::cell::{Cell, OnceCell};

use smallvec::SmallVec;

use super::{KeyHash, Keyspace, SHARDS};

/// Among so many keys one is looked for one by one.
const FEW: usize = 32;
/// Of more keys than are fetched ahead with their batch so many are fetched before they are asked for.
pub const FETCHED_WITH_BATCH: usize = 1024;
pub(super) const FETCHED_AHEAD: usize = 12;

/// The keys that a request uses.
#[derive(Clone, Copy, Debug)]
pub struct Footprint<'a, 'b> {
    /// The database of those that it names.
    pub db: usize,
    /// Their hashes, in the order in which they are named.
    pub named: &'a [KeyHash],
    /// The first of them, which is asked for by these very bytes mostly.
    pub first: &'a [u8],
    /// Those that it does not name.
    pub others: &'b [OtherKey],
}

/// A key that a request uses and does not name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OtherKey {
    /// Its database.
    pub db: usize,
    /// The key.
    pub key: Box<[u8]>,
}

impl<'a> Footprint<'a, '_> {
    /// Of keys of one database.
    pub fn of(db: usize, named: &'a [KeyHash], first: &'a [u8]) -> Self {
        Self {
            db,
            named,
            first,
            others: &[],
        }
    }

    /// Whether there is no key.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.named.is_empty() && self.others.is_empty()
    }

    /// The only key, where there is one.
    #[inline]
    pub(super) fn only(&self) -> Option<(&'a [u8], KeyHash)> {
        match self.named {
            [hash] if self.others.is_empty() => Some((self.first, *hash)),
            _ => None,
        }
    }

    /// All keys with their databases.
    pub(super) fn uses(&self, keyspace: &Keyspace) -> Uses<'a> {
        let others = self.others.iter();
        Uses {
            db: self.db,
            named: self.named,
            next: Cell::new(0),
            others: others
                .map(|other| (keyspace.hash(&other.key), other.db))
                .collect(),
            sorted: OnceCell::new(),
        }
    }
}

/// Hashes and databases of keys. A command asks for its keys in the order in which they are named, nearly always: so the next
/// one is looked at first. A million of them are put in order only for a command that asks for them in another.
#[derive(Debug)]
pub(super) struct Uses<'a> {
    db: usize,
    named: &'a [KeyHash],
    /// Which of them will be asked for next.
    next: Cell<usize>,
    others: SmallVec<[(KeyHash, usize); 2]>,
    /// All of them in ascending order, where somebody needs that.
    sorted: OnceCell<Vec<(KeyHash, usize)>>,
}

impl Uses<'_> {
    fn all(&self) -> impl Iterator<Item = (KeyHash, usize)> {
        let named = self.named.iter().map(|&hash| (hash, self.db));
        named.chain(self.others.iter().copied())
    }

    /// The shards of the keys, in ascending order and each once.
    pub(super) fn shards(&self) -> SmallVec<[usize; 8]> {
        let shards = self.all().map(|(hash, _)| hash.shard());
        if self.named.len() <= SHARDS {
            let mut shards: SmallVec<[usize; 8]> = shards.collect();
            shards.sort_unstable();
            shards.dedup();
            return shards;
        }
        let mut are_used = [false; SHARDS];
        shards.for_each(|shard| are_used[shard] = true);
        (0..SHARDS).filter(|&shard| are_used[shard]).collect()
    }

    /// Whether a key is among them.
    #[inline]
    pub(super) fn has(&self, hash: KeyHash, db: usize) -> bool {
        db == self.db && self.is_next(hash) || self.is_any(hash, db)
    }

    /// Whether it is the one that is to be asked for next, or was just asked for, or the first once more.
    #[inline]
    fn is_next(&self, hash: KeyHash) -> bool {
        let next = self.next.get();
        for at in [next, next.wrapping_sub(1), 0] {
            if self.named.get(at) == Some(&hash) {
                self.next.set(at + 1);
                return true;
            }
        }
        false
    }

    fn is_any(&self, hash: KeyHash, db: usize) -> bool {
        if self.named.len() + self.others.len() <= FEW {
            return self.all().any(|key| key == (hash, db));
        }
        let sorted = self.sorted.get_or_init(|| {
            let mut sorted: Vec<_> = self.all().collect();
            sorted.sort_unstable();
            sorted
        });
        has(sorted, (hash, db))
    }

    /// The key whose memory is to be fetched now that the one before it was asked for.
    #[inline]
    pub(super) fn ahead(&self) -> Option<KeyHash> {
        let is_late = self.named.len() > FETCHED_WITH_BATCH;
        let ahead = || self.named.get(self.next.get() + FETCHED_AHEAD).copied();
        is_late.then(ahead).flatten()
    }
}

/// Hashes lie evenly. So the place of one among many is nearly known, and a search near it meets one line of memory or two,
/// where one by halves meets many.
fn has(keys: &[(KeyHash, usize)], wanted: (KeyHash, usize)) -> bool {
    let guess = (u128::from(wanted.0.value()) * keys.len() as u128) >> u64::BITS;
    let (mut from, mut to) = (guess as usize, guess as usize);
    let mut step = 2;
    while keys[..from].last().is_some_and(|before| *before >= wanted) {
        from = from.saturating_sub(step);
        step *= 2;
    }
    step = 2;
    while keys.get(to).is_some_and(|behind| *behind <= wanted) {
        to = keys.len().min(to + step);
        step *= 2;
    }
    keys[from..to].binary_search(&wanted).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::keyspace::keys::{Expiry, Renamed};
    use crate::keyspace::{Terms, ThreadSlot};
    use crate::testing::{Db, START};

    fn terms() -> Terms {
        Terms::of(&Config::default(), START, ThreadSlot(0), &"test")
    }

    #[test]
    fn each_of_many_keys_is_found_in_any_order_and_no_other() {
        let mut db = Db::new();
        let keyspace = &db.engine().keyspace;
        let mut random = crate::random::Random(5);
        for count in [2, 3, FEW, FEW + 1, 2000] {
            let hashes: Vec<_> = (0..count).map(|_| KeyHash(random.next_u64())).collect();
            let uses = Footprint::of(3, &hashes, b"").uses(keyspace);
            let mut shards: Vec<_> = hashes.iter().map(|hash| hash.shard()).collect();
            shards.sort_unstable();
            shards.dedup();
            assert_eq!(uses.shards().as_slice(), shards);
            let twice = hashes.iter().chain(&hashes).chain(hashes.iter().rev());
            for &hash in twice {
                assert!(uses.has(hash, 3) && uses.has(hash, 3));
                assert!(!uses.has(hash, 2) && !uses.has(KeyHash(hash.0 ^ 1), 3));
            }
        }
        db.run("PING").simple("PONG");
    }

    #[test]
    fn each_of_many_sorted_keys_is_found_and_no_other() {
        let mut random = crate::random::Random(5);
        for count in [0, 1, 2, 3, 50, 300] {
            for spread in [u64::MAX, u64::MAX >> 9, 0xffff, 3] {
                let mut hash = || KeyHash(7 << 50 | random.next_u64() & spread);
                let mut keys: Vec<_> = (0..count).map(|i| (hash(), i % 2)).collect();
                keys.sort_unstable();
                for &(hash, db) in &keys {
                    for near in [hash.0 - 1, hash.0, hash.0 + 1] {
                        for db in [db, db + 1, 0] {
                            let wanted = (KeyHash(near), db);
                            assert_eq!(has(&keys, wanted), keys.contains(&wanted));
                        }
                    }
                }
                for _ in 0..50 {
                    let wanted = (hash(), 0);
                    assert_eq!(has(&keys, wanted), keys.contains(&wanted));
                }
            }
        }
    }

    #[test]
    fn a_key_outside_the_footprint_is_neither_read_nor_changed() {
        let mut db = Db::new();
        db.run("SET other v").ok();
        let keyspace = &db.engine().keyspace;
        let hashes = [&b"a"[..], b"b"].map(|key| keyspace.hash(key));
        let strays: [fn(&mut crate::keyspace::Keys<'_>) -> bool; 7] = [
            |keys| keys.string(b"other") == Ok(None),
            |keys| keys.view_string(b"other").is_none(),
            |keys| !keys.remove(b"other"),
            |keys| keys.string_resized(b"new", 3).is_err(),
            |keys| keys.rename(b"a", b"new", 0, true) == Renamed::NoSource,
            |keys| keys.copy(b"a", b"a", 1, true) != Renamed::Occupied,
            |keys| {
                keys.set(b"new", b"v", Expiry::Keep);
                true
            },
        ];
        let terms = terms();
        for named in [&hashes[..1], &hashes[..]] {
            for stray in strays {
                let mut keys = keyspace.lock(&Footprint::of(0, named, b"a"), &terms);
                keys.set(b"a", b"1", Expiry::Keep);
                assert_eq!(keys.check(), Ok(()));
                assert!(stray(&mut keys));
                assert!(keys.check().is_err());
            }
        }
        keyspace.validate();
        db.run("GET other").bulk("v");
        db.run("GET a").bulk("1");
        db.run("DBSIZE").int(2);
        db.run("SELECT 1").ok();
        db.run("DBSIZE").int(0);
    }

    #[test]
    fn a_key_that_was_asked_for_besides_is_within() {
        let mut db = Db::new();
        let keyspace = &db.engine().keyspace;
        let hashes = [keyspace.hash(b"a")];
        let others = [OtherKey {
            db: 1,
            key: b"a"[..].into(),
        }];
        let footprint = Footprint {
            others: &others,
            ..Footprint::of(0, &hashes, b"a")
        };
        let terms = terms();
        let mut keys = keyspace.lock(&footprint, &terms);
        keys.set(b"a", b"1", Expiry::Keep);
        assert_eq!(keys.rename(b"a", b"a", 1, false), Renamed::Done);
        assert_eq!(keys.check(), Ok(()));
        drop(keys);
        db.run("SELECT 1").ok();
        db.run("GET a").bulk("1");
    }
}
