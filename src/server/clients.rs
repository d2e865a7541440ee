//! The registry of connections: what CLIENT LIST shows, and how CLIENT KILL reaches one.
//!
//! A connection owns its [`super::session::Session`]; what others may see of it is kept here, in
//! atomics that the connection writes once for each batch.

use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicI64, AtomicU8, AtomicU16, AtomicU64, AtomicUsize, Ordering,
};
use std::task::Waker;

use dashmap::DashMap;
use parking_lot::Mutex;

use super::Server;
use crate::clock::UnixMs;

/// What others may see of a connection.
#[derive(Debug)]
pub struct Client {
    /// Its number, which is never used again.
    pub id: u64,
    /// The other end: `127.0.0.1:50000`, or the unix socket's path and `:0`.
    pub address: String,
    /// Our end.
    pub local_address: String,
    /// The descriptor of its socket.
    pub fd: i64,
    /// Whether it came over a unix socket.
    pub unix: bool,
    /// When it connected.
    pub connected_at: UnixMs,
    /// CLIENT SETNAME.
    pub name: Mutex<Vec<u8>>,
    /// CLIENT SETINFO: library name and version.
    pub library: Mutex<(Vec<u8>, Vec<u8>)>,
    /// When it last sent a command, in milliseconds since the epoch.
    pub last_seen_ms: AtomicI64,
    /// The database it has selected.
    pub db: AtomicU8,
    /// 2 or 3.
    pub protocol: AtomicU8,
    /// The number of the command that ran last; see [`NO_COMMAND`].
    pub last_command: AtomicU16,
    /// Bytes received and not yet run.
    pub query_bytes: AtomicUsize,
    /// The allocation that these bytes lie in.
    pub query_capacity: AtomicUsize,
    /// Bytes of replies that are not sent yet.
    pub output_bytes: AtomicUsize,
    /// The allocation that these bytes lie in.
    pub output_capacity: AtomicUsize,
    /// The most bytes of replies that waited at once since the allocation last shrank.
    pub output_peak: AtomicUsize,
    /// Pieces that the replies lie in.
    pub output_pieces: AtomicUsize,
    /// Bytes received in all.
    pub total_input: AtomicU64,
    /// Bytes sent in all.
    pub total_output: AtomicU64,
    /// Commands sent in all, up to the last batch.
    pub total_commands: AtomicU64,
    /// Commands behind MULTI, -1 without one.
    pub queued_commands: AtomicI64,
    /// What they take in memory.
    pub queued_bytes: AtomicUsize,
    /// Keys that it watches.
    pub watched_keys: AtomicUsize,
    /// Names that it listens to, of each kind.
    pub subscriptions: [AtomicUsize; 3],
    /// CLIENT NO-EVICT.
    pub no_evict: AtomicBool,
    /// CLIENT NO-TOUCH.
    pub no_touch: AtomicBool,
    /// Whether it waits for keys, a time, the end of a pause or a delivery.
    pub blocked: AtomicBool,
    killed: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

/// Stands for a client that has sent no command yet.
pub const NO_COMMAND: u16 = u16::MAX;

impl Client {
    /// Whether it came over the unix socket or from this machine's loopback address.
    pub fn is_local(&self) -> bool {
        let host = self.address.rsplit_once(':').map_or("", |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        self.unix
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.to_canonical().is_loopback())
    }

    /// Whether it listens to anything.
    pub fn is_subscriber(&self) -> bool {
        let mut counts = self.subscriptions.iter();
        counts.any(|count| count.load(Ordering::Relaxed) > 0)
    }

    /// Closes the connection, as soon as its task runs.
    pub fn kill(&self) {
        self.killed.store(true, Ordering::Release);
        self.wake();
    }

    /// Has the connection's task look again at what has changed.
    pub fn wake(&self) {
        if let Some(waker) = self.waker.lock().take() {
            waker.wake();
        }
    }

    /// Whether the connection was told to close.
    #[inline]
    pub fn is_killed(&self) -> bool {
        self.killed.load(Ordering::Acquire)
    }

    /// Remembers how to wake the connection's task, which is about to wait.
    #[inline]
    pub fn set_waker(&self, waker: &Waker) {
        let mut slot = self.waker.lock();
        if !slot.as_ref().is_some_and(|old| old.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
    }
}

impl Server {
    /// Keeps `maxmemory-clients`: closes the clients for whom most is kept until the rest fits.
    pub fn keep_client_memory(&self) {
        let limit = self.engine.config.load().client_memory_limit();
        if limit == 0 {
            return;
        }
        let used = self.stats.sum(|stripe| &stripe.held_bytes);
        let used = used.max(0).cast_unsigned();
        if used > limit {
            self.close_largest_clients(used - limit);
        }
    }

    #[cold]
    fn close_largest_clients(&self, mut excess: u64) {
        let mut clients = self.clients.all();
        let bytes = |client: &Client| {
            client.query_bytes.load(Ordering::Relaxed)
                + client.queued_bytes.load(Ordering::Relaxed)
                + client.output_bytes.load(Ordering::Relaxed)
        };
        clients.retain(|client| !client.no_evict.load(Ordering::Relaxed));
        clients.sort_by_cached_key(|client| std::cmp::Reverse(bytes(client)));
        for client in clients {
            let held = bytes(&client) as u64;
            excess = excess.saturating_sub(held);
            if held == 0 {
                break;
            }
            if !client.is_killed() {
                tracing::warn!(
                    "Closing client {} to keep maxmemory-clients",
                    client.address
                );
                client.kill();
                self.stats.evicted_clients.fetch_add(1, Ordering::Relaxed);
            }
            if excess == 0 {
                break;
            }
        }
    }
}

/// Where a connection comes from.
#[derive(Debug)]
pub struct Origin {
    /// The other end.
    pub address: String,
    /// Our end.
    pub local_address: String,
    /// The descriptor of its socket.
    pub fd: i64,
    /// Whether it came over a unix socket.
    pub unix: bool,
}

/// All connections.
#[derive(Debug, Default)]
pub struct Clients {
    by_id: DashMap<u64, Arc<Client>>,
    last_id: AtomicU64,
}

impl Clients {
    /// Adds a connection.
    pub fn add(&self, origin: Origin, now: UnixMs) -> Arc<Client> {
        let client = Arc::new(Client {
            id: self.last_id.fetch_add(1, Ordering::Relaxed) + 1,
            address: origin.address,
            local_address: origin.local_address,
            fd: origin.fd,
            unix: origin.unix,
            connected_at: now,
            name: Mutex::default(),
            library: Mutex::default(),
            last_seen_ms: AtomicI64::new(now.0),
            db: AtomicU8::new(0),
            protocol: AtomicU8::new(2),
            last_command: AtomicU16::new(NO_COMMAND),
            query_bytes: AtomicUsize::new(0),
            query_capacity: AtomicUsize::new(0),
            output_bytes: AtomicUsize::new(0),
            output_capacity: AtomicUsize::new(0),
            output_peak: AtomicUsize::new(0),
            output_pieces: AtomicUsize::new(0),
            total_input: AtomicU64::new(0),
            total_output: AtomicU64::new(0),
            total_commands: AtomicU64::new(0),
            queued_commands: AtomicI64::new(-1),
            queued_bytes: AtomicUsize::new(0),
            subscriptions: Default::default(),
            watched_keys: AtomicUsize::new(0),
            no_evict: AtomicBool::new(false),
            no_touch: AtomicBool::new(false),
            blocked: AtomicBool::new(false),
            killed: AtomicBool::new(false),
            waker: Mutex::default(),
        });
        self.by_id.insert(client.id, Arc::clone(&client));
        client
    }

    /// Forgets a connection that has closed.
    pub fn remove(&self, id: u64) {
        self.by_id.remove(&id);
    }

    /// The number of connections.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is no connection.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// A connection by its number.
    pub fn by_id(&self, id: u64) -> Option<Arc<Client>> {
        self.by_id.get(&id).map(|client| Arc::clone(&client))
    }

    /// All connections in the order in which they came.
    pub fn all(&self) -> Vec<Arc<Client>> {
        let mut all: Vec<_> = self
            .by_id
            .iter()
            .map(|client| Arc::clone(&client))
            .collect();
        all.sort_unstable_by_key(|client| client.id);
        all
    }
}
