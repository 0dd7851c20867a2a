//! What a test needs to say a promise in a sentence: a PostgreSQL, a greenroom in front of it, and clients of every kind.
//!
//! - [`Greenroom`]: greenroom itself, in this process, configured by the test.
//! - [`Stage`]: a database and a login of the test's own on the PostgreSQL that the tests share.
//! - [`RawClient`]: a client made of hand-written frames ([`frames`]); it reads [`Reply`]s.
//! - [`Client`]: a client as an application has it, tokio-postgres.
//! - [`Wild`]: a client that does anything, and vanishes at any moment.
//! - [`FakeServer`]: a PostgreSQL that misbehaves as told.
//! - [`Observer`]: what PostgreSQL itself counts, looked at all the time.
//! - [`Log`]: what greenroom writes down meanwhile.
//! - [`Typed`]: the program itself, as an operator types it.
//! - [`Metrics`]: what greenroom says over HTTP.

mod client;
mod command;
mod fake_answers;
mod fake_server;
pub(crate) mod frames;
mod greenroom;
mod http;
mod log;
mod login;
mod observer;
mod program;
mod raw_client;
mod reply;
mod room;
mod stage;
mod stream;
mod wild;

use std::time::Duration;

pub(crate) use client::Client;
pub(crate) use command::{Checked, Typed};
pub(crate) use fake_answers::{answer, welcome};
pub(crate) use fake_server::{Answer, FakeServer, Phase, Traffic};
pub(crate) use frames::Frame;
pub(crate) use greenroom::{Greenroom, Limits};
pub(crate) use http::{Metrics, get};
pub(crate) use log::Log;
pub(crate) use login::Startup;
pub(crate) use observer::Observer;
pub(crate) use program::Program;
pub(crate) use raw_client::{Heard, RawClient};
pub(crate) use reply::{Reply, codes, rows, tags};
pub(crate) use room::{Room, logical};
pub(crate) use stage::{STAGEHAND, Stage};
pub(crate) use wild::Wild;

/// How long anything may take that should happen at once, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for `what`, and fails the test by that name when it does not come.
pub(crate) async fn soon<T>(what: &str, event: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, event).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {PATIENCE:?}"),
    }
}

/// What a test begins to make things up from: the same each time, unless `GREENROOM_SEED` says another number. It is printed
/// with a test that fails.
pub(crate) fn seed() -> u64 {
    let seed = std::env::var("GREENROOM_SEED").map_or(1, |seed| seed.parse().expect("GREENROOM_SEED is a number"));
    eprintln!("GREENROOM_SEED={seed}");
    seed
}

/// Asks again until the answer is yes, and fails the test by the name of `what` when it stays no.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let asking = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon(what, asking).await;
}
