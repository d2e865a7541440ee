//! A node: some entries one after another in a listpack.

use super::super::listpack::{self, Element, Listpack, START};
use super::super::number;
use super::{Id, integer, push_integer};

const DELETED: i64 = 1;
const SAME_FIELDS: i64 = 2;

/// Elements of an entry beside its fields and values: flags and the two parts of the id.
const HEAD_ELEMENTS: i64 = 3;

/// An entry of a stream.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Its id.
    pub id: Id,
    /// Its fields with their values.
    pub fields: Fields<'a>,
    pub(super) is_deleted: bool,
    /// Where its flags are.
    pub(super) flags_at: usize,
}

/// Fields with their values.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    pack: Listpack<'a>,
    len: usize,
    /// Where the first field stands.
    names_at: usize,
    /// Where the first value stands, if values stand apart.
    values_at: Option<usize>,
}

impl<'a> Fields<'a> {
    /// How many there are.
    pub fn len(self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// Each field with its value.
    pub fn iter(self) -> impl Iterator<Item = (Element<'a>, Element<'a>)> {
        let (mut name_at, mut value_at) = (self.names_at, self.values_at);
        let next = move || {
            let name = self.pack.at(name_at)?;
            let value = self.pack.at(value_at.unwrap_or(name.end))?;
            match &mut value_at {
                Some(at) => {
                    name_at = name.end;
                    *at = value.end;
                }
                None => name_at = value.end,
            }
            Some((name.element, value.element))
        };
        std::iter::from_fn(next).take(self.len)
    }
}

/// Reads the elements of a node one after another.
struct Cursor<'a> {
    pack: Listpack<'a>,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn new(node: &'a [u8]) -> Self {
        Self {
            pack: Listpack::new(node),
            at: START,
        }
    }

    fn element(&mut self) -> Option<Element<'a>> {
        let placed = self.pack.at(self.at)?;
        self.at = placed.end;
        Some(placed.element)
    }

    fn integer(&mut self) -> Option<i64> {
        self.element().and_then(integer)
    }

    fn skip(&mut self, elements: usize) -> Option<()> {
        (0..elements).try_for_each(|_| self.element().map(|_| ()))
    }
}

/// What stands before the entries.
struct Head {
    count: i64,
    deleted: i64,
    /// Fields of the first entry: how many, and where.
    fields: usize,
    fields_at: usize,
}

fn head<'a>(cursor: &mut Cursor<'a>) -> Option<Head> {
    let (count, deleted) = (cursor.integer()?, cursor.integer()?);
    let fields = usize::try_from(cursor.integer()?).ok()?;
    let fields_at = cursor.at;
    cursor.skip(fields)?;
    cursor.integer()?;
    Some(Head {
        count,
        deleted,
        fields,
        fields_at,
    })
}

/// Its entries, deleted ones too.
pub(super) fn entries(node: &[u8], master: Id) -> impl Iterator<Item = Entry<'_>> {
    let mut cursor = Cursor::new(node);
    let head = head(&mut cursor);
    std::iter::from_fn(move || entry(&mut cursor, head.as_ref()?, master))
}

fn entry<'a>(cursor: &mut Cursor<'a>, head: &Head, master: Id) -> Option<Entry<'a>> {
    let flags_at = cursor.at;
    let flags = cursor.integer()?;
    let (ms, seq) = (cursor.integer()?, cursor.integer()?);
    let id = Id {
        ms: master.ms.wrapping_add(ms as u64),
        seq: master.seq.wrapping_add(seq as u64),
    };
    let fields = if flags & SAME_FIELDS != 0 {
        let values_at = Some(cursor.at);
        cursor.skip(head.fields)?;
        Fields {
            pack: cursor.pack,
            len: head.fields,
            names_at: head.fields_at,
            values_at,
        }
    } else {
        let len = usize::try_from(cursor.integer()?).ok()?;
        let names_at = cursor.at;
        cursor.skip(len.checked_mul(2)?)?;
        Fields {
            pack: cursor.pack,
            len,
            names_at,
            values_at: None,
        }
    };
    cursor.integer()?;
    Some(Entry {
        id,
        fields,
        is_deleted: flags & DELETED != 0,
        flags_at,
    })
}

/// Whether these bytes, of which nothing is known, are a node to the last one.
pub(super) fn is_whole(node: &[u8], master: Id) -> bool {
    if !listpack::is_whole(node) {
        return false;
    }
    let mut cursor = Cursor::new(node);
    let Some(head) = head(&mut cursor) else {
        return false;
    };
    let (mut there, mut deleted, mut last) = (0, 0, None);
    while let Some(entry) = entry(&mut cursor, &head, master) {
        if last.is_some_and(|last| entry.id <= last) {
            return false;
        }
        last = Some(entry.id);
        *(if entry.is_deleted {
            &mut deleted
        } else {
            &mut there
        }) += 1;
    }
    // Nothing is left. All entries may be deleted ones: XTRIM MINID takes out a node only if its last entry, deleted or not,
    // lies before the id.
    there == head.count
        && deleted == head.deleted
        && cursor.pack.at(cursor.at).is_none()
        && cursor.at == listpack::end_of(node)
}

/// Entries that are there.
pub(super) fn count(node: &[u8]) -> u64 {
    let count = Cursor::new(node).integer();
    count
        .and_then(|count| u64::try_from(count).ok())
        .unwrap_or(0)
}

/// Entries with the deleted ones.
pub(super) fn count_all(node: &[u8]) -> u64 {
    let mut cursor = Cursor::new(node);
    let both = cursor.integer().zip(cursor.integer());
    both.map_or(0, |(there, deleted)| (there + deleted) as u64)
}

/// The id of the last entry, deleted or not.
pub(super) fn last_id(node: &[u8], master: Id) -> Id {
    entries(node, master)
        .last()
        .map_or(master, |entry| entry.id)
}

/// A node with its first entry.
pub(super) fn begin(id: Id, fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut node = Listpack::empty();
    push_integer(&mut node, 1);
    push_integer(&mut node, 0);
    push_integer(&mut node, fields.len() as i64);
    for (field, _) in fields {
        Listpack::push(&mut node, field);
    }
    push_integer(&mut node, 0);
    push_entry(&mut node, (id, id), fields, true);
    node
}

/// Adds an entry at the end.
pub(super) fn append(node: &mut Vec<u8>, master: Id, id: Id, fields: &[(&[u8], &[u8])]) {
    let mut cursor = Cursor::new(node);
    let Some(head) = head(&mut cursor) else {
        return;
    };
    let mut names = Cursor {
        at: head.fields_at,
        ..cursor
    };
    let is_same = head.fields == fields.len()
        && fields
            .iter()
            .all(|(field, _)| names.element() == Some(Element::of(field)));
    set_integer(node, START, head.count + 1);
    push_entry(node, (master, id), fields, is_same);
}

fn push_entry(
    node: &mut Vec<u8>,
    (master, id): (Id, Id),
    fields: &[(&[u8], &[u8])],
    is_same: bool,
) {
    let len = fields.len() as i64;
    push_integer(node, if is_same { SAME_FIELDS } else { 0 });
    push_integer(node, id.ms.wrapping_sub(master.ms) as i64);
    push_integer(node, id.seq.wrapping_sub(master.seq) as i64);
    if !is_same {
        push_integer(node, len);
    }
    for (field, value) in fields {
        if !is_same {
            Listpack::push(node, field);
        }
        Listpack::push(node, value);
    }
    let elements = if is_same { len } else { 2 * len + 1 };
    push_integer(node, HEAD_ELEMENTS + elements);
}

/// Writes another integer in the place of one. Gives by how many bytes what follows has moved.
fn set_integer(node: &mut Vec<u8>, at: usize, integer: i64) -> isize {
    let Some(old) = Listpack::new(node).at(at) else {
        return 0;
    };
    let (range, before) = (old.at..old.end, node.len());
    Listpack::replace(node, range, 1, &number::format_i64(integer));
    node.len() as isize - before as isize
}

/// Marks entries as deleted, whose flags are at these places.
pub(super) fn delete(node: &mut Vec<u8>, flags_at: &[usize]) {
    for at in flags_at {
        // Flags are integers of one byte, before and after.
        let flags = Listpack::new(node)
            .at(*at)
            .and_then(|placed| integer(placed.element));
        set_integer(node, *at, flags.unwrap_or(0) | DELETED);
    }
    let Some(head) = head(&mut Cursor::new(node)) else {
        return;
    };
    let gone = flags_at.len() as i64;
    set_integer(node, START, head.count - gone);
    let deleted_at = Listpack::new(node)
        .at(START)
        .map_or(START, |count| count.end);
    set_integer(node, deleted_at, head.deleted + gone);
}
