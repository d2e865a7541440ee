//! An entry that is changed where it lies.

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

use super::layout::{
    ADDRESS_BYTES, EXPIRY_MASK, ExpiryForm, FIXED_BYTES, FORM_MASK, LARGE, NO_EXPIRY, ONE_WAY, RAW,
    SPACE_MASK, Shape, Standing, TEXT, TYPE_MASK,
};
use super::{Entry, EntryParts, EntryRef};
use crate::clock::UnixMs;
use crate::config::TierPolicy;
use crate::value::large::Large;
use crate::value::value_type::ValueType;

/// An entry that is lent for changes which keep its size.
#[derive(Debug)]
pub struct EntryMut<'a> {
    pub(super) start: NonNull<u8>,
    pub(super) entry: PhantomData<&'a mut Entry>,
}

impl<'a> EntryMut<'a> {
    /// Views the entry at an address.
    ///
    /// # Safety
    /// `start` came from [`Entry::into_raw`], and nothing else uses the entry for `'a`.
    #[inline]
    pub(in crate::keyspace) unsafe fn from_raw(start: NonNull<u8>) -> Self {
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
    pub(super) fn write<const N: usize>(&mut self, at: usize, bytes: [u8; N]) {
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
    pub(in crate::keyspace) fn set_form(&mut self, form: u8) {
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
    pub(in crate::keyspace) fn take_large(&mut self) -> Large {
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
    pub(in crate::keyspace) fn put_large(&mut self, large: Large) {
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

    /// Writes another value of the same key where the old one stands, with its expiry, and keeps the access record, the policy and
    /// the pin. False where it does not fit exactly, or lies elsewhere: then nothing has happened.
    pub(in crate::keyspace) fn overwrite_in_place(&mut self, parts: &EntryParts<'_>) -> bool {
        debug_assert_eq!(self.view().key(), parts.key);
        let old = self.view().shape();
        let new = Shape::of(parts.key.len(), parts.value.len(), parts.expires_at);
        let fits = old.bytes() == new.bytes() && old.expiry == new.expiry;
        if !fits || parts.is_long_string() || self.view().is_large() {
            return false;
        }
        let standing = self.view().standing().of_new_value();
        let kind = new.kind(parts.value_type as u8, parts.raw);
        self.write(0, [kind, parts.space | standing as u8]);
        self.write_lengths(new);
        self.write_expiry(parts.expires_at);
        // SAFETY: the new shape takes what the old one took, and `self` is borrowed mutably, so that the value comes from elsewhere.
        unsafe {
            let value = self.start.as_ptr().add(new.value_at());
            value.copy_from_nonoverlapping(parts.value.as_ptr(), parts.value.len());
        }
        true
    }

    /// Writes the lengths of a shape, whose width and form of expiry the first byte tells already.
    pub(super) fn write_lengths(&mut self, shape: Shape) {
        let at = FIXED_BYTES + shape.expiry.bytes();
        if shape.wide {
            self.write(at, (shape.key_len as u32).to_le_bytes());
            self.write(at + 4, (shape.value_len as u32).to_le_bytes());
        } else {
            self.write(at, [shape.key_len as u8]);
            self.write(at + 1, (shape.value_len as u16).to_le_bytes());
        }
    }

    /// Puts the entry into a space.
    pub(in crate::keyspace) fn set_space(&mut self, space: u8) {
        let flags = self.view().space_byte() & !SPACE_MASK;
        self.write(1, [flags | space & SPACE_MASK]);
    }

    /// Pins the entry for a client, or ends that. In a table only through it, which counts.
    pub(in crate::keyspace) fn set_pin(&mut self, pinned: bool) {
        self.change_standing(self.view().policy(), pinned);
    }

    /// Sets where the entry may be. In a table only through it, which counts.
    pub(in crate::keyspace) fn set_policy(&mut self, policy: TierPolicy) {
        self.change_standing(policy, self.view().has_pin());
    }

    pub(super) fn change_standing(&mut self, policy: TierPolicy, pinned: bool) {
        let standing = self.view().standing();
        if (policy, pinned) != (standing.policy(), standing.has_pin()) {
            debug_assert_ne!(standing, Standing::Compressed, "it is restored before");
            self.set_standing(Standing::of(policy, pinned));
        }
    }

    pub(in crate::keyspace) fn set_standing(&mut self, standing: Standing) {
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

    pub(super) fn into_stored_value(self) -> &'a mut [u8] {
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
    pub(super) fn into_own_value(self) -> &'a mut [u8] {
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
    pub(super) fn write_expiry(&mut self, expires_at: Option<UnixMs>) {
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
