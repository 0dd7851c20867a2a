//! A changed configuration: limits are in force at once and nobody notices; what cannot change is named.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};
use tokio::time::sleep;

use crate::harness::{Client, Greenroom, Log, Metrics, Room, Stage, codes, eventually};

async fn waiting(room: &Room) -> f64 {
    room.metrics().await.sum("greenroom_acquire_waiting", &[])
}

async fn reloads(room: &Room, result: &str) -> f64 {
    room.metrics().await.sum("greenroom_config_reloads_total", &[&format!("result=\"{result}\"")])
}

/// The value of a limit, as /metrics says.
async fn limit(room: &Room, family: &str, name: &str) -> f64 {
    room.metrics().await.sum(family, &[&format!("limit=\"{name}\"")])
}

#[tokio::test]
async fn a_max_that_is_raised_serves_those_who_wait_at_once() {
    let log = Log::begin();
    let mut room = Greenroom::start().pool("catalog", |limits| limits.max(1)).await;
    let holder = room.client("catalog").await;
    holder.run("begin; select 1").await;
    let waiters = [room.client("catalog").await, room.client("catalog").await];
    let served = join_all(waiters.iter().map(|client| client.value("select 1")));
    let raised = async {
        eventually("both wait", async || waiting(&room).await == 2.0).await;
        room.reload(|greenroom| greenroom.pool("catalog", |limits| limits.max(3)));
        room
    };
    let (answers, room) = tokio::join!(served, raised);
    assert_eq!(answers, ["1", "1"]);
    holder.run("commit").await;
    assert_eq!(limit(&room, "greenroom_pool_limit", "max").await, 3.0);
    assert_eq!(reloads(&room, "ok").await, 1.0);
    let told = log.lines(&["INFO", "its limits are in force", "greenroom.plugin.catalog.pool.max: 1 -> 3"]);
    assert_eq!(told.len(), 1);
}

#[tokio::test]
async fn a_ceiling_that_is_lowered_is_come_down_to_under_load_and_nobody_is_told_an_error() {
    const HIGH: usize = 8;
    const LOW: usize = 3;
    let mut room = Greenroom::start().auth("trust").servers(HIGH as u32).set("greenroom.reservedConnections", 0).await;
    let plugins: Vec<String> = (0..6).map(|n| format!("p{n}")).collect();
    let clients = join_all((0..24).map(|n| room.client(&plugins[n % plugins.len()]))).await;
    let holder = room.client("holder").await;
    holder.run("create table item (id int); begin; insert into item values (1)").await;
    let stop = AtomicBool::new(false);
    // A statement that fails is a panic.
    let load = join_all(clients.iter().map(async |client| {
        while !stop.load(Ordering::Relaxed) {
            client.run("begin; select pg_sleep(0.05); commit").await;
        }
    }));
    let lowering = async {
        eventually("most are used", async || room.stage().connections().await > LOW + 2).await;
        room.reload(|greenroom| greenroom.servers(LOW as u32));
        let mut last = room.stage().connections().await;
        while last > LOW {
            sleep(Duration::from_millis(5)).await;
            let now = room.stage().connections().await;
            assert!(now <= last, "{now} after {last}: it only ever falls");
            last = now;
        }
        for _ in 0..50 {
            sleep(Duration::from_millis(5)).await;
            assert!(room.stage().connections().await <= LOW);
        }
        let metrics = room.metrics().await;
        assert!(metrics.sum("greenroom_server_closed_total", &["reason=\"ceiling\""]) > 0.0);
        room.reload(|greenroom| greenroom.servers(HIGH as u32));
        eventually("more are used again", async || room.stage().connections().await > LOW).await;
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(load, lowering);
    holder.run("commit").await;
    assert_eq!(holder.value("select count(*) from item").await, "1", "whoever held a server kept it");
    assert_eq!(room.metrics().await.sum("greenroom_acquire_timeouts_total", &[]), 0.0);
}

#[tokio::test]
async fn idle_servers_above_a_lowered_ceiling_are_closed_without_anybody_asking() {
    let mut room = Greenroom::start().auth("trust").servers(4).await;
    let clients = join_all((0..4).map(|_| room.client("catalog"))).await;
    join_all(clients.iter().map(|client| client.run("select pg_sleep(0.2)"))).await;
    assert!(room.stage().connections().await > 1);
    room.reload(|greenroom| greenroom.servers(1));
    eventually("one is left", async || room.stage().connections().await == 1).await;
    assert_eq!(limit(&room, "greenroom_server_limit", "maxServerConnections").await, 1.0);
    assert_eq!(clients[0].value("select 1").await, "1");
}

#[tokio::test]
async fn the_limits_of_a_shared_pool_are_those_of_its_plugins_as_they_are_now() {
    let patient = |limits: crate::harness::Limits| limits.with("min", 3).with("idleTimeoutMillis", 600_000);
    let mut room = Greenroom::start().auth("trust").pool("catalog", patient).await;
    let clients = [room.client("catalog").await, room.client("catalog").await, room.client("search").await];
    join_all(clients.iter().map(|client| client.run("select pg_sleep(0.2)"))).await;
    assert!(room.stage().connections().await > 1);
    // The largest floor and the longest time were the catalog's.
    let eager = |limits: crate::harness::Limits| {
        limits.with("min", 1).with("idleTimeoutMillis", 100).with("reapIntervalMillis", 50)
    };
    room.reload(|greenroom| greenroom.pool("catalog", eager).every_pool(eager));
    eventually("one is left", async || room.stage().connections().await == 1).await;
}

#[tokio::test]
async fn connections_that_are_older_than_the_new_lifetime_are_closed() {
    let mut room = Greenroom::start().await;
    let client = room.client("catalog").await;
    let old = client.server_pid().await;
    room.reload(|greenroom| greenroom.every_pool(|limits| limits.with("maxConnectionLifetimeMillis", 1)));
    eventually("it is closed", async || {
        room.metrics().await.sum("greenroom_server_closed_total", &["reason=\"lifetime\""]) > 0.0
    })
    .await;
    assert_ne!(client.server_pid().await, old);
}

#[tokio::test]
async fn limits_in_time_count_for_clients_that_are_there_already() {
    let mut room = Greenroom::start().await;
    let (mut in_transaction, mut at_rest) = (room.raw("catalog").await, room.raw("search").await);
    in_transaction.run("begin").await;
    at_rest.run("select 1").await;
    room.reload(|greenroom| {
        greenroom.set("greenroom.timeouts.idleInTransactionMillis", 100).set("greenroom.timeouts.idleClientMillis", 200)
    });
    assert_eq!(codes(&in_transaction.until_closed().await), ["25P03"]);
    assert_eq!(codes(&at_rest.until_closed().await), ["57P05"]);
    // And for a drain that begins now.
    room.reload(|greenroom| {
        greenroom
            .set("greenroom.timeouts.idleInTransactionMillis", 0)
            .set("greenroom.timeouts.idleClientMillis", 0)
            .set("greenroom.shutdownGraceMillis", 200)
    });
    let mut busy = room.raw("catalog").await;
    busy.run("begin").await;
    sleep(Duration::from_millis(300)).await;
    busy.run("select 1").await;
    room.stop();
    assert_eq!(codes(&busy.until_closed().await), ["57P01"]);
    room.stopped().await;
}

#[tokio::test]
async fn a_shorter_acquire_timeout_counts_for_sessions_that_are_there_already() {
    let mut room = Greenroom::start().pool("catalog", |limits| limits.max(1)).await;
    let holder = room.client("catalog").await;
    let waiter = room.client("catalog").await;
    holder.run("begin; select 1").await;
    let short = |limits: crate::harness::Limits| limits.max(1).acquire_timeout(Duration::from_millis(100));
    room.reload(|greenroom| greenroom.pool("catalog", short));
    assert_eq!(waiter.failure("select 1").await, "53300");
}

#[tokio::test]
async fn a_mistake_changes_nothing_and_is_told_with_its_place() {
    let log = Log::begin();
    let mut room = Greenroom::start().pool("catalog", |limits| limits.max(1)).await;
    let client = room.client("catalog").await;
    let read = room.metrics().await.sum("greenroom_config_last_success_timestamp_seconds", &[]);
    assert!(read > 1.6e9, "{read}");
    for (text, told) in [
        ("backend: [", ": not valid YAML: "),
        ("{}", "backend.database: missing, so Backstage keeps everything in better-sqlite3"),
    ] {
        room.reload_text(text);
        let found = log.lines(&["ERROR", "the changed configuration is not used", told]);
        assert_eq!(found.len(), 1, "{told}: {:?}", log.lines(&["ERROR"]));
    }
    // One mistake beside a limit that would be right.
    room.reload(|greenroom| greenroom.pool("catalog", |limits| limits.max(5)).set("greenroom.maxServerConections", 3));
    let told = ["ERROR", "greenroom.maxServerConections: unknown key, did you mean maxServerConnections?"];
    assert_eq!(log.lines(&told).len(), 1);
    assert_eq!(limit(&room, "greenroom_pool_limit", "max").await, 1.0);
    assert_eq!(client.value("select 1").await, "1");
    assert_eq!((reloads(&room, "failed").await, reloads(&room, "ok").await), (3.0, 0.0));
    assert!(log.lines(&["in force"]).is_empty());
}

#[tokio::test]
async fn what_needs_a_restart_is_named_and_the_limits_beside_it_are_in_force() {
    let log = Log::begin();
    let mut room = Greenroom::start().await;
    let client = room.client("catalog").await;
    let elsewhere = |greenroom: Greenroom| {
        greenroom
            .set("backend.database.connection.port", 1)
            .set("greenroom.listen.0.port", 7001)
            .set("greenroom.plugin.search.division", "database")
            .servers(5)
    };
    room.reload(elsewhere);
    let keys = "backend.database.connection.port, greenroom.listen[0].port, greenroom.plugin.search.division";
    assert_eq!(log.lines(&["WARN", "they need a restart", keys]).len(), 1);
    assert_eq!(limit(&room, "greenroom_server_limit", "maxServerConnections").await, 5.0);
    assert_eq!(client.value("select 1").await, "1");
    assert_eq!(room.client("search").await.value("select current_schema()").await, "search");
    // Until they are taken back they are named each time.
    room.reload(|greenroom| greenroom.servers(6));
    assert_eq!(log.lines(&["WARN", "they need a restart", keys]).len(), 2);
    assert_eq!((reloads(&room, "partial").await, reloads(&room, "ok").await), (2.0, 0.0));
}

/// The program with a configuration file of its own, and its log.
struct Served {
    program: Child,
    log: Arc<parking_lot::Mutex<String>>,
    http: std::net::SocketAddr,
}

impl Served {
    async fn start(file: &Path, http: u16) -> Self {
        let mut program = Command::new(env!("CARGO_BIN_EXE_greenroom"))
            .args(["serve", "--config"])
            .arg(file)
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary is built with the tests");
        let mut stderr = program.stderr.take().expect("it is piped");
        let log = Arc::<parking_lot::Mutex<String>>::default();
        let writing = Arc::clone(&log);
        tokio::spawn(async move {
            let mut text = String::new();
            let mut bytes = [0; 4096];
            while let Ok(len @ 1..) = stderr.read(&mut bytes).await {
                text.push_str(&String::from_utf8_lossy(&bytes[..len]));
                writing.lock().clone_from(&text);
            }
        });
        let served = Self { program, log, http: ([127, 0, 0, 1], http).into() };
        served.says("ready").await;
        served
    }

    async fn says(&self, words: &str) {
        eventually(words, async || self.log.lock().contains(words)).await;
    }

    async fn signal(&self, name: &str) {
        let pid = self.program.id().expect("it runs").to_string();
        let told = Command::new("kill").args([&format!("-{name}"), &pid]).status().await.expect("kill is there");
        assert!(told.success());
    }
}

#[tokio::test]
async fn sighup_and_a_changed_file_are_noticed_by_the_program() {
    let (dir, stage) = (tempfile::tempdir().expect("a directory"), Stage::shared().await);
    let put = |name: &str, text: &str| {
        std::fs::write(dir.path().join("new"), text).expect("a file");
        std::fs::rename(dir.path().join("new"), dir.path().join(name)).expect("a rename");
    };
    let [http] = free_ports();
    let config = json!({
        "backend": { "database": { "client": "pg", "connection": {
            "host": "127.0.0.1", "port": stage.postgres().port(),
            "user": stage.login, "password": stage.password, "database": stage.database,
        } } },
        "greenroom": {
            "division": "schema",
            "http": { "port": http },
            "listen": [{ "socket": dir.path(), "port": 7432 }],
            "pool": { "$include": "pool.yaml" },
        },
    });
    put("greenroom.yaml", &config.to_string());
    put("pool.yaml", "max: 1");
    let mut served = Served::start(&dir.path().join("greenroom.yaml"), http).await;
    let address = greenroom::config::ListenAddress::Unix { directory: dir.path().into(), port: 7432 };
    let client = Client::connect(&address, &stage.login, &stage.password, "backstage_plugin_catalog").await;
    let limit = async || Metrics::read(served.http).await.sum("greenroom_pool_limit", &["limit=\"max\""]);
    assert_eq!(limit().await, 1.0);

    put("pool.yaml", "max: 2");
    served.signal("HUP").await;
    served.says("greenroom.pool.max: 1 -> 2").await;
    assert_eq!(limit().await, 2.0);

    put("pool.yaml", "max: 0");
    served.says("pool.yaml:1: max: found 0, expected a whole number above 0").await;
    assert_eq!(limit().await, 2.0);

    put("pool.yaml", "max: 3");
    served.says("greenroom.pool.max: 2 -> 3").await;
    assert_eq!(limit().await, 3.0);
    assert_eq!(client.value("select 1").await, "1", "it is the same process, and the same session");

    // The level of the log is a limit, too.
    let mut quiet = config.clone();
    quiet["greenroom"]["log"] = json!({ "level": "debug" });
    put("greenroom.yaml", &quiet.to_string());
    served.says("greenroom.log.level: unset -> debug").await;
    drop(client);
    Client::connect(&address, &stage.login, &stage.password, "backstage_plugin_search")
        .await
        .run("create temp table t ()")
        .await;
    served.says("DEBUG").await;
    served.signal("TERM").await;
    let ended = crate::harness::soon("its end", served.program.wait()).await.expect("a status");
    assert!(ended.success(), "{ended}");
}

/// Ports that nobody listens on.
fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| std::net::TcpListener::bind("127.0.0.1:0").expect("a port"));
    listeners.each_ref().map(|listener| listener.local_addr().expect("an address").port())
}
