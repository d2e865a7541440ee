//! Sorted sets: members with scores, in the order of the scores.

pub(super) mod combine;
pub(super) mod members;
pub(super) mod range;

use super::{Argument, Command, Context, Flags, Group, KeySpec};
use crate::error::CommandError;
use crate::keyspace::Amount;
use crate::keyspace::entry::ValueType;
use crate::resp::{Protocol, Reply};
use crate::value::listpack::{Digits, Element};
use crate::value::zset::Zset;

const MEMBER: Argument = Argument::new("member", "string");

const READ: &[KeySpec] = &[KeySpec::at(1, &["RO", "access"])];
const DELETE: &[KeySpec] = &[KeySpec::at(1, &["RW", "delete"])];
const READ_FAST: Flags = Flags::READONLY.and(Flags::FAST);
const WRITE_FAST: Flags = Flags::WRITE.and(Flags::FAST);
const ADD: Flags = WRITE_FAST.and(Flags::DENYOOM);

const ROW: Command = Command {
    group: Group::SortedSet,
    since: "1.2.0",
    ..Command::BLANK
};

/// Changes the sorted set at a key; `None` where there is none and none is to be made.
fn change<R, A: Amount>(
    cx: &mut Context<'_>,
    key: &[u8],
    make: bool,
    change: impl FnOnce(&mut Zset) -> Result<(R, A), CommandError>,
) -> Result<Option<R>, CommandError> {
    cx.keys.change(key, ValueType::Zset, make, change)
}

/// How members with their scores are replied.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Names alone.
    Names,
    /// Names and scores in turn.
    Flat,
    /// Pairs of a name and a score.
    Pairs,
}

impl Form {
    /// What WITHSCORES asks for.
    fn of(with_scores: bool, reply: &Reply) -> Self {
        match (with_scores, reply.protocol()) {
            (false, _) => Self::Names,
            (true, Protocol::Resp2) => Self::Flat,
            (true, Protocol::Resp3) => Self::Pairs,
        }
    }

    /// Begins a reply of so many members.
    fn begin(self, reply: &mut Reply, members: usize) {
        reply.array(match self {
            Self::Flat => 2 * members,
            Self::Names | Self::Pairs => members,
        });
    }

    fn member(self, reply: &mut Reply, name: Element<'_>, score: f64) {
        if self == Self::Pairs {
            reply.array(2);
        }
        reply.bulk(name.text(&mut Digits::new()));
        if self != Self::Names {
            reply.double(score);
        }
    }
}

#[cfg(test)]
mod tests;
