//! Every reason to keep a server beyond a transaction is the one that docs/metrics.md tells: in the metric, in the log, and to
//! a client that is ended because it rests; and the pin ends where it may.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use futures_util::future::join_all;

use crate::harness::frames::{Frame, function_call, parse, query, sync};
use crate::harness::{Greenroom, Log, RawClient, Room, Stage, codes, eventually, rows};

/// A way to be pinned.
struct Way {
    reason: &'static str,
    /// Startup parameters.
    startup: &'static [(&'static str, &'static str)],
    /// What the client says, write by write.
    says: Vec<Vec<Frame>>,
    /// A text that ends it, if there is one.
    end: Option<&'static str>,
}

impl Way {
    fn of(reason: &'static str, texts: &[&str], end: impl Into<Option<&'static str>>) -> Self {
        let says = texts.iter().map(|text| vec![query(text)]).collect();
        Self { reason, startup: &[], says, end: end.into() }
    }

    fn sends(reason: &'static str, frames: Vec<Frame>, end: impl Into<Option<&'static str>>) -> Self {
        Self { reason, startup: &[], says: vec![frames], end: end.into() }
    }

    fn logs_in(reason: &'static str, startup: &'static [(&'static str, &'static str)]) -> Self {
        Self { reason, startup, says: vec![vec![query("select 1")]], end: None }
    }

    /// A client of the plugin that does it.
    async fn go(&self, room: &Room) -> RawClient {
        let startup =
            self.startup.iter().fold(room.startup("catalog"), |startup, (name, value)| startup.with(name, value));
        let mut client = RawClient::log_in(room.address(), &startup).await;
        for frames in &self.says {
            let replies = client.ask(frames).await;
            assert!(codes(&replies).is_empty(), "{}, {frames:?}: {replies:?}", self.reason);
        }
        client
    }
}

/// What any login can be pinned for.
fn ways() -> Vec<Way> {
    let all = "discard all";
    let large = format!("select 1 /* {} */", "x".repeat(100_000));
    vec![
        Way::logs_in("startup_settings", &[("our.own", "x")]),
        Way::logs_in("startup_settings", &[("client_encoding", "latin1")]),
        Way::logs_in("startup_settings", &[("options", "-c role=stagehand")]),
        Way::sends("prepared_statement", vec![parse("s1", &large), sync()], all),
        Way::of("extension_setting", &["set our.own to 'x'"], all),
        Way::of("extension_setting", &["begin", "set local our.own to 'x'", "commit"], all),
        Way::of("settings", &["set temp_buffers to 200"], "reset temp_buffers"),
        Way::of("settings", &["begin", "set client_min_messages to debug1", "commit"], "reset all"),
        Way::of("settings", &["set client_encoding to 'latin1'"], all),
        Way::of("reading_of_texts", &["begin; set local standard_conforming_strings to off; commit"], all),
        Way::of("listen", &["begin; listen gossip; commit"], all),
        Way::of("temporary_table", &["create temp table t (x int) on commit delete rows"], "drop table t"),
        Way::of("temporary_table", &["select 1 as x into temp t"], "discard temp"),
        Way::of("temporary_table", &["begin", "create temp view v as select 1", "commit"], "drop view v"),
        Way::of("advisory_lock", &["select pg_advisory_lock(77)"], "select pg_advisory_unlock(77)"),
        Way::of("advisory_lock", &["select pg_try_advisory_lock_shared(7, 7)"], "select pg_advisory_unlock_all()"),
        Way::of("held_cursor", &["declare c cursor with hold for select 1"], "close c"),
        Way::of("held_cursor", &["begin; declare c cursor with hold for select 1; commit"], "close all"),
        Way::of("sql_prepare", &["prepare q as select 1"], "deallocate q"),
        Way::of("sequence", &["select nextval('ticket')"], all),
        Way::of("sequence", &["select setval('ticket', 7)"], all),
        Way::of("random_seed", &["select setseed(0.5)"], all),
        Way::of("procedural_code", &["do $$ begin null; end $$"], all),
        // pg_backend_pid()
        Way::sends("procedural_code", vec![function_call(2026, &[])], all),
        Way::of("unreadable_text", &[r#"select 1 as U&"d\0061ta""#], all),
    ]
}

/// What only a superuser can be pinned for.
fn ways_of_superusers() -> Vec<Way> {
    vec![
        Way::of("load", &["load 'plpgsql'"], "discard all"),
        Way::of("role", &["set session authorization stagehand"], "reset session authorization"),
        // The role is not shown it.
        Way::of(
            "settings",
            &["begin; set dynamic_library_path to '/nowhere'; set role stagehand; commit"],
            "discard all",
        ),
        Way::of("settings", &["set log_min_duration_statement to 5000"], "reset log_min_duration_statement"),
    ]
}

/// Two that need no client's doing: the mode of the pool, and code of the database.
const OF_ITS_PLACE: [&str; 2] = ["session_mode", "database_code"];

async fn sum(room: &Room, metric: &str, reason: &str) -> f64 {
    room.metrics().await.sum(metric, &["plugin=\"catalog\"", &format!("reason=\"{reason}\"")])
}

/// Pins a client in this way, and fails the test unless that is told with this reason and no other.
async fn assert_told(room: &Room, log: &Log, way: &Way) {
    let Way { reason, says, end, .. } = way;
    let line = ["INFO", "keeps a server connection", "plugin=\"catalog\"", &format!("reason=\"{reason}\"")];
    let before = (room.metrics().await.sum("greenroom_pins_total", &[]), log.lines(&line[1..2]).len());
    let mut client = way.go(room).await;
    eventually(&format!("{reason}: {says:?} is pinned"), async || {
        sum(room, "greenroom_pinned_sessions", reason).await == 1.0
    })
    .await;
    assert_eq!(room.metrics().await.sum("greenroom_pins_total", &[]) - before.0, 1.0, "{says:?}");
    assert_eq!(log.lines(&line[1..2]).len() - before.1, 1, "{says:?}");
    assert!(
        log.lines(&[]).iter().rev().find(|told| told.contains(line[1])).is_some_and(|told| {
            line.iter().all(|word| told.contains(word) || told.contains(&word.replace('"', "")))
        }),
        "{says:?}: {:?}",
        log.lines(&line[1..2]).last()
    );
    if let Some(end) = end {
        client.run(end).await;
        let free = async || room.metrics().await.sum("greenroom_pinned_sessions", &[]) == 0.0;
        eventually(&format!("{end} ends the pin of {says:?}"), free).await;
        assert_eq!(room.metrics().await.sum("greenroom_leases", &[]), 0.0, "{says:?}, {end}");
    } else {
        // Nothing does.
        client.run("discard all").await;
        assert_eq!(sum(room, "greenroom_pinned_sessions", reason).await, 1.0, "{says:?}");
    }
    client.leave().await;
    let gone = async || room.metrics().await.sum("greenroom_pinned_sessions", &[]) == 0.0;
    eventually("the pin ends with its client", gone).await;
}

async fn superuser() -> Stage {
    let stage = Stage::shared().await;
    stage.sql(&format!("alter role {} superuser", stage.login)).await;
    stage
}

#[tokio::test]
async fn a_pin_is_told_with_its_reason_and_ends_where_it_may() {
    let (log, room) = (Log::begin(), Greenroom::start().auth("trust").servers(3).await);
    room.raw("catalog").await.run("create sequence ticket").await;
    for way in ways() {
        assert_told(&room, &log, &way).await;
    }
}

#[tokio::test]
async fn a_superusers_pin_is_told_with_its_reason_and_ends_where_it_may() {
    let (log, room) = (Log::begin(), Greenroom::start().auth("trust").servers(3).on(superuser().await).await);
    let untouched = "select count(*) from pg_settings where name like 'plpgsql.%'; show log_min_duration_statement;
        select current_user = session_user and session_user <> 'stagehand'";
    let expected = rows(&room.raw("search").await.run(untouched).await);
    for way in ways_of_superusers() {
        assert_told(&room, &log, &way).await;
        assert_eq!(rows(&room.raw("search").await.run(untouched).await), expected, "{:?}", way.says);
    }
}

#[tokio::test]
async fn a_pin_of_the_mode_and_of_a_databases_code_is_told_with_its_reason() {
    let log = Log::begin();
    let room = Greenroom::start().auth("trust").pool("catalog", |limits| limits.with("mode", "session")).await;
    assert_told(&room, &log, &Way::logs_in(OF_ITS_PLACE[0], &[])).await;
    let code = "create function f() returns text language sql as 'select set_config(''our.own'', ''x'', false)'";
    room.raw("search").await.run(code).await;
    let mut client = room.raw("search").await;
    client.run("select 1").await;
    assert_eq!(room.metrics().await.sum("greenroom_pinned_sessions", &["search", OF_ITS_PLACE[1]]), 1.0);
}

#[tokio::test]
async fn whoever_rests_with_a_pin_is_told_what_keeps_its_server() {
    let room = Greenroom::start().auth("trust").servers(40).every_pool(|limits| limits.max(40));
    let room = room.set("greenroom.timeouts.pinIdleMillis", 400).await;
    room.raw("search").await.run("select 1").await;
    let mut free = room.raw("catalog").await;
    free.run("create sequence ticket").await;
    let told = ways().into_iter().map(|way| {
        let room = &room;
        async move {
            let mut client = way.go(room).await;
            let replies = client.until_closed().await;
            assert_eq!(codes(&replies), ["57P05"], "{:?}", way.says);
            let detail = replies.last().and_then(|last| last.field(b'D')).unwrap_or_default();
            assert!(detail.ends_with(&format!(" {}.", way.reason)), "{:?}: {detail}", way.says);
        }
    });
    join_all(told).await;
    assert_eq!(rows(&free.run("select 'rests as long as it likes'").await), ["rests as long as it likes"]);
}

#[test]
fn every_reason_of_a_pin_that_is_documented_is_tried() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let document = fs::read_to_string(document).expect("docs/metrics.md is there");
    let table = document.split("| reason of a pin |").nth(1).expect("the table of reasons");
    let documented: BTreeSet<_> =
        table.lines().skip(2).map_while(|row| row.strip_prefix("| `")?.split('`').next()).collect();
    let tried = ways().into_iter().chain(ways_of_superusers()).map(|way| way.reason).chain(OF_ITS_PLACE).collect();
    assert_eq!(documented, tried);
}
