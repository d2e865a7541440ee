//! After a crash: what the log has becomes the first run.
//!
//! The log may tell of a large collection by what has changed of it: by a piece behind others, which lie in the generation that
//! was the newest one. Where the run goes to another generation they go there too; where they are gone (their generation could
//! not be read) the collection is.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use super::chunks;
use super::log::LogIndex;
use super::record::{self, Body};
use super::store::{Located, Store, StoreError, Writer};
use crate::logging::Repeated;

static PART_LOST: Repeated = Repeated::new("A part of a collection is lost");
static NOT_READ: Repeated = Repeated::new("What the log changes could not be read");

/// Makes what a log has the newest run.
pub(super) fn restore(disk: &mut Writer, logged: &LogIndex) -> Result<(), StoreError> {
    if logged.len() == 0 {
        return Ok(());
    }
    let store = Arc::clone(disk.store());
    let mut run = disk.begin_run()?;
    let mut beside = Beside::find(&store, run.generation(), logged)?;
    logged.each(|key, record| {
        while let Some(chunk) = beside
            .chunks
            .first_entry()
            .filter(|c| c.key().as_slice() < key)
        {
            let (chunk, of) = chunk.remove_entry();
            match of.neighbour(&chunk) {
                Ok(Some(record)) => run.write(store.hash_of(&chunk), &chunk, &record)?,
                Ok(None) => {}
                // Whoever reads the collection is told.
                Err(error) => PART_LOST.error(&error),
            }
        }
        let hash = store.hash_of(key);
        match record.is_empty() || beside.lost.contains(key) {
            true => run.mark(hash, key),
            false => run.write(hash, key, record),
        }
    })?;
    run.finish()?;
    tracing::info!("{} changes were restored from the log", logged.len());
    if !beside.lost.is_empty() {
        let lost = beside.lost.len();
        tracing::error!("{lost} collections are lost: the log has only what has changed of them");
    }
    Ok(())
}

/// What belongs to records in a log and is not there.
#[derive(Default)]
struct Beside {
    /// Chunks in another generation than the one that the run goes to.
    chunks: BTreeMap<Vec<u8>, Rc<Located>>,
    /// Keys of records that tell of pieces which are nowhere.
    lost: BTreeSet<Vec<u8>>,
}

impl Beside {
    fn find(store: &Store, generation: u64, logged: &LogIndex) -> Result<Self, StoreError> {
        let mut beside = Self::default();
        logged.each(|key, record| {
            let Some((_, Body::Chunks(pieces))) = record::decode(record) else {
                return Ok(());
            };
            let before: Vec<_> = pieces.iter().rev().skip(1).collect();
            if before.is_empty() {
                return Ok(());
            }
            let found = store.find(store.hash_of(key), key);
            let found = found.inspect_err(|error| {
                NOT_READ.error(error);
            });
            let Ok(Some(found)) = found else {
                beside.lost.insert(key.to_vec());
                return Ok(());
            };
            let has_them = match record::decode(&found.record) {
                Some((_, Body::Chunks(there))) => {
                    let there = there.iter().take(before.len());
                    there.eq(before.iter().rev().copied())
                }
                _ => false,
            };
            if !has_them {
                beside.lost.insert(key.to_vec());
            } else if found.generation() != generation {
                let found = Rc::new(found);
                let keys = before.iter().flat_map(|piece| chunks::keys(key, *piece));
                beside
                    .chunks
                    .extend(keys.map(|chunk| (chunk, Rc::clone(&found))));
            }
            Ok(())
        })?;
        Ok(beside)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::super::compress::Form;
    use super::super::log::Log;
    use super::super::record::{Chunks, Head};
    use super::super::store::StoreOptions;
    use super::*;
    use crate::config::scratch::Scratch;
    use crate::keyspace::residency::Place;

    fn open(dir: &Path) -> (Arc<Store>, Writer) {
        let opened = Store::open(StoreOptions {
            dir: dir.join("tier"),
            max_bytes: 1_200_000,
            cache_bytes: 1 << 20,
            open_files: 16,
            generations: 4,
            max_age: Duration::ZERO,
            hash_key: record::hash_of_key,
        });
        opened.expect("the disk is well")
    }

    fn piece(version: u64) -> Chunks {
        Chunks {
            form: Form::Raw,
            chunk_bytes: 10,
            version,
            raw_bytes: 15,
            stored_bytes: 15,
        }
    }

    fn record_of(pieces: &[Chunks]) -> Vec<u8> {
        let (mut record, form, pinned) = (Vec::new(), 0, false);
        record::encode_head(
            Head {
                form,
                expires_at: None,
                pinned,
            },
            &mut record,
        );
        record::encode_pieces(pieces, &mut record);
        record
    }

    /// Writes a collection of two pieces, and what fills its generation, and restores a log with one piece more, behind those
    /// of these versions. Gives the generation that the collection is then in, if it is.
    fn restored(filler: usize, versions: [u64; 2]) -> Option<(u64, usize)> {
        let scratch = Scratch::new();
        let (store, mut disk) = open(scratch.path());
        let mut key = Vec::new();
        record::encode_key(Place(700), 0, b"key", &mut key);
        let mut run = disk.begin_run().expect("it is open");
        let mut put = |key: &[u8], record: &[u8]| {
            let written = run.write(store.hash_of(key), key, record);
            written.expect("the disk is well");
        };
        for chunk in [piece(3), piece(4)]
            .iter()
            .flat_map(|p| chunks::keys(&key, *p))
        {
            put(&chunk, b"a part");
        }
        put(&key, &record_of(&[piece(3), piece(4)]));
        let mut last = Vec::new();
        record::encode_key(Place(900), 0, b"filler", &mut last);
        let noise: Vec<u8> = (0..filler).map(|i| (i * i / 8) as u8).collect();
        put(&last, &[&[1][..], &noise].concat());
        run.finish().expect("the disk is well");
        let (mut log, _) = Log::open(scratch.path()).expect("the disk is well");
        let newest = piece(9);
        for chunk in chunks::keys(&key, newest) {
            log.append(&chunk, b"a change").expect("the disk is well");
        }
        let [first, second] = versions;
        let all = [piece(first), piece(second), newest];
        log.append(&key, &record_of(&all))
            .expect("the disk is well");
        log.commit().expect("the disk is well");
        let (_, logged) = Log::open(scratch.path()).expect("the disk is well");
        restore(&mut disk, &logged).expect("the disk is well");
        let found = store
            .find(store.hash_of(&key), &key)
            .expect("the disk is well")?;
        assert_eq!(found.record, record_of(&all));
        let there = all.iter().flat_map(|p| chunks::keys(&key, *p));
        let there =
            there.filter(|chunk| found.neighbour(chunk).expect("the disk is well").is_some());
        Some((found.generation(), there.count()))
    }

    #[test]
    fn pieces_follow_what_has_changed_to_another_generation() {
        let (same, chunks) = restored(100, [3, 4]).expect("it is there");
        assert_eq!(chunks, 6);
        let (other, chunks) = restored(400_000, [3, 4]).expect("it is there");
        assert!(other > same);
        assert_eq!(chunks, 6);
    }

    #[test]
    fn a_collection_whose_pieces_are_gone_is_gone() {
        assert_eq!(restored(100, [3, 5]), None);
        assert_eq!(restored(400_000, [2, 4]), None);
    }
}
