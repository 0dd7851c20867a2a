//! Settings go with their session from server to server, and never to anybody else's.

use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::harness::frames::{Frame, bind, close_statement, execute, extended, parse, query, sync, terminate};
use crate::harness::{Greenroom, RawClient, Room, Startup, codes, eventually, rows, tags};

/// Ways to set work_mem.
const WAYS: [&[&str]; 8] = [
    &["set work_mem to '77kB'"],
    &["set session work_mem = 77"],
    &["begin", "set work_mem to '77kB'", "commit"],
    &["begin", "savepoint a", "set work_mem to '99kB'", "rollback to a", "set work_mem to '77kB'", "commit"],
    &["begin; set work_mem to '77kB'; commit"],
    &["select set_config('work_mem', '77kB', false)"],
    &["set work_mem to '99kB'; set work_mem to '77kB'"],
    &["/* a comment */ set work_mem to '77kB'"],
];

async fn value(client: &mut RawClient, sql: &str) -> String {
    let replies = client.query(sql).await;
    rows(&replies).pop().unwrap_or_else(|| panic!("{sql}: {replies:?}"))
}

/// Sends this by the extended protocol.
async fn ask_extended(client: &mut RawClient, sql: &str, arguments: &[Option<&str>]) {
    let replies = client.ask(&extended(sql, arguments)).await;
    assert_eq!(codes(&replies), [""; 0], "{sql}: {replies:?}");
}

async fn no_pins(room: &Room) {
    let pins = room.metrics().await;
    assert_eq!(pins.sum("greenroom_pins_total", &[]), 0.0);
    assert_eq!(pins.sum("greenroom_pinned_sessions", &[]), 0.0);
}

#[tokio::test]
async fn however_it_was_set_a_setting_follows_its_client_over_a_server_that_others_use() {
    let room = Greenroom::start().auth("trust").servers(1).await;
    let mut other = room.raw("catalog").await;
    for way in WAYS {
        let mut client = room.raw("catalog").await;
        for sql in way {
            client.run(sql).await;
        }
        for _ in 0..2 {
            assert_eq!(value(&mut client, "show work_mem").await, "77kB", "{way:?}");
            assert_eq!(value(&mut other, "show work_mem").await, "4MB", "{way:?}");
        }
        client.run("reset work_mem").await;
        assert_eq!(value(&mut client, "show work_mem").await, "4MB", "{way:?}");
    }
    let mut client = room.raw("catalog").await;
    ask_extended(&mut client, "set work_mem to '77kB'", &[]).await;
    assert_eq!(value(&mut other, "show work_mem").await, "4MB");
    assert_eq!(value(&mut client, "show work_mem").await, "77kB");
    no_pins(&room).await;
}

#[tokio::test]
async fn what_a_rollback_undoes_was_never_set() {
    let room = Greenroom::start().auth("trust").servers(1).await;
    let (mut client, mut other) = (room.raw("catalog").await, room.raw("catalog").await);
    for way in [
        &["begin", "set work_mem to '77kB'", "rollback"][..],
        &["begin", "savepoint a", "set work_mem to '77kB'", "rollback to a", "commit"],
        &["begin", "set local work_mem to '77kB'", "commit"],
    ] {
        for sql in way {
            client.run(sql).await;
        }
        assert_eq!(value(&mut other, "show work_mem").await, "4MB", "{way:?}");
        assert_eq!(value(&mut client, "show work_mem").await, "4MB", "{way:?}");
    }
    assert_eq!(codes(&client.query("set work_mem to 'much'").await), ["22023"]);
    assert_eq!(value(&mut client, "show work_mem").await, "4MB");
    no_pins(&room).await;
}

#[tokio::test]
async fn a_reset_goes_back_to_the_plugins_own() {
    let room = Greenroom::start().auth("trust").servers(1).await;
    let startup = room.startup("catalog").with("application_name", "ours");
    let (mut client, mut other) = (RawClient::log_in(room.address(), &startup).await, room.raw("catalog").await);
    let look = "select concat_ws(' ', current_setting('search_path'), current_setting('application_name'),
        current_setting('work_mem'), current_setting('timezone'), current_user = session_user)";
    let before = value(&mut client, look).await;
    let others = value(&mut other, look).await;
    for reset in ["reset all", "discard all"] {
        for sql in ["set search_path to pg_catalog", "set work_mem to '77kB'", "set time zone 'Asia/Tokyo'"] {
            client.run(sql).await;
        }
        assert_eq!(value(&mut client, look).await, "pg_catalog ours 77kB Asia/Tokyo t");
        // What follows in the same write finds its own again.
        let replies = client.ask(&[query(reset), query(look)]).await;
        assert_eq!(rows(&replies).concat(), before, "{reset}");
        assert_eq!(value(&mut other, look).await, others, "{reset}");
        assert_eq!(value(&mut client, look).await, before, "{reset}");
    }
    client.run("set search_path to pg_catalog").await;
    assert_eq!(rows(&client.ask(&[query("reset search_path"), query("show search_path")]).await), ["catalog"]);
    assert_eq!(value(&mut client, "show search_path").await, "catalog");
    no_pins(&room).await;
}

#[tokio::test]
async fn a_timeout_of_one_client_ends_no_statement_of_another() {
    let room = Greenroom::start().auth("trust").servers(1).await;
    let (mut client, mut other) = (room.raw("catalog").await, room.raw("catalog").await);
    client.run("set statement_timeout to '30ms'").await;
    client.run("set application_name to 'hasty'").await;
    for _ in 0..3 {
        assert_eq!(codes(&other.query("select pg_sleep(0.1)").await), [""; 0]);
        assert_eq!(codes(&client.query("select pg_sleep(0.1)").await), ["57014"]);
        assert_eq!(value(&mut client, "select 1").await, "1");
    }
}

#[tokio::test]
async fn the_client_is_told_what_it_set_and_nothing_of_what_is_replayed() {
    let room = Greenroom::start().auth("trust").servers(1).await;
    let (mut client, mut other) = (room.raw("catalog").await, room.raw("catalog").await);
    assert_eq!(tags(&client.query("set timezone to 'Asia/Tokyo'").await), "CSZ");
    assert_eq!(tags(&client.query("set datestyle to 'german'").await), "CSZ");
    for _ in 0..3 {
        assert_eq!(tags(&other.query("select 1").await), "TDCZ");
        assert_eq!(tags(&client.query("select 1").await), "TDCZ");
    }
    assert_eq!(value(&mut client, "select '2026-01-02'::date").await, "02.01.2026");
    assert_eq!(tags(&client.query("reset timezone").await), "CSZ");
}

#[tokio::test]
async fn what_cannot_go_along_keeps_its_server() {
    let room = Greenroom::start().auth("trust").servers(2).await;
    let other = room.client("catalog").await;
    for (set, show, expected) in [
        ("set our.own to 'x'", "show our.own", "x"),
        ("set client_encoding to 'latin1'", "show client_encoding", "LATIN1"),
        ("set standard_conforming_strings to off", "show standard_conforming_strings", "off"),
        ("set temp_buffers to 200", "show temp_buffers", "1600kB"),
        ("set client_min_messages to debug1", "show client_min_messages", "debug1"),
        ("begin; set search_path to pg_temp, catalog; commit", "show search_path", "pg_temp, catalog"),
    ] {
        let client = room.client("catalog").await;
        client.run(set).await;
        let server = client.server_pid().await;
        assert_ne!(other.server_pid().await, server, "{set}");
        assert_eq!(client.value(show).await, expected);
        assert_eq!(client.server_pid().await, server, "{set}");
        drop(client);
        let gone = async || room.metrics().await.sum("greenroom_pinned_sessions", &[]) == 0.0;
        eventually("the pin ends with its client", gone).await;
    }
}

/// What keeps a server, and what makes an end of it.
const ENDS: [(&[&str], &[&str]); 7] = [
    (&["create temp table t (x int)"], &["drop table t"]),
    (&["select pg_advisory_lock(77)"], &["select pg_advisory_unlock(77)"]),
    (&["begin", "select pg_advisory_lock(77)", "commit"], &["select pg_advisory_unlock_all()"]),
    (&["declare c cursor with hold for select 1"], &["close c"]),
    (&["prepare p as select 1"], &["deallocate p"]),
    (&["create temp table t (x int)", "select pg_advisory_lock(7)"], &["drop table t", "select pg_advisory_unlock(7)"]),
    (&["begin; listen left_behind; commit", "select setseed(0.5)", "set our.own to 1"], &["discard all"]),
];

#[tokio::test]
async fn a_server_that_a_session_has_cleared_serves_the_others_again() {
    let room = Greenroom::start().auth("trust").servers(1).await;
    for (keep, end) in ENDS {
        let mut client = room.raw("catalog").await;
        for sql in keep.iter().chain(end) {
            client.run(sql).await;
        }
        let mut other = room.raw("catalog").await;
        assert_eq!(value(&mut other, "select 1").await, "1", "after {end:?}");
        assert_eq!(value(&mut client, "select coalesce(current_setting('our.own', true), '')").await, "", "{end:?}");
        let free = async || room.metrics().await.sum("greenroom_pinned_sessions", &[]) == 0.0;
        eventually("nobody is pinned", free).await;
    }
}

#[tokio::test]
async fn a_session_is_free_again_though_its_client_asks_on_at_once() {
    let room = Greenroom::start().auth("trust").servers(1).await;
    let (mut client, mut other) = (room.raw("catalog").await, room.raw("catalog").await);
    let asked: Vec<Frame> = ["begin", "create temp table t (x int)", "drop table t", "commit"].map(query).to_vec();
    for _ in 0..5 {
        client.send(&asked).await;
        client.until(b'Z', 4).await;
        assert_eq!(value(&mut client, "select 1").await, "1");
        assert_eq!(value(&mut other, "select 1").await, "1");
    }
}

#[tokio::test]
async fn a_session_whose_unnamed_statement_is_older_than_its_settings_is_free_when_that_statement_is_gone() {
    let room = Greenroom::start().auth("trust").servers(1).await;
    let (mut client, mut other) = (room.raw("catalog").await, room.raw("catalog").await);
    let others = value(&mut other, "show timezone").await;
    let literal = "select extract(epoch from '2026-01-02 00:00'::timestamptz)::int";
    let ends: [Vec<Frame>; 3] =
        [vec![query("select 1")], extended("select 1", &[]), vec![close_statement(""), bind("", "", &[]), sync()]];
    for end in ends {
        client.run("set timezone to 'UTC'").await;
        let set = [parse("", "set timezone to 'Asia/Tokyo'"), bind("p", "", &[])];
        client.ask(&[&set[..], &[parse("", literal), execute("p", 0), sync()]].concat()).await;
        let older = client.ask(&[bind("", "", &[]), execute("", 0), sync()]).await;
        assert_eq!(rows(&older), ["1767312000"], "midnight in UTC, as when it was read");
        assert_eq!(room.metrics().await.sum("greenroom_pinned_sessions", &[]), 1.0);
        client.ask(&end).await;
        assert_eq!(value(&mut other, "show timezone").await, others, "the only server is free");
        assert_eq!(value(&mut client, "show timezone").await, "Asia/Tokyo");
    }
}

#[tokio::test]
async fn settings_of_the_startup_message_go_along_and_are_what_a_reset_goes_back_to() {
    let room = Greenroom::start().auth("trust").servers(2).await;
    let startup = |room: &Room| -> Startup {
        room.startup("catalog").with("TimeZone", "Asia/Tokyo").with("options", "-c work_mem=321kB --lock-timeout=2s")
    };
    let mut client = RawClient::log_in(room.address(), &startup(&room)).await;
    let mut other = room.raw("catalog").await;
    let look = "select concat_ws(' ', current_setting('timezone'), current_setting('work_mem'),
        current_setting('lock_timeout'))";
    let mut servers = Vec::new();
    for reset in ["", "reset work_mem", "set work_mem to default", "reset all", "discard all"] {
        if !reset.is_empty() {
            client.run("set work_mem to '77kB'").await;
            assert_eq!(value(&mut client, "show work_mem").await, "77kB");
            client.run(reset).await;
        }
        for _ in 0..2 {
            assert_eq!(value(&mut client, look).await, "Asia/Tokyo 321kB 2s", "{reset}");
            servers.push(value(&mut client, "select pg_backend_pid() + 0").await);
            servers.push(value(&mut other, "select pg_backend_pid() + 0").await);
            assert_eq!(value(&mut other, "show work_mem").await, "4MB");
        }
    }
    servers.dedup();
    assert_eq!(servers.len(), 1, "they share a server: {servers:?}");
    let mut refused = startup(&room);
    refused = refused.with("work_mem", "much");
    let hello = RawClient::try_log_in(room.address(), &refused).await;
    assert_eq!(codes(&hello.hello), ["22023"], "PostgreSQL's own");
    no_pins(&room).await;
}

#[tokio::test]
async fn a_pinned_session_that_rests_for_too_long_is_told_why() {
    let room = Greenroom::start().set("greenroom.timeouts.pinIdleMillis", 200).await;
    let (mut pinned, mut free) = (room.raw("catalog").await, room.raw("catalog").await);
    free.run("set work_mem to '77kB'").await;
    pinned.run("select pg_advisory_lock(77)").await;
    let told = pinned.until_closed().await;
    assert_eq!(codes(&told), ["57P05"]);
    assert!(String::from_utf8_lossy(&told[0].body).contains("advisory_lock"), "{told:?}");
    assert_eq!(value(&mut free, "select pg_try_advisory_lock(77)").await, "t", "the lock went with its server");
}

#[tokio::test]
async fn a_client_that_leaves_while_its_server_is_asked_leaves_nothing() {
    let room = Greenroom::start().auth("trust").servers(1).await;
    for _ in 0..10 {
        let mut client = room.raw("catalog").await;
        client.run("begin; set work_mem to '77kB'; commit").await;
        drop(client);
        let mut client = room.raw("catalog").await;
        assert_eq!(value(&mut client, "show work_mem").await, "4MB");
        client.run("select set_config('work_mem', '66kB', false)").await;
        client.leave().await;
    }
    let free = async || room.metrics().await.sum("greenroom_leases", &[]) == 0.0;
    eventually("every lease is given back", free).await;
    assert_eq!(room.metrics().await.sum("greenroom_server_closed_total", &["reason=\"abandoned\""]), 0.0);
}

/// What a client of [`whatever_clients_set_each_has_its_own`] believes of itself.
#[derive(Debug, Clone)]
struct Own {
    memory: String,
    zone: &'static str,
    path: String,
    name: &'static str,
    table: bool,
}

impl Own {
    const LOOK: &str = "select concat_ws('|', current_setting('work_mem'), current_setting('timezone'),
        current_setting('search_path'), current_setting('application_name'), to_regclass('pg_temp.own') is not null)";

    fn new(zone: &'static str) -> Self {
        Self { memory: "4MB".into(), zone, path: "catalog".into(), name: "", table: false }
    }

    fn sees(&self) -> String {
        let Self { memory, zone, path, name, table } = self;
        format!("{memory}|{zone}|{path}|{name}|{}", if *table { "t" } else { "f" })
    }

    /// Changes something, by one of many ways.
    async fn change(&mut self, client: &mut RawClient, random: &mut StdRng, home: &'static str) {
        let memory = format!("{}kB", random.random_range(100..999));
        match random.random_range(0..16) {
            0 => drop(client.run(&format!("set work_mem to '{memory}'")).await),
            1 => drop(client.run(&format!("select set_config('work_mem', '{memory}', false)")).await),
            2 => drop(client.run(&format!("begin; set work_mem to '{memory}'; commit")).await),
            3 => drop(client.ask(&extended(&format!("set work_mem to '{memory}'"), &[])).await),
            4 => {
                // Back to back, and the last one counts.
                let sets =
                    ["'1MB'".to_owned(), format!("'{memory}'")].map(|to| query(&format!("set work_mem to {to}")));
                client.ask(&sets).await;
            }
            5 => {
                for sql in ["begin", "set work_mem to '1MB'", "set timezone to 'UTC'", "rollback"] {
                    client.run(sql).await;
                }
                return;
            }
            6 => {
                self.zone = ["Asia/Tokyo", "Europe/Berlin"].choose(random).expect("there are two");
                return drop(client.run(&format!("set time zone '{}'", self.zone)).await);
            }
            7 => {
                self.path = format!("s{}", random.random_range(0..9));
                return drop(client.run(&format!("set search_path to {}", self.path)).await);
            }
            8 => {
                self.name = ["ours", "greenroom"].choose(random).expect("there are two");
                return drop(client.run(&format!("set application_name to '{}'", self.name)).await);
            }
            9 => {
                let ways = [&["reset all"][..], &["begin; reset all; commit"], &["begin", "reset all", "commit"]];
                for sql in *ways.choose(random).expect("there are three") {
                    client.run(sql).await;
                }
                *self = Self { table: self.table, ..Self::new(home) };
                return;
            }
            10 => {
                client.run("discard all").await;
                *self = Self::new(home);
                return;
            }
            11 => {
                client.run("reset search_path").await;
                self.path = "catalog".into();
                return;
            }
            12 if !self.table => {
                self.table = true;
                return drop(client.run("create temp table own ()").await);
            }
            13 if self.table => {
                self.table = false;
                return drop(client.run("begin; drop table own; commit").await);
            }
            14 => return drop(client.run("begin; create temp table other (); drop table other; commit").await),
            15 => {
                client.run("set work_mem to default; select 1").await;
                self.memory = "4MB".into();
                return;
            }
            _ => return,
        }
        self.memory = memory;
    }
}

#[tokio::test]
async fn whatever_clients_set_each_has_its_own() {
    let room = Greenroom::start().auth("trust").servers(12).await;
    let room = &room;
    let client = async |seed: u64| {
        let mut random = StdRng::seed_from_u64(seed);
        for life in 0..3 {
            let begins = seed.is_multiple_of(2) && life == 0;
            let startup =
                if begins { room.startup("catalog").with("TimeZone", "Asia/Kolkata") } else { room.startup("catalog") };
            let mut client = RawClient::log_in(room.address(), &startup).await;
            let zone = if begins { "Asia/Kolkata" } else { "GMT" };
            let mut own = Own::new(zone);
            let mut past = Vec::new();
            for _ in 0..20 {
                own.change(&mut client, &mut random, zone).await;
                past.push(own.clone());
                assert_eq!(value(&mut client, Own::LOOK).await, own.sees(), "seed {seed}: {past:#?}");
            }
        }
    };
    join_all((0..8).map(client)).await;
    eventually("every lease is given back", async || room.metrics().await.sum("greenroom_leases", &[]) == 0.0).await;
}

#[tokio::test]
async fn what_was_asked_while_a_server_is_asked_is_done_though_its_client_leaves() {
    let room = Greenroom::start().auth("trust").servers(1).await;
    let mut other = room.raw("catalog").await;
    other.run("create table done (n int)").await;
    for done in ["1", "2", "3"] {
        let mut client = room.raw("catalog").await;
        client.run("begin; set work_mem to '77kB'; commit").await;
        client.send(&[query("insert into done values (1)"), terminate()]).await;
        drop(client);
        let free = async || room.metrics().await.sum("greenroom_leases", &[]) == 0.0;
        eventually("the server is given back", free).await;
        assert_eq!(value(&mut other, "select count(*) from done").await, done);
    }
}

#[tokio::test]
async fn nobody_can_tell_that_another_had_temporary_tables() {
    let room = Greenroom::start().auth("trust").servers(1).await;
    let (mut client, mut other) = (room.raw("catalog").await, room.raw("catalog").await);
    for sql in ["create temp table t (n int)", "drop table t"] {
        client.run(sql).await;
    }
    assert_eq!(value(&mut other, "select pg_my_temp_schema() = 0").await, "t");
    assert_eq!(codes(&other.query("set temp_buffers to 200").await), [""; 0]);
}

#[tokio::test]
async fn a_reset_of_a_session_that_is_kept_goes_back_to_what_its_startup_message_said() {
    let room = Greenroom::start().auth("trust").servers(2).await;
    for keep in ["begin; listen gossip; commit", "create temp table own ()"] {
        for reset in ["reset all", "reset timezone", "set work_mem to default; reset timezone", "discard all"] {
            let startup = room.startup("catalog").with("TimeZone", "Asia/Tokyo");
            let mut client = RawClient::log_in(room.address(), &startup).await;
            // A server that others use is had before there is anything to keep it for.
            for sql in ["begin", keep, "commit", reset] {
                client.run(sql).await;
            }
            assert_eq!(value(&mut client, "show timezone").await, "Asia/Tokyo", "{keep}, {reset}");
            client.leave().await;
        }
    }
}

#[tokio::test]
async fn what_a_client_asks_while_its_server_is_asked_is_decided_when_that_has_told() {
    let room = Greenroom::start().auth("trust").servers(1).await;
    let mut client = room.raw("catalog").await;
    client.run("create table item (name text); insert into item values ('ours')").await;
    for _ in 0..20 {
        // The server is asked about the second one, for it was sent behind another.
        client.ask(&[query("commit"), query("set work_mem to '2MB'")]).await;
        let replies = client.query("reset all; select name from item; select current_setting('work_mem')").await;
        assert_eq!(rows(&replies), ["ours", "4MB"], "{replies:?}");
    }
}

#[tokio::test]
async fn a_reset_that_fails_takes_nothing_away_from_anybody() {
    let room = Greenroom::start().auth("trust").servers(1).await;
    let stage = room.stage();
    // As a statement_timeout or a cancel would have it fail, but each time.
    let revoke = "revoke execute on function pg_advisory_unlock_all() from public";
    stage.sql_in(&stage.database, revoke).await;
    let reset = "select pg_advisory_unlock_all(); close all; unlisten *; reset all;";
    let (mut client, mut other) = (room.raw("catalog").await, room.raw("catalog").await);
    for client in [&mut client, &mut other] {
        client.run("set search_path to pg_catalog").await;
    }
    assert_eq!(codes(&client.query(reset).await), ["42501"]);
    assert_eq!(rows(&other.query("show search_path").await), ["pg_catalog"]);
    assert_eq!(rows(&client.query("show search_path").await), ["pg_catalog"]);
    // Nor from what was sent behind it.
    let replies = client.ask(&[query(reset), query("show search_path")]).await;
    assert_eq!((codes(&replies), rows(&replies)), (vec!["42501".to_owned()], vec!["pg_catalog".to_owned()]));
}

#[tokio::test]
async fn a_reset_of_a_session_that_is_kept_leads_what_was_sent_behind_it_nowhere_else() {
    let room = Greenroom::start().auth("trust").servers(2).await;
    room.raw("catalog").await.run("create table item (name text); insert into item values ('ours')").await;
    let pool_reset = "select pg_advisory_unlock_all(); close all; unlisten *; reset all;";
    for reset in [pool_reset, "reset all", "set work_mem to '2MB'; reset search_path", "discard all"] {
        for keep in ["create temp table own ()", "set my.own to 1", "select pg_advisory_lock(7)", "begin"] {
            if (keep, reset) == ("begin", "discard all") {
                continue;
            }
            let mut client = room.raw("catalog").await;
            client.run(keep).await;
            let replies = client.ask(&[query("select 1"), query(reset), query("select name from item")]).await;
            assert_eq!(codes(&replies), [""; 0], "{keep}; {reset}: {replies:?}");
            assert_eq!(rows(&replies).last().map(String::as_str), Some("ours"), "{keep}; {reset}");
            client.leave().await;
        }
    }
}
