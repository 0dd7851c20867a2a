//! What the operator wants: Backstage's own app-config files plus the `greenroom` key, already checked.
//!
//! Text from outside becomes a [`Config`] once; nothing re-checks it afterwards. The way there: `yaml` reads the files
//! as Backstage does (merging, `${VAR}`, includes) into one tree that knows where each value is written, `read` turns
//! the tree into the types of this module and notes every mistake on the way. `overlay` goes back: it says to Backstage, in
//! the words of the files, how greenroom is reached.
//!
//! Neither looks around in the process: files and environment are handed in.

mod changes;
mod connection;
mod database;
mod limits;
mod live;
mod load;
mod logging;
mod mistake;
mod overlay;
mod password;
mod read;
mod seen;
mod yaml;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

pub use changes::Changes;
pub use connection::{
    AuthMethod, HttpAddress, ListenAddress, Listener, Login, ServerAddress, ServerEndpoint, SslMode, TlsSettings,
    is_loopback,
};
pub use database::{
    Connection, DatabaseConfig, Division, MAX_NAME_BYTES, OtherDatabase, PluginPlace, PluginSettings, PostgresPlace,
    UnknownDatabases, is_plugin_id,
};
pub use limits::{KnexPool, PoolLimits, PoolMode, ServerLimits, Timeouts};
pub use live::{Limits, PluginLimits};
pub use logging::{LogConfig, LogFormat, LogLevel, MetricsConfig};
pub use mistake::{ConfigErrors, Mistake};
pub use overlay::{OverlayError, Written};
pub use password::{Password, PasswordCommand, SecretText};
pub use seen::Seen;

/// Environment variables by name; `std::env::vars().collect()` is the process's own.
pub type Environment = BTreeMap<String, String>;

/// All settings, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where clients are accepted; at least one.
    pub listeners: Vec<Listener>,
    /// Where metrics and health are served; `None` is nowhere.
    pub http: Option<HttpAddress>,
    /// Where the data is.
    pub database: DatabaseConfig,
    /// The limits of each PostgreSQL server.
    pub server_limits: ServerLimits,
    /// How many greenrooms share each server: for arithmetic alone.
    pub replicas: u32,
    /// 1 is one single-threaded runtime, more is that many workers.
    pub threads: usize,
    /// Limits in time on what clients do.
    pub timeouts: Timeouts,
    /// How long a drain waits for transactions to end.
    pub shutdown_grace: Duration,
    /// What is logged, and how.
    pub log: LogConfig,
    /// How much the metrics tell apart.
    pub metrics: MetricsConfig,
    /// What is allowed but probably not meant; to be logged at the start.
    pub warnings: Vec<String>,
}

impl Config {
    /// `shutdownGraceMillis`, when it is not configured.
    pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(30);
}
