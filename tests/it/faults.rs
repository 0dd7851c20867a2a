//! PostgreSQL dies, restarts, or misbehaves: the client hears of it at once, in PostgreSQL's words, and greenroom goes on.

use std::time::Duration;

use crate::harness::frames::{Frame, extended, query};
use crate::harness::{
    Answer, FakeServer, Greenroom, Log, Phase, RawClient, Reply, Room, Stage, codes, eventually, rows, tags,
};

/// Ends every server of the room as an administrator would.
async fn terminate_servers(room: &Room) {
    let sql = format!("select pg_terminate_backend(pid) from pg_stat_activity where usename = '{}'", room.login);
    room.stage().sql(&sql).await;
}

#[tokio::test]
async fn a_server_that_died_idle_is_not_noticed_by_a_client() {
    let room = Greenroom::start().await;
    let client = room.client("catalog").await;
    for _ in 0..5 {
        client.run("select 1").await;
        terminate_servers(&room).await;
        eventually("the servers are gone", async || room.stage().connections().await == 0).await;
        assert_eq!(client.value("select 2").await, "2");
    }
}

/// A room whose login has limits of PostgreSQL's own, and a direct connection with the same.
async fn limited(limits: &[(&str, &str)]) -> (Room, RawClient) {
    let stage = Stage::shared().await;
    for (name, value) in limits {
        stage.sql(&format!("alter role {} set {name} to '{value}'", stage.login)).await;
    }
    let direct = RawClient::log_in(&stage.address(), &stage.startup(&stage.database)).await;
    (Greenroom::start().auth("trust").on(stage).await, direct)
}

/// Severity, SQLSTATE and message of each error.
fn told(replies: &[Reply]) -> Vec<[Option<String>; 3]> {
    let errors = replies.iter().filter(|reply| reply.tag == b'E');
    errors.map(|error| [b'V', b'C', b'M'].map(|field| error.field(field))).collect()
}

#[tokio::test]
async fn limits_that_postgresql_sets_are_told_by_postgresql() {
    let limits = [("statement_timeout", "100ms"), ("idle_in_transaction_session_timeout", "200ms")];
    let (room, mut direct) = limited(&limits).await;
    let mut client = room.raw("catalog").await;
    for frames in [vec![query("select pg_sleep(5)")], extended("select pg_sleep(5)", &[]), vec![query("select 1")]] {
        assert_eq!(told(&client.ask(&frames).await), told(&direct.ask(&frames).await));
    }
    for open in ["begin", "begin; select 1/0"] {
        let (mut client, mut direct) = (room.raw("catalog").await, room.stage().raw().await);
        for session in [&mut client, &mut direct] {
            session.query(open).await;
        }
        let (told, by_postgresql) = (told(&client.until_closed().await), told(&direct.until_closed().await));
        assert_eq!(told, by_postgresql, "{open}");
        assert_eq!(told[0][1].as_deref(), Some("25P03"));
    }
}

#[tokio::test]
async fn an_idle_server_that_postgresql_ends_is_not_noticed_by_a_client_that_has_none() {
    let (room, mut direct) = limited(&[("idle_session_timeout", "200ms")]).await;
    let by_postgresql = told(&direct.until_closed().await);
    let (mut client, mut pinned) = (room.raw("catalog").await, room.raw("catalog").await);
    client.run("set work_mem to '77kB'").await;
    for _ in 0..3 {
        eventually("the idle server is ended", async || room.stage().connections().await == 0).await;
        let gone = async || room.metrics().await.sum("greenroom_server_connections", &[]) == 0.0;
        eventually("that is known", gone).await;
        assert_eq!(rows(&client.run("show work_mem").await), ["77kB"]);
    }
    // What is kept on a server is gone with it.
    pinned.run("create temp table t (x int)").await;
    assert_eq!(told(&pinned.until_closed().await), by_postgresql);
    assert_eq!(by_postgresql[0][1].as_deref(), Some("57P05"));
}

#[tokio::test]
async fn a_server_that_dies_in_a_transaction_says_so_itself() {
    let room = Greenroom::start().await;
    let mut client = room.raw("catalog").await;
    client.run("begin").await;
    terminate_servers(&room).await;
    let replies = client.until_closed().await;
    assert_eq!(codes(&replies), ["57P01"], "{replies:?}");
    assert_eq!(replies[0].field(b'S').as_deref(), Some("FATAL"));
    assert_eq!(room.client("catalog").await.value("select 1").await, "1");
}

#[tokio::test]
async fn a_server_that_dies_between_rows_says_so_itself() {
    let room = Greenroom::start().await;
    let mut client = room.raw("catalog").await;
    client
        .send(&[query("select n, pg_sleep(0.01 * (n > 100)::int), repeat('x', 8000) from generate_series(1, 5000) n")])
        .await;
    client.until(b'D', 5).await;
    terminate_servers(&room).await;
    let replies = client.until_closed().await;
    assert_eq!(replies.last().and_then(|last| last.code()).as_deref(), Some("57P01"));
    assert!(tags(&replies).trim_end_matches('E').chars().all(|tag| tag == 'D'));
}

#[tokio::test]
async fn clients_outlive_a_restart_of_postgresql() {
    let stage = Stage::own(&[]).await;
    let mut room = Greenroom::start().on(stage).await;
    let client = room.client("catalog").await;
    client.run("create table item (id int)").await;
    room.stage_mut().postgres_mut().restart().await.expect("PostgreSQL starts again");
    assert_eq!(client.value("select count(*) from item").await, "0");
}

#[tokio::test]
async fn clients_outlive_a_crash_of_postgresql() {
    let stage = Stage::own(&[]).await;
    let mut room = Greenroom::start().on(stage).await;
    let client = room.client("catalog").await;
    client.run("create table item (id int)").await;
    // What is not on disk yet would go with the crash.
    room.stage().sql("checkpoint").await;
    room.stage_mut().postgres_mut().kill().await;
    let mut idle = RawClient::log_in(room.address(), &room.startup("catalog")).await;
    // The servers' own farewells arrive a moment later; whoever is lent one of them hears of it.
    eventually("the servers are known to be gone", async || {
        room.metrics().await.sum("greenroom_server_connections", &["state=\"idle\""]) == 0.0
    })
    .await;
    let replies = idle.query("select 1").await;
    assert_eq!(tags(&replies), "EZ", "an error, and the connection goes on: {replies:?}");
    room.stage_mut().postgres_mut().start_again().await.expect("PostgreSQL starts again");
    eventually("PostgreSQL is back", async || codes(&idle.query("select 1").await).is_empty()).await;
    assert_eq!(client.value("select count(*) from item").await, "0");
}

#[tokio::test]
async fn greenroom_starts_without_postgresql_and_finds_it_later() {
    let (log, mut stage) = (Log::begin(), Stage::own(&[]).await);
    stage.postgres_mut().stop().await;
    let mut room = Greenroom::start().on(stage).await;
    let early = RawClient::try_log_in(room.address(), &room.startup("catalog")).await;
    let codes = codes(&early.hello);
    assert!(codes.iter().all(|code| code.starts_with("08") || code.starts_with("57P")), "{:?}", early.hello);
    assert_eq!(log.lines(&["WARN", "cannot connect to PostgreSQL", "failures=1 "]).len(), 1);
    room.stage_mut().postgres_mut().start_again().await.expect("PostgreSQL starts again");
    assert_eq!(room.client("catalog").await.value("select 1").await, "1");
    assert_eq!(log.lines(&["PostgreSQL takes connections again"]).len(), 1);
}

#[tokio::test]
async fn a_usual_fake_server_is_good_enough_to_be_pooled() {
    let fake = FakeServer::usual().await;
    let room = Greenroom::start().behind(&fake).servers(2).await;
    let mut client = room.raw("catalog").await;
    for _ in 0..3 {
        assert_eq!(rows(&client.run("select 1").await), ["1"]);
        assert_eq!(rows(&client.ask(&extended("select 1", &[])).await), ["1"]);
    }
    assert!(fake.connections() <= 2);
}

#[tokio::test]
async fn a_query_costs_one_write_and_one_read_at_the_server() {
    let fake = FakeServer::usual().await;
    let room = Greenroom::start().behind(&fake).servers(1).await;
    let mut client = room.raw("catalog").await;
    for _ in 0..3 {
        client.run("select 1").await;
    }
    let before = fake.reads_and_writes();
    for _ in 0..10 {
        client.ask(&extended("select 1", &[])).await;
    }
    let after = fake.reads_and_writes();
    assert_eq!((after.0 - before.0, after.1 - before.1), (10, 10));
}

/// A fault on the first connections; the later ones are as usual.
async fn client_survives(fault: impl Fn(Phase<'_>) -> Answer + Send + Sync + 'static) -> (FakeServer, Vec<String>) {
    let fake = FakeServer::start(move |connection, phase| match connection {
        0 => fault(phase),
        _ => Answer::Usual,
    })
    .await;
    let room = Greenroom::start()
        .behind(&fake)
        .servers(1)
        .every_pool(|limits| limits.with("createTimeoutMillis", 300).acquire_timeout(Duration::from_millis(2000)))
        .await;
    let mut told = Vec::new();
    // A login may meet the fault as well as a query: either way the client hears of it, and the next one is served.
    for _ in 0..3 {
        let mut client = RawClient::try_log_in(room.address(), &room.startup("catalog")).await;
        told.extend(codes(&client.hello));
        if client.hello.last().is_some_and(|last| last.tag == b'Z') {
            client.send(&[query("select 1")]).await;
            let replies = client.until_quiet(Duration::from_millis(1000)).await;
            assert!(!replies.is_empty(), "a query was answered with nothing");
            told.extend(codes(&replies));
        }
    }
    let mut client = room.raw("catalog").await;
    assert_eq!(rows(&client.run("select 1").await), ["1"], "greenroom recovers: {told:?}");
    client.leave().await;
    for name in ["greenroom_leases", "greenroom_acquire_waiting", "greenroom_client_connections"] {
        eventually(name, async || room.metrics().await.sum(name, &[]) == 0.0).await;
    }
    eventually("broken connections are closed", async || fake.open() <= 1).await;
    (fake, told)
}

#[tokio::test]
async fn a_server_that_fails_before_its_login_is_reported_and_left() {
    let garbage = || Answer::Bytes(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec());
    let refusal = || Frame::new(b'E', *b"SFATAL\0VFATAL\0C53300\0Msorry, too many clients already\0\0").bytes();
    for phase_is_accept in [true, false] {
        let at = move |phase: &Phase<'_>| {
            matches!((phase, phase_is_accept), (Phase::Accept, true) | (Phase::Startup, false))
        };
        for fault in [
            Answer::Close,
            Answer::Stall,
            garbage(),
            Answer::BytesThenClose(refusal()),
            Answer::BytesThenClose(b"R\0\0".to_vec()),
        ] {
            let answer = fault.clone();
            let (_, told) = client_survives(move |phase| if at(&phase) { answer.clone() } else { Answer::Usual }).await;
            assert!(!told.is_empty(), "{fault:?}: nobody was told");
            if let Answer::BytesThenClose(bytes) = &fault
                && bytes[0] == b'E'
                && !phase_is_accept
            {
                assert_eq!(told[0], "53300", "PostgreSQL's own error is passed on");
            }
        }
    }
}

#[tokio::test]
async fn a_server_that_fails_in_a_query_is_reported_and_thrown_away() {
    let half_a_row =
        b"T\0\0\0\x1c\0\x01one\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0D\0\0\0\x0b\0\x01\0\0".to_vec();
    let last_words =
        Frame::new(b'E', *b"SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0").bytes();
    for fault in [
        Answer::Close,
        Answer::BytesThenClose(half_a_row.clone()),
        Answer::BytesThenClose(last_words),
        Answer::BytesThenClose(b"D\0\0".to_vec()),
        // A length that cannot be: nothing behind it can be trusted.
        Answer::Bytes(b"D\0\0\0\x01".to_vec()),
        Answer::Bytes(b"D\xff\xff\xff\xff".to_vec()),
        // A ReadyForQuery that says nothing known.
        Answer::Bytes(b"Z\0\0\0\x05?".to_vec()),
    ] {
        let answer = fault.clone();
        let on_query = move |phase: Phase<'_>| match phase {
            Phase::Message(_, frame) if frame.tag == b'Q' && frame.body.starts_with(b"select 1\0") => answer.clone(),
            _ => Answer::Usual,
        };
        let (fake, told) = client_survives(on_query).await;
        // In the middle of a row nothing can be said any more: the connection just ends.
        let in_a_row = matches!(&fault, Answer::BytesThenClose(bytes) if *bytes == half_a_row);
        assert!(in_a_row || !told.is_empty(), "{fault:?}: nobody was told");
        assert!(fake.connections() >= 2, "{fault:?}: the broken connection was used again");
    }
}

#[tokio::test]
async fn bytes_that_nobody_asked_for_make_a_server_unusable() {
    let stray = [Frame::new(b'D', *b"\0\x01\0\0\0\x06stolen").bytes(), Frame::new(b'Z', *b"I").bytes()].concat();
    let fake = FakeServer::start(move |connection, phase| match phase {
        Phase::Message(_, frame) if connection == 0 && frame.body.starts_with(b"select 'first'\0") => Answer::Bytes(
            [Frame::new(b'C', *b"SELECT 0\0").bytes(), Frame::new(b'Z', *b"I").bytes(), stray.clone()].concat(),
        ),
        _ => Answer::Usual,
    })
    .await;
    let room = Greenroom::start().behind(&fake).servers(1).await;
    let (mut first, mut second) = (room.raw("catalog").await, room.raw("auth").await);
    first.send(&[query("select 'first'")]).await;
    first.until(b'Z', 1).await;
    assert_eq!(rows(&second.run("select 1").await), ["1"], "what came too late is nobody's");
}
