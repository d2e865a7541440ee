use super::super::collection::{Collection, Content};
use super::super::fields::Deadline;
use super::super::hash::{Hash, HashRef, PackedLimits};
use super::super::large::{Large, LargeRef};
use super::super::list::{List, NodeLimits};
use super::super::listpack::Listpack;
use super::super::set::{Set, SetLimits};
use super::super::value_type::ValueType;
use super::super::zset::Zset;
use super::*;

const PACKED: PackedLimits = PackedLimits {
    entries: 3,
    bytes: 64,
};

pub(super) fn limits() -> Limits {
    Limits {
        list: NodeLimits::of_option(3),
        set: SetLimits {
            integers: 4,
            packed: PACKED,
        },
        zset: PACKED,
        hash: PACKED,
    }
}

/// What DUMP of redis-server 7.0.15 gave, with limits of three elements.
const PAYLOADS: &[(&str, &[u8])] = &[
    ("text", b"\x00\x05hello\x0a\x00cr\xdfve4 \x0a"),
    ("int8", b"\x00\xc0\xf9\x0a\x00^&\xd10\xd7\xa2B\xab"),
    ("int16", b"\x00\xc1\xd4\xfe\x0a\x00\xc6\xc4\x86#\xfe\xbe\xde."),
    ("int32", b"\x00\xc2p\x11\x01\x00\x0a\x00\x01\xa4\x08\xfe\x950\x95\xa5"),
    ("int64", b"\x00\x0b12345678901\x0a\x000NR\xd7'\x17e\x10"),
    ("long", b"\x00\xc3\x0a<\x02aba\xe0.\x01\x01ab\x0a\x00\xbb\x16\xd3\xeb\xaeo\xc5t"),
    ("empty", b"\x00\x00\x0a\x00]\x9b\\@\x0f\x7f\xa2\xda"),
    ("list", b"\x12\x01\x02\x10\x10\x00\x00\x00\x03\x00\x81a\x02\x01\x01\xf1x\xec\x03\xff\x0a\x00\xbetw%\xa2q\x99\xb2"),
    ("nodes", b"\x12\x02\x02\x10\x10\x00\x00\x00\x03\x00\x81a\x02\x81b\x02\x81c\x02\xff\x02\xc3\x16@t\x0et\x00\x00\x00\x03\x00\x81d\x02\x81e\x02\xe0dx\xe0Z\x00\x01f\xff\x0a\x00~N\xa0w\x15\x9f\xe9\xa4"),
    ("intset", b"\x0b\x14\x04\x00\x00\x00\x03\x00\x00\x00\x90\xee\xfe\xff\x01\x00\x00\x00,\x01\x00\x00\x0a\x00\xa5PL,\xe699\xc1"),
    ("wide", b"\x0b\x18\x08\x00\x00\x00\x02\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\xff\xe7vH\x17\x00\x00\x00\x0a\x00j\xb1qW\xb9E\x80\xf9"),
    ("set", b"\x02\x01\x01a\x0a\x00b\x96\xe9~D\xd2\x1am"),
    ("zset", b"\x11\x1d\x1d\x00\x00\x00\x06\x00\x81c\x02\x84-inf\x05\x81a\x02\x01\x01\x81b\x02\x832.5\x04\xff\x0a\x009\x923\x9b\xe1\x1f2="),
    ("skiplist", b"\x05\x04\x01d\x9cu\x00\x88<\xe47~\x01b\x00\x00\x00\x00\x00\x00\x04@\x01a\x00\x00\x00\x00\x00\x00\xf0?\x01c\x00\x00\x00\x00\x00\x00\xf0\xff\x0a\x00J8\x1d\xe3\x0f\xd6-\xff"),
    ("negative zero", b"\x05\x06\xc0\x04\x00\x00\x00\x00\x00\x00\x10@\xc0\x03\x00\x00\x00\x00\x00\x00\x08@\xc0\x02\x00\x00\x00\x00\x00\x00\x00@\xc0\x01\x00\x00\x00\x00\x00\x00\xf0?\x01n\x00\x00\x00\x00\x00\x00\x00\x80\x01d\x00\x00\x00\x00\x00\x00\x14\xc0\x0a\x00\x99\xc3\xcb\x7f\xb5\x8b\x9e."),
    ("hash", b"\x10\x14\x14\x00\x00\x00\x04\x00\x81f\x02\x01\x01\x81g\x02\x83two\x04\xff\x0a\x00\xe3\x18t+a\xdbo\xdf"),
];

fn read(kind: u8, mut body: &[u8]) -> Result<Value, Fault> {
    read_as(kind, Dialect::Redis, &mut body)
}

fn read_as(kind: u8, dialect: Dialect, body: &mut &[u8]) -> Result<Value, Fault> {
    let value = read_value(body, kind, dialect, &limits())?;
    match body.is_empty() {
        true => Ok(value),
        false => Err(Fault::Broken("there is more than a value")),
    }
}

/// The payload of a value.
fn dump(value: Value) -> Vec<u8> {
    let mut payload = vec![0];
    payload[0] = match value {
        Value::String(text) => write_value(&mut payload, ValueRef::String(&text)),
        Value::Collection(ValueType::List, content) => {
            let list = List::of(content).unwrap();
            write_value(&mut payload, ValueRef::List(list.view()))
        }
        Value::Collection(ValueType::Set, content) => {
            let set = Set::of(content).unwrap();
            write_value(&mut payload, ValueRef::Set(set.view()))
        }
        Value::Collection(ValueType::Zset, content) => {
            let zset = Zset::of(content).unwrap();
            write_value(&mut payload, ValueRef::Zset(zset.view()))
        }
        Value::Collection(_, content) => {
            let hash = Hash::of(content).unwrap();
            write_value(&mut payload, ValueRef::Hash(hash.view()))
        }
    };
    seal(&mut payload);
    payload
}

#[test]
fn payloads_of_redis_are_read_and_written_byte_for_byte() {
    for (name, payload) in PAYLOADS {
        let Unsealed {
            kind, value: body, ..
        } = unseal(payload).unwrap_or_else(|| panic!("{name}"));
        let value = read(kind, body).unwrap_or_else(|fault| panic!("{name}: {fault}"));
        assert_eq!(dump(value), *payload, "{name}");
    }
}

#[test]
fn broken_payloads_are_refused_and_broken_values_never_panic() {
    for (name, payload) in PAYLOADS {
        for end in 0..payload.len() {
            assert!(unseal(&payload[..end]).is_none(), "{name}");
        }
        for at in 0..payload.len() {
            let mut flipped = payload.to_vec();
            flipped[at] ^= 0x11;
            assert!(unseal(&flipped).is_none(), "{name}");
        }
        let Unsealed {
            kind, value: body, ..
        } = unseal(payload).unwrap();
        for end in 0..body.len() {
            assert!(read(kind, &body[..end]).is_err(), "{name}");
        }
        for at in 0..body.len() {
            for flip in 1..=255 {
                let mut flipped = body.to_vec();
                flipped[at] ^= flip;
                for kind in [kind, 10, 13, 14, 9, 20, 24, 25] {
                    let _ = read(kind, &flipped);
                }
            }
        }
    }
    // Lengths that no bytes stand for cost nothing.
    for kind in 0..=26 {
        for body in [
            &b"\x81\x7f\xff\xff\xff\xff\xff\xff\xff"[..],
            b"\xc3\x80\x10\x00\x00\x00\x80\x10\x00\x00\x00",
        ] {
            assert!(read(kind, body).is_err());
        }
    }
}

fn text(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    ValueWriter::plain(&mut out).text(bytes);
    out
}

fn pack(texts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Listpack::empty();
    texts
        .iter()
        .for_each(|text| Listpack::push(&mut bytes, text));
    text(&bytes)
}

#[test]
fn values_of_older_and_newer_servers_are_read() {
    let ziplist = b"\x11\0\0\0\x0d\0\0\0\x02\0\0\x01f\x03\xf6\xff";
    assert_eq!(ziplist.len(), 16);
    let mut ziplist = ziplist.to_vec();
    ziplist[0] = 16;
    let list = |kind, body: &[u8]| match read(kind, body) {
        Ok(Value::Collection(ValueType::List, Content::Packed(bytes))) => bytes,
        other => panic!("{other:?}"),
    };
    let expected = list(1, b"\x02\x01f\x015");
    assert_eq!(list(10, &text(&ziplist)), expected);
    assert_eq!(list(14, &[&[1][..], &text(&ziplist)].concat()), expected);
    assert_eq!(
        list(18, &[&[1, 2][..], &pack(&[b"f", b"5"])].concat()),
        expected
    );
    assert_eq!(list(18, b"\x02\x01\x01f\x01\x015"), expected);
    let hash = |kind, body: &[u8]| match read(kind, body) {
        Ok(Value::Collection(ValueType::Hash, Content::Packed(bytes))) => bytes,
        other => panic!("{other:?}"),
    };
    let expected = hash(4, b"\x01\x01f\x015");
    assert_eq!(hash(13, &text(&ziplist)), expected);
    assert_eq!(hash(9, &text(b"\x01\x01f\x01\x005\xff")), expected);
    assert_eq!(hash(16, &pack(&[b"f", b"5"])), expected);
    let zset = |kind, body: &[u8]| match read(kind, body) {
        Ok(Value::Collection(ValueType::Zset, Content::Packed(bytes))) => bytes,
        other => panic!("{other:?}"),
    };
    let expected = zset(17, &pack(&[b"f", b"5"]));
    assert_eq!(zset(12, &text(&ziplist)), expected);
    assert_eq!(zset(3, b"\x01\x01f\x015"), expected);
    assert_eq!(zset(5, b"\x01\x01f\0\0\0\0\0\0\x14\x40"), expected);
    assert!(matches!(
        read(20, &pack(&[b"f", b"5"])),
        Ok(Value::Collection(ValueType::Set, Content::Packed(_)))
    ));
}

/// The bytes follow the layout of the types 24 and 25 of Redis 7.4.
#[test]
fn hashes_with_deadlines_are_read_and_written() {
    let first = 1_700_000_005_000_i64;
    let first_bytes = first.to_le_bytes();
    let triples: &[&[u8]] = &[
        b"b",
        b"2",
        b"1700000005000",
        b"c",
        b"x",
        b"1700000005001",
        b"a",
        b"1",
        b"0",
    ];
    let packed = [&first_bytes[..], &pack(triples)].concat();
    let Ok(Value::Collection(ValueType::Hash, Content::Packed(bytes))) = read(25, &packed) else {
        panic!("it is packed");
    };
    let deadlines = |hash: HashRef<'_>| {
        ["a", "b", "c"].map(|field| hash.deadline(field.as_bytes()).unwrap().map(Deadline::ms))
    };
    let expected = [None, Some(first), Some(first + 1)];
    assert_eq!(deadlines(HashRef::packed(&bytes)), expected);
    let mut out = vec![0];
    out[0] = write_value(&mut out, ValueRef::Hash(HashRef::packed(&bytes)));
    assert!(matches!(
        read(out[0], &out[1..]),
        Ok(Value::Collection(_, Content::Packed(again))) if again == bytes
    ));
    seal(&mut out);
    assert_eq!(
        out[out.len() - 10..out.len() - 8],
        [12, 0],
        "the version of Redis 7.4"
    );

    let fields = b"\x04\x01\x01b\xc0\x02\x02\x01c\x01x\x00\x01a\xc0\x01\x00\x01d\xc0\x04";
    let table = [&first_bytes[..], fields].concat();
    let Ok(Value::Collection(_, Content::Large(large))) = read(24, &table) else {
        panic!("it is large");
    };
    let LargeRef::Hash(fields) = large.view() else {
        panic!("it is a hash");
    };
    assert_eq!(deadlines(HashRef::Table(fields)), expected);
    let mut out = Vec::new();
    assert_eq!(
        write_value(&mut out, ValueRef::Hash(HashRef::Table(fields))),
        24
    );
    let Ok(Value::Collection(_, Content::Large(again))) = read(24, &out) else {
        panic!("it comes back");
    };
    let LargeRef::Hash(again) = again.view() else {
        panic!("it is a hash");
    };
    assert_eq!(deadlines(HashRef::Table(again)), expected);
    let mut below = Vec::new();
    large.view().encode(&mut below);
    let from_below = Large::decode(ValueType::Hash, &below).unwrap();
    let LargeRef::Hash(from_below) = from_below.view() else {
        panic!("it is a hash");
    };
    assert_eq!(deadlines(HashRef::Table(from_below)), expected);

    let fault = |kind, body: &[u8]| read(kind, body).unwrap_err().to_string();
    let broken = [&first_bytes[..], &pack(&[b"a", b"1"])].concat();
    assert_eq!(fault(25, &broken), "its elements do not come in pairs");
    let broken = [&first_bytes[..], &pack(&[b"a", b"1", b"soon"])].concat();
    assert_eq!(fault(25, &broken), "a deadline is no number");
    let broken = [&first_bytes[..], &pack(&[b"a", b"1", b"-1"])].concat();
    assert_eq!(fault(25, &broken), "no field can go then");
}

#[test]
fn what_is_no_value_says_why() {
    let fault = |kind, body: &[u8]| read(kind, body).unwrap_err().to_string();
    assert_eq!(fault(2, b"\x02\x01a\x01a"), "an element is there twice");
    assert_eq!(
        fault(16, &pack(&[b"a", b"1", b"a", b"2"])),
        "an element is there twice"
    );
    assert_eq!(
        fault(16, &pack(&[b"a"])),
        "its elements do not come in pairs"
    );
    assert_eq!(fault(17, &pack(&[b"a", b"x"])), "a score is no number");
    assert_eq!(fault(17, &pack(&[b"a", b"nan"])), "a score is not a number");
    assert_eq!(fault(1, b"\0"), "a collection is empty");
    assert_eq!(
        fault(11, &text(b"\x02\0\0\0\x02\0\0\0\x02\0\x01\0")),
        "an intset is broken"
    );
    assert_eq!(fault(7, b""), "values of modules are not supported");
    assert_eq!(fault(200, b""), "there is no such type of value");
    assert_eq!(fault(0, b"\x05abc"), "it ends too early");
}

#[test]
fn a_hash_with_deadlines_is_written_for_valkey_as_it_is_read_from_there() {
    for count in [1, 3, 40] {
        let mut hash = Hash::empty(Vec::new());
        for i in 0..count {
            let (field, value) = (format!("field{i}"), i.to_string());
            hash.grow_for(&[field.as_bytes(), value.as_bytes()], PACKED);
            hash.set(field.as_bytes(), value.as_bytes(), PACKED);
            if i % 2 == 0 {
                let deadline = Deadline::of_ms(4_102_444_800_000 + i);
                hash.set_deadline(field.as_bytes(), deadline);
            }
        }
        let written = hash.into_content();
        let mut payload = Vec::new();
        write_valkey_hash(&mut payload, hash_of(&written));
        seal_for_valkey(&mut payload);
        let unsealed = unseal(&payload).expect("it is sealed");
        assert_eq!((unsealed.kind, unsealed.dialect), (22, Dialect::Valkey));
        let mut input = unsealed.value;
        let read = read_value(&mut input, unsealed.kind, unsealed.dialect, &limits());
        let Ok(Value::Collection(ValueType::Hash, read)) = read else {
            panic!("it is a hash: {read:?}");
        };
        let all = |content: &Content| {
            let fields = hash_of(content).iter_with_deadlines();
            let fields = fields.map(|(field, value, deadline)| {
                (field.to_vec(), value.to_vec(), deadline.map(Deadline::ms))
            });
            let mut all: Vec<_> = fields.collect();
            all.sort();
            all
        };
        assert_eq!(all(&read), all(&written));
        assert_eq!(all(&read).len() as i64, count);
    }
}

fn hash_of(content: &Content) -> HashRef<'_> {
    match content {
        Content::Packed(bytes) => HashRef::packed(bytes),
        Content::Large(large) => match large.view() {
            LargeRef::Hash(fields) => HashRef::Table(fields),
            _ => panic!("it is a hash"),
        },
    }
}
