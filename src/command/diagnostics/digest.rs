//! DEBUG DIGEST: one number of 160 bits for all keys and values, the same whatever the order in which
//! they were written. It is Redis's digest, so that two servers can be compared.
//!
//! What has no order is exclusive-ored, what has one is mixed, that is hashed again:
//!
//! ```text
//! xor(d, x)   d ^= SHA1(x)
//! mix(d, x)   d = SHA1(d ^ SHA1(x))
//! value(d)    mix(type in 4 bytes), then the contents, and xor("!!expire!!") if the key expires
//! contents    string: mix(string); list: mix(element) for each; set: xor(member) for each; hash: for each field xor(mix(0, field), mix(value))
//! all         for each database that has keys: mix(its number in 4 bytes),
//!             then xor(value(mix(0, key))) for each key
//! ```

use crate::value::number;
use crate::value::stream::Id;
use sha1::{Digest as _, Sha1};

use crate::clock::UnixMs;
use crate::keyspace::entry::{EntryRef, ValueType};
use crate::keyspace::residency::{Page, Step};
use crate::keyspace::{Keyspace, ThreadSlot};
use crate::value::hash::HashRef;

/// Keys that are looked at in one lock of a shard.
const SLICE: usize = 1024;

/// A digest; all zeros for nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Digest([u8; 20]);

impl Digest {
    /// Of all keys in all databases.
    pub(super) fn of_all(
        keyspace: &Keyspace,
        databases: usize,
        now: UnixMs,
        thread: ThreadSlot,
    ) -> Self {
        let mut all = Self::default();
        for db in (0..databases).filter(|&db| keyspace.db_size(db) > 0) {
            all.mix(&(db as u32).to_be_bytes());
            let mut cursor = 0;
            loop {
                cursor = keyspace.scan(db, cursor, SLICE, now, thread, |entry| all.add_key(entry));
                if cursor == 0 {
                    break;
                }
            }
        }
        all
    }

    /// Of all keys, as the tier below shows them.
    pub(super) fn of_page(page: &Page) -> Self {
        Self(page.sum)
    }

    /// Makes it.
    pub(super) fn fold(sum: &mut [u8; 20], step: Step<'_>) {
        let mut all = Self(*sum);
        match step {
            Step::Database(db) => all.mix(&(db as u32).to_be_bytes()),
            Step::Key(entry) => all.add_key(entry),
        }
        *sum = all.0;
    }

    fn add_key(&mut self, entry: EntryRef<'_>) {
        let mut one = Self::default();
        one.mix(entry.key());
        one.add_value(entry);
        self.xor(&one.0);
    }

    /// Of a value, whatever its key.
    pub(super) fn of_value(entry: EntryRef<'_>) -> Self {
        let mut digest = Self::default();
        digest.add_value(entry);
        digest
    }

    fn add_value(&mut self, entry: EntryRef<'_>) {
        // The types have the numbers that Redis gives them.
        let kind = entry.value_type() as u32;
        self.mix(&kind.to_be_bytes());
        let mut scratch = Vec::new();
        match entry.value_type() {
            ValueType::String => self.mix(entry.plain(&mut scratch)),
            ValueType::List => {
                let list = entry.list(&mut scratch);
                let elements = list.iter().flat_map(|list| list.iter_from(0));
                elements.for_each(|element| self.mix(&element.to_vec()));
            }
            ValueType::Set => {
                let set = entry.set(&mut scratch);
                let members = set.iter().flat_map(|set| set.iter());
                members.for_each(|member| self.xor(&member.to_vec()));
            }
            ValueType::Zset => {
                let zset = entry.zset(&mut scratch);
                let members = zset.iter().flat_map(|zset| zset.iter());
                for (name, score) in members {
                    let mut one = Self::default();
                    one.mix(&name.to_vec());
                    one.mix(&number::format_f64_digits(score));
                    self.xor(&one.0);
                }
            }
            ValueType::Stream => {
                let entries = entry.stream().into_iter();
                for entry in entries.flat_map(|stream| stream.range(Id::ZERO, Id::MAX)) {
                    self.mix(format!("{}.{}", entry.id.ms, entry.id.seq).as_bytes());
                    for (field, value) in entry.fields.iter() {
                        self.mix(&field.to_vec());
                        self.mix(&value.to_vec());
                    }
                }
            }
            ValueType::Hash => {
                let hash = entry.hash(&mut scratch);
                hash.into_iter().for_each(|hash| self.add_hash(hash));
            }
        }
        if entry.expires_at().is_some() {
            self.xor(b"!!expire!!");
        }
    }

    fn add_hash(&mut self, hash: HashRef<'_>) {
        for (field, value, deadline) in hash.iter_with_deadlines() {
            let mut one = Self::default();
            one.mix(&field.to_vec());
            one.mix(&value.to_vec());
            if deadline.is_some() {
                one.xor(b"!!hexpire!!");
            }
            self.xor(&one.0);
        }
    }

    fn xor(&mut self, bytes: &[u8]) {
        let hash = Sha1::digest(bytes);
        self.0.iter_mut().zip(hash).for_each(|(a, b)| *a ^= b);
    }

    fn mix(&mut self, bytes: &[u8]) {
        self.xor(bytes);
        self.0 = Sha1::digest(self.0).into();
    }

    /// 40 hexadecimal digits.
    pub(super) fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
