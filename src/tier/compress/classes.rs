//! The classes of values: which class a key belongs to, and what each class has learnt.
//!
//! A class is named by the beginning of its keys: `user:17` is of class `user`; `app:user:17` of `app:user`, for its second
//! part is a word and not a number or an id. Keys without `:` are of the default class, whose name is empty. It comes first,
//! is always there, and takes all that has no class of its own.
//!
//! Invariant: there are at most [`MAX_CLASSES`], whatever the keys are.
//! Invariant: all samples together take at most [`Tuning::all_samples_bytes`].

use crate::random::Random;
use std::collections::HashMap;
use std::sync::Arc;

use super::dictionaries::Dictionary;
use super::training::{Samples, ratio_permille};

/// Classes that live at once, with the default class.
pub(super) const MAX_CLASSES: usize = 65;
/// The longest name of a class, in bytes.
const NAME_MAX: usize = 64;
/// Classes `app:word` that one `app` may have. More of them are names of users rather than of kinds.
const MAX_CHILDREN: u8 = 8;
/// After so many values, classes that had fewer than [`BUSY_VALUES`] of them make room for new ones.
const SWEEP_VALUES: u64 = 1 << 16;
const BUSY_VALUES: u64 = 64;
/// Failures in a row after which values of a class go untried.
const PATIENCE: u32 = 4;
/// At most so many values (as a power of two) go untried between two that are tried.
const MAX_SKIP_LOG2: u32 = 7;
/// At most so many windows (as a power of two) pass until a class is sampled again.
const MAX_REST_LOG2: u32 = 6;
/// The slot of the default class.
const DEFAULT: usize = 0;

/// What the learning is steered by. Tests make it smaller.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tuning {
    /// One value in so many is a sample. Values stored in one go resemble each other too much.
    pub(super) sample_one_in: u32,
    /// Samples that are enough to train with.
    pub(super) samples: usize,
    /// So many are enough when they are long.
    pub(super) samples_min: usize,
    /// Long means that they come to this.
    pub(super) samples_bytes: usize,
    /// The beginning of a value that is taken as a sample, in bytes.
    pub(super) sample_max_bytes: usize,
    /// Memory for the samples of all classes.
    pub(super) all_samples_bytes: usize,
    /// Values after which the ratio of a class is looked at.
    pub(super) window_values: u64,
    /// A class learns again when its ratio falls below so much of what it was, in percent.
    pub(super) drift_percent: u32,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            sample_one_in: 4,
            samples: 1000,
            samples_min: 100,
            samples_bytes: 512 << 10,
            sample_max_bytes: 8 << 10,
            all_samples_bytes: 4 << 20,
            window_values: 10_000,
            drift_percent: 85,
        }
    }
}

/// The figures of a class, for TIER.STATS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassStats {
    /// The beginning of its keys; empty for the default class.
    pub name: Box<[u8]>,
    /// Values encoded.
    pub values: u64,
    /// What they were, in bytes.
    pub raw_bytes: u64,
    /// What they became with their headers, in bytes.
    pub stored_bytes: u64,
    /// The dictionary that new values are encoded with.
    pub dictionary: Option<u32>,
    /// Trainings begun, whether or not they gained anything.
    pub trainings: u64,
}

/// All classes.
pub(super) struct Classes {
    slots: HashMap<Box<[u8]>, usize, foldhash::fast::RandomState>,
    classes: Vec<Class>,
    values: u64,
    swept_at: u64,
    random: Random,
    pub(super) tuning: Tuning,
}

/// One class.
pub(super) struct Class {
    pub(super) stats: ClassStats,
    pub(super) dictionary: Option<Arc<Dictionary>>,
    children: u8,
    values_at_sweep: u64,
    pub(super) tries: Tries,
    /// The same of those in a hurry.
    pub(super) hurried_tries: Tries,
    learning: Learning,
    /// Trainings in a row that gave nothing.
    refusals: u32,
    samples: Samples,
    window: Window,
    /// The ratio below which something must have changed.
    expected_permille: u32,
}

/// Where a class is in learning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Learning {
    /// It gathers samples.
    Sampling,
    /// It has enough of them, or they are being trained with.
    Training,
    /// It has a dictionary, and its ratio is watched.
    Settled,
    /// No dictionary gained enough, and it tries again after so many windows.
    Resting { windows: u32 },
}

/// Bytes of the values since the ratio was last looked at.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    values: u64,
    raw_bytes: u64,
    stored_bytes: u64,
}

impl Classes {
    pub(super) fn new(tuning: Tuning, default_dictionary: Option<Arc<Dictionary>>) -> Self {
        Self {
            slots: HashMap::default(),
            classes: vec![Class::new(&[], default_dictionary)],
            values: 0,
            swept_at: 0,
            random: Random::default(),
            tuning,
        }
    }

    /// The slot of a key's class, which is made if there is room. `known` finds the dictionary that a new class starts with.
    pub(super) fn slot_of(
        &mut self,
        key: &[u8],
        known: impl Fn(&[u8]) -> Option<Arc<Dictionary>>,
    ) -> usize {
        self.values += 1;
        let Some((parent, child)) = names(key) else {
            return DEFAULT;
        };
        if let Some(&slot) = child.and_then(|name| self.slots.get(name)) {
            return slot;
        }
        let slot = match self.slots.get(parent) {
            Some(&slot) => slot,
            None => match self.admit(parent, &known) {
                Some(slot) => slot,
                None => return DEFAULT,
            },
        };
        let Some(child) = child.filter(|_| self.classes[slot].children < MAX_CHILDREN) else {
            return slot;
        };
        // Making room for it may have taken the parent away.
        self.admit(child, &known)
            .or_else(|| self.slots.get(parent).copied())
            .unwrap_or(DEFAULT)
    }

    pub(super) fn class(&mut self, slot: usize) -> &mut Class {
        &mut self.classes[slot]
    }

    pub(super) fn by_name(&mut self, name: &[u8]) -> Option<&mut Class> {
        let slot = if name.is_empty() {
            DEFAULT
        } else {
            *self.slots.get(name)?
        };
        self.classes.get_mut(slot)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Class> {
        self.classes.iter()
    }

    /// Takes a sample now and then, while the class gathers them. True if the class has enough.
    pub(super) fn sample(&mut self, slot: usize, value: &[u8]) -> bool {
        let tuning = self.tuning;
        match self.classes[slot].learning {
            Learning::Training => return true,
            Learning::Sampling => {}
            Learning::Settled | Learning::Resting { .. } => return false,
        }
        if !self.random.one_in(tuning.sample_one_in.into()) {
            return false;
        }
        let sample = &value[..value.len().min(tuning.sample_max_bytes)];
        let has_room = self.make_room_for_samples(slot, sample.len());
        let class = &mut self.classes[slot];
        if has_room {
            class.samples.push(sample);
        }
        let (count, bytes) = (class.samples.count(), class.samples.bytes());
        let is_much = !has_room || bytes >= tuning.samples_bytes;
        let is_enough = count >= tuning.samples || (count >= tuning.samples_min && is_much);
        if is_enough {
            class.learning = Learning::Training;
        }
        is_enough
    }

    /// The memory of all samples, in bytes.
    pub(super) fn samples_bytes(&self) -> usize {
        self.classes.iter().map(|class| class.samples.bytes()).sum()
    }

    /// Of the other classes the one with the fewest samples loses them: those with more get done, and one that has gone
    /// quiet cannot keep the room from this one. False where this one has all the room.
    fn make_room_for_samples(&mut self, slot: usize, bytes: usize) -> bool {
        while self.samples_bytes() + bytes > self.tuning.all_samples_bytes {
            let others = self
                .classes
                .iter_mut()
                .enumerate()
                .filter(|(other, _)| *other != slot);
            let holders = others
                .map(|(_, class)| class)
                .filter(|class| class.samples.count() > 0);
            let Some(slowest) = holders.min_by_key(|class| class.samples.count()) else {
                return false;
            };
            slowest.samples = Samples::default();
            slowest.learning = Learning::Sampling;
        }
        true
    }

    fn admit(
        &mut self,
        name: &[u8],
        known: impl Fn(&[u8]) -> Option<Arc<Dictionary>>,
    ) -> Option<usize> {
        if self.classes.len() >= MAX_CLASSES && self.values - self.swept_at >= SWEEP_VALUES {
            self.sweep();
        }
        if self.classes.len() >= MAX_CLASSES {
            return None;
        }
        let slot = self.classes.len();
        self.classes.push(Class::new(name, known(name)));
        self.slots.insert(name.into(), slot);
        self.count_children();
        Some(slot)
    }

    /// Drops the classes that had few values since the last sweep. Their dictionaries stay for reading.
    fn sweep(&mut self) {
        self.swept_at = self.values;
        let mut index = 0;
        self.classes.retain_mut(|class| {
            let recent = class.stats.values - class.values_at_sweep;
            class.values_at_sweep = class.stats.values;
            index += 1;
            index == 1 || class.children > 0 || recent >= BUSY_VALUES
        });
        self.slots.clear();
        for (slot, class) in self.classes.iter_mut().enumerate().skip(1) {
            self.slots.insert(class.stats.name.clone(), slot);
        }
    }

    fn count_children(&mut self) {
        let parents: Vec<usize> = self
            .classes
            .iter()
            .filter_map(|class| self.slots.get(parent_of(&class.stats.name)?).copied())
            .collect();
        for class in &mut self.classes {
            class.children = 0;
        }
        for slot in parents {
            self.classes[slot].children += 1;
        }
    }
}

/// Whether values of a class are worth trying, after what came of those before.
#[derive(Debug, Default)]
pub(super) struct Tries {
    failures: u32,
    skip: u32,
}

impl Tries {
    /// Whether the next one is.
    pub(super) fn is_due(&mut self) -> bool {
        let is_due = self.skip == 0;
        self.skip = self.skip.saturating_sub(1);
        is_due
    }

    /// Notes whether one that was tried became smaller. After some failures in a row one value goes untried, then two, four, and
    /// so on.
    pub(super) fn note(&mut self, paid: bool) {
        if paid {
            self.failures = 0;
            return;
        }
        self.failures += 1;
        if let Some(log2) = self.failures.checked_sub(PATIENCE) {
            self.skip = 1 << log2.min(MAX_SKIP_LOG2);
        }
    }
}

impl Class {
    fn new(name: &[u8], dictionary: Option<Arc<Dictionary>>) -> Self {
        let known = dictionary.as_deref();
        Self {
            stats: ClassStats {
                name: name.into(),
                values: 0,
                raw_bytes: 0,
                stored_bytes: 0,
                dictionary: known.map(Dictionary::id),
                trainings: 0,
            },
            expected_permille: known.map_or(0, Dictionary::ratio_permille),
            learning: if known.is_some() {
                Learning::Settled
            } else {
                Learning::Sampling
            },
            dictionary,
            refusals: 0,
            children: 0,
            values_at_sweep: 0,
            tries: Tries::default(),
            hurried_tries: Tries::default(),
            samples: Samples::default(),
            window: Window::default(),
        }
    }

    /// Counts a value, whose ratio tells nothing.
    pub(super) fn stored_in_a_hurry(&mut self, raw: usize, stored: usize) {
        self.stats.values += 1;
        self.stats.raw_bytes += raw as u64;
        self.stats.stored_bytes += stored as u64;
    }

    /// Counts a value; at the end of a window decides whether to learn again.
    pub(super) fn stored(&mut self, raw: usize, stored: usize, tuning: &Tuning) {
        self.stored_in_a_hurry(raw, stored);
        let (raw, stored) = (raw as u64, stored as u64);
        self.window.values += 1;
        self.window.raw_bytes += raw;
        self.window.stored_bytes += stored;
        if self.window.values >= tuning.window_values {
            self.close_window(tuning.drift_percent);
        }
    }

    /// The samples to train with.
    pub(super) fn take_samples(&mut self) -> Samples {
        self.stats.trainings += 1;
        std::mem::take(&mut self.samples)
    }

    /// A training gave a dictionary.
    pub(super) fn accept(&mut self, dictionary: Arc<Dictionary>) {
        self.stats.dictionary = Some(dictionary.id());
        self.expected_permille = dictionary.ratio_permille();
        self.dictionary = Some(dictionary);
        self.learning = Learning::Settled;
        self.window = Window::default();
        (self.tries, self.refusals) = (Tries::default(), 0);
    }

    /// A training gave nothing: what there is stays. Without a dictionary the next try waits longer each time.
    pub(super) fn refuse(&mut self) {
        if self.dictionary.is_some() {
            self.learning = Learning::Settled;
            self.window = Window::default();
            return;
        }
        let windows = 1 << self.refusals.min(MAX_REST_LOG2);
        self.refusals += 1;
        self.learning = Learning::Resting { windows };
    }

    fn close_window(&mut self, drift_percent: u32) {
        let Window {
            raw_bytes,
            stored_bytes,
            ..
        } = std::mem::take(&mut self.window);
        let permille = ratio_permille(raw_bytes, stored_bytes);
        match &mut self.learning {
            Learning::Settled => {
                let least = u64::from(self.expected_permille) * u64::from(drift_percent) / 100;
                if u64::from(permille) < least {
                    // If learning again gains nothing, this is what to expect from now on.
                    self.expected_permille = permille;
                    self.learning = Learning::Sampling;
                }
            }
            Learning::Resting { windows } if *windows > 1 => *windows -= 1,
            Learning::Resting { .. } => self.learning = Learning::Sampling,
            Learning::Sampling | Learning::Training => {}
        }
    }
}

/// The name of a key's class, and the longer one if its second part is a word.
fn names(key: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let head = &key[..key.len().min(NAME_MAX + 1)];
    let first = memchr::memchr(b':', head).filter(|&end| end > 0)?;
    let second = memchr::memchr(b':', &head[first + 1..]).map(|len| first + 1 + len);
    let child = second.filter(|&end| is_word(&key[first + 1..end]));
    Some((&key[..first], child.map(|end| &key[..end])))
}

fn is_word(part: &[u8]) -> bool {
    !part.is_empty()
        && part
            .iter()
            .all(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'-'))
}

fn parent_of(name: &[u8]) -> Option<&[u8]> {
    memchr::memchr(b':', name).map(|end| &name[..end])
}
