//! The session as a function: frames in, decisions out.

use super::*;
use crate::protocol::tag::TxStatus;
use crate::protocol::{Backend, Frontend, message};
use crate::sql::Effect;

fn frame(tag: Frontend, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    message::frame(&mut out, tag.0, |out| out.extend_from_slice(body));
    out
}

fn query(sql: &str) -> Vec<u8> {
    frame(Frontend::QUERY, format!("{sql}\0").as_bytes())
}

fn parse(name: &str, sql: &str) -> Vec<u8> {
    frame(Frontend::PARSE, format!("{name}\0{sql}\0\0\0").as_bytes())
}

fn bind(portal: &str, statement: &str) -> Vec<u8> {
    frame(Frontend::BIND, format!("{portal}\0{statement}\0\0\0\0\0\0\0").as_bytes())
}

fn bare(tag: Frontend) -> Vec<u8> {
    frame(tag, b"")
}

fn execute() -> Vec<u8> {
    frame(Frontend::EXECUTE, b"\0\0\0\0\0")
}

fn session() -> Session {
    Session::new(Quoting::Standard)
}

fn answer(session: &mut Session, tags: &[Backend]) -> Vec<Reply> {
    tags.iter().map(|tag| session.on_server(*tag, b"I", &mut Prepared::default())).collect()
}

fn ready() -> Reply {
    Reply::Ready(TxStatus::Idle)
}

#[test]
fn a_simple_query_is_settled_by_its_ready() {
    let mut session = session();
    assert_eq!(session.on_client(&query("select 1"), None), Verdict::Forward);
    assert!(!session.is_settled());
    answer(&mut session, &[Backend::ROW_DESCRIPTION, Backend::DATA_ROW, Backend::COMMAND_COMPLETE]);
    assert!(!session.is_settled());
    assert_eq!(answer(&mut session, &[Backend::READY_FOR_QUERY]), [ready()]);
    assert!(session.is_settled() && !session.is_doubtful());
}

#[test]
fn pipelined_queries_are_settled_by_the_last_ready() {
    let mut session = session();
    session.on_client(&query("select 1"), None);
    session.on_client(&query("select 2"), None);
    answer(&mut session, &[Backend::COMMAND_COMPLETE, Backend::READY_FOR_QUERY]);
    assert!(!session.is_settled());
    answer(&mut session, &[Backend::COMMAND_COMPLETE, Backend::READY_FOR_QUERY]);
    assert!(session.is_settled());
}

#[test]
fn the_answers_to_a_prelude_reach_nobody() {
    let mut session = session();
    session.on_client(&query("select 1"), None);
    session.expect_prelude(2);
    let cycle = [Backend::COMMAND_COMPLETE, Backend::PARAMETER_STATUS, Backend::READY_FOR_QUERY];
    for _ in 0..2 {
        assert_eq!(answer(&mut session, &cycle), [Reply::Swallow; 3]);
    }
    let own = [Backend::COMMAND_COMPLETE, Backend::READY_FOR_QUERY];
    assert_eq!(answer(&mut session, &own), [Reply::Forward, ready()]);
    assert!(session.is_settled());
}

#[test]
fn a_prelude_that_fails_is_told_at_once() {
    let mut session = session();
    session.on_client(&query("select 1"), None);
    session.expect_prelude(1);
    assert_eq!(answer(&mut session, &[Backend::ERROR]), [Reply::PreludeFailed]);
}

#[test]
fn an_error_in_a_batch_skips_to_its_sync() {
    let mut session = session();
    for frame in [parse("", "select 1/0"), bind("", ""), execute(), parse("", "x"), bind("", ""), bare(Frontend::SYNC)]
    {
        session.on_client(&frame, None);
    }
    answer(&mut session, &[Backend::PARSE_COMPLETE, Backend::BIND_COMPLETE, Backend::ERROR]);
    assert!(!session.is_settled());
    assert_eq!(answer(&mut session, &[Backend::READY_FOR_QUERY]), [ready()]);
    assert!(session.is_settled() && !session.is_doubtful());
}

#[test]
fn what_follows_an_error_is_ignored_up_to_a_sync_that_comes_later() {
    let mut session = session();
    session.on_client(&parse("", "selekt"), None);
    session.on_client(&bare(Frontend::FLUSH), None);
    answer(&mut session, &[Backend::ERROR]);
    assert!(!session.is_settled());
    assert_eq!(session.on_client(&bind("", ""), None), Verdict::Ignore);
    assert_eq!(session.on_client(&query("select 1"), None), Verdict::Ignore);
    assert_eq!(session.on_client(&bare(Frontend::SYNC), None), Verdict::Forward);
    assert_eq!(answer(&mut session, &[Backend::READY_FOR_QUERY]), [ready()]);
    assert!(session.is_settled());
}

#[test]
fn a_sync_alone_needs_no_server_but_one_that_ends_a_flushed_batch_does() {
    let mut session = session();
    assert_eq!(session.on_client(&bare(Frontend::SYNC), None), Verdict::AnswerReady);
    session.on_client(&parse("", "select 1"), None);
    session.on_client(&bare(Frontend::FLUSH), None);
    answer(&mut session, &[Backend::PARSE_COMPLETE]);
    assert!(!session.is_settled(), "the implicit transaction is still open");
    assert_eq!(session.on_client(&bare(Frontend::SYNC), None), Verdict::Forward);
}

#[test]
fn the_unnamed_statement_is_parsed_again_on_another_server() {
    let mut session = session();
    let text = parse("", "select $1");
    for frame in [text.clone(), bind("", ""), execute(), bare(Frontend::SYNC)] {
        session.on_client(&frame, None);
    }
    let replies =
        [Backend::PARSE_COMPLETE, Backend::BIND_COMPLETE, Backend::COMMAND_COMPLETE, Backend::READY_FOR_QUERY];
    answer(&mut session, &replies);
    assert!(session.is_settled());
    session.lease_ended();

    assert_eq!(session.on_client(&bind("", ""), None), Verdict::Splice(0));
    let mut injected = Vec::new();
    session.put_splice(&mut injected);
    assert_eq!(injected, text);
    session.on_client(&execute(), None);
    session.on_client(&bare(Frontend::SYNC), None);
    assert_eq!(answer(&mut session, &replies), [Reply::Swallow, Reply::Forward, Reply::Forward, ready()]);
}

fn a_strangers_unnamed_statement_is_closed_ahead_of_a_bind(session: &mut Session) {
    assert_eq!(session.on_client(&bind("", ""), None), Verdict::Splice(0));
    let mut ahead = Vec::new();
    session.put_splice(&mut ahead);
    assert_eq!(ahead, frame(Frontend::CLOSE, b"S\0"));
}

#[test]
fn a_simple_query_ends_the_unnamed_statement() {
    let mut session = session();
    session.on_client(&parse("", "select 1"), None);
    session.on_client(&bare(Frontend::SYNC), None);
    answer(&mut session, &[Backend::PARSE_COMPLETE, Backend::READY_FOR_QUERY]);
    session.on_client(&query("select 1"), None);
    answer(&mut session, &[Backend::COMMAND_COMPLETE, Backend::READY_FOR_QUERY]);
    session.lease_ended();
    a_strangers_unnamed_statement_is_closed_ahead_of_a_bind(&mut session);
}

#[test]
fn a_failed_parse_ends_the_unnamed_statement_and_a_skipped_one_does_not() {
    let mut session = session();
    session.on_client(&parse("", "select 1"), None);
    session.on_client(&bare(Frontend::SYNC), None);
    answer(&mut session, &[Backend::PARSE_COMPLETE, Backend::READY_FOR_QUERY]);

    for frame in [frame(Frontend::EXECUTE, b"nope\0\0\0\0\0"), parse("", "select 2"), bare(Frontend::SYNC)] {
        session.on_client(&frame, None);
    }
    answer(&mut session, &[Backend::ERROR, Backend::READY_FOR_QUERY]);
    session.lease_ended();
    assert_eq!(session.on_client(&bind("", ""), None), Verdict::Splice(0));
    let mut injected = Vec::new();
    session.put_splice(&mut injected);
    assert_eq!(injected, parse("", "select 1"));
    session.on_client(&bare(Frontend::SYNC), None);
    answer(&mut session, &[Backend::PARSE_COMPLETE, Backend::BIND_COMPLETE, Backend::READY_FOR_QUERY]);

    session.on_client(&parse("", "selekt"), None);
    session.on_client(&bare(Frontend::SYNC), None);
    answer(&mut session, &[Backend::ERROR, Backend::READY_FOR_QUERY]);
    session.lease_ended();
    a_strangers_unnamed_statement_is_closed_ahead_of_a_bind(&mut session);
}

#[test]
fn a_sync_sent_before_copy_in_is_known_is_not_waited_for() {
    let mut session = session();
    for frame in [parse("", "copy t from stdin"), bind("", ""), execute(), bare(Frontend::SYNC)] {
        session.on_client(&frame, None);
    }
    answer(&mut session, &[Backend::PARSE_COMPLETE, Backend::BIND_COMPLETE, Backend::COPY_IN]);
    assert_eq!(session.on_client(&frame(Frontend::COPY_DATA, b"1\n"), None), Verdict::Forward);
    session.on_client(&bare(Frontend::COPY_DONE), None);
    session.on_client(&bare(Frontend::SYNC), None);
    answer(&mut session, &[Backend::COMMAND_COMPLETE, Backend::READY_FOR_QUERY]);
    assert!(session.is_settled() && !session.is_doubtful());
}

#[test]
fn a_copy_pipelined_with_its_data_is_settled_by_its_own_sync() {
    let mut session = session();
    for frame in [
        parse("", "copy t from stdin"),
        bind("", ""),
        execute(),
        frame(Frontend::COPY_DATA, b"1\n"),
        bare(Frontend::COPY_DONE),
        bare(Frontend::SYNC),
    ] {
        assert_eq!(session.on_client(&frame, None), Verdict::Forward);
    }
    let replies = [Backend::PARSE_COMPLETE, Backend::BIND_COMPLETE, Backend::COPY_IN, Backend::COMMAND_COMPLETE];
    answer(&mut session, &replies);
    assert!(!session.is_settled());
    answer(&mut session, &[Backend::READY_FOR_QUERY]);
    assert!(session.is_settled() && !session.is_doubtful());
}

#[test]
fn an_error_while_data_is_taken_makes_the_server_doubtful() {
    let mut session = session();
    session.on_client(&query("copy t from stdin"), None);
    answer(&mut session, &[Backend::COPY_IN, Backend::ERROR, Backend::READY_FOR_QUERY]);
    assert!(session.is_settled() && session.is_doubtful());
    assert_eq!(session.on_client(&bare(Frontend::COPY_DONE), None), Verdict::Ignore);
}

#[test]
fn an_answer_that_nobody_asked_for_makes_the_server_doubtful() {
    for tag in [Backend::PARSE_COMPLETE, Backend::BIND_COMPLETE, Backend::CLOSE_COMPLETE, Backend::READY_FOR_QUERY] {
        let mut session = session();
        answer(&mut session, &[tag]);
        assert!(session.is_doubtful(), "{tag:?}");
    }
}

#[test]
fn what_a_text_leaves_behind_pins_and_the_first_reason_stands() {
    let mut session = session();
    session.on_client(&query("select pg_advisory_lock(1)"), None);
    session.on_client(&parse("s", "select 1"), None);
    assert_eq!(session.pin(), Some(PinReason::Statement(Effect::AdvisoryLock)));
}

#[test]
fn a_function_call_pins() {
    let mut session = session();
    session.on_client(&frame(Frontend::FUNCTION_CALL, &[0; 12]), None);
    assert_eq!(session.pin(), Some(PinReason::Statement(Effect::Procedural)));
}

#[test]
fn a_text_that_passes_in_pieces_is_read_like_a_whole_one() {
    let sql = format!("select '{}'; set x = 1", "a".repeat(5000));
    let whole = parse("", &sql);
    let mut session = session();
    assert_eq!(session.on_client_start(&whole[..100], None), Verdict::Forward);
    for (i, piece) in whole[100..].chunks(700).enumerate() {
        session.on_client_piece(piece, (i + 1) * 700 >= whole.len() - 100);
    }
    assert_eq!(session.pin(), Some(PinReason::Statement(Effect::Settings)));
    session.on_client(&bare(Frontend::SYNC), None);
    answer(&mut session, &[Backend::PARSE_COMPLETE, Backend::READY_FOR_QUERY]);
    session.lease_ended();
    session.on_client(&bind("", ""), None);
    let mut injected = Vec::new();
    session.put_splice(&mut injected);
    assert_eq!(injected, whole);
}

#[test]
fn without_a_server_every_question_still_gets_its_end() {
    let mut session = session();
    session.on_client(&query("select 1"), None);
    for frame in [parse("", "select 1"), bind("", ""), bare(Frontend::SYNC), parse("", "select 2")] {
        session.on_client(&frame, None);
    }
    let failures = session.fail_outstanding();
    assert_eq!(failures, [Failure::ErrorAndReady, Failure::ErrorAndReady, Failure::Error]);
    assert_eq!(session.on_client(&bind("", ""), None), Verdict::Ignore);
    assert_eq!(session.on_client(&query("select 1"), None), Verdict::Ignore);
    assert_eq!(session.on_client(&bare(Frontend::SYNC), None), Verdict::AnswerReady);
    assert_eq!(session.on_client(&query("select 1"), None), Verdict::Forward);
}

/// Whether, after these transactions, temporary objects are all that a session may have left behind.
fn leaves_only_temporary_ones(transactions: &[&[Vec<u8>]]) -> bool {
    let mut session = session();
    for (at, frames) in transactions.iter().enumerate() {
        if at > 0 {
            session.transaction_ended();
        }
        for frame in *frames {
            session.on_client(frame, None);
        }
    }
    session.has_only(Effect::Temporary)
}

#[test]
fn a_session_that_left_anything_else_once_is_never_said_to_leave_only_temporary_objects() {
    let make = [query("create temp table a (x int)")];
    let drop_all = [query("create temp table b (x int); drop table a, b")];
    assert!(leaves_only_temporary_ones(&[&[make.clone(), drop_all.clone()].concat()]));
    assert!(leaves_only_temporary_ones(&[&make, &drop_all]));
    let others = [
        query("listen channel"),
        query("set work_mem to '77kB'"),
        query("select pg_advisory_lock(77)"),
        query("prepare item as select 1"),
        query("create temp table c (x int); select pg_advisory_lock(77)"),
        parse("s1", "select 'now'::timestamptz"),
        frame(Frontend::FUNCTION_CALL, b""),
    ];
    for other in others {
        let text = String::from_utf8_lossy(&other).into_owned();
        let other = [other];
        let together = [make.clone(), other.clone(), drop_all.clone()].concat();
        assert!(!leaves_only_temporary_ones(&[&together]), "in one transaction: {text}");
        assert!(!leaves_only_temporary_ones(&[&make, &other, &drop_all]), "in a transaction between: {text}");
    }
}
