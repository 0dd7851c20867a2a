//! Why no server could be lent.

use std::sync::Arc;
use std::time::Duration;

use crate::protocol::sqlstate;
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

impl OpenError {
    /// Whether PostgreSQL answered that it has no such database.
    pub(super) fn is_of_unknown_database(&self) -> bool {
        matches!(self, Self::Connect(ConnectError::Refused { code, .. }) if code == sqlstate::INVALID_CATALOG_NAME)
    }

    /// Whether PostgreSQL answered that it has no room now, or is not ready yet: to ask again soon makes it worse.
    pub(super) fn is_for_the_moment(&self) -> bool {
        let momentary = [sqlstate::TOO_MANY_CONNECTIONS, sqlstate::CANNOT_CONNECT_NOW];
        matches!(self, Self::Connect(ConnectError::Refused { code, .. }) if momentary.contains(&code.as_str()))
    }
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
    /// Places that are kept for plugins that hold none, if it was for those that the plugin had to wait.
    pub reserved: Option<u32>,
    /// Every plugin that has any lease, most first.
    pub holders: Vec<Holder>,
}

/// A plugin that holds connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The plugin.
    pub plugin: PluginId,
    /// How many it holds.
    pub leases: u32,
    /// How long it has held the one that it has held for longest.
    pub longest: Duration,
}

impl Usage {
    /// What to do, with the setting to change in the words of the configuration.
    pub fn remedy(&self, plugin: &PluginId) -> String {
        let change = match self.reserved {
            _ if self.leases >= self.max => {
                format!("raise greenroom.plugin.{plugin}.pool.max ({}) or greenroom.pool.max", self.max)
            }
            Some(reserved) => format!(
                "raise greenroom.maxServerConnections ({}) or lower greenroom.reservedConnections ({reserved})",
                self.ceiling
            ),
            // Under every limit of ours there was room: it was PostgreSQL that gave none.
            None if self.used < self.ceiling => {
                return "PostgreSQL refused connections or was slow to open them: see its log and its max_connections, \
                        and greenroom.maxParallelConnects."
                    .to_owned();
            }
            None => format!("raise greenroom.maxServerConnections ({})", self.ceiling),
        };
        format!("End transactions sooner, or {change}.")
    }

    /// With the greatest holders first.
    pub(super) fn sorted(mut self) -> Self {
        self.holders.sort_by_key(|holder| (std::cmp::Reverse(holder.leases), std::cmp::Reverse(holder.longest)));
        self
    }
}
