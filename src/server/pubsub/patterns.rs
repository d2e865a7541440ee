//! Patterns, found by what all names that they match begin with.
//!
//! Of many patterns a publish tries those only whose beginning, up to the first special character, its channel has.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{Counts, Name};
use crate::keyspace::ThreadSlot;
use crate::value::glob;

#[derive(Debug, Default)]
pub(super) struct Patterns {
    by_beginning: HashMap<Box<[u8]>, HashMap<Name, Counts>>,
    /// How many beginnings have so many bytes.
    lengths: BTreeMap<usize, usize>,
    len: usize,
}

/// What all names begin with that a pattern matches.
fn beginning(pattern: &[u8]) -> &[u8] {
    let special = pattern.iter().position(|byte| b"*?[\\".contains(byte));
    &pattern[..special.unwrap_or(pattern.len())]
}

impl Patterns {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn add(&mut self, pattern: &Name, thread: ThreadSlot) {
        let beginning = beginning(pattern);
        let patterns = self
            .by_beginning
            .entry(beginning.into())
            .or_insert_with(|| {
                *self.lengths.entry(beginning.len()).or_default() += 1;
                HashMap::new()
            });
        let counts = patterns.entry(Arc::clone(pattern)).or_insert_with(|| {
            self.len += 1;
            Counts::default()
        });
        counts.add(thread);
    }

    pub(super) fn remove(&mut self, pattern: &[u8], thread: ThreadSlot) {
        let beginning = beginning(pattern);
        let Some(patterns) = self.by_beginning.get_mut(beginning) else {
            return;
        };
        let Some(counts) = patterns.get_mut(pattern) else {
            return;
        };
        counts.remove(thread);
        if counts.all() > 0 {
            return;
        }
        patterns.remove(pattern);
        self.len -= 1;
        if !patterns.is_empty() {
            return;
        }
        self.by_beginning.remove(beginning);
        if let Some(count) = self.lengths.get_mut(&beginning.len()) {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&beginning.len());
            }
        }
    }

    /// Shows the patterns that match a channel.
    pub(super) fn each_match(&self, channel: &[u8], mut show: impl FnMut(&Name, &Counts)) {
        for &len in self.lengths.range(..=channel.len()).map(|(len, _)| len) {
            let patterns = self.by_beginning.get(&channel[..len]);
            for (pattern, counts) in patterns.into_iter().flatten() {
                if glob::matches(pattern, channel, false) {
                    show(pattern, counts);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_found_by_their_beginning() {
        let mut patterns = Patterns::default();
        let all = [
            "*",
            "news.*",
            "news.a",
            "new?.a",
            "n[a-e]ws.a",
            "\\news.a",
            "",
            "news.abc",
        ];
        let thread = ThreadSlot(1);
        for pattern in all {
            patterns.add(&pattern.as_bytes().into(), thread);
            patterns.add(&pattern.as_bytes().into(), ThreadSlot(0));
        }
        assert_eq!(patterns.len(), all.len());
        let found = |patterns: &Patterns, channel: &[u8]| {
            let mut found = Vec::new();
            patterns.each_match(channel, |pattern, counts| {
                assert_eq!(counts.all(), 2);
                found.push(String::from_utf8(pattern.to_vec()).unwrap());
            });
            found.sort_unstable();
            found
        };
        let expected = ["*", "\\news.a", "n[a-e]ws.a", "new?.a", "news.*", "news.a"];
        assert_eq!(found(&patterns, b"news.a"), expected);
        assert_eq!(found(&patterns, b"old"), ["*"]);
        assert_eq!(found(&patterns, b""), [""]);
        for pattern in all {
            patterns.remove(pattern.as_bytes(), thread);
            patterns.remove(b"another", thread);
        }
        assert_eq!(patterns.len(), all.len());
        for pattern in all {
            patterns.remove(pattern.as_bytes(), ThreadSlot(0));
        }
        assert_eq!(patterns.len(), 0);
        assert!(patterns.by_beginning.is_empty() && patterns.lengths.is_empty());
    }
}
