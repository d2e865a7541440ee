//! CLIENT: what a connection may ask of itself and of others.

use super::Command;

/// The rows of this family.
pub(super) const COMMANDS: &[Command] = &[];
