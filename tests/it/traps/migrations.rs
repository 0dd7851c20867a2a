//! A plugin whose migrations are in progress does not wait behind everybody.

use crate::harness::frames::{Frame, extended, parse, query};
use crate::harness::{Client, Greenroom, RawClient, Room, codes, eventually};

const TAKE: &str = "update \"knex_migrations_lock\" set \"is_locked\" = $1 where \"is_locked\" = $2";
const GIVE_BACK: &str = "update \"knex_migrations_lock\" set \"is_locked\" = $1";
const CROWD: usize = 30;

/// The catalog has had more server time than all others will have: without migrations it is served last.
const MUCH: &str = "select pg_sleep(0.5)";

/// A crowd of plugins, each with a client that has logged in, and a table that tells in which order they were served.
async fn crowd(room: &Room) -> (Client, Vec<RawClient>) {
    let holder = room.client("holder").await;
    holder.run("create table public.turn (at serial, who text)").await;
    let mut crowd = Vec::new();
    for n in 0..CROWD {
        crowd.push(room.raw(&format!("greedy{n}")).await);
    }
    (holder, crowd)
}

fn turn(who: &str) -> Frame {
    query(&format!("insert into public.turn (who) values ('{who}')"))
}

/// Has the crowd wait behind `holder`, then this client of the catalog; who was served, in order.
async fn served(room: &Room, holder: &Client, crowd: &mut [RawClient], catalog: &mut RawClient) -> Vec<String> {
    holder.run("truncate public.turn").await;
    holder.run("begin").await;
    let waiting = async |waiting: usize| room.metrics().await.sum("greenroom_acquire_waiting", &[]) == waiting as f64;
    for client in crowd.iter_mut() {
        client.send(&[turn("greedy")]).await;
    }
    eventually("the crowd waits", async || waiting(CROWD).await).await;
    catalog.send(&[turn("catalog")]).await;
    eventually("the catalog waits as well", async || waiting(CROWD + 1).await).await;
    holder.run("commit").await;
    for client in crowd.iter_mut().chain([catalog]) {
        client.until(b'Z', 1).await;
    }
    holder.values("select who from public.turn order by at").await
}

#[tokio::test]
async fn a_plugin_in_migration_gets_the_next_server() {
    let room = Greenroom::start().auth("trust").servers(1).await;
    let (holder, mut crowd) = crowd(&room).await;
    let (mut locker, mut migrating) = (room.raw("catalog").await, room.raw("catalog").await);
    locker
        .run("create table knex_migrations_lock (index serial primary key, is_locked integer); insert into knex_migrations_lock (is_locked) values (0)")
        .await;
    locker.run(MUCH).await;

    let order = served(&room, &holder, &mut crowd, &mut migrating).await;
    assert_eq!(order.last().map(String::as_str), Some("catalog"), "without migrations everybody waits in turn");

    locker.ask(&extended(TAKE, &[Some("1"), Some("0")])).await;
    // On another connection of the plugin's pool than the one that has taken the lock.
    let order = served(&room, &holder, &mut crowd, &mut migrating).await;
    assert_eq!(order.iter().position(|who| who == "catalog"), Some(0), "{order:?}");
    assert_eq!(order.len(), CROWD + 1, "the others follow");

    migrating.ask(&extended(GIVE_BACK, &[Some("0")])).await;
    let order = served(&room, &holder, &mut crowd, &mut migrating).await;
    assert_eq!(order.iter().position(|who| who == "catalog"), Some(CROWD), "the lock was given back");
}

#[tokio::test]
async fn a_lock_that_was_not_taken_after_all_prefers_nobody() {
    let room = Greenroom::start().auth("trust").servers(1).await;
    let (holder, mut crowd) = crowd(&room).await;
    let (mut locker, mut other) = (room.raw("catalog").await, room.raw("catalog").await);
    let take = extended(TAKE, &[Some("1"), Some("0")]);
    // There is no such table yet.
    assert_eq!(codes(&locker.ask(&take).await), ["42P01"]);
    locker
        .run("create table knex_migrations_lock (is_locked integer); insert into knex_migrations_lock values (0)")
        .await;
    locker.run(MUCH).await;
    let skipped = [&[parse("x", "selec")][..], &take].concat();
    assert_eq!(codes(&locker.ask(&skipped).await), ["42601"]);
    let order = served(&room, &holder, &mut crowd, &mut other).await;
    assert_eq!(order.last().map(String::as_str), Some("catalog"), "{order:?}");
}

#[tokio::test]
async fn a_session_that_leaves_with_the_lock_is_not_preferred_any_more() {
    let room = Greenroom::start().auth("trust").servers(1).await;
    let (holder, mut crowd) = crowd(&room).await;
    let (mut locker, mut other) = (room.raw("catalog").await, room.raw("catalog").await);
    locker
        .run("create table x__knex_migrations_lock (is_locked integer); insert into x__knex_migrations_lock values (0)")
        .await;
    locker.run(MUCH).await;
    locker.run("update \"x__knex_migrations_lock\" set \"is_locked\" = 1 where \"is_locked\" = 0").await;
    let order = served(&room, &holder, &mut crowd, &mut other).await;
    assert_eq!(order.first().map(String::as_str), Some("catalog"));
    locker.leave().await;
    let gone = async || room.metrics().await.sum("greenroom_client_connections", &["plugin=\"catalog\""]) == 1.0;
    eventually("the session ends", gone).await;
    let order = served(&room, &holder, &mut crowd, &mut other).await;
    assert_eq!(order.last().map(String::as_str), Some("catalog"));
}
