//! The data types as plain structures, and the pure arithmetic of the commands over them.
//!
//! Everything here works on byte slices and numbers and agrees with Redis 7.0 to the byte. It must not know keys,
//! replies, clients, time or randomness: those come in as arguments.
//!
//! Invariant: no function here panics on bytes from a client, whatever they are.

pub mod bits;
pub mod glob;
pub mod hll;
pub mod lcs;
mod long_double;
pub mod number;
