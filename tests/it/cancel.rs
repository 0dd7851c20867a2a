//! A cancel request reaches the query it is meant for, and never another one.

mod crowd;
mod legs;
mod places;

use std::time::Duration;

use futures_util::future::join_all;

use crate::harness::frames::query;
use crate::harness::{Greenroom, RawClient, Room, codes, eventually, rows};

/// Waits until this many of the room's servers sleep.
async fn sleepers(room: &Room, count: usize) {
    let sql =
        format!("select count(*) from pg_stat_activity where usename = '{}' and wait_event = 'PgSleep'", room.login);
    eventually("the queries run", async || room.stage().sql(&sql).await == [count.to_string()]).await;
}

#[tokio::test]
async fn a_running_query_is_cancelled_and_the_session_goes_on() {
    let room = Greenroom::start().await;
    let mut client = room.raw("catalog").await;
    client.send(&[query("select pg_sleep(60)")]).await;
    sleepers(&room, 1).await;
    RawClient::cancel(room.address(), &client.key()).await;
    assert_eq!(codes(&client.until(b'Z', 1).await), ["57014"]);
    assert_eq!(rows(&client.run("select 1").await), ["1"]);
}

#[tokio::test]
async fn a_unix_socket_takes_cancels_as_well() {
    let room = Greenroom::start().unix().await;
    let mut client = RawClient::log_in(room.socket(), &room.startup("catalog")).await;
    client.send(&[query("select pg_sleep(60)")]).await;
    sleepers(&room, 1).await;
    RawClient::cancel(room.socket(), &client.key()).await;
    assert_eq!(codes(&client.until(b'Z', 1).await), ["57014"]);
}

#[tokio::test]
async fn a_client_of_protocol_3_2_has_a_long_key_that_cancels() {
    let room = Greenroom::start().await;
    for (version, bytes) in [(0x0003_0000, 4), (0x0003_0001, 4), (0x0003_0002, 32)] {
        let mut client = RawClient::log_in(room.address(), &room.startup("catalog").version(version)).await;
        assert!(client.hello.iter().all(|reply| reply.tag != b'v'), "{:?}", client.hello);
        let (pid, secret) = client.key();
        assert_eq!(secret.len(), bytes, "{version:x}");
        client.send(&[query("select pg_sleep(60)")]).await;
        sleepers(&room, 1).await;
        RawClient::cancel(room.address(), &(pid, secret)).await;
        assert_eq!(codes(&client.until(b'Z', 1).await), ["57014"]);
    }
}

#[tokio::test]
async fn a_key_that_is_cut_or_goes_on_cancels_nothing() {
    let room = Greenroom::start().await;
    for version in [0x0003_0000, 0x0003_0002] {
        let mut client = RawClient::log_in(room.address(), &room.startup("catalog").version(version)).await;
        client.send(&[query("select pg_sleep(0.5)")]).await;
        sleepers(&room, 1).await;
        let (pid, secret) = client.key();
        let longer = |by: usize| [&secret[..], &vec![0; by]].concat();
        for wrong in
            [secret[..secret.len() - 1].to_vec(), secret[..4.min(secret.len() - 1)].to_vec(), longer(1), longer(28)]
        {
            RawClient::cancel(room.address(), &(pid, wrong)).await;
        }
        assert!(codes(&client.until(b'Z', 1).await).is_empty(), "{version:x}");
    }
}

#[tokio::test]
async fn a_wrong_secret_cancels_nothing() {
    let room = Greenroom::start().await;
    let mut client = room.raw("catalog").await;
    client.send(&[query("select pg_sleep(0.5)")]).await;
    sleepers(&room, 1).await;
    let (pid, mut secret) = client.key();
    secret[0] ^= 1;
    for key in [(pid, secret), (pid, Vec::new()), (pid, vec![0; 4]), (pid + 1, client.key().1), (0, vec![0; 300])] {
        RawClient::cancel(room.address(), &key).await;
    }
    assert!(codes(&client.until(b'Z', 1).await).is_empty());
}

#[tokio::test]
async fn cancelling_an_idle_session_harms_nobody() {
    let room = Greenroom::start().pool("catalog", |limits| limits.max(1)).await;
    let (mut idle, mut busy) = (room.raw("catalog").await, room.raw("catalog").await);
    idle.run("select 1").await;
    busy.send(&[query("select pg_sleep(0.5)")]).await;
    sleepers(&room, 1).await;
    for _ in 0..5 {
        RawClient::cancel(room.address(), &idle.key()).await;
    }
    assert!(codes(&busy.until(b'Z', 1).await).is_empty(), "the server that the idle one had before is another's now");
    assert_eq!(rows(&idle.run("select 1").await), ["1"]);
}

#[tokio::test]
async fn a_query_that_waits_for_a_server_is_cancelled() {
    let room = Greenroom::start().pool("catalog", |limits| limits.max(1)).await;
    let (mut holder, mut queued) = (room.raw("catalog").await, room.raw("catalog").await);
    holder.run("begin").await;
    queued.send(&[query("select 1")]).await;
    eventually("it waits", async || room.metrics().await.sum("greenroom_acquire_waiting", &[]) == 1.0).await;
    RawClient::cancel(room.address(), &queued.key()).await;
    assert_eq!(codes(&queued.until(b'Z', 1).await), ["57014"]);
    holder.run("commit").await;
    assert_eq!(rows(&queued.run("select 2").await), ["2"]);
}

#[tokio::test]
async fn parallel_cancels_never_touch_a_neighbour() {
    let room = Greenroom::start().auth("trust").servers(4).every_pool(|limits| limits.max(2)).await;
    let cancelled = (0..4).map(|n| {
        let room = &room;
        async move {
            let mut client = room.raw(["catalog", "auth"][n % 2]).await;
            for _ in 0..25 {
                let key = client.key();
                client.send(&[query("select pg_sleep(0.01)")]).await;
                // Sometimes it hits, sometimes the query is over: both are right.
                let cancels = (0..2).map(|_| RawClient::cancel(room.address(), &key));
                let (replies, _) = tokio::join!(client.until(b'Z', 1), join_all(cancels));
                assert!(codes(&replies).iter().all(|code| code == "57014"), "{replies:?}");
            }
        }
    });
    let neighbours = (0..4).map(|n| {
        let room = &room;
        async move {
            let mut client = room.raw(["catalog", "auth"][n % 2]).await;
            for _ in 0..60 {
                client.run("select pg_sleep(0.005)").await;
            }
        }
    });
    tokio::join!(join_all(cancelled), join_all(neighbours));
}

#[tokio::test]
async fn a_cancel_that_comes_with_the_end_hits_nobody_later() {
    let room = Greenroom::start().auth("trust").pool("catalog", |limits| limits.max(1)).await;
    let mut next = room.raw("catalog").await;
    for _ in 0..40 {
        let mut client = room.raw("catalog").await;
        client.send(&[query("select 1")]).await;
        let key = client.key();
        let (_, _, replies) = tokio::join!(
            client.until(b'Z', 1),
            RawClient::cancel(room.address(), &key),
            next.query("select pg_sleep(0.004)")
        );
        assert!(codes(&replies).is_empty(), "{replies:?}");
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    next.run("select 1").await;
}
