#!/usr/bin/env bash
# lz4_flex 0.14.0 (the crate, features std, safe-encode, safe-decode), seen on 2026-11-29.
#
# decompress_size_prepended takes a block whose size prefix says one byte more than there is, and gives what there is, without an
# error: a length that is kept apart must be compared. A prefix that is one too small is an error.
#
#   right: Ok with 100 bytes, one too large: Ok with 100 bytes, one too small: Err
. "$(dirname "$0")/lib.bash"
found=$(rust lz4 'lz4_flex = { version = "=0.14.0", default-features = false, features = ["std", "safe-encode", "safe-decode"] }' << 'RUST'
use lz4_flex::block::{compress_prepend_size, decompress_size_prepended};

fn with_prefix(block: &[u8], size: u32) -> String {
    let changed = [&size.to_le_bytes()[..], &block[4..]].concat();
    match decompress_size_prepended(&changed) {
        Ok(bytes) => format!("Ok with {} bytes", bytes.len()),
        Err(_) => "Err".to_owned(),
    }
}

fn main() {
    let text = b"0123456789".repeat(10);
    let block = compress_prepend_size(&text);
    println!("right: {}, one too large: {}, one too small: {}", with_prefix(&block, 100), with_prefix(&block, 101), with_prefix(&block, 99));
}
RUST
)
expect "size prefixes" "right: Ok with 100 bytes, one too large: Ok with 100 bytes, one too small: Err" "$found"
verdict
