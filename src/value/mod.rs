//! The data types as plain structures, and the pure arithmetic of the commands over them.
//!
//! Everything here works on byte slices and numbers and agrees with Redis 7.0 to the byte. It must not know keys,
//! replies, clients, time or randomness: those come in as arguments.
//!
//! Invariant: no function here panics on bytes from a client, whatever they are.

pub mod bits;
mod changes;
pub mod collection;
mod double;
pub mod field_table;
pub mod fields;
mod frozen;
pub mod geo;
pub mod glob;
pub mod hash;
pub mod hll;
pub mod intset;
pub mod large;
pub mod lcs;
pub mod list;
pub mod listpack;
mod long_double;
pub mod member_table;
pub mod number;
pub mod rdb;
pub mod recycled;
pub mod segments;
pub mod set;
pub mod shared;
pub mod sorted_set;
pub mod stream;
pub mod value_type;
pub mod zset;
