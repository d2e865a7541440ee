//! MEMORY: how much is in use, and for what.

use crate::command::{Argument, Arity::*, Command, Context, Flags, Group, KeySpec, help};
use crate::error::CommandError;
use crate::resp::Args;
use crate::server::memory::{self, MemoryUse};
use crate::value::number;

/// The row of MEMORY.
pub(super) const MEMORY: Command = Command {
    name: "memory",
    arity: AtLeast(2),
    group: Group::Server,
    since: "4.0.0",
    complexity: "Depends on subcommand.",
    summary: "Holds the commands about the use of memory.",
    subcommands: &[
        Command {
            name: "doctor",
            arity: Exactly(2),
            run: doctor,
            group: Group::Server,
            since: "4.0.0",
            summary: "Tells in words what is wrong with the use of memory.",
            tips: &[
                "nondeterministic_output",
                "request_policy:all_shards",
                "response_policy:special",
            ],
            ..Command::BLANK
        },
        Command {
            name: "help",
            arity: Exactly(2),
            flags: Flags::LOADING.and(Flags::STALE),
            run: help,
            group: Group::Server,
            since: "4.0.0",
            summary: "Lists the subcommands of MEMORY.",
            ..Command::BLANK
        },
        Command {
            name: "malloc-stats",
            arity: Exactly(2),
            run: malloc_stats,
            group: Group::Server,
            since: "4.0.0",
            complexity: "Depends on how much memory is allocated, could be slow",
            summary: "Returns the allocator's own report.",
            tips: &[
                "nondeterministic_output",
                "request_policy:all_shards",
                "response_policy:special",
            ],
            ..Command::BLANK
        },
        Command {
            name: "purge",
            arity: Exactly(2),
            run: purge,
            group: Group::Server,
            since: "4.0.0",
            complexity: "Depends on how much memory is allocated, could be slow",
            summary: "Asks the allocator to give free memory back to the system.",
            tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
            ..Command::BLANK
        },
        Command {
            name: "stats",
            arity: Exactly(2),
            run: stats,
            group: Group::Server,
            since: "4.0.0",
            summary: "Returns how much memory is in use, and for what.",
            tips: &[
                "nondeterministic_output",
                "request_policy:all_shards",
                "response_policy:special",
            ],
            ..Command::BLANK
        },
        Command {
            name: "usage",
            arity: AtLeast(3),
            keys: &[KeySpec::at(2, &["RO"])],
            flags: Flags::READONLY,
            run: usage,
            group: Group::Server,
            since: "4.0.0",
            complexity: "O(N) where N is the number of samples.",
            summary: "Returns the memory that a key and its value take.",
            arguments: &[
                Argument {
                    key_spec: Some(0),
                    ..Argument::new("key", "key")
                },
                Argument {
                    token: Some("SAMPLES"),
                    flags: &["optional"],
                    ..Argument::new("count", "integer")
                },
            ],
            ..Command::BLANK
        },
    ],
    ..Command::BLANK
};

const HELP: &[&str] = &[
    "DOCTOR",
    "    Return memory problems reports.",
    "MALLOC-STATS",
    "    Return internal statistics report from the memory allocator.",
    "PURGE",
    "    Attempt to purge dirty pages for reclamation by the allocator.",
    "STATS",
    "    Return information about the memory usage of the server.",
    "USAGE <key> [SAMPLES <count>]",
    "    Return memory in bytes used by <key> and its value. Nested values are",
    "    sampled up to <count> times (default: 5, 0 means sample all).",
];

fn usage(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let mut options = args.from(3);
    while let Some(option) = options.next() {
        let count = options
            .next()
            .filter(|_| option.eq_ignore_ascii_case(b"samples"))
            .ok_or(CommandError::Syntax)?;
        // What a string takes is known without samples.
        if number::parse_i64(count).ok_or(CommandError::NotInteger)? < 0 {
            return Err(CommandError::Syntax);
        }
    }
    match cx
        .keys
        .peek(args.at(2))
        .map(|entry| entry.allocated_bytes())
    {
        Some(bytes) => cx.reply.count(bytes),
        None => cx.reply.nil(),
    }
    Ok(())
}

fn stats(cx: &mut Context<'_>, _: &Args<'_>) -> Result<(), CommandError> {
    let memory = cx.server.memory_use();
    let keys: usize = (0..cx.config.databases)
        .map(|db| cx.server.engine.keyspace.db_size(db))
        .sum();
    let bytes_per_key = memory.used.saturating_sub(memory.startup) / keys.max(1);
    let counts = [
        ("peak.allocated", memory.peak),
        ("total.allocated", memory.used),
        ("startup.allocated", memory.startup),
        ("replication.backlog", 0),
        ("clients.slaves", 0),
        ("clients.normal", memory.clients),
        ("cluster.links", 0),
        ("aof.buffer", 0),
        ("lua.caches", 0),
        ("functions.caches", 0),
        ("overhead.total", memory.overhead()),
        ("keys.count", keys),
        (
            "keys.bytes-per-key",
            if keys == 0 { 0 } else { bytes_per_key },
        ),
        ("dataset.bytes", memory.dataset()),
        ("allocator.allocated", memory.used),
        ("allocator.active", memory.resident),
        ("allocator.resident", memory.resident),
    ];
    let ratios = [
        ("dataset.percentage", memory.dataset_percent()),
        ("peak.percentage", memory.peak_percent()),
        // As Redis has it where the allocator keeps no statistics, which ours does not for speed.
        ("allocator-fragmentation.ratio", 1.0),
        ("allocator-rss.ratio", 1.0),
        ("rss-overhead.ratio", 1.0),
        ("fragmentation", memory.fragmentation()),
    ];
    let differences = [
        ("allocator-fragmentation.bytes", 0),
        ("allocator-rss.bytes", 0),
        ("rss-overhead.bytes", 0),
        ("fragmentation.bytes", memory.fragmentation_bytes()),
    ];
    let databases: Vec<_> = (0..cx.config.databases)
        .map(|db| (db, cx.server.engine.keyspace.db_size(db)))
        .filter(|(_, keys)| *keys > 0)
        .collect();
    cx.reply
        .map(counts.len() + databases.len() + ratios.len() + differences.len());
    for (db, keys) in databases {
        cx.reply.text(&format!("db.{db}"));
        cx.reply.map(2);
        cx.reply.text("overhead.hashtable.main");
        cx.reply.count(keys * TABLE_BYTES_PER_KEY);
        // What expires is found in the same table.
        cx.reply.text("overhead.hashtable.expires");
        cx.reply.count(0);
    }
    for (name, count) in counts {
        cx.reply.text(name);
        cx.reply.count(count);
    }
    for (name, ratio) in ratios {
        cx.reply.text(name);
        cx.reply.double(ratio);
    }
    for (name, bytes) in differences {
        cx.reply.text(name);
        cx.reply.int(bytes);
    }
    Ok(())
}

/// Of the table that all databases share: a slot of eight bytes and its share of what a line of seven has besides, where
/// three quarters of them are used.
const TABLE_BYTES_PER_KEY: usize = 12;

/// Below so much in use nothing can be said.
const LITTLE_BYTES: usize = 5 << 20;
/// More than this share of the memory in use at its peak means that much was freed since.
const PEAK_RATIO: f64 = 1.5;
/// More resident memory for each byte in use is worth a word.
const FRAGMENTATION: f64 = 1.4;
/// And this much of it at least.
const FRAGMENTATION_BYTES: i64 = 10 << 20;
/// Mean bytes of a client above which its buffers are worth a word.
const CLIENT_BYTES: usize = 200 << 10;

fn doctor(cx: &mut Context<'_>, _: &Args<'_>) -> Result<(), CommandError> {
    let report = diagnosis(&cx.server.memory_use(), cx.server.clients.len());
    cx.reply.verbatim("txt", report.as_bytes());
    Ok(())
}

fn diagnosis(memory: &MemoryUse, clients: usize) -> String {
    if memory.used < LITTLE_BYTES {
        return "Hi Sam, this instance is empty or is using very little memory: there is nothing to \
                judge yet.\n"
            .to_owned();
    }
    let mut report = String::new();
    if memory.peak as f64 > memory.used as f64 * PEAK_RATIO {
        report.push_str(
            " * Peak memory: much more memory was in use in the past than is now. The system may \
             still count it as resident; MEMORY PURGE gives it back.\n",
        );
    }
    if memory.fragmentation() > FRAGMENTATION && memory.fragmentation_bytes() > FRAGMENTATION_BYTES
    {
        report.push_str(
            " * High total RSS: the process has much more memory than is in use. After a peak this \
             is normal, and MEMORY PURGE helps; else values of changing sizes fragment it.\n",
        );
    }
    if memory.clients > clients.max(1) * CLIENT_BYTES {
        report.push_str(
            " * Big client buffers: clients send requests faster than they read the replies. CLIENT \
             LIST tells which; maxmemory-clients limits them.\n",
        );
    }
    if report.is_empty() {
        return "Hi Sam, I can't find any memory issue in your instance.\n".to_owned();
    }
    format!("Sam, I detected a few issues in this instance:\n\n{report}")
}

fn malloc_stats(cx: &mut Context<'_>, _: &Args<'_>) -> Result<(), CommandError> {
    cx.reply.verbatim("txt", &memory::allocator_report());
    Ok(())
}

fn purge(cx: &mut Context<'_>, _: &Args<'_>) -> Result<(), CommandError> {
    if !crate::allocator::purge() {
        return Err(CommandError::text("ERR Error purging dirty pages"));
    }
    cx.reply.ok();
    Ok(())
}

fn help(cx: &mut Context<'_>, _: &Args<'_>) -> Result<(), CommandError> {
    help::help(cx.reply, "MEMORY", HELP);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::script;

    script!(memory_usage_is_what_the_allocator_gave, |db| {
        db.run("MEMORY USAGE k").nil();
        // Where values are compressed this one stays as long as it is.
        let mut random = 1u32;
        let noise = |_| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from(b'a' + (random >> 24) as u8 % 26)
        };
        let value: String = (0..1000).map(noise).collect();
        db.run(&format!("SET k {value}")).ok();
        let usage = db.run("MEMORY USAGE k SAMPLES 0");
        let bytes: i64 = String::from_utf8_lossy(&usage.bytes()[1..])
            .trim()
            .parse()
            .unwrap();
        assert!((1000..1300).contains(&bytes), "{bytes}");
        for options in ["SAMPLES", "SAMPLES -1", "FOO 1", "SAMPLES 1 x"] {
            db.run(&format!("MEMORY USAGE k {options}"))
                .error("ERR syntax error");
        }
        db.run("MEMORY USAGE k SAMPLES x")
            .error("ERR value is not an integer or out of range");
        db.run("MEMORY USAGE")
            .error("ERR wrong number of arguments for 'memory|usage' command");
    });

    script!(memory_stats_and_reports_have_their_shapes, |db| {
        assert!(
            db.run("MEMORY STATS")
                .bytes()
                .starts_with(b"*54\r\n$14\r\npeak.allocated\r\n:")
        );
        assert!(db.run("MEMORY DOCTOR").bytes().starts_with(b"$"));
        db.run("MEMORY PURGE").ok();
        db.resp3();
        assert!(db.run("MEMORY STATS").bytes().starts_with(b"%27\r\n"));
        let report = db.run("MEMORY MALLOC-STATS");
        assert!(report.bytes().starts_with(b"=") && report.bytes().len() > 100);
        assert!(
            db.run("MEMORY HELP")
                .bytes()
                .starts_with(b"*14\r\n+MEMORY <subcommand> ")
        );
    });

    #[test]
    fn the_doctor_names_what_is_wrong() {
        let well = MemoryUse {
            used: 100 << 20,
            peak: 110 << 20,
            startup: 1 << 20,
            clients: 1000,
            resident: 110 << 20,
        };
        assert!(diagnosis(&well, 1).contains("can't find any"));
        let ill = MemoryUse {
            peak: 400 << 20,
            clients: 1 << 20,
            resident: 300 << 20,
            ..well
        };
        let report = diagnosis(&ill, 1);
        assert_eq!(report.matches(" * ").count(), 3, "{report}");
    }
}
