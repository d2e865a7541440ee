//! Commands that wait until a key has something for them.
//!
//! Such a command is a wish and some keys. It tries the wish on each key; where none has anything its client waits, and
//! whoever writes to one of the keys tries the wish again, in the name of the client.

use super::stream::read::{self, Reader};
use super::{Context, list, zset};
use crate::clock::UnixMs;
use crate::error::CommandError;
use crate::keyspace::EventName;
use crate::keyspace::entry::ValueType;
use crate::value::list::End;
use crate::value::number::LongDouble;
use crate::value::stream::Id;

/// What a client wants of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// An element of a list: BLPOP, BRPOP.
    Element(End),
    /// Several: BLMPOP.
    Elements(End, usize),
    /// To have an element moved to a list: BLMOVE, BRPOPLPUSH.
    Move {
        /// Where it is taken.
        from: End,
        /// The key of the other list.
        destination: Box<[u8]>,
        /// Where it is put.
        to: End,
    },
    /// A member of a sorted set: BZPOPMIN, or the last one, BZPOPMAX.
    Member(Last),
    /// Several: BZMPOP.
    Members(Last, usize),
    /// The entries of streams behind ids, and how many of each: XREAD.
    Entries(Vec<(Box<[u8]>, Id)>, usize),
    /// New entries for a consumer of a group, and how many: XREADGROUP.
    Share(Reader, usize),
}

/// Whether the last members are meant, and not the first ones.
type Last = bool;

impl Wish {
    /// The type of value that can fulfil it.
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::Element(_) | Self::Elements(..) | Self::Move { .. } => ValueType::List,
            Self::Member(_) | Self::Members(..) => ValueType::Zset,
            Self::Entries(..) | Self::Share(..) => ValueType::Stream,
        }
    }

    /// The name of the change that fulfils it.
    pub fn event(&self) -> EventName {
        match self {
            Self::Element(End::Head) | Self::Elements(End::Head, _) => &"lpop",
            Self::Element(End::Tail) | Self::Elements(End::Tail, _) => &"rpop",
            Self::Move { .. } => &"lmove",
            Self::Member(false) | Self::Members(false, _) => &"zpopmin",
            Self::Member(true) | Self::Members(true, _) => &"zpopmax",
            Self::Entries(..) => &"xread",
            Self::Share(..) => &"xreadgroup",
        }
    }

    /// Another key that it needs.
    pub fn destination(&self) -> Option<&[u8]> {
        match self {
            Self::Move { destination, .. } => Some(destination),
            _ => None,
        }
    }

    /// What a client is told whose key is gone. `None`: it waits on.
    pub fn forlorn(&self) -> Option<CommandError> {
        const GONE: CommandError = CommandError::text("UNBLOCKED the stream key no longer exists");
        matches!(self, Self::Share(..)).then_some(GONE)
    }

    /// Takes what a key has and replies with it. False where it has nothing.
    ///
    /// # Errors
    /// The key, or the destination, is of another type.
    pub fn serve(&self, cx: &mut Context<'_>, key: &[u8]) -> Result<bool, CommandError> {
        match self {
            Self::Element(end) => list::reply_with_element(cx, key, *end),
            Self::Elements(end, count) => list::reply_with_elements(cx, key, *end, *count),
            Self::Move {
                from,
                destination,
                to,
            } => list::move_element(cx, (key, *from), (destination, *to)),
            Self::Entries(after, count) => {
                let after = after.iter().find(|(of, _)| **of == *key);
                match after {
                    Some((_, after)) => read::reply_with_new(cx, key, *after, *count),
                    None => Ok(false),
                }
            }
            Self::Share(reader, count) => read::reply_with_shared(cx, key, reader, *count),
            Self::Member(last) => zset::members::reply_with_member(cx, key, *last),
            Self::Members(last, count) => zset::members::reply_with_members(cx, key, *last, *count),
        }
    }
}

/// A timeout in seconds as a time; `None`: never.
pub(super) fn until(text: &[u8], now: UnixMs) -> Result<Option<UnixMs>, CommandError> {
    let seconds = LongDouble::parse(text).ok_or(CommandError::text(
        "ERR timeout is not a float or out of range",
    ))?;
    let ms = (seconds.to_f64() * 1000.0).ceil();
    // One that is too large is negative to Redis, too.
    let ms = if ms < i64::MAX as f64 { ms as i64 } else { -1 };
    until_after(ms, now)
}

/// A timeout in milliseconds as a time; `None`: never.
pub(super) fn until_after(ms: i64, now: UnixMs) -> Result<Option<UnixMs>, CommandError> {
    match ms {
        ..0 => Err(CommandError::text("ERR timeout is negative")),
        0 => Ok(None),
        ms => Ok(Some(UnixMs(now.0.saturating_add(ms)))),
    }
}

/// Fulfils a wish with the first key that can, or has the client wait.
pub(super) fn serve_or_wait<'k>(
    cx: &mut Context<'_>,
    keys: impl Iterator<Item = &'k [u8]> + Clone,
    wish: Wish,
    until: Option<UnixMs>,
) -> Result<(), CommandError> {
    for key in keys.clone() {
        if wish.serve(cx, key)? {
            return Ok(());
        }
    }
    wait(cx, keys, wish, until);
    Ok(())
}

/// Has the client wait for keys.
pub(super) fn wait<'k>(
    cx: &mut Context<'_>,
    keys: impl Iterator<Item = &'k [u8]>,
    wish: Wish,
    until: Option<UnixMs>,
) {
    cx.session.waiter = Some(cx.server.waiters.add(
        cx.keys.keyspace().queues(),
        &cx.session.client,
        (cx.keys.db(), keys.map(Into::into).collect()),
        (wish, until),
        cx.reply.protocol(),
    ));
}
