//! CLIENT KILL, in its old form with an address and its new form with filters.

use super::super::{Argument, Context};
use super::{Kind, check_user};
use crate::clock::UnixMs;
use crate::error::CommandError;
use crate::resp::Args;
use crate::server::clients::Client;
use crate::server::session::Then;
use crate::value::number;

/// The arguments of CLIENT KILL.
pub(super) const ARGUMENTS: &[Argument] = &[Argument {
    arguments: &[
        Argument {
            deprecated_since: Some("2.8.12"),
            ..Argument::new("ip:port", "string")
        },
        Argument {
            flags: &["multiple"],
            arguments: FILTERS,
            ..Argument::new("new-format", "oneof")
        },
    ],
    ..Argument::new("filter", "oneof")
}];

const FILTERS: &[Argument] = &[
    Argument {
        token: Some("ID"),
        since: Some("2.8.12"),
        ..Argument::optional("client-id", "integer")
    },
    Argument {
        token: Some("TYPE"),
        since: Some("2.8.12"),
        arguments: &[
            Argument::word("normal", "NORMAL"),
            Argument {
                since: Some("3.2.0"),
                ..Argument::word("master", "MASTER")
            },
            Argument::word("slave", "SLAVE"),
            Argument {
                since: Some("5.0.0"),
                ..Argument::word("replica", "REPLICA")
            },
            Argument::word("pubsub", "PUBSUB"),
        ],
        ..Argument::optional("normal_master_slave_pubsub", "oneof")
    },
    Argument {
        token: Some("USER"),
        ..Argument::optional("username", "string")
    },
    Argument {
        token: Some("ADDR"),
        ..Argument::optional("ip:port", "string")
    },
    Argument {
        token: Some("LADDR"),
        since: Some("6.2.0"),
        ..Argument::optional("ip:port", "string")
    },
    Argument {
        token: Some("SKIPME"),
        ..Argument::optional("yes/no", "string")
    },
    Argument {
        token: Some("MAXAGE"),
        since: Some("7.4.0"),
        ..Argument::optional("maxage", "integer")
    },
];

/// CLIENT KILL. One who closes its own connection is answered before.
pub(super) fn kill(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let is_old_form = args.len() == 3;
    let filter = if is_old_form {
        Filter {
            address: Some(args.at(2)),
            ..Filter::default()
        }
    } else {
        Filter::parse(args)?
    };
    let killed = kill_all(cx, &filter);
    match killed {
        0 if is_old_form => return Err(CommandError::text("ERR No such client")),
        _ if is_old_form => cx.reply.ok(),
        _ => cx.reply.count(killed),
    }
    Ok(())
}

fn kill_all(cx: &mut Context<'_>, filter: &Filter<'_>) -> usize {
    let own_id = cx.session.client.id;
    let mut killed = 0;
    for client in cx.server.clients.all() {
        let is_own = client.id == own_id;
        if client.is_killed() || is_own && filter.skip_me || !filter.fits(&client, cx.now) {
            continue;
        }
        killed += 1;
        if is_own {
            cx.session.then = Then::Close;
        } else {
            client.kill();
        }
    }
    killed
}

/// Which clients are meant; all that is given must fit.
#[derive(Debug, Default)]
struct Filter<'a> {
    id: Option<u64>,
    kind: Option<Kind>,
    address: Option<&'a [u8]>,
    local_address: Option<&'a [u8]>,
    min_age_s: i64,
    skip_me: bool,
}

impl<'a> Filter<'a> {
    fn parse(args: &Args<'a>) -> Result<Self, CommandError> {
        let mut filter = Self {
            skip_me: true,
            ..Self::default()
        };
        for at in (2..args.len()).step_by(2) {
            let value = args.get(at + 1).ok_or(CommandError::Syntax);
            filter.add(args.at(at), value?)?;
        }
        Ok(filter)
    }

    fn add(&mut self, option: &[u8], value: &'a [u8]) -> Result<(), CommandError> {
        match option.to_ascii_uppercase().as_slice() {
            b"ID" => self.id = Some(parse_id(value)?),
            b"MAXAGE" => self.min_age_s = parse_age(value)?,
            b"TYPE" => self.kind = Some(Kind::parse(value)?),
            // There is one user, whom all clients are.
            b"USER" => check_user(value)?,
            b"ADDR" => self.address = Some(value),
            b"LADDR" => self.local_address = Some(value),
            b"SKIPME" if value.eq_ignore_ascii_case(b"YES") => self.skip_me = true,
            b"SKIPME" if value.eq_ignore_ascii_case(b"NO") => self.skip_me = false,
            _ => return Err(CommandError::Syntax),
        }
        Ok(())
    }

    fn fits(&self, client: &Client, now: UnixMs) -> bool {
        let is = |wanted: Option<&[u8]>, address: &str| {
            wanted.is_none_or(|wanted| wanted == address.as_bytes())
        };
        let age_s = now.as_secs().saturating_sub(client.connected_at.as_secs());
        self.id.is_none_or(|id| id == client.id)
            && self.kind.is_none_or(|kind| kind == Kind::of(client))
            && is(self.address, &client.address)
            && is(self.local_address, &client.local_address)
            && age_s >= self.min_age_s
    }
}

fn parse_id(value: &[u8]) -> Result<u64, CommandError> {
    number::parse_i64(value)
        .and_then(|id| u64::try_from(id).ok())
        .filter(|&id| id > 0)
        .ok_or(CommandError::text("ERR client-id should be greater than 0"))
}

fn parse_age(value: &[u8]) -> Result<i64, CommandError> {
    match number::parse_i64(value) {
        None => Err(CommandError::text(
            "ERR maxage is not an integer or out of range",
        )),
        Some(..=0) => Err(CommandError::text("ERR maxage should be greater than 0")),
        Some(age) => Ok(age),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::script;

    script!(the_old_form_takes_an_address, |db| {
        let other = db.connect("127.0.0.1:50001");
        db.run("CLIENT KILL 1.2.3.4:5").error("ERR No such client");
        db.run("CLIENT KILL ID").error("ERR No such client");
        db.run("CLIENT KILL 127.0.0.1:50001").ok();
        assert!(other.is_killed() && !db.closed());
        db.run("CLIENT KILL 127.0.0.1:50001")
            .error("ERR No such client");
        db.run("CLIENT KILL 127.0.0.1:50000").ok();
        assert!(db.closed());
    });

    script!(killing_oneself_replies_first, |db| {
        db.run("CLIENT KILL ADDR 127.0.0.1:50000").int(0);
        assert!(!db.closed());
        let replies = db.send(b"CLIENT KILL ADDR 127.0.0.1:50000 SKIPME no\r\nPING\r\n");
        assert_eq!(replies, b":1\r\n");
        assert!(db.closed());
    });

    script!(all_filters_must_fit, |db| {
        let first = db.connect("127.0.0.1:50001");
        db.advance(5000);
        let second = db.connect("127.0.0.1:50002");
        db.run("CLIENT KILL ID 2 ADDR 127.0.0.1:50002").int(0);
        db.run("CLIENT KILL LADDR 1.2.3.4:5").int(0);
        db.run("CLIENT KILL TYPE pubsub").int(0);
        db.run("CLIENT KILL TYPE master USER default").int(0);
        db.run("CLIENT KILL MAXAGE 6").int(0);
        db.run("CLIENT KILL MAXAGE 5").int(1);
        assert!(first.is_killed() && !second.is_killed());
        db.run("CLIENT KILL laddr 127.0.0.1:6379 type normal user default skipme yes")
            .int(1);
        assert!(second.is_killed() && !db.closed());
        db.run("CLIENT KILL USER default SKIPME no").int(1);
        assert!(db.closed());
    });

    script!(the_last_of_two_equal_filters_holds, |db| {
        let other = db.connect("127.0.0.1:50001");
        db.run("CLIENT KILL ID 1 ID 2").int(1);
        assert!(other.is_killed());
    });

    script!(filters_that_are_refused, |db| {
        for (line, error) in [
            ("ID abc", "ERR client-id should be greater than 0"),
            ("ID 0", "ERR client-id should be greater than 0"),
            ("ID -4", "ERR client-id should be greater than 0"),
            ("TYPE foo", "ERR Unknown client type 'foo'"),
            ("USER foo", "ERR No such user 'foo'"),
            ("SKIPME foo", "ERR syntax error"),
            ("FOO bar", "ERR syntax error"),
            ("ID 3 FOO", "ERR syntax error"),
            ("ID 3 ADDR", "ERR syntax error"),
            ("MAXAGE x", "ERR maxage is not an integer or out of range"),
            ("MAXAGE 0", "ERR maxage should be greater than 0"),
        ] {
            db.run(&format!("CLIENT KILL {line}")).error(error);
        }
        db.run("CLIENT KILL")
            .error("ERR wrong number of arguments for 'client|kill' command");
    });
}
