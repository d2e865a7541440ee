#!/usr/bin/env bash
# fjall 3.1.13 (the crate), seen on 2026-11-29.
#
# Once a keyspace is deleted, insert and remove through a handle to it answer KeyspaceDeleted. A batch that is committed into it, and an
# ingestion, answer Ok, and what they wrote is lost: after opening the database again there is no such keyspace.
#
#   insert: Err(KeyspaceDeleted), batch: Ok, ingestion: Ok; names after opening: []
. "$(dirname "$0")/lib.bash"
found=$(rust dropped 'fjall = { version = "=3.1.13", default-features = false }' << 'RUST'
use fjall::{Database, KeyspaceCreateOptions};

fn main() -> fjall::Result<()> {
    let (insert, batch, ingestion) = {
        let database = Database::builder("db").open()?;
        let keyspace = database.keyspace("k", KeyspaceCreateOptions::default)?;
        keyspace.insert("key", "value")?;
        database.delete_keyspace(keyspace.clone())?;
        let insert = match keyspace.insert("key", "more") {
            Ok(()) => "Ok".to_owned(),
            Err(error) => format!("Err({error:?})"),
        };
        let mut batch = database.batch();
        batch.insert(&keyspace, "key", "batch");
        let batch = batch.commit().is_ok();
        let mut ingestion = keyspace.start_ingestion()?;
        ingestion.write("key", "ingested")?;
        (insert, batch, ingestion.finish().is_ok())
    };
    let say = |ok| if ok { "Ok" } else { "Err" };
    let database = Database::builder("db").open()?;
    let names = database.list_keyspace_names();
    println!("insert: {insert}, batch: {}, ingestion: {}; names after opening: {names:?}", say(batch), say(ingestion));
    Ok(())
}
RUST
)
expect "writes to a deleted keyspace" "insert: Err(KeyspaceDeleted), batch: Ok, ingestion: Ok; names after opening: []" "$found"
verdict
