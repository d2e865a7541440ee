use crate::testing::script;

const WRONG: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";

script!(members_have_scores_and_ranks, |db| {
    db.run("ZADD z 1 a 2 b 3 c 1.5 a").int(3);
    db.run("ZSCORE z a").bulk("1.5");
    db.run("ZSCORE z none").nil();
    db.run("ZMSCORE z a x c")
        .is("*3\r\n$3\r\n1.5\r\n$-1\r\n$1\r\n3\r\n");
    db.run("ZCARD z").int(3);
    db.run("ZRANK z b").int(1);
    db.run("ZREVRANK z c").int(0);
    db.run("ZRANK z x").nil();
    db.run("ZINCRBY z 5 a").bulk("6.5");
    db.run("ZRANGE z 0 -1").bulks(&["b", "c", "a"]);
    db.run("TYPE z").is("+zset\r\n");
    db.run("OBJECT ENCODING z").bulk("listpack");
    db.run("ZREM z a b x").int(2);
    db.run("ZREM z c").int(1);
    db.run("EXISTS z").int(0);
    db.resp3();
    db.run("ZADD z 1 a").int(1);
    db.run("ZSCORE z a").is(",1\r\n");
    db.run("ZRANGE z 0 -1 WITHSCORES")
        .is("*1\r\n*2\r\n$1\r\na\r\n,1\r\n");
    db.run("ZPOPMIN z").is("*2\r\n$1\r\na\r\n,1\r\n");
});

script!(zadd_keeps_to_its_options, |db| {
    db.run("ZADD z XX 1 a").int(0);
    db.run("EXISTS z").int(0);
    db.run("ZADD z NX 1 a 2 b").int(2);
    db.run("ZADD z NX 9 a 3 c").int(1);
    db.run("ZADD z CH XX 9 a 9 x").int(1);
    db.run("ZADD z GT CH 5 a 10 b").int(1);
    db.run("ZADD z LT CH 5 a 11 b").int(1);
    db.run("ZADD z INCR 2 a").bulk("7");
    db.run("ZADD z NX INCR 2 a").nil();
    db.run("ZADD z XX INCR 2 x").nil();
    db.run("ZADD z GT INCR -2 a").nil();
    db.run("ZADD z NX XX 1 a")
        .error("ERR XX and NX options at the same time are not compatible");
    db.run("ZADD z NX GT 1 a")
        .error("ERR GT, LT, and/or NX options at the same time are not compatible");
    db.run("ZADD z INCR 1 a 2 b")
        .error("ERR INCR option supports a single increment-element pair");
    db.run("ZADD z 1 a 2").error("ERR syntax error");
    db.run("ZADD z 1 a x b")
        .error("ERR value is not a valid float");
    db.run("ZADD z inf a").int(0);
    db.run("ZINCRBY z -inf a")
        .error("ERR resulting score is not a number (NaN)");
    db.run("ZSCORE z a").bulk("inf");
});

script!(a_sorted_set_that_grows_becomes_a_skiplist, |db| {
    db.run("CONFIG SET zset-max-listpack-entries 4").ok();
    for i in 0..5 {
        db.run(&format!("ZADD z {i} m{i}")).int(1);
        let encoding = if i < 4 { "listpack" } else { "skiplist" };
        db.run("OBJECT ENCODING z").bulk(encoding);
    }
    db.run("COPY z copy").int(1);
    db.run("ZREMRANGEBYRANK z 0 2").int(3);
    db.run("ZRANGE z 0 -1 WITHSCORES")
        .bulks(&["m3", "3", "m4", "4"]);
    db.run("ZREMRANGEBYSCORE z -inf +inf").int(2);
    db.run("EXISTS z").int(0);
    db.run("ZPOPMAX copy 2").bulks(&["m4", "4", "m3", "3"]);
    db.run("ZPOPMIN copy").bulks(&["m0", "0"]);
    db.run("ZCARD copy").int(2);
    let long = "x".repeat(65);
    db.run(&format!("ZADD long 1 {long}")).int(1);
    db.run("OBJECT ENCODING long").bulk("skiplist");
});

script!(ranges_are_of_ranks_scores_and_names, |db| {
    db.run("ZADD z 1 a 2 b 3 c 4 d 5 e").int(5);
    db.run("ZRANGE z 1 -2").bulks(&["b", "c", "d"]);
    db.run("ZRANGE z 0 1 REV").bulks(&["e", "d"]);
    db.run("ZREVRANGE z 3 9").bulks(&["b", "a"]);
    db.run("ZRANGE z (1 3 BYSCORE").bulks(&["b", "c"]);
    db.run("ZRANGE z +inf 3 BYSCORE REV LIMIT 1 1")
        .bulks(&["d"]);
    db.run("ZRANGEBYSCORE z -inf 2 WITHSCORES")
        .bulks(&["a", "1", "b", "2"]);
    db.run("ZREVRANGEBYSCORE z 3 (1").bulks(&["c", "b"]);
    db.run("ZRANGEBYSCORE z 1 5 LIMIT 3 -1").bulks(&["d", "e"]);
    db.run("ZRANGEBYSCORE z 1 5 LIMIT -1 2").is("*0\r\n");
    db.run("ZCOUNT z (1 4").int(3);
    db.run("ZADD n 0 a 0 b 0 c 0 d").int(4);
    db.run("ZRANGEBYLEX n - (c").bulks(&["a", "b"]);
    db.run("ZREVRANGEBYLEX n + [b LIMIT 0 2").bulks(&["d", "c"]);
    db.run("ZLEXCOUNT n [b +").int(3);
    db.run("ZRANGESTORE to z 2 -1").int(3);
    db.run("ZRANGE to 0 -1").bulks(&["c", "d", "e"]);
    db.run("ZRANGESTORE to z 9 10").int(0);
    db.run("EXISTS to").int(0);
    db.run("ZREMRANGEBYLEX n (a [c").int(2);
    db.run("ZRANGE n 0 -1").bulks(&["a", "d"]);
    db.run("ZRANGE z a b")
        .error("ERR value is not an integer or out of range");
    db.run("ZRANGE z a b BYSCORE")
        .error("ERR min or max is not a float");
    db.run("ZRANGE z a b BYLEX")
        .error("ERR min or max not valid string range item");
    db.run("ZRANGE z 0 1 LIMIT 0 1").error(
        "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
    );
    db.run("ZRANGE z - + BYLEX WITHSCORES")
        .error("ERR syntax error, WITHSCORES not supported in combination with BYLEX");
});

script!(sorted_sets_are_combined, |db| {
    db.run("ZADD a 1 x 2 y 3 z").int(3);
    db.run("ZADD b 10 y 20 z 30 w").int(3);
    db.run("SADD s y").int(1);
    db.run("ZUNION 2 a b WITHSCORES")
        .bulks(&["x", "1", "y", "12", "z", "23", "w", "30"]);
    db.run("ZINTER 2 a b WEIGHTS 2 1 AGGREGATE MAX WITHSCORES")
        .bulks(&["y", "10", "z", "20"]);
    db.run("ZDIFF 2 a b WITHSCORES").bulks(&["x", "1"]);
    db.run("ZINTER 3 a b s").bulks(&["y"]);
    db.run("ZINTERCARD 2 a b LIMIT 1").int(1);
    db.run("ZUNIONSTORE a 2 a s AGGREGATE MIN").int(3);
    db.run("ZRANGE a 0 -1 WITHSCORES")
        .bulks(&["x", "1", "y", "1", "z", "3"]);
    db.run("ZINTERSTORE a 2 a none").int(0);
    db.run("EXISTS a").int(0);
    db.run("ZUNION 0 a")
        .error("ERR at least 1 input key is needed for 'zunion' command");
    db.run("ZUNION 2 a").error("ERR syntax error");
    db.run("ZUNION 1 b WEIGHTS x")
        .error("ERR weight value is not a float");
    db.run("ZINTERCARD 1 b LIMIT -1")
        .error("ERR LIMIT can't be negative");
});

script!(members_are_popped_from_the_first_key_that_has_any, |db| {
    db.run("ZMPOP 2 a b MIN").is("*-1\r\n");
    db.run("ZADD b 1 x 2 y 3 z").int(3);
    db.run("ZMPOP 2 a b MAX COUNT 2")
        .is("*2\r\n$1\r\nb\r\n*2\r\n*2\r\n$1\r\nz\r\n$1\r\n3\r\n*2\r\n$1\r\ny\r\n$1\r\n2\r\n");
    db.run("ZMPOP 0 a MIN")
        .error("ERR numkeys should be greater than 0");
    db.run("ZMPOP 1 b MIN COUNT 0")
        .error("ERR count should be greater than 0");
    db.run("ZPOPMIN b -1")
        .error("ERR value is out of range, must be positive");
    db.run("ZPOPMIN none 3").is("*0\r\n");
    db.run("ZPOPMIN b 0").is("*0\r\n");
    db.run("ZRANDMEMBER b").bulk("x");
    db.run("ZRANDMEMBER b -2 WITHSCORES")
        .bulks(&["x", "1", "x", "1"]);
    db.run("ZSCAN b 0")
        .is("*2\r\n$1\r\n0\r\n*2\r\n$1\r\nx\r\n$1\r\n1\r\n");
});

script!(another_type_is_refused, |db| {
    db.run("SET s text").ok();
    db.run("ZADD z 1 a").int(1);
    for command in [
        "ZADD s 1 a",
        "ZSCORE s a",
        "ZRANGE s 0 1",
        "ZUNION 2 z s",
        "ZPOPMIN s",
        "ZMPOP 1 s MIN",
        "GET z",
        "SADD z a",
        "HSET z a 1",
    ] {
        db.run(command).error(WRONG);
    }
});

script!(ranks_come_with_their_scores, |db| {
    db.run("ZADD z 1 a 2.5 b 3 c").int(3);
    db.run("ZRANK z b WITHSCORE")
        .is("*2\r\n:1\r\n$3\r\n2.5\r\n");
    db.run("ZREVRANK z a withscore")
        .is("*2\r\n:2\r\n$1\r\n1\r\n");
    db.run("ZRANK z x WITHSCORE").is("*-1\r\n");
    db.run("ZRANK none x WITHSCORE").is("*-1\r\n");
    db.run("ZRANK z b WITHSCORES").error("ERR syntax error");
    db.run("ZREVRANK z b WITHSCORE x")
        .error("ERR wrong number of arguments for 'zrevrank' command");
    db.resp3();
    db.run("ZRANK z b WITHSCORE").is("*2\r\n:1\r\n,2.5\r\n");
    db.run("ZRANK z x WITHSCORE").is("_\r\n");
});

script!(zscan_may_leave_the_scores_out, |db| {
    db.run("ZADD z 1 a 2 b 3 ab").int(3);
    let names = "*2\r\n$1\r\n0\r\n*2\r\n$1\r\na\r\n$2\r\nab\r\n";
    db.run("ZSCAN z 0 NOSCORES MATCH a*").is(names);
    db.run("ZSCAN z 0 match a* count 100 noscores").is(names);
    db.run("ZSCAN z 0 MATCH b")
        .is("*2\r\n$1\r\n0\r\n*2\r\n$1\r\nb\r\n$1\r\n2\r\n");
    db.run("ZSCAN none 0 NOSCORES")
        .is("*2\r\n$1\r\n0\r\n*0\r\n");
    db.run("HSET h a 1").int(1);
    db.run("SADD s a").int(1);
    for line in [
        "HSCAN h 0 NOSCORES",
        "SSCAN s 0 NOSCORES",
        "SCAN 0 NOSCORES",
    ] {
        db.run(line)
            .error("ERR NOSCORES option can only be used in ZSCAN");
    }
    db.run("ZSCAN z 0 NOVALUES")
        .error("ERR NOVALUES option can only be used in HSCAN");
    // A large one too.
    for i in 0..200 {
        db.run(&format!("ZADD large {i} member{i:03}")).int(1);
    }
    let (mut cursor, mut members) = ("0".to_owned(), Vec::new());
    loop {
        let answer = db.run(&format!("ZSCAN large {cursor} NOSCORES"));
        let text = String::from_utf8_lossy(answer.bytes()).into_owned();
        let mut words = text
            .split("\r\n")
            .filter(|word| !word.starts_with(['*', '$']) && !word.is_empty());
        cursor = words.next().expect("a cursor").to_owned();
        members.extend(words.map(str::to_owned));
        if cursor == "0" {
            break;
        }
    }
    members.sort();
    members.dedup();
    assert_eq!(members.len(), 200);
    assert!(members.iter().all(|member| member.starts_with("member")));
    db.resp3();
    db.run("ZSCAN z 0 NOSCORES MATCH b")
        .is("*2\r\n$1\r\n0\r\n*1\r\n$1\r\nb\r\n");
});
