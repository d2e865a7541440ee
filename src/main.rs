//! Strata.
fn main() {}
