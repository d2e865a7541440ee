//! Lua scripts: the state that runs them, what they find in it, and what a script is.
//!
//! Lua is PUC Lua 5.1, as Redis has it. This folder knows neither keys nor connections: the commands of a script are run by
//! whoever runs it ([`Host`]).
//!
//! Invariant: nothing that a script does to its globals or to a library is there for the next one.

mod api;
mod arguments;
mod bits;
mod cjson;
mod cmsgpack;
mod errors;
mod pack;
mod replies;
#[cfg(test)]
mod snippet;
mod vm;

use std::fmt;

use sha1::{Digest as _, Sha1};

use crate::error::CommandError;

pub use mlua::Function;

pub use self::vm::{Host, Vm};

/// The name of a script: the SHA1 of its text in lower-case hexadecimal digits.
pub type Digest = [u8; 40];

/// The name of a text.
pub fn digest(text: &[u8]) -> Digest {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut digest = [0; 40];
    for (two, byte) in digest.chunks_exact_mut(2).zip(Sha1::digest(text)) {
        two[0] = DIGITS[usize::from(byte >> 4)];
        two[1] = DIGITS[usize::from(byte & 15)];
    }
    digest
}

/// What a script says of itself in its first line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScriptFlags {
    /// It changes no key.
    pub no_writes: bool,
    /// It may run where memory is short.
    pub allow_oom: bool,
    /// It has said something, if only that it is in Lua.
    pub are_given: bool,
}

/// A script.
#[derive(Debug)]
pub struct Script {
    /// Its name.
    pub digest: Digest,
    /// Its text.
    pub text: Box<[u8]>,
    /// What it says of itself.
    pub flags: ScriptFlags,
    /// Where Lua begins: behind the first line, if that is not Lua.
    begin: usize,
}

const SHEBANG: CommandError = CommandError::text("ERR Invalid script shebang");

impl Script {
    /// A script of this text.
    ///
    /// # Errors
    /// Its first line is none that a script may have.
    pub fn new(text: &[u8], digest: Digest) -> Result<Self, CommandError> {
        let mut flags = ScriptFlags::default();
        let mut begin = 0;
        if text.starts_with(b"#!") {
            let Some(end) = memchr::memchr(b'\n', text) else {
                return Err(SHEBANG);
            };
            flags = first_line(&text[..end])?;
            // The line break stays, so that lines have their numbers.
            begin = end;
        }
        Ok(Self {
            digest,
            text: text.into(),
            flags,
            begin,
        })
    }

    pub(super) fn body(&self) -> &[u8] {
        &self.text[self.begin..]
    }
}

fn first_line(line: &[u8]) -> Result<ScriptFlags, CommandError> {
    let mut words = line
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    let engine = words.next().unwrap_or_default();
    if engine != b"#!lua" {
        return Err(CommandError::bytes(&[
            b"ERR Unexpected engine in script shebang: ",
            engine,
        ]));
    }
    let mut flags = ScriptFlags {
        are_given: true,
        ..ScriptFlags::default()
    };
    for word in words {
        let Some(names) = word.strip_prefix(b"flags=") else {
            return Err(CommandError::bytes(&[
                b"ERR Unknown lua shebang option: ",
                word,
            ]));
        };
        for name in names
            .split(|&byte| byte == b',')
            .filter(|name| !name.is_empty())
        {
            match name {
                b"no-writes" => flags.no_writes = true,
                b"allow-oom" => flags.allow_oom = true,
                // There are no replicas, and no cluster.
                b"allow-stale" | b"no-cluster" | b"allow-cross-slot-keys" => {}
                _ => {
                    return Err(CommandError::bytes(&[
                        b"ERR Unexpected flag in script shebang: ",
                        name,
                    ]));
                }
            }
        }
    }
    Ok(flags)
}

/// Why a script ends before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// SCRIPT KILL, or FUNCTION KILL.
    Killed,
    /// The server stops.
    Stopped,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Killed => f.write_str("ERR Script killed by user with SCRIPT KILL..."),
            Self::Stopped => f.write_str("ERR the script was ended as the server stops"),
        }
    }
}

impl std::error::Error for Ended {}

/// Looks after the script that runs.
pub trait Watch: Send + Sync {
    /// Whether it is to end, and why. Asked now and then while it runs.
    fn must_end(&self) -> Option<Ended>;
}
