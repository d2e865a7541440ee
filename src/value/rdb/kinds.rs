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

/// A node of a list that is one long element.
pub(super) const NODE_PLAIN: u64 = 1;
/// A node that is a listpack.
pub(in crate::value) const NODE_PACKED: u64 = 2;
