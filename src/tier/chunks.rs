//! Long values, which go to disk and come back in parts.
//!
//! A value of more than [`LONG_BYTES`] is cut into chunks, each compressed and stored by itself, and the record of its key
//! says which they are ([`record::Chunks`]). So a shard is locked for as long as one part takes to be copied, and neither the
//! writer nor a reader has more than one part of a value in its hands: on its way out it goes from the entry to the disk
//! part by part, on its way in each part goes to its place in the new entry.
//!
//! All chunks of a version and its record are written in one run, the record last. A run is there as a whole or not at all,
//! and goes into one generation, which goes as a whole: where a record is, its chunks are beside it. Chunks whose record was
//! overwritten, or was never written because the entry changed meanwhile, are garbage until their generation goes.
//!
//! Invariant: the parts of a value are of one version of its entry.
//! Invariant: a value comes back whole or not at all.

use std::ops::Range;

use super::compress::{Encoded, Form};
use super::record::{self, Body, Chunks, Head};
use super::store::{self, Slice, StoreError};
use super::{Tier, TierError};
use crate::keyspace::VALUE_BYTES_MAX;
use crate::keyspace::below::BrokenValue;
use crate::keyspace::entry::Entry;

/// Longer values go in chunks. One of this length is copied in a tenth of a millisecond and read from disk at once.
pub(super) const LONG_BYTES: usize = 1024 * 1024;
/// A chunk has at most so many bytes of the value: enough to compress as well as the whole, and to read at the disk's speed.
pub(super) const CHUNK_BYTES: usize = 256 * 1024;

/// Writes long values. Its buffers are as large as a chunk.
pub(super) struct ChunkWriter {
    key: Vec<u8>,
    part: Vec<u8>,
    /// Of the chunks to come. They must ascend within a run, and never be the same for one key.
    version: u64,
}

impl ChunkWriter {
    /// Begins at a number that no other process has begun at, far from the end of all numbers.
    pub(super) fn new() -> Self {
        Self {
            key: Vec::new(),
            part: Vec::new(),
            version: store::random() >> 1,
        }
    }

    /// Writes the chunks of a value. `copy` appends a part of it, and says false where the value is another by now: then
    /// there is nothing to be told in the record. `put` writes a chunk, the first of them or a later one, and gives how it is
    /// encoded and its bytes.
    pub(super) fn write(
        &mut self,
        on_disk: &[u8],
        value_len: usize,
        mut copy: impl FnMut(Range<usize>, &mut Vec<u8>) -> bool,
        mut put: impl FnMut(&[u8], &[u8], bool) -> Result<(Encoded, usize), StoreError>,
    ) -> Result<Option<Chunks>, StoreError> {
        self.version += 1;
        let chunk_bytes = chunk_bytes(value_len);
        let mut chunks = Chunks {
            form: Form::Raw,
            chunk_bytes: chunk_bytes as u32,
            version: self.version,
            raw_bytes: value_len as u64,
            stored_bytes: 0,
        };
        for (number, part) in parts(value_len, chunk_bytes) {
            self.part.clear();
            if !copy(part, &mut self.part) {
                return Ok(None);
            }
            self.key.clear();
            record::encode_chunk_key(on_disk, self.version, number, &mut self.key);
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

/// The keys of the chunks of a value, in order.
pub(super) fn keys(on_disk: &[u8], chunks: &Chunks) -> impl Iterator<Item = Vec<u8>> {
    let value_len = usize::try_from(chunks.raw_bytes).unwrap_or(usize::MAX);
    parts(value_len, chunks.chunk_bytes as usize).map(|(number, _)| {
        let mut key = Vec::with_capacity(on_disk.len() + 12);
        record::encode_chunk_key(on_disk, chunks.version, number, &mut key);
        key
    })
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
        let limit = usize::try_from(VALUE_BYTES_MAX).unwrap_or(usize::MAX);
        match body {
            Body::Value(encoded) => {
                part.clear();
                self.dictionaries.decode(encoded, limit, part)?;
                Entry::stored(0, key, head.stored(part)).map_err(|BrokenValue| TierError::Record)
            }
            Body::Chunks(chunks) => {
                let value_len = usize::try_from(chunks.raw_bytes).map_err(|_| TierError::Record)?;
                if value_len > limit {
                    return Err(TierError::Record);
                }
                if head.stored(b"").is_serialised() {
                    let mut value = vec![0; value_len];
                    self.fill(&mut value, on_disk, &chunks, neighbour, part)?;
                    let entry = Entry::stored(0, key, head.stored(&value));
                    return entry.map_err(|BrokenValue| TierError::Record);
                }
                let mut entry = Entry::unfilled(key, value_len, head.stored(b""));
                let value = entry.view_mut().into_value();
                self.fill(value, on_disk, &chunks, neighbour, part)?;
                Ok(entry)
            }
        }
    }

    /// Reads a value in chunks.
    fn fill(
        &self,
        value: &mut [u8],
        on_disk: &[u8],
        chunks: &Chunks,
        neighbour: impl Fn(&[u8]) -> Result<Option<Slice>, StoreError>,
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
    use crate::keyspace::below::Place;
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
    fn write(writer: &mut ChunkWriter, value: &[u8], changes_at: usize) -> (Map, Option<Chunks>) {
        let mut key = Vec::new();
        record::encode_key(Place(5), 1, b"key", &mut key);
        let mut map = Map::new();
        let chunks = writer.write(
            &key,
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
        let mut writer = ChunkWriter::new();
        let (cut, none) = write(&mut writer, &value, LONG_BYTES);
        assert_eq!((cut.len(), none), (3, None));
        let (whole, chunks) = write(&mut writer, &value, usize::MAX);
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
            db.server().keyspace.used_bytes() < LONG_BYTES,
            "only tables"
        );
        assert_eq!(digest(&mut db), in_memory);
        db.run("DBSIZE").int(3);
        let tier = db.server().tier.as_ref().expect("there is one");
        let classes = tier.classes();
        let class = classes.iter().find(|class| *class.name == *b"a");
        let class = class.expect("it has values");
        let raw_bytes = (4 * LONG_BYTES + 10) as u64;
        assert_eq!((class.values, class.raw_bytes), (3, raw_bytes));
        assert!(class.stored_bytes < raw_bytes / 100);
        db.run("STRLEN a:2").int(3 * LONG_BYTES as i64);
    }
}
