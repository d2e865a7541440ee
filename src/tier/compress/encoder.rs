//! The contexts of a thread that compresses, and the dictionaries it has prepared. Knows nothing of classes or keys.
//!
//! A prepared dictionary costs 150 to 500 KB, many times its file, so only [`MAX_PREPARED`] live at once.
//!
//! Invariant: a payload is given out only if it pays: with its header at most 90 % of the value.

use std::io;

use zstd::dict::EncoderDictionary;
use zstd::zstd_safe::CCtx;

use super::dictionaries::Dictionary;
use crate::lz4;

/// The level of values that no dictionary helps: higher ones are slower and find nothing more in short values.
const LEVEL: i32 = 1;
/// With a dictionary it takes 1.3 times as long as level 1, and large dictionaries gain a tenth by it.
const DICTIONARY_LEVEL: i32 = 3;
/// Prepared dictionaries that live at once: 15 MB, or twice as much if all are large.
const MAX_PREPARED: usize = 32;
/// A prepared dictionary gives way to another only if so many values passed without it. More classes in turn than there is
/// room for would otherwise prepare one for each value.
const KEEP_PREPARED_VALUES: u64 = 4096;
/// A value that saves less than a tenth is not worth the time to decode it.
const PAYS_PERCENT: usize = 90;
/// The longest header: form and dictionary id, or form and length.
const HEADER_MAX: usize = 6;
/// The magic number at the head of a zstd frame, which is not stored.
const MAGIC_LEN: usize = 4;
/// Scratch space that is kept between values.
const SCRATCH_KEPT: usize = 1 << 20;

/// Compresses values one after another.
pub(super) struct Encoder {
    context: CCtx<'static>,
    lz4: lz4::Compressor,
    scratch: Vec<u8>,
    prepared: Vec<Prepared>,
    values: u64,
}

struct Prepared {
    id: u32,
    dictionary: EncoderDictionary<'static>,
    used_at: u64,
}

/// A dictionary as zstd compresses with it: the long step.
pub(super) fn prepare(bytes: &[u8]) -> io::Result<EncoderDictionary<'static>> {
    EncoderDictionary::try_copy(bytes, DICTIONARY_LEVEL)
}

impl Encoder {
    pub(super) fn new() -> Self {
        Self {
            context: CCtx::create(),
            lz4: lz4::Compressor::default(),
            scratch: Vec::new(),
            prepared: Vec::new(),
            values: 0,
        }
    }

    /// The value as an lz4 block, if that pays.
    pub(super) fn lz4(&mut self, value: &[u8]) -> Option<&[u8]> {
        let block = self.lz4.compress(value)?;
        (block.len() <= worth(value)).then_some(block)
    }

    /// The value as a zstd frame without magic number, if that pays.
    pub(super) fn zstd(&mut self, value: &[u8]) -> Option<&[u8]> {
        let room = worth(value) + MAGIC_LEN;
        self.reserve(room);
        let len = self
            .context
            .compress(&mut self.scratch[..room], value, LEVEL)
            .ok()?;
        self.scratch.get(MAGIC_LEN..len)
    }

    /// The same with a dictionary, which must be prepared: see [`Encoder::prepare`].
    pub(super) fn zstd_with(&mut self, value: &[u8], dictionary: &Dictionary) -> Option<&[u8]> {
        // The room is too small for a frame that does not pay, and zstd stops with an error when it is full.
        let room = worth(value) + MAGIC_LEN;
        self.reserve(room);
        let index = self.position(dictionary.id())?;
        let prepared = self.prepared[index].dictionary.as_cdict();
        let len = self
            .context
            .compress_using_cdict(&mut self.scratch[..room], value, prepared)
            .ok()?;
        self.scratch.get(MAGIC_LEN..len)
    }

    /// Prepares a dictionary, unless it is already. False if it cannot be, because too many others are in use; the value then
    /// goes without.
    pub(super) fn prepare(&mut self, dictionary: &Dictionary) -> bool {
        self.values += 1;
        let id = dictionary.id();
        if let Some(index) = self.position(id) {
            self.prepared[index].used_at = self.values;
            return true;
        }
        // Asked first, for preparing costs more than a hundred values.
        self.room_for_prepared().is_some()
            && prepare(dictionary.bytes()).is_ok_and(|prepared| self.adopt(id, prepared))
    }

    /// Puts a prepared dictionary in place, if there is room.
    pub(super) fn adopt(&mut self, id: u32, dictionary: EncoderDictionary<'static>) -> bool {
        let Some(index) = self.room_for_prepared() else {
            return false;
        };
        let used_at = self.values;
        let prepared = Prepared {
            id,
            dictionary,
            used_at,
        };
        match self.prepared.get_mut(index) {
            Some(slot) => *slot = prepared,
            None => self.prepared.push(prepared),
        }
        true
    }

    /// Forgets a dictionary that its class uses no more.
    pub(super) fn forget(&mut self, id: u32) {
        self.prepared.retain(|prepared| prepared.id != id);
    }

    /// Memory in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        let prepared: usize = self
            .prepared
            .iter()
            .map(|p| p.dictionary.as_cdict().sizeof())
            .sum();
        self.context.sizeof() + self.scratch.capacity() + prepared + self.lz4.memory_bytes()
    }

    fn position(&self, id: u32) -> Option<usize> {
        self.prepared.iter().position(|prepared| prepared.id == id)
    }

    /// Where a prepared dictionary may be put: at the end, or in place of one that has long not been used.
    fn room_for_prepared(&self) -> Option<usize> {
        if self.prepared.len() < MAX_PREPARED {
            return Some(self.prepared.len());
        }
        let oldest = (0..self.prepared.len()).min_by_key(|&index| self.prepared[index].used_at)?;
        let unused_for = self.values - self.prepared[oldest].used_at;
        (unused_for >= KEEP_PREPARED_VALUES).then_some(oldest)
    }

    fn reserve(&mut self, room: usize) {
        if self.scratch.len() > SCRATCH_KEPT && room <= SCRATCH_KEPT {
            self.scratch = Vec::new();
        }
        if self.scratch.len() < room {
            self.scratch.resize(room, 0);
        }
    }
}

/// The longest payload that pays for a value.
fn worth(value: &[u8]) -> usize {
    (value.len() / 100 * PAYS_PERCENT + value.len() % 100 * PAYS_PERCENT / 100)
        .saturating_sub(HEADER_MAX - 1)
}
