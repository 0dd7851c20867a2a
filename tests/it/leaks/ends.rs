//! A client that goes in the middle of something takes nothing with it, and one that never reads holds nothing up.

use std::time::{Duration, Instant};

use tokio::time::timeout;

use crate::harness::frames::{self, bind, execute, parse, query, sync, wire};
use crate::harness::{Answer, FakeServer, Greenroom, Phase, RawClient, eventually};

#[tokio::test]
async fn a_client_that_goes_in_the_middle_gives_its_server_back() {
    let room = Greenroom::start().servers(1).await;
    room.client("catalog").await.run("create table item (id int)").await;
    let batch = || wire(&[parse("", "select 1"), bind("", "", &[]), execute("", 0)]);
    let half_of = |mut bytes: Vec<u8>| {
        bytes.truncate(bytes.len() - 3);
        bytes
    };
    for (what, bytes, begun) in [
        ("a COPY", wire(&[query("copy item from stdin")]), Some(b'G')),
        ("a COPY in a transaction", wire(&[query("begin; copy item from stdin")]), Some(b'G')),
        ("a batch", batch(), None),
        ("a batch with a part of a frame", half_of(batch()), None),
        ("a part of a Query", half_of(query("select 1").bytes()), None),
        ("a part of a large Query", half_of(query(&format!("select '{}'", "x".repeat(1 << 20))).bytes()), None),
        ("a Query and a part of another", half_of(wire(&[query("select 1"), query("select 2")])), Some(b'Z')),
        ("a transaction", wire(&[query("begin")]), Some(b'Z')),
    ] {
        for says_goodbye in [true, false] {
            let mut client = room.raw("catalog").await;
            client.send_bytes(&bytes).await;
            match begun {
                Some(tag) => drop(client.until(tag, 1).await),
                None => tokio::time::sleep(Duration::from_millis(50)).await,
            }
            if says_goodbye {
                client.send(&[frames::terminate()]).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            drop(client);
            let returned = async || room.metrics().await.sum("greenroom_leases", &[]) == 0.0;
            eventually(&format!("the server of {what} comes back"), returned).await;
            assert_eq!(room.client("catalog").await.value("select 'next'").await, "next", "after {what}");
        }
    }
}

#[tokio::test]
async fn greenroom_ends_in_time_while_it_opens_servers_for_clients_that_have_gone() {
    let stalls = |_, phase: Phase<'_>| if phase == Phase::Startup { Answer::Stall } else { Answer::Usual };
    let fake = FakeServer::start(stalls).await;
    let started = Greenroom::start().behind(&fake).auth("trust").servers(3).set("greenroom.shutdownGraceMillis", 300);
    let mut room = started.await;
    for opened in 1..=3 {
        let mut client = RawClient::connect(room.address()).await;
        let startup = room.startup(["catalog", "scaffolder", "search"][opened - 1]);
        client.send_bytes(&frames::startup(startup.version, &startup.parameters)).await;
        eventually("a server is being opened", async || fake.connections() >= 1).await;
        drop(client);
    }
    room.stop();
    let stopped = Instant::now();
    room.stopped().await;
    assert!(stopped.elapsed() < Duration::from_secs(5), "it took {:?}", stopped.elapsed());
}

#[tokio::test]
async fn a_client_that_asks_and_never_reads_is_read_from_no_more() {
    let room = Greenroom::start().unix().await;
    let mut client = RawClient::log_in(room.socket(), &room.startup("catalog")).await;
    let many = wire(&vec![sync(); 20_000]);
    let mut flood = async || {
        for _ in 0..100 {
            client.send_bytes(&many).await;
        }
    };
    let taken = timeout(Duration::from_secs(5), flood()).await;
    assert!(taken.is_err(), "two million answers are kept for a client that does not read");
    assert_eq!(room.client("catalog").await.value("select 'next'").await, "next");
}
