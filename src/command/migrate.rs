//! MIGRATE: keys go to another server.
//!
//! Redis does nothing else meanwhile. Here the command runs twice: first it takes copies of its keys, which its connection
//! sends to the other server while all others are served; then it deletes those that were taken there. What was changed in
//! between is sent again, and what was deleted in between is deleted there: what a client was told of a key is true of it at
//! the one place where it is.

use std::collections::HashSet;
use std::time::Duration;

use super::argument::{after, block, flagged, key, oneof, optional, since, word};
use super::{Argument, Arity::*, Command, Context, Flags, KeySpec, dump, parse};
use crate::error::CommandError;
use crate::keyspace::Keys;
use crate::resp::Args;
use crate::server::delivery::{Delivery, Errand, Parcel, Target};
use crate::server::suspended::{Stop, Suspend};
use crate::value::rdb;

/// The row of this family.
pub(super) const COMMANDS: &[Command] = &[Command {
    name: "migrate",
    arity: AtLeast(6),
    keys: &[
        KeySpec::at(3, &["RW", "access", "delete"]),
        KeySpec::all_behind("KEYS", -2, &["RW", "access", "delete", "incomplete"]),
    ],
    secrets: Some(|args, at| {
        parse::is_behind(args, at, b"AUTH", 1) || parse::is_behind(args, at, b"AUTH2", 2)
    }),
    flags: Flags::WRITE.and(Flags::MOVABLE_KEYS),
    categories: &["@dangerous"],
    run_or_suspend: Some(migrate),
    since: "2.6.0",
    complexity: "O(N) in the size of the values, here and at the target.",
    summary: "Moves keys to another server.",
    tips: &["nondeterministic_output"],
    arguments: &[
        Argument::new("host", "string"),
        Argument::new("port", "integer"),
        oneof(
            "key_or_empty_string",
            &[key("key", 0), word("empty_string", "")],
        ),
        Argument::new("destination-db", "integer"),
        Argument::new("timeout", "integer"),
        since("3.0.0", optional(word("copy", "COPY"))),
        since("3.0.0", optional(word("replace", "REPLACE"))),
        optional(oneof(
            "authentication",
            &[
                since(
                    "4.0.7",
                    optional(after("AUTH", Argument::new("password", "string"))),
                ),
                since(
                    "6.0.0",
                    optional(after(
                        "AUTH2",
                        block(
                            "username_password",
                            &[
                                Argument::new("username", "string"),
                                Argument::new("password", "string"),
                            ],
                        ),
                    )),
                ),
            ],
        )),
        since(
            "3.0.6",
            flagged(&["optional", "multiple"], after("KEYS", key("key", 1))),
        ),
    ],
    ..Command::BLANK
}];

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);
/// What changes faster than it can be sent stays.
const ROUNDS_MAX: usize = 16;
const RESTLESS: CommandError =
    CommandError::text("ERR keys changed each time that they were sent, those were only copied");

/// What a request asks for.
struct Order<'a> {
    target: Target,
    copies: bool,
    replaces: bool,
    keys: Vec<&'a [u8]>,
}

impl<'a> Order<'a> {
    fn parse(cx: &Context<'_>, args: &Args<'a>) -> Result<Self, CommandError> {
        let (mut copies, mut replaces, mut auth) = (false, false, Vec::new());
        let mut keys = vec![args.at(3)];
        let mut words = args.from(6);
        while let Some(word) = words.next() {
            let mut owned = || words.next().map(<[u8]>::to_vec).ok_or(CommandError::Syntax);
            match word.to_ascii_uppercase().as_slice() {
                b"COPY" => copies = true,
                b"REPLACE" => replaces = true,
                b"AUTH" => auth = vec![owned()?],
                b"AUTH2" => auth = vec![owned()?, owned()?],
                b"KEYS" if args.at(3).is_empty() => keys = words.by_ref().collect(),
                b"KEYS" => {
                    return Err(CommandError::text(
                        "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string",
                    ));
                }
                _ => return Err(CommandError::Syntax),
            }
        }
        let mut seen = HashSet::new();
        keys.retain(|key| seen.insert(*key));
        let timeout = u64::try_from(parse::integer(args.at(5))?).unwrap_or(0);
        let db = parse::integer(args.at(4))?;
        let target = Target {
            host: String::from_utf8_lossy(args.at(1)).into_owned(),
            // No server listens on port 0.
            port: std::str::from_utf8(args.at(2)).map_or(0, |port| port.parse().unwrap_or(0)),
            db,
            auth,
            timeout: match timeout {
                0 => DEFAULT_TIMEOUT,
                ms => Duration::from_millis(ms),
            },
            not_own_port: (usize::try_from(db) == Ok(cx.keys.db())).then_some(cx.config.port),
        };
        Ok(Self {
            target,
            copies,
            replaces,
            keys,
        })
    }
}

fn migrate(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), Stop> {
    let order = Order::parse(cx, args)?;
    let sent = cx.session.suspended.as_mut();
    let Some(mut delivery) = sent.and_then(|sent| sent.take_delivered()) else {
        let pack = |key: &&[u8]| parcel(&mut cx.keys, key);
        let parcels: Vec<_> = order.keys.iter().filter_map(pack).collect();
        if parcels.is_empty() {
            cx.reply.simple("NOKEY");
            return Ok(());
        }
        let delivery = Box::new(Delivery {
            target: order.target,
            parcels,
            replaces: order.replaces,
            rounds: 0,
            failure: None,
        });
        return Err(Suspend::Delivery(delivery).into());
    };
    let mut sent = std::mem::take(&mut delivery.parcels);
    sent.retain(|parcel| parcel.is_done && !order.copies);
    let again = sent
        .into_iter()
        .filter_map(|sent| settle(&mut cx.keys, sent));
    delivery.parcels = again.collect();
    if delivery.parcels.is_empty() {
        return match delivery.failure {
            Some(failure) => Err(failure.into()),
            None => {
                cx.reply.ok();
                Ok(())
            }
        };
    }
    if delivery.rounds == ROUNDS_MAX {
        return Err(RESTLESS.into());
    }
    delivery.rounds += 1;
    // What is there now is what was sent before.
    delivery.replaces = true;
    Err(Suspend::Delivery(delivery).into())
}

/// Deletes a key that the target has now, if it still is what was sent. Otherwise what is to be sent then.
fn settle(keys: &mut Keys<'_>, sent: Parcel) -> Option<Parcel> {
    match parcel(keys, &sent.key) {
        Some(newer) if newer.errand == sent.errand => {
            keys.remove(&sent.key);
            None
        }
        Some(newer) => Some(newer),
        None if sent.errand == Errand::Delete => None,
        None => Some(Parcel {
            errand: Errand::Delete,
            is_done: false,
            ..sent
        }),
    }
}

/// A key as it is now; `None` where there is none.
fn parcel(keys: &mut Keys<'_>, key: &[u8]) -> Option<Parcel> {
    let entry = keys.peek(key)?;
    let mut payload = vec![0];
    payload[0] = dump::write_value(entry, &mut payload);
    rdb::seal(&mut payload);
    Some(Parcel {
        key: key.into(),
        errand: Errand::Restore {
            payload,
            for_valkey: dump::valkey_payload(entry),
            expires_at: entry.expires_at(),
        },
        is_done: false,
    })
}
