//! The greenroom program itself, as an operator types it.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use super::Stage;

/// A configuration file and the program that reads it.
#[derive(Debug)]
pub(crate) struct Typed {
    dir: TempDir,
    variables: Vec<(String, String)>,
}

/// What a run of the program came to.
#[derive(Debug)]
pub(crate) struct Told {
    /// Its exit code.
    pub(crate) code: i32,
    /// What it printed.
    pub(crate) out: String,
    /// What it complained of.
    pub(crate) err: String,
}

impl Typed {
    /// In front of a stage, in schema division; `database` and `own` are more lines below the two keys.
    pub(crate) fn before(stage: &Stage, database: &str, own: &str) -> Self {
        Self::new(&format!(
            "backend:\n  database:\n    client: pg\n    connection:\n      host: 127.0.0.1\n      port: {}\n      user: {}\n      \
             password: {}\n      database: {}\n{database}greenroom:\n  division: schema\n{own}",
            stage.postgres().port(),
            stage.login,
            stage.password,
            stage.database
        ))
    }

    /// The same with another division.
    pub(crate) fn dividing(self, division: &str) -> Self {
        let path = self.dir.path().join("app-config.yaml");
        let config = std::fs::read_to_string(path).expect("it was written when this was made");
        self.write("app-config.yaml", &config.replace("division: schema", &format!("division: {division}")));
        self
    }

    /// With any configuration.
    pub(crate) fn new(config: &str) -> Self {
        let typed = Self { dir: tempfile::tempdir().expect("a directory"), variables: Vec::new() };
        typed.write("app-config.yaml", config);
        typed
    }

    /// With a variable of its environment.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Puts a file beside the configuration.
    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir.path().join(name), text).expect("the directory is ours");
    }

    /// The directory of the configuration.
    pub(crate) fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// Runs it to its end, for a minute at most.
    pub(crate) async fn run(&self, args: &[&str]) -> Told {
        let mut command = Command::new(env!("CARGO_BIN_EXE_greenroom"));
        let mine = |name: &std::ffi::OsStr| {
            ["PG", "GREENROOM_", "APP_CONFIG_", "BACKSTAGE_"]
                .iter()
                .any(|mine| name.as_encoded_bytes().starts_with(mine.as_bytes()))
        };
        for (name, _) in std::env::vars_os().filter(|(name, _)| mine(name)) {
            command.env_remove(name);
        }
        let variables = self.variables.iter().map(|(name, value)| (name, value));
        command.args(args).envs(variables).current_dir(self.dir.path()).stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(Duration::from_secs(60), command.output()).await;
        let output = output.unwrap_or_else(|_| panic!("greenroom {args:?} does not end")).expect("the program starts");
        let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        Told { code: output.status.code().unwrap_or(-1), out, err }
    }

    /// Checks, and reads what is told as JSON.
    pub(crate) async fn check(&self) -> Checked {
        let told = self.run(&["check", "--format", "json"]).await;
        let json: Value = serde_json::from_str(&told.out).unwrap_or_else(|error| panic!("{error}: {told:?}"));
        Checked { code: told.code, json }
    }
}

/// What a check found.
#[derive(Debug)]
pub(crate) struct Checked {
    /// Its exit code.
    pub(crate) code: i32,
    json: Value,
}

impl Checked {
    /// The findings of a severity.
    pub(crate) fn of(&self, severity: &str) -> Vec<&Value> {
        let findings = self.json["findings"].as_array().expect("a list");
        findings.iter().filter(|finding| finding["severity"] == severity).collect()
    }

    /// The one finding of that severity that says `what`; there must be one.
    pub(crate) fn finding(&self, severity: &str, what: &str) -> &Value {
        let found = self
            .of(severity)
            .into_iter()
            .find(|finding| finding["what"].as_str().is_some_and(|text| text.contains(what)));
        found.unwrap_or_else(|| panic!("no {severity} says {what:?}: {:#}", self.json))
    }

    /// The SQL that mends a finding: database and statements.
    pub(crate) fn sql(&self, severity: &str, what: &str) -> Vec<(String, String)> {
        let remedies = self.finding(severity, what)["remedies"].as_array().expect("a list").clone();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        remedies.iter().filter_map(|remedy| Some((text(&remedy["database"])?, text(&remedy["sql"])?))).collect()
    }

    /// Nothing wrong and nothing doubtful.
    pub(crate) fn assert_content(&self) {
        assert!(self.of("error").is_empty() && self.of("warning").is_empty() && self.code == 0, "{:#}", self.json);
    }
}
