//! Expected replies are those of Redis 8.10.2 and Valkey 9.1.2, which agree.

use crate::testing::{Db, script};

/// What a client that was switched away from has got since.
fn messages(db: &mut Db, client: usize) -> String {
    db.switch(client);
    String::from_utf8_lossy(&db.messages()).replace("\r\n", "|")
}

fn text(db: &mut Db, line: &str) -> String {
    String::from_utf8_lossy(db.run(line).bytes()).replace("\r\n", "|")
}

script!(subscriptions_are_answered_one_by_one, |db| {
    for (line, expected) in [
        ("UNSUBSCRIBE", "*3|$11|unsubscribe|$-1|:0|"),
        ("SUNSUBSCRIBE", "*3|$12|sunsubscribe|$-1|:0|"),
        (
            "UNSUBSCRIBE x y",
            "*3|$11|unsubscribe|$1|x|:0|*3|$11|unsubscribe|$1|y|:0|",
        ),
        (
            "SUBSCRIBE c c d",
            "*3|$9|subscribe|$1|c|:1|*3|$9|subscribe|$1|c|:1|*3|$9|subscribe|$1|d|:2|",
        ),
        ("PSUBSCRIBE c*", "*3|$10|psubscribe|$2|c*|:3|"),
        ("SSUBSCRIBE s", "*3|$10|ssubscribe|$1|s|:1|"),
        ("UNSUBSCRIBE c", "*3|$11|unsubscribe|$1|c|:2|"),
        ("UNSUBSCRIBE", "*3|$11|unsubscribe|$1|d|:1|"),
        ("PUNSUBSCRIBE", "*3|$12|punsubscribe|$2|c*|:0|"),
        ("SUNSUBSCRIBE", "*3|$12|sunsubscribe|$1|s|:0|"),
    ] {
        assert_eq!(text(&mut db, line), expected, "{line}");
    }
    db.run("GET k").nil();
});

script!(messages_come_to_who_listens, |db| {
    db.run("PUBLISH c lost").int(0);
    db.run("SUBSCRIBE c").bytes();
    db.run("PSUBSCRIBE c* ? x*").bytes();
    db.switch(1);
    db.run("PUBLISH c hello").int(3);
    db.run("PUBLISH C hello").int(1);
    db.run("SPUBLISH c hello").int(0);
    let got = messages(&mut db, 0);
    assert!(got.starts_with("*3|$7|message|$1|c|$5|hello|"), "{got}");
    for pattern in ["c*", "?"] {
        let len = pattern.len();
        let push = format!("*4|$8|pmessage|${len}|{pattern}|$1|c|$5|hello|");
        assert!(got.contains(&push), "{got}");
    }
    assert!(got.ends_with("*4|$8|pmessage|$1|?|$1|C|$5|hello|"), "{got}");
    db.run("SSUBSCRIBE c").bytes();
    db.switch(1);
    db.run("SPUBLISH c x").int(1);
    assert_eq!(messages(&mut db, 0), "*3|$8|smessage|$1|c|$1|x|");
    // What was published before comes before the reply, and nothing after it.
    db.switch(1);
    db.run("SPUBLISH c y").int(1);
    db.switch(0);
    let expected = "*3|$8|smessage|$1|c|$1|y|*3|$12|sunsubscribe|$1|c|:0|";
    assert_eq!(text(&mut db, "SUNSUBSCRIBE c"), expected);
    db.switch(1);
    db.run("SPUBLISH c z").int(0);
    db.forget(0);
    db.run("PUBLISH c x").int(0);
    db.run("PUBSUB NUMPAT").int(0);
});

script!(who_subscribes_gets_nothing_older, |db| {
    db.run("SUBSCRIBE c").bytes();
    db.switch(1);
    db.run("PUBLISH c old").int(1);
    let expected = "*3|$9|subscribe|$1|c|:1|";
    assert_eq!(text(&mut db, "SUBSCRIBE c"), expected);
    assert_eq!(messages(&mut db, 1), "");
    assert_eq!(messages(&mut db, 0), "*3|$7|message|$1|c|$3|old|");
});

script!(in_resp2_a_subscriber_sends_little_else, |db| {
    db.run("SUBSCRIBE c").bytes();
    for (line, name) in [
        ("GET k", "get"),
        ("MULTI", "multi"),
        ("HELLO 3", "hello"),
        ("PUBLISH c x", "publish"),
        ("CLIENT INFO", "client|info"),
    ] {
        db.run(line).error(&format!(
            "ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in \
             this context"
        ));
    }
    db.run("GET")
        .error("ERR wrong number of arguments for 'get' command");
    assert!(
        text(&mut db, "EXEC")
            .starts_with("-EXECABORT Transaction discarded because of: Can't execute 'exec': ")
    );
    db.run("PING").is("*2\r\n$4\r\npong\r\n$0\r\n\r\n");
    db.run("PING hi").is("*2\r\n$4\r\npong\r\n$2\r\nhi\r\n");
    db.run("PING a b")
        .error("ERR wrong number of arguments for 'ping' command");
    db.run("RESET").simple("RESET");
    db.run("PING").simple("PONG");
    db.run("PUBSUB CHANNELS").is("*0\r\n");
});

script!(own_messages_come_behind_the_reply, |db| {
    db.run("HELLO 3").bytes();
    db.run("SUBSCRIBE c")
        .is(">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n");
    let message = |text: &str| format!(">3|$7|message|$1|c|$1|{text}|");
    assert_eq!(text(&mut db, "PUBLISH c x"), format!(":1|{}", message("x")));
    for line in ["MULTI", "PUBLISH c x", "GET k", "PUBLISH c y"] {
        db.run(line).bytes();
    }
    let expected = format!("*3|:1|_|:1|{}{}", message("x"), message("y"));
    assert_eq!(text(&mut db, "EXEC"), expected);
    db.run("CLIENT REPLY OFF").is("");
    db.run("SUBSCRIBE d")
        .is(">3\r\n$9\r\nsubscribe\r\n$1\r\nd\r\n:2\r\n");
    assert_eq!(text(&mut db, "PUBLISH c z"), message("z"));
});

script!(a_subscription_may_be_part_of_a_transaction, |db| {
    for line in ["MULTI", "SUBSCRIBE c", "GET k", "PUBLISH c x"] {
        db.run(line).bytes();
    }
    let expected = "*3|*3|$9|subscribe|$1|c|:1|$-1|:1|*3|$7|message|$1|c|$1|x|";
    assert_eq!(text(&mut db, "EXEC"), expected);
});

script!(who_listens_is_told, |db| {
    db.run("SUBSCRIBE news other").bytes();
    db.run("PSUBSCRIBE n*").bytes();
    db.run("SSUBSCRIBE shard").bytes();
    db.switch(1);
    db.run("PSUBSCRIBE n*").bytes();
    db.run("PUNSUBSCRIBE").bytes();
    db.run("PUBSUB CHANNELS n*").is("*1\r\n$4\r\nnews\r\n");
    db.run("PUBSUB CHANNELS x").is("*0\r\n");
    db.run("PUBSUB NUMSUB").is("*0\r\n");
    assert_eq!(
        text(&mut db, "PUBSUB NUMSUB news none news"),
        "*6|$4|news|:1|$4|none|:0|$4|news|:1|"
    );
    db.run("PUBSUB NUMPAT").int(1);
    db.run("PUBSUB SHARDCHANNELS").is("*1\r\n$5\r\nshard\r\n");
    assert_eq!(text(&mut db, "PUBSUB SHARDNUMSUB shard"), "*2|$5|shard|:1|");
    db.run("PUBSUB CHANNELS a b").error(
        "ERR unknown subcommand or wrong number of arguments for 'CHANNELS'. Try PUBSUB HELP.",
    );
    db.run("PUBSUB NUMPAT x")
        .error("ERR wrong number of arguments for 'pubsub|numpat' command");
    db.run("PUBSUB NOSUCH")
        .error("ERR unknown subcommand 'NOSUCH'. Try PUBSUB HELP.");
    let list = text(&mut db, "CLIENT LIST TYPE pubsub");
    assert!(
        list.contains(" flags=P ") && list.contains(" sub=2 psub=1 ssub=1 "),
        "{list}"
    );
    let info = text(&mut db, "INFO stats");
    assert!(info.contains("pubsub_channels:2|pubsub_patterns:1|pubsubshard_channels:1|"));
    assert!(text(&mut db, "INFO clients").contains("pubsub_clients:1|"));
    db.run("CLIENT KILL TYPE pubsub").int(1);
});

/// A client that reads nothing takes no more memory than its limit, and costs nobody else anything.
#[test]
fn a_subscriber_that_reads_nothing_is_closed() {
    let mut db = Db::new();
    db.run_args(&[
        b"CONFIG",
        b"SET",
        b"client-output-buffer-limit",
        b"pubsub 100000 0 0",
    ])
    .ok();
    db.run("SUBSCRIBE c").bytes();
    let slow = db.server().clients.all().remove(0);
    db.switch(1);
    let long = "x".repeat(30_000);
    for _ in 0..5 {
        db.run(&format!("PUBLISH c {long}")).int(1);
        db.switch(2);
        db.run("PING").simple("PONG");
        db.server()
            .hand_out_messages(crate::keyspace::ThreadSlot(0));
        db.switch(1);
    }
    assert!(slow.is_killed());
    let stats = text(&mut db, "INFO stats");
    assert!(
        stats.contains("client_output_buffer_limit_disconnections:1|"),
        "{stats}"
    );
}
