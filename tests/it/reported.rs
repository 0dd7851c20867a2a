//! Settings that change without anybody's SET: a client is told what is in force for it, whichever server it is lent.

use std::time::Duration;

use crate::harness::frames::{bind, execute, parse, query, sync};
use crate::harness::{
    Answer, FakeServer, Frame, Greenroom, Phase, RawClient, Reply, Room, Stage, codes, eventually, rows, tags,
};

/// The last value of TimeZone that these replies report.
fn told(replies: &[Reply]) -> Option<String> {
    let told = replies.iter().rev().find(|reply| reply.tag == b'S' && reply.word() == "TimeZone")?;
    let value = told.body.split(|&byte| byte == 0).nth(1)?;
    Some(String::from_utf8_lossy(value).into_owned())
}

/// Asks for the zone in force: what the client is told of it, and what it is.
async fn zone(client: &mut RawClient) -> (Option<String>, String) {
    let replies = client.run("show timezone").await;
    (told(&replies), rows(&replies).remove(0))
}

fn news(zone: &str) -> (Option<String>, String) {
    (Some(zone.to_owned()), zone.to_owned())
}

/// Changes the zone of the whole PostgreSQL.
async fn reconfigure(room: &Room, zone: &str) {
    room.stage().sql(&format!("alter system set timezone to '{zone}'")).await;
    room.stage().sql("select pg_reload_conf()").await;
    eventually("the configuration is read", async || room.stage().sql("show timezone").await == [zone]).await;
}

async fn room_of_one_zone(servers: u32) -> Room {
    let stage = Stage::own(&[("timezone", "UTC")]).await;
    Greenroom::start().on(stage).servers(servers).auth("trust").await
}

#[tokio::test]
async fn every_client_is_told_of_a_configuration_that_was_changed() {
    let room = room_of_one_zone(3).await;
    let mut clients = Vec::new();
    for plugin in ["catalog", "search", "auth", "catalog", "techdocs"] {
        let mut client = room.raw(plugin).await;
        assert_eq!(told(&client.hello).as_deref(), Some("UTC"));
        client.run("select 1").await;
        clients.push(client);
    }
    // Two servers more, so that not everybody meets the same one.
    let (mut busy, mut other) = (room.raw("catalog").await, room.raw("search").await);
    busy.run("begin").await;
    other.run("begin").await;
    busy.send(&[query("select pg_sleep(0.3)")]).await;
    reconfigure(&room, "Asia/Tokyo").await;
    busy.until(b'Z', 1).await;
    assert_eq!(zone(&mut busy).await.1, "Asia/Tokyo", "PostgreSQL reads its configuration between two messages");
    assert_eq!(zone(&mut other).await, news("Asia/Tokyo"), "in a transaction as well");
    busy.run("commit").await;
    other.run("rollback").await;
    for client in &mut clients {
        assert_eq!(zone(client).await, news("Asia/Tokyo"));
        assert_eq!(zone(client).await, (None, "Asia/Tokyo".to_owned()), "once is enough");
    }
    let mut late = room.raw("catalog").await;
    assert_eq!(told(&late.hello).as_deref(), Some("Asia/Tokyo"));
    assert_eq!(zone(&mut late).await, (None, "Asia/Tokyo".to_owned()));
}

#[tokio::test]
async fn a_client_with_a_setting_of_its_own_is_told_nothing() {
    let room = room_of_one_zone(1).await;
    let (mut own, mut other) = (room.raw("catalog").await, room.raw("search").await);
    let startup = room.startup("catalog").with("TimeZone", "Europe/Paris");
    let mut from_its_login = RawClient::log_in(room.address(), &startup).await;
    own.run("set timezone to 'Europe/Berlin'").await;
    reconfigure(&room, "Asia/Tokyo").await;
    assert_eq!(zone(&mut own).await, (None, "Europe/Berlin".to_owned()));
    assert_eq!(zone(&mut other).await, news("Asia/Tokyo"));
    assert_eq!(zone(&mut own).await, (None, "Europe/Berlin".to_owned()));
    assert_eq!(zone(&mut from_its_login).await, (None, "Europe/Paris".to_owned()));
    let replies = own.run("reset timezone").await;
    assert_eq!(told(&replies).as_deref(), Some("Asia/Tokyo"));
    assert_eq!(zone(&mut own).await, (None, "Asia/Tokyo".to_owned()));
}

#[tokio::test]
async fn a_change_that_is_met_behind_a_set_is_told_to_the_others_all_the_same() {
    let room = room_of_one_zone(1).await;
    let (mut own, mut other) = (room.raw("catalog").await, room.raw("search").await);
    for client in [&mut own, &mut other] {
        client.run("select 1").await;
    }
    reconfigure(&room, "Asia/Tokyo").await;
    own.run("begin; set timezone to 'Europe/Berlin'; commit").await;
    assert_eq!(zone(&mut other).await, news("Asia/Tokyo"));
    assert_eq!(zone(&mut own).await, (None, "Europe/Berlin".to_owned()));
}

#[tokio::test]
async fn what_a_role_is_given_holds_for_all_of_its_sessions_once_the_first_new_server_has_it() {
    let room = room_of_one_zone(3).await;
    let (mut first, mut second) = (room.raw("catalog").await, room.raw("search").await);
    first.run("begin").await;
    second.run("begin; commit").await;
    room.stage().sql(&format!("alter role {} set timezone to 'Asia/Tokyo'", room.login)).await;
    // A third server, with which it is noticed.
    let mut third = room.raw("auth").await;
    second.run("begin").await;
    third.run("select 1").await;
    assert_eq!(zone(&mut first).await, (None, "UTC".to_owned()), "not in the middle of a transaction");
    first.run("commit").await;
    second.run("commit").await;
    for client in [&mut first, &mut second] {
        assert_eq!(zone(client).await, news("Asia/Tokyo"));
    }
}

/// What is reported to nobody cannot be noticed.
#[tokio::test]
async fn what_a_role_is_given_and_nobody_is_told_comes_with_new_servers() {
    let room = room_of_one_zone(2).await;
    let (mut first, mut second) = (room.raw("catalog").await, room.raw("search").await);
    first.run("begin; commit").await;
    room.stage().sql(&format!("alter role {} set work_mem to '7MB'", room.login)).await;
    first.run("begin").await;
    second.run("begin").await;
    assert_eq!(rows(&first.run("show work_mem; commit").await), ["4MB"], "that server is older");
    assert_eq!(rows(&second.run("show work_mem; commit").await), ["7MB"], "that one is newer, and the session is not");
}

#[tokio::test]
async fn literals_are_read_as_the_configuration_of_now_says() {
    let room = room_of_one_zone(1).await;
    let (mut first, mut second) = (room.raw("catalog").await, room.raw("search").await);
    let literal = "select timestamptz '2026-01-01 00:00' = timestamptz '2026-01-01 00:00+09'";
    let run = [parse("s1", literal), bind("", "s1", &[]), execute("", 0), sync()];
    assert_eq!(rows(&first.ask(&run).await), ["f"]);
    reconfigure(&room, "Asia/Tokyo").await;
    assert_eq!(zone(&mut second).await, news("Asia/Tokyo"));
    assert_eq!(rows(&second.ask(&run).await), ["t"], "not as another client has had it read before");
}

#[tokio::test]
async fn a_notice_to_a_client_that_waits_in_its_transaction_comes_at_once() {
    let told = || {
        let notice = Frame::new(b'N', *b"SWARNING\0VWARNING\0C01000\0Msoon\0\0").bytes();
        let status = Frame::new(b'S', *b"TimeZone\0Asia/Tokyo\0").bytes();
        let begun = [Frame::new(b'C', *b"BEGIN\0").bytes(), Frame::new(b'Z', *b"T").bytes()].concat();
        [begun, notice, status].concat()
    };
    let fake = FakeServer::start(move |_, phase| match phase {
        Phase::Message(_, frame) if frame.body.starts_with(b"begin\0") => Answer::Bytes(told()),
        _ => Answer::Usual,
    })
    .await;
    let room = Greenroom::start().behind(&fake).servers(1).await;
    let mut client = room.raw("catalog").await;
    client.send(&[query("begin")]).await;
    client.until(b'Z', 1).await;
    let replies = client.until_quiet(Duration::from_millis(300)).await;
    assert_eq!(tags(&replies), "NS", "{replies:?}");
    assert_eq!(codes(&client.query("rollback").await), [""; 0]);
}

#[tokio::test]
async fn a_change_is_told_though_it_is_met_behind_a_message_of_greenrooms() {
    let room = room_of_one_zone(1).await;
    let (mut first, mut second) = (room.raw("catalog").await, room.raw("search").await);
    first.run("select 1").await;
    reconfigure(&room, "Asia/Tokyo").await;
    // It is the other plugin's search_path that the server is asked for first.
    assert_eq!(zone(&mut second).await, news("Asia/Tokyo"));
    assert_eq!(zone(&mut first).await, news("Asia/Tokyo"));
}

/// Whoever comes with settings logs in at a server of its own, which is new, and is then lent older ones.
#[tokio::test]
async fn a_client_that_comes_with_settings_is_told_what_is_in_force_on_the_servers_that_it_is_lent() {
    let room = room_of_one_zone(3).await;
    let mut first = room.raw("catalog").await;
    first.run("select 1").await;
    room.stage().sql(&format!("alter role {} set timezone to 'Asia/Tokyo'", room.login)).await;
    let startup = room.startup("search").with("work_mem", "77kB");
    let mut late = RawClient::log_in(room.address(), &startup).await;
    let mut believes = told(&late.hello).expect("a zone");
    for _ in 0..3 {
        let (news, zone) = zone(&mut late).await;
        believes = news.unwrap_or(believes);
        assert_eq!(believes, zone);
        first.run("begin").await;
        // The second server is newer than the first.
        believes = told(&late.run("begin; commit").await).unwrap_or(believes);
        first.run("commit").await;
    }
    assert_eq!(believes, "Asia/Tokyo");
}

/// Where a database has code of its own, each session has its own server, and no other can tell of anything new.
#[tokio::test]
async fn a_client_is_told_what_a_server_of_its_own_begins_with() {
    let room = room_of_one_zone(3).await;
    let mut client = room.raw("catalog").await;
    client
        .run("create function public.f() returns text language sql as $$ select set_config('a.b', 'c', false) $$")
        .await;
    client.leave().await;
    let mut client = room.raw("catalog").await;
    client.run("select 1").await;
    client.leave().await;
    let mut client = room.raw("catalog").await;
    assert_eq!(told(&client.hello).as_deref(), Some("UTC"));
    room.stage().sql(&format!("alter role {} set timezone to 'Asia/Tokyo'", room.login)).await;
    assert_eq!(zone(&mut client).await, news("Asia/Tokyo"));
    assert_eq!(zone(&mut client).await, (None, "Asia/Tokyo".to_owned()));
}

/// PostgreSQL reads its configuration when it is next asked something, whoever asks.
#[tokio::test]
async fn a_change_is_told_though_it_is_met_by_a_question_of_greenrooms() {
    let role = "create role other; grant other to";
    for set_up in ["", "set role other", "set work_mem to '77kB'; create temp table t (x int)"] {
        let room = room_of_one_zone(1).await;
        room.stage().sql(&format!("{role} {}", room.login)).await;
        let (mut client, mut neighbour) = (room.raw("catalog").await, room.raw("search").await);
        client.run("select 1").await;
        if !set_up.is_empty() {
            client.run(set_up).await;
        }
        if !set_up.contains("temp") {
            neighbour.run("select 1").await;
        }
        reconfigure(&room, "Asia/Tokyo").await;
        assert_eq!(zone(&mut client).await, news("Asia/Tokyo"), "{set_up}");
        assert_eq!(zone(&mut client).await, (None, "Asia/Tokyo".to_owned()), "{set_up}");
    }
}

/// The server's own report of it is an answer to a question that no client has asked: what is left of this session?
#[tokio::test]
async fn a_pinned_client_is_told_what_its_server_says_when_it_is_asked_what_is_left() {
    let fake = FakeServer::start(|_, phase| match phase {
        Phase::Message(_, frame) if frame.body.starts_with(b"SET TRANSACTION ISOLATION") => {
            let status = Frame::new(b'S', *b"TimeZone\0Asia/Tokyo\0").bytes();
            let refused = Frame::new(b'E', *b"SERROR\0VERROR\0C42501\0Mno\0\0").bytes();
            Answer::Bytes([refused, status, Frame::new(b'Z', *b"I").bytes()].concat())
        }
        _ => Answer::Usual,
    })
    .await;
    let room = Greenroom::start().behind(&fake).servers(1).await;
    let mut client = room.raw("catalog").await;
    let mut replies = client.query("create temp table t (x int)").await;
    replies.extend(client.until_quiet(Duration::from_millis(300)).await);
    assert_eq!(told(&replies).as_deref(), Some("Asia/Tokyo"), "{replies:?}");
    assert_eq!(told(&client.query("select 1").await), None);
}

/// In whatever way one client changes a reported setting, it is no configuration: nobody else hears of it, and no
/// server ends because of it.
#[tokio::test]
async fn what_a_client_sets_is_nobody_elses_configuration() {
    let stage = Stage::own(&[("timezone", "UTC")]).await;
    // One for those of its own that the client keeps.
    let room = Greenroom::start().on(stage).servers(2).auth("trust").await;
    let (mut own, mut other) = (room.raw("catalog").await, room.raw("search").await);
    other.run("select 1").await;
    let greeting = |client: &RawClient| {
        let told = client.hello.iter().filter(|reply| reply.tag == b'S' && reply.word() != "application_name");
        told.map(|reply| reply.body.to_vec()).collect::<Vec<_>>()
    };
    let expected = greeting(&room.raw("search").await);
    for sql in [
        "set timezone to 'Asia/Tokyo'",
        "set time zone 5",
        "set datestyle to 'sql, dmy'; set intervalstyle to 'iso_8601'",
        "begin; set timezone to 'Asia/Tokyo'; commit",
        "begin; set timezone to 'Asia/Tokyo'; rollback",
        "begin; set local timezone to 'Asia/Tokyo'; commit",
        "begin; savepoint a; set timezone to 'Asia/Tokyo'; rollback to a; commit",
        "select set_config('timezone', 'Asia/Tokyo', false)",
        "update pg_settings set setting = 'Asia/Tokyo' where name = 'TimeZone'",
        "do $$ begin perform set_config('timezone', 'Asia/Tokyo', false); end $$",
        "set session characteristics as transaction read only",
        "set timezone to 'Asia/Tokyo'; select 1/0",
        "begin; set timezone to 'Asia/Tokyo'; select 1/0",
    ] {
        for end in ["rollback; reset all", "rollback; discard all", ""] {
            own.query(sql).await;
            if end.is_empty() {
                drop(std::mem::replace(&mut own, room.raw("catalog").await));
            } else {
                own.query(end.split("; ").next().unwrap_or_default()).await;
                own.query(end.split("; ").last().unwrap_or_default()).await;
            }
            let replies = other.run("show timezone; show datestyle; show transaction_read_only").await;
            assert!(!tags(&replies).contains('S'), "{sql}, {end}: {replies:?}");
            assert_eq!(rows(&replies), ["UTC", "ISO, MDY", "off"], "{sql}, {end}");
            let late = room.raw("search").await;
            assert_eq!(greeting(&late), expected, "{sql}, {end}");
            late.leave().await;
        }
    }
    let ended = room.metrics().await.sum("greenroom_server_closed_total", &["reason=\"reconfigured\""]);
    assert_eq!(ended, 0.0);
}
