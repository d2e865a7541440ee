//! Arguments as numbers, refused with the texts of Redis.

use crate::command::Context;
use crate::error::CommandError;
use crate::resp::Args;
use crate::value::number;

/// A 64-bit integer.
pub(super) fn integer(text: &[u8]) -> Result<i64, CommandError> {
    number::parse_i64(text).ok_or(CommandError::NotInteger)
}

/// A 64-bit integer from `least` to `most`.
pub(super) fn integer_in(text: &[u8], least: i64, most: i64) -> Result<i64, CommandError> {
    let number = integer(text)?;
    if (least..=most).contains(&number) {
        return Ok(number);
    }
    Err(CommandError::message(format!(
        "ERR value is out of range, value must between {least} and {most}"
    )))
}

/// The options of SCAN and its kin.
pub(super) struct ScanOptions<'a> {
    /// MATCH; `None`: everything.
    pub(super) pattern: Option<&'a [u8]>,
    /// COUNT.
    pub(super) count: usize,
    /// Names alone: NOVALUES of HSCAN, NOSCORES of ZSCAN.
    pub(super) only_names: bool,
}

impl<'a> ScanOptions<'a> {
    /// The options of a scan over elements; `for_names` is the word for names alone, where these have something else.
    pub(super) fn of(
        args: &Args<'a>,
        count: usize,
        for_names: Option<&[u8]>,
    ) -> Result<Self, CommandError> {
        let mut options = Self {
            pattern: None,
            count,
            only_names: false,
        };
        let mut words = args.from(3);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(CommandError::Syntax);
            match word.to_ascii_uppercase().as_slice() {
                b"COUNT" => options.count = positive(value()?)?,
                // Which matches the empty text too, as no other pattern does.
                b"MATCH" => options.pattern = Some(value()?).filter(|pattern| *pattern != b"*"),
                word if for_names == Some(word) => options.only_names = true,
                word => return Err(misplaced(word)),
            }
        }
        Ok(options)
    }
}

/// An option that a scan of its kind has not.
pub(super) fn misplaced(word: &[u8]) -> CommandError {
    match word {
        b"NOVALUES" => CommandError::text("ERR NOVALUES option can only be used in HSCAN"),
        b"NOSCORES" => CommandError::text("ERR NOSCORES option can only be used in ZSCAN"),
        _ => CommandError::Syntax,
    }
}

/// A number of things, at least one.
pub(super) fn positive(text: &[u8]) -> Result<usize, CommandError> {
    usize::try_from(integer(text)?)
        .ok()
        .filter(|&count| count > 0)
        .ok_or(CommandError::Syntax)
}

/// A number of things, none at the least.
pub(super) fn count(text: &[u8]) -> Result<usize, CommandError> {
    let number = number::parse_i64(text).and_then(|number| usize::try_from(number).ok());
    number.ok_or(CommandError::text(
        "ERR value is out of range, must be positive",
    ))
}

/// How many results are wanted at the most: 0 is no limit.
pub(super) fn limit(text: &[u8]) -> Result<usize, CommandError> {
    let limit = number::parse_i64(text).and_then(|limit| usize::try_from(limit).ok());
    match limit.ok_or(CommandError::text("ERR LIMIT can't be negative"))? {
        0 => Ok(usize::MAX),
        limit => Ok(limit),
    }
}

/// The number of keys at an argument. Gives the place behind the keys, where there must be another argument.
pub(super) fn numkeys(args: &Args<'_>, at: usize) -> Result<usize, CommandError> {
    let keys = number::parse_i64(args.at(at)).filter(|keys| *keys > 0);
    let keys = keys.ok_or(CommandError::text("ERR numkeys should be greater than 0"))?;
    let end = usize::try_from(keys).ok();
    let end = end.and_then(|keys| keys.checked_add(at + 1));
    end.filter(|end| *end < args.len())
        .ok_or(CommandError::Syntax)
}

/// COUNT, once at the most, at the end of LMPOP and ZMPOP.
pub(super) fn count_option(args: &Args<'_>, from: usize) -> Result<usize, CommandError> {
    let mut count = None;
    let mut words = args.from(from);
    while let Some(word) = words.next() {
        let value = words
            .next()
            .filter(|_| word.eq_ignore_ascii_case(b"COUNT") && count.is_none());
        let number = number::parse_i64(value.ok_or(CommandError::Syntax)?);
        let number = number
            .and_then(|number| usize::try_from(number).ok())
            .filter(|number| *number > 0);
        count = Some(number.ok_or(CommandError::text("ERR count should be greater than 0"))?);
    }
    Ok(count.unwrap_or(1))
}

/// What a first and a last index mean, counted from the end if they are negative.
pub(super) fn index_range(start: i64, stop: i64, len: usize) -> std::ops::Range<usize> {
    let len = len as i64;
    let from_end = |index: i64| {
        if index < 0 {
            len.saturating_add(index)
        } else {
            index
        }
    };
    let start = from_end(start).max(0);
    let end = from_end(stop).min(len - 1) + 1;
    if start >= end {
        return 0..0;
    }
    start as usize..end as usize
}

/// The number of a database.
pub(super) fn database(cx: &Context<'_>, text: &[u8]) -> Result<usize, CommandError> {
    let index = integer(text)?;
    if i32::try_from(index).is_err() {
        return Err(CommandError::text(
            "ERR value is out of range, value must between -2147483648 and 2147483647",
        ));
    }
    database_in_range(cx, index)
}

/// A number of a database that is known to be an integer.
pub(super) fn database_in_range(cx: &Context<'_>, index: i64) -> Result<usize, CommandError> {
    usize::try_from(index)
        .ok()
        .filter(|&db| db < cx.config.databases)
        .ok_or(CommandError::InvalidDb)
}

/// Whether an argument is one of the `count` behind a word, in any case: for the secrets of a row.
pub(super) fn is_behind(args: &Args<'_>, at: usize, word: &[u8], count: usize) -> bool {
    let is_word = |place: usize| place > 1 && args.at(place).eq_ignore_ascii_case(word);
    (at.saturating_sub(count)..at).any(is_word)
}
