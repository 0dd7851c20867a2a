//! `greenroom config`: the configuration as greenroom understood it, without secrets.

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use super::{ConfigFiles, environment, say};
use crate::config::Config;
use crate::route::Shown;

/// What to show, and how.
#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    #[command(flatten)]
    config: ConfigFiles,
    /// A plugin to show, whether the configuration names it or not; may be repeated. Without any: those that it names.
    #[arg(long = "plugin", value_name = "ID")]
    plugins: Vec<String>,
    /// The form of what is shown.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Show a SHA-256 of this salt and each password, to compare passwords without showing them.
    #[arg(long, value_name = "SALT", hide = true)]
    password_salt: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Format {
    /// For people.
    #[default]
    Yaml,
    /// For programs.
    Json,
}

/// Shows the configuration, or what is wrong with it.
pub(super) fn run(args: &ConfigArgs) -> anyhow::Result<()> {
    let config = Config::load(&args.config.paths(), &environment())?;
    let shown = Shown { plugins: &args.plugins, password_salt: args.password_salt.as_deref() }.of(&config);
    let text = match args.format {
        Format::Yaml => serde_yaml::to_string(&shown).context("cannot be written as YAML")?,
        Format::Json => serde_json::to_string_pretty(&shown).context("cannot be written as JSON")?,
    };
    say(text.trim_end());
    Ok(())
}
