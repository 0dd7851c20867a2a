//! Every reply carries the tag of the client that asked: many clients over few servers, all at once, and each hears only
//! its own, in order.

use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::Semaphore;

use crate::harness::frames::{
    Frame, bind, close_statement, copy_data, copy_done, describe_portal, execute, flush, parse, query, sync,
};
use crate::harness::{Greenroom, RawClient, Reply, Room};

/// One request: what is said, and the tags that come back, each as often as it does.
struct Request {
    frames: Vec<Frame>,
    tags: Vec<String>,
}

/// A request of any kind, in which the tag can only come back from PostgreSQL.
fn request(random: &mut StdRng, tag: &str, named: bool) -> Request {
    let run = |name: &str, sql: &str, value: &str| {
        vec![parse(name, sql), bind("", name, &[Some(value)]), describe_portal(""), execute("", 0)]
    };
    let text = "select $1::text || ''";
    let part = |n: usize| format!("{tag}.{n}");
    let (frames, tags) = match random.random_range(0..if named { 12 } else { 10 }) {
        0 => (vec![query(&format!("select '{tag}'"))], vec![tag.to_owned()]),
        1 => (vec![query(&format!("select '{}'; select '{}'", part(0), part(1)))], vec![part(0), part(1)]),
        2 => (vec![query(&format!("select '{tag}'::int"))], vec![tag.to_owned()]),
        3 => ([run("", text, tag), vec![sync()]].concat(), vec![tag.to_owned()]),
        4 => {
            let batch = (0..5).flat_map(|n| run("", text, &part(n))).chain([sync()]);
            (batch.collect(), (0..5).map(part).collect())
        }
        5 => {
            let batches = (0..5).flat_map(|n| [run("", text, &part(n)), vec![sync()]].concat());
            (batches.collect(), (0..5).map(part).collect())
        }
        // The third one fails, and the rest is skipped.
        6 => {
            let mut batch: Vec<_> = (0..2).flat_map(|n| run("", text, &part(n))).collect();
            batch.extend(run("", "select $1::int", &part(2)));
            batch.extend((3..5).flat_map(|n| run("", text, &part(n))));
            batch.extend([sync(), query(&format!("select '{}'", part(5)))]);
            (batch, vec![part(0), part(1), part(2), part(5)])
        }
        7 => {
            let rows = format!("select repeat('{tag} ', 1500) from generate_series(1, 3)");
            (vec![query(&rows)], vec![tag.to_owned(); 3])
        }
        8 => {
            let text = format!("begin; select '{}'; copy (select '{}') to stdout; commit", part(0), part(1));
            (vec![query(&text), query(&format!("select '{}'", part(2)))], (0..3).map(part).collect())
        }
        9 => {
            let copy =
                format!("begin; create temp table c (x int) on commit drop; copy c from stdin; select '{tag}'; commit");
            (vec![query(&copy), copy_data("1\n"), copy_done()], vec![tag.to_owned()])
        }
        10 => {
            let again = [bind("", "s1", &[Some(&part(1))]), execute("", 0), flush(), sync()];
            ([&[close_statement("s1")][..], &run("s1", text, &part(0)), &again].concat(), vec![part(0), part(1)])
        }
        _ => {
            // Many have a statement of this name and text.
            let mut batch =
                vec![close_statement("mine"), parse("mine", &format!("select '{}' || $1", part(0))), sync()];
            batch.extend([bind("", "mine", &[Some("")]), execute("", 0), close_statement("mine"), sync()]);
            (batch, vec![part(0)])
        }
    };
    Request { frames, tags }
}

/// The tags that came back: of rows, of COPY data, and of error messages.
fn heard(replies: &[Reply]) -> Vec<String> {
    let texts = replies.iter().filter_map(|reply| match reply.tag {
        b'D' => reply.columns().and_then(|columns| columns.into_iter().next().flatten()),
        b'd' => Some(String::from_utf8_lossy(&reply.body).into_owned()),
        b'E' => reply.field(b'M'),
        _ => None,
    });
    let tag = |text: String| {
        let at = text.find("tag-").unwrap_or_else(|| panic!("a stranger's, or nobody's: {text}"));
        text[at..].split([' ', '"', '\n']).next().unwrap_or_default().to_owned()
    };
    texts.map(tag).collect()
}

/// Asks and asks, and fails the test when anything comes back that was not asked for.
async fn ask(client: &mut RawClient, seed: u64, requests: usize, named: bool) -> usize {
    let mut random = StdRng::seed_from_u64(seed);
    let mut answers = 0;
    for number in 0..requests {
        let Request { frames, tags } = request(&mut random, &format!("tag-{seed}-{number}"), named);
        let replies = client.ask(&frames).await;
        assert_eq!(heard(&replies), tags, "client {seed}, request {number}: {replies:?}");
        answers += tags.len();
    }
    answers
}

/// So many clients of several plugins, all at once.
async fn all_at_once(room: &Room, clients: u64, requests: usize, named: bool) -> usize {
    let each = (0..clients).map(|seed| async move {
        let mut client = room.raw(["catalog", "auth", "search"][seed as usize % 3]).await;
        let answers = ask(&mut client, seed, requests, named).await;
        if seed.is_multiple_of(2) {
            client.leave().await;
        }
        answers
    });
    join_all(each).await.into_iter().sum()
}

#[tokio::test]
async fn every_reply_goes_to_the_client_that_asked() {
    let room = Greenroom::start().auth("trust").servers(4).await;
    let answers = all_at_once(&room, 45, 60, false).await;
    assert!(answers > 5000, "{answers}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reply_goes_to_the_client_that_asked_with_several_threads() {
    let room = Greenroom::start().auth("trust").servers(4).await;
    all_at_once(&room, 30, 30, false).await;
}

/// They come and go, some hundreds at a time, while those before and behind them are served.
#[tokio::test]
async fn every_reply_goes_to_the_client_that_asked_while_thousands_come_and_go() {
    const CLIENTS: u64 = 3000;
    let room = Greenroom::start().auth("trust").servers(5).await;
    let (room, seats) = (&room, &Semaphore::new(200));
    let each = (0..CLIENTS).map(|seed| async move {
        let _seat = seats.acquire().await.expect("it is never closed");
        let mut client = room.raw(["catalog", "auth", "search"][seed as usize % 3]).await;
        let answers = ask(&mut client, seed, 3, seed.is_multiple_of(2)).await;
        match seed % 4 {
            0 => client.leave().await,
            // What it still asks is for nobody.
            1 => client.send(&[query(&format!("select 'tag-{seed}-unheard'"))]).await,
            2 => client.send(&[query("begin"), parse("", "select 'tag-unheard'"), bind("", "", &[])]).await,
            _ => {}
        }
        answers
    });
    let answers: usize = join_all(each).await.into_iter().sum();
    assert!(answers > 15_000, "{answers}");
}

#[tokio::test]
async fn every_reply_of_a_named_statement_goes_to_the_client_that_asked() {
    let room = Greenroom::start().auth("trust").servers(3).await;
    all_at_once(&room, 12, 60, true).await;
}
