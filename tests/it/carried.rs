//! What Knex sets once on each of its connections goes with the session from server to server, and to nobody else.

use crate::harness::{Greenroom, RawClient, Room, STAGEHAND, Stage, Startup, codes, rows, tags};

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
        assert_eq!(tags(&client.query(&sql).await), "NCZ", "PostgreSQL says that the name is cut");
        value(&mut other, "select 1").await;
        assert_eq!(tags(&client.query("select 1").await), "TDCZ");
    }
}
