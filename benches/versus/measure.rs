//! What a process costs: its CPU time, its memory, its system calls; and what it keeps of PostgreSQL's connections.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::{interval, sleep, timeout};

use crate::contestant::Contestant;
use crate::log::{self, Log};
use crate::stage::Stage;

/// The kernel's clock ticks a second, in which /proc counts; 100 on every Linux in use.
const TICKS: u64 = 100;

/// How often CPU time is read.
const LOOK: Duration = Duration::from_millis(10);

/// What was seen of a contestant while a load ran.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    /// The CPU time of the proxy at times in microseconds since 1970.
    cpu: Vec<(u64, Duration)>,
    /// Its memory, in the middle of the run.
    pub(crate) pss_kib: Option<u64>,
    /// Connections to PostgreSQL then.
    pub(crate) servers: Option<u32>,
}

impl Observed {
    /// The longest time within these limits for which CPU time was read at both ends, and what it was in between.
    pub(crate) fn cpu_within(&self, (from, until): (u64, u64)) -> Option<((u64, u64), Duration)> {
        let first = self.cpu.iter().find(|(at, _)| *at >= from)?;
        let last = self.cpu.iter().rev().find(|(at, _)| *at <= until && *at > first.0)?;
        Some(((first.0, last.0), last.1 - first.1))
    }
}

/// Looks at a contestant while a load of so long runs over it.
pub(crate) async fn observe<T>(
    contestant: &Contestant,
    stage: &Stage,
    time: Duration,
    load: impl Future<Output = T>,
) -> (T, Observed) {
    let mut observed = Observed::default();
    let (mut ticks, cpu_samples) = (interval(LOOK), &mut observed.cpu);
    let mut load = std::pin::pin!(load);
    let mut middle = std::pin::pin!(async {
        sleep(time * 2 / 3).await;
        (contestant.pid().and_then(pss_kib), stage.connections().await)
    });
    let mut seen = None;
    let result = loop {
        tokio::select! {
            result = &mut load => break result,
            in_the_middle = &mut middle, if seen.is_none() => seen = Some(in_the_middle),
            _ = ticks.tick() => cpu_samples.extend(contestant.pid().and_then(cpu).map(|cpu| (log::now(), cpu))),
        }
    };
    (observed.pss_kib, observed.servers) = seen.unwrap_or_default();
    (result, observed)
}

/// The CPU time of a process and all its threads since it began.
fn cpu(pid: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name and may hold anything; behind it come the others, the third first.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let ticks: u64 = fields.get(11..13)?.iter().filter_map(|field| field.parse::<u64>().ok()).sum();
    Some(Duration::from_millis(ticks * 1000 / TICKS))
}

/// Its share of the memory that it uses, in KiB.
fn pss_kib(pid: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// System calls for each transaction of a load that runs for the purpose, which strace slows down; `None` without strace.
pub(crate) async fn syscalls(
    contestant: &Contestant,
    stage: &Stage,
    load: impl Future<Output = Result<Log, String>>,
) -> Option<f64> {
    let summary = stage.dir().join("strace");
    let pid = contestant.pid()?.to_string();
    let mut strace = Command::new("strace");
    strace.args(["-c", "-f", "-o"]).arg(&summary).args(["-p", &pid]).stdin(Stdio::null()).stderr(Stdio::null());
    let mut strace = strace.kill_on_drop(true).spawn().ok()?;
    sleep(Duration::from_millis(500)).await;
    let log = load.await;
    // It writes its summary when it is interrupted.
    let _ = Command::new("kill").args(["-s", "INT", &strace.id()?.to_string()]).status().await;
    timeout(Duration::from_secs(5), strace.wait()).await.ok()?.ok()?;
    let summary = fs::read_to_string(&summary).ok()?;
    let total = summary.lines().find(|line| line.trim_end().ends_with("total"))?;
    // % time, seconds, usecs/call, calls.
    let calls: u64 = total.split_whitespace().nth(3)?.parse().ok()?;
    Some(calls as f64 / log.ok()?.len() as f64)
}

/// How busy the machine is with whatever else, in words.
pub(crate) fn load_average() -> String {
    let averages = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!("load average before {}", averages.split(' ').next().unwrap_or_default())
}
