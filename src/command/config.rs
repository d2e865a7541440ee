//! CONFIG: the options in force.

use super::help;
use super::{Argument, Arity::*, Command, Context, Flags, Group};
use crate::config::{self, Opt};
use crate::error::CommandError;
use crate::keyspace::eviction::EvictionPool;
use crate::resp::Args;
use crate::value::glob;

/// The rows of this family.
pub(super) const COMMANDS: &[Command] = &[Command {
    name: "config",
    arity: AtLeast(2),
    group: Group::Server,
    since: "2.0.0",
    complexity: "Depends on subcommand.",
    summary: "Holds the commands about the options of the server.",
    subcommands: &[
        Command {
            name: "get",
            arity: AtLeast(3),
            flags: Flags::ADMIN
                .and(Flags::NOSCRIPT)
                .and(Flags::LOADING)
                .and(Flags::STALE),
            run: get,
            group: Group::Server,
            since: "2.0.0",
            complexity: "O(N) when N is the number of configuration parameters provided",
            summary: "Returns the options whose names match any of the patterns.",
            arguments: &[Argument {
                flags: &["multiple"],
                arguments: &[Argument::new("parameter", "string")],
                ..Argument::new("parameter", "block")
            }],
            ..Command::BLANK
        },
        Command {
            name: "help",
            arity: Exactly(2),
            flags: Flags::LOADING.and(Flags::STALE),
            run: help,
            group: Group::Server,
            since: "5.0.0",
            summary: "Lists the subcommands of CONFIG.",
            ..Command::BLANK
        },
        Command {
            name: "resetstat",
            arity: Exactly(2),
            flags: Flags::ADMIN
                .and(Flags::NOSCRIPT)
                .and(Flags::LOADING)
                .and(Flags::STALE),
            run: resetstat,
            group: Group::Server,
            since: "2.0.0",
            tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
            summary: "Starts all counters of INFO again from zero.",
            ..Command::BLANK
        },
        Command {
            name: "rewrite",
            arity: Exactly(2),
            flags: Flags::ADMIN
                .and(Flags::NOSCRIPT)
                .and(Flags::LOADING)
                .and(Flags::STALE),
            run: rewrite,
            group: Group::Server,
            since: "2.8.0",
            tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
            summary: "Writes the options in force back into the configuration file.",
            ..Command::BLANK
        },
        Command {
            name: "set",
            arity: AtLeast(4),
            secrets: Some(|args, at| at >= 3 && at % 2 == 1 && is_secret(args.at(at - 1))),
            flags: Flags::ADMIN
                .and(Flags::NOSCRIPT)
                .and(Flags::LOADING)
                .and(Flags::STALE)
                .and(Flags::KEYSPACE_WIDE),
            run: set,
            group: Group::Server,
            since: "2.0.0",
            complexity: "O(N) when N is the number of configuration parameters provided",
            summary: "Changes options while the server runs, all of them or none.",
            tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
            arguments: &[Argument {
                flags: &["multiple"],
                arguments: &[
                    Argument::new("parameter", "string"),
                    Argument::new("value", "string"),
                ],
                ..Argument::new("parameter_value", "block")
            }],
            ..Command::BLANK
        },
    ],
    ..Command::BLANK
}];

const HELP: &[&str] = &[
    "GET <pattern>",
    "    Return parameters matching the glob-like <pattern> and their values.",
    "SET <directive> <value>",
    "    Set the configuration <directive> to <value>.",
    "RESETSTAT",
    "    Reset statistics reported by the INFO command.",
    "REWRITE",
    "    Rewrite the configuration file.",
];

fn get(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let patterns: Vec<&[u8]> = args.from(2).collect();
    let matches = |pattern: &[u8], name: &[u8]| glob::matches(pattern, name, true);
    let found = config::get(cx.config, &patterns, matches);
    cx.reply.map(found.len());
    for (name, value) in found {
        // A name that was asked for without wildcards is repeated as it was written.
        let written = patterns
            .iter()
            .find(|p| p.eq_ignore_ascii_case(name.as_bytes()));
        cx.reply.bulk(written.copied().unwrap_or(name.as_bytes()));
        cx.reply.text(&value);
    }
    Ok(())
}

fn set(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    if !args.len().is_multiple_of(2) {
        return Err(CommandError::Syntax);
    }
    let pairs: Vec<_> = (2..args.len())
        .step_by(2)
        .map(|at| (args.at(at), args.at(at + 1)))
        .collect();
    let keyspace = &cx.server.engine.keyspace;
    let changed = cx
        .server
        .engine
        .config
        .set(&pairs, |before, changed| {
            cx.server.listening.change(cx.server, before, changed)?;
            keyspace.set_policies(&changed.tier_policy);
            Ok(())
        })
        .map_err(|error| CommandError::message(error.to_string()))?;
    let thread = cx.keys.thread();
    let mut pool = EvictionPool::default();
    let engine = &cx.server.engine;
    engine.follow_limits(cx.config, cx.now, thread, &mut pool);
    // All else looks at the options each time; what was kept under a longer limit has to go now.
    let kept = usize::try_from(changed.slowlog_max_len).unwrap_or(usize::MAX);
    cx.server.slowlog.trim(kept);
    cx.reply.ok();
    Ok(())
}

fn is_secret(name: &[u8]) -> bool {
    let name = str::from_utf8(name).ok();
    name.and_then(config::option).is_some_and(Opt::is_secret)
}

fn resetstat(cx: &mut Context<'_>, _: &Args<'_>) -> Result<(), CommandError> {
    cx.server.reset_stats();
    cx.reply.ok();
    Ok(())
}

fn rewrite(cx: &mut Context<'_>, _: &Args<'_>) -> Result<(), CommandError> {
    let Some(path) = &cx.server.config_file else {
        return Err(CommandError::text(
            "ERR The server is running without a config file",
        ));
    };
    // Not `cx.config`: another client may have changed an option since this command began.
    let config = cx.server.engine.config.load();
    config::rewrite(&config, path)
        .map_err(|error| CommandError::message(format!("ERR Rewriting config file: {error}")))?;
    cx.reply.ok();
    Ok(())
}

fn help(cx: &mut Context<'_>, _: &Args<'_>) -> Result<(), CommandError> {
    help::help(cx.reply, "CONFIG", HELP);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::script;

    script!(config_get_matches_patterns_in_any_case, |db| {
        db.run("CONFIG GET MAXMEMORY-S* maxmemory-samples")
            .bulks(&["maxmemory-samples", "5"]);
        db.run("CONFIG GET nope").is("*0\r\n");
        db.run("CONFIG GET")
            .error("ERR wrong number of arguments for 'config|get' command");
        db.resp3();
        db.run("CONFIG GET timeout")
            .is("%1\r\n$7\r\ntimeout\r\n$1\r\n0\r\n");
    });

    script!(config_set_takes_all_pairs_or_none, |db| {
        db.run("CONFIG SET timeout 7 maxmemory-samples 9").ok();
        db.run("CONFIG GET timeout").bulks(&["timeout", "7"]);
        db.run("CONFIG SET timeout 8 maxmemory-samples x")
            .error("ERR CONFIG SET failed (possibly related to argument 'maxmemory-samples') - argument couldn't be parsed into an integer");
        db.run("CONFIG GET timeout").bulks(&["timeout", "7"]);
        db.run("CONFIG SET timeout 8 nope 1")
            .error("ERR Unknown option or number of arguments for CONFIG SET - 'nope'");
        db.run("CONFIG SET timeout 8 timeout 9").error(
            "ERR CONFIG SET failed (possibly related to argument 'timeout') - duplicate parameter",
        );
        db.run("CONFIG SET databases 3")
            .error("ERR CONFIG SET failed (possibly related to argument 'databases') - can't set immutable config");
        db.run("CONFIG SET a b c").error("ERR syntax error");
        db.run("CONFIG SET a")
            .error("ERR wrong number of arguments for 'config|set' command");
    });

    script!(options_that_do_not_go_together_are_refused, |db| {
        let refused = |name: &str, policy: &str| {
            format!(
                "ERR CONFIG SET failed (possibly related to argument '{name}') - memory-ttl 60 does not go with \
                 maxmemory-policy {policy}, which knows no time of the last access"
            )
        };
        db.run("CONFIG SET memory-ttl 60").ok();
        db.run("CONFIG SET timeout 7 maxmemory-policy allkeys-lfu")
            .error(&refused("maxmemory-policy", "allkeys-lfu"));
        db.run("CONFIG GET timeout").bulks(&["timeout", "0"]);
        db.run("CONFIG SET maxmemory-policy allkeys-lfu memory-ttl 0")
            .ok();
        db.run("CONFIG SET maxmemory-policy volatile-lfu").ok();
        db.run("CONFIG SET memory-ttl 60")
            .error(&refused("memory-ttl", "volatile-lfu"));
        db.run("CONFIG SET memory-ttl 7776001")
            .error("ERR CONFIG SET failed (possibly related to argument 'memory-ttl') - argument must be between 0 and 7776000 inclusive");
    });

    script!(what_nothing_rebinds_cannot_be_set, |db| {
        for name in ["unixsocket", "tcp-backlog"] {
            db.run(&format!("CONFIG SET {name} 1")).error(&format!(
                "ERR CONFIG SET failed (possibly related to argument '{name}') - can't set immutable config"
            ));
        }
    });

    script!(memory: the_server_listens_somewhere, |db| {
        for (option, value) in [("port", "0"), ("bind", "\"\"")] {
            let refused = db.run(&format!("CONFIG SET {option} {value}"));
            let refused = String::from_utf8_lossy(refused.bytes()).into_owned();
            assert!(refused.contains("can be reached by unixsocket only"), "{refused}");
        }
    });

    script!(config_resetstat_counts_from_zero, |db| {
        db.run("GET missing").nil();
        db.run("CONFIG RESETSTAT").ok();
        let counters = db.engine().keyspace.all_counters();
        assert_eq!(counters.iter().map(|c| c.misses.read()).sum::<i64>(), 0);
    });

    script!(a_shorter_slow_log_forgets_at_once, |db| {
        db.run("CONFIG SET slowlog-log-slower-than 0").ok();
        db.run("PING").simple("PONG");
        db.run("PING").simple("PONG");
        db.run("CONFIG SET slowlog-log-slower-than -1 slowlog-max-len 1")
            .ok();
        assert_eq!(db.server().slowlog.len(), 1);
    });

    script!(config_rewrite_needs_a_file, |db| {
        db.run("CONFIG REWRITE")
            .error("ERR The server is running without a config file");
        db.run("CONFIG foo")
            .error("ERR unknown subcommand 'foo'. Try CONFIG HELP.");
        let help = db.run("CONFIG HELP");
        assert!(help.bytes().starts_with(b"*11\r\n+CONFIG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:\r\n+GET <pattern>\r\n"));
    });
}
