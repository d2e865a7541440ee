//! What a client is told when its command cannot be carried out.
//!
//! Invariant: `Display` is the exact text on the wire after the leading `-`, the same text as Redis
//! where Redis has one.

use std::borrow::Cow;
use std::fmt;

/// The reason why a command was refused, as its client reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandError {
    /// The key holds another type than the command works on.
    WrongType,
    /// An option or its place is not understood.
    Syntax,
    /// An argument should be a 64-bit integer.
    NotInteger,
    /// An argument or a stored value should be a floating-point number.
    NotFloat,
    /// An index lies outside of what the value has.
    OutOfRange,
    /// The key must exist and does not.
    NoSuchKey,
    /// The value would grow beyond `proto-max-bulk-len`.
    TooLong,
    /// The database number is not an integer or not below `databases`.
    InvalidDb,
    /// A cursor is not an unsigned integer.
    InvalidCursor,
    /// The expiry is zero, negative or overflows. Names the command.
    InvalidExpire(&'static str),
    /// The number of arguments is wrong. Names the command (`config|get` for a subcommand).
    WrongArity(Cow<'static, str>),
    /// `maxmemory` is reached, the policy evicts nothing, and the command would use more.
    OutOfMemory,
    /// The tier below memory could not give what the command needs.
    Unreadable,
    /// The tier below memory takes nothing more, and the command needs that it does.
    Unwritable,
    /// A text that repeats bytes of the client's, which may be no UTF-8.
    Bytes(Vec<u8>),
    /// Anything else: the whole text with its code (`ERR ...`).
    Text(Cow<'static, str>),
}

impl CommandError {
    /// An error with a fixed text, which includes its code.
    pub const fn text(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }

    /// An error that repeats bytes of the client's; the parts are put together.
    pub fn bytes(parts: &[&[u8]]) -> Self {
        Self::Bytes(parts.concat())
    }

    /// An error that repeats a word of the client's.
    pub fn with_word(before: &str, word: &[u8], after: &str) -> Self {
        Self::bytes(&[before.as_bytes(), c_text(word), after.as_bytes()])
    }

    /// The bytes on the wire after the leading `-`.
    pub fn wire(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Bytes(bytes) => Cow::Borrowed(bytes),
            Self::Text(text) => Cow::Borrowed(text.as_bytes()),
            other => Cow::Owned(other.to_string().into_bytes()),
        }
    }

    /// An error whose text is made at run time, which includes its code.
    pub fn message(text: impl Into<String>) -> Self {
        Self::Text(Cow::Owned(text.into()))
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WrongType => "WRONGTYPE Operation against a key holding the wrong kind of value",
            Self::Syntax => "ERR syntax error",
            Self::NotInteger => "ERR value is not an integer or out of range",
            Self::NotFloat => "ERR value is not a valid float",
            Self::OutOfRange => "ERR index out of range",
            Self::NoSuchKey => "ERR no such key",
            Self::TooLong => "ERR string exceeds maximum allowed size (proto-max-bulk-len)",
            Self::InvalidDb => "ERR DB index is out of range",
            Self::InvalidCursor => "ERR invalid cursor",
            Self::InvalidExpire(command) => {
                return write!(f, "ERR invalid expire time in '{command}' command");
            }
            Self::WrongArity(command) => {
                return write!(f, "ERR wrong number of arguments for '{command}' command");
            }
            Self::OutOfMemory => "OOM command not allowed when used memory > 'maxmemory'.",
            Self::Unreadable => "IOERR the disk tier could not be read, see the log of the server",
            Self::Unwritable => "IOERR the disk tier cannot be written, see the log of the server",
            Self::Bytes(bytes) => return f.write_str(&String::from_utf8_lossy(bytes)),
            Self::Text(text) => text,
        })
    }
}

impl std::error::Error for CommandError {}

/// A word as C's `%s` prints it, and so Redis's errors: up to its first zero byte.
pub fn c_text(word: &[u8]) -> &[u8] {
    memchr::memchr(0, word).map_or(word, |end| &word[..end])
}
