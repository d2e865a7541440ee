//! An entry that is read.

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::Arc;

use super::layout::{
    ABSENT, EXPIRY_MASK, EXPIRY_SHIFT, ExpiryForm, FIXED_BYTES, FORM_MASK, NO_EXPIRY, ONE_WAY, RAW,
    SPACE_MASK, STANDING_MASK, Shape, Standing, TEXT, TYPE_MASK, WIDE, is_large_form,
    is_one_way_form,
};
use super::{Entry, EntryParts};
use crate::allocator::size_class;
use crate::clock::UnixMs;
use crate::config::TierPolicy;
use crate::value::field_table::FieldTable;
use crate::value::hash::HashRef;
use crate::value::large::LargeRef;
use crate::value::list::{ListRef, NodeList};
use crate::value::listpack::{Listpack, OneWay};
use crate::value::member_table::MemberTable;
use crate::value::set::SetRef;
use crate::value::shared::{Owned, SharedBytes};
use crate::value::sorted_set::SortedSet;
use crate::value::stream::Stream;
use crate::value::value_type::ValueType;
use crate::value::zset::ZsetRef;

/// An entry that is lent for reading.
#[derive(Clone, Copy, Debug)]
pub struct EntryRef<'a> {
    pub(super) start: NonNull<u8>,
    pub(super) entry: PhantomData<&'a Entry>,
}

impl<'a> EntryRef<'a> {
    /// Views the entry at an address.
    ///
    /// # Safety
    /// `start` came from [`Entry::into_raw`] and the entry lives, unchanged, for `'a`.
    #[inline]
    pub(in crate::keyspace) unsafe fn from_raw(start: NonNull<u8>) -> Self {
        Self {
            start,
            entry: PhantomData,
        }
    }

    #[inline]
    pub(super) fn read<const N: usize>(self, at: usize) -> [u8; N] {
        // SAFETY: callers read header fields only, which the shape places inside the allocation;
        // byte arrays have no alignment.
        unsafe { self.start.as_ptr().add(at).cast::<[u8; N]>().read() }
    }

    #[inline]
    pub(super) fn slice(self, at: usize, len: usize) -> &'a [u8] {
        // SAFETY: callers pass a part of the shape, all of which is initialised; the entry is
        // borrowed for 'a.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(at), len) }
    }

    #[inline]
    pub(super) fn kind(self) -> u8 {
        self.read::<1>(0)[0]
    }

    #[inline]
    pub(super) fn expiry_form(self) -> ExpiryForm {
        match self.kind() >> EXPIRY_SHIFT {
            0 => ExpiryForm::Absent,
            1 => ExpiryForm::Narrow,
            2 => ExpiryForm::Wide,
            _ => ExpiryForm::Shared,
        }
    }

    #[inline]
    pub(super) fn shape(self) -> Shape {
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
    pub(super) fn access_bytes(self) -> [u8; 4] {
        self.read(2)
    }

    /// The space that the key belongs to.
    #[inline]
    pub fn space(self) -> u8 {
        self.space_byte() & SPACE_MASK
    }

    /// The space and the standing beside it.
    #[inline]
    pub(super) fn space_byte(self) -> u8 {
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

    pub(in crate::keyspace) fn standing(self) -> Standing {
        match self.space_byte() & STANDING_MASK {
            0x00 => Standing::Plain,
            0x20 => Standing::MemoryOnly,
            0x40 => Standing::PinnedByRule,
            0x60 => Standing::Compressed,
            0x80 => Standing::Pinned,
            0xa0 => Standing::PinnedMemoryOnly,
            0xc0 => Standing::PinnedByBoth,
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
    pub(in crate::keyspace) fn value(self) -> &'a [u8] {
        debug_assert!(!self.is_compressed(), "it is restored before it is read");
        debug_assert!(!self.is_large(), "it lies apart");
        self.stored_value()
    }

    /// The value as it lies in memory.
    #[inline]
    pub(in crate::keyspace) fn stored_value(self) -> &'a [u8] {
        if self.is_shared() {
            return self.shared_value();
        }
        let shape = self.shape();
        self.slice(shape.value_at(), shape.value_len)
    }

    /// Whether the value's bytes are shared, and lie apart.
    #[inline]
    pub(in crate::keyspace) fn is_shared(self) -> bool {
        self.kind() & EXPIRY_MASK == EXPIRY_MASK
    }

    /// The address of the shared bytes, if the value is of that kind.
    pub(super) fn shared_address(self) -> Option<*const Owned> {
        self.is_shared().then(|| self.address().cast_const().cast())
    }

    #[cold]
    pub(super) fn shared_value(self) -> &'a [u8] {
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
        Some(SharedBytes::of_value(&value))
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
    pub(super) fn address(self) -> *mut u8 {
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
    pub(in crate::keyspace) fn is_tombstone(self) -> bool {
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
    pub(in crate::keyspace) fn due_at(self) -> Option<UnixMs> {
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
    pub(in crate::keyspace) fn allocated_with(self, value_len: usize) -> usize {
        let shape = Shape::of(self.shape().key_len, value_len, self.expires_at());
        size_class(shape.bytes())
    }
}
