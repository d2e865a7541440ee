//! Where the servers that Strata is compared with answer otherwise than it does, with good reason: one row each.
//!
//! What no two servers would answer alike (ids, times, the order of tables) is in `normalise` of `differential.rs`.

use crate::client::Reply;
use crate::generator::Request;
use crate::server::{Redis, Server, Valkey};

/// A server that Strata is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Other {
    /// Redis 8.10.
    Redis8,
    /// Valkey 9.1.
    Valkey9,
    /// The installed redis-server, 7.0.15 in Debian 12: where the newer ones cannot be had.
    Redis7,
}

impl Other {
    /// Redis, as new as can be had.
    pub(crate) const REDIS: Self = Self::Redis8;

    /// Starts it. `None` where it cannot be had and nothing stands for it.
    pub(crate) fn start(self, args: &[&str]) -> Option<(Self, Server)> {
        match self {
            Self::Redis8 => Redis::newest(args)
                .map(|server| (self, server))
                .or_else(|| Self::Redis7.start(args)),
            Self::Valkey9 => Valkey::newest(args).map(|server| (self, server)),
            Self::Redis7 => Some((self, Redis::installed(args))),
        }
    }
}

/// A difference, and what takes it out of both replies.
struct Difference {
    of: &'static [Other],
    /// The command, `*` for all, `GEO` for those that begin so, and which of its requests and replies are meant.
    command: &'static str,
    when: fn(&Request, &[Reply; 2]) -> bool,
    level: fn(&mut [Reply; 2]),
    #[expect(dead_code, reason = "for whoever reads the table")]
    why: &'static str,
}

use Other::{Redis8, Valkey9};

const DIFFERENCES: &[Difference] = &[
    Difference {
        of: &[Redis8],
        command: "*",
        when: |_, replies| {
            let said = |reply: &Reply| reply.to_string();
            let tail = ", with args beginning with: ";
            said(&replies[1]) == said(&replies[0]).replace("'\"", &format!("'{tail}\""))
        },
        level: same,
        why: "8.10 leaves out that no arguments follow an unknown command; all others say so",
    },
    Difference {
        of: &[Redis8],
        command: "XINFO",
        when: |request, _| request.word(1) == "STREAM",
        level: |replies| {
            const NAMES: &[&str] = &[
                "idmp-duration",
                "idmp-maxsize",
                "pids-tracked",
                "iids-tracked",
                "iids-added",
                "iids-duplicates",
                "nacked-count",
            ];
            without(&mut replies[0], NAMES);
        },
        why: "what 8.6 and later add to streams",
    },
    Difference {
        of: &[Redis8],
        command: "OBJECT",
        when: |request, replies| {
            request.word(1) == "ENCODING"
                && replies[0].is_bulk(b"raw")
                && replies[1].is_bulk(b"embstr")
        },
        level: same,
        why: "8.2 and later have short strings with long keys in two pieces",
    },
    Difference {
        of: &[Redis8, Valkey9],
        command: "OBJECT",
        when: |request, replies| {
            let encodings = [replies[0].bytes(), replies[1].bytes()];
            request.word(1) == "ENCODING"
                && encodings == [Some(&b"quicklist"[..]), Some(b"listpack")]
        },
        level: same,
        why: "LSET and LINSERT that change nothing make a full packed list large there",
    },
    Difference {
        of: &[Valkey9],
        command: "OBJECT",
        when: |request, replies| {
            let is_string = |reply: &Reply| reply.is_bulk(b"raw") || reply.is_bulk(b"embstr");
            request.word(1) == "ENCODING" && replies.iter().all(is_string)
        },
        level: same,
        why: "Valkey embeds strings by the size of the whole entry",
    },
    Difference {
        of: &[Valkey9],
        command: "BITCOUNT",
        when: |request, replies| request.args.len() == 3 || replies.iter().all(Reply::is_error),
        level: same,
        why: "Valkey 8.1 counts from a start to the end, and looks at the unit before the end",
    },
    Difference {
        of: &[Valkey9],
        command: "BITPOS",
        when: |_, replies| replies.iter().all(Reply::is_error),
        level: same,
        why: "which of two faults is told",
    },
    Difference {
        of: &[Valkey9],
        command: "SCAN",
        when: |_, replies| replies[0].to_string().contains("unknown type name"),
        level: same,
        why: "Valkey refuses a type that there is not",
    },
    Difference {
        of: &[Valkey9],
        command: "XINFO",
        when: |_, _| true,
        level: |replies| {
            const NAMES: &[&str] = &["entries-read", "lag"];
            replies.iter_mut().for_each(|reply| without(reply, NAMES));
        },
        why: "in Valkey a group may have read more than there was, and lag behind by less than nothing",
    },
    Difference {
        of: &[Valkey9],
        command: "XREAD",
        when: |_, replies| {
            replies
                .iter()
                .all(|reply| reply.to_string().contains("Unbalanced"))
        },
        level: same,
        why: "the text does not know of +",
    },
    Difference {
        of: &[Valkey9],
        command: "GETEX",
        when: |_, replies| replies[0].is_error(),
        level: same,
        why: "Valkey looks at the time before the key",
    },
    Difference {
        of: &[Redis8, Valkey9],
        command: "ROLE",
        when: |_, replies| replies.iter().all(|reply| !reply.is_error()),
        level: same,
        why: "they have an offset at times though nothing is replicated",
    },
    Difference {
        of: &[Valkey9],
        command: "OBJECT",
        when: |request, replies| {
            let are = |n: usize, text| replies[n].to_string().contains(text);
            request.word(1) == "ENCODING" && are(0, "skiplist") && are(1, "listpack")
        },
        level: same,
        why: "what ZRANGESTORE makes is large in Valkey at times, however small it is; not in Redis 8",
    },
    Difference {
        of: &[Valkey9],
        command: "CLUSTER",
        when: |_, _| true,
        level: same,
        why: "KEYSLOT answers without a cluster",
    },
    Difference {
        of: &[Valkey9],
        command: "CLIENT",
        when: |_, replies| replies.iter().all(Reply::is_error),
        level: same,
        why: "filters of CLIENT KILL have texts of their own",
    },
    Difference {
        of: &[Valkey9],
        command: "COMMAND",
        when: |request, _| request.word(1) == "INFO",
        level: same,
        why: "rows differ in flags, tips and empty sets; they are compared with Redis's",
    },
    Difference {
        of: &[Valkey9],
        command: "COMMAND",
        when: |request, replies| {
            let asked = request.word(2);
            request.word(1).starts_with("GETKEYS")
                && ["XREAD", "XREADGROUP"].contains(&asked.as_str())
                && replies[1].is_error()
        },
        level: same,
        why: "Valkey takes what follows the word STREAMS, whatever options it follows",
    },
    Difference {
        of: &[Valkey9],
        command: "GEO",
        when: |_, replies| replies[0].to_string().contains("does not exist"),
        level: same,
        why: "the text for a member that is not there",
    },
    Difference {
        of: &[Valkey9],
        command: "GEO",
        when: |_, _| true,
        level: |replies| replies.iter_mut().for_each(rounded),
        why: "Valkey writes 17 decimals of coordinates",
    },
];

/// Takes out of both replies what may differ.
pub(crate) fn level(other: Other, request: &Request, replies: &mut [Reply; 2]) {
    let name = request.name();
    for row in DIFFERENCES {
        let is_meant = row.of.contains(&other)
            && (row.command == "*"
                || row.command == name
                || row.command == "GEO" && name.starts_with("GEO"));
        if is_meant && (row.when)(request, replies) {
            (row.level)(replies);
        }
    }
}

/// What is not asked of a server, because what it leaves behind would differ.
pub(crate) fn is_unasked(other: Other, request: &Request) -> bool {
    let name = request.name();
    // Valkey takes no hexadecimal number and no space before one.
    let is_c_number = |arg: &Vec<u8>| {
        let text = String::from_utf8_lossy(arg).to_ascii_lowercase();
        let text = text.trim_start_matches(['(', '+', '-']);
        text.starts_with("0x") || text.starts_with(' ')
    };
    // LIMIT with a negative offset is nothing in Redis and no limit in Valkey.
    let has_limit = request
        .args
        .iter()
        .any(|arg| arg.eq_ignore_ascii_case(b"LIMIT"));
    let is_negative = |arg: &Vec<u8>| arg.starts_with(b"-");
    let (mut args, mut others) = (request.args.iter().skip(1), request.args.iter());
    other == Valkey9
        && name.starts_with(['Z', 'G', 'B'])
        && (args.any(is_c_number) || has_limit && others.any(is_negative))
}

/// Numbers with 12 decimals.
fn rounded(reply: &mut Reply) {
    let round = |text: &str| {
        let number: f64 = text.parse().ok().filter(|_| text.contains('.'))?;
        Some(format!("{number:.12}"))
    };
    match reply {
        Reply::Bulk(bytes) => {
            if let Some(text) = std::str::from_utf8(bytes).ok().and_then(round) {
                *bytes = text.into_bytes();
            }
        }
        Reply::Double(text) => *text = round(text).unwrap_or_else(|| text.clone()),
        Reply::Array(items) => items.iter_mut().for_each(rounded),
        _ => {}
    }
}

/// Both are taken as they are.
fn same(replies: &mut [Reply; 2]) {
    replies[0] = replies[1].clone();
}

/// Takes pairs of these names out of maps and the arrays that stand for them.
fn without(reply: &mut Reply, names: &[&str]) {
    let is_named = |reply: &Reply| names.iter().any(|name| reply.is_bulk(name.as_bytes()));
    match reply {
        Reply::Array(items) => {
            while let Some(at) = items.iter().position(is_named) {
                items.drain(at..(at + 2).min(items.len()));
            }
            items.iter_mut().for_each(|item| without(item, names));
        }
        Reply::Map(pairs) => {
            pairs.retain(|(name, _)| !is_named(name));
            pairs
                .iter_mut()
                .for_each(|(_, value)| without(value, names));
        }
        _ => {}
    }
}

/// What 7.0 answers otherwise than later servers: not asked of it.
#[rustfmt::skip]
pub(crate) const CHANGED_SINCE_7_0: &[&str] = &[
    "BITCOUNT", "BITPOS", "BLPOP", "BLMPOP", "BLMOVE", "BRPOPLPUSH", "BZPOPMIN", "BZMPOP", "CLIENT", "COMMAND", "GEOADD",
    "GEOPOS", "GEOSEARCH", "GEORADIUS", "GEORADIUSBYMEMBER", "HELLO", "HSCAN", "OBJECT", "LPOS", "SCAN", "SSCAN", "XINFO", "XREAD",
    "XREADGROUP", "XSETID", "ZADD", "ZSCAN", "ZINCRBY",
];

/// Whose arguments COMMAND DOCS of Redis 8.10 gives other names than 7.0, or more of them.
#[rustfmt::skip]
pub(crate) const OTHER_ARGUMENTS: &[&str] = &[
    "setex", "psetex", "setnx", "mset", "msetnx", "flushdb", "flushall", "bitcount", "bitpos", "bitop", "bitfield", "bitfield_ro", "hello", "hset",
    "hmset", "zadd", "zrange", "zrangestore", "zrangebyscore", "zrevrangebyscore", "zrangebylex", "zrevrangebylex", "zunion", "zinter", "zunionstore",
    "zinterstore", "sort", "sort_ro", "xadd", "xtrim", "xread", "xreadgroup", "xclaim", "xautoclaim", "xpending", "geoadd", "geopos",
    "geohash", "geosearch", "geosearchstore", "georadius", "georadius_ro", "georadiusbymember", "georadiusbymember_ro", "xgroup", "config", "lcs", "pfmerge", "quit", "hscan", "xsetid", "xinfo",
];
