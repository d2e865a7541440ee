//! SORT: the elements of a list, a set or a sorted set in order, or what other keys say of them.
//!
//! Which keys those are is known only when the elements are. So the command runs twice: first it asks for the keys, then, with
//! them locked too, it finds the same elements or asks again.

use std::cmp::Ordering;

use super::argument::{KEY, after, block, flagged, oneof, optional, word};
use super::{Argument, Arity::*, Command, Context, Flags, KeySpec, parse};
use crate::engine::encoding_limits;
use crate::error::{CommandError, c_text};
use crate::keyspace::entry::ValueType;
use crate::keyspace::footprint::OtherKey;
use crate::resp::Args;
use crate::server::suspended::Stop;
use crate::value::list::{End, List};
use crate::value::listpack::{Element, Listpack};
use crate::value::number;

const BY: Argument = optional(after(
    "BY",
    Argument {
        key_spec: Some(1),
        ..Argument::new("pattern", "pattern")
    },
));
const LIMIT: Argument = optional(after(
    "LIMIT",
    block(
        "offset_count",
        &[
            Argument::new("offset", "integer"),
            Argument::new("count", "integer"),
        ],
    ),
));
const GET: Argument = flagged(
    &["optional", "multiple", "multiple_token"],
    after(
        "GET",
        Argument {
            key_spec: Some(1),
            ..Argument::new("pattern", "pattern")
        },
    ),
);
const ORDER: Argument = optional(oneof("order", &[word("asc", "ASC"), word("desc", "DESC")]));
const ALPHA: Argument = optional(word("sorting", "ALPHA"));
const SOURCE: KeySpec = KeySpec::at(1, &["RO", "access"]);
/// The keys that patterns name.
const PATTERNS: KeySpec = KeySpec::unknown(None, &["RO", "access"]);
const CATEGORIES: &[&str] = &["@set", "@sortedset", "@list", "@dangerous"];

/// The rows of this family.
pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "sort",
        keys: &[
            SOURCE,
            PATTERNS,
            KeySpec::unknown(Some(store_at), &["OW", "update"]),
        ],
        flags: Flags::WRITE.and(Flags::DENYOOM).and(Flags::MOVABLE_KEYS),
        run_or_suspend: Some(|cx, args| sort(cx, args, true)),
        summary: "Returns or stores the elements of a list, a set or a sorted set in order.",
        arguments: &[
            KEY,
            BY,
            LIMIT,
            GET,
            ORDER,
            ALPHA,
            optional(after(
                "STORE",
                Argument {
                    key_spec: Some(2),
                    ..Argument::new("destination", "key")
                },
            )),
        ],
        ..ROW
    },
    Command {
        name: "sort_ro",
        keys: &[SOURCE, PATTERNS],
        flags: Flags::READONLY.and(Flags::MOVABLE_KEYS),
        run_or_suspend: Some(|cx, args| sort(cx, args, false)),
        since: "7.0.0",
        summary: "Returns the elements of a list, a set or a sorted set in order.",
        arguments: &[KEY, BY, LIMIT, GET, ORDER, ALPHA],
        ..ROW
    },
];

const ROW: Command = Command {
    arity: AtLeast(2),
    categories: CATEGORIES,
    complexity: "O(N+M*log(M)) with N elements and M that are returned.",
    ..Command::BLANK
};

/// Where the key to store at stands, whatever else is wrong: the last one counts.
fn store_at(args: &Args<'_>) -> Option<usize> {
    let (mut at, mut found) = (2, None);
    while at < args.len() {
        let more = args.len() - at - 1;
        at += match args.at(at).to_ascii_uppercase().as_slice() {
            b"LIMIT" if more >= 2 => 3,
            b"GET" | b"BY" if more >= 1 => 2,
            b"STORE" if more >= 1 => {
                found = Some(at + 1);
                2
            }
            _ => 1,
        };
    }
    found
}

/// A request, read.
struct Request<'a> {
    is_descending: bool,
    is_alpha: bool,
    offset: i64,
    count: i64,
    by: Option<&'a [u8]>,
    get: Vec<&'a [u8]>,
    store: Option<&'a [u8]>,
}

impl<'a> Request<'a> {
    fn parse(args: &Args<'a>, may_store: bool) -> Result<Self, CommandError> {
        let mut request = Self {
            is_descending: false,
            is_alpha: false,
            offset: 0,
            count: -1,
            by: None,
            get: Vec::new(),
            store: None,
        };
        let mut words = args.from(2);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(CommandError::Syntax);
            match word.to_ascii_uppercase().as_slice() {
                b"ASC" => request.is_descending = false,
                b"DESC" => request.is_descending = true,
                b"ALPHA" => request.is_alpha = true,
                b"LIMIT" => {
                    let (offset, count) = (value()?, value()?);
                    request.offset = parse::integer(offset)?;
                    request.count = parse::integer(count)?;
                }
                b"STORE" if may_store => request.store = Some(value()?),
                b"BY" => request.by = Some(value()?),
                b"GET" => request.get.push(value()?),
                _ => return Err(CommandError::Syntax),
            }
        }
        Ok(request)
    }

    /// What is sorted by; `None`: nothing, the elements stay as they are.
    fn order(&self, value_type: Option<ValueType>) -> Option<Order<'a>> {
        match self.by {
            None => Some(Order::Own {
                is_alpha: self.is_alpha,
            }),
            Some(pattern) if c_text(pattern).contains(&b'*') => Some(Order::Pattern(pattern)),
            // What is stored is to be the same each time.
            Some(_) if value_type == Some(ValueType::Set) && self.store.is_some() => {
                Some(Order::Own { is_alpha: true })
            }
            Some(_) => None,
        }
    }

    /// Which of so many elements are wanted.
    fn range(&self, len: usize) -> std::ops::Range<usize> {
        let start = usize::try_from(self.offset.max(0)).unwrap_or(usize::MAX);
        let start = start.min(len);
        let count = usize::try_from(self.count).unwrap_or(usize::MAX);
        start..start.saturating_add(count).min(len)
    }
}

/// What elements are sorted by.
#[derive(Clone, Copy)]
enum Order<'a> {
    /// By themselves.
    Own { is_alpha: bool },
    /// By what other keys hold.
    Pattern(&'a [u8]),
}

/// A key, and a field if it is a hash, that a pattern names with an element.
struct Named {
    key: Vec<u8>,
    field: Option<Vec<u8>>,
}

/// What a pattern names; `None` if it has no place for the element.
fn named(pattern: &[u8], element: &[u8]) -> Option<Named> {
    let star = c_text(pattern).iter().position(|byte| *byte == b'*')?;
    let (before, behind) = (&pattern[..star], &pattern[star + 1..]);
    let arrow = behind.windows(2).position(|two| two == b"->");
    let arrow = arrow.filter(|at| at + 2 < behind.len());
    let (behind, field) = match arrow {
        Some(at) => (&behind[..at], Some(behind[at + 2..].to_vec())),
        None => (behind, None),
    };
    let key = [before, element, behind].concat();
    Some(Named { key, field })
}

/// What a pattern gives for an element. The key is locked.
fn look_up(
    cx: &mut Context<'_>,
    pattern: &[u8],
    element: &[u8],
) -> Result<Option<Vec<u8>>, CommandError> {
    if c_text(pattern) == b"#" {
        return Ok(Some(element.to_vec()));
    }
    let Some(Named { key, field }) = named(pattern, element) else {
        return Ok(None);
    };
    // One of another type is as good as none.
    let found = match field {
        Some(field) => {
            let hash = cx.keys.hash(&key).unwrap_or(None);
            hash.and_then(|hash| hash.get(&field)).map(Element::to_vec)
        }
        None => cx.keys.string(&key).unwrap_or(None).map(<[u8]>::to_vec),
    };
    Ok(found)
}

/// The elements at a key in the order in which they are kept, and the type of the value.
fn elements(
    cx: &mut Context<'_>,
    key: &[u8],
) -> Result<(Vec<Vec<u8>>, Option<ValueType>), CommandError> {
    let value_type = cx.keys.value_type(key);
    let found = match value_type {
        None => {
            // Counted as a miss.
            cx.keys.read(key);
            Vec::new()
        }
        Some(ValueType::List) => {
            let list = cx.keys.list(key)?.into_iter();
            list.flat_map(|list| list.iter_from(0))
                .map(Element::to_vec)
                .collect()
        }
        Some(ValueType::Set) => {
            let set = cx.keys.set_members(key)?.into_iter();
            set.flat_map(|set| set.iter())
                .map(Element::to_vec)
                .collect()
        }
        Some(ValueType::Zset) => {
            let zset = cx.keys.zset(key)?.into_iter();
            let members = zset.flat_map(|zset| zset.iter());
            members.map(|(member, _)| member.to_vec()).collect()
        }
        Some(_) => return Err(CommandError::WrongType),
    };
    Ok((found, value_type))
}

/// What an element is compared by.
enum Weight {
    Number(f64),
    Text(Option<Vec<u8>>),
}

fn compare(a: &(Weight, Vec<u8>), b: &(Weight, Vec<u8>)) -> Ordering {
    match (&a.0, &b.0) {
        (Weight::Number(x), Weight::Number(y)) => {
            let scores = x.partial_cmp(y).unwrap_or(Ordering::Equal);
            scores.then_with(|| a.1.cmp(&b.1))
        }
        (Weight::Text(x), Weight::Text(y)) => x.cmp(y),
        _ => Ordering::Equal,
    }
}

fn sort(cx: &mut Context<'_>, args: &Args<'_>, may_store: bool) -> Result<(), Stop> {
    let request = Request::parse(args, may_store)?;
    let (mut all, value_type) = elements(cx, args.at(1))?;
    let order = request.order(value_type);
    need_named(cx, &request, order, &all)?;
    match order {
        None if request.is_descending && value_type != Some(ValueType::Set) => all.reverse(),
        None => {}
        Some(order) => all = sorted(cx, &request, order, all)?,
    }
    let chosen = all.drain(request.range(all.len())).collect::<Vec<_>>();
    let mut shown: Vec<Option<Vec<u8>>> = Vec::new();
    for element in chosen {
        for pattern in &request.get {
            shown.push(look_up(cx, pattern, &element)?);
        }
        if request.get.is_empty() {
            shown.push(Some(element));
        }
    }
    let Some(destination) = request.store else {
        cx.reply.array(shown.len());
        for text in &shown {
            cx.reply.bulk_or_nil(text.as_deref());
        }
        return Ok(());
    };
    let limits = encoding_limits::list(cx.config);
    let mut stored = List::Packed(Listpack::empty());
    for text in &shown {
        stored.push(End::Tail, text.as_deref().unwrap_or_default(), limits);
    }
    cx.keys.count_further((shown.len() as i64 - 1).max(0));
    cx.keys.replace(destination, ValueType::List, stored);
    cx.reply.count(shown.len());
    Ok(())
}

/// Has the keys locked that the patterns name.
fn need_named(
    cx: &mut Context<'_>,
    request: &Request<'_>,
    order: Option<Order<'_>>,
    elements: &[Vec<u8>],
) -> Result<(), Stop> {
    let by = match order {
        Some(Order::Pattern(pattern)) => Some(pattern),
        _ => None,
    };
    let patterns = by.into_iter().chain(request.get.iter().copied());
    let named = patterns.flat_map(|pattern| {
        let elements = elements.iter();
        elements.filter_map(|element| named(pattern, element))
    });
    let db = cx.keys.db();
    let key = |named: Named| OtherKey {
        db,
        key: named.key.into_boxed_slice(),
    };
    cx.need_keys(named.map(key))
}

fn sorted(
    cx: &mut Context<'_>,
    request: &Request<'_>,
    order: Order<'_>,
    elements: Vec<Vec<u8>>,
) -> Result<Vec<Vec<u8>>, CommandError> {
    let is_alpha = match order {
        Order::Own { is_alpha } => is_alpha,
        Order::Pattern(_) => request.is_alpha,
    };
    let mut weighed = Vec::with_capacity(elements.len());
    for element in elements {
        let weight = match order {
            Order::Own { .. } => Some(element.clone()),
            Order::Pattern(pattern) => look_up(cx, pattern, &element)?,
        };
        let weight = if is_alpha {
            // As C's strcoll compares, unless the result is stored.
            let cut = |text: Vec<u8>| match request.store {
                Some(_) => text,
                None => c_text(&text).to_vec(),
            };
            Weight::Text(weight.map(cut))
        } else {
            Weight::Number(weight.map_or(Ok(0.0), |text| to_number(&text))?)
        };
        weighed.push((weight, element));
    }
    if request.is_descending {
        weighed.sort_by(|a, b| compare(b, a));
    } else {
        weighed.sort_by(compare);
    }
    Ok(weighed.into_iter().map(|(_, element)| element).collect())
}

/// A weight, as C reads it: up to a zero byte, spaces before it, and nothing at all is 0.
fn to_number(text: &[u8]) -> Result<f64, CommandError> {
    let text = c_text(text);
    if text.is_empty() {
        return Ok(0.0);
    }
    number::parse_f64(text.trim_ascii_start()).ok_or(CommandError::text(
        "ERR One or more scores can't be converted into double",
    ))
}

#[cfg(test)]
mod tests {
    use crate::testing::script;

    script!(elements_are_sorted, |db| {
        db.run("RPUSH l 3 1 10 2").int(4);
        db.run("SORT l").bulks(&["1", "2", "3", "10"]);
        db.run("SORT l DESC LIMIT 1 2").bulks(&["3", "2"]);
        db.run("SORT l ALPHA").bulks(&["1", "10", "2", "3"]);
        db.run("SORT_RO l BY nosort LIMIT 1 2").bulks(&["1", "10"]);
        db.run("SADD s b a c").int(3);
        db.run("SORT s")
            .error("ERR One or more scores can't be converted into double");
        db.run("SORT s ALPHA DESC").bulks(&["c", "b", "a"]);
        db.run("SORT none").is("*0\r\n");
        db.run("SORT l STORE to").int(4);
        db.run("LRANGE to 0 -1").bulks(&["1", "2", "3", "10"]);
        db.run("SORT none STORE to").int(0);
        db.run("EXISTS to").int(0);
        db.run("SET k text").ok();
        db.run("SORT k")
            .error("WRONGTYPE Operation against a key holding the wrong kind of value");
        db.run("SORT_RO l STORE to").error("ERR syntax error");
    });

    script!(other_keys_give_weights_and_results, |db| {
        db.run("RPUSH l 1 2 3").int(3);
        db.run("MSET w_1 30 w_2 20 w_3 10 name_1 one name_3 three")
            .ok();
        db.run("HSET h_1 f x n 7").int(2);
        db.run("HSET h_2 f y").int(1);
        db.run("SORT l BY w_*").bulks(&["3", "2", "1"]);
        db.run("SORT l BY w_* GET name_* GET # DESC")
            .is("*6\r\n$3\r\none\r\n$1\r\n1\r\n$-1\r\n$1\r\n2\r\n$5\r\nthree\r\n$1\r\n3\r\n");
        db.run("SORT l GET h_*->f")
            .is("*3\r\n$1\r\nx\r\n$1\r\ny\r\n$-1\r\n");
        db.run("SORT l BY h_*->n GET fixed")
            .is("*3\r\n$-1\r\n$-1\r\n$-1\r\n");
        db.run("SORT l BY w_* GET name_* STORE to").int(3);
        db.run("LRANGE to 0 -1").bulks(&["three", "", "one"]);
        db.run("SORT l BY w_* STORE l").int(3);
        db.run("LRANGE l 0 -1").bulks(&["3", "2", "1"]);
    });
}
