//! A dump of one plugin's data, as docs/troubleshooting.md says to take it.

use crate::harness::{Greenroom, Program, Room, rows};

/// `pg_dump`, `pg_restore`, `psql`: directly to PostgreSQL, in the physical database, as the login.
fn direct(room: &Room, name: &str, database: &str) -> Program {
    let stage = room.stage();
    Program::new(&stage.postgres().bin_dir().join(name))
        .env("PGHOST", "127.0.0.1")
        .env("PGPORT", &stage.postgres().port().to_string())
        .env("PGUSER", &stage.login)
        .env("PGPASSWORD", &stage.password)
        .env("PGDATABASE", database)
}

#[tokio::test]
async fn a_plugins_schema_is_dumped_dropped_and_restored() {
    let room = Greenroom::start().await;
    let database = room.stage().database.clone();
    let file = std::env::temp_dir().join(format!("greenroom-{database}-{}.dump", std::process::id()));
    let path = file.to_str().expect("a directory for temporary files has a plain name");
    let plugin = "user-settings";
    let fill = "create table settings (id serial primary key, value text unique);
                insert into settings (value) select 'value ' || n from generate_series(1, 100) n";
    room.client(plugin).await.run(fill).await;
    room.client("catalog").await.run("create table entity (id int); insert into entity values (1)").await;

    direct(&room, "pg_dump", &database).args(&["-n", "\"user-settings\"", "-Fc", "-f", path]).run().await;
    let contents = direct(&room, "pg_restore", &database).args(&["-l", path]).run().await;
    assert!(contents.contains("settings") && !contents.contains("entity"), "only that plugin's: {contents}");

    room.stage().sql("drop schema \"user-settings\" cascade").await;
    direct(&room, "pg_restore", &database).args(&["-d", &database, path]).run().await;
    let mut client = room.raw(plugin).await;
    assert_eq!(rows(&client.run("select count(*), max(id) from settings").await), ["100"]);
    client.run("insert into settings (value) values ('one more')").await;
    let mark = room.stage().sql("select obj_description('\"user-settings\"'::regnamespace)").await;
    assert!(mark[0].contains("plugin user-settings of the deployment"), "the mark came along: {mark:?}");

    // Into another database, for a deployment of its own.
    let other = format!("{database}_moved");
    room.stage().create_database(&other).await;
    direct(&room, "pg_restore", &other).args(&["-d", &other, path]).run().await;
    assert_eq!(room.stage().sql_in(&other, "select count(*) from \"user-settings\".settings").await, ["100"]);
    room.stage().sql_in("postgres", &format!("drop database {other} with (force)")).await;
    std::fs::remove_file(&file).expect("the dump is there");
}
