#!/usr/bin/env bash
# fjall 3.1.13 (the crate), seen on 2026-11-30.
#
# The files of a keyspace that was deleted, and whose last handle has gone, leave their directory but stay open in the database's table
# of descriptors, if they were read before: their blocks are not free for as long as they are not displaced there, however long that is.
# `du` does not see them.
#
#   directories of keyspaces: 1 after 2, deleted files that are open: 8 of 8 MB or more
. "$(dirname "$0")/lib.bash"
found=$(rust open_files 'fjall = { version = "=3.1.13", default-features = false }' << 'RUST'
use std::{fs, thread, time::Duration};

use fjall::{Database, KeyspaceCreateOptions};

fn deleted_and_open() -> Vec<u64> {
    let files = fs::read_dir("/proc/self/fd").unwrap().map(|file| file.unwrap().path());
    files
        .filter(|file| fs::read_link(file).is_ok_and(|path| path.to_string_lossy().ends_with(" (deleted)")))
        .map(|file| fs::metadata(file).unwrap().len())
        .collect()
}

fn directories() -> usize {
    fs::read_dir("db/keyspaces").unwrap().count()
}

fn main() -> fjall::Result<()> {
    let database = Database::builder("db").open()?;
    let keyspace = database.keyspace("k", KeyspaceCreateOptions::default)?;
    let value = vec![7; 1 << 20];
    for table in 0..8 {
        let mut ingestion = keyspace.start_ingestion()?;
        for part in 0..8 {
            ingestion.write(format!("{table}:{part}"), &*value)?;
        }
        ingestion.finish()?;
    }
    for table in 0..8 {
        assert!(keyspace.get(format!("{table}:3"))?.is_some());
    }
    let before = directories();
    database.delete_keyspace(keyspace)?;
    thread::sleep(Duration::from_secs(3));
    let open = deleted_and_open();
    let large = open.iter().filter(|bytes| **bytes >= 8 << 20).count();
    println!(
        "directories of keyspaces: {} after {before}, deleted files that are open: {large} of 8 MB or more",
        directories()
    );
    Ok(())
}
RUST
)
expect "files of a deleted keyspace" "directories of keyspaces: 1 after 2, deleted files that are open: 8 of 8 MB or more" "$found"
verdict
