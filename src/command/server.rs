//! Commands about the server.

use super::Command;

/// The rows of this family.
pub(super) const COMMANDS: &[Command] = &[];
