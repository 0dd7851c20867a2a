//! Frames that are malformed, cut, or sent ahead of time: what a client gets is always its own.

use std::time::Duration;

use crate::harness::frames::{
    Frame, bind, copy_data, copy_done, describe_portal, describe_statement, execute, parse, query, sync,
};
use crate::harness::{Greenroom, RawClient, Room, codes, rows};

/// Runs the unnamed statement, whosever it is.
fn run_unnamed() -> [Frame; 4] {
    [bind("", "", &[]), describe_portal(""), execute("", 0), sync()]
}

/// A frame of COPY data that ends with a whole Query, cut right before it.
fn data_that_ends_with_a_query(data: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let inner = query("create table stolen ()").bytes();
    let mut start = copy_data([data, &inner].concat()).bytes();
    let tail = start.split_off(start.len() - inner.len());
    assert_eq!(tail, inner);
    (start, tail)
}

async fn assert_nothing_stolen(room: &Room) {
    assert_eq!(room.stage().sql("select count(*) from pg_class where relname = 'stolen'").await, ["0"]);
}

/// Fails the test when one of them gets anything but its own answer.
async fn assert_both_go_on(first: &mut RawClient, next: &mut RawClient) {
    for _ in 0..2 {
        assert_eq!(rows(&next.run("select 'next'").await), ["next"]);
        assert_eq!(rows(&first.run("select 'first'").await), ["first"]);
    }
}

#[tokio::test]
async fn a_first_frame_that_postgresql_cannot_read_never_leads_to_the_statement_of_another() {
    let room = Greenroom::start().servers(1).await;
    let (mut first, mut next) = (room.raw("catalog").await, room.raw("catalog").await);
    for (what, beginning) in [
        ("a Query that is no UTF-8", vec![Frame::new(b'Q', *b"select \xff\0")]),
        ("a Query without its end", vec![Frame::new(b'Q', *b"select 1")]),
        ("a Query with more behind its end", vec![Frame::new(b'Q', *b"select 1\0\0")]),
        ("a SET without its end", vec![Frame::new(b'Q', *b"set search_path to catalog")]),
        ("a SET with more behind its end", vec![Frame::new(b'Q', *b"set role stagehand\0\0")]),
        ("a Parse that is no UTF-8", vec![Frame::new(b'P', *b"\0select \xff\0\0\0"), sync()]),
        ("a Parse without its end", vec![Frame::new(b'P', *b"\0select 1"), sync()]),
    ] {
        first.ask(&[parse("", "select 'secret'"), sync()]).await;
        next.send(&[beginning, run_unnamed().to_vec()].concat()).await;
        let replies = next.until(b'Z', 2).await;
        assert!(rows(&replies).is_empty(), "{what}: {replies:?}");
        assert_eq!(codes(&replies).last().map(String::as_str), Some("26000"), "{what}: {replies:?}");
    }
}

#[tokio::test]
async fn an_answer_to_what_was_sent_during_a_copy_reaches_nobody_else() {
    let room = Greenroom::start().servers(1).await;
    let (mut first, mut next) = (room.raw("catalog").await, room.raw("catalog").await);
    first.run("create table item (id int)").await;
    first.send(&[query("select 1; copy item from stdin; select pg_sleep(0.2)"), copy_done()]).await;
    first.until(b'G', 1).await;
    first.send(&[query("select 'secret' from pg_sleep(0.3)")]).await;
    for _ in 0..3 {
        assert_eq!(rows(&next.run("select 'next'").await), ["next"]);
    }
    assert!(next.until_quiet(Duration::from_millis(300)).await.is_empty());
    let replies = first.until(b'Z', 2).await;
    assert_eq!(rows(&replies), ["", "secret"], "what PostgreSQL would say");
    assert!(codes(&replies).is_empty(), "{replies:?}");
}

#[tokio::test]
async fn a_server_is_never_lent_on_in_the_middle_of_a_frame() {
    let room = Greenroom::start().servers(1).await;
    let (mut first, mut next) = (room.raw("catalog").await, room.raw("catalog").await);
    let data = copy_data([b'z'; 1000]).bytes();
    first.send_bytes(&[&query("select 1").bytes(), &data[..100]].concat()).await;
    assert_eq!(rows(&first.until(b'Z', 1).await), ["1"]);
    assert_eq!(rows(&next.run("select 'next'").await), ["next"]);
    first.send_bytes(&data[100..]).await;
    assert_both_go_on(&mut first, &mut next).await;
}

#[tokio::test]
async fn the_rest_of_a_frame_is_never_read_as_a_frame_by_another_server() {
    let room = Greenroom::start().servers(1).await;
    let (mut first, mut next) = (room.raw("catalog").await, room.raw("catalog").await);
    let (start, tail) = data_that_ends_with_a_query(&[b'z'; 1000]);
    first.send_bytes(&[query("select 1").bytes(), start].concat()).await;
    first.until(b'Z', 1).await;
    next.run("select 'next'").await;
    first.send_bytes(&tail).await;
    assert_both_go_on(&mut first, &mut next).await;
    assert_nothing_stolen(&room).await;
}

#[tokio::test]
async fn the_rest_of_the_data_of_a_failed_copy_is_never_executed() {
    let room = Greenroom::start().servers(1).await;
    let (mut first, mut next) = (room.raw("catalog").await, room.raw("catalog").await);
    first.run("create table item (id int)").await;
    for rows in [100, 10_000, 100_000] {
        first.send(&[query("copy item from stdin")]).await;
        first.until(b'G', 1).await;
        let (start, tail) = data_that_ends_with_a_query(&b"1\n".repeat(rows));
        first.send_bytes(&[copy_data(*b"no number\n").bytes(), start].concat()).await;
        assert_eq!(codes(&first.until(b'Z', 1).await), ["22P02"], "{rows} rows");
        tokio::time::sleep(Duration::from_millis(100)).await;
        first.send_bytes(&tail).await;
        assert_both_go_on(&mut first, &mut next).await;
        assert_nothing_stolen(&room).await;
    }
}

#[tokio::test]
async fn the_unnamed_statement_outlives_a_change_of_settings_in_a_transaction() {
    let room = Greenroom::start().servers(1).await;
    let mut client = room.raw("catalog").await;
    for change in ["set work_mem to '5MB'", "select set_config('work_mem', '5MB', false)", "reset all"] {
        client.run("begin").await;
        client.run(change).await;
        client.ask(&[parse("", "select 42"), describe_statement(""), sync()]).await;
        for _ in 0..2 {
            let replies = client.ask(&[bind("", "", &[]), execute("", 0), sync()]).await;
            assert_eq!(rows(&replies), ["42"], "after {change}: {replies:?}");
        }
        client.run("rollback").await;
        client.leave().await;
        client = room.raw("catalog").await;
    }
}
