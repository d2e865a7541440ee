//! How what is written comes to be of one moment: what has changed is copied, and what changes meanwhile is copied again, until
//! the little that is left can be copied with nobody else at the keys.

use std::time::Instant;

use super::Writer;
use super::sink::{Sink, Taken};
use crate::keyspace::residency::Place;
use crate::tier::chunks::LONG_BYTES;
use crate::tier::snapshot::{Copies, Value};
use crate::tier::spaces::Spaces;
use crate::tier::store::StoreError;

/// So much is copied with the gate closed, in about a quarter of a millisecond.
const ALONE_PLACES: usize = 512;
const ALONE_BYTES: usize = 512 * 1024;
/// While more has changed meanwhile it is written as the rest was, not only copied: nobody has memory for a copy of it. So often,
/// since clients may change as much as is written.
const LATE_BYTES: usize = 1024 * 1024;
const PASSES: usize = 6;
/// So often what has changed meanwhile is copied again before the gate is closed whatever there is. Each round takes a few
/// hundredths of the time that the one before took.
const LATE_ROUNDS: usize = 4;
/// So many moments may pass before they are written.
const ATTEMPTS: usize = 3;

/// What of a run was gathered, and what is being gathered of it.
pub(super) struct Gathering {
    began: Instant,
    /// Bytes of entries, about.
    before: usize,
    bytes: usize,
    /// How many the writer took in a second before.
    rate: u64,
}

impl Gathering {
    pub(super) fn of(bytes: usize, rate: u64) -> Self {
        Self {
            began: Instant::now(),
            before: 0,
            bytes,
            rate,
        }
    }
}

impl Writer<'_> {
    /// Writes what has changed up to one moment, and tells what the databases were called then. `taken` gets what has changed
    /// meanwhile too.
    ///
    /// What was taken is copied, what has changed meanwhile is copied again, and the little that is left then is copied with the
    /// gate closed: that is the moment.
    pub(super) fn write_moment(
        &mut self,
        taken: &mut Taken,
        sink: &mut Sink<'_>,
    ) -> Result<Spaces, StoreError> {
        // What is in the log is written again by the next run, which tells all that has changed since the last one.
        self.versions.follow = sink.is_run();
        self.versions.whole = false;
        self.again.clear();
        let mut rest = taken.sorted();
        let mut late = Vec::new();
        if taken.bytes > ALONE_BYTES || rest.len() > ALONE_PLACES {
            // What is in the log is written again.
            let bytes = self.engine.keyspace.writing_bytes();
            let mut gathering = Gathering::of(bytes, self.engine.pacing.rate());
            // Of what is left.
            let mut left = taken.bytes;
            for _ in 0..PASSES {
                self.write_places(&rest, &gathering, sink)?;
                gathering.before = gathering.before.saturating_add(gathering.bytes);
                gathering.bytes = self.engine.keyspace.queued_bytes();
                left = gathering.bytes;
                rest = self.take_more(taken);
                if gathering.bytes <= LATE_BYTES {
                    break;
                }
            }
            for _ in 0..LATE_ROUNDS {
                if rest.len() <= ALONE_PLACES && left <= ALONE_BYTES {
                    break;
                }
                late.push(self.copy_late(&rest, sink)?);
                left = self.engine.keyspace.queued_bytes();
                rest = self.take_more(taken);
                let waiting: usize = late.iter().map(Copies::memory_bytes).sum();
                self.measure_memory(waiting + sink.memory_bytes());
            }
        }
        for attempt in 1.. {
            let engine = self.engine;
            let alone = engine.keyspace.gate().close();
            rest.append(&mut self.take_more(taken));
            late.push(self.copy_alone(&mut rest));
            let spaces = self.spaces_now();
            // Where each moment is over before it is written the last one lasts.
            let _alone = (attempt == ATTEMPTS).then_some(alone);
            if self.write_late(&mut late, sink)? || attempt == ATTEMPTS {
                return Ok(spaces);
            }
            rest.append(&mut self.again);
            self.versions.whole = true;
        }
        unreachable!("the last attempt has returned")
    }

    /// Copies what has changed, all of it, with the gate closed.
    pub(super) fn copy_alone(&mut self, places: &mut Vec<Place>) -> Copies {
        places.sort_unstable();
        places.dedup();
        let (keyspace, versions) = (&self.engine.keyspace, &mut self.versions);
        let mut copies = Copies::default();
        copies.add(keyspace, places, self.thread, versions, usize::MAX);
        places.clear();
        copies
    }

    /// Writes what was copied, when the moment is over. False where not all of it was of that moment, so that another one must
    /// be taken.
    pub(super) fn write_late(
        &mut self,
        late: &mut Vec<Copies>,
        sink: &mut Sink<'_>,
    ) -> Result<bool, StoreError> {
        (self.is_past, self.is_newer) = (true, false);
        let mut written = Ok(());
        for copies in late.drain(..) {
            self.copies = copies;
            written = written.and_then(|()| self.write_copies(sink));
        }
        self.is_past = false;
        self.copies.clear();
        written.map(|()| !self.is_newer && self.again.is_empty())
    }

    /// Takes what has changed since the last time, and adds it to what was taken.
    pub(super) fn take_more(&self, taken: &mut Taken) -> Vec<Place> {
        let more = self.engine.keyspace.take_changed();
        taken.places.extend_from_slice(&more);
        more
    }

    /// Copies what has changed while the rest was written; it is written when the moment is over, in the order in which it was
    /// copied. But for long values and large collections, which are written now: nobody has memory for them.
    pub(super) fn copy_late(
        &mut self,
        places: &[Place],
        sink: &mut Sink<'_>,
    ) -> Result<Copies, StoreError> {
        let (keyspace, versions) = (&self.engine.keyspace, &mut self.versions);
        self.copies = Copies::default();
        self.copies
            .add(keyspace, places, self.thread, versions, LONG_BYTES);
        for index in 0..self.copies.len() {
            match self.copies.entry(index).value {
                Value::Long(..) | Value::Frozen(..) => self.write_long_ahead(index, sink)?,
                // Now, since a collection has one copy at a time. If it is newer than what was picked it is so before the moment.
                Value::FrozenChanges(..) => {
                    let _ = self.copies.copy_frozen(index, keyspace, self.thread);
                }
                _ => {}
            }
        }
        Ok(std::mem::take(&mut self.copies))
    }

    pub(super) fn write_places(
        &mut self,
        places: &[Place],
        gathering: &Gathering,
        sink: &mut Sink<'_>,
    ) -> Result<(), StoreError> {
        let mut gathered = 0;
        for shard in places.chunk_by(|a, b| a.shard() == b.shard()) {
            self.tier.progress.gathered(gathered, places.len());
            if sink.is_run() {
                let done = gathering.bytes / places.len() * gathered;
                let done = gathering.before.saturating_add(done);
                let pacing = &self.engine.pacing;
                pacing.gathers(done as u64, gathering.began.elapsed(), gathering.rate);
            }
            gathered += shard.len();
            let mut left = shard;
            while !left.is_empty() {
                let (keyspace, versions) = (&self.engine.keyspace, &mut self.versions);
                let taken = self.copies.take(keyspace, left, self.thread, versions);
                left = &left[taken..];
                self.write_copies(sink)?;
                // Each time: what it takes is to be made room for bit by bit.
                self.measure_memory(sink.memory_bytes());
            }
        }
        Ok(())
    }
}
