//! Many cancels at once, while one server goes from hand to hand: each finds its own client there, or nobody.

use std::time::Duration;

use futures_util::future::join_all;

use crate::harness::frames::{extended, query};
use crate::harness::{Greenroom, RawClient, codes, eventually, rows};

use super::sleepers;

#[tokio::test]
async fn a_hundred_cancels_at_once_never_touch_a_neighbour_on_the_same_server() {
    let room = Greenroom::start().auth("trust").unix().servers(1).await;
    let mut cancelled = room.raw("catalog").await;
    let key = cancelled.key();
    let asked = async {
        let mut hits = 0;
        for round in 0..30 {
            cancelled.send(&[query("select pg_sleep(0.004)")]).await;
            let codes = codes(&cancelled.until(b'Z', 1).await);
            assert!(codes.iter().all(|code| code == "57014"), "{codes:?}");
            hits += codes.len();
            // Now and then it has nothing to cancel at all.
            tokio::time::sleep(Duration::from_millis(round % 3)).await;
        }
        hits
    };
    let cancels = join_all((0..100u64).map(|n| {
        let (room, key) = (&room, &key);
        async move {
            tokio::time::sleep(Duration::from_millis(n * 3 / 2)).await;
            let address = if n % 2 == 0 { room.address() } else { room.socket() };
            RawClient::cancel(address, key).await;
        }
    }));
    let neighbours = join_all((0..4).map(|n| {
        let room = &room;
        async move {
            let mut client = room.raw(["catalog", "auth"][n % 2]).await;
            for turn in 0..40 {
                let replies = match turn % 3 {
                    0 => client.query("select pg_sleep(0.001)").await,
                    1 => client.query("begin; select pg_sleep(0.001); commit").await,
                    _ => client.ask(&extended("select pg_sleep($1)", &[Some("0.001")])).await,
                };
                assert!(codes(&replies).is_empty(), "neighbour {n}, turn {turn}: {replies:?}");
            }
        }
    }));
    let (hits, _, _) = tokio::join!(asked, cancels, neighbours);
    assert!(hits > 0, "not one of a hundred has hit");
}

#[tokio::test]
async fn a_cancel_that_comes_late_finds_the_next_transaction_of_nobody_else() {
    let room = Greenroom::start().auth("trust").servers(1).await;
    let (mut early, mut late) = (room.raw("catalog").await, room.raw("auth").await);
    for _ in 0..30 {
        let key = early.key();
        early.send(&[query("select 1")]).await;
        early.until(b'Z', 1).await;
        late.send(&[query("select pg_sleep(0.003)")]).await;
        let cancels = join_all((0..3).map(|_| RawClient::cancel(room.address(), &key)));
        let (replies, _) = tokio::join!(late.until(b'Z', 1), cancels);
        assert!(codes(&replies).is_empty(), "{replies:?}");
    }
}

#[tokio::test]
async fn a_cancel_needs_no_place_under_the_ceiling_and_no_place_in_the_queue() {
    let room = Greenroom::start().auth("trust").servers(1).await;
    let (mut busy, mut queued) = (room.raw("catalog").await, room.raw("auth").await);
    busy.send(&[query("select pg_sleep(60)")]).await;
    sleepers(&room, 1).await;
    queued.send(&[query("select 'waits'")]).await;
    eventually("it waits", async || room.metrics().await.sum("greenroom_acquire_waiting", &[]) == 1.0).await;
    RawClient::cancel(room.address(), &busy.key()).await;
    assert_eq!(codes(&busy.until(b'Z', 1).await), ["57014"]);
    assert_eq!(rows(&queued.until(b'Z', 1).await), ["waits"]);
    assert!(room.stage().connections().await <= 1);
}

#[tokio::test]
async fn many_that_wait_are_cancelled_and_the_others_go_on_waiting() {
    let room = Greenroom::start().auth("trust").servers(1).await;
    let mut waiting = Vec::new();
    for n in 0..20 {
        waiting.push(room.raw(["catalog", "auth"][n % 2]).await);
    }
    let mut holder = room.raw("catalog").await;
    holder.run("begin").await;
    for (n, client) in waiting.iter_mut().enumerate() {
        client.send(&extended("select $1::int", &[Some(&n.to_string())])).await;
    }
    eventually("all wait", async || room.metrics().await.sum("greenroom_acquire_waiting", &[]) == 20.0).await;
    let keys: Vec<_> = waiting.iter().step_by(2).map(RawClient::key).collect();
    join_all(keys.iter().map(|key| RawClient::cancel(room.address(), key))).await;
    for client in waiting.iter_mut().step_by(2) {
        assert_eq!(codes(&client.until(b'Z', 1).await), ["57014"]);
    }
    holder.run("commit").await;
    for (n, client) in waiting.iter_mut().enumerate() {
        if n % 2 == 1 {
            assert_eq!(rows(&client.until(b'Z', 1).await), [n.to_string()]);
        }
        assert_eq!(rows(&client.run("select 'goes on'").await), ["goes on"]);
    }
}
