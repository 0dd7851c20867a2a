//! `greenroom explain`: where a logical database is, without connecting; the statements that it prints are true.

use crate::harness::{Client, Greenroom, Stage, Typed};

#[tokio::test]
async fn the_statement_that_is_printed_makes_what_greenroom_would_make() {
    let stage = Stage::shared().await;
    let typed = Typed::before(&stage, "", "");
    let told = typed.run(&["explain", "backstage_plugin_user-settings"]).await;
    assert_eq!(told.code, 0, "{told:?}");
    assert!(!told.out.contains(&stage.password), "{told:?}");
    let sql =
        told.out.lines().find_map(|line| line.trim().strip_prefix("CREATE SCHEMA")).expect("it says how it is made");
    let client = stage.client().await;
    client.run(&format!("CREATE SCHEMA{sql}")).await;
    let looks = "select obj_description(oid) || nspowner::regrole from pg_namespace where nspname = 'user-settings'";
    let made = client.value(looks).await;

    client.run("drop schema \"user-settings\"").await;
    drop(client);
    let room = Greenroom::start().on(stage).await;
    room.client("user-settings").await.run("select 1").await;
    assert_eq!(room.stage().sql(looks).await, [made]);
}

#[tokio::test]
async fn the_database_that_is_named_is_the_one_that_a_client_gets() {
    let room = Greenroom::start().await;
    let typed = Typed::before(room.stage(), "", "");
    for (asked, schema) in [("backstage_plugin_catalog", Some("catalog")), ("postgres", None)] {
        let told = typed.run(&["explain", asked]).await.out;
        let client = Client::connect(room.address(), &room.login, &room.password, asked).await;
        let (database, at) =
            (client.value("select current_database()").await, client.value("select current_schema()").await);
        let schema = schema.map(|schema| format!("schema \"{schema}\" of ")).unwrap_or_default();
        assert!(told.contains(&format!("{schema}database \"{database}\" on 127.0.0.1")), "{told}");
        assert!(schema.is_empty() || schema.contains(&at), "{at}: {told}");
    }
}

#[tokio::test]
async fn a_name_that_leads_nowhere_is_an_error() {
    let typed = Typed::new(
        "backend:\n  database:\n    client: pg\n    connection: { host: db, user: u, password: p }\n    plugin: { search: { client: \
         better-sqlite3 } }\n",
    );
    let told = typed.run(&["explain", "catalog"]).await;
    assert_eq!((told.code, told.out.as_str()), (1, ""));
    assert!(told.err.contains("did you mean backstage_plugin_catalog?"), "{told:?}");
    let told = typed.run(&["explain", "backstage_plugin_search"]).await;
    assert!(told.code == 0 && told.out.contains("no: it is kept in better-sqlite3"), "{told:?}");
    let told = typed.run(&["explain"]).await;
    assert!(told.code == 0 && told.out.contains("backstage_plugin_<id>, for any other plugin"), "{told:?}");
}
