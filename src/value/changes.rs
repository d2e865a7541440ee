//! What has changed of a large collection since one version of it, so that a small change need not write all of it again.
//!
//! A collection that is **followed** remembers which of its parts have changed: members and fields by their names, nodes by
//! their numbers or ids. What these are now is told as a row of changes, which makes the collection of its version. One that
//! changes more than a little is followed no longer.
//!
//! ```text
//! set      member | 0: gone, 1: there                                                 again and again
//! zset     member | 0, or 1 and the score (8)                                          again and again
//! hash     field | 0, or 1 and the value, or 2, the value and the deadline (8)          again and again
//! list     how many nodes have gone before the first, less than 0: come (8) | nodes | changed nodes
//!          | place of a changed node, node
//! stream   changed nodes | id of a node, node or nothing | what follows the nodes in the serialised form
//! ```
//!
//! Two rows of changes, one after the other, are a row of changes.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};

use super::fields::Deadline;
use super::large::{Large, LargeRef};
use super::rdb::input::{array, binary_double, length, milliseconds, owned_text, text};
use super::rdb::{self, Fault, ValueWriter};
use super::stream::Id;

/// More parts are too many: to look them up takes a millisecond.
const PARTS_MAX: usize = if cfg!(miri) { 64 } else { 4096 };
/// More bytes are too many: to copy them takes a millisecond or two. Of a list or a stream, whose nodes are copied as they are,
/// more: a list that several clients push to would be written whole by each run.
const BYTES_MAX: usize = 4 * 1024 * 1024;
const NODE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What the set takes for a part beside it, about.
const TREE_BYTES: usize = 8;

const GONE: u8 = 0;
const THERE: u8 = 1;
const WITH_DEADLINE: u8 = 2;

/// The parts of a collection that have changed, if it is followed. A clone is not.
#[derive(Debug)]
pub(super) struct Changes<P>(Option<Box<Followed<P>>>);

#[derive(Debug)]
struct Followed<P> {
    version: u64,
    /// Empty where there were too many.
    parts: BTreeSet<P>,
    gave_up: bool,
    /// Of how many it was told that they are to be written: all, where all of the collection is.
    told: Cell<usize>,
    /// What names take beside their places in the set.
    name_bytes: usize,
}

impl<P> Default for Changes<P> {
    fn default() -> Self {
        Self(None)
    }
}

impl<P> Clone for Changes<P> {
    fn clone(&self) -> Self {
        Self(None)
    }
}

impl<P: Ord> Changes<P> {
    /// Follows the collection from now on: this is the version.
    pub(super) fn follow(&mut self, version: u64) {
        self.0 = Some(Box::new(Followed {
            version,
            parts: BTreeSet::new(),
            gave_up: false,
            told: Cell::new(0),
            name_bytes: 0,
        }));
    }

    pub(super) fn give_up(&mut self) {
        if let Some(followed) = &mut self.0 {
            followed.gave_up = true;
            followed.parts.clear();
            followed.name_bytes = 0;
        }
    }

    /// A part has changed, come or gone.
    #[inline]
    pub(super) fn note(&mut self, part: P) {
        if let Some(followed) = self.followed() {
            followed.parts.insert(part);
            self.check();
        }
    }

    #[inline]
    fn followed(&mut self) -> Option<&mut Followed<P>> {
        self.0.as_deref_mut().filter(|followed| !followed.gave_up)
    }

    #[inline]
    fn check(&mut self) {
        let is_too_much = |f: &Followed<P>| f.parts.len() > PARTS_MAX || f.name_bytes > BYTES_MAX;
        if self.0.as_deref().is_some_and(is_too_much) {
            self.give_up();
        }
    }

    /// The version since which it is followed, and the parts that have changed since.
    fn since(&self) -> Option<(u64, &BTreeSet<P>)> {
        let followed = self.0.as_deref().filter(|f| !f.gave_up);
        followed.map(|f| (f.version, &f.parts))
    }

    /// About how many bytes of a collection with so many parts and bytes are to be written that were not told of before; `None` if
    /// it is not followed.
    fn tell(&self, anew: bool, parts: usize, bytes: usize) -> Option<usize> {
        let followed = self.0.as_deref()?;
        let before = followed.told.get();
        if followed.gave_up {
            followed.told.set(usize::MAX);
            return (!anew && before < usize::MAX).then_some(bytes);
        }
        let changed = followed.parts.len();
        followed.told.set(changed);
        let more = if anew { changed } else { changed - before };
        Some(more.saturating_mul(bytes / parts.max(1)).min(bytes))
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let bytes_of = |f: &Followed<P>| {
            size_of::<Followed<P>>() + f.name_bytes + f.parts.len() * (size_of::<P>() + TREE_BYTES)
        };
        self.0.as_deref().map_or(0, bytes_of)
    }
}

impl Changes<Box<[u8]>> {
    /// A part of this name has changed, come or gone.
    #[inline]
    pub(super) fn note_name(&mut self, name: &[u8]) {
        if self.0.is_some() {
            self.note_followed(name);
        }
    }

    fn note_followed(&mut self, name: &[u8]) {
        if let Some(followed) = self.followed()
            && !followed.parts.contains(name)
        {
            followed.name_bytes += crate::allocator::size_class(name.len());
            followed.parts.insert(name.into());
            self.check();
        }
    }
}

impl LargeRef<'_> {
    /// About how many bytes of it are to be written that were not told of before; `anew` if nothing of it waits to be written.
    /// `None` if it is not followed.
    pub fn tell_changed_bytes(self, anew: bool) -> Option<usize> {
        let bytes = self.heap_bytes();
        match self {
            Self::Set(members) => members.changes().tell(anew, members.len(), bytes),
            Self::Zset(members) => members.changes().tell(anew, members.len(), bytes),
            Self::Hash(fields) => fields.changes().tell(anew, fields.len(), bytes),
            Self::List(nodes) => nodes.changes().tell(anew, nodes.packs().len(), bytes),
            Self::Stream(stream) => stream.changes().tell(anew, stream.node_count(), bytes),
        }
    }

    /// Appends what has changed since the version that it is followed since, and gives that. `None` if it is not followed, or
    /// has changed too much.
    pub fn changes(self, out: &mut Vec<u8>) -> Option<u64> {
        let start = out.len();
        let mut writer = ValueWriter::plain(out);
        let version = match self {
            Self::Set(members) => {
                let (version, names) = members.changes().since()?;
                for name in names {
                    writer.text(name);
                    writer.raw(&[if members.has(name) { THERE } else { GONE }]);
                }
                version
            }
            Self::Zset(members) => {
                let (version, names) = members.changes().since()?;
                for name in names {
                    writer.text(name);
                    match members.score(name) {
                        None => writer.raw(&[GONE]),
                        Some(score) => {
                            writer.raw(&[THERE]);
                            writer.raw(&score.to_le_bytes());
                        }
                    }
                }
                version
            }
            Self::Hash(fields) => {
                let (version, names) = fields.changes().since()?;
                for name in names {
                    writer.text(name);
                    let Some((value, deadline)) = fields.get_with_deadline(name) else {
                        writer.raw(&[GONE]);
                        continue;
                    };
                    let with = deadline.map_or(THERE, |_| WITH_DEADLINE);
                    writer.raw(&[with]);
                    writer.text(value);
                    if let Some(deadline) = deadline {
                        writer.raw(&deadline.ms().to_le_bytes());
                    }
                }
                version
            }
            Self::List(nodes) => {
                let (version, numbers) = nodes.changes().since()?;
                let first = nodes.first_number();
                let moved = first.wrapping_sub(nodes.followed_from()) as i64;
                let packs = nodes.packs();
                writer.raw(&moved.to_le_bytes());
                writer.length(packs.len());
                let there = numbers.range(first..first.saturating_add(packs.len()));
                writer.length(there.clone().count());
                for number in there {
                    writer.length(number - first);
                    writer.text(nodes.pack(number - first).bytes());
                }
                version
            }
            Self::Stream(stream) => {
                let (version, ids) = stream.changes().since()?;
                writer.length(ids.len());
                for id in ids {
                    writer.raw(&id.to_bytes());
                    writer.text(stream.node(*id).unwrap_or_default());
                }
                rdb::write_beside_nodes(&mut writer, stream, rdb::STREAM_LISTPACKS_3);
                version
            }
        };
        let most = match self {
            Self::List(_) | Self::Stream(_) => NODE_BYTES_MAX,
            _ => BYTES_MAX,
        };
        (out.len() - start <= most).then_some(version)
    }
}

impl Large {
    /// Follows it from now on: this is the version.
    pub fn follow(&mut self, version: u64) {
        match self {
            Self::List(nodes) => nodes.follow(version),
            Self::Set(members) => members.follow(version),
            Self::Zset(members) => members.follow(version),
            Self::Hash(fields) => fields.follow(version),
            Self::Stream(stream) => stream.follow(version),
        }
    }

    /// It gets another name: it is followed no more, and a copy that is being taken out is given up.
    pub fn detach(&mut self) {
        match self {
            Self::List(nodes) => nodes.detach(),
            Self::Set(members) => members.detach(),
            Self::Zset(members) => members.detach(),
            Self::Hash(fields) => fields.detach(),
            Self::Stream(stream) => stream.detach(),
        }
    }

    /// Makes of it what changes say.
    ///
    /// # Errors
    /// They are none of a collection like this. It is something in between then.
    pub fn apply(&mut self, changes: &[u8]) -> Result<(), Fault> {
        let mut rest = changes;
        let input = &mut rest;
        while !input.is_empty() {
            match self {
                Self::Set(members) => {
                    let name = owned_text(input)?;
                    match array(input)? {
                        [GONE] => members.remove(&name),
                        [THERE] => members.add(&name),
                        _ => return Err(UNKNOWN),
                    };
                }
                Self::Zset(members) => {
                    let name = owned_text(input)?;
                    match array(input)? {
                        [GONE] => {
                            members.remove(&name);
                        }
                        [THERE] => {
                            members.set(&name, binary_double(input)?);
                        }
                        _ => return Err(UNKNOWN),
                    }
                }
                Self::Hash(fields) => {
                    let name = owned_text(input)?;
                    let [change] = array(input)?;
                    match change {
                        GONE => {
                            fields.remove(&name);
                        }
                        THERE | WITH_DEADLINE => {
                            text(input, |value| fields.set(&name, value, false))?;
                        }
                        _ => return Err(UNKNOWN),
                    }
                    if change == WITH_DEADLINE {
                        fields.set_deadline(&name, Deadline::of_ms(milliseconds(input)?));
                    }
                }
                Self::List(nodes) => {
                    let moved = i64::from_le_bytes(array(input)?);
                    let (len, changed) = (length(input)?, length(input)?);
                    let mut packs = HashMap::new();
                    for _ in 0..changed {
                        packs.insert(length(input)?, owned_text(input)?);
                    }
                    if !nodes.rearrange(moved, len, packs) {
                        return Err(Fault::Broken("a node of a list is missing"));
                    }
                }
                Self::Stream(stream) => {
                    for _ in 0..length(input)? {
                        let id = Id::of_bytes(array(input)?);
                        if !stream.put_node(id, owned_text(input)?) {
                            return Err(Fault::Broken("a node of a stream is broken"));
                        }
                    }
                    rdb::read_beside_nodes(input, stream, rdb::STREAM_LISTPACKS_3)?;
                }
            }
        }
        Ok(())
    }
}

const UNKNOWN: Fault = Fault::Broken("a change is of no kind");

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::random::Random;
    use crate::testing::rounds;
    use crate::value::list::{End, List, NodeLimits};
    use crate::value::stream::{ConsumerGroup, Keep, Trim};
    use crate::value::{stream, value_type::ValueType};

    const TYPES: [ValueType; 5] = [
        ValueType::List,
        ValueType::Set,
        ValueType::Zset,
        ValueType::Hash,
        ValueType::Stream,
    ];

    fn new(value_type: ValueType) -> Large {
        match value_type {
            ValueType::List => Large::List(Box::default()),
            ValueType::Set => Large::Set(Box::default()),
            ValueType::Zset => Large::Zset(Box::default()),
            ValueType::Hash => Large::Hash(Box::default()),
            _ => Large::Stream(Box::default()),
        }
    }

    /// Changes something of it by chance.
    fn change(large: &mut Large, random: &mut Random) {
        let number = random.below(600);
        let name = format!("name:{number}").into_bytes();
        let grows = random.below(5) < 3;
        match large {
            Large::Set(members) if grows => {
                members.add(&name);
            }
            Large::Set(members) => {
                members.remove(&name);
            }
            Large::Zset(members) => match random.below(9) {
                0..=5 => {
                    members.set(&name, random.below(50) as f64);
                }
                6 | 7 => {
                    members.remove(&name);
                }
                _ => {
                    members.pop(grows);
                }
            },
            Large::Hash(fields) => match random.below(9) {
                0..=5 => {
                    fields.set(&name, &random.below(99).to_le_bytes(), grows);
                }
                6 => {
                    let at = Deadline::of_ms(1 + random.below(5000) as i64);
                    fields.set_deadline(&name, at.filter(|_| grows));
                }
                7 => {
                    fields.remove_due(random.below(100) as i64, 3);
                }
                _ => {
                    fields.remove(&name);
                }
            },
            Large::List(nodes) => {
                let limits = NodeLimits {
                    entries: 8,
                    bytes: 90,
                };
                let mut list = List::Nodes(std::mem::take(nodes));
                let end = if grows { End::Tail } else { End::Head };
                let len = list.view().len().max(1);
                match random.below(30) {
                    0..=15 => list.push(end, &name, limits),
                    16..=25 => {
                        list.pop(end);
                    }
                    26 => {
                        list.set((number as usize % len) as i64, &name, limits);
                    }
                    27 => list.remove(number as usize % len, 3),
                    28 => {
                        list.remove_equal(&name, 2, end);
                    }
                    _ if random.below(20) == 0 => list.insert(len / 2, &name, limits),
                    _ => {}
                }
                match list {
                    List::Nodes(list) => *nodes = list,
                    List::Packed(_) => unreachable!("it does not shrink here"),
                }
            }
            Large::Stream(stream) => {
                let limits = stream::NodeLimits {
                    bytes: 0,
                    entries: 7,
                };
                let last = stream.state.last;
                match random.below(12) {
                    0..=6 => {
                        let id = last.next().expect("there are others");
                        stream.add(id, &[(&name, b"v")], limits);
                    }
                    7 | 8 => {
                        stream.remove(Id {
                            ms: 0,
                            seq: last.seq.saturating_sub(number % 40),
                        });
                    }
                    9 => {
                        stream.trim(Trim {
                            keep: Keep::Length(200),
                            is_approximate: grows,
                            most: 0,
                        });
                    }
                    10 => {
                        let name = name.into_boxed_slice();
                        stream.groups.insert(name, ConsumerGroup::new(last, None));
                    }
                    _ => {
                        stream.groups.pop_first();
                    }
                }
            }
        }
    }

    /// What is in it, in an order that is the same for equal ones.
    fn contents(large: &Large) -> (Vec<u8>, BTreeMap<Vec<u8>, Vec<u8>>) {
        let mut rest = Vec::new();
        let mut parts = BTreeMap::new();
        match large.view() {
            LargeRef::Set(members) => {
                parts.extend(members.iter().map(|m| (m.to_vec(), Vec::new())));
            }
            LargeRef::Zset(members) => {
                let all = members.range(0..members.len());
                parts.extend(all.map(|m| (m.name().to_vec(), m.score().to_le_bytes().to_vec())));
            }
            LargeRef::Hash(fields) => {
                let all = fields.iter_with_deadlines();
                parts.extend(all.map(|(name, value, deadline)| {
                    (
                        name.to_vec(),
                        format!("{value:?} {deadline:?}").into_bytes(),
                    )
                }));
            }
            view @ (LargeRef::List(_) | LargeRef::Stream(_)) => view.encode(&mut rest),
        }
        (rest, parts)
    }

    #[test]
    fn one_that_gets_another_name_is_neither_followed_nor_copied_any_more() {
        use crate::value::large::FrozenBytes;

        for value_type in TYPES {
            let mut random = Random(7 + value_type as u64);
            let mut large = new(value_type);
            (0..3_000).for_each(|_| change(&mut large, &mut random));
            large.follow(1);
            let mut copy = FrozenBytes::behind(Vec::new(), large.freeze());
            let _ = large.encode_frozen(&mut copy);
            (0..300).for_each(|_| change(&mut large, &mut random));
            let before = contents(&large);
            large.detach();
            assert_eq!(large.view().changes(&mut Vec::new()), None);
            assert_eq!(large.encode_frozen(&mut copy), None);
            assert!(contents(&large) == before);
        }
    }

    #[test]
    fn a_version_and_its_changes_make_what_there_is() {
        for value_type in TYPES {
            let mut random = Random(0x5eed + value_type as u64);
            let mut large = new(value_type);
            let (mut told, mut given_up) = (0, 0);
            for round in 0..rounds(60) as u64 {
                for _ in 0..rounds(200) {
                    change(&mut large, &mut random);
                }
                let mut copy = large.clone();
                let (mut changes, mut twice) = (Vec::new(), 0);
                large.follow(round);
                for _ in 0..random.below(60) {
                    change(&mut large, &mut random);
                    // A row of changes ends, and another begins.
                    if random.below(40) == 0 && large.view().changes(&mut changes).is_some() {
                        large.follow(round);
                        twice += 1;
                    }
                }
                match large.view().changes(&mut changes) {
                    Some(since) => {
                        assert_eq!(since, round);
                        copy.apply(&changes).expect("these are changes");
                        assert_eq!(contents(&copy), contents(&large), "{value_type:?} {twice}");
                        told += 1;
                    }
                    None => given_up += 1,
                }
            }
            assert!(
                told > 30 || cfg!(miri),
                "{value_type:?}: {told} told, {given_up} given up"
            );
        }
    }

    #[test]
    fn a_collection_that_changes_much_is_followed_no_longer() {
        let mut large = new(ValueType::Set);
        assert_eq!(large.view().changes(&mut Vec::new()), None);
        large.follow(7);
        let add = |large: &mut Large, i: usize| match large {
            Large::Set(members) => members.add(format!("member:{i}").as_bytes()),
            _ => unreachable!("it is a set"),
        };
        for i in 0..PARTS_MAX {
            add(&mut large, i);
        }
        let with_names = large.view().heap_bytes();
        assert_eq!(large.view().changes(&mut Vec::new()), Some(7));
        assert_eq!(large.clone().view().changes(&mut Vec::new()), None);
        add(&mut large, PARTS_MAX);
        assert_eq!(large.view().changes(&mut Vec::new()), None);
        assert!(large.view().heap_bytes() + 24 * PARTS_MAX < with_names);
    }

    #[test]
    fn changes_that_are_none_are_refused() {
        for value_type in TYPES {
            let mut random = Random(1);
            let mut large = new(value_type);
            large.follow(1);
            for _ in 0..rounds(30) {
                change(&mut large, &mut random);
            }
            let mut changes = Vec::new();
            if large.view().changes(&mut changes).is_none() {
                continue;
            }
            for end in 1..changes.len() {
                // A set whose changes end between two members is one.
                let _ = new(value_type).apply(&changes[..end]);
            }
            for at in 0..changes.len() {
                let mut broken = changes.clone();
                broken[at] ^= 0x85;
                let _ = new(value_type).apply(&broken);
            }
            assert!(
                new(value_type)
                    .apply(&changes[..changes.len() - 1])
                    .is_err()
            );
        }
    }
}
