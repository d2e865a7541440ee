//! The dictionaries that stored values need, in memory and as files.
//!
//! Owns the directory: one file for each dictionary, named by its id.
//!
//! ```text
//! 0000000042.dict:  "STRADICT" [version u8] [SHA-1 of all that follows: 20] [id u32] [ratio u32, thousandths]
//!                   [length of the class u8] [class] [dictionary]                            numbers little-endian
//! ```
//!
//! Invariant: a dictionary can be looked up only when its file is durable.
//! Invariant: the file of the highest id is never deleted. Its name is what keeps the id from being given again.
//! Invariant: a dictionary that anyone holds is not deleted.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use sha1::{Digest as _, Sha1};
use zstd::dict::DecoderDictionary;

use super::super::store::regular;
use super::codec::{self, DecodeError, Encoded, Form};

const MAGIC: &[u8; 8] = b"STRADICT";
const VERSION: u8 = 1;
const DIGEST_LEN: usize = 20;
/// No dictionary of ours comes near; a longer file is not one.
const FILE_MAX: u64 = 1 << 20;

/// The dictionaries, shared by all threads that read or write values.
pub struct Dictionaries {
    directory: PathBuf,
    by_id: RwLock<HashMap<u32, Arc<Dictionary>>>,
    /// The highest id ever given. Held while files are written or deleted.
    last_id: Mutex<u32>,
}

/// A dictionary, ready to decode with.
pub struct Dictionary {
    id: u32,
    class: Box<[u8]>,
    ratio_permille: u32,
    bytes: Box<[u8]>,
    decoder: DecoderDictionary<'static>,
}

/// A file in the directory that is no dictionary, or no longer one. Values that need it are lost.
#[derive(Debug)]
pub struct DamagedFile {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub error: io::Error,
}

impl Dictionaries {
    /// Opens the directory, which is made if need be, and loads what it holds. Damaged files are reported and left alone.
    ///
    /// # Errors
    ///
    /// If the directory cannot be made or read.
    pub fn open(directory: impl Into<PathBuf>) -> io::Result<(Self, Vec<DamagedFile>)> {
        let directory = directory.into();
        regular::create_dir(&directory)?;
        let mut by_id = HashMap::new();
        let mut damaged = Vec::new();
        let mut last_id = 0;
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            let Some(id) = id_of(&path) else {
                remove_if_unfinished(&path);
                continue;
            };
            last_id = last_id.max(id);
            match load(&path, id) {
                Ok(dictionary) => {
                    by_id.insert(id, Arc::new(dictionary));
                }
                Err(error) => damaged.push(DamagedFile { path, error }),
            }
        }
        let dictionaries = Self {
            directory,
            by_id: RwLock::new(by_id),
            last_id: Mutex::new(last_id),
        };
        Ok((dictionaries, damaged))
    }

    /// Appends the value in `bytes`, a header and its payload, to `out`; memory is taken for that value only. If it fails,
    /// `out` is as before.
    ///
    /// # Errors
    ///
    /// If the bytes are damaged, their dictionary is missing, or the value is longer than `limit`.
    pub fn decode(&self, bytes: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        let (header, payload) = Encoded::read(bytes)?;
        let dictionary = match header.form {
            Form::ZstdDictionary(id) => {
                Some(self.find(id).ok_or(DecodeError::UnknownDictionary(id))?)
            }
            _ => None,
        };
        let decoder = dictionary.as_deref().map(|found| &found.decoder);
        codec::decode(header, payload, decoder, limit, out)
    }

    /// Deletes the dictionaries that are not in `used` and that no one holds. A compressor holds those it encodes with.
    ///
    /// The caller lists an id as used before a value that needs it is written.
    ///
    /// # Errors
    ///
    /// If the directory cannot be read or a file cannot be deleted; the next call tries again.
    pub fn retain(&self, used: &[u32]) -> io::Result<()> {
        let last_id = self.last_id.lock();
        self.by_id.write().retain(|id, dictionary| {
            id == &*last_id || used.contains(id) || Arc::strong_count(dictionary) > 1
        });
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            let is_kept =
                |id| id == *last_id || used.contains(&id) || self.by_id.read().contains_key(&id);
            if id_of(&path).is_some_and(|id| !is_kept(id)) {
                fs::remove_file(path)?;
            }
        }
        sync_directory(&self.directory)
    }

    /// The ids of all dictionaries that can be used, in order.
    #[must_use]
    pub fn ids(&self) -> Vec<u32> {
        let mut ids: Vec<u32> = self.by_id.read().keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// Memory in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.by_id
            .read()
            .values()
            .map(|dictionary| dictionary.memory_bytes())
            .sum()
    }

    /// The newest dictionary of a class.
    pub(super) fn newest(&self, class: &[u8]) -> Option<Arc<Dictionary>> {
        let by_id = self.by_id.read();
        let of_class = by_id
            .values()
            .filter(|dictionary| *dictionary.class == *class);
        of_class.max_by_key(|dictionary| dictionary.id).cloned()
    }

    /// Gives a new dictionary its id and saves it. When this returns it is durable.
    pub(super) fn add(
        &self,
        class: &[u8],
        ratio_permille: u32,
        bytes: &[u8],
    ) -> io::Result<Arc<Dictionary>> {
        let mut last_id = self.last_id.lock();
        let id = last_id
            .checked_add(1)
            .ok_or_else(|| io::Error::other("the ids of dictionaries are used up"))?;
        let dictionary = Dictionary::new(id, class, ratio_permille, bytes)?;
        save(&self.directory, &dictionary)?;
        *last_id = id;
        let dictionary = Arc::new(dictionary);
        self.by_id.write().insert(id, Arc::clone(&dictionary));
        Ok(dictionary)
    }

    fn find(&self, id: u32) -> Option<Arc<Dictionary>> {
        self.by_id.read().get(&id).cloned()
    }
}

impl Dictionary {
    fn new(id: u32, class: &[u8], ratio_permille: u32, bytes: &[u8]) -> io::Result<Self> {
        Ok(Self {
            id,
            class: class.into(),
            ratio_permille,
            bytes: bytes.into(),
            decoder: DecoderDictionary::try_copy(bytes)?,
        })
    }

    /// A dictionary that is on trial.
    pub(super) fn unsaved(bytes: &[u8]) -> io::Result<Self> {
        Self::new(0, &[], 0, bytes)
    }

    /// What stored values call it.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The class whose values it was made from.
    #[must_use]
    pub fn class(&self) -> &[u8] {
        &self.class
    }

    /// How much smaller it made values that it had not seen, in thousandths: 4000 is a quarter.
    #[must_use]
    pub fn ratio_permille(&self) -> u32 {
        self.ratio_permille
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.class.len() + self.bytes.len() + self.decoder.as_ddict().sizeof()
    }
}

/// The id in the name of a dictionary's file.
fn id_of(path: &Path) -> Option<u32> {
    let stem = path.file_name()?.to_str()?.strip_suffix(".dict")?;
    stem.parse().ok()
}

/// A file that a crash left half written was never used.
fn remove_if_unfinished(path: &Path) {
    if path.extension().is_some_and(|extension| extension == "tmp") {
        // One that cannot be removed does no harm, and is tried again at the next start.
        let _ = fs::remove_file(path);
    }
}

/// Writes the file under another name, makes it durable, then gives it its name: it is there whole or not at all.
fn save(directory: &Path, dictionary: &Dictionary) -> io::Result<()> {
    let name = format!("{:010}", dictionary.id);
    let unfinished = directory.join(format!("{name}.tmp"));
    let mut file = regular::create(&unfinished)?;
    file.write_all(&file_bytes(dictionary))?;
    file.sync_all()?;
    fs::rename(unfinished, directory.join(format!("{name}.dict")))?;
    sync_directory(directory)
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn file_bytes(dictionary: &Dictionary) -> Vec<u8> {
    let class_len = u8::try_from(dictionary.class.len()).unwrap_or(u8::MAX);
    let mut body = Vec::with_capacity(dictionary.bytes.len() + 300);
    body.extend(dictionary.id.to_le_bytes());
    body.extend(dictionary.ratio_permille.to_le_bytes());
    body.push(class_len);
    body.extend(&dictionary.class[..usize::from(class_len)]);
    body.extend(&dictionary.bytes);
    let digest = Sha1::digest(&body);
    [&MAGIC[..], &[VERSION], &digest[..], &body].concat()
}

fn load(path: &Path, id: u32) -> io::Result<Dictionary> {
    let mut bytes = Vec::new();
    let file = regular::open(path)?.ok_or(io::ErrorKind::NotFound)?;
    file.take(FILE_MAX).read_to_end(&mut bytes)?;
    let damaged = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let rest = bytes
        .strip_prefix(MAGIC)
        .ok_or_else(|| damaged("not a dictionary"))?;
    let rest = rest
        .strip_prefix(&[VERSION])
        .ok_or_else(|| damaged("a version of dictionary that is not known"))?;
    let (digest, body) = rest
        .split_at_checked(DIGEST_LEN)
        .ok_or_else(|| damaged("truncated"))?;
    if digest != &Sha1::digest(body)[..] {
        return Err(damaged("wrong checksum"));
    }
    let (saved_id, ratio_permille, class, dictionary) =
        split_body(body).ok_or_else(|| damaged("truncated"))?;
    if saved_id != id {
        return Err(damaged("the file of another dictionary"));
    }
    Dictionary::new(id, class, ratio_permille, dictionary)
}

fn split_body(body: &[u8]) -> Option<(u32, u32, &[u8], &[u8])> {
    let (id, rest) = body.split_first_chunk::<4>()?;
    let (ratio, rest) = rest.split_first_chunk::<4>()?;
    let (&class_len, rest) = rest.split_first()?;
    let (class, dictionary) = rest.split_at_checked(usize::from(class_len))?;
    Some((
        u32::from_le_bytes(*id),
        u32::from_le_bytes(*ratio),
        class,
        dictionary,
    ))
}
