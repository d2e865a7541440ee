//! What the writer takes of the entries that are to be written.

use super::{Place, Stored};
use crate::keyspace::KeyHash;
use crate::value::large::FrozenLength;

/// An entry as the writer takes it.
#[derive(Clone, Copy, Debug)]
pub struct Picked<'a> {
    /// Its place in the order of keys below.
    pub place: Place,
    /// Its key's hash.
    pub hash: KeyHash,
    /// The name below of the space that it belongs to.
    pub name: u32,
    /// The key.
    pub key: &'a [u8],
    /// The value and its form; `None` for a tombstone, and for what is for memory only.
    pub value: Option<Stored<'a>>,
    /// How it is taken if it is a large collection of some size; then its bytes are not here.
    pub large: Option<PickedLarge<'a>>,
    /// Whether an older version may be counted as below.
    pub unverified: bool,
}

/// A large collection as the writer takes it.
#[derive(Clone, Copy, Debug)]
pub struct PickedLarge<'a> {
    /// This version of it.
    pub version: u64,
    /// What is taken.
    pub taken: TakenPart<'a>,
}

/// What the writer takes of a large collection.
#[derive(Clone, Copy, Debug)]
pub enum TakenPart<'a> {
    /// All of it, which is to be copied in steps.
    All(FrozenLength),
    /// What has changed since a version that it had before, which is to be copied in steps.
    ChangesInSteps {
        /// That version.
        since: u64,
        /// What the copy will be.
        length: FrozenLength,
    },
    /// The same where it is little.
    Changes {
        /// That version.
        since: u64,
        /// The changes.
        bytes: &'a [u8],
    },
}

/// Numbers of the versions of large collections.
#[derive(Debug)]
pub struct Versions {
    last: u64,
    /// Whether what is taken is followed: changes are told since this version from now on.
    pub follow: bool,
    /// Whether all of a collection is taken even where its changes are known.
    pub whole: bool,
}

impl Versions {
    /// Those behind a number.
    pub fn behind(last: u64) -> Self {
        Self {
            last,
            follow: true,
            whole: false,
        }
    }

    /// Another one than all before.
    pub fn another(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}
