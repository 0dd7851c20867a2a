//! Which database a name means, and whose schema it is.

use crate::harness::{Client, Greenroom, RawClient, Room, Stage, Startup, rows};

/// How a login and its first statement fail; fails the test when they do not.
async fn refusal(room: &Room, plugin: &str) -> String {
    let mut client = RawClient::try_log_in(room.address(), &room.startup(plugin)).await;
    let mut replies = std::mem::take(&mut client.hello);
    if replies.last().is_some_and(|last| last.tag == b'Z') {
        replies = client.query("create table intruder ()").await;
    }
    let error = replies.iter().find(|reply| reply.tag == b'E').unwrap_or_else(|| panic!("let in: {replies:?}"));
    format!("{} {}", error.field(b'C').unwrap_or_default(), error.field(b'M').unwrap_or_default())
}

#[tokio::test]
async fn a_plugins_table_lands_in_its_schema_of_the_shared_database() {
    let room = Greenroom::start().await;
    room.client("catalog").await.run("create table entity (id int)").await;
    room.client("user-settings").await.run("create table entity (name text)").await;
    let tables = "select table_schema || '.' || table_name || '.' || column_name from information_schema.columns
                  where table_name = 'entity' order by 1";
    assert_eq!(room.stage().sql(tables).await, ["catalog.entity.id", "user-settings.entity.name"]);
}

#[tokio::test]
async fn plugins_with_equal_table_names_never_see_each_other() {
    let room = Greenroom::start().servers(2).await;
    let (catalog, auth) = (room.client("catalog").await, room.client("auth").await);
    for (client, name) in [(&catalog, "catalog"), (&auth, "auth")] {
        client.run(&format!("create table item (name text); insert into item values ('{name}')")).await;
    }
    for _ in 0..20 {
        let (one, other) = tokio::join!(catalog.values("select name from item"), auth.values("select name from item"));
        assert_eq!((one, other), (vec!["catalog".to_owned()], vec!["auth".to_owned()]));
    }
}

#[tokio::test]
async fn a_made_schema_says_whose_it_is() {
    let room = Greenroom::start().await;
    room.client("catalog").await.run("select 1").await;
    let comment = room.stage().sql("select obj_description('catalog'::regnamespace)").await;
    assert!(comment[0].contains("backstage_plugin_"), "{comment:?}");
}

#[tokio::test]
async fn another_deployments_schema_is_refused() {
    let mut room = Greenroom::start().await;
    room.client("catalog").await.run("create table entity (id int)").await;
    let stage = room.close().await;
    let comment = stage.sql("select obj_description('catalog'::regnamespace)").await.remove(0);
    let theirs = comment.replace("backstage_plugin_", "production_");
    stage.sql(&format!("comment on schema catalog is '{theirs}'")).await;

    let room = Greenroom::start().on(stage).await;
    let refusal = refusal(&room, "catalog").await;
    assert!(refusal.contains("catalog"), "it names the schema: {refusal}");
    assert_eq!(room.stage().sql("select to_regclass('catalog.intruder')").await, ["null"]);
    assert_eq!(room.client("auth").await.value("select 1").await, "1", "the other plugins go on");
}

#[tokio::test]
async fn a_schema_made_beforehand_needs_no_right_to_make_one() {
    let stage = Stage::shared().await;
    let Stage { login, database, .. } = &stage;
    stage
        .sql(&format!("alter database {database} owner to postgres; create schema catalog authorization {login}"))
        .await;
    let room = Greenroom::start().on(stage).await;
    room.client("catalog").await.run("create table entity (id int)").await;
    assert_eq!(room.stage().sql("select to_regclass('catalog.entity')").await, ["catalog.entity"]);
    assert!(refusal(&room, "auth").await.starts_with("42501"));
}

#[tokio::test]
async fn many_first_clients_at_once_find_one_schema() {
    let room = Greenroom::start().auth("trust").await;
    let clients = (0..20).map(|_| async { room.client("catalog").await.value("select current_schema()").await });
    let schemas = futures_util::future::join_all(clients).await;
    assert!(schemas.iter().all(|schema| schema == "catalog"), "{schemas:?}");
}

#[tokio::test]
async fn a_schema_prefix_is_in_front_of_every_schema() {
    let room = Greenroom::start().set("backend.database.schemaPrefix", "dev_").await;
    assert_eq!(room.client("catalog").await.value("select current_schema()").await, "dev_catalog");
}

#[tokio::test]
async fn the_shared_database_itself_is_open_under_its_name() {
    let room = Greenroom::start().await;
    let Stage { login, password, database, .. } = room.stage();
    let client = Client::connect(room.address(), login, password, database).await;
    assert_eq!(client.value("select current_database()").await, *database);
    client.run("create schema app; set search_path to app; create table t ()").await;
    assert_eq!(room.stage().sql("select to_regclass('app.t')").await, ["app.t"]);
}

#[tokio::test]
async fn the_database_postgres_is_the_shared_one_under_schema_division() {
    let room = Greenroom::start().await;
    let client = Client::connect(room.address(), &room.login, &room.password, "postgres").await;
    assert!(client.value("select version()").await.starts_with("PostgreSQL "));
    assert_eq!(client.value("select current_database()").await, room.stage().database);
}

#[tokio::test]
async fn database_division_has_a_database_for_each_plugin() {
    let stage = Stage::shared().await;
    let prefix = format!("{}_", stage.database);
    for plugin in ["catalog", "auth"] {
        stage.create_database(&format!("{prefix}{plugin}")).await;
    }
    let room = Greenroom::start()
        .on(stage)
        .set("greenroom.division", "database")
        .set("backend.database.prefix", &*prefix)
        .set("backend.database.ensureExists", false)
        .await;
    for plugin in ["catalog", "auth"] {
        let database = format!("{prefix}{plugin}");
        let client = Client::connect(room.address(), &room.login, &room.password, &database).await;
        assert_eq!(client.value("select current_database()").await, database);
        client.run(&format!("create table item (name text); insert into item values ('{plugin}')")).await;
        assert_eq!(client.value("select name from item").await, plugin);
        assert_eq!(client.value("select current_schema()").await, "public");
        room.stage().sql_in("postgres", &format!("drop database {database} with (force)")).await;
    }
}

#[tokio::test]
async fn a_database_that_is_missing_behind_greenroom_is_3d000() {
    let room = Greenroom::start()
        .set("greenroom.division", "database")
        .set("backend.database.prefix", "missing_")
        .set("backend.database.ensureExists", false)
        .await;
    let startup = Startup::new(&room.login, &room.password, "missing_catalog");
    let client = RawClient::try_log_in(room.address(), &startup).await;
    assert_eq!(client.hello.last().and_then(|last| last.code()).as_deref(), Some("3D000"), "{:?}", client.hello);
}

#[tokio::test]
async fn quoted_names_stay_as_they_are() {
    let room = Greenroom::start().await;
    for plugin in ["user-settings", "MixedCase", "select", "with.dot"] {
        let mut client = RawClient::try_log_in(room.address(), &room.startup(plugin)).await;
        if client.hello.last().is_some_and(|last| last.tag == b'Z') {
            assert_eq!(rows(&client.run("select current_schema()").await), [plugin]);
        } else {
            // A name that no plugin can have is refused rather than changed.
            assert_eq!(client.hello.last().and_then(|last| last.code()).as_deref(), Some("3D000"), "{plugin}");
        }
    }
}
