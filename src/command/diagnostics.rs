//! What the server tells about itself when something is wrong: memory, slow commands, latency, and
//! what test suites need.

mod debug;
mod digest;
mod graph;
mod latency;
mod memory;
mod slowlog;

use super::Command;
use crate::error::CommandError;

/// The rows of this family.
pub(super) const COMMANDS: &[Command] = &[
    memory::MEMORY,
    slowlog::SLOWLOG,
    latency::LATENCY,
    debug::DEBUG,
];

/// Bytes of a subcommand's name that an error repeats.
const NAME_BYTES_MAX: usize = 128;

/// The error where a subcommand, or the number of its arguments, is not known.
fn unknown_form(container: &str, name: &[u8]) -> CommandError {
    CommandError::with_word(
        "ERR unknown subcommand or wrong number of arguments for '",
        &name[..name.len().min(NAME_BYTES_MAX)],
        &format!("'. Try {container} HELP."),
    )
}
