//! Makes a dictionary from the samples of a class, on a thread of its own: it takes up to half a second.
//!
//! Invariant: a dictionary is kept only if values it has not seen become at least a tenth smaller than without it.

use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;

use zstd::dict::EncoderDictionary;

use super::dictionaries::{Dictionaries, Dictionary};
use super::encoder::{self, Encoder};
use crate::allocator;
use crate::threads::{self, Part};

/// What a training takes meanwhile, about: the library's tables of four megabytes, most of them twice, and two encoders.
pub(super) const TRAINING_BYTES: usize = 16 << 20;
/// One sample in five is not trained with, but judges the result.
const HELD_OUT_ONE_IN: usize = 5;
/// Small dictionaries stay in the processor's cache, and for most classes larger ones gain nothing.
const SMALL: Size = Size {
    bytes: 4 << 10..=16 << 10,
    sample_bytes_for_one: 16,
};
/// Texts of many words need a larger one.
const LARGE: Size = Size {
    bytes: 32 << 10..=64 << 10,
    sample_bytes_for_one: 8,
};
/// A large dictionary must make stored values so much smaller than a small one, in percent of their new size: it takes more
/// memory, 27 KB beside itself for each that decodes and half a megabyte for the one that encodes.
const LARGE_GAIN_PERCENT: u64 = 105;
/// A dictionary must make stored values so much smaller, in percent of their new size.
const GAIN_PERCENT: u64 = 110;
/// The header of a stored value with a dictionary.
const HEADER_BYTES: u64 = 2;
/// Where zstd puts its own id of a dictionary, and how a dictionary begins.
const ZSTD_ID: std::ops::Range<usize> = 4..8;
const ZSTD_DICTIONARY_MAGIC: [u8; 4] = [0x37, 0xa4, 0x30, 0xec];
/// Below the threads that serve.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// How large a dictionary is made.
struct Size {
    bytes: RangeInclusive<usize>,
    /// Bytes of samples that a byte of dictionary asks for.
    sample_bytes_for_one: usize,
}

impl Size {
    /// From so many bytes of samples.
    fn of(&self, sample_bytes: usize) -> usize {
        (sample_bytes / self.sample_bytes_for_one).clamp(*self.bytes.start(), *self.bytes.end())
    }
}

/// Values of one class, one behind the other.
#[derive(Default)]
pub(super) struct Samples {
    bytes: Vec<u8>,
    lens: Vec<usize>,
}

impl Samples {
    pub(super) fn push(&mut self, sample: &[u8]) {
        self.bytes.extend_from_slice(sample);
        self.lens.push(sample.len());
    }

    pub(super) fn count(&self) -> usize {
        self.lens.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.bytes[..];
        self.lens.iter().map(move |&len| {
            let (sample, behind) = rest.split_at(len);
            rest = behind;
            sample
        })
    }
}

/// What came of a training.
pub(super) enum Outcome {
    /// A new dictionary, saved, and prepared.
    Accepted(Arc<Dictionary>, EncoderDictionary<'static>),
    /// A dictionary would not gain enough.
    Refused,
    /// It could not be saved, or not be made.
    Failed(io::Error),
}

/// A training under way.
pub(super) struct Training {
    pub(super) class: Box<[u8]>,
    thread: JoinHandle<()>,
    outcome: Arc<Mutex<Option<Outcome>>>,
    is_wanted: Wanted,
}

/// Whether anybody waits for the dictionary. Held while it is saved.
type Wanted = Arc<Mutex<bool>>;

impl Training {
    /// Starts the thread. `current` is the dictionary that the class has now.
    pub(super) fn start(
        class: Box<[u8]>,
        samples: Samples,
        current: Option<Arc<Dictionary>>,
        dictionaries: Arc<Dictionaries>,
    ) -> io::Result<Self> {
        let name = class.clone();
        let outcome = Arc::new(Mutex::new(None));
        let told = Arc::clone(&outcome);
        let is_wanted = Wanted::new(Mutex::new(true));
        let wanted = Arc::clone(&is_wanted);
        let thread = threads::spawn("tier-dictionary", Part::TierBackground, move || {
            let trained = run(&name, &samples, current.as_deref(), &dictionaries, &wanted);
            *told.lock() = Some(trained);
            allocator::purge_of_thread();
        })?;
        Ok(Self {
            class,
            thread,
            outcome,
            is_wanted,
        })
    }

    /// Nobody waits for it, and nothing comes of it any more: the library cannot be interrupted, so the thread ends when it is
    /// done, or with the process. A dictionary that is being saved is saved.
    pub(super) fn abandon(self) {
        *self.is_wanted.lock() = false;
    }

    pub(super) fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the end.
    pub(super) fn finish(self) -> Outcome {
        // A panic has told of itself.
        let _ = self.thread.join();
        let outcome = self.outcome.lock().take();
        outcome.unwrap_or_else(|| Outcome::Failed(io::Error::other("the training panicked")))
    }
}

fn run(
    class: &[u8],
    samples: &Samples,
    current: Option<&Dictionary>,
    dictionaries: &Dictionaries,
    is_wanted: &Mutex<bool>,
) -> Outcome {
    // Linux lowers the thread, other systems would lower the whole process. If it fails, others are slower for a moment.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::nice(NICE);
    let Some(choice) = choose(samples, current) else {
        return Outcome::Refused;
    };
    let is_wanted = is_wanted.lock();
    if !*is_wanted {
        return Outcome::Refused;
    }
    let saved = dictionaries.add(class, choice.ratio_permille, &choice.bytes);
    drop(is_wanted);
    let prepared = encoder::prepare(&choice.bytes);
    match (saved, prepared) {
        (Ok(dictionary), Ok(prepared)) => Outcome::Accepted(dictionary, prepared),
        (Err(error), _) | (_, Err(error)) => Outcome::Failed(error),
    }
}

struct Choice {
    bytes: Vec<u8>,
    ratio_permille: u32,
}

/// The dictionary that the samples make, if it gains enough over `current` or over none.
fn choose(samples: &Samples, current: Option<&Dictionary>) -> Option<Choice> {
    if is_noise(&samples.bytes) {
        return None;
    }
    let (judges, teachers): (Vec<_>, Vec<_>) = samples
        .iter()
        .enumerate()
        .partition(|(index, _)| index % HELD_OUT_ONE_IN == 0);
    let [judges, teachers] = [judges, teachers].map(|part| {
        part.into_iter()
            .map(|(_, sample)| sample)
            .collect::<Vec<_>>()
    });
    let raw: u64 = judges.iter().map(|sample| sample.len() as u64).sum();
    let before = stored_bytes(&judges, current);
    let small = Trained::new(&teachers, &judges, SMALL)?;
    let large = Trained::new(&teachers, &judges, LARGE);
    let trained = large
        .filter(|large| small.after * 100 >= large.after * LARGE_GAIN_PERCENT)
        .unwrap_or(small);
    (before * 100 >= trained.after * GAIN_PERCENT).then(|| Choice {
        ratio_permille: ratio_permille(raw, trained.after),
        bytes: trained.bytes,
    })
}

/// A dictionary, and what values take with it that it has not seen.
struct Trained {
    bytes: Vec<u8>,
    after: u64,
}

impl Trained {
    fn new(teachers: &[&[u8]], judges: &[&[u8]], size: Size) -> Option<Self> {
        let total = teachers.iter().map(|sample| sample.len()).sum();
        let bytes = train(teachers, size.of(total))?;
        let dictionary = Dictionary::unsaved(&bytes).ok()?;
        let after = stored_bytes(judges, Some(&dictionary));
        Some(Self { bytes, after })
    }
}

fn train(samples: &[&[u8]], size: usize) -> Option<Vec<u8>> {
    let mut bytes = zstd::dict::from_samples(samples, size).ok()?;
    // Frames would repeat the id in four bytes, which our header says in one or two. Zero means none.
    if bytes.starts_with(&ZSTD_DICTIONARY_MAGIC) {
        bytes.get_mut(ZSTD_ID)?.fill(0);
    }
    Some(bytes)
}

/// What the samples would take on disk.
fn stored_bytes(samples: &[&[u8]], dictionary: Option<&Dictionary>) -> u64 {
    let mut encoder = Encoder::new();
    let mut total = 0;
    for sample in samples {
        let payload = match dictionary {
            Some(dictionary) if encoder.prepare(dictionary) => {
                encoder.zstd_with(sample, dictionary)
            }
            _ => encoder.zstd(sample),
        };
        total += payload.map_or(sample.len(), <[u8]>::len) as u64 + HEADER_BYTES;
    }
    total
}

/// Raw over stored in thousandths.
pub(super) fn ratio_permille(raw: u64, stored: u64) -> u32 {
    u32::try_from(raw.saturating_mul(1000) / stored.max(1)).unwrap_or(u32::MAX)
}

/// Whether bytes look random, as compressed and encrypted data do. Measured by how often two of them are equal, which is
/// cheaper than entropy: once in 256 for noise, once in 20 for text. Only meaningful for a few hundred bytes or more.
pub(super) fn is_noise(bytes: &[u8]) -> bool {
    /// Collisions of noise with this many values of a byte, not all 256: seven bits of entropy.
    const VALUES_OF_NOISE: u64 = 128;
    let mut counts = [0u32; 256];
    for &byte in bytes {
        counts[usize::from(byte)] += 1;
    }
    let len = bytes.len() as u64;
    let pairs: u64 = counts.iter().map(|&count| u64::from(count).pow(2)).sum();
    pairs < len + len * len / VALUES_OF_NOISE
}

#[cfg(test)]
mod tests {
    use super::super::datasets::{Random, user_json};
    use super::*;
    use crate::config::scratch::Scratch;

    #[test]
    fn a_dictionary_that_nobody_waits_for_is_not_saved() {
        let scratch = Scratch::new();
        let (dictionaries, _) = Dictionaries::open(scratch.path().join("dictionaries")).unwrap();
        let (mut samples, mut random) = (Samples::default(), Random(7));
        for _ in 0..600 {
            samples.push(&user_json(&mut random));
        }
        let trained = |is_wanted| {
            let outcome = run(
                b"class",
                &samples,
                None,
                &dictionaries,
                &Mutex::new(is_wanted),
            );
            (matches!(outcome, Outcome::Accepted(..)), dictionaries.ids())
        };
        assert_eq!(trained(false), (false, vec![]));
        assert_eq!(trained(true), (true, vec![1]));
    }
}
