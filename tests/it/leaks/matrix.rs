//! Whatever a client has left in its server, and however it ends: the next one finds a server that nobody has touched.

use super::LOOK;
use crate::differential::compare::{comparable_login, same};
use crate::harness::frames::{
    Frame, bind, copy_data, describe_statement, execute, flush, parse, query, sync, terminate,
};
use crate::harness::{Greenroom, RawClient, Reply, Room, Stage, codes, rows};

/// What a client leaves: text by text, each a transaction of its own.
const SETTINGS: [&[&str]; 15] = [
    &["set work_mem to '77kB'; set timezone to 'Asia/Tokyo'"],
    &["set session datestyle = 'German'", "set intervalstyle to 'iso_8601'", "set application_name to 'left behind'"],
    &["set client_encoding to 'latin1'", "set standard_conforming_strings to off"],
    &[
        "set statement_timeout to '12s'",
        "set lock_timeout to '13s'",
        "set idle_in_transaction_session_timeout to '14s'",
    ],
    &["set default_transaction_read_only to on", "set row_security to off; set check_function_bodies to off"],
    &["set session characteristics as transaction isolation level serializable, read only"],
    &["set search_path to pg_catalog"],
    &["set search_path to pg_temp, nowhere; set role stagehand"],
    &["set role stagehand"],
    &["set our.own to 'left behind'; set app.tenant to 'left behind'"],
    &["select set_config('work_mem', '77kB', false), set_config('our.own', 'left behind', false)"],
    &["do $$ begin set work_mem to '77kB'; perform set_config('our.own', 'left behind', false); end $$"],
    &["begin; set work_mem to '77kB'; savepoint a; set timezone to 'Asia/Tokyo'; release a; commit"],
    &["set work_mem to '77kB'", "reset all", "set our.own to 'left behind'", "discard all", "set work_mem to '78kB'"],
    &["update pg_settings set setting = '77kB' where name = 'work_mem'"],
];

const THINGS: [&[&str]; 18] = [
    &["create temp table item (word text); insert into item values ('left behind')"],
    &["select 'left behind' as word into temp item"],
    &["create table pg_temp.item (word text)", "create temp view v as select 1", "create temp sequence q"],
    &["create type pg_temp.y as enum ('left behind')", "create domain pg_temp.d as text"],
    &["create function pg_temp.f() returns text language sql as $$ select 'left behind' $$"],
    &["do $$ begin create temp table item (word text); perform pg_advisory_lock(79); end $$"],
    &["select pg_advisory_lock(77)"],
    &["select pg_try_advisory_lock_shared(7, 7), pg_advisory_lock(78)", "select pg_advisory_unlock(78)"],
    &["prepare s1 as select 'left behind'"],
    &["declare held cursor with hold for select 'left behind'"],
    &["begin; declare held cursor with hold for select 'left behind'; fetch held; commit"],
    &["listen left_behind"],
    &["begin; listen left_behind; notify left_behind; commit"],
    &["select nextval('ticket')", "insert into numbered default values returning id"],
    &["select setseed(0.5)", "set seed to 0.5"],
    &["do $$ begin null; end $$", "set plpgsql.extra_warnings to 'all'"],
    &["create temp table item (word text) on commit delete rows", "discard plans"],
    &["prepare s1 as select 'left behind'", "execute s1", "explain execute s1", "discard sequences"],
];

/// What only a superuser can leave.
const OF_SUPERUSERS: [&[&str]; 5] = [
    &["set session authorization stagehand"],
    &["begin; set session authorization stagehand; commit", "set role none"],
    &["set log_min_duration_statement to 0; set session_replication_role to replica"],
    &["select set_config('session_authorization', 'stagehand', false)"],
    &["load 'plpgsql'", "set plpgsql.extra_warnings to 'all'"],
];

/// How a client ends.
#[derive(Debug, Clone, Copy)]
enum End {
    Goodbye,
    Vanishes,
    /// In a transaction in which it does all of it again.
    InTransaction,
    /// In one that has failed.
    InFailedTransaction,
    /// With its data half sent.
    InCopyIn,
    /// With a goodbye there.
    InCopyInWithGoodbye,
    /// With the rows half read.
    InCopyOut,
    /// With a portal half read, before its Sync.
    InBatch,
    /// While a statement runs.
    InStatement,
    /// Before it has read any answer to what it does again.
    BeforeAnswers,
}

/// Each of these is tried after everything that can be left, and of the others one in turn.
const USUAL: [End; 4] = [End::Goodbye, End::Vanishes, End::InTransaction, End::InCopyIn];

const OTHERS: [End; 6] = [
    End::InFailedTransaction,
    End::InCopyInWithGoodbye,
    End::InCopyOut,
    End::InBatch,
    End::InStatement,
    End::BeforeAnswers,
];

/// The ends for the kind of this number; all of them when `GREENROOM_MATRIX` is set.
fn ends(number: usize) -> Vec<End> {
    let others = match std::env::var_os("GREENROOM_MATRIX") {
        Some(_) => &OTHERS[..],
        None => &OTHERS[number % OTHERS.len()..][..1],
    };
    [&USUAL[..], others].concat()
}

impl End {
    /// Ends the client.
    async fn end(self, mut client: RawClient, left: &[Frame]) {
        match self {
            Self::Goodbye => client.leave().await,
            Self::Vanishes => {}
            Self::InTransaction => {
                client.query("begin").await;
                client.ask(left).await;
            }
            Self::InFailedTransaction => drop(client.query("begin; select 1/0").await),
            Self::InCopyIn | Self::InCopyInWithGoodbye => {
                client.send(&[query("begin read write; copy catalog.copied from stdin"), copy_data("half a li")]).await;
                client.until(b'G', 1).await;
                if matches!(self, Self::InCopyInWithGoodbye) {
                    client.send(&[terminate()]).await;
                    client.until_closed().await;
                }
            }
            Self::InCopyOut => {
                client.send(&[query("copy (select repeat('x', 1000) from generate_series(1, 20000)) to stdout")]).await;
                client.until(b'd', 3).await;
            }
            Self::InBatch => {
                let batch = [parse("", "select n from generate_series(1, 9) n"), bind("p", "", &[]), execute("p", 2)];
                client.send(&[&batch[..], &[flush()]].concat()).await;
                client.until(b's', 1).await;
            }
            Self::InStatement => client.send(&[query("select pg_sleep(0.03)")]).await,
            Self::BeforeAnswers => client.send(left).await,
        }
    }
}

/// One server for all, and what the first client sees of its session.
struct Matrix {
    room: Room,
    untouched: Vec<Reply>,
    /// The first number of a session that was seeded as the tests do it.
    seeded: String,
}

impl Matrix {
    async fn with_one_server() -> Self {
        Self::of(Greenroom::start().auth("trust").servers(1).await).await
    }

    async fn of(room: Room) -> Self {
        let mut client = room.raw("catalog").await;
        client
            .run(
                "create table item (name text); insert into item values ('our own'); create sequence ticket;
                  create table numbered (id serial); create table copied (line text);
                  grant all on schema catalog to stagehand; grant all on all tables in schema catalog to stagehand",
            )
            .await;
        let seeded = rows(&client.run("select setseed(0.5); select random()").await).remove(1);
        client.leave().await;
        let untouched = look(&room).await;
        Self { room, untouched, seeded }
    }

    /// Fails the test when a new client sees anything else.
    async fn assert_none(&self, after: &str) {
        let found = look(&self.room).await;
        same(&format!("after {after}"), &self.untouched, &found).unwrap_or_else(|differs| panic!("{differs}"));
        let random = self.room.client("catalog").await.value("select random()").await;
        assert_ne!(random, self.seeded, "after {after}: the numbers of another");
    }
}

/// Everything that a new client can see of its session.
async fn look(room: &Room) -> Vec<Reply> {
    let mut client = room.raw("catalog").await;
    let mut seen = comparable_login(&client.hello);
    // Whose unnamed and named statements these are.
    seen.extend(client.ask(&[describe_statement(""), sync(), describe_statement("s1"), sync()]).await);
    seen.extend(client.query(LOOK).await);
    seen.extend(client.query("select * from item").await);
    seen.extend(client.query("select lastval()").await);
    seen.extend(client.query("select currval('ticket')").await);
    client.leave().await;
    seen
}

/// All ends of each.
async fn assert_nothing_is_left(kinds: &[&[&str]]) {
    assert_nothing_is_left_in(&Matrix::with_one_server().await, kinds).await;
}

async fn assert_nothing_is_left_in(leaks: &Matrix, kinds: &[&[&str]]) {
    for (number, texts) in kinds.iter().enumerate() {
        let left: Vec<_> = texts.iter().map(|text| query(text)).collect();
        for end in ends(number) {
            let mut client = leaks.room.raw("catalog").await;
            let replies = client.ask(&left).await;
            assert!(codes(&replies).is_empty(), "{texts:?}: {replies:?}");
            end.end(client, &left).await;
            leaks.assert_none(&format!("{texts:?}, {end:?}")).await;
        }
    }
}

#[tokio::test]
async fn settings_end_with_their_client_however_it_ends() {
    assert_nothing_is_left(&SETTINGS[..SETTINGS.len() / 2]).await;
}

#[tokio::test]
async fn more_settings_end_with_their_client_however_it_ends() {
    assert_nothing_is_left(&SETTINGS[SETTINGS.len() / 2..]).await;
}

#[tokio::test]
async fn temporary_things_and_locks_end_with_their_client_however_it_ends() {
    assert_nothing_is_left(&THINGS[..THINGS.len() / 2]).await;
}

#[tokio::test]
async fn statements_cursors_and_numbers_end_with_their_client_however_it_ends() {
    assert_nothing_is_left(&THINGS[THINGS.len() / 2..]).await;
}

#[tokio::test]
async fn what_a_superuser_leaves_ends_with_its_client_however_it_ends() {
    let stage = Stage::shared().await;
    stage.sql(&format!("alter role {} superuser", stage.login)).await;
    let leaks = Matrix::of(Greenroom::start().auth("trust").servers(1).on(stage).await).await;
    assert_nothing_is_left_in(&leaks, &OF_SUPERUSERS).await;
}

#[tokio::test]
async fn what_discard_all_does_not_throw_away_goes_with_its_server() {
    let leaks = Matrix::with_one_server().await;
    for text in ["select setseed(0.5)", "set our.own to 'left behind'", "do $$ begin perform setseed(0.5); end $$"] {
        let mut client = leaks.room.raw("catalog").await;
        // The transaction begins on a server that others use.
        for sql in ["begin", text, "commit", "discard all"] {
            client.run(sql).await;
        }
        leaks.assert_none(&format!("{text}, discarded")).await;
        client.leave().await;
    }
}

#[tokio::test]
async fn what_is_left_by_messages_ends_with_its_client_however_it_ends() {
    let leaks = Matrix::with_one_server().await;
    let run = |name: &str| [bind("", name, &[]), execute("", 0), sync()];
    type Startup<'a> = &'a [(&'a str, &'a str)];
    let left: [(Startup<'_>, Vec<Frame>); 5] = [
        (&[], vec![parse("", "select 'left behind'"), sync()]),
        (&[], vec![parse("s1", "select 'left behind'"), parse("s2", "selec"), sync()]),
        (&[], [&[parse("s1", "set work_mem to '76kB'")][..], &run("s1")].concat()),
        (&[("work_mem", "77kB"), ("TimeZone", "Asia/Tokyo"), ("our.own", "left behind")], vec![query("select 1")]),
        (
            &[("options", "-c role=stagehand -c statement_timeout=9s"), ("search_path", "pg_catalog")],
            [&[parse("", "set our.own to 'left behind'")][..], &run("")].concat(),
        ),
    ];
    for (number, (parameters, left)) in left.into_iter().enumerate() {
        let startup =
            parameters.iter().fold(leaks.room.startup("catalog"), |startup, (name, value)| startup.with(name, value));
        for end in ends(number) {
            let mut client = RawClient::log_in(leaks.room.address(), &startup).await;
            client.ask(&left).await;
            end.end(client, &left).await;
            leaks.assert_none(&format!("{left:?} with {parameters:?}, {end:?}")).await;
        }
    }
}
