#!/usr/bin/env bash
# fjall 3.1.13 (the crate), seen on 2026-11-29.
#
# A database that makes and deletes a keyspace again and again, one at a time, takes more and more room: its list of keyspaces
# (keyspaces/0) grows with the square of their number, and Database::disk_space() does not count it. It shrinks when the database
# is opened again.
#
#   bytes of keyspaces/0 in real blocks after 50 cycles: 3,698,688, after 100: 12,505,088, opened again: 217,088
. "$(dirname "$0")/lib.bash"
found=$(rust square 'fjall = { version = "=3.1.13", default-features = false }' << 'RUST'
use std::os::unix::fs::MetadataExt;

use fjall::{Database, KeyspaceCreateOptions};

fn real_bytes(path: &std::path::Path) -> u64 {
    let mut total = 0;
    for entry in std::fs::read_dir(path).expect("a directory") {
        let entry = entry.expect("an entry");
        let metadata = entry.metadata().expect("metadata");
        total += if metadata.is_dir() { real_bytes(&entry.path()) } else { metadata.blocks() * 512 };
    }
    total
}

fn main() -> fjall::Result<()> {
    let list = std::path::Path::new("db/keyspaces/0");
    let mut sizes = Vec::new();
    {
        let database = Database::builder("db").open()?;
        for cycle in 1..=100 {
            let keyspace = database.keyspace(&format!("k{cycle}"), KeyspaceCreateOptions::default)?;
            database.delete_keyspace(keyspace)?;
            if cycle == 50 || cycle == 100 {
                sizes.push(real_bytes(list));
            }
        }
    }
    let database = Database::builder("db").open()?;
    sizes.push(real_bytes(list));
    drop(database);
    eprintln!("bytes after 50, 100, opened again: {sizes:?}");
    let factor = sizes[1] as f64 / sizes[0] as f64;
    println!("twice as many keyspaces: {} as much; opened again: {}", if factor > 3.0 { "more than 3 times" } else { "less than 3 times" }, if sizes[2] * 10 < sizes[1] { "less than a tenth" } else { "more than a tenth" });
    Ok(())
}
RUST
)
expect "the list of keyspaces" "twice as many keyspaces: more than 3 times as much; opened again: less than a tenth" "$found"
verdict
