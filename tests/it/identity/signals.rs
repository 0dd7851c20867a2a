//! pg_cancel_backend() and pg_terminate_backend() reach the client that is meant, whatever it does, and never another one.

use std::time::Duration;

use futures_util::future::join_all;
use rand::Rng as _;

use super::{Parameter, bind, extended, sleepers};
use crate::harness::frames::{self, execute, parse, parse_typed, query, sync};
use crate::harness::{Greenroom, RawClient, Reply, codes, rows, tags};

/// The number of the type int4.
const INT4: u32 = 23;

/// Every way in which a client may say whom it means.
async fn signal(caller: &mut RawClient, way: usize, function: &str, pid: i32) -> Vec<Reply> {
    let text = || [Parameter::Text(pid.to_string())];
    match way {
        0 => caller.query(&format!("SELECT {function}({pid});")).await,
        1 => extended(caller, &format!("SELECT {function}($1)"), &text(), false).await,
        2 => {
            let frames = [
                parse_typed("", &format!("select pg_catalog.{function}($1) as done"), &[INT4]),
                bind("", &[Parameter::Binary(pid.to_be_bytes().to_vec())], true),
                execute("", 0),
                sync(),
            ];
            caller.ask(&frames).await
        }
        3 => {
            let name = format!("by name {function}");
            let uses = [bind(&name, &text(), false), execute("", 0), sync()];
            let parse = [parse(&name, &format!("select * from {function}($1::int)")), sync()];
            caller.ask(&parse).await;
            let replies = caller.ask(&uses).await;
            caller.ask(&[frames::close_statement(&name), sync()]).await;
            replies
        }
        4 => {
            // A name with the number in its text, as drivers send whatever has no parameters.
            let name = format!("{function} of {pid}");
            let uses = [bind(&name, &[], false), frames::describe_portal(""), execute("", 0), sync()];
            let asks = [parse(&name, &format!("select {function}({pid})")), frames::describe_statement(&name), sync()];
            assert_eq!(tags(&caller.ask(&asks).await), "1tTZ");
            let replies = caller.ask(&uses).await;
            assert_eq!(tags(&replies).replace('N', ""), "2TDCZ");
            caller.ask(&[frames::close_statement(&name), sync()]).await;
            replies
        }
        _ => extended(caller, &format!("select {function}({pid})"), &[], false).await,
    }
}

const WAYS: usize = 6;

fn is_true(replies: &[Reply]) -> bool {
    let row = replies.iter().find(|reply| reply.tag == b'D').expect("a row");
    [b't', 1].contains(row.body.last().expect("a value"))
}

#[tokio::test]
async fn a_query_is_cancelled_by_the_number_of_its_client() {
    let room = Greenroom::start().auth("trust").servers(3).await;
    let (mut caller, mut victim, mut neighbour) =
        (room.raw("catalog").await, room.raw("search").await, room.raw("search").await);
    neighbour.send(&[query("select 'unhurt' from pg_sleep(1)")]).await;
    for way in 0..WAYS {
        victim.send(&[query("select pg_sleep(60)")]).await;
        sleepers(&room, if way == 0 { 2 } else { 1 }).await;
        assert!(is_true(&signal(&mut caller, way, "pg_cancel_backend", victim.key().0).await), "way {way}");
        assert_eq!(codes(&victim.until(b'Z', 1).await), ["57014"], "way {way}");
        assert_eq!(rows(&victim.run("select 1").await), ["1"]);
        if way == 0 {
            assert_eq!(rows(&neighbour.until(b'Z', 1).await), ["unhurt"]);
        }
        // At rest there is nothing to cancel.
        assert!(is_true(&signal(&mut caller, way, "pg_cancel_backend", victim.key().0).await), "way {way}");
        assert_eq!(rows(&victim.run("select 2").await), ["2"]);
    }
    assert_eq!(room.metrics().await.sum("greenroom_pins_total", &[]), 0.0);
}

#[tokio::test]
async fn a_client_is_ended_by_its_number_at_work_in_a_transaction_and_at_rest() {
    let room = Greenroom::start().auth("trust").servers(4).await;
    let (mut caller, mut neighbour) = (room.raw("catalog").await, room.raw("catalog").await);
    caller.run("create table deed (what text)").await;
    for way in 0..WAYS {
        for what in ["at work", "in a transaction", "at rest"] {
            let mut victim = room.raw("catalog").await;
            match what {
                "at rest" => drop(victim.run("select 1").await),
                _ => drop(victim.run("begin; insert into deed values ('undone')").await),
            }
            if what == "at work" {
                victim.send(&[query("select pg_sleep(60)")]).await;
                sleepers(&room, 1).await;
            }
            let replies = signal(&mut caller, way, "pg_terminate_backend", victim.key().0).await;
            assert!(is_true(&replies), "{what}, way {way}: {replies:?}");
            let farewell = victim.until_closed().await;
            assert_eq!(codes(&farewell), ["57P01"], "{what}, way {way}");
            let last = farewell.last().expect("something was said");
            assert_eq!(last.field(b'S').as_deref(), Some("FATAL"));
            assert_eq!(last.field(b'M').as_deref(), Some("terminating connection due to administrator command"));
            assert_eq!(rows(&neighbour.run("select count(*) from deed").await), ["0"], "{what}, way {way}");
        }
    }
}

#[tokio::test]
async fn a_client_that_waits_for_a_server_is_cancelled_and_ended_all_the_same() {
    let room = Greenroom::start().auth("trust").servers(4).pool("catalog", |limits| limits.max(1)).await;
    let mut caller = room.raw("search").await;
    let (mut holder, mut queued) = (room.raw("catalog").await, room.raw("catalog").await);
    holder.run("begin").await;
    queued.send(&[query("select 1")]).await;
    crate::harness::eventually("it waits", async || room.metrics().await.sum("greenroom_acquire_waiting", &[]) == 1.0)
        .await;
    let pid = queued.key().0;
    // What stands in for it is a server of its own plugin, for which the signal has to wait as well.
    let signalled = signal(&mut caller, 0, "pg_terminate_backend", pid);
    let freed = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        holder.run("commit").await;
    };
    let (signalled, ()) = tokio::join!(signalled, freed);
    assert!(is_true(&signalled));
    assert_eq!(codes(&queued.until_closed().await), ["57P01"]);
}

#[tokio::test]
async fn a_client_in_the_middle_of_a_copy_and_one_that_only_listens_are_reached() {
    let room = Greenroom::start().auth("trust").servers(6).await;
    let mut caller = room.raw("search").await;
    caller.run("create table item (n int)").await;
    for way in 0..WAYS {
        let mut copies = room.raw("search").await;
        copies.send(&[query("copy item from stdin")]).await;
        copies.until(b'G', 1).await;
        assert!(is_true(&signal(&mut caller, way, "pg_cancel_backend", copies.key().0).await), "way {way}");
        // PostgreSQL hears of it with the next data.
        copies.send(&[frames::copy_data("1\n"), frames::copy_done()]).await;
        assert_eq!(codes(&copies.until(b'Z', 1).await), ["57014"], "way {way}");
        // Where PostgreSQL waits for room to write it ends without a word.
        let slow = "copy (select repeat('x', 9000), pg_sleep(0.1) from generate_series(1, 1000)) to stdout";
        copies.send(&[query(slow)]).await;
        copies.until(b'd', 1).await;
        assert!(is_true(&signal(&mut caller, way, "pg_terminate_backend", copies.key().0).await), "way {way}");
        assert_eq!(codes(&copies.until_closed().await), ["57P01"], "way {way}");

        let mut listens = room.raw("catalog").await;
        listens.run("listen ours").await;
        assert!(is_true(&signal(&mut caller, way, "pg_cancel_backend", listens.key().0).await), "way {way}");
        caller.run("notify ours, 'still there'").await;
        listens.until(b'A', 1).await;
        assert!(is_true(&signal(&mut caller, way, "pg_terminate_backend", listens.key().0).await), "way {way}");
        assert_eq!(codes(&listens.until_closed().await), ["57P01"], "way {way}");
    }
}

#[tokio::test]
async fn a_statement_that_two_callers_share_signals_for_each_whom_it_means() {
    let room = Greenroom::start().auth("trust").servers(6).every_pool(|limits| limits.max(3)).await;
    let (mut one, mut other) = (room.raw("search").await, room.raw("search").await);
    let (mut first, mut second) = (room.raw("catalog").await, room.raw("catalog").await);
    for caller in [&mut one, &mut other] {
        caller.ask(&[parse("cancel", "select pg_cancel_backend($1)"), sync()]).await;
    }
    for _ in 0..5 {
        for (caller, victim) in [(&mut one, &mut first), (&mut other, &mut second)] {
            victim.send(&[query("select pg_sleep(60)")]).await;
            sleepers(&room, 1).await;
            let pid = [Parameter::Binary(victim.key().0.to_be_bytes().to_vec())];
            let replies = caller.ask(&[bind("cancel", &pid, false), execute("", 0), sync()]).await;
            assert_eq!(rows(&replies), ["t"]);
            assert_eq!(codes(&victim.until(b'Z', 1).await), ["57014"]);
        }
    }
    assert_eq!(room.metrics().await.sum("greenroom_pins_total", &[]), 0.0);
}

#[tokio::test]
async fn a_client_may_end_or_cancel_itself() {
    let room = Greenroom::start().auth("trust").servers(2).await;
    let mut client = room.raw("catalog").await;
    let pid = client.key().0;
    assert_eq!(codes(&client.query(&format!("select pg_cancel_backend({pid})")).await), ["57014"]);
    for way in 1..WAYS - 2 {
        let replies = signal(&mut client, way, "pg_cancel_backend", pid).await;
        assert_eq!(codes(&replies), ["57014"], "way {way}");
    }
    client.send(&[query(&format!("select pg_terminate_backend({pid})"))]).await;
    assert_eq!(codes(&client.until_closed().await), ["57P01"]);
}

#[tokio::test]
async fn a_timeout_is_waited_for_as_by_postgresql() {
    let room = Greenroom::start().auth("trust").servers(3).await;
    let mut caller = room.raw("catalog").await;
    for way in ["select pg_terminate_backend($1, 5000)", "select pg_terminate_backend($1, -1)"] {
        let mut victim = room.raw("catalog").await;
        victim.run("begin").await;
        let replies = extended(&mut caller, way, &[Parameter::Text(victim.key().0.to_string())], false).await;
        if way.contains("-1") {
            // Not one of the shapes: there is no such process, and PostgreSQL says what it always says of that timeout.
            assert_eq!(codes(&replies), ["22003"]);
            victim.run("rollback").await;
        } else {
            assert!(is_true(&replies));
            assert_eq!(codes(&victim.until_closed().await), ["57P01"]);
        }
    }
}

#[tokio::test]
async fn a_signal_that_is_bound_now_and_sent_later_hits_nobody_else() {
    let room = Greenroom::start().auth("trust").servers(3).every_pool(|limits| limits.max(2)).await;
    let (mut caller, mut victim) = (room.raw("search").await, room.raw("catalog").await);
    for function in ["pg_cancel_backend", "pg_terminate_backend"] {
        victim.run("begin").await;
        let server = rows(&victim.run("select pg_backend_pid() + 0").await);
        caller.run("begin").await;
        let pid = [Parameter::Text(victim.key().0.to_string())];
        caller.ask(&[parse("", &format!("select {function}($1)")), bind("", &pid, false), sync()]).await;
        victim.run("commit").await;
        // Its server is kept from everybody else until the signal cannot be sent any more.
        let mut neighbours = Vec::new();
        for _ in 0..3 {
            let mut neighbour = room.raw("catalog").await;
            assert_ne!(rows(&neighbour.run("select pg_backend_pid() + 0").await), server);
            neighbours.push(neighbour);
        }
        neighbours[0].send(&[query("select 'unhurt' from pg_sleep(1)")]).await;
        sleepers(&room, 1).await;
        assert!(is_true(&caller.ask(&[execute("", 0), sync()]).await));
        caller.run("commit").await;
        assert_eq!(rows(&neighbours[0].until(b'Z', 1).await), ["unhurt"]);
        for neighbour in &mut neighbours {
            neighbour.run("select 1").await;
        }
        match function {
            "pg_cancel_backend" => drop(victim.run("select 1").await),
            _ => assert_eq!(codes(&victim.until_closed().await), ["57P01"]),
        }
    }
}

#[tokio::test]
async fn the_statement_of_a_signal_can_be_bound_again_and_means_the_same() {
    let room = Greenroom::start().auth("trust").servers(3).await;
    let (mut caller, mut victim) = (room.raw("catalog").await, room.raw("search").await);
    // A session that keeps its server, which has the unnamed statement from then on.
    caller.run("create temporary table kept (a int)").await;
    victim.run("begin").await;
    let sql = format!("select pg_cancel_backend({})", victim.key().0);
    assert!(is_true(&extended(&mut caller, &sql, &[], false).await));
    victim.run("commit").await;
    let mut neighbour = room.raw("search").await;
    neighbour.send(&[query("select 'unhurt' from pg_sleep(1)")]).await;
    sleepers(&room, 1).await;
    // Nobody stands in for the victim now: no such process, which is not the truth, but harms nobody.
    let again = caller.ask(&[bind("", &[], false), execute("", 0), sync()]).await;
    assert_eq!(rows(&again), ["f"], "{again:?}");
    assert_eq!(rows(&neighbour.until(b'Z', 1).await), ["unhurt"]);
    victim.run("select 1").await;
}

#[tokio::test]
async fn a_statement_with_a_name_and_a_number_in_it_is_bound_as_often_as_it_is_wanted() {
    let room = Greenroom::start().auth("trust").servers(4).await;
    let (mut caller, mut victim) = (room.raw("search").await, room.raw("catalog").await);
    let sql = format!("select pg_cancel_backend({})", victim.key().0);
    caller.ask(&[parse("cancel", &sql), sync()]).await;
    for round in 0..3 {
        victim.send(&[query("select pg_sleep(60)")]).await;
        sleepers(&room, 1).await;
        if round == 1 {
            // Now its server is its own.
            caller.run("create temporary table kept (a int)").await;
        }
        let uses = [bind("cancel", &[], false), execute("", 0), bind("cancel", &[], true), execute("", 0), sync()];
        let replies = caller.ask(&uses).await;
        assert_eq!(tags(&replies), "2DC2DCZ", "{replies:?}");
        assert_eq!(codes(&victim.until(b'Z', 1).await), ["57014"]);
        // A Bind that fails is told by the client's own name, and leaves nothing in the way of the next one.
        let wrong = caller.ask(&[bind("cancel", &[Parameter::Text("1".to_owned())], false), sync()]).await;
        let told = wrong.iter().find(|reply| reply.tag == b'E').and_then(|error| error.field(b'M'));
        assert_eq!(codes(&wrong), ["08P01"]);
        assert!(told.is_some_and(|text| text.contains("\"cancel\"")), "{wrong:?}");
        let names = "select name from pg_prepared_statements";
        let seen = rows(&caller.run(names).await);
        assert!(seen.is_empty() || seen == ["cancel"], "{seen:?}");
    }
    let failed = caller.ask(&[query("begin"), query("select 1/0"), bind("cancel", &[], false), sync()]).await;
    assert_eq!(codes(&failed), ["22012", "25P02"]);
    caller.run("rollback").await;
    assert_eq!(rows(&victim.run("select 1").await), ["1"]);
}

#[tokio::test]
async fn signals_in_a_pipeline_are_told_apart() {
    let room = Greenroom::start().auth("trust").servers(6).await;
    let mut caller = room.raw("search").await;
    let (mut first, mut second, mut third) =
        (room.raw("catalog").await, room.raw("catalog").await, room.raw("catalog").await);
    first.run("begin").await;
    let pid = |client: &RawClient| [Parameter::Text(client.key().0.to_string())];
    let mut frames = vec![parse("", "select pg_terminate_backend($1)")];
    for victim in [&first, &second] {
        frames.extend([bind("", &pid(victim), false), execute("", 0)]);
    }
    // A stranger's row that says the same, and a signal that is bound only.
    frames.extend([parse("", "select true"), bind("", &[], false), execute("", 0)]);
    frames.extend([parse("", "select pg_terminate_backend($1)"), bind("", &pid(&third), false), sync()]);
    let replies = caller.ask(&frames).await;
    assert_eq!(rows(&replies), ["t", "t", "t"], "{replies:?}");
    assert_eq!(codes(&first.until_closed().await), ["57P01"]);
    assert_eq!(codes(&second.until_closed().await), ["57P01"]);
    assert_eq!(tags(&third.run("select 1").await), "TDCZ");
}

#[tokio::test]
async fn without_a_server_that_could_stand_in_a_client_at_rest_is_not_found() {
    let room = Greenroom::start().auth("trust").servers(1).set("greenroom.pool.acquireTimeoutMillis", 300).await;
    let (mut caller, mut victim) = (room.raw("catalog").await, room.raw("catalog").await);
    let replies = caller.run(&format!("select pg_terminate_backend({})", victim.key().0)).await;
    assert_eq!(rows(&replies), ["f"], "when this works, docs/compatibility.md has a limit less");
    assert_eq!(tags(&victim.run("select 1").await), "TDCZ");
}

#[tokio::test]
async fn parallel_signals_never_touch_a_neighbour() {
    let room = Greenroom::start().auth("trust").servers(6).every_pool(|limits| limits.max(3)).await;
    let cancelled = (0..3).map(|n| {
        let room = &room;
        async move {
            let (mut victim, mut caller) = (room.raw("catalog").await, room.raw("auth").await);
            for round in 0..20 {
                let pause = rand::rng().random_range(0..12);
                victim.send(&[query("select pg_sleep(0.01)")]).await;
                let call = async {
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                    signal(&mut caller, (n + round) % WAYS, "pg_cancel_backend", victim.key().0).await
                };
                let call = call.await;
                assert!(codes(&call).is_empty(), "{call:?}");
                let replies = victim.until(b'Z', 1).await;
                assert!(codes(&replies).iter().all(|code| code == "57014"), "{replies:?}");
            }
        }
    });
    let ended = (0..2).map(|n| {
        let room = &room;
        async move {
            let mut caller = room.raw("auth").await;
            for round in 0..15 {
                let mut victim = room.raw("catalog").await;
                victim.send(&[query("select pg_sleep(0.005)")]).await;
                let pause = rand::rng().random_range(0..8);
                tokio::time::sleep(Duration::from_millis(pause)).await;
                let way = (n + round) % WAYS;
                let call = signal(&mut caller, way, "pg_terminate_backend", victim.key().0).await;
                assert!(is_true(&call), "way {way}, after {pause} ms: {call:?}");
                let said = codes(&victim.until_closed().await);
                assert_eq!(said, ["57P01"]);
            }
        }
    });
    let neighbours = (0..4).map(|n| {
        let room = &room;
        async move {
            let mut client = room.raw(["catalog", "auth"][n % 2]).await;
            for _ in 0..80 {
                client.run("select pg_sleep(0.003)").await;
            }
        }
    });
    tokio::join!(join_all(cancelled), join_all(ended), join_all(neighbours));
}
