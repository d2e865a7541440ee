//! What the store costs: `cargo test --release --lib tier::store::tests::measure -- --ignored --nocapture`.

use std::time::Instant;

use super::*;

const KEYS: u64 = 2_000_000;

fn proc_number(file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/self/{file}")).unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
#[ignore = "takes half a minute, and is of use only in a release build"]
fn measure() {
    measure_records(100, KEYS, KEYS / 10);
    // Ten runs for each generation.
    measure_records(100, KEYS, KEYS / 100);
    measure_records(1_000, KEYS / 10, KEYS / 100);
}

fn measure_records(record_bytes: usize, keys: u64, run_keys: u64) {
    let scratch = Scratch::new();
    let options = StoreOptions {
        cache_bytes: 32 << 20,
        open_files: 96,
        generations: 12,
        max_age: std::time::Duration::ZERO,
        ..scratch.options(keys * (record_bytes as u64 + 20) * 11 / 10)
    };
    let (store, mut writer) = Store::open(options.clone()).unwrap();
    let (mut spent, mut user_bytes) = (0.0, 0);
    let written = proc_number("io", "write_bytes:");
    for run in 0..keys / run_keys {
        let batch = records(&store, run * run_keys..(run + 1) * run_keys, record_bytes);
        let start = Instant::now();
        user_bytes += write(&mut writer, &batch).bytes;
        spent += start.elapsed().as_secs_f64();
    }
    let stats = store.stats();
    let written = proc_number("io", "write_bytes:") - written;
    println!("{keys} keys of {record_bytes} B: ingest {spent:.2} s, {stats:?}");
    println!(
        "user {user_bytes} B, written {written} B, on disk {} B; {:.2} filter B/key; RSS {} KiB, peak {} KiB",
        stats.disk_bytes,
        stats.filter_bytes as f64 / keys as f64,
        proc_number("status", "VmRSS"),
        proc_number("status", "VmHWM"),
    );
    let absent: Vec<u64> = (keys..keys + 1_000_000)
        .map(|i| store.hash_of(&key(store.hash_seed(), i)))
        .collect();
    let start = Instant::now();
    let maybe = absent.iter().filter(|hash| store.may_hold(**hash)).count();
    let ns = start.elapsed().as_nanos() as f64 / absent.len() as f64;
    println!("may_hold: {ns:.0} ns for an absent key, {maybe} of 1,000,000 maybe");

    let mut random = Random(1);
    let sample: Vec<_> = (0..100_000)
        .map(|_| key(store.hash_seed(), random.below(keys)))
        .collect();
    let start = Instant::now();
    for key in &sample {
        assert!(store.get(store.hash_of(key), key).unwrap().is_some());
    }
    let us = start.elapsed().as_micros() as f64 / sample.len() as f64;
    println!("get: {us:.1} us for a key from the page cache");
    let start = Instant::now();
    let scanned = store.scan(0).unwrap().map(Result::unwrap).count();
    let us = start.elapsed().as_micros() as f64 / scanned as f64;
    println!("scan: {us:.2} us for a key of {scanned}");
    let start = Instant::now();
    let bytes = drop_oldest(&mut writer);
    println!("drop: {:?} for {bytes} B", start.elapsed());
    let start = Instant::now();
    writer.close().unwrap();
    drop(store);
    println!("close: {:?}", start.elapsed());
    let start = Instant::now();
    let (store, writer) = Store::open(options.clone()).unwrap();
    println!(
        "open: {:?}, RSS {} KiB",
        start.elapsed(),
        proc_number("status", "VmRSS")
    );
    drop((store, writer));
    fs::remove_dir_all(options.dir.join("filters")).unwrap();
    let (store, _writer) = Store::open(options).unwrap();
    let start = Instant::now();
    wait_for_filters(&store);
    println!("filters rebuilt: {:?}", start.elapsed());
}
