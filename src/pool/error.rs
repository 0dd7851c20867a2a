//! Why no server could be lent.

use std::sync::Arc;
use std::time::Duration;

use crate::route::PluginId;
use crate::server::{ConnectError, QueryError};

/// Why no server could be lent.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AcquireError {
    /// Everything stayed in use for the whole acquire timeout.
    #[error("no server connection was free for plugin {plugin} within {waited:?}")]
    TimedOut {
        /// Who waited.
        plugin: PluginId,
        /// The acquire timeout.
        waited: Duration,
        /// Who holds what.
        usage: Usage,
        /// The last failure to connect while it waited.
        source: Option<Arc<OpenError>>,
    },
    /// PostgreSQL could not be reached, or refused.
    #[error("cannot open a connection to PostgreSQL")]
    Open(#[from] Arc<OpenError>),
    /// greenroom is shutting down.
    #[error("greenroom is shutting down")]
    Closed,
}

/// Why no connection could be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Connecting or logging in failed.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It took longer than the create timeout.
    #[error("PostgreSQL at {address} did not answer within {limit:?} (greenroom.pool.createTimeoutMillis)")]
    TimedOut {
        /// Where.
        address: String,
        /// The create timeout.
        limit: Duration,
    },
    /// The catalogs could not be asked what the database's code may do.
    #[error("cannot read the catalogs of the database")]
    Facts(#[from] QueryError),
}

/// Who holds the connections of a server, when somebody waited in vain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// Leases of the plugin that waited.
    pub leases: u32,
    /// Its most.
    pub max: u32,
    /// Connections to the server, however they are used.
    pub used: u32,
    /// Their most.
    pub ceiling: u32,
    /// Leases of every plugin that has any, most first.
    pub holders: Vec<(PluginId, u32)>,
}

impl Usage {
    /// What to change, in the words of the configuration.
    pub fn remedy(&self, plugin: &PluginId) -> String {
        if self.leases >= self.max {
            format!("raise greenroom.plugin.{plugin}.pool.max ({}) or greenroom.pool.max", self.max)
        } else {
            format!("raise greenroom.maxServerConnections ({})", self.ceiling)
        }
    }
}
