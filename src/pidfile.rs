//! `pidfile`: a file that holds the number of the process while it runs.

use std::fs;
use std::path::PathBuf;

use crate::config::Config;
use crate::umask;

/// The file, which goes when this does.
#[derive(Debug)]
pub struct Pidfile(PathBuf);

/// Writes the file that the options ask for. Where it cannot be written the log says so, and the server runs: the file is a
/// courtesy to others.
pub fn write(config: &Config) -> Option<Pidfile> {
    let path = config.in_dir(config.pidfile.as_deref()?);
    let written = fs::write(&path, format!("{}\n", std::process::id()));
    match written.and_then(|()| umask::widen(&path, 0o666)) {
        Ok(()) => Some(Pidfile(path)),
        Err(error) => {
            tracing::warn!("pidfile {} cannot be written: {error}", path.display());
            None
        }
    }
}

impl Drop for Pidfile {
    fn drop(&mut self) {
        // That somebody has removed it is fine.
        let _ = fs::remove_file(&self.0);
    }
}
