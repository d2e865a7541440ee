//! Lists: texts in an order, added and taken at both ends.
//!
//! A small list is one listpack. A large one is a row of them, its **nodes**, each as large as the limit allows, so that a
//! change moves a few kilobytes at most. It knows nothing of keys, replies and time.

mod node;

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::changes::Changes;
use super::frozen::{self, Freezer};
use super::listpack::{self, Element, Listpack};
use crate::allocator::size_class;

use node::Node;

/// How large a node may become: `list-max-listpack-size`.
#[derive(Clone, Copy, Debug)]
pub struct NodeLimits {
    /// The most elements.
    pub entries: usize,
    /// The most bytes; one element may be longer.
    pub bytes: usize,
}

impl NodeLimits {
    /// What the option says: a number of elements, or -1 to -5 for 4 to 64 KiB.
    pub fn of_option(size: i64) -> Self {
        /// Where the number of elements is limited the bytes are too, as in Redis.
        const SAFETY_BYTES: usize = 8192;
        match usize::try_from(size) {
            Ok(entries) => Self {
                entries: entries.max(1),
                bytes: SAFETY_BYTES,
            },
            Err(_) => Self {
                entries: usize::MAX,
                bytes: 4096 << (-1 - size.max(-5)),
            },
        }
    }

    /// Whether a listpack with an element more is not too large.
    fn has_room(self, pack: &[u8], element: Element<'_>) -> bool {
        let bytes = pack.len() + element.stored_bytes();
        bytes <= self.bytes && Listpack::new(pack).len() < self.entries
    }

    fn fits(self, pack: &[u8]) -> bool {
        pack.len() <= self.bytes && Listpack::new(pack).len() <= self.entries
    }
}

/// An end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The first element, index 0.
    Head,
    /// The last element.
    Tail,
}

/// A list that is being changed.
#[derive(Debug)]
pub enum List {
    /// One listpack.
    Packed(Vec<u8>),
    /// Several.
    Nodes(Box<NodeList>),
}

/// A list that is being read.
#[derive(Clone, Copy, Debug)]
pub enum ListRef<'a> {
    /// One listpack.
    Packed(Listpack<'a>),
    /// Several.
    Nodes(&'a NodeList),
}

impl List {
    /// It, to be read.
    pub fn view(&self) -> ListRef<'_> {
        match self {
            Self::Packed(bytes) => ListRef::Packed(Listpack::new(bytes)),
            Self::Nodes(nodes) => ListRef::Nodes(nodes),
        }
    }

    /// Adds an element at an end.
    pub fn push(&mut self, end: End, text: &[u8], limits: NodeLimits) {
        match self {
            Self::Packed(bytes) if limits.has_room(bytes, Element::of(text)) => {
                push_to(bytes, end, text);
            }
            Self::Packed(_) => self.nodes().push(end, text, limits),
            Self::Nodes(nodes) => nodes.push(end, text, limits),
        }
    }

    /// Takes the element at an end.
    pub fn pop(&mut self, end: End) -> Option<Vec<u8>> {
        let mut text = None;
        self.pop_with(end, |element| text = Some(element.to_vec()));
        text
    }

    /// Shows the element at an end and takes it out; false if there is none.
    pub fn pop_with(&mut self, end: End, show: impl FnOnce(Element<'_>)) -> bool {
        match self {
            Self::Packed(bytes) => pop_from(bytes, end, show),
            Self::Nodes(nodes) => nodes.pop(end, show),
        }
    }

    /// The nodes of a large list, which it becomes.
    fn nodes(&mut self) -> &mut NodeList {
        if let Self::Packed(bytes) = self {
            let bytes = std::mem::take(bytes);
            *self = Self::Nodes(Box::new(NodeList::of(bytes)));
        }
        match self {
            Self::Nodes(nodes) => nodes,
            Self::Packed(_) => unreachable!("it has become large"),
        }
    }

    /// Makes one listpack of it again, if it has become small: at most half of what one may be, as in Redis.
    pub fn shrink(&mut self, limits: NodeLimits) {
        let Self::Nodes(nodes) = self else { return };
        let [node] = nodes.nodes.make_contiguous() else {
            return;
        };
        let half = NodeLimits {
            entries: limits.entries / 2,
            bytes: limits.bytes / 2,
        };
        if half.fits(node.bytes()) {
            *self = Self::Packed(std::mem::take(node.close()));
        }
    }

    /// Replaces the element with this index, from the end if it is negative. False where there is none.
    ///
    /// As in Redis a packed list that has no room for one more is one no longer, though nothing is added.
    pub fn set(&mut self, index: i64, text: &[u8], limits: NodeLimits) -> bool {
        if let Self::Packed(bytes) = self
            && !limits.has_room(bytes, Element::of(text))
            && Listpack::new(bytes).nth(index).is_some()
        {
            self.nodes();
        }
        self.at(index, limits, |pack, placed| {
            Listpack::replace(pack, placed, 1, text);
        })
    }

    /// Inserts before the element with this index, which there must be, or behind the last one.
    pub fn insert(&mut self, index: usize, text: &[u8], limits: NodeLimits) {
        if index >= self.view().len() {
            return self.push(End::Tail, text, limits);
        }
        self.at(index as i64, limits, |pack, placed| {
            Listpack::replace(pack, placed.start..placed.start, 0, text);
        });
    }

    /// Has the listpack changed that holds the element with this index, and sees to its size.
    fn at(
        &mut self,
        index: i64,
        limits: NodeLimits,
        change: impl FnOnce(&mut Vec<u8>, std::ops::Range<usize>),
    ) -> bool {
        match self {
            Self::Packed(bytes) => {
                let Some(placed) = Listpack::new(bytes).nth(index) else {
                    return false;
                };
                change(bytes, placed.at..placed.end);
                if !limits.fits(bytes) {
                    self.nodes().split_if_large(0, limits);
                }
                true
            }
            Self::Nodes(nodes) => {
                let Some((node, inner)) = nodes.find(index) else {
                    return false;
                };
                nodes.change(node, limits, |pack| {
                    if let Some(placed) = Listpack::new(pack).nth(inner as i64) {
                        change(pack, placed.at..placed.end);
                    }
                });
                true
            }
        }
    }

    /// Takes out so many elements from an index on.
    pub fn remove(&mut self, from: usize, count: usize) {
        match self {
            Self::Packed(bytes) => {
                remove_from(bytes, from, count);
            }
            Self::Nodes(nodes) => nodes.remove(from, count),
        }
    }

    /// Takes out elements that are equal to a text: at most so many, the first ones or the last. Gives how many.
    pub fn remove_equal(&mut self, text: &[u8], most: usize, end: End) -> usize {
        match self {
            Self::Packed(bytes) => remove_equal_from(bytes, text, most, end),
            Self::Nodes(nodes) => nodes.remove_equal(text, most, end),
        }
    }
}

fn push_to(bytes: &mut Vec<u8>, end: End, text: &[u8]) {
    match end {
        End::Tail => Listpack::push(bytes, text),
        End::Head => Listpack::replace(bytes, listpack::START..listpack::START, 0, text),
    }
}

fn pop_from(bytes: &mut Vec<u8>, end: End, show: impl FnOnce(Element<'_>)) -> bool {
    let mut elements = Listpack::new(bytes).iter();
    let placed = match end {
        End::Head => elements.next(),
        End::Tail => elements.next_back(),
    };
    let Some(placed) = placed else { return false };
    show(placed.element);
    let range = placed.at..placed.end;
    Listpack::remove(bytes, range, 1);
    true
}

/// Gives how many there were to take out.
fn remove_from(bytes: &mut Vec<u8>, from: usize, count: usize) -> usize {
    let mut elements = Listpack::new(bytes).iter().skip(from).take(count);
    let Some(first) = elements.next() else {
        return 0;
    };
    let (last, more) = elements.fold((first.end, 0), |(_, n), placed| (placed.end, n + 1));
    Listpack::remove(bytes, first.at..last, more + 1);
    more + 1
}

fn remove_equal_from(bytes: &mut Vec<u8>, text: &[u8], most: usize, end: End) -> usize {
    let sought = Element::of(text);
    let pack = Listpack::new(bytes);
    let equal = |placed: &listpack::Placed<'_>| placed.element == sought;
    let mut places: Vec<_> = match end {
        End::Head => pack.iter().filter(equal).take(most).map(range).collect(),
        End::Tail => pack
            .iter()
            .rev()
            .filter(equal)
            .take(most)
            .map(range)
            .collect(),
    };
    // From the last on, so that the places before stay right.
    places.sort_unstable_by_key(|place| std::cmp::Reverse(place.start));
    let count = places.len();
    for place in places {
        Listpack::remove(bytes, place, 1);
    }
    count
}

fn range(placed: listpack::Placed<'_>) -> std::ops::Range<usize> {
    placed.at..placed.end
}

impl<'a> ListRef<'a> {
    /// How many elements it has.
    pub fn len(self) -> usize {
        match self {
            Self::Packed(pack) => pack.len(),
            Self::Nodes(nodes) => nodes.len,
        }
    }

    /// Whether it has none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The element with this index, from the end if it is negative.
    pub fn get(self, index: i64) -> Option<Element<'a>> {
        match self {
            Self::Packed(pack) => Some(pack.nth(index)?.element),
            Self::Nodes(nodes) => {
                let (node, inner) = nodes.find(index)?;
                Some(nodes.nodes[node].pack().nth(inner as i64)?.element)
            }
        }
    }

    /// The elements from an index on.
    pub fn iter_from(self, from: usize) -> impl Iterator<Item = Element<'a>> {
        let (packs, first, skip) = self.packs_from(from);
        packs
            .skip(first)
            .flat_map(Listpack::iter)
            .skip(skip)
            .map(|placed| placed.element)
    }

    /// The elements from the end on, without the last few.
    pub fn iter_back(self, without: usize) -> impl Iterator<Item = Element<'a>> {
        let (packs, first, skip) = self.packs_back(without);
        packs
            .rev()
            .skip(first)
            .flat_map(|pack| pack.iter().rev())
            .skip(skip)
            .map(|placed| placed.element)
    }

    fn packs(self) -> impl DoubleEndedIterator<Item = Listpack<'a>> {
        let (one, nodes) = match self {
            Self::Packed(pack) => (Some(pack), None),
            Self::Nodes(nodes) => (None, Some(nodes)),
        };
        let nodes = nodes.into_iter().flat_map(|nodes| nodes.nodes.iter());
        one.into_iter().chain(nodes.map(Node::pack))
    }

    fn packs_from(
        self,
        from: usize,
    ) -> (impl DoubleEndedIterator<Item = Listpack<'a>>, usize, usize) {
        let (first, skip) = skip_whole(self.packs().map(Listpack::len), from);
        (self.packs(), first, skip)
    }

    fn packs_back(
        self,
        without: usize,
    ) -> (impl DoubleEndedIterator<Item = Listpack<'a>>, usize, usize) {
        let (first, skip) = skip_whole(self.packs().rev().map(Listpack::len), without);
        (self.packs(), first, skip)
    }
}

/// How many whole listpacks an index lies behind, and where it is in the next one.
fn skip_whole(lengths: impl Iterator<Item = usize>, mut index: usize) -> (usize, usize) {
    let mut whole = 0;
    for len in lengths {
        if index < len {
            break;
        }
        index -= len;
        whole += 1;
    }
    (whole, index)
}

/// A large list: its nodes in their order, none of them empty.
#[derive(Clone, Debug)]
pub struct NodeList {
    nodes: VecDeque<Node>,
    len: usize,
    /// What the nodes themselves take.
    node_bytes: usize,
    /// The number of the first node, for a copy of them: that of any other stays when the ends of the list change.
    first: usize,
    freezer: Freezer<usize, Node>,
    changes: Changes<usize>,
    /// The number of the first node when they began to be followed.
    followed_from: usize,
}

/// So many nodes of a copy hold up others for as long as a hundred microseconds.
const NODES_AT_ONCE: usize = if cfg!(test) { 3 } else { 32 };

impl Default for NodeList {
    fn default() -> Self {
        Self {
            nodes: VecDeque::new(),
            len: 0,
            node_bytes: 0,
            first: usize::MAX / 2,
            freezer: Freezer::default(),
            changes: Changes::default(),
            followed_from: usize::MAX / 2,
        }
    }
}

impl NodeList {
    fn of(bytes: Vec<u8>) -> Self {
        let mut list = Self::default();
        list.append_node(bytes);
        list
    }

    /// Adds a listpack behind all others.
    pub fn append_node(&mut self, bytes: Vec<u8>) {
        let node = Node::new(bytes);
        if !node.pack().is_empty() {
            self.len += node.pack().len();
            self.node_bytes += node.heap_bytes();
            self.nodes.push_back(node);
        }
    }

    /// How many elements it has.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The listpacks in their order.
    pub fn packs(&self) -> impl ExactSizeIterator<Item = Listpack<'_>> {
        self.nodes.iter().map(Node::pack)
    }

    /// What the allocator takes for all of it.
    pub fn heap_bytes(&self) -> usize {
        let row = size_class(self.nodes.capacity() * size_of::<Node>());
        size_class(size_of::<Self>()) + row + self.node_bytes + self.changes.heap_bytes()
    }

    /// The node with the element of this index, and its place there. The way is the shorter one.
    fn find(&self, index: i64) -> Option<(usize, usize)> {
        let index = match usize::try_from(index) {
            Ok(index) => index,
            Err(_) => self.len.checked_sub(usize::try_from(-index).ok()?)?,
        };
        if index >= self.len {
            return None;
        }
        let lengths = self.nodes.iter().map(|node| node.pack().len());
        if index < self.len / 2 {
            return Some(skip_whole(lengths, index));
        }
        let (whole, back) = skip_whole(lengths.rev(), self.len - 1 - index);
        let node = self.nodes.len() - 1 - whole;
        Some((node, self.nodes[node].pack().len() - 1 - back))
    }

    /// Has a node changed, keeps the books, and sees to its size.
    fn change(&mut self, at: usize, limits: NodeLimits, change: impl FnOnce(&mut Vec<u8>)) {
        self.change_only(at, |node| change(node.close()));
        self.split_if_large(at, limits);
    }

    /// The same for changes that make nothing larger. A node that is empty then goes: false.
    fn change_only(&mut self, at: usize, change: impl FnOnce(&mut Node)) -> bool {
        self.keep(at);
        let node = &mut self.nodes[at];
        self.len -= node.pack().len();
        self.node_bytes -= node.heap_bytes();
        change(node);
        // What was once needed is given back.
        node.shrink_if_sparse();
        if node.pack().is_empty() {
            if at == 0 {
                self.first += 1;
            } else {
                self.keep_from(at + 1);
            }
            self.nodes.remove(at);
            return false;
        }
        self.len += node.pack().len();
        self.node_bytes += node.heap_bytes();
        true
    }

    /// Cuts a node in two, again and again, while it is too large and has more than one element.
    fn split_if_large(&mut self, at: usize, limits: NodeLimits) {
        while at < self.nodes.len()
            && !limits.fits(self.nodes[at].bytes())
            && self.nodes[at].pack().len() > 1
        {
            self.keep_from(at);
            let node = self.nodes.remove(at).expect("it is there");
            self.node_bytes -= node.heap_bytes();
            let (head, tail) = halves(node.bytes());
            for half in [tail, head] {
                self.node_bytes += half.heap_bytes();
                self.nodes.insert(at, half);
            }
            self.split_if_large(at + 1, limits);
        }
    }

    fn push(&mut self, end: End, text: &[u8], limits: NodeLimits) {
        let at = match end {
            End::Head => 0,
            End::Tail => self.nodes.len().saturating_sub(1),
        };
        let element = Element::of(text);
        let has_room = |node: &Node| limits.has_room(node.bytes(), element);
        if self.nodes.get(at).is_some_and(has_room) {
            self.keep(at);
            let node = &mut self.nodes[at];
            let before = node.capacity();
            match end {
                End::Head => node.push_front(text),
                End::Tail => node.push_back(text),
            }
            self.len += 1;
            let after = node.capacity();
            if after != before {
                self.node_bytes += size_class(after);
                self.node_bytes -= size_class(before);
            }
            return;
        }
        // The last one is full and will hardly change any more.
        if let Some(full) = self.nodes.get_mut(at) {
            self.node_bytes -= full.heap_bytes();
            full.shrink();
            self.node_bytes += full.heap_bytes();
        }
        let mut pack = Listpack::empty();
        Listpack::push(&mut pack, text);
        let node = Node::new(pack);
        self.len += 1;
        self.node_bytes += node.heap_bytes();
        match end {
            End::Head => {
                self.first -= 1;
                self.nodes.push_front(node);
                self.changes.note(self.first);
            }
            End::Tail => {
                self.changes.note(self.first + self.nodes.len());
                self.nodes.push_back(node);
            }
        }
    }

    pub(super) fn follow(&mut self, version: u64) {
        self.changes.follow(version);
        self.followed_from = self.first;
    }

    /// Ends that, and a copy that is being taken out.
    pub(super) fn detach(&mut self) {
        self.changes.give_up();
        self.freezer = Freezer::default();
    }

    pub(super) fn changes(&self) -> &Changes<usize> {
        &self.changes
    }

    pub(super) fn followed_from(&self) -> usize {
        self.followed_from
    }

    pub(super) fn first_number(&self) -> usize {
        self.first
    }

    /// A node by its place.
    pub(super) fn pack(&self, at: usize) -> Listpack<'_> {
        self.nodes[at].pack()
    }

    /// Makes it `len` nodes long, of which the first is the one at `from`: a node that was there, or one of `packs`, which
    /// has nodes by their new places. False if a node is neither.
    pub(super) fn rearrange(
        &mut self,
        from: i64,
        len: u64,
        mut packs: HashMap<u64, Vec<u8>>,
    ) -> bool {
        let mut list = Self::default();
        for at in 0..len {
            let there = i64::try_from(at).ok().and_then(|at| from.checked_add(at));
            let there = there.and_then(|there| usize::try_from(there).ok());
            let there = there.and_then(|there| self.nodes.get_mut(there));
            let node = packs.remove(&at);
            let Some(node) = node.or_else(|| there.map(|node| std::mem::take(node.close()))) else {
                return false;
            };
            list.append_node(node);
        }
        *self = list;
        true
    }

    /// Begins a copy of all nodes as they are now, and gives how many they are.
    pub fn freeze(&mut self) -> usize {
        let parts = frozen::numbers(self.first, self.nodes.len());
        self.freezer.freeze(parts, ());
        self.nodes.len()
    }

    /// The same of those that have changed, of which there must be some.
    pub(super) fn freeze_changed(&mut self, numbers: BTreeSet<usize>) {
        self.freezer.freeze_only(numbers, ());
    }

    /// Shows a few nodes more of that copy by their numbers, and whether there are others; `None` if there is no copy.
    pub fn show_frozen(&mut self, mut show: impl FnMut(usize, Listpack<'_>)) -> Option<bool> {
        let (freezer, nodes, first) = (&mut self.freezer, &self.nodes, self.first);
        let first_of = |rest| frozen::first_number(rest, first + nodes.len());
        let show = |number: usize, kept: Option<Node>| match kept {
            Some(kept) => show(number, kept.pack()),
            None => show(number, nodes[number - first].pack()),
        };
        let shown = freezer.step(NODES_AT_ONCE, first_of, show);
        shown.map(|end| end.is_none())
    }

    /// A node is about to change.
    #[inline]
    fn keep(&mut self, at: usize) {
        if let Some(node) = self.nodes.get(at) {
            self.freezer.keep(self.first + at, || node.clone());
        }
        self.changes.note(self.first + at);
    }

    /// The numbers of the nodes from one on are about to change.
    fn keep_from(&mut self, at: usize) {
        if self.freezer.is_frozen() {
            (at..self.nodes.len()).for_each(|at| self.keep(at));
        }
        if at < self.nodes.len() {
            self.changes.give_up();
        }
    }

    fn pop(&mut self, end: End, show: impl FnOnce(Element<'_>)) -> bool {
        if self.nodes.is_empty() {
            return false;
        }
        let at = match end {
            End::Head => 0,
            End::Tail => self.nodes.len() - 1,
        };
        let mut popped = false;
        self.change_only(at, |node| {
            popped = match end {
                End::Head => node.pop_front(show),
                End::Tail => node.pop_back(show),
            }
        });
        popped
    }

    fn remove(&mut self, from: usize, mut count: usize) {
        let Some((mut node, mut inner)) = self.find(from as i64) else {
            return;
        };
        while count > 0 && node < self.nodes.len() {
            let mut removed = 0;
            let stays = self.change_only(node, |node| {
                removed = remove_from(node.close(), inner, count);
            });
            count -= removed;
            inner = 0;
            node += usize::from(stays);
        }
    }

    fn remove_equal(&mut self, text: &[u8], most: usize, end: End) -> usize {
        let (mut left, mut at) = (most, 0);
        let mut nodes = self.nodes.len();
        while left > 0 && at < nodes {
            let node = match end {
                End::Head => at,
                End::Tail => nodes - 1 - at,
            };
            let mut removed = 0;
            if self.nodes[node].pack().find(text, 1).is_some() {
                self.change_only(node, |node| {
                    removed = remove_equal_from(node.close(), text, left, end);
                });
            }
            left -= removed;
            let gone = nodes - self.nodes.len();
            nodes = self.nodes.len();
            at += 1 - gone;
        }
        most - left
    }
}

/// The elements of a listpack in two of about the same number.
fn halves(bytes: &[u8]) -> (Node, Node) {
    let pack = Listpack::new(bytes);
    let half = pack.len() / 2;
    let (mut head, mut tail) = (Listpack::empty(), Listpack::empty());
    for (index, placed) in pack.iter().enumerate() {
        let half = if index < half { &mut head } else { &mut tail };
        Listpack::push(half, &placed.element.to_vec());
    }
    (Node::new(head), Node::new(tail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use crate::testing::rounds;

    const LIMITS: NodeLimits = NodeLimits {
        entries: 6,
        bytes: 60,
    };

    fn check(list: &List, model: &[Vec<u8>]) {
        let view = list.view();
        assert_eq!(view.len(), model.len());
        for from in [0, 1, model.len() / 2, model.len()] {
            let forward: Vec<_> = view.iter_from(from).map(Element::to_vec).collect();
            assert_eq!(forward, model.get(from..).unwrap_or_default());
            let back: Vec<_> = view.iter_back(from).map(Element::to_vec).collect();
            let expected: Vec<_> = model.iter().rev().skip(from).cloned().collect();
            assert_eq!(back, expected);
        }
        let len = model.len() as i64;
        for index in -len - 1..=len {
            let found = view.get(index).map(Element::to_vec);
            let expected = match index {
                0.. => model.get(index as usize),
                _ => usize::try_from(len + index).ok().and_then(|i| model.get(i)),
            };
            assert_eq!(found.as_ref(), expected, "index {index} of {len}");
        }
        if let List::Nodes(nodes) = list {
            let sum: usize = nodes.nodes.iter().map(Node::heap_bytes).sum();
            assert_eq!(nodes.node_bytes, sum);
            for node in &nodes.nodes {
                assert!(LIMITS.fits(node.bytes()) || node.pack().len() == 1);
                assert!(!node.pack().is_empty());
            }
        }
    }

    #[test]
    fn agrees_with_a_vector_over_random_operations() {
        let mut list = List::Packed(Listpack::empty());
        let mut model: Vec<Vec<u8>> = Vec::new();
        let mut random = Random(88_172_645_463_325_252);
        let mut next = |below: u64| random.below(below);
        let mut forms = [false; 2];
        for _ in 0..rounds(6_000) {
            let text = match next(12) {
                0 => vec![b'x'; next(90) as usize],
                1 => next(1_000_000).to_string().into_bytes(),
                _ => next(9).to_string().into_bytes(),
            };
            let index = next(model.len() as u64 + 1) as usize;
            match next(12) {
                0..3 => {
                    list.push(End::Tail, &text, LIMITS);
                    model.push(text);
                }
                3..5 => {
                    list.push(End::Head, &text, LIMITS);
                    model.insert(0, text);
                }
                5 => assert_eq!(list.pop(End::Tail), model.pop()),
                6 => {
                    let head = (!model.is_empty()).then(|| model.remove(0));
                    assert_eq!(list.pop(End::Head), head);
                }
                7 => {
                    let is_there = index < model.len();
                    assert_eq!(list.set(index as i64, &text, LIMITS), is_there);
                    if is_there {
                        model[index] = text;
                    }
                }
                8 | 9 => {
                    list.insert(index, &text, LIMITS);
                    model.insert(index, text);
                }
                10 => {
                    let most = 1 + next(3) as usize;
                    let end = if next(2) == 0 { End::Head } else { End::Tail };
                    let removed = list.remove_equal(&text, most, end);
                    let mut places: Vec<_> =
                        (0..model.len()).filter(|i| model[*i] == text).collect();
                    if end == End::Tail {
                        places.reverse();
                    }
                    places.truncate(most);
                    assert_eq!(removed, places.len());
                    places.sort_unstable();
                    for place in places.into_iter().rev() {
                        model.remove(place);
                    }
                }
                _ => {
                    let count = next(8) as usize;
                    list.remove(index, count);
                    let end = (index + count).min(model.len());
                    model.drain(index..end);
                }
            }
            if next(4) == 0 {
                list.shrink(LIMITS);
            }
            forms[usize::from(matches!(list, List::Nodes(_)))] = true;
            check(&list, &model);
        }
        assert_eq!(forms, [true; 2]);
    }

    /// A copy is what was there when it was begun, whatever changes while it is taken out.
    #[test]
    fn a_copy_in_steps_is_of_one_moment() {
        let mut random = Random(0x5eed);
        let mut below = |n: u64| random.below(n) as usize;
        for round in 0..20 {
            let mut list = NodeList::default();
            for n in 0..below(3000) {
                list.push(End::Tail, format!("{n}").as_bytes(), LIMITS);
            }
            let texts = |pack: Listpack<'_>| -> Vec<Vec<u8>> {
                pack.iter().map(|placed| placed.element.to_vec()).collect()
            };
            let expected: Vec<_> = list.packs().flat_map(texts).collect();
            let nodes = list.freeze();
            let (mut copied, mut shown) = (Vec::new(), 0);
            loop {
                let more = list.show_frozen(|_, pack| {
                    copied.extend(texts(pack));
                    shown += 1;
                });
                if more != Some(true) {
                    assert_eq!(more, Some(false), "round {round}");
                    break;
                }
                for _ in 0..below(40) {
                    let end = if below(2) == 0 { End::Head } else { End::Tail };
                    let at = below(list.len() as u64 + 1);
                    match below(9) {
                        0..3 => list.push(end, b"pushed", LIMITS),
                        3..6 => drop(list.pop(end, |_| ())),
                        6 => list.remove(at, below(30)),
                        7 => drop(list.remove_equal(format!("{at}").as_bytes(), 1, end)),
                        _ => {
                            if let Some((node, _)) = list.find(at as i64) {
                                list.change(node, LIMITS, |pack| {
                                    for _ in 0..5 {
                                        push_to(pack, end, b"in the middle");
                                    }
                                });
                            }
                        }
                    }
                }
            }
            assert_eq!((copied, shown), (expected, nodes), "round {round}");
            assert!(list.show_frozen(|_, _| {}).is_none());
            let len: usize = list.packs().map(Listpack::len).sum();
            assert_eq!(list.len(), len);
        }
    }
}
