//! Groups of consumers: what was given to whom and not acknowledged yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Id, TREE_BYTES, span};
use crate::allocator::size_class;

/// What an allocation with two counters has beside its bytes.
const ARC_BYTES: usize = 16;

fn name_bytes(name: &[u8]) -> usize {
    size_class(name.len() + ARC_BYTES)
}

/// A group.
#[derive(Clone, Debug, Default)]
pub struct ConsumerGroup {
    /// The highest id that was given to a consumer.
    pub last: Id,
    /// How many entries were, where that is known.
    pub entries_read: Option<u64>,
    /// Its consumers, by name.
    pub consumers: BTreeMap<Arc<[u8]>, Consumer>,
    pending: BTreeMap<Id, Pending>,
    /// What the names of the consumers take.
    name_bytes: usize,
}

/// An entry that was given to a consumer and is not acknowledged.
#[derive(Clone, Debug)]
pub struct Pending {
    /// The consumer.
    pub consumer: Arc<[u8]>,
    /// When it was given, in milliseconds.
    pub delivered_at: i64,
    /// How often.
    pub deliveries: u64,
}

/// A consumer.
#[derive(Clone, Debug, Default)]
pub struct Consumer {
    /// When it last asked for something, in milliseconds.
    pub seen_at: i64,
    /// When it last got something; -1: never.
    pub active_at: i64,
    pending: BTreeSet<Id>,
}

impl Consumer {
    /// The ids that were given to it and are not acknowledged.
    pub fn pending(&self) -> &BTreeSet<Id> {
        &self.pending
    }
}

impl ConsumerGroup {
    /// A group that has been given what lies up to an id.
    pub fn new(last: Id, entries_read: Option<u64>) -> Self {
        Self {
            last,
            entries_read,
            ..Self::default()
        }
    }

    /// What the allocator takes for what it owns, about.
    pub fn heap_bytes(&self) -> usize {
        let pending = size_of::<Id>() + size_of::<Pending>() + TREE_BYTES;
        let given = size_of::<Id>() + TREE_BYTES;
        let consumer = size_of::<Arc<[u8]>>() + size_of::<Consumer>() + TREE_BYTES;
        self.pending.len() * (pending + given) + self.consumers.len() * consumer + self.name_bytes
    }

    /// All that is not acknowledged.
    pub fn pending(&self) -> &BTreeMap<Id, Pending> {
        &self.pending
    }

    /// What is not acknowledged from one id to another.
    pub fn pending_range(&self, from: Id, to: Id) -> impl Iterator<Item = (Id, &Pending)> {
        self.pending.range(span(from, to)).map(|(id, p)| (*id, p))
    }

    /// The consumer with a name, which is made if it does not exist; it has been seen now. Gives its name and whether it is new.
    pub fn see(&mut self, name: &[u8], now: i64) -> (Arc<[u8]>, bool) {
        if let Some((name, _)) = self.consumers.get_key_value(name) {
            let name = Arc::clone(name);
            if let Some(consumer) = self.consumers.get_mut(&name) {
                consumer.seen_at = now;
            }
            return (name, false);
        }
        let name: Arc<[u8]> = name.into();
        let consumer = Consumer {
            seen_at: now,
            active_at: -1,
            pending: BTreeSet::new(),
        };
        self.name_bytes += name_bytes(&name);
        self.consumers.insert(Arc::clone(&name), consumer);
        (name, true)
    }

    /// Gives an entry to a consumer of the group, whoever had it before.
    pub fn give(&mut self, id: Id, consumer: &Arc<[u8]>, delivered_at: i64, deliveries: u64) {
        let pending = Pending {
            consumer: Arc::clone(consumer),
            delivered_at,
            deliveries,
        };
        let before = self.pending.insert(id, pending);
        if let Some(before) = before.filter(|before| before.consumer != *consumer)
            && let Some(before) = self.consumers.get_mut(&before.consumer)
        {
            before.pending.remove(&id);
        }
        if let Some(consumer) = self.consumers.get_mut(consumer) {
            consumer.pending.insert(id);
        }
    }

    /// Takes an entry from its consumer: it is acknowledged, or gone. Whether it was pending.
    pub fn take(&mut self, id: Id) -> bool {
        let Some(pending) = self.pending.remove(&id) else {
            return false;
        };
        if let Some(consumer) = self.consumers.get_mut(&pending.consumer) {
            consumer.pending.remove(&id);
        }
        true
    }

    /// Removes a consumer with all that it was given; how much that was.
    pub fn remove_consumer(&mut self, name: &[u8]) -> usize {
        let Some(consumer) = self.consumers.remove(name) else {
            return 0;
        };
        self.name_bytes -= name_bytes(name);
        for id in &consumer.pending {
            self.pending.remove(id);
        }
        consumer.pending.len()
    }
}
