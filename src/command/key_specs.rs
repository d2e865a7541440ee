//! Where the keys of a request are.
//!
//! A key spec has the two steps of COMMAND INFO: where to begin, and how to go on from there.

use smallvec::SmallVec;

use crate::resp::Args;
use crate::value::number;

/// Positions of keys among the arguments of a request.
pub type Positions = SmallVec<[usize; 4]>;

/// A group of keys of a command.
#[derive(Clone, Copy, Debug)]
pub struct KeySpec {
    /// Where the first one is.
    pub begin: Begin,
    /// Where the others are.
    pub find: Find,
    /// What happens to them, in the words of COMMAND INFO: `RO`, `RW`, `OW` or `RM`, then `access`,
    /// `update`, `insert`, `delete`.
    pub flags: &'static [&'static str],
}

/// Where the first key is.
#[derive(Clone, Copy, Debug)]
pub enum Begin {
    /// At a place.
    Index(usize),
    /// Nowhere that could be told before the command runs; some of them a function finds nevertheless.
    Unknown(Option<FirstKey>),
    /// After a word, which is looked for from a place on (from the end, if negative).
    Keyword(&'static str, isize),
    /// The same among options, whose values may be that word too: a function reads the options and knows the place.
    Option(&'static str, isize, FirstKey),
}

/// Where the first key of a request is. `None` where its options do not fit.
pub type FirstKey = fn(&Args<'_>) -> Option<usize>;

/// Where further keys are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Find {
    /// Each `step` up to `last`, counted from the first, or from the end if negative. A `limit`
    /// of n leaves out all but an nth of the arguments (0 and 1 are no limit).
    Range {
        /// The last one.
        last: isize,
        /// From one key to the next.
        step: usize,
        /// The divisor.
        limit: usize,
    },
    /// So many as an argument says.
    KeyNum {
        /// Where the number is, counted from the beginning.
        number: usize,
        /// Where the first key is, counted from the beginning.
        first: usize,
        /// From one key to the next.
        step: usize,
    },
}

impl KeySpec {
    /// The flags of arguments that are no keys, but belong to a slot of a cluster as keys do.
    pub const NOT_KEY: &'static [&'static str] = &["not_key"];

    /// One key at a place.
    pub const fn at(index: usize, flags: &'static [&'static str]) -> Self {
        Self::range(index, 0, 1, flags)
    }

    /// Keys from a place to another: `last` counts from the first, or from the end if negative.
    pub const fn range(
        index: usize,
        last: isize,
        step: usize,
        flags: &'static [&'static str],
    ) -> Self {
        Self {
            begin: Begin::Index(index),
            find: Find::Range {
                last,
                step,
                limit: 0,
            },
            flags,
        }
    }

    /// A key behind a word, which is looked for from a place on.
    pub const fn behind(word: &'static str, from: isize, flags: &'static [&'static str]) -> Self {
        Self {
            begin: Begin::Keyword(word, from),
            ..Self::range(0, 0, 1, flags)
        }
    }

    /// Keys behind a word, which is looked for from a place on: all that follows.
    pub const fn all_behind(
        word: &'static str,
        from: isize,
        flags: &'static [&'static str],
    ) -> Self {
        Self {
            begin: Begin::Keyword(word, from),
            ..Self::range(0, -1, 1, flags)
        }
    }

    /// Keys behind the option of this name, which is there from a place on: the first half of what follows.
    pub const fn half_behind(
        option: &'static str,
        from: isize,
        first: FirstKey,
        flags: &'static [&'static str],
    ) -> Self {
        Self {
            begin: Begin::Option(option, from, first),
            find: Find::Range {
                last: -1,
                step: 1,
                limit: 2,
            },
            flags,
        }
    }

    /// One key that the command's options name, if any: `find` knows where.
    pub const fn unknown(find: Option<FirstKey>, flags: &'static [&'static str]) -> Self {
        Self {
            begin: Begin::Unknown(find),
            ..Self::at(0, flags)
        }
    }

    /// A number at a place, then so many keys.
    pub const fn counted(index: usize, flags: &'static [&'static str]) -> Self {
        Self {
            begin: Begin::Index(index),
            find: Find::KeyNum {
                number: 0,
                first: 1,
                step: 1,
            },
            flags,
        }
    }

    /// Adds the places of these keys in a request. False where the request does not fit the spec.
    pub fn positions(&self, args: &Args<'_>, found: &mut Positions) -> bool {
        let Some(begin) = self.begin_in(args) else {
            return true;
        };
        match self.find {
            Find::Range { last, step, limit } => {
                let count = args.len() as isize;
                let last = match last {
                    0.. => begin as isize + last,
                    _ if limit > 1 => {
                        begin as isize + (count - begin as isize) / limit as isize + last
                    }
                    _ => count + last,
                };
                if begin as isize >= count || last >= count || last < begin as isize {
                    return false;
                }
                found.extend((begin..=last as usize).step_by(step));
                true
            }
            Find::KeyNum {
                number,
                first,
                step,
            } => {
                let count = args.get(begin + number).map(number::parse_c_int);
                let count = count.and_then(|n| usize::try_from(n).ok());
                let Some(count) = count.filter(|count| *count > 0) else {
                    return false;
                };
                let first = begin + first;
                let fits = count.checked_sub(1).is_none_or(|n| {
                    n.checked_mul(step)
                        .and_then(|n| n.checked_add(first))
                        .is_some_and(|last| last < args.len())
                });
                if fits {
                    found.extend((0..count).map(|i| first + i * step));
                }
                fits
            }
        }
    }

    /// Whether its keys stand behind this word.
    pub fn begins_behind(&self, word: &[u8]) -> bool {
        matches!(self.begin, Begin::Keyword(keyword, _) if word.eq_ignore_ascii_case(keyword.as_bytes()))
    }

    /// Whether the number of keys, if there is one, is written as an integer is. Where it is not, as in ` 1`, Redis finds the
    /// keys by another way, which knows no flags.
    pub fn is_exact(&self, args: &Args<'_>) -> bool {
        let (Find::KeyNum { number, .. }, Some(begin)) = (&self.find, self.begin_in(args)) else {
            return true;
        };
        let count = args.get(begin + number);
        count.is_none_or(|count| number::parse_i64(count).is_some())
    }

    fn begin_in(&self, args: &Args<'_>) -> Option<usize> {
        match self.begin {
            Begin::Index(index) => Some(index),
            Begin::Unknown(find) => find.and_then(|find| find(args)),
            Begin::Keyword(word, from) => behind(args, word, from),
            // Redis has both: without the word from that place on it looks no further.
            Begin::Option(word, from, find) => behind(args, word, from).and_then(|_| find(args)),
        }
    }
}

/// The place behind a word, which is looked for from a place on, or from one counted from the end to the beginning.
fn behind(args: &Args<'_>, word: &str, from: isize) -> Option<usize> {
    let is_word = |i: &usize| args.at(*i).eq_ignore_ascii_case(word.as_bytes());
    let at = match usize::try_from(from) {
        Ok(from) => (from..args.len()).find(is_word),
        Err(_) => (1..=args.len().checked_add_signed(from)?)
            .rev()
            .find(is_word),
    };
    at.map(|at| at + 1)
}
