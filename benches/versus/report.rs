//! The table of one workload, in Markdown: medians over the rounds, and ratios within the same round.

use std::fmt;

use crate::contestant::Way;
use crate::log::{Log, percentile};
use crate::measure::Observed;
use crate::proxies;
use crate::workload::Scene;

/// What one run of one contestant came to, while all its clients were at work.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// Transactions a second.
    tps: f64,
    /// Half of the transactions took no longer, in milliseconds.
    p50: Option<f64>,
    /// All but a hundredth took no longer.
    p99: Option<f64>,
    /// CPU time of the proxy process for each transaction, in microseconds.
    cpu_micros: Option<f64>,
    /// Its memory.
    pss_mib: Option<f64>,
    /// Connections to PostgreSQL.
    servers: Option<f64>,
}

impl Sample {
    /// # Errors
    /// There was no transaction while everybody was at work.
    pub(crate) fn of(log: &Log, observed: &Observed) -> Result<Self, String> {
        let cpu = observed.cpu_within(log.at_work());
        let within = cpu.map_or(log.at_work(), |(within, _)| within);
        let latencies = log.latencies(within);
        if latencies.is_empty() {
            return Err("too few transactions".to_owned());
        }
        let (transactions, seconds) = (latencies.len() as f64, (within.1 - within.0) as f64 / 1e6);
        let millis = |percent| percentile(&latencies, percent).map(|micros| micros as f64 / 1e3);
        Ok(Self {
            tps: transactions / seconds,
            p50: millis(50),
            p99: millis(99),
            cpu_micros: cpu.map(|(_, cpu)| cpu.as_secs_f64() * 1e6 / transactions),
            pss_mib: observed.pss_kib.map(|kib| kib as f64 / 1024.0),
            servers: observed.servers.map(f64::from),
        })
    }
}

/// All runs of one workload.
pub(crate) struct Report {
    /// How the pools are set up.
    pools: String,
    rows: [Row; 4],
}

struct Row {
    way: Way,
    /// One a round, or why there is none.
    rounds: Vec<Result<Sample, String>>,
    syscalls: Option<f64>,
}

/// With whom the tps are compared, and the CPU time.
const TPS_BASE: Way = Way::Direct;
const CPU_BASE: Way = Way::PgBouncer;

impl Report {
    pub(crate) fn new(scene: &Scene) -> Self {
        let rows = Way::ALL.map(|way| Row { way, rounds: Vec::new(), syscalls: None });
        Self { pools: proxies::in_words(scene), rows }
    }

    /// Takes the sample of a way's next round, or why there is none.
    pub(crate) fn add(&mut self, way: Way, sample: Result<Sample, String>) {
        self.row(way).rounds.push(sample);
    }

    pub(crate) fn syscalls(&mut self, way: Way, syscalls: Option<f64>) {
        self.row(way).syscalls = syscalls;
    }

    fn row(&mut self, way: Way) -> &mut Row {
        self.rows.iter_mut().find(|row| row.way == way).expect("every way has a row")
    }

    /// The median over the rounds of this row's value divided by the base's of the same round.
    fn ratio(&self, row: &Row, base: Way, value: impl Fn(&Sample) -> Option<f64>) -> Option<f64> {
        let base = self.rows.iter().find(|row| row.way == base)?;
        let of = |round: &Result<Sample, String>| value(round.as_ref().ok()?);
        median(row.rounds.iter().zip(&base.rounds).map(|(own, base)| Some(of(own)? / of(base)?)))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| | tps | / direct | p50 ms | p99 ms | CPU µs | / PgBouncer | syscalls | PSS MiB | servers |")?;
        writeln!(f, "|---|---|---|---|---|---|---|---|---|---|")?;
        for row in &self.rows {
            let of = |value: fn(&Sample) -> Option<f64>| {
                median(row.rounds.iter().map(|round| round.as_ref().ok().and_then(value)))
            };
            let cells = [
                number(of(|sample| Some(sample.tps)), 0),
                number(self.ratio(row, TPS_BASE, |sample| Some(sample.tps)), 2),
                number(of(|sample| sample.p50), 2),
                number(of(|sample| sample.p99), 2),
                number(of(|sample| sample.cpu_micros), 1),
                number(self.ratio(row, CPU_BASE, |sample| sample.cpu_micros), 2),
                number(row.syscalls, 1),
                number(of(|sample| sample.pss_mib), 1),
                number(of(|sample| sample.servers), 0),
            ];
            writeln!(f, "| {} | {} |", row.way.name(), cells.join(" | "))?;
        }
        writeln!(f, "\n{}.", self.pools)?;
        for row in &self.rows {
            let failures: Vec<&String> = row.rounds.iter().filter_map(|round| round.as_ref().err()).collect();
            if let Some(last) = failures.last() {
                let (failed, rounds) = (failures.len(), row.rounds.len());
                writeln!(f, "{} failed in {failed} of {rounds} rounds: {last}", row.way.name())?;
            }
        }
        Ok(())
    }
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map(|value| format!("{value:.digits$}")).unwrap_or_default()
}

/// The middle one of the values that there are, or what lies between the middle two.
pub(crate) fn median(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let mut values: Vec<f64> = values.flatten().collect();
    values.sort_by(f64::total_cmp);
    let upper = values.get(values.len() / 2)?;
    let lower = values.get((values.len() - 1) / 2)?;
    Some(f64::midpoint(*lower, *upper))
}
