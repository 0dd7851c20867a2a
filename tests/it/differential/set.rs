//! SET, RESET and whatever else changes a setting, in every form that PostgreSQL takes.

use super::{Differential, Script};
use crate::harness::frames::{bind, execute, extended, parse, query, sync};

/// A setting, by everything that tells it.
const WORK_MEM: [&str; 3] = [
    "show work_mem",
    "select current_setting('work_mem')",
    "select setting, unit from pg_settings where name = 'work_mem'",
];

#[tokio::test]
async fn set_is_understood_in_every_form() {
    Differential::start()
        .await
        .play([
            Script::new("spelled in many ways").queries([
                "SET SESSION work_mem = '1MB'",
                "show work_mem",
                "set \"work_mem\" to 2048",
                "show work_mem",
                "SET/* a comment */work_mem -- another\n TO\t'3MB' ;",
                "show work_mem",
                "set work_mem to E'4\\x4dB'",
                "show work_mem",
                "set work_mem to U&'5\\004dB'",
                "show work_mem",
                "set WORK_MEM = default",
                "show work_mem",
                "set local work_mem to '6MB'",
                "show work_mem",
                ";;set work_mem to '7MB';;",
                "show work_mem",
            ]),
            Script::new("values of every kind").queries([
                "set enable_seqscan = off",
                "set enable_sort to 0; set enable_hashjoin to 'no'; set enable_nestloop = FALSE",
                "select name, setting from pg_settings where name like 'enable\\_%' order by name",
                "set seq_page_cost = 1.5; set random_page_cost to '2.5'; set geqo_seed to 1e-1",
                "select name, setting from pg_settings where name in ('seq_page_cost', 'random_page_cost', 'geqo_seed')",
                "set extra_float_digits to -3",
                "select 1::float8 / 3",
                "set bytea_output to escape",
                "select '\\x00ff61'::bytea",
                "set xml option document",
                "show xmloption",
                "set default_tablespace to ''",
                "show default_tablespace",
                "set application_name to 'it''s \"quoted\" \\ and $1'",
                "show application_name",
                "set application_name to \"an identifier\"",
                "show application_name",
            ]),
            Script::new("time zones").queries([
                "set time zone 'Asia/Kolkata'",
                "show time zone",
                "select timestamptz '2026-01-01 00:00+00'",
                "set time zone -7.5",
                "show timezone",
                "select timestamptz '2026-01-01 00:00+00'",
                "set time zone interval '+02:30' hour to minute",
                "show timezone",
                "set session time zone local",
                "show timezone",
                "set timezone to 'utc'",
                "show timezone",
                "set time zone default",
                "reset time zone",
                "show timezone",
            ]),
            Script::new("names and schemas").queries([
                "set names 'latin1'",
                "show client_encoding",
                "select chr(233)",
                "set names",
                "show client_encoding",
                "set schema 'pg_catalog'",
                "select current_schema()",
                "set search_path to \"odd, name\", \"Upper\", '', \"$user\", alpha",
                "show search_path",
                "select current_schemas(true)",
                "select name from item where id = 1",
            ]),
            Script::new("of all its transactions").queries([
                "set session characteristics as transaction read only",
                "show transaction_read_only",
                "insert into item values (99, 'x')",
                "begin read write",
                "insert into item values (99, 'x')",
                "rollback",
                "set session characteristics as transaction isolation level repeatable read, read write, deferrable",
                "show default_transaction_isolation",
                "show default_transaction_deferrable",
                "begin",
                "show transaction_isolation",
                "commit",
                "set transaction isolation level serializable",
                "show transaction_isolation",
                "begin; set transaction read only; select 1; set transaction read write",
                "rollback",
                "reset default_transaction_isolation",
                "show transaction_isolation",
            ]),
            Script::new("roles and sessions").queries([
                "set session authorization default",
                "set session authorization nobody_here",
                "set session authorization stagehand",
                "reset session authorization",
                "set role none",
                "set role 'stagehand'",
                "select current_user = session_user",
                "set local role none",
                "select current_user = session_user",
                "reset role",
                "select current_user = session_user",
            ]),
            Script::new("wrong at the moment of the SET").queries([
                "set work_mem to '-5MB'",
                "set work_mem to '1 parsec'",
                "set work_mem = 1, 2",
                "set extra_float_digits = 99",
                "set enable_seqscan to maybe",
                "set datestyle to 'Klingon'",
                "set client_encoding to 'klingon'",
                "set client_encoding to 'MULE_INTERNAL'",
                "set log_statement to 'all'",
                "set server_version to '1'",
                "set shared_buffers to '1GB'",
                "set is_superuser to on",
                "set my_own to 1",
                "set my.own.deeper to 1",
                "set my.1 to 1",
                "set search_path to a,",
                "set bogus",
                "reset bogus",
                "show bogus",
                "alter system set work_mem to '1MB'",
                "show work_mem",
            ]),
        ])
        .await;
}

#[tokio::test]
async fn settings_change_without_a_set() {
    let again = || [bind("", "", &[]), execute("", 0), sync()];
    Differential::start()
        .await
        .play([
            Script::new("by set_config").queries([
                "select set_config('work_mem', '1MB', false), set_config('my.own', 'it''s', false)",
                "select current_setting('work_mem'), current_setting('my.own')",
                "select set_config('work_mem', null, false)",
                "show work_mem",
                "select set_config('work_mem', '2MB', true)",
                "show work_mem",
                "select set_config('no_such_setting', '1', false)",
                "select set_config(null, '1', false)",
                "select set_config('work_mem', '3MB', null)",
                "show work_mem",
                "select set_config(name, '9s', false) from pg_settings where name in ('lock_timeout', 'statement_timeout')",
                "select name, setting from pg_settings where name like '%\\_timeout' order by name",
                "with changed as (select pg_catalog.set_config('work_mem', '4MB', false)) select count(*) from changed",
                "show work_mem",
                "values (set_config('work_mem', '5MB', false))",
                "show work_mem",
                "explain select set_config('work_mem', '6MB', false)",
                "show work_mem",
                "explain (analyze, costs off, timing off, summary off) select set_config('work_mem', '7MB', false)",
                "show work_mem",
            ]),
            Script::new("by set_config with parameters")
                .ask(extended("select set_config($1, $2, $3)", &[Some("work_mem"), Some("1MB"), Some("f")]))
                .ask(extended("show work_mem", &[]))
                .ask(extended("select set_config($1, $2, $3)", &[Some("work_mem"), Some("2MB"), Some("t")]))
                .ask(extended("show work_mem", &[]))
                .ask(extended("select set_config($1, $2, $3)", &[Some("search_path"), Some("pg_catalog"), Some("f")]))
                .ask(extended("select current_schema()", &[]))
                .ask(extended("select set_config('search_path', $1, false)", &[Some("")]))
                .queries(["show search_path", "select name from item"]),
            Script::new("by a table").queries([
                "update pg_settings set setting = '1234' where name = 'work_mem'",
                "show work_mem",
                "update pg_settings set setting = reset_val where name = 'work_mem'",
                "show work_mem",
            ]),
            Script::new("extended, and asked again later")
                .ask(extended("set timezone to 'Asia/Tokyo'", &[]))
                .ask([parse("", "set work_mem to '8MB'"), sync()])
                .query("show work_mem")
                .ask([parse("", "set work_mem to '8MB'"), sync()])
                .ask(again())
                .queries(WORK_MEM)
                .ask([parse("r", "reset work_mem"), bind("", "r", &[]), execute("", 0), sync()])
                .queries(WORK_MEM)
                .ask([parse("s", "set work_mem to '9MB'"), sync()])
                .ask([bind("", "s", &[]), execute("", 0), bind("", "r", &[]), execute("", 0), sync()])
                .queries(WORK_MEM)
                .ask([bind("", "s", &[]), execute("", 0), query("show work_mem")])
                .query("show timezone"),
            Script::new("reset in every way").queries([
                "set work_mem to '1MB'; set timezone to 'Asia/Tokyo'; set our.own to 'x'; set search_path to pg_catalog",
                "reset timezone",
                "show timezone",
                "show work_mem",
                "reset our.own",
                "show our.own",
                "reset all",
                "show work_mem",
                "show search_path",
                "set work_mem to '1MB'; set role stagehand; set our.own to 'y'",
                "reset all",
                "select current_user = session_user, current_setting('work_mem'), current_setting('our.own')",
                "set work_mem to '1MB'; set our.own to 'z'",
                "discard all",
                "select current_user = session_user, current_setting('work_mem'), nullif(current_setting('our.own', true), '')",
                "begin",
                "discard all",
                "rollback",
                "select 1; discard all",
                "begin; reset all; set work_mem to '2MB'; rollback",
                "show work_mem",
            ]),
            Script::new("nothing changes").queries([
                "set work_mem to default",
                "set timezone to default; reset datestyle",
                "select set_config('work_mem', current_setting('work_mem'), false)",
                "show work_mem",
                "alter role current_user set work_mem to '5MB'",
                "show work_mem",
                "alter role current_user reset all",
                "show work_mem",
            ]),
        ])
        .await;
}
