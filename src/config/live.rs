//! The snapshot that all threads share.
//!
//! A change swaps the whole snapshot, then bumps a generation. A hot path keeps a [`Reader`], which looks at the
//! generation alone (one load of a line that hardly ever changes) and fetches the snapshot only after a change.
//!
//! Why the generation is loaded with `Acquire` and not relaxed: it pairs with the `Release` of the bump, so whoever sees
//! the new number also sees the new snapshot. Relaxed, a reader could note the new number with the old snapshot and stay
//! with it for ever. On x86 both are a plain load.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::Config;

/// The options in force.
#[derive(Debug)]
pub struct Live {
    current: ArcSwap<Config>,
    generation: AtomicU64,
    /// Held while a change is made, so that two changes do not undo each other.
    changing: Mutex<()>,
}

impl Live {
    /// Starts with `config`, at generation 0.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            current: ArcSwap::from_pointee(config),
            generation: AtomicU64::new(0),
            changing: Mutex::new(()),
        }
    }

    /// The snapshot in force.
    #[must_use]
    pub fn load(&self) -> Arc<Config> {
        self.current.load_full()
    }

    /// A number that grows with each change.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Replaces the snapshot by what `change` makes of it, or leaves it when that fails. `change` may act (bind a port);
    /// changes are made one after another.
    pub fn update<E>(
        &self,
        change: impl FnOnce(&Config) -> Result<Config, E>,
    ) -> Result<Arc<Config>, E> {
        let _one_at_a_time = self.changing.lock();
        let changed = Arc::new(change(&self.current.load())?);
        self.current.store(Arc::clone(&changed));
        self.generation.fetch_add(1, Ordering::Release);
        Ok(changed)
    }

    /// CONFIG SET: see [`super::set`]. `act` carries out what was set, in the order of the changes; it is given what was in force
    /// and what shall be, and where it fails all stays as it was.
    pub fn set(
        &self,
        pairs: &[(&[u8], &[u8])],
        act: impl FnOnce(&Config, &Config) -> Result<(), super::SetError>,
    ) -> Result<Arc<Config>, super::SetError> {
        self.update(|config| {
            let changed = super::set(config, pairs)?;
            act(config, &changed)?;
            Ok(changed)
        })
    }
}

/// One thread's copy of the snapshot.
#[derive(Debug)]
pub struct Reader {
    live: Arc<Live>,
    generation: u64,
    config: Arc<Config>,
}

impl Reader {
    /// A reader of `live`.
    #[must_use]
    pub fn new(live: Arc<Live>) -> Self {
        // The number first: a change in between is then seen at the next call.
        let generation = live.generation();
        let config = live.load();
        Self {
            live,
            generation,
            config,
        }
    }

    /// The snapshot in force; one load when nothing changed.
    #[inline]
    pub fn current(&mut self) -> &Config {
        let generation = self.live.generation();
        if generation != self.generation {
            self.follow(generation);
        }
        &self.config
    }

    /// The snapshot that the last look found.
    #[inline]
    #[must_use]
    pub fn kept(&self) -> &Config {
        &self.config
    }

    /// Its number.
    #[inline]
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Apart from the look, which every request takes several times: alone it is small enough to stand where it is needed.
    #[cold]
    #[inline(never)]
    fn follow(&mut self, generation: u64) {
        self.generation = generation;
        self.config = self.live.load();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen_by_readers_and_a_refused_one_is_not() {
        let live = Arc::new(Live::new(Config::default()));
        let mut reader = Reader::new(Arc::clone(&live));
        assert_eq!(reader.current().timeout_s, 0);

        live.set(&[(b"timeout", b"7")], |_, _| Ok(())).unwrap();
        assert_eq!((live.generation(), reader.current().timeout_s), (1, 7));

        assert!(
            live.set(&[(b"timeout", b"8"), (b"maxclients", b"x")], |_, _| Ok(()))
                .is_err()
        );
        let refused = |before: &Config, changed: &Config| {
            assert_eq!((before.timeout_s, changed.timeout_s), (7, 8));
            Err(crate::config::SetError::refused("timeout", "no"))
        };
        assert!(live.set(&[(b"timeout", b"8")], refused).is_err());
        assert_eq!((live.generation(), reader.current().timeout_s), (1, 7));
    }

    #[test]
    fn changes_from_many_threads_are_all_kept() {
        let live = Arc::new(Live::new(Config::default()));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let added = live.update(|config| {
                            let mut changed = config.clone();
                            changed.max_entries += 1;
                            Ok::<_, ()>(changed)
                        });
                        added.unwrap();
                    }
                });
            }
        });
        assert_eq!((live.load().max_entries, live.generation()), (200, 200));
    }
}
