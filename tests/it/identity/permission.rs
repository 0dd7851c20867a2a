//! Who may signal whom is PostgreSQL's to say, in the session and in the role of the one who wants to.

use super::{Parameter, direct, extended, sleepers};
use crate::harness::frames::query;
use crate::harness::{Greenroom, RawClient, Reply, STAGEHAND, codes, rows};

/// What an error says.
fn said(replies: &[Reply]) -> Vec<Vec<Option<String>>> {
    let errors = replies.iter().filter(|reply| reply.tag == b'E');
    errors.map(|error| [b'S', b'C', b'M', b'D', b'H'].map(|field| error.field(field)).to_vec()).collect()
}

#[tokio::test]
async fn a_signal_that_postgresql_would_refuse_is_refused_in_its_words() {
    let room = Greenroom::start().auth("trust").servers(4).await;
    let (mut caller, mut victim) = (room.raw("catalog").await, room.raw("search").await);
    let (mut direct_caller, direct_victim) = (direct(&room).await, direct(&room).await);
    // A role that the login may take, and that has nothing to do with the login.
    let take = format!("set role {STAGEHAND}");
    caller.run(&take).await;
    direct_caller.run(&take).await;
    for function in ["pg_cancel_backend", "pg_terminate_backend"] {
        let ask = async |client: &mut RawClient, pid: i32, with_parameter: bool| match with_parameter {
            true => {
                let pid = [Parameter::Text(pid.to_string())];
                extended(client, &format!("select {function}($1)"), &pid, false).await
            }
            false => client.query(&format!("select {function}({pid})")).await,
        };
        for with_parameter in [false, true] {
            let refused = said(&ask(&mut direct_caller, direct_victim.key().0, with_parameter).await);
            assert_eq!(refused[0][1].as_deref(), Some("42501"));
            // At rest, in a transaction, and at work.
            assert_eq!(said(&ask(&mut caller, victim.key().0, with_parameter).await), refused, "{function}");
            victim.run("begin").await;
            assert_eq!(said(&ask(&mut caller, victim.key().0, with_parameter).await), refused, "{function}");
            victim.send(&[query("select 'unhurt' from pg_sleep(1)")]).await;
            sleepers(&room, 1).await;
            assert_eq!(said(&ask(&mut caller, victim.key().0, with_parameter).await), refused, "{function}");
            assert_eq!(rows(&victim.until(b'Z', 1).await), ["unhurt"]);
            victim.run("commit").await;
        }
    }
    // What was refused has ended the caller's transaction, as any error does.
    caller.run("begin").await;
    assert_eq!(codes(&caller.query(&format!("select pg_cancel_backend({})", victim.key().0)).await), ["42501"]);
    assert_eq!(codes(&caller.query("select 1").await), ["25P02"]);
    caller.run("rollback").await;
    caller.run("reset role").await;
    assert_eq!(rows(&caller.run(&format!("select pg_cancel_backend({})", victim.key().0)).await), ["t"]);
}

#[tokio::test]
async fn what_is_no_number_of_a_client_is_answered_as_by_postgresql() {
    let room = Greenroom::start().auth("trust").servers(3).await;
    let (mut client, mut direct, victim) = (room.raw("catalog").await, direct(&room).await, room.raw("search").await);
    let mut victim = victim;
    victim.run("begin").await;
    let answers = |replies: Vec<Reply>| (rows(&replies), said(&replies));
    for sql in [
        "select pg_cancel_backend(null)",
        "select pg_terminate_backend(null::int)",
        "select pg_cancel_backend(-5)",
        "select pg_cancel_backend(99999999999)",
        "select pg_terminate_backend('x')",
        "select pg_cancel_backend('99999999999')",
        "select pg_terminate_backend(5.5)",
        "select pg_terminate_backend()",
        "select pg_cancel_backend(2147483647)",
        "select pg_cancel_backend(1073741824 + 0), pg_terminate_backend(2147483647)",
    ] {
        let (ours, theirs) = (client.query(sql).await, direct.query(sql).await);
        assert_eq!(answers(ours), answers(theirs), "{sql}");
        let ours = extended(&mut client, sql, &[], false).await;
        assert_eq!(answers(ours), answers(extended(&mut direct, sql, &[], false).await), "{sql}");
    }
    for value in ["", "x", "-1", "99999999999", " 1 ", "2147483648"] {
        let value = || [Parameter::Text(value.to_owned())];
        let sql = "select pg_cancel_backend($1)";
        let ours = extended(&mut client, sql, &value(), false).await;
        assert_eq!(answers(ours), answers(extended(&mut direct, sql, &value(), false).await));
    }
    // Several in one text are none that greenroom follows: there are no such processes, and nobody is hit.
    let pid = victim.key().0;
    let several = format!("select pg_terminate_backend({pid}), pg_cancel_backend({pid})");
    assert_eq!(rows(&client.query(&several).await), ["f"]);
    assert_eq!(rows(&client.query(&format!("select pg_cancel_backend({pid}); select 1")).await), ["f", "1"]);
    assert_eq!(rows(&victim.run("select 'unhurt'").await), ["unhurt"]);
    // The number that PostgreSQL has for its server is PostgreSQL's to use.
    let server = "select pg_cancel_backend(pid) from pg_stat_activity where state = 'idle in transaction' and
                  usename = current_user";
    assert_eq!(rows(&client.query(server).await), ["t"]);
    assert_eq!(rows(&victim.run("select 'unhurt'").await), ["unhurt"]);
}

#[tokio::test]
async fn a_number_that_is_no_clients_is_none_of_postgresqls() {
    let room = Greenroom::start().auth("trust").servers(2).await;
    let (mut caller, gone) = (room.raw("catalog").await, room.raw("catalog").await);
    let pid = gone.key().0;
    gone.leave().await;
    for function in ["pg_cancel_backend", "pg_terminate_backend"] {
        for replies in [
            caller.run(&format!("select {function}({pid})")).await,
            extended(&mut caller, &format!("select {function}($1)"), &[Parameter::Text(pid.to_string())], false).await,
        ] {
            assert_eq!(rows(&replies), ["f"]);
            let warning = replies.iter().find(|reply| reply.tag == b'N').expect("a warning");
            assert_eq!(warning.field(b'S').as_deref(), Some("WARNING"));
            let text = warning.field(b'M').expect("a text");
            assert!(text.starts_with(&format!("PID {pid} is not a PostgreSQL ")), "{text}");
        }
    }
}
