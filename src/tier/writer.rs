//! The writer: takes what changed in memory, and makes it safe below.
//!
//! Changes are coalesced for each key: what is written is the state at the time of writing, so a
//! counter that is set a thousand times a second costs one record. They go as one sorted run into the
//! newest generation, whose end makes all of it durable and visible at once. So does a group in the log of
//! `tier-durability always`, until the next run has what is in it.
//!
//! A run, and a group of the log, is of one **moment**: it has what has changed up to then over all keys and databases, and what
//! the databases were called. So a crash leaves no exchange of databases without the keys that were in them, no half of an MSET
//! or RENAME. What has changed is copied while clients go on, what changes meanwhile is copied again, and the little that is left
//! is copied with all of them held at the gate. Rejected: to keep the old version of what changes before it is copied, which
//! every command would have to ask for; and a run of what is there when its turn comes, as it was, with half of an MSET in it.
//!
//! Memory is taken for a slice of changes at a time ([`Copies`]); a run is gathered in a [`Draft`]. A long value is read from the
//! keyspace and written part by part ([`ChunkWriter`]); if it changes meanwhile it is copied whole, once more, and written from
//! that copy.
//!
//! Invariant: an entry counts as safe only after its run has ended well; until then memory keeps it.
//! Where a run fails all of its entries wait again, and nothing else changes.
//! Invariant: no record counts without what its run tells of the databases: the names of spaces in records are no others than the
//! run tells, or than were in use before. So no name is given out twice.

mod counting;
mod failure;
mod memory;
mod moment;
mod records;
mod sink;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use self::memory::RunMemory;
use self::sink::{Sink, Taken};
use super::chunks::{self, ChunkWriter};
use super::compress::{Compressor, Method};
use super::draft::Draft;
use super::log::Log;
use super::pace::{Medium, Rhythm};
use super::reclaim::{Allowance, Leaving};
use super::record;
use super::snapshot::Copies;
use super::spaces::Spaces;
use super::store::{self, StoreError};
use super::warm::{self, Pins};
use super::{Tier, cache_share};
use crate::allocator;
use crate::clock;
use crate::config::TierCompression;
use crate::engine::Engine;
use crate::keyspace::ThreadSlot;
use crate::keyspace::residency::{Place, Versions};

pub(super) use self::counting::{count_keys, expiry, scan_to_count};
pub(super) use self::failure::disk_bytes;

/// Where all keys on disk were deleted its files go, if they have so much.
const UNWANTED_BYTES: u64 = if cfg!(test) { 64 << 10 } else { 1 << 20 };
/// After a failure the next try waits so long.
const RETRY: Duration = Duration::from_secs(1);
/// Ends of runs that take longer do so for what they have.
const LEAST_END_MAX: Duration = Duration::from_millis(500);

/// The writer's life.
pub(super) fn run(engine: &Engine) {
    let Some(tier) = &engine.tier else { return };
    let mut writer = Writer::new(engine, tier);
    let mut kept = Instant::now();
    let mut rhythm = Rhythm::new(kept);
    loop {
        let is_much = || engine.keyspace.unwritten_bytes() as u64 >= engine.pacing.run_bytes();
        let is_due = || rhythm.is_due(Instant::now()) || is_much();
        engine.steer_pacing();
        writer.keep_cache();
        writer.measure_memory(0);
        let Some((medium, stopped)) = tier.pace.begin(is_due) else {
            continue;
        };
        if stopped {
            writer.ends = true;
            engine.keyspace.follow_writes(true);
            engine.keyspace.prepare_end(writer.thread);
        }
        let mut is_healed = false;
        let is_run = medium == Medium::Run || tier.log.lock().is_broken();
        let written = if is_run {
            let began = Instant::now();
            let written = writer.write_changes();
            rhythm.note(began, began.elapsed());
            written
        } else {
            writer.log_changes()
        };
        tier.pace.end(written.is_ok());
        match &written {
            Err(error) => {
                is_healed = writer.recover(stopped);
                let unsaved = tier.unsaved();
                let gone = StoreError::Gone;
                let error = if tier.store.is_in_place() {
                    error
                } else {
                    &gone
                };
                tracing::error!(
                    "The disk tier could not be written, it is tried again; {unsaved} keys are not saved: {error}"
                );
            }
            Ok(()) if is_run && !stopped => {
                writer.keep_limit();
                tier.store.merge_what_is_read();
            }
            Ok(()) => {}
        }
        if stopped || kept.elapsed() >= warm::PERIOD {
            kept = Instant::now();
            let are_listed = writer.keep_lists();
            if stopped {
                writer.compressor.abandon_training();
                writer.close(written.is_ok(), are_listed);
                return;
            }
        }
        if written.is_err() && !is_healed {
            std::thread::sleep(RETRY);
        }
    }
}

/// Writes runs. One at a time exists.
pub(super) struct Writer<'a> {
    pub(super) engine: &'a Engine,
    pub(super) tier: &'a Tier,
    pub(super) thread: ThreadSlot,
    copies: Copies,
    chunks: ChunkWriter,
    versions: Versions,
    key: Vec<u8>,
    record: Vec<u8>,
    /// What is in the log and in no run.
    logged: Vec<Place>,
    compressor: Compressor,
    memory: RunMemory,
    /// When the cache was to get another size.
    cache_tried: Instant,
    pub(super) allowance: Allowance,
    /// The same of what memory holds.
    pub(super) memory_allowance: Allowance,
    pub(super) leaving: Option<Leaving>,
    /// What the last run tells of the databases.
    spaces: Spaces,
    /// How long the end of a run takes at least, however little it has: the least of the last ones.
    least_end: Duration,
    /// Whether something was written as it is now, and not as it was when it was copied.
    is_newer: bool,
    /// Whether the moment is over that is being written.
    is_past: bool,
    /// Where collections stand of which more must be copied than what has changed, at another moment.
    again: Vec<Place>,
    /// Whether there is a list of pinned keys.
    has_pins: bool,
    /// Whether the next run is the last one.
    ends: bool,
    /// Whether all that was on disk was removed, and no run has ended since.
    is_emptied: bool,
    /// When so many bytes have been written since the start it is looked again whether the disk has little that is wanted.
    pub(super) dense_until: u64,
}

impl<'a> Writer<'a> {
    pub(super) fn new(engine: &'a Engine, tier: &'a Tier) -> Self {
        Self {
            engine,
            tier,
            thread: engine.tier_slot(0),
            copies: Copies::default(),
            chunks: ChunkWriter::default(),
            versions: chunks::versions(),
            key: Vec::new(),
            record: Vec::new(),
            logged: Vec::new(),
            compressor: Compressor::new(Method::None, Arc::clone(&tier.dictionaries)),
            memory: RunMemory::new(Instant::now()),
            cache_tried: Instant::now(),
            allowance: Allowance::default(),
            memory_allowance: Allowance::default(),
            leaving: None,
            spaces: Spaces::newest(&tier.store, &tier.pending),
            least_end: LEAST_END_MAX,
            is_newer: false,
            is_past: false,
            again: Vec::new(),
            has_pins: warm::has_pins(&tier.dir),
            ends: false,
            is_emptied: false,
            dense_until: 0,
        }
    }

    /// Makes safe what has changed so far.
    pub(super) fn write_changes(&mut self) -> Result<(), StoreError> {
        let config = self.engine.config.load();
        let method = match config.tier_compression {
            TierCompression::Zstd => Method::Zstd,
            TierCompression::Lz4 => Method::Lz4,
            TierCompression::None => Method::None,
        };
        self.compressor.set_method(method);
        self.compressor.set_memory(config.maxmemory);
        self.compressor.let_due_training_begin();
        // Where clients, or who waits for the end, wait for the writer what is faster helps them more than what takes less room.
        let pacing = &self.engine.pacing;
        let ends = self.ends && pacing.takes_long(self.engine.keyspace.unwritten_bytes() as u64);
        let hurries = ends || pacing.writer_hurries();
        self.compressor.set_hurried(hurries);
        let began = Instant::now();
        self.tier.progress.reset();
        self.keep_what_was_loaded();
        let mut taken = self.take_changed();
        taken.places.append(&mut self.logged);
        let restored = {
            let mut disk = self.tier.disk.lock();
            let disk = disk.as_mut().ok_or(StoreError::Closed);
            disk.and_then(|disk| self.tier.restore_pending(disk))
        };
        let written = restored.and_then(|()| self.write_run(&mut taken));
        let written = written.and_then(|ended| {
            let mut log = self.tier.log.lock();
            let cleared = log.clear(self.spaces.moment);
            cleared.map(|()| ended).map_err(StoreError::File)
        });
        let keyspace = &self.engine.keyspace;
        let places = taken.sorted();
        match written {
            Ok(ended) => {
                let bytes = keyspace.writing_bytes() as u64;
                let unsafe_bytes = keyspace.unwritten_bytes() as u64;
                self.tier.loads.run_written();
                keyspace.settle(&places, self.thread);
                if !ended.is_zero() {
                    let end = self.least_end.saturating_mul(11) / 10;
                    self.least_end = end.min(LEAST_END_MAX).min(ended);
                }
                let time = began.elapsed().saturating_sub(self.least_end);
                pacing.wrote(bytes, time, unsafe_bytes);
                self.tier.log_bytes.store(0, Ordering::Relaxed);
                *self.tier.classes.lock() = self.compressor.stats();
                *self.tier.last_write.lock() = Some(clock::now());
                self.tier.unsaved.store(0, Ordering::Relaxed);
            }
            Err(_) => keyspace.unsettle(&places, self.thread),
        }
        self.measure_memory(0);
        allocator::purge_of_thread();
        written.map(|_| ())
    }

    /// Makes durable what has changed so far, for replies that wait for it. Memory keeps it until the next run.
    fn log_changes(&mut self) -> Result<(), StoreError> {
        let keyspace = &self.engine.keyspace;
        let mut taken = self.take_changed();
        let mut log = self.tier.log.lock();
        let before = log.bytes();
        let logged = self.write_log(&mut taken, &mut log);
        if logged.is_err() {
            log.roll_back();
        }
        let more = log.bytes().saturating_sub(before);
        self.tier.logged_bytes.fetch_add(more, Ordering::Relaxed);
        self.tier.log_bytes.store(log.bytes(), Ordering::Relaxed);
        match logged {
            Ok(()) => self.logged.append(&mut taken.places),
            Err(_) => keyspace.unsettle(&taken.sorted(), self.thread),
        }
        logged
    }

    fn write_log(&mut self, taken: &mut Taken, log: &mut Log) -> Result<(), StoreError> {
        let mut spaces = self.write_moment(taken, &mut Sink::Log(log))?;
        spaces.moment = self.spaces.moment;
        let key = record::spaces_key(self.tier.store.hash_seed());
        log.append(&key, &spaces.encode())
            .and_then(|()| log.commit())
            .map_err(StoreError::File)
    }

    fn take_changed(&self) -> Taken {
        let keyspace = &self.engine.keyspace;
        // Asked first: it is of these places, or of more.
        let bytes = keyspace.queued_bytes();
        Taken {
            places: keyspace.take_changed(),
            bytes,
        }
    }

    /// Counts what the blocks that were read take, and follows `maxmemory` with what they may take: smaller at once, larger
    /// where that is worth it.
    fn keep_cache(&mut self) {
        let wanted = cache_share(self.engine.config.load().maxmemory);
        let may_take = self.tier.store.cache_bytes();
        if (wanted < may_take || wanted / 2 > may_take) && self.cache_tried.elapsed() >= RETRY {
            self.cache_tried = Instant::now();
            let mut disk = self.tier.disk.lock();
            match disk.as_mut().map(|disk| disk.set_cache(wanted)) {
                Some(Err(error)) => {
                    tracing::warn!("The cache of the disk tier keeps its size: {error}");
                }
                Some(Ok(true)) => {
                    tracing::debug!(wanted, "the cache of the disk tier has another size")
                }
                // Somebody reads.
                Some(Ok(false)) | None => {}
            }
        }
        self.tier.measure_cache();
    }

    /// What the databases are called at this moment.
    fn spaces_now(&self) -> Spaces {
        let (names, next_name) = self.engine.keyspace.space_names();
        Spaces {
            moment: self.spaces.moment + 1,
            next_name,
            names,
            keys: None,
        }
    }

    /// Keeps with the store what the last run tells of the databases: where its generation goes without a newer run nothing else
    /// tells it.
    fn keep_spaces(&mut self) {
        let kept = Spaces::decode(&self.tier.store.blob());
        if kept.is_some_and(|kept| kept.names == self.spaces.names) {
            return;
        }
        if let Err(error) = self.tier.store.set_blob(self.spaces.encode()) {
            tracing::warn!("What the databases are called is in the last run only: {error}");
        }
    }

    /// Before a record says that a key is pinned, the next start must know that there are such keys.
    fn begin_pins(&mut self) -> Result<(), StoreError> {
        if !self.has_pins {
            warm::begin_pins(&self.tier.dir).map_err(StoreError::File)?;
            self.has_pins = true;
        }
        Ok(())
    }

    /// Writes the lists for a warm start. Whether all pinned keys are in them.
    fn keep_lists(&mut self) -> bool {
        match warm::keep(self.tier, &self.engine.keyspace, self.thread) {
            Ok(pins) => {
                self.has_pins = pins != Pins::None;
                pins != Pins::Some
            }
            Err(error) => {
                tracing::warn!("The lists of keys for a warm start were not written: {error}");
                false
            }
        }
    }

    /// Gives how long the end took, in which the disk takes what was written.
    fn write_run(&mut self, taken: &mut Taken) -> Result<Duration, StoreError> {
        let tier = self.tier;
        let is_fresh = self.is_unwanted() && generation_bytes(tier) > UNWANTED_BYTES;
        let is_same = self.spaces.names == self.spaces_now().names;
        if taken.places.is_empty() && is_same && !is_fresh {
            return Ok(Duration::ZERO);
        }
        let mut disk = tier.disk.lock();
        let disk = disk.as_mut().ok_or(StoreError::Closed)?;
        let mut run = match is_fresh {
            true => disk.begin_fresh_run()?,
            false => disk.begin_run()?,
        };
        let generation = run.generation();
        let mut draft = Draft::new(&tier.dir, run.generation());
        let began = Instant::now();
        let spaces = self.write_moment(taken, &mut Sink::Run(&mut draft))?;
        let gathered = began.elapsed();
        let key = record::spaces_key(tier.store.hash_seed());
        draft.put(tier.store.hash_of(&key), &key, &spaces.encode())?;
        draft.write(&mut run, &tier.store, &spaces.names, &tier.progress)?;
        let written = began.elapsed();
        run.finish()?;
        let ended = began.elapsed() - written;
        tracing::debug!(
            bytes = self.engine.keyspace.writing_bytes(),
            places = taken.places.len(),
            gather_ms = gathered.as_millis(),
            write_ms = (written - gathered).as_millis(),
            finish_ms = ended.as_millis(),
            "a run was written"
        );
        self.spaces = spaces;
        self.is_emptied = false;
        self.keep_spaces();
        if is_fresh {
            self.leaving = None;
            drop_before(disk, generation)?;
        }
        Ok(ended)
    }

    /// The end: the counts that the next start need not make again.
    fn close(&mut self, all_written: bool, are_listed: bool) {
        let keyspace = &self.engine.keyspace;
        // If they are not known the next start counts, and finds the pinned keys too.
        let known = all_written && are_listed && self.tier.is_counted.load(Ordering::Acquire);
        // Nor if a client that did not leave in time has changed something since the last run.
        let _alone = keyspace.gate().close();
        let is_last = keyspace.queued_bytes() == 0 && self.spaces.names == self.spaces_now().names;
        let known = known && is_last;
        let keys = known.then(|| keyspace.cold_counts());
        self.spaces.keys = keys;
        let closed = self
            .tier
            .store
            .set_blob(self.spaces.encode())
            .and_then(|()| match self.tier.disk.lock().take() {
                Some(disk) if all_written => {
                    let closed = disk.close();
                    self.tier.is_closed.store(closed.is_ok(), Ordering::Release);
                    closed
                }
                _ => Ok(()),
            });
        if let Err(error) = closed {
            tracing::error!("The disk tier was not closed cleanly: {error}");
        }
    }
}

/// What the generations take on disk.
pub(super) fn generation_bytes(tier: &Tier) -> u64 {
    tier.store.generations().iter().map(|g| g.disk_bytes).sum()
}

/// Drops all older generations than this one, whose keys nobody wants.
fn drop_before(disk: &mut store::Writer, generation: u64) -> Result<(), StoreError> {
    while let Some(part) = disk.next_part(None)? {
        if part.generation() >= generation {
            break;
        }
        let end = part.end().of_all();
        drop(part);
        let freed = disk.let_go(end)?;
        tracing::info!("All keys on disk were deleted: {freed} bytes of it come free");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
