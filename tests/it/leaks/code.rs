//! Code that a client makes in the database while its servers are shared.

use super::Leaks;
use crate::harness::codes;
use crate::harness::frames::{Frame, bind, execute, parse, query, sync};

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
