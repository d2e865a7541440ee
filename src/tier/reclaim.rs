//! The limit of the disk: the oldest generation goes, part by part, and its keys with it.
//!
//! Parts are sorted out between two rounds of the writer, as many as there is time for, and go after the second: what of
//! them shall stay is written with everything else, and needs no small runs of its own.
//!
//! What memory holds of a part is written again first, but no more of it than changes have written and the disk holds: where
//! memory holds nearly as much as the disk may take, or more, that would go on for ever. What is not written again is in memory
//! alone. What is on disk alone is written again too, as long as the disk is full of old versions rather than of keys: else keys
//! that never change would have to go because others change all the time.
//!
//! Invariant: a part goes out of sight when no key of it that memory holds counts on its copy. No load may bring in
//! another in between, so they wait for that moment.

use std::ops::Range;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::chunks;
use super::record::{self, Body};
use super::store::{Entry, Part, PartEnd, StoreError};
use super::writer::{Writer, generation_bytes};
use super::{Tier, TierError};
use crate::clock::{self, UnixMs};
use crate::keyspace::KeyHash;
use crate::keyspace::residency::InMemory;
use crate::logging::Repeated;

/// Changes wait to be written meanwhile.
const WORK: Duration = Duration::from_millis(150);
/// Cold keys are written again while there are fewer keys than this share of the records on disk. Where all keys are
/// overwritten equally often a third of the oldest generation is then still wanted, so that for two changes one record is
/// written again.
const KEYS_SHARE: f64 = 0.6;
/// But no more bytes than changes have written, or this part of the limit at once: the disk must become emptier by it,
/// whatever the sizes of keys are.
const KEPT_PART: u64 = 2;

/// A disk of so many bytes is cleared up although it is not full where fewer keys are there than this share of its records
/// without the parts of long values: for each byte that is written again about three come free.
const SPARSE_BYTES: u64 = if cfg!(test) { 256 << 10 } else { 16 << 20 };
const SPARSE_SHARE: f64 = 0.25;
/// If more of a part, which has about twice as many bytes, is written again that is not so.
const SPARSE_PART_BYTES: u64 = 1024 * 1024;

/// Keys that go with a part, if nothing is written over them.
#[derive(Default)]
struct Going {
    keys: Vec<GoingKey>,
    /// As they are on disk.
    bytes: Vec<u8>,
}

struct GoingKey {
    hash: KeyHash,
    on_disk: Range<usize>,
    expires_at: Option<UnixMs>,
}

impl Going {
    fn push(&mut self, hash: KeyHash, on_disk: &[u8], expires_at: Option<UnixMs>) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(on_disk);
        let on_disk = start..self.bytes.len();
        self.keys.push(GoingKey {
            hash,
            on_disk,
            expires_at,
        });
    }
}

/// Larger records do not tell of chunks.
const CHUNKED_BYTES_MAX: u32 = 64 * 1024;

static TOO_SMALL: Repeated = Repeated::new("The disk tier is too small for what memory holds");

/// How many bytes of keys may be written again.
#[derive(Debug, Default)]
pub(super) struct Allowance {
    bytes: Option<u64>,
    /// What had been written when it was last looked at.
    written: u64,
}

impl Allowance {
    /// With what changes have added to it; `most` is what it is at first, and at the most.
    fn take(&mut self, tier: &Tier, most: u64) -> u64 {
        let written = tier.store.stats().bytes_ingested;
        // What was spent may be written later.
        let more = written.saturating_sub(self.written);
        self.written = written.max(self.written);
        let bytes = self.bytes.map_or(most, |bytes| (bytes + more).min(most));
        *self.bytes.insert(bytes)
    }

    fn spend(&mut self, kept: u64) {
        self.written += kept;
        self.bytes = self.bytes.map(|bytes| bytes.saturating_sub(kept));
    }
}

/// Parts of the oldest generation that were sorted out and are still in sight.
pub(super) struct Leaving {
    going: Going,
    end: PartEnd,
}

/// A record that is written again, of a key or one of its chunks.
struct Kept {
    on_disk: Vec<u8>,
    of: Rc<Entry>,
}

fn keep(found: Entry, body: &Body<'_>, kept: &mut Vec<Kept>) {
    let of = Rc::new(found);
    let key = of.key.to_vec();
    if let Body::Chunks(pieces) = body {
        let chunks = pieces.iter().flat_map(|piece| chunks::keys(&key, piece));
        kept.extend(chunks.map(|on_disk| Kept {
            on_disk,
            of: Rc::clone(&of),
        }));
    }
    kept.push(Kept { on_disk: key, of });
}

/// Whether a key is counted as below, and leaves that count with its copy.
fn is_going(found: InMemory) -> bool {
    matches!(found, InMemory::Nothing | InMemory::Unverified)
}

fn chunk_bytes(body: &Body<'_>) -> u64 {
    match body {
        Body::Value(_) => 0,
        Body::Chunks(pieces) => pieces.stored_bytes(),
    }
}

/// What a record and its chunks take.
fn stored_bytes(found: &Entry) -> Result<u64, TierError> {
    let size = u64::from(found.size);
    if found.size > CHUNKED_BYTES_MAX {
        return Ok(size);
    }
    let record = found.record()?.unwrap_or_default();
    let (_, body) = record::decode(&record).ok_or(TierError::Record)?;
    Ok(size + chunk_bytes(&body))
}

impl Writer<'_> {
    /// Keeps the limit of the disk after a run, as far as there is time until the next.
    pub(super) fn keep_limit(&mut self) {
        if let Err(error) = self.let_parts_go() {
            tracing::error!("The disk tier could not keep its limit: {error}");
            self.leaving = None;
        }
    }

    fn let_parts_go(&mut self) -> Result<(), TierError> {
        self.finish_parts()?;
        self.sort_out_parts()?;
        // It cannot wait for the next round.
        while self.tier.store.is_overfull() {
            self.write_changes()?;
            self.finish_parts()?;
            self.sort_out_parts()?;
        }
        Ok(())
    }

    fn sort_out_parts(&mut self) -> Result<(), TierError> {
        let start = Instant::now();
        while start.elapsed() < WORK {
            let is_full = self.tier.store.is_full();
            if !is_full && !self.may_clear_up() {
                break;
            }
            let after = self.leaving.as_ref().map(|leaving| leaving.end);
            let part = match self.tier.disk.lock().as_mut() {
                Some(disk) => disk.next_part(after)?,
                None => return Err(StoreError::Closed.into()),
            };
            let Some(part) = part else { break };
            let end = part.end();
            let before = self.leaving.take();
            let end_before = before.as_ref().map(|leaving| leaving.end);
            let mut going = before.map_or_else(Going::default, |leaving| leaving.going);
            match self.sort_out(part, &mut going, !is_full) {
                Ok(true) => self.leaving = Some(Leaving { going, end }),
                Ok(false) => {
                    self.leaving = end_before.map(|end| Leaving { going, end });
                    break;
                }
                Err(error) if is_full => {
                    tracing::error!("A generation goes whose keys cannot be read: {error}");
                    return self.finish_unread(end.of_all());
                }
                Err(error) => {
                    self.look_again_later();
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// What has come into memory since it was sorted out is to be written by the round that begins.
    pub(super) fn keep_what_was_loaded(&mut self) {
        if let Some(mut leaving) = self.leaving.take() {
            // The round that begins writes it.
            let _ = self.retain_going(&mut leaving);
            self.leaving = Some(leaving);
        }
    }

    /// Takes out what does not go any more. True where a key must be written again before the others go.
    fn retain_going(&self, leaving: &mut Leaving) -> bool {
        let (keyspace, generation) = (&self.engine.keyspace, leaving.end.generation());
        let Going { keys, bytes } = &mut leaving.going;
        let mut are_copied = false;
        keys.retain(|key| {
            let on_disk = &bytes[key.on_disk.clone()];
            let Some((name, of)) = record::decode_key(on_disk) else {
                return false;
            };
            let found = match keyspace.in_memory(key.hash, name, of, self.thread) {
                // Of a key that was written meanwhile memory has a newer copy than this.
                InMemory::Copied if !self.has_newer(generation, key.hash, on_disk) => {
                    let found = self.keep_copy(key.hash, on_disk, true);
                    are_copied |= found == InMemory::Copied;
                    found
                }
                found => found,
            };
            is_going(found)
        });
        are_copied
    }

    /// Whether there is a newer version of a key; not where that cannot be read.
    fn has_newer(&self, generation: u64, hash: KeyHash, on_disk: &[u8]) -> bool {
        let found = self.tier.store.has_newer(generation, hash.value(), on_disk);
        found.unwrap_or(false)
    }

    /// Sees to it that keys which shall stay are written again, and adds the others to those that go. With `all` every key
    /// must stay; false where that would be too much.
    fn sort_out(&mut self, part: Part, going: &mut Going, all: bool) -> Result<bool, TierError> {
        let (generation, now) = (part.generation(), clock::now());
        let (keys_before, bytes_before) = (going.keys.len(), going.bytes.len());
        let most = self.tier.store.max_bytes();
        let mut allowance = match self.keeps_cold_keys() {
            true => self.allowance.take(self.tier, most / KEPT_PART),
            false => 0,
        };
        let (of_memory, mut queued) = (self.memory_allowance.take(self.tier, most), 0);
        let mut kept = Vec::new();
        let store = &self.tier.store;
        for found in part {
            let found = found?;
            let hash = store.hash_of(&found.key);
            if found.is_marker() || store.has_newer(generation, hash, &found.key)? {
                continue;
            }
            let hash = KeyHash::of_value(hash);
            let again = all || queued < of_memory;
            let here = self.keep_copy(hash, &found.key, again);
            if here == InMemory::Copied && again {
                queued += found.key.len() as u64 + stored_bytes(&found)?;
            } else if here == InMemory::Copied {
                TOO_SMALL.error(&"some of it is in memory alone, raise tier-max-bytes");
            }
            if !is_going(here) {
                continue;
            }
            let record = found.record()?.unwrap_or_default();
            let (head, body) = record::decode(&record).ok_or(TierError::Record)?;
            let lives = head.expires_at.is_none_or(|at| at > now);
            let bytes = found.key.len() as u64 + u64::from(found.size) + chunk_bytes(&body);
            if lives && here == InMemory::Nothing && bytes <= allowance {
                allowance -= bytes;
                keep(found, &body, &mut kept);
            } else if lives && here == InMemory::Nothing && all {
                going.keys.truncate(keys_before);
                going.bytes.truncate(bytes_before);
                self.look_again_later();
                return Ok(false);
            } else {
                going.push(hash, &found.key, head.expires_at);
            }
        }
        self.memory_allowance.spend(queued);
        let again = self.write_again(kept)?;
        self.allowance.spend(again);
        if all && again + queued > SPARSE_PART_BYTES {
            self.look_again_later();
        }
        Ok(true)
    }

    /// Whether little of what is on disk is wanted, so that it pays to write that again and drop the rest; or the oldest generation
    /// had better go for another reason.
    fn may_clear_up(&self) -> bool {
        let (tier, keyspace) = (self.tier, &self.engine.keyspace);
        let store = tier.store.stats();
        let may_look = store.bytes_ingested >= self.dense_until
            && tier.is_counted.load(Ordering::Acquire)
            && self.engine.config.load().tier_ttl_s == 0;
        let records = store.records.saturating_sub(store.parts);
        let is_sparse = || {
            generation_bytes(tier) >= SPARSE_BYTES
                && (keyspace.size() as f64) < records as f64 * SPARSE_SHARE
        };
        may_look && (tier.store.had_better_go() || is_sparse())
    }

    /// There is more on disk that is wanted than it seemed: it is looked again when as much has been written as is there.
    fn look_again_later(&mut self) {
        let store = self.tier.store.stats();
        self.dense_until = store.bytes_ingested + generation_bytes(self.tier);
    }

    /// Sees to it that a key gets a newer copy where memory has the version of this one.
    fn keep_copy(&self, hash: KeyHash, on_disk: &[u8], again: bool) -> InMemory {
        let keyspace = &self.engine.keyspace;
        // A chunk goes with its key.
        record::decode_key(on_disk).map_or(InMemory::Apart, |(name, key)| {
            keyspace.keep_copy((hash, name, key), again, self.thread)
        })
    }

    /// Whether there are few keys on disk among many old versions.
    fn keeps_cold_keys(&self) -> bool {
        let (tier, keyspace) = (self.tier, &self.engine.keyspace);
        // An old record may not stay by being written again.
        let may_stay = self.engine.config.load().tier_ttl_s == 0;
        let records = tier.store.stats().records as f64;
        let is_counted = tier.is_counted.load(Ordering::Acquire);
        may_stay && is_counted && (keyspace.size() as f64) < records * KEYS_SHARE
    }

    fn write_again(&self, mut kept: Vec<Kept>) -> Result<u64, TierError> {
        if kept.is_empty() {
            return Ok(0);
        }
        // The chunks of a key come before it.
        kept.sort_unstable_by(|a, b| a.on_disk.cmp(&b.on_disk));
        let mut disk = self.tier.disk.lock();
        let mut run = disk.as_mut().ok_or(StoreError::Closed)?.begin_run()?;
        for Kept { on_disk, of } in kept {
            let record = of.neighbour(&on_disk)?.ok_or(TierError::Chunk)?;
            run.write(self.tier.store.hash_of(&on_disk), &on_disk, &record)?;
        }
        Ok(run.finish()?.bytes)
    }

    /// Lets go of what was sorted out, when a round has written what shall stay of it.
    fn finish_parts(&mut self) -> Result<(), TierError> {
        let Some(mut leaving) = self.leaving.take() else {
            return Ok(());
        };
        let tier = self.tier;
        let loads_wait = tier.loads.pause();
        // What was loaded during the round.
        if self.retain_going(&mut leaving) {
            self.write_changes()?;
        }
        self.let_go(leaving.end)?;
        drop(loads_wait);
        self.count_out(&leaving.going, leaving.end)
    }

    /// Nobody knows whose copies go: all that memory holds is written again.
    fn finish_unread(&mut self, end: PartEnd) -> Result<(), TierError> {
        let tier = self.tier;
        let _loads_wait = tier.loads.pause();
        self.engine.keyspace.unverify_copies(self.thread);
        self.write_changes()?;
        self.let_go(end)
    }

    fn let_go(&self, end: PartEnd) -> Result<(), TierError> {
        let mut disk = self.tier.disk.lock();
        let freed = disk.as_mut().ok_or(StoreError::Closed)?.let_go(end)?;
        if freed > 0 {
            tracing::debug!("The oldest generation of the disk tier went: {freed} bytes");
        }
        Ok(())
    }

    /// Takes the keys that went out of the counts.
    fn count_out(&self, going: &Going, end: PartEnd) -> Result<(), TierError> {
        let (store, keyspace) = (&self.tier.store, &self.engine.keyspace);
        let mut evicted = 0;
        for key in &going.keys {
            let on_disk = &going.bytes[key.on_disk.clone()];
            // Written over since.
            if store.has_newer(end.generation(), key.hash.value(), on_disk)? {
                continue;
            }
            if let Some((name, of)) = record::decode_key(on_disk) {
                let gone = keyspace.lose_copy((key.hash, name, of), key.expires_at, self.thread);
                evicted += i64::from(gone);
            }
        }
        keyspace.counters(self.thread).evicted.add(evicted);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TierCompression;
    use crate::testing::Db;

    fn tier(db: &Db) -> &Tier {
        db.engine().tier.as_ref().expect("there is a tier")
    }

    /// The part of the disk that goes first.
    fn first_part(db: &Db) -> Part {
        let mut disk = tier(db).disk.lock();
        let disk = disk.as_mut().expect("the tier is open");
        let part = disk.next_part(None).expect("the disk is well");
        part.expect("it has keys")
    }

    #[test]
    fn what_is_out_of_sight_is_what_was_sorted_out() {
        let mut db = Db::tiered(|_| {});
        for i in 0..6_000 {
            db.run(&format!("SET key{i} {i:0200}")).ok();
        }
        db.write();
        let engine = std::sync::Arc::clone(db.engine_arc());
        let tier = tier(&db);
        let mut disk = tier.disk.lock();
        let disk = disk.as_mut().expect("the tier is open");
        let part = disk.next_part(None).expect("the disk is well");
        let part = part.expect("it has keys");
        let end = part.end();
        let sorted_out: Vec<_> = part
            .map(|found| found.expect("the disk is well").key.to_vec())
            .collect();
        disk.let_go(end).expect("the disk is well");
        let mut gone = 0;
        for i in 0..6_000 {
            let key = format!("key{i}");
            let hash = engine.keyspace.hash(key.as_bytes());
            let mut on_disk = Vec::new();
            let place = crate::keyspace::residency::Place::of(hash);
            record::encode_key(place, 0, key.as_bytes(), &mut on_disk);
            let found = tier.store.find(hash.value(), &on_disk);
            let found = found.expect("the disk is well").is_some();
            assert_eq!(found, !sorted_out.contains(&on_disk), "{key}");
            gone += usize::from(!found);
        }
        assert!(gone > 0 && gone < 6_000, "{gone}");
    }

    /// The rest of a generation of which a part had gone was taken for that of a full disk: of hot keys, which leave many old
    /// versions, those went for good that nobody had changed for a second.
    #[test]
    fn a_disk_that_is_not_full_keeps_all_keys_while_it_is_cleared_up() {
        const KEYS: usize = 1_500;
        let mut db = Db::tiered(|_| {});
        for round in 0..3 {
            for i in 0..KEYS {
                db.run(&format!("SET key{i} {round}{i:0200}")).ok();
            }
            db.write();
        }
        db.demote_all();
        let engine = std::sync::Arc::clone(db.engine_arc());
        let tier = engine.tier.as_ref().expect("there is a tier");
        let mut writer = Writer::new(&engine, tier);
        let part = first_part(&db);
        let end = part.end();
        let sorted = writer.sort_out(part, &mut Going::default(), true);
        assert!(sorted.expect("the disk is well"));
        writer.let_go(end).expect("the disk is well");
        // Now there are as many keys as records, nearly.
        for i in 0..10 * KEYS {
            db.run(&format!("SET another{i} 1")).ok();
        }
        for _ in 0..5 {
            writer.write_changes().expect("the disk is well");
            writer.keep_limit();
        }
        drop(writer);
        drop(engine);
        db.run("DBSIZE").int(11 * KEYS.cast_signed() as i64);
        let mut db = db.killed();
        for i in 0..KEYS {
            db.run(&format!("GET key{i}")).bulk(format!("2{i:0200}"));
        }
    }

    /// Any error dropped the oldest generation, as where a full disk cannot be read.
    #[test]
    fn a_disk_that_is_not_full_loses_no_generation_by_an_error() {
        let mut db = Db::tiered(|config| config.tier_compression = TierCompression::None);
        for round in 0..6 {
            for i in 0..200 {
                db.run(&format!("SET key{i} {round}{i:04000}")).ok();
            }
            db.write();
        }
        db.demote_all();
        let engine = std::sync::Arc::clone(db.engine_arc());
        let tier = engine.tier.as_ref().expect("there is a tier");
        let oldest = |tier: &Tier| tier.store.generations().last().map(|last| last.number);
        let before = oldest(tier).expect("there are records");
        let blobs = tier.dir.join(format!("generations/{before:016x}/blobs"));
        for blob in std::fs::read_dir(blobs).expect("long records lie apart") {
            let path = blob.expect("it can be read").path();
            let len = std::fs::read(&path).expect("it can be read").len();
            std::fs::write(&path, vec![0; len]).expect("it can be written");
        }
        let mut writer = Writer::new(&engine, tier);
        assert!(writer.may_clear_up());
        for _ in 0..5 {
            writer.write_changes().expect("the disk is well");
            writer.keep_limit();
        }
        assert_eq!(oldest(tier), Some(before));
        assert!(!writer.may_clear_up(), "not at once again");
    }

    #[test]
    fn a_key_that_is_set_while_its_copy_goes_is_counted_once() {
        let mut db = Db::tiered(|_| {});
        for i in 0..10 {
            db.run(&format!("SET key{i} old")).ok();
        }
        db.write();
        db.demote_all();
        let part = first_part(&db);
        let end = part.end();
        let mut writer = Writer::new(db.engine(), tier(&db));
        let mut going = Going::default();
        let sorted = writer.sort_out(part, &mut going, false);
        sorted.expect("the disk is well");
        assert_eq!(going.keys.len(), 10);
        // Set before its copy is out of sight, and after.
        db.run("SET key0 new").ok();
        let writer = Writer::new(db.engine(), tier(&db));
        writer.let_go(end).expect("the disk is well");
        db.run("SET key1 new").ok();
        db.run("SET key2 new").ok();
        // Until what went is counted out.
        db.run("DBSIZE").int(13);
        let writer = Writer::new(db.engine(), tier(&db));
        writer.count_out(&going, end).expect("the disk is well");
        db.run("DBSIZE").int(3);
        for i in 0..3 {
            db.run(&format!("GET key{i}")).bulk("new");
        }
        db.run("GET key3").nil();
        db.write();
        db.run("DBSIZE").int(3);
    }

    #[test]
    fn a_reader_of_a_group_is_told_when_its_stream_goes_with_a_generation() {
        const GONE: &str =
            "NOGROUP No such key 's' or consumer group 'g' in XREADGROUP with GROUP option";
        for is_read in [true, false] {
            let mut db = Db::tiered(|_| {});
            db.run("XADD s 1-1 a 1").bulk("1-1");
            db.run("XGROUP CREATE s g $").ok();
            // So that what is on disk is wanted, and nothing is written again.
            for i in 0..10 {
                db.run(&format!("SET key{i} v")).ok();
            }
            db.switch(1);
            db.run("XREADGROUP GROUP g me BLOCK 0 STREAMS s >").is("");
            db.switch(0);
            db.write();
            db.demote_all();
            let part = first_part(&db);
            let end = part.end();
            let mut writer = Writer::new(db.engine(), tier(&db));
            if is_read {
                let mut going = Going::default();
                let sorted = writer.sort_out(part, &mut going, false);
                sorted.expect("the disk is well");
                writer.let_go(end).expect("the disk is well");
                writer.count_out(&going, end).expect("the disk is well");
            } else {
                drop(part);
                writer
                    .finish_unread(end.of_all())
                    .expect("the disk is well");
            }
            db.run("PING").simple("PONG");
            db.switch(1);
            db.run("XREADGROUP GROUP g me BLOCK 0 STREAMS s >")
                .error(GONE);
        }
    }
}
