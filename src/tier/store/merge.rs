//! Merges of runs: when a generation has many of one size, they become one, in the background.
//!
//! A run is as large as what changes in half a second, so a generation of some hundred megabytes may take hundreds of them, and
//! a look-up asks each. The library's own strategies would merge new runs with all that was merged before, again and again: at 50,000 small SETs a
//! second and the default limit of the disk they wrote three bytes for one. Here runs are merged with those of their size
//! only, in tiers, so that a record is written once more for [`RUNS_MAX`] times as many runs. A generation that fills before
//! it has so many is not merged for their number.
//!
//! But a generation that is read much becomes one run, once look-ups that somebody waited for have cost as much, for the runs
//! that they asked in vain, as the merge does: whatever comes, no more than twice is spent of what would have been best.
//! Look-ups in the background, which tell whether an overwritten key was on disk, are no reason to write more.
//!
//! A merge writes beside what it replaces, and that stays for as long as somebody reads in it. So it asks for room first, by
//! what really lies in the directory, and where there is not enough old generations have to go before it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use lsm_tree::compaction::{MoveDown, PullDown};
use lsm_tree::{AbstractTree, AnyTree};
use parking_lot::Mutex;

use super::files::bytes_below;
use super::generation::Generation;
use super::tree::{Tree, Trees};
use super::{Store, StoreError, log_failure};

/// So many runs lie side by side before they are merged.
const RUNS_MAX: usize = if cfg!(test) { 8 } else { 32 };
/// What a look-up costs for each run that it asks in vain, and a merge for each byte of tables, in nanoseconds.
const ASK_NS: u64 = 500;
const MERGE_BYTE_NS: u64 = 4;
/// As large as the library's merges make their tables.
const TABLE_BYTES: u64 = 64_000_000;
/// While one goes on others may write this part of a generation.
const OTHERS_PART: u64 = 2;
/// Levels of the tree: that of the runs to be merged, that where they become one, which is empty else, and that where this
/// one lies beside others like it. New runs enter level 0. Smaller runs are newer, as the library wants it.
const TIERS: [(u8, u8, u8); 3] = [(0, 1, 2), (2, 3, 4), (4, 5, 6)];

/// The merge under way.
#[derive(Default)]
pub(super) struct Merging {
    is_under_way: AtomicBool,
    /// The generation whose runs could not be merged: it is not tried again and again.
    failed: Mutex<Option<u64>>,
    /// What the merge would write that found no room.
    refused_bytes: AtomicU64,
}

impl Store {
    /// Merges the runs of a generation if it has too many, and there is room; one merge at a time.
    pub(super) fn merge_runs_if_many(self: &Arc<Self>, generation: &Arc<Generation>) {
        if self.is_merging() {
            return;
        }
        let bytes = generation.tree.as_ref().map_or(0, due_bytes);
        let has_room = bytes == 0 || bytes <= self.room_for_merges();
        let refused = if has_room { 0 } else { bytes };
        let told = &self.merging.refused_bytes;
        told.store(refused, Ordering::Relaxed);
        if has_room && bytes > 0 {
            self.start_merge(generation, Self::merge_tiers);
        }
    }

    /// Makes one run of the generation that is read most, if that pays: see the head of this file. To be called now and
    /// then.
    pub fn merge_what_is_read(self: &Arc<Self>) {
        let list = self.list.load();
        let read = list.generations.iter().filter(|g| g.count_vain_asks());
        let due: Vec<_> = read.collect();
        if due.is_empty() || self.is_merging() {
            return;
        }
        let room = self.room_for_merges();
        let due = due.into_iter().filter(|g| g.merge_bytes() <= room);
        if let Some(most) = due.max_by_key(|g| g.usage.vain_asks()) {
            self.start_merge(most, Self::merge_all);
        }
    }

    /// What a merge may write: besides all that is in the directory, with what readers keep of earlier merges and of
    /// generations that are gone, there is room for what others write meanwhile.
    fn room_for_merges(&self) -> u64 {
        let taken = bytes_below(self.files.dir(), &|_| false);
        self.left_beside(taken)
    }

    fn left_beside(&self, taken: u64) -> u64 {
        let others = self.options.generation_bytes() / OTHERS_PART;
        self.options.max_bytes.saturating_sub(taken + others)
    }

    /// Whether the oldest generation must go because a merge found no room.
    pub(super) fn is_merge_in_want(&self) -> bool {
        let refused = self.merging.refused_bytes.load(Ordering::Relaxed);
        refused > self.left_beside(self.used_bytes())
    }

    fn start_merge(
        self: &Arc<Self>,
        generation: &Arc<Generation>,
        merge: fn(&Self, &Generation) -> Result<(), StoreError>,
    ) {
        let number = generation.number;
        let merging = &self.merging;
        let is_under_way = merging.is_under_way.load(Ordering::Acquire);
        if is_under_way || *merging.failed.lock() == Some(number) {
            return;
        }
        merging.is_under_way.store(true, Ordering::Release);
        let (store, generation) = (Arc::clone(self), Arc::clone(generation));
        let started = self.background.start("tier-merge", move || {
            let _under_way = UnderWay(&store);
            log_failure("merge runs", || {
                let (start, before) = (Instant::now(), store.bytes_merged());
                let merged = match merge(&store, &generation) {
                    // It begins anew some time; what it has written goes with the next opening.
                    Err(StoreError::Tree(error)) if error.is_end_of_merge() => return Ok(()),
                    merged => merged,
                };
                let (bytes, took) = (store.bytes_merged() - before, start.elapsed());
                tracing::debug!(generation = number, bytes, ?took, "runs were merged");
                if merged.is_err() {
                    *store.merging.failed.lock() = Some(number);
                }
                merged
            });
            generation.measure();
        });
        if started.is_err() {
            merging.is_under_way.store(false, Ordering::Release);
        }
        log_failure("start to merge runs", || started);
    }

    fn merge_tiers(&self, generation: &Generation) -> Result<(), StoreError> {
        let Some(tree) = &generation.tree else {
            return Ok(());
        };
        let watermark = self.watermark();
        for (from, between, to) in TIERS {
            if runs(tree, from) < RUNS_MAX || self.background.is_stopping() {
                continue;
            }
            let bytes = bytes(tree, from) + bytes(tree, between);
            let merged = tree.call(|tree| {
                tree.compact(Arc::new(PullDown(from, between)), watermark)?;
                tree.compact(Arc::new(MoveDown(between, to)), watermark)
            });
            self.note_poison(merged.map_err(StoreError::Tree))?;
            let merged = &self.counters.bytes_merged;
            merged.fetch_add(bytes, Ordering::Relaxed);
        }
        Ok(())
    }

    fn merge_all(&self, generation: &Generation) -> Result<(), StoreError> {
        let Some(tree) = &generation.tree else {
            return Ok(());
        };
        let bytes = all_bytes(tree);
        let merged = tree.call(|tree| tree.major_compact(TABLE_BYTES, self.watermark()));
        self.note_poison(merged.map_err(StoreError::Tree))?;
        generation.usage.forget_vain_asks();
        self.remove_merged_files();
        let merged = &self.counters.bytes_merged;
        merged.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn is_merging(&self) -> bool {
        self.merging.is_under_way.load(Ordering::Acquire)
    }

    fn bytes_merged(&self) -> u64 {
        self.counters.bytes_merged.load(Ordering::Relaxed)
    }

    /// No reader needs what was replaced before.
    fn watermark(&self) -> u64 {
        self.trees.lock().as_ref().map_or(0, Trees::watermark)
    }

    /// Removes the files that merges have replaced, once no reader can be in them: the library does so at the next merge of
    /// the same generation, which may never come.
    pub(super) fn remove_merged_files(&self) {
        // A snapshot needs the last version before it, and who has none the last one.
        let watermark = self.watermark() + 1;
        for generation in &self.list.load().generations {
            let Some(tree) = &generation.tree else {
                continue;
            };
            log_failure("remove what was merged", || {
                let removed = tree.call(|library| {
                    let mut versions = library.get_version_history_lock();
                    // The files are removed with the last that holds them: not while look-ups wait for the lock.
                    let oldest = versions.get_version_for_snapshot(0);
                    let removed = versions.maintenance(tree.path(), watermark);
                    drop(versions);
                    drop(oldest);
                    removed
                });
                self.note_poison(removed.map_err(StoreError::Tree))
            });
        }
    }
}

/// Ends with the merge, however that ends.
struct UnderWay<'a>(&'a Store);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let merging = &self.0.merging;
        merging.is_under_way.store(false, Ordering::Release);
    }
}

/// All runs of a generation, which a look-up may have to ask.
pub(super) fn all_runs(tree: &Tree) -> usize {
    look(tree, |tree| {
        let version = tree.current_version();
        version.iter_levels().map(|level| level.run_count()).sum()
    })
}

/// Bytes of tables: without records that lie apart, which no merge writes again.
fn all_bytes(tree: &Tree) -> u64 {
    look(tree, |tree| {
        let version = tree.current_version();
        version.iter_levels().map(|level| level.size()).sum()
    })
}

fn runs(tree: &Tree, level: u8) -> usize {
    look(tree, |tree| {
        let version = tree.current_version();
        let level = version.level(usize::from(level));
        level.map_or(0, |level| level.run_count())
    })
}

fn bytes(tree: &Tree, level: u8) -> u64 {
    look(tree, |tree| {
        let version = tree.current_version();
        let level = version.level(usize::from(level));
        level.map_or(0, |level| level.size())
    })
}

/// What is to be merged because there are too many runs of it.
fn due_bytes(tree: &Tree) -> u64 {
    let due = TIERS
        .iter()
        .filter(|(from, ..)| runs(tree, *from) >= RUNS_MAX);
    due.map(|&(from, between, _)| bytes(tree, from) + bytes(tree, between))
        .sum()
}

/// A number of a tree; nothing of one that is in disorder.
fn look<T: Default>(tree: &Tree, number: impl FnOnce(&AnyTree) -> T) -> T {
    tree.call(|tree| Ok(number(tree))).unwrap_or_default()
}

impl Generation {
    /// Counts the look-ups since the last call; whether all so far have cost as much for runs that they asked in vain as
    /// one run of all would.
    fn count_vain_asks(&self) -> bool {
        let Some(tree) = &self.tree else {
            return false;
        };
        // Half of the runs come before the one that has the key.
        let in_vain = (all_runs(tree) as u64).saturating_sub(1).div_ceil(2);
        let asked = self.usage.add_vain_asks(in_vain);
        in_vain > 0 && asked * ASK_NS > self.merge_bytes() * MERGE_BYTE_NS
    }

    fn merge_bytes(&self) -> u64 {
        self.tree.as_ref().map_or(0, all_bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::super::StoreOptions;
    use super::super::tests::{Scratch, all, key, record, records, write};
    use super::*;

    fn table_files(scratch: &Scratch) -> usize {
        let generations = fs::read_dir(scratch.0.join("tier/generations")).unwrap();
        generations
            .map(Result::unwrap)
            .flat_map(|generation| fs::read_dir(generation.path().join("tables")))
            .map(Iterator::count)
            .sum()
    }

    fn wait_for_merges(store: &Store) {
        while store.merging.is_under_way.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
    }

    #[test]
    fn many_runs_become_few_and_the_newest_versions_stay() {
        let scratch = Scratch::new();
        let (store, mut writer) = scratch.open();
        let seed = store.hash_seed();
        // More than two tiers have room for; each run changes some keys, and marks one as gone.
        let rounds = (RUNS_MAX * RUNS_MAX * 2) as u64;
        for round in 0..rounds {
            let mut batch = records(&store, round % 50..round % 50 + 10, 20 + round as usize);
            batch.insert(key(seed, 1_000 + round % 7), None);
            batch.insert(key(seed, 1_000 + (round + 1) % 7), Some(vec![1]));
            write(&mut writer, &batch);
            wait_for_merges(&store);
        }
        let stats = store.stats();
        assert_eq!(stats.generations, 1);
        assert!(
            stats.runs_side_by_side <= 2 * RUNS_MAX,
            "{} runs",
            stats.runs_side_by_side
        );
        assert!(stats.bytes_merged > 0);
        assert!(stats.bytes_merged < stats.bytes_ingested * 4);
        for i in 0..59 {
            let newest = (0..rounds)
                .rev()
                .find(|round| (round % 50..round % 50 + 10).contains(&i));
            let bytes = newest.map(|round| 20 + round as usize);
            let found = record(&store, &key(seed, i)).map(|record| record.len());
            assert_eq!(found, bytes, "key {i}");
        }
        let gone = (rounds - 1) % 7;
        assert_eq!(record(&store, &key(seed, 1_000 + gone)), None);
        assert_eq!(all(&store, 0).len(), 59 + 1);
        // What was merged leaves no files behind once there were other runs.
        let is_tidy = (0..4).any(|round| {
            write(&mut writer, &records(&store, round..round + 1, 10));
            wait_for_merges(&store);
            table_files(&scratch) == store.stats().runs_side_by_side
        });
        assert!(is_tidy, "{} files", table_files(&scratch));
        writer.close().unwrap();
        drop(store);
        let (store, _writer) = scratch.open();
        assert_eq!(store.recovery(), &crate::tier::store::Recovery::Clean);
        assert_eq!(all(&store, 0).len(), 59 + 1);
    }

    #[test]
    fn a_merge_that_nobody_waits_for_ends_as_it_stands() {
        let scratch = Scratch::new();
        let (store, mut writer) = scratch.open();
        for round in 0..3 {
            write(&mut writer, &records(&store, round..round + 100, 400));
        }
        let generation = Arc::clone(&store.list.load().generations[0]);
        let stop = store.background.stop_flag();
        stop.store(true, Ordering::Relaxed);
        let ended = store.merge_all(&generation);
        let is_end =
            |error: StoreError| matches!(error, StoreError::Tree(error) if error.is_end_of_merge());
        assert!(ended.is_err_and(is_end));
        assert!(!store.is_poisoned());
        assert_eq!(store.stats().runs_side_by_side, 3);
        stop.store(false, Ordering::Relaxed);
        assert_eq!(all(&store, 0).len(), 102);
        // It is begun anew, here and after a start, and what was written of it is gone.
        for round in 0..2 {
            write(&mut writer, &records(&store, 10 * round..300, 40));
            store
                .merge_all(&Arc::clone(&store.list.load().generations[0]))
                .unwrap();
            assert_eq!(store.stats().runs_side_by_side, 1);
            assert_eq!(all(&store, 0).len(), 300);
        }
        drop(generation);
        writer.close().unwrap();
        drop(store);
        let (store, _writer) = scratch.open();
        assert_eq!(table_files(&scratch), 1);
        assert_eq!(all(&store, 0).len(), 300);
    }

    fn real_bytes(scratch: &Scratch) -> u64 {
        bytes_below(&scratch.0, &|_| false)
    }

    #[test]
    fn a_merge_does_not_take_the_directory_over_its_limit() {
        const LIMIT: u64 = 4 << 20;
        let scratch = Scratch::new();
        let (store, mut writer) = Store::open(scratch.options(LIMIT)).unwrap();
        let batch = |round| records(&store, round..round + 300, 400);
        write(&mut writer, &batch(0));
        // Who reads keeps what merges replace.
        let reader = store.scan(0).unwrap();
        let mut rounds = 0;
        while !store.is_full() && !store.had_better_go() {
            rounds += 1;
            write(&mut writer, &batch(rounds));
            wait_for_merges(&store);
            assert!(real_bytes(&scratch) <= LIMIT, "round {rounds}");
        }
        assert!(store.stats().bytes_merged > 0);
        drop(reader);
        // They are merged once there is room.
        for round in rounds..rounds + 3 * RUNS_MAX as u64 {
            while store.is_full() || store.had_better_go() {
                let part = writer.next_part(None).unwrap().unwrap();
                writer.let_go(part.end().of_all()).unwrap();
            }
            write(&mut writer, &batch(round));
            wait_for_merges(&store);
            assert!(real_bytes(&scratch) <= LIMIT, "round {round}");
        }
        assert!(store.stats().runs_side_by_side <= 2 * RUNS_MAX);
    }

    #[test]
    fn tables_count_and_stay_wherever_the_directory_is_named_from() {
        let scratch = Scratch::new();
        let here = std::env::current_dir().unwrap();
        let up = "../".repeat(here.components().count() - 1);
        let options = StoreOptions {
            dir: Path::new(&up)
                .join(scratch.0.strip_prefix("/").unwrap())
                .join("tier"),
            ..scratch.options(4 << 20)
        };
        let (store, mut writer) = Store::open(options).unwrap();
        write(&mut writer, &records(&store, 0..2_000, 400));
        let told = store.stats().disk_bytes;
        assert!(told.abs_diff(real_bytes(&scratch)) < 100_000, "{told}");
        assert!(told > 800_000, "{told}");
        write(&mut writer, &records(&store, 0..2_000, 300));
        // What a merge makes beside a run stays when that is given up.
        let run = writer.begin_run().unwrap();
        store.merge_all(&store.list.load().generations[0]).unwrap();
        drop(run);
        assert_eq!(all(&store, 0).len(), 2_000);
        writer.close().unwrap();
        drop(store);
        let (store, _writer) = scratch.open();
        assert_eq!(all(&store, 0).len(), 2_000);
    }

    #[test]
    fn what_is_read_much_becomes_one_run() {
        let scratch = Scratch::new();
        let (store, mut writer) = scratch.open();
        let seed = store.hash_seed();
        for round in 0..5 {
            write(&mut writer, &records(&store, round..round + 10, 400));
        }
        store.merge_what_is_read();
        wait_for_merges(&store);
        assert_eq!(store.stats().runs_side_by_side, 5, "nothing was read");
        for i in 0..14 {
            for _ in 0..100 {
                let key = key(seed, i);
                let found = store.find(store.hash_of(&key), &key).unwrap();
                found.expect("it was written").count_look_up();
            }
        }
        store.merge_what_is_read();
        wait_for_merges(&store);
        let stats = store.stats();
        assert_eq!((stats.runs_side_by_side, stats.records), (1, 14));
        assert!(stats.bytes_merged > 0);
        assert_eq!(all(&store, 0).len(), 14);
        // New runs lie beside it, and what was asked before counts no more. (One of keys that all come before or behind its own
        // would be a part of the same run.)
        write(&mut writer, &records(&store, 0..14, 300));
        store.merge_what_is_read();
        wait_for_merges(&store);
        assert_eq!(store.stats().runs_side_by_side, 2);
        assert_eq!(all(&store, 0).len(), 14);
    }
}
