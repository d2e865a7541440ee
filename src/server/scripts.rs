//! Scripts: which are known, those that wait for their turn, and the one that runs.
//!
//! One thread runs all scripts, one after the other, with one Lua state. So a script that does not end holds up no connection
//! but those which need keys, whoever sends SCRIPT KILL is heard, and what a script compiles is there for everybody.
//! Rejected: a Lua state for each worker. A stuck script would take all of its worker's connections with it.
//!
//! A connection lends its session to the [`Job`] that it has the thread do, and waits.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::session::Session;
use super::shutdown::Shutdown;
use crate::config::Live;
use crate::error::CommandError;
use crate::keyspace::gate::Gate;
use crate::resp::{OwnedArgs, Protocol, Reply};
use crate::script::{Digest, Ended, Script, Watch, digest};

/// So many scripts that came with EVAL are kept.
const EVALUATED_MAX: usize = 500;
/// What a script takes besides its text, about.
const SCRIPT_BYTES: usize = 200;

/// When the server has been asked to stop a script has so long to end by itself.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

const NOT_BUSY: CommandError = CommandError::text("NOTBUSY No scripts in execution right now.");
const UNKILLABLE: CommandError = CommandError::text(
    "UNKILLABLE Sorry the script already executed write commands against the dataset. You can either wait the script termination or kill the server in a hard way using the SHUTDOWN NOSAVE command.",
);

const FAILED: CommandError =
    CommandError::text("ERR scripts have failed, see the log of the server");

/// A request that is to be done by the thread of scripts, with what its client has lent for it.
#[derive(Debug)]
pub struct Job {
    /// The client's session.
    pub session: Session,
    /// The request.
    pub request: OwnedArgs,
    /// What it answers.
    pub reply: Reply,
    /// Whether it was refused.
    pub refused: Option<CommandError>,
    /// Whether it has changed keys.
    pub has_changed: bool,
}

impl Job {
    /// A request of this session, which is lent.
    pub fn new(session: &mut Session, request: OwnedArgs, protocol: Protocol) -> Box<Self> {
        Box::new(Self {
            session: session.lend(),
            request,
            reply: Reply::new(protocol),
            refused: None,
            has_changed: false,
        })
    }
}

/// What a command of scripts wants.
#[derive(Debug)]
pub enum Evaluation {
    /// That a script is there.
    Load(Arc<Script>),
    /// That one runs.
    Run(ScriptRun),
}

/// A script that is to run, and where its keys are among the arguments. What is behind them is for it too.
#[derive(Debug)]
pub struct ScriptRun {
    /// The script.
    pub script: Arc<Script>,
    /// The places of its keys.
    pub keys: Range<usize>,
    /// Whether it must not change keys.
    pub is_read_only: bool,
}

/// A job, and who waits for it.
type Waiting = (Box<Job>, oneshot::Sender<Box<Job>>);

/// What the server knows of scripts.
#[derive(Debug)]
pub struct Scripts {
    known: Mutex<Known>,
    waiting: Mutex<VecDeque<Waiting>>,
    has_more: Condvar,
    /// The thread of scripts has ended.
    is_closed: AtomicBool,
    /// The one that runs.
    pub running: Arc<Running>,
    /// Scripts that were forgotten for others.
    pub evicted: AtomicU64,
    /// What they take in memory.
    pub bytes: Arc<ScriptBytes>,
    /// How often all were forgotten.
    flushes: AtomicU64,
}

/// What scripts take in memory.
#[derive(Debug, Default)]
pub struct ScriptBytes {
    /// The Lua state, when the last one had run.
    pub vm: AtomicUsize,
    /// The texts.
    pub texts: AtomicUsize,
}

impl ScriptBytes {
    /// All of it.
    pub fn total(&self) -> usize {
        self.vm.load(Ordering::Relaxed) + self.texts.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
struct Known {
    all: HashMap<Digest, Kept>,
    bytes: usize,
    uses: u64,
    /// How many of them came with EVAL.
    evaluated: usize,
}

#[derive(Debug)]
struct Kept {
    script: Arc<Script>,
    /// When it was used last. `None`: it was loaded, and stays.
    used: Option<u64>,
}

impl Scripts {
    /// No script.
    pub fn new(
        bytes: Arc<ScriptBytes>,
        config: Arc<Live>,
        gate: Gate,
        shutdown: Arc<Shutdown>,
    ) -> Self {
        Self {
            known: Mutex::default(),
            waiting: Mutex::default(),
            has_more: Condvar::new(),
            is_closed: AtomicBool::new(false),
            running: Arc::new(Running::new(config, gate, shutdown)),
            evicted: AtomicU64::new(0),
            bytes,
            flushes: AtomicU64::new(0),
        }
    }

    /// The script of this name, in any case of letters.
    pub fn find(&self, name: &[u8]) -> Option<Arc<Script>> {
        let name: Digest = name.to_ascii_lowercase().try_into().ok()?;
        let mut known = self.known.lock();
        known.uses += 1;
        let now = known.uses;
        let kept = known.all.get_mut(&name)?;
        if let Some(used) = &mut kept.used {
            *used = now;
        }
        Some(Arc::clone(&kept.script))
    }

    /// Whether there is a script of this name.
    pub fn has(&self, name: &[u8]) -> bool {
        let name = Digest::try_from(name.to_ascii_lowercase());
        name.is_ok_and(|name| self.known.lock().all.contains_key(&name))
    }

    /// The script of this text: one that is known, or a new one, which is to be kept when it has been compiled.
    ///
    /// # Errors
    /// Its first line is none that a script may have.
    pub fn of(&self, text: &[u8]) -> Result<Arc<Script>, CommandError> {
        let name = digest(text);
        match self.find(&name) {
            Some(script) => Ok(script),
            None => Script::new(text, name).map(Arc::new),
        }
    }

    /// Keeps a script: for good if it was loaded.
    pub fn keep(&self, script: &Arc<Script>, is_loaded: bool) {
        let known = &mut *self.known.lock();
        known.uses += 1;
        let used = (!is_loaded).then_some(known.uses);
        match known.all.get_mut(&script.digest) {
            Some(kept) if is_loaded => {
                let was_evaluated = kept.used.take().is_some();
                known.evaluated -= usize::from(was_evaluated);
            }
            Some(_) => {}
            None => {
                known.bytes += script.text.len() + SCRIPT_BYTES;
                known.evaluated += usize::from(!is_loaded);
                let script = Arc::clone(script);
                known.all.insert(script.digest, Kept { script, used });
            }
        }
        if known.evaluated > EVALUATED_MAX {
            self.evicted.fetch_add(1, Ordering::Relaxed);
            known.forget_oldest();
        }
        self.bytes.texts.store(known.bytes, Ordering::Relaxed);
    }

    /// Forgets all of them, and what they have left in the Lua state.
    pub fn flush(&self) {
        let mut known = self.known.lock();
        *known = Known::default();
        self.bytes.texts.store(0, Ordering::Relaxed);
        self.flushes.fetch_add(1, Ordering::Relaxed);
    }

    /// Changes when a new Lua state is wanted.
    pub fn generation(&self) -> u64 {
        self.flushes.load(Ordering::Relaxed)
    }

    /// How many there are, and what they take in bytes.
    pub fn size(&self) -> (usize, usize) {
        let known = self.known.lock();
        (known.all.len(), known.bytes)
    }

    /// Has a job done. The receiver gives it back; it fails where the thread of scripts has ended.
    pub fn submit(&self, job: Box<Job>) -> oneshot::Receiver<Box<Job>> {
        let (done, receiver) = oneshot::channel();
        let mut waiting = self.waiting.lock();
        if !self.is_closed.load(Ordering::Relaxed) {
            waiting.push_back((job, done));
            self.has_more.notify_one();
        }
        receiver
    }

    /// The next job, waited for so long.
    pub fn next_job(&self, patience: Duration) -> Option<Waiting> {
        let mut waiting = self.waiting.lock();
        if waiting.is_empty() {
            self.has_more.wait_for(&mut waiting, patience);
        }
        waiting.pop_front()
    }

    /// Whether there is nobody who does jobs.
    pub fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }

    /// Whether there is somebody who does jobs.
    ///
    /// # Errors
    /// The thread has failed.
    pub fn check(&self) -> Result<(), CommandError> {
        match self.is_closed() {
            false => Ok(()),
            true => Err(FAILED),
        }
    }

    /// There is nobody any more who does jobs.
    pub fn close(&self) {
        let mut waiting = self.waiting.lock();
        self.is_closed.store(true, Ordering::Relaxed);
        waiting.clear();
        // Where the thread has failed it has not said so.
        self.running.end();
    }
}

impl Known {
    fn forget_oldest(&mut self) {
        let evaluated = self.all.iter();
        let evaluated = evaluated.filter_map(|(name, kept)| Some((kept.used?, *name)));
        if let Some((_, name)) = evaluated.min()
            && let Some(kept) = self.all.remove(&name)
        {
            self.evaluated -= 1;
            self.bytes -= kept.script.text.len() + SCRIPT_BYTES;
        }
    }
}

/// The script that runs.
pub struct Running {
    config: Arc<Live>,
    gate: Gate,
    shutdown: Arc<Shutdown>,
    state: Mutex<Option<Run>>,
    /// It has run for so long that others are told of it.
    is_busy: AtomicBool,
    must_end: AtomicBool,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    since: Instant,
    has_written: bool,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Running {
    fn new(config: Arc<Live>, gate: Gate, shutdown: Arc<Shutdown>) -> Self {
        Self {
            config,
            gate,
            shutdown,
            state: Mutex::default(),
            is_busy: AtomicBool::new(false),
            must_end: AtomicBool::new(false),
        }
    }

    /// A script begins.
    pub fn begin(&self) {
        self.must_end.store(false, Ordering::Relaxed);
        *self.state.lock() = Some(Run {
            since: Instant::now(),
            has_written: false,
        });
    }

    /// It has ended.
    pub fn end(&self) {
        *self.state.lock() = None;
        if self.is_busy.swap(false, Ordering::Relaxed) {
            self.gate.set_held_up(false);
        }
    }

    /// The script is going to change keys. False if it was killed before.
    pub fn begin_to_write(&self) -> bool {
        let mut state = self.state.lock();
        if self.must_end.load(Ordering::Relaxed) {
            return false;
        }
        if let Some(run) = &mut *state {
            run.has_written = true;
        }
        true
    }

    /// Whether it has run for so long that others are told of it.
    #[inline]
    pub fn is_busy(&self) -> bool {
        self.is_busy.load(Ordering::Relaxed)
    }

    /// Has it end.
    ///
    /// # Errors
    /// There is none, or it has changed keys.
    pub fn kill(&self) -> Result<(), CommandError> {
        match &*self.state.lock() {
            None => Err(NOT_BUSY),
            Some(run) if run.has_written => Err(UNKILLABLE),
            Some(_) => {
                self.must_end.store(true, Ordering::Relaxed);
                Ok(())
            }
        }
    }
}

impl Watch for Running {
    fn must_end(&self) -> Option<Ended> {
        if self.must_end.load(Ordering::Relaxed) {
            return Some(Ended::Killed);
        }
        let stops_for = self.shutdown.asked_for();
        if stops_for.is_some_and(|time| time >= STOP_PATIENCE) {
            return Some(Ended::Stopped);
        }
        if !self.is_busy() {
            let since = self.state.lock().map(|run| run.since);
            let patience = self.config.load().busy_reply_threshold_ms;
            let patience = Duration::from_millis(patience);
            let is_late = |since: Instant| !patience.is_zero() && since.elapsed() >= patience;
            if since.is_some_and(is_late) {
                tracing::warn!(
                    "A script has run for {} ms and does not end. SCRIPT KILL ends it, if it has changed nothing.",
                    patience.as_millis()
                );
                self.is_busy.store(true, Ordering::Relaxed);
                self.gate.set_held_up(true);
            }
        }
        None
    }
}
