//! Filters made again from the keys of a generation, in the background: after a crash, and when a sealed generation's
//! filter has too many parts. Meanwhile the old filter serves, or an incomplete one that says "maybe".

use std::sync::Arc;

use super::files::FilterKind;
use super::filter::Filter;
use super::generation::Generation;
use super::{Store, StoreError, log_failure};

impl Store {
    /// Completes the filter of a generation. Runs may enter the generation meanwhile: they add their own keys.
    pub(super) fn rebuild_in_place(self: &Arc<Self>, generation: Arc<Generation>) {
        let store = Arc::clone(self);
        log_failure("start to rebuild a filter", || {
            self.background.start("tier-filter", move || {
                log_failure("rebuild a filter", || store.complete(&generation));
            })
        });
    }

    /// Gives a sealed generation a filter in one part.
    pub(super) fn rebuild_anew(self: &Arc<Self>, generation: Arc<Generation>) {
        let store = Arc::clone(self);
        log_failure("start to rebuild a filter", || {
            self.background.start("tier-filter", move || {
                log_failure("rebuild a filter", || {
                    let anew = Generation {
                        filter: Arc::new(Filter::new(generation.records() as usize, false)),
                        ..(*generation).clone()
                    };
                    store.complete(&anew)
                });
            })
        });
    }

    fn complete(&self, generation: &Generation) -> Result<(), StoreError> {
        let Some(tree) = &generation.tree else {
            return Ok(());
        };
        let failed = |source| generation.read_error(source);
        let mut keys = tree.range(&self.snapshot()?, &[]).map_err(failed)?;
        while let Some(key) = keys.next_key() {
            if self.background.is_stopping() {
                return Ok(());
            }
            let key = key.map_err(failed)?;
            generation.filter.add(self.hash_of(&key), || 0);
        }
        generation.filter.set_complete();
        let filter = Arc::clone(&generation.filter);
        self.keep_filter_if_sealed(generation.number, filter)
    }

    /// Takes a complete filter into use and writes its file, unless the generation takes runs or is gone.
    pub(super) fn keep_filter_if_sealed(
        &self,
        number: u64,
        filter: Arc<Filter>,
    ) -> Result<(), StoreError> {
        // Also keeps two of these from writing one file.
        let _changing = self.trees.lock();
        let list = self.list.load_full();
        let mut generations = list.generations.clone();
        let sealed = generations.iter_mut().skip(1);
        let Some(generation) = sealed
            .into_iter()
            .find(|g| g.number == number && g.is_readable())
        else {
            return Ok(());
        };
        self.write_filter(number, FilterKind::Live, generation.records(), &filter)?;
        *generation = Arc::new(Generation {
            filter,
            ..(**generation).clone()
        });
        self.set_list(generations);
        Ok(())
    }
}
