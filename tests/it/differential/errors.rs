//! Errors that end a login, a statement or a session: PostgreSQL's own, in its words.

use super::{Differential, Script};
use crate::harness::frames::{bind, describe_statement, execute, flush, parse, query, sync};
use crate::harness::{RawClient, Reply, Startup};

/// Who is told what: severity, SQLSTATE and message, without the place in somebody's source.
fn told(replies: &[Reply]) -> Vec<Vec<Option<String>>> {
    let errors = replies.iter().filter(|reply| reply.tag == b'E');
    errors.map(|error| [b'S', b'V', b'C', b'M'].map(|field| error.field(field)).to_vec()).collect()
}

#[tokio::test]
async fn a_login_is_refused_in_postgresqls_words() {
    let differential = Differential::start().await;
    let stage = differential.room.stage();
    let wrong = |database: &str| Startup::new(&stage.login, "wrong", database);
    let cases = [
        ("a wrong password", wrong(&differential.twin), wrong("backstage_plugin_alpha")),
        ("an unknown database", stage.startup("no_such_place"), stage.startup("no_such_place")),
        (
            "an unknown user",
            Startup::new("nobody_here", "wrong", &differential.twin),
            Startup::new("nobody_here", "wrong", "backstage_plugin_alpha"),
        ),
    ];
    for (what, plain, pooled) in cases {
        let plain = RawClient::try_log_in(&stage.address(), &plain).await;
        let pooled = RawClient::try_log_in(differential.room.address(), &pooled).await;
        assert_eq!(told(&pooled.hello), told(&plain.hello), "{what}");
    }
}

#[tokio::test]
async fn limits_of_the_server_are_told_by_the_server() {
    Differential::start()
        .await
        .play([
            Script::new("a statement's time")
                .queries(["set statement_timeout to '30ms'", "select pg_sleep(5)", "select 1"])
                .ask([parse("", "select pg_sleep(5)"), bind("", "", &[]), execute("", 0), sync()])
                .queries([
                    "begin",
                    "select pg_sleep(5)",
                    "select 1",
                    "rollback",
                    "set statement_timeout to 0",
                    "select pg_sleep(0.05)",
                ]),
            Script::new("a statement's time, of one transaction").queries([
                "begin; set local statement_timeout to '30ms'",
                "select pg_sleep(5)",
                "rollback",
                "select pg_sleep(0.05)",
            ]),
            Script::new("a transaction's idle time")
                .queries(["set idle_in_transaction_session_timeout to '50ms'", "begin"])
                .until_closed([]),
            Script::new("a transaction's idle time, of this one")
                .query("begin; set local idle_in_transaction_session_timeout to '50ms'")
                .until_closed([]),
            Script::new("a failed transaction's idle time")
                .query("set idle_in_transaction_session_timeout to '50ms'")
                .query("begin; select 1/0")
                .until_closed([]),
            Script::new("a session's idle time").query("set idle_session_timeout to '50ms'").until_closed([]),
            Script::new("a wait for a lock").queries([
                "begin; set local lock_timeout to '30ms'; lock table item in access exclusive mode; select 1",
                "rollback",
            ]),
        ])
        .await;
}

#[tokio::test]
async fn a_server_that_is_terminated_says_so() {
    let end = "select count(pg_terminate_backend(pid, 5000)) from pg_stat_activity
               where datname = current_database() and application_name = 'ended'";
    let ended = |name| Script::new(name).alone().query("set application_name to 'ended'");
    Differential::start()
        .await
        .play([
            ended("in a transaction").query("begin").meanwhile(end).until_closed([]),
            ended("in a failed transaction").query("begin; select 1/0").meanwhile(end).until_closed([]),
            ended("in a batch")
                .until(b'C', 1, [parse("", "select 1"), bind("", "", &[]), execute("", 0), flush()])
                .meanwhile(end)
                .until_closed([]),
            ended("in a COPY").until(b'G', 1, [query("copy item from stdin")]).meanwhile(end).until_closed([]),
            ended("at rest, with a server of its own")
                .query("create temp table own ()")
                .meanwhile(end)
                .until_closed([]),
            ended("by itself").until_closed([query("select pg_terminate_backend(pg_backend_pid())")]),
            ended("by itself, in a transaction")
                .query("begin")
                .until_closed([query("select pg_terminate_backend(pg_backend_pid())"), query("select 1")]),
        ])
        .await;
}

#[tokio::test]
async fn errors_of_the_protocol_are_postgresqls() {
    Differential::start()
        .await
        .play([
            Script::new("in the middle of a batch")
                .ask([parse("s1", "select 1"), bind("nope", "s2", &[]), sync()])
                .ask([describe_statement("s1"), sync()])
                .ask([execute("nope", 0), sync()])
                .query("select 1"),
            Script::new("details, hints and positions").queries([
                "select nam from item",
                "insert into item (id) values (1)",
                "select fn_nobody(1)",
                "select 1 +",
                "do $$ begin raise exception using errcode = 'P0042', message = 'm', detail = 'd', hint = 'h',
                 column = 'c', constraint = 'k', datatype = 't', table = 'tab', schema = 'sch'; end $$",
                "select 'x'::numeric(1000, 2000)",
                "select $1",
            ]),
        ])
        .await;
}
