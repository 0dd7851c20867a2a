//! A notification bears the number of the client that has sent it.

use super::{Parameter, bind, direct};
use crate::harness::frames::{execute, parse, sync};
use crate::harness::{Greenroom, RawClient, Reply, STAGEHAND, rows};

/// Whom notifications are from, and what they say.
fn heard(replies: &[Reply]) -> Vec<(i32, String)> {
    let heard = replies.iter().filter(|reply| reply.tag == b'A').map(|reply| {
        let (pid, rest) = reply.body.split_first_chunk::<4>().expect("a notification begins with a number");
        let payload = rest.split(|byte| *byte == 0).nth(1).expect("a notification has a payload");
        (i32::from_be_bytes(*pid), String::from_utf8_lossy(payload).into_owned())
    });
    heard.collect()
}

/// Every way in which a client may send something.
async fn send(client: &mut RawClient, way: usize, payload: &str) -> Vec<Reply> {
    let text = |text: &str| Parameter::Text(text.to_owned());
    match way {
        0 => client.run(&format!("notify ours, '{payload}'")).await,
        1 => client.run(&format!("begin; select pg_notify('ours', '{payload}'); commit")).await,
        2 => {
            client.run("begin").await;
            client.run(&format!("NOTIFY ours, '{payload}'")).await;
            client.run("select 1").await;
            client.run("commit").await
        }
        3 => {
            let parse = parse("", "select pg_notify($1, $2)");
            client.ask(&[parse, bind("", &[text("ours"), text(payload)], false), execute("", 0), sync()]).await
        }
        4 => {
            // Prepared in a lease of its own.
            let name = format!("tells {payload}");
            client.ask(&[parse(&name, "select pg_notify('ours', $1)"), sync()]).await;
            client.ask(&[bind(&name, &[text(payload)], false), execute("", 0), sync()]).await
        }
        _ => client.run(&format!("do $$ begin perform pg_notify('ours', '{payload}'); end $$")).await,
    }
}

const WAYS: usize = 6;

#[tokio::test]
async fn a_notification_bears_the_number_of_the_client_that_has_sent_it() {
    let room = Greenroom::start().auth("trust").servers(3).every_pool(|limits| limits.max(1)).await;
    let (mut hears, mut one, mut other) =
        (room.raw("catalog").await, room.raw("catalog").await, room.raw("catalog").await);
    hears.run("listen ours").await;
    // Both send from the same server, one right behind the other.
    for round in 0..20 {
        // DO keeps its server.
        for way in 0..WAYS - 1 {
            let (first, second) = (format!("{round} {way} one"), format!("{round} {way} other"));
            let (sent, also) = tokio::join!(send(&mut one, way, &first), send(&mut other, way, &second));
            assert_eq!((heard(&sent), heard(&also)), (vec![], vec![]));
            let mut told = heard(&hears.until(b'A', 2).await);
            told.sort_by(|a, b| a.1.cmp(&b.1));
            assert_eq!(told, [(one.key().0, first), (other.key().0, second)], "way {way}");
        }
    }
    // Its own, and of a client that listens as well.
    let told = heard(&send(&mut hears, 0, "own").await);
    assert_eq!(told, [(hears.key().0, "own".to_owned())]);
}

#[tokio::test]
async fn a_notification_of_nobody_here_bears_the_number_of_its_process() {
    let room = Greenroom::start().auth("trust").servers(3).await;
    let (mut hears, mut direct) = (room.raw("catalog").await, direct(&room).await);
    hears.run("listen ours").await;
    direct.run("notify ours, 'from outside'").await;
    assert_eq!(heard(&hears.until(b'A', 1).await), [(direct.key().0, "from outside".to_owned())]);
}

#[tokio::test]
async fn a_session_that_listens_on_a_server_of_its_own_knows_itself() {
    let room = Greenroom::start().auth("trust").servers(3).await;
    let mut client = room.raw("catalog").await;
    client.run("begin").await;
    client.run("listen ours").await;
    client.run("commit").await;
    for way in 0..WAYS {
        let told = heard(&send(&mut client, way, "own").await);
        assert_eq!(told, [(client.key().0, "own".to_owned())], "way {way}");
    }
}

#[tokio::test]
async fn a_client_that_sends_something_and_leaves_is_known_all_the_same() {
    let room = Greenroom::start().auth("trust").servers(4).await;
    let mut hears = room.raw("catalog").await;
    hears.run("listen ours").await;
    for way in 0..WAYS {
        for keeps in [false, true] {
            let mut client = room.raw("search").await;
            if keeps {
                client.run("create temporary table kept (a int)").await;
            }
            let pid = client.key().0;
            send(&mut client, way, "last words").await;
            client.leave().await;
            assert_eq!(heard(&hears.until(b'A', 1).await), [(pid, "last words".to_owned())], "way {way}, {keeps}");
        }
    }
}

#[tokio::test]
async fn whoever_sends_something_pins_nothing_and_waits_for_nobody_who_has_left() {
    let room = Greenroom::start().auth("trust").servers(3).every_pool(|limits| limits.max(1)).await;
    let mut sends = room.raw("catalog").await;
    // The role is nobody's business here.
    sends.run(&format!("set role {STAGEHAND}")).await;
    for way in 0..WAYS - 1 {
        let mut hears = room.raw("search").await;
        hears.run("listen ours").await;
        send(&mut sends, way, "heard").await;
        hears.leave().await;
        for n in 0..10 {
            send(&mut sends, way, &n.to_string()).await;
        }
    }
    assert_eq!(rows(&sends.run("select 1").await), ["1"]);
    assert_eq!(room.metrics().await.sum("greenroom_pins_total", &[]), 0.0);
}
