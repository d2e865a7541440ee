use std::collections::BTreeMap;

use super::super::listpack::Element;
use super::*;
use crate::random::Random;
use crate::testing::rounds;

const LIMITS: NodeLimits = NodeLimits {
    bytes: 400,
    entries: 7,
};

type Model = BTreeMap<Id, Vec<(Vec<u8>, Vec<u8>)>>;

fn fields(entry: Entry<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let all = entry.fields.iter();
    all.map(|(f, v): (Element<'_>, Element<'_>)| (f.to_vec(), v.to_vec()))
        .collect()
}

fn check(stream: &Stream, model: &Model) {
    assert_eq!(stream.len(), model.len() as u64);
    let found: Model = stream
        .range(Id::ZERO, Id::MAX)
        .map(|entry| (entry.id, fields(entry)))
        .collect();
    assert_eq!(found, *model);
    let back = stream.range_back(Id::ZERO, Id::MAX).map(|entry| entry.id);
    assert!(back.eq(model.keys().rev().copied()));
    assert_eq!(
        stream.state.first,
        model.keys().next().copied().unwrap_or_default()
    );
    assert_eq!(
        stream.last_there(),
        model.keys().next_back().copied().unwrap_or_default()
    );
    let bytes = stream.nodes.iter();
    let bytes = bytes.map(|(_, node)| size_class(node.capacity()));
    assert_eq!(bytes.sum::<usize>(), stream.node_bytes);
    for (id, node) in stream.nodes() {
        assert!(node::is_whole(node, id));
    }
}

#[test]
fn agrees_with_a_map_over_random_operations() {
    let mut random = Random(7);
    let mut next = move |below: u64| random.below(below);
    for _ in 0..rounds(60) {
        let (mut stream, mut model) = (Stream::default(), Model::new());
        for _ in 0..120 {
            match next(10) {
                0..6 => {
                    let id = Id {
                        ms: stream.state.last.ms + next(3),
                        seq: 0,
                    };
                    let id = id.max(stream.state.last.next().unwrap());
                    let names = [&b"a"[..], b"b", b"17"];
                    let value = next(1000).to_string().into_bytes();
                    let own: Vec<(&[u8], &[u8])> = (0..=next(3) as usize)
                        .map(|n| (names[n % 3], value.as_slice()))
                        .collect();
                    stream.add(id, &own, LIMITS);
                    let owned = own.iter().map(|(f, v)| (f.to_vec(), v.to_vec()));
                    model.insert(id, owned.collect());
                }
                6..9 => {
                    let id = model.keys().nth(next(20) as usize).copied();
                    let id = id.unwrap_or(Id { ms: 3, seq: 9 });
                    assert_eq!(stream.remove(id), model.remove(&id).is_some());
                }
                _ => {
                    let keep = if next(2) == 0 {
                        Keep::Length(next(30))
                    } else {
                        Keep::From(Id {
                            ms: next(40),
                            seq: 0,
                        })
                    };
                    let is_approximate = next(3) == 0;
                    let trim = Trim {
                        keep,
                        is_approximate,
                        most: 0,
                    };
                    let gone = stream.trim(trim);
                    let stays = |(nth, id): (usize, &Id)| match keep {
                        Keep::Length(len) => (model.len() - nth) as u64 <= len,
                        Keep::From(from) => *id >= from,
                    };
                    let too_many = model.keys().enumerate().filter(|at| !stays(*at)).count();
                    assert!(gone <= too_many as u64 && (is_approximate || gone == too_many as u64));
                    for _ in 0..gone {
                        model.pop_first();
                    }
                }
            }
        }
        check(&stream, &model);
        for (from, to) in (0..12).map(|n| (n, 40 - 3 * n)) {
            let (from, to) = (Id { ms: from, seq: 1 }, Id { ms: to, seq: 0 });
            let found = stream.range(from, to).map(|entry| entry.id);
            let inside = |id: &&Id| (from..=to).contains(*id);
            assert!(found.eq(model.keys().filter(inside).copied()));
            let found = stream.range_back(from, to).map(|entry| entry.id);
            assert!(found.eq(model.keys().rev().filter(inside).copied()));
        }
    }
}

/// Redis 7.0.15 keeps such a node too, and its payload has it.
#[test]
fn a_node_whose_entries_are_all_deleted_is_whole() {
    let mut stream = Stream::default();
    let id = |ms| Id { ms, seq: 0 };
    (1..=3).for_each(|ms| stream.add(id(ms), &[(b"f", b"v")], LIMITS));
    assert!(stream.remove(id(3)));
    let trim = Trim {
        keep: Keep::From(id(3)),
        is_approximate: false,
        most: 0,
    };
    assert_eq!(stream.trim(trim), 2);
    let (first, node) = stream.nodes().next().expect("it is kept");
    assert!(Stream::default().append_node(first, node.to_vec()));
    stream.add(id(4), &[(b"f", b"v")], LIMITS);
    assert_eq!(stream.range(Id::ZERO, Id::MAX).count(), 1);
}

#[test]
fn broken_nodes_are_refused_and_never_panic() {
    let mut stream = Stream::default();
    for ms in 1..5 {
        stream.add(
            Id { ms, seq: 0 },
            &[(b"field", b"value"), (b"n", b"5")],
            LIMITS,
        );
    }
    stream.remove(Id { ms: 2, seq: 0 });
    let (id, node) = stream
        .nodes()
        .next()
        .map(|(id, node)| (id, node.to_vec()))
        .unwrap();
    for at in 0..node.len() {
        assert!(!Stream::default().append_node(id, node[..at].to_vec()));
        for flip in 1..=255 {
            let mut flipped = node.clone();
            flipped[at] ^= flip;
            let mut other = Stream::default();
            if other.append_node(id, flipped) {
                other.range(Id::ZERO, Id::MAX).for_each(|entry| {
                    fields(entry);
                });
            }
        }
    }
}

#[test]
fn a_group_knows_who_was_given_what() {
    let mut group = ConsumerGroup::new(Id::ZERO, Some(0));
    let (ann, is_new) = group.see(b"ann", 5);
    assert!(is_new && !group.see(b"ann", 6).1);
    let (bob, _) = group.see(b"bob", 7);
    let id = |ms| Id { ms, seq: 0 };
    (1..=3).for_each(|ms| group.give(id(ms), &ann, 10, 1));
    group.give(id(2), &bob, 11, 2);
    assert_eq!(group.consumers[&ann].pending().len(), 2);
    assert_eq!(group.consumers[&bob].pending().len(), 1);
    assert!(group.take(id(1)) && !group.take(id(1)));
    assert_eq!(group.remove_consumer(b"ann"), 1);
    assert_eq!(group.pending().keys().copied().collect::<Vec<_>>(), [id(2)]);
    assert_eq!(group.pending_range(id(3), id(1)).count(), 0);
}
