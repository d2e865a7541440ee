//! The network: listeners, worker threads, connections, and the server's start and stop.
//!
//! One thread accepts and hands connections to the workers in turn; each worker has a runtime of its own, so that a
//! connection's requests never leave their thread, but for those that wait for keys: who writes the key serves them. It knows no command.

mod arriving;
mod connection;
mod listen;
mod outbox;
mod sockets;
pub(crate) mod waiting;
mod wire;
mod worker;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::runtime::Handle;
use tokio::time::Instant;

use self::listen::{Accepted, Listeners};
use self::sockets::Sockets;
use self::worker::Workers;
use crate::descriptors;
use crate::dispatch::script;
use crate::server::{Server, banner, maintenance, warming};
use crate::tier::{Lost, Tier};

/// How often a stop looks whether the last connection has gone.
const DRAIN_POLL: Duration = Duration::from_millis(5);
/// After an accept failed for want of descriptors the next one waits so long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why the server cannot start: one line that says what to change.
#[derive(Debug)]
pub struct StartError {
    what: String,
    source: io::Error,
}

impl StartError {
    fn new(what: impl Into<String>, source: io::Error) -> Self {
        Self {
            what: what.into(),
            source,
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.source)
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Serves until the server is asked to stop, then lets connections finish and returns.
pub fn serve(server: &Arc<Server>) -> Result<(), StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| StartError::new("cannot start the accepting thread's runtime", error))?;
    allow_clients(server);
    runtime.block_on(async {
        let listeners = Listeners::open(&server.engine.config.load())?;
        let workers = Workers::start(server, &Handle::current())
            .map_err(|error| StartError::new("cannot start a worker thread", error))?;
        let maintenance = maintenance::start(Arc::clone(server))
            .map_err(|error| StartError::new("cannot start the maintenance thread", error))?;
        let scripts = script::start(server)
            .map_err(|error| StartError::new("cannot start the thread of scripts", error))?;
        for line in banner::lines(server) {
            tracing::info!("{line}");
        }
        tracing::info!("Ready to accept connections on {listeners}");
        let tier = Tier::start(&server.engine)
            .map_err(|error| StartError::new("cannot start the disk tier's threads", error))?;
        if let Some(path) = &server.engine.config.load().warm {
            warming::start(server, &server.engine.config.load().in_dir(path))
                .map_err(|refusal| StartError::new("cannot warm", refusal.into()))?;
        }
        tell_service_manager(NotifyState::Ready);
        run(server, listeners, workers).await?;
        // Before the tier counts its keys for the last time. A panic has told of itself.
        let _ = maintenance.join();
        server.scripts.close();
        let _ = scripts.join();
        server.warming.join();
        let lost = tier.map_or(Lost::Nothing, |tier| tier.stop(&server.engine));
        if lost != Lost::Nothing {
            tracing::error!("Stopped, but {lost}: the disk tier could not be written");
            let source = io::Error::other("the disk tier could not be written");
            return Err(StartError::new(lost.to_string(), source));
        }
        tracing::info!("Bye");
        Ok(())
    })
}

/// Tells systemd, where it waits for it (`Type=notify`), how the server is.
fn tell_service_manager(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!("The service manager cannot be told that the server runs: {error}");
    }
}

/// Lowers `maxclients` to what the system has descriptors for.
fn allow_clients(server: &Server) {
    let wanted = server.engine.config.load().maxclients;
    let shares = descriptors::divide(wanted, server.engine.tier.is_some());
    let clients = u32::try_from(shares.clients).unwrap_or(u32::MAX);
    if clients >= wanted {
        return;
    }
    tracing::warn!(
        "The limit of open files is {}, so maxclients is lowered from {wanted} to {clients}",
        shares.allowed
    );
    let lowered = server.engine.config.update(|config| {
        let mut config = config.clone();
        config.maxclients = clients;
        Ok::<_, std::convert::Infallible>(config)
    });
    match lowered {
        Ok(_) => {}
        Err(never) => match never {},
    }
}

/// Accepts until the server is asked to stop, then drains.
async fn run(
    server: &Arc<Server>,
    listeners: Listeners,
    workers: Workers,
) -> Result<(), StartError> {
    let workers = Arc::new(workers);
    let Listeners { tcp, unix } = listeners;
    let unix_path = unix.as_ref().map(|(_, path)| path.clone());
    let sockets = Sockets::begin(server, &workers, tcp);
    server.listening.begin(Box::new(Arc::clone(&sockets)));
    let accepting_unix = unix.map(|(listener, path)| {
        tokio::spawn(accept_unix(
            Arc::clone(server),
            listener,
            path,
            Arc::clone(&workers),
        ))
    });
    server.shutdown.asked().await;
    tracing::info!("Stopping: finishing what was begun");
    tell_service_manager(NotifyState::Stopping);
    sockets.close();
    accepting_unix.iter().for_each(|task| task.abort());
    drain(server).await;
    if let Some(path) = unix_path {
        // Left behind it would only be in the way; that it is gone already is fine.
        let _ = std::fs::remove_file(path);
    }
    Ok(())
}

/// Waits until all connections are closed, at most for half of `shutdown-timeout`: the other half is for the disk tier.
async fn drain(server: &Server) {
    let timeout = Duration::from_secs(server.engine.config.load().shutdown_timeout_s.into());
    let deadline = Instant::now() + timeout / 2;
    while !server.clients.is_empty() && Instant::now() < deadline {
        server.clients.all().iter().for_each(|client| client.wake());
        tokio::time::sleep(DRAIN_POLL).await;
    }
}

async fn accept_unix(
    server: Arc<Server>,
    listener: tokio::net::UnixListener,
    path: std::path::PathBuf,
    workers: Arc<Workers>,
) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => admit(&server, &workers, Accepted::Unix(stream, path.clone())),
            Err(error) => accept_failed(&error).await,
        }
    }
}

/// An accept that fails for want of descriptors would fail again at once.
async fn accept_failed(error: &io::Error) {
    tracing::warn!("Accepting a client connection failed: {error}");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// Refuses a connection, with a reason, or gives it to a worker.
fn admit(server: &Server, workers: &Workers, accepted: Accepted) {
    server.stats.connections.fetch_add(1, Ordering::Relaxed);
    let config = server.engine.config.load();
    if server.clients.len() + workers.waiting() >= config.maxclients as usize {
        server
            .stats
            .rejected_connections
            .fetch_add(1, Ordering::Relaxed);
        return accepted.refuse(b"-ERR max number of clients reached\r\n");
    }
    if config.protected_mode && config.requirepass.is_empty() && !accepted.is_local() {
        server
            .stats
            .rejected_connections
            .fetch_add(1, Ordering::Relaxed);
        return accepted.refuse(listen::PROTECTED);
    }
    match accepted.prepare(&config) {
        Ok(prepared) => workers.give(prepared),
        Err(error) => tracing::debug!("A connection was lost while it was set up: {error}"),
    }
}
