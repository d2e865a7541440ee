//! A generation: one keyspace of the database, and its filter. The only file that sets up fjall.
//!
//! Data enters by ingestion only. The settings follow from that and from the generations' short lives:
//!
//! - fjall merges nothing by itself, as long as there are fewer than [`RUNS_MAX`] runs: see `merge.rs`.
//! - Values from 512 bytes lie apart, so that a merge moves keys only. Nothing collects their garbage: the generation goes
//!   as a whole.
//! - Our filter has already said that the key is probably here; fjall's own filters serve only to find the run. They and
//!   the indexes are cut into blocks of 4 KiB that come and go through the block cache: what stays in memory is 1/64 of
//!   them. A filter in one piece, 350 KB for 200,000 keys, would be read whole for one key.
//! - Nothing is compressed: the caller's records are.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fjall::config::{
    BlockSizePolicy, BloomConstructionPolicy, CompressionPolicy, FilterPolicy, FilterPolicyEntry,
    PartitioningPolicy, PinningPolicy,
};
use fjall::{
    AbstractTree, CompressionType, Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions,
    Slice,
};

use super::filter::Filter;
use super::{StoreError, StoreOptions};

/// The most tables in level 0 that fjall can be told to leave alone.
const RUNS_MAX: u8 = u8::MAX;
/// Records from this size lie apart from their keys.
pub(super) const APART_BYTES: u32 = 512;
/// Where those are in the directory of a keyspace.
pub(super) const APART_DIR: &str = "blobs";
/// The least that fjall accepts. Nothing is ever written to the journal: runs go into tables, and so does what fjall notes of
/// its keyspaces.
const JOURNAL_BYTES: u64 = 64 << 20;
/// A memtable is never filled.
const MEMTABLE_BYTES: u64 = 8 << 20;
/// Each opening of the database begins at a multiple of this, which it tells by counting: above what the list of keyspaces may
/// be ahead of the keyspaces. Small, because every record on disk bears its number, in as many bytes as it needs.
const SEQUENCE_STEP: u64 = 1 << 20;
/// With one worker a flush can wait for ever after a crash (fjall #257).
const WORKERS: usize = 2;

/// A generation in the list of the store. Clones are cheap and keep its files from being removed.
#[derive(Clone)]
pub(super) struct Generation {
    pub(super) number: u64,
    pub(super) filter: Arc<Filter>,
    /// None if it is quarantined: then its filter tells which keys of older generations are stale.
    pub(super) keyspace: Option<Keyspace>,
    pub(super) gone: Arc<Gone>,
    pub(super) usage: Arc<Usage>,
}

/// How much of a generation is out of sight already: keys whose hash prefix is lower.
#[derive(Debug, Default)]
pub(super) struct Gone(AtomicU64);

/// One more than the largest prefix.
pub(super) const PREFIXES: u64 = 1 << 32;

impl Gone {
    pub(super) fn new(before: u64) -> Self {
        Self(AtomicU64::new(before))
    }

    pub(super) fn before(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    pub(super) fn advance(&self, before: u64) {
        self.0.store(before, Ordering::Release);
    }
}

/// How much of the disk a generation takes, and how often it is read.
#[derive(Debug, Default)]
pub(super) struct Usage {
    disk_bytes: AtomicU64,
    /// Look-ups that somebody waited for, and that are not in `vain_asks` yet.
    look_ups: AtomicU64,
    /// How often a look-up asked a run that had nothing, about, since the runs became one.
    vain_asks: AtomicU64,
}

impl Usage {
    pub(super) fn count_look_up(&self) {
        self.look_ups.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts that each look-up since the last call has asked so many; gives all.
    pub(super) fn add_vain_asks(&self, each: u64) -> u64 {
        let more = self.look_ups.swap(0, Ordering::Relaxed) * each;
        self.vain_asks.fetch_add(more, Ordering::Relaxed) + more
    }

    pub(super) fn vain_asks(&self) -> u64 {
        self.vain_asks.load(Ordering::Relaxed)
    }

    pub(super) fn forget_vain_asks(&self) {
        self.vain_asks.store(0, Ordering::Relaxed);
    }
}

/// What a generation has for a key.
pub(super) enum Found {
    Nothing,
    /// The key is gone, whatever older generations hold.
    Gone,
    Record(Slice),
}

impl Generation {
    /// Whether the key of this hash can be here.
    #[inline]
    pub(super) fn may_hold(&self, hash: u64) -> bool {
        self.filter.may_hold(hash) && hash >> 32 >= self.gone.before()
    }

    /// The record of a key, if it is here.
    pub(super) fn find(&self, key: &[u8]) -> Result<Found, StoreError> {
        let Some(keyspace) = &self.keyspace else {
            return Ok(Found::Gone);
        };
        match keyspace.get(key) {
            Ok(None) => Ok(Found::Nothing),
            Ok(Some(record)) if record.is_empty() => Ok(Found::Gone),
            Ok(Some(record)) => Ok(Found::Record(record)),
            Err(source) => Err(self.read_error(source)),
        }
    }

    /// The bytes of a key's record, 0 for a marker, without reading a record that lies apart; None if it is not here.
    pub(super) fn size_of(&self, key: &[u8]) -> Result<Option<u32>, StoreError> {
        let Some(keyspace) = &self.keyspace else {
            return Ok(Some(0));
        };
        keyspace
            .size_of(key)
            .map_err(|source| self.read_error(source))
    }

    pub(super) fn read_error(&self, source: fjall::Error) -> StoreError {
        StoreError::Read {
            generation: self.number,
            source,
        }
    }

    pub(super) fn is_readable(&self) -> bool {
        self.keyspace.is_some()
    }

    /// What its files take on the disk, with that of its filter, as it was measured last.
    pub(super) fn disk_bytes(&self) -> u64 {
        self.usage.disk_bytes.load(Ordering::Relaxed)
    }

    /// Looks at its files. Those that a merge has replaced, or is writing, are left out: the slack below the limit is for
    /// them. fjall's own figure lacks the filters and indexes of tables.
    pub(super) fn measure(&self) {
        let Some(keyspace) = &self.keyspace else {
            return;
        };
        let size = |path: &Path| fs::metadata(path).map_or(0, |file| file.len());
        let version = keyspace.tree.current_version();
        let tables: u64 = version.iter_tables().map(|table| size(&table.path)).sum();
        let apart: u64 = fs::read_dir(keyspace.path().join(APART_DIR))
            .into_iter()
            .flatten()
            .flatten()
            .map(|file| size(&file.path()))
            .sum();
        let bytes = tables + apart + self.filter.folded_bytes();
        self.usage.disk_bytes.store(bytes, Ordering::Relaxed);
    }

    /// With what newer runs have made stale.
    pub(super) fn records(&self) -> u64 {
        records(self.keyspace.as_ref())
    }
}

pub(super) fn records(keyspace: Option<&Keyspace>) -> u64 {
    keyspace.map_or(0, |keyspace| keyspace.approximate_len() as u64)
}

/// The name of a generation's keyspace.
pub(super) fn name(number: u64) -> String {
    format!("g{number:016x}")
}

pub(super) fn number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix('g').filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok()
}

pub(super) fn open_database(path: &Path, options: &StoreOptions) -> fjall::Result<Database> {
    Database::builder(path)
        .worker_threads(WORKERS)
        .cache_size(options.cache_bytes)
        .max_journaling_size(JOURNAL_BYTES)
        .journal_compression(CompressionType::None)
        .open()
}

/// Takes up the sequence numbers beyond all that the database has ever used. fjall goes on after those of its keyspaces and
/// forgets its list of keyspaces, which is ahead of them when the newest keyspace was dropped; or, without its journal, begins
/// at zero. A keyspace made then, with an id that comes again, would be written into the list as older than the end of the one
/// that had the id before: a merge of the list takes it out, and the next opening removes its files.
///
/// `openings` are those so far; gives them with this one, or more where one used more numbers than a step has.
pub(super) fn begin_sequence(database: &Database, openings: u64) -> u64 {
    let names = database.list_keyspace_names().into_iter();
    let keyspaces = names.filter_map(|name| database.keyspace(&name, keyspace_options).ok());
    let written = keyspaces.filter_map(|keyspace| keyspace.tree.get_highest_persisted_seqno());
    let used = written.max().unwrap_or(0).max(database.seqno());
    let openings = (openings + 1).max(used / SEQUENCE_STEP + 1);
    let first = openings.saturating_mul(SEQUENCE_STEP);
    database.supervisor.seqno.fetch_max(first);
    database.supervisor.snapshot_tracker.set(first);
    openings
}

/// fjall keeps these with the keyspace: they hold for generations made from now on.
pub(super) fn keyspace_options() -> KeyspaceCreateOptions {
    let filter = FilterPolicyEntry::Bloom(BloomConstructionPolicy::FalsePositiveRate(0.001));
    // A staleness above 1 is never reached.
    let apart = KvSeparationOptions::default()
        .separation_threshold(APART_BYTES)
        .compression(CompressionType::None)
        .staleness_threshold(2.0);
    KeyspaceCreateOptions::default()
        .max_memtable_size(MEMTABLE_BYTES)
        .data_block_size_policy(BlockSizePolicy::all(4 << 10))
        .data_block_compression_policy(CompressionPolicy::all(CompressionType::None))
        .index_block_compression_policy(CompressionPolicy::all(CompressionType::None))
        .filter_policy(FilterPolicy::all(filter))
        .filter_block_pinning_policy(PinningPolicy::all(false))
        .index_block_pinning_policy(PinningPolicy::all(false))
        .filter_block_partitioning_policy(PartitioningPolicy::all(true))
        .index_block_partitioning_policy(PartitioningPolicy::all(true))
        .with_kv_separation(Some(apart))
        .compaction_strategy(Arc::new(
            fjall::compaction::Leveled::default().with_l0_threshold(RUNS_MAX),
        ))
}
