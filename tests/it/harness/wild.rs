//! Clients that do anything, and vanish at any moment without a word.

use std::time::Duration;

use greenroom::config::ListenAddress;
use rand::Rng;
use rand::rngs::StdRng;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::frames::{self, Frame, copy_data, copy_done, extended, parse, query, sync, terminate, wire};
use super::stream::Stream;
use super::{STAGEHAND, Startup, logical};

/// A client that says everything it has to say at once, and is gone after a while, wherever it stands then. It proves
/// nothing: its greenroom must trust it.
#[derive(Debug)]
pub(crate) struct Wild {
    said: Vec<u8>,
    life: Duration,
}

impl Wild {
    /// Some client of one of so many plugins `p0`, `p1`, ..., for all of which there is a database.
    pub(crate) fn any(random: &mut StdRng, login: &str, plugins: u32) -> Self {
        let plugin = format!("p{}", random.random_range(0..plugins));
        let startup = Startup::new(login, "", &logical(&plugin));
        let startup = match random.random_range(0..12) {
            0 => startup.with("options", "-c geqo=off"),
            1 => startup.with("DateStyle", "German"),
            _ => startup,
        };
        let frames: Vec<Frame> = (0..random.random_range(0..4)).flat_map(|_| some_statements(random)).collect();
        Self::new(random, &startup, &frames)
    }

    /// A client that says this.
    pub(crate) fn new(random: &mut StdRng, startup: &Startup, frames: &[Frame]) -> Self {
        let mut said = frames::startup(startup.version, &startup.parameters);
        said.extend(wire(frames));
        if random.random_bool(0.3) {
            said.extend(terminate().bytes());
        }
        // Many go while they log in, some stay for a while.
        let most = if random.random_bool(0.5) { 15_000 } else { 300_000 };
        Self { said, life: Duration::from_micros(random.random_range(0..most)) }
    }

    /// Lives its life.
    pub(crate) async fn live(self, address: &ListenAddress) {
        let life = async {
            let mut stream = Stream::connect(address).await?;
            stream.write_all(&self.said).await?;
            let mut heard = [0; 4096];
            while stream.read(&mut heard).await? > 0 {}
            std::io::Result::Ok(())
        };
        let _ = timeout(self.life, life).await;
    }
}

/// Short ones and long ones, with and without a transaction, with state that stays and state that does not.
fn some_statements(random: &mut StdRng) -> Vec<Frame> {
    let texts = |texts: &[&str]| texts.iter().map(|text| query(text)).collect();
    let table = "create table if not exists t (x int)";
    match random.random_range(0..24) {
        0..3 => texts(&["select 1"]),
        3..5 => extended("select $1", &[Some("x")]),
        5 => texts(&["select pg_sleep(0.03)"]),
        // A cancel ends only the first of them.
        6 => texts(&["select pg_sleep(0.1)", "select pg_sleep(0.1)", "select pg_sleep(0.1)"]),
        7 => texts(&["begin", table, "insert into t values (1)", "commit"]),
        8..10 => texts(&["begin", table, "insert into t values (1)", "select pg_sleep(0.01)"]),
        10 => texts(&["begin", "select 1/0"]),
        11 => texts(&["create temp table u (x int)", "insert into u values (1)"]),
        12 => texts(&["set work_mem to '77kB'", "select 1"]),
        13 => texts(&["select pg_advisory_lock_shared(77)", "listen somewhere"]),
        14 => vec![parse("s", "select 1"), sync()],
        15 => texts(&["set search_path to pg_catalog", "select 1", "reset search_path"]),
        16 => texts(&[&format!("set role {STAGEHAND}"), "select 1", "reset role"]),
        17 => texts(&["reset all", "discard all"]),
        18 => texts(&["select repeat('x', 1000) from generate_series(1, 3000)"]),
        19 => vec![query(table), query("copy t from stdin"), copy_data("1\n"), copy_done()],
        20 => vec![query(table), query("copy t from stdin"), copy_data("1\n")],
        21 => texts(&["create or replace view v as select 1 as x", "select * from v"]),
        22 => texts(&["do $$ begin perform set_config('my.own', 'x', false); end $$"]),
        _ => texts(&["select now()", "select 1/0", "select 2"]),
    }
}
