//! The maintenance thread: what must be done in time and that no request should wait for.
//!
//! It drops keys whose time came and that nobody reads, frees what FLUSHDB emptied, makes room when
//! a limit was lowered, moves what is idle out of memory, brings keys into line with a new `tier-policy`, and closes idle
//! clients. It works in slices of about a millisecond and
//! sleeps between them, so that it takes a bounded share of one core however much there is to do.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Server, process};
use crate::clock::{self, UnixMs};
use crate::config::Config;
use crate::engine::easing::Eased;
use crate::keyspace::eviction::{EvictionPool, Limits, Unwritten};
use crate::threads::{self, Part};
use crate::value::recycled;

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
/// All shards are looked at for idle entries so often within `memory-ttl`, but not more often than this.
const IDLE_ROUNDS: i64 = 8;
const IDLE_ROUND_MS_MIN: i64 = 1000;

/// At most so many slices of room are made for a lowered limit before other work has its turn.
const EASE_SLICES: usize = 1000;

/// Starts the thread. It ends when the server is asked to stop.
pub fn start(server: Arc<Server>) -> io::Result<JoinHandle<()>> {
    threads::spawn("maintenance", Part::Maintenance, move || {
        let mut pool = EvictionPool::default();
        let mut tick = 0u64;
        let mut options = None;
        let mut walk = IdleWalk::default();
        while !server.shutdown.is_asked() {
            std::thread::sleep(TICK);
            tick += 1;
            follow_options(&server, &mut options);
            run_tick(&server, tick, &mut pool, &mut walk);
        }
    })
}

/// Carries out what a change of options asks for and nobody else does.
fn follow_options(server: &Server, seen: &mut Option<u64>) {
    let generation = server.engine.config.generation();
    if seen.replace(generation) == Some(generation) {
        return;
    }
    let config = server.engine.config.load();
    server.engine.steer_admission(&config);
    if let Some(log) = server.log.get() {
        log.set_level(config.loglevel);
    }
}

fn run_tick(server: &Server, tick: u64, pool: &mut EvictionPool, walk: &mut IdleWalk) {
    server.sample(clock::now());
    let config = server.engine.config.load();
    let mut pacer = Pacer::new(config.active_expire_effort);
    if tick.is_multiple_of(EXPIRE_TICKS) && server.active_expire.load(Ordering::Relaxed) {
        expire(server, clock::now(), &mut pacer);
        server
            .engine
            .keyspace
            .expire_cold(clock::now(), server.engine.maintenance_slot());
    }
    if server.engine.keyspace.has_emptied() {
        server
            .engine
            .keyspace
            .sweep_emptied(server.engine.maintenance_slot(), || _ = pacer.pause());
    }
    if server.engine.keyspace.has_new_policies() {
        server
            .engine
            .keyspace
            .apply_policies(server.engine.maintenance_slot(), || _ = pacer.pause());
    }
    demote_idle(server, &config, walk, &mut pacer);
    server
        .engine
        .make_room(clock::now(), server.engine.maintenance_slot(), pool);
    for _ in 0..EASE_SLICES {
        let engine = &server.engine;
        if engine.ease(clock::now(), engine.maintenance_slot(), pool) != Eased::Again {
            break;
        }
        pacer.pause();
    }
    server.waiters.rouse(server.engine.keyspace.queues());
    if tick.is_multiple_of(CLIENT_TICKS) {
        server
            .engine
            .steer_memory(config.maxmemory, process::resident_bytes());
        server.engine.steer_admission(&config);
        recycled::set_limit(config.maxmemory);
        if recycled::give_back_idle() {
            // The allocator looks at the clock only where somebody allocates.
            crate::allocator::purge();
        }
        close_idle_clients(server, &config, clock::now());
        wake_slow_clients(server, &config);
    }
    server.keep_client_memory();
}

/// Looks at every shard once.
fn expire(server: &Server, now: UnixMs, pacer: &mut Pacer) {
    let (keyspace, thread) = (&server.engine.keyspace, server.engine.maintenance_slot());
    let (started, rested) = (Instant::now(), pacer.rested);
    let mut found = 0;
    for shard in 0..keyspace.shard_count() {
        found += keyspace.expire_shard(shard, now, thread);
        if pacer.pause() {
            server.stats.expire_rests.fetch_add(1, Ordering::Relaxed);
        }
    }
    let worked = started.elapsed().saturating_sub(pacer.rested - rested);
    let nanos = u64::try_from(worked.as_nanos()).unwrap_or(u64::MAX);
    server
        .stats
        .expire_nanos
        .fetch_add(nanos, Ordering::Relaxed);
    let with_deadline = keyspace.all_counters().iter().flat_map(|c| &c.expiring);
    let left: i64 = with_deadline.map(|count| count.read()).sum();
    let left = usize::try_from(left).unwrap_or(0);
    server.stats.note_stale(found, left);
}

/// Keeps `memory-ttl`, for as many shards as it is time for.
fn demote_idle(server: &Server, config: &Config, walk: &mut IdleWalk, pacer: &mut Pacer) {
    let keyspace = &server.engine.keyspace;
    let now = clock::now();
    let due = walk.due(config.memory_ttl_s, now, keyspace.shard_count());
    let limits = Limits {
        unwritten: Unwritten::Stays,
        ..server.engine.limits(config, now)
    };
    for _ in 0..due {
        let shard = walk.next_shard(keyspace.shard_count());
        let thread = server.engine.maintenance_slot();
        keyspace.demote_idle(shard, config.memory_ttl_s, &limits, thread);
        pacer.pause();
    }
}

/// A walk over all shards, again and again, at a steady pace.
#[derive(Debug, Default)]
struct IdleWalk {
    shard: usize,
    /// When it was last asked what is due.
    asked: Option<UnixMs>,
    /// What was not enough for a shard then, in milliseconds times shards.
    rest: i64,
}

impl IdleWalk {
    /// How many shards are to be looked at now; never more than all of them.
    fn due(&mut self, memory_ttl_s: u32, now: UnixMs, shards: usize) -> usize {
        if memory_ttl_s == 0 {
            self.asked = None;
            return 0;
        }
        let round_ms = (i64::from(memory_ttl_s) * 1000 / IDLE_ROUNDS).max(IDLE_ROUND_MS_MIN);
        let asked = self.asked.replace(now).unwrap_or(now);
        // The clock may have been set.
        let elapsed_ms = (now.0 - asked.0).clamp(0, round_ms);
        self.rest += elapsed_ms * i64::try_from(shards).unwrap_or(1);
        let due = self.rest / round_ms;
        self.rest %= round_ms;
        usize::try_from(due).map_or(0, |due| due.min(shards))
    }

    fn next_shard(&mut self, shards: usize) -> usize {
        let shard = self.shard;
        self.shard = (shard + 1) % shards;
        shard
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
        if idle_ms > timeout_ms
            && !client.blocked.load(Ordering::Relaxed)
            && !client.is_subscriber()
        {
            tracing::debug!("Closing idle client {}", client.address);
            client.kill();
        }
    }
}

/// Has clients that read nothing look whether that has been too much for too long: nothing else wakes them.
fn wake_slow_clients(server: &Server, config: &Config) {
    let limits = config.client_output_buffer_limit;
    let soft = [limits.normal.soft_bytes, limits.pubsub.soft_bytes];
    let Some(soft) = soft.into_iter().filter(|&bytes| bytes > 0).min() else {
        return;
    };
    let held = server.stats.sum(|stripe| &stripe.held_bytes);
    if held.max(0).cast_unsigned() <= soft {
        return;
    }
    for client in server.clients.all() {
        if client.output_bytes.load(Ordering::Relaxed) as u64 > soft {
            client.wake();
        }
    }
}

/// Keeps the thread's share of a core.
struct Pacer {
    slice_started: Instant,
    rest: Duration,
    /// All rests together, as long as they were.
    rested: Duration,
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
            rested: Duration::ZERO,
        }
    }

    /// Called between pieces of work: sleeps when the slice is used up, and says whether it did.
    fn pause(&mut self) -> bool {
        let is_over = self.slice_started.elapsed() >= SLICE;
        if is_over {
            let rest_started = Instant::now();
            std::thread::sleep(self.rest);
            self.slice_started = Instant::now();
            self.rested += self.slice_started - rest_started;
        }
        is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Db;

    #[test]
    fn what_is_idle_is_evicted_where_nothing_is_below() {
        let mut db = Db::new();
        for i in 0..5_000 {
            db.run(&format!("SET cold:{i} v")).ok();
        }
        db.run("SET warm v").ok();
        db.advance(5_000);
        db.run("GET warm").bulk("v");
        assert_eq!(db.demote_idle(6), 0);
        db.advance(1_000);
        assert_eq!(db.demote_idle(6), 5_000);
        db.run("DBSIZE").int(1);
        db.run("GET warm").bulk("v");
        let info = db.run("INFO stats");
        let info = String::from_utf8_lossy(info.bytes()).into_owned();
        assert!(info.contains("evicted_keys:5000\r\n"), "{info}");
        // A walk whose time is older than the access.
        db.advance(-2_000);
        assert_eq!(db.demote_idle(1), 0);
    }

    #[test]
    fn what_is_idle_goes_below_when_it_was_written() {
        let mut db = Db::tiered(|_| {});
        db.run("SET a v").ok();
        db.run("SET b v").ok();
        db.advance(9_000);
        db.run("GET b").bulk("v");
        assert_eq!(db.demote_idle(9), 0);
        db.write();
        assert_eq!(db.demote_idle(9), 1);
        assert_eq!(db.engine().keyspace.entries(), 1);
        db.run("DBSIZE").int(2);
        db.run("GET a").bulk("v");
        assert_eq!(db.engine().keyspace.entries(), 2);
    }

    #[test]
    fn a_walk_keeps_its_pace() {
        const SHARDS: usize = 4096;
        let mut walk = IdleWalk::default();
        assert_eq!(walk.due(0, UnixMs(5), SHARDS), 0);
        assert_eq!(walk.due(80, UnixMs(5), SHARDS), 0);
        // A round takes 10 seconds, however often it is asked.
        let mut due = 0;
        for ms in (0..=10_000).step_by(7) {
            due += walk.due(80, UnixMs(5 + ms), SHARDS);
        }
        assert!((SHARDS - 5..=SHARDS + 5).contains(&due), "{due}");
        // At most one round a second, and one at a time.
        let mut walk = IdleWalk::default();
        walk.due(1, UnixMs(0), SHARDS);
        assert_eq!(walk.due(1, UnixMs(500), SHARDS), SHARDS / 2);
        assert_eq!(walk.due(1, UnixMs(5_000), SHARDS), SHARDS);
        assert_eq!(walk.due(1, UnixMs(4_000), SHARDS), 0);
        // A round of 90 days' limit takes days: shards come one at a time.
        let mut walk = IdleWalk::default();
        walk.due(7_776_000, UnixMs(0), SHARDS);
        let due: usize = (1..=600)
            .map(|s| walk.due(7_776_000, UnixMs(s * 1000), SHARDS))
            .sum();
        assert_eq!(due, 2);
        let mut shards = (0..SHARDS + 1).map(|_| walk.next_shard(SHARDS));
        assert_eq!((shards.next(), shards.last()), (Some(0), Some(0)));
    }
}
