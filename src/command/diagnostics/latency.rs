//! LATENCY: what took too long, and how long commands take.

use super::graph;
use crate::command::table::{Row, table};
use crate::command::{Argument, Arity::*, Command, Context, Flags, Group, help};
use crate::error::CommandError;
use crate::resp::Args;
use crate::server::latency::{Event, Series};
use crate::server::stats::{HISTOGRAM_BUCKETS, bucket_micros};

/// The row of LATENCY.
pub(super) const LATENCY: Command = Command {
    name: "latency",
    arity: AtLeast(2),
    group: Group::Server,
    since: "2.8.13",
    complexity: "Depends on subcommand.",
    summary: "Holds the commands about the latency monitor.",
    subcommands: &[
        Command {
            name: "doctor",
            arity: Exactly(2),
            flags: Flags::ADMIN
                .and(Flags::NOSCRIPT)
                .and(Flags::LOADING)
                .and(Flags::STALE),
            run: doctor,
            group: Group::Server,
            since: "2.8.13",
            summary: "Tells in words what took too long, and what may help.",
            tips: &[
                "nondeterministic_output",
                "request_policy:all_nodes",
                "response_policy:special",
            ],
            ..Command::BLANK
        },
        Command {
            name: "graph",
            arity: Exactly(3),
            flags: Flags::ADMIN
                .and(Flags::NOSCRIPT)
                .and(Flags::LOADING)
                .and(Flags::STALE),
            run: graph,
            group: Group::Server,
            since: "2.8.13",
            summary: "Draws the samples of an event.",
            tips: &[
                "nondeterministic_output",
                "request_policy:all_nodes",
                "response_policy:special",
            ],
            arguments: &[Argument::new("event", "string")],
            ..Command::BLANK
        },
        Command {
            name: "help",
            arity: Exactly(2),
            flags: Flags::LOADING.and(Flags::STALE),
            run: help,
            group: Group::Server,
            since: "2.8.13",
            summary: "Lists the subcommands of LATENCY.",
            ..Command::BLANK
        },
        Command {
            name: "histogram",
            arity: AtLeast(2),
            flags: Flags::ADMIN
                .and(Flags::NOSCRIPT)
                .and(Flags::LOADING)
                .and(Flags::STALE),
            run: histogram,
            group: Group::Server,
            since: "7.0.0",
            complexity: "O(N) where N is the number of commands with latency information being retrieved.",
            summary: "Returns how often commands took how long.",
            tips: &[
                "nondeterministic_output",
                "request_policy:all_nodes",
                "response_policy:special",
            ],
            arguments: &[Argument {
                flags: &["optional", "multiple"],
                ..Argument::new("command", "string")
            }],
            ..Command::BLANK
        },
        Command {
            name: "history",
            arity: Exactly(3),
            flags: Flags::ADMIN
                .and(Flags::NOSCRIPT)
                .and(Flags::LOADING)
                .and(Flags::STALE),
            run: history,
            group: Group::Server,
            since: "2.8.13",
            summary: "Returns the samples of an event.",
            tips: &[
                "nondeterministic_output",
                "request_policy:all_nodes",
                "response_policy:special",
            ],
            arguments: &[Argument::new("event", "string")],
            ..Command::BLANK
        },
        Command {
            name: "latest",
            arity: Exactly(2),
            flags: Flags::ADMIN
                .and(Flags::NOSCRIPT)
                .and(Flags::LOADING)
                .and(Flags::STALE),
            run: latest,
            group: Group::Server,
            since: "2.8.13",
            summary: "Returns the last sample and the maximum of each event.",
            tips: &[
                "nondeterministic_output",
                "request_policy:all_nodes",
                "response_policy:special",
            ],
            ..Command::BLANK
        },
        Command {
            name: "reset",
            arity: AtLeast(2),
            flags: Flags::ADMIN
                .and(Flags::NOSCRIPT)
                .and(Flags::LOADING)
                .and(Flags::STALE),
            run: reset,
            group: Group::Server,
            since: "2.8.13",
            summary: "Removes the samples of some events, or of all.",
            tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
            arguments: &[Argument {
                flags: &["optional", "multiple"],
                ..Argument::new("event", "string")
            }],
            ..Command::BLANK
        },
    ],
    ..Command::BLANK
};

const HELP: &[&str] = &[
    "DOCTOR",
    "    Return a human readable latency analysis report.",
    "GRAPH <event>",
    "    Return an ASCII latency graph for the <event> class.",
    "HISTORY <event>",
    "    Return time-latency samples for the <event> class.",
    "LATEST",
    "    Return the latest latency samples for all events.",
    "RESET [<event> ...]",
    "    Reset latency data of one or more <event> classes.",
    "    (default: reset all data for all event classes)",
    "HISTOGRAM [COMMAND ...]",
    "    Return a cumulative distribution of latencies in the format of a histogram for the specified command names.",
    "    If no commands are specified then all histograms are replied.",
];

fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn series(cx: &Context<'_>, name: &[u8]) -> Option<(Event, Series)> {
    let event = Event::from_name(name)?;
    Some((event, cx.server.latency.series(event)?))
}

fn latest(cx: &mut Context<'_>, _: &Args<'_>) -> Result<(), CommandError> {
    let all = cx.server.latency.all();
    cx.reply.array(all.len());
    for (event, series) in all {
        let last = series.samples.back();
        cx.reply.array(4);
        cx.reply.text(event.name());
        cx.reply.int(last.map_or(0, |sample| sample.time_s));
        cx.reply.int(last.map_or(0, |sample| int(sample.ms)));
        cx.reply.int(int(series.max_ms));
    }
    Ok(())
}

fn history(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let Some((_, series)) = series(cx, args.at(2)) else {
        cx.reply.array(0);
        return Ok(());
    };
    cx.reply.array(series.samples.len());
    for sample in series.samples {
        cx.reply.array(2);
        cx.reply.int(sample.time_s);
        cx.reply.int(int(sample.ms));
    }
    Ok(())
}

fn graph(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let Some((event, series)) = series(cx, args.at(2)) else {
        let name = String::from_utf8_lossy(args.at(2));
        return Err(CommandError::message(format!(
            "ERR No samples available for event '{name}'"
        )));
    };
    let graph = graph::draw(event.name(), &series, cx.now);
    cx.reply.verbatim("txt", graph.as_bytes());
    Ok(())
}

fn reset(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let latency = &cx.server.latency;
    let count = if args.len() == 2 {
        let all = Event::ALL.iter();
        all.filter(|event| latency.reset(**event)).count()
    } else {
        args.from(2)
            .filter_map(Event::from_name)
            .filter(|event| latency.reset(*event))
            .count()
    };
    cx.reply.count(count);
    Ok(())
}

fn histogram(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let rows: Vec<&Row> = if args.len() == 2 {
        table().all_rows().collect()
    } else {
        args.from(2)
            .filter_map(|name| table().find_full(name))
            .flat_map(|row| std::iter::once(row).chain(&row.subcommands))
            .collect()
    };
    let histograms: Vec<_> = rows
        .into_iter()
        .map(|row| (row, cx.server.stats.histogram(row.id)))
        .filter(|(_, histogram)| histogram.iter().any(|&count| count > 0))
        .collect();
    cx.reply.map(histograms.len());
    for (row, histogram) in histograms {
        reply_histogram(cx, &row.full_name, &histogram);
    }
    Ok(())
}

/// The buckets in which there is something, with how many runs took no longer.
fn reply_histogram(cx: &mut Context<'_>, name: &str, histogram: &[i64; HISTOGRAM_BUCKETS]) {
    let used = histogram
        .iter()
        .enumerate()
        .filter(|(_, count)| **count > 0);
    cx.reply.text(name);
    cx.reply.map(2);
    cx.reply.text("calls");
    cx.reply.int(histogram.iter().sum());
    cx.reply.text("histogram_usec");
    cx.reply.map(used.clone().count());
    let mut so_far = 0;
    for (bucket, count) in used {
        so_far += count;
        cx.reply.int(int(bucket_micros(bucket)));
        cx.reply.int(so_far);
    }
}

fn doctor(cx: &mut Context<'_>, _: &Args<'_>) -> Result<(), CommandError> {
    let report = diagnosis(cx);
    cx.reply.verbatim("txt", report.as_bytes());
    Ok(())
}

fn diagnosis(cx: &Context<'_>) -> String {
    let threshold_ms = cx.config.latency_monitor_threshold_ms;
    let all = cx.server.latency.all();
    if threshold_ms == 0 && all.is_empty() {
        return "I'm sorry, Dave, I can't do that. Latency monitoring is disabled in this instance. \
                You may use \"CONFIG SET latency-monitor-threshold <milliseconds>.\" in order to \
                enable it.\n"
            .to_owned();
    }
    if all.is_empty() {
        return "Dave, no latency spike was observed during the lifetime of this instance, not in \
                the slightest bit.\n"
            .to_owned();
    }
    let mut report = "Dave, I have observed latency spikes in this instance.\n\n".to_owned();
    for (index, (event, series)) in all.iter().enumerate() {
        report.push_str(&format!("{}. {}\n", index + 1, spikes(*event, series)));
    }
    report.push_str("\nWhat may help:\n\n");
    for (event, _) in &all {
        report.push_str(&format!("- {}: {}\n", event.name(), advice(*event)));
    }
    report
}

fn spikes(event: Event, series: &Series) -> String {
    let count = series.samples.len().max(1);
    let sum: u64 = series.samples.iter().map(|sample| sample.ms).sum();
    let mean = sum / count as u64;
    let deviations = series.samples.iter().map(|sample| sample.ms.abs_diff(mean));
    let deviation = deviations.sum::<u64>() / count as u64;
    let times = (series.samples.front(), series.samples.back());
    let span_s = match times {
        (Some(first), Some(last)) => last.time_s - first.time_s,
        _ => 0,
    };
    format!(
        "{}: {count} latency spikes (average {mean}ms, mean deviation {deviation}ms, period {:.2} sec). \
         Worst all time event {}ms.",
        event.name(),
        span_s as f64 / count as f64,
        series.max_ms
    )
}

const fn advice(event: Event) -> &'static str {
    match event {
        Event::Command => {
            "SLOWLOG tells which commands are slow; ask for less at a time, with SCAN instead of KEYS."
        }
        Event::FastCommand => {
            "commands that should be fast were not: the machine may be short of processor time or memory."
        }
        Event::EvictionCycle => "much goes at once to make room; raise maxmemory or write less.",
    }
}

fn help(cx: &mut Context<'_>, _: &Args<'_>) -> Result<(), CommandError> {
    help::help(cx.reply, "LATENCY", HELP);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::{Db, script};

    fn sleep(db: &mut Db, ms: i64) {
        let line = format!("DEBUG SLEEP {}", ms as f64 / 1000.0);
        db.run(&line).is("");
        db.advance(ms);
        db.run(&line).ok();
    }

    script!(a_slow_command_is_an_event, |db| {
        sleep(&mut db, 60_000);
        db.run("LATENCY LATEST").is("*0\r\n");
        db.run("CONFIG SET latency-monitor-threshold 30000").ok();
        sleep(&mut db, 61_000);
        sleep(&mut db, 62_000);
        db.run("LATENCY LATEST")
            .is("*1\r\n*4\r\n$7\r\ncommand\r\n:1700000183\r\n:62000\r\n:62000\r\n");
        db.run("LATENCY HISTORY command")
            .is("*2\r\n*2\r\n:1700000121\r\n:61000\r\n*2\r\n:1700000183\r\n:62000\r\n");
        db.run("LATENCY HISTORY nope").is("*0\r\n");
        let graph = db.run("LATENCY GRAPH command");
        assert!(graph.bytes().ends_with(b"\n_|\n  \n10\nms\n\r\n"));
        let doctor = db.run("LATENCY DOCTOR");
        assert!(
            String::from_utf8_lossy(doctor.bytes())
                .contains("1. command: 2 latency spikes (average 61500ms")
        );
        db.run("LATENCY RESET nope fast-command").int(0);
        db.run("LATENCY RESET command").int(1);
        db.run("LATENCY RESET").int(0);
        db.run("LATENCY GRAPH command")
            .error("ERR No samples available for event 'command'");
    });

    script!(histograms_are_cumulative, |db| {
        sleep(&mut db, 60_000);
        db.run("LATENCY HISTOGRAM debug nope").is(
            "*2\r\n$5\r\ndebug\r\n*4\r\n$5\r\ncalls\r\n:1\r\n$14\r\nhistogram_usec\r\n\
             *2\r\n:67108864\r\n:1\r\n",
        );
        db.run("LATENCY HISTOGRAM nope").is("*0\r\n");
        db.resp3();
        let answer = db.run("LATENCY HISTOGRAM latency");
        let head = b"%1\r\n$17\r\nlatency|histogram\r\n%2\r\n$5\r\ncalls\r\n:2\r\n";
        assert!(answer.bytes().starts_with(head));
        db.run("CONFIG RESETSTAT").ok();
        db.run("LATENCY HISTOGRAM debug").is("%0\r\n");
        assert!(
            db.run("LATENCY HELP")
                .bytes()
                .starts_with(b"*17\r\n+LATENCY <sub")
        );
    });
}
