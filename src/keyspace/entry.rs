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
//! `layout` is the form of the bytes, `read` and `write` are an entry that is lent, `reshape` changes what it takes.
//!
//! This module and `table.rs` hold the only unsafe code of the project but for a system call in `net/wire.rs`. Outside of them an entry is
//! an owned value ([`Entry`]) or a borrowed view ([`EntryRef`], [`EntryMut`]).
#![allow(unsafe_code)]

mod layout;
mod read;
mod reshape;
mod write;

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;

use self::layout::{ABSENT, ADDRESS_BYTES, EXPIRY_MASK, EXPIRY_SHIFT, ExpiryForm, Shape};
use crate::clock::UnixMs;
use crate::value::large::Large;
use crate::value::shared::{Owned, SHARED_BYTES_MIN, SharedBytes};

pub use self::layout::EntryParts;
pub(super) use self::layout::{Standing, is_large_form, is_old_form};
pub use self::read::EntryRef;
pub use self::write::EntryMut;
pub use crate::value::value_type::ValueType;

/// Entries lie on this boundary, which leaves the low four bits of an address to the table.
pub(super) const ENTRY_ALIGN: usize = 16;

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
        let address = Arc::into_raw(value.into_value());
        // SAFETY: the shape of a shared value has the room of an address where the value begins.
        unsafe {
            let at = self.start.as_ptr().add(shape.value_at());
            at.cast::<*const Owned>().write_unaligned(address);
        }
    }

    /// Takes the shared value out, if there is one: what is left is a value of meaningless bytes, which is not shared.
    fn take_shared(&mut self) -> Option<SharedBytes> {
        let address = self.view().shared_address()?;
        let wide = (ExpiryForm::Wide as u8) << EXPIRY_SHIFT;
        let kind = self.view().kind() & !EXPIRY_MASK | wide;
        self.copy_in(0, &[kind]);
        // SAFETY: the entry counted as one who has the bytes (invariant) and is not marked as shared any more.
        Some(SharedBytes::from_value(unsafe { Arc::from_raw(address) }))
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
        let kind = shape.kind(value_type, raw);
        self.copy_in(
            0,
            &[kind, space, access[0], access[1], access[2], access[3]],
        );
        self.view_mut().write_lengths(shape);
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
}

#[cfg(test)]
mod tests {
    use super::layout::{LARGE_VALUE_BYTES, NARROW_EXPIRY_MAX, SPACE_MASK};
    use super::*;
    use crate::allocator::size_class;
    use crate::config::TierPolicy;

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
