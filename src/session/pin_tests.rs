//! What keeps a server, when it is asked about, and what sets the session free.

use super::tests::{answer, asks, bare, bind, frame, parse, query, session_after};
use super::*;
use crate::protocol::{Backend, Frontend};

#[test]
fn what_a_server_cannot_tell_is_never_asked_of_it_once_it_may_be_there() {
    let make = [query("create temp table a (x int)")];
    let gone = [query("drop table a")];
    for told in [
        query("drop table b"),
        query("set work_mem to '77kB'"),
        query("select set_config('work_mem', '77kB', false)"),
        query("set role a"),
        query("select pg_advisory_lock(77)"),
        query("prepare item as select 1"),
        query("declare c cursor with hold for select 1"),
        parse("", "reset all"),
        parse("s1", "select 1"),
        parse("s1", "create temp table b (x int)"),
    ] {
        let text = String::from_utf8_lossy(&told).into_owned();
        assert!(session_after(&[&make, &[told], &gone]).is_to_be_asked(), "{text}");
    }
    for untold in [
        query("listen channel; select 1"),
        query("select nextval('a')"),
        query("set my.own to 1"),
        query("set seed to 0.5"),
        query("select set_config('my.own', 'x', false)"),
        parse("", "select set_config($1, $2, false)"),
        query("load 'x'"),
        query("do 'begin end'"),
        query("select U&\"a\"()"),
        parse("s1", "select 'now'::text"),
        parse("s1", "execute a"),
        parse(&"x".repeat(64), "select 1"),
        frame(Frontend::FUNCTION_CALL, b""),
    ] {
        let text = String::from_utf8_lossy(&untold).into_owned();
        let together = [make.to_vec(), vec![untold.clone()], gone.to_vec()].concat();
        assert!(!session_after(&[&together]).can_be_asked(), "in one transaction: {text}");
        assert!(!session_after(&[&make, &[untold], &gone]).can_be_asked(), "in a transaction between: {text}");
    }
}

#[test]
fn a_server_is_asked_at_the_end_of_those_transactions_only_that_may_have_changed_something() {
    let make = [query("create temp table a (x int)")];
    assert!(session_after(&[&make]).is_to_be_asked());
    assert!(!session_after(&[&make, &[query("select * from a")]]).is_to_be_asked());
    assert!(!session_after(&[&[query("drop table a")]]).is_to_be_asked(), "nothing was left before");
}

/// Whether a server that tells of nothing sets the session free.
fn keeps_nothing(session: &mut Session) -> bool {
    session.keeps_only(Effects::NONE, &[], &Prepared::default())
}

#[test]
fn what_is_asked_while_the_server_tells_counts() {
    let mut session = session_after(&[&[query("create temp table a (x int)")], &[query("drop table a")]]);
    session.transaction_ended();
    asks(&mut session, &query("select 1"));
    assert!(keeps_nothing(&mut session), "a plain statement leaves nothing");
    asks(&mut session, &query("create temp table a (x int)"));
    session.transaction_ended();
    asks(&mut session, &query("select pg_advisory_lock(1)"));
    assert!(!keeps_nothing(&mut session));
    assert_eq!(session.pin(), Some(PinReason::Statement(Effect::AdvisoryLock)));
    asks(&mut session, &query("listen a; select 1"));
    assert!(!keeps_nothing(&mut session), "this cannot be told");
}

#[test]
fn an_unnamed_statement_leaves_something_whenever_it_is_bound() {
    let mut session = session_after(&[&[parse("", "create temp table a (x int)"), bare(Frontend::SYNC)]]);
    answer(&mut session, &[Backend::PARSE_COMPLETE, Backend::READY_FOR_QUERY]);
    session.transaction_ended();
    assert!(keeps_nothing(&mut session) && session.pin().is_none());
    asks(&mut session, &bind("", ""));
    assert_eq!(session.pin(), Some(PinReason::Statement(Effect::Temporary)));
}

#[test]
fn only_a_reset_and_what_stays_need_a_server_of_the_sessions_own() {
    for (text, own) in [
        ("create temp table a (x int)", false),
        ("set work_mem to '1MB'", false),
        ("drop table a", false),
        ("reset work_mem", true),
        ("set work_mem to default", true),
        ("set time zone local", true),
        ("select set_config('work_mem', $1, false)", true),
        ("discard all", true),
        ("listen a; select 1", true),
        ("set my.own to 1", true),
    ] {
        assert_eq!(session_after(&[&[parse("", text)]]).needs_own_server(), own, "{text}");
    }
}
