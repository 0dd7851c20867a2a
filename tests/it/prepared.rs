//! Prepared statements of the protocol that have names: each client's own, by its own names, seen by nobody else.

use std::time::Duration;

use crate::harness::frames::{bind, close_statement, describe_statement, execute, parse, query, sync};
use crate::harness::{FakeServer, Frame, Greenroom, codes, rows, tags};

fn run(name: &str, parameter: &str) -> [Frame; 3] {
    [bind("", name, &[Some(parameter)]), execute("", 0), sync()]
}

#[tokio::test]
async fn a_statement_that_the_server_has_costs_one_write_and_no_question() {
    let server = FakeServer::usual().await;
    let room = Greenroom::start().auth("trust").servers(1).behind(&server).await;
    let mut client = room.raw("catalog").await;
    client.ask(&[parse("s1", "select $1"), sync()]).await;
    for _ in 0..5 {
        let (reads, writes) = server.reads_and_writes();
        assert_eq!(tags(&client.ask(&run("s1", "again")).await), "2DCZ");
        assert_eq!(server.reads_and_writes(), (reads + 1, writes + 1));
    }
}

#[tokio::test]
async fn a_name_of_a_servers_own_is_nobodys_to_use() {
    let room = Greenroom::start().auth("trust").servers(3).await;
    let mut owner = room.raw("catalog").await;
    owner.ask(&[parse("s1", "select 'secret ' || $1"), sync()]).await;
    let mut thief = room.raw("catalog").await;
    for number in 0..8 {
        let name = format!("greenroom:{number:08x}");
        assert_eq!(codes(&thief.ask(&run(&name, "x")).await), ["26000"], "{name}");
        assert_eq!(codes(&thief.ask(&[describe_statement(&name), sync()]).await), ["26000"], "{name}");
        assert_eq!(tags(&thief.ask(&[close_statement(&name), sync()]).await), "3Z", "{name}");
    }
    assert_eq!(rows(&owner.ask(&run("s1", "kept")).await), ["secret kept"]);
    for sql in ["select count(*) from pg_prepared_statements", "begin", "select name from pg_prepared_statements"] {
        assert!(!rows(&thief.query(sql).await).iter().any(|row| row.contains("greenroom")), "{sql}");
    }
}

#[tokio::test]
async fn a_client_sees_its_own_statements_by_its_own_names_and_no_others() {
    const NAMES: &str = "select name from pg_prepared_statements order by name";
    let room = Greenroom::start().auth("trust").servers(2).await;
    let mut stranger = room.raw("catalog").await;
    stranger.ask(&[parse("strangers", "select 'strange'"), sync()]).await;
    for in_transaction in [false, true] {
        let mut client = room.raw("catalog").await;
        client.ask(&[parse("one", "select 1"), parse("two", "select $1"), sync()]).await;
        if in_transaction {
            client.run("begin").await;
        }
        assert_eq!(rows(&client.query(NAMES).await), ["one", "two"], "in a transaction: {in_transaction}");
        assert_eq!(rows(&client.query("execute two('by SQL')").await), ["by SQL"]);
        assert_eq!(rows(&client.ask(&run("two", "by name")).await), ["by name"]);
        client.run("deallocate one").await;
        assert_eq!(codes(&client.ask(&[bind("", "one", &[]), sync()]).await), ["26000"]);
        client.leave().await;
    }
    assert_eq!(rows(&stranger.ask(&[bind("", "strangers", &[]), execute("", 0), sync()]).await), ["strange"]);
}

#[tokio::test]
async fn a_session_with_named_statements_has_a_server_of_its_own() {
    for (what, text) in [
        ("too large", format!("select $1 /* {} */", "x".repeat(400_000))),
        ("a time that is meant when it is parsed", "select $1 || 'now'::timestamptz::text".to_owned()),
    ] {
        let room = Greenroom::start().auth("trust").servers(2).await;
        let mut client = room.raw("catalog").await;
        assert_eq!(tags(&client.ask(&[parse("s1", &text), sync()]).await), "1Z", "{what}");
        let first = rows(&client.ask(&run("s1", "x")).await);
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert_eq!(rows(&client.ask(&run("s1", "x")).await), first, "{what}");
        let reason = ["reason=\"prepared_statement\""];
        assert_eq!(room.metrics().await.sum("greenroom_pins_total", &reason), 1.0, "{what}");
    }
}

/// The hour of a literal in a time zone, as a statement has it that was prepared there.
const HOUR: &str = "select extract(hour from '2026-01-02 12:00'::timestamptz at time zone 'UTC')::int || $1";

#[tokio::test]
async fn a_literal_keeps_the_meaning_that_it_had_when_its_statement_was_prepared() {
    for way in [
        &["set time zone 'Asia/Tokyo'"][..],
        &["begin", "set time zone 'Asia/Tokyo'", "commit"],
        &["select set_config('timezone', 'Asia/Tokyo', false)"],
    ] {
        let room = Greenroom::start().auth("trust").servers(3).await;
        let (mut client, mut other) = (room.raw("catalog").await, room.raw("catalog").await);
        client.run("set time zone 'Europe/Moscow'").await;
        for client in [&mut client, &mut other] {
            assert_eq!(tags(&client.ask(&[parse("s1", HOUR), sync()]).await), "1Z");
        }
        for sql in way {
            client.run(sql).await;
        }
        client.ask(&[parse("s2", HOUR), sync()]).await;
        for _ in 0..2 {
            assert_eq!(rows(&client.ask(&run("s1", "")).await), ["9"], "{way:?}");
            assert_eq!(rows(&client.ask(&run("s2", "")).await), ["3"], "{way:?}");
            assert_eq!(rows(&other.ask(&run("s1", "")).await), ["12"], "{way:?}");
        }
        client.run("discard all").await;
        assert_eq!(codes(&client.ask(&run("s1", "")).await), ["26000"]);
        client.ask(&[parse("s1", HOUR), sync()]).await;
        assert_eq!(rows(&client.ask(&run("s1", "")).await), ["12"], "{way:?}");
    }
}

#[tokio::test]
async fn a_client_that_discards_its_statements_is_free_and_its_server_is_nobody_elses() {
    let room = Greenroom::start().auth("trust").servers(1).await;
    let (mut client, mut other) = (room.raw("catalog").await, room.raw("catalog").await);
    for _ in 0..3 {
        client.ask(&[parse("one", "select $1 || ''"), sync()]).await;
        assert_eq!(rows(&client.query("select name from pg_prepared_statements").await), ["one"]);
        client.run("discard all").await;
        assert_eq!(rows(&other.query("select count(*) from pg_prepared_statements").await), ["0"]);
        assert_eq!(codes(&client.ask(&run("one", "gone")).await), ["26000"]);
    }
    assert_eq!(room.metrics().await.sum("greenroom_pinned_sessions", &[]), 0.0);
}

#[tokio::test]
async fn a_statement_that_waits_in_vain_for_a_server_fails_and_the_next_does_not() {
    let timeout = Duration::from_millis(300);
    let room = Greenroom::start().auth("trust").servers(1).every_pool(|pool| pool.acquire_timeout(timeout)).await;
    let (mut client, mut greedy) = (room.raw("catalog").await, room.raw("catalog").await);
    greedy.run("begin").await;
    for _ in 0..2 {
        let replies = client.ask(&[parse("s1", "select 'own ' || $1"), sync()]).await;
        assert_eq!((tags(&replies).as_str(), codes(&replies)), ("EZ", vec!["53300".to_owned()]));
        assert_eq!(codes(&client.ask(&run("s1", "in vain")).await), ["53300"]);
        assert_eq!(codes(&client.ask(&[query("execute s1('in vain')")]).await), ["53300"]);
    }
    greedy.leave().await;
    assert_eq!(
        tags(&client.ask(&[parse("s1", "select 'own ' || $1"), sync()]).await),
        "1Z",
        "the name was never taken"
    );
    assert_eq!(rows(&client.ask(&run("s1", "again")).await), ["own again"]);
}
