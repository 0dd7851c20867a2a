//! A client that vanishes while it waits keeps no place in the queue, whatever it waits for, and nothing is done for it.

use std::time::{Duration, Instant};

use crate::harness::frames::{Frame, query, startup, terminate};
use crate::harness::{Greenroom, RawClient, Room, Startup, codes, eventually, logical, rows};

/// Far below every timeout that would end a wait as well.
const AT_ONCE: Duration = Duration::from_secs(5);

async fn waiting(room: &Room) -> f64 {
    room.metrics().await.sum("greenroom_acquire_waiting", &[])
}

/// One server, and a client that has it.
async fn full_room() -> (Room, RawClient) {
    let room = Greenroom::start().servers(1).auth("trust").await;
    let holder = hold(&room).await;
    (room, holder)
}

async fn hold(room: &Room) -> RawClient {
    let mut holder = room.raw("catalog").await;
    holder.run("create table item (id int)").await;
    holder.run("begin").await;
    holder
}

/// A client that has said hello, has not been answered, and has perhaps said more.
async fn logging_in(room: &Room, hello: &Startup, more: &[Frame]) -> RawClient {
    let mut client = RawClient::connect(room.address()).await;
    client.send_bytes(&startup(hello.version, &hello.parameters)).await;
    client.send(more).await;
    client
}

/// Waits until `client` waits as one of so many, lets it vanish, and expects its place to be free at once.
async fn vanishes(room: &Room, client: RawClient, waiters: f64) {
    eventually("it waits", async || waiting(room).await == waiters).await;
    let began = Instant::now();
    drop(client);
    eventually("it waits no more", async || waiting(room).await == waiters - 1.0).await;
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_statement_in_the_queue_goes_with_its_client() {
    let (room, mut holder) = full_room().await;
    let (mut first, mut second) = (room.raw("catalog").await, room.raw("catalog").await);
    first.send(&[query("insert into item values (1)")]).await;
    eventually("it waits", async || waiting(&room).await == 1.0).await;
    second.send(&[query("insert into item values (2) returning id")]).await;
    vanishes(&room, first, 2.0).await;
    holder.run("commit").await;
    assert_eq!(rows(&second.until(b'Z', 1).await), ["2"], "the next one is served");
    assert_eq!(rows(&second.run("select id from item").await), ["2"], "and nobody else was");
}

#[tokio::test]
async fn a_login_in_the_queue_goes_with_its_client() {
    let (room, mut holder) = full_room().await;
    let new_schema = Startup::new(&room.login, "", &logical("search"));
    let own_server = Startup::new(&room.login, "", &logical("catalog")).with("options", "-c geqo=off");
    for hello in [&new_schema, &own_server] {
        for more in [vec![], vec![query("select 1")], vec![query("create table made (x int)"), terminate()]] {
            let client = logging_in(&room, hello, &more).await;
            vanishes(&room, client, 1.0).await;
        }
    }
    // What a client says ahead of its greeting is not lost.
    let mut early = logging_in(&room, &new_schema, &[query("select 'early'")]).await;
    eventually("it waits", async || waiting(&room).await == 1.0).await;
    early.send(&[query("select 'late'")]).await;
    holder.run("commit").await;
    assert_eq!(rows(&early.until(b'Z', 3).await), ["early", "late"]);
    let made = "select count(*) from pg_class where relname = 'made'";
    assert_eq!(room.stage().sql(made).await, ["0"], "nothing was done for those who had gone");
}

#[tokio::test]
async fn the_creation_of_a_database_in_the_queue_goes_with_its_client() {
    let room = Greenroom::start().servers(1).auth("trust").await;
    let admin = Startup::new(&room.login, "", "postgres");
    let mut first = RawClient::log_in(room.address(), &admin).await;
    let mut second = RawClient::log_in(room.address(), &admin).await;
    let mut holder = hold(&room).await;
    let create = |n: u32| query(&format!("create database backstage_plugin_n{n}"));
    first.send(&[create(1)]).await;
    vanishes(&room, first, 1.0).await;
    second.send(&[create(2)]).await;
    eventually("it waits", async || waiting(&room).await == 1.0).await;
    // What comes meanwhile is answered in its turn.
    second.send(&[query("select 'behind'")]).await;
    holder.run("commit").await;
    let replies = second.until(b'Z', 2).await;
    assert_eq!((codes(&replies), rows(&replies)), (vec![], vec!["behind".to_owned()]));
    assert_eq!(replies[0].word(), "CREATE DATABASE");
    let schemas = "select nspname from pg_namespace where nspname ~ '^n[0-9]$'";
    assert_eq!(room.stage().sql(schemas).await, ["n2"]);
}
