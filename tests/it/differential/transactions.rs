//! Settings inside transactions, savepoints, functions and blocks: PostgreSQL's own rules of what stays and what is undone.

use super::{Differential, Script};
use crate::harness::frames::{bind, execute, extended, parse, query, sync};

#[tokio::test]
async fn a_transaction_keeps_or_undoes_its_settings() {
    let run = |sql: &str| [parse("", sql), bind("", "", &[]), execute("", 0)];
    Differential::start()
        .await
        .play([
            Script::new("savepoints").queries([
                "set work_mem to '1MB'",
                "begin",
                "set work_mem to '2MB'",
                "savepoint a",
                "set work_mem to '3MB'",
                "savepoint b",
                "set work_mem to '4MB'; set timezone to 'Asia/Tokyo'; set our.own to 'b'",
                "rollback to b",
                "show work_mem",
                "show timezone",
                "release b",
                "release a",
                "commit",
                "show work_mem",
                "select current_setting('our.own', true)",
                "begin; savepoint a; set work_mem to '5MB'; release a; rollback",
                "show work_mem",
                "begin; savepoint a; set work_mem to '6MB'; rollback to a; commit",
                "show work_mem",
            ]),
            Script::new("local, and for good").queries([
                "begin",
                "set local work_mem to '1MB'",
                "set work_mem to '2MB'",
                "set local work_mem to '3MB'",
                "show work_mem",
                "commit",
                "show work_mem",
                "begin",
                "set work_mem to '4MB'",
                "set local work_mem to '5MB'",
                "rollback",
                "show work_mem",
                "begin; set local timezone to 'Asia/Tokyo'; reset timezone; show timezone; commit",
                "show timezone",
                "begin; set local work_mem to '6MB'; savepoint a; set work_mem to '7MB'; rollback to a; show work_mem; commit",
                "show work_mem",
                "begin; set local role stagehand; set search_path to pg_catalog; commit",
                "select current_user = session_user, current_schema()",
            ]),
            Script::new("reset together with more of a message").queries([
                "begin",
                "reset all; select 1",
                "select current_schema()",
                "commit",
                "begin",
                "select 1; discard temp; reset all",
                "rollback",
            ]),
            Script::new("failed").queries([
                "begin",
                "set work_mem to '1MB'",
                "set timezone to 'Asia/Tokyo'",
                "select 1/0",
                "show work_mem",
                "set work_mem to '2MB'",
                "commit",
                "show work_mem",
                "show timezone",
            ]),
            Script::new("chained").queries([
                "begin",
                "set work_mem to '1MB'",
                "commit and chain",
                "set work_mem to '2MB'",
                "rollback and chain",
                "show work_mem",
                "set local work_mem to '3MB'",
                "commit",
                "show work_mem",
            ]),
            Script::new("reported ones, undone").queries([
                "begin",
                "set datestyle to 'German'",
                "set timezone to 'Asia/Tokyo'",
                "set application_name to 'undone'",
                "set standard_conforming_strings to off",
                "rollback",
                "show datestyle",
                "begin; set timezone to 'Asia/Tokyo'; commit",
                "begin; set timezone to 'Asia/Tokyo'; set datestyle to 'SQL'; rollback",
                "select date '2026-02-01', timestamptz '2026-02-01 00:00+00'",
                "begin; set local timezone to 'Asia/Kolkata'",
                "select timestamptz '2026-02-01 00:00+00'",
                "commit",
            ]),
            Script::new("undone with the rest of their message").queries([
                "set work_mem to '1MB'; select 1/0",
                "show work_mem",
                "set work_mem to '2MB'; commit; set work_mem to '3MB'; select 1/0",
                "show work_mem",
                "begin; set work_mem to '4MB'; commit; select 1/0",
                "show work_mem",
                "set search_path to pg_catalog; set role stagehand; select 1/0",
                "select current_schema(), current_user = session_user",
                "set work_mem to '5MB'; selec",
                "show work_mem",
            ]),
            Script::new("undone with the rest of their batch")
                .ask([&run("set work_mem to '1MB'")[..], &run("select 1/0"), &[sync()]].concat())
                .query("show work_mem")
                .ask([&run("set search_path to pg_catalog")[..], &run("set role nobody_here"), &[sync()]].concat())
                .query("select current_schema()")
                .ask([&run("set work_mem to '2MB'")[..], &run("show work_mem"), &[sync()]].concat())
                .query("show work_mem")
                .ask([extended("set work_mem to '3MB'", &[]), extended("select 1/0", &[])].concat())
                .query("show work_mem")
                .ask([&run("begin")[..], &run("set work_mem to '4MB'"), &run("commit"), &run("selec"), &[sync()]].concat())
                .query("show work_mem")
                .ask([query("set work_mem to '5MB'"), query("begin; set work_mem to '6MB'"), query("rollback")])
                .query("show work_mem"),
        ])
        .await;
}

#[tokio::test]
async fn constraints_are_deferred_until_their_transaction_ends() {
    let insert = "insert into t_child values (7)";
    Differential::start()
        .await
        .play([Script::new("deferred")
            .query("create table t_parent (id int primary key); create table t_child (id int references t_parent deferrable)")
            .queries(["set constraints all deferred", insert])
            .queries(["begin", "set constraints all deferred", insert, "commit"])
            .queries(["begin; set constraints all deferred", insert, "set constraints all immediate", "rollback"])
            .queries(["begin", "set constraints t_child_id_fkey deferred", insert, "insert into t_parent values (7)", "commit"])
            .queries(["begin", "savepoint a", "set constraints all deferred", "rollback to a", "insert into t_child values (8)", "commit"])
            .queries(["set constraints nobody deferred", "drop table t_child, t_parent"])])
        .await;
}

#[tokio::test]
async fn a_reset_that_a_savepoint_brings_back_leads_nowhere() {
    let look = ["show search_path", "select name from item where id = 1", "show application_name"];
    let looks = |name: &'static str, statements: &[&'static str]| {
        let steps = statements.iter().flat_map(|sql| [*sql].into_iter().chain(look));
        Script::new(name).query("begin").queries(steps.collect::<Vec<_>>()).query("commit").queries(look)
    };
    Differential::start()
        .await
        .play([
            looks("reset ahead of it", &["reset all; savepoint b", "rollback to b"]),
            looks(
                "twice",
                &["reset all; savepoint b", "savepoint c", "rollback to c", "rollback to b", "rollback to b"],
            ),
            looks(
                "and set behind it",
                &[
                    "set search_path to pg_catalog; savepoint a",
                    "reset search_path; savepoint b; set search_path to pg_catalog, alpha",
                    "rollback to b",
                    "rollback to a",
                ],
            ),
            looks("its name", &["set application_name to 'a'; reset application_name; savepoint b", "rollback to b"]),
            Script::new("failed behind it")
                .queries(["begin", "reset all; savepoint b; select 1/0", "select 1", "rollback to b"])
                .queries(look)
                .queries(["release b", "commit"])
                .queries(look),
            Script::new("on a server that is kept since")
                .startup("application_name", "mine")
                .queries(["begin", "create temp table own ()", "commit", "set application_name to 'a'"])
                .queries(["reset application_name; select 1", look[2], look[1], "set application_name to 'b'"])
                .queries(["select 1; reset all", look[2], look[0], "drop table own", look[2]]),
            Script::new("failed behind it, in code")
                .queries(["begin", "do $$ begin reset all; end $$; savepoint b; select 1/0", "rollback to b"])
                .queries(look)
                .query("rollback")
                .queries(look),
            Script::new("in one write")
                .query("begin")
                .ask([query("reset search_path; savepoint b"), query("rollback to b"), query(look[1]), query(look[0])])
                .ask([query("rollback to b"), query(look[1]), query("commit"), query(look[1])]),
        ])
        .await;
}

#[tokio::test]
async fn settings_made_where_nobody_can_see() {
    Differential::start()
        .await
        .play([
            Script::new("blocks").queries([
                "do $$ begin set work_mem to '1MB'; end $$",
                "show work_mem",
                "do $$ begin execute 'set wor' || 'k_mem to ''2MB'''; end $$",
                "show work_mem",
                "do 'begin perform set_config(''my.own'', ''block'', false); end'",
                "select current_setting('my.own', true)",
                "do $$ begin set work_mem to '3MB'; raise exception 'no'; end $$",
                "show work_mem",
                "do $$ begin begin set work_mem to '4MB'; raise exception 'no'; exception when others then null; end; end $$",
                "show work_mem",
                "do $$ begin set work_mem to '5MB'; commit; set work_mem to '6MB'; rollback; end $$",
                "show work_mem",
                "do $$ begin set local work_mem to '7MB'; end $$",
                "show work_mem",
                "begin; do $$ begin set timezone to 'Asia/Tokyo'; end $$; rollback",
                "show timezone",
                "do $$ begin set timezone to 'Asia/Tokyo'; set role stagehand; end $$",
                "select current_setting('timezone'), current_user = session_user",
                "do $$ begin reset all; end $$",
                "select current_setting('timezone'), current_setting('work_mem'), current_user = session_user",
            ]),
            Script::new("functions").queries([
                "create function f_plain(value text) returns text language plpgsql as
                 $$ begin return set_config('work_mem', value, false); end $$",
                "create function f_guarded() returns text language plpgsql set work_mem to '9MB' as
                 $$ begin return set_config('work_mem', '8MB', false) || current_setting('work_mem'); end $$",
                "create function f_sql() returns text language sql as $$ select set_config('my.own', 'sql', false) $$",
                "create procedure f_call() language plpgsql as
                 $$ begin set work_mem to '1MB'; commit; set work_mem to '2MB'; rollback; end $$",
                "select f_plain('3MB')",
                "show work_mem",
                "select f_guarded()",
                "show work_mem",
                "select f_sql() || f_plain('4MB')",
                "select current_setting('my.own'), current_setting('work_mem')",
                "call f_call()",
                "show work_mem",
                "begin; select f_plain('5MB'); rollback",
                "show work_mem",
                "begin",
                "savepoint a",
                "select f_plain('6MB'), f_sql()",
                "rollback to a",
                "commit",
                "show work_mem",
                "drop function f_plain(text), f_guarded(), f_sql(); drop procedure f_call()",
                "show work_mem",
            ]),
            Script::new("functions, extended")
                .query("create function f_set(name text, value text) returns text language sql as $$ select set_config($1, $2, false) $$")
                .ask(extended("select f_set($1, $2)", &[Some("timezone"), Some("Asia/Tokyo")]))
                .query("show timezone")
                .ask(extended("select f_set($1, $2)", &[Some("role"), Some("stagehand")]))
                .query("select current_user = session_user")
                .query("reset role")
                .query("drop function f_set(text, text)")
                .query("show timezone"),
        ])
        .await;
}

#[tokio::test]
async fn settings_of_extensions_are_the_clients_own() {
    Differential::start()
        .await
        .play([
            Script::new("placeholders").queries([
                "show our.own",
                "select current_setting('our.own', true)",
                "set our.own to 'a'; set \"our\".\"Odd\" to 'b'; set our.own2 to ''",
                "show our.own",
                "select current_setting('our.Odd'), current_setting('our.own2'), current_setting('my.own', true)",
                "begin; set our.own to 'c'; rollback",
                "show our.own",
                "begin; set local our.own to 'd'; show our.own; commit",
                "show our.own",
                "begin; set our.late to 'e'; rollback",
                "select current_setting('our.late', true)",
                "reset our.own",
                "select current_setting('our.own', true)",
                "set our.own to 'f'",
                "discard all",
                "select nullif(current_setting('our.own', true), ''), nullif(current_setting('our.Odd', true), '')",
            ]),
            Script::new("long and odd values").queries([
                &*format!("set our.own to '{}'", "v".repeat(127)),
                "show our.own",
                &*format!("set our.own to '{}'", "w".repeat(300)),
                "show our.own",
                &*format!("set our.own to '{}'", "x".repeat(5000)),
                "show our.own",
                "set our.own to E'line\\nbreak \\\\ back''slash \\t'",
                "show our.own",
                "set our.own to 'gr\u{fc}n; drop table item; --'",
                "show our.own",
                &*format!("set search_path to {}", "alpha, ".repeat(100) + "pg_catalog"),
                "select length(current_setting('search_path')), current_schema()",
            ]),
            Script::new("of a real one").queries([
                "do $$ begin null; end $$",
                "set plpgsql.extra_warnings to 'all'",
                "show plpgsql.extra_warnings",
                "set plpgsql.extra_warnings to 'bogus'",
                "set plpgsql.bogus to 1",
                "reset plpgsql.extra_warnings",
                "show plpgsql.extra_warnings",
            ]),
        ])
        .await;
}
