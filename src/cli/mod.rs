//! What a person types: `greenroom serve`, `config`, `dev` and `healthcheck`.

mod config;
mod dev;
mod healthcheck;
mod home;
mod logging;
mod overlay;
mod runtime;
mod serve;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::Write as _;
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
    /// Show the configuration as it was understood, for the plugins that it names or those of --plugin; never a secret.
    Config(config::ConfigArgs),
    /// Run a private PostgreSQL with greenroom in front of it, to try things out.
    Dev(dev::DevArgs),
    /// Ask a running greenroom whether it is alive; the exit code is the answer.
    Healthcheck(healthcheck::HealthcheckArgs),
}

/// Which files are the configuration.
#[derive(Debug, Args)]
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

/// Runs the command that the arguments name.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        // --help and --version end here too; clap knows which stream and which code.
        Err(error) => error.exit(),
    };
    let result = match cli.command {
        Command::Serve(files) => serve::run(&files),
        Command::Config(args) => config::run(&args),
        Command::Dev(args) => dev::run(&args),
        Command::Healthcheck(args) => healthcheck::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
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
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn several_configuration_files_keep_their_order() {
        let args = ["greenroom", "serve", "--config", "b.yaml", "--config", "a.yaml"];
        let Command::Serve(files) = Cli::try_parse_from(args).unwrap().command else { panic!("not serve") };
        assert_eq!(files.paths(), [PathBuf::from("b.yaml"), PathBuf::from("a.yaml")]);
    }
}
