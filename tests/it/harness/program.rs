//! A program of PostgreSQL, run to its end.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// `psql` or `pgbench` with everything it needs to log in.
#[derive(Debug)]
pub(crate) struct Program {
    command: Command,
}

impl Program {
    /// A program without any PG* settings of the person who runs the tests.
    pub(crate) fn new(program: &Path) -> Self {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PG")) {
            command.env_remove(name);
        }
        command.stdin(Stdio::null()).kill_on_drop(true).env("PGPASSFILE", "/dev/null");
        Self { command }
    }

    /// Sets a variable of its environment.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Adds arguments.
    pub(crate) fn args(mut self, args: &[&str]) -> Self {
        self.command.args(args);
        self
    }

    /// Runs it to its end, for two minutes at most, and returns what it printed; a failure fails the test.
    pub(crate) async fn run(mut self) -> String {
        let output = tokio::time::timeout(Duration::from_secs(120), self.command.output()).await;
        let output = output.unwrap_or_else(|_| panic!("{:?} does not end", self.command));
        let output = output.unwrap_or_else(|error| panic!("{:?}: {error}", self.command));
        let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        assert!(output.status.success(), "{:?}: {stdout}{stderr}", self.command);
        stdout
    }
}
