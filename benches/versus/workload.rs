//! What is measured: pgbench's own scripts, and a few of ours.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::contestant::{Contestant, PLUGINS, Stage, plugin_database};

/// One kind of load.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    load: Load,
    /// pgbench's arguments, but for where and how long.
    args: &'static [&'static str],
    /// Clients; of each plugin, if there are several.
    clients: u32,
    plugins: u32,
    pub(crate) counts_syscalls: bool,
}

enum Load {
    /// pgbench with one of its own scripts, which the arguments name.
    Builtin,
    /// pgbench with this script.
    Script(&'static str),
    /// psql with COPY TO, which pgbench cannot.
    Copy,
}

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) transactions: u64,
    pub(crate) elapsed: Duration,
    /// Of a sample of the transactions, sorted, in microseconds.
    latencies: Vec<u64>,
}

impl Outcome {
    /// `percent` of the sampled transactions took no longer than this, in microseconds.
    pub(crate) fn percentile(&self, percent: usize) -> Option<u64> {
        self.latencies.get((self.latencies.len() * percent / 100).min(self.latencies.len().saturating_sub(1))).copied()
    }
}

const USUAL: Workload =
    Workload { name: "", load: Load::Builtin, args: &[], clients: 32, plugins: 1, counts_syscalls: false };

impl Workload {
    pub(crate) fn all() -> [Self; 9] {
        [
            Self { name: "select, simple", args: &["-S", "-M", "simple"], counts_syscalls: true, ..USUAL },
            Self { name: "select, extended", args: &["-S", "-M", "extended"], counts_syscalls: true, ..USUAL },
            Self { name: "select, prepared", args: &["-S", "-M", "prepared"], clients: 8, ..USUAL },
            Self { name: "TPC-B, prepared", args: &["-b", "tpcb-like", "-M", "prepared"], clients: 8, ..USUAL },
            Self {
                name: "pipeline of ten",
                args: &["-M", "extended"],
                load: Load::Script(
                    "\\startpipeline\nselect 1;\nselect 2;\nselect 3;\nselect 4;\nselect 5;\nselect 6;\nselect 7;\n\
                     select 8;\nselect 9;\nselect 10;\n\\endpipeline\n",
                ),
                ..USUAL
            },
            Self { name: "rows of 1 MB", load: Load::Script("select repeat('x', 1000000);\n"), clients: 4, ..USUAL },
            Self { name: "COPY of 1 MB", load: Load::Copy, clients: 4, ..USUAL },
            Self { name: "logins", args: &["-S", "-C"], clients: 8, ..USUAL },
            Self { name: "thirty plugins", args: &["-S", "-M", "extended"], clients: 4, plugins: PLUGINS, ..USUAL },
        ]
    }

    /// Runs it once; what a program complained of, if it cannot be done this way.
    pub(crate) fn run(&self, contestant: &Contestant, stage: &Stage, time: Duration) -> Result<Outcome, String> {
        let script = match self.load {
            Load::Copy => return copy(self.clients, contestant, stage, time),
            Load::Builtin => None,
            Load::Script(script) => {
                let path = stage.dir().join("script.sql");
                fs::write(&path, script).expect("a script can be written");
                Some(path)
            }
        };
        let began = Instant::now();
        let running: Vec<Pgbench> =
            (0..self.plugins).map(|plugin| self.start(plugin, script.as_deref(), contestant, stage, time)).collect();
        let mut outcome = Outcome { transactions: 0, elapsed: Duration::ZERO, latencies: Vec::new() };
        let finished: Vec<_> = running.into_iter().map(|pgbench| pgbench.finish(&mut outcome)).collect();
        outcome.elapsed = began.elapsed();
        outcome.latencies.sort_unstable();
        finished.into_iter().collect::<Result<(), String>>().map(|()| outcome)
    }

    fn start(
        &self,
        plugin: u32,
        script: Option<&Path>,
        contestant: &Contestant,
        stage: &Stage,
        time: Duration,
    ) -> Pgbench {
        let log = stage.dir().join(format!("log-{plugin}"));
        let mut command = contestant.program("pgbench", stage);
        command.args(["-n", "-j", "1", "-T", &time.as_secs().to_string(), "-c", &self.clients.to_string()]);
        command.args(["-l", "--sampling-rate", "0.2", "--log-prefix"]).arg(&log).args(self.args);
        if let Some(script) = script {
            command.arg("-f").arg(script);
        }
        command.arg(plugin_database(plugin)).stdout(Stdio::piped()).stderr(Stdio::piped());
        Pgbench { log, child: command.spawn().expect("pgbench starts") }
    }
}

struct Pgbench {
    log: PathBuf,
    child: Child,
}

impl Pgbench {
    fn finish(self, outcome: &mut Outcome) -> Result<(), String> {
        let pid = self.child.id();
        let output = self.child.wait_with_output().expect("pgbench ends");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() {
            return Err(complaint.lines().next().unwrap_or("pgbench failed").to_owned());
        }
        let count = said.lines().find_map(|line| line.strip_prefix("number of transactions actually processed: "));
        let count = count.and_then(|count| count.split(['/', ' ']).next()?.parse::<u64>().ok());
        outcome.transactions += count.unwrap_or_else(|| panic!("pgbench counted nothing: {said}{complaint}"));
        let log = format!("{}.{pid}", self.log.display());
        for line in fs::read_to_string(&log).unwrap_or_default().lines() {
            outcome.latencies.extend(line.split(' ').nth(2).and_then(|micros| micros.parse::<u64>().ok()));
        }
        let _ = fs::remove_file(log);
        Ok(())
    }
}

/// psql reads a table of a megabyte by COPY, again and again; pgbench cannot.
fn copy(clients: u32, contestant: &Contestant, stage: &Stage, time: Duration) -> Result<Outcome, String> {
    const EACH: u32 = 20;
    let began = Instant::now();
    let (mut transactions, mut latencies) = (0, Vec::new());
    while began.elapsed() < time {
        let turn = Instant::now();
        let psqls: Vec<Child> = (0..clients)
            .map(|_| {
                let mut psql = contestant.program("psql", stage);
                psql.args(["-X", "-q", "-o", "/dev/null"]);
                psql.args((0..EACH).flat_map(|_| ["-c", "copy (select * from megabyte) to stdout"]));
                psql.arg(plugin_database(0)).stdout(Stdio::null());
                psql.spawn().expect("psql starts")
            })
            .collect();
        for mut psql in psqls {
            if !psql.wait().expect("psql ends").success() {
                return Err("psql failed".to_owned());
            }
            transactions += u64::from(EACH);
        }
        latencies.push(turn.elapsed().as_micros() as u64 / u64::from(EACH));
    }
    latencies.sort_unstable();
    Ok(Outcome { transactions, elapsed: began.elapsed(), latencies })
}
