use crate::testing::script;

script!(entries_are_added_read_deleted_and_trimmed, |db| {
    db.run("XADD s 1-1 a 1 b 2").bulk("1-1");
    db.run("XADD s 1-* a 3").bulk("1-2");
    db.run("XADD s 5 a 4").bulk("5-0");
    db.run("XLEN s").int(3);
    db.run("XRANGE s - + COUNT 1")
        .is("*1\r\n*2\r\n$3\r\n1-1\r\n*4\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$1\r\n2\r\n");
    db.run("XREVRANGE s + (1-2")
        .is("*1\r\n*2\r\n$3\r\n5-0\r\n*2\r\n$1\r\na\r\n$1\r\n4\r\n");
    db.run("XADD s 5-0 a 1")
        .error("ERR The ID specified in XADD is equal or smaller than the target stream top item");
    db.run("XADD s 0-0 a 1")
        .error("ERR The ID specified in XADD must be greater than 0-0");
    db.run("XADD s x a 1")
        .error("ERR Invalid stream ID specified as stream command argument");
    db.run("XADD none NOMKSTREAM * a 1").nil();
    db.run("XDEL s 1-2 9-9").int(1);
    db.run("XADD s MAXLEN 1 6 a 5").bulk("6-0");
    db.run("XLEN s").int(1);
    db.run("XTRIM s MINID 7").int(1);
    db.run("EXISTS s").int(1);
    db.run("TYPE s").is("+stream\r\n");
    db.run("OBJECT ENCODING s").bulk("stream");
    db.run("XADD s 6-0 a 1")
        .error("ERR The ID specified in XADD is equal or smaller than the target stream top item");
    db.run("COPY s t").int(1);
    db.run("XADD t 9-9 a 1").bulk("9-9");
    db.run("XLEN t").int(1);
    db.run("XLEN s").int(0);
    db.run("XSETID s 100-5").ok();
    db.run("XADD s 100-* a 1").bulk("100-6");
});

script!(a_group_shares_entries, |db| {
    db.run("XGROUP CREATE s g $ MKSTREAM").ok();
    db.run("XGROUP CREATE s g $")
        .error("BUSYGROUP Consumer Group name already exists");
    for id in 1..=4 {
        db.run(&format!("XADD s {id} n {id}"))
            .bulk(format!("{id}-0"));
    }
    db.run("XREADGROUP GROUP g ann COUNT 1 STREAMS s >")
        .is("*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n1-0\r\n*2\r\n$1\r\nn\r\n$1\r\n1\r\n");
    let bobs = db.run("XREADGROUP GROUP g bob COUNT 2 STREAMS s >");
    assert!(bobs.bytes().starts_with(b"*1\r\n*2\r\n$1\r\ns\r\n*2\r\n"));
    db.run("XPENDING s g").is(
        "*4\r\n:3\r\n$3\r\n1-0\r\n$3\r\n3-0\r\n*2\r\n*2\r\n$3\r\nann\r\n$1\r\n1\r\n*2\r\n$3\r\nbob\r\n$1\r\n2\r\n",
    );
    db.run("XACK s g 2 9").int(1);
    db.advance(50);
    db.run("XPENDING s g - + 10 bob")
        .is("*1\r\n*4\r\n$3\r\n3-0\r\n$3\r\nbob\r\n:50\r\n:1\r\n");
    db.run("XCLAIM s g ann 10 3 JUSTID").bulks(&["3-0"]);
    db.run("XREADGROUP GROUP g ann STREAMS s 0").is(
        "*1\r\n*2\r\n$1\r\ns\r\n*2\r\n*2\r\n$3\r\n1-0\r\n*2\r\n$1\r\nn\r\n$1\r\n1\r\n*2\r\n$3\r\n3-0\r\n*2\r\n$1\r\nn\r\n$1\r\n3\r\n",
    );
    db.run("XDEL s 3").int(1);
    db.advance(50);
    db.run("XAUTOCLAIM s g bob 0 0").is(
        "*3\r\n$3\r\n0-0\r\n*1\r\n*2\r\n$3\r\n1-0\r\n*2\r\n$1\r\nn\r\n$1\r\n1\r\n*1\r\n$3\r\n3-0\r\n",
    );
    db.run("XGROUP DELCONSUMER s g bob").int(1);
    db.run("XGROUP CREATECONSUMER s g bob").int(1);
    db.run("XGROUP SETID s g 0 ENTRIESREAD 0").ok();
    db.run("XREADGROUP GROUP none ann STREAMS s >")
        .error("NOGROUP No such key 's' or consumer group 'none' in XREADGROUP with GROUP option");
    db.run("XGROUP DESTROY s g").int(1);
    db.run("XGROUP DESTROY s g").int(0);
});

script!(a_stream_that_was_dumped_is_restored, |db| {
    db.run("CONFIG SET stream-node-max-entries 3").ok();
    for id in 1..=8 {
        db.run(&format!("XADD s {id} n {id} text some"))
            .bulk(format!("{id}-0"));
    }
    db.run("XDEL s 2 8").int(2);
    db.run("XGROUP CREATE s g 0").ok();
    let given = db.run("XREADGROUP GROUP g ann COUNT 2 STREAMS s >");
    assert!(given.bytes().starts_with(b"*1\r\n*2\r\n$1\r\ns\r\n*2\r\n"));
    let info = db.run("XINFO STREAM s FULL").bytes().to_vec();
    let payload = db.run("DUMP s").bulk_bytes();
    db.run("DEL s").int(1);
    db.run_args(&[b"RESTORE", b"s", b"0", &payload]).ok();
    assert_eq!(db.run("XINFO STREAM s FULL").bytes(), info);
    assert_eq!(db.run("DUMP s").bulk_bytes(), payload);
});

script!(another_type_is_refused, |db| {
    const WRONG: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
    db.run("SET k text").ok();
    db.run("XADD s 1 a 1").bulk("1-0");
    for command in [
        "XADD k 1 a 1",
        "XLEN k",
        "XRANGE k - +",
        "XREAD STREAMS k 0",
        "XGROUP CREATE k g 0",
        "XINFO STREAM k",
        "GET s",
        "LPUSH s a",
        "ZADD s 1 a",
    ] {
        db.run(command).error(WRONG);
    }
});

script!(names_may_be_words_of_the_command, |db| {
    db.run("XGROUP CREATE k streams 0 MKSTREAM").ok();
    db.run("XADD k 1-1 a 1").bulk("1-1");
    db.run("XREADGROUP COUNT 1 GROUP streams c STREAMS k >")
        .is("*1\r\n*2\r\n$1\r\nk\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n");
    db.run("XREADGROUP NOACK GROUP streams streams STREAMS k >")
        .is("*-1\r\n");
    db.run("XREAD STREAMS streams k 0 5").is("*-1\r\n");
    db.run("XREADGROUP COUNT 1 GROUP streams STREAMS STREAMS STREAMS >")
        .error("NOGROUP No such key 'STREAMS' or consumer group 'streams' in XREADGROUP with GROUP option");
});

script!(the_last_id_cannot_lie_before_a_deleted_one, |db| {
    db.run("XADD s 6-1 a 1").bulk("6-1");
    db.run("XADD s 7-1 a 1").bulk("7-1");
    db.run("XDEL s 7-1").int(1);
    db.run("XSETID s 6-5")
        .error("ERR The ID specified in XSETID is smaller than current max_deleted_entry_id");
    db.run("XSETID s 7-1").ok();
    db.run("XADD s 7-2 a 1").bulk("7-2");
});

script!(minid_takes_no_ends_and_setid_takes_them, |db| {
    const INVALID: &str = "ERR Invalid stream ID specified as stream command argument";
    db.run("XADD s 1-1 a 1").bulk("1-1");
    for end in ["-", "+"] {
        db.run(&format!("XTRIM s MINID {end}")).error(INVALID);
        db.run(&format!("XTRIM s MINID ~ {end}")).error(INVALID);
        db.run(&format!("XADD s MINID {end} * a 1")).error(INVALID);
        db.run(&format!("XGROUP CREATE s g {end}")).error(INVALID);
    }
    db.run("XLEN s").int(1);
    db.run("XGROUP CREATE s g 0").ok();
    db.run("XGROUP SETID s g +").ok();
    db.run("XREADGROUP GROUP g c STREAMS s >").is("*-1\r\n");
    db.run("XGROUP SETID s g -").ok();
    let read = db.run("XREADGROUP GROUP g c STREAMS s >");
    assert!(read.bytes().starts_with(b"*1\r\n*2\r\n$1\r\ns\r\n"));
});

script!(xread_knows_the_last_entry, |db| {
    db.run("XREAD STREAMS s +").is("*-1\r\n");
    db.run("XADD s 1-1 a 1").bulk("1-1");
    db.run("XADD s 2-1 b 2").bulk("2-1");
    let last = "*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n2-1\r\n*2\r\n$1\r\nb\r\n$1\r\n2\r\n";
    db.run("XREAD STREAMS s +").is(last);
    db.run("XREAD COUNT 5 STREAMS s +").is(last);
    db.run("XADD s 3-1 c 3").bulk("3-1");
    db.run("XDEL s 3-1").int(1);
    // The last one that is there.
    db.run("XREAD STREAMS s +").is(last);
    db.run("XTRIM s MAXLEN 0").int(2);
    db.run("XREAD STREAMS s +").is("*-1\r\n");
    db.run("XGROUP CREATE s g 0").ok();
    let refused = db.run("XREADGROUP GROUP g c STREAMS s +");
    assert!(refused.bytes().starts_with(b"-ERR The + ID is meaningless"));
    db.run("XREAD STREAMS s s +").error(
        "ERR Unbalanced 'xread' list of streams: for each stream key an ID, '+', or '$' must be specified.",
    );
});

script!(consumers_are_known_when_they_first_ask, |db| {
    db.run("XADD s 1-1 a 1").bulk("1-1");
    db.run("XGROUP CREATE s g $").ok();
    db.run("XREADGROUP GROUP g reader STREAMS s >")
        .is("*-1\r\n");
    db.run("XCLAIM s g claimer 0 1-1").is("*0\r\n");
    db.run("XAUTOCLAIM s g auto 0 0")
        .is("*3\r\n$3\r\n0-0\r\n*0\r\n*0\r\n");
    db.advance(50);
    let consumer = |name: &str| {
        let len = name.len();
        format!(
            "*8\r\n$4\r\nname\r\n${len}\r\n{name}\r\n$7\r\npending\r\n:0\r\n$4\r\nidle\r\n:50\r\n$8\r\ninactive\r\n:-1\r\n"
        )
    };
    db.run("XINFO CONSUMERS s g").is(format!(
        "*3\r\n{}{}{}",
        consumer("auto"),
        consumer("claimer"),
        consumer("reader")
    ));
});

script!(no_group_has_read_more_than_there_was, |db| {
    db.run("XADD s 1-1 a 1").bulk("1-1");
    db.run("XADD s 2-1 a 1").bulk("2-1");
    db.run("XGROUP CREATE s g 1-1 ENTRIESREAD 50").ok();
    let told = |read: i64, lag: i64| {
        format!(
            "*1\r\n*12\r\n$4\r\nname\r\n$1\r\ng\r\n$9\r\nconsumers\r\n:0\r\n$7\r\npending\r\n:0\r\n$17\r\nlast-delivered-id\r\n\
             $3\r\n1-1\r\n$12\r\nentries-read\r\n:{read}\r\n$3\r\nlag\r\n:{lag}\r\n"
        )
    };
    db.run("XINFO GROUPS s").is(told(2, 0));
    db.run("XGROUP SETID s g 1-1 ENTRIESREAD 1").ok();
    db.run("XINFO GROUPS s").is(told(1, 1));
    db.run("XTRIM s MAXLEN 0").int(2);
    db.run("XINFO GROUPS s").is(told(1, 0));
});
