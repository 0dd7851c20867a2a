//! A cancel in the middle of something: a pipeline, a COPY, a transaction, a session that keeps its server.

use std::time::Duration;

use crate::harness::frames::{Frame, bind, copy_data, copy_done, execute, extended, parse, query, sync};
use crate::harness::{Greenroom, RawClient, codes, rows, tags};

use super::sleepers;

const SLEEP: &str = "select pg_sleep(60)";

#[tokio::test]
async fn a_cancel_in_a_pipeline_ends_one_batch_and_no_other() {
    let room = Greenroom::start().servers(1).await;
    let mut client = room.raw("catalog").await;
    let pipeline = [extended("select 'before'", &[]), extended(SLEEP, &[]), extended("select 'behind'", &[])].concat();
    client.send(&pipeline).await;
    sleepers(&room, 1).await;
    RawClient::cancel(room.address(), &client.key()).await;
    let replies = client.until(b'Z', 3).await;
    assert_eq!((rows(&replies), codes(&replies)), (vec!["before".into(), "behind".into()], vec!["57014".into()]));

    let run = |sql: &str| [parse("", sql), bind("", "", &[]), execute("", 0)];
    let batch = [&run("select 'before'")[..], &run(SLEEP), &run("select 'skipped'"), &[sync()]].concat();
    client.send(&[&batch[..], &[query("select 'behind'")]].concat()).await;
    sleepers(&room, 1).await;
    RawClient::cancel(room.address(), &client.key()).await;
    let replies = client.until(b'Z', 2).await;
    assert_eq!((rows(&replies), codes(&replies)), (vec!["before".into(), "behind".into()], vec!["57014".into()]));
}

#[tokio::test]
async fn a_cancel_among_queries_of_one_write_ends_one_of_them() {
    let room = Greenroom::start().servers(1).await;
    let mut client = room.raw("catalog").await;
    client.send(&[query("select 'before'"), query(SLEEP), query("select 'behind'")]).await;
    sleepers(&room, 1).await;
    RawClient::cancel(room.address(), &client.key()).await;
    let replies = client.until(b'Z', 3).await;
    assert_eq!((rows(&replies), codes(&replies)), (vec!["before".into(), "behind".into()], vec!["57014".into()]));
}

#[tokio::test]
async fn a_copy_is_cancelled_in_both_directions() {
    let room = Greenroom::start().servers(1).await;
    let (mut client, mut next) = (room.raw("catalog").await, room.raw("catalog").await);
    client.run("create table item (line text)").await;
    for protocol in ["simple", "extended"] {
        let start = |sql: &str| -> Vec<Frame> {
            match protocol {
                "simple" => vec![query(sql)],
                _ => vec![parse("", sql), bind("", "", &[]), execute("", 0), sync()],
            }
        };
        client.send(&start("copy (select repeat('x', 1000), generate_series(1, 100000000)) to stdout")).await;
        client.until(b'd', 10).await;
        RawClient::cancel(room.address(), &client.key()).await;
        let replies = client.until(b'Z', 1).await;
        assert_eq!(codes(&replies), ["57014"], "COPY TO, {protocol}");
        assert_eq!(tags(&replies).trim_start_matches('d'), "EZ");
        assert_eq!(rows(&next.run("select 'next'").await), ["next"]);

        client.send(&start("copy item from stdin")[..if protocol == "simple" { 1 } else { 3 }]).await;
        client.until(b'G', 1).await;
        client.send(&[copy_data("a line\n")]).await;
        RawClient::cancel(room.address(), &client.key()).await;
        // PostgreSQL looks for it from line to line.
        tokio::time::sleep(Duration::from_millis(100)).await;
        client.send(&[copy_data("another\n")]).await;
        let replies = client.until(b'E', 1).await;
        assert_eq!(codes(&replies), ["57014"], "COPY FROM, {protocol}");
        // A driver may have sent all of it by now.
        client.send(&[copy_data("a third\n"), copy_done()]).await;
        if protocol == "extended" {
            client.send(&[sync()]).await;
        }
        client.until(b'Z', 1).await;
        assert_eq!(rows(&client.run("select count(*) from item").await), ["0"]);
        assert_eq!(rows(&next.run("select 'next'").await), ["next"]);
    }
}

#[tokio::test]
async fn a_transaction_and_a_session_with_state_outlive_a_cancel() {
    let room = Greenroom::start().servers(2).await;
    let mut client = room.raw("catalog").await;
    client.run("set timezone to 'Asia/Tokyo'; create temp table own as select 'own' as word").await;
    client.ask(&[parse("s1", "select word from own"), sync()]).await;
    client.run("begin; savepoint a").await;
    client.send(&[query(SLEEP)]).await;
    sleepers(&room, 1).await;
    RawClient::cancel(room.address(), &client.key()).await;
    let replies = client.until(b'Z', 1).await;
    assert_eq!((codes(&replies), replies.last().map(|last| last.body[0])), (vec!["57014".into()], Some(b'E')));
    client.run("rollback to a; commit").await;
    assert_eq!(rows(&client.ask(&[bind("", "s1", &[]), execute("", 0), sync()]).await), ["own"]);
    assert_eq!(rows(&client.run("show timezone").await), ["Asia/Tokyo"]);
}

#[tokio::test]
async fn a_cancel_between_two_statements_of_a_transaction_changes_nothing() {
    let room = Greenroom::start().servers(1).await;
    let mut client = room.raw("catalog").await;
    client.run("begin").await;
    for _ in 0..5 {
        RawClient::cancel(room.address(), &client.key()).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(rows(&client.run("select 'still there'").await), ["still there"]);
    }
    client.run("commit").await;
}
