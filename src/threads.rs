//! The start of threads, in one place: none ends without a word.
//!
//! A thread belongs to a **part** of the server. When it panics the panic is caught and logged, and the part is marked as failed
//! for as long as the process lives: INFO shows it, and whoever needs the part refuses loudly what it cannot do any more.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

/// What a thread works for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Requests of connections.
    Workers,
    /// What must be done in time and that no request waits for.
    Maintenance,
    /// Loading of a file.
    Warming,
    /// Reads of the disk tier.
    TierReaders,
    /// Writes of the disk tier.
    TierWriter,
    /// What the disk tier does once after a start: counts keys, fetches those that were in use.
    TierStart,
    /// What the disk tier does in the background: filters, merges.
    TierBackground,
    /// Scripts.
    Scripts,
    /// Freeing of large values.
    LazyFree,
    /// Signals of the system.
    Signals,
}

impl Part {
    /// All of them, in the order of INFO.
    pub const ALL: [Self; 10] = [
        Self::Workers,
        Self::Maintenance,
        Self::Warming,
        Self::TierReaders,
        Self::TierWriter,
        Self::TierStart,
        Self::TierBackground,
        Self::Scripts,
        Self::LazyFree,
        Self::Signals,
    ];

    /// Its name in INFO and the log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Workers => "workers",
            Self::Maintenance => "maintenance",
            Self::Warming => "warming",
            Self::TierReaders => "tier_readers",
            Self::TierWriter => "tier_writer",
            Self::TierStart => "tier_start",
            Self::TierBackground => "tier_background",
            Self::Scripts => "scripts",
            Self::LazyFree => "lazy_free",
            Self::Signals => "signals",
        }
    }
}

/// How many threads of each part have failed.
#[derive(Debug, Default)]
pub struct Failures([AtomicU32; Part::ALL.len()]);

/// Those of this process.
pub static FAILURES: Failures = Failures::new();

impl Failures {
    const fn new() -> Self {
        Self([const { AtomicU32::new(0) }; Part::ALL.len()])
    }

    /// How many threads of a part have failed.
    pub fn of(&self, part: Part) -> u32 {
        self.0[part as usize].load(Ordering::Relaxed)
    }

    fn count(&self, part: Part) {
        self.0[part as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// Starts a thread.
///
/// # Errors
/// The system has no room for one.
pub fn spawn(
    name: impl Into<String>,
    part: Part,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    spawn_or(name, part, work, || {})
}

/// Starts a thread, and does something when it has panicked: after its part is marked.
///
/// # Errors
/// The system has no room for one.
pub fn spawn_or(
    name: impl Into<String>,
    part: Part,
    work: impl FnOnce() + Send + 'static,
    failed: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let name = name.into();
    let builder = std::thread::Builder::new().name(name.clone());
    builder.spawn(move || {
        let Err(panic) = catch_unwind(AssertUnwindSafe(work)) else {
            return;
        };
        FAILURES.count(part);
        let words = words(&*panic);
        tracing::error!(
            part = part.name(),
            "The thread {name} failed, and what it did is not done any more: {words}"
        );
        failed();
    })
}

/// Does a piece of work whose panic must not end the thread. `None` where it panicked, which is logged.
pub fn caught<T>(what: &str, work: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => Some(done),
        Err(panic) => {
            tracing::error!("A panic in {what}: {}", words(&*panic));
            None
        }
    }
}

/// What a panic said.
#[must_use]
pub fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "no words".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_a_thread_marks_its_part() {
        let before = FAILURES.of(Part::Warming);
        let (told, heard) = std::sync::mpsc::channel();
        let thread = spawn_or(
            "a-test",
            Part::Warming,
            || panic!("number {}", 7),
            move || told.send(FAILURES.of(Part::Warming)).expect("it listens"),
        );
        thread.expect("there is room").join().expect("it is caught");
        assert_eq!(heard.recv(), Ok(before + 1));
    }

    #[test]
    fn a_panic_of_a_piece_of_work_is_caught() {
        assert_eq!(caught("a test", || 1), Some(1));
        assert_eq!(caught("a test", || -> i32 { panic!("not this") }), None);
        let panic = catch_unwind(|| panic!("number {}", 7)).expect_err("it panics");
        assert_eq!(words(&*panic), "number 7");
    }
}
