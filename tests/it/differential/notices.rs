//! Notices: of every level, under every client_min_messages, wherever they come.

use super::{Differential, Script};
use crate::harness::frames::{bind, execute, flush, function_call, parse, query, sync};

/// One of each level that a client may be told.
const ALL: &str =
    "do $$ begin raise debug 'd'; raise log 'l'; raise info 'i'; raise notice 'n'; raise warning 'w'; end $$";

#[tokio::test]
async fn notices_of_every_level_come_as_from_postgresql() {
    let levels = ["debug1", "log", "notice", "warning", "error", "info"];
    let leveled = levels.map(|level| format!("set client_min_messages to {level}"));
    let each = leveled.iter().flat_map(|set| [set.as_str(), ALL, "select 1", "reset client_min_messages"]);
    Differential::start()
        .await
        .play([
            Script::new("levels").queries(each),
            Script::new("of a transaction").queries([
                "begin; set local client_min_messages to error",
                ALL,
                "commit",
                ALL,
                "begin; set client_min_messages to warning; rollback",
                ALL,
                "begin; set client_min_messages to warning; commit",
                ALL,
            ]),
            Script::new("with the login").startup("client_min_messages", "warning").queries([ALL, "reset all", ALL]),
            Script::new("with the login's options")
                .startup("options", "-c client_min_messages=error")
                .queries([ALL, "discard all", ALL]),
            Script::new("all fields").query(
                "do $$ begin raise notice using message = 'm', errcode = '01777', detail = 'd', hint = 'h', column = 'c',
                 constraint = 'k', datatype = 't', table = 'tab', schema = 'sch'; end $$",
            ),
            Script::new("between rows")
                .query(
                    "create function f_tell(n int) returns int language plpgsql as $$ begin
                     raise notice 'row %', n; return n; end $$",
                )
                .query("select f_tell(n) from generate_series(1, 3) n; select f_tell(4)")
                .ask([parse("", "select f_tell(5)"), bind("", "", &[]), execute("", 0), sync()])
                .query("drop function f_tell(int)"),
            Script::new("before an error").query("do $$ begin raise warning 'w'; raise exception 'e'; end $$"),
            Script::new("before the end of a batch")
                .until(b'N', 1, [parse("", ALL), bind("", "", &[]), execute("", 0), flush()])
                .ask([sync()]),
            Script::new("of statements").queries([
                "drop table if exists nobody",
                "create schema if not exists alpha",
                "begin; begin; create table t_notice (x int primary key); truncate t_notice cascade; rollback",
                "vacuum pg_catalog.pg_class",
                "set timezone to 'utc'; set local work_mem to '1MB'",
                "create table t_notice (x varchar(3)); comment on table t_notice is 'x'; drop table t_notice cascade",
            ]),
            Script::new("much of it").query("do $$ begin for n in 1..2000 loop raise notice '%', repeat('x', 200); end loop; end $$"),
            Script::new("of a function call").ask([query("begin"), function_call(1397, &["-5"]), query("commit; commit")]),
        ])
        .await;
}
