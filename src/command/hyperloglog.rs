//! HyperLogLogs: estimates of how many distinct elements were added.

use super::argument::{self, KEY};
use super::{Argument, Arity::*, Command, Context, Flags, Group, KeySpec};
use crate::error::CommandError;
use crate::keyspace::Keys;
use crate::resp::Args;
use crate::value::hll::{self, Corrupt, Encoding, REGISTERS, Registers};

/// The rows of this family.
pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "pfadd",
        arity: AtLeast(2),
        keys: &[KeySpec::at(1, &["RW", "insert"])],
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST),
        run: pfadd,
        group: Group::HyperLogLog,
        since: "2.8.9",
        complexity: "O(1) for each element.",
        summary: "Adds elements to a HyperLogLog.",
        arguments: &[
            KEY,
            argument::flagged(
                &["optional", "multiple"],
                Argument::new("element", "string"),
            ),
        ],
        ..Command::BLANK
    },
    Command {
        name: "pfcount",
        arity: AtLeast(2),
        keys: &[KeySpec::range(1, -1, 1, &["RW", "access"])],
        flags: Flags::READONLY.and(Flags::MAY_REPLICATE),
        run: pfcount,
        group: Group::HyperLogLog,
        since: "2.8.9",
        complexity: "O(1) for one key, with a small constant; O(N) for N keys, with a larger one.",
        summary: "Estimates the number of distinct elements in HyperLogLogs.",
        arguments: &[argument::multiple(KEY)],
        ..Command::BLANK
    },
    Command {
        name: "pfmerge",
        arity: AtLeast(2),
        keys: &[
            KeySpec::at(1, &["RW", "access", "insert"]),
            KeySpec::range(2, -1, 1, &["RO", "access"]),
        ],
        flags: Flags::WRITE.and(Flags::DENYOOM),
        run: pfmerge,
        group: Group::HyperLogLog,
        since: "2.8.9",
        complexity: "O(N) in the number of keys, with a large constant.",
        summary: "Merges HyperLogLogs into one.",
        arguments: &[
            argument::key("destkey", 0),
            argument::multiple(argument::key("sourcekey", 1)),
        ],
        ..Command::BLANK
    },
    Command {
        name: "pfdebug",
        arity: Exactly(3),
        keys: &[KeySpec::at(2, &["RW", "access"])],
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::ADMIN),
        run: pfdebug,
        group: Group::HyperLogLog,
        since: "2.8.9",
        complexity: "O(N) in the size of the HyperLogLog.",
        summary: "Shows and changes how a HyperLogLog is kept.",
        arguments: &[Argument::new("subcommand", "string"), KEY],
        ..Command::BLANK
    },
    Command {
        name: "pfselftest",
        arity: Exactly(1),
        flags: Flags::ADMIN,
        run: pfselftest,
        group: Group::HyperLogLog,
        since: "2.8.9",
        complexity: "O(1), with a large constant.",
        summary: "Checks the estimates and encodings of HyperLogLogs.",
        ..Command::BLANK
    },
];

impl From<Corrupt> for CommandError {
    fn from(corrupt: Corrupt) -> Self {
        Self::message(corrupt.to_string())
    }
}

/// Refuses a string that is no HyperLogLog.
fn checked(value: Option<&[u8]>) -> Result<Option<&[u8]>, CommandError> {
    match value {
        Some(value) if !hll::validate(value) => Err(CommandError::text(
            "WRONGTYPE Key is not a valid HyperLogLog string value.",
        )),
        value => Ok(value),
    }
}

fn store(keys: &mut Keys<'_>, key: &[u8], hll: &[u8]) -> Result<(), CommandError> {
    keys.string_resized(key, hll.len())?.copy_from_slice(hll);
    Ok(())
}

/// Most elements change nothing, so that is found out first, without a copy. Of those that do,
/// most go into a dense HyperLogLog, which is written in place.
fn pfadd(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let key = args.at(1);
    let Some(old) = checked(cx.keys.string_for_write(key)?)? else {
        return add_to(cx, args, hll::new_sparse(), true);
    };
    let mut changes = false;
    for element in args.from(2) {
        changes = changes || hll::would_change(old, element)?;
    }
    if !changes {
        cx.reply.flag(false);
        return Ok(());
    }
    if hll::encoding(old) == Some(Encoding::Sparse) {
        let copy = old.to_vec();
        return add_to(cx, args, copy, false);
    }
    let len = old.len();
    let dense = cx.keys.string_resized(key, len)?;
    args.from(2)
        .for_each(|element| hll::add_dense(dense, element));
    cx.reply.flag(true);
    Ok(())
}

/// Adds the elements to a copy, so that a corrupt HyperLogLog stays as it is.
fn add_to(
    cx: &mut Context<'_>,
    args: &Args<'_>,
    mut hll: Vec<u8>,
    is_new: bool,
) -> Result<(), CommandError> {
    let mut changes = usize::from(is_new);
    for element in args.from(2) {
        changes += usize::from(hll::add(&mut hll, element, sparse_max_bytes(cx))?);
    }
    if is_new {
        hll::invalidate_cache(&mut hll);
    }
    store(&mut cx.keys, args.at(1), &hll)?;
    cx.keys.count_further(changes as i64 - 1);
    cx.reply.flag(changes > 0);
    Ok(())
}

fn sparse_max_bytes(cx: &Context<'_>) -> usize {
    usize::try_from(cx.config.hll_sparse_max_bytes).unwrap_or(usize::MAX)
}

fn pfcount(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let count = if args.len() == 2 {
        count_one(cx, args.at(1))?
    } else {
        hll::count_registers(&merged(cx, args, 1)?.registers)
    };
    cx.reply.int(count.cast_signed());
    Ok(())
}

/// A count that had to be worked out is kept in the string, as Redis does.
fn count_one(cx: &mut Context<'_>, key: &[u8]) -> Result<u64, CommandError> {
    let Some(value) = checked(cx.keys.string(key)?)? else {
        return Ok(0);
    };
    if let Some(count) = hll::cached_count(value) {
        return Ok(count);
    }
    let mut hll = value.to_vec();
    let count = hll::count(&mut hll)?;
    store(&mut cx.keys, key, &hll)?;
    Ok(count)
}

/// Several HyperLogLogs as one.
struct Merged {
    registers: Box<Registers>,
    /// Whether one of them is dense.
    dense: bool,
}

/// Merges the HyperLogLogs from an argument on; absent ones count as empty.
fn merged(cx: &mut Context<'_>, args: &Args<'_>, from: usize) -> Result<Merged, CommandError> {
    let mut merged = Merged {
        registers: Box::new([0; REGISTERS]),
        dense: false,
    };
    for key in args.from(from) {
        if let Some(value) = checked(cx.keys.string(key)?)? {
            merged.dense |= hll::encoding(value) == Some(Encoding::Dense);
            hll::merge_registers(&mut merged.registers, value)?;
        }
    }
    Ok(merged)
}

fn pfmerge(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let destination = args.at(1);
    let Merged { registers, dense } = merged(cx, args, 1)?;
    let mut hll = match cx.keys.string_for_write(destination)? {
        Some(value) => value.to_vec(),
        None => hll::new_sparse(),
    };
    hll::store_registers(&mut hll, &registers, dense, sparse_max_bytes(cx))?;
    store(&mut cx.keys, destination, &hll)?;
    cx.reply.ok();
    Ok(())
}

fn pfdebug(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let (subcommand, key) = (args.at(1), args.at(2));
    let value = checked(cx.keys.string_for_write(key)?)?
        .ok_or(CommandError::text("ERR The specified key does not exist"))?;
    match subcommand.to_ascii_uppercase().as_slice() {
        b"ENCODING" => cx
            .reply
            .simple(hll::encoding(value).map_or("unknown", Encoding::name)),
        b"DECODE" => {
            let runs =
                hll::decode(value)?.ok_or(CommandError::text("ERR HLL encoding is not sparse"))?;
            cx.reply.text(&runs);
        }
        b"TODENSE" => {
            let hll = value.to_vec();
            let converted = make_dense(cx, key, hll)?;
            cx.reply.flag(converted);
        }
        b"GETREG" => {
            let hll = value.to_vec();
            let registers = hll::registers(&hll)?;
            make_dense(cx, key, hll)?;
            cx.reply.array(registers.len());
            registers
                .iter()
                .for_each(|&register| cx.reply.int(i64::from(register)));
        }
        _ => return Err(unknown_subcommand(subcommand)),
    }
    Ok(())
}

fn make_dense(cx: &mut Context<'_>, key: &[u8], mut hll: Vec<u8>) -> Result<bool, CommandError> {
    let converted = hll::to_dense(&mut hll)?;
    if converted {
        store(&mut cx.keys, key, &hll)?;
    }
    Ok(converted)
}

#[cold]
fn unknown_subcommand(name: &[u8]) -> CommandError {
    CommandError::message(format!(
        "ERR Unknown PFDEBUG subcommand '{}'",
        String::from_utf8_lossy(name)
    ))
}

/// Elements that PFSELFTEST adds: enough for a full dense HyperLogLog, few enough to take
/// milliseconds.
const SELFTEST_ELEMENTS: u32 = 50_000;

/// Adds elements to a dense and to a sparse HyperLogLog and holds their estimates, at each power of
/// ten, against the truth and against one another.
fn pfselftest(cx: &mut Context<'_>, _: &Args<'_>) -> Result<(), CommandError> {
    let (mut sparse, mut dense) = (hll::new_sparse(), hll::new_sparse());
    hll::to_dense(&mut dense)?;
    let mut checkpoint = 1;
    for element in 1..=SELFTEST_ELEMENTS {
        let bytes = (u64::from(element) ^ cx.random).to_le_bytes();
        hll::add(&mut sparse, &bytes, sparse_max_bytes(cx))?;
        hll::add_dense(&mut dense, &bytes);
        if element == checkpoint || element == SELFTEST_ELEMENTS {
            checkpoint *= 10;
            check_estimates(&mut sparse, &mut dense, u64::from(element))?;
        }
    }
    cx.reply.ok();
    Ok(())
}

fn check_estimates(sparse: &mut [u8], dense: &mut [u8], truth: u64) -> Result<(), CommandError> {
    let estimate = hll::count(dense)?;
    if hll::count(sparse)? != estimate {
        return Err(CommandError::text("TESTFAILED dense/sparse disagree"));
    }
    // Six standard errors, and one for the smallest numbers.
    let standard_error = 1.04 / (REGISTERS as f64).sqrt();
    let allowed = (standard_error * 6.0 * truth as f64).ceil() as u64 + 1;
    let error = estimate.abs_diff(truth);
    if error > allowed {
        return Err(CommandError::message(format!(
            "TESTFAILED Too big error. card:{truth} abserr:{error}"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::testing::{Db, script};

    const NOT_HLL: &str = "WRONGTYPE Key is not a valid HyperLogLog string value.";
    const CORRUPT: &str = "INVALIDOBJ Corrupted HLL object detected";

    fn add_many(db: &mut Db, key: &str, elements: std::ops::Range<u32>) {
        for element in elements {
            db.run(&format!("PFADD {key} element:{element}")).bytes();
        }
    }

    script!(pfadd_tells_whether_anything_changed, |db| {
        db.run("PFADD k").int(1);
        db.run("PFADD k").int(0);
        db.run("GET k")
            .bulk(b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80\x7f\xff");
        db.run("PFADD k a b c").int(1);
        db.run("PFADD k a c").int(0);
        db.run("PFADD k d d").int(1);
        db.run("PFCOUNT k").int(4);
        db.run("OBJECT ENCODING k").bulk("raw");
    });

    script!(pfadd_keeps_the_expiry, |db| {
        db.run("PFADD k a").int(1);
        db.run("PEXPIRE k 5000").int(1);
        db.run("PFADD k b").int(1);
        db.run("PFCOUNT k").int(2);
        db.run("PTTL k").int(5000);
    });

    script!(pfcount_keeps_its_result_in_the_string, |db| {
        db.run("PFADD k a b c").int(1);
        db.run("GETBIT k 120").int(1);
        db.run("PFCOUNT k").int(3);
        db.run("GETBIT k 120").int(0);
        db.run("BITFIELD k GET u8 #8").is("*1\r\n:3\r\n");
        db.run("PFCOUNT k nokey k").int(3);
        db.run("PFCOUNT nokey").int(0);
        db.run("PFCOUNT nokey nokey2").int(0);
        db.run("EXISTS nokey").int(0);
    });

    script!(pfmerge_takes_all_of_its_keys_together, |db| {
        db.run("PFADD a 1 2 3").int(1);
        db.run("PFADD b 3 4").int(1);
        db.run("PFMERGE a b nokey").ok();
        db.run("PFCOUNT a").int(4);
        db.run("PFMERGE d a b").ok();
        db.run("PFDEBUG ENCODING d").simple("sparse");
        db.run("PFDEBUG TODENSE b").int(1);
        db.run("PFMERGE d b").ok();
        db.run("PFDEBUG ENCODING d").simple("dense");
        db.run("PFCOUNT d").int(4);
        db.run("PFMERGE empty").ok();
        db.run("GET empty")
            .bulk(b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80\x7f\xff");
    });

    script!(a_sparse_one_becomes_dense_and_counts_on, |db| {
        add_many(&mut db, "k", 0..500);
        db.run("PFDEBUG ENCODING k").simple("sparse");
        add_many(&mut db, "k", 500..3000);
        db.run("PFDEBUG ENCODING k").simple("dense");
        // What redis-server 7.0.15 counts of the same elements.
        db.run("PFCOUNT k").int(3002);
        add_many(&mut db, "k", 0..10);
        db.run("GETBIT k 120").int(0);
        db.run("PFADD k more").int(1);
    });

    #[test]
    fn hll_sparse_max_bytes_says_when_to_become_dense() {
        let config = Config {
            hll_sparse_max_bytes: 0,
            ..Config::default()
        };
        let mut db = Db::with_config(config);
        db.run("PFADD k").int(1);
        db.run("PFDEBUG ENCODING k").simple("sparse");
        db.run("PFADD k a").int(1);
        db.run("PFDEBUG ENCODING k").simple("dense");
    }

    script!(strings_that_are_no_hyperloglog_are_refused, |db| {
        db.run("SET s hello").ok();
        db.run("PFADD k a").int(1);
        for line in [
            "PFADD s a",
            "PFCOUNT s",
            "PFCOUNT k s",
            "PFMERGE d s",
            "PFMERGE s k",
            "PFDEBUG ENCODING s",
        ] {
            db.run(line).error(NOT_HLL);
        }
        db.run("GET s").bulk("hello");
        db.run("EXISTS d").int(0);
    });

    script!(a_corrupt_one_is_refused_and_stays, |db| {
        let bytes = b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80\x7f";
        db.run_args(&[b"SET", b"bad", bytes]).ok();
        for line in [
            "PFADD bad a",
            "PFCOUNT bad",
            "PFCOUNT bad bad",
            "PFMERGE d bad",
            "PFDEBUG DECODE bad",
            "PFDEBUG TODENSE bad",
            "PFDEBUG GETREG bad",
        ] {
            db.run(line).error(CORRUPT);
        }
        db.run("GET bad").bulk(bytes);
        db.run("EXISTS d").int(0);
    });

    script!(pfdebug_shows_the_inside, |db| {
        db.run("PFADD k a b c").int(1);
        db.run("PFDEBUG DECODE k")
            .bulk("Z:8436 v:1,1 Z:4274 v:2,1 Z:3068 v:1,1 Z:603");
        let registers = db.run("PFDEBUG getreg k");
        assert!(registers.bytes().starts_with(b"*16384\r\n:0\r\n"));
        db.run("PFDEBUG ENCODING k").simple("dense");
        db.run("PFDEBUG TODENSE k").int(0);
        db.run("PFDEBUG DECODE k")
            .error("ERR HLL encoding is not sparse");
        db.run("PFDEBUG foo k")
            .error("ERR Unknown PFDEBUG subcommand 'foo'");
        db.run("PFDEBUG foo nokey")
            .error("ERR The specified key does not exist");
    });

    script!(pfselftest_passes, |db| {
        db.run("PFSELFTEST").ok();
    });
}
