//! What signals do.
//!
//! | signal | while the server runs | while it stops |
//! |---|---|---|
//! | HUP | opens the log file anew, as after a rotation | the same |
//! | TERM, INT, QUIT, and every other one that would end a process | begins a stop in order | exits at once with status 1, and says what is lost; a quarter of a second after the first one, or later |
//! | XFSZ | nothing: the write beyond the limit of file sizes fails, as on a full disk | the same |
//!
//! KILL cannot be caught. SEGV, BUS, ILL, FPE, ABRT, SYS and TRAP say that the process itself is broken: it ends where it
//! stands, as after a power cut. During the start, when nobody was served yet, a signal that asks for a stop just exits.
//!
//! A thread of its own listens, so that signals are heard whatever all others do. It also watches over a stop, however
//! that was asked for: it tells every second how far it is, and ends it when `shutdown-timeout` is over.

use std::io;
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use rustix::process::Signal as Number;
use tokio::runtime::{Builder, Handle};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use super::Server;
use crate::config::TierDurability;
use crate::threads::{self, Part};

/// How often the log tells how far a stop is.
const PROGRESS: Duration = Duration::from_secs(1);

/// What comes so soon is the same request: `timeout` and shells signal the process and its group, which it is in.
const SAME_REQUEST: Duration = Duration::from_millis(250);

/// What is done about a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// The log is opened anew.
    Reopen,
    /// The server stops.
    Stop,
    /// It is only kept from ending the process.
    Nothing,
}

/// The signals that are listened to and must be.
const SIGNALS: &[(Number, &str, Meaning)] = &[
    (Number::HUP, "SIGHUP", Meaning::Reopen),
    (Number::TERM, "SIGTERM", Meaning::Stop),
    (Number::INT, "SIGINT", Meaning::Stop),
    (Number::QUIT, "SIGQUIT", Meaning::Stop),
    (Number::USR1, "SIGUSR1", Meaning::Stop),
    (Number::USR2, "SIGUSR2", Meaning::Stop),
    (Number::ALARM, "SIGALRM", Meaning::Stop),
    (Number::VTALARM, "SIGVTALRM", Meaning::Stop),
    (Number::PROF, "SIGPROF", Meaning::Stop),
    (Number::XCPU, "SIGXCPU", Meaning::Stop),
    (Number::XFSZ, "SIGXFSZ", Meaning::Nothing),
    (Number::IO, "SIGIO", Meaning::Stop),
    #[cfg(target_os = "linux")]
    (Number::POWER, "SIGPWR", Meaning::Stop),
    #[cfg(all(
        target_os = "linux",
        any(target_arch = "x86_64", target_arch = "aarch64")
    ))]
    (Number::STKFLT, "SIGSTKFLT", Meaning::Stop),
];

/// The real-time signals of Linux, which end a process like others. The two below 34 are the C library's own.
const REAL_TIME: std::ops::RangeInclusive<i32> = 34..=64;

/// The thread that listens for signals.
#[derive(Debug)]
pub struct Signals {
    thread: Handle,
    server: Arc<OnceLock<Arc<Server>>>,
}

/// A signal that is listened to.
struct Heard {
    signal: Signal,
    name: String,
    meaning: Meaning,
}

impl Signals {
    /// Listens from now on. Until [`Signals::serve`] there is nothing to finish.
    ///
    /// # Errors
    /// The system allows no listening, or no thread.
    pub fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let signals = Self {
            thread: runtime.handle().clone(),
            server: Arc::default(),
        };
        let entered = runtime.enter();
        let heard = listen()?;
        drop(entered);
        let server = Arc::clone(&signals.server);
        threads::spawn("signals", Part::Signals, move || {
            runtime.block_on(act(heard, &server));
        })?;
        Ok(signals)
    }

    /// From now on signals are about this server, and its stop is watched over.
    pub fn serve(&self, server: &Arc<Server>) {
        // Another one was there before only if this is called twice, which is the same server then.
        let _ = self.server.set(Arc::clone(server));
        self.thread.spawn(watch_over_stop(Arc::clone(server)));
    }
}

fn listen() -> io::Result<Vec<Heard>> {
    let mut heard = Vec::new();
    for (number, name, meaning) in SIGNALS {
        heard.push(Heard {
            signal: signal(SignalKind::from_raw(number.as_raw()))?,
            name: (*name).to_owned(),
            meaning: *meaning,
        });
    }
    if cfg!(target_os = "linux") {
        // One that the C library keeps for itself cannot be listened to, and nobody sends it.
        heard.extend(REAL_TIME.filter_map(|number| {
            let signal = signal(SignalKind::from_raw(number)).ok()?;
            let name = format!("signal {number}");
            let meaning = Meaning::Stop;
            Some(Heard {
                signal,
                name,
                meaning,
            })
        }));
    }
    Ok(heard)
}

/// Waits for the next signal.
async fn next(heard: &mut [Heard]) -> &Heard {
    let at = std::future::poll_fn(|cx| {
        let came = |heard: &mut Heard| heard.signal.poll_recv(cx).is_ready();
        match heard.iter_mut().position(came) {
            Some(at) => Poll::Ready(at),
            None => Poll::Pending,
        }
    })
    .await;
    &heard[at]
}

async fn act(mut heard: Vec<Heard>, server: &OnceLock<Arc<Server>>) {
    loop {
        let Heard { name, meaning, .. } = next(&mut heard).await;
        match (meaning, server.get()) {
            (Meaning::Nothing, _) | (Meaning::Reopen, None) => {}
            (Meaning::Reopen, Some(server)) => reopen_log(server, name),
            (Meaning::Stop, None) => {
                tracing::info!("{name} received while starting, exiting");
                std::process::exit(0);
            }
            (Meaning::Stop, Some(server)) => match server.shutdown.asked_for() {
                None => {
                    tracing::info!("{name} received");
                    server.shutdown.ask();
                }
                Some(since) if since < SAME_REQUEST => {
                    tracing::info!("{name} received, the server stops already");
                }
                Some(_) => abandon(server, &format!("{name} received while stopping")),
            },
        }
    }
}

fn reopen_log(server: &Server, name: &str) {
    let Some(log) = server.log.get() else { return };
    match log.reopen() {
        Ok(true) => tracing::info!("{name} received, the log file is opened anew"),
        Ok(false) => tracing::info!("{name} received, there is no log file to open anew"),
        Err(error) => tracing::warn!(
            "{name} received, but the log file cannot be opened anew, the old one is kept: {error}"
        ),
    }
}

/// Tells how far a stop is, and ends it when its time is over.
async fn watch_over_stop(server: Arc<Server>) {
    server.shutdown.asked().await;
    let timeout_s = server.engine.config.load().shutdown_timeout_s;
    let begun = Instant::now();
    let deadline = (timeout_s > 0).then(|| begun + Duration::from_secs(timeout_s.into()));
    let mut tick = begun;
    loop {
        tick += PROGRESS;
        tokio::time::sleep_until(deadline.map_or(tick, |deadline| deadline.min(tick))).await;
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            abandon(
                &server,
                &format!("shutdown-timeout of {timeout_s} s is over"),
            );
        }
        tracing::info!("Stopping: {}", what_is_left(&server));
    }
}

fn what_is_left(server: &Server) -> String {
    match server.clients.len() {
        0 => match server.engine.tier.as_ref() {
            None => "the last threads end".to_owned(),
            Some(tier) => format!(
                "about {} of changes are still to be written",
                megabytes(tier.bytes_left(&server.engine.keyspace))
            ),
        },
        1 => "a client is still connected".to_owned(),
        clients => format!("{clients} clients are still connected"),
    }
}

/// Exits at once, with an error, and says what is lost.
fn abandon(server: &Server, why: &str) -> ! {
    tracing::error!("{why}: exiting at once. {}", what_is_lost(server));
    std::process::exit(1)
}

fn what_is_lost(server: &Server) -> String {
    if server.engine.tier.is_none() {
        return "There is no disk tier, so all keys are lost, as at every end".to_owned();
    }
    match server.engine.config.load().tier_durability {
        TierDurability::None => {
            "All keys are lost: under tier-durability none those on disk are only \
                                 kept by a stop that comes to its end"
                .to_owned()
        }
        TierDurability::Everysec => format!(
            "About {} of changes, the last ones, are lost",
            megabytes(server.engine.keyspace.unwritten_bytes())
        ),
        TierDurability::Always => "Nothing that was acknowledged is lost".to_owned(),
    }
}

fn megabytes(bytes: usize) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_signal_is_listened_to_twice() {
        for (at, (number, name, _)) in SIGNALS.iter().enumerate() {
            let earlier = &SIGNALS[..at];
            assert!(earlier.iter().all(|(other, ..)| other != number), "{name}");
            assert!(!REAL_TIME.contains(&number.as_raw()), "{name}");
        }
    }
}
