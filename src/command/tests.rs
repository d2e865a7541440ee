//! What must hold for every row, and for this folder as a whole.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use super::table::{Row, table};
use super::{Arity, Begin, Command, Find, Flags, KeySpec, acl_categories};

/// Commands with keys that neither read nor write them, or may do both, each with its reason.
const NEITHER_OR_BOTH: &[&str] = &["watch", "eval", "evalsha"];

fn every_row() -> impl Iterator<Item = (&'static str, &'static Command)> {
    table()
        .all_rows()
        .map(|row: &Row| (row.full_name.as_str(), row.command))
}

fn is_version(text: &str) -> bool {
    let parts: Vec<_> = text.split('.').map(str::parse::<u32>).collect();
    parts.len() == 3 && parts.iter().all(Result::is_ok)
}

#[test]
fn every_row_is_complete() {
    for (name, command) in every_row() {
        assert!(
            !command.name.is_empty() && !name.contains(char::is_uppercase),
            "{name}"
        );
        assert!(
            command.summary.ends_with('.'),
            "{name}: {}",
            command.summary
        );
        assert!(
            command.summary.starts_with(char::is_uppercase),
            "{name}: {}",
            command.summary
        );
        assert!(is_version(command.since), "{name}: {}", command.since);
        assert!(!command.complexity.is_empty(), "{name}");
        for category in command.categories {
            assert!(acl_categories::ALL.contains(category), "{name}: {category}");
        }
        for argument in command.arguments {
            assert!(
                argument
                    .key_spec
                    .is_none_or(|spec| spec < command.keys.len()),
                "{name}"
            );
        }
    }
}

#[test]
fn names_are_unique() {
    let mut seen = HashSet::new();
    for (name, _) in every_row() {
        assert!(seen.insert(name), "{name}");
        assert!(table().find_full(name.as_bytes()).is_some(), "{name}");
    }
}

#[test]
fn arity_leaves_room_for_the_first_key() {
    for (name, command) in every_row() {
        let (Arity::Exactly(least) | Arity::AtLeast(least)) = command.arity;
        for (which, spec) in command.keys.iter().enumerate() {
            // Further keys may be none, as the sources of PFMERGE.
            if let (0, Begin::Index(index)) = (which, spec.begin)
                && spec.flags != KeySpec::NOT_KEY
            {
                assert!((1..least).contains(&index), "{name}");
            }
            let (Find::Range { step, .. } | Find::KeyNum { step, .. }) = spec.find;
            assert!(step > 0, "{name}");
        }
        assert!(least > usize::from(name.contains('|')), "{name}");
    }
}

#[test]
fn commands_with_keys_either_read_or_write() {
    let has_keys = |command: &Command| command.keys.iter().any(|s| s.flags != KeySpec::NOT_KEY);
    for (name, command) in every_row().filter(|(_, command)| has_keys(command)) {
        let [reads, writes] = [Flags::READONLY, Flags::WRITE].map(|flag| command.flags.has(flag));
        assert!(reads != writes || NEITHER_OR_BOTH.contains(&name), "{name}");
    }
}

/// The files of a folder and of those below it.
fn sources(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path.display().to_string(), text));
        }
    }
    found
}

#[test]
fn nothing_here_imports_what_is_above_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/command");
    let sources = sources(&folder);
    assert!(sources.len() > 10);
    for (path, text) in sources
        .iter()
        .filter(|(path, _)| !path.ends_with("command/tests.rs"))
    {
        for name in ["crate::net", "crate::tier", "crate::upstream", "tokio::"] {
            assert!(!text.contains(name), "{path} knows {name}");
        }
    }
}

#[test]
fn own_commands_came_with_versions_of_this_server() {
    let own = table().all_rows().filter(|row| row.full_name.contains('.'));
    let mut count = 0;
    for row in own {
        assert_eq!(row.command.since, "0.1.0", "{}", row.full_name);
        count += 1;
    }
    assert!(count > 5, "{count}");
}
