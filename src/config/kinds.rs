//! What the value of an option may be: reading it, writing it, and saying what is allowed.
//!
//! A row holds one `Kind`, and the kind holds the way to its field in `Config`; so nothing but the rows knows which
//! directive is which field. The texts of the errors are those of Redis 7.0, checked against a running one.
//!
//! Invariant: `read` changes the config only when it answers `Ok`.

use std::borrow::Cow;
use std::path::PathBuf;

use super::inert::Inert;
use super::types::{
    Bind, OutputLimit, OutputLimits, Rename, Secret, Share, TierPolicy, TierRule, TierRules,
};
use super::{Config, file, machine};

/// Redis listens on at most this many addresses.
const MAX_BIND_ADDRESSES: usize = 16;

/// Why a value was refused, in the words of Redis.
pub(crate) type Refusal = Cow<'static, str>;

/// The way to a field of `Config`.
pub(crate) struct Slot<T: 'static> {
    pub(crate) get: fn(&Config) -> &T,
    pub(crate) of: fn(&mut Config) -> &mut T,
}

/// The way to a field that is an integer of any width. Values outside the width of the field are the row's mistake, and a
/// test stores both ends of each range.
pub(crate) struct Number {
    pub(crate) get: fn(&Config) -> i64,
    pub(crate) set: fn(&mut Config, i64),
}

/// The way to a field that is one of a few words.
pub(crate) struct Word {
    pub(crate) names: &'static [&'static str],
    pub(crate) get: fn(&Config) -> &'static str,
    /// Answers false when the word is none of `names`.
    pub(crate) set: fn(&mut Config, &str) -> bool,
}

/// The shape and the range of an option's value.
pub(crate) enum Kind {
    /// `yes` or `no`.
    Bool(Slot<bool>),
    /// A whole number.
    Integer { min: i64, max: i64, field: Number },
    /// A file mode: an octal number up to 777.
    Mode(Number),
    /// An amount of memory: `100`, `1k` (1000), `1kb` (1024) ...
    Bytes { min: i64, field: Number },
    /// Bytes, or a share of what the machine or container has (`40%`).
    MachineShare(Number),
    /// Bytes, or a share of `maxmemory`.
    Share(Slot<Share>),
    /// One of a few words.
    Word(Word),
    /// A path; empty is none.
    Path(Slot<Option<PathBuf>>),
    /// A directory, shown as an absolute path.
    Directory(Slot<PathBuf>),
    /// Never printed.
    Secret(Slot<Secret>),
    /// Addresses to listen on.
    Addresses(Slot<Vec<Bind>>),
    /// `class hard soft seconds`, once or more.
    OutputLimits(Slot<OutputLimits>),
    /// Numbers from 0 to 100.
    Percentiles(Slot<Vec<f64>>),
    /// `prefix policy`, once or more, or nothing. Several lines of a file add up.
    TierRules(Slot<TierRules>),
    /// `command name`, once or more, or nothing. Several lines of a file add up.
    Renames(Slot<Vec<Rename>>),
    /// Accepted without effect.
    Inert(Inert),
}

impl Kind {
    /// Whether the value is a list of words: then words are split at blanks where one string is given, as CONFIG SET does.
    pub(crate) fn is_list(&self) -> bool {
        match self {
            Self::Addresses(_)
            | Self::OutputLimits(_)
            | Self::Percentiles(_)
            | Self::TierRules(_)
            | Self::Renames(_) => true,
            Self::Inert(inert) => inert.is_list(),
            _ => false,
        }
    }

    /// Whether a value adds to those before it, until one that is empty.
    pub(crate) fn adds_up(&self) -> bool {
        match self {
            Self::TierRules(_) | Self::Renames(_) => true,
            Self::Inert(inert) => inert.adds_up(),
            _ => false,
        }
    }

    pub(crate) fn is_secret(&self) -> bool {
        match self {
            Self::Secret(_) => true,
            Self::Inert(inert) => inert.is_secret(),
            _ => false,
        }
    }

    /// Reads a value that stands in one string.
    pub(crate) fn read_text(&self, config: &mut Config, text: &str) -> Result<(), Refusal> {
        match self {
            // A prefix or a name may be empty, or hold blanks.
            Self::TierRules(_) | Self::Renames(_) => {
                let words = file::split_words(text.as_bytes()).map_err(|e| e.to_string())?;
                self.read(
                    config,
                    &words.iter().map(String::as_str).collect::<Vec<_>>(),
                )
            }
            _ if self.is_list() => {
                let words: Vec<&str> = text.split_ascii_whitespace().collect();
                self.read(config, &words)
            }
            _ => self.read(config, &[text]),
        }
    }

    /// Reads the value of CONFIG SET, which is the whole of it.
    pub(crate) fn read_whole(&self, config: &mut Config, text: &str) -> Result<(), Refusal> {
        if let Self::Inert(inert) = self {
            // The config is a copy, which is dropped when this fails.
            inert.reset(config);
        }
        let Self::TierRules(slot) = self else {
            return self.read_text(config, text);
        };
        let before = std::mem::take((slot.of)(config));
        let read = self.read_text(config, text);
        if read.is_err() {
            *(slot.of)(config) = before;
        }
        read
    }

    /// Reads a value that is already split into words, as a line of a file is.
    pub(crate) fn read(&self, config: &mut Config, words: &[&str]) -> Result<(), Refusal> {
        match self {
            Self::Addresses(slot) => *(slot.of)(config) = read_addresses(words)?,
            Self::OutputLimits(slot) => {
                *(slot.of)(config) = read_output_limits(*(slot.get)(config), words)?
            }
            Self::Percentiles(slot) => *(slot.of)(config) = read_percentiles(words)?,
            Self::TierRules(slot) => {
                *(slot.of)(config) = read_tier_rules((slot.get)(config).clone(), words)?
            }
            Self::Renames(slot) => {
                *(slot.of)(config) = read_renames((slot.get)(config).clone(), words)?
            }
            Self::Inert(inert) => inert.read(config, words)?,
            _ => {
                let [word] = words else {
                    return Err("wrong number of arguments".into());
                };
                self.read_word(config, word)?;
            }
        }
        Ok(())
    }

    fn read_word(&self, config: &mut Config, word: &str) -> Result<(), Refusal> {
        match self {
            Self::Bool(slot) => *(slot.of)(config) = read_bool(word)?,
            Self::Integer { min, max, field } => {
                (field.set)(config, read_integer(word, *min, *max)?)
            }
            Self::Mode(field) => (field.set)(config, read_mode(word)?),
            Self::Bytes { min, field } => (field.set)(config, read_bytes(word, *min)?),
            Self::MachineShare(field) => (field.set)(config, read_machine_share(word)?),
            Self::Share(slot) => *(slot.of)(config) = read_share(word)?,
            Self::Word(choice) => {
                if !(choice.set)(config, word) {
                    let names = choice.names.join(", ");
                    return Err(format!("argument(s) must be one of the following: {names}").into());
                }
            }
            Self::Path(slot) => {
                *(slot.of)(config) = (!word.is_empty()).then(|| PathBuf::from(word))
            }
            Self::Directory(slot) => {
                if word.is_empty() {
                    return Err("argument must be a directory".into());
                }
                *(slot.of)(config) = PathBuf::from(word);
            }
            Self::Secret(slot) => *(slot.of)(config) = Secret::new(word.to_owned()),
            Self::Addresses(_)
            | Self::OutputLimits(_)
            | Self::Percentiles(_)
            | Self::TierRules(_)
            | Self::Renames(_)
            | Self::Inert(_) => {
                debug_assert!(false, "lists are read by `read`");
            }
        }
        Ok(())
    }

    /// The value as CONFIG GET shows it.
    pub(crate) fn text(&self, config: &Config) -> String {
        match self {
            Self::Bool(slot) => if *(slot.get)(config) { "yes" } else { "no" }.to_owned(),
            Self::Integer { field, .. } | Self::Bytes { field, .. } | Self::MachineShare(field) => {
                (field.get)(config).to_string()
            }
            Self::Mode(field) => format!("{:o}", (field.get)(config)),
            Self::Share(slot) => (slot.get)(config).to_string(),
            Self::Word(choice) => (choice.get)(config).to_owned(),
            Self::Path(slot) => (slot.get)(config)
                .as_ref()
                .map_or_else(String::new, |path| path.to_string_lossy().into_owned()),
            Self::Secret(slot) => (slot.get)(config).reveal().to_owned(),
            Self::Addresses(slot) => joined((slot.get)(config)),
            Self::OutputLimits(slot) => (slot.get)(config).to_string(),
            Self::Percentiles(slot) => joined((slot.get)(config)),
            Self::TierRules(slot) => (slot.get)(config).to_string(),
            Self::Directory(slot) => {
                let directory = (slot.get)(config);
                let absolute = std::path::absolute(directory);
                let absolute = absolute.as_deref().unwrap_or(directory);
                absolute.to_string_lossy().into_owned()
            }
            Self::Renames(slot) => {
                let words = |rename: &Rename| {
                    format!(
                        "{} {}",
                        file::quoted(&rename.command),
                        file::quoted(&rename.name)
                    )
                };
                joined(&(slot.get)(config).iter().map(words).collect::<Vec<_>>())
            }
            Self::Inert(inert) => inert.text(config),
        }
    }

    /// The value as it stands behind the name in a file: quoted where needed, sizes with their unit.
    pub(crate) fn file_text(&self, config: &Config) -> String {
        let text = match self {
            Self::Bytes { field, .. } | Self::MachineShare(field) => {
                bytes_text((field.get)(config))
            }
            Self::Share(slot) => match *(slot.get)(config) {
                Share::Bytes(bytes) => bytes_text(i64::try_from(bytes).unwrap_or(i64::MAX)),
                share @ Share::Percent(_) => share.to_string(),
            },
            _ => self.text(config),
        };
        if self.is_list() && !text.is_empty() {
            text
        } else {
            file::quoted(&text).into_owned()
        }
    }

    /// What is allowed, for help and the template.
    pub(crate) fn allowed(&self) -> String {
        match self {
            Self::Bool(_) => "yes or no".to_owned(),
            Self::Integer {
                min, max: i64::MAX, ..
            } => format!("a number from {min}"),
            Self::Integer { min, max, .. } => format!("a number from {min} to {max}"),
            Self::Mode(_) => "an octal file mode up to 777".to_owned(),
            Self::Bytes { min: 0, .. } => "a size such as 100mb".to_owned(),
            Self::Bytes { min, .. } => format!("a size from {}", bytes_text(*min)),
            Self::MachineShare(_) => {
                "a size such as 1gb, or a share of the machine or container such as 40%".to_owned()
            }
            Self::Share(_) => "a size such as 1gb, or a share of maxmemory such as 5%".to_owned(),
            Self::Word(choice) => choice.names.join(", "),
            Self::Path(_) => "a path, or nothing".to_owned(),
            Self::Secret(_) => "any text".to_owned(),
            Self::Addresses(_) => format!("up to {MAX_BIND_ADDRESSES} addresses"),
            Self::OutputLimits(_) => {
                "class, hard limit, soft limit, seconds; for one class or more".to_owned()
            }
            Self::Percentiles(_) => "numbers from 0 to 100".to_owned(),
            Self::Directory(_) => "a directory".to_owned(),
            Self::Renames(_) => "a command and its name, or nothing".to_owned(),
            Self::Inert(inert) => inert.allowed(),
            Self::TierRules(_) => format!(
                "up to {} prefixes of keys, behind each one of {}",
                TierRules::MAX,
                TierPolicy::NAMES.join(", ")
            ),
        }
    }
}

fn joined<T: ToString>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(" ")
}

pub(super) fn read_bool(word: &str) -> Result<bool, Refusal> {
    if word.eq_ignore_ascii_case("yes") {
        Ok(true)
    } else if word.eq_ignore_ascii_case("no") {
        Ok(false)
    } else {
        Err("argument must be 'yes' or 'no'".into())
    }
}

pub(super) fn read_integer(word: &str, min: i64, max: i64) -> Result<i64, Refusal> {
    // As strict as Redis's string2ll: neither a plus sign nor leading zeros.
    let digits = word.strip_prefix('-').unwrap_or(word);
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit())
        && (word == "0" || !digits.starts_with('0'));
    let value = word
        .parse::<i64>()
        .ok()
        .filter(|_| plain)
        .ok_or("argument couldn't be parsed into an integer")?;
    in_range(value, min, max)
}

fn in_range(value: i64, min: i64, max: i64) -> Result<i64, Refusal> {
    if (min..=max).contains(&value) {
        Ok(value)
    } else {
        Err(format!("argument must be between {min} and {max} inclusive").into())
    }
}

fn read_mode(word: &str) -> Result<i64, Refusal> {
    let mode = Some(word)
        .filter(|word| !word.starts_with('+'))
        .and_then(|word| i64::from_str_radix(word, 8).ok());
    match mode {
        None => Err("argument couldn't be parsed as an octal number".into()),
        Some(mode @ 0..=0o777) => Ok(mode),
        Some(_) => Err("argument must be between 0 and 777 inclusive".into()),
    }
}

pub(super) fn read_bytes(word: &str, min: i64) -> Result<i64, Refusal> {
    in_range(
        parse_bytes(word).ok_or("argument must be a memory value")?,
        min,
        i64::MAX,
    )
}

fn read_share(word: &str) -> Result<Share, Refusal> {
    let Some(percent) = word.strip_suffix('%') else {
        let bytes = parse_bytes(word).and_then(|bytes| u64::try_from(bytes).ok());
        return Ok(Share::Bytes(
            bytes.ok_or("argument must be a memory or percent value")?,
        ));
    };
    let plain = !percent.is_empty() && percent.bytes().all(|byte| byte.is_ascii_digit());
    if !plain {
        return Err("argument must be a memory or percent value".into());
    }
    match percent.parse::<u8>() {
        Ok(percent @ 0..=100) => Ok(Share::Percent(percent)),
        _ => Err("percentage argument must be less or equal to 100".into()),
    }
}

fn read_machine_share(word: &str) -> Result<i64, Refusal> {
    if !word.ends_with('%') {
        return read_bytes(word, 0);
    }
    let share = read_share(word)?;
    if share == Share::Percent(0) {
        return Err("percentage argument must be at least 1; 0 without % means no limit".into());
    }
    Ok(i64::try_from(share.of(machine::memory_bytes())).unwrap_or(i64::MAX))
}

/// Reads a size as Redis does: `k`, `m` and `g` are powers of 1000, `kb`, `mb` and `gb` of 1024, in any case. Unlike Redis
/// it refuses what is empty or does not fit, where Redis would take 0 or the largest number.
#[must_use]
pub fn parse_bytes(text: &str) -> Option<i64> {
    let split = text
        .bytes()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    digits.parse::<i64>().ok()?.checked_mul(factor)
}

/// A size in the largest unit that leaves it whole.
fn bytes_text(bytes: i64) -> String {
    for (unit, name) in [(1_i64 << 30, "gb"), (1 << 20, "mb"), (1 << 10, "kb")] {
        if bytes > 0 && bytes % unit == 0 {
            return format!("{}{name}", bytes / unit);
        }
    }
    bytes.to_string()
}

fn read_addresses(words: &[&str]) -> Result<Vec<Bind>, Refusal> {
    if words.len() > MAX_BIND_ADDRESSES {
        return Err("Too many bind addresses specified.".into());
    }
    // `bind ""` is no address at all.
    let addresses: Vec<Bind> = words
        .iter()
        .filter(|word| !word.is_empty())
        .map(|word| Bind::from_word(word))
        .collect();
    if addresses.iter().any(|bind| bind.host.is_empty()) {
        return Err(
            "argument must be addresses, each with '-' before it if it may be missing".into(),
        );
    }
    Ok(addresses)
}

fn read_output_limits(mut limits: OutputLimits, words: &[&str]) -> Result<OutputLimits, Refusal> {
    const NUMBERS: &str =
        "Error in hard, soft or soft_seconds setting in buffer limit configuration.";
    let (triples, rest) = words.as_chunks::<4>();
    if triples.is_empty() || !rest.is_empty() {
        return Err("Wrong number of arguments in buffer limit configuration.".into());
    }
    for [class, hard, soft, seconds] in triples {
        let limit = match class.to_ascii_lowercase().as_str() {
            "normal" => &mut limits.normal,
            "replica" | "slave" => &mut limits.replica,
            "pubsub" => &mut limits.pubsub,
            _ => {
                return Err("Invalid client class specified in buffer limit configuration.".into());
            }
        };
        let bytes = |text: &str| {
            parse_bytes(text)
                .and_then(|bytes| u64::try_from(bytes).ok())
                .ok_or(NUMBERS)
        };
        let soft_s = read_integer(seconds, 0, i64::from(i32::MAX)).map_err(|_| NUMBERS)?;
        *limit = OutputLimit {
            hard_bytes: bytes(hard)?,
            soft_bytes: bytes(soft)?,
            soft_s: soft_s.unsigned_abs(),
        };
    }
    Ok(limits)
}

fn read_percentiles(words: &[&str]) -> Result<Vec<f64>, Refusal> {
    let mut percentiles = Vec::with_capacity(words.len());
    for word in words.iter().filter(|word| !word.is_empty()) {
        let value: f64 = word
            .parse()
            .map_err(|_| "Invalid latency-tracking-info-percentiles parameters")?;
        if !(0.0..=100.0).contains(&value) {
            return Err(
                "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]"
                    .into(),
            );
        }
        percentiles.push(value);
    }
    Ok(percentiles)
}

fn read_tier_rules(mut rules: TierRules, words: &[&str]) -> Result<TierRules, Refusal> {
    if matches!(words, [] | [""]) {
        return Ok(TierRules::default());
    }
    let (pairs, rest) = words.as_chunks::<2>();
    if !rest.is_empty() {
        return Err("each prefix must have a policy behind it".into());
    }
    for [prefix, policy] in pairs {
        let Some(policy) = TierPolicy::from_name(policy) else {
            let names = TierPolicy::NAMES.join(", ");
            return Err(format!("argument(s) must be one of the following: {names}").into());
        };
        let prefix = (*prefix).to_owned();
        if !rules.add(TierRule { prefix, policy }) {
            return Err(format!("there may be {} prefixes at most", TierRules::MAX).into());
        }
    }
    Ok(rules)
}

fn read_renames(mut renames: Vec<Rename>, words: &[&str]) -> Result<Vec<Rename>, Refusal> {
    if matches!(words, [] | [""]) {
        return Ok(Vec::new());
    }
    let (pairs, rest) = words.as_chunks::<2>();
    if !rest.is_empty() {
        return Err("each command must have a name behind it".into());
    }
    renames.extend(pairs.iter().map(|[command, name]| Rename {
        command: (*command).to_owned(),
        name: (*name).to_owned(),
    }));
    Ok(renames)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_redis_reads_them() {
        let good = [
            ("0", 0),
            ("100", 100),
            ("1b", 1),
            ("1k", 1000),
            ("1K", 1000),
            ("1kb", 1024),
            ("1kB", 1024),
            ("1m", 1_000_000),
            ("1mb", 1 << 20),
            ("1g", 1_000_000_000),
            ("1gb", 1 << 30),
            ("9223372036854775807", i64::MAX),
        ];
        for (text, bytes) in good {
            assert_eq!(parse_bytes(text), Some(bytes), "{text}");
        }
        for text in [
            "",
            "gb",
            "-1",
            "+1",
            "1.5gb",
            "1zb",
            "1 gb",
            "9223372036854775808",
            "9223372036854775807k",
            "1é",
        ] {
            assert_eq!(parse_bytes(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_written_in_the_largest_whole_unit() {
        for (bytes, text) in [
            (0, "0"),
            (1, "1"),
            (1024, "1kb"),
            (1536, "1536"),
            (3 << 20, "3mb"),
            (1 << 40, "1024gb"),
        ] {
            assert_eq!(bytes_text(bytes), text);
            assert_eq!(parse_bytes(text), Some(bytes));
        }
    }

    #[test]
    fn integers_have_no_sign_zeros_or_fraction() {
        assert_eq!(read_integer("0", 0, 9).unwrap(), 0);
        assert_eq!(read_integer("-1", -1, 9).unwrap(), -1);
        for text in [
            "",
            "-",
            "+1",
            "01",
            "-0",
            "1.5",
            " 1",
            "1k",
            "99999999999999999999",
        ] {
            assert_eq!(
                read_integer(text, -9, 9),
                Err("argument couldn't be parsed into an integer".into()),
                "{text}"
            );
        }
        assert_eq!(
            read_integer("10", 0, 9),
            Err("argument must be between 0 and 9 inclusive".into())
        );
    }

    #[test]
    fn shares_are_bytes_or_per_cent() {
        assert_eq!(read_share("5%").unwrap(), Share::Percent(5));
        assert_eq!(read_share("1kb").unwrap(), Share::Bytes(1024));
        assert_eq!(
            read_share("101%"),
            Err("percentage argument must be less or equal to 100".into())
        );
        for text in ["%", "-1%", "+1%", "x%", "x"] {
            assert_eq!(
                read_share(text),
                Err("argument must be a memory or percent value".into()),
                "{text}"
            );
        }
        assert!(read_machine_share("0%").is_err());
        assert_eq!(read_machine_share("0").unwrap(), 0);
        assert!(read_machine_share("100%").unwrap() > 0);
    }

    #[test]
    fn modes_are_octal() {
        assert_eq!(read_mode("700").unwrap(), 0o700);
        assert_eq!(
            read_mode("8"),
            Err("argument couldn't be parsed as an octal number".into())
        );
        assert_eq!(
            read_mode("1000"),
            Err("argument must be between 0 and 777 inclusive".into())
        );
    }

    #[test]
    fn output_limits_change_only_the_classes_named() {
        let before = OutputLimits {
            pubsub: OutputLimit {
                hard_bytes: 9,
                soft_bytes: 8,
                soft_s: 7,
            },
            ..Default::default()
        };
        let after = read_output_limits(
            before,
            &["normal", "1k", "1kb", "10", "SLAVE", "1", "2", "3"],
        )
        .unwrap();
        assert_eq!(
            after.to_string(),
            "normal 1000 1024 10 slave 1 2 3 pubsub 9 8 7"
        );
        let numbers = "Error in hard, soft or soft_seconds setting in buffer limit configuration.";
        let bad: [(&[&str], &str); 5] = [
            (
                &[],
                "Wrong number of arguments in buffer limit configuration.",
            ),
            (
                &["normal", "0", "0"],
                "Wrong number of arguments in buffer limit configuration.",
            ),
            (
                &["foo", "0", "0", "0"],
                "Invalid client class specified in buffer limit configuration.",
            ),
            (&["normal", "a", "0", "0"], numbers),
            (&["normal", "0", "0", "-1"], numbers),
        ];
        for (words, text) in bad {
            assert_eq!(read_output_limits(before, words), Err(text.into()));
        }
    }

    #[test]
    fn percentiles_sit_between_0_and_100() {
        assert_eq!(
            read_percentiles(&["0", "99.9", "100"]).unwrap(),
            [0.0, 99.9, 100.0]
        );
        assert!(read_percentiles(&[""]).unwrap().is_empty());
        for word in ["-0.1", "100.1", "nan", "inf", "x"] {
            assert!(read_percentiles(&[word]).is_err(), "{word}");
        }
    }

    #[test]
    fn addresses_may_be_optional() {
        let addresses = read_addresses(&["127.0.0.1", "-::1"]).unwrap();
        assert_eq!(joined(&addresses), "127.0.0.1 -::1");
        assert!(addresses[1].optional && addresses[1].host == "::1");
        assert!(read_addresses(&[""]).unwrap().is_empty());
        assert!(read_addresses(&["-"]).is_err());
        assert_eq!(
            read_addresses(&["1"; 17]),
            Err("Too many bind addresses specified.".into())
        );
        assert_eq!(read_addresses(&["1"; 16]).unwrap().len(), 16);
    }

    #[test]
    fn tier_rules_add_up_until_an_empty_value() {
        let read = |rules: &TierRules, words: &[&str]| read_tier_rules(rules.clone(), words);
        let rules = read(&TierRules::default(), &["a:", "PINNED", "", "disk"]).unwrap();
        let rules = read(&rules, &["a:", "memory-only"]).unwrap();
        assert_eq!(rules.to_string(), "\"\" disk a: memory-only");
        for none in [&[][..], &[""]] {
            assert!(read(&rules, none).unwrap().is_empty());
        }
        assert_eq!(
            read(&rules, &["a:", "pinned", "b:"]),
            Err("each prefix must have a policy behind it".into())
        );
        assert_eq!(
            read(&rules, &["a:", "disc"]),
            Err("argument(s) must be one of the following: memory-only, disk, pinned".into())
        );
        let many: Vec<String> = (0..=TierRules::MAX).map(|i| i.to_string()).collect();
        let many: Vec<&str> = many.iter().flat_map(|i| [i.as_str(), "disk"]).collect();
        assert_eq!(
            read(&TierRules::default(), &many),
            Err("there may be 64 prefixes at most".into())
        );
    }
}
