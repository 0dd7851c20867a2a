//! Clients as people have them: psql, pgbench, tokio-postgres.

use futures_util::{SinkExt as _, StreamExt as _, TryStreamExt as _, pin_mut};

use crate::harness::{Greenroom, Room};

#[tokio::test]
async fn psql_creates_and_describes_a_table() {
    let room = Greenroom::start().await;
    let script = "create table entity (id int primary key); insert into entity values (1), (2); table entity";
    let printed =
        room.program("psql", "catalog").args(&["-X", "-A", "-t", "-c", script, "-c", "\\d entity"]).run().await;
    assert!(printed.contains("1\n2\n"), "{printed}");
    assert!(printed.contains("id|integer"), "{printed}");
    assert_eq!(room.stage().sql("select count(*) from catalog.entity").await, ["2"]);
}

#[tokio::test]
async fn psql_copies_both_ways() {
    let room = Greenroom::start().await;
    let there = "copy (select n, 'row ' || n from generate_series(1, 1000) n) to stdout";
    let script =
        format!("\\copy item from program 'seq 1 1000'\n\\copy (select sum(id) from item) to stdout\n{there};");
    let printed = room
        .program("psql", "catalog")
        .args(&["-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", "create table item (id int)"])
        .args(&["-c", script.lines().next().expect("three lines"), "-c", script.lines().nth(1).expect("three lines")])
        .args(&["-c", there])
        .run()
        .await;
    assert!(printed.starts_with("500500\n1\trow 1\n"), "{printed}");
}

/// Two plugins at once, each with more clients than servers; nobody keeps one.
async fn pgbench(mode: &str) {
    let room = Greenroom::start().servers(6).every_pool(|limits| limits.max(3)).await;
    let bench = async |room: &Room, plugin: &str| {
        room.program("pgbench", plugin).args(&["-i", "-q", "-s", "1"]).run().await;
        for builtin in ["tpcb-like", "simple-update", "select-only"] {
            // A thread for each client: it prepares while it looks at nobody else, who may have to end a transaction first.
            let args = ["-n", "-M", mode, "-b", builtin, "-c", "8", "-j", "8", "-t", "40"];
            let run = room.program("pgbench", plugin).args(&args).run().await;
            assert!(run.contains("number of transactions actually processed: 320/320"), "{run}");
        }
        let sums = "select sum(abalance) = (select sum(delta) from pgbench_history) from pgbench_accounts";
        assert_eq!(room.client(plugin).await.value(sums).await, "t");
    };
    tokio::join!(bench(&room, "catalog"), bench(&room, "auth"));
    assert_eq!(room.metrics().await.sum("greenroom_pins_total", &[]), 0.0);
}

#[tokio::test]
async fn pgbench_runs_in_simple_mode() {
    pgbench("simple").await;
}

#[tokio::test]
async fn pgbench_runs_in_extended_mode() {
    pgbench("extended").await;
}

#[tokio::test]
async fn pgbench_runs_in_prepared_mode() {
    pgbench("prepared").await;
}

#[tokio::test]
async fn tokio_postgres_runs_transactions_and_portals() {
    let room = Greenroom::start().servers(3).await;
    let mut client = room.client("catalog").await;
    client.run("create table item (id int, name text)").await;
    let statement = client.prepare("insert into item values ($1, $2)").await.unwrap();
    let transaction = client.transaction().await.unwrap();
    for id in 0..20 {
        transaction.execute(&statement, &[&id, &format!("item {id}")]).await.unwrap();
    }
    let portal = transaction.bind("select id from item order by id", &[]).await.unwrap();
    assert_eq!(transaction.query_portal(&portal, 7).await.unwrap().len(), 7);
    let rest = transaction.query_portal(&portal, 0).await.unwrap();
    assert_eq!(rest.first().map(|row| row.get::<_, i32>(0)), Some(7));
    transaction.commit().await.unwrap();

    let transaction = client.transaction().await.unwrap();
    transaction.batch_execute("delete from item").await.unwrap();
    transaction.rollback().await.unwrap();
    assert_eq!(client.value("select count(*) from item").await, "20");
}

#[tokio::test]
async fn tokio_postgres_pipelines_and_copies() {
    let room = Greenroom::start().await;
    let client = room.client("catalog").await;
    let answers = (0..50).map(|n: i32| {
        let client = &client;
        async move { client.query_one("select $1::int", &[&n]).await.map(|row| row.get::<_, i32>(0)) }
    });
    let answers = futures_util::future::try_join_all(answers).await.unwrap();
    assert_eq!(answers, (0..50).collect::<Vec<_>>());

    client.run("create table item (id int, name text)").await;
    let sink = client.copy_in("copy item from stdin").await.unwrap();
    pin_mut!(sink);
    for id in 0..1000 {
        sink.send(bytes::Bytes::from(format!("{id}\titem {id}\n"))).await.unwrap();
    }
    assert_eq!(sink.finish().await.unwrap(), 1000);
    let out = client.copy_out("copy item to stdout").await.unwrap();
    let lines = out.map(|line| line.map(|_| 1)).try_fold(0, |sum, one| async move { Ok(sum + one) }).await.unwrap();
    assert_eq!(lines, 1000);
}

#[tokio::test]
async fn tokio_postgres_cancels_by_its_token() {
    let room = Greenroom::start().await;
    let client = room.client("catalog").await;
    let token = client.cancel_token();
    let (code, ()) = tokio::join!(client.failure("select pg_sleep(60)"), async {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        token.cancel_query(tokio_postgres::NoTls).await.unwrap();
    });
    assert_eq!(code, "57014");
}
