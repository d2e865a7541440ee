//! lz4 blocks: fast, without a length or a checksum of their own. The only place that knows lz4_flex.
//!
//! Values on disk and cold values in memory are compressed with it; each keeps the length of a value with its block.
//!
//! Invariant: no block makes [`decompress`] panic, or write beyond the room that it is given.

use std::fmt;

use lz4_flex::block::{
    CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size,
};

/// A value is at most so many times as long as its block.
pub const MAX_GROWTH: usize = 255;
/// Room for blocks that is kept between values.
const SCRATCH_KEPT: usize = 1 << 20;
/// The two tables of lz4_flex: 4096 positions of two or four bytes.
const TABLE_BYTES: usize = 16 << 10;

/// Compresses values one after another.
pub struct Compressor {
    table: CompressTable,
    scratch: Vec<u8>,
}

impl Default for Compressor {
    fn default() -> Self {
        Self {
            table: CompressTable::small(),
            scratch: Vec::new(),
        }
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor")
            .field("scratch_bytes", &self.scratch.capacity())
            .finish_non_exhaustive()
    }
}

impl Compressor {
    /// The block of a value, which may be longer than the value. `None`: it could not be made.
    pub fn compress(&mut self, value: &[u8]) -> Option<&[u8]> {
        let room = get_maximum_output_size(value.len());
        if self.scratch.len() > SCRATCH_KEPT && room <= SCRATCH_KEPT {
            self.scratch = Vec::new();
        }
        if self.scratch.len() < room {
            self.scratch.resize(room, 0);
        }
        // A long value has replaced the small table, which is the faster one for short values.
        if value.len() < usize::from(u16::MAX) && matches!(self.table, CompressTable::Large(_)) {
            self.table = CompressTable::small();
        }
        let len =
            compress_into_with_table(value, &mut self.scratch[..room], &mut self.table).ok()?;
        self.scratch.get(..len)
    }

    /// Memory in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.scratch.capacity() + TABLE_BYTES
    }
}

/// Writes the value of a block to the head of `out`, and gives its length. `None`: the block is damaged, or its value
/// longer than `out`.
pub fn decompress(block: &[u8], out: &mut [u8]) -> Option<usize> {
    decompress_into(block, out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_all_lengths_come_back() {
        let mut compressor = Compressor::default();
        for len in [0, 1, 12, 13, 300, 65_534, 65_535, 65_536, 2_000_000, 5] {
            let value: Vec<u8> = (0..len).map(|i| (i / 100) as u8).collect();
            let block = compressor.compress(&value).unwrap();
            assert!(len < 300 || block.len() < len / 2);
            let mut out = vec![7; len];
            assert_eq!(decompress(block, &mut out), Some(len));
            assert_eq!(out, value);
        }
        assert!(compressor.memory_bytes() < SCRATCH_KEPT);
    }

    #[test]
    fn damaged_blocks_are_refused() {
        let mut compressor = Compressor::default();
        let block = compressor.compress(&[b'x'; 1000]).unwrap().to_vec();
        assert_eq!(decompress(&block, &mut [0; 999]), None);
        for len in 0..block.len() {
            assert_ne!(decompress(&block[..len], &mut [0; 1000]), Some(1000));
        }
        assert_eq!(decompress(&[0xff; 40], &mut [0; 1000]), None);
    }
}
