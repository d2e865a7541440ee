//! Bit operations on strings.

use super::Command;

/// The rows of this family.
pub(super) const COMMANDS: &[Command] = &[];
