//! The typed values that options have when a number or a boolean would not say enough.
//!
//! Each type knows its own text form, in the words of redis.conf; what a directive allows is in `kinds.rs`.

use std::fmt;

use super::file;

/// Declares an enum of option words: the variant, its word, and the list of all of them in the order in which an error
/// names them.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$vdoc])* $variant),+
        }

        impl $name {
            /// Every word of the option, in the order in which errors list them.
            pub const NAMES: &'static [&'static str] = &[$($word),+];

            /// The word as it stands in a file and in CONFIG GET.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The value of a word, in any case.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                $(if name.eq_ignore_ascii_case($word) { return Some(Self::$variant); })+
                None
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

words! {
    /// Which key goes when `maxmemory` is reached.
    EvictionPolicy {
        /// Least recently used of the keys with a TTL.
        VolatileLru = "volatile-lru",
        /// Least frequently used of the keys with a TTL.
        VolatileLfu = "volatile-lfu",
        /// Least recently modified of the keys with a TTL.
        VolatileLrm = "volatile-lrm",
        /// Any of the keys with a TTL.
        VolatileRandom = "volatile-random",
        /// The key whose time comes first.
        VolatileTtl = "volatile-ttl",
        /// Least recently used of all keys.
        AllkeysLru = "allkeys-lru",
        /// Least frequently used of all keys.
        AllkeysLfu = "allkeys-lfu",
        /// Least recently modified of all keys: reads count for nothing.
        AllkeysLrm = "allkeys-lrm",
        /// Any key.
        AllkeysRandom = "allkeys-random",
        /// S3-FIFO over all keys: a scan cannot push out what is in use.
        #[default]
        AllkeysS3fifo = "allkeys-s3fifo",
        /// None: a command that needs memory is refused.
        NoEviction = "noeviction",
    }
}

impl EvictionPolicy {
    /// Whether only keys with a TTL may be evicted.
    #[must_use]
    pub fn is_volatile(self) -> bool {
        matches!(
            self,
            Self::VolatileLru
                | Self::VolatileLrm
                | Self::VolatileLfu
                | Self::VolatileRandom
                | Self::VolatileTtl
        )
    }

    /// Whether keys have the time of the last change instead of the last access.
    #[must_use]
    pub fn is_lrm(self) -> bool {
        matches!(self, Self::AllkeysLrm | Self::VolatileLrm)
    }

    /// Whether keys have a counter of accesses, and no time of the last one.
    #[must_use]
    pub fn is_lfu(self) -> bool {
        matches!(self, Self::AllkeysLfu | Self::VolatileLfu)
    }
}

words! {
    /// What of the disk tier survives the end of the process.
    TierDurability {
        /// Nothing: the tier holds what memory has no room for, and begins empty after a crash.
        None = "none",
        /// All but the last second.
        #[default]
        Everysec = "everysec",
        /// All that was acknowledged.
        Always = "always",
    }
}

words! {
    /// What happens when memory is full of what the disk has not taken yet.
    TierOverload {
        /// Unwritten keys are evicted after a short wait.
        Shed = "shed",
        /// Commands that need memory wait.
        #[default]
        Block = "block",
    }
}

words! {
    /// Which victims go to disk, where only victims do.
    TierAdmission {
        /// Every one.
        All = "all",
        /// What was used, or was a victim before.
        Ghost = "ghost",
        /// Every one until the disk is nearly full.
        #[default]
        Auto = "auto",
    }
}

words! {
    /// Where a key may be.
    TierPolicy {
        /// In memory, and never on disk.
        MemoryOnly = "memory-only",
        /// In both.
        #[default]
        Disk = "disk",
        /// In both, and always in memory.
        Pinned = "pinned",
    }
}

words! {
    /// How values in memory are compressed that have cooled down.
    MemoryCompression {
        /// Not at all.
        #[default]
        None = "none",
        /// With lz4.
        Lz4 = "lz4",
    }
}

words! {
    /// How values on disk are compressed.
    TierCompression {
        /// With zstd, and dictionaries that are learnt.
        #[default]
        Zstd = "zstd",
        /// With lz4: fast, and of little use for short values.
        Lz4 = "lz4",
        /// Not at all.
        None = "none",
    }
}

words! {
    /// The least severe message that is logged.
    LogLevel {
        /// Everything.
        Debug = "debug",
        /// Much, but not each request.
        Verbose = "verbose",
        /// What one wants in production.
        #[default]
        Notice = "notice",
        /// Only what is important or wrong.
        Warning = "warning",
        /// None at all.
        Nothing = "nothing",
    }
}

words! {
    /// How a log line is written.
    LogFormat {
        /// For people.
        #[default]
        Text = "text",
        /// The same, in the word of Valkey.
        Legacy = "legacy",
        /// One JSON object a line.
        Json = "json",
    }
}

words! {
    /// From where a guarded command may be called.
    CallableFrom {
        /// From nowhere.
        #[default]
        No = "no",
        /// From everywhere.
        Yes = "yes",
        /// From loopback and the unix socket.
        Local = "local",
    }
}

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// An IP address, a host name, `*` (every IPv4 address) or `::*` (every IPv6 address).
    pub host: String,
    /// Whether the server starts without it when the machine has no such address; written as a leading `-`.
    pub optional: bool,
}

impl Bind {
    /// Reads one word of `bind`. Cannot fail: a wrong address shows itself when it is bound.
    #[must_use]
    pub fn from_word(word: &str) -> Self {
        match word.strip_prefix('-') {
            Some(host) => Self {
                host: host.to_owned(),
                optional: true,
            },
            None => Self {
                host: word.to_owned(),
                optional: false,
            },
        }
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.optional { "-" } else { "" }, self.host)
    }
}

/// An amount of memory, absolute or relative to `maxmemory`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Bytes.
    Bytes(u64),
    /// Per cent, 0 to 100.
    Percent(u8),
}

impl Share {
    /// The amount in bytes when the whole is `whole_bytes`.
    #[must_use]
    pub fn of(self, whole_bytes: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            // Divided first: the product of two outside numbers could overflow.
            Self::Percent(percent) => {
                let (hundredths, rest) = (whole_bytes / 100, whole_bytes % 100);
                hundredths.saturating_mul(u64::from(percent)) + rest * u64::from(percent) / 100
            }
        }
    }
}

impl Default for Share {
    fn default() -> Self {
        Self::Bytes(0)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{bytes}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// A value that is never shown but to CONFIG GET: its `Debug` is masked, and it has no `Display`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The secret itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether none is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() {
            "(none)"
        } else {
            "(hidden)"
        })
    }
}

/// When a client that does not read its replies is closed. A 0 means no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputLimit {
    /// Closed at once above this many bytes.
    pub hard_bytes: u64,
    /// Closed after `soft_s` seconds above this many bytes.
    pub soft_bytes: u64,
    /// See `soft_bytes`.
    pub soft_s: u64,
}

/// The output limits of each class of clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputLimits {
    /// Clients that send commands, MONITOR among them.
    pub normal: OutputLimit,
    /// Replicas. Strata has none; kept because clients read and write the three classes together.
    pub replica: OutputLimit,
    /// Clients with a subscription.
    pub pubsub: OutputLimit,
}

impl fmt::Display for OutputLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // "slave" is what Redis 7 prints, whatever name the file used.
        let classes = [
            ("normal", self.normal),
            ("slave", self.replica),
            ("pubsub", self.pubsub),
        ];
        for (at, (class, limit)) in classes.into_iter().enumerate() {
            let gap = if at == 0 { "" } else { " " };
            write!(
                f,
                "{gap}{class} {} {} {}",
                limit.hard_bytes, limit.soft_bytes, limit.soft_s
            )?;
        }
        Ok(())
    }
}

/// What holds for the keys with one prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TierRule {
    /// What the keys begin with.
    pub prefix: String,
    /// Where they may be.
    pub policy: TierPolicy,
}

impl TierRule {
    fn order(&self) -> (usize, &str) {
        (self.prefix.len(), &self.prefix)
    }
}

/// The rules of `tier-policy`, those for longer prefixes behind those for shorter ones. Each prefix is there once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TierRules(Vec<TierRule>);

impl TierRules {
    /// The most rules: each new key is compared with all of them.
    pub const MAX: usize = 64;

    /// Whether there are none, so that every key may be in both tiers.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Where a key may be: what the rule for its longest prefix says.
    #[must_use]
    pub fn policy_of(&self, key: &[u8]) -> TierPolicy {
        let mut rules = self.0.iter().rev();
        let rule = rules.find(|rule| key.starts_with(rule.prefix.as_bytes()));
        rule.map_or(TierPolicy::default(), |rule| rule.policy)
    }

    /// Adds a rule, in the place of that for the same prefix. False where there are too many.
    pub(super) fn add(&mut self, rule: TierRule) -> bool {
        match self
            .0
            .binary_search_by(|other| other.order().cmp(&rule.order()))
        {
            Ok(at) => self.0[at] = rule,
            Err(_) if self.0.len() >= Self::MAX => return false,
            Err(at) => self.0.insert(at, rule),
        }
        true
    }
}

impl fmt::Display for TierRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, rule) in self.0.iter().enumerate() {
            let gap = if at == 0 { "" } else { " " };
            write!(f, "{gap}{} {}", file::quoted(&rule.prefix), rule.policy)?;
        }
        Ok(())
    }
}

/// A command that has another name, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rename {
    /// The command.
    pub command: String,
    /// Its name from now on; empty where it has none.
    pub name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_of_the_longest_prefix_counts() {
        let mut rules = TierRules::default();
        assert_eq!(rules.policy_of(b"any"), TierPolicy::Disk);
        for (prefix, policy) in [
            ("user:", TierPolicy::Disk),
            ("", TierPolicy::Pinned),
            ("user:session:", TierPolicy::MemoryOnly),
            ("", TierPolicy::MemoryOnly),
            ("zz", TierPolicy::Pinned),
        ] {
            let prefix = prefix.to_owned();
            assert!(rules.add(TierRule { prefix, policy }));
        }
        for (key, policy) in [
            ("", TierPolicy::MemoryOnly),
            ("user", TierPolicy::MemoryOnly),
            ("user:", TierPolicy::Disk),
            ("user:session", TierPolicy::Disk),
            ("user:session:1", TierPolicy::MemoryOnly),
            ("zzz", TierPolicy::Pinned),
        ] {
            assert_eq!(rules.policy_of(key.as_bytes()), policy, "{key}");
        }
        assert_eq!(
            rules.to_string(),
            "\"\" memory-only zz pinned user: disk user:session: memory-only"
        );
    }

    #[test]
    fn there_is_a_limit_of_rules() {
        let rule = |number: usize| TierRule {
            prefix: format!("{number}:"),
            policy: TierPolicy::Pinned,
        };
        let mut rules = TierRules::default();
        assert!((0..TierRules::MAX).all(|number| rules.add(rule(number))));
        assert!(!rules.add(rule(TierRules::MAX)));
        assert!(rules.add(rule(7)));
    }

    #[test]
    fn a_share_is_exact_and_does_not_overflow() {
        assert_eq!(Share::Percent(40).of(1000), 400);
        assert_eq!(Share::Percent(33).of(101), 33);
        assert_eq!(Share::Percent(100).of(u64::MAX), u64::MAX);
        assert_eq!(Share::Percent(0).of(u64::MAX), 0);
        assert_eq!(Share::Bytes(7).of(1), 7);
    }

    #[test]
    fn words_are_read_back_in_any_case() {
        for name in EvictionPolicy::NAMES {
            let policy = EvictionPolicy::from_name(&name.to_uppercase()).unwrap();
            assert_eq!(policy.name(), *name);
        }
        assert_eq!(EvictionPolicy::from_name("lru"), None);
    }

    #[test]
    fn a_secret_is_masked_when_printed() {
        assert_eq!(
            format!("{:?}", Secret::new("hunter2".to_owned())),
            "(hidden)"
        );
    }
}
