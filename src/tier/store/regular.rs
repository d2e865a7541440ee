//! Files that may be anything: whatever stands where the tier has a file of its own, reading it does not hang or fail in an unexpected
//! way, and writing it clears the place first.
//!
//! A FIFO is opened without waiting for its other end; a directory, a loop of links, a device is no file, and what is no file is
//! never removed but **moved aside**, under a name that tells so. All that the tier makes is its owner's alone.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What is in the names of what was moved aside.
pub(super) const ASIDE: &str = ".broken.";
const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;

/// A file to read; None where there is none.
///
/// # Errors
/// It is no regular file, or cannot be read.
pub(in crate::tier) fn open(path: &Path) -> io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    let opened = options
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(path);
    match opened {
        Ok(file) if file.metadata()?.is_file() => Ok(Some(file)),
        Ok(_) => Err(not_a_file()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What is in a file; None where there is none.
///
/// # Errors
/// As [`open`].
pub(in crate::tier) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let Some(mut file) = open(path)? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// A new and empty file, its owner's alone.
///
/// # Errors
/// The disk refuses.
pub(in crate::tier) fn create(path: &Path) -> io::Result<File> {
    clear(path)?;
    let mut options = OpenOptions::new();
    options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(FILE_MODE)
        .open(path)
}

/// A file to go on writing into, its owner's alone.
///
/// # Errors
/// The disk refuses.
pub(in crate::tier) fn open_to_write(path: &Path) -> io::Result<File> {
    clear(path)?;
    let mut options = OpenOptions::new();
    options.write(true);
    // Where there is one a full disk is no matter.
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            options.create(true).mode(FILE_MODE).open(path)
        }
        opened => opened,
    }
}

/// A directory and those above it, its owner's alone where they are made.
///
/// # Errors
/// The disk refuses.
pub(in crate::tier) fn create_dirs(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(DIR_MODE).create(path)
}

/// A directory whose parent is there, its owner's alone.
///
/// # Errors
/// There is no parent, or something of this name; the disk refuses.
pub(in crate::tier) fn create_one_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(DIR_MODE).create(path)
}

/// A directory inside of another; whatever else bears its name is moved aside.
///
/// # Errors
/// The disk refuses.
pub(in crate::tier) fn create_dir(path: &Path) -> io::Result<()> {
    if !path.is_dir() && path.symlink_metadata().is_ok() {
        move_aside(path)?;
    }
    create_dirs(path)
}

/// Moves aside what is no regular file.
///
/// # Errors
/// It cannot be renamed.
pub(in crate::tier) fn clear(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Ok(found) if !found.is_file() => move_aside(path).map(drop),
        _ => Ok(()),
    }
}

/// Moves a file or directory aside, beside itself, and tells where to.
///
/// # Errors
/// It cannot be renamed.
pub(in crate::tier) fn move_aside(path: &Path) -> io::Result<PathBuf> {
    let dir = path.parent().unwrap_or(path);
    move_into(dir, path)
}

/// Moves a file or directory aside, into another directory.
///
/// # Errors
/// It cannot be renamed.
pub(super) fn move_into(dir: &Path, path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let seconds = crate::clock::now().as_secs();
    let free = |number: &i64| {
        let path = dir.join(format!("{name}{ASIDE}{number}"));
        path.symlink_metadata().is_err().then_some(path)
    };
    let to = (seconds..).find_map(|number| free(&number));
    let to = to.ok_or_else(not_a_file)?;
    fs::rename(path, &to)?;
    tracing::error!(
        "What is no file of the disk tier, or cannot be read, was moved aside: {} to {}",
        path.display(),
        to.display()
    );
    Ok(to)
}

/// Whether an error has nothing to do with the file: the process lacks something, and the next try may find it.
pub(in crate::tier) fn may_pass(error: &io::Error) -> bool {
    use io::ErrorKind::{
        Interrupted, OutOfMemory, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull,
        WouldBlock,
    };
    use rustix::io::Errno;
    let lacks_descriptors = [Errno::MFILE, Errno::NFILE]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()));
    let kinds = [
        Interrupted,
        OutOfMemory,
        PermissionDenied,
        QuotaExceeded,
        ReadOnlyFilesystem,
        StorageFull,
        WouldBlock,
    ];
    lacks_descriptors || kinds.contains(&error.kind())
}

/// The same error, with the path that it is about.
pub(in crate::tier) fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn not_a_file() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not a regular file")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::scratch::Scratch;

    fn make_fifo(path: &Path) {
        let made = std::process::Command::new("mkfifo").arg(path).status();
        assert!(made.expect("mkfifo runs").success());
    }

    #[test]
    fn what_is_no_file_is_neither_read_nor_in_the_way() {
        type Make = fn(&Path);
        let kinds: [Make; 4] = [
            |path| fs::create_dir(path).unwrap(),
            |path| std::os::unix::fs::symlink(path, path).unwrap(),
            make_fifo,
            |path| std::os::unix::fs::symlink("/dev/zero", path).unwrap(),
        ];
        for make in kinds {
            let scratch = Scratch::new();
            let path = scratch.path().join("file");
            make(&path);
            assert!(read(&path).is_err());
            drop(create(&path).unwrap());
            assert_eq!(read(&path).unwrap(), Some(Vec::new()));
            // What was there is there.
            assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 2);
        }
    }

    #[test]
    fn what_the_tier_makes_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let scratch = Scratch::new();
        let dir = scratch.path().join("a/b");
        create_dir(&dir).unwrap();
        drop(create(&dir.join("file")).unwrap());
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&dir), mode(&dir.join("file"))), (0o700, 0o600));
    }
}
