//! The opening of a database of which some is damaged, without that.
//!
//! fjall opens all keyspaces of a database or none, and some damage it does not see. So what is damaged is removed first:
//! fjall leaves out a keyspace whose directory is gone, and the store sees that a generation is missing. What fjall's list of
//! keyspaces still says of it does no harm: its id may come again, and is then written anew.
//!
//! ```text
//! db/lock                         empty, and locked
//! db/*.jnl                        the journal, to which nothing is ever written
//! db/keyspaces/0/                 fjall's list of keyspaces; as the others
//! db/keyspaces/<id>/current       a version (8), the checksum of its list of tables (16), little-endian
//! db/keyspaces/<id>/v<version>    a list of tables
//! db/keyspaces/<id>/tables/       and blobs/
//! ```
//!
//! Invariant: nothing is removed for an error that may pass, nor while another process may have the database open.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use fjall::{Database, KvSeparationOptions};
use lsm_tree::SequenceNumberCounter;
use lsm_tree::config::PinningPolicy;
use xxhash_rust::xxh3::xxh3_128;

use super::error::is_damage;
use super::files::sync_dir;
use super::{StoreError, StoreOptions, generation};

/// fjall's own keyspace: its list of the others.
const LIST: &str = "0";

/// Opens a database without the keyspaces that are damaged.
///
/// # Errors
/// As a whole it is damaged, or it cannot be read or written.
pub(super) fn open_database(path: &Path, options: &StoreOptions) -> Result<Database, StoreError> {
    let list = path.join("keyspaces").join(LIST);
    // fjall would begin a new list, and take all keyspaces for garbage.
    if has_tables(&list)? && !has_whole_list(&list)? {
        return Err(StoreError::Database(fjall::Error::Unrecoverable));
    }
    remove_keyspaces(path, has_whole_list)?;
    make_lock(path)?;
    match generation::open_database(path, options) {
        Err(error) if is_damage(&error) => {
            remove_keyspaces(path, can_be_opened)?;
            remove_journals(path)?;
            generation::open_database(path, options).map_err(StoreError::of_open)
        }
        opened => opened.map_err(StoreError::of_open),
    }
}

/// Where its lock is missing fjall takes a database for damaged.
fn make_lock(database: &Path) -> io::Result<()> {
    let lock = database.join("lock");
    if database.join("version").exists() && !lock.exists() {
        fs::File::create(lock)?;
    }
    Ok(())
}

/// Removes the keyspaces that are not whole.
fn remove_keyspaces(
    database: &Path,
    is_whole: impl Fn(&Path) -> Result<bool, StoreError>,
) -> Result<(), StoreError> {
    let keyspaces = database.join("keyspaces");
    for path in entries_of(&keyspaces)? {
        if !path.is_dir() || path.ends_with(LIST) || is_whole(&path)? {
            continue;
        }
        tracing::warn!(path = %path.display(), "files of the disk tier are not whole: they are removed");
        fs::remove_dir_all(&path)?;
        sync_dir(&keyspaces)?;
    }
    Ok(())
}

/// What is in a directory, which may not exist.
fn entries_of(dir: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?.map(|entry| Ok(entry?.path())).collect(),
    }
}

fn has_tables(keyspace: &Path) -> io::Result<bool> {
    Ok(!entries_of(&keyspace.join("tables"))?.is_empty())
}

/// Whether `current` names a list of tables that is whole. fjall notes the list's checksum there and does not look at it:
/// with a zeroed `current` it opens a keyspace as it was when it was made, and takes its tables for garbage. It leaves out
/// one without `current`.
fn has_whole_list(keyspace: &Path) -> Result<bool, StoreError> {
    let Some(current) = read(&keyspace.join("current"))? else {
        return Ok(false);
    };
    let Some((version, rest)) = current.split_first_chunk() else {
        return Ok(false);
    };
    let name = format!("v{}", u64::from_le_bytes(*version));
    let Some(tables) = read(&keyspace.join(name))? else {
        return Ok(false);
    };
    Ok(rest.first_chunk() == Some(&xxh3_128(&tables).to_le_bytes()))
}

/// A file; None if it does not exist.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        bytes => bytes.map(Some),
    }
}

/// Whether the tables and blobs are there, and begin and end as they should. Opened as fjall does, since it does not tell
/// which of its keyspaces failed.
fn can_be_opened(keyspace: &Path) -> Result<bool, StoreError> {
    let numbers = SequenceNumberCounter::default;
    let opened = lsm_tree::Config::new(keyspace, numbers(), numbers())
        .filter_block_pinning_policy(PinningPolicy::all(false))
        .index_block_pinning_policy(PinningPolicy::all(false))
        .with_kv_separation(Some(KvSeparationOptions::default()))
        .open();
    match opened.map_err(fjall::Error::from) {
        Ok(_) => Ok(true),
        Err(error) if is_damage(&error) => Ok(false),
        Err(error) => Err(StoreError::Database(error)),
    }
}

/// One that cannot be read is no loss, and fjall makes another.
fn remove_journals(database: &Path) -> io::Result<()> {
    for path in entries_of(database)? {
        if path.extension().is_some_and(|extension| extension == "jnl") {
            fs::remove_file(&path)?;
        }
    }
    sync_dir(database)
}
