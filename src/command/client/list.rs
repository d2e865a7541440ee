//! CLIENT LIST and CLIENT INFO: a line for each connection.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::super::table::table;
use super::super::{Argument, Context};
use super::Kind;
use crate::clock::UnixMs;
use crate::error::CommandError;
use crate::resp::Args;
use crate::server::clients::Client;
use crate::value::number;

/// The arguments of CLIENT LIST.
pub(super) const ARGUMENTS: &[Argument] = &[
    Argument {
        token: Some("TYPE"),
        since: Some("5.0.0"),
        arguments: &[
            Argument::word("normal", "NORMAL"),
            Argument::word("master", "MASTER"),
            Argument::word("replica", "REPLICA"),
            Argument::word("pubsub", "PUBSUB"),
        ],
        ..Argument::optional("normal_master_replica_pubsub", "oneof")
    },
    Argument {
        token: Some("ID"),
        since: Some("6.2.0"),
        arguments: &[Argument {
            flags: &["multiple"],
            ..Argument::new("client-id", "integer")
        }],
        ..Argument::optional("id", "block")
    },
];

/// CLIENT INFO.
pub(super) fn info(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let client = Arc::clone(&cx.session.client);
    describe(cx, args, &[client]);
    Ok(())
}

/// CLIENT LIST.
pub(super) fn list(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let has_option = |name: &[u8]| args.at(2).eq_ignore_ascii_case(name);
    let clients = match args.len() {
        2 => cx.server.clients.all(),
        4 if has_option(b"TYPE") => {
            let kind = Kind::parse(args.at(3))?;
            let mut clients = cx.server.clients.all();
            clients.retain(|client| Kind::of(client) == kind);
            clients
        }
        4.. if has_option(b"ID") => by_ids(cx, args)?,
        _ => return Err(CommandError::Syntax),
    };
    describe(cx, args, &clients);
    Ok(())
}

fn by_ids(cx: &Context<'_>, args: &Args<'_>) -> Result<Vec<Arc<Client>>, CommandError> {
    let mut found = Vec::new();
    for id in args.from(3) {
        let id = number::parse_i64(id).ok_or(CommandError::text("ERR Invalid client ID"))?;
        let client = u64::try_from(id).ok();
        found.extend(client.and_then(|id| cx.server.clients.by_id(id)));
    }
    Ok(found)
}

/// Answers the lines of these clients. What was told to close is gone already for the one who asks.
fn describe(cx: &mut Context<'_>, args: &Args<'_>, clients: &[Arc<Client>]) {
    let commands: Vec<&str> = table()
        .all_rows()
        .map(|row| row.full_name.as_str())
        .collect();
    let mut text = String::new();
    for client in clients.iter().filter(|client| !client.is_killed()) {
        let line = if client.id == cx.session.client.id {
            own_line(cx, args)
        } else {
            let command = usize::from(client.last_command.load(Relaxed));
            Line {
                client,
                now: cx.now,
                seen_at: UnixMs(client.last_seen_ms.load(Relaxed)),
                db: usize::from(client.db.load(Relaxed)),
                command: commands.get(command).copied().unwrap_or("NULL"),
            }
        };
        line.write(&mut text);
    }
    cx.reply.verbatim("txt", text.as_bytes());
}

/// The connection that asks knows more of itself than the registry, which hears of it after a batch.
fn own_line<'a>(cx: &'a Context<'_>, args: &Args<'_>) -> Line<'a> {
    let row = table().find(args.at(0));
    let row = row.and_then(|row| row.subcommand(args.at(1)));
    Line {
        client: &cx.session.client,
        now: cx.now,
        seen_at: cx.now,
        db: cx.session.db,
        command: row.map_or("NULL", |row| &row.full_name),
    }
}

/// What a line tells.
struct Line<'a> {
    client: &'a Client,
    now: UnixMs,
    seen_at: UnixMs,
    db: usize,
    command: &'a str,
}

impl Line<'_> {
    /// Writes the fields of Redis 7.4 in its order, then the traffic as Redis 8 has it. Arguments lie in the query buffer, so that
    /// `argv-mem` is always 0, and replies that wait in a list of pieces, so that `obl` is: `omem` is what is to be sent still. Long
    /// values among it are in memory once, whoever is to get them, and not in `tot-mem`.
    fn write(&self, text: &mut String) {
        let client = self.client;
        self.write_identity(text);
        let query_bytes = client.query_bytes.load(Relaxed);
        let query_capacity = client.query_capacity.load(Relaxed);
        let queued_bytes = client.queued_bytes.load(Relaxed);
        let output_bytes = client.output_bytes.load(Relaxed);
        let output_capacity = client.output_capacity.load(Relaxed);
        text.push_str(&format!(
            " qbuf={query_bytes} qbuf-free={} argv-mem=0 multi-mem={queued_bytes} rbs={output_capacity} rbp={} \
             obl=0 oll={} omem={output_bytes} tot-mem={} events={}",
            query_capacity.saturating_sub(query_bytes),
            client.output_peak.load(Relaxed),
            client.output_pieces.load(Relaxed),
            size_of::<Client>() + query_capacity + queued_bytes + output_capacity,
            if output_bytes > 0 { "rw" } else { "r" },
        ));
        let library = client.library.lock();
        text.push_str(&format!(
            " cmd={} user=default redir=-1 resp={} lib-name={} lib-ver={} tot-net-in={} \
             tot-net-out={} tot-cmds={}\n",
            self.command,
            client.protocol.load(Relaxed),
            String::from_utf8_lossy(&library.0),
            String::from_utf8_lossy(&library.1),
            client.total_input.load(Relaxed),
            client.total_output.load(Relaxed),
            client.total_commands.load(Relaxed),
        ));
    }

    fn write_identity(&self, text: &mut String) {
        let client = self.client;
        text.push_str(&format!(
            "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={} db={} sub={} psub={} \
             ssub={} multi={} watch={}",
            client.id,
            client.address,
            client.local_address,
            client.fd,
            String::from_utf8_lossy(&client.name.lock()),
            seconds_between(client.connected_at, self.now),
            seconds_between(self.seen_at, self.now),
            flags(client),
            self.db,
            client.subscriptions[0].load(Relaxed),
            client.subscriptions[1].load(Relaxed),
            client.subscriptions[2].load(Relaxed),
            client.queued_commands.load(Relaxed),
            client.watched_keys.load(Relaxed),
        ));
    }
}

fn seconds_between(start: UnixMs, end: UnixMs) -> i64 {
    end.0.saturating_sub(start.0).max(0) / 1000
}

fn flags(client: &Client) -> String {
    let flags: String = [
        (client.is_subscriber(), 'P'),
        (client.queued_commands.load(Relaxed) >= 0, 'x'),
        (client.blocked.load(Relaxed), 'b'),
        (client.unix, 'U'),
        (client.no_evict.load(Relaxed), 'e'),
        (client.no_touch.load(Relaxed), 'T'),
    ]
    .into_iter()
    .filter_map(|(is_set, letter)| is_set.then_some(letter))
    .collect();
    if flags.is_empty() {
        "N".to_owned()
    } else {
        flags
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Db, script};

    fn text(db: &mut Db, line: &str) -> String {
        let answer = db.run(line);
        let (_, text) = std::str::from_utf8(answer.bytes())
            .unwrap()
            .split_once("\r\n")
            .unwrap();
        text.strip_suffix("\r\n").unwrap().to_owned()
    }

    /// `tot-mem` changes with the registry's own size.
    fn without_memory(text: &str) -> String {
        text.split(' ')
            .map(|field| match field.strip_prefix("tot-mem=") {
                Some(_) => "tot-mem=*",
                None => field,
            })
            .collect::<Vec<_>>()
            .join(" ")
    }

    script!(info_has_all_fields_in_order, |db| {
        db.run("SELECT 3").ok();
        db.run("CLIENT SETNAME me").ok();
        db.advance(2500);
        assert_eq!(
            without_memory(&text(&mut db, "client INFO")),
            "id=1 addr=127.0.0.1:50000 laddr=127.0.0.1:6379 fd=7 name=me age=2 idle=0 flags=N db=3 sub=0 psub=0 \
             ssub=0 multi=-1 watch=0 qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 \
             tot-mem=* events=r cmd=client|info user=default redir=-1 resp=2 lib-name= lib-ver= \
             tot-net-in=0 tot-net-out=0 tot-cmds=2\n"
        );
    });

    script!(list_tells_of_others_as_the_registry_knows_them, |db| {
        let other = db.connect("/run/strata.sock:0");
        db.advance(1000);
        let lines = text(&mut db, "CLIENT LIST");
        let lines: Vec<_> = lines.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].contains(" idle=0 ") && lines[0].contains(" cmd=client|list "));
        assert!(lines[1].contains("id=2 addr=/run/strata.sock:0 "));
        assert!(lines[1].contains(" idle=1 ") && lines[1].contains(" cmd=NULL "));
        other.kill();
        assert_eq!(text(&mut db, "CLIENT LIST").lines().count(), 1);
    });

    script!(list_filters_by_type_and_id, |db| {
        db.connect("127.0.0.1:50001");
        let count = |db: &mut Db, line: &str| text(db, line).lines().count();
        assert_eq!(count(&mut db, "CLIENT LIST TYPE Normal"), 2);
        for kind in ["pubsub", "replica", "slave", "master"] {
            assert_eq!(count(&mut db, &format!("CLIENT LIST TYPE {kind}")), 0);
        }
        assert_eq!(count(&mut db, "CLIENT LIST ID 2"), 1);
        assert_eq!(count(&mut db, "CLIENT LIST ID 2 1 2 9"), 3);
        assert_eq!(count(&mut db, "CLIENT LIST ID 0"), 0);
        assert_eq!(count(&mut db, "CLIENT LIST ID -1"), 0);
        db.run("CLIENT LIST TYPE foo")
            .error("ERR Unknown client type 'foo'");
        db.run("CLIENT LIST ID abc").error("ERR Invalid client ID");
        for line in ["TYPE", "ID", "foo", "TYPE normal ID 3", "foo bar"] {
            db.run(&format!("CLIENT LIST {line}"))
                .error("ERR syntax error");
        }
    });

    script!(in_resp3_the_text_is_verbatim, |db| {
        db.resp3();
        let answer = db.run("CLIENT LIST");
        let text = std::str::from_utf8(answer.bytes()).unwrap();
        assert!(
            text.starts_with('=') && text.contains("\r\ntxt:id=1 "),
            "{text}"
        );
    });
}
