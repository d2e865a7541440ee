//! Files that servers save: keys with their values, read one after another.
//!
//! ```text
//! REDIS or VALKEY, digits of the version, nine bytes together | parts | 255 | CRC-64 of all before (8; 0: not known)
//!
//! part   250, name, value: told of the server | 254, n: the database | 251, n, n: how many keys | 253 +4, 252 +8: the next key
//!        expires at (s, ms) | 248, n: it was not accessed for so many seconds | 249 +1: its access counter | 245, code: functions
//!        | 244, n, n, n: a slot of a cluster | type, key, value
//! ```

use std::io::Read;

use crc::{Digest, Table};

use super::input::{Fault, Input, array, length, owned_text, text};
use super::payload::{CRC, VERSION_MAX};
use super::read::{Limits, Value, read_value};

/// The oldest version that is read.
const VERSION_MIN: u32 = 9;
const MAGIC_BYTES: usize = 9;
/// What is read ahead, and how much memory grows at least for a long text: never by more than has arrived.
const AHEAD_BYTES: usize = 256 * 1024;

const SLOT_INFO: u8 = 244;
const FUNCTION: u8 = 245;
const MODULE_AUX: u8 = 247;
const IDLE: u8 = 248;
const FREQ: u8 = 249;
const AUX: u8 = 250;
const RESIZE_DB: u8 = 251;
const EXPIRE_MS: u8 = 252;
const EXPIRE_S: u8 = 253;
const SELECT_DB: u8 = 254;
const END: u8 = 255;

/// A key of a file.
#[derive(Debug)]
pub struct Key {
    /// The number of its database.
    pub db: u64,
    /// Its name.
    pub name: Vec<u8>,
    /// Its value.
    pub value: Value,
    /// When it expires, in milliseconds since the epoch.
    pub expires_at_ms: Option<i64>,
    /// Seconds since its last access.
    pub idle_secs: Option<u64>,
    /// Its access counter.
    pub frequency: Option<u8>,
}

/// A file, being read.
pub struct FileReader<R> {
    input: FileInput<R>,
    limits: Limits,
    db: u64,
    /// Functions that were left out.
    functions: usize,
    is_over: bool,
}

impl<R: Read> FileReader<R> {
    /// Begins to read a file.
    ///
    /// # Errors
    /// It is none, or of a version that is not known.
    pub fn new(file: R, limits: Limits) -> Result<Self, Fault> {
        let mut input = FileInput {
            file,
            buffer: Vec::new(),
            start: 0,
            consumed: 0,
            digest: CRC.digest(),
        };
        const NO_FILE: Fault = Fault::Broken("it is no RDB file");
        let magic: [u8; MAGIC_BYTES] = array(&mut input).map_err(|_| NO_FILE)?;
        let digits = magic
            .strip_prefix(b"REDIS")
            .or_else(|| magic.strip_prefix(b"VALKEY"));
        let version = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        let version: u32 = version
            .and_then(|digits| digits.parse().ok())
            .ok_or(NO_FILE)?;
        if !(VERSION_MIN..=u32::from(VERSION_MAX)).contains(&version) {
            return Err(Fault::Unsupported("RDB files of its version"));
        }
        Ok(Self {
            input,
            limits,
            db: 0,
            functions: 0,
            is_over: false,
        })
    }

    /// Bytes that were read.
    pub fn offset(&self) -> u64 {
        self.input.consumed
    }

    /// Functions that were left out.
    pub fn functions(&self) -> usize {
        self.functions
    }

    /// The next key; `None` at the end of a file that is whole.
    ///
    /// # Errors
    /// The file is broken here, or says another checksum than it has.
    pub fn next_key(&mut self) -> Result<Option<Key>, Fault> {
        let (mut expires_at_ms, mut idle_secs, mut frequency) = (None, None, None);
        while !self.is_over {
            let input = &mut self.input;
            let [kind] = array(input)?;
            match kind {
                AUX => {
                    text(input, |_| ())?;
                    text(input, |_| ())?;
                }
                SELECT_DB => self.db = length(input)?,
                RESIZE_DB => {
                    length(input)?;
                    length(input)?;
                }
                SLOT_INFO => {
                    length(input)?;
                    length(input)?;
                    length(input)?;
                }
                EXPIRE_MS => expires_at_ms = Some(i64::from_le_bytes(array(input)?)),
                EXPIRE_S => {
                    let secs = i32::from_le_bytes(array(input)?);
                    expires_at_ms = Some(i64::from(secs) * 1000);
                }
                IDLE => idle_secs = Some(length(input)?),
                FREQ => frequency = Some(u8::from_le_bytes(array(input)?)),
                FUNCTION => {
                    text(input, |_| ())?;
                    self.functions += 1;
                }
                MODULE_AUX => return Err(Fault::Unsupported("data of modules")),
                END => self.end()?,
                kind => {
                    let name = owned_text(input)?;
                    let value = read_value(input, kind, &self.limits)?;
                    return Ok(Some(Key {
                        db: self.db,
                        name,
                        value,
                        expires_at_ms,
                        idle_secs,
                        frequency,
                    }));
                }
            }
        }
        Ok(None)
    }

    fn end(&mut self) -> Result<(), Fault> {
        let expected = self.input.digest.clone().finalize();
        let told = u64::from_le_bytes(array(&mut self.input)?);
        if told != 0 && told != expected {
            return Err(Fault::Broken("its checksum is another one"));
        }
        self.is_over = true;
        Ok(())
    }
}

/// Reads a file in pieces.
struct FileInput<R> {
    file: R,
    /// What was read and, from `start` on, is not consumed.
    buffer: Vec<u8>,
    start: usize,
    consumed: u64,
    digest: Digest<'static, u64, Table<16>>,
}

impl<R: Read> Input for FileInput<R> {
    fn bytes(&mut self, count: usize) -> Result<&[u8], Fault> {
        while self.buffer.len() - self.start < count {
            self.buffer.drain(..self.start);
            self.start = 0;
            let ahead = (&mut self.file).take(AHEAD_BYTES as u64);
            match { ahead }.read_to_end(&mut self.buffer) {
                Ok(0) => return Err(Fault::Truncated),
                Ok(_) => {}
                Err(_) => return Err(Fault::Unreadable),
            }
        }
        let bytes = &self.buffer[self.start..self.start + count];
        self.start += count;
        self.consumed += count as u64;
        self.digest.update(bytes);
        Ok(bytes)
    }
}
