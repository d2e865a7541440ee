//! Saving: what Redis's snapshots and log are to clients is a sync of the disk tier here.

use super::{Argument, Arity::*, Command, Context, Flags, Group};
use crate::error::CommandError;
use crate::keyspace::residency::Ask;
use crate::resp::Args;
use crate::server::suspended::Stop;

/// The rows of this family.
pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "save",
        arity: Exactly(1),
        flags: SAVES.and(Flags::NO_MULTI),
        run_or_suspend: Some(save),
        group: Group::Server,
        since: "1.0.0",
        complexity: "O(N) where N is the number of keys that changed and are not written yet",
        summary: "Waits until all that has changed is in the disk tier.",
        ..Command::BLANK
    },
    Command {
        name: "bgsave",
        arity: AtLeast(1),
        flags: SAVES,
        run: bgsave,
        group: Group::Server,
        since: "1.0.0",
        summary: "Has all that has changed written into the disk tier.",
        arguments: &[Argument {
            token: Some("SCHEDULE"),
            since: Some("3.2.2"),
            flags: &["optional"],
            ..Argument::new("schedule", "pure-token")
        }],
        ..Command::BLANK
    },
    Command {
        name: "bgrewriteaof",
        arity: Exactly(1),
        flags: SAVES,
        run: bgrewriteaof,
        group: Group::Server,
        since: "1.0.0",
        summary: "The same as BGSAVE: runs of the disk tier replace its log.",
        ..Command::BLANK
    },
    Command {
        name: "lastsave",
        arity: Exactly(1),
        flags: Flags::LOADING.and(Flags::STALE).and(Flags::FAST),
        run: lastsave,
        group: Group::Server,
        categories: &["@admin", "@dangerous"],
        since: "1.0.0",
        summary: "Returns the second when changes were last written into the disk tier.",
        tips: &["nondeterministic_output"],
        ..Command::BLANK
    },
];

const SAVES: Flags = Flags::ADMIN
    .and(Flags::NOSCRIPT)
    .and(Flags::NO_ASYNC_LOADING);

/// Without a disk tier there is nothing to save, and that is done at once: what waits for the time of LASTSAVE to go on waits
/// in vain otherwise.
fn save(cx: &mut Context<'_>, _: &Args<'_>) -> Result<(), Stop> {
    if cx.keys.keyspace().has_below() {
        cx.ask_below(Ask::Sync)?;
    }
    cx.server.note_save(cx.now);
    cx.reply.ok();
    Ok(())
}

fn bgsave(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let fits = args
        .get(1)
        .is_none_or(|word| args.len() == 2 && word.eq_ignore_ascii_case(b"SCHEDULE"));
    if !fits {
        return Err(CommandError::Syntax);
    }
    hurry(cx);
    cx.reply.simple("Background saving started");
    Ok(())
}

fn bgrewriteaof(cx: &mut Context<'_>, _: &Args<'_>) -> Result<(), CommandError> {
    hurry(cx);
    cx.reply
        .simple("Background append only file rewriting started");
    Ok(())
}

fn hurry(cx: &Context<'_>) {
    match &cx.server.engine.tier {
        Some(tier) => tier.hurry(),
        None => cx.server.note_save(cx.now),
    }
}

fn lastsave(cx: &mut Context<'_>, _: &Args<'_>) -> Result<(), CommandError> {
    cx.reply.int(cx.server.last_save().as_secs());
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::{Db, script};

    script!(memory: without_a_tier_there_is_nothing_to_save_and_that_is_done_at_once, |db| {
        let mut before = db.run("LASTSAVE").bytes().to_vec();
        for (command, answer) in [
            ("SAVE", "OK"),
            ("BGSAVE", "Background saving started"),
            ("BGREWRITEAOF", "Background append only file rewriting started"),
        ] {
            db.advance(2000);
            db.run(command).simple(answer);
            let after = db.run("LASTSAVE").bytes().to_vec();
            assert_ne!(after, before, "{command}");
            before = after;
        }
    });

    #[test]
    fn saving_is_a_sync_of_the_tier() {
        let mut db = Db::spilled();
        db.run("SET k v").ok();
        db.run("SAVE").ok();
        db.run("BGSAVE").simple("Background saving started");
        db.run("BGSAVE SCHEDULE")
            .simple("Background saving started");
        db.run("BGSAVE foo").error("ERR syntax error");
        db.run("BGREWRITEAOF")
            .simple("Background append only file rewriting started");
    }

    /// What INFO persistence tells of saves: whether one is under way, how long the last and this one took, how many there were.
    fn told(db: &mut Db) -> [String; 4] {
        let info = db.run("INFO persistence");
        let info = String::from_utf8_lossy(info.bytes()).into_owned();
        [
            "rdb_bgsave_in_progress",
            "rdb_last_bgsave_time_sec",
            "rdb_current_bgsave_time_sec",
            "rdb_saves",
        ]
        .map(|name| {
            let line = info.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.strip_prefix(':'))
                .unwrap_or_default()
                .to_owned()
        })
    }

    #[test]
    fn info_tells_of_saves() {
        let mut db = Db::tiered(|_| {});
        assert_eq!(told(&mut db), ["0", "-1", "-1", "0"]);
        db.run("SET k v").ok();
        db.run("BGSAVE").simple("Background saving started");
        // Nobody writes here by itself.
        assert_eq!(told(&mut db), ["1", "-1", "0", "0"]);
        let mut db = Db::tiered(|_| {});
        db.run("SAVE").ok();
        assert_eq!(told(&mut db), ["0", "-1", "-1", "1"]);
        let mut db = Db::new();
        db.run("BGSAVE").simple("Background saving started");
        assert_eq!(told(&mut db), ["0", "0", "-1", "1"]);
    }
}
