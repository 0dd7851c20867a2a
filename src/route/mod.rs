//! Where a logical database really is: names that clients ask for, and the targets behind them.
//!
//! A [`RouteTable`] is made once of a configuration and answers every login. It knows names only: what is there, and
//! whether it must be created, is for others to find out.

mod show;
mod table;
mod virtual_databases;

use std::fmt;
use std::sync::Arc;

pub use show::Shown;
pub use table::{POSTGRES, RouteError, RouteTable};
pub use virtual_databases::VirtualDatabases;

use crate::config::{Login, ServerAddress, ServerEndpoint};

/// The name a client asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogicalDatabase(pub Arc<str>);

impl LogicalDatabase {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LogicalDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The Backstage plugin behind a logical database; for one that is no plugin's, the database's own name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PluginId(pub Arc<str>);

impl PluginId {
    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PluginId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A logical database, resolved.
#[derive(Debug, Clone)]
pub struct Route {
    /// What was asked for.
    pub database: LogicalDatabase,
    /// The plugin it belongs to.
    pub plugin: PluginId,
    /// Where it really is.
    pub target: Target,
}

/// Where a logical database really is.
#[derive(Debug, Clone)]
pub struct Target {
    /// The server.
    pub server: Arc<ServerEndpoint>,
    /// The physical database.
    pub database: Arc<str>,
    /// The schema in it that is all the client sees; `None` is the database as it is.
    pub schema: Option<Arc<str>>,
    /// Who logs in, here and there.
    pub login: Login,
    /// Where extensions are, for those that have a schema: looked into behind it.
    pub extensions: Option<Arc<str>>,
    /// Who owns what is created.
    pub role: Option<Arc<str>>,
    /// The plugin that this belongs to; a schema's COMMENT says so.
    pub plugin: PluginId,
    /// The prefix of the deployment that this belongs to; a schema's COMMENT says so.
    pub deployment: Arc<str>,
    /// Whether a database or schema that is missing may be created.
    pub provision: bool,
}

impl Target {
    /// The pool whose servers can serve this target.
    pub fn pool_key(&self) -> PoolKey {
        PoolKey { address: self.server.address.clone(), database: self.database.clone(), user: self.login.user.clone() }
    }
}

/// What connections must have in common to serve each other's clients.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PoolKey {
    /// The server.
    pub address: ServerAddress,
    /// The physical database.
    pub database: Arc<str>,
    /// The role that logged in.
    pub user: Arc<str>,
}

impl fmt::Display for PoolKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}/{}", self.user, self.address, self.database)
    }
}

#[cfg(test)]
mod tests;
