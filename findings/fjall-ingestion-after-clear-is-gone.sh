#!/usr/bin/env bash
# fjall 3.1.13 (the crate), seen on 2026-11-29.
#
# What is ingested into a keyspace after Keyspace::clear() is there until the database is opened again, and then it is gone, without
# an error: the journal replays the clear over it. Drop the keyspace and make another, or insert in the place of an ingestion.
#
#   before closing: Some("new"), after opening: None
. "$(dirname "$0")/lib.bash"
found=$(rust clear 'fjall = { version = "=3.1.13", default-features = false }' << 'RUST'
use fjall::{Database, KeyspaceCreateOptions};

fn get(keyspace: &fjall::Keyspace) -> Option<String> {
    let value = keyspace.get("key").expect("a read");
    value.map(|value| String::from_utf8_lossy(&value).into_owned())
}

fn main() -> fjall::Result<()> {
    let before = {
        let database = Database::builder("db").open()?;
        let keyspace = database.keyspace("k", KeyspaceCreateOptions::default)?;
        keyspace.insert("other", "old")?;
        keyspace.clear()?;
        let mut ingestion = keyspace.start_ingestion()?;
        ingestion.write("key", "new")?;
        ingestion.finish()?;
        get(&keyspace)
    };
    let database = Database::builder("db").open()?;
    let keyspace = database.keyspace("k", KeyspaceCreateOptions::default)?;
    println!("before closing: {before:?}, after opening: {:?}", get(&keyspace));
    Ok(())
}
RUST
)
expect "an ingestion after clear()" 'before closing: Some("new"), after opening: None' "$found"
verdict
