//! Clients that LISTEN share one connection, hold no server, and miss nothing.

use std::time::Duration;

use crate::differential::compare::same;
use crate::harness::frames::{bind, describe_portal, execute, flush, parse, query, sync};
use crate::harness::{Greenroom, RawClient, Reply, Room, Stage, codes, eventually, logical, rows, soon};

/// What PostgreSQL shows of the connection that listens.
const NAME: &str = "greenroom: listens for clients";

/// Payloads and senders of the notifications among replies.
fn heard(replies: &[Reply]) -> Vec<(i32, String)> {
    let heard = replies.iter().filter(|reply| reply.tag == b'A').map(|reply| {
        let (pid, rest) = reply.body.split_first_chunk::<4>().expect("a notification begins with a process id");
        let payload = rest.split(|byte| *byte == 0).nth(1).expect("a notification has a payload");
        (i32::from_be_bytes(*pid), String::from_utf8_lossy(payload).into_owned())
    });
    heard.collect()
}

fn payloads(replies: &[Reply]) -> Vec<String> {
    heard(replies).into_iter().map(|(_, payload)| payload).collect()
}

/// Ends the connection that listens, as an operator would, once it is seen to be there.
async fn end_listener(room: &Room) {
    let sql = format!(
        "select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and application_name = '{NAME}'"
    );
    let stage = room.stage();
    eventually("the listener is ended", async || !stage.sql(&sql).await.is_empty()).await;
}

async fn listening(room: &Room) -> f64 {
    room.metrics().await.sum("greenroom_server_connections", &["state=\"listening\""])
}

#[tokio::test]
async fn hundreds_of_listening_clients_take_one_connection_and_no_lease() {
    let room = Greenroom::start().auth("trust").servers(2).await;
    let mut clients = Vec::new();
    for n in 0..300 {
        let mut client = room.raw(["catalog", "events", "search"][n % 3]).await;
        client.run(&format!("listen channel_{}", n % 5)).await;
        clients.push(client);
    }
    let metrics = room.metrics().await;
    assert_eq!(metrics.sum("greenroom_server_connections", &["state=\"listening\""]), 1.0);
    assert_eq!(metrics.sum("greenroom_channels", &[]), 5.0);
    assert_eq!(metrics.sum("greenroom_listening_clients", &[]), 300.0);
    assert_eq!(metrics.sum("greenroom_leases", &[]), 0.0);
    assert_eq!(metrics.sum("greenroom_pins_total", &[]), 0.0);
    assert!(room.stage().connections().await <= 2);

    // All but one are at rest.
    clients[7].run("select pg_notify('channel_3', 'to all'), pg_notify('channel_4', 'to others')").await;
    for (n, client) in clients.iter_mut().enumerate() {
        let expected: &[&str] = match n % 5 {
            3 => &["to all"],
            4 => &["to others"],
            _ => &[],
        };
        let (replies, _) = client.heard(b'A', expected.len(), Duration::from_secs(10)).await;
        assert_eq!(payloads(&replies), expected, "client {n}");
    }
    assert_eq!(room.metrics().await.sum("greenroom_notifications_total", &[]), 120.0);
    drop(clients);
    eventually("nobody is listened for", async || listening(&room).await == 0.0).await;
    assert_eq!(room.metrics().await.sum("greenroom_channels", &[]), 0.0);
    assert_eq!(room.metrics().await.sum("greenroom_server_closed_total", &["reason=\"unheard\""]), 1.0);
}

#[tokio::test]
async fn who_has_a_server_in_the_batch_of_a_listen_gives_it_back_for_the_connection_that_listens() {
    let room = Greenroom::start().auth("trust").servers(2).await;
    let mut clients = [room.raw("catalog").await, room.raw("events").await];
    for client in &mut clients {
        client.send(&[parse("s", "listen ours"), flush()]).await;
        client.until(b'1', 1).await;
    }
    assert_eq!(room.metrics().await.sum("greenroom_leases", &[]), 2.0, "all that there are");
    for client in &mut clients {
        client.send(&[bind("", "s", &[]), execute("", 0), sync()]).await;
    }
    for client in &mut clients {
        let replies = client.until(b'Z', 1).await;
        assert!(codes(&replies).is_empty(), "{replies:?}");
    }
    clients[0].run("notify ours, 'heard'").await;
    assert_eq!(payloads(&clients[1].until(b'A', 1).await), ["heard"]);
    assert_eq!((listening(&room).await, room.metrics().await.sum("greenroom_pins_total", &[])), (1.0, 0.0));
}

#[tokio::test]
async fn an_unlisten_among_the_listens_of_a_text_takes_nothing_from_others() {
    let room = Greenroom::start().auth("trust").servers(4).await;
    let mut publisher = RawClient::log_in(&room.stage().address(), &room.stage().startup(&room.stage().database)).await;
    let (mut steady, mut fickle) = (room.raw("catalog").await, room.raw("events").await);
    steady.run("listen ours; listen theirs").await;
    let publishes = async {
        for n in 0..500 {
            publisher.run(&format!("notify ours, '{n}'")).await;
        }
    };
    let changes = async {
        let mut heard = Vec::new();
        for _ in 0..50 {
            for text in ["listen others; listen ours", "unlisten *; listen theirs", "unlisten theirs; listen ours"] {
                heard.extend(payloads(&fickle.run(text).await));
            }
            heard.extend(payloads(&fickle.run("unlisten ours; listen others").await));
        }
        heard
    };
    let ((), heard) = tokio::join!(publishes, changes);
    let (replies, _) = steady.heard(b'A', 500, Duration::from_secs(10)).await;
    let numbers: Vec<_> = (0..500).map(|n| n.to_string()).collect();
    assert_eq!(payloads(&replies), numbers);
    assert!(!heard.is_empty() && heard.len() < numbers.len(), "it has heard {} while it wanted to", heard.len());
    let channels = async || room.metrics().await.sum("greenroom_channels", &[]) == 3.0;
    eventually("only what somebody wants to hear is listened to", channels).await;
    fickle.leave().await;
    eventually("nobody wants to hear others", async || room.metrics().await.sum("greenroom_channels", &[]) == 2.0)
        .await;
}

#[tokio::test]
async fn a_listen_that_comes_back_when_what_should_have_replaced_it_was_never_looked_at_listens_on_nobodys_server() {
    let room = Greenroom::start().auth("trust").servers(2).await;
    let bound = || [bind("", "", &[]), execute("", 0), sync()];
    let fails = || execute("nothing", 0);
    for (n, replacement) in
        [vec![parse("", "select 1"), sync()], vec![query("select 1"), sync()]].into_iter().enumerate()
    {
        for is_pipelined in [false, true] {
            let mut client = room.raw("catalog").await;
            client.ask(&[parse("", "listen ours"), sync()]).await;
            let skipped = [vec![fails()], replacement.clone()].concat();
            client.send(&skipped).await;
            if !is_pipelined {
                client.until(b'Z', 1).await;
            }
            client.send(&bound()).await;
            client.until(b'Z', if is_pipelined { 2 } else { 1 }).await;
            let mut next = room.raw("catalog").await;
            let told = rows(&next.run("select pg_listening_channels()").await);
            assert!(told.is_empty(), "replacement {n}, pipelined: {is_pipelined}: a stranger listens to {told:?}");
            let replies = next.run("notify ours, 'heard'").await;
            assert!(payloads(&replies).is_empty(), "it is told nothing: {replies:?}");
            assert_eq!(payloads(&client.until(b'A', 1).await), ["heard"]);
            client.leave().await;
            next.leave().await;
        }
    }
}

#[tokio::test]
async fn a_notification_of_its_own_bears_the_clients_own_number() {
    let room = Greenroom::start().auth("trust").servers(2).await;
    let (mut one, mut other) = (room.raw("catalog").await, room.raw("catalog").await);
    let own = one.key().0;
    one.run("listen ours").await;
    for n in 0..50 {
        // By the same server, one right behind the other.
        other.run(&format!("notify ours, 'other {n}'")).await;
        let replies = one.run(&format!("notify ours, 'own {n}'")).await;
        let told = heard(&replies);
        assert_eq!(payloads(&replies), [format!("other {n}"), format!("own {n}")]);
        assert!(told[0].0 != own && told[1].0 == own, "{told:?} {own}");
    }
}

#[tokio::test]
async fn nothing_that_is_sent_behind_the_acknowledgement_of_a_listen_is_missed() {
    let room = Greenroom::start().auth("trust").servers(3).await;
    let publisher = room.client("events").await;
    for n in 0..60 {
        let mut subscriber = room.raw("catalog").await;
        publisher.run("notify ours, 'before'").await;
        let replies = subscriber.run("listen ours").await;
        assert_eq!(payloads(&replies), [""; 0], "what was sent before is not heard");
        publisher.run(&format!("notify ours, '{n}'")).await;
        assert_eq!(payloads(&subscriber.until(b'A', 1).await), [n.to_string()]);
        let replies = subscriber.run("unlisten ours").await;
        publisher.run("notify ours, 'behind'").await;
        assert_eq!(payloads(&replies), [""; 0]);
        assert_eq!(payloads(&subscriber.run("select 1").await), [""; 0]);
    }
}

#[tokio::test]
async fn when_the_connection_that_listens_is_lost_its_clients_are_told_and_listen_again() {
    let room = Greenroom::start().auth("trust").servers(3).await;
    let (mut idle, mut busy) = (room.raw("catalog").await, room.raw("events").await);
    let mut other = room.raw("catalog").await;
    for client in [&mut idle, &mut busy] {
        client.run("listen ours").await;
    }
    busy.run("begin; create table item (n int)").await;
    end_listener(&room).await;
    assert_eq!(codes(&idle.until_closed().await), ["57P01"], "who is at rest is told at once");
    busy.run("insert into item values (1)").await;
    busy.send(&[query("commit")]).await;
    let replies = busy.until_closed().await;
    assert_eq!((replies[0].word().as_str(), codes(&replies)), ("COMMIT", vec!["57P01".to_owned()]));
    assert_eq!(room.client("events").await.value("select count(*) from item").await, "1", "what it did is done");
    other.run("select 1").await;
    assert_eq!(room.metrics().await.sum("greenroom_listening_ended_total", &["reason=\"lost\""]), 2.0);

    let mut again = room.raw("catalog").await;
    again.run("listen ours").await;
    other.run("notify ours, 'heard'").await;
    assert_eq!(payloads(&again.until(b'A', 1).await), ["heard"]);
}

#[tokio::test]
async fn a_client_that_does_not_take_its_notifications_is_ended_rather_than_told_a_part_of_them() {
    let room = Greenroom::start().auth("trust").servers(3).await;
    let (mut slow, mut quick) = (room.raw("catalog").await, room.raw("catalog").await);
    slow.run("listen ours").await;
    slow.run("begin").await;
    quick.run("listen ours").await;
    let publisher = room.client("events").await;
    let bunch = "select pg_notify('ours', n || repeat('x', 7900)) from generate_series(1, 100) n";
    for _ in 0..8 {
        publisher.run(bunch).await;
        let replies = quick.until(b'A', 100).await;
        assert_eq!(payloads(&replies).len(), 100);
    }
    let replies = slow.run("select 1").await;
    assert_eq!(payloads(&replies), [""; 0], "its transaction goes on");
    slow.send(&[query("commit")]).await;
    let replies = slow.until_closed().await;
    assert_eq!((payloads(&replies).len(), codes(&replies)), (0, vec!["57P01".to_owned()]), "{replies:?}");
    assert_eq!(room.metrics().await.sum("greenroom_listening_ended_total", &["reason=\"slow\""]), 1.0);
    quick.run("select 1").await;
}

#[tokio::test]
async fn a_client_that_does_not_read_keeps_nobody_from_hearing() {
    let room = Greenroom::start().auth("trust").servers(3).await;
    let (mut deaf, mut quick) = (room.raw("catalog").await, room.raw("catalog").await);
    deaf.run("listen ours").await;
    quick.run("listen ours").await;
    let publisher = room.client("events").await;
    let bunch = "select pg_notify('ours', n || repeat('x', 7900)) from generate_series(1, 100) n";
    let ended = async || room.metrics().await.sum("greenroom_listening_ended_total", &["reason=\"slow\""]) == 1.0;
    for _ in 0..100 {
        publisher.run(bunch).await;
        assert_eq!(payloads(&quick.until(b'A', 100).await).len(), 100);
        if ended().await {
            break;
        }
    }
    assert!(ended().await, "what waits for it is bounded");
    // What it did read is a beginning without a gap.
    let replies = soon("the end", deaf.until_closed()).await;
    let numbers: Vec<usize> = payloads(&replies)
        .iter()
        .map(|payload| payload.trim_end_matches('x').parse().expect("a payload begins with its number"))
        .collect();
    assert!(numbers.iter().enumerate().all(|(at, n)| at % 100 + 1 == *n), "{numbers:?}");
}

#[tokio::test]
async fn where_there_is_room_for_one_connection_only_who_listens_keeps_it() {
    let room = Greenroom::start().auth("trust").servers(1).await;
    let by_name = [parse("s", "listen ours"), bind("", "s", &[]), execute("", 0), sync()];
    for listens in [&[query("listen ours")][..], &[query("listen theirs; listen ours")], &by_name] {
        let mut client = room.raw("catalog").await;
        let replies = client.ask(listens).await;
        assert!(codes(&replies).is_empty(), "{replies:?}");
        assert_eq!(payloads(&client.run("notify ours, 'heard'").await), ["heard"]);
        assert_eq!(room.metrics().await.sum("greenroom_pinned_sessions", &["reason=\"listen\""]), 1.0);
        assert_eq!(listening(&room).await, 0.0);
        client.leave().await;
    }
}

#[tokio::test]
async fn a_listen_that_finds_no_room_fails_like_any_statement_and_the_session_goes_on() {
    let limits = |limits: crate::harness::Limits| limits.max(3).acquire_timeout(Duration::from_millis(300));
    let room = Greenroom::start().auth("trust").servers(2).pool("catalog", limits).await;
    let (mut first, mut second) = (room.raw("catalog").await, room.raw("catalog").await);
    for client in [&mut first, &mut second] {
        client.run("begin; select 1").await;
    }
    let mut client = room.raw("catalog").await;
    assert_eq!(codes(&client.query("listen ours").await), ["53300"]);
    first.run("commit").await;
    client.run("listen ours").await;
    second.run("notify ours, 'heard'; commit").await;
    assert_eq!(payloads(&client.until(b'A', 1).await), ["heard"]);
    let replies = client.query("select 1").await;
    assert!(codes(&replies).is_empty(), "{replies:?}");
}

#[tokio::test]
async fn a_listen_that_waits_for_room_can_be_cancelled() {
    let room = Greenroom::start().auth("trust").servers(2).await;
    let (mut first, mut second) = (room.raw("catalog").await, room.raw("events").await);
    let mut client = room.raw("search").await;
    for client in [&mut first, &mut second] {
        client.run("begin; select 1").await;
    }
    client.send(&[query("listen ours")]).await;
    let waiting = async || room.metrics().await.sum("greenroom_acquire_waiting", &["plugin=\"search\""]) == 1.0;
    eventually("the LISTEN waits", waiting).await;
    let (pid, secret) = client.key();
    let mut canceller = RawClient::connect(room.address()).await;
    canceller.send_bytes(&crate::harness::frames::cancel_request(pid, &secret)).await;
    canceller.until_closed().await;
    assert_eq!(codes(&client.until(b'Z', 1).await), ["57014"]);
    first.run("commit").await;
    second.run("notify ours, 'unheard'; commit").await;
    assert_eq!(payloads(&client.run("select 1").await), [""; 0]);
    eventually("nobody is listened for", async || listening(&room).await == 0.0).await;
}

#[tokio::test]
async fn an_unlisten_that_cannot_be_followed_ends_its_client() {
    let room = Greenroom::start().auth("trust").servers(2).await;
    let mut client = room.raw("catalog").await;
    client.run("listen ours").await;
    client.send(&[query("begin; unlisten ours; savepoint a; unlisten *; rollback to a; commit")]).await;
    assert_eq!(codes(&client.until_closed().await), ["57P01"]);
    assert_eq!(room.metrics().await.sum("greenroom_listening_ended_total", &["reason=\"unclear\""]), 1.0);
}

#[tokio::test]
async fn channels_are_those_of_the_physical_database() {
    let room = Greenroom::start().auth("trust").servers(2).await;
    let (mut subscriber, publisher) = (room.raw("catalog").await, room.client("events").await);
    subscriber.run("listen ours").await;
    publisher.run("notify ours, 'of another schema'").await;
    assert_eq!(payloads(&subscriber.until(b'A', 1).await), ["of another schema"]);
    let (stage, database) = (room.stage(), &room.stage().database);
    stage.sql_in(database, "notify ours, 'from elsewhere'").await;
    assert_eq!(payloads(&subscriber.until(b'A', 1).await), ["from elsewhere"]);
}

#[tokio::test]
async fn in_the_middle_of_a_transaction_no_channels_are_shown() {
    let room = Greenroom::start().auth("trust").servers(2).await;
    let mut client = room.raw("catalog").await;
    client.run("listen ours").await;
    client.run("begin").await;
    let shown = rows(&client.run("select pg_listening_channels()").await);
    assert!(shown.is_empty(), "when this works, docs/compatibility.md has a limit less: {shown:?}");
    client.run("commit").await;
    assert_eq!(rows(&client.run("select pg_listening_channels()").await), ["ours"]);
    assert_eq!(payloads(&client.run("notify ours, 'heard once'").await), ["heard once"]);
}

#[tokio::test]
async fn channels_that_two_connections_listen_to_are_told_of_one_after_the_other() {
    let room = Greenroom::start().auth("trust").servers(4).await;
    let mut client = room.raw("catalog").await;
    client.run("listen first").await;
    client.run("begin; listen second; commit").await;
    let told = payloads(&client.run("notify first, 'first'; notify second, 'second'").await);
    assert_eq!(told, ["second", "first"], "when this is the other way round, docs/compatibility.md has a limit less");
}

#[tokio::test]
async fn two_greenrooms_hear_each_other() {
    let room = Greenroom::start().auth("trust").servers(3).await;
    let replica = Greenroom::start().auth("trust").servers(3).beside(room.stage(), "other").await;
    let mut here = room.raw("events").await;
    let startup = room.stage().startup("other_events");
    let mut there = RawClient::log_in(replica.address(), &startup).await;
    here.run("listen event_bus_publish").await;
    there.run("listen event_bus_publish").await;
    for n in 0..20 {
        let replies = here.run(&format!("select pg_notify('event_bus_publish', 'here {n}')")).await;
        assert_eq!(payloads(&replies), [format!("here {n}")]);
        assert_eq!(payloads(&there.until(b'A', 1).await), [format!("here {n}")]);
        let replies = there.run(&format!("select pg_notify('event_bus_publish', 'there {n}')")).await;
        assert_eq!(payloads(&replies), [format!("there {n}")]);
        assert_eq!(payloads(&here.until(b'A', 1).await), [format!("there {n}")]);
    }
}

#[tokio::test]
async fn a_client_that_wants_another_encoding_is_told_nothing_in_the_wrong_one() {
    let room = Greenroom::start().auth("trust").servers(3).await;
    let (mut client, publisher) = (room.raw("catalog").await, room.client("events").await);
    client.run("listen ours").await;
    client.run("set client_encoding to latin1").await;
    publisher.run("notify ours, 'the same in both'").await;
    assert_eq!(payloads(&client.until(b'A', 1).await), ["the same in both"]);
    client.run("set client_encoding to utf8").await;
    publisher.run("notify ours, 'caf\u{e9}'").await;
    assert_eq!(payloads(&client.until(b'A', 1).await), ["caf\u{e9}"]);
    client.run("set client_encoding to latin1").await;
    publisher.run("notify ours, 'caf\u{e9}'").await;
    let replies = client.until_closed().await;
    assert_eq!((payloads(&replies).len(), codes(&replies)), (0, vec!["57P01".to_owned()]));
    assert_eq!(room.metrics().await.sum("greenroom_listening_ended_total", &["reason=\"unclear\""]), 1.0);
}

#[tokio::test]
async fn a_channel_that_two_connections_could_listen_to_is_heard_once_and_without_a_gap() {
    let room = Greenroom::start().auth("trust").servers(4).await;
    let mut publisher = RawClient::log_in(&room.stage().address(), &room.stage().startup(&room.stage().database)).await;
    for _ in 0..8 {
        let mut client = room.raw("catalog").await;
        client.run("listen others").await;
        let publishes = async {
            for n in 0..300 {
                publisher.run(&format!("notify ours, '{n}'")).await;
            }
        };
        let listens = async {
            let mut replies = client.run("begin; listen ours; commit").await;
            for _ in 0..10 {
                replies.extend(client.run("listen ours").await);
            }
            replies
        };
        let ((), mut replies) = tokio::join!(publishes, listens);
        replies.extend(client.run("notify ours, '300'").await);
        let numbers: Vec<u32> = payloads(&replies).iter().map(|payload| payload.parse().expect("a number")).collect();
        assert!(numbers.windows(2).all(|two| two[0] + 1 == two[1]), "{numbers:?}");
        assert_eq!(numbers.last(), Some(&300));
        client.leave().await;
    }
}

#[tokio::test]
async fn who_listens_hears_for_as_long_as_it_wants_to() {
    let short = |limits: crate::harness::Limits| {
        limits.with("idleTimeoutMillis", 50).with("reapIntervalMillis", 20).with("maxConnectionLifetimeMillis", 50)
    };
    let room = Greenroom::start().auth("trust").servers(3).every_pool(short).await;
    let (mut client, publisher) = (room.raw("catalog").await, room.client("events").await);
    client.run("listen ours").await;
    for n in 0..4 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        publisher.run(&format!("notify ours, '{n}'")).await;
        assert_eq!(payloads(&client.until(b'A', 1).await), [n.to_string()]);
    }
}

#[tokio::test]
async fn a_lowered_ceiling_leaves_a_place_for_those_who_speak() {
    let mut room = Greenroom::start().auth("trust").servers(3).await;
    let (mut client, publisher) = (room.raw("catalog").await, room.client("events").await);
    client.run("listen ours").await;
    publisher.run("select 1").await;
    room.reload(|described| described.servers(1));
    assert_eq!(codes(&client.until_closed().await), ["57P01"]);
    publisher.run("notify ours, 'unheard'").await;
    // Now it keeps the only one.
    let mut again = room.raw("catalog").await;
    again.run("listen ours").await;
    assert_eq!(payloads(&again.run("notify ours, 'heard'").await), ["heard"]);
}

#[tokio::test]
async fn on_a_standby_a_listen_fails_as_on_postgresql() {
    let mut stage = Stage::own(&[]).await;
    stage.create_database(&logical("catalog")).await;
    let directory = stage.sql("show data_directory").await.remove(0);
    stage.postgres_mut().stop().await;
    std::fs::write(std::path::Path::new(&directory).join("standby.signal"), "").expect("the directory is there");
    stage.postgres_mut().start_again().await.expect("PostgreSQL starts as a standby");
    let room = Greenroom::start()
        .auth("trust")
        .set("greenroom.division", "database")
        .set("backend.database.ensureExists", false)
        .on(stage)
        .await;
    let mut plain = RawClient::log_in(&room.stage().address(), &room.stage().startup(&logical("catalog"))).await;
    let mut pooled = room.raw("catalog").await;
    let batch = || [parse("", "listen ours"), bind("", "", &[]), describe_portal(""), execute("", 0), sync()];
    let prepared = vec![parse("s", "listen ours"), bind("", "s", &[]), execute("", 0), sync()];
    for frames in [
        vec![query("listen ours")],
        batch().into(),
        prepared,
        vec![query("unlisten ours"), query("select 1")],
        vec![query("unlisten ours; listen ours; unlisten theirs")],
        vec![query("listen ours; listen theirs")],
    ] {
        let (expected, answer) = (plain.ask(&frames).await, pooled.ask(&frames).await);
        same("on a standby", &expected, &answer).unwrap_or_else(|differs| panic!("{differs}"));
    }
    eventually("nobody is listened for", async || listening(&room).await == 0.0).await;
}

#[tokio::test]
async fn the_connection_that_listens_is_as_secret_as_any() {
    let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    let (cert, key) = (certified.cert.pem(), certified.signing_key.serialize_pem());
    let stage = Stage::with_tls(&cert, &key).await;
    let room = Greenroom::start().auth("trust").on(stage).set("backend.database.connection.ssl.ca", cert).await;
    let (mut client, publisher) = (room.raw("catalog").await, room.client("events").await);
    client.run("listen ours").await;
    let sql =
        format!("select ssl from pg_stat_ssl join pg_stat_activity using (pid) where application_name = '{NAME}'");
    assert_eq!(room.stage().sql(&sql).await, ["t"]);
    let bunch = "select pg_notify('ours', n || repeat('x', 7900)) from generate_series(1, 200) n";
    for _ in 0..3 {
        publisher.run(bunch).await;
        assert_eq!(payloads(&client.until(b'A', 200).await).len(), 200);
    }
}

#[tokio::test]
async fn a_unix_socket_of_postgresql_is_listened_through_as_well() {
    let stage = Stage::shared().await;
    let socket = stage.postgres().socket_dir().to_str().expect("a path of ours").to_owned();
    let room = Greenroom::start().auth("trust").on(stage).set("backend.database.connection.host", socket).await;
    let (mut client, publisher) = (room.raw("catalog").await, room.client("events").await);
    client.run("listen ours").await;
    publisher.run("notify ours, 'heard'").await;
    assert_eq!(payloads(&client.until(b'A', 1).await), ["heard"]);
}

#[tokio::test]
async fn a_postgresql_that_starts_again_is_listened_to_again() {
    let mut room = Greenroom::start().auth("trust").on(Stage::own(&[]).await).await;
    let mut client = room.raw("catalog").await;
    client.run("listen ours").await;
    room.stage_mut().postgres_mut().kill().await;
    assert_eq!(codes(&client.until_closed().await), ["57P01"]);
    room.stage_mut().postgres_mut().start_again().await.expect("PostgreSQL starts");
    let mut client = room.raw("catalog").await;
    client.run("listen ours").await;
    assert_eq!(payloads(&client.run("notify ours, 'heard'").await), ["heard"]);
}

#[tokio::test]
async fn a_client_that_listens_is_told_of_a_drain_at_once() {
    let mut room = Greenroom::start().auth("trust").servers(3).await;
    let (mut idle, mut busy) = (room.raw("catalog").await, room.raw("events").await);
    for client in [&mut idle, &mut busy] {
        client.run("listen ours").await;
    }
    busy.run("begin").await;
    room.stop();
    assert_eq!(codes(&idle.until_closed().await), ["57P01"]);
    busy.run("notify ours, 'its own'").await;
    busy.send(&[query("commit")]).await;
    let replies = busy.until_closed().await;
    assert_eq!((payloads(&replies), codes(&replies)), (vec!["its own".to_owned()], vec!["57P01".to_owned()]));
    room.stopped().await;
}
