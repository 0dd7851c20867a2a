//! `greenroom check`: what a configuration comes to, and what PostgreSQL thinks of it.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::{ConfigFiles, environment, runtime, say};
use crate::config::{Config, ConfigErrors};
use crate::inspect::{self, Finding, Remedy, Severity};
use crate::route::{RouteTable, Shown};

/// What to check, and how to tell it.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    config: ConfigFiles,
    /// Look at the configuration alone; connect to nothing.
    #[arg(long)]
    offline: bool,
    /// The form of what is told.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Tells what was found; it fails with an error among the findings.
pub(super) fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let (shown, findings) = match Config::load(&args.config.paths(), &environment()) {
        Ok(config) => (Shown::default().of(&config), examine(&config, args.offline)?),
        Err(errors) => (Value::Null, mistakes(&errors)),
    };
    match args.format {
        Format::Text => say(text(&shown, &findings)?.trim_end()),
        Format::Json => say(serde_json::to_string_pretty(&json!({
            "configuration": shown,
            "findings": findings.iter().map(json_of).collect::<Vec<_>>(),
        }))?),
    }
    let failed = findings.iter().any(|finding| finding.severity == Severity::Error);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn examine(config: &Config, offline: bool) -> anyhow::Result<Vec<Finding>> {
    let table = RouteTable::new(config);
    let mut findings = inspect::offline(config, &table);
    if !offline {
        findings.extend(runtime::with_threads(1)?.block_on(inspect::online(config, &table)));
    }
    Ok(findings)
}

/// The mistakes of a configuration that cannot be used.
fn mistakes(errors: &ConfigErrors) -> Vec<Finding> {
    let finding = |mistake: &crate::config::Mistake| {
        let line = mistake.line.map(|line| format!(":{line}")).unwrap_or_default();
        let path = if mistake.path.is_empty() { String::new() } else { format!("{}: ", mistake.path) };
        Finding::new(Severity::Error, format!("{}{line}", mistake.file), format!("{path}{}", mistake.problem))
    };
    errors.mistakes().iter().map(finding).collect()
}

fn json_of(finding: &Finding) -> Value {
    let remedy = |remedy: &Remedy| match remedy {
        Remedy::Sql { database, sql } => json!({ "database": database, "sql": sql }),
        Remedy::Setting(setting) => json!({ "setting": setting }),
    };
    json!({
        "severity": finding.severity.as_str(),
        "subject": finding.subject,
        "what": finding.what,
        "remedies": finding.remedies.iter().map(remedy).collect::<Vec<_>>(),
    })
}

fn text(shown: &Value, findings: &[Finding]) -> anyhow::Result<String> {
    let mut out = String::new();
    if !shown.is_null() {
        out.push_str(&serde_yaml::to_string(shown).context("cannot be written as YAML")?);
        out.push('\n');
    }
    for finding in findings {
        writeln!(out, "{:<8} {}: {}", finding.severity.as_str(), one_line(&finding.subject), one_line(&finding.what))?;
        for (index, remedy) in finding.remedies.iter().enumerate() {
            let or = if index > 0 { "or, " } else { "" };
            match remedy {
                Remedy::Sql { database, sql } => {
                    writeln!(out, "         {or}in database {}:", one_line(database))?;
                    writeln!(out, "           {};", one_line(sql))?;
                }
                Remedy::Setting(setting) => writeln!(out, "         {or}set {}", one_line(setting))?,
            }
        }
    }
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let some = |severity, name: &str| match count(severity) {
        1 => format!("1 {name}"),
        n => format!("{n} {name}s"),
    };
    let (notes, warnings) = (some(Severity::Note, "note"), some(Severity::Warning, "warning"));
    writeln!(out, "\n{} ok, {notes}, {warnings}, {}", count(Severity::Ok), some(Severity::Error, "error"))?;
    Ok(out)
}

/// Names come from a server, and must not reach into the terminal.
fn one_line(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "
backend: { database: { client: pg, connection: { host: db, user: u, password: geheim, database: shared } } }
greenroom: { division: schema }
";

    #[test]
    fn a_finding_is_told_with_what_mends_it() {
        let mut finding = Finding::new(Severity::Error, "u@db/shared", "no\u{1b}[2J");
        finding.remedies.push(Remedy::Sql { database: "shared".to_owned(), sql: "GRANT x".to_owned() });
        finding.remedies.push(Remedy::Setting("greenroom.division: schema".to_owned()));
        let told = text(&Value::Null, std::slice::from_ref(&finding)).unwrap();
        assert_eq!(
            told,
            "error    u@db/shared: no [2J\n         in database shared:\n           GRANT x;\n         or, set \
             greenroom.division: schema\n\n0 ok, 0 notes, 0 warnings, 1 error\n"
        );
        assert_eq!(json_of(&finding)["remedies"][0]["sql"], "GRANT x");
    }

    #[test]
    fn the_configuration_is_told_without_secrets() {
        let config = Config::parse(CONFIG).unwrap();
        let findings = examine(&config, true).unwrap();
        let told = text(&Shown::default().of(&config), &findings).unwrap();
        assert!(told.contains("db:5432") && told.ends_with("1 ok, 0 notes, 0 warnings, 0 errors\n"), "{told}");
        assert!(!told.contains("geheim"), "{told}");
    }

    #[test]
    fn a_mistake_is_a_finding_with_its_place() {
        let errors = Config::parse("backend: { database: { client: pg } }\n").unwrap_err();
        let findings = mistakes(&errors);
        assert_eq!(findings[0].subject, "configuration:1");
        assert!(findings[0].what.starts_with("backend.database.connection: missing"), "{findings:?}");
    }
}
