//! Clients as people have them: psql, pgbench, and drivers of Rust in the folder.

mod sides;
mod sqlx;
mod tokio_postgres;

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
