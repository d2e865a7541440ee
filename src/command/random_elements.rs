//! Elements by chance: HRANDFIELD, SRANDMEMBER and their kin.

use std::collections::HashSet;

use super::parse;
use crate::error::CommandError;
use crate::random::Random;
use crate::resp::Args;

/// A reply with repetitions may become so long, in bytes, and no longer: nothing else limits it. It has room for 100 million
/// short elements, which Redis answers too.
const REPLY_BYTES_MAX: usize = 2 * 1024 * 1024 * 1024;
/// What an element takes in a reply at the least, about.
const ELEMENT_BYTES: usize = 16;

/// The count of HRANDFIELD and ZRANDMEMBER, and whether the word behind it asks for values or scores too.
///
/// # Errors
/// The count is none, or what stands behind it is another word.
pub(super) fn count_with(args: &Args<'_>, with: &[u8]) -> Result<(i64, bool), CommandError> {
    let count = parse::integer_in(args.at(2), -i64::MAX, i64::MAX)?;
    let is_with = args.len() > 3;
    if args.len() > 4 || is_with && !args.at(3).eq_ignore_ascii_case(with) {
        return Err(CommandError::Syntax);
    }
    if is_with && !(-i64::MAX / 2..=i64::MAX / 2).contains(&count) {
        return Err(CommandError::text("ERR value is out of range"));
    }
    Ok((count, is_with))
}

/// How many elements a client wants, and whether one may come several times: a negative number says so.
///
/// # Errors
/// The reply would be too long.
fn wanted(count: i64) -> Result<(usize, bool), CommandError> {
    let wanted = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    let again = count < 0;
    if again && wanted.saturating_mul(ELEMENT_BYTES) > REPLY_BYTES_MAX {
        return Err(CommandError::text("ERR value is out of range"));
    }
    Ok((wanted, again))
}

/// As many elements by chance as a count asks for: different ones, or for a negative count any. `draw` gives any one, `name` tells
/// two apart.
///
/// # Errors
/// The reply would be too long.
pub(super) fn chosen<'r, T, D: Fn(&mut Random) -> Option<T>>(
    (count, len): (i64, usize),
    all: impl Iterator<Item = T>,
    random: &'r mut Random,
    draw: D,
    name: impl Fn(&T) -> Vec<u8>,
) -> Result<Chosen<'r, T, D>, CommandError> {
    let (wanted, again) = wanted(count)?;
    let distinct = match again {
        true => Vec::new(),
        false => distinct((wanted, len), all, random, &draw, name),
    };
    Ok(Chosen {
        to_draw: if again { wanted } else { 0 },
        draw,
        random,
        distinct: distinct.into_iter(),
    })
}

/// Elements by chance. Those that may come several times are drawn one by one: they may be many more than there are.
pub(super) struct Chosen<'r, T, D> {
    to_draw: usize,
    draw: D,
    random: &'r mut Random,
    distinct: std::vec::IntoIter<T>,
}

impl<T, D: Fn(&mut Random) -> Option<T>> Iterator for Chosen<'_, T, D> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        match self.to_draw.checked_sub(1) {
            Some(left) => {
                self.to_draw = left;
                (self.draw)(self.random)
            }
            None => self.distinct.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let len = self.to_draw + self.distinct.len();
        (len, Some(len))
    }
}

impl<T, D: Fn(&mut Random) -> Option<T>> ExactSizeIterator for Chosen<'_, T, D> {}

/// Different elements by chance; all of them where there are no more.
fn distinct<T>(
    (wanted, len): (usize, usize),
    all: impl Iterator<Item = T>,
    random: &mut Random,
    draw: &impl Fn(&mut Random) -> Option<T>,
    name: impl Fn(&T) -> Vec<u8>,
) -> Vec<T> {
    let mut chosen = Vec::with_capacity(wanted.min(len));
    // Few of many are drawn until there are enough; else each is taken with the chance that the number of those still wanted
    // gives it.
    if wanted < len / 3 {
        let mut seen = HashSet::new();
        while chosen.len() < wanted {
            let Some(drawn) = draw(random) else { break };
            if seen.insert(name(&drawn)) {
                chosen.push(drawn);
            }
        }
        return chosen;
    }
    for (passed, element) in all.enumerate() {
        let still = wanted.saturating_sub(chosen.len());
        let left = len.saturating_sub(passed).max(1);
        if random.next_u64() % (left as u64) < still as u64 {
            chosen.push(element);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_million_repetitions_are_answered_and_no_end_of_them_is_refused() {
        assert_eq!(wanted(-99_999_999), Ok((99_999_999, true)));
        assert_eq!(wanted(i64::MAX), Ok((i64::MAX as usize, false)));
        assert!(wanted(-i64::MAX).is_err());
        let mut random = Random(1);
        let draw = |random: &mut Random| Some(random.next_u64());
        let none = std::iter::empty();
        let name = |_: &u64| Vec::new();
        let chosen = chosen((-99_999_999, 1), none, &mut random, draw, name);
        let chosen = chosen.unwrap();
        assert_eq!((chosen.len(), chosen.take(3).count()), (99_999_999, 3));
    }
}
