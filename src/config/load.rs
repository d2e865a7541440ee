//! The start: flags over environment over file over defaults.
//!
//! The sources are applied one after another onto the defaults, the weakest first, each value through its row; so the last
//! one wins, and every source is checked even where another one overrides it.
//!
//! Flags follow redis-server as well as custom: `strata my.conf --port 6380 --bind 127.0.0.1 -::1 --save ""`, and also
//! `--port=6380`. A flag whose value is a list takes all words up to the next `--`.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::file::{self, FileError};
use super::foreign::{self, Foreign, Outcome};
use super::guide::{self, Meaning};
use super::nearest::nearest;
use super::options::{OPTIONS, Opt, env_name, option};
use super::{Config, conflict, one_line};

/// What the process was asked to do.
#[derive(Debug)]
pub enum Invocation {
    /// Serve with these options.
    Serve(Box<Loaded>),
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

/// Reads the options of this process. `args` begins with the program's name; `env` is the whole environment.
pub fn from_process(
    args: impl IntoIterator<Item = OsString>,
    env: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Invocation, LoadError> {
    let matches = match command().try_get_matches_from(expand(args)?) {
        Ok(matches) => matches,
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
            ) =>
        {
            return Ok(Invocation::Print(error.render().to_string()));
        }
        Err(error) => return Err(usage(&error)),
    };
    let mut loader = Loader::default();
    let file = matches.get_one::<String>(FILE_ARG).map(PathBuf::from);
    if let Some(path) = &file {
        loader.apply_file(path)?;
    }
    loader.apply_environment(env)?;
    loader.apply_flags(&matches)?;
    check_together(&loader.config)?;
    // Absolute, because a relative path would follow a later change of directory.
    let file = file.map(|path| std::path::absolute(&path).unwrap_or(path));
    Ok(Invocation::Serve(Box::new(Loaded {
        config: loader.config,
        file,
        warnings: loader.warnings,
    })))
}

/// The options as a file alone gives them.
pub(super) fn from_file(path: &Path) -> Result<Config, LoadError> {
    let mut loader = Loader::default();
    loader.apply_file(path)?;
    Ok(loader.config)
}

/// What no single row can see.
fn check_together(config: &Config) -> Result<(), LoadError> {
    if let Some((_, reason)) = conflict(config) {
        return Err(LoadError::Usage(reason));
    }
    let tcp = config.port != 0 && !config.bind.is_empty();
    if tcp || config.unixsocket.is_some() {
        return Ok(());
    }
    Err(LoadError::Usage(format!(
        "port {}: with no TCP port or no address the server can be reached by unixsocket only, and none is set",
        config.port
    )))
}

#[derive(Default)]
struct Loader {
    config: Config,
    warnings: Vec<String>,
}

impl Loader {
    fn apply_file(&mut self, path: &Path) -> Result<(), LoadError> {
        for directive in file::read(path)? {
            let origin = Origin::File(directive.file, directive.line);
            let words: Vec<&str> = directive.words.iter().map(String::as_str).collect();
            self.apply_words(&directive.name, &words, origin)?;
        }
        Ok(())
    }

    /// Empty variables count as unset: deployments often pass on variables that have no value.
    fn apply_environment(
        &mut self,
        env: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<(), LoadError> {
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
                self.apply_guide(&name, &value.to_string_lossy())?;
            }
        }
        // After the guide's names, since Strata's own are the more exact.
        for (name, value) in own {
            let value = value.into_string().map_err(|_| LoadError::Value {
                name: name.clone(),
                value: None,
                allowed: "values must be UTF-8 text".to_owned(),
                origin: Origin::Environment,
            })?;
            self.apply_own_variable(&name, &value)?;
        }
        Ok(())
    }

    fn apply_guide(&mut self, name: &str, value: &str) -> Result<(), LoadError> {
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
                    self.apply_variable(option, name, &value)?;
                }
            }
            Some(Meaning::Unsupported) => self.warn(format!(
                "{name} has no effect: not supported in this version"
            )),
            Some(Meaning::Wrong(allowed)) => {
                return Err(LoadError::Value {
                    name: name.to_owned(),
                    value: Some(value.to_owned()),
                    allowed: allowed.to_owned(),
                    origin: Origin::Environment,
                });
            }
        }
        Ok(())
    }

    fn apply_own_variable(&mut self, name: &str, value: &str) -> Result<(), LoadError> {
        if is_service_link(name, value) {
            return Ok(());
        }
        let named = |directive: &str| env_name(directive) == name;
        if let Some(option) = OPTIONS.iter().find(|option| option.names().any(named)) {
            return self.apply_variable(option, name, value);
        }
        let directive = name.trim_start_matches(ENV_PREFIX).replace('_', "-");
        if let Some(foreign) = foreign::foreign(&directive) {
            let words: Vec<&str> = value.split_ascii_whitespace().collect();
            return self.apply_foreign(foreign, name, &words, Origin::Environment);
        }
        // Not an error: the environment is shared, and others may use the prefix.
        self.warn(match nearest(&directive, foreign::known_names()) {
            Some(nearest) => format!("{name} is no option; the nearest is {}", env_name(nearest)),
            None => format!("{name} is no option"),
        });
        Ok(())
    }

    fn apply_variable(&mut self, option: &Opt, name: &str, value: &str) -> Result<(), LoadError> {
        let read = option.kind.read_text(&mut self.config, value);
        read.map_err(|reason| wrong(option, name, value, &reason, Origin::Environment))
    }

    fn apply_flags(&mut self, matches: &ArgMatches) -> Result<(), LoadError> {
        for name in foreign::known_names() {
            for value in matches.get_many::<String>(name).into_iter().flatten() {
                let words = if takes_words(name) {
                    file::split_words(value.as_bytes())
                } else {
                    Ok(vec![value.clone()])
                };
                let words =
                    words.map_err(|error| LoadError::Usage(format!("--{name}: {error}")))?;
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                self.apply_words(name, &words, Origin::Flag)?;
            }
        }
        Ok(())
    }

    fn apply_words(&mut self, name: &str, words: &[&str], origin: Origin) -> Result<(), LoadError> {
        if let Some(option) = option(name) {
            let value = words.join(" ");
            if words.is_empty() {
                return Err(wrong(
                    option,
                    name,
                    &value,
                    "wrong number of arguments",
                    origin,
                ));
            }
            let read = option.kind.read(&mut self.config, words);
            return read.map_err(|reason| wrong(option, name, &value, &reason, origin));
        }
        match foreign::foreign(name) {
            Some(foreign) => self.apply_foreign(foreign, name, words, origin),
            None => Err(unknown(name, origin)),
        }
    }

    fn apply_foreign(
        &mut self,
        foreign: &Foreign,
        name: &str,
        words: &[&str],
        origin: Origin,
    ) -> Result<(), LoadError> {
        match foreign.judge(words) {
            Outcome::Silent => {}
            Outcome::Warning(warning) => self.warn(warning),
            Outcome::Refused(why) => {
                return Err(LoadError::Unsupported {
                    name: name.to_owned(),
                    why,
                    origin,
                });
            }
        }
        Ok(())
    }

    /// A directive may stand several times, as `save` does; it is warned of once.
    fn warn(&mut self, warning: String) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }
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
    let nearest = nearest(name, foreign::known_names().chain(include));
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

const FILE_ARG: &str = "FILE";

/// Whether a flag takes all words up to the next flag.
fn takes_words(name: &str) -> bool {
    option(name).is_none_or(|option| option.kind.is_list())
}

/// Brings Redis's way of writing flags into clap's: `--bind a b` becomes `--bind=a b`. Names are checked here, because only
/// here a foreign or misspelt one can be told from a wrong value.
fn expand(args: impl IntoIterator<Item = OsString>) -> Result<Vec<String>, LoadError> {
    let not_text = |arg: OsString| {
        LoadError::Usage(format!(
            "{}: the command line must be UTF-8 text",
            arg.to_string_lossy()
        ))
    };
    let mut args = args
        .into_iter()
        .map(|arg| arg.into_string().map_err(not_text))
        .peekable();
    let mut expanded = Vec::new();
    while let Some(arg) = args.next().transpose()? {
        let Some(flag) = arg
            .strip_prefix("--")
            .filter(|flag| !matches!(*flag, "help" | "version"))
        else {
            expanded.push(arg);
            continue;
        };
        let (name, value) = flag
            .split_once('=')
            .map_or((flag, None), |(name, value)| (name, Some(value)));
        let name = foreign::known_names()
            .find(|known| known.eq_ignore_ascii_case(name))
            .ok_or_else(|| unknown(name, Origin::Flag))?;
        let is_word = |next: &Result<String, LoadError>| {
            !next.as_ref().is_ok_and(|next| next.starts_with("--"))
        };
        let value = match value {
            Some(value) => value.to_owned(),
            None if takes_words(name) => {
                let mut words = Vec::new();
                while let Some(word) = args.next_if(is_word).transpose()? {
                    words.push(file::quoted(&word).into_owned());
                }
                words.join(" ")
            }
            None => args.next_if(is_word).transpose()?.ok_or_else(|| {
                let allowed = option(name).map(Opt::allowed).unwrap_or_default();
                LoadError::Usage(format!("--{name}: a value must follow: {allowed}"))
            })?,
        };
        expanded.push(format!("--{name}={value}"));
    }
    Ok(expanded)
}

/// The command line, made from the rows. Foreign directives are taken as redis-server takes them, but not shown.
#[must_use]
pub fn command() -> Command {
    let command = Command::new("strata")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A cache server that speaks the Redis protocol")
        .after_help(
            "Every option is a flag here, a directive of the file, and a variable of the environment \
             (STRATA_MAXMEMORY for maxmemory). A flag wins over the environment, the environment over the file.",
        )
        .arg(Arg::new(FILE_ARG).help("The configuration file, in the syntax of redis.conf"));
    let command = OPTIONS.iter().fold(command, |command, option| {
        option.names().fold(command, |command, name| {
            let default = if option.default == "\"\"" {
                "empty"
            } else {
                option.default
            };
            command.arg(
                flag(name)
                    .hide(name != option.name)
                    .help_heading(option.group.title())
                    .help(format!("{} [default: {default}]", option.first_sentence())),
            )
        })
    });
    foreign::known_names()
        .filter(|name| option(name).is_none())
        .fold(command, |command, name| command.arg(flag(name).hide(true)))
}

fn flag(name: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name("VALUE")
        .action(ArgAction::Append)
        .allow_hyphen_values(true)
}

/// The first line of clap's message; the rest is advice that does not fit one line.
fn usage(error: &clap::Error) -> LoadError {
    let text = error.render().to_string();
    let line = text
        .lines()
        .next()
        .unwrap_or_default()
        .trim_start_matches("error: ");
    LoadError::Usage(format!("{line}; --help shows what is allowed"))
}
