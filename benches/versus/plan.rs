//! What is asked for in the environment: how long, how often, and what of it.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use crate::workload::Workload;

/// How the workloads are run.
pub(crate) struct Plan {
    /// How long one run is (`BENCH_SECONDS`).
    pub(crate) time: Duration,
    /// How often each contestant's turn comes (`BENCH_ROUNDS`).
    pub(crate) rounds: usize,
    /// The document whose figures are replaced by the new ones (`BENCH_WRITE`).
    pub(crate) write: Option<PathBuf>,
}

impl Plan {
    /// The plan, and the workloads that are wanted: those with a part of `BENCH_ONLY` (between `|`) in their names.
    ///
    /// # Errors
    /// What cannot be understood.
    pub(crate) fn from_environment() -> Result<(Self, Vec<Workload>), String> {
        let seconds = number("BENCH_SECONDS", 3, 60)?;
        let rounds = number("BENCH_ROUNDS", 5, 50)? as usize;
        let only = env::var("BENCH_ONLY").unwrap_or_default();
        let wanted = |workload: &Workload| only.split('|').any(|part| workload.name.contains(part.trim()));
        let mut workloads = Workload::all();
        let names = workloads.iter().map(|workload| workload.name).collect::<Vec<_>>().join("\n  ");
        workloads.retain(wanted);
        if workloads.is_empty() {
            return Err(format!("BENCH_ONLY={only}: no workload has that in its name; there are\n  {names}"));
        }
        let write = env::var_os("BENCH_WRITE").filter(|path| !path.is_empty()).map(PathBuf::from);
        Ok((Self { time: Duration::from_secs(seconds), rounds, write }, workloads))
    }

    /// For the line above a table.
    pub(crate) fn rounds_in_words(&self) -> String {
        let plural = if self.rounds == 1 { "" } else { "s" };
        format!("{} round{plural} of {} s", self.rounds, self.time.as_secs())
    }
}

fn number(name: &str, default: u64, most: u64) -> Result<u64, String> {
    let Some(value) = env::var(name).ok().filter(|value| !value.is_empty()) else { return Ok(default) };
    let number = value.parse().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| format!("{name}={value}: expected a whole number from 1 to {most}"))
}
