//! The harness itself: what the other tests believe of it is true.

use std::time::Duration;

use greenroom::config::ListenAddress;

use crate::harness::frames::{extended, query};
use crate::harness::{Answer, Client, FakeServer, Phase, RawClient, Stage, Startup, codes, rows, tags};

fn address(fake: &FakeServer) -> ListenAddress {
    ListenAddress::Tcp { host: "127.0.0.1".into(), port: fake.port() }
}

#[tokio::test]
async fn a_raw_client_speaks_to_postgresql_itself() {
    let stage = Stage::shared().await;
    let mut client = RawClient::log_in(&stage.address(), &stage.startup(&stage.database)).await;
    assert_eq!(rows(&client.run("select 1").await), ["1"]);
    assert_eq!(tags(&client.ask(&extended("select $1", &[Some("x")])).await), "12TDCZ");
    assert_eq!(codes(&client.query("select 1/0").await), ["22012"]);
    client.leave().await;
}

#[tokio::test]
async fn a_stages_login_owns_its_database_and_may_create_no_other() {
    let stage = Stage::shared().await;
    let client = stage.client().await;
    client.run("create schema mine; create table mine.t ()").await;
    assert_eq!(client.failure("create database another").await, "42501");
    assert_eq!(stage.connections().await, 1);
}

#[tokio::test]
async fn a_fake_server_is_a_postgresql_to_a_driver() {
    let fake = FakeServer::usual().await;
    let client = Client::connect(&address(&fake), "backstage", "secret", "backstage").await;
    assert_eq!(client.value("select 1").await, "1");
    client.run("begin; commit").await;
    assert_eq!((fake.connections(), fake.open()), (1, 1));
}

#[tokio::test]
async fn a_fake_server_misbehaves_as_told() {
    let fake = FakeServer::start(|connection, phase| match (connection, phase) {
        (0, Phase::Accept) => Answer::Close,
        (1, Phase::Startup) => Answer::BytesThenClose(b"E\0\0".to_vec()),
        (2, Phase::Message(1, _)) => Answer::Stall,
        _ => Answer::Usual,
    })
    .await;
    let mut refused = RawClient::connect(&address(&fake)).await;
    assert_eq!(refused.byte().await, None);
    let mut cut = RawClient::connect(&address(&fake)).await;
    cut.send_bytes(&[0, 0, 0, 8, 0, 3, 0, 0]).await;
    assert_eq!(
        (cut.byte().await, cut.byte().await, cut.byte().await, cut.byte().await),
        (Some(b'E'), Some(0), Some(0), None)
    );
    let mut stalled = RawClient::log_in(&address(&fake), &Startup::new("a", "b", "c")).await;
    assert_eq!(rows(&stalled.run("select 1").await), ["1"]);
    stalled.send(&[query("select 2")]).await;
    assert!(stalled.until_quiet(Duration::from_millis(100)).await.is_empty());
}

#[tokio::test]
async fn bytes_cut_in_two_arrive_in_two_reads() {
    let fake = FakeServer::usual().await;
    let mut client = RawClient::log_in(&address(&fake), &Startup::new("a", "b", "c")).await;
    let before = fake.reads_and_writes().0;
    client.send_cut(&query("select 1").bytes(), 7).await;
    assert_eq!(rows(&client.until(b'Z', 1).await), ["1"]);
    assert_eq!(fake.reads_and_writes().0 - before, 2);
}
