//! Passwords that change under load, and commands that print them: clients notice nothing, and nobody is told a secret.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Client, Greenroom, RawClient, Room, Stage, Startup, codes, eventually, get};

/// What clients prove; it never changes.
const THEIRS: &str = "the clients' own";

/// A directory for a password file and for a script, readable by this process only.
struct Vault(TempDir);

impl Vault {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Replaces a file in one step, as every tool does that rotates secrets.
    fn put(&self, name: &str, text: &str) {
        std::fs::write(self.path("new"), text).expect("a file");
        std::fs::rename(self.path("new"), self.path(name)).expect("a rename");
    }

    /// A script that leaves a line in `runs` and then does as it is told, in the vault's directory.
    fn command(&self, script: &str) -> Value {
        let script = format!("#!/bin/sh\ncd '{}'; echo \"$*\" >> runs\n{script}\n", self.0.path().display());
        std::fs::write(self.path("tool"), script).expect("a script");
        json!(["sh", self.path("tool"), "{user}", "{host}", "{port}"])
    }

    fn runs(&self) -> Vec<String> {
        let runs = std::fs::read_to_string(self.path("runs")).unwrap_or_default();
        runs.lines().map(str::to_owned).collect()
    }
}

/// Gives the stage's login another password at PostgreSQL.
async fn rotate(stage: &Stage, password: &str) {
    stage.sql(&format!("alter role {} password '{password}'", stage.login)).await;
}

/// greenroom on this stage with a command, its clients proving [`THEIRS`]; each server is used for a moment only.
fn with_command(stage: Stage, command: Value) -> Greenroom {
    short_lived(Greenroom::start().on(stage))
        .set("greenroom.clientPassword", THEIRS)
        .set("greenroom.passwordCommand.command", command)
}

/// Servers that end after a moment, so that logins never cease.
fn short_lived(room: Greenroom) -> Greenroom {
    room.servers(4).every_pool(|limits| limits.with("maxConnectionLifetimeMillis", 20))
}

async fn client(room: &Room) -> Client {
    Client::connect(room.address(), &room.login, THEIRS, "backstage_plugin_catalog").await
}

async fn refusal(room: &Room, password: &str) -> RawClient {
    let startup = Startup::new(&room.login, password, "backstage_plugin_catalog");
    RawClient::try_log_in(room.address(), &startup).await
}

/// Queries without a pause from several clients until it is told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<tokio::task::JoinHandle<()>>,
    queries: Arc<AtomicUsize>,
}

impl Load {
    async fn on(room: &Room) -> Self {
        let (stop, queries) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut clients = Vec::new();
        for _ in 0..6 {
            let (client, stop, queries) = (client(room).await, Arc::clone(&stop), Arc::clone(&queries));
            clients.push(tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    // A query that fails is a panic, which the end of the load passes on.
                    assert_eq!(client.value("select 1").await, "1");
                    queries.fetch_add(1, Ordering::Relaxed);
                }
            }));
        }
        Self { stop, clients, queries }
    }

    /// Ends it; a query that failed fails the test.
    async fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.expect("no query fails");
        }
        self.queries.load(Ordering::Relaxed)
    }
}

async fn renewals(room: &Room, source: &str, result: &str) -> f64 {
    let labels = [format!("source=\"{source}\""), format!("result=\"{result}\"")];
    room.metrics().await.sum("greenroom_password_renewals_total", &[&labels[0], &labels[1]])
}

async fn logins(room: &Room) -> f64 {
    room.metrics().await.sum("greenroom_server_connects_total", &["result=\"ok\""])
}

#[tokio::test]
async fn a_password_in_a_file_changes_under_load_and_no_query_fails() {
    let (vault, stage) = (Vault::new(), Stage::shared().await);
    vault.put("pw", &format!("{}\n", stage.password));
    let room = short_lived(Greenroom::start().on(stage))
        .set("backend.database.connection.password", json!({ "$file": vault.path("pw") }))
        .set("greenroom.clientPassword", THEIRS)
        .await;
    let load = Load::on(&room).await;
    for round in 0..6 {
        let (before, password) = (logins(&room).await, format!("in round {round}"));
        // The file first, then the role: a login in between is made with the old one.
        vault.put("pw", &password);
        tokio::time::sleep(Duration::from_millis(50)).await;
        rotate(room.stage(), &password).await;
        eventually("servers log in with the new password", async || logins(&room).await >= before + 20.0).await;
    }
    let queries = load.end().await;
    assert!(queries > 50, "{queries} queries");
    assert_eq!(renewals(&room, "file", "ok").await, 6.0);
    let failed = room.metrics().await.sum("greenroom_server_connects_total", &["result=\"failed\""]);
    assert_eq!(failed, 0.0);
}

#[tokio::test]
async fn a_password_of_a_command_changes_under_load_and_no_query_fails() {
    let (vault, stage) = (Vault::new(), Stage::shared().await);
    vault.put("pw", &stage.password);
    let address = format!("{} 127.0.0.1 {}", stage.login, stage.postgres().port());
    let room = with_command(stage, vault.command("cat pw")).await;
    let load = Load::on(&room).await;
    assert_eq!(vault.runs(), [address], "one run for all, with its placeholders filled in");
    for round in 0..6 {
        let (before, password) = (logins(&room).await, format!("in round {round}"));
        vault.put("pw", &password);
        rotate(room.stage(), &password).await;
        eventually("servers log in with the new password", async || logins(&room).await >= before + 20.0).await;
    }
    let queries = load.end().await;
    assert!(queries > 50, "{queries} queries");
    assert_eq!(vault.runs().len(), 7, "once for each password that was refused");
    assert_eq!(renewals(&room, "command", "ok").await, 7.0);
}

#[tokio::test]
async fn passwords_that_end_soon_are_renewed_under_load() {
    let (vault, stage) = (Vault::new(), Stage::shared().await);
    vault.put("pw", &stage.password);
    let script = "printf '{\"password\": \"%s\", \"expiresAt\": %s}' \"$(cat pw)\" $(($(date +%s) + 2))";
    let room = with_command(stage, vault.command(script)).await;
    let began = Instant::now();
    let load = Load::on(&room).await;
    eventually("the third password", async || renewals(&room, "command", "ok").await >= 3.0).await;
    let queries = load.end().await;
    assert!(queries > 10, "{queries} queries");
    let (runs, most) = (vault.runs().len(), 3 + 2 * began.elapsed().as_secs());
    assert!(runs as u64 <= most, "{runs} runs: each is good for a second at least, and used for half of it");
}

#[tokio::test]
async fn many_logins_at_once_run_the_command_once() {
    let (vault, stage) = (Vault::new(), Stage::shared().await);
    vault.put("pw", &stage.password);
    let room = with_command(stage, vault.command("sleep 0.5; cat pw")).servers(20).await;
    let mut holders = Vec::new();
    for client in (0..20).map(|n| {
        let (address, login) = (room.address().clone(), room.login.clone());
        tokio::spawn(async move {
            let client = Client::connect(&address, &login, THEIRS, &format!("backstage_plugin_p{n}")).await;
            client.run("begin").await;
            client
        })
    }) {
        holders.push(client);
    }
    for holder in &mut holders {
        holder.await.expect("a login");
    }
    assert!(logins(&room).await >= 15.0);
    assert_eq!(vault.runs().len(), 1);
}

#[tokio::test]
async fn a_login_that_stays_refused_gets_postgresqls_own_error_and_no_storm() {
    let (vault, stage) = (Vault::new(), Stage::shared().await);
    vault.put("pw", "not the password");
    let room = with_command(stage, vault.command("cat pw; date +%N >> other")).await;
    let began = Instant::now();
    let mut refused = 0;
    while began.elapsed() < Duration::from_millis(1500) {
        let client = refusal(&room, THEIRS).await;
        assert_eq!(codes(&client.hello), ["28P01"], "{:?}", client.hello);
        let message = client.hello.last().and_then(|last| last.field(b'M')).expect("a message");
        assert_eq!(message, format!("password authentication failed for user \"{}\"", room.login));
        refused += 1;
    }
    assert!(refused >= 3, "{refused} logins");
    // The first, anew at once, and anew after a second.
    assert!((2..=3).contains(&vault.runs().len()), "{} runs for {refused} logins", vault.runs().len());
    vault.put("pw", &room.stage().password);
    eventually("the right password is found", async || codes(&refusal(&room, THEIRS).await.hello).is_empty()).await;
}

#[tokio::test]
async fn a_command_that_gives_no_password_is_told_without_its_words() {
    for (script, result) in [
        ("echo geheim; echo verborgen >&2; exit 3", "failed"),
        ("sleep 60; echo geheim", "timeout"),
        (":", "failed"),
        ("echo geheim; echo geheim", "failed"),
        ("yes geheim", "failed"),
    ] {
        let (vault, stage) = (Vault::new(), Stage::shared().await);
        let room = with_command(stage, vault.command(script)).set("greenroom.passwordCommand.timeoutMillis", 500).await;
        let client = refusal(&room, THEIRS).await;
        assert_eq!(codes(&client.hello), ["08001"], "{script}: {:?}", client.hello);
        let told = String::from_utf8_lossy(&client.hello.last().expect("an error").body).into_owned();
        assert!(told.contains("its passwordCommand gave none") && told.contains("greenroom's log"), "{told}");
        assert!(!told.contains("geheim") && !told.contains("verborgen"), "{told}");
        assert!(renewals(&room, "command", result).await >= 1.0, "{script}");
        assert!(!get(room.http, "/metrics").await.1.contains("geheim"));
    }
}

#[tokio::test]
async fn what_clients_prove_is_their_own_password_where_there_is_one() {
    let (vault, stage) = (Vault::new(), Stage::shared().await);
    vault.put("pw", &stage.password);
    let room = with_command(stage, vault.command("cat pw")).await;
    assert_eq!(client(&room).await.value("select 1").await, "1");
    assert_eq!(codes(&refusal(&room, &room.stage().password).await.hello), ["28P01"], "that is PostgreSQL's");
}

#[tokio::test]
async fn beside_a_command_the_connections_password_is_the_clients() {
    let (vault, stage) = (Vault::new(), Stage::shared().await);
    vault.put("pw", &stage.password);
    let room = Greenroom::start()
        .on(stage)
        .set("backend.database.connection.password", THEIRS)
        .set("greenroom.passwordCommand.command", vault.command("cat pw"))
        .await;
    assert_eq!(client(&room).await.value("select 1").await, "1");
}

#[tokio::test]
async fn without_a_password_of_their_own_clients_prove_what_the_file_says_now() {
    let (vault, stage) = (Vault::new(), Stage::shared().await);
    vault.put("pw", &stage.password);
    let file = json!({ "$file": vault.path("pw") });
    let room = Greenroom::start().on(stage).set("backend.database.connection.password", file).await;
    let old = room.stage().password.clone();
    let early = Client::connect(room.address(), &room.login, &old, "backstage_plugin_catalog").await;
    vault.put("pw", "the next one");
    rotate(room.stage(), "the next one").await;
    assert_eq!(codes(&refusal(&room, &old).await.hello), ["28P01"]);
    assert_eq!(codes(&refusal(&room, "the next one").await.hello), [] as [&str; 0]);
    assert_eq!(early.value("select 1").await, "1", "whoever is in stays in");
    // While the file cannot be read, the last text stays.
    std::fs::remove_file(vault.path("pw")).expect("it is there");
    assert_eq!(codes(&refusal(&room, "the next one").await.hello), [] as [&str; 0]);
    assert!(renewals(&room, "file", "failed").await >= 1.0);
}

#[tokio::test]
async fn a_plugin_may_have_a_command_and_clients_of_its_own() {
    let (vault, stage) = (Vault::new(), Stage::shared().await);
    let own = format!("{}_own", stage.login);
    stage.sql(&format!("create role {own} login password 'its own'; grant {} to {own}", stage.login)).await;
    vault.put("pw", "its own");
    let room = Greenroom::start()
        .on(stage)
        .set("backend.database.plugin.auth.connection.user", own.clone())
        .set("greenroom.plugin.auth.passwordCommand.command", vault.command("cat pw"))
        .set("greenroom.plugin.auth.clientPassword", "only auth's")
        .await;
    let auth = Client::connect(room.address(), &own, "only auth's", "backstage_plugin_auth").await;
    assert_eq!(auth.value("select current_user").await, own);
    assert_eq!(room.client("catalog").await.value("select current_user").await, room.login);
    assert!(vault.runs()[0].starts_with(&own));
}

/// The real program, for its log.
#[tokio::test]
async fn no_secret_is_in_the_log() {
    use std::process::Stdio;
    use tokio::io::AsyncReadExt as _;

    let (vault, stage) = (Vault::new(), Stage::shared().await);
    vault.put("pw", "geheim eins");
    rotate(&stage, "geheim eins").await;
    // A tool that talks: what it says when it ends well is nobody's business, and a password in a failure is masked.
    let script = "cat pw; echo chatter >&2; test -e broken && { echo cannot use $(cat pw) >&2; exit 4; }; :";
    let config = json!({
        "backend": { "database": { "client": "pg", "connection": {
            "type": "rds", "region": "eu-west-1", "host": "127.0.0.1", "port": stage.postgres().port(),
            "user": stage.login, "database": stage.database,
        } } },
        "greenroom": {
            "division": "schema", "http": { "port": 0 }, "log": { "level": "trace" },
            "clientPassword": { "$file": "theirs" },
            "listen": [{ "socket": vault.0.path(), "port": 7432 }],
            "passwordCommand": { "command": vault.command(script), "validForMillis": 1000 },
            "pool": { "maxConnectionLifetimeMillis": 20 },
        },
    });
    vault.put("greenroom.yaml", &config.to_string());
    vault.put("theirs", THEIRS);
    let mut greenroom = tokio::process::Command::new(env!("CARGO_BIN_EXE_greenroom"))
        .args(["serve", "--config"])
        .arg(vault.path("greenroom.yaml"))
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary is built with the tests");
    let mut stderr = greenroom.stderr.take().expect("it is piped");
    let reading = tokio::spawn(async move {
        let mut log = String::new();
        stderr.read_to_string(&mut log).await.map(|_| log)
    });
    let socket = vault.path(".s.PGSQL.7432");
    eventually("greenroom listens", async || socket.exists()).await;
    let address = greenroom::config::ListenAddress::Unix { directory: vault.0.path().into(), port: 7432 };
    let client = Client::connect(&address, &stage.login, THEIRS, "backstage_plugin_catalog").await;
    assert_eq!(client.value("select 1").await, "1");
    for password in ["geheim zwei", "geheim drei"] {
        vault.put("pw", password);
        rotate(&stage, password).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(client.value("select 1").await, "1");
    }
    let startup = Startup::new(&stage.login, THEIRS, "backstage_plugin_catalog");
    std::fs::remove_file(vault.path("theirs")).expect("it is there");
    for _ in 0..3 {
        RawClient::log_in(&address, &startup).await;
    }
    vault.put("broken", "");
    eventually("the failure is met", async || {
        let pool_is_empty = client.simple_query("select 1").await.is_err();
        pool_is_empty || !codes(&RawClient::try_log_in(&address, &startup).await.hello).is_empty()
    })
    .await;
    greenroom.kill().await.expect("it runs");
    let log = reading.await.expect("read").expect("text");
    assert!(log.contains("sh failed (exit status: 4): chatter cannot use ***"), "{log}");
    assert_eq!(log.matches("cannot read the password in the file").count(), 1, "it is told once: {log}");
    for secret in ["geheim", THEIRS] {
        assert!(!log.contains(secret), "{log}");
    }
}
