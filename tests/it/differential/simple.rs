//! The simple protocol.

use super::{Differential, Script};
use crate::harness::Frame;
use crate::harness::frames::query;

#[tokio::test]
async fn simple_queries_are_answered_as_postgresql_would() {
    Differential::start()
        .await
        .play([
            Script::new("rows").queries([
                "select 1",
                "select 1, null, ''",
                "select",
                "select name from item order by id",
                "select n, repeat('x', n) from generate_series(1, 200) n",
                "select * from item where false",
            ]),
            Script::new("nothing").queries(["", ";", " ", "-- nothing", "/* nothing */", ";;", "select 1;;"]),
            Script::new("errors").queries([
                "selec 1",
                "select * from nobody",
                "select 1/0",
                "select 'a'::int",
                "select no_such_column from item",
                "insert into item values (1, 'again')",
                "select 1",
            ]),
            Script::new("changes").queries([
                "insert into item values (6, 'six') returning id, name",
                "update item set name = 'seven' where id = 6",
                "delete from item where id = 6 returning *",
                "create table t_simple (id serial primary key, at timestamptz)",
                "create table t_simple ()",
                "drop table t_simple",
                "drop table if exists t_simple",
                "vacuum item",
            ]),
            Script::new("notices").queries([
                "do $$ begin raise notice 'one'; raise warning 'two' using errcode = '01234'; end $$",
                "create table if not exists item ()",
                "do $$ begin raise exception 'three' using errcode = 'P0003', detail = 'd', hint = 'h'; end $$",
            ]),
            Script::new("several Queries in one write").ask([query("select 1"), query("selec"), query("select 3")]),
            Script::new("a Query without its end").ask([Frame::new(b'Q', *b"select 1")]).query("select 2"),
            Script::new("a Query with more than its end").ask([Frame::new(b'Q', *b"select 1\0x\0")]).query("select 2"),
            Script::new("bytes that are no UTF-8").ask([Frame::new(b'Q', *b"select '\xff\xfe'\0")]).query("select 2"),
            Script::new("a frame without any body").ask([Frame::new(b'Q', [])]).query("select 2"),
            Script::new("an unknown message").query("select 1").until_closed([Frame::new(b'!', *b"?")]),
            Script::new("an unknown message in a transaction").query("begin").until_closed([Frame::new(b'?', [])]),
        ])
        .await;
}

#[tokio::test]
async fn transactions_begin_fail_and_end_as_on_postgresql() {
    Differential::start()
        .await
        .play([
            Script::new("a transaction").queries(["begin", "select 1", "insert into item values (7, 'x')", "rollback"]),
            Script::new("committed").queries([
                "BEGIN;",
                "insert into item values (7, 'x')",
                "COMMIT;",
                "delete from item where id = 7",
            ]),
            Script::new("failed").queries(["begin", "select 1/0", "select 1", "commit", "select 2"]),
            Script::new("failed, then ended and gone on").queries(["begin", "selec", "rollback; select 5", "select 6"]),
            Script::new("savepoints").queries([
                "begin",
                "savepoint trx5;",
                "insert into item values (8, 'x')",
                "select 1/0",
                "select 2",
                "rollback to savepoint trx5",
                "select count(*) from item",
                "release savepoint trx5",
                "release savepoint trx5",
                "rollback",
            ]),
            Script::new("isolation").queries([
                "BEGIN TRANSACTION ISOLATION LEVEL serializable READ ONLY;",
                "show transaction_isolation",
                "insert into item values (9, 'x')",
                "rollback",
                "show transaction_isolation",
                "show transaction_read_only",
            ]),
            Script::new("warnings").queries(["commit", "rollback", "begin; begin", "end", "savepoint x", "abort"]),
            Script::new("chained").queries(["begin", "select 1", "commit and chain", "select 2", "rollback"]),
            Script::new("two phases").queries(["begin", "prepare transaction 'p'", "rollback prepared 'p'"]),
        ])
        .await;
}

#[tokio::test]
async fn transaction_control_inside_one_message_is_followed() {
    Differential::start()
        .await
        .play([
            Script::new("statements").queries(["select 1; select 2", "select 1; select 1/0; select 3", "select 4"]),
            Script::new("a whole transaction").queries(["begin; select 1; commit; select 2", "select 3"]),
            Script::new("an open end").queries(["select 1; begin; select 2", "select 3", "commit"]),
            Script::new("an end first").queries(["begin", "commit; select 1", "select 2", "commit; begin", "rollback"]),
            Script::new("an end and a beginning").queries(["begin", "rollback; begin; select 1", "select 2", "commit"]),
            Script::new("undone together").queries([
                "insert into item values (10, 'x'); select 1/0",
                "select count(*) from item",
                "insert into item values (10, 'x'); commit; select 1/0",
                "delete from item where id = 10",
            ]),
            Script::new("a failure behind a begin").queries(["begin; select 1/0; commit", "select 1", "rollback"]),
            Script::new("hidden in text").queries([
                "select 'begin; --' as \"commit\" /* begin; */",
                "select $$begin;$$; select 'it''s; begin' -- begin",
                "do $$ begin perform 1; end $$",
            ]),
        ])
        .await;
}
