//! What a private PostgreSQL promises, on the real one of this machine.

use std::path::Path;
use std::time::{Duration, Instant};

use super::{Auth, Builder, SqlError, StartError, TempPostgres};

/// The directory of the programs may be named to the tests, as it may be to the command line.
fn builder() -> Builder {
    match std::env::var_os("GREENROOM_PG_BIN") {
        Some(dir) => TempPostgres::builder().bin_dir(dir),
        None => TempPostgres::builder(),
    }
}

/// A directory that every user may enter, removed at the end of the test.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new() -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = std::env::temp_dir().join(format!("greenroom-test-{}", super::cluster::random_word(12)));
        std::fs::create_dir(&dir).unwrap();
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self(dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

async fn one(postgres: &TempPostgres, statement: &str) -> String {
    let rows = postgres.sql("postgres", statement).await.unwrap();
    rows[0][0].clone().unwrap()
}

#[tokio::test]
async fn a_cluster_serves_over_its_socket_and_over_tcp_and_is_gone_when_it_is_dropped() {
    let postgres = builder().setting("max_connections", "17").start().await.unwrap();
    let (pid, dir, port) = (postgres.pid().unwrap(), postgres.socket_dir().to_path_buf(), postgres.port());
    assert_eq!(one(&postgres, "show max_connections").await, "17");
    assert_eq!(one(&postgres, "show listen_addresses").await, "127.0.0.1");
    assert!(dir.as_os_str().len() < 100);

    let (client, connection) = tokio_postgres::connect(&postgres.url("postgres"), tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let row = client.query_one("select current_user::text", &[]).await.unwrap();
    assert_eq!(row.get::<_, String>(0), "postgres");

    drop(postgres);
    assert!(connection.await.unwrap().is_err(), "the server was told to end, not waited for");
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    assert!(!dir.exists());
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[tokio::test]
async fn data_survives_a_restart_and_the_death_of_the_postmaster() {
    let mut postgres = builder().start().await.unwrap();
    let port = postgres.port();
    postgres.sql("postgres", "create table kept (n int); insert into kept values (1)").await.unwrap();
    // WAL is not flushed in a temporary cluster: what shall survive a kill is put on disk.
    postgres.sql("postgres", "checkpoint").await.unwrap();

    postgres.restart().await.unwrap();
    assert_eq!(one(&postgres, "select n from kept").await, "1");

    postgres.kill().await;
    assert_eq!(postgres.pid(), None);
    assert!(postgres.sql("postgres", "select 1").await.is_err());
    postgres.start_again().await.unwrap();
    assert_eq!(one(&postgres, "select n from kept").await, "1");
    assert_eq!(postgres.port(), port);
}

#[tokio::test]
async fn a_kept_cluster_is_found_again_even_behind_a_stale_lock_file() {
    let dir = Scratch::new();
    let start = || builder().data_dir(dir.0.join("data"), "it's \"secret\" % /").start();
    let mut first = start().await.unwrap();
    first.sql("postgres", "create table kept (n int); insert into kept values (7)").await.unwrap();
    assert_eq!(one(&first, "show fsync").await, "on");
    first.kill().await;
    drop(first);

    // The process id of the dead postmaster now belongs to somebody who is alive.
    let mut stranger = super::Account::find().unwrap().command("sleep").arg("60").spawn().unwrap();
    let lock = dir.0.join("data/postgres/postmaster.pid");
    let content = std::fs::read_to_string(&lock).unwrap();
    let (_, rest) = content.split_once('\n').unwrap();
    std::fs::write(&lock, format!("{}\n{rest}", stranger.id())).unwrap();

    let second = start().await;
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    let second = second.unwrap();
    assert_eq!(one(&second, "select n from kept").await, "7");
    let (client, connection) = tokio_postgres::connect(&second.url("postgres"), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.simple_query("select 1").await.unwrap();
}

#[tokio::test]
async fn a_kept_cluster_is_not_run_twice_at_once() {
    let dir = Scratch::new();
    let start = || builder().data_dir(&dir.0, "secret").start();
    let first = start().await.unwrap();
    let second = start().await.unwrap_err();
    assert!(matches!(second, StartError::AlreadyRunning { pid, .. } if Some(pid) == first.pid()), "{second}");
    assert_eq!(one(&first, "select 1").await, "1");
}

#[tokio::test]
async fn every_way_of_asking_for_a_password_works() {
    for auth in [Auth::Md5, Auth::Cleartext, Auth::Trust] {
        let postgres = builder().auth(auth).password("secret").start().await.unwrap();
        let url = postgres.url("postgres");
        let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client.simple_query("select 1").await.unwrap();
        let refused = tokio_postgres::connect(&url.replace("secret", "wrong"), tokio_postgres::NoTls).await.is_err();
        assert_eq!(refused, auth != Auth::Trust, "{auth:?}");
        let stored = one(&postgres, "select left(rolpassword, 3) from pg_authid where rolname = 'postgres'").await;
        assert_eq!(stored == "md5", auth == Auth::Md5);
    }
}

#[tokio::test]
async fn a_cluster_speaks_tls_and_obeys_its_own_hba_lines() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let with_tls = |builder: Builder| {
        builder
            .tls(made.cert.pem(), made.signing_key.serialize_pem())
            .hba(["hostssl all all 127.0.0.1/32 scram-sha-256"])
            .start()
    };
    let postgres = match with_tls(builder()).await {
        // The one that was named; this machine's own can.
        Err(StartError::Exited { log }) if log.contains("SSL is not supported by this build") => {
            with_tls(TempPostgres::builder()).await.unwrap()
        }
        started => started.unwrap(),
    };
    assert_eq!(one(&postgres, "show ssl").await, "on");
    let plain = tokio_postgres::connect(&postgres.url("postgres"), tokio_postgres::NoTls).await;
    let error = plain.err().unwrap();
    assert_eq!(error.code().unwrap().code(), "28000", "{error}");
}

#[tokio::test]
async fn a_failed_start_shows_what_the_server_wrote() {
    let error = builder().setting("no_such_setting", "1").start().await.unwrap_err();
    assert!(matches!(&error, StartError::Exited { log } if log.contains("no_such_setting")), "{error}");
}

#[tokio::test]
async fn a_statement_for_set_up_fails_with_the_servers_own_error() {
    let postgres = builder().start().await.unwrap();
    let error = postgres.sql("postgres", "select 1; select * from nowhere").await.unwrap_err();
    assert!(matches!(&error, SqlError::Refused { code, .. } if code == "42P01"), "{error}");
    assert_eq!(postgres.sql("postgres", "select null, 'ü'").await.unwrap(), [vec![None, Some("ü".to_owned())]]);
    let error = postgres.sql("nowhere", "select 1").await.unwrap_err();
    assert!(matches!(&error, SqlError::Refused { code, .. } if code == "3D000"), "{error}");
}

#[tokio::test]
async fn an_owner_that_is_killed_takes_its_server_along() {
    // This test starts itself once more, as the owner that will be killed.
    if std::env::var_os("GREENROOM_TEST_OWNER").is_some() {
        let postgres = builder().start().await.unwrap();
        println!("server {} {}", postgres.pid().unwrap(), postgres.socket_dir().display());
        tokio::time::sleep(Duration::from_secs(60)).await;
        return;
    }
    let name = "temp_postgres::tests::an_owner_that_is_killed_takes_its_server_along";
    let mut owner = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env("GREENROOM_TEST_OWNER", "1")
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    use tokio::io::AsyncBufReadExt as _;
    let mut lines = tokio::io::BufReader::new(owner.stdout.take().unwrap()).lines();
    let (pid, dir) = loop {
        let line = lines.next_line().await.unwrap().expect("the owner names its server");
        if let Some((_, found)) = line.split_once("server ") {
            let (pid, dir) = found.split_once(' ').unwrap();
            break (pid.to_owned(), dir.to_owned());
        }
    };
    owner.kill().await.unwrap();

    let deadline = Instant::now() + Duration::from_secs(20);
    while Path::new(&format!("/proc/{pid}")).exists() || Path::new(&dir).exists() {
        assert!(Instant::now() < deadline, "server {pid} or {dir} is still there");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
