//! The table of all commands, made once from the rows of the families.
//!
//! A name is found by one hash over its lower-cased bytes. Each command and subcommand has a
//! number, under which its statistics are kept.

use std::sync::OnceLock;

use super::foreign::FOREIGN;
use super::key_specs::{Find, KeySpec, Positions};
use super::{Begin, Command, FAMILIES, Flags};
use crate::config::Rename;
use crate::resp::Args;

/// The longest name of a command; longer ones are looked for one by one.
const NAME_BYTES_MAX: usize = 32;
/// What is shown in place of a secret.
const REDACTED: &[u8] = b"(redacted)";
/// A power of two, several times the number of commands, so that nearly every name stands alone.
const SLOTS: usize = 2048;

/// A command in the table.
#[derive(Debug)]
pub struct Row {
    /// The row as its family declares it.
    pub command: &'static Command,
    /// The name by which it is found, in lower case: the command's, or that which `rename-command` gives it.
    name: Box<str>,
    /// The name with its container: `config|get`.
    pub full_name: String,
    /// What it may do, by which it is looked whether it may run now. A script may write.
    pub asks: Flags,
    /// The number under which statistics are kept.
    pub id: usize,
    /// The rows of the subcommands.
    pub subcommands: Vec<Row>,
    /// Whether the first word alone finds this row: no container, no subcommand.
    pub is_plain: bool,
    /// The place of the only key, where there is just one at a fixed place.
    pub single_key: Option<usize>,
    /// Whether its requests have keys; names of shard channels are none.
    has_keys: bool,
}

impl Row {
    fn new(command: &'static Command, container: Option<&str>, next_id: &mut usize) -> Self {
        let id = *next_id;
        *next_id += 1;
        let full_name = match container {
            Some(container) => format!("{container}|{}", command.name),
            None => command.name.to_owned(),
        };
        let subcommands = command
            .subcommands
            .iter()
            .map(|sub| Self::new(sub, Some(command.name), next_id))
            .collect();
        let has_keys = command
            .keys
            .iter()
            .any(|spec| spec.flags != KeySpec::NOT_KEY);
        let single_key = match command.keys {
            _ if !has_keys => None,
            [spec] => match (spec.begin, spec.find) {
                (Begin::Index(index), Find::Range { last: 0, .. }) => Some(index),
                _ => None,
            },
            _ => None,
        };
        let may_write = command.evaluation.is_some()
            && !command.keys.is_empty()
            && !command.flags.has(Flags::READONLY);
        let asks = match may_write {
            true => command.flags.and(Flags::WRITE).and(Flags::DENYOOM),
            false => command.flags,
        };
        Self {
            command,
            asks,
            name: command.name.into(),
            full_name,
            id,
            subcommands,
            is_plain: container.is_none() && command.subcommands.is_empty(),
            single_key,
            has_keys,
        }
    }

    /// The places of the keys of a request whose arity is right. `None` where its options do not
    /// fit, so that the command itself will refuse it.
    #[inline]
    pub fn key_positions(&self, args: &Args<'_>) -> Option<Positions> {
        let mut found = Positions::new();
        if let Some(index) = self.single_key {
            found.push(index);
            return Some(found);
        }
        if !self.has_keys {
            return Some(found);
        }
        let specs = self.command.keys;
        // A word that is there twice may be an option or a name: only the command itself can tell.
        let is_keyword = |word: &[u8]| specs.iter().any(|spec| spec.begins_behind(word));
        let is_clear = args
            .from(1)
            .filter(|word| is_keyword(word))
            .nth(1)
            .is_none();
        let fits = is_clear && specs.iter().all(|spec| spec.positions(args, &mut found));
        fits.then_some(found)
    }

    /// Whether a request must have its keys in memory: it has some, and not only writes over them.
    #[inline]
    pub fn looks_at_keys(&self, args: &Args<'_>) -> bool {
        let blind = |row: &Self| row.command.blind.is_some_and(|blind| blind(args));
        self.has_keys(args) && !blind(self)
    }

    /// An argument as logs and other clients may see it: a secret is hidden.
    pub fn shown<'a>(&self, args: &Args<'a>, at: usize) -> &'a [u8] {
        let is_secret = self.command.secrets.is_some_and(|is| is(args, at));
        if is_secret { REDACTED } else { args.at(at) }
    }

    /// Whether a request has keys.
    #[inline]
    pub fn has_keys(&self, args: &Args<'_>) -> bool {
        self.has_keys && self.command.arity.accepts(args.len())
    }

    /// The subcommand with a name in any case.
    pub fn subcommand(&self, name: &[u8]) -> Option<&Self> {
        self.subcommands
            .iter()
            .find(|row| row.command.name.as_bytes().eq_ignore_ascii_case(name))
    }
}

/// All commands.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Row>,
    slots: Box<[u16]>,
    ids: usize,
}

const EMPTY: u16 = u16::MAX;

static TABLE: OnceLock<Table> = OnceLock::new();

/// The table.
#[inline]
pub fn table() -> &'static Table {
    TABLE.get_or_init(|| Table::new(&[]))
}

/// Makes the table with other names for commands, as `rename-command` says. What is wrong with them [`faults_of`] tells.
pub fn rename(renames: &[Rename]) {
    // The table is there before only where a test has asked for it.
    let _ = TABLE.set(Table::new(renames));
}

/// What is wrong with other names for commands, a line for each.
pub fn faults_of(renames: &[Rename]) -> Vec<String> {
    let mut faults = Vec::new();
    Table::new(&[]).apply(renames, &mut faults);
    faults
}

fn hash(lower: &[u8]) -> usize {
    let mut hash = lower.len() as u64;
    for chunk in lower.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = (hash.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    (hash >> 32) as usize % SLOTS
}

impl Table {
    fn new(renames: &[Rename]) -> Self {
        let mut ids = 0;
        let rows: Vec<Row> = FAMILIES
            .iter()
            .copied()
            .flatten()
            .map(|command| Row::new(command, None, &mut ids))
            .collect();
        let slots = vec![EMPTY; SLOTS].into_boxed_slice();
        let mut table = Self { rows, slots, ids };
        table.apply(renames, &mut Vec::new());
        table.fill();
        table
    }

    /// Gives commands other names, one after the other, and takes those away that get none.
    fn apply(&mut self, renames: &[Rename], faults: &mut Vec<String>) {
        for Rename { command, name } in renames {
            let at = |wanted: &str| {
                let is_wanted = |row: &Row| row.name.eq_ignore_ascii_case(wanted);
                self.rows.iter().position(is_wanted)
            };
            match (at(command), at(name)) {
                // That a command is not to be found is true of one that is not there.
                (None, _)
                    if FOREIGN
                        .iter()
                        .any(|known| known.eq_ignore_ascii_case(command)) => {}
                (None, _) => faults.push(format!("rename-command {command}: no such command")),
                (Some(_), Some(_)) => faults.push(format!(
                    "rename-command {command} {name}: there is a command of that name"
                )),
                (Some(row), None) if name.is_empty() => {
                    self.rows.remove(row);
                }
                (Some(row), None) => self.rows[row].name = name.to_ascii_lowercase().into(),
            }
        }
    }

    fn fill(&mut self) {
        for (index, row) in self.rows.iter().enumerate() {
            let mut slot = hash(row.name.as_bytes());
            while self.slots[slot] != EMPTY {
                slot = (slot + 1) % SLOTS;
            }
            self.slots[slot] = index as u16;
        }
    }

    /// The row of a command, whose name may be in any case.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<&Row> {
        let mut lower = [0; NAME_BYTES_MAX];
        let Some(lower) = lower.get_mut(..name.len()) else {
            return self.find_long(name);
        };
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        let mut slot = hash(lower);
        while self.slots[slot] != EMPTY {
            let row = &self.rows[usize::from(self.slots[slot])];
            if row.name.as_bytes() == lower {
                return Some(row);
            }
            slot = (slot + 1) % SLOTS;
        }
        None
    }

    /// A name so long can only be one that `rename-command` gave.
    #[cold]
    fn find_long(&self, name: &[u8]) -> Option<&Row> {
        let is_wanted = |row: &&Row| row.name.as_bytes().eq_ignore_ascii_case(name);
        self.rows.iter().find(is_wanted)
    }

    /// The row of `config|get`, or of a plain name.
    pub fn find_full(&self, name: &[u8]) -> Option<&Row> {
        let mut words = name.splitn(2, |&c| c == b'|');
        let row = self.find(words.next()?)?;
        match words.next() {
            Some(subcommand) => row.subcommand(subcommand),
            None => Some(row),
        }
    }

    /// The rows, without the subcommands.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// How many commands and subcommands there are.
    pub fn ids(&self) -> usize {
        self.ids
    }

    /// Every command and subcommand in the order of their numbers.
    pub fn all_rows(&self) -> impl Iterator<Item = &Row> {
        self.rows
            .iter()
            .flat_map(|row| std::iter::once(row).chain(&row.subcommands))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renames(pairs: &[(&str, &str)]) -> Vec<Rename> {
        let rename = |&(command, name): &(&str, &str)| Rename {
            command: command.to_owned(),
            name: name.to_owned(),
        };
        pairs.iter().map(rename).collect()
    }

    #[test]
    fn renamed_commands_are_found_by_their_new_names_alone() {
        let long = "64110a4cfbc1d7ac2f4690540c68fd3c04918acf";
        let all = Table::new(&[]).rows.len();
        let table = Table::new(&renames(&[
            ("FLUSHALL", ""),
            ("CONFIG", long),
            ("get", "Fetch"),
            // A name that has become free.
            ("SET", "GET"),
            ("FCALL", ""),
        ]));
        let name = |word: &str| table.find(word.as_bytes()).map(|row| row.command.name);
        assert_eq!(name("flushall"), None);
        assert_eq!((name("config"), name(long)), (None, Some("config")));
        assert_eq!(name(&long.to_uppercase()), Some("config"));
        assert_eq!(
            (name("FETCH"), name("GET"), name("set")),
            (Some("get"), Some("set"), None)
        );
        assert_eq!(
            table
                .find_full(format!("{long}|get").as_bytes())
                .unwrap()
                .full_name,
            "config|get"
        );
        assert_eq!(table.rows().len(), all - 1);
    }

    #[test]
    fn names_that_cannot_be_given_are_told() {
        let faults = faults_of(&renames(&[
            ("FLUSHAL", ""),
            ("GET", "SET"),
            ("REPLCONF", "x"),
            ("DEL", ""),
        ]));
        assert_eq!(
            faults,
            [
                "rename-command FLUSHAL: no such command",
                "rename-command GET SET: there is a command of that name"
            ]
        );
    }
}
