//! docs/compatibility.md names tests that there are, and its limits are what it says.

use std::fs;
use std::path::Path;

use crate::harness::frames::{bind, describe_statement, execute, parse, query, sync};
use crate::harness::{Greenroom, RawClient, codes, rows, tags};

/// Every source of the tests below a folder, one behind the other.
fn sources(folder: &Path, all: &mut String) {
    for entry in fs::read_dir(folder).expect("a folder of tests") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "py") {
            all.push_str(&fs::read_to_string(&path).expect("a source"));
        }
    }
}

#[test]
fn every_test_that_the_table_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = fs::read_to_string(root.join("docs/compatibility.md")).expect("docs/compatibility.md is there");
    let mut tests = String::new();
    sources(&root.join("tests/it"), &mut tests);
    sources(&root.join("tests/drivers"), &mut tests);
    let kinds = ["]\nasync fn", "]\nfn", "\n    def"];
    let is_there = |name: &str| kinds.iter().any(|kind| tests.contains(&format!("{kind} {name}(")));
    let rows: Vec<_> = document.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() > 30, "the table is not where it was");
    for row in rows {
        let last = row.trim_end_matches('|').rsplit('|').next().unwrap_or_default().trim();
        let name = last.trim_matches('`');
        assert!(last.starts_with('`') && is_there(name), "{row}");
    }
    // What is named in the text.
    let quoted = document.split('`').skip(1).step_by(2);
    for name in
        quoted.filter(|name| name.matches('_').count() > 4 && name.bytes().all(|b| b == b'_' || b.is_ascii_lowercase()))
    {
        assert!(is_there(name), "{name}");
    }
}

#[tokio::test]
async fn reset_among_more_of_a_text_finds_no_table_where_a_transaction_has_borrowed_its_server() {
    let room = Greenroom::start().auth("trust").servers(1).await;
    let mut client = room.raw("catalog").await;
    client.run("create table item (name text); insert into item values ('ours')").await;
    client.run("begin").await;
    let replies = client.query("reset all; select name from item").await;
    assert_eq!(codes(&replies), ["42P01"], "when this works, docs/compatibility.md has a limit less: {replies:?}");
    client.run("rollback").await;
    client.run("begin").await;
    client.run("reset all").await;
    assert_eq!(rows(&client.query("select name from item").await), ["ours"]);
    client.run("commit").await;
    assert_eq!(
        rows(&client.ask(&[query("show search_path"), query("select name from item")]).await),
        ["catalog", "ours"]
    );
}

#[tokio::test]
async fn a_reset_in_a_transaction_goes_to_the_servers_own_value_until_its_end() {
    let room = Greenroom::start().auth("trust").servers(1).await;
    let startup = room.startup("catalog").with("TimeZone", "Asia/Tokyo").with("work_mem", "77kB");
    let look = "select concat_ws(' ', current_setting('timezone'), current_setting('work_mem'))";
    let others = rows(&room.raw("catalog").await.run(look).await).remove(0);
    for reset in ["reset all", "reset timezone; reset work_mem"] {
        for end in ["commit", "rollback"] {
            let mut client = RawClient::log_in(room.address(), &startup).await;
            client.run("begin").await;
            let told = client.run(reset).await;
            assert!(
                tags(&told).contains('S'),
                "when nothing is told, docs/compatibility.md has a limit less: {told:?}"
            );
            assert_eq!(rows(&client.run(look).await), [&*others], "a limit less for the document");
            let told = client.run(end).await;
            assert_eq!(tags(&told).contains('S'), end == "rollback", "a limit less for the document: {told:?}");
            // The session has its own again, and so has everybody else.
            for _ in 0..2 {
                assert_eq!(rows(&client.run(look).await), ["Asia/Tokyo 77kB"], "{reset}, {end}");
                assert_eq!(rows(&room.raw("catalog").await.run(look).await), [&*others]);
            }
            // Between transactions it is right.
            client.run(reset).await;
            assert_eq!(rows(&client.run(look).await), ["Asia/Tokyo 77kB"], "{reset}, {end}");
            client.leave().await;
        }
    }
}

#[tokio::test]
async fn after_discard_all_a_setting_of_an_extension_is_unknown_as_in_a_new_session() {
    let room = Greenroom::start().auth("trust").servers(1).await;
    let mut client = room.raw("catalog").await;
    let asked = "select current_setting('our.own', true) is null";
    assert_eq!(rows(&client.query(asked).await), ["t"]);
    client.run("set our.own to 'x'").await;
    client.run("discard all").await;
    // Its server is closed before another one is lent: asked at once, it might still have it.
    room.raw("search").await.run("select 1").await;
    assert_eq!(rows(&client.query(asked).await), ["t"], "when this is f, docs/compatibility.md has a limit less");
}

#[tokio::test]
async fn after_a_temporary_table_that_its_transaction_dropped_the_next_session_sees_an_empty_schema() {
    let room = Greenroom::start().auth("trust").servers(1).await;
    let (mut client, mut next) = (room.raw("catalog").await, room.raw("catalog").await);
    client.run("begin; create temp table t on commit drop as select 1; commit").await;
    assert_eq!(rows(&next.query("select pg_my_temp_schema() <> 0").await), ["t"], "a limit less for the document");
    let inside = "select count(*) from pg_class where relnamespace = pg_my_temp_schema()";
    assert_eq!(rows(&next.query(inside).await), ["0"]);
    assert_eq!(codes(&next.query("set temp_buffers to 200").await), ["22023"]);
}

#[tokio::test]
async fn an_unnamed_statement_that_is_parsed_again_has_the_columns_that_its_table_has_then() {
    let room = Greenroom::start().auth("trust").servers(1).await;
    let (mut client, mut direct) = (room.raw("catalog").await, room.stage().raw().await);
    client.run("create table item (n int); insert into item values (1)").await;
    direct.run("set search_path to catalog").await;
    for client in [&mut client, &mut direct] {
        let told = client.ask(&[parse("", "select * from item"), describe_statement(""), sync()]).await;
        assert_eq!(tags(&told), "1tTZ");
    }
    room.stage().sql("alter table catalog.item add word text default 'new'").await;
    let use_it = [bind("", "", &[]), execute("", 0), sync()];
    assert_eq!(codes(&direct.ask(&use_it).await), ["0A000"]);
    let replies = client.ask(&use_it).await;
    assert_eq!(tags(&replies), "2DCZ", "when this is an error, docs/compatibility.md has a limit less: {replies:?}");
}
