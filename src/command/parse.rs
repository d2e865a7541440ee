//! Arguments as numbers, refused with the texts of Redis.

use crate::command::Context;
use crate::error::CommandError;
use crate::value::number;

/// A 64-bit integer.
pub(super) fn integer(text: &[u8]) -> Result<i64, CommandError> {
    number::parse_i64(text).ok_or(CommandError::NotInteger)
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
