//! The records of what was copied: of short values whole, of long ones and large collections in chunks and pieces.

use std::cell::RefCell;
use std::ops::Range;

use super::Writer;
use super::sink::Sink;
use crate::logging::Repeated;
use crate::tier::chunks::LONG_BYTES;
use crate::tier::compress::encode_raw;
use crate::tier::marks::Marks;
use crate::tier::record::{self, Body, Chunks};
use crate::tier::snapshot::Value;
use crate::tier::store::{Slice, StoreError};

/// What has changed of a collection may take this part of it on disk: then all of it is written again.
const CHANGES_PART: u64 = 2;
/// A larger piece is not read back into memory.
const MERGED_BYTES_MAX: u64 = 16 << 20;

static CHANGES_NOT_READ: Repeated = Repeated::new("Changes of a collection could not be read");

impl Writer<'_> {
    pub(super) fn write_copies(&mut self, sink: &mut Sink<'_>) -> Result<(), StoreError> {
        for index in 0..self.copies.len() {
            let before = self.copies.bytes_len();
            self.write_long(index, sink)?;
            self.write_entry(index, sink)?;
            self.copies.forget_since(index, before);
        }
        Ok(())
    }

    /// Writes the chunks of an entry, and has no memory for a copy of it until the entry itself is written.
    pub(super) fn write_long_ahead(
        &mut self,
        index: usize,
        sink: &mut Sink<'_>,
    ) -> Result<(), StoreError> {
        let before = self.copies.bytes_len();
        self.write_long(index, sink)?;
        if matches!(self.copies.entry(index).value, Value::Chunks(..)) {
            self.copies.truncate(before);
        }
        Ok(())
    }

    /// Writes the chunks of an entry, if its value is long or a large collection.
    pub(super) fn write_long(
        &mut self,
        index: usize,
        sink: &mut Sink<'_>,
    ) -> Result<(), StoreError> {
        let (keyspace, thread) = (&self.engine.keyspace, self.thread);
        self.is_newer |= !self.copies.copy_frozen(index, keyspace, thread);
        if matches!(self.copies.entry(index).value, Value::Changes(..)) {
            if !matches!(sink, Sink::Marks(..)) && self.write_piece(index, sink)? {
                return Ok(());
            }
            if self.is_past {
                self.again.push(self.copies.entry(index).place);
                self.copies.set_value(index, Value::Gone);
                return Ok(());
            }
            let versions = Some(&mut self.versions);
            self.copies.take_again(index, keyspace, thread, versions);
        }
        if let Sink::Marks(marks) = sink {
            self.keep_whole(index, marks);
            return Ok(());
        }
        let (head, version, len) = match &self.copies.entry(index).value {
            Value::Collection(head, version, value) => (*head, *version, value.len()),
            Value::Long(head, len) => (*head, self.versions.another(), *len),
            Value::Whole(head, value) if value.len() > LONG_BYTES => {
                (*head, self.versions.another(), value.len())
            }
            _ => return Ok(()),
        };
        if let Some(chunks) = self.write_chunks(index, version, len, sink)? {
            self.copies
                .set_value(index, Value::Chunks(head, vec![chunks]));
            return Ok(());
        }
        // It changed meanwhile, and may do so as often as one tries: now it is copied in one piece, as short ones are.
        self.copies.take_again(index, keyspace, thread, None);
        self.is_newer = true;
        self.write_long(index, sink)
    }

    /// For the reserve, which has no chunks: has a long value be in one piece, or a mark if it is too long.
    pub(super) fn keep_whole(&mut self, index: usize, marks: &mut Marks) {
        let most = marks.value_bytes_max();
        if matches!(self.copies.entry(index).value, Value::Long(_, len) if len <= most) {
            let (keyspace, thread) = (&self.engine.keyspace, self.thread);
            self.copies.take_again(index, keyspace, thread, None);
            self.is_newer = true;
        }
        let whole = match &self.copies.entry(index).value {
            Value::Whole(head, value) | Value::Collection(head, _, value) => {
                (value.len() <= most).then(|| Value::Whole(*head, value.clone()))
            }
            Value::Absent | Value::Gone => return,
            _ => None,
        };
        if whole.is_none() {
            self.mark_long(index, marks);
        }
        self.copies.set_value(index, whole.unwrap_or(Value::Gone));
    }

    /// Remembers that the value which the disk has of a key is not the newest, which is too long to be kept.
    pub(super) fn mark_long(&mut self, index: usize, marks: &mut Marks) {
        let entry = self.copies.entry(index);
        self.key.clear();
        record::encode_key(
            entry.place,
            entry.name,
            self.copies.key(index),
            &mut self.key,
        );
        marks.put_mark(&self.key);
    }

    /// Writes what has changed of a collection as a piece behind those that the disk has of it. False where that cannot be
    /// done or does not pay: all of it must be written.
    pub(super) fn write_piece(
        &mut self,
        index: usize,
        sink: &mut Sink<'_>,
    ) -> Result<bool, StoreError> {
        let entry = self.copies.entry(index);
        let hash = entry.hash.value();
        let Value::Changes(head, since, mut changes) = entry.value.clone() else {
            return Ok(false);
        };
        self.key.clear();
        let key = self.copies.key(index);
        record::encode_key(entry.place, entry.name, key, &mut self.key);
        let store = &self.tier.store;
        let found = store.find(hash, &self.key)?;
        let found = found.filter(|found| Some(found.generation()) == sink.target(store));
        let before = match (sink.chunked(&self.key)?, &found) {
            (Some(here), _) => here,
            (None, Some(found)) => found.record.to_vec(),
            (None, None) => return Ok(false),
        };
        let Some((_, Body::Chunks(pieces))) = record::decode(&before) else {
            return Ok(false);
        };
        let mut pieces: Vec<_> = pieces.iter().collect();
        if pieces.last().is_none_or(|last| last.version != since.from) {
            return Ok(false);
        }
        // Those that are not much larger become one with this, so that there are few, each much larger than the next.
        while let [_, .., last] = pieces.as_slice()
            && last.raw_bytes <= (2 * changes.len() as u64).min(MERGED_BYTES_MAX)
        {
            let here = RefCell::new(&mut *sink);
            let neighbour = |key: &[u8]| match here.borrow_mut().chunked(key)? {
                Some(record) => Ok(Some(Slice::from(record))),
                None => found
                    .as_ref()
                    .map_or(Ok(None), |found| found.neighbour(key)),
            };
            let piece = self
                .tier
                .read_piece(&self.key, last, &neighbour, &mut self.record);
            let Ok(mut all) = piece.inspect_err(|error| {
                CHANGES_NOT_READ.error(error);
            }) else {
                return Ok(false);
            };
            all.extend_from_slice(self.copies.bytes(changes));
            changes = self.copies.put(&all);
            pieces.pop();
        }
        let len = changes.len();
        let all_changes = pieces[1..].iter().map(|piece| piece.raw_bytes).sum::<u64>() + len as u64;
        if all_changes > pieces[0].raw_bytes / CHANGES_PART {
            return Ok(false);
        }
        self.copies
            .set_value(index, Value::Changes(head, since, changes));
        let chunks = self.write_chunks(index, since.to, len, sink)?;
        pieces.extend(chunks);
        self.copies.set_value(index, Value::Chunks(head, pieces));
        Ok(true)
    }

    /// Writes the chunks of a value, which stands in the keyspace or was copied, or of what has changed of one. `None`: it has
    /// changed in the keyspace.
    pub(super) fn write_chunks(
        &mut self,
        index: usize,
        version: u64,
        len: usize,
        sink: &mut Sink<'_>,
    ) -> Result<Option<Chunks>, StoreError> {
        let copies = &self.copies;
        let (entry, key) = (copies.entry(index), copies.key(index));
        let is_piece = matches!(entry.value, Value::Changes(..));
        let copy = |part: Range<usize>, out: &mut Vec<u8>| match &entry.value {
            Value::Whole(_, value)
            | Value::Collection(_, _, value)
            | Value::Changes(_, _, value) => {
                out.extend_from_slice(&copies.bytes(value.clone())[part]);
                true
            }
            _ => {
                let key = (entry.hash, entry.name, key);
                let keyspace = &self.engine.keyspace;
                keyspace.copy_part(key, part, self.thread, out)
            }
        };
        let (record, compressor) = (&mut self.record, &mut self.compressor);
        let put = |chunk: &[u8], part: &[u8], is_first| {
            record.clear();
            let encoded = if sink.is_run() {
                compressor.encode_part(key, part, is_first && !is_piece, record)
            } else {
                encode_raw(part, record)
            };
            sink.put(entry.hash.value(), chunk, record)?;
            Ok((encoded, record.len()))
        };
        self.key.clear();
        record::encode_key(entry.place, entry.name, key, &mut self.key);
        self.chunks.write(&self.key, version, len, copy, put)
    }

    pub(super) fn write_entry(
        &mut self,
        index: usize,
        sink: &mut Sink<'_>,
    ) -> Result<(), StoreError> {
        if self.copies.entry(index).value.is_pinned() && !matches!(sink, Sink::Marks(..)) {
            self.begin_pins()?;
        }
        let entry = self.copies.entry(index);
        let key = self.copies.key(index);
        self.key.clear();
        record::encode_key(entry.place, entry.name, key, &mut self.key);
        let hash = entry.hash.value();
        if entry.unverified && sink.is_run() {
            let older = self.tier.shadowed(hash, &self.key)?;
            let key = (entry.hash, entry.name, key);
            let keyspace = &self.engine.keyspace;
            keyspace.writer_looked_for(key, older, self.thread);
        }
        self.record.clear();
        match &entry.value {
            Value::Whole(head, value) => {
                record::encode_head(*head, &mut self.record);
                let value = self.copies.bytes(value.clone());
                if sink.is_run() {
                    self.compressor.encode(key, value, &mut self.record);
                } else {
                    encode_raw(value, &mut self.record);
                }
            }
            Value::Chunks(head, pieces) => {
                record::encode_head(*head, &mut self.record);
                record::encode_pieces(pieces, &mut self.record);
            }
            // There is nothing to come back.
            Value::Absent if matches!(sink, Sink::Marks(..)) && !self.tier.store.may_hold(hash) => {
                return Ok(());
            }
            Value::Absent => {}
            Value::Gone => return Ok(()),
            Value::Long(..)
            | Value::Frozen(..)
            | Value::FrozenChanges(..)
            | Value::Collection(..)
            | Value::Changes(..) => {
                unreachable!("long values and collections were written before")
            }
        }
        sink.put(hash, &self.key, &self.record)
    }
}
