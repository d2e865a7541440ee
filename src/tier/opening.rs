//! Opening the tier: what is on disk, what the log and the reserve have beside it, and the keyspace over all that.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::time::Duration;

use parking_lot::Mutex;

use super::compress::Dictionaries;
use super::loads::Loads;
use super::log::Log;
use super::marks::{Records, Reserve};
use super::pace::Pace;
use super::pending::Pending;
use super::progress::Progress;
use super::spaces::Spaces;
use super::store::{self, Recovery, Store, StoreError, StoreOptions};
use super::walks::Walks;
use super::{GENERATIONS, StoreFilter, THREADS, Tier, cache_share, record, restore, warm, writer};
use crate::config::{Config, TierDurability};
use crate::descriptors;
use crate::keyspace::{Keyspace, ThreadSlot};

impl Tier {
    pub(super) fn open_in(
        dir: &Path,
        config: &Config,
        threads: usize,
    ) -> Result<(Keyspace, Option<Self>), StoreError> {
        let OnDisk {
            store,
            disk,
            mut log,
            pending,
            is_clean,
        } = OnDisk::open(dir, config)?;
        let mut spaces = Spaces::newest(&store, &pending);
        let (reserve, marks) = open_reserve(dir, config, spaces.moment);
        spaces.follow(&marks, store.hash_seed());
        if pending.is_any() {
            log.keep();
        } else if let Err(error) = log.clear(spaces.moment) {
            // Nobody reads what a run has.
            tracing::error!("The log of the disk tier could not be begun anew: {error}");
        }
        let filter = Arc::new(StoreFilter(Arc::clone(&store), Arc::clone(&pending)));
        let keyspace = Keyspace::over(
            threads + THREADS,
            store.hash_seed(),
            filter,
            &spaces.names,
            spaces.next_name,
        );
        keyspace.follow_writes(config.tier_durability != TierDurability::None);
        let stats = store.stats();
        let counted = spaces
            .keys
            .filter(|_| is_clean && stats.quarantined == 0 && !pending.is_any());
        let is_counted = (counted.is_some() || stats.generations == 0) && !pending.is_any();
        let uncounted = (!is_counted && !pending.is_any()).then(|| store.scan(0));
        for (db, counts) in counted.iter().flatten().enumerate() {
            keyspace.restore_counts(db, counts);
        }
        let tier = Self {
            dictionaries: Arc::new(open_dictionaries(dir)?),
            store,
            dir: dir.to_owned(),
            classes: Mutex::default(),
            last_write: Mutex::new(None),
            cache_bytes: AtomicUsize::new(0),
            reserve: Mutex::new(reserve),
            unsaved: AtomicU64::new(0),
            has_marks: AtomicBool::new(false),
            memory_bytes: AtomicUsize::new(0),
            reserved_bytes: AtomicUsize::new(0),
            is_counted: AtomicBool::new(is_counted),
            is_listed: is_counted,
            cold_pins: AtomicBool::new(warm::has_pins(dir)),
            is_stopping: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            uncounted: Mutex::new(uncounted.and_then(writer::scan_to_count)),
            disk: Mutex::new(Some(disk)),
            log: Mutex::new(log),
            log_bytes: AtomicU64::new(0),
            progress: Progress::default(),
            logged_bytes: AtomicU64::new(0),
            loads: Loads::default(),
            walks: Walks::default(),
            pace: Pace::default(),
            pending,
        };
        if tier.pending.is_any() {
            tier.pace.begin_failing();
        }
        tier.measure_memory(0);
        tier.recall(&marks, &keyspace, config, ThreadSlot(threads));
        Ok((keyspace, Some(tier)))
    }
}

/// What a tier has on disk when it is opened, with what its log had in a run if the disk takes that.
struct OnDisk {
    store: Arc<Store>,
    disk: store::Writer,
    log: Log,
    pending: Arc<Pending>,
    /// Whether it was closed in order.
    is_clean: bool,
}

impl OnDisk {
    fn open(dir: &Path, config: &Config) -> Result<Self, StoreError> {
        let options = StoreOptions {
            dir: dir.to_owned(),
            max_bytes: config.tier_max_bytes,
            cache_bytes: cache_share(config.maxmemory),
            open_files: descriptors::divide(config.maxclients, true).tier_files,
            generations: GENERATIONS,
            max_age: Duration::from_secs(u64::from(config.tier_ttl_s)),
            hash_key: record::hash_of_key,
        };
        let (mut store, mut disk) = Store::open(options.clone())?;
        let (log, logged) = Log::open(dir).map_err(StoreError::File)?;
        let pending = Arc::new(Pending::default());
        let is_clean = *store.recovery() != Recovery::Unclean;
        if config.tier_durability == TierDurability::None && !is_clean {
            // What changed in memory since is older there.
            tracing::warn!(
                "The disk tier was not closed in order; without durability it starts empty"
            );
            drop(store);
            disk.discard()?;
            (store, disk) = Store::open(options)?;
        } else {
            // A run that came after what is in the log has all of it, and what is newer.
            if logged.after >= Spaces::newest(&store, &pending).moment
                && let Err(error) = restore::restore(&mut disk, &logged)
            {
                tracing::error!(
                    "The disk takes nothing, and what the log has cannot be written: it is served from there: {error}"
                );
                pending.hold(logged, &store);
            }
        }
        Ok(Self {
            store,
            disk,
            log,
            pending,
            is_clean,
        })
    }
}

/// The reserve, and what it has that came after a run.
fn open_reserve(dir: &Path, config: &Config, moment: u64) -> (Reserve, Records) {
    let (reserve, marks) = Reserve::open(dir, config.tier_max_bytes, writer::disk_bytes(dir));
    let is_kept = config.tier_durability != TierDurability::None;
    let marks = marks.filter(|(after, _)| is_kept && *after >= moment);
    (reserve, marks.map_or_else(Vec::new, |(_, marks)| marks))
}

fn open_dictionaries(dir: &Path) -> Result<Dictionaries, StoreError> {
    let (dictionaries, damaged) = Dictionaries::open(dir.join("dictionaries"))?;
    for file in damaged {
        tracing::error!(
            "A compression dictionary is damaged, and values that need it are lost: {}: {}",
            file.path.display(),
            file.error
        );
    }
    Ok(dictionaries)
}
