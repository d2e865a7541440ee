//! The keyspace.
pub mod entry;
pub mod table;
