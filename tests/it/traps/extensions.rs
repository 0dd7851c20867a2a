//! Extensions, and the word about them in the log.

use crate::harness::frames::{extended, query};
use crate::harness::{Greenroom, Log, RawClient, Stage, Startup, codes, tags};

/// A stage with extensions in a schema of their own, which its login may use.
async fn stage() -> Stage {
    let stage = Stage::shared().await;
    stage
        .sql(&format!(
            "create schema \"Extensions\"; grant usage on schema \"Extensions\" to {};
             create extension fuzzystrmatch schema \"Extensions\"; create extension pg_trgm schema \"Extensions\";
             create extension hstore schema \"Extensions\"",
            stage.login
        ))
        .await;
    stage
}

fn greenroom(stage: Stage) -> Greenroom {
    Greenroom::start().on(stage).auth("trust").set("greenroom.extensionsSchema", "Extensions")
}

/// One of everything that extensions bring.
const USES: [&str; 4] = [
    "select soundex('greenroom')",
    "select 'greenroom' % 'greenrooms'",
    "select 'a=>1'::hstore -> 'a'",
    "create table if not exists word (word text); create index if not exists word_trgm on word using gin (word gin_trgm_ops)",
];

#[tokio::test]
async fn what_extensions_bring_is_found_where_they_are_said_to_be() {
    let room = greenroom(stage().await).await;
    let client = room.client("catalog").await;
    for sql in USES {
        client.run(sql).await;
    }
    assert_eq!(client.value("show search_path").await, "catalog, \"Extensions\"");
    assert_eq!(client.value("select current_schema()").await, "catalog", "what is created lands in the plugin's own");
    assert_eq!(room.stage().sql("select to_regclass('catalog.word')").await, ["catalog.word"]);
    assert_eq!(room.metrics().await.sum("greenroom_pins_total", &[]), 0.0);
}

#[tokio::test]
async fn extensions_are_found_after_a_reset_and_on_a_server_of_the_sessions_own() {
    let room = greenroom(stage().await).await;
    let client = room.client("user-settings").await;
    client.run("create temp table t (x int)").await;
    assert_eq!(client.value(USES[0]).await, "G656");
    client.run("set search_path to nowhere").await;
    client.run("reset search_path").await;
    assert_eq!(client.value("show search_path").await, "\"user-settings\", \"Extensions\"");
    let startup = room.startup("user-settings").with("options", "-c geqo=off");
    let mut own = RawClient::log_in(room.address(), &startup).await;
    own.run(USES[0]).await;
}

#[tokio::test]
async fn one_plugin_may_have_extensions_of_its_own() {
    let stage = stage().await;
    let room = Greenroom::start()
        .on(stage)
        .set("greenroom.plugin.search.extensionsSchema", "Extensions")
        .pool("search", |limits| limits.max(3))
        .await;
    room.client("search").await.run(USES[0]).await;
    assert_eq!(room.client("catalog").await.failure(USES[0]).await, "42883");
}

#[tokio::test]
async fn the_schema_of_extensions_is_no_plugins() {
    let room = greenroom(stage().await).await;
    let client = RawClient::try_log_in(room.address(), &room.startup("Extensions")).await;
    let error = client.hello.last().expect("a login is answered");
    assert_eq!(error.code().as_deref(), Some("3D000"), "{error:?}");
    assert!(error.field(b'M').is_some_and(|text| text.contains("greenroom.extensionsSchema")), "{error:?}");
}

#[tokio::test]
async fn a_schema_of_extensions_that_cannot_be_used_is_told_in_the_log() {
    let (log, stage) = (Log::begin(), Stage::shared().await);
    stage.sql("create schema locked").await;
    let login = stage.login.clone();
    let room = Greenroom::start()
        .on(stage)
        .set("greenroom.extensionsSchema", "absent")
        .set("greenroom.plugin.search.extensionsSchema", "locked")
        .await;
    room.client("catalog").await.run("select 1").await;
    room.client("search").await.run("select 1").await;
    assert_eq!(log.lines(&["WARN", "absent", "does not exist"]).len(), 1);
    assert_eq!(log.lines(&["WARN", &format!("GRANT USAGE ON SCHEMA \"locked\" TO \"{login}\"")]).len(), 1);
}

#[tokio::test]
async fn what_is_missing_is_told_once_in_the_log_and_the_client_hears_postgresql() {
    let log = Log::begin();
    let room = Greenroom::start().auth("trust").await;
    room.client("catalog").await.run("create table t (x text)").await;
    let Stage { login, password, database, .. } = room.stage();
    let direct = Startup::new(login, password, database).with("search_path", "catalog");
    let mut direct = RawClient::log_in(&room.stage().address(), &direct).await;
    let mut client = room.raw("catalog").await;
    for (sql, told) in [
        ("select uuid_generate_v4()", "function uuid_generate_v4() does not exist"),
        ("select uuid_generate_v4(), 1", "function uuid_generate_v4() does not exist"),
        ("select x % x from t", "operator does not exist"),
        ("select 'a=>1'::hstore", "type \\\"hstore\\\" does not exist"),
        ("create index on t using gin (x gin_trgm_ops)", "operator class \\\"gin_trgm_ops\\\" does not exist"),
    ] {
        for frames in [vec![query(sql)], extended(sql, &[])] {
            let said = client.ask(&frames).await;
            assert_eq!(said, direct.ask(&frames).await, "{sql}");
            assert!(["42883", "42704"].contains(&&*codes(&said)[0]), "{said:?}");
        }
        assert_eq!(log.lines(&["WARN", "catalog", told, "greenroom.extensionsSchema"]).len(), 1, "{sql}");
    }
    room.client("search").await.failure("select uuid_generate_v4()").await;
    assert_eq!(log.lines(&["uuid_generate_v4", "greenroom.extensionsSchema"]).len(), 2, "each plugin is told");
    let replies = client.query("select * from nowhere; grant select on t to nobody_there").await;
    assert_eq!(tags(&replies), "EZ");
    client.query("grant select on t to nobody_there").await;
    assert!(log.lines(&["nobody_there", "greenroom.extensionsSchema"]).is_empty());
}
