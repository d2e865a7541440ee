//! The start: flags over environment over file over defaults.
//!
//! The sources are applied one after another onto the defaults, the weakest first, each value through its row; so the last
//! one wins, and every source is checked even where another one overrides it. All that is wrong is told at once.
//!
//! Flags follow redis-server: `strata my.conf --port 6380 --bind 127.0.0.1 -::1 --save ""`, and also `--port=6380`. A flag
//! whose value is a list takes all words up to the next `--`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use super::file::{self, FileError};
use super::guide::{self, Meaning};
use super::inert::{self, Outcome};
use super::kinds::Kind;
use super::nearest::nearest;
use super::options::{OPTIONS, Opt, Section, all, env_name, option};
use super::{Config, conflicts, one_line};

/// What the process was asked to do.
#[derive(Debug)]
pub enum Invocation {
    /// Serve with these options.
    Serve(Box<Loaded>),
    /// Only say what is wrong with them: `check-config`.
    Check(Box<Loaded>),
    /// Ask the server that runs with these options whether it is well: `healthcheck`.
    Ask(Box<Loaded>),
    /// Print this text to standard output and leave with status 0: `--help` or `--version`.
    Print(String),
}

/// The outcome of reading all sources.
#[derive(Debug)]
pub struct Loaded {
    /// The options.
    pub config: Config,
    /// The configuration file, absolute, for CONFIG REWRITE and INFO.
    pub file: Option<PathBuf>,
    /// What should be logged once at the start, one line each.
    pub warnings: Vec<String>,
}

/// All that is wrong. `Display` is a line for each.
#[derive(Debug)]
pub struct Problems(pub Vec<LoadError>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if at == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl From<LoadError> for Problems {
    fn from(error: LoadError) -> Self {
        Self(vec![error])
    }
}

/// Why the server cannot start. `Display` is one line: name, value, what is allowed, and where it stands.
#[derive(Debug)]
pub enum LoadError {
    /// An option has a wrong value.
    Value {
        /// The name as it was given.
        name: String,
        /// The value; none when it is a secret.
        value: Option<String>,
        /// What is allowed.
        allowed: String,
        /// Where it stands.
        origin: Origin,
    },
    /// There is no such option.
    Unknown {
        /// The name as it was given.
        name: String,
        /// What was probably meant.
        nearest: Option<&'static str>,
        /// Where it stands.
        origin: Origin,
    },
    /// The option is one of Redis that would be unsafe to ignore.
    Unsupported {
        /// The name as it was given.
        name: String,
        /// What is missing.
        why: String,
        /// Where it stands.
        origin: Origin,
    },
    /// A file could not be read; the text names it.
    File(String),
    /// The command line is not one.
    Usage(String),
}

/// Where a value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// On the command line.
    Flag,
    /// In the environment.
    Environment,
    /// In a file, at a line counted from 1.
    File(PathBuf, usize),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("command line"),
            Self::Environment => f.write_str("environment"),
            Self::File(path, line) => write!(f, "{} line {line}", path.display()),
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value {
                name,
                value,
                allowed,
                origin,
            } => {
                let value = value.as_deref().unwrap_or("(hidden)");
                let value = if value.is_empty() { "\"\"" } else { value };
                write!(
                    f,
                    "{} {}: {} ({origin})",
                    one_line(name),
                    one_line(value),
                    one_line(allowed)
                )
            }
            // Without the value: it may be the password of a misspelt requirepass.
            Self::Unknown {
                name,
                nearest: Some(nearest),
                origin,
            } => {
                write!(
                    f,
                    "{}: no such option; the nearest is '{nearest}' ({origin})",
                    one_line(name)
                )
            }
            Self::Unknown {
                name,
                nearest: None,
                origin,
            } => {
                write!(
                    f,
                    "{}: no such option; --help lists them all ({origin})",
                    one_line(name)
                )
            }
            Self::Unsupported { name, why, origin } => {
                write!(f, "{}: {why} ({origin})", one_line(name))
            }
            Self::File(text) | Self::Usage(text) => f.write_str(&one_line(text)),
        }
    }
}

impl std::error::Error for LoadError {}

impl From<FileError> for LoadError {
    fn from(error: FileError) -> Self {
        Self::File(error.to_string())
    }
}

/// Reads the options of this process. `args` begins with the program's name; `env` is the whole environment; `faults` tells
/// what else is wrong, of which nothing here knows.
///
/// # Errors
/// All that is wrong with them.
pub fn from_process(
    args: impl IntoIterator<Item = OsString>,
    env: impl IntoIterator<Item = (OsString, OsString)>,
    faults: impl Fn(&Config) -> Vec<String>,
) -> Result<Invocation, Problems> {
    let mut loader = Loader::default();
    let line = CommandLine::read(args, &mut loader.problems);
    if let Some(text) = line.print {
        return Ok(Invocation::Print(text));
    }
    // As for redis-server, "-" is the standard input.
    let is_input = line.file.as_deref() == Some("-");
    let file = line.file.map(PathBuf::from);
    if let Some(path) = &file {
        loader.apply_file(if is_input {
            Path::new("/dev/stdin")
        } else {
            path
        });
    }
    loader.apply_environment(env);
    for (name, words) in &line.flags {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        loader.apply_words(name, &words, Origin::Flag);
    }
    loader.judge_inert();
    loader.check_together();
    let faults = faults(&loader.config).into_iter();
    loader.problems.extend(faults.map(LoadError::Usage));
    if !loader.problems.is_empty() {
        return Err(Problems(loader.problems));
    }
    // Absolute, because a relative path would follow a later change of directory.
    let file = file
        .filter(|_| !is_input)
        .map(|path| std::path::absolute(&path).unwrap_or(path));
    Ok((line.invocation)(Box::new(Loaded {
        config: loader.config,
        file,
        warnings: loader.warnings,
    })))
}

/// The options as a file alone gives them.
pub(super) fn from_file(path: &Path) -> Result<Config, Problems> {
    let mut loader = Loader::default();
    loader.apply_file(path);
    match loader.problems.is_empty() {
        true => Ok(loader.config),
        false => Err(Problems(loader.problems)),
    }
}

#[derive(Default)]
struct Loader {
    config: Config,
    warnings: Vec<String>,
    problems: Vec<LoadError>,
    /// Where options without effect were set.
    inert: BTreeMap<&'static str, Origin>,
}

impl Loader {
    fn apply_file(&mut self, path: &Path) {
        let (directives, errors) = file::read(path);
        let errors = errors.into_iter().map(LoadError::from);
        self.problems.extend(errors);
        for directive in directives {
            let origin = Origin::File(directive.file, directive.line);
            let words: Vec<&str> = directive.words.iter().map(String::as_str).collect();
            self.apply_words(&directive.name, &words, origin);
        }
    }

    /// Empty variables count as unset: deployments often pass on variables that have no value.
    fn apply_environment(&mut self, env: impl IntoIterator<Item = (OsString, OsString)>) {
        let mut own = Vec::new();
        for (name, value) in env {
            let Ok(name) = name.into_string() else {
                continue;
            };
            if value.is_empty() {
                continue;
            }
            if name.starts_with(ENV_PREFIX) {
                own.push((name, value));
            } else {
                // A value of the guide that is not UTF-8 is read as well as can be; its check then refuses it.
                self.apply_guide(&name, &value.to_string_lossy());
            }
        }
        // After the guide's names, since Strata's own are the more exact.
        for (name, value) in own {
            match value.into_string() {
                Ok(value) => self.apply_own_variable(&name, &value),
                Err(_) => self.problems.push(LoadError::Value {
                    name,
                    value: None,
                    allowed: "values must be UTF-8 text".to_owned(),
                    origin: Origin::Environment,
                }),
            }
        }
    }

    fn apply_guide(&mut self, name: &str, value: &str) {
        if let Some(option) = OPTIONS
            .iter()
            .find(|option| option.env_aliases.contains(&name))
        {
            return self.apply_variable(option, name, value);
        }
        match guide::meaning(name, value) {
            None | Some(Meaning::Nothing) => {}
            Some(Meaning::Option(directive, value)) => {
                if let Some(option) = option(directive) {
                    self.apply_variable(option, name, &value);
                }
            }
            Some(Meaning::Unsupported) => self.warn(format!(
                "{name} has no effect: not supported in this version"
            )),
            Some(Meaning::Wrong(allowed)) => self.problems.push(LoadError::Value {
                name: name.to_owned(),
                value: Some(value.to_owned()),
                allowed: allowed.to_owned(),
                origin: Origin::Environment,
            }),
        }
    }

    fn apply_own_variable(&mut self, name: &str, value: &str) {
        if is_service_link(name, value) {
            return;
        }
        let named = |directive: &str| env_name(directive) == name;
        if let Some(option) = all().find(|option| option.names().any(named)) {
            return self.apply_variable(option, name, value);
        }
        let directive = name.trim_start_matches(ENV_PREFIX).replace('_', "-");
        // Not an error: the environment is shared, and others may use the prefix.
        self.warn(match nearest(&directive, known_names()) {
            Some(nearest) => format!("{name} is no option; the nearest is {}", env_name(nearest)),
            None => format!("{name} is no option"),
        });
    }

    fn apply_variable(&mut self, option: &'static Opt, name: &str, value: &str) {
        let read = option.kind.read_text(&mut self.config, value);
        self.note(option, name, value, read, Origin::Environment);
    }

    fn apply_words(&mut self, name: &str, words: &[&str], origin: Origin) {
        let Some(option) = option(name) else {
            if inert::is_of_a_module(name) {
                self.warn(format!("{name} has no effect: {}", inert::MODULES));
            } else {
                self.problems.push(unknown(name, origin));
            }
            return;
        };
        let read = match words {
            [] => Err("wrong number of arguments".into()),
            // As Redis does: a list may stand in one word.
            [one] if option.kind.is_list() && one.contains(' ') => {
                option.kind.read_text(&mut self.config, one)
            }
            _ => option.kind.read(&mut self.config, words),
        };
        self.note(option, name, &words.join(" "), read, origin);
    }

    fn note(
        &mut self,
        option: &'static Opt,
        name: &str,
        value: &str,
        read: Result<(), super::kinds::Refusal>,
        origin: Origin,
    ) {
        if let Err(reason) = read {
            let problem = wrong(option, name, value, &reason, origin);
            self.problems.push(problem);
        } else if option.section == Section::Inert {
            self.inert.insert(option.name, origin);
        }
    }

    /// What the options without effect that were set ask for, now that all others are known.
    fn judge_inert(&mut self) {
        for (name, origin) in std::mem::take(&mut self.inert) {
            let Some(Kind::Inert(inert)) = option(name).map(|option| &option.kind) else {
                continue;
            };
            match inert.judge(&self.config) {
                Outcome::Silent => {}
                Outcome::Warning(warning) => self.warn(warning),
                Outcome::Refused(why) => self.problems.push(LoadError::Unsupported {
                    name: name.to_owned(),
                    why,
                    origin,
                }),
            }
        }
    }

    /// What no single row can see.
    fn check_together(&mut self) {
        let config = &self.config;
        for (_, reason) in conflicts(config) {
            self.problems.push(LoadError::Usage(reason));
        }
    }

    /// A directive may stand several times; it is warned of once.
    fn warn(&mut self, warning: String) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }
}

/// Every name that is a directive of a file and a flag.
fn known_names() -> impl Iterator<Item = &'static str> {
    all().flat_map(Opt::names)
}

fn wrong(option: &Opt, name: &str, value: &str, reason: &str, origin: Origin) -> LoadError {
    let value = (!option.is_secret()).then(|| value.to_owned());
    // Redis's texts mostly tell the range; where one only says what went wrong, the row tells what would be right.
    let allowed =
        if reason.starts_with("argument must be between") || reason.starts_with("argument(s)") {
            reason.to_owned()
        } else {
            format!("{reason}; allowed is {}", option.allowed())
        };
    LoadError::Value {
        name: name.to_owned(),
        value,
        allowed,
        origin,
    }
}

fn unknown(name: &str, origin: Origin) -> LoadError {
    let include = matches!(origin, Origin::File(..)).then_some("include");
    let nearest = nearest(name, known_names().chain(include));
    LoadError::Unknown {
        name: name.to_owned(),
        nearest,
        origin,
    }
}

const ENV_PREFIX: &str = "STRATA_";

/// Kubernetes and Docker put the address of a service named "strata" into the environment of every container beside it:
/// `STRATA_PORT=tcp://10.0.0.1:6379`, `STRATA_SERVICE_HOST`, `STRATA_PORT_6379_TCP_ADDR`. None of these is meant for us.
fn is_service_link(name: &str, value: &str) -> bool {
    name.starts_with("STRATA_SERVICE_")
        || name.starts_with("STRATA_PORT_")
        || (name == "STRATA_PORT" && value.contains("://"))
}

/// What stands on the command line.
struct CommandLine {
    /// What to do with what was loaded.
    invocation: fn(Box<Loaded>) -> Invocation,
    file: Option<String>,
    flags: Vec<(&'static str, Vec<String>)>,
    print: Option<String>,
}

impl CommandLine {
    fn read(args: impl IntoIterator<Item = OsString>, problems: &mut Vec<LoadError>) -> Self {
        let mut line = Self {
            invocation: Invocation::Serve,
            file: None,
            flags: Vec::new(),
            print: None,
        };
        let mut words = Vec::new();
        // The first is the name of the program.
        for arg in args.into_iter().skip(1) {
            match arg.into_string() {
                Ok(word) => words.push(word),
                Err(arg) => problems.push(LoadError::Usage(format!(
                    "{}: the command line must be UTF-8 text",
                    arg.to_string_lossy()
                ))),
            }
        }
        let mut words = words.into_iter().peekable();
        if words.next_if_eq("check-config").is_some() {
            line.invocation = Invocation::Check;
        } else if words.next_if_eq("healthcheck").is_some() {
            line.invocation = Invocation::Ask;
        }
        while let Some(word) = words.next() {
            // A whole line in one word, as Redis takes it.
            let is_line = |flag: &str| !flag.split_once(' ').unwrap_or((flag, "")).0.contains('=');
            match (word.strip_prefix("--"), word.as_str()) {
                (Some(flag), _) if flag.contains(' ') && is_line(flag) => {
                    line.take_line(flag, problems);
                }
                (_, "--help" | "-h") => line.print = Some(help()),
                (_, "--version" | "-v" | "-V") => line.print = Some(version()),
                (Some(flag), _) => line.take_flag(flag, &mut words, problems),
                (None, _) if line.file.is_none() => line.file = Some(word),
                (None, _) => problems.push(LoadError::Usage(format!(
                    "{word}: there may be one configuration file; --help shows what is allowed"
                ))),
            }
        }
        line
    }

    fn take_line(&mut self, text: &str, problems: &mut Vec<LoadError>) {
        match file::split_words(text.as_bytes()) {
            Ok(words) => {
                let mut words = words.into_iter().peekable();
                let name = words.next().unwrap_or_default();
                self.take_flag(&name, &mut words, problems);
                if words.next().is_some() {
                    // Not which: it may be part of a secret.
                    problems.push(LoadError::Usage(format!("--{name}: a value too many")));
                }
            }
            Err(error) => {
                let name = text.split(' ').next().unwrap_or_default();
                problems.push(LoadError::Usage(format!("--{name}: {error}")));
            }
        }
    }

    /// Names are checked here, because only here a misspelt one can be told from a wrong value.
    fn take_flag(
        &mut self,
        flag: &str,
        rest: &mut std::iter::Peekable<impl Iterator<Item = String>>,
        problems: &mut Vec<LoadError>,
    ) {
        let (name, value) = flag
            .split_once('=')
            .map_or((flag, None), |(name, value)| (name, Some(value)));
        let is_word = |next: &String| !next.starts_with("--");
        let Some(known) = known_names().find(|known| known.eq_ignore_ascii_case(name)) else {
            problems.push(unknown(name, Origin::Flag));
            while rest.next_if(is_word).is_some() {}
            return;
        };
        let row = option(known);
        let takes_words = row.is_some_and(|option| option.kind.is_list());
        let mut words = Vec::new();
        match value {
            Some(value) if takes_words => match file::split_words(value.as_bytes()) {
                Ok(split) => words = split,
                Err(error) => {
                    problems.push(LoadError::Usage(format!("--{known}: {error}")));
                    return;
                }
            },
            Some(value) => words.push(value.to_owned()),
            None => {
                while let Some(word) = rest.next_if(is_word) {
                    words.push(word);
                    if !takes_words {
                        break;
                    }
                }
                if words.is_empty() && !takes_words {
                    let allowed = row.map(Opt::allowed).unwrap_or_default();
                    problems.push(LoadError::Usage(format!(
                        "--{known}: a value must follow: {allowed}"
                    )));
                    return;
                }
            }
        }
        self.flags.push((known, words));
    }
}

/// Variables of the environment and their values.
pub type Variables = Vec<(String, String)>;

/// The command line without secrets, and those secrets as variables of the environment, which, unlike a command line, only the
/// same user can read. `None` where there is no secret.
pub fn without_secrets(
    args: impl IntoIterator<Item = OsString>,
) -> Option<(Vec<OsString>, Variables)> {
    let (mut rest, mut secrets) = (Vec::new(), Vec::new());
    let mut args = args.into_iter().peekable();
    while let Some(arg) = args.next() {
        let text = arg.to_str().unwrap_or_default();
        let flag = text.strip_prefix("--").unwrap_or_default();
        let (name, value) = match flag.split_once(['=', ' ']) {
            Some((name, value)) if flag[name.len()..].starts_with('=') => {
                (name, Some(value.to_owned()))
            }
            // A whole line in one word. One that is wrong stays, and is refused later.
            Some((name, value)) => match file::split_words(value.as_bytes()).as_deref() {
                Ok([one]) => (name, Some(one.clone())),
                _ => ("", None),
            },
            None => (flag, None),
        };
        let Some(option) = option(name).filter(|option| option.is_secret()) else {
            rest.push(arg);
            continue;
        };
        let follows = |next: &OsString| next.to_str().is_some_and(|next| !next.starts_with("--"));
        let value = value.or_else(|| args.next_if(follows)?.into_string().ok());
        match value {
            // An empty variable counts as unset, and an empty password is no secret.
            Some(value) if !value.is_empty() => secrets.push((option.env_name(), value)),
            _ => rest.push(format!("--{name}=").into()),
        }
    }
    (!secrets.is_empty()).then_some((rest, secrets))
}

fn version() -> String {
    format!("strata {}\n", env!("CARGO_PKG_VERSION"))
}

/// The text of `--help`, made from the rows. Options without effect are taken, but not shown.
fn help() -> String {
    let mut text = String::from(
        "A cache server that speaks the Redis protocol\n\n\
         Usage: strata [FILE] [--OPTION VALUE]...\n\
         \x20      strata check-config [FILE] [--OPTION VALUE]...   says what is wrong with them, and does not start\n\
         \x20      strata healthcheck [FILE] [--OPTION VALUE]...    asks the server that runs with them whether it is well\n\n\
         FILE is a configuration file in the syntax of redis.conf; - is the standard input.\n",
    );
    for section in Section::ALL {
        text.push_str(&format!("\n{}:\n", section.title()));
        for option in OPTIONS.iter().filter(|option| option.section == *section) {
            let default = match option.default {
                "\"\"" => "empty",
                default => default,
            };
            let (name, summary) = (option.name, option.first_sentence());
            text.push_str(&format!(
                "  --{name} VALUE\n          {summary} [default: {default}]\n"
            ));
        }
    }
    text.push_str(
        "\n  -h, --help     shows this\n  -V, --version  shows the version\n\n\
         Every option is a flag here, a directive of the file, and a variable of the environment (STRATA_MAXMEMORY for\n\
         maxmemory). A flag wins over the environment, the environment over the file.\n",
    );
    text
}
