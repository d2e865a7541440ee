//! The hash table of one shard: cache-line buckets of tags and entry addresses.
//!
//! ```text
//! bucket (64 bytes, one cache line)
//! +--------+--------+--------+--------+--------+--------+--------+--------------------------+
//! | slot 0 | slot 1 | slot 2 | slot 3 | slot 4 | slot 5 | slot 6 | expiry floor 48 | over 8 |
//! +--------+--------+--------+--------+--------+--------+--------+--------------------------+
//! slot (64 bits): entry address >> 4 (44 bits) | tag (20 bits); empty: all zero
//! ```
//!
//! A look-up reads one line of the table and, where a tag matches, one entry. An entry whose home
//! bucket is full goes to the next one with room, and each bucket passed over counts it in
//! `over`; a look-up goes on to the next bucket only while that count is not zero, so absent keys
//! too cost about one line. There are no tombstones: a removal takes its counts back.
//!
//! The home bucket is `tag * buckets / 2^20`. That has three consequences, which are why the slot
//! spends 20 bits on the tag:
//!
//! * growing needs the slots only, never the entries, so it costs no cache misses on keys;
//! * the table can have any number of buckets, so it grows by a third and stays about 3/4 full,
//!   which is 12 bytes of table for a key, where doubling would take up to 18;
//! * the order of the buckets is the order of the tags whatever the size, so that a tag is a
//!   cursor for SCAN that stays good while the table grows and shrinks.
//!
//! Expiry needs no memory of its own: each bucket keeps a lower bound of the expiries in it, in
//! bits that the line had left over. To find what has expired is to read the lines of the table
//! in order, a sixth of a line for each key, and to look into the entries only where the bound
//! has passed. A heap or a wheel would cost 8 bytes or more for each key, and its records would
//! have to be found again when an expiry changes; a bound may simply stay too low, which costs one
//! look.
//!
//! Invariant: `len` is the number of used slots; `entry_bytes` is the sum of their allocations.
//! Invariant: a bucket's `over` is the number of entries that passed over it on the way from
//! their home, or 255, which sticks until the next rebuild.
//! Invariant: a bucket's floor is not above the expiry of any entry in it.
#![allow(unsafe_code)]

use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use smallvec::SmallVec;

use super::entry::{ENTRY_ALIGN, Entry, EntryMut, EntryParts, EntryRef, Standing};
use crate::clock::UnixMs;
use crate::config::TierPolicy;
use crate::equality::equal;
use crate::value::large::Large;
use crate::value::shared::SharedBytes;

const SLOTS: usize = 7;
const TAG_BITS: u32 = 20;
const TAG_MASK: usize = (1 << TAG_BITS) - 1;
const ADDRESS_LIMIT: usize = 1 << 48;
const OVER_MASK: u64 = 0xff;
const FLOOR_SHIFT: u32 = 16;
const FLOOR_NONE: u64 = (1 << 48) - 1;
/// The share of the slots that may be used before the table grows.
const GROW_AT: (usize, usize) = (6, 7);
/// Below this share of used slots the table shrinks.
const SHRINK_BELOW: (usize, usize) = (1, 5);
/// A table of at most so many buckets is filled to the last slot, grows by one, and shrinks when one fewer would do with a
/// few slots to spare. In a cache of some thousand keys, where shards have a handful each and lines are large beside that,
/// tables that only grow take 20 bytes for a key, and this 13. To read a line more or to lay out a few anew costs little.
const SMALL_BUCKETS: usize = 4;
/// Slots that a small table has to spare when it has shrunk.
const SPARE_SLOTS: usize = 2;

/// The part of a key's hash that the table keeps: 20 bits, never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag(u32);

impl Tag {
    /// One more than the largest tag: the end of a scan.
    pub const END: u32 = 1 << TAG_BITS;

    /// Takes the tag from the low bits of a hash.
    #[inline]
    pub fn of_hash(hash: u64) -> Self {
        Self(((hash & TAG_MASK as u64) as u32).max(1))
    }

    /// The tag as a number below [`Tag::END`].
    pub const fn value(self) -> u32 {
        self.0
    }
}

/// Where an entry is. Good until the table changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    bucket: u32,
    slot: u32,
}

impl Position {
    /// Which slot of its bucket it is.
    pub fn slot(self) -> u32 {
        self.slot
    }
}

/// The address of an entry with its tag, or nothing. Kept as a pointer, so that the provenance of
/// the allocation stays with it.
#[derive(Clone, Copy)]
struct Slot(*mut u8);

impl Slot {
    const EMPTY: Self = Self(ptr::null_mut());

    fn new(tag: Tag, entry: Entry) -> Self {
        let start = entry.into_raw();
        debug_assert!(
            start.addr().get() < ADDRESS_LIMIT,
            "user addresses have at most 48 bits"
        );
        Self(
            start
                .as_ptr()
                .map_addr(|a| ((a >> 4) << TAG_BITS) | tag.0 as usize),
        )
    }

    #[inline]
    fn is_empty(self) -> bool {
        self.0.is_null()
    }

    #[inline]
    fn tag(self) -> Tag {
        Tag((self.0.addr() & TAG_MASK) as u32)
    }

    #[inline]
    fn start(self) -> NonNull<u8> {
        let start = self.0.map_addr(|a| (a >> TAG_BITS) << 4);
        debug_assert!(!start.is_null(), "only used slots are followed");
        // SAFETY: a used slot holds the address that `new` was given, which was not null.
        unsafe { NonNull::new_unchecked(start) }
    }
}

#[derive(Clone)]
#[repr(C, align(64))]
struct Bucket {
    slots: [Slot; SLOTS],
    meta: u64,
}

impl Bucket {
    const EMPTY: Self = Self {
        slots: [Slot::EMPTY; SLOTS],
        meta: FLOOR_NONE << FLOOR_SHIFT,
    };

    #[inline]
    fn over(&self) -> u64 {
        self.meta & OVER_MASK
    }

    fn count_over(&mut self) {
        if self.over() < OVER_MASK {
            self.meta += 1;
        }
    }

    fn uncount_over(&mut self) {
        if self.over() < OVER_MASK {
            debug_assert!(self.over() > 0, "what is taken back was counted");
            self.meta -= 1;
        }
    }

    fn floor(&self) -> u64 {
        self.meta >> FLOOR_SHIFT
    }

    fn set_floor(&mut self, floor: u64) {
        self.meta = (self.meta & ((1 << FLOOR_SHIFT) - 1)) | (floor << FLOOR_SHIFT);
    }

    fn lower_floor(&mut self, floor: u64) {
        if floor < self.floor() {
            self.set_floor(floor);
        }
    }

    fn free_slot(&self) -> Option<usize> {
        self.slots.iter().position(|slot| slot.is_empty())
    }
}

/// An expiry as a floor. One beyond the range of 48 bits (the year 10889) is never looked for.
fn floor_of(expires_at: Option<UnixMs>) -> u64 {
    expires_at.map_or(FLOOR_NONE, |at| at.0.max(0).cast_unsigned().min(FLOOR_NONE))
}

/// The table of one shard.
///
/// It is small, so that with its lock and the hint it fills one cache line of the shard.
pub struct Table {
    buckets: Box<[Bucket]>,
    entry_bytes: usize,
    /// Not above the floor of any bucket.
    floor: u64,
    len: u32,
    /// What pinned entries take of `entry_bytes`, in units of [`ENTRY_ALIGN`]. For more there is no room.
    pinned_units: u32,
}

/// What an entry adds to [`Table::pinned_units`].
#[inline]
fn pinned_units(entry: EntryRef<'_>) -> u32 {
    if entry.is_pinned() {
        (entry.allocated_bytes() / ENTRY_ALIGN) as u32
    } else {
        0
    }
}

impl Default for Table {
    fn default() -> Self {
        Self {
            buckets: Box::default(),
            len: 0,
            entry_bytes: 0,
            floor: FLOOR_NONE,
            pinned_units: 0,
        }
    }
}

// SAFETY: the addresses in the slots are of entries that the table owns alone.
unsafe impl Send for Table {}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table")
            .field("len", &self.len)
            .field("buckets", &self.buckets.len())
            .finish_non_exhaustive()
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        for bucket in &mut self.buckets {
            for slot in &mut bucket.slots {
                if !slot.is_empty() {
                    // SAFETY: the slot owns its entry, and is emptied so that it is given once.
                    drop(unsafe { Entry::from_raw(slot.start()) });
                    *slot = Slot::EMPTY;
                }
            }
        }
    }
}

impl Table {
    /// The number of entries.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The number of buckets.
    pub fn bucket_count(&self) -> usize {
        self.buckets.len()
    }

    /// What the allocator has given for the buckets and the entries.
    #[inline]
    pub fn used_bytes(&self) -> usize {
        self.entry_bytes + self.table_bytes()
    }

    /// What the allocator has given for pinned entries.
    #[inline]
    pub fn pinned_bytes(&self) -> usize {
        self.pinned_units as usize * ENTRY_ALIGN
    }

    /// Pins an entry for a client, or ends that.
    pub fn set_pin(&mut self, at: Position, pinned: bool) {
        self.pinned_units -= pinned_units(self.get(at));
        self.get_mut(at).set_pin(pinned);
        self.pinned_units += pinned_units(self.get(at));
    }

    /// Sets where an entry may be.
    pub fn set_policy(&mut self, at: Position, policy: TierPolicy) {
        self.pinned_units -= pinned_units(self.get(at));
        self.get_mut(at).set_policy(policy);
        self.pinned_units += pinned_units(self.get(at));
    }

    /// What the allocator has given for the buckets.
    pub fn table_bytes(&self) -> usize {
        self.buckets.len() * size_of::<Bucket>()
    }

    #[inline]
    fn home(&self, tag: Tag) -> usize {
        (tag.0 as usize * self.buckets.len()) >> TAG_BITS
    }

    #[inline]
    fn after(&self, bucket: usize) -> usize {
        if bucket + 1 == self.buckets.len() {
            0
        } else {
            bucket + 1
        }
    }

    /// Finds the entry of a key.
    #[inline]
    pub fn find(&self, tag: Tag, space: u8, key: &[u8]) -> Option<Position> {
        self.find_by(tag, |entry| {
            entry.space() == space && equal(entry.key(), key)
        })
    }

    /// Finds an entry with this tag that is accepted.
    #[inline]
    pub fn find_by(&self, tag: Tag, accept: impl Fn(EntryRef<'_>) -> bool) -> Option<Position> {
        if self.buckets.is_empty() {
            return None;
        }
        let home = self.home(tag);
        let mut at = home;
        loop {
            let bucket = &self.buckets[at];
            for (i, slot) in bucket.slots.iter().enumerate() {
                // An empty slot reads as tag zero, which no key has.
                if slot.tag() == tag {
                    // SAFETY: the table owns the entry and is borrowed.
                    if accept(unsafe { EntryRef::from_raw(slot.start()) }) {
                        return Some(Position {
                            bucket: at as u32,
                            slot: i as u32,
                        });
                    }
                }
            }
            if bucket.over() == 0 {
                return None;
            }
            at = self.after(at);
            if at == home {
                return None;
            }
        }
    }

    /// Fetches the entries that may be this key's into the cache, ahead of `find`.
    #[inline]
    pub fn prefetch_entry(&self, tag: Tag) {
        if self.buckets.is_empty() {
            return;
        }
        for slot in &self.buckets[self.home(tag)].slots {
            if slot.tag() == tag {
                let start = slot.start().as_ptr();
                prefetch(start);
                // Most entries that matter for speed are one or two lines long.
                prefetch(start.wrapping_add(64));
            }
        }
    }

    #[inline]
    fn slot(&self, at: Position) -> Slot {
        let slot = self.buckets[at.bucket as usize].slots[at.slot as usize];
        assert!(
            !slot.is_empty(),
            "a position is used before the table changes"
        );
        slot
    }

    /// The entry at a position.
    #[inline]
    pub fn get(&self, at: Position) -> EntryRef<'_> {
        // SAFETY: the slot is used, so its entry is owned by the table, which is borrowed.
        unsafe { EntryRef::from_raw(self.slot(at).start()) }
    }

    /// The entry at a position, to be changed in place.
    #[inline]
    pub fn get_mut(&mut self, at: Position) -> EntryMut<'_> {
        // SAFETY: as in `get`, and the table is borrowed mutably.
        unsafe { EntryMut::from_raw(self.slot(at).start()) }
    }

    /// The tag of the entry at a position.
    pub fn tag(&self, at: Position) -> Tag {
        self.slot(at).tag()
    }

    /// Adds an entry, whose key must not be in the table.
    pub fn insert(&mut self, tag: Tag, entry: Entry) -> Position {
        if self.len() >= self.room() {
            let buckets = self.buckets.len();
            let more = if buckets < SMALL_BUCKETS {
                1
            } else {
                buckets / 3 + 1
            };
            self.rebuild(buckets + more);
        }
        self.entry_bytes += entry.allocated_bytes();
        self.pinned_units += pinned_units(entry.view());
        self.len += 1;
        let floor = floor_of(entry.view().due_at());
        self.floor = self.floor.min(floor);
        self.place(Slot::new(tag, entry), floor)
    }

    /// How many entries there may be before the table grows.
    fn room(&self) -> usize {
        let slots = self.buckets.len() * SLOTS;
        if self.buckets.len() <= SMALL_BUCKETS {
            slots
        } else {
            slots * GROW_AT.0 / GROW_AT.1
        }
    }

    fn place(&mut self, slot: Slot, floor: u64) -> Position {
        let mut at = self.home(slot.tag());
        loop {
            let bucket = &mut self.buckets[at];
            if let Some(free) = bucket.free_slot() {
                bucket.slots[free] = slot;
                bucket.lower_floor(floor);
                return Position {
                    bucket: at as u32,
                    slot: free as u32,
                };
            }
            bucket.count_over();
            at = self.after(at);
        }
    }

    /// Takes an entry out.
    pub fn remove(&mut self, at: Position) -> Entry {
        let slot = self.slot(at);
        self.buckets[at.bucket as usize].slots[at.slot as usize] = Slot::EMPTY;
        let mut passed = self.home(slot.tag());
        while passed != at.bucket as usize {
            self.buckets[passed].uncount_over();
            passed = self.after(passed);
        }
        // SAFETY: the slot owned its entry and was emptied.
        let entry = unsafe { Entry::from_raw(slot.start()) };
        self.len -= 1;
        self.entry_bytes -= entry.allocated_bytes();
        self.pinned_units -= pinned_units(entry.view());
        entry
    }

    /// Gives back memory after removals. Positions are not good afterwards.
    pub fn shrink_if_sparse(&mut self) {
        let slots = self.buckets.len() * SLOTS;
        let is_small = self.buckets.len() <= SMALL_BUCKETS;
        if self.len == 0 {
            self.rebuild(0);
        } else if is_small && self.len() + SPARE_SLOTS <= slots - SLOTS {
            self.rebuild((self.len() + SPARE_SLOTS).div_ceil(SLOTS));
        } else if self.buckets.len() > 1 && self.len() * SHRINK_BELOW.1 < slots * SHRINK_BELOW.0 {
            self.rebuild(self.len().div_ceil(SLOTS - 2));
        }
    }

    /// Lays the same slots out in another number of buckets, rounded up to fill the allocation.
    fn rebuild(&mut self, buckets: usize) {
        let line = size_of::<Bucket>();
        let buckets = if buckets == 0 {
            0
        } else {
            crate::allocator::size_class(buckets * line) / line
        };
        let old = std::mem::replace(
            &mut self.buckets,
            vec![Bucket::EMPTY; buckets].into_boxed_slice(),
        );
        for bucket in &old {
            for slot in bucket.slots.iter().filter(|slot| !slot.is_empty()) {
                // The floor of the whole old bucket: true as a bound, and costs no entry.
                self.place(*slot, bucket.floor());
            }
        }
        if buckets == 0 {
            self.floor = FLOOR_NONE;
        }
    }

    /// Passes an entry through a function that may move it, and keeps the books.
    fn with_entry(&mut self, at: Position, change: impl FnOnce(Entry) -> Entry) {
        let slot = self.slot(at);
        // While the entry is out its slot is empty, so that a panic cannot free it twice.
        self.buckets[at.bucket as usize].slots[at.slot as usize] = Slot::EMPTY;
        // SAFETY: the slot owned its entry and was emptied.
        let entry = unsafe { Entry::from_raw(slot.start()) };
        self.entry_bytes -= entry.allocated_bytes();
        self.pinned_units -= pinned_units(entry.view());
        let entry = change(entry);
        self.entry_bytes += entry.allocated_bytes();
        self.pinned_units += pinned_units(entry.view());
        let floor = floor_of(entry.view().due_at());
        let bucket = &mut self.buckets[at.bucket as usize];
        bucket.slots[at.slot as usize] = Slot::new(slot.tag(), entry);
        self.lower_floor(at, floor);
    }

    fn lower_floor(&mut self, at: Position, floor: u64) {
        self.floor = self.floor.min(floor);
        self.buckets[at.bucket as usize].lower_floor(floor);
    }

    /// Writes a new value and expiry over the entry, whose key must be the same.
    pub fn overwrite(&mut self, at: Position, parts: &EntryParts<'_>) {
        debug_assert_eq!(self.get(at).key(), parts.key);
        if self.get_mut(at).overwrite_in_place(parts) {
            // It takes what it took.
            self.lower_floor(at, floor_of(parts.expires_at));
        } else {
            self.with_entry(at, |entry| entry.overwrite(parts));
        }
    }

    /// The same with a value that others have too.
    pub fn overwrite_shared(&mut self, at: Position, parts: &EntryParts<'_>, value: SharedBytes) {
        debug_assert_eq!(self.get(at).key(), parts.key);
        self.with_entry(at, |entry| entry.overwrite_shared(parts, value));
    }

    /// Changes the length of a string; what is added reads as zero bytes.
    pub fn resize_value(&mut self, at: Position, value_len: usize) {
        self.with_entry(at, |entry| entry.resize_value(value_len));
    }

    /// Writes other bytes over a value that is not large.
    pub fn rewrite_value(&mut self, at: Position, value: &[u8]) {
        self.with_entry(at, |entry| entry.rewrite_value(value));
    }

    /// Puts a large collection in the place of a packed one.
    pub fn enlarge(&mut self, at: Position, large: Large) {
        self.with_entry(at, |entry| entry.enlarged(large));
    }

    /// Takes a large collection out of its entry, which has no value until [`Self::put_large`] or [`Self::overwrite`].
    pub fn take_large(&mut self, at: Position) -> Large {
        let mut entry = self.get_mut(at);
        let pinned = pinned_units(entry.view());
        let large = entry.take_large();
        let rest = pinned_units(entry.view());
        self.pinned_units -= pinned - rest;
        self.entry_bytes -= large.view().heap_bytes();
        large
    }

    /// Puts it back, changed or not.
    pub fn put_large(&mut self, at: Position, large: Large) {
        let bytes = large.view().heap_bytes();
        let mut entry = self.get_mut(at);
        let rest = pinned_units(entry.view());
        entry.put_large(large);
        let (pinned, floor) = (pinned_units(entry.view()), floor_of(entry.view().due_at()));
        self.pinned_units += pinned - rest;
        self.entry_bytes += bytes;
        self.lower_floor(at, floor);
    }

    /// Puts the compressed form of a plain value in its place: `block` is its lz4 block.
    pub fn compress(&mut self, at: Position, block: &[u8]) {
        self.with_entry(at, |entry| entry.compressed(block));
    }

    /// Ends that: the value is as it was.
    pub fn restore(&mut self, at: Position) {
        self.with_entry(at, Entry::restored);
    }

    /// Notes that compressing a plain value does not pay.
    pub fn mark_incompressible(&mut self, at: Position) {
        self.get_mut(at).set_standing(Standing::Incompressible);
    }

    /// Sets or removes the expiry.
    pub fn set_expiry(&mut self, at: Position, expires_at: Option<UnixMs>) {
        self.with_entry(at, |entry| entry.set_expiry(expires_at));
    }

    /// A bound: no entry, and no field of a hash, expires before it.
    #[inline]
    pub fn expiry_floor(&self) -> Option<UnixMs> {
        (self.floor < FLOOR_NONE).then_some(UnixMs(self.floor.cast_signed()))
    }

    /// Takes out what has expired by `now`, at most about `limit` entries, and says whether all was
    /// looked at. A full look makes the bound exact. Hashes that stay and have fields to lose are told.
    pub fn take_expired(
        &mut self,
        now: UnixMs,
        limit: usize,
        mut taken: impl FnMut(Entry),
        mut due: impl FnMut(Position),
    ) -> bool {
        let mut left = limit;
        let mut floor = FLOOR_NONE;
        for b in 0..self.buckets.len() {
            if self.buckets[b].floor() <= now.0.max(0).cast_unsigned() {
                if left == 0 {
                    return false;
                }
                left = left.saturating_sub(self.expire_bucket(b, now, &mut taken, &mut due));
            }
            floor = floor.min(self.buckets[b].floor());
        }
        self.floor = floor;
        true
    }

    fn expire_bucket(
        &mut self,
        bucket: usize,
        now: UnixMs,
        taken: &mut impl FnMut(Entry),
        due: &mut impl FnMut(Position),
    ) -> usize {
        let mut floor = FLOOR_NONE;
        let mut count = 0;
        for at in self.positions(bucket) {
            let entry = self.get(at);
            match (entry.expires_at(), entry.due_at()) {
                (Some(expires_at), _) if expires_at <= now => {
                    taken(self.remove(at));
                    count += 1;
                }
                (_, Some(due_at)) if due_at <= now => {
                    due(at);
                    floor = floor.min(floor_of(Some(due_at)));
                    count += 1;
                }
                (_, due_at) => floor = floor.min(floor_of(due_at)),
            }
        }
        self.buckets[bucket].set_floor(floor);
        count
    }

    /// The positions of the entries with a tag.
    pub fn positions_of(&self, tag: u32) -> SmallVec<[Position; 4]> {
        let mut found = SmallVec::new();
        if self.buckets.is_empty() {
            return found;
        }
        let home = self.home(Tag(tag));
        let mut at = home;
        loop {
            let bucket = &self.buckets[at];
            let with_tag = (0..SLOTS).filter(|&i| bucket.slots[i].tag() == Tag(tag));
            found.extend(with_tag.map(|slot| Position {
                bucket: at as u32,
                slot: slot as u32,
            }));
            at = self.after(at);
            if bucket.over() == 0 || at == home {
                return found;
            }
        }
    }

    /// Puts another entry with the same key in the place of one.
    pub fn replace(&mut self, at: Position, entry: Entry) {
        debug_assert_eq!(self.get(at).key(), entry.view().key());
        self.with_entry(at, |_| entry);
    }

    /// The same, and gives that one.
    pub fn exchange(&mut self, at: Position, entry: Entry) -> Entry {
        debug_assert_eq!(self.get(at).key(), entry.view().key());
        let mut before = None;
        self.with_entry(at, |old| {
            before = Some(old);
            entry
        });
        before.expect("an entry was there")
    }

    /// Whether any entry in a bucket may have an expiry.
    pub fn may_expire(&self, bucket: usize) -> bool {
        self.buckets[bucket].floor() < FLOOR_NONE
    }

    /// The positions of the entries in a bucket.
    pub fn positions(&self, bucket: usize) -> impl Iterator<Item = Position> + use<> {
        let slots = &self.buckets[bucket].slots;
        let used: u8 = (0..SLOTS)
            .filter(|&i| !slots[i].is_empty())
            .map(|i| 1 << i)
            .sum();
        (0..SLOTS as u32)
            .filter(move |i| used & (1 << i) != 0)
            .map(move |slot| Position {
                bucket: bucket as u32,
                slot,
            })
    }

    /// The position of an entry that a random number names; often of none.
    pub fn random_position(&self, random: u64) -> Option<Position> {
        let at = Position {
            bucket: (random >> 32).checked_rem(self.buckets.len() as u64)? as u32,
            slot: (random as u32) % SLOTS as u32,
        };
        let slot = self.buckets[at.bucket as usize].slots[at.slot as usize];
        (!slot.is_empty()).then_some(at)
    }

    /// The positions of all entries.
    pub fn all_positions(&self) -> impl Iterator<Item = Position> + use<'_> {
        (0..self.buckets.len()).flat_map(|bucket| self.positions(bucket))
    }

    /// Shows the entries of one home bucket, from the tag `from` on, and gives the tag to go on
    /// from, [`Tag::END`] at the end. Whatever the table does in between, a walk from tag 0 to
    /// the end shows every entry that stays.
    pub fn scan(&self, from: u32, mut show: impl FnMut(EntryRef<'_>)) -> u32 {
        let buckets = self.buckets.len();
        if buckets == 0 {
            return Tag::END;
        }
        let home = (from as usize * buckets) >> TAG_BITS;
        let mut at = home;
        loop {
            let bucket = &self.buckets[at];
            for slot in bucket.slots.iter().filter(|slot| !slot.is_empty()) {
                if slot.tag().0 >= from && self.home(slot.tag()) == home {
                    // SAFETY: the table owns the entry and is borrowed.
                    show(unsafe { EntryRef::from_raw(slot.start()) });
                }
            }
            at = self.after(at);
            if bucket.over() == 0 || at == home {
                break;
            }
        }
        // The least tag whose home is the next bucket.
        ((home + 1) << TAG_BITS).div_ceil(buckets) as u32
    }

    /// Recounts everything that is kept and panics where it is not so. For tests and fuzzing.
    pub fn validate(&self) {
        let mut over = vec![0u64; self.buckets.len()];
        let (mut len, mut bytes, mut pinned) = (0, 0, 0);
        for at in self.all_positions() {
            let entry = self.get(at);
            len += 1;
            bytes += entry.allocated_bytes();
            pinned += pinned_units(entry);
            let floor = floor_of(entry.due_at());
            assert!(
                self.buckets[at.bucket as usize].floor() <= floor,
                "the bucket's floor is a bound"
            );
            assert!(self.floor <= floor, "the table's floor is a bound");
            let mut passed = self.home(self.tag(at));
            while passed != at.bucket as usize {
                over[passed] += 1;
                passed = self.after(passed);
            }
        }
        assert_eq!((len, bytes), (self.len(), self.entry_bytes));
        assert_eq!(pinned, self.pinned_units);
        for (bucket, over) in self.buckets.iter().zip(over) {
            assert!(
                bucket.over() == over || bucket.over() == OVER_MASK,
                "over counts what passed"
            );
        }
    }
}

/// Where a table's buckets are, readable without the lock, to prefetch from. It may be out of
/// date; then the prefetch is for nothing, and no harm is done.
#[derive(Debug, Default)]
pub struct TableHint {
    base: AtomicPtr<u8>,
    buckets: AtomicU32,
    /// For each space whether it may have entries in the table: none that is not here has.
    spaces: AtomicU32,
}

impl TableHint {
    /// Whether a space may have entries in the table.
    pub fn may_have(&self, space: u8) -> bool {
        self.spaces.load(Ordering::Acquire) & (1 << space) != 0
    }

    /// An entry of a space came. Called with the shard's lock held, as the next.
    #[inline]
    pub fn note_space(&self, space: u8) {
        let spaces = self.spaces.load(Ordering::Relaxed);
        if spaces & (1 << space) == 0 {
            self.spaces.store(spaces | 1 << space, Ordering::Release);
        }
    }

    /// A space has no entries in the table.
    pub fn forget_space(&self, space: u8) {
        let spaces = self.spaces.load(Ordering::Relaxed);
        self.spaces.store(spaces & !(1 << space), Ordering::Release);
    }

    /// Notes where the table is now. Called with the shard's lock held.
    #[inline]
    pub fn note(&self, table: &Table) {
        let buckets = table.buckets.len() as u32;
        if self.buckets.load(Ordering::Relaxed) != buckets {
            self.base.store(
                table.buckets.as_ptr().cast::<u8>().cast_mut(),
                Ordering::Relaxed,
            );
            self.buckets.store(buckets, Ordering::Relaxed);
        }
    }

    /// Fetches the home bucket of a tag into the cache.
    #[inline]
    pub fn prefetch(&self, tag: Tag) {
        let home = (tag.0 as usize * self.buckets.load(Ordering::Relaxed) as usize) >> TAG_BITS;
        prefetch(
            self.base
                .load(Ordering::Relaxed)
                .wrapping_add(home * size_of::<Bucket>()),
        );
    }
}

/// Asks the processor for a cache line. Any address will do: a prefetch cannot fault.
#[inline]
pub fn prefetch(address: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch reads nothing that the program can see, and never faults.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{0}]", in(reg) address, options(nostack, preserves_flags, readonly));
    }
    #[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
    let _ = address;
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::hash::BuildHasher;

    use super::*;
    use crate::random::Random;

    const HASHER: foldhash::quality::FixedState = foldhash::quality::FixedState::with_seed(7);

    fn tag_of(key: &[u8]) -> Tag {
        Tag::of_hash(HASHER.hash_one(key))
    }

    fn parts<'a>(key: &'a [u8], value: &'a [u8], at: Option<i64>) -> EntryParts<'a> {
        EntryParts {
            space: 0,
            key,
            value,
            expires_at: at.map(UnixMs),
            value_type: crate::keyspace::entry::ValueType::String,
            raw: false,
        }
    }

    /// A small generator, so that a seed is all that a failing run needs.
    /// Large collections of every type are moved with their entries, changed, put in each other's place and freed.
    #[test]
    fn large_collections_belong_to_their_entries() {
        use crate::value::field_table::FieldTable;
        use crate::value::large::LargeRef;
        use crate::value::list::NodeList;
        use crate::value::member_table::MemberTable;
        use crate::value::sorted_set::SortedSet;
        use crate::value::stream::Stream;

        let large = |kind: u64| match kind {
            0 => Large::List(Box::<NodeList>::default()),
            1 => Large::Set(Box::<MemberTable>::default()),
            2 => Large::Zset(Box::<SortedSet>::default()),
            3 => Large::Hash(Box::<FieldTable>::default()),
            _ => Large::Stream(Box::<Stream>::default()),
        };
        let mut random = Random(11);
        let mut table = Table::default();
        // The number of fields or members, where there is a large collection.
        let mut model: HashMap<Vec<u8>, Option<u64>> = HashMap::new();
        let steps = if cfg!(miri) { 400 } else { 20_000 };
        for step in 0..steps {
            let key = format!("key:{}", random.below(12)).into_bytes();
            let (tag, kind) = (tag_of(&key), random.below(5));
            let at = (random.below(2) == 0).then_some(UnixMs(5_000));
            match (random.below(8), table.find(tag, 0, &key)) {
                (_, None) => {
                    table.insert(tag, Entry::large(0, &key, large(kind), at));
                    model.insert(key, Some(0));
                }
                (0, Some(pos)) => {
                    table.remove(pos);
                    model.remove(&key);
                }
                (1, Some(pos)) => {
                    table.overwrite(pos, &parts(&key, &[7; 20], at.map(|at| at.0)));
                    model.insert(key, None);
                }
                (2, Some(pos)) => table.set_expiry(pos, at),
                (3, Some(pos)) => {
                    let copy = table.get(pos).to_entry(0, b"another key");
                    table.insert(tag_of(b"another key"), copy);
                    let copy = table.find(tag_of(b"another key"), 0, b"another key");
                    table.remove(copy.expect("it was put in"));
                }
                (4, Some(pos)) if !table.get(pos).is_large() => {
                    table.enlarge(pos, large(kind));
                    model.insert(key, Some(0));
                }
                (_, Some(pos)) if table.get(pos).is_large() => {
                    let mut taken = table.take_large(pos);
                    let name = step.to_string().into_bytes();
                    match &mut taken {
                        Large::Set(members) => {
                            members.add(&name);
                        }
                        Large::Hash(fields) => {
                            fields.set(&name, b"", false);
                        }
                        Large::Zset(members) => {
                            members.set(&name, 1.0);
                        }
                        Large::List(_) | Large::Stream(_) => {}
                    }
                    let counts = !matches!(taken, Large::List(_) | Large::Stream(_));
                    table.put_large(pos, taken);
                    if let Some(Some(len)) = model.get_mut(&key) {
                        *len += u64::from(counts);
                    }
                }
                (_, Some(_)) => {}
            }
            table.validate();
        }
        for (key, len) in &model {
            let pos = table.find(tag_of(key), 0, key).expect("it is there");
            let found = table.get(pos).large().map(|large| match large {
                LargeRef::Set(members) => members.len() as u64,
                LargeRef::Hash(fields) => fields.len() as u64,
                LargeRef::Zset(members) => members.len() as u64,
                LargeRef::List(_) | LargeRef::Stream(_) => 0,
            });
            assert_eq!(found, *len);
        }
    }

    /// Random operations against a map, everything recounted after each step.
    fn model_run(seed: u64, steps: usize, keys: u64) {
        println!("seed {seed}");
        let mut random = Random(seed);
        let mut table = Table::default();
        let mut model: HashMap<Vec<u8>, (Vec<u8>, Option<i64>)> = HashMap::new();
        let mut now = 0i64;
        let mut compressor = crate::lz4::Compressor::default();
        for step in 0..steps {
            let key = format!("key:{}", random.below(keys)).into_bytes();
            let tag = tag_of(&key);
            let value = vec![random.below(256) as u8; random.below(40) as usize];
            let at = (random.below(2) == 0).then(|| now + 1 + random.below(500).cast_signed());
            let found = table.find(tag, 0, &key);
            assert_eq!(found.is_some(), model.contains_key(&key));
            let is_compressed = found.is_some_and(|pos| table.get(pos).is_compressed());
            match (random.below(10), found) {
                (0..6, None) => {
                    table.insert(tag, Entry::new(&parts(&key, &value, at)));
                    model.insert(key, (value, at));
                }
                (0..3, Some(pos)) => {
                    table.overwrite(pos, &parts(&key, &value, at));
                    model.insert(key, (value, at));
                }
                (3, Some(pos)) => {
                    if is_compressed {
                        table.restore(pos);
                    }
                    table.resize_value(pos, value.len());
                    model.get_mut(&key).unwrap().0.resize(value.len(), 0);
                }
                (4..6, Some(pos)) => {
                    table.set_expiry(pos, at.map(UnixMs));
                    model.get_mut(&key).unwrap().1 = at;
                }
                (6, Some(pos)) if is_compressed => table.restore(pos),
                (6 | 7, Some(pos)) if !is_compressed => {
                    let value = &model[&key].0;
                    table.compress(pos, compressor.compress(value).unwrap());
                }
                (8, Some(pos)) => {
                    assert_eq!(table.remove(pos).view().key(), &key[..]);
                    table.shrink_if_sparse();
                    model.remove(&key);
                }
                (9, _) => {
                    now += random.below(60).cast_signed();
                    let limit = random.below(20) as usize;
                    let mut taken = Vec::new();
                    let all = table.take_expired(
                        UnixMs(now),
                        limit,
                        |e| taken.push(e.view().key().to_vec()),
                        |_| {},
                    );
                    for key in taken {
                        assert!(model.remove(&key).unwrap().1.unwrap() <= now);
                    }
                    assert!(!all || model.values().all(|(_, at)| at.is_none_or(|at| at > now)));
                }
                _ => {}
            }
            if step % 7 == 0 || step + 1 == steps {
                table.validate();
                for (key, (value, at)) in &model {
                    let entry = table.get(table.find(tag_of(key), 0, key).unwrap());
                    let mut scratch = Vec::new();
                    assert_eq!(
                        (entry.plain(&mut scratch), entry.expires_at().map(|a| a.0)),
                        (&value[..], *at)
                    );
                }
            }
        }
    }

    #[test]
    fn agrees_with_a_map_over_random_operations() {
        let (runs, steps) = if cfg!(miri) { (2, 300) } else { (20, 4000) };
        for seed in 1..=runs {
            model_run(seed * 0x9e37_79b9, steps, 10 + seed * 37);
        }
    }

    #[test]
    fn a_scan_shows_every_entry_that_stays_while_the_table_grows_and_shrinks() {
        let count = if cfg!(miri) { 60 } else { 1000 };
        let mut table = Table::default();
        for i in 0..count {
            let key = format!("stay:{i}").into_bytes();
            table.insert(tag_of(&key), Entry::new(&parts(&key, b"v", None)));
        }
        let (mut from, mut step) = (0, 0);
        let mut seen = std::collections::HashSet::new();
        while from < Tag::END {
            from = table.scan(from, |entry| {
                seen.insert(entry.key().to_vec());
            });
            step += 1;
            for i in 0..20 {
                let key = format!("pass:{}", (step / 60) * 20 + i).into_bytes();
                match table.find(tag_of(&key), 0, &key) {
                    None if (step / 30) % 2 == 0 => {
                        table.insert(tag_of(&key), Entry::new(&parts(&key, b"", None)));
                    }
                    Some(pos) if (step / 30) % 2 == 1 => {
                        table.remove(pos);
                        table.shrink_if_sparse();
                    }
                    _ => {}
                }
            }
        }
        let stayed = seen.iter().filter(|key| key.starts_with(b"stay:")).count();
        assert_eq!(stayed, count);
        table.validate();
    }

    #[test]
    fn a_tag_that_is_shared_by_many_keys_finds_each() {
        let mut table = Table::default();
        let tag = Tag::of_hash(5);
        for i in 0..60u8 {
            table.insert(tag, Entry::new(&parts(&[i], &[i], None)));
        }
        table.validate();
        for i in 0..60u8 {
            assert_eq!(table.get(table.find(tag, 0, &[i]).unwrap()).value(), &[i]);
        }
        for i in 0..60u8 {
            table.remove(table.find(tag, 0, &[i]).unwrap());
        }
        table.shrink_if_sparse();
        table.validate();
        assert_eq!((table.len(), table.used_bytes()), (0, 0));
    }

    #[test]
    fn a_small_table_takes_about_thirteen_bytes_for_a_key_while_keys_come_and_go() {
        let mut random = Random(3);
        let mut tables: Vec<Table> = (0..64).map(|_| Table::default()).collect();
        let mut keys = std::collections::VecDeque::new();
        let (steps, len) = if cfg!(miri) {
            (600, 550)
        } else {
            (40_000, 550)
        };
        for i in 0..steps {
            let key = format!("key:{i}").into_bytes();
            let shard = random.below(64) as usize;
            tables[shard].insert(tag_of(&key), Entry::new(&parts(&key, b"", None)));
            keys.push_back((shard, key));
            if keys.len() > len {
                let (shard, key) = keys.pop_front().unwrap();
                let table = &mut tables[shard];
                let at = table.find(tag_of(&key), 0, &key).unwrap();
                table.remove(at);
                table.shrink_if_sparse();
                table.validate();
            }
        }
        let bytes: usize = tables.iter().map(Table::table_bytes).sum();
        assert!(bytes <= keys.len() * 15, "{}", bytes / keys.len());
    }

    #[test]
    fn the_table_takes_about_twelve_bytes_for_a_key() {
        for len in [200usize, 244, 700, 2_441] {
            let mut table = Table::default();
            for i in 0..len {
                let key = i.to_string().into_bytes();
                table.insert(tag_of(&key), Entry::new(&parts(&key, b"", None)));
            }
            assert!(
                table.table_bytes() <= len * 15,
                "{len}: {}",
                table.table_bytes() / len
            );
            if cfg!(miri) {
                return;
            }
        }
    }
}
