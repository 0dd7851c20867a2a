//! Why a private PostgreSQL could not be started.

use std::io;
use std::path::PathBuf;

use super::sql::SqlError;

/// Why a private PostgreSQL could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The server's programs are not where we looked.
    #[error(
        "no PostgreSQL server programs (initdb, postgres) in {looked_in}: install the server's package \
         (Debian: apt-get install postgresql) or name their directory with --pg-bin or GREENROOM_PG_BIN"
    )]
    NoBinaries {
        /// The places, as a list for a reader.
        looked_in: String,
    },
    /// We are root, which PostgreSQL refuses, and there is nobody else to run it as.
    #[error("PostgreSQL refuses to run as root, and there is neither a user postgres nor a user nobody")]
    NoAccount,
    /// The user that runs the server may not enter the directory.
    #[error("user id {uid}, which runs PostgreSQL, cannot reach {}: choose another directory", path.display())]
    Unreachable {
        /// The directory.
        path: PathBuf,
        /// The user that runs the server.
        uid: u32,
    },
    /// Somebody else's directory stands where the cluster's template belongs.
    #[error("{} is not a private directory of user id {uid}: remove it", path.display())]
    ForeignTemplate {
        /// The directory.
        path: PathBuf,
        /// The user that it should belong to.
        uid: u32,
    },
    /// A server is at work on this data.
    #[error("PostgreSQL with process id {pid} is running on {}: end it, or choose another directory", data.display())]
    AlreadyRunning {
        /// The postmaster.
        pid: u32,
        /// Its data directory.
        data: PathBuf,
    },
    /// A program that prepares the cluster failed.
    #[error("{program} failed: {output}")]
    Program {
        /// Its name.
        program: String,
        /// What it said.
        output: String,
    },
    /// A program that prepares the cluster did not end.
    #[error("{what} has not ended within {seconds} s")]
    TooSlow {
        /// What we waited for.
        what: String,
        /// How long.
        seconds: u64,
    },
    /// A file or a process could not be had.
    #[error("cannot {act} {}", path.display())]
    Io {
        /// What was tried.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The server ended before it was ready.
    #[error("PostgreSQL ended while starting:\n{log}")]
    Exited {
        /// The end of its log.
        log: String,
    },
    /// The server runs, but let nobody in before the deadline.
    #[error("PostgreSQL was not ready in time ({source}):\n{log}")]
    NotReady {
        /// What the last login met.
        source: SqlError,
        /// The end of its log.
        log: String,
    },
    /// The server refused our login.
    #[error("PostgreSQL refused its superuser ({source}):\n{log}")]
    Login {
        /// Its answer.
        source: SqlError,
        /// The end of its log.
        log: String,
    },
}

impl StartError {
    /// For `map_err`: what was tried on which path.
    pub(super) fn io(act: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { act, path, source }
    }
}
