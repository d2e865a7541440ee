//! Strata: a cache server that speaks the Redis protocol.
//!
//! # The life of a request
//!
//! ```text
//! bytes -> parse a batch -> rows and keys -> lock shards -> residency -> run -> effects -> replies in one write
//! ```
//!
//! * [`net`] reads what has arrived on a connection and sends what was answered.
//! * [`resp`] turns bytes into a batch of requests, and replies into bytes. It knows no command.
//! * [`dispatch`] takes the batch through its steps: each request's row, the keys' memory fetched ahead, the checks, the
//!   locks, the run, the account.
//! * [`command`] has one row and one function for each command, a file for each family.
//! * [`keyspace`] holds the keys: shards, table, entries, expiry, eviction; and the one place where changes are noted.
//! * [`value`] has the data types as plain structures, and the arithmetic of commands over them.
//! * [`tier`] is the seam below the keyspace: what must be fetched before a batch can run.
//! * [`engine`] is keyspace, tiers and options as one, with the room that there is: what every thread that touches keys works with.
//! * [`server`] is what all connections share besides: clients, statistics, logs.
//! * [`config`] holds the options: one row each, read from flags, environment and file into one typed snapshot, changed by
//!   CONFIG SET and written back by CONFIG REWRITE.
//! * [`script`] is the Lua state: what scripts find in it, and how one runs. The thread of scripts in [`dispatch`] runs their commands.
//! * [`allocator`] knows what memory costs. [`logging`] is the log, [`pidfile`], [`umask`] and [`healthcheck`] are for who starts the server. [`threads`] starts threads. [`descriptors`] divides those of files. [`clock`] is the only reader of the system clock; [`random`] the one generator of numbers by chance; [`error`] has what a client is told when a command fails;
//!   [`lz4`] compresses values, in memory and on disk.
//!
//! # What always holds
//!
//! Invariant: no lock is held over an `await`; several shards are locked by one function only.
//! Invariant: no client can make the server panic, hang, or grow without bound.
//! Invariant: every number that INFO shows is counted where it happens, once.

pub mod allocator;
pub mod clock;
pub mod command;
pub mod config;
pub mod descriptors;
pub mod dispatch;
pub mod engine;
mod equality;
pub mod error;
pub mod healthcheck;
pub mod keyspace;
pub mod logging;
pub mod lz4;
pub mod net;
pub mod pidfile;
pub mod random;
pub mod resp;
pub mod script;
pub mod server;
#[cfg(test)]
mod testing;
pub mod threads;
pub mod tier;
pub mod umask;
pub mod value;
