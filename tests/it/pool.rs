//! Few servers, many clients: bounds, order, waiting, and counts that come back.

use std::time::Duration;

use futures_util::future::join_all;

use crate::harness::frames::{extended, query};
use crate::harness::{Client, Greenroom, Room, codes, eventually, rows, tags};

/// The clients that wait for a server now.
async fn waiting(room: &Room) -> f64 {
    room.metrics().await.sum("greenroom_acquire_waiting", &[])
}

#[tokio::test]
async fn thirty_plugins_of_ten_clients_share_a_few_servers() {
    const SERVERS: usize = 6;
    const TRANSACTIONS: usize = 5;
    let room = Greenroom::start().auth("trust").servers(SERVERS as u32).await;
    let plugins: Vec<_> = (0..30).map(|n| format!("plugin{n}")).collect();
    let tables = plugins.iter().map(|plugin| async {
        room.client(plugin).await.run("create table mark (plugin text)").await;
    });
    join_all(tables).await;

    let clients = (0..300).map(|n| {
        let (room, plugin) = (&room, &plugins[n % 30]);
        async move {
            let client = room.client(plugin).await;
            for _ in 0..TRANSACTIONS {
                client.run("begin").await;
                client.run(&format!("insert into mark values ('{plugin}')")).await;
                client.run("commit").await;
            }
        }
    });
    let mut work = Box::pin(join_all(clients));
    let observer = room.stage().client().await;
    let count = "select count(*) from pg_stat_activity where usename = current_user and pid <> pg_backend_pid()";
    let (mut most, mut samples) = (0, 0);
    while futures_util::future::poll_immediate(&mut work).await.is_none() {
        most = most.max(observer.value(count).await.parse().expect("a count"));
        samples += 1;
    }
    assert!(most <= SERVERS, "{most} servers at once, at {samples} looks");
    assert!(most > 1, "they did work at once: {most} servers at most, at {samples} looks");

    let rows: Vec<_> =
        plugins.iter().map(|plugin| format!("select count(*) from {plugin}.mark where plugin = '{plugin}'")).collect();
    let counts = room.stage().sql(&rows.join(" union all ")).await;
    assert_eq!(counts, vec![(10 * TRANSACTIONS).to_string(); 30], "every row is in its own plugin's schema");
}

#[tokio::test]
async fn a_waiting_client_gets_the_server_that_is_given_back() {
    let room = Greenroom::start().pool("catalog", |limits| limits.max(1)).await;
    let first = room.client("catalog").await;
    first.run("begin").await;
    let second = room.client("catalog").await;
    let (answer, ()) = tokio::join!(second.value("select 1"), async {
        eventually("the second client waits", async || waiting(&room).await == 1.0).await;
        first.run("commit").await;
    });
    assert_eq!(answer, "1");
}

#[tokio::test]
async fn clients_that_wait_are_served_in_order() {
    let room = Greenroom::start().pool("catalog", |limits| limits.max(1)).await;
    let holder = room.client("catalog").await;
    holder.run("create table turn (at serial, who int)").await;
    let mut waiters = Vec::new();
    for _ in 0..8 {
        waiters.push(room.raw("catalog").await);
    }
    holder.run("begin").await;
    for (who, waiter) in waiters.iter_mut().enumerate() {
        waiter.send(&[query(&format!("insert into turn (who) values ({who})"))]).await;
        eventually("one more waits", async || waiting(&room).await == (who + 1) as f64).await;
    }
    holder.run("commit").await;
    for waiter in &mut waiters {
        waiter.until(b'Z', 1).await;
    }
    assert_eq!(holder.values("select who from turn order by at").await, ["0", "1", "2", "3", "4", "5", "6", "7"]);
}

#[tokio::test]
async fn who_waits_too_long_is_told_53300_and_goes_on() {
    let limits = |limits: crate::harness::Limits| limits.max(1).acquire_timeout(Duration::from_millis(1500));
    let room = Greenroom::start().pool("catalog", limits).await;
    let (holder, mut waiter) = (room.client("catalog").await, room.raw("catalog").await);
    holder.run("begin").await;

    let replies = waiter.query("select 1").await;
    assert_eq!((&*tags(&replies), codes(&replies)), ("EZ", vec!["53300".to_owned()]));
    let message = replies[0].field(b'M').unwrap_or_default() + &replies[0].field(b'H').unwrap_or_default();
    assert!(message.contains("catalog") && message.contains("max"), "it names plugin and setting: {:?}", replies[0]);

    let replies = waiter.ask(&extended("select $1", &[Some("x")])).await;
    assert_eq!((&*tags(&replies), codes(&replies)), ("EZ", vec!["53300".to_owned()]));
    assert_eq!(room.metrics().await.sum("greenroom_acquire_timeouts_total", &["plugin=\"catalog\""]), 2.0);

    holder.run("commit").await;
    assert_eq!(rows(&waiter.run("select 1").await), ["1"]);
}

#[tokio::test]
async fn the_ceiling_holds_over_all_plugins() {
    let room = Greenroom::start().servers(2).await;
    let (one, two, three) = (room.client("one").await, room.client("two").await, room.client("three").await);
    for client in [&one, &two, &three] {
        client.run("select 1").await;
    }
    one.run("begin").await;
    two.run("begin").await;
    let (answer, ()) = tokio::join!(three.value("select 3"), async {
        eventually("the third plugin waits", async || waiting(&room).await == 1.0).await;
        assert_eq!(room.stage().connections().await, 2);
        two.run("commit").await;
    });
    assert_eq!(answer, "3");
}

#[tokio::test]
async fn a_table_that_one_plugin_migrates_keeps_no_other_plugin_waiting() {
    let room = Greenroom::start().servers(4).await;
    let migration = room.client("catalog").await;
    migration.run("create table t (id serial check (id > 0), text text default 'a')").await;
    migration.run("create view v as select id + 1 from t").await;
    migration.run("begin").await;
    migration.run("lock table t, v in access exclusive mode").await;
    // A server of its own: everything that greenroom asks of a new one has to be answered while the tables are locked.
    let other = room.client("scaffolder").await;
    let answer = tokio::time::timeout(Duration::from_secs(10), other.value("select 1")).await;
    assert_eq!(answer.expect("it waited for the other plugin's tables"), "1");
    migration.run("commit").await;
}

#[tokio::test]
async fn an_abandoned_transaction_is_rolled_back_before_reuse() {
    let room = Greenroom::start().pool("catalog", |limits| limits.max(1)).await;
    let next = room.client("catalog").await;
    next.run("create table item (id int)").await;
    for statement in ["insert into item values (1)", "select 1/0", "insert into item values (2); select pg_sleep(0.2)"]
    {
        let mut gone = room.raw("catalog").await;
        gone.run("begin").await;
        gone.send(&[query(statement)]).await;
        drop(gone);
        assert_eq!(next.value("select count(*) from item").await, "0", "after {statement}");
        assert_eq!(next.failure("savepoint x").await, "25P01", "no transaction is open after {statement}");
    }
}

#[tokio::test]
async fn every_count_comes_back() {
    let room = Greenroom::start().servers(2).auth("trust").pool("catalog", |limits| limits.max(1)).await;
    let mut holder = room.raw("catalog").await;
    holder.run("begin").await;
    for n in 0..12 {
        let mut client = room.raw("catalog").await;
        client.send(&[query("select 1")]).await;
        match n % 3 {
            0 => drop(client),
            1 => client.send(&[crate::harness::frames::terminate()]).await,
            _ => {
                eventually("it waits", async || waiting(&room).await > 0.0).await;
                drop(client);
            }
        }
    }
    drop(holder);
    for name in
        ["greenroom_leases", "greenroom_acquire_waiting", "greenroom_client_connections", "greenroom_pinned_sessions"]
    {
        eventually(name, async || room.metrics().await.sum(name, &[]) == 0.0).await;
    }
    let idle = room.metrics().await.sum("greenroom_server_connections", &[]);
    assert_eq!(room.stage().connections().await as f64, idle, "greenroom counts what PostgreSQL counts");
    assert_eq!(room.client("catalog").await.value("select 1").await, "1");
}

#[tokio::test]
async fn idle_servers_are_closed_down_to_min() {
    let pool = |limits: crate::harness::Limits| {
        limits.with("min", 1).with("idleTimeoutMillis", 100).with("reapIntervalMillis", 50)
    };
    let room = Greenroom::start().every_pool(pool).await;
    let clients = [room.client("catalog").await, room.client("catalog").await, room.client("catalog").await];
    join_all(clients.iter().map(|client| client.run("select pg_sleep(0.2)"))).await;
    eventually("one server is left", async || room.stage().connections().await == 1).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(room.stage().connections().await, 1);
    assert_eq!(clients[0].value("select 1").await, "1");
}

#[tokio::test]
async fn transactions_of_many_clients_share_one_server() {
    let room = Greenroom::start().pool("catalog", |limits| limits.max(1)).await;
    let clients: Vec<Client> = join_all((0..5).map(|_| room.client("catalog"))).await;
    let pids = join_all(clients.iter().map(Client::server_pid)).await;
    assert!(pids.iter().all(|pid| *pid == pids[0]), "{pids:?}");
}

#[tokio::test]
async fn session_mode_keeps_a_server_until_the_client_ends() {
    let session = |limits: crate::harness::Limits| limits.max(1).with("mode", "session");
    let room = Greenroom::start().pool("catalog", session).await;
    let first = room.client("catalog").await;
    first.run("set work_mem to '123kB'").await;
    assert_eq!(first.value("show work_mem").await, "123kB");
    let second = room.client("catalog").await;
    let (work_mem, ()) = tokio::join!(second.value("show work_mem"), async {
        eventually("the second client waits", async || waiting(&room).await == 1.0).await;
        drop(first);
    });
    assert_eq!(work_mem, "4MB");
}
