//! Everybody at once, and a PostgreSQL that is full, starting or stopping: no more is opened than is of use.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::time::sleep;

use crate::harness::frames::{Frame, query};
use crate::harness::{
    Answer, FakeServer, Greenroom, Observer, Phase, RawClient, Reply, Room, Stage, Startup, codes, eventually, logical,
    rows,
};

/// Logins on a cold start.
const LOGINS: usize = 300;

async fn opened(room: &Room) -> f64 {
    room.metrics().await.sum("greenroom_server_connects_total", &["result=\"ok\""])
}

/// The most connections that greenroom itself counts as being opened, while `during` lasts.
async fn most_opening<T>(room: &Room, during: impl Future<Output = T>) -> (f64, T) {
    let mut during = std::pin::pin!(during);
    let mut most = 0.0;
    loop {
        let opening = async {
            sleep(Duration::from_millis(5)).await;
            room.metrics().await.sum("greenroom_server_connections", &["state=\"opening\""])
        };
        tokio::select! {
            done = &mut during => return (most, done),
            opening = opening => most = opening.max(most),
        }
    }
}

#[tokio::test]
async fn a_storm_of_logins_opens_one_connection_for_each_database() {
    let stage = Stage::shared().await;
    let databases: Vec<String> = (0..10).map(|n| format!("{}_p{n}", stage.database)).collect();
    for database in &databases {
        stage.create_database(database).await;
    }
    let prefix = format!("{}_", stage.database);
    let observer = Observer::of(&stage, &[&stage.login]);
    let room = Greenroom::start()
        .on(stage)
        .servers(12)
        .auth("trust")
        .set("greenroom.division", "database")
        .set("backend.database.prefix", prefix)
        .set("greenroom.maxParallelConnects", 3)
        .await;
    let storm = join_all((0..LOGINS).map(|n| {
        let startup = Startup::new(&room.login, "", &databases[n % databases.len()]);
        let room = &room;
        async move { RawClient::log_in(room.address(), &startup).await }
    }));
    let (opening, clients) = most_opening(&room, storm).await;
    // What PostgreSQL reports is asked once in each; the last ones may take longer than is usual.
    let opened = opened(&room).await as usize;
    assert!((databases.len()..=databases.len() + 3).contains(&opened), "{opened} connections");
    assert!(opening <= 3.0, "{opening} at the same time");
    let (most, _) = observer.end();
    assert!(most <= opened, "{most} connections");
    drop(clients);
}

#[tokio::test]
async fn a_storm_of_logins_that_make_schemas_opens_no_more_than_it_may_and_the_next_storm_nothing() {
    let room = Greenroom::start().servers(12).auth("trust").set("greenroom.maxParallelConnects", 2).await;
    let observer = Observer::of(room.stage(), &[&room.login]);
    let plugins: Vec<String> = (0..30).map(|n| format!("p{n}")).collect();
    let storm = || join_all((0..LOGINS).map(async |n| room.client(&plugins[n % plugins.len()]).await));
    let (opening, first) = most_opening(&room, storm()).await;
    assert!(opening <= 2.0, "{opening} at the same time");
    // Those for whom the last ones are on their way have been served meanwhile.
    let opening = async || room.metrics().await.sum("greenroom_server_connections", &["state=\"opening\""]);
    eventually("nothing is on its way", async || opening().await == 0.0).await;
    let before = opened(&room).await;
    let clients = storm().await;
    assert_eq!(opened(&room).await, before, "a login with nothing to find out needs no connection");
    drop(first);
    let schemas = join_all(clients.iter().map(|client| client.value("select current_schema()"))).await;
    for (n, schema) in schemas.iter().enumerate() {
        assert_eq!(*schema, plugins[n % plugins.len()]);
    }
    let (most, _) = observer.end();
    assert!(most <= 12, "{most} connections");
}

#[tokio::test]
async fn logins_that_take_long_at_postgresql_are_not_doubled() {
    let slow = |_, phase: Phase<'_>| match phase {
        Phase::Startup => Answer::Late(Duration::from_millis(30)),
        _ => Answer::Usual,
    };
    let fake = FakeServer::start(slow).await;
    let room = Greenroom::start().behind(&fake).servers(12).auth("trust").set("greenroom.maxParallelConnects", 3).await;
    let clients = join_all((0..LOGINS).map(|n| {
        let startup = Startup::new(&room.login, "", &logical(&format!("p{}", n % 30)));
        let room = &room;
        async move { RawClient::log_in(room.address(), &startup).await }
    }))
    .await;
    // One for each of the databases, of which there is room for twelve at a time.
    assert!((30..=33).contains(&fake.connections()), "{} connections", fake.connections());
    assert_eq!(fake.most_logging_in(), 3);
    drop(clients);
}

/// PostgreSQL's own words when it has no place left.
const FULL: [&str; 2] = ["sorry, too many clients already", "remaining connection slots are reserved"];

fn says_full(reply: &Reply) -> bool {
    let message = reply.field(b'M').unwrap_or_default();
    reply.code().as_deref() == Some("53300") && FULL.iter().any(|words| message.contains(words))
}

#[tokio::test]
async fn a_full_postgresql_is_told_in_its_words_and_left_alone_for_longer_and_longer() {
    const ROOM: usize = 3;
    let stage = Stage::own(&[("max_connections", "7"), ("superuser_reserved_connections", "4")]).await;
    let limits = |limits: crate::harness::Limits| {
        limits.acquire_timeout(Duration::from_millis(400)).with("createRetryIntervalMillis", 1)
    };
    let room = Greenroom::start().on(stage).servers(12).auth("trust").every_pool(limits).await;
    let mut holders = join_all((0..ROOM).map(|_| room.raw("catalog"))).await;
    for client in &mut holders {
        eventually("PostgreSQL has room for it", async || codes(&client.query("begin").await).is_empty()).await;
    }
    // What was refused while these began is over once more time has passed than the longest pause for that.
    let refused = async || room.metrics().await.sum("greenroom_server_connects_total", &["result=\"failed\""]);
    let (before, began) = (refused().await, Instant::now());
    let told = AtomicUsize::new(0);
    let count = |replies: &[Reply]| {
        let errors = replies.iter().filter(|reply| reply.code().is_some());
        for error in errors {
            assert_eq!(error.code().as_deref(), Some("53300"), "{error:?}");
            told.fetch_add(usize::from(says_full(error)), Relaxed);
        }
    };
    // Some share servers, some want one of their own from the start.
    let sharing = join_all((0..6).map(async |_| {
        let mut client = room.raw("catalog").await;
        while began.elapsed() < Duration::from_secs(3) {
            count(&client.query("select 1").await);
        }
        client
    }));
    let own = join_all((0..6).map(async |_| {
        while began.elapsed() < Duration::from_secs(3) {
            let startup = room.startup("catalog").with("options", "-c geqo=off");
            count(&RawClient::try_log_in(room.address(), &startup).await.hello);
        }
    }));
    let (mut waiting, _) = tokio::join!(sharing, own);
    let tries = refused().await - before;
    assert!((1.0..=9.0).contains(&tries), "{tries} tries in {:?}", began.elapsed());
    assert!(told.into_inner() > 0, "nobody was told what PostgreSQL said");
    drop(holders);
    for client in &mut waiting {
        eventually("there is room again", async || codes(&client.query("select 1").await).is_empty()).await;
    }
}

/// A PostgreSQL that says that it is starting, to so many.
async fn starting(refusals: usize) -> FakeServer {
    let refusal = Frame::new(b'E', *b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0").bytes();
    FakeServer::start(move |connection, phase| match phase {
        Phase::Startup if connection < refusals => Answer::BytesThenClose(refusal.clone()),
        _ => Answer::Usual,
    })
    .await
}

#[tokio::test]
async fn a_starting_postgresql_is_told_in_its_words() {
    let fake = starting(2).await;
    let room = Greenroom::start().behind(&fake).servers(2).auth("trust").await;
    for startup in [room.startup("catalog"), room.startup("catalog").with("options", "-c geqo=off")] {
        let refused = RawClient::try_log_in(room.address(), &startup).await;
        let last = refused.hello.last().expect("it is told");
        let field = |code| last.field(code).unwrap_or_default();
        assert_eq!((field(b'S'), field(b'C')), ("FATAL".to_owned(), "57P03".to_owned()), "{last:?}");
        assert_eq!(field(b'M'), "the database system is starting up");
    }
    let mut client = room.raw("catalog").await;
    assert_eq!(rows(&client.run("select 1").await), ["1"]);
}

#[tokio::test]
async fn who_waits_for_a_starting_postgresql_is_served_when_it_has_started() {
    let fake = starting(3).await;
    let patient = |limits: crate::harness::Limits| {
        limits.with("propagateCreateError", false).with("createRetryIntervalMillis", 1)
    };
    let room = Greenroom::start().behind(&fake).servers(12).auth("trust").every_pool(patient).await;
    let began = Instant::now();
    let clients = join_all((0..10).map(|_| room.raw("catalog"))).await;
    // 200, 400 and 800 ms.
    assert!(began.elapsed() >= Duration::from_millis(1400), "{:?}", began.elapsed());
    assert_eq!(fake.connections(), 4, "it was asked again only after each pause");
    drop(clients);
}

#[tokio::test]
async fn a_stopping_postgresql_is_told_in_its_words_and_found_again() {
    let stage = Stage::own(&[]).await;
    let mut room = Greenroom::start().on(stage).servers(2).auth("trust").await;
    // Its own shutdown waits for this one.
    let last = room.stage().client().await;
    let pid = room.stage().postgres().pid().expect("it runs").to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill is there").success());
    eventually("it says that it stops", async || {
        let refused = RawClient::try_log_in(room.address(), &room.startup("catalog")).await;
        codes(&refused.hello) == ["57P03"]
    })
    .await;
    drop(last);
    room.stage_mut().postgres_mut().restart().await.expect("it starts again");
    let mut client = room.raw("catalog").await;
    assert_eq!(rows(&client.ask(&[query("select 1")]).await), ["1"]);
}
