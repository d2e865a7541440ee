"""redis-py against the server: python3 redis_py.py PORT PROTOCOL."""

import sys
import time

import redis


def main(port: int, protocol: int) -> None:
    client = redis.Redis(port=port, protocol=protocol, decode_responses=True, client_name="py-test")
    assert client.ping() is True
    strings(client)
    expiry(client)
    pipeline(client)
    scripts(client)
    scan(client)
    bits_and_counts(client)
    server(client)
    errors(client)
    binary(port, protocol)
    messages(port, protocol)
    client.flushall()
    client.close()
    print("ok")


def strings(client: redis.Redis) -> None:
    assert client.set("name", "värde") is True
    assert client.get("name") == "värde"
    assert client.set("name", "other", nx=True) is None
    assert client.set("name", "other", get=True) == "värde"
    assert client.get("missing") is None
    assert client.mset({"a": "1", "b": "2", "c": "3"}) is True
    assert client.mget("a", "b", "missing", "c") == ["1", "2", None, "3"]
    assert client.incr("a", 41) == 42
    assert client.incrbyfloat("b", 0.5) == 2.5
    assert client.append("c", "tail") == 5
    assert client.getrange("c", 1, -1) == "tail"
    assert client.getdel("c") == "3tail"
    assert client.exists("a", "b", "c") == 2
    assert client.delete("a", "b") == 2
    assert client.type("name") == "string"
    assert client.copy("name", "copied") is True
    assert client.rename("copied", "renamed") is True
    assert client.object("encoding", "renamed") == "embstr"


def expiry(client: redis.Redis) -> None:
    client.set("brief", "x", ex=100)
    assert 98 <= client.ttl("brief") <= 100
    assert client.persist("brief") is True
    assert client.ttl("brief") == -1
    assert client.expireat("brief", 4_000_000_000) is True
    assert client.expiretime("brief") == 4_000_000_000
    assert client.getex("brief", px=20) == "x"
    deadline = time.monotonic() + 5
    while client.exists("brief"):
        assert time.monotonic() < deadline, "the key has not expired"


def pipeline(client: redis.Redis) -> None:
    pipe = client.pipeline(transaction=False)
    for number in range(1000):
        pipe.set(f"pipe:{number}", number)
        pipe.get(f"pipe:{number}")
    replies = pipe.execute()
    assert replies[0::2] == [True] * 1000
    assert replies[1::2] == [str(number) for number in range(1000)]
    pipe.get("name")
    pipe.incr("name")
    first, second = pipe.execute(raise_on_error=False)
    assert first == "other"
    assert isinstance(second, redis.ResponseError), second


def scripts(client: redis.Redis) -> None:
    add = client.register_script("return redis.call('incrby', KEYS[1], ARGV[1])")
    assert add(keys=["sum"], args=[2]) == 2
    client.script_flush()
    # The client loads it again.
    assert add(keys=["sum"], args=[3]) == 5
    with client.pipeline() as pipe:
        add(keys=["sum"], args=[1], client=pipe)
        pipe.get("sum")
        assert pipe.execute() == [6, "6"]
    lock = client.lock("lock", timeout=10)
    assert lock.acquire()
    assert not client.lock("lock", timeout=10).acquire(blocking=False)
    assert lock.extend(5) and lock.reacquire() and lock.owned()
    lock.release()
    try:
        lock.release()
        raise AssertionError("it was released twice")
    except redis.exceptions.LockError:
        pass


def scan(client: redis.Redis) -> None:
    expected = {f"pipe:{number}" for number in range(1000)}
    assert set(client.scan_iter(match="pipe:*", count=50)) == expected
    assert set(client.scan_iter(match="pipe:*", _type="string")) == expected
    assert set(client.keys("pipe:*")) == expected
    assert client.dbsize() >= 1000


def bits_and_counts(client: redis.Redis) -> None:
    assert client.setbit("bits", 7, 1) == 0
    assert client.bitcount("bits") == 1
    assert client.bitfield("bits").get("u8", 0).incrby("u8", 0, 255, ).execute() == [1, 0]
    assert client.pfadd("unique", *range(1000)) == 1
    assert 970 <= client.pfcount("unique") <= 1030


def server(client: redis.Redis) -> None:
    info = client.info()
    assert info["redis_version"] and info["redis_mode"] == "standalone", info
    assert info["connected_clients"] >= 1
    assert info["used_memory"] > 0
    assert "db0" in info and info["db0"]["keys"] >= 1000
    assert "used_memory" in client.info("memory")
    clients = client.client_list()
    assert any(one["name"] == "py-test" for one in clients), clients
    assert all(one["addr"] and one["id"] for one in clients)
    assert client.client_getname() == "py-test"
    assert client.client_id() > 0
    assert "maxmemory" in client.config_get("maxmemory*")
    before = client.config_get("slowlog-max-len")["slowlog-max-len"]
    assert client.config_set("slowlog-max-len", 99) is True
    assert client.config_get("slowlog-max-len") == {"slowlog-max-len": "99"}
    assert client.config_set("slowlog-max-len", before) is True
    assert client.command_count() > 50
    assert client.time()[0] > 1_600_000_000


def errors(client: redis.Redis) -> None:
    for command in (["NOSUCHCOMMAND", "x"], ["GET"], ["SET", "a", "b", "EX", "0"]):
        try:
            reply = client.execute_command(*command)
        except redis.ResponseError:
            continue
        raise AssertionError(f"{command}: {reply!r}")


def messages(port: int, protocol: int) -> None:
    client = redis.Redis(port=port, protocol=protocol, decode_responses=True)
    listener = client.pubsub()
    listener.subscribe("news", "other")
    listener.psubscribe("n*")

    def received(count: int) -> list:
        found = []
        while len(found) < count:
            message = listener.get_message(timeout=5)
            assert message is not None, found
            found.append((message["type"], message["channel"], message["data"]))
        return found

    assert received(3) == [("subscribe", "news", 1), ("subscribe", "other", 2), ("psubscribe", "n*", 3)]
    assert client.publish("news", "hello") == 2
    assert received(2) == [("message", "news", "hello"), ("pmessage", "news", "hello")]
    assert client.pubsub_channels() == ["news", "other"] or client.pubsub_channels() == ["other", "news"]
    assert client.pubsub_numsub("news", "none") == [("news", 1), ("none", 0)]
    assert client.pubsub_numpat() == 1
    long = "x" * 300_000
    with client.pipeline() as pipe:
        pipe.set("news:last", "y").publish("other", long).get("news:last")
        assert pipe.execute() == [True, 1, "y"]
    assert received(1) == [("message", "other", long)]
    listener.unsubscribe("news", "other")
    listener.punsubscribe()
    assert [kind for kind, _, _ in received(3)] == ["unsubscribe", "unsubscribe", "punsubscribe"]
    assert client.publish("news", "nobody") == 0
    listener.close()
    client.close()


def binary(port: int, protocol: int) -> None:
    raw = redis.Redis(port=port, protocol=protocol)
    value = bytes(range(256)) * 5000
    assert raw.set(b"\x00\r\n\xff", value) is True
    assert raw.get(b"\x00\r\n\xff") == value
    raw.close()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
