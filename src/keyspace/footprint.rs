//! The footprint of a request: the keys that it uses, made once, from its row or from what its command needs besides.
//!
//! Fetching ahead, residency and locking go by it, and whoever holds its keys ([`super::Keys`]) reaches no other one.

use smallvec::SmallVec;

use super::{KeyHash, Keyspace, SHARD_BITS};

/// The keys that a request uses.
#[derive(Clone, Copy, Debug)]
pub struct Footprint<'a, 'b> {
    /// The database of those that it names.
    pub db: usize,
    /// Their hashes, in the order in which they are named.
    pub named: &'b [KeyHash],
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

impl<'a, 'b> Footprint<'a, 'b> {
    /// Of keys of one database.
    pub fn of(db: usize, named: &'b [KeyHash], first: &'a [u8]) -> Self {
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

    /// All keys with their databases, by shards.
    pub(super) fn uses(&self, keyspace: &Keyspace) -> Uses {
        let named = self.named.iter().map(|&hash| (hash, self.db));
        let others = self.others.iter();
        let others = others.map(|other| (keyspace.hash(&other.key), other.db));
        let mut sorted: SmallVec<[(KeyHash, usize); 8]> = named.chain(others).collect();
        // The shard is the head of the hash: it is the same order.
        sorted.sort_unstable();
        let shard = |&(hash, _): &(KeyHash, usize)| hash.shard();
        let mut starts = SmallVec::new();
        for (at, of) in sorted.iter().enumerate() {
            if at == 0 || shard(&sorted[at - 1]) != shard(of) {
                starts.push(at);
            }
        }
        Uses { sorted, starts }
    }
}

/// Hashes and databases of keys, in ascending order.
#[derive(Debug)]
pub(super) struct Uses {
    sorted: SmallVec<[(KeyHash, usize); 8]>,
    /// Where those of each shard begin.
    starts: SmallVec<[usize; 8]>,
}

impl Uses {
    /// The shards of the keys, in ascending order and each once.
    pub(super) fn shards(&self) -> impl Iterator<Item = usize> {
        self.starts
            .iter()
            .map(|&start| self.sorted[start].0.shard())
    }

    /// Whether a key is among them, whose shard is the one with this number among theirs.
    pub(super) fn has(&self, shard: usize, hash: KeyHash, db: usize) -> bool {
        let start = self.starts.get(shard).copied();
        let end = self.starts.get(shard + 1).copied();
        let of_shard = start.map(|start| &self.sorted[start..end.unwrap_or(self.sorted.len())]);
        of_shard.is_some_and(|keys| has(keys, (hash, db)))
    }
}

/// Hashes of a shard lie evenly. So the place of one among many is nearly known, and a search near it meets one line of
/// memory or two, where one by halves meets four.
fn has(keys: &[(KeyHash, usize)], wanted: (KeyHash, usize)) -> bool {
    let in_shard = wanted.0.value() << SHARD_BITS;
    let guess = (u128::from(in_shard) * keys.len() as u128) >> u64::BITS;
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
    fn each_of_many_keys_of_a_shard_is_found_and_no_other() {
        let mut random = crate::random::Random(5);
        for count in [0, 1, 2, 3, 50, 300] {
            for spread in [u64::MAX >> SHARD_BITS, 0xffff, 3] {
                let mut hash = || KeyHash(7 << (64 - SHARD_BITS) | random.next_u64() & spread);
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
