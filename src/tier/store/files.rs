//! The store's own files beside the database: what they are called, how they are written so that a crash leaves the old
//! or the new one, and their layouts.
//!
//! ```text
//! <dir>/tier.meta              format, seed of the hashes, the caller's blob
//! <dir>/clean                  there only after an orderly close
//! <dir>/lock                   locked while the store is open
//! <dir>/db/                    the database
//! <dir>/filters/<gen>.filter   the filter of a generation that has taken no run since
//! <dir>/filters/<gen>.lost     the filter of a quarantined generation: its keys hide older ones
//!
//! a file:  magic (8) | contents | hash of all before (8)            integers are little-endian
//! meta:    hash seed (8) | openings (8) | next generation (8) | oldest (8) | leaving (8), up to (8)
//!          | generations (8) | for each: number (8), begun at (8) | blob
//! filter:  generation (8) | hash seed (8) | records (8) | complete (8) | segments (8)
//!          | for each: keys (8), words (8) | all words
//! ```
//!
//! It knows nothing of fjall. Invariant: a file is either whole or is not read; none is ever changed in place.

use std::fs::{self, File, TryLockError};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::filter::{Filter, SegmentWords};

const META_MAGIC: [u8; 8] = *b"STRMETA5";
const FILTER_MAGIC: [u8; 8] = *b"STRFILT1";
const NUMBER: usize = size_of::<u64>();

/// The paths of one store.
#[derive(Clone, Debug)]
pub(super) struct Files {
    dir: PathBuf,
}

/// What `tier.meta` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) hash_seed: u64,
    /// How often the database was opened since it was made.
    pub(super) openings: u64,
    /// One more than the newest generation; 0 if there is none. The database is not trusted with that: where its own
    /// files are damaged it may forget a generation, and the versions that this has overwritten would come back.
    pub(super) next_generation: u64,
    /// Older generations than this were dropped.
    pub(super) oldest: u64,
    /// A generation that is on its way out, and from which hash prefix on it can still be read.
    pub(super) leaving: (u64, u64),
    /// When generations were begun, in seconds since the epoch.
    pub(super) begun: Vec<(u64, u64)>,
    pub(super) blob: Vec<u8>,
}

/// Two uses of a filter's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FilterKind {
    /// Of a generation that can be read.
    Live,
    /// Of one that is quarantined.
    Lost,
}

impl Files {
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
        }
    }

    pub(super) fn create_dirs(&self) -> io::Result<()> {
        fs::create_dir_all(self.filters())?;
        sync_dir(&self.dir)
    }

    pub(super) fn database(&self) -> PathBuf {
        self.dir.join("db")
    }

    fn filters(&self) -> PathBuf {
        self.dir.join("filters")
    }

    fn meta(&self) -> PathBuf {
        self.dir.join("tier.meta")
    }

    fn clean(&self) -> PathBuf {
        self.dir.join("clean")
    }

    fn filter(&self, generation: u64, kind: FilterKind) -> PathBuf {
        let extension = match kind {
            FilterKind::Live => "filter",
            FilterKind::Lost => "lost",
        };
        self.filters()
            .join(format!("{generation:016x}.{extension}"))
    }

    /// Keeps everybody else out for as long as what it gives lives; None if somebody has done so.
    pub(super) fn lock(&self) -> io::Result<Option<File>> {
        let mut options = File::options();
        let file = options.create(true).truncate(false).write(true);
        let file = file.open(self.dir.join("lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Whether anything was ever stored here.
    pub(super) fn is_used(&self) -> bool {
        self.meta().exists() || self.database().exists()
    }

    /// The meta file, or None if it is damaged, missing or of another format.
    pub(super) fn read_meta(&self) -> io::Result<Option<Meta>> {
        let Some(contents) = read_sealed(&self.meta(), META_MAGIC)? else {
            return Ok(None);
        };
        let mut rest = contents.as_slice();
        let mut numbers = || number(&mut rest);
        let mut head = [0; 7];
        for field in &mut head {
            let Some(number) = numbers() else {
                return Ok(None);
            };
            *field = number;
        }
        let [
            hash_seed,
            openings,
            next_generation,
            oldest,
            leaving,
            up_to,
            count,
        ] = head;
        let begun = (0..count)
            .map_while(|_| Some((numbers()?, numbers()?)))
            .collect();
        Ok(Some(Meta {
            hash_seed,
            openings,
            next_generation,
            oldest,
            leaving: (leaving, up_to),
            begun,
            blob: rest.to_vec(),
        }))
    }

    pub(super) fn write_meta(&self, meta: &Meta) -> io::Result<()> {
        let mut contents = META_MAGIC.to_vec();
        let (leaving, up_to) = meta.leaving;
        let count = meta.begun.len() as u64;
        let head = [
            meta.hash_seed,
            meta.openings,
            meta.next_generation,
            meta.oldest,
            leaving,
            up_to,
            count,
        ];
        let begun = meta.begun.iter().flat_map(|&(number, at)| [number, at]);
        contents.extend(head.into_iter().chain(begun).flat_map(u64::to_le_bytes));
        contents.extend(&meta.blob);
        write_sealed(&self.meta(), contents)
    }

    /// Removes everything. The meta file goes last: without the rest it is that of an empty store.
    pub(super) fn remove_all(&self) -> io::Result<()> {
        for dir in [self.database(), self.filters()] {
            match fs::remove_dir_all(dir) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        remove(&self.meta()).map(|_| ())
    }

    pub(super) fn was_closed(&self) -> bool {
        self.clean().exists()
    }

    pub(super) fn set_closed(&self) -> io::Result<()> {
        File::create(self.clean())?.sync_all()?;
        sync_dir(&self.dir)
    }

    pub(super) fn set_open(&self) -> io::Result<()> {
        remove(&self.clean()).map(drop)
    }

    /// The filter of a generation, if there is a whole one that was made with this seed and has room for so many records.
    /// The generation of a lost one is gone, with its records.
    pub(super) fn read_filter(
        &self,
        generation: u64,
        kind: FilterKind,
        hash_seed: u64,
        records: u64,
    ) -> io::Result<Option<Filter>> {
        let path = self.filter(generation, kind);
        let contents = read_sealed(&path, FILTER_MAGIC)?;
        Ok(contents.and_then(|contents| {
            let (stamp, filter) = decode_filter(&contents)?;
            // Compaction makes the records of a generation fewer, only a run makes them more.
            let fits = stamp.generation == generation
                && stamp.hash_seed == hash_seed
                && stamp.records >= records;
            fits.then_some(filter)
        }))
    }

    pub(super) fn write_filter(
        &self,
        generation: u64,
        kind: FilterKind,
        hash_seed: u64,
        records: u64,
        filter: &Filter,
    ) -> io::Result<()> {
        let mut contents = FILTER_MAGIC.to_vec();
        let segments = filter.words();
        let complete = u64::from(filter.is_complete());
        let count = segments.len() as u64;
        let mut put = |number: u64| contents.extend(number.to_le_bytes());
        [generation, hash_seed, records, complete, count]
            .into_iter()
            .for_each(&mut put);
        for segment in &segments {
            put(segment.keys);
            put(segment.words.len() as u64);
        }
        segments
            .iter()
            .flat_map(|segment| &segment.words)
            .for_each(|word| put(*word));
        write_sealed(&self.filter(generation, kind), contents)
    }

    /// The generation of a live filter is quarantined.
    pub(super) fn keep_lost_filter(&self, generation: u64) -> io::Result<()> {
        let [live, lost] =
            [FilterKind::Live, FilterKind::Lost].map(|kind| self.filter(generation, kind));
        fs::rename(live, lost)?;
        sync_dir(&self.filters())
    }

    pub(super) fn remove_filter(&self, generation: u64, kind: FilterKind) -> io::Result<()> {
        remove(&self.filter(generation, kind)).map(drop)
    }

    /// The generations that have a file of this kind.
    pub(super) fn filters_of(&self, kind: FilterKind) -> io::Result<Vec<u64>> {
        let mut generations = Vec::new();
        for file in fs::read_dir(self.filters())? {
            let name = file?.file_name();
            let Some((generation, _)) = name.to_str().and_then(|name| name.split_once('.')) else {
                continue;
            };
            let Ok(generation) = u64::from_str_radix(generation, 16) else {
                continue;
            };
            if self.filter(generation, kind).file_name() == Some(&name) {
                generations.push(generation);
            }
        }
        Ok(generations)
    }

    /// Moves all that is here out of the way and tells where to. A directory that cannot be renamed, as a mount point
    /// cannot, keeps its name and its contents are moved into a directory inside.
    pub(super) fn put_aside(&self, unix_seconds: i64) -> io::Result<PathBuf> {
        let mut broken = self.dir.clone().into_os_string();
        broken.push(format!(".broken.{unix_seconds}"));
        let broken = PathBuf::from(broken);
        if fs::rename(&self.dir, &broken).is_ok() {
            return Ok(broken);
        }
        let broken = self.dir.join(format!("broken.{unix_seconds}"));
        fs::create_dir_all(&broken)?;
        for path in [self.database(), self.filters(), self.meta(), self.clean()] {
            if let (true, Some(name)) = (path.exists(), path.file_name()) {
                fs::rename(&path, broken.join(name))?;
            }
        }
        sync_dir(&self.dir)?;
        Ok(broken)
    }
}

struct Stamp {
    generation: u64,
    hash_seed: u64,
    records: u64,
}

fn decode_filter(contents: &[u8]) -> Option<(Stamp, Filter)> {
    let mut rest = contents;
    let stamp = Stamp {
        generation: number(&mut rest)?,
        hash_seed: number(&mut rest)?,
        records: number(&mut rest)?,
    };
    let complete = number(&mut rest)? == 1;
    let count = number(&mut rest)?;
    let mut sizes = Vec::new();
    for _ in 0..count {
        sizes.push((number(&mut rest)?, number(&mut rest)?));
    }
    let mut segments = Vec::new();
    for (keys, words) in sizes {
        let bytes = usize::try_from(words).ok()?.checked_mul(NUMBER)?;
        let mut words = rest.split_off(..bytes)?;
        segments.push(SegmentWords {
            keys,
            words: std::iter::from_fn(|| number(&mut words)).collect(),
        });
    }
    let filter = Filter::from_words(segments, complete)?;
    rest.is_empty().then_some((stamp, filter))
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    let (number, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u64::from_le_bytes(*number))
}

/// The hash by which files are known to be whole, of some bytes one after the other.
pub(in crate::tier) fn checksum(parts: &[&[u8]]) -> u64 {
    let mut hasher = foldhash::quality::FixedState::with_seed(0).build_hasher();
    parts.iter().for_each(|bytes| hasher.write(bytes));
    hasher.finish()
}

/// What is between the magic and the checksum; None if there is no such file or it is not whole.
pub(in crate::tier) fn read_sealed(path: &Path, magic: [u8; 8]) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let whole = bytes
        .split_last_chunk()
        .is_some_and(|(before, sum)| checksum(&[before]) == u64::from_le_bytes(*sum));
    if !whole || !bytes.starts_with(&magic) || bytes.len() < magic.len() + NUMBER {
        return Ok(None);
    }
    bytes.truncate(bytes.len() - NUMBER);
    bytes.drain(..magic.len());
    Ok(Some(bytes))
}

/// Writes a file that is durable on return. A crash leaves the old one or the new one.
pub(in crate::tier) fn write_sealed(path: &Path, mut bytes: Vec<u8>) -> io::Result<()> {
    let sum = checksum(&[&bytes]);
    bytes.extend(sum.to_le_bytes());
    let unfinished = path.with_added_extension("new");
    let mut file = File::create(&unfinished)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// Removes a file, durably; whether there was one.
fn remove(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => {
            path.parent().map_or(Ok(()), sync_dir)?;
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

pub(in crate::tier) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
