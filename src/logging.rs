//! The log: text or JSON, to standard output or a file, at a level that CONFIG SET can change.

use std::backtrace::BacktraceStatus;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::LevelFilter as Filter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, Registry, fmt};

use crate::config::{Config, LogFormat, LogLevel};
use crate::umask;

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
    let is_new = !path.exists();
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    if is_new {
        umask::widen(path, 0o666)?;
    }
    Ok(file)
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
    let file = match config.logfile.as_ref().map(|path| config.in_dir(path)) {
        None => None,
        Some(path) => Some(Arc::new(LogFile {
            file: Mutex::new(open(&path)?),
            path,
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
        LogFormat::Text | LogFormat::Legacy => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    let started: Result<(), TryInitError> = Registry::default().with(filter).with(layer).try_init();
    started.map_err(io::Error::other)?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(LogControl { handle, file })
}

/// A panic ends one connection or one part of the server: it is told where everything else is.
fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let said = panic.to_string().replace('\n', " ");
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("unnamed");
    let backtrace = std::backtrace::Backtrace::capture();
    match backtrace.status() {
        BacktraceStatus::Captured => tracing::error!("Thread {name} {said}\n{backtrace}"),
        _ => tracing::error!("Thread {name} {said}"),
    }
}

/// Something that may go wrong again and again, and fills no log: it is said once a second, with how often it was not.
#[derive(Debug)]
pub struct Repeated {
    what: &'static str,
    /// When it was said last, and how often it has happened since.
    said: Mutex<(Option<Instant>, u64)>,
}

/// It is said so often at the most.
const REPEATED_EVERY: Duration = Duration::from_secs(1);

impl Repeated {
    /// What goes wrong, as a sentence without its end.
    #[must_use]
    pub const fn new(what: &'static str) -> Self {
        Self {
            what,
            said: Mutex::new((None, 0)),
        }
    }

    /// It went wrong.
    pub fn error(&self, error: &dyn std::fmt::Display) {
        let Some(more) = self.count(Instant::now()) else {
            return;
        };
        match more {
            0 => tracing::error!("{}: {error}", self.what),
            _ => tracing::error!(
                "{}: {error} (and {more} times more since this was said)",
                self.what
            ),
        }
    }

    /// How often it was not said, if it is to be said now.
    fn count(&self, now: Instant) -> Option<u64> {
        let mut said = self.said.lock();
        let (last, more) = &mut *said;
        if last.is_some_and(|last| now.saturating_duration_since(last) < REPEATED_EVERY) {
            *more += 1;
            return None;
        }
        *last = Some(now);
        Some(std::mem::take(more))
    }
}

fn filter_of(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Verbose | LogLevel::Notice => LevelFilter::INFO,
        LogLevel::Warning => LevelFilter::WARN,
        LogLevel::Nothing => LevelFilter::OFF,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_wrong_again_and_again_is_said_once_a_second_with_a_count() {
        let repeated = Repeated::new("It could not be");
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(repeated.count(at(0)), Some(0));
        assert_eq!((1..500).find_map(|i| repeated.count(at(i))), None);
        assert_eq!(repeated.count(at(1_000)), Some(499));
        assert_eq!(repeated.count(at(1_001)), None);
        assert_eq!(repeated.count(at(5_000)), Some(1));
        assert_eq!(repeated.count(at(9_000)), Some(0));
    }
}
