//! Commands that wait until a key has something for them.
//!
//! Such a command tries its keys one after the other; where none has anything its client waits, and whoever writes to one of
//! the keys tries that one again, in the name of the client, by the function that the command gives here. So nothing in this
//! file knows what can be waited for.

use super::Context;
use crate::clock::UnixMs;
use crate::error::CommandError;
use crate::keyspace::EventName;
use crate::keyspace::entry::ValueType;
use crate::resp::{Args, OwnedArgs, Reply};
use crate::server::suspended::{Stop, Suspend};
use crate::server::waiters::{Queued, Wanted};
use crate::value::number::LongDouble;

/// How those are served who wait with a command.
#[derive(Debug)]
pub struct Waits {
    /// The type of value that can serve them.
    pub value_type: Option<ValueType>,
    /// The arguments that are keys needed besides the one that serves.
    pub also: &'static [usize],
    /// Takes what a key has and replies with it. False where it has nothing. An error is for the client that waits.
    pub serve: fn(&mut Context<'_>, &Args<'_>, &[u8]) -> Result<bool, CommandError>,
    /// Replies where nothing came in time.
    pub timed_out: fn(&mut Reply),
    /// Replies inside a transaction, where nobody waits.
    pub at_once: fn(&mut Reply),
    /// The name of the change that serving them makes.
    pub event: EventName,
    /// Whether the command runs again when a key is deleted or becomes another type: it is refused then.
    pub needs_keys: bool,
}

impl Waits {
    /// For what a list has.
    pub(super) const LIST: Self = Self {
        value_type: Some(ValueType::List),
        ..Self::TIME
    };
    /// For what a sorted set has.
    pub(super) const ZSET: Self = Self {
        value_type: Some(ValueType::Zset),
        ..Self::TIME
    };
    /// For what a stream has.
    pub(super) const STREAM: Self = Self {
        value_type: Some(ValueType::Stream),
        ..Self::TIME
    };
    /// For nothing but the time.
    pub(super) const TIME: Self = Self {
        value_type: None,
        also: &[],
        serve: |_, _, _| Ok(false),
        timed_out: Reply::nil_array,
        at_once: Reply::nil_array,
        event: &"wait",
        needs_keys: false,
    };
}

/// A timeout in seconds as a time; `None`: never.
pub(super) fn until(text: &[u8], now: UnixMs) -> Result<Option<UnixMs>, CommandError> {
    let seconds = LongDouble::parse(text).ok_or(CommandError::text(
        "ERR timeout is not a float or out of range",
    ))?;
    let ms = seconds.to_f64() * 1000.0;
    if ms >= i64::MAX as f64 {
        return Err(OUT_OF_RANGE);
    }
    // The conversion saturates.
    until_after(ms.ceil() as i64, now)
}

/// A timeout in milliseconds as a time; `None`: never.
pub(super) fn until_after(ms: i64, now: UnixMs) -> Result<Option<UnixMs>, CommandError> {
    match ms {
        ..0 => Err(CommandError::text("ERR timeout is negative")),
        0 => Ok(None),
        ms => {
            let until = now.0.checked_add(ms).ok_or(OUT_OF_RANGE)?;
            Ok(Some(UnixMs(until)))
        }
    }
}

const OUT_OF_RANGE: CommandError = CommandError::text("ERR timeout is out of range");

/// Serves the client with the first key that can, or has it wait.
pub(super) fn serve_or_wait<'k>(
    cx: &mut Context<'_>,
    args: &Args<'_>,
    keys: impl Iterator<Item = &'k [u8]> + Clone,
    until: Option<UnixMs>,
    waits: &'static Waits,
) -> Result<(), Stop> {
    for key in keys.clone() {
        if (waits.serve)(cx, args, key)? {
            return Ok(());
        }
    }
    Err(wait(cx, args.from(0).collect(), keys, until, waits))
}

/// Has the client wait for keys: for as long as at first, and in the same place, where it has waited before.
pub(super) fn wait<'k>(
    cx: &mut Context<'_>,
    request: OwnedArgs,
    keys: impl Iterator<Item = &'k [u8]>,
    until: Option<UnixMs>,
    waits: &'static Waits,
) -> Stop {
    let before = cx.session.suspended.as_ref();
    let before = before.and_then(|before| before.queued.as_ref());
    let (ticket, until) = match before {
        Some(before) => (before.waiter().ticket, before.waiter().wanted.until),
        None => (cx.keys.keyspace().queues().draw_ticket(), until),
    };
    let wanted = Wanted {
        waits,
        request,
        db: cx.keys.db(),
        keys: keys.map(Into::into).collect(),
        until,
        protocol: cx.reply.protocol(),
    };
    let queued = Queued::join(cx.server, &cx.session.client, wanted, ticket);
    Suspend::Queued(queued).into()
}

#[cfg(test)]
mod tests {
    use crate::server::waiters::End;
    use crate::testing::{Db, script};

    fn text(db: &mut Db, line: &str) -> String {
        String::from_utf8_lossy(db.run(line).bytes()).into_owned()
    }

    const WRONG: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";

    script!(an_error_that_ends_a_wait_is_counted, |db| {
        db.switch(1);
        db.run("BLMOVE a d LEFT LEFT 0").is("");
        db.switch(0);
        db.run("SET d v").ok();
        db.run("RPUSH a x").int(1);
        db.switch(1);
        db.run("BLMOVE a d LEFT LEFT 0").error(WRONG);
        db.run("BLPOP none 0").is("");
        let waiter = db.waiter();
        assert!(waiter.end(End::Unblocked));
        db.run("BLPOP none 0")
            .error("UNBLOCKED client unblocked via CLIENT UNBLOCK");
        let errors = text(&mut db, "INFO errorstats");
        assert!(
            errors.contains("errorstat_WRONGTYPE:count=1\r\n"),
            "{errors}"
        );
        assert!(
            errors.contains("errorstat_UNBLOCKED:count=1\r\n"),
            "{errors}"
        );
        let commands = text(&mut db, "INFO commandstats");
        for name in ["blmove", "blpop"] {
            let line = commands
                .lines()
                .find(|line| line.contains(&format!("_{name}:")));
            let line = line.unwrap_or_default();
            assert!(line.contains(":calls=1,"), "{commands}");
            assert!(
                line.contains("rejected_calls=0,failed_calls=1"),
                "{commands}"
            );
        }
    });

    script!(client_list_names_the_command_that_waits, |db| {
        db.switch(1);
        db.run("PING").simple("PONG");
        db.run("BLPOP k 0").is("");
        db.switch(0);
        assert!(text(&mut db, "CLIENT LIST").contains(" cmd=blpop "));
    });

    script!(
        a_command_that_runs_again_keeps_its_deadline_and_its_place,
        |db| {
            db.switch(1);
            db.run("BLPOP k 1").is("");
            db.switch(2);
            db.run("BLPOP k 0").is("");
            db.advance(900);
            db.switch(1);
            let waiter = db.waiter();
            assert!(waiter.end(End::Again));
            db.run("BLPOP k 1").is("");
            db.switch(0);
            db.run("RPUSH k first").int(1);
            db.switch(2);
            db.run("BLPOP k 0").is("");
            db.switch(1);
            db.run("BLPOP k 1").bulks(&["k", "first"]);
            db.run("BLPOP k 1").is("");
            db.advance(900);
            assert!(db.waiter().end(End::Again));
            db.run("BLPOP k 1").is("");
            db.advance(100);
            db.run("BLPOP k 1").is("*-1\r\n");
        }
    );

    script!(a_reader_that_runs_again_reads_from_where_it_began, |db| {
        db.run("XADD s 1-1 a 1").bulk("1-1");
        db.switch(1);
        db.run("XREAD BLOCK 0 STREAMS s $").is("");
        assert!(db.waiter().end(End::Again));
        db.switch(0);
        db.run("XADD s 2-1 a 2").bulk("2-1");
        db.switch(1);
        let read = text(&mut db, "XREAD BLOCK 0 STREAMS s $");
        assert!(read.contains("2-1") && !read.contains("1-1\r\n"), "{read}");
    });

    script!(timeouts_beyond_the_last_time_are_out_of_range, |db| {
        for line in [
            "BLPOP k 9223372036854775807",
            "BLPOP k 9223372036854775",
            "BLPOP k 1e16",
            "BLPOP k inf",
            "BRPOPLPUSH k d 9223372036854775807",
            "BLMPOP 9223372036854775807 1 k LEFT",
            "BZPOPMIN k 9223372036854775807",
            "XREAD BLOCK 9223372036854775807 STREAMS s 0",
        ] {
            db.run(line).error("ERR timeout is out of range");
        }
        db.run("BLPOP k -1").error("ERR timeout is negative");
        for line in ["BLPOP k nan", "BLPOP k x"] {
            db.run(line)
                .error("ERR timeout is not a float or out of range");
        }
    });

    const GONE: &str =
        "NOGROUP No such key 's' or consumer group 'g' in XREADGROUP with GROUP option";

    /// What a reader of a group is told when its stream goes in some way.
    fn told(mut db: Db, go: impl FnOnce(&mut Db)) -> String {
        db.run("SET text v").ok();
        db.run("RPUSH list b a").int(2);
        db.run("SADD set a").int(1);
        db.run("ZADD zset 1 a").int(1);
        db.run("XADD s 1-1 a 1").bulk("1-1");
        db.run("XGROUP CREATE s g $").ok();
        let line = "XREADGROUP GROUP g me BLOCK 0 STREAMS s >";
        db.switch(1);
        db.run(line).is("");
        db.switch(0);
        go(&mut db);
        // Whoever runs a command on this thread serves those whose keys it has changed before.
        db.run("PING").simple("PONG");
        db.switch(1);
        text(&mut db, line)
    }

    const MODES: [fn() -> Db; 3] = [Db::new, Db::compressed, Db::spilled];

    #[test]
    fn a_reader_of_a_group_is_told_when_its_stream_goes() {
        for line in [
            "SET s v",
            "MSET a 1 s 2",
            "SETEX s 100 v",
            "PSETEX s 100000 v",
            "BITOP NOT s text",
            "RENAME text s",
            "COPY text s REPLACE",
            "SORT list ALPHA STORE s",
            "SUNIONSTORE s set",
            "ZUNIONSTORE s 1 zset",
            "ZRANGESTORE s zset 0 -1",
        ] {
            for mode in MODES {
                let told = told(mode(), |db| {
                    db.run(line).bytes().to_vec();
                });
                assert_eq!(told, format!("-{WRONG}\r\n"), "{line}");
            }
        }
        for line in [
            "DEL s",
            "UNLINK s",
            "FLUSHDB",
            "FLUSHALL",
            "RENAME s t",
            "MOVE s 1",
            "SWAPDB 0 1",
            "EXPIRE s -1",
            "EXPIREAT s 1",
            "SUNIONSTORE s none",
            "SDIFFSTORE s none other",
            "SORT none STORE s",
            "XGROUP DESTROY s g",
        ] {
            for mode in MODES {
                let told = told(mode(), |db| {
                    db.run(line).bytes().to_vec();
                });
                assert_eq!(told, format!("-{GONE}\r\n"), "{line}");
            }
        }
    }

    #[test]
    fn a_reader_of_a_group_is_told_when_its_stream_expires_or_is_evicted() {
        let expired = told(Db::new(), |db| {
            db.run("PEXPIRE s 10").int(1);
            db.advance(10);
            db.expire();
        });
        assert_eq!(expired, format!("-{GONE}\r\n"));
        let evicted = told(Db::new(), |db| {
            db.advance(10_000);
            assert!(db.demote_idle(5) > 0);
        });
        assert_eq!(evicted, format!("-{GONE}\r\n"));
    }

    #[test]
    fn a_reader_of_a_group_is_told_when_its_stream_expires_on_disk() {
        let cold = |db: &mut Db| {
            db.write();
            db.demote_all();
            assert_eq!(db.engine().keyspace.entries(), 0);
        };
        let tiered = || Db::tiered(|_| {});
        let expired = told(tiered(), |db| {
            db.run("PEXPIRE s 10").int(1);
            cold(db);
            db.advance(9);
            db.expire();
            db.run("PING").simple("PONG");
            db.switch(1);
            db.run("XREADGROUP GROUP g me BLOCK 0 STREAMS s >").is("");
            db.switch(0);
            db.advance(1);
            db.expire();
        });
        assert_eq!(expired, format!("-{GONE}\r\n"));
        // Nobody looks at what expires, but another client meets it.
        let met = told(tiered(), |db| {
            db.run("PEXPIRE s 10").int(1);
            cold(db);
            db.advance(10);
            db.run("EXISTS s").int(0);
        });
        assert_eq!(met, format!("-{GONE}\r\n"));
        // What was said of an earlier expiry holds no more: it looks, and waits on.
        let kept = told(tiered(), |db| {
            db.run("PEXPIRE s 10").int(1);
            cold(db);
            db.run("PERSIST s").int(1);
            db.advance(10);
            db.expire();
        });
        assert_eq!(kept, "");
        let kept = told(tiered(), |db| {
            db.run("PEXPIRE s 10").int(1);
            cold(db);
            db.run("PERSIST s").int(1);
            cold(db);
            db.advance(10);
            db.expire();
        });
        assert_eq!(kept, "");
    }

    script!(other_readers_wait_on_when_their_key_goes, |db| {
        db.run("XADD s 1-1 a 1").bulk("1-1");
        db.switch(1);
        db.run("XREAD BLOCK 0 STREAMS s $").is("");
        db.switch(0);
        for line in ["SET s v", "DEL s", "FLUSHALL", "RPUSH s x", "FLUSHDB"] {
            db.run(line).bytes().to_vec();
            db.switch(1);
            db.run("XREAD BLOCK 0 STREAMS s $").is("");
            db.switch(0);
        }
        db.run("XADD s 2-1 a 1").bulk("2-1");
        db.switch(1);
        assert!(text(&mut db, "XREAD BLOCK 0 STREAMS s $").contains("2-1"));
    });

    script!(memory: keys_that_are_waited_for_are_counted, |db| {
        db.run("XGROUP CREATE s g $ MKSTREAM").ok();
        let count = |db: &mut Db| {
            db.switch(0);
            let info = text(db, "INFO clients");
            let lines = info.lines().filter(|line| line.starts_with("total_blocking"));
            lines.map(str::to_owned).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(count(&mut db), "total_blocking_keys:0 total_blocking_keys_on_nokey:0");
        for (client, line) in [
            (1, "BLPOP a b 0"),
            (2, "BLPOP b 0"),
            (3, "XREADGROUP GROUP g me BLOCK 0 STREAMS s >"),
            (4, "WAIT 1 0"),
        ] {
            db.switch(client);
            db.run(line).is("");
        }
        assert_eq!(count(&mut db), "total_blocking_keys:3 total_blocking_keys_on_nokey:1");
        db.run("RPUSH a x").int(1);
        db.run("DEL s").int(1);
        for (client, line) in [(1, "BLPOP a b 0"), (3, "XREADGROUP GROUP g me BLOCK 0 STREAMS s >")] {
            db.switch(client);
            assert!(!text(&mut db, line).is_empty());
        }
        assert_eq!(count(&mut db), "total_blocking_keys:1 total_blocking_keys_on_nokey:0");
    });
}
