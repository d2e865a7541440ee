//! What can go wrong in the store.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::tree::TreeError;

/// An error of the store. A failed read is one of these, never "no such key".
#[derive(Debug)]
pub enum StoreError {
    /// One of the store's own files could not be read or written.
    File(io::Error),
    /// A tree failed while it was made or written.
    Tree(TreeError),
    /// A generation could not be read.
    Read {
        /// The generation, for [`quarantine`](super::Store::quarantine).
        generation: u64,
        /// What the tree said.
        source: TreeError,
    },
    /// The generation that a run wrote to was quarantined meanwhile: what the run wrote is gone.
    Quarantined(u64),
    /// The keys of a run must ascend.
    Order,
    /// A key has 4 to 65,535 bytes, a record at least one and less than 4 GiB.
    Size,
    /// The library has panicked: nothing is written until it was opened anew.
    Poisoned,
    /// Its directory is gone, or another one is in its place.
    Gone,
    /// The store is closed, or being reopened.
    Closed,
    /// Another process, or an iterator of this one, holds the directory.
    Busy,
    /// The directory cannot be used.
    Open {
        /// The directory.
        dir: PathBuf,
        /// Why.
        source: Box<StoreError>,
    },
}

impl StoreError {
    /// Whether bytes on disk are not what was written, so that trying again is useless.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Tree(source) | Self::Read { source, .. } => is_damage(source),
            _ => false,
        }
    }

    /// Whether the library may be in disorder: it must be opened anew.
    pub fn is_poison(&self) -> bool {
        match self {
            Self::Tree(source) | Self::Read { source, .. } => {
                matches!(source, TreeError::Panicked(_))
            }
            _ => false,
        }
    }

    /// Whether the disk has no room.
    pub fn is_full(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        let source = match self {
            Self::File(source) => Some(source),
            Self::Tree(source) | Self::Read { source, .. } => source.io(),
            _ => None,
        };
        source.is_some_and(|source| matches!(source.kind(), StorageFull | QuotaExceeded))
    }
}

pub(super) fn is_damage(error: &TreeError) -> bool {
    use io::ErrorKind::{AlreadyExists, InvalidData, InvalidInput, NotFound, UnexpectedEof};
    error.io().is_none_or(|source| {
        matches!(
            source.kind(),
            InvalidData | NotFound | UnexpectedEof | AlreadyExists | InvalidInput
        )
    })
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(source) => write!(f, "a file of the disk tier: {source}"),
            Self::Tree(source) => write!(f, "the trees of the disk tier: {source}"),
            Self::Read { generation, source } => {
                write!(f, "generation {generation} of the disk tier: {source}")
            }
            Self::Quarantined(generation) => {
                write!(f, "generation {generation} of the disk tier is quarantined")
            }
            Self::Order => f.write_str("the keys of a run do not ascend"),
            Self::Size => f.write_str("a key or record of impossible size"),
            Self::Poisoned => f.write_str("the disk tier must be opened anew"),
            Self::Gone => f.write_str("its directory is gone, or another one has taken its place"),
            Self::Closed => f.write_str("the disk tier is closed"),
            Self::Busy => f.write_str("the disk tier's directory is in use"),
            Self::Open { dir, source } => {
                let dir = dir.display();
                write!(f, "cannot open the disk tier in tier-dir {dir}: {source}")
            }
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File(source) => Some(source),
            Self::Tree(source) | Self::Read { source, .. } => Some(source),
            Self::Open { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<TreeError> for StoreError {
    fn from(source: TreeError) -> Self {
        Self::Tree(source)
    }
}

impl From<io::Error> for StoreError {
    fn from(source: io::Error) -> Self {
        Self::File(source)
    }
}
