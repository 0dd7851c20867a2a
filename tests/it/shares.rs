//! What plugins get when there is not enough for all, on a real PostgreSQL.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::time::sleep;

use crate::harness::{Greenroom, Room, Stage, eventually};

/// The highest number of connections that PostgreSQL counts for the stage's login while `during` lasts, looked at every 10 ms.
async fn most_connections<T>(stage: &Stage, during: impl Future<Output = T>) -> (usize, T) {
    let mut during = std::pin::pin!(during);
    let mut most = 0;
    loop {
        tokio::select! {
            done = &mut during => return (most, done),
            () = sleep(Duration::from_millis(10)) => most = most.max(stage.connections().await),
        }
    }
}

async fn leases(room: &Room, plugin: &str) -> f64 {
    room.metrics().await.sum("greenroom_leases", &[&format!("plugin=\"{plugin}\"")])
}

#[tokio::test]
async fn long_transactions_of_one_plugin_do_not_lock_the_others_out() {
    let room = Greenroom::start().servers(8).auth("trust").pool("search", |limits| limits.max(20)).await;
    let indexers = join_all((0..8).map(|_| room.client("search"))).await;
    let holders = indexers.iter().map(async |client| client.run("begin; select 1").await);
    let all = join_all(holders);
    let others = async {
        eventually("the indexers hold all they may", async || leases(&room, "search").await == 6.0).await;
        let catalog = room.client("catalog").await;
        for _ in 0..20 {
            assert_eq!(catalog.value("select 1").await, "1");
        }
        // Two indexers still wait: they may go on when others have ended.
        assert_eq!(leases(&room, "search").await, 6.0);
        join_all(indexers.iter().take(6).map(async |client| client.run("commit").await)).await;
    };
    // The last two get their servers when the first have committed; a client's commit waits behind its begin.
    tokio::join!(all, others);
    assert_eq!(leases(&room, "search").await, 2.0);
}

#[tokio::test]
async fn a_storm_of_logins_opens_no_more_at_a_time_than_is_allowed() {
    let room = Greenroom::start().servers(12).auth("trust").set("greenroom.maxParallelConnects", 2).await;
    let plugins: Vec<String> = (0..30).map(|n| format!("p{n}")).collect();
    let storm = join_all((0..300).map(|n| {
        let (room, plugin) = (&room, &plugins[n % plugins.len()]);
        async move { room.client(plugin).await.value("select current_schema()").await }
    }));
    let (most, schemas) = most_connections(room.stage(), storm).await;
    assert!(most <= 12, "{most} connections");
    for (n, schema) in schemas.iter().enumerate() {
        assert_eq!(*schema, plugins[n % plugins.len()]);
    }
}

#[tokio::test]
async fn a_greedy_plugin_leaves_the_polite_ones_their_turns() {
    let room = Greenroom::start().servers(4).auth("trust").set("greenroom.reservedConnections", 1).await;
    let greedy = join_all((0..40).map(|_| room.client("greedy"))).await;
    let polite = join_all((0..5).map(|n| room.client(["a", "b", "c", "d", "e"][n]))).await;
    let until = Instant::now() + Duration::from_secs(3);
    let load = join_all(greedy.iter().map(async |client| {
        while Instant::now() < until {
            client.run("select pg_sleep(0.01)").await;
        }
    }));
    let turns = join_all(polite.iter().map(async |client| {
        let mut waits = Vec::new();
        while Instant::now() < until {
            let began = Instant::now();
            client.run("select 1").await;
            waits.push(began.elapsed());
            sleep(Duration::from_millis(20)).await;
        }
        waits.sort_unstable();
        waits[waits.len() / 2]
    }));
    let (_, medians) = tokio::join!(load, turns);
    // First come, first served it would be the queue: forty transactions of 10 ms on four servers, 100 ms.
    for median in medians {
        assert!(median < Duration::from_millis(50), "{median:?}");
    }
}

#[tokio::test]
async fn a_timeout_tells_who_holds_the_connections_and_for_how_long() {
    let limits = |limits: crate::harness::Limits| limits.max(5).acquire_timeout(Duration::from_millis(300));
    let room = Greenroom::start().servers(1).auth("trust").every_pool(limits).await;
    let holder = room.client("search").await;
    holder.run("begin; select 1").await;
    sleep(Duration::from_millis(200)).await;
    let mut waiting = room.raw("search").await;
    let replies = waiting.query("select 1").await;
    let field = |code| replies[0].field(code).unwrap_or_default();
    assert_eq!(field(b'C'), "53300", "{replies:?}");
    let detail = field(b'D');
    let held = detail.split("search 1 (one for ").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<f64>().ok());
    assert!(held.is_some_and(|seconds| (0.4..5.0).contains(&seconds)), "{detail}");
    assert!(field(b'H').contains("greenroom.maxServerConnections (1)"), "{}", field(b'H'));
}

#[tokio::test]
async fn an_eviction_and_the_limits_are_numbers() {
    let stage = Stage::shared().await;
    let (one, other) = (format!("{}_one", stage.database), format!("{}_other", stage.database));
    stage.create_database(&one).await;
    stage.create_database(&other).await;
    let room = Greenroom::start()
        .on(stage)
        .servers(1)
        .set("greenroom.division", "database")
        .set("greenroom.unknownDatabases", "passthrough")
        .set("greenroom.plugin.catalog.weight", 4)
        .await;
    let connect = async |database: &str| {
        let client = crate::harness::RawClient::log_in(room.address(), &room.stage().startup(database)).await;
        drop(client);
    };
    connect(&one).await;
    connect(&other).await;
    let metrics = room.metrics().await;
    let labels = [format!("from=\"{one}\""), format!("to=\"{other}\"")];
    assert_eq!(metrics.sum("greenroom_evictions_total", &labels.each_ref().map(String::as_str)), 1.0);
    assert_eq!(metrics.sum("greenroom_server_limit", &["limit=\"maxServerConnections\""]), 1.0);
    let full = async || room.metrics().await.sum("greenroom_server_at_ceiling_seconds_total", &[]) > 0.0;
    eventually("time at the ceiling is counted", full).await;
    let still = format!("select count(*) from pg_stat_activity where datname = '{one}'");
    assert_eq!(room.stage().sql(&still).await, ["0"], "a place is free only when PostgreSQL has ended the connection");
}
