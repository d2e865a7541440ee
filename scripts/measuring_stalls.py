"""What the scripts share that measure PINGs beside other work: the PINGs, collections of each type, and many keys."""

import array
import os
import subprocess

import measuring
from measuring import Failure

BATCH = 500

# For each type the command that adds the nth element, and the one that counts them.
TYPES = {
    "hash": (lambda n: ["HSET", "key", f"field:{n}", f"value-{n}"], "HLEN"),
    "set": (lambda n: ["SADD", "key", f"member-{n}"], "SCARD"),
    "sorted set": (lambda n: ["ZADD", "key", n * 7919 % 10_000_019, f"member-{n}"], "ZCARD"),
    "list": (lambda n: ["RPUSH", "key", f"element-{n}"], "LLEN"),
    "stream": (lambda n: ["XADD", "key", f"{n + 1}-1", "field", f"value-{n}"], "XLEN"),
}


def build(client, add, count):
    for start in range(0, count, BATCH):
        client.batch([add(n) for n in range(start, min(start + BATCH, count))])


def insert(server, count, value_bytes=64):
    """SETs key:000000000000 and on, pipelined over several connections."""
    measuring.run([measuring.load_binary(), "insert", "--port", str(server.port), "--keys", str(count), "--size", str(value_bytes)])
    with server.client() as client:
        if (found := client.call("DBSIZE")) != count:
            raise Failure(f"{server.name}: DBSIZE is {found}, expected {count}")


def ping_during(server, directory, work):
    """The latencies of PINGs, in microseconds."""
    out = os.path.join(directory, "samples")
    command = [measuring.load_binary(), "ping", "--port", str(server.port), "--out", out, "--interval-us", "1000"]
    process = measuring.start(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        work()
        _, err = process.communicate("")
    finally:
        measuring.stop(process)
    if process.returncode != 0:
        raise Failure(f"the PINGs failed: {err.strip()[-2000:]}")
    samples = array.array("I", open(out, "rb").read())
    return samples[0::2]
