//! Prepared statements of the protocol that have names: many clients', on few servers, without a server for each.

use std::time::Duration;

use futures_util::future::join_all;

use crate::differential::compare::same;
use crate::harness::frames::{
    bind, close_portal, close_statement, describe_portal, describe_statement, execute, flush, parse, query, sync,
};
use crate::harness::{FakeServer, Frame, Greenroom, Room, codes, rows, tags};

fn run(name: &str, parameter: &str) -> [Frame; 3] {
    [bind("", name, &[Some(parameter)]), execute("", 0), sync()]
}

async fn pins(room: &Room) -> f64 {
    room.metrics().await.sum("greenroom_pins_total", &[])
}

#[tokio::test]
async fn fifty_clients_with_statements_of_their_own_share_two_servers() {
    let room = Greenroom::start().auth("trust").servers(2).await;
    let clients = (0..50).map(|number| {
        let room = &room;
        async move {
            let mut client = room.raw(["catalog", "scaffolder"][number % 2]).await;
            // The same name for all, and a text that some share.
            let text = format!("select current_schema() || ' {} ' || $1", number % 5);
            client.ask(&[parse("s1", &text), sync()]).await;
            for round in 0..20 {
                let replies = client.ask(&run("s1", &format!("{number} {round}"))).await;
                let plugin = ["catalog", "scaffolder"][number % 2];
                assert_eq!(rows(&replies), [format!("{plugin} {} {number} {round}", number % 5)], "{replies:?}");
            }
        }
    });
    join_all(clients).await;
    assert_eq!(pins(&room).await, 0.0);
    assert!(room.stage().connections().await <= 2);
}

#[tokio::test]
async fn a_statement_that_the_server_has_costs_one_write_and_no_question() {
    let server = FakeServer::usual().await;
    let room = Greenroom::start().auth("trust").servers(1).behind(&server).await;
    let mut client = room.raw("catalog").await;
    client.ask(&[parse("s1", "select $1"), sync()]).await;
    client.ask(&run("s1", "first")).await;
    for _ in 0..5 {
        let (reads, writes) = server.reads_and_writes();
        assert_eq!(tags(&client.ask(&run("s1", "again")).await), "2DCZ");
        assert_eq!(server.reads_and_writes(), (reads + 1, writes + 1));
    }
    // Another client's first use is the server's own statement: prepared for it, as PostgreSQL would, and used.
    let mut other = room.raw("catalog").await;
    other.ask(&[parse("mine", "select $1"), sync()]).await;
    let (reads, writes) = server.reads_and_writes();
    other.ask(&run("mine", "once")).await;
    client.ask(&run("s1", "again")).await;
    assert_eq!(server.reads_and_writes(), (reads + 2, writes + 2));
}

#[tokio::test]
async fn more_than_a_server_keeps_is_prepared_again_when_it_is_used() {
    const STATEMENTS: usize = 40;
    let room = Greenroom::start().auth("trust").servers(1).await;
    let mut client = room.raw("catalog").await;
    for number in 0..STATEMENTS {
        // Together they are twice what a server keeps.
        let text = format!("select $1 || ' {number}' /* {} */", "x".repeat(60_000));
        let replies = client.ask(&[parse(&format!("s{number}"), &text), sync()]).await;
        assert_eq!(tags(&replies), "1Z");
    }
    for round in 0..2 {
        for number in 0..STATEMENTS {
            let replies = client.ask(&run(&format!("s{number}"), "own")).await;
            assert_eq!(rows(&replies), [format!("own {number}")], "round {round}");
        }
    }
    assert_eq!(pins(&room).await, 0.0);
}

#[tokio::test]
async fn more_than_a_server_keeps_is_prepared_and_used_in_one_batch() {
    let room = Greenroom::start().auth("trust").servers(1).await;
    let (mut client, mut other) = (room.raw("catalog").await, room.raw("catalog").await);
    let text = |number: usize| format!("select $1 || ' {number}' /* {} */", "x".repeat(60_000));
    let use_it = |number: usize| [bind("", &format!("s{number}"), &[Some("own")]), execute("", 0)];
    for round in 0..3 {
        // Of those in the first half, each is closed for one in the second.
        let parses = (0..36)
            .flat_map(|number| [close_statement(&format!("s{number}")), parse(&format!("s{number}"), &text(number))]);
        let uses = (0..36).chain([0, 35, 1]).flat_map(use_it);
        let replies = client.ask(&parses.chain(uses).chain([sync()]).collect::<Vec<_>>()).await;
        let expected: Vec<_> = (0..36).chain([0, 35, 1]).map(|number| format!("own {number}")).collect();
        assert_eq!(rows(&replies), expected, "round {round}: {:?}", codes(&replies));
        assert_eq!(rows(&other.run("select 'next'").await), ["next"]);
        // An error in the middle takes what is behind it along, and nothing else.
        let failing =
            [&use_it(3)[..], &[bind("", "nobody", &[])], &use_it(4), &[sync()], &use_it(5), &[sync()]].concat();
        let replies = client.ask(&failing).await;
        assert_eq!((rows(&replies), codes(&replies)), (vec!["own 3".into(), "own 5".into()], vec!["26000".into()]));
    }
    assert_eq!(pins(&room).await, 0.0);
}

#[tokio::test]
async fn a_statement_that_was_prepared_anew_does_not_meet_an_older_one_on_another_server() {
    let room = Greenroom::start().auth("trust").servers(2).await;
    let (mut old, mut holder) = (room.raw("catalog").await, room.raw("catalog").await);
    let uses = |name: &str| [bind("", name, &[]), execute("", 0), sync()];
    old.run("create table changing (a int); insert into changing values (1)").await;
    old.ask(&[parse("s1", "select * from changing"), sync()]).await;
    // On both servers.
    old.ask(&uses("s1")).await;
    holder.run("begin").await;
    assert_eq!(tags(&old.ask(&uses("s1")).await), "2DCZ");
    holder.run("commit").await;
    old.run("alter table changing add b int default 2").await;
    let mut new = room.raw("catalog").await;
    for first in ["s1", "s2"] {
        assert_eq!(
            tags(&new.ask(&[parse(first, "select * from changing"), describe_statement(first), sync()]).await),
            "1tTZ"
        );
        holder.run("begin").await;
        // One that was told of two columns is not told of one, nor of an error.
        for _ in 0..2 {
            let replies = new.ask(&uses(first)).await;
            let columns = replies.iter().find_map(|reply| (reply.tag == b'D').then(|| reply.columns()).flatten());
            assert_eq!(columns.map(|columns| columns.len()), Some(2), "{replies:?}");
        }
        holder.run("commit").await;
        assert_eq!(tags(&new.ask(&uses(first)).await), "2DCZ");
        assert_eq!(codes(&old.ask(&uses("s1")).await), ["0A000"], "who was told of one column only is told so");
    }
}

#[tokio::test]
async fn a_name_of_a_servers_own_is_nobodys_to_use() {
    let room = Greenroom::start().auth("trust").servers(1).await;
    let mut owner = room.raw("catalog").await;
    owner.ask(&[parse("s1", "select 'secret ' || $1"), sync()]).await;
    let mut thief = room.raw("catalog").await;
    for number in 0..8 {
        let name = format!("greenroom:{number:016x}");
        assert_eq!(codes(&thief.ask(&run(&name, "x")).await), ["26000"], "{name}");
        assert_eq!(codes(&thief.ask(&[describe_statement(&name), sync()]).await), ["26000"], "{name}");
        assert_eq!(tags(&thief.ask(&[close_statement(&name), sync()]).await), "3Z", "{name}");
    }
    assert_eq!(rows(&owner.ask(&run("s1", "kept")).await), ["secret kept"]);
    for sql in ["select count(*) from pg_prepared_statements", "begin", "select name from pg_prepared_statements"] {
        assert!(!rows(&thief.query(sql).await).iter().any(|row| row.contains("greenroom")), "{sql}");
    }
}

#[tokio::test]
async fn a_client_sees_its_own_statements_by_its_own_names_and_no_others() {
    const NAMES: &str = "select name from pg_prepared_statements order by name";
    let room = Greenroom::start().auth("trust").servers(2).await;
    let mut stranger = room.raw("catalog").await;
    stranger.ask(&[parse("strangers", "select 'strange'"), sync()]).await;
    for in_transaction in [false, true] {
        let mut client = room.raw("catalog").await;
        client.ask(&[parse("one", "select 1"), parse("two", "select $1"), sync()]).await;
        if in_transaction {
            client.run("begin").await;
        }
        assert_eq!(rows(&client.query(NAMES).await), ["one", "two"], "in a transaction: {in_transaction}");
        assert_eq!(rows(&client.query("execute two('by SQL')").await), ["by SQL"]);
        assert_eq!(rows(&client.ask(&run("two", "by name")).await), ["by name"]);
        client.run("deallocate one").await;
        assert_eq!(codes(&client.ask(&[bind("", "one", &[]), sync()]).await), ["26000"]);
        client.leave().await;
    }
    assert_eq!(rows(&stranger.ask(&[bind("", "strangers", &[]), execute("", 0), sync()]).await), ["strange"]);
}

#[tokio::test]
async fn what_no_shared_server_can_keep_has_one_of_its_own() {
    for (what, text) in [
        ("too large", format!("select $1 /* {} */", "x".repeat(400_000))),
        ("a time that is meant when it is parsed", "select $1 || 'now'::timestamptz::text".to_owned()),
    ] {
        let room = Greenroom::start().auth("trust").servers(2).await;
        let mut client = room.raw("catalog").await;
        assert_eq!(tags(&client.ask(&[parse("s1", &text), sync()]).await), "1Z", "{what}");
        let first = rows(&client.ask(&run("s1", "x")).await);
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert_eq!(rows(&client.ask(&run("s1", "x")).await), first, "{what}");
        let reason = ["reason=\"prepared_statement\""];
        assert_eq!(room.metrics().await.sum("greenroom_pins_total", &reason), 1.0, "{what}");
    }
}

/// The hour of a literal in a time zone, as a statement has it that was prepared there.
const HOUR: &str = "select extract(hour from '2026-01-02 12:00'::timestamptz at time zone 'UTC')::int || $1";

#[tokio::test]
async fn a_literal_keeps_the_meaning_that_it_had_when_its_statement_was_prepared() {
    for way in [
        &["set time zone 'Asia/Tokyo'"][..],
        &["begin", "set time zone 'Asia/Tokyo'", "commit"],
        &["select set_config('timezone', 'Asia/Tokyo', false)"],
    ] {
        let room = Greenroom::start().auth("trust").servers(3).await;
        let (mut client, mut other) = (room.raw("catalog").await, room.raw("catalog").await);
        client.run("set time zone 'Europe/Moscow'").await;
        for client in [&mut client, &mut other] {
            assert_eq!(tags(&client.ask(&[parse("s1", HOUR), sync()]).await), "1Z");
        }
        for sql in way {
            client.run(sql).await;
        }
        client.ask(&[parse("s2", HOUR), sync()]).await;
        for _ in 0..2 {
            assert_eq!(rows(&client.ask(&run("s1", "")).await), ["9"], "{way:?}");
            assert_eq!(rows(&client.ask(&run("s2", "")).await), ["3"], "{way:?}");
            assert_eq!(rows(&other.ask(&run("s1", "")).await), ["12"], "{way:?}");
        }
        client.run("discard all").await;
        assert_eq!(codes(&client.ask(&run("s1", "")).await), ["26000"]);
        client.ask(&[parse("s1", HOUR), sync()]).await;
        assert_eq!(rows(&client.ask(&run("s1", "")).await), ["12"], "{way:?}");
    }
}

#[tokio::test]
async fn a_literal_never_means_what_the_code_in_a_text_has_set_in_the_meantime() {
    let in_batch = |sql: &str| [parse("", sql), bind("", "", &[]), execute("", 0)];
    let room = Greenroom::start().auth("trust").servers(2).await;
    for code in [
        "do $$ begin set time zone 'Asia/Tokyo'; end $$",
        "select query_to_xml('select set_config(''timezone'', ''Asia/Tokyo'', false)', true, true, '')",
    ] {
        let mut client = room.raw("catalog").await;
        client.ask(&[parse("s1", HOUR), sync()]).await;
        // In the middle of a batch nothing can be prepared ahead of it.
        let replies = client.ask(&[&in_batch("select 1")[..], &in_batch(code), &run("s1", "")].concat()).await;
        assert_eq!(codes(&replies), ["0A000"], "{code}");
        client.leave().await;
    }
    for code in [
        "do $$ begin set time zone 'Asia/Tokyo'; end $$",
        "create function zone() returns text language sql
        as $$ select set_config('timezone', 'Asia/Tokyo', false) $$",
    ] {
        let mut client = room.raw("catalog").await;
        client.ask(&[parse("s1", HOUR), sync()]).await;
        for sql in ["begin", code, "select set_config('jit', 'off', false)"] {
            client.run(sql).await;
        }
        if code.starts_with("create") {
            client.run("select zone()").await;
        }
        assert_eq!(rows(&client.query("show timezone").await), ["Asia/Tokyo"], "{code}");
        assert_eq!(rows(&client.ask(&run("s1", "")).await), ["12"], "{code}");
        client.run("rollback").await;
        client.leave().await;
    }
}

#[tokio::test]
async fn what_cannot_be_told_any_more_is_no_statement_of_another_name() {
    let room = Greenroom::start().auth("trust").servers(2).await;
    let mut client = room.raw("catalog").await;
    client.ask(&[parse("s1", HOUR), sync()]).await;
    let set = [parse("", "set time zone 'Asia/Tokyo'"), bind("", "", &[]), execute("", 0), sync()];
    client.ask(&[&[parse("s2", "select 1")][..], &set].concat()).await;
    for name in ["greenroom:stale", "greenroom:stale0", "greenroom:stale1"] {
        client.ask(&[parse(name, "select 'another'"), sync()]).await;
    }
    assert_eq!(codes(&client.ask(&[describe_statement("s1"), sync()]).await), ["0A000"]);
    assert_eq!(codes(&client.ask(&[bind("", "s1", &[]), execute("", 0), sync()]).await), ["0A000"]);
}

#[tokio::test]
async fn a_client_that_discards_its_statements_is_free_and_its_server_is_nobody_elses() {
    let room = Greenroom::start().auth("trust").servers(1).await;
    let (mut client, mut other) = (room.raw("catalog").await, room.raw("catalog").await);
    for _ in 0..3 {
        client.ask(&[parse("one", "select $1 || ''"), sync()]).await;
        assert_eq!(rows(&client.query("select name from pg_prepared_statements").await), ["one"]);
        client.run("discard all").await;
        assert_eq!(rows(&other.query("select count(*) from pg_prepared_statements").await), ["0"]);
        assert_eq!(codes(&client.ask(&run("one", "gone")).await), ["26000"]);
    }
    assert_eq!(room.metrics().await.sum("greenroom_pinned_sessions", &[]), 0.0);
}

#[tokio::test]
async fn a_client_whose_pool_resets_it_keeps_its_statements_and_no_server() {
    // What asyncpg's pool sends whenever a connection is given back.
    let reset = "SELECT pg_advisory_unlock_all();\nCLOSE ALL;\nUNLISTEN *;\nRESET ALL;";
    let room = Greenroom::start().auth("trust").servers(1).await;
    let (mut client, mut other) = (room.raw("catalog").await, room.raw("catalog").await);
    for reset in [reset, "reset all", "reset timezone"] {
        client.ask(&[parse("s1", HOUR), sync()]).await;
        client.run("set work_mem to '77kB'").await;
        assert_eq!(codes(&client.query(reset).await), [""; 0], "{reset}");
        assert_eq!(rows(&client.query("show search_path").await), ["catalog"], "{reset}");
        assert_eq!(rows(&other.query("show work_mem").await), ["4MB"], "{reset}");
        assert_eq!(rows(&client.ask(&run("s1", "")).await), ["12"], "{reset}");
        client.ask(&[close_statement("s1"), sync()]).await;
    }
    assert_eq!(rows(&client.query("show work_mem").await), ["77kB"], "the last reset was of another setting");
    client.run(reset).await;
    assert_eq!(rows(&client.query("show work_mem").await), ["4MB"]);
    assert_eq!(pins(&room).await, 0.0);
    // One that fails resets nothing.
    client.run("set work_mem to '77kB'").await;
    assert_eq!(codes(&client.query("close all; select 1 / 0; reset all").await), ["22012"]);
    assert_eq!(rows(&client.query("show work_mem").await), ["77kB"]);
}

#[tokio::test]
async fn a_statement_that_waits_in_vain_for_a_server_fails_and_the_next_does_not() {
    let timeout = Duration::from_millis(300);
    let room = Greenroom::start().auth("trust").servers(1).every_pool(|pool| pool.acquire_timeout(timeout)).await;
    let mut client = room.raw("catalog").await;
    client.ask(&[parse("s1", "select 'own ' || $1"), sync()]).await;
    let mut greedy = room.raw("catalog").await;
    greedy.run("begin").await;
    for _ in 0..2 {
        let replies = client.ask(&run("s1", "in vain")).await;
        assert_eq!((tags(&replies).as_str(), codes(&replies)), ("EZ", vec!["53300".to_owned()]));
        assert_eq!(codes(&client.ask(&[parse("s2", "select 1"), sync()]).await), ["53300"]);
        assert_eq!(codes(&client.ask(&[query("execute s1('in vain')")]).await), ["53300"]);
    }
    greedy.run("commit").await;
    assert_eq!(tags(&client.ask(&[parse("s2", "select 1"), sync()]).await), "1Z", "the name was never taken");
    assert_eq!(rows(&client.ask(&run("s1", "again")).await), ["own again"]);
}

#[tokio::test]
async fn names_of_any_number_are_kept_up_to_a_size_and_on_a_server_of_their_own_beyond_it() {
    const STATEMENTS: usize = 90;
    let room = Greenroom::start().auth("trust").servers(2).await;
    let mut client = room.raw("catalog").await;
    let other = room.raw("catalog").await;
    for number in 0..STATEMENTS {
        // Together they are more than a session's statements may be.
        let text = format!("select $1 || ' {number}' /* {} */", "x".repeat(60_000));
        assert_eq!(tags(&client.ask(&[parse(&format!("s{number}"), &text), sync()]).await), "1Z");
    }
    for number in 0..STATEMENTS {
        assert_eq!(rows(&client.ask(&run(&format!("s{number}"), "own")).await), [format!("own {number}")]);
        assert_eq!(codes(&client.ask(&[parse(&format!("s{number}"), "select 1"), sync()]).await), ["42P05"]);
    }
    assert_eq!(pins(&room).await, 1.0);
    drop(other);
}

#[tokio::test]
async fn a_name_that_is_taken_is_told_by_that_name_on_whichever_server() {
    let room = Greenroom::start().auth("trust").servers(2).await;
    let (mut client, mut greedy) = (room.raw("catalog").await, room.raw("catalog").await);
    client.ask(&[parse("s1", "select 'first ' || $1"), sync()]).await;
    for in_use in [false, true] {
        if in_use {
            // The other one has to do.
            greedy.run("begin").await;
        }
        for text in ["select 2", "select 'first ' || $1"] {
            let replies = client.ask(&[parse("s1", text), sync()]).await;
            assert_eq!(codes(&replies), ["42P05"]);
            let message = replies[0].field(b'M').expect("an error has a message");
            assert_eq!(message, "prepared statement \"s1\" already exists");
        }
        assert_eq!(codes(&client.ask(&[parse("s1", "selekt"), sync()]).await), ["42601"], "that is seen first");
        assert_eq!(rows(&client.ask(&run("s1", "still")).await), ["first still"]);
    }
    assert_eq!(pins(&room).await, 0.0);
}

#[tokio::test]
async fn a_name_is_taken_where_its_statement_cannot_be_prepared_any_more() {
    let room = Greenroom::start().auth("trust").servers(2).await;
    let (mut client, mut greedy) = (room.raw("catalog").await, room.raw("catalog").await);
    client.run("create table going (a int)").await;
    client.ask(&[parse("s1", "select * from going"), parse("s2", HOUR), sync()]).await;
    client.run("drop table going").await;
    let long = format!("select 1 /* {} */", "x".repeat(300_000));
    for in_use in [false, true] {
        if in_use {
            // A server that has none of them is left.
            greedy.run("deallocate all").await;
            greedy.run("begin").await;
        }
        for _ in 0..3 {
            let replies = client.ask(&[parse("s1", "select 1"), sync()]).await;
            assert_eq!(codes(&replies), ["42P05"], "in use: {in_use}");
            assert_eq!(replies[0].field(b'M').as_deref(), Some("prepared statement \"s1\" already exists"));
            assert_eq!(codes(&client.ask(&[parse("s1", "selekt"), sync()]).await), ["42601"], "that is seen first");
        }
    }
    assert_eq!(pins(&room).await, 0.0);
    client.run("begin").await;
    client.query("select 1/0").await;
    // An empty text can be prepared there.
    assert_eq!(codes(&client.ask(&[parse("s1", ""), sync()]).await), ["42P05"]);
    assert_eq!(codes(&client.ask(&[parse("s1", "select 1"), sync()]).await), ["25P02"]);
    client.run("rollback").await;
    assert_eq!(codes(&client.ask(&[parse("s1", &long), sync()]).await), ["42P05"]);
    let set = [parse("", "set time zone 'Asia/Tokyo'"), bind("", "", &[]), execute("", 0), sync()];
    assert_eq!(codes(&client.ask(&[&[parse("", "select 1")], &set[..]].concat()).await), [""; 0]);
    assert_eq!(codes(&client.ask(&run("s2", "")).await), ["0A000"], "its literals may be others");
    assert_eq!(codes(&client.ask(&[parse("s2", "select 1"), sync()]).await), ["42P05"]);
    let seen = rows(&client.query("select name from pg_prepared_statements").await);
    assert!(!seen.iter().any(|name| name.contains("greenroom")), "{seen:?}");
}

#[tokio::test]
async fn what_code_has_deallocated_is_gone_though_its_table_has_changed() {
    const DEALLOCATE: &str = "do $$ begin execute 'deallocate all'; end $$";
    let room = Greenroom::start().auth("trust").servers(2).await;
    let mut client = room.raw("catalog").await;
    client.run("create table changing (a int)").await;
    let prepare = [parse("s1", "select * from changing"), sync()];
    // The batch that fails skips what it would have prepared again.
    for before in [vec![], vec![bind("", "nobody", &[]), bind("", "s1", &[]), sync()]] {
        client.run("alter table changing alter a type int").await;
        assert_eq!(tags(&client.ask(&prepare).await), "1Z");
        client.run("prepare keeps_a_server as select 1").await;
        client.run("alter table changing alter a type bigint").await;
        assert_eq!(codes(&client.ask(&[describe_statement("s1"), sync()]).await), ["0A000"]);
        assert_eq!(codes(&client.ask(&prepare).await), ["42P05"]);
        if !before.is_empty() {
            assert_eq!(codes(&client.ask(&before).await), ["26000"]);
        }
        client.run(DEALLOCATE).await;
        assert_eq!(tags(&client.ask(&prepare).await), "1Z");
        client.run("deallocate all").await;
    }
}

#[tokio::test]
async fn a_table_that_has_changed_is_told_as_postgresql_would_tell_it() {
    let room = Greenroom::start().auth("trust").servers(2).await;
    let (mut client, mut other) = (room.raw("catalog").await, room.raw("catalog").await);
    let use_it = || [bind("", "s1", &[]), execute("", 0), sync()];
    for elsewhere in [false, true] {
        client.run("create table changing (a int)").await;
        client.ask(&[parse("s1", "select * from changing"), sync()]).await;
        client.run("alter table changing add b int").await;
        if elsewhere {
            // Only a server that has never seen the statement is left.
            other.run("deallocate all").await;
            other.run("begin").await;
        }
        for _ in 0..2 {
            let replies = client.ask(&use_it()).await;
            assert_eq!(codes(&replies), ["0A000"], "elsewhere: {elsewhere}");
            assert_eq!(replies[0].field(b'M').as_deref(), Some("cached plan must not change result type"));
            assert_eq!(codes(&client.ask(&[describe_statement("s1"), sync()]).await), ["0A000"]);
        }
        client.run("alter table changing drop b").await;
        assert_eq!(tags(&client.ask(&use_it()).await), "2CZ", "it is again what it was");
        client.run("drop table changing").await;
        assert_eq!(codes(&client.ask(&use_it()).await), ["42P01"]);
        client.run("create table changing (a int)").await;
        assert_eq!(tags(&client.ask(&use_it()).await), "2CZ", "the name was not lost");
        client.ask(&[close_statement("s1"), sync()]).await;
        client.run("drop table changing").await;
        if elsewhere {
            other.run("commit").await;
        }
    }
    assert_eq!(pins(&room).await, 0.0);
}

#[tokio::test]
async fn a_literal_never_changes_its_value_in_the_middle_of_a_batch() {
    let room = Greenroom::start().auth("trust").servers(2).await;
    let mut client = room.raw("catalog").await;
    client.run("set time zone 'Europe/Moscow'").await;
    client.ask(&[parse("s1", HOUR), parse("s2", "select $1"), sync()]).await;
    let of_batch = |sql: &str| [parse("", sql), bind("", "", &[]), execute("", 0)];
    let sets = [of_batch("begin"), of_batch("set time zone 'Asia/Tokyo'")].concat();
    client.ask(&[&sets[..], &[sync()]].concat()).await;
    // What cannot be told for certain is an error after which drivers prepare again.
    let replies = client.ask(&run("s1", "")).await;
    assert_eq!((rows(&replies), codes(&replies)), (vec![], vec!["0A000".to_owned()]));
    client.run("rollback").await;
    assert_eq!(rows(&client.ask(&run("s2", "without a literal")).await), ["without a literal"]);
    client.ask(&[close_statement("s1"), parse("s1", HOUR), sync()]).await;
    assert_eq!(rows(&client.ask(&run("s1", "")).await), ["9"], "the zone was rolled back");
}

#[tokio::test]
async fn a_name_that_a_failed_batch_would_have_given_is_not_given_by_what_comes_behind_it() {
    let room = Greenroom::start().auth("trust").servers(2).await;
    let mut client = room.raw("catalog").await;
    let frames = [
        execute("nothing", 0),
        parse("s1", "select 'ghost ' || $1"),
        sync(),
        parse("", "select 1"),
        parse("", "do $$ begin end $$"),
        sync(),
        parse("s1", "select 'own ' || $1"),
        sync(),
    ];
    assert_eq!(tags(&client.ask(&frames).await), "EZ11Z1Z");
    assert_eq!(rows(&client.ask(&run("s1", "statement")).await), ["own statement"]);
}

#[tokio::test]
async fn what_was_to_be_prepared_again_in_a_batch_that_failed_is_there_for_sql_behind_it() {
    let room = Greenroom::start().auth("trust").servers(1).await;
    let mut client = room.raw("catalog").await;
    // The last Parse keeps the server, on which the statement is prepared again by its own name: that is skipped.
    let parses = [parse("a", "select 1"), bind("", "nobody", &[]), parse("b", "select 'now'")];
    assert_eq!(codes(&client.ask(&[&parses[..], &[bind("", "a", &[]), sync()]].concat()).await), ["26000"]);
    assert_eq!(rows(&client.query("select name from pg_prepared_statements").await), ["a"]);
    assert_eq!(rows(&client.query("execute a").await), ["1"]);
}

#[tokio::test]
async fn whatever_is_done_with_a_name_is_done_on_a_server_that_has_never_heard_of_it() {
    let pid = "select pg_backend_pid() + 0";
    let exec = |name: &str, value: &str| [bind("", name, &[Some(value)]), execute("", 0)];
    let ways: [Vec<Frame>; 9] = [
        vec![describe_statement("s1"), sync()],
        vec![describe_statement("s2"), describe_statement("s1"), flush(), sync()],
        [&exec("s1", "1")[..], &[sync()]].concat(),
        vec![bind("p", "s1", &[Some("1")]), describe_portal("p"), execute("p", 0), close_portal("p"), sync()],
        vec![parse("s1", "select 'another'"), sync()],
        vec![close_statement("s1"), parse("s1", "select 'another ' || $1"), describe_statement("s1"), sync()],
        [&exec("s1", "1")[..], &exec("s2", "0"), &exec("s1", "skipped"), &[sync()], &exec("s2", "4"), &[sync()]]
            .concat(),
        [&exec("s1", "1")[..], &[close_statement("s2")], &exec("s2", "4"), &[sync()]].concat(),
        [&exec("nobody", "1")[..], &exec("s1", "skipped"), &[sync()], &exec("s1", "1"), &[sync()]].concat(),
    ];
    let room = Greenroom::start().auth("trust").servers(2).await;
    let (mut holder, mut other) = (room.raw("catalog").await, room.raw("catalog").await);
    for (number, way) in ways.iter().enumerate() {
        // Other texts each time, so that no server knows them yet; both servers are there, and free.
        for sql in ["begin", "commit"] {
            holder.run(sql).await;
            other.run(sql).await;
        }
        let (mut client, mut direct) = (room.raw("catalog").await, room.stage().raw().await);
        let texts = [format!("select $1::text || ' {number}'"), format!("select {number} / $1::int")];
        let parses = [parse("s1", &texts[0]), parse("s2", &texts[1]), sync()];
        let first = rows(&client.ask(&[&parses[..], &[query(pid)]].concat()).await);
        direct.ask(&parses).await;
        assert_eq!(rows(&holder.ask(&[query("begin"), query(pid)]).await), first, "it takes the server away");
        let (expected, answer) = (direct.ask(way).await, client.ask(way).await);
        same(&format!("{way:?}"), &expected, &answer).unwrap_or_else(|differs| panic!("{differs}"));
        assert_ne!(rows(&client.run(pid).await), first, "{way:?}");
        holder.run("commit").await;
        // And again where both are.
        let (expected, answer) = (direct.ask(way).await, client.ask(way).await);
        same(&format!("{way:?}, again"), &expected, &answer).unwrap_or_else(|differs| panic!("{differs}"));
        client.leave().await;
    }
    assert_eq!(pins(&room).await, 0.0);
}
