//! Tests of the registry as a whole: the rows, CONFIG GET and SET, and the sources.

mod stock;

use std::ffi::OsString;

use super::load::{Invocation, Loaded, Problems, from_process};
use super::scratch::Scratch;
use super::*;

/// As the keyspace's glob does for patterns with a star at one end.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    match pattern {
        [start @ .., b'*'] => name.starts_with(start),
        [b'*', end @ ..] => name.ends_with(end),
        _ => pattern == name,
    }
}

fn get_one(config: &Config, name: &str) -> String {
    let found = get(config, &[name.as_bytes()], glob);
    assert_eq!(found.len(), 1, "{name}");
    found[0].1.clone()
}

fn try_set(config: &Config, pairs: &[(&str, &str)]) -> Result<Config, String> {
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
        .collect();
    set(config, &pairs).map_err(|error| error.to_string())
}

fn start(args: &[&str], env: &[(&str, &str)]) -> Result<Loaded, Problems> {
    let args = std::iter::once("strata")
        .chain(args.iter().copied())
        .map(OsString::from);
    let env = env
        .iter()
        .map(|(name, value)| (OsString::from(name), OsString::from(value)));
    match from_process(args, env, |_| Vec::new())? {
        Invocation::Serve(loaded) | Invocation::Check(loaded) | Invocation::Ask(loaded) => {
            Ok(*loaded)
        }
        Invocation::Print(text) => panic!("printed {text}"),
    }
}

fn start_error(args: &[&str], env: &[(&str, &str)]) -> String {
    let line = start(args, env).unwrap_err().to_string();
    assert!(!line.contains('\n'), "{line}");
    line
}

// The rows.

#[test]
fn each_row_is_complete_and_its_default_passes_its_check() {
    // The options without effect share a field.
    assert_eq!(OPTIONS.len() + 1, Config::FIELD_COUNT, "one row per field");
    let rows: Vec<&Opt> = all().collect();
    for (at, row) in rows.iter().enumerate() {
        let is_inert = row.section == Section::Inert;
        assert!(
            is_inert || row.summary.ends_with('.') && row.summary.len() > 20,
            "{} has a summary",
            row.name
        );
        assert!(
            !row.summary.contains("  ") && !row.allowed().is_empty(),
            "{}",
            row.name
        );
        assert_eq!(
            row.read_default(&mut Config::blank()),
            Ok(()),
            "{}",
            row.name
        );
        assert!(
            row.name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'),
            "{}",
            row.name
        );
        assert!(
            is_inert || Section::ALL.contains(&row.section),
            "{} is in a section that the template shows",
            row.name
        );
        for name in row.names() {
            assert!(
                rows[..at].iter().all(|earlier| !earlier.is_named(name)),
                "{name} stands twice"
            );
            assert!(std::ptr::eq(option(&name.to_uppercase()).unwrap(), *row));
        }
    }
}

#[test]
fn each_row_writes_its_own_field_and_no_other() {
    for row in all() {
        let mut config = Config::default();
        let changed = other_value(row);
        row.kind.read_text(&mut config, &changed).unwrap();
        for other in all() {
            let same = other.text(&config) == other.text(&Config::default());
            assert_eq!(
                same,
                other.name != row.name,
                "{} changed {}",
                row.name,
                other.name
            );
        }
    }
}

/// A value that is allowed and not the default.
fn other_value(row: &Opt) -> String {
    let default = row.text(&Config::default());
    let candidates = [
        "yes",
        "no",
        "2",
        "3",
        "2mb",
        "noeviction",
        "always",
        "lz4",
        "shed",
        "ghost",
        "debug",
        "json",
        "/x",
        "normal 1 1 1",
        "user: pinned",
        "300",
        "CN",
        "3600 1",
        "ip",
        "relative",
        "hostname",
        "panic",
        "swapdb",
        "allchannels",
        "best-effort",
        "relaxed",
        "iso8601",
        "0",
        "get fetch",
        "save",
        "systemd",
    ];
    let mut usable = candidates.into_iter().filter(|candidate| {
        let mut config = Config::default();
        row.kind.read_text(&mut config, candidate).is_ok() && row.text(&config) != default
    });
    usable
        .next()
        .unwrap_or_else(|| panic!("{} takes none of the values", row.name))
        .to_owned()
}

#[test]
fn both_ends_of_each_range_fit_the_field() {
    for row in OPTIONS {
        let ends = match row.kind {
            kinds::Kind::Integer { min, max, .. } => [min, max],
            kinds::Kind::Bytes { min, .. } => [min, i64::MAX],
            _ => continue,
        };
        for end in ends {
            let mut config = Config::default();
            row.kind.read_text(&mut config, &end.to_string()).unwrap();
            assert_eq!(row.text(&config), end.to_string(), "{}", row.name);
        }
    }
}

#[test]
fn a_printed_config_hides_the_password() {
    let config = try_set(&Config::default(), &[("requirepass", "hunter2")]).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    assert_eq!(get_one(&config, "requirepass"), "hunter2");
}

#[test]
fn zero_and_shares_are_resolved() {
    let config = try_set(
        &Config::default(),
        &[("maxmemory", "1000"), ("maxmemory-clients", "5%")],
    )
    .unwrap();
    assert_eq!(config.client_memory_limit(), 50);
    assert!(config.worker_threads == 0 && config.worker_thread_count() >= 1);
    assert!(Config::default().maxmemory > 0);
}

#[test]
fn nothing_here_knows_the_server() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config");
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let foreign = text.lines().find(|line| {
            let line = line.trim();
            line.starts_with("use crate::") && !line.starts_with("use crate::config::")
        });
        assert_eq!(foreign, None, "{}", path.display());
    }
}

// CONFIG GET and SET. The texts are those of a Redis 7.0.15.

#[test]
fn config_get_matches_in_any_case_and_tells_each_name_once() {
    let config = try_set(&Config::default(), &[("MAXMEMORY", "1kB")]).unwrap();
    let found = get(&config, &[b"MaxMem*", b"maxmemory", b"none"], glob);
    let names: Vec<_> = found.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        names,
        [
            "maxmemory-clients",
            "maxmemory",
            "maxmemory-policy",
            "maxmemory-samples",
            "maxmemory-eviction-tenacity"
        ]
    );
    assert_eq!(get_one(&config, "maxmemory"), "1024");
    assert_eq!(get_one(&config, "save"), "");
    assert_eq!(get_one(&config, "appendonly"), "no");
    assert_eq!(get_one(&config, "cluster-enabled"), "no");
    assert!(!get_one(&config, "dir").is_empty());
    let shown = all().filter(|option| !option.is_directive);
    assert_eq!(
        get(&config, &[b"*"], glob).len(),
        shown.flat_map(Opt::names).count()
    );
}

#[test]
fn config_get_shows_what_redis_shows() {
    let config = Config::default();
    for (name, text) in [
        ("bind", "127.0.0.1 -::1"),
        ("port", "6379"),
        ("unixsocket", ""),
        ("unixsocketperm", "0"),
        (
            "client-output-buffer-limit",
            "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
        ),
        ("client-query-buffer-limit", "1073741824"),
        ("proto-max-bulk-len", "536870912"),
        ("latency-tracking-info-percentiles", "50 99 99.9"),
        ("maxmemory-clients", "0"),
        ("slowlog-log-slower-than", "10000"),
        ("hll-sparse-max-bytes", "3000"),
        ("requirepass", ""),
    ] {
        assert_eq!(get_one(&config, name), text, "{name}");
    }
}

#[test]
fn config_set_refuses_in_the_words_of_redis() {
    const INT: &str = "argument couldn't be parsed into an integer";
    const SIZE: &str = "argument must be a memory value";
    for (name, value, reason) in [
        ("timeout", "abc", INT),
        (
            "timeout",
            "-1",
            "argument must be between 0 and 2147483647 inclusive",
        ),
        (
            "maxclients",
            "0",
            "argument must be between 1 and 4294967295 inclusive",
        ),
        (
            "maxmemory-samples",
            "0",
            "argument must be between 1 and 64 inclusive",
        ),
        ("maxmemory-samples", "1.5", INT),
        (
            "active-expire-effort",
            "11",
            "argument must be between 1 and 10 inclusive",
        ),
        (
            "slowlog-max-len",
            "-1",
            "argument must be between 0 and 9223372036854775807 inclusive",
        ),
        (
            "slowlog-log-slower-than",
            "-2",
            "argument must be between -1 and 9223372036854775807 inclusive",
        ),
        (
            "proto-max-bulk-len",
            "1",
            "argument must be between 1048576 and 9223372036854775807 inclusive",
        ),
        ("maxmemory", "abc", SIZE),
        ("maxmemory", "-1", SIZE),
        ("maxmemory", "1.5gb", SIZE),
        ("hll-sparse-max-bytes", "-1", SIZE),
        (
            "maxmemory-clients",
            "101%",
            "percentage argument must be less or equal to 100",
        ),
        ("protected-mode", "maybe", "argument must be 'yes' or 'no'"),
        (
            "loglevel",
            "foo",
            "argument(s) must be one of the following: debug, verbose, notice, warning, nothing",
        ),
        (
            "client-output-buffer-limit",
            "normal 0 0",
            "Wrong number of arguments in buffer limit configuration.",
        ),
        (
            "latency-tracking-info-percentiles",
            "50 abc",
            "Invalid latency-tracking-info-percentiles parameters",
        ),
        ("slave-priority", "x", INT),
        ("rdbcompression", "maybe", "argument must be 'yes' or 'no'"),
        ("databases", "3", "can't set immutable config"),
        ("tcp-backlog", "1", "can't set immutable config"),
        ("unixsocket", "/x", "can't set immutable config"),
        ("logfile", "x", "can't set immutable config"),
        ("enable-debug-command", "yes", "can't set immutable config"),
        ("daemonize", "yes", "can't set immutable config"),
        ("dir", "/x", "can't set protected config"),
        ("dbfilename", "x", "can't set protected config"),
        ("hz", "x", INT),
        ("min-replicas-to-write", "1", "Strata does not replicate"),
        (
            "notify-keyspace-events",
            "KEA",
            "keyspace events are not supported in this version",
        ),
        ("save", "900", "Invalid save parameters"),
    ] {
        let text =
            format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}");
        assert_eq!(try_set(&Config::default(), &[(name, value)]), Err(text));
    }
}

#[test]
fn config_set_checks_names_before_values() {
    let failed = |name: &str, reason: &str| {
        Err(format!(
            "ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}"
        ))
    };
    let unknown = |name: &str| {
        Err(format!(
            "ERR Unknown option or number of arguments for CONFIG SET - '{name}'"
        ))
    };
    let try_set = |pairs: &[(&str, &str)]| try_set(&Config::default(), pairs);
    assert_eq!(try_set(&[("x", "1"), ("y", "2")]), unknown("x"));
    assert_eq!(
        try_set(&[("timeout", "abc"), ("databases", "1"), ("foo", "1")]),
        unknown("foo")
    );
    assert_eq!(
        try_set(&[("timeout", "abc"), ("databases", "1")]),
        failed("databases", "can't set immutable config")
    );
    assert_eq!(
        try_set(&[("timeout", "1"), ("TIMEOUT", "2")]),
        failed("TIMEOUT", "duplicate parameter")
    );
    assert_eq!(try_set(&[("a\r\nb", "1")]), unknown("a  b"));
}

#[test]
fn config_set_changes_all_or_nothing() {
    let before = Config::default();
    assert!(try_set(&before, &[("timeout", "5"), ("maxclients", "x")]).is_err());
    let after = try_set(&before, &[("timeout", "5"), ("maxclients", "6")]).unwrap();
    assert_eq!((after.timeout_s, after.maxclients), (5, 6));
}

#[test]
fn config_set_takes_what_is_true_already() {
    let config = Config::default();
    assert_eq!(
        try_set(&config, &[("save", ""), ("appendonly", "no")]),
        Ok(config.clone())
    );
    let text = set(&config, &[(b"requirepass", b"\xff")])
        .unwrap_err()
        .to_string();
    assert!(text.ends_with("- argument must be UTF-8 text"), "{text}");
}

// The sources.

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let scratch = Scratch::new();
    let file = scratch.write("my.conf", "timeout 1\nmaxclients 1\ndatabases 1\n");
    let file = file.to_str().unwrap();
    let env = [
        ("STRATA_TIMEOUT", "2"),
        ("STRATA_MAXCLIENTS", "2"),
        ("HOME", "/x"),
        ("STRATA_PORT", ""),
    ];
    let loaded = start(&[file, "--timeout", "3"], &env).unwrap();
    let config = &loaded.config;
    assert_eq!(
        (
            config.timeout_s,
            config.maxclients,
            config.databases,
            config.port
        ),
        (3, 2, 1, 6379)
    );
    assert_eq!(loaded.file.as_deref(), Some(std::path::Path::new(file)));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    assert_eq!(start(&[], &[]).unwrap().config, Config::default());
}

#[test]
fn rules_of_all_sources_add_up() {
    let scratch = Scratch::new();
    let file = scratch.write(
        "my.conf",
        "tier-policy a: pinned b: pinned\ntier-policy \"\" memory-only\n",
    );
    let file = file.to_str().unwrap();
    let env = [("STRATA_TIER_POLICY", "b: disk 'c d' pinned")];
    let args = [file, "--tier-policy", "b:", "memory-only", "--timeout", "3"];
    let loaded = start(&args, &env).unwrap();
    let rules = "\"\" memory-only a: pinned b: memory-only \"c d\" pinned";
    assert_eq!(get_one(&loaded.config, "tier-policy"), rules);
    let args = [
        &args[..],
        &["--tier-policy", "", "--tier-policy", "", "pinned"],
    ]
    .concat();
    let loaded = start(&args, &env).unwrap();
    assert_eq!(get_one(&loaded.config, "tier-policy"), "\"\" pinned");
    assert_eq!(
        start_error(&["--tier-policy", "a:", "cold"], &[]),
        "tier-policy a: cold: argument(s) must be one of the following: memory-only, disk, pinned (command line)"
    );
    assert_eq!(
        start_error(&[], &[("STRATA_TIER_POLICY", "a:")]),
        "STRATA_TIER_POLICY a:: each prefix must have a policy behind it; allowed is up to 64 prefixes of keys, \
         behind each one of memory-only, disk, pinned (environment)"
    );
}

#[test]
fn config_set_replaces_all_rules() {
    let config = try_set(
        &Config::default(),
        &[("tier-policy", "a: pinned b: pinned")],
    )
    .unwrap();
    let config = try_set(&config, &[("tier-policy", "b: disk")]).unwrap();
    assert_eq!(get_one(&config, "tier-policy"), "b: disk");
    assert!(try_set(&config, &[("tier-policy", "b:")]).is_err());
    let config = try_set(&config, &[("tier-policy", "")]).unwrap();
    assert_eq!(config, Config::default());
}

#[test]
fn flags_are_written_as_for_redis_server() {
    let args = [
        "--port",
        "6380",
        "--bind",
        "127.0.0.1",
        "-::1",
        "--save",
        "",
        "--appendonly",
        "no",
    ];
    let loaded = start(&args, &[]).unwrap();
    assert_eq!(
        (loaded.config.port, get_one(&loaded.config, "bind")),
        (6380, "127.0.0.1 -::1".to_owned())
    );
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);

    let args = [
        "--PORT=1",
        "--port",
        "2",
        "--slowlog-log-slower-than",
        "-1",
        "--requirepass=--x y",
        "--bind=a b",
    ];
    let config = start(&args, &[]).unwrap().config;
    assert_eq!((config.port, config.slowlog_log_slower_than_us), (2, -1));
    assert_eq!(
        (config.requirepass.reveal(), config.bind.len()),
        ("--x y", 2)
    );

    let config = start(&["--bind", "", "--unixsocket", "/tmp/s"], &[])
        .unwrap()
        .config;
    assert!(config.bind.is_empty());
}

#[test]
fn help_and_version_are_printed() {
    let print =
        |flag: &str| match from_process(["strata", flag].map(OsString::from), [], |_| Vec::new())
            .unwrap()
        {
            Invocation::Print(text) => text,
            other => panic!("{flag}: {other:?}"),
        };
    assert_eq!(
        print("--version"),
        format!("strata {}\n", env!("CARGO_PKG_VERSION"))
    );
    let help = print("--help");
    for row in OPTIONS {
        assert!(help.contains(&format!("--{} ", row.name)), "{}", row.name);
    }
    assert!(
        !help.contains("--appendonly"),
        "foreign directives are not shown"
    );
}

#[test]
fn errors_are_one_line_with_name_value_and_what_is_allowed() {
    let scratch = Scratch::new();
    let file = scratch.write("my.conf", "# x\nport 99999\n");
    let file = file.to_str().unwrap();
    assert_eq!(
        start_error(&[file], &[]),
        format!("port 99999: argument must be between 0 and 65535 inclusive ({file} line 2)")
    );
    assert_eq!(
        start_error(&[], &[("STRATA_MAXMEMORY", "1zb")]),
        "STRATA_MAXMEMORY 1zb: argument must be a memory value; allowed is a size such as 1gb, or a share of the \
         machine or container such as 40% (environment)"
    );
    assert_eq!(
        start_error(&["--latency-tracking", "x"], &[]),
        "latency-tracking x: argument must be 'yes' or 'no'; allowed is yes or no (command line)"
    );
    assert_eq!(
        start_error(&["--port"], &[]),
        "--port: a value must follow: a number from 0 to 65535"
    );
    assert_eq!(
        start_error(&["--port", "--bind", "a"], &[]),
        "--port: a value must follow: a number from 0 to 65535"
    );
    assert!(start_error(&["--bind"], &[]).starts_with("bind \"\": wrong number of arguments"));
    let two = start(&["a.conf", "b.conf"], &[]).unwrap_err().to_string();
    assert!(two.contains("b.conf: there may be one configuration file"));
    assert!(start_error(&["/no/such.conf"], &[]).starts_with("/no/such.conf: cannot be read"));
    assert!(start_error(&["--port", "0"], &[]).starts_with("port 0: "));
}

#[test]
fn an_unknown_name_is_answered_with_the_nearest() {
    let scratch = Scratch::new();
    let file = scratch.write("my.conf", "requirepas hunter2\n");
    let line = start_error(&[file.to_str().unwrap()], &[]);
    assert!(
        line.starts_with("requirepas: no such option; the nearest is 'requirepass'"),
        "{line}"
    );
    assert!(!line.contains("hunter2"));
    assert!(start_error(&["--maxmemry", "1"], &[]).contains("'maxmemory'"));
    let file = scratch.write("my.conf", "inclde x\n");
    assert!(start_error(&[file.to_str().unwrap()], &[]).contains("'include'"));
    assert!(!start_error(&["--include", "x"], &[]).contains("nearest is 'include'"));
    assert!(start_error(&["--zzzzzzzz", "1"], &[]).contains("--help"));
    let warnings = start(&[], &[("STRATA_MAXMEMRY", "1"), ("STRATA_QQQQQQQQ", "1")])
        .unwrap()
        .warnings;
    assert_eq!(
        warnings,
        [
            "STRATA_MAXMEMRY is no option; the nearest is STRATA_MAXMEMORY",
            "STRATA_QQQQQQQQ is no option"
        ]
    );
}

#[test]
fn a_secret_is_in_no_error() {
    let scratch = Scratch::new();
    let file = scratch.write("my.conf", "requirepass hunter2 hunter3\n");
    let line = start_error(&[file.to_str().unwrap()], &[]);
    assert!(
        line.starts_with("requirepass (hidden): wrong number of arguments"),
        "{line}"
    );
    let args = ["--masterauth", "hunter2", "--tls-key-file-pass", "hunter2"];
    let loaded = start(&args, &[]).unwrap();
    assert!(!format!("{loaded:?}").contains("hunter2"));
    assert_eq!(
        loaded.warnings,
        [
            "masterauth has no effect: Strata does not replicate",
            "tls-key-file-pass has no effect: TLS is not supported in this version"
        ]
    );
}

#[test]
fn options_without_effect_warn_once_each() {
    let scratch = Scratch::new();
    let text = "save 900 1\nsave 300 10\nappendonly yes\nhz 10\nlazyfree-lazy-user-del yes\nappendfsync always\nhz 20\n";
    let file = scratch.write("my.conf", text);
    let file = file.to_str().unwrap();
    let loaded = start(&[file, "--appendonly", "yes", "--tier-max-bytes", "0"], &[]).unwrap();
    let aof =
        "Strata has no append only file: the disk tier keeps changes, as tier-durability says";
    assert_eq!(
        loaded.warnings,
        [
            format!("appendfsync has no effect: {aof}"),
            format!("appendonly has no effect: {aof}"),
            "hz has no effect: Strata paces its own maintenance".to_owned(),
            "save has no effect: Strata writes no RDB snapshots: the disk tier keeps changes, as tier-durability says".to_owned(),
        ]
    );
    assert_eq!(get_one(&loaded.config, "save"), "900 1 300 10");
    // What the disk tier does anyway is no reason for a warning.
    let loaded = start(&[file, "--hz", "10", "--tier-durability", "always"], &[]).unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
}

#[test]
fn options_that_would_break_a_promise_are_refused_at_the_start() {
    for (name, value, why) in [
        ("tls-port", "6380", "TLS is not supported in this version"),
        ("cluster-enabled", "yes", "Strata serves as a single node"),
        ("replicaof", "host 6379", "Strata does not replicate"),
        ("slaveof", "host 6379", "Strata does not replicate"),
        ("min-slaves-to-write", "1", "Strata does not replicate"),
        (
            "aclfile",
            "/x",
            "users and ACL files are not supported in this version",
        ),
        (
            "user",
            "default off",
            "users and ACL files are not supported in this version",
        ),
    ] {
        let args: Vec<String> = std::iter::once(format!("--{name}"))
            .chain(value.split(' ').map(str::to_owned))
            .collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let own_name = option(name).unwrap().name;
        assert_eq!(
            start_error(&args, &[]),
            format!("{own_name}: {why} (command line)")
        );
    }
    assert!(start(&["--replicaof", "no", "one", "--tls-port", "0"], &[]).is_ok());
}

#[test]
fn config_set_takes_options_without_effect_and_shows_them() {
    let config = Config::default();
    let changed = try_set(
        &config,
        &[("hz", "50"), ("slave-priority", "7"), ("save", "900 1")],
    )
    .unwrap();
    assert_eq!(get_one(&changed, "hz"), "50");
    assert_eq!(get_one(&changed, "replica-priority"), "7");
    assert_eq!(get_one(&changed, "save"), "900 1");
    let changed = try_set(&changed, &[("save", "60 5"), ("repl-backlog-size", "2mb")]).unwrap();
    assert_eq!(get_one(&changed, "save"), "60 5");
    assert_eq!(get_one(&changed, "repl-backlog-size"), "2097152");
    let back = [
        ("hz", "10"),
        ("replica-priority", "100"),
        ("save", ""),
        ("repl-backlog-size", "1mb"),
    ];
    assert_eq!(try_set(&changed, &back), Ok(config.clone()));
    // The promise of the append only file is kept by the disk tier, or not at all.
    assert!(try_set(&config, &[("appendonly", "yes")]).is_ok());
    assert!(try_set(&config, &[("appendonly", "yes"), ("appendfsync", "always")]).is_err());
    let mut without = config.clone();
    without.tier_max_bytes = 0;
    for (name, value) in [("appendonly", "yes"), ("save", "900 1")] {
        assert!(try_set(&without, &[(name, value)]).is_err(), "{name}");
    }
    assert!(try_set(&without, &[("appendonly", "no"), ("save", "")]).is_ok());
    // Commands that have other names are nothing for clients.
    assert!(get(&config, &[b"rename-command", b"user"], glob).is_empty());
    assert!(
        try_set(&config, &[("rename-command", "GET x")])
            .unwrap_err()
            .contains("Unknown option")
    );
}

#[test]
fn port_and_bind_may_be_set_to_what_they_are() {
    let config = Config::default();
    let pairs = [("port", "6379"), ("bind", "127.0.0.1 -::1")];
    assert_eq!(try_set(&config, &pairs), Ok(config.clone()));
}

#[test]
fn all_problems_are_told_at_once() {
    let scratch = Scratch::new();
    let text = "port 99999\nmaxmemry 1gb\ntimeout \"1\nhz x\ninclude /no/such.conf\nmaxclients 5\n";
    let file = scratch.write("my.conf", text);
    let args = [
        file.to_str().unwrap(),
        "--databases",
        "99",
        "--nope",
        "1",
        "--tls-port",
        "1",
        "b.conf",
    ];
    let problems = start(&args, &[("STRATA_MAXMEMORY", "1zb")])
        .unwrap_err()
        .to_string();
    let lines: Vec<&str> = problems.lines().collect();
    for words in [
        "port 99999",
        "maxmemry",
        "Unbalanced",
        "hz x",
        "/no/such.conf",
        "databases 99",
        "nope",
        "tls-port",
        "b.conf",
        "STRATA_MAXMEMORY",
    ] {
        assert!(
            lines.iter().filter(|line| line.contains(words)).count() == 1,
            "{words} in {problems}"
        );
    }
    assert_eq!(lines.len(), 10, "{problems}");
}

#[test]
fn check_config_and_healthcheck_are_words_before_the_options() {
    let read = |args: &[&str]| {
        let args = ["strata"].iter().chain(args).map(OsString::from);
        from_process(args, [], |_| Vec::new()).unwrap()
    };
    assert!(
        matches!(read(&["check-config", "--port", "1"]), Invocation::Check(loaded) if loaded.config.port == 1)
    );
    assert!(matches!(read(&["healthcheck"]), Invocation::Ask(_)));
    assert!(matches!(read(&[]), Invocation::Serve(_)));
}

#[test]
fn faults_that_only_others_see_are_told_too() {
    let args = ["strata", "--rename-command", "GET", ""].map(OsString::from);
    let faults = |config: &Config| vec![format!("{:?}", config.rename_command)];
    let problems = from_process(args, [], faults).unwrap_err().to_string();
    assert_eq!(problems, r#"[Rename { command: "GET", name: "" }]"#);
}

#[test]
fn secrets_go_from_the_command_line_into_the_environment() {
    let split = |args: &[&str]| load::without_secrets(args.iter().map(OsString::from));
    let (rest, secrets) = split(&[
        "strata",
        "my.conf",
        "--requirepass",
        "hunter2",
        "--port",
        "1",
        "--PrimaryAuth=a b",
        "--requirepass",
        "--x",
    ])
    .unwrap();
    assert_eq!(
        rest,
        ["strata", "my.conf", "--port", "1", "--requirepass=", "--x"]
    );
    let expected = [
        ("STRATA_REQUIREPASS", "hunter2"),
        ("STRATA_MASTERAUTH", "a b"),
    ];
    assert_eq!(
        secrets,
        expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
    assert_eq!(split(&["strata", "--port", "1", "--requirepass", ""]), None);
    // A whole line in one word, and one that is none.
    let (rest, secrets) = split(&["strata", "--requirepass 'a b'", "--port 1"]).unwrap();
    assert_eq!(rest, ["strata", "--port 1"]);
    assert_eq!(
        secrets,
        [("STRATA_REQUIREPASS".to_owned(), "a b".to_owned())]
    );
    assert_eq!(split(&["strata", "--requirepass a b"]), None);
    let error = start(&["--requirepass a b"], &[]).unwrap_err().to_string();
    assert_eq!(error, "--requirepass: a value too many");
    let env = [
        ("STRATA_REQUIREPASS", "hunter2"),
        ("STRATA_MASTERAUTH", "x"),
    ];
    let config = start(&[], &env).unwrap().config;
    assert_eq!(
        (
            config.requirepass.reveal(),
            get_one(&config, "masterauth").as_str()
        ),
        ("hunter2", "x")
    );
}

#[test]
fn relative_paths_start_from_dir() {
    let config = start(&["--dir", "/var/lib/redis"], &[]).unwrap().config;
    let tier = config.in_dir(config.tier_dir.as_deref().unwrap());
    assert_eq!(tier, std::path::Path::new("/var/lib/redis/./data"));
    assert_eq!(config.in_dir("/x".as_ref()), std::path::Path::new("/x"));
    assert_eq!(get_one(&config, "dir"), "/var/lib/redis");
    let here = std::env::current_dir().unwrap();
    assert_eq!(get_one(&Config::default(), "dir"), here.to_str().unwrap());
}

#[test]
fn the_guides_names_work_as_they_are() {
    let config = |env: &[(&str, &str)]| start(&[], env).unwrap().config;
    assert_eq!(config(&[("CACHE_MEMORY_SIZE", "1000")]).max_entries, 1000);
    assert_eq!(config(&[("CACHE_MEMORY_SIZE", "2mb")]).maxmemory, 2 << 20);
    assert_eq!(
        config(&[("CACHE_MEMORY_SIZE", "50%")]).maxmemory,
        machine::memory_bytes() / 2
    );
    assert_eq!(config(&[("CACHE_TTL", "300")]).default_ttl_s, 300);
    assert_eq!(
        config(&[("ENABLE_STRUCTURED_LOGGING", "true")]).log_format,
        LogFormat::Json
    );
    assert_eq!(
        config(&[("ENABLE_STRUCTURED_LOGGING", "no")]).log_format,
        LogFormat::Text
    );
    // Strata's own name wins, in whichever order they come.
    assert_eq!(
        config(&[("STRATA_DEFAULT_TTL", "1"), ("CACHE_TTL", "2")]).default_ttl_s,
        1
    );
    assert!(
        start_error(&[], &[("CACHE_MEMORY_SIZE", "lots")])
            .starts_with("CACHE_MEMORY_SIZE lots: argument must be")
    );
    assert!(start_error(&[], &[("CACHE_TTL", "-1")]).starts_with("CACHE_TTL -1: "));

    let warnings = start(
        &[],
        &[("REDIS_URL", "redis://:pw@h"), ("TASK_TIMEOUT", "1")],
    )
    .unwrap()
    .warnings;
    assert_eq!(
        warnings,
        [
            "REDIS_URL has no effect: not supported in this version",
            "TASK_TIMEOUT has no effect: not supported in this version"
        ]
    );
}

#[test]
fn the_address_of_a_service_named_strata_is_not_an_option() {
    let env = [
        ("STRATA_PORT", "tcp://10.0.0.1:6379"),
        ("STRATA_SERVICE_HOST", "10.0.0.1"),
        ("STRATA_PORT_6379_TCP_PORT", "6379"),
    ];
    let loaded = start(&[], &env).unwrap();
    assert_eq!((loaded.config.port, loaded.warnings.len()), (6379, 0));
}

#[test]
fn the_files_in_conf_are_read_without_a_warning() {
    for name in ["strata.conf", "guide.conf", "sidecar.conf"] {
        let path = format!("{}/conf/{name}", env!("CARGO_MANIFEST_DIR"));
        let loaded = start(&[&path], &[]).unwrap();
        assert!(loaded.warnings.is_empty(), "{name}: {:?}", loaded.warnings);
    }
    let path = format!("{}/conf/guide.conf", env!("CARGO_MANIFEST_DIR"));
    let from_file = start(&[&path], &[]).unwrap().config;
    let env = [
        ("CACHE_MEMORY_SIZE", "1000"),
        ("CACHE_TTL", "300"),
        ("CACHE_DISK_SIZE", "10240"),
        ("ENABLE_STRUCTURED_LOGGING", "yes"),
    ];
    assert_eq!(
        from_file,
        start(&[], &env).unwrap().config,
        "guide.conf says what the guide's environment says"
    );
}

/// The `args` of a container are often written so. As in Redis 8.10.
#[test]
fn a_list_or_a_whole_line_may_stand_in_one_word() {
    let parts = [
        "--bind",
        "127.0.0.1 -::1",
        "--save",
        "60 1",
        "--port",
        "7404",
    ];
    let apart = [
        "--bind",
        "127.0.0.1",
        "-::1",
        "--save",
        "60",
        "1",
        "--port",
        "7404",
    ];
    let lines = ["--bind 127.0.0.1 -::1", "--save 60 1", "--port 7404"];
    let expected = start(&apart, &[]).unwrap().config;
    for args in [&parts[..], &lines] {
        assert_eq!(start(args, &[]).unwrap().config, expected, "{args:?}");
    }
    // A secret may have blanks where it stands alone.
    let secret = start(&["--requirepass", "a b"], &[]).unwrap();
    assert_eq!(get_one(&secret.config, "requirepass"), "a b");
    let error = start(&["--port 7404 7405"], &[]).unwrap_err().to_string();
    assert_eq!(error, "--port: a value too many");
}

#[test]
fn options_that_do_not_go_together_are_refused_at_the_start() {
    let args = ["--memory-ttl", "60", "--maxmemory-policy", "allkeys-lfu"];
    let error = start(&args, &[]).unwrap_err().to_string();
    assert_eq!(
        error,
        "memory-ttl 60 does not go with maxmemory-policy allkeys-lfu, which knows no time of the last access"
    );
    assert!(
        start(
            &["--memory-ttl", "60", "--maxmemory-policy", "volatile-lrm"],
            &[]
        )
        .is_err()
    );
    assert!(start(&["--memory-ttl", "60"], &[]).is_ok());
}
