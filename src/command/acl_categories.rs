//! The ACL categories of a command, in COMMAND INFO and COMMAND LIST.
//!
//! Most follow from what a row says anyway, its flags and its group; a row names only the others.

use super::{Command, Flags, Group};

/// All categories, in the order in which Redis tells them.
pub(super) const ALL: &[&str] = &[
    "@keyspace",
    "@read",
    "@write",
    "@set",
    "@sortedset",
    "@list",
    "@hash",
    "@string",
    "@bitmap",
    "@hyperloglog",
    "@geo",
    "@stream",
    "@pubsub",
    "@admin",
    "@fast",
    "@slow",
    "@blocking",
    "@dangerous",
    "@connection",
    "@transaction",
    "@scripting",
];

/// A row of the generic family that names one of these is no command of the keyspace: SORT, WAIT.
const SUBJECTS: &[&str] = &["@set", "@sortedset", "@list", "@connection"];

/// The categories of a command.
pub(super) fn of(command: &Command) -> impl Iterator<Item = &'static str> {
    ALL.iter()
        .copied()
        .filter(|category| command.categories.contains(category) || follows(command, category))
}

/// Whether a category follows from the flags and the group.
fn follows(command: &Command, category: &str) -> bool {
    let has = |flag| command.flags.has(flag);
    match category {
        "@read" => has(Flags::READONLY) && !command.categories.contains(&"@scripting"),
        "@write" => has(Flags::WRITE),
        "@admin" | "@dangerous" => has(Flags::ADMIN),
        "@pubsub" => has(Flags::PUBSUB),
        "@blocking" => has(Flags::BLOCKING),
        "@fast" => has(Flags::FAST),
        "@slow" => !has(Flags::FAST),
        _ => of_group(command) == Some(category),
    }
}

/// What the group says. A container does nothing itself, so it says nothing of a container.
fn of_group(command: &Command) -> Option<&'static str> {
    if !command.subcommands.is_empty() {
        return None;
    }
    match command.group {
        Group::Generic => {
            let other = command.categories.iter().any(|c| SUBJECTS.contains(c));
            (!other).then_some("@keyspace")
        }
        Group::String => Some("@string"),
        Group::Bitmap => Some("@bitmap"),
        Group::HyperLogLog => Some("@hyperloglog"),
        Group::List => Some("@list"),
        Group::Set => Some("@set"),
        Group::SortedSet => Some("@sortedset"),
        Group::Geo => Some("@geo"),
        Group::Hash => Some("@hash"),
        Group::Stream => Some("@stream"),
        Group::Connection => Some("@connection"),
        Group::Transactions => Some("@transaction"),
        Group::Scripting => Some("@scripting"),
        // That of the first follows from a flag.
        Group::PubSub | Group::Server | Group::Cluster => None,
    }
}
