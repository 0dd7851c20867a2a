//! Stopping lets transactions finish, tells idle clients, and ends in time.

use std::time::Duration;

use tokio::net::TcpStream;

use crate::harness::frames::query;
use crate::harness::{Greenroom, codes, eventually, get, rows};

#[tokio::test]
async fn idle_clients_are_told_57p01_and_greenroom_ends() {
    let mut room = Greenroom::start().await;
    let mut idle = room.raw("catalog").await;
    idle.run("select 1").await;
    room.stop();
    assert_eq!(codes(&idle.until_closed().await), ["57P01"]);
    room.stopped().await;
    eventually("no server is left", async || room.stage().connections().await == 0).await;
}

#[tokio::test]
async fn a_transaction_may_finish() {
    let mut room = Greenroom::start().await;
    let mut client = room.raw("catalog").await;
    client.run("create table item (id int)").await;
    client.run("begin; insert into item values (1)").await;
    room.stop();
    tokio::time::sleep(Duration::from_millis(100)).await;
    client.run("insert into item values (2)").await;
    client.send(&[query("commit")]).await;
    let replies = client.until(b'Z', 1).await;
    assert!(codes(&replies).is_empty(), "{replies:?}");
    assert_eq!(codes(&client.until_closed().await), ["57P01"]);
    room.stopped().await;
    assert_eq!(room.stage().sql("select count(*) from catalog.item").await, ["2"]);
}

#[tokio::test]
async fn a_running_query_may_finish() {
    let mut room = Greenroom::start().await;
    let mut client = room.raw("catalog").await;
    client.send(&[query("select 'done' from pg_sleep(0.5)")]).await;
    eventually("it runs", async || room.metrics().await.sum("greenroom_leases", &[]) == 1.0).await;
    room.stop();
    assert_eq!(rows(&client.until(b'Z', 1).await), ["done"]);
    room.stopped().await;
}

#[tokio::test]
async fn who_does_not_finish_in_time_is_ended() {
    let mut room = Greenroom::start().set("greenroom.shutdownGraceMillis", 300).await;
    let mut client = room.raw("catalog").await;
    client.run("create table item (id int)").await;
    client.run("begin; insert into item values (1)").await;
    room.stop();
    assert_eq!(codes(&client.until_closed().await), ["57P01"]);
    room.stopped().await;
    eventually("it is rolled back", async || room.stage().connections().await == 0).await;
    assert_eq!(room.stage().sql("select count(*) from catalog.item").await, ["0"]);
}

#[tokio::test]
async fn new_clients_are_turned_away_while_it_drains() {
    let mut room = Greenroom::start().await;
    let mut busy = room.raw("catalog").await;
    busy.run("begin").await;
    assert_eq!(get(room.http, "/readyz").await.0, 200);
    room.stop();
    eventually("it is not ready any more", async || get(room.http, "/readyz").await.0 == 503).await;
    let greenroom::config::ListenAddress::Tcp { host, port } = room.address().clone() else {
        panic!("TCP comes first")
    };
    eventually("nobody new gets in", async || {
        let Ok(stream) = TcpStream::connect((&*host, port)).await else { return true };
        // Accepted by the kernel, and closed or refused at once.
        tokio::time::timeout(Duration::from_millis(500), stream.readable()).await.is_ok()
    })
    .await;
    busy.run("commit").await;
    room.stopped().await;
}
