//! How far collections stay packed, by the options.

use crate::config::Config;
use crate::value::hash::PackedLimits;
use crate::value::list::NodeLimits;
use crate::value::rdb::Limits;
use crate::value::set::SetLimits;

/// `list-max-listpack-size`.
pub fn list(config: &Config) -> NodeLimits {
    NodeLimits::of_option(config.list_max_listpack_size)
}

/// `set-max-intset-entries` and `set-max-listpack-*`.
pub fn set(config: &Config) -> SetLimits {
    SetLimits {
        integers: config.set_max_intset_entries,
        packed: PackedLimits {
            entries: config.set_max_listpack_entries,
            bytes: config.set_max_listpack_value,
        },
    }
}

/// `zset-max-listpack-*`.
pub fn zset(config: &Config) -> PackedLimits {
    PackedLimits {
        entries: config.zset_max_listpack_entries,
        bytes: config.zset_max_listpack_value,
    }
}

/// `hash-max-listpack-*`.
pub fn hash(config: &Config) -> PackedLimits {
    PackedLimits {
        entries: config.hash_max_listpack_entries,
        bytes: config.hash_max_listpack_value,
    }
}

/// Those of all types, for values that are read from their serialised form.
pub fn all(config: &Config) -> Limits {
    Limits {
        list: list(config),
        set: set(config),
        zset: zset(config),
        hash: hash(config),
    }
}
