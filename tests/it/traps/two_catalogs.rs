//! Two deployments in one database: everything but a second catalog.

use crate::harness::{Client, Greenroom, RawClient, Reply, Room, Stage, Startup, rows};

/// What a login to a logical database is answered with.
async fn enter(room: &Room, database: &str) -> Reply {
    let startup = Startup::new(&room.login, &room.password, database);
    RawClient::try_log_in(room.address(), &startup).await.hello.pop().expect("a login is answered")
}

async fn is_let_in(room: &Room, database: &str) -> bool {
    let last = enter(room, database).await;
    assert!(last.tag == b'Z' || is_second_catalog(&last), "{last:?}");
    last.tag == b'Z'
}

/// Whether it is the refusal of a second catalog, with reason and remedy.
fn is_second_catalog(reply: &Reply) -> bool {
    let field = |code| reply.field(code).unwrap_or_default();
    reply.code().as_deref() == Some("3D000")
        && field(b'M').contains("cannot hold a catalog")
        && field(b'D').contains("indexes by name in the whole database")
        && field(b'H').contains("backend.database.connection.database")
        && field(b'H').contains("backend.database.plugin.catalog.connection.database")
}

async fn comment(stage: &Stage, schema: &str) -> String {
    stage.sql(&format!("select obj_description('{schema}'::regnamespace)")).await.remove(0)
}

/// The tables that tell a catalog.
async fn fill(stage: &Stage, schema: &str) {
    let Stage { login, .. } = stage;
    stage
        .sql(&format!(
            "create schema {schema} authorization {login}; create table {schema}.refresh_state (entity_id text);
             create table {schema}.final_entities (entity_id text)"
        ))
        .await;
}

async fn nothing_stays(stage: &Stage) {
    let left = "select (select count(*) from pg_locks where locktype = 'advisory' and database =
        (select oid from pg_database where datname = current_database()))
        + (select count(*) from pg_stat_activity where datname = current_database() and state like 'idle in%')";
    assert_eq!(stage.sql(left).await, ["0"]);
}

#[tokio::test]
async fn a_second_deployments_catalog_is_refused_and_its_other_plugins_are_not() {
    let one = Greenroom::start().await;
    one.client("catalog").await.run("create table entity (id int)").await;
    let two = Greenroom::start().beside(one.stage(), "dev").await;

    let refusal = enter(&two, "dev_catalog").await;
    assert!(is_second_catalog(&refusal), "{refusal:?}");
    let message = refusal.field(b'M').unwrap_or_default();
    for part in ["\"dev_catalog\"", "\"catalog\"", "\"backstage_plugin_\"", &one.stage().database] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert_eq!(one.stage().sql("select to_regnamespace('dev_catalog')").await, ["null"], "nothing was made");

    assert!(is_let_in(&two, "dev_scaffolder").await && is_let_in(&two, "dev_auth").await);
    assert_eq!(one.client("catalog").await.value("select count(*) from entity").await, "0");
    nothing_stays(one.stage()).await;
}

#[tokio::test]
async fn create_database_makes_no_second_catalog_either() {
    let one = Greenroom::start().await;
    one.client("catalog").await.run("select 1").await;
    let two = Greenroom::start().beside(one.stage(), "dev").await;
    let mut client = RawClient::log_in(two.address(), &Startup::new(&two.login, &two.password, "postgres")).await;
    let replies = client.query("CREATE DATABASE \"dev_catalog\"").await;
    assert!(is_second_catalog(&replies[0]), "{replies:?}");
    client.run("CREATE DATABASE \"dev_search\"").await;
    let exists = "select count(*) from \"pg_database\" where \"datname\" = 'dev_catalog'";
    assert_eq!(rows(&client.run(exists).await), ["0"]);
    nothing_stays(one.stage()).await;
}

#[tokio::test]
async fn of_two_catalogs_that_start_at_once_exactly_one_wins() {
    let home = Greenroom::start().await;
    for round in 0..5 {
        let names = [format!("a{round}"), format!("b{round}")];
        let one = Greenroom::start().beside(home.stage(), &names[0]).await;
        let two = Greenroom::start().beside(home.stage(), &names[1]).await;
        let databases = names.each_ref().map(|name| format!("{name}_catalog"));
        let enter = [(&one, &databases[0]), (&two, &databases[1]), (&one, &databases[0]), (&two, &databases[1])];
        let let_in = enter.map(|(room, database)| is_let_in(room, database));
        let let_in = futures_util::future::join_all(let_in).await;
        assert!(let_in[0] == let_in[2] && let_in[1] == let_in[3] && let_in[0] != let_in[1], "{let_in:?}");
        nothing_stays(home.stage()).await;
        let winner = if let_in[0] { &databases[0] } else { &databases[1] };
        home.stage().sql(&format!("drop schema {winner}")).await;
    }
}

#[tokio::test]
async fn a_catalogs_own_database_is_the_remedy() {
    let one = Greenroom::start().await;
    one.client("catalog").await.run("select 1").await;
    let own = format!("{}_dev", one.stage().database);
    one.stage().create_database(&own).await;
    let two = Greenroom::start()
        .beside(one.stage(), "dev")
        .set("backend.database.plugin.catalog.connection.database", &*own)
        .await;
    assert!(is_let_in(&two, "dev_catalog").await);
    drop(two);
    one.stage().sql_in("postgres", &format!("drop database {own} with (force)")).await;
}

#[tokio::test]
async fn a_schema_made_by_hand_is_taken_and_marked() {
    let stage = Stage::shared().await;
    let login = stage.login.clone();
    stage.sql(&format!("create schema catalog authorization {login}; create schema auth authorization {login}")).await;
    let one = Greenroom::start().on(stage).await;
    assert!(is_let_in(&one, "backstage_plugin_catalog").await && is_let_in(&one, "backstage_plugin_auth").await);
    assert!(comment(one.stage(), "catalog").await.contains("plugin catalog of the deployment"));
    assert!(comment(one.stage(), "auth").await.contains("plugin auth of the deployment"));
    let two = Greenroom::start().beside(one.stage(), "dev").await;
    assert!(!is_let_in(&two, "dev_catalog").await);
}

#[tokio::test]
async fn a_schema_of_somebody_elses_is_used_without_a_mark() {
    let stage = Stage::shared().await;
    let login = stage.login.clone();
    stage
        .sql(&format!(
            "create schema catalog; grant usage, create on schema catalog to {login};
             create schema auth authorization {login}; comment on schema auth is 'ours'"
        ))
        .await;
    let room = Greenroom::start().on(stage).await;
    room.client("catalog").await.run("create table entity (id int)").await;
    room.client("auth").await.run("create table entity (id int)").await;
    assert_eq!(comment(room.stage(), "catalog").await, "null");
    assert_eq!(comment(room.stage(), "auth").await, "ours");
    nothing_stays(room.stage()).await;
}

#[tokio::test]
async fn a_catalog_of_backstages_own_schema_mode_is_moved_in_and_counts_as_one() {
    let stage = Stage::shared().await;
    fill(&stage, "catalog").await;
    let one = Greenroom::start().on(stage).await;
    let two = Greenroom::start().beside(one.stage(), "dev").await;
    assert!(!is_let_in(&two, "dev_catalog").await, "its tables tell what it is, without a mark");
    assert!(is_let_in(&one, "backstage_plugin_catalog").await);
    assert!(comment(one.stage(), "catalog").await.contains("plugin catalog of the deployment"));
    assert!(!is_let_in(&two, "dev_catalog").await);
}

#[tokio::test]
async fn of_two_catalogs_that_were_there_before_greenroom_the_first_to_come_is_served() {
    let stage = Stage::shared().await;
    fill(&stage, "catalog").await;
    fill(&stage, "dev_catalog").await;
    let one = Greenroom::start().on(stage).await;
    let two = Greenroom::start().beside(one.stage(), "dev").await;
    assert!(is_let_in(&two, "dev_catalog").await);
    assert!(!is_let_in(&one, "backstage_plugin_catalog").await);
    let two_again = Greenroom::start().beside(one.stage(), "dev").await;
    assert!(is_let_in(&two_again, "dev_catalog").await);
}

#[tokio::test]
async fn a_mark_from_before_plugins_were_named_is_understood_and_renewed() {
    let stage = Stage::shared().await;
    let login = stage.login.clone();
    let old = "greenroom: plugin schema of the deployment with prefix ";
    stage
        .sql(&format!(
            "create schema catalog authorization {login}; comment on schema catalog is '{old}backstage_plugin_';
             create schema auth authorization {login}; comment on schema auth is '{old}production_'"
        ))
        .await;
    let room = Greenroom::start().on(stage).await;
    assert!(is_let_in(&room, "backstage_plugin_catalog").await);
    let renewed = "greenroom: schema of plugin catalog of the deployment with prefix backstage_plugin_";
    assert_eq!(comment(room.stage(), "catalog").await, renewed);
    let refusal = enter(&room, "backstage_plugin_auth").await;
    assert!(refusal.field(b'M').is_some_and(|text| text.contains("production_")), "{refusal:?}");
}

#[tokio::test]
async fn another_plugins_schema_is_refused() {
    let mut room = Greenroom::start().await;
    room.client("dev_auth").await.run("create table secret (x int)").await;
    let stage = room.close().await;
    let room = Greenroom::start().on(stage).set("backend.database.schemaPrefix", "dev_").await;
    let refusal = enter(&room, "backstage_plugin_auth").await;
    let message = refusal.field(b'M').unwrap_or_default();
    assert!(message.contains("belongs to plugin dev_auth, not auth"), "{refusal:?}");
    assert_eq!(
        Client::connect(room.address(), &room.login, &room.password, "postgres").await.value("select 1").await,
        "1"
    );
}
