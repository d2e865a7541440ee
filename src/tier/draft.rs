//! What a run is going to write: gathered in any order, and several times of one key, until all of it is of one moment.
//!
//! A run takes its keys in order and each once, but what changes while others are copied must be copied again. So records
//! are gathered here, and the last of each key is written, in order. Records that memory has no room for lie in a file
//! that has no name, so that a crash leaves nothing of it.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::chunks;
use super::progress::Progress;
use super::record::{self, Body, Chunks};
use super::store::{Run, Store, StoreError};

/// Records beyond so many bytes go into the file.
const MEMORY_BYTES: usize = 4 * 1024 * 1024;
/// What is read back of it at once. Neighbours in it are mostly neighbours in the run.
const READ_BYTES: usize = 64 * 1024;
/// How far it is with writing is told each time after so many records.
const PROGRESS_RECORDS: usize = 1000;
/// In so many places, in turn: what was copied later than most stands behind all of that, once in order for each time.
const WINDOWS: usize = 16;

/// The records of a run.
pub(super) struct Draft {
    /// The number of the generation that the run goes to.
    pub(super) generation: u64,
    records: Vec<Record>,
    keys: Vec<u8>,
    bytes: Bytes,
    /// Chunks, and records that tell of chunks: where they are among the records.
    chunked: HashMap<Box<[u8]>, u32>,
}

#[derive(Clone, Copy)]
struct Record {
    hash: u64,
    key_at: usize,
    at: u64,
    len: u32,
    key_len: u16,
    /// Nobody tells of this chunk any more.
    is_dropped: bool,
}

impl Draft {
    pub(super) fn new(dir: &Path, generation: u64) -> Self {
        Self {
            generation,
            records: Vec::new(),
            keys: Vec::new(),
            bytes: Bytes::new(dir),
            chunked: HashMap::new(),
        }
    }

    /// Takes a record, in place of an earlier one of this key. An empty one says that the key is gone.
    pub(super) fn put(&mut self, hash: u64, key: &[u8], record: &[u8]) -> Result<(), StoreError> {
        let key_len = u16::try_from(key.len()).map_err(|_| StoreError::Size)?;
        let len = u32::try_from(record.len()).map_err(|_| StoreError::Size)?;
        let is_chunk = record::is_chunk(key);
        let pieces = if is_chunk { Vec::new() } else { pieces(record) };
        if !is_chunk && !self.chunked.is_empty() {
            self.drop_chunks(key, &pieces)?;
        }
        if is_chunk || !pieces.is_empty() {
            self.chunked.insert(key.into(), self.records.len() as u32);
        }
        grow(&mut self.records, 1);
        self.records.push(Record {
            hash,
            key_at: self.keys.len(),
            at: self.bytes.put(record),
            len,
            key_len,
            is_dropped: false,
        });
        grow(&mut self.keys, key.len());
        self.keys.extend_from_slice(key);
        Ok(())
    }

    /// The last record that a key has here, of a chunk or one that tells of chunks.
    pub(super) fn chunked(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(&index) = self.chunked.get(key) else {
            return Ok(None);
        };
        let record = self.records[index as usize];
        let mut out = Vec::new();
        self.bytes.read(record.at, record.len, &mut out)?;
        Ok(Some(out))
    }

    /// What is here of the chunks that the last record of a key told of goes, but for the pieces that are told of still.
    fn drop_chunks(&mut self, key: &[u8], still: &[Chunks]) -> Result<(), StoreError> {
        let Some(before) = self.chunked(key)? else {
            return Ok(());
        };
        for piece in pieces(&before) {
            if still.contains(&piece) {
                continue;
            }
            for chunk in chunks::keys(key, piece) {
                if let Some(index) = self.chunked.remove(chunk.as_slice()) {
                    self.records[index as usize].is_dropped = true;
                }
            }
        }
        self.chunked.remove(key);
        Ok(())
    }

    /// Bytes of memory that it takes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.records.capacity() * size_of::<Record>()
            + self.keys.capacity()
            + self.bytes.memory_bytes()
    }

    /// Writes all of it, without what belongs to contents of databases that are gone by now: `names` are the others.
    pub(super) fn write(
        mut self,
        run: &mut Run<'_>,
        store: &Store,
        names: &[u32],
        progress: &Progress,
    ) -> Result<(), StoreError> {
        let mut order: Vec<u32> = (0..self.records.len() as u32).collect();
        // What was gathered at one go is in order already, which this sort makes use of.
        order.sort_by(|&a, &b| self.key(a).cmp(self.key(b)));
        let mut record = Vec::new();
        for (at, &index) in order.iter().enumerate() {
            if at.is_multiple_of(PROGRESS_RECORDS) {
                progress.written(at, order.len());
            }
            let key = self.key(index);
            let is_last = order.get(at + 1).is_none_or(|&next| self.key(next) != key);
            let entry = self.records[index as usize];
            let lives = record::name_of(key).is_none_or(|name| names.contains(&name));
            if !is_last || entry.is_dropped || !lives {
                continue;
            }
            if entry.len > 0 {
                self.bytes.read(entry.at, entry.len, &mut record)?;
                run.write(entry.hash, self.key(index), &record)?;
            } else if store.may_hold(entry.hash) {
                run.mark(entry.hash, key)?;
            }
        }
        Ok(())
    }

    fn key(&self, index: u32) -> &[u8] {
        let record = self.records[index as usize];
        &self.keys[record.key_at..][..usize::from(record.key_len)]
    }
}

/// Makes room for so many more, and a quarter of what is there: doubled, half of what all this takes would lie idle.
fn grow<T>(list: &mut Vec<T>, more: usize) {
    if list.capacity() - list.len() < more {
        list.reserve_exact(more.max(list.len() / 4));
    }
}

fn pieces(record: &[u8]) -> Vec<Chunks> {
    match record::decode(record) {
        Some((_, Body::Chunks(pieces))) => pieces.iter().collect(),
        _ => Vec::new(),
    }
}

/// Bytes one behind the other, the first of which may be in a file.
struct Bytes {
    path: PathBuf,
    file: Option<File>,
    /// So many are in the file.
    filed: u64,
    memory: Vec<u8>,
    /// Parts of the file that were read; the one that was used last comes first.
    windows: [Window; WINDOWS],
    /// The disk takes none: they stay in memory.
    is_refused: bool,
    #[cfg(test)]
    reads: usize,
}

/// A part of the file, and where it begins.
#[derive(Default)]
struct Window {
    bytes: Vec<u8>,
    at: u64,
}

impl Window {
    fn part(&self, at: u64, len: usize) -> Option<&[u8]> {
        let start = usize::try_from(at.checked_sub(self.at)?).ok()?;
        self.bytes.get(start..start + len)
    }
}

impl Bytes {
    fn new(dir: &Path) -> Self {
        Self {
            path: dir.join("draft"),
            file: None,
            filed: 0,
            memory: Vec::new(),
            windows: Default::default(),
            is_refused: false,
            #[cfg(test)]
            reads: 0,
        }
    }

    fn put(&mut self, bytes: &[u8]) -> u64 {
        if self.memory.len() >= MEMORY_BYTES && !self.is_refused {
            self.is_refused = self.file_all().is_err();
        }
        let at = self.filed + self.memory.len() as u64;
        self.memory.extend_from_slice(bytes);
        at
    }

    fn file_all(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            let mut options = File::options();
            let options = options.read(true).write(true).create(true).truncate(true);
            self.file = Some(options.open(&self.path)?);
            fs::remove_file(&self.path)?;
        }
        if let Some(file) = &self.file {
            file.write_all_at(&self.memory, self.filed)?;
            self.filed += self.memory.len() as u64;
            self.memory.clear();
        }
        Ok(())
    }

    fn read(&mut self, at: u64, len: u32, out: &mut Vec<u8>) -> Result<(), StoreError> {
        let len = len as usize;
        out.clear();
        if at >= self.filed {
            let start = (at - self.filed) as usize;
            out.extend_from_slice(&self.memory[start..start + len]);
            return Ok(());
        }
        let found = self
            .windows
            .iter()
            .position(|window| window.part(at, len).is_some());
        if let Some(found) = found {
            self.windows[..=found].rotate_right(1);
        } else {
            self.windows.rotate_right(1);
            self.fill(at, len)?;
        }
        let part = self.windows[0].part(at, len).ok_or(StoreError::Size)?;
        out.extend_from_slice(part);
        Ok(())
    }

    fn memory_bytes(&self) -> usize {
        let windows = self.windows.iter().map(|window| window.bytes.capacity());
        self.memory.capacity() + windows.sum::<usize>()
    }

    /// Reads the first window anew.
    fn fill(&mut self, at: u64, len: usize) -> Result<(), StoreError> {
        #[cfg(test)]
        {
            self.reads += 1;
        }
        let left = usize::try_from(self.filed - at).unwrap_or(usize::MAX);
        let window = &mut self.windows[0];
        window.bytes.resize(READ_BYTES.max(len).min(left), 0);
        window.at = at;
        if let Some(file) = &self.file {
            file.read_exact_at(&mut window.bytes, at)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::scratch::Scratch;

    /// What was copied later stands behind the rest, and comes between it in the run.
    #[test]
    fn what_was_copied_late_does_not_have_the_file_read_again_and_again() {
        const RECORDS: u64 = 20_000;
        const PASSES: u64 = 5;
        let scratch = Scratch::new();
        let mut bytes = Bytes::new(scratch.path());
        let record = |pass: u64, i: u64| vec![(pass * 31 + i) as u8; 100 + (i % 7) as usize];
        let mut places = Vec::new();
        for pass in 0..PASSES {
            for i in (0..RECORDS).filter(|i| i % (pass + 1) == 0) {
                let record = record(pass, i);
                places.push((i, pass, bytes.put(&record), record.len() as u32));
            }
        }
        bytes.file_all().expect("a file");
        places.sort_unstable();
        let mut out = Vec::new();
        for (i, pass, at, len) in places {
            bytes.read(at, len, &mut out).expect("it is there");
            assert_eq!(out, record(pass, i));
        }
        let least = bytes.filed as usize / READ_BYTES;
        assert!(bytes.reads <= 2 * least + WINDOWS, "{}", bytes.reads);
    }
}
