//! The options of SET and GETEX.
//!
//! As in Redis, options stand in any order and may be repeated; of a repeated time the last counts.
//! Two that contradict each other are a syntax error, and every syntax error is found before any
//! number is read.

use std::mem::discriminant;

use crate::clock::UnixMs;
use crate::error::CommandError;
use crate::resp::Args;
use crate::value::number;

/// The options of SET.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SetOptions<'a> {
    /// When the value is written.
    pub(super) condition: Condition<'a>,
    /// GET: the old value is the reply.
    pub(super) get: bool,
    /// What becomes of the expiry.
    pub(super) lifetime: Lifetime<'a>,
}

/// The options of GETEX.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct GetExOptions<'a> {
    /// What becomes of the expiry.
    pub(super) lifetime: Lifetime<'a>,
}

/// What must hold of a key for SET to write it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Condition<'a> {
    /// Nothing.
    #[default]
    Always,
    /// NX: it does not exist.
    Absent,
    /// XX: it exists.
    Present,
    /// IFEQ: it holds just this string.
    Equals(&'a [u8]),
}

/// How long a key shall live, with the number as the client wrote it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Lifetime<'a> {
    /// Nothing was said.
    #[default]
    Unsaid,
    /// KEEPTTL: as it was.
    KeepTtl,
    /// PERSIST: for ever.
    Persist,
    /// EX: so many seconds.
    Ex(&'a [u8]),
    /// PX: so many milliseconds.
    Px(&'a [u8]),
    /// EXAT: until a second since the epoch.
    ExAt(&'a [u8]),
    /// PXAT: until a millisecond since the epoch.
    PxAt(&'a [u8]),
}

impl<'a> SetOptions<'a> {
    /// Reads what follows the key and the value.
    pub(super) fn parse(args: &Args<'a>) -> Result<Self, CommandError> {
        let mut options = Self::default();
        let mut words = args.from(3);
        while let Some(word) = words.next() {
            if word.eq_ignore_ascii_case(b"GET") {
                options.get = true;
            } else if word.eq_ignore_ascii_case(b"KEEPTTL") {
                options.lifetime = options.lifetime.and(Lifetime::KeepTtl)?;
            } else if let Some(condition) = Condition::read(word, &mut words)? {
                options.condition = options.condition.and(condition)?;
            } else {
                let lifetime = Lifetime::read(word, &mut words)?;
                options.lifetime = options.lifetime.and(lifetime)?;
            }
        }
        Ok(options)
    }
}

impl<'a> GetExOptions<'a> {
    /// Reads what follows the key.
    pub(super) fn parse(args: &Args<'a>) -> Result<Self, CommandError> {
        let mut options = Self::default();
        let mut words = args.from(2);
        while let Some(word) = words.next() {
            let lifetime = if word.eq_ignore_ascii_case(b"PERSIST") {
                Lifetime::Persist
            } else {
                Lifetime::read(word, &mut words)?
            };
            options.lifetime = options.lifetime.and(lifetime)?;
        }
        Ok(options)
    }
}

impl<'a> Condition<'a> {
    /// Reads a condition, if `word` is one.
    fn read(
        word: &[u8],
        rest: &mut impl Iterator<Item = &'a [u8]>,
    ) -> Result<Option<Self>, CommandError> {
        Ok(Some(if word.eq_ignore_ascii_case(b"NX") {
            Self::Absent
        } else if word.eq_ignore_ascii_case(b"XX") {
            Self::Present
        } else if word.eq_ignore_ascii_case(b"IFEQ") {
            Self::Equals(rest.next().ok_or(CommandError::Syntax)?)
        } else {
            return Ok(None);
        }))
    }

    /// This condition with another that the same command names. NX and XX may be repeated; IFEQ,
    /// as in Valkey, may not.
    fn and(self, other: Self) -> Result<Self, CommandError> {
        let repeated = self == other && !matches!(self, Self::Equals(_));
        (self == Self::Always || repeated)
            .then_some(other)
            .ok_or(CommandError::Syntax)
    }
}

impl<'a> Lifetime<'a> {
    /// Reads EX, PX, EXAT or PXAT and the number behind it.
    fn read(word: &[u8], rest: &mut impl Iterator<Item = &'a [u8]>) -> Result<Self, CommandError> {
        let form = if word.eq_ignore_ascii_case(b"EX") {
            Self::Ex
        } else if word.eq_ignore_ascii_case(b"PX") {
            Self::Px
        } else if word.eq_ignore_ascii_case(b"EXAT") {
            Self::ExAt
        } else if word.eq_ignore_ascii_case(b"PXAT") {
            Self::PxAt
        } else {
            return Err(CommandError::Syntax);
        };
        rest.next().map(form).ok_or(CommandError::Syntax)
    }

    /// This lifetime with another that the same command names: of the same form the last counts.
    fn and(self, other: Self) -> Result<Self, CommandError> {
        (self == Self::Unsaid || discriminant(&self) == discriminant(&other))
            .then_some(other)
            .ok_or(CommandError::Syntax)
    }

    /// The time when the key expires, if one was given. It may lie in the past, but not before
    /// the epoch, nor beyond what 64 bits hold.
    pub(super) fn deadline(
        self,
        now: UnixMs,
        command: &'static str,
    ) -> Result<Option<UnixMs>, CommandError> {
        let (text, unit_ms, from) = match self {
            Self::Unsaid | Self::KeepTtl | Self::Persist => return Ok(None),
            Self::Ex(text) => (text, 1000, now.0),
            Self::Px(text) => (text, 1, now.0),
            Self::ExAt(text) => (text, 1000, 0),
            Self::PxAt(text) => (text, 1, 0),
        };
        let number = number::parse_i64(text).ok_or(CommandError::NotInteger)?;
        let deadline = (number > 0)
            .then(|| number.checked_mul(unit_ms)?.checked_add(from))
            .flatten();
        match deadline {
            Some(at) => Ok(Some(UnixMs(at))),
            None => Err(CommandError::InvalidExpire(command)),
        }
    }
}
