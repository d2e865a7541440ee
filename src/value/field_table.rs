//! The fields of a large hash, with their deadlines.

use std::collections::BTreeSet;

use super::changes::Changes;
use super::fields::{Deadline, Field};
use super::hash::Set;
use super::segments::{SEGMENTS_AT_ONCE, Segments};

/// What a deadline takes in the order, about: a set that grew in no order has its nodes filled to two thirds.
const ORDERED_BYTES: usize = 24;

/// The fields of a large hash: a table whose growth never stalls, with one allocation for each field and its value.
#[derive(Clone, Debug, Default)]
pub struct FieldTable {
    fields: Segments<Field>,
    /// What the fields themselves take.
    field_bytes: usize,
    /// The deadlines in their order, with the hashes of the fields. Two fields that share both would have one place, and one of
    /// them would stay: next to impossible with a hash of 64 bits whose seed nobody knows.
    deadlines: BTreeSet<(Deadline, u64)>,
    changes: Changes<Box<[u8]>>,
}

impl FieldTable {
    /// How many fields it has.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the allocator takes for all of it.
    pub fn heap_bytes(&self) -> usize {
        crate::allocator::size_class(size_of::<Self>())
            + self.fields.heap_bytes()
            + self.field_bytes
            + self.deadlines.len() * ORDERED_BYTES
            + self.changes.heap_bytes()
    }

    fn find(&self, field: &[u8]) -> Option<&Field> {
        self.fields
            .find(Field::hash_of(field), |f| f.name() == field)
    }

    /// The value of a field.
    pub fn get(&self, field: &[u8]) -> Option<&[u8]> {
        self.find(field).map(Field::value)
    }

    /// When a field goes, if it has a deadline; `None` if there is no such field.
    pub fn deadline(&self, field: &[u8]) -> Option<Option<Deadline>> {
        self.find(field).map(Field::deadline)
    }

    /// The value of a field, and when it goes.
    pub fn get_with_deadline(&self, field: &[u8]) -> Option<(&[u8], Option<Deadline>)> {
        self.find(field)
            .map(|field| (field.value(), field.deadline()))
    }

    /// When the first of the fields goes.
    pub fn first_deadline(&self) -> Option<Deadline> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Sets a field. Its deadline goes, unless it is to be kept.
    pub fn set(&mut self, field: &[u8], value: &[u8], keep: bool) -> Set {
        self.changes.note_name(field);
        let hash = Field::hash_of(field);
        if let Some(found) = self.fields.find_mut(hash, |f| f.name() == field) {
            self.field_bytes -= found.heap_bytes();
            found.set_value(value);
            if !keep && let Some(deadline) = found.deadline() {
                found.set_deadline(None);
                self.deadlines.remove(&(deadline, hash));
            }
            self.field_bytes += found.heap_bytes();
            return Set::Replaced;
        }
        let new = Field::new(field, value, None);
        self.field_bytes += new.heap_bytes();
        self.fields.insert(hash, new, Field::hash);
        Set::Added
    }

    /// Gives a field a deadline, or none; whether there is such a field.
    pub fn set_deadline(&mut self, field: &[u8], deadline: Option<Deadline>) -> bool {
        let hash = Field::hash_of(field);
        let Some(found) = self.fields.find_mut(hash, |f| f.name() == field) else {
            return false;
        };
        self.changes.note_name(field);
        if let Some(old) = found.deadline() {
            self.deadlines.remove(&(old, hash));
        }
        self.field_bytes -= found.heap_bytes();
        found.set_deadline(deadline);
        self.field_bytes += found.heap_bytes();
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, hash));
        }
        true
    }

    /// Takes a field out; whether it was there.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        self.take(Field::hash_of(field), |f| f.name() == field)
    }

    fn take(&mut self, hash: u64, eq: impl FnMut(&Field) -> bool) -> bool {
        let Some(removed) = self.fields.remove(hash, eq, Field::hash) else {
            return false;
        };
        self.changes.note_name(removed.name());
        self.field_bytes -= removed.heap_bytes();
        if let Some(deadline) = removed.deadline() {
            self.deadlines.remove(&(deadline, hash));
        }
        true
    }

    /// Takes out fields whose deadline has come, so many at the most, and tells how many.
    pub fn remove_due(&mut self, now_ms: i64, limit: usize) -> usize {
        let mut count = 0;
        while let Some((deadline, hash)) = self.deadlines.first().copied()
            && deadline.ms() <= now_ms
            && count < limit
        {
            let is_it = |f: &Field| f.deadline() == Some(deadline) && f.hash() == hash;
            count += usize::from(self.take(hash, is_it));
            self.deadlines.remove(&(deadline, hash));
        }
        count
    }

    /// All fields with their values and deadlines, in no order.
    pub fn iter_with_deadlines(&self) -> impl Iterator<Item = (&[u8], &[u8], Option<Deadline>)> {
        self.fields.iter().map(|field| {
            let (name, value) = field.pair();
            (name, value, field.deadline())
        })
    }

    pub(super) fn follow(&mut self, version: u64) {
        self.changes.follow(version);
    }

    /// Ends that, and a copy that is being taken out.
    pub(super) fn detach(&mut self) {
        self.changes.give_up();
        self.fields.detach();
    }

    pub(super) fn changes(&self) -> &Changes<Box<[u8]>> {
        &self.changes
    }

    /// Begins a copy of all fields as they are now.
    pub fn freeze(&mut self) {
        self.fields.freeze();
    }

    /// Shows the fields of a few segments more of that copy, and whether there are others; `None` if there is no copy.
    pub fn show_frozen(
        &mut self,
        mut show: impl FnMut(&[u8], &[u8], Option<Deadline>),
    ) -> Option<bool> {
        self.fields.show_frozen(SEGMENTS_AT_ONCE, |field| {
            let (name, value) = field.pair();
            show(name, value, field.deadline());
        })
    }

    /// All fields with their values, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter().map(Field::pair)
    }

    /// A field by chance, each as likely as the others. `random` gives another number each time.
    pub fn random(&self, random: impl FnMut() -> u64) -> Option<&Field> {
        self.fields.random(random)
    }

    /// Shows about `count` fields from a cursor on, 0 at first, and gives the next cursor, 0 at the end. Fields that stay
    /// are shown at least once, whatever comes and goes between.
    pub fn scan(&self, cursor: u64, count: usize, mut show: impl FnMut(&[u8], &[u8])) -> u64 {
        self.fields.scan(cursor, count, Field::hash, |field| {
            let (name, value) = field.pair();
            show(name, value);
        })
    }
}
