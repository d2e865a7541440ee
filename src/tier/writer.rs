//! The writer: takes what changed in memory, and makes it safe below.
//!
//! Changes are coalesced for each key: what is written is the state at the time of writing, so a
//! counter that is set a thousand times a second costs one record. They go as one sorted run into the
//! newest generation, whose end makes all of it durable and visible at once.
//!
//! Invariant: an entry counts as safe only after its run has ended well; until then memory keeps it.
//! Where a run fails all of its entries wait again, and nothing else changes.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::compress::{Compressor, Effort, Method, encode_raw};
use super::log::Log;
use super::record::{self, Head};
use super::store::{self, Recovery, Run, StoreError};
use super::{Spaces, Tier, TierError, warm};
use crate::clock::{self, UnixMs};
use crate::config::TierCompression;
use crate::keyspace::below::{KEY_BYTES_MAX, Lost, Picked, Place};
use crate::keyspace::cold::ColdCounts;
use crate::keyspace::{DATABASES, KeyHash, ThreadSlot};
use crate::server::Server;

/// Changes are written after this time at the latest.
const PERIOD: Duration = Duration::from_secs(1);
/// And as soon as they take so many bytes.
const RUN_BYTES: usize = 32 * 1024 * 1024;
/// How often the writer looks for that.
const LOOK: Duration = Duration::from_millis(20);
/// A store that the disk was too full for is opened anew when there is so much room.
const FREE_BYTES_MIN: u64 = 64 * 1024 * 1024;
/// After a failure the next try waits so long.
const RETRY: Duration = Duration::from_secs(1);

/// When runs are written, and who waits for them.
#[derive(Debug, Default)]
pub(super) struct Pace {
    state: Mutex<State>,
    changed: Condvar,
    /// The last run failed.
    failing: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// Rounds that began, and that ended well. A round makes all changes before it durable, in a run or in the log.
    begun: u64,
    done: u64,
    /// What somebody waits for.
    asked: Option<Round>,
    /// Those who want to be told of the end of a round, and of which.
    waiting: Vec<(u64, oneshot::Sender<()>)>,
    stopped: bool,
}

/// How changes are made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Round {
    /// In the log: soon, and memory must keep them.
    Log,
    /// In a run: they may leave memory.
    Run,
}

impl Pace {
    /// Writes all that is left, and no more after that.
    pub(super) fn stop(&self) {
        self.state.lock().stopped = true;
        self.changed.notify_all();
    }

    /// Asks for a run at once.
    pub(super) fn ask(&self) {
        self.state.lock().asked = Some(Round::Run);
        self.changed.notify_all();
    }

    /// Has somebody told when all that had changed before the call is durable.
    pub(super) fn tell(&self, round: Round, done: oneshot::Sender<()>) {
        let mut state = self.state.lock();
        let wanted = state.begun + 1;
        state.asked = state.asked.max(Some(round));
        state.waiting.push((wanted, done));
        self.changed.notify_all();
    }

    pub(super) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// Waits for the next round, but not for long: `due` says whether it is time for a run. True after the stop.
    fn begin(&self, due: impl Fn() -> bool) -> Option<(Round, bool)> {
        let mut state = self.state.lock();
        if state.asked.is_none() && !state.stopped {
            self.changed.wait_for(&mut state, LOOK);
        }
        let must_run = state.stopped || due();
        let round = state.asked.max(must_run.then_some(Round::Run))?;
        state.asked = None;
        state.begun += 1;
        Some((round, state.stopped))
    }

    fn end(&self, well: bool) {
        let mut state = self.state.lock();
        self.failing.store(!well, Ordering::Relaxed);
        if !well {
            state.begun -= 1;
            // A dropped sender says that it failed.
            state.waiting.clear();
            return;
        }
        state.done += 1;
        let done = state.done;
        for (_, waiter) in state.waiting.extract_if(.., |(wanted, _)| *wanted <= done) {
            // One that has gone does not wait any more.
            let _ = waiter.send(());
        }
        self.changed.notify_all();
    }

    /// Waits until all that had changed before the call is safe.
    pub(super) fn wait(&self) -> bool {
        let mut state = self.state.lock();
        // A run under way may have passed the change by.
        let wanted = state.begun + 1;
        state.asked = Some(Round::Run);
        self.changed.notify_all();
        while state.done < wanted && !state.stopped {
            self.changed.wait(&mut state);
        }
        state.done >= wanted
    }
}

impl Tier {
    /// Waits until all that had changed before the call is safe below.
    pub fn sync(&self) -> bool {
        self.pace.wait()
    }

    /// Asks for what waits to be written to be written now.
    pub fn hurry(&self) {
        self.pace.ask();
    }
}

/// The writer's life.
pub(super) fn run(server: &Server) {
    let Some(tier) = &server.tier else { return };
    let mut writer = Writer::new(server, tier);
    let mut last = Instant::now();
    let mut kept = last;
    loop {
        let is_due = || last.elapsed() >= PERIOD || server.keyspace.unwritten_bytes() >= RUN_BYTES;
        let Some((round, stopped)) = tier.pace.begin(is_due) else {
            continue;
        };
        if stopped {
            server.keyspace.prepare_end(writer.thread);
        }
        let written = if round == Round::Log && !tier.log.lock().is_broken() {
            writer.log_changes()
        } else {
            last = Instant::now();
            writer.write_changes()
        };
        tier.pace.end(written.is_ok());
        match &written {
            Err(error) => {
                tracing::error!("The disk tier could not be written, it is tried again: {error}");
                writer.revive();
            }
            Ok(()) => {
                if let Err(error) = writer.keep_limit() {
                    tracing::error!("The disk tier could not keep its limit: {error}");
                }
            }
        }
        if stopped || kept.elapsed() >= warm::PERIOD {
            kept = Instant::now();
            if let Err(error) = warm::keep(&tier.dir, &server.keyspace, writer.thread) {
                tracing::warn!("The list of keys for a warm start was not written: {error}");
            }
        }
        if stopped {
            writer.close(written.is_ok());
            return;
        }
        if written.is_err() {
            std::thread::sleep(RETRY);
        }
    }
}

/// Writes runs. One at a time exists.
pub(super) struct Writer<'a> {
    server: &'a Server,
    tier: &'a Tier,
    thread: ThreadSlot,
    entries: Vec<Copied>,
    /// Keys and values of `entries`.
    bytes: Vec<u8>,
    key: Vec<u8>,
    record: Vec<u8>,
    /// What is in the log and in no run.
    logged: Vec<Place>,
    compressor: Compressor,
    spaces: Spaces,
}

/// An entry that was copied out of the keyspace.
struct Copied {
    place: Place,
    hash: KeyHash,
    name: u32,
    key: std::ops::Range<usize>,
    value: Option<(u8, std::ops::Range<usize>, Option<UnixMs>)>,
    /// Nobody has looked for an older version.
    unsure: bool,
}

impl<'a> Writer<'a> {
    pub(super) fn new(server: &'a Server, tier: &'a Tier) -> Self {
        Self {
            server,
            tier,
            thread: server.tier_slot(0),
            entries: Vec::new(),
            bytes: Vec::new(),
            key: Vec::new(),
            record: Vec::new(),
            logged: Vec::new(),
            compressor: Compressor::new(Method::None, Arc::clone(&tier.dictionaries)),
            spaces: Spaces::decode(&tier.store.blob()).unwrap_or_default(),
        }
    }

    /// Makes safe what has changed so far.
    pub(super) fn write_changes(&mut self) -> Result<(), StoreError> {
        let keyspace = &self.server.keyspace;
        let method = match self.server.config.load().tier_compression {
            TierCompression::Zstd => Method::Zstd,
            TierCompression::Lz4 => Method::Lz4,
            TierCompression::None => Method::None,
        };
        self.compressor.set_method(method);
        let mut places = keyspace.take_changed();
        if !self.logged.is_empty() {
            places.append(&mut self.logged);
            places.sort_unstable();
            places.dedup();
        }
        let written = self
            .save_spaces(None)
            .and_then(|()| self.write_run(&places))
            .and_then(|()| self.tier.log.lock().clear().map_err(StoreError::File));
        match written {
            Ok(()) => {
                keyspace.settle(&places, self.thread);
                *self.tier.classes.lock() = self.compressor.stats();
                *self.tier.last_write.lock() = Some(clock::now());
                self.tier.measure_memory();
            }
            Err(_) => keyspace.unsettle(&places, self.thread),
        }
        written
    }

    /// Makes durable what has changed so far, for replies that wait for it. Memory keeps it until the next run.
    fn log_changes(&mut self) -> Result<(), StoreError> {
        let keyspace = &self.server.keyspace;
        let places = keyspace.take_changed();
        let logged = self.save_spaces(None).and_then(|()| {
            let mut log = self.tier.log.lock();
            let logged = self.write_log(&places, &mut log);
            if logged.is_err() {
                log.roll_back();
            }
            logged.map_err(StoreError::File)
        });
        match logged {
            Ok(()) => self.logged.extend(places),
            Err(_) => keyspace.unsettle(&places, self.thread),
        }
        logged
    }

    fn write_log(&mut self, places: &[Place], log: &mut Log) -> std::io::Result<()> {
        for shard in places.chunk_by(|a, b| a.shard() == b.shard()) {
            self.copy(shard);
            for entry in &self.entries {
                let key = &self.bytes[entry.key.clone()];
                if key.len() > KEY_BYTES_MAX {
                    continue;
                }
                self.key.clear();
                record::encode_key(entry.place, entry.name, key, &mut self.key);
                self.record.clear();
                if let Some((form, value, expires_at)) = &entry.value {
                    let (form, expires_at) = (*form, *expires_at);
                    record::encode_head(Head { form, expires_at }, &mut self.record);
                    encode_raw(&self.bytes[value.clone()], &mut self.record);
                }
                log.append(&self.key, &self.record)?;
            }
        }
        log.commit()
    }

    /// Keeps the limit of the disk: the oldest generation goes as a whole, and what memory holds of it is
    /// written again first. Before that it is out of sight: a key that were loaded from it while its keys
    /// are let go would be neither gone nor safe.
    pub(super) fn keep_limit(&mut self) -> Result<(), TierError> {
        loop {
            let mut guard = self.tier.disk.lock();
            let disk = guard.as_mut().ok_or(StoreError::Closed)?;
            // One whose end failed is still to go.
            let walk = if disk.is_retiring() {
                None
            } else if self.tier.store.is_full() {
                disk.retire_oldest()?
            } else {
                return Ok(());
            };
            drop(guard);
            self.finish_generation(walk)?;
        }
    }

    fn finish_generation(&mut self, walk: Option<store::Walk>) -> Result<(), TierError> {
        let mut lost = 0u64;
        for found in walk.into_iter().flatten() {
            match found
                .map_err(TierError::from)
                .and_then(|found| self.lose(&found))
            {
                Ok(gone) => lost += u64::from(gone),
                Err(error) => {
                    tracing::error!("A generation goes whose keys cannot be read: {error}");
                    self.server.keyspace.doubt_copies(self.thread);
                    break;
                }
            }
        }
        let evicted = &self.server.keyspace.counters(self.thread).evicted;
        evicted.add(lost.cast_signed());
        self.write_changes()?;
        let mut disk = self.tier.disk.lock();
        let freed = disk.as_mut().ok_or(StoreError::Closed)?.drop_retired()?;
        tracing::debug!("The oldest generation of the disk tier went: {lost} keys, {freed} bytes");
        Ok(())
    }

    /// Lets go of an entry of the oldest generation. True where a key goes with it.
    fn lose(&self, found: &store::Entry) -> Result<bool, TierError> {
        if found.is_marker() {
            return Ok(false);
        }
        let (store, keyspace) = (&self.tier.store, &self.server.keyspace);
        let hash = store.hash_of(&found.key);
        if store.has_version(hash, &found.key)? {
            return Ok(false);
        }
        let Some((name, key)) = record::decode_key(&found.key) else {
            return Ok(false);
        };
        let lost = keyspace.lose_copy(KeyHash::of_value(hash), name, key, self.thread);
        if lost != Lost::Copy {
            let expires_at = found.record()?.and_then(|record| expiry(&record));
            keyspace.lost_below(name, expires_at);
        }
        Ok(lost == Lost::Key)
    }

    /// After the disk was full the store takes no more until it is opened anew, which helps only when
    /// there is room again.
    fn revive(&self) {
        let tier = self.tier;
        if !tier.store.is_poisoned() || free_bytes(&tier.dir) < FREE_BYTES_MIN {
            return;
        }
        let mut disk = tier.disk.lock();
        let quarantined = tier.store.stats().quarantined;
        match disk.as_mut().map(store::Writer::reopen) {
            Some(Ok(recovery)) => {
                tracing::warn!("There is room on the disk again, the disk tier goes on");
                let all_gone = matches!(recovery, Recovery::PutAside(_));
                if all_gone || tier.store.stats().quarantined > quarantined {
                    self.server.keyspace.doubt_copies(self.thread);
                }
            }
            Some(Err(error)) => tracing::error!("The disk tier could not be opened anew: {error}"),
            None => {}
        }
    }

    /// Before records under a new name are written the name must be known.
    fn save_spaces(&mut self, keys: Option<Vec<ColdCounts>>) -> Result<(), StoreError> {
        let (names, next_name) = self.server.keyspace.space_names();
        let spaces = Spaces {
            next_name,
            names,
            keys,
        };
        if spaces != self.spaces {
            self.tier.store.set_blob(spaces.encode())?;
            self.spaces = spaces;
        }
        Ok(())
    }

    fn write_run(&mut self, places: &[Place]) -> Result<(), StoreError> {
        if places.is_empty() {
            return Ok(());
        }
        let mut disk = self.tier.disk.lock();
        let mut run = disk.as_mut().ok_or(StoreError::Closed)?.begin_run()?;
        for shard in places.chunk_by(|a, b| a.shard() == b.shard()) {
            self.copy(shard);
            for index in 0..self.entries.len() {
                self.write_entry(index, &mut run)?;
            }
        }
        run.finish()?;
        Ok(())
    }

    fn copy(&mut self, places: &[Place]) {
        let keyspace = &self.server.keyspace;
        self.entries.clear();
        self.bytes.clear();
        let (entries, bytes) = (&mut self.entries, &mut self.bytes);
        keyspace.pick(places, self.thread, |picked| {
            let Picked {
                place,
                hash,
                name,
                key,
                value,
                unsure,
            } = picked;
            let mut put = |part: &[u8]| {
                let start = bytes.len();
                bytes.extend_from_slice(part);
                start..bytes.len()
            };
            entries.push(Copied {
                place,
                hash,
                name,
                key: put(key),
                value: value.map(|stored| (stored.form, put(stored.bytes), stored.expires_at)),
                unsure,
            });
        });
        let bytes = &self.bytes;
        entries.sort_unstable_by(|a, b| {
            let order = |c: &Copied| (c.place, c.name);
            order(a)
                .cmp(&order(b))
                .then_with(|| bytes[a.key.clone()].cmp(&bytes[b.key.clone()]))
        });
    }

    fn write_entry(&mut self, index: usize, run: &mut Run<'_>) -> Result<(), StoreError> {
        let entry = &self.entries[index];
        let key = &self.bytes[entry.key.clone()];
        if key.len() > KEY_BYTES_MAX {
            return Ok(());
        }
        self.key.clear();
        record::encode_key(entry.place, entry.name, key, &mut self.key);
        let hash = entry.hash.value();
        if entry.unsure {
            let older = self.tier.shadowed(hash, &self.key)?;
            let key = (entry.hash, entry.name, key);
            let keyspace = &self.server.keyspace;
            keyspace.writer_looked_for(key, older, self.thread);
        }
        match &entry.value {
            Some((form, value, expires_at)) => {
                self.record.clear();
                let head = Head {
                    form: *form,
                    expires_at: *expires_at,
                };
                record::encode_head(head, &mut self.record);
                let value = &self.bytes[value.clone()];
                self.compressor
                    .encode(Effort::Fast, key, value, &mut self.record);
                run.write(hash, &self.key, &self.record)
            }
            None if self.tier.store.may_hold(hash) => run.mark(hash, &self.key),
            None => Ok(()),
        }
    }

    /// The end: the counts that the next start need not make again.
    fn close(&mut self, all_written: bool) {
        let keyspace = &self.server.keyspace;
        // If they are not known the next start counts.
        let known = all_written && self.tier.is_counted.load(Ordering::Acquire);
        let keys = known.then(|| (0..DATABASES).map(|db| keyspace.cold_counts(db)).collect());
        let closed = self
            .save_spaces(keys)
            .and_then(|()| match self.tier.disk.lock().take() {
                Some(disk) if all_written => disk.close(),
                _ => Ok(()),
            });
        if let Err(error) = closed {
            tracing::error!("The disk tier was not closed cleanly: {error}");
        }
    }
}

/// What the file system of a directory has left; nothing where it does not say.
fn free_bytes(dir: &Path) -> u64 {
    rustix::fs::statvfs(dir).map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize))
}

pub(super) fn expiry(record: &[u8]) -> Option<UnixMs> {
    record::decode(record).and_then(|(head, _)| head.expires_at)
}

/// The walk of [`count_keys`], if it can begin.
pub(super) fn scan_to_count(scan: Result<store::Scan, StoreError>) -> Option<store::Scan> {
    scan.inspect_err(|error| tracing::error!("The keys on disk could not be counted: {error}"))
        .ok()
}

/// Counts the keys of each database on disk, after a crash. Keys that come and go meanwhile are counted
/// where that happens.
pub(super) fn count_keys(server: &Server, scan: store::Scan) {
    let Some(tier) = &server.tier else { return };
    let (names, _) = server.keyspace.space_names();
    for found in scan {
        if tier.is_stopping.load(Ordering::Relaxed) {
            return;
        }
        let counted = found.map(|found| {
            let name = record::decode_key(&found.key).map(|(name, _)| name);
            if let Some(name) = name.filter(|name| names.contains(name)) {
                // A record that cannot be read is a key all the same.
                let record = found.record().unwrap_or_default();
                let expires_at = record.and_then(|record| expiry(&record));
                server.keyspace.found_below(name, expires_at);
            }
        });
        if let Err(error) = counted {
            tracing::error!("The keys on disk could not be counted: {error}");
            return;
        }
    }
    tier.is_counted.store(true, Ordering::Release);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Db;

    fn cold_keys() -> Db {
        let mut db = Db::tiered(|_| {});
        for i in 0..10 {
            db.run(&format!("SET key{i} old")).ok();
        }
        db.write();
        db.demote_all();
        db
    }

    fn tier(server: &Server) -> &Tier {
        server.tier.as_ref().expect("there is a tier")
    }

    /// Its copy cannot be found any more, and is counted until the writer comes to it.
    #[test]
    fn a_key_that_is_set_while_its_generation_goes_is_counted_once() {
        let mut db = cold_keys();
        let retired = {
            let mut disk = tier(db.server()).disk.lock();
            let disk = disk.as_mut().expect("the tier is open");
            disk.retire_oldest().expect("the disk is well")
        };
        for i in 0..3 {
            db.run(&format!("SET key{i} new")).ok();
        }
        // Until then.
        db.run("DBSIZE").int(13);
        let server = db.server();
        let mut writer = Writer::new(server, tier(server));
        writer.finish_generation(retired).expect("the disk is well");
        db.run("DBSIZE").int(3);
        db.run("GET key2").bulk("new");
        db.run("GET key3").nil();
    }

    #[test]
    fn dbsize_answers_while_the_disk_cannot_be_read() {
        let mut db = cold_keys();
        let disk = tier(db.server()).disk.lock().take();
        disk.expect("the tier is open")
            .close()
            .expect("the disk is well");
        db.run("SET key0 new").ok();
        // Nobody knows that this is one of the ten.
        db.run("DBSIZE").int(11);
    }
}
