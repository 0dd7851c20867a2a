//! greenroom beside other ways to PostgreSQL, in interleaved rounds of the same load: directly, PgBouncer, HAProxy.
//!
//! `make bench` installs what it needs and runs it; docs/performance.md says what the figures mean. Ratios within one round
//! mean something on a busy machine, absolute numbers do not.
//!
//! - `plan`: what is asked for in the environment.
//! - `stage`: PostgreSQL and its data.
//! - `contestant`: the ways to it; `proxies` says how each is set up.
//! - `workload`: what is measured, by `pgbench`, `psql` and `shares`.
//! - `log`: what a load came to; `measure`: what a process cost meanwhile.
//! - `report`: the table; `document`: its place in docs/performance.md.

mod contestant;
mod document;
mod guard;
mod log;
mod measure;
mod pgbench;
mod plan;
mod proxies;
mod psql;
mod report;
mod shares;
mod stage;
mod workload;

use std::process::ExitCode;
use std::time::Duration;

use contestant::{Contestant, Way};
use plan::Plan;
use report::{Report, Sample};
use stage::Stage;
use workload::Workload;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let (plan, workloads) = match Plan::from_environment() {
        Ok(planned) => planned,
        Err(mistake) => {
            eprintln!("{mistake}");
            return ExitCode::from(2);
        }
    };
    let load_average = measure::load_average();
    let stage = Stage::build().await;
    let mut well = true;
    for workload in workloads {
        let table = if workload.is_about_shares() {
            let verdict = shares::run(&stage, &plan).await;
            well &= verdict.is_kept();
            verdict.to_string()
        } else {
            compare(&workload, &stage, &plan).await.to_string()
        };
        let section = format!("{}\n\n{}; {load_average}.\n\n{table}", workload.about, plan.rounds_in_words());
        // A table is what this program is for.
        #[allow(clippy::print_stdout)]
        {
            println!("### {}\n\n{section}", workload.name);
        }
        if let Some(path) = &plan.write
            && let Err(error) = document::replace_in(path, workload.name, &section)
        {
            eprintln!("{}: {error}", path.display());
            well = false;
        }
    }
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs the load over each way in turn, round after round.
async fn compare(workload: &Workload, stage: &Stage, plan: &Plan) -> Report {
    let mut report = Report::new(&workload.scene);
    for round in 0..plan.rounds {
        for turn in 0..Way::ALL.len() {
            // Nobody is always first, or always behind the same one.
            let way = Way::ALL[(turn + round) % Way::ALL.len()];
            let sample = run(workload, way, stage, plan.time).await;
            eprintln!("{} round {} {}: {sample:?}", workload.name, round + 1, way.name());
            report.add(way, sample);
        }
    }
    for way in Way::ALL {
        report.syscalls(way, syscalls(workload, way, stage, plan.time).await);
    }
    report
}

/// One run of one contestant, which is there for this run alone.
async fn run(workload: &Workload, way: Way, stage: &Stage, time: Duration) -> Result<Sample, String> {
    let contestant = Contestant::start(way, stage, &workload.scene).await?;
    let load = workload.run(&contestant, stage, time);
    let (log, observed) = measure::observe(&contestant, stage, time, load).await;
    Sample::of(&log?, &observed)
}

/// System calls for each transaction of a run of their own, which strace slows down; `None` without strace.
async fn syscalls(workload: &Workload, way: Way, stage: &Stage, time: Duration) -> Option<f64> {
    let contestant = Contestant::start(way, stage, &workload.scene).await.ok()?;
    let time = time.min(Duration::from_secs(3));
    measure::syscalls(&contestant, stage, workload.run(&contestant, stage, time)).await
}
