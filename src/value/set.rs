//! Sets: different texts in no order.
//!
//! A small set of integers is an [`Intset`], a small set of others a listpack, a large one a table: that of a hash whose fields have
//! empty values. It knows nothing of keys, replies and time.

use super::hash::PackedLimits;
use super::intset::{self, Intset};
use super::listpack::{Element, OneWay};
use super::member_table::MemberTable;

/// How far a set stays packed.
#[derive(Clone, Copy, Debug)]
pub struct SetLimits {
    /// The most members of a set of integers.
    pub integers: usize,
    /// Of a listpack.
    pub packed: PackedLimits,
}

/// A set that is being changed.
#[derive(Debug)]
pub enum Set {
    /// An intset or a listpack.
    Packed(Vec<u8>),
    /// Too many or too long members for that.
    Table(Box<MemberTable>),
}

/// A set that is being read.
#[derive(Clone, Copy, Debug)]
pub enum SetRef<'a> {
    /// Integers.
    Integers(Intset<'a>),
    /// A listpack.
    Packed(OneWay<'a>),
    /// A table.
    Table(&'a MemberTable),
}

impl Set {
    /// An empty one, with this buffer for its bytes.
    pub fn empty(mut buffer: Vec<u8>) -> Self {
        intset::clear(&mut buffer);
        Self::Packed(buffer)
    }

    /// It, to be read.
    pub fn view(&self) -> SetRef<'_> {
        match self {
            Self::Packed(bytes) => SetRef::packed(bytes),
            Self::Table(members) => SetRef::Table(members),
        }
    }

    /// Adds a member; false if it was there.
    pub fn add(&mut self, member: &[u8], limits: SetLimits) -> bool {
        if let Self::Table(members) = self {
            return members.add(member);
        }
        if self.view().has(member) {
            return false;
        }
        self.make_room_for(member, limits);
        match self {
            Self::Table(members) => members.add(member),
            Self::Packed(bytes) if Intset::new(bytes).is_some() => {
                match Element::of(member) {
                    Element::Integer(integer) => intset::insert(bytes, integer),
                    Element::Text(_) => false,
                };
                true
            }
            Self::Packed(bytes) => {
                OneWay::push(bytes, member);
                true
            }
        }
    }

    /// Changes the form where it has no place for another member.
    fn make_room_for(&mut self, member: &[u8], limits: SetLimits) {
        let Self::Packed(bytes) = self else { return };
        let packed = limits.packed;
        let len = SetRef::packed(bytes).len();
        let fits_pack = len < packed.entries && member.len() <= packed.bytes;
        match (SetRef::packed(bytes), Element::of(member)) {
            (SetRef::Integers(_), Element::Integer(_)) if len < limits.integers => {}
            (SetRef::Integers(integers), Element::Text(_)) if fits_pack => {
                let mut pack = OneWay::empty();
                for integer in integers.iter() {
                    OneWay::push(&mut pack, &super::number::format_i64(integer));
                }
                *bytes = pack;
            }
            (SetRef::Packed(_), _) if fits_pack => {}
            _ => self.make_table(),
        }
    }

    /// Makes a table of it.
    pub fn make_table(&mut self) {
        let mut members = MemberTable::default();
        for member in self.view().iter() {
            members.add(&member.to_vec());
        }
        *self = Self::Table(Box::new(members));
    }

    /// Takes a member out; whether it was there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match self {
            Self::Table(members) => members.remove(member),
            Self::Packed(bytes) if Intset::new(bytes).is_some() => match Element::of(member) {
                Element::Integer(integer) => intset::remove(bytes, integer),
                Element::Text(_) => false,
            },
            Self::Packed(bytes) => {
                let Some(found) = OneWay::new(bytes).find(member, 1) else {
                    return false;
                };
                let range = found.at..found.end;
                OneWay::remove(bytes, range, 1);
                true
            }
        }
    }
}

impl<'a> SetRef<'a> {
    /// Of the bytes of a packed set.
    pub fn packed(bytes: &'a [u8]) -> Self {
        match Intset::new(bytes) {
            Some(integers) => Self::Integers(integers),
            None => Self::Packed(OneWay::new(bytes)),
        }
    }

    /// How many members it has.
    pub fn len(self) -> usize {
        match self {
            Self::Integers(integers) => integers.len(),
            Self::Packed(pack) => pack.len(),
            Self::Table(members) => members.len(),
        }
    }

    /// Whether it has none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Whether this is a member.
    pub fn has(self, member: &[u8]) -> bool {
        match self {
            Self::Table(members) => members.has(member),
            Self::Packed(pack) => pack.find(member, 1).is_some(),
            Self::Integers(integers) => match Element::of(member) {
                Element::Integer(integer) => integers.search(integer).is_ok(),
                Element::Text(_) => false,
            },
        }
    }

    /// All members.
    pub fn iter(self) -> impl Iterator<Item = Element<'a>> {
        let (integers, pack, table) = match self {
            Self::Integers(integers) => (Some(integers), None, None),
            Self::Packed(pack) => (None, Some(pack), None),
            Self::Table(members) => (None, None, Some(members)),
        };
        let integers = integers.into_iter().flat_map(Intset::iter);
        let packed = pack.into_iter().flat_map(OneWay::iter);
        let tabled = table.into_iter().flat_map(MemberTable::iter);
        integers
            .map(Element::Integer)
            .chain(packed.map(|placed| placed.element))
            .chain(tabled.map(Element::Text))
    }

    /// A member by chance, each as likely as the others. `random` gives another number each time.
    pub fn random(self, mut random: impl FnMut() -> u64) -> Option<Element<'a>> {
        match self {
            Self::Table(members) => members.random(random).map(Element::Text),
            Self::Integers(integers) => {
                let index = random().checked_rem(integers.len() as u64)?;
                integers.get(index as usize).map(Element::Integer)
            }
            Self::Packed(pack) => {
                let index = random().checked_rem(pack.len() as u64)?;
                Some(pack.iter().nth(index as usize)?.element)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::random::Random;
    use crate::testing::rounds;

    #[test]
    fn agrees_with_a_set_in_every_form() {
        let limits = SetLimits {
            integers: 20,
            packed: PackedLimits {
                entries: 15,
                bytes: 10,
            },
        };
        let mut random = Random(88_172_645_463_325_252);
        let mut next = move |below: u64| random.below(below);
        let mut forms = BTreeSet::new();
        for kind in 0..rounds(60) {
            let mut set = Set::empty(Vec::new());
            let mut model = BTreeSet::new();
            for _ in 0..120 {
                let member = match next(30) {
                    0 if kind % 3 == 1 => b"text".to_vec(),
                    1 if kind % 3 == 2 => vec![b'x'; next(14) as usize],
                    2 => (next(1 << 40) as i64 - (1 << 39)).to_string().into_bytes(),
                    _ => next(if kind % 2 == 0 { 12 } else { 40 })
                        .to_string()
                        .into_bytes(),
                };
                if next(3) > 0 {
                    assert_eq!(set.add(&member, limits), model.insert(member));
                } else {
                    assert_eq!(set.remove(&member), model.remove(&member));
                }
                forms.insert(match set.view() {
                    SetRef::Integers(_) => "integers",
                    SetRef::Packed(_) => "packed",
                    SetRef::Table(_) => "table",
                });
            }
            let members: BTreeSet<_> = set.view().iter().map(Element::to_vec).collect();
            assert_eq!((members.len(), &members), (set.view().len(), &model));
            assert!(model.iter().all(|member| set.view().has(member)));
            if !model.is_empty() {
                let drawn = set.view().random(|| next(u64::MAX)).unwrap();
                assert!(model.contains(&drawn.to_vec()));
            }
        }
        assert!(forms.len() == 3 || cfg!(miri), "{forms:?}");
    }
}
