#!/usr/bin/env bash
# zstd 0.14.0 (the crate, features zdict_builder; libzstd 1.5.7), seen on 2026-11-29.
#
# Training a dictionary fails with up to six samples, however long they are ("Src size is incorrect"), and succeeds with seven equal ones of
# 100 bytes. A dictionary of less than 256 bytes cannot be asked for.
#
#   6 of 100 bytes: Err, 6 of 100000: Err, 7 of 100: Ok, 100 of 100 with room for 255: Err
. "$(dirname "$0")/lib.bash"
found=$(rust zstd 'zstd = { version = "=0.14.0", default-features = false, features = ["zdict_builder"] }' << 'RUST'
fn train(count: usize, bytes: usize, room: usize) -> &'static str {
    let text = "{\"id\":1,\"name\":\"somebody\",\"mail\":\"somebody@example.org\"},";
    let sample: Vec<u8> = text.bytes().cycle().take(bytes).collect();
    let samples = vec![sample; count];
    if zstd::dict::from_samples(&samples, room).is_ok() { "Ok" } else { "Err" }
}

fn main() {
    println!(
        "6 of 100 bytes: {}, 6 of 100000: {}, 7 of 100: {}, 100 of 100 with room for 255: {}",
        train(6, 100, 4096), train(6, 100_000, 4096), train(7, 100, 4096), train(100, 100, 255)
    );
}
RUST
)
expect "training" "6 of 100 bytes: Err, 6 of 100000: Err, 7 of 100: Ok, 100 of 100 with room for 255: Err" "$found"
verdict
