//! Loads of psql: clients that run one command again and again.

use std::process::Stdio;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;
use tokio::time::{Instant, timeout};

use crate::contestant::Contestant;
use crate::log::{self, Log, Transaction};
use crate::stage::{Stage, plugin_database};

/// The longest that one command may take.
const LIMIT: Duration = Duration::from_secs(20);

/// Runs the command over so many clients.
///
/// # Errors
/// The first complaint.
pub(crate) async fn run(
    clients: u32,
    command: &str,
    contestant: &Contestant,
    stage: &Stage,
    time: Duration,
) -> Result<Log, String> {
    let until = Instant::now() + time;
    let running = (0..clients).map(|_| client(command, contestant, stage, until));
    Log::of(join_all(running).await.into_iter().collect::<Result<_, String>>()?)
}

async fn client(
    command: &str,
    contestant: &Contestant,
    stage: &Stage,
    until: Instant,
) -> Result<Vec<Transaction>, String> {
    let mut psql = stage.program("psql", contestant.port);
    psql.args(["-X", "-q", "-o", "/dev/null", &plugin_database(0)]);
    psql.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut psql = Command::from(psql).kill_on_drop(true).spawn().expect("psql starts");
    let (input, output) = (psql.stdin.take(), psql.stderr.take());
    let (mut input, output) = input.zip(output).expect("they are pipes");
    let mut said = BufReader::new(output).lines();
    // What psql says by itself goes through a buffer, a warning does not.
    let turn = format!("{command}\n\\warn done\n");
    let mut transactions = Vec::new();
    while Instant::now() < until {
        let began = log::now();
        let failed = |error: std::io::Error| format!("psql: {error}");
        input.write_all(turn.as_bytes()).await.map_err(failed)?;
        let line = timeout(LIMIT, said.next_line()).await.map_err(|_| format!("psql: no answer in {LIMIT:?}"))?;
        match line.map_err(failed)? {
            Some(line) if line == "done" => {}
            complaint => return Err(complaint.unwrap_or_else(|| "psql ended".to_owned())),
        }
        let ended = log::now();
        transactions.push(Transaction { ended, took: ended.saturating_sub(began) });
    }
    drop(input);
    let _ = timeout(LIMIT, psql.wait()).await;
    Ok(transactions)
}
