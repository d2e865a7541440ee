//! Numbers in the order of scores: a tree of three levels that counts.
//!
//! Pages hold up to [`PAGE_MAX`] numbers with their scores, nodes up to [`NODE_MAX`] pages. What is full is cut in two; what
//! has become sparse is joined with what stands behind it. Neither moves more than a page or a node. A million members
//! take about two hundred nodes, over which a rank is summed up.

use std::ops::Range;

use crate::allocator::size_class;

const PAGE_MAX: usize = 128;
const NODE_MAX: usize = 64;

#[derive(Clone, Debug, Default)]
struct Page {
    scores: Vec<f64>,
    numbers: Vec<u32>,
}

impl Page {
    fn len(&self) -> usize {
        self.scores.len()
    }

    fn entry(&self, index: usize) -> Entry {
        (self.scores[index], self.numbers[index])
    }

    /// The first one of a page that is not empty, as all in an order are.
    fn first(&self) -> Entry {
        self.entry(0)
    }

    fn heap_bytes(&self) -> usize {
        size_class(self.scores.capacity() * size_of::<f64>())
            + size_class(self.numbers.capacity() * size_of::<u32>())
    }

    fn insert(&mut self, index: usize, (score, number): Entry) {
        self.scores.insert(index, score);
        self.numbers.insert(index, number);
    }

    fn remove(&mut self, index: usize) -> Entry {
        (self.scores.remove(index), self.numbers.remove(index))
    }

    fn cut(&mut self, at: usize) -> Self {
        let upper = Self {
            scores: self.scores.split_off(at),
            numbers: self.numbers.split_off(at),
        };
        self.scores.shrink_to_fit();
        self.numbers.shrink_to_fit();
        upper
    }

    fn join(&mut self, next: Self) {
        self.scores.extend(next.scores);
        self.numbers.extend(next.numbers);
    }
}

#[derive(Clone, Debug, Default)]
struct Node {
    /// How many numbers its pages have together.
    len: usize,
    pages: Vec<Page>,
}

impl Node {
    fn first(&self) -> Entry {
        self.pages[0].first()
    }
}

/// A score and a number.
type Entry = (f64, u32);

/// A point in an order: one where a number stands, or the end of a page.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cursor {
    node: usize,
    page: usize,
    index: usize,
}

/// Numbers in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Order {
    nodes: Vec<Node>,
    len: usize,
    page_bytes: usize,
    pages: usize,
}

impl Order {
    pub(super) fn heap_bytes(&self) -> usize {
        // The vectors of pages are between half full and full.
        self.page_bytes
            + self.pages * size_of::<Page>() * 3 / 2
            + self.nodes.capacity() * size_of::<Node>()
    }

    /// The first place of which `lies_before` does not say that it lies before the one that is sought. It is the end of a page
    /// where that page ends before.
    pub(super) fn cursor(&self, mut lies_before: impl FnMut(f64, u32) -> bool) -> Cursor {
        let mut before = |(score, number): Entry| lies_before(score, number);
        let node = self.nodes.partition_point(|node| before(node.first()));
        let Some(node) = node.checked_sub(1) else {
            return Cursor::default();
        };
        let pages = &self.nodes[node].pages;
        // The first one of the first page lies before.
        let page = pages[1..].partition_point(|page| before(page.first()));
        let (mut low, mut high) = (1, pages[page].len());
        while low < high {
            let middle = low.midpoint(high);
            if before(pages[page].entry(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Cursor {
            node,
            page,
            index: low,
        }
    }

    /// How many numbers stand before a place.
    pub(super) fn rank(&self, cursor: Cursor) -> usize {
        let Some(node) = self.nodes.get(cursor.node) else {
            return self.len;
        };
        let nodes: usize = self.nodes[..cursor.node].iter().map(|g| g.len).sum();
        let pages: usize = node.pages[..cursor.page].iter().map(Page::len).sum();
        nodes + pages + cursor.index
    }

    /// The place of a rank; `None` if there are not so many.
    pub(super) fn cursor_of(&self, rank: usize) -> Option<Cursor> {
        let mut index = rank;
        for (number, node) in self.nodes.iter().enumerate() {
            if index >= node.len {
                index -= node.len;
                continue;
            }
            for (page, content) in node.pages.iter().enumerate() {
                if index < content.len() {
                    return Some(Cursor {
                        node: number,
                        page,
                        index,
                    });
                }
                index -= content.len();
            }
        }
        None
    }

    /// The place of the first or the last number.
    pub(super) fn end(&self, last: bool) -> Option<Cursor> {
        if !last {
            return (self.len > 0).then(Cursor::default);
        }
        let node = self.nodes.len().checked_sub(1)?;
        let page = self.nodes[node].pages.len().checked_sub(1)?;
        let index = self.nodes[node].pages[page].len().checked_sub(1)?;
        Some(Cursor { node, page, index })
    }

    fn page(&self, cursor: Cursor) -> Option<&Page> {
        self.nodes.get(cursor.node)?.pages.get(cursor.page)
    }

    /// What stands before and behind a place where a number stands.
    pub(super) fn neighbours(&self, cursor: Cursor) -> (Option<Entry>, Option<Entry>) {
        let cursor = self.settled(cursor);
        let after = self.settled(Cursor {
            index: cursor.index + 1,
            ..cursor
        });
        let next = self.page(after).map(|page| page.entry(after.index));
        let previous = self.previous(cursor);
        let previous = previous.and_then(|at| Some(self.page(at)?.entry(at.index)));
        (previous, next)
    }

    /// The same place, as the beginning of the next page where it is the end of one.
    fn settled(&self, cursor: Cursor) -> Cursor {
        match self.nodes.get(cursor.node) {
            Some(node) if cursor.index < node.pages[cursor.page].len() => cursor,
            Some(node) if cursor.page + 1 < node.pages.len() => Cursor {
                page: cursor.page + 1,
                index: 0,
                ..cursor
            },
            _ => Cursor {
                node: cursor.node + 1,
                page: 0,
                index: 0,
            },
        }
    }

    /// The place before this one.
    fn previous(&self, cursor: Cursor) -> Option<Cursor> {
        let at_end = |node: usize, page: usize| {
            let index = self.nodes[node].pages[page].len() - 1;
            Cursor { node, page, index }
        };
        match cursor {
            Cursor { index: 1.., .. } => Some(Cursor {
                index: cursor.index - 1,
                ..cursor
            }),
            Cursor { page: 1.., .. } => Some(at_end(cursor.node, cursor.page - 1)),
            Cursor { node: 0, .. } => None,
            Cursor { node, .. } => Some(at_end(node - 1, self.nodes[node - 1].pages.len() - 1)),
        }
    }

    pub(super) fn insert(&mut self, mut cursor: Cursor, score: f64, number: u32) {
        self.len += 1;
        if self.nodes.is_empty() {
            self.nodes.push(Node {
                len: 0,
                pages: vec![Page::default()],
            });
            self.pages = 1;
        }
        if self.nodes[cursor.node].pages[cursor.page].len() >= PAGE_MAX {
            cursor = self.cut_page(cursor);
        }
        let node = &mut self.nodes[cursor.node];
        let page = &mut node.pages[cursor.page];
        let before = page.heap_bytes_or_none();
        page.insert(cursor.index, (score, number));
        self.page_bytes += page.heap_bytes();
        self.page_bytes -= before;
        node.len += 1;
        if node.pages.len() > NODE_MAX {
            self.cut_node(cursor.node);
        }
    }

    /// Cuts a full page in two, and gives where the place is now. What comes in order leaves full pages behind.
    fn cut_page(&mut self, cursor: Cursor) -> Cursor {
        let node = &mut self.nodes[cursor.node];
        let page = &mut node.pages[cursor.page];
        let at = if cursor.index == PAGE_MAX {
            PAGE_MAX
        } else {
            PAGE_MAX / 2
        };
        self.page_bytes -= page.heap_bytes();
        let upper = page.cut(at);
        self.page_bytes += page.heap_bytes() + upper.heap_bytes_or_none();
        self.pages += 1;
        node.pages.insert(cursor.page + 1, upper);
        if cursor.index < at || at < PAGE_MAX && cursor.index == at {
            return cursor;
        }
        Cursor {
            page: cursor.page + 1,
            index: cursor.index - at,
            ..cursor
        }
    }

    fn cut_node(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        let pages = node.pages.split_off(NODE_MAX / 2);
        let len = pages.iter().map(Page::len).sum();
        node.len -= len;
        self.nodes.insert(number + 1, Node { len, pages });
    }

    /// Takes out what stands at a place.
    pub(super) fn remove(&mut self, cursor: Cursor) -> Entry {
        let cursor = self.settled(cursor);
        let node = &mut self.nodes[cursor.node];
        node.len -= 1;
        self.len -= 1;
        let pages = &mut node.pages;
        let removed = pages[cursor.page].remove(cursor.index);
        let left = pages[cursor.page].len();
        let next = pages.get(cursor.page + 1).map_or(PAGE_MAX, Page::len);
        if left == 0 {
            self.page_bytes -= pages.remove(cursor.page).heap_bytes();
            self.pages -= 1;
        } else if left + next <= PAGE_MAX / 2 {
            let next = pages.remove(cursor.page + 1);
            let page = &mut pages[cursor.page];
            self.page_bytes -= page.heap_bytes() + next.heap_bytes();
            page.join(next);
            self.page_bytes += page.heap_bytes();
            self.pages -= 1;
        }
        let left = pages.len();
        let next = self.nodes.get(cursor.node + 1);
        let next = next.map_or(NODE_MAX, |node| node.pages.len());
        if left == 0 {
            self.nodes.remove(cursor.node);
        } else if left + next <= NODE_MAX / 2 {
            let next = self.nodes.remove(cursor.node + 1);
            let node = &mut self.nodes[cursor.node];
            node.len += next.len;
            node.pages.extend(next.pages);
        }
        removed
    }

    /// Gives what stands at a place another score, with which it stands there too.
    pub(super) fn set_score(&mut self, cursor: Cursor, score: f64) {
        let Cursor { node, page, index } = self.settled(cursor);
        self.nodes[node].pages[page].scores[index] = score;
    }

    /// Gives it another number.
    pub(super) fn set_number(&mut self, cursor: Cursor, number: u32) {
        let Cursor { node, page, index } = self.settled(cursor);
        self.nodes[node].pages[page].numbers[index] = number;
    }

    /// The numbers with these ranks.
    pub(super) fn range(&self, ranks: Range<usize>) -> Iter<'_> {
        let end = ranks.end.min(self.len);
        let at = |rank| self.cursor_of(rank).unwrap_or_default();
        Iter {
            order: self,
            front: at(ranks.start),
            back: end.checked_sub(1).map(at).unwrap_or_default(),
            left: end.saturating_sub(ranks.start),
        }
    }

    #[cfg(test)]
    pub(super) fn check(&self) {
        let pages: Vec<&Page> = self.nodes.iter().flat_map(|node| &node.pages).collect();
        assert!(
            pages
                .iter()
                .all(|page| (1..=PAGE_MAX).contains(&page.len()))
        );
        assert!(pages.iter().all(|page| page.scores.is_sorted()));
        assert_eq!(pages.iter().map(|page| page.len()).sum::<usize>(), self.len);
        assert_eq!(pages.len(), self.pages);
        let bytes = pages.iter().map(|page| page.heap_bytes()).sum::<usize>();
        assert_eq!(bytes, self.page_bytes);
        for node in &self.nodes {
            assert!((1..=NODE_MAX).contains(&node.pages.len()));
            assert_eq!(node.pages.iter().map(Page::len).sum::<usize>(), node.len);
        }
    }
}

impl Page {
    /// Of one that may have allocated nothing yet.
    fn heap_bytes_or_none(&self) -> usize {
        match self.scores.capacity() {
            0 => 0,
            _ => self.heap_bytes(),
        }
    }
}

/// Numbers in order, from both ends.
#[derive(Clone, Debug)]
pub(super) struct Iter<'a> {
    order: &'a Order,
    /// Both are places where a number stands while any are left.
    front: Cursor,
    back: Cursor,
    left: usize,
}

impl Iterator for Iter<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        self.left = self.left.checked_sub(1)?;
        let Cursor { index, .. } = self.front;
        let number = self.order.page(self.front)?.numbers[index];
        self.front = self.order.settled(Cursor {
            index: index + 1,
            ..self.front
        });
        Some(number)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<u32> {
        self.left = self.left.checked_sub(1)?;
        let number = self.order.page(self.back)?.numbers[self.back.index];
        if self.left > 0 {
            self.back = self.order.previous(self.back)?;
        }
        Some(number)
    }
}
