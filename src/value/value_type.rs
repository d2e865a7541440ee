//! The types of values.

/// The type of a value, as TYPE names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ValueType {
    /// A string of bytes.
    String = 0,
    /// Texts in an order.
    List = 1,
    /// Different texts.
    Set = 2,
    /// Different texts with scores, in their order.
    Zset = 3,
    /// Fields with values.
    Hash = 4,
    /// Entries with ids.
    Stream = 6,
}

impl ValueType {
    /// The name that TYPE replies.
    pub const fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::List => "list",
            Self::Set => "set",
            Self::Zset => "zset",
            Self::Hash => "hash",
            Self::Stream => "stream",
        }
    }

    /// The bits that tell it in the form of an entry.
    pub const MASK: u8 = 0x07;

    /// The type in the form of an entry.
    #[inline]
    pub const fn of_form(form: u8) -> Self {
        match form & Self::MASK {
            1 => Self::List,
            2 => Self::Set,
            3 => Self::Zset,
            4 => Self::Hash,
            6 => Self::Stream,
            _ => Self::String,
        }
    }
}
