//! COMMAND: what the server knows of its own commands.

use super::Command;

/// The rows of this family.
pub(super) const COMMANDS: &[Command] = &[];
