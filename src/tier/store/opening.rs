//! The opening of a store: which generations are there, and which of them can be trusted.
//!
//! `tier.meta` says which were begun and not dropped. One of these that the database does not have, whatever the reason, is
//! damaged, and is quarantined. Only where the database cannot be opened at all, or `tier.meta` cannot be read, is the store
//! as a whole put aside.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use fjall::{Database, Keyspace};

use super::files::{Files, FilterKind, Meta};
use super::filter::Filter;
use super::generation::{self, Generation, Gone};
use super::{Recovery, Store, StoreError, StoreOptions, log_failure, repair};

/// The keyspaces of generations, by their numbers.
type Readable = BTreeMap<u64, Keyspace>;

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
        let database = repair::open_database(&files.database(), options)?;
        meta.openings = generation::begin_sequence(&database, meta.openings);
        keep_openings(files, &meta)?;
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
        let readable = self.find_readable(&database)?;
        let generations = self.find_generations(&database, readable, known)?;
        self.remove_other_filters(&generations)?;
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

    /// The keyspaces of generations that are in use.
    fn find_readable(&self, database: &Database) -> Result<Readable, StoreError> {
        let lost = self.files.filters_of(FilterKind::Lost)?;
        let oldest = self.meta.lock().oldest;
        let mut readable = Readable::new();
        for name in database.list_keyspace_names() {
            let Some(number) = generation::number(&name) else {
                continue;
            };
            let keyspace = database
                .keyspace(&name, generation::keyspace_options)
                .map_err(StoreError::Database)?;
            // A crash may come between the two steps of a quarantine, or of the end of the oldest.
            if number < oldest || lost.contains(&number) {
                database
                    .delete_keyspace(keyspace)
                    .map_err(StoreError::Database)?;
            } else {
                readable.insert(number, keyspace);
            }
        }
        Ok(readable)
    }

    /// All generations, the newest first: those that can be read, and for the others their filters, as far as they are
    /// known. One that was begun and is missing is damaged.
    fn find_generations(
        &self,
        database: &Database,
        mut readable: Readable,
        known: &[Arc<Generation>],
    ) -> Result<Vec<Arc<Generation>>, StoreError> {
        let (oldest, next, leaving) = {
            let meta = self.meta.lock();
            (meta.oldest, meta.next_generation, meta.leaving)
        };
        let gone = |number| match leaving {
            (leaving, before) if leaving == number => Gone::new(before),
            _ => Gone::default(),
        };
        // A crash may have kept the newest from being told.
        let newest = readable
            .last_key_value()
            .map_or(0, |(newest, _)| newest + 1);
        let mut generations = Vec::new();
        for number in (oldest..next.max(newest)).rev() {
            let keyspace = readable.remove(&number);
            let filter = match &keyspace {
                Some(keyspace) => Some(self.find_filter(number, keyspace, known)?),
                None => self.find_lost_filter(number, known)?,
            };
            let Some(filter) = filter else {
                self.drop_hidden(number, database, readable)?;
                break;
            };
            let generation = Generation {
                number,
                filter,
                keyspace,
                gone: Arc::new(gone(number)),
                usage: Arc::default(),
            };
            generation.measure();
            generations.push(Arc::new(generation));
        }
        Ok(generations)
    }

    /// The filter of a generation that cannot be read, which is quarantined if it was not before.
    fn find_lost_filter(
        &self,
        number: u64,
        known: &[Arc<Generation>],
    ) -> Result<Option<Arc<Filter>>, StoreError> {
        let read = |kind| self.files.read_filter(number, kind, self.hash_seed, 0);
        if let Some(filter) = read(FilterKind::Lost)? {
            return Ok(Some(Arc::new(filter)));
        }
        tracing::error!(
            generation = number,
            "a generation of the disk tier is damaged: it is quarantined, and its keys are lost"
        );
        self.counters.quarantined.fetch_add(1, Ordering::Relaxed);
        if let Some(filter) = read(FilterKind::Live)? {
            self.files.keep_lost_filter(number)?;
            return Ok(Some(Arc::new(filter)));
        }
        let Some(known) = known_filter(number, known) else {
            return Ok(None);
        };
        log_failure("keep the filter of a quarantined generation", || {
            self.write_filter(number, FilterKind::Lost, known.keys(), &known)
        });
        Ok(Some(known))
    }

    /// Drops what is older than a generation of which nothing is known: it may have been overwritten there, or deleted.
    fn drop_hidden(
        &self,
        number: u64,
        database: &Database,
        older: Readable,
    ) -> Result<(), StoreError> {
        // First, so that none is back after a crash.
        self.end(number)?;
        for (older, keyspace) in older {
            tracing::error!(
                generation = older,
                "a generation of the disk tier goes with its keys: which of them a damaged one has made stale is not known"
            );
            self.counters.quarantined.fetch_add(1, Ordering::Relaxed);
            database
                .delete_keyspace(keyspace)
                .map_err(StoreError::Database)?;
        }
        Ok(())
    }

    fn remove_other_filters(&self, generations: &[Arc<Generation>]) -> Result<(), StoreError> {
        for (kind, readable) in [(FilterKind::Live, true), (FilterKind::Lost, false)] {
            for number in self.files.filters_of(kind)? {
                let mut generations = generations.iter();
                if !generations.any(|g| g.number == number && g.is_readable() == readable) {
                    self.files.remove_filter(number, kind)?;
                }
            }
        }
        Ok(())
    }

    fn find_filter(
        &self,
        number: u64,
        keyspace: &fjall::Keyspace,
        known: &[Arc<Generation>],
    ) -> Result<Arc<Filter>, StoreError> {
        if let Some(known) = known_filter(number, known) {
            return Ok(known);
        }
        let records = generation::records(Some(keyspace));
        let found = self
            .files
            .read_filter(number, FilterKind::Live, self.hash_seed, records)?;
        let filter = found.unwrap_or_else(|| Filter::new(records as usize, records == 0));
        Ok(Arc::new(filter))
    }
}

/// On a full disk the store opens all the same: the number is written with the next generation that comes or goes.
fn keep_openings(files: &Files, meta: &Meta) -> Result<(), StoreError> {
    match files.write_meta(meta).map_err(StoreError::File) {
        Err(error) if error.is_poison() => {
            tracing::warn!(%error, "the disk tier could not count its opening");
            Ok(())
        }
        written => written,
    }
}

fn known_filter(number: u64, known: &[Arc<Generation>]) -> Option<Arc<Filter>> {
    let mut known = known.iter();
    let known = known.find(|g| g.number == number && g.filter.is_complete());
    known.map(|known| Arc::clone(&known.filter))
}

/// A number that nobody has had before.
pub(in crate::tier) fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish()
}
