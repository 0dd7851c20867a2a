//! What PostgreSQL has not been asked, or not by its own function, ends and cancels nobody.

use super::{bind, bind_to, extended, pid_of, sleepers};
use crate::harness::frames::{close_portal, execute, parse, parse_typed, query, sync};
use crate::harness::{Frame, Greenroom, STAGEHAND, codes, eventually, rows, tags};

/// The number of the type text.
const TEXT: u32 = 25;

#[tokio::test]
async fn a_row_of_something_else_in_the_portal_of_a_signal_is_no_signal() {
    let room = Greenroom::start().auth("trust").servers(4).await;
    let (mut caller, mut victim) = (room.raw("search").await, room.raw("catalog").await);
    // A role that may not signal the victim, so that it must not be able to.
    caller.run(&format!("set role {STAGEHAND}")).await;
    for function in ["pg_cancel_backend", "pg_terminate_backend"] {
        let signal = parse("", &format!("select {function}($1)"));
        let (to, stranger) = ([pid_of(&victim)], parse("", "select true"));
        let in_one_batch: [Vec<Frame>; 2] = [
            vec![signal.clone(), bind("", &to, false), stranger.clone(), bind("", &[], false), execute("", 0), sync()],
            vec![
                signal.clone(),
                bind_to("p", "", &to, false),
                close_portal("p"),
                stranger.clone(),
                bind_to("p", "", &[], false),
                execute("p", 0),
                sync(),
            ],
        ];
        let in_turn: [Vec<Frame>; 2] = [
            vec![signal.clone(), bind_to("p", "", &to, false), sync()],
            // A cursor is a portal, too.
            vec![query("close p; declare p cursor for select true"), execute("p", 0), sync()],
        ];
        for frames in in_one_batch.iter().map(std::slice::from_ref).chain([&in_turn[..]]) {
            // It waits for a server, where a cancel would reach it, or rests.
            caller.run("begin").await;
            let mut replies = Vec::new();
            for frames in frames {
                replies.extend(caller.ask(frames).await);
            }
            assert_eq!(rows(&replies), ["t"], "{replies:?}");
            caller.run("commit").await;
            assert_eq!(rows(&victim.run("select 'unhurt'").await), ["unhurt"], "{function}: {frames:?}");
        }
    }
}

#[tokio::test]
async fn a_signal_that_could_not_be_bound_lends_its_name_to_no_other_one() {
    let room = Greenroom::start().auth("trust").servers(5).await;
    let (mut caller, mut one, mut other) =
        (room.raw("search").await, room.raw("catalog").await, room.raw("catalog").await);
    caller.run("begin").await;
    let signal = parse("", "select pg_terminate_backend($1)");
    caller.ask(&[signal.clone(), bind_to("p", "", &[pid_of(&one)], false), sync()]).await;
    caller.run("savepoint s").await;
    let refused = caller.ask(&[signal, bind_to("p", "", &[pid_of(&other)], false), sync()]).await;
    assert_eq!(codes(&refused), ["42P03"]);
    caller.run("rollback to s").await;
    assert_eq!(rows(&caller.ask(&[execute("p", 0), sync()]).await), ["t"]);
    caller.run("commit").await;
    assert_eq!(rows(&other.run("select 'unhurt'").await), ["unhurt"]);
    // Where it is not certain what a row is about, a client at rest stays; what stood in for it has ended.
    drop(one.run("select 1").await);
}

#[tokio::test]
async fn a_function_of_that_name_of_somebodys_own_signals_nobody() {
    let room = Greenroom::start().auth("trust").servers(4).await;
    let (mut caller, mut victim) = (room.raw("search").await, room.raw("catalog").await);
    caller.run("create schema own; grant usage on schema own to public").await;
    for function in ["pg_cancel_backend", "pg_terminate_backend"] {
        for arguments in ["int", "text", "int, bigint", "text, bigint"] {
            let create =
                format!("create function own.{function}({arguments}) returns bool language sql as 'select true'");
            caller.run(&create).await;
        }
    }
    caller.run("set search_path = own, pg_catalog").await;
    caller.run(&format!("set role {STAGEHAND}")).await;
    for function in ["pg_cancel_backend", "pg_terminate_backend"] {
        let pid = victim.key().0;
        let frames = [
            parse_typed("", &format!("select {function}($1)"), &[TEXT]),
            bind("", &[pid_of(&victim)], false),
            execute("", 0),
            sync(),
        ];
        // Whoever answers: the victim is unhurt.
        for sql in [format!("select {function}({pid})"), format!("select {function}('{pid}')")] {
            caller.query(&sql).await;
            extended(&mut caller, &sql, &[], false).await;
            assert_eq!(rows(&victim.run("select 'unhurt'").await), ["unhurt"], "{sql}");
        }
        caller.ask(&frames).await;
        extended(&mut caller, &format!("select {function}($1)"), &[pid_of(&victim)], false).await;
        extended(&mut caller, &format!("select {function}($1::text)"), &[pid_of(&victim)], false).await;
        assert_eq!(rows(&victim.run("select 'unhurt'").await), ["unhurt"], "{function}");
    }
}

#[tokio::test]
async fn a_signal_that_was_skipped_while_it_waited_is_forgotten() {
    let room = Greenroom::start().auth("trust").servers(6).pool("catalog", |limits| limits.max(1)).await;
    let (mut caller, mut holder, mut idle, mut busy) =
        (room.raw("auth").await, room.raw("catalog").await, room.raw("catalog").await, room.raw("search").await);
    // A session that keeps its server.
    caller.run("create temporary table kept (a int)").await;
    holder.run("begin").await;
    let signal = [parse("", "select pg_cancel_backend($1)"), bind("", &[], false), bind("", &[pid_of(&idle)], false)];
    caller.send(&signal).await;
    caller.send(&[execute("", 0), sync()]).await;
    eventually("it waits for what stands in", async || {
        room.metrics().await.sum("greenroom_acquire_waiting", &[]) == 1.0
    })
    .await;
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    holder.run("commit").await;
    assert_eq!(codes(&caller.until(b'Z', 1).await), ["08P01"]);
    // The server that was to stand in is free again.
    idle.run("select 1").await;
    busy.send(&[query("select pg_sleep(60)")]).await;
    sleepers(&room, 1).await;
    let cancel = format!("select pg_cancel_backend({})", busy.key().0);
    assert_eq!(rows(&caller.run(&cancel).await), ["t"]);
    assert_eq!(codes(&busy.until(b'Z', 1).await), ["57014"]);
    assert_eq!(tags(&idle.run("select 1").await), "TDCZ");
}
