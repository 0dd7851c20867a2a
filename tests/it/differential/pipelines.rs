//! Batches: several statements before a Sync, several Syncs in one write, errors in the middle.

use super::{Differential, Script};
use crate::harness::frames::{bind, describe_portal, describe_statement, execute, extended, flush, parse, query, sync};
use crate::harness::{Frame, Greenroom, codes};

/// Parse, Bind and Execute on the unnamed statement, without a Sync.
fn run(sql: &str) -> Vec<Frame> {
    vec![parse("", sql), bind("", "", &[]), execute("", 0)]
}

fn batch(statements: &[&str]) -> Vec<Frame> {
    [statements.iter().flat_map(|sql| run(sql)).collect(), vec![sync()]].concat()
}

#[tokio::test]
async fn pipelines_are_answered_in_order_and_fail_where_they_fail() {
    let each = |statements: &[&str]| statements.iter().flat_map(|sql| extended(sql, &[])).collect::<Vec<_>>();
    Differential::start()
        .await
        .play([
            Script::new("one Sync").ask(batch(&["select 1", "select 2", "select 3"])),
            Script::new("an error in the middle").ask(batch(&["select 1", "select 1/0", "select 3"])).query("select 4"),
            Script::new("undone together")
                .ask(batch(&["insert into item values (12, 'x')", "select 1/0"]))
                .query("select count(*) from item"),
            Script::new("many Syncs").ask(each(&["select 1", "select 2", "select 3"])),
            Script::new("many Syncs and an error").ask(each(&[
                "select 1",
                "selec",
                "select 3",
                "select 1/0",
                "select 5",
            ])),
            Script::new("a transaction in one batch").ask(batch(&["begin", "select 1", "commit", "select 2"])),
            Script::new("a transaction over Syncs").ask(each(&[
                "begin",
                "select 1",
                "select 1/0",
                "select 2",
                "commit",
            ])),
            Script::new("a transaction left open")
                .ask(batch(&["select 1", "begin"]))
                .query("select 2")
                .query("rollback"),
            Script::new("Syncs alone").ask([sync(), sync(), sync()]).ask([flush(), sync()]),
            Script::new("a Query in a batch").ask([run("select 1"), vec![query("select 2")]].concat()).ask([sync()]),
            Script::new("a Query behind an error").until(b'Z', 1, [parse("", "selec"), query("select 2"), sync()]),
            Script::new("both protocols in one write")
                .ask([vec![query("select 1")], extended("select 2", &[]), vec![query("select 3")]].concat()),
            Script::new("a hundred statements").ask(batch(&["select 'one of a hundred'"; 100])),
            Script::new("a hundred Syncs").ask(each(&["select name from item where id = 1"; 100])),
        ])
        .await;
}

/// From PostgreSQL 18 on no transaction can be begun any more where it was; that is told to nobody else.
#[tokio::test]
async fn what_a_query_in_a_batch_does_to_a_server_concerns_nobody_else() {
    let room = Greenroom::start().servers(1).await;
    let (mut client, mut other) = (room.raw("catalog").await, room.raw("search").await);
    let pid = other.query("select pg_backend_pid() + 0").await;
    client.ask(&[run("select 1"), vec![query("select 2")]].concat()).await;
    client.ask(&[sync()]).await;
    assert_eq!(codes(&other.ask(&batch(&["select 1", "select 2"])).await), [""; 0]);
    assert_ne!(other.query("select pg_backend_pid() + 0").await, pid, "that server is closed");
}

#[tokio::test]
async fn flush_brings_what_is_there() {
    Differential::start()
        .await
        .play([
            Script::new("a description first")
                .until(b'T', 1, [parse("", "select $1::int + 1"), describe_statement(""), flush()])
                .until(b'C', 1, [bind("", "", &[Some("1")]), describe_portal(""), execute("", 0), flush()])
                .ask([sync()]),
            Script::new("an error before the Sync")
                .until(b'E', 1, [parse("", "selec"), flush()])
                .ask([bind("", "", &[]), execute("", 0), flush(), sync()])
                .query("select 1"),
            Script::new("an error, and then patience")
                .until(b'E', 1, [run("select 1/0"), vec![flush()]].concat())
                .ask([sync()])
                .query("select 1"),
            Script::new("in a transaction")
                .query("begin")
                .until(b'C', 1, [run("select 1"), vec![flush()]].concat())
                .until(b'C', 1, [run("select 2"), vec![flush()]].concat())
                .ask([sync()])
                .query("commit"),
        ])
        .await;
}
