//! The writer: takes what changed in memory, and makes it safe below.
//!
//! Changes are coalesced for each key: what is written is the state at the time of writing, so a
//! counter that is set a thousand times a second costs one record. They go as one sorted run into the
//! newest generation, whose end makes all of it durable and visible at once. So does a group in the log of
//! `tier-durability always`, until the next run has what is in it.
//!
//! Memory is taken for a slice of changes at a time ([`Copies`]). A long value is read from the keyspace and written part by
//! part ([`ChunkWriter`]); if it changes meanwhile it is copied whole, once more, and written from that copy.
//!
//! Invariant: an entry counts as safe only after its run has ended well; until then memory keeps it.
//! Where a run fails all of its entries wait again, and nothing else changes.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::chunks::{self, ChunkWriter, LONG_BYTES};
use super::compress::{Compressor, Method, encode_raw};
use super::copies::{Copies, Value};
use super::limit::{Allowance, Leaving};
use super::log::Log;
use super::pace::Round;
use super::record::{self, Body, Chunks};
use super::store::{self, Recovery, Run, Store, StoreError};
use super::warm::{self, ColdPins, Pins};
use super::{Spaces, Tier};
use crate::clock::{self, UnixMs};
use crate::config::TierCompression;
use crate::engine::Engine;
use crate::keyspace::below::{Place, Versions};
use crate::keyspace::cold::ColdCounts;
use crate::keyspace::{DATABASES, ThreadSlot};

/// Changes begin to be written after this time at the latest, so that they are safe within a second.
const PERIOD: Duration = Duration::from_millis(700);
/// And as soon as they take so many bytes.
const RUN_BYTES: usize = 32 * 1024 * 1024;
/// A store that the disk was too full for is opened anew when there is so much room.
const FREE_BYTES_MIN: u64 = 64 * 1024 * 1024;
/// What has changed of a collection may take this part of it on disk: then all of it is written again.
const CHANGES_PART: u64 = 2;
/// So many names of spaces are reserved ahead: as many databases can be emptied before the next round saves the names.
const NAMES_AHEAD: u32 = 1024;
/// After a failure the next try waits so long.
const RETRY: Duration = Duration::from_secs(1);

/// The writer's life.
pub(super) fn run(engine: &Engine) {
    let Some(tier) = &engine.tier else { return };
    let mut writer = Writer::new(engine, tier);
    let mut last = Instant::now();
    let mut kept = last;
    loop {
        let is_due = || last.elapsed() >= PERIOD || engine.keyspace.unwritten_bytes() >= RUN_BYTES;
        let Some((round, stopped)) = tier.pace.begin(is_due) else {
            continue;
        };
        if stopped {
            engine.keyspace.prepare_end(writer.thread);
        }
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
                tracing::error!("The disk tier could not be written, it is tried again: {error}");
                writer.revive();
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
                writer.close(written.is_ok(), are_listed);
                return;
            }
        }
        if written.is_err() {
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
    pub(super) allowance: Allowance,
    pub(super) leaving: Option<Leaving>,
    spaces: Spaces,
    /// Whether there is a list of pinned keys.
    has_pins: bool,
}

/// Where changes are made durable.
enum Sink<'a, 'r> {
    Run(&'a mut Run<'r>),
    Log(&'a mut Log),
}

impl Sink<'_, '_> {
    /// Writes a record; an empty one says that the key is gone.
    fn put(&mut self, hash: u64, key: &[u8], record: &[u8]) -> Result<(), StoreError> {
        match self {
            Self::Run(run) if record.is_empty() => run.mark(hash, key),
            Self::Run(run) => run.write(hash, key, record),
            Self::Log(log) => log.append(key, record).map_err(StoreError::File),
        }
    }

    fn is_run(&self) -> bool {
        matches!(self, Self::Run(_))
    }

    /// The generation that it will be in.
    fn target(&self, store: &Store) -> Option<u64> {
        match self {
            Self::Run(run) => Some(run.generation()),
            Self::Log(_) => store.newest(),
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
            allowance: Allowance::default(),
            leaving: None,
            spaces: Spaces::decode(&tier.store.blob()).unwrap_or_default(),
            has_pins: warm::has_pins(&tier.dir),
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
        let keyspace = &self.engine.keyspace;
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
                self.tier.log_bytes.store(0, Ordering::Relaxed);
                *self.tier.classes.lock() = self.compressor.stats();
                *self.tier.last_write.lock() = Some(clock::now());
                self.tier.measure_memory(self.compressor.memory_bytes());
            }
            Err(_) => keyspace.unsettle(&places, self.thread),
        }
        written
    }

    /// Makes durable what has changed so far, for replies that wait for it. Memory keeps it until the next run.
    fn log_changes(&mut self) -> Result<(), StoreError> {
        let keyspace = &self.engine.keyspace;
        let places = keyspace.take_changed();
        let logged = self.save_spaces(None).and_then(|()| {
            let mut log = self.tier.log.lock();
            let before = log.bytes();
            let logged = self.write_log(&places, &mut log);
            if logged.is_err() {
                log.roll_back();
            }
            let more = log.bytes().saturating_sub(before);
            self.tier.logged_bytes.fetch_add(more, Ordering::Relaxed);
            self.tier.log_bytes.store(log.bytes(), Ordering::Relaxed);
            logged
        });
        match logged {
            Ok(()) => self.logged.extend(places),
            Err(_) => keyspace.unsettle(&places, self.thread),
        }
        logged
    }

    fn write_log(&mut self, places: &[Place], log: &mut Log) -> Result<(), StoreError> {
        self.write_places(places, &mut Sink::Log(log))?;
        log.commit().map_err(StoreError::File)
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
                    self.engine.keyspace.doubt_copies(self.thread);
                }
            }
            Some(Err(error)) => tracing::error!("The disk tier could not be opened anew: {error}"),
            None => {}
        }
    }

    /// Before records under a new name are written the name must be known, and those that may be given out meanwhile must be
    /// reserved.
    fn save_spaces(&mut self, keys: Option<Vec<ColdCounts>>) -> Result<(), StoreError> {
        let keyspace = &self.engine.keyspace;
        let (names, next_name) = keyspace.space_names();
        let is_short = self.spaces.next_name < next_name.saturating_add(NAMES_AHEAD / 2);
        let next_name = match is_short {
            true => next_name.saturating_add(NAMES_AHEAD),
            false => self.spaces.next_name,
        };
        let spaces = Spaces {
            next_name,
            names,
            keys,
        };
        if spaces != self.spaces {
            self.tier.store.set_blob(spaces.encode())?;
            self.spaces = spaces;
        }
        keyspace.reserve_names(self.spaces.next_name);
        Ok(())
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

    fn write_run(&mut self, places: &[Place]) -> Result<(), StoreError> {
        if places.is_empty() {
            return Ok(());
        }
        let mut disk = self.tier.disk.lock();
        let mut run = disk.as_mut().ok_or(StoreError::Closed)?.begin_run()?;
        self.write_places(places, &mut Sink::Run(&mut run))?;
        run.finish()?;
        Ok(())
    }

    fn write_places(
        &mut self,
        places: &[Place],
        sink: &mut Sink<'_, '_>,
    ) -> Result<(), StoreError> {
        // What is in the log is written again by the next run, which tells all that has changed since the last one.
        self.versions.follow = sink.is_run();
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

    fn write_copies(&mut self, sink: &mut Sink<'_, '_>) -> Result<(), StoreError> {
        let mut next = 0;
        while next < self.copies.len() {
            let place = self.copies.place_from(next);
            next = place.end;
            // Chunks lie before all keys of their place.
            for index in place.clone() {
                self.write_long(index, sink)?;
            }
            for index in place {
                self.write_entry(index, sink)?;
            }
        }
        Ok(())
    }

    /// Writes the chunks of an entry, if its value is long or a large collection.
    fn write_long(&mut self, index: usize, sink: &mut Sink<'_, '_>) -> Result<(), StoreError> {
        let (keyspace, thread) = (&self.engine.keyspace, self.thread);
        if matches!(self.copies.entry(index).value, Value::Changes(..)) {
            if self.write_piece(index, sink)? {
                return Ok(());
            }
            let versions = Some(&mut self.versions);
            self.copies.take_again(index, keyspace, thread, versions);
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
        self.write_long(index, sink)
    }

    /// Writes what has changed of a collection as a piece behind those that the disk has of it. False where that cannot be
    /// done or does not pay: all of it must be written.
    fn write_piece(&mut self, index: usize, sink: &mut Sink<'_, '_>) -> Result<bool, StoreError> {
        let entry = self.copies.entry(index);
        let hash = entry.hash.value();
        let Value::Changes(head, since, mut changes) = entry.value.clone() else {
            return Ok(false);
        };
        self.key.clear();
        let key = self.copies.key(index);
        record::encode_key(entry.place, entry.name, key, &mut self.key);
        let found = self.tier.store.find(hash, &self.key)?;
        let store = &self.tier.store;
        let Some(found) = found.filter(|found| Some(found.generation()) == sink.target(store))
        else {
            return Ok(false);
        };
        let Some((_, Body::Chunks(pieces))) = record::decode(&found.record) else {
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
            let neighbour = |key: &[u8]| found.neighbour(key);
            let piece = self
                .tier
                .read_piece(&self.key, last, &neighbour, &mut self.record);
            let Ok(mut all) = piece.inspect_err(|error| {
                tracing::error!("Changes of a collection could not be read: {error}");
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
        sink: &mut Sink<'_, '_>,
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

    fn write_entry(&mut self, index: usize, sink: &mut Sink<'_, '_>) -> Result<(), StoreError> {
        if self.copies.entry(index).value.is_pinned() {
            self.begin_pins()?;
        }
        let entry = self.copies.entry(index);
        let key = self.copies.key(index);
        self.key.clear();
        record::encode_key(entry.place, entry.name, key, &mut self.key);
        let hash = entry.hash.value();
        if entry.unsure && sink.is_run() {
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
            Value::Absent if !sink.is_run() || self.tier.store.may_hold(hash) => {}
            Value::Absent | Value::Gone => return Ok(()),
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
        // A run has saved the names when a database is emptied, and takes what is written into it then.
        let mut writer = Writer::new(db.engine(), tier(db.engine()));
        writer.save_spaces(None).expect("the disk is well");
        let engine = std::sync::Arc::clone(db.engine_arc());
        db.run("FLUSHDB").ok();
        db.run("SET b 2").ok();
        let mut writer = Writer::new(&engine, tier(&engine));
        let places = engine.keyspace.take_changed();
        writer.write_run(&places).expect("the disk is well");
        drop(engine);
        let mut db = db.killed();
        // Another database is emptied, and gets the next name.
        db.run("SELECT 1").ok();
        db.run("SET c 3").ok();
        db.run("FLUSHDB").ok();
        db.run("EXISTS b").int(0);
        db.run("SET c 4").ok();
        db.run("DBSIZE").int(1);
        db.run("KEYS *").bulks(&["c"]);
    }

    /// More names than are reserved: what has one of them waits for the next round.
    #[test]
    fn what_has_no_reserved_name_is_written_by_the_next_round() {
        let mut db = Db::tiered(|_| {});
        db.write();
        let engine = std::sync::Arc::clone(db.engine_arc());
        let mut writer = Writer::new(&engine, tier(&engine));
        for i in 0..=NAMES_AHEAD {
            db.run(&format!("SET k {i}")).ok();
            db.run("FLUSHDB").ok();
        }
        db.run("SET k last").ok();
        let places = engine.keyspace.take_changed();
        writer.write_run(&places).expect("the disk is well");
        engine.keyspace.settle(&places, writer.thread);
        let told = db.run("TIER.INFO k");
        assert!(String::from_utf8_lossy(told.bytes()).contains("dirty"));
        drop(writer);
        db.write();
        let told = db.run("TIER.INFO k");
        assert!(String::from_utf8_lossy(told.bytes()).contains("clean"));
        drop(engine);
        let mut db = db.killed();
        db.run("GET k").bulk("last");
        db.run("DBSIZE").int(1);
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
