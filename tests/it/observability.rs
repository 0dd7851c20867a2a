//! What an operator sees: metrics that are there and true, and health.

use crate::harness::frames::extended;
use crate::harness::{Greenroom, RawClient, Startup, eventually, get};

const CATALOG: &str = "plugin=\"catalog\"";

#[tokio::test]
async fn what_plugins_did_is_counted_under_their_names() {
    let room = Greenroom::start().await;
    let mut client = room.raw("catalog").await;
    client.run("begin").await;
    client.run("select 1").await;
    let metrics = room.metrics().await;
    assert_eq!(metrics.sum("greenroom_leases", &[CATALOG]), 1.0);
    assert_eq!(metrics.sum("greenroom_client_connections", &[CATALOG]), 1.0);
    client.run("commit").await;
    client.ask(&extended("select 1", &[])).await;
    let metrics = room.metrics().await;
    assert_eq!(metrics.sum("greenroom_transactions_total", &[CATALOG]), 2.0);
    assert_eq!(metrics.sum("greenroom_queries_total", &[CATALOG]), 4.0);
    assert_eq!(metrics.sum("greenroom_transaction_seconds_count", &[CATALOG]), 2.0);
    // One more by the login, which made the schema.
    assert_eq!(metrics.sum("greenroom_acquire_seconds_count", &[CATALOG]), 3.0);
    assert_eq!(metrics.sum("greenroom_leases", &[]), 0.0);
    for direction in ["received", "sent"] {
        let bytes = metrics.sum("greenroom_bytes_total", &[CATALOG, &format!("direction=\"{direction}\"")]);
        assert!(bytes > 40.0, "{direction}: {bytes}");
    }
}

#[tokio::test]
async fn servers_are_counted_as_postgresql_counts_them() {
    let room = Greenroom::start().await;
    let (one, two) = (room.client("catalog").await, room.client("auth").await);
    one.run("begin").await;
    two.run("begin").await;
    let database = format!("database=\"{}\"", room.stage().database);
    let metrics = room.metrics().await;
    let counted = metrics.sum("greenroom_server_connections", &[&database]);
    assert_eq!(counted, room.stage().connections().await as f64);
    assert_eq!(metrics.sum("greenroom_server_connections", &[&database, "state=\"leased\""]), 2.0);
    assert!(metrics.sum("greenroom_server_connects_total", &["result=\"ok\""]) >= 2.0);
}

#[tokio::test]
async fn logins_are_counted_by_how_they_ended() {
    let room = Greenroom::start().await;
    room.client("catalog").await.run("select 1").await;
    let wrong = Startup::new(&room.login, "something else", "backstage_plugin_catalog");
    RawClient::try_log_in(room.address(), &wrong).await;
    let metrics = room.metrics().await;
    assert_eq!(metrics.sum("greenroom_client_logins_total", &[CATALOG, "result=\"ok\""]), 1.0);
    assert_eq!(metrics.sum("greenroom_client_logins_total", &[CATALOG, "result=\"denied\""]), 1.0);
    eventually("clients that left are not counted", async || {
        room.metrics().await.sum("greenroom_client_connections", &[]) == 0.0
    })
    .await;
}

#[tokio::test]
async fn every_metric_of_the_list_is_there() {
    let room = Greenroom::start().servers(1).auth("trust").await;
    let client = room.client("catalog").await;
    client.run("create temp table t ()").await;
    let pinned = async || room.metrics().await.sum("greenroom_pinned_sessions", &[]) == 1.0;
    eventually("the session is pinned", pinned).await;
    drop(client);
    room.client("catalog").await.run("select 1").await;
    let metrics = room.metrics().await;
    for name in [
        "greenroom_build_info",
        "greenroom_client_connections",
        "greenroom_client_logins_total",
        "greenroom_server_connections",
        "greenroom_server_connects_total",
        "greenroom_server_closed_total",
        "greenroom_leases",
        "greenroom_acquire_seconds_bucket",
        "greenroom_acquire_waiting",
        "greenroom_acquire_timeouts_total",
        "greenroom_transactions_total",
        "greenroom_transaction_seconds_sum",
        "greenroom_queries_total",
        "greenroom_public_references_total",
        "greenroom_bytes_total",
        "greenroom_pins_total",
        "greenroom_pinned_sessions",
        "process_resident_memory_bytes",
    ] {
        assert!(metrics.has(name), "{name} is missing");
    }
}

#[tokio::test]
async fn health_is_told_over_http() {
    let room = Greenroom::start().await;
    assert_eq!(get(room.http, "/livez").await.0, 200);
    assert_eq!(get(room.http, "/readyz").await.0, 200);
    assert_eq!(get(room.http, "/").await.0, 200);
    assert_eq!(get(room.http, "/nothing").await.0, 404);
}
