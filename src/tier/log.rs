//! The log of `tier-durability always`: what was changed since the last run, in the order of the changes.
//!
//! A run is made for much data at once: it makes files and syncs directories, and many small ones would have to be merged.
//! So a reply waits for the log, whose cost is one write and one sync for all replies that wait together, and the runs go on
//! as without it. When a run has ended all that the log says is in it, and the log begins anew. After a crash
//! what the log says becomes the first run.
//!
//! ```text
//! <tier-dir>/log     magic (8) | number of the run that it comes after (8) | hash of that (8) | frames
//! frame              length of the key (4) | length of the record (4) | hash of both lengths, key and record (8) | key | record
//! end of a group     a frame without key and record; what no such frame follows was not acknowledged
//! ```
//!
//! An empty record says that the key was deleted. Lengths are little-endian. Values are not compressed; long ones are in
//! chunks as in a run, their record in the same group behind them, so that nobody needs memory for a whole one: neither who
//! writes the log, nor who reads it, who remembers only where the records lie.
//!
//! Invariant: what [`Log::commit`] has returned for is durable, as long as no run that ended well has it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::store::{StoreError, checksum, regular, sync_dir};

const MAGIC: [u8; 8] = *b"STRLOG_3";
/// Without the number of a run.
const MAGIC_2: [u8; 8] = *b"STRLOG_2";
const AFTER: usize = 16;
const HEAD: usize = 16;
const BUFFER_BYTES: usize = 256 * 1024;

/// The log of a tier, written by one thread.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    /// The number of the run that it comes after.
    after: u64,
    /// Open while there is something in it.
    file: Option<BufWriter<File>>,
    /// The bytes that are durable.
    committed: u64,
    appended: u64,
    /// A sync failed: nobody knows what the disk has until the log has begun anew.
    broken: bool,
    /// The file is that of the last process, and is read.
    is_kept: bool,
}

/// What a log has: where the newest record of each key lies.
#[derive(Debug, Default)]
pub(super) struct LogIndex {
    /// The number of the run that they come after. Those before a run that ended well are in that run.
    pub(super) after: u64,
    file: Option<File>,
    records: BTreeMap<Vec<u8>, Found>,
}

/// Where a record lies.
#[derive(Clone, Copy, Debug)]
struct Found {
    at: u64,
    len: u32,
}

impl LogIndex {
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// All keys, in order.
    pub(super) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.records.keys().map(Vec::as_slice)
    }

    /// The newest record of a key, if the log has one.
    pub(super) fn record(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let (Some(file), Some(found)) = (&self.file, self.records.get(key)) else {
            return Ok(None);
        };
        let mut record = vec![0; found.len as usize];
        file.read_exact_at(&mut record, found.at)?;
        Ok(Some(record))
    }

    /// Shows each key, in order, with its newest record, which is empty where the key was deleted.
    pub(super) fn each(
        &self,
        mut show: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let mut record = Vec::new();
        for (key, found) in &self.records {
            record.resize(found.len as usize, 0);
            file.read_exact_at(&mut record, found.at)?;
            show(key, &record)?;
        }
        Ok(())
    }
}

impl Log {
    /// The log in this directory, and what was left in it.
    pub(super) fn open(dir: &Path) -> io::Result<(Self, LogIndex)> {
        let path = dir.join("log");
        let changes = read(&path)?;
        let log = Self {
            path,
            after: changes.after,
            file: None,
            committed: 0,
            appended: 0,
            broken: false,
            is_kept: false,
        };
        Ok((log, changes))
    }

    /// Leaves the file as it is until a run has what is in it.
    pub(super) fn keep(&mut self) {
        self.broken = true;
        self.is_kept = true;
    }

    /// Whether nothing can be made durable but by a run.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Bytes that the log has.
    pub(super) fn bytes(&self) -> u64 {
        self.committed
    }

    /// Writes the record of a key.
    pub(super) fn append(&mut self, key: &[u8], record: &[u8]) -> io::Result<()> {
        let too_long = |_| io::Error::from(io::ErrorKind::InvalidInput);
        let lengths = [key.len(), record.len()].map(u32::try_from);
        let [key_len, record_len] = lengths;
        let (key_len, record_len) = (key_len.map_err(too_long)?, record_len.map_err(too_long)?);
        let mut head = [0; HEAD];
        head[..4].copy_from_slice(&key_len.to_le_bytes());
        head[4..8].copy_from_slice(&record_len.to_le_bytes());
        let sum = checksum(&[&head[..8], key, record]);
        head[8..].copy_from_slice(&sum.to_le_bytes());
        let file = self.file()?;
        file.write_all(&head)?;
        file.write_all(key)?;
        file.write_all(record)?;
        self.appended += (HEAD + key.len() + record.len()) as u64;
        Ok(())
    }

    /// Makes durable what was appended. After an error it is as if that had not been.
    pub(super) fn commit(&mut self) -> io::Result<()> {
        self.append(&[], &[])?;
        let file = self.file()?;
        file.flush()?;
        let synced = file.get_ref().sync_data();
        self.broken |= synced.is_err();
        synced?;
        self.committed += std::mem::take(&mut self.appended);
        Ok(())
    }

    /// Forgets what was appended and not committed, after an error.
    pub(super) fn roll_back(&mut self) {
        self.appended = 0;
        let Some(file) = self.file.take() else { return };
        let (file, _) = file.into_parts();
        let back = || {
            file.set_len(self.committed)?;
            (&file).seek(SeekFrom::End(0))
        };
        match back() {
            Ok(_) => self.file = Some(BufWriter::with_capacity(BUFFER_BYTES, file)),
            Err(_) => self.broken = true,
        }
    }

    /// The run of this number has all of it: begins anew.
    pub(super) fn clear(&mut self, run: u64) -> io::Result<()> {
        self.after = run;
        // Until it has begun anew: nobody would read what comes behind what the run has.
        let was_broken = std::mem::replace(&mut self.broken, true);
        if self.file.is_none() && self.committed == 0 && !was_broken && !self.path.exists() {
            self.broken = false;
            return Ok(());
        }
        self.file = None;
        self.is_kept = false;
        (self.committed, self.appended) = (0, 0);
        regular::clear(&self.path)?;
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.path.parent().map_or(Ok(()), sync_dir)?;
        self.broken = false;
        Ok(())
    }

    fn file(&mut self) -> io::Result<&mut BufWriter<File>> {
        if self.is_kept {
            return Err(io::Error::other(
                "the log of the last process is in no run yet",
            ));
        }
        if self.broken {
            // A new file would take the place of what was committed.
            return Err(io::Error::other("the log must begin anew"));
        }
        if self.file.is_none() {
            let mut file = regular::create(&self.path)?;
            file.write_all(&MAGIC)?;
            file.write_all(&after(self.after))?;
            self.committed = (MAGIC.len() + AFTER) as u64;
            self.path.parent().map_or(Ok(()), sync_dir)?;
            self.file = Some(BufWriter::with_capacity(BUFFER_BYTES, file));
        }
        Ok(self.file.as_mut().expect("opened above"))
    }
}

/// The number of a run, and its hash.
fn after(run: u64) -> [u8; AFTER] {
    let mut head = [0; AFTER];
    let run = run.to_le_bytes();
    head[..8].copy_from_slice(&run);
    head[8..].copy_from_slice(&checksum(&[&MAGIC, &run]).to_le_bytes());
    head
}

/// What whole groups say, newest last. A crash may have left the beginning of a group behind them. A log that cannot be read is
/// moved aside.
fn read(path: &Path) -> io::Result<LogIndex> {
    let file = match regular::open(path) {
        Ok(None) => return Ok(LogIndex::default()),
        Ok(Some(file)) => file,
        Err(error) if regular::may_pass(&error) => return Err(regular::at(path, &error)),
        Err(error) => {
            tracing::error!(
                "The log of the disk tier cannot be read, and what was changed last is lost: {error}"
            );
            regular::move_aside(path)?;
            return Ok(LogIndex::default());
        }
    };
    let mut changes = LogIndex {
        after: u64::MAX,
        ..LogIndex::default()
    };
    let bytes = file.metadata()?.len();
    let whole = match read_groups(&file, bytes, &mut changes) {
        Ok(whole) => whole,
        Err((whole, error)) => {
            tracing::error!("The log of the disk tier could not be read to its end: {error}");
            whole
        }
    };
    if whole < bytes {
        tracing::warn!(
            "The log of the disk tier ends in {} bytes that are no whole group; they are left out",
            bytes - whole
        );
    }
    changes.file = Some(file);
    Ok(changes)
}

/// Reads group by group; gives where the last whole one ends.
fn read_groups(file: &File, bytes: u64, changes: &mut LogIndex) -> Result<u64, (u64, io::Error)> {
    let mut frames = BufReader::with_capacity(BUFFER_BYTES, file);
    let head = read_head(&mut frames).map_err(|error| (0, error))?;
    let Some((after, mut read)) = head else {
        return Ok(0);
    };
    changes.after = after;
    let mut whole = read;
    let (mut group, mut record) = (Vec::new(), Vec::new());
    loop {
        let frame = read_frame(&mut frames, bytes - read, &mut record);
        let Some(key) = frame.map_err(|error| (whole, error))? else {
            return Ok(whole);
        };
        let found = Found {
            at: read + (HEAD + key.len()) as u64,
            len: record.len() as u32,
        };
        read = found.at + u64::from(found.len);
        if !key.is_empty() {
            group.push((key, found));
            continue;
        }
        changes.records.extend(group.drain(..));
        whole = read;
    }
}

/// The number of the run that the log comes after, and where its first frame begins; None where it is no log.
fn read_head(frames: &mut impl Read) -> io::Result<Option<(u64, u64)>> {
    let mut magic = [0; MAGIC.len()];
    if !fills(frames, &mut magic)? {
        return Ok(None);
    }
    if magic == MAGIC_2 {
        return Ok(Some((u64::MAX, MAGIC.len() as u64)));
    }
    let mut head = [0; AFTER];
    if magic != MAGIC || !fills(frames, &mut head)? {
        return Ok(None);
    }
    let number = head.first_chunk();
    let number = number.map_or(0, |number| u64::from_le_bytes(*number));
    let is_whole = head == after(number);
    Ok(is_whole.then_some((number, (MAGIC.len() + AFTER) as u64)))
}

/// False where the file ends before.
fn fills(frames: &mut impl Read, bytes: &mut [u8]) -> io::Result<bool> {
    match frames.read_exact(bytes) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        read => read.map(|()| true),
    }
}

/// The key of the next frame, if that is whole.
fn read_frame(
    frames: &mut impl Read,
    left: u64,
    record: &mut Vec<u8>,
) -> io::Result<Option<Vec<u8>>> {
    let mut head = [0; HEAD];
    if left < HEAD as u64 {
        return Ok(None);
    }
    frames.read_exact(&mut head)?;
    let number =
        |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let (key_len, record_len) = (number(0), number(4));
    if u64::from(key_len) + u64::from(record_len) > left - HEAD as u64 {
        return Ok(None);
    }
    let mut key = vec![0; key_len as usize];
    record.resize(record_len as usize, 0);
    frames.read_exact(&mut key)?;
    frames.read_exact(record)?;
    let is_whole = head[8..] == checksum(&[&head[..8], &key, record]).to_le_bytes();
    Ok(is_whole.then_some(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::scratch::Scratch;

    type Records = BTreeMap<Vec<u8>, Vec<u8>>;

    /// What is in the log of this directory.
    fn left(dir: &Path) -> Records {
        let (_, changes) = Log::open(dir).unwrap();
        let mut left = Records::new();
        let shown = changes.each(|key, record| {
            left.insert(key.to_vec(), record.to_vec());
            Ok(())
        });
        shown.unwrap();
        assert_eq!(left.len(), changes.len());
        left
    }

    fn changes(pairs: &[(&str, &str)]) -> Records {
        let pairs = pairs.iter().map(|(key, record)| [key, record]);
        pairs
            .map(|pair| pair.map(|text| text.as_bytes().to_vec()))
            .map(|[key, record]| (key, record))
            .collect()
    }

    #[test]
    fn what_was_committed_comes_back_and_nothing_else() {
        let scratch = Scratch::new();
        let (mut log, before) = Log::open(scratch.path()).unwrap();
        assert_eq!(before.len(), 0);
        log.append(b"a", b"1").unwrap();
        log.append(b"b", b"2").unwrap();
        log.commit().unwrap();
        log.append(b"a", b"").unwrap();
        log.commit().unwrap();
        log.append(b"b", b"3").unwrap();
        drop(log);
        assert_eq!(left(scratch.path()), changes(&[("a", ""), ("b", "2")]));
        let (mut log, _) = Log::open(scratch.path()).unwrap();
        log.clear(0).unwrap();
        assert_eq!(left(scratch.path()), changes(&[]));
    }

    #[test]
    fn what_failed_is_taken_back() {
        let scratch = Scratch::new();
        let (mut log, _) = Log::open(scratch.path()).unwrap();
        log.append(b"a", b"1").unwrap();
        log.commit().unwrap();
        log.append(b"b", &vec![7; 2 * BUFFER_BYTES]).unwrap();
        log.roll_back();
        log.append(b"c", b"3").unwrap();
        log.commit().unwrap();
        drop(log);
        assert_eq!(left(scratch.path()), changes(&[("a", "1"), ("c", "3")]));
    }

    #[test]
    fn what_was_committed_is_there_when_the_disk_takes_nothing_back() {
        let scratch = Scratch::new();
        let (mut log, _) = Log::open(scratch.path()).unwrap();
        log.append(b"a", b"1").unwrap();
        log.commit().unwrap();
        log.append(b"b", b"2").unwrap();
        // As `roll_back` leaves it where the file cannot be cut.
        drop(log.file.take());
        log.broken = true;
        assert!(log.append(b"c", b"3").is_err());
        log.roll_back();
        assert!(log.commit().is_err());
        assert_eq!(left(scratch.path()), changes(&[("a", "1")]));
        log.clear(0).unwrap();
        log.append(b"d", b"4").unwrap();
        log.commit().unwrap();
        assert_eq!(left(scratch.path()), changes(&[("d", "4")]));
    }

    #[test]
    fn damage_ends_the_log_and_never_changes_what_it_says() {
        let scratch = Scratch::new();
        let (mut log, _) = Log::open(scratch.path()).unwrap();
        for (key, record) in [(b"a", b"1"), (b"b", b"2"), (b"a", b"3")] {
            log.append(key, record).unwrap();
            log.commit().unwrap();
        }
        drop(log);
        let path = scratch.path().join("log");
        let whole = fs::read(&path).unwrap();
        let possible = [
            changes(&[]),
            changes(&[("a", "1")]),
            changes(&[("a", "1"), ("b", "2")]),
            changes(&[("a", "3"), ("b", "2")]),
        ];
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x10;
            for damaged in [&whole[..at], &flipped] {
                fs::write(&path, damaged).unwrap();
                let left = left(scratch.path());
                assert!(possible[..3].contains(&left), "{at}: {left:?}");
            }
        }
        fs::write(&path, &whole).unwrap();
        assert_eq!(left(scratch.path()), possible[3]);
    }
}
