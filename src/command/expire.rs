//! When keys expire: setting it, asking for it, taking it away.

use super::argument::{self, KEY};
use super::{Argument, Arity::*, Command, Context, Flags, KeySpec, parse};
use crate::clock::UnixMs;
use crate::error::CommandError;
use crate::resp::Args;

/// The latest time that a key can expire at; the one after it stands for never.
pub(super) const LATEST: i64 = i64::MAX - 1;

/// The rows of this family.
pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "expire",
        arity: AtLeast(3),
        keys: &[KeySpec::at(1, &["RW", "update"])],
        flags: Flags::WRITE.and(Flags::FAST),
        run: expire,
        summary: "Sets the time to live of a key in seconds.",
        arguments: &[KEY, Argument::new("seconds", "integer"), CONDITION],
        ..Command::BLANK
    },
    Command {
        name: "pexpire",
        arity: AtLeast(3),
        keys: &[KeySpec::at(1, &["RW", "update"])],
        flags: Flags::WRITE.and(Flags::FAST),
        run: pexpire,
        since: "2.6.0",
        summary: "Sets the time to live of a key in milliseconds.",
        arguments: &[KEY, Argument::new("milliseconds", "integer"), CONDITION],
        ..Command::BLANK
    },
    Command {
        name: "expireat",
        arity: AtLeast(3),
        keys: &[KeySpec::at(1, &["RW", "update"])],
        flags: Flags::WRITE.and(Flags::FAST),
        run: expireat,
        since: "1.2.0",
        summary: "Sets when a key expires, in Unix seconds.",
        arguments: &[
            KEY,
            Argument::new("unix-time-seconds", "unix-time"),
            CONDITION,
        ],
        ..Command::BLANK
    },
    Command {
        name: "pexpireat",
        arity: AtLeast(3),
        keys: &[KeySpec::at(1, &["RW", "update"])],
        flags: Flags::WRITE.and(Flags::FAST),
        run: pexpireat,
        since: "2.6.0",
        summary: "Sets when a key expires, in Unix milliseconds.",
        arguments: &[
            KEY,
            Argument::new("unix-time-milliseconds", "unix-time"),
            CONDITION,
        ],
        ..Command::BLANK
    },
    Command {
        name: "ttl",
        arity: Exactly(2),
        keys: &[KeySpec::at(1, &["RO", "access"])],
        flags: Flags::READONLY.and(Flags::FAST),
        run: ttl,
        summary: "Tells the seconds that a key has left to live.",
        tips: &["nondeterministic_output"],
        arguments: &[KEY],
        ..Command::BLANK
    },
    Command {
        name: "pttl",
        arity: Exactly(2),
        keys: &[KeySpec::at(1, &["RO", "access"])],
        flags: Flags::READONLY.and(Flags::FAST),
        run: pttl,
        since: "2.6.0",
        summary: "Tells the milliseconds that a key has left to live.",
        tips: &["nondeterministic_output"],
        arguments: &[KEY],
        ..Command::BLANK
    },
    Command {
        name: "expiretime",
        arity: Exactly(2),
        keys: &[KeySpec::at(1, &["RO", "access"])],
        flags: Flags::READONLY.and(Flags::FAST),
        run: expiretime,
        since: "7.0.0",
        summary: "Tells when a key expires, in Unix seconds.",
        arguments: &[KEY],
        ..Command::BLANK
    },
    Command {
        name: "pexpiretime",
        arity: Exactly(2),
        keys: &[KeySpec::at(1, &["RO", "access"])],
        flags: Flags::READONLY.and(Flags::FAST),
        run: pexpiretime,
        since: "7.0.0",
        summary: "Tells when a key expires, in Unix milliseconds.",
        arguments: &[KEY],
        ..Command::BLANK
    },
    Command {
        name: "persist",
        arity: Exactly(2),
        keys: &[KeySpec::at(1, &["RW", "update"])],
        flags: Flags::WRITE.and(Flags::FAST),
        run: persist,
        since: "2.2.0",
        summary: "Takes the expiry of a key away.",
        arguments: &[KEY],
        ..Command::BLANK
    },
];

/// The condition of EXPIRE and its like.
pub(super) const CONDITION: Argument = argument::optional(argument::since(
    "7.0.0",
    argument::oneof(
        "condition",
        &[
            argument::word("nx", "NX"),
            argument::word("xx", "XX"),
            argument::word("gt", "GT"),
            argument::word("lt", "LT"),
        ],
    ),
));

fn expire(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let base = cx.now.0;
    set_expiry(cx, args, "expire", Unit::Seconds, base)
}

fn pexpire(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let base = cx.now.0;
    set_expiry(cx, args, "pexpire", Unit::Milliseconds, base)
}

fn expireat(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    set_expiry(cx, args, "expireat", Unit::Seconds, 0)
}

fn pexpireat(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    set_expiry(cx, args, "pexpireat", Unit::Milliseconds, 0)
}

/// What a time is given in.
#[derive(Clone, Copy)]
pub(super) enum Unit {
    Seconds,
    Milliseconds,
}

impl Unit {
    pub(super) fn in_ms(self) -> i64 {
        match self {
            Self::Seconds => 1000,
            Self::Milliseconds => 1,
        }
    }
}

fn set_expiry(
    cx: &mut Context<'_>,
    args: &Args<'_>,
    command: &'static str,
    unit: Unit,
    base_ms: i64,
) -> Result<(), CommandError> {
    let key = args.at(1);
    let condition = Condition::parse(args)?;
    let expires_at = parse::integer(args.at(2))?
        .checked_mul(unit.in_ms())
        .and_then(|ms| ms.checked_add(base_ms))
        .ok_or(CommandError::InvalidExpire(command))?;
    let holds = cx.keys.touch_key(key)
        && cx
            .keys
            .expiry(key)
            .is_some_and(|current| condition.holds(current, expires_at));
    if holds {
        let expires_at = UnixMs(expires_at.min(LATEST));
        cx.keys.set_expiry(key, Some(expires_at));
    }
    cx.reply.flag(holds);
    Ok(())
}

/// Under which conditions EXPIRE acts.
#[derive(Default, PartialEq, Eq)]
pub(super) struct Condition {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

impl Condition {
    fn parse(args: &Args<'_>) -> Result<Self, CommandError> {
        let mut condition = Self::default();
        for word in args.from(3) {
            if !condition.add(word) {
                return Err(unsupported(word));
            }
        }
        condition.check()
    }

    /// The condition that one word is.
    pub(super) fn of_word(word: &[u8]) -> Option<Self> {
        let mut condition = Self::default();
        condition.add(word).then_some(condition)
    }

    fn add(&mut self, word: &[u8]) -> bool {
        match word.to_ascii_uppercase().as_slice() {
            b"NX" => self.nx = true,
            b"XX" => self.xx = true,
            b"GT" => self.gt = true,
            b"LT" => self.lt = true,
            _ => return false,
        }
        true
    }

    fn check(self) -> Result<Self, CommandError> {
        let Self { nx, xx, gt, lt } = self;
        if nx && (xx || gt || lt) {
            return Err(CommandError::text(
                "ERR NX and XX, GT or LT options at the same time are not compatible",
            ));
        }
        if gt && lt {
            return Err(CommandError::text(
                "ERR GT and LT options at the same time are not compatible",
            ));
        }
        Ok(self)
    }

    /// A key without an expiry counts as one that expires after all others.
    pub(super) fn holds(&self, current: Option<UnixMs>, new_ms: i64) -> bool {
        match current {
            None => !self.xx && !self.gt,
            Some(UnixMs(current_ms)) => {
                !self.nx && (!self.gt || new_ms > current_ms) && (!self.lt || new_ms < current_ms)
            }
        }
    }
}

#[cold]
fn unsupported(word: &[u8]) -> CommandError {
    CommandError::with_word("ERR Unsupported option ", word, "")
}

fn ttl(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    reply_expiry(cx, args, |now, at| rounded_secs((at.0 - now.0).max(0)))
}

fn pttl(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    reply_expiry(cx, args, |now, at| (at.0 - now.0).max(0))
}

fn expiretime(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    reply_expiry(cx, args, |_, at| rounded_secs(at.0))
}

fn pexpiretime(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    reply_expiry(cx, args, |_, at| at.0)
}

fn rounded_secs(ms: i64) -> i64 {
    ms.saturating_add(500) / 1000
}

fn reply_expiry(
    cx: &mut Context<'_>,
    args: &Args<'_>,
    shown: impl Fn(UnixMs, UnixMs) -> i64,
) -> Result<(), CommandError> {
    let reply = match cx.keys.probe(args.at(1)).map(|entry| entry.expires_at()) {
        None => -2,
        Some(None) => -1,
        Some(Some(at)) => shown(cx.now, at),
    };
    cx.reply.int(reply);
    Ok(())
}

fn persist(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let key = args.at(1);
    let expires = cx.keys.touch_key(key) && cx.keys.expiry(key).flatten().is_some();
    if expires {
        cx.keys.set_expiry(key, None);
    }
    cx.reply.flag(expires);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::script;

    script!(a_key_expires_at_its_time, |db| {
        db.run("SET k v").ok();
        db.run("PEXPIRE k 10").int(1);
        db.advance(9);
        db.run("PTTL k").int(1);
        db.run("GET k").bulk("v");
        db.advance(1);
        db.run("PTTL k").int(-2);
        db.run("GET k").nil();
        db.run("EXPIRE k 1").int(0);
    });

    script!(ttl_rounds_to_the_nearest_second, |db| {
        db.run("SET k v").ok();
        db.run("TTL k").int(-1);
        db.run("EXPIRETIME k").int(-1);
        db.run("PEXPIRETIME nokey").int(-2);
        db.run("PEXPIRE k 1500").int(1);
        db.run("TTL k").int(2);
        db.run("PEXPIRE k 1499").int(1);
        db.run("TTL k").int(1);
        db.run("PEXPIRE k 499").int(1);
        db.run("TTL k").int(0);
        db.run("PEXPIREAT k 1700000001500").int(1);
        db.run("EXPIRETIME k").int(1_700_000_002);
        db.run("PEXPIRETIME k").int(1_700_000_001_500);
        db.run("EXPIREAT k 1700000003").int(1);
        db.run("PTTL k").int(3000);
        db.run("EXPIRE k 7").int(1);
        db.run("PTTL k").int(7000);
    });

    script!(a_time_that_has_come_deletes, |db| {
        for command in [
            "EXPIRE k 0",
            "PEXPIRE k -1",
            "EXPIREAT k 1",
            "PEXPIREAT k -5",
        ] {
            db.run("SET k v").ok();
            db.run(command).int(1);
            db.run("EXISTS k").int(0);
        }
    });

    script!(conditions_look_at_the_expiry_before, |db| {
        db.run("SET k v").ok();
        db.run("EXPIRE k 10 XX").int(0);
        db.run("EXPIRE k 10 GT").int(0);
        db.run("EXPIRE k 10 xx lt").int(0);
        db.run("EXPIRE k 10 LT").int(1);
        db.run("EXPIRE k 20 NX NX").int(0);
        db.run("EXPIRE k 10 GT").int(0);
        db.run("EXPIRE k 10 LT").int(0);
        db.run("EXPIRE k 11 GT XX").int(1);
        db.run("EXPIRE k 10 LT").int(1);
        db.run("PTTL k").int(10_000);
        db.run("PERSIST k").int(1);
        db.run("PERSIST k").int(0);
        db.run("PERSIST nokey").int(0);
        db.run("EXPIRE k 10 nx").int(1);
    });

    script!(expire_refuses_what_redis_refuses, |db| {
        db.run("SET k v").ok();
        let not_with_nx = "ERR NX and XX, GT or LT options at the same time are not compatible";
        db.run("EXPIRE k 1 NX XX").error(not_with_nx);
        db.run("EXPIRE k 1 NX GT LT").error(not_with_nx);
        db.run("PEXPIRE k 1 GT LT")
            .error("ERR GT and LT options at the same time are not compatible");
        db.run("EXPIRE k x foo").error("ERR Unsupported option foo");
        db.run("EXPIRE k x")
            .error("ERR value is not an integer or out of range");
        db.run("EXPIRE nokey 9223372036854775")
            .error("ERR invalid expire time in 'expire' command");
        db.run("PEXPIRE k 9223372036854775807")
            .error("ERR invalid expire time in 'pexpire' command");
        db.run("EXPIREAT k -9223372036854775808")
            .error("ERR invalid expire time in 'expireat' command");
        db.run("TTL k").int(-1);
    });

    script!(the_latest_expiry_is_not_taken_for_none, |db| {
        db.run("SET k v").ok();
        db.run("PEXPIREAT k 9223372036854775807").int(1);
        db.run("PEXPIRETIME k").int(i64::MAX - 1);
        db.run("PERSIST k").int(1);
    });
}
