//! What a session costs a server: for a session that has changed nothing not one byte, for one that has no extra round trip.

use std::collections::BTreeSet;

use crate::harness::frames::{
    Frame, bind, describe_portal, describe_statement, execute, extended, flush, parse, query, sync,
};
use crate::harness::{FakeServer, Greenroom, RawClient, Room, Traffic, codes};

/// One server behind one plugin, and two clients that it has served already.
async fn served() -> (FakeServer, Room, RawClient, RawClient) {
    let fake = FakeServer::usual().await;
    let room = Greenroom::start().behind(&fake).servers(1).await;
    let (mut first, mut next) = (room.raw("catalog").await, room.raw("catalog").await);
    for client in [&mut first, &mut next] {
        client.run("select 1").await;
    }
    (fake, room, first, next)
}

/// What the server sees of these messages.
async fn sees(fake: &FakeServer, client: &mut RawClient, frames: &[Frame]) -> Traffic {
    let ask = async {
        let replies = client.ask(frames).await;
        assert!(codes(&replies).is_empty(), "{replies:?}");
    };
    fake.traffic(ask).await
}

/// The messages as they are, in one write, answered by one.
fn as_they_are(frames: &[Frame]) -> Traffic {
    Traffic { reads: vec![frames.to_vec()], writes: 1 }
}

/// Fails the test unless the messages came last in the only write, behind something that was answered with them.
fn assert_no_round_trip(traffic: &Traffic, frames: &[Frame]) {
    let [only] = &traffic.reads[..] else { panic!("a round trip more: {traffic:?}") };
    assert!(only.ends_with(frames) && only.len() > frames.len(), "{traffic:?}");
    assert_eq!(traffic.writes, 1, "{traffic:?}");
}

#[tokio::test]
async fn a_session_that_has_changed_nothing_costs_nothing() {
    let (fake, _room, mut first, mut next) = served().await;
    let named = |sql| [parse("", sql), bind("p", "", &[]), describe_portal("p"), execute("p", 0), sync()];
    for frames in [
        vec![query("select 1")],
        vec![query("begin"), query("select 1"), query("commit")],
        extended("select $1", &[Some("x")]),
        named("select 2").to_vec(),
        [extended("select 1", &[]), extended("select 2", &[]), vec![flush(), query("select 3")]].concat(),
    ] {
        for _ in 0..2 {
            assert_eq!(sees(&fake, &mut first, &frames).await, as_they_are(&frames));
            assert_eq!(sees(&fake, &mut next, &frames).await, as_they_are(&frames));
        }
    }
}

#[tokio::test]
async fn nothing_is_said_to_a_server_when_a_client_says_nothing() {
    let (fake, _room, mut first, next) = served().await;
    assert_eq!(sees(&fake, &mut first, &[sync(), sync()]).await, Traffic { reads: Vec::new(), writes: 0 });
    let goodbye = fake.traffic(async {
        next.leave().await;
        first.until_quiet(std::time::Duration::from_millis(50)).await;
    });
    assert_eq!(goodbye.await, Traffic { reads: Vec::new(), writes: 0 });
    assert_eq!(fake.open(), 1);
}

#[tokio::test]
async fn a_search_path_of_its_own_costs_no_round_trip() {
    let (fake, _room, mut first, mut next) = served().await;
    assert_eq!(sees(&fake, &mut first, &[query("set search_path to a")]).await.reads.len(), 1);
    let frames = [query("select 1")];
    assert_eq!(sees(&fake, &mut first, &frames).await, as_they_are(&frames), "it is there already");
    assert_no_round_trip(&sees(&fake, &mut next, &frames).await, &frames);
    for frames in [vec![query("select 1")], extended("select 1", &[]), vec![query("begin"), query("rollback")]] {
        assert_no_round_trip(&sees(&fake, &mut first, &frames).await, &frames);
        assert_eq!(sees(&fake, &mut first, &frames).await, as_they_are(&frames));
        assert_no_round_trip(&sees(&fake, &mut next, &frames).await, &frames);
        assert_eq!(sees(&fake, &mut next, &frames).await, as_they_are(&frames));
    }
}

#[tokio::test]
async fn a_setting_of_its_own_costs_no_round_trip() {
    let (fake, _room, mut first, mut next) = served().await;
    let set = query("set work_mem to '77kB'");
    let told = sees(&fake, &mut first, std::slice::from_ref(&set)).await;
    assert!(told.reads.contains(&vec![set]), "not a word ahead of it: {told:?}");
    // What a server is put right with goes out while nobody waits for it; then it is another's turn.
    let is_told_at_once = |traffic: &Traffic, frames: &[Frame]| {
        let own = traffic.reads.iter().find(|read| read.ends_with(frames));
        let own = own.unwrap_or_else(|| panic!("not in one write: {traffic:?}"));
        let ahead = own[..own.len() - frames.len()].iter();
        ahead.map(|frame| String::from_utf8_lossy(&frame.body[..8]).into_owned()).collect::<Vec<_>>()
    };
    for frames in [vec![query("select 1")], extended("select 1", &[]), vec![query("begin"), query("rollback")]] {
        let ahead = is_told_at_once(&sees(&fake, &mut next, &frames).await, &frames);
        assert_eq!(ahead, ["SET appl"], "the neighbour's name, for RESET ALL has taken it away");
        let ahead = is_told_at_once(&sees(&fake, &mut first, &frames).await, &frames);
        assert_eq!(ahead, ["SET \"wor"]);
    }
}

#[tokio::test]
async fn the_unnamed_statement_of_before_costs_no_round_trip() {
    let (fake, _room, mut first, mut next) = served().await;
    let statement = parse("", "select 'mine'");
    sees(&fake, &mut first, &[statement.clone(), sync()]).await;
    let again = [bind("", "", &[]), execute("", 0), sync()];
    sees(&fake, &mut next, &[query("select 1")]).await;
    let traffic = sees(&fake, &mut first, &again).await;
    assert_eq!(traffic.reads, [[&[statement][..], &again].concat()]);
}

#[tokio::test]
async fn a_role_is_awaited_once_on_each_server_that_is_in_another() {
    let (fake, _room, mut first, mut next) = served().await;
    sees(&fake, &mut first, &[query("set role stagehand")]).await;
    let frames = [query("select 1")];
    assert_eq!(sees(&fake, &mut first, &frames).await, as_they_are(&frames), "it is there already");
    sees(&fake, &mut next, &frames).await;
    let traffic = sees(&fake, &mut first, &frames).await;
    assert_eq!(traffic.reads.len(), 2, "{traffic:?}");
    assert_eq!(traffic.reads[1], frames, "nothing of the client before its role is certain");
}

/// Two servers and two clients, none of whom has one.
async fn with_two_servers() -> (FakeServer, Room, RawClient, RawClient) {
    let fake = FakeServer::usual().await;
    let room = Greenroom::start().behind(&fake).auth("trust").servers(2).await;
    let (mut first, mut next) = (room.raw("catalog").await, room.raw("catalog").await);
    for sql in ["begin", "commit"] {
        for client in [&mut first, &mut next] {
            client.run(sql).await;
        }
    }
    assert_eq!(fake.open(), 2);
    (fake, room, first, next)
}

#[tokio::test]
async fn a_statement_that_a_server_lacks_costs_one_round_trip_once() {
    let run = |name: &str| [bind("", name, &[]), execute("", 0)];
    let behind = |frames: &[Frame]| [frames, &[sync()]].concat();
    for (uses, names) in [
        (behind(&run("s1")), 1),
        (vec![describe_statement("s1"), sync()], 1),
        (behind(&[run("s1"), run("s1"), run("s1")].concat()), 1),
        (behind(&[run("s1"), run("s2"), run("s1"), run("s2")].concat()), 2),
        ([behind(&run("s2")), behind(&run("s2")), vec![query("select 1")]].concat(), 1),
    ] {
        let (fake, _room, mut client, mut holder) = with_two_servers().await;
        client.ask(&[parse("s1", "select 1"), parse("s2", "select 2"), sync()]).await;
        let costs = async |client: &mut RawClient| {
            let traffic = sees(&fake, client, &uses).await;
            let read = traffic.reads.concat();
            (traffic.reads.len(), traffic.writes, read.iter().filter(|frame| frame.tag == b'P').count())
        };
        assert_eq!(costs(&mut client).await, (1, 1, 0), "it was parsed here: {uses:?}");
        holder.run("begin").await;
        assert_eq!(costs(&mut client).await, (1 + names, 1 + names, names), "another server: {uses:?}");
        for _ in 0..2 {
            assert_eq!(costs(&mut client).await, (1, 1, 0), "it has it now: {uses:?}");
        }
        // And so has the first one.
        client.run("begin").await;
        holder.run("commit").await;
        client.run("commit").await;
        holder.run("begin").await;
        assert_eq!(costs(&mut client).await, (1, 1, 0), "{uses:?}");
    }
}

#[tokio::test]
async fn what_a_server_has_no_room_for_is_closed_in_a_write_that_happens_anyway() {
    const STATEMENTS: usize = 700;
    const EACH: usize = 2000;
    let fake = FakeServer::usual().await;
    let room = Greenroom::start().behind(&fake).auth("trust").servers(1).await;
    let mut client = room.raw("catalog").await;
    let mut prepared = BTreeSet::new();
    let name = |frame: &Frame, at: usize| frame.body[at..].split(|byte| *byte == 0).next().map(<[u8]>::to_vec);
    for number in 0..STATEMENTS {
        let text = format!("select {number} /* {} */", "x".repeat(EACH));
        let frames =
            [parse(&format!("s{number}"), &text), bind("", &format!("s{number}"), &[]), execute("", 0), sync()];
        let traffic = sees(&fake, &mut client, &frames).await;
        assert_eq!((traffic.reads.len(), traffic.writes), (1, 1), "{traffic:?}");
        for frame in &traffic.reads[0] {
            match frame.tag {
                b'P' => assert!(prepared.insert(name(frame, 0)), "{frame:?} twice"),
                b'C' => assert!(prepared.remove(&name(frame, 1)), "{frame:?} is none"),
                _ => {}
            }
        }
        assert!(prepared.len() * EACH <= 1 << 20, "{} statements", prepared.len());
    }
    assert!(prepared.len() > 300, "{} statements", prepared.len());
    // Those that were used last are there.
    let last = format!("s{}", STATEMENTS - 300);
    let frames = [bind("", &last, &[]), execute("", 0), sync()];
    assert_eq!(sees(&fake, &mut client, &frames).await.reads[0].len(), frames.len());
    let first = [bind("", "s0", &[]), execute("", 0), sync()];
    let traffic = sees(&fake, &mut client, &first).await;
    assert_eq!((traffic.reads.len(), traffic.writes), (2, 2), "{traffic:?}");
    // What has to go for it, and it.
    assert_eq!(traffic.reads[0].iter().map(|frame| frame.tag).collect::<Vec<_>>(), b"CPDH", "{traffic:?}");
}
