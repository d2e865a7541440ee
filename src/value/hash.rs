//! Hashes: fields with values, and with deadlines where they are given.
//!
//! A small hash is a listpack of fields and values in turn, in the order in which they came, and behind it, if any of them
//! has one, the deadlines of the fields in the same order. A large one is a [`FieldTable`]. It knows nothing of keys,
//! replies and time: whoever reads it has taken out before what was due.

use super::field_table::FieldTable;
use super::fields::Deadline;
use super::listpack::{self, Element, OneWay};

/// How far a hash stays packed.
#[derive(Clone, Copy, Debug)]
pub struct PackedLimits {
    /// The most elements: fields of a hash, members of a set.
    pub entries: usize,
    /// The most bytes of one of them.
    pub bytes: usize,
}

impl PackedLimits {
    fn fits(self, text: &[u8]) -> bool {
        text.len() <= self.bytes
    }
}

/// A hash that is being changed.
#[derive(Debug)]
pub enum Hash {
    /// A listpack.
    Packed(PackedHash),
    /// Too many or too long fields for that.
    Table(Box<FieldTable>),
}

/// A small hash.
#[derive(Debug)]
pub struct PackedHash {
    /// The listpack.
    bytes: Vec<u8>,
    /// One for each field, or empty: none has one.
    deadlines: Vec<Option<Deadline>>,
}

/// A hash that is being read.
#[derive(Clone, Copy, Debug)]
pub enum HashRef<'a> {
    /// A listpack, and the bytes of the deadlines.
    Packed(OneWay<'a>, &'a [u8]),
    /// A table.
    Table(&'a FieldTable),
}

/// What a field was before it was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    /// There was none.
    Added,
    /// It had another value, or the same.
    Replaced,
}

impl PackedHash {
    /// The small hash that these bytes are, which [`PackedHash::into_bytes`] gave.
    pub fn of_bytes(mut bytes: Vec<u8>) -> Self {
        let pack = listpack::total_bytes(&bytes);
        let deadlines = deadlines(&bytes[pack..]).collect();
        bytes.truncate(pack);
        Self { bytes, deadlines }
    }

    /// The bytes of it all.
    pub fn into_bytes(mut self) -> Vec<u8> {
        for deadline in self.deadlines {
            self.bytes.extend_from_slice(&Deadline::to_bytes(deadline));
        }
        self.bytes
    }

    /// Whether it has no field.
    pub fn is_empty(&self) -> bool {
        OneWay::new(&self.bytes).is_empty()
    }

    /// How many fields stand before a place.
    fn index_of(&self, at: usize) -> usize {
        let before = |placed: &listpack::Placed<'_>| placed.at < at;
        OneWay::new(&self.bytes).iter().take_while(before).count() / 2
    }

    fn set(&mut self, field: &[u8], value: &[u8], keep: bool) -> Set {
        let pack = OneWay::new(&self.bytes);
        let Some(found) = pack.find(field, 2) else {
            OneWay::push(&mut self.bytes, field);
            OneWay::push(&mut self.bytes, value);
            if !self.deadlines.is_empty() {
                self.deadlines.push(None);
            }
            return Set::Added;
        };
        let (at, old) = (found.at, pack.at(found.end).map(|old| old.at..old.end));
        if let Some(old) = old {
            OneWay::replace(&mut self.bytes, old, 1, value);
        }
        if !keep && !self.deadlines.is_empty() {
            let index = self.index_of(at);
            self.set_deadline_at(index, None);
        }
        Set::Replaced
    }

    fn set_deadline(&mut self, field: &[u8], deadline: Option<Deadline>) -> bool {
        let Some(found) = OneWay::new(&self.bytes).find(field, 2) else {
            return false;
        };
        let index = self.index_of(found.at);
        self.set_deadline_at(index, deadline);
        true
    }

    fn set_deadline_at(&mut self, index: usize, deadline: Option<Deadline>) {
        if deadline.is_some() {
            let fields = OneWay::new(&self.bytes).len() / 2;
            self.deadlines.resize(fields, None);
        }
        if let Some(old) = self.deadlines.get_mut(index) {
            *old = deadline;
        }
        self.forget_no_deadlines();
    }

    /// Without any deadline it is again what it was before the first.
    fn forget_no_deadlines(&mut self) {
        if self.deadlines.iter().all(Option::is_none) {
            self.deadlines.clear();
        }
    }

    fn remove(&mut self, field: &[u8]) -> bool {
        let pack = OneWay::new(&self.bytes);
        let Some(found) = pack.find(field, 2) else {
            return false;
        };
        let end = pack.at(found.end).map_or(found.end, |value| value.end);
        let places = found.at..end;
        if !self.deadlines.is_empty() {
            let index = self.index_of(places.start);
            self.deadlines.remove(index);
            self.forget_no_deadlines();
        }
        OneWay::remove(&mut self.bytes, places, 2);
        true
    }

    fn remove_due(&mut self, now_ms: i64) -> usize {
        let is_due = |deadline: &Option<Deadline>| deadline.is_some_and(|at| at.ms() <= now_ms);
        let mut count = 0;
        while let Some(index) = self.deadlines.iter().position(is_due) {
            let pack = OneWay::new(&self.bytes);
            let Some(found) = pack.iter().nth(2 * index) else {
                break;
            };
            let end = pack.at(found.end).map_or(found.end, |value| value.end);
            let places = found.at..end;
            OneWay::remove(&mut self.bytes, places, 2);
            self.deadlines.remove(index);
            count += 1;
        }
        self.forget_no_deadlines();
        count
    }
}

/// The deadlines that bytes behind a listpack are.
fn deadlines(bytes: &[u8]) -> impl Iterator<Item = Option<Deadline>> {
    let (all, _) = bytes.as_chunks();
    all.iter().map(|bytes| Deadline::from_bytes(*bytes))
}

impl Hash {
    /// It, to be read, without its deadlines: [`Hash::deadline`] has them.
    pub fn view(&self) -> HashRef<'_> {
        match self {
            Self::Packed(packed) => HashRef::Packed(OneWay::new(&packed.bytes), &[]),
            Self::Table(fields) => HashRef::Table(fields),
        }
    }

    /// When a field goes, if it has a deadline; `None` if there is no such field.
    pub fn deadline(&self, field: &[u8]) -> Option<Option<Deadline>> {
        match self {
            Self::Table(fields) => fields.deadline(field),
            Self::Packed(packed) => {
                let found = OneWay::new(&packed.bytes).find(field, 2)?;
                let index = packed.index_of(found.at);
                Some(packed.deadlines.get(index).copied().flatten())
            }
        }
    }

    /// Sets a field, which has no deadline then.
    pub fn set(&mut self, field: &[u8], value: &[u8], limits: PackedLimits) -> Set {
        self.put(field, value, false, limits)
    }

    /// Sets a field, which keeps the deadline that it has.
    pub fn update(&mut self, field: &[u8], value: &[u8], limits: PackedLimits) -> Set {
        self.put(field, value, true, limits)
    }

    fn put(&mut self, field: &[u8], value: &[u8], keep: bool, limits: PackedLimits) -> Set {
        self.grow_for(&[field, value], limits);
        let packed = match self {
            Self::Table(fields) => return fields.set(field, value, keep),
            Self::Packed(packed) => packed,
        };
        let set = packed.set(field, value, keep);
        if set == Set::Added && OneWay::new(&packed.bytes).len() / 2 > limits.entries {
            self.make_table();
        }
        set
    }

    /// Gives a field a deadline, or none; whether there is such a field.
    pub fn set_deadline(&mut self, field: &[u8], deadline: Option<Deadline>) -> bool {
        match self {
            Self::Packed(packed) => packed.set_deadline(field, deadline),
            Self::Table(fields) => fields.set_deadline(field, deadline),
        }
    }

    /// Takes out fields whose deadline has come, so many at the most of a large one, and tells how many.
    pub fn remove_due(&mut self, now_ms: i64, limit: usize) -> usize {
        match self {
            Self::Packed(packed) => packed.remove_due(now_ms),
            Self::Table(fields) => fields.remove_due(now_ms, limit),
        }
    }

    /// Makes a table of it where texts that will come are too long for a listpack.
    pub fn grow_for(&mut self, texts: &[&[u8]], limits: PackedLimits) {
        if matches!(self, Self::Packed(_)) && !texts.iter().all(|text| limits.fits(text)) {
            self.make_table();
        }
    }

    fn make_table(&mut self) {
        let Self::Packed(packed) = self else { return };
        let deadlines = std::mem::take(&mut packed.deadlines);
        let mut deadlines = deadlines.into_iter();
        let mut fields = FieldTable::default();
        for (field, value) in self.view().iter() {
            let field = field.to_vec();
            fields.set(&field, &value.to_vec(), false);
            if let Some(deadline) = deadlines.next().flatten() {
                fields.set_deadline(&field, Some(deadline));
            }
        }
        *self = Self::Table(Box::new(fields));
    }

    /// Takes a field out; whether it was there.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        match self {
            Self::Table(fields) => fields.remove(field),
            Self::Packed(packed) => packed.remove(field),
        }
    }
}

impl<'a> HashRef<'a> {
    /// The small hash that these bytes are.
    pub fn packed(bytes: &'a [u8]) -> Self {
        let (pack, deadlines) = bytes.split_at(listpack::total_bytes(bytes));
        Self::Packed(OneWay::new(pack), deadlines)
    }

    /// How many fields it has.
    pub fn len(self) -> usize {
        match self {
            Self::Packed(pack, _) => pack.len() / 2,
            Self::Table(fields) => fields.len(),
        }
    }

    /// Whether it has none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The value of a field.
    pub fn get(self, field: &[u8]) -> Option<Element<'a>> {
        match self {
            Self::Table(fields) => fields.get(field).map(Element::Text),
            Self::Packed(pack, _) => {
                let found = pack.find(field, 2)?;
                Some(pack.at(found.end)?.element)
            }
        }
    }

    /// When a field goes, if it has a deadline; `None` if there is no such field.
    pub fn deadline(self, field: &[u8]) -> Option<Option<Deadline>> {
        match self {
            Self::Table(fields) => fields.deadline(field),
            Self::Packed(pack, bytes) => {
                let found = pack.find(field, 2)?;
                let before = pack.iter().take_while(|placed| placed.at < found.at);
                let index = before.count() / 2;
                Some(deadlines(bytes).nth(index).flatten())
            }
        }
    }

    /// When the first of the fields goes.
    pub fn first_deadline(self) -> Option<Deadline> {
        match self {
            Self::Table(fields) => fields.first_deadline(),
            Self::Packed(_, bytes) => deadlines(bytes).flatten().min(),
        }
    }

    /// All fields with their values.
    pub fn iter(self) -> impl Iterator<Item = (Element<'a>, Element<'a>)> {
        self.iter_with_deadlines()
            .map(|(field, value, _)| (field, value))
    }

    /// All fields with their values and deadlines.
    pub fn iter_with_deadlines(
        self,
    ) -> impl Iterator<Item = (Element<'a>, Element<'a>, Option<Deadline>)> {
        let (packed, table) = match self {
            Self::Packed(pack, bytes) => (Some((pack, bytes)), None),
            Self::Table(fields) => (None, Some(fields)),
        };
        let packed = packed.into_iter().flat_map(|(pack, bytes)| {
            let mut elements = pack.iter().map(|placed| placed.element);
            let mut deadlines = deadlines(bytes);
            std::iter::from_fn(move || {
                let pair = (elements.next()?, elements.next()?);
                Some((pair.0, pair.1, deadlines.next().flatten()))
            })
        });
        let tabled = table.into_iter().flat_map(FieldTable::iter_with_deadlines);
        packed.chain(
            tabled.map(|(field, value, deadline)| {
                (Element::Text(field), Element::Text(value), deadline)
            }),
        )
    }

    /// A field by chance, each as likely as the others, or nearly so in a table. `random` gives another number each time.
    pub fn random(self, mut random: impl FnMut() -> u64) -> Option<(Element<'a>, Element<'a>)> {
        match self {
            Self::Table(fields) => {
                let (field, value) = fields.random(random)?.pair();
                Some((Element::Text(field), Element::Text(value)))
            }
            Self::Packed(..) => {
                let len = self.len() as u64;
                let index = random().checked_rem(len)? as usize;
                self.iter().nth(index)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::collection::{Collection, Content};
    use super::*;
    use crate::random::Random;
    use crate::testing::rounds;

    /// Random changes against a map, with everything compared after each.
    #[test]
    fn fields_and_deadlines_agree_with_a_map_in_both_forms() {
        let limits = PackedLimits {
            entries: 12,
            bytes: 64,
        };
        let mut large = 0;
        for seed in 1..=rounds(19) as u64 {
            let mut random = Random(seed * 0x9e37_79b9);
            let mut hash = Hash::empty(Vec::new());
            let mut model: BTreeMap<Vec<u8>, (Vec<u8>, Option<Deadline>)> = BTreeMap::new();
            for now in 1..300_i64 {
                let field = random.below(20).to_string().into_bytes();
                let value = vec![b'v'; random.below(9) as usize];
                let deadline = Deadline::of_ms(now + random.below(50) as i64);
                match random.below(6) {
                    0 | 1 => {
                        hash.set(&field, &value, limits);
                        model.insert(field, (value, None));
                    }
                    2 => {
                        hash.update(&field, &value, limits);
                        model.entry(field).or_default().0 = value;
                    }
                    3 => {
                        let found = model.get_mut(&field);
                        assert_eq!(hash.set_deadline(&field, deadline), found.is_some());
                        found.into_iter().for_each(|found| found.1 = deadline);
                    }
                    4 => assert_eq!(hash.remove(&field), model.remove(&field).is_some()),
                    _ => {
                        let before = model.len();
                        model.retain(|_, (_, deadline)| deadline.is_none_or(|at| at.ms() > now));
                        assert_eq!(hash.remove_due(now, usize::MAX), before - model.len());
                    }
                }
                let content = hash.into_content();
                let view = match &content {
                    Content::Packed(bytes) => HashRef::packed(bytes),
                    Content::Large(stays) => match stays.view() {
                        crate::value::large::LargeRef::Hash(fields) => HashRef::Table(fields),
                        other => panic!("{other:?}"),
                    },
                };
                let shown: BTreeMap<_, _> = view
                    .iter_with_deadlines()
                    .map(|(field, value, deadline)| (field.to_vec(), (value.to_vec(), deadline)))
                    .collect();
                assert_eq!((view.len(), &shown), (model.len(), &model));
                let first = model.values().filter_map(|(_, deadline)| *deadline).min();
                assert_eq!(view.first_deadline(), first);
                for (field, (_, deadline)) in &model {
                    assert_eq!(view.deadline(field), Some(*deadline));
                }
                hash = Hash::of(content).expect("it was one");
            }
            large += usize::from(matches!(hash, Hash::Table(_)));
        }
        assert!(large > 3 || cfg!(miri), "{large}");
    }
}
