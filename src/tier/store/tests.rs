//! The store against a naive model, and what it does when it is killed or its disk is damaged.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::random::Random;

mod measure;

pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("strata-store-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(super) fn options(&self, max_bytes: u64) -> StoreOptions {
        StoreOptions {
            dir: self.0.join("tier"),
            max_bytes,
            cache_bytes: 1 << 20,
            open_files: 16,
            generations: 4,
            max_age: std::time::Duration::ZERO,
            hash_key,
        }
    }

    /// The filters' walks of a store that was dropped, not closed, may hold it a little longer.
    pub(super) fn open(&self) -> (Arc<Store>, Writer) {
        loop {
            match Store::open(self.options(1 << 20)) {
                Err(StoreError::Busy) => std::thread::yield_now(),
                opened => return opened.unwrap(),
            }
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Where the tree of a generation is.
fn generation(scratch: &Path, number: u64) -> PathBuf {
    scratch.join(format!("tier/generations/{number:016x}"))
}

/// The prefix of a test's key is part of its hash, as in the server.
fn hash_key(seed: u64, key: &[u8]) -> u64 {
    use std::hash::{BuildHasher, Hasher};
    let mut hasher = foldhash::quality::FixedState::with_seed(seed).build_hasher();
    hasher.write(&key[4..]);
    hasher.finish()
}

pub(super) fn key(seed: u64, i: u64) -> Vec<u8> {
    let name = format!("    key:{i}").into_bytes();
    let prefix = (hash_key(seed, &name) >> 32) as u32;
    [&prefix.to_be_bytes()[..], &name[4..]].concat()
}

/// xorshift64.
/// None is a marker.
pub(super) type Batch = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

pub(super) fn write(writer: &mut Writer, batch: &Batch) -> RunDone {
    let store = Arc::clone(writer.store());
    let mut run = writer.begin_run().unwrap();
    for (key, record) in batch {
        match record {
            Some(record) => run.write(store.hash_of(key), key, record).unwrap(),
            None => run.mark(store.hash_of(key), key).unwrap(),
        }
    }
    run.finish().unwrap()
}

pub(super) fn records(store: &Store, keys: std::ops::Range<u64>, bytes: usize) -> Batch {
    keys.map(|i| (key(store.hash_seed(), i), Some(vec![i as u8; bytes])))
        .collect()
}

pub(super) fn record(store: &Store, key: &[u8]) -> Option<Vec<u8>> {
    let hash = store.hash_of(key);
    let found = store.get(hash, key).unwrap().map(|record| record.to_vec());
    assert_eq!(store.holds(hash, key).unwrap(), found.is_some());
    assert!(found.is_none() || store.may_hold(hash));
    found
}

pub(super) fn all(store: &Store, from: u32) -> Vec<(Vec<u8>, Vec<u8>)> {
    let entries = store.scan(from).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            let record = entry.record().unwrap().unwrap();
            assert_eq!(record.len(), entry.size as usize);
            (entry.key.to_vec(), record.to_vec())
        })
        .collect()
}

fn wait_for_filters(store: &Store) {
    while store.stats().filters_missing > 0 {
        std::thread::yield_now();
    }
}

fn check(store: &Store, model: &BTreeMap<Vec<u8>, Vec<u8>>, keys: u64) {
    for i in 0..keys {
        let key = key(store.hash_seed(), i);
        assert_eq!(record(store, &key), model.get(&key).cloned(), "key {i}");
    }
    for step in [1, 3, 50] {
        check_many(store, model, (0..keys).step_by(step));
    }
    let from = u32::MAX / 3;
    let expected = model.range(from.to_be_bytes().to_vec()..);
    let expected: Vec<_> = expected.map(|(k, v)| (k.clone(), v.clone())).collect();
    assert_eq!(all(store, from), expected);
    assert_eq!(all(store, 0).len(), model.len());
}

/// The same of many keys at once, until none is left out.
fn check_many(store: &Store, model: &BTreeMap<Vec<u8>, Vec<u8>>, keys: impl Iterator<Item = u64>) {
    let keys = keys.map(|i| key(store.hash_seed(), i));
    let mut open: Vec<_> = keys.map(|key| (store.hash_of(&key), key)).collect();
    open.sort_by(|(_, a), (_, b)| a.cmp(b));
    while !open.is_empty() {
        let answers = store.find_many(&open).unwrap();
        let before = open.len();
        let asked = std::mem::take(&mut open).into_iter();
        for (key, answer) in asked.zip(answers) {
            let expected = model.get(&key.1);
            match answer {
                Answer::LeftOut => open.push(key),
                Answer::Nothing => assert_eq!(expected, None),
                Answer::Record(located) => {
                    assert_eq!(expected.map(|record| &**record), Some(&*located.record));
                }
            }
        }
        assert!(open.len() < before, "some are answered each time");
    }
}

/// Lets the next part of the oldest generation go; every second of its keys that are alive is written again, the rest leave
/// the model.
fn drop_part(writer: &mut Writer, model: &mut BTreeMap<Vec<u8>, Vec<u8>>) {
    let store = Arc::clone(writer.store());
    let (mut again, mut gone) = (Batch::new(), Vec::new());
    let part = writer.next_part(None).unwrap().unwrap();
    let (generation, end) = (part.generation(), part.end());
    for (i, entry) in part.enumerate() {
        let entry = entry.unwrap();
        let hash = store.hash_of(&entry.key);
        if store.has_newer(generation, hash, &entry.key).unwrap() {
            continue;
        }
        let record = entry.record().unwrap().map(|record| record.to_vec());
        assert_eq!(record.as_ref(), model.get(&*entry.key));
        if i % 2 == 0 && record.is_some() {
            again.insert(entry.key.to_vec(), record);
        } else {
            gone.push(entry.key.to_vec());
        }
    }
    write(writer, &again);
    writer.let_go(end).unwrap();
    for key in gone {
        model.remove(&key);
    }
}

/// Drops the oldest generation, whatever is in it.
fn drop_oldest(writer: &mut Writer) -> u64 {
    let end = writer.next_part(None).unwrap().unwrap().end();
    writer.let_go(end.of_all()).unwrap()
}

#[test]
fn the_store_does_as_a_map() {
    const KEYS: u64 = 3_000;
    let seed = 0x5EED_0001;
    let mut random = Random(seed);
    let scratch = Scratch::new();
    let (mut store, mut writer) = scratch.open();
    let mut model = BTreeMap::new();
    let (mut rotated, mut dropped) = (0, 0);
    for round in 0..36 {
        let mut batch = Batch::new();
        for _ in 0..random.below(800) + 1 {
            let key = key(store.hash_seed(), random.below(KEYS));
            // On both sides of the size from which records lie apart.
            let bytes = random.below(1_000) as usize;
            let record = (random.below(4) > 0).then(|| vec![bytes as u8; bytes + 1]);
            batch.insert(key, record);
        }
        let done = write(&mut writer, &batch);
        assert_eq!(done.records, batch.len() as u64);
        for (key, record) in batch {
            match record {
                Some(record) => model.insert(key, record),
                None => model.remove(&key),
            };
        }
        // Sometimes not to the end of a generation.
        while store.is_full() && random.below(9) > 0 {
            drop_part(&mut writer, &mut model);
            dropped += 1;
        }
        rotated = rotated.max(store.stats().generations);
        if round % 12 == 5 {
            check(&store, &model, KEYS);
        }
        if round % 12 == 11 {
            if round == 23 {
                writer.close().unwrap();
            } else {
                drop(writer);
            }
            drop(store);
            (store, writer) = scratch.open();
            let clean = if round == 23 {
                Recovery::Clean
            } else {
                Recovery::Unclean
            };
            assert_eq!(*store.recovery(), clean);
            check(&store, &model, KEYS);
        }
    }
    assert!(rotated >= 3 && dropped >= 3, "{rotated} {dropped}");
    wait_for_filters(&store);
    check(&store, &model, KEYS);
}

#[test]
fn of_very_many_keys_no_more_is_held_than_one_call_may_read() {
    let scratch = Scratch::new();
    let (store, mut writer) = scratch.open();
    let mut model = BTreeMap::new();
    // One after the other overwrites every third key, the last by markers.
    for (round, bytes) in [(0, 3_000), (1, 40), (2, 0)] {
        let mut batch = records(&store, 0..900, bytes);
        batch.retain(|key, _| store.hash_of(key) % 3 >= round);
        for (key, record) in &mut batch {
            if bytes == 0 {
                *record = None;
                model.remove(key);
            } else {
                model.insert(key.clone(), record.clone().unwrap());
            }
        }
        write(&mut writer, &batch);
    }
    let keys = (0..1_000).map(|i| key(store.hash_seed(), i));
    let mut keys: Vec<_> = keys.map(|key| (store.hash_of(&key), key)).collect();
    keys.sort_by(|(_, a), (_, b)| a.cmp(b));
    for step in [1, 7] {
        check_many(&store, &model, (0..1_000).step_by(step));
    }
    let mut large = records(&store, 0..900, 300_000);
    large.retain(|key, _| store.hash_of(key) % 9 == 0);
    assert!(large.len() > 50);
    write(&mut writer, &large);
    for (key, record) in large {
        model.insert(key, record.unwrap());
    }
    let read: usize = (store.find_many(&keys).unwrap().iter())
        .map(|answer| match answer {
            Answer::Record(located) => located.record.len(),
            _ => 0,
        })
        .sum();
    assert!(read < 2 << 20, "{read}");
    check_many(&store, &model, 0..1_000);
}

#[test]
fn the_keys_of_a_run_must_ascend() {
    let scratch = Scratch::new();
    let (store, mut writer) = scratch.open();
    let (low, high) = (b"aaaa1".as_slice(), b"aaaa2".as_slice());
    let mut run = writer.begin_run().unwrap();
    run.write(store.hash_of(high), high, b"x").unwrap();
    for key in [low, high] {
        let result = run.write(store.hash_of(key), key, b"x");
        assert!(matches!(result, Err(StoreError::Order)));
    }
    assert!(matches!(run.mark(0, b"zzz"), Err(StoreError::Size)));
    let long = vec![b'z'; 65_536];
    assert!(matches!(run.mark(0, &long), Err(StoreError::Size)));
    let longest = &long[1..];
    assert!(matches!(run.write(0, longest, b""), Err(StoreError::Size)));
    run.write(store.hash_of(longest), longest, b"y").unwrap();
    assert_eq!(run.finish().unwrap().records, 2);
    assert_eq!(record(&store, longest).unwrap(), b"y");
}

#[test]
fn an_unfinished_run_leaves_no_trace() {
    let scratch = Scratch::new();
    let (store, mut writer) = scratch.open();
    write(&mut writer, &records(&store, 0..10, 600));
    let before = all(&store, 0);
    let mut run = writer.begin_run().unwrap();
    for (key, record) in records(&store, 5..5_000, 700) {
        run.write(store.hash_of(&key), &key, &record.unwrap())
            .unwrap();
    }
    drop(run);
    assert_eq!(all(&store, 0), before);
    let bytes = |scratch: &Scratch| -> u64 {
        let files = |path: &str| fs::read_dir(generation(&scratch.0, 0).join(path));
        let sizes = |path| {
            files(path)
                .unwrap()
                .map(|f| f.unwrap().metadata().unwrap().len())
        };
        sizes("tables").chain(sizes("blobs")).sum()
    };
    assert!(bytes(&scratch) < 50_000);
    writer.reopen().unwrap();
    assert_eq!(all(&store, 0), before);
    write(&mut writer, &records(&store, 0..20, 10));
    assert_eq!(all(&store, 0).len(), 20);
}

#[test]
fn filters_are_loaded_after_a_close_and_rebuilt_without_files() {
    let scratch = Scratch::new();
    let (store, mut writer) = scratch.open();
    for i in 0..8 {
        write(&mut writer, &records(&store, i * 500..i * 500 + 500, 300));
    }
    assert!(store.stats().generations >= 3);
    let (seed, stats) = (store.hash_seed(), store.stats());
    writer.close().unwrap();
    assert!(store.may_hold(1) && matches!(store.get(1, b"aaaa"), Err(StoreError::Closed)));
    drop(store);

    let (store, writer) = scratch.open();
    assert_eq!(*store.recovery(), Recovery::Clean);
    assert_eq!(store.hash_seed(), seed);
    assert_eq!(store.stats().filters_missing, 0);
    assert_eq!(store.stats().generations, stats.generations);
    assert_eq!(store.stats().records, 4_000);
    writer.close().unwrap();
    drop(store);

    fs::remove_dir_all(scratch.0.join("tier/filters")).unwrap();
    let (store, mut writer) = scratch.open();
    write(&mut writer, &records(&store, 4_000..4_100, 300));
    wait_for_filters(&store);
    let of = |i| store.hash_of(&key(seed, i));
    assert!((0..4_100).all(|i| store.may_hold(of(i))));
    let absent = (10_000..20_000).filter(|i| store.may_hold(of(*i))).count();
    let generations = store.stats().generations;
    assert!(absent <= 100 * generations, "{absent} in {generations}");
    assert_eq!(all(&store, 0).len(), 4_100);
}

#[test]
fn a_stale_filter_file_is_not_used() {
    let scratch = Scratch::new();
    let (store, mut writer) = scratch.open();
    write(&mut writer, &records(&store, 0..100, 10));
    writer.close().unwrap();
    drop(store);
    let file = scratch
        .0
        .join("tier/filters")
        .join(format!("{:016x}.filter", 0));
    let old = fs::read(&file).unwrap();

    let (store, mut writer) = scratch.open();
    write(&mut writer, &records(&store, 100..200, 10));
    assert!(!file.exists());
    drop((store, writer));
    for bytes in [old.clone(), old[..old.len() - 1].to_vec(), Vec::new()] {
        fs::write(&file, bytes).unwrap();
        let (store, _writer) = scratch.open();
        assert_eq!(*store.recovery(), Recovery::Unclean);
        assert!((0..200).all(|i| store.may_hold(store.hash_of(&key(store.hash_seed(), i)))));
        wait_for_filters(&store);
    }
}

/// Everything a running store has on disk, as a kill would leave it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let to = to.join(file.file_name());
        if file.file_type().unwrap().is_dir() {
            copy(&file.path(), &to);
        } else {
            fs::copy(file.path(), to).unwrap();
        }
    }
}

#[test]
fn finished_runs_survive_a_kill() {
    let (scratch, killed) = (Scratch::new(), Scratch::new());
    let (store, mut writer) = scratch.open();
    for i in 0..10 {
        write(&mut writer, &records(&store, i * 200..i * 200 + 300, 600));
    }
    let expected = all(&store, 0);
    let mut run = writer.begin_run().unwrap();
    for (key, record) in records(&store, 0..2_000, 700) {
        run.write(store.hash_of(&key), &key, &record.unwrap())
            .unwrap();
    }
    copy(&scratch.0.join("tier"), &killed.0.join("tier"));
    let (store, mut writer) = killed.open();
    assert_eq!(*store.recovery(), Recovery::Unclean);
    assert_eq!(all(&store, 0), expected);
    write(&mut writer, &records(&store, 0..10, 5));
    assert_eq!(record(&store, &key(store.hash_seed(), 3)), Some(vec![3; 5]));
}

/// Flips a byte in every file of a directory.
fn damage(dir: &Path, at: usize) {
    for file in fs::read_dir(dir).unwrap() {
        let path = file.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        bytes[at] ^= 0x40;
        fs::write(path, bytes).unwrap();
    }
}

#[test]
fn a_damaged_generation_is_an_error_until_it_is_quarantined() {
    let scratch = Scratch::new();
    let (store, mut writer) = scratch.open();
    let seed = store.hash_seed();
    // Three generations: all keys; new versions of the first half, and a key deleted; some others.
    write(&mut writer, &records(&store, 0..1_000, 300));
    let mut second = records(&store, 0..500, 600);
    second.insert(key(seed, 900), None);
    write(&mut writer, &second);
    write(&mut writer, &records(&store, 700..710, 20));
    assert_eq!(store.stats().generations, 3);
    writer.close().unwrap();
    drop(store);
    damage(&generation(&scratch.0, 1).join("tables"), 100);

    let (store, mut writer) = scratch.open();
    let failed = (0..500).find_map(|i| {
        let key = key(seed, i);
        store.get(store.hash_of(&key), &key).err()
    });
    let Some(error @ StoreError::Read { generation, .. }) = failed else {
        panic!("{failed:?}");
    };
    assert!(error.is_damage());
    assert_eq!(generation, 1);
    assert!(matches!(
        store
            .scan(0)
            .and_then(|scan| scan.collect::<Result<Vec<_>, _>>()),
        Err(StoreError::Read { generation: 1, .. })
    ));
    assert!(store.quarantine(1) && !store.quarantine(1));

    // What it held is gone, in no older version either; the rest is there, but for what its filter takes for its own.
    let expect = |store: &Store| {
        assert!(
            (0..500)
                .chain([900])
                .all(|i| record(store, &key(seed, i)).is_none())
        );
        let rest = (500..900).chain(901..1_000);
        let rest = rest
            .filter(|i| record(store, &key(seed, *i)).is_some())
            .count();
        assert!(rest > 480, "{rest}");
        assert!((700..710).all(|i| record(store, &key(seed, i)) == Some(vec![i as u8; 20])));
        assert_eq!(all(store, 0).len(), rest);
        assert!(!store.may_hold(store.hash_of(&key(seed, 1))));
    };
    expect(&store);
    assert_eq!(
        (store.stats().quarantined, store.stats().generations),
        (1, 2)
    );
    drop((store, writer));
    (_, writer) = scratch.open();
    let store = Arc::clone(writer.store());
    wait_for_filters(&store);
    expect(&store);

    // When nothing older is left, its filter goes.
    drop_oldest(&mut writer);
    assert_eq!(all(&store, 0).len(), 10);
    let lost = store.files.filters_of(FilterKind::Lost).unwrap();
    assert!(lost.is_empty());
}

#[test]
fn a_quarantined_run_is_an_error() {
    let scratch = Scratch::new();
    let (store, mut writer) = scratch.open();
    let batch = records(&store, 0..100, 10);
    let mut run = writer.begin_run().unwrap();
    for (key, record) in &batch {
        run.write(store.hash_of(key), key, record.as_ref().unwrap())
            .unwrap();
    }
    assert!(store.quarantine(run.generation()));
    assert!(run.finish().is_err());
    assert!(all(&store, 0).is_empty());
    write(&mut writer, &batch);
    assert_eq!(all(&store, 0).len(), 100);
}

#[test]
fn a_store_that_cannot_be_opened_is_put_aside() {
    type Ruin = fn(&Path);
    let ruins: [Ruin; 3] = [
        |tier| fs::write(tier.join("tier.meta"), "garbage").unwrap(),
        |tier| fs::remove_file(tier.join("tier.meta")).unwrap(),
        |tier| {
            fs::remove_file(tier.join("tier.meta")).unwrap();
            fs::create_dir(tier.join("tier.meta")).unwrap();
        },
    ];
    for ruin in ruins {
        let scratch = Scratch::new();
        let (store, mut writer) = scratch.open();
        write(&mut writer, &records(&store, 0..100, 10));
        writer.close().unwrap();
        drop(store);
        ruin(&scratch.0.join("tier"));
        let (store, mut writer) = scratch.open();
        let Recovery::PutAside(to) = store.recovery() else {
            panic!("{:?}", store.recovery());
        };
        assert!(to.join("generations").exists());
        assert!(all(&store, 0).is_empty());
        write(&mut writer, &records(&store, 0..100, 10));
        assert_eq!(all(&store, 0).len(), 100);
    }
}

#[test]
fn a_store_is_opened_once() {
    let scratch = Scratch::new();
    let (_store, _writer) = scratch.open();
    let second = Store::open(scratch.options(1 << 20));
    assert!(matches!(second, Err(StoreError::Busy)));
}

#[test]
fn the_blob_is_kept() {
    let scratch = Scratch::new();
    let (store, writer) = scratch.open();
    assert_eq!(*store.recovery(), Recovery::New);
    assert!(store.blob().is_empty());
    store.set_blob(b"dictionaries".to_vec()).unwrap();
    drop((store, writer));
    let (store, _writer) = scratch.open();
    assert_eq!(store.blob(), b"dictionaries");
}

#[test]
fn readers_and_the_writer_do_not_disturb_each_other() {
    let scratch = Scratch::new();
    let (store, mut writer) = scratch.open();
    write(&mut writer, &records(&store, 0..300, 200));
    let done = AtomicBool::new(false);
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    for i in 0..300 {
                        let key = key(store.hash_seed(), i);
                        assert!(record(&store, &key).is_some(), "key {i}");
                    }
                    assert_eq!(all(&store, 0).len(), 300);
                }
            });
        }
        for _ in 0..20 {
            write(&mut writer, &records(&store, 0..300, 200));
            // Every key is in a newer generation.
            if store.stats().generations > 3 {
                drop_oldest(&mut writer);
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_key_that_is_written_again_is_in_every_walk_while_its_generation_goes() {
    let scratch = Scratch::new();
    let (store, mut writer) = scratch.open();
    write(&mut writer, &records(&store, 0..300, 200));
    let done = AtomicBool::new(false);
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    assert_eq!(all(&store, 0).len(), 300);
                    let keys = store.scan_keys(0, &|_| true).unwrap();
                    assert_eq!(keys.map(Result::unwrap).count(), 300);
                }
            });
        }
        for _ in 0..20 {
            // Something newer, so that the oldest is not the newest.
            write(&mut writer, &records(&store, 0..1, 40_000));
            let part = writer.next_part(None).unwrap().unwrap();
            let (generation, end) = (part.generation(), part.end());
            let mut again = Batch::new();
            for entry in part.map(Result::unwrap) {
                let hash = store.hash_of(&entry.key);
                if !store.has_newer(generation, hash, &entry.key).unwrap() {
                    let record = entry.record().unwrap().map(|record| record.to_vec());
                    again.insert(entry.key.to_vec(), record);
                }
            }
            write(&mut writer, &again);
            writer.let_go(end).unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn of_keys_that_are_not_wanted_no_record_is_read() {
    let scratch = Scratch::new();
    three_generations(&scratch, true);
    let (store, _writer) = scratch.open();
    let wanted_key = key(store.hash_seed(), 3);
    let asked = std::cell::Cell::new(0);
    let wanted = |key: &[u8]| {
        asked.set(asked.get() + 1);
        key == wanted_key
    };
    let keys: Vec<_> = store
        .scan_keys(0, &wanted)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    // The deleted one too, since nobody looked at its marker.
    assert_eq!(keys.len(), 1_000);
    assert!(keys.is_sorted_by(|a, b| a.key < b.key));
    assert_eq!(asked.get(), 1_511);
    for found in &keys {
        let expected = (*found.key == *wanted_key).then_some(600);
        assert_eq!(found.record.as_ref().map(|record| record.len()), expected);
    }
    let living = store.scan_keys(0, &|_| true).unwrap();
    assert_eq!(living.map(Result::unwrap).count(), 999);
}

/// Three generations: 1,000 keys; new versions of the first 500, and the last deleted; and ten between 700 and 710.
fn three_generations(scratch: &Scratch, clean: bool) {
    let (store, mut writer) = scratch.open();
    write(&mut writer, &records(&store, 0..1_000, 300));
    let mut second = records(&store, 0..500, 600);
    second.insert(key(store.hash_seed(), 999), None);
    write(&mut writer, &second);
    write(&mut writer, &records(&store, 700..710, 600));
    assert_eq!(store.stats().generations, 3);
    if clean {
        writer.close().unwrap();
    } else {
        store.background.stop();
    }
}

/// What is there of the three when one is damaged: those that a filter takes for stale by mistake are few.
fn check_without(store: &Store, generation: u64, hides_older: bool, what: &str) {
    let seed = store.hash_seed();
    let bytes = |i| record(store, &key(seed, i)).map(|record| record.len());
    let there = |keys: std::ops::Range<u64>, expected| {
        let count = keys.clone().filter(|i| bytes(*i) == Some(expected)).count();
        let wrong = keys
            .clone()
            .find(|i| ![None, Some(expected)].contains(&bytes(*i)));
        assert_eq!(wrong, None, "{what}");
        count as u64 * 50 >= (keys.end - keys.start) * 49
    };
    let absent = |mut keys: std::ops::Range<u64>| keys.all(|i| bytes(i).is_none());
    assert!(absent(999..1_000), "{what}");
    let (oldest, middle, newest) = (generation == 0, generation == 1, generation == 2);
    let gone = hides_older && !oldest;
    let rest = if oldest || gone {
        absent(500..700)
    } else {
        there(500..700, 300)
    };
    assert!(rest, "{what}");
    let rest = if oldest || gone {
        absent(710..999)
    } else {
        there(710..999, 300)
    };
    assert!(rest, "{what}");
    let second = if middle || gone {
        absent(0..500)
    } else {
        there(0..500, 600)
    };
    assert!(second, "{what}");
    let third = if newest {
        absent(700..710)
    } else {
        there(700..710, 600)
    };
    assert!(third, "{what}");
    let found = (0..1_000).filter(|i| bytes(*i).is_some()).count();
    assert_eq!(all(store, 0).len(), found, "{what}");
}

/// The last file of a directory whose name begins so.
fn file_in(dir: &Path, start: &str) -> PathBuf {
    let files = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    let named = |path: &PathBuf| {
        path.file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with(start)
    };
    files.filter(named).max().unwrap()
}

#[test]
fn a_generation_whose_files_are_damaged_goes_alone() {
    type Ruin = fn(&Path);
    const RUINS: [(&str, Ruin); 4] = [
        ("removed", |path| fs::remove_file(path).unwrap()),
        ("emptied", |path| fs::write(path, []).unwrap()),
        ("cut", |path| {
            let bytes = fs::read(path).unwrap();
            fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("zeroed", |path| {
            let bytes = fs::read(path).unwrap();
            fs::write(path, vec![0; bytes.len()]).unwrap();
        }),
    ];
    let whole = Scratch::new();
    three_generations(&whole, true);
    for (dir, file) in [("", "current"), ("", "v"), ("tables", ""), ("blobs", "")] {
        for (how, ruin) in RUINS {
            for (generation, has_filter) in
                [(0, true), (1, true), (1, false), (2, true), (2, false)]
            {
                if generation == 0 && dir == "blobs" {
                    continue;
                }
                let scratch = Scratch::new();
                copy(&whole.0.join("tier"), &scratch.0.join("tier"));
                let tree = super::tests::generation(&scratch.0, generation);
                ruin(&file_in(&tree.join(dir), file));
                if !has_filter {
                    let filters = scratch.0.join("tier/filters");
                    fs::remove_file(file_in(&filters, &format!("{generation:016x}"))).unwrap();
                }
                let what = format!("{dir}/{file} of {generation} {how}, filter: {has_filter}");
                for start in 0..2 {
                    let (store, writer) = scratch.open();
                    assert!(!matches!(store.recovery(), Recovery::PutAside(_)), "{what}");
                    check_without(&store, generation, !has_filter, &what);
                    let gone = if has_filter { 1 } else { 1 + generation };
                    let quarantined = if start == 0 { gone } else { 0 };
                    assert_eq!(store.stats().quarantined, quarantined, "{what}");
                    if start == 0 {
                        // As a kill.
                        drop(writer);
                    } else {
                        writer.close().unwrap();
                    }
                }
            }
        }
    }
}

#[test]
fn a_generation_that_follows_a_dropped_one_is_there_after_a_restart() {
    let scratch = Scratch::new();
    let (store, mut writer) = scratch.open();
    write(&mut writer, &records(&store, 0..100, 10));
    drop((store, writer));
    for round in 1..8 {
        let (store, mut writer) = scratch.open();
        assert_eq!(*store.recovery(), Recovery::Unclean, "round {round}");
        assert_eq!(all(&store, 0).len(), 100, "round {round}");
        let newest = store.generations()[0].number;
        write(&mut writer, &records(&store, 0..100, 10));
        assert!(store.quarantine(newest));
        drop((store, writer));
        let (store, mut writer) = scratch.open();
        write(&mut writer, &records(&store, 0..100, 10));
        drop((store, writer));
    }
}

/// Kills at any moment, with reads under way that hold what is dropped: what finished runs wrote is there after each.
#[test]
fn generations_come_and_go_over_kills() {
    const KEYS: u64 = 200;
    let mut random = Random(0x5EED_0002);
    let mut scratch = Scratch::new();
    let mut model = BTreeMap::new();
    for round in 0..20 {
        let (store, mut writer) = scratch.open();
        assert!(
            !matches!(store.recovery(), Recovery::PutAside(_)),
            "round {round}"
        );
        check(&store, &model, KEYS);
        let mut held = Vec::new();
        for _ in 0..random.below(6) {
            match random.below(6) {
                0 => held.push(store.scan(0).unwrap()),
                1 if store.stats().generations > 0 => {
                    // The newest, when all keys of the older ones have been deleted: else they would hide there.
                    let newest = store.generations()[0].number;
                    assert!(store.quarantine(newest));
                    while store.stats().generations > 0 {
                        drop_oldest(&mut writer);
                    }
                    model.clear();
                }
                2 if store.stats().generations > 1 => drop_part(&mut writer, &mut model),
                _ => {
                    let some = random.below(KEYS);
                    let batch = records(&store, some..(some + 60).min(KEYS), 2_000);
                    write(&mut writer, &batch);
                    model.extend(batch.into_iter().map(|(k, v)| (k, v.unwrap())));
                    while store.is_full() {
                        drop_part(&mut writer, &mut model);
                    }
                }
            }
        }
        match random.below(3) {
            0 => {
                drop(held);
                writer.close().unwrap();
            }
            1 => {
                store.background.stop();
                let killed = Scratch::new();
                copy(&scratch.0.join("tier"), &killed.0.join("tier"));
                scratch = killed;
            }
            _ => {}
        }
    }
}

/// However many generations have come and gone: what all files take, in blocks, with those of one run beyond it.
#[test]
fn the_directory_stays_below_the_limit() {
    const LIMIT: u64 = 4 << 20;
    let scratch = Scratch::new();
    let (store, mut writer) = Store::open(scratch.options(LIMIT)).unwrap();
    let mut most = 0;
    for round in 0..120 {
        write(
            &mut writer,
            &records(&store, round * 20..round * 20 + 300, 900),
        );
        while store.is_full() {
            drop_oldest(&mut writer);
        }
        most = most.max(files::bytes_below(&scratch.0, &|_| false));
    }
    let begun = store.newest().unwrap();
    assert!(begun > 20, "{begun} generations");
    assert!(most <= LIMIT, "{most} bytes");
    let told = store.stats().disk_bytes;
    let real = files::bytes_below(&scratch.0, &|_| false);
    assert!(
        told.abs_diff(real) < LIMIT / 20,
        "{told} told, {real} taken"
    );
}

#[test]
fn what_was_moved_aside_is_counted_and_goes_when_room_is_needed() {
    const LIMIT: u64 = 4 << 20;
    let scratch = Scratch::new();
    let aside = scratch.0.join("tier/strange.broken.1");
    fs::create_dir_all(&aside).unwrap();
    fs::write(aside.join("file"), vec![7; 1 << 20]).unwrap();
    let (store, mut writer) = Store::open(scratch.options(LIMIT)).unwrap();
    assert!(store.stats().disk_bytes > 1 << 20);
    for round in 0..20 {
        write(
            &mut writer,
            &records(&store, round * 20..round * 20 + 300, 900),
        );
        while store.is_full() {
            drop_oldest(&mut writer);
        }
    }
    assert!(!aside.exists());
}

#[test]
fn the_cache_gets_another_size_while_somebody_reads() {
    let scratch = Scratch::new();
    let (store, mut writer) = Store::open(scratch.options(64 << 20)).unwrap();
    for round in 0..4 {
        write(
            &mut writer,
            &records(&store, round * 1_000..round * 1_000 + 3_000, 400),
        );
    }
    let before = all(&store, 0);
    let cached = store.cached_bytes();
    assert!(cached > 256 << 10, "{cached}");
    let mut scan = store.scan(0).unwrap();
    let first = scan.next().unwrap().unwrap().key.to_vec();
    assert_eq!(first, before[0].0);
    assert!(writer.set_cache(64 << 10).unwrap());
    assert_eq!(store.cached_bytes(), 0);
    // Who had begun goes on, and so do all others.
    assert_eq!(scan.map(Result::unwrap).count(), before.len() - 1);
    assert_eq!(all(&store, 0), before);
    assert!(store.cached_bytes() <= 64 << 10);
    write(&mut writer, &records(&store, 0..100, 10));
    assert_eq!(
        record(&store, &key(store.hash_seed(), 7)),
        Some(vec![7; 10])
    );
    assert!(writer.set_cache(1 << 20).unwrap());
    assert_eq!(all(&store, 0).len(), before.len());
    assert_eq!(store.cache_bytes(), 1 << 20);
    writer.close().unwrap();
}

#[test]
fn in_the_place_of_a_directory_that_is_gone_none_is_made() {
    let scratch = Scratch::new();
    let (store, mut writer) = scratch.open();
    write(&mut writer, &records(&store, 0..100, 300));
    let (tier, away) = (scratch.0.join("tier"), scratch.0.join("away"));
    let new = records(&store, 100..101, 10);
    let refuses = |writer: &mut Writer| {
        assert!(!store.is_in_place());
        assert!(matches!(writer.reopen(), Err(StoreError::Gone)));
        assert!(matches!(writer.empty(), Err(StoreError::Gone)));
        assert!(writer.set_cache(2 << 20).is_err());
        assert!(writer.begin_fresh_run().is_err());
        let mut run = writer.begin_run();
        for (key, record) in &new {
            let record = record.as_deref().unwrap_or_default();
            let written = run.and_then(|mut run| {
                run.write(store.hash_of(key), key, record)?;
                run.finish()
            });
            assert!(written.is_err());
            run = Err(StoreError::Gone);
        }
    };
    fs::rename(&tier, &away).unwrap();
    refuses(&mut writer);
    assert!(!tier.exists());
    // As under a disk that was mounted here.
    fs::create_dir(&tier).unwrap();
    refuses(&mut writer);
    assert_eq!(fs::read_dir(&tier).unwrap().count(), 0);
    fs::remove_dir(&tier).unwrap();
    fs::rename(&away, &tier).unwrap();
    assert!(store.is_in_place());
    assert_eq!(all(&store, 0).len(), 100);
    write(&mut writer, &new);
    writer.reopen().unwrap();
    assert_eq!(all(&store, 0).len(), 101);
    writer.close().unwrap();
    drop(store);
    let (store, _writer) = scratch.open();
    assert_eq!(store.recovery(), &Recovery::Clean);
    assert_eq!(all(&store, 0).len(), 101);
}

/// The library kept files of generations that had gone open: they took room that nobody saw, several times the limit.
#[test]
#[cfg(target_os = "linux")]
fn files_that_were_removed_are_not_open_any_more() {
    let scratch = Scratch::new();
    let options = StoreOptions {
        open_files: 1_000,
        ..scratch.options(4 << 20)
    };
    let (store, mut writer) = Store::open(options).unwrap();
    let files = || -> Vec<PathBuf> {
        let open = fs::read_dir("/proc/self/fd").unwrap();
        let paths = open.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
        paths.filter(|path| path.starts_with(&scratch.0)).collect()
    };
    let is_removed = |path: &PathBuf| path.to_string_lossy().ends_with(" (deleted)");
    let (mut dropped, mut most_open) = (0, 0);
    for round in 0..30 {
        // Some lie apart from their keys.
        for bytes in [100, 2_000] {
            let batch = records(&store, round * 100..round * 100 + 300, bytes);
            write(&mut writer, &batch);
            assert_eq!(all(&store, 0).len(), store.scan(0).unwrap().count());
        }
        most_open = most_open.max(files().len());
        while store.is_full() {
            drop_oldest(&mut writer);
            dropped += 1;
        }
    }
    assert!(dropped > 5 && most_open > 5, "{dropped} {most_open}");
    // A filter may still be read that is being made.
    wait_for_filters(&store);
    let removed: Vec<_> = files().into_iter().filter(is_removed).collect();
    assert!(removed.is_empty(), "{removed:?}");
}
