//! What the writer has copied out of the keyspace and not written yet: the changes at some places of one shard.
//!
//! A shard is locked for as long as it takes to copy [`SLICE_BYTES`], or one value; of long values only the length is noted,
//! and they are copied part by part when their turn comes. Of a large collection what has changed is copied, or all of it in
//! steps, as it was when it was picked.

use std::ops::{ControlFlow, Range};
use std::time::Duration;

use super::chunks::LONG_BYTES;
use super::record::{Chunks, Head};
use crate::keyspace::residency::{KEY_BYTES_MAX, Picked, Place, TakenPart, Versions};
use crate::keyspace::{KeyHash, Keyspace, ThreadSlot};
use crate::value::large::{FrozenBytes, FrozenLength};

/// After so many bytes of keys and values the shard is let go.
const SLICE_BYTES: usize = 256 * 1024;
/// Between the steps in which a collection is copied.
const PAUSE: Duration = Duration::from_micros(10);
/// Room that is kept for the next ones.
const KEPT_BYTES: usize = 2 * LONG_BYTES;

/// Copied entries.
#[derive(Default)]
pub(super) struct Copies {
    entries: Vec<Copied>,
    /// Keys and values of `entries`.
    bytes: Vec<u8>,
}

/// An entry that was copied.
pub(super) struct Copied {
    pub(super) place: Place,
    pub(super) hash: KeyHash,
    pub(super) name: u32,
    key: Range<usize>,
    pub(super) value: Value,
    /// Whether an older version may be counted as below.
    pub(super) unverified: bool,
}

/// What is to be written of it.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// That there is no such key.
    Absent,
    /// The value, which is among the copied bytes.
    Whole(Head, Range<usize>),
    /// A value of so many bytes, which is still in the keyspace.
    Long(Head, usize),
    /// A collection which is to be copied, and its version.
    Frozen(Head, u64, FrozenLength),
    /// What has changed of a collection, which is to be copied.
    FrozenChanges(Head, Since, FrozenLength),
    /// A collection of this version, which is among the copied bytes.
    Collection(Head, u64, Range<usize>),
    /// What has changed of a collection, which is among the copied bytes.
    Changes(Head, Since, Range<usize>),
    /// Where the pieces are that the value was written in.
    Chunks(Head, Vec<Chunks>),
    /// Nothing: its database was emptied.
    Gone,
}

/// Of which versions changes tell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Since {
    /// The one that they are added to.
    pub(super) from: u64,
    /// What that makes.
    pub(super) to: u64,
}

impl Copies {
    /// Copies what has changed at the first of some places of one shard, and gives how many of them that is.
    pub(super) fn take(
        &mut self,
        keyspace: &Keyspace,
        places: &[Place],
        thread: ThreadSlot,
        versions: &mut Versions,
    ) -> usize {
        self.clear();
        let taken = self.pick(keyspace, places, thread, versions, LONG_BYTES, SLICE_BYTES);
        for index in 0..self.entries.len() {
            self.copy_frozen(index, keyspace, thread);
        }
        taken
    }

    /// Copies what has changed at some places, whatever shards they are of, beside what was copied already. Longer values than
    /// `len_max` stay where they are, and so do collections that are to be copied in steps.
    pub(super) fn add(
        &mut self,
        keyspace: &Keyspace,
        places: &[Place],
        thread: ThreadSlot,
        versions: &mut Versions,
        len_max: usize,
    ) {
        for shard in places.chunk_by(|a, b| a.shard() == b.shard()) {
            let mut left = shard;
            while !left.is_empty() {
                let taken = self.pick(keyspace, left, thread, versions, len_max, usize::MAX);
                left = &left[taken..];
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
    }

    fn pick(
        &mut self,
        keyspace: &Keyspace,
        places: &[Place],
        thread: ThreadSlot,
        versions: &mut Versions,
        len_max: usize,
        slice_bytes: usize,
    ) -> usize {
        let (entries, bytes) = (&mut self.entries, &mut self.bytes);
        keyspace.pick(places, thread, versions, |picked| {
            // Longer ones live in memory only.
            if picked.key.len() <= KEY_BYTES_MAX {
                let key = put(bytes, picked.key);
                entries.push(Copied {
                    place: picked.place,
                    hash: picked.hash,
                    name: picked.name,
                    key,
                    value: Value::of(&picked, len_max, bytes),
                    unverified: picked.unverified,
                });
            }
            match bytes.len() < slice_bytes && picked.large.is_none() {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        })
    }

    /// Copies a collection in steps, if that is how it was picked. False where it is not any more what was picked, so that it
    /// was copied as it is now.
    pub(super) fn copy_frozen(
        &mut self,
        index: usize,
        keyspace: &Keyspace,
        thread: ThreadSlot,
    ) -> bool {
        let length = match self.entries[index].value {
            Value::Frozen(.., length) | Value::FrozenChanges(.., length) => length,
            _ => return true,
        };
        let key = self.key(index).to_vec();
        let of = (
            self.entries[index].hash,
            self.entries[index].name,
            key.as_slice(),
        );
        let start = self.bytes.len();
        let mut copied = FrozenBytes::behind(std::mem::take(&mut self.bytes), length);
        let is_whole = loop {
            match keyspace.copy_frozen(of, thread, &mut copied) {
                // A request thread that waits for the shard yields its processor before it asks to be woken. If that is
                // this thread's too, it would get it back after this thread's time slice only.
                Some(true) => std::thread::sleep(PAUSE),
                Some(false) => break true,
                None => break false,
            }
        };
        self.bytes = copied.finish();
        if is_whole {
            let copied = start..self.bytes.len();
            let value = &mut self.entries[index].value;
            match *value {
                Value::Frozen(head, to, _) => *value = Value::Collection(head, to, copied),
                Value::FrozenChanges(head, since, _) => {
                    *value = Value::Changes(head, since, copied);
                }
                _ => {}
            }
        } else {
            self.bytes.truncate(start);
            self.take_again(index, keyspace, thread, None);
        }
        is_whole
    }

    /// Copies an entry once more: as it is now and all of it, however long. With `versions` a large collection is copied in steps.
    pub(super) fn take_again(
        &mut self,
        index: usize,
        keyspace: &Keyspace,
        thread: ThreadSlot,
        versions: Option<&mut Versions>,
    ) {
        let bytes = &mut self.bytes;
        let copied = &mut self.entries[index];
        let key = bytes[copied.key.clone()].to_vec();
        let key = (copied.hash, copied.name, key.as_slice());
        copied.value = Value::Gone;
        keyspace.pick_again(key, thread, versions, |picked| {
            copied.value = Value::of(&picked, usize::MAX, bytes);
            copied.unverified |= picked.unverified;
            ControlFlow::Continue(())
        });
        self.copy_frozen(index, keyspace, thread);
    }

    /// Bytes of memory that they take.
    pub(super) fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + self.entries.capacity() * size_of::<Copied>()
    }

    /// Bytes of keys and values.
    pub(super) fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    /// Drops what was copied since there were so many bytes: of an entry that is written.
    pub(super) fn forget_since(&mut self, index: usize, bytes: usize) {
        if self.bytes.len() > bytes {
            self.entries[index].value = Value::Gone;
            self.truncate(bytes);
        }
    }

    /// The same where nothing points there any more.
    pub(super) fn truncate(&mut self, bytes: usize) {
        self.bytes.truncate(bytes);
        self.bytes.shrink_to(bytes + KEPT_BYTES);
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn entry(&self, index: usize) -> &Copied {
        &self.entries[index]
    }

    pub(super) fn set_value(&mut self, index: usize, value: Value) {
        self.entries[index].value = value;
    }

    pub(super) fn key(&self, index: usize) -> &[u8] {
        &self.bytes[self.entries[index].key.clone()]
    }

    /// Adds bytes that belong to an entry.
    pub(super) fn put(&mut self, bytes: &[u8]) -> Range<usize> {
        put(&mut self.bytes, bytes)
    }

    pub(super) fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.bytes[range]
    }
}

impl Value {
    /// Whether the record says that the key is pinned.
    pub(super) fn is_pinned(&self) -> bool {
        match self {
            Self::Whole(head, _)
            | Self::Long(head, _)
            | Self::Frozen(head, ..)
            | Self::FrozenChanges(head, ..)
            | Self::Collection(head, ..)
            | Self::Changes(head, ..)
            | Self::Chunks(head, _) => head.pinned,
            Self::Absent | Self::Gone => false,
        }
    }

    /// Copies a value, unless it is longer than that and memory has it in this form.
    fn of(picked: &Picked<'_>, len_max: usize, bytes: &mut Vec<u8>) -> Self {
        let Some(stored) = picked.value else {
            return Self::Absent;
        };
        let head = Head::from(stored);
        if let Some(large) = picked.large {
            let to = large.version;
            return match large.taken {
                TakenPart::All(length) => Self::Frozen(head, to, length),
                TakenPart::ChangesInSteps {
                    since: from,
                    length,
                } => Self::FrozenChanges(head, Since { from, to }, length),
                TakenPart::Changes {
                    since: from,
                    bytes: changes,
                } => Self::Changes(head, Since { from, to }, put(bytes, changes)),
            };
        }
        match stored.bytes.len() {
            len if len > len_max && !stored.is_serialised() => Self::Long(head, len),
            _ => Self::Whole(head, put(bytes, stored.bytes)),
        }
    }
}

fn put(bytes: &mut Vec<u8>, part: &[u8]) -> Range<usize> {
    let start = bytes.len();
    bytes.extend_from_slice(part);
    start..bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::entry::{Entry, ValueType};
    use crate::testing::Db;
    use crate::value::large::Large;
    use crate::value::rdb::{ValueRef, seal, write_value};

    /// The places of what has changed.
    fn changed(db: &Db) -> Vec<Place> {
        db.engine().keyspace.take_changed()
    }

    /// The elements of a collection that was picked to be copied in steps.
    fn in_steps(picked: &Picked<'_>) -> FrozenLength {
        match picked.large.expect("it is large").taken {
            TakenPart::All(length) => length,
            _ => panic!("it is not followed"),
        }
    }

    fn thread(db: &Db) -> ThreadSlot {
        db.engine().tier_slot(0)
    }

    #[test]
    fn a_shard_is_copied_in_slices() {
        let mut db = Db::tiered(|_| {});
        let shard_of = |db: &Db, key: &str| {
            let hash = db.engine().keyspace.hash(key.as_bytes());
            Place::of(hash).shard()
        };
        let shard = shard_of(&db, "key");
        let keys = (0..).map(|i| format!("key:{i}"));
        let keys: Vec<_> = keys
            .filter(|key| shard_of(&db, key) == shard)
            .take(5)
            .collect();
        let value = "v".repeat(SLICE_BYTES / 2);
        for key in &keys {
            db.run_args(&[b"SET", key.as_bytes(), value.as_bytes()])
                .ok();
        }
        let places = changed(&db);
        let mut copies = Copies::default();
        let mut left = places.as_slice();
        let (mut slices, mut versions) = (Vec::new(), Versions::behind(0));
        while !left.is_empty() {
            let taken = copies.take(&db.engine().keyspace, left, thread(&db), &mut versions);
            assert_eq!(taken, copies.len());
            slices.push(taken);
            left = &left[taken..];
        }
        assert_eq!(slices, [2, 2, 1]);
    }

    /// A long value that was set and taken, and where it stands.
    fn taken_long() -> (Db, Copies, Vec<Place>) {
        let mut db = Db::tiered(|_| {});
        let long = "v".repeat(LONG_BYTES + 1);
        db.run_args(&[b"SET", b"k", long.as_bytes()]).ok();
        let places = changed(&db);
        let mut copies = Copies::default();
        copies.take(
            &db.engine().keyspace,
            &places,
            thread(&db),
            &mut Versions::behind(0),
        );
        (db, copies, places)
    }

    /// Takes a long value, runs a command, and gives what is taken then.
    fn taken_after(command: &str) -> (Copies, bool) {
        let (mut db, mut copies, _) = taken_long();
        assert!(matches!(copies.entry(0).value, Value::Long(_, len) if len == LONG_BYTES + 1));
        let copy = |db: &Db| {
            let (entry, mut part) = (copies.entry(0), Vec::new());
            let key = (entry.hash, entry.name, copies.key(0));
            let keyspace = &db.engine().keyspace;
            keyspace.copy_part(key, LONG_BYTES - 9..LONG_BYTES + 1, thread(db), &mut part)
                && part == b"vvvvvvvvvv"
        };
        assert!(copy(&db), "it is what was picked");
        let _ = db.run(command);
        let is_same = copy(&db);
        copies.take_again(0, &db.engine().keyspace, thread(&db), None);
        (copies, is_same)
    }

    #[test]
    fn a_long_value_that_changes_is_taken_again() {
        for command in ["GET k", "STRLEN k", "SET other v"] {
            assert!(taken_after(command).1, "{command}");
        }
        for (command, len) in [("APPEND k w", LONG_BYTES + 2), ("SET k w", 1)] {
            let (copies, is_same) = taken_after(command);
            assert!(!is_same, "{command}");
            let Value::Whole(_, value) = &copies.entry(0).value else {
                panic!("{command}: {:?}", copies.entry(0).value);
            };
            assert_eq!(
                (value.len(), copies.bytes(value.clone())[len - 1]),
                (len, b'w')
            );
        }
        let (copies, is_same) = taken_after("PEXPIREAT k 99999999999999");
        let head = match &copies.entry(0).value {
            Value::Whole(head, _) => *head,
            value => panic!("{value:?}"),
        };
        assert!(!is_same && head.expires_at.is_some());
        let (copies, is_same) = taken_after("DEL k");
        assert!(!is_same && matches!(copies.entry(0).value, Value::Absent));
        let (copies, is_same) = taken_after("FLUSHALL");
        assert!(!is_same && matches!(copies.entry(0).value, Value::Gone));
    }

    #[test]
    fn what_is_taken_again_is_clean_when_it_is_safe() {
        let (mut db, mut copies, places) = taken_long();
        db.run("APPEND k w").int(LONG_BYTES as i64 + 2);
        copies.take_again(0, &db.engine().keyspace, thread(&db), None);
        let is = |db: &mut Db, state: &str| {
            let told = db.run("TIER.INFO k");
            String::from_utf8_lossy(told.bytes()).contains(state)
        };
        assert!(is(&mut db, "\nwriting\r"));
        db.engine().keyspace.settle(&places, thread(&db));
        assert!(is(&mut db, "\nclean\r"));
    }

    /// A collection is copied as it was when it was picked; what has changed since is written with the next run.
    #[test]
    fn a_large_collection_is_copied_as_it_was_picked() {
        let mut db = Db::tiered(|_| {});
        for i in 0..3000 {
            db.run(&format!("SADD s member:{i}")).int(1);
            db.run(&format!("HSET h field:{i} {i}")).int(1);
            db.run(&format!("ZADD z {i} member:{i}")).int(1);
            let long = format!("element:{i:0300}");
            db.run(&format!("RPUSH l {long}")).int(i + 1);
            let id = i + 1;
            db.run(&format!("XADD x {id}-1 f {long}"))
                .bulk(format!("{id}-1"));
        }
        db.run("XGROUP CREATE x g 5-1").ok();
        let _ = db.run("XREADGROUP GROUP g c COUNT 3 STREAMS x >");
        db.run("HPEXPIREAT h 9999999999999 FIELDS 2 field:7 field:8")
            .ints(&[1, 1]);
        let digests = |db: &mut Db, keys: &str| {
            db.run(&format!("DEBUG DIGEST-VALUE {keys}"))
                .bytes()
                .to_vec()
        };
        let before = digests(&mut db, "s h z l x");
        let places = changed(&db);
        let (mut picked, mut versions) = (Vec::new(), Versions::behind(0));
        for place in places.chunks(1) {
            let keyspace = &db.engine().keyspace;
            keyspace.pick(place, thread(&db), &mut versions, |entry| {
                let elements = in_steps(&entry);
                picked.push((entry.hash, entry.name, entry.key.to_vec(), elements));
                ControlFlow::Continue(())
            });
        }
        assert_eq!(picked.len(), 5);
        for (hash, name, key, elements) in picked {
            let mut copied = FrozenBytes::behind(Vec::new(), elements);
            let mut step = 0;
            loop {
                let keyspace = &db.engine().keyspace;
                let more = keyspace.copy_frozen((hash, name, &key), thread(&db), &mut copied);
                if !more.expect("it is still there") {
                    break;
                }
                let (gone, new) = (step * 70 % 3000, 3000 + step);
                let _ = db.run(&format!("SREM s member:{gone}"));
                let _ = db.run(&format!("SADD s member:{new}"));
                let _ = db.run(&format!("HDEL h field:{gone}"));
                let _ = db.run(&format!("HSET h field:{gone} other field:{new} x"));
                let _ = db.run(&format!("HPERSIST h FIELDS 1 field:{}", 7 + step % 2));
                let _ = db.run(&format!("ZREM z member:{gone}"));
                let _ = db.run(&format!("ZADD z 5 member:{new}"));
                let _ = db.run("LPOP l 3");
                let _ = db.run(&format!("LINSERT l BEFORE element:{:0300} new", 2 * gone));
                let _ = db.run("RPOP l");
                let _ = db.run("LPUSH l new");
                let _ = db.run(&format!("XDEL x {gone}-1"));
                let _ = db.run(&format!("XADD x {}-1 f v", new + 1));
                let _ = db.run("XREADGROUP GROUP g c COUNT 1 STREAMS x >");
                step += 1;
            }
            assert!(step > 1);
            let value_type = match key.as_slice() {
                b"s" => ValueType::Set,
                b"h" => ValueType::Hash,
                b"l" => ValueType::List,
                b"x" => ValueType::Stream,
                _ => ValueType::Zset,
            };
            let large = Large::decode(value_type, &copied.finish()).expect("it is whole");
            let copy = Entry::large(0, &[b"copy:", &key[..]].concat(), large, None);
            let mut payload = vec![0];
            let (view, mut scratch) = (copy.view(), Vec::new());
            let value = match value_type {
                ValueType::Set => view.set(&mut scratch).map(ValueRef::Set),
                ValueType::Hash => view.hash(&mut scratch).map(ValueRef::Hash),
                ValueType::List => view.list(&mut scratch).map(ValueRef::List),
                ValueType::Stream => view.stream().map(ValueRef::Stream),
                _ => view.zset(&mut scratch).map(ValueRef::Zset),
            };
            payload[0] = write_value(&mut payload, value.expect("it is of its type"));
            seal(&mut payload);
            db.run_args(&[b"RESTORE", copy.view().key(), b"0", &payload])
                .ok();
        }
        assert_eq!(
            digests(&mut db, "copy:s copy:h copy:z copy:l copy:x"),
            before
        );
        let now = digests(&mut db, "s h z l x");
        assert_ne!(now, before);
        db.engine().keyspace.settle(&places, thread(&db));
        assert_eq!(
            changed(&db).len(),
            10,
            "they are to be written again, and the copies"
        );
    }

    #[test]
    fn a_collection_that_goes_while_it_is_copied_is_not_copied() {
        let mut db = Db::tiered(|_| {});
        for command in ["DEL s", "SET s v", "SPOP s 2999", "FLUSHALL"] {
            let _ = db.run("DEL s");
            for i in 0..3000 {
                db.run(&format!("SADD s member:{i}")).int(1);
            }
            let places = changed(&db);
            let mut picked = None;
            let (keyspace, versions) = (&db.engine().keyspace, &mut Versions::behind(0));
            keyspace.pick(&places, thread(&db), versions, |entry| {
                picked = Some((entry.hash, entry.name, in_steps(&entry)));
                ControlFlow::Continue(())
            });
            let (hash, name, elements) = picked.expect("it is there");
            let mut copied = FrozenBytes::behind(Vec::new(), elements);
            let _ = db.run(command);
            let keyspace = &db.engine().keyspace;
            let mut copy = || keyspace.copy_frozen((hash, name, b"s"), thread(&db), &mut copied);
            if command.starts_with("SPOP") {
                // It is still the same.
                while copy() == Some(true) {}
                let large = Large::decode(ValueType::Set, &copied.finish()).expect("it is whole");
                assert!(matches!(large, Large::Set(members) if members.len() == 3000));
            } else {
                assert_eq!(copy(), None, "{command}");
            }
        }
    }
}
