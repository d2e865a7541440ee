//! The reserve: room on the disk for what must be known of changes that the disk is too full for.
//!
//! Where runs cannot be written memory goes ahead of the disk. If the process ends then, older versions must not come back: of
//! each changed key that the disk may hold it must be known at least that its version there is not the newest. That is a
//! **mark** of some fifty bytes. Values are kept whole, as far as there is room: the longest gives way first. They lie in a
//! file that had its blocks before the disk was full, and is written in place.
//!
//! ```text
//! <tier-dir>/reserve   two halves, written in turn; the newer whole one counts
//! half                 magic (8) | number (8) | run that it comes after (8) | length (8) | hash of these and the contents (8) | contents
//! contents             for each key, in order: length of key (2) | length of record (4) | key | record
//! ```
//!
//! An empty record is a mark: the key is gone. Numbers are little-endian. What is here comes into memory at the next start, as
//! changed as it was; a run that ends well has all of it.
//!
//! Invariant: a half is as of one moment, over all changes that no run has.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::store::{checksum, sync_dir};

const MAGIC: [u8; 8] = *b"STRRES_1";
const HEAD: usize = 40;
/// The most and the least that is reserved, and the parts of the tier's limit and of the file system.
const BYTES_MAX: u64 = 8 << 20;
const BYTES_MIN: u64 = 128 << 10;
const PART_OF_TIER: u64 = 64;
const PART_OF_DISK: u64 = 16;
/// The file.
#[derive(Debug)]
pub(super) struct Reserve {
    /// None where the disk had no room for it.
    file: Option<File>,
    half: u64,
    number: u64,
}

/// What is to be remembered.
#[derive(Debug)]
pub(super) struct Marks {
    keys: BTreeMap<Vec<u8>, Vec<u8>>,
    bytes: usize,
    /// What there is room for.
    bytes_max: usize,
    /// The keys whose records are kept whole, by the lengths of these.
    whole: BTreeSet<(usize, Vec<u8>)>,
    /// Those whose newest value is not among them.
    lost: BTreeSet<Vec<u8>>,
}

/// What a reserve had, and the run that it comes after.
pub(super) type Found = (u64, Records);
/// Keys and records.
pub(super) type Records = Vec<(Vec<u8>, Vec<u8>)>;

impl Marks {
    /// None yet, for a reserve with halves of so many bytes.
    pub(super) fn new(half: u64) -> Self {
        Self {
            keys: BTreeMap::new(),
            bytes: 0,
            bytes_max: usize::try_from(half).unwrap_or(usize::MAX) - HEAD,
            whole: BTreeSet::new(),
            lost: BTreeSet::new(),
        }
    }

    /// The longest value that it may have room for.
    pub(super) fn value_bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Keys whose newest value is not kept.
    pub(super) fn unsaved(&self) -> u64 {
        self.lost.len() as u64
    }

    /// Takes what is now at a key; an empty record says that it is gone.
    pub(super) fn put(&mut self, key: &[u8], record: &[u8]) {
        self.keep(key, record);
        self.lost.remove(key);
        if !record.is_empty() {
            self.whole.insert((record.len(), key.to_vec()));
        }
        self.make_room();
    }

    /// Takes what must not give way to anything.
    pub(super) fn put_first(&mut self, key: &[u8], record: &[u8]) {
        self.keep(key, record);
        self.make_room();
    }

    /// The value at a key is another one than the disk has, and is not kept.
    pub(super) fn put_mark(&mut self, key: &[u8]) {
        self.keep(key, &[]);
        self.lost.insert(key.to_vec());
        self.make_room();
    }

    fn keep(&mut self, key: &[u8], record: &[u8]) {
        let before = self.keys.insert(key.to_vec(), record.to_vec());
        let before = before.map_or(0, |record| {
            self.whole.remove(&(record.len(), key.to_vec()));
            entry_bytes(key, &record)
        });
        self.bytes = self.bytes - before + entry_bytes(key, record);
    }

    /// Has the longest records be marks, as long as there is no room for all.
    fn make_room(&mut self) {
        while self.bytes > self.bytes_max {
            let Some((_, longest)) = self.whole.last().cloned() else {
                return;
            };
            self.keep(&longest, &[]);
            self.lost.insert(longest);
        }
    }

    /// What is written.
    fn contents(&self) -> Vec<u8> {
        let mut contents = Vec::with_capacity(self.bytes);
        for (key, record) in &self.keys {
            contents.extend((key.len() as u16).to_le_bytes());
            contents.extend((record.len() as u32).to_le_bytes());
            contents.extend(key);
            contents.extend(record);
        }
        contents
    }
}

fn entry_bytes(key: &[u8], record: &[u8]) -> usize {
    6 + key.len() + record.len()
}

impl Reserve {
    /// The reserve of this directory, and what is in it. `tier` is the limit of the tier, `disk` the size of the file system.
    pub(super) fn open(dir: &Path, tier: u64, disk: u64) -> (Self, Option<Found>) {
        let wanted = (tier / PART_OF_TIER).min(disk / PART_OF_DISK);
        let bytes = wanted.clamp(BYTES_MIN, BYTES_MAX);
        let mut reserve = Self {
            file: None,
            half: bytes / 2,
            number: 0,
        };
        match reserve.allocate(dir, bytes) {
            Ok(file) => reserve.file = Some(file),
            Err(error) => tracing::warn!(
                "There is no room on the disk for the reserve of the disk tier: {error}"
            ),
        }
        let found = reserve.read_newest();
        (reserve, found)
    }

    fn allocate(&mut self, dir: &Path, bytes: u64) -> io::Result<File> {
        let path = dir.join("reserve");
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(false);
        let file = file.open(&path)?;
        let len = file.metadata()?.len();
        if (BYTES_MIN..=BYTES_MAX).contains(&len) {
            // As it was made.
            self.half = len / 2;
            return Ok(file);
        }
        // A length alone has no blocks.
        let zeroes = vec![0; bytes as usize];
        let made = file
            .write_all_at(&zeroes, 0)
            .and_then(|()| file.sync_all())
            .and_then(|()| sync_dir(dir));
        if let Err(error) = made {
            drop(file);
            std::fs::remove_file(&path)?;
            return Err(error);
        }
        Ok(file)
    }

    /// The bytes of a half.
    pub(super) fn half(&self) -> u64 {
        self.half
    }

    fn read_newest(&mut self) -> Option<Found> {
        let file = self.file.as_ref()?;
        let halves = [0, self.half].map(|at| read_half(file, at, self.half));
        let newest = halves.into_iter().flatten().max_by_key(|half| half.0)?;
        self.number = newest.0;
        Some((newest.1, newest.2))
    }

    /// Remembers this instead of what was remembered before.
    ///
    /// # Errors
    /// It does not fit, or the disk refuses; then it is as before.
    pub(super) fn write(&mut self, after: u64, marks: &Marks) -> io::Result<()> {
        let contents = marks.contents();
        let file = self.file.as_ref().ok_or(ErrorKind::StorageFull)?;
        if (contents.len() + HEAD) as u64 > self.half {
            return Err(ErrorKind::StorageFull.into());
        }
        let number = self.number + 1;
        let len = contents.len() as u64;
        let mut bytes = MAGIC.to_vec();
        bytes.extend([number, after, len].into_iter().flat_map(u64::to_le_bytes));
        let sum = checksum(&[&bytes, &contents]);
        bytes.extend(sum.to_le_bytes());
        bytes.extend(contents);
        file.write_all_at(&bytes, number % 2 * self.half)?;
        file.sync_data()?;
        self.number = number;
        Ok(())
    }
}

/// The number of a half, the run that it comes after, and its keys; if it is whole.
type Half = (u64, u64, Records);

fn read_half(file: &File, at: u64, half: u64) -> Option<Half> {
    let mut head = [0; HEAD];
    file.read_exact_at(&mut head, at).ok()?;
    let numbers = head[8..].as_chunks::<8>().0;
    let [number, after, len, sum] = [0, 1, 2, 3].map(|at| u64::from_le_bytes(numbers[at]));
    if head[..8] != MAGIC || len > half - HEAD as u64 {
        return None;
    }
    let mut contents = vec![0; usize::try_from(len).ok()?];
    file.read_exact_at(&mut contents, at + HEAD as u64).ok()?;
    if checksum(&[&head[..HEAD - 8], &contents]) != sum {
        return None;
    }
    Some((number, after, decode(&contents)?))
}

fn decode(mut contents: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut all = Vec::new();
    while let Some((key_len, rest)) = contents.split_first_chunk() {
        let (record_len, rest) = rest.split_first_chunk()?;
        let (key, rest) = rest.split_at_checked(u16::from_le_bytes(*key_len).into())?;
        let (record, rest) = rest.split_at_checked(u32::from_le_bytes(*record_len) as usize)?;
        all.push((key.to_vec(), record.to_vec()));
        contents = rest;
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::scratch::Scratch;

    fn open(scratch: &Scratch) -> (Reserve, Option<Found>) {
        Reserve::open(scratch.path(), 16 << 20, 1 << 30)
    }

    #[test]
    fn the_newest_whole_half_comes_back() {
        let scratch = Scratch::new();
        let (mut reserve, found) = open(&scratch);
        assert!(found.is_none());
        for number in 1..=3u8 {
            let mut marks = Marks::new(reserve.half());
            marks.put(b"a", &[number]);
            marks.put(b"b", b"");
            marks.put_mark(b"c");
            assert_eq!(marks.unsaved(), 1);
            reserve.write(number.into(), &marks).unwrap();
            let (_, found) = open(&scratch);
            let pair = |key: &[u8], record: &[u8]| (key.to_vec(), record.to_vec());
            let all = vec![pair(b"a", &[number]), pair(b"b", b""), pair(b"c", b"")];
            assert_eq!(found, Some((number.into(), all)));
        }
        // The third was cut by a crash.
        let file = File::options()
            .write(true)
            .open(scratch.path().join("reserve"))
            .unwrap();
        file.write_all_at(b"?", reserve.half() + HEAD as u64)
            .unwrap();
        assert_eq!(open(&scratch).1.unwrap().0, 2);
    }

    #[test]
    fn what_does_not_fit_leaves_what_was_there() {
        let scratch = Scratch::new();
        let (mut reserve, _) = open(&scratch);
        let mut marks = Marks::new(reserve.half());
        marks.put(b"a", b"1");
        reserve.write(7, &marks).unwrap();
        for i in 0..reserve.half() / 8 {
            marks.put_mark(&i.to_le_bytes());
        }
        assert!(reserve.write(8, &marks).is_err());
        assert_eq!(open(&scratch).1.unwrap().0, 7);
    }

    #[test]
    fn the_longest_values_give_way_to_marks_and_to_shorter_ones() {
        let scratch = Scratch::new();
        let (mut reserve, _) = open(&scratch);
        let half = reserve.half() as usize;
        let mut marks = Marks::new(half as u64);
        let lens = |marks: &Marks| -> Vec<usize> { marks.keys.values().map(Vec::len).collect() };
        marks.put_first(b"s", &[9; 100]);
        marks.put(b"a", &vec![1; half / 2]);
        marks.put(b"b", &vec![2; half / 4]);
        assert_eq!(
            (marks.unsaved(), lens(&marks)),
            (0, vec![half / 2, half / 4, 100])
        );
        marks.put(b"c", &vec![3; half / 3]);
        assert_eq!(
            (marks.unsaved(), lens(&marks)),
            (1, vec![0, half / 4, half / 3, 100])
        );
        // What comes again takes its own place.
        marks.put(b"a", &[1]);
        marks.put(b"c", &[]);
        assert_eq!(
            (marks.unsaved(), lens(&marks)),
            (0, vec![1, half / 4, 0, 100])
        );
        marks.put(b"d", &vec![4; half]);
        assert_eq!(
            (marks.unsaved(), lens(&marks)),
            (1, vec![1, half / 4, 0, 0, 100])
        );
        let fill = half - marks.bytes;
        for i in 0..fill / 14 {
            marks.put_mark(&(i as u64).to_be_bytes());
        }
        assert_eq!(marks.keys[&b"b"[..]].len(), 0);
        assert_eq!(marks.keys[&b"s"[..]].len(), 100);
        reserve.write(1, &marks).unwrap();
        let found = open(&scratch).1.unwrap().1;
        assert_eq!(found, marks.keys.into_iter().collect::<Vec<_>>());
    }
}
