//! Residency: what must be fetched from a lower tier before a batch of commands can run.

use crate::keyspace::KeyHash;

/// Where keys can be.
#[derive(Clone, Copy, Debug, Default)]
pub enum Residency {
    /// In memory or nowhere: there is no lower tier, and nothing is ever waited for.
    #[default]
    MemoryOnly,
}

/// Fetches under way. Without a lower tier there are none, which this type, having no value, proves to the compiler.
#[derive(Debug)]
pub enum Loads {}

impl Residency {
    /// What must be fetched before commands over these keys can run; nothing in the normal case.
    #[inline]
    pub fn missing(self, _keys: &[KeyHash]) -> Option<Loads> {
        match self {
            Self::MemoryOnly => None,
        }
    }
}
