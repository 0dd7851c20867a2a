//! PostgreSQL never counts more connections than `maxServerConnections`, whatever clients do and whatever fails.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use greenroom::config::ListenAddress;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::sleep;

use crate::harness::{
    Client, Greenroom, Observer, RawClient, Room, Stage, Startup, Wild, codes, eventually, frames::query, logical, seed,
};

const CEILING: usize = 6;
const PLUGINS: u32 = 8;

/// A login that one plugin has for itself: a pool more under the same ceiling.
const OTHER_LOGIN: &str = "another";

/// A PostgreSQL of its own with a database for every plugin.
async fn stage() -> Stage {
    let stage = Stage::own(&[]).await;
    let login = &stage.login;
    stage.sql(&format!("create role {OTHER_LOGIN} login password 'secret'; grant {login} to {OTHER_LOGIN}")).await;
    for n in 0..PLUGINS {
        stage.create_database(&logical(&format!("p{n}"))).await;
    }
    stage
}

/// Few servers, and limits short enough to be met.
fn greenroom(stage: Stage, division: &str) -> Greenroom {
    Greenroom::start()
        .on(stage)
        .auth("trust")
        .servers(CEILING as u32)
        .set("greenroom.division", division)
        .set("greenroom.shutdownGraceMillis", 300)
        .set("greenroom.timeouts.idleInTransactionMillis", 100)
        .set("greenroom.timeouts.transactionMillis", 250)
        .set("backend.database.plugin.p0.connection.user", OTHER_LOGIN)
        .set("backend.database.plugin.p0.connection.password", "secret")
        .every_pool(|limits| {
            limits
                .max(4)
                .acquire_timeout(Duration::from_millis(400))
                .with("idleTimeoutMillis", 100)
                .with("reapIntervalMillis", 50)
                .with("maxConnectionLifetimeMillis", 500)
        })
}

/// Clients that come and go, one after the other, until the time is over.
async fn clients(address: &Mutex<ListenAddress>, login: &str, seed: u64, until: Instant) {
    let mut random = StdRng::seed_from_u64(seed);
    while Instant::now() < until {
        let client = match random.random_range(0..16) {
            // A place that nobody has seen yet, under one name or the other.
            0 => {
                let new = logical(&format!("n{}", random.random::<u32>()));
                let create = query(&format!("create database \"{new}\""));
                Wild::new(&mut random, &Startup::new(login, "", "postgres"), &[create])
            }
            1 => {
                let new = logical(&format!("n{}", random.random::<u32>()));
                Wild::new(&mut random, &Startup::new(login, "", &new), &[query("select 1")])
            }
            2 => Wild::new(&mut random, &Startup::new(OTHER_LOGIN, "", &logical("p0")), &[query("select 1")]),
            _ => Wild::any(&mut random, login, PLUGINS),
        };
        let address = address.lock().clone();
        client.live(&address).await;
    }
}

/// What an administrator may do to somebody's connections.
async fn failures(stage: &Stage, seed: u64, until: Instant) {
    let (mut random, login) = (StdRng::seed_from_u64(seed), &stage.login);
    while Instant::now() < until {
        sleep(Duration::from_millis(random.random_range(0..100))).await;
        match random.random_range(0..24) {
            0 => {
                stage.sql(&format!("alter role {login} connection limit 2")).await;
                sleep(Duration::from_millis(100)).await;
                stage.sql(&format!("alter role {login} connection limit -1")).await;
            }
            1 => {
                stage.sql(&format!("alter role {login} nologin")).await;
                sleep(Duration::from_millis(100)).await;
                stage.sql(&format!("alter role {login} login")).await;
            }
            _ => {
                let some = format!("usename in ('{login}', '{OTHER_LOGIN}') and random() < 0.4");
                stage.sql(&format!("select pg_terminate_backend(pid) from pg_stat_activity where {some}")).await;
            }
        }
    }
}

/// Shows that the observer would have seen one more: it sees all that there may be.
async fn fill(room: &Room, observer: &Observer) {
    eventually("the observer sees a full server", async || {
        let all = (1..=CEILING).map(async |n| {
            let database = logical(&format!("p{n}"));
            // After the last refusals of PostgreSQL it may take some seconds.
            if let Ok(client) = Client::try_connect(room.address(), &room.login, "", &database).await {
                let _ = client.simple_query("select pg_sleep(0.2)").await;
            }
        });
        join_all(all).await;
        observer.most() >= CEILING
    })
    .await;
}

/// What is left when everybody has gone is idle, and PostgreSQL counts the same.
async fn all_counts_come_back(room: &Room) {
    let gone = [
        ("greenroom_leases", ""),
        ("greenroom_acquire_waiting", ""),
        ("greenroom_client_connections", ""),
        ("greenroom_pinned_sessions", ""),
        ("greenroom_server_connections", "state=\"opening\""),
        ("greenroom_server_connections", "state=\"leased\""),
        ("greenroom_server_connections", "state=\"closing\""),
    ];
    for (name, label) in gone {
        eventually(&format!("{name} {label}"), async || room.metrics().await.sum(name, &[label]) == 0.0).await;
    }
    // The last ones are reaped.
    eventually("nothing is left at PostgreSQL", async || room.stage().connections().await == 0).await;
    eventually("greenroom counts none", async || room.metrics().await.sum("greenroom_server_connections", &[]) == 0.0)
        .await;
}

async fn churn(division: &str) {
    let (stage, seed) = (stage().await, seed());
    let observer = Observer::of(&stage, &[&stage.login, OTHER_LOGIN]);
    let room = greenroom(stage, division).await;
    let address = Mutex::new(room.address().clone());
    let until = Instant::now() + Duration::from_secs(5);
    let all = join_all((0..40).map(|n| clients(&address, &room.login, seed.wrapping_add(n), until)));
    tokio::join!(all, failures(room.stage(), seed, until));
    let full = room.metrics().await.sum("greenroom_server_at_ceiling_seconds_total", &[]);
    assert!(full > 0.1, "every place was taken for {full} seconds only");
    fill(&room, &observer).await;
    all_counts_come_back(&room).await;
    let (most, looks) = observer.end();
    assert!(most == CEILING && looks > 100, "{most} connections at once, at {looks} looks");
}

#[tokio::test]
async fn schemas_never_take_more_connections_than_they_may() {
    churn("schema").await;
}

#[tokio::test]
async fn databases_never_take_more_connections_than_they_may() {
    churn("database").await;
}

#[tokio::test]
async fn restarts_of_either_side_take_no_more_connections_than_they_may() {
    let (stage, seed) = (stage().await, seed());
    let observer = Observer::of(&stage, &[&stage.login, OTHER_LOGIN]);
    let mut room = greenroom(stage, "database").await;
    let address = Arc::new(Mutex::new(room.address().clone()));
    let until = Instant::now() + Duration::from_secs(60);
    let load: Vec<_> = (0..40)
        .map(|n| {
            let (address, login) = (Arc::clone(&address), room.login.clone());
            tokio::spawn(async move { clients(&address, &login, seed.wrapping_add(n), until).await })
        })
        .collect();
    for n in 0..6 {
        sleep(Duration::from_millis(700)).await;
        match n % 3 {
            0 => room.stage_mut().postgres_mut().restart().await.expect("PostgreSQL starts again"),
            1 => {
                room.stage_mut().postgres_mut().kill().await;
                room.stage_mut().postgres_mut().start_again().await.expect("PostgreSQL starts again");
            }
            _ => {
                // The next one begins as soon as this one has ended.
                room = greenroom(room.close().await, "database").await;
                *address.lock() = room.address().clone();
            }
        }
    }
    load.iter().for_each(tokio::task::JoinHandle::abort);
    fill(&room, &observer).await;
    all_counts_come_back(&room).await;
    let (most, looks) = observer.end();
    assert!(most == CEILING && looks > 100, "{most} connections at once, at {looks} looks");
}

/// PostgreSQL takes a cancel request before it looks for a place, so none has to be kept for it.
#[tokio::test]
async fn a_cancel_request_takes_no_place_and_gets_through_when_all_are_taken() {
    // Six, one for the observer, and two that only a superuser gets.
    let stage = Stage::own(&[("max_connections", "9"), ("superuser_reserved_connections", "2")]).await;
    let observer = Observer::of(&stage, &[&stage.login]);
    let room = Greenroom::start().on(stage).auth("trust").servers(6).set("greenroom.reservedConnections", 0).await;
    let mut clients = join_all((0..6).map(|_| room.raw("catalog"))).await;
    join_all(clients.iter_mut().map(async |client| client.send(&[query("select pg_sleep(60)")]).await)).await;
    eventually("all have a server", async || observer.most() == 6).await;
    let refused = RawClient::try_log_in(&room.stage().address(), &room.stage().startup("postgres")).await;
    assert_eq!(codes(&refused.hello), ["53300"], "nobody else gets a place from PostgreSQL");
    for client in &mut clients {
        RawClient::cancel(room.address(), &client.key()).await;
        assert_eq!(codes(&client.until(b'Z', 1).await), ["57014"]);
    }
    assert_eq!(observer.end().0, 6);
}
