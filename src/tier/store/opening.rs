//! The opening of a store: what is there, and whether it can be trusted.

use std::fs::File;
use std::sync::Arc;

use fjall::Database;

use super::files::{Files, FilterKind, Meta};
use super::filter::Filter;
use super::generation::{self, Generation, Gone};
use super::{Recovery, Store, StoreError, StoreOptions};

/// A database that can be used, its meta file, and what keeps others out of both.
pub(super) struct Opened {
    pub(super) lock: File,
    pub(super) database: Database,
    pub(super) meta: Meta,
}

impl Opened {
    /// A damaged store is put aside. The new one that takes its place has the `meta` that the old one had, if that is known
    /// to the running server.
    pub(super) fn open_or_put_aside(
        files: &Files,
        options: &StoreOptions,
        meta: Option<&Meta>,
    ) -> Result<(Self, Recovery), StoreError> {
        if !files.is_used() {
            return Ok((Self::create(files, options, meta)?, Recovery::New));
        }
        let clean = files.was_closed();
        match Self::open(files, options) {
            Ok(opened) => {
                files.set_open()?;
                let recovery = if clean {
                    Recovery::Clean
                } else {
                    Recovery::Unclean
                };
                Ok((opened, recovery))
            }
            Err(error) if error.is_damage() => {
                let to = files.put_aside(crate::clock::now().as_secs())?;
                tracing::error!(%error, to = %to.display(), "the disk tier is damaged: it is put aside, and a new one begun");
                Ok((Self::create(files, options, meta)?, Recovery::PutAside(to)))
            }
            Err(error) => Err(error),
        }
    }

    fn open(files: &Files, options: &StoreOptions) -> Result<Self, StoreError> {
        let lock = files.lock()?.ok_or(StoreError::Busy)?;
        // Without the seed no key can be found again.
        let mut meta = files
            .read_meta()?
            .ok_or(StoreError::Database(fjall::Error::Unrecoverable))?;
        files.create_dirs()?;
        if !generation::manifests_are_whole(&files.database())? {
            return Err(StoreError::Database(fjall::Error::Unrecoverable));
        }
        let database =
            generation::open_database(&files.database(), options).map_err(StoreError::of_open)?;
        meta.openings = generation::begin_sequence(&database, meta.openings);
        files.write_meta(&meta)?;
        let names = database.list_keyspace_names();
        let mut generations = files.filters_of(FilterKind::Lost)?;
        generations.extend(names.iter().filter_map(|name| generation::number(name)));
        if !are_all_there(generations.clone(), meta.oldest, meta.next_generation) {
            return Err(StoreError::Database(fjall::Error::Unrecoverable));
        }
        let first = generations.iter().min().copied();
        if meta.oldest < first.unwrap_or(meta.next_generation) {
            // No older version comes back by that.
            tracing::error!("Generations of the disk tier are missing: their keys are lost");
        }
        Ok(Self {
            lock,
            database,
            meta,
        })
    }

    fn create(
        files: &Files,
        options: &StoreOptions,
        meta: Option<&Meta>,
    ) -> Result<Self, StoreError> {
        files.create_dirs()?;
        let lock = files.lock()?.ok_or(StoreError::Busy)?;
        let mut meta = meta.cloned().unwrap_or_else(|| Meta {
            hash_seed: random(),
            openings: 0,
            next_generation: 0,
            oldest: 0,
            leaving: (0, 0),
            begun: Vec::new(),
            blob: Vec::new(),
        });
        (meta.openings, meta.next_generation, meta.oldest) = (0, 0, 0);
        meta.leaving = (0, 0);
        files.write_meta(&meta)?;
        let database =
            generation::open_database(&files.database(), options).map_err(StoreError::of_open)?;
        Ok(Self {
            lock,
            database,
            meta,
        })
    }
}

impl Store {
    /// Takes a database into use: finds its generations and their filters, which may be `known` from before a reopen.
    pub(super) fn install(
        self: &Arc<Self>,
        database: Database,
        known: &[Arc<Generation>],
    ) -> Result<(), StoreError> {
        let generations = self.find_generations(&database, known)?;
        for number in self.files.filters_of(FilterKind::Live)? {
            if !generations.iter().any(|g| g.number == number) {
                self.files.remove_filter(number, FilterKind::Live)?;
            }
        }
        let missing: Vec<_> = generations
            .iter()
            .filter(|g| g.is_readable() && !g.filter.is_complete())
            .cloned()
            .collect();
        let mut slot = self.database.lock();
        self.set_list(generations);
        *slot = Some(database);
        drop(slot);
        for generation in missing {
            self.rebuild_in_place(generation);
        }
        Ok(())
    }

    fn find_generations(
        &self,
        database: &Database,
        known: &[Arc<Generation>],
    ) -> Result<Vec<Arc<Generation>>, StoreError> {
        let lost = self.files.filters_of(FilterKind::Lost)?;
        let (oldest, (leaving, gone_before)) = {
            let meta = self.meta.lock();
            (meta.oldest, meta.leaving)
        };
        let gone = |number| match number == leaving {
            true => Gone::new(gone_before),
            false => Gone::default(),
        };
        let mut generations = Vec::new();
        for name in database.list_keyspace_names() {
            let Some(number) = generation::number(&name) else {
                continue;
            };
            let keyspace = database
                .keyspace(&name, generation::keyspace_options)
                .map_err(StoreError::Database)?;
            if lost.contains(&number) || number < oldest {
                // The crash came between the two steps of a quarantine, or of a generation's end.
                database
                    .delete_keyspace(keyspace)
                    .map_err(StoreError::Database)?;
                continue;
            }
            generations.push(Arc::new(Generation {
                number,
                filter: self.find_filter(number, &keyspace, known)?,
                keyspace: Some(keyspace),
                gone: Arc::new(gone(number)),
            }));
        }
        for number in lost {
            let found = self
                .files
                .read_filter(number, FilterKind::Lost, self.hash_seed, 0)?;
            generations.push(Arc::new(Generation {
                number,
                // Without its filter it hides all that is older.
                filter: Arc::new(found.unwrap_or_else(|| Filter::new(0, false))),
                keyspace: None,
                gone: Arc::new(gone(number)),
            }));
        }
        generations.sort_by_key(|generation| std::cmp::Reverse(generation.number));
        Ok(generations)
    }

    fn find_filter(
        &self,
        number: u64,
        keyspace: &fjall::Keyspace,
        known: &[Arc<Generation>],
    ) -> Result<Arc<Filter>, StoreError> {
        let known = known.iter().find(|g| g.number == number);
        if let Some(known) = known.filter(|g| g.filter.is_complete()) {
            return Ok(Arc::clone(&known.filter));
        }
        let records = generation::records(Some(keyspace));
        let found = self
            .files
            .read_filter(number, FilterKind::Live, self.hash_seed, records)?;
        let filter = found.unwrap_or_else(|| Filter::new(records as usize, records == 0));
        Ok(Arc::new(filter))
    }
}

/// Whether no generation is missing but for the oldest, which are dropped: without a newer one, what it has overwritten
/// would come back. One that a crash kept from being told may be there beyond `next`.
fn are_all_there(mut generations: Vec<u64>, oldest: u64, next: u64) -> bool {
    generations.sort_unstable();
    generations.dedup();
    let follows = |pair: &[u64]| pair[0] + 1 == pair[1];
    generations.windows(2).all(follows)
        && generations.last().map_or(oldest, |newest| newest + 1) >= next
}

/// A number that nobody has had before.
pub(in crate::tier) fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish()
}
