//! The table of all commands, made once from the rows of the families.
//!
//! A name is found by one hash over its lower-cased bytes. Each command and subcommand has a
//! number, under which its statistics are kept.

use std::sync::LazyLock;

use super::key_specs::{Find, Positions};
use super::{Begin, Command, FAMILIES};
use crate::resp::Args;

/// The longest name of a command that is looked up; longer ones are unknown.
const NAME_BYTES_MAX: usize = 32;
/// A power of two, several times the number of commands, so that nearly every name stands alone.
const SLOTS: usize = 2048;

/// A command in the table.
#[derive(Debug)]
pub struct Row {
    /// The row as its family declares it.
    pub command: &'static Command,
    /// The name with its container: `config|get`.
    pub full_name: String,
    /// The number under which statistics are kept.
    pub id: usize,
    /// The rows of the subcommands.
    pub subcommands: Vec<Row>,
    /// Whether the first word alone finds this row: no container, no subcommand.
    pub is_plain: bool,
    /// The place of the only key, where there is just one at a fixed place.
    pub single_key: Option<usize>,
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
        let single_key = match command.keys {
            [spec] => match (spec.begin, spec.find) {
                (Begin::Index(index), Find::Range { last: 0, .. }) => Some(index),
                _ => None,
            },
            _ => None,
        };
        Self {
            command,
            full_name,
            id,
            subcommands,
            is_plain: container.is_none() && command.subcommands.is_empty(),
            single_key,
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

    /// Whether a request has keys.
    #[inline]
    pub fn has_keys(&self, args: &Args<'_>) -> bool {
        !self.command.keys.is_empty() && self.command.arity.accepts(args.len())
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

static TABLE: LazyLock<Table> = LazyLock::new(Table::new);

/// The table.
#[inline]
pub fn table() -> &'static Table {
    &TABLE
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
    fn new() -> Self {
        let mut ids = 0;
        let rows: Vec<Row> = FAMILIES
            .iter()
            .copied()
            .flatten()
            .map(|command| Row::new(command, None, &mut ids))
            .collect();
        let mut slots = vec![EMPTY; SLOTS].into_boxed_slice();
        for (index, row) in rows.iter().enumerate() {
            let mut slot = hash(row.command.name.as_bytes());
            while slots[slot] != EMPTY {
                slot = (slot + 1) % SLOTS;
            }
            slots[slot] = index as u16;
        }
        Self { rows, slots, ids }
    }

    /// The row of a command, whose name may be in any case.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<&Row> {
        let mut lower = [0; NAME_BYTES_MAX];
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        let mut slot = hash(lower);
        while self.slots[slot] != EMPTY {
            let row = &self.rows[usize::from(self.slots[slot])];
            if row.command.name.as_bytes() == lower {
                return Some(row);
            }
            slot = (slot + 1) % SLOTS;
        }
        None
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
