//! Values that have cooled down, compressed where they stand, so that more of them fit into memory.
//!
//! When memory is short, a search for victims first offers compression to what the next buckets of the table hold; only where
//! that gains nothing does a key go. So nothing is compressed while memory has room, what it costs follows what is
//! needed, and it is the same for every policy: also under `noeviction`, and where nothing may be evicted, memory lasts longer.
//!
//! A hand goes round all shards. An entry has cooled down when it was not accessed since the round before began, or
//! for [`COOL_SECS`]; under the LFU policies, when its counter is not above that of a new key. Why not the uses that S3-FIFO
//! counts: the hand of eviction takes them away, and stands still while the small queue has victims, so that what
//! was used once would never cool down. The time of the last access costs nothing more, and two hands do not disturb each other.
//!
//! A value is restored, for good, by the first command that wants it ([`Keys`](super::Keys) has the one place). It has to
//! cool down again before it is compressed again, so a key costs one round trip in a round of the hand at most, and
//! a round lasts a second at least.
//!
//! ```text
//! compressed value   length of the value u32 | lz4 block
//! ```
//!
//! Invariant: a compressed value takes at most seven eighths of the memory that it took; one that would not is marked, and
//! not tried again until it is written anew.
//! Invariant: compressing and restoring are no changes: expiry, access record, and the copy below stay what they were.

use std::cell::RefCell;

use super::counters::Counters;
use super::entry::{Entry, EntryRef, Standing};
use super::eviction::{AccessPolicy, EvictionPool, Hunt, Limits};
use super::residency::Place;
use super::table::Position;
use super::{Keyspace, Locked, SHARDS, ThreadSlot};
use crate::clock::UnixMs;
use crate::lz4;

/// Shorter values gain little: they have hardly anything that repeats.
const VALUE_BYTES_MIN: usize = 256;
/// Longer ones would hold the lock of their shard for more than a millisecond when they are compressed.
const VALUE_BYTES_MAX: usize = 256 << 10;
/// How much is done in one search for victims.
pub(super) struct Effort {
    /// Looks at a bucket or an entry that gain nothing.
    looks: usize,
    /// Bytes of values that are compressed.
    bytes: usize,
}

/// Before a key goes: so few looks that they cost no more than the eviction, and enough to come round several times until as many
/// keys have gone as there are. The bytes are about a millisecond's work.
pub(super) const BEFORE_EVICTION: Effort = Effort {
    looks: 16,
    bytes: 256 << 10,
};
/// Where nothing can go, before a write is refused: enough to come round in few keys, and to make up for what clients have sent at
/// once. That takes some milliseconds, so it is not tried again for some time where it gained nothing.
const BEFORE_REFUSAL: Effort = Effort {
    looks: 16_384,
    bytes: 2 << 20,
};
/// For so long.
const VAIN_MS: i64 = 50;
/// After so long without an access an entry has cooled down, however long the rounds of the hand take.
const COOL_SECS: i64 = 60;
/// Places of a batch whose memory is kept for the next one.
const KEPT_PLACES: usize = 1024;
/// So many restored values are remembered for a batch.
const RESTORED_MAX: usize = 1 << 20;
/// What a compressed value must save, as a part of the memory that its entry takes.
const PAYS_SHARE: usize = 8;
const LENGTH_BYTES: usize = size_of::<u32>();

thread_local! {
    /// Where the values stand that this thread's batch has restored.
    static RESTORED: RefCell<Vec<Place>> = const { RefCell::new(Vec::new()) };
}

/// Where the hand is.
#[derive(Debug)]
pub(super) struct CompressionHand {
    /// `SHARDS` between two rounds.
    shard: usize,
    bucket: usize,
    /// When this round began, in seconds.
    began_s: Option<i64>,
    /// When the round before began.
    began_before_s: i64,
    /// When nothing was gained the last time before a write was refused.
    vain_at: UnixMs,
}

impl Default for CompressionHand {
    fn default() -> Self {
        Self {
            shard: SHARDS,
            bucket: 0,
            began_s: None,
            began_before_s: 0,
            vain_at: UnixMs(0),
        }
    }
}

/// A bucket that the hand has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stop {
    shard: usize,
    bucket: usize,
    /// Seconds without an access after which an entry has cooled down.
    idle_secs: u32,
}

impl CompressionHand {
    /// Moves on. `None`: a round has ended, and the next one does not begin within the same second, since nothing has
    /// cooled down meanwhile.
    fn next(&mut self, now_s: i64) -> Option<Stop> {
        if self.shard == SHARDS {
            if self.began_s == Some(now_s) {
                return None;
            }
            self.began_before_s = self.began_s.unwrap_or(now_s);
            self.began_s = Some(now_s);
            (self.shard, self.bucket) = (0, 0);
        }
        let idle_secs = (now_s - self.began_before_s).clamp(1, COOL_SECS);
        let stop = Stop {
            shard: self.shard,
            bucket: self.bucket,
            idle_secs: idle_secs as u32,
        };
        self.bucket += 1;
        Some(stop)
    }

    /// A shard has no more buckets.
    fn leave(&mut self, shard: usize) {
        if self.shard == shard {
            self.shard += 1;
            self.bucket = 0;
        }
    }
}

impl Keyspace {
    /// Compresses what has cooled down in the next buckets, until some memory is gained. False where none was with this effort.
    pub(super) fn compress_cold(
        &self,
        hunt: &mut Hunt<'_>,
        pool: &mut EvictionPool,
        effort: Effort,
    ) -> bool {
        if !hunt.limits.compresses || !self.exceeds_bytes(hunt.limits) {
            return false;
        }
        hunt.looks_left = effort.looks;
        while hunt.looks_left > 0 && hunt.compressed_bytes < effort.bytes {
            let stop = self.compression.lock().next(hunt.limits.now.as_secs());
            let Some(stop) = stop else { return false };
            let before = pool.compressor_bytes();
            let compressor = pool.compressor.get_or_insert_default();
            let gained = self.compress_bucket(stop, hunt, compressor);
            self.note_queue_bytes(before, pool.compressor_bytes());
            if gained {
                return true;
            }
        }
        false
    }

    /// The last thing that is tried before a write is refused.
    pub(super) fn compress_before_refusal(
        &self,
        hunt: &mut Hunt<'_>,
        pool: &mut EvictionPool,
    ) -> bool {
        let now = hunt.limits.now;
        let vain_for = now.0 - self.compression.lock().vain_at.0;
        if (0..VAIN_MS).contains(&vain_for) {
            return false;
        }
        let gained = self.compress_cold(hunt, pool, BEFORE_REFUSAL);
        if !gained && hunt.limits.compresses {
            self.compression.lock().vain_at = now;
        }
        gained
    }

    /// Reads must not take memory that nobody has: compresses again what this thread's batch has restored, as far as there is
    /// no room for it. Without limits there is.
    pub fn compress_restored(&self, limits: Option<&Limits>, thread: ThreadSlot) {
        let mut places = RESTORED.take();
        if let Some(limits) = limits {
            let mut compressor = lz4::Compressor::default();
            for place in &places {
                if !self.exceeds_bytes(limits) {
                    break;
                }
                let mut locked = self.lock_shard(place.shard(), thread);
                let positions = locked.table.positions_of(place.tag());
                let is_restored = |at: &Position| {
                    let entry = locked.table.get(*at);
                    entry.may_be_compressed() && self.is_live(entry.space())
                };
                let restored: Vec<_> = positions.into_iter().filter(is_restored).collect();
                for at in restored {
                    compress_at(&mut locked, at, &mut compressor);
                }
            }
        }
        places.clear();
        places.shrink_to(KEPT_PLACES);
        RESTORED.set(places);
    }

    /// Whether memory was gained. The shard is locked for one value at a time.
    fn compress_bucket(
        &self,
        stop: Stop,
        hunt: &mut Hunt<'_>,
        compressor: &mut lz4::Compressor,
    ) -> bool {
        let limits = hunt.limits;
        let access = AccessPolicy::new(limits.policy, limits.lfu, limits.now);
        let (mut gained, mut slot) = (false, 0);
        loop {
            let mut locked = self.lock_shard(stop.shard, hunt.thread);
            let buckets = locked.table.bucket_count();
            hunt.looks_left = hunt.looks_left.saturating_sub(1);
            if stop.bucket + 1 >= buckets {
                self.compression.lock().leave(stop.shard);
            }
            if stop.bucket >= buckets {
                return gained;
            }
            let is_cold = |at: &Position| {
                if at.slot() < slot {
                    return false;
                }
                hunt.looks_left = hunt.looks_left.saturating_sub(1);
                let entry = locked.table.get(*at);
                entry.may_be_compressed()
                    && self.is_live(entry.space())
                    && access.has_cooled(entry, stop.idle_secs)
            };
            let Some(at) = locked.table.positions(stop.bucket).find(is_cold) else {
                return gained;
            };
            slot = at.slot() + 1;
            hunt.compressed_bytes += locked.table.get(at).value_len();
            gained |= compress_at(&mut locked, at, compressor);
        }
    }

    /// Keys whose values are compressed, the bytes of these values, and those of their compressed forms.
    pub fn compressed(&self) -> (usize, usize, usize) {
        (
            self.sum(|c| c.compressed_keys.read()),
            self.sum(|c| c.compressed_raw_bytes.read()),
            self.sum(|c| c.compressed_bytes.read()),
        )
    }

    /// Compresses all values, whether they have cooled down or not and whether it pays or not.
    #[cfg(test)]
    pub(crate) fn compress_all(&self, thread: super::ThreadSlot) {
        let mut compressor = lz4::Compressor::default();
        for shard in 0..SHARDS {
            let mut locked = self.lock_shard(shard, thread);
            if locked.table.is_empty() {
                continue;
            }
            let all: Vec<Position> = locked.table.all_positions().collect();
            for at in all {
                let entry = locked.table.get(at);
                let may_be = !entry.is_tombstone() && !entry.is_large();
                let may_be = may_be && entry.fields_due_at().is_none();
                if entry.standing() == Standing::Plain && may_be {
                    let block = compressor.compress(entry.value()).expect("there is room");
                    put_compressed(&mut locked, at, block);
                }
            }
        }
    }
}

/// Compresses a value if that pays.
fn compress_at(locked: &mut Locked<'_>, at: Position, compressor: &mut lz4::Compressor) -> bool {
    let entry = locked.table.get(at);
    let block = compressor.compress(entry.value());
    match block.filter(|block| entry.gains_by(block)) {
        Some(block) => {
            put_compressed(locked, at, block);
            true
        }
        None => {
            locked.table.mark_incompressible(at);
            false
        }
    }
}

fn put_compressed(locked: &mut Locked<'_>, at: Position, block: &[u8]) {
    locked.table.compress(at, block);
    locked.counters.count_compressed(locked.table.get(at), 1);
}

/// Puts a value back as it was. Out of the way of look-ups, which hardly ever need it.
#[cold]
#[inline(never)]
pub(super) fn restore_at(locked: &mut Locked<'_>, at: Position) {
    locked.counters.count_compressed(locked.table.get(at), -1);
    locked.counters.restored.add(1);
    locked.table.restore(at);
    let place = Place::new(locked.shard, locked.table.tag(at));
    RESTORED.with_borrow_mut(|places| {
        if places.len() < RESTORED_MAX {
            places.push(place);
        }
    });
}

impl Counters {
    /// An entry came, or goes: it counts if its value is compressed.
    #[inline]
    pub(super) fn count_compressed(&self, entry: EntryRef<'_>, n: i64) {
        if entry.is_compressed() {
            self.add_compressed(entry, n);
        }
    }

    #[cold]
    #[inline(never)]
    fn add_compressed(&self, entry: EntryRef<'_>, n: i64) {
        let stored_len = entry.stored_value().len();
        self.compressed_keys.add(n);
        self.compressed_raw_bytes.add(n * entry.value_len() as i64);
        self.compressed_bytes.add(n * stored_len as i64);
    }
}

impl Entry {
    /// The entry with its value, which is plain, compressed into this block.
    pub(super) fn compressed(self, block: &[u8]) -> Self {
        let value_len = self.view().value().len() as u32;
        let stored_len = LENGTH_BYTES + block.len();
        self.with_value(stored_len, Standing::Compressed, |_, stored| {
            let (length, rest) = stored.split_at_mut(LENGTH_BYTES);
            length.copy_from_slice(&value_len.to_le_bytes());
            rest.copy_from_slice(block);
        })
    }

    /// The entry with its value as it was.
    pub(super) fn restored(self) -> Self {
        let value_len = self.view().value_len();
        self.with_value(value_len, Standing::Plain, |compressed, value| {
            compressed.decompress(value);
        })
    }
}

impl<'a> EntryRef<'a> {
    /// The length of the value, compressed or not.
    #[inline]
    pub fn value_len(self) -> usize {
        self.parts()
            .map_or(self.stored_value().len(), |(len, _)| len)
    }

    /// The value, compressed or not, or the serialised form of a large one; `scratch` is where it goes if it is either.
    pub fn plain<'b>(self, scratch: &'b mut Vec<u8>) -> &'b [u8]
    where
        'a: 'b,
    {
        if let Some(large) = self.large() {
            scratch.clear();
            large.encode(scratch);
            return scratch;
        }
        if !self.is_compressed() {
            return self.stored_value();
        }
        scratch.clear();
        scratch.resize(self.value_len(), 0);
        self.decompress(scratch);
        scratch
    }

    /// The length and the block of a compressed value.
    fn parts(self) -> Option<(usize, &'a [u8])> {
        let stored = self.is_compressed().then(|| self.stored_value())?;
        let (length, block) = stored.split_first_chunk()?;
        Some((u32::from_le_bytes(*length) as usize, block))
    }

    fn decompress(self, value: &mut [u8]) {
        let written = self
            .parts()
            .and_then(|(_, block)| lz4::decompress(block, value));
        debug_assert_eq!(
            written,
            Some(value.len()),
            "memory keeps what was put there"
        );
    }

    /// Whether it may be tried.
    fn may_be_compressed(self) -> bool {
        self.standing() == Standing::Plain
            && !self.is_tombstone()
            && !self.is_large()
            // Their deadlines would not be seen.
            && self.fields_due_at().is_none()
            && (VALUE_BYTES_MIN..=VALUE_BYTES_MAX).contains(&self.value().len())
    }

    /// Whether it pays to keep this block in place of the value.
    fn gains_by(self, block: &[u8]) -> bool {
        let (now, then) = (
            self.allocated_bytes(),
            self.allocated_with(LENGTH_BYTES + block.len()),
        );
        then <= now - now / PAYS_SHARE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use crate::testing::Db;

    /// A thousand bytes and a few, of which lz4 saves about half.
    fn value(i: usize) -> String {
        let noise = (0..40u64).map(|part| {
            let hash = (i as u64 * 64 + part + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            format!("{:012x}-and-so-on-", hash >> 16)
        });
        noise.collect()
    }

    /// Keys `k:0` to `k:{count - 1}`, with and without expiry.
    fn fill(db: &mut Db, count: usize) {
        for i in 0..count {
            let expiry = if i % 2 == 0 { "" } else { " PX 1000000" };
            db.run(&format!("SET k:{i} {}{expiry}", value(i))).ok();
        }
    }

    /// Sets `maxmemory` to what is in use and some bytes more.
    fn limit(db: &mut Db, more: usize) {
        let server = db.server();
        let used = server.engine.keyspace.used_bytes() + server.engine.other_bytes();
        db.run(&format!("CONFIG SET maxmemory {}", used + more))
            .ok();
    }

    fn used(db: &Db) -> usize {
        db.engine().keyspace.used_bytes()
    }

    fn compressed_keys(db: &Db) -> usize {
        let keyspace = &db.engine().keyspace;
        keyspace.validate();
        keyspace.compressed().0
    }

    fn is_compressed(db: &mut Db, key: &str) -> bool {
        let told = db.run(&format!("TIER.INFO {key}"));
        told.bytes().ends_with(b"compressed\r\n:1\r\n")
    }

    #[test]
    fn an_entry_comes_back_as_it_was() {
        use crate::clock::UnixMs;
        use crate::keyspace::entry::EntryParts;
        let mut compressor = lz4::Compressor::default();
        let lengths: &[usize] = match cfg!(miri) {
            true => &[0, 300],
            false => &[0, 1, 255, 300, 65_535, 65_536, 300_000],
        };
        for &len in lengths {
            for expires_at in [None, Some(UnixMs(7)), Some(UnixMs(-7))] {
                let value: Vec<u8> = (0..len).map(|i| (i / 9) as u8).collect();
                let parts = EntryParts {
                    space: 31,
                    key: b"key",
                    value: &value,
                    expires_at,
                    value_type: crate::keyspace::entry::ValueType::String,
                    raw: true,
                };
                let mut entry = Entry::new(&parts);
                entry.view_mut().set_text();
                entry.view_mut().set_access(0x00ab_cdef);
                entry.view_mut().set_policy_bits(0xd5);
                let allocated = entry.allocated_bytes();
                let block = compressor.compress(&value).unwrap();
                entry = entry.compressed(block);
                assert!(entry.view().is_compressed() && !entry.view().is_pinned());
                let wanted = entry.view().allocated_with(LENGTH_BYTES + block.len());
                assert_eq!(entry.allocated_bytes(), wanted);
                // A new expiry moves it; what is compressed stays so.
                entry = entry.set_expiry(Some(UnixMs(9))).set_expiry(expires_at);
                let copy = entry.view().to_entry(1, b"copy");
                for entry in [&entry, &copy] {
                    let view = entry.view();
                    assert!(view.is_compressed() && view.is_raw() && view.is_text());
                    assert_eq!((view.value_len(), view.expires_at()), (len, expires_at));
                    assert_eq!(view.plain(&mut vec![1, 2]), value);
                }
                entry = entry.restored();
                let view = entry.view();
                assert_eq!((view.value(), view.value_len()), (&value[..], len));
                assert_eq!((view.key(), view.space()), (&b"key"[..], 31));
                assert_eq!((view.access(), view.policy_bits()), (0x00ab_cdef, 0xd5));
                assert!(view.is_raw() && view.is_text() && view.standing() == Standing::Plain);
                assert_eq!(
                    (view.expires_at(), view.allocated_bytes()),
                    (expires_at, allocated)
                );
            }
        }
    }

    const POLICIES: &[&str] = &[
        "allkeys-s3fifo",
        "allkeys-lru",
        "allkeys-lrm",
        "allkeys-lfu",
        "allkeys-random",
        "volatile-lru",
        "volatile-lrm",
        "volatile-lfu",
        "volatile-ttl",
        "volatile-random",
        "noeviction",
    ];

    #[test]
    fn what_has_cooled_down_is_compressed_before_anything_goes() {
        for policy in POLICIES {
            let mut db = Db::new();
            db.run(&format!(
                "CONFIG SET maxmemory-policy {policy} memory-compression lz4"
            ))
            .ok();
            fill(&mut db, 2_000);
            limit(&mut db, 0);
            db.advance(3_000);
            for i in 2_000..2_600 {
                db.run(&format!("SET k:{i} {}", value(i))).ok();
                db.advance(5);
            }
            let keys = compressed_keys(&db);
            assert!(keys > 1_000, "{policy}: {keys}");
            // Between two rounds of the hand a key may go.
            let entries = db.engine().keyspace.entries();
            let enough = if *policy == "noeviction" {
                2_600
            } else {
                2_580
            };
            assert!(entries >= enough, "{policy}: {entries}");
            db.run("CONFIG SET maxmemory 0").ok();
            for i in 0..2_600 {
                let key = format!("k:{i}");
                if db.run(&format!("EXISTS {key}")).bytes() == b":1\r\n" {
                    db.run(&format!("GET {key}")).bulk(value(i));
                }
            }
            assert_eq!(compressed_keys(&db), 0);
        }
    }

    /// A client had added so much at once that a millisecond's work did not make up for it, and the next write was refused.
    #[test]
    fn no_write_is_refused_while_enough_can_be_compressed() {
        let mut db = Db::new();
        db.run("CONFIG SET maxmemory-policy noeviction memory-compression lz4")
            .ok();
        fill(&mut db, 5_000);
        limit(&mut db, 1_000);
        db.advance(3_000);
        db.run(&format!("SET long {}", "v".repeat(400_000))).ok();
        for i in 0..100 {
            db.run(&format!("SET new:{i} v")).ok();
        }
        assert!(compressed_keys(&db) > 500);
    }

    #[test]
    fn what_is_in_use_is_not_compressed() {
        for policy in ["allkeys-s3fifo", "allkeys-lru", "noeviction"] {
            let mut db = Db::new();
            db.run(&format!(
                "CONFIG SET maxmemory-policy {policy} memory-compression lz4"
            ))
            .ok();
            fill(&mut db, 2_000);
            limit(&mut db, 0);
            db.advance(1_000);
            for i in 2_000..2_500 {
                db.advance(20);
                for hot in 0..20 {
                    db.run(&format!("STRLEN k:{hot}"))
                        .int(value(hot).len() as i64);
                }
                db.run(&format!("SET k:{i} {}", value(i))).ok();
            }
            let keys = compressed_keys(&db);
            assert!(keys > 500, "{policy}: {keys}");
            for hot in 0..20 {
                assert!(!is_compressed(&mut db, &format!("k:{hot}")), "{policy}");
            }
        }
    }

    #[test]
    fn without_the_option_nothing_is_compressed() {
        let mut db = Db::new();
        fill(&mut db, 500);
        limit(&mut db, 0);
        db.advance(100_000);
        fill(&mut db, 600);
        assert_eq!(compressed_keys(&db), 0);
    }

    #[test]
    fn nothing_is_compressed_while_there_is_room_or_for_a_limit_of_keys() {
        let mut db = Db::new();
        db.run("CONFIG SET memory-compression lz4 max-entries 500")
            .ok();
        fill(&mut db, 500);
        limit(&mut db, 10 << 20);
        db.advance(100_000);
        fill(&mut db, 1_000);
        assert!(db.engine().keyspace.entries() <= 501);
        assert_eq!(compressed_keys(&db), 0);
    }

    #[test]
    fn only_what_pays_is_compressed_and_the_rest_is_not_tried_again() {
        let mut db = Db::new();
        db.run("CONFIG SET maxmemory-policy noeviction memory-compression lz4")
            .ok();
        let mut random = Random(1);
        let mut noise = |len| -> Vec<u8> { (0..len).map(|_| random.next_u64() as u8).collect() };
        for i in 0..300 {
            let key = format!("noise:{i}");
            db.run_args(&[b"SET", key.as_bytes(), &noise(1_000)]).ok();
        }
        db.run_args(&[b"SET", b"long", &[b'x'; VALUE_BYTES_MAX + 1]])
            .ok();
        db.run_args(&[b"SET", b"short", &[b'x'; VALUE_BYTES_MIN - 1]])
            .ok();
        db.run_args(&[b"SET", b"longest", &[b'x'; VALUE_BYTES_MAX]])
            .ok();
        db.run_args(&[b"SET", b"shortest", &[b'x'; VALUE_BYTES_MIN]])
            .ok();
        db.run("SET pinned x").ok();
        db.run("TIER.PIN pinned").int(1);
        db.run_args(&[b"SET", b"pinned", &[b'x'; 1_000]]).ok();
        limit(&mut db, 0);
        db.run("CONFIG SET maxmemory 1").ok();
        let oom = "OOM command not allowed when used memory > 'maxmemory'.";
        for _ in 0..10 {
            db.advance(2_000);
            db.run("SET new v").error(oom);
        }
        for (key, wanted) in [
            ("long", false),
            ("short", false),
            ("longest", true),
            ("shortest", true),
            ("pinned", false),
            ("noise:7", false),
        ] {
            assert_eq!(is_compressed(&mut db, key), wanted, "{key}");
        }
        assert_eq!(compressed_keys(&db), 2);
        // It is marked, until it changes.
        let standing = |db: &Db, key: &[u8]| {
            let keyspace = &db.engine().keyspace;
            let hash = keyspace.hash(key);
            let locked = keyspace.lock_shard(hash.shard(), crate::keyspace::ThreadSlot(0));
            let at = locked.table.find(hash.tag(), 0, key).unwrap();
            locked.table.get(at).standing()
        };
        assert_eq!(standing(&db, b"noise:7"), Standing::Incompressible);
        db.run("PEXPIRE noise:7 100000").int(1);
        assert_eq!(standing(&db, b"noise:7"), Standing::Incompressible);
        db.run("CONFIG SET maxmemory 0").ok();
        db.run("SETRANGE noise:7 0 a").int(1_000);
        assert_eq!(standing(&db, b"noise:7"), Standing::Plain);
        assert_eq!(standing(&db, b"noise:8"), Standing::Incompressible);
        db.run("SET noise:8 a").ok();
        assert_eq!(standing(&db, b"noise:8"), Standing::Plain);
    }

    #[test]
    fn what_asks_for_no_value_leaves_it_compressed_and_what_reads_it_does_not() {
        let mut db = Db::new();
        let text = value(1);
        db.run(&format!("SET k {text}")).ok();
        let plain_bytes = used(&db);
        db.compress();
        let compressed_bytes = used(&db);
        assert!(compressed_bytes < plain_bytes - 300);
        let usage = db.run("MEMORY USAGE k");
        db.advance(7_000);
        db.run("EXISTS k").int(1);
        db.run("TYPE k").simple("string");
        db.run("TTL k").int(-1);
        db.run("OBJECT ENCODING k").bulk("raw");
        db.run("OBJECT IDLETIME k").int(7);
        db.run("PEXPIRE k 50000").int(1);
        db.run("PTTL k").int(50_000);
        db.run("PERSIST k").int(1);
        db.run("RENAME k l").ok();
        assert!(is_compressed(&mut db, "l"));
        db.run("COPY l k").int(1);
        assert_eq!(compressed_keys(&db), 0, "COPY reads its source");
        db.run("DEL k l").int(2);
        db.run(&format!("SET k {text}")).ok();
        db.compress();
        db.run("MEMORY USAGE k").is(usage.bytes());
        let digest = db.run("DEBUG DIGEST-VALUE k");
        let all = db.run("DEBUG DIGEST");
        assert!(is_compressed(&mut db, "k"));
        db.advance(7_000);
        db.run("GET k").bulk(&text);
        assert!(!is_compressed(&mut db, "k"));
        assert_eq!(used(&db), plain_bytes);
        db.run("OBJECT IDLETIME k").int(0);
        db.run("DEBUG DIGEST-VALUE k").is(digest.bytes());
        db.run("DEBUG DIGEST").is(all.bytes());
        let info = db.run("INFO tier");
        let info = String::from_utf8_lossy(info.bytes()).into_owned();
        assert!(info.contains("tier_compressed_keys:0\r\n"), "{info}");
        assert!(info.contains("tier_restored_keys:2\r\n"), "{info}");
    }

    #[test]
    fn figures_tell_what_is_compressed() {
        let mut db = Db::new();
        fill(&mut db, 100);
        let raw: usize = (0..100).map(|i| value(i).len()).sum();
        db.compress();
        let (keys, raw_bytes, compressed_bytes) = db.engine().keyspace.compressed();
        assert_eq!((keys, raw_bytes), (100, raw));
        assert!((1_000..raw * 3 / 4).contains(&compressed_bytes));
        let info = db.run("INFO tier");
        let info = String::from_utf8_lossy(info.bytes()).into_owned();
        let lines = format!(
            "tier_compressed_keys:100\r\ntier_compressed_raw_bytes:{raw}\r\n\
             tier_compressed_bytes:{compressed_bytes}\r\ntier_restored_keys:0\r\n"
        );
        assert!(info.contains(&lines), "{info}");
        db.run("FLUSHALL").ok();
        assert_eq!(compressed_keys(&db), 0);
    }

    #[test]
    fn reads_that_restore_values_keep_the_limit() {
        let mut db = Db::new();
        db.run("CONFIG SET memory-compression lz4").ok();
        fill(&mut db, 3_000);
        db.compress();
        limit(&mut db, 100_000);
        let most = used(&db) + 100_000 + 2_000;
        for i in 0..3_000 {
            let _ = db.run(&format!("GET k:{i}"));
            assert!(used(&db) <= most);
        }
        // Some went for it.
        assert!(db.engine().keyspace.entries() < 3_000);
        db.engine().keyspace.validate();
    }

    /// Reads alone took ten times the limit where nothing may go: each left its value restored.
    #[test]
    fn reads_keep_the_limit_where_nothing_may_go() {
        let mut db = Db::new();
        db.run("CONFIG SET memory-compression lz4 maxmemory-policy noeviction")
            .ok();
        fill(&mut db, 3_000);
        db.compress();
        limit(&mut db, 100_000);
        // What is compressed with takes some.
        let most = used(&db) + 100_000 + 20_000;
        for i in 0..3_000 {
            let key = format!("k:{i}");
            db.run(&format!("GETRANGE {key} 0 3")).bulk(&value(i)[..4]);
            assert!(used(&db) <= most, "{i}");
        }
        // Where there is room values stay as they are.
        db.run("CONFIG SET maxmemory 0").ok();
        let _ = db.run("GET k:7");
        assert!(!is_compressed(&mut db, "k:7"));
        db.engine().keyspace.validate();
    }

    #[test]
    fn the_disk_gets_values_as_they_were() {
        let mut db = Db::tiered(|_| {});
        fill(&mut db, 200);
        db.compress();
        db.write();
        assert_eq!(compressed_keys(&db), 200);
        db.demote_all();
        assert_eq!(
            (db.engine().keyspace.entries(), compressed_keys(&db)),
            (0, 0)
        );
        for i in 0..200 {
            db.run(&format!("GET k:{i}")).bulk(value(i));
        }
        // A deleted key leaves a mark, which is not compressed.
        db.compress();
        db.run("DEL k:1").int(1);
        assert_eq!(compressed_keys(&db), 199);
        db.run("GET k:1").nil();
    }

    #[test]
    fn a_hand_goes_round_once_a_second_at_most() {
        let mut hand = CompressionHand::default();
        let stop = |hand: &mut CompressionHand, now_s| {
            let stop = hand.next(now_s);
            stop.map(|stop| (stop.shard, stop.bucket, stop.idle_secs))
        };
        // All that was not accessed in this very second is cold in the first round.
        assert_eq!(stop(&mut hand, 100), Some((0, 0, 1)));
        assert_eq!(stop(&mut hand, 102), Some((0, 1, 2)));
        hand.leave(0);
        hand.leave(0);
        assert_eq!(stop(&mut hand, 102), Some((1, 0, 2)));
        (1..SHARDS).for_each(|shard| hand.leave(shard));
        assert_eq!(stop(&mut hand, 100), None);
        assert_eq!(stop(&mut hand, 110), Some((0, 0, 10)));
        (0..SHARDS).for_each(|shard| hand.leave(shard));
        assert_eq!(stop(&mut hand, 110), None);
        // Later, what was not accessed since the round before began.
        assert_eq!(stop(&mut hand, 120), Some((0, 0, 10)));
        assert_eq!(stop(&mut hand, 1_000), Some((0, 1, COOL_SECS as u32)));
        // The clock was set back.
        assert_eq!(stop(&mut hand, 50), Some((0, 2, 1)));
    }
}
