// ioredis against the server: NODE_CLIENTS=.../node_modules node ioredis.mjs PORT PROTOCOL.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import path from "node:path";

const require = createRequire(path.join(process.env.NODE_CLIENTS, "here.js"));
const { Redis } = require("ioredis");

const [port, protocol] = process.argv.slice(2).map(Number);

async function strings(client) {
  assert.equal(await client.set("name", "värde"), "OK");
  assert.equal(await client.get("name"), "värde");
  assert.equal(await client.set("name", "other", "NX"), null);
  assert.equal(await client.set("name", "other", "EX", 100, "GET"), "värde");
  assert.ok((await client.ttl("name")) > 90);
  assert.equal(await client.get("missing"), null);
  assert.equal(await client.mset({ a: "1", b: "2" }), "OK");
  assert.deepEqual(await client.mget("a", "missing", "b"), ["1", null, "2"]);
  assert.equal(await client.incrby("a", 41), 42);
  assert.equal(await client.incrbyfloat("b", "0.5"), "2.5");
  assert.equal(await client.del("a", "b", "missing"), 2);
  const bytes = Buffer.from(Array.from({ length: 100_000 }, (_, index) => index % 256));
  await client.set(Buffer.from([0, 13, 10, 255]), bytes);
  assert.deepEqual(await client.getBuffer(Buffer.from([0, 13, 10, 255])), bytes);
}

async function pipeline(client) {
  const pipe = client.pipeline();
  for (let number = 0; number < 1000; number += 1) {
    pipe.set(`pipe:${number}`, number).get(`pipe:${number}`);
  }
  const replies = await pipe.exec();
  replies.forEach(([error, reply], index) => {
    assert.equal(error, null);
    assert.equal(reply, index % 2 ? String((index - 1) / 2) : "OK");
  });
  const [[none, value], [error]] = await client.pipeline().get("name").incr("name").exec();
  assert.equal(none, null);
  assert.equal(value, "other");
  assert.match(error.message, /^ERR value is not an integer/);
}

async function scripts(client) {
  client.defineCommand("add", { numberOfKeys: 1, lua: "return redis.call('incrby', KEYS[1], ARGV[1])" });
  assert.equal(await client.add("sum", 2), 2);
  assert.equal(await client.script("FLUSH"), "OK");
  // The client sends its text again.
  assert.equal(await client.add("sum", 3), 5);
  const replies = await client.multi().add("sum", 1).get("sum").exec();
  assert.deepEqual(replies, [[null, 6], [null, "6"]]);
  await assert.rejects(client.eval("return redis.call('lpush', KEYS[1], 1)", 1, "sum"), /^ReplyError: WRONGTYPE/);
}

async function scan(client) {
  const found = new Set();
  for await (const keys of client.scanStream({ match: "pipe:*", count: 50 })) {
    keys.forEach((key) => found.add(key));
  }
  assert.equal(found.size, 1000);
  assert.ok((await client.dbsize()) >= 1000);
}

async function server(client) {
  const info = await client.info();
  assert.match(info, /^redis_version:\d+\.\d+/m);
  assert.match(info, /^redis_mode:standalone\r$/m);
  assert.match(info, /^db0:keys=\d+/m);
  assert.match(await client.client("LIST"), /^id=\d+ addr=\S+ .*name=node-test /m);
  assert.equal(await client.client("GETNAME"), "node-test");
  const config = await client.config("GET", "maxmemory");
  assert.equal(config[0] ?? Object.keys(config)[0], "maxmemory");
  assert.equal(await client.config("SET", "slowlog-max-len", 128), "OK");
  await assert.rejects(client.call("NOSUCHCOMMAND", "x"), /^ReplyError: ERR unknown command 'NOSUCHCOMMAND'/);
}

async function messages(client) {
  const listener = new Redis({ port, protocol });
  const got = [];
  listener.on("message", (channel, message) => got.push(["message", channel, message]));
  listener.on("pmessage", (pattern, channel, message) => got.push([pattern, channel, message]));
  assert.equal(await listener.subscribe("news", "other"), 2);
  assert.equal(await listener.psubscribe("n*"), 3);
  assert.equal(await client.publish("news", "hello"), 2);
  assert.equal(await client.publish("other", "world"), 1);
  while (got.length < 3) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.deepEqual(got, [["message", "news", "hello"], ["n*", "news", "hello"], ["message", "other", "world"]]);
  assert.equal(await listener.unsubscribe("news"), 2);
  assert.equal(await client.publish("news", "hello"), 1);
  assert.equal(await listener.quit(), "OK");
}

const client = new Redis({ port, protocol, connectionName: "node-test", maxRetriesPerRequest: 1 });
const tooLong = setTimeout(() => {
  console.error("no end after 60 s");
  process.exit(1);
}, 60_000);
assert.equal(await client.ping(), "PONG");
await strings(client);
await pipeline(client);
await scripts(client);
await scan(client);
await messages(client);
await server(client);
await client.flushall();
assert.equal(await client.quit(), "OK");
clearTimeout(tooLong);
console.log("ok");
