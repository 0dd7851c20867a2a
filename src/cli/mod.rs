//! What a person types: `greenroom serve`, `check`, `explain`, `overlay`, `config`, `dev` and `healthcheck`.

mod check;
mod config;
mod dev;
mod explain;
mod healthcheck;
mod home;
mod logging;
mod overlay;
mod reload;
mod runtime;
mod serve;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, Environment};

/// A PostgreSQL pooling proxy for Backstage: every plugin database from one, over few connections.
#[derive(Debug, Parser)]
#[command(name = "greenroom", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve plugin databases as Backstage's own app-config files describe them.
    Serve(ConfigFiles),
    /// Check a configuration, and try every database that it leads to; each finding comes with what mends it.
    Check(check::CheckArgs),
    /// Explain where a logical database really is, as whom and within which limits, without connecting.
    Explain(explain::ExplainArgs),
    /// Print what Backstage merges over its own configuration to reach its databases through greenroom; never a secret.
    Overlay(overlay::OverlayArgs),
    /// Show the configuration as it was understood, for the plugins that it names or those of --plugin; never a secret.
    Config(config::ConfigArgs),
    /// Run a private PostgreSQL with greenroom in front of it, to try things out.
    Dev(dev::DevArgs),
    /// Ask a running greenroom whether it is alive; the exit code is the answer.
    Healthcheck(healthcheck::HealthcheckArgs),
}

/// Which files are the configuration.
#[derive(Debug, Clone, Args)]
struct ConfigFiles {
    /// A configuration file; later ones win. Without any: app-config.yaml, and where there are such, app-config.<env>.yaml for
    /// each of BACKSTAGE_ENV, app-config.local.yaml and app-config.<env>.local.yaml.
    #[arg(long = "config", value_name = "FILE", env = "GREENROOM_CONFIG", value_delimiter = ':')]
    files: Vec<PathBuf>,
}

impl ConfigFiles {
    /// The files that were named, else Backstage's usual ones.
    fn paths(&self) -> Vec<PathBuf> {
        match self.files.as_slice() {
            [] => Config::default_files(Path::new(""), &environment()),
            named => named.to_owned(),
        }
    }
}

/// The process's environment variables, as the configuration may refer to them.
fn environment() -> Environment {
    let text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
    std::env::vars_os().filter_map(text).collect()
}

/// The address that means "every interface" is not one to connect to.
fn reachable(host: &str) -> String {
    match host.parse() {
        Ok(IpAddr::V4(Ipv4Addr::UNSPECIFIED)) => Ipv4Addr::LOCALHOST.to_string(),
        Ok(IpAddr::V6(Ipv6Addr::UNSPECIFIED)) => Ipv6Addr::LOCALHOST.to_string(),
        _ => host.to_owned(),
    }
}

/// Runs the command that the arguments name.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        // --help and --version end here too; clap knows which stream and which code.
        Err(error) => error.exit(),
    };
    let success = |()| ExitCode::SUCCESS;
    let result = match cli.command {
        Command::Serve(files) => serve::run(&files).map(success),
        Command::Check(args) => check::run(&args),
        Command::Explain(args) => explain::run(&args).map(success),
        Command::Overlay(args) => overlay::run(&args).map(success),
        Command::Config(args) => config::run(&args).map(success),
        Command::Dev(args) => dev::run(&args).map(success),
        Command::Healthcheck(args) => healthcheck::run(&args).map(success),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            // Nothing is left to do for a standard error that is closed.
            let _ = writeln!(std::io::stderr(), "greenroom: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints for the person at the terminal; a closed standard output is no reason to fail.
fn say(text: impl Display) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// The sections of docs/commands.md: a command, and the first column of its table.
    fn documented() -> Vec<(String, BTreeSet<String>)> {
        let text = include_str!("../../docs/commands.md");
        let sections = text.split("\n## `greenroom ").skip(1);
        let options = |section: &str| {
            let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
            rows.filter(|option| option.starts_with("--") || *option == "DATABASE").map(str::to_owned).collect()
        };
        sections.map(|section| (section.split('`').next().unwrap().to_owned(), options(section))).collect()
    }

    #[test]
    fn the_documentation_has_every_command_with_its_options() {
        let command = Cli::command();
        let name = |argument: &clap::Arg| match argument.get_long() {
            Some(long) => format!("--{long}"),
            None => argument.get_id().as_str().to_uppercase(),
        };
        let typed = |command: &clap::Command| {
            let arguments = command.get_arguments().filter(|argument| !argument.is_hide_set());
            (command.get_name().to_owned(), arguments.map(name).collect::<BTreeSet<_>>())
        };
        assert_eq!(documented(), command.get_subcommands().map(typed).collect::<Vec<_>>());
    }

    #[test]
    fn several_configuration_files_keep_their_order() {
        let args = ["greenroom", "serve", "--config", "b.yaml", "--config", "a.yaml"];
        let Command::Serve(files) = Cli::try_parse_from(args).unwrap().command else { panic!("not serve") };
        assert_eq!(files.paths(), [PathBuf::from("b.yaml"), PathBuf::from("a.yaml")]);
    }
}
