//! Why a command gave no password.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::output::OutputError;

/// Why a command gave no password. It tells what the command said on its standard error, never what it printed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SecretError {
    /// It cannot be started.
    #[error("passwordCommand: cannot run {program}: {source}")]
    Start {
        /// The program.
        program: String,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// It ran for too long, and was ended.
    #[error("passwordCommand: {program} did not end within {limit:?} (timeoutMillis)")]
    TimedOut {
        /// The program.
        program: String,
        /// The limit.
        limit: Duration,
    },
    /// It said itself that it failed.
    #[error("passwordCommand: {program} failed ({status}): {stderr}")]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: String,
        /// The end of its standard error.
        stderr: String,
    },
    /// What it printed is no password.
    #[error("passwordCommand: {program} {problem}")]
    Output {
        /// The program.
        program: String,
        /// What is wrong with it.
        problem: OutputError,
    },
    /// greenroom is ending.
    #[error("passwordCommand: its run was given up")]
    GivenUp,
}
