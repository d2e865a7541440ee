//! Who may read what the server writes.
//!
//! Data is its owner's alone, whatever the process was started with. What is meant for others (the log for those who collect
//! logs, the socket for clients, the pidfile) gets the mode that it would have had.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::OnceLock;

use rustix::fs::Mode;
use rustix::process::umask;

/// What the process was started with.
static STARTED_WITH: OnceLock<Mode> = OnceLock::new();

/// From now on a new file is nobody else's.
pub fn narrow() {
    let before = umask(Mode::RWXG | Mode::RWXO);
    STARTED_WITH.get_or_init(|| before);
}

/// Gives a file that was just made the mode that it would have had before.
///
/// # Errors
/// It is not ours.
pub fn widen(path: &Path, mode: u32) -> io::Result<()> {
    let Some(started_with) = STARTED_WITH.get() else {
        return Ok(());
    };
    let mode = mode & !started_with.bits();
    fs::set_permissions(path, Permissions::from_mode(mode))
}
