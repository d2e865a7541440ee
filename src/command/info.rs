//! INFO: the state of the server in text.

use super::Command;

/// The rows of this family.
pub(super) const COMMANDS: &[Command] = &[];
