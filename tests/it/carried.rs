//! What Knex sets once on each of its connections goes with the session from server to server, and to nobody else.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::harness::frames::{Frame, bind, close_statement, execute, parse, query, sync};
use crate::harness::{
    Answer, FakeServer, Greenroom, Phase, RawClient, Reply, Room, STAGEHAND, Stage, Startup, codes, eventually, rows,
    tags,
};

/// A client of the shared database, as a plugin of a Backstage that divides by schemas itself.
async fn of_shared(room: &Room, plugin: &str) -> RawClient {
    let Stage { login, password, database, .. } = room.stage();
    let startup =
        Startup::new(login, password, database).with("application_name", &format!("backstage_plugin_{plugin}"));
    RawClient::log_in(room.address(), &startup).await
}

async fn set(client: &mut RawClient, sql: &str) {
    let replies = client.query(sql).await;
    assert_eq!(codes(&replies), [""; 0], "{sql}: {replies:?}");
}

async fn value(client: &mut RawClient, sql: &str) -> String {
    let replies = client.query(sql).await;
    rows(&replies).pop().unwrap_or_else(|| panic!("{sql}: {replies:?}"))
}

async fn pins(room: &Room) -> f64 {
    room.metrics().await.sum("greenroom_pins_total", &[])
}

#[tokio::test]
async fn a_search_path_follows_its_client_over_a_server_that_others_use() {
    let room = Greenroom::start().servers(1).await;
    room.stage()
        .sql(&format!("create schema a authorization {0}; create schema b authorization {0}", room.login))
        .await;
    let (mut a, mut b, mut neither) =
        (of_shared(&room, "a").await, of_shared(&room, "b").await, of_shared(&room, "c").await);
    set(&mut a, "set search_path to \"a\"").await;
    set(&mut b, "SET SESSION search_path = b, pg_catalog;").await;
    for _ in 0..5 {
        assert_eq!(value(&mut a, "show search_path").await, "a");
        assert_eq!(value(&mut b, "show search_path").await, "b, pg_catalog");
        assert_eq!(value(&mut neither, "show search_path").await, "\"$user\", public");
    }
    set(&mut a, "create table t ()").await;
    set(&mut b, "create table t ()").await;
    assert_eq!(room.stage().sql("select count(*) from pg_class where relname = 't'").await, ["2"]);
    assert_eq!(pins(&room).await, 0.0);
}

#[tokio::test]
async fn a_role_follows_its_client_and_no_other_one() {
    let room = Greenroom::start().servers(1).await;
    let (mut with, mut without) = (room.raw("catalog").await, room.raw("catalog").await);
    set(&mut with, "SET ROLE stagehand").await;
    for _ in 0..5 {
        assert_eq!(value(&mut with, "select current_user").await, STAGEHAND);
        assert_eq!(value(&mut without, "select current_user").await, room.login);
    }
    set(&mut with, "reset role").await;
    assert_eq!(value(&mut without, "select current_user").await, room.login);
    assert_eq!(value(&mut with, "select current_user").await, room.login);
    set(&mut with, "set session role 'stagehand';").await;
    assert_eq!(value(&mut without, "select current_user").await, room.login);
    assert_eq!(value(&mut with, "select current_user").await, STAGEHAND);
    set(&mut with, "set role none").await;
    assert_eq!(value(&mut with, "select current_user").await, room.login);
    assert_eq!(pins(&room).await, 0.0);
}

/// Ways to be another session user, which only a superuser may.
const AUTHORIZATIONS: [&[&str]; 9] = [
    &["set session authorization stagehand"],
    &["set local session authorization stagehand"],
    &["begin", "set session authorization stagehand", "commit"],
    &["begin", "set session authorization stagehand", "rollback"],
    &["begin", "set local session authorization stagehand", "commit"],
    &["set session authorization stagehand", "set role none", "reset session authorization"],
    &["set session authorization stagehand", "discard all"],
    &["select set_config('session_authorization', 'stagehand', false)"],
    &["do $$ begin set session authorization stagehand; end $$"],
];

#[tokio::test]
async fn another_session_user_is_the_clients_own() {
    let stage = Stage::shared().await;
    stage.sql(&format!("alter role {} superuser", stage.login)).await;
    let room = Greenroom::start().auth("trust").servers(2).on(stage).await;
    let look = "select concat_ws(' ', session_user, current_user, current_setting('is_superuser'))";
    let mut other = room.raw("catalog").await;
    let untouched = rows(&other.run(look).await);
    for way in AUTHORIZATIONS {
        let (mut client, mut direct) = (room.raw("catalog").await, room.stage().raw().await);
        for sql in way {
            client.run(sql).await;
            direct.run(sql).await;
        }
        for _ in 0..2 {
            assert_eq!(rows(&client.run(look).await), rows(&direct.run(look).await), "{way:?}");
            assert_eq!(rows(&other.run(look).await), untouched, "{way:?}");
        }
        client.leave().await;
        let gone = async || room.metrics().await.sum("greenroom_pinned_sessions", &[]) == 0.0;
        eventually("the pin ends with its client", gone).await;
    }
    // Nothing is done as the login for who has become another one.
    let mut client = room.raw("catalog").await;
    client.run("set session authorization stagehand").await;
    assert_eq!(rows(&client.run("select current_user").await), ["stagehand"]);
    let end = format!("select pg_terminate_backend(pid) from pg_stat_activity where usename = '{}'", room.login);
    room.stage().sql(&end).await;
    assert_eq!(codes(&client.until_closed().await), ["57P01"]);
}

#[tokio::test]
async fn a_role_that_is_taken_away_fails_closed() {
    let room = Greenroom::start().servers(1).await;
    let (mut with, mut without) = (room.raw("catalog").await, room.raw("catalog").await);
    set(&mut with, "SET ROLE stagehand").await;
    assert_eq!(value(&mut without, "select current_user").await, room.login, "the server is another's now");
    room.stage().sql(&format!("revoke {STAGEHAND} from {}", room.login)).await;
    for _ in 0..2 {
        let refused = with.query("create table made_by (name text)").await;
        assert_eq!(codes(&refused), ["42501"], "{refused:?}");
    }
    assert_eq!(
        value(&mut without, "select to_regclass('made_by') is null").await,
        "t",
        "nothing was done as anybody else"
    );
    room.stage().sql(&format!("grant {STAGEHAND} to {}", room.login)).await;
    assert_eq!(value(&mut with, "select current_user").await, STAGEHAND, "the session has lost nothing");
}

#[tokio::test]
async fn a_name_that_has_become_another_role_is_the_one_that_the_session_has_set() {
    let room = Greenroom::start().servers(2).await;
    let (actor, login) = (format!("actor_of_{}", room.login), &room.login);
    room.stage().sql(&format!("create role {actor}; grant {actor} to {login}")).await;
    let (mut early, mut late, mut holder) =
        (room.raw("catalog").await, room.raw("catalog").await, room.raw("catalog").await);
    let server = async |client: &mut RawClient| value(client, "select pg_backend_pid() + 0").await;
    set(&mut early, &format!("set role {actor}")).await;
    set(&mut holder, &format!("set role {actor}")).await;
    let first = server(&mut early).await;
    let renamed = format!("alter role {actor} rename to former_{actor}; create role {actor}; grant {actor} to {login}");
    room.stage().sql(&renamed).await;
    // The server that is in the former role is taken, so the new one is set on another.
    set(&mut holder, "begin").await;
    assert_eq!(server(&mut holder).await, first);
    set(&mut late, &format!("set role {actor}")).await;
    let second = server(&mut late).await;
    assert_ne!(first, second);
    // And now the other way round.
    set(&mut early, "reset role").await;
    set(&mut early, "begin").await;
    assert_eq!(server(&mut early).await, second);
    set(&mut holder, "commit").await;
    assert_eq!(value(&mut late, "select current_user || ' ' || pg_backend_pid()").await, format!("{actor} {first}"));
    room.stage().sql(&format!("drop role {actor}; drop role former_{actor}")).await;
}

#[tokio::test]
async fn a_setting_that_fails_changes_nothing() {
    let room = Greenroom::start().servers(2).await;
    let mut client = room.raw("catalog").await;
    set(&mut client, "set search_path to pg_catalog").await;
    assert_eq!(codes(&client.query("set role no_such_role").await), ["22023"]);
    assert_eq!(codes(&client.query("set search_path to a,").await), ["42601"]);
    let mut other = room.raw("catalog").await;
    assert_eq!(value(&mut other, "show search_path").await, "catalog");
    assert_eq!(value(&mut client, "show search_path").await, "pg_catalog");
    assert_eq!(value(&mut client, "select current_user").await, room.login);
}

#[tokio::test]
async fn what_is_set_goes_along_to_a_server_of_the_sessions_own() {
    let room = Greenroom::start().await;
    let mut client = room.raw("catalog").await;
    set(&mut client, "set search_path to pg_catalog").await;
    set(&mut client, "set role stagehand").await;
    set(&mut client, "set work_mem to '77kB'").await;
    let all = "select current_user || ' ' || current_setting('search_path') || ' ' || current_setting('work_mem')";
    assert_eq!(value(&mut client, all).await, "stagehand pg_catalog 77kB");
    set(&mut client, "reset search_path").await;
    set(&mut client, "reset role").await;
    assert_eq!(value(&mut client, all).await, format!("{} catalog 77kB", room.login));
}

#[tokio::test]
async fn what_a_rollback_undoes_is_not_carried() {
    let room = Greenroom::start().servers(2).await;
    let (mut client, mut other) = (room.raw("catalog").await, room.raw("catalog").await);
    for sql in ["begin", "set search_path to pg_catalog", "set role stagehand", "rollback"] {
        set(&mut client, sql).await;
    }
    assert_eq!(value(&mut other, "select current_user").await, room.login);
    let both = "select current_user || ' ' || current_setting('search_path')";
    assert_eq!(value(&mut client, both).await, format!("{} catalog", room.login));
}

#[tokio::test]
async fn what_is_replayed_says_nothing_to_the_client() {
    let room = Greenroom::start().servers(2).await;
    let (mut client, mut other) = (room.raw("catalog").await, room.raw("catalog").await);
    let long = "x".repeat(70);
    for sql in [format!("set search_path to {long}"), format!("set search_path to \"{long}\", public")] {
        // From 18 on it reports a changed search_path.
        let said = tags(&client.query(&sql).await).replace('S', "");
        assert_eq!(said, "NCZ", "PostgreSQL says that the name is cut");
        value(&mut other, "select 1").await;
        assert_eq!(tags(&client.query("select 1").await), "TDCZ");
    }
}

/// PostgreSQL reports it from 18 on: what a client was told last is what it has.
#[tokio::test]
async fn a_reported_search_path_is_the_clients_own() {
    let room = Greenroom::start().servers(2).await;
    let (mut client, mut other) = (room.raw("catalog").await, room.raw("search").await);
    let mut told = path_told(&client.hello);
    let is_reported = told.is_some();
    let begins_with = if is_reported { Some("catalog".to_owned()) } else { None };
    assert_eq!(told, begins_with);
    let sets = [
        "set search_path to pg_catalog",
        "begin",
        "set search_path to public",
        "rollback",
        "select 1",
        "reset search_path",
    ];
    for sql in sets {
        told = path_told(&client.query(sql).await).or(told);
        if sql != "begin" && sql != "set search_path to public" {
            assert_eq!(value(&mut other, "show search_path").await, "search");
        }
        let shown = client.query("show search_path").await;
        assert_eq!(path_told(&shown), None, "what is put on a server is not told: {shown:?}");
        if is_reported {
            assert_eq!(told, rows(&shown).pop(), "{sql}");
        }
    }
}

fn path_told(replies: &[Reply]) -> Option<String> {
    let told = replies.iter().rev().find(|reply| reply.tag == b'S' && reply.word() == "search_path")?;
    let value = told.body.strip_prefix(b"search_path\0")?.strip_suffix(b"\0")?;
    Some(String::from_utf8_lossy(value).into_owned())
}

#[tokio::test]
async fn a_cancel_ends_the_wait_for_a_role() {
    let stalls = AtomicBool::new(false);
    let fake = FakeServer::start(move |connection, phase| match phase {
        Phase::Message(_, frame) if frame.body.starts_with(b"RESET ROLE") => {
            stalls.store(true, Ordering::Relaxed);
            Answer::Usual
        }
        Phase::Message(_, frame)
            if connection == 0 && frame.body.starts_with(b"SET ROLE") && stalls.load(Ordering::Relaxed) =>
        {
            Answer::Stall
        }
        _ => Answer::Usual,
    })
    .await;
    let room = Greenroom::start().behind(&fake).servers(1).await;
    let (mut with, mut without) = (room.raw("catalog").await, room.raw("catalog").await);
    set(&mut with, "SET ROLE stagehand").await;
    value(&mut without, "select 1").await;
    with.send(&[query("select 1")]).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    RawClient::cancel(room.address(), &with.key()).await;
    assert_eq!(codes(&with.until(b'Z', 1).await), ["57014"]);
    assert_eq!(value(&mut with, "select 1").await, "1", "on another server");
    assert_eq!(fake.connections(), 2);
    drop((with, without));
    eventually("every lease is given back", async || room.metrics().await.sum("greenroom_leases", &[]) == 0.0).await;
}

/// What one client of many does next, and what it must then see of itself.
#[tokio::test]
async fn whatever_clients_do_each_is_only_ever_itself() {
    let room = Greenroom::start().servers(3).auth("trust").await;
    let room = &room;
    let roles: Vec<String> = (0..3).map(|n| format!("{}_role_{n}", room.login)).collect();
    for role in &roles {
        room.stage().sql(&format!("create role {role}; grant {role} to {}", room.login)).await;
    }
    let login = room.login.clone();
    let (roles, login) = (&roles, &login);
    let client = async |seed: u64| {
        let mut random = StdRng::seed_from_u64(seed);
        let look = "select current_user || ' ' || current_setting('search_path')";
        for _ in 0..6 {
            let mut client = room.raw("catalog").await;
            let (mut role, mut path) = (login.clone(), "catalog".to_owned());
            for step in 0..12 {
                let wanted = &roles[random.random_range(0..roles.len())];
                match random.random_range(0..14) {
                    0 => {
                        set(&mut client, &format!("set role {wanted}")).await;
                        role.clone_from(wanted);
                    }
                    1 => {
                        set(&mut client, "RESET ROLE").await;
                        role.clone_from(login);
                    }
                    2 => {
                        path = format!("a{seed}, b{step}");
                        set(&mut client, &format!("set search_path = {path}")).await;
                    }
                    3 => {
                        // In one write: what follows has the new role already.
                        let replies = client.ask(&[query(&format!("set role '{wanted}'")), query(look)]).await;
                        assert_eq!(rows(&replies), [format!("{wanted} {path}")]);
                        role.clone_from(wanted);
                    }
                    4 => {
                        let replies = client.ask(&[query("set role no_such_role"), query(look)]).await;
                        assert_eq!(rows(&replies), [format!("{role} {path}")]);
                    }
                    5 => {
                        for sql in ["begin", &format!("set local role {wanted}"), "set local search_path to x"] {
                            set(&mut client, sql).await;
                        }
                        assert_eq!(value(&mut client, look).await, format!("{wanted} x"));
                        set(&mut client, if step % 2 == 0 { "commit" } else { "rollback" }).await;
                    }
                    6 => {
                        // An open batch, a Query within it, and an error.
                        let frames = [parse("", "select 1"), query(&format!("set role {wanted}")), query("selec")];
                        client.ask(&frames).await;
                        role.clone_from(wanted);
                    }
                    7 => {
                        let frames = [parse("", "selec"), query(&format!("set role {wanted}")), sync(), query(look)];
                        client.send(&frames).await;
                        assert_eq!(rows(&client.until(b'Z', 2).await), [format!("{role} {path}")], "it was skipped");
                    }
                    8 => {
                        // Leaves in the middle of it.
                        client.send(&[query(&format!("set role {wanted}")), query(look)]).await;
                        break;
                    }
                    9 => {
                        client.send(&[query("select pg_sleep(0.02)")]).await;
                        RawClient::cancel(room.address(), &client.key()).await;
                        client.until(b'Z', 1).await;
                    }
                    10 => {
                        RawClient::cancel(room.address(), &client.key()).await;
                        let replies = client.query(&format!("set role {wanted}")).await;
                        if codes(&replies).is_empty() {
                            role.clone_from(wanted);
                        }
                    }
                    11 => {
                        let frames = [Frame::new(b'Q', *b"set search_path to malformed"), query(look)];
                        assert_eq!(rows(&client.ask(&frames).await), [format!("{role} {path}")]);
                    }
                    12 if step > 8 => {
                        set(&mut client, "discard all").await;
                        (role, path) = (login.clone(), "catalog".to_owned());
                    }
                    _ => {}
                }
                assert_eq!(value(&mut client, look).await, format!("{role} {path}"));
            }
        }
    };
    join_all((0..10).map(client)).await;
    eventually("every lease is given back", async || room.metrics().await.sum("greenroom_leases", &[]) == 0.0).await;
}

#[tokio::test]
async fn a_statement_that_outlives_its_lease_is_read_again_as_its_own_session() {
    let room = Greenroom::start().servers(1).await;
    let login = &room.login;
    room.stage()
        .sql(&format!(
            "create schema a; create table a.item as select 'secret of a' as name;
             grant usage on schema a to stagehand; grant select on a.item to stagehand;
             create schema b authorization {login}; create table b.item as select 'b' as name;
             alter table b.item owner to {login}"
        ))
        .await;
    let (mut a, mut b) = (of_shared(&room, "a").await, of_shared(&room, "b").await);
    set(&mut a, "set search_path to a").await;
    set(&mut a, "set role stagehand").await;
    set(&mut b, "set search_path to b").await;
    for _ in 0..3 {
        a.ask(&[parse("", "select name || current_user from item"), sync()]).await;
        b.ask(&[parse("", "select name || current_user from item"), sync()]).await;
        let run = [bind("", "", &[]), execute("", 0), sync()];
        assert_eq!(rows(&a.ask(&run).await), [format!("secret of a{STAGEHAND}")]);
        assert_eq!(rows(&b.ask(&run).await), [format!("b{login}")]);
        assert_eq!(rows(&a.ask(&run).await), [format!("secret of a{STAGEHAND}")]);
    }
}

#[tokio::test]
async fn a_statement_is_over_for_whoever_binds_it_while_the_query_that_ends_it_runs() {
    let room = Greenroom::start().auth("trust").servers(1).await;
    let (mut client, mut direct) = (room.raw("catalog").await, room.stage().raw().await);
    let mut other = room.raw("catalog").await;
    for skipped in [close_statement(""), close_statement("nobody"), query("select 'skipped'")] {
        for client in [&mut client, &mut direct] {
            client.ask(&[parse("", "select 'mine'"), sync()]).await;
            other.run("select 'the server is anothers'").await;
            // What would have ended it is skipped behind the error; what does end it runs meanwhile.
            client.send(&[parse("x", "selec"), skipped.clone(), sync(), query("select pg_sleep(0.4)")]).await;
            assert_eq!(codes(&client.until(b'Z', 1).await), ["42601"]);
            client.send(&[bind("", "", &[]), execute("", 0), sync()]).await;
            assert_eq!(codes(&client.until(b'Z', 2).await), ["26000"], "{skipped:?}");
        }
    }
}
