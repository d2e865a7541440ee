//! What has changed of commands since they came, for COMMAND DOCS: the versions are those of Redis.

/// Of each command, by its full name: the version, and what it brought.
const HISTORY: &[(&str, &[(&str, &str)])] = &[
    ("auth", &[("6.0.0", "A user name before the password.")]),
    ("bgsave", &[("3.2.2", "`SCHEDULE`.")]),
    ("bitcount", &[("7.0.0", UNITS)]),
    ("bitpos", &[("7.0.0", UNITS)]),
    ("blpop", &[("6.0.0", PARTS_OF_SECONDS)]),
    ("brpop", &[("6.0.0", PARTS_OF_SECONDS)]),
    ("brpoplpush", &[("6.0.0", PARTS_OF_SECONDS)]),
    ("bzpopmax", &[("6.0.0", PARTS_OF_SECONDS)]),
    ("bzpopmin", &[("6.0.0", PARTS_OF_SECONDS)]),
    (
        "client|kill",
        &[
            ("2.8.12", "Connections are chosen by filters."),
            ("2.8.12", "`ID`."),
            ("3.2.0", "`TYPE master`."),
            (
                "5.0.0",
                "`TYPE replica`, for which `slave` still stands too.",
            ),
            ("6.2.0", "`LADDR`."),
        ],
    ),
    (
        "client|list",
        &[
            ("2.8.12", "The field `id`."),
            ("5.0.0", "`TYPE`."),
            ("6.0.0", "The field `user`."),
            (
                "6.2.0",
                "`ID`, and the fields `argv-mem`, `tot-mem`, `laddr` and `redir`.",
            ),
            ("7.0.0", "The fields `resp`, `multi-mem`, `rbs` and `rbp`."),
            ("7.0.3", "The field `ssub`."),
        ],
    ),
    ("client|pause", &[("6.2.0", "`WRITE` and `ALL`.")]),
    ("cluster|meet", &[("4.0.0", "The port of the cluster bus.")]),
    (
        "cluster|slots",
        &[
            ("4.0.0", "Ids of nodes."),
            ("7.0.0", "Further addresses of nodes."),
        ],
    ),
    (
        "command|info",
        &[("7.0.0", "Without names it tells of all commands.")],
    ),
    ("config|get", &[("7.0.0", "More than one pattern.")]),
    ("config|set", &[("7.0.0", "More than one option.")]),
    ("exists", &[("3.0.3", "More than one key.")]),
    ("expire", &[("7.0.0", EXPIRY_CONDITIONS)]),
    ("expireat", &[("7.0.0", EXPIRY_CONDITIONS)]),
    ("flushall", &[("4.0.0", "`ASYNC`."), ("6.2.0", "`SYNC`.")]),
    ("flushdb", &[("4.0.0", "`ASYNC`."), ("6.2.0", "`SYNC`.")]),
    ("geoadd", &[("6.2.0", "`CH`, `NX` and `XX`.")]),
    (
        "georadius",
        &[("6.2.0", "`COUNT ... ANY`."), ("7.0.0", UPPERCASE_UNITS)],
    ),
    ("georadius_ro", &[("6.2.0", "`COUNT ... ANY`.")]),
    ("georadiusbymember", &[("7.0.0", UPPERCASE_UNITS)]),
    ("geosearch", &[("7.0.0", UPPERCASE_UNITS)]),
    ("geosearchstore", &[("7.0.0", UPPERCASE_UNITS)]),
    ("hdel", &[("2.4.0", "More than one field.")]),
    (
        "hello",
        &[(
            "6.2.0",
            "Without a version it only tells of the connection.",
        )],
    ),
    ("hset", &[("4.0.0", "More than one field with its value.")]),
    ("info", &[("7.0.0", "More than one section.")]),
    ("lpop", &[("6.2.0", COUNT)]),
    ("lpush", &[("2.4.0", ELEMENTS)]),
    ("lpushx", &[("4.0.0", ELEMENTS)]),
    (
        "migrate",
        &[
            ("3.0.0", "`COPY` and `REPLACE`."),
            ("3.0.6", "`KEYS`."),
            ("4.0.7", "`AUTH`."),
            ("6.0.0", "`AUTH2`."),
        ],
    ),
    ("pexpire", &[("7.0.0", EXPIRY_CONDITIONS)]),
    ("pexpireat", &[("7.0.0", EXPIRY_CONDITIONS)]),
    ("pttl", &[("2.8.0", NO_KEY)]),
    ("renamenx", &[("3.2.0", "Both names may be the same.")]),
    ("restore", RESTORE),
    ("restore-asking", RESTORE),
    ("rpop", &[("6.2.0", COUNT)]),
    ("rpush", &[("2.4.0", ELEMENTS)]),
    ("rpushx", &[("4.0.0", ELEMENTS)]),
    ("sadd", &[("2.4.0", MEMBERS)]),
    ("scan", &[("6.0.0", "`TYPE`.")]),
    (
        "set",
        &[
            ("2.6.12", "`EX`, `PX`, `NX` and `XX`."),
            ("6.0.0", "`KEEPTTL`."),
            ("6.2.0", "`GET`, `EXAT` and `PXAT`."),
            ("7.0.0", "`NX` and `GET` together."),
        ],
    ),
    ("shutdown", &[("7.0.0", "`NOW`, `FORCE` and `ABORT`.")]),
    (
        "slowlog|get",
        &[("4.0.0", "Address and name of the client.")],
    ),
    ("spop", &[("3.2.0", COUNT)]),
    ("srandmember", &[("2.6.0", COUNT)]),
    ("srem", &[("2.4.0", MEMBERS)]),
    ("ttl", &[("2.8.0", NO_KEY)]),
    (
        "xadd",
        &[
            (
                "6.2.0",
                "`NOMKSTREAM`, and trimming by `MINID` and with `LIMIT`.",
            ),
            (
                "7.0.0",
                "Ids of which only the milliseconds are given: `<ms>-*`.",
            ),
        ],
    ),
    (
        "xautoclaim",
        &[(
            "7.0.0",
            "The reply tells of entries that do not exist any more.",
        )],
    ),
    ("xgroup|create", &[("7.0.0", "`ENTRIESREAD`.")]),
    ("xgroup|setid", &[("7.0.0", "`ENTRIESREAD`.")]),
    ("xinfo|groups", &[("7.0.0", "`entries-read` and `lag`.")]),
    (
        "xinfo|stream",
        &[
            ("6.0.0", "`FULL`."),
            (
                "7.0.0",
                "`max-deleted-entry-id`, `entries-added`, `recorded-first-entry-id`, and `entries-read` and `lag` of groups.",
            ),
        ],
    ),
    (
        "xpending",
        &[("6.2.0", "`IDLE`, and ranges without their ends.")],
    ),
    ("xrange", &[("6.2.0", EXCLUSIVE)]),
    ("xrevrange", &[("6.2.0", EXCLUSIVE)]),
    ("xsetid", &[("7.0.0", "`ENTRIESADDED` and `MAXDELETEDID`.")]),
    ("xtrim", &[("6.2.0", "`MINID` and `LIMIT`.")]),
    (
        "zadd",
        &[
            ("2.4.0", MEMBERS),
            ("3.0.2", "`XX`, `NX`, `CH` and `INCR`."),
            ("6.2.0", "`GT` and `LT`."),
        ],
    ),
    (
        "zrange",
        &[("6.2.0", "`REV`, `BYSCORE`, `BYLEX` and `LIMIT`.")],
    ),
    ("zrangebyscore", &[("2.0.0", "`WITHSCORES`.")]),
    ("zrem", &[("2.4.0", MEMBERS)]),
    ("zrevrangebyscore", &[("2.1.6", EXCLUSIVE)]),
];

const RESTORE: &[(&str, &str)] = &[
    ("3.0.0", "`REPLACE`."),
    ("5.0.0", "`ABSTTL`."),
    ("5.0.0", "`IDLETIME` and `FREQ`."),
];
const COUNT: &str = "How many.";
const ELEMENTS: &str = "More than one element.";
const EXCLUSIVE: &str = "Ranges without their ends.";
const EXPIRY_CONDITIONS: &str = "`NX`, `XX`, `GT` and `LT`.";
const MEMBERS: &str = "More than one member.";
const NO_KEY: &str = "-2 where there is no key.";
const PARTS_OF_SECONDS: &str = "The timeout may have a fraction.";
const UNITS: &str = "`BYTE` and `BIT`.";
const UPPERCASE_UNITS: &str = "Units in upper case.";

/// What has changed of a command, by its full name.
pub(super) fn of(full_name: &str) -> &'static [(&'static str, &'static str)] {
    let found = HISTORY.binary_search_by_key(&full_name, |(name, _)| name);
    found.map_or(&[], |at| HISTORY[at].1)
}

#[cfg(test)]
mod tests {
    use super::super::super::table::table;
    use super::*;

    #[test]
    fn names_are_in_order_and_of_commands() {
        assert!(HISTORY.is_sorted_by_key(|(name, _)| name));
        for (name, versions) in HISTORY {
            assert!(table().find_full(name.as_bytes()).is_some(), "{name}");
            assert!(!versions.is_empty() && of(name) == *versions);
        }
        assert!(of("nosuch").is_empty());
    }
}
