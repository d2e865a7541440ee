//! The log: text or JSON, to standard output or a file, at a level that CONFIG SET can change.

use std::fs::OpenOptions;
use std::io;
use std::sync::Mutex;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::LevelFilter as Filter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, Registry, fmt};

use crate::config::{Config, LogFormat, LogLevel};

/// Changes the level of the log.
#[derive(Debug)]
pub struct LogControl {
    handle: reload::Handle<Filter, Registry>,
}

impl LogControl {
    /// Logs from this level on.
    pub fn set_level(&self, level: LogLevel) {
        // It fails only when the log is gone, which happens at the process's end.
        let _ = self.handle.modify(|filter| *filter = filter_of(level));
    }
}

/// Starts the log as the options say.
pub fn start(config: &Config) -> io::Result<LogControl> {
    let writer = match &config.logfile {
        None => BoxMakeWriter::new(io::stdout),
        Some(path) => BoxMakeWriter::new(Mutex::new(
            OpenOptions::new().create(true).append(true).open(path)?,
        )),
    };
    let (filter, handle) = reload::Layer::new(filter_of(config.loglevel));
    let layer = fmt::layer()
        .with_writer(writer)
        .with_target(false)
        .with_ansi(false);
    let layer = match config.log_format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    let started: Result<(), TryInitError> = Registry::default().with(filter).with(layer).try_init();
    started.map_err(io::Error::other)?;
    Ok(LogControl { handle })
}

fn filter_of(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Verbose | LogLevel::Notice => LevelFilter::INFO,
        LogLevel::Warning => LevelFilter::WARN,
    }
}
