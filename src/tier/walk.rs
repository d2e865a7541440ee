//! Walks over all keys of a database, in memory and on disk: SCAN, KEYS, RANDOMKEY and the digest; and what DBSIZE must
//! know.
//!
//! Both have the same order, that of places, which are the cursor. A page is a range of places: first
//! what memory holds there, then what the disk holds there. A key that stays is never missed, wherever
//! it moves meanwhile: what memory did not hold when it was asked is on disk, since its copy there
//! outlives every stay in memory. A key that was deleted before is never told: memory has its absent mark
//! when it is asked, or else the disk has its marker, which was there before the mark went.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::compress::{Encoded, Form};
use super::record::Body;
use super::store::{self, Located, StoreError};
use super::writer::expiry;
use super::{Tier, TierError, Wanted, record};
use crate::clock::UnixMs;
use crate::engine::Engine;
use crate::keyspace::below::{Ask, DiskCopy, Listed, Page, Place, Presence, Shadowed};
use crate::keyspace::entry::EntryRef;
use crate::keyspace::{Keyspace, ThreadSlot};

/// DBSIZE waits so long at most for keys to be looked for.
const COUNT_TIME_MAX: Duration = Duration::from_secs(5);
/// One more than the largest place.
const END: u64 = 1 << 32;

impl Tier {
    /// Answers a question over all keys. For a reader.
    pub(crate) fn answer(&self, engine: &Engine, ask: Ask, thread: ThreadSlot) -> Page {
        let walk = Walk {
            tier: self,
            engine,
            keyspace: &engine.keyspace,
            thread,
        };
        let answered = match ask {
            // Nothing to read for it.
            Ask::Sync => Ok(Page::default()),
            Ask::Count => walk.look_for_unsure(),
            Ask::Key { db, key, now } => walk.fetch(db, key, now),
            Ask::Copy { db, key } => walk.copy(db, &key),
            Ask::Everything { databases, now } => walk.everything(databases, now),
            Ask::Keys {
                db,
                cursor,
                count,
                now,
            } => walk.pages(db, cursor, count, false, now),
            Ask::AnyKey { db, random, now } => walk.any_key(db, random, now),
        };
        answered.unwrap_or_else(|error| {
            tracing::error!("The disk tier could not be walked over: {error}");
            Page {
                failed: true,
                ..Page::default()
            }
        })
    }
}

impl Tier {
    /// The version below of a key that memory holds.
    pub(super) fn shadowed(
        &self,
        hash: u64,
        on_disk: &[u8],
    ) -> Result<Option<Shadowed>, StoreError> {
        match self.store.get(hash, on_disk) {
            Ok(record) => Ok(record.map(|record| Shadowed {
                expires_at: expiry(&record),
            })),
            Err(error) if error.is_damage() => {
                // Damage must not keep new versions from being written. It was counted, most likely.
                tracing::error!("The disk tier could not read what a key had before: {error}");
                Ok(Some(Shadowed { expires_at: None }))
            }
            Err(error) => Err(error),
        }
    }
}

struct Walk<'a> {
    tier: &'a Tier,
    engine: &'a Engine,
    keyspace: &'a Keyspace,
    thread: ThreadSlot,
}

impl Walk<'_> {
    fn fetch(&self, db: usize, key: Box<[u8]>, now: UnixMs) -> Result<Page, TierError> {
        let wanted = Wanted {
            hash: self.keyspace.hash(&key),
            name: self.keyspace.space_name(db),
            key,
        };
        self.tier.load_now(self.engine, &wanted, now, self.thread)?;
        Ok(Page::default())
    }

    /// Looks below for all keys that were written without that. The writer does it too: whoever comes first.
    fn look_for_unsure(&self) -> Result<Page, TierError> {
        let start = Instant::now();
        let mut places = self.keyspace.unsure_places();
        while !places.is_empty() && start.elapsed() < COUNT_TIME_MAX {
            let mut again = Vec::new();
            for place in places {
                if start.elapsed() < COUNT_TIME_MAX && !self.look_at(place)? {
                    again.push(place);
                }
            }
            places = again;
        }
        Ok(Page::default())
    }

    /// False where it must be done again.
    fn look_at(&self, place: Place) -> Result<bool, TierError> {
        let mut all = true;
        for unsure in self.keyspace.unsure_at(place, self.thread) {
            let mut on_disk = Vec::new();
            record::encode_key(place, unsure.name, &unsure.key, &mut on_disk);
            // What goes out of sight in between would leave the count twice.
            let _under_way = self.tier.loads.begin();
            let older = self.tier.shadowed(unsure.hash.value(), &on_disk)?;
            all &= self.keyspace.looked_for(&unsure, older, self.thread);
        }
        Ok(all)
    }

    fn copy(&self, db: usize, key: &[u8]) -> Result<Page, TierError> {
        let hash = self.keyspace.hash(key);
        let held = self.keyspace.presence(hash, db, key, self.thread) == Presence::Held;
        let mut on_disk = Vec::new();
        let name = self.keyspace.space_name(db);
        record::encode_key(Place::of(hash), name, key, &mut on_disk);
        let found = self.tier.store.find(hash.value(), &on_disk)?;
        let copy = found.map(|located| disk_copy(&located));
        Ok(Page {
            copy: copy.transpose()?,
            held,
            ..Page::default()
        })
    }

    fn everything(&self, databases: usize, now: UnixMs) -> Result<Page, TierError> {
        let mut all = Page::default();
        for db in 0..databases {
            all.keys
                .extend(self.pages(db, 0, usize::MAX, true, now)?.keys);
        }
        Ok(all)
    }

    /// At least `count` keys from a cursor on, if there are so many.
    fn pages(
        &self,
        db: usize,
        mut cursor: u64,
        count: usize,
        values: bool,
        now: UnixMs,
    ) -> Result<Page, TierError> {
        let mut page = Page::default();
        if cursor >= END {
            return Ok(page);
        }
        loop {
            let left = count - page.keys.len().min(count);
            cursor = self.range(db, cursor, left.max(1), values, now, &mut page.keys)?;
            if cursor == 0 || page.keys.len() >= count {
                page.next = cursor;
                return Ok(page);
            }
        }
    }

    /// The keys of a range of places that begins at `cursor`. Gives its end, 0 for that of all.
    fn range(
        &self,
        db: usize,
        cursor: u64,
        count: usize,
        values: bool,
        now: UnixMs,
        listed: &mut Vec<Listed>,
    ) -> Result<u64, TierError> {
        let mut in_memory = Vec::new();
        let mut held: HashSet<Box<[u8]>> = HashSet::new();
        let mut show = |entry: EntryRef<'_>, lives| {
            held.insert(entry.key().into());
            if lives {
                in_memory.push(Listed::of_entry(db, entry, values));
            }
        };
        let next = self
            .keyspace
            .scan_entries(db, cursor, count, now, self.thread, &mut show);
        let mut end = if next == 0 { END } else { next };
        let mut on_disk = Vec::new();
        let name = self.keyspace.space_name(db);
        let (mut last, mut seen) = (cursor, 0);
        let mut part = Vec::new();
        for found in self.tier.store.scan(cursor as u32)? {
            let found = found?;
            let place = u64::from(place_of(&found.key));
            if place >= end {
                break;
            }
            if seen >= count && place > last {
                end = place;
                break;
            }
            // A part of a value is no key.
            let Some((of, key)) = record::decode_key(&found.key) else {
                continue;
            };
            seen += 1;
            last = place;
            if of != name {
                continue;
            }
            let shown = self.listed(db, key, &found, values, now, &mut part)?;
            on_disk.extend(shown);
        }
        in_memory.retain(|key| u64::from(Place::of(self.keyspace.hash(&key.key)).0) < end);
        on_disk.retain(|key| !held.contains(&*key.key) && !self.is_deleted(db, &key.key));
        listed.append(&mut in_memory);
        listed.append(&mut on_disk);
        Ok(if end == END { 0 } else { end })
    }

    /// A key that was found on disk, unless its time has come.
    fn listed(
        &self,
        db: usize,
        key: &[u8],
        found: &store::Entry,
        values: bool,
        now: UnixMs,
        part: &mut Vec<u8>,
    ) -> Result<Option<Listed>, TierError> {
        let Some(record) = found.record()? else {
            return Ok(None);
        };
        let (head, body) = record::decode(&record).ok_or(TierError::Record)?;
        if head.expires_at.is_some_and(|at| at <= now) {
            return Ok(None);
        }
        if values {
            let neighbour = |key: &[u8]| found.neighbour(key);
            let entry = self.tier.entry(&found.key, (head, body), neighbour, part)?;
            return Ok(Some(Listed::of_entry(db, entry.view(), true)));
        }
        Ok(Some(Listed::new(db, key, head.stored(b""), false)))
    }

    fn is_deleted(&self, db: usize, key: &[u8]) -> bool {
        let hash = self.keyspace.hash(key);
        self.keyspace.presence(hash, db, key, self.thread) == Presence::Absent
    }

    fn any_key(&self, db: usize, random: u64, now: UnixMs) -> Result<Page, TierError> {
        let mut page = Page::default();
        // Places are random, so the next key from a random one on is a fair choice.
        for from in [u64::from(random as u32), 0] {
            let mut cursor = from;
            loop {
                cursor = self.range(db, cursor, 1, false, now, &mut page.keys)?;
                if !page.keys.is_empty() {
                    page.keys.truncate(1);
                    return Ok(page);
                }
                if cursor == 0 {
                    break;
                }
            }
        }
        Ok(page)
    }
}

fn disk_copy(located: &Located) -> Result<DiskCopy, TierError> {
    let (head, body) = record::decode(&located.record).ok_or(TierError::Record)?;
    let (form, raw_bytes, stored_bytes) = match body {
        Body::Value(stored) => {
            let (encoded, _) = Encoded::read(stored)?;
            (encoded.form, encoded.raw_len, stored.len())
        }
        Body::Chunks(pieces) => {
            let bytes = |bytes| usize::try_from(bytes).map_err(|_| TierError::Record);
            let raw = bytes(pieces.iter().map(|piece| piece.raw_bytes).sum::<u64>())?;
            let form = pieces.iter().next().map_or(Form::Raw, |first| first.form);
            (form, raw, bytes(pieces.stored_bytes())?)
        }
    };
    let (compression, dictionary) = match form {
        Form::Raw => ("none", 0),
        Form::Lz4 => ("lz4", 0),
        Form::Zstd => ("zstd", 0),
        Form::ZstdDictionary(id) => ("zstd", id),
    };
    Ok(DiskCopy {
        form: head.form,
        expires_at: head.expires_at,
        raw_bytes,
        stored_bytes,
        compression,
        dictionary,
        generation: located.generation(),
        pinned: head.pinned,
    })
}

fn place_of(key: &[u8]) -> u32 {
    key.first_chunk::<4>()
        .map_or(0, |place| u32::from_be_bytes(*place))
}
