//! What HSCAN, SSCAN and ZSCAN have in common: their replies.

use super::parse::ScanOptions;
use crate::resp::Reply;
use crate::value::{glob, number};

/// How many elements they look at in one call if they are not told.
pub(super) const COUNT: usize = 10;

/// The reply where there is nothing to walk over.
pub(super) fn reply_with_nothing(reply: &mut Reply) {
    reply_with_page(reply, 0, Vec::<[Vec<u8>; 1]>::new(), None);
}

/// The cursor to go on with, and those of the elements whose names match; each has its name and what belongs to it.
pub(super) fn reply_with_page<const N: usize>(
    reply: &mut Reply,
    next: u64,
    mut shown: Vec<[Vec<u8>; N]>,
    pattern: Option<&[u8]>,
) {
    if let Some(pattern) = pattern {
        shown.retain(|texts| glob::matches(pattern, &texts[0], false));
    }
    reply.array(2);
    reply.bulk(&number::format_u64(next));
    reply.array(N * shown.len());
    shown.iter().flatten().for_each(|text| reply.bulk(text));
}

/// The same of names with what belongs to them, or of the names alone.
pub(super) fn reply_with_pairs(
    reply: &mut Reply,
    next: u64,
    shown: Vec<[Vec<u8>; 2]>,
    options: &ScanOptions<'_>,
) {
    if options.only_names {
        let names = shown.into_iter().map(|[name, _]| [name]).collect();
        reply_with_page(reply, next, names, options.pattern);
    } else {
        reply_with_page(reply, next, shown, options.pattern);
    }
}
