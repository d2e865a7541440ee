#!/usr/bin/env bash
# fjall 3.1.13 (the crate), seen on 2026-11-29.
#
# Keyspace::iter() shows the keyspace as it was when it was called. Keyspace::range() and prefix() do not: a value that is overwritten while
# they run is seen as it is now, and a key that is removed is missing. Database::snapshot() has a range that stands still.
#
#   iter: a1 b1 c1 d1 e1, range: a1 b1 c1 d2, range of a snapshot: a1 b1 c1 d1 e1
. "$(dirname "$0")/lib.bash"
found=$(rust range 'fjall = { version = "=3.1.13", default-features = false }' << 'RUST'
use fjall::{Database, Guard, Keyspace, KeyspaceCreateOptions, Readable};

fn look(keyspace: &Keyspace, mut items: impl Iterator<Item = Guard>) -> String {
    for key in ["a", "b", "c", "d", "e"] {
        keyspace.insert(key, "1").expect("a write");
    }
    let mut shown = Vec::new();
    let mut show = |guard: Guard| {
        let (key, value) = guard.into_inner().expect("a read");
        shown.push(format!("{}{}", String::from_utf8_lossy(&key), String::from_utf8_lossy(&value)));
    };
    items.next().map(&mut show);
    keyspace.insert("d", "2").expect("a write");
    keyspace.remove("e").expect("a removal");
    items.for_each(show);
    shown.join(" ")
}

fn main() -> fjall::Result<()> {
    let database = Database::builder("db").open()?;
    let keyspace = database.keyspace("k", KeyspaceCreateOptions::default)?;
    for key in ["a", "b", "c", "d", "e"] {
        keyspace.insert(key, "1")?;
    }
    let iter = look(&keyspace, keyspace.iter());
    for key in ["a", "b", "c", "d", "e"] {
        keyspace.insert(key, "1")?;
    }
    let range = look(&keyspace, keyspace.range::<&str, _>(..));
    for key in ["a", "b", "c", "d", "e"] {
        keyspace.insert(key, "1")?;
    }
    let of_snapshot = look(&keyspace, database.snapshot().range::<&str, _>(&keyspace, ..));
    println!("iter: {iter}, range: {range}, range of a snapshot: {of_snapshot}");
    Ok(())
}
RUST
)
expect "what a walk sees" "iter: a1 b1 c1 d1 e1, range: a1 b1 c1 d2, range of a snapshot: a1 b1 c1 d1 e1" "$found"
verdict
