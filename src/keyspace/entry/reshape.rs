//! Changes of an entry that may need another allocation: of its value, its expiry or its key.

use std::alloc::{handle_alloc_error, realloc};
use std::ptr::NonNull;

use super::layout::{
    ADDRESS_BYTES, EXPIRY_MASK, ExpiryForm, LARGE_VALUE_BYTES, Shape, Standing, TYPE_MASK,
};
use super::{Entry, EntryParts, EntryRef};
use crate::clock::UnixMs;
use crate::value::large::Large;
use crate::value::shared::SharedBytes;

impl Entry {
    /// Writes a new value, expiry and rawness over the old, in the same allocation where that fits
    /// exactly, and keeps the access record, the policy and the pin.
    pub fn overwrite(mut self, parts: &EntryParts<'_>) -> Self {
        if self.view_mut().overwrite_in_place(parts) {
            return self;
        }
        let before = self.take_shared();
        if parts.is_long_string() {
            let mut value = before.unwrap_or_default();
            value.overwrite(parts.value);
            return self.overwrite_shared(parts, value);
        }
        let new = Shape::of(parts.key.len(), parts.value.len(), parts.expires_at);
        let access = self.view().access_bytes();
        let space = parts.space | self.view().standing().of_new_value() as u8;
        if self.view().is_large() {
            self.view_mut().take_large().free();
        }
        let mut entry = Self::new(parts);
        entry.write_header(new, parts.value_type as u8, parts.raw, space, access);
        entry
    }

    /// The same with a value that others have too, in the place of that of `parts`, which is not looked at.
    pub(in crate::keyspace) fn overwrite_shared(
        mut self,
        parts: &EntryParts<'_>,
        value: SharedBytes,
    ) -> Self {
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
        self.view_mut().write_lengths(new);
        self.zero_from(new, old.value_len);
        self
    }

    /// The same for a string whose value is shared or shall be.
    pub(super) fn resized_shared(mut self, value_len: usize) -> Self {
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
    pub(super) fn in_shape_shared(
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
    pub(in crate::keyspace) fn renamed(mut self, space: u8, key: &[u8]) -> Self {
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
        entry.view_mut().write_lengths(new);
        entry.copy_in(new.key_at(), key);
        entry.view_mut().set_space(space);
        entry.view_mut().set_standing(standing);
        entry
    }

    /// Moves the value within its allocation to where it is to lie behind a key of another length.
    pub(super) fn with_key_room(mut self, new: Shape) -> Self {
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
    pub(in crate::keyspace) fn with_value(
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

    pub(super) fn rebuild(mut self, new: Shape, expires_at: Option<UnixMs>) -> Self {
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
    pub(super) fn in_shape(&self, new: Shape, expires_at: Option<UnixMs>) -> Self {
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

    pub(super) fn zero_from(&mut self, shape: Shape, from: usize) {
        if from < shape.value_len {
            // SAFETY: the range from `from` to `value_len` of the value lies in the allocation.
            unsafe {
                let start = self.start.as_ptr().add(shape.value_at() + from);
                start.write_bytes(0, shape.value_len - from);
            }
        }
    }
}
