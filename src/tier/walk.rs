//! Walks over all keys of a database, in memory and on disk: SCAN, KEYS, RANDOMKEY and the digest; and what DBSIZE must
//! know.
//!
//! Both have the same order, that of places, which are the cursor. A page is a range of places: first
//! what memory holds there, then what the disk holds there. A key that stays is never missed, wherever
//! it moves meanwhile: what memory did not hold when it was asked is on disk, since its copy there
//! outlives every stay in memory. A key that was deleted before is never told: memory has its tombstone
//! when it is asked, or else the disk has its marker, which was there before the mark went.
//!
//! What memory holds in a page is copied before the disk is asked, as bytes one behind the other; the disk shows its keys in
//! the same order, so that the two are compared in step, and no shard is locked for a key that lies on the disk. Patterns are
//! looked at here, so that of a key that does not fit no record is read and nothing is kept.

use std::time::{Duration, Instant};

use super::compress::{Encoded, Form};
use super::record::{self, Body};
use super::store::{Located, StoreError};
use super::writer::expiry;
use super::{Tier, TierError, Wanted};
use crate::clock::UnixMs;
use crate::engine::Engine;
use crate::keyspace::entry::{EntryRef, ValueType};
use crate::keyspace::residency::{
    Ask, DiskCopy, Fold, KeyFilter, KeyList, Page, Place, Presence, Shadowed, Step,
};
use crate::keyspace::{Keyspace, Shown, ThreadSlot};
use crate::logging::Repeated;

/// DBSIZE waits so long at most for keys to be looked for.
const COUNT_TIME_MAX: Duration = Duration::from_secs(5);
/// One more than the largest place.
const END: u64 = 1 << 32;
/// So many keys are looked at before others have their turn: a few milliseconds.
const SLICE_KEYS: usize = if cfg!(test) { 64 } else { 8192 };
/// SCAN lists so many bytes at most and then gives a cursor, whatever COUNT says.
const SCAN_BYTES_MAX: usize = 1 << 20;
/// And goes over so many keys at most, or COUNT: those of other databases lie between those of its own.
const SCAN_SEEN_MAX: usize = 4 * SLICE_KEYS;
/// KEYS lists so many bytes at most, or half of `maxmemory` if that is less, but never less than the second.
const KEYS_BYTES_MAX: u64 = 512 << 20;
const KEYS_BYTES_LEAST: u64 = if cfg!(test) { 4 << 10 } else { 32 << 20 };

impl Tier {
    /// Answers a question. `between` is called now and then in a long walk; where it gives false the walk ends.
    pub(crate) fn answer(
        &self,
        engine: &Engine,
        ask: Ask,
        thread: ThreadSlot,
        between: &dyn Fn() -> bool,
    ) -> Page {
        let is_walk = matches!(
            ask,
            Ask::Everything { .. } | Ask::Keys { .. } | Ask::AnyKey { .. }
        );
        if is_walk && self.pending.is_any() {
            // What is in the log alone would be left out.
            return Page {
                failed: true,
                ..Page::default()
            };
        }
        let walk = Walk {
            tier: self,
            engine,
            keyspace: &engine.keyspace,
            thread,
            between,
        };
        let answered = match ask {
            // Nothing to read for it.
            Ask::Sync => Ok(Page::default()),
            Ask::Count => walk.look_for_unsure(),
            Ask::Key { db, key, now } => walk.fetch(db, key, now),
            Ask::Copy { db, key } => walk.copy(db, &key),
            Ask::Everything {
                databases,
                fold,
                now,
            } => walk.everything(databases, fold, now),
            Ask::Keys {
                db,
                cursor,
                count,
                filter,
                now,
            } => walk.keys(db, (filter, now), cursor, count),
            Ask::AnyKey { db, random, now } => walk.any_key(db, random, now),
        };
        answered.unwrap_or_else(|error| {
            NOT_WALKED.error(&error);
            Page {
                failed: true,
                ..Page::default()
            }
        })
    }
}

static NOT_WALKED: Repeated = Repeated::new("The disk tier could not be walked over");
static BEFORE_NOT_READ: Repeated =
    Repeated::new("The disk tier could not read what a key had before");

impl Tier {
    /// The version below of a key that memory holds.
    pub(super) fn shadowed(
        &self,
        hash: u64,
        on_disk: &[u8],
    ) -> Result<Option<Shadowed>, StoreError> {
        if let Some(record) = self.pending.record(on_disk)? {
            let expires_at = expiry(&record);
            return Ok((!record.is_empty()).then_some(Shadowed { expires_at }));
        }
        match self.store.get(hash, on_disk) {
            Ok(record) => Ok(record.map(|record| Shadowed {
                expires_at: expiry(&record),
            })),
            Err(error) if error.is_damage() => {
                // Damage must not keep new versions from being written. It was counted, most likely.
                BEFORE_NOT_READ.error(&error);
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
    between: &'a dyn Fn() -> bool,
}

/// Which keys are listed.
struct Listing {
    of: Shown,
    filter: KeyFilter<Box<[u8]>>,
    now: UnixMs,
}

impl Listing {
    fn fits(&self, key: &[u8], value_type: ValueType) -> bool {
        self.filter.fits_type(value_type) && self.filter.fits_key(key)
    }
}

/// What was gone over in a range.
struct Ranged {
    /// Where it ended.
    end: u64,
    /// Keys of the database.
    looked_at: usize,
    /// With those of others, and what stands for no key.
    seen: usize,
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
        let mut places = self.keyspace.unverified_places();
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
        for unverified in self.keyspace.unverified_at(place, self.thread) {
            let mut on_disk = Vec::new();
            record::encode_key(place, unverified.name, &unverified.key, &mut on_disk);
            // What goes out of sight in between would leave the count twice.
            let _under_way = self
                .tier
                .loads
                .begin(self.keyspace.gate().is_isolated(self.thread));
            let older = self.tier.shadowed(unverified.hash.value(), &on_disk)?;
            all &= self.keyspace.looked_for(&unverified, older, self.thread);
        }
        Ok(all)
    }

    fn copy(&self, db: usize, key: &[u8]) -> Result<Page, TierError> {
        let hash = self.keyspace.hash(key);
        // Which database it is may change between the two looks.
        let (name, was_in_memory) = {
            let _inside = self.keyspace.gate().enter(self.thread);
            let presence = self.keyspace.presence(hash, db, key, self.thread);
            (self.keyspace.space_name(db), presence == Presence::Present)
        };
        let mut on_disk = Vec::new();
        record::encode_key(Place::of(hash), name, key, &mut on_disk);
        let found = self.tier.store.find(hash.value(), &on_disk)?;
        let copy = found.map(|located| disk_copy(&located));
        Ok(Page {
            copy: copy.transpose()?,
            was_in_memory,
            ..Page::default()
        })
    }

    /// Shows all keys with their values to `fold`.
    fn everything(&self, databases: usize, fold: Fold, now: UnixMs) -> Result<Page, TierError> {
        let mut page = Page::default();
        let shown = self.keyspace.all_shown(self.thread);
        for (db, of) in shown.into_iter().enumerate().take(databases) {
            let mut is_first = true;
            let mut show = |step: Step<'_>| {
                if std::mem::take(&mut is_first) {
                    (fold.0)(&mut page.sum, Step::Database(db));
                }
                (fold.0)(&mut page.sum, step);
            };
            let mut cursor = 0;
            while cursor < END && self.keyspace.is_shown(of, self.thread) {
                cursor = self.values(of, cursor, now, &mut show)?;
                if !(self.between)() {
                    page.failed = true;
                    return Ok(page);
                }
            }
        }
        Ok(page)
    }

    /// Shows the keys and values of a range of places that begins at `cursor`. Gives its end.
    fn values(
        &self,
        of: Shown,
        cursor: u64,
        now: UnixMs,
        show: &mut dyn FnMut(Step<'_>),
    ) -> Result<u64, TierError> {
        let mut resident = Resident::default();
        let of_memory = |entry: EntryRef<'_>, lives| {
            resident.push(self.place(entry.key()), entry, lives);
            if lives {
                show(Step::Key(entry));
            }
            true
        };
        let next = self
            .keyspace
            .scan_entries(of, cursor, SLICE_KEYS, now, self.thread, of_memory);
        let end = if next == 0 { END } else { next };
        resident.sort();
        let mut part = Vec::new();
        for found in self.tier.store.scan(cursor as u32)? {
            let found = found?;
            let place = place_of(&found.key);
            if u64::from(place) >= end {
                break;
            }
            // A part of a value is no key.
            let key = record::decode_key(&found.key).filter(|(name, _)| *name == of.name);
            if key.is_none_or(|(_, key)| resident.holds(place, key)) {
                continue;
            }
            let Some(record) = found.record()? else {
                continue;
            };
            let (head, body) = record::decode(&record).ok_or(TierError::Record)?;
            if head.expires_at.is_some_and(|at| at <= now) {
                continue;
            }
            let neighbour = |key: &[u8]| found.neighbour(key);
            let entry = self
                .tier
                .entry(&found.key, (head, body), neighbour, &mut part)?;
            show(Step::Key(entry.view()));
        }
        Ok(end)
    }

    /// Lists keys of a database from a cursor on, of at least `count` that are looked at, if there are so many. All are of what it
    /// showed at one moment. Where it was emptied meanwhile there are none: so it was right after that.
    fn keys(
        &self,
        db: usize,
        (filter, now): (KeyFilter<Box<[u8]>>, UnixMs),
        cursor: u64,
        count: usize,
    ) -> Result<Page, TierError> {
        let of = self.keyspace.shown(db, self.thread);
        let page = self.keys_shown(&Listing { of, filter, now }, cursor, count)?;
        let is_shown = page.failed || self.keyspace.is_shown(of, self.thread);
        Ok(if is_shown { page } else { Page::default() })
    }

    fn keys_shown(
        &self,
        listing: &Listing,
        mut cursor: u64,
        count: usize,
    ) -> Result<Page, TierError> {
        let mut names = KeyList::counted(self.tier.walks.bytes());
        let (mut left, mut seen) = (count, 0);
        let is_scan = count < usize::MAX;
        while cursor < END && left > 0 {
            let ranged = self.range(listing, cursor, left.min(SLICE_KEYS), &mut names)?;
            cursor = ranged.end;
            left = left.saturating_sub(ranged.looked_at);
            seen += ranged.seen;
            let is_enough = names.bytes() >= SCAN_BYTES_MAX || seen >= count.max(SCAN_SEEN_MAX);
            if is_scan && is_enough {
                break;
            }
            let too_long = !is_scan && names.bytes() as u64 > self.keys_bytes_max();
            let goes_on = (self.between)();
            if too_long || !goes_on {
                return Ok(Page {
                    too_long,
                    failed: !goes_on,
                    ..Page::default()
                });
            }
        }
        Ok(Page {
            next: if cursor < END { cursor } else { 0 },
            names,
            ..Page::default()
        })
    }

    fn keys_bytes_max(&self) -> u64 {
        match self.engine.config.load().maxmemory {
            0 => KEYS_BYTES_MAX,
            memory => (memory / 2).clamp(KEYS_BYTES_LEAST, KEYS_BYTES_MAX),
        }
    }

    /// Lists the keys of a range of places that begins at `cursor`; of those on disk about `count` are looked at.
    fn range(
        &self,
        listing: &Listing,
        cursor: u64,
        count: usize,
        names: &mut KeyList,
    ) -> Result<Ranged, TierError> {
        let Listing { of, now, .. } = *listing;
        let mut resident = Resident::default();
        let of_memory = |entry: EntryRef<'_>, lives| {
            resident.push(self.place(entry.key()), entry, lives);
            true
        };
        let next = self
            .keyspace
            .scan_entries(of, cursor, count, now, self.thread, of_memory);
        resident.sort();
        let mut end = if next == 0 { END } else { next };
        let wanted = |on_disk: &[u8]| {
            record::decode_key(on_disk)
                .is_some_and(|(name, key)| name == of.name && listing.filter.fits_key(key))
        };
        let (mut last, mut seen, mut looked_at) = (cursor, 0, 0);
        for found in self.tier.store.scan_keys(cursor as u32, &wanted)? {
            let found = found?;
            let place = place_of(&found.key);
            if u64::from(place) >= end {
                break;
            }
            if seen >= count && u64::from(place) > last {
                end = place.into();
                break;
            }
            // A part of a value is no key.
            let Some((name, key)) = record::decode_key(&found.key) else {
                continue;
            };
            seen += 1;
            last = place.into();
            if name != of.name || resident.holds(place, key) {
                continue;
            }
            looked_at += 1;
            let Some(record) = found.record else {
                continue;
            };
            let (head, _) = record::decode(&record).ok_or(TierError::Record)?;
            let lives = head.expires_at.is_none_or(|at| at > now);
            if lives && listing.filter.fits_type(ValueType::of_form(head.form)) {
                names.push(key);
            }
        }
        let in_range = resident.living().filter(|key| u64::from(key.place) < end);
        for here in in_range {
            looked_at += 1;
            if listing.fits(resident.key(here), ValueType::of_form(here.form)) {
                names.push(resident.key(here));
            }
        }
        Ok(Ranged {
            end,
            looked_at,
            seen: seen + resident.keys_here.len(),
        })
    }

    fn place(&self, key: &[u8]) -> u32 {
        Place::of(self.keyspace.hash(key)).0
    }

    fn any_key(&self, db: usize, random: u64, now: UnixMs) -> Result<Page, TierError> {
        let listing = Listing {
            of: self.keyspace.shown(db, self.thread),
            filter: KeyFilter::default(),
            now,
        };
        // Places are random, so the next key from a random one on is a fair choice.
        for from in [u64::from(random as u32), 0] {
            let mut cursor = from;
            let mut count = 1;
            while cursor < END {
                let mut names = KeyList::default();
                cursor = self.range(&listing, cursor, count, &mut names)?.end;
                if !self.keyspace.is_shown(listing.of, self.thread) {
                    return Ok(Page::default());
                }
                if !names.is_empty() {
                    return Ok(Page {
                        names,
                        ..Page::default()
                    });
                }
                // Far and wide there are only keys of other databases, or marks.
                count = (count * 2).min(SLICE_KEYS);
            }
        }
        Ok(Page::default())
    }
}

/// What memory holds in a range of places: keys, tombstones, and keys whose time has come.
#[derive(Default)]
struct Resident {
    keys_here: Vec<ResidentKey>,
    keys: Vec<u8>,
    /// How many of them lie before the last place that was asked for.
    passed: usize,
}

#[derive(Clone, Copy)]
struct ResidentKey {
    place: u32,
    start: u32,
    len: u32,
    form: u8,
    lives: bool,
}

impl Resident {
    fn push(&mut self, place: u32, entry: EntryRef<'_>, lives: bool) {
        let key = entry.key();
        // A range has a few thousand keys. What would lie beyond 4 GiB is left out, and so is told twice at worst.
        let (Ok(start), Ok(len)) = (u32::try_from(self.keys.len()), u32::try_from(key.len()))
        else {
            return;
        };
        self.keys.extend_from_slice(key);
        self.keys_here.push(ResidentKey {
            place,
            start,
            len,
            form: entry.form(),
            lives,
        });
    }

    fn sort(&mut self) {
        self.keys_here.sort_unstable_by_key(|here| here.place);
    }

    fn key(&self, here: &ResidentKey) -> &[u8] {
        &self.keys[here.start as usize..][..here.len as usize]
    }

    fn living(&self) -> impl Iterator<Item = &ResidentKey> {
        self.keys_here.iter().filter(|here| here.lives)
    }

    /// Whether a key is here. Places are asked for in ascending order.
    fn holds(&mut self, place: u32, key: &[u8]) -> bool {
        let before = |here: &&ResidentKey| here.place < place;
        self.passed += self.keys_here[self.passed..]
            .iter()
            .take_while(before)
            .count();
        let mut same = self.keys_here[self.passed..]
            .iter()
            .take_while(|here| here.place == place);
        same.any(|here| self.key(here) == key)
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
