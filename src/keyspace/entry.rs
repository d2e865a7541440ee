//! An entry: one key with its value, expiry and access record in one allocation.
//!
//! ```text
//! byte 0      kind: type (3 bits) | text or large (1) | raw (1) | wide lengths (1) | expiry form (2)
//! byte 1      space: which database's contents this belongs to (5 bits) | standing (3): what `tier-policy`
//!             says, whether a client pinned it, whether the value is compressed or cannot be
//! byte 2      policy bits: S3-FIFO frequency (2) | in the small queue (1) | met there (1)
//!             and how the entry stands to its copy below (4)
//! bytes 3-5   access record, 24 bits: LRU seconds, or LFU minutes and counter
//!             expiry: absent, or 6 bytes, or 8 bytes (milliseconds since the epoch)
//!             lengths: key u8, value u16; or, wide, key u32, value u32
//!             key bytes, value bytes
//! ```
//!
//! A large collection lies apart: then the value bytes are its address, and the entry owns it. So does a long string: its bytes
//! are shared with the request that brought it and the replies that are sent with it, and the entry is one of those who have
//! them. It is marked by the fourth form of expiry, which has the room of the third.
//!
//! Where the standing is compressed the value bytes are a compressed value, which `compression.rs`
//! makes and reads. One that is pinned or for memory only is never compressed, so three bits are enough.
//!
//! A key of 16 bytes with a value of 64 and an expiry fills 95 bytes, one allocation class of 96.
//! Entries are large in number and small in size, so the header has no padding and is read with
//! unaligned loads; the fields that a lookup needs are in the first cache line with the key.
//!
//! Invariant: nobody outside of the keyspace sees a compressed value's bytes.
//! Invariant: the header always describes its own allocation: `layout_bytes` is what was
//! allocated. Every function that changes a length or the expiry form keeps that true.
//! Invariant: an entry is marked as large if and only if its value bytes are the address of a collection of its type, which
//! no other entry has.
//! Invariant: an entry is marked as shared if and only if its value bytes are the address of shared bytes, as one of whose owners
//! it counts.
//!
//! This file and `table.rs` hold the only unsafe code of the project. Outside of them an entry is
//! an owned value ([`Entry`]) or a borrowed view ([`EntryRef`], [`EntryMut`]).
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc, handle_alloc_error, realloc};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::allocator::size_class;
use crate::clock::UnixMs;
use crate::config::TierPolicy;
use crate::value::field_table::FieldTable;
use crate::value::hash::HashRef;
use crate::value::large::{Large, LargeRef};
use crate::value::list::{ListRef, NodeList};
use crate::value::listpack::{Listpack, OneWay};
use crate::value::member_table::MemberTable;
use crate::value::set::SetRef;
use crate::value::shared::{SHARED_BYTES_MIN, SharedBytes};
use crate::value::sorted_set::SortedSet;
use crate::value::stream::Stream;
use crate::value::zset::ZsetRef;

pub use crate::value::value_type::ValueType;

/// Entries lie on this boundary, which leaves the low four bits of an address to the table.
pub(super) const ENTRY_ALIGN: usize = 16;

/// The type, and whether a string is text or raw: what a copy below keeps.
const FORM_MASK: u8 = 0x1f;
const TYPE_MASK: u8 = 0x07;
/// In place of a type: there is no such key.
const ABSENT: u8 = 0x07;
/// Of a string.
const TEXT: u8 = 0x08;
/// Of a collection, in the same place.
const LARGE: u8 = 0x08;
const ADDRESS_BYTES: usize = size_of::<usize>();
const RAW: u8 = 0x10;
/// Of a packed hash, set or sorted set, in the same place, and only in a copy: its listpack has one way. Old copies have both.
const ONE_WAY: u8 = 0x10;
const WIDE: u8 = 0x20;
const SPACE_MASK: u8 = 0x1f;
/// Of byte 1: the [`Standing`].
const STANDING_MASK: u8 = 0xe0;
const EXPIRY_SHIFT: u8 = 6;
const EXPIRY_MASK: u8 = 3 << EXPIRY_SHIFT;
const FIXED_BYTES: usize = 6;
const NARROW_LENGTHS: usize = 3;
const WIDE_LENGTHS: usize = 8;
/// The longest expiry that the 6-byte form holds; later ones, and large values, use 8 bytes.
const NARROW_EXPIRY_MAX: i64 = (1 << 48) - 1;
/// From this size on an entry always has room for an expiry, so that EXPIRE copies nothing.
const LARGE_VALUE_BYTES: usize = 64 * 1024;
const NO_EXPIRY: i64 = i64::MAX;

/// Whether this is the form of a large collection, which lies apart in memory and is serialised below.
pub(super) fn is_large_form(form: u8) -> bool {
    form & LARGE != 0 && !matches!(form & TYPE_MASK, 0 | ABSENT)
}

/// Whether this is the form of a collection that memory keeps as a listpack of one way, or would if it were of today.
fn is_one_way_form(form: u8) -> bool {
    let types = [ValueType::Hash, ValueType::Set, ValueType::Zset];
    types
        .iter()
        .any(|value_type| *value_type as u8 == form & (TYPE_MASK | LARGE))
}

/// Whether a copy of this form has a listpack of both ways, which memory does not keep any more.
pub(super) fn is_old_form(form: u8) -> bool {
    is_one_way_form(form) && form & ONE_WAY == 0
}

/// What holds for an entry in memory, besides its contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Standing {
    /// Nothing special.
    Plain = 0x00,
    /// It never goes below.
    MemoryOnly = 0x20,
    /// By a rule it never leaves memory for space.
    Held = 0x40,
    /// Its value is compressed.
    Compressed = 0x60,
    /// A client pinned it: it never leaves memory for space.
    Pinned = 0x80,
    /// Both.
    PinnedMemoryOnly = 0xa0,
    /// Both.
    PinnedHeld = 0xc0,
    /// Its value was compressed in vain.
    Incompressible = 0xe0,
}

impl Standing {
    pub(super) fn of(policy: TierPolicy, pinned: bool) -> Self {
        match (policy, pinned) {
            (TierPolicy::Disk, false) => Self::Plain,
            (TierPolicy::MemoryOnly, false) => Self::MemoryOnly,
            (TierPolicy::Pinned, false) => Self::Held,
            (TierPolicy::Disk, true) => Self::Pinned,
            (TierPolicy::MemoryOnly, true) => Self::PinnedMemoryOnly,
            (TierPolicy::Pinned, true) => Self::PinnedHeld,
        }
    }

    pub(super) fn policy(self) -> TierPolicy {
        match self {
            Self::MemoryOnly | Self::PinnedMemoryOnly => TierPolicy::MemoryOnly,
            Self::Held | Self::PinnedHeld => TierPolicy::Pinned,
            _ => TierPolicy::Disk,
        }
    }

    #[inline]
    pub(super) fn has_pin(self) -> bool {
        matches!(
            self,
            Self::Pinned | Self::PinnedMemoryOnly | Self::PinnedHeld
        )
    }

    #[inline]
    fn is_pinned(self) -> bool {
        self.has_pin() || self == Self::Held
    }

    #[inline]
    fn is_memory_only(self) -> bool {
        matches!(self, Self::MemoryOnly | Self::PinnedMemoryOnly)
    }

    /// What becomes of it when a new value is written.
    #[inline]
    fn of_new_value(self) -> Self {
        match self {
            Self::Compressed | Self::Incompressible => Self::Plain,
            _ => self,
        }
    }
}

/// What an entry is made from.
#[derive(Clone, Copy, Debug)]
pub struct EntryParts<'a> {
    /// The space (database contents) that the key belongs to.
    pub space: u8,
    /// The key.
    pub key: &'a [u8],
    /// The value.
    pub value: &'a [u8],
    /// The type of the value; what is no string is packed.
    pub value_type: ValueType,
    /// When the key expires, if it does.
    pub expires_at: Option<UnixMs>,
    /// Whether the string was built by writing into it, which OBJECT ENCODING tells as `raw`.
    pub raw: bool,
}

impl EntryParts<'_> {
    fn is_long_string(&self) -> bool {
        self.value_type == ValueType::String && self.value.len() >= SHARED_BYTES_MIN
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ExpiryForm {
    Absent = 0,
    Narrow = 1,
    Wide = 2,
    /// The same room, and the value is shared.
    Shared = 3,
}

impl ExpiryForm {
    const fn bytes(self) -> usize {
        match self {
            Self::Absent => 0,
            Self::Narrow => 6,
            Self::Wide | Self::Shared => 8,
        }
    }

    fn of(expires_at: Option<UnixMs>, value_len: usize) -> Self {
        match expires_at {
            _ if value_len >= LARGE_VALUE_BYTES => Self::Wide,
            None => Self::Absent,
            Some(at) if (0..=NARROW_EXPIRY_MAX).contains(&at.0) => Self::Narrow,
            Some(_) => Self::Wide,
        }
    }
}

/// Where the parts of an entry lie, worked out from its first byte and its lengths.
#[derive(Clone, Copy)]
struct Shape {
    expiry: ExpiryForm,
    wide: bool,
    key_len: usize,
    value_len: usize,
}

impl Shape {
    fn of(key_len: usize, value_len: usize, expires_at: Option<UnixMs>) -> Self {
        let wide = key_len > usize::from(u8::MAX) || value_len > usize::from(u16::MAX);
        Self {
            expiry: ExpiryForm::of(expires_at, value_len),
            wide,
            key_len,
            value_len,
        }
    }

    /// Of an entry whose value is shared.
    fn of_shared(key_len: usize) -> Self {
        Self {
            expiry: ExpiryForm::Shared,
            ..Self::of(key_len, ADDRESS_BYTES, None)
        }
    }

    const fn key_at(self) -> usize {
        FIXED_BYTES
            + self.expiry.bytes()
            + if self.wide {
                WIDE_LENGTHS
            } else {
                NARROW_LENGTHS
            }
    }

    const fn value_at(self) -> usize {
        self.key_at() + self.key_len
    }

    /// At least one alignment unit, so that the allocator's class and ours agree.
    const fn bytes(self) -> usize {
        let bytes = self.value_at() + self.value_len;
        if bytes < ENTRY_ALIGN {
            ENTRY_ALIGN
        } else {
            bytes
        }
    }

    fn layout(self) -> Layout {
        Layout::from_size_align(self.bytes(), ENTRY_ALIGN).expect("lengths are at most 4 GiB each")
    }
}

/// An owned entry. Dropping it frees it.
#[derive(Debug)]
pub struct Entry {
    start: NonNull<u8>,
}

// SAFETY: an entry is plain bytes that it owns alone; nothing in it refers to a thread.
unsafe impl Send for Entry {}
// SAFETY: a shared reference to an entry allows reading only.
unsafe impl Sync for Entry {}

impl Drop for Entry {
    fn drop(&mut self) {
        if self.view().is_large() {
            self.view_mut().take_large().free();
        }
        drop(self.take_shared());
        let layout = self.view().shape().layout();
        // SAFETY: `start` was allocated with the layout that the header describes (invariant).
        unsafe { dealloc(self.start.as_ptr(), layout) };
    }
}

impl Entry {
    /// Makes an entry.
    ///
    /// # Panics
    /// If the key or the value is 4 GiB or longer: requests are limited far below that.
    pub fn new(parts: &EntryParts<'_>) -> Self {
        if parts.is_long_string() {
            return Self::shared(parts, parts.value.into());
        }
        let shape = Shape::of(parts.key.len(), parts.value.len(), parts.expires_at);
        assert!(
            parts.key.len() <= u32::MAX as usize && parts.value.len() <= u32::MAX as usize,
            "a key and a value are limited to 4 GiB"
        );
        let mut entry = Self::allocate(shape);
        entry.write_header(
            shape,
            parts.value_type as u8,
            parts.raw,
            parts.space,
            [0; 4],
        );
        entry.view_mut().write_expiry(parts.expires_at);
        entry.copy_in(shape.key_at(), parts.key);
        entry.copy_in(shape.value_at(), parts.value);
        entry
    }

    /// The same with a value that others have too, in the place of that of `parts`, which is not looked at.
    ///
    /// # Panics
    /// As [`Entry::new`].
    pub(super) fn shared(parts: &EntryParts<'_>, value: SharedBytes) -> Self {
        assert!(
            parts.key.len() <= u32::MAX as usize && value.len() <= u32::MAX as usize,
            "a key and a value are limited to 4 GiB"
        );
        let shape = Shape::of_shared(parts.key.len());
        let mut entry = Self::allocate(shape);
        entry.write_header(
            shape,
            parts.value_type as u8,
            parts.raw,
            parts.space,
            [0; 4],
        );
        entry.put_shared(shape, value);
        entry.view_mut().write_expiry(parts.expires_at);
        entry.copy_in(shape.key_at(), parts.key);
        entry
    }

    /// Writes the address of a shared value into an entry of this shape, whose header says that there is one.
    fn put_shared(&mut self, shape: Shape, value: SharedBytes) {
        let address = Arc::into_raw(value.into_inner());
        // SAFETY: the shape of a shared value has the room of an address where the value begins.
        unsafe {
            let at = self.start.as_ptr().add(shape.value_at());
            at.cast::<*const Vec<u8>>().write_unaligned(address);
        }
    }

    /// Takes the shared value out, if there is one: what is left is a value of meaningless bytes, which is not shared.
    fn take_shared(&mut self) -> Option<SharedBytes> {
        let address = self.view().shared_address()?;
        let wide = (ExpiryForm::Wide as u8) << EXPIRY_SHIFT;
        let kind = self.view().kind() & !EXPIRY_MASK | wide;
        self.copy_in(0, &[kind]);
        // SAFETY: the entry counted as one who has the bytes (invariant) and is not marked as shared any more.
        Some(SharedBytes::from_inner(unsafe { Arc::from_raw(address) }))
    }

    /// Whether it is a string that is to be shared once it has so many bytes.
    fn would_share(&self, value_len: usize) -> bool {
        self.view().value_type() == ValueType::String
            && !self.view().is_tombstone()
            && value_len >= SHARED_BYTES_MIN
    }

    /// A mark that there is no such key.
    pub(super) fn tombstone(space: u8, key: &[u8]) -> Self {
        let mut entry = Self::new(&EntryParts {
            space,
            key,
            value: b"",
            value_type: ValueType::String,
            expires_at: None,
            raw: false,
        });
        entry.view_mut().set_form(ABSENT);
        entry
    }

    /// A key with a large collection.
    pub fn large(space: u8, key: &[u8], large: Large, expires_at: Option<UnixMs>) -> Self {
        let mut entry = Self::new(&EntryParts {
            space,
            key,
            value: &[0; ADDRESS_BYTES],
            value_type: ValueType::String,
            expires_at,
            raw: false,
        });
        entry.view_mut().put_large(large);
        entry
    }

    /// A string of zero bytes, to be filled where it lies: a value that is read in parts needs no other room.
    ///
    /// # Panics
    /// As [`Entry::new`].
    pub(super) fn zeroed(
        key: &[u8],
        value_len: usize,
        form: u8,
        expires_at: Option<UnixMs>,
    ) -> Self {
        if value_len >= SHARED_BYTES_MIN {
            let parts = EntryParts {
                space: 0,
                key,
                value: b"",
                value_type: ValueType::String,
                expires_at,
                raw: false,
            };
            let mut entry = Self::shared(&parts, vec![0; value_len].into());
            entry.view_mut().set_form(form);
            return entry;
        }
        let shape = Shape::of(key.len(), value_len, expires_at);
        assert!(
            key.len() <= u32::MAX as usize && value_len <= u32::MAX as usize,
            "a key and a value are limited to 4 GiB"
        );
        let layout = shape.layout();
        // SAFETY: the layout is at least ENTRY_ALIGN bytes, so not zero.
        let mut entry = Self::at(unsafe { alloc_zeroed(layout) }, layout);
        entry.write_header(shape, ValueType::String as u8, false, 0, [0; 4]);
        entry.view_mut().write_expiry(expires_at);
        entry.view_mut().set_form(form);
        entry.copy_in(shape.key_at(), key);
        entry
    }

    fn allocate(shape: Shape) -> Self {
        let layout = shape.layout();
        // SAFETY: the layout is at least ENTRY_ALIGN bytes, so not zero.
        Self::at(unsafe { alloc(layout) }, layout)
    }

    fn at(allocated: *mut u8, layout: Layout) -> Self {
        Self {
            start: NonNull::new(allocated).unwrap_or_else(|| handle_alloc_error(layout)),
        }
    }

    fn write_header(
        &mut self,
        shape: Shape,
        value_type: u8,
        raw: bool,
        space: u8,
        access: [u8; 4],
    ) {
        let kind = value_type
            | if raw { RAW } else { 0 }
            | if shape.wide { WIDE } else { 0 }
            | (shape.expiry as u8) << EXPIRY_SHIFT;
        self.copy_in(
            0,
            &[kind, space, access[0], access[1], access[2], access[3]],
        );
        self.write_lengths(shape);
    }

    fn write_lengths(&mut self, shape: Shape) {
        let at = FIXED_BYTES + shape.expiry.bytes();
        if shape.wide {
            self.copy_in(at, &(shape.key_len as u32).to_le_bytes());
            self.copy_in(at + 4, &(shape.value_len as u32).to_le_bytes());
        } else {
            self.copy_in(at, &[shape.key_len as u8]);
            self.copy_in(at + 1, &(shape.value_len as u16).to_le_bytes());
        }
    }

    fn copy_in(&mut self, at: usize, bytes: &[u8]) {
        // SAFETY: callers place `bytes` inside the shape that was allocated, and `bytes` is
        // borrowed from elsewhere, since `self` is borrowed mutably.
        unsafe {
            self.start
                .as_ptr()
                .add(at)
                .copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
    }

    /// Takes the entry apart into its address, for a table slot.
    pub(super) fn into_raw(self) -> NonNull<u8> {
        let start = self.start;
        std::mem::forget(self);
        start
    }

    /// Puts an entry together again.
    ///
    /// # Safety
    /// `start` came from [`Entry::into_raw`] and is given back once.
    pub(super) unsafe fn from_raw(start: NonNull<u8>) -> Self {
        Self { start }
    }

    /// The entry, to be read.
    pub fn view(&self) -> EntryRef<'_> {
        EntryRef {
            start: self.start,
            entry: PhantomData,
        }
    }

    /// The entry, to be changed in place.
    pub fn view_mut(&mut self) -> EntryMut<'_> {
        EntryMut {
            start: self.start,
            entry: PhantomData,
        }
    }

    /// What the allocator really takes for this entry.
    pub fn allocated_bytes(&self) -> usize {
        self.view().allocated_bytes()
    }

    /// Writes a new value, expiry and rawness over the old, in the same allocation where that fits
    /// exactly, and keeps the access record, the policy and the pin.
    pub fn overwrite(mut self, parts: &EntryParts<'_>) -> Self {
        let before = self.take_shared();
        if parts.is_long_string() {
            let mut value = before.unwrap_or_default();
            value.overwrite(parts.value);
            return self.overwrite_shared(parts, value);
        }
        let old = self.view().shape();
        let new = Shape::of(parts.key.len(), parts.value.len(), parts.expires_at);
        let access = self.view().access_bytes();
        let space = parts.space | self.view().standing().of_new_value() as u8;
        let value_type = parts.value_type as u8;
        if self.view().is_large() {
            self.view_mut().take_large().free();
        }
        if old.bytes() == new.bytes() && old.expiry == new.expiry {
            self.write_header(new, value_type, parts.raw, space, access);
            self.view_mut().write_expiry(parts.expires_at);
            self.copy_in(new.value_at(), parts.value);
            return self;
        }
        let mut entry = Self::new(parts);
        entry.write_header(new, value_type, parts.raw, space, access);
        entry
    }

    /// The same with a value that others have too, in the place of that of `parts`, which is not looked at.
    pub(super) fn overwrite_shared(mut self, parts: &EntryParts<'_>, value: SharedBytes) -> Self {
        if self.view().is_large() {
            self.view_mut().take_large().free();
        }
        drop(self.take_shared());
        let access = self.view().access_bytes();
        let space = parts.space | self.view().standing().of_new_value() as u8;
        let (old, new) = (self.view().shape(), Shape::of_shared(parts.key.len()));
        if old.layout() != new.layout() {
            let mut entry = Self::shared(parts, value);
            entry.write_header(new, parts.value_type as u8, parts.raw, space, access);
            return entry;
        }
        self.put_shared(new, value);
        self.write_header(new, parts.value_type as u8, parts.raw, space, access);
        self.view_mut().write_expiry(parts.expires_at);
        self.copy_in(new.key_at(), parts.key);
        self
    }

    /// The same key with a large collection in the place of a packed one.
    pub fn enlarged(self, large: Large) -> Self {
        let expires_at = self.view().expires_at();
        let new = Shape::of(self.view().shape().key_len, ADDRESS_BYTES, expires_at);
        let mut entry = self.in_shape(new, expires_at);
        entry.zero_from(new, 0);
        let standing = entry.view().standing().of_new_value();
        entry.view_mut().set_standing(standing);
        entry.view_mut().put_large(large);
        entry
    }

    /// Changes the length of a string value, which is not compressed; what is added reads as zero bytes.
    pub fn resize_value(mut self, value_len: usize) -> Self {
        let standing = self.view().standing();
        debug_assert_ne!(standing, Standing::Compressed, "it is restored before");
        self.view_mut().set_standing(standing.of_new_value());
        if self.view().is_shared() || self.would_share(value_len) {
            return self.resized_shared(value_len);
        }
        let view = self.view();
        let (old, expires_at) = (view.shape(), view.expires_at());
        let new = Shape::of(old.key_len, value_len, expires_at);
        if old.wide != new.wide || old.expiry != new.expiry {
            return self.rebuild(new, expires_at);
        }
        if old.bytes() != new.bytes() {
            // SAFETY: `start` has the layout of `old` (invariant), and the new size is not zero.
            let start = unsafe { realloc(self.start.as_ptr(), old.layout(), new.layout().size()) };
            self.start = NonNull::new(start).unwrap_or_else(|| handle_alloc_error(new.layout()));
        }
        self.write_lengths(new);
        self.zero_from(new, old.value_len);
        self
    }

    /// The same for a string whose value is shared or shall be.
    fn resized_shared(mut self, value_len: usize) -> Self {
        let expires_at = self.view().expires_at();
        let shape = Shape::of_shared(self.view().shape().key_len);
        if let Some(mut value) = self.take_shared() {
            value.resize(value_len);
            self.put_shared(shape, value);
            let kind = self.view().kind() | EXPIRY_MASK;
            self.copy_in(0, &[kind]);
            return self;
        }
        let mut value = Vec::with_capacity(value_len);
        value.extend_from_slice(self.view().stored_value());
        value.resize(value_len, 0);
        self.in_shape_shared(shape, expires_at, value.into())
    }

    /// A copy of the entry with a shared value.
    fn in_shape_shared(
        &self,
        shape: Shape,
        expires_at: Option<UnixMs>,
        value: SharedBytes,
    ) -> Self {
        // Marked as shared only when it is: until then it has the room.
        let unmarked = Shape {
            expiry: ExpiryForm::Wide,
            ..shape
        };
        let mut entry = self.in_shape(unmarked, expires_at);
        entry.put_shared(shape, value);
        let kind = entry.view().kind() | EXPIRY_MASK;
        entry.copy_in(0, &[kind]);
        entry
    }

    /// Writes other bytes over a value that is not large.
    pub fn rewrite_value(self, value: &[u8]) -> Self {
        debug_assert!(!self.view().is_large(), "its collection would be lost");
        let mut entry = self.resize_value(value.len());
        entry.view_mut().into_stored_value().copy_from_slice(value);
        entry
    }

    /// Sets or removes the expiry, moving the entry where its header must change size.
    pub fn set_expiry(mut self, expires_at: Option<UnixMs>) -> Self {
        let old = self.view().shape();
        let new = Shape::of(old.key_len, old.value_len, expires_at);
        if old.expiry == new.expiry || self.view().is_shared() {
            self.view_mut().write_expiry(expires_at);
            return self;
        }
        self.rebuild(new, expires_at)
    }

    /// The same value and expiry under another key or in another space, as [`EntryRef::to_entry`] gives it; but what lies apart,
    /// or takes much, is not copied.
    pub(super) fn renamed(mut self, space: u8, key: &[u8]) -> Self {
        let (view, old) = (self.view(), self.view().shape());
        if view.is_large() {
            let expires_at = view.expires_at();
            let mut large = self.view_mut().take_large();
            large.detach();
            return Self::large(space, key, large, expires_at);
        }
        let new = Shape::of(key.len(), old.value_len, view.expires_at());
        let is_small = old.value_len < LARGE_VALUE_BYTES && old.key_len != key.len();
        if is_small || (new.wide, new.expiry) != (old.wide, old.expiry) {
            return view.to_entry(space, key);
        }
        let standing = match view.is_compressed() {
            true => Standing::Compressed,
            false => Standing::Plain,
        };
        let mut entry = self.with_key_room(new);
        entry.write_lengths(new);
        entry.copy_in(new.key_at(), key);
        entry.view_mut().set_space(space);
        entry.view_mut().set_standing(standing);
        entry
    }

    /// Moves the value within its allocation to where it is to lie behind a key of another length.
    fn with_key_room(mut self, new: Shape) -> Self {
        let old = self.view().shape();
        let resized = |entry: &mut Self| {
            // SAFETY: the allocation has the layout of `old` (invariant), and the new size is not zero.
            let start = unsafe { realloc(entry.start.as_ptr(), old.layout(), new.layout().size()) };
            entry.start = NonNull::new(start).unwrap_or_else(|| handle_alloc_error(new.layout()));
        };
        if new.bytes() > old.bytes() {
            resized(&mut self);
        }
        // SAFETY: the allocation is as large as the larger of both shapes, so the value lies in it where it was and where it
        // comes; the two may overlap.
        unsafe {
            let start = self.start.as_ptr();
            start
                .add(new.value_at())
                .copy_from(start.add(old.value_at()), old.value_len);
        }
        if new.bytes() < old.bytes() {
            resized(&mut self);
        }
        self
    }

    /// The same entry with other value bytes, `value_len` of them, which `write` writes over zeros, and another standing.
    pub(super) fn with_value(
        self,
        value_len: usize,
        standing: Standing,
        write: impl FnOnce(EntryRef<'_>, &mut [u8]),
    ) -> Self {
        let view = self.view();
        let expires_at = view.expires_at();
        if standing != Standing::Compressed && self.would_share(value_len) {
            let mut value = vec![0; value_len];
            write(view, &mut value);
            let shape = Shape::of_shared(view.shape().key_len);
            let mut entry = self.in_shape_shared(shape, expires_at, value.into());
            entry.view_mut().set_standing(standing);
            return entry;
        }
        let new = Shape::of(view.shape().key_len, value_len, expires_at);
        let mut entry = self.in_shape(new, expires_at);
        entry.zero_from(new, 0);
        let mut changed = entry.view_mut();
        changed.set_standing(standing);
        write(view, changed.into_stored_value());
        entry
    }

    fn rebuild(mut self, new: Shape, expires_at: Option<UnixMs>) -> Self {
        let mut entry = self.in_shape(new, expires_at);
        if self.view().is_large() {
            debug_assert_eq!(new.value_len, ADDRESS_BYTES, "a collection keeps its room");
            entry.zero_from(new, 0);
            entry.view_mut().put_large(self.view_mut().take_large());
            return entry;
        }
        let value = self.view().stored_value();
        let kept = new.value_len.min(value.len());
        entry.copy_in(new.value_at(), &value[..kept]);
        entry.zero_from(new, kept);
        entry
    }

    /// A copy in another shape, whose value bytes are still to be written.
    fn in_shape(&self, new: Shape, expires_at: Option<UnixMs>) -> Self {
        let view = self.view();
        let mut entry = Self::allocate(new);
        entry.write_header(
            new,
            view.kind() & TYPE_MASK,
            view.is_raw(),
            view.space_byte(),
            view.access_bytes(),
        );
        if view.is_text() {
            entry.view_mut().set_text();
        }
        entry.view_mut().write_expiry(expires_at);
        entry.copy_in(new.key_at(), view.key());
        entry
    }

    fn zero_from(&mut self, shape: Shape, from: usize) {
        if from < shape.value_len {
            // SAFETY: the range from `from` to `value_len` of the value lies in the allocation.
            unsafe {
                let start = self.start.as_ptr().add(shape.value_at() + from);
                start.write_bytes(0, shape.value_len - from);
            }
        }
    }
}

/// An entry that is lent for reading.
#[derive(Clone, Copy, Debug)]
pub struct EntryRef<'a> {
    start: NonNull<u8>,
    entry: PhantomData<&'a Entry>,
}

impl<'a> EntryRef<'a> {
    /// Views the entry at an address.
    ///
    /// # Safety
    /// `start` came from [`Entry::into_raw`] and the entry lives, unchanged, for `'a`.
    #[inline]
    pub(super) unsafe fn from_raw(start: NonNull<u8>) -> Self {
        Self {
            start,
            entry: PhantomData,
        }
    }

    #[inline]
    fn read<const N: usize>(self, at: usize) -> [u8; N] {
        // SAFETY: callers read header fields only, which the shape places inside the allocation;
        // byte arrays have no alignment.
        unsafe { self.start.as_ptr().add(at).cast::<[u8; N]>().read() }
    }

    #[inline]
    fn slice(self, at: usize, len: usize) -> &'a [u8] {
        // SAFETY: callers pass a part of the shape, all of which is initialised; the entry is
        // borrowed for 'a.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(at), len) }
    }

    #[inline]
    fn kind(self) -> u8 {
        self.read::<1>(0)[0]
    }

    #[inline]
    fn expiry_form(self) -> ExpiryForm {
        match self.kind() >> EXPIRY_SHIFT {
            0 => ExpiryForm::Absent,
            1 => ExpiryForm::Narrow,
            2 => ExpiryForm::Wide,
            _ => ExpiryForm::Shared,
        }
    }

    #[inline]
    fn shape(self) -> Shape {
        let expiry = self.expiry_form();
        let wide = self.kind() & WIDE != 0;
        let at = FIXED_BYTES + expiry.bytes();
        let (key_len, value_len) = if wide {
            (
                u32::from_le_bytes(self.read(at)) as usize,
                u32::from_le_bytes(self.read(at + 4)) as usize,
            )
        } else {
            (
                usize::from(self.read::<1>(at)[0]),
                usize::from(u16::from_le_bytes(self.read(at + 1))),
            )
        };
        Shape {
            expiry,
            wide,
            key_len,
            value_len,
        }
    }

    #[inline]
    fn access_bytes(self) -> [u8; 4] {
        self.read(2)
    }

    /// The space that the key belongs to.
    #[inline]
    pub fn space(self) -> u8 {
        self.space_byte() & SPACE_MASK
    }

    /// The space and the standing beside it.
    #[inline]
    fn space_byte(self) -> u8 {
        self.read::<1>(1)[0]
    }

    /// Whether the entry never leaves memory for space.
    #[inline]
    pub fn is_pinned(self) -> bool {
        self.standing().is_pinned()
    }

    /// Whether a client pinned it, which is kept below.
    #[inline]
    pub fn has_pin(self) -> bool {
        self.standing().has_pin()
    }

    /// Whether the value is compressed.
    #[inline]
    pub fn is_compressed(self) -> bool {
        self.space_byte() & STANDING_MASK == Standing::Compressed as u8
    }

    pub(super) fn standing(self) -> Standing {
        match self.space_byte() & STANDING_MASK {
            0x00 => Standing::Plain,
            0x20 => Standing::MemoryOnly,
            0x40 => Standing::Held,
            0x60 => Standing::Compressed,
            0x80 => Standing::Pinned,
            0xa0 => Standing::PinnedMemoryOnly,
            0xc0 => Standing::PinnedHeld,
            _ => Standing::Incompressible,
        }
    }

    /// Whether the entry never goes below.
    #[inline]
    pub fn is_memory_only(self) -> bool {
        self.standing().is_memory_only()
    }

    /// Where the entry may be.
    pub fn policy(self) -> TierPolicy {
        self.standing().policy()
    }

    /// The key.
    #[inline]
    pub fn key(self) -> &'a [u8] {
        let shape = self.shape();
        self.slice(shape.key_at(), shape.key_len)
    }

    /// The value, which is not compressed.
    #[inline]
    pub(super) fn value(self) -> &'a [u8] {
        debug_assert!(!self.is_compressed(), "it is restored before it is read");
        debug_assert!(!self.is_large(), "it lies apart");
        self.stored_value()
    }

    /// The value as it lies in memory.
    #[inline]
    pub(super) fn stored_value(self) -> &'a [u8] {
        if self.is_shared() {
            return self.shared_value();
        }
        let shape = self.shape();
        self.slice(shape.value_at(), shape.value_len)
    }

    /// Whether the value's bytes are shared, and lie apart.
    #[inline]
    pub(super) fn is_shared(self) -> bool {
        self.kind() & EXPIRY_MASK == EXPIRY_MASK
    }

    /// The address of the shared bytes, if the value is of that kind.
    fn shared_address(self) -> Option<*const Vec<u8>> {
        self.is_shared().then(|| self.address().cast_const().cast())
    }

    #[cold]
    fn shared_value(self) -> &'a [u8] {
        match self.shared_address() {
            // SAFETY: the entry is one of those who have the bytes (invariant), and is borrowed for 'a: as long as it has them
            // nobody changes them but through it.
            Some(address) => unsafe { &*address }.as_slice(),
            None => b"",
        }
    }

    /// The value for one more who has it, if it is a long string.
    #[inline]
    pub fn shared(self) -> Option<SharedBytes> {
        let address = self.shared_address()?;
        // SAFETY: the entry is one of those who have the bytes (invariant) and stays that: it is not dropped here.
        let value = ManuallyDrop::new(unsafe { Arc::from_raw(address) });
        Some(SharedBytes::from_inner(Arc::clone(&value)))
    }

    /// The value, if it is a string.
    #[inline]
    pub fn string(self) -> Option<&'a [u8]> {
        (self.value_type() == ValueType::String).then(|| self.value())
    }

    /// The type of the value.
    #[inline]
    pub fn value_type(self) -> ValueType {
        ValueType::of_form(self.kind())
    }

    /// Whether the value is a large collection.
    #[inline]
    pub fn is_large(self) -> bool {
        is_large_form(self.kind())
    }

    /// The collection, if it is a large one.
    pub fn large(self) -> Option<LargeRef<'a>> {
        if !self.is_large() {
            return None;
        }
        let address = self.address();
        match self.value_type() {
            // SAFETY: the entry is marked as large, so this is the address of the collection that it owns (invariant), and
            // it is borrowed for 'a.
            ValueType::List => Some(LargeRef::List(unsafe { &*address.cast::<NodeList>() })),
            // SAFETY: the same.
            ValueType::Set => Some(LargeRef::Set(unsafe { &*address.cast::<MemberTable>() })),
            // SAFETY: the same.
            ValueType::Zset => Some(LargeRef::Zset(unsafe { &*address.cast::<SortedSet>() })),
            // SAFETY: the same.
            ValueType::Hash => Some(LargeRef::Hash(unsafe { &*address.cast::<FieldTable>() })),
            // SAFETY: the same.
            ValueType::Stream => Some(LargeRef::Stream(unsafe { &*address.cast::<Stream>() })),
            ValueType::String => None,
        }
    }

    /// Its fields, if it is a hash; `scratch` is where they go if they are compressed.
    pub fn hash<'b>(self, scratch: &'b mut Vec<u8>) -> Option<HashRef<'b>>
    where
        'a: 'b,
    {
        match (self.value_type(), self.large()) {
            (ValueType::Hash, Some(LargeRef::Hash(fields))) => Some(HashRef::Table(fields)),
            (ValueType::Hash, None) => Some(HashRef::packed(self.plain(scratch))),
            _ => None,
        }
    }

    /// Its members, if it is a set; `scratch` is where they go if they are compressed.
    pub fn set<'b>(self, scratch: &'b mut Vec<u8>) -> Option<SetRef<'b>>
    where
        'a: 'b,
    {
        match (self.value_type(), self.large()) {
            (ValueType::Set, Some(LargeRef::Set(members))) => Some(SetRef::Table(members)),
            (ValueType::Set, None) => Some(SetRef::packed(self.plain(scratch))),
            _ => None,
        }
    }

    /// Its members, if it is a sorted set; `scratch` is where they go if they are compressed.
    pub fn zset<'b>(self, scratch: &'b mut Vec<u8>) -> Option<ZsetRef<'b>>
    where
        'a: 'b,
    {
        match (self.value_type(), self.large()) {
            (ValueType::Zset, Some(LargeRef::Zset(members))) => Some(ZsetRef::Large(members)),
            (ValueType::Zset, None) => Some(ZsetRef::Packed(OneWay::new(self.plain(scratch)))),
            _ => None,
        }
    }

    /// The stream, if it is one.
    pub fn stream(self) -> Option<&'a Stream> {
        match self.large() {
            Some(LargeRef::Stream(stream)) => Some(stream),
            _ => None,
        }
    }

    /// Its elements, if it is a list; `scratch` is where they go if they are compressed.
    pub fn list<'b>(self, scratch: &'b mut Vec<u8>) -> Option<ListRef<'b>>
    where
        'a: 'b,
    {
        match (self.value_type(), self.large()) {
            (ValueType::List, Some(LargeRef::List(nodes))) => Some(ListRef::Nodes(nodes)),
            (ValueType::List, None) => Some(ListRef::Packed(Listpack::new(self.plain(scratch)))),
            _ => None,
        }
    }

    /// Where the large collection lies.
    fn address(self) -> *mut u8 {
        let at = self.shape().value_at();
        // SAFETY: the value bytes of an entry that is marked as large or shared are an address (invariants), written by
        // `put_large` or `put_shared`.
        unsafe {
            self.start
                .as_ptr()
                .add(at)
                .cast::<*mut u8>()
                .read_unaligned()
        }
    }

    /// Whether this is no key, but a mark that there is none.
    #[inline]
    pub(super) fn is_tombstone(self) -> bool {
        self.kind() & ABSENT == ABSENT
    }

    /// The type of the value and what else must be kept with it: below and in copies.
    #[inline]
    pub fn form(self) -> u8 {
        let form = self.kind() & FORM_MASK;
        if is_one_way_form(form) {
            form | ONE_WAY
        } else {
            form
        }
    }

    /// Whether the string is text even if it reads as an integer: what INCRBYFLOAT leaves.
    #[inline]
    pub fn is_text(self) -> bool {
        self.kind() & (TEXT | TYPE_MASK) == TEXT
    }

    /// Whether the string was built by writing into it.
    #[inline]
    pub fn is_raw(self) -> bool {
        self.kind() & RAW != 0
    }

    /// When the key expires, if it does.
    #[inline]
    pub fn expires_at(self) -> Option<UnixMs> {
        let at = match self.expiry_form() {
            ExpiryForm::Absent => return None,
            ExpiryForm::Narrow => {
                let b = self.read::<6>(FIXED_BYTES);
                i64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], 0, 0])
            }
            ExpiryForm::Wide | ExpiryForm::Shared => i64::from_le_bytes(self.read(FIXED_BYTES)),
        };
        (at != NO_EXPIRY).then_some(UnixMs(at))
    }

    /// When the first of its fields goes, if it is a hash that has such fields.
    #[inline]
    pub fn fields_due_at(self) -> Option<UnixMs> {
        if self.kind() & TYPE_MASK != ValueType::Hash as u8 || self.is_compressed() {
            return None;
        }
        let hash = match self.large() {
            Some(LargeRef::Hash(fields)) => HashRef::Table(fields),
            _ => HashRef::packed(self.value()),
        };
        hash.first_deadline().map(|deadline| UnixMs(deadline.ms()))
    }

    /// When time changes it: the key goes, or fields of it do.
    pub(super) fn due_at(self) -> Option<UnixMs> {
        match (self.expires_at(), self.fields_due_at()) {
            (Some(key), Some(fields)) => Some(key.min(fields)),
            (key, fields) => key.or(fields),
        }
    }

    /// The 24-bit access record of the LRU and LFU policies.
    #[inline]
    pub fn access(self) -> u32 {
        let b = self.access_bytes();
        u32::from_le_bytes([b[1], b[2], b[3], 0])
    }

    /// The bits of the S3-FIFO policy.
    #[inline]
    pub fn policy_bits(self) -> u8 {
        self.access_bytes()[0]
    }

    /// The same value and expiry under another key or in another space. The access record of the
    /// new entry starts anew, without policy and pin. A compressed value stays so.
    pub fn to_entry(self, space: u8, key: &[u8]) -> Entry {
        if let Some(large) = self.large() {
            return Entry::large(space, key, large.to_large(), self.expires_at());
        }
        let parts = EntryParts {
            space,
            key,
            value: self.stored_value(),
            value_type: self.value_type(),
            expires_at: self.expires_at(),
            raw: self.is_raw(),
        };
        let mut entry = match self.shared() {
            Some(value) => Entry::shared(&parts, value),
            None => Entry::new(&parts),
        };
        if self.is_text() {
            entry.view_mut().set_text();
        }
        if self.is_compressed() {
            entry.view_mut().set_standing(Standing::Compressed);
        }
        entry
    }

    /// What the allocator really takes for this entry.
    #[inline]
    pub fn allocated_bytes(self) -> usize {
        let apart = match self.is_shared() {
            true => SharedBytes::heap_bytes(self.shared_value().len()),
            false => self.large().map_or(0, LargeRef::heap_bytes),
        };
        size_class(self.shape().bytes()) + apart
    }

    /// What it would take with so many value bytes.
    pub(super) fn allocated_with(self, value_len: usize) -> usize {
        let shape = Shape::of(self.shape().key_len, value_len, self.expires_at());
        size_class(shape.bytes())
    }
}

/// An entry that is lent for changes which keep its size.
#[derive(Debug)]
pub struct EntryMut<'a> {
    start: NonNull<u8>,
    entry: PhantomData<&'a mut Entry>,
}

impl<'a> EntryMut<'a> {
    /// Views the entry at an address.
    ///
    /// # Safety
    /// `start` came from [`Entry::into_raw`], and nothing else uses the entry for `'a`.
    #[inline]
    pub(super) unsafe fn from_raw(start: NonNull<u8>) -> Self {
        Self {
            start,
            entry: PhantomData,
        }
    }

    /// The entry, to be read.
    #[inline]
    pub fn view(&self) -> EntryRef<'_> {
        EntryRef {
            start: self.start,
            entry: PhantomData,
        }
    }

    #[inline]
    fn write<const N: usize>(&mut self, at: usize, bytes: [u8; N]) {
        // SAFETY: callers write header fields only, which lie inside the allocation.
        unsafe { self.start.as_ptr().add(at).cast::<[u8; N]>().write(bytes) };
    }

    /// Records an access.
    #[inline]
    pub fn set_access(&mut self, access: u32) {
        let b = access.to_le_bytes();
        self.write(3, [b[0], b[1], b[2]]);
    }

    /// Sets the bits of the S3-FIFO policy.
    #[inline]
    pub fn set_policy_bits(&mut self, bits: u8) {
        self.write(2, [bits]);
    }

    /// Sets what [`EntryRef::form`] gives, but for whether the value is large.
    pub(super) fn set_form(&mut self, form: u8) {
        debug_assert!(!self.view().is_large(), "its collection would be lost");
        let is_string = form & TYPE_MASK == ValueType::String as u8;
        let form = if is_string {
            form
        } else {
            form & !(LARGE | ONE_WAY)
        };
        let kind = self.view().kind() & !FORM_MASK | form & FORM_MASK;
        self.write(0, [kind]);
    }

    /// Takes the large collection out: what is left is no value, to be overwritten or given one again.
    ///
    /// # Panics
    /// If there is none.
    pub(super) fn take_large(&mut self) -> Large {
        assert!(self.view().is_large(), "the value is a large collection");
        let (address, value_type) = (self.view().address(), self.view().value_type());
        self.write(0, [self.view().kind() & !LARGE]);
        match value_type {
            // SAFETY: the entry owned the collection at this address (invariant) and is not marked as large any more.
            ValueType::List => Large::List(unsafe { Box::from_raw(address.cast()) }),
            // SAFETY: the same.
            ValueType::Set => Large::Set(unsafe { Box::from_raw(address.cast()) }),
            // SAFETY: the same.
            ValueType::Zset => Large::Zset(unsafe { Box::from_raw(address.cast()) }),
            // SAFETY: the same.
            ValueType::Hash => Large::Hash(unsafe { Box::from_raw(address.cast()) }),
            // SAFETY: the same.
            ValueType::Stream => Large::Stream(unsafe { Box::from_raw(address.cast()) }),
            ValueType::String => unreachable!("a string is never large"),
        }
    }

    /// Puts a large collection in, where there is room for its address and nothing is lost.
    ///
    /// # Panics
    /// If there is no room.
    pub(super) fn put_large(&mut self, large: Large) {
        let shape = self.view().shape();
        assert!(shape.value_len == ADDRESS_BYTES && !self.view().is_large());
        let (value_type, address) = match large {
            Large::List(nodes) => (ValueType::List, Box::into_raw(nodes).cast::<u8>()),
            Large::Set(members) => (ValueType::Set, Box::into_raw(members).cast::<u8>()),
            Large::Zset(members) => (ValueType::Zset, Box::into_raw(members).cast::<u8>()),
            Large::Stream(stream) => (ValueType::Stream, Box::into_raw(stream).cast::<u8>()),
            Large::Hash(fields) => (ValueType::Hash, Box::into_raw(fields).cast::<u8>()),
        };
        let kind = self.view().kind() & !FORM_MASK | value_type as u8 | LARGE;
        self.write(0, [kind]);
        // SAFETY: the value lies in the allocation and has the room of an address.
        unsafe {
            let at = self.start.as_ptr().add(shape.value_at());
            at.cast::<*mut u8>().write_unaligned(address);
        }
    }

    /// Puts the entry into a space.
    pub(super) fn set_space(&mut self, space: u8) {
        let flags = self.view().space_byte() & !SPACE_MASK;
        self.write(1, [flags | space & SPACE_MASK]);
    }

    /// Pins the entry for a client, or ends that. In a table only through it, which counts.
    pub(super) fn set_pin(&mut self, pinned: bool) {
        self.change_standing(self.view().policy(), pinned);
    }

    /// Sets where the entry may be. In a table only through it, which counts.
    pub(super) fn set_policy(&mut self, policy: TierPolicy) {
        self.change_standing(policy, self.view().has_pin());
    }

    fn change_standing(&mut self, policy: TierPolicy, pinned: bool) {
        let standing = self.view().standing();
        if (policy, pinned) != (standing.policy(), standing.has_pin()) {
            debug_assert_ne!(standing, Standing::Compressed, "it is restored before");
            self.set_standing(Standing::of(policy, pinned));
        }
    }

    pub(super) fn set_standing(&mut self, standing: Standing) {
        let space = self.view().space();
        self.write(1, [space | standing as u8]);
    }

    /// Marks a string as text even if it reads as an integer.
    pub fn set_text(&mut self) {
        assert!(self.view().value_type() == ValueType::String);
        let kind = self.view().kind() | TEXT;
        self.write(0, [kind]);
    }

    /// Marks a string as built by writing into it.
    pub fn set_raw(&mut self) {
        let kind = self.view().kind() | RAW;
        self.write(0, [kind]);
    }

    /// The value, which is not compressed, to be changed in place.
    pub fn into_value(mut self) -> &'a mut [u8] {
        let standing = self.view().standing();
        debug_assert_ne!(standing, Standing::Compressed, "it is restored before");
        self.set_standing(standing.of_new_value());
        self.into_stored_value()
    }

    fn into_stored_value(self) -> &'a mut [u8] {
        if self.view().is_shared() {
            return self.into_own_value();
        }
        let shape = self.view().shape();
        // SAFETY: the value lies in the allocation, and the entry is borrowed alone for 'a.
        unsafe {
            std::slice::from_raw_parts_mut(
                self.start.as_ptr().add(shape.value_at()),
                shape.value_len,
            )
        }
    }

    /// A shared value, of which others get a copy if they have it too.
    fn into_own_value(self) -> &'a mut [u8] {
        let mut entry = ManuallyDrop::new(Entry { start: self.start });
        let shape = self.view().shape();
        let Some(mut value) = entry.take_shared() else {
            return &mut [];
        };
        let own = value.to_mut();
        let (start, len) = (own.as_mut_ptr(), own.len());
        entry.put_shared(shape, value);
        let kind = self.view().kind() | EXPIRY_MASK;
        entry.copy_in(0, &[kind]);
        // SAFETY: nobody else has the bytes, which the entry keeps, and it is borrowed alone for 'a.
        unsafe { std::slice::from_raw_parts_mut(start, len) }
    }

    /// Writes an expiry into the room that the header has for it.
    fn write_expiry(&mut self, expires_at: Option<UnixMs>) {
        // The very last millisecond stands for no expiry; a client may ask for it nevertheless.
        let at = expires_at.map_or(NO_EXPIRY, |at| at.0.min(NO_EXPIRY - 1));
        let b = at.to_le_bytes();
        match self.view().expiry_form() {
            ExpiryForm::Absent => {}
            ExpiryForm::Narrow => self.write(FIXED_BYTES, [b[0], b[1], b[2], b[3], b[4], b[5]]),
            ExpiryForm::Wide | ExpiryForm::Shared => self.write(FIXED_BYTES, b),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts<'a>(key: &'a [u8], value: &'a [u8], expires_at: Option<i64>) -> EntryParts<'a> {
        EntryParts {
            space: 3,
            key,
            value,
            value_type: ValueType::String,
            expires_at: expires_at.map(UnixMs),
            raw: false,
        }
    }

    fn check(entry: &Entry, p: &EntryParts<'_>) {
        let view = entry.view();
        assert_eq!(view.key(), p.key);
        assert_eq!(view.value(), p.value);
        assert_eq!(view.expires_at(), p.expires_at);
        assert_eq!(view.space(), p.space);
        assert_eq!(view.is_raw(), p.raw);
    }

    #[test]
    fn an_entry_of_16_64_with_expiry_fills_one_class_of_96() {
        let entry = Entry::new(&parts(&[1; 16], &[2; 64], Some(1_700_000_000_000)));
        assert_eq!(entry.allocated_bytes(), 96);
    }

    #[test]
    fn the_last_millisecond_is_an_expiry_too() {
        let entry = Entry::new(&parts(b"k", b"v", Some(i64::MAX)));
        assert_eq!(entry.view().expires_at(), Some(UnixMs(i64::MAX - 1)));
        assert_eq!(entry.set_expiry(None).view().expires_at(), None);
    }

    #[test]
    fn parts_come_back_at_every_edge_of_length_and_expiry() {
        let lengths: &[usize] = if cfg!(miri) {
            &[0, 255, 256]
        } else {
            &[0, 1, 255, 256, 65_535, 65_536]
        };
        let expiries = [
            None,
            Some(0),
            Some(1),
            Some(NARROW_EXPIRY_MAX),
            Some(NARROW_EXPIRY_MAX + 1),
            Some(i64::MAX - 1),
            Some(-5),
        ];
        for &k in lengths {
            for &v in lengths {
                let (key, value) = (vec![7; k], vec![9; v]);
                for at in expiries {
                    let p = parts(&key, &value, at);
                    check(&Entry::new(&p), &p);
                }
            }
        }
    }

    #[test]
    fn a_zeroed_entry_is_one_that_is_filled_later() {
        for (len, at) in [(0, None), (300, Some(5)), (LARGE_VALUE_BYTES, None)] {
            let value = vec![8; len];
            let mut whole = Entry::new(&parts(b"key", &value, at));
            whole.view_mut().set_text();
            let form = whole.view().form();
            let mut entry = Entry::zeroed(b"key", len, form, at.map(UnixMs));
            assert!(entry.view().value().iter().all(|&byte| byte == 0));
            entry.view_mut().into_value().fill(8);
            entry.view_mut().set_pin(true);
            entry.view_mut().set_space(3);
            check(&entry, &parts(b"key", &value, at));
            assert!(entry.view().is_text() && entry.view().is_pinned());
            assert_eq!(entry.allocated_bytes(), whole.allocated_bytes());
        }
    }

    #[test]
    fn every_change_of_expiry_keeps_the_rest() {
        let expiries = [
            None,
            Some(5),
            Some(NARROW_EXPIRY_MAX + 9),
            None,
            Some(7),
            Some(8),
        ];
        for len in [0, 3, LARGE_VALUE_BYTES] {
            let value = vec![1; len];
            let mut entry = Entry::new(&parts(b"key", &value, None));
            entry.view_mut().set_access(0x00ab_cdef);
            entry.view_mut().set_policy_bits(5);
            for at in expiries {
                entry = entry.set_expiry(at.map(UnixMs));
                check(&entry, &parts(b"key", &value, at));
                assert_eq!(entry.view().access(), 0x00ab_cdef);
                assert_eq!(entry.view().policy_bits(), 5);
            }
        }
    }

    #[test]
    fn resizing_keeps_the_head_and_zeroes_the_tail() {
        for from in [0usize, 10, 255, 65_535, 65_536] {
            for to in [0usize, 1, 11, 256, 65_535, 65_537] {
                let mut entry = Entry::new(&parts(b"k", &vec![1; from], Some(77)));
                entry = entry.resize_value(to);
                let mut expected = vec![1; from];
                expected.resize(to, 0);
                check(&entry, &parts(b"k", &expected, Some(77)));
            }
        }
    }

    #[test]
    fn overwriting_keeps_the_access_record() {
        for (value, at) in [
            (&b"abc"[..], None),
            (b"xyz", Some(4)),
            (b"longer than before", Some(5)),
            (b"", None),
        ] {
            let mut entry = Entry::new(&parts(b"k", b"123", None));
            entry.view_mut().set_access(99);
            let p = parts(b"k", value, at);
            entry = entry.overwrite(&p);
            check(&entry, &p);
            assert_eq!(entry.view().access(), 99);
        }
    }

    #[test]
    fn policy_and_pin_are_apart_and_stay_with_the_entry() {
        for policy in [TierPolicy::MemoryOnly, TierPolicy::Pinned, TierPolicy::Disk] {
            for pinned in [false, true] {
                let p = EntryParts {
                    space: SPACE_MASK,
                    ..parts(b"k", b"123", None)
                };
                let mut entry = Entry::new(&p);
                entry.view_mut().set_policy(policy);
                entry.view_mut().set_pin(pinned);
                let p = EntryParts {
                    value: b"longer",
                    expires_at: Some(UnixMs(9)),
                    ..p
                };
                entry = entry.overwrite(&p).set_expiry(None).resize_value(70_000);
                let view = entry.view();
                assert_eq!((view.policy(), view.has_pin()), (policy, pinned));
                assert_eq!(view.is_pinned(), pinned || policy == TierPolicy::Pinned);
                assert_eq!(view.is_memory_only(), policy == TierPolicy::MemoryOnly);
                assert_eq!(view.space(), SPACE_MASK);
                let copy = view.to_entry(1, b"copy");
                assert!(!copy.view().is_pinned() && copy.view().policy() == TierPolicy::Disk);
            }
        }
    }

    #[test]
    fn a_long_string_is_shared_and_whoever_else_has_it_sees_no_change() {
        let lengths = [SHARED_BYTES_MIN - 1, SHARED_BYTES_MIN, SHARED_BYTES_MIN + 9];
        for len in lengths {
            for at in [None, Some(5), Some(NARROW_EXPIRY_MAX + 1)] {
                let value = vec![4; len];
                let p = parts(b"key", &value, at);
                let mut entry = Entry::new(&p);
                check(&entry, &p);
                let other = entry.view().shared();
                assert_eq!(other.is_some(), len >= SHARED_BYTES_MIN);
                entry.view_mut().set_access(77);
                entry = entry.set_expiry(Some(UnixMs(9)));
                let p = parts(b"key", &value, Some(9));
                check(&entry, &p);
                let copy = entry.view().to_entry(1, b"a longer key");
                entry.view_mut().into_value()[2] = 5;
                let mut changed = value.clone();
                changed[2] = 5;
                check(
                    &entry,
                    &EntryParts {
                        value: &changed,
                        ..p
                    },
                );
                assert_eq!(copy.view().value(), value);
                assert!(other.is_none_or(|other| *other == *value));
                assert_eq!(entry.view().access(), 77);
            }
        }
    }

    #[test]
    fn every_change_of_length_and_every_overwrite_keeps_what_a_shared_value_takes_right() {
        let lengths = [
            3,
            SHARED_BYTES_MIN,
            100,
            2 * SHARED_BYTES_MIN,
            SHARED_BYTES_MIN - 1,
        ];
        let heap = |entry: &Entry| match entry.view().is_shared() {
            true => SharedBytes::heap_bytes(entry.view().value().len()),
            false => 0,
        };
        for from in lengths {
            for to in lengths {
                let mut entry = Entry::new(&parts(b"k", &vec![1; from], Some(77)));
                let other = entry.view().shared();
                entry.view_mut().set_raw();
                entry.view_mut().set_pin(true);
                entry = entry.resize_value(to);
                let mut expected = vec![1; from];
                expected.resize(to, 0);
                let p = EntryParts {
                    raw: true,
                    ..parts(b"k", &expected, Some(77))
                };
                check(&entry, &p);
                assert!(entry.view().has_pin());
                let own = size_class(entry.view().shape().bytes());
                assert_eq!(entry.allocated_bytes(), own + heap(&entry));
                assert!(other.is_none_or(|other| *other == *vec![1; from]));

                let value = vec![2; from];
                let p = parts(b"k", &value, None);
                entry = entry.overwrite(&p);
                check(&entry, &p);
                assert_eq!(entry.view().is_shared(), from >= SHARED_BYTES_MIN);
                let given = SharedBytes::from(vec![3; to]);
                entry = entry.overwrite_shared(&p, given.clone());
                check(&entry, &EntryParts { value: &given, ..p });
                assert!(given.is_shared());
                drop(entry);
                assert!(!given.is_shared());
            }
        }
    }

    #[test]
    fn value_is_changed_in_place() {
        let mut entry = Entry::new(&parts(b"k", b"123", None));
        entry.view_mut().into_value()[1] = b'x';
        entry.view_mut().set_raw();
        assert_eq!(entry.view().value(), b"1x3");
        assert!(entry.view().is_raw());
        let renamed = entry.view().to_entry(1, b"other");
        assert_eq!(
            (
                renamed.view().key(),
                renamed.view().value(),
                renamed.view().space()
            ),
            (&b"other"[..], &b"1x3"[..], 1)
        );
    }
}
