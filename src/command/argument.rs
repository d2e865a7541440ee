//! Short ways to write the arguments of a row, each an [`Argument`] or something added to one.

use super::Argument;

/// The key of a command that has one, in its only key spec.
pub(super) const KEY: Argument = key("key", 0);

/// A key, and its key spec.
pub(super) const fn key(name: &'static str, key_spec: usize) -> Argument {
    Argument {
        key_spec: Some(key_spec),
        ..Argument::new(name, "key")
    }
}

/// A word that stands for itself.
pub(super) const fn word(name: &'static str, token: &'static str) -> Argument {
    after(token, Argument::new(name, "pure-token"))
}

/// One of several.
pub(super) const fn oneof(name: &'static str, arguments: &'static [Argument]) -> Argument {
    Argument {
        arguments,
        ..Argument::new(name, "oneof")
    }
}

/// Several in a row.
pub(super) const fn block(name: &'static str, arguments: &'static [Argument]) -> Argument {
    Argument {
        arguments,
        ..Argument::new(name, "block")
    }
}

/// An argument with a word before it.
pub(super) const fn after(token: &'static str, argument: Argument) -> Argument {
    Argument {
        token: Some(token),
        ..argument
    }
}

/// An argument that came later than the command.
pub(super) const fn since(version: &'static str, argument: Argument) -> Argument {
    Argument {
        since: Some(version),
        ..argument
    }
}

/// An argument that may be left out.
pub(super) const fn optional(argument: Argument) -> Argument {
    flagged(&["optional"], argument)
}

/// An argument that may be repeated.
pub(super) const fn multiple(argument: Argument) -> Argument {
    flagged(&["multiple"], argument)
}

/// An argument with any flags.
pub(super) const fn flagged(flags: &'static [&'static str], argument: Argument) -> Argument {
    Argument { flags, ..argument }
}
