//! What plugins get when there is not enough for all, on a real PostgreSQL.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::time::sleep;

use crate::harness::{Greenroom, RawClient, Room, Stage, eventually};

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
    let (holder, mut waiting) = (room.client("search").await, room.raw("catalog").await);
    holder.run("begin; select 1").await;
    sleep(Duration::from_millis(200)).await;
    let replies = waiting.query("select 1").await;
    let field = |code| replies[0].field(code).unwrap_or_default();
    assert_eq!(field(b'C'), "53300", "{replies:?}");
    assert_eq!(field(b'M'), "no server connection was free for plugin catalog within 300ms");
    let detail = field(b'D');
    let use_and_limits =
        "Plugin catalog holds 0 of 5 leases; 1 of 1 server connections are open; leases by plugin: search 1 (";
    assert!(detail.starts_with(use_and_limits), "{detail}");
    let held = detail.split("search 1 (one for ").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<f64>().ok());
    assert!(held.is_some_and(|seconds| (0.4..5.0).contains(&seconds)), "{detail}");
    assert!(field(b'H').contains("greenroom.maxServerConnections (1)"), "{}", field(b'H'));
}

#[tokio::test]
async fn a_timeout_names_the_setting_that_would_have_helped() {
    let short = |limits: crate::harness::Limits| limits.acquire_timeout(Duration::from_millis(300));
    let room = Greenroom::start()
        .servers(4)
        .auth("trust")
        .every_pool(short)
        .pool("search", |limits| short(limits).max(2))
        .set("greenroom.reservedConnections", 1)
        .await;
    let plugins = ["search", "search", "auth", "events"];
    let holders = join_all(plugins.iter().map(|plugin| room.client(plugin))).await;
    let hint = async |plugin: &str| {
        let replies = room.raw(plugin).await.query("select 1").await;
        assert_eq!(replies[0].code().as_deref(), Some("53300"), "{replies:?}");
        replies[0].field(b'H').unwrap_or_default()
    };
    join_all(holders[..2].iter().map(|holder| holder.run("begin"))).await;
    assert_eq!(
        hint("search").await,
        "End transactions sooner, or raise greenroom.plugin.search.pool.max (2) or greenroom.pool.max."
    );
    holders[2].run("begin").await;
    // The last place is for those who hold none.
    assert_eq!(
        hint("auth").await,
        "End transactions sooner, or raise greenroom.maxServerConnections (4) or lower greenroom.reservedConnections (1)."
    );
    let catalog = room.client("catalog").await;
    catalog.run("begin").await;
    assert_eq!(hint("events").await, "End transactions sooner, or raise greenroom.maxServerConnections (4).");
}

#[tokio::test]
async fn the_waits_of_each_plugin_are_in_its_histogram() {
    let room = Greenroom::start().servers(1).auth("trust").await;
    let (holder, waiter) = (room.client("search").await, room.client("catalog").await);
    let of = async |plugin: &str| {
        let (metrics, plugin) = (room.metrics().await, format!("plugin=\"{plugin}\""));
        let short = metrics.sum("greenroom_acquire_seconds_bucket", &[&plugin, "le=\"0.25\""]);
        let all = metrics.sum("greenroom_acquire_seconds_count", &[&plugin]);
        (all - short, metrics.sum("greenroom_acquire_seconds_sum", &[&plugin]))
    };
    let (before, others) = (of("catalog").await, of("search").await);
    holder.run("begin").await;
    tokio::join!(waiter.run("select 1"), async {
        sleep(Duration::from_millis(400)).await;
        holder.run("commit").await;
    });
    let after = of("catalog").await;
    assert_eq!(after.0 - before.0, 1.0, "one more wait of more than 250 ms");
    assert!(after.1 - before.1 >= 0.35, "{} s", after.1 - before.1);
    assert_eq!(of("search").await.0, others.0, "it is no other plugin's");
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
        .set("greenroom.plugin.catalog.pool", serde_json::json!({ "min": 1, "max": 7 }))
        .set("greenroom.maxParallelConnects", 3)
        .await;
    let connect = async |database: &str| {
        let client = RawClient::log_in(room.address(), &room.stage().startup(database)).await;
        drop(client);
    };
    connect(&one).await;
    connect(&other).await;
    let metrics = room.metrics().await;
    let labels = [format!("from=\"{one}\""), format!("to=\"{other}\"")];
    assert_eq!(metrics.sum("greenroom_evictions_total", &labels.each_ref().map(String::as_str)), 1.0);
    // Of one place none can be reserved.
    for (limit, value) in [("maxServerConnections", 1.0), ("reservedConnections", 0.0), ("maxParallelConnects", 3.0)] {
        assert_eq!(metrics.sum("greenroom_server_limit", &[&format!("limit=\"{limit}\"")]), value, "{limit}");
    }
    // A plugin is known once it has tried to log in, be its database there or not.
    RawClient::try_log_in(room.address(), &room.startup("catalog")).await;
    let metrics = room.metrics().await;
    for (limit, value) in [("min", 1.0), ("max", 7.0), ("weight", 4.0)] {
        let labels = ["plugin=\"catalog\"", &format!("limit=\"{limit}\"")];
        assert_eq!(metrics.sum("greenroom_pool_limit", &labels), value, "{limit}");
    }
    let full = async || room.metrics().await.sum("greenroom_server_at_ceiling_seconds_total", &[]) > 0.0;
    eventually("time at the ceiling is counted", full).await;
    let still = format!("select count(*) from pg_stat_activity where datname = '{one}'");
    assert_eq!(room.stage().sql(&still).await, ["0"], "a place is free only when PostgreSQL has ended the connection");
}
