//! Files that servers have saved, and files of older versions, put together by hand.

use super::super::collection::Content;
use super::super::fields::Deadline;
use super::super::hash::HashRef;
use super::super::large::{Large, LargeRef};
use super::super::stream::Id;
use super::tests::limits;
use super::*;

const REDIS_8_10: &[u8] = include_bytes!("fixtures/redis-8.10.rdb");
const VALKEY_9_1: &[u8] = include_bytes!("fixtures/valkey-9.1.rdb");
const FAR_MS: i64 = 9_999_999_999_999;

/// The keys of a file by their names, and what was left out.
fn read(bytes: &[u8]) -> Result<(Vec<Key>, Skipped), Fault> {
    let mut reader = FileReader::new(bytes, limits())?;
    let mut keys = Vec::new();
    while let Some(key) = reader.next_key()? {
        keys.push(key);
    }
    keys.sort_by_key(|key| (key.db, key.name.clone()));
    Ok((keys, reader.skipped()))
}

fn names(keys: &[Key]) -> Vec<(u64, String)> {
    let name = |key: &Key| (key.db, String::from_utf8_lossy(&key.name).into_owned());
    keys.iter().map(name).collect()
}

fn find<'k>(keys: &'k [Key], name: &str) -> &'k Value {
    let key = keys.iter().find(|key| key.name == name.as_bytes());
    &key.unwrap_or_else(|| panic!("no {name}")).value
}

/// The fields of a small hash, with their values and deadlines.
fn fields(value: &Value) -> Vec<(String, String, Option<i64>)> {
    let Value::Collection(_, Content::Packed(bytes)) = value else {
        panic!("it is packed");
    };
    let hash = HashRef::packed(bytes);
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    hash.iter_with_deadlines()
        .map(|(field, value, at)| {
            (
                text(field.to_vec()),
                text(value.to_vec()),
                at.map(Deadline::ms),
            )
        })
        .collect()
}

fn owned(fields: &[(&str, &str, Option<i64>)]) -> Vec<(String, String, Option<i64>)> {
    let owned = |(field, value, at): &(&str, &str, Option<i64>)| {
        ((*field).to_owned(), (*value).to_owned(), *at)
    };
    fields.iter().map(owned).collect()
}

#[test]
fn a_file_of_redis_8_10_is_read_and_what_cannot_be_kept_is_counted() {
    let (keys, skipped) = read(REDIS_8_10).unwrap();
    let expected = Skipped {
        module_values: 1,
        arrays: 1,
        functions: 1,
        ..Skipped::default()
    };
    assert_eq!(skipped, expected);
    assert_eq!(
        skipped.to_string(),
        "1 keys with values of modules, 1 keys with arrays, 1 libraries of functions"
    );
    let expected = [
        "h:list", "h:pack", "h:pack2", "h:ttl", "list", "set", "stream", "string", "zset",
    ];
    let expected = expected.map(|name| (0, name.to_owned()));
    assert_eq!(names(&keys)[..9], expected);
    assert_eq!(names(&keys)[9..], [(3, "string".to_owned())]);
    // What stood in front of a key that is left out does not go to the next one.
    assert!(keys.iter().all(|key| key.expires_at_ms.is_none()));

    let packed = fields(find(&keys, "h:pack2"));
    assert_eq!(packed, owned(&[("age", "34", None), ("name", "Bob", None)]));
    let mut with_deadline = fields(find(&keys, "h:ttl"));
    with_deadline.sort();
    assert_eq!(
        with_deadline,
        owned(&[("a", "1", Some(FAR_MS)), ("b", "2", None)])
    );
    let Value::Collection(_, Content::Large(large)) = find(&keys, "h:list") else {
        panic!("a value is too long for a packed hash");
    };
    let LargeRef::Hash(table) = large.view() else {
        panic!("it is a hash");
    };
    assert_eq!(table.iter().count(), 2);
}

#[test]
fn entries_that_were_given_back_stay_pending() {
    let (keys, _) = read(REDIS_8_10).unwrap();
    let Value::Collection(_, Content::Large(Large::Stream(stream))) = find(&keys, "stream") else {
        panic!("it is a stream");
    };
    assert_eq!(stream.len(), 3);
    let group = stream.groups.get(&b"g"[..]).unwrap();
    let pending: Vec<_> = group
        .pending()
        .iter()
        .map(|(id, pending)| (id.ms, pending.consumer.to_vec()))
        .collect();
    assert_eq!(pending, [(1, Vec::new()), (2, b"ann".to_vec())]);
}

#[test]
fn a_file_of_valkey_9_is_read() {
    let (keys, skipped) = read(VALKEY_9_1).unwrap();
    assert_eq!(skipped, Skipped::default());
    let expected = ["h:ttl", "list", "set", "stream", "string", "zset"];
    let expected = expected.map(|name| (0, name.to_owned()));
    assert_eq!(names(&keys)[..6], expected);
    assert_eq!(names(&keys)[6..], [(3, "string".to_owned())]);
    let mut with_deadline = fields(find(&keys, "h:ttl"));
    with_deadline.sort();
    assert_eq!(
        with_deadline,
        owned(&[("a", "1", Some(FAR_MS)), ("b", "2", None)])
    );
}

/// `k` is a string and `h` a hash as a zipmap; before version 5 there is no checksum.
fn old_file(version: u8) -> Vec<u8> {
    let mut file = format!("REDIS{version:04}").into_bytes();
    file.extend(b"\xfe\x00\x00\x01k\x01v\x09\x01h\x07\x01\x01f\x01\x005\xff");
    file.push(0xff);
    if version >= 5 {
        let checksum = super::payload::CRC.checksum(&file);
        file.extend(checksum.to_le_bytes());
    }
    file
}

#[test]
fn files_of_versions_2_to_8_are_read() {
    for version in 2..=8 {
        let (keys, _) =
            read(&old_file(version)).unwrap_or_else(|fault| panic!("{version}: {fault}"));
        assert_eq!(names(&keys), [(0, "h".to_owned()), (0, "k".to_owned())]);
        assert_eq!(fields(find(&keys, "h")), owned(&[("f", "5", None)]));
    }
}

#[test]
fn versions_that_nobody_knows_are_refused() {
    for head in [
        "REDIS0001",
        "REDIS0016",
        "REDIS0079",
        "REDIS0081",
        "VALKEY081",
        "VALKEY079",
        "REDIS+008",
        "REDIS 008",
        "VALKEY",
    ] {
        let mut file = head.as_bytes().to_vec();
        file.extend(b"\xff\0\0\0\0\0\0\0\0");
        assert!(read(&file).is_err(), "{head}");
    }
}

#[test]
fn a_stream_with_a_wrong_length_is_read() {
    // Of a stream with one entry, whose length was said to be 9.
    let mut file = b"REDIS0011\x0f\x01s\x01\x10\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01".to_vec();
    file.extend(b"\x1d\x1d\0\0\0\x0a\0\x01\x01\0\x01\x01\x01\x81a\x02\0\x01\x02\x01\0\x01\0\x01\x81b\x02\x04\x01\xff");
    file.extend(b"\x09\x01\x01\x00\xff\0\0\0\0\0\0\0\0");
    let (keys, _) = read(&file).unwrap();
    let Value::Collection(_, Content::Large(Large::Stream(stream))) = find(&keys, "s") else {
        panic!("it is a stream");
    };
    assert_eq!(stream.len(), 1);
    assert!(stream.get(Id { ms: 1, seq: 1 }).is_some());
}

#[test]
fn parts_without_a_use_here_are_passed_over() {
    let head = b"REDIS0015".to_vec();
    let tail = b"\x00\x01k\x01v\xff\0\0\0\0\0\0\0\0";
    let parts: &[(&[u8], u64, u64)] = &[
        // Functions of a release candidate, with a description and without.
        (b"\xf6\x03lib\x03LUA\x01\x04text\x04code", 1, 0),
        (b"\xf6\x03lib\x03LUA\x00\x04code", 1, 0),
        // Data of a module: an integer, a float, a double, a text.
        (
            b"\xf7\x81\0\0\0\0\0\0\0\x01\x02\x02\x01\x07\x03abcd\x04abcdefgh\x05\x02hi\x00",
            0,
            1,
        ),
        (b"\xf3\x01abcd\x05\x02hi\x00", 0, 1),
        (b"\xf4\x01\x02\x03", 0, 0),
    ];
    for (part, functions, module_data) in parts {
        let (keys, skipped) = read(&[&head, *part, tail].concat()).unwrap();
        assert_eq!(names(&keys), [(0, "k".to_owned())]);
        assert_eq!(
            (skipped.functions, skipped.module_data),
            (*functions, *module_data)
        );
    }
    // Slots that a node of Valkey was about to get.
    let import = b"VALKEY080\xf3\x03job\x01\x00\x05".to_vec();
    let (keys, _) = read(&[&import[..], tail].concat()).unwrap();
    assert_eq!(keys.len(), 1);
}

#[test]
fn an_empty_collection_is_left_out() {
    let file = b"REDIS0011\xfc\x01\0\0\0\0\0\0\0\x02\x01s\x00\x00\x01k\x01v\xff\0\0\0\0\0\0\0\0";
    let (keys, skipped) = read(file).unwrap();
    assert_eq!(
        (names(&keys), skipped.empty),
        (vec![(0, "k".to_owned())], 1)
    );
    assert_eq!(keys[0].expires_at_ms, None);
}

#[test]
fn broken_files_never_panic() {
    for file in [REDIS_8_10, VALKEY_9_1, &old_file(4)] {
        for end in 0..file.len() {
            assert!(read(&file[..end]).is_err());
        }
        let step = if cfg!(miri) { 97 } else { 1 };
        for at in (0..file.len()).step_by(step) {
            for flip in [1, 2, 4, 8, 16, 32, 64, 128, 255] {
                let mut flipped = file.to_vec();
                flipped[at] ^= flip;
                let _ = read(&flipped);
            }
        }
    }
}
