//! Settings that a client brings along in its startup message: taken, told, fallen back to, or refused.

use super::{Differential, Script};
use crate::harness::frames::extended;

#[tokio::test]
async fn startup_parameters_are_what_a_session_falls_back_to() {
    let all = |name: &'static str| {
        Script::new(name)
            .startup("work_mem", "321kB")
            .startup("TimeZone", "Asia/Kolkata")
            .startup("our.own", "startup")
            .startup("application_name", "it's")
    };
    let look = ["show work_mem", "show timezone", "show our.own", "show application_name", "show search_path"];
    Differential::start()
        .await
        .play([
            all("told").queries(look).ask(extended("show work_mem", &[])),
            all("reset one by one")
                .queries(["set work_mem to '1MB'", "set timezone to 'UTC'", "set our.own to 'x'", "show work_mem"])
                .queries(["reset work_mem", "reset timezone", "reset our.own"])
                .queries(look),
            all("reset together")
                .queries(["set work_mem to '1MB'; set timezone to 'UTC'; set our.own to 'x'", "reset all"])
                .queries(look),
            all("discarded")
                .queries(["set work_mem to '1MB'; set timezone to 'UTC'; set our.own to 'x'", "discard all"])
                .queries(look),
            all("rolled back").queries(["begin", "reset all", "show work_mem", "rollback"]).queries(look),
            all("in a block").queries(["do $$ begin set work_mem to '1MB'; reset work_mem; end $$"]).queries(look),
            Script::new("a schema and a role")
                .startup("search_path", "pg_catalog, alpha")
                .startup("role", "stagehand")
                .queries(["show search_path", "select current_user", "set role none", "set search_path to alpha"])
                .queries(["select current_user = session_user, current_schema()", "reset all", "reset role"])
                .queries(["show search_path", "select current_user", "discard all", "select current_user"]),
        ])
        .await;
}

#[tokio::test]
async fn options_are_read_as_postgresql_reads_them() {
    let options = |name: &'static str, value: &'static str| Script::new(name).startup("options", value);
    Differential::start()
        .await
        .play([
            options("two forms", "-c work_mem=321kB --enable-seqscan=off -cour.own=x").queries([
                "show work_mem",
                "show enable_seqscan",
                "show our.own",
                "reset all",
                "show work_mem",
            ]),
            options("escaped", r"-c our.own=a\ b\\c\'d  -c application_name=\ x")
                .queries(["show our.own", "show application_name"]),
            options("twice", "-c work_mem=1MB -c work_mem=2MB").query("show work_mem"),
            options("nothing", "").query("show work_mem"),
            options("spaces", "   ").query("show work_mem"),
            options("reported ones", "-c timezone=Asia/Tokyo -c DateStyle=German -c intervalstyle=iso_8601").queries([
                "select timestamptz '2026-01-01 00:00+00'",
                "select interval '1 day'",
                "reset timezone",
            ]),
            options("over a parameter", "-c work_mem=1MB -c application_name=options")
                .startup("work_mem", "2MB")
                .startup("application_name", "parameter")
                .queries(["show work_mem", "show application_name", "reset all", "show work_mem"]),
            options(
                "of transactions",
                "-c default_transaction_isolation=serializable -c default_transaction_read_only=on",
            )
            .queries([
                "show transaction_isolation",
                "insert into item values (77, 'x')",
                "reset all",
                "show transaction_read_only",
            ]),
            options("short ones", "-e -S 512 -fs").queries(["show datestyle", "show work_mem", "show enable_seqscan"]),
        ])
        .await;
}

/// A driver sends what it was given, and believes what it is told: a pooler that repeats the client's own word leads it astray.
#[tokio::test]
async fn settings_are_reported_in_postgresqls_spelling() {
    let spelled = [
        ("DateStyle", "iso"),
        ("datestyle", "sql,dmy"),
        ("DATESTYLE", "European, ISO"),
        ("client_encoding", "utf-8"),
        ("client_encoding", "Unicode"),
        ("client_encoding", "'utf8'"),
        ("client_encoding", "latin1"),
        ("client_encoding", "SQL_ASCII"),
        ("timezone", "utc"),
        ("TIMEZONE", "europe/BERLIN"),
        ("TimeZone", "+2"),
        ("TimeZone", "<+0230>-02:30"),
        ("intervalstyle", "POSTGRES_verbose"),
        ("standard_conforming_strings", "1"),
        ("standard_conforming_strings", "tru"),
        ("default_transaction_read_only", "YES"),
        ("application_name", ""),
        ("application_name", " two  spaces "),
        ("Application_Name", "naïve\tname"),
    ];
    let look =
        ["show datestyle; show client_encoding; show timezone; show intervalstyle; show application_name", "select 1"];
    let scripts = spelled.map(|(name, value)| {
        let set = format!("set {name} to '{}'", value.replace('\'', "''"));
        Script::new("spelled at login").startup(name, value).queries(look).query(&set).queries(look).query("reset all")
    });
    let sets = spelled.map(|(name, value)| format!("set {name} to '{}'", value.replace('\'', "''")));
    let mut all = Script::new("spelled in statements");
    for set in &sets {
        all = all.query(set).query(look[0]).query("begin").query(set).query("rollback");
    }
    Differential::start().await.play(scripts.into_iter().chain([all.queries(["reset all", look[0]])])).await;
}

#[tokio::test]
async fn startup_parameters_are_refused_in_postgresqls_words() {
    let differential = Differential::start().await;
    for (name, value) in [
        ("no_such_setting", "1"),
        ("work_mem", "x"),
        ("work_mem", "-1"),
        ("TimeZone", "Nowhere/Nothing"),
        ("DateStyle", "Klingon"),
        ("client_encoding", "klingon"),
        ("statement_timeout", "-5"),
        ("shared_buffers", "1GB"),
        ("log_statement", "all"),
        ("role", "nobody_here"),
        ("role", "postgres"),
        ("session_authorization", "postgres"),
        ("our.1", "x"),
        ("options", "-c no_such_setting=1"),
        ("options", "-c work_mem=x"),
        ("options", "-c work_mem"),
        ("options", "--work-mem=x"),
        ("options", "-c log_statement=all"),
        ("options", "-Z"),
        ("options", "word"),
    ] {
        differential.refuse(name, value).await;
    }
}
