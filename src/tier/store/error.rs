//! What can go wrong in the store.

use std::fmt;
use std::io;

/// An error of the store. A failed read is one of these, never "no such key".
#[derive(Debug)]
pub enum StoreError {
    /// One of the store's own files could not be read or written.
    File(io::Error),
    /// The database below failed.
    Database(fjall::Error),
    /// A generation could not be read.
    Read {
        /// The generation, for [`quarantine`](super::Store::quarantine).
        generation: u64,
        /// What the database said.
        source: fjall::Error,
    },
    /// The generation that a run wrote to was quarantined meanwhile: what the run wrote is gone.
    Quarantined(u64),
    /// The keys of a run must ascend.
    Order,
    /// A key has 4 to 65,535 bytes, a record at least one and less than 4 GiB.
    Size,
    /// The store is closed, or being reopened.
    Closed,
    /// Another process, or an iterator of this one, holds the directory.
    Busy,
}

impl StoreError {
    /// Whether bytes on disk are not what was written, so that trying again is useless.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Database(source) | Self::Read { source, .. } => is_damage(source),
            _ => false,
        }
    }

    /// Whether the disk is full, or was when a write failed, after which the database takes no more.
    pub fn is_poison(&self) -> bool {
        match self {
            Self::File(source) => is_full(source),
            Self::Database(fjall::Error::Poisoned) => true,
            Self::Database(source) => io_source(source).is_some_and(is_full),
            _ => false,
        }
    }

    pub(super) fn of_open(source: fjall::Error) -> Self {
        match source {
            fjall::Error::Locked => Self::Busy,
            source => Self::Database(source),
        }
    }
}

fn is_full(source: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(source.kind(), StorageFull | QuotaExceeded)
}

fn io_source(error: &fjall::Error) -> Option<&io::Error> {
    match error {
        fjall::Error::Io(source) | fjall::Error::Storage(fjall::LsmError::Io(source)) => {
            Some(source)
        }
        _ => None,
    }
}

pub(super) fn is_damage(error: &fjall::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, InvalidData, InvalidInput, NotFound, UnexpectedEof};
    match io_source(error) {
        // fjall makes a new database where the file of its version is gone, and stumbles over the old one's files; and
        // it maps files into memory, which an empty one refuses.
        Some(source) => matches!(
            source.kind(),
            InvalidData | NotFound | UnexpectedEof | AlreadyExists | InvalidInput
        ),
        None => !matches!(
            error,
            fjall::Error::Poisoned | fjall::Error::KeyspaceDeleted | fjall::Error::Locked
        ),
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(source) => write!(f, "a file of the disk tier: {source}"),
            Self::Database(source) => write!(f, "the database of the disk tier: {source}"),
            Self::Read { generation, source } => {
                write!(f, "generation {generation} of the disk tier: {source}")
            }
            Self::Quarantined(generation) => {
                write!(f, "generation {generation} of the disk tier is quarantined")
            }
            Self::Order => f.write_str("the keys of a run do not ascend"),
            Self::Size => f.write_str("a key or record of impossible size"),
            Self::Closed => f.write_str("the disk tier is closed"),
            Self::Busy => f.write_str("the disk tier's directory is in use"),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File(source) => Some(source),
            Self::Database(source) | Self::Read { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<io::Error> for StoreError {
    fn from(source: io::Error) -> Self {
        Self::File(source)
    }
}
