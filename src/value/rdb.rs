//! The serialised form of values: Redis's RDB encoding. DUMP and RESTORE have it, and files that servers save; large
//! collections lie on disk in it.
//!
//! ```text
//! length   00xxxxxx | 01xxxxxx +1 (big-endian) | 10000000 +4 (big-endian) | 10000001 +8 (big-endian)
//! text     length, bytes | 11000000 +1, 11000001 +2, 11000010 +4: an integer | 11000011, length compressed, length, LZF
//! list     length, then for each node: 2, and a text: its listpack         (type 18)
//! set      length, then a text for each member                             (type 2)
//! zset     length, then a text for each member and its score (8)           (type 5)
//! hash     length, then a text for each field and for its value            (type 4)
//! packed   a text: the bytes of the intset or listpack                     (types 11, 16, 17)
//! ```
//!
//! Invariant: nothing is allocated for a length that the bytes do not have, and whatever they are, nothing panics.

mod file;
mod foreign;
pub(super) mod input;
mod kinds;
mod old;
mod payload;
mod read;
mod stream;
mod write;

pub use file::{FileReader, Key, Skipped};
pub use input::Fault;
pub use kinds::Dialect;
pub(super) use kinds::{NODE_PACKED, STREAM_LISTPACKS_3};
pub use payload::{Unsealed, seal, seal_for_valkey, unseal};
pub use read::{Limits, Value, read_value};
pub(super) use stream::{read_beside_nodes, read_stream, write_beside_nodes, write_stream};
pub(super) use write::ValueWriter;
pub use write::{ValueRef, write_valkey_hash, write_value};

#[cfg(test)]
mod file_tests;
#[cfg(test)]
mod tests;
