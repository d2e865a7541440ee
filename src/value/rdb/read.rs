//! Values of every type, in every encoding of the versions 2 to 15, and of Valkey's 80.
//!
//! What is packed is not taken as it is but put together anew, within the limits of the options: so nothing depends on how
//! another server packs, and what is there twice is noticed.

use super::super::collection::{Collection, Content};
use super::super::fields::Deadline;
use super::super::hash::{self, Hash, PackedLimits};
use super::super::intset::Intset;
use super::super::large::Large;
use super::super::list::{End, List, NodeLimits};
use super::super::listpack::{self, Digits, Element, Listpack};
use super::super::number;
use super::super::set::{Set, SetLimits};
use super::super::value_type::ValueType;
use super::super::zset::{MEMBERS_MAX, Upsert, Zset};
use super::input::{
    Fault, Input, binary_double, length, milliseconds, number_or_fault, owned_text, text,
    text_double,
};
use super::kinds::*;
use super::old;
use super::stream::read_stream;

/// How far collections stay packed.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Lists.
    pub list: NodeLimits,
    /// Sets.
    pub set: SetLimits,
    /// Sorted sets.
    pub zset: PackedLimits,
    /// Hashes.
    pub hash: PackedLimits,
}

/// A value.
#[derive(Debug)]
pub enum Value {
    /// A string.
    String(Vec<u8>),
    /// A collection.
    Collection(ValueType, Content),
}

const TWICE: Fault = Fault::Broken("an element is there twice");
/// It was read to its end.
pub(super) const EMPTY: Fault = Fault::Broken("a collection is empty");
const NOT_IN_PAIRS: Fault = Fault::Broken("its elements do not come in pairs");

/// Reads a value of a kind of a dialect.
pub fn read_value(
    input: &mut impl Input,
    kind: u8,
    dialect: Dialect,
    limits: &Limits,
) -> Result<Value, Fault> {
    if kind > STREAM_LISTPACKS_3 {
        return read_newer(input, kind, dialect, limits);
    }
    let mut digits = Digits::new();
    match kind {
        STRING => owned_text(input).map(Value::String),
        LIST | LIST_ZIPLIST | LIST_QUICKLIST | LIST_QUICKLIST_2 => {
            let mut list = List::empty(Vec::new());
            let mut push = |element: &[u8]| list.push(End::Tail, element, limits.list);
            match kind {
                LIST => {
                    for _ in 0..length(input)? {
                        text(input, &mut push)?;
                    }
                }
                LIST_ZIPLIST => read_ziplist(input, |element| {
                    push(element.text(&mut digits));
                    Ok(())
                })?,
                LIST_QUICKLIST => {
                    for _ in 0..length(input)? {
                        read_ziplist(input, |element| {
                            push(element.text(&mut digits));
                            Ok(())
                        })?;
                    }
                }
                _ => read_nodes(input, &mut push)?,
            }
            finish(ValueType::List, list)
        }
        SET | SET_INTSET | SET_LISTPACK => {
            let mut set = Set::empty(Vec::new());
            let mut add = |member: &[u8]| match set.add(member, limits.set) {
                true => Ok(()),
                false => Err(TWICE),
            };
            match kind {
                SET => {
                    for _ in 0..length(input)? {
                        text(input, &mut add)??;
                    }
                }
                SET_INTSET => text(input, |bytes| {
                    let integers = Intset::checked(bytes);
                    let integers = integers.ok_or(Fault::Broken("an intset is broken"))?;
                    let mut all = integers.iter();
                    all.try_for_each(|integer| add(&number::format_i64(integer)))
                })??,
                _ => read_listpack(input, |element| add(element.text(&mut digits)))?,
            }
            finish(ValueType::Set, set)
        }
        HASH | HASH_ZIPMAP | HASH_ZIPLIST | HASH_LISTPACK => {
            let mut hash = Hash::empty(Vec::new());
            let mut add = adds_fields(&mut hash, limits.hash);
            let mut set = |field: &[u8], value: &[u8]| add(field, value, 0);
            match kind {
                HASH => {
                    for _ in 0..length(input)? {
                        let field = owned_text(input)?;
                        text(input, |value| set(&field, value))??;
                    }
                }
                HASH_ZIPMAP => text(input, |bytes| old::zipmap(bytes, &mut set))??,
                _ => read_pairs(input, kind == HASH_ZIPLIST, |field, value| {
                    set(field, value.text(&mut digits))
                })?,
            }
            drop(add);
            finish(ValueType::Hash, hash)
        }
        ZSET | ZSET_2 | ZSET_ZIPLIST | ZSET_LISTPACK => read_zset(input, kind, limits.zset),
        MODULE | MODULE_2 => Err(Fault::Unsupported("values of modules")),
        STREAM_LISTPACKS | STREAM_LISTPACKS_2 | STREAM_LISTPACKS_3 => read_a_stream(input, kind),
        _ => Err(NO_TYPE),
    }
}

const NO_TYPE: Fault = Fault::Broken("there is no such type of value");

/// The types that Redis and Valkey number each for itself.
fn read_newer(
    input: &mut impl Input,
    kind: u8,
    dialect: Dialect,
    limits: &Limits,
) -> Result<Value, Fault> {
    match (dialect, kind) {
        (Dialect::Valkey, VALKEY_HASH_2) => read_valkey_hash(input, limits.hash),
        (Dialect::Valkey, _) => Err(NO_TYPE),
        (_, HASH_METADATA | HASH_METADATA_PRE_GA) => {
            read_table_with_deadlines(input, kind, limits.hash)
        }
        (_, HASH_LISTPACK_EX | HASH_LISTPACK_EX_PRE_GA) => {
            read_pack_with_deadlines(input, kind, limits.hash)
        }
        (_, STREAM_LISTPACKS_4 | STREAM_LISTPACKS_5) => read_a_stream(input, kind),
        (_, HASH_TEMPLATE_PACK | HASH_TEMPLATE_LIST) => {
            // What says that the template follows.
            if length(input)? != 0 {
                return Err(TEMPLATE_BROKEN);
            }
            let mut template = Template::new();
            read_listpack(input, |field| {
                template.push(field.to_vec());
                Ok(())
            })?;
            read_of_template(input, kind, |_| Some(&template), limits.hash)
        }
        (_, ARRAY) => Err(Fault::Unsupported("arrays")),
        _ => Err(NO_TYPE),
    }
}

fn read_a_stream(input: &mut impl Input, kind: u8) -> Result<Value, Fault> {
    let large = Large::Stream(Box::new(read_stream(input, kind)?));
    Ok(Value::Collection(ValueType::Stream, Content::Large(large)))
}

/// Names of fields, which hashes share.
pub(super) type Template = Vec<Vec<u8>>;

const TEMPLATE_BROKEN: Fault = Fault::Broken("a hash does not fit its template");

/// A hash whose fields are those of a template; of those that files refer to, by its number.
pub(super) fn read_of_template<'t>(
    input: &mut impl Input,
    kind: u8,
    find: impl Fn(u64) -> Option<&'t Template>,
    limits: PackedLimits,
) -> Result<Value, Fault> {
    let mut hash = Hash::empty(Vec::new());
    let mut add = adds_fields(&mut hash, limits);
    match kind {
        // The first element is the number of the template.
        HASH_TEMPLATE_PACK | HASH_TEMPLATE_PACK_REF => {
            let (mut digits, mut fields) = (Digits::new(), None);
            read_listpack(input, |element| {
                let Some(fields) = &mut fields else {
                    let Element::Integer(number) = element else {
                        return Err(TEMPLATE_BROKEN);
                    };
                    let template = find(number as u64).ok_or(TEMPLATE_BROKEN)?;
                    fields = Some(template.iter());
                    return Ok(());
                };
                let field = fields.next().ok_or(TEMPLATE_BROKEN)?;
                add(field, element.text(&mut digits), 0)
            })?;
            if fields.is_none_or(|mut left| left.next().is_some()) {
                return Err(TEMPLATE_BROKEN);
            }
        }
        _ => {
            let number = if kind == HASH_TEMPLATE_LIST_REF {
                length(input)?
            } else {
                0
            };
            for field in find(number).ok_or(TEMPLATE_BROKEN)? {
                text(input, |value| add(field, value, 0))??;
            }
        }
    }
    drop(add);
    finish(ValueType::Hash, hash)
}

/// Fields, values and deadlines (8; all ones: none) in turn.
fn read_valkey_hash(input: &mut impl Input, limits: PackedLimits) -> Result<Value, Fault> {
    let mut hash = Hash::empty(Vec::new());
    let mut add = adds_fields(&mut hash, limits);
    for _ in 0..length(input)? {
        let (field, value) = (owned_text(input)?, owned_text(input)?);
        let ms = match milliseconds(input)? {
            -1 => 0,
            ms => ms,
        };
        add(&field, &value, ms)?;
    }
    drop(add);
    finish(ValueType::Hash, hash)
}

/// What adds fields with deadlines in milliseconds, 0 for none, to a hash.
fn adds_fields(
    hash: &mut Hash,
    limits: PackedLimits,
) -> impl FnMut(&[u8], &[u8], i64) -> Result<(), Fault> {
    move |field, value, ms| {
        hash.grow_for(&[field, value], limits);
        if hash.set(field, value, limits) != hash::Set::Added {
            return Err(TWICE);
        }
        if ms != 0 {
            let deadline = Deadline::of_ms(ms).ok_or(Fault::Broken("no field can go then"))?;
            hash.set_deadline(field, Some(deadline));
        }
        Ok(())
    }
}

/// In a preview of Redis 7.4 the first deadline was not told, and the others counted from zero.
fn read_table_with_deadlines(
    input: &mut impl Input,
    kind: u8,
    limits: PackedLimits,
) -> Result<Value, Fault> {
    let mut hash = Hash::empty(Vec::new());
    let mut add = adds_fields(&mut hash, limits);
    let first = match kind {
        HASH_METADATA => milliseconds(input)?,
        _ => 1,
    };
    for _ in 0..length(input)? {
        let after = i64::try_from(length(input)?).unwrap_or(i64::MAX);
        let ms = match after {
            0 => 0,
            _ => first.saturating_add(after - 1),
        };
        let field = owned_text(input)?;
        text(input, |value| add(&field, value, ms))??;
    }
    drop(add);
    finish(ValueType::Hash, hash)
}

fn read_pack_with_deadlines(
    input: &mut impl Input,
    kind: u8,
    limits: PackedLimits,
) -> Result<Value, Fault> {
    let mut hash = Hash::empty(Vec::new());
    let mut add = adds_fields(&mut hash, limits);
    if kind == HASH_LISTPACK_EX {
        // The first deadline, which is in the listpack too.
        milliseconds(input)?;
    }
    let mut texts: Vec<Vec<u8>> = Vec::new();
    read_listpack(input, |element| match (texts.as_slice(), element) {
        ([field, value], Element::Integer(ms)) => {
            add(field, value, ms)?;
            texts.clear();
            Ok(())
        }
        ([_, _], Element::Text(_)) => Err(Fault::Broken("a deadline is no number")),
        _ => {
            texts.push(element.to_vec());
            Ok(())
        }
    })?;
    drop(add);
    if !texts.is_empty() {
        return Err(NOT_IN_PAIRS);
    }
    finish(ValueType::Hash, hash)
}

fn read_zset(input: &mut impl Input, kind: u8, limits: PackedLimits) -> Result<Value, Fault> {
    let mut zset = Zset::empty(Vec::new());
    if matches!(kind, ZSET | ZSET_2) {
        // Packed at the end, as in Redis: a listpack has no negative zero.
        zset.make_large();
    }
    let mut set = |member: &[u8], score: f64| {
        if zset.view().len() >= MEMBERS_MAX {
            return Err(Fault::Broken("a sorted set has too many members"));
        }
        match zset.set(member, score, limits) {
            Upsert::Added => Ok(()),
            Upsert::Moved | Upsert::Kept => Err(TWICE),
        }
    };
    match kind {
        ZSET | ZSET_2 => {
            for _ in 0..length(input)? {
                let member = owned_text(input)?;
                let score = if kind == ZSET {
                    text_double(input)?
                } else {
                    binary_double(input)?
                };
                set(&member, score)?;
            }
        }
        _ => read_pairs(input, kind == ZSET_ZIPLIST, |member, score| {
            let score = match score {
                Element::Integer(integer) => integer as f64,
                Element::Text(text) => std::str::from_utf8(text)
                    .ok()
                    .and_then(|text| text.parse().ok())
                    .ok_or(Fault::Broken("a score is no number"))?,
            };
            set(member, number_or_fault(score)?)
        })?,
    }
    zset.pack_if_small(limits);
    finish(ValueType::Zset, zset)
}

fn finish<C: Collection>(value_type: ValueType, collection: C) -> Result<Value, Fault> {
    if collection.is_empty() {
        return Err(EMPTY);
    }
    Ok(Value::Collection(value_type, collection.into_content()))
}

/// The nodes of a list: elements that are too long for one stand alone.
fn read_nodes(input: &mut impl Input, mut push: impl FnMut(&[u8])) -> Result<(), Fault> {
    let mut digits = Digits::new();
    for _ in 0..length(input)? {
        match length(input)? {
            NODE_PLAIN => text(input, &mut push)?,
            NODE_PACKED => read_listpack(input, |element| {
                push(element.text(&mut digits));
                Ok(())
            })?,
            _ => return Err(Fault::Broken("a node of a list is of no kind")),
        }
    }
    Ok(())
}

fn read_listpack(
    input: &mut impl Input,
    mut show: impl FnMut(Element<'_>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    text(input, |bytes| {
        if !listpack::is_whole(bytes) {
            return Err(Fault::Broken("a listpack is broken"));
        }
        let mut all = Listpack::new(bytes).iter();
        all.try_for_each(|placed| show(placed.element))
    })?
}

fn read_ziplist(
    input: &mut impl Input,
    show: impl FnMut(Element<'_>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    text(input, |bytes| old::ziplist(bytes, show))?
}

/// Pairs of a packed collection: a name, and what belongs to it.
fn read_pairs(
    input: &mut impl Input,
    is_ziplist: bool,
    mut show: impl FnMut(&[u8], Element<'_>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut name: Option<Vec<u8>> = None;
    let mut take = |element: Element<'_>| match name.take() {
        Some(name) => show(&name, element),
        None => {
            name = Some(element.to_vec());
            Ok(())
        }
    };
    if is_ziplist {
        read_ziplist(input, &mut take)?;
    } else {
        read_listpack(input, &mut take)?;
    }
    match name {
        Some(_) => Err(NOT_IN_PAIRS),
        None => Ok(()),
    }
}
