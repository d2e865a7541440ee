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

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::fields::Deadline;
use super::large::{Copied, FrozenLength, Large, LargeRef};
use super::list::NodeList;
use super::rdb::input::{array, binary_double, length, milliseconds, owned_text, text};
use super::rdb::{self, Fault, ValueWriter};
use super::stream::{Id, Stream};

/// More names are too many: to look them up holds up others for milliseconds.
const PARTS_MAX: usize = if cfg!(miri) { 64 } else { 32 * 1024 };
/// More bytes are too many: to copy them takes a millisecond.
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// More nodes than these are copied in steps, and more than those are too many to be remembered.
const NODES_AT_ONCE: usize = if cfg!(test) { 4 } else { 32 };
const NODES_MAX: usize = 256 * 1024;
/// What is told of a node beside its bytes, at the most.
const PART_BYTES: usize = 32;
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
    /// `None` where there were too many, or they got other names: it has given up.
    parts: Option<BTreeSet<P>>,
    /// How many of them were told of; when it has given up, whether that was: 1.
    told: AtomicUsize,
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
            parts: Some(BTreeSet::new()),
            told: AtomicUsize::new(0),
            name_bytes: 0,
        }));
    }

    pub(super) fn give_up(&mut self) {
        if let Some(followed) = &mut self.0
            && followed.parts.take().is_some()
        {
            followed.told = AtomicUsize::new(0);
            followed.name_bytes = 0;
        }
    }

    /// A node has changed, come or gone.
    #[inline]
    pub(super) fn note(&mut self, node: P) {
        let followed = self.0.as_deref_mut();
        if let Some(nodes) = followed.and_then(|followed| followed.parts.as_mut()) {
            nodes.insert(node);
            if nodes.len() > NODES_MAX {
                self.give_up();
            }
        }
    }

    /// The version since which it is followed, and the parts that have changed since.
    fn since(&self) -> Option<(u64, &BTreeSet<P>)> {
        let followed = self.0.as_deref()?;
        Some((followed.version, followed.parts.as_ref()?))
    }

    /// About how many bytes are to be written, of a collection with so many parts and bytes, that were not told of before. `None`
    /// if it is not followed, or has given up: then it was told so, or is `anew`.
    fn tell(&self, anew: bool, parts: usize, bytes: usize) -> Option<usize> {
        let followed = self.0.as_deref()?;
        let Some(changed) = &followed.parts else {
            let was_told = followed.told.swap(1, Ordering::Relaxed) > 0;
            return (!anew && !was_told).then_some(bytes);
        };
        let before = followed.told.swap(changed.len(), Ordering::Relaxed);
        let more = changed.len() - if anew { 0 } else { before };
        Some(more.saturating_mul(bytes / parts.max(1)).min(bytes))
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let bytes_of = |f: &Followed<P>| {
            let parts = f.parts.as_ref().map_or(0, BTreeSet::len);
            size_of::<Followed<P>>() + f.name_bytes + parts * (size_of::<P>() + TREE_BYTES)
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
        if let Some(followed) = &mut self.0
            && let Some(names) = &mut followed.parts
            && !names.contains(name)
        {
            followed.name_bytes += crate::allocator::size_class(name.len());
            names.insert(name.into());
            if names.len() > PARTS_MAX || followed.name_bytes > BYTES_MAX {
                self.give_up();
            }
        }
    }
}

impl NodeList {
    /// How many nodes have gone before the first since it is followed, less than 0: come.
    fn moved(&self) -> i64 {
        self.first_number().wrapping_sub(self.followed_from()) as i64
    }

    /// Those of the nodes that are there.
    fn changed_numbers<'a>(
        &self,
        changed: &'a BTreeSet<usize>,
    ) -> impl Iterator<Item = &'a usize> + Clone + use<'a> {
        let first = self.first_number();
        changed.range(first..first.saturating_add(self.packs().len()))
    }

    /// Begins a copy of the nodes that have changed.
    pub(super) fn freeze_changes(&mut self) -> Option<(u64, FrozenLength)> {
        let first = self.first_number();
        let (version, numbers) = self.changes().since()?;
        let there: BTreeSet<_> = self.changed_numbers(numbers).copied().collect();
        if there.is_empty() {
            return None;
        }
        let bytes = there
            .iter()
            .map(|number| self.pack(number - first).bytes().len() + PART_BYTES);
        let length = FrozenLength {
            copied: Copied::ChangesOfList {
                moved: self.moved(),
                nodes: self.packs().len(),
                changed: there.len(),
                first,
            },
            bytes_max: bytes.sum(),
        };
        self.freeze_changed(there);
        Some((version, length))
    }
}

impl Stream {
    /// Begins a copy of the nodes that have changed.
    pub(super) fn freeze_changes(&mut self) -> Option<(u64, FrozenLength)> {
        let (version, ids) = self.changes().since()?;
        let (there, gone): (BTreeSet<_>, BTreeSet<_>) =
            ids.iter().copied().partition(|id| self.node(*id).is_some());
        if there.is_empty() {
            return None;
        }
        let bytes = there.iter().filter_map(|id| self.node(*id));
        let bytes = bytes.map(|node| node.len() + PART_BYTES).sum();
        let length = FrozenLength {
            copied: Copied::ChangesOfStream { changed: ids.len() },
            bytes_max: bytes,
        };
        // Behind what is there, so that no other node of this id is taken for it.
        let mut rest = Vec::new();
        let mut writer = ValueWriter::plain(&mut rest);
        for id in gone {
            writer.raw(&id.to_bytes());
            writer.text(&[]);
        }
        rdb::write_beside_nodes(&mut writer, self, rdb::STREAM_LISTPACKS_3);
        self.freeze_changed(there, rest);
        Some((version, length))
    }
}

impl LargeRef<'_> {
    /// Whether it is known what has changed of it.
    pub fn is_followed(self) -> bool {
        match self {
            Self::Set(members) => members.changes().since().is_some(),
            Self::Zset(members) => members.changes().since().is_some(),
            Self::Hash(fields) => fields.changes().since().is_some(),
            Self::List(nodes) => nodes.changes().since().is_some(),
            Self::Stream(stream) => stream.changes().since().is_some(),
        }
    }

    /// About how many bytes of it are to be written that were not told of before; `anew` if nothing of it waits to be written.
    /// `None` if it is not known what has changed.
    pub fn tell_changed_bytes(self, anew: bool) -> Option<usize> {
        let bytes = self.heap_bytes();
        match self {
            Self::Set(members) => members.changes().tell(anew, members.len(), bytes),
            Self::Zset(members) => members.changes().tell(anew, members.len(), bytes),
            Self::Hash(fields) => fields.changes().tell(anew, fields.len(), bytes),
            Self::List(nodes) => nodes.changes().tell(anew, nodes.packs().len(), bytes),
            Self::Stream(stream) => {
                let in_nodes = stream.node_bytes();
                let told = stream.changes().tell(anew, stream.node_count(), in_nodes)?;
                // Groups are told of whole each time.
                Some(told + if anew { bytes - in_nodes } else { 0 })
            }
        }
    }

    /// Appends what has changed since the version that it is followed since, and gives that. `None` if it is not followed, or
    /// has changed too much for that to be copied at once ([`Large::freeze_changes`]).
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
                let there = nodes.changed_numbers(numbers);
                let changed = there.clone().count();
                if changed > NODES_AT_ONCE {
                    return None;
                }
                writer.raw(&nodes.moved().to_le_bytes());
                writer.length(nodes.packs().len());
                writer.length(changed);
                for number in there {
                    writer.length(number - first);
                    writer.text(nodes.pack(number - first).bytes());
                }
                version
            }
            Self::Stream(stream) => {
                let (version, ids) = stream.changes().since()?;
                let there = ids.iter().filter(|id| stream.node(**id).is_some());
                if there.count() > NODES_AT_ONCE {
                    return None;
                }
                writer.length(ids.len());
                for id in ids {
                    writer.raw(&id.to_bytes());
                    writer.text(stream.node(*id).unwrap_or_default());
                }
                rdb::write_beside_nodes(&mut writer, stream, rdb::STREAM_LISTPACKS_3);
                version
            }
        };
        (out.len() - start <= BYTES_MAX).then_some(version)
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
    use crate::value::large::FrozenBytes;
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
        for value_type in TYPES {
            let mut random = Random(7 + value_type as u64);
            let mut large = new(value_type);
            (0..rounds(3_000)).for_each(|_| change(&mut large, &mut random));
            large.follow(1);
            let mut copy = FrozenBytes::behind(Vec::new(), large.freeze());
            let _ = large.encode_frozen(&mut copy);
            (0..rounds(300)).for_each(|_| change(&mut large, &mut random));
            let before = contents(&large);
            large.detach();
            assert_eq!(large.view().changes(&mut Vec::new()), None);
            assert_eq!(large.encode_frozen(&mut copy), None);
            assert!(contents(&large) == before);
        }
    }

    /// Appends what has changed, at once or in steps between which more changes, and gives since when, what it was then, and
    /// how many steps there were.
    fn tell(
        large: &mut Large,
        random: &mut Random,
        out: &mut Vec<u8>,
    ) -> Option<(u64, Large, usize)> {
        let then = large.clone();
        let start = out.len();
        if let Some(since) = large.view().changes(out) {
            large.follow(since);
            return Some((since, then, 0));
        }
        out.truncate(start);
        let (since, length) = large.freeze_changes()?;
        large.follow(since);
        let mut copied = FrozenBytes::behind(std::mem::take(out), length);
        let mut steps = 1;
        while large.encode_frozen(&mut copied).expect("there is a copy") {
            steps += 1;
            (0..random.below(9)).for_each(|_| change(large, random));
        }
        *out = copied.finish();
        Some((since, then, steps))
    }

    #[test]
    fn a_version_and_its_changes_make_what_there_is() {
        for value_type in TYPES {
            let mut random = Random(0x5eed + value_type as u64);
            let mut large = new(value_type);
            let (mut told, mut in_steps, mut given_up) = (0, 0, 0);
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
                    if random.below(40) == 0
                        && tell(&mut large, &mut random, &mut changes).is_some()
                    {
                        twice += 1;
                    }
                }
                match tell(&mut large, &mut random, &mut changes) {
                    Some((since, then, steps)) => {
                        assert_eq!(since, round);
                        in_steps += usize::from(steps > 1);
                        copy.apply(&changes).expect("these are changes");
                        assert_eq!(contents(&copy), contents(&then), "{value_type:?} {twice}");
                        told += 1;
                    }
                    None => given_up += 1,
                }
            }
            assert!(
                told > 30 || cfg!(miri),
                "{value_type:?}: {told} told, {given_up} given up"
            );
            let has_nodes = matches!(value_type, ValueType::List | ValueType::Stream);
            assert!(in_steps > 0 || !has_nodes || cfg!(miri), "{value_type:?}");
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
            for _ in 0..rounds(30).max(5) {
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
