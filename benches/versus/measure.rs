//! What a process costs: its CPU time, its memory, its system calls.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::contestant::{Contestant, Stage};
use crate::workload::Workload;

/// The kernel's clock ticks a second, in which /proc counts; 100 on every Linux in use.
const TICKS: u64 = 100;

/// The CPU time of a process and all its threads since it began.
pub(crate) fn cpu(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the contestant runs");
    // The second field is the program's name and may hold anything; behind it come the others, the third first.
    let rest = stat.rsplit_once(") ").expect("proc(5): a name in parentheses").1;
    let fields: Vec<&str> = rest.split(' ').collect();
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().expect("proc(5): utime, stime")).sum();
    Duration::from_millis(ticks * 1000 / TICKS)
}

/// Its share of the memory that it uses, in KiB.
pub(crate) fn pss_kib(pid: u32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("the contestant runs");
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).expect("proc(5): Pss");
    line.trim().trim_end_matches(" kB").parse().expect("proc(5): a number of kB")
}

/// System calls for each transaction of a run of their own, which strace slows down; `None` without strace.
pub(crate) fn syscalls(workload: &Workload, contestant: &Contestant, stage: &Stage) -> Option<f64> {
    let log = stage.dir().join("strace");
    let pid = contestant.pid?.to_string();
    let mut strace = Command::new("strace");
    strace.args(["-c", "-f", "-o"]).arg(&log).args(["-p", &pid]).stdin(Stdio::null()).stderr(Stdio::null());
    let mut strace = strace.spawn().ok()?;
    std::thread::sleep(Duration::from_millis(500));
    let outcome = workload.run(contestant, stage, Duration::from_secs(3));
    // It writes its summary when it is interrupted.
    let _ = Command::new("kill").args(["-INT", &strace.id().to_string()]).status();
    strace.wait().ok()?;
    let outcome = outcome.ok()?;
    let summary = fs::read_to_string(&log).ok()?;
    let total = summary.lines().find(|line| line.trim_end().ends_with("total"))?;
    // % time, seconds, usecs/call, calls.
    let calls: u64 = total.split_whitespace().nth(3)?.parse().ok()?;
    Some(calls as f64 / outcome.transactions.max(1) as f64)
}
