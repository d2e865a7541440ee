//! Commands about the connection itself: its protocol, its database, its password, its end.

use std::sync::atomic::Ordering::Relaxed;

use super::client::check_name;
use super::{Argument, Arity::*, Command, Context, Flags, Group, parse};
use crate::error::CommandError;
use crate::resp::{Args, Protocol};
use crate::server::REDIS_VERSION;
use crate::server::session::{ReplyMode, Then};
use crate::value::number;

/// The only user there is.
pub(super) const DEFAULT_USER: &[u8] = b"default";

const WRONG_PASSWORD: CommandError =
    CommandError::text("WRONGPASS invalid username-password pair or user is disabled.");

/// What commands have that a connection may send in any state.
const ALWAYS: Flags = Flags::NOSCRIPT
    .and(Flags::LOADING)
    .and(Flags::STALE)
    .and(Flags::FAST)
    .and(Flags::NO_AUTH)
    .and(Flags::ALLOW_BUSY);

/// The rows of this family.
pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "auth",
        arity: AtLeast(2),
        secrets: Some(|_, at| at > 0),
        flags: ALWAYS,
        run: auth,
        group: Group::Connection,
        complexity: "O(N) where N is the length of the password",
        summary: "Proves with a password that the connection may run commands.",
        arguments: &[
            Argument {
                since: Some("6.0.0"),
                ..Argument::optional("username", "string")
            },
            Argument::new("password", "string"),
        ],
        ..Command::BLANK
    },
    Command {
        name: "echo",
        arity: Exactly(2),
        flags: Flags::LOADING.and(Flags::STALE).and(Flags::FAST),
        run: echo,
        group: Group::Connection,
        summary: "Answers the given message.",
        arguments: &[Argument::new("message", "string")],
        ..Command::BLANK
    },
    Command {
        name: "hello",
        arity: AtLeast(1),
        secrets: Some(|args, at| parse::is_behind(args, at, b"AUTH", 2)),
        flags: ALWAYS,
        run: hello,
        group: Group::Connection,
        since: "6.0.0",
        summary: "Chooses the protocol, and tells what server this is.",
        arguments: &[Argument {
            arguments: &[
                Argument::new("protover", "integer"),
                Argument {
                    token: Some("AUTH"),
                    arguments: &[
                        Argument::new("username", "string"),
                        Argument::new("password", "string"),
                    ],
                    ..Argument::optional("username_password", "block")
                },
                Argument {
                    token: Some("SETNAME"),
                    ..Argument::optional("clientname", "string")
                },
            ],
            ..Argument::optional("arguments", "block")
        }],
        ..Command::BLANK
    },
    Command {
        name: "ping",
        arity: AtLeast(1),
        flags: Flags::FAST.and(Flags::WHILE_SUBSCRIBED),
        run: ping,
        group: Group::Connection,
        summary: "Answers PONG, or the given message.",
        tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
        arguments: &[Argument::optional("message", "string")],
        ..Command::BLANK
    },
    Command {
        name: "quit",
        arity: AtLeast(1),
        flags: ALWAYS.and(Flags::IN_MULTI).and(Flags::WHILE_SUBSCRIBED),
        run: quit,
        group: Group::Connection,
        summary: "Closes the connection once all replies are sent.",
        ..Command::BLANK
    },
    Command {
        name: "reset",
        arity: Exactly(1),
        flags: ALWAYS.and(Flags::IN_MULTI).and(Flags::WHILE_SUBSCRIBED),
        run: reset,
        group: Group::Connection,
        since: "6.2.0",
        summary: "Brings the connection back to the state of a new one.",
        ..Command::BLANK
    },
    Command {
        name: "select",
        arity: Exactly(2),
        flags: Flags::LOADING.and(Flags::STALE).and(Flags::FAST),
        run: select,
        group: Group::Connection,
        summary: "Chooses the database that the connection works on.",
        arguments: &[Argument::new("index", "integer")],
        ..Command::BLANK
    },
];

fn auth(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let (user, password) = match args.len() {
        2 if cx.config.requirepass.is_empty() => {
            return Err(CommandError::text(
                "ERR AUTH <password> called without any password configured for the default user. \
                 Are you sure your configuration is correct?",
            ));
        }
        2 => (DEFAULT_USER, args.at(1)),
        3 => (args.at(1), args.at(2)),
        _ => return Err(CommandError::Syntax),
    };
    check_password(cx, user, password)?;
    cx.session.authenticated = true;
    cx.reply.ok();
    Ok(())
}

fn check_password(cx: &Context<'_>, user: &[u8], password: &[u8]) -> Result<(), CommandError> {
    let expected = cx.config.requirepass.reveal().as_bytes();
    if user == DEFAULT_USER && (expected.is_empty() || is_same_secret(expected, password)) {
        Ok(())
    } else {
        cx.server.stats.denied_logins.fetch_add(1, Relaxed);
        Err(WRONG_PASSWORD)
    }
}

/// Compares two secrets in a time that depends on the length of `given` only, so that it does not
/// tell how much of a guess was right.
fn is_same_secret(expected: &[u8], given: &[u8]) -> bool {
    let expected_bytes = expected.iter().cycle().chain(std::iter::repeat(&0));
    let difference = given
        .iter()
        .zip(expected_bytes)
        .fold(0, |difference, (a, b)| {
            std::hint::black_box(difference | (a ^ b))
        });
    difference == 0 && expected.len() == given.len()
}

fn echo(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    cx.reply.bulk(args.at(1));
    Ok(())
}

fn parse_protocol(version: &[u8]) -> Result<Protocol, CommandError> {
    match number::parse_i64(version) {
        Some(2) => Ok(Protocol::Resp2),
        Some(3) => Ok(Protocol::Resp3),
        Some(_) => Err(CommandError::text("NOPROTO unsupported protocol version")),
        None => Err(CommandError::text(
            "ERR Protocol version is not an integer or out of range",
        )),
    }
}

/// All options are looked at before any takes effect.
fn hello(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let protocol = args.get(1).map(parse_protocol).transpose()?;
    let (mut login, mut name) = (None, None);
    let mut at = 2;
    while let Some(option) = args.get(at) {
        match (args.get(at + 1), args.get(at + 2)) {
            (Some(user), Some(password)) if option.eq_ignore_ascii_case(b"AUTH") => {
                login = Some((user, password));
                at += 3;
            }
            (Some(given), _) if option.eq_ignore_ascii_case(b"SETNAME") => {
                check_name(given)?;
                name = Some(given);
                at += 2;
            }
            _ => {
                let before = "ERR Syntax error in HELLO option '";
                return Err(CommandError::with_word(before, option, "'"));
            }
        }
    }
    if let Some((user, password)) = login {
        check_password(cx, user, password)?;
        cx.session.authenticated = true;
    }
    if !cx.session.may_run(cx.config) {
        return Err(CommandError::text(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the \
             HELLO AUTH <user> <pass> option can be used to authenticate the client and select \
             the RESP protocol version at the same time",
        ));
    }
    if let Some(name) = name {
        *cx.session.client.name.lock() = name.to_vec();
    }
    if let Some(protocol) = protocol {
        speak(cx, protocol);
    }
    introduce(cx);
    Ok(())
}

fn speak(cx: &mut Context<'_>, protocol: Protocol) {
    cx.reply.set_protocol(protocol);
    let version = version_of(protocol);
    cx.session.client.protocol.store(version, Relaxed);
}

fn version_of(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Resp2 => 2,
        Protocol::Resp3 => 3,
    }
}

/// Tells what server this is. Clients refuse any other name than `redis`.
fn introduce(cx: &mut Context<'_>) {
    let protocol = version_of(cx.reply.protocol());
    cx.reply.map(7);
    cx.reply.text("server");
    cx.reply.text("redis");
    cx.reply.text("version");
    cx.reply.text(REDIS_VERSION);
    cx.reply.text("proto");
    cx.reply.int(i64::from(protocol));
    cx.reply.text("id");
    cx.reply.int(cx.session.client.id.cast_signed());
    cx.reply.text("mode");
    cx.reply.text("standalone");
    cx.reply.text("role");
    cx.reply.text("master");
    cx.reply.text("modules");
    cx.reply.array(0);
}

fn ping(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    if cx.session.is_confined(cx.reply.protocol()) && args.len() <= 2 {
        cx.reply.array(2);
        cx.reply.text("pong");
        cx.reply.bulk(args.get(1).unwrap_or_default());
        return Ok(());
    }
    match args.get(1) {
        None => cx.reply.simple("PONG"),
        Some(message) if args.len() == 2 => cx.reply.bulk(message),
        Some(_) => return Err(CommandError::WrongArity("ping".into())),
    }
    Ok(())
}

fn quit(cx: &mut Context<'_>, _: &Args<'_>) -> Result<(), CommandError> {
    cx.session.then = Then::Close;
    cx.reply.ok();
    Ok(())
}

/// What tells of the program at the other end stays: the library of CLIENT SETINFO.
fn reset(cx: &mut Context<'_>, _: &Args<'_>) -> Result<(), CommandError> {
    speak(cx, Protocol::Resp2);
    let session = &mut *cx.session;
    session.end_transaction();
    session.subscriptions = None;
    session.db = 0;
    session.authenticated = cx.config.requirepass.is_empty();
    session.no_touch = false;
    if session.reply_mode == ReplyMode::Off {
        session.reply_mode = ReplyMode::On;
    }
    session.client.name.lock().clear();
    session.client.no_touch.store(false, Relaxed);
    session.client.no_evict.store(false, Relaxed);
    cx.reply.simple("RESET");
    Ok(())
}

fn select(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let index = number::parse_i64(args.at(1)).ok_or(CommandError::NotInteger)?;
    if i32::try_from(index).is_err() {
        return Err(CommandError::text(
            "ERR value is out of range, value must between -2147483648 and 2147483647",
        ));
    }
    let index = usize::try_from(index).map_err(|_| CommandError::InvalidDb)?;
    if index >= cx.config.databases {
        return Err(CommandError::InvalidDb);
    }
    cx.session.db = index;
    cx.reply.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::{Db, script};

    const NO_PASSWORD: &str = "ERR AUTH <password> called without any password configured for the \
                               default user. Are you sure your configuration is correct?";
    const WRONG_PASSWORD: &str = "WRONGPASS invalid username-password pair or user is disabled.";
    const NAME: &str = "ERR Client names cannot contain spaces, newlines or special characters.";
    const HELLO_FIRST: &str = "NOAUTH HELLO must be called with the client already authenticated, \
        otherwise the HELLO AUTH <user> <pass> option can be used to authenticate the client and \
        select the RESP protocol version at the same time";

    fn introduction(head: &str, protocol: u8) -> String {
        format!(
            "{head}$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.4.11\r\n$5\r\nproto\r\n:{protocol}\r\n\
             $2\r\nid\r\n:1\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n"
        )
    }

    fn with_password(password: &str) -> Db {
        let mut db = Db::new();
        set_password(&db, password);
        db.run("RESET").simple("RESET");
        db
    }

    fn set_password(db: &Db, password: &str) {
        db.engine()
            .config
            .set(&[(b"requirepass", password.as_bytes())], |_, _| Ok(()))
            .unwrap();
    }

    script!(ping_and_echo_answer_the_message, |db| {
        db.run("PING").simple("PONG");
        db.run("PING a").bulk("a");
        db.run("PING a b")
            .error("ERR wrong number of arguments for 'ping' command");
        db.run("ECHO a").bulk("a");
        db.run("ECHO")
            .error("ERR wrong number of arguments for 'echo' command");
        db.run("ECHO a b")
            .error("ERR wrong number of arguments for 'echo' command");
    });

    script!(select_takes_a_database_below_the_limit, |db| {
        db.run("SELECT 15").ok();
        db.run("SET k v").ok();
        db.run("SELECT 0").ok();
        db.run("GET k").nil();
        db.run("SELECT 16").error("ERR DB index is out of range");
        db.run("SELECT -1").error("ERR DB index is out of range");
        for text in ["abc", "1.0", "999999999999999999999999"] {
            db.run(&format!("SELECT {text}"))
                .error("ERR value is not an integer or out of range");
        }
        db.run("SELECT 2147483648")
            .error("ERR value is out of range, value must between -2147483648 and 2147483647");
        db.run("SELECT")
            .error("ERR wrong number of arguments for 'select' command");
    });

    script!(hello_switches_the_protocol, |db| {
        db.run("HELLO").is(introduction("*14\r\n", 2));
        db.run("HELLO 3").is(introduction("%7\r\n", 3));
        db.run("GET k").is("_\r\n");
        db.run("HELLO").is(introduction("%7\r\n", 3));
        db.run("HELLO 2").is(introduction("*14\r\n", 2));
        db.run("GET k").nil();
    });

    script!(hello_refuses_what_it_does_not_know, |db| {
        for version in ["1", "4", "-1"] {
            db.run(&format!("HELLO {version}"))
                .error("NOPROTO unsupported protocol version");
        }
        db.run("HELLO abc")
            .error("ERR Protocol version is not an integer or out of range");
        db.run("HELLO 3 FOO")
            .error("ERR Syntax error in HELLO option 'FOO'");
        db.run("HELLO 3 AUTH default")
            .error("ERR Syntax error in HELLO option 'AUTH'");
        db.run("HELLO 3 SETNAME")
            .error("ERR Syntax error in HELLO option 'SETNAME'");
        db.run("HELLO 3 SETNAME \"a b\"").error(NAME);
        db.run("HELLO 3 AUTH other x").error(WRONG_PASSWORD);
        db.run("HELLO").is(introduction("*14\r\n", 2));
    });

    script!(hello_names_the_client, |db| {
        db.run("HELLO 2 SETNAME ab SETNAME cd AUTH default any")
            .is(introduction("*14\r\n", 2));
        db.run("CLIENT GETNAME").bulk("cd");
        db.run("HELLO 2 SETNAME zz AUTH")
            .error("ERR Syntax error in HELLO option 'AUTH'");
        db.run("CLIENT GETNAME").bulk("cd");
        db.run("HELLO 2 SETNAME \"\"")
            .is(introduction("*14\r\n", 2));
        db.run("CLIENT GETNAME").nil();
    });

    script!(a_hello_that_fails_changes_nothing, |db| {
        for line in [
            "HELLO 3 SETNAME new AUTH",
            "HELLO 3 SETNAME new AUTH other x",
            "HELLO 3 SETNAME new FOO",
            "HELLO 3 SETNAME new SETNAME \"a b\"",
            "HELLO 4 SETNAME new",
        ] {
            assert!(db.run(line).bytes().starts_with(b"-"), "{line}");
            // In RESP2, and without a name.
            db.run("CLIENT GETNAME").is("$-1\r\n");
        }
    });

    script!(auth_without_a_password_in_force, |db| {
        db.run("AUTH a").error(NO_PASSWORD);
        db.run("AUTH default a").ok();
        db.run("AUTH other a").error(WRONG_PASSWORD);
        db.run("AUTH a b c").error("ERR syntax error");
        db.run("AUTH")
            .error("ERR wrong number of arguments for 'auth' command");
    });

    #[test]
    fn nothing_runs_before_auth() {
        let mut db = with_password("secret");
        for line in [
            "PING",
            "ECHO a",
            "GET k",
            "COMMAND",
            "CLIENT ID",
            "SELECT 0",
        ] {
            db.run(line).error("NOAUTH Authentication required.");
        }
        for line in ["HELLO", "HELLO 3", "HELLO 2 SETNAME x"] {
            db.run(line).error(HELLO_FIRST);
        }
        db.run("HELLO 1")
            .error("NOPROTO unsupported protocol version");
        db.run("GET")
            .error("ERR wrong number of arguments for 'get' command");
        db.run("NOSUCH")
            .error("ERR unknown command 'NOSUCH', with args beginning with: ");
        db.run("CLIENT FOO")
            .error("ERR unknown subcommand 'FOO'. Try CLIENT HELP.");
        db.run("QUIT").ok();
        assert!(db.closed());
    }

    #[test]
    fn auth_compares_the_whole_password() {
        let mut db = with_password("secret");
        for password in ["secre", "secretsecret", "secreT", "x", "", "secret\0"] {
            db.run_args(&[b"AUTH", password.as_bytes()])
                .error(WRONG_PASSWORD);
        }
        db.run("AUTH other secret").error(WRONG_PASSWORD);
        db.run("AUTH secret").ok();
        db.run("PING").simple("PONG");
        db.run("AUTH no").error(WRONG_PASSWORD);
        db.run("PING").simple("PONG");
        db.run("RESET").simple("RESET");
        db.run("PING").error("NOAUTH Authentication required.");
        db.run("HELLO 2 AUTH default no").error(WRONG_PASSWORD);
        db.run("HELLO 2 AUTH default secret")
            .is(introduction("*14\r\n", 2));
        db.run("PING").simple("PONG");
    }

    #[test]
    fn a_new_password_does_not_shut_out_who_is_in() {
        let mut db = Db::new();
        set_password(&db, "secret");
        db.run("PING").simple("PONG");
        db.run("RESET").simple("RESET");
        db.run("PING").error("NOAUTH Authentication required.");
        set_password(&db, "");
        db.run("PING").simple("PONG");
        db.run("HELLO").is(introduction("*14\r\n", 2));
    }

    script!(quit_replies_then_closes, |db| {
        assert_eq!(db.send(b"QUIT a\r\nPING\r\n"), b"+OK\r\n");
        assert!(db.closed());
    });

    script!(reset_undoes_all_settings, |db| {
        db.run("HELLO 3 SETNAME n").bytes();
        db.run("SELECT 3").ok();
        db.run("CLIENT NO-EVICT ON").ok();
        db.run("CLIENT NO-TOUCH ON").ok();
        db.run("CLIENT SETINFO LIB-NAME lib").ok();
        db.run("CLIENT REPLY OFF").is("");
        db.run("RESET").simple("RESET");
        let info = db.run("CLIENT INFO");
        let info = String::from_utf8_lossy(info.bytes()).into_owned();
        for field in [
            " name= ",
            " db=0 ",
            " flags=N ",
            " resp=2 ",
            " lib-name=lib ",
        ] {
            assert!(info.contains(field), "{field} in {info}");
        }
        db.run("RESET a")
            .error("ERR wrong number of arguments for 'reset' command");
    });
}
