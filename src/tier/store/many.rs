//! Very many keys at once, in the order of the disk.
//!
//! A look-up by itself finds its way through the index of each run, down to a block of which it takes one record. Where a good part
//! of the records there is wanted anyway, a walk over them costs a tenth of that for each. So each generation is walked from the
//! first to the last of the keys that it may hold if these lie dense in it, and asked for each otherwise.
//!
//! Invariant: what is told of a key is what [`Store::find`] could have told at a moment during the call.

use std::cell::Cell;
use std::sync::Arc;

use lsm_tree::Slice;

use super::generation::{Found, Generation};
use super::tree::{Snapshot, Tree};
use super::{Located, Store, StoreError};

/// A walk passes so many records in the time of one look-up.
const RECORDS_PER_LOOK_UP: u64 = 8;
/// Records of so many bytes are read for one call. The keys behind are left out, so that nothing large is held.
const BYTES_MAX: usize = 1 << 20;
/// Fewer are always asked for one by one: a walk has to begin.
const WALKED_MIN: usize = 16;

/// A key with its hash.
pub type Hashed = (u64, Vec<u8>);

/// What the store has of one of many keys.
pub enum Answer {
    /// It was left out: it is to be looked for by itself.
    LeftOut,
    /// The store has none.
    Nothing,
    /// The newest record.
    Record(Located),
}

impl Store {
    /// Looks for keys that ascend, and are each there once. Waits for the disk.
    ///
    /// # Errors
    /// As [`Store::find`]: a generation that may hold one of them cannot be read.
    pub fn find_many(&self, keys: &[Hashed]) -> Result<Vec<Answer>, StoreError> {
        let view = self.view()?;
        let mut search = Search {
            keys,
            answers: keys.iter().map(|_| None).collect(),
            bytes_left: BYTES_MAX,
        };
        for generation in &view.list.generations {
            search.look_in(generation, &view.snapshot)?;
        }
        let answers = search.answers.into_iter();
        Ok(answers
            .map(|answer| answer.unwrap_or(Answer::Nothing))
            .collect())
    }
}

/// A search under way.
struct Search<'a> {
    keys: &'a [Hashed],
    /// None where older generations are still to be asked.
    answers: Vec<Option<Answer>>,
    bytes_left: usize,
}

impl Search<'_> {
    fn look_in(
        &mut self,
        generation: &Arc<Generation>,
        snapshot: &Arc<Snapshot>,
    ) -> Result<(), StoreError> {
        let keys = self.keys.iter().zip(&self.answers).enumerate();
        let open = keys.filter(|(_, (_, answer))| answer.is_none());
        let held = open.filter(|(_, ((hash, _), _))| generation.may_hold(*hash));
        let held: Vec<usize> = held.map(|(at, _)| at).collect();
        let walked = match &generation.tree {
            Some(tree) => self.are_dense(generation, &held).then_some(tree),
            None => None,
        };
        if let Some(tree) = walked {
            return self.walk(generation, tree, snapshot, &held);
        }
        for at in held {
            if self.bytes_left == 0 {
                self.answers[at] = Some(Answer::LeftOut);
                continue;
            }
            match generation.find(&self.keys[at].1)? {
                Found::Record(record) => {
                    generation.usage.count_look_up();
                    self.found(at, record, generation);
                }
                Found::Gone => self.answers[at] = Some(Answer::Nothing),
                Found::Nothing => {}
            }
        }
        Ok(())
    }

    /// Whether a good part of the records from the first to the last of these keys is wanted. Keys lie evenly.
    fn are_dense(&self, generation: &Generation, held: &[usize]) -> bool {
        let (Some(&first), Some(&last)) = (held.first(), held.last()) else {
            return false;
        };
        let prefix = |at: usize| {
            let prefix = self.keys[at].1.first_chunk().copied().unwrap_or_default();
            u64::from(u32::from_be_bytes(prefix))
        };
        let span = prefix(last).saturating_sub(prefix(first)) + 1;
        let passed = (u128::from(generation.records()) * u128::from(span)) >> u32::BITS;
        let worth = held.len() as u64 * RECORDS_PER_LOOK_UP;
        held.len() >= WALKED_MIN && passed <= u128::from(worth)
    }

    fn walk(
        &mut self,
        generation: &Arc<Generation>,
        tree: &Tree,
        snapshot: &Arc<Snapshot>,
        held: &[usize],
    ) -> Result<(), StoreError> {
        let keys = self.keys;
        let failed = |source| generation.read_error(source);
        let mut range = tree.range(snapshot, &keys[held[0]].1).map_err(failed)?;
        // The first of them that may still come.
        let next = Cell::new(0);
        let is_wanted = |key: &[u8]| {
            while next.get() < held.len() && *keys[held[next.get()]].1 < *key {
                next.set(next.get() + 1);
            }
            held.get(next.get()).is_some_and(|&at| keys[at].1 == key)
        };
        while next.get() < held.len() && self.bytes_left > 0 {
            let Some(pair) = range.next_pair(is_wanted) else {
                return Ok(());
            };
            if let (_, Some(record)) = pair.map_err(failed)? {
                let at = held[next.get()];
                next.set(next.get() + 1);
                match record.is_empty() {
                    true => self.answers[at] = Some(Answer::Nothing),
                    false => self.found(at, record, generation),
                }
            }
        }
        for &at in &held[next.get()..] {
            self.answers[at] = Some(Answer::LeftOut);
        }
        Ok(())
    }

    fn found(&mut self, at: usize, record: Slice, generation: &Arc<Generation>) {
        self.bytes_left = self.bytes_left.saturating_sub(record.len());
        let generation = Arc::clone(generation);
        self.answers[at] = Some(Answer::Record(Located { record, generation }));
    }
}
