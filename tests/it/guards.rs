//! Limits in time on what a client does with a server: it is told in PostgreSQL's words, nothing of it stays, and nobody
//! else notices but those who had to wait.

use std::time::{Duration, Instant};

use greenroom::config::Timeouts;

use crate::harness::frames::{bind, copy_data, copy_done, execute, flush, parse, query};
use crate::harness::{Client, Greenroom, RawClient, Reply, Room, Stage, codes, eventually, rows, tags};

/// A greenroom with one server and this limit, in milliseconds.
async fn room(limit: &str, millis: u64) -> Room {
    Greenroom::start().servers(1).auth("trust").set(&format!("greenroom.timeouts.{limit}"), millis).await
}

/// Severity, SQLSTATE and message of the last thing that was said.
fn told(replies: &[Reply]) -> [String; 3] {
    let last = replies.last().unwrap_or_else(|| panic!("nothing was said"));
    [b'V', b'C', b'M'].map(|code| last.field(code).unwrap_or_default())
}

/// The process that serves the client's transaction.
async fn pid(client: &mut RawClient) -> String {
    rows(&client.run("select pg_backend_pid() + 0").await).remove(0)
}

/// Expects that the process ends, and that the next client has the only place and finds nothing of the one before.
async fn is_over(room: &Room, pid: &str, next: &Client) {
    assert_eq!(next.value("select count(*) from item").await, "0");
    let alive = format!("select count(*) from pg_stat_activity where pid = {pid}");
    eventually("its server ends", async || room.stage().sql(&alive).await == ["0"]).await;
    let metrics = room.metrics().await;
    assert_eq!(metrics.sum("greenroom_leases", &[]), 0.0);
    assert_eq!(metrics.sum("greenroom_server_connections", &[]), 1.0, "the next client's");
}

#[test]
fn five_minutes_without_a_word_are_the_most_in_a_transaction() {
    let limits = Timeouts::default();
    assert_eq!((limits.idle_in_transaction, limits.transaction), (Some(Duration::from_secs(300)), None));
    assert_eq!(
        (limits.idle_client, limits.pin_idle),
        (None, None),
        "who is in none may rest, with a server or without"
    );
}

#[tokio::test]
async fn a_client_that_leaves_its_transaction_open_is_told_as_postgresql_would() {
    let stage = Stage::shared().await;
    let mut direct = RawClient::log_in(&stage.address(), &stage.startup(&stage.database)).await;
    direct.run("set idle_in_transaction_session_timeout to '100ms'").await;
    direct.run("begin").await;
    let said_by_postgresql = told(&direct.until_closed().await);
    assert_eq!(said_by_postgresql[1], "25P03");

    let room = room("idleInTransactionMillis", 300).await;
    let next = room.client("catalog").await;
    next.run("create table item (id int)").await;
    for open in [
        vec![query("insert into item values (1)")],
        vec![query("insert into item values (1)"), query("select 1/0")],
        vec![query("insert into item values (1)"), query("create temp table t (id int)")],
        // In the middle of a batch that nothing ends.
        vec![parse("", "insert into item values (1)"), bind("", "", &[]), execute("", 0), flush()],
    ] {
        let mut client = room.raw("catalog").await;
        client.run("begin").await;
        let server = pid(&mut client).await;
        let began = Instant::now();
        client.send(&open).await;
        let replies = client.until_closed().await;
        assert_eq!(told(&replies), said_by_postgresql, "{open:?}");
        let hint = replies.last().and_then(|last| last.field(b'H')).unwrap_or_default();
        assert!(hint.contains("greenroom.timeouts.idleInTransactionMillis"), "{hint}");
        assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
        is_over(&room, &server, &next).await;
    }
}

#[tokio::test]
async fn a_transaction_that_does_something_is_not_idle() {
    let room = Greenroom::start().servers(2).set("greenroom.timeouts.idleInTransactionMillis", 800).await;
    let mut client = room.raw("catalog").await;
    client.run("create table item (id int)").await;
    client.run("begin").await;
    assert_eq!(rows(&client.run("select 'slow' from pg_sleep(1.2)").await), ["slow"]);
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        client.run("insert into item values (1)").await;
    }
    // What is copied comes when it comes, as it does to PostgreSQL.
    client.send(&[query("copy item from stdin")]).await;
    client.until(b'G', 1).await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    client.send(&[copy_data("2\n"), copy_done()]).await;
    client.until(b'Z', 1).await;
    client.run("commit").await;
    // Nor is a client without a transaction.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(rows(&client.run("select count(*) from item").await), ["11"]);
}

#[tokio::test]
async fn a_transaction_that_takes_too_long_ends_with_its_statement() {
    let room = room("transactionMillis", 400).await;
    let next = room.client("catalog").await;
    next.run("create table item (id int)").await;
    for statements in [
        // Busy all the time, waiting for the client all the time, and in the middle of a COPY.
        vec![query("insert into item values (1)"), query("select pg_sleep(60)")],
        vec![query("insert into item values (1)")],
        vec![query("copy item from stdin"), copy_data("1\n")],
    ] {
        let mut client = room.raw("catalog").await;
        client.run("begin").await;
        let server = pid(&mut client).await;
        client.send(&statements).await;
        let began = Instant::now();
        let replies = client.until_closed().await;
        let words = "terminating connection due to transaction timeout";
        assert_eq!(told(&replies), ["FATAL", "25P04", words], "{statements:?}");
        // A statement of a minute does not keep the place for that long.
        is_over(&room, &server, &next).await;
        assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    }
    // A statement of its own is a transaction as well.
    let mut client = room.raw("catalog").await;
    client.send(&[query("select pg_sleep(60)")]).await;
    assert_eq!(codes(&client.until_closed().await), ["25P04"]);
}

#[tokio::test]
async fn the_time_in_the_queue_is_no_time_in_a_transaction() {
    let room = room("transactionMillis", 1000).await;
    let (mut holder, mut waiter) = (room.raw("catalog").await, room.raw("catalog").await);
    for _ in 0..2 {
        holder.run("begin").await;
        waiter.send(&[query("begin; select pg_sleep(0.6)")]).await;
        tokio::time::sleep(Duration::from_millis(600)).await;
        holder.run("commit").await;
        assert_eq!(tags(&waiter.until(b'Z', 1).await), "CTDCZ");
        waiter.run("commit").await;
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_loses_its_server_and_nobody_else_anything() {
    let room = Greenroom::start().servers(2).auth("trust").set("greenroom.timeouts.clientWriteMillis", 300).await;
    let (next, mut neighbour) = (room.client("catalog").await, room.raw("catalog").await);
    next.run("create table item (id int)").await;
    neighbour.run("begin").await;
    let mut stuck = room.raw("catalog").await;
    stuck.run("begin").await;
    stuck.run("insert into item values (1)").await;
    let server = pid(&mut stuck).await;
    stuck.send(&[query("select repeat('x', 1000000) from generate_series(1, 200)")]).await;
    // With the neighbour's there is no other place.
    assert_eq!(next.value("select count(*) from item").await, "0");
    let alive = format!("select count(*) from pg_stat_activity where pid = {server}");
    eventually("its server ends", async || room.stage().sql(&alive).await == ["0"]).await;
    neighbour.run("commit").await;
    // Whoever reads slowly reads all the same.
    let mut slow = room.raw("catalog").await;
    slow.send(&[query("select repeat('x', 1000000) from generate_series(1, 30)")]).await;
    slow.until(b'T', 1).await;
    for _ in 0..30 {
        tokio::time::sleep(Duration::from_millis(25)).await;
        let (tag, len) = slow.header().await;
        assert_eq!(tag, b'D');
        slow.skip(len).await;
    }
    assert_eq!(slow.until(b'Z', 1).await.len(), 2);
}

#[tokio::test]
async fn a_client_that_rests_for_too_long_is_told_as_postgresql_would() {
    let stage = Stage::shared().await;
    let mut direct = RawClient::log_in(&stage.address(), &stage.startup(&stage.database)).await;
    direct.run("set idle_session_timeout to '100ms'").await;
    let said_by_postgresql = told(&direct.until_closed().await);
    assert_eq!(said_by_postgresql[1], "57P05");

    let idle = room("idleClientMillis", 300).await;
    let mut client = idle.raw("catalog").await;
    client.run("select 1").await;
    assert_eq!(told(&client.until_closed().await), said_by_postgresql);

    let pinned = room("pinIdleMillis", 300).await;
    let (mut free, mut client) = (pinned.raw("catalog").await, pinned.raw("catalog").await);
    client.run("create temp table t (id int)").await;
    let replies = client.until_closed().await;
    assert_eq!(told(&replies), said_by_postgresql);
    let detail = replies.last().and_then(|last| last.field(b'D')).unwrap_or_default();
    assert!(detail.contains("temporary_table"), "{detail}");
    // Its server is free, and who keeps none may rest.
    assert_eq!(rows(&free.run("select 1").await), ["1"]);
}
