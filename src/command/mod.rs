//! Commands: one row and one function each, in one file for each family.
//!
//! A row is the only source for arity errors, key extraction, residency, COMMAND's replies and the
//! reference page. A command function is synchronous and pure over the keys that its row declares:
//! no waiting, no locks, no disk, no clock. It checks everything before it changes anything.
//!
//! This folder never imports `net`, `tier`, `upstream` or tokio; a test checks that.

mod acl_categories;
mod argument;
mod bitfield;
mod bitmap;
pub mod blocking;
mod cache;
mod client;
mod cluster;
mod config;
mod connection;
mod diagnostics;
pub(crate) mod dump;
mod expire;
mod foreign;
mod generic;
mod geo;
mod hash;
mod help;
mod hyperloglog;
mod info;
mod introspection;
pub mod key_specs;
mod keyspace_wide;
mod list;
mod migrate;
mod object;
mod parse;
mod persistence;
mod pubsub;
mod random_elements;
mod replication;
mod scan;
mod scripting;
mod server;
mod set;
mod sort;
mod stream;
mod string;
pub mod table;
#[cfg(test)]
mod tests;
mod tier;
mod transaction;
mod zset;

use std::collections::HashSet;
use std::sync::Arc;

use crate::clock::UnixMs;
use crate::config::Config;
use crate::error::CommandError;
use crate::keyspace::Keys;
use crate::keyspace::footprint::OtherKey;
use crate::keyspace::residency::{Ask, Page};
use crate::resp::{Args, Reply};
use crate::server::Server;
use crate::server::scripts::{Evaluation, Scripts};
use crate::server::session::Session;
use crate::server::suspended::{Stop, Suspend};

pub use self::blocking::Waits;
pub use self::key_specs::{Begin, Find, KeySpec};

/// The rows of all families, in the order of the reference page.
const FAMILIES: &[&[Command]] = &[
    string::COMMANDS,
    string::counter::COMMANDS,
    string::many::COMMANDS,
    string::part::COMMANDS,
    string::lcs::COMMANDS,
    list::COMMANDS,
    dump::COMMANDS,
    migrate::COMMANDS,
    geo::COMMANDS,
    cache::COMMANDS,
    set::COMMANDS,
    sort::COMMANDS,
    stream::entries::COMMANDS,
    stream::read::COMMANDS,
    stream::groups::COMMANDS,
    stream::info::COMMANDS,
    zset::members::COMMANDS,
    zset::range::COMMANDS,
    zset::combine::COMMANDS,
    hash::COMMANDS,
    hash::expiry::COMMANDS,
    generic::COMMANDS,
    expire::COMMANDS,
    object::COMMANDS,
    keyspace_wide::COMMANDS,
    bitmap::COMMANDS,
    bitfield::COMMANDS,
    hyperloglog::COMMANDS,
    connection::COMMANDS,
    client::COMMANDS,
    introspection::COMMANDS,
    config::COMMANDS,
    info::COMMANDS,
    server::COMMANDS,
    persistence::COMMANDS,
    replication::COMMANDS,
    tier::COMMANDS,
    transaction::COMMANDS,
    pubsub::COMMANDS,
    scripting::COMMANDS,
    diagnostics::COMMANDS,
];

/// A command, or a subcommand of a container such as CLIENT.
#[derive(Debug)]
pub struct Command {
    /// The name in lower case; for a subcommand the second word alone.
    pub name: &'static str,
    /// How many arguments, counting the name (for a subcommand both words).
    pub arity: Arity,
    /// Which arguments are keys.
    pub keys: &'static [KeySpec],
    /// What happens to the keys of one request, where its options decide that.
    pub key_flags: Option<fn(&Args<'_>) -> &'static [&'static str]>,
    /// Whether a request does without what its keys hold, so that a lower tier need not fetch them: it
    /// writes over them, or asks where they are. `None`: never.
    pub blind: Option<fn(&Args<'_>) -> bool>,
    /// Whether an argument, by its place, is a secret, which no log may show. `None`: none is.
    pub secrets: Option<fn(&Args<'_>, usize) -> bool>,
    /// What the command does and where it may run.
    pub flags: Flags,
    /// The function. A container's own is never called while it has subcommands.
    pub run: Run,
    /// The function of a command that may have to wait for something, in the place of `run`.
    pub run_or_suspend: Option<RunOrSuspend>,
    /// What a command of scripts wants, which the thread of scripts does.
    pub evaluation: Option<Evaluate>,
    /// The rows of a container.
    pub subcommands: &'static [Command],
    /// Which family the command belongs to.
    pub group: Group,
    /// ACL categories besides those which follow from the group and the flags.
    pub categories: &'static [&'static str],
    /// The version of Redis (or of Strata, where Redis has it not) that brought the command.
    pub since: &'static str,
    /// How its time grows.
    pub complexity: &'static str,
    /// Since when another command should be used, and which.
    pub deprecated: Option<(&'static str, &'static str)>,
    /// Whether servers of a cluster have it among themselves.
    pub is_internal: bool,
    /// What it does, in one sentence.
    pub summary: &'static str,
    /// What clients and proxies may want to know, in the words of COMMAND INFO.
    pub tips: &'static [&'static str],
    /// The arguments, for COMMAND DOCS.
    pub arguments: &'static [Argument],
}

/// A command's function.
pub type Run = fn(&mut Context<'_>, &Args<'_>) -> Result<(), CommandError>;

/// The function of a command that may say what it needs first. It runs again from its beginning when that is there.
pub type RunOrSuspend = fn(&mut Context<'_>, &Args<'_>) -> Result<(), Stop>;

/// What a request of a command of scripts wants.
pub type Evaluate = fn(&Args<'_>, &Scripts) -> Result<Evaluation, CommandError>;

/// The number of arguments that a command takes, counting its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// Just so many.
    Exactly(usize),
    /// So many or more.
    AtLeast(usize),
}

impl Arity {
    /// Whether a request with so many arguments fits.
    #[inline]
    pub const fn accepts(self, count: usize) -> bool {
        match self {
            Self::Exactly(n) => count == n,
            Self::AtLeast(n) => count >= n,
        }
    }

    /// The number that COMMAND INFO tells: negative for a minimum.
    pub const fn as_number(self) -> i64 {
        match self {
            Self::Exactly(n) => n as i64,
            Self::AtLeast(n) => -(n as i64),
        }
    }
}

/// What a command does and where it may run: a set of bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u32);

impl Flags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// Changes keys.
    pub const WRITE: Self = Self(1);
    /// Reads keys.
    pub const READONLY: Self = Self(1 << 1);
    /// May need memory, so is refused when there is none.
    pub const DENYOOM: Self = Self(1 << 2);
    /// For administrators.
    pub const ADMIN: Self = Self(1 << 3);
    /// Publishes or subscribes.
    pub const PUBSUB: Self = Self(1 << 4);
    /// Not from scripts.
    pub const NOSCRIPT: Self = Self(1 << 5);
    /// May wait for keys.
    pub const BLOCKING: Self = Self(1 << 6);
    /// Allowed while loading.
    pub const LOADING: Self = Self(1 << 7);
    /// Allowed on a stale replica.
    pub const STALE: Self = Self(1 << 8);
    /// Not shown to MONITOR.
    pub const SKIP_MONITOR: Self = Self(1 << 9);
    /// Not written to the slow log.
    pub const SKIP_SLOWLOG: Self = Self(1 << 10);
    /// Takes constant or logarithmic time.
    pub const FAST: Self = Self(1 << 11);
    /// Allowed before AUTH.
    pub const NO_AUTH: Self = Self(1 << 12);
    /// May be replicated though it does not write.
    pub const MAY_REPLICATE: Self = Self(1 << 13);
    /// Its keys may all be missing from the request.
    pub const NO_MANDATORY_KEYS: Self = Self(1 << 14);
    /// Not while a replica loads in the background.
    pub const NO_ASYNC_LOADING: Self = Self(1 << 15);
    /// Not inside MULTI.
    pub const NO_MULTI: Self = Self(1 << 16);
    /// Its keys are found by its options.
    pub const MOVABLE_KEYS: Self = Self(1 << 17);
    /// Allowed while a script is stuck.
    pub const ALLOW_BUSY: Self = Self(1 << 18);
    /// May touch keys that it does not name.
    pub const TOUCHES_ARBITRARY_KEYS: Self = Self(1 << 19);
    /// Runs at once also inside MULTI.
    pub const IN_MULTI: Self = Self(1 << 23);
    /// A client that listens to channels may send it in RESP2 too.
    pub const WHILE_SUBSCRIBED: Self = Self(1 << 25);
    /// It answers with pushes, which come also where CLIENT REPLY is off.
    pub const PUSHES: Self = Self(1 << 26);
    /// Of all keys, or of the options that all commands go by: a transaction with it is alone with the keyspace.
    pub const KEYSPACE_WIDE: Self = Self(1 << 24);
    /// Only where enabled (`enable-debug-command`).
    pub const PROTECTED: Self = Self(1 << 20);
    /// Allowed for a slot that comes to a node of a cluster.
    pub const ASKING: Self = Self(1 << 22);
    /// Sentinels have it too, which puts no flag in COMMAND INFO here.
    pub const SENTINEL: Self = Self(1 << 21);

    /// Both sets together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This set without what is in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether all of `other` is in this set.
    #[inline]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// The families of COMMAND DOCS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Keys of any type.
    Generic,
    /// Strings.
    String,
    /// Bitmaps.
    Bitmap,
    /// HyperLogLogs.
    HyperLogLog,
    /// Lists.
    List,
    /// Sets.
    Set,
    /// Sorted sets.
    SortedSet,
    /// Places.
    Geo,
    /// Hashes.
    Hash,
    /// Streams.
    Stream,
    /// The connection.
    Connection,
    /// Publish/subscribe.
    PubSub,
    /// Transactions.
    Transactions,
    /// Scripts.
    Scripting,
    /// The server.
    Server,
    /// The cluster, as a stand-alone server answers.
    Cluster,
}

impl Group {
    /// The name in COMMAND DOCS.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Generic => "generic",
            Self::String => "string",
            Self::Bitmap => "bitmap",
            Self::HyperLogLog => "hyperloglog",
            Self::List => "list",
            Self::Set => "set",
            Self::SortedSet => "sorted-set",
            Self::Geo => "geo",
            Self::Hash => "hash",
            Self::Stream => "stream",
            Self::Connection => "connection",
            Self::PubSub => "pubsub",
            Self::Transactions => "transactions",
            Self::Scripting => "scripting",
            Self::Server => "server",
            Self::Cluster => "cluster",
        }
    }
}

/// An argument in COMMAND DOCS.
#[derive(Debug)]
pub struct Argument {
    /// Its name.
    pub name: &'static str,
    /// `key`, `string`, `integer`, `double`, `pattern`, `unix-time`, `pure-token`, `oneof`, `block`.
    pub kind: &'static str,
    /// Which key spec it is, for a key.
    pub key_spec: Option<usize>,
    /// The word that stands before it.
    pub token: Option<&'static str>,
    /// When it came, where that is later than the command.
    pub since: Option<&'static str>,
    /// Since when another one should be used.
    pub deprecated_since: Option<&'static str>,
    /// `optional`, `multiple`, `multiple_token`.
    pub flags: &'static [&'static str],
    /// The parts of a `oneof` or a `block`.
    pub arguments: &'static [Argument],
}

impl Argument {
    /// An argument without extras, to be completed with `..`.
    pub const fn new(name: &'static str, kind: &'static str) -> Self {
        Self {
            name,
            kind,
            key_spec: None,
            token: None,
            since: None,
            deprecated_since: None,
            flags: &[],
            arguments: &[],
        }
    }

    /// A word that stands for itself.
    pub const fn word(name: &'static str, token: &'static str) -> Self {
        let mut argument = Self::new(name, "pure-token");
        argument.token = Some(token);
        argument
    }

    /// An argument that may be left out.
    pub const fn optional(name: &'static str, kind: &'static str) -> Self {
        let mut argument = Self::new(name, kind);
        argument.flags = &["optional"];
        argument
    }
}

impl Command {
    /// A row to complete with `..`: no keys, no subcommands, nothing optional.
    pub const BLANK: Self = Self {
        name: "",
        arity: Arity::Exactly(0),
        keys: &[],
        key_flags: None,
        blind: None,
        secrets: None,
        flags: Flags::NONE,
        run: container,
        run_or_suspend: None,
        evaluation: None,
        subcommands: &[],
        group: Group::Generic,
        categories: &[],
        since: "1.0.0",
        complexity: "O(1)",
        deprecated: None,
        is_internal: false,
        summary: "",
        tips: &[],
        arguments: &[],
    };
}

/// What stands in the row of a container: its subcommands run instead.
pub fn container(_: &mut Context<'_>, _: &Args<'_>) -> Result<(), CommandError> {
    Err(CommandError::Syntax)
}

/// What a command function works with.
#[derive(Debug)]
pub struct Context<'a> {
    /// The keys that the row declares, locked.
    pub keys: Keys<'a>,
    /// Where the reply goes.
    pub reply: &'a mut Reply,
    /// The time, fixed for the whole command.
    pub now: UnixMs,
    /// The client.
    pub session: &'a mut Session,
    /// The options, fixed for the whole command.
    pub config: &'a Config,
    /// What all clients share.
    pub server: &'a Arc<Server>,
    /// A random number, new for each command.
    pub random: u64,
}

impl Context<'_> {
    /// Has keys locked, and in memory, that no row declares.
    fn need_keys(&mut self, keys: impl IntoIterator<Item = OtherKey>) -> Result<(), Stop> {
        let has = self.session.suspended.as_ref();
        let has: HashSet<&OtherKey> = has.into_iter().flat_map(|has| &has.others).collect();
        let keys: HashSet<OtherKey> = keys.into_iter().collect();
        if keys.iter().all(|key| has.contains(key)) {
            return Ok(());
        }
        Err(Suspend::Keys(keys.into_iter().collect()).into())
    }

    /// The answer of the tier below, if it is what the command waited for.
    fn answer(&mut self) -> Option<Page> {
        self.session.suspended.as_mut()?.take_page()
    }

    /// Asks the tier below.
    fn ask_below(&mut self, ask: Ask) -> Result<Page, Stop> {
        match self.answer() {
            Some(page) if page.failed => Err(CommandError::Unreadable.into()),
            Some(page) => Ok(page),
            None => Err(Suspend::Answer(ask).into()),
        }
    }
}
