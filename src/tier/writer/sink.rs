//! Where changes are made durable, and what they are.

use crate::keyspace::residency::Place;
use crate::tier::draft::Draft;
use crate::tier::log::Log;
use crate::tier::marks::Marks;
use crate::tier::store::{Store, StoreError};

/// Where changes are made durable.
pub(super) enum Sink<'a> {
    Run(&'a mut Draft),
    Log(&'a mut Log),
    Marks(&'a mut Marks),
}

/// What is to be written: where it stands, and how much that is, about.
pub(super) struct Taken {
    pub(super) places: Vec<Place>,
    pub(super) bytes: usize,
}

impl Taken {
    /// In order, and each once.
    pub(super) fn sorted(&self) -> Vec<Place> {
        let mut places = self.places.clone();
        places.sort_unstable();
        places.dedup();
        places
    }
}

impl Sink<'_> {
    /// Writes a record; an empty one says that the key is gone.
    pub(super) fn put(&mut self, hash: u64, key: &[u8], record: &[u8]) -> Result<(), StoreError> {
        match self {
            Self::Run(draft) => draft.put(hash, key, record),
            Self::Marks(marks) => {
                marks.put(key, record);
                Ok(())
            }
            Self::Log(log) => log.append(key, record).map_err(StoreError::File),
        }
    }

    /// Memory that what was put takes until it is written.
    pub(super) fn memory_bytes(&self) -> usize {
        match self {
            Self::Run(draft) => draft.memory_bytes(),
            Self::Log(_) | Self::Marks(..) => 0,
        }
    }

    pub(super) fn is_run(&self) -> bool {
        matches!(self, Self::Run(_))
    }

    /// The generation that it will be in.
    pub(super) fn target(&self, store: &Store) -> Option<u64> {
        match self {
            Self::Run(draft) => Some(draft.generation),
            Self::Log(_) | Self::Marks(..) => store.newest(),
        }
    }

    /// What it has already of a chunk, or of a key whose record tells of chunks.
    pub(super) fn chunked(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self {
            Self::Run(draft) => draft.chunked(key),
            Self::Log(_) | Self::Marks(..) => Ok(None),
        }
    }
}
