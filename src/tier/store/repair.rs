//! The opening of a generation's tree, of which anything may be damaged.
//!
//! The library takes some damage for something else, and panics at what it does not expect. So what does not belong to a tree is
//! moved aside first, and its list of tables is looked at.
//!
//! ```text
//! <gen>/current       a version (8), the checksum of its list of tables (16), little-endian
//! <gen>/v<version>    a list of tables
//! <gen>/tables/       and blobs/, whose files have numbers for names
//! ```
//!
//! Invariant: nothing is removed for an error that may pass.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_128;

use super::StoreError;
use super::error::is_damage;
use super::files::sync_dir;
use super::regular;
use super::tree::{APART_DIR, TABLES_DIR, Tree, TreeError, Trees};

/// So often a tree is tried that the disk does not read.
const TRIES: u32 = 3;
const TRY_PAUSE: Duration = Duration::from_millis(50);

/// A generation's tree as it was found.
pub(super) enum Opened {
    /// It can be read.
    Whole(Tree),
    /// Its bytes are not what was written.
    Damaged,
    /// The disk does not read it.
    Unreadable,
}

/// Opens the tree of a generation, if it can be read; moves what does not belong to it into `aside`.
///
/// # Errors
/// Something is missing that has nothing to do with the tree: descriptors, memory, a permission.
pub(super) fn open_tree(trees: &Trees, path: &Path, aside: &Path) -> Result<Opened, StoreError> {
    for again in (0..TRIES).rev() {
        let error = match try_open(trees, path, aside) {
            Ok(Some(tree)) => return Ok(Opened::Whole(tree)),
            Ok(None) => {
                tracing::error!("{} of the disk tier is not whole", path.display());
                return Ok(Opened::Damaged);
            }
            Err(error) => error,
        };
        match error.io() {
            Some(source) if regular::may_pass(source) => {
                return Err(regular::at(path, source).into());
            }
            Some(_) if !is_damage(&error) && again > 0 => std::thread::sleep(TRY_PAUSE),
            _ => {
                let path = path.display();
                tracing::error!("{path} of the disk tier cannot be read: {error}");
                return Ok(match is_damage(&error) {
                    true => Opened::Damaged,
                    false => Opened::Unreadable,
                });
            }
        }
    }
    Ok(Opened::Unreadable)
}

/// None where the list of tables is not whole.
fn try_open(trees: &Trees, path: &Path, aside: &Path) -> Result<Option<Tree>, TreeError> {
    let library = |error: io::Error| TreeError::Library(error.into());
    tidy(path, aside).map_err(library)?;
    if !has_whole_list(path).map_err(library)? {
        return Ok(None);
    }
    trees.open(path).map(Some)
}

/// Leaves only what the library expects: files, and two directories of files with numbers for names.
fn tidy(path: &Path, aside: &Path) -> io::Result<()> {
    for entry in entries_of(path)? {
        let is_dir = entry.ends_with(TABLES_DIR) || entry.ends_with(APART_DIR);
        let found = entry.symlink_metadata()?;
        let name = entry.file_name().map(|name| name.to_string_lossy());
        if name.is_some_and(|name| name.starts_with(".tmp")) && found.is_file() {
            // Of a write that a crash has ended.
            fs::remove_file(&entry)?;
        } else if found.is_dir() != is_dir || !(found.is_dir() || found.is_file()) {
            regular::move_into(aside, &entry)?;
        }
    }
    for dir in [TABLES_DIR, APART_DIR] {
        let dir = path.join(dir);
        // Where it is missing the library takes what was in it for never written.
        regular::create_dirs(&dir)?;
        for entry in entries_of(&dir)? {
            let name = entry.file_name().and_then(|name| name.to_str());
            let is_number = name.is_some_and(|name| name.parse::<u64>().is_ok());
            if !is_number || !entry.symlink_metadata()?.is_file() {
                regular::move_into(aside, &entry)?;
            }
        }
    }
    Ok(())
}

fn entries_of(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir)?.map(|entry| Ok(entry?.path()));
    entries.collect()
}

/// Whether `current` names a list of tables that is whole. The library notes the list's checksum there and does not look at it:
/// with a zeroed `current` it opens a tree as it was when it was made, and takes its tables for garbage. Where there is no
/// `current` it makes a new tree.
fn has_whole_list(tree: &Path) -> io::Result<bool> {
    let Some(current) = regular::read(&tree.join("current"))? else {
        return Ok(false);
    };
    let Some((version, rest)) = current.split_first_chunk() else {
        return Ok(false);
    };
    let name = format!("v{}", u64::from_le_bytes(*version));
    let Some(tables) = regular::read(&tree.join(name))? else {
        return Ok(false);
    };
    Ok(rest.first_chunk() == Some(&xxh3_128(&tables).to_le_bytes()))
}

/// Takes what cannot be read out of the way: what is damaged is removed, what may be read again another day moved aside.
pub(super) fn take_away(path: &Path, is_damaged: bool, aside: &Path) -> io::Result<()> {
    if is_damaged {
        fs::remove_dir_all(path)?;
    } else {
        regular::move_into(aside, path)?;
    }
    path.parent().map_or(Ok(()), sync_dir)
}
