//! What DUMP gives and RESTORE takes: a value with its type, a version and a checksum.
//!
//! ```text
//! type (1) | value | version of the encoding (2) | CRC-64 of all before (8)        little-endian
//! ```

use super::foreign::{KEY_META, skip_key_meta};
use super::kinds::{Dialect, HASH_LISTPACK_EX, HASH_METADATA};
use crc::{CRC_64_REDIS, Crc, Table};

/// The version that is written, that of Redis 7.0.
const WRITTEN_VERSION: u16 = 10;
/// That of Redis 7.4, for the types that are new in it.
const DEADLINES_VERSION: u16 = 12;
/// The latest version of Redis that is read, that of 8.10.
const REDIS_VERSION_MAX: u16 = 15;
/// The only one that Valkey has had since 9.0.
const VALKEY_VERSION: u16 = 80;
const FOOTER_BYTES: usize = 10;

/// The checksum of payloads and files.
pub(super) static CRC: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_REDIS);

/// Finishes a payload, which begins with the type.
pub fn seal(payload: &mut Vec<u8>) {
    let version = match payload.first() {
        Some(&(HASH_METADATA | HASH_LISTPACK_EX)) => DEADLINES_VERSION,
        _ => WRITTEN_VERSION,
    };
    seal_as(payload, version);
}

/// The same for one that only Valkey reads.
pub fn seal_for_valkey(payload: &mut Vec<u8>) {
    seal_as(payload, VALKEY_VERSION);
}

fn seal_as(payload: &mut Vec<u8>, version: u16) {
    payload.extend_from_slice(&version.to_le_bytes());
    let checksum = CRC.checksum(payload);
    payload.extend_from_slice(&checksum.to_le_bytes());
}

/// Whose a version of the encoding is; `None`: it is not known.
pub(super) fn dialect_of(version: u16) -> Option<Dialect> {
    match version {
        ..=REDIS_VERSION_MAX => Some(Dialect::Redis),
        VALKEY_VERSION => Some(Dialect::Valkey),
        _ => None,
    }
}

/// What a payload holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsealed<'a> {
    /// The type of the value.
    pub kind: u8,
    /// Whose type that is.
    pub dialect: Dialect,
    /// The value.
    pub value: &'a [u8],
}

/// What a payload holds; `None` if its version is not known or its checksum is wrong.
pub fn unseal(payload: &[u8]) -> Option<Unsealed<'_>> {
    let body = payload.len().checked_sub(FOOTER_BYTES)?;
    let (sealed, checksum) = payload.split_at(body + 2);
    let version = u16::from_le_bytes(*sealed[body..].first_chunk()?);
    let checksum = u64::from_le_bytes(*checksum.first_chunk()?);
    let dialect = dialect_of(version)?;
    if checksum != CRC.checksum(sealed) {
        return None;
    }
    let (mut kind, mut value) = sealed[..body].split_first()?;
    if *kind == KEY_META && dialect == Dialect::Redis {
        skip_key_meta(&mut value).ok()?;
        (kind, value) = value.split_first()?;
    }
    Some(Unsealed {
        kind: *kind,
        dialect,
        value,
    })
}
