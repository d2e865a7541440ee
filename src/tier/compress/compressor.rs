//! The compressor of the writer thread: sorts values into classes, picks the form, and has dictionaries trained.
//!
//! Invariant: what does not become smaller costs next to nothing: after some failures of a class most of its values go
//! untried, and long ones that look random are not tried at all.

use std::sync::Arc;

use super::classes::{ClassStats, Classes, Tuning};
use super::codec::{Encoded, Form};
use super::dictionaries::{Dictionaries, Dictionary};
use super::encoder::Encoder;
use super::training::{Outcome, TRAINING_BYTES, Training, is_noise};

/// Shorter values are stored raw: no form saves a tenth of them.
const MIN_LEN: usize = 32;
/// From this length on a look at the beginning costs much less than a try.
const NOISE_CHECK_LEN: usize = 2048;
/// How much is looked at.
const NOISE_CHECK_BYTES: usize = 1024;
/// Longer values have enough to repeat in themselves, and go without dictionary.
const DICTIONARY_MAX_VALUE: usize = 64 << 10;

/// In a hurry longer values are compressed with lz4: with a dictionary it is four times as fast for these, and no faster for
/// shorter ones.
const HURRIED_MIN: usize = 1024;
/// Where lz4 saves less than this part of them they are stored as they are: to compress them takes longer than to write them.
const HURRIED_SAVING: usize = 4;

/// How values are compressed: the option `tier-compression`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// Not at all.
    None,
    /// With lz4: fast, and of little use for short values.
    Lz4,
    /// With zstd and dictionaries.
    #[default]
    Zstd,
}

/// Encodes values, and learns from them. Owned by one thread.
pub struct Compressor {
    method: Method,
    /// Somebody waits: what is faster is better.
    is_hurried: bool,
    dictionaries: Arc<Dictionaries>,
    classes: Classes,
    encoder: Encoder,
    training: Option<Training>,
    /// Whether a training may begin, and whether one is to.
    may_train: bool,
    is_training_due: bool,
}

/// Writes a value as it is, in the form that [`Dictionaries::decode`] reads.
pub fn encode_raw(value: &[u8], out: &mut Vec<u8>) -> Encoded {
    let header = Encoded {
        form: Form::Raw,
        raw_len: value.len(),
    };
    header.write(out);
    out.extend_from_slice(value);
    header
}

/// Of `maxmemory` the samples of all classes take at most this part.
const SAMPLES_SHARE: u64 = 32;

impl Compressor {
    /// A compressor whose classes start with the newest dictionaries that there are for them.
    #[must_use]
    pub fn new(method: Method, dictionaries: Arc<Dictionaries>) -> Self {
        Self::with_tuning(method, dictionaries, Tuning::default())
    }

    pub(super) fn with_tuning(
        method: Method,
        dictionaries: Arc<Dictionaries>,
        tuning: Tuning,
    ) -> Self {
        Self {
            method,
            is_hurried: false,
            classes: Classes::new(tuning, dictionaries.newest(&[])),
            dictionaries,
            encoder: Encoder::new(),
            training: None,
            may_train: true,
            is_training_due: false,
        }
    }

    /// Changes how the values from now on are compressed.
    pub fn set_method(&mut self, method: Method) {
        self.method = method;
    }

    /// Samples take no more than a share of so much memory from now on; 0 is no limit.
    pub fn set_memory(&mut self, maxmemory: u64) {
        let share = usize::try_from(maxmemory / SAMPLES_SHARE).unwrap_or(usize::MAX);
        let limit = Tuning::default().all_samples_bytes;
        self.classes.tuning.all_samples_bytes = match maxmemory {
            0 => limit,
            _ => limit.min(share),
        };
    }

    /// A training that is due begins from now on. Others must wait: their memory is counted first, so that room is made for it.
    /// One that does not begin until the next call is not due any more, so that nothing is kept for a kind of keys that has gone.
    pub fn let_due_training_begin(&mut self) {
        self.may_train = std::mem::take(&mut self.is_training_due);
    }

    /// Whether speed counts for more than size. Nothing is learnt from how small values become then.
    pub fn set_hurried(&mut self, is_hurried: bool) {
        self.is_hurried = is_hurried;
    }

    /// Appends the value to `out` in its smallest sensible form, with its header, and says which form that is. A dictionary
    /// that the form names is durable already; the caller keeps it with [`Dictionaries::retain`] as long as the value lives.
    pub fn encode(&mut self, key: &[u8], value: &[u8], out: &mut Vec<u8>) -> Encoded {
        self.end_training(false);
        let start = out.len();
        let dictionaries = &self.dictionaries;
        let slot = self.classes.slot_of(key, |name| dictionaries.newest(name));
        if self.method == Method::Zstd && value.len() >= MIN_LEN && self.classes.sample(slot, value)
        {
            self.start_training(slot);
        }
        let class = self.classes.class(slot);
        let dictionary = class
            .dictionary
            .as_deref()
            .filter(|_| value.len() <= DICTIONARY_MAX_VALUE);
        let is_short = dictionary.is_some() && value.len() < HURRIED_MIN;
        let is_hurried = self.is_hurried && self.method == Method::Zstd && !is_short;
        let may_try = self.method != Method::None && value.len() >= MIN_LEN;
        let compressed = match is_hurried {
            // Nothing is learnt of noise, which costs no try.
            true if may_try && !looks_like_noise(value) && class.hurried_tries.is_due() => {
                let block = self.encoder.lz4(value);
                let pays =
                    block.is_some_and(|b| b.len() <= value.len() - value.len() / HURRIED_SAVING);
                class.hurried_tries.note(pays);
                block.map(|block| (Form::Lz4, block))
            }
            false if may_try && class.tries.is_due() => {
                let compressed = compress(&mut self.encoder, self.method, dictionary, value);
                class.tries.note(compressed.is_some());
                compressed
            }
            _ => None,
        };
        let (form, payload) = compressed.unwrap_or((Form::Raw, value));
        let header = Encoded {
            form,
            raw_len: value.len(),
        };
        header.write(out);
        out.extend_from_slice(payload);
        let tuning = self.classes.tuning;
        let class = self.classes.class(slot);
        match is_hurried {
            true => class.stored_in_a_hurry(value.len(), out.len() - start),
            false => class.stored(value.len(), out.len() - start, &tuning),
        }
        header
    }

    /// The same for a part of a long value, long itself. Nothing is learnt from it for the shorter values of its class; with
    /// the first part the value is counted.
    pub fn encode_part(
        &mut self,
        key: &[u8],
        part: &[u8],
        is_first: bool,
        out: &mut Vec<u8>,
    ) -> Encoded {
        let start = out.len();
        let dictionaries = &self.dictionaries;
        let slot = self.classes.slot_of(key, |name| dictionaries.newest(name));
        let class = self.classes.class(slot);
        let compressed = match self.method {
            Method::None => None,
            _ if self.is_hurried => compress(&mut self.encoder, Method::Lz4, None, part),
            method => compress(&mut self.encoder, method, None, part),
        };
        let (form, payload) = compressed.unwrap_or((Form::Raw, part));
        let header = Encoded {
            form,
            raw_len: part.len(),
        };
        header.write(out);
        out.extend_from_slice(payload);
        class.stats.values += u64::from(is_first);
        class.stats.raw_bytes += part.len() as u64;
        class.stats.stored_bytes += (out.len() - start) as u64;
        header
    }

    /// The ids of the dictionaries that new values are encoded with, in order.
    #[must_use]
    pub fn used_dictionaries(&self) -> Vec<u32> {
        let mut ids: Vec<u32> = self
            .classes
            .iter()
            .filter_map(|class| class.stats.dictionary)
            .collect();
        ids.sort_unstable();
        ids
    }

    /// The figures of all classes; the default class comes first.
    #[must_use]
    pub fn stats(&self) -> Vec<ClassStats> {
        self.classes
            .iter()
            .map(|class| class.stats.clone())
            .collect()
    }

    /// Memory in bytes, without the dictionaries that are shared.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.encoder.memory_bytes() + self.samples_bytes()
    }

    pub(super) fn samples_bytes(&self) -> usize {
        self.classes.samples_bytes()
    }

    /// What a training takes that is under way or due.
    #[must_use]
    pub fn training_bytes(&self) -> usize {
        match self.training.is_some() || self.is_training_due {
            true => TRAINING_BYTES,
            false => 0,
        }
    }

    /// Waits for the training under way, if there is one, and takes over what came of it.
    pub fn finish_training(&mut self) {
        self.end_training(true);
    }

    /// Lets go of the training under way, if there is one: for a stop, which does not wait for what nobody will use.
    pub fn abandon_training(&mut self) {
        if let Some(training) = self.training.take() {
            training.abandon();
        }
    }

    fn start_training(&mut self, slot: usize) {
        if self.training.is_some() {
            return;
        }
        self.is_training_due = !self.may_train;
        if self.is_training_due {
            return;
        }
        let class = self.classes.class(slot);
        let started = Training::start(
            class.stats.name.clone(),
            class.take_samples(),
            class.dictionary.clone(),
            Arc::clone(&self.dictionaries),
        );
        match started {
            Ok(training) => self.training = Some(training),
            Err(error) => {
                tracing::warn!("No thread to train a compression dictionary: {error}");
                class.refuse();
            }
        }
    }

    fn end_training(&mut self, wait: bool) {
        let Some(training) = self
            .training
            .take_if(|training| wait || training.is_finished())
        else {
            return;
        };
        let name = training.class.clone();
        let outcome = training.finish();
        // The class may have made room for another meanwhile. Its dictionary is then deleted as any that is not used.
        let Some(class) = self.classes.by_name(&name) else {
            return;
        };
        match outcome {
            Outcome::Accepted(dictionary, prepared) => {
                if let Some(old) = class.stats.dictionary {
                    self.encoder.forget(old);
                }
                self.encoder.adopt(dictionary.id(), prepared);
                class.accept(dictionary);
            }
            Outcome::Refused => class.refuse(),
            Outcome::Failed(error) => {
                tracing::warn!("A compression dictionary could not be made: {error}");
                class.refuse();
            }
        }
    }
}

impl Drop for Compressor {
    /// A dictionary that is being saved is saved.
    fn drop(&mut self) {
        self.finish_training();
    }
}

/// The value in a form that pays, if there is one.
fn looks_like_noise(value: &[u8]) -> bool {
    value.len() >= NOISE_CHECK_LEN && is_noise(&value[..NOISE_CHECK_BYTES])
}

fn compress<'e>(
    encoder: &'e mut Encoder,
    method: Method,
    dictionary: Option<&Dictionary>,
    value: &[u8],
) -> Option<(Form, &'e [u8])> {
    if looks_like_noise(value) {
        return None;
    }
    if method == Method::Lz4 {
        return encoder.lz4(value).map(|block| (Form::Lz4, block));
    }
    if let Some(dictionary) = dictionary.filter(|dictionary| encoder.prepare(dictionary)) {
        let frame = encoder.zstd_with(value, dictionary);
        return frame.map(|frame| (Form::ZstdDictionary(dictionary.id()), frame));
    }
    encoder.zstd(value).map(|frame| (Form::Zstd, frame))
}
