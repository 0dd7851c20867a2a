//! Which number a client is told, and where.

use super::{bind, direct, extended};
use crate::harness::frames::{describe_portal, describe_statement, execute, parse, query, sync};
use crate::harness::{Greenroom, RawClient, Reply, codes, rows, tags};

const SHAPES: [&str; 8] = [
    "SELECT pg_backend_pid()",
    "select pg_backend_pid() as pid;",
    "SELECT pg_backend_pid() AS \"processId\"",
    "select pg_catalog.pg_backend_pid()",
    "select pg_backend_pid()::text",
    "select cast(pg_backend_pid() as bigint) -- own",
    "/* ours */ select pg_backend_pid()::int8::text pid",
    "select pg_backend_pid() as pid, current_setting('DateStyle')",
];

/// What is told of columns: everything of RowDescriptions and ParameterDescriptions.
fn described(replies: &[Reply]) -> Vec<(u8, Vec<u8>)> {
    replies
        .iter()
        .filter(|reply| matches!(reply.tag, b'T' | b't'))
        .map(|reply| (reply.tag, reply.body.clone()))
        .collect()
}

#[tokio::test]
async fn every_bare_question_for_the_number_is_answered_with_the_one_of_the_login() {
    let room = Greenroom::start().auth("trust").servers(1).await;
    let (mut one, mut other, mut direct) = (room.raw("catalog").await, room.raw("catalog").await, direct(&room).await);
    assert_ne!(one.key().0, other.key().0);
    assert!(one.key().0 > 1 << 22 && other.key().0 > 1 << 22, "no process of Linux has such a number");
    for sql in SHAPES {
        for client in [&mut one, &mut other] {
            let own = client.key().0.to_string();
            let simple = client.run(sql).await;
            assert_eq!(rows(&simple), [&*own], "{sql}");
            let as_text = extended(client, sql, &[], false).await;
            assert_eq!(rows(&as_text), [&*own], "{sql}");
            let (binary, expected) = (extended(client, sql, &[], true).await, direct_binary(&mut direct, sql).await);
            assert_eq!(
                binary.iter().find(|reply| reply.tag == b'D').map(|row| row.body.len()),
                Some(expected),
                "{sql}"
            );
            for (ours, postgresqls) in [
                (&simple, direct.run(sql).await),
                (&as_text, extended(&mut direct, sql, &[], false).await),
                (&binary, extended(&mut direct, sql, &[], true).await),
            ] {
                assert_eq!(described(ours), described(&postgresqls), "{sql}");
                assert_eq!(tags(ours), tags(&postgresqls), "{sql}");
            }
        }
    }
    assert_eq!(room.metrics().await.sum("greenroom_pins_total", &[]), 0.0);
}

/// The length of a row in binary, where numbers have the same length however large they are, with ten digits for texts.
async fn direct_binary(client: &mut RawClient, sql: &str) -> usize {
    let sql = sql.replace("pg_catalog.", "").replace("pg_backend_pid()", "1073741824");
    let replies = extended(client, &sql, &[], true).await;
    replies.iter().find(|reply| reply.tag == b'D').expect("a row").body.len()
}

#[tokio::test]
async fn a_named_statement_and_a_transaction_know_the_same_number() {
    let room = Greenroom::start().auth("trust").servers(2).await;
    let (mut one, mut other) = (room.raw("catalog").await, room.raw("catalog").await);
    for client in [&mut one, &mut other] {
        client.ask(&[parse("own", "select pg_backend_pid()"), describe_statement("own"), sync()]).await;
    }
    for _ in 0..3 {
        for client in [&mut one, &mut other] {
            let own = client.key().0;
            let uses = [bind("own", &[], false), describe_portal(""), execute("", 0), sync()];
            assert_eq!(rows(&client.ask(&uses).await), [own.to_string()]);
            let uses = [bind("own", &[], true), execute("", 0), sync()];
            let row = client.ask(&uses).await.into_iter().find(|reply| reply.tag == b'D').expect("a row");
            assert_eq!(row.body[6..], own.to_be_bytes());
        }
    }
    let replies = one.ask(&[query("begin"), query("select pg_backend_pid()"), query("select 1/0")]).await;
    assert_eq!(rows(&replies), [one.key().0.to_string()]);
    assert_eq!(codes(&one.query("select pg_backend_pid()").await), ["25P02"]);
    one.run("rollback").await;
    assert_eq!(room.metrics().await.sum("greenroom_pins_total", &[]), 0.0);
}

#[tokio::test]
async fn a_session_that_keeps_its_server_knows_the_same_number() {
    let room = Greenroom::start().auth("trust").servers(2).await;
    let mut client = room.raw("catalog").await;
    let own = client.key().0.to_string();
    client.ask(&[parse("before", "select pg_backend_pid()"), sync()]).await;
    client.run("create temporary table kept (a int)").await;
    client.ask(&[parse("behind", "select pg_backend_pid()"), sync()]).await;
    assert_eq!(rows(&client.run("select pg_backend_pid()").await), [&*own]);
    assert_eq!(rows(&extended(&mut client, "select pg_backend_pid()", &[], false).await), [&*own]);
    for name in ["before", "behind"] {
        let uses = [bind(name, &[], false), execute("", 0), sync()];
        assert_eq!(rows(&client.ask(&uses).await), [&*own], "{name}");
    }
    // Among other statements of one text it is the server's.
    let server = rows(&client.run("select pg_backend_pid() + 0").await);
    assert_eq!(rows(&client.run("select pg_backend_pid(); select pg_backend_pid()").await), [&*server[0], &*server[0]]);
}

#[tokio::test]
async fn a_statement_about_the_number_is_described_alone_wherever_it_is() {
    let room = Greenroom::start().auth("trust").servers(2).await;
    let (mut client, mut other, mut direct) =
        (room.raw("catalog").await, room.raw("catalog").await, direct(&room).await);
    for (name, sql) in [
        ("own", "select pg_backend_pid() as pid, $1::text"),
        ("cancel", "select pg_cancel_backend($1)"),
        ("end", "select * from pg_terminate_backend($1::int, 5)"),
        ("", "select pg_cancel_backend($1) as done"),
    ] {
        let parse = [parse(name, sql), sync()];
        client.ask(&parse).await;
        let expected = direct.ask(&parse).await;
        assert_eq!(tags(&expected), "1Z");
        // On the other server.
        other.run("begin").await;
        let describes = [describe_statement(name), sync()];
        let told = (client.ask(&describes).await, direct.ask(&describes).await);
        other.run("commit").await;
        assert_eq!((tags(&told.0), described(&told.0)), (tags(&told.1), described(&told.1)), "{sql}");
    }
}

#[tokio::test]
async fn a_number_that_is_looked_for_among_postgresqls_own_is_postgresqls() {
    let room = Greenroom::start().auth("trust").servers(1).await;
    let startup = room.startup("catalog").with("application_name", "backstage_plugin_catalog");
    let mut client = RawClient::log_in(room.address(), &startup).await;
    client.run("begin").await;
    let server = rows(&client.run("select pg_backend_pid() + 0").await);
    assert_ne!(server, [client.key().0.to_string()]);
    for sql in [
        "select pid from pg_stat_activity where pid = pg_backend_pid()",
        "select pid from pg_locks where pid = pg_backend_pid() limit 1",
        "select pg_backend_pid() from pg_class limit 1",
        "select (select pg_backend_pid())",
    ] {
        assert_eq!(rows(&client.run(sql).await), server, "{sql}");
    }
    // What an operator sees there is the client's name.
    let name = "select application_name from pg_stat_activity where pid = pg_backend_pid()";
    assert_eq!(rows(&client.run(name).await), ["backstage_plugin_catalog"]);
    let pid = server[0].parse::<i32>().expect("a number");
    let seen = format!("select application_name from pg_stat_activity where pid = {pid}");
    assert_eq!(room.stage().sql(&seen).await, ["backstage_plugin_catalog"]);
    client.run("commit").await;
}
