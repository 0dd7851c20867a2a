//! What goes with a session from server to server is what it was, whatever is done to it and whenever it is asked about.

use super::{Differential, Script};
use crate::harness::frames::{bind, execute, extended, parse, query, sync};

const ROLE: &str = "select current_setting('role'), current_user = 'stagehand', current_user = session_user";

const FIRST: &str = "select name from item order by id limit 1";

#[tokio::test]
async fn a_role_is_what_postgresql_makes_of_it() {
    let scripts: [(_, &[&str]); 7] = [
        ("in every form", &["set role 'stagehand'", ROLE, "set role 'none'", ROLE, "set role = \"stagehand\"", ROLE]),
        ("for one transaction", &["set role stagehand", "begin", "set local role none", ROLE, "commit", ROLE]),
        ("in savepoints", &["begin; set role stagehand; savepoint a; reset role", "rollback to a", "commit", ROLE]),
        (
            "by a function",
            &["select set_config('role', 'stagehand', false)", ROLE, "reset all", ROLE, "discard all", ROLE],
        ),
        (
            "under another authorization",
            &["set role stagehand", "begin", "set local session authorization default", ROLE, "commit", ROLE, ROLE],
        ),
        (
            "under another authorization in a rollback",
            &["set role stagehand", "begin; set session authorization default", "rollback", ROLE, ROLE],
        ),
        ("under one's own authorization", &["set role stagehand", "set session authorization default", ROLE, ROLE]),
    ];
    let scripts = scripts.map(|(name, queries)| Script::new(name).queries(queries.iter().copied()));
    Differential::start().await.play(scripts).await;
}

#[tokio::test]
async fn a_value_is_the_same_on_the_next_server() {
    let scripts: [(_, &[&str]); 5] = [
        (
            "zones",
            &[
                "set time zone -7",
                "select '2026-01-02'::timestamptz",
                "begin; set time zone interval '-08:30' hour to minute; commit",
                "show timezone",
                "select '2026-01-02'::timestamptz",
                "begin; set time zone local; commit",
                "show timezone",
            ],
        ),
        (
            "quotes and parts",
            &[
                "set \"WORK_MEM\" to e'9\\x37kB'",
                "set sort_mem to 95",
                "show work_mem",
                "set datestyle to german, dmy",
                "begin; set datestyle = 'sql'; commit",
                "select '2026-01-02'::date",
            ],
        ),
        (
            "paths and names",
            &[
                "begin; set search_path to \"\", \"a b\", \"$user\", public; commit",
                "show search_path",
                "select set_config('search_path', 'ä, alpha', false)",
                "show search_path",
                "set schema 'pg_catalog'",
                "show search_path",
                "begin; set application_name to 'it''s \\ ä'; commit",
                "show application_name",
            ],
        ),
        (
            "more digits than are shown",
            &[
                "set random_page_cost to 123456.789",
                "begin; set enable_seqscan to off; set enable_bitmapscan to off; commit",
                "explain select * from item where id = 1",
                "explain select * from item where id = 1",
            ],
        ),
        (
            "modes of transactions",
            &[
                "set session characteristics as transaction isolation level serializable, read only, deferrable",
                "begin; set work_mem to '99kB'; commit",
                "show work_mem",
                "show transaction_deferrable",
                "set session characteristics as transaction read write",
                "show transaction_read_only",
            ],
        ),
    ];
    let scripts = scripts.map(|(name, queries)| Script::new(name).queries(queries.iter().copied()));
    Differential::start().await.play(scripts).await;
}

#[tokio::test]
async fn a_transaction_leaves_what_it_leaves() {
    let scripts: [(_, &[&str]); 6] = [
        (
            "in a chain",
            &[
                "begin; set work_mem to '99kB'",
                "commit and chain",
                "set work_mem to '98kB'",
                "rollback and chain",
                "commit",
                "show work_mem",
            ],
        ),
        (
            "where COMMIT fails",
            &[
                "create table d (id int primary key deferrable initially deferred)",
                "begin; insert into d values (1), (1); set work_mem to '99kB'",
                "commit",
                "show work_mem",
            ],
        ),
        (
            "where the middle fails",
            &["set work_mem to '99kB'; commit; select 1/0", "set work_mem to '98kB'; select 1/0", "show work_mem"],
        ),
        (
            "before its modes are set",
            &[
                "begin",
                "reset all",
                "set transaction isolation level serializable",
                "show transaction_isolation",
                "commit",
            ],
        ),
        (
            "where what was dropped comes back",
            &["create temp table own as select 1 as n", "begin; drop table own", "rollback", "select n from own"],
        ),
        (
            "where names are shadowed",
            &[
                "create function pg_temp.current_setting(text) returns text language sql as $$ select 'none'::text $$;
                 create view pg_temp.pg_settings as select 1 as x; set search_path to pg_temp, pg_catalog, alpha",
                "set role stagehand",
                ROLE,
            ],
        ),
    ];
    let scripts = scripts.map(|(name, queries)| Script::new(name).queries(queries.iter().copied()));
    Differential::start().await.play(scripts).await;
}

#[tokio::test]
async fn a_pipeline_leaves_what_it_leaves() {
    let sets = || extended("set work_mem to '99kB'", &[]);
    let zone = [parse("", "set timezone to 'Asia/Tokyo'"), bind("p", "", &[])];
    let literal = parse("", "select extract(epoch from '2026-01-02 00:00'::timestamptz)::text");
    Differential::start()
        .await
        .play([
            Script::new("an error behind it")
                .ask([&sets()[..3], &extended("select 1/0", &[])].concat())
                .query("show work_mem")
                .ask([sets(), extended("select 1/0", &[])].concat())
                .query("show work_mem"),
            // Somebody else's new schema would have PostgreSQL read the statement anew.
            Script::new("a statement that was read before it")
                .alone()
                .ask([&zone[..], &[literal, execute("p", 0), sync()]].concat())
                .ask([bind("", "", &[]), execute("", 0), sync()]),
            Script::new("a reset on a server that is kept").query("create temp table own as select 1 as n").ask([
                query("reset all"),
                query(FIRST),
                query("show search_path"),
            ]),
        ])
        .await;
}

#[tokio::test]
async fn options_that_name_no_settings_are_postgresqls_to_read() {
    Differential::start()
        .await
        .play([Script::new("several letters behind one dash")
            .startup("options", "-ecour.own=x")
            .queries(["show our.own", "show datestyle"])])
        .await;
}
