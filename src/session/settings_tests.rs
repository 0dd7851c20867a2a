//! What lone statements about settings change, and what waits for them.

use super::tests::{answer, asks, query, session, session_after};
use super::*;
use crate::protocol::{Backend, Frontend};
use crate::sql::Effect;
use crate::sql::setting::Assignment;

/// What the session says has changed when this text has worked.
fn change(session: &mut Session, text: &str) -> Option<Change> {
    let verdict = asks(session, &query(text));
    answer(session, &[Backend::COMMAND_COMPLETE, Backend::READY_FOR_QUERY]);
    let change = session.take_change();
    if verdict == Verdict::ForwardWithWayHome {
        assert!(!session.is_settled(), "the way home is to be answered");
        while !session.is_settled() {
            assert_eq!(session.on_server(Backend::READY_FOR_QUERY, b"I", &mut Prepared::default()), Reply::Swallow);
        }
    }
    assert!(session.is_settled());
    change
}

#[test]
fn a_lone_statement_about_settings_tells_what_it_changes_and_pins_nothing() {
    let mut session = session();
    let mut tells = |text: &str| {
        let told = change(&mut session, text);
        assert_eq!(session.pin(), None, "{text}");
        told
    };
    let made = |name: &str, value: &str| Change::Settings(vec![Assignment { name: name.into(), value: value.into() }]);
    assert_eq!(tells("set work_mem to '77kB'"), Some(made("work_mem", "'77kB'")));
    assert_eq!(tells("SET TIME ZONE 'UTC'"), Some(made("timezone", "'UTC'")));
    assert_eq!(tells("reset work_mem"), Some(Change::Reset("work_mem".into())));
    assert_eq!(tells("set work_mem to default"), Some(Change::Reset("work_mem".into())));
    assert_eq!(tells("reset search_path"), Some(Change::Reset("search_path".into())));
    assert_eq!(tells("RESET ALL;"), Some(Change::ResetAll));
    assert_eq!(tells("discard all"), Some(Change::DiscardAll));
    assert_eq!(tells("discard plans"), Some(Change::Nothing));
    assert_eq!(tells("set role a"), Some(Change::Role("a".into())));
    assert_eq!(tells("reset role"), Some(Change::ResetRole));
    assert_eq!(tells("set search_path to a"), Some(Change::SearchPath("a".into())));
}

#[test]
fn what_its_text_does_not_tell_for_certain_is_asked_of_the_server() {
    for text in [
        "set client_encoding to latin1",
        "set standard_conforming_strings to off",
        "set datestyle to german",
        "set client_min_messages to debug1",
        "set my.own to 1",
        "set session_replication_role to replica",
        "reset my.own",
        "reset session authorization",
        "set search_path to pg_temp",
        "set work_mem to '77kB'; select 1",
    ] {
        let mut session = session();
        assert_eq!(change(&mut session, text), None, "{text}");
        assert!(session.pin().is_some(), "{text}");
    }
}

#[test]
fn a_session_that_began_with_settings_of_its_own_goes_back_on_a_server_of_its_own() {
    let mut session = session();
    session.begins_with_settings();
    assert!(change(&mut session, "set work_mem to '77kB'").is_some());
    for text in ["reset work_mem", "reset all", "discard all"] {
        let mut session = Session::new(Quoting::Standard);
        session.begins_with_settings();
        assert_eq!(change(&mut session, text), None, "{text}");
        assert!(session.needs_own_server(), "{text}");
    }
}

#[test]
fn discard_all_ends_a_pin_and_nothing_else_does_that_is_lone() {
    for pin in ["listen a; select 1", "select nextval('a')", "set my.own to 1", "create temp table a (x int)"] {
        let mut session = session_after(&[&[query(pin)]]);
        session.transaction_ended();
        assert_eq!(change(&mut session, "reset all"), None);
        assert!(session.pin().is_some());
        assert_eq!(change(&mut session, "discard all"), Some(Change::DiscardAll), "{pin}");
        assert!(session.everything_was_discarded() && session.pin().is_none());
    }
    for reason in [PinReason::SessionMode, PinReason::DatabaseCode, PinReason::StartupSettings] {
        let mut session = session();
        session.pin_for(reason);
        assert_eq!(change(&mut session, "discard all"), None);
        assert!(!session.everything_was_discarded() && session.pin() == Some(reason));
    }
}

#[test]
fn behind_a_reset_comes_what_it_took_and_nothing_else() {
    for (others, text, behind) in [
        (&b""[..], "reset search_path", "path"),
        (b"others", "reset application_name", "name"),
        (b"", "reset all", "pathname"),
        (b"others", "reset all", "pathnameothers"),
        (b"", "discard all", "pathname"),
    ] {
        let mut session = session();
        session.set_ways_home([b"path", &b"name"[..], others].map(std::sync::Arc::from));
        assert_eq!(asks(&mut session, &query(text)), Verdict::ForwardWithWayHome, "{text}");
        let mut out = Vec::new();
        session.way_home(&mut out);
        assert_eq!(String::from_utf8_lossy(&out), behind, "{text}");
    }
}

const NEXT: &str = "select 1";

#[test]
fn nothing_goes_behind_the_way_home_of_a_reset_that_may_still_fail_or_has() {
    for ends in
        [&[Backend::ERROR, Backend::READY_FOR_QUERY][..], &[Backend::COMMAND_COMPLETE, Backend::READY_FOR_QUERY]]
    {
        let mut session = session();
        session.set_ways_home([&b"path"[..], b"name", b""].map(std::sync::Arc::from));
        asks(&mut session, &query("reset all"));
        let failed = ends[0] == Backend::ERROR;
        // Whatever has come of the answers, and of those to the way home behind them.
        for tag in ends.iter().chain(&[Backend::READY_FOR_QUERY; 2]) {
            assert_eq!(asks(&mut session, &query(NEXT)), Verdict::AwaitAnswers, "{tag:?} is still to come");
            assert_eq!(asks(&mut session, &[Frontend::TERMINATE.0, 0, 0, 0, 4]), Verdict::Terminate);
            answer(&mut session, &[*tag]);
            if !failed && *tag == Backend::READY_FOR_QUERY {
                break;
            }
        }
        assert_eq!(session.is_doubtful(), failed);
        session.lease_ended();
        assert_eq!(asks(&mut session, &query(NEXT)), Verdict::Forward, "on another server");
    }
}

#[test]
fn what_is_sent_behind_a_reset_on_a_server_that_is_kept_waits_until_that_has_its_own_settings_back() {
    let pool_reset = "select pg_advisory_unlock_all(); close all; unlisten *; reset all;";
    for reset in ["reset search_path", pool_reset, "begin; reset all", "discard all"] {
        let mut session = session_after(&[&[query("create temp table a (x int)")]]);
        session.set_ways_home([&b"path"[..], b"name", b""].map(std::sync::Arc::from));
        assert_eq!(asks(&mut session, &query(NEXT)), Verdict::Forward);
        assert_eq!(asks(&mut session, &query(reset)), Verdict::Forward, "behind another");
        assert_eq!(asks(&mut session, &query(NEXT)), Verdict::AwaitAnswers, "{reset}");
        answer(&mut session, &[Backend::COMMAND_COMPLETE, Backend::READY_FOR_QUERY, Backend::COMMAND_COMPLETE]);
        assert_eq!(asks(&mut session, &query(NEXT)), Verdict::AwaitAnswers, "{reset}");
        answer(&mut session, &[Backend::READY_FOR_QUERY]);
        assert!(session.is_settled() && session.take_cycle_effects().contains(Effect::Reset), "{reset}");
        assert_eq!(asks(&mut session, &query(NEXT)), Verdict::Forward, "{reset}");
    }
}
