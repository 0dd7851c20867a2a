//! `greenroom dev`, as a newcomer types it.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use tokio_postgres::NoTls;

/// Long enough for initdb on a busy machine.
const READY: Duration = Duration::from_secs(90);

#[tokio::test]
async fn dev_serves_plugin_databases_and_finds_its_data_again() {
    let home = tempfile::tempdir().expect("a directory");
    // The PostgreSQL server runs as somebody else when we are root.
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(home.path(), permissions).expect("ours");

    let (mut dev, url) = start(home.path()).await;
    let client = connect(&url).await;
    client.batch_execute("create table item (name text); insert into item values ('kept')").await.expect("a table");
    let place = client.query_one("select current_schema()::text", &[]).await.expect("a row");
    assert_eq!(place.get::<_, String>(0), "catalog");
    drop(client);
    end(&mut dev).await;

    let (mut dev, url) = start(home.path()).await;
    let found = connect(&url).await.query_one("select name from item", &[]).await.expect("the table is still there");
    assert_eq!(found.get::<_, String>(0), "kept");
    end(&mut dev).await;
    assert!(!home.path().join("data/postgres/postmaster.pid").exists(), "its PostgreSQL has ended");
}

/// Starts it on free ports, and reads the address that it prints for psql.
async fn start(home: &std::path::Path) -> (Child, String) {
    let mut dev = Command::new(env!("CARGO_BIN_EXE_greenroom"))
        .args(["dev", "--port", "0", "--http-port", "0", "--data-dir"])
        .arg(home.join("data"))
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary is built with the tests");
    let mut lines = BufReader::new(dev.stdout.take().expect("it is piped")).lines();
    let url = timeout(READY, async {
        while let Some(line) = lines.next_line().await.expect("text") {
            if let Some(url) = line.trim().strip_prefix("psql ") {
                return url.to_owned();
            }
        }
        panic!("it ended without being ready");
    });
    (dev, url.await.expect("ready in time"))
}

async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("a login");
    tokio::spawn(connection);
    client
}

/// Ends it as an operator does.
async fn end(dev: &mut Child) {
    let pid = dev.id().expect("it runs").to_string();
    let told = Command::new("kill").args(["-TERM", &pid]).status().await.expect("kill is there");
    assert!(told.success());
    let status = timeout(Duration::from_secs(40), dev.wait()).await.expect("it ends in time").expect("a status");
    assert!(status.success(), "{status}");
}
