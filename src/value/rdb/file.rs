//! Files that servers save: keys with their values, read one after another.
//!
//! ```text
//! REDIS or VALKEY, digits of the version, nine bytes together | parts | 255 | CRC-64 of all before (8; 0: not known; from
//! version 5 on)
//!
//! part   250, name, value: told of the server | 254, n: the database | 251, n, n: how many keys | 253 +4, 252 +8: the next key
//!        expires at (s, ms) | 248, n: it was not accessed for so many seconds | 249 +1: its access counter | 244, n, n, n: a slot
//!        of a cluster | 242, number, n, n texts: a template of hashes | type, key, value
//! ```
//!
//! The parts 243 and 245 to 247, and types that Strata does not have, are in `foreign.rs`; they are passed over and counted.

use std::collections::HashMap;
use std::io::Read;

use crc::{Digest, Table};

use super::foreign;
use super::input::{Fault, Input, array, length, milliseconds, owned_text, text};
use super::kinds::*;
use super::payload::{CRC, dialect_of};
use super::read::{EMPTY, Limits, Template, Value, read_of_template, read_value};

/// The oldest version that is read.
const VERSION_MIN: u16 = 2;
/// The first one that ends with a checksum.
const VERSION_WITH_CHECKSUM: u16 = 5;
const MAGIC_BYTES: usize = 9;
/// What is read ahead, and how much memory grows at least for a long text: never by more than has arrived.
const AHEAD_BYTES: usize = 256 * 1024;

const TEMPLATE: u8 = 242;
const KEY_META_OR_SLOT_IMPORT: u8 = 243;
const SLOT_INFO: u8 = 244;
const FUNCTION: u8 = 245;
const EARLY_FUNCTION: u8 = 246;
const MODULE_DATA: u8 = 247;
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

/// What was left out of a file, of each kind how much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Keys with values of modules, vector sets among them.
    pub module_values: u64,
    /// Keys with arrays.
    pub arrays: u64,
    /// Keys with collections of no elements.
    pub empty: u64,
    /// Libraries of functions.
    pub functions: u64,
    /// Data of modules that belong to no key.
    pub module_data: u64,
}

impl Skipped {
    /// Keys that were left out.
    pub fn keys(&self) -> u64 {
        self.module_values + self.arrays + self.empty
    }
}

/// In words; nothing where nothing was left out.
impl std::fmt::Display for Skipped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut comma = "";
        for (count, what) in [
            (self.module_values, "keys with values of modules"),
            (self.arrays, "keys with arrays"),
            (self.empty, "empty keys"),
            (self.functions, "libraries of functions"),
            (self.module_data, "data of modules"),
        ] {
            if count > 0 {
                write!(f, "{comma}{count} {what}")?;
                comma = ", ";
            }
        }
        Ok(())
    }
}

/// What stands in front of a key.
#[derive(Default)]
struct Head {
    expires_at_ms: Option<i64>,
    idle_secs: Option<u64>,
    frequency: Option<u8>,
}

/// A file, being read.
pub struct FileReader<R> {
    input: FileInput<R>,
    limits: Limits,
    version: u16,
    dialect: Dialect,
    db: u64,
    templates: HashMap<u64, Template>,
    skipped: Skipped,
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
        let version = version.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        let version: u16 = version
            .and_then(|digits| digits.parse().ok())
            .ok_or(NO_FILE)?;
        let dialect = dialect_of(version).filter(|_| version >= VERSION_MIN);
        Ok(Self {
            input,
            limits,
            version,
            dialect: dialect.ok_or(Fault::Unsupported("RDB files of its version"))?,
            db: 0,
            templates: HashMap::new(),
            skipped: Skipped::default(),
            is_over: false,
        })
    }

    /// Bytes that were read.
    pub fn offset(&self) -> u64 {
        self.input.consumed
    }

    /// What was left out so far.
    pub fn skipped(&self) -> Skipped {
        self.skipped
    }

    /// The next key; `None` at the end of a file that is whole.
    ///
    /// # Errors
    /// The file is broken here, or says another checksum than it has.
    pub fn next_key(&mut self) -> Result<Option<Key>, Fault> {
        let mut head = Head::default();
        while !self.is_over {
            let input = &mut self.input;
            let [kind] = array(input)?;
            match kind {
                EXPIRE_MS => head.expires_at_ms = Some(milliseconds(input)?),
                EXPIRE_S => {
                    let secs = i32::from_le_bytes(array(input)?);
                    head.expires_at_ms = Some(i64::from(secs) * 1000);
                }
                IDLE => head.idle_secs = Some(length(input)?),
                FREQ => head.frequency = Some(u8::from_le_bytes(array(input)?)),
                TEMPLATE.. => self.part(kind)?,
                kind => {
                    let key = self.key(kind, std::mem::take(&mut head))?;
                    if key.is_some() {
                        return Ok(key);
                    }
                }
            }
        }
        Ok(None)
    }

    /// A part that belongs to no key.
    fn part(&mut self, kind: u8) -> Result<(), Fault> {
        let input = &mut self.input;
        match kind {
            TEMPLATE => {
                let number = length(input)?;
                let mut template = Template::new();
                for _ in 0..length(input)? {
                    template.push(owned_text(input)?);
                }
                self.templates.insert(number, template);
            }
            KEY_META_OR_SLOT_IMPORT if self.dialect == Dialect::Valkey => {
                foreign::skip_slot_import(input)?;
            }
            KEY_META_OR_SLOT_IMPORT => {
                foreign::skip_key_meta(input)?;
                self.skipped.module_data += 1;
            }
            SLOT_INFO => {
                length(input)?;
                length(input)?;
                length(input)?;
            }
            FUNCTION => {
                text(input, |_| ())?;
                self.skipped.functions += 1;
            }
            EARLY_FUNCTION => {
                foreign::skip_early_functions(input)?;
                self.skipped.functions += 1;
            }
            MODULE_DATA => {
                foreign::skip_module_data(input)?;
                self.skipped.module_data += 1;
            }
            AUX => {
                text(input, |_| ())?;
                text(input, |_| ())?;
            }
            RESIZE_DB => {
                length(input)?;
                length(input)?;
            }
            SELECT_DB => self.db = length(input)?,
            END => self.end()?,
            // All others are those of keys.
            _ => return Err(Fault::Broken("there is no such part")),
        }
        Ok(())
    }

    /// A key; `None` if it is left out.
    fn key(&mut self, kind: u8, head: Head) -> Result<Option<Key>, Fault> {
        let input = &mut self.input;
        let name = owned_text(input)?;
        let value = match kind {
            MODULE_2 => {
                foreign::skip_module_value(input)?;
                self.skipped.module_values += 1;
                return Ok(None);
            }
            ARRAY if self.dialect == Dialect::Redis => {
                foreign::skip_array(input)?;
                self.skipped.arrays += 1;
                return Ok(None);
            }
            HASH_TEMPLATE_PACK_REF | HASH_TEMPLATE_LIST_REF if self.dialect == Dialect::Redis => {
                let find = |number| self.templates.get(&number);
                read_of_template(input, kind, find, self.limits.hash)
            }
            _ => read_value(input, kind, self.dialect, &self.limits),
        };
        if matches!(&value, Err(fault) if *fault == EMPTY) {
            self.skipped.empty += 1;
            return Ok(None);
        }
        Ok(Some(Key {
            db: self.db,
            name,
            value: value?,
            expires_at_ms: head.expires_at_ms,
            idle_secs: head.idle_secs,
            frequency: head.frequency,
        }))
    }

    fn end(&mut self) -> Result<(), Fault> {
        if self.version >= VERSION_WITH_CHECKSUM {
            let expected = self.input.digest.clone().finalize();
            let told = u64::from_le_bytes(array(&mut self.input)?);
            if told != 0 && told != expected {
                return Err(Fault::Broken("its checksum is another one"));
            }
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
