//! Long values, which go to disk and come back in parts.
//!
//! A value of more than [`LONG_BYTES`] is cut into chunks, each compressed and stored by itself, and the record of its key
//! says which they are ([`record::Chunks`]). So a shard is locked for as long as one part takes to be copied, and neither the
//! writer nor a reader has more than one part of a value in its hands: on its way out it goes from the entry to the disk
//! part by part, on its way in each part goes to its place in the new entry.
//!
//! A large collection goes in chunks too. What changes of it then is one more **piece**, in chunks of its own, which the record
//! tells of behind the first: so a small change need not write all of it.
//!
//! All chunks of a piece and the record that tells of it first are written in one run, the record last, and the other pieces
//! were written to the same generation before. A run is there as a whole or not at all, and a generation goes as a whole: where
//! a record is, its chunks are beside it. Chunks whose record was overwritten, or was never written because the entry changed
//! meanwhile, are garbage until their generation goes.
//!
//! Invariant: the parts of a piece are of one version of its entry, and each piece is what has changed since the one before.
//! Invariant: a value comes back whole or not at all.

use std::ops::Range;

use super::compress::{Encoded, Form};
use super::record::{self, Body, Chunks, Head};
use super::store::{self, Slice, StoreError};
use super::{Tier, TierError};
use crate::keyspace::VALUE_BYTES_MAX;
use crate::keyspace::entry::Entry;
use crate::keyspace::residency::{BrokenValue, Versions};

/// Longer values go in chunks. One of this length is copied in a tenth of a millisecond and read from disk at once.
pub(super) const LONG_BYTES: usize = 1024 * 1024;
/// A chunk has at most so many bytes of the value: enough to compress as well as the whole, and to read at the disk's speed.
pub(super) const CHUNK_BYTES: usize = 256 * 1024;

/// Writes long values. Its buffers are as large as a chunk.
#[derive(Default)]
pub(super) struct ChunkWriter {
    key: Vec<u8>,
    part: Vec<u8>,
}

/// Numbers for the chunks to come, which must ascend within a run and never be the same for one key: behind one that no other
/// process has begun at, far from the end of all numbers.
pub(super) fn versions() -> Versions {
    Versions::behind(store::random() >> 1)
}

impl ChunkWriter {
    /// Writes the chunks of a piece. `copy` appends a part of it, and says false where the value is another by now: then
    /// there is nothing to be told in the record. `put` writes a chunk, the first of them or a later one, and gives how it is
    /// encoded and its bytes.
    pub(super) fn write(
        &mut self,
        on_disk: &[u8],
        version: u64,
        value_len: usize,
        mut copy: impl FnMut(Range<usize>, &mut Vec<u8>) -> bool,
        mut put: impl FnMut(&[u8], &[u8], bool) -> Result<(Encoded, usize), StoreError>,
    ) -> Result<Option<Chunks>, StoreError> {
        let chunk_bytes = chunk_bytes(value_len);
        let mut chunks = Chunks {
            form: Form::Raw,
            chunk_bytes: chunk_bytes as u32,
            version,
            raw_bytes: value_len as u64,
            stored_bytes: 0,
        };
        for (number, part) in parts(value_len, chunk_bytes) {
            self.part.clear();
            if !copy(part, &mut self.part) {
                return Ok(None);
            }
            self.key.clear();
            record::encode_chunk_key(on_disk, version, number, &mut self.key);
            let (encoded, bytes) = put(&self.key, &self.part, number == 0)?;
            chunks.stored_bytes += bytes as u64;
            if chunks.form == Form::Raw {
                chunks.form = encoded.form;
            }
        }
        Ok(Some(chunks))
    }
}

/// Chunks of about the same length, none much shorter than the others.
fn chunk_bytes(value_len: usize) -> usize {
    value_len.div_ceil(value_len.div_ceil(CHUNK_BYTES).max(1))
}

/// The parts of a value and their numbers.
fn parts(value_len: usize, chunk_bytes: usize) -> impl Iterator<Item = (u32, Range<usize>)> {
    let starts = (0..value_len).step_by(chunk_bytes.max(1));
    (0..).zip(starts.map(move |start| start..value_len.min(start + chunk_bytes)))
}

/// The keys of the chunks of a piece, in order.
pub(super) fn keys(on_disk: &[u8], chunks: Chunks) -> impl Iterator<Item = Vec<u8>> {
    let value_len = usize::try_from(chunks.raw_bytes).unwrap_or(usize::MAX);
    parts(value_len, chunks.chunk_bytes as usize).map(move |(number, _)| {
        let mut key = Vec::with_capacity(on_disk.len() + 12);
        record::encode_chunk_key(on_disk, chunks.version, number, &mut key);
        key
    })
}

fn value_bytes_max() -> usize {
    usize::try_from(VALUE_BYTES_MAX).unwrap_or(usize::MAX)
}

fn piece_len(piece: &Chunks) -> Result<usize, TierError> {
    let len = usize::try_from(piece.raw_bytes).ok();
    let len = len.filter(|len| *len <= value_bytes_max());
    len.ok_or(TierError::Record)
}

impl Tier {
    /// Makes an entry of a record, which was found at a key on disk. `neighbour` gives other records of the generation that
    /// it was found in; `part` is room for a value or a part of it.
    pub(super) fn entry(
        &self,
        on_disk: &[u8],
        (head, body): (Head, Body<'_>),
        neighbour: impl Fn(&[u8]) -> Result<Option<Slice>, StoreError>,
        part: &mut Vec<u8>,
    ) -> Result<Entry, TierError> {
        let (_, key) = record::decode_key(on_disk).ok_or(TierError::Record)?;
        match body {
            Body::Value(encoded) => {
                part.clear();
                self.dictionaries.decode(encoded, value_bytes_max(), part)?;
                Entry::stored(0, key, head.stored(part)).map_err(|BrokenValue| TierError::Record)
            }
            Body::Chunks(pieces) => {
                let mut pieces = pieces.iter();
                let first = pieces.next().ok_or(TierError::Record)?;
                if head.stored(b"").is_serialised() {
                    let broken = |BrokenValue| TierError::Record;
                    let value = self.read_piece(on_disk, &first, &neighbour, part)?;
                    let mut entry = Entry::stored(0, key, head.stored(&value)).map_err(broken)?;
                    let mut version = first.version;
                    for piece in pieces {
                        let changes = self.read_piece(on_disk, &piece, &neighbour, part)?;
                        entry = entry.with_changes(&changes).map_err(broken)?;
                        version = piece.version;
                    }
                    return entry.followed(version).map_err(broken);
                }
                if head.stored(b"").is_old() {
                    let value = self.read_piece(on_disk, &first, &neighbour, part)?;
                    let entry = Entry::stored(0, key, head.stored(&value));
                    return entry.map_err(|BrokenValue| TierError::Record);
                }
                let mut entry = Entry::unfilled(key, piece_len(&first)?, head.stored(b""));
                let value = entry.view_mut().into_value();
                self.fill(value, on_disk, &first, &neighbour, part)?;
                Ok(entry)
            }
        }
    }

    /// Reads a piece.
    pub(super) fn read_piece(
        &self,
        on_disk: &[u8],
        piece: &Chunks,
        neighbour: &impl Fn(&[u8]) -> Result<Option<Slice>, StoreError>,
        part: &mut Vec<u8>,
    ) -> Result<Vec<u8>, TierError> {
        let mut bytes = vec![0; piece_len(piece)?];
        self.fill(&mut bytes, on_disk, piece, neighbour, part)?;
        Ok(bytes)
    }

    fn fill(
        &self,
        value: &mut [u8],
        on_disk: &[u8],
        chunks: &Chunks,
        neighbour: &impl Fn(&[u8]) -> Result<Option<Slice>, StoreError>,
        part: &mut Vec<u8>,
    ) -> Result<(), TierError> {
        let mut key = Vec::with_capacity(on_disk.len() + 12);
        for (number, range) in parts(value.len(), chunks.chunk_bytes as usize) {
            key.clear();
            record::encode_chunk_key(on_disk, chunks.version, number, &mut key);
            let chunk = neighbour(&key)?.ok_or(TierError::Chunk)?;
            part.clear();
            self.dictionaries.decode(&chunk, range.len(), part)?;
            if part.len() != range.len() {
                return Err(TierError::Chunk);
            }
            value[range].copy_from_slice(part);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::TierCompression;
    use crate::keyspace::residency::Place;
    use crate::testing::Db;

    #[test]
    fn parts_are_even_and_cover_the_value() {
        for value_len in [
            LONG_BYTES + 1,
            4 * CHUNK_BYTES,
            5 * LONG_BYTES + 17,
            100 << 20,
        ] {
            let chunk = chunk_bytes(value_len);
            let all: Vec<_> = parts(value_len, chunk).collect();
            assert!(chunk <= CHUNK_BYTES && all.len() == value_len.div_ceil(CHUNK_BYTES));
            let mut end = 0;
            for (index, (number, part)) in all.iter().enumerate() {
                assert_eq!((index, end), (*number as usize, part.start));
                assert!(part.len() <= chunk && part.len() + all.len() > chunk);
                end = part.end;
            }
            assert_eq!(end, value_len);
        }
    }

    /// Chunks written one after the other into a map.
    fn write(version: u64, value: &[u8], changes_at: usize) -> (Map, Option<Chunks>) {
        let mut key = Vec::new();
        record::encode_key(Place(5), 1, b"key", &mut key);
        let mut map = Map::new();
        let chunks = ChunkWriter::default().write(
            &key,
            version,
            value.len(),
            |part, out| {
                out.extend_from_slice(&value[part.clone()]);
                part.end < changes_at
            },
            |key, part, _| {
                map.insert(key.to_vec(), part.to_vec());
                let (form, raw_len) = (Form::Lz4, part.len());
                Ok((Encoded { form, raw_len }, part.len() / 2))
            },
        );
        (map, chunks.unwrap())
    }

    type Map = BTreeMap<Vec<u8>, Vec<u8>>;

    #[test]
    fn a_version_is_written_whole_or_has_no_record() {
        let value: Vec<u8> = (0..3 * LONG_BYTES).map(|i| (i / 999) as u8).collect();
        let mut versions = versions();
        let (cut, none) = write(versions.another(), &value, LONG_BYTES);
        assert_eq!((cut.len(), none), (3, None));
        let (whole, chunks) = write(versions.another(), &value, usize::MAX);
        let chunks = chunks.expect("it did not change");
        assert_eq!(chunks.raw_bytes, value.len() as u64);
        assert_eq!(chunks.stored_bytes, value.len() as u64 / 2);
        assert_eq!(chunks.form, Form::Lz4);
        assert_eq!(whole.values().flatten().copied().collect::<Vec<_>>(), value);
        assert!(
            cut.last_key_value() < whole.first_key_value(),
            "a run ascends"
        );
    }

    #[test]
    fn a_long_value_on_disk_counts_as_one() {
        let mut db = Db::tiered(|_| {});
        for (key, len) in [("a:1", LONG_BYTES + 1), ("a:2", 3 * LONG_BYTES), ("a:3", 9)] {
            db.run_args(&[b"SET", key.as_bytes(), &vec![b'v'; len]])
                .ok();
        }
        let digest = |db: &mut Db| db.run("DEBUG DIGEST").bytes().to_vec();
        let in_memory = digest(&mut db);
        db.write();
        db.demote_all();
        assert!(
            db.engine().keyspace.used_bytes() < LONG_BYTES,
            "only tables"
        );
        assert_eq!(digest(&mut db), in_memory);
        db.run("DBSIZE").int(3);
        let tier = db.engine().tier.as_ref().expect("there is one");
        let classes = tier.classes();
        let class = classes.iter().find(|class| *class.name == *b"a");
        let class = class.expect("it has values");
        let raw_bytes = (4 * LONG_BYTES + 10) as u64;
        assert_eq!((class.values, class.raw_bytes), (3, raw_bytes));
        assert!(class.stored_bytes < raw_bytes / 100);
        db.run("STRLEN a:2").int(3 * LONG_BYTES as i64);
    }

    /// Large collections of all types.
    fn collections() -> Db {
        let mut db = Db::tiered(|config| config.tier_compression = TierCompression::None);
        for i in 0..3000 {
            let text = format!("text:{i:060}");
            db.run(&format!("SADD s {text}")).int(1);
            db.run(&format!("HSET h {text} {i}")).int(1);
            db.run(&format!("ZADD z {i} {text}")).int(1);
            db.run(&format!("RPUSH l {text}")).int(i + 1);
            let id = format!("{}-1", i + 1);
            db.run(&format!("XADD x {id} f {text}")).bulk(&id);
        }
        db.run("XGROUP CREATE x g 5-1").ok();
        db
    }

    fn ingested(db: &Db) -> u64 {
        let tier = db.engine().tier.as_ref().expect("there is one");
        tier.store.stats().bytes_ingested
    }

    #[test]
    fn a_small_change_of_a_large_collection_is_written_by_itself() {
        let mut db = collections();
        db.write();
        let collection = ingested(&db) / 5;
        assert!(collection > 150_000, "{collection}");
        let commands = [
            "SADD s new",
            "SREM s new",
            "HSET h new 1",
            "HINCRBY h new 5",
            "HDEL h new",
            "HSET h kept 1",
            "HPEXPIREAT h 9999999999999 FIELDS 1 kept",
            "ZADD z 7 new",
            "ZPOPMIN z",
            "ZINCRBY z 3 new",
            "LPUSH l new",
            "RPOP l",
            "RPUSH l new newer",
            "LPOP l 30",
            "LSET l 900 other",
            "LREM l 1 newer",
            "XADD x 9000-1 f v",
            "XDEL x 80-1",
            "XREADGROUP GROUP g c COUNT 3 STREAMS x >",
            "XTRIM x MINID 300",
            "XGROUP CREATE x other 0",
            "PEXPIREAT h 9999999999999",
            "PERSIST h",
            "PEXPIREAT l 9999999999999",
        ];
        let digest = |db: &mut Db| db.run("DEBUG DIGEST").bytes().to_vec();
        for round in 0..3 {
            for command in commands {
                let before = ingested(&db);
                let _ = db.run(command);
                db.write();
                let written = ingested(&db) - before;
                assert!(round > 0 || written > 0, "{command}");
                if round == 1 {
                    let in_memory = digest(&mut db);
                    db.demote_all();
                    assert_eq!(digest(&mut db), in_memory, "{command}");
                }
            }
            let in_memory = digest(&mut db);
            db.demote_all();
            assert_eq!(digest(&mut db), in_memory);
        }
        // Nodes of a list are a part of it that is not so small.
        let written = (ingested(&db) - 5 * collection) / (3 * commands.len() as u64);
        assert!(written < collection / 8, "{written} of {collection}");
    }

    #[test]
    fn pieces_become_few_and_at_last_one() {
        let mut db = collections();
        db.write();
        let (mut most, mut wholes) = (0, 0);
        for i in 0..400 {
            let before = ingested(&db);
            for j in 0..20 {
                db.run(&format!("HSET h text:{:060} {i}", (i * 37 + j) % 3000))
                    .int(0);
            }
            db.write();
            let written = ingested(&db) - before;
            wholes += usize::from(written > 50_000);
            let pieces = pieces(&db, b"h");
            most = most.max(pieces);
        }
        assert!((3..12).contains(&most), "{most}");
        assert!((1..80).contains(&wholes), "{wholes}");
        let in_memory = db.run("DEBUG DIGEST").bytes().to_vec();
        db.demote_all();
        assert_eq!(db.run("DEBUG DIGEST").bytes(), in_memory);
    }

    /// How many pieces the disk has of a key.
    fn pieces(db: &Db, key: &[u8]) -> usize {
        let engine = db.engine();
        let tier = engine.tier.as_ref().expect("there is one");
        let (hash, mut on_disk) = (engine.keyspace.hash(key), Vec::new());
        record::encode_key(Place::of(hash), 0, key, &mut on_disk);
        let found = tier
            .store
            .find(hash.value(), &on_disk)
            .expect("the disk is well");
        match record::decode(&found.expect("it is there").record) {
            Some((_, Body::Chunks(pieces))) => pieces.iter().count(),
            other => panic!("{other:?}"),
        }
    }

    /// What has changed is told against what the disk has, and that is what memory thinks only as long as nothing else came between.
    #[test]
    fn a_collection_that_the_disk_has_in_another_version_is_written_whole() {
        for between in [
            "RENAME s other; RENAME other t; COPY t s",
            "DEL s; SADD s a b",
            "RENAME t s",
            "COPY t s REPLACE",
            "MOVE s 1; COPY t s",
            "SWAPDB 0 1; SWAPDB 0 1",
        ] {
            let mut db = Db::tiered(|_| {});
            for key in ["s", "t"] {
                for i in 0..3000 {
                    db.run(&format!("SADD {key} {key}:member:{i}")).int(1);
                }
            }
            db.write();
            for command in ["SADD s one", "SREM t t:member:7"] {
                db.run(command).int(1);
            }
            for written in [false, true] {
                for command in between.split("; ") {
                    let _ = db.run(command);
                    if written {
                        db.write();
                    }
                }
                let _ = db.run("SADD s two");
                let _ = db.run("SADD t three");
                db.write();
                let in_memory = db.run("DEBUG DIGEST").bytes().to_vec();
                db.demote_all();
                assert_eq!(db.run("DEBUG DIGEST").bytes(), in_memory, "{between}");
            }
        }
    }
}
