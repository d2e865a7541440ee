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

use std::cell::RefCell;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::chunks::{self, ChunkWriter, LONG_BYTES};
use super::compress::{Compressor, Method, encode_raw};
use super::draft::Draft;
use super::log::Log;
use super::marks::Marks;
use super::pace::Round;
use super::reclaim::{Allowance, Leaving};
use super::record::{self, Body, Chunks};
use super::snapshot::{Copies, Value};
use super::store::{self, Recovery, Slice, Store, StoreError};
use super::warm::{self, ColdPins, Pins};
use super::{Spaces, Tier, cache_share};
use crate::clock::{self, UnixMs};
use crate::config::{TierCompression, TierDurability};
use crate::engine::Engine;
use crate::keyspace::residency::{Place, Versions};
use crate::keyspace::{DATABASES, ThreadSlot};
use crate::logging::Repeated;

/// Changes begin to be written after this time at the latest, so that they are safe within a second.
const PERIOD: Duration = Duration::from_millis(700);
/// And as soon as they take so many bytes.
const RUN_BYTES: usize = 32 * 1024 * 1024;
/// A store that the disk was too full for is opened anew when there is so much room.
const FREE_BYTES_MIN: u64 = 64 * 1024 * 1024;
/// Or this part of a small file system.
const FREE_PART: u64 = 8;
/// What has changed of a collection may take this part of it on disk: then all of it is written again.
const CHANGES_PART: u64 = 2;
/// So much is copied with the gate closed, in about a quarter of a millisecond.
const ALONE_PLACES: usize = 512;
const ALONE_BYTES: usize = 512 * 1024;
/// So often what has changed meanwhile is copied again before the gate is closed whatever there is. Each round takes a few
/// hundredths of the time that the one before took.
const LATE_ROUNDS: usize = 4;
/// So many moments may pass before they are written.
const ATTEMPTS: usize = 3;
/// Where all keys on disk were deleted its files go, if they have so much.
const UNWANTED_BYTES: u64 = if cfg!(test) { 64 << 10 } else { 1 << 20 };
/// After a failure the next try waits so long.
const RETRY: Duration = Duration::from_secs(1);

static CHANGES_NOT_READ: Repeated = Repeated::new("Changes of a collection could not be read");

/// The writer's life.
pub(super) fn run(engine: &Engine) {
    let Some(tier) = &engine.tier else { return };
    let mut writer = Writer::new(engine, tier);
    let mut last = Instant::now();
    let mut kept = last;
    loop {
        let is_due = || last.elapsed() >= PERIOD || engine.keyspace.unwritten_bytes() >= RUN_BYTES;
        writer.keep_cache();
        let Some((round, stopped)) = tier.pace.begin(is_due) else {
            continue;
        };
        if stopped {
            engine.keyspace.prepare_end(writer.thread);
        }
        let mut is_healed = false;
        let is_run = round == Round::Run || tier.log.lock().is_broken();
        let written = if is_run {
            last = Instant::now();
            writer.write_changes()
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
    /// When the cache was to get another size.
    cache_tried: Instant,
    pub(super) allowance: Allowance,
    pub(super) leaving: Option<Leaving>,
    /// What the last run tells of the databases.
    spaces: Spaces,
    /// Whether something was written as it is now, and not as it was when it was copied.
    is_newer: bool,
    /// Whether the moment is over that is being written.
    is_past: bool,
    /// Where collections stand of which more must be copied than what has changed, at another moment.
    again: Vec<Place>,
    /// Whether there is a list of pinned keys.
    has_pins: bool,
    /// Whether all that was on disk was removed, and no run has ended since.
    is_emptied: bool,
    /// When so many bytes have been written since the start it is looked again whether the disk has little that is wanted.
    pub(super) dense_until: u64,
}

/// Where changes are made durable.
enum Sink<'a> {
    Run(&'a mut Draft),
    Log(&'a mut Log),
    Marks(&'a mut Marks),
}

/// What is to be written: where it stands, and how much that is, about.
struct Taken {
    places: Vec<Place>,
    bytes: usize,
}

impl Taken {
    /// In order, and each once.
    fn sorted(&self) -> Vec<Place> {
        let mut places = self.places.clone();
        places.sort_unstable();
        places.dedup();
        places
    }
}

impl Sink<'_> {
    /// Writes a record; an empty one says that the key is gone.
    fn put(&mut self, hash: u64, key: &[u8], record: &[u8]) -> Result<(), StoreError> {
        match self {
            Self::Run(draft) => draft.put(hash, key, record),
            Self::Marks(marks) => {
                marks.put(key, record);
                Ok(())
            }
            Self::Log(log) => log.append(key, record).map_err(StoreError::File),
        }
    }

    fn is_run(&self) -> bool {
        matches!(self, Self::Run(_))
    }

    /// The generation that it will be in.
    fn target(&self, store: &Store) -> Option<u64> {
        match self {
            Self::Run(draft) => Some(draft.generation),
            Self::Log(_) | Self::Marks(..) => store.newest(),
        }
    }

    /// What it has already of a chunk, or of a key whose record tells of chunks.
    fn chunked(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self {
            Self::Run(draft) => draft.chunked(key),
            Self::Log(_) | Self::Marks(..) => Ok(None),
        }
    }
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
            cache_tried: Instant::now(),
            allowance: Allowance::default(),
            leaving: None,
            spaces: Spaces::newest(&tier.store, &tier.pending),
            is_newer: false,
            is_past: false,
            again: Vec::new(),
            has_pins: warm::has_pins(&tier.dir),
            is_emptied: false,
            dense_until: 0,
        }
    }

    /// Makes safe what has changed so far.
    pub(super) fn write_changes(&mut self) -> Result<(), StoreError> {
        let method = match self.engine.config.load().tier_compression {
            TierCompression::Zstd => Method::Zstd,
            TierCompression::Lz4 => Method::Lz4,
            TierCompression::None => Method::None,
        };
        self.compressor.set_method(method);
        self.keep_what_was_loaded();
        let mut taken = self.take_changed();
        taken.places.append(&mut self.logged);
        let restored = {
            let mut disk = self.tier.disk.lock();
            let disk = disk.as_mut().ok_or(StoreError::Closed);
            disk.and_then(|disk| self.tier.restore_pending(disk))
        };
        let written = restored.and_then(|()| self.write_run(&mut taken));
        let written = written.and_then(|()| {
            let mut log = self.tier.log.lock();
            log.clear(self.spaces.moment).map_err(StoreError::File)
        });
        let keyspace = &self.engine.keyspace;
        let places = taken.sorted();
        match written {
            Ok(()) => {
                keyspace.settle(&places, self.thread);
                self.tier.log_bytes.store(0, Ordering::Relaxed);
                *self.tier.classes.lock() = self.compressor.stats();
                *self.tier.last_write.lock() = Some(clock::now());
                self.tier.unsaved.store(0, Ordering::Relaxed);
            }
            Err(_) => keyspace.unsettle(&places, self.thread),
        }
        self.tier.measure_memory(self.compressor.memory_bytes());
        written
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

    /// After a failure: does what helps, and remembers in the reserve what the disk does not take. True where it may be tried
    /// again at once.
    fn recover(&mut self, stopped: bool) -> bool {
        if self.is_unwanted() && !self.is_emptied && self.empty() {
            self.is_emptied = true;
            return true;
        }
        self.revive();
        if self.engine.config.load().tier_durability == TierDurability::Everysec {
            self.write_marks();
        } else if !stopped || !self.is_logged() {
            let places = self.take_changed().sorted();
            let unsaved = &self.tier.unsaved;
            unsaved.store(places.len() as u64, Ordering::Relaxed);
            self.engine.keyspace.unsettle(&places, self.thread);
        }
        false
    }

    /// Whether the log of `always` has all that no run has, or takes it now.
    fn is_logged(&mut self) -> bool {
        let is_always = self.engine.config.load().tier_durability == TierDurability::Always;
        let is_logged = is_always && self.log_changes().is_ok();
        if is_logged {
            self.tier.unsaved.store(0, Ordering::Relaxed);
        }
        is_logged
    }

    /// Whether nobody wants anything of what is on disk: all databases that were not emptied since the last run have no key.
    fn is_unwanted(&self) -> bool {
        let (names, _) = self.engine.keyspace.space_names();
        let is_counted = self.tier.is_counted.load(Ordering::Acquire);
        let has_keys = |db| !is_counted || !self.engine.keyspace.is_empty(db);
        let mut old = names
            .iter()
            .enumerate()
            .filter(|(_, name)| **name < self.spaces.next_name);
        old.all(|(db, _)| !has_keys(db))
    }

    /// Removes all that is on disk, which needs no room there.
    fn empty(&mut self) -> bool {
        let emptied = self
            .tier
            .disk
            .lock()
            .as_mut()
            .ok_or(StoreError::Closed)
            .and_then(store::Writer::empty);
        match emptied {
            Ok(()) => {
                tracing::warn!("All keys on the full disk were deleted: the disk tier begins anew");
                true
            }
            Err(error) => {
                tracing::error!("The disk tier could not be emptied: {error}");
                false
            }
        }
    }

    /// Remembers in the reserve what no run has, as far as there is room: at least which versions on disk are old.
    fn write_marks(&mut self) {
        let mut taken = self.take_changed();
        let mut marks = Marks::new(self.tier.reserve.lock().half());
        let mut sink = Sink::Marks(&mut marks);
        let told = self.write_moment(&mut taken, &mut sink);
        let places = taken.sorted();
        let told = told.and_then(|mut spaces| {
            spaces.moment = self.spaces.moment;
            let key = record::spaces_key(self.tier.store.hash_seed());
            marks.put_first(&key, &spaces.encode());
            let mut reserve = self.tier.reserve.lock();
            reserve
                .write(spaces.moment, &marks)
                .map_err(StoreError::File)
        });
        let unsaved = match &told {
            Ok(()) => marks.unsaved(),
            Err(error) => {
                tracing::error!("The reserve of the disk tier does not take all changes: {error}");
                places.len() as u64
            }
        };
        self.tier.unsaved.store(unsaved, Ordering::Relaxed);
        self.tier.has_marks.store(told.is_ok(), Ordering::Relaxed);
        self.engine.keyspace.unsettle(&places, self.thread);
    }

    /// After the disk was full the store takes no more until it is opened anew, which helps only when
    /// there is room again.
    fn revive(&self) {
        let tier = self.tier;
        let enough = FREE_BYTES_MIN.min(disk_bytes(&tier.dir) / FREE_PART);
        if !tier.store.is_poisoned() || free_bytes(&tier.dir) < enough {
            return;
        }
        let mut disk = tier.disk.lock();
        let quarantined = tier.store.stats().quarantined;
        match disk.as_mut().map(store::Writer::reopen) {
            Some(Ok(recovery)) => {
                tracing::warn!("There is room on the disk again, the disk tier goes on");
                let all_gone = matches!(recovery, Recovery::PutAside(_));
                if all_gone || tier.store.stats().quarantined > quarantined {
                    self.engine.keyspace.unverify_copies(self.thread);
                }
            }
            Some(Err(error)) => tracing::error!("The disk tier could not be opened anew: {error}"),
            None => {}
        }
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

    fn write_run(&mut self, taken: &mut Taken) -> Result<(), StoreError> {
        let tier = self.tier;
        let is_fresh = self.is_unwanted() && generation_bytes(tier) > UNWANTED_BYTES;
        let is_same = self.spaces.names == self.spaces_now().names;
        if taken.places.is_empty() && is_same && !is_fresh {
            return Ok(());
        }
        let mut disk = tier.disk.lock();
        let disk = disk.as_mut().ok_or(StoreError::Closed)?;
        let mut run = match is_fresh {
            true => disk.begin_fresh_run()?,
            false => disk.begin_run()?,
        };
        let generation = run.generation();
        let mut draft = Draft::new(&tier.dir, run.generation());
        let spaces = self.write_moment(taken, &mut Sink::Run(&mut draft))?;
        let key = record::spaces_key(tier.store.hash_seed());
        draft.put(tier.store.hash_of(&key), &key, &spaces.encode())?;
        draft.write(&mut run, &tier.store, &spaces.names)?;
        run.finish()?;
        self.spaces = spaces;
        self.is_emptied = false;
        self.keep_spaces();
        if is_fresh {
            self.leaving = None;
            drop_before(disk, generation)?;
        }
        Ok(())
    }

    /// Writes what has changed up to one moment, and tells what the databases were called then. `taken` gets what has changed
    /// meanwhile too.
    ///
    /// What was taken is copied, what has changed meanwhile is copied again, and the little that is left then is copied with the
    /// gate closed: that is the moment.
    fn write_moment(
        &mut self,
        taken: &mut Taken,
        sink: &mut Sink<'_>,
    ) -> Result<Spaces, StoreError> {
        // What is in the log is written again by the next run, which tells all that has changed since the last one.
        self.versions.follow = sink.is_run();
        self.versions.whole = false;
        self.again.clear();
        let mut rest = taken.sorted();
        let mut late = Vec::new();
        if taken.bytes > ALONE_BYTES || rest.len() > ALONE_PLACES {
            self.write_places(&rest, sink)?;
            rest = self.take_more(taken);
            for _ in 0..LATE_ROUNDS {
                if rest.len() <= ALONE_PLACES {
                    break;
                }
                late.push(self.copy_late(&rest, sink)?);
                rest = self.take_more(taken);
            }
        }
        self.measure_memory(&late, sink);
        for attempt in 1.. {
            let engine = self.engine;
            let alone = engine.keyspace.gate().close();
            rest.append(&mut self.take_more(taken));
            late.push(self.copy_alone(&mut rest));
            let spaces = self.spaces_now();
            // Where each moment is over before it is written the last one lasts.
            let _alone = (attempt == ATTEMPTS).then_some(alone);
            if self.write_late(&mut late, sink)? || attempt == ATTEMPTS {
                return Ok(spaces);
            }
            rest.append(&mut self.again);
            self.versions.whole = true;
        }
        unreachable!("the last attempt has returned")
    }

    /// Copies what has changed, all of it, with the gate closed.
    fn copy_alone(&mut self, places: &mut Vec<Place>) -> Copies {
        places.sort_unstable();
        places.dedup();
        let (keyspace, versions) = (&self.engine.keyspace, &mut self.versions);
        let mut copies = Copies::default();
        copies.add(keyspace, places, self.thread, versions, usize::MAX);
        places.clear();
        copies
    }

    /// Writes what was copied, when the moment is over. False where not all of it was of that moment, so that another one must
    /// be taken.
    fn write_late(
        &mut self,
        late: &mut Vec<Copies>,
        sink: &mut Sink<'_>,
    ) -> Result<bool, StoreError> {
        (self.is_past, self.is_newer) = (true, false);
        let mut written = Ok(());
        for copies in late.drain(..) {
            self.copies = copies;
            written = written.and_then(|()| self.write_copies(sink));
        }
        self.is_past = false;
        self.copies.clear();
        written.map(|()| !self.is_newer && self.again.is_empty())
    }

    /// Takes what has changed since the last time, and adds it to what was taken.
    fn take_more(&self, taken: &mut Taken) -> Vec<Place> {
        let more = self.engine.keyspace.take_changed();
        taken.places.extend_from_slice(&more);
        more
    }

    /// Copies what has changed while the rest was written; it is written when the moment is over, in the order in which it was
    /// copied. But for long values, which are written now: nobody has memory for them.
    fn copy_late(&mut self, places: &[Place], sink: &mut Sink<'_>) -> Result<Copies, StoreError> {
        let (keyspace, versions) = (&self.engine.keyspace, &mut self.versions);
        self.copies = Copies::default();
        self.copies
            .add(keyspace, places, self.thread, versions, LONG_BYTES);
        for index in 0..self.copies.len() {
            self.copies.copy_frozen(index, keyspace, self.thread);
        }
        for index in 0..self.copies.len() {
            if matches!(self.copies.entry(index).value, Value::Long(..)) {
                self.write_long(index, sink)?;
            }
        }
        Ok(std::mem::take(&mut self.copies))
    }

    /// Counts what waits to be written.
    fn measure_memory(&self, late: &[Copies], sink: &Sink<'_>) {
        let late: usize = late.iter().map(Copies::memory_bytes).sum();
        let draft = match sink {
            Sink::Run(draft) => draft.memory_bytes(),
            Sink::Log(_) | Sink::Marks(..) => 0,
        };
        let compressor = self.compressor.memory_bytes();
        self.tier.measure_memory(late + draft + compressor);
    }

    fn write_places(&mut self, places: &[Place], sink: &mut Sink<'_>) -> Result<(), StoreError> {
        for shard in places.chunk_by(|a, b| a.shard() == b.shard()) {
            let mut left = shard;
            while !left.is_empty() {
                let (keyspace, versions) = (&self.engine.keyspace, &mut self.versions);
                let taken = self.copies.take(keyspace, left, self.thread, versions);
                left = &left[taken..];
                self.write_copies(sink)?;
            }
        }
        Ok(())
    }

    fn write_copies(&mut self, sink: &mut Sink<'_>) -> Result<(), StoreError> {
        for index in 0..self.copies.len() {
            self.write_long(index, sink)?;
            self.write_entry(index, sink)?;
        }
        Ok(())
    }

    /// Writes the chunks of an entry, if its value is long or a large collection.
    fn write_long(&mut self, index: usize, sink: &mut Sink<'_>) -> Result<(), StoreError> {
        let (keyspace, thread) = (&self.engine.keyspace, self.thread);
        if matches!(self.copies.entry(index).value, Value::Changes(..)) {
            if !matches!(sink, Sink::Marks(..)) && self.write_piece(index, sink)? {
                return Ok(());
            }
            if self.is_past {
                self.again.push(self.copies.entry(index).place);
                self.copies.set_value(index, Value::Gone);
                return Ok(());
            }
            let versions = Some(&mut self.versions);
            self.copies.take_again(index, keyspace, thread, versions);
        }
        self.is_newer |= !self.copies.copy_frozen(index, keyspace, thread);
        if let Sink::Marks(marks) = sink {
            self.keep_whole(index, marks);
            return Ok(());
        }
        let (head, version, len) = match &self.copies.entry(index).value {
            Value::Collection(head, version, value) => (*head, *version, value.len()),
            Value::Long(head, len) => (*head, self.versions.another(), *len),
            Value::Whole(head, value) if value.len() > LONG_BYTES => {
                (*head, self.versions.another(), value.len())
            }
            _ => return Ok(()),
        };
        if let Some(chunks) = self.write_chunks(index, version, len, sink)? {
            self.copies
                .set_value(index, Value::Chunks(head, vec![chunks]));
            return Ok(());
        }
        // It changed meanwhile, and may do so as often as one tries: now it is copied in one piece, as short ones are.
        self.copies.take_again(index, keyspace, thread, None);
        self.is_newer = true;
        self.write_long(index, sink)
    }

    /// For the reserve, which has no chunks: has a long value be in one piece, or a mark if it is too long.
    fn keep_whole(&mut self, index: usize, marks: &mut Marks) {
        let most = marks.value_bytes_max();
        if matches!(self.copies.entry(index).value, Value::Long(_, len) if len <= most) {
            let (keyspace, thread) = (&self.engine.keyspace, self.thread);
            self.copies.take_again(index, keyspace, thread, None);
            self.is_newer = true;
        }
        let whole = match &self.copies.entry(index).value {
            Value::Whole(head, value) | Value::Collection(head, _, value) => {
                (value.len() <= most).then(|| Value::Whole(*head, value.clone()))
            }
            Value::Absent | Value::Gone => return,
            _ => None,
        };
        if whole.is_none() {
            self.mark_long(index, marks);
        }
        self.copies.set_value(index, whole.unwrap_or(Value::Gone));
    }

    /// Remembers that the value which the disk has of a key is not the newest, which is too long to be kept.
    fn mark_long(&mut self, index: usize, marks: &mut Marks) {
        let entry = self.copies.entry(index);
        self.key.clear();
        record::encode_key(
            entry.place,
            entry.name,
            self.copies.key(index),
            &mut self.key,
        );
        marks.put_mark(&self.key);
    }

    /// Writes what has changed of a collection as a piece behind those that the disk has of it. False where that cannot be
    /// done or does not pay: all of it must be written.
    fn write_piece(&mut self, index: usize, sink: &mut Sink<'_>) -> Result<bool, StoreError> {
        let entry = self.copies.entry(index);
        let hash = entry.hash.value();
        let Value::Changes(head, since, mut changes) = entry.value.clone() else {
            return Ok(false);
        };
        self.key.clear();
        let key = self.copies.key(index);
        record::encode_key(entry.place, entry.name, key, &mut self.key);
        let store = &self.tier.store;
        let found = store.find(hash, &self.key)?;
        let found = found.filter(|found| Some(found.generation()) == sink.target(store));
        let before = match (sink.chunked(&self.key)?, &found) {
            (Some(here), _) => here,
            (None, Some(found)) => found.record.to_vec(),
            (None, None) => return Ok(false),
        };
        let Some((_, Body::Chunks(pieces))) = record::decode(&before) else {
            return Ok(false);
        };
        let mut pieces: Vec<_> = pieces.iter().collect();
        if pieces.last().is_none_or(|last| last.version != since.from) {
            return Ok(false);
        }
        // Those that are not much larger become one with this, so that there are few, each much larger than the next.
        while let [_, .., last] = pieces.as_slice()
            && last.raw_bytes <= 2 * changes.len() as u64
        {
            let here = RefCell::new(&mut *sink);
            let neighbour = |key: &[u8]| match here.borrow_mut().chunked(key)? {
                Some(record) => Ok(Some(Slice::from(record))),
                None => found
                    .as_ref()
                    .map_or(Ok(None), |found| found.neighbour(key)),
            };
            let piece = self
                .tier
                .read_piece(&self.key, last, &neighbour, &mut self.record);
            let Ok(mut all) = piece.inspect_err(|error| {
                CHANGES_NOT_READ.error(error);
            }) else {
                return Ok(false);
            };
            all.extend_from_slice(self.copies.bytes(changes));
            changes = self.copies.put(&all);
            pieces.pop();
        }
        let len = changes.len();
        let all_changes = pieces[1..].iter().map(|piece| piece.raw_bytes).sum::<u64>() + len as u64;
        if all_changes > pieces[0].raw_bytes / CHANGES_PART {
            return Ok(false);
        }
        self.copies
            .set_value(index, Value::Changes(head, since, changes));
        let chunks = self.write_chunks(index, since.to, len, sink)?;
        pieces.extend(chunks);
        self.copies.set_value(index, Value::Chunks(head, pieces));
        Ok(true)
    }

    /// Writes the chunks of a value, which stands in the keyspace or was copied, or of what has changed of one. `None`: it has
    /// changed in the keyspace.
    fn write_chunks(
        &mut self,
        index: usize,
        version: u64,
        len: usize,
        sink: &mut Sink<'_>,
    ) -> Result<Option<Chunks>, StoreError> {
        let copies = &self.copies;
        let (entry, key) = (copies.entry(index), copies.key(index));
        let is_piece = matches!(entry.value, Value::Changes(..));
        let copy = |part: Range<usize>, out: &mut Vec<u8>| match &entry.value {
            Value::Whole(_, value)
            | Value::Collection(_, _, value)
            | Value::Changes(_, _, value) => {
                out.extend_from_slice(&copies.bytes(value.clone())[part]);
                true
            }
            _ => {
                let key = (entry.hash, entry.name, key);
                let keyspace = &self.engine.keyspace;
                keyspace.copy_part(key, part, self.thread, out)
            }
        };
        let (record, compressor) = (&mut self.record, &mut self.compressor);
        let put = |chunk: &[u8], part: &[u8], is_first| {
            record.clear();
            let encoded = if sink.is_run() {
                compressor.encode_part(key, part, is_first && !is_piece, record)
            } else {
                encode_raw(part, record)
            };
            sink.put(entry.hash.value(), chunk, record)?;
            Ok((encoded, record.len()))
        };
        self.key.clear();
        record::encode_key(entry.place, entry.name, key, &mut self.key);
        self.chunks.write(&self.key, version, len, copy, put)
    }

    fn write_entry(&mut self, index: usize, sink: &mut Sink<'_>) -> Result<(), StoreError> {
        if self.copies.entry(index).value.is_pinned() && !matches!(sink, Sink::Marks(..)) {
            self.begin_pins()?;
        }
        let entry = self.copies.entry(index);
        let key = self.copies.key(index);
        self.key.clear();
        record::encode_key(entry.place, entry.name, key, &mut self.key);
        let hash = entry.hash.value();
        if entry.unverified && sink.is_run() {
            let older = self.tier.shadowed(hash, &self.key)?;
            let key = (entry.hash, entry.name, key);
            let keyspace = &self.engine.keyspace;
            keyspace.writer_looked_for(key, older, self.thread);
        }
        self.record.clear();
        match &entry.value {
            Value::Whole(head, value) => {
                record::encode_head(*head, &mut self.record);
                let value = self.copies.bytes(value.clone());
                if sink.is_run() {
                    self.compressor.encode(key, value, &mut self.record);
                } else {
                    encode_raw(value, &mut self.record);
                }
            }
            Value::Chunks(head, pieces) => {
                record::encode_head(*head, &mut self.record);
                record::encode_pieces(pieces, &mut self.record);
            }
            // There is nothing to come back.
            Value::Absent if matches!(sink, Sink::Marks(..)) && !self.tier.store.may_hold(hash) => {
                return Ok(());
            }
            Value::Absent => {}
            Value::Gone => return Ok(()),
            Value::Long(..) | Value::Frozen(..) | Value::Collection(..) | Value::Changes(..) => {
                unreachable!("long values and collections were written before")
            }
        }
        sink.put(hash, &self.key, &self.record)
    }

    /// The end: the counts that the next start need not make again.
    fn close(&mut self, all_written: bool, are_listed: bool) {
        let keyspace = &self.engine.keyspace;
        // If they are not known the next start counts, and finds the pinned keys too.
        let known = all_written && are_listed && self.tier.is_counted.load(Ordering::Acquire);
        let keys = known.then(|| (0..DATABASES).map(|db| keyspace.cold_counts(db)).collect());
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

/// What the file system of a directory has left; nothing where it does not say.
fn free_bytes(dir: &Path) -> u64 {
    rustix::fs::statvfs(dir).map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// The size of that file system.
pub(super) fn disk_bytes(dir: &Path) -> u64 {
    rustix::fs::statvfs(dir).map_or(0, |stat| stat.f_blocks.saturating_mul(stat.f_frsize))
}

pub(super) fn expiry(record: &[u8]) -> Option<UnixMs> {
    record::decode(record).and_then(|(head, _)| head.expires_at)
}

/// The walk of [`count_keys`], if it can begin.
pub(super) fn scan_to_count(scan: Result<store::Scan, StoreError>) -> Option<store::Scan> {
    scan.inspect_err(|error| tracing::error!("The keys on disk could not be counted: {error}"))
        .ok()
}

/// Counts the keys of each database on disk, after a crash, and fetches those that are pinned. Keys that come and go
/// meanwhile are counted where that happens.
pub(super) fn count_keys(engine: &Engine, scan: store::Scan, thread: ThreadSlot) {
    let Some(tier) = &engine.tier else { return };
    let mut pins = ColdPins::new(engine, tier, thread);
    let (names, _) = engine.keyspace.space_names();
    for found in scan {
        if tier.is_stopping.load(Ordering::Relaxed) {
            return;
        }
        let counted = found.map(|found| {
            let name = record::decode_key(&found.key).map(|(name, _)| name);
            if let Some(name) = name.filter(|name| names.contains(name)) {
                // A record that cannot be read is a key all the same.
                let record = found.record().unwrap_or_default().unwrap_or_default();
                engine.keyspace.found_below(name, expiry(&record));
                pins.meet(&found.key, &record);
            }
        });
        if let Err(error) = counted {
            tracing::error!("The keys on disk could not be counted: {error}");
            return;
        }
    }
    pins.end();
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

    fn tier(engine: &Engine) -> &Tier {
        engine.tier.as_ref().expect("there is a tier")
    }

    #[test]
    fn the_name_of_an_emptied_database_is_not_given_out_again_after_a_kill() {
        let mut db = Db::tiered(|_| {});
        db.run("SET a 1").ok();
        db.write();
        // What the databases are called is of the moment that the run has, however late the database was emptied.
        db.run("FLUSHDB").ok();
        db.run("SET b 2").ok();
        db.write();
        db.run("FLUSHDB").ok();
        let mut db = db.killed();
        db.run("GET b").bulk("2");
        // Another database is emptied, and gets the next name.
        db.run("SELECT 1").ok();
        db.run("SET c 3").ok();
        db.run("FLUSHDB").ok();
        db.run("EXISTS b").int(0);
        db.run("SET c 4").ok();
        db.run("DBSIZE").int(1);
        db.run("KEYS *").bulks(&["c"]);
        db.run("SELECT 0").ok();
        db.run("KEYS *").bulks(&["b"]);
    }

    /// Runs commands while a run is being written, behind the first copy of what it takes; what a kill leaves then.
    fn after_a_run_beside(before: &[&str], meanwhile: &[&str]) -> Db {
        let mut db = Db::tiered(|_| {});
        for command in before {
            let _ = db.run(command);
        }
        let engine = std::sync::Arc::clone(db.engine_arc());
        let mut writer = Writer::new(&engine, tier(&engine));
        let mut taken = writer.take_changed();
        taken.bytes = usize::MAX;
        let mut disk = tier(&engine).disk.lock();
        let mut run = disk
            .as_mut()
            .expect("it is open")
            .begin_run()
            .expect("the disk is well");
        let mut draft = Draft::new(&tier(&engine).dir, run.generation());
        writer
            .write_places(&taken.sorted(), &mut Sink::Run(&mut draft))
            .expect("the disk is well");
        for command in meanwhile {
            let _ = db.run(command);
        }
        let mut taken = writer.take_changed();
        let spaces = writer
            .write_moment(&mut taken, &mut Sink::Run(&mut draft))
            .expect("the disk is well");
        let key = record::spaces_key(tier(&engine).store.hash_seed());
        draft
            .put(tier(&engine).store.hash_of(&key), &key, &spaces.encode())
            .expect("the disk is well");
        draft
            .write(&mut run, &tier(&engine).store, &spaces.names)
            .expect("the disk is well");
        run.finish().expect("the disk is well");
        drop((writer, disk));
        drop(engine);
        db.killed()
    }

    /// The keys of a database, in order.
    fn keys(db: &mut Db, index: usize) -> String {
        db.run(&format!("SELECT {index}")).ok();
        let told = db.run("KEYS *");
        let text = String::from_utf8_lossy(told.bytes()).into_owned();
        let mut keys: Vec<_> = text.lines().skip(2).step_by(2).collect();
        keys.sort_unstable();
        keys.join(" ")
    }

    #[test]
    fn a_run_is_of_one_moment() {
        let before = ["SET a 1", "SET b 1", "SELECT 1", "SET c 1", "SELECT 0"];
        let mut db = after_a_run_beside(&before, &["SWAPDB 0 1"]);
        assert_eq!(
            (keys(&mut db, 0), keys(&mut db, 1)),
            ("c".into(), "a b".into())
        );
        let mut db = after_a_run_beside(&before, &["MOVE a 1", "RENAME b d"]);
        assert_eq!(
            (keys(&mut db, 0), keys(&mut db, 1)),
            ("d".into(), "a c".into())
        );
        let mut db = after_a_run_beside(&before, &["FLUSHDB", "SET e 1"]);
        assert_eq!(
            (keys(&mut db, 0), keys(&mut db, 1)),
            ("e".into(), "c".into())
        );
        let mut db = after_a_run_beside(&before, &["COPY a f DB 1", "DEL a", "MSET b 2 g 2"]);
        assert_eq!(
            (keys(&mut db, 0), keys(&mut db, 1)),
            ("b g".into(), "c f".into())
        );
        db.run("SELECT 0").ok();
        db.run("MGET b g").bulks(&["2", "2"]);
        let mut db = after_a_run_beside(&before, &["FLUSHALL"]);
        assert_eq!(
            (keys(&mut db, 0), keys(&mut db, 1)),
            (String::new(), String::new())
        );
    }

    #[test]
    fn a_collection_that_changes_while_a_run_is_written_is_of_its_moment() {
        let mut fill = vec!["SADD s first".to_owned(), "RPUSH l first".to_owned()];
        for i in 0..3000 {
            fill.push(format!("SADD s member:{i:060}"));
            fill.push(format!("RPUSH l element:{i:060}"));
            fill.push(format!("XADD x {}-1 f value:{i:060}", i + 1));
        }
        let fill: Vec<_> = fill.iter().map(String::as_str).collect();
        let meanwhile = [
            "SREM s first",
            "RPUSH l last",
            "SADD s last",
            "XADD x 9999-1 f v",
            "LPOP l",
        ];
        let mut db = after_a_run_beside(&fill, &meanwhile);
        db.run("SCARD s").int(3001);
        db.run("SMISMEMBER s first last").ints(&[0, 1]);
        db.run("LLEN l").int(3001);
        db.run("LINDEX l -1").bulk("last");
        db.run("LINDEX l 0").bulk(format!("element:{:060}", 0));
        db.run("XLEN x").int(3001);
        db.run("DBSIZE").int(3);
        let mut db = after_a_run_beside(&fill, &["DEL s", "RENAME l m", "SET x v"]);
        db.run("DBSIZE").int(2);
        db.run("EXISTS s").int(0);
        db.run("LLEN m").int(3001);
        db.run("GET x").bulk("v");
    }

    #[test]
    fn a_long_value_that_changes_while_a_run_is_written_is_of_its_moment() {
        let mut db = Db::tiered(|_| {});
        let long = "v".repeat(3 * LONG_BYTES);
        db.run_args(&[b"SET", b"k", long.as_bytes()]).ok();
        db.write();
        db.run("APPEND k w").int(3 * LONG_BYTES as i64 + 1);
        db.run("SET other v").ok();
        db.write();
        let mut db = db.killed();
        db.run("STRLEN k").int(3 * LONG_BYTES as i64 + 1);
        db.run("GETRANGE k -2 -1").bulk("vw");
    }

    #[test]
    fn what_a_run_has_is_not_taken_back_by_an_older_log() {
        let mut db =
            Db::tiered(|config| config.tier_durability = crate::config::TierDurability::Always);
        db.run("SET k 1").ok();
        let engine = std::sync::Arc::clone(db.engine_arc());
        let mut writer = Writer::new(&engine, tier(&engine));
        writer.log_changes().expect("the disk is well");
        let path = tier(&engine).dir.join("log");
        let log = std::fs::read(&path).expect("there is a log");
        db.run("SET k 2").ok();
        writer.write_changes().expect("the disk is well");
        // The kill came between the end of the run and that of the log.
        std::fs::write(&path, &log).expect("the disk is well");
        drop(writer);
        drop(engine);
        let mut db = db.killed();
        db.run("GET k").bulk("2");
    }

    #[test]
    fn under_always_a_flush_and_an_exchange_survive_in_the_log() {
        let mut db =
            Db::tiered(|config| config.tier_durability = crate::config::TierDurability::Always);
        db.run("MSET a 1 b 2").ok();
        db.write();
        let engine = std::sync::Arc::clone(db.engine_arc());
        let mut writer = Writer::new(&engine, tier(&engine));
        for command in ["FLUSHDB", "SET c 3", "SWAPDB 0 1"] {
            let _ = db.run(command);
            writer.log_changes().expect("the disk is well");
        }
        drop(writer);
        drop(engine);
        let mut db = db.killed();
        assert_eq!(
            (keys(&mut db, 0), keys(&mut db, 1)),
            (String::new(), "c".into())
        );
        db.run("DBSIZE").int(1);
    }

    /// What it gives, without a runtime that waits.
    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.expect("a runtime").block_on(future)
    }

    #[test]
    fn a_writer_that_panics_lets_nobody_wait() {
        use super::super::{Met, Need};
        use crate::threads::{FAILURES, Part};

        let mut db = Db::tiered(|_| {});
        let engine = Arc::clone(&db.server().engine);
        let threads = Tier::start(&engine).expect("threads");
        let threads = threads.expect("there is a tier");
        let tier = tier(&engine);
        db.run("SET key value").ok();
        assert!(matches!(
            block_on(tier.meet(Need::Durable)),
            Met::Written(true)
        ));
        let before = FAILURES.of(Part::TierWriter);
        let waiting = tier.meet(Need::Written);
        tier.pace.panics.store(true, Ordering::Relaxed);
        // The one who waits, or the next ones: nobody for ever.
        let _ = block_on(waiting);
        let failed = block_on(tier.meet(Need::Durable));
        assert!(matches!(failed, Met::Written(false)), "{failed:?}");
        assert!(!tier.sync());
        assert!(tier.is_failing());
        assert!(FAILURES.of(Part::TierWriter) > before);
        threads.stop(&engine);
    }

    /// Keys on disk, a disk that takes nothing more, and commands; then a failed run and a kill.
    fn after_a_full_disk(before: &[&str], meanwhile: &[&str]) -> (Db, u64) {
        let mut db = Db::tiered(|_| {});
        for command in before {
            let _ = db.run(command);
        }
        db.write();
        let engine = std::sync::Arc::clone(db.engine_arc());
        let mut writer = Writer::new(&engine, tier(&engine));
        let disk = tier(&engine).disk.lock().take();
        for command in meanwhile {
            let _ = db.run(command);
        }
        assert!(writer.write_changes().is_err());
        assert!(!writer.recover(false));
        let unsaved = tier(&engine).unsaved();
        drop((writer, disk));
        drop(engine);
        (db.killed(), unsaved)
    }

    #[test]
    fn no_older_version_comes_back_after_a_full_disk() {
        let long = format!("SET long {}", "v".repeat(5_000));
        let huge = format!("SET huge {}", "v".repeat(5 << 20));
        let before = [
            "MSET k old d old a old t old",
            "SADD s 1 2",
            &long,
            &huge,
            "SELECT 1",
            "SET x 1",
            "SELECT 0",
        ];
        let overwritten = format!("SETRANGE long 0 {}", "w".repeat(2_000));
        let meanwhile = [
            "SETRANGE huge 0 w",
            "SET k new",
            "DEL d",
            "RENAME a b",
            "PEXPIREAT t 1",
            "SREM s 1",
            &overwritten,
            "SWAPDB 0 1",
            "SET y 2",
        ];
        let (mut db, unsaved) = after_a_full_disk(&before, &meanwhile);
        assert_eq!(unsaved, 1);
        for _ in 0..2 {
            assert_eq!(keys(&mut db, 0), "x y");
            assert_eq!(keys(&mut db, 1), "b k long s");
            db.run("DBSIZE").int(4);
            db.run("STRLEN long").int(5_000);
            db.run("GETRANGE long 1999 2000").bulk("wv");
            db.run("MGET k b d a")
                .is("*4\r\n$3\r\nnew\r\n$3\r\nold\r\n$-1\r\n$-1\r\n");
            db.run("SMEMBERS s").bulks(&["2"]);
            db.run("EXISTS huge t").int(0);
            // The disk has room again.
            db.write();
            db = db.killed();
        }
    }

    #[test]
    fn what_a_full_disk_has_of_a_long_value_is_not_lost_by_its_last_change() {
        let mut fill = vec![
            format!("SET moved {}", "v".repeat(5_000)),
            format!("SET changed {}", "v".repeat(5_000)),
            format!("SET long {}", "v".repeat(LONG_BYTES + 1)),
        ];
        for i in 0..3_000 {
            fill.push(format!("SADD s member:{i:060}"));
            fill.push(format!("SADD t member:{i:060}"));
            fill.push(format!("XADD x {}-1 f value:{i:060}", i + 1));
        }
        let fill: Vec<_> = fill.iter().map(String::as_str).collect();
        let meanwhile = [
            "RENAME moved there",
            "APPEND changed w",
            "APPEND long w",
            "SREM s member:0",
            "SADD s last",
            "RENAME t u",
            "XADD x 9999-1 f v",
        ];
        let (mut db, unsaved) = after_a_full_disk(&fill, &meanwhile);
        assert_eq!(unsaved, 0);
        for _ in 0..2 {
            assert_eq!(keys(&mut db, 0), "changed long s there u x");
            db.run("DBSIZE").int(6);
            db.run("STRLEN there").int(5_000);
            db.run("GETRANGE changed 4999 5000").bulk("vw");
            db.run("STRLEN long").int(LONG_BYTES as i64 + 2);
            db.run("SCARD s").int(3_001);
            db.run("SISMEMBER s last").int(1);
            db.run("SCARD u").int(3_000);
            db.run("XLEN x").int(3_001);
            db.write();
            db = db.killed();
        }
    }

    #[test]
    fn a_flush_on_a_full_disk_survives() {
        let (mut db, unsaved) = after_a_full_disk(
            &["MSET a 1 b 2", "SELECT 1", "SET c 1"],
            &["FLUSHDB", "SET d 4", "SELECT 0", "DEL a"],
        );
        assert_eq!(unsaved, 0);
        assert_eq!(
            (keys(&mut db, 0), keys(&mut db, 1)),
            ("b".into(), "d".into())
        );
    }

    #[test]
    fn what_a_failing_disk_does_not_take_is_refused() {
        let mut db = Db::tiered(|config| config.tier_write_ahead_limit_ms = 0);
        db.run("MSET k 1 l 2").ok();
        db.write();
        let engine = std::sync::Arc::clone(db.engine_arc());
        let fail = |engine: &Engine| {
            let _ = tier(engine).pace.begin(|| true);
            tier(engine).pace.end(false);
        };
        fail(&engine);
        let refusal = "IOERR the disk tier cannot be written, see the log of the server";
        for command in ["SET k 2", "DEL k", "RENAME k m", "RPUSH list 1"] {
            db.run(command).error(refusal);
        }
        db.run("GET k").bulk("1");
        tier(&engine).has_marks.store(true, Ordering::Relaxed);
        db.run("SET k 2").error(refusal);
        db.run("DEL k").int(1);
        db.run("PERSIST l").int(0);
        tier(&engine).unsaved.store(1, Ordering::Relaxed);
        db.run("PERSIST l").error(refusal);
        db.run("DEL l").int(1);
        db.run("FLUSHALL").ok();
        let told = db.run("INFO persistence");
        assert!(String::from_utf8_lossy(told.bytes()).contains("rdb_last_bgsave_status:err"));
        let _ = tier(&engine).pace.begin(|| true);
        tier(&engine).pace.end(true);
        db.run("SET k 3").ok();
        db.run("CONFIG SET tier-write-ahead-limit 3600000").ok();
        fail(&engine);
        db.run("SET k 4").ok();
    }

    fn disk_bytes_of(db: &Db) -> u64 {
        generation_bytes(tier(db.engine()))
    }

    fn fill(db: &mut Db) {
        for i in 0..3_000 {
            let noise: String = (0..8)
                .map(|j| {
                    format!(
                        "{:08x}",
                        (i * 31 + j) * 0x9e37_79b1_u64 as u32 as u64 % 0xffff_ffff
                    )
                })
                .collect();
            db.run(&format!("SET key:{i} {noise}{noise}{noise}{noise}"))
                .ok();
        }
        db.write();
        assert!(disk_bytes_of(db) > 200_000, "{}", disk_bytes_of(db));
    }

    #[test]
    fn a_flush_on_a_full_disk_frees_it() {
        let mut db = Db::tiered(|_| {});
        fill(&mut db);
        let engine = std::sync::Arc::clone(db.engine_arc());
        let mut writer = Writer::new(&engine, tier(&engine));
        db.run("FLUSHALL").ok();
        db.run("SET new 1").ok();
        assert!(writer.recover(false));
        assert!(disk_bytes_of(&db) < 20_000);
        drop(writer);
        drop(engine);
        db.write();
        let mut db = db.killed();
        assert_eq!(keys(&mut db, 0), "new");
        db.run("DBSIZE").int(1);
    }

    #[test]
    fn deleted_keys_give_their_disk_back() {
        for all in ["FLUSHALL", "FLUSHDB", "DEL"] {
            let mut db = Db::tiered(|_| {});
            fill(&mut db);
            match all {
                "DEL" => (0..3_000).for_each(|i| db.run(&format!("DEL key:{i}")).int(1)),
                _ => db.run(all).ok(),
            }
            db.run("SET new 1").ok();
            db.write();
            if all == "DEL" {
                db.run("DEL new").int(1);
                db.write();
            }
            assert!(
                disk_bytes_of(&db) < 120_000,
                "{all}: {}",
                disk_bytes_of(&db)
            );
            let mut db = db.killed();
            let left = if all == "DEL" { "" } else { "new" };
            assert_eq!(keys(&mut db, 0), left);
        }
    }

    #[test]
    fn a_disk_of_which_little_is_wanted_is_cleared_up() {
        let mut db = Db::tiered(|_| {});
        for _ in 0..3 {
            fill(&mut db);
        }
        let before = disk_bytes_of(&db);
        for i in 0..2_700 {
            db.run(&format!("DEL key:{i}")).int(1);
        }
        db.write();
        db.demote_all();
        let engine = std::sync::Arc::clone(db.engine_arc());
        let mut writer = Writer::new(&engine, tier(&engine));
        for _ in 0..60 {
            writer.write_changes().expect("the disk is well");
            writer.keep_limit();
        }
        assert!(
            disk_bytes_of(&db) < before / 3,
            "{before} {}",
            disk_bytes_of(&db)
        );
        drop(writer);
        drop(engine);
        db.run("DBSIZE").int(300);
        let mut db = db.killed();
        db.run("DBSIZE").int(300);
        db.run("EXISTS key:2700 key:2999 key:0 key:2699").int(2);
    }

    #[test]
    fn dbsize_answers_while_the_disk_cannot_be_read() {
        let mut db = cold_keys();
        let disk = tier(db.engine()).disk.lock().take();
        disk.expect("the tier is open")
            .close()
            .expect("the disk is well");
        db.run("SET key0 new").ok();
        // Nobody knows that this is one of the ten.
        db.run("DBSIZE").int(11);
    }
}
