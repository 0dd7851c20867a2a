//! The session as a function: frames in, decisions out.

use super::*;
use crate::protocol::tag::TxStatus;
use crate::protocol::{Backend, Frontend, message};
use crate::sql::Effect;

pub(super) fn frame(tag: Frontend, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    message::frame(&mut out, tag.0, |out| out.extend_from_slice(body));
    out
}

pub(super) fn query(sql: &str) -> Vec<u8> {
    frame(Frontend::QUERY, format!("{sql}\0").as_bytes())
}

pub(super) fn parse(name: &str, sql: &str) -> Vec<u8> {
    frame(Frontend::PARSE, format!("{name}\0{sql}\0\0\0").as_bytes())
}

pub(super) fn bind(portal: &str, statement: &str) -> Vec<u8> {
    frame(Frontend::BIND, format!("{portal}\0{statement}\0\0\0\0\0\0\0").as_bytes())
}

pub(super) fn bare(tag: Frontend) -> Vec<u8> {
    frame(tag, b"")
}

fn execute() -> Vec<u8> {
    frame(Frontend::EXECUTE, b"\0\0\0\0\0")
}

pub(super) fn session() -> Session {
    Session::new(Quoting::Standard)
}

pub(super) fn answer(session: &mut Session, tags: &[Backend]) -> Vec<Reply> {
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
fn a_bind_behind_a_batch_that_may_fail_waits_until_the_server_has_the_unnamed_statement() {
    let mut session = session();
    session.on_client(&parse("", "select 1"), None);
    session.on_client(&bare(Frontend::SYNC), None);
    answer(&mut session, &[Backend::PARSE_COMPLETE, Backend::READY_FOR_QUERY]);
    session.lease_ended();

    session.on_client(&frame(Frontend::EXECUTE, b"nope\0\0\0\0\0"), None);
    assert_eq!(session.on_client(&bind("", ""), None), Verdict::Splice(0));
    session.put_splice(&mut Vec::new());
    session.on_client(&bare(Frontend::SYNC), None);
    assert_eq!(session.on_client(&bind("", ""), None), Verdict::AwaitAnswers);
    answer(&mut session, &[Backend::ERROR, Backend::READY_FOR_QUERY]);
    assert_eq!(session.on_client(&bind("", ""), None), Verdict::Splice(0), "it was skipped");
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
fn an_error_while_data_is_taken_is_an_error_as_any_other() {
    let mut session = session();
    for is_known in [true, false] {
        session.on_client(&query("copy t from stdin"), None);
        answer(&mut session, &[Backend::COPY_IN]);
        if !is_known {
            session.on_client(&bare(Frontend::COPY_DONE), None);
        }
        answer(&mut session, &[Backend::ERROR, Backend::READY_FOR_QUERY]);
        assert!(session.is_settled() && !session.is_doubtful());
        assert_eq!(session.on_client(&bare(Frontend::COPY_DONE), None), Verdict::Ignore);
    }
    for frame in [parse("", "copy t from stdin"), bind("", ""), execute()] {
        session.on_client(&frame, None);
    }
    answer(&mut session, &[Backend::PARSE_COMPLETE, Backend::BIND_COMPLETE, Backend::COPY_IN]);
    for frame in [frame(Frontend::COPY_DATA, b"wrong\n"), bare(Frontend::COPY_DONE), bare(Frontend::SYNC)] {
        assert_eq!(session.on_client(&frame, None), Verdict::Forward);
    }
    answer(&mut session, &[Backend::ERROR, Backend::READY_FOR_QUERY]);
    assert!(session.is_settled() && !session.is_doubtful());
}

#[test]
fn where_a_sync_was_sent_among_data_an_error_makes_the_server_doubtful() {
    for is_early in [true, false] {
        let mut session = session();
        for frame in [parse("", "copy t from stdin"), bind("", ""), execute()] {
            session.on_client(&frame, None);
        }
        if is_early {
            session.on_client(&bare(Frontend::SYNC), None);
        }
        answer(&mut session, &[Backend::PARSE_COMPLETE, Backend::BIND_COMPLETE, Backend::COPY_IN]);
        if !is_early {
            session.on_client(&bare(Frontend::SYNC), None);
        }
        answer(&mut session, &[Backend::ERROR]);
        assert!(session.is_doubtful(), "whether it has been ignored cannot be told");
    }
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
    assert_eq!(session.on_client_start(&whole[..100], Some(&mut Prepared::default())), Verdict::Forward);
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

/// What a session with a fresh server does with a frame.
pub(super) fn asks(session: &mut Session, frame: &[u8]) -> Verdict {
    let verdict = session.on_client(frame, Some(&mut Prepared::default()));
    session.put_splice(&mut Vec::new());
    verdict
}

/// A session after these transactions, at the end of the last one.
pub(super) fn session_after(transactions: &[&[Vec<u8>]]) -> Session {
    let mut session = session();
    for (at, frames) in transactions.iter().enumerate() {
        if at > 0 {
            session.transaction_ended();
        }
        for frame in *frames {
            asks(&mut session, frame);
            if frame[0] == Frontend::QUERY.0 {
                answer(&mut session, &[Backend::READY_FOR_QUERY]);
            }
        }
    }
    session
}

/// A session that has prepared this under the name s1, and what its server has.
fn session_with_statement() -> (Session, Prepared) {
    let (mut session, mut server) = (session(), Prepared::default());
    session.on_client(&parse("s1", "select '2026-01-02'::timestamptz"), Some(&mut server));
    session.on_client(&bare(Frontend::SYNC), Some(&mut server));
    for tag in [Backend::PARSE_COMPLETE, Backend::READY_FOR_QUERY] {
        session.on_server(tag, b"I", &mut server);
    }
    session.put_splice(&mut Vec::new());
    assert!(session.is_settled() && session.pin().is_none() && server.len() == 1);
    (session, server)
}

#[test]
fn a_lone_discard_frees_the_names_and_the_session() {
    let (mut session, mut server) = session_with_statement();
    assert_eq!(session.on_client(&query("discard all"), Some(&mut server)), Verdict::Forward);
    session.on_server(Backend::COMMAND_COMPLETE, b"DISCARD ALL\0", &mut server);
    session.on_server(Backend::READY_FOR_QUERY, b"I", &mut server);
    assert!(!session.everything_was_discarded() && session.pin().is_none() && !session.is_doubtful());
    assert!(server.is_empty());
    session.on_client(&bind("", "s1"), Some(&mut Prepared::default()));
    assert_eq!(session.pin(), None, "PostgreSQL's own 26000");
}

#[test]
fn what_a_batch_has_prepared_is_not_of_the_next_one_though_its_rest_was_ignored() {
    let (mut session, mut server) = (session(), Prepared::default());
    session.on_client(&parse("s1", "select 1"), Some(&mut server));
    for (tag, body) in
        [(Backend::PARSE_COMPLETE, &b""[..]), (Backend::PARAMETER_DESCRIPTION, &[0; 2]), (Backend::NO_DATA, b"")]
    {
        session.on_server(tag, body, &mut server);
    }
    assert_eq!(session.on_client(&bind("", "s1"), None), Verdict::AwaitServer);
    assert_eq!(session.fail_outstanding(), [Failure::Error]);
    assert_eq!(session.on_client(&bind("", "s1"), None), Verdict::Ignore);
    assert_eq!(session.on_client(&bare(Frontend::SYNC), None), Verdict::AnswerReady);
    let mut ahead = Vec::new();
    session.put_splice(&mut ahead);
    ahead.clear();
    // It can be prepared no more, perhaps, and the next batch would fail by that.
    for text in ["select 2", "do 'begin end'"] {
        session.on_client(&parse("", text), Some(&mut server));
        session.on_client(&bind("", ""), Some(&mut server));
    }
    session.put_splice(&mut ahead);
    assert!(memchr::memmem::find(&ahead, b"s1").is_none(), "{:?}", String::from_utf8_lossy(&ahead));
}
