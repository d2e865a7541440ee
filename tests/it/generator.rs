//! Random commands, right and wrong, from a table of templates.
//!
//! A template is a command line in a small language:
//!
//! | form | means |
//! |---|---|
//! | `WORD` | itself, in random letter case |
//! | `<kind>` | a random argument of that kind, see [`argument`] |
//! | `{a \| b c}` | one of the alternatives |
//! | `[a \| b c]` | one of them, or nothing |
//! | `..*`, `..+` | the form before it 0 to 3 times, 1 to 4 times |
//!
//! The number before it is its weight. `!` after the number keeps the command as generated; all
//! others are now and then spoiled: an argument is dropped, doubled, swapped or replaced.
//!
//! Invariant: what is generated depends on the seed alone, never on a reply or on the clock.
//! Invariant: no generated deadline falls into the run, see [`is_unwanted`]; keys that expire
//! while the test watches are made by the differential test itself.

use crate::client::Shown;

/// The families of the first stage. A new command is a new line here. A line that begins with a
/// choice has no name for `STRATA_DIFF_ONLY` and `STRATA_DIFF_SKIP`: it counts for its first.
const TEMPLATES: &str = "
    40 SET <key> <value> [NX|XX|GET|KEEPTTL|EX <ttl>|PX <ttl-ms>|EXAT <at>|PXAT <at-ms>]*
    12 SET <key> <value>
    12 SET <key> <int>
    30 GET <key>
    10 GETEX <key> [EX <ttl>|PX <ttl-ms>|EXAT <at>|PXAT <at-ms>|PERSIST]*
    5 GETEX <key> {EXAT <at>|PX <ttl-ms>}
    6 GETEX <key> PERSIST
    12 SET <key> <value> {KEEPTTL|EX <ttl>|PX <ttl-ms>|EXAT <at>|PXAT <at-ms>} [NX|XX] [GET]
    6 GETDEL <key>
    6 GETSET <key> <value>
    5 SETEX <key> <ttl> <value>
    5 PSETEX <key> <ttl-ms> <value>
    5 SETNX <key> <value>
    8 MGET <key>+
    6 MSET {<key> <value>}+
    5 MSETNX {<key> <value>}+
    12 APPEND <key> <value>
    8 STRLEN <key>
    6 INCR <key>
    6 DECR <key>
    8 INCRBY <key> <int>
    8 DECRBY <key> <int>
    12 INCRBYFLOAT <key> <float>
    10 GETRANGE <key> <index> <index>
    4 SUBSTR <key> <index> <index>
    10 SETRANGE <key> <index> <value>
    4 SET <lcs-key> <short>
    3 MSET <lcs-key> <short> <lcs-key> <short>
    10 LCS <lcs-key> <lcs-key> [LEN|IDX|MINMATCHLEN <int>|WITHMATCHLEN]*

    8 DEL <key>+
    5 UNLINK <key>+
    8 EXISTS <key>+
    4 TOUCH <key>+
    10 EXPIRE <key> <ttl> [NX|XX|GT|LT]*
    10 PEXPIRE <key> <ttl-ms> [NX|XX|GT|LT]*
    10 EXPIREAT <key> <at> [NX|XX|GT|LT]*
    10 PEXPIREAT <key> <at-ms> [NX|XX|GT|LT]*
    12 {EXPIRE <key> <ttl>|PEXPIRE <key> <ttl-ms>|EXPIREAT <key> <at>|PEXPIREAT <key> <at-ms>} [NX|XX|GT|LT]
    6 TTL <key>
    6 PTTL <key>
    6 EXPIRETIME <key>
    6 PEXPIRETIME <key>
    6 PERSIST <key>
    6 TYPE <key>
    8 RENAME <key> <key>
    6 RENAMENX <key> <key>
    12 COPY <key> <key> [DB <db>|REPLACE]*
    6 MOVE <key> <db>
    3 SWAPDB <db> <db>
    4 RANDOMKEY
    4 KEYS <pattern>
    10 SCAN <cursor> [MATCH <pattern>|COUNT <count>|TYPE <type>]*
    8 OBJECT ENCODING <key>
    2 OBJECT REFCOUNT <key>
    1 OBJECT IDLETIME <key>
    1 OBJECT FREQ <key>
    1! OBJECT HELP
    2 OBJECT <junk> <key>*
    4 DBSIZE
    1 FLUSHDB [SYNC|ASYNC|<junk>]
    1 FLUSHALL [SYNC|ASYNC|<junk>]
    6 SELECT <db>

    16 SET <bit-key> <bits>
    16 SETBIT <bit-key> <bit-offset> <bit>
    12 GETBIT <bit-key> <bit-offset>
    12 BITCOUNT <bit-key> [<index> <index> [BIT|BYTE|<junk>]]
    14 BITPOS <bit-key> <bit> [<index> [<index> [BIT|BYTE|<junk>]]]
    16 BITPOS <bit-key> {0|1} <near> [<near>]
    12 BITPOS <bit-key> {0|1} <near> <near> {BIT|BYTE}
    14 BITCOUNT <bit-key> <near> <near> [BIT|BYTE]
    10 BITOP {AND|OR|XOR|NOT} <bit-key> <bit-key> [<bit-key> <bit-key>]
    14 BITOP {AND|OR|XOR|NOT|<junk>} <bit-key> <bit-key>+
    20 BITFIELD <bit-key> {GET <bit-type> <bit-place>|SET <bit-type> <bit-place> <int>|INCRBY <bit-type> <bit-place> <int>|OVERFLOW {WRAP|SAT|FAIL|<junk>}}*
    8 BITFIELD <bit-key> {OVERFLOW {WRAP|SAT|FAIL} INCRBY <bit-type> <bit-place> <int>}+
    8 BITFIELD_RO <bit-key> {GET <bit-type> <bit-place>}*
    2 BITFIELD_RO <bit-key> {SET <bit-type> <bit-place> <int>|GET <bit-type> <bit-place>}+

    2 PFADD <hll-key>
    12 PFADD <hll-key> <element>
    8 PFADD <own-hll-key> <element>+ <element>+ <element>+ <element>+ <element>+ <element>+
    5 PFCOUNT <own-hll-key>+
    3 PFMERGE <own-hll-key> <own-hll-key>*
    10 PFCOUNT <hll-key>+
    6 PFMERGE <hll-key> <hll-key>*

    20 HSET <hash-key> {<field> <value>}+
    16 HSET <hash-key> {<field> <short>}+ {<field> <int>}+
    4 HMSET <hash-key> {<field> <short>}+
    6 HSETNX <hash-key> <field> <short>
    12 HGET <hash-key> <field>
    8 HMGET <hash-key> <field>+
    14 HDEL <hash-key> <field>+
    4 HLEN <hash-key>
    4 HSTRLEN <hash-key> <field>
    4 HEXISTS <hash-key> <field>
    3 HKEYS <hash-key>
    3 HVALS <hash-key>
    8 HGETALL <hash-key>
    10 HINCRBY <hash-key> <field> <int>
    10 HINCRBYFLOAT <hash-key> <field> <float>
    8 HRANDFIELD <hash-key> [<int>|<index> [WITHVALUES|<junk>]]
    8 HSCAN <hash-key> <cursor> [MATCH <pattern>|COUNT <count>|<junk>]*
    16 SADD <set-key> <member>+
    10 SADD <set-key> <member>+ <member>+ <member>+
    12 SREM <set-key> <member>+
    4 SMEMBERS <set-key>
    8 SISMEMBER <set-key> <member>
    6 SMISMEMBER <set-key> <member>+
    4 SCARD <set-key>
    3! SPOP <set-key> {0|abc|-1|1 1}
    6 SRANDMEMBER <set-key> [<int>|<near>]
    8 SMOVE <set-key> <set-key> <member>
    6 {SINTER|SUNION|SDIFF} <set-key>+
    6 {SINTERSTORE|SUNIONSTORE|SDIFFSTORE} <set-key> <set-key>+
    6 SINTERCARD {1 <set-key>|2 <set-key> <set-key>} [LIMIT <near>]
    3 SINTERCARD <int> <set-key>+ [LIMIT <int>|<junk>]
    6 SSCAN <set-key> <cursor> [MATCH <pattern>|COUNT <count>|<junk>]*
    3 {COPY|RENAME|RENAMENX} <set-key> <set-key>
    3 {DEL|TYPE|OBJECT ENCODING|DEBUG DIGEST-VALUE} <set-key>
    20 ZADD <zset-key> {<score> <member>}+
    10 ZADD <zset-key> [NX|XX|GT|LT] [CH] {<score> <member>}+
    8 ZADD <zset-key> [NX|XX|GT|LT|CH|INCR]* {<score> <member>}+
    4! ZADD <lex-key> 0 <member> 0 <member> 0 <member>
    8 ZINCRBY <zset-key> {<score>|<float>} <member>
    8 ZREM <zset-key> <member>+
    3 ZCARD <zset-key>
    8 ZSCORE <zset-key> <member>
    5 ZMSCORE <zset-key> <member>+
    8 {ZRANK|ZREVRANK} <zset-key> <member>
    6 {ZPOPMIN|ZPOPMAX} <zset-key> [<int>|<near>]
    6 ZMPOP {1 <zset-key>|2 <zset-key> <zset-key>} {MIN|MAX} [COUNT <near>]
    3 ZMPOP <int> <zset-key>+ {MIN|MAX|<junk>} [COUNT <int>|<junk>]
    6 ZRANDMEMBER <zset-key> [<int>|<index> [WITHSCORES|<junk>]]
    5 ZSCAN <zset-key> <cursor> [MATCH <pattern>|COUNT <count>|<junk>]*
    12 ZRANGE <zset-key> <near> <near> [REV] [WITHSCORES]
    12 ZRANGE <zset-key> <score-bound> <score-bound> BYSCORE [REV] [LIMIT <near> <near>] [WITHSCORES]
    6 ZRANGE <lex-key> <lex-bound> <lex-bound> BYLEX [REV] [LIMIT <near> <near>]
    4 ZRANGE <zset-key> <index> <index> [BYSCORE|REV|LIMIT <near> <near>|WITHSCORES|<junk>]*
    6 ZREVRANGE <zset-key> <near> <near> [WITHSCORES|LIMIT 0 1|<junk>]
    10 {ZRANGEBYSCORE|ZREVRANGEBYSCORE} <zset-key> <score-bound> <score-bound> [WITHSCORES|LIMIT <near> <near>]*
    8 {ZRANGEBYLEX|ZREVRANGEBYLEX} <lex-key> <lex-bound> <lex-bound> [LIMIT <near> <near>]
    6 ZRANGESTORE <zset-key> <zset-key> {<near> <near>|<score-bound> <score-bound> BYSCORE} [REV] [LIMIT <near> <near>]
    8 ZCOUNT <zset-key> <score-bound> <score-bound>
    5 ZLEXCOUNT <lex-key> <lex-bound> <lex-bound>
    4 ZREMRANGEBYRANK <zset-key> <near> <near>
    4 ZREMRANGEBYSCORE <zset-key> <score-bound> <score-bound>
    3 ZREMRANGEBYLEX <lex-key> <lex-bound> <lex-bound>
    12 {ZUNION|ZINTER} 2 {<zset-key>|<set-key>} <zset-key> [WEIGHTS <score> <score>] [AGGREGATE {SUM|MIN|MAX}] [WITHSCORES]
    6 {ZUNIONSTORE|ZINTERSTORE} <zset-key> 2 {<zset-key>|<set-key>} <zset-key> [WEIGHTS <float> <score>] [AGGREGATE {SUM|MIN|MAX}]
    5 ZDIFF 2 <zset-key> <zset-key> [WITHSCORES]
    4 ZDIFFSTORE <zset-key> 2 <zset-key> {<zset-key>|<set-key>}
    4 ZINTERCARD 2 <zset-key> {<zset-key>|<set-key>} [LIMIT <near>]
    5 {ZUNION|ZINTER|ZDIFF|ZINTERCARD} <int> <zset-key>+ [WEIGHTS <score>|AGGREGATE <junk>|LIMIT <int>|WITHSCORES|<junk>]*
    3 {COPY|RENAME|RENAMENX} <zset-key> <zset-key>
    24! XADD <stream-key> <new-id> {<field> <short>}+
    10 XADD <stream-key> [NOMKSTREAM] [{MAXLEN|MINID} [~|=] <near>] [LIMIT <near>] {<stream-id>|<new-id>} {<field> <short>}+
    3 XLEN <stream-key>
    8 XRANGE <stream-key> <stream-from> <stream-to> [COUNT <near>]
    8 XREVRANGE <stream-key> <stream-to> <stream-from> [COUNT <near>|<junk>]
    8 XDEL <stream-key> <stream-id>+
    6 XTRIM <stream-key> {MAXLEN|MINID} [~|=] <near> [LIMIT <near>]
    4 XSETID <stream-key> {<stream-id>|<new-id>} [ENTRIESADDED <near>|MAXDELETEDID <stream-id>|<junk>]*
    8 XREAD [COUNT <near>] STREAMS <stream-key> {<stream-id>|$|0}
    5 XREAD [COUNT <near>] [BLOCK 1] STREAMS <stream-key> <stream-key> {0|<stream-id>} {0|<stream-id>|>}
    12 XGROUP CREATE <stream-key> <group> {0|$|<stream-id>} [MKSTREAM] [ENTRIESREAD <near>]
    4 XGROUP SETID <stream-key> <group> {0|$|<stream-id>} [ENTRIESREAD <near>]
    2 XGROUP DESTROY <stream-key> <group>
    3 XGROUP {CREATECONSUMER|DELCONSUMER} <stream-key> <group> <consumer>
    1 XGROUP {HELP|<junk>|CREATE} <stream-key>*
    16 XREADGROUP GROUP <group> <consumer> [COUNT <near>] [NOACK] STREAMS <stream-key> {>|>|0|<stream-id>}
    4 XREADGROUP GROUP <group> <consumer> [COUNT <near>|BLOCK 1|NOACK]* STREAMS <stream-key> <stream-key> > {>|0|$}
    8 XACK <stream-key> <group> <stream-id>+
    4 XPENDING <stream-key> <group>
    6 XPENDING <stream-key> <group> [IDLE {0|100000000|abc}] <stream-from> <stream-to> <near> [<consumer>]
    8 XCLAIM <stream-key> <group> <consumer> {0|100000000|abc} <stream-id>+ [FORCE|JUSTID|RETRYCOUNT <near>|LASTID <stream-id>|IDLE 5|TIME 7|<junk>]*
    6 XAUTOCLAIM <stream-key> <group> <consumer> {0|100000000} <stream-from> [COUNT <near>|JUSTID|<junk>]*
    5 XINFO STREAM <stream-key> [FULL [COUNT <near>]|<junk>]
    5 XINFO GROUPS <stream-key>
    4 XINFO CONSUMERS <stream-key> <group>
    1 XINFO {HELP|<junk>} <stream-key>*
    3 {DEL|TYPE|OBJECT ENCODING|DEBUG DIGEST-VALUE} <stream-key>
    3 {COPY|RENAME|RENAMENX} <stream-key> <stream-key>
    10 GEOADD <geo-key> {<longitude> <latitude> <member>}+
    3 GEOADD <geo-key> [NX|XX|CH]* {<longitude> <latitude> <member>}+
    4 GEOPOS <geo-key> <member>+
    4 GEOHASH <geo-key> <member>+
    5 GEODIST <geo-key> <member> <member> [m|km|ft|mi|<junk>]
    8 GEOSEARCH <geo-key> {FROMLONLAT <longitude> <latitude>|FROMMEMBER <member>} {BYRADIUS <distance> <geo-unit>|BYBOX <distance> <distance> <geo-unit>} [ASC|DESC] [COUNT <count> [ANY]] [WITHCOORD|WITHDIST|WITHHASH]*
    4 GEOSEARCHSTORE <geo-key> <geo-key> {FROMLONLAT <longitude> <latitude>|FROMMEMBER <member>} {BYRADIUS <distance> <geo-unit>|BYBOX <distance> <distance> <geo-unit>} [ASC|DESC] [COUNT <count>] [STOREDIST]
    5 {GEORADIUS|GEORADIUS_RO} <geo-key> <longitude> <latitude> <distance> <geo-unit> [ASC|DESC|COUNT <count>|WITHCOORD|WITHDIST|WITHHASH|STORE <geo-key>|STOREDIST <geo-key>|<junk>]*
    5 {GEORADIUSBYMEMBER|GEORADIUSBYMEMBER_RO} <geo-key> <member> <distance> <geo-unit> [ASC|DESC|COUNT <count>|ANY|WITHCOORD|WITHDIST|WITHHASH|STORE <geo-key>]*
    8! {RPUSH|LPUSH} <sortable-list> <item>+
    8! SADD <sortable-set> <member>+
    2! {RPOP <sortable-list>|DEL <sortable-list>|SREM <sortable-set> <member>}
    8! {SORT|SORT_RO} {<sortable-list>|<sortable-set>} ALPHA [LIMIT <near> <near>] [GET <sort-pattern>]* [DESC]
    6! SORT {<sortable-list>|<sortable-set>} ALPHA [GET <sort-pattern>]* [LIMIT <near> <near>] STORE <list-key>
    3! SORT <sortable-list> BY nosort [GET <sort-pattern>]* [LIMIT <near> <near>] [DESC]
    2! {SORT|SORT_RO} {<list-key>|<key>} {ALPHA LIMIT 1|<junk>|BY|LIMIT abc 1|LIMIT 1 abc|STORE|ALPHA GET}
    10! SET {<weight-key>} <int>
    6! HSET {<weight-hash>} f <short> n <near>
    2! RESTORE {<key>|<zset-key>|<hash-key>} {0|-1|abc|<ttl>} {<short>|<payload>} [REPLACE|ABSTTL|IDLETIME <near>|FREQ <near>|<junk>]*
    4! {BZPOPMIN|BZPOPMAX} <zset-key> <zset-key> 0.001
    3! BZMPOP {0.001|-1|abc|0.001} 2 <zset-key> <zset-key> {MIN|MAX|<junk>} [COUNT {1|3|0|-1|abc}]
    4! {BLPOP|BRPOP} <list-key> <list-key> {0.001|0.001|1e400|-1|abc}
    3! BLMPOP {0.001|-1|abc|0.001} 2 <list-key> <list-key> {LEFT|RIGHT|<junk>} [COUNT {1|3|0|-1|abc}]
    3! BLMOVE <list-key> <list-key> {LEFT|RIGHT|<junk>} {LEFT|RIGHT} {0.001|-1|abc}
    2! BRPOPLPUSH <list-key> <list-key> {0.001|-1|abc}
    3 {DEL|TYPE|OBJECT ENCODING|DEBUG DIGEST-VALUE} <zset-key>
    16 {RPUSH|LPUSH} <list-key> <item>+
    8 RPUSH <list-key> <item>+ <item>+ <item>+
    4 {LPUSHX|RPUSHX} <list-key> <item>+
    10 {LPOP|RPOP} <list-key> [<int>|<near>]
    4 LLEN <list-key>
    8 LINDEX <list-key> <index>
    8 LSET <list-key> <near> <item>
    12 LRANGE <list-key> <near> <near>
    4 LRANGE <list-key> <index> <index>
    4 LRANGE <list-key> 0 -1
    4 LTRIM <list-key> <near> <near>
    8 LREM <list-key> <near> <item>
    10 LINSERT <list-key> {BEFORE|AFTER|<junk>} <item> <item>
    10 LPOS <list-key> <item> [RANK <near>|COUNT <near>|MAXLEN <near>]*
    4 LPOS <list-key> <item> [RANK <int>|COUNT <int>|MAXLEN <int>]*
    10 LMOVE <list-key> <list-key> {LEFT|RIGHT|<junk>} {LEFT|RIGHT}
    6 RPOPLPUSH <list-key> <list-key>
    8 LMPOP {1 <list-key>|2 <list-key> <list-key>|3 <list-key> <list-key> <list-key>} {LEFT|RIGHT} [COUNT <near>]
    3 LMPOP <int> <list-key>+ {LEFT|RIGHT} [COUNT <int>]
    3 {COPY|RENAME|RENAMENX} <list-key> <list-key>
    3 {DEL|TYPE|OBJECT ENCODING|DEBUG DIGEST-VALUE} <list-key>
    3 {COPY|RENAME|RENAMENX} <hash-key> <hash-key>
    3 {DEL|TYPE|OBJECT ENCODING|DEBUG DIGEST-VALUE} <hash-key>
    2 EXPIRE <hash-key> <ttl>

    4 PING [<value>]
    3 ECHO <value>
    1! HELLO [{2|3|4|-1|x|<int>} [AUTH default <short>|SETNAME <name>|AUTH nobody <short>|<junk>]*]
    2 AUTH <short> [<short>]
    2! AUTH default <short>
    1! RESET
    4! CLIENT GETNAME
    4! CLIENT SETNAME <name>
    2! CLIENT ID
    2! CLIENT NO-EVICT {ON|OFF|<junk>}
    2! CLIENT REPLY {ON|<junk>}
    1! CLIENT UNPAUSE
    1! CLIENT PAUSE {abc|-1|0 <junk>|<junk>}
    1! CLIENT KILL {127.0.0.1:1|ID 999999999|ID abc|TYPE <junk>|<junk> <junk>|SKIPME maybe}
    1! CLIENT UNBLOCK {999999999|abc|999999999 <junk>}
    1! CLIENT {GETNAME|ID|UNPAUSE|INFO} <short>
    1! CLIENT {SETNAME|REPLY|NO-EVICT|PAUSE|KILL|UNBLOCK}
    2! CLIENT <junk> <short>*
    1! CLIENT

    2! COMMAND {COUNT <short>|<junk>|GETKEYS|GETKEYSANDFLAGS|LIST <junk>|LIST FILTERBY <junk> x|LIST FILTERBY}
    2! COMMAND INFO {<plain-command>|<plain-command>|<junk>}+
    2! COMMAND INFO <plain-command>
    1! COMMAND DOCS no-such-command
    8! COMMAND {GETKEYS|GETKEYSANDFLAGS} <any-command>
    2! CONFIG GET {no-such-option|no-such-option*|slowlog-max-len|latency-monitor-threshold|tcp-keepalive}+
    1! CONFIG SET {no-such-option 1|maxmemory abc|slowlog-max-len abc|slowlog-max-len|maxmemory 0 maxmemory 0|slowlog-max-len 128}
    1! CONFIG {GET|SET|RESETSTAT|REWRITE x|RESETSTAT x|<junk>}
    1! CONFIG
    1! MEMORY {USAGE|USAGE <key>|USAGE <key> SAMPLES <count>|USAGE <key> <junk>|USAGE <key> SAMPLES|DOCTOR x|PURGE x|<junk>}
    1! SLOWLOG {RESET|LEN|GET -2|GET abc|GET 1 2|LEN x|<junk>}
    1! LATENCY {RESET|LATEST|HISTORY nothing|HISTORY|LATEST x|RESET nothing|<junk>}
    1! DEBUG {<junk>|SET-ACTIVE-EXPIRE 1|SLEEP 0}
    1! CLUSTER {INFO|NODES|SLOTS|MYID|KEYSLOT <key>|<junk>}
    1! CLUSTER
    1! WAIT {0 0|0 -1|abc 0|0 abc|1 5|0 5}
    1! WAIT <short>
    1! ROLE [x]
    1 TIME x
    1! {OBJECT|MEMORY|SLOWLOG|LATENCY|DEBUG}
    3 <unknown-command> <value>*
    1! <unknown-command> {<short>|<long>}*
";

/// Commands without subcommands: in those rows of COMMAND INFO Redis 7.0 has everything we compare.
#[rustfmt::skip]
pub(crate) const PLAIN_COMMANDS: &[&str] = &[
    "get", "set", "getex", "getdel", "getset", "setex", "psetex", "setnx", "mget", "mset",
    "msetnx", "append", "strlen", "incr", "decr", "incrby", "decrby", "incrbyfloat", "getrange",
    "substr", "setrange", "lcs", "del", "unlink", "exists", "touch", "expire", "pexpire",
    "expireat", "pexpireat", "ttl", "pttl", "expiretime", "pexpiretime", "persist", "type",
    "rename", "renamenx", "copy", "move", "swapdb", "randomkey", "keys", "scan", "dbsize",
    "flushdb", "flushall", "select", "setbit", "getbit", "bitcount", "bitpos", "bitop",
    "bitfield", "bitfield_ro", "pfadd", "pfcount", "pfmerge", "ping", "echo", "hello", "auth",
    "quit", "reset", "wait", "role", "time", "hset", "hmset", "hsetnx", "hget", "hmget", "hdel",
    "hlen", "hstrlen", "hexists", "hkeys", "hvals", "hgetall", "hincrby", "hincrbyfloat",
    "hrandfield", "hscan", "lpush", "rpush", "lpushx", "rpushx", "lpop", "rpop", "llen", "lindex",
    "sadd", "srem", "smembers", "sismember", "smismember", "scard", "spop", "srandmember", "smove",
    "sinter", "sunion", "sdiff", "sinterstore", "sunionstore", "sdiffstore", "sintercard", "sscan",
    "zadd", "zincrby", "zrem", "zcard", "zscore", "zmscore", "zpopmin", "zpopmax",
    "zmpop", "zrandmember", "zscan", "zrange", "zrangestore", "zrangebyscore", "zrevrangebyscore",
    "zrangebylex", "zrevrangebylex", "zrevrange", "zcount", "zlexcount", "zremrangebyrank",
    "zremrangebyscore", "zremrangebylex", "zunion", "zinter", "zdiff", "zintercard", "zunionstore",
    "zinterstore", "zdiffstore", "sort", "sort_ro", "xadd", "xlen", "xrange", "xrevrange", "xdel", "xtrim", "xsetid", "xread", "xreadgroup", "xack",
    "xpending", "xclaim", "xautoclaim", "dump", "restore", "restore-asking", "geoadd", "geopos", "geohash", "geodist", "geosearch", "geosearchstore",
    "georadius", "georadius_ro", "georadiusbymember", "georadiusbymember_ro", "blpop", "brpop", "blmove", "brpoplpush", "blmpop", "bzpopmin",
    "bzpopmax", "bzmpop", "lset", "lrange", "ltrim", "lrem", "linsert", "lpos", "lmove", "rpoplpush", "lmpop",
];

/// Few, so that commands meet; empty, binary, glob characters, long, numbers.
const KEYS: &[&[u8]] = &[
    b"",
    b"a",
    b"b",
    b"c",
    b"key:1",
    b"key:2",
    b"h[a]*?",
    b"\x00\xff\r\n\x80",
    b"\xc3\xa9t\xc3\xa9",
    b"10",
    b"-1",
    b"with space",
    b"{tag}x",
    b"long-key-0123456789012345678901234567890123456789012345678901234567890123456789",
];
const LCS_KEYS: &[&[u8]] = &[b"lcs:1", b"lcs:2", b"lcs:3"];
const HASH_KEYS: &[&[u8]] = &[b"hash:1", b"hash:2", b"hash:3"];
const LIST_KEYS: &[&[u8]] = &[b"list:1", b"list:2", b"list:3"];
const SET_KEYS: &[&[u8]] = &[b"set:1", b"set:2", b"set:3"];
const ZSET_KEYS: &[&[u8]] = &[b"zset:1", b"zset:2", b"zset:3"];
/// Of sorted sets whose scores are all equal: only of those has a range of names a meaning.
const LEX_KEYS: &[&[u8]] = &[b"lex:1", b"lex:2"];
/// Of DUMP: `hello`, -7, a list, a sorted set, the first one again with a wrong checksum.
#[rustfmt::skip]
const PAYLOADS: &[&[u8]] = &[
    b"\x00\x05hello\x0a\x00cr\xdfve4 \x0a",
    b"\x00\xc0\xf9\x0a\x00^&\xd10\xd7\xa2B\xab",
    b"\x12\x01\x02\x10\x10\x00\x00\x00\x03\x00\x81a\x02\x01\x01\xf1x\xec\x03\xff\x0a\x00\xbetw%\xa2q\x99\xb2",
    b"\x05\x04\x01d\x9cu\x00\x88<\xe47~\x01b\x00\x00\x00\x00\x00\x00\x04@\x01a\x00\x00\x00\x00\x00\x00\xf0?\x01c\x00\x00\x00\x00\x00\x00\xf0\xff\x0a\x00J8\x1d\xe3\x0f\xd6-\xff",
    b"\x00\x05hellO\x0a\x00cr\xdfve4 \x0a",
];
const BIT_KEYS: &[&[u8]] = &[b"bits:1", b"bits:2", b"bits:3"];
/// Keys that no command of strings reaches. Of a damaged HyperLogLog Redis keeps the elements that it added before it
/// came upon the damage, we keep none; so only these get several at once.
const OWN_HLL_KEYS: &[&[u8]] = &[b"pf:1", b"pf:2"];
const HLL_KEYS: &[&[u8]] = &[b"hll:1", b"hll:2", b"hll:3", b"hll:4"];

#[rustfmt::skip]
const INTS: &[&str] = &[
    "0", "1", "-1", "2", "3", "7", "10", "100", "9999", "10000", "-5", "255", "256", "65535",
    "-128", "2147483647", "2147483648", "-2147483648", "4294967295", "4294967296",
    "9223372036854775806", "9223372036854775807", "9223372036854775808", "-9223372036854775808",
    "-9223372036854775809", "18446744073709551615", "18446744073709551616", "-0", "007", "+1",
    " 1", "1 ", "", "-", "1.0", "1e3", "abc", "0x10", "99999999999999999999999", "1\u{0}", "--1",
];

#[rustfmt::skip]
const FLOATS: &[&str] = &[
    "0", "1", "-1", "0.1", "0.2", "-0.1", "1.5", "3.0e3", "5.0e-3", "1e10", "1e17", "1e18",
    "1e20", "-1e-5", "1e-17", "1e-18", "1e300", "1e308", "1e400", "1e4000", "1e5000", "-1e5000",
    "5e-324", "inf", "-inf", "+inf", "infinity", "nan", "NaN", "-nan", "abc", "", " 1", "1 ",
    "+1", "+1.5", ".5", "5.", "1e", "1e+2", "0x1p3", "0x10", "-0", "-0.0", "00.5",
    "9223372036854775807", "9223372036854775808.5", "123456789.123456789",
    "0.00000000000000000001", "1,5", "1_0", "3.14159265358979323846264338327950288",
    "10000000000000000000000000000", "1\u{0}",
];

#[rustfmt::skip]
const PATTERNS: &[&[u8]] = &[
    b"*", b"", b"**", b"a", b"?", b"key:*", b"key:?", b"[a-c]", b"[^a]", b"[a", b"[^]", b"[]",
    b"\\*", b"h\\[a\\]\\*\\?", b"h[[]a]*", b"*[", b"*\\", b"*\x80", b"[c-a]", b"*:1", b"hll:*",
    b"nothing*", b"[a-", b"KEY:1", b"?*?", b"*e*y*", b"long*7*9", b"[\\a-c]", b"[a\\-z]",
];

#[rustfmt::skip]
const JUNK: &[&[u8]] = &[
    b"foo", b"", b"*", b"\x00", b"\xff\xfe", b"a b", b"new\r\nline", b"'", b"\"", b"\\", b"nx",
    b"get", b"-1", b"0", b"help!", b"{x}", b"%s%n",
];

/// No name that is a known one up to a zero byte: Redis compares the names in one bucket of its
/// table as C strings, so that `get\0` is GET in those processes whose hash seed brings them together.
#[rustfmt::skip]
const UNKNOWN_COMMANDS: &[&[u8]] = &[
    b"FOO", b"", b"GETT", b"gett\x00x", b"\xff\xfe\x80", b"se t", b"new\r\nline", b"'quoted'",
    b"\"q\"", b"NO|SUB", b"CONFIG|GET", b"client|list", b"*1", b"$3", b"0", b"%s",
];

/// A command with its arguments; the first is the name.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) args: Vec<Vec<u8>>,
}

impl Request {
    /// The name in capitals, lossy: for comparing and printing.
    pub(crate) fn name(&self) -> String {
        self.word(0)
    }

    /// The argument in capitals, empty when there is none.
    pub(crate) fn word(&self, index: usize) -> String {
        let arg = self.args.get(index).map_or(&b""[..], Vec::as_slice);
        String::from_utf8_lossy(arg).to_ascii_uppercase()
    }

    /// The keys of the pools among the arguments.
    pub(crate) fn pool_keys(&self) -> impl Iterator<Item = &[u8]> {
        const PREFIXES: &[&[u8]] = &[
            b"stream:",
            b"zset:",
            b"lex:",
            b"geo:",
            b"sortable:",
            b"bits:",
            b"pf:",
        ];
        let is_pool_key = |arg: &&[u8]| {
            [KEYS, LCS_KEYS, HLL_KEYS, HASH_KEYS, LIST_KEYS, SET_KEYS]
                .iter()
                .any(|keys| keys.contains(arg))
                || PREFIXES.iter().any(|prefix| arg.starts_with(prefix))
        };
        self.args
            .iter()
            .skip(1)
            .map(Vec::as_slice)
            .filter(is_pool_key)
    }
}

impl std::fmt::Display for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, arg) in self.args.iter().enumerate() {
            let separator = if index == 0 { "" } else { " " };
            write!(f, "{separator}{}", Shown(arg))?;
        }
        Ok(())
    }
}

/// Random numbers from a seed: splitmix64.
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number in `0..bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("below a usize")
    }

    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.index(from.len())]
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}

/// A part of a template.
enum Form {
    Word(String),
    Argument(String),
    OneOf {
        alternatives: Vec<Vec<Form>>,
        optional: bool,
    },
    Repeat {
        form: Box<Form>,
        min: u64,
        max: u64,
    },
}

struct Template {
    weight: u64,
    exact: bool,
    forms: Vec<Form>,
}

/// Makes requests from the templates.
pub(crate) struct Generator {
    pub(crate) random: Random,
    templates: Vec<Template>,
    weight: u64,
    /// What to ask next about the key just used.
    question: Option<Request>,
}

impl Generator {
    /// Only the commands that `wanted` accepts by their name in capitals.
    pub(crate) fn new(seed: u64, wanted: impl Fn(&str) -> bool) -> Self {
        let lines = TEMPLATES
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty());
        let templates: Vec<_> = lines
            .map(parse_template)
            .filter(|t| wanted(t.name()))
            .collect();
        assert!(!templates.is_empty(), "no command is left to generate");
        let weight = templates.iter().map(|template| template.weight).sum();
        Self {
            random: Random::new(seed),
            templates,
            weight,
            question: None,
        }
    }

    pub(crate) fn request(&mut self) -> Request {
        if let Some(question) = self.question.take() {
            return question;
        }
        loop {
            let request = self.any_request();
            if !is_unwanted(&request) {
                self.question = self.question_after(&request);
                return request;
            }
        }
    }

    /// Now and then a look at what a command has left, before another one covers it up.
    fn question_after(&mut self, request: &Request) -> Option<Request> {
        const QUESTIONS: &[&str] = &["GET", "PEXPIRETIME", "OBJECT ENCODING", "EXISTS"];
        let key = request.pool_keys().next()?.to_vec();
        if !self.random.percent(12) {
            return None;
        }
        let question = self
            .random
            .pick(QUESTIONS)
            .split(' ')
            .map(|word| word.as_bytes().to_vec());
        Some(Request {
            args: question.chain([key]).collect(),
        })
    }

    fn any_request(&mut self) -> Request {
        let mut place = self.random.below(self.weight);
        let chosen = self.templates.iter().position(|template| {
            let here = place < template.weight;
            place = place.wrapping_sub(template.weight);
            here
        });
        let template = &self.templates[chosen.expect("the weights add up")];
        let mut args = Vec::new();
        expand(&template.forms, &mut self.random, &mut args);
        if args.iter().any(|arg| arg == ANY_COMMAND) {
            args.retain(|arg| arg != ANY_COMMAND);
            args.extend(self.any_request().args);
        } else if !template.exact && self.random.percent(6) {
            spoil(&mut args, &mut self.random);
        }
        Request { args }
    }
}

impl Template {
    fn name(&self) -> &str {
        match self.forms.first() {
            Some(Form::Word(word)) => word,
            Some(Form::OneOf { alternatives, .. }) => match alternatives.first().map(Vec::as_slice)
            {
                Some([Form::Word(word), ..]) => word,
                _ => "",
            },
            _ => "",
        }
    }
}

/// Stands for the whole other command that COMMAND GETKEYS takes.
const ANY_COMMAND: &[u8] = b"<any-command>";

fn parse_template(line: &str) -> Template {
    let (weight, rest) = line.split_once(' ').expect("weight, then the command");
    let (digits, exact) = weight
        .strip_suffix('!')
        .map_or((weight, false), |digits| (digits, true));
    let mut rest = rest.as_bytes();
    let mut alternatives = parse_alternatives(&mut rest);
    assert!(
        rest.is_empty() && alternatives.len() == 1,
        "unbalanced template: {line}"
    );
    let weight = digits
        .parse()
        .unwrap_or_else(|_| panic!("not a weight: {line}"));
    Template {
        weight,
        exact,
        forms: alternatives.remove(0),
    }
}

fn parse_alternatives(rest: &mut &[u8]) -> Vec<Vec<Form>> {
    let mut alternatives = vec![Vec::new()];
    while let Some((&byte, tail)) = rest.split_first() {
        let form = match byte {
            b'}' | b']' => break,
            b' ' | b'|' => {
                *rest = tail;
                if byte == b'|' {
                    alternatives.push(Vec::new());
                }
                continue;
            }
            b'{' | b'[' => {
                *rest = tail;
                let alternatives = parse_alternatives(rest);
                *rest = rest.split_first().expect("a closing bracket").1;
                Form::OneOf {
                    alternatives,
                    optional: byte == b'[',
                }
            }
            b'<' => {
                let end = rest
                    .iter()
                    .position(|&byte| byte == b'>')
                    .expect("a closing >");
                let kind = String::from_utf8_lossy(&rest[1..end]).into_owned();
                *rest = &rest[end + 1..];
                Form::Argument(kind)
            }
            _ => {
                let is_end = |byte: &u8| b" |{}[]".contains(byte);
                let end = rest.iter().position(is_end).unwrap_or(rest.len());
                let word = String::from_utf8_lossy(&rest[..end]).into_owned();
                *rest = &rest[end..];
                Form::Word(word)
            }
        };
        let is_group = !matches!(form, Form::Word(_));
        let repeat = rest.first().copied().filter(|_| is_group);
        let form = match repeat {
            Some(b'*') => Form::Repeat {
                form: Box::new(form),
                min: 0,
                max: 3,
            },
            Some(b'+') => Form::Repeat {
                form: Box::new(form),
                min: 1,
                max: 4,
            },
            _ => form,
        };
        if matches!(form, Form::Repeat { .. }) {
            *rest = &rest[1..];
        }
        alternatives.last_mut().expect("never empty").push(form);
    }
    alternatives
}

fn expand(forms: &[Form], random: &mut Random, args: &mut Vec<Vec<u8>>) {
    for form in forms {
        match form {
            Form::Word(word) => args.push(random_case(word, random)),
            Form::Argument(kind) => args.push(argument(kind, random)),
            Form::OneOf { optional: true, .. } if random.percent(40) => {}
            Form::OneOf { alternatives, .. } => {
                let chosen = random.index(alternatives.len());
                expand(&alternatives[chosen], random, args);
            }
            Form::Repeat { form, min, max } => {
                for _ in 0..min + random.below(max - min + 1) {
                    expand(std::slice::from_ref(form), random, args);
                }
            }
        }
    }
}

fn random_case(word: &str, random: &mut Random) -> Vec<u8> {
    match random.below(4) {
        0 => word.to_ascii_lowercase().into_bytes(),
        1 => word
            .bytes()
            .map(|byte| byte ^ flipped_case(byte, random.percent(50)))
            .collect(),
        _ => word.as_bytes().to_vec(),
    }
}

fn flipped_case(byte: u8, flip: bool) -> u8 {
    if flip && byte.is_ascii_alphabetic() {
        0x20
    } else {
        0
    }
}

/// Wrong arity, doubled and conflicting options, an argument in the wrong place.
fn spoil(args: &mut Vec<Vec<u8>>, random: &mut Random) {
    let place = random.index(args.len());
    match random.below(6) {
        0 if args.len() > 1 => {
            args.pop();
        }
        1 => {
            let copy = args[place].clone();
            args.push(copy);
        }
        2 if place > 0 => {
            args.remove(place);
        }
        3 if place > 0 => {
            let other = 1 + random.index(args.len() - 1);
            args.swap(place, other);
        }
        4 if place > 0 => args[place] = argument("int", random),
        _ => args.push(argument("junk", random)),
    }
}

/// A random argument of a kind.
fn argument(kind: &str, random: &mut Random) -> Vec<u8> {
    match kind {
        "key" => match random.below(40) {
            0 => random.pick(HLL_KEYS).to_vec(),
            1 => random.pick(LCS_KEYS).to_vec(),
            2..4 => random.pick(BIT_KEYS).to_vec(),
            4 => random.pick(HASH_KEYS).to_vec(),
            5 => random.pick(LIST_KEYS).to_vec(),
            6 => random.pick(SET_KEYS).to_vec(),
            _ => random.pick(KEYS).to_vec(),
        },
        "hash-key" if random.percent(6) => argument("key", random),
        "hash-key" => random.pick(HASH_KEYS).to_vec(),
        "field" => field(random),
        "set-key" if random.percent(6) => argument("key", random),
        "set-key" => random.pick(SET_KEYS).to_vec(),
        "member" if random.percent(60) => (random.below(40) as i64 - 5).to_string().into_bytes(),
        "member" if random.percent(20) => b"70000".to_vec(),
        "member" => item(random),
        // Of these types for certain: Redis turns a packed sorted set that it sorts into a skiplist, we leave it as it is.
        "sortable-list" => random.pick(&[&b"sortable:1"[..], b"sortable:2"]).to_vec(),
        "sortable-set" => random.pick(&[&b"sortable:3"[..], b"sortable:4"]).to_vec(),
        "weight-key" => format!("w_{}", random.below(40) as i64 - 5).into_bytes(),
        "weight-hash" => format!("h_{}", random.below(40) as i64 - 5).into_bytes(),
        "sort-pattern" => random
            .pick(&[
                "w_*",
                "w_*",
                "h_*->f",
                "h_*->n",
                "#",
                "nosort",
                "*",
                "w_*->",
                "",
                "h_*->none",
            ])
            .into(),
        "stream-key" if random.percent(4) => argument("key", random),
        "stream-key" => random.pick(&[&b"stream:1"[..], b"stream:2"]).to_vec(),
        // Ever higher, so that most of them can be added.
        "new-id" => format!("{}-{}", random.below(1 << 20), random.below(3)).into_bytes(),
        "stream-from" if random.percent(40) => random.pick(&["-", "-", "0", "+", "("]).into(),
        "stream-to" if random.percent(40) => random.pick(&["+", "+", "-", "(0-0", "(+"]).into(),
        "stream-from" | "stream-to" if random.percent(20) => {
            [b"(", &argument("stream-id", random)[..]].concat()
        }
        "stream-from" | "stream-to" => argument("stream-id", random),
        "stream-id" if random.percent(4) => argument("int", random),
        "stream-id" if random.percent(10) => format!("{}-*", random.below(40)).into_bytes(),
        "stream-id" => format!("{}-{}", random.below(40), random.below(2)).into_bytes(),
        "group" => random.pick(&[&b"g1"[..], b"g1", b"streams"]).to_vec(),
        "consumer" => random.pick(&[&b"ann"[..], b"bob", b"\xff"]).to_vec(),
        "geo-key" if random.percent(5) => argument("key", random),
        "geo-key" => random.pick(&[&b"geo:1"[..], b"geo:2"]).to_vec(),
        "longitude" if random.percent(5) => argument("float", random),
        "longitude" => format!(
            "{}.{}",
            random.below(358) as i64 - 179,
            random.below(99_999)
        )
        .into_bytes(),
        "latitude" if random.percent(5) => argument("float", random),
        "latitude" => {
            format!("{}.{}", random.below(168) as i64 - 84, random.below(99_999)).into_bytes()
        }
        "distance" if random.percent(10) => argument("float", random),
        "distance" => random.below(6_000).to_string().into_bytes(),
        "geo-unit" => random
            .pick(&["km", "km", "km", "mi", "mi", "m", "ft", "KM", "x"])
            .into(),
        "payload" => random.pick(PAYLOADS).to_vec(),
        "zset-key" if random.percent(5) => argument("key", random),
        "zset-key" => random.pick(ZSET_KEYS).to_vec(),
        "lex-key" => random.pick(LEX_KEYS).to_vec(),
        "score" if random.percent(10) => argument("float", random),
        "score" if random.percent(30) => format!("{}.5", random.below(9)).into_bytes(),
        "score" => argument("near", random),
        "score-bound" if random.percent(25) => [b"(", &argument("score", random)[..]].concat(),
        "score-bound" if random.percent(20) => {
            random.pick(&[&b"-inf"[..], b"+inf", b"(", b""]).to_vec()
        }
        "score-bound" => argument("score", random),
        "lex-bound" if random.percent(40) => random
            .pick(&[&b"-"[..], b"+", b"(", b"[", b"x", b""])
            .to_vec(),
        "lex-bound" => [
            random.pick(&[&b"["[..], b"("]),
            &argument("member", random)[..],
        ]
        .concat(),
        "list-key" if random.percent(6) => argument("key", random),
        "list-key" => random.pick(LIST_KEYS).to_vec(),
        "item" => item(random),
        "lcs-key" => random.pick(LCS_KEYS).to_vec(),
        "bit-key" if random.percent(30) => argument("key", random),
        "bit-key" => random.pick(BIT_KEYS).to_vec(),
        "bits" => bits(random),
        "hll-key" if random.percent(4) => argument("key", random),
        "hll-key" => random.pick(HLL_KEYS).to_vec(),
        "own-hll-key" => random.pick(OWN_HLL_KEYS).to_vec(),
        "value" => value(random),
        "short" => short(random),
        "long" => long(random, 300),
        "int" => int(random),
        "float" if random.percent(30) => {
            let (whole, part) = (random.below(2000), random.below(1_000_000));
            format!("{}.{part}", i64::try_from(whole).expect("small") - 1000).into_bytes()
        }
        "float" => random.pick(FLOATS).as_bytes().to_vec(),
        "index" => index(random),
        "bit" if random.percent(80) => random.pick(&["0", "1"]).into(),
        "bit" => random.pick(&["2", "-1", "", "x", "01", " 1", "256"]).into(),
        "near" => (i64::try_from(random.below(36)).expect("small") - 18)
            .to_string()
            .into_bytes(),
        "bit-offset" => bit_offset(random),
        "bit-place" if random.percent(30) => [b"#", &bit_offset(random)[..]].concat(),
        "bit-place" => bit_offset(random),
        "bit-type" => bit_type(random),
        "ttl" => deadline(random, 20_000, 3_000_000, 9_000_000_000_000_000),
        "ttl-ms" => deadline(random, 20_000_000, 3_000_000_000, 9_000_000_000_000_000_000),
        "at" => deadline(
            random,
            EXACT_FROM_MS / 1000,
            900_000_000,
            9_000_000_000_000_000,
        ),
        "at-ms" => deadline(
            random,
            EXACT_FROM_MS,
            900_000_000_000,
            9_000_000_000_000_000_000,
        ),
        "db" => random
            .pick(&[
                "0",
                "1",
                "2",
                "0",
                "1",
                "2",
                "0",
                "1",
                "3",
                "15",
                "16",
                "-1",
                "a",
                "",
                "1x",
                "99999999999",
            ])
            .into(),
        "pattern" => random.pick(PATTERNS).to_vec(),
        "type" => random
            .pick(&[
                "string", "STRING", "list", "set", "zset", "hash", "stream", "x", "",
            ])
            .into(),
        "cursor" if random.percent(80) => b"0".to_vec(),
        "cursor" => int(random),
        "count" if random.percent(70) => (1 + random.below(30)).to_string().into_bytes(),
        "count" => int(random),
        "element" => element(random),
        "name" => random
            .pick(&[
                &b"worker-1"[..],
                b"",
                b"a b",
                b"x\ny",
                b"\xff",
                b"~",
                b"\x1f",
            ])
            .to_vec(),
        "junk" => random.pick(JUNK).to_vec(),
        "unknown-command" => random.pick(UNKNOWN_COMMANDS).to_vec(),
        "plain-command" => random_case(random.pick(PLAIN_COMMANDS), random),
        "any-command" => ANY_COMMAND.to_vec(),
        _ => panic!("no such kind of argument: {kind}"),
    }
}

/// Deadlines from here (the year 2096) to 2^32 seconds before the end of time come only from the
/// absolute forms, EXAT and its like, and are compared exactly.
pub(crate) const EXACT_FROM_MS: u64 = 4_000_000_000_000;

/// See [`EXACT_FROM_MS`].
pub(crate) const EXACT_TO_MS: u64 = 5_000_000_000_000;

/// A deadline or timeout: `from .. from + range`, sometimes huge, past, or not a number. It is
/// never a valid fixed number: set twice with GT, the outcome would depend on the millisecond.
fn deadline(random: &mut Random, from: u64, range: u64, huge: u64) -> Vec<u8> {
    const OTHERS: &[&str] = &[
        "0",
        "-1",
        "-100",
        "-9223372036854775808",
        "9223372036854775807",
        "9223372036854775",
        "",
        "9223372036854776",
        "-9223372036854775",
        "-9223372036854776",
        "abc",
        "1.5",
        "9223372036854775808",
    ];
    let number = match random.below(100) {
        0..80 => from + random.below(range),
        80..84 => huge + random.below(huge / 100),
        _ => return random.pick(OTHERS).into(),
    };
    number.to_string().into_bytes()
}

fn value(random: &mut Random) -> Vec<u8> {
    match random.below(1000) {
        0..3 => long(random, 100_000),
        3..15 => long(random, 5_000),
        15..300 => int(random),
        300..400 => random.pick(FLOATS).as_bytes().to_vec(),
        400..500 => {
            let length = random.index(24);
            random.bytes(length)
        }
        // Around the limit of embstr, 44 bytes.
        500..600 => long(random, 50),
        600..640 => vec![b"\x00\xff"[random.index(2)]; random.index(40)],
        _ => short(random),
    }
}

/// Few, so that some are equal.
fn item(random: &mut Random) -> Vec<u8> {
    match random.below(100) {
        0..40 => random.below(8).to_string().into_bytes(),
        40..80 => vec![b'a' + random.below(6) as u8],
        80..92 => short(random),
        92..95 => long(random, 3_000),
        _ => int(random),
    }
}

/// Few names, so that fields meet; now and then one that no packed hash has room for.
fn field(random: &mut Random) -> Vec<u8> {
    match random.below(100) {
        0..50 => format!("field:{}", random.below(20)).into_bytes(),
        50..75 => random.below(12).to_string().into_bytes(),
        75..98 => short(random),
        98 => long(random, 100),
        _ => int(random),
    }
}

fn short(random: &mut Random) -> Vec<u8> {
    let length = random.index(14);
    (0..length).map(|_| random.pick(b"abcABC01 ")).collect()
}

fn long(random: &mut Random, max: usize) -> Vec<u8> {
    let length = random.index(max + 1);
    let pattern = random.bytes(7);
    pattern.iter().copied().cycle().take(length).collect()
}

fn int(random: &mut Random) -> Vec<u8> {
    match random.below(10) {
        0..3 => (random.next().cast_signed() >> random.below(64))
            .to_string()
            .into_bytes(),
        _ => random.pick(INTS).as_bytes().to_vec(),
    }
}

fn index(random: &mut Random) -> Vec<u8> {
    match random.below(10) {
        0..6 => (i64::try_from(random.below(40)).expect("small") - 15)
            .to_string()
            .into_bytes(),
        6 => random.below(100_000).to_string().into_bytes(),
        7 => random
            .pick(&[
                "536870911",
                "536870912",
                "4294967295",
                "-100000",
                "4294967296",
            ])
            .into(),
        _ => int(random),
    }
}

/// Runs of equal bytes with an odd one between: where BITPOS and BITCOUNT have edges.
fn bits(random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..random.below(4) {
        let run = [random.pick(b"\x00\x00\xff")].repeat(random.index(14));
        bytes.extend(run);
        if random.percent(50) {
            bytes.push(1 << random.below(8));
        }
    }
    bytes
}

fn bit_offset(random: &mut Random) -> Vec<u8> {
    match random.below(20) {
        0..14 => random.below(200).to_string().into_bytes(),
        14 => random.below(100_000).to_string().into_bytes(),
        15..18 => random
            .pick(&[
                "4294967295",
                "4294967296",
                "4294967297",
                "8589934592",
                "9223372036854775807",
                "-1",
            ])
            .into(),
        _ => int(random),
    }
}

fn bit_type(random: &mut Random) -> Vec<u8> {
    match random.below(10) {
        0 => random
            .pick(&[
                "u0", "i0", "u64", "i65", "x8", "8", "u", "i", "", "u-1", "u8x", "U8", "I8",
            ])
            .into(),
        1..3 => random
            .pick(&["i64", "u63", "i1", "u1", "i8", "u8", "i32", "u32"])
            .into(),
        _ => format!("{}{}", random.pick(&["u", "i"]), 1 + random.below(63)).into_bytes(),
    }
}

fn element(random: &mut Random) -> Vec<u8> {
    match random.below(10) {
        0..3 => random.below(20).to_string().into_bytes(),
        3..9 => random.below(100_000).to_string().into_bytes(),
        _ => value(random),
    }
}

/// Whether a request may not be sent: a key would expire while the servers are compared, which
/// they do not do in the same microsecond; or a string of up to 512 MB would be made.
fn is_unwanted(request: &Request) -> bool {
    let number = |index: usize| {
        let arg = std::str::from_utf8(request.args.get(index)?).ok()?;
        arg.trim_start_matches('#').parse::<i64>().ok()
    };
    let is_within = |index: usize, unwanted: std::ops::Range<i64>| {
        number(index).is_some_and(|number| unwanted.contains(&number))
    };
    // COMMAND GETKEYS carries a command of its own, but does not run it.
    match request.name().as_str() {
        "EXPIRE" | "EXPIREAT" | "SETEX" => is_within(2, 1..20_000),
        "PEXPIRE" | "PEXPIREAT" | "PSETEX" => is_within(2, 1..20_000_000),
        "SET" | "GETEX" => {
            (1..request.args.len()).any(|index| match request.word(index).as_str() {
                "EX" => is_within(index + 1, 1..20_000),
                "PX" => is_within(index + 1, 1..20_000_000),
                _ => false,
            })
        }
        // 7.0 has no WITHSCORE.
        "ZRANK" | "ZREVRANK" => request.args.len() == 4,
        // What Redis 7.0 makes of this rank, which has no opposite, is its own matter.
        "LPOS" => request
            .args
            .iter()
            .any(|arg| arg == b"-9223372036854775808"),
        // So many fields, and again and again the same ones.
        "SRANDMEMBER" | "HRANDFIELD" | "ZRANDMEMBER" => is_within(2, i64::MIN + 1..-1_000),
        "SETRANGE" => is_within(2, 200_000..536_870_912),
        "SETBIT" => is_within(2, 1_000_000..4_294_967_296),
        "BITFIELD" => (3..request.args.len()).any(|index| {
            // The offset comes after the type; `#` counts in units of up to 64 bits.
            let limit = if request.args[index].starts_with(b"#") {
                16_000
            } else {
                1_000_000
            };
            let is_offset = request.word(index - 1).starts_with(['U', 'I']);
            is_offset && is_within(index, limit..4_294_967_296)
        }),
        _ => false,
    }
}
