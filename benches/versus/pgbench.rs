//! Loads of pgbench: one for each plugin, all at once.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::contestant::Contestant;
use crate::log::{Log, Transaction};
use crate::stage::{Stage, plugin_database};

/// How much longer than asked for a program may run, for its logins and its last transactions.
const LEEWAY: Duration = Duration::from_secs(20);

/// What a pgbench more takes until all are at work: they start one after the other, and each has to log in.
const START: Duration = Duration::from_millis(100);

/// Who takes part.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Crowd {
    pub(crate) plugins: u32,
    /// Of each plugin.
    pub(crate) clients: u32,
}

/// Runs pgbench for each plugin.
///
/// # Errors
/// The first complaint.
pub(crate) async fn run(
    crowd: Crowd,
    arguments: &[&str],
    script: Option<&str>,
    contestant: &Contestant,
    stage: &Stage,
    time: Duration,
) -> Result<Log, String> {
    let script = script.map(|script| stage.write("script.sql", script));
    let time = time + START * (crowd.plugins - 1);
    let start = |plugin: u32| {
        let log = stage.dir().join(format!("log-{plugin}"));
        let mut command = stage.program("pgbench", contestant.port);
        command.args(["-n", "-j", "1", "-T", &time.as_secs().to_string(), "-c", &crowd.clients.to_string()]);
        command.args(["-l", "--log-prefix"]).arg(&log).args(arguments);
        if let Some(script) = &script {
            command.arg("-f").arg(script);
        }
        command.arg(plugin_database(plugin)).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = Command::from(command).kill_on_drop(true).spawn().expect("pgbench starts");
        Pgbench { log, child, logs_in_each_time: arguments.contains(&"-C") }
    };
    let running: Vec<Pgbench> = (0..crowd.plugins).map(start).collect();
    let finished = join_all(running.into_iter().map(|pgbench| pgbench.finish(time + LEEWAY))).await;
    let finished = finished.into_iter().collect::<Result<Vec<_>, String>>()?;
    Log::of(finished.into_iter().flatten().collect())
}

struct Pgbench {
    /// The beginning of its logs' names.
    log: PathBuf,
    child: Child,
    logs_in_each_time: bool,
}

impl Pgbench {
    /// The transactions of each of its threads.
    async fn finish(self, limit: Duration) -> Result<Vec<Vec<Transaction>>, String> {
        let first = PathBuf::from(format!("{}.{}", self.log.display(), self.child.id().unwrap_or_default()));
        // Dropping it ends the program.
        let output = timeout(limit, self.child.wait_with_output()).await;
        let further = (1..).map(|thread| PathBuf::from(format!("{}.{thread}", first.display())));
        let logs = std::iter::once(first.clone()).chain(further).map_while(|log| {
            let lines = fs::read_to_string(&log).ok()?;
            fs::remove_file(&log).ok()?;
            Some(transactions(&lines, self.logs_in_each_time))
        });
        let logs = logs.collect();
        let output = output.map_err(|_| format!("pgbench does not end within {limit:?}"))?.expect("pgbench ends");
        if !output.status.success() {
            let complaint = String::from_utf8_lossy(&output.stderr);
            return Err(complaint.lines().next().unwrap_or("pgbench failed").to_owned());
        }
        Ok(logs)
    }
}

/// What a log of pgbench tells.
fn transactions(lines: &str, logs_in_each_time: bool) -> Vec<Transaction> {
    let lines = lines.lines().filter_map(line);
    if !logs_in_each_time {
        return lines.map(|(_, transaction)| transaction).collect();
    }
    // To pgbench a transaction begins after its login; here it does when the client's last one has ended.
    let mut last = HashMap::new();
    let since_the_last = lines.filter_map(|(client, one)| {
        let before = last.insert(client, one.ended)?;
        Some(Transaction { took: one.ended.saturating_sub(before), ..one })
    });
    since_the_last.collect()
}

/// The client's number and its transaction, of a line: client, count, microseconds, script, seconds since
/// 1970, microseconds.
fn line(line: &str) -> Option<(u64, Transaction)> {
    let mut fields = line.split(' ').map(|field| field.parse::<u64>().ok());
    let (client, took) = (fields.next()??, fields.nth(1)??);
    let (seconds, micros) = (fields.nth(1)??, fields.next()??);
    Some((client, Transaction { ended: seconds * 1_000_000 + micros, took }))
}
