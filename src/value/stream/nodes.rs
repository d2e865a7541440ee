//! The nodes of a stream in the order of their ids.
//!
//! They come at one end and mostly go at the other. A tree whose keys ascend is half empty; here they lie in rows of so many,
//! each of which is full before the next one begins.

use std::collections::VecDeque;

use super::Id;

/// Nodes of a row: to find one, or to take one out, looks at or moves a few cache lines.
const ROW: usize = 64;

/// Nodes by the id that each is kept under.
#[derive(Clone, Debug, Default)]
pub(super) struct Nodes {
    /// None of the rows is empty.
    rows: VecDeque<Vec<(Id, Vec<u8>)>>,
    len: usize,
}

/// A row, and an index in it.
type RowIndex = (usize, usize);

impl Nodes {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// What they take beside themselves, about.
    pub(super) fn heap_bytes(&self) -> usize {
        self.len * size_of::<(Id, Vec<u8>)>()
    }

    /// The place of the first node that does not lie before an id.
    fn lower(&self, id: Id) -> RowIndex {
        let row = self.rows.partition_point(|row| row[row.len() - 1].0 < id);
        let at = self.rows.get(row);
        (
            row,
            at.map_or(0, |row| row.partition_point(|node| node.0 < id)),
        )
    }

    /// The place of the first node behind an id.
    fn upper(&self, id: Id) -> RowIndex {
        id.next().map_or((self.rows.len(), 0), |id| self.lower(id))
    }

    fn before(&self, (row, at): RowIndex) -> Option<RowIndex> {
        match at.checked_sub(1) {
            Some(at) => Some((row, at)),
            None => {
                let row = row.checked_sub(1)?;
                Some((row, self.rows[row].len() - 1))
            }
        }
    }

    fn between(
        &self,
        from: RowIndex,
        to: RowIndex,
    ) -> impl DoubleEndedIterator<Item = (Id, &Vec<u8>)> {
        let rows = (from.0..self.rows.len().min(to.0 + 1)).flat_map(move |row| {
            let nodes = &self.rows[row];
            let start = if row == from.0 { from.1 } else { 0 };
            let end = if row == to.0 { to.1 } else { nodes.len() };
            &nodes[start.min(end)..end]
        });
        rows.map(|(id, node)| (*id, node))
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (Id, &Vec<u8>)> {
        self.between((0, 0), (self.rows.len(), 0))
    }

    /// The nodes behind an id, up to another.
    pub(super) fn behind(&self, id: Id, to: Id) -> impl DoubleEndedIterator<Item = (Id, &Vec<u8>)> {
        self.between(self.upper(id), self.upper(to))
    }

    /// The nodes that may have entries from one id to another: that which begins before may have the first ones.
    pub(super) fn over(&self, from: Id, to: Id) -> impl DoubleEndedIterator<Item = (Id, &Vec<u8>)> {
        let start = self.upper(from);
        let start = self.before(start).unwrap_or(start);
        self.between(start, self.upper(to))
    }

    /// The node that would have an entry with this id.
    pub(super) fn of_entry(&mut self, id: Id) -> Option<(Id, &mut Vec<u8>)> {
        let (row, at) = self.before(self.upper(id))?;
        let (id, node) = &mut self.rows[row][at];
        Some((*id, node))
    }

    pub(super) fn get(&self, id: Id) -> Option<&Vec<u8>> {
        let (row, at) = self.lower(id);
        let (found, node) = self.rows.get(row)?.get(at)?;
        (*found == id).then_some(node)
    }

    pub(super) fn first(&mut self) -> Option<(Id, &mut Vec<u8>)> {
        let (id, node) = self.rows.front_mut()?.first_mut()?;
        Some((*id, node))
    }

    pub(super) fn last(&mut self) -> Option<(Id, &mut Vec<u8>)> {
        let (id, node) = self.rows.back_mut()?.last_mut()?;
        Some((*id, node))
    }

    pub(super) fn last_id(&self) -> Option<Id> {
        self.rows.back()?.last().map(|(id, _)| *id)
    }

    /// Puts a node under an id and gives the one that was there.
    pub(super) fn insert(&mut self, id: Id, node: Vec<u8>) -> Option<Vec<u8>> {
        let (mut row, mut at) = self.lower(id);
        if row == self.rows.len() {
            // Behind all others.
            match self.rows.back() {
                Some(last) if last.len() < ROW => (row, at) = (row - 1, last.len()),
                _ => self.rows.push_back(Vec::new()),
            }
        }
        if let Some((found, old)) = self.rows[row].get_mut(at)
            && *found == id
        {
            return Some(std::mem::replace(old, node));
        }
        if self.rows[row].len() == ROW {
            let half = self.rows[row].split_off(ROW / 2);
            self.rows.insert(row + 1, half);
            if at > ROW / 2 {
                (row, at) = (row + 1, at - ROW / 2);
            }
        }
        self.rows[row].insert(at, (id, node));
        self.len += 1;
        None
    }

    /// Takes out the node under an id.
    pub(super) fn remove(&mut self, id: Id) -> Option<Vec<u8>> {
        let (row, at) = self.lower(id);
        let nodes = self.rows.get_mut(row)?;
        if nodes.get(at)?.0 != id {
            return None;
        }
        let (_, node) = nodes.remove(at);
        if nodes.is_empty() {
            self.rows.remove(row);
        } else if nodes.len() < nodes.capacity() / 2 {
            nodes.shrink_to_fit();
        }
        self.len -= 1;
        Some(node)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::random::Random;
    use crate::testing::rounds;

    #[test]
    fn agrees_with_a_tree_over_random_operations() {
        let mut random = Random(7);
        let mut next = move |below| random.below(below);
        let id = |ms: u64| Id { ms, seq: 0 };
        for ids in [10, 200, 1000] {
            let (mut nodes, mut model) = (Nodes::default(), BTreeMap::new());
            for round in 0..rounds(6_000) as u64 {
                let some = id(next(ids));
                let node = round.to_le_bytes().to_vec();
                // It grows, and then it shrinks to nothing.
                if next(6000) > round {
                    assert_eq!(nodes.insert(some, node.clone()), model.insert(some, node));
                } else {
                    assert_eq!(nodes.remove(some), model.remove(&some));
                    let first = nodes.first().map(|(id, _)| id);
                    assert_eq!(first, model.keys().next().copied());
                    if let Some(first) = first.filter(|_| round > 5500) {
                        assert_eq!(nodes.remove(first), model.remove(&first));
                    }
                }
                assert_eq!(nodes.len(), model.len());
                assert_eq!(nodes.get(some), model.get(&some));
                let floor = model.range(..=some).next_back().map(|(id, _)| *id);
                assert_eq!(nodes.of_entry(some).map(|(id, _)| id), floor);
                let last = model.keys().next_back().copied();
                assert_eq!((nodes.last_id(), nodes.last().map(|l| l.0)), (last, last));
                let to = id(some.ms + next(30));
                let over = model.range(floor.unwrap_or(some)..=to).map(|(id, _)| *id);
                let over: Vec<Id> = over.collect();
                assert!(nodes.over(some, to).map(|(id, _)| id).eq(over.clone()));
                let back = nodes.over(some, to).rev().map(|(id, _)| id);
                assert!(back.eq(over.iter().rev().copied()));
                let behind = over.iter().filter(|id| **id > some).copied();
                assert!(nodes.behind(some, to).map(|(id, _)| id).eq(behind));
            }
            assert!(nodes.iter().eq(model.iter().map(|(id, node)| (*id, node))));
        }
    }

    #[test]
    fn rows_of_ascending_ids_are_full_and_none_is_empty() {
        let mut nodes = Nodes::default();
        let id = |ms: u64| Id { ms, seq: 0 };
        (0..10 * ROW as u64).for_each(|ms| assert!(nodes.insert(id(ms), Vec::new()).is_none()));
        assert!(nodes.rows.iter().all(|row| row.len() == ROW) && nodes.rows.len() == 10);
        (0..9 * ROW as u64 + 40).for_each(|ms| assert!(nodes.remove(id(ms)).is_some()));
        assert_eq!((nodes.rows.len(), nodes.len()), (1, 24));
        assert!(nodes.rows[0].capacity() <= 2 * 24);
    }
}
