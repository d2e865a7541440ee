//! Numbers in the order of scores: a tree of three levels that counts.
//!
//! Pages hold up to [`PAGE_MAX`] numbers with their scores, groups up to [`GROUP_MAX`] pages. What is full is cut in two; what
//! has become sparse is joined with what stands behind it. Neither moves more than a page or a group. A million members
//! take about two hundred groups, over which a rank is summed up.

use std::ops::Range;

use crate::allocator::size_class;

const PAGE_MAX: usize = 128;
const GROUP_MAX: usize = 64;

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
struct Group {
    /// How many numbers its pages have together.
    len: usize,
    pages: Vec<Page>,
}

impl Group {
    fn first(&self) -> Entry {
        self.pages[0].first()
    }
}

/// A score and a number.
type Entry = (f64, u32);

/// A place in an order: one where a number stands, or the end of a page.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    group: usize,
    page: usize,
    index: usize,
}

/// Numbers in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Order {
    groups: Vec<Group>,
    len: usize,
    page_bytes: usize,
    pages: usize,
}

impl Order {
    pub(super) fn heap_bytes(&self) -> usize {
        // The vectors of pages are between half full and full.
        self.page_bytes
            + self.pages * size_of::<Page>() * 3 / 2
            + self.groups.capacity() * size_of::<Group>()
    }

    /// The first place of which `lies_before` does not say that it lies before the one that is sought. It is the end of a page
    /// where that page ends before.
    pub(super) fn place(&self, mut lies_before: impl FnMut(f64, u32) -> bool) -> Place {
        let mut before = |(score, number): Entry| lies_before(score, number);
        let group = self.groups.partition_point(|group| before(group.first()));
        let Some(group) = group.checked_sub(1) else {
            return Place::default();
        };
        let pages = &self.groups[group].pages;
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
        Place {
            group,
            page,
            index: low,
        }
    }

    /// How many numbers stand before a place.
    pub(super) fn rank(&self, place: Place) -> usize {
        let Some(group) = self.groups.get(place.group) else {
            return self.len;
        };
        let groups: usize = self.groups[..place.group].iter().map(|g| g.len).sum();
        let pages: usize = group.pages[..place.page].iter().map(Page::len).sum();
        groups + pages + place.index
    }

    /// The place of a rank; `None` if there are not so many.
    pub(super) fn place_of(&self, rank: usize) -> Option<Place> {
        let mut index = rank;
        for (number, group) in self.groups.iter().enumerate() {
            if index >= group.len {
                index -= group.len;
                continue;
            }
            for (page, content) in group.pages.iter().enumerate() {
                if index < content.len() {
                    return Some(Place {
                        group: number,
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
    pub(super) fn end(&self, last: bool) -> Option<Place> {
        if !last {
            return (self.len > 0).then(Place::default);
        }
        let group = self.groups.len().checked_sub(1)?;
        let page = self.groups[group].pages.len().checked_sub(1)?;
        let index = self.groups[group].pages[page].len().checked_sub(1)?;
        Some(Place { group, page, index })
    }

    fn page(&self, place: Place) -> Option<&Page> {
        self.groups.get(place.group)?.pages.get(place.page)
    }

    /// What stands before and behind a place where a number stands.
    pub(super) fn neighbours(&self, place: Place) -> (Option<Entry>, Option<Entry>) {
        let place = self.settled(place);
        let after = self.settled(Place {
            index: place.index + 1,
            ..place
        });
        let next = self.page(after).map(|page| page.entry(after.index));
        let previous = self.previous(place);
        let previous = previous.and_then(|at| Some(self.page(at)?.entry(at.index)));
        (previous, next)
    }

    /// The same place, as the beginning of the next page where it is the end of one.
    fn settled(&self, place: Place) -> Place {
        match self.groups.get(place.group) {
            Some(group) if place.index < group.pages[place.page].len() => place,
            Some(group) if place.page + 1 < group.pages.len() => Place {
                page: place.page + 1,
                index: 0,
                ..place
            },
            _ => Place {
                group: place.group + 1,
                page: 0,
                index: 0,
            },
        }
    }

    /// The place before this one.
    fn previous(&self, place: Place) -> Option<Place> {
        let at_end = |group: usize, page: usize| {
            let index = self.groups[group].pages[page].len() - 1;
            Place { group, page, index }
        };
        match place {
            Place { index: 1.., .. } => Some(Place {
                index: place.index - 1,
                ..place
            }),
            Place { page: 1.., .. } => Some(at_end(place.group, place.page - 1)),
            Place { group: 0, .. } => None,
            Place { group, .. } => Some(at_end(group - 1, self.groups[group - 1].pages.len() - 1)),
        }
    }

    pub(super) fn insert(&mut self, mut place: Place, score: f64, number: u32) {
        self.len += 1;
        if self.groups.is_empty() {
            self.groups.push(Group {
                len: 0,
                pages: vec![Page::default()],
            });
            self.pages = 1;
        }
        if self.groups[place.group].pages[place.page].len() >= PAGE_MAX {
            place = self.cut_page(place);
        }
        let group = &mut self.groups[place.group];
        let page = &mut group.pages[place.page];
        let before = page.heap_bytes_or_none();
        page.insert(place.index, (score, number));
        self.page_bytes += page.heap_bytes();
        self.page_bytes -= before;
        group.len += 1;
        if group.pages.len() > GROUP_MAX {
            self.cut_group(place.group);
        }
    }

    /// Cuts a full page in two, and gives where the place is now. What comes in order leaves full pages behind.
    fn cut_page(&mut self, place: Place) -> Place {
        let group = &mut self.groups[place.group];
        let page = &mut group.pages[place.page];
        let at = if place.index == PAGE_MAX {
            PAGE_MAX
        } else {
            PAGE_MAX / 2
        };
        self.page_bytes -= page.heap_bytes();
        let upper = page.cut(at);
        self.page_bytes += page.heap_bytes() + upper.heap_bytes_or_none();
        self.pages += 1;
        group.pages.insert(place.page + 1, upper);
        if place.index < at || at < PAGE_MAX && place.index == at {
            return place;
        }
        Place {
            page: place.page + 1,
            index: place.index - at,
            ..place
        }
    }

    fn cut_group(&mut self, number: usize) {
        let group = &mut self.groups[number];
        let pages = group.pages.split_off(GROUP_MAX / 2);
        let len = pages.iter().map(Page::len).sum();
        group.len -= len;
        self.groups.insert(number + 1, Group { len, pages });
    }

    /// Takes out what stands at a place.
    pub(super) fn remove(&mut self, place: Place) -> Entry {
        let place = self.settled(place);
        let group = &mut self.groups[place.group];
        group.len -= 1;
        self.len -= 1;
        let pages = &mut group.pages;
        let removed = pages[place.page].remove(place.index);
        let left = pages[place.page].len();
        let next = pages.get(place.page + 1).map_or(PAGE_MAX, Page::len);
        if left == 0 {
            self.page_bytes -= pages.remove(place.page).heap_bytes();
            self.pages -= 1;
        } else if left + next <= PAGE_MAX / 2 {
            let next = pages.remove(place.page + 1);
            let page = &mut pages[place.page];
            self.page_bytes -= page.heap_bytes() + next.heap_bytes();
            page.join(next);
            self.page_bytes += page.heap_bytes();
            self.pages -= 1;
        }
        let left = pages.len();
        let next = self.groups.get(place.group + 1);
        let next = next.map_or(GROUP_MAX, |group| group.pages.len());
        if left == 0 {
            self.groups.remove(place.group);
        } else if left + next <= GROUP_MAX / 2 {
            let next = self.groups.remove(place.group + 1);
            let group = &mut self.groups[place.group];
            group.len += next.len;
            group.pages.extend(next.pages);
        }
        removed
    }

    /// Gives what stands at a place another score, with which it stands there too.
    pub(super) fn set_score(&mut self, place: Place, score: f64) {
        let Place { group, page, index } = self.settled(place);
        self.groups[group].pages[page].scores[index] = score;
    }

    /// Gives it another number.
    pub(super) fn set_number(&mut self, place: Place, number: u32) {
        let Place { group, page, index } = self.settled(place);
        self.groups[group].pages[page].numbers[index] = number;
    }

    /// The numbers with these ranks.
    pub(super) fn range(&self, ranks: Range<usize>) -> Iter<'_> {
        let end = ranks.end.min(self.len);
        let at = |rank| self.place_of(rank).unwrap_or_default();
        Iter {
            order: self,
            front: at(ranks.start),
            back: end.checked_sub(1).map(at).unwrap_or_default(),
            left: end.saturating_sub(ranks.start),
        }
    }

    #[cfg(test)]
    pub(super) fn check(&self) {
        let pages: Vec<&Page> = self.groups.iter().flat_map(|group| &group.pages).collect();
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
        for group in &self.groups {
            assert!((1..=GROUP_MAX).contains(&group.pages.len()));
            assert_eq!(group.pages.iter().map(Page::len).sum::<usize>(), group.len);
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
    front: Place,
    back: Place,
    left: usize,
}

impl Iterator for Iter<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        self.left = self.left.checked_sub(1)?;
        let Place { index, .. } = self.front;
        let number = self.order.page(self.front)?.numbers[index];
        self.front = self.order.settled(Place {
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
