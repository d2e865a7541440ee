//! INFO: the state of the server and what it has done.
//!
//! A section is one row: its name, whether INFO without arguments shows it, and the function that
//! writes its lines. Fields have Redis's names, since clients and exporters read them. A number that
//! nothing here counts is left out rather than told as zero; what cannot happen is zero.

mod activity;
mod state;

use std::fmt::{Display, Write};

use super::{Argument, Arity::*, Command, Context, Flags, Group};
use crate::clock::UnixMs;
use crate::config::Config;
use crate::error::CommandError;
use crate::resp::Args;
use crate::server::Server;

/// The rows of this family.
pub(super) const COMMANDS: &[Command] = &[Command {
    name: "info",
    arity: AtLeast(1),
    flags: Flags::LOADING.and(Flags::STALE),
    run: info,
    group: Group::Server,
    categories: &["@dangerous"],
    since: "1.0.0",
    summary: "Returns the state of the server and what it has done, section by section.",
    tips: &[
        "nondeterministic_output",
        "request_policy:all_shards",
        "response_policy:special",
    ],
    arguments: &[Argument {
        flags: &["optional", "multiple"],
        ..Argument::new("section", "string")
    }],
    ..Command::BLANK
}];

/// A section of INFO.
struct Section {
    /// Its heading; asked for in any case.
    name: &'static str,
    /// Whether INFO shows it when nothing is asked for.
    in_default: bool,
    /// Writes its lines.
    write: fn(&Look<'_>, &mut Lines),
}

const fn section(
    name: &'static str,
    in_default: bool,
    write: fn(&Look<'_>, &mut Lines),
) -> Section {
    Section {
        name,
        in_default,
        write,
    }
}

/// Every section, in the order in which they are shown.
const SECTIONS: &[Section] = &[
    section("Server", true, state::server),
    section("Clients", true, state::clients),
    section("Memory", true, state::memory),
    section("Persistence", true, state::persistence),
    section("Stats", true, activity::stats),
    section("Tier", true, state::tier),
    section("Replication", true, state::replication),
    section("CPU", true, activity::cpu),
    section("Modules", true, |_, _| {}),
    section("Commandstats", false, activity::command_stats),
    section("Errorstats", true, activity::error_stats),
    section("Latencystats", false, activity::latency_stats),
    section("Cluster", true, |_, lines| {
        lines.field("cluster_enabled", 0)
    }),
    section("Keyspace", true, state::keyspace),
];

/// What a section looks at.
struct Look<'a> {
    server: &'a Server,
    config: &'a Config,
    now: UnixMs,
}

/// The lines of the reply.
#[derive(Default)]
struct Lines(String);

impl Lines {
    /// `name:value`
    fn field(&mut self, name: impl Display, value: impl Display) {
        // Writing to a string cannot fail.
        let _ = write!(self.0, "{name}:{value}\r\n");
    }

    /// Several fields.
    fn fields<V: Display>(&mut self, fields: &[(&str, V)]) {
        for (name, value) in fields {
            self.field(name, value);
        }
    }

    /// A number of bytes, and the same for people under `name_human`.
    fn bytes(&mut self, name: &str, bytes: u64) {
        self.field(name, bytes);
        self.field(format_args!("{name}_human"), human(bytes));
    }

    fn heading(&mut self, name: &str) {
        if !self.0.is_empty() {
            self.0.push_str("\r\n");
        }
        let _ = write!(self.0, "# {name}\r\n");
    }
}

/// `1.50M`, as Redis writes it.
fn human(bytes: u64) -> String {
    let units = ["K", "M", "G", "T", "P"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let power = (bytes.ilog2() / 10).min(units.len() as u32);
    let number = bytes as f64 / f64::from(power * 10).exp2();
    format!("{number:.2}{}", units[power as usize - 1])
}

fn info(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let look = Look {
        server: cx.server,
        config: cx.config,
        now: cx.now,
    };
    let mut lines = Lines::default();
    for section in SECTIONS.iter().filter(|section| is_asked(section, args)) {
        lines.heading(section.name);
        (section.write)(&look, &mut lines);
    }
    cx.reply.verbatim("txt", lines.0.as_bytes());
    Ok(())
}

fn is_asked(section: &Section, args: &Args<'_>) -> bool {
    if args.len() == 1 {
        return section.in_default;
    }
    args.from(1).any(|arg| {
        let is = |word: &str| arg.eq_ignore_ascii_case(word.as_bytes());
        is(section.name) || is("all") || is("everything") || is("default") && section.in_default
    })
}

#[cfg(test)]
mod tests;
