//! Runs operations on a shard's table against a map, and has the table recount itself after them.
//!
//! Tags are chosen, not hashed, so that keys meet in one bucket and beyond; keys and values have lengths on both
//! sides of every form of an entry; expiries have every form. A scan goes on while the table changes. Values are compressed
//! whether it pays or not, and restored before they are written, as the keyspace does.
//!
//! Input: one byte that spreads the tags, then operations.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};

use libfuzzer_sys::fuzz_target;
use strata::clock::UnixMs;
use strata::keyspace::entry::{Entry, EntryParts, EntryRef, ValueType};
use strata::keyspace::table::{Position, Table, TableHint, Tag};
use strata::lz4::Compressor;
use strata::value::shared::SharedBytes;

const NARROW_EXPIRY_MAX: i64 = (1 << 48) - 1;
/// Above this many entries not every step recounts all.
const FEW: usize = 60;

fuzz_target!(|data: &[u8]| {
    let [spread, program @ ..] = data else {
        return;
    };
    let mut run = Run {
        table: Table::default(),
        compressor: Compressor::default(),
        hint: TableHint::default(),
        model: BTreeMap::new(),
        now: 1000,
        spread: *spread,
        walk: None,
        written: 0,
        sent: Vec::new(),
    };
    let mut program = Program(program);
    let mut steps = 0u32;
    while let Some(op) = program.next() {
        run.step(op, &mut program);
        steps += 1;
        if run.model.len() < FEW || steps.is_multiple_of(16) {
            run.table.validate();
        }
    }
    run.check_all();
});

/// What an entry must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    value: Vec<u8>,
    expires_at: Option<i64>,
    raw: bool,
    text: bool,
    access: u32,
    policy_bits: u8,
}

impl Held {
    fn of(entry: EntryRef<'_>) -> Self {
        Self {
            value: value_of(entry),
            expires_at: entry.expires_at().map(|at| at.0),
            raw: entry.is_raw(),
            text: entry.is_text(),
            access: entry.access(),
            policy_bits: entry.policy_bits(),
        }
    }

    fn is_expired(&self, now: i64) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

/// A key in a space is known by its number, which says all of it.
type Number = u16;

/// A scan under way.
struct Walk {
    from: u32,
    /// Were there from the start.
    stayed: BTreeSet<Number>,
    seen: BTreeSet<Number>,
}

struct Run {
    table: Table,
    compressor: Compressor,
    hint: TableHint,
    model: BTreeMap<Number, Held>,
    now: i64,
    spread: u8,
    walk: Option<Walk>,
    written: u8,
    /// Long strings on their way to clients, and what they must stay.
    sent: Vec<(SharedBytes, Vec<u8>)>,
}

/// The last is the largest that there is.
const SPACES: [u8; 3] = [0, 1, 31];

fn space_of(number: Number) -> u8 {
    SPACES[usize::from(number % 3)]
}

fn value_of(entry: EntryRef<'_>) -> Vec<u8> {
    let mut scratch = vec![7; 3];
    let value = entry.plain(&mut scratch).to_vec();
    assert_eq!(value.len(), entry.value_len());
    value
}

fn key_of(number: Number) -> Vec<u8> {
    let index = number / 3;
    let mut key = index.to_le_bytes().to_vec();
    match index % 16 {
        0 => key.resize(255, 7),
        1 => key.resize(256, 7),
        2 => key.resize(300, 7),
        3 => key.resize(16, 7),
        _ => {}
    }
    key
}

fn number_of(entry: EntryRef<'_>) -> Number {
    let index = Number::from_le_bytes([entry.key()[0], entry.key()[1]]);
    let space = SPACES.iter().position(|&space| space == entry.space());
    let number = index * 3 + space.expect("a space of ours") as Number;
    assert_eq!(entry.key(), key_of(number));
    number
}

impl Run {
    fn tag_of(&self, number: Number) -> Tag {
        let index = u64::from(number / 3);
        Tag::of_hash(match self.spread % 4 {
            0 => index << 12,
            1 => index % 3 * 1000,
            // The last tags, whose entries go on to the first bucket.
            2 => u64::from(Tag::END) - 1 - index % 4,
            _ => index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 30,
        })
    }

    fn find(&self, number: Number) -> Option<Position> {
        let (tag, key) = (self.tag_of(number), key_of(number));
        self.hint.prefetch(tag);
        self.table.prefetch_entry(tag);
        let found = self.table.find(tag, space_of(number), &key);
        assert_eq!(found.is_some(), self.model.contains_key(&number));
        found
    }

    fn check(&self, number: Number) {
        let Some(at) = self.find(number) else { return };
        assert!(at.slot() < 7);
        assert_eq!(self.table.tag(at), self.tag_of(number));
        let same_tag = self.table.positions_of(self.tag_of(number).value());
        assert!(same_tag.contains(&at), "{number}");
        let entry = self.table.get(at);
        assert_eq!(number_of(entry), number);
        assert_eq!(Held::of(entry), self.model[&number], "{number}");
    }

    fn check_all(&self) {
        self.table.validate();
        assert_eq!(self.table.len(), self.model.len());
        for at in self.table.all_positions() {
            let entry = self.table.get(at);
            let number = number_of(entry);
            assert_eq!(self.table.tag(at), self.tag_of(number));
            assert_eq!(Some(&Held::of(entry)), self.model.get(&number));
        }
        let some = self.model.keys().take(FEW);
        some.for_each(|&number| self.check(number));
    }

    fn step(&mut self, op: u8, program: &mut Program<'_>) {
        let number = Number::from(program.byte());
        match op % 16 {
            0..=2 => {
                let value = self.value(program);
                let expires_at = self.expiry(program);
                self.write(number, value, expires_at, op & 16 != 0);
            }
            3 => self.remove(number),
            4 => self.resize(number, length(program)),
            5 => {
                let expires_at = self.expiry(program);
                if let Some(at) = self.find(number) {
                    self.table.set_expiry(at, expires_at.map(UnixMs));
                    self.held(number).expires_at = stored(expires_at);
                }
            }
            6 => self.expire(program),
            7 => self.walk(usize::from(number)),
            8 => self.replace(number, program),
            9 => self.table.shrink_if_sparse(),
            10 => {
                let expires_at = self.expiry(program);
                for number in range(program) {
                    self.write(number, vec![1; usize::from(number % 20)], expires_at, false);
                }
            }
            11 => range(program).for_each(|number| self.remove(number)),
            12 => self.mark(number, program),
            13 => {
                if let Some(at) = self.find(number) {
                    let with = program.byte();
                    self.restore(at);
                    self.table.get_mut(at).into_value().fill(with);
                    self.held(number).value.fill(with);
                }
            }
            14 if op & 16 != 0 => self.compress(number, program.byte()),
            14 => self.copy(number, Number::from(program.byte())),
            _ => self.check_all(),
        }
        self.hint.note(&self.table);
        self.check(number);
        self.send(number);
    }

    /// Has a long string sent, which takes a while.
    fn send(&mut self, number: Number) {
        let at = self.find(number);
        let shared = at.and_then(|at| self.table.get(at).shared());
        if let Some(shared) = shared {
            let now = shared.to_vec();
            self.sent.push((shared, now));
        }
        if self.sent.len() > 4 {
            let (shared, before) = self.sent.remove(0);
            assert!(*shared == *before, "what is sent does not change");
        }
    }

    fn held(&mut self, number: Number) -> &mut Held {
        self.model.get_mut(&number).expect("it was found")
    }

    fn write(&mut self, number: Number, value: Vec<u8>, expires_at: Option<i64>, raw: bool) {
        let key = key_of(number);
        let parts = EntryParts {
            space: space_of(number),
            key: &key,
            value: &value,
            value_type: ValueType::String,
            expires_at: expires_at.map(UnixMs),
            raw,
        };
        let mut held = Held {
            value: value.clone(),
            expires_at: stored(expires_at),
            raw,
            text: false,
            access: 0,
            policy_bits: 0,
        };
        if let Some(at) = self.find(number) {
            if value.len() >= 1 << 14 && raw {
                // As one that was received for just this.
                self.table.overwrite_shared(at, &parts, value.clone().into());
            } else {
                self.table.overwrite(at, &parts);
            }
            let old = &self.model[&number];
            held.access = old.access;
            held.policy_bits = old.policy_bits;
        } else {
            let at = self.table.insert(self.tag_of(number), Entry::new(&parts));
            assert_eq!(self.table.get(at).key(), key);
        }
        self.model.insert(number, held);
    }

    fn remove(&mut self, number: Number) {
        if let Some(at) = self.find(number) {
            let entry = self.table.remove(at);
            assert_eq!(Some(Held::of(entry.view())), self.model.remove(&number));
            self.gone(number);
        }
    }

    fn gone(&mut self, number: Number) {
        if let Some(walk) = &mut self.walk {
            walk.stayed.remove(&number);
        }
    }

    fn resize(&mut self, number: Number, len: usize) {
        if let Some(at) = self.find(number) {
            self.restore(at);
            self.table.resize_value(at, len);
            self.held(number).value.resize(len, 0);
        }
    }

    fn restore(&mut self, at: Position) {
        if self.table.get(at).is_compressed() {
            self.table.restore(at);
        }
        assert!(!self.table.get(at).is_compressed());
    }

    /// Compresses a value, restores it, or has its entry pinned or marked, none of which the model sees.
    fn compress(&mut self, number: Number, what: u8) {
        let Some(at) = self.find(number) else { return };
        let entry = self.table.get(at);
        let is_plain = !entry.is_compressed() && !entry.is_pinned();
        match what % 8 {
            0..4 if is_plain => {
                let value = value_of(entry);
                let block = self.compressor.compress(&value).expect("there is room");
                self.table.compress(at, block);
                assert!(self.table.get(at).is_compressed());
            }
            4 => self.restore(at),
            5 if is_plain => self.table.mark_incompressible(at),
            6 => {
                self.restore(at);
                self.table.set_pin(at, true);
                assert!(self.table.get(at).is_pinned());
            }
            7 if entry.is_pinned() => self.table.set_pin(at, false),
            _ => {}
        }
    }

    fn mark(&mut self, number: Number, program: &mut Program<'_>) {
        let Some(at) = self.find(number) else { return };
        let (what, bits) = (program.byte(), program.byte());
        let mut entry = self.table.get_mut(at);
        let held = self.model.get_mut(&number).expect("it was found");
        match what % 4 {
            0 => {
                let access = u32::from(bits) << 16 | u32::from(what);
                entry.set_access(access);
                held.access = access;
            }
            1 => {
                entry.set_policy_bits(bits);
                held.policy_bits = bits;
            }
            2 => {
                entry.set_text();
                held.text = true;
            }
            _ => {
                entry.set_raw();
                held.raw = true;
            }
        }
    }

    /// As a key that comes back from below: another entry, which takes over nothing.
    fn replace(&mut self, number: Number, program: &mut Program<'_>) {
        let (value, expires_at) = (self.value(program), self.expiry(program));
        let Some(at) = self.find(number) else { return };
        let key = key_of(number);
        let parts = EntryParts {
            space: space_of(number),
            key: &key,
            value: &value,
            value_type: ValueType::String,
            expires_at: expires_at.map(UnixMs),
            raw: true,
        };
        self.table.replace(at, Entry::new(&parts));
        let held = Held {
            value,
            expires_at: stored(expires_at),
            raw: true,
            text: false,
            access: 0,
            policy_bits: 0,
        };
        self.model.insert(number, held);
    }

    /// As COPY does: the same under another key.
    fn copy(&mut self, from: Number, to: Number) {
        let (Some(source), None) = (self.find(from), self.find(to)) else {
            return;
        };
        let entry = self.table.get(source).to_entry(space_of(to), &key_of(to));
        self.table.insert(self.tag_of(to), entry);
        let held = Held {
            access: 0,
            policy_bits: 0,
            ..self.model[&from].clone()
        };
        self.model.insert(to, held);
        self.check(to);
    }

    fn expire(&mut self, program: &mut Program<'_>) {
        self.now = match program.byte() {
            255 => NARROW_EXPIRY_MAX - 1,
            254 => i64::MAX,
            253 => -5,
            ms => self.now.saturating_add(i64::from(ms)),
        };
        let limit = usize::from(program.byte() % 32);
        let mut taken = Vec::new();
        let all = self.table.take_expired(
            UnixMs(self.now),
            limit,
            |entry| taken.push(entry),
            |_| unreachable!("there is no hash"),
        );
        assert!(taken.len() < limit + 7, "a bucket more at most");
        for entry in taken {
            let number = number_of(entry.view());
            let held = self.model.remove(&number).expect("it is in the table");
            assert_eq!(Held::of(entry.view()), held);
            assert!(held.is_expired(self.now), "it was not its time");
            self.gone(number);
        }
        if all {
            assert!(!self.model.values().any(|held| held.is_expired(self.now)));
            let floor = self.table.expiry_floor();
            assert!(self.now < 0 || floor.is_none_or(|floor| floor.0 > self.now));
        }
    }

    /// Goes on with the scan for some steps; what stayed since its start was seen at its end.
    fn walk(&mut self, steps: usize) {
        let mut walk = self.walk.take().unwrap_or_else(|| Walk {
            from: 0,
            stayed: self.model.keys().copied().collect(),
            seen: BTreeSet::new(),
        });
        for _ in 0..=steps {
            let next = self.table.scan(walk.from, |entry| {
                let number = number_of(entry);
                assert!(self.model.contains_key(&number));
                walk.seen.insert(number);
            });
            assert!(next > walk.from);
            walk.from = next;
            if next == Tag::END {
                assert!(walk.stayed.is_subset(&walk.seen));
                return;
            }
        }
        self.walk = Some(walk);
    }

    fn value(&mut self, program: &mut Program<'_>) -> Vec<u8> {
        self.written = self.written.wrapping_add(1);
        vec![self.written; length(program)]
    }

    fn expiry(&self, program: &mut Program<'_>) -> Option<i64> {
        Some(match program.byte() {
            0..100 => return None,
            100 => 0,
            101 => -1,
            102 => i64::MIN,
            103 => i64::MAX,
            104 => i64::MAX - 1,
            105 => NARROW_EXPIRY_MAX,
            106 => NARROW_EXPIRY_MAX + 1,
            ms => self.now.saturating_add(i64::from(ms) - 110),
        })
    }
}

/// The last millisecond stands for none in an entry.
fn stored(expires_at: Option<i64>) -> Option<i64> {
    expires_at.map(|at| at.min(i64::MAX - 1))
}

/// A length of a value: small ones, and those around the forms of an entry.
fn length(program: &mut Program<'_>) -> usize {
    match program.byte() {
        byte @ 0..200 => usize::from(byte % 50),
        byte @ 200..220 => 230 + usize::from(byte),
        byte @ 220..230 => 16_384 - 225 + usize::from(byte),
        byte @ 230..240 => 65_536 - 235 + usize::from(byte),
        byte => 70_000 - usize::from(byte) * 17,
    }
}

fn range(program: &mut Program<'_>) -> std::ops::Range<Number> {
    let start = Number::from(program.byte()) * 8;
    let len = match program.byte() {
        byte @ 0..200 => byte % 30,
        // So many in one bucket that it stops counting them.
        byte => byte,
    };
    start..start + Number::from(len)
}

struct Program<'a>(&'a [u8]);

impl Program<'_> {
    fn next(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    fn byte(&mut self) -> u8 {
        self.next().unwrap_or(0)
    }
}
