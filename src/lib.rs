//! Strata.
//!
//! [`config`] holds the options: one row each, read from flags, environment and file into one typed snapshot, changed by
//! CONFIG SET and written back by CONFIG REWRITE.

pub mod config;
