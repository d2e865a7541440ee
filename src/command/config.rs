//! CONFIG: the options in force.

use super::Command;

/// The rows of this family.
pub(super) const COMMANDS: &[Command] = &[];
