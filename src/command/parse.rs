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
}

impl<'a> ScanOptions<'a> {
    /// The options from an argument on.
    pub(super) fn of(args: &Args<'a>, from: usize, count: usize) -> Result<Self, CommandError> {
        let mut options = Self {
            pattern: None,
            count,
        };
        let mut words = args.from(from);
        while let Some(word) = words.next() {
            let value = words.next().ok_or(CommandError::Syntax)?;
            match word.to_ascii_uppercase().as_slice() {
                b"COUNT" => options.count = positive(value)?,
                // Which matches the empty text too, as no other pattern does.
                b"MATCH" => options.pattern = Some(value).filter(|pattern| *pattern != b"*"),
                _ => return Err(CommandError::Syntax),
            }
        }
        Ok(options)
    }
}

/// A number of things, at least one.
pub(super) fn positive(text: &[u8]) -> Result<usize, CommandError> {
    usize::try_from(integer(text)?)
        .ok()
        .filter(|&count| count > 0)
        .ok_or(CommandError::Syntax)
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
