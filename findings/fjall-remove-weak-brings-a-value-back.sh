#!/usr/bin/env bash
# fjall 3.1.13 (the crate), seen on 2026-11-29.
#
# remove_weak of a key that was written twice, the first time into a table on disk, hides it until the memtable is written; then the
# first value is back: the weak tombstone went together with the second write alone. It is for keys that are written once.
#
#   after the removal: None, after the memtable was written: Some("first")
. "$(dirname "$0")/lib.bash"
found=$(rust weak 'fjall = { version = "=3.1.13", default-features = false }' << 'RUST'
use fjall::{Database, KeyspaceCreateOptions};

fn get(keyspace: &fjall::Keyspace) -> Option<String> {
    let value = keyspace.get("key").expect("a read");
    value.map(|value| String::from_utf8_lossy(&value).into_owned())
}

fn main() -> fjall::Result<()> {
    let database = Database::builder("db").open()?;
    let keyspace = database.keyspace("k", KeyspaceCreateOptions::default)?;
    keyspace.insert("key", "first")?;
    keyspace.rotate_memtable_and_wait()?;
    keyspace.insert("key", "second")?;
    keyspace.remove_weak("key")?;
    let removed = get(&keyspace);
    keyspace.rotate_memtable_and_wait()?;
    println!("after the removal: {removed:?}, after the memtable was written: {:?}", get(&keyspace));
    Ok(())
}
RUST
)
expect "remove_weak of a key written twice" 'after the removal: None, after the memtable was written: Some("first")' "$found"
verdict
