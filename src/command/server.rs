//! The server as a whole: its time, its role, its end.

use super::blocking::{self, Waits};
use super::{Argument, Arity::*, Command, Context, Flags, Group, cluster};
use crate::clock;
use crate::error::CommandError;
use crate::resp::Args;
use crate::server::REDIS_VERSION;
use crate::server::session::Then;
use crate::server::suspended::Stop;
use crate::value::number;

/// The rows of this family.
pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "time",
        arity: Exactly(1),
        flags: Flags::LOADING.and(Flags::STALE).and(Flags::FAST),
        run: time,
        group: Group::Server,
        since: "2.6.0",
        summary: "Returns the time of the server in seconds and microseconds.",
        tips: &["nondeterministic_output"],
        ..Command::BLANK
    },
    Command {
        name: "role",
        arity: Exactly(1),
        flags: Flags::NOSCRIPT
            .and(Flags::LOADING)
            .and(Flags::STALE)
            .and(Flags::FAST),
        run: role,
        group: Group::Server,
        categories: &["@admin", "@dangerous"],
        since: "2.8.12",
        summary: "Returns the role of the server in replication.",
        ..Command::BLANK
    },
    Command {
        name: "wait",
        arity: Exactly(3),
        flags: Flags::BLOCKING,
        run_or_suspend: Some(wait),
        group: Group::Generic,
        categories: &["@connection"],
        since: "3.0.0",
        summary: "Waits until so many replicas have the writes of this connection, or for so long.",
        tips: &["request_policy:all_shards", "response_policy:agg_min"],
        arguments: &[
            Argument::new("numreplicas", "integer"),
            Argument::new("timeout", "integer"),
        ],
        ..Command::BLANK
    },
    Command {
        name: "lolwut",
        arity: AtLeast(1),
        flags: Flags::READONLY.and(Flags::FAST),
        run: lolwut,
        group: Group::Server,
        since: "5.0.0",
        summary: "Draws something, and tells the version.",
        arguments: &[Argument {
            token: Some("VERSION"),
            flags: &["optional"],
            ..Argument::new("version", "integer")
        }],
        ..Command::BLANK
    },
    Command {
        name: "shutdown",
        arity: AtLeast(1),
        flags: Flags::ADMIN
            .and(Flags::NOSCRIPT)
            .and(Flags::LOADING)
            .and(Flags::STALE)
            .and(Flags::NO_MULTI)
            .and(Flags::ALLOW_BUSY),
        run: shutdown,
        group: Group::Server,
        since: "1.0.0",
        complexity: "O(N) when saving, where N is the total number of keys in all databases when saving data, otherwise O(1)",
        summary: "Stops the server.",
        arguments: &[
            Argument {
                flags: &["optional"],
                arguments: &[
                    Argument {
                        token: Some("NOSAVE"),
                        ..Argument::new("nosave", "pure-token")
                    },
                    Argument {
                        token: Some("SAVE"),
                        ..Argument::new("save", "pure-token")
                    },
                ],
                ..Argument::new("nosave_save", "oneof")
            },
            Argument {
                token: Some("NOW"),
                since: Some("7.0.0"),
                flags: &["optional"],
                ..Argument::new("now", "pure-token")
            },
            Argument {
                token: Some("FORCE"),
                since: Some("7.0.0"),
                flags: &["optional"],
                ..Argument::new("force", "pure-token")
            },
            Argument {
                token: Some("ABORT"),
                since: Some("7.0.0"),
                flags: &["optional"],
                ..Argument::new("abort", "pure-token")
            },
        ],
        ..Command::BLANK
    },
    cluster::CLUSTER,
    cluster::READONLY,
    cluster::READWRITE,
    cluster::ASKING,
];

fn time(cx: &mut Context<'_>, _: &Args<'_>) -> Result<(), CommandError> {
    // The one reply that is about the clock itself: `cx.now` has no microseconds.
    let now_us = clock::now_us();
    cx.reply.array(2);
    cx.reply.text(&(now_us / 1_000_000).to_string());
    cx.reply.text(&(now_us % 1_000_000).to_string());
    Ok(())
}

fn role(cx: &mut Context<'_>, _: &Args<'_>) -> Result<(), CommandError> {
    cx.reply.array(3);
    cx.reply.text("master");
    cx.reply.int(0);
    cx.reply.array(0);
    Ok(())
}

/// WAIT: nobody serves.
const REPLICAS: Waits = Waits {
    timed_out: |reply| reply.int(0),
    at_once: |reply| reply.int(0),
    ..Waits::TIME
};

/// There are no replicas: whoever waits for one waits until the timeout (0 is for ever), and learns
/// that none has the writes.
fn wait(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), Stop> {
    let replicas = number::parse_i64(args.at(1)).ok_or(CommandError::NotInteger)?;
    let timeout_ms = number::parse_i64(args.at(2)).ok_or(CommandError::text(
        "ERR timeout is not an integer or out of range",
    ))?;
    let until = blocking::until_after(timeout_ms, cx.now)?;
    if replicas <= 0 {
        cx.reply.int(0);
        return Ok(());
    }
    let request = args.from(0).collect();
    Err(blocking::wait(
        cx,
        request,
        std::iter::empty(),
        until,
        &REPLICAS,
    ))
}

/// How wide and how high the picture is.
const PICTURE: (usize, usize) = (64, 12);

fn lolwut(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    if let Some(version) = args.get(2)
        && args.at(1).eq_ignore_ascii_case(b"version")
    {
        number::parse_i64(version).ok_or(CommandError::NotInteger)?;
    }
    let mut text = strata(cx.random);
    text.push_str(&format!(
        "\nStrata ver. {} (Redis ver. {REDIS_VERSION})\n",
        env!("CARGO_PKG_VERSION")
    ));
    cx.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

/// Layers of rock, no two alike: each boundary is a sum of three waves.
fn strata(seed: u64) -> String {
    const ROCKS: &[char] = &['\u{2588}', '\u{2593}', '\u{2592}', '\u{2591}', ' '];
    let (width, height) = PICTURE;
    let phase = |i: u32| f64::from((seed.rotate_left(i * 13) & 0xff) as u8) / 40.0;
    let mut picture = String::with_capacity(3 * width * height);
    for y in 0..height {
        for x in 0..width {
            let x = x as f64 / 9.0;
            let fold = (x + phase(0)).sin()
                + (x / 2.0 + phase(1)).sin()
                + (x * 1.7 + phase(2)).sin() / 2.0;
            let depth = y as f64 * ROCKS.len() as f64 * 1.6 / height as f64 + fold;
            let layer = (depth.floor() as i64).rem_euclid(ROCKS.len() as i64);
            picture.push(ROCKS[layer as usize]);
        }
        picture.push('\n');
    }
    picture
}

/// What SHUTDOWN is asked to do.
#[derive(Default)]
struct ShutdownOptions {
    save: bool,
    nosave: bool,
    force: bool,
    abort: bool,
}

impl ShutdownOptions {
    fn parse(args: &Args<'_>) -> Result<Self, CommandError> {
        let mut options = Self::default();
        for arg in args.from(1) {
            let is = |word: &str| arg.eq_ignore_ascii_case(word.as_bytes());
            if is("nosave") {
                options.nosave = true;
            } else if is("save") {
                options.save = true;
            } else if is("force") {
                options.force = true;
            } else if is("abort") {
                options.abort = true;
            } else if !is("now") {
                // NOW leaves out the wait for replicas, of which there are none.
                return Err(CommandError::Syntax);
            }
        }
        let aborts_more = options.abort && args.len() > 2;
        if aborts_more || options.save && options.nosave {
            return Err(CommandError::Syntax);
        }
        Ok(options)
    }
}

fn shutdown(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let options = ShutdownOptions::parse(args)?;
    if options.abort {
        // A stop waits for nothing that could be called off.
        return Err(CommandError::text("ERR No shutdown in progress."));
    }
    let tier = cx.server.engine.tier.as_ref();
    let saves = tier.is_some_and(|tier| !tier.is_failing());
    if options.save && !options.force && !saves {
        // The answer of Redis when saving failed.
        tracing::error!("SHUTDOWN SAVE was refused: there is no disk tier that could be written");
        return Err(CommandError::text(
            "ERR Errors trying to SHUTDOWN. Check logs.",
        ));
    }
    cx.server.shutdown.ask();
    cx.session.then = Then::End;
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::script;

    script!(role_and_time_have_their_shapes, |db| {
        db.run("ROLE").is("*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n");
        let time = db.run("TIME");
        assert!(time.bytes().starts_with(b"*2\r\n$10\r\n"));
        db.run("TIME x")
            .error("ERR wrong number of arguments for 'time' command");
    });

    script!(wait_answers_at_its_deadline, |db| {
        db.run("WAIT 0 0").int(0);
        db.run("WAIT -1 100").int(0);
        db.run("WAIT 1 100").is("");
        db.advance(99);
        db.run("WAIT 1 100").is("");
        db.advance(1);
        db.run("WAIT 1 100").int(0);
        db.run("WAIT 1 0").is("");
        db.advance(1_000_000_000);
        db.run("WAIT 1 0").is("");
    });

    script!(a_wait_counts_as_one_command_and_no_time, |db| {
        db.run("WAIT 1 100").is("");
        db.advance(100);
        db.run("WAIT 1 100").int(0);
        let row = crate::command::table::table().find(b"wait").unwrap();
        let stats = &db.server().stats;
        assert_eq!(stats.sum_command(row.id, |c| &c.calls), 1);
        assert!(stats.sum_command(row.id, |c| &c.nanos) < 90_000_000);
    });

    script!(wait_refuses_what_is_no_number, |db| {
        db.run("WAIT x 0")
            .error("ERR value is not an integer or out of range");
        db.run("WAIT 0 x")
            .error("ERR timeout is not an integer or out of range");
        db.run("WAIT 0 -1").error("ERR timeout is negative");
        db.run("WAIT 0 9223372036854775807")
            .error("ERR timeout is out of range");
        db.run("WAIT 1 9000000000000000000").is("");
    });

    script!(lolwut_draws_and_tells_the_version, |db| {
        for line in ["LOLWUT", "LOLWUT VERSION 5", "LOLWUT VERSION"] {
            let answer = db.run(line);
            let text = String::from_utf8_lossy(answer.bytes()).into_owned();
            assert!(text.contains("Redis ver. 7.4.11") && text.lines().count() > 10);
        }
        db.run("LOLWUT VERSION x")
            .error("ERR value is not an integer or out of range");
    });

    script!(shutdown_answers_nothing_but_errors, |db| {
        db.run("SHUTDOWN foo").error("ERR syntax error");
        db.run("SHUTDOWN SAVE NOSAVE").error("ERR syntax error");
        db.run("SHUTDOWN ABORT NOW").error("ERR syntax error");
        db.run("SHUTDOWN ABORT")
            .error("ERR No shutdown in progress.");
        assert!(!db.server().shutdown.is_asked());
        if db.engine().keyspace.has_below() {
            db.run("SHUTDOWN SAVE").is("");
            return assert!(db.server().shutdown.is_asked());
        }
        db.run("SHUTDOWN SAVE")
            .error("ERR Errors trying to SHUTDOWN. Check logs.");
        assert!(!db.server().shutdown.is_asked());
        db.run("SHUTDOWN NOSAVE NOW").is("");
        assert!(db.server().shutdown.is_asked());
    });
}
