//! Strata.
//!
//! `value` holds the data types as plain structures and pure functions over bytes: number texts, globs, bit fields,
//! HyperLogLogs. It knows no key, reply, client or clock.

pub mod value;
