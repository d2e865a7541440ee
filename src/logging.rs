//! The log: text or JSON, to standard output or a file, at a level that CONFIG SET can change.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::LevelFilter as Filter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, Registry, fmt};

use crate::config::{Config, LogFormat, LogLevel};

/// Changes the level of the log, and the file behind it.
#[derive(Debug)]
pub struct LogControl {
    handle: reload::Handle<Filter, Registry>,
    file: Option<Arc<LogFile>>,
}

impl LogControl {
    /// Logs from this level on.
    pub fn set_level(&self, level: LogLevel) {
        // It fails only when the log is gone, which happens at the process's end.
        let _ = self.handle.modify(|filter| *filter = filter_of(level));
    }

    /// Opens the log file anew, since the one that is written to was moved away or removed. False where there is none.
    ///
    /// # Errors
    /// The file cannot be opened; then the log goes on in the one before.
    pub fn reopen(&self) -> io::Result<bool> {
        let Some(file) = &self.file else {
            return Ok(false);
        };
        let new = open(&file.path)?;
        let mut current = file.file.lock();
        // Who may read it is as before; for the data it is nobody.
        let mode = current.metadata()?.permissions();
        new.set_permissions(mode)?;
        *current = new;
        Ok(true)
    }
}

/// A log file that can be opened anew.
#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    file: Mutex<File>,
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

impl io::Write for &LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.lock().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.lock().flush()
    }
}

/// Starts the log as the options say.
pub fn start(config: &Config) -> io::Result<LogControl> {
    let file = match &config.logfile {
        None => None,
        Some(path) => Some(Arc::new(LogFile {
            path: path.clone(),
            file: Mutex::new(open(path)?),
        })),
    };
    let writer = match &file {
        None => BoxMakeWriter::new(io::stdout),
        Some(file) => BoxMakeWriter::new(Arc::clone(file)),
    };
    let (filter, handle) = reload::Layer::new(filter_of(config.loglevel));
    let layer = fmt::layer()
        .with_writer(writer)
        .with_target(false)
        // A log that cannot be written must not end the server, as a message to a closed terminal would.
        .log_internal_errors(false)
        .with_ansi(false);
    let layer = match config.log_format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    let started: Result<(), TryInitError> = Registry::default().with(filter).with(layer).try_init();
    started.map_err(io::Error::other)?;
    Ok(LogControl { handle, file })
}

fn filter_of(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Verbose | LogLevel::Notice => LevelFilter::INFO,
        LogLevel::Warning => LevelFilter::WARN,
    }
}
