//! A session that has prepared statements with names while it kept a server gives that server back when the reason is gone: the
//! statements are its own wherever it is, and nobody else's.

use crate::harness::frames::{bind, close_statement, describe_statement, execute, parse, query, sync};
use crate::harness::{Frame, Greenroom, RawClient, Room, codes, eventually, rows, tags};

fn run(name: &str, parameter: &str) -> [Frame; 3] {
    [bind("", name, &[Some(parameter)]), execute("", 0), sync()]
}

/// Nobody keeps a server any more.
async fn nobody_is_pinned(room: &Room, why: &str) {
    let sessions = async || room.metrics().await.sum("greenroom_pinned_sessions", &[]) == 0.0;
    eventually(&format!("nobody is pinned: {why}"), sessions).await;
}

/// What comes to keep a server, and what ends that.
const REASONS: [(&[&str], &[&str]); 8] = [
    (&["select pg_advisory_lock(7)"], &["select pg_advisory_unlock(7)"]),
    (&["begin", "select pg_advisory_lock(7)", "commit"], &["begin", "select pg_advisory_unlock_all()", "commit"]),
    (&["create temp table t (x int)"], &["drop table t"]),
    (&["declare c cursor with hold for select 1"], &["close c"]),
    (&["prepare mine as select 'mine'"], &["deallocate mine"]),
    (&["prepare mine as select 'mine'"], &["deallocate all"]),
    (&["begin", "set role none"], &["rollback"]),
    (&["begin", "select pg_advisory_lock(7)"], &["select 1 / 0", "rollback", "select pg_advisory_unlock(7)"]),
];

async fn ask_all(client: &mut RawClient, texts: &[&str]) {
    for text in texts {
        client.query(text).await;
    }
}

#[tokio::test]
async fn a_statement_that_was_prepared_on_a_server_that_was_kept_is_shared_when_it_is_no_more() {
    for (begin, end) in REASONS {
        let why = format!("{begin:?}, {end:?}");
        let room = Greenroom::start().auth("trust").servers(1).await;
        let (mut client, mut other) = (room.raw("catalog").await, room.raw("catalog").await);
        client.ask(&[parse("before", "select $1::text || 1"), sync()]).await;
        ask_all(&mut client, begin).await;
        assert_eq!(tags(&client.ask(&[parse("s1", "select $1::text || ($2::int + 1)"), sync()]).await), "1Z", "{why}");
        let told = client.ask(&[describe_statement("s1"), sync()]).await;
        let use_it = [bind("", "s1", &[Some("mine"), Some("1")]), execute("", 0), sync()];
        assert_eq!(rows(&client.ask(&use_it).await), ["mine2"], "{why}");
        assert_eq!(rows(&client.ask(&run("before", "one")).await), ["one1"], "{why}");
        ask_all(&mut client, end).await;
        let all_are_gone = end.contains(&"deallocate all");
        for round in 0..3 {
            // The only server: the next client's from now on, who may look around there.
            let why = format!("{why} {round}");
            let look = "select count(*) from pg_prepared_statements where name in ('s1', 'before')";
            assert_eq!(rows(&other.query(look).await), ["0"], "{why}");
            assert_eq!(codes(&other.ask(&[bind("", "before", &[]), sync()]).await), ["26000"], "{why}");
            let text = "select 'another''s ' || $1";
            assert_eq!(tags(&other.ask(&[parse("s1", text), sync()]).await), "1Z", "{why}");
            assert_eq!(rows(&other.ask(&run("s1", "one")).await), ["another's one"], "{why}");
            if all_are_gone {
                assert_eq!(codes(&client.ask(&use_it).await), ["26000"], "{why}");
            } else {
                let again = client.ask(&[describe_statement("s1"), sync()]).await;
                let bodies = |replies: &[crate::harness::Reply]| {
                    replies
                        .iter()
                        .filter(|reply| reply.tag != b'Z')
                        .map(|reply| (reply.tag, reply.body.to_vec()))
                        .collect::<Vec<_>>()
                };
                assert_eq!(bodies(&again), bodies(&told), "{why}");
                assert_eq!(rows(&client.ask(&use_it).await), ["mine2"], "{why}");
                assert_eq!(rows(&client.ask(&run("before", "one")).await), ["one1"], "{why}");
                assert_eq!(codes(&client.ask(&[parse("s1", "select 1"), sync()]).await), ["42P05"], "{why}");
            }
            assert_eq!(rows(&other.ask(&run("s1", "two")).await), ["another's two"], "{why}");
            other.ask(&[close_statement("s1"), sync()]).await;
        }
        nobody_is_pinned(&room, &why).await;
    }
}

#[tokio::test]
async fn statements_with_names_that_lock_and_unlock_keep_a_server_for_as_long_as_that() {
    let room = Greenroom::start().auth("trust").servers(2).await;
    let (mut client, mut other) = (room.raw("catalog").await, room.raw("catalog").await);
    client.ask(&[parse("lock", "select pg_advisory_lock($1::int)"), sync()]).await;
    client.ask(&[parse("unlock", "select pg_advisory_unlock($1::int)"), sync()]).await;
    assert_eq!(room.metrics().await.sum("greenroom_pins_total", &[]), 0.0, "nothing is locked yet");
    for round in 0..3 {
        let tried = "select pg_try_advisory_xact_lock(7)";
        client.ask(&run("lock", "7")).await;
        client.ask(&[parse(&format!("s{round}"), "select $1 || ' in between'"), sync()]).await;
        assert_eq!(rows(&client.ask(&run(&format!("s{round}"), "one")).await), ["one in between"]);
        assert_eq!(rows(&other.query(tried).await), ["f"]);
        assert_eq!(room.metrics().await.sum("greenroom_pinned_sessions", &["plugin=\"catalog\""]), 1.0);
        assert_eq!(rows(&client.ask(&run("unlock", "7")).await), ["t"]);
        nobody_is_pinned(&room, "it is unlocked").await;
        assert_eq!(rows(&other.query(tried).await), ["t"]);
    }
    assert_eq!(rows(&client.ask(&run("s0", "one")).await), ["one in between"]);
    assert_eq!(room.metrics().await.sum("greenroom_pins_total", &["reason=\"prepared_statement\""]), 0.0);
    assert!(room.stage().connections().await <= 2);
}

#[tokio::test]
async fn a_look_up_that_turns_a_setting_off_and_on_by_statements_with_names_keeps_nothing() {
    let room = Greenroom::start().auth("trust").servers(1).await;
    let (mut client, mut other) = (room.raw("catalog").await, room.raw("catalog").await);
    // As asyncpg does it.
    let off = "select current_setting('jit') as cur, set_config('jit', 'off', false) as new";
    client.ask(&[parse("off", off), bind("", "off", &[]), execute("", 0), sync()]).await;
    assert_eq!(rows(&other.query("show jit").await), ["on"]);
    client.ask(&[parse("s1", "select $1 || ' looked up'"), sync()]).await;
    client.ask(&[parse("on", "select set_config('jit', $1, false)"), sync()]).await;
    assert_eq!(rows(&client.query("show jit").await), ["off"]);
    client.ask(&run("on", "on")).await;
    assert_eq!(rows(&other.query("show jit").await), ["on"]);
    assert_eq!(rows(&client.ask(&run("s1", "one")).await), ["one looked up"]);
    assert_eq!(room.metrics().await.sum("greenroom_pins_total", &[]), 0.0);
}

/// The hour of a literal in a time zone, as a statement has it that was prepared there.
const HOUR: &str = "select extract(hour from '2026-01-02 12:00'::timestamptz at time zone 'UTC')::int || $1";

#[tokio::test]
async fn what_would_be_another_statement_elsewhere_keeps_its_server_until_it_is_closed() {
    let large = format!("select $1 || '' /* {} */", "x".repeat(100_000));
    for (begin, text, end, answer) in [
        (&["begin", "set local time zone 'Asia/Tokyo'"][..], HOUR, &["commit"][..], "3"),
        (&["begin", "set time zone 'Asia/Tokyo'"], HOUR, &["set time zone 'UTC'", "commit"], "3"),
        (&["begin", "select pg_advisory_lock(7)", "set time zone 'Asia/Tokyo'"], HOUR, &["rollback"], "3"),
        (&["begin", "set local extra_float_digits to 0"], "select 0.1::float8::text || $1", &["commit"], "0.1"),
    ] {
        let why = format!("{begin:?} {end:?}");
        let room = Greenroom::start().auth("trust").servers(1).await;
        let mut client = room.raw("catalog").await;
        ask_all(&mut client, begin).await;
        client.ask(&[parse("s1", text), sync()]).await;
        assert_eq!(rows(&client.ask(&run("s1", "")).await), [answer], "{why}");
        ask_all(&mut client, end).await;
        client.query("select pg_advisory_unlock_all()").await;
        assert_eq!(rows(&client.ask(&run("s1", "")).await), [answer], "{why}");
        assert_eq!(room.metrics().await.sum("greenroom_pinned_sessions", &[]), 1.0, "{why}");
        client.ask(&[close_statement("s1"), sync()]).await;
        nobody_is_pinned(&room, &why).await;
        let other = room.client("catalog").await;
        assert_eq!(
            other.value("show timezone").await,
            other.value("select reset_val from pg_settings where name = 'TimeZone'").await
        );
    }
    for text in ["select $1 || 'now'::timestamptz::text", large.as_str()] {
        let room = Greenroom::start().auth("trust").servers(2).await;
        let mut client = room.raw("catalog").await;
        client.run("select pg_advisory_lock(7)").await;
        client.ask(&[parse("s1", text), sync()]).await;
        let first = rows(&client.ask(&run("s1", "")).await);
        client.run("select pg_advisory_unlock(7)").await;
        assert_eq!(rows(&client.ask(&run("s1", "")).await), first);
        assert_eq!(room.metrics().await.sum("greenroom_pinned_sessions", &[]), 1.0);
    }
}

#[tokio::test]
async fn what_settings_have_made_of_a_text_without_literals_stays_as_on_postgresql() {
    for (set, text, answer) in [
        ("set local extra_float_digits to 0", "select (1::float8 / 3)::text", "0.333333333333333"),
        ("set local extra_float_digits to 0", "select pi()::text", "3.14159265358979"),
        ("set local bytea_output to escape", "select int4send(1)::text", "\\000\\000\\000\\001"),
        ("set local transform_null_equals to on", "select x = null from (values (1)) v(x)", "f"),
    ] {
        let room = Greenroom::start().auth("trust").servers(1).await;
        let mut client = room.raw("catalog").await;
        ask_all(&mut client, &["begin", set]).await;
        let use_it = [bind("", "s1", &[]), execute("", 0), sync()];
        client.ask(&[parse("s1", text), sync()]).await;
        assert_eq!(rows(&client.ask(&use_it).await), [answer], "{set}");
        client.run("commit").await;
        assert_eq!(rows(&client.ask(&use_it).await), [answer], "{set}: as PostgreSQL keeps it");
        client.ask(&[close_statement("s1"), sync()]).await;
        nobody_is_pinned(&room, set).await;
    }
}

#[tokio::test]
async fn a_zone_that_cannot_go_along_is_nobody_elses() {
    let hour = "select extract(hour from '2026-01-02 12:00'::timestamptz at time zone 'UTC')::int";
    let use_it = |name| [bind("", name, &[]), execute("", 0), sync()];
    let room = Greenroom::start().auth("trust").servers(1).await;
    let (mut client, mut other) = (room.raw("catalog").await, room.raw("catalog").await);
    other.ask(&[parse("s1", hour), sync()]).await;
    let right = rows(&other.ask(&use_it("s1")).await).to_vec();
    for _ in 0..2 {
        // It is not written in ASCII, and so keeps its server.
        client.run("set timezone to '<é>-9'").await;
        client.ask(&[parse("s2", hour), sync()]).await;
        assert_eq!(rows(&client.ask(&use_it("s2")).await), ["3"]);
        client.ask(&[close_statement("s2"), sync()]).await;
        client.run("reset timezone").await;
        nobody_is_pinned(&room, "the zone is the server's own").await;
        assert_eq!(rows(&other.ask(&use_it("s1")).await), right);
    }
}

#[tokio::test]
async fn a_setting_is_the_same_however_it_was_written() {
    let room = Greenroom::start().auth("trust").servers(1).await;
    let (mut client, mut other) = (room.raw("catalog").await, room.raw("catalog").await);
    client.run("set extra_float_digits to 3").await;
    client.ask(&[parse("s1", "select 0.1::float8::text || $1"), parse("s2", "select 2"), sync()]).await;
    client.run("deallocate s2").await;
    nobody_is_pinned(&room, "nothing has changed").await;
    assert_eq!(rows(&other.query("select 1").await), ["1"]);
    assert_eq!(rows(&client.ask(&run("s1", "")).await), ["0.1"]);
}

#[tokio::test]
async fn a_literal_means_the_same_when_the_settings_are_back_and_its_server_is_not() {
    let room = Greenroom::start().auth("trust").servers(1).await;
    let (mut client, mut other) = (room.raw("catalog").await, room.raw("catalog").await);
    client.run("set time zone 'Europe/Moscow'").await;
    client.ask(&[parse("s1", HOUR), sync()]).await;
    ask_all(&mut client, &["begin", "set time zone 'Asia/Tokyo'", "rollback"]).await;
    for _ in 0..2 {
        assert_eq!(rows(&other.query("select 1").await), ["1"], "the only server is free");
        assert_eq!(rows(&client.ask(&run("s1", "")).await), ["9"]);
    }
    nobody_is_pinned(&room, "the settings are back").await;
}

#[tokio::test]
async fn a_client_is_told_that_its_statement_has_other_columns_than_on_the_server_it_kept() {
    for describes in [true, false] {
        let room = Greenroom::start().auth("trust").servers(1).await;
        let (mut client, mut other) = (room.raw("catalog").await, room.raw("catalog").await);
        client.run("create table item (id int)").await;
        client.run("create temp table t (x int)").await;
        client
            .ask(&[parse("s1", "select * from item"), parse("s2", "select id from item where id = $1"), sync()])
            .await;
        if describes {
            assert_eq!(tags(&client.ask(&[describe_statement("s1"), sync()]).await), "tTZ");
        }
        client.run("drop table t").await;
        other.run("alter table item add column name text").await;
        for _ in 0..2 {
            let replies = client.ask(&[bind("", "s1", &[]), execute("", 0), sync()]).await;
            assert_eq!(codes(&replies), ["0A000"], "described before: {describes}");
            assert_eq!(codes(&client.ask(&run("s2", "1")).await), [""; 0], "its columns are what they were");
        }
        other.run("alter table item drop column name").await;
        assert_eq!(codes(&client.ask(&[bind("", "s1", &[]), execute("", 0), sync()]).await), [""; 0]);
        // And of a table that is gone, with what its transaction has made.
        ask_all(&mut client, &["begin", "create temp table t (x int)", "create table going (id int)"]).await;
        client.ask(&[parse("s3", "select id from going"), sync()]).await;
        ask_all(&mut client, &["rollback"]).await;
        for _ in 0..2 {
            assert_eq!(rows(&other.query("select 1").await), ["1"], "the only server is free");
            assert_eq!(codes(&client.ask(&[bind("", "s3", &[]), execute("", 0), sync()]).await), ["42P01"]);
        }
    }
}

#[tokio::test]
async fn what_sql_has_deallocated_by_its_name_is_nowhere_when_the_server_is_given_back() {
    let room = Greenroom::start().auth("trust").servers(1).await;
    let (mut client, mut other) = (room.raw("catalog").await, room.raw("catalog").await);
    for round in 0..2 {
        client.ask(&[parse("gone", "select $1 || ''"), parse("kept", "select $1 || ' kept'"), sync()]).await;
        client.run("select pg_advisory_lock(7)").await;
        client.ask(&[parse("too", "select $1 || ''"), sync()]).await;
        client.run("deallocate gone; deallocate too").await;
        client.run("select pg_advisory_unlock(7)").await;
        assert_eq!(rows(&other.query("select count(*) from pg_prepared_statements").await), ["0"], "{round}");
        for name in ["gone", "too"] {
            assert_eq!(codes(&client.ask(&run(name, "one")).await), ["26000"], "{name} {round}");
        }
        assert_eq!(rows(&client.ask(&run("kept", "is")).await), ["is kept"], "{round}");
        assert_eq!(codes(&client.query("deallocate kept").await), [""; 0], "{round}");
        nobody_is_pinned(&room, "nothing is left").await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_while_its_names_are_taken_from_a_server_leaves_none_there() {
    let room = Greenroom::start().auth("trust").servers(1).await;
    for _ in 0..20 {
        let mut client = room.raw("catalog").await;
        client.run("create temp table t (x int)").await;
        client.ask(&[parse("s1", "select 'left behind'"), sync()]).await;
        client.send(&[query("drop table t")]).await;
        client.until(b'Z', 1).await;
        drop(client);
        let mut other = room.raw("catalog").await;
        assert_eq!(codes(&other.ask(&[bind("", "s1", &[]), sync()]).await), ["26000"]);
        assert_eq!(rows(&other.query("select count(*) from pg_prepared_statements").await), ["0"]);
        other.leave().await;
    }
}

#[tokio::test]
async fn a_statement_that_sql_deallocates_keeps_no_server_and_costs_none() {
    let room = Greenroom::start().auth("trust").servers(1).await;
    let (mut client, mut other) = (room.raw("catalog").await, room.raw("catalog").await);
    let mut third = room.raw("catalog").await;
    let backend = rows(&other.query("select pg_backend_pid()").await).to_vec();
    client.ask(&[parse("kept", "select $1 || ' kept'"), sync()]).await;
    for (begin, deallocate, end) in [
        ("select 1", "deallocate _pg3_0", "select 1"),
        ("begin", "deallocate _pg3_0", "commit"),
        ("begin", "DEALLOCATE PREPARE \"_pg3_0\";", "rollback"),
    ] {
        // Another one of the same text stays what it is.
        other.ask(&[parse("_pg3_0", "select $1 || ' text'"), sync()]).await;
        client.run(begin).await;
        client.ask(&[parse("_pg3_0", "select $1 || ' text'"), sync()]).await;
        assert_eq!(rows(&client.ask(&run("_pg3_0", "one")).await), ["one text"]);
        assert_eq!(codes(&client.query(deallocate).await), [""; 0], "{deallocate}");
        assert_eq!(codes(&client.ask(&[describe_statement("kept"), sync()]).await), [""; 0]);
        client.run(end).await;
        assert_eq!(codes(&third.ask(&run("_pg3_0", "nobody's")).await), ["26000"], "nothing is left there");
        assert_eq!(codes(&client.ask(&run("_pg3_0", "one")).await), ["26000"], "{deallocate}");
        assert_eq!(codes(&client.query(deallocate).await), ["26000"], "{deallocate}");
        assert_eq!(rows(&client.ask(&run("kept", "is")).await), ["is kept"]);
        assert_eq!(rows(&other.ask(&run("_pg3_0", "another's")).await), ["another's text"]);
        other.run("deallocate _pg3_0").await;
    }
    assert_eq!(room.metrics().await.sum("greenroom_pins_total", &[]), 0.0);
    assert_eq!(*rows(&other.query("select pg_backend_pid()").await), backend[..], "the server was never another one");
}
