//! A copy of the nodes of a stream as they are at one moment, taken out in steps while the stream goes on changing; see
//! [`super::super::frozen`], which does the same for parts that have numbers.

use std::collections::BTreeMap;

use super::{Id, Nodes};

/// So many nodes of a copy hold up others for as long as a hundred microseconds.
const NODES_AT_ONCE: usize = 32;

/// Where a stream has its copy; a clone of the stream has none.
#[derive(Debug, Default)]
pub(super) struct FrozenNodes(Option<Box<Frozen>>);

#[derive(Debug)]
struct Frozen {
    /// The node that was copied last.
    done: Option<Id>,
    /// The last node that there was.
    last: Id,
    /// Nodes that have changed or gone since, as they were.
    kept: BTreeMap<Id, Vec<u8>>,
    /// What follows the nodes.
    rest: Vec<u8>,
}

impl Clone for FrozenNodes {
    fn clone(&self) -> Self {
        Self(None)
    }
}

impl Frozen {
    fn is_to_come(&self, id: Id) -> bool {
        id <= self.last && self.done.is_none_or(|done| id > done)
    }
}

impl FrozenNodes {
    pub(super) fn freeze(&mut self, last: Option<Id>, rest: Vec<u8>) {
        self.0 = Some(Box::new(Frozen {
            // Without any node all are done.
            done: last.is_none().then_some(Id::MAX),
            last: last.unwrap_or(Id::MAX),
            kept: BTreeMap::new(),
            rest,
        }));
    }

    /// A node is about to change, or to go.
    #[inline]
    pub(super) fn keep(&mut self, id: Id, node: &[u8]) {
        if let Some(frozen) = &mut self.0
            && frozen.is_to_come(id)
        {
            let kept = frozen.kept.entry(id);
            kept.or_insert_with(|| node.to_vec());
        }
    }

    pub(super) fn step(
        &mut self,
        nodes: &Nodes,
        mut show: impl FnMut(Id, &[u8]),
    ) -> Option<Option<Vec<u8>>> {
        let frozen = self.0.as_mut()?;
        for _ in 0..NODES_AT_ONCE {
            let stays = match frozen.done {
                Some(done) if done >= frozen.last => None,
                Some(done) => nodes.behind(done, frozen.last).next(),
                None => nodes.over(Id::ZERO, frozen.last).next(),
            };
            let kept = frozen.kept.first_key_value().map(|(id, _)| *id);
            match (stays, kept) {
                (Some((id, node)), kept) if kept.is_none_or(|kept| id < kept) => {
                    show(id, node);
                    frozen.done = Some(id);
                }
                (_, Some(id)) => {
                    let node = frozen.kept.remove(&id).unwrap_or_default();
                    show(id, &node);
                    frozen.done = Some(id);
                }
                (_, None) => {
                    let frozen = self.0.take()?;
                    return Some(Some(frozen.rest));
                }
            }
        }
        Some(None)
    }
}
