//! greenroom beside other ways to PostgreSQL, in interleaved rounds of pgbench: directly, PgBouncer, HAProxy.
//!
//! `make bench` installs what it needs and runs it. Ratios within one round mean something on a busy machine, absolute
//! numbers do not. `BENCH_SECONDS` is how long one pgbench runs (3), `BENCH_ROUNDS` how many rounds there are (5),
//! `BENCH_ONLY` a part of the workloads' names.

mod contestant;
mod measure;
mod report;
mod workload;

use std::time::Duration;

use contestant::{Contestant, Stage};
use report::{Report, Sample};
use workload::Workload;

fn main() {
    let seconds = setting("BENCH_SECONDS", 3).clamp(1, 60);
    let rounds = setting("BENCH_ROUNDS", 5).clamp(1, 50);
    let only = std::env::var("BENCH_ONLY").unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let stage = runtime.block_on(Stage::build());
    let contestants = Contestant::start_all(&stage);
    for workload in Workload::all().iter().filter(|workload| workload.name.contains(&only)) {
        let mut report = Report::new(workload.name);
        for round in 0..rounds {
            for turn in 0..contestants.len() {
                // Nobody is always first, or always behind the same one.
                let contestant = &contestants[(turn + round as usize) % contestants.len()];
                let sample = run(workload, contestant, &stage, Duration::from_secs(seconds));
                eprintln!("{} round {} {}: {sample:?}", workload.name, round + 1, contestant.name);
                report.add(contestant.name, sample);
            }
        }
        if workload.counts_syscalls {
            for contestant in contestants.iter().filter(|contestant| contestant.pid.is_some()) {
                report.syscalls(contestant.name, measure::syscalls(workload, contestant, &stage));
            }
        }
        // A table is what this program is for.
        #[allow(clippy::print_stdout)]
        {
            println!("{report}");
        }
    }
}

fn run(workload: &Workload, contestant: &Contestant, stage: &Stage, time: Duration) -> Result<Sample, String> {
    let before = contestant.pid.map(measure::cpu);
    let outcome = workload.run(contestant, stage, time)?;
    let cpu = contestant.pid.zip(before).map(|(pid, before)| measure::cpu(pid).saturating_sub(before));
    Ok(Sample {
        tps: outcome.transactions as f64 / outcome.elapsed.as_secs_f64(),
        p50: outcome.percentile(50),
        p99: outcome.percentile(99),
        cpu_micros: cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / outcome.transactions.max(1) as f64),
        pss_kib: contestant.pid.map(measure::pss_kib),
    })
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}
