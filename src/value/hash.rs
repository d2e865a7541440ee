//! Hashes: fields with values.
//!
//! A small hash is a listpack of fields and values in turn, in the order in which they came. A large one is a
//! [`FieldTable`]. It knows nothing of keys, replies and time.

use super::fields::Field;
use super::listpack::{self, Element, Listpack};
use super::segments::Segments;

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
    Packed(Vec<u8>),
    /// Too many or too long fields for that.
    Table(Box<FieldTable>),
}

/// A hash that is being read.
#[derive(Clone, Copy, Debug)]
pub enum HashRef<'a> {
    /// A listpack.
    Packed(Listpack<'a>),
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

impl Hash {
    /// It, to be read.
    pub fn view(&self) -> HashRef<'_> {
        match self {
            Self::Packed(bytes) => HashRef::Packed(Listpack::new(bytes)),
            Self::Table(fields) => HashRef::Table(fields),
        }
    }

    /// Sets a field.
    pub fn set(&mut self, field: &[u8], value: &[u8], limits: PackedLimits) -> Set {
        self.grow_for(&[field, value], limits);
        let bytes = match self {
            Self::Table(fields) => return fields.set(field, value),
            Self::Packed(bytes) => bytes,
        };
        let pack = Listpack::new(bytes);
        if let Some(found) = pack.find(field, 2) {
            if let Some(old) = pack.at(found.end) {
                listpack::replace(bytes, old.at..old.end, 1, value);
            }
            return Set::Replaced;
        }
        listpack::push(bytes, field);
        listpack::push(bytes, value);
        if Listpack::new(bytes).len() / 2 > limits.entries {
            self.make_table();
        }
        Set::Added
    }

    /// Makes a table of it where texts that will come are too long for a listpack.
    pub fn grow_for(&mut self, texts: &[&[u8]], limits: PackedLimits) {
        if matches!(self, Self::Packed(_)) && !texts.iter().all(|text| limits.fits(text)) {
            self.make_table();
        }
    }

    fn make_table(&mut self) {
        let mut fields = FieldTable::default();
        for (field, value) in self.view().iter() {
            fields.set(&field.to_vec(), &value.to_vec());
        }
        *self = Self::Table(Box::new(fields));
    }

    /// Takes a field out; whether it was there.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        match self {
            Self::Table(fields) => fields.remove(field),
            Self::Packed(bytes) => {
                let pack = Listpack::new(bytes);
                let Some(found) = pack.find(field, 2) else {
                    return false;
                };
                let end = pack.at(found.end).map_or(found.end, |value| value.end);
                listpack::remove(bytes, found.at..end, 2);
                true
            }
        }
    }
}

impl<'a> HashRef<'a> {
    /// How many fields it has.
    pub fn len(self) -> usize {
        match self {
            Self::Packed(pack) => pack.len() / 2,
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
            Self::Packed(pack) => {
                let found = pack.find(field, 2)?;
                Some(pack.at(found.end)?.element)
            }
        }
    }

    /// All fields with their values.
    pub fn iter(self) -> impl Iterator<Item = (Element<'a>, Element<'a>)> {
        let (pack, table) = match self {
            Self::Packed(pack) => (Some(pack), None),
            Self::Table(fields) => (None, Some(fields)),
        };
        let packed = pack.into_iter().flat_map(|pack| {
            let mut elements = pack.iter().map(|placed| placed.element);
            std::iter::from_fn(move || Some((elements.next()?, elements.next()?)))
        });
        let tabled = table.into_iter().flat_map(FieldTable::iter);
        packed.chain(tabled.map(|(field, value)| (Element::Text(field), Element::Text(value))))
    }

    /// A field by chance, each as likely as the others, or nearly so in a table. `random` gives another number each time.
    pub fn random(self, mut random: impl FnMut() -> u64) -> Option<(Element<'a>, Element<'a>)> {
        match self {
            Self::Table(fields) => {
                let (field, value) = fields.random(random)?.pair();
                Some((Element::Text(field), Element::Text(value)))
            }
            Self::Packed(_) => {
                let len = self.len() as u64;
                let index = random().checked_rem(len)? as usize;
                self.iter().nth(index)
            }
        }
    }
}

/// The fields of a large hash: a table whose growth never stalls, with one allocation for each field and its value.
#[derive(Clone, Debug, Default)]
pub struct FieldTable {
    fields: Segments<Field>,
    /// What the fields themselves take.
    field_bytes: usize,
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
    }

    /// The value of a field.
    pub fn get(&self, field: &[u8]) -> Option<&[u8]> {
        let found = self
            .fields
            .find(Field::hash_of(field), |f| f.name() == field)?;
        Some(found.value())
    }

    /// Sets a field.
    pub fn set(&mut self, field: &[u8], value: &[u8]) -> Set {
        let hash = Field::hash_of(field);
        if let Some(found) = self.fields.find_mut(hash, |f| f.name() == field) {
            self.field_bytes -= found.heap_bytes();
            found.set_value(value);
            self.field_bytes += found.heap_bytes();
            return Set::Replaced;
        }
        let new = Field::new(field, value);
        self.field_bytes += new.heap_bytes();
        self.fields.insert(hash, new, Field::hash);
        Set::Added
    }

    /// Takes a field out; whether it was there.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        let removed = self
            .fields
            .remove(Field::hash_of(field), |f| f.name() == field, Field::hash);
        if let Some(removed) = &removed {
            self.field_bytes -= removed.heap_bytes();
        }
        removed.is_some()
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
