//! Who is lent a server, and when.
//!
//! One scheduler per PostgreSQL server owns every waiter, every slot under the ceiling and every decision to open or
//! to close. A [`Pool`] is the idle servers of one (address, database, login), kept in bb8; a [`Member`] is one plugin's
//! right to borrow from a pool; a [`Lease`] is a server on loan.
//!
//! - `scheduler`: takes decisions under its lock, and tells those who wait.
//! - `dispatch`: what it decides: shares, order, limits, the ceiling.
//! - `crew`: what it has done to connections.
//! - `lock`: the lock, which a test can replace.
//! - `loan`: what a waiter is given, on its way to it.
//! - `migration`: plugins that are served first.
//! - `store`: idle servers, in bb8.
//! - `configuration`: the settings that servers begin with.
//! - `entry`: a server with its slot, its age and its end.
//! - `lease`: the loan.
//! - `listener`: what is heard for clients that LISTEN.
//! - `place`: a place in the queue.
//! - `acquire`: waiting for one.
//! - `opening`: connecting.
//! - `reaper`: closing what is idle, old or dead.
//! - `reason`: why something was closed.

pub mod acquire;
pub mod configuration;
mod crew;
mod dispatch;
mod entry;
pub mod error;
pub mod lease;
pub mod listener;
mod loan;
mod lock;
mod migration;
mod opening;
mod place;
mod reaper;
mod reason;
mod scheduler;
mod slot;
mod store;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio_util::sync::CancellationToken;

pub use acquire::{Acquire, Kind, Lent};
use configuration::Configuration;
pub use configuration::{Configured, Parameters};
pub use error::AcquireError;
pub use lease::Lease;
pub use listener::{Ear, ListenError, Notification};
pub use migration::Migration;
pub use reason::CloseReason;
use scheduler::Scheduler;
use store::Store;

use crate::config::{Limits, PluginLimits, PoolLimits, ServerAddress, ServerEndpoint, ServerLimits};
use crate::metrics::{Metrics, PluginMetrics, PoolMetrics, ServerMetrics};
use crate::net::TlsError;
use crate::route::{PluginId, PoolKey, Route};
use crate::secret::Secrets;
use crate::server::{Connector, DatabaseFacts};

/// The idle servers of one (address, physical database, login), and what is known of them.
pub struct Pool {
    /// Its place in the scheduler.
    index: usize,
    key: PoolKey,
    connector: Arc<Connector>,
    scheduler: Arc<Scheduler>,
    store: Arc<Store>,
    /// What the database's own code may do.
    pub facts: Arc<DatabaseFacts>,
    /// What new connections report.
    configuration: Configuration,
    /// Told when something is known that logins wait for.
    news: Notify,
    /// The search_path its servers start with, in schema division: nothing at all, so that whatever escapes the dress
    /// fails instead of landing in somebody else's schema.
    schema_division: bool,
    metrics: Arc<PoolMetrics>,
    server_metrics: Arc<ServerMetrics>,
    all_metrics: Arc<Metrics>,
}

impl Pool {
    /// What new connections of the pool report at login; `None` before the first.
    pub fn parameters(&self) -> Option<Parameters> {
        self.configured().map(|configured| configured.parameters)
    }

    /// The same, with how often that has changed.
    pub fn configured(&self) -> Option<Configured> {
        self.configuration.now()
    }

    /// How often what new connections report has changed.
    #[inline]
    pub fn configuration_number(&self) -> u64 {
        self.configuration.number()
    }

    /// The server that it is a pool of.
    pub fn address(&self) -> &ServerAddress {
        &self.key.address
    }

    /// Ready at the next [`Self::tell_news`], even if it is waited for later only.
    pub fn news(&self) -> Notified<'_> {
        self.news.notified()
    }

    /// Something is known that logins of the pool may wait for: what connections report, or that a schema is there.
    pub fn tell_news(&self) {
        self.news.notify_waiters();
    }

    fn forget_parameters(&self) {
        self.configuration.forget();
    }

    /// Closes the idle servers of other databases that `statement`, which creates, alters or drops one, names.
    pub fn leave_databases(&self, statement: &[u8]) {
        self.scheduler.leave_databases(&self.key, statement);
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({})", self.key)
    }
}

/// One plugin's right to borrow from a pool.
#[derive(Clone)]
pub struct Member {
    /// The pool it borrows from.
    pub pool: Arc<Pool>,
    /// The plugin's place in the scheduler.
    plugin_index: usize,
    /// Whose right it is.
    pub plugin: PluginId,
    /// The plugin's numbers.
    pub metrics: Arc<PluginMetrics>,
}

/// Every pool and every scheduler of one proxy.
pub struct Pools {
    /// Guards the order of things as well: nobody joins a pool with limits that have just changed.
    limits: RwLock<Limits>,
    secrets: Arc<Secrets>,
    metrics: Arc<Metrics>,
    known: Mutex<Known>,
    stop: CancellationToken,
}

#[derive(Debug, Default)]
struct Known {
    schedulers: HashMap<ServerAddress, Arc<Scheduler>>,
    pools: HashMap<(PoolKey, bool), Arc<Pool>>,
    facts: HashMap<(ServerAddress, Arc<str>), Arc<DatabaseFacts>>,
    listeners: HashMap<listener::Key, Arc<listener::Listener>>,
}

impl Pools {
    /// No pool yet; these are the limits, and connections are opened with what `secrets` knows.
    pub fn new(limits: Limits, secrets: Arc<Secrets>, metrics: Arc<Metrics>) -> Arc<Self> {
        let (limits, known, stop) = (RwLock::new(limits), Mutex::default(), CancellationToken::new());
        Arc::new(Self { limits, secrets, metrics, known, stop })
    }

    /// The right of `route`'s plugin to borrow; makes its pool and its scheduler if they are new.
    ///
    /// # Errors
    /// TLS settings that cannot be honoured.
    pub fn member(&self, route: &Route) -> Result<Member, TlsError> {
        let limits = self.limits.read();
        let own = limits.plugin(route.plugin.as_str());
        let pool = self.pool(route, limits.server)?;
        let plugin_index = pool.scheduler.join(pool.index, &route.plugin, &own.pool, own.weight);
        self.show(&route.plugin, own);
        let metrics = self.metrics.plugin(route.plugin.as_str());
        Ok(Member { metrics, plugin: route.plugin.clone(), plugin_index, pool })
    }

    /// From now on these are the limits. No lease is touched: who has more than he may have now gets nothing new, and idle
    /// servers above a ceiling that was lowered are closed.
    pub fn reload(&self, limits: Limits) {
        let mut in_force = self.limits.write();
        *in_force = limits;
        let known = self.known.lock();
        for scheduler in known.schedulers.values() {
            for plugin in scheduler.reload(&in_force) {
                self.show(&plugin, in_force.plugin(plugin.as_str()));
            }
        }
        known.listeners.values().for_each(|listener| listener.limits_have_changed());
    }

    fn show(&self, plugin: &PluginId, limits: &PluginLimits) {
        let metrics = self.metrics.plugin(plugin.as_str());
        let limits = [("min", limits.pool.min), ("max", limits.pool.max), ("weight", limits.weight)];
        limits.into_iter().for_each(|(name, value)| metrics.limit(plugin.as_str(), name, value));
    }

    fn pool(&self, route: &Route, limits: ServerLimits) -> Result<Arc<Pool>, TlsError> {
        let (key, schema_division) = (route.target.pool_key(), route.target.schema.is_some());
        let mut known = self.known.lock();
        if let Some(pool) = known.pools.get(&(key.clone(), schema_division)) {
            return Ok(Arc::clone(pool));
        }
        let endpoint = ServerEndpoint::clone(&route.target.server);
        let address = endpoint.address.clone();
        let server_metrics = self.metrics.server(&address.to_string());
        let scheduler = known
            .schedulers
            .entry(address.clone())
            .or_insert_with(|| Scheduler::new(limits, Arc::clone(&server_metrics), self.stop.child_token()));
        let scheduler = Arc::clone(scheduler);
        let facts =
            known.facts.entry((address, Arc::clone(&route.target.database))).or_insert_with(DatabaseFacts::unknown);
        let facts = Arc::clone(facts);
        let connector = Arc::new(Connector::new(endpoint, &route.target.login, &self.secrets)?);
        let pool = Arc::new_cyclic(|weak: &Weak<Pool>| {
            let store = Arc::new(Store::new(weak.clone()));
            Pool {
                index: scheduler.add_pool(Arc::clone(&store), weak.clone(), &PoolLimits::default()),
                metrics: server_metrics.pool(&route.target.database),
                configuration: Configuration::default(),
                news: Notify::new(),
                all_metrics: Arc::clone(&self.metrics),
                key: key.clone(),
                server_metrics,
                schema_division,
                connector,
                scheduler,
                store,
                facts,
            }
        });
        known.pools.insert((key, schema_division), Arc::clone(&pool));
        Ok(pool)
    }

    /// Refuses every waiter from now on, closes every idle server, and waits until the servers have closed their ends. The
    /// caller sets the limit.
    pub async fn close(&self) {
        self.stop.cancel();
        let schedulers: Vec<_> = self.known.lock().schedulers.values().cloned().collect();
        for scheduler in schedulers {
            // Dropping this while it waits leaves closing tasks that end by their own time limit.
            scheduler.close().await;
        }
    }
}

#[cfg(test)]
mod dropped_tests;
#[cfg(test)]
mod order_tests;
#[cfg(test)]
mod tests;
