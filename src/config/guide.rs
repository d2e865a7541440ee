//! The environment names that the guide's deployments use, translated into options.
//!
//! A name that is one option with the same meaning is an `env_aliases` of its row; here are those that need a translation,
//! and those whose capability this version does not have. The latter only warn: such names (REDIS_URL above all) are common
//! on hosts that run other things too, and a start error would be wrong there.

use super::kinds::parse_bytes;

/// What a name of the guide becomes.
pub(super) enum Meaning {
    /// An option and its value.
    Option(&'static str, String),
    /// Nothing, because the option already does this.
    Nothing,
    /// Not in this version.
    Unsupported,
    /// A wrong value, and what is allowed.
    Wrong(&'static str),
}

/// The guide's names that have no row.
const UNSUPPORTED: &[&str] = &[
    "REDIS_URL",
    "MAX_CONCURRENT_TASKS",
    "THROTTLE_RATE",
    "TASK_TIMEOUT",
    "ENABLE_METRICS",
];

/// The meaning of an environment variable, or none when the guide has no such name.
pub(super) fn meaning(name: &str, value: &str) -> Option<Meaning> {
    match name {
        "CACHE_MEMORY_SIZE" => Some(memory_size(value)),
        "CACHE_DISK_SIZE" => Some(disk_size(value)),
        "ENABLE_COMPRESSION" => Some(match truth(value) {
            Some(true) => Meaning::Nothing,
            Some(false) => Meaning::Option("tier-compression", "none".to_owned()),
            None => Meaning::Wrong("argument must be 'yes' or 'no'"),
        }),
        "ENABLE_STRUCTURED_LOGGING" => Some(match truth(value) {
            Some(true) => Meaning::Option("log-format", "json".to_owned()),
            Some(false) => Meaning::Nothing,
            None => Meaning::Wrong("argument must be 'yes' or 'no'"),
        }),
        _ if UNSUPPORTED.contains(&name) => Some(Meaning::Unsupported),
        _ => None,
    }
}

/// A bare number counts entries; with a unit it is bytes; with `%` it is a share of the machine or container.
fn memory_size(value: &str) -> Meaning {
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        Meaning::Option("max-entries", value.to_owned())
    } else if value.ends_with('%') || parse_bytes(value).is_some() {
        Meaning::Option("maxmemory", value.to_owned())
    } else {
        Meaning::Wrong(
            "argument must be a number of entries, a size such as 1gb, or a share such as 40%",
        )
    }
}

/// A bare number counts MB; with a unit it is bytes.
fn disk_size(value: &str) -> Meaning {
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        Meaning::Option("tier-max-bytes", format!("{value}mb"))
    } else if parse_bytes(value).is_some() {
        Meaning::Option("tier-max-bytes", value.to_owned())
    } else {
        Meaning::Wrong("argument must be a number of MB, or a size such as 10gb")
    }
}

/// The ways in which environments write a boolean.
fn truth(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "yes" | "true" | "on" | "1" => Some(true),
        "no" | "false" | "off" | "0" => Some(false),
        _ => None,
    }
}
