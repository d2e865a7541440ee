//! Compression of values for the disk tier: a value becomes its smallest sensible form, and a value again.
//!
//! Owns the forms and their bytes ([`Encoded`]), the compressor of the writer thread ([`Compressor`]), and the dictionaries,
//! which all threads share ([`Dictionaries`]). Must not know the keyspace, the store, or commands. The only place that knows
//! zstd; lz4 is in `lz4.rs`.
//!
//! ```text
//! writer   key, value -> class -> form -> header and payload         one Compressor
//!                          |
//!                          +- samples -> training -> dictionary file    a short-lived thread, one at a time
//! readers  header and payload -> value                               Dictionaries::decode, on any thread
//! ```
//!
//! # Why dictionaries
//!
//! Caches hold small values that resemble each other. Alone, a JSON of 300 bytes shrinks to 80 %, for all that repeats
//! repeats in other values; with 16 KiB of what its class has in common it shrinks to 25 %, and faster. So values are sorted
//! into classes by the beginning of their keys, and each class learns its own dictionary from its own values.
//!
//! Invariant: a dictionary is durable on disk before the first value is encoded with it.
//! Invariant: an id of a dictionary is never given twice, not even after a restart.
//! Invariant: no bytes make decoding panic, or allocate more than the limit of the caller.
//! Invariant: memory is bounded whatever the keys and values are: classes, samples and prepared dictionaries each have a limit.

mod classes;
mod codec;
mod compressor;
#[cfg(test)]
mod datasets;
mod dictionaries;
mod encoder;
#[cfg(test)]
mod tests;
mod training;

pub use classes::ClassStats;
pub use codec::{DecodeError, Encoded, Form};
pub use compressor::{Compressor, Method, encode_raw};
pub use dictionaries::{DamagedFile, Dictionaries, Dictionary};
