//! The maintenance thread: what must be done in time and that no request should wait for.
//!
//! It drops keys whose time came and that nobody reads, frees what FLUSHDB emptied, makes room when
//! a limit was lowered, and closes idle clients. It works in slices of about a millisecond and
//! sleeps between them, so that it takes a bounded share of one core however much there is to do.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Server;
use crate::clock::{self, UnixMs};
use crate::config::Config;
use crate::keyspace::eviction::EvictionPool;

/// The rhythm of the thread.
const TICK: Duration = Duration::from_millis(100);
/// Every so many ticks all shards are looked at for expired keys.
const EXPIRE_TICKS: u64 = 4;
/// Every so many ticks idle clients are looked for.
const CLIENT_TICKS: u64 = 10;
/// Work is done for so long, then the thread sleeps.
const SLICE: Duration = Duration::from_millis(1);
/// Sleep after a slice at the lowest effort: a share of a quarter. The highest effort has a share
/// of three quarters.
const REST: Duration = Duration::from_millis(3);

/// Starts the thread. It ends when the server is asked to stop.
pub fn start(server: Arc<Server>) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name("maintenance".into())
        .spawn(move || {
            let mut pool = EvictionPool::default();
            let mut tick = 0u64;
            let mut options = None;
            while !server.shutdown.is_asked() {
                std::thread::sleep(TICK);
                tick += 1;
                follow_options(&server, &mut options);
                run_tick(&server, tick, &mut pool);
            }
        })
}

/// Carries out what a change of options asks for and nobody else does.
fn follow_options(server: &Server, seen: &mut Option<u64>) {
    let generation = server.config.generation();
    if seen.replace(generation) != Some(generation)
        && let Some(log) = server.log.get()
    {
        log.set_level(server.config.load().loglevel);
    }
}

fn run_tick(server: &Server, tick: u64, pool: &mut EvictionPool) {
    server.sample(clock::now());
    let config = server.config.load();
    let mut pacer = Pacer::new(config.active_expire_effort);
    if tick.is_multiple_of(EXPIRE_TICKS) && server.active_expire.load(Ordering::Relaxed) {
        expire(server, clock::now(), &mut pacer);
        server
            .keyspace
            .expire_cold(clock::now(), server.maintenance_slot());
    }
    if server.keyspace.has_emptied() {
        server
            .keyspace
            .sweep_emptied(server.maintenance_slot(), || pacer.pause());
    }
    server.make_room(clock::now(), server.maintenance_slot(), pool);
    if tick.is_multiple_of(CLIENT_TICKS) {
        server.steer_memory(config.maxmemory);
        close_idle_clients(server, &config, clock::now());
    }
    close_large_clients(server, &config);
}

/// Looks at every shard once.
fn expire(server: &Server, now: UnixMs, pacer: &mut Pacer) {
    for shard in 0..server.keyspace.shard_count() {
        server
            .keyspace
            .expire_shard(shard, now, server.maintenance_slot());
        pacer.pause();
    }
}

/// Closes clients that sent nothing for `timeout`.
fn close_idle_clients(server: &Server, config: &Config, now: UnixMs) {
    let timeout_ms = i64::from(config.timeout_s) * 1000;
    if timeout_ms == 0 {
        return;
    }
    for client in server.clients.all() {
        let idle_ms = now.0 - client.last_seen_ms.load(Ordering::Relaxed);
        if idle_ms > timeout_ms && !client.blocked.load(Ordering::Relaxed) {
            tracing::debug!("Closing idle client {}", client.address);
            client.kill();
        }
    }
}

/// Keeps `maxmemory-clients`: closes the clients with the largest buffers until the rest fits.
fn close_large_clients(server: &Server, config: &Config) {
    let limit = config.client_memory_limit();
    let used = server
        .stats
        .sum(|stripe| &stripe.buffer_bytes)
        .max(0)
        .cast_unsigned();
    if limit == 0 || used <= limit {
        return;
    }
    let mut clients = server.clients.all();
    let bytes = |client: &super::clients::Client| {
        client.query_capacity.load(Ordering::Relaxed) + client.output_bytes.load(Ordering::Relaxed)
    };
    clients.retain(|client| !client.no_evict.load(Ordering::Relaxed));
    clients.sort_by_cached_key(|client| std::cmp::Reverse(bytes(client)));
    let mut excess = used - limit;
    for client in clients {
        tracing::warn!(
            "Closing client {} to keep maxmemory-clients",
            client.address
        );
        client.kill();
        server.stats.evicted_clients.fetch_add(1, Ordering::Relaxed);
        excess = excess.saturating_sub(bytes(&client) as u64);
        if excess == 0 {
            break;
        }
    }
}

/// Keeps the thread's share of a core.
struct Pacer {
    slice_started: Instant,
    rest: Duration,
}

impl Pacer {
    /// `effort` is 1 to 10.
    fn new(effort: u32) -> Self {
        let rest = REST
            .mul_f64(f64::from(11 - effort.clamp(1, 10)) / 10.0)
            .max(SLICE / 3);
        Self {
            slice_started: Instant::now(),
            rest,
        }
    }

    /// Called between pieces of work: sleeps when the slice is used up.
    fn pause(&mut self) {
        if self.slice_started.elapsed() >= SLICE {
            std::thread::sleep(self.rest);
            self.slice_started = Instant::now();
        }
    }
}
