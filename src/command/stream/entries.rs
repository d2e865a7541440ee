//! Entries: added, read in ranges, deleted, trimmed.

use super::super::argument::{KEY, after, block, multiple, oneof, optional, since, word};
use super::super::{Argument, Arity::*, Command, Context, Flags, KeySpec, parse};
use super::{
    DELETE, INVALID_ID, PartialId, READ, ROW, UPDATE, change, end, limits, partial_id,
    reply_with_entries, reply_with_id, start, strict_id,
};
use crate::config::Config;
use crate::error::{CommandError, c_text};
use crate::resp::Args;
use crate::value::stream::{Id, Keep, State, Stream, Trim};

/// Trimming that is not told otherwise looks at so many nodes at the most, and at so many entries.
const TRIM_NODES: u64 = 100;
const TRIM_ENTRIES: u64 = 10_000;
const TRIM_ENTRIES_MAX: u64 = 1_000_000;
/// What an entry may take.
const ENTRY_BYTES_MAX: usize = 1 << 30;

const TRIM: Argument = block(
    "trim",
    &[
        oneof(
            "strategy",
            &[
                word("maxlen", "MAXLEN"),
                since("6.2.0", word("minid", "MINID")),
            ],
        ),
        optional(oneof(
            "operator",
            &[word("equal", "="), word("approximately", "~")],
        )),
        Argument::new("threshold", "string"),
        since(
            "6.2.0",
            optional(after("LIMIT", Argument::new("count", "integer"))),
        ),
    ],
);
const COUNT: Argument = optional(after("COUNT", Argument::new("count", "integer")));
const START: Argument = Argument::new("start", "string");
const END: Argument = Argument::new("end", "string");
const WRITE_FAST: Flags = Flags::WRITE.and(Flags::FAST);

/// The rows of this part.
pub(in crate::command) const COMMANDS: &[Command] = &[
    Command {
        name: "xadd",
        arity: AtLeast(5),
        keys: UPDATE,
        flags: WRITE_FAST.and(Flags::DENYOOM),
        run: xadd,
        summary: "Adds an entry to a stream.",
        tips: &["nondeterministic_output"],
        arguments: &[
            KEY,
            since("6.2.0", optional(word("nomkstream", "NOMKSTREAM"))),
            super::super::argument::flagged(&["optional"], TRIM),
            oneof(
                "id_or_auto",
                &[word("auto_id", "*"), Argument::new("id", "string")],
            ),
            multiple(block(
                "field_value",
                &[
                    Argument::new("field", "string"),
                    Argument::new("value", "string"),
                ],
            )),
        ],
        ..ROW
    },
    Command {
        name: "xlen",
        arity: Exactly(2),
        keys: &[KeySpec::at(1, &["RO"])],
        flags: Flags::READONLY.and(Flags::FAST),
        run: xlen,
        summary: "Tells how many entries a stream has.",
        arguments: &[KEY],
        ..ROW
    },
    Command {
        name: "xrange",
        run: |cx, args| range(cx, args, false),
        summary: "Returns the entries of a stream in a range of ids.",
        arguments: &[KEY, START, END, COUNT],
        ..RANGE
    },
    Command {
        name: "xrevrange",
        run: |cx, args| range(cx, args, true),
        summary: "Returns the entries of a stream in a range of ids, the last one first.",
        arguments: &[KEY, END, START, COUNT],
        ..RANGE
    },
    Command {
        name: "xdel",
        arity: AtLeast(3),
        keys: DELETE,
        flags: WRITE_FAST,
        run: xdel,
        complexity: "O(log(N)) for each entry.",
        summary: "Deletes entries of a stream; tells how many there were.",
        arguments: &[KEY, multiple(Argument::new("id", "string"))],
        ..ROW
    },
    Command {
        name: "xtrim",
        arity: AtLeast(4),
        keys: DELETE,
        flags: Flags::WRITE,
        run: xtrim,
        complexity: "O(N) in the number of entries that go.",
        summary: "Deletes the first entries of a stream.",
        tips: &["nondeterministic_output"],
        arguments: &[KEY, TRIM],
        ..ROW
    },
    Command {
        name: "xsetid",
        arity: AtLeast(3),
        keys: UPDATE,
        flags: WRITE_FAST.and(Flags::DENYOOM),
        run: xsetid,
        summary: "Sets what a stream tells of itself: its last id, and more.",
        arguments: &[
            KEY,
            Argument::new("last-id", "string"),
            since(
                "7.0.0",
                optional(after(
                    "ENTRIESADDED",
                    Argument::new("entries_added", "integer"),
                )),
            ),
            since(
                "7.0.0",
                optional(after(
                    "MAXDELETEDID",
                    Argument::new("max_deleted_entry_id", "string"),
                )),
            ),
        ],
        ..ROW
    },
];

/// What XRANGE and XREVRANGE have in common.
const RANGE: Command = Command {
    arity: AtLeast(4),
    keys: READ,
    flags: Flags::READONLY,
    complexity: "O(log(N)+M) with M entries in the range.",
    ..ROW
};

/// The words of XADD and XTRIM before the id.
#[derive(Default)]
struct Options {
    no_make: bool,
    keep: Option<Keep>,
    is_approximate: bool,
    limit: Option<u64>,
    /// `None`: the next one.
    id: Option<PartialId>,
    /// The argument that is the id; for XTRIM the end.
    id_at: usize,
}

impl Options {
    fn parse(args: &Args<'_>, adds: bool, config: &Config) -> Result<Self, CommandError> {
        let (mut options, mut at) = (Self::default(), 2);
        while at < args.len() {
            let (word, more) = (args.at(at), args.len() - 1 - at);
            match word.to_ascii_uppercase().as_slice() {
                _ if adds && c_text(word) == b"*" => break,
                strategy @ (b"MAXLEN" | b"MINID") if more > 0 => {
                    if options.keep.is_some() {
                        return Err(CommandError::text(
                            "ERR syntax error, MAXLEN and MINID options at the same time are not compatible",
                        ));
                    }
                    let operator = args.at(at + 1);
                    options.is_approximate = more > 1 && operator == b"~";
                    at += 1 + usize::from(more > 1 && matches!(operator, b"~" | b"="));
                    options.keep = Some(if strategy == b"MAXLEN" {
                        let len = u64::try_from(parse::integer(args.at(at))?);
                        Keep::Length(len.map_err(|_| {
                            CommandError::text("ERR The MAXLEN argument must be >= 0.")
                        })?)
                    } else {
                        Keep::From(strict_id(args.at(at))?)
                    });
                }
                b"LIMIT" if more > 0 => {
                    at += 1;
                    let limit = u64::try_from(parse::integer(args.at(at))?);
                    options.limit =
                        Some(limit.map_err(|_| {
                            CommandError::text("ERR The LIMIT argument must be >= 0.")
                        })?);
                }
                b"NOMKSTREAM" if adds => options.no_make = true,
                _ if adds => {
                    if matches!(c_text(word), b"-" | b"+") {
                        return Err(INVALID_ID);
                    }
                    options.id = Some(partial_id(word, 0)?);
                    break;
                }
                _ => return Err(CommandError::Syntax),
            }
            at += 1;
        }
        options.id_at = at;
        options.check(adds)?;
        if options.is_approximate && options.limit.is_none() {
            let nodes = TRIM_NODES.saturating_mul(config.stream_node_max_entries as u64);
            let nodes = if nodes == 0 { TRIM_ENTRIES } else { nodes };
            options.limit = Some(nodes.min(TRIM_ENTRIES_MAX));
        }
        Ok(options)
    }

    fn check(&self, adds: bool) -> Result<(), CommandError> {
        if self.keep.is_none() && self.limit.is_some_and(|limit| limit > 0) {
            return Err(CommandError::text(
                "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy",
            ));
        }
        if self.keep.is_none() && !adds {
            return Err(CommandError::text(
                "ERR syntax error, XTRIM must be called with a trimming strategy",
            ));
        }
        if self.limit.is_some() && !self.is_approximate {
            return Err(CommandError::text(
                "ERR syntax error, LIMIT cannot be used without the special ~ option",
            ));
        }
        Ok(())
    }

    fn trim(&self, stream: &mut Stream) -> u64 {
        let Some(keep) = self.keep else { return 0 };
        stream.trim(Trim {
            keep,
            is_approximate: self.is_approximate,
            most: self.limit.unwrap_or(0),
        })
    }

    /// The id of the new entry.
    fn id_for(&self, state: &State, now_ms: i64) -> Result<Id, CommandError> {
        const TOO_SMALL: CommandError = CommandError::text(
            "ERR The ID specified in XADD is equal or smaller than the target stream top item",
        );
        let next = state.last.next().ok_or(CommandError::text(
            "ERR The stream has exhausted the last possible ID, unable to add more items",
        ))?;
        let id = match self.id {
            None => {
                let now = Id {
                    ms: now_ms.max(0) as u64,
                    seq: 0,
                };
                if now.ms > state.last.ms { now } else { next }
            }
            Some(PartialId { id, has_seq: true }) => id,
            Some(PartialId { id, .. }) if id.ms == state.last.ms => Id {
                seq: state.last.seq.checked_add(1).ok_or(TOO_SMALL)?,
                ..id
            },
            Some(PartialId { id, .. }) => id,
        };
        if id <= state.last {
            return Err(TOO_SMALL);
        }
        Ok(id)
    }
}

fn xadd(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let options = Options::parse(args, true, cx.config)?;
    let fields_at = options.id_at + 1;
    let rest = args.len().saturating_sub(fields_at);
    if rest < 2 || !rest.is_multiple_of(2) {
        return Err(CommandError::WrongArity("xadd".into()));
    }
    let is_zero = |given: PartialId| given.has_seq && given.id == Id::ZERO;
    if options.id.is_some_and(is_zero) {
        return Err(CommandError::text(
            "ERR The ID specified in XADD must be greater than 0-0",
        ));
    }
    let pairs = (fields_at..args.len()).step_by(2);
    let fields: smallvec::SmallVec<[(&[u8], &[u8]); 8]> =
        pairs.map(|at| (args.at(at), args.at(at + 1))).collect();
    let bytes: usize = fields.iter().map(|(f, v)| f.len() + v.len()).sum();
    let (limits, now_ms) = (limits(cx.config), cx.now.0);
    let added = change(cx, args.at(1), !options.no_make, |stream| {
        let id = options.id_for(&stream.state, now_ms)?;
        if bytes > ENTRY_BYTES_MAX {
            return Err(CommandError::text(
                "ERR Elements are too large to be stored",
            ));
        }
        stream.add(id, &fields, limits);
        options.trim(stream);
        Ok((id, true))
    })?;
    match added {
        Some(id) => reply_with_id(cx.reply, id),
        None => cx.reply.nil(),
    }
    Ok(())
}

fn xlen(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let stream = cx.keys.stream(args.at(1))?;
    cx.reply.int(stream.map_or(0, Stream::len) as i64);
    Ok(())
}

fn range(cx: &mut Context<'_>, args: &Args<'_>, reverse: bool) -> Result<(), CommandError> {
    let (from_at, to_at) = if reverse { (3, 2) } else { (2, 3) };
    let (from, to) = (start(args.at(from_at))?, end(args.at(to_at))?);
    let mut count = None;
    let mut words = args.from(4);
    while let Some(word) = words.next() {
        let value = words.next().filter(|_| word.eq_ignore_ascii_case(b"COUNT"));
        let number = parse::integer(value.ok_or(CommandError::Syntax)?)?;
        count = Some(usize::try_from(number).unwrap_or(0));
    }
    let Some(stream) = cx.keys.stream(args.at(1))? else {
        cx.reply.array(0);
        return Ok(());
    };
    if count == Some(0) {
        cx.reply.nil_array();
        return Ok(());
    }
    let count = count.unwrap_or(usize::MAX);
    if reverse {
        reply_with_entries(cx.reply, stream.range_back(from, to).take(count));
    } else {
        reply_with_entries(cx.reply, stream.range(from, to).take(count));
    }
    Ok(())
}

fn xdel(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let deleted = change(cx, args.at(1), false, |stream| {
        let ids = args.from(2).map(strict_id);
        let ids = ids.collect::<Result<Vec<_>, _>>()?;
        let deleted = ids.into_iter().filter(|id| stream.remove(*id)).count();
        Ok((deleted, deleted))
    })?;
    cx.reply.count(deleted.unwrap_or(0));
    Ok(())
}

fn xtrim(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let options = Options::parse(args, false, cx.config)?;
    let gone = change(cx, args.at(1), false, |stream| {
        let gone = options.trim(stream);
        Ok((gone, usize::try_from(gone).unwrap_or(usize::MAX)))
    })?;
    cx.reply.int(gone.unwrap_or(0) as i64);
    Ok(())
}

fn xsetid(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let last = strict_id(args.at(2))?;
    let (mut added, mut max_deleted) = (None, Id::ZERO);
    let mut words = args.from(3);
    while let Some(word) = words.next() {
        let value = words.next().ok_or(CommandError::Syntax)?;
        match word.to_ascii_uppercase().as_slice() {
            b"ENTRIESADDED" => {
                let number = u64::try_from(parse::integer(value)?);
                added = Some(
                    number.map_err(|_| CommandError::text("ERR entries_added must be positive"))?,
                );
            }
            b"MAXDELETEDID" => {
                max_deleted = strict_id(value)?;
                if last < max_deleted {
                    return Err(CommandError::text(
                        "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
                    ));
                }
            }
            _ => return Err(CommandError::Syntax),
        }
    }
    let set = change(cx, args.at(1), false, |stream| {
        if last < stream.last_there() {
            return Err(CommandError::text(
                "ERR The ID specified in XSETID is smaller than the target stream top item",
            ));
        }
        if last < stream.state.max_deleted {
            return Err(CommandError::text(
                "ERR The ID specified in XSETID is smaller than current max_deleted_entry_id",
            ));
        }
        if added.is_some_and(|added| stream.len() > added) {
            return Err(CommandError::text(
                "ERR The entries_added specified in XSETID is smaller than the target stream length",
            ));
        }
        let state = &mut stream.state;
        state.last = last;
        state.added = added.unwrap_or(state.added);
        if max_deleted != Id::ZERO {
            state.max_deleted = max_deleted;
        }
        Ok(((), true))
    })?;
    set.ok_or(CommandError::NoSuchKey)?;
    cx.reply.ok();
    Ok(())
}
