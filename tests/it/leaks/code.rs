//! Code that a client makes in the database while its servers are shared.

use super::Leaks;
use crate::harness::frames::{Frame, bind, execute, parse, query, sync};
use crate::harness::{Greenroom, Stage, codes, logical};

/// A function that leaves a setting and a search_path behind, without a word of it in the text that calls it.
const CREATE: &str = "create function evil() returns text language sql as $$
    select set_config('our.own', 'leak', false) || set_config('search_path', 'public', false) $$";
const CALL: &str = "select evil()";
const DROP: &str = "drop function catalog.evil()";

#[tokio::test]
async fn a_function_made_called_and_dropped_at_once_leaves_nothing_for_the_next_client() {
    let leaks = Leaks::among(1).await;
    for texts in [
        vec![format!("{CREATE}; {CALL}; {DROP}")],
        vec![format!("begin; {CREATE}; {CALL}; {DROP}; commit")],
        vec![format!("begin; {CREATE}"), CALL.into(), DROP.into(), "commit".into()],
        vec![format!("{CREATE}; {CALL}"), DROP.into()],
        vec![CREATE.into(), CALL.into(), DROP.into()],
        vec![format!("begin; {CREATE}; {CALL}; rollback")],
    ] {
        let mut client = leaks.room.raw("catalog").await;
        for text in &texts {
            client.run(text).await;
        }
        client.leave().await;
        leaks.assert_none(&texts.join("; then ")).await;
    }
}

#[tokio::test]
async fn a_function_made_by_another_during_a_transaction_leaves_nothing_for_the_next_client() {
    let leaks = Leaks::among(2).await;
    let (mut first, mut next) = (leaks.room.raw("catalog").await, leaks.room.raw("catalog").await);
    next.run("begin").await;
    first.run(CREATE).await;
    next.run(CALL).await;
    next.run("commit").await;
    first.run(DROP).await;
    first.leave().await;
    next.leave().await;
    leaks.assert_none_among(2, "a call in a transaction").await;
}

#[tokio::test]
async fn a_function_parsed_in_one_transaction_and_made_in_another_leaves_nothing_for_the_next_client() {
    for statement in ["", "s1"] {
        let leaks = Leaks::among(2).await;
        let (mut maker, mut caller) = (leaks.room.raw("catalog").await, leaks.room.raw("catalog").await);
        let mut ask = async |frames: &[Frame]| {
            let replies = maker.ask(frames).await;
            assert!(codes(&replies).is_empty(), "statement {statement:?}: {replies:?}");
        };
        ask(&[parse(statement, CREATE), sync()]).await;
        caller.run("select 1").await;
        ask(&[bind("", statement, &[]), execute("", 0), sync()]).await;
        caller.run(CALL).await;
        caller.leave().await;
        leaks.assert_none(&format!("a function of statement {statement:?}")).await;
        ask(&[query(DROP)]).await;
        maker.leave().await;
        leaks.assert_none_among(2, &format!("a function of statement {statement:?}")).await;
    }
}

/// Operators that lie to whoever compares numbers or names of objects.
const LIE: &str = "create function never(oid, oid) returns bool language sql immutable as 'select false';
    create function never(name, text) returns bool language sql immutable as 'select false';
    create function never(text, text) returns bool language sql immutable as 'select false';
    create operator <> (leftarg = oid, rightarg = oid, function = never);
    create operator = (leftarg = oid, rightarg = oid, function = never);
    create operator ~ (leftarg = name, rightarg = text, function = never);
    create operator ~* (leftarg = text, rightarg = text, function = never)";

#[tokio::test]
async fn code_is_found_though_the_logins_search_path_leads_to_an_operator_that_denies_it() {
    let stage = Stage::own(&[]).await;
    stage.create_database(&logical("catalog")).await;
    stage.sql(&format!("alter role {} set search_path = public, pg_catalog", stage.login)).await;
    let room = Greenroom::start().servers(1).set("greenroom.division", "database").on(stage).await;
    let leaks = Leaks::of(room).await;
    let mut client = leaks.room.raw("catalog").await;
    client.run(LIE).await;
    client.run(CREATE).await;
    client.leave().await;
    let mut client = leaks.room.raw("catalog").await;
    client.run(CALL).await;
    client.leave().await;
    leaks.assert_none("code on the login's search_path").await;
}
