//! The door to the library: each generation is one LSM tree of lsm-tree, fjall's engine, in a directory of its own. The only file
//! that calls it.
//!
//! fjall itself is left out. Its list of keyspaces grows with the square of those that were ever made, its journal, to which
//! nothing was written, wants room at each start, and it opens all keyspaces or none: a panic on the way ends the process.
//! A tree needs nothing from the others but numbers that ascend ([`Trees`]).
//!
//! Data enters by ingestion only. The settings follow from that and from the generations' short lives:
//!
//! - Nothing is merged but by `merge.rs`.
//! - Values from 512 bytes lie apart, so that a merge moves keys only. Nothing collects their garbage: the generation goes
//!   as a whole.
//! - Our filter has already said that the key is probably here; the trees' own filters serve only to find the run. They and
//!   the indexes are cut into blocks of 4 KiB that come and go through the block cache: what stays in memory is 1/64 of
//!   them. A filter in one piece, 350 KB for 200,000 keys, would be read whole for one key.
//! - Nothing is compressed: the caller's records are.
//!
//! Invariant: a panic of the library is an error here, and ends no thread.
//! Invariant: where a tree is to be opened none is made. The library would, where a directory has gone, and all keys with it.

use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lsm_tree::compaction::filter::Context;
use lsm_tree::compaction::{CompactionFilter, Factory, ItemAccessor, Verdict};
use lsm_tree::config::{
    BlockSizePolicy, BloomConstructionPolicy, CompressionPolicy, FilterPolicy, FilterPolicyEntry,
    PartitioningPolicy, PinningPolicy, RestartIntervalPolicy,
};
use lsm_tree::{
    AbstractTree, AnyIngestion, AnyTree, Cache, CompressionType, DescriptorTable, GlobalTableId,
    Guard, IterGuardImpl, KvSeparationOptions, SeqNo, SequenceNumberCounter, Slice,
};
use parking_lot::Mutex;

/// Records from this size lie apart from their keys.
pub(super) const APART_BYTES: u32 = 512;
/// Where those are in the directory of a tree, and where its tables are.
pub(super) const APART_DIR: &str = "blobs";
pub(super) const TABLES_DIR: &str = "tables";
/// What names the list of tables that counts: without it there is no tree.
const CURRENT: &str = "current";

/// What the library answered instead.
#[derive(Debug)]
pub enum TreeError {
    /// Its own error.
    Library(lsm_tree::Error),
    /// It panicked with these words.
    Panicked(String),
}

impl TreeError {
    /// What the system said, if it did.
    pub(super) fn io(&self) -> Option<&io::Error> {
        match self {
            Self::Library(lsm_tree::Error::Io(source)) => Some(source),
            _ => None,
        }
    }

    /// Whether it is a merge that was ended because nobody waits for it.
    pub(super) fn is_end_of_merge(&self) -> bool {
        self.io()
            .is_some_and(|source| source.kind() == io::ErrorKind::Interrupted)
    }

    pub(super) const fn unrecoverable() -> Self {
        Self::Library(lsm_tree::Error::Unrecoverable)
    }
}

impl fmt::Display for TreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Library(lsm_tree::Error::Io(source)) => source.fmt(f),
            Self::Library(error) => write!(f, "{error:?}"),
            Self::Panicked(text) => write!(f, "the storage library panicked: {text}"),
        }
    }
}

impl std::error::Error for TreeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Library(error) => Some(error),
            Self::Panicked(_) => None,
        }
    }
}

/// Calls the library.
fn call<T>(work: impl FnOnce() -> lsm_tree::Result<T>) -> Result<T, TreeError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(TreeError::Library),
        Err(panic) => Err(TreeError::Panicked(crate::threads::words(&*panic))),
    }
}

/// What all trees share.
#[derive(Clone)]
pub(super) struct Trees(Arc<Shared>);

struct Shared {
    cache: Arc<Cache>,
    descriptors: Arc<DescriptorTable>,
    /// The next number of a run, and what readers see: runs with lower numbers.
    next: SequenceNumberCounter,
    visible: SequenceNumberCounter,
    /// Whether merges are to end as they stand.
    stop: Arc<AtomicBool>,
    /// How many snapshots there are of each number.
    snapshots: Mutex<BTreeMap<SeqNo, usize>>,
}

impl Trees {
    pub(super) fn new(cache_bytes: u64, open_files: usize, stop: Arc<AtomicBool>) -> Self {
        Self(Arc::new(Shared {
            stop,
            cache: Arc::new(Cache::with_capacity_bytes(cache_bytes)),
            descriptors: Arc::new(DescriptorTable::new(open_files)),
            next: SequenceNumberCounter::new(1),
            visible: SequenceNumberCounter::new(1),
            snapshots: Mutex::default(),
        }))
    }

    /// Opens the tree of this directory. Later runs have numbers above all in it.
    pub(super) fn open(&self, path: &Path) -> Result<Tree, TreeError> {
        let found = path.join(CURRENT).symlink_metadata();
        found.map_err(|error| TreeError::Library(error.into()))?;
        self.make(path)
    }

    /// Makes a tree in this directory, which is empty.
    pub(super) fn make(&self, path: &Path) -> Result<Tree, TreeError> {
        let shared = &self.0;
        call(|| {
            let tree = config(path, shared).open()?;
            let used = tree.get_highest_persisted_seqno().unwrap_or(0) + 1;
            shared.next.fetch_max(used);
            shared.visible.fetch_max(used);
            Ok(Tree(Arc::new(Inner {
                tree,
                path: path.to_owned(),
                is_removed: AtomicBool::new(false),
                shared: Arc::clone(shared),
            })))
        })
    }

    /// Bytes of blocks that are in memory.
    pub(super) fn cached_bytes(&self) -> u64 {
        self.0.cache.size()
    }

    /// The same numbers with another cache.
    pub(super) fn with_cache(&self, cache_bytes: u64, open_files: usize) -> Self {
        let shared = &self.0;
        let new = Self::new(cache_bytes, open_files, Arc::clone(&shared.stop));
        new.0.next.fetch_max(shared.next.get());
        new.0.visible.fetch_max(shared.visible.get());
        new
    }

    /// How many of this and of trees and snapshots there are.
    pub(super) fn users(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    /// What is written at this moment, for as long as that is wanted.
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        let mut snapshots = self.0.snapshots.lock();
        let number = self.0.visible.get();
        *snapshots.entry(number).or_default() += 1;
        Arc::new(Snapshot {
            number,
            shared: Arc::clone(&self.0),
        })
    }

    /// No reader needs what was replaced before.
    pub(super) fn watermark(&self) -> SeqNo {
        let snapshots = self.0.snapshots.lock();
        let oldest = snapshots.keys().next().copied();
        oldest.unwrap_or_else(|| self.0.visible.get()) - 1
    }
}

/// A moment that reads can be of.
pub(super) struct Snapshot {
    number: SeqNo,
    shared: Arc<Shared>,
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        let mut snapshots = self.shared.snapshots.lock();
        if let Some(count) = snapshots.get_mut(&self.number) {
            *count -= 1;
            if *count == 0 {
                snapshots.remove(&self.number);
            }
        }
    }
}

/// The tree of a generation. Clones are cheap and keep its files from being removed.
#[derive(Clone)]
pub(super) struct Tree(Arc<Inner>);

struct Inner {
    tree: AnyTree,
    path: PathBuf,
    is_removed: AtomicBool,
    /// Counted by [`Trees::users`].
    shared: Arc<Shared>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if !self.is_removed.load(Ordering::Acquire) {
            return;
        }
        if let Err(error) = fs::remove_dir_all(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            // The next start removes it.
            let path = self.path.display();
            tracing::warn!("The disk tier could not remove {path}: {error}");
        }
        if let Err(error) = self.close_files() {
            tracing::warn!("The disk tier could not close removed files: {error}");
        }
    }
}

impl Inner {
    /// The library keeps files open, those of all trees in one table: what was removed would take room until others had displaced it.
    fn close_files(&self) -> Result<(), TreeError> {
        call(|| {
            let (version, descriptors) = (self.tree.current_version(), &self.shared.descriptors);
            let global = |id| GlobalTableId::from((self.tree.id(), id));
            for table in version.iter_tables() {
                descriptors.remove_for_table(&global(table.id()));
            }
            for file in version.blob_files.iter() {
                descriptors.remove_for_blob_file(&global(file.id()));
            }
            Ok(())
        })
    }
}

impl Tree {
    pub(super) fn path(&self) -> &Path {
        &self.0.path
    }

    /// Its files go with the last who holds it.
    pub(super) fn remove(&self) {
        self.0.is_removed.store(true, Ordering::Release);
    }

    /// Calls the library with the tree.
    pub(super) fn call<T>(
        &self,
        work: impl FnOnce(&AnyTree) -> lsm_tree::Result<T>,
    ) -> Result<T, TreeError> {
        call(|| work(&self.0.tree))
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Slice>, TreeError> {
        self.call(|tree| tree.get(key, SeqNo::MAX))
    }

    pub(super) fn get_at(&self, at: &Snapshot, key: &[u8]) -> Result<Option<Slice>, TreeError> {
        self.call(|tree| tree.get(key, at.number))
    }

    /// The bytes of a record, 0 for a marker, without reading one that lies apart.
    pub(super) fn size_of(&self, key: &[u8]) -> Result<Option<u32>, TreeError> {
        self.call(|tree| tree.size_of(key, SeqNo::MAX))
    }

    /// All keys from this one on, in order.
    pub(super) fn range(&self, at: &Arc<Snapshot>, from: &[u8]) -> Result<Range, TreeError> {
        let items = self.call(|tree| Ok(tree.range(from.., at.number, None)))?;
        Ok(Range {
            items,
            _at: Arc::clone(at),
        })
    }

    /// Whether readers may need what newer versions of the tree do not have.
    pub(super) fn has_old_versions(&self) -> bool {
        let old = self.call(|tree| Ok(tree.version_free_list_len()));
        old.is_ok_and(|old| old > 0)
    }

    /// The names of the tables that count, in [`TABLES_DIR`]. Names, not paths: the library's are absolute, whatever ours are.
    pub(super) fn tables_in_use(&self) -> Result<HashSet<OsString>, TreeError> {
        self.call(|tree| {
            let version = tree.current_version();
            let names = version.iter_tables().map(|table| table.path.file_name());
            Ok(names.flatten().map(OsStr::to_owned).collect())
        })
    }

    /// Keys and markers, with those that newer runs have made stale.
    pub(super) fn records(&self) -> u64 {
        self.call(|tree| Ok(tree.approximate_len() as u64))
            .unwrap_or(0)
    }

    /// Begins a run.
    pub(super) fn ingest(&self) -> Result<Ingestion<'_>, TreeError> {
        let sink = call(|| self.0.tree.ingestion())?;
        Ok(Ingestion(Some(sink)))
    }
}

/// A run under way.
pub(super) struct Ingestion<'a>(Option<AnyIngestion<'a>>);

impl Ingestion<'_> {
    pub(super) fn write(&mut self, key: &[u8], record: &[u8]) -> Result<(), TreeError> {
        match &mut self.0 {
            Some(sink) => call(|| sink.write(key, record)),
            None => Err(TreeError::unrecoverable()),
        }
    }

    /// Makes it durable and seen.
    pub(super) fn finish(&mut self) -> Result<(), TreeError> {
        let sink = self.0.take().ok_or(TreeError::unrecoverable())?;
        call(|| sink.finish())
    }

    /// Lets go of its files.
    pub(super) fn abandon(&mut self) {
        let sink = self.0.take();
        // What it has not written yet it writes here, and a disk that is full refuses.
        let _ = call(|| {
            drop(sink);
            Ok(())
        });
    }
}

/// Keys in order.
pub(super) struct Range {
    items: Box<dyn DoubleEndedIterator<Item = IterGuardImpl> + Send>,
    _at: Arc<Snapshot>,
}

impl Range {
    /// The bytes of the next record.
    pub(super) fn next_size(&mut self) -> Option<Result<u32, TreeError>> {
        self.next_with(Guard::size)
    }

    /// The next key.
    pub(super) fn next_key(&mut self) -> Option<Result<Slice, TreeError>> {
        self.next_with(Guard::key)
    }

    /// The next key, with its record if that is wanted of it.
    pub(super) fn next_pair(
        &mut self,
        is_wanted: impl Fn(&[u8]) -> bool,
    ) -> Option<Result<(Slice, Option<Slice>), TreeError>> {
        self.next_with(|item| item.into_inner_if(|key| is_wanted(key)))
    }

    fn next_with<T>(
        &mut self,
        read: impl FnOnce(IterGuardImpl) -> lsm_tree::Result<T>,
    ) -> Option<Result<T, TreeError>> {
        let items = &mut self.items;
        call(|| items.next().map(read).transpose()).transpose()
    }
}

/// Ends a merge that nobody waits for: the library asks it for each record, and does not ask anything else so often.
struct EndsMerges(Arc<AtomicBool>);

impl Factory for EndsMerges {
    fn name(&self) -> &str {
        "ends-merges"
    }

    fn make_filter(&self, _: &Context) -> Box<dyn CompactionFilter> {
        Box::new(Self(Arc::clone(&self.0)))
    }
}

impl CompactionFilter for EndsMerges {
    fn filter_item(&mut self, _: ItemAccessor<'_>, _: &Context) -> lsm_tree::Result<Verdict> {
        match self.0.load(Ordering::Relaxed) {
            true => Err(io::Error::from(io::ErrorKind::Interrupted).into()),
            false => Ok(Verdict::Keep),
        }
    }
}

fn config(path: &Path, shared: &Shared) -> lsm_tree::Config {
    let filter = FilterPolicyEntry::Bloom(BloomConstructionPolicy::FalsePositiveRate(0.001));
    // A staleness above 1 is never reached.
    let apart = KvSeparationOptions::default()
        .separation_threshold(APART_BYTES)
        .compression(CompressionType::None)
        .staleness_threshold(2.0);
    lsm_tree::Config::new(path, shared.next.clone(), shared.visible.clone())
        .use_cache(Arc::clone(&shared.cache))
        .use_descriptor_table(Some(Arc::clone(&shared.descriptors)))
        .data_block_size_policy(BlockSizePolicy::all(4 << 10))
        .data_block_restart_interval_policy(RestartIntervalPolicy::new([10, 16]))
        .data_block_compression_policy(CompressionPolicy::all(CompressionType::None))
        .index_block_compression_policy(CompressionPolicy::all(CompressionType::None))
        .filter_policy(FilterPolicy::all(filter))
        .filter_block_pinning_policy(PinningPolicy::all(false))
        .index_block_pinning_policy(PinningPolicy::all(false))
        .filter_block_partitioning_policy(PartitioningPolicy::all(true))
        .index_block_partitioning_policy(PartitioningPolicy::all(true))
        .with_kv_separation(Some(apart))
        .with_compaction_filter_factory(Some(Arc::new(EndsMerges(Arc::clone(&shared.stop)))))
}
