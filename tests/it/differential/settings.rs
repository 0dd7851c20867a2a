//! Settings: whatever a client sets is its own, and stays.

use super::{Differential, Script};
use crate::harness::frames::extended;

#[tokio::test]
async fn settings_follow_the_client() {
    Differential::start()
        .await
        .play([
            Script::new("set and shown").queries([
                "set work_mem to '123kB'",
                "show work_mem",
                "select current_setting('work_mem')",
                "reset work_mem",
                "show work_mem",
            ]),
            Script::new("several").queries([
                "set work_mem to '123kB'; set statement_timeout to '1min'; set our.own to 'mine'",
                "show statement_timeout",
                "show our.own",
                "reset all",
                "show statement_timeout",
                "show work_mem",
                "show our.own",
            ]),
            Script::new("in a transaction that commits").queries(["begin", "set work_mem to '99kB'", "commit", "show work_mem"]),
            Script::new("in a transaction that does not").queries(["begin", "set work_mem to '99kB'", "rollback", "show work_mem"]),
            Script::new("for one transaction").queries(["begin", "set local work_mem to '99kB'", "show work_mem", "commit", "show work_mem"]),
            Script::new("by a function").queries([
                "select set_config('work_mem', '98kB', false)",
                "show work_mem",
                "select set_config('work_mem', '97kB', true)",
                "show work_mem",
            ]),
            Script::new("by a block").queries([
                "do $$ begin perform set_config('work_mem', '96kB', false); end $$",
                "show work_mem",
            ]),
            Script::new("by what a function hides").queries([
                "create function hide() returns int language plpgsql as $$ begin set work_mem to '95kB'; return 1; end $$",
                "select hide()",
                "show work_mem",
                "drop function hide()",
            ]),
            Script::new("by what a function of another name hides").queries([
                "create function quiet() returns int language sql as $$ select set_config('work_mem', '94kB', false)::text::int $$",
                "select quiet() is null",
                "drop function quiet()",
                "show work_mem",
            ]),
            Script::new("extended")
                .ask(extended("set work_mem to '123kB'", &[]))
                .ask(extended("show work_mem", &[]))
                .ask(extended("select set_config($1, $2, false)", &[Some("lock_timeout"), Some("3s")]))
                .ask(extended("show lock_timeout", &[])),
            Script::new("wrong").queries([
                "set work_mem to 'x'",
                "set no_such_setting to 1",
                "set timezone to 'Nowhere/Nothing'",
                "set max_connections to 1",
                "show no_such_setting",
            ]),
            Script::new("that bite").queries(["set statement_timeout to '30ms'", "select pg_sleep(5)", "reset statement_timeout", "select 1"]),
            Script::new("for the session's transactions").queries([
                "set session characteristics as transaction isolation level serializable",
                "show transaction_isolation",
                "begin",
                "show transaction_isolation",
                "commit",
            ]),
            Script::new("discarded").queries(["set work_mem to '123kB'", "discard all", "show work_mem", "show search_path"]),
        ])
        .await;
}

#[tokio::test]
async fn search_path_is_the_plugins_until_the_client_sets_it() {
    let look = ["show search_path", "select current_schema()", "select name from item order by id limit 1"];
    let looks = |statements: &[&'static str]| {
        statements.iter().flat_map(|sql| [*sql].into_iter().chain(look)).collect::<Vec<_>>()
    };
    Differential::start()
        .await
        .play([
            Script::new("untouched").queries(look),
            Script::new("set").queries(looks(&[
                "set search_path to pg_catalog",
                "set search_path to alpha, public",
                "set search_path to \"alpha\"",
            ])),
            Script::new("reset").queries(looks(&["set search_path to pg_catalog", "reset search_path"])),
            Script::new("all reset").queries(looks(&["set search_path to pg_catalog", "reset all"])),
            Script::new("discarded").queries(looks(&["set search_path to pg_catalog", "discard all"])),
            Script::new("default").queries(looks(&["set search_path to pg_catalog", "set search_path to default"])),
            Script::new("in a transaction").queries(looks(&[
                "begin",
                "set local search_path to pg_catalog",
                "rollback",
            ])),
            Script::new("rolled back").queries(looks(&["begin", "set search_path to pg_catalog", "rollback"])),
            Script::new("emptied")
                .queries(looks(&["select set_config('search_path', '', false)", "reset search_path"])),
            Script::new("at the start").startup("search_path", "pg_catalog").queries(look),
        ])
        .await;
}

#[tokio::test]
async fn reported_settings_are_reported() {
    Differential::start()
        .await
        .play([
            Script::new("changed").queries([
                "set timezone to 'Asia/Kolkata'",
                "select '2026-01-01 00:00+00'::timestamptz",
                "set datestyle to 'German, DMY'",
                "select '2026-01-02'::date",
                "set intervalstyle to 'iso_8601'",
                "select '1 day'::interval",
                "set application_name to 'ours'",
                "show application_name",
                "set standard_conforming_strings to off",
                r"select '\101'",
                "reset all",
                "show timezone",
            ]),
            Script::new("in a transaction").queries([
                "begin",
                "set timezone to 'Asia/Kolkata'",
                "rollback",
                "show timezone",
            ]),
            Script::new("encoding").queries([
                "set client_encoding to 'latin1'",
                "select chr(233)",
                "show client_encoding",
                "reset client_encoding",
            ]),
            Script::new("at the start")
                .startup("application_name", "backstage_plugin_alpha")
                .startup("client_encoding", "UTF8")
                .startup("TimeZone", "Asia/Kolkata")
                .startup("DateStyle", "German")
                .startup("statement_timeout", "4321")
                .queries(["show application_name", "show timezone", "show datestyle", "show statement_timeout"])
                .queries(["set timezone to 'UTC'", "reset all", "show timezone", "show statement_timeout"]),
            Script::new("options")
                .startup("options", r"-c work_mem=321kB -c our.own=a\ b --lock-timeout=2s")
                .queries(["show work_mem", "show our.own", "show lock_timeout", "reset work_mem", "show work_mem"]),
        ])
        .await;
}

#[tokio::test]
async fn roles_follow_the_client() {
    Differential::start()
        .await
        .play([
            Script::new("role").queries([
                "set role stagehand",
                "select current_user",
                "select name from item",
                "reset role",
                "select current_user = session_user",
                "set role nobody_here",
                "set session authorization postgres",
            ]),
            Script::new("role in a transaction").queries([
                "begin",
                "set local role stagehand",
                "select current_user",
                "commit",
                "select current_user = session_user",
            ]),
            Script::new("role by a function").queries([
                "select set_config('role', 'stagehand', false)",
                "select current_user",
                "discard all",
                "select current_user = session_user",
            ]),
            Script::new("role at the start").startup("role", "stagehand").queries([
                "select current_user",
                "reset role",
                "select current_user",
            ]),
        ])
        .await;
}
