//! The numbers of the types of values.

pub(super) const STRING: u8 = 0;
pub(super) const LIST: u8 = 1;
pub(super) const SET: u8 = 2;
pub(super) const ZSET: u8 = 3;
pub(super) const HASH: u8 = 4;
pub(super) const ZSET_2: u8 = 5;
pub(super) const MODULE: u8 = 6;
pub(super) const MODULE_2: u8 = 7;
pub(super) const HASH_ZIPMAP: u8 = 9;
pub(super) const LIST_ZIPLIST: u8 = 10;
pub(super) const SET_INTSET: u8 = 11;
pub(super) const ZSET_ZIPLIST: u8 = 12;
pub(super) const HASH_ZIPLIST: u8 = 13;
pub(super) const LIST_QUICKLIST: u8 = 14;
pub(super) const STREAM_LISTPACKS: u8 = 15;
pub(super) const HASH_LISTPACK: u8 = 16;
pub(super) const ZSET_LISTPACK: u8 = 17;
pub(super) const LIST_QUICKLIST_2: u8 = 18;
pub(super) const STREAM_LISTPACKS_2: u8 = 19;
pub(super) const SET_LISTPACK: u8 = 20;
pub(in crate::value) const STREAM_LISTPACKS_3: u8 = 21;
pub(super) const HASH_METADATA_PRE_GA: u8 = 22;
pub(super) const HASH_LISTPACK_EX_PRE_GA: u8 = 23;
pub(super) const HASH_METADATA: u8 = 24;
pub(super) const HASH_LISTPACK_EX: u8 = 25;
/// With the state of idempotent producers behind it.
pub(super) const STREAM_LISTPACKS_4: u8 = 26;
/// With the entries that consumers have given back behind each group.
pub(super) const STREAM_LISTPACKS_5: u8 = 27;
pub(super) const ARRAY: u8 = 28;
/// Hashes whose fields are those of a template: packed or not, with the template in front or its number.
pub(super) const HASH_TEMPLATE_PACK: u8 = 29;
pub(super) const HASH_TEMPLATE_PACK_REF: u8 = 30;
pub(super) const HASH_TEMPLATE_LIST: u8 = 31;
pub(super) const HASH_TEMPLATE_LIST_REF: u8 = 32;
/// In Valkey: a hash whose fields have deadlines.
pub(super) const VALKEY_HASH_2: u8 = 22;

/// Whose numbers these are: above 21 Redis and Valkey have others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Redis.
    Redis,
    /// Valkey 9 and later; before it had those of Redis 7.2.
    Valkey,
}

/// A node of a list that is one long element.
pub(super) const NODE_PLAIN: u64 = 1;
/// A node that is a listpack.
pub(in crate::value) const NODE_PACKED: u64 = 2;
