//! Values through a compressor and back: what is learnt, what is refused, what is bounded.

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use super::classes::{MAX_CLASSES, Tuning};
use super::datasets::{Random, html, noise, product_json, session, user_json};
use super::training::TRAINING_BYTES;
use super::{Compressor, DecodeError, Dictionaries, Encoded, Form, Method};

const LIMIT: usize = 64 << 20;

/// A directory that goes with its test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "strata-compress-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        Self(std::env::temp_dir().join(name))
    }

    fn open(&self) -> Arc<Dictionaries> {
        let (dictionaries, damaged) = Dictionaries::open(&self.0).unwrap();
        assert!(damaged.is_empty(), "{damaged:?}");
        Arc::new(dictionaries)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Every value a sample, and short windows.
fn quick() -> Tuning {
    Tuning {
        sample_one_in: 1,
        samples: 600,
        window_values: 300,
        ..Tuning::default()
    }
}

fn compressor(dictionaries: &Arc<Dictionaries>) -> Compressor {
    Compressor::with_tuning(Method::Zstd, Arc::clone(dictionaries), quick())
}

fn encode(compressor: &mut Compressor, key: &str, value: &[u8]) -> (Encoded, Vec<u8>) {
    let mut out = Vec::new();
    let header = compressor.encode(key.as_bytes(), value, &mut out);
    assert_eq!(Encoded::read(&out).unwrap().0, header);
    (header, out)
}

fn decode(dictionaries: &Dictionaries, bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut out = b"before".to_vec();
    let result = dictionaries.decode(bytes, LIMIT, &mut out);
    assert!(out.starts_with(b"before"));
    assert!(
        result.is_ok() || out.len() == 6,
        "a failure leaves nothing behind"
    );
    result.map(|()| out.split_off(6))
}

type Generator = fn(&mut Random) -> Vec<u8>;

/// Feeds a class until it has a dictionary, or has been refused one.
fn teach(compressor: &mut Compressor, class: &str, random: &mut Random, make: Generator) {
    for index in 0..quick().samples {
        encode(compressor, &format!("{class}:{index}"), &make(random));
    }
    compressor.finish_training();
}

/// Raw over stored of values the dictionary has not seen; each is decoded too.
fn ratio(
    compressor: &mut Compressor,
    dictionaries: &Dictionaries,
    class: &str,
    random: &mut Random,
    make: Generator,
) -> f64 {
    let (mut raw, mut stored) = (0, 0);
    for index in 0..200 {
        let value = make(random);
        let (_, bytes) = encode(compressor, &format!("{class}:{index}"), &value);
        assert_eq!(decode(dictionaries, &bytes).unwrap(), value);
        raw += value.len();
        stored += bytes.len();
    }
    raw as f64 / stored as f64
}

/// Fault B16: a training took its memory at once, and nothing counted it.
#[test]
fn a_training_waits_until_its_memory_is_counted() {
    let scratch = Scratch::new();
    let dictionaries = scratch.open();
    let mut compressor = compressor(&dictionaries);
    let mut random = Random(7);
    let mut write_run = |compressor: &mut Compressor| {
        compressor.let_due_training_begin();
        for i in 0..4000 {
            let key = format!("user:{i}");
            compressor.encode(key.as_bytes(), &user_json(&mut random), &mut Vec::new());
        }
    };
    write_run(&mut compressor);
    compressor.finish_training();
    assert_eq!(compressor.used_dictionaries(), [] as [u32; 0]);
    assert_eq!(compressor.training_bytes(), TRAINING_BYTES);
    // A run without such keys: nothing is kept for them, until they come again.
    compressor.let_due_training_begin();
    assert_eq!(compressor.training_bytes(), 0);
    write_run(&mut compressor);
    assert_eq!(compressor.training_bytes(), TRAINING_BYTES);
    write_run(&mut compressor);
    compressor.finish_training();
    assert_eq!(compressor.used_dictionaries(), [1]);
    assert_eq!(compressor.training_bytes(), 0);
}

#[test]
fn dictionaries_are_trained_and_pay() {
    let sets: [(&str, Generator, f64); 3] = [
        ("user", user_json, 2.5),
        ("product", product_json, 3.0),
        ("page", html, 5.0),
    ];
    let scratch = Scratch::new();
    let dictionaries = scratch.open();
    let mut compressor = compressor(&dictionaries);
    for (class, make, least) in sets {
        let mut random = Random(7);
        let before = ratio(&mut compressor, &dictionaries, class, &mut random, make);
        teach(&mut compressor, class, &mut random, make);
        let after = ratio(&mut compressor, &dictionaries, class, &mut random, make);
        println!(
            "{class}: {} bytes, {before:.2}x, with dictionary {after:.2}x",
            make(&mut random).len()
        );
        assert!(after >= least && after > before, "{class}: {after}");
    }
    assert_eq!(compressor.used_dictionaries(), [1, 2, 3]);
    let user = compressor
        .stats()
        .into_iter()
        .find(|stats| *stats.name == *b"user")
        .unwrap();
    assert_eq!(
        (user.values, user.trainings, user.dictionary),
        (1000, 1, Some(1))
    );
    assert!(compressor.memory_bytes() < 8 << 20 && dictionaries.memory_bytes() < 1 << 20);
}

#[test]
fn every_form_round_trips() {
    let scratch = Scratch::new();
    let dictionaries = scratch.open();
    let mut random = Random(3);
    let mut taught = compressor(&dictionaries);
    teach(&mut taught, "user", &mut random, user_json);
    let mut values: Vec<Vec<u8>> = (0..40).map(|len| noise(&mut random, len)).collect();
    values.extend(
        [
            31, 32, 33, 255, 256, 257, 65_535, 65_536, 65_791, 65_792, 70_000,
        ]
        .map(|len| vec![b'x'; len]),
    );
    values.push(vec![0; 3 << 20]);
    values.push(noise(&mut random, 1 << 20));
    for _ in 0..50 {
        values.extend([
            user_json(&mut random),
            product_json(&mut random),
            session(&mut random),
            html(&mut random),
        ]);
    }
    let long: Vec<u8> = (0..300).flat_map(|_| html(&mut random)).collect();
    values.push(long);
    let mut forms = Vec::new();
    for method in [Method::None, Method::Lz4, Method::Zstd] {
        taught.set_method(method);
        for value in &values {
            for key in [&b"plain"[..], b"user:1"] {
                let mut bytes = Vec::new();
                let header = taught.encode(key, value, &mut bytes);
                assert_eq!(Encoded::read(&bytes).unwrap().0, header);
                assert_eq!(decode(&dictionaries, &bytes).unwrap(), *value);
                assert!(bytes.len() <= value.len() + 1);
                forms.push(header.form);
            }
        }
    }
    for form in [Form::Raw, Form::Lz4, Form::Zstd, Form::ZstdDictionary(1)] {
        assert!(forms.contains(&form), "{form:?}");
    }
}

#[test]
fn in_a_hurry_longer_values_take_lz4_and_nothing_is_learnt_from_that() {
    let scratch = Scratch::new();
    let dictionaries = scratch.open();
    let mut random = Random(6);
    let mut taught = compressor(&dictionaries);
    teach(&mut taught, "user", &mut random, user_json);
    let long: Vec<u8> = (0..4).flat_map(|_| html(&mut random)).collect();
    let form = |taught: &mut Compressor, key: &str, value: &[u8]| encode(taught, key, value).0.form;
    let short = user_json(&mut random);
    let before = [
        form(&mut taught, "user:1", &short),
        form(&mut taught, "user:1", &long),
        form(&mut taught, "page", &long),
    ];
    taught.set_hurried(true);
    // As many as would make a class learn again, or leave its values as they are.
    let noise = noise(&mut random, 3000);
    for _ in 0..20_000 {
        assert_eq!(form(&mut taught, "user:1", &noise), Form::Raw);
    }
    assert_eq!(form(&mut taught, "user:1", &short), before[0]);
    assert_eq!(form(&mut taught, "user:1", &long), Form::Lz4);
    assert_eq!(form(&mut taught, "page", &long), Form::Lz4);
    // What saves little is tried now and then.
    let part = [&noise[..1_600], &[7; 400]].concat();
    let tries = (0..1_000).filter(|_| form(&mut taught, "letter", &part) == Form::Lz4);
    let tries = tries.count();
    assert!((4..100).contains(&tries), "{tries}");
    taught.set_hurried(false);
    assert_eq!(form(&mut taught, "user:1", &short), before[0]);
    assert_eq!(form(&mut taught, "user:1", &long), before[1]);
    assert_eq!(form(&mut taught, "page", &long), before[2]);
    assert_eq!(taught.stats()[1].trainings, 1);
}

#[test]
fn damaged_bytes_are_errors() {
    let scratch = Scratch::new();
    let dictionaries = scratch.open();
    let mut random = Random(5);
    let mut taught = compressor(&dictionaries);
    teach(&mut taught, "user", &mut random, user_json);
    let mut samples = vec![encode(&mut taught, "user:1", &user_json(&mut random)).1];
    samples.push(encode(&mut taught, "page", &html(&mut random)).1);
    taught.set_method(Method::Lz4);
    samples.push(encode(&mut taught, "page", &html(&mut random)).1);
    for bytes in &samples {
        for len in 0..bytes.len() {
            assert!(
                decode(&dictionaries, &bytes[..len]).is_err(),
                "truncated to {len}"
            );
        }
        for _ in 0..5000 {
            let mut damaged = bytes.clone();
            for _ in 0..=random.below(3) {
                let at = random.below(damaged.len() as u64) as usize;
                damaged[at] = random.next_u64() as u8;
            }
            // Without checksum not all damage is seen; but nothing panics, and memory stays within the limit.
            let mut out = Vec::new();
            let _ = dictionaries.decode(&damaged, 8 << 10, &mut out);
            assert!(out.capacity() <= 8 << 10);
        }
    }
    for _ in 0..20_000 {
        let len = random.below(40) as usize;
        let mut noise = noise(&mut random, len);
        if let Some(form) = noise.first_mut() {
            *form %= 6;
        }
        let mut out = Vec::new();
        let _ = dictionaries.decode(&noise, 8 << 10, &mut out);
        assert!(out.capacity() <= 8 << 10);
    }
    assert_eq!(decode(&dictionaries, &[]), Err(DecodeError::Truncated));
    assert_eq!(
        decode(&dictionaries, &[9, 1]),
        Err(DecodeError::UnknownForm(9))
    );
}

#[test]
fn a_value_longer_than_the_limit_is_refused() {
    let scratch = Scratch::new();
    let dictionaries = scratch.open();
    let (_, bytes) = encode(&mut compressor(&dictionaries), "k", &[b'x'; 1000]);
    let mut out = Vec::new();
    let refused = DecodeError::TooLong {
        raw_len: 1000,
        limit: 999,
    };
    assert_eq!(dictionaries.decode(&bytes, 999, &mut out), Err(refused));
    assert_eq!(out.capacity(), 0);
    assert_eq!(dictionaries.decode(&bytes, 1000, &mut out), Ok(()));
}

#[test]
fn noise_stays_raw() {
    let scratch = Scratch::new();
    let dictionaries = scratch.open();
    let mut compressor = compressor(&dictionaries);
    let mut random = Random(11);
    for index in 0..2000 {
        let len = random.below(400) as usize;
        let value = noise(&mut random, len);
        let (header, bytes) = encode(&mut compressor, &format!("noise:{index}"), &value);
        assert_eq!((header.form, bytes.len()), (Form::Raw, value.len() + 1));
        compressor.finish_training();
    }
    let stats = compressor.stats();
    assert_eq!(stats[1].dictionary, None);
    assert!(
        stats[1].trainings <= 3,
        "it tries less and less often: {stats:?}"
    );
}

#[test]
fn values_that_shrink_after_noise_are_found() {
    let scratch = Scratch::new();
    let dictionaries = scratch.open();
    let mut compressor = compressor(&dictionaries);
    let mut random = Random(13);
    for _ in 0..1500 {
        encode(&mut compressor, "k:1", &noise(&mut random, 200));
    }
    let is_raw = |(header, _): (Encoded, Vec<u8>)| header.form == Form::Raw;
    let raw = (0..200)
        .filter(|_| is_raw(encode(&mut compressor, "k:1", &[b'x'; 200])))
        .count();
    assert!(raw <= 128, "{raw}");
}

#[test]
fn dictionaries_survive_a_restart() {
    let scratch = Scratch::new();
    let mut random = Random(17);
    let value = user_json(&mut random);
    let bytes = {
        let dictionaries = scratch.open();
        let mut compressor = compressor(&dictionaries);
        teach(&mut compressor, "user", &mut random, user_json);
        encode(&mut compressor, "user:1", &value).1
    };
    let dictionaries = scratch.open();
    assert_eq!(decode(&dictionaries, &bytes).unwrap(), value);
    let (header, again) = encode(&mut compressor(&dictionaries), "user:2", &value);
    assert_eq!((header.form, again), (Form::ZstdDictionary(1), bytes));
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_file_is_reported_and_its_values_are_errors() {
    let scratch = Scratch::new();
    let mut random = Random(19);
    let bytes = {
        let dictionaries = scratch.open();
        let mut compressor = compressor(&dictionaries);
        teach(&mut compressor, "user", &mut random, user_json);
        encode(&mut compressor, "user:1", &user_json(&mut random)).1
    };
    let path = scratch.0.join("0000000001.dict");
    fs::write(scratch.0.join("0000000002.tmp"), b"half").unwrap();
    let whole = fs::read(&path).unwrap();
    for at in [0, 8, 9, 30, 40, whole.len() - 1] {
        flip(&path, at);
        let (dictionaries, damaged) = Dictionaries::open(&scratch.0).unwrap();
        assert_eq!(damaged.len(), 1, "byte {at}");
        assert_eq!(damaged[0].path, path);
        assert_eq!(
            decode(&dictionaries, &bytes),
            Err(DecodeError::UnknownDictionary(1))
        );
        flip(&path, at);
    }
    for len in [0, 5, 28, 45, whole.len() - 1] {
        fs::write(&path, &whole[..len]).unwrap();
        assert_eq!(
            Dictionaries::open(&scratch.0).unwrap().1.len(),
            1,
            "length {len}"
        );
    }
    let (dictionaries, _) = Dictionaries::open(&scratch.0).unwrap();
    let dictionaries = Arc::new(dictionaries);
    teach(
        &mut compressor(&dictionaries),
        "user",
        &mut random,
        user_json,
    );
    assert_eq!(
        dictionaries.ids(),
        [2],
        "the id of a damaged file is not given again"
    );
    assert!(!scratch.0.join("0000000002.tmp").exists());
}

#[test]
fn unused_dictionaries_go_and_their_ids_are_not_given_again() {
    let scratch = Scratch::new();
    let dictionaries = scratch.open();
    let mut random = Random(23);
    let mut held = compressor(&dictionaries);
    teach(&mut held, "a", &mut random, user_json);
    teach(&mut held, "b", &mut random, product_json);
    teach(&mut held, "c", &mut random, html);
    dictionaries.retain(&[]).unwrap();
    assert_eq!(dictionaries.ids(), [1, 2, 3], "held by the compressor");
    drop(held);
    dictionaries.retain(&[1]).unwrap();
    assert_eq!(
        dictionaries.ids(),
        [1, 3],
        "the last one keeps its id from being given again"
    );
    dictionaries.retain(&[]).unwrap();
    drop(dictionaries);
    let dictionaries = scratch.open();
    assert_eq!(dictionaries.ids(), [3]);
    teach(&mut compressor(&dictionaries), "d", &mut random, user_json);
    assert_eq!(dictionaries.ids(), [3, 4]);
}

#[test]
fn a_class_learns_again_when_its_values_change() {
    let scratch = Scratch::new();
    let dictionaries = scratch.open();
    let mut compressor = compressor(&dictionaries);
    let mut random = Random(29);
    teach(&mut compressor, "k", &mut random, user_json);
    let old = encode(&mut compressor, "k:1", &user_json(&mut random)).1;
    for _ in 0..900 {
        encode(&mut compressor, "k:1", &user_json(&mut random));
        compressor.finish_training();
    }
    assert_eq!(compressor.stats()[1].trainings, 1, "nothing changed");
    for _ in 0..1500 {
        encode(&mut compressor, "k:1", &product_json(&mut random));
    }
    compressor.finish_training();
    let stats = compressor.stats().swap_remove(1);
    assert_eq!((stats.trainings, stats.dictionary), (2, Some(2)));
    assert!(
        ratio(
            &mut compressor,
            &dictionaries,
            "k",
            &mut random,
            product_json
        ) >= 3.0
    );
    assert!(
        decode(&dictionaries, &old).is_ok(),
        "older values stay readable"
    );
}

#[test]
fn hostile_keys_cannot_make_classes_without_end() {
    let scratch = Scratch::new();
    let dictionaries = scratch.open();
    let mut compressor = Compressor::new(Method::Zstd, dictionaries);
    let mut random = Random(31);
    for index in 0..140_000u64 {
        let key = match index % 4 {
            0 => format!("{}:{}", random.next_u64(), index),
            1 => format!(
                "app:{}:x",
                ["user", "cart", "page"][(index / 4 % 3) as usize]
            ),
            2 => format!(
                "people:{}:x",
                random
                    .next_u64()
                    .to_string()
                    .replace(|c: char| c.is_ascii_digit(), "z")
            ),
            _ => String::from_utf8_lossy(&noise(&mut random, 200)).into_owned(),
        };
        encode(&mut compressor, &key, b"short");
    }
    assert!(compressor.stats().len() <= MAX_CLASSES);
    encode(&mut compressor, "app:order:1", b"short");
    let names: Vec<_> = compressor
        .stats()
        .into_iter()
        .map(|stats| stats.name)
        .collect();
    for name in ["app", "app:user", "app:cart", "app:page"] {
        assert!(
            names.iter().any(|found| **found == *name.as_bytes()),
            "{name}"
        );
    }
}

#[test]
fn prepared_dictionaries_and_samples_are_bounded() {
    let scratch = Scratch::new();
    let dictionaries = scratch.open();
    let tuning = Tuning {
        samples: 120,
        all_samples_bytes: 200 << 10,
        ..quick()
    };
    let mut compressor = Compressor::with_tuning(Method::Zstd, Arc::clone(&dictionaries), tuning);
    let mut random = Random(37);
    for round in 0..2000 {
        let value = user_json(&mut random);
        encode(&mut compressor, &format!("c{}:1", random.below(40)), &value);
        if round % 10 == 0 {
            compressor.finish_training();
        }
    }
    for class in 0..40 {
        for _ in 0..tuning.samples {
            encode(
                &mut compressor,
                &format!("c{class}:1"),
                &user_json(&mut random),
            );
        }
        compressor.finish_training();
    }
    assert!(
        dictionaries.ids().len() >= 40,
        "{}",
        dictionaries.ids().len()
    );
    assert!(
        compressor.memory_bytes() < 10 << 20,
        "{}",
        compressor.memory_bytes()
    );
    for class in 0..40 {
        let value = user_json(&mut random);
        let (_, bytes) = encode(&mut compressor, &format!("c{class}:1"), &value);
        assert_eq!(decode(&dictionaries, &bytes).unwrap(), value);
    }
}

/// With `maxmemory 3mb` the samples took 2.5 MB of it, and writes were refused.
#[test]
fn samples_take_a_small_share_of_little_memory() {
    let scratch = Scratch::new();
    let dictionaries = scratch.open();
    let mut compressor = Compressor::new(Method::Zstd, Arc::clone(&dictionaries));
    compressor.set_memory(3 << 20);
    let mut random = Random(41);
    for i in 0..20_000 {
        let value = vec![random.next_u64() as u8; 1500];
        compressor.let_due_training_begin();
        let mut out = Vec::new();
        compressor.encode(format!("c{}:{i}", i % 3).as_bytes(), &value, &mut out);
        let samples = compressor.samples_bytes();
        assert!(samples <= 96 << 10, "{samples} bytes");
    }
    compressor.finish_training();
}

#[test]
fn many_threads_decode_at_once() {
    let scratch = Scratch::new();
    let dictionaries = scratch.open();
    let mut compressor = compressor(&dictionaries);
    let mut random = Random(41);
    teach(&mut compressor, "user", &mut random, user_json);
    let values: Vec<_> = (0..200).map(|_| user_json(&mut random)).collect();
    let stored: Vec<_> = values
        .iter()
        .map(|value| encode(&mut compressor, "user:1", value).1)
        .collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for (value, bytes) in values.iter().zip(&stored) {
                    assert_eq!(decode(&dictionaries, bytes).unwrap(), *value);
                }
            });
        }
    });
}

/// Encodes and decodes with figures: `cargo test --release --lib compress -- --ignored --nocapture figures`. Not measured: the
/// store behind it, and cold caches.
#[test]
#[ignore = "prints times, which mean something in a release build only"]
fn figures() {
    let noise_139: Generator = |random| noise(random, 139);
    let noise_1k: Generator = |random| noise(random, 1024);
    let noise_16k: Generator = |random| noise(random, 16 << 10);
    let sets: [(&str, Generator); 7] = [
        ("user", user_json),
        ("product", product_json),
        ("session", session),
        ("page", html),
        ("noise139", noise_139),
        ("noise1k", noise_1k),
        ("noise16k", noise_16k),
    ];
    println!("set, bytes: form ratio; encode ns; decode ns");
    for (class, make) in sets {
        let mut random = Random(43);
        let count = if make(&mut random).len() > 10_000 {
            2000
        } else {
            20_000
        };
        let values: Vec<Vec<u8>> = (0..count).map(|_| make(&mut random)).collect();
        println!(
            "{class}, {}",
            values.iter().map(Vec::len).sum::<usize>() / values.len()
        );
        for (name, method, is_taught) in [
            ("raw", Method::None, false),
            ("lz4", Method::Lz4, false),
            ("plain zstd", Method::Zstd, false),
            ("dictionary", Method::Zstd, true),
        ] {
            let scratch = Scratch::new();
            let dictionaries = scratch.open();
            let tuning = Tuning {
                sample_one_in: if is_taught { 4 } else { u32::MAX },
                ..Tuning::default()
            };
            let mut compressor = Compressor::with_tuning(method, Arc::clone(&dictionaries), tuning);
            if is_taught {
                let mut out = Vec::new();
                for _ in 0..5000 {
                    compressor.encode(
                        format!("{class}:1").as_bytes(),
                        &make(&mut random),
                        &mut out,
                    );
                    out.clear();
                }
                compressor.finish_training();
            }
            measure(name, &mut compressor, &dictionaries, class, &values);
        }
        let (mut out, started) = (Vec::new(), Instant::now());
        for _ in 0..ROUNDS {
            for value in &values {
                out.clear();
                out.extend_from_slice(black_box(value));
                black_box(&out);
            }
        }
        println!(
            "  memcpy: {}",
            started.elapsed().as_nanos() as usize / values.len() / ROUNDS
        );
    }
}

const ROUNDS: usize = 5;

fn measure(
    name: &str,
    compressor: &mut Compressor,
    dictionaries: &Dictionaries,
    class: &str,
    values: &[Vec<u8>],
) {
    let key = format!("{class}:12345");
    let (mut stored, mut best_encode, mut best_decode) = (Vec::new(), u128::MAX, u128::MAX);
    let mut out = Vec::new();
    for round in 0..ROUNDS {
        let started = Instant::now();
        for value in values {
            out.clear();
            black_box(compressor.encode(key.as_bytes(), black_box(value), &mut out));
        }
        best_encode = best_encode.min(started.elapsed().as_nanos());
        if round == 0 {
            stored = values
                .iter()
                .map(|value| {
                    let mut bytes = Vec::new();
                    compressor.encode(key.as_bytes(), value, &mut bytes);
                    bytes
                })
                .collect();
        }
        let started = Instant::now();
        for bytes in &stored {
            out.clear();
            dictionaries
                .decode(black_box(bytes), LIMIT, &mut out)
                .unwrap();
            black_box(&out);
        }
        best_decode = best_decode.min(started.elapsed().as_nanos());
    }
    let raw: usize = values.iter().map(Vec::len).sum();
    let kept: usize = stored.iter().map(Vec::len).sum();
    let per_value = |nanos: u128| nanos as usize / values.len();
    println!(
        "  {name}: {:.2}x; {}; {}; memory {} KB + {} KB",
        raw as f64 / kept as f64,
        per_value(best_encode),
        per_value(best_decode),
        compressor.memory_bytes() >> 10,
        dictionaries.memory_bytes() >> 10,
    );
}
