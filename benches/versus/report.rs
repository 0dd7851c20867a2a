//! The table of one workload, in Markdown: medians, and ratios within the same round.

use std::fmt;

/// What one run of one contestant came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// Transactions a second.
    pub(crate) tps: f64,
    /// Half of the transactions took no longer, in microseconds.
    pub(crate) p50: Option<u64>,
    /// All but a hundredth took no longer.
    pub(crate) p99: Option<u64>,
    /// CPU time of the proxy process for each transaction, in microseconds.
    pub(crate) cpu_micros: Option<f64>,
    /// Its memory.
    pub(crate) pss_kib: Option<u64>,
}

/// All runs of one workload.
pub(crate) struct Report {
    workload: &'static str,
    rows: Vec<Row>,
}

struct Row {
    name: &'static str,
    /// One a round.
    samples: Vec<Sample>,
    /// Why it does not take part.
    failure: Option<String>,
    syscalls: Option<f64>,
}

/// Whom the tps are compared with, and whom the CPU time.
const TPS_BASE: &str = "direct";
const CPU_BASE: &str = "pgbouncer";

impl Report {
    pub(crate) fn new(workload: &'static str) -> Self {
        Self { workload, rows: Vec::new() }
    }

    /// Takes the sample of a contestant's next round, or why there is none.
    pub(crate) fn add(&mut self, name: &'static str, sample: Result<Sample, String>) {
        let row = self.row(name);
        match sample {
            Ok(sample) => row.samples.push(sample),
            Err(failure) => row.failure = Some(failure),
        }
    }

    pub(crate) fn syscalls(&mut self, name: &'static str, syscalls: Option<f64>) {
        self.row(name).syscalls = syscalls;
    }

    fn row(&mut self, name: &'static str) -> &mut Row {
        let at = self.rows.iter().position(|row| row.name == name).unwrap_or_else(|| {
            self.rows.push(Row { name, samples: Vec::new(), failure: None, syscalls: None });
            self.rows.len() - 1
        });
        &mut self.rows[at]
    }

    /// The median over the rounds of this row's value divided by the base's of the same round.
    fn ratio(&self, row: &Row, base: &str, value: impl Fn(&Sample) -> Option<f64>) -> Option<f64> {
        let base = self.rows.iter().find(|row| row.name == base && row.failure.is_none())?;
        median(row.samples.iter().zip(&base.samples).map(|(own, base)| Some(value(own)? / value(base)?)))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "### {}\n", self.workload)?;
        writeln!(
            f,
            "| | tps | tps / direct | p50 ms | p99 ms | CPU us a transaction | CPU / PgBouncer | PSS MiB | syscalls |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|---|---|")?;
        let mut rows: Vec<&Row> = self.rows.iter().collect();
        rows.sort_by_key(|row| row.name != TPS_BASE);
        for row in rows {
            if let Some(failure) = &row.failure {
                writeln!(f, "| {} | fails: {} |", row.name, failure.replace('|', "/"))?;
                continue;
            }
            let of = |value: &dyn Fn(&Sample) -> Option<f64>| median(row.samples.iter().map(value));
            let millis = |micros: Option<u64>| micros.map(|micros| micros as f64 / 1e3);
            writeln!(
                f,
                "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                row.name,
                number(of(&|sample| Some(sample.tps)), 0),
                number(self.ratio(row, TPS_BASE, |sample| Some(sample.tps)), 2),
                number(of(&|sample| millis(sample.p50)), 2),
                number(of(&|sample| millis(sample.p99)), 2),
                number(of(&|sample| sample.cpu_micros), 1),
                number(self.ratio(row, CPU_BASE, |sample| sample.cpu_micros), 2),
                number(of(&|sample| sample.pss_kib.map(|kib| kib as f64 / 1024.0)), 1),
                number(row.syscalls, 1),
            )?;
        }
        Ok(())
    }
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map(|value| format!("{value:.digits$}")).unwrap_or_default()
}

fn median(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let mut values: Vec<f64> = values.flatten().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
