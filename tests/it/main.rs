//! One integration binary, a module per subject.
//!
//! `server` and `client` are the tools, the other modules are tests. Every test starts servers of
//! its own on free loopback ports and in a directory of its own, so that all run side by side.

mod blocking;
mod changes;
mod client;
mod clients;
mod differences;
mod differential;
mod generator;
mod interleaved;
mod large_values;
mod listening;
mod migration;
mod options;
mod pubsub;
mod robustness;
mod scripts;
mod server;
mod shutdown;
mod tier;
mod warming;
