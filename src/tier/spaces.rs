//! What the databases are called on disk.

use super::pending::Pending;
use super::record;
use super::store::{Slice, Store};
use crate::keyspace::DATABASES;
use crate::keyspace::cold::ColdCounts;

/// No number of a name, and no head of a record.
const SPACES_MAGIC: [u8; 4] = *b"SPC2";

/// What the tier remembers of the keyspace over a restart: which contents the databases have, and how
/// many keys each has.
///
/// Each run and each group of the log tells it for its own moment ([`record::spaces_key`]). The store's blob tells it too, never
/// of a later moment than that of a run that has ended: for the case that the generation of that run goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spaces {
    /// The number of the last run of which it tells; each has a higher one.
    pub(super) moment: u64,
    pub(super) next_name: u32,
    pub(super) names: Vec<u32>,
    /// Known only after a clean stop.
    pub(super) keys: Option<Vec<ColdCounts>>,
}

impl Default for Spaces {
    fn default() -> Self {
        Self {
            moment: 0,
            next_name: DATABASES as u32,
            names: (0..DATABASES as u32).collect(),
            keys: None,
        }
    }
}

impl Spaces {
    /// The newest that a store tells, or a log that is in no run yet.
    pub(super) fn newest(store: &Store, pending: &Pending) -> Self {
        let key = record::spaces_key(store.hash_seed());
        let of_run = match pending.record(&key) {
            Ok(None) => store.get(store.hash_of(&key), &key),
            logged => logged.map(|record| record.map(Slice::from)),
        };
        let of_run = of_run.unwrap_or_else(|error| {
            tracing::error!("What the databases are called could not be read: {error}");
            None
        });
        let of_run = of_run.and_then(|record| Self::decode(&record));
        let kept = Self::decode(&store.blob()).unwrap_or_default();
        match of_run {
            // Of one moment is what the log told after a run, too.
            Some(of_run) if of_run.moment >= kept.moment && of_run.names != kept.names => of_run,
            Some(of_run) if of_run.moment > kept.moment => of_run,
            _ => kept,
        }
    }

    /// Takes over the names that marks tell of.
    pub(super) fn follow(&mut self, marks: &[(Vec<u8>, Vec<u8>)], seed: u64) {
        let key = record::spaces_key(seed);
        let told = marks.iter().find(|(found, _)| *found == key);
        if let Some(told) = told.and_then(|(_, record)| Self::decode(record)) {
            (self.names, self.next_name, self.keys) = (told.names, told.next_name, None);
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = SPACES_MAGIC.to_vec();
        bytes.extend(self.moment.to_le_bytes());
        bytes.extend(self.next_name.to_le_bytes());
        bytes.extend(self.names.iter().flat_map(|name| name.to_le_bytes()));
        for counts in self.keys.iter().flatten() {
            bytes.extend(counts.lasting.to_le_bytes());
            bytes.extend(counts.swept_s.to_le_bytes());
            bytes.extend(counts.shift.to_le_bytes());
            bytes.extend((counts.expiring.len() as u32).to_le_bytes());
            for (bucket, keys) in &counts.expiring {
                bytes.extend([bucket, keys].map(|number| number.to_le_bytes()).concat());
            }
        }
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (moment, bytes) = match bytes.strip_prefix(&SPACES_MAGIC) {
            Some(bytes) => bytes.split_first_chunk::<8>()?,
            // As it was before runs told it.
            None => (&[0; 8], bytes),
        };
        let (next, rest) = bytes.split_first_chunk::<4>()?;
        let (names, keys) = rest.split_at_checked(DATABASES * 4)?;
        let names = names.as_chunks::<4>().0;
        Some(Self {
            moment: u64::from_le_bytes(*moment),
            next_name: u32::from_le_bytes(*next),
            names: names.iter().map(|&name| u32::from_le_bytes(name)).collect(),
            keys: decode_counts(keys),
        })
    }
}

/// The counts of all databases, if they are there.
fn decode_counts(mut bytes: &[u8]) -> Option<Vec<ColdCounts>> {
    let mut all = Vec::with_capacity(DATABASES);
    for _ in 0..DATABASES {
        let (head, rest) = bytes.split_first_chunk::<24>()?;
        let (lasting, swept, shift) = (&head[..8], &head[8..16], &head[16..20]);
        let buckets = u32::from_le_bytes(*head.last_chunk()?) as usize;
        let (expiring, rest) = rest.split_at_checked(buckets.checked_mul(16)?)?;
        let number = |bytes: [u8; 8]| i64::from_le_bytes(bytes);
        let pairs = expiring.as_chunks::<8>().0.as_chunks::<2>().0.iter();
        all.push(ColdCounts {
            lasting: u64::from_le_bytes(lasting.try_into().ok()?),
            swept_s: i64::from_le_bytes(swept.try_into().ok()?),
            shift: u32::from_le_bytes(shift.try_into().ok()?),
            expiring: pairs
                .map(|pair| (number(pair[0]), number(pair[1])))
                .collect(),
        });
        bytes = rest;
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_come_back() {
        let mut spaces = Spaces::default();
        assert_eq!(Spaces::decode(&spaces.encode()), Some(spaces.clone()));
        let counts = |lasting| ColdCounts {
            lasting,
            shift: 1,
            swept_s: -5,
            expiring: (0..lasting.cast_signed()).map(|i| (i, 2 * i)).collect(),
        };
        spaces.keys = Some((0..DATABASES as u64).map(counts).collect());
        assert_eq!(Spaces::decode(&spaces.encode()), Some(spaces.clone()));
        assert_eq!(Spaces::decode(b"short"), None);
        let cut = spaces.encode().len() - 1;
        let cut = Spaces::decode(&spaces.encode()[..cut]).expect("the names are whole");
        assert_eq!(cut.keys, None);
    }
}
