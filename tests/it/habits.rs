//! A week's worth of odd client habits: rests of hours, half-read results, killed processes, clocks that jump.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use greenroom::config::ListenAddress;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::harness::frames::{bind, close_portal, execute, flush, parse, query, sync, terminate};
use crate::harness::{FakeServer, Greenroom, RawClient, Room, codes, eventually, logical, rows, tags};

/// Whether every server is back, and nobody waits for one.
async fn is_at_rest(room: &Room) {
    let counts = ["greenroom_leases", "greenroom_acquire_waiting", "greenroom_client_connections"];
    for name in counts {
        eventually(name, async || room.metrics().await.sum(name, &[]) == 0.0).await;
    }
}

#[tokio::test]
async fn a_driver_that_rests_for_longer_than_any_server_lives_is_served_at_once() {
    let room = Greenroom::start()
        .servers(2)
        .every_pool(|limits| {
            limits.with("idleTimeoutMillis", 60).with("reapIntervalMillis", 20).with("maxConnectionLifetimeMillis", 100)
        })
        .await;
    let mut client = room.raw("catalog").await;
    client.run("create table item (id int); insert into item values (1)").await;
    client.run("set timezone to 'Asia/Tokyo'").await;
    client.run("set search_path to catalog, pg_catalog").await;
    assert_eq!(
        codes(&client.ask(&[parse("kept", "select id, current_setting('timezone') from item"), sync()]).await),
        [""; 0]
    );
    let servers = async || room.stage().connections().await;
    for rest in 0..5 {
        eventually("every server is closed while the client rests", async || servers().await == 0).await;
        let replies = client.ask(&[bind("", "kept", &[]), execute("", 0), sync()]).await;
        assert_eq!((codes(&replies), rows(&replies)), (vec![], vec!["1".to_owned()]), "after rest {rest}");
        assert_eq!(rows(&client.run("show timezone; show search_path").await), ["Asia/Tokyo", "catalog, pg_catalog"]);
    }
    client.leave().await;
    is_at_rest(&room).await;
}

#[tokio::test]
async fn results_that_are_left_half_read_harm_nobody() {
    let room = Greenroom::start().servers(1).await;
    let big = "select n, repeat('x', 1000) from generate_series(1, 20000) n";
    let pieces = || [parse("", big), bind("half", "", &[]), execute("half", 10)];
    // Read in pieces and left to the Sync, closed, forgotten for another one, cut off by an error, or by the client's end.
    let mut client = room.raw("catalog").await;
    for round in 0..3 {
        assert_eq!(rows(&client.ask(&[&pieces()[..], &[sync()]].concat()).await).len(), 10);
        client.send(&[&pieces()[..], &[flush()]].concat()).await;
        assert_eq!(rows(&client.until(b's', 1).await).len(), 10);
        let end = match round {
            0 => vec![sync()],
            1 => vec![close_portal("half"), sync()],
            _ => vec![bind("", "nobody", &[]), sync()],
        };
        client.send(&end).await;
        client.until(b'Z', 1).await;
        assert_eq!(rows(&room.raw("search").await.run("select 'next'").await), ["next"], "round {round}");
        assert_eq!(codes(&client.ask(&[execute("half", 1), sync()]).await), ["34000"]);
    }
    client.run("begin").await;
    client.ask(&[&pieces()[..], &[sync()]].concat()).await;
    client.run("declare c cursor for select n from generate_series(1, 1000000) n; fetch 3 from c").await;
    drop(client);
    is_at_rest(&room).await;
    // Gone with most of a result still to come.
    for says_goodbye in [true, false] {
        let mut client = room.raw("catalog").await;
        client.send(&[query(&format!("{big}; {big}; {big}"))]).await;
        client.until(b'D', 5).await;
        if says_goodbye {
            client.send(&[terminate()]).await;
        }
        drop(client);
        is_at_rest(&room).await;
        assert_eq!(room.client("search").await.value("select 'next'").await, "next");
    }
}

/// A client's process: psql, which does as it is told line by line.
async fn psql(room: &Room) -> (tokio::process::Child, tokio::process::ChildStdin) {
    let ListenAddress::Tcp { port, .. } = room.address() else { panic!("the first listener is TCP") };
    let mut command = Command::new(room.stage().postgres().bin_dir().join("psql"));
    command
        .args(["-XAt", &format!("postgresql://{}@127.0.0.1:{port}/{}", room.login, logical("catalog"))])
        .env("PGPASSWORD", &room.password)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let mut child = command.spawn().expect("psql starts");
    let stdin = child.stdin.take().expect("it was piped");
    (child, stdin)
}

#[tokio::test]
async fn a_process_that_is_killed_leaves_nothing_behind() {
    let room = Greenroom::start().servers(2).await;
    room.client("catalog").await.run("create table item (id int)").await;
    let sleeping =
        format!("select count(*) from pg_stat_activity where usename = '{}' and wait_event = 'PgSleep'", room.login);
    let opened = format!(
        "select count(*) from pg_stat_activity where usename = '{}' and state like 'idle in transaction%'",
        room.login
    );
    let copying = format!(
        "select count(*) from pg_stat_activity where usename = '{}' and query like 'copy%' and state = 'active'",
        room.login
    );
    for (what, lines, sign) in [
        // PostgreSQL would not notice before it has an answer to send.
        ("in the middle of a query", "begin; insert into item values (1);\nselect pg_sleep(2);\n", &sleeping),
        ("in a transaction", "begin; insert into item values (1);\n", &opened),
        ("in a failed transaction", "begin; insert into item values (1);\nselect 1/0;\n", &opened),
        ("in a COPY", "copy item from stdin;\n1\n2\n", &copying),
        ("with things of its own", "create temp table t (x int); select pg_advisory_lock(7); begin;\n", &opened),
    ] {
        let (mut child, mut stdin) = psql(&room).await;
        stdin.write_all(lines.as_bytes()).await.expect("psql reads");
        stdin.flush().await.expect("psql reads");
        eventually(&format!("it is {what}"), async || room.stage().sql(sign).await == ["1"]).await;
        // SIGKILL: no goodbye, the kernel closes its socket.
        child.kill().await.expect("it is ours");
        is_at_rest(&room).await;
        eventually(&format!("its server has ended what it did {what}"), async || room.stage().sql(sign).await == ["0"])
            .await;
        let mut next = room.raw("catalog").await;
        assert_eq!(rows(&next.run("select count(*) from item").await), ["0"], "{what}");
        assert_eq!(rows(&next.run("select pg_try_advisory_xact_lock(7)").await), ["t"], "{what}");
        next.leave().await;
    }
}

/// Everything that waits in greenroom waits by tokio's clock, which is the monotonic one of the system: no jump of the wall
/// clock lengthens or shortens a limit. Here that clock stands still but for the hours that pass between two statements.
#[tokio::test]
async fn hours_pass_by_the_monotonic_clock_and_by_no_other() {
    let fake = FakeServer::usual().await;
    let room = Greenroom::start()
        .behind(&fake)
        .servers(2)
        .every_pool(|limits| limits.with("idleTimeoutMillis", 3_600_000))
        .set("greenroom.timeouts.idleClientMillis", 86_400_000)
        .await;
    let mut client = room.raw("catalog").await;
    client.run("select 1").await;
    let before = fake.connections();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(3 * 3600)).await;
    tokio::time::resume();
    eventually("the idle server is closed after its hour", async || fake.open() == 0).await;
    assert_eq!(rows(&client.run("select 1").await), ["1"], "the client is served after three");
    assert_eq!(fake.connections(), before + 1);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(25 * 3600)).await;
    tokio::time::resume();
    let replies = client.until_closed().await;
    assert_eq!(
        (tags(&replies).as_str(), codes(&replies)),
        ("E", vec!["57P05".to_owned()]),
        "after a day it is told to go"
    );
}

/// It is read to say when a configuration was read, and by passwords that say until when they are good: one that is refused
/// is asked for anew in any case.
#[test]
fn no_limit_looks_at_the_wall_clock() {
    let mut lines = 0;
    let mut folders = vec![PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder of sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.extend((path.file_name() != Some("secret".as_ref())).then_some(path));
                continue;
            }
            let source = std::fs::read_to_string(&path).expect("a source");
            for line in source.lines().filter(|line| line.contains("SystemTime::now") || line.contains("Utc::now")) {
                assert!(line.contains("config_read("), "{}: {line}", path.display());
                lines += 1;
            }
        }
    }
    assert!(lines > 0, "the sources are not where they were");
}

#[tokio::test]
async fn a_client_that_comes_and_goes_all_week_leaves_no_trace() {
    let room = Greenroom::start().servers(2).auth("trust").await;
    for day in 0..7 {
        for hour in 0..24 {
            let mut client = RawClient::log_in(room.address(), &room.startup("catalog")).await;
            match (day + hour) % 4 {
                0 => client.leave().await,
                1 => drop(client),
                2 => {
                    client.run("begin; set local work_mem to '1MB'").await;
                    drop(client);
                }
                _ => {
                    client.run("set timezone to 'Asia/Tokyo'; prepare own as select 1").await;
                    client.leave().await;
                }
            }
        }
    }
    is_at_rest(&room).await;
    assert!(room.stage().connections().await <= 2);
    assert_eq!(room.client("catalog").await.value("select count(*) from pg_prepared_statements").await, "0");
}
