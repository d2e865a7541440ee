//! The engine: all keys, the tier below them, the options in force, and the room that there is.
//!
//! It is what every thread that touches keys works with: the workers, maintenance, warming, and the threads of the tier.
//! It knows no client and no command. What memory those take it is told by [`Outside`].
//!
//! Invariant: nothing here, in [`crate::keyspace`] or in [`crate::tier`] knows the server, the network or a command.

pub mod easing;
pub mod encoding_limits;
pub mod overdraft;
pub mod overload;
pub mod pacing;
mod room;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use self::easing::Easing;
use self::overdraft::Overdraft;
use self::overload::Overload;
use self::pacing::Pacing;
use crate::config::{Config, Live, TierDurability};
use crate::keyspace::{Keyspace, ThreadSlot};
use crate::tier::Tier;
use crate::tier::store::StoreError;

/// Threads that touch keys besides the workers and those of the tier: maintenance, warming and scripts.
const OWN_THREADS: usize = 3;

/// Tells how many bytes are in use that are neither keys nor the tier's: clients, statistics.
pub type Outside = Box<dyn Fn() -> usize + Send + Sync>;

/// Keys, tiers, options and room. Thread slots 0 to `workers - 1` are the workers', then come
/// [`Engine::maintenance_slot`], [`Engine::warming_slot`], [`Engine::scripts_slot`] and those of the tier.
pub struct Engine {
    /// The options in force.
    pub config: Arc<Live>,
    /// All keys.
    pub keyspace: Keyspace,
    /// What lies below memory, if anything.
    pub tier: Option<Tier>,
    /// Limits of memory that were lowered and come down.
    pub easing: Easing,
    /// Whether a command may exceed the limits of memory.
    pub overdraft: Overdraft,
    /// Whether the disk takes less than clients write.
    pub overload: Overload,
    /// Writes take turns where the disk takes less than clients write.
    pub pacing: Pacing,
    /// The number of worker threads.
    pub workers: usize,
    /// Resident memory beyond what a tier may cost; see [`Engine::steer_memory`].
    excess_bytes: AtomicUsize,
    outside: Outside,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("keyspace", &self.keyspace)
            .field("tier", &self.tier)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine with the keys that its tier has.
    ///
    /// # Errors
    /// The tier cannot be opened.
    pub fn open(config: Config, outside: Outside) -> Result<Self, StoreError> {
        let workers = config.worker_thread_count();
        let (keyspace, tier) = Tier::open(&config, workers + OWN_THREADS)?;
        keyspace.set_policies(&config.tier_policy);
        Ok(Self {
            config: Arc::new(Live::new(config)),
            keyspace,
            tier,
            easing: Easing::default(),
            overdraft: Overdraft::default(),
            overload: Overload::default(),
            pacing: Pacing::default(),
            workers,
            excess_bytes: AtomicUsize::new(0),
            outside,
        })
    }

    /// How many threads there are besides those of the tier.
    pub fn own_threads(config: &Config) -> usize {
        config.worker_thread_count() + OWN_THREADS
    }

    /// Whether a reply must wait until what it tells of is durable.
    pub fn is_durable_always(&self) -> bool {
        self.tier.is_some() && self.config.load().tier_durability == TierDurability::Always
    }

    /// The slot of the maintenance thread.
    pub fn maintenance_slot(&self) -> ThreadSlot {
        ThreadSlot(self.workers)
    }

    /// The slot of the thread that warms the cache.
    pub fn warming_slot(&self) -> ThreadSlot {
        ThreadSlot(self.workers + 1)
    }

    /// The slot of the thread that runs scripts.
    pub fn scripts_slot(&self) -> ThreadSlot {
        ThreadSlot(self.workers + 2)
    }

    /// The slot of a thread of the tier.
    pub fn tier_slot(&self, index: usize) -> ThreadSlot {
        ThreadSlot(self.workers + OWN_THREADS + index)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).expect("a folder of the sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push(path);
            }
        }
    }

    fn is_of_tests(file: &Path) -> bool {
        file.ends_with("tests.rs") || file.components().any(|part| part.as_os_str() == "tests")
    }

    /// The parts of the program that the code of a folder, or of a file, names. Its tests may name others.
    fn names(part: &str) -> Vec<(PathBuf, String)> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut files = Vec::new();
        if root.join(part).is_dir() {
            sources(&root.join(part), &mut files);
        }
        files.extend(Some(root.join(format!("{part}.rs"))).filter(|file| file.is_file()));
        assert!(!files.is_empty(), "{part}");
        let mut named = Vec::new();
        for file in files.into_iter().filter(|file| !is_of_tests(file)) {
            let text = fs::read_to_string(&file).expect("a source");
            let code = text
                .split("#[cfg(test)]\nmod tests")
                .next()
                .unwrap_or_default();
            for (at, _) in code.match_indices("crate::") {
                let rest = &code[at + "crate::".len()..];
                let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '_');
                named.push((file.clone(), rest[..end.unwrap_or(rest.len())].to_owned()));
            }
        }
        named
    }

    #[test]
    fn what_lies_below_imports_nothing_from_above() {
        const ABOVE: [&str; 4] = ["server", "net", "command", "dispatch"];
        let forbidden: [(&str, &[&str]); 7] = [
            ("engine", &ABOVE),
            ("server", &["net", "dispatch"]),
            ("tier", &ABOVE),
            (
                "keyspace",
                &["server", "net", "command", "dispatch", "tier", "engine"],
            ),
            (
                "value",
                &[
                    "server", "net", "command", "dispatch", "tier", "engine", "keyspace", "config",
                ],
            ),
            (
                "resp",
                &[
                    "server", "net", "command", "dispatch", "tier", "engine", "keyspace",
                ],
            ),
            (
                "config",
                &[
                    "server", "net", "command", "dispatch", "tier", "engine", "keyspace",
                ],
            ),
        ];
        for (part, above) in forbidden {
            for (file, named) in names(part) {
                assert!(
                    !above.contains(&&*named),
                    "{} names {named}",
                    file.display()
                );
            }
        }
    }
}
