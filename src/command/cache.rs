//! CACHE.*: what a cache needs beyond Redis's commands.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::argument::word;
use super::{Argument, Arity::*, Command, Context, Flags, Group};
use crate::error::CommandError;
use crate::resp::Args;
use crate::server::warming::{self, Refusal};

/// The rows of this family.
pub(super) const COMMANDS: &[Command] = &[Command {
    name: "cache.warm",
    arity: Exactly(3),
    flags: Flags::ADMIN,
    run: warm,
    group: Group::Server,
    since: "0.1.0",
    complexity: "O(1); the file is loaded in the background.",
    summary: "Loads the keys of an RDB file of the server's machine that do not exist, in the background.",
    arguments: &[word("file", "FILE"), Argument::new("path", "string")],
    ..Command::BLANK
}];

fn warm(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    if !args.at(1).eq_ignore_ascii_case(b"FILE") {
        return Err(CommandError::Syntax);
    }
    let path = file_in(&cx.config.warm_dir(), args.at(2)).ok_or(NO_FILE)?;
    match warming::start(cx.server, &path) {
        Ok(()) => {
            cx.reply.simple("Background warming started");
            Ok(())
        }
        Err(Refusal::Busy) => Err(CommandError::text("ERR another warming is under way")),
        Err(Refusal::File(error)) => {
            tracing::warn!("CACHE.WARM: {error}");
            Err(NO_FILE)
        }
    }
}

/// One error for every file that is not to be loaded: others would tell which files the machine has.
const NO_FILE: CommandError = CommandError::text(
    "ERR cannot warm from it: it must be an RDB file below the directory that warm-dir names",
);

/// The file of this name, if it is below the directory once all links are followed.
fn file_in(directory: &Path, name: &[u8]) -> Option<PathBuf> {
    let directory = directory.canonicalize().ok()?;
    let path = directory
        .join(OsStr::from_bytes(name))
        .canonicalize()
        .ok()?;
    path.starts_with(&directory).then_some(path)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use crate::config::Config;
    use crate::testing::Db;

    #[test]
    fn only_files_below_the_directory_are_looked_at() {
        let base = std::env::temp_dir().join(format!("strata-warm-{}", std::process::id()));
        let inside = base.join("in/deep");
        fs::create_dir_all(&inside).unwrap();
        fs::write(base.join("secret.rdb"), b"REDIS0009\xff").unwrap();
        fs::write(base.join("in/none.rdb"), b"text").unwrap();
        fs::write(
            inside.join("some.rdb"),
            [&b"REDIS0009\xff"[..], &[0; 8]].concat(),
        )
        .unwrap();
        symlink(base.join("secret.rdb"), base.join("in/link.rdb")).unwrap();
        symlink(&base, base.join("in/up")).unwrap();
        symlink(inside.join("some.rdb"), base.join("in/good.rdb")).unwrap();
        let mut db = Db::with_config(Config {
            warm_dir: Some(base.join("in")),
            ..Config::default()
        });
        let absolute = inside.join("some.rdb");
        let refused = "ERR cannot warm from it: it must be an RDB file below the directory that warm-dir names";
        let secret = base.join("secret.rdb");
        for path in [
            "/etc/passwd",
            "/no/such/file",
            "../secret.rdb",
            "deep/../../secret.rdb",
            "link.rdb",
            "up/secret.rdb",
            "none.rdb",
            "absent.rdb",
            "deep",
            "\"\"",
            ".",
            "/dev/zero",
            secret.to_str().unwrap(),
        ] {
            db.run(&format!("CACHE.WARM FILE {path}")).error(refused);
        }
        for path in [
            "deep/some.rdb",
            "deep/../deep/some.rdb",
            "good.rdb",
            absolute.to_str().unwrap(),
        ] {
            while db.server().warming.is_under_way() {
                std::thread::yield_now();
            }
            db.run(&format!("CACHE.WARM FILE {path}"))
                .simple("Background warming started");
        }
        fs::remove_dir_all(&base).unwrap();
    }
}
