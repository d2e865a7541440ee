//! MEMORY, SLOWLOG, LATENCY, OBJECT-like looks into the server, and DEBUG.

use super::Command;

/// The rows of this family.
pub(super) const COMMANDS: &[Command] = &[];
