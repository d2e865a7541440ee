//! The opening of a store: which generations are there, and which of them can be trusted.
//!
//! `tier.meta` says which were begun and not dropped. One of these that cannot be read, whatever the reason, is damaged, and is
//! quarantined. Only where `tier.meta` cannot be read, or nothing can be made in the directory, is the store as a whole put
//! aside.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::files::{Files, FilterKind, Meta};
use super::filter::Filter;
use super::generation::{Generation, Gone};
use super::tree::{Tree, TreeError, Trees};
use super::{Recovery, Store, StoreError, log_failure, regular, repair};

/// The trees of generations, by their numbers.
type Readable = BTreeMap<u64, Tree>;

/// A directory that can be used, its meta file, and what keeps others out.
pub(super) struct Opened {
    pub(super) lock: File,
    pub(super) meta: Meta,
}

impl Opened {
    /// A damaged store is put aside. The new one that takes its place has the `meta` that the old one had, if that is known
    /// to the running server.
    pub(super) fn open_or_put_aside(
        files: &Files,
        meta: Option<&Meta>,
    ) -> Result<(Self, Recovery), StoreError> {
        if !files.is_used() {
            return Ok((Self::create(files, meta)?, Recovery::New));
        }
        let clean = files.was_closed();
        match Self::open(files) {
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
                let to = files.put_aside(crate::clock::now().as_secs(), meta.is_some())?;
                tracing::error!(%error, to = %to.display(), "the disk tier is damaged: it is put aside, and a new one begun");
                Ok((Self::create(files, meta)?, Recovery::PutAside(to)))
            }
            Err(error) => Err(error),
        }
    }

    fn open(files: &Files) -> Result<Self, StoreError> {
        files.create_dirs()?;
        let lock = files.lock()?.ok_or(StoreError::Busy)?;
        // Without the seed no key can be found again.
        let meta = files
            .read_meta()?
            .ok_or(StoreError::Tree(TreeError::unrecoverable()))?;
        Ok(Self { lock, meta })
    }

    fn create(files: &Files, meta: Option<&Meta>) -> Result<Self, StoreError> {
        files.create_dirs()?;
        let lock = files.lock()?.ok_or(StoreError::Busy)?;
        let mut meta = meta.cloned().unwrap_or_else(|| Meta {
            hash_seed: random(),
            next_generation: 0,
            oldest: 0,
            leaving: (0, 0),
            begun: Vec::new(),
            blob: Vec::new(),
        });
        (meta.next_generation, meta.oldest) = (0, 0);
        meta.leaving = (0, 0);
        files.write_meta(&meta)?;
        Ok(Self { lock, meta })
    }
}

impl Store {
    /// Takes the trees into use: finds the generations and their filters, which may be `known` from before a reopen.
    pub(super) fn install(
        self: &Arc<Self>,
        trees: Trees,
        known: &[Arc<Generation>],
    ) -> Result<(), StoreError> {
        let readable = self.find_readable(&trees)?;
        let generations = self.find_generations(readable, known)?;
        log_failure("remove old filters", || {
            self.remove_other_filters(&generations)
        });
        let missing: Vec<_> = generations
            .iter()
            .filter(|g| g.is_readable() && !g.filter.is_complete())
            .cloned()
            .collect();
        let mut slot = self.trees.lock();
        self.set_list(generations);
        *slot = Some(trees);
        drop(slot);
        self.measure_others();
        for generation in missing {
            self.rebuild_in_place(generation);
        }
        Ok(())
    }

    /// The trees of generations that are in use. What cannot be read is taken away.
    fn find_readable(&self, trees: &Trees) -> Result<Readable, StoreError> {
        let lost = self.files.filters_of(FilterKind::Lost)?;
        let (oldest, next) = {
            let meta = self.meta.lock();
            (meta.oldest, meta.next_generation)
        };
        let dir = self.files.generations();
        let mut readable = Readable::new();
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let number = name.and_then(|name| u64::from_str_radix(name, 16).ok());
            let number = number.filter(|number| self.files.generation(*number) == path);
            let is_dir = path.symlink_metadata()?.is_dir();
            let Some(number) = number.filter(|_| is_dir) else {
                regular::move_into(self.files.dir(), &path)?;
                continue;
            };
            // A crash may come between the two steps of a quarantine, or of the end of the oldest.
            let is_over = number < oldest || lost.contains(&number);
            let found = match is_over {
                true => repair::Opened::Damaged,
                false => repair::open_tree(trees, &path, self.files.dir())?,
            };
            let is_damaged = match found {
                repair::Opened::Whole(tree) => {
                    readable.insert(number, tree);
                    continue;
                }
                repair::Opened::Damaged => true,
                repair::Opened::Unreadable => false,
            };
            if number >= next {
                tracing::info!("A crash has left a generation that was never used");
            }
            log_failure("take away what cannot be used", || {
                Ok(repair::take_away(&path, is_damaged, self.files.dir())?)
            });
        }
        Ok(readable)
    }

    /// All generations, the newest first: those that can be read, and for the others their filters, as far as they are
    /// known. One that was begun and is missing is damaged.
    fn find_generations(
        &self,
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
            let tree = readable.remove(&number);
            let filter = match &tree {
                Some(tree) => Some(self.find_filter(number, tree, known)?),
                None => self.find_lost_filter(number, known)?,
            };
            let Some(filter) = filter else {
                self.drop_hidden(number, readable);
                break;
            };
            let generation = Generation {
                number,
                filter,
                tree,
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
            log_failure("keep the filter of a quarantined generation", || {
                Ok(self.files.keep_lost_filter(number)?)
            });
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
    fn drop_hidden(&self, number: u64, older: Readable) {
        // The newest first: what a crash leaves of them is found in the same way.
        for (older, tree) in older.into_iter().rev() {
            tracing::error!(
                generation = older,
                "a generation of the disk tier goes with its keys: which of them a damaged one has made stale is not known"
            );
            self.counters.quarantined.fetch_add(1, Ordering::Relaxed);
            tree.remove();
        }
        // On a full disk there may be room now.
        log_failure("note the end of generations", || self.end(number));
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
        tree: &Tree,
        known: &[Arc<Generation>],
    ) -> Result<Arc<Filter>, StoreError> {
        if let Some(known) = known_filter(number, known) {
            return Ok(known);
        }
        let records = tree.records();
        let found = self
            .files
            .read_filter(number, FilterKind::Live, self.hash_seed, records)?;
        let filter = found.unwrap_or_else(|| {
            if records > 0 {
                tracing::info!(
                    generation = number,
                    "a filter of the disk tier is made again"
                );
            }
            Filter::new(records as usize, records == 0)
        });
        Ok(Arc::new(filter))
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
