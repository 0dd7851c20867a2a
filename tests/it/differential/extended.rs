//! The extended protocol: parameters, descriptions, portals, function calls.

use super::{Differential, Script};
use crate::harness::Frame;
use crate::harness::frames::{
    bind, close_portal, describe_portal, describe_statement, execute, extended, flush, function_call, parse,
    parse_typed, query, sync,
};

#[tokio::test]
async fn extended_queries_are_answered_as_postgresql_would() {
    let binary = Frame::new(b'B', *b"\0\0\0\0\0\0\0\0\x01\0\x01");
    Differential::start()
        .await
        .play([
            Script::new("parameters")
                .ask(extended("select name from item where id = $1", &[Some("3")]))
                .ask(extended("select $1::text, $2::int", &[None, Some("7")]))
                .ask(extended("select $1::int", &[Some("x")]))
                .ask(extended("select $1::int", &[]))
                .ask(extended("select 1", &[Some("too many")]))
                .ask([parse_typed("", "select $1", &[23]), bind("", "", &[Some("5")]), execute("", 0), sync()]),
            Script::new("changes")
                .ask(extended("insert into item values ($1, $2)", &[Some("11"), Some("x")]))
                .ask(extended("delete from item where id = $1 returning name", &[Some("11")])),
            Script::new("descriptions")
                .ask([parse("", "select id, name from item where id > $1"), describe_statement(""), sync()])
                .ask([parse("", "delete from item where id = $1"), describe_statement(""), sync()])
                .ask([describe_portal("nobody"), sync()])
                .ask([describe_statement("nobody"), sync()]),
            Script::new("nothing").ask(extended("", &[])).ask(extended("-- nothing", &[])).ask([sync()]),
            Script::new("binary results").ask([parse("", "select 258"), binary, execute("", 0), sync()]),
            Script::new("transactions")
                .ask(extended("begin", &[]))
                .ask(extended("select count(*) from item", &[]))
                .ask(extended("select 1/0", &[]))
                .ask(extended("select 1", &[]))
                .ask(extended("rollback", &[]))
                .ask(extended("select 2", &[])),
            Script::new("malformed")
                .ask([Frame::new(b'P', *b"\0select 1"), sync()])
                .ask([parse("", "select 1"), Frame::new(b'B', *b"\0\0\0"), sync()])
                .ask([Frame::new(b'D', *b"X\0"), sync()])
                .ask([Frame::new(b'C', *b"X\0"), sync()])
                .ask([Frame::new(b'E', []), sync()])
                .query("select 1"),
        ])
        .await;
}

#[tokio::test]
async fn portals_live_as_long_as_their_transaction() {
    let rows = "select n from generate_series(1, 5) n";
    Differential::start()
        .await
        .play([
            Script::new("a stream over Flush, as pg-query-stream does it")
                .until(b'T', 1, [parse("", rows), bind("C_1", "", &[]), describe_portal("C_1"), flush()])
                .until(b's', 1, [execute("C_1", 2), flush()])
                .until(b's', 1, [execute("C_1", 2), flush()])
                .until(b'C', 1, [execute("C_1", 2), flush()])
                .ask([close_portal("C_1"), sync()])
                .query("select 1"),
            Script::new("a stream that is closed early")
                .until(b's', 1, [parse("", rows), bind("C_1", "", &[]), execute("C_1", 1), flush()])
                .ask([close_portal("C_1"), sync()])
                .ask([execute("C_1", 1), sync()]),
            Script::new("a stream that fails")
                .until(
                    b's',
                    1,
                    [
                        parse("", "select 1/(3-n) from generate_series(1, 5) n"),
                        bind("C_1", "", &[]),
                        execute("C_1", 1),
                        flush(),
                    ],
                )
                .until(b'E', 1, [execute("C_1", 2), flush()])
                .ask([close_portal("C_1"), sync()]),
            Script::new("over Syncs, in a transaction")
                .query("begin")
                .ask([parse("", rows), bind("p", "", &[]), execute("p", 1), sync()])
                .ask([execute("p", 1), sync()])
                .query("select 'between'")
                .ask([execute("p", 0), sync()])
                .ask([execute("p", 0), sync()])
                .query("commit")
                .ask([execute("p", 0), sync()]),
            Script::new("gone with its Sync")
                .ask([parse("", rows), bind("p", "", &[]), execute("p", 1), sync()])
                .ask([execute("p", 1), sync()]),
            Script::new("a portal twice")
                .ask([parse("", rows), bind("p", "", &[]), bind("p", "", &[]), sync()])
                .ask([close_portal("nobody"), sync()]),
            Script::new("cursors").queries([
                "begin",
                "declare c cursor for select id from item order by id",
                "fetch 2 from c",
                "move 1 in c",
                "fetch all from c",
                "close c",
                "commit",
                "fetch 1 from c",
                "declare c cursor for select 1",
            ]),
        ])
        .await;
}

#[tokio::test]
async fn function_calls_pass() {
    const ABS: u32 = 1397;
    Differential::start()
        .await
        .play([
            Script::new("fastpath")
                .ask([function_call(ABS, &["-5"])])
                .ask([function_call(ABS, &["x"])])
                .ask([function_call(1, &[])])
                .query("select 1"),
            Script::new("fastpath in a transaction")
                .query("begin")
                .ask([function_call(ABS, &["-6"]), query("select 2"), function_call(ABS, &["x"])])
                .ask([function_call(ABS, &["-7"])])
                .query("rollback"),
        ])
        .await;
}
