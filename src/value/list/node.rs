//! A node of a large list: a listpack, which may have a gap before it.
//!
//! Elements come and go at both ends of a list. At the end of a listpack that moves nothing; at its head all the others would
//! be moved. So an element that goes there leaves a gap, and one that comes takes room from the gap; then only the head of the
//! listpack is written anew.

use super::super::listpack::{Element, Listpack};
use crate::allocator::size_class;

/// The largest gap that is made for elements to come.
const GAP_MAX: usize = 2048;

/// A listpack of a large list.
#[derive(Clone, Debug)]
pub(super) struct Node {
    buffer: Vec<u8>,
    /// So many bytes before the listpack are of no use.
    gap: usize,
}

impl Node {
    pub(super) fn new(pack: Vec<u8>) -> Self {
        Self {
            buffer: pack,
            gap: 0,
        }
    }

    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[self.gap..]
    }

    #[inline]
    pub(super) fn pack(&self) -> Listpack<'_> {
        Listpack::new(self.bytes())
    }

    /// Bytes of the buffer.
    #[inline]
    pub(super) fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    pub(super) fn heap_bytes(&self) -> usize {
        size_class(self.capacity())
    }

    /// The listpack alone, to be changed.
    pub(super) fn close(&mut self) -> &mut Vec<u8> {
        self.buffer.drain(..std::mem::take(&mut self.gap));
        &mut self.buffer
    }

    /// Gives back what it does not need, if it will hardly change any more.
    pub(super) fn shrink(&mut self) {
        self.close().shrink_to_fit();
    }

    /// Gives back what it does not need, if that is the larger part.
    pub(super) fn shrink_if_sparse(&mut self) {
        if self.buffer.capacity() > 2 * self.bytes().len() {
            self.shrink();
        }
    }

    /// Adds an element before all others.
    pub(super) fn push_front(&mut self, text: &[u8]) {
        let element = Element::of(text);
        let needed = element.stored_bytes();
        if self.gap < needed {
            // In proportion to what is moved, so that an element costs no more than it is long.
            let gap = needed + (self.bytes().len() / 2).min(GAP_MAX);
            let old = std::mem::replace(&mut self.gap, gap);
            self.buffer.splice(..old, std::iter::repeat_n(0, gap));
        }
        self.gap -= needed;
        Listpack::prepend(&mut self.buffer[self.gap..], element);
    }

    /// Adds an element behind all others.
    pub(super) fn push_back(&mut self, text: &[u8]) {
        Listpack::push_behind(&mut self.buffer, self.gap, text);
    }

    /// Shows the last element and takes it out; false if there is none.
    pub(super) fn pop_back(&mut self, show: impl FnOnce(Element<'_>)) -> bool {
        let Some(last) = self.pack().iter().next_back() else {
            return false;
        };
        let at = last.at;
        show(last.element);
        Listpack::remove_last(&mut self.buffer, self.gap, at);
        true
    }

    /// Shows the first element and takes it out; false if there is none.
    pub(super) fn pop_front(&mut self, show: impl FnOnce(Element<'_>)) -> bool {
        let Some(first) = self.pack().iter().next() else {
            return false;
        };
        let taken = first.end - first.at;
        show(first.element);
        Listpack::remove_first(&mut self.buffer[self.gap..], taken);
        self.gap += taken;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::random::Random;
    use crate::testing::rounds;

    fn front(node: &mut Node) -> Option<Vec<u8>> {
        let mut text = None;
        node.pop_front(|element| text = Some(element.to_vec()));
        text
    }

    fn back(node: &mut Node) -> Option<Vec<u8>> {
        let mut text = None;
        node.pop_back(|element| text = Some(element.to_vec()));
        text
    }

    #[test]
    fn a_node_with_a_gap_agrees_with_a_listpack() {
        let mut random = Random(0x9a90);
        let (mut node, mut model) = (Node::new(Listpack::empty()), VecDeque::new());
        for _ in 0..rounds(30_000) {
            let text = match random.below(3) {
                0 => random.below(100_000).to_string().into_bytes(),
                _ => vec![b'x'; random.below(200) as usize],
            };
            // Longer and shorter by turns.
            let grows = random.below(10) < 4 + 2 * u64::from(model.len() % 200 < 100);
            match random.below(8) {
                0..4 if grows => {
                    node.push_front(&text);
                    model.push_front(text);
                }
                0..4 => assert_eq!(front(&mut node), model.pop_front()),
                4 if grows => {
                    node.push_back(&text);
                    model.push_back(text);
                }
                4 => assert_eq!(back(&mut node), model.pop_back()),
                5 => {
                    Listpack::push(node.close(), &text);
                    model.push_back(text);
                }
                6 => node.shrink(),
                _ => node.shrink_if_sparse(),
            }
            assert!(super::super::listpack::is_whole(node.bytes()));
            assert_eq!(node.pack().len(), model.len());
        }
        let texts: Vec<_> = node
            .pack()
            .iter()
            .map(|placed| placed.element.to_vec())
            .collect();
        assert!(texts.iter().eq(model.iter()));
        let empty = model.len();
        for _ in 0..empty {
            assert_eq!(front(&mut node), model.pop_front());
        }
        assert_eq!((front(&mut node), node.pack().is_empty()), (None, true));
        node.shrink_if_sparse();
        assert_eq!(node.bytes(), Listpack::empty());
    }

    #[test]
    fn elements_that_come_in_front_move_little() {
        let mut node = Node::new(Listpack::empty());
        let mut moved = 0;
        for i in 0..1000 {
            let before = node.gap;
            node.push_front(b"element");
            moved += if node.gap > before {
                node.bytes().len()
            } else {
                0
            };
            assert!(node.buffer.len() < 2 * node.bytes().len() + 64, "{i}");
        }
        assert!(moved < 4 * node.bytes().len(), "{moved}");
    }
}
