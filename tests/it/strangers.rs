//! Ways to a stranger's prepared statements, or to be mistaken for one's own: each test says what PostgreSQL does.

use std::time::Duration;

use crate::harness::frames::{bind, close_statement, describe_statement, execute, parse, query, sync};
use crate::harness::{Frame, Greenroom, Reply, Room, codes, rows, tags};

fn run(name: &str, parameters: &[Option<&str>]) -> [Frame; 3] {
    [bind("", name, parameters), execute("", 0), sync()]
}

async fn room() -> Room {
    Greenroom::start().auth("trust").servers(2).await
}

fn text(replies: &[Reply]) -> String {
    replies.iter().map(|reply| String::from_utf8_lossy(&reply.body).into_owned()).collect()
}

#[tokio::test]
async fn a_large_query_does_not_see_a_strangers_statement() {
    let room = room().await;
    let mut owner = room.raw("catalog").await;
    owner.ask(&[parse("s1", "select 'secret'"), sync()]).await;
    let mut thief = room.raw("catalog").await;
    let sql = format!("select name || statement from pg_prepared_statements /* {} */", "x".repeat(300_000));
    assert_eq!(rows(&thief.query(&sql).await), [""; 0]);
}

#[tokio::test]
async fn a_large_query_executes_ones_own_statement() {
    let room = room().await;
    let mut client = room.raw("catalog").await;
    client.ask(&[parse("s1", "select 'own'"), sync()]).await;
    let replies = client.query(&format!("execute s1 /* {} */", "x".repeat(300_000))).await;
    assert_eq!(rows(&replies), ["own"], "{replies:?}");
}

#[tokio::test]
async fn procedural_code_does_not_see_a_strangers_statement() {
    let room = room().await;
    let mut owner = room.raw("catalog").await;
    owner.ask(&[parse("s1", "select 'secret'"), sync()]).await;
    let mut thief = room.raw("catalog").await;
    // Or it would have a private server from the beginning.
    thief.run("begin").await;
    let sql = "do $$ declare r text; begin execute 'select string_agg(name || statement, '','') from pg_prep' \
               || 'ared_statements' into r; raise notice 'seen: %', r; end $$";
    let seen = text(&thief.query(sql).await);
    assert!(seen.contains("seen") && !seen.contains("secret"), "{seen}");
}

#[tokio::test]
async fn procedural_code_does_not_execute_a_strangers_statement() {
    let room = room().await;
    let mut owner = room.raw("catalog").await;
    owner.ask(&[parse("s1", "select 'secret'::text"), sync()]).await;
    let mut thief = room.raw("catalog").await;
    // Or it would have a private server from the beginning.
    thief.run("begin").await;
    let sql = "do $$ declare r text; begin execute 'execute \"greenroom:0000000000000001\"' into r; \
               raise notice 'seen: %', r; end $$";
    let seen = text(&thief.query(sql).await);
    assert!(seen.contains("26000") && !seen.contains("secret"), "{seen}");
}

#[tokio::test]
async fn a_bind_with_a_very_long_portal_does_not_reach_a_strangers_statement() {
    let room = room().await;
    let mut owner = room.raw("catalog").await;
    owner.ask(&[parse("s1", "select 'secret'"), sync()]).await;
    let mut thief = room.raw("catalog").await;
    let portal = "p".repeat(300_000);
    let frames = [bind(&portal, "greenroom:0000000000000001", &[]), execute(&portal[..63], 0), sync()];
    let replies = thief.ask(&frames).await;
    assert_eq!((rows(&replies), codes(&replies)), (vec![], vec!["26000".to_owned()]));
}

#[tokio::test]
async fn set_local_of_a_stranger_does_not_change_a_literal() {
    let room = Greenroom::start().auth("trust").servers(6).await;
    let sql = "select extract(epoch from '2026-01-02 00:00'::timestamptz)::text";
    let mut victim = room.raw("catalog").await;
    victim.run("begin").await;
    victim.ask(&[parse("s1", sql), sync()]).await;
    let before = rows(&victim.ask(&run("s1", &[])).await);
    // Another server, as the victim holds its own.
    let mut other = room.raw("catalog").await;
    other.run("begin").await;
    other.run("set local timezone to 'Asia/Tokyo'").await;
    other.ask(&[parse("mine", sql), sync()]).await;
    let others = rows(&other.ask(&run("mine", &[])).await);
    other.run("commit").await;
    // The victim's comes back only when it is on the other one.
    victim.run("commit").await;
    let mut greedy = room.raw("catalog").await;
    greedy.run("begin").await;
    let first = rows(&victim.ask(&run("s1", &[])).await);
    let mut greedier = room.raw("catalog").await;
    greedier.run("begin").await;
    greedy.run("commit").await;
    let second = rows(&victim.ask(&run("s1", &[])).await);
    assert_eq!((first, second), (before.clone(), before));
    drop(others);
}

#[tokio::test]
async fn set_local_keeps_ones_own_literal() {
    let room = room().await;
    let sql = "select extract(epoch from '2026-01-02 00:00'::timestamptz)::text";
    let mut client = room.raw("catalog").await;
    client.run("begin").await;
    client.run("set local timezone to 'Asia/Tokyo'").await;
    client.ask(&[parse("mine", sql), sync()]).await;
    let before = rows(&client.ask(&run("mine", &[])).await);
    client.run("commit").await;
    room.raw("catalog").await.run("deallocate all").await;
    assert_eq!(rows(&client.ask(&run("mine", &[])).await), before);
}

#[tokio::test]
async fn types_of_parameters_stay_what_they_were() {
    let room = room().await;
    let mut client = room.raw("catalog").await;
    client.run("create table counted (n int4)").await;
    client.ask(&[parse("s1", "insert into counted values ($1)"), sync()]).await;
    let mut other = room.raw("catalog").await;
    other.run("alter table counted alter n type real").await;
    other.run("deallocate all").await;
    // A driver remembers that $1 is an int4 and sends it in binary.
    let mut body = b"\0s1\0".to_vec();
    body.extend([0, 1, 0, 1, 0, 1, 0, 0, 0, 4, 0, 0, 0, 7, 0, 0]);
    let replies = client.ask(&[Frame::new(b'B', body), execute("", 0), sync()]).await;
    assert_eq!((tags(&replies).as_str(), rows(&other.query("select n from counted").await)), ("2CZ", vec!["7".into()]));
}

#[tokio::test]
async fn a_statement_that_cannot_be_prepared_again_does_not_fail_a_transaction() {
    let room = room().await;
    let mut client = room.raw("catalog").await;
    client.run("create table gone (n int)").await;
    client.ask(&[parse("s1", "select * from gone"), sync()]).await;
    client.run("drop table gone").await;
    client.run("begin").await;
    let replies = client.query("do $$ begin end $$").await;
    assert_eq!(tags(&replies), "CZ", "{:?}", codes(&replies));
}

#[tokio::test]
async fn a_statement_that_cannot_be_prepared_again_does_not_fail_later_transactions() {
    let room = room().await;
    let mut client = room.raw("catalog").await;
    client.run("create table gone (n int)").await;
    client.ask(&[parse("s1", "select * from gone"), parse("s2", "select 2"), sync()]).await;
    client.run("drop table gone").await;
    assert_eq!(tags(&client.query("do $$ begin end $$").await), "CZ");
    for _ in 0..2 {
        client.run("begin").await;
        let replies = client.query("do $$ begin end $$").await;
        assert_eq!(tags(&replies), "CZ", "{:?}", codes(&replies));
        client.query("rollback").await;
    }
}

#[tokio::test]
async fn a_statement_that_cannot_be_prepared_again_does_not_hang_a_pipeline_of_queries() {
    let room = room().await;
    let mut client = room.raw("catalog").await;
    client.run("create table gone (n int)").await;
    client.ask(&[parse("s1", "select * from gone"), sync()]).await;
    client.run("drop table gone").await;
    client.send(&[query("select 1"), query("do $$ begin end $$")]).await;
    let replies = client.until_quiet(Duration::from_secs(2)).await;
    assert_eq!(tags(&replies), "TDCZCZ", "{:?}", codes(&replies));
}

#[tokio::test]
async fn a_parse_that_failed_does_not_come_to_life_through_a_deallocate_that_failed() {
    let room = room().await;
    let mut client = room.raw("catalog").await;
    client.run("begin").await;
    client.query("select 1/0").await;
    client.ask(&[parse("s1", "select 'ghost'"), sync(), query("deallocate all")]).await;
    client.run("rollback").await;
    let replies = client.ask(&run("s1", &[])).await;
    assert_eq!((rows(&replies), codes(&replies)), (vec![], vec!["26000".to_owned()]));
}

#[tokio::test]
async fn what_was_asked_before_a_goodbye_is_done_where_the_server_lacks_the_statement() {
    for lacks in [false, true] {
        let room = room().await;
        let mut other = room.raw("catalog").await;
        other.run("create table done (n int)").await;
        let mut client = room.raw("catalog").await;
        client.ask(&[parse("s1", "insert into done values ($1)"), sync()]).await;
        if lacks {
            other.run("deallocate all").await;
        }
        let [a, b, c] = run("s1", &[Some("1")]);
        client.send(&[a, b, c, crate::harness::frames::terminate()]).await;
        drop(client);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(rows(&other.query("select count(*) from done").await), ["1"], "lacks: {lacks}");
    }
}

#[tokio::test]
async fn an_error_names_the_right_statement() {
    for _ in 0..8 {
        let room = Greenroom::start().auth("trust").servers(6).await;
        let (mut client, mut greedy) = (room.raw("catalog").await, room.raw("catalog").await);
        client.ask(&[parse("s1", "select 1"), sync()]).await;
        greedy.run("begin").await;
        client.ask(&[parse("s2", "select 2"), sync()]).await;
        let replies = client.ask(&run("s2", &[Some("x")])).await;
        assert!(text(&replies).contains("\"s2\""), "{}", text(&replies));
    }
}

#[tokio::test]
async fn an_error_does_not_name_a_statement_of_greenrooms() {
    let room = room().await;
    let mut client = room.raw("catalog").await;
    client.ask(&[parse("s1", "select 1"), sync()]).await;
    let replies = client.ask(&[bind("", "s1", &[Some("x")]), close_statement("s1"), sync()]).await;
    assert!(text(&replies).contains("\"s1\""), "{}", text(&replies));
}

#[tokio::test]
async fn now_stays_what_it_was_in_a_pinned_session() {
    let room = room().await;
    let mut client = room.raw("catalog").await;
    client.run("set lock_timeout to 1000").await;
    let sql = "select 'now'::timestamptz::text";
    client.ask(&[parse("s1", sql), sync()]).await;
    let before = rows(&client.ask(&run("s1", &[])).await);
    tokio::time::sleep(Duration::from_millis(5)).await;
    client.ask(&[parse("s2", sql), sync()]).await;
    assert_eq!(rows(&client.ask(&run("s1", &[])).await), before);
}

#[tokio::test]
async fn no_text_sees_what_a_stranger_has_prepared_on_the_same_server() {
    let room = Greenroom::start().auth("trust").servers(1).await;
    let large = "x".repeat(300_000);
    let hidden = "'select string_agg(statement, '','') from pg_prep' || 'ared_statements'";
    let do_block = format!("do $$ declare r text; begin execute {hidden} into r; raise notice '%', r; end $$");
    let function = format!(
        "create function peek() returns text language plpgsql as $$ declare r text; begin execute {hidden} into r; \
         return r; end $$; select peek()"
    );
    let ways: &[&str] = &[
        "select statement from pg_prepared_statements",
        "select statement from pg_catalog.\"pg_prepared_statements\"",
        "select statement from U&\"pg\\005fprepared_statements\"",
        "select table_to_xml('pg_prepared_statements', true, true, '')",
        "select schema_to_xml('pg_catalog', true, true, '')",
        "select query_to_xml('select * from pg_prepared_statements', true, true, '')",
        "select ident from pg_backend_memory_contexts",
        &format!("select statement from pg_prepared_statements /* {large} */"),
        &do_block,
        &function,
        "create temp view seen as select statement from pg_prepared_statements; select * from seen",
        "explain analyze execute \"greenroom:0000000000000001\"",
        "begin; execute \"greenroom:0000000000000001\"",
    ];
    for sql in ways {
        for by_parse in [false, true] {
            let (mut owner, mut thief) = (room.raw("catalog").await, room.raw("catalog").await);
            owner.ask(&[parse("s1", "select 'owners words'::text"), sync()]).await;
            owner.ask(&run("s1", &[])).await;
            thief.run("begin").await;
            let frames = match by_parse {
                true => vec![parse("", sql), bind("", "", &[]), execute("", 0), sync()],
                false => vec![query(sql)],
            };
            let seen = text(&thief.ask(&frames).await);
            assert!(!seen.contains("owners words"), "{} {by_parse}: {seen}", &sql[..sql.len().min(200)]);
            thief.leave().await;
            owner.leave().await;
        }
    }
}

#[tokio::test]
async fn a_view_over_what_is_prepared_shows_nobody_a_strangers() {
    let room = Greenroom::start().auth("trust").servers(1).await;
    let mut owner = room.raw("catalog").await;
    owner.run("create view public.seen as select statement from pg_prepared_statements").await;
    owner.ask(&[parse("s1", "select 'secret'::text"), sync()]).await;
    owner.leave().await;
    let mut thief = room.raw("catalog").await;
    thief.run("begin").await;
    let seen = text(&thief.query("select * from public.seen").await);
    assert!(!seen.contains("secret"), "{seen}");
}

#[tokio::test]
async fn a_batch_that_has_failed_opens_no_way_for_the_next_one() {
    let room = Greenroom::start().auth("trust").servers(1).await;
    let look = "select statement from pg_prepared_statements";
    for behind in [vec![query(look)], vec![parse("", look), bind("", "", &[]), execute("", 0), sync()]] {
        let (mut owner, mut thief) = (room.raw("catalog").await, room.raw("catalog").await);
        owner.ask(&[parse("s1", "select 'secret'::text"), sync()]).await;
        thief.run("begin").await;
        // What goes ahead of the first look is skipped, and the second one is sent before anybody knows.
        let mut frames = vec![query("rollback"), execute("nothing", 0), parse("", look), sync()];
        frames.extend(behind);
        let seen = text(&thief.ask(&frames).await);
        assert!(!seen.contains("secret"), "{seen}");
        thief.leave().await;
        owner.leave().await;
    }
}

#[tokio::test]
async fn a_query_sent_while_a_copy_takes_data_reaches_no_strangers_statement() {
    let room = Greenroom::start().auth("trust").servers(1).await;
    let (mut owner, mut thief) = (room.raw("catalog").await, room.raw("catalog").await);
    owner.run("create table copied (n int)").await;
    owner.ask(&[parse("s1", "select 'secret'::text"), sync()]).await;
    thief.send(&[query("copy copied from stdin")]).await;
    thief.until(b'G', 1).await;
    // Wrong data ends the COPY on the server before the client is told.
    let wrong = Frame::new(b'd', b"wrong\n".to_vec());
    thief.send(&[wrong, query("select statement from pg_prepared_statements")]).await;
    let seen = text(&thief.until_quiet(Duration::from_secs(1)).await);
    assert!(!seen.contains("secret"), "{seen}");
}

#[tokio::test]
async fn what_means_something_else_in_one_transaction_is_nobody_elses_afterwards() {
    for begins in [
        "set local search_path to elsewhere",
        "create temp table named (a text) on commit drop; insert into named values ('temporary')",
        "set local search_path to elsewhere; savepoint a; rollback to a",
    ] {
        let room = Greenroom::start().auth("trust").servers(1).await;
        let (mut client, mut other) = (room.raw("catalog").await, room.raw("catalog").await);
        client.run("create table named (a text); insert into named values ('own')").await;
        client.run("create schema elsewhere; create table elsewhere.named (a text)").await;
        client.run("insert into elsewhere.named values ('elsewhere')").await;
        for has_it_already in [false, true] {
            if has_it_already {
                client.ask(&[parse("s1", "select a from named"), sync()]).await;
            }
            client.run("begin").await;
            client.run(begins).await;
            if !has_it_already {
                client.ask(&[parse("s1", "select a from named"), sync()]).await;
            }
            let replies = client.ask(&run("s1", &[])).await;
            let expected = if begins.contains("temp") { "temporary" } else { "elsewhere" };
            if !begins.contains("rollback") {
                assert_eq!(rows(&replies), [expected], "{begins}");
            }
            client.run("commit").await;
            assert_eq!(rows(&client.ask(&run("s1", &[])).await), ["own"], "{begins}");
            client.run("discard all").await;
            other.ask(&[parse("s1", "select a from named"), sync()]).await;
            assert_eq!(rows(&other.ask(&run("s1", &[])).await), ["own"], "{begins}");
            other.ask(&[close_statement("s1"), sync()]).await;
        }
    }
}

#[tokio::test]
async fn code_that_appears_while_a_server_is_lent_sees_nothing_of_strangers_there() {
    let room = Greenroom::start().auth("trust").servers(2).await;
    let (mut owner, mut thief) = (room.raw("catalog").await, room.raw("catalog").await);
    owner.ask(&[parse("s1", "select 'secret'::text"), sync()]).await;
    thief.run("begin").await;
    let body = "select string_agg(statement, ',') from pg_prepared_statements";
    let mut accomplice = room.raw("catalog").await;
    accomplice
        .run(&format!("create function public.peek() returns text language sql as '{}'", body.replace('\'', "''")))
        .await;
    let seen = text(&thief.query("select public.peek()").await);
    assert!(!seen.contains("secret"), "{seen}");
}

#[tokio::test]
async fn what_a_plan_has_worked_out_under_a_strangers_settings_is_not_ones_own() {
    let room = Greenroom::start().auth("trust").servers(1).await;
    for (set, sql, own) in [
        ("set extra_float_digits to -10", "select 1.23456789012::float8::text", "1.23456789012"),
        ("set extra_float_digits to -10", "select '(1.23456789012,2)'::point::text", "(1.23456789012,2)"),
        ("set bytea_output to 'escape'", "select decode('ff41', 'hex')::text", "\\xff41"),
        ("set quote_all_identifiers to on", "select quote_ident('abc')", "abc"),
        ("set intervalstyle to 'iso_8601'", "select '1 day'::interval::text", "1 day"),
        ("set array_nulls to off", "select array_to_string('{null,a}'::text[], ',', 'N')", "N,a"),
        ("set xmlbinary to 'hex'", "select xmlelement(name a, decode('ff41', 'hex'))::text", "<a>/0E=</a>"),
    ] {
        let (mut client, mut other) = (room.raw("catalog").await, room.raw("catalog").await);
        if sql.contains("xml") && codes(&client.query(sql).await) == ["0A000"] {
            // This PostgreSQL is built without libxml.
            continue;
        }
        client.ask(&[parse("s1", sql), sync()]).await;
        other.run(set).await;
        other.ask(&[parse("s1", sql), sync()]).await;
        other.ask(&run("s1", &[])).await;
        assert_eq!(rows(&client.ask(&run("s1", &[])).await), [own], "{set}: {sql}");
        other.leave().await;
        client.leave().await;
    }
}

#[tokio::test]
async fn a_function_that_hides_a_name_behind_an_escape_sees_nothing_of_strangers() {
    let read = "select string_agg(statement, ',') from U&\"pg\\005fprepared_statements\"";
    for body in
        [format!("language sql as $a${read}$a$"), format!("language plpgsql as $a$begin return ({read}); end$a$")]
    {
        let room = Greenroom::start().auth("trust").servers(1).await;
        let mut owner = room.raw("catalog").await;
        owner.run(&format!("create function public.peek() returns text {body}")).await;
        owner.leave().await;
        let mut owner = room.raw("catalog").await;
        owner.ask(&[parse("s1", "select 'secret'::text"), sync()]).await;
        owner.leave().await;
        let mut thief = room.raw("catalog").await;
        thief.run("begin").await;
        let replies = thief.query("select public.peek()").await;
        assert_eq!(tags(&replies), "TDCZ", "{:?}", codes(&replies));
        assert!(!text(&replies).contains("secret"), "{}", text(&replies));
    }
}

#[tokio::test]
async fn an_unnamed_statement_that_was_not_replaced_after_all_leaves_nothing_behind_for_others() {
    for (what, look, clean) in [
        ("select set_config('my.own', 'mine', false)", "select coalesce(current_setting('my.own', true), '')", ""),
        ("select set_config('work_mem', '77kB', false)", "select current_setting('work_mem')", "4MB"),
        ("create temp table own (n int)", "select coalesce(to_regclass('pg_temp.own')::text, '')", ""),
        ("prepare own as select 1", "select count(*) from pg_prepared_statements where name = 'own'", "0"),
        ("select pg_advisory_lock(7)", "select pg_try_advisory_lock(7)", "f"),
        ("listen ours", "select count(*) from pg_listening_channels()", "0"),
    ] {
        for by_query in [false, true] {
            for in_one_write in [false, true] {
                let room = Greenroom::start().auth("trust").servers(2).await;
                let mut client = room.raw("catalog").await;
                client.ask(&[parse("", what), sync()]).await;
                // Behind an error PostgreSQL looks at nothing, up to the Sync.
                let skipped = if by_query { query("select 1") } else { parse("", "select 1") };
                let skips = [execute("nothing", 0), skipped, sync()];
                let uses = [bind("", "", &[]), execute("", 0), sync()];
                let replies = match in_one_write {
                    true => {
                        client.send(&[skips, uses].concat()).await;
                        client.until(b'Z', 2).await
                    }
                    false => {
                        client.send(&skips).await;
                        let mut replies = client.until(b'Z', 1).await;
                        replies.extend(client.ask(&uses).await);
                        replies
                    }
                };
                assert_eq!(codes(&replies), ["34000"], "{what}: {replies:?}");
                assert!(replies.iter().any(|reply| reply.tag == b'C'), "{what} is executed: {replies:?}");
                let mut other = room.raw("catalog").await;
                assert_eq!(rows(&other.query(look).await), [clean], "{what}, {by_query}, {in_one_write}");
            }
        }
    }
}

#[tokio::test]
async fn an_unnamed_statement_that_was_not_replaced_after_all_sees_nothing_of_strangers() {
    for skipped in [query("select 1"), parse("", "select 1")] {
        let room = Greenroom::start().auth("trust").servers(1).await;
        let (mut owner, mut thief) = (room.raw("catalog").await, room.raw("catalog").await);
        thief.ask(&[parse("", "select count(*) from pg_prepared_statements"), sync()]).await;
        owner.ask(&[parse("s1", "select 'owners words'"), sync()]).await;
        thief.send(&[execute("nothing", 0), skipped, sync()]).await;
        thief.until(b'Z', 1).await;
        let seen = thief.ask(&[bind("", "", &[]), execute("", 0), sync()]).await;
        assert_eq!(rows(&seen), ["0"], "{seen:?}");
    }
}

#[tokio::test]
async fn an_unnamed_statement_that_is_described_later_names_nothing_of_strangers() {
    let room = Greenroom::start().auth("trust").servers(1).await;
    let (mut owner, mut thief) = (room.raw("catalog").await, room.raw("catalog").await);
    for number in 1..4 {
        thief.ask(&[parse("", &format!("execute \"greenroom:{number:016x}\"")), sync()]).await;
        owner.ask(&[parse("s1", "select 1 as owners_column"), sync()]).await;
        // PostgreSQL looks for what it executes when it is parsed; where there is none, it has no columns.
        let seen = thief.ask(&[describe_statement(""), sync()]).await;
        assert_eq!(tags(&seen), "tnZ", "{seen:?}");
    }
}
