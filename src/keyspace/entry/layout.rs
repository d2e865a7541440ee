//! The bytes of an entry: what its header says, and where its parts lie.

use std::alloc::Layout;

use super::ENTRY_ALIGN;
use crate::clock::UnixMs;
use crate::config::TierPolicy;
use crate::value::shared::SHARED_BYTES_MIN;
use crate::value::value_type::ValueType;

/// The type, and whether a string is text or raw: what a copy below keeps.
pub(super) const FORM_MASK: u8 = 0x1f;
pub(super) const TYPE_MASK: u8 = 0x07;
/// In place of a type: there is no such key.
pub(super) const ABSENT: u8 = 0x07;
/// Of a string.
pub(super) const TEXT: u8 = 0x08;
/// Of a collection, in the same place.
pub(super) const LARGE: u8 = 0x08;
pub(super) const ADDRESS_BYTES: usize = size_of::<usize>();
pub(super) const RAW: u8 = 0x10;
/// Of a packed hash, set or sorted set, in the same place, and only in a copy: its listpack has one way. Old copies have both.
pub(super) const ONE_WAY: u8 = 0x10;
pub(super) const WIDE: u8 = 0x20;
pub(super) const SPACE_MASK: u8 = 0x1f;
/// Of byte 1: the [`Standing`].
pub(super) const STANDING_MASK: u8 = 0xe0;
pub(super) const EXPIRY_SHIFT: u8 = 6;
pub(super) const EXPIRY_MASK: u8 = 3 << EXPIRY_SHIFT;
pub(super) const FIXED_BYTES: usize = 6;
pub(super) const NARROW_LENGTHS: usize = 3;
pub(super) const WIDE_LENGTHS: usize = 8;
/// The longest expiry that the 6-byte form holds; later ones, and large values, use 8 bytes.
pub(super) const NARROW_EXPIRY_MAX: i64 = (1 << 48) - 1;
/// From this size on an entry always has room for an expiry, so that EXPIRE copies nothing.
pub(super) const LARGE_VALUE_BYTES: usize = 64 * 1024;
pub(super) const NO_EXPIRY: i64 = i64::MAX;

/// Whether this is the form of a large collection, which lies apart in memory and is serialised below.
pub(in crate::keyspace) fn is_large_form(form: u8) -> bool {
    form & LARGE != 0 && !matches!(form & TYPE_MASK, 0 | ABSENT)
}

/// Whether this is the form of a collection that memory keeps as a listpack of one way, or would if it were of today.
pub(super) fn is_one_way_form(form: u8) -> bool {
    let types = [ValueType::Hash, ValueType::Set, ValueType::Zset];
    types
        .iter()
        .any(|value_type| *value_type as u8 == form & (TYPE_MASK | LARGE))
}

/// Whether a copy of this form has a listpack of both ways, which memory does not keep any more.
pub(in crate::keyspace) fn is_old_form(form: u8) -> bool {
    is_one_way_form(form) && form & ONE_WAY == 0
}

/// What holds for an entry in memory, besides its contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::keyspace) enum Standing {
    /// Nothing special.
    Plain = 0x00,
    /// It never goes below.
    MemoryOnly = 0x20,
    /// By a rule it never leaves memory for space.
    PinnedByRule = 0x40,
    /// Its value is compressed.
    Compressed = 0x60,
    /// A client pinned it: it never leaves memory for space.
    Pinned = 0x80,
    /// Both.
    PinnedMemoryOnly = 0xa0,
    /// Both.
    PinnedByBoth = 0xc0,
    /// Its value was compressed in vain.
    Incompressible = 0xe0,
}

impl Standing {
    pub(in crate::keyspace) fn of(policy: TierPolicy, pinned: bool) -> Self {
        match (policy, pinned) {
            (TierPolicy::Disk, false) => Self::Plain,
            (TierPolicy::MemoryOnly, false) => Self::MemoryOnly,
            (TierPolicy::Pinned, false) => Self::PinnedByRule,
            (TierPolicy::Disk, true) => Self::Pinned,
            (TierPolicy::MemoryOnly, true) => Self::PinnedMemoryOnly,
            (TierPolicy::Pinned, true) => Self::PinnedByBoth,
        }
    }

    pub(in crate::keyspace) fn policy(self) -> TierPolicy {
        match self {
            Self::MemoryOnly | Self::PinnedMemoryOnly => TierPolicy::MemoryOnly,
            Self::PinnedByRule | Self::PinnedByBoth => TierPolicy::Pinned,
            _ => TierPolicy::Disk,
        }
    }

    #[inline]
    pub(in crate::keyspace) fn has_pin(self) -> bool {
        matches!(
            self,
            Self::Pinned | Self::PinnedMemoryOnly | Self::PinnedByBoth
        )
    }

    #[inline]
    pub(super) fn is_pinned(self) -> bool {
        self.has_pin() || self == Self::PinnedByRule
    }

    #[inline]
    pub(super) fn is_memory_only(self) -> bool {
        matches!(self, Self::MemoryOnly | Self::PinnedMemoryOnly)
    }

    /// What becomes of it when a new value is written.
    #[inline]
    pub(super) fn of_new_value(self) -> Self {
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
    pub(super) fn is_long_string(&self) -> bool {
        self.value_type == ValueType::String && self.value.len() >= SHARED_BYTES_MIN
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ExpiryForm {
    Absent = 0,
    Narrow = 1,
    Wide = 2,
    /// The same room, and the value is shared.
    Shared = 3,
}

impl ExpiryForm {
    pub(super) const fn bytes(self) -> usize {
        match self {
            Self::Absent => 0,
            Self::Narrow => 6,
            Self::Wide | Self::Shared => 8,
        }
    }

    pub(super) fn of(expires_at: Option<UnixMs>, value_len: usize) -> Self {
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
pub(super) struct Shape {
    pub(super) expiry: ExpiryForm,
    pub(super) wide: bool,
    pub(super) key_len: usize,
    pub(super) value_len: usize,
}

impl Shape {
    pub(super) fn of(key_len: usize, value_len: usize, expires_at: Option<UnixMs>) -> Self {
        let wide = key_len > usize::from(u8::MAX) || value_len > usize::from(u16::MAX);
        Self {
            expiry: ExpiryForm::of(expires_at, value_len),
            wide,
            key_len,
            value_len,
        }
    }

    /// Of an entry whose value is shared.
    pub(super) fn of_shared(key_len: usize) -> Self {
        Self {
            expiry: ExpiryForm::Shared,
            ..Self::of(key_len, ADDRESS_BYTES, None)
        }
    }

    /// The first byte of an entry of this shape.
    pub(super) const fn kind(self, value_type: u8, raw: bool) -> u8 {
        value_type
            | if raw { RAW } else { 0 }
            | if self.wide { WIDE } else { 0 }
            | (self.expiry as u8) << EXPIRY_SHIFT
    }

    pub(super) const fn key_at(self) -> usize {
        FIXED_BYTES
            + self.expiry.bytes()
            + if self.wide {
                WIDE_LENGTHS
            } else {
                NARROW_LENGTHS
            }
    }

    pub(super) const fn value_at(self) -> usize {
        self.key_at() + self.key_len
    }

    /// At least one alignment unit, so that the allocator's class and ours agree.
    pub(super) const fn bytes(self) -> usize {
        let bytes = self.value_at() + self.value_len;
        if bytes < ENTRY_ALIGN {
            ENTRY_ALIGN
        } else {
            bytes
        }
    }

    pub(super) fn layout(self) -> Layout {
        Layout::from_size_align(self.bytes(), ENTRY_ALIGN).expect("lengths are at most 4 GiB each")
    }
}
