//! The store's own files beside the database: what they are called, how they are written so that a crash leaves the old
//! or the new one, and their layouts.
//!
//! ```text
//! <dir>/tier.meta              format, seed of the hashes, the caller's blob
//! <dir>/clean                  there only after an orderly close
//! <dir>/lock                   locked while the store is open
//! <dir>/generations/<gen>/     the tree of a generation
//! <dir>/filters/<gen>.filter   the filter of a generation that has taken no run since
//! <dir>/filters/<gen>.lost     the filter of a quarantined generation: its keys hide older ones
//! <dir>/*.broken.<time>        what was moved aside
//!
//! a file:  magic (8) | contents | hash of all before (8)            integers are little-endian
//! meta:    hash seed (8) | next generation (8) | oldest (8) | leaving (8), up to (8)
//!          | generations (8) | for each: number (8), begun at (8) | blob
//! filter:  generation (8) | hash seed (8) | records (8) | complete (8) | segments (8)
//!          | for each: keys (8), words (8) | all words
//! ```
//!
//! It knows nothing of trees. Invariant: a file is either whole or is not read; none is ever changed in place.

use std::fs::{self, File, TryLockError};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::filter::{Filter, SegmentWords};
use super::regular;

const META_MAGIC: [u8; 8] = *b"STRMETA6";
const FILTER_MAGIC: [u8; 8] = *b"STRFILT1";
const NUMBER: usize = size_of::<u64>();
/// What the system counts a file's room in.
const BLOCK_BYTES: u64 = 512;

/// The paths of one store.
#[derive(Clone, Debug)]
pub(super) struct Files {
    dir: PathBuf,
}

/// What `tier.meta` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) hash_seed: u64,
    /// One more than the newest generation; 0 if there is none. The names of directories are not trusted with that: where
    /// one is gone the versions that it has overwritten would come back.
    pub(super) next_generation: u64,
    /// Older generations than this were dropped.
    pub(super) oldest: u64,
    /// A generation that is on its way out, and from which hash prefix on it can still be read.
    pub(super) leaving: (u64, u64),
    /// When generations were begun, in seconds since the epoch.
    pub(super) begun: Vec<(u64, u64)>,
    pub(super) blob: Vec<u8>,
}

/// What a file is known by, whatever it is called: its device and its number there.
pub(super) type FileId = (u64, u64);

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
        let dirs = [self.filters(), self.generations()];
        if dirs.iter().all(|dir| dir.is_dir()) {
            // A full disk may not even sync.
            return Ok(());
        }
        regular::create_dirs(&self.dir)?;
        for dir in &dirs {
            regular::create_dir(dir)?;
        }
        sync_dir(&self.dir)
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn generations(&self) -> PathBuf {
        self.dir.join("generations")
    }

    pub(super) fn generation(&self, number: u64) -> PathBuf {
        self.generations().join(format!("{number:016x}"))
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
        let path = self.dir.join("lock");
        let opened = match regular::open_to_write(&path) {
            Err(error) if !regular::may_pass(&error) => {
                // Everybody else finds it so too, and locks the directory as well.
                tracing::error!("The lock of the disk tier cannot be used: {error}");
                File::open(&self.dir)
            }
            opened => opened,
        };
        let file = opened.map_err(|error| regular::at(&path, &error))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// What [`Self::lock`] gave, for [`Self::has_lock`].
    pub(super) fn id_of(lock: &File) -> io::Result<FileId> {
        let found = lock.metadata()?;
        Ok((found.dev(), found.ino()))
    }

    /// Whether this lock is here still.
    pub(super) fn has_lock(&self, id: FileId) -> bool {
        let paths = [self.dir.join("lock"), self.dir.clone()];
        let mut found = paths.iter().flat_map(|path| path.metadata());
        found.any(|found| (found.dev(), found.ino()) == id)
    }

    /// Whether anything was ever stored here.
    pub(super) fn is_used(&self) -> bool {
        let exists = |path: PathBuf| path.symlink_metadata().is_ok();
        exists(self.meta()) || exists(self.generations())
    }

    /// The meta file, or None if it is damaged, missing or of another format.
    pub(super) fn read_meta(&self) -> io::Result<Option<Meta>> {
        let path = self.meta();
        let Some(contents) = readable(&path, read_sealed(&path, META_MAGIC))? else {
            return Ok(None);
        };
        let mut rest = contents.as_slice();
        let mut numbers = || number(&mut rest);
        let mut head = [0; 6];
        for field in &mut head {
            let Some(number) = numbers() else {
                return Ok(None);
            };
            *field = number;
        }
        let [hash_seed, next_generation, oldest, leaving, up_to, count] = head;
        let begun = (0..count)
            .map_while(|_| Some((numbers()?, numbers()?)))
            .collect();
        Ok(Some(Meta {
            hash_seed,
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
        for dir in [self.generations(), self.filters()] {
            match fs::remove_dir_all(dir) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        remove(&self.meta()).map(|_| ())
    }

    pub(super) fn was_closed(&self) -> bool {
        let found = self.clean().symlink_metadata();
        found.is_ok_and(|clean| clean.is_file())
    }

    pub(super) fn set_closed(&self) -> io::Result<()> {
        regular::create(&self.clean())?.sync_all()?;
        sync_dir(&self.dir)
    }

    pub(super) fn set_open(&self) -> io::Result<()> {
        let path = self.clean();
        let removed = remove(&path).map(drop);
        removed.map_err(|error| regular::at(&path, &error))
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
        let contents = readable(&path, read_sealed(&path, FILTER_MAGIC))?;
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
    /// cannot, keeps its name and its contents are moved into a directory inside; and so they are while the server runs
    /// (`is_running`), but for what is not the store's.
    pub(super) fn put_aside(&self, unix_seconds: i64, is_running: bool) -> io::Result<PathBuf> {
        let mut broken = self.dir.clone().into_os_string();
        broken.push(format!("{}{unix_seconds}", regular::ASIDE));
        let broken = PathBuf::from(broken);
        if !is_running && fs::rename(&self.dir, &broken).is_ok() {
            return Ok(broken);
        }
        let broken = self
            .dir
            .join(format!("store{}{unix_seconds}", regular::ASIDE));
        regular::create_dirs(&broken)?;
        let own = [
            self.generations(),
            self.filters(),
            self.meta(),
            self.clean(),
        ];
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let Some(name) = path.file_name() else {
                continue;
            };
            let is_old = is_aside(&path) || name == "lock";
            if !is_old && (!is_running || own.contains(&path)) {
                fs::rename(&path, broken.join(name))?;
            }
        }
        sync_dir(&self.dir)?;
        Ok(broken)
    }

    /// Removes what was moved aside before, if anything was; for room.
    pub(super) fn remove_aside(&self) -> io::Result<()> {
        for path in self.asides()? {
            tracing::warn!(
                "The disk tier needs room: what was moved aside is removed: {}",
                path.display()
            );
            match path.is_dir() && !path.is_symlink() {
                true => fs::remove_dir_all(&path)?,
                false => fs::remove_file(&path)?,
            }
        }
        Ok(())
    }

    fn asides(&self) -> io::Result<Vec<PathBuf>> {
        let mut asides = Vec::new();
        for dir in [self.dir.clone(), self.filters()] {
            let entries = fs::read_dir(dir)?.map(|entry| Ok(entry?.path()));
            let entries: Vec<_> = entries.collect::<io::Result<_>>()?;
            asides.extend(entries.into_iter().filter(|path| is_aside(path)));
        }
        Ok(asides)
    }

    /// What all that is here takes of the disk, but for the generations that can be read.
    pub(super) fn other_bytes(&self, is_measured: impl Fn(&Path) -> bool) -> u64 {
        bytes_below(&self.dir, &is_measured)
    }
}

fn is_aside(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy());
    name.is_some_and(|name| name.contains(regular::ASIDE))
}

/// What a directory and all in it take of the disk, without those that are left out.
pub(super) fn bytes_below(dir: &Path, is_left_out: &dyn Fn(&Path) -> bool) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| {
        let path = entry.path();
        match entry.metadata() {
            _ if is_left_out(&path) => 0,
            Ok(found) if found.is_dir() => bytes_below(&path, is_left_out),
            Ok(found) => found.blocks() * BLOCK_BYTES,
            Err(_) => 0,
        }
    });
    let own = dir.metadata().map_or(0, |dir| dir.blocks() * BLOCK_BYTES);
    own + bytes.sum::<u64>()
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

/// What cannot be read is as if it were not there, if that will not pass.
fn readable<T>(path: &Path, read: io::Result<Option<T>>) -> io::Result<Option<T>> {
    match read {
        Err(error) if regular::may_pass(&error) => Err(regular::at(path, &error)),
        Err(error) => {
            let path = path.display();
            tracing::error!("A file of the disk tier could not be read: {path}: {error}");
            Ok(None)
        }
        read => read,
    }
}

/// What is between the magic and the checksum; None if there is no such file or it is not whole.
pub(in crate::tier) fn read_sealed(path: &Path, magic: [u8; 8]) -> io::Result<Option<Vec<u8>>> {
    let Some(mut bytes) = regular::read(path)? else {
        return Ok(None);
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
    let mut file = regular::create(&unfinished)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    regular::clear(path)?;
    fs::rename(&unfinished, path)?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// Removes a file, durably; whether there was one.
fn remove(path: &Path) -> io::Result<bool> {
    regular::clear(path)?;
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
