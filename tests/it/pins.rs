//! State that outlives a transaction keeps its server, with a reason. That it reaches nobody else is in `leaks/matrix.rs`.

use std::time::Duration;

use crate::harness::frames::{bind, copy_data, copy_done, copy_fail, execute, flush, parse, query, sync};
use crate::harness::{Greenroom, Limits, codes, eventually, rows};

/// A way to leave something in a session.
const STATES: [&str; 23] = [
    "set work_mem to '77kB'",
    "set search_path to pg_catalog",
    "set application_name to 'left behind'",
    "set timezone to 'Asia/Tokyo'",
    "set client_encoding to 'latin1'",
    "set statement_timeout to '12s'",
    "set default_transaction_read_only to on",
    "set session characteristics as transaction isolation level serializable",
    "set our.own to 'left behind'",
    "set role stagehand",
    "select set_config('work_mem', '77kB', false)",
    "do $$ begin perform set_config('work_mem', '77kB', false); end $$",
    "begin; set work_mem to '77kB'; commit",
    "create temp table item (name text); insert into item values ('left behind')",
    "create table pg_temp.item (name text)",
    "do $$ begin create temp table item (name text); end $$",
    "select pg_advisory_lock(77)",
    "begin; select pg_advisory_lock_shared(7, 7); commit",
    "prepare item as select 'left behind'",
    "declare item cursor with hold for select 'left behind'",
    "begin; declare item cursor with hold for select 'left behind'; fetch item; commit",
    "begin; listen left_behind; commit",
    "select nextval('ticket')",
];

/// Of these, the ones that go with their session from server to server instead of keeping one.
const CARRIED: [&str; 10] = [
    "set work_mem to '77kB'",
    "set search_path to pg_catalog",
    "set application_name to 'left behind'",
    "set timezone to 'Asia/Tokyo'",
    "set statement_timeout to '12s'",
    "set default_transaction_read_only to on",
    "set session characteristics as transaction isolation level serializable",
    "set role stagehand",
    "select set_config('work_mem', '77kB', false)",
    "begin; set work_mem to '77kB'; commit",
];

#[tokio::test]
async fn a_pinned_session_keeps_its_server_and_others_get_another() {
    let room = Greenroom::start().servers(2).await;
    let (pinned, free) = (room.client("catalog").await, room.client("catalog").await);
    pinned.run("create temp table t (x int)").await;
    let server = pinned.server_pid().await;
    for _ in 0..3 {
        assert_ne!(free.server_pid().await, server);
        assert_eq!(pinned.server_pid().await, server);
    }
}

#[tokio::test]
async fn a_pinned_session_has_one_of_its_plugins_places() {
    let few = |limits: Limits| limits.max(2).acquire_timeout(Duration::from_millis(300));
    let room = Greenroom::start().auth("trust").servers(6).pool("catalog", few).await;
    let (mut pinned, mut second, mut third) =
        (room.raw("catalog").await, room.raw("catalog").await, room.raw("catalog").await);
    pinned.run("create temp table t (x int)").await;
    second.run("begin").await;
    let refused = third.query("select 1").await;
    assert_eq!(codes(&refused), ["53300"], "there are two places, and a pin has one of them");
    assert!(refused[0].field(b'D').is_some_and(|told| told.contains("2 of 2 leases")), "{:?}", refused[0].field(b'D'));
    assert_eq!(room.client("auth").await.value("select 1").await, "1", "the others have theirs");
    // What ends the pin frees the place.
    pinned.run("drop table t").await;
    assert_eq!(rows(&third.run("select 1").await), ["1"]);
    second.run("commit").await;
}

#[tokio::test]
async fn every_pin_is_counted_with_plugin_and_reason() {
    let room = Greenroom::start().auth("trust").await;
    for state in STATES.into_iter().filter(|state| !CARRIED.contains(state)) {
        let before = room.metrics().await.sum("greenroom_pins_total", &["plugin=\"catalog\""]);
        let client = room.client("catalog").await;
        client.run("create table if not exists item (name text); create sequence if not exists ticket").await;
        client.run(state).await;
        let pins =
            async || room.metrics().await.sum("greenroom_pins_total", &["plugin=\"catalog\"", "reason=\""]) - before;
        eventually(&format!("the server has told what {state:?} left"), async || pins().await > 0.0).await;
        assert_eq!(pins().await, 1.0, "{state}");
        assert_eq!(room.metrics().await.sum("greenroom_pinned_sessions", &["plugin=\"catalog\""]), 1.0, "{state}");
        drop(client);
        let sessions = async || room.metrics().await.sum("greenroom_pinned_sessions", &[]) == 0.0;
        eventually("the pin ends with its client", sessions).await;
    }
}

#[tokio::test]
async fn a_temporary_table_that_its_transaction_drops_pins_no_longer_than_that() {
    let room = Greenroom::start().auth("trust").servers(1).await;
    let (mut migration, other) = (room.raw("catalog").await, room.client("catalog").await);
    for sql in ["begin", "create temp table t as select 'left' as word", "drop table t"] {
        migration.run(sql).await;
    }
    // The next statement may be on its way before the server has been looked at.
    migration.send(&[query("commit")]).await;
    migration.until(b'Z', 1).await;
    assert_eq!(other.value("select 1").await, "1", "the only server is free");
    let replies =
        migration.run("select to_regclass('pg_temp.t') is null, count(*) from pg_class where relname = 't'").await;
    assert_eq!(crate::harness::rows(&replies), ["t"]);
    let sessions = async || room.metrics().await.sum("greenroom_pinned_sessions", &[]) == 0.0;
    eventually("nobody is pinned", sessions).await;
}

#[tokio::test]
async fn a_session_that_left_something_else_keeps_its_server_when_its_temporary_table_is_gone() {
    let room = Greenroom::start().auth("trust").servers(2).await;
    let free = room.client("catalog").await;
    for state in [
        "begin; listen left_behind; commit",
        "select pg_advisory_lock(77)",
        "prepare item as select 1",
        "set our.own to '77kB'",
    ] {
        let client = room.client("catalog").await;
        // One by one: the transaction begins on a server that it shares.
        for sql in ["begin", "create temp table a (x int)", "commit", state] {
            client.run(sql).await;
        }
        let server = client.server_pid().await;
        for sql in ["begin", "create temp table b (x int)", "drop table a, b", "commit"] {
            client.run(sql).await;
        }
        for _ in 0..3 {
            assert_ne!(free.server_pid().await, server, "{state}");
            assert_eq!(client.server_pid().await, server, "{state}");
        }
        drop(client);
        let gone = async || room.metrics().await.sum("greenroom_pinned_sessions", &[]) == 0.0;
        eventually("the pin ends with its client", gone).await;
    }
}

#[tokio::test]
async fn a_named_statement_is_nobody_elses_when_the_temporary_table_before_it_is_gone() {
    let room = Greenroom::start().auth("trust").servers(2).await;
    let mut client = room.raw("catalog").await;
    for sql in ["begin", "create temp table t (x int)"] {
        client.run(sql).await;
    }
    client.ask(&[parse("s1", "select 'left behind'"), sync()]).await;
    for sql in ["drop table t", "commit"] {
        client.run(sql).await;
    }
    let other = room.client("catalog").await;
    for _ in 0..3 {
        assert_eq!(other.value("select count(*) from pg_prepared_statements where name = 's1'").await, "0");
    }
}

#[tokio::test]
async fn whatever_else_is_temporary_keeps_its_server() {
    let room = Greenroom::start().auth("trust").await;
    for (make, look) in [
        ("create temp table t as select 'own' as word", "select word from t"),
        ("create temp view v as select 'own' as word", "select word from v"),
        ("create temp sequence s", "select 'own' from s"),
        ("create domain pg_temp.d as text", "select 'own'::pg_temp.d"),
        ("create type pg_temp.y as enum ('own')", "select 'own'::pg_temp.y"),
    ] {
        let client = room.client("catalog").await;
        // One by one: the transaction begins on a server that it shares.
        for sql in ["begin", make, "commit"] {
            client.run(sql).await;
        }
        for _ in 0..3 {
            assert_eq!(client.value(look).await, "own", "{make}");
        }
        assert_eq!(room.metrics().await.sum("greenroom_pinned_sessions", &[]), 1.0, "{make}");
        drop(client);
        let gone = async || room.metrics().await.sum("greenroom_pinned_sessions", &[]) == 0.0;
        eventually("the pin ends with its client", gone).await;
    }
}

#[tokio::test]
async fn a_copy_that_fails_keeps_no_server_and_costs_none() {
    let room = Greenroom::start().auth("trust").servers(1).await;
    let (mut client, mut other) = (room.raw("catalog").await, room.raw("catalog").await);
    client.run("create table item (n int)").await;
    let server = rows(&other.run("select pg_backend_pid() + 0").await);
    let batch = [parse("", "copy item from stdin"), bind("", "", &[]), execute("", 0), flush()].to_vec();
    for (start, data) in [
        (vec![query("copy item from stdin")], vec![copy_data("wrong\n"), copy_data("1\n"), copy_done()]),
        (vec![query("copy item from stdin")], vec![copy_fail("given up")]),
        (batch.clone(), vec![copy_data("wrong\n"), copy_done(), sync()]),
        (batch, vec![copy_fail("given up"), sync()]),
        // It may have left something, and is asked.
        (vec![query("set work_mem to '77kB'; copy item from stdin")], vec![copy_data("wrong\n"), copy_done()]),
        (vec![query("set work_mem to '77kB'; commit; copy item from stdin")], vec![copy_fail("given up")]),
    ] {
        client.send(&start).await;
        client.until(b'G', 1).await;
        client.send(&data).await;
        let replies = client.until(b'Z', 1).await;
        assert_eq!(codes(&replies).len(), 1, "{start:?}: {replies:?}");
        assert_eq!(rows(&other.run("select pg_backend_pid() + 0").await), server, "{start:?}, {data:?}");
        assert_eq!(rows(&client.run("select count(*) from item").await), ["0"]);
    }
    assert_eq!(rows(&client.run("show work_mem").await), ["77kB"]);
    assert_eq!(room.metrics().await.sum("greenroom_pinned_sessions", &[]), 0.0);
}

#[tokio::test]
async fn what_is_carried_from_server_to_server_pins_nothing() {
    let room = Greenroom::start().auth("trust").await;
    let client = room.client("catalog").await;
    for state in CARRIED {
        client.run(state).await;
        client.run("set default_transaction_read_only to off").await;
    }
    assert_eq!(room.metrics().await.sum("greenroom_pins_total", &[]), 0.0);
}

#[tokio::test]
async fn types_of_every_kind_and_what_postgresql_makes_for_them_pin_nothing() {
    let room = Greenroom::start().auth("trust").servers(1).await;
    let (client, other) = (room.client("catalog").await, room.client("catalog").await);
    for make in [
        "create type mood as enum ('well')",
        "create type pair as (a int, b int)",
        "create domain positive as int check (value > 0)",
        "create type span as range (subtype = float8, subtype_diff = float8mi)",
        "create type words as range (subtype = text, collation = \"C\")",
        "create aggregate longest(text) (sfunc = text_larger, stype = text)",
        "create table item (n span)",
    ] {
        client.run(make).await;
    }
    let text =
        "select span(1, 2), span(1, 2, '[]'), span_multirange(span(1, 2), span(3, 4)), longest(words('a', 'b')::text)";
    for session in [&client, &other] {
        session.run(text).await;
        session.run("insert into item values (span(1, 2))").await;
    }
    assert_eq!(room.metrics().await.sum("greenroom_pins_total", &[]), 0.0);
}

#[tokio::test]
async fn what_ends_with_its_transaction_pins_nothing() {
    let room = Greenroom::start().servers(2).await;
    let client = room.client("catalog").await;
    client.run("create table item (id int)").await;
    for sql in [
        "begin; set local work_mem to '77kB'; commit",
        "begin; select pg_advisory_xact_lock(1); commit",
        "begin; declare c cursor for select 1; fetch c; commit",
        "begin; create temp table t (x int) on commit drop; commit",
        "select version()",
        "select 'set work_mem to 1', 'listen x' as \"create temp table\" -- set work_mem",
        "insert into item values (1); update item set id = 2; delete from item",
    ] {
        client.run(sql).await;
    }
    assert_eq!(room.metrics().await.sum("greenroom_pinned_sessions", &[]), 0.0);
}

#[tokio::test]
async fn a_pinned_session_that_rested_for_long_is_in_no_transaction_when_half_a_frame_comes() {
    let room = Greenroom::start().set("greenroom.timeouts.idleInTransactionMillis", 200).await;
    let mut client = room.raw("catalog").await;
    client.run("begin; listen left_behind; commit").await;
    let question = query("select 1").bytes();
    for part in question.chunks(question.len() / 2 + 1) {
        tokio::time::sleep(Duration::from_millis(300)).await;
        client.send_bytes(part).await;
    }
    assert_eq!(rows(&client.until(b'Z', 1).await), ["1"]);
    client.run("begin").await;
    assert_eq!(codes(&client.until_closed().await), ["25P03"], "the limit is there");
}
