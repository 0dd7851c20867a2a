//! What the scripts of the examples and the SQL of docs/backstage.md do, on a PostgreSQL.

use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;
use tokio_postgres::types::Type;

use super::container::text;
use crate::harness::{Client, Greenroom, Room, Stage, logical, soon};

/// The database that Backstage asks which others there are.
const POSTGRES: &str = "postgres";

/// A script of the examples, run to its end with PostgreSQL's programs on its path; what it said when it failed.
async fn script(stage: &Stage, name: &str, environment: &[(&str, &str)]) -> Result<(), String> {
    let programs = format!("{}:{}", stage.postgres().bin_dir().display(), std::env::var("PATH").expect("a path"));
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name));
    command.env("PATH", programs).env("PGPASSFILE", "/dev/null").envs(environment.iter().copied());
    let output = soon(name, command.stdin(Stdio::null()).kill_on_drop(true).output()).await.expect("it starts");
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// Does what Backstage does to have a database for a plugin, and what the plugins with the greatest wishes do in it.
async fn starts(room: &Room, login: &str, password: &str, plugin: &str) {
    let question = r#"select count(*) from "pg_database" where "datname" = $1"#;
    let database = logical(plugin);
    let admin = Client::connect(room.address(), login, password, POSTGRES).await;
    let exists = async || {
        let rows = soon(question, admin.query_typed(question, &[(&database, Type::TEXT)])).await;
        rows.expect("an answer")[0].get::<_, i64>(0)
    };
    assert_eq!(exists().await, 0);
    admin.run(&format!(r#"create database "{database}""#)).await;
    assert_eq!(exists().await, 1);
    let client = Client::connect(room.address(), login, password, &database).await;
    client.run("create table document (id serial primary key, body tsvector)").await;
    client.run("begin; create temp table batch (id int) on commit drop; insert into batch values (1); commit").await;
    assert_eq!(client.value("select current_schema()").await, plugin);
}

#[tokio::test]
async fn the_login_that_the_compose_file_makes_is_enough() {
    let mut stage = Stage::own(&[]).await;
    let port = stage.postgres().port().to_string();
    let password = "what's in .env";
    let environment = [
        ("PGHOST", "127.0.0.1"),
        ("PGPORT", &port),
        ("PGPASSWORD", stage.postgres().password()),
        ("POSTGRES_USER", "postgres"),
        ("BACKSTAGE_PASSWORD", password),
    ];
    script(&stage, "compose/init.sh", &environment).await.expect("it makes the login and the database");
    let rights = "select rolsuper or rolcreatedb or rolcreaterole from pg_roles where rolname = 'backstage'";
    assert_eq!(stage.sql(rights).await, ["f"]);
    (stage.login, stage.database, stage.password) = ("backstage".into(), "backstage".into(), password.into());
    let room = Greenroom::start().on(stage).await;
    starts(&room, "backstage", password, "search").await;
}

/// The SQL in docs/backstage.md, block by block.
fn sql_of_the_guide() -> Vec<String> {
    let guide = text("docs/backstage.md");
    let blocks = guide.split("```sql\n").skip(1);
    blocks.map(|block| block.split("```").next().expect("it ends").to_owned()).collect()
}

async fn run_each(stage: &Stage, database: &str, statements: &str) {
    for statement in statements.split_inclusive(';').filter(|statement| !statement.trim().is_empty()) {
        stage.sql_in(database, statement).await;
    }
}

#[tokio::test]
async fn the_guides_grants_are_enough_and_without_create_its_schemas_are() {
    let [usual, beforehand] = &sql_of_the_guide()[..] else { panic!("the guide has two blocks of SQL") };
    let mut stage = Stage::own(&[]).await;
    run_each(&stage, POSTGRES, usual).await;
    (stage.login, stage.database, stage.password) = ("backstage".into(), "backstage".into(), "change-me".into());
    let mut room = Greenroom::start().on(stage).await;
    starts(&room, "backstage", "change-me", "search").await;

    let stage = room.close().await;
    run_each(&stage, "backstage", beforehand).await;
    let room = Greenroom::start().on(stage).await;
    room.client("catalog").await.run("create table entity (id int)").await;
    let owner = "select tableowner from pg_tables where schemaname || '.' || tablename = 'catalog.entity'";
    assert_eq!(room.stage().sql(owner).await, ["backstage"]);
    let admin = Client::connect(room.address(), "backstage", "change-me", POSTGRES).await;
    assert_eq!(admin.failure("create database backstage_plugin_scaffolder").await, "42P04", "it is there already");
    assert_eq!(admin.failure("create database backstage_plugin_auth").await, "42501", "nobody made it beforehand");
}

#[tokio::test]
async fn databases_are_moved_into_schemas_and_stay_as_they_are() {
    let stage = Stage::own(&[]).await;
    let version = stage.sql("show server_version_num").await[0].parse::<u32>().expect("a number");
    // Before PostgreSQL 15 a database's owner does not own its schema `public`.
    let rights = if version < 150_000 { "superuser" } else { "createdb" };
    stage.sql(&format!("create role old login password 'old' {rights}")).await;
    for plugin in ["catalog", "user-settings"] {
        stage.sql_in(POSTGRES, &format!("create database \"{}\" owner old", logical(plugin))).await;
        let things = format!(
            "set role old;
             create table item (id serial primary key, name text unique, body tsvector);
             comment on table item is 'public.item of {plugin}';
             insert into item (name) select 'public.item ' || n from generate_series(1, 500) n;
             create index item_body on item using gin (body);
             create statistics item_statistics on id, name from item;
             create view newest as select max(id) from item"
        );
        stage.sql_in(&logical(plugin), &things).await;
    }
    let port = stage.postgres().port();
    let new = format!("postgresql://{}:{}@127.0.0.1:{port}/{}", stage.login, stage.password, stage.database);
    let old = format!("postgresql://old:old@127.0.0.1:{port}");
    let environment = [("OLD", &*old), ("NEW", &*new.replace(' ', "%20"))];
    script(&stage, "move-databases.sh", &environment).await.expect("it moves them");

    let again = script(&stage, "move-databases.sh", &environment).await.expect_err("they are there already");
    assert!(again.contains("schema \"catalog\" already exists"), "{again}");
    let databases = "select string_agg(datname, ' ' order by datname) from pg_database where datname ~ 'plugin|move'";
    assert_eq!(stage.sql(databases).await, ["backstage_plugin_catalog backstage_plugin_user-settings"]);
    assert_eq!(stage.sql_in(&logical("catalog"), "select count(*) from public.item").await, ["500"]);

    let room = Greenroom::start().on(stage).await;
    for plugin in ["catalog", "user-settings"] {
        let client = room.client(plugin).await;
        assert_eq!(client.value("select max from newest").await, "500");
        assert_eq!(client.value("insert into item (name) values ('new') returning id").await, "501");
        assert_eq!(client.value("select name from item where id = 7").await, "public.item 7");
        let comment = "select obj_description('item'::regclass)";
        assert_eq!(client.value(comment).await, format!("public.item of {plugin}"));
        let mark = format!("select obj_description('\"{plugin}\"'::regnamespace)");
        assert!(client.value(&mark).await.starts_with("greenroom"), "greenroom marks it as its own");
    }
}
